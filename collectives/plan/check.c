/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "collectives/plan/check_internal.h"

/* Where in a plan a check is at. */
struct site {
    const struct weft_plan *plan;
    const struct plan_program *program;
    uint32_t rank, track, step; /* step counts from the track's first */
    struct diagnostic *diagnostic;
};

#define REFUSE_TRACK(site, format, ...)                                                                                \
    diagnose((site)->diagnostic, WEFT_INVALID_PLAN, "rank %u track %u: " format, (site)->rank, (site)->track,          \
             ##__VA_ARGS__)
#define REFUSE_STEP(site, format, ...)                                                                                 \
    diagnose((site)->diagnostic, WEFT_INVALID_PLAN, "rank %u track %u step %u: " format, (site)->rank, (site)->track,  \
             (site)->step, ##__VA_ARGS__)

/* Every block has the same whole number of shares. */
static weft_status check_shares(const struct weft_plan *plan, struct diagnostic *diagnostic)
{
    if (plan->share_denominator % plan_block_count(plan) == 0) return WEFT_OK;
    return diagnose(diagnostic, WEFT_INVALID_PLAN, "rank 0: %u shares, expected a multiple of the %" PRIu64 " blocks",
                    plan->share_denominator, plan_block_count(plan));
}

weft_status plan_check_header(const struct weft_plan *plan, struct diagnostic *diagnostic)
{
    if ((unsigned)plan->collective >= WEFT_COLLECTIVE_COUNT)
        return diagnose(diagnostic, WEFT_INVALID_PLAN, "collective %d is none", (int)plan->collective);
    if ((unsigned)plan->algorithm >= WEFT_ALGORITHM_COUNT)
        return diagnose(diagnostic, WEFT_INVALID_PLAN, "algorithm %d is none", (int)plan->algorithm);
    if (plan->rank_count == 0 || plan->rank_count > PLAN_MAX_RANKS)
        return diagnose(diagnostic, WEFT_INVALID_PLAN, "%u ranks, expected 1 to %u", plan->rank_count, PLAN_MAX_RANKS);
    bool rooted = shape_of(plan->collective)->rooted;
    if (plan->root >= (rooted ? plan->rank_count : 1))
        return diagnose(diagnostic, WEFT_INVALID_PLAN, "root %u, expected %s", plan->root,
                        rooted ? "one of the ranks" : "0: this collective has none");
    if (plan->peer >= (plan->collective == WEFT_SEND_RECV ? plan->rank_count : 1))
        return diagnose(diagnostic, WEFT_INVALID_PLAN, "peer %u of %u ranks", plan->peer, plan->rank_count);
    if (plan->channel_count == 0 || plan->channel_count > PLAN_MAX_CHANNELS)
        return diagnose(diagnostic, WEFT_INVALID_PLAN, "%u channels, expected 1 to %u", plan->channel_count,
                        PLAN_MAX_CHANNELS);
    if (plan->slot_depth == 0 || plan->slot_depth > PLAN_MAX_SLOT_DEPTH)
        return diagnose(diagnostic, WEFT_INVALID_PLAN, "%u slots, expected 1 to %u", plan->slot_depth,
                        PLAN_MAX_SLOT_DEPTH);
    if (plan->canonical && !shape_of(plan->collective)->combines)
        return diagnose(diagnostic, WEFT_INVALID_PLAN, "canonical, and nothing is combined here");
    if (plan->share_denominator == 0)
        return diagnose(diagnostic, WEFT_INVALID_PLAN, "the message is cut into 0 shares, expected 1 or more");
    return check_shares(plan, diagnostic);
}

static struct plan_window window_of(const struct plan_track *track)
{
    return (struct plan_window){track->window_begin, track->window_end, track->chunk_count, track->chunk_stride};
}

static int window_compare(const void *left, const void *right)
{
    const struct plan_window *a = left, *b = right;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end) return a->end < b->end ? -1 : 1;
    if (a->chunk_count != b->chunk_count) return a->chunk_count < b->chunk_count ? -1 : 1;
    return (a->chunk_stride > b->chunk_stride) - (a->chunk_stride < b->chunk_stride);
}

/* The end of the last chunk. */
static uint64_t window_last_end(const struct plan_window *window)
{
    return window->end + (uint64_t)window->chunk_stride * (window->chunk_count - 1);
}

static int64_t divide_down(int64_t dividend, int64_t divisor)
{
    return dividend / divisor - (dividend % divisor < 0);
}

/*
 * Do two different windows have shares in common? Two of different strides count as if they had: chunks would not be
 * each other's. Else: is there a distance of d strides between a chunk of one and a chunk of the other at which they
 * overlap? Those d lie between two bounds.
 */
static bool windows_meet(const struct plan_window *a, const struct plan_window *b)
{
    if (window_last_end(a) <= b->begin || window_last_end(b) <= a->begin) return false;
    if (a->chunk_stride && b->chunk_stride && a->chunk_stride != b->chunk_stride) return true;
    int64_t stride = a->chunk_stride ? a->chunk_stride : b->chunk_stride;
    if (stride == 0) return true;
    int64_t above = (int64_t)a->begin - b->end, below = (int64_t)a->end - b->begin;
    int64_t least = divide_down(above, stride) + 1, most = divide_down(below - 1, stride);
    int64_t first = a->chunk_stride ? 1 - (int64_t)a->chunk_count : 0;
    int64_t last = b->chunk_stride ? (int64_t)b->chunk_count - 1 : 0;
    return (least > first ? least : first) <= (most < last ? most : last);
}

/* Every window of windows[0..count) against one that does not begin before them. */
static const struct plan_window *window_met(const struct plan_window *windows, uint32_t count,
                                            const struct plan_window *window)
{
    for (uint32_t i = count; i-- > 0;)
        if (windows_meet(&windows[i], window)) return &windows[i];
    return NULL;
}

weft_status plan_check_windows(const struct weft_plan *plan, uint32_t rank, const struct plan_program *program,
                               struct plan_window *windows, uint32_t *window_count, struct diagnostic *diagnostic)
{
    for (uint32_t i = 0; i < program->track_count; i++) windows[i] = window_of(&program->tracks[i]);
    if (program->track_count > 0) qsort(windows, program->track_count, sizeof *windows, window_compare);

    bool whole = shape_of(plan->collective)->blocks == BLOCKS_ONE && plan->collective != WEFT_SEND_RECV;
    uint32_t count = 0;
    uint64_t covered = 0; /* up to here at most */
    for (uint32_t i = 0; i < program->track_count; i++) {
        const struct plan_window *window = &windows[i];
        if (count > 0 && plan_window_equal(window, &windows[count - 1])) continue;
        const struct plan_window *met = window->begin < covered ? window_met(windows, count, window) : NULL;
        if (met)
            return diagnose(diagnostic, WEFT_INVALID_PLAN,
                            "rank %u: windows %u to %u (%u chunks) and %u to %u (%u chunks) overlap", rank, met->begin,
                            met->end, met->chunk_count, window->begin, window->end, window->chunk_count);
        if (whole && window->begin > covered)
            return diagnose(diagnostic, WEFT_INVALID_PLAN,
                            "rank %u: no track for shares %" PRIu64 " to %u of the message", rank, covered,
                            window->begin);
        if (window_last_end(window) > covered) covered = window_last_end(window);
        windows[count++] = *window;
    }
    if (whole && covered < plan->share_denominator)
        return diagnose(diagnostic, WEFT_INVALID_PLAN, "rank %u: no track for shares %" PRIu64 " to %u of the message",
                        rank, covered, plan->share_denominator);
    *window_count = count;
    return WEFT_OK;
}

/* Tracks, steps and operands follow one another without gaps, so that a program has one form only. */
static weft_status check_layout(struct site *site)
{
    const struct plan_program *program = site->program;
    uint64_t next_step = 0, next_operand = 0;
    for (site->track = 0; site->track < program->track_count; site->track++) {
        const struct plan_track *track = &program->tracks[site->track];
        if (track->first_step != next_step)
            return REFUSE_TRACK(site, "begins at step %u of the program, expected %" PRIu64, track->first_step,
                                next_step);
        next_step += track->step_count;
        if (next_step > program->step_count)
            return REFUSE_TRACK(site, "%u steps from step %u of a program of %u", track->step_count, track->first_step,
                                program->step_count);
        for (site->step = 0; site->step < track->step_count; site->step++) {
            const struct plan_step *step = &program->steps[track->first_step + site->step];
            if (step->first_operand != next_operand)
                return REFUSE_STEP(site, "begins at operand %u of the program, expected %" PRIu64, step->first_operand,
                                   next_operand);
            next_operand += (uint64_t)step->source_count + step->destination_count;
            if (next_operand > program->operand_count)
                return REFUSE_STEP(site, "operands from %u of a program of %u", step->first_operand,
                                   program->operand_count);
        }
    }
    if (next_step != program->step_count || next_operand != program->operand_count)
        return diagnose(site->diagnostic, WEFT_INVALID_PLAN,
                        "rank %u: tracks hold %" PRIu64 " of %u steps and %" PRIu64 " of %u operands", site->rank,
                        next_step, program->step_count, next_operand, program->operand_count);
    return WEFT_OK;
}

static weft_status check_operand(const struct site *site, const struct plan_operand *operand, bool source)
{
    if (operand->form > FORM_PARTIAL) return REFUSE_STEP(site, "operand of form %u, which is none", operand->form);
    if (operand->form != FORM_ELEMENT && (operand->space != SPACE_SLOT || !site->plan->canonical))
        return REFUSE_STEP(site, "only slots of a canonical plan hold leaves and partial results");
    switch (operand->space) {
    case SPACE_INPUT:
        if (!source) return REFUSE_STEP(site, "writes to its input");
        break;
    case SPACE_OUTPUT:
        break;
    case SPACE_SLOT:
        if (operand->rank >= site->plan->rank_count)
            return REFUSE_STEP(site, "names rank %u of %u", operand->rank, site->plan->rank_count);
        if (operand->rank == site->rank) return REFUSE_STEP(site, "%s itself", source ? "receives from" : "sends to");
        return WEFT_OK;
    default:
        return REFUSE_STEP(site, "operand of space %u, which is none", operand->space);
    }
    if (operand->rank != site->rank) return REFUSE_STEP(site, "reads or writes a buffer of rank %u", operand->rank);
    if (site->plan->collective == WEFT_BARRIER) return REFUSE_STEP(site, "a barrier has no buffers");
    return WEFT_OK;
}

static weft_status check_operands(const struct site *site, const struct plan_step *step)
{
    uint32_t count = (uint32_t)step->source_count + step->destination_count;
    if (count == 0) return WEFT_OK; /* of a program without any, operands is NULL */
    const struct plan_operand *operands = &site->program->operands[step->first_operand];
    for (uint32_t i = 0; i < count; i++) {
        bool source = i < step->source_count;
        weft_status status = check_operand(site, &operands[i], source);
        if (status != WEFT_OK) return status;
        if (i > step->source_count && operands[i].form != operands[i - 1].form)
            return REFUSE_STEP(site, "writes one value in two forms");
        for (uint32_t other = source ? 0 : step->source_count; other < i; other++)
            if (operands[other].space == operands[i].space && operands[other].rank == operands[i].rank)
                return REFUSE_STEP(site, "names the same %s twice", source ? "source" : "destination");
    }
    return WEFT_OK;
}

/* Tracks of different windows are cut into slices differently, so `after` between them would have no meaning. */
static weft_status check_after(const struct site *site, const struct plan_step *step)
{
    if (step->after_track == PLAN_NONE && step->after_step == PLAN_NONE) return WEFT_OK;
    if (step->after_track >= site->program->track_count)
        return REFUSE_STEP(site, "waits for track %u of %u", step->after_track, site->program->track_count);
    if (step->after_track == site->track) return REFUSE_STEP(site, "waits for a step of its own track");
    const struct plan_track *other = &site->program->tracks[step->after_track];
    if (step->after_step >= other->step_count)
        return REFUSE_STEP(site, "waits for step %u of track %u, which has %u", step->after_step, step->after_track,
                           other->step_count);
    struct plan_window own = window_of(&site->program->tracks[site->track]), its = window_of(other);
    if (!plan_window_equal(&own, &its))
        return REFUSE_STEP(site, "waits for track %u, which has another window", step->after_track);
    return WEFT_OK;
}

static weft_status check_step(const struct site *site, const struct plan_track *track, const struct plan_step *step)
{
    unsigned known = site->plan->canonical ? STEP_FINAL | STEP_TREE : STEP_FINAL;
    if (step->flags & ~known) return REFUSE_STEP(site, "unknown flags 0x%x", step->flags);
    if (step->chunk >= track->chunk_count)
        return REFUSE_STEP(site, "chunk %u of a window of %u", step->chunk, track->chunk_count);
    if (step->repeat == 0 || step->repeat > PLAN_MAX_REPEAT)
        return REFUSE_STEP(site, "repeated %u times, expected 1 to %u", step->repeat, PLAN_MAX_REPEAT);
    weft_status status = check_after(site, step);
    return status == WEFT_OK ? check_operands(site, step) : status;
}

/* Every chunk lies in one block, and is all that a window has of it where there are several; of pairs a window has all.
 */
static weft_status check_blocks(const struct site *site, const struct plan_track *track)
{
    uint64_t block_count = plan_block_count(site->plan), block_shares = site->plan->share_denominator / block_count;
    struct plan_window window = window_of(track);
    if (track->chunk_stride && (track->chunk_count == 1 || track->chunk_stride % block_shares != 0))
        return REFUSE_TRACK(site, "stride %u of %u chunks, expected a multiple of a block's %" PRIu64 " shares",
                            track->chunk_stride, track->chunk_count, block_shares);
    if (window_last_end(&window) > site->plan->share_denominator)
        return REFUSE_TRACK(site, "chunks up to share %" PRIu64 " of %u", window_last_end(&window),
                            site->plan->share_denominator);
    if (track->window_begin / block_shares != (track->window_end - 1) / block_shares)
        return REFUSE_TRACK(site, "window %u to %u reaches beyond a block of %" PRIu64 " shares", track->window_begin,
                            track->window_end, block_shares);
    if (block_count > 1 && track->chunk_stride == 0 && track->chunk_count != 1)
        return REFUSE_TRACK(site, "%u chunks of one block, expected 1", track->chunk_count);
    bool pairs = shape_of(site->plan->collective)->blocks == BLOCKS_PER_PAIR;
    if (pairs && track->chunk_count != block_count)
        return REFUSE_TRACK(site, "%u chunks, expected one for each of %" PRIu64 " pairs", track->chunk_count,
                            block_count);
    return WEFT_OK;
}

static weft_status check_track(struct site *site, const struct plan_track *track)
{
    if (track->channel >= site->plan->channel_count)
        return REFUSE_TRACK(site, "channel %u of %u", track->channel, site->plan->channel_count);
    if (track->window_begin >= track->window_end || track->window_end > site->plan->share_denominator)
        return REFUSE_TRACK(site, "window %u to %u of %u shares", track->window_begin, track->window_end,
                            site->plan->share_denominator);
    if (track->chunk_count == 0 || track->chunk_count > PLAN_MAX_REPEAT)
        return REFUSE_TRACK(site, "%u chunks, expected 1 to %u", track->chunk_count, PLAN_MAX_REPEAT);
    weft_status blocks = check_blocks(site, track);
    if (blocks != WEFT_OK) return blocks;
    uint64_t repetitions = 0;
    for (site->step = 0; site->step < track->step_count; site->step++) {
        const struct plan_step *step = &site->program->steps[track->first_step + site->step];
        weft_status status = check_step(site, track, step);
        if (status != WEFT_OK) return status;
        repetitions += step->repeat;
    }
    if (repetitions >= UINT32_MAX) return REFUSE_TRACK(site, "%" PRIu64 " repetitions of its steps", repetitions);
    return WEFT_OK;
}

/* One end of a stream, as a slot operand names it. */
struct stream_end {
    bool incoming;
    uint32_t peer, channel, track;
};

static int stream_end_compare(const void *left, const void *right)
{
    const struct stream_end *a = left, *b = right;
    if (a->incoming != b->incoming) return a->incoming ? 1 : -1;
    if (a->peer != b->peer) return a->peer < b->peer ? -1 : 1;
    if (a->channel != b->channel) return a->channel < b->channel ? -1 : 1;
    return (a->track > b->track) - (a->track < b->track);
}

static uint32_t stream_ends_collect(const struct plan_program *program, struct stream_end *ends)
{
    uint32_t count = 0;
    for (uint32_t t = 0; t < program->track_count; t++) {
        const struct plan_track *track = &program->tracks[t];
        for (uint32_t s = 0; s < track->step_count; s++) {
            const struct plan_step *step = &program->steps[track->first_step + s];
            uint32_t operand_count = (uint32_t)step->source_count + step->destination_count;
            for (uint32_t i = 0; i < operand_count; i++) {
                const struct plan_operand *operand = &program->operands[step->first_operand + i];
                if (operand->space == SPACE_SLOT)
                    ends[count++] = (struct stream_end){i < step->source_count, operand->rank, track->channel, t};
            }
        }
    }
    return count;
}

/* Two tracks that sent on one stream could overtake each other: nothing would say whose slice is the k-th. */
static weft_status check_streams(const struct site *site)
{
    if (site->program->operand_count == 0) return WEFT_OK;
    struct stream_end *ends = malloc((size_t)site->program->operand_count * sizeof *ends);
    if (!ends) return diagnose(site->diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    uint32_t count = stream_ends_collect(site->program, ends);
    qsort(ends, count, sizeof *ends, stream_end_compare);
    weft_status status = WEFT_OK;
    for (uint32_t i = 1; i < count && status == WEFT_OK; i++) {
        const struct stream_end *a = &ends[i - 1], *b = &ends[i];
        if (a->incoming == b->incoming && a->peer == b->peer && a->channel == b->channel && a->track != b->track)
            status =
                diagnose(site->diagnostic, WEFT_INVALID_PLAN, "rank %u: tracks %u and %u both %s rank %u on channel %u",
                         site->rank, a->track, b->track, a->incoming ? "receive from" : "send to", a->peer, a->channel);
    }
    free(ends);
    return status;
}

weft_status plan_check_program(const struct weft_plan *plan, uint32_t rank, const struct plan_program *program,
                               struct diagnostic *diagnostic)
{
    struct site site = {.plan = plan, .program = program, .rank = rank, .diagnostic = diagnostic};
    weft_status status = check_shares(plan, diagnostic);
    if (status == WEFT_OK) status = check_layout(&site);
    for (site.track = 0; site.track < program->track_count && status == WEFT_OK; site.track++)
        status = check_track(&site, &program->tracks[site.track]);
    if (status == WEFT_OK) status = check_streams(&site);
    if (status != WEFT_OK) return status;

    size_t room = program->track_count ? program->track_count : 1;
    struct plan_window *windows = malloc(room * sizeof *windows);
    if (!windows) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    uint32_t window_count;
    status = plan_check_windows(plan, rank, program, windows, &window_count, diagnostic);
    free(windows);
    return status;
}
