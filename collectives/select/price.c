/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/select/price.h"

#include <math.h>

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

/* One block, which all ranks have a part in. @p joins: as in struct cost_model. */
static struct shape whole_shape(weft_collective collective, weft_algorithm algorithm, uint32_t n, bool joins)
{
    double others = n - 1, depth = n > 1 ? 1 + log2_floor(n - 1) : 0;
    if (collective == WEFT_ALL_REDUCE && algorithm == WEFT_ALGORITHM_HALVING) /* a step for each rank's chunk, twice */
        return (struct shape){2 * log2_up(n), 2.0 * n, 2 * others / n + 1, 1.0 / n, false};
    bool ring = algorithm == WEFT_ALGORITHM_RING, tree = algorithm == WEFT_ALGORITHM_TREE;
    /* Between two ranks either sends all there is, or gets it. */
    double down = n == 2 ? 1 : 2, up = n == 2 ? 1 : 2.5, both = n > 2 ? 3 : joins ? 1.5 : 2;
    switch (collective) {
    case WEFT_ALL_REDUCE: /* tree: up to two children's slices in, own, one out; then one in, two out, one kept */
        if (ring) return (struct shape){2 * others, 2 * others + 1, 2 * others / n + 1, 1.0 / n, false};
        if (tree) return (struct shape){2 * log2_floor(n), 2 * log2_floor(n) + 1, both, 0.5, true};
        /* As many bytes from rank to rank as a ring, at once. Both read two streams where a tree has three to write. */
        if (n == 2) return (struct shape){1, 2, joins ? 1.75 : 2, 1, false};
        return (struct shape){2, 4 * others, 3, 1.0 / n, false}; /* pieces and results, out and in */
    case WEFT_BROADCAST:
    case WEFT_REDUCE:
        if (ring) return (struct shape){others, others + 1, down, 0.5, true};
        if (tree) return (struct shape){depth, depth + 1, collective == WEFT_REDUCE ? up : down, 0.5, true};
        return (struct shape){1, 2, n > 2 && collective == WEFT_BROADCAST ? n : others, 1, false};
    case WEFT_BARRIER:
        if (ring) return (struct shape){others, others + 1, 0, 0, false};
        if (tree) return (struct shape){2 * log2_floor(n), 2 * log2_floor(n) + 1, 0, 0, false};
        return (struct shape){log2_up(n), log2_up(n) + 1, 0, 0, false};
    default: /* send_recv */
        return (struct shape){1, 2, 1, 1, false};
    }
}

/*
 * A block for each rank, or for each pair. What passes through a rank is kept, combined and handed on in one pass; a
 * root moves all blocks, whatever the way, and down a tree its own one apart.
 */
static struct shape blocks_shape(weft_collective collective, weft_algorithm algorithm, uint32_t n)
{
    double others = n - 1, passes = n;
    switch (algorithm) {
    case WEFT_ALGORITHM_RING:
        return (struct shape){others, others + 1, passes, 1, false};
    case WEFT_ALGORITHM_TREE:
        return (struct shape){log2_up(n), n, collective == WEFT_SCATTER ? passes + 1 : passes, 1, true};
    case WEFT_ALGORITHM_HALVING:
        return (struct shape){log2_up(n), n + log2_up(n), passes, 1, false};
    default:
        return (struct shape){1, collective == WEFT_ALL_TO_ALL ? 2.0 * n : n, passes, 1, false};
    }
}

/* ---- Rounds (exec/exchange.h, exec/loan.c): what one rank does on memory that the kernel has to copy ---- */

/* What everybody makes all of its own result of; pieces of what is combined, among all ranks, and of what is not. */
enum { APART_BYTES = 32 << 10, COMBINED_BYTES = 512 << 10, COPIED_BYTES = 1 << 20 };

struct exchange_work {
    double copies, bytes; /* of the busiest rank */
};

/* As many copies of so many bytes each, in pieces. */
static struct exchange_work copies_of(double count, double bytes, double piece_bytes)
{
    double pieces = bytes > piece_bytes ? bytes / piece_bytes : 1;
    return (struct exchange_work){count * pieces, count * bytes};
}

static struct exchange_work one_block_work(weft_collective collective, double n, double bytes)
{
    double others = n - 1, combined = COMBINED_BYTES / n;
    if (collective == WEFT_BROADCAST) { /* the root has its own output to copy to, and does less of the rest */
        double weight = 4 * others + 1, share = bytes * weight / (3 * others + others * weight);
        return bytes <= APART_BYTES * others ? copies_of(1, bytes, COPIED_BYTES)
                                             : copies_of(others, share, COPIED_BYTES);
    }
    if (bytes * others <= APART_BYTES) return copies_of(others, bytes, combined);
    if (collective == WEFT_REDUCE) /* read the others' share, write the result to the root, which does the more */
        return copies_of(n, bytes * others / (n + others * others), combined);
    return copies_of(2 * others, bytes / n, combined); /* read the others' share, write the result to them */
}

static struct exchange_work blocks_work(weft_collective collective, double n, double bytes)
{
    bool rooted = collective == WEFT_GATHER || collective == WEFT_SCATTER;
    return copies_of(rooted ? 1 : n - 1, bytes, collective == WEFT_REDUCE_SCATTER ? COMBINED_BYTES / n : COPIED_BYTES);
}

static bool has_one_block(weft_collective collective)
{
    return collective == WEFT_ALL_REDUCE || collective == WEFT_BROADCAST || collective == WEFT_REDUCE;
}

bool price_is_by_exchange(const struct cost_model *model, const struct select_request *request,
                          weft_algorithm algorithm)
{
    return algorithm == WEFT_ALGORITHM_DIRECT && request->exchange_bytes > 0 && model->round_ns > 0 &&
           request->collective != WEFT_SEND_RECV;
}

static double crowd_of(const struct select_request *request)
{
    return request->crowd > 1 ? request->crowd : 1;
}

double price_turn_ns(const struct cost_model *model, const struct select_request *request)
{
    return request->crowd > 1 ? request->crowd * model->switch_ns : 0;
}

/*
 * However one block gets to all ranks, or from them, as many bytes leave a rank and reach another: only who moves them
 * differs.
 */
double price_shared_passes(const struct select_request *request)
{
    double n = request->rank_count, moved = 2 * (n - 1) / n;
    if (request->crowd <= 1) return 0;
    switch (request->collective) {
    case WEFT_ALL_REDUCE:
        return request->crowd * (moved + 1);
    case WEFT_BROADCAST:
    case WEFT_REDUCE:
        return request->crowd * moved;
    case WEFT_BARRIER:
        return 0;
    default:
        return request->crowd * n;
    }
}

/* By cells, or by loans where the kernel copies. */
static double rounds_price(const struct cost_model *model, const struct select_request *request)
{
    double n = request->rank_count, bytes = (double)request->bytes, crowd = crowd_of(request);
    bool rooted = request->collective == WEFT_BROADCAST || request->collective == WEFT_REDUCE ||
                  request->collective == WEFT_GATHER || request->collective == WEFT_SCATTER;
    /* A cell has to reach the others, and theirs this rank; to or from a root it goes one way. */
    double round_ns = model->round_ns + (n - 2) * model->cell_ns + (rooted ? 1 : 2) * price_turn_ns(model, request);
    if (request->collective == WEFT_BARRIER) return round_ns;
    if (request->bytes <= request->exchange_bytes)
        return round_ns + (rooted ? 1 : crowd) * (n - 1) * bytes * model->cell_byte_ns;
    struct exchange_work work = has_one_block(request->collective) ? one_block_work(request->collective, n, bytes)
                                                                   : blocks_work(request->collective, n, bytes);
    return 2 * round_ns + crowd * (work.copies * model->copy_ns + work.bytes * model->copy_byte_ns);
}

/* ---- Steps, over slots ---- */

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

/*
 * Two ranks to a processor, over sockets: while a tree's slices are on their way its other ranks have the processor,
 * and the whole slices that they send are fewer messages. Measured over TCP, 4 ranks on 2 processors, all-reduce of 64
 * KiB to 32 MiB, near and apart: 0.7 to 1.14 of the time of pieces for everybody, 0.87 in the mean. With 8 ranks 1.2.
 */
static const double crowded_tree = 0.84;

static bool pairs_share_processors(const struct cost_model *model, const struct select_request *request)
{
    return request->collective == WEFT_ALL_REDUCE && request->crowd > 1 && request->crowd <= 2 && !model->joins;
}

/*
 * Where each rank has a block for all others, or gets one of all, and ranks share processors, these are busy with
 * messages, at both ends, however many are on their way at once. Measured over TCP, 4 ranks on 2 processors, up to 8
 * KiB: a ring's three messages one after another and a direct plan's three at once both take 60 to 82 us, halving's two
 * 52 to 63. So are they where everybody sends pieces and then results to everybody: 150 us.
 */
static double load_price(const struct cost_model *model, const struct select_request *request, weft_algorithm algorithm)
{
    static const double busy = 1.3; /* of message_ns */
    const double ranks = request->rank_count;
    if (request->crowd <= 1) return 0;
    double sent = algorithm == WEFT_ALGORITHM_HALVING ? log2_up(request->rank_count) : ranks - 1;
    if (pairs_share_processors(model, request) && algorithm == WEFT_ALGORITHM_DIRECT)
        sent *= 2;
    else if (request->collective != WEFT_ALL_GATHER && request->collective != WEFT_REDUCE_SCATTER)
        return 0;
    return (2 + request->crowd * sent * busy) * model->message_ns;
}

static double steps_price(const struct cost_model *model, const struct select_request *request,
                          weft_algorithm algorithm)
{
    bool blocks = request->collective != WEFT_SEND_RECV && request->collective >= WEFT_ALL_GATHER &&
                  request->collective != WEFT_REDUCE;
    struct shape shape = blocks ? blocks_shape(request->collective, algorithm, request->rank_count)
                                : whole_shape(request->collective, algorithm, request->rank_count, model->joins);
    const struct select_links *links = request->links;
    double bytes = (double)request->bytes, chunk = bytes * shape.chunk, crowd = crowd_of(request);
    double shared = price_shared_passes(request), passes = shared > shape.passes ? shared : shape.passes;
    if (pairs_share_processors(model, request) && algorithm == WEFT_ALGORITHM_TREE) {
        shape.fills = false;
        passes *= crowded_tree;
    }
    /* A chunk of one slice goes out before it comes in. */
    bool lone = chunk <= model->slice_bytes && model->lone_byte_ns > 0;
    double byte_ns = lone ? model->lone_byte_ns : model->byte_ns;
    double pass_ns = (lone && passes > 0 && passes < 2 ? 2 : passes) * byte_ns;
    if (links && links->messages[request->collective][algorithm])
        shape.messages = links->messages[request->collective][algorithm];
    if (links && links->byte_ns[request->collective][algorithm] > pass_ns)
        pass_ns = links->byte_ns[request->collective][algorithm];
    double slice = chunk < model->slice_bytes ? chunk : model->slice_bytes;
    /* Every message of the chain but the first carries one slice before work overlaps. */
    double fill = shape.fills && shape.messages > 1 ? (shape.messages - 1) * slice * byte_ns : 0;
    double chain_ns =
        messages_price(model, request, algorithm, &shape) + shape.messages * price_turn_ns(model, request);
    double load_ns = load_price(model, request, algorithm);
    return (load_ns > chain_ns ? load_ns : chain_ns) + crowd * shape.steps * model->step_ns + pass_ns * bytes + fill;
}

/* After a round in which ranks hear that it is to be by steps. */
static double steps_instead_price(const struct cost_model *model, const struct select_request *request)
{
    return model->round_ns + (request->rank_count - 2) * model->cell_ns +
           steps_price(model, request, WEFT_ALGORITHM_DIRECT);
}

static bool goes_with_cells(const struct select_request *request)
{
    return request->collective == WEFT_BARRIER || request->bytes <= request->exchange_bytes;
}

/* Where ranks have a processor each, they do whatever is faster at the time (exec/distance.h). */
static double exchange_price(const struct cost_model *model, const struct select_request *request)
{
    if (goes_with_cells(request)) return rounds_price(model, request);
    double by_steps = steps_instead_price(model, request);
    if (!request->copies) return by_steps;
    double by_loans = rounds_price(model, request);
    return request->crowd <= 1 && by_steps < by_loans ? by_steps : by_loans;
}

/*
 * Measured between two threads of one core, loans over steps: where ranks combine 0.8 to 1 at 32 and 64 KiB, 1.1 to 2.1
 * from 128 on; where they only copy the same. But a block for each of the root's peers 1.1 from 512 KiB, a message to
 * all 1 to 1.2 from 1 MiB.
 */
enum {
    MUCH = 128 << 10,
    MUCH_SCATTERED = 512 << 10,
    MUCH_BROADCAST = 1 << 20,
    MUCH_BROADCAST_CROWDED = 256 << 10,
};

bool price_steps_are_better_near(const struct select_request *request)
{
    if (!request->copies || goes_with_cells(request)) return false;
    /* Ranks that share processors lose by the further round what they gain, but where all wait for one that stages. */
    if (request->crowd > 1) return request->collective == WEFT_BROADCAST && request->bytes >= MUCH_BROADCAST_CROWDED;
    switch (request->collective) {
    case WEFT_BROADCAST:
        return request->bytes >= MUCH_BROADCAST;
    case WEFT_SCATTER:
        return request->bytes >= MUCH_SCATTERED;
    default:
        return request->bytes >= MUCH;
    }
}

/*
 * A tree's message is two halves, each on its way while the other is worked on. What is only copied has the bits it
 * had, and so has the sum of two, which is rounded once, wherever that is done.
 */
weft_algorithm price_algorithm_near(const struct select_request *request)
{
    const bool is_for_two = request->rank_count == 2 && request->bytes >= MUCH;
    switch (request->collective) {
    case WEFT_ALL_REDUCE:
    case WEFT_REDUCE:
        return is_for_two ? WEFT_ALGORITHM_TREE : WEFT_ALGORITHM_AUTO;
    case WEFT_BROADCAST:
        return is_for_two || request->crowd > 1 ? WEFT_ALGORITHM_TREE : WEFT_ALGORITHM_AUTO;
    default:
        return WEFT_ALGORITHM_AUTO;
    }
}

/*
 * With a processor each, what a rank has for its peers: the kernel has not copied its first byte when all of it is on
 * the stage. Measured, two ranks, kernel's copies over stages, all collectives: near 1.1 to 1.3 of 8 and 16 KiB, 0.9 of
 * 32, where steps had 1.0 to 1.1 before; apart 1.2 to 1.7 of 8 and 16 KiB, 1.1 to 1.4 of 32.
 */
enum { LITTLE_ALONE = 16 << 10, LITTLE_ALONE_APART = 32 << 10 };

static bool has_at_most(const struct select_request *request, uint64_t bytes)
{
    return request->bytes * (request->rank_count - 1) <= bytes;
}

/* Two copies for one by the kernel: not where one rank would have to make the first of all. */
bool price_stages_are_better_near(const struct select_request *request)
{
    if (!request->copies || goes_with_cells(request)) return false;
    return request->crowd <= 1 ? has_at_most(request, LITTLE_ALONE) : request->collective != WEFT_SCATTER;
}

/*
 * Staged past the caches, by ranks that share processors. Measured between cores, on two processors, over the kernel's
 * copies, from 64 KiB to 8 MiB of all blocks: a reduce of 4 and 8 ranks takes 0.3 to 0.6 of the time, a broadcast 0.5
 * to 1.0, an all-gather 0.3 to 1.0; an all-reduce of 8 ranks 0.3 to 0.6, an all-to-all 0.8 to 1.0; of 4 ranks an
 * all-reduce 0.6 to 1.0 up to 128 KiB, and both 1.0 to 1.5 from there on, 0.7 to 0.8 from 4 MiB on; a
 * reduce-scatter 1.1 to 1.4 of 64 KiB, 0.5 to 0.7 from 512 on. A gather, which is one copy either way, 0.6 to 1.3.
 */
enum { FEW_APART = 4, LITTLE_APART = 128 << 10, MUCH_APART = 4 << 20, MUCH_SCATTERED_APART = 256 << 10 };
bool price_stages_are_better_apart(const struct select_request *request)
{
    const uint64_t all_bytes = request->bytes * request->rank_count;
    if (!request->copies || goes_with_cells(request)) return false;
    if (request->crowd <= 1) return has_at_most(request, LITTLE_ALONE_APART);
    switch (request->collective) {
    case WEFT_REDUCE:
    case WEFT_BROADCAST:
    case WEFT_ALL_GATHER:
        return true;
    case WEFT_REDUCE_SCATTER:
        return all_bytes >= MUCH_SCATTERED_APART;
    case WEFT_ALL_TO_ALL:
        return request->rank_count > FEW_APART || all_bytes >= MUCH_APART;
    case WEFT_ALL_REDUCE:
        if (request->bytes <= LITTLE_APART) return true;
        return request->rank_count > FEW_APART || request->bytes >= MUCH_APART;
    default:
        return false;
    }
}

double price(const struct cost_model *model, const struct select_request *request, weft_algorithm algorithm)
{
    if (algorithm == WEFT_ALGORITHM_HIERARCHICAL)
        return price_hierarchical(model, request, &(uint32_t){request->channel_units});
    return price_is_by_exchange(model, request, algorithm) ? exchange_price(model, request)
                                                           : steps_price(model, request, algorithm);
}
