/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every rank with every other, at once: one message of latency (two for an all-reduce of more than two ranks), and as
 * many connections as there are ranks. Where blocks differ by receiver, one track for each peer, so that none waits for
 * another; where one block goes to all, or comes together from all, one step does it in one pass over memory, which
 * bounds the ranks to a step's operands. Peers come in the order of their distance, so that not all ranks begin with
 * the same one.
 */
#include "collectives/plan/generators.h"

static uint32_t peer_at(const struct weft_plan *plan, uint32_t rank, uint32_t distance)
{
    return (uint32_t)(((uint64_t)rank + distance) % plan->rank_count);
}

/* A step of a new track over every block. */
static struct plan_step *block_step(struct program_builder *builder, const struct weft_plan *plan,
                                    const struct plan_instance *instance, uint32_t channel, uint32_t chunk)
{
    builder_block_track(builder, plan, channel, instance->window_begin, instance->window_end);
    struct plan_step *step = builder_step(builder);
    step->chunk = chunk;
    return step;
}

static void move(struct program_builder *builder, enum plan_space from, uint32_t from_rank, enum plan_space to,
                 uint32_t to_rank)
{
    builder_source(builder, from, from_rank);
    builder_destination(builder, to, to_rank);
}

/* This rank's contribution to what another combines. */
static void contribute(const struct weft_plan *plan, struct program_builder *builder, uint32_t rank, uint32_t to)
{
    move(builder, SPACE_INPUT, rank, SPACE_SLOT, to);
    if (plan->canonical) builder_form(builder, FORM_LEAF);
}

/* All ranks' contributions in the order of the ranks, this one's among them; @p step is the newest. */
static void combine_all(const struct weft_plan *plan, struct program_builder *builder, uint32_t rank,
                        struct plan_step *step)
{
    step->flags = plan->canonical ? STEP_FINAL | STEP_TREE : STEP_FINAL;
    for (uint32_t from = 0; from < plan->rank_count; from++) {
        builder_source(builder, from == rank ? SPACE_INPUT : SPACE_SLOT, from);
        if (plan->canonical && from != rank) builder_form(builder, FORM_LEAF);
    }
}

static void send_to_all(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t distance = 1; distance < plan->rank_count; distance++)
        builder_destination(builder, SPACE_SLOT, peer_at(plan, rank, distance));
}

weft_status direct_all_gather(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        block_step(builder, plan, &instance, instance.channel, rank);
        move(builder, SPACE_INPUT, rank, SPACE_OUTPUT, rank);
        send_to_all(plan, rank, builder);
        for (uint32_t distance = 1; distance < plan->rank_count; distance++) {
            uint32_t peer = peer_at(plan, rank, distance);
            block_step(builder, plan, &instance, instance.channel, peer);
            move(builder, SPACE_SLOT, peer, SPACE_OUTPUT, rank);
        }
    }
    return WEFT_OK;
}

weft_status direct_reduce_scatter(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        for (uint32_t distance = 1; distance < plan->rank_count; distance++) {
            uint32_t peer = peer_at(plan, rank, distance);
            block_step(builder, plan, &instance, instance.channel, peer);
            contribute(plan, builder, rank, peer);
        }
        combine_all(plan, builder, rank, block_step(builder, plan, &instance, instance.channel, rank));
        builder_destination(builder, SPACE_OUTPUT, rank);
    }
    return WEFT_OK;
}

/* Of two ranks each sends all it has: no more than a half and a result, and one message of latency instead of two. */
static weft_status pair_all_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        uint32_t send_track = builder->program.track_count;
        builder_track(builder, 2 * i, i, i + 1, 1);
        builder_step(builder);
        contribute(plan, builder, rank, 1 - rank);
        builder_track(builder, 2 * i, i, i + 1, 1);
        struct plan_step *combine = builder_step(builder);
        combine->after_track = send_track;
        combine->after_step = 0;
        combine_all(plan, builder, rank, combine);
        builder_destination(builder, SPACE_OUTPUT, rank);
    }
    return WEFT_OK;
}

/* One piece of the message for each rank to combine; pieces go out on one channel and results on the next. */
weft_status direct_all_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    if (plan->rank_count == 2) return pair_all_reduce(plan, rank, builder);
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        uint32_t pieces = 2 * i, results = pieces + 1;
        for (uint32_t distance = 1; distance < plan->rank_count; distance++) {
            uint32_t peer = peer_at(plan, rank, distance);
            builder_track(builder, pieces, i, i + 1, plan->rank_count);
            builder_step(builder)->chunk = peer;
            contribute(plan, builder, rank, peer);
        }
        uint32_t combine_track = builder->program.track_count;
        builder_track(builder, pieces, i, i + 1, plan->rank_count);
        struct plan_step *combine = builder_step(builder);
        combine->chunk = rank;
        combine_all(plan, builder, rank, combine);
        builder_destination(builder, SPACE_OUTPUT, rank);
        if (plan->rank_count == 1) continue;
        builder_track(builder, results, i, i + 1, plan->rank_count);
        struct plan_step *share = builder_step(builder);
        share->chunk = rank;
        share->after_track = combine_track;
        share->after_step = 0;
        builder_source(builder, SPACE_OUTPUT, rank);
        send_to_all(plan, rank, builder);
        for (uint32_t distance = 1; distance < plan->rank_count; distance++) {
            uint32_t peer = peer_at(plan, rank, distance);
            builder_track(builder, results, i, i + 1, plan->rank_count);
            builder_step(builder)->chunk = peer;
            move(builder, SPACE_SLOT, peer, SPACE_OUTPUT, rank);
        }
    }
    return WEFT_OK;
}

weft_status direct_barrier(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    builder_track(builder, 0, 0, 1, 1);
    builder_step(builder);
    if (plan->rank_count == 1) return WEFT_OK;
    send_to_all(plan, rank, builder);
    builder_step(builder);
    for (uint32_t distance = 1; distance < plan->rank_count; distance++)
        builder_source(builder, SPACE_SLOT, peer_at(plan, rank, distance));
    return WEFT_OK;
}

weft_status direct_broadcast(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        builder_track(builder, instance.channel, instance.window_begin, instance.window_end, 1);
        builder_step(builder);
        if (rank == plan->root) {
            move(builder, SPACE_INPUT, rank, SPACE_OUTPUT, rank);
            send_to_all(plan, rank, builder);
        } else {
            move(builder, SPACE_SLOT, plan->root, SPACE_OUTPUT, rank);
        }
    }
    return WEFT_OK;
}

weft_status direct_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        builder_track(builder, instance.channel, instance.window_begin, instance.window_end, 1);
        struct plan_step *step = builder_step(builder);
        if (rank == plan->root) {
            combine_all(plan, builder, rank, step);
            builder_destination(builder, SPACE_OUTPUT, rank);
        } else {
            contribute(plan, builder, rank, plan->root);
        }
    }
    return WEFT_OK;
}

weft_status direct_gather(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        block_step(builder, plan, &instance, instance.channel, rank);
        if (rank != plan->root) {
            move(builder, SPACE_INPUT, rank, SPACE_SLOT, plan->root);
            continue;
        }
        move(builder, SPACE_INPUT, rank, SPACE_OUTPUT, rank);
        for (uint32_t distance = 1; distance < plan->rank_count; distance++) {
            uint32_t peer = peer_at(plan, rank, distance);
            block_step(builder, plan, &instance, instance.channel, peer);
            move(builder, SPACE_SLOT, peer, SPACE_OUTPUT, rank);
        }
    }
    return WEFT_OK;
}

weft_status direct_scatter(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        block_step(builder, plan, &instance, instance.channel, rank);
        if (rank != plan->root) {
            move(builder, SPACE_SLOT, plan->root, SPACE_OUTPUT, rank);
            continue;
        }
        move(builder, SPACE_INPUT, rank, SPACE_OUTPUT, rank);
        for (uint32_t distance = 1; distance < plan->rank_count; distance++) {
            uint32_t peer = peer_at(plan, rank, distance);
            block_step(builder, plan, &instance, instance.channel, peer);
            move(builder, SPACE_INPUT, rank, SPACE_SLOT, peer);
        }
    }
    return WEFT_OK;
}

/*
 * With each peer first send, then receive, slice by slice: in place, what goes to the peer is out of the way before
 * what comes from it takes its place.
 */
weft_status direct_all_to_all(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    uint32_t count = plan->rank_count;
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        block_step(builder, plan, &instance, instance.channel, rank * count + rank);
        move(builder, SPACE_INPUT, rank, SPACE_OUTPUT, rank);
        for (uint32_t distance = 1; distance < count; distance++) {
            uint32_t peer = peer_at(plan, rank, distance);
            block_step(builder, plan, &instance, instance.channel, rank * count + peer);
            move(builder, SPACE_INPUT, rank, SPACE_SLOT, peer);
            builder_step(builder)->chunk = peer * count + rank;
            move(builder, SPACE_SLOT, peer, SPACE_OUTPUT, rank);
        }
    }
    return WEFT_OK;
}

/* Only the two ranks have anything to do. */
weft_status direct_send_recv(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        if (rank != plan->root && rank != plan->peer) continue;
        builder_track(builder, instance.channel, instance.window_begin, instance.window_end, 1);
        builder_step(builder);
        if (plan->root == plan->peer)
            move(builder, SPACE_INPUT, rank, SPACE_OUTPUT, rank);
        else if (rank == plan->root)
            move(builder, SPACE_INPUT, rank, SPACE_SLOT, plan->peer);
        else
            move(builder, SPACE_SLOT, plan->root, SPACE_OUTPUT, rank);
    }
    return WEFT_OK;
}
