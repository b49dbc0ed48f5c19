/* SPDX-License-Identifier: Apache-2.0 */
/* Prices of hierarchical plans. */
#include "collectives/select/price.h"

/* A hierarchical plan's cost of messages within groups or between them, as of struct shape. */
struct part {
    double messages, steps, passes;
    double active;   /* of all ranks, how many take part in it; the others leave their processors to these */
    bool by_leaders; /* these are one of each group */
};

/* What its messages wait for others who share the processor. */
static double turns_price(const struct cost_model *model, const struct select_request *request, const struct part *part)
{
    struct select_request present = *request;
    present.crowd *= part->active;
    return part->messages * price_turn_ns(model, &present);
}

static double lone_byte_ns(const struct cost_model *model)
{
    return model->lone_byte_ns > 0 ? model->lone_byte_ns : model->byte_ns;
}

/*
 * What bytes take. Through leaders the first slice is stored and loaded at one message after another, before anything
 * overlaps; then, and in shares of which every rank has one under way, all are as busy as the busiest.
 * @p link_ns: what the busiest link takes for each byte between groups; the slower of that and a rank's passes counts.
 */
static double bytes_price(const struct cost_model *inner, const struct part *within, const struct cost_model *model,
                          const struct part *between, const struct select_request *request, double link_ns)
{
    double bytes = (double)request->bytes, pass_ns = between->passes * model->byte_ns;
    bool lone = request->bytes <= inner->slice_bytes && inner->lone_byte_ns > 0;
    /* As in steps: a slice alone is stored, and then loaded. */
    double inner_passes = lone && within->passes > 0 && within->passes + between->passes < 2 ? 2 : within->passes;
    double inner_ns = inner_passes * (lone ? inner->lone_byte_ns : inner->byte_ns);
    double bytes_ns = inner_ns + (pass_ns > link_ns ? pass_ns : link_ns);
    double shared_ns = price_shared_passes(request) * model->byte_ns;
    if (shared_ns > bytes_ns) bytes_ns = shared_ns;
    if (!between->by_leaders) return bytes_ns * bytes;
    double first = bytes < model->slice_bytes ? bytes : model->slice_bytes;
    double first_ns = 2 * (within->messages * lone_byte_ns(inner) + between->messages * lone_byte_ns(model));
    return bytes_ns * (bytes - first) + (first_ns > bytes_ns ? first_ns : bytes_ns) * first;
}

static double parts_price(const struct cost_model *inner, const struct part *within, const struct cost_model *model,
                          const struct part *between, const struct select_request *request, double link_ns)
{
    return within->messages * inner->message_ns + within->steps * inner->step_ns +
           between->messages * model->message_ns + between->steps * model->step_ns +
           turns_price(model, request, within) + turns_price(model, request, between) +
           bytes_price(inner, within, model, between, request, link_ns);
}

/*
 * By the plan's own rate, which of an all-reduce is that of shares; of many ranks only rings are rated, which take no
 * less between groups than shares do. Through leaders each group's bytes go to all others.
 */
static double link_ns(const struct select_request *request, const struct select_groups *groups, bool shares)
{
    if (!request->links) return 0;
    const double *rated = request->links->byte_ns[request->collective];
    double own = rated[WEFT_ALGORITHM_HIERARCHICAL], ring = rated[WEFT_ALGORITHM_RING];
    if (shares) return own > 0 ? own : ring;
    if (request->collective == WEFT_ALL_REDUCE) return (own > 0 ? own : ring) * groups->count / 2;
    return own > 0 ? own : ring * (groups->count - 1);
}

static struct select_groups groups_of(const struct select_request *request)
{
    if (request->links && request->links->groups.count) return request->links->groups;
    uint32_t size = 1, ranks = request->rank_count;
    while ((uint64_t)size * size < ranks) size *= 2; /* as hierarchy_create() has them */
    return (struct select_groups){(ranks + size - 1) / size, size < ranks ? size : ranks, 1, NULL};
}

/* By a share of every rank: what its owner and its counterparts do. Two blocks' worth of everything for an all-reduce.
 */
static void shares_parts(const struct select_groups *groups, double ranks, bool both, struct part *within,
                         struct part *between)
{
    double others = groups->count - 1, mates = groups->largest - 1, times = both ? 2 : 1, share = both ? 1 / ranks : 1;
    *within = (struct part){times * (mates > 0), times * groups->count * (mates + 1),
                            share * times * (1.5 * ranks + mates), 1, false};
    *between = (struct part){times * (others > 0), 2 * times * others, share * times * 2 * others, 1, false};
}

/* Through one rank of each group, whose work it is: what its group brings and gets, and what other groups do. */
static void leader_parts(const struct select_groups *groups, double ranks, weft_collective collective,
                         struct part *within, struct part *between)
{
    double others = groups->count - 1, mates = groups->largest - 1, levels = groups->levels ? groups->levels : 1;
    double ways = collective == WEFT_ALL_REDUCE || collective == WEFT_BARRIER ? 2 : 1;
    double passes = collective == WEFT_BARRIER ? 0 : 1;
    /* Who has nothing to do but wait to hear of its leader leaves its processor too. */
    double active = collective == WEFT_BARRIER ? 0.75 : 1;
    /* A tree's step, the measure of a step, has to do with three messages; combining reads a source once. */
    *within =
        (struct part){mates > 0 ? ways * levels : 0, ways * (mates / 3 + 1), passes * (ways * mates / 2 + 1), active, false};
    *between = (struct part){others > 0, ways * others, passes * ways * others, groups->count / ranks, true};
}

double price_hierarchical(const struct cost_model *model, const struct select_request *request, uint32_t *units)
{
    struct select_groups groups = groups_of(request);
    const struct cost_model *inner = groups.within ? groups.within : model;
    struct part within, between;
    double ranks = request->rank_count, prices[2];
    bool reduces_all = request->collective == WEFT_ALL_REDUCE;
    bool blocks = request->collective == WEFT_ALL_GATHER || request->collective == WEFT_REDUCE_SCATTER;
    leader_parts(&groups, ranks, request->collective, &within, &between);
    prices[0] = parts_price(inner, &within, model, &between, request, link_ns(request, &groups, false));
    shares_parts(&groups, ranks, reduces_all, &within, &between);
    prices[1] = parts_price(inner, &within, model, &between, request, link_ns(request, &groups, true));
    bool shares = blocks || (reduces_all && (*units ? *units > 1 : prices[1] < prices[0]));
    if (!*units) *units = reduces_all && shares ? 2 : 1;
    return inner->message_ns + prices[shares];
}
