/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By groups of ranks, all of which lead a share, for messages whose time is that of all their bytes: between groups
 * everything goes once, and over as many pairs of ranks as a group has.
 *
 * Every rank owns a chunk. In each group one rank deals with it, the owner's counterpart: reduce-scatter is sending
 * contributions to the counterparts of one's own group, which combine them and send the owner one partial result for
 * each group; all-gather is sending to all of one's own group and to one's counterparts, which pass it on to theirs.
 * Two messages one after another each. All-reduce is the one after the other.
 *
 * Of n ranks in T equal groups each sends and receives (T-1)/n of the message between groups, which no plan can better,
 * and less than all of it within; twice that for an all-reduce.
 */
#include "collectives/plan/generators.h"

/* A walk over chunks that a rank deals with for others: group by group, from the next one round to its own. */
struct shares {
    const struct weft_plan *plan;
    const struct hierarchy *hierarchy;
    uint32_t channel;
    bool blocks; /* chunks are ranks' blocks */
};

static struct shares shares_of(const struct weft_plan *plan, uint32_t channel, bool blocks)
{
    return (struct shares){plan, plan_hierarchy(plan), channel, blocks};
}

static void share_track(const struct shares *shares, struct program_builder *builder)
{
    if (shares->blocks)
        builder_block_track(builder, shares->plan, shares->channel, 0, 1);
    else
        builder_track(builder, shares->channel, 0, 1, shares->plan->rank_count);
}

static struct plan_step *share_step(struct program_builder *builder, uint32_t chunk)
{
    struct plan_step *step = builder_step(builder);
    step->chunk = chunk;
    return step;
}

/* Calls @p each for what @p dealer deals with of other groups. */
typedef void share_visitor(const struct shares *shares, struct program_builder *builder, uint32_t rank, uint32_t dealer,
                           uint32_t owner);

static void others_visit(const struct shares *shares, struct program_builder *builder, uint32_t rank, uint32_t dealer,
                         share_visitor *each)
{
    const struct hierarchy *hierarchy = shares->hierarchy;
    uint32_t count = hierarchy_group_count(hierarchy), group = hierarchy_group(hierarchy, dealer);
    for (uint32_t distance = 1; distance < count; distance++) {
        uint32_t other = (group + distance) % count;
        for (uint32_t i = 0; i < hierarchy_size(hierarchy, other); i++) {
            uint32_t owner = hierarchy_member(hierarchy, other, i);
            if (hierarchy_counterpart(hierarchy, group, owner) == dealer) each(shares, builder, rank, dealer, owner);
        }
    }
}

/* ---- Towards owners ---- */

static void group_combine(const struct shares *shares, struct program_builder *builder, uint32_t rank)
{
    uint32_t group = hierarchy_group(shares->hierarchy, rank);
    for (uint32_t i = 0; i < hierarchy_size(shares->hierarchy, group); i++) {
        uint32_t member = hierarchy_member(shares->hierarchy, group, i);
        builder_source(builder, member == rank ? SPACE_INPUT : SPACE_SLOT, member);
    }
}

static void contribute(const struct shares *shares, struct program_builder *builder, uint32_t rank, uint32_t dealer,
                       uint32_t owner)
{
    (void)shares;
    share_step(builder, owner);
    builder_source(builder, SPACE_INPUT, rank);
    builder_destination(builder, SPACE_SLOT, dealer);
}

static void combine_for(const struct shares *shares, struct program_builder *builder, uint32_t rank, uint32_t dealer,
                        uint32_t owner)
{
    (void)dealer;
    share_step(builder, owner);
    group_combine(shares, builder, rank);
    builder_destination(builder, SPACE_SLOT, owner);
}

/* The newest track ends with the rank's own chunk complete. */
static void shares_reduce(const struct shares *shares, struct program_builder *builder, uint32_t rank)
{
    const struct hierarchy *hierarchy = shares->hierarchy;
    uint32_t group = hierarchy_group(hierarchy, rank), count = hierarchy_group_count(hierarchy);
    uint32_t size = hierarchy_size(hierarchy, group), index = hierarchy_index(hierarchy, rank);
    for (uint32_t distance = 1; distance < size; distance++) {
        uint32_t dealer = hierarchy_member(hierarchy, group, (index + distance) % size);
        share_track(shares, builder);
        others_visit(shares, builder, rank, dealer, contribute);
        contribute(shares, builder, rank, dealer, dealer);
    }
    share_track(shares, builder);
    others_visit(shares, builder, rank, rank, combine_for);
    share_step(builder, rank)->flags = STEP_FINAL;
    for (uint32_t from = 0; from < count; from++) {
        if (from == group)
            group_combine(shares, builder, rank);
        else
            builder_source(builder, SPACE_SLOT, hierarchy_counterpart(hierarchy, from, rank));
    }
    builder_destination(builder, SPACE_OUTPUT, rank);
}

/* ---- From owners ---- */

static void group_send(const struct shares *shares, struct program_builder *builder, uint32_t rank)
{
    const struct hierarchy *hierarchy = shares->hierarchy;
    uint32_t group = hierarchy_group(hierarchy, rank), size = hierarchy_size(hierarchy, group);
    for (uint32_t i = 0; i < size; i++) {
        uint32_t member = hierarchy_member(hierarchy, group, i);
        if (member != rank) builder_destination(builder, SPACE_SLOT, member);
    }
}

static void pass_on(const struct shares *shares, struct program_builder *builder, uint32_t rank, uint32_t dealer,
                    uint32_t owner)
{
    (void)dealer;
    share_step(builder, owner);
    builder_source(builder, SPACE_SLOT, owner);
    builder_destination(builder, SPACE_OUTPUT, rank);
    group_send(shares, builder, rank);
}

static void keep(const struct shares *shares, struct program_builder *builder, uint32_t rank, uint32_t dealer,
                 uint32_t owner)
{
    (void)shares;
    share_step(builder, owner);
    builder_source(builder, SPACE_SLOT, dealer);
    builder_destination(builder, SPACE_OUTPUT, rank);
}

/* A rank's own chunk is in its input, with @p after_track PLAN_NONE, or in its output after that track's last step. */
static void shares_spread(const struct shares *shares, struct program_builder *builder, uint32_t rank,
                          uint32_t after_track)
{
    const struct hierarchy *hierarchy = shares->hierarchy;
    uint32_t group = hierarchy_group(hierarchy, rank), count = hierarchy_group_count(hierarchy);
    uint32_t size = hierarchy_size(hierarchy, group);
    share_track(shares, builder);
    struct plan_step *own = share_step(builder, rank);
    if (after_track != PLAN_NONE) {
        own->after_track = after_track;
        own->after_step = builder->program.tracks[after_track].step_count - 1;
    }
    builder_source(builder, after_track == PLAN_NONE ? SPACE_INPUT : SPACE_OUTPUT, rank);
    if (after_track == PLAN_NONE) builder_destination(builder, SPACE_OUTPUT, rank);
    for (uint32_t distance = 1; distance < count; distance++)
        builder_destination(builder, SPACE_SLOT, hierarchy_counterpart(hierarchy, (group + distance) % count, rank));
    group_send(shares, builder, rank);
    others_visit(shares, builder, rank, rank, pass_on);
    for (uint32_t i = 0; i < size; i++) {
        uint32_t member = hierarchy_member(hierarchy, group, i);
        if (member == rank) continue;
        share_track(shares, builder);
        keep(shares, builder, rank, member, member);
        others_visit(shares, builder, rank, member, keep);
    }
}

weft_status hierarchy_shares_all_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    const struct shares up = shares_of(plan, 0, false), down = shares_of(plan, 1, false);
    shares_reduce(&up, builder, rank);
    if (plan->rank_count > 1) shares_spread(&down, builder, rank, builder->program.track_count - 1);
    return WEFT_OK;
}

weft_status hierarchy_reduce_scatter(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    const struct shares shares = shares_of(plan, 0, true);
    shares_reduce(&shares, builder, rank);
    return WEFT_OK;
}

weft_status hierarchy_all_gather(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    const struct shares shares = shares_of(plan, 0, true);
    shares_spread(&shares, builder, rank, PLAN_NONE);
    return WEFT_OK;
}
