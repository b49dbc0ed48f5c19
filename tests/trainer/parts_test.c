/* SPDX-License-Identifier: Apache-2.0 */
/* The parts around the model: text, optimizers, schedule, checkpoints, command line. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "trainer/checkpoint.h"
#include "trainer/checksum.h"
#include "trainer/error.h"
#include "trainer/options.h"
#include "trainer/text.h"

static char directory[] = "/tmp/weft-trainer-XXXXXX";
static char error[ERROR_BYTES];

static const char *in_directory(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static void write_file(const char *name, const void *data, size_t bytes)
{
    FILE *file = fopen(in_directory(name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    fclose(file);
}

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    static const char *const names[] = {"text", "empty", "short", "checkpoint", "checkpoint.new"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) unlink(in_directory(names[i]));
    return rmdir(directory);
}

static void bad_text_files_are_named(void **state)
{
    (void)state;
    struct text text;
    assert_false(text_open(in_directory("missing"), 8, &text, error));
    assert_non_null(strstr(error, "No such file"));
    write_file("empty", "", 0);
    assert_false(text_open(in_directory("empty"), 8, &text, error));
    assert_non_null(strstr(error, "is empty"));
    write_file("short", "0123456789", 10);
    assert_false(text_open(in_directory("short"), 8, &text, error));
    assert_non_null(strstr(error, "needs 180"));
    assert_false(text_open(directory, 8, &text, error));
    assert_non_null(strstr(error, "not a regular file"));
}

/* Byte i is i modulo 251, so that a position can be read off. */
static struct text counting_text(void)
{
    static uint8_t bytes[10000];
    for (size_t i = 0; i < sizeof(bytes); i++) bytes[i] = (uint8_t)(i % 251);
    write_file("text", bytes, sizeof(bytes));
    struct text text;
    assert_true(text_open(in_directory("text"), 16, &text, error));
    return text;
}

static void samples_depend_on_seed_step_and_index_alone(void **state)
{
    (void)state;
    struct text text = counting_text();
    uint8_t inputs[16], targets[16], again[16], other[16];
    size_t different = 0;
    for (uint64_t index = 0; index < 64; index++) {
        text_sample(&text, 5, 9, index, 16, inputs, targets);
        assert_memory_equal(inputs + 1, targets, 15);
        text_sample(&text, 5, 9, index, 16, again, targets);
        assert_memory_equal(inputs, again, 16);
        text_sample(&text, 5, 10, index, 16, other, targets);
        different += memcmp(inputs, other, 16) != 0;
        text_sample(&text, 6, 9, index, 16, other, targets);
        different += memcmp(inputs, other, 16) != 0;
        text_sample(&text, 5, 9, index + 1, 16, other, targets);
        different += memcmp(inputs, other, 16) != 0;
    }
    assert_true(different > 3 * 64 - 10);
    text_close(&text);
}

static void samples_never_reach_the_held_out_part(void **state)
{
    (void)state;
    struct text text = counting_text();
    assert_int_equal(text.training_count, 9500);
    memset(text.bytes + text.training_count, 255, text.count - text.training_count); /* 255 is nowhere else */
    uint8_t inputs[16], targets[16];
    for (uint64_t index = 0; index < 100000; index++) {
        text_sample(&text, 1, 1, index, 16, inputs, targets);
        assert_null(memchr(targets, 255, 16));
    }
    text_close(&text);
}

static void windows_score_every_held_out_byte_once(void **state)
{
    (void)state;
    struct text text = counting_text();
    for (size_t context = 2; context < 120; context++) {
        uint8_t times[500] = {0};
        for (size_t i = 0; i < text_window_count(&text, context); i++) {
            struct text_window window = text_window(&text, context, i);
            assert_in_range(window.first_scored + window.scored, 1, context);
            if (i > 0) assert_true(window.first_scored >= context / 2);
            size_t start = (size_t)(window.inputs - text.bytes) - text.training_count;
            assert_true(start + context < 500);
            for (size_t j = 0; j < window.scored; j++) times[start + window.first_scored + j + 1]++;
        }
        assert_int_equal(times[0], 0);
        for (size_t i = 1; i < 500; i++) assert_int_equal(times[i], 1);
    }
    text_close(&text);
}

static void bigram_loss_counts_pairs(void **state)
{
    (void)state;
    struct text text = counting_text();
    /* Each byte has one successor, seen about 37 times, against 25.6 added occurrences. */
    assert_true(fabs(text_bigram_loss(&text) - log((37.8 + 25.6) / 37.9)) < 0.02);
    text_close(&text);
}

static void schedule_rises_then_falls_to_a_twentieth(void **state)
{
    (void)state;
    assert_true(learning_rate_at(5, 100, 10, 1) == 0.5);
    assert_true(learning_rate_at(10, 100, 10, 1) == 1);
    assert_true(fabs(learning_rate_at(55, 100, 10, 1) - 0.525) < 1e-12);
    assert_true(fabs(learning_rate_at(100, 100, 10, 1) - 0.05) < 1e-12);
    for (uint64_t step = 11; step < 100; step++)
        assert_true(learning_rate_at(step + 1, 100, 10, 1) < learning_rate_at(step, 100, 10, 1));
    assert_true(learning_rate_at(3, 5, 10, 1) == 0.3); /* warm-up longer than the run */
    assert_true(learning_rate_at(1, 5, 0, 1) < 1);
}

static void clipping_bounds_the_norm(void **state)
{
    (void)state;
    const float gradients[3] = {3, 0, -4};
    assert_true(gradient_norm(gradients, 3) == 5);
    assert_true(clip_scale(5, 1) == 0.2);
    assert_true(clip_scale(0.5, 1) == 1);
    assert_true(clip_scale(5, 0) == 1);
}

/* Three steps of one weight with decay, against the formulas in float64. */
static double reference_update(enum optimizer_kind kind, double weight, const double *gradients, double rate,
                               double decay)
{
    double m = 0, v = 0;
    for (int step = 1; step <= 3; step++) {
        double g = gradients[step - 1] + (kind == OPTIMIZER_ADAMW ? 0 : decay * weight);
        m = 0.9 * m + (kind == OPTIMIZER_MOMENTUM ? g : 0.1 * g);
        v = 0.99 * v + 0.01 * g * g;
        if (kind == OPTIMIZER_SGD) weight -= rate * g;
        if (kind == OPTIMIZER_MOMENTUM) weight -= rate * m;
        if (kind == OPTIMIZER_ADAM || kind == OPTIMIZER_ADAMW) {
            double corrected = m / (1 - pow(0.9, step)), root = sqrt(v / (1 - pow(0.99, step)));
            weight -= rate * (corrected / (root + 1e-8) + (kind == OPTIMIZER_ADAMW ? decay * weight : 0));
        }
    }
    return weight;
}

static void optimizers_follow_their_formulas(void **state)
{
    (void)state;
    static struct parameter_layout layout = {.count = 32, .parameter_count = 2};
    layout.parameters[0] = (struct parameter){.first = 0, .count = 16, .decays = true};
    layout.parameters[1] = (struct parameter){.first = 16, .count = 16};
    const double gradients[3] = {0.5, -0.25, 1.5};
    for (int kind = OPTIMIZER_SGD; kind <= OPTIMIZER_ADAMW; kind++) {
        struct optimizer optimizer;
        float weights[32], gradient[32];
        for (int i = 0; i < 32; i++) weights[i] = 0.75f;
        assert_true(optimizer_prepare(&optimizer, (enum optimizer_kind)kind, 0.1, 32));
        for (uint64_t step = 1; step <= 3; step++) {
            for (int i = 0; i < 32; i++) gradient[i] = (float)gradients[step - 1] * 4;
            optimizer_step(&optimizer, &layout, step, 0.01, 0.25, gradient, weights);
        }
        double decayed = reference_update((enum optimizer_kind)kind, 0.75, gradients, 0.01, 0.1);
        double plain = reference_update((enum optimizer_kind)kind, 0.75, gradients, 0.01, 0);
        assert_true(fabs((double)weights[3] - decayed) < 1e-6);
        assert_true(fabs((double)weights[19] - plain) < 1e-6);
        optimizer_release(&optimizer);
    }
}

static void checksum_is_crc_64_xz(void **state)
{
    (void)state;
    assert_true(checksum(0, "123456789", 9) == 0x995dc9bbdf1939fa);
    assert_true(checksum(checksum(0, "1234", 4), "56789", 5) == 0x995dc9bbdf1939fa);
}

enum { FLOATS = 64 };

static struct checkpoint small_checkpoint(float arrays[3][FLOATS])
{
    return (struct checkpoint){.shape = {2, 8, 2, 16},
                               .optimizer = OPTIMIZER_ADAMW,
                               .seed = 11,
                               .step = 42,
                               .count = FLOATS,
                               .array_count = 3,
                               .arrays = {arrays[0], arrays[1], arrays[2]}};
}

static void save_small_checkpoint(void)
{
    static float arrays[3][FLOATS];
    for (int i = 0; i < 3 * FLOATS; i++) arrays[i / FLOATS][i % FLOATS] = (float)i;
    struct checkpoint saved = small_checkpoint(arrays);
    assert_true(checkpoint_write(directory, &saved, error));
}

static void checkpoints_come_back_as_they_were(void **state)
{
    (void)state;
    float arrays[3][FLOATS] = {{0}};
    save_small_checkpoint();
    save_small_checkpoint(); /* over an old one */
    struct checkpoint read = small_checkpoint(arrays);
    read.step = 0;
    assert_true(checkpoint_read(directory, &read, error));
    assert_int_equal(read.step, 42);
    for (int i = 0; i < 3 * FLOATS; i++) assert_true(arrays[i / FLOATS][i % FLOATS] == (float)i);
    assert_int_not_equal(access(in_directory("checkpoint.new"), F_OK), 0);
}

static void every_damaged_byte_of_a_checkpoint_is_noticed(void **state)
{
    (void)state;
    save_small_checkpoint();
    static uint8_t whole[4096];
    FILE *file = fopen(in_directory("checkpoint"), "r");
    assert_non_null(file);
    size_t bytes = fread(whole, 1, sizeof(whole), file);
    fclose(file);
    assert_int_equal(bytes, 96 + 3 * FLOATS * sizeof(float) + 8);
    float arrays[3][FLOATS];
    for (size_t i = 0; i < bytes; i++) {
        whole[i] ^= 0x10;
        write_file("checkpoint", whole, bytes);
        whole[i] ^= 0x10;
        struct checkpoint read = small_checkpoint(arrays);
        assert_false(checkpoint_read(directory, &read, error));
    }
    for (size_t length = 0; length < bytes; length += 13) {
        write_file("checkpoint", whole, length);
        struct checkpoint read = small_checkpoint(arrays);
        assert_false(checkpoint_read(directory, &read, error));
        assert_non_null(strstr(error, "cut short"));
    }
    write_file("checkpoint", whole, bytes + 1);
    struct checkpoint read = small_checkpoint(arrays);
    assert_false(checkpoint_read(directory, &read, error));
}

static void another_models_checkpoint_is_refused_by_name(void **state)
{
    (void)state;
    save_small_checkpoint();
    float arrays[3][FLOATS];
    struct checkpoint read = small_checkpoint(arrays);
    read.shape.width = 16;
    assert_false(checkpoint_read(directory, &read, error));
    assert_non_null(strstr(error, "--width 8, not 16"));
    read = small_checkpoint(arrays);
    read.seed = 12;
    assert_false(checkpoint_read(directory, &read, error));
    assert_non_null(strstr(error, "--seed 11, not 12"));
    read = small_checkpoint(arrays);
    read.optimizer = OPTIMIZER_SGD;
    read.array_count = 1;
    assert_false(checkpoint_read(directory, &read, error));
    assert_non_null(strstr(error, "--optimizer adamw, not sgd"));
    assert_false(checkpoint_read("/nonexistent", &read, error));
    assert_non_null(strstr(error, "No such file"));
}

static enum options_outcome parse(struct options *options, const char *const *words)
{
    char *arguments[16] = {(char *)"weft-train"};
    int count = 1;
    while (words[count - 1]) {
        arguments[count] = (char *)words[count - 1];
        count++;
    }
    return options_parse(count, arguments, options, error);
}
#define PARSE(options, ...) parse(options, (const char *const[]){__VA_ARGS__, NULL})

static void options_are_read_in_both_spellings(void **state)
{
    (void)state;
    struct options options;
    assert_int_equal(PARSE(&options, "--data", "x", "--layers=3", "--width", "96", "--lr=1e-3", "--dtype", "bf16",
                           "--optimizer=sgd", "--checkpoint", "d", "--resume"),
                     OPTIONS_RUN);
    assert_string_equal(options.data, "x");
    assert_int_equal(options.layers, 3);
    assert_int_equal(options.width, 96);
    assert_true(options.learning_rate == 1e-3);
    assert_int_equal(options.dtype, DTYPE_BF16);
    assert_int_equal(options.optimizer, OPTIMIZER_SGD);
    assert_true(options.resume);
    assert_int_equal(options.heads, 4); /* a default */
}

static void wrong_options_get_the_nearest_right_thing(void **state)
{
    (void)state;
    static const struct {
        const char *words[6], *expected;
    } cases[] = {
        {{"--data", "x", "--layer", "3"}, "the nearest is --layers"},
        {{"--dta", "x"}, "the nearest is --data"},
        {{"--data", "x", "--optimizer", "adan"}, "the nearest is 'adam'"},
        {{"--data", "x", "--dtype", "fp16"}, "the nearest is 'bf16'"},
        {{"--data", "x", "--layers", "0"}, "from 1 to 64, not '0'"},
        {{"--data", "x", "--layers", "-1"}, "from 1 to 64, not '-1'"},
        {{"--data", "x", "--steps", "10k"}, "not '10k'"},
        {{"--data", "x", "--seed", "99999999999999999999"}, "not '99999999999999999999'"},
        {{"--data", "x", "--lr", "nan"}, "not 'nan'"},
        {{"--data", "x", "--lr"}, "--lr takes a value: --lr RATE"},
        {{"--data", "x", "--width", "130"}, "the nearest is --width 132"},
        {{"--data", "x", "--resume"}, "--checkpoint DIR"},
        {{"--data", "x", "--resume=1"}, "--resume takes no value"},
        {{"--layers", "2"}, "--data FILE"},
        {{"--data="}, "not an empty text"},
        {{"file.txt"}, "--data file.txt"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct options options;
        assert_int_equal(parse(&options, cases[i].words), OPTIONS_WRONG);
        if (!strstr(error, cases[i].expected)) fail_msg("'%s' lacks '%s'", error, cases[i].expected);
        assert_null(strchr(error, '\n'));
    }
}

static void help_and_version_win(void **state)
{
    (void)state;
    struct options options;
    assert_int_equal(PARSE(&options, "--help"), OPTIONS_HELP);
    assert_int_equal(PARSE(&options, "--layers", "2", "--version"), OPTIONS_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_text_files_are_named),
        cmocka_unit_test(samples_depend_on_seed_step_and_index_alone),
        cmocka_unit_test(samples_never_reach_the_held_out_part),
        cmocka_unit_test(windows_score_every_held_out_byte_once),
        cmocka_unit_test(bigram_loss_counts_pairs),
        cmocka_unit_test(schedule_rises_then_falls_to_a_twentieth),
        cmocka_unit_test(clipping_bounds_the_norm),
        cmocka_unit_test(optimizers_follow_their_formulas),
        cmocka_unit_test(checksum_is_crc_64_xz),
        cmocka_unit_test(checkpoints_come_back_as_they_were),
        cmocka_unit_test(every_damaged_byte_of_a_checkpoint_is_noticed),
        cmocka_unit_test(another_models_checkpoint_is_refused_by_name),
        cmocka_unit_test(options_are_read_in_both_spellings),
        cmocka_unit_test(wrong_options_get_the_nearest_right_thing),
        cmocka_unit_test(help_and_version_win),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
