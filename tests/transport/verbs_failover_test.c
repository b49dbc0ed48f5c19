/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rails that fail under traffic, and come back: every byte and every notification is checked, over devices that exist
 * in this process alone and can be made to fail in every way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "tests/mockverbs/mockverbs.h"
#include "tests/transport/seed.h"
#include "tests/transport/verbs_hosts.h"

enum {
    SEEDS = 24,
    PUTS = 60, /* each way */
    PATHS = 4,
    SLOT_BYTES = 40960,
    REGION_BYTES = PUTS * SLOT_BYTES,
    PATIENCE = 200000, /* rounds */
    SOURCE_BYTES = SLOT_BYTES + PUTS,
};
#define STEP_NS (100 * NS_PER_US)

struct side {
    struct endpoint *endpoint;
    struct connection *connection;
    uint32_t sent, arrived, done, done_due, notify_due, paths_down;
    weft_status failure;
    struct sent {
        uint32_t bytes;
        uint16_t path;
        bool notify, told, local_done, done;
    } puts[PUTS];
    int last_of_path[PATHS];
};

struct scene {
    struct verbs_hosts hosts;
    struct random random;
    uint64_t seed, now_ns;
    struct side sides[2];
    uint8_t source[SOURCE_BYTES];
};

#define HOLDS(scene, condition)                                                                                        \
    do {                                                                                                               \
        if (!(condition)) fail_msg("seed %llu: not so: %s", (unsigned long long)(scene)->seed, #condition);            \
    } while (0)

static struct scene *scene_open(uint64_t seed, uint32_t rails)
{
    struct scene *scene = calloc(1, sizeof *scene);
    struct verbs_config config = {.depth = 16, .send_depth = 16, .stripe_bytes = 16384, .linger_ns = NS_PER_MS};

    assert_non_null(scene);
    scene->seed = seed;
    random_seed(&scene->random, seed);
    config.lanes_per_rail = 1 + (uint32_t)random_below(&scene->random, 2);
    config.inline_bytes = random_below(&scene->random, 2) ? 16 : 0;
    for (size_t i = 0; i < SOURCE_BYTES; i++) scene->source[i] = (uint8_t)(1 + i % 253);
    verbs_hosts_open(&scene->hosts, 2, rails);
    for (uint32_t i = 0; i < 2; i++) {
        struct side *side = &scene->sides[i];
        for (uint32_t path = 0; path < PATHS; path++) side->last_of_path[path] = -1;
        HOLDS(scene, verbs_hosts_endpoint(&scene->hosts, i, &config, &side->endpoint, NULL) == WEFT_OK);
    }
    HOLDS(scene, pairs_connect_two(scene->sides[0].endpoint, scene->sides[1].endpoint, REGION_BYTES,
                                   &scene->sides[0].connection, &scene->sides[1].connection) == WEFT_OK);
    return scene;
}

static void scene_close(struct scene *scene)
{
    struct mockverbs_counters counters;

    mockverbs_counters(&counters);
    HOLDS(scene, counters.receiver_not_ready == 0);
    for (uint32_t i = 0; i < 2; i++) {
        connection_disconnect(scene->sides[i].connection);
        endpoint_destroy(scene->sides[i].endpoint);
    }
    verbs_hosts_close(&scene->hosts); /* nothing is left over */
    free(scene);
}

static void side_put(struct scene *scene, struct side *side)
{
    struct sent *sent = &side->puts[side->sent];

    if (side->sent == PUTS) return;
    sent->bytes = (uint32_t)random_below(&scene->random, random_below(&scene->random, 2) ? 500 : SLOT_BYTES + 1);
    sent->path = (uint16_t)random_below(&scene->random, PATHS);
    sent->notify = random_below(&scene->random, 3) > 0;
    sent->local_done = random_below(&scene->random, 3) == 0;
    const struct put put = {.source = scene->source + side->sent,
                            .remote_offset = (uint64_t)side->sent * SLOT_BYTES,
                            .bytes = sent->bytes,
                            .tag = side->sent,
                            .path_hint = sent->path,
                            .flags =
                                (uint16_t)((sent->notify ? PUT_NOTIFY : 0) | (sent->local_done ? PUT_LOCAL_DONE : 0))};
    if (connection_put(side->connection, &put, 1) == 0) return;
    side->notify_due += sent->notify;
    side->done_due += sent->local_done;
    side->sent++;
}

static bool bytes_are_there(const struct scene *scene, const struct side *from, const struct side *to, uint32_t i)
{
    return memcmp(to->connection->granted + (size_t)i * SLOT_BYTES, scene->source + i, from->puts[i].bytes) == 0;
}

static void arrived(struct scene *scene, struct side *side, struct side *from, uint32_t tag)
{
    HOLDS(scene, tag < from->sent && from->puts[tag].notify && !from->puts[tag].told);
    const uint16_t path = from->puts[tag].path;
    HOLDS(scene, side->last_of_path[path] < (int)tag);
    for (int i = side->last_of_path[path] + 1; i <= (int)tag; i++) {
        if (from->puts[i].path == path) HOLDS(scene, bytes_are_there(scene, from, side, (uint32_t)i));
    }
    side->last_of_path[path] = (int)tag;
    from->puts[tag].told = true;
    side->arrived++;
}

static void side_poll(struct scene *scene, struct side *side, struct side *from)
{
    struct event events[8];
    const size_t count = endpoint_poll(side->endpoint, events, 8, scene->now_ns);

    for (size_t i = 0; i < count; i++) {
        switch ((enum event_kind)events[i].kind) {
        case EVENT_ARRIVED:
            arrived(scene, side, from, events[i].tag);
            break;
        case EVENT_LOCAL_DONE:
            HOLDS(scene, events[i].tag < side->sent && side->puts[events[i].tag].local_done);
            HOLDS(scene, !side->puts[events[i].tag].done);
            side->puts[events[i].tag].done = true;
            side->done++;
            break;
        case EVENT_PATH_DOWN:
            side->paths_down++;
            break;
        case EVENT_FAILED:
            HOLDS(scene, side->failure == WEFT_OK);
            side->failure = events[i].status;
            break;
        case EVENT_WRITABLE:
            break;
        default:
            HOLDS(scene, !"an event that was not asked for");
        }
    }
}

static void scene_pass(struct scene *scene)
{
    scene->now_ns += STEP_NS;
    for (uint32_t i = 0; i < 2; i++) side_poll(scene, &scene->sides[i], &scene->sides[!i]);
}

static bool side_is_over(const struct side *side, const struct side *other)
{
    return side->sent == PUTS && other->arrived == side->notify_due && side->done == side->done_due;
}

/* Until everything has arrived once, whatever happens meanwhile. */
static void exchange(struct scene *scene, void (*disturb)(struct scene *, void *), void *context)
{
    for (uint32_t round = 0;
         !side_is_over(&scene->sides[0], &scene->sides[1]) || !side_is_over(&scene->sides[1], &scene->sides[0]);
         round++) {
        HOLDS(scene, round < PATIENCE);
        HOLDS(scene, scene->sides[0].failure == WEFT_OK && scene->sides[1].failure == WEFT_OK);
        side_put(scene, &scene->sides[random_below(&scene->random, 2)]);
        if (disturb) disturb(scene, context);
        scene_pass(scene);
    }
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t k = 0; k < PUTS; k++)
            HOLDS(scene,
                  !scene->sides[i].puts[k].notify || bytes_are_there(scene, &scene->sides[i], &scene->sides[!i], k));
    }
}

/* As before, to be done again with the same connection. */
static void scene_again(struct scene *scene)
{
    for (uint32_t i = 0; i < 2; i++) {
        struct side *side = &scene->sides[i];
        side->sent = side->arrived = side->done = side->done_due = side->notify_due = 0;
        memset(side->puts, 0, sizeof side->puts);
        memset(side->connection->granted, 0, REGION_BYTES);
        for (uint32_t path = 0; path < PATHS; path++) side->last_of_path[path] = -1;
    }
}

/* A queue pair of this rail, of either side. */
static uint32_t qp_of_rail(struct scene *scene, uint32_t rail)
{
    struct mockverbs_qp list[64];
    const size_t count = mockverbs_qp_list(list, 64);
    char device[32];

    snprintf(device, sizeof device, "mock%u_%u", (unsigned)random_below(&scene->random, 2), rail);
    for (size_t i = 0; i < count && i < 64; i++) {
        if (strcmp(list[i].device, device) == 0) return list[i].qp_num;
    }
    return 0;
}

struct blow {
    uint32_t after;
    void (*strike)(struct scene *scene);
    bool struck;
};

static void blow_strike(struct scene *scene, void *context)
{
    struct blow *blow = context;

    if (blow->struck || scene->sides[0].sent + scene->sides[1].sent < blow->after) return;
    blow->struck = true;
    blow->strike(scene);
}

static void strike_port(struct scene *scene)
{
    (void)scene;
    mockverbs_port_set("mock0_1", 1, false);
}
static void strike_drop(struct scene *scene)
{
    mockverbs_drop(qp_of_rail(scene, 1), (uint32_t)random_below(&scene->random, 5));
}
static void strike_completion(struct scene *scene)
{
    static const enum ibv_wc_status statuses[] = {IBV_WC_RETRY_EXC_ERR, IBV_WC_REM_ACCESS_ERR, IBV_WC_LOC_PROT_ERR,
                                                  IBV_WC_FATAL_ERR, IBV_WC_REM_OP_ERR};
    const struct mockverbs_fault fault = {
        .qp_num = qp_of_rail(scene, 1),
        .queue = MOCKVERBS_SEND,
        .after = (uint32_t)random_below(&scene->random, 4),
        .status = statuses[random_below(&scene->random, sizeof statuses / sizeof statuses[0])],
        .vendor_error = 0x81,
        .delivered = random_below(&scene->random, 2)};
    mockverbs_fail_completion(&fault);
}
static void strike_device(struct scene *scene)
{
    (void)scene;
    mockverbs_device_remove("mock1_1");
}
static void strike_overrun(struct scene *scene)
{
    mockverbs_cq_overrun_of(qp_of_rail(scene, 1), MOCKVERBS_SEND);
}
static void strike_event(struct scene *scene)
{
    static const enum ibv_event_type types[] = {IBV_EVENT_QP_FATAL, IBV_EVENT_QP_ACCESS_ERR, IBV_EVENT_QP_REQ_ERR};
    mockverbs_event_qp(qp_of_rail(scene, 1), types[random_below(&scene->random, 3)]);
}

/* Whatever happens to rail 1, rail 0 goes on, and nothing is lost or told twice. */
static void survives(void (*strike)(struct scene *))
{
    uint64_t first = 1, count = SEEDS;

    seeds_choose(&first, &count);
    for (uint64_t i = 0; i < count; i++) {
        struct scene *scene = scene_open(first + i, 2);
        struct blow blow = {.after = (uint32_t)random_below(&scene->random, 2 * PUTS), .strike = strike};
        if (i & 1) mockverbs_delay(first + i, 1 + (uint32_t)(i % 5));
        exchange(scene, blow_strike, &blow);
        HOLDS(scene, blow.struck);
        /* It may be that nothing came by the rail after it broke: then it is only noticed by what comes next. */
        scene_again(scene);
        exchange(scene, NULL, NULL);
        HOLDS(scene, scene->sides[0].paths_down == 1 && scene->sides[1].paths_down == 1);
        scene_close(scene);
    }
}

static void a_port_goes_down(void **state)
{
    (void)state;
    survives(strike_port);
}
static void a_queue_pair_is_not_answered(void **state)
{
    (void)state;
    survives(strike_drop);
}
static void a_request_completes_in_error(void **state)
{
    (void)state;
    survives(strike_completion);
}
static void a_device_is_removed(void **state)
{
    (void)state;
    survives(strike_device);
}
static void a_completion_queue_is_overrun(void **state)
{
    (void)state;
    survives(strike_overrun);
}
static void a_queue_pair_reports_a_failure(void **state)
{
    (void)state;
    survives(strike_event);
}

static uint64_t sent_on_rail(uint32_t rail)
{
    struct mockverbs_qp list[64];
    const size_t count = mockverbs_qp_list(list, 64);
    uint64_t bytes = 0;
    char device[32];

    snprintf(device, sizeof device, "mock0_%u", rail);
    for (size_t i = 0; i < count && i < 64; i++) {
        if (strcmp(list[i].device, device) == 0) bytes += list[i].sent_bytes;
    }
    return bytes;
}

static void both_rails_carry_large_puts(void **state)
{
    struct scene *scene = scene_open(1, 2);
    const struct put put = {.source = scene->source, .bytes = SLOT_BYTES, .flags = PUT_NOTIFY};

    (void)state;
    scene->sides[0].puts[0] = (struct sent){.bytes = SLOT_BYTES, .notify = true};
    scene->sides[0].sent = 1;
    assert_int_equal(connection_put(scene->sides[0].connection, &put, 1), 1);
    for (int i = 0; i < 100; i++) scene_pass(scene);
    assert_int_equal(scene->sides[1].arrived, 1);
    assert_in_range(sent_on_rail(0), SLOT_BYTES / 3, SLOT_BYTES);
    assert_in_range(sent_on_rail(1), SLOT_BYTES / 3, SLOT_BYTES);
    scene_close(scene);
}

/* Rails lost and back again and again, each time in the midst. */
static void flap(struct scene *scene, void *context)
{
    char device[32];

    (void)context;
    if (random_below(&scene->random, 40)) return;
    const uint32_t rail = (uint32_t)random_below(&scene->random, 3);
    /* Not rail 0: one has to stay. */
    snprintf(device, sizeof device, "mock%u_%u", (unsigned)random_below(&scene->random, 2), rail ? rail : 1);
    mockverbs_port_set(device, 1, random_below(&scene->random, 2));
    /* Time for reconnecting passes faster than puts are made. */
    for (uint64_t i = random_below(&scene->random, 40); i > 0; i--) {
        scene->now_ns += 100 * NS_PER_MS;
        scene_pass(scene);
    }
}

static void rails_may_come_and_go(void **state)
{
    uint64_t first = 1, count = SEEDS;

    (void)state;
    seeds_choose(&first, &count);
    for (uint64_t i = 0; i < count; i++) {
        struct scene *scene = scene_open(first + i, 3);
        if (i & 1) mockverbs_delay(first + i, 1 + (uint32_t)(i % 5));
        for (int again = 0; again < 3; again++) {
            exchange(scene, flap, NULL);
            scene_again(scene);
        }
        scene_close(scene);
    }
}

static void a_rail_that_comes_back_is_used_again(void **state)
{
    struct scene *scene = scene_open(3, 2);

    (void)state;
    exchange(scene, NULL, NULL);
    scene_again(scene);
    mockverbs_port_set("mock0_1", 1, false);
    exchange(scene, NULL, NULL);
    assert_int_equal(scene->sides[0].paths_down, 1);
    assert_int_equal(scene->sides[1].paths_down, 1);
    assert_int_equal(sent_on_rail(1), 0); /* its queue pairs are gone */
    scene_again(scene);
    mockverbs_port_set("mock0_1", 1, true);
    for (int i = 0; i < 400; i++) {
        scene->now_ns += 10 * NS_PER_MS;
        scene_pass(scene);
    }
    exchange(scene, NULL, NULL);
    assert_true(sent_on_rail(1) > 0);
    assert_int_equal(scene->sides[0].paths_down, 1);
    scene_close(scene);
}

static void the_last_rail_fails_the_connection(void **state)
{
    struct scene *scene = scene_open(5, 2);

    (void)state;
    mockverbs_port_set("mock0_0", 1, false);
    for (int i = 0; i < 100; i++) scene_pass(scene);
    assert_int_equal(scene->sides[0].failure, WEFT_OK);
    mockverbs_port_set("mock0_1", 1, false);
    for (int i = 0; i < 10000 && !(scene->sides[0].failure && scene->sides[1].failure); i++) scene_pass(scene);
    assert_int_equal(scene->sides[0].failure, WEFT_LINK_DOWN);
    assert_true(scene->sides[1].failure == WEFT_LINK_DOWN || scene->sides[1].failure == WEFT_PEER_FAILED);
    assert_int_equal(connection_put(scene->sides[0].connection, &(struct put){.flags = PUT_NOTIFY}, 1), 0);
    scene_close(scene);
}

static void a_dead_process_is_no_lost_rail(void **state)
{
    struct scene *scene = scene_open(7, 2);

    (void)state;
    verbs_hosts_kill(&scene->hosts, 1);
    for (int i = 0; i < 10000 && !scene->sides[0].failure; i++) {
        scene->now_ns += STEP_NS;
        side_poll(scene, &scene->sides[0], &scene->sides[1]);
    }
    assert_int_equal(scene->sides[0].failure, WEFT_PEER_FAILED);
    assert_int_equal(scene->sides[0].paths_down, 0);
    scene_close(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_rails_carry_large_puts),
        cmocka_unit_test(a_port_goes_down),
        cmocka_unit_test(a_queue_pair_is_not_answered),
        cmocka_unit_test(a_request_completes_in_error),
        cmocka_unit_test(a_device_is_removed),
        cmocka_unit_test(a_completion_queue_is_overrun),
        cmocka_unit_test(a_queue_pair_reports_a_failure),
        cmocka_unit_test(a_rail_that_comes_back_is_used_again),
        cmocka_unit_test(rails_may_come_and_go),
        cmocka_unit_test(the_last_rail_fails_the_connection),
        cmocka_unit_test(a_dead_process_is_no_lost_rail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
