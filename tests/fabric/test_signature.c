/* SPDX-License-Identifier: Apache-2.0 */
/* What a rank remembers of what it has posted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fabric/control/signature.h"

static struct signature_ring ring;

static int ring_clear(void **state)
{
    (void)state;
    memset(&ring, 0, sizeof ring);
    return 0;
}

static struct signature signature_of(uint64_t sequence, uint64_t count)
{
    return (struct signature){.sequence = sequence,
                              .count = count,
                              .root = 7,
                              .plan = 0xdecade,
                              .collective = WEFT_REDUCE,
                              .dtype = WEFT_FLOAT16,
                              .op = WEFT_MAX,
                              .algorithm = WEFT_ALGORITHM_TREE};
}

static void put(uint64_t sequence, uint64_t count)
{
    const struct signature signature = signature_of(sequence, count);
    signature_ring_put(&ring, &signature);
    assert_int_equal(signature_ring_posted(&ring), sequence);
}

static void assert_kept(uint64_t sequence, uint64_t count)
{
    const struct signature expected = signature_of(sequence, count);
    struct signature found;
    assert_true(signature_ring_find(&ring, sequence, &found));
    assert_true(signature_equal(&found, &expected));
}

static void assert_unknown(uint64_t sequence)
{
    struct signature found;
    assert_false(signature_ring_find(&ring, sequence, &found));
}

static void what_was_posted_is_found_with_its_own_sequence(void **state)
{
    (void)state;
    assert_unknown(0);
    assert_unknown(1);
    for (uint64_t sequence = 1; sequence <= 1000; sequence++) put(sequence, sequence / 10);
    for (uint64_t sequence = 1; sequence <= 1000; sequence++) assert_kept(sequence, sequence / 10);
    assert_unknown(0);
    assert_unknown(1001);
}

static void a_run_is_remembered_whole(void **state)
{
    (void)state;
    put(1, 5);
    for (uint64_t sequence = 2; sequence <= 50 * SIGNATURES_KEPT; sequence++) put(sequence, 3);
    assert_kept(1, 5);
    assert_kept(2, 3);
    assert_kept(50 * SIGNATURES_KEPT, 3);
}

static void the_oldest_runs_are_forgotten(void **state)
{
    (void)state;
    for (uint64_t sequence = 1; sequence <= 2 * SIGNATURES_KEPT; sequence++) put(sequence, sequence);
    assert_unknown(SIGNATURES_KEPT);
    for (uint64_t sequence = SIGNATURES_KEPT + 1; sequence <= 2 * SIGNATURES_KEPT; sequence++)
        assert_kept(sequence, sequence);
}

/* A call that failed before it was posted leaves a hole, also among equal ones. */
static void what_was_left_out_is_not_made_up(void **state)
{
    (void)state;
    put(1, 4);
    put(2, 4);
    put(4, 4);
    put(5, 4);
    assert_kept(2, 4);
    assert_unknown(3);
    assert_kept(4, 4);
}

static void each_field_begins_another_run(void **state)
{
    (void)state;
    struct signature next = signature_of(1, 1), found;
    put(1, 1);
    for (uint32_t field = 0; field < 7; field++) {
        next.sequence++;
        next.count += field == 0;
        next.root += field == 1;
        next.plan += field == 2;
        next.collective = (uint8_t)(next.collective + (field == 3));
        next.dtype = (uint8_t)(next.dtype + (field == 4));
        next.op = (uint8_t)(next.op + (field == 5));
        next.algorithm = (uint8_t)(next.algorithm + (field == 6));
        signature_ring_put(&ring, &next);
        assert_true(signature_ring_find(&ring, next.sequence, &found));
        assert_true(signature_equal(&found, &next));
    }
    assert_kept(1, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_was_posted_is_found_with_its_own_sequence, ring_clear),
        cmocka_unit_test_setup(a_run_is_remembered_whole, ring_clear),
        cmocka_unit_test_setup(the_oldest_runs_are_forgotten, ring_clear),
        cmocka_unit_test_setup(what_was_left_out_is_not_made_up, ring_clear),
        cmocka_unit_test_setup(each_field_begins_another_run, ring_clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
