/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A communicator's ranks in parts. Each part is a communicator like any other, with control connections of its own (the
 * control thread is the process's, and shared): what fails one of them fails no other, but a process that ends fails
 * all that it is in. Ranks learn through the whole who is in their part and where it meets; its key never travels.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "collectives/comm/comm_internal.h"

/* What every rank says: its colour and key; and, being the first of its part, where that meets. */
struct wish {
    int64_t colour, key;
};
struct offer {
    uint8_t place[SPLIT_PLACE_BYTES];
    uint8_t opened; /* else the part's first rank could not */
};

/* This rank's part. */
struct part {
    uint32_t rank, rank_count;
    uint32_t first; /* rank of the whole */
};

/* Ranks of one colour by their keys, and by their ranks in the whole where keys are equal. */
static struct part part_find(const struct wish *wishes, uint32_t rank_count, uint32_t rank)
{
    struct part part = {.first = rank};
    for (uint32_t other = 0; other < rank_count; other++) {
        if (wishes[other].colour != wishes[rank].colour) continue;
        part.rank_count++;
        int64_t key = wishes[other].key;
        part.rank += key < wishes[rank].key || (key == wishes[rank].key && other < rank);
        if (key < wishes[part.first].key || (key == wishes[part.first].key && other < part.first)) part.first = other;
    }
    return part;
}

static weft_status wishes_exchange(struct weft_comm *comm, struct wish wish, struct wish *wishes)
{
    return weft_all_gather(comm, &wish, wishes, sizeof wish / sizeof(int64_t), WEFT_INT64, NULL, NULL);
}

static weft_status offers_exchange(struct weft_comm *comm, bool opens, struct offer *offers)
{
    struct offer offer = {.opened = 0};
    struct diagnostic diagnostic;
    if (opens) {
        weft_status status = bootstrap_split_open(&comm->identity, offer.place, &diagnostic);
        if (status != WEFT_OK) log_error("rank %u cannot open a part: %s", comm->identity.rank, diagnostic.text);
        offer.opened = status == WEFT_OK;
    }
    return weft_all_gather(comm, &offer, offers, sizeof offer, WEFT_UINT8, NULL, NULL);
}

/* Which rank of the whole each of the part's ranks is. NULL when out of memory. */
static uint32_t *part_ranks(const struct wish *wishes, uint32_t rank_count, uint32_t rank, const struct part *part)
{
    uint32_t *ranks = calloc((size_t)part->rank_count + 1, sizeof *ranks), count = 0;
    for (uint32_t other = 0; ranks && other < rank_count; other++) {
        if (wishes[other].colour != wishes[rank].colour) continue;
        uint32_t at = count++;
        for (; at > 0 && wishes[ranks[at - 1]].key > wishes[other].key; at--) ranks[at] = ranks[at - 1];
        ranks[at] = other;
    }
    return ranks;
}

static weft_status part_join(const struct weft_comm *comm, const struct part *part, const struct wish *wishes,
                             const struct offer *offer, weft_comm **made)
{
    if (!offer->opened) return WEFT_SYSTEM_ERROR;
    weft_unique_id id;
    weft_status status = bootstrap_split_id(&comm->identity, offer->place, &id);
    if (status != WEFT_OK) return status;
    uint32_t *ranks = part_ranks(wishes, comm->identity.rank_count, comm->identity.rank, part);
    const struct topology_heritage heritage = {.whole = &comm->topology, .ranks = ranks};
    const weft_comm_config config = {
        .size = sizeof config,
        .id = &id,
        .rank = part->rank,
        .rank_count = part->rank_count,
        .deadline_ns = comm->deadline_ns,
        .channel_count = comm->channel_units,
        .slice_bytes = comm->slice_bytes,
        .progress_thread = comm->progress.running,
        .canonical = comm->canonical,
    };
    status = ranks ? comm_create(&config, &heritage, made) : WEFT_OUT_OF_MEMORY;
    free(ranks);
    explicit_bzero(&id, sizeof id);
    return status;
}

weft_status weft_comm_split(weft_comm *comm, int32_t colour, int32_t key, weft_comm **part_comm)
{
    if (!comm || !part_comm || colour < WEFT_COLOUR_NONE) return WEFT_INVALID_ARGUMENT;
    if (comm->grouping) return WEFT_INVALID_STATE;
    uint32_t rank = comm->identity.rank, rank_count = comm->identity.rank_count;
    struct wish *wishes = calloc(rank_count, sizeof *wishes);
    struct offer *offers = calloc(rank_count, sizeof *offers);
    weft_comm *made = NULL;
    weft_status status = wishes && offers ? WEFT_OK : WEFT_OUT_OF_MEMORY;
    if (status == WEFT_OK) status = wishes_exchange(comm, (struct wish){colour, key}, wishes);
    if (status != WEFT_OK) goto free_all;
    struct part part = part_find(wishes, rank_count, rank);
    status = offers_exchange(comm, colour != WEFT_COLOUR_NONE && part.first == rank, offers);
    if (status == WEFT_OK && colour != WEFT_COLOUR_NONE)
        status = part_join(comm, &part, wishes, &offers[part.first], &made);
    if (status == WEFT_OK) *part_comm = made;

free_all:
    free(offers);
    free(wishes);
    return status;
}
