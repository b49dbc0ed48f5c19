/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger in virtual time: two ends, random puts, lanes that deliver and complete when chance wants it, rails that
 * fail in the midst and come back. Every byte and every notification is checked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "tests/transport/seed.h"
#include "transport/verbs/ledger.h"

enum {
    SEEDS = 2000,
    PUTS = 100, /* each way */
    PATHS = 5,
    MAX_BYTES = 20000,
    WIRE_ENTRIES = 256, /* of a lane, a power of two; more than the send depth and all credits */
    SEND_DEPTH = 16,
    STEPS = 2000000,
};

/* What is under way on a lane: work requests posted, arrived, polled by the receiver, complete at the sender. */
struct wire {
    uint32_t posted, arrived, completed;
    uint32_t receives; /* arrived and not polled */
    struct wire_entry {
        struct ledger_note note;
        struct ledger_credit credit;
        bool message, is_credit;
        const uint8_t *source;
        uint64_t offset;
        uint32_t bytes;
    } entries[WIRE_ENTRIES];
    uint32_t poll_head, poll_tail;
    struct wire_entry polled[WIRE_ENTRIES];
};

struct side {
    struct outbox outbox;
    struct inbox inbox;
    struct wire wires[LEDGER_MAX_LANES]; /* from this side */
    uint8_t *region;                     /* what the other writes */
    struct sent {
        uint32_t bytes;
        uint16_t path;
        bool notify, local_done, done, told;
    } sent[PUTS];
    uint32_t sent_count, done_count, done_due, told_count, notify_count;
    int64_t last_of_path[PATHS];
};

struct world {
    struct random random;
    struct ledger_config config;
    struct side sides[2];
    bool rail_up[LEDGER_MAX_RAILS];
    uint64_t seed;
};

#define HOLDS(world, condition)                                                                                        \
    do {                                                                                                               \
        if (!(condition)) fail_msg("seed %llu: not so: %s", (unsigned long long)(world)->seed, #condition);            \
    } while (0)

/* Of both sides of all worlds: what was touched is cleared when a world ends. */
static uint8_t regions[2][PUTS * MAX_BYTES], source[MAX_BYTES + PUTS];

static bool chance(struct world *world, uint64_t of)
{
    return random_below(&world->random, of) == 0;
}

static void world_open(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    world->seed = seed;
    random_seed(&world->random, seed);
    world->config = (struct ledger_config){.rail_count = 1 + (uint32_t)random_below(&world->random, 4),
                                           .lanes_per_rail = 1 + (uint32_t)random_below(&world->random, 3),
                                           .depth = 8u << random_below(&world->random, 3),
                                           .queue_limit = 12,
                                           .send_depth = SEND_DEPTH,
                                           .stripe_bytes = 8192};
    world->config.peer_depth = world->config.depth;
    for (uint32_t i = 0; i < world->config.rail_count; i++) {
        world->rail_up[i] = true;
        world->config.rail_weight[i] = 1 + (double)random_below(&world->random, 3);
    }
    for (int i = 0; i < 2; i++) {
        struct side *side = &world->sides[i];
        HOLDS(world, outbox_open(&side->outbox, &world->config) == WEFT_OK);
        HOLDS(world, inbox_open(&side->inbox, &world->config) == WEFT_OK);
        side->region = regions[i];
        for (uint32_t path = 0; path < PATHS; path++) side->last_of_path[path] = -1;
    }
}

static void release(void *context, struct ledger_item *item)
{
    (void)context;
    (void)item;
    abort(); /* nothing is staged here */
}

static void world_close(struct world *world)
{
    for (int i = 0; i < 2; i++) {
        struct side *side = &world->sides[i];
        outbox_drop(&side->outbox, release, NULL);
        outbox_close(&side->outbox);
        inbox_close(&side->inbox);
        for (uint32_t k = 0; k < PUTS; k++)
            memset(side->region + (size_t)k * MAX_BYTES, 0, world->sides[!i].sent[k].bytes);
    }
}

static void side_put(struct world *world, struct side *side)
{
    struct sent *sent = &side->sent[side->sent_count];
    uint32_t touched = 0;

    sent->bytes = (uint32_t)random_below(&world->random, chance(world, 4) ? MAX_BYTES + 1 : 100);
    sent->path = (uint16_t)random_below(&world->random, PATHS);
    sent->notify = !chance(world, 3);
    sent->local_done = chance(world, 3);
    const struct put put = {.source = source + side->sent_count,
                            .remote_offset = (uint64_t)side->sent_count * MAX_BYTES,
                            .bytes = sent->bytes,
                            .tag = side->sent_count,
                            .path_hint = sent->path,
                            .flags =
                                (uint16_t)((sent->notify ? PUT_NOTIFY : 0) | (sent->local_done ? PUT_LOCAL_DONE : 0))};
    if (!outbox_put(&side->outbox, &put, &touched)) return;
    HOLDS(world, touched != 0);
    side->notify_count += sent->notify;
    side->done_due += sent->local_done;
    side->sent_count++;
}

static void side_post(struct world *world, struct side *side, uint32_t lane)
{
    struct wire *wire = &side->wires[lane];

    while (wire->posted - wire->completed < SEND_DEPTH) {
        struct ledger_item *item = outbox_head(&side->outbox, lane);
        if (!item) return;
        uint32_t bytes = item->bytes;
        if (bytes > 1000 && chance(world, 2)) bytes = 1 + (uint32_t)random_below(&world->random, bytes - 1);
        item = outbox_post(&side->outbox, lane, item, bytes, wire->posted);
        if (!item) return;
        wire->entries[wire->posted++ % WIRE_ENTRIES] = (struct wire_entry){
            .note = {.position = item->position,
                     .tag = item->tag,
                     .stripe = item->stripe,
                     .kind = item->kind,
                     .lane = item->lane,
                     .parts = item->parts,
                     .notify = item->notify},
            .message = item->kind != LEDGER_WRITE,
            .source = item->source,
            .offset = item->remote_offset,
            .bytes = item->bytes,
        };
    }
}

static void side_credit(struct world *world, struct side *side, uint32_t lane)
{
    struct wire *wire = &side->wires[lane];

    if (!inbox_credit_due(&side->inbox, lane)) return;
    HOLDS(world, wire->posted - wire->completed < WIRE_ENTRIES);
    wire->entries[wire->posted++ % WIRE_ENTRIES] =
        (struct wire_entry){.message = true, .is_credit = true, .credit = inbox_credit_take(&side->inbox, lane)};
}

/* The oldest of a lane that has not arrived. */
static void wire_arrive(struct world *world, struct wire *wire, struct side *to)
{
    if (wire->arrived == wire->posted) return;
    const struct wire_entry *entry = &wire->entries[wire->arrived++ % WIRE_ENTRIES];
    if (entry->bytes) memcpy(to->region + entry->offset, entry->source, entry->bytes);
    if (!entry->message) return;
    HOLDS(world, wire->receives < world->config.depth + LEDGER_RESERVE); /* else: receiver not ready */
    wire->receives++;
    wire->polled[wire->poll_tail++ % WIRE_ENTRIES] = *entry;
}

static void wire_poll(struct world *world, struct wire *wire, struct side *to, uint32_t lane)
{
    if (wire->poll_head == wire->poll_tail) return;
    const struct wire_entry *entry = &wire->polled[wire->poll_head++ % WIRE_ENTRIES];
    wire->receives--;
    if (entry->is_credit)
        HOLDS(world, outbox_credit(&to->outbox, lane, entry->credit.messages, entry->credit.notes,
                                   entry->credit.stripes) == WEFT_OK);
    else
        HOLDS(world, inbox_receive(&to->inbox, lane, &entry->note) == WEFT_OK);
}

static bool bytes_are_there(const struct side *from, const struct side *to, uint32_t index)
{
    const struct sent *sent = &from->sent[index];

    return memcmp(to->region + (size_t)index * MAX_BYTES, source + index, sent->bytes) == 0;
}

static void side_take(struct world *world, struct side *side, struct side *from)
{
    uint32_t tag;

    if (!inbox_take(&side->inbox, &tag)) return;
    HOLDS(world, tag < from->sent_count && from->sent[tag].notify && !from->sent[tag].told);
    from->sent[tag].told = true;
    const uint16_t path = from->sent[tag].path;
    HOLDS(world, side->last_of_path[path] < (int64_t)tag);
    for (int64_t i = side->last_of_path[path] + 1; i <= (int64_t)tag; i++) {
        if (from->sent[i].path != path) continue;
        HOLDS(world, bytes_are_there(from, side, (uint32_t)i));
        HOLDS(world, i == (int64_t)tag || !from->sent[i].notify);
    }
    side->last_of_path[path] = tag;
    side->told_count++;
}

static void side_done(struct world *world, struct side *side)
{
    uint32_t tag;

    while (outbox_take_done(&side->outbox, &tag)) {
        HOLDS(world, tag < side->sent_count && side->sent[tag].local_done && !side->sent[tag].done);
        side->sent[tag].done = true;
        side->done_count++;
    }
}

/* Completions come in order, and often fewer than could: one tells of all before it. */
static void wire_complete(struct world *world, struct side *side, uint32_t lane)
{
    struct wire *wire = &side->wires[lane];

    if (wire->completed == wire->arrived || !chance(world, 2)) return;
    wire->completed += 1 + (uint32_t)random_below(&world->random, wire->arrived - wire->completed);
    outbox_completed(&side->outbox, lane, wire->completed - 1, release, NULL);
}

static void rail_fail(struct world *world, uint32_t rail)
{
    const uint32_t per_rail = world->config.lanes_per_rail;

    world->rail_up[rail] = false;
    for (uint32_t lane = rail * per_rail; lane < (rail + 1) * per_rail; lane++) {
        for (int i = 0; i < 2; i++) {
            outbox_lane_stop(&world->sides[i].outbox, lane);
            struct wire *wire = &world->sides[i].wires[lane];
            while (wire->poll_head != wire->poll_tail) wire_poll(world, wire, &world->sides[!i], lane);
        }
    }
    /* Puts may come between a failure and its settlement. */
    if (chance(world, 2) && world->sides[0].sent_count < PUTS) side_put(world, &world->sides[0]);
    for (uint32_t lane = rail * per_rail; lane < (rail + 1) * per_rail; lane++) {
        for (int i = 0; i < 2; i++) {
            uint32_t to;
            struct wire *wire = &world->sides[i].wires[lane];
            HOLDS(world, outbox_lane_lose(&world->sides[i].outbox, lane, world->sides[!i].inbox.lanes[lane].messages,
                                          release, NULL, &to) == WEFT_OK);
            HOLDS(world, world->rail_up[to / per_rail]);
            wire->posted = wire->arrived = wire->completed = 0;
        }
    }
}

static void rail_restore(struct world *world, uint32_t rail)
{
    const uint32_t per_rail = world->config.lanes_per_rail;

    world->rail_up[rail] = true;
    for (uint32_t lane = rail * per_rail; lane < (rail + 1) * per_rail; lane++) {
        for (int i = 0; i < 2; i++) {
            const struct ledger_credit credit = inbox_credit_take(&world->sides[!i].inbox, lane);
            HOLDS(world, outbox_credit(&world->sides[i].outbox, lane, credit.messages, credit.notes, credit.stripes) ==
                             WEFT_OK);
            outbox_lane_restore(&world->sides[i].outbox, lane);
        }
    }
}

static void rails_change(struct world *world)
{
    const uint32_t rail = (uint32_t)random_below(&world->random, world->config.rail_count);
    uint32_t up = 0;

    for (uint32_t i = 0; i < world->config.rail_count; i++) up += world->rail_up[i];
    if (!world->rail_up[rail])
        rail_restore(world, rail);
    else if (up > 1)
        rail_fail(world, rail);
}

static void world_step(struct world *world, bool faults)
{
    const int i = (int)random_below(&world->random, 2);
    struct side *side = &world->sides[i], *other = &world->sides[!i];
    const uint32_t lane = (uint32_t)random_below(&world->random, side->outbox.lane_count);

    if (faults && chance(world, 300)) rails_change(world);
    if (side->sent_count < PUTS) side_put(world, side);
    if (world->rail_up[lane / world->config.lanes_per_rail]) {
        side_post(world, side, lane);
        side_credit(world, side, lane);
        for (uint64_t n = random_below(&world->random, 8); n > 0; n--) wire_arrive(world, &side->wires[lane], other);
        for (uint64_t n = random_below(&world->random, 8); n > 0; n--)
            wire_poll(world, &side->wires[lane], other, lane);
        wire_complete(world, side, lane);
    }
    if (chance(world, 2)) side_take(world, side, other);
    side_done(world, side);
}

static bool side_is_over(const struct side *side, const struct side *other)
{
    return side->sent_count == PUTS && other->told_count == side->notify_count && side->done_count == side->done_due &&
           outbox_idle(&side->outbox);
}

static void world_run(uint64_t seed, bool faults)
{
    static struct world world;

    world_open(&world, seed);
    uint32_t step = 0;
    while (!side_is_over(&world.sides[0], &world.sides[1]) || !side_is_over(&world.sides[1], &world.sides[0])) {
        HOLDS(&world, ++step < STEPS); /* else it waits for ever */
        world_step(&world, faults);
    }
    for (int i = 0; i < 2; i++) {
        for (uint32_t k = 0; k < PUTS; k++) HOLDS(&world, bytes_are_there(&world.sides[i], &world.sides[!i], k));
    }
    world_close(&world);
}

static void everything_arrives_once_in_order_within_the_credits(void **state)
{
    uint64_t first = 1, count = SEEDS / 4;

    (void)state;
    seeds_choose(&first, &count);
    for (uint64_t i = 0; i < count; i++) world_run(first + i, false);
}

static void so_it_does_while_rails_fail_and_come_back(void **state)
{
    uint64_t first = 1, count = SEEDS;

    (void)state;
    seeds_choose(&first, &count);
    for (uint64_t i = 0; i < count; i++) world_run(first + i, true);
}

static const struct ledger_config small = {.rail_count = 2,
                                           .lanes_per_rail = 1,
                                           .depth = 8,
                                           .peer_depth = 8,
                                           .queue_limit = 4,
                                           .send_depth = 4,
                                           .stripe_bytes = 8192,
                                           .rail_weight = {1, 1}};

static void what_no_correct_peer_sends_is_refused(void **state)
{
    static const struct ledger_note wrong[] = {
        {.kind = LEDGER_WRITE},
        {.kind = LEDGER_SYNC + 1},
        {.kind = LEDGER_STRIPED, .stripe = LEDGER_STRIPES},
        {.kind = LEDGER_STRIPED, .stripe = UINT32_MAX},
        {.kind = LEDGER_STRIPED, .parts = LEDGER_MAX_RAILS},
        {.kind = LEDGER_FRAGMENT, .stripe = LEDGER_STRIPES},
        {.kind = LEDGER_SYNC, .lane = 2},
        {.kind = LEDGER_SYNC, .lane = 0, .position = 1},
        {.kind = LEDGER_SYNC, .lane = 1, .position = 1},
    };
    struct inbox inbox;

    (void)state;
    assert_int_equal(inbox_open(&inbox, &small), WEFT_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(inbox_receive(&inbox, 0, &wrong[i]), WEFT_PROTOCOL_ERROR);
    for (int i = 0; i < 8; i++)
        assert_int_equal(inbox_receive(&inbox, 0, &(struct ledger_note){.kind = LEDGER_NOTIFY}), WEFT_OK);
    assert_int_equal(inbox_receive(&inbox, 0, &(struct ledger_note){.kind = LEDGER_NOTIFY}), WEFT_PROTOCOL_ERROR);
    for (uint32_t i = 0; i < LEDGER_MAX_RAILS; i++)
        assert_int_equal(inbox_receive(&inbox, 1, &(struct ledger_note){.kind = LEDGER_FRAGMENT}), WEFT_OK);
    assert_int_equal(inbox_receive(&inbox, 1, &(struct ledger_note){.kind = LEDGER_FRAGMENT}), WEFT_PROTOCOL_ERROR);
    inbox_close(&inbox);
}

static void credits_for_what_was_never_sent_are_refused(void **state)
{
    struct outbox outbox;
    uint32_t to;

    (void)state;
    assert_int_equal(outbox_open(&outbox, &small), WEFT_OK);
    assert_int_equal(outbox_credit(&outbox, 0, 1, 0, 0), WEFT_PROTOCOL_ERROR);
    assert_int_equal(outbox_credit(&outbox, 0, 0, 1, 0), WEFT_PROTOCOL_ERROR);
    assert_int_equal(outbox_credit(&outbox, 0, 0, 0, 1), WEFT_PROTOCOL_ERROR);
    assert_int_equal(outbox_credit(&outbox, 0, 0, 0, 0), WEFT_OK);
    outbox_lane_stop(&outbox, 0);
    assert_int_equal(outbox_lane_lose(&outbox, 0, 1, release, NULL, &to), WEFT_PROTOCOL_ERROR);
    outbox_close(&outbox);
}

static void the_last_lane_is_not_replaced(void **state)
{
    struct outbox outbox;
    uint32_t to;

    (void)state;
    assert_int_equal(outbox_open(&outbox, &small), WEFT_OK);
    outbox_lane_stop(&outbox, 0);
    assert_int_equal(outbox_lane_lose(&outbox, 0, 0, release, NULL, &to), WEFT_OK);
    assert_int_equal(to, 1);
    assert_int_equal(outbox_home(&outbox, 0), 1);
    outbox_lane_stop(&outbox, 1);
    assert_int_equal(outbox_lane_lose(&outbox, 1, 0, release, NULL, &to), WEFT_LINK_DOWN);
    outbox_close(&outbox);
}

int main(void)
{
    for (uint32_t at = 0; at < sizeof source; at++) source[at] = (uint8_t)(1 + at % 251);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_arrives_once_in_order_within_the_credits),
        cmocka_unit_test(so_it_does_while_rails_fail_and_come_back),
        cmocka_unit_test(what_no_correct_peer_sends_is_refused),
        cmocka_unit_test(credits_for_what_was_never_sent_are_refused),
        cmocka_unit_test(the_last_lane_is_not_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
