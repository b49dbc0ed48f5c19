/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

enum { MOST = 200000 };

static void file_make(char path[32], size_t size)
{
    strcpy(path, "/tmp/weft-file-XXXXXX");
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    for (size_t i = 0; i < size; i++) assert_int_equal(write(descriptor, &(char){(char)(i % 251)}, 1), 1);
    close(descriptor);
}

static void files_are_read_up_to_the_limit(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, MOST};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char path[32], *bytes = NULL;
        size_t size = SIZE_MAX;
        struct diagnostic diagnostic = {0};
        file_make(path, sizes[i]);
        assert_int_equal(file_load(path, MOST, &bytes, &size, &diagnostic), WEFT_OK);
        assert_int_equal(size, sizes[i]);
        for (size_t k = 0; k < size; k++) assert_int_equal(bytes[k], (char)(k % 251));
        free(bytes);
        unlink(path);
    }
}

static void longer_ones_are_refused(void **state)
{
    (void)state;
    char path[32], *bytes = NULL;
    size_t size = 7;
    struct diagnostic diagnostic = {0};
    file_make(path, MOST + 1);
    assert_int_equal(file_load(path, MOST, &bytes, &size, &diagnostic), WEFT_SYSTEM_ERROR);
    unlink(path);
    assert_non_null(strstr(diagnostic.text, path));
    assert_non_null(strstr(diagnostic.text, "longer than 200000 bytes"));
    assert_null(bytes);
    assert_int_equal(size, 7);
}

static void what_cannot_be_read_is_named(void **state)
{
    (void)state;
    static const char *const paths[] = {"/nonexistent/file", "/tmp"}; /* a directory opens, and then cannot be read */
    for (size_t i = 0; i < 2; i++) {
        char *bytes = NULL;
        size_t size = 0;
        struct diagnostic diagnostic = {0};
        assert_int_equal(file_load(paths[i], MOST, &bytes, &size, &diagnostic), WEFT_SYSTEM_ERROR);
        assert_non_null(strstr(diagnostic.text, paths[i]));
    }
}

static void files_without_a_length_are_read(void **state)
{
    (void)state;
    char *bytes = NULL;
    size_t size = 0;
    struct diagnostic diagnostic = {0};
    assert_int_equal(file_load("/proc/self/status", MOST, &bytes, &size, &diagnostic), WEFT_OK);
    assert_true(size > 0);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read_up_to_the_limit),
        cmocka_unit_test(longer_ones_are_refused),
        cmocka_unit_test(what_cannot_be_read_is_named),
        cmocka_unit_test(files_without_a_length_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
