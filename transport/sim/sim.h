/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transport between ranks of one process and one thread, under a clock of its own. The caller lets every rank do what
 * it can, then steps the clock to the next thing that happens; what takes an hour takes no time, and what happens
 * happens again exactly for the same seed:
 *
 *     do {
 *         for (rank = 0; rank < n; rank++)
 *             if (sim_alive(fabric, rank)) operation_advance(operation[rank], sim_now_ns(fabric));
 *     } while (!all_done && sim_step(fabric));
 *     if (!all_done) they wait for each other for ever
 *
 * A put's bytes are read from its source when they land, and EVENT_LOCAL_DONE is told then: who changes a source too
 * early sends wrong bytes. Landing takes (bytes / bytes_per_s) on the path, one put after another, then latency_ns and
 * a random share of jitter_ns; puts of different paths overtake each other.
 */
#ifndef TRANSPORT_SIM_H
#define TRANSPORT_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/random.h"
#include "base/text.h"
#include "transport/core/transport.h"

enum sim_fault_kind {
    SIM_KILL_RANK,       /* rank: of what it had put, any part may still land, in order */
    SIM_DROP_CONNECTION, /* rank, peer: both sides are told, of what was under way any part may land */
    SIM_LOSE_PATH,       /* rank, peer, path: what was under way goes by another; the last path's loss is a drop */
    SIM_DELAY_PUTS,      /* rank, peer: puts from rank to peer between at_ns and until_ns take delay_ns longer */
    SIM_SLOW_RANK,       /* rank: the same for all puts from and to it */
    SIM_FAULT_KINDS
};

/* What connection_lend() comes to. Nothing of it takes time, as nothing does that a rank does itself. */
enum sim_lending {
    SIM_LENDS_NOTHING,
    SIM_LENDS_MAPPED,      /* connection_borrow() gives the peer's address */
    SIM_LENDS_COPIED,      /* it gives NULL; connection_read() and connection_write() copy */
    SIM_LENDS_UNMAPPED,    /* the same, though the owner says that it can be mapped: the borrower cannot */
    SIM_LENDS_SOME_MAPPED, /* what lies within sim_config.mapped is mapped, all else copied */
    SIM_LENDING_KINDS
};

struct sim_fault {
    enum sim_fault_kind kind;
    uint32_t rank, peer, path;
    uint64_t at_ns, until_ns, delay_ns;
};

struct sim_config {
    uint32_t rank_count;
    uint64_t seed;
    uint64_t latency_ns;
    uint64_t jitter_ns;
    uint64_t bytes_per_s;      /* of each path, each way; 0: no limit */
    uint32_t path_count;       /* between two ranks; 0 means 1 */
    uint32_t queue_depth;      /* puts of one connection that have not landed, or not been polled; 0 means 64 */
    uint32_t refuse_per_mille; /* of puts, at random; EVENT_WRITABLE follows */
    bool maps;                 /* connection_map() works: direct stores land at once */
    bool steady;               /* connections want PUT_STEADY; of such puts EVENT_LOCAL_DONE is told at once */
    bool lands;                /* connection.land is asked */
    enum sim_lending lending;
    const void *mapped; /* SIM_LENDS_SOME_MAPPED */
    size_t mapped_bytes;
    const struct sim_fault *faults;
    size_t fault_count;
};

struct sim_fabric;

/*
 * Errors: WEFT_INVALID_ARGUMENT (no ranks, a fault of a rank that is none, ...), WEFT_OUT_OF_MEMORY. @p config is
 * copied.
 */
weft_status sim_fabric_create(const struct sim_config *config, struct sim_fabric **fabric);
/* After its endpoints have been destroyed. NULL is allowed. */
void sim_fabric_destroy(struct sim_fabric *fabric);

/* One endpoint for each rank. WEFT_INVALID_ARGUMENT: no such rank, or it has one. */
weft_status sim_endpoint_create(struct sim_fabric *fabric, uint32_t rank, struct endpoint **endpoint);

uint64_t sim_now_ns(const struct sim_fabric *fabric);
/* On to the next instant at which something happens; false when nothing will, unless some rank does something. */
bool sim_step(struct sim_fabric *fabric);
/* Let everything happen that happens until then. */
void sim_advance_to(struct sim_fabric *fabric, uint64_t now_ns);

/* The same as SIM_KILL_RANK, now. The rank's endpoint and connections may only be ended then. */
void sim_kill(struct sim_fabric *fabric, uint32_t rank);
bool sim_alive(const struct sim_fabric *fabric, uint32_t rank);

/* Of all events given to all ranks so far, with their times: equal for equal runs. */
uint64_t sim_hash(const struct sim_fabric *fabric);
/* Everything that has to be known to run this again: for failure messages. */
void sim_describe(const struct sim_fabric *fabric, struct text *text);

/* Draw a fault of one of @p kinds (a mask of 1 << kind, not 0) within the first @p horizon_ns. rank_count >= 2. */
struct sim_fault sim_fault_draw(struct random *random, const struct sim_config *config, uint32_t kinds,
                                uint64_t horizon_ns);
#endif
