/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/collectives/plan_oracle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What a piece of data holds: how often each rank's contribution, and how often each was divided for an average. */
struct contents {
    uint8_t count[EDIT_RANKS], divided[EDIT_RANKS];
    bool data; /* else a signal */
};

/* One repetition of one step for one slice. Within a track, nodes are numbered in the order of execution. */
struct node {
    uint32_t rank, track, slice, chunk, step, repetition;
    const struct edit_track *of;
    const struct edit_step *what;
    struct contents contents;
};

struct oracle {
    const struct edit_plan *plan;
    uint32_t rank_count, node_count, words;
    struct node *nodes;
    uint64_t *before; /* node_count rows: the nodes that come before each */
    uint64_t *heard;  /* the same without slots given back, which tell a rank nothing */
    uint32_t *order;  /* a topological order */
    const char *reason;
};

static uint64_t *row(const struct oracle *oracle, uint64_t *matrix, uint32_t node)
{
    return &matrix[(size_t)node * oracle->words];
}

static bool precedes(const struct oracle *oracle, uint64_t *matrix, uint32_t early, uint32_t late)
{
    return row(oracle, matrix, late)[early / 64] >> (early % 64) & 1;
}

static void set_before(const struct oracle *oracle, uint64_t *matrix, uint32_t early, uint32_t late)
{
    row(oracle, matrix, late)[early / 64] |= UINT64_C(1) << (early % 64);
}

static bool refuse(struct oracle *oracle, const char *reason)
{
    oracle->reason = reason;
    return false;
}

static void expand_track(struct oracle *oracle, uint32_t rank, uint32_t track, uint32_t slice_count)
{
    const struct edit_track *of = &oracle->plan->programs[rank].tracks[track];
    for (uint32_t slice = 0; slice < slice_count; slice++)
        for (uint32_t s = 0; s < of->step_count; s++)
            for (uint32_t r = 0; r < of->steps[s].fields.repeat; r++) {
                if (oracle->nodes)
                    oracle->nodes[oracle->node_count] = (struct node){
                        .rank = rank,
                        .track = track,
                        .slice = slice,
                        .chunk = step_chunk(&of->fields, &of->steps[s].fields, r),
                        .step = s,
                        .repetition = r,
                        .of = of,
                        .what = &of->steps[s],
                    };
                oracle->node_count++;
            }
}

static void expand(struct oracle *oracle, uint32_t slice_count)
{
    oracle->node_count = 0;
    for (uint32_t rank = 0; rank < oracle->rank_count; rank++)
        for (uint32_t track = 0; track < oracle->plan->programs[rank].track_count; track++)
            expand_track(oracle, rank, track, slice_count);
}

static bool names_slot(const struct plan_operand *operands, uint32_t count, uint32_t rank)
{
    for (uint32_t i = 0; i < count; i++)
        if (operands[i].space == SPACE_SLOT && operands[i].rank == rank) return true;
    return false;
}

static bool names_buffer(const struct plan_operand *operands, uint32_t count, enum plan_space space)
{
    for (uint32_t i = 0; i < count; i++)
        if (operands[i].space == space) return true;
    return false;
}

static bool node_puts(const struct node *node, uint32_t from, uint32_t to, uint32_t channel)
{
    return node->rank == from && node->of->fields.channel == channel &&
           names_slot(node->what->destinations, node->what->destination_count, to);
}

static bool node_takes(const struct node *node, uint32_t from, uint32_t to, uint32_t channel)
{
    return node->rank == to && node->of->fields.channel == channel &&
           names_slot(node->what->sources, node->what->source_count, from);
}

static bool same_window(const struct plan_track *a, const struct plan_track *b)
{
    return a->window_begin == b->window_begin && a->window_end == b->window_end && a->chunk_count == b->chunk_count &&
           a->chunk_stride == b->chunk_stride;
}

/* The node at the other end of the slot that @p node takes from @p from. */
static const struct node *putter_of(const struct oracle *oracle, const struct node *node, uint32_t from)
{
    uint32_t channel = node->of->fields.channel, index = 0;
    for (const struct node *n = oracle->nodes; n < node; n++) index += node_takes(n, from, node->rank, channel);
    for (uint32_t i = 0; i < oracle->node_count; i++)
        if (node_puts(&oracle->nodes[i], from, node->rank, channel) && index-- == 0) return &oracle->nodes[i];
    return NULL;
}

static bool add_stream_edges(struct oracle *oracle, uint32_t from, uint32_t to, uint32_t channel)
{
    uint32_t *put = malloc(oracle->node_count * sizeof *put), *take = malloc(oracle->node_count * sizeof *take);
    uint32_t put_count = 0, take_count = 0;
    assert_true(put && take);
    for (uint32_t i = 0; i < oracle->node_count; i++) {
        if (node_puts(&oracle->nodes[i], from, to, channel)) put[put_count++] = i;
        if (node_takes(&oracle->nodes[i], from, to, channel)) take[take_count++] = i;
    }
    bool right = put_count == take_count || refuse(oracle, "messages do not pair up");
    for (uint32_t k = 0; right && k < put_count; k++) {
        if (!same_window(&oracle->nodes[put[k]].of->fields, &oracle->nodes[take[k]].of->fields))
            right = refuse(oracle, "a message goes to another window");
        set_before(oracle, oracle->before, put[k], take[k]);
        set_before(oracle, oracle->heard, put[k], take[k]);
        if (k + oracle->plan->header.slot_depth < put_count)
            set_before(oracle, oracle->before, take[k], put[k + oracle->plan->header.slot_depth]);
    }
    free(put);
    free(take);
    return right;
}

static void add_local_edges(struct oracle *oracle)
{
    for (uint32_t late = 0; late < oracle->node_count; late++)
        for (uint32_t early = 0; early < oracle->node_count; early++) {
            const struct node *a = &oracle->nodes[early], *b = &oracle->nodes[late];
            if (a->rank != b->rank) continue;
            const struct plan_step *step = &b->what->fields;
            bool next = a->track == b->track && early + 1 == late;
            bool after = step->after_track == a->track && step->after_step == a->step && a->slice == b->slice;
            if (!next && !after) continue;
            set_before(oracle, oracle->before, early, late);
            set_before(oracle, oracle->heard, early, late);
        }
}

static bool sort_nodes(struct oracle *oracle)
{
    bool *done = calloc(oracle->node_count + 1, sizeof *done);
    assert_non_null(done);
    uint32_t count = 0;
    for (bool progress = true; progress;) {
        progress = false;
        for (uint32_t i = 0; i < oracle->node_count; i++) {
            if (done[i]) continue;
            bool ready = true;
            for (uint32_t p = 0; p < oracle->node_count && ready; p++)
                ready = !precedes(oracle, oracle->before, p, i) || done[p];
            if (!ready) continue;
            done[i] = progress = true;
            oracle->order[count++] = i;
        }
    }
    free(done);
    return count == oracle->node_count || refuse(oracle, "deadlock");
}

static void close_over(const struct oracle *oracle, uint64_t *matrix)
{
    for (uint32_t k = 0; k < oracle->node_count; k++) {
        uint32_t node = oracle->order[k];
        for (uint32_t p = 0; p < oracle->node_count; p++) {
            if (!precedes(oracle, matrix, p, node)) continue;
            for (uint32_t w = 0; w < oracle->words; w++) row(oracle, matrix, node)[w] |= row(oracle, matrix, p)[w];
        }
    }
}

/* What each collective is, said a second time. Blocks of an all_to_all are numbered sender * ranks + receiver. */
static uint32_t block_count(const struct oracle *oracle)
{
    switch (oracle->plan->header.collective) {
    case WEFT_ALL_GATHER:
    case WEFT_REDUCE_SCATTER:
    case WEFT_GATHER:
    case WEFT_SCATTER:
        return oracle->rank_count;
    case WEFT_ALL_TO_ALL:
    case WEFT_ALL_TO_ALLV:
        return oracle->rank_count * oracle->rank_count;
    default:
        return 1;
    }
}

static uint32_t block_of(const struct oracle *oracle, const struct node *node)
{
    const struct plan_track *track = &node->of->fields;
    uint32_t shares = oracle->plan->header.share_denominator / block_count(oracle);
    return (track->window_begin + track->chunk_stride * node->chunk) / shares;
}

static bool combines(const struct oracle *oracle)
{
    weft_collective collective = oracle->plan->header.collective;
    return collective == WEFT_ALL_REDUCE || collective == WEFT_REDUCE || collective == WEFT_REDUCE_SCATTER;
}

/* Whose data a block of the result is, where nothing is combined. */
static uint32_t origin(const struct oracle *oracle, uint32_t block)
{
    switch (oracle->plan->header.collective) {
    case WEFT_ALL_GATHER:
    case WEFT_GATHER:
        return block;
    case WEFT_ALL_TO_ALL:
    case WEFT_ALL_TO_ALLV:
        return block / oracle->rank_count;
    default:
        return oracle->plan->header.root;
    }
}

static bool has_input(const struct oracle *oracle, uint32_t rank, uint32_t block)
{
    return combines(oracle) || rank == origin(oracle, block);
}

static bool wants_output(const struct oracle *oracle, uint32_t rank, uint32_t block)
{
    switch (oracle->plan->header.collective) {
    case WEFT_REDUCE:
    case WEFT_GATHER:
        return rank == oracle->plan->header.root;
    case WEFT_REDUCE_SCATTER:
    case WEFT_SCATTER:
        return rank == block;
    case WEFT_ALL_TO_ALL:
    case WEFT_ALL_TO_ALLV:
        return rank == block % oracle->rank_count;
    case WEFT_SEND_RECV:
        return rank == oracle->plan->header.peer;
    default:
        return true;
    }
}

/* In place: does the chunk that @p reader reads of the input lie where @p writer writes? */
static bool same_place(const struct oracle *oracle, const struct node *writer, const struct node *reader)
{
    uint32_t written = writer->chunk, read = reader->chunk;
    if (block_count(oracle) == oracle->rank_count * oracle->rank_count) {
        written /= oracle->rank_count;
        read %= oracle->rank_count;
    }
    return writer->rank == reader->rank && writer->slice == reader->slice && written == read &&
           same_window(&writer->of->fields, &reader->of->fields);
}

static bool same_cell(const struct node *a, const struct node *b)
{
    return a->rank == b->rank && a->slice == b->slice && a->chunk == b->chunk &&
           same_window(&a->of->fields, &b->of->fields);
}

static bool reads(const struct node *node, enum plan_space space)
{
    return names_buffer(node->what->sources, node->what->source_count, space);
}

static bool writes_output(const struct node *node)
{
    return names_buffer(node->what->destinations, node->what->destination_count, SPACE_OUTPUT);
}

/* The contents of one source. */
static bool source_contents(struct oracle *oracle, const struct node *node, const struct plan_operand *source,
                            struct contents *contents)
{
    if (source->space == SPACE_INPUT) {
        if (!has_input(oracle, node->rank, block_of(oracle, node))) return refuse(oracle, "no such input");
        *contents = (struct contents){.data = true};
        contents->count[node->rank] = 1;
        return true;
    }
    if (source->space == SPACE_SLOT) {
        const struct node *putter = putter_of(oracle, node, source->rank);
        if (putter->chunk != node->chunk || putter->slice != node->slice) return refuse(oracle, "other chunk");
        *contents = putter->contents;
        return true;
    }
    for (uint32_t i = 0; i < oracle->node_count; i++) {
        const struct node *writer = &oracle->nodes[i];
        if (!writes_output(writer) || !same_cell(writer, node)) continue;
        if (!precedes(oracle, oracle->before, i, (uint32_t)(node - oracle->nodes)))
            return refuse(oracle, "output read before it is written");
        *contents = writer->contents;
        return true;
    }
    return refuse(oracle, "output read and never written");
}

static bool whole(const struct oracle *oracle, const struct contents *contents, uint32_t block)
{
    for (uint32_t rank = 0; rank < oracle->rank_count; rank++) {
        bool wanted = combines(oracle) || rank == origin(oracle, block);
        if (contents->count[rank] != wanted) return false;
    }
    return contents->data;
}

static bool run_node(struct oracle *oracle, struct node *node)
{
    struct contents *sum = &node->contents;
    uint32_t block = block_of(oracle, node);
    for (uint32_t i = 0; i < node->what->source_count; i++) {
        struct contents source;
        if (!source_contents(oracle, node, &node->what->sources[i], &source)) return false;
        if (node->what->destination_count == 0) continue;
        if (!source.data) return refuse(oracle, "data from a signal");
        sum->data = true;
        for (uint32_t rank = 0; rank < oracle->rank_count; rank++) {
            if (sum->count[rank] && source.count[rank]) return refuse(oracle, "counted twice");
            sum->count[rank] += source.count[rank];
            sum->divided[rank] += source.divided[rank];
        }
    }
    bool final = node->what->fields.flags & STEP_FINAL, complete = whole(oracle, sum, block);
    if (final && !(combines(oracle) && complete)) return refuse(oracle, "final too early");
    for (uint32_t rank = 0; rank < oracle->rank_count; rank++) {
        sum->divided[rank] += final;
        if (combines(oracle) && complete && sum->divided[rank] != 1) return refuse(oracle, "not divided once");
    }
    if (!writes_output(node)) return true;
    if (!wants_output(oracle, node->rank, block)) return refuse(oracle, "no such output");
    return complete || refuse(oracle, "output is not whole");
}

/* In place, no other step may overwrite a chunk of the input before it has been read. */
static bool check_buffers(struct oracle *oracle)
{
    for (uint32_t x = 0; x < oracle->node_count; x++) {
        if (!writes_output(&oracle->nodes[x])) continue;
        for (uint32_t y = 0; y < oracle->node_count; y++) {
            const struct node *writer = &oracle->nodes[x], *other = &oracle->nodes[y];
            if (x == y) continue;
            if (writes_output(other) && same_cell(writer, other)) return refuse(oracle, "output written twice");
            if (reads(other, SPACE_INPUT) && same_place(oracle, writer, other) &&
                !precedes(oracle, oracle->before, y, x))
                return refuse(oracle, "input overwritten");
        }
    }
    return true;
}

static bool check_written(struct oracle *oracle, uint32_t rank, const struct edit_track *window, uint32_t slice_count)
{
    for (uint32_t slice = 0; slice < slice_count; slice++)
        for (uint32_t chunk = 0; chunk < window->fields.chunk_count; chunk++) {
            const struct node cell = {.rank = rank, .slice = slice, .chunk = chunk, .of = window};
            bool written = !wants_output(oracle, rank, block_of(oracle, &cell));
            for (uint32_t i = 0; i < oracle->node_count && !written; i++)
                written = writes_output(&oracle->nodes[i]) && same_cell(&oracle->nodes[i], &cell);
            if (!written) return refuse(oracle, "output never written");
        }
    return true;
}

static bool check_data(struct oracle *oracle, uint32_t slice_count)
{
    for (uint32_t k = 0; k < oracle->node_count; k++)
        if (!run_node(oracle, &oracle->nodes[oracle->order[k]])) return false;
    if (!check_buffers(oracle)) return false;
    for (uint32_t rank = 0; rank < oracle->rank_count; rank++)
        for (uint32_t t = 0; t < oracle->plan->programs[0].track_count; t++)
            if (!check_written(oracle, rank, &oracle->plan->programs[0].tracks[t], slice_count)) return false;
    return true;
}

static bool check_barrier(struct oracle *oracle)
{
    for (uint32_t i = 0; i < oracle->node_count; i++)
        if (oracle->nodes[i].what->fields.flags & STEP_FINAL) return refuse(oracle, "final in a barrier");
    for (uint32_t to = 0; to < oracle->rank_count; to++)
        for (uint32_t from = 0; from < oracle->rank_count; from++) {
            bool heard = from == to;
            for (uint32_t x = 0; x < oracle->node_count && !heard; x++)
                for (uint32_t y = 0; y < oracle->node_count && !heard; y++)
                    heard = oracle->nodes[x].rank == to && oracle->nodes[y].rank == from &&
                            oracle->nodes[x].slice == 0 && precedes(oracle, oracle->heard, y, x);
            if (!heard) return refuse(oracle, "a rank has not been heard of");
        }
    return true;
}

static bool has_window(const struct edit_program *program, const struct plan_track *window)
{
    for (uint32_t t = 0; t < program->track_count; t++)
        if (same_window(&program->tracks[t].fields, window)) return true;
    return false;
}

static bool check_windows(struct oracle *oracle)
{
    const struct edit_program *programs = oracle->plan->programs;
    for (uint32_t a = 0; a < oracle->rank_count; a++)
        for (uint32_t b = 0; b < oracle->rank_count; b++)
            for (uint32_t t = 0; t < programs[a].track_count; t++)
                if (!has_window(&programs[b], &programs[a].tracks[t].fields))
                    return refuse(oracle, "windows differ between ranks");
    return true;
}

static bool judge(struct oracle *oracle, uint32_t slice_count)
{
    if (!check_windows(oracle)) return false;
    add_local_edges(oracle);
    for (uint32_t from = 0; from < oracle->rank_count; from++)
        for (uint32_t to = 0; to < oracle->rank_count; to++)
            for (uint32_t channel = 0; channel < oracle->plan->header.channel_count; channel++)
                if (!add_stream_edges(oracle, from, to, channel)) return false;
    if (!sort_nodes(oracle)) return false;
    close_over(oracle, oracle->before);
    close_over(oracle, oracle->heard);
    return oracle->plan->header.collective == WEFT_BARRIER ? check_barrier(oracle) : check_data(oracle, slice_count);
}

bool oracle_accepts(const struct edit_plan *plan, uint32_t slice_count, const char **reason)
{
    struct oracle oracle = {.plan = plan, .rank_count = plan->header.rank_count, .reason = "right"};
    expand(&oracle, slice_count);
    oracle.words = oracle.node_count / 64 + 1;
    size_t matrix = (size_t)oracle.node_count * oracle.words + 1;
    oracle.nodes = calloc(oracle.node_count + 1, sizeof *oracle.nodes);
    oracle.order = calloc(oracle.node_count + 1, sizeof *oracle.order);
    oracle.before = calloc(matrix, sizeof *oracle.before);
    oracle.heard = calloc(matrix, sizeof *oracle.heard);
    assert_true(oracle.nodes && oracle.order && oracle.before && oracle.heard);
    expand(&oracle, slice_count);
    bool right = judge(&oracle, slice_count);
    *reason = oracle.reason;
    free(oracle.nodes);
    free(oracle.order);
    free(oracle.before);
    free(oracle.heard);
    return right;
}
