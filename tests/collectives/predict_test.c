/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans on small clusters whose times can be worked out by hand: hosts on one switch, 10 bytes/ns each way, 1 us from
 * host to switch; steps cost nothing and engines are unlimited unless a test says otherwise.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collectives/predict/predict.h"

#define BANDWIDTH 10e9
#define HOP_S 1e-6
#define MESSAGE_S (2 * HOP_S) /* host, switch, host */

static struct cost_model_figures figures_plain(void)
{
    struct cost_model_figures figures = cost_figures_built_in;
    figures.host = (struct rank_cost){.step_s = 0, .engine_bandwidth = 1e13, .one_engine = true, .source = "test"};
    return figures;
}

static uint32_t add(weft_topology *topology, enum node_kind kind, uint32_t parent, const char *name)
{
    struct topology_node node = {.kind = kind, .parent = parent, .name = name, .os_index = TOPOLOGY_NONE};
    return topology_add_node(topology, &node);
}

static void join(weft_topology *topology, uint32_t from, uint32_t to, double bandwidth)
{
    struct figure figure = {bandwidth, FIGURE_FILE};
    struct topology_link link = {.kind = LINK_NETWORK,
                                 .from = from,
                                 .to = to,
                                 .bandwidth = figure,
                                 .reverse_bandwidth = figure,
                                 .latency = {HOP_S, FIGURE_FILE}};
    topology_add_link(topology, &link);
}

/* Hosts are nodes 1 to host_count; every @p slow-th has a tenth of the bandwidth. */
static weft_topology *star_new(uint32_t host_count, uint32_t slow)
{
    weft_topology *topology = topology_new();
    uint32_t hub = add(topology, NODE_SWITCH, TOPOLOGY_NONE, "hub");
    for (uint32_t i = 0; i < host_count; i++) {
        char name[16];
        snprintf(name, sizeof name, "host%u", i);
        uint32_t host = add(topology, NODE_HOST, TOPOLOGY_NONE, name);
        join(topology, host, hub, slow && i % slow == slow - 1 ? BANDWIDTH / 10 : BANDWIDTH);
    }
    struct diagnostic diagnostic = {0};
    if (topology_seal(topology, &diagnostic)) fail_msg("%s", diagnostic.text);
    return topology;
}

struct question {
    weft_collective collective;
    weft_algorithm algorithm;
    uint32_t ranks;
    uint64_t bytes;
    uint32_t slices, channels, slots;
    uint32_t slow;
    uint64_t budget;
    const struct cost_model_figures *figures;
};

static struct prediction predict(struct question question)
{
    const weft_plan_spec spec = {.size = sizeof spec,
                                 .collective = question.collective,
                                 .algorithm = question.algorithm,
                                 .rank_count = question.ranks,
                                 .channel_count = question.channels,
                                 .slot_depth = question.slots};
    weft_plan *plan = NULL;
    assert_int_equal(weft_plan_create(&spec, &plan), WEFT_OK);
    weft_topology *topology = star_new(question.ranks, question.slow);
    uint32_t *endpoints = calloc(question.ranks, sizeof *endpoints);
    for (uint32_t i = 0; i < question.ranks; i++) endpoints[i] = i + 1;
    struct cost_model_figures plain = figures_plain();
    const struct predict_request request = {.topology = topology,
                                            .figures = question.figures ? question.figures : &plain,
                                            .plan = plan,
                                            .endpoints = endpoints,
                                            .bytes = question.bytes,
                                            .slice_count = question.slices,
                                            .message_budget = question.budget};
    struct prediction prediction = {0};
    struct diagnostic diagnostic = {0};
    if (predict_plan(&request, &prediction, &diagnostic)) fail_msg("%s", diagnostic.text);
    free(endpoints);
    weft_topology_destroy(topology);
    weft_plan_destroy(plan);
    return prediction;
}

static void expect_seconds(const struct prediction *prediction, double seconds)
{
    if (fabs(prediction->seconds - seconds) > 1e-6 * seconds + 1e-9)
        fail_msg("predicted %.9g s, by hand %.9g s", prediction->seconds, seconds);
}

/* 2(n-1) messages one after another, each its latency and a share of the bytes; then the last copy at once. */
static void a_ring_takes_2_n_minus_1_latencies_and_shares(void **state)
{
    (void)state;
    for (uint32_t n = 2; n <= 9; n++) {
        uint64_t bytes = 720720 * 10;
        struct prediction prediction = predict((struct question){
            .collective = WEFT_ALL_REDUCE, .algorithm = WEFT_ALGORITHM_RING, .ranks = n, .bytes = bytes, .slices = 1});
        expect_seconds(&prediction,
                       2 * (n - 1) * (MESSAGE_S + (double)bytes / n / BANDWIDTH) + (double)bytes / n / 1e13);
        assert_int_equal(prediction.simulated_messages, 2 * (n - 1) * n);
        prediction_free(&prediction);
    }
}

static void a_steps_overhead_is_paid_once_for_each_message_of_the_chain(void **state)
{
    (void)state;
    struct cost_model_figures figures = figures_plain();
    figures.host.step_s = 3e-6;
    struct prediction prediction = predict((struct question){
        .collective = WEFT_ALL_REDUCE, .algorithm = WEFT_ALGORITHM_RING, .ranks = 4, .bytes = 0, .figures = &figures});
    expect_seconds(&prediction, 6 * (MESSAGE_S + 3e-6) + 3e-6);
    prediction_free(&prediction);
}

/* A chain of n-1 messages, pipelined: the last slice leaves the root after all others, and then has the chain to go. */
static void a_pipelined_chain_fills_once_and_then_runs_at_full_bandwidth(void **state)
{
    (void)state;
    uint32_t n = 5, slices = 10;
    uint64_t bytes = 10000000;
    struct prediction prediction = predict((struct question){
        .collective = WEFT_BROADCAST, .algorithm = WEFT_ALGORITHM_RING, .ranks = n, .bytes = bytes, .slices = slices});
    double slice_s = (double)bytes / slices / BANDWIDTH, copy_s = (double)bytes / slices / 1e13;
    expect_seconds(&prediction, (slices - 1) * slice_s + (n - 1) * (MESSAGE_S + slice_s) + copy_s);
    prediction_free(&prediction);
}

/* With two slots a sender hears late that it may go on: back-pressure costs, more slots do not. */
static void few_slots_hold_a_long_link_back(void **state)
{
    (void)state;
    double before = 1e9;
    for (uint32_t slots = 2; slots <= 16; slots *= 2) {
        struct prediction prediction = predict((struct question){.collective = WEFT_BROADCAST,
                                                                 .algorithm = WEFT_ALGORITHM_RING,
                                                                 .ranks = 3,
                                                                 .bytes = 100000,
                                                                 .slices = 100,
                                                                 .slots = slots});
        assert_true(prediction.seconds < before * 1.0000001);
        if (slots == 2) assert_true(prediction.seconds > 50 * (2 * MESSAGE_S));
        before = prediction.seconds;
        prediction_free(&prediction);
    }
}

/* Three ranks: the root of each tree has the other two below it. Half of the bytes up, and down again. */
static void a_tree_of_three_ranks_is_done_after_two_messages(void **state)
{
    (void)state;
    struct prediction prediction = predict((struct question){
        .collective = WEFT_ALL_REDUCE, .algorithm = WEFT_ALGORITHM_TREE, .ranks = 3, .bytes = 0, .slices = 1});
    expect_seconds(&prediction, 2 * MESSAGE_S);
    prediction_free(&prediction);
}

static void a_deep_tree_takes_two_logarithms_of_latencies(void **state)
{
    (void)state;
    for (uint32_t n = 4; n <= 256; n *= 2) {
        struct prediction prediction = predict((struct question){
            .collective = WEFT_ALL_REDUCE, .algorithm = WEFT_ALGORITHM_TREE, .ranks = n, .bytes = 0, .slices = 1});
        expect_seconds(&prediction, 2 * log2(n) * MESSAGE_S);
        assert_int_equal(prediction.path_count, 2 * (uint32_t)log2(n));
        prediction_free(&prediction);
    }
}

static void a_slow_link_slows_the_whole_ring(void **state)
{
    (void)state;
    uint64_t bytes = 80000000;
    struct prediction fast = predict((struct question){
        .collective = WEFT_ALL_REDUCE, .algorithm = WEFT_ALGORITHM_RING, .ranks = 8, .bytes = bytes, .slices = 1});
    struct prediction slow = predict((struct question){.collective = WEFT_ALL_REDUCE,
                                                       .algorithm = WEFT_ALGORITHM_RING,
                                                       .ranks = 8,
                                                       .bytes = bytes,
                                                       .slices = 1,
                                                       .slow = 8});
    assert_true(slow.seconds > 9 * fast.seconds && slow.seconds < 11 * fast.seconds);
    assert_true(slow.loads[0].used > 0.9);
    prediction_free(&fast);
    prediction_free(&slow);
}

static void more_bytes_never_take_less_time(void **state)
{
    (void)state;
    for (int algorithm = WEFT_ALGORITHM_RING; algorithm <= WEFT_ALGORITHM_TREE; algorithm++) {
        double before = 0;
        for (uint64_t bytes = 1; bytes <= UINT64_C(1) << 30; bytes *= 8) {
            struct prediction prediction = predict((struct question){.collective = WEFT_ALL_REDUCE,
                                                                     .algorithm = (weft_algorithm)algorithm,
                                                                     .ranks = 12,
                                                                     .bytes = bytes,
                                                                     .slices = 8});
            assert_true(prediction.seconds >= before);
            before = prediction.seconds;
            prediction_free(&prediction);
        }
    }
}

static void loads_add_up_to_what_the_plan_sends(void **state)
{
    (void)state;
    uint32_t n = 6;
    uint64_t bytes = 6000000;
    struct prediction prediction = predict((struct question){
        .collective = WEFT_ALL_REDUCE, .algorithm = WEFT_ALGORITHM_RING, .ranks = n, .bytes = bytes, .slices = 1});
    assert_int_equal(prediction.load_count, 2 * n); /* each host's link, both ways */
    for (uint32_t i = 0; i < prediction.load_count; i++) {
        assert_true(fabs(prediction.loads[i].bytes - 2.0 * (n - 1) / n * (double)bytes) < 1);
        assert_true(prediction.loads[i].used <= prediction.loads[i].busy + 1e-9);
    }
    prediction_free(&prediction);
}

/* The same ring simulated whole, and from two shortened ones: equal steps take equal time. */
static void runs_that_are_cut_and_drawn_out_give_the_same_time(void **state)
{
    (void)state;
    const struct question whole = {
        .collective = WEFT_ALL_REDUCE, .algorithm = WEFT_ALGORITHM_RING, .ranks = 96, .bytes = 96000000, .slices = 1};
    struct question cut = whole;
    cut.slices = 0;
    cut.budget = 5000;
    struct prediction all = predict(whole), part = predict(cut);
    char method[160];
    assert_false(all.extrapolated);
    assert_true(part.extrapolated);
    prediction_method(&part, method);
    assert_memory_equal(method, "coarse", 6);
    assert_true(part.simulated_messages < all.simulated_messages / 2);
    expect_seconds(&part, all.seconds);
    assert_int_equal(part.load_count, all.load_count);
    assert_true(fabs(part.loads[0].bytes - all.loads[0].bytes) < 1e-6 * all.loads[0].bytes);
    prediction_free(&all);
    prediction_free(&part);
}

static void too_many_slices_become_fewer_and_it_is_said(void **state)
{
    (void)state;
    struct prediction prediction = predict((struct question){.collective = WEFT_ALL_REDUCE,
                                                             .algorithm = WEFT_ALGORITHM_TREE,
                                                             .ranks = 16,
                                                             .bytes = UINT64_C(1) << 30,
                                                             .budget = 10000});
    char method[160];
    prediction_method(&prediction, method);
    assert_memory_equal(method, "coarse", 6);
    assert_true(prediction.simulated_messages <= 10000);
    assert_int_equal(prediction.real_slices, 4096);
    prediction_free(&prediction);
}

static void one_rank_needs_no_message(void **state)
{
    (void)state;
    struct prediction prediction = predict((struct question){
        .collective = WEFT_ALL_REDUCE, .algorithm = WEFT_ALGORITHM_RING, .ranks = 1, .bytes = 1000000});
    assert_int_equal(prediction.simulated_messages, 0);
    assert_int_equal(prediction.load_count, 0);
    prediction_free(&prediction);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_takes_2_n_minus_1_latencies_and_shares),
        cmocka_unit_test(a_steps_overhead_is_paid_once_for_each_message_of_the_chain),
        cmocka_unit_test(a_pipelined_chain_fills_once_and_then_runs_at_full_bandwidth),
        cmocka_unit_test(few_slots_hold_a_long_link_back),
        cmocka_unit_test(a_tree_of_three_ranks_is_done_after_two_messages),
        cmocka_unit_test(a_deep_tree_takes_two_logarithms_of_latencies),
        cmocka_unit_test(a_slow_link_slows_the_whole_ring),
        cmocka_unit_test(more_bytes_never_take_less_time),
        cmocka_unit_test(loads_add_up_to_what_the_plan_sends),
        cmocka_unit_test(runs_that_are_cut_and_drawn_out_give_the_same_time),
        cmocka_unit_test(too_many_slices_become_fewer_and_it_is_said),
        cmocka_unit_test(one_rank_needs_no_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
