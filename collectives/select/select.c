/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/select/select.h"

#include <math.h>

#include "collectives/plan/plan.h"
#include "collectives/select/tuning.h"

const struct cost_model cost_model_shm = {
    .message_ns = 250,
    .byte_ns = 0.08,
    .step_ns = 80,
    .slice_bytes = 128 << 10,
    .slot_depth = 4,
    .source = "built in: estimates, not measured; only their proportions matter to a choice",
};

const struct cost_model cost_model_verbs = {
    .message_ns = 2500,
    .byte_ns = 0.1,
    .step_ns = 150,
    .slice_bytes = 256 << 10,
    .slot_depth = 4,
    .source = "built in: estimates, not measured; only their proportions matter to a choice",
};

const struct cost_model cost_model_tcp = {
    .message_ns = 3200,
    .byte_ns = 0.13,
    .step_ns = 500,
    .slice_bytes = (128 << 10) - 128, /* with its header no more than two of the largest packets */
    .slot_depth = 8,
    .source = "built in: measured over loopback between two ranks; only their proportions matter to a choice",
};

/*
 * What a plan costs: messages one after another, steps of the busiest rank (those of one slice), bytes that it moves
 * per byte of a block (of the message, where there is one block), and how much of that each chunk is.
 */
struct shape {
    double messages, steps, passes, chunk;
    bool fills; /* slices go through a chain of ranks, which has to fill before work overlaps */
};

static double log2_floor(uint32_t n)
{
    return n > 1 ? 31 - __builtin_clz(n) : 0;
}

static double log2_up(uint32_t n)
{
    return n > 1 ? 32 - __builtin_clz(n - 1) : 0;
}

/* One block, which all ranks have a part in. */
static struct shape whole_shape(weft_collective collective, weft_algorithm algorithm, uint32_t n)
{
    double others = n - 1, depth = n > 1 ? 1 + log2_floor(n - 1) : 0;
    if (collective == WEFT_ALL_REDUCE && algorithm == WEFT_ALGORITHM_HALVING) /* a step for each rank's chunk, twice */
        return (struct shape){2 * log2_up(n), 2.0 * n, 2 * others / n + 1, 1.0 / n, false};
    bool ring = algorithm == WEFT_ALGORITHM_RING, tree = algorithm == WEFT_ALGORITHM_TREE;
    switch (collective) {
    case WEFT_ALL_REDUCE: /* tree: up to two children's slices in, own, one out; then one in, two out, one kept */
        if (ring) return (struct shape){2 * others, 2 * others + 1, 2 * others / n + 1, 1.0 / n, false};
        if (tree) return (struct shape){2 * log2_floor(n), 2 * log2_floor(n) + 1, 3, 0.5, true};
        if (n == 2) return (struct shape){1, 2, 2, 1, false}; /* as many bytes from rank to rank as a ring, at once */
        return (struct shape){2, 2 * others + 2, 3, 1.0 / n, false};
    case WEFT_BROADCAST:
    case WEFT_REDUCE:
        if (ring) return (struct shape){others, others + 1, 2, 0.5, true};
        if (tree) return (struct shape){depth, depth + 1, collective == WEFT_REDUCE ? 3 : 2, 0.5, true};
        return (struct shape){1, 2, n, 1, false};
    case WEFT_BARRIER:
        if (ring) return (struct shape){others, others + 1, 0, 0, false};
        if (tree) return (struct shape){2 * log2_floor(n), 2 * log2_floor(n) + 1, 0, 0, false};
        return (struct shape){log2_up(n), log2_up(n) + 1, 0, 0, false};
    default: /* send_recv */
        return (struct shape){1, 2, 1, 1, false};
    }
}

/* A block for each rank, or for each pair: every rank moves n of them, once in and once out. */
static struct shape blocks_shape(weft_collective collective, weft_algorithm algorithm, uint32_t n)
{
    double others = n - 1;
    bool rooted = collective == WEFT_GATHER || collective == WEFT_SCATTER;
    switch (algorithm) {
    case WEFT_ALGORITHM_RING:
        return (struct shape){others, others + 1, 2.0 * n, 1, false};
    case WEFT_ALGORITHM_TREE: /* half of the blocks go over two edges or more */
        return (struct shape){log2_up(n), n, 1.5 * n, 1, true};
    case WEFT_ALGORITHM_HALVING:
        return (struct shape){log2_up(n), n + log2_up(n), 2.0 * n, 1, false};
    default:
        return (struct shape){1, collective == WEFT_ALL_TO_ALL ? 2.0 * n : n, rooted ? n : 2.0 * n, 1, false};
    }
}

/*
 * Direct plans that go by cells and loans (exec/exchange.h). Small: into the cells of all others, and out of one's own. Larger:
 * each byte of a block read and written where it is, the work shared evenly.
 */
static double rounds_price(const struct cost_model *model, const struct select_request *request)
{
    bool small = request->bytes <= request->exchange_bytes;
    bool one_block = request->collective == WEFT_ALL_REDUCE || request->collective == WEFT_BROADCAST ||
                     request->collective == WEFT_REDUCE;
    double cells = request->rank_count * model->step_ns, ranks = request->rank_count;
    double passes = small || !one_block ? ranks : 1;
    return (small ? 1 : 2) * (model->message_ns + cells) + passes * (double)request->bytes * model->byte_ns;
}

/* A hierarchical plan's cost of messages within groups or between them, as of struct shape. */
struct part {
    double messages, steps, passes;
};

/* @p link_ns: what the busiest link takes for each byte between groups; the slower of that and a rank's passes counts.
 */
static double parts_price(const struct cost_model *inner, const struct part *within, const struct cost_model *model,
                          const struct part *between, double bytes, double link_ns)
{
    double pass_ns = between->passes * model->byte_ns;
    return within->messages * inner->message_ns + within->steps * inner->step_ns +
           within->passes * inner->byte_ns * bytes + between->messages * model->message_ns +
           between->steps * model->step_ns + (pass_ns > link_ns ? pass_ns : link_ns) * bytes;
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
    *within =
        (struct part){times * (mates > 0), times * groups->count * (mates + 1), share * times * (1.5 * ranks + mates)};
    *between = (struct part){times * (others > 0), 2 * times * others, share * times * 2 * others};
}

/* Through one rank of each group, whose work it is: what its group brings and gets, and what other groups do. */
static void leader_parts(const struct select_groups *groups, weft_collective collective, struct part *within,
                         struct part *between)
{
    double others = groups->count - 1, mates = groups->largest - 1, levels = groups->levels ? groups->levels : 1;
    double ways = collective == WEFT_ALL_REDUCE || collective == WEFT_BARRIER ? 2 : 1;
    double passes = collective == WEFT_BARRIER ? 0 : 1;
    /* A tree's step, the measure of a step, has to do with three messages; combining reads a source once. */
    *within = (struct part){mates > 0 ? ways * levels : 0, ways * (mates / 3 + 1), passes * (ways * mates / 2 + 1)};
    *between = (struct part){others > 0, ways * others, passes * ways * others};
}

/* @p units: the channel units that it is the price of, where they make a difference. */
static double hierarchical_price(const struct cost_model *model, const struct select_request *request, uint32_t *units)
{
    struct select_groups groups = groups_of(request);
    const struct cost_model *inner = groups.within ? groups.within : model;
    struct part within, between;
    double ranks = request->rank_count, bytes = (double)request->bytes, prices[2];
    bool reduces_all = request->collective == WEFT_ALL_REDUCE;
    bool blocks = request->collective == WEFT_ALL_GATHER || request->collective == WEFT_REDUCE_SCATTER;
    leader_parts(&groups, request->collective, &within, &between);
    prices[0] = parts_price(inner, &within, model, &between, bytes, link_ns(request, &groups, false));
    shares_parts(&groups, ranks, reduces_all, &within, &between);
    prices[1] = parts_price(inner, &within, model, &between, bytes, link_ns(request, &groups, true));
    bool shares = blocks || (reduces_all && (*units ? *units > 1 : prices[1] < prices[0]));
    if (!*units) *units = reduces_all && shares ? 2 : 1;
    return inner->message_ns + prices[shares];
}

/*
 * Where groups are hosts, most messages of rings and trees stay in one: of a ring's n each time round one for each host
 * leaves it, of a tree's levels those over hosts do.
 */
static double messages_price(const struct cost_model *model, const struct select_request *request,
                             weft_algorithm algorithm, const struct shape *shape)
{
    double all = (shape->messages + 1) * model->message_ns, far = shape->messages, ranks = request->rank_count;
    const struct select_groups *groups = request->links ? &request->links->groups : NULL;
    if (!groups || !groups->count || !groups->within) return all;
    double depth = request->collective == WEFT_ALL_REDUCE || request->collective == WEFT_BARRIER ? 2 : 1;
    if (algorithm == WEFT_ALGORITHM_RING) far = ceil(shape->messages * groups->count / ranks);
    if (algorithm == WEFT_ALGORITHM_TREE) far = depth * log2_up(groups->count);
    if (far > shape->messages) far = shape->messages;
    return all - (shape->messages - far) * (model->message_ns - groups->within->message_ns);
}

static double price(const struct cost_model *model, const struct select_request *request, weft_algorithm algorithm)
{
    if (algorithm == WEFT_ALGORITHM_DIRECT && request->exchange_bytes > 0 && request->collective != WEFT_SEND_RECV)
        return rounds_price(model, request);
    if (algorithm == WEFT_ALGORITHM_HIERARCHICAL)
        return hierarchical_price(model, request, &(uint32_t){request->channel_units});
    bool blocks = request->collective != WEFT_SEND_RECV && request->collective >= WEFT_ALL_GATHER &&
                  request->collective != WEFT_REDUCE;
    struct shape shape = blocks ? blocks_shape(request->collective, algorithm, request->rank_count)
                                : whole_shape(request->collective, algorithm, request->rank_count);
    double pass_ns = shape.passes * model->byte_ns;
    const struct select_links *links = request->links;
    if (links && links->messages[request->collective][algorithm])
        shape.messages = links->messages[request->collective][algorithm];
    if (links && links->byte_ns[request->collective][algorithm] > pass_ns)
        pass_ns = links->byte_ns[request->collective][algorithm];
    double chunk = (double)request->bytes * shape.chunk;
    double slice = chunk < model->slice_bytes ? chunk : model->slice_bytes;
    /* Every message of the chain but the first carries one slice before work overlaps. */
    double fill = shape.fills && shape.messages > 1 ? (shape.messages - 1) * slice * model->byte_ns : 0;
    return messages_price(model, request, algorithm, &shape) + shape.steps * model->step_ns +
           pass_ns * (double)request->bytes + fill;
}

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

weft_status select_plan(const struct cost_model *model, const struct select_request *request,
                        struct select_choice *choice)
{
    struct select_choice made = {
        .channel_units = request->channel_units,
        .slice_bytes = request->slice_bytes ? request->slice_bytes : model->slice_bytes,
        .canonical = request->canonical,
    };
    for (int i = WEFT_ALGORITHM_AUTO + 1; i < WEFT_ALGORITHM_COUNT; i++) {
        weft_algorithm algorithm = (weft_algorithm)i;
        bool arranged = request->links && request->links->arranged[request->collective][i];
        const struct plan_generator *generator = request->canonical
                                                     ? plan_generator_find_canonical(request->collective, algorithm)
                                                     : plan_generator_find(request->collective, algorithm);
        if (!generator || !plan_generator_serves(generator, request->rank_count, arranged)) continue;
        made.predicted_ns[i] = price(model, request, algorithm);
        bool chosen =
            request->forced == WEFT_ALGORITHM_AUTO
                ? made.algorithm == WEFT_ALGORITHM_AUTO || made.predicted_ns[i] < made.predicted_ns[made.algorithm]
                : algorithm == request->forced;
        if (chosen) made.algorithm = algorithm;
    }
    if (made.algorithm == WEFT_ALGORITHM_AUTO) {
        bool known = plan_generator_find(request->collective, request->forced);
        bool canonical = plan_generator_find_canonical(request->collective, request->forced);
        return request->canonical && known && !canonical ? WEFT_INVALID_ARGUMENT : WEFT_UNSUPPORTED;
    }
    if (request->forced == WEFT_ALGORITHM_AUTO && !request->canonical) tuning_apply(model->tuning, request, &made);
    if (made.algorithm == WEFT_ALGORITHM_HIERARCHICAL) hierarchical_price(model, request, &made.channel_units);
    if (!made.channel_units) made.channel_units = 1;
    *choice = made;
    return WEFT_OK;
}
