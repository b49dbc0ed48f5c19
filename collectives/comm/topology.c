/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/comm/topology.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/config.h"
#include "base/log.h"
#include "collectives/comm/comm_internal.h"
#include "collectives/plan/shape.h"

/* Of a rank that could not read its topology: equal to no other's, and above all. */
#define TOKEN_FAILED UINT64_MAX
/* Ranks that a search would not come to an end with in any time; NVIDIA's largest published runs have a third more. */
enum { SEARCHED_RANKS_MAX = 16384, DIFFERENCES_SHOWN = 8 };

/* A whole may end before its parts, which read the same graph. */
static bool graph_own(struct comm_topology *topology, weft_topology *graph)
{
    topology->graph_users = malloc(sizeof *topology->graph_users);
    if (!topology->graph_users) {
        weft_topology_destroy(graph);
        return false;
    }
    atomic_init(topology->graph_users, 1);
    topology->graph = graph;
    return true;
}

static void graph_share(struct comm_topology *part, const struct comm_topology *whole)
{
    part->graph = whole->graph;
    part->graph_users = whole->graph_users;
    /* Relaxed: the whole, which counts itself, is there during the call. */
    atomic_fetch_add_explicit(part->graph_users, 1, memory_order_relaxed);
}

static void graph_release(struct comm_topology *topology)
{
    /* Acquire and release: pairs with itself; who is last destroys what the others have read before. */
    if (!topology->graph || atomic_fetch_sub_explicit(topology->graph_users, 1, memory_order_acq_rel) > 1) return;
    weft_topology_destroy(topology->graph);
    free(topology->graph_users);
}

/* ---- Before ranks meet ---- */

static weft_status file_read(struct weft_comm *comm, const char *path, struct comm_topology *topology)
{
    weft_topology_counts counts = {.size = sizeof counts};
    char error[256] = "";
    weft_topology *graph;
    weft_status status = weft_topology_read(path, &graph, error);
    if (status != WEFT_OK) return diagnose(&topology->failure, status, "WEFT_TOPOLOGY: %.230s", error);
    topology->nodes = calloc(comm->identity.rank_count, sizeof *topology->nodes);
    if (!graph_own(topology, graph) || !topology->nodes)
        return diagnose(&topology->failure, WEFT_OUT_OF_MEMORY, "no memory for ranks' places");
    weft_topology_count(topology->graph, &counts);
    snprintf(topology->source, sizeof topology->source, "file %.250s (%.60s)", path,
             counts.format ? counts.format : "");
    return topology_place_ranks(topology->graph, path, comm->identity.rank_count, topology->nodes, &topology->failure);
}

static weft_status heritage_take(struct weft_comm *comm, const struct topology_heritage *heritage,
                                 struct comm_topology *topology)
{
    uint32_t ranks = comm->identity.rank_count;
    topology->nodes = calloc(ranks, sizeof *topology->nodes);
    if (!topology->nodes) return diagnose(&topology->failure, WEFT_OUT_OF_MEMORY, "no memory for a part's topology");
    graph_share(topology, heritage->whole);
    for (uint32_t rank = 0; rank < ranks; rank++) topology->nodes[rank] = heritage->whole->nodes[heritage->ranks[rank]];
    snprintf(topology->source, sizeof topology->source, "of the whole that this is a part of: %.250s",
             heritage->whole->source);
    return WEFT_OK;
}

void comm_topology_open(struct weft_comm *comm, const struct topology_heritage *heritage, uint64_t *token)
{
    struct comm_topology *topology = &comm->topology;
    const char *wanted = config_get()->topology;
    *topology = (struct comm_topology){.origin = ORIGIN_NOWHERE};
    *token = 0;
    if (heritage && heritage->whole->graph) {
        topology->origin = ORIGIN_PARENT;
        topology->failed = heritage_take(comm, heritage, topology);
    } else if (strcmp(wanted, "none") == 0) {
        snprintf(topology->in_order_why, sizeof topology->in_order_why, "WEFT_TOPOLOGY=none");
        *token = 1;
        return;
    } else if (strcmp(wanted, "discover") == 0) {
        topology->origin = ORIGIN_DISCOVERED;
        *token = 2;
        return;
    } else if (wanted[0]) {
        topology->origin = ORIGIN_FILE;
        topology->failed = file_read(comm, wanted, topology);
    } else {
        return;
    }
    *token = TOKEN_FAILED;
    if (topology->failed != WEFT_OK) return;
    topology->hash = topology_hash(topology->graph);
    *token = topology->hash < 3 || topology->hash == TOKEN_FAILED ? 3 : topology->hash;
}

/* ---- Do all have the same? ---- */

/* What a rank says of itself where they differ: status and token, then a sentence. */
enum { RECORD_HEADER_BYTES = 12, RECORD_TEXT_BYTES = 200 };

struct record {
    weft_status status;
    uint64_t token;
    char text[RECORD_TEXT_BYTES];
};

static weft_status record_read(const struct weft_comm *comm, uint32_t rank, struct record *record)
{
    size_t size;
    const uint8_t *bytes = control_share(comm->control, rank, &size);
    if (size != RECORD_HEADER_BYTES + RECORD_TEXT_BYTES) return WEFT_PROTOCOL_ERROR;
    record->status = (weft_status)bytes_get_u32(bytes);
    record->token = bytes_get_u64(bytes + 4);
    memcpy(record->text, bytes + RECORD_HEADER_BYTES, RECORD_TEXT_BYTES);
    record->text[RECORD_TEXT_BYTES - 1] = '\0';
    return WEFT_OK;
}

static weft_status records_gather(struct weft_comm *comm, uint64_t token, struct record *records,
                                  struct diagnostic *diagnostic)
{
    const struct comm_topology *topology = &comm->topology;
    uint8_t bytes[RECORD_HEADER_BYTES + RECORD_TEXT_BYTES] = {0};
    char host[65] = "?", *text = (char *)bytes + RECORD_HEADER_BYTES;
    gethostname(host, sizeof host - 1);
    bytes_put_u32(bytes, (uint32_t)topology->failed);
    bytes_put_u64(bytes + 4, token);
    if (topology->failed != WEFT_OK)
        snprintf(text, RECORD_TEXT_BYTES, "%.150s (on host %.30s)", topology->failure.text, host);
    else
        snprintf(text, RECORD_TEXT_BYTES, "%.110s on host %.30s, hash %016llx",
                 topology->source[0]                     ? topology->source
                 : topology->origin == ORIGIN_DISCOVERED ? "discover"
                 : topology->in_order_why[0]             ? "none"
                                                         : "WEFT_TOPOLOGY unset",
                 host, (unsigned long long)topology->hash);
    weft_status status = control_gather(comm->control, bytes, sizeof bytes, NULL, NULL, comm->deadline_ns, diagnostic);
    for (uint32_t rank = 0; status == WEFT_OK && rank < comm->identity.rank_count; rank++)
        if (record_read(comm, rank, &records[rank]) != WEFT_OK)
            status = diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "rank %u says of its topology what no correct rank says",
                              rank);
    return status;
}

/* The token that most ranks have; of several the one that the lowest rank has. */
static uint64_t usual_token(const struct record *records, uint32_t count)
{
    uint64_t usual = records[0].token;
    uint32_t most = 0;
    for (uint32_t rank = 0; rank < count && most < count - rank; rank++) {
        uint32_t same = 0;
        for (uint32_t other = 0; other < count; other++) same += records[other].token == records[rank].token;
        if (same > most) most = same, usual = records[rank].token;
    }
    return usual;
}

/* The same sentence on every rank: they all have the same records. */
static weft_status say_difference(const struct record *records, uint32_t count, struct diagnostic *diagnostic)
{
    for (uint32_t rank = 0; rank < count; rank++)
        if (records[rank].status != WEFT_OK)
            return diagnose(diagnostic, records[rank].status, "rank %u: %.220s", rank, records[rank].text);
    uint64_t usual = usual_token(records, count);
    uint32_t as_usual = 0, differ = 0, shown = 0;
    char list[80] = "";
    while (records[as_usual].token != usual) as_usual++;
    for (uint32_t rank = 0; rank < count; rank++) {
        if (records[rank].token == usual) continue;
        size_t used = strlen(list);
        if (differ++ == 0) shown = rank;
        if (differ <= DIFFERENCES_SHOWN) snprintf(list + used, sizeof list - used, differ == 1 ? "%u" : ", %u", rank);
        if (differ == DIFFERENCES_SHOWN + 1) snprintf(list + used, sizeof list - used, ", ...");
    }
    return diagnose(diagnostic, WEFT_MISMATCH,
                    "%s %s (%u of %u) ha%s another topology than rank %u: %.80s; rank %u: %.80s",
                    differ == 1 ? "rank" : "ranks", list, differ, count, differ == 1 ? "s" : "ve", as_usual,
                    records[shown].text, as_usual, records[as_usual].text);
}

static weft_status differ(struct weft_comm *comm, uint64_t token, struct diagnostic *diagnostic)
{
    uint32_t count = comm->identity.rank_count;
    struct record *records = calloc(count, sizeof *records);
    if (!records) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory to compare topologies");
    weft_status status = records_gather(comm, token, records, diagnostic);
    if (status == WEFT_OK) status = say_difference(records, count, diagnostic);
    free(records);
    return status;
}

/* ---- Planning ---- */

static bool is_rank_0(const void *context, uint32_t rank)
{
    (void)context;
    return rank == 0;
}

/* What rank 0 tells: the hash of the graph that it has planned for, then a book, or nothing but why there is none. */
enum { BOOK_SENT = 1, BOOK_HEADER_BYTES = 12 };

static uint8_t *book_tell(const struct weft_comm *comm, size_t *size)
{
    const struct comm_topology *topology = &comm->topology;
    const struct book_request request = {.topology = topology->graph,
                                         .nodes = topology->nodes,
                                         .rank_count = comm->identity.rank_count,
                                         .channel_limit = TOPOLOGY_CHANNELS_MAX};
    struct book *book = NULL;
    struct diagnostic why = {0};
    uint8_t *bytes = NULL, *told;
    size_t book_size = 0;
    weft_status status = request.rank_count <= SEARCHED_RANKS_MAX
                             ? book_make(&request, &book, &why)
                             : diagnose(&why, WEFT_RESOURCE_LIMIT, "%u ranks are too many to search for, at most %d",
                                        request.rank_count, SEARCHED_RANKS_MAX);
    if (status == WEFT_OK) status = book_encode(book, &bytes, &book_size);
    book_free(book);
    if (status == WEFT_OK && book_size > CONTROL_SHARE_BYTES_MAX - BOOK_HEADER_BYTES)
        status = diagnose(&why, WEFT_RESOURCE_LIMIT, "its rings and trees are too many to tell");
    if (status != WEFT_OK) book_size = strlen(why.text);
    told = malloc(BOOK_HEADER_BYTES + book_size + 1);
    if (told) {
        bytes_put_u64(told, topology->hash);
        bytes_put_u32(told + 8, status == WEFT_OK ? BOOK_SENT : 0);
        memcpy(told + BOOK_HEADER_BYTES, status == WEFT_OK ? bytes : (const uint8_t *)why.text, book_size);
    }
    free(bytes);
    *size = told ? BOOK_HEADER_BYTES + book_size : 0;
    return told;
}

static weft_status book_take(struct weft_comm *comm, const uint8_t *bytes, size_t size, struct diagnostic *diagnostic)
{
    struct comm_topology *topology = &comm->topology;
    if (size < BOOK_HEADER_BYTES)
        return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "rank 0 had no memory to plan for the topology");
    if (bytes_get_u64(bytes) != topology->hash)
        return diagnose(
            diagnostic, WEFT_MISMATCH,
            "rank %u has built another topology (hash %016llx) of what hosts have told than rank 0 (%016llx)",
            comm->identity.rank, (unsigned long long)topology->hash, (unsigned long long)bytes_get_u64(bytes));
    if (bytes_get_u32(bytes + 8) == BOOK_SENT)
        return book_decode(bytes + BOOK_HEADER_BYTES, size - BOOK_HEADER_BYTES, comm->identity.rank_count,
                           &topology->book, diagnostic);
    snprintf(topology->in_order_why, sizeof topology->in_order_why, "%.*s", (int)(size - BOOK_HEADER_BYTES),
             (const char *)bytes + BOOK_HEADER_BYTES);
    if (comm->identity.rank == 0 && topology->origin == ORIGIN_FILE)
        log_warning("ranks stay in order: %s", topology->in_order_why);
    return WEFT_OK;
}

static void links_fill(struct comm_topology *topology, uint32_t rank_count)
{
    const struct weft_plan shaped = {.rank_count = rank_count};
    for (int c = 0; c < WEFT_COLLECTIVE_COUNT; c++) {
        struct weft_plan plan = shaped;
        plan.collective = (weft_collective)c;
        for (int a = 0; a < WEFT_ALGORITHM_COUNT; a++) {
            const struct book_entry *entry = &topology->book->entries[c][a];
            if (entry->algbw > 0) topology->links.byte_ns[c][a] = 1e9 * (double)plan_block_count(&plan) / entry->algbw;
            topology->links.messages[c][a] = entry->messages;
            topology->links.arranged[c][a] = entry->arrangement < ARRANGEMENT_KIND_COUNT;
        }
    }
}

static weft_status book_agree(struct weft_comm *comm, struct diagnostic *diagnostic)
{
    uint8_t *told = NULL;
    size_t size = 0;
    if (comm->identity.rank == 0) told = book_tell(comm, &size);
    weft_status status = control_gather(comm->control, told, size, is_rank_0, NULL, comm->deadline_ns, diagnostic);
    free(told);
    if (status != WEFT_OK) return status;
    const uint8_t *bytes = control_share(comm->control, 0, &size);
    status = book_take(comm, bytes, size, diagnostic);
    if (status == WEFT_OK && comm->topology.book) links_fill(&comm->topology, comm->identity.rank_count);
    return status;
}

/* ---- Groups ---- */

/*
 * Hosts, and parts of them where a graph says so. A graph's hosts are those of the ranks, or what a file has told that
 * they are to be taken for. Where all go over a network, one host or not, each rank is a group while they are few, so
 * that everybody sends to everybody at once; but not where ranks share processors, whose time all these sends take.
 */
static weft_status groups_find(struct weft_comm *comm, struct diagnostic *diagnostic)
{
    enum { ALONE_RANKS_MAX = 16 };
    struct comm_topology *topology = &comm->topology;
    uint32_t ranks = comm->identity.rank_count, *hosts = NULL;
    bool one_host = comm->local_rank_count == ranks;
    bool memory = config_get()->transport != TRANSPORT_TCP && config_get()->transport != TRANSPORT_VERBS;
    bool alone = one_host && !memory && ranks <= ALONE_RANKS_MAX && comm->crowd <= 1;
    weft_status status = WEFT_UNSUPPORTED;
    if (topology->graph) status = grouping_of_places(topology->graph, topology->nodes, ranks, &topology->grouping);
    if (status == WEFT_UNSUPPORTED && (!one_host || alone)) {
        hosts = calloc(ranks, sizeof *hosts);
        if (!hosts || !control_hosts(comm->control, hosts)) status = WEFT_OUT_OF_MEMORY;
        for (uint32_t rank = 0; hosts && one_host && rank < ranks; rank++) hosts[rank] = rank;
        if (status == WEFT_UNSUPPORTED) status = grouping_of_hosts(hosts, ranks, &topology->grouping);
        free(hosts);
    }
    if (status == WEFT_UNSUPPORTED) return WEFT_OK;
    if (status != WEFT_OK) return diagnose(diagnostic, status, "no memory for groups of ranks");
    topology->links.groups = (struct select_groups){.count = topology->grouping.count,
                                                    .largest = topology->grouping.largest,
                                                    .levels = topology->grouping.layout.level_count,
                                                    .within = memory && !one_host ? &cost_model_shm : NULL};
    return WEFT_OK;
}

/* ---- All of it ---- */

static weft_status discover(struct weft_comm *comm, struct diagnostic *diagnostic)
{
    weft_topology *graph;
    weft_status status = topology_discover_hosts(comm->control, comm->identity.rank, comm->identity.rank_count,
                                                 comm->deadline_ns, &comm->topology, &graph, diagnostic);
    if (status != WEFT_OK) return status;
    if (graph_own(&comm->topology, graph)) return WEFT_OK;
    return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for what hosts have discovered");
}

/* One rank's own trouble, which the others would otherwise wait for. */
static void report(struct weft_comm *comm, weft_status status, const struct diagnostic *why)
{
    weft_failure failure = {.size = sizeof failure,
                            .status = status,
                            .rank = (int32_t)comm->identity.rank,
                            .other_rank = -1,
                            .reporter_rank = (int32_t)comm->identity.rank,
                            .track = -1,
                            .step = -1};
    snprintf(failure.message, sizeof failure.message, "%s", why->text);
    if (!control_failed(comm->control)) control_report(comm->control, &failure);
}

weft_status comm_topology_settle(struct weft_comm *comm, struct diagnostic *diagnostic)
{
    struct comm_topology *topology = &comm->topology;
    uint32_t ranks = comm->identity.rank_count;
    uint64_t least, most;
    control_tokens(comm->control, &least, &most);
    if (least != most) return differ(comm, comm->topology_token, diagnostic);
    if (topology->failed != WEFT_OK) return diagnose(diagnostic, topology->failed, "%s", topology->failure.text);
    bool one_host = comm->local_rank_count == ranks;
    if (!topology->graph && !topology->in_order_why[0] && one_host && topology->origin == ORIGIN_NOWHERE)
        snprintf(topology->in_order_why, sizeof topology->in_order_why,
                 "all ranks are on one host, over shared memory; WEFT_TOPOLOGY names a file, or says \"discover\"");
    weft_status status = WEFT_OK;
    if (!topology->graph && !topology->in_order_why[0]) status = discover(comm, diagnostic);
    if (status == WEFT_OK && topology->graph) status = book_agree(comm, diagnostic);
    if (status == WEFT_OK) status = groups_find(comm, diagnostic);
    if (status != WEFT_OK) report(comm, status, diagnostic);
    return status;
}

void comm_topology_close(struct weft_comm *comm)
{
    graph_release(&comm->topology);
    free(comm->topology.nodes);
    book_free(comm->topology.book);
    grouping_free(&comm->topology.grouping);
    comm->topology = (struct comm_topology){0};
}

const weft_plan_layout *comm_layout(const struct weft_comm *comm, weft_collective collective, weft_algorithm algorithm)
{
    if (algorithm == WEFT_ALGORITHM_HIERARCHICAL)
        return comm->topology.grouping.numbers ? &comm->topology.grouping.layout : NULL;
    return comm->topology.book ? book_layout(comm->topology.book, collective, algorithm) : NULL;
}

const struct select_links *comm_links(const struct weft_comm *comm)
{
    return comm->topology.book || comm->topology.grouping.numbers ? &comm->topology.links : NULL;
}
