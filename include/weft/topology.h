/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft/topology.h: what a machine or a cluster consists of, without a communicator.
 */
#ifndef WEFT_TOPOLOGY_H
#define WEFT_TOPOLOGY_H

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

#ifdef __cplusplus
}
#endif
#endif
