/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs all programs for one slice with slots as few as the plan declares. Each stream has one sender and one receiver,
 * both of fixed order, so what a track may do next never depends on which other track went first: if this run comes to
 * its end, every run does, and with the same values.
 */
#include <assert.h>

#include "collectives/plan/verify_internal.h"

static void track_wake(struct verify *verify, uint32_t track)
{
    verify->tracks[track].wait = WAIT_NOTHING;
    verify->ready[verify->ready_count++] = track;
}

static void track_wake_if(struct verify *verify, uint32_t track, enum track_wait wait, uint32_t wait_on)
{
    if (verify->tracks[track].wait == wait && verify->tracks[track].wait_on == wait_on) track_wake(verify, track);
}

/* True, with what it waits for noted, when the track cannot take its next step yet. */
static bool track_must_wait(const struct verify *verify, struct verify_track *track)
{
    const struct plan_step *step = verify_step(verify, track);
    uint32_t takes_end = step->first_operand + step->source_count;
    uint32_t end = takes_end + step->destination_count;
    if (step->after_track != PLAN_NONE && verify->tracks[step->after_track].step <= step->after_step) {
        track->wait = WAIT_STEP;
        track->wait_on = step->after_step;
        return true;
    }
    for (uint32_t o = step->first_operand; o < end; o++) {
        if (verify->operands[o].space != SPACE_SLOT) continue;
        uint32_t index = verify_operand_use(verify, o)->stream;
        const struct verify_stream *stream = &verify->streams[index];
        uint32_t under_way = stream->put_count - stream->take_count;
        if (o < takes_end ? under_way > 0 : under_way < verify->plan->slot_depth) continue;
        track->wait = o < takes_end ? WAIT_ARRIVAL : WAIT_SLOT;
        track->wait_on = index;
        return true;
    }
    return false;
}

static struct verify_slot *stream_slot(const struct verify *verify, const struct verify_stream *stream, uint32_t slice)
{
    return &verify->slots[stream->first_slot + slice % stream->slot_count];
}

static struct verify_stream *operand_stream(struct verify *verify, uint32_t operand)
{
    return &verify->streams[verify_operand_use(verify, operand)->stream];
}

/* The ranks whose contributions a source holds. *value is the caller's to drop. */
static weft_status source_value(struct verify *verify, const struct verify_track *track, uint32_t operand,
                                uint32_t chunk, struct value *value)
{
    if (verify->operands[operand].space == SPACE_INPUT) {
        bool combines = shape_of(verify->plan->collective)->combines;
        *value = combines ? value_one(track->rank) : value_all(&verify->values);
        return verify_read_input(verify, track, chunk);
    }
    if (verify->operands[operand].space == SPACE_OUTPUT) {
        *value = value_all(&verify->values); /* nothing less is ever written there */
        return verify_read_output(verify, track, chunk);
    }
    const struct verify_stream *stream = operand_stream(verify, operand);
    const struct verify_slot *slot = stream_slot(verify, stream, stream->take_count);
    uint32_t peer = verify->operands[operand].rank;
    if (slot->chunk != chunk)
        return verify_refuse(verify, track, "receives chunk %u from rank %u, expected chunk %u", slot->chunk, peer,
                             chunk);
    if (slot->value.count == 0 && verify_step(verify, track)->destination_count > 0)
        return verify_refuse(verify, track, "rank %u sends a signal where data is expected", peer);
    if (slot->form != verify->operands[operand].form)
        return verify_refuse(verify, track, "what rank %u sends is in another form", peer);
    *value = value_copy(slot->value);
    return WEFT_OK;
}

/* What the sources come to, combined. */
static weft_status combine_sources(struct verify *verify, const struct verify_track *track, uint32_t chunk,
                                   struct value *result)
{
    const struct plan_step *step = verify_step(verify, track);
    struct verify_span spans[PLAN_MAX_OPERANDS];
    bool canonical = verify->plan->canonical && step->destination_count > 0;
    for (uint32_t i = 0; i < step->source_count; i++) {
        struct value value = value_none();
        weft_status status = source_value(verify, track, step->first_operand + i, chunk, &value);
        if (status == WEFT_OK && canonical) status = verify_canonical_source(verify, track, &value, &spans[i]);
        if (status != WEFT_OK) return status;
        uint32_t twice;
        enum value_result combined =
            step->destination_count > 0 ? value_combine(&verify->values, result, &value, &twice) : VALUE_OK;
        value_drop(&verify->values, &value);
        if (combined == VALUE_OUT_OF_MEMORY) return verify_out_of_memory(verify);
        if (combined == VALUE_OVERLAP && !shape_of(verify->plan->collective)->combines)
            return verify_refuse(verify, track, "combines data with itself");
        if (combined == VALUE_OVERLAP)
            return verify_refuse(verify, track, "rank %u's contribution is counted twice", twice);
    }
    return canonical ? verify_canonical_step(verify, track, spans, step->source_count) : WEFT_OK;
}

/* An average is divided in the steps marked final: once, on the way of every contribution to every output. */
static weft_status check_final(struct verify *verify, const struct verify_track *track, const struct value *value)
{
    const struct plan_step *step = verify_step(verify, track);
    bool final = step->flags & STEP_FINAL, all = value_is_all(&verify->values, value);
    if (!shape_of(verify->plan->collective)->combines)
        return final ? verify_refuse(verify, track, "is marked final, and nothing is combined here") : WEFT_OK;
    bool completes = all && (step->source_count > 1 || verify->operands[step->first_operand].space == SPACE_INPUT);
    if (final == completes) return WEFT_OK;
    if (!final) return verify_refuse(verify, track, "completes the value and is not marked final");
    if (all) return verify_refuse(verify, track, "is marked final, but the value was complete before");
    return verify_refuse(verify, track, "is marked final without rank %u's contribution",
                         value_first_missing(&verify->values, value));
}

/* A barrier's steps pass on all that their track has heard of so far. */
static weft_status barrier_hear(struct verify *verify, struct verify_track *track, struct value *result)
{
    const struct plan_step *step = verify_step(verify, track);
    enum value_result united = VALUE_OK;
    if (step->after_track != PLAN_NONE)
        united = value_unite(&verify->values, &track->heard, &verify->step_heard[step->after_step]);
    for (uint32_t i = 0; i < step->source_count && united == VALUE_OK; i++) {
        const struct verify_stream *stream = operand_stream(verify, step->first_operand + i);
        united = value_unite(&verify->values, &track->heard, &stream_slot(verify, stream, stream->take_count)->value);
    }
    if (united != VALUE_OK) return verify_out_of_memory(verify);
    *result = value_copy(track->heard);
    return step->flags & STEP_FINAL ? check_final(verify, track, result) : WEFT_OK;
}

/* The longest chain of messages that has to be over before this step. */
static uint32_t messages_before(const struct verify *verify, const struct verify_track *track)
{
    const struct plan_step *step = verify_step(verify, track);
    uint32_t messages = track->messages, takes_end = step->first_operand + step->source_count;
    if (step->after_track != PLAN_NONE && verify->step_messages[step->after_step] > messages)
        messages = verify->step_messages[step->after_step];
    for (uint32_t o = step->first_operand; o < takes_end + step->destination_count; o++) {
        if (verify->operands[o].space != SPACE_SLOT) continue;
        const struct verify_stream *stream = &verify->streams[verify_operand_use(verify, o)->stream];
        uint32_t on_stream = o < takes_end ? stream_slot(verify, stream, stream->take_count)->messages
                                           : stream_slot(verify, stream, stream->put_count)->taken_messages;
        if (on_stream > messages) messages = on_stream;
    }
    return messages;
}

static void give_slots_back(struct verify *verify, const struct verify_track *track)
{
    const struct plan_step *step = verify_step(verify, track);
    for (uint32_t i = 0; i < step->source_count; i++) {
        if (verify->operands[step->first_operand + i].space != SPACE_SLOT) continue;
        struct verify_stream *stream = operand_stream(verify, step->first_operand + i);
        struct verify_slot *slot = stream_slot(verify, stream, stream->take_count++);
        value_drop(&verify->values, &slot->value);
        slot->taken_messages = track->messages;
        track_wake_if(verify, stream->sender, WAIT_SLOT, (uint32_t)(stream - verify->streams));
    }
}

static weft_status write_destinations(struct verify *verify, const struct verify_track *track, uint32_t chunk,
                                      const struct value *value)
{
    const struct plan_step *step = verify_step(verify, track);
    uint32_t first = step->first_operand + step->source_count;
    for (uint32_t o = first; o < first + step->destination_count; o++) {
        if (verify->operands[o].space == SPACE_OUTPUT) {
            weft_status status = verify_write_output(verify, track, chunk, value);
            if (status != WEFT_OK) return status;
            continue;
        }
        weft_status status = verify_canonical_slot(verify, track, o, value);
        if (status != WEFT_OK) return status;
        struct verify_stream *stream = operand_stream(verify, o);
        struct verify_slot *slot = stream_slot(verify, stream, stream->put_count++);
        slot->value = value_copy(*value);
        slot->chunk = chunk;
        slot->form = verify->operands[o].form;
        slot->messages = track->messages + 1;
        track_wake_if(verify, stream->receiver, WAIT_ARRIVAL, (uint32_t)(stream - verify->streams));
    }
    return WEFT_OK;
}

/* The step that the track is at, once. */
static weft_status step_run(struct verify *verify, struct verify_track *track, uint32_t chunk)
{
    struct value value = value_none();
    weft_status status;
    if (verify->plan->collective == WEFT_BARRIER) {
        status = barrier_hear(verify, track, &value);
    } else {
        status = combine_sources(verify, track, chunk, &value);
        if (status == WEFT_OK) status = check_final(verify, track, &value);
    }
    if (status == WEFT_OK) {
        track->messages = messages_before(verify, track);
        give_slots_back(verify, track);
        status = write_destinations(verify, track, chunk, &value);
    }
    value_drop(&verify->values, &value);
    return status;
}

static void step_finish(struct verify *verify, struct verify_track *track)
{
    uint32_t step = track->step++;
    track->repetition = 0;
    verify->step_messages[step] = track->messages;
    if (!verify->step_watched[step]) return;
    if (verify->step_heard) verify->step_heard[step] = value_copy(track->heard);
    for (uint32_t t = verify->rank_first_track[track->rank]; t < verify->rank_first_track[track->rank + 1]; t++)
        track_wake_if(verify, t, WAIT_STEP, step);
}

static weft_status track_advance(struct verify *verify, struct verify_track *track)
{
    while (track->step < track->end_step && !track_must_wait(verify, track)) {
        const struct plan_step *step = verify_step(verify, track);
        struct plan_track shape = {.chunk_count = track->chunk_count};
        weft_status status = step_run(verify, track, step_chunk(&shape, step, track->repetition));
        if (status != WEFT_OK) return status;
        track->position++;
        if (++track->repetition == step->repeat) step_finish(verify, track);
    }
    return WEFT_OK;
}

/* The track that one has to wait for; it is waiting too, for only a step can end a wait. */
static uint32_t track_waited_for(const struct verify *verify, const struct verify_track *track)
{
    switch (track->wait) {
    case WAIT_ARRIVAL:
        return verify->streams[track->wait_on].sender;
    case WAIT_SLOT:
        return verify->streams[track->wait_on].receiver;
    default:
        assert(track->wait == WAIT_STEP);
        return verify_step(verify, track)->after_track;
    }
}

/* Follow who waits for whom until that has gone round: whoever is met then is part of a circle. */
static weft_status refuse_deadlock(struct verify *verify, uint32_t blocked)
{
    for (uint32_t i = 0; i < verify->track_count; i++) blocked = track_waited_for(verify, &verify->tracks[blocked]);
    uint32_t length = 1;
    for (uint32_t t = track_waited_for(verify, &verify->tracks[blocked]); t != blocked;
         t = track_waited_for(verify, &verify->tracks[t]))
        length++;
    const struct verify_track *track = &verify->tracks[blocked];
    const struct verify_track *other = &verify->tracks[track_waited_for(verify, track)];
    static const char *const reasons[] = {
        [WAIT_ARRIVAL] = "a message from", [WAIT_SLOT] = "a free slot at", [WAIT_STEP] = "a step of"};
    return verify_refuse(
        verify, track,
        "deadlock at slot depth %u: waits for %s rank %u track %u, which is at step %u, in a circle of %u",
        verify->plan->slot_depth, reasons[track->wait], other->rank, other->index, other->step - other->first_step,
        length);
}

/* Every rank has to have heard of every other before it leaves a barrier. */
static weft_status barrier_check(struct verify *verify)
{
    for (uint32_t rank = 0; rank < verify->plan->rank_count; rank++) {
        struct value heard = value_one(rank);
        for (uint32_t t = verify->rank_first_track[rank]; t < verify->rank_first_track[rank + 1]; t++)
            if (value_unite(&verify->values, &heard, &verify->tracks[t].heard) != VALUE_OK)
                return verify_out_of_memory(verify);
        if (!value_is_all(&verify->values, &heard))
            return diagnose(&verify->diagnostic, WEFT_INVALID_PLAN, "rank %u leaves without having heard of rank %u",
                            rank, value_first_missing(&verify->values, &heard));
        value_drop(&verify->values, &heard);
    }
    return WEFT_OK;
}

weft_status verify_run(struct verify *verify, weft_plan_report *report)
{
    for (uint32_t t = verify->track_count; t-- > 0;) {
        verify->tracks[t].heard = value_one(verify->tracks[t].rank);
        track_wake(verify, t);
    }
    while (verify->ready_count > 0) {
        uint32_t next = verify->ready[--verify->ready_count];
        weft_status status = track_advance(verify, &verify->tracks[next]);
        if (status != WEFT_OK) return status;
    }
    for (uint32_t t = 0; t < verify->track_count; t++)
        if (verify->tracks[t].wait != WAIT_NOTHING) return refuse_deadlock(verify, t);
    for (uint32_t t = 0; t < verify->track_count; t++)
        if (verify->tracks[t].messages > report->critical_messages)
            report->critical_messages = verify->tracks[t].messages;
    return verify->plan->collective == WEFT_BARRIER ? barrier_check(verify) : verify_outputs_whole(verify);
}
