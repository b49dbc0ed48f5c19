/* SPDX-License-Identifier: Apache-2.0 */
/* Measured figures: kept, read back, refused when they are none, and used in place of the built-in ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "collectives/select/calibration.h"

static char folder[] = "/tmp/weft_calibration_XXXXXX", path[64];

/* The configuration is read once: the file's place is settled before anything else. */
static int place_make(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/sub/figures.json", folder);
    return setenv("WEFT_CALIBRATION", path, 1);
}

static int place_remove(void **state)
{
    (void)state;
    char sub[64];
    unlink(path);
    snprintf(sub, sizeof sub, "%s/sub", folder);
    rmdir(sub);
    return rmdir(folder);
}

static weft_calibration measured(const char *transport, double message_ns)
{
    return (weft_calibration){.size = sizeof(weft_calibration),
                              .transport = transport,
                              .message_ns = message_ns,
                              .byte_ns = 0.125,
                              .message_spread_ns = 3,
                              .byte_spread_ns = 0.5,
                              .samples = 41};
}

static void what_is_stored_is_read_back_and_other_transports_stay(void **state)
{
    (void)state;
    weft_calibration shm = measured("shm", 400), tcp = measured("tcp", 9000), again = measured("shm", 500);
    char stored[CALIBRATION_PATH], host[CALIBRATION_TEXT];
    assert_int_equal(weft_calibration_store(&shm, stored), WEFT_OK);
    assert_string_equal(stored, path);
    assert_int_equal(weft_calibration_store(&tcp, NULL), WEFT_OK);
    assert_int_equal(weft_calibration_store(&again, NULL), WEFT_OK);
    struct calibration calibration;
    assert_int_equal(calibration_load(path, &calibration, NULL), WEFT_OK);
    calibration_host(host);
    assert_string_equal(calibration.host, host);
    assert_true(calibration.figures[0].message_ns == 500 && calibration.figures[1].message_ns == 9000);
    assert_true(calibration.figures[0].byte_ns == 0.125 && calibration.figures[0].byte_spread_ns == 0.5);
    assert_int_equal(calibration.figures[1].samples, 41);
    assert_false(calibration.figures[2].present);
}

static void measured_figures_take_the_built_in_ones_place(void **state)
{
    (void)state;
    struct calibration calibration = {.date = "today", .host = "here"};
    calibration.figures[1] = (struct calibration_figures){.present = true, .message_ns = 9000, .byte_ns = 0.25};
    struct cost_model model;
    char source[CALIBRATION_PATH];
    assert_false(calibration_apply(&calibration, "shm", &cost_model_shm, &model, source));
    assert_true(calibration_apply(&calibration, "tcp", &cost_model_tcp, &model, source));
    assert_true(model.message_ns == 9000 && model.byte_ns == 0.25 && model.step_ns == 0);
    assert_int_equal(model.slice_bytes, cost_model_tcp.slice_bytes);
    assert_memory_equal(model.source, "measured today on here", 22);
}

static void rounds_are_kept_and_used_with_their_doubt(void **state)
{
    (void)state;
    weft_calibration shm = measured("shm", 400);
    shm.byte_spread_ns = 0.0125;
    shm.lone_byte_ns = 0.25, shm.lone_byte_spread_ns = 0.01;
    shm.round_ns = 225, shm.round_spread_ns = 90;
    shm.cell_byte_ns = 0.5, shm.cell_byte_spread_ns = 0.03;
    shm.copy_ns = 2000, shm.copy_spread_ns = 100;
    shm.copy_byte_ns = 0.125, shm.copy_byte_spread_ns = 0.01;
    shm.exchange_ns = 44;
    assert_int_equal(weft_calibration_store(&shm, NULL), WEFT_OK);
    struct calibration calibration;
    struct cost_model model;
    char source[CALIBRATION_PATH];
    assert_int_equal(calibration_load(path, &calibration, NULL), WEFT_OK);
    assert_true(calibration.figures[0].exchange_ns == 44 && calibration.figures[0].copy_spread_ns == 100);
    assert_true(calibration_apply(&calibration, "shm", &cost_model_shm, &model, source));
    assert_true(model.round_ns == 225 && model.cell_byte_ns == 0.5 && model.lone_byte_ns == 0.25);
    assert_true(model.copy_ns == 2000 && model.copy_byte_ns == 0.125);
    assert_true(model.cell_ns == cost_model_shm.cell_ns * 225 / cost_model_shm.round_ns);
    assert_true(model.doubt == 0.4); /* of the round, which is the most uncertain */
    assert_non_null(strstr(source, "round 225 +- 90 ns"));
}

static void who_knows_nothing_of_rounds_leaves_them_as_they_are_built_in(void **state)
{
    (void)state;
    weft_calibration shm = measured("shm", 400);
    shm.size = offsetof(weft_calibration, lone_byte_ns); /* a caller of the first version */
    shm.round_ns = 1;                                    /* behind its end */
    assert_int_equal(weft_calibration_store(&shm, NULL), WEFT_OK);
    struct calibration calibration;
    struct cost_model model;
    char source[CALIBRATION_PATH];
    assert_int_equal(calibration_load(path, &calibration, NULL), WEFT_OK);
    assert_true(calibration.figures[0].round_ns == 0);
    assert_true(calibration_apply(&calibration, "shm", &cost_model_shm, &model, source));
    assert_true(model.message_ns == 400 && model.round_ns == cost_model_shm.round_ns);
    assert_true(model.doubt == 0.5); /* four times as much, but what is less certain is not kept */
}

static void what_is_no_measurement_is_not_stored(void **state)
{
    (void)state;
    weft_calibration wrong = measured("pigeon", 400);
    assert_int_equal(weft_calibration_store(&wrong, NULL), WEFT_INVALID_ARGUMENT);
    wrong = measured("shm", 0);
    assert_int_equal(weft_calibration_store(&wrong, NULL), WEFT_INVALID_ARGUMENT);
    wrong = measured("shm", 400);
    wrong.copy_ns = -1;
    assert_int_equal(weft_calibration_store(&wrong, NULL), WEFT_INVALID_ARGUMENT);
    wrong = measured("shm", 400);
    wrong.size--;
    assert_int_equal(weft_calibration_store(&wrong, NULL), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_calibration_store(NULL, NULL), WEFT_INVALID_ARGUMENT);
}

static void a_bad_file_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } files[] = {
        {"{\"weft_calibration\":2,\"transports\":{}}", "weft_calibration"},
        {"{\"weft_calibration\":1}", "transports"},
        {"{\"weft_calibration\":1,\n\"transports\":{\"shm\":{\"message_ns\":-1}}}", "f:2:"},
        {"{\"weft_calibration\":1,\"transports\":{\"shm\":{\"message_ns\":1e999}}}", "message_ns"},
        {"{\"weft_calibration\":1,\"transports\":{\"shm\":[]}}", "f:1:"},
        {"{\"weft_calibration\":1,\"transports\":{\"shm\":{\"message_ns\":1,\"message_spread_ns\":0,\"byte_ns\":1,"
         "\"byte_spread_ns\":0,\"samples\":1,\n\"copy_ns\":\"fast\"}}}",
         "f:2:"},
        {"{\"weft_calibration\":1,", "f:"},
        {"[]", "weft_calibration"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct calibration calibration;
        struct diagnostic diagnostic = {0};
        assert_int_equal(calibration_parse("f", files[i].text, strlen(files[i].text), &calibration, &diagnostic),
                         WEFT_BAD_FORMAT);
        if (!strstr(diagnostic.text, files[i].words)) fail_msg("%s: \"%s\"", files[i].text, diagnostic.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_stored_is_read_back_and_other_transports_stay),
        cmocka_unit_test(measured_figures_take_the_built_in_ones_place),
        cmocka_unit_test(rounds_are_kept_and_used_with_their_doubt),
        cmocka_unit_test(who_knows_nothing_of_rounds_leaves_them_as_they_are_built_in),
        cmocka_unit_test(what_is_no_measurement_is_not_stored),
        cmocka_unit_test(a_bad_file_is_refused_with_its_place),
    };
    return cmocka_run_group_tests(tests, place_make, place_remove);
}
