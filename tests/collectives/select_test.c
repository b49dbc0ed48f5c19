/* SPDX-License-Identifier: Apache-2.0 */
/* The choice between plans: by rounds, over slots, where ranks share processors, and how figures' doubt counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "collectives/select/select.h"

enum { EXCHANGE = 4 << 10 };

static struct select_choice choose(const struct cost_model *model, struct select_request request)
{
    struct select_choice choice;
    if (!request.rank_count) request.rank_count = 2;
    assert_int_equal(select_plan(model, &request, &choice), WEFT_OK);
    return choice;
}

static weft_algorithm chosen(const struct cost_model *model, weft_collective collective, uint64_t bytes)
{
    return choose(model,
                  (struct select_request){
                      .collective = collective, .bytes = bytes, .exchange_bytes = EXCHANGE, .copies = true})
        .algorithm;
}

/* What `weft-perf --calibrate` measured on two threads of one core: slots stay in their cache. */
static struct cost_model near_model(void)
{
    struct cost_model model = cost_model_shm;
    model.message_ns = 280;
    model.step_ns = 0;
    model.byte_ns = 0.043;
    model.lone_byte_ns = 0.078;
    model.round_ns = 160;
    model.cell_byte_ns = 0.14;
    model.copy_ns = 2230;
    model.copy_byte_ns = 0.108;
    model.doubt = 0.13;
    return model;
}

static void cores_apart_exchange_by_rounds_at_every_size(void **state)
{
    (void)state;
    for (int i = 0; i < WEFT_COLLECTIVE_COUNT; i++)
        for (uint64_t bytes = 8; bytes <= 8 << 20 && i != WEFT_SEND_RECV; bytes *= 4)
            assert_int_equal(chosen(&cost_model_shm, (weft_collective)i, bytes), WEFT_ALGORITHM_DIRECT);
}

static void ranks_that_share_processors_exchange_by_rounds_too(void **state)
{
    (void)state;
    for (int i = 0; i < WEFT_COLLECTIVE_COUNT; i++)
        for (uint64_t bytes = 8; bytes <= 8 << 20 && i != WEFT_SEND_RECV; bytes *= 4) {
            const struct select_request request = {.collective = (weft_collective)i,
                                                   .rank_count = 4,
                                                   .bytes = bytes,
                                                   .exchange_bytes = EXCHANGE,
                                                   .copies = true,
                                                   .crowd = 2};
            assert_int_equal(choose(&cost_model_shm, request).algorithm, WEFT_ALGORITHM_DIRECT);
        }
}

/* So that registered buffers, of which nobody knows, need no more than they have to. */
static void threads_of_one_core_leave_it_to_the_direct_plan(void **state)
{
    (void)state;
    const struct cost_model model = near_model();
    for (int i = 0; i < WEFT_COLLECTIVE_COUNT; i++)
        for (uint64_t bytes = 8; bytes <= 8 << 20 && i != WEFT_SEND_RECV; bytes *= 4)
            assert_int_equal(chosen(&model, (weft_collective)i, bytes), WEFT_ALGORITHM_DIRECT);
}

static void near_steps_are_wanted_of_a_direct_plan_alone(void **state)
{
    (void)state;
    struct select_request request = {
        .collective = WEFT_ALL_REDUCE, .bytes = 1 << 20, .exchange_bytes = EXCHANGE, .copies = true};
    assert_true(choose(&cost_model_shm, request).steps_when_near);
    request.forced = WEFT_ALGORITHM_TREE;
    assert_false(choose(&cost_model_shm, request).steps_when_near);
    request.forced = WEFT_ALGORITHM_AUTO;
    request.bytes = EXCHANGE; /* it goes with the cells */
    assert_false(choose(&cost_model_shm, request).steps_when_near);
    request.bytes = 1 << 20;
    request.crowd = 2; /* others wait for the processor */
    assert_false(choose(&cost_model_shm, request).steps_when_near);
    request.crowd = 1;
    request.copies = false; /* it runs steps in any case */
    assert_false(choose(&cost_model_shm, request).steps_when_near);
}

/* A message in one slice is not worth slots that are in the other thread's cache. */
static void near_what_just_fits_a_slice_is_lent(void **state)
{
    (void)state;
    static const struct {
        weft_collective collective;
        uint64_t bytes;
        bool by_steps;
    } cases[] = {
        {WEFT_ALL_REDUCE, 64 << 10, false}, {WEFT_ALL_REDUCE, 128 << 10, true}, {WEFT_ALL_GATHER, 64 << 10, false},
        {WEFT_ALL_GATHER, 128 << 10, true}, {WEFT_SCATTER, 256 << 10, false},   {WEFT_SCATTER, 512 << 10, true},
        {WEFT_BROADCAST, 512 << 10, false}, {WEFT_BROADCAST, 1 << 20, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct select_request request = {
            .collective = cases[i].collective, .bytes = cases[i].bytes, .exchange_bytes = EXCHANGE, .copies = true};
        assert_int_equal(choose(&cost_model_shm, request).steps_when_near, cases[i].by_steps);
    }
}

/* A message to each of the others keeps a processor as busy at once as one after another. */
static void ranks_that_share_processors_send_few_messages(void **state)
{
    (void)state;
    for (uint64_t bytes = 8; bytes <= 8 << 10; bytes *= 4) {
        struct select_request request = {
            .collective = WEFT_ALL_GATHER, .rank_count = 4, .bytes = bytes, .exchange_bytes = 0, .crowd = 2};
        assert_int_not_equal(choose(&cost_model_tcp, request).algorithm, WEFT_ALGORITHM_DIRECT);
        request.collective = WEFT_REDUCE_SCATTER;
        assert_int_not_equal(choose(&cost_model_tcp, request).algorithm, WEFT_ALGORITHM_DIRECT);
        request.collective = WEFT_BROADCAST; /* as many messages whatever the way */
        assert_int_equal(choose(&cost_model_tcp, request).algorithm, WEFT_ALGORITHM_DIRECT);
    }
}

static void near_ranks_run_other_steps_only_where_those_give_equal_bits(void **state)
{
    (void)state;
    struct select_request request = {
        .collective = WEFT_ALL_REDUCE, .rank_count = 2, .bytes = 1 << 20, .exchange_bytes = EXCHANGE, .copies = true};
    assert_int_equal(choose(&cost_model_shm, request).near, WEFT_ALGORITHM_TREE);
    request.canonical = true;
    assert_int_equal(choose(&cost_model_shm, request).near, WEFT_ALGORITHM_AUTO);
    request.canonical = false;
    request.rank_count = 4; /* sums of four depend on their order */
    assert_int_equal(choose(&cost_model_shm, request).near, WEFT_ALGORITHM_AUTO);
    request.forced = WEFT_ALGORITHM_DIRECT;
    request.crowd = 2;
    assert_false(choose(&cost_model_shm, request).steps_when_near);
    request.collective = WEFT_BROADCAST; /* nothing is summed, and all would wait until the root has staged */
    assert_true(choose(&cost_model_shm, request).steps_when_near);
    assert_int_equal(choose(&cost_model_shm, request).near, WEFT_ALGORITHM_TREE);
}

static void ranks_that_share_processors_stage_what_all_or_each_of_them_have(void **state)
{
    (void)state;
    struct select_request request = {.collective = WEFT_ALL_REDUCE,
                                     .forced = WEFT_ALGORITHM_DIRECT,
                                     .bytes = 1 << 20,
                                     .exchange_bytes = EXCHANGE,
                                     .copies = true,
                                     .crowd = 2};
    assert_true(choose(&cost_model_shm, request).stages_when_near);
    request.collective = WEFT_SCATTER; /* one rank would have to stage it all */
    assert_false(choose(&cost_model_shm, request).stages_when_near);
    request.collective = WEFT_ALL_REDUCE;
    request.crowd = 1;
    assert_false(choose(&cost_model_shm, request).stages_when_near);
    request.crowd = 2;
    request.copies = false; /* it runs steps in any case */
    assert_false(choose(&cost_model_shm, request).stages_when_near);
}

static void ranks_with_processors_of_their_own_stage_what_is_little(void **state)
{
    (void)state;
    static const struct {
        uint32_t ranks;
        uint64_t bytes;
        bool near, apart;
    } cases[] = {{2, EXCHANGE, false, false},
                 {2, 16 << 10, true, true},
                 {2, 32 << 10, false, true},
                 {2, 64 << 10, false, false},
                 {5, 8 << 10, false, true}};
    for (int i = 0; i < WEFT_COLLECTIVE_COUNT; i++)
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            struct select_request request = {.collective = (weft_collective)i,
                                             .forced = WEFT_ALGORITHM_DIRECT,
                                             .rank_count = cases[c].ranks,
                                             .bytes = cases[c].bytes,
                                             .exchange_bytes = EXCHANGE,
                                             .copies = true,
                                             .crowd = 1};
            if (i == WEFT_BARRIER || i == WEFT_SEND_RECV) continue;
            assert_int_equal(choose(&cost_model_shm, request).stages_when_near, cases[c].near);
            assert_int_equal(choose(&cost_model_shm, request).stages_when_apart, cases[c].apart);
            request.copies = false; /* it runs steps in any case */
            assert_false(choose(&cost_model_shm, request).stages_when_near);
            assert_false(choose(&cost_model_shm, request).stages_when_apart);
        }
}

static void between_cores_they_stage_what_the_kernel_would_copy_too_often(void **state)
{
    (void)state;
    struct select_request request = {.collective = WEFT_ALL_REDUCE,
                                     .forced = WEFT_ALGORITHM_DIRECT,
                                     .rank_count = 4,
                                     .bytes = 1 << 20,
                                     .exchange_bytes = EXCHANGE,
                                     .copies = true,
                                     .crowd = 2};
    assert_false(choose(&cost_model_shm, request).stages_when_apart);
    request.bytes = 8 << 20;
    assert_true(choose(&cost_model_shm, request).stages_when_apart);
    request.rank_count = 8;
    request.crowd = 4;
    request.bytes = 64 << 10;
    assert_true(choose(&cost_model_shm, request).stages_when_apart);
    request.collective = WEFT_REDUCE_SCATTER; /* this is one block of eight */
    assert_true(choose(&cost_model_shm, request).stages_when_apart);
    request.collective = WEFT_GATHER; /* is one copy either way */
    assert_false(choose(&cost_model_shm, request).stages_when_apart);
    request.collective = WEFT_ALL_REDUCE;
    request.crowd = 1;
    assert_false(choose(&cost_model_shm, request).stages_when_apart);
}

static void without_the_kernel_s_copies_a_direct_plan_is_priced_by_its_steps(void **state)
{
    (void)state;
    struct select_request request = {
        .collective = WEFT_BROADCAST, .rank_count = 8, .bytes = 2 << 20, .exchange_bytes = EXCHANGE, .copies = true};
    assert_int_equal(choose(&cost_model_shm, request).algorithm, WEFT_ALGORITHM_DIRECT);
    double with_copies = choose(&cost_model_shm, request).predicted_ns[WEFT_ALGORITHM_DIRECT];
    request.copies = false;
    struct select_choice choice = choose(&cost_model_shm, request);
    assert_true(choice.predicted_ns[WEFT_ALGORITHM_DIRECT] > with_copies);
    assert_int_not_equal(choice.algorithm, WEFT_ALGORITHM_DIRECT);
    request.bytes = 8; /* cells are copied by ranks */
    assert_int_equal(choose(&cost_model_shm, request).algorithm, WEFT_ALGORITHM_DIRECT);
}

static void few_ranks_have_more_slices_in_flight(void **state)
{
    (void)state;
    assert_int_equal(cost_model_slot_depth(&cost_model_shm, FEW_RANKS), cost_model_shm.few_slot_depth);
    assert_int_equal(cost_model_slot_depth(&cost_model_shm, FEW_RANKS + 1), cost_model_shm.slot_depth);
    assert_int_equal(cost_model_slot_depth(&cost_model_tcp, 2), cost_model_tcp.slot_depth);
}

static void figures_in_doubt_leave_the_choice_to_rounds(void **state)
{
    (void)state;
    struct cost_model model = near_model();
    const struct select_request request = {.collective = WEFT_ALL_REDUCE,
                                           .rank_count = 8,
                                           .bytes = 256 << 10,
                                           .exchange_bytes = EXCHANGE,
                                           .copies = true}; /* rounds are dearer, by more than a quarter */
    model.doubt = 0;
    struct select_choice sure = choose(&model, request);
    assert_int_not_equal(sure.algorithm, WEFT_ALGORITHM_DIRECT);
    model.doubt = 0.5;
    struct select_choice unsure = choose(&model, request);
    assert_int_equal(unsure.algorithm, WEFT_ALGORITHM_DIRECT);
    /* What is said to be expected is the same. */
    assert_true(sure.predicted_ns[WEFT_ALGORITHM_DIRECT] == unsure.predicted_ns[WEFT_ALGORITHM_DIRECT]);
}

static void without_rounds_the_direct_plan_is_priced_by_its_steps(void **state)
{
    (void)state;
    struct select_request request = {
        .collective = WEFT_ALL_REDUCE, .bytes = 1 << 20, .exchange_bytes = EXCHANGE, .copies = true};
    double by_rounds = choose(&cost_model_shm, request).predicted_ns[WEFT_ALGORITHM_DIRECT];
    request.exchange_bytes = 0;
    struct select_choice choice = choose(&cost_model_shm, request);
    assert_true(choice.predicted_ns[WEFT_ALGORITHM_DIRECT] > by_rounds);
    assert_int_not_equal(choice.algorithm, WEFT_ALGORITHM_DIRECT); /* it sends everything, a tree what it has to */
}

static void two_ranks_over_tcp_prefer_what_waits_least(void **state)
{
    (void)state;
    for (int i = 0; i < WEFT_COLLECTIVE_COUNT; i++) {
        if (i == WEFT_SEND_RECV || i == WEFT_BARRIER) continue;
        const struct select_request request = {.collective = (weft_collective)i, .bytes = 64 << 10};
        assert_int_equal(choose(&cost_model_tcp, request).algorithm, WEFT_ALGORITHM_DIRECT);
    }
}

static void ranks_that_share_processors_avoid_long_chains(void **state)
{
    (void)state;
    struct select_request request = {.collective = WEFT_ALL_REDUCE, .rank_count = 4, .bytes = 512 << 10};
    struct select_choice apart = choose(&cost_model_tcp, request);
    assert_int_equal(apart.algorithm, WEFT_ALGORITHM_RING);
    request.crowd = 1; /* a processor for each */
    assert_true(choose(&cost_model_tcp, request).predicted_ns[WEFT_ALGORITHM_RING] ==
                apart.predicted_ns[WEFT_ALGORITHM_RING]);
    request.crowd = 2;
    struct select_choice crowded = choose(&cost_model_tcp, request);
    assert_int_equal(crowded.algorithm, WEFT_ALGORITHM_TREE);
    assert_true(crowded.predicted_ns[WEFT_ALGORITHM_RING] > apart.predicted_ns[WEFT_ALGORITHM_RING]);
    request.rank_count = 8;
    request.crowd = 4;
    assert_int_not_equal(choose(&cost_model_tcp, request).algorithm, WEFT_ALGORITHM_TREE); /* more of them wait */
}

static void more_bytes_never_cost_less(void **state)
{
    (void)state;
    const struct cost_model near = near_model();
    const struct cost_model *models[] = {&cost_model_shm, &near, &cost_model_tcp};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        struct select_request request = {
            .collective = WEFT_ALL_REDUCE, .exchange_bytes = m < 2 ? EXCHANGE : 0, .copies = true};
        double before = 0;
        /* One slice of its own costs more a byte than a stream does: sizes on either side are compared apart. */
        for (request.bytes = 8; request.bytes <= 128 << 10; request.bytes *= 2) {
            double now = choose(models[m], request).predicted_ns[WEFT_ALGORITHM_TREE];
            assert_true(now >= before);
            before = now;
        }
    }
}

static void every_figure_is_in_the_hash(void **state)
{
    (void)state;
    static const size_t figures[] = {
        offsetof(struct cost_model, message_ns),   offsetof(struct cost_model, byte_ns),
        offsetof(struct cost_model, lone_byte_ns), offsetof(struct cost_model, step_ns),
        offsetof(struct cost_model, switch_ns),    offsetof(struct cost_model, round_ns),
        offsetof(struct cost_model, cell_ns),      offsetof(struct cost_model, cell_byte_ns),
        offsetof(struct cost_model, copy_ns),      offsetof(struct cost_model, copy_byte_ns),
        offsetof(struct cost_model, doubt),
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        struct cost_model other = cost_model_shm;
        *(double *)(void *)((char *)&other + figures[i]) += 1;
        assert_true(cost_model_hash(&other) != cost_model_hash(&cost_model_shm));
    }
    struct cost_model same = cost_model_shm;
    assert_true(cost_model_hash(&same) == cost_model_hash(&cost_model_shm));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cores_apart_exchange_by_rounds_at_every_size),
        cmocka_unit_test(ranks_that_share_processors_exchange_by_rounds_too),
        cmocka_unit_test(threads_of_one_core_leave_it_to_the_direct_plan),
        cmocka_unit_test(near_steps_are_wanted_of_a_direct_plan_alone),
        cmocka_unit_test(ranks_that_share_processors_send_few_messages),
        cmocka_unit_test(near_ranks_run_other_steps_only_where_those_give_equal_bits),
        cmocka_unit_test(ranks_that_share_processors_stage_what_all_or_each_of_them_have),
        cmocka_unit_test(ranks_with_processors_of_their_own_stage_what_is_little),
        cmocka_unit_test(between_cores_they_stage_what_the_kernel_would_copy_too_often),
        cmocka_unit_test(near_what_just_fits_a_slice_is_lent),
        cmocka_unit_test(without_the_kernel_s_copies_a_direct_plan_is_priced_by_its_steps),
        cmocka_unit_test(few_ranks_have_more_slices_in_flight),
        cmocka_unit_test(figures_in_doubt_leave_the_choice_to_rounds),
        cmocka_unit_test(without_rounds_the_direct_plan_is_priced_by_its_steps),
        cmocka_unit_test(two_ranks_over_tcp_prefer_what_waits_least),
        cmocka_unit_test(ranks_that_share_processors_avoid_long_chains),
        cmocka_unit_test(more_bytes_never_cost_less),
        cmocka_unit_test(every_figure_is_in_the_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
