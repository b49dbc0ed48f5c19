/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft/topology.h: what a machine or a cluster consists of, without a communicator.
 */
#ifndef WEFT_TOPOLOGY_H
#define WEFT_TOPOLOGY_H

#include <stdbool.h>
#include <weft/types.h>
#include <weft/weft.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_topology weft_topology;

/**
 * Discover this machine: packages, NUMA nodes, caches, cores, PCI bridges, GPUs, NICs and the links between them.
 * Owner: the caller, weft_topology_destroy(). Thread: any.
 * Errors: WEFT_SYSTEM_ERROR, WEFT_OUT_OF_MEMORY.
 */
WEFT_API weft_status weft_topology_discover(weft_topology **topology);
/**
 * Read a file that describes a machine or a cluster: weft's own YAML, or what NCCL, RCCL, hwloc, InfiniBand's tools,
 * Slurm and nvidia-smi write. The format is recognised by the file's content; docs/formats/ lists them.
 * Owner: the caller, weft_topology_destroy(). Thread: any. *topology is untouched on error.
 * Errors, each with a sentence in @p error (256 bytes, may be NULL) that names file, line, what was found and what was
 * expected: WEFT_BAD_FORMAT, WEFT_UNSUPPORTED (recognised, and no topology), WEFT_SYSTEM_ERROR (the file cannot be
 * read), WEFT_OUT_OF_MEMORY.
 */
WEFT_API weft_status weft_topology_read(const char *path, weft_topology **topology, char *error);
/** The same from @p size bytes, which @p error calls @p name. */
WEFT_API weft_status weft_topology_parse(const char *name, const void *bytes, size_t size, weft_topology **topology,
                                         char *error);

/** NULL is allowed. */
WEFT_API void weft_topology_destroy(weft_topology *topology);

typedef struct weft_topology_counts {
    size_t size; /* sizeof(weft_topology_counts) of the caller, set before the call */
    uint32_t hosts, gpus, nics, switches, links;
    const char *format; /* that it was read from, for a person; NULL: from no file. The topology's */
} weft_topology_counts;
WEFT_API weft_status weft_topology_count(const weft_topology *topology, weft_topology_counts *counts);

/**
 * Describe for a person (WEFT_TEXT) or a program (WEFT_JSON: "hosts" "gpus" "nics" "switches" "links" counts and
 * "graph" with its "nodes" and "edges"; bandwidths in bytes per second, latencies in seconds).
 * *text is allocated; the caller frees it with free().
 */
WEFT_API weft_status weft_topology_print(const weft_topology *topology, weft_format format, char **text);

/**
 * Write in weft's own format, which says everything a topology holds: reading it gives an equal topology. Equal hosts
 * are written once. docs/formats/topology.md describes it.
 * *text is allocated; the caller frees it with free(). Errors: WEFT_INVALID_ARGUMENT, WEFT_OUT_OF_MEMORY.
 */
WEFT_API weft_status weft_topology_write(const weft_topology *topology, char **text);

/**
 * A hash of all that a topology holds but for its notes: equal topologies have equal ones on every machine. Thread: any.
 * 0 for NULL.
 */
WEFT_API uint64_t weft_topology_hash(const weft_topology *topology);

/**
 * What messages between two ranks of this machine were measured to cost: medians in nanoseconds, each with half of the
 * distance between its quartiles. Figures after `samples` are 0 where they were not measured.
 */
typedef struct weft_calibration {
    size_t size;           /* sizeof(weft_calibration) of the caller */
    const char *transport; /* "shm", "tcp", "verbs" */
    double message_ns;     /* a message, whatever its size */
    double byte_ns;        /* a byte that is sent and combined, in a stream of slices */
    double message_spread_ns, byte_spread_ns;
    uint32_t samples;
    double lone_byte_ns, lone_byte_spread_ns; /* a byte of a message that is one slice */
    /* Rounds of ranks that share memory: one of them; a byte that goes with it; a copy by the kernel, and its byte. */
    double round_ns, round_spread_ns;
    double cell_byte_ns, cell_byte_spread_ns;
    double copy_ns, copy_spread_ns;
    double copy_byte_ns, copy_byte_spread_ns;
    double exchange_ns; /* of a cache line between the ranks' processors, at the time */
} weft_calibration;

/**
 * Keep what was measured, in place of what was kept for that transport, for the communicators of later processes: in
 * the file that WEFT_CALIBRATION names, else in the user's cache (docs/formats/calibration.md). A file in the cache is
 * used where all ranks are on one host, a named one everywhere; ranks that read different figures end with
 * WEFT_MISMATCH at their first operation.
 * Thread: any; calls do not wait for each other, and the last one stays. *path (1024 bytes, may be NULL): where it is.
 * Errors: WEFT_INVALID_ARGUMENT (also WEFT_CALIBRATION=0), WEFT_SYSTEM_ERROR (errno says why), WEFT_OUT_OF_MEMORY.
 */
WEFT_API weft_status weft_calibration_store(const weft_calibration *measured, char *path);

/**
 * What to plan or simulate on a topology, with a rank on every GPU, or on every host where there is no GPU, in the
 * topology's order. Zeros are defaults.
 */
typedef struct weft_topology_request {
    size_t size;              /* sizeof(weft_topology_request) of the caller */
    weft_collective collective;
    weft_algorithm algorithm; /* WEFT_ALGORITHM_AUTO: all that there are, and the best is chosen */
    uint32_t root;            /* where the collective has one */
    uint64_t bytes;           /* of the message that is priced; 0: 256 MiB */
    uint32_t channel_count;   /* plans in rank order: rings or trees that share the message; 0: 1 */
    uint32_t slot_depth;      /* as in weft_plan_spec */
    uint32_t slice_count;     /* simulated slices of the largest chunk; 0: as a run has, unless they are too many */
    uint64_t budget_ns;       /* when the search returns the best so far; 0: 5 s */
    bool explain;             /* tell also what was found and considered, and why each candidate lost */
    /* Asked about twice a second; false ends the call with WEFT_REVOKED. May be NULL. */
    bool (*progress)(void *context, const char *what, double share_done);
    void *context;
} weft_topology_request;

/** What weft_topology_plan() and weft_topology_simulate() came to; bandwidths in bytes per second, 0 where unknown. */
typedef struct weft_topology_figures {
    size_t size; /* sizeof(weft_topology_figures) of the caller, set before the call */
    uint32_t rank_count;
    double ring_algbw, tree_algbw; /* plan: of the best rings and trees, latency left aside */
    double bound_algbw;            /* plan: no plan can have more */
    double gap;                    /* plan: the better of the two over the bound; 1 is optimal */
    weft_algorithm algorithm;      /* simulate: of the fastest candidate */
    double seconds, algbw, busbw;  /* simulate: what it takes */
} weft_topology_figures;

/**
 * Find the best rings and trees for a collective, and prove how good any could be.
 *
 * Text:   WEFT_TEXT for a person; WEFT_JSON: "ranks"; "rings", an array of {"order", "gbps"}; "trees", of {"root",
 *         "edges", "gbps"} with edges from parent to child; "ring_algbw_gbps", "tree_algbw_gbps", "bound_algbw_gbps",
 *         "gap"; and "explain" if asked. gbps are 1e9 bytes per second. The caller frees *text with free().
 * Bound:  by cuts and partitions of the topology (docs/design/search.md).
 * Thread: any; the topology is only read. @p figures and @p error (256 bytes) may be NULL.
 * Errors: WEFT_INVALID_ARGUMENT, WEFT_UNSUPPORTED (a collective without a bound; ranks that nothing joins),
 *         WEFT_REVOKED (progress said so), WEFT_OUT_OF_MEMORY; @p error says it in a sentence.
 */
WEFT_API weft_status weft_topology_plan(const weft_topology *topology, const weft_topology_request *request,
                                        weft_format format, weft_topology_figures *figures, char **text, char *error);

/**
 * Run a collective's plans on a simulated clock and tell what the fastest takes: its time, the load of every link, and
 * the transfers that each waited for the one before (the critical path). Links are shared max-min fairly. Whatever was
 * not simulated as it would be run is said ("coarse: ..."). Otherwise as weft_topology_plan().
 *
 * Text:   WEFT_JSON: "ranks" "collective" "algorithm" "plan" "bytes" "method" "time_us" "algbw_gbps" "busbw_gbps"
 *         "messages" "candidates" "links" "critical_path" "comparison".
 */
WEFT_API weft_status weft_topology_simulate(const weft_topology *topology, const weft_topology_request *request,
                                            weft_format format, weft_topology_figures *figures, char **text,
                                            char *error);

/**
 * A picture in the language of graphviz's dot. @p request NULL: the topology alone. Else links are coloured by load:
 * with @p request->bytes by what the simulated plan puts on them, without by what the best rings or trees do at full
 * rate. Otherwise as weft_topology_plan().
 */
WEFT_API weft_status weft_topology_draw(const weft_topology *topology, const weft_topology_request *request,
                                        char **text, char *error);

#ifdef __cplusplus
}
#endif
#endif
