/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks of one host that go over TCP are each a group of its own, so that everybody sends to everybody at once; but not
 * where they are more than the processors that would have to send all this; those are put side by side, and left free
 * to move. Needs a machine of 2 to 15 processors.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/collectives/comm_ranks.h"

enum { ALONE_RANKS_MAX = 16 };

static void groups_note(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    char(*lines)[64] = results, *text = NULL;
    (void)argument;
    snprintf(lines[rank], sizeof lines[rank], "no description");
    if (weft_comm_describe(comm, WEFT_TEXT, &text) != WEFT_OK) return;
    const char *groups = strstr(text, "groups: ");
    snprintf(lines[rank], sizeof lines[rank], "%.*s", groups ? (int)strcspn(groups, "\n") : 4,
             groups ? groups : "none");
    free(text);
}

/* What all of @p ranks say of their groups. */
static void assert_groups(uint32_t ranks, const char *expected)
{
    char(*lines)[64] = ranks_shared(ranks * sizeof *lines);
    const struct ranks_config config = {.rank_count = ranks, .function = groups_note};
    assert_int_equal(ranks_as_processes(&config, lines, NULL), 0);
    for (uint32_t rank = 0; rank < ranks; rank++) assert_string_equal(lines[rank], expected);
    ranks_unshare(lines, ranks * sizeof *lines);
}

static void ranks_with_a_processor_each_are_groups_of_their_own(void **state)
{
    assert_groups(2, "groups: 2 of at most 1 ranks, in 1 level");
    (void)state;
}

static void ranks_that_share_processors_are_not(void **state)
{
    assert_groups(*(const uint32_t *)*state + 1, "none");
}

static void freedom_note(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    const cpu_set_t *before = argument; /* the parent's */
    bool *same = results;
    cpu_set_t now;
    (void)comm;
    same[rank] = sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(before, &now);
}

static void ranks_that_share_processors_are_not_bound(void **state)
{
    const uint32_t ranks = *(const uint32_t *)*state + 1;
    bool *same = ranks_shared(ranks * sizeof *same);
    cpu_set_t before;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    const struct ranks_config config = {.rank_count = ranks, .function = freedom_note, .argument = &before};
    assert_int_equal(ranks_as_processes(&config, same, NULL), 0);
    for (uint32_t rank = 0; rank < ranks; rank++) assert_true(same[rank]);
    ranks_unshare(same, ranks * sizeof *same);
}

int main(void)
{
    const long found = sysconf(_SC_NPROCESSORS_CONF);
    uint32_t processors = found < 0 ? 0 : (uint32_t)found;
    if (processors < 2 || processors >= ALONE_RANKS_MAX) {
        printf("needs 2 to %d processors, has %u\n", ALONE_RANKS_MAX - 1, processors);
        return 77;
    }
    setenv("WEFT_TRANSPORT", "tcp", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_with_a_processor_each_are_groups_of_their_own),
        cmocka_unit_test_prestate(ranks_that_share_processors_are_not, &processors),
        cmocka_unit_test_prestate(ranks_that_share_processors_are_not_bound, &processors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
