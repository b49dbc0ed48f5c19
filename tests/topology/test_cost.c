/* SPDX-License-Identifier: Apache-2.0 */
/* Cost models against values worked out by hand, and what stands in for figures that a topology lacks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "topology/cost/cost.h"

static void expect_near(double found, double expected)
{
    if (fabs(found - expected) > 1e-9 * fabs(expected)) fail_msg("%.12g where %.12g was expected", found, expected);
}

static void a_links_own_figures_go_before_the_built_in_ones(void **state)
{
    (void)state;
    struct topology_link link = {.kind = LINK_PCI};
    assert_true(cost_link_is_assumed(&link, false));
    expect_near(cost_link_bandwidth(&cost_figures_built_in, &link, false),
                cost_figures_built_in.links[LINK_PCI].bandwidth);
    expect_near(cost_link_latency(&cost_figures_built_in, &link), cost_figures_built_in.links[LINK_PCI].latency_s);
    link.reverse_bandwidth = (struct figure){0, FIGURE_FILE}; /* known, and nothing goes that way */
    link.latency = (struct figure){7e-6, FIGURE_MEASURED};
    assert_false(cost_link_is_assumed(&link, true));
    assert_true(cost_link_bandwidth(&cost_figures_built_in, &link, true) == 0);
    expect_near(cost_link_latency(&cost_figures_built_in, &link), 7e-6);
}

static void every_built_in_figure_is_above_0_and_says_where_it_is_from(void **state)
{
    (void)state;
    for (int kind = 0; kind < LINK_KIND_COUNT; kind++) {
        const struct link_cost *cost = &cost_figures_built_in.links[kind];
        if (!(cost->latency_s > 0 && cost->bandwidth > 0 && cost->source))
            fail_msg("%s has no figures", topology_link_kind_name((enum link_kind)kind));
    }
    assert_non_null(cost_figures_built_in.host.source);
    assert_non_null(cost_figures_built_in.gpu.source);
}

static const struct loggops plain = {.L = 10, .o = 2, .g = 3, .G = 0.5, .O = 0.25, .S = 100};

static void a_loggops_message_pays_overheads_latency_bytes_and_meeting(void **state)
{
    (void)state;
    expect_near(loggops_message(&plain, 0), 10 + 2 * 2);
    expect_near(loggops_message(&plain, 1), 14);
    expect_near(loggops_message(&plain, 11), 14 + 10 * (0.5 + 2 * 0.25));
    expect_near(loggops_message(&plain, 101), 14 + 100 * 1.0 + 2 * 14); /* beyond S: ask, and be answered */
}

static void loggops_rings_and_trees_follow_their_formulas(void **state)
{
    (void)state;
    expect_near(loggops_ring_all_reduce(&plain, 8, 88), 14 * loggops_message(&plain, 11));
    expect_near(loggops_ring_all_reduce(&plain, 1, 88), 0);
    expect_near(loggops_tree_all_reduce(&plain, 8, 22, 1), 2 * 3 * loggops_message(&plain, 11));
    /* one more slice: three messages of an inner rank's, two overheads and the bytes after the first each */
    expect_near(loggops_tree_all_reduce(&plain, 8, 44, 2),
                2 * 3 * loggops_message(&plain, 11) + 3 * (2 * 2 + 10 * 1.0));
}

/* Ring: 2(n-1) hops, of which 2(nodes-1) between nodes; tree: up and down chains inside and log2(nodes) between. */
static void nccls_latencies_follow_its_model(void **state)
{
    (void)state;
    expect_near(nccl_ring_latency(NCCL_LL, NCCL_NVLINK, 4, 8), 6.6e-6 + 56 * 0.6e-6 + 6 * 2.7e-6);
    expect_near(nccl_tree_latency(NCCL_SIMPLE, NCCL_NVLINK, 4, 8), 8.4e-6 + 2 * (7 * 4e-6 + 2 * 14e-6));
    expect_near(nccl_tree_latency(NCCL_LL128, NCCL_PCI, 1, 2), 14e-6 + 2 * 1.9e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_links_own_figures_go_before_the_built_in_ones),
        cmocka_unit_test(every_built_in_figure_is_above_0_and_says_where_it_is_from),
        cmocka_unit_test(a_loggops_message_pays_overheads_latency_bytes_and_meeting),
        cmocka_unit_test(loggops_rings_and_trees_follow_their_formulas),
        cmocka_unit_test(nccls_latencies_follow_its_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
