/* SPDX-License-Identifier: Apache-2.0 */
/* Hierarchical plans: right for all groups, and no more between groups than there has to be. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "collectives/plan/shape.h"
#include "tests/collectives/plan_edit.h"

enum { RANKS_MAX = 64, LEVELS_MAX = 3 };

static const weft_collective grouped[] = {WEFT_ALL_REDUCE, WEFT_BROADCAST,      WEFT_BARRIER,
                                          WEFT_ALL_GATHER, WEFT_REDUCE_SCATTER, WEFT_REDUCE};
enum { GROUPED_COUNT = sizeof grouped / sizeof grouped[0] };

static weft_status create(weft_collective collective, uint32_t rank_count, uint32_t root, uint32_t channels,
                          const uint32_t *groups, uint32_t levels, weft_plan **plan)
{
    const weft_plan_layout layout = {.size = sizeof layout, .groups = groups, .level_count = levels};
    const weft_plan_spec spec = {.size = sizeof spec,
                                 .collective = collective,
                                 .algorithm = WEFT_ALGORITHM_HIERARCHICAL,
                                 .rank_count = rank_count,
                                 .root = root,
                                 .channel_count = channels,
                                 .slot_depth = rank_count % 2 ? 2 : 4,
                                 .layout = &layout};
    return weft_plan_create(&spec, plan);
}

/* What crosses from group to group, which are numbered by @p groups. */
struct crossings {
    const uint32_t *groups;
    uint64_t messages;
    double share, most; /* together, and the most of one pair of ranks */
};

static void crossing_add(void *context, const weft_plan_load *load)
{
    struct crossings *crossings = context;
    if (crossings->groups[load->from] == crossings->groups[load->to]) return;
    crossings->messages += load->messages;
    crossings->share += load->share;
    if (load->share > crossings->most) crossings->most = load->share;
}

/* Proved, and what is between groups counted. Returns messages one after another. */
static uint64_t proved(weft_collective collective, uint32_t rank_count, uint32_t root, uint32_t channels,
                       const uint32_t *groups, uint32_t levels, struct crossings *crossings)
{
    weft_plan *plan = NULL;
    weft_plan_report report;
    assert_int_equal(create(collective, rank_count, root, channels, groups, levels, &plan), WEFT_OK);
    plan_must_verify(plan, &report);
    *crossings = (struct crossings){.groups = groups + (size_t)(levels - 1) * rank_count};
    assert_int_equal(weft_plan_loads(plan, crossing_add, crossings), WEFT_OK);
    weft_plan_destroy(plan);
    return report.critical_messages;
}

/* Groups of any size, also of one, each rank in any of them; then groups of groups. Returns the outermost's number. */
static uint32_t draw_groups(struct random *random, uint32_t rank_count, uint32_t levels, uint32_t *groups)
{
    uint32_t most = rank_count, used[RANKS_MAX], count = 0;
    for (uint32_t level = 0; level < levels; level++) {
        uint32_t names = 1 + (uint32_t)random_below(random, most), joined[RANKS_MAX];
        for (uint32_t i = 0; i < RANKS_MAX; i++) joined[i] = 7 + 3 * (uint32_t)random_below(random, names);
        for (uint32_t rank = 0; rank < rank_count; rank++) {
            uint32_t below = level == 0 ? rank : groups[(size_t)(level - 1) * rank_count + rank] % RANKS_MAX;
            groups[(size_t)level * rank_count + rank] = joined[below];
        }
        most = names;
    }
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        uint32_t group = groups[(size_t)(levels - 1) * rank_count + rank], i = 0;
        while (i < count && used[i] != group) i++;
        if (i == count) used[count++] = group;
    }
    return count;
}

static void every_grouping_gives_a_right_plan_from_every_root(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 150; seed++) {
        struct random random;
        random_seed(&random, seed);
        uint32_t n = 1 + (uint32_t)random_below(&random, 20), levels = 1 + (uint32_t)random_below(&random, LEVELS_MAX);
        uint32_t groups[LEVELS_MAX * RANKS_MAX], count = draw_groups(&random, n, levels, groups);
        print_message("seed %llu: %u ranks, %u groups, %u levels\n", (unsigned long long)seed, n, count, levels);
        for (uint32_t c = 0; c < GROUPED_COUNT; c++)
            for (uint32_t root = 0; root < (shape_of(grouped[c])->rooted ? n : 1); root++)
                for (uint32_t channels = 1; channels <= (grouped[c] == WEFT_ALL_REDUCE ? 2 : 1); channels++) {
                    struct crossings crossings;
                    proved(grouped[c], n, root, channels, groups, levels, &crossings);
                    if (grouped[c] == WEFT_BROADCAST || grouped[c] == WEFT_REDUCE)
                        assert_int_equal(crossings.messages, count - 1);
                    if (grouped[c] == WEFT_BARRIER || (grouped[c] == WEFT_ALL_REDUCE && channels == 1))
                        assert_int_equal(crossings.messages, count * (count - 1));
                }
    }
}

/* Four hosts of eight ranks, dealt out in order. */
static void between_hosts_a_small_message_goes_once_and_a_large_one_by_all_ranks(void **state)
{
    (void)state;
    enum { HOSTS = 4, EACH = 8, N = HOSTS * EACH };
    uint32_t groups[N];
    struct crossings crossings;
    for (uint32_t rank = 0; rank < N; rank++) groups[rank] = rank / EACH;
    assert_int_equal(proved(WEFT_ALL_REDUCE, N, 0, 1, groups, 1, &crossings), 3);
    assert_int_equal(crossings.messages, HOSTS * (HOSTS - 1));
    assert_int_equal(proved(WEFT_BARRIER, N, 0, 1, groups, 1, &crossings), 3);
    assert_int_equal(proved(WEFT_BROADCAST, N, 9, 1, groups, 1, &crossings), 2);
    assert_int_equal(proved(WEFT_REDUCE, N, 9, 1, groups, 1, &crossings), 2);

    /* All hosts' partial results to the owners of shares, or shares to all hosts: the least there can be. */
    const double least = HOSTS - 1, each = least / (HOSTS * (HOSTS - 1) * EACH);
    assert_int_equal(proved(WEFT_REDUCE_SCATTER, N, 0, 1, groups, 1, &crossings), 2);
    assert_true(fabs(crossings.share - least) < 1e-12 && fabs(crossings.most - each) < 1e-12);
    assert_int_equal(proved(WEFT_ALL_GATHER, N, 0, 1, groups, 1, &crossings), 2);
    assert_true(fabs(crossings.share - least) < 1e-12 && fabs(crossings.most - each) < 1e-12);
    assert_int_equal(proved(WEFT_ALL_REDUCE, N, 0, 2, groups, 1, &crossings), 4);
    assert_true(fabs(crossings.share - 2 * least) < 1e-12 && fabs(crossings.most - 2 * each) < 1e-12);
}

/* 64 ranks: caches of 8 on NUMA nodes of 32. */
static void a_numa_node_is_left_once_and_caches_within_it_first(void **state)
{
    (void)state;
    enum { N = 64 };
    uint32_t groups[2 * N];
    struct crossings crossings;
    for (uint32_t rank = 0; rank < N; rank++) groups[rank] = rank / 8, groups[N + rank] = rank / 32;
    /* To the leader of the cache, of the node, to the other node, and back. */
    assert_int_equal(proved(WEFT_ALL_REDUCE, N, 0, 1, groups, 2, &crossings), 5);
    assert_int_equal(crossings.messages, 2);
    /* Without nodes: fewer messages one after another, and more of them from node to node. */
    assert_int_equal(proved(WEFT_ALL_REDUCE, N, 0, 1, groups, 1, &crossings), 3);
    assert_int_equal(crossings.messages, 8 * 7);
}

static weft_status status_of(uint32_t rank_count, const uint32_t *groups, uint32_t levels)
{
    weft_plan *plan = NULL;
    weft_status status = create(WEFT_ALL_REDUCE, rank_count, 0, 2, groups, levels, &plan);
    weft_plan_destroy(plan);
    return status;
}

static void groups_that_are_none_are_refused(void **state)
{
    (void)state;
    const uint32_t nested[8] = {1, 1, 2, 3, 5, 5, 5, 9}, crossed[8] = {1, 1, 2, 3, 5, 6, 5, 9};
    static uint32_t wide[300];
    for (uint32_t rank = 0; rank < 300; rank++) wide[rank] = rank;
    assert_int_equal(status_of(4, nested, 2), WEFT_OK);
    assert_int_equal(status_of(4, crossed, 2), WEFT_INVALID_ARGUMENT);
    assert_int_equal(status_of(4, nested, 0), WEFT_INVALID_ARGUMENT);
    assert_int_equal(status_of(4, NULL, 1), WEFT_INVALID_ARGUMENT);
    assert_int_equal(status_of(255, wide, 1), WEFT_OK);
    assert_int_equal(status_of(256, wide, 1), WEFT_RESOURCE_LIMIT); /* a step has no more operands */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_grouping_gives_a_right_plan_from_every_root),
        cmocka_unit_test(between_hosts_a_small_message_goes_once_and_a_large_one_by_all_ranks),
        cmocka_unit_test(a_numa_node_is_left_once_and_caches_within_it_first),
        cmocka_unit_test(groups_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
