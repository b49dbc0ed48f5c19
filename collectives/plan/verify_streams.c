/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "collectives/plan/verify_internal.h"

static int use_compare(const void *left, const void *right)
{
    const struct verify_use *a = left, *b = right;
    if (a->from != b->from) return a->from < b->from ? -1 : 1;
    if (a->to != b->to) return a->to < b->to ? -1 : 1;
    if (a->channel != b->channel) return a->channel < b->channel ? -1 : 1;
    if (a->take != b->take) return a->take ? 1 : -1;
    return (a->operand > b->operand) - (a->operand < b->operand); /* program order */
}

static bool use_same_stream(const struct verify_use *a, const struct verify_use *b)
{
    return a->from == b->from && a->to == b->to && a->channel == b->channel;
}

static void collect_uses(struct verify *verify)
{
    for (uint32_t t = 0; t < verify->track_count; t++) {
        const struct verify_track *track = &verify->tracks[t];
        for (uint32_t s = track->first_step; s < track->end_step; s++) {
            const struct plan_step *step = &verify->steps[s];
            uint32_t end = step->first_operand + step->source_count + step->destination_count;
            for (uint32_t o = step->first_operand; o < end; o++) {
                if (verify->operands[o].space != SPACE_SLOT) continue;
                bool take = o < step->first_operand + step->source_count;
                verify->uses[verify->use_count++] = (struct verify_use){
                    .from = take ? verify->operands[o].rank : track->rank,
                    .to = take ? track->rank : verify->operands[o].rank,
                    .channel = track->channel,
                    .take = take,
                    .track = t,
                    .step = s,
                    .operand = o,
                };
            }
        }
    }
    if (verify->use_count > 0) qsort(verify->uses, verify->use_count, sizeof *verify->uses, use_compare);
}

/* Number the slices that uses [begin, end) put, or take. */
static uint64_t number_slices(struct verify *verify, uint32_t begin, uint32_t end, uint32_t stream)
{
    uint64_t count = 0;
    for (uint32_t i = begin; i < end; i++) {
        struct verify_use *use = &verify->uses[i];
        use->first = (uint32_t)count;
        use->stream = stream;
        verify->operand_use[use->operand] = i;
        count += verify->steps[use->step].repeat;
    }
    return count;
}

static weft_status pair_stream(struct verify *verify, uint32_t begin, uint32_t end)
{
    const struct verify_use *first = &verify->uses[begin];
    uint32_t index = verify->stream_count++, takes = begin;
    while (takes < end && !verify->uses[takes].take) takes++;
    uint64_t put_count = number_slices(verify, begin, takes, index);
    uint64_t take_count = number_slices(verify, takes, end, index);
    if (put_count != take_count) {
        const struct verify_use *use = put_count ? first : &verify->uses[takes];
        const struct verify_track *track = &verify->tracks[use->track];
        return diagnose(&verify->diagnostic, WEFT_INVALID_PLAN,
                        "rank %u track %u step %u: rank %u sends %" PRIu64
                        " messages to rank %u on channel %u, which receives %" PRIu64,
                        track->rank, track->index, use->step - track->first_step, first->from, put_count, first->to,
                        first->channel, take_count);
    }
    const struct verify_track *sender = &verify->tracks[first->track];
    const struct verify_track *receiver = &verify->tracks[verify->uses[takes].track];
    if (sender->window != receiver->window)
        return diagnose(&verify->diagnostic, WEFT_INVALID_PLAN,
                        "rank %u track %u sends another window of the message than rank %u track %u receives",
                        sender->rank, sender->index, receiver->rank, receiver->index);
    verify->streams[index] = (struct verify_stream){
        .sender = first->track,
        .receiver = verify->uses[takes].track,
        .first_put = begin,
        .first_take = takes,
        .end_use = end,
        .slice_count = (uint32_t)put_count, /* fits: repetitions of a track do */
    };
    return WEFT_OK;
}

static weft_status pair_all(struct verify *verify)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < verify->use_count; i++)
        count += i == 0 || !use_same_stream(&verify->uses[i - 1], &verify->uses[i]);
    verify->streams = arena_alloc(&verify->arena, count, sizeof *verify->streams);
    if (!verify->streams) return verify_out_of_memory(verify);
    for (uint32_t begin = 0, end; begin < verify->use_count; begin = end) {
        for (end = begin + 1; end < verify->use_count; end++)
            if (!use_same_stream(&verify->uses[begin], &verify->uses[end])) break;
        weft_status status = pair_stream(verify, begin, end);
        if (status != WEFT_OK) return status;
    }
    return WEFT_OK;
}

static weft_status allocate_slots(struct verify *verify)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < verify->stream_count; i++) {
        struct verify_stream *stream = &verify->streams[i];
        stream->first_slot = (uint32_t)count;
        stream->slot_count =
            stream->slice_count < verify->plan->slot_depth ? stream->slice_count : verify->plan->slot_depth;
        count += stream->slot_count;
        if (count >= UINT32_MAX) return verify_out_of_memory(verify);
    }
    verify->slots = arena_alloc(&verify->arena, count, sizeof *verify->slots);
    return verify->slots ? WEFT_OK : verify_out_of_memory(verify);
}

/* The share of the message that a stream carries; signals carry nothing. */
static double stream_share(const struct verify *verify, const struct verify_stream *stream)
{
    const struct plan_window *window = &verify->windows[verify->tracks[stream->sender].window];
    if (verify->plan->collective == WEFT_BARRIER) return 0;
    uint64_t payloads = 0;
    for (uint32_t i = stream->first_put; i < stream->first_take; i++) {
        const struct plan_step *step = &verify->steps[verify->uses[i].step];
        if (step->source_count > 0) payloads += step->repeat;
    }
    uint32_t parts = window->chunk_stride ? 1 : window->chunk_count;
    return (double)payloads * (window->end - window->begin) / ((double)verify->plan->share_denominator * parts);
}

/* Streams are ordered by sender, then receiver, so what a pair of ranks carries is a sum over neighbours. */
void verify_visit_loads(const struct verify *verify, void (*each)(void *context, const weft_plan_load *load),
                        void *context)
{
    weft_plan_load load = {0};
    for (uint32_t i = 0; i < verify->stream_count; i++) {
        const struct verify_stream *stream = &verify->streams[i];
        const struct verify_use *use = &verify->uses[stream->first_put];
        if (load.messages > 0 && (load.from != use->from || load.to != use->to)) {
            each(context, &load);
            load = (weft_plan_load){0};
        }
        load.from = use->from;
        load.to = use->to;
        load.share += stream_share(verify, stream);
        load.messages += stream->slice_count;
    }
    if (load.messages > 0) each(context, &load);
}

/* The report, and what the rank whose loads are being visited has sent so far. */
struct load_report {
    weft_plan_report *report;
    uint32_t from;
    double rank_share;
};

static void report_load(void *context, const weft_plan_load *load)
{
    struct load_report *at = context;
    if (at->from != load->from) at->rank_share = 0;
    at->from = load->from;
    at->rank_share += load->share;
    weft_plan_report *report = at->report;
    if (at->rank_share > report->max_rank_sent_share) report->max_rank_sent_share = at->rank_share;
    if (load->share > report->max_link_share) report->max_link_share = load->share;
    report->messages += load->messages;
}

weft_status verify_pair_streams(struct verify *verify)
{
    collect_uses(verify);
    weft_status status = pair_all(verify);
    return status == WEFT_OK ? allocate_slots(verify) : status;
}

void verify_report_loads(const struct verify *verify, weft_plan_report *report)
{
    struct load_report at = {.report = report};
    verify_visit_loads(verify, report_load, &at);
    for (uint32_t i = 0; i < verify->step_count; i++) report->steps += verify->steps[i].repeat;
}
