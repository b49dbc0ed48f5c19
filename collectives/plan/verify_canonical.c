/* SPDX-License-Identifier: Apache-2.0 */
/*
 * That a plan which says so is canonical: each value is the tree of docs/guide/reproducible.md over some consecutive
 * ranks, and is rounded only when it is complete. By induction over the steps: a contribution is a tree of one rank,
 * and a step that joins trees has to join them where the tree over all their ranks splits. Which of two is on the left
 * makes no difference, because sums and products of two numbers do not depend on their order.
 */
#include <inttypes.h>

#include "collectives/plan/verify_internal.h"

/* How many ranks the left side of the tree over @p count ranks has, two at least: the largest power of two below. */
static uint32_t left_ranks(uint32_t count)
{
    return UINT32_C(1) << (31 - __builtin_clz(count - 1));
}

static bool splits_there(uint32_t begin, uint32_t middle, uint32_t end)
{
    return middle - begin == left_ranks(end - begin);
}

/* The sources from @p first up to @p last, joined by the tree over them. */
static bool tree_is_documented(const struct verify_span *spans, uint32_t first, uint32_t last)
{
    if (last - first == 1) return true;
    uint32_t middle = first + left_ranks(last - first);
    return splits_there(spans[first].begin, spans[middle].begin, spans[last - 1].end) &&
           tree_is_documented(spans, first, middle) && tree_is_documented(spans, middle, last);
}

weft_status verify_canonical_source(struct verify *verify, const struct verify_track *track, const struct value *value,
                                    struct verify_span *span)
{
    uint64_t end = (uint64_t)value->first + value->count;
    if (value->bits || end > verify->plan->rank_count)
        return verify_refuse(verify, track, "is canonical, and a source holds ranks that do not follow one another");
    *span = (struct verify_span){value->first, (uint32_t)end};
    return WEFT_OK;
}

static weft_status refuse_gap(struct verify *verify, const struct verify_track *track, const struct verify_span *a,
                              const struct verify_span *b)
{
    return verify_refuse(verify, track, "is canonical, and joins ranks %u to %u with %u to %u, which do not come next",
                         a->begin, a->end - 1, b->begin, b->end - 1);
}

static weft_status refuse_split(struct verify *verify, const struct verify_track *track, uint32_t begin, uint32_t end)
{
    return verify_refuse(verify, track, "is canonical, and the tree over ranks %u to %u splits before rank %u", begin,
                         end - 1, begin + left_ranks(end - begin));
}

static weft_status check_chain(struct verify *verify, const struct verify_track *track, const struct verify_span *spans,
                               uint32_t count)
{
    struct verify_span joined = spans[0];
    for (uint32_t i = 1; i < count; i++) {
        const struct verify_span *next = &spans[i];
        bool right = next->begin == joined.end;
        if (!right && next->end != joined.begin) return refuse_gap(verify, track, &joined, next);
        uint32_t middle = right ? joined.end : joined.begin;
        if (right)
            joined.end = next->end;
        else
            joined.begin = next->begin;
        if (!splits_there(joined.begin, middle, joined.end))
            return refuse_split(verify, track, joined.begin, joined.end);
    }
    return WEFT_OK;
}

weft_status verify_canonical_step(struct verify *verify, const struct verify_track *track,
                                  const struct verify_span *spans, uint32_t count)
{
    if (count < 2) return WEFT_OK;
    if (!(verify_step(verify, track)->flags & STEP_TREE)) return check_chain(verify, track, spans, count);
    for (uint32_t i = 1; i < count; i++)
        if (spans[i].begin != spans[i - 1].end) return refuse_gap(verify, track, &spans[i - 1], &spans[i]);
    if (tree_is_documented(spans, 0, count)) return WEFT_OK;
    return verify_refuse(verify, track,
                         "is canonical, and joins %u sources of ranks %u to %u elsewhere than their tree", count,
                         spans[0].begin, spans[count - 1].end - 1);
}

weft_status verify_canonical_slot(struct verify *verify, const struct verify_track *track, uint32_t operand,
                                  const struct value *value)
{
    if (!verify->plan->canonical) return WEFT_OK;
    enum plan_form needed = value_is_all(&verify->values, value) ? FORM_ELEMENT
                            : value->count == 1                  ? FORM_LEAF
                                                                 : FORM_PARTIAL;
    if (verify->operands[operand].form == needed) return WEFT_OK;
    static const char *const whats[] = {
        [FORM_ELEMENT] = "a result", [FORM_LEAF] = "a leaf", [FORM_PARTIAL] = "partial"};
    return verify_refuse(verify, track, "sends what is %s, and does not say so", whats[needed]);
}
