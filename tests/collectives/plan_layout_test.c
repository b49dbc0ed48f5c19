/* SPDX-License-Identifier: Apache-2.0 */
/* Plans over given rings and trees: proved right, and every pair of ranks carries what the layout says it should. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "collectives/plan/layout.h"
#include "tests/collectives/plan_edit.h"

enum { RANKS = 12, TREES = 40 };

/* Room for a layout of random trees or rings, and what each ordered pair of ranks ought to carry. */
struct drawn {
    uint32_t rank_count;
    uint32_t order[TREES][RANKS], parents[TREES][RANKS], reduce_parents[TREES][RANKS];
    weft_plan_ring rings[TREES];
    weft_plan_tree trees[TREES];
    weft_plan_layout layout;
    double expected[RANKS][RANKS], found[RANKS][RANKS];
};

static void shuffle(struct random *random, uint32_t *ranks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) ranks[i] = i;
    for (uint32_t i = count; i > 1; i--) {
        uint32_t other = (uint32_t)random_below(random, i), kept = ranks[i - 1];
        ranks[i - 1] = ranks[other];
        ranks[other] = kept;
    }
}

static void draw_parents(struct random *random, uint32_t count, uint32_t root, uint32_t *parents)
{
    uint32_t ranks[RANKS] = {0}, at = 0;
    shuffle(random, ranks, count);
    while (ranks[at] != root) at++;
    ranks[at] = ranks[0];
    ranks[0] = root;
    for (uint32_t i = 1; i < count; i++) parents[ranks[i]] = ranks[random_below(random, i)];
    parents[root] = 12345; /* not read */
}

/* One to three trees at every rank, weights alike at all ranks in their sum or not; and as many rings. */
static void draw_layout(struct drawn *drawn, struct random *random)
{
    memset(drawn, 0, sizeof *drawn);
    drawn->rank_count = 1 + (uint32_t)random_below(random, RANKS);
    uint32_t count = 0;
    bool own_way_up = random_below(random, 2);
    for (uint32_t root = 0; root < drawn->rank_count; root++) {
        uint32_t here = 1 + (uint32_t)random_below(random, 3);
        for (uint32_t i = 0; i < here; i++, count++) {
            weft_plan_tree *tree = &drawn->trees[count];
            draw_parents(random, drawn->rank_count, root, drawn->parents[count]);
            draw_parents(random, drawn->rank_count, root, drawn->reduce_parents[count]);
            *tree = (weft_plan_tree){root, drawn->parents[count], own_way_up ? drawn->reduce_parents[count] : NULL,
                                     1 + (uint32_t)random_below(random, 6)};
            shuffle(random, drawn->order[count], drawn->rank_count);
            drawn->rings[count] = (weft_plan_ring){drawn->order[count], tree->weight};
        }
    }
    drawn->layout = (weft_plan_layout){.size = sizeof drawn->layout,
                                       .rings = drawn->rings,
                                       .ring_count = count,
                                       .trees = drawn->trees,
                                       .tree_count = count};
}

static void expect(struct drawn *drawn, uint32_t from, uint32_t to, double share)
{
    drawn->expected[from][to] += share;
}

static const uint32_t *way_up(const weft_plan_tree *tree)
{
    return tree->reduce_parents ? tree->reduce_parents : tree->parents;
}

/* What collectives over all trees send, written down from what weft/plan.h says. */
static void expect_trees(struct drawn *drawn, weft_collective collective)
{
    double total = 0, at_root[RANKS] = {0};
    for (uint32_t i = 0; i < drawn->layout.tree_count; i++) {
        total += drawn->trees[i].weight;
        at_root[drawn->trees[i].root] += drawn->trees[i].weight;
    }
    for (uint32_t i = 0; i < drawn->layout.tree_count; i++) {
        const weft_plan_tree *tree = &drawn->trees[i];
        bool blocks = collective != WEFT_ALL_REDUCE;
        double share = blocks ? tree->weight / at_root[tree->root] / drawn->rank_count : tree->weight / total;
        for (uint32_t rank = 0; rank < drawn->rank_count; rank++) {
            if (rank == tree->root) continue;
            if (collective != WEFT_REDUCE_SCATTER) expect(drawn, tree->parents[rank], rank, share);
            if (collective != WEFT_ALL_GATHER) expect(drawn, rank, way_up(tree)[rank], share);
        }
    }
}

static void expect_rings(struct drawn *drawn, weft_collective collective)
{
    double total = 0, count = drawn->rank_count;
    for (uint32_t i = 0; i < drawn->layout.ring_count; i++) total += drawn->rings[i].weight;
    double times = collective == WEFT_ALL_REDUCE ? 2 * (count - 1) / count : (count - 1) / count;
    for (uint32_t i = 0; i < drawn->layout.ring_count && count > 1; i++)
        for (uint32_t p = 0; p < drawn->rank_count; p++)
            expect(drawn, drawn->order[i][p], drawn->order[i][(p + 1) % drawn->rank_count],
                   times * drawn->rings[i].weight / total);
}

static void note_load(void *context, const weft_plan_load *load)
{
    struct drawn *drawn = context;
    assert_true(drawn->found[load->from][load->to] == 0);
    assert_true(load->messages > 0);
    drawn->found[load->from][load->to] = load->share;
}

static weft_plan *make_over(const weft_plan_layout *layout, weft_collective collective, weft_algorithm algorithm,
                            uint32_t rank_count, uint32_t root)
{
    const weft_plan_spec spec = {
        .size = sizeof spec,
        .collective = collective,
        .algorithm = algorithm,
        .rank_count = rank_count,
        .root = root,
        .layout = layout,
    };
    weft_plan *plan = NULL;
    assert_int_equal(weft_plan_create(&spec, &plan), WEFT_OK);
    return plan;
}

/* Proved, loaded as expected where that is known, and the same again as text. */
static void check_over(struct drawn *drawn, weft_collective collective, weft_algorithm algorithm, uint32_t root)
{
    weft_plan *plan = make_over(&drawn->layout, collective, algorithm, drawn->rank_count, root);
    plan_must_verify(plan, NULL);
    memset(drawn->expected, 0, sizeof drawn->expected);
    memset(drawn->found, 0, sizeof drawn->found);
    if (!shape_of(collective)->rooted && collective != WEFT_BARRIER) {
        if (algorithm == WEFT_ALGORITHM_TREE)
            expect_trees(drawn, collective);
        else
            expect_rings(drawn, collective);
        assert_int_equal(weft_plan_loads(plan, note_load, drawn), WEFT_OK);
        for (uint32_t from = 0; from < drawn->rank_count; from++)
            for (uint32_t to = 0; to < drawn->rank_count; to++)
                assert_true(fabs(drawn->expected[from][to] - drawn->found[from][to]) < 1e-12);
    }
    char *text = NULL;
    assert_int_equal(weft_plan_print(plan, WEFT_ALL_RANKS, WEFT_TEXT, &text), WEFT_OK);
    struct weft_plan *copy = plan_from_text(text);
    assert_true(weft_plan_hash(copy) == weft_plan_hash(plan));
    weft_plan_destroy(copy);
    free(text);
    weft_plan_destroy(plan);
}

static void random_layouts_give_right_plans_with_the_loads_they_imply(void **state)
{
    (void)state;
    struct drawn *drawn = malloc(sizeof *drawn);
    assert_non_null(drawn);
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct random random;
        random_seed(&random, seed);
        draw_layout(drawn, &random);
        print_message("seed %llu: %u ranks, %u trees\n", (unsigned long long)seed, drawn->rank_count,
                      drawn->layout.tree_count);
        for (int collective = 0; collective < WEFT_COLLECTIVE_COUNT; collective++)
            for (int algorithm = WEFT_ALGORITHM_RING; algorithm <= WEFT_ALGORITHM_TREE; algorithm++) {
                const struct plan_generator *generator =
                    plan_generator_find((weft_collective)collective, (weft_algorithm)algorithm);
                if (!generator || !plan_generator_serves(generator, drawn->rank_count, true)) continue;
                bool rooted = shape_of((weft_collective)collective)->rooted;
                uint32_t root = rooted ? (uint32_t)random_below(&random, drawn->rank_count) : 0;
                check_over(drawn, (weft_collective)collective, (weft_algorithm)algorithm, root);
            }
    }
    free(drawn);
}

/* Seven ranks, each connected to each: the six step widths give rings that share no link. */
static void edge_disjoint_rings_share_the_load_and_one_channel(void **state)
{
    (void)state;
    uint32_t orders[6][7];
    weft_plan_ring rings[6];
    for (uint32_t width = 1; width <= 6; width++) {
        for (uint32_t i = 0; i < 7; i++) orders[width - 1][i] = i * width % 7;
        rings[width - 1] = (weft_plan_ring){orders[width - 1], 1};
    }
    const weft_plan_layout layout = {.size = sizeof layout, .rings = rings, .ring_count = 6};
    weft_plan *plan = make_over(&layout, WEFT_ALL_GATHER, WEFT_ALGORITHM_RING, 7, 0);
    weft_plan_report report;
    plan_must_verify(plan, &report);
    assert_true(fabs(report.max_link_share - 1.0 / 7) < 1e-12);
    assert_true(fabs(report.max_rank_sent_share - 6.0 / 7) < 1e-12);
    assert_int_equal(plan->channel_count, 1);
    weft_plan_destroy(plan);
}

/* All-gather where each rank sends to all others: stars, and the links carry a rank's block each. */
static void stars_at_every_rank_need_one_channel(void **state)
{
    (void)state;
    uint32_t parents[16][16];
    weft_plan_tree trees[16];
    for (uint32_t root = 0; root < 16; root++) {
        for (uint32_t rank = 0; rank < 16; rank++) parents[root][rank] = root;
        trees[root] = (weft_plan_tree){root, parents[root], NULL, 4};
    }
    const weft_plan_layout layout = {.size = sizeof layout, .trees = trees, .tree_count = 16};
    weft_plan *plan = make_over(&layout, WEFT_ALL_GATHER, WEFT_ALGORITHM_TREE, 16, 0);
    weft_plan_report report;
    plan_must_verify(plan, &report);
    assert_int_equal(plan->channel_count, 1);
    assert_int_equal(plan->share_denominator, 16); /* equal weights are no weights */
    assert_int_equal(report.critical_messages, 1);
    assert_true(fabs(report.max_link_share - 1.0 / 16) < 1e-12);
    weft_plan_destroy(plan);
}

/* A chain 0 - 1 - 2 - 3 rooted at 0, asked to broadcast from 2. */
static void trees_of_other_roots_are_turned_round(void **state)
{
    (void)state;
    const uint32_t parents[4] = {0, 0, 1, 2};
    const weft_plan_tree tree = {0, parents, NULL, 1};
    const weft_plan_layout layout = {.size = sizeof layout, .trees = &tree, .tree_count = 1};
    weft_plan *plan = make_over(&layout, WEFT_BROADCAST, WEFT_ALGORITHM_TREE, 4, 2);
    weft_plan_report report;
    plan_must_verify(plan, &report);
    assert_int_equal(report.messages, 3);
    assert_int_equal(report.critical_messages, 2);
    weft_plan_destroy(plan);
}

static weft_status status_of(const weft_plan_layout *layout, weft_collective collective, weft_algorithm algorithm)
{
    const weft_plan_spec spec = {
        .size = sizeof spec, .collective = collective, .algorithm = algorithm, .rank_count = 4, .layout = layout};
    weft_plan *plan = NULL;
    weft_status status = weft_plan_create(&spec, &plan);
    weft_plan_destroy(plan);
    return status;
}

static weft_status tree_status(weft_plan_tree tree, weft_collective collective)
{
    const weft_plan_layout layout = {.size = sizeof layout, .trees = &tree, .tree_count = 1};
    return status_of(&layout, collective, WEFT_ALGORITHM_TREE);
}

static weft_status ring_status(weft_plan_ring ring)
{
    const weft_plan_layout layout = {.size = sizeof layout, .rings = &ring, .ring_count = 1};
    return status_of(&layout, WEFT_ALL_REDUCE, WEFT_ALGORITHM_RING);
}

static void layouts_that_are_none_are_refused(void **state)
{
    (void)state;
    const uint32_t chain[4] = {0, 0, 1, 2}, circle[4] = {0, 2, 3, 1}, itself[4] = {0, 0, 2, 0},
                   beyond[4] = {0, 0, 4, 0};
    const uint32_t order[4] = {2, 0, 3, 1}, twice[4] = {0, 1, 1, 3}, outside[4] = {0, 1, 2, 4};
    assert_int_equal(tree_status((weft_plan_tree){0, chain, NULL, 1}, WEFT_ALL_REDUCE), WEFT_OK);
    assert_int_equal(tree_status((weft_plan_tree){0, circle, NULL, 1}, WEFT_ALL_REDUCE), WEFT_INVALID_ARGUMENT);
    assert_int_equal(tree_status((weft_plan_tree){0, chain, circle, 1}, WEFT_ALL_REDUCE), WEFT_INVALID_ARGUMENT);
    assert_int_equal(tree_status((weft_plan_tree){0, itself, NULL, 1}, WEFT_ALL_REDUCE), WEFT_INVALID_ARGUMENT);
    assert_int_equal(tree_status((weft_plan_tree){0, beyond, NULL, 1}, WEFT_ALL_REDUCE), WEFT_INVALID_ARGUMENT);
    assert_int_equal(tree_status((weft_plan_tree){4, chain, NULL, 1}, WEFT_ALL_REDUCE), WEFT_INVALID_ARGUMENT);
    assert_int_equal(tree_status((weft_plan_tree){0, chain, NULL, 0}, WEFT_ALL_REDUCE), WEFT_INVALID_ARGUMENT);
    assert_int_equal(tree_status((weft_plan_tree){0, NULL, NULL, 1}, WEFT_ALL_REDUCE), WEFT_INVALID_ARGUMENT);
    /* Nothing carries the other ranks' blocks. */
    assert_int_equal(tree_status((weft_plan_tree){0, chain, NULL, 1}, WEFT_ALL_GATHER), WEFT_INVALID_ARGUMENT);
    assert_int_equal(tree_status((weft_plan_tree){0, chain, NULL, 1}, WEFT_GATHER), WEFT_UNSUPPORTED);
    assert_int_equal(ring_status((weft_plan_ring){order, 1}), WEFT_OK);
    assert_int_equal(ring_status((weft_plan_ring){twice, 1}), WEFT_INVALID_ARGUMENT);
    assert_int_equal(ring_status((weft_plan_ring){outside, 1}), WEFT_INVALID_ARGUMENT);
    assert_int_equal(ring_status((weft_plan_ring){order, 0}), WEFT_INVALID_ARGUMENT);
    const weft_plan_layout empty = {.size = sizeof empty}, old = {.size = 8};
    assert_int_equal(status_of(&empty, WEFT_ALL_REDUCE, WEFT_ALGORITHM_RING), WEFT_INVALID_ARGUMENT);
    assert_int_equal(status_of(&empty, WEFT_ALL_REDUCE, WEFT_ALGORITHM_TREE), WEFT_INVALID_ARGUMENT);
    assert_int_equal(status_of(&old, WEFT_ALL_REDUCE, WEFT_ALGORITHM_RING), WEFT_INVALID_ARGUMENT);
}

static void more_rings_over_one_link_than_channels_are_refused(void **state)
{
    (void)state;
    const uint32_t order[4] = {0, 1, 2, 3};
    weft_plan_ring rings[PLAN_MAX_CHANNELS + 1];
    for (uint32_t i = 0; i <= PLAN_MAX_CHANNELS; i++) rings[i] = (weft_plan_ring){order, 1 + i % 3};
    weft_plan_layout layout = {.size = sizeof layout, .rings = rings, .ring_count = PLAN_MAX_CHANNELS};
    weft_plan *plan = make_over(&layout, WEFT_ALL_REDUCE, WEFT_ALGORITHM_RING, 4, 0);
    plan_must_verify(plan, NULL);
    weft_plan_destroy(plan);
    layout.ring_count++;
    assert_int_equal(status_of(&layout, WEFT_ALL_REDUCE, WEFT_ALGORITHM_RING), WEFT_RESOURCE_LIMIT);
}

/* Each rank's star out meets every other rank's star in: with ways in turn they would need a channel for each rank. */
static void stars_in_and_out_of_every_rank_fit_into_few_channels(void **state)
{
    (void)state;
    enum { STARS = PLAN_MAX_CHANNELS + 2 };
    static uint32_t parents[STARS][STARS];
    static weft_plan_tree trees[STARS];
    for (uint32_t root = 0; root < STARS; root++) {
        for (uint32_t rank = 0; rank < STARS; rank++) parents[root][rank] = root;
        trees[root] = (weft_plan_tree){root, parents[root], parents[root], 1};
    }
    const weft_plan_layout layout = {.size = sizeof layout, .trees = trees, .tree_count = STARS};
    weft_plan *plan = make_over(&layout, WEFT_ALL_REDUCE, WEFT_ALGORITHM_TREE, STARS, 0);
    assert_int_equal(plan->channel_count, 2);
    weft_plan_destroy(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_layouts_give_right_plans_with_the_loads_they_imply),
        cmocka_unit_test(edge_disjoint_rings_share_the_load_and_one_channel),
        cmocka_unit_test(stars_at_every_rank_need_one_channel),
        cmocka_unit_test(trees_of_other_roots_are_turned_round),
        cmocka_unit_test(layouts_that_are_none_are_refused),
        cmocka_unit_test(more_rings_over_one_link_than_channels_are_refused),
        cmocka_unit_test(stars_in_and_out_of_every_rank_fit_into_few_channels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
