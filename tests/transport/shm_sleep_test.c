/* SPDX-License-Identifier: Apache-2.0 */
/* No wake-up is lost: a lost one would leave both ranks asleep, each waiting for the other. */
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "tests/transport/pairs.h"
#include "transport/shm/shm.h"

#define ROUNDS 20000
#define FLOOD 20000
#define SEED 1
/*
 * What is put with each ping: lines that the other core owns. They hold up the stores behind them, and with these the
 * notification, while loads go ahead: the reordering that the fences are there for.
 */
#define BALLAST_BYTES 1024
/* How long nobody sleeps unless he is never woken. */
#define FOR_EVER_MS 30000

struct side {
    struct pairs pairs;
    struct endpoint *endpoints[2];
    struct connection *connections[2];
    _Atomic uint32_t met; /* by both, counted together */
};

struct player {
    struct side *side;
    uint32_t rank;
    struct random random;
    uint64_t sleeps;
    bool lost;
};

static void side_open(struct side *side)
{
    atomic_store(&side->met, 0);
    pairs_init(&side->pairs);
    for (uint32_t rank = 0; rank < 2; rank++) {
        assert_int_equal(shm_endpoint_create(&(struct shm_config){.rank = rank, .rank_count = 2},
                                             pairs_rendezvous(&side->pairs, rank), &side->endpoints[rank], NULL),
                         WEFT_OK);
    }
    assert_int_equal(pairs_connect_two(side->endpoints[0], side->endpoints[1], BALLAST_BYTES, &side->connections[0],
                                       &side->connections[1]),
                     WEFT_OK);
}

static void side_close(struct side *side)
{
    for (uint32_t rank = 0; rank < 2; rank++) {
        connection_disconnect(side->connections[rank]);
        endpoint_destroy(side->endpoints[rank]);
    }
    pairs_close(&side->pairs);
}

/* Wait for an event, awake for a random while and then asleep. False: it never came. */
static bool wait_event(struct player *player, struct event *event)
{
    struct endpoint *endpoint = player->side->endpoints[player->rank];

    for (;;) {
        for (uint64_t spins = random_below(&player->random, 40); spins-- > 0;) {
            if (endpoint_poll(endpoint, event, 1, 0)) return true;
        }
        int fd;
        if (endpoint_arm(endpoint, &fd) == WEFT_OK) {
            struct pollfd sleeper = {.fd = fd, .events = POLLIN};
            player->sleeps++;
            if (poll(&sleeper, 1, FOR_EVER_MS) != 1) return false;
        }
        if (endpoint_poll(endpoint, event, 1, 0)) return true;
    }
}

static void *play_ping_pong(void *argument)
{
    struct player *player = argument;
    struct connection *connection = player->side->connections[player->rank];
    static const uint8_t ballast[BALLAST_BYTES];

    for (uint32_t round = 0; round < ROUNDS; round++) {
        const struct put put = {.source = ballast, .bytes = BALLAST_BYTES, .tag = round, .flags = PUT_NOTIFY};
        struct event event;
        if (player->rank == 0 && connection_put(connection, &put, 1) != 1) player->lost = true;
        if (!wait_event(player, &event) || event.kind != EVENT_ARRIVED || event.tag != round) player->lost = true;
        memset(connection->granted, (int)round, BALLAST_BYTES); /* now this core owns it */
        if (player->rank == 1 && connection_put(connection, &put, 1) != 1) player->lost = true;
        if (player->lost) break;
    }
    return NULL;
}

/* Rank 0 sends faster than the ring can take, and sleeps until there is room; rank 1 sleeps until something comes. */
static void *play_flood(void *argument)
{
    struct player *player = argument;
    struct connection *connection = player->side->connections[player->rank];
    uint32_t count = 0;

    while (count < FLOOD && !player->lost) {
        struct event event;
        if (player->rank == 0) {
            const struct put put = {.tag = count, .flags = PUT_NOTIFY};
            if (connection_put(connection, &put, 1))
                count++;
            else if (!wait_event(player, &event) || event.kind != EVENT_WRITABLE)
                player->lost = true;
        } else if (!wait_event(player, &event) || event.kind != EVENT_ARRIVED || event.tag != count++) {
            player->lost = true;
        }
    }
    return NULL;
}

static void meet(struct player *player)
{
    uint32_t count = atomic_fetch_add(&player->side->met, 1) + 1, both = count + count % 2;

    for (uint32_t looks = 0; atomic_load(&player->side->met) < both; looks++) {
        if (looks > 1000) sched_yield();
    }
}

/* Rank 0 puts while rank 1 falls asleep: it is woken, or has seen what came. */
static void *play_at_once(void *argument)
{
    struct player *player = argument;
    struct connection *connection = player->side->connections[player->rank];
    struct endpoint *endpoint = player->side->endpoints[player->rank];
    static const uint8_t ballast[BALLAST_BYTES];
    const struct put put = {.source = ballast, .bytes = BALLAST_BYTES, .flags = PUT_NOTIFY};

    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct pollfd sleeper = {.events = POLLIN};
        struct event event;
        weft_status armed = WEFT_AGAIN;
        memset(connection->granted, (int)round, BALLAST_BYTES);
        meet(player);
        for (volatile uint64_t spins = random_below(&player->random, 300); spins > 0;) spins--;
        if (player->rank == 0)
            player->lost |= connection_put(connection, &put, 1) != 1;
        else
            armed = endpoint_arm(endpoint, &sleeper.fd);
        meet(player);
        if (player->rank == 0) continue;
        player->sleeps += armed == WEFT_OK;
        player->lost |= armed == WEFT_OK && poll(&sleeper, 1, 0) != 1;
        player->lost |= endpoint_poll(endpoint, &event, 1, 0) != 1;
    }
    return NULL;
}

static void play(void *(*game)(void *))
{
    struct side side;
    struct player players[2];
    pthread_t threads[2];

    side_open(&side);
    for (uint32_t rank = 0; rank < 2; rank++) {
        players[rank] = (struct player){.side = &side, .rank = rank};
        random_seed(&players[rank].random, SEED + rank);
        assert_int_equal(pthread_create(&threads[rank], NULL, game, &players[rank]), 0);
    }
    for (uint32_t rank = 0; rank < 2; rank++) pthread_join(threads[rank], NULL);
    print_message("slept %llu and %llu times (seed %d)\n", (unsigned long long)players[0].sleeps,
                  (unsigned long long)players[1].sleeps, SEED);
    assert_false(players[0].lost || players[1].lost);
    side_close(&side);
}

static void no_wake_up_is_lost_between_two_that_wait_for_each_other(void **state)
{
    (void)state;
    play(play_ping_pong);
}

static void no_wake_up_is_lost_when_room_is_waited_for(void **state)
{
    (void)state;
    play(play_flood);
}

static void no_wake_up_is_lost_of_who_falls_asleep_meanwhile(void **state)
{
    (void)state;
    play(play_at_once);
}

static void only_the_first_put_of_a_sleep_wakes(void **state)
{
    struct side side;
    struct event events[4];
    int fd;

    (void)state;
    side_open(&side);
    const struct put puts[3] = {{.flags = PUT_NOTIFY}, {.flags = PUT_NOTIFY}, {.flags = PUT_NOTIFY}};
    assert_int_equal(endpoint_arm(side.endpoints[0], &fd), WEFT_OK);
    assert_int_equal(connection_put(side.connections[1], puts, 3), 3);
    assert_int_equal(connection_put(side.connections[1], puts, 1), 1);
    assert_int_equal(endpoint_poll(side.endpoints[0], events, 4, 0), 4);
    /* One byte was sent and taken: the next sleep does not end at once. */
    assert_int_equal(endpoint_arm(side.endpoints[0], &fd), WEFT_OK);
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0), 0);
    side_close(&side);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_first_put_of_a_sleep_wakes),
        cmocka_unit_test(no_wake_up_is_lost_between_two_that_wait_for_each_other),
        cmocka_unit_test(no_wake_up_is_lost_of_who_falls_asleep_meanwhile),
        cmocka_unit_test(no_wake_up_is_lost_when_room_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
