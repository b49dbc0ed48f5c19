/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/select/select.h"

#include <string.h>

#include "collectives/plan/plan.h"
#include "collectives/select/price.h"
#include "collectives/select/tuning.h"

/*
 * Slots: each line of a slice is fetched from the other core's cache, where the two share none: 0.3 ns a byte then,
 * 0.04 between threads of one core. Copies: a buffer that the kernel has to find, which costs the same everywhere.
 */
const struct cost_model cost_model_shm = {
    .message_ns = 400,
    .byte_ns = 0.15,
    .lone_byte_ns = 0.3,
    .step_ns = 150,
    .switch_ns = 1500,
    .round_ns = 450,
    .cell_ns = 60, /* an estimate */
    .cell_byte_ns = 0.44,
    .copy_ns = 1800,
    .copy_byte_ns = 0.125,
    .joins = true,
    .doubt = 0.25,
    .slice_bytes = 128 << 10,
    .slot_depth = 4,
    .few_slot_depth = 8,
    .source = "built in: measured on one machine; a byte through slots: between near cores' figure and distant ones'",
};

const struct cost_model cost_model_verbs = {
    .message_ns = 2500,
    .byte_ns = 0.1,
    .step_ns = 150,
    .switch_ns = 1500,
    .doubt = 0.25,
    .slice_bytes = 256 << 10,
    .slot_depth = 4,
    .source = "built in: estimates, not measured; only their proportions matter to a choice",
};

const struct cost_model cost_model_tcp = {
    .message_ns = 8600,
    .byte_ns = 0.35,
    .step_ns = 1350,
    .switch_ns = 13500,
    .doubt = 0.25,
    .slice_bytes = (128 << 10) - 128, /* with its header no more than two of the largest packets */
    .slot_depth = 8,
    .source = "built in: measured over loopback between two ranks; only their proportions matter to a choice",
};

/* What was measured to be the fastest, if it is a candidate here; what the caller forces stays. */
static void tuning_apply(const struct tuning *tuning, const struct select_request *request,
                         struct select_choice *choice)
{
    const struct tuning_entry *entry = tuning_find(tuning, request->collective, request->bytes);
    if (!entry || choice->predicted_ns[entry->algorithm] <= 0) return;
    choice->algorithm = entry->algorithm;
    if (!request->channel_units && entry->channel_units) choice->channel_units = entry->channel_units;
    if (!request->slice_bytes && entry->slice_bytes) choice->slice_bytes = entry->slice_bytes;
}

/*
 * What is compared. Rounds are given what the figures are unsure of, and a quarter at least: their price is that of
 * ordinary memory, and they do far better where buffers are registered, which nobody knows of all ranks beforehand.
 */
static const double favour_least = 0.25;
/* Where ranks share processors and are near, cells and stages take half of their price or less; apart, all of it. */
static const double favour_shared = 1.5;
static double rated(const struct cost_model *model, const struct select_request *request, weft_algorithm algorithm,
                    double price_ns)
{
    const double favour = model->doubt > favour_least ? model->doubt : favour_least;
    if (!price_is_by_exchange(model, request, algorithm)) return price_ns;
    const bool is_copied = request->collective == WEFT_GATHER || request->collective == WEFT_SCATTER;
    return price_ns / (1 + favour) / (request->crowd > 1 && request->copies && !is_copied ? favour_shared : 1);
}

uint32_t cost_model_slot_depth(const struct cost_model *model, uint32_t rank_count)
{
    return model->few_slot_depth && rank_count <= FEW_RANKS ? model->few_slot_depth : model->slot_depth;
}

uint64_t cost_model_hash(const struct cost_model *model)
{
    const double figures[] = {model->message_ns, model->byte_ns,      model->lone_byte_ns, model->step_ns,
                              model->switch_ns,  model->round_ns,     model->cell_ns,      model->cell_byte_ns,
                              model->copy_ns,    model->copy_byte_ns, model->doubt};
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, a word at a time */
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        uint64_t word;
        memcpy(&word, &figures[i], sizeof word);
        hash = (hash ^ word) * UINT64_C(0x100000001b3);
    }
    return hash;
}

weft_status select_plan(const struct cost_model *model, const struct select_request *request,
                        struct select_choice *choice)
{
    struct select_choice made = {
        .channel_units = request->channel_units,
        .slice_bytes = request->slice_bytes ? request->slice_bytes : model->slice_bytes,
        .canonical = request->canonical,
    };
    double least = 0;
    for (int i = WEFT_ALGORITHM_AUTO + 1; i < WEFT_ALGORITHM_COUNT; i++) {
        weft_algorithm algorithm = (weft_algorithm)i;
        bool arranged = request->links && request->links->arranged[request->collective][i];
        const struct plan_generator *generator = request->canonical
                                                     ? plan_generator_find_canonical(request->collective, algorithm)
                                                     : plan_generator_find(request->collective, algorithm);
        if (!generator || !plan_generator_serves(generator, request->rank_count, arranged)) continue;
        made.predicted_ns[i] = price(model, request, algorithm);
        double rating = rated(model, request, algorithm, made.predicted_ns[i]);
        /* Of equals the later one: its chains are shorter. */
        bool better = made.algorithm == WEFT_ALGORITHM_AUTO || rating <= least;
        if (request->forced != WEFT_ALGORITHM_AUTO ? algorithm != request->forced : !better) continue;
        made.algorithm = algorithm;
        least = rating;
    }
    if (made.algorithm == WEFT_ALGORITHM_AUTO) {
        bool known = plan_generator_find(request->collective, request->forced);
        bool canonical = plan_generator_find_canonical(request->collective, request->forced);
        return request->canonical && known && !canonical ? WEFT_INVALID_ARGUMENT : WEFT_UNSUPPORTED;
    }
    if (request->forced == WEFT_ALGORITHM_AUTO && !request->canonical) tuning_apply(model->tuning, request, &made);
    if (price_is_by_exchange(model, request, made.algorithm)) {
        made.stages_when_near = price_stages_are_better_near(request);
        made.stages_when_apart = price_stages_are_better_apart(request);
        made.steps_when_near = price_steps_are_better_near(request);
    }
    if (made.steps_when_near && !request->canonical) made.near = price_algorithm_near(request);
    if (made.algorithm == WEFT_ALGORITHM_HIERARCHICAL) price_hierarchical(model, request, &made.channel_units);
    if (!made.channel_units) made.channel_units = 1;
    *choice = made;
    return WEFT_OK;
}
