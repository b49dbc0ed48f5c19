/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/config.h"
#include "base/log.h"
#include "tests/base/fresh_process.h"

static char log_path[64];

static void set_nothing(void)
{
}
static void set_debug(void)
{
    setenv("WEFT_LOG", "debug", 1);
}
static void set_file(void)
{
    setenv("WEFT_LOG_FILE", log_path, 1);
}
static void set_bad_file(void)
{
    setenv("WEFT_LOG_FILE", "/nonexistent/folder/log", 1);
}

static void write_each_level(void)
{
    log_error("rank %d", 0);
    log_warning("rank %d", 1);
    log_info("rank %d", 2);
    log_debug("rank %d", 3);
}

static void levels_above_the_configured_one_are_dropped(void **state)
{
    (void)state;
    struct fresh_process result = fresh_process_run(set_nothing, write_each_level);
    assert_string_equal(result.error_output, "weft error rank 0\nweft warning rank 1\n");
    result = fresh_process_run(set_debug, write_each_level);
    assert_string_equal(result.error_output,
                        "weft error rank 0\nweft warning rank 1\nweft info rank 2\nweft debug rank 3\n");
}

static void a_log_file_is_appended_to(void **state)
{
    (void)state;
    snprintf(log_path, sizeof log_path, "/tmp/weft-log-test-%d", (int)getpid());
    for (int i = 0; i < 2; i++) {
        struct fresh_process result = fresh_process_run(set_file, write_each_level);
        assert_int_equal(result.exit_code, 0);
        assert_string_equal(result.error_output, "");
    }
    char content[512] = "";
    FILE *file = fopen(log_path, "r");
    assert_non_null(file);
    assert_true(fread(content, 1, sizeof content - 1, file) > 0);
    fclose(file);
    unlink(log_path);
    assert_string_equal(content, "weft error rank 0\nweft warning rank 1\nweft error rank 0\nweft warning rank 1\n");
}

static void a_log_file_that_cannot_be_opened_is_said_once_on_stderr(void **state)
{
    (void)state;
    struct fresh_process result = fresh_process_run(set_bad_file, write_each_level);
    assert_string_equal(result.error_output,
                        "weft warning log_file /nonexistent/folder/log error No such file or directory using stderr\n"
                        "weft error rank 0\nweft warning rank 1\n");
}

static void write_forged(void)
{
    log_error("name %s", "x\nweft error forged\r\x1b[31m\x7f");
}
static void control_characters_cannot_forge_a_line(void **state)
{
    (void)state;
    struct fresh_process result = fresh_process_run(set_nothing, write_forged);
    assert_string_equal(result.error_output, "weft error name x weft error forged  [31m \n");
}

static void write_long(void)
{
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    for (size_t length = 990; length < 1030; length++) log_error("%.*s", (int)length, text);
    log_error("%.*s", 4999, text);
}
static void a_long_line_is_cut_and_says_so(void **state)
{
    (void)state;
    struct fresh_process result = fresh_process_run(set_nothing, write_long);
    /* Only the end fits into what is kept of the output; each line is whole or ends in dots. */
    int whole = 0, cut = 0;
    for (char *line = strtok(result.error_output, "\n"); line; line = strtok(NULL, "\n")) {
        size_t length = strlen(line);
        assert_true(length <= 1022);
        if (length == 1022 && strcmp(line + 1019, "...") == 0) {
            cut++;
        } else if (cut == 0) {
            whole++;
        }
    }
    assert_true(whole > 10);
}

static void keep_errno(void)
{
    errno = ENOTDIR;
    log_error("%s", strerror(ENOENT));
    if (errno != ENOTDIR) _exit(1);
    log_debug("dropped");
    if (errno != ENOTDIR) _exit(2);
}
static void errno_is_left_alone(void **state)
{
    (void)state;
    assert_int_equal(fresh_process_run(set_bad_file, keep_errno).exit_code, 0);
}

static void *write_many(void *letter)
{
    for (int i = 0; i < 40; i++)
        log_error("thread %s%s%s%s", (char *)letter, (char *)letter, (char *)letter, (char *)letter);
    return NULL;
}
static void write_from_threads(void)
{
    pthread_t threads[4];
    static char letters[4][2] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) {
        if (pthread_create(&threads[i], NULL, write_many, letters[i]) != 0) _exit(1);
    }
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}
static void lines_of_threads_stay_whole(void **state)
{
    (void)state;
    struct fresh_process result = fresh_process_run(set_nothing, write_from_threads);
    assert_int_equal(result.exit_code, 0);
    int lines = 0;
    for (char *line = strtok(result.error_output, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        assert_int_equal(strlen(line), strlen("weft error thread aaaa"));
        assert_memory_equal(line, "weft error thread ", 18);
        for (int i = 19; i < 22; i++) assert_int_equal(line[i], line[18]);
    }
    assert_int_equal(lines, 160);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_above_the_configured_one_are_dropped),
        cmocka_unit_test(a_log_file_is_appended_to),
        cmocka_unit_test(a_log_file_that_cannot_be_opened_is_said_once_on_stderr),
        cmocka_unit_test(control_characters_cannot_forge_a_line),
        cmocka_unit_test(a_long_line_is_cut_and_says_so),
        cmocka_unit_test(errno_is_left_alone),
        cmocka_unit_test(lines_of_threads_stay_whole),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
