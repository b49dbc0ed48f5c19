/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "collectives/exec/exec_internal.h"

/* Steps that one track may take per call, so that no call runs long and all tracks and operations get their turn. */
#define STEPS_PER_TURN 8u

static const struct operation_stall nowhere = {PLAN_NONE, PLAN_NONE, PLAN_NONE, false};

static bool reserve(void **array, uint32_t count, size_t size)
{
    void *grown = realloc(*array, count * size);
    if (grown) *array = grown;
    return grown;
}

/* Room for the binding's tracks and uses, or those of the one whose steps may come to be run instead. */
static bool operation_grow(struct operation *operation, const struct binding *binding)
{
    const struct binding *near = binding->near ? binding->near : binding;
    uint32_t tracks = binding->program.track_count, uses = binding->use_count;
    if (near->program.track_count > tracks) tracks = near->program.track_count;
    if (near->use_count > uses) uses = near->use_count;
    if (tracks > operation->cursor_capacity) {
        if (!reserve((void **)&operation->cursors, tracks, sizeof *operation->cursors)) return false;
        operation->cursor_capacity = tracks;
    }
    if (uses > operation->use_capacity) {
        if (!reserve((void **)&operation->tickets, uses, sizeof *operation->tickets) ||
            !reserve((void **)&operation->ends, uses, sizeof *operation->ends))
            return false;
        operation->use_capacity = uses;
    }
    return true;
}

/* An idle operation where there is one. */
static struct operation *operation_take(struct binding *binding)
{
    struct engine *engine = binding->engine;
    struct operation *operation = engine->idle_operations;
    if (operation)
        engine->idle_operations = operation->next;
    else if (!(operation = calloc(1, sizeof *operation)))
        return NULL;
    if (operation_grow(operation, binding)) return operation;
    operation->next = engine->idle_operations;
    engine->idle_operations = operation;
    return NULL;
}

/* Elements of a block, of which this rank has at least one end. */
static uint64_t block_count(const struct operation *operation, uint32_t block)
{
    const struct operation_blocks *blocks = operation->call.blocks;
    if (!blocks) return operation->call.count;
    const struct binding *binding = operation->binding;
    uint32_t ranks = binding->plan->rank_count, sender = block / ranks;
    return sender == binding->engine->config.rank ? blocks->send_counts[block % ranks] : blocks->recv_counts[sender];
}

/* The partition of one block. */
static struct partition block_partition(const struct operation *operation, uint32_t block)
{
    struct partition partition = operation->partition;
    partition.count = block_count(operation, block);
    return partition;
}

/*
 * A track's slices are as many as its largest chunk needs. Where blocks differ in size that is the largest of the
 * blocks that its steps name; both ends of a stream name the same, one pair's two, so they agree.
 */
static struct slicing track_slicing(const struct operation *operation, const struct plan_track *track)
{
    if (!operation->call.blocks) return partition_slicing(&operation->partition, track);
    struct partition largest = operation->partition;
    largest.count = 0;
    for (uint32_t s = 0; s < track->step_count; s++) {
        const struct plan_step *step = &operation->binding->program.steps[track->first_step + s];
        uint64_t count = block_count(operation, partition_block(&largest, track, step->chunk));
        if (count > largest.count) largest.count = count;
    }
    return partition_slicing(&largest, track);
}

/* A slice of partial results, too, has to fit its slot. */
static uint64_t slice_bytes(const struct operation *operation)
{
    const struct operation_call *call = &operation->call;
    uint64_t elements = call->slice_bytes / operation->element_bytes;
    if (operation->binding->plan->canonical) elements = call->slice_bytes / reduce_partial_bytes(call->dtype, call->op);
    return elements * operation->element_bytes;
}

/*
 * Are results better stored past the caches? As loans are (reduce_streaming_bytes()), where steps are all that there
 * is: measured over TCP, 2 ranks, all-reduce of 8 MiB out of place 1.05 to 1.12 times as fast.
 */
static bool steps_bypass_caches(const struct operation *operation)
{
    const struct operation_call *call = &operation->call;
    const struct engine_config *config = &operation->binding->engine->config;
    if (config->exchanges) return false;
    const uint64_t bytes = call->count * operation->element_bytes * plan_block_count(operation->binding->plan);
    const bool in_place = !call->send || !call->recv || (uintptr_t)call->send - (uintptr_t)call->recv < bytes;
    return (in_place ? 1 : 2) * bytes * config->cache_ranks >= reduce_streaming_bytes(config->cache_bytes, in_place);
}

void operation_begin_steps(struct operation *operation)
{
    const struct binding *binding = operation->binding;
    const struct operation_call *call = &operation->call;
    operation->many_blocks = plan_block_count(binding->plan) > 1;
    operation->partition = partition_make(binding->plan, call->count, operation->element_bytes, slice_bytes(operation));
    operation->bypasses_caches = steps_bypass_caches(operation);
    operation->tracks_left = binding->program.track_count;
    for (uint32_t i = 0; i < binding->program.track_count; i++) {
        const struct plan_track *track = &binding->program.tracks[i];
        operation->cursors[i] = (struct cursor){.track = track, .slicing = track_slicing(operation, track)};
    }
    for (uint32_t i = 0; i < binding->use_count; i++) operation->tickets[i] = binding->uses[i].stream->tickets++;
}

bool binding_combine_find(struct binding *binding, weft_dtype dtype, weft_op op)
{
    if (binding->combine && binding->dtype == dtype && binding->op == op) return true;
    binding->combine = binding->plan->canonical ? reduce_lookup_canonical(dtype, op) : reduce_lookup(dtype, op);
    binding->dtype = dtype;
    binding->op = op;
    binding->element_bytes = weft_dtype_size(dtype);
    return binding->combine;
}

static bool slice_fits(const struct engine *engine, uint32_t bytes)
{
    return bytes > 0 && bytes % 64 == 0 && bytes <= engine->config.slot_bytes;
}

static void operation_init(struct operation *operation, struct binding *binding, const struct operation_call *call)
{
    operation->binding = binding;
    operation->call = *call;
    operation->combine = binding->combine;
    operation->element_bytes = binding->element_bytes;
    operation->status = WEFT_IN_PROGRESS;
    operation->stall = nowhere;
    operation->portion = (struct portion){0, call->count};
    operation->pulls = false;
    operation->phase = binding->is_exchange ? PHASE_QUEUED : PHASE_STEPS;
    if (binding->is_exchange) operation->ticket = binding->engine->exchange.tickets++;
}

weft_status operation_start(struct engine *engine, struct binding *binding, const struct operation_call *call,
                            struct operation **operation)
{
    if (!binding_combine_find(binding, call->dtype, call->op) || !slice_fits(engine, call->slice_bytes))
        return WEFT_INVALID_ARGUMENT;
    struct operation *started = operation_take(binding);
    if (!started) return WEFT_OUT_OF_MEMORY;

    operation_init(started, binding, call);
    if (!binding->is_exchange) operation_begin_steps(started);
    *operation = started;
    return WEFT_OK;
}

struct operation *operation_resume(struct binding *binding, const struct operation_call *call,
                                   enum operation_phase phase)
{
    struct engine *engine = binding->engine;
    struct operation *operation = engine->idle_operations;
    engine->idle_operations = operation->next;
    (void)binding_combine_find(binding, call->dtype, call->op); /* there was one when the call was made ready */
    operation_init(operation, binding, call);
    operation->phase = phase;
    operation->is_small = true;
    engine->exchange.current = operation;
    return operation;
}

/* Of all tracks that wait the first counts. */
static void stall_note(struct operation *operation, uint32_t track, uint32_t step, const struct stream *stream)
{
    if (operation->stall.track != PLAN_NONE) return;
    operation->stall = (struct operation_stall){
        .track = track,
        .step = step,
        .peer = stream ? stream->peer->rank : PLAN_NONE,
        .connecting = stream && stream->peer->state == PEER_CONNECTING,
    };
}

void operation_break_at(struct operation *operation, uint32_t track, uint32_t step, uint32_t peer, weft_status status)
{
    operation->status = status;
    operation->stall = (struct operation_stall){track, step, peer, false};
}

/* The operation cannot go on, because of what came or does not come on @p stream. */
static void operation_break(struct operation *operation, uint32_t track, uint32_t step, const struct stream *stream,
                            weft_status status)
{
    operation_break_at(operation, track, step, stream->peer->rank, status);
}

/* May the track begin: are its streams connected, and is it this operation's turn on all of them? */
static bool track_begin(struct operation *operation, uint32_t track)
{
    const struct binding *binding = operation->binding;
    for (uint32_t i = binding->first_use[track]; i < binding->first_use[track + 1]; i++) {
        const struct stream *stream = binding->uses[i].stream;
        if (stream->peer->state != PEER_CONNECTING && stream->serving == operation->tickets[i]) continue;
        stall_note(operation, track, 0, stream);
        return false;
    }
    for (uint32_t i = binding->first_use[track]; i < binding->first_use[track + 1]; i++)
        landing_begin(operation, &binding->uses[i]);
    operation->cursors[track].begun = true;
    return true;
}

static void track_end(struct operation *operation, uint32_t track)
{
    const struct binding *binding = operation->binding;
    for (uint32_t i = binding->first_use[track]; i < binding->first_use[track + 1]; i++) {
        operation->ends[i] = binding->uses[i].stream->position;
        binding->uses[i].stream->serving++;
        binding->uses[i].stream->landing = NULL;
    }
    operation->cursors[track].done = true;
    operation->tracks_left--;
}

/* Is the step that this one comes after done for this slice? */
static bool after_done(const struct operation *operation, const struct cursor *cursor, const struct plan_step *step)
{
    if (step->after_track == PLAN_NONE) return true;
    const struct cursor *other = &operation->cursors[step->after_track];
    return other->done || other->slice > cursor->slice ||
           (other->slice == cursor->slice && other->step > step->after_step);
}

/* What both ends of a step's messages agree on. Blocks of sizes of their own are part of it. */
static uint32_t step_check(const struct operation *operation, const struct cursor *cursor, const struct plan_step *step)
{
    uint64_t check = operation->call.check;
    if (operation->call.blocks) {
        uint32_t chunk = step_chunk(cursor->track, step, cursor->repetition);
        uint64_t count = block_count(operation, partition_block(&operation->partition, cursor->track, chunk));
        check = (check ^ count) * UINT64_C(0x9e3779b97f4a7c15); /* Fibonacci hashing: Knuth, vol. 3, 6.4 */
        check ^= check >> 32;
    }
    return (uint32_t)check & TAG_CHECK_MASK;
}

/* WEFT_OK: the next slice of an incoming stream has come, and is this operation's. WEFT_IN_PROGRESS: not yet. */
static weft_status source_ready(const struct stream *stream, uint32_t check)
{
    uint32_t place = (uint32_t)(stream->position % stream->peer->engine->config.slot_depth);
    if (!(stream->arrived >> place & 1))
        return stream->peer->state == PEER_FAILED ? stream->peer->failure : WEFT_IN_PROGRESS;
    return stream->checks[place] == check ? WEFT_OK : WEFT_MISMATCH;
}

/* WEFT_OK: the peer has a free slot. One that has failed has none, whatever it last said. */
static weft_status destination_ready(const struct stream *stream)
{
    if (stream->peer->state == PEER_FAILED) return stream->peer->failure;
    bool room = stream->position - stream->credited < stream->peer->engine->config.slot_depth;
    return room ? WEFT_OK : WEFT_IN_PROGRESS;
}

/* Can the track's step run now? It takes nothing before it can take everything. */
static bool step_ready(struct operation *operation, uint32_t track, const struct plan_step *step)
{
    const struct cursor *cursor = &operation->cursors[track];
    if (!after_done(operation, cursor, step)) {
        stall_note(operation, track, cursor->step, NULL);
        return false;
    }
    const struct stream *waits_for;
    if (!departure_left(operation, cursor, step, &waits_for)) {
        stall_note(operation, track, cursor->step, waits_for);
        return false;
    }
    struct stream *const *streams = operation->binding->streams + step->first_operand;
    uint32_t check = step_check(operation, cursor, step);
    for (uint32_t i = 0; i < (uint32_t)step->source_count + step->destination_count; i++) {
        if (!streams[i]) continue;
        weft_status status = i < step->source_count ? source_ready(streams[i], check) : destination_ready(streams[i]);
        if (status == WEFT_OK) continue;
        if (status == WEFT_IN_PROGRESS)
            stall_note(operation, track, cursor->step, streams[i]);
        else
            operation_break(operation, track, cursor->step, streams[i], status);
        return false;
    }
    return true;
}

/* A slice of a chunk: which block, and which of its elements. */
struct piece {
    struct range range;
    uint32_t block, check;
    bool steady; /* leaves from memory that peers' connections refer to */
};

/* Where a block begins in a buffer that holds it. */
static uint64_t block_offset(const struct operation *operation, bool input, uint32_t block)
{
    const struct weft_plan *plan = operation->binding->plan;
    const struct operation_blocks *blocks = operation->call.blocks;
    uint32_t place = input ? plan_input_place(plan, block) : plan_output_place(plan, block);
    if (blocks) return input ? blocks->send_offsets[place] : blocks->recv_offsets[place];
    return place * operation->call.count;
}

/* Where an operand's slice lies in this process's memory. */
static void *operand_address(const struct operation *operation, uint32_t operand, const struct piece *piece)
{
    const struct binding *binding = operation->binding;
    const struct stream *stream = binding->streams[operand];
    if (!stream) {
        bool input = binding->program.operands[operand].space == SPACE_INPUT;
        uint8_t *base = input ? (uint8_t *)(uintptr_t)operation->call.send : operation->call.recv;
        uint64_t begin = piece->range.begin;
        if (operation->many_blocks) begin += block_offset(operation, input, piece->block);
        return base + begin * operation->element_bytes;
    }
    const struct peer *peer = stream->peer;
    uint64_t offset = slot_offset(&peer->engine->config, stream->channel, stream->position);
    if (stream == &peer->incoming[stream->channel]) {
        void *landed = stream->landed[stream->position % peer->engine->config.slot_depth];
        return landed ? landed : peer->connection->granted + offset;
    }
    if (peer->mapped) return peer->mapped + offset;
    return piece->steady && peer->steady.slots ? steady_place(peer, offset) : peer->staging + offset;
}

bool operand_is_scaled(const struct operation *operation, uint32_t operand)
{
    return operation->call.op == WEFT_PREMUL_SUM && operation->binding->program.operands[operand].space == SPACE_INPUT;
}

/* Does the operand hold partial results, of elements other than the caller's? */
static bool operand_is_partial(const struct operation *operation, uint32_t operand)
{
    uint32_t form = operation->binding->program.operands[operand].form;
    if (form == FORM_ELEMENT || (form == FORM_LEAF && operation->call.op != WEFT_PREMUL_SUM)) return false;
    return reduce_partial_bytes(operation->call.dtype, operation->call.op) != operation->element_bytes;
}

bool step_makes_partial(const struct operation *operation, const struct plan_step *step)
{
    return step->destination_count > 0 && operand_is_partial(operation, step->first_operand + step->source_count);
}

/* Is this destination a slot that cannot be stored to, of a slice that leaves from elsewhere? */
static bool needs_no_store(const struct stream *stream, uint32_t departure)
{
    return stream && !stream->peer->mapped && departure != PLAN_NONE;
}

static void step_combine(const struct operation *operation, const struct plan_step *step, const struct piece *piece,
                         uint32_t departure)
{
    const void *sources[PLAN_MAX_OPERANDS];
    void *destinations[PLAN_MAX_OPERANDS];
    double scales[PLAN_MAX_OPERANDS];
    bool partial_sources[PLAN_MAX_OPERANDS];
    bool scaled = false, partial = false;
    uint32_t destination_count = 0, first_destination = step->first_operand + step->source_count;
    for (uint32_t i = 0; i < step->source_count; i++) {
        sources[i] = operand_address(operation, step->first_operand + i, piece);
        bool scaled_here = operand_is_scaled(operation, step->first_operand + i);
        scales[i] = scaled_here ? operation->call.scale : 1;
        scaled |= scaled_here;
        partial_sources[i] = operand_is_partial(operation, step->first_operand + i);
        partial |= partial_sources[i];
    }
    uint32_t divisor = step->flags & STEP_FINAL ? operation->call.divisor : 1;
    bool copies = step->source_count == 1 && divisor <= 1 && !scaled, stays = true;
    for (uint32_t i = first_destination; i < first_destination + step->destination_count; i++) {
        stays &= !operation->binding->streams[i];
        if (needs_no_store(operation->binding->streams[i], departure)) continue;
        void *destination = operand_address(operation, i, piece);
        if (!copies || destination != sources[0]) destinations[destination_count++] = destination;
    }
    if (destination_count == 0) return;
    const struct reduce_call call = {
        .sources = sources,
        .source_count = step->source_count,
        .destinations = destinations,
        .destination_count = destination_count,
        .count = piece->range.end - piece->range.begin,
        .divisor = divisor,
        .scales = scaled ? scales : NULL,
        .partial_sources = partial ? partial_sources : NULL,
        .streaming = piece->steady || (stays && operation->bypasses_caches),
        .partial_result = step_makes_partial(operation, step),
        .chained = !(step->flags & STEP_TREE),
    };
    operation->combine(&call);
}

/* Announce a slot that is full at the peer, or that this put fills: from @p source, or from staging if that is NULL. */
static void stream_announce(struct stream *stream, const struct piece *piece, const void *source, uint32_t bytes,
                            uint16_t path_hint)
{
    struct peer *peer = stream->peer;
    const struct engine_config *config = &peer->engine->config;
    uint32_t place = (uint32_t)(stream->position % config->slot_depth);
    struct put put = {
        .flags = PUT_NOTIFY,
        .path_hint = path_hint,
        .tag = stream->channel << TAG_CHANNEL_SHIFT | place << TAG_SLOT_SHIFT | piece->check,
        .remote_offset = slot_offset(config, stream->channel, stream->position),
    };
    if (!peer->mapped) {
        const bool steady = piece->steady && peer->steady.slots;
        stream->leaving |= UINT64_C(1) << place;
        put.source = steady   ? steady_place(peer, put.remote_offset)
                     : source ? source
                              : peer->staging + put.remote_offset;
        if (steady) put.flags |= PUT_STEADY;
        put.bytes = bytes;
    }
    stream->position++;
    stream->path_hint = path_hint;
    peer_put(peer, &put);
}

static void step_notify(const struct operation *operation, const struct plan_track *track, const struct plan_step *step,
                        const struct piece *piece, uint32_t departure)
{
    struct stream *const *streams = operation->binding->streams + step->first_operand;
    bool partial = step_makes_partial(operation, step);
    size_t sent_bytes =
        partial ? reduce_partial_bytes(operation->call.dtype, operation->call.op) : operation->element_bytes;
    uint32_t bytes = (uint32_t)((piece->range.end - piece->range.begin) * sent_bytes);
    const void *source = departure == PLAN_NONE ? NULL : operand_address(operation, departure, piece);
    for (uint32_t i = 0; i < (uint32_t)step->source_count + step->destination_count; i++) {
        if (!streams[i]) continue;
        if (i < step->source_count)
            stream_give_back(streams[i], operation->call.acknowledged, track->path_hint);
        else
            stream_announce(streams[i], piece, source, bytes, track->path_hint);
    }
}

/* What the step that the track is at works on now. */
static struct piece piece_at(const struct operation *operation, const struct cursor *cursor,
                             const struct plan_step *step)
{
    uint32_t chunk = step_chunk(cursor->track, step, cursor->repetition);
    struct piece piece = {.check = step_check(operation, cursor, step)};
    if (operation->many_blocks) piece.block = partition_block(&operation->partition, cursor->track, chunk);
    if (operation->call.blocks) {
        struct partition partition = block_partition(operation, piece.block);
        piece.range = partition_slice(&partition, cursor->track, &cursor->slicing, chunk, cursor->slice);
    } else {
        piece.range = partition_slice(&operation->partition, cursor->track, &cursor->slicing, chunk, cursor->slice);
    }
    return piece;
}

struct operand_slice operand_slice_at(const struct operation *operation, const struct cursor *cursor,
                                      const struct plan_step *step, uint32_t operand)
{
    const struct piece piece = piece_at(operation, cursor, step);
    const uint64_t bytes = (piece.range.end - piece.range.begin) * operation->element_bytes;
    return (struct operand_slice){operand_address(operation, operand, &piece), bytes, piece.check};
}

static void cursor_next(struct operation *operation, uint32_t track, const struct plan_step *step)
{
    struct cursor *cursor = &operation->cursors[track];
    if (++cursor->repetition < step->repeat) return;
    cursor->repetition = 0;
    if (++cursor->step < cursor->track->step_count) return;
    cursor->step = 0;
    if (++cursor->slice == cursor->slicing.slice_count) track_end(operation, track);
}

/* Run the track as far as it goes, but not for long. */
static void track_advance(struct operation *operation, uint32_t track, bool *moved)
{
    struct cursor *cursor = &operation->cursors[track];
    if (!cursor->begun && !track_begin(operation, track)) return;
    for (uint32_t turn = 0; turn < STEPS_PER_TURN && !cursor->done; turn++) {
        const struct plan_step *step = &operation->binding->program.steps[cursor->track->first_step + cursor->step];
        if (!step_ready(operation, track, step)) return;
        struct piece piece = piece_at(operation, cursor, step);
        piece.steady =
            step_is_steady(operation, step, (piece.range.end - piece.range.begin) * operation->element_bytes);
        uint32_t departure = piece.steady ? PLAN_NONE : step_departure(operation, step);
        if (piece.range.end > piece.range.begin && step->source_count > 0 && step->destination_count > 0)
            step_combine(operation, step, &piece, departure);
        step_notify(operation, cursor->track, step, &piece, departure);
        cursor_next(operation, track, step);
        *moved = true;
    }
}

/*
 * Has the transport got everything out of this process's hands? A caller that has its result may change its buffers,
 * and may not come back for long; its peers must not depend on either.
 */
static bool all_sent(const struct operation *operation)
{
    const struct binding *binding = operation->binding;
    for (uint32_t i = 0; i < binding->use_count; i++)
        if (peer_unfinished(binding->uses[i].stream->peer)) return false;
    return true;
}

/* Have the peers taken everything that this operation sent? */
static bool all_taken(struct operation *operation)
{
    const struct binding *binding = operation->binding;
    for (uint32_t i = 0; i < binding->use_count; i++) {
        const struct stream *stream = binding->uses[i].stream;
        if (stream != &stream->peer->outgoing[stream->channel] || stream->credited >= operation->ends[i]) continue;
        if (stream->peer->state == PEER_FAILED)
            operation_break(operation, binding->uses[i].track, PLAN_NONE, stream, stream->peer->failure);
        else
            stall_note(operation, binding->uses[i].track, PLAN_NONE, stream);
        return false;
    }
    return true;
}

weft_status operation_advance(struct operation *operation, bool *moved)
{
    if (operation->status != WEFT_IN_PROGRESS) return operation->status;
    operation->stall = nowhere;
    if (operation->phase != PHASE_STEPS) exchange_advance(operation, moved);
    if (operation->phase != PHASE_STEPS) return operation->status;
    for (uint32_t track = 0; track < operation->binding->program.track_count; track++)
        if (!operation->cursors[track].done && operation->status == WEFT_IN_PROGRESS)
            track_advance(operation, track, moved);
    if (operation->status == WEFT_IN_PROGRESS && operation->tracks_left == 0 && all_sent(operation) &&
        (!operation->call.acknowledged || all_taken(operation)))
        operation->status = WEFT_OK;
    return operation->status;
}

bool operation_runs_steps(const struct operation *operation)
{
    return operation->phase == PHASE_STEPS;
}

struct operation_stall operation_stall(const struct operation *operation)
{
    return operation->stall;
}

weft_status operation_abandon(struct operation *operation)
{
    return exchange_abandon(operation);
}

void operation_free(struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    if (operation->status != WEFT_OK && operation->phase == PHASE_STEPS) landing_recall(operation);
    if (engine->exchange.current == operation) engine->exchange.current = NULL;
    operation->next = engine->idle_operations;
    engine->idle_operations = operation;
}
