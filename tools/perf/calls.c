/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/perf/calls.h"

static bool is_root(const struct call_site *site)
{
    return site->rank == site->options->root;
}

/* Blocks that this rank's call reads, one after another, and where the first is in the sequence of all inputs. */
static uint64_t input_blocks(const struct call_site *site, uint64_t *first)
{
    *first = 0;
    switch ((weft_collective)site->options->collective) {
    case WEFT_BARRIER:
        return 0;
    case WEFT_BROADCAST:
        return is_root(site);
    case WEFT_SCATTER:
        return is_root(site) ? site->rank_count : 0;
    case WEFT_REDUCE_SCATTER:
        return site->rank_count;
    case WEFT_ALL_TO_ALL:
    case WEFT_ALL_TO_ALLV:
        *first = (uint64_t)site->rank * site->rank_count;
        return site->rank_count;
    case WEFT_ALL_GATHER:
    case WEFT_GATHER:
    case WEFT_SEND_RECV:
        *first = site->rank;
        return 1;
    default:
        return 1;
    }
}

/* Blocks that it writes, the first one's place in the sequence of results, and how far apart they are there. */
static uint64_t output_blocks(const struct call_site *site, uint64_t *first, uint64_t *distance)
{
    *first = 0;
    *distance = 1;
    switch ((weft_collective)site->options->collective) {
    case WEFT_BARRIER:
        return 0;
    case WEFT_REDUCE:
        return is_root(site);
    case WEFT_GATHER:
        return is_root(site) ? site->rank_count : 0;
    case WEFT_ALL_GATHER:
        return site->rank_count;
    case WEFT_SCATTER:
    case WEFT_REDUCE_SCATTER:
        *first = site->rank;
        return 1;
    case WEFT_ALL_TO_ALL:
    case WEFT_ALL_TO_ALLV:
        *first = site->rank;
        *distance = site->rank_count;
        return site->rank_count;
    case WEFT_SEND_RECV:
        *first = (site->rank + site->rank_count - 1) % site->rank_count;
        return 1;
    default:
        return 1;
    }
}

void call_place(struct call_site *site, uint8_t *first, uint8_t *second, bool in_place)
{
    int collective = site->options->collective;
    uint64_t own = site->rank * site->count * weft_dtype_size((weft_dtype)site->options->dtype);
    site->send = first;
    site->recv = in_place ? first : second;
    bool one_in = collective == WEFT_ALL_GATHER || (collective == WEFT_GATHER && is_root(site));
    bool one_out = collective == WEFT_REDUCE_SCATTER || (collective == WEFT_SCATTER && is_root(site));
    if (in_place && one_in) site->send += own;
    if (in_place && one_out) site->recv += own;
    for (uint32_t i = 0; collective == WEFT_ALL_TO_ALLV && i < site->rank_count; i++) {
        site->block_counts[i] = site->count;
        site->block_offsets[i] = i * site->count;
    }
}

void call_prepare(const struct call_site *site, const struct pattern *pattern)
{
    uint64_t first, distance, block_bytes = site->count * pattern->element_bytes;
    uint64_t blocks = output_blocks(site, &first, &distance);
    for (uint64_t i = 0; i < blocks; i++)
        pattern_fill_poison(pattern, site->recv + i * block_bytes, (first + i * distance) * site->count, site->count);
    blocks = input_blocks(site, &first);
    pattern_fill_input(pattern, site->send, first * site->count, blocks * site->count);
}

uint64_t call_wrong(const struct call_site *site, const struct pattern *pattern)
{
    uint64_t first, distance, wrong = 0, block_bytes = site->count * pattern->element_bytes;
    uint64_t blocks = output_blocks(site, &first, &distance);
    for (uint64_t i = 0; i < blocks; i++)
        wrong += pattern_count_wrong(pattern, site->recv + i * block_bytes, (first + i * distance) * site->count,
                                     site->count);
    return wrong;
}

/* To the next rank and from the previous one at once. */
static weft_status shift(const struct call_site *site, const weft_call *call)
{
    uint32_t next = (site->rank + 1) % site->rank_count;
    uint32_t previous = (site->rank + site->rank_count - 1) % site->rank_count;
    weft_dtype dtype = (weft_dtype)site->options->dtype;
    weft_status status = weft_group_start(site->comm);
    if (!status) status = weft_send(site->comm, site->send, site->count, dtype, next, call, NULL);
    if (!status) status = weft_recv(site->comm, site->recv, site->count, dtype, previous, call, NULL);
    weft_status ended = weft_group_end(site->comm, NULL);
    return status ? status : ended;
}

weft_status call_make(const struct call_site *site)
{
    const struct perf_options *options = site->options;
    const weft_call call = {
        .size = sizeof call, .algorithm = (weft_algorithm)options->algorithm, .scale = pattern_scale(site->rank)};
    weft_comm *comm = site->comm;
    weft_dtype dtype = (weft_dtype)options->dtype;
    weft_op op = (weft_op)options->op;
    uint32_t root = (uint32_t)options->root;
    switch ((weft_collective)options->collective) {
    case WEFT_ALL_REDUCE:
        return weft_all_reduce(comm, site->send, site->recv, site->count, dtype, op, &call, NULL);
    case WEFT_REDUCE:
        return weft_reduce(comm, site->send, site->recv, site->count, dtype, op, root, &call, NULL);
    case WEFT_REDUCE_SCATTER:
        return weft_reduce_scatter(comm, site->send, site->recv, site->count, dtype, op, &call, NULL);
    case WEFT_ALL_GATHER:
        return weft_all_gather(comm, site->send, site->recv, site->count, dtype, &call, NULL);
    case WEFT_BROADCAST:
        return weft_broadcast(comm, site->send, site->recv, site->count, dtype, root, &call, NULL);
    case WEFT_GATHER:
        return weft_gather(comm, site->send, site->recv, site->count, dtype, root, &call, NULL);
    case WEFT_SCATTER:
        return weft_scatter(comm, site->send, site->recv, site->count, dtype, root, &call, NULL);
    case WEFT_ALL_TO_ALL:
        return weft_all_to_all(comm, site->send, site->recv, site->count, dtype, &call, NULL);
    case WEFT_ALL_TO_ALLV:
        return weft_all_to_allv(comm, site->send, site->block_counts, site->block_offsets, site->recv,
                                site->block_counts, site->block_offsets, dtype, &call, NULL);
    case WEFT_SEND_RECV:
        return shift(site, &call);
    default:
        return weft_barrier(comm, &call, NULL);
    }
}
