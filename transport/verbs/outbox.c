/* SPDX-License-Identifier: Apache-2.0 */
/* ledger.h, the sending side. */
#include <stdlib.h>
#include <string.h>

#include "transport/verbs/ledger.h"

/* Shares of a striped put are whole pages, as far as it has them. */
#define SHARE_BYTES 4096u

static bool kind_is_message(uint8_t kind)
{
    return kind != LEDGER_WRITE;
}

static bool kind_is_note(uint8_t kind)
{
    return kind == LEDGER_NOTIFY || kind == LEDGER_STRIPED || kind == LEDGER_SYNC;
}

weft_status outbox_open(struct outbox *outbox, const struct ledger_config *config)
{
    const uint32_t lane_count = config->rail_count * config->lanes_per_rail;
    /* Beside what is queued and posted: a put may go on by one, and each lost lane needs a LEDGER_SYNC. */
    const uint32_t item_count = lane_count * (config->queue_limit + config->send_depth + 2) + 2 * config->rail_count;

    memset(outbox, 0, sizeof *outbox);
    outbox->config = *config;
    outbox->lane_count = lane_count;
    outbox->items = calloc(item_count, sizeof *outbox->items);
    if (!outbox->items) return WEFT_OUT_OF_MEMORY;
    TAILQ_INIT(&outbox->free);
    for (uint32_t i = 0; i < item_count; i++) TAILQ_INSERT_TAIL(&outbox->free, &outbox->items[i], link);
    outbox->free_count = item_count;
    for (uint32_t i = 0; i < lane_count; i++) {
        /* Paths go round the rails first, then round the lanes of each. */
        outbox->home[i] = (uint8_t)(i % config->rail_count * config->lanes_per_rail + i / config->rail_count);
        TAILQ_INIT(&outbox->lanes[i].ordered);
        TAILQ_INIT(&outbox->lanes[i].loose);
        TAILQ_INIT(&outbox->lanes[i].posted);
    }
    return WEFT_OK;
}

void outbox_close(struct outbox *outbox)
{
    free(outbox->items);
    outbox->items = NULL;
}

uint32_t outbox_home(const struct outbox *outbox, uint16_t path_hint)
{
    return outbox->home[path_hint % outbox->lane_count];
}

static struct ledger_item *item_take(struct outbox *outbox)
{
    struct ledger_item *item = TAILQ_FIRST(&outbox->free);

    if (!item) return NULL;
    TAILQ_REMOVE(&outbox->free, item, link);
    outbox->free_count--;
    return item;
}

static void item_give_back(struct outbox *outbox, struct ledger_item *item)
{
    TAILQ_INSERT_HEAD(&outbox->free, item, link);
    outbox->free_count++;
}

static void ordered_append(struct outbox_lane *lane, struct ledger_item *item)
{
    TAILQ_INSERT_TAIL(&lane->ordered, item, link);
    lane->queued++;
}

static uint32_t rails_up(const struct outbox *outbox)
{
    uint32_t up = 0;

    for (uint32_t rail = 0; rail < outbox->config.rail_count; rail++)
        up += outbox->lanes[rail * outbox->config.lanes_per_rail].state == LEDGER_UP;
    return up;
}

static bool may_stripe(const struct outbox *outbox, const struct put *put, uint32_t home)
{
    return outbox->config.stripe_bytes && put->bytes >= outbox->config.stripe_bytes && outbox->config.rail_count > 1 &&
           outbox->lanes[home].state == LEDGER_UP && outbox->stripe_next - outbox->stripes_returned < LEDGER_STRIPES &&
           outbox->stripes[outbox->stripe_next % LEDGER_STRIPES].pending == 0 && rails_up(outbox) > 1;
}

static struct ledger_item *fragment_make(struct outbox *outbox, const struct put *put, uint32_t begin, uint32_t bytes,
                                         bool loose)
{
    struct ledger_item *item = item_take(outbox);
    const bool local_done = put->flags & PUT_LOCAL_DONE;

    *item = (struct ledger_item){.source = (const uint8_t *)put->source + begin,
                                 .remote_offset = put->remote_offset + begin,
                                 .bytes = bytes,
                                 .stripe = outbox->stripe_next,
                                 .kind = LEDGER_WRITE,
                                 .striped = true,
                                 .loose = loose,
                                 .done_due = local_done};
    outbox->stripes[outbox->stripe_next % LEDGER_STRIPES].pending += local_done;
    return item;
}

/* A share on each rail that is up; that of the home lane's rail goes with the order there, ahead of the note. */
static void put_striped(struct outbox *outbox, const struct put *put, uint32_t home, uint32_t *touched)
{
    const uint32_t per_rail = outbox->config.lanes_per_rail, home_rail = home / per_rail;
    struct outbox_stripe *stripe = &outbox->stripes[outbox->stripe_next % LEDGER_STRIPES];
    double weight = 0;
    uint32_t begin = 0;
    uint8_t parts = 0;

    *stripe = (struct outbox_stripe){.tag = put->tag, .local_done = put->flags & PUT_LOCAL_DONE};
    for (uint32_t rail = 0; rail < outbox->config.rail_count; rail++)
        weight += outbox->lanes[rail * per_rail].state == LEDGER_UP ? outbox->config.rail_weight[rail] : 0;
    for (uint32_t rail = 0; rail < outbox->config.rail_count; rail++) {
        const uint32_t lane = rail * per_rail + home % per_rail;
        if (rail == home_rail || outbox->lanes[lane].state != LEDGER_UP) continue;
        uint32_t bytes = (uint32_t)(put->bytes * (outbox->config.rail_weight[rail] / weight));
        bytes -= bytes % SHARE_BYTES;
        if (bytes == 0) continue;
        struct ledger_item *share = fragment_make(outbox, put, begin, bytes, true), *told = item_take(outbox);
        TAILQ_INSERT_TAIL(&outbox->lanes[lane].loose, share, link);
        *told = (struct ledger_item){
            .kind = LEDGER_FRAGMENT, .stripe = outbox->stripe_next, .striped = true, .loose = true};
        TAILQ_INSERT_TAIL(&outbox->lanes[lane].loose, told, link);
        *touched |= UINT32_C(1) << lane;
        begin += bytes;
        parts++;
    }
    ordered_append(&outbox->lanes[home], fragment_make(outbox, put, begin, put->bytes - begin, false));
    struct ledger_item *note = item_take(outbox);
    *note = (struct ledger_item){.kind = LEDGER_STRIPED,
                                 .tag = put->tag,
                                 .stripe = outbox->stripe_next,
                                 .striped = true,
                                 .parts = parts,
                                 .notify = put->flags & PUT_NOTIFY};
    ordered_append(&outbox->lanes[home], note);
    outbox->stripe_next++;
}

bool outbox_put(struct outbox *outbox, const struct put *put, uint32_t *touched)
{
    const uint32_t home = outbox_home(outbox, put->path_hint);
    struct outbox_lane *lane = &outbox->lanes[home];
    const bool local_done = put->flags & PUT_LOCAL_DONE;
    const uint32_t needed = 2 * outbox->config.rail_count + outbox->lane_count;

    if (lane->queued >= outbox->config.queue_limit || outbox->free_count < needed ||
        (local_done && outbox->done_reserved == LEDGER_DONE_ENTRIES)) {
        outbox->refused = true;
        return false;
    }
    outbox->done_reserved += local_done;
    *touched |= UINT32_C(1) << home;
    if (may_stripe(outbox, put, home)) {
        put_striped(outbox, put, home, touched);
        return true;
    }
    struct ledger_item *item = item_take(outbox);
    item->source = put->source;
    item->staged = NULL;
    item->remote_offset = put->remote_offset;
    item->message = 0;
    item->bytes = put->bytes;
    item->tag = put->tag;
    item->kind = put->flags & PUT_NOTIFY ? LEDGER_NOTIFY : LEDGER_WRITE;
    item->striped = item->loose = false;
    item->done_due = local_done;
    ordered_append(lane, item);
    return true;
}

bool outbox_has_room(const struct outbox *outbox)
{
    if (!outbox->refused || outbox->done_reserved == LEDGER_DONE_ENTRIES ||
        outbox->free_count < 2 * outbox->config.rail_count + outbox->lane_count)
        return false;
    /* Which lane refused does not matter enough to be kept: EVENT_WRITABLE may come early, but not at every chance. */
    for (uint32_t i = 0; i < outbox->lane_count; i++) {
        if (outbox->lanes[i].queued > outbox->config.queue_limit / 2) return false;
    }
    return true;
}

bool outbox_room(struct outbox *outbox)
{
    if (!outbox_has_room(outbox)) return false;
    outbox->refused = false;
    return true;
}

static bool has_credit(const struct outbox *outbox, const struct outbox_lane *lane, uint8_t kind)
{
    if (!kind_is_message(kind)) return true;
    if (lane->messages - lane->messages_returned >= outbox->config.peer_depth) return false;
    return !kind_is_note(kind) || lane->notes - lane->notes_returned < outbox->config.peer_depth;
}

struct ledger_item *outbox_head(struct outbox *outbox, uint32_t lane_index)
{
    struct outbox_lane *lane = &outbox->lanes[lane_index];

    if (lane->state != LEDGER_UP) return NULL;
    struct ledger_item *item = TAILQ_FIRST(&lane->loose);
    if (item && has_credit(outbox, lane, item->kind)) return item;
    item = TAILQ_FIRST(&lane->ordered);
    return item && has_credit(outbox, lane, item->kind) ? item : NULL;
}

struct ledger_item *outbox_post(struct outbox *outbox, uint32_t lane_index, struct ledger_item *head, uint32_t bytes,
                                uint32_t posting)
{
    struct outbox_lane *lane = &outbox->lanes[lane_index];
    struct ledger_item *posted = head;

    if (bytes < head->bytes) {
        posted = item_take(outbox);
        if (!posted) return NULL;
        *posted = *head;
        posted->kind = LEDGER_WRITE;
        posted->done_due = false; /* the last piece's business */
        posted->bytes = bytes;
        head->source += bytes;
        head->remote_offset += bytes;
        head->bytes -= bytes;
    } else if (head->loose) {
        TAILQ_REMOVE(&lane->loose, head, link);
    } else {
        TAILQ_REMOVE(&lane->ordered, head, link);
        lane->queued--;
    }
    posted->posting = posting;
    posted->message = 0;
    if (kind_is_message(posted->kind)) {
        posted->message = ++lane->messages;
        lane->notes += kind_is_note(posted->kind);
    }
    TAILQ_INSERT_TAIL(&lane->posted, posted, link);
    return posted;
}

void outbox_copied(struct outbox *outbox, struct ledger_item *item)
{
    uint32_t tag = item->tag;

    if (!item->done_due) return;
    item->done_due = false;
    if (item->striped) {
        struct outbox_stripe *stripe = &outbox->stripes[item->stripe % LEDGER_STRIPES];
        tag = stripe->tag;
        if (--stripe->pending > 0) return;
    }
    outbox->done_tags[outbox->done_tail++ % LEDGER_DONE_ENTRIES] = tag;
}

/* The peer has it. */
static void item_finish(struct outbox *outbox, struct ledger_item *item, outbox_release release, void *context)
{
    outbox_copied(outbox, item);
    if (item->staged) release(context, item);
    item_give_back(outbox, item);
}

void outbox_completed(struct outbox *outbox, uint32_t lane_index, uint32_t posting, outbox_release release,
                      void *context)
{
    struct outbox_lane *lane = &outbox->lanes[lane_index];
    struct ledger_item *item;

    while ((item = TAILQ_FIRST(&lane->posted)) && (int32_t)(item->posting - posting) <= 0) {
        TAILQ_REMOVE(&lane->posted, item, link);
        item_finish(outbox, item, release, context);
    }
}

weft_status outbox_credit(struct outbox *outbox, uint32_t lane_index, uint64_t messages, uint64_t notes,
                          uint32_t stripes)
{
    struct outbox_lane *lane = &outbox->lanes[lane_index];

    if (messages > lane->messages || notes > lane->notes || (int32_t)(outbox->stripe_next - stripes) < 0)
        return WEFT_PROTOCOL_ERROR;
    /* What was told over another lane, or over the stream, may have been later. */
    if (messages > lane->messages_returned) lane->messages_returned = messages;
    if (notes > lane->notes_returned) lane->notes_returned = notes;
    if ((int32_t)(stripes - outbox->stripes_returned) > 0) outbox->stripes_returned = stripes;
    return WEFT_OK;
}

bool outbox_take_done(struct outbox *outbox, uint32_t *tag)
{
    if (outbox->done_head == outbox->done_tail) return false;
    *tag = outbox->done_tags[outbox->done_head++ % LEDGER_DONE_ENTRIES];
    outbox->done_reserved--;
    return true;
}

bool outbox_idle(const struct outbox *outbox)
{
    for (uint32_t i = 0; i < outbox->lane_count; i++) {
        const struct outbox_lane *lane = &outbox->lanes[i];
        if (!TAILQ_EMPTY(&lane->ordered) || !TAILQ_EMPTY(&lane->loose) || !TAILQ_EMPTY(&lane->posted)) return false;
    }
    return true;
}

void outbox_lane_stop(struct outbox *outbox, uint32_t lane)
{
    if (outbox->lanes[lane].state == LEDGER_UP) outbox->lanes[lane].state = LEDGER_STOPPED;
}

static bool lane_choose(const struct outbox *outbox, uint32_t lost, uint32_t *to)
{
    const uint32_t per_rail = outbox->config.lanes_per_rail;

    /* The same lane of the next rail, so that what a rail carried spreads over the lanes of another. */
    for (uint32_t i = 1; i < outbox->config.rail_count; i++) {
        *to = (lost + i * per_rail) % outbox->lane_count;
        if (outbox->lanes[*to].state == LEDGER_UP) return true;
    }
    return false;
}

/* What the peer has received is done with; the rest is no longer posted, and `messages` and `notes` are as if it had
 * never been. */
static weft_status posted_settle(struct outbox *outbox, struct outbox_lane *lane, uint64_t messages,
                                 outbox_release release, void *context)
{
    struct ledger_item *item, *last = NULL;

    if (messages > lane->messages) return WEFT_PROTOCOL_ERROR;
    TAILQ_FOREACH(item, &lane->posted, link)
    {
        if (item->message && item->message <= messages) last = item;
    }
    while (last && (item = TAILQ_FIRST(&lane->posted))) {
        TAILQ_REMOVE(&lane->posted, item, link);
        const bool was_last = item == last;
        item_finish(outbox, item, release, context);
        if (was_last) break;
    }
    TAILQ_FOREACH(item, &lane->posted, link)
    {
        lane->messages -= kind_is_message(item->kind);
        lane->notes -= kind_is_note(item->kind);
    }
    /* Messages that were acknowledged and yet not received cannot be. */
    return lane->messages == messages ? WEFT_OK : WEFT_PROTOCOL_ERROR;
}

/* Sort what was posted back in front of what was not. */
static void posted_unpost(struct outbox_lane *lane)
{
    struct ledger_item *item;

    while ((item = TAILQ_LAST(&lane->posted, ledger_items))) {
        TAILQ_REMOVE(&lane->posted, item, link);
        if (item->loose) {
            TAILQ_INSERT_HEAD(&lane->loose, item, link);
        } else {
            TAILQ_INSERT_HEAD(&lane->ordered, item, link);
            lane->queued++;
        }
    }
}

weft_status outbox_lane_lose(struct outbox *outbox, uint32_t lane_index, uint64_t messages, outbox_release release,
                             void *context, uint32_t *to)
{
    struct outbox_lane *lane = &outbox->lanes[lane_index];

    lane->state = LEDGER_LOST;
    const weft_status status = posted_settle(outbox, lane, messages, release, context);
    if (status) return status;
    posted_unpost(lane);
    if (!lane_choose(outbox, lane_index, to)) return WEFT_LINK_DOWN;

    struct outbox_lane *other = &outbox->lanes[*to];
    if (lane->notes > lane->notes_returned) {
        struct ledger_item *sync = item_take(outbox);
        if (!sync) return WEFT_OUT_OF_MEMORY;
        *sync = (struct ledger_item){.kind = LEDGER_SYNC, .lane = (uint8_t)lane_index, .position = lane->notes};
        ordered_append(other, sync);
    }
    TAILQ_CONCAT(&other->loose, &lane->loose, link);
    TAILQ_CONCAT(&other->ordered, &lane->ordered, link);
    other->queued += lane->queued;
    lane->queued = 0;
    for (uint32_t i = 0; i < outbox->lane_count; i++) {
        if (outbox->home[i] == lane_index) outbox->home[i] = (uint8_t)*to;
    }
    return WEFT_OK;
}

void outbox_lane_restore(struct outbox *outbox, uint32_t lane)
{
    outbox->lanes[lane].state = LEDGER_UP;
}

void outbox_drop(struct outbox *outbox, outbox_release release, void *context)
{
    for (uint32_t i = 0; i < outbox->lane_count; i++) {
        struct outbox_lane *lane = &outbox->lanes[i];
        struct ledger_item *item;
        posted_unpost(lane);
        TAILQ_CONCAT(&lane->ordered, &lane->loose, link);
        lane->queued = 0;
        while ((item = TAILQ_FIRST(&lane->ordered))) {
            TAILQ_REMOVE(&lane->ordered, item, link);
            if (item->staged) release(context, item);
            item_give_back(outbox, item);
        }
        lane->state = LEDGER_LOST;
    }
}
