/* SPDX-License-Identifier: Apache-2.0 */
/* The control protocol under a thousand seeds in virtual time. A failing test prints the seed it fails with. */
#include <inttypes.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SEEDS = 125 }; /* ten times slower there, and looked at for memory, not for the protocol */
#else
enum { SEEDS = 1000 };
#endif
#define LATENCY_NS (20 * NS_PER_MS)
#define KEEPALIVE_NS (1 * NS_PER_S)

/* As assert_true(), with the world that it did not hold in. */
#define expect(world, condition)                                                                                       \
    do {                                                                                                               \
        if (!(condition)) fail_msg("seed %" PRIu64 " ranks %u: %s", (world)->seed, (world)->rank_count, #condition);   \
    } while (0)

/* A world of 2 to 17 ranks that have all joined. */
static void joined_world(struct world *world, uint64_t seed)
{
    struct random random;
    random_seed(&random, seed);
    world_create(world, seed, (uint32_t)(2 + random_below(&random, 16)), LATENCY_NS, KEEPALIVE_NS, LATENCY_NS * 10);
    world_run(world, world->now_ns + LATENCY_NS * 40);
    for (uint32_t rank = 0; rank < world->rank_count; rank++)
        expect(world, world->nodes[rank]->protocol.joined && !world->nodes[rank]->protocol.failed);
}

static uint32_t any_rank(struct world *world)
{
    return (uint32_t)random_below(&world->random, world->rank_count);
}

static void any_reactions(struct world *world)
{
    for (uint32_t rank = 0; rank < world->rank_count; rank++)
        world->nodes[rank]->reaction = (enum reaction)random_below(&world->random, 3);
}

static bool survived(const struct node *node)
{
    return node->state != NODE_DEAD;
}

/* ---- Joining ---- */

static void ranks_join_only_after_all_have_started(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        uint32_t rank_count = (uint32_t)(2 + seed % 32);
        world_create(&world, seed, rank_count, LATENCY_NS, KEEPALIVE_NS, LATENCY_NS * 10);
        uint64_t last_start_ns = 0;
        for (uint32_t rank = 0; rank < rank_count; rank++)
            if (world.nodes[rank]->starts_ns > last_start_ns) last_start_ns = world.nodes[rank]->starts_ns;
        world_run(&world, last_start_ns - 1);
        for (uint32_t rank = 0; rank < rank_count; rank++) expect(&world, !world.nodes[rank]->protocol.joined);
        /* One latency to connect, one to be heard, one for each of at most six rounds. */
        world_run(&world, last_start_ns + 8 * LATENCY_NS);
        for (uint32_t rank = 0; rank < rank_count; rank++) expect(&world, world.nodes[rank]->protocol.joined);
        world_destroy(&world);
    }
}

static void every_rank_knows_which_rank_has_not_come(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        uint32_t rank_count = (uint32_t)(2 + seed % 32);
        world_create(&world, seed, rank_count, LATENCY_NS, KEEPALIVE_NS, LATENCY_NS * 10);
        uint32_t missing = any_rank(&world);
        world_never_starts(&world, missing);
        world_run(&world, world.now_ns + 2 * NS_PER_S);
        for (uint32_t rank = 0; rank < rank_count; rank++) {
            if (rank == missing) continue;
            expect(&world, !world.nodes[rank]->protocol.joined);
            expect(&world, protocol_missing(&world.nodes[rank]->protocol) == missing);
        }
        world_destroy(&world);
    }
}

/* ---- Deaths ---- */

static void every_survivor_names_the_killed_rank(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        joined_world(&world, seed);
        uint32_t victim = any_rank(&world);
        any_reactions(&world);
        world_kill(&world, victim);
        uint64_t killed_ns = world.now_ns;
        world_run(&world, killed_ns + 10 * LATENCY_NS);
        for (uint32_t rank = 0; rank < world.rank_count; rank++) {
            const struct node *node = world.nodes[rank];
            if (!survived(node)) continue;
            expect(&world, node->protocol.failed);
            expect(&world, node->protocol.failure.status == WEFT_PEER_FAILED);
            expect(&world, node->protocol.failure.rank == (int32_t)victim);
            /* The end of a connection, then at most log2 17 hops. */
            expect(&world, node->failed_ns - killed_ns <= 6 * LATENCY_NS);
        }
        world_destroy(&world);
    }
}

static void two_deaths_are_never_blamed_on_a_third_rank(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        joined_world(&world, seed);
        uint32_t first = any_rank(&world), second = any_rank(&world);
        any_reactions(&world);
        /* The second dies while it tells its neighbours of the first: half of them know, half see only its end. */
        if (second != first) world.nodes[second]->sends_left = (uint32_t)random_below(&world.random, 6);
        world_kill(&world, first);
        world_run(&world, world.now_ns + 20 * LATENCY_NS);
        for (uint32_t rank = 0; rank < world.rank_count; rank++) {
            const struct node *node = world.nodes[rank];
            if (!survived(node)) continue;
            int32_t named = node->protocol.failure.rank;
            expect(&world, node->protocol.failed);
            expect(&world, named == (int32_t)first || named == (int32_t)second);
        }
        world_destroy(&world);
    }
}

static void a_stopped_rank_is_named_after_the_keepalive(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        joined_world(&world, seed);
        uint32_t victim = any_rank(&world);
        any_reactions(&world);
        world.nodes[victim]->reaction = STAY;
        world_stop(&world, victim);
        world_run(&world, world.now_ns + KEEPALIVE_NS * 3 / 2 + 10 * LATENCY_NS);
        for (uint32_t rank = 0; rank < world.rank_count; rank++)
            if (rank != victim) {
                expect(&world, world.nodes[rank]->protocol.failed);
                expect(&world, world.nodes[rank]->protocol.failure.rank == (int32_t)victim);
            }
        /* Awake again, it must blame itself, not those who have left because of it. */
        world_continue(&world, victim);
        world_run(&world, world.now_ns + 3 * KEEPALIVE_NS);
        expect(&world, world.nodes[victim]->protocol.failed);
        expect(&world, world.nodes[victim]->protocol.failure.rank == (int32_t)victim);
        world_destroy(&world);
    }
}

static void a_rank_that_pauses_below_the_keepalive_is_not_blamed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS / 4; seed++) {
        struct world world;
        joined_world(&world, seed);
        for (int i = 0; i < 8; i++) {
            uint32_t sleepy = any_rank(&world);
            world_stop(&world, sleepy);
            world_run(&world, world.now_ns + random_below(&world.random, KEEPALIVE_NS * 7 / 10));
            world_continue(&world, sleepy);
            world_run(&world, world.now_ns + random_below(&world.random, KEEPALIVE_NS));
        }
        for (uint32_t rank = 0; rank < world.rank_count; rank++) expect(&world, !world.nodes[rank]->protocol.failed);
        world_destroy(&world);
    }
}

static void ranks_that_leave_in_order_fail_nobody(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        joined_world(&world, seed);
        struct signature same = {.sequence = 1, .count = 7};
        for (uint32_t rank = 0; rank < world.rank_count; rank++) world_post(&world, rank, &same);
        if (seed % 2) world_stalled(&world, any_rank(&world), 1);
        for (uint32_t left = 0; left < world.rank_count; left++) {
            uint32_t rank = (uint32_t)((left * 7 + seed) % world.rank_count);
            while (world.nodes[rank]->state == NODE_GONE) rank = (rank + 1) % world.rank_count;
            world_leave(&world, rank);
            world_run(&world, world.now_ns + random_below(&world.random, 2 * LATENCY_NS));
        }
        for (uint32_t rank = 0; rank < world.rank_count; rank++) expect(&world, !world.nodes[rank]->protocol.failed);
        world_destroy(&world);
    }
}

static void the_first_report_wins_on_every_rank(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        joined_world(&world, seed);
        uint32_t reporter = any_rank(&world);
        weft_failure failure = {.size = sizeof failure,
                                .status = WEFT_DEADLINE_EXCEEDED,
                                .rank = -1,
                                .other_rank = -1,
                                .reporter_rank = (int32_t)reporter,
                                .sequence = 3,
                                .track = 4,
                                .step = 5,
                                .operation = "op",
                                .device = "shm",
                                .message = "late"};
        any_reactions(&world);
        protocol_report(&world.nodes[reporter]->protocol, &failure);
        failure.status = WEFT_REVOKED;
        protocol_report(&world.nodes[reporter]->protocol, &failure);
        failure.status = WEFT_DEADLINE_EXCEEDED;
        world_run(&world, world.now_ns + 10 * LATENCY_NS);
        for (uint32_t rank = 0; rank < world.rank_count; rank++)
            expect(&world, memcmp(&world.nodes[rank]->protocol.failure, &failure, sizeof failure) == 0);
        world_destroy(&world);
    }
}

/* ---- Signatures ---- */

static struct signature any_other(struct world *world, const struct signature *signature)
{
    struct signature other = *signature;
    switch (random_below(&world->random, 7)) {
    case 0:
        other.count++;
        break;
    case 1:
        other.root++;
        break;
    case 2:
        other.collective = WEFT_BROADCAST;
        break;
    case 3:
        other.dtype = WEFT_INT64;
        break;
    case 4:
        other.op = WEFT_MAX;
        break;
    case 5:
        other.plan++;
        break;
    default:
        other.algorithm = WEFT_ALGORITHM_TREE;
        break;
    }
    return other;
}

/* That the failure names two neighbours that disagree, and what they called. */
static void expect_mismatch(struct world *world, const struct node *node, const struct signature called[])
{
    const weft_failure *failure = &node->protocol.failure;
    char own[128], other[128];
    expect(world, node->protocol.failed);
    expect(world, failure->status == WEFT_MISMATCH);
    expect(world, failure->rank >= 0 && failure->other_rank >= 0);
    expect(world, protocol_neighbour(&world->nodes[failure->rank]->protocol, (uint32_t)failure->other_rank) >= 0);
    expect(world, !signature_equal(&called[failure->rank], &called[failure->other_rank]));
    signature_text(&called[failure->rank], own);
    signature_text(&called[failure->other_rank], other);
    bool by_plan = called[failure->rank].plan != called[failure->other_rank].plan;
    expect(world, !by_plan || strcmp(failure->operation, failure->other_operation) != 0);
    expect(world, strncmp(failure->operation, own, strlen(own)) == 0 &&
                      strncmp(failure->other_operation, other, strlen(other)) == 0);
    expect(world, by_plan || (strlen(failure->operation) == strlen(own) &&
                              strlen(failure->other_operation) == strlen(other)));
    expect(world, failure->sequence == called[0].sequence);
}

/* Operations 1 to s - 1 are the same everywhere; operation s differs on some ranks, posted at random times. */
static void any_disagreement_fails_all_ranks_naming_two(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        joined_world(&world, seed);
        any_reactions(&world);
        /* Sometimes beyond the reach of the ring of signatures. */
        uint64_t sequence = 1 + random_below(&world.random, seed % 16 == 0 ? 6000 : 30);
        bool one_notices = random_below(&world.random, 2);
        for (uint64_t earlier = 1; earlier < sequence; earlier++)
            for (uint32_t rank = 0; rank < world.rank_count; rank++)
                world_post(&world, rank, &(struct signature){.sequence = earlier, .count = 1});
        struct signature usual = {.sequence = sequence, .count = 100, .collective = WEFT_ALL_REDUCE};
        struct signature called[WORLD_RANKS_MAX];
        uint32_t odd = any_rank(&world);
        for (uint32_t rank = 0; rank < world.rank_count; rank++)
            called[rank] = rank == odd || random_below(&world.random, 8) == 0 ? any_other(&world, &usual) : usual;
        bool differ = false;
        for (uint32_t rank = 1; rank < world.rank_count; rank++) differ |= !signature_equal(&called[0], &called[rank]);
        /* Each rank posts in its own time; only some of them, or just the last one, notice the lack of progress. */
        uint32_t last = any_rank(&world);
        for (uint32_t i = 1; i <= world.rank_count; i++) {
            uint32_t rank = (last + i) % world.rank_count;
            if (world.nodes[rank]->state != NODE_RUNNING) continue;
            world_post(&world, rank, &called[rank]);
            if (rank == last || (!one_notices && random_below(&world.random, 2))) world_stalled(&world, rank, sequence);
            world_run(&world, world.now_ns + random_below(&world.random, 3 * LATENCY_NS));
        }
        world_run(&world, world.now_ns + 12 * LATENCY_NS);
        for (uint32_t rank = 0; rank < world.rank_count; rank++) {
            if (differ)
                expect_mismatch(&world, world.nodes[rank], called);
            else
                expect(&world, !world.nodes[rank]->protocol.failed);
        }
        world_destroy(&world);
    }
}

static void one_that_left_before_an_operation_is_named(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        joined_world(&world, seed);
        any_reactions(&world);
        uint64_t sequence = 1 + random_below(&world.random, 50);
        uint32_t leaver = any_rank(&world);
        for (uint64_t earlier = 1; earlier <= sequence; earlier++)
            for (uint32_t rank = 0; rank < world.rank_count; rank++)
                if (earlier < sequence || rank != leaver)
                    world_post(&world, rank, &(struct signature){.sequence = earlier, .count = 1});
        uint32_t waiting =
            (leaver + 1 + (uint32_t)random_below(&world.random, world.rank_count - 1)) % world.rank_count;
        bool before = random_below(&world.random, 2);
        if (before) world_leave(&world, leaver);
        world_run(&world, world.now_ns + random_below(&world.random, 2 * LATENCY_NS));
        world_stalled(&world, waiting, sequence);
        world_run(&world, world.now_ns + random_below(&world.random, 2 * LATENCY_NS));
        if (!before) world_leave(&world, leaver);
        world_run(&world, world.now_ns + 16 * LATENCY_NS);
        for (uint32_t rank = 0; rank < world.rank_count; rank++) {
            if (rank == leaver) continue;
            const weft_failure *failure = &world.nodes[rank]->protocol.failure;
            expect(&world, failure->status == WEFT_PEER_FAILED);
            expect(&world, failure->rank == (int32_t)leaver);
            expect(&world, failure->sequence == sequence);
        }
        world_destroy(&world);
    }
}

static void one_that_disagreed_and_left_is_named(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        joined_world(&world, seed);
        any_reactions(&world);
        struct signature usual = {.sequence = 1, .count = 9}, called[WORLD_RANKS_MAX];
        uint32_t odd = any_rank(&world);
        for (uint32_t rank = 0; rank < world.rank_count; rank++) {
            called[rank] = rank == odd ? any_other(&world, &usual) : usual;
            world_post(&world, rank, &called[rank]);
        }
        world_leave(&world, odd);
        world_run(&world, world.now_ns + random_below(&world.random, 2 * LATENCY_NS));
        world_stalled(&world, (odd + 1) % world.rank_count, 1);
        world_run(&world, world.now_ns + 12 * LATENCY_NS);
        for (uint32_t rank = 0; rank < world.rank_count; rank++)
            if (rank != odd) expect_mismatch(&world, world.nodes[rank], called);
        world_destroy(&world);
    }
}

/* ---- Shape of the graph ---- */

static void neighbours_are_mutual_and_logarithmic(void **state)
{
    (void)state;
    for (uint32_t rank_count = 1; rank_count <= 257; rank_count++) {
        uint32_t limit = 0;
        while (UINT64_C(1) << limit < rank_count) limit++;
        for (uint32_t rank = 0; rank < rank_count; rank++) {
            uint32_t neighbours[64], theirs[64];
            uint32_t count = control_neighbours(rank, rank_count, neighbours);
            assert_true(count <= 2 * limit);
            for (uint32_t i = 0; i < count; i++) {
                assert_true(neighbours[i] < rank_count && neighbours[i] != rank);
                assert_true(i == 0 || neighbours[i - 1] < neighbours[i]);
                uint32_t their_count = control_neighbours(neighbours[i], rank_count, theirs);
                bool mutual = false;
                for (uint32_t k = 0; k < their_count; k++) mutual |= theirs[k] == rank;
                assert_true(mutual);
            }
        }
    }
    uint32_t neighbours[64];
    assert_int_equal(control_neighbours(UINT32_MAX - 1, UINT32_MAX, neighbours), 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_are_mutual_and_logarithmic),
        cmocka_unit_test(ranks_join_only_after_all_have_started),
        cmocka_unit_test(every_rank_knows_which_rank_has_not_come),
        cmocka_unit_test(every_survivor_names_the_killed_rank),
        cmocka_unit_test(two_deaths_are_never_blamed_on_a_third_rank),
        cmocka_unit_test(a_stopped_rank_is_named_after_the_keepalive),
        cmocka_unit_test(a_rank_that_pauses_below_the_keepalive_is_not_blamed),
        cmocka_unit_test(ranks_that_leave_in_order_fail_nobody),
        cmocka_unit_test(the_first_report_wins_on_every_rank),
        cmocka_unit_test(any_disagreement_fails_all_ranks_naming_two),
        cmocka_unit_test(one_that_left_before_an_operation_is_named),
        cmocka_unit_test(one_that_disagreed_and_left_is_named),
    };
    /* Worlds come and go by the thousand: keep their memory, instead of having the kernel clear it every time. */
    mallopt(M_MMAP_THRESHOLD, 1 << 28);
    mallopt(M_TRIM_THRESHOLD, 1 << 28);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
