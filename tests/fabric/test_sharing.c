/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gathers and tokens: under seeds in virtual time, from a hostile neighbour, and over real sockets. A failing test
 * prints the seed it fails with.
 */
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support.h"
#include "world.h"

enum { SEEDS = 60, SIZE_MAX_BYTES = 5000, RANKS_MAX = 24 };
#define LATENCY_NS (20 * NS_PER_MS)

static uint32_t size_of(uint64_t seed, uint32_t number, uint32_t rank)
{
    struct random random;
    random_seed(&random, seed * 1000 + number * 100 + rank);
    return random_below(&random, 4) ? (uint32_t)random_below(&random, SIZE_MAX_BYTES) : 0;
}

static void fill(uint8_t *bytes, uint64_t seed, uint32_t number, uint32_t rank, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) bytes[i] = (uint8_t)(seed + number * 7 + rank * 13 + i * 31 + i / 256);
}

/* Ranks give to three gathers as soon as each has joined, not waiting for anybody. */
static void every_rank_gets_what_every_other_gave(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        uint32_t count = (uint32_t)(2 + seed % 32);
        bool gave[WORLD_RANKS_MAX] = {false};
        world_create(&world, seed, count, LATENCY_NS, 10 * NS_PER_S, LATENCY_NS * 10);
        for (int turn = 0; turn < 600; turn++) {
            world_run(&world, world.now_ns + NS_PER_MS);
            for (uint32_t rank = 0; rank < count; rank++) {
                struct protocol *protocol = &world.nodes[rank]->protocol;
                if (gave[rank] || !protocol->joined) continue;
                gave[rank] = true;
                for (uint32_t number = 0; number < 3; number++) {
                    uint8_t bytes[SIZE_MAX_BYTES];
                    uint32_t size = size_of(seed, number, rank);
                    fill(bytes, seed, number, rank, size);
                    assert_int_equal(sharing_give(protocol, number, bytes, size), WEFT_OK);
                }
            }
        }
        for (uint32_t rank = 0; rank < count; rank++)
            for (uint32_t number = 0; number < 3; number++)
                for (uint32_t source = 0; source < count; source++) {
                    const struct share *share = sharing_complete(&world.nodes[rank]->protocol, number, source);
                    uint8_t bytes[SIZE_MAX_BYTES];
                    uint32_t size = size_of(seed, number, source);
                    fill(bytes, seed, number, source, size);
                    if (!share || share->total != size || (size && memcmp(share->bytes, bytes, size) != 0))
                        fail_msg("seed %" PRIu64 ": rank %u of %u lacks rank %u's share %u", seed, rank, count, source,
                                 number);
                }
        world_destroy(&world);
    }
}

static void every_rank_knows_the_least_and_the_most_token(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        uint32_t count = (uint32_t)(2 + seed % 32);
        uint64_t least = UINT64_MAX, most = 0;
        world_create(&world, seed, count, LATENCY_NS, 10 * NS_PER_S, LATENCY_NS * 10);
        for (uint32_t rank = 0; rank < count; rank++) {
            uint64_t token = random_next(&world.random);
            if (token < least) least = token;
            if (token > most) most = token;
            protocol_tell(&world.nodes[rank]->protocol, token);
        }
        world_run(&world, world.now_ns + 60 * LATENCY_NS);
        for (uint32_t rank = 0; rank < count; rank++) {
            const struct protocol *protocol = &world.nodes[rank]->protocol;
            if (!protocol->joined || protocol->least_token != least || protocol->most_token != most)
                fail_msg("seed %" PRIu64 ": rank %u of %u is wrong about the tokens", seed, rank, count);
        }
        world_destroy(&world);
    }
}

/* ---- A neighbour that knows the key and does not keep to the rules ---- */

static void send_nothing(void *context, uint32_t neighbour, const struct message *message)
{
    (void)context, (void)neighbour, (void)message;
}

/* Rank 1 of 4 has these pieces from rank 0, whose share comes from there. */
static void expect_refused(const struct message *pieces, int count, const char *word)
{
    static struct signature_ring ring;
    struct protocol_outside outside = {.send = send_nothing, .signatures = &ring};
    struct protocol protocol;
    assert_int_equal(protocol_init(&protocol, 1, 4, NS_PER_S, &outside, NS_PER_S), WEFT_OK);
    uint32_t from = (uint32_t)protocol_neighbour(&protocol, 0);
    protocol_connected(&protocol, from, NS_PER_S);
    for (int i = 0; i < count; i++) {
        assert_false(protocol.failed);
        protocol_receive(&protocol, from, &pieces[i], NS_PER_S);
    }
    assert_true(protocol.failed);
    assert_int_equal(protocol.failure.status, WEFT_PROTOCOL_ERROR);
    assert_int_equal(protocol.failure.rank, 0);
    if (!strstr(protocol.failure.message, word)) fail_msg("\"%s\" lacks \"%s\"", protocol.failure.message, word);
    protocol_free(&protocol);
}

#define PIECE(...)                                                                                                     \
    {                                                                                                                  \
        .kind = MESSAGE_SHARE, .share = { __VA_ARGS__ }                                                                \
    }

static void what_no_correct_rank_shares_fails_its_rank(void **state)
{
    (void)state;
    const struct message far[] = {PIECE(.number = SHARING_AHEAD, .total = 4, .count = 4)};
    expect_refused(far, 1, "not");
    const struct message others[] = {PIECE(.source = 3, .total = 4, .count = 4)};
    expect_refused(others, 1, "another rank's");
    const struct message own[] = {PIECE(.source = 1, .total = 4, .count = 4)};
    expect_refused(own, 1, "another rank's");
    const struct message late[] = {PIECE(.total = 1000, .offset = 960, .count = 40)};
    expect_refused(late, 1, "before");
    const struct message twice[] = {PIECE(.total = 1000, .count = 960), PIECE(.total = 1000, .count = 960)};
    expect_refused(twice, 2, "follow");
    const struct message longer[] = {PIECE(.total = 1000, .count = 960),
                                     PIECE(.total = 1001, .offset = 960, .count = 41)};
    expect_refused(longer, 2, "follow");
    const struct message again[] = {PIECE(.total = 0), PIECE(.total = 0)};
    expect_refused(again, 2, "follow");
    struct message many[SHARING_AHEAD + 1];
    for (uint32_t i = 0; i < SHARING_AHEAD; i++)
        many[i] = (struct message)PIECE(.number = i, .total = CONTROL_SHARE_BYTES_MAX, .count = 960);
    many[SHARING_AHEAD] = (struct message)PIECE(.number = 0, .total = 1, .offset = 0, .count = 1);
    expect_refused(many, SHARING_AHEAD + 1, "follow");
}

/* ---- Over sockets ---- */

struct job {
    weft_unique_id id;
    uint32_t rank_count, silent;
    uint64_t deadline_ns;
};
struct rank_thread {
    struct job *job;
    uint32_t rank;
    pthread_t thread;
    weft_status status;
    struct diagnostic diagnostic;
    bool right;
};

static bool is_odd(const void *context, uint32_t rank)
{
    (void)context;
    return rank % 2 == 1;
}

static bool share_is(const struct control *control, uint32_t source, uint32_t number, uint32_t wanted)
{
    size_t size;
    const uint8_t *bytes = control_share(control, source, &size);
    uint8_t *expected = malloc(wanted + 1);
    fill(expected, 1, number, source, wanted);
    bool same = size == wanted && (wanted == 0 || memcmp(bytes, expected, wanted) == 0);
    free(expected);
    return same;
}

/* Everybody a few bytes, some a lot, everybody nothing. */
static void *rank_main(void *argument)
{
    struct rank_thread *rank = argument;
    uint32_t count = rank->job->rank_count, large = 300000;
    struct control_config config = make_config(&rank->job->id, rank->rank, count);
    struct control *control;
    if (control_join(&config, &control, NULL) != WEFT_OK) abort();
    uint8_t *bytes = malloc(large);
    rank->right = true;
    if (rank->rank == rank->job->silent) {
        wait_failed(control);
        goto leave;
    }
    fill(bytes, 1, 0, rank->rank, 10 + rank->rank);
    rank->status =
        control_gather(control, bytes, 10 + rank->rank, NULL, NULL, rank->job->deadline_ns, &rank->diagnostic);
    for (uint32_t i = 0; i < count && !rank->status; i++) rank->right &= share_is(control, i, 0, 10 + i);
    fill(bytes, 1, 1, rank->rank, large);
    if (!rank->status) rank->status = control_gather(control, bytes, large, is_odd, NULL, rank->job->deadline_ns, NULL);
    for (uint32_t i = 0; i < count && !rank->status; i++) rank->right &= share_is(control, i, 1, i % 2 ? large : 0);
    if (!rank->status) rank->status = control_gather(control, NULL, 0, NULL, NULL, rank->job->deadline_ns, NULL);
leave:
    free(bytes);
    control_leave(control);
    return NULL;
}

static void job_run(struct job *job, struct rank_thread *ranks)
{
    assert_int_equal(weft_unique_id_create(&job->id), WEFT_OK);
    for (uint32_t i = 0; i < job->rank_count; i++) {
        ranks[i] = (struct rank_thread){.job = job, .rank = i};
        assert_int_equal(pthread_create(&ranks[i].thread, NULL, rank_main, &ranks[i]), 0);
    }
    for (uint32_t i = 0; i < job->rank_count; i++) pthread_join(ranks[i].thread, NULL);
}

static void gathers_work_over_sockets(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 3, 8, 13, RANKS_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct rank_thread ranks[RANKS_MAX];
        struct job job = {.rank_count = counts[i], .silent = UINT32_MAX, .deadline_ns = 60 * NS_PER_S};
        job_run(&job, ranks);
        for (uint32_t rank = 0; rank < counts[i]; rank++) {
            assert_int_equal(ranks[rank].status, WEFT_OK);
            assert_true(ranks[rank].right);
        }
    }
}

static void who_does_not_give_is_named_at_the_deadline(void **state)
{
    (void)state;
    struct rank_thread ranks[RANKS_MAX];
    /* On a machine so busy that the others have not given by then, one of them may be named. */
    const char *other = "never gathered";
    for (uint64_t deadline_ns = 300 * NS_PER_MS; other && deadline_ns <= 5 * NS_PER_S; deadline_ns *= 4) {
        struct job job = {.rank_count = 5, .silent = 3, .deadline_ns = deadline_ns};
        job_run(&job, ranks);
        other = NULL;
        for (uint32_t rank = 0; rank < 5; rank++) {
            if (rank == 3) continue;
            assert_int_equal(ranks[rank].status, WEFT_DEADLINE_EXCEEDED);
            if (!strstr(ranks[rank].diagnostic.text, "rank 3 ")) other = ranks[rank].diagnostic.text;
        }
    }
    if (other) fail_msg("%s", other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rank_gets_what_every_other_gave),
        cmocka_unit_test(every_rank_knows_the_least_and_the_most_token),
        cmocka_unit_test(what_no_correct_rank_shares_fails_its_rank),
        cmocka_unit_test(gathers_work_over_sockets),
        cmocka_unit_test(who_does_not_give_is_named_at_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
