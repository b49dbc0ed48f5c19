/* SPDX-License-Identifier: Apache-2.0 */
/* Whole runs of weft-train, as a user starts it: WEFT_TRAIN is the path of the command. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "trainer/model/parameters.h"

enum { STEPS = 20, ARGUMENT_LIMIT = 48 };

static char directory[] = "/tmp/weft-training-XXXXXX";

/* Words drawn with the frequencies of Zipf's law: enough structure to learn within a few steps. */
static void write_text(void)
{
    static const char *const words[] = {"the", "and", "of", "river", "bridge", "loom", "a", "thread", "is", "woven"};
    FILE *file = fopen("text", "w");
    assert_non_null(file);
    uint64_t bits = 7;
    for (int i = 0; i < 12000; i++) {
        bits = mix_bits(bits);
        size_t rank = (size_t)(pow(11.0, (double)(bits >> 11) * 0x1p-53) - 1.0);
        fprintf(file, "%s%s", words[rank % 10], i % 12 == 11 ? ".\n" : " ");
    }
    fclose(file);
}

static int enter_directory(void **state)
{
    (void)state;
    if (!mkdtemp(directory) || chdir(directory) != 0) return -1;
    write_text();
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    static const char *const names[] = {"text", "out", "err", "log", "log1", "log2", "kept/checkpoint", "empty"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) unlink(names[i]);
    rmdir("kept");
    return chdir("/") == 0 && rmdir(directory) == 0 ? 0 : -1;
}

/* Starts weft-train with the words of @p line; standard output to "out", standard error to "err". */
static pid_t start(const char *line)
{
    static char words[1024];
    char *arguments[ARGUMENT_LIMIT] = {(char *)WEFT_TRAIN};
    int count = 1;
    snprintf(words, sizeof(words), "%s", line);
    for (char *word = strtok(words, " "); word && count < ARGUMENT_LIMIT - 1; word = strtok(NULL, " "))
        arguments[count++] = word;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(open("out", O_WRONLY | O_CREAT | O_TRUNC, 0666), STDOUT_FILENO);
        dup2(open("err", O_WRONLY | O_CREAT | O_TRUNC, 0666), STDERR_FILENO);
        execv(WEFT_TRAIN, arguments);
        _exit(127);
    }
    return child;
}

static int finish(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(const char *line)
{
    return finish(start(line));
}

static char *contents(const char *name)
{
    static char text[65536];
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    size_t bytes = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[bytes] = 0;
    return text;
}

static void run_well(const char *line)
{
    int status = run(line);
    if (status != 0) fail_msg("exit %d: %s", status, contents("err"));
}

struct record {
    int step;
    double loss, gradient_norm;
};

static int read_log(const char *name, struct record *records, int limit)
{
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    char line[1024];
    int count = 0;
    while (count < limit && fgets(line, sizeof(line), file)) {
        struct record *record = &records[count++];
        const char *norm = strstr(line, "\"grad_norm\":");
        assert_int_equal(sscanf(line, "{\"step\":%d,\"loss\":%lf,", &record->step, &record->loss), 2);
        assert_non_null(norm);
        assert_int_equal(sscanf(norm, "\"grad_norm\":%lf", &record->gradient_norm), 1);
        assert_int_equal(record->step, count);
    }
    fclose(file);
    return count;
}

#define MODEL "--data text --layers 2 --width 32 --heads 2 --context 32 --warmup 5 --lr 0.005 --steps 20 "

static void assert_equal_losses(const char *many, const char *one)
{
    struct record records[2][STEPS + 1];
    run_well(many);
    run_well(one);
    assert_int_equal(read_log("log1", records[0], STEPS + 1), STEPS);
    assert_int_equal(read_log("log2", records[1], STEPS + 1), STEPS);
    for (int i = 0; i < STEPS; i++) {
        double difference = fabs(records[0][i].loss - records[1][i].loss) / records[1][i].loss;
        if (difference > 1e-5)
            fail_msg("step %d: %.9g and %.9g differ by %.2g", i + 1, records[0][i].loss, records[1][i].loss,
                     difference);
    }
    assert_true(records[0][STEPS - 1].loss < 0.8 * records[0][0].loss);
}

static void two_ranks_train_as_one_with_twice_the_batch(void **state)
{
    (void)state;
    assert_equal_losses(MODEL "--ranks 2 --batch 4 --bucket-bytes 16384 --log log1",
                        MODEL "--ranks 1 --batch 8 --log log2");
}

static void three_ranks_train_as_one_with_thrice_the_batch(void **state)
{
    (void)state;
    assert_equal_losses(MODEL "--ranks 3 --batch 2 --bucket-bytes 16384 --log log1",
                        MODEL "--ranks 1 --batch 6 --log log2");
}

static void ranks_end_with_equal_parameters(void **state)
{
    (void)state;
    run_well(MODEL "--ranks 2 --batch 2 --log log");
    const char *out = contents("out");
    assert_non_null(strstr(out, "equal on all 2 ranks"));
    assert_non_null(strstr(out, "hidden share of communication "));
}

static void log_rows_have_the_promised_keys(void **state)
{
    (void)state;
    run_well(MODEL "--ranks 1 --batch 2 --eval-every 10 --log log");
    static const char *const keys[] = {"step",      "loss", "tokens_per_s", "compute_ms", "comm_ms", "comm_exposed_ms",
                                       "grad_norm", "lr"};
    char *log = contents("log"), *line = strtok(log, "\n");
    int rows = 0, evaluated = 0;
    for (; line; line = strtok(NULL, "\n"), rows++) {
        assert_true(line[0] == '{' && line[strlen(line) - 1] == '}');
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
            char key[32];
            snprintf(key, sizeof(key), "\"%s\":", keys[i]);
            assert_non_null(strstr(line, key));
        }
        evaluated += strstr(line, "\"held_out_loss\":") != NULL;
    }
    assert_int_equal(rows, STEPS);
    assert_int_equal(evaluated, 1); /* step 10; step 20 is the report's */
}

static void the_last_line_is_the_held_out_loss(void **state)
{
    (void)state;
    run_well(MODEL "--ranks 1 --batch 4 --sample 40");
    char *out = contents("out"), *last = strrchr(out, '\n');
    assert_true(last && !last[1]);
    *last = 0;
    last = strrchr(out, '\n') + 1;
    double loss;
    char end;
    assert_int_equal(sscanf(last, "held-out loss %lf nats/byte%c", &loss, &end), 1);
    assert_true(loss > 0.1 && loss < 4);
    assert_non_null(strstr(out, "bigram baseline "));
    assert_non_null(strstr(out, "tokens per second "));
    assert_non_null(strstr(out, "sample:\n"));
    assert_true(strlen(strstr(out, "sample:\n")) > 48);
}

static void assert_resumes_bitwise(const char *common)
{
    char line[512];
    struct record whole[STEPS + 1], parts[STEPS + 1];
    snprintf(line, sizeof(line), "%s --log log1", common);
    run_well(line);
    char *hash = strstr(contents("out"), "parameter hash ");
    assert_non_null(hash);
    char expected[64];
    snprintf(expected, sizeof(expected), "%.31s", hash);
    snprintf(line, sizeof(line), "%s --log log2 --checkpoint kept --stop-at 7", common);
    run_well(line);
    snprintf(line, sizeof(line), "%s --log log2 --checkpoint kept --resume", common);
    run_well(line);
    assert_non_null(strstr(contents("out"), expected));
    assert_int_equal(read_log("log1", whole, STEPS + 1), STEPS);
    assert_int_equal(read_log("log2", parts, STEPS + 1), STEPS);
    for (int i = 0; i < STEPS; i++) {
        assert_true(whole[i].loss == parts[i].loss); /* nine digits tell any two floats apart */
        assert_true(whole[i].gradient_norm == parts[i].gradient_norm);
    }
}

static void resuming_changes_no_bit(void **state)
{
    (void)state;
    assert_resumes_bitwise(MODEL "--ranks 1 --batch 4");
    assert_resumes_bitwise(MODEL "--ranks 1 --batch 4 --dtype bf16 --optimizer momentum --lr 0.1");
}

static void resuming_several_ranks_changes_no_bit(void **state)
{
    (void)state;
    assert_resumes_bitwise(MODEL "--ranks 2 --batch 2");
}

static void every_optimizer_learns(void **state)
{
    (void)state;
    static const char *const choices[] = {"sgd --lr 0.5", "momentum --lr 0.1", "adam --lr 0.005", "adamw --lr 0.005"};
    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
        char line[512];
        struct record records[STEPS];
        snprintf(line, sizeof(line), "%s--ranks 1 --batch 4 --weight-decay 0.01 --log log --optimizer %s", MODEL,
                 choices[i]);
        run_well(line);
        assert_int_equal(read_log("log", records, STEPS), STEPS);
        if (records[STEPS - 1].loss > 0.8 * records[0].loss)
            fail_msg("%s: from %g to %g only", choices[i], records[0].loss, records[STEPS - 1].loss);
    }
}

/* The one child of @p supervisor whose environment says RANK=1, or 0. */
static pid_t find_rank_1(pid_t supervisor)
{
    char path[64], environment[65536];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)supervisor, (int)supervisor);
    FILE *children = fopen(path, "r");
    int child = 0, found = 0;
    while (children && !found && fscanf(children, "%d", &child) == 1) {
        snprintf(path, sizeof(path), "/proc/%d/environ", child);
        FILE *file = fopen(path, "r");
        size_t bytes = file ? fread(environment, 1, sizeof(environment) - 1, file) : 0;
        if (file) fclose(file);
        if (bytes && memmem(environment, bytes, "\0RANK=1", 8)) found = child;
    }
    if (children) fclose(children);
    return found;
}

static void wait_for_first_step(void)
{
    char byte;
    for (;; usleep(10000)) {
        int fd = open("log", O_RDONLY | O_CLOEXEC);
        ssize_t got = fd < 0 ? 0 : read(fd, &byte, 1);
        if (fd >= 0) close(fd);
        if (got == 1) return;
    }
}

static void a_killed_rank_is_named_by_the_survivor(void **state)
{
    (void)state;
    unlink("log");
    pid_t supervisor = start(MODEL "--ranks 2 --batch 2 --log log --steps 1000000");
    wait_for_first_step();
    pid_t victim = find_rank_1(supervisor);
    if (!victim) {
        kill(supervisor, SIGTERM);
        finish(supervisor);
        skip(); /* no list of children in this /proc */
    }
    assert_int_equal(kill(victim, SIGKILL), 0);
    /* Of the killed rank and the survivor, who gives up within milliseconds, either may be found dead first. */
    int status = finish(supervisor);
    assert_true(status == 128 + SIGKILL || status == EXIT_FAILURE);
    const char *sentence = strstr(contents("err"), "weft-train: cannot average the gradients: peer_failed: ");
    assert_non_null(sentence);
    assert_non_null(strstr(sentence, "rank 1"));
}

static void wrong_use_is_one_line_and_exit_2(void **state)
{
    (void)state;
    assert_int_equal(run("--data text --rank 2"), 2);
    char *err = contents("err");
    assert_string_equal(err, "weft-train: no option --rank; the nearest is --ranks\n");
    assert_int_equal(run("--help"), 0);
    assert_non_null(strstr(contents("out"), "--bucket-bytes"));
    assert_int_equal(run("--version"), 0);
    assert_int_equal(strncmp(contents("out"), "weft-train ", 11), 0);
}

static void failures_are_one_line_and_exit_1(void **state)
{
    (void)state;
    static const char *const lines[][2] = {
        {"--data missing --ranks 1", "cannot open missing: No such file"},
        {"--data missing --ranks 2", "cannot open missing: No such file"},
        {"--data text --context 8000 --ranks 1", "too few for --context 8000"},
        {MODEL "--ranks 1 --checkpoint nowhere --resume", "cannot open nowhere/checkpoint"},
        {MODEL "--ranks 1 --log nowhere/log", "cannot write nowhere/log"},
        {MODEL "--ranks 1 --optimizer sgd --lr 1000 --warmup 0 --clip 0", "try a lower --lr"},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_int_equal(run(lines[i][0]), 1);
        if (!strstr(contents("err"), lines[i][1])) fail_msg("'%s' lacks '%s'", contents("err"), lines[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_line_is_the_held_out_loss),
        cmocka_unit_test(log_rows_have_the_promised_keys),
        cmocka_unit_test(resuming_changes_no_bit),
        cmocka_unit_test(every_optimizer_learns),
        cmocka_unit_test(wrong_use_is_one_line_and_exit_2),
        cmocka_unit_test(failures_are_one_line_and_exit_1),
        cmocka_unit_test(two_ranks_train_as_one_with_twice_the_batch),
        cmocka_unit_test(three_ranks_train_as_one_with_thrice_the_batch),
        cmocka_unit_test(ranks_end_with_equal_parameters),
        cmocka_unit_test(resuming_several_ranks_changes_no_bit),
        cmocka_unit_test(a_killed_rank_is_named_by_the_survivor),
    };
    return cmocka_run_group_tests(tests, enter_directory, remove_directory);
}
