/* SPDX-License-Identifier: Apache-2.0 */
/* On its own because the configuration is read once in a process. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */
#include <stdlib.h>

#include "base/config.h"
#include "collectives/reduce/reduce.h"

static void the_environment_lowers_the_vector_width(void **state)
{
    (void)state;
    assert_string_equal(reduce_simd_name(), "portable");
    for (int dtype = 0; dtype < WEFT_DTYPE_COUNT; dtype++) {
        for (int op = 0; op < WEFT_OP_COUNT; op++) {
            reduce_function chosen = reduce_lookup((weft_dtype)dtype, (weft_op)op);
            assert_ptr_equal(chosen, reduce_lookup_at((weft_dtype)dtype, (weft_op)op, SIMD_PORTABLE));
        }
    }
}

int main(void)
{
    setenv("WEFT_SIMD", "portable", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_environment_lowers_the_vector_width)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
