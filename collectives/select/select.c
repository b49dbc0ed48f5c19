/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/select/select.h"

#include "collectives/plan/plan.h"

const struct cost_model cost_model_shm = {
    .message_ns = 250,
    .byte_ns = 0.08,
    .step_ns = 80,
    .slice_bytes = 128 << 10,
    .source = "built in: estimates, not measured; only their proportions matter to a choice",
};

const struct cost_model cost_model_tcp = {
    .message_ns = 6000,
    .byte_ns = 0.4,
    .step_ns = 500,
    .slice_bytes = 128 << 10,
    .source = "built in: estimates, not measured; only their proportions matter to a choice",
};

/* What a plan costs in messages one after another, and in bytes moved by its busiest rank per byte of the message. */
struct shape {
    double messages, passes;
};

static double log2_floor(uint32_t n)
{
    return 31 - __builtin_clz(n);
}

static struct shape plan_shape(weft_collective collective, weft_algorithm algorithm, uint32_t n)
{
    double others = n - 1;
    bool ring = algorithm == WEFT_ALGORITHM_RING;
    switch (collective) {
    case WEFT_ALL_REDUCE: /* tree: up to two children's slices in, own, one out; then one in, two out, one kept */
        return ring ? (struct shape){2 * others, 2 * others / n + 1} : (struct shape){2 * log2_floor(n), 3};
    case WEFT_BROADCAST:
        return ring ? (struct shape){others, 2} : (struct shape){n > 1 ? 1 + log2_floor(n - 1 ? n - 1 : 1) : 0, 2};
    default:
        return ring ? (struct shape){others, 0} : (struct shape){2 * log2_floor(n), 0};
    }
}

static double price(const struct cost_model *model, const struct select_request *request, weft_algorithm algorithm)
{
    struct shape shape = plan_shape(request->collective, algorithm, request->rank_count);
    double steps = (shape.messages + 1) * (model->message_ns + model->step_ns);
    /* A pipeline of slices is filled once: every message of the chain but the first carries one slice before work
     * overlaps. */
    double chunk = algorithm == WEFT_ALGORITHM_RING && request->collective == WEFT_ALL_REDUCE
                       ? (double)request->bytes / request->rank_count
                       : (double)request->bytes / 2;
    double slice = chunk < model->slice_bytes ? chunk : model->slice_bytes;
    bool pipelined = !(algorithm == WEFT_ALGORITHM_RING && request->collective == WEFT_ALL_REDUCE);
    double fill = pipelined && shape.messages > 1 ? (shape.messages - 1) * slice * model->byte_ns : 0;
    return steps + shape.passes * (double)request->bytes * model->byte_ns + fill;
}

weft_status select_plan(const struct cost_model *model, const struct select_request *request,
                        struct select_choice *choice)
{
    struct select_choice made = {
        .channel_units = request->channel_units ? request->channel_units : 1,
        .slice_bytes = request->slice_bytes ? request->slice_bytes : model->slice_bytes,
    };
    for (int i = WEFT_ALGORITHM_AUTO + 1; i < WEFT_ALGORITHM_COUNT; i++) {
        weft_algorithm algorithm = (weft_algorithm)i;
        if (!plan_generator_find(request->collective, algorithm)) continue;
        made.predicted_ns[i] = price(model, request, algorithm);
        bool chosen =
            request->forced == WEFT_ALGORITHM_AUTO
                ? made.algorithm == WEFT_ALGORITHM_AUTO || made.predicted_ns[i] < made.predicted_ns[made.algorithm]
                : algorithm == request->forced;
        if (chosen) made.algorithm = algorithm;
    }
    if (made.algorithm == WEFT_ALGORITHM_AUTO) return WEFT_UNSUPPORTED;
    *choice = made;
    return WEFT_OK;
}
