/* SPDX-License-Identifier: Apache-2.0 */
/* ledger.h, the receiving side. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "transport/verbs/ledger.h"

weft_status inbox_open(struct inbox *inbox, const struct ledger_config *config)
{
    const uint32_t lane_count = config->rail_count * config->lanes_per_rail;

    assert((config->depth & (config->depth - 1)) == 0 && config->depth >= LEDGER_MIN_DEPTH);
    memset(inbox, 0, sizeof *inbox);
    inbox->notes = calloc((size_t)lane_count * config->depth, sizeof *inbox->notes);
    if (!inbox->notes) return WEFT_OUT_OF_MEMORY;
    inbox->lane_count = lane_count;
    inbox->depth = config->depth;
    for (uint32_t i = 0; i < lane_count; i++) inbox->lanes[i].queue = inbox->notes + (size_t)i * config->depth;
    return WEFT_OK;
}

void inbox_close(struct inbox *inbox)
{
    free(inbox->notes);
    inbox->notes = NULL;
}

/* Can a striped put of this number be on its way? */
static bool stripe_may_be(const struct inbox *inbox, uint32_t stripe)
{
    return stripe - inbox->stripes_told < LEDGER_STRIPES;
}

static weft_status note_queue(struct inbox *inbox, uint32_t lane_index, const struct ledger_note *note)
{
    struct inbox_lane *lane = &inbox->lanes[lane_index];

    if (lane->tail - lane->head == inbox->depth) return WEFT_PROTOCOL_ERROR; /* beyond its credits */
    lane->queue[lane->tail++ & (inbox->depth - 1)] = *note;
    inbox->occupied |= UINT32_C(1) << lane_index;
    return WEFT_OK;
}

weft_status inbox_receive(struct inbox *inbox, uint32_t lane_index, const struct ledger_note *note)
{
    struct inbox_lane *lane = &inbox->lanes[lane_index];
    struct inbox_stripe *stripe = &inbox->stripes[note->stripe % LEDGER_STRIPES];

    switch ((enum ledger_kind)note->kind) {
    case LEDGER_NOTIFY:
        break;
    case LEDGER_STRIPED:
        if (!stripe_may_be(inbox, note->stripe) || note->parts >= LEDGER_MAX_RAILS) return WEFT_PROTOCOL_ERROR;
        break;
    case LEDGER_FRAGMENT:
        if (!stripe_may_be(inbox, note->stripe) || stripe->told || stripe->arrived >= LEDGER_MAX_RAILS)
            return WEFT_PROTOCOL_ERROR;
        lane->messages++;
        stripe->arrived++;
        return WEFT_OK;
    case LEDGER_SYNC: {
        /* Only what has been received can be waited for: else it would be for ever. It may be on this very lane, which
         * was lost, came back, and took over from the one that had taken over from it. */
        if (note->lane >= inbox->lane_count) return WEFT_PROTOCOL_ERROR;
        const struct inbox_lane *other = &inbox->lanes[note->lane];
        if (note->position > other->notes + (other->tail - other->head)) return WEFT_PROTOCOL_ERROR;
        break;
    }
    default:
        return WEFT_PROTOCOL_ERROR;
    }
    lane->messages++;
    return note_queue(inbox, lane_index, note);
}

static bool note_ready(const struct inbox *inbox, const struct ledger_note *note)
{
    if (note->kind == LEDGER_STRIPED) return inbox->stripes[note->stripe % LEDGER_STRIPES].arrived >= note->parts;
    if (note->kind == LEDGER_SYNC) return inbox->lanes[note->lane].notes >= note->position;
    return true;
}

static void stripe_told(struct inbox *inbox, uint32_t number)
{
    inbox->stripes[number % LEDGER_STRIPES].told = true;
    for (;;) {
        struct inbox_stripe *first = &inbox->stripes[inbox->stripes_told % LEDGER_STRIPES];
        if (!first->told) return;
        *first = (struct inbox_stripe){.arrived = 0};
        inbox->stripes_told++;
    }
}

/* Take what is at the head of this lane. True: it has a tag to be told. */
static bool head_take(struct inbox *inbox, uint32_t lane_index, uint32_t *tag)
{
    struct inbox_lane *lane = &inbox->lanes[lane_index];
    const struct ledger_note *note = &lane->queue[lane->head++ & (inbox->depth - 1)];

    lane->notes++;
    inbox->told_lanes |= UINT32_C(1) << lane_index;
    if (lane->head == lane->tail) inbox->occupied &= ~(UINT32_C(1) << lane_index);
    if (note->kind == LEDGER_STRIPED) stripe_told(inbox, note->stripe);
    *tag = note->tag;
    return note->kind == LEDGER_NOTIFY || (note->kind == LEDGER_STRIPED && note->notify);
}

bool inbox_take(struct inbox *inbox, uint32_t *tag)
{
    /* One lane's telling may free another's head: go round until nothing moves. */
    for (uint32_t idle = 0; inbox->occupied && idle < inbox->lane_count;) {
        const uint32_t lane_index = inbox->next_lane;
        const struct inbox_lane *lane = &inbox->lanes[lane_index];
        inbox->next_lane = lane_index + 1 == inbox->lane_count ? 0 : lane_index + 1;
        if (lane->head == lane->tail || !note_ready(inbox, &lane->queue[lane->head & (inbox->depth - 1)])) {
            idle++;
            continue;
        }
        idle = 0;
        if (head_take(inbox, lane_index, tag)) return true;
    }
    return false;
}

bool inbox_ready(const struct inbox *inbox)
{
    for (uint32_t bits = inbox->occupied; bits; bits &= bits - 1) {
        const struct inbox_lane *lane = &inbox->lanes[__builtin_ctz(bits)];
        if (note_ready(inbox, &lane->queue[lane->head & (inbox->depth - 1)])) return true;
    }
    return false;
}

bool inbox_credit_due(const struct inbox *inbox, uint32_t lane_index)
{
    const struct inbox_lane *lane = &inbox->lanes[lane_index];

    return lane->messages - lane->messages_told >= inbox->depth / 4 ||
           lane->notes - lane->notes_told >= inbox->depth / 4 ||
           inbox->stripes_told - inbox->stripes_told_peer >= LEDGER_STRIPES / 4;
}

struct ledger_credit inbox_credit_take(struct inbox *inbox, uint32_t lane_index)
{
    struct inbox_lane *lane = &inbox->lanes[lane_index];

    lane->messages_told = lane->messages;
    lane->notes_told = lane->notes;
    inbox->stripes_told_peer = inbox->stripes_told;
    return (struct ledger_credit){.messages = lane->messages, .notes = lane->notes, .stripes = inbox->stripes_told};
}
