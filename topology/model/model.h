/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One typed graph of a machine or a cluster: what contains what (a forest of nodes), and how data gets from one to the
 * other (links). Readers build it node by node, topology_seal() checks it once, and from then on it is only read.
 *
 * Pure: no I/O, no clock, no threads. A sealed topology may be read by any number of threads.
 * Owner: the topology owns all strings and arrays; everything given to it is copied.
 * Units: bytes, bytes per second, seconds.
 */
#ifndef TOPOLOGY_MODEL_H
#define TOPOLOGY_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <weft/topology.h>

#include "base/arena.h"
#include "base/diagnostic.h"

/* No such node, link or number. */
#define TOPOLOGY_NONE UINT32_MAX
/* Of topology->notes; more are only counted. */
#define TOPOLOGY_NOTES_KEPT 100

/*
 * X(KIND, name in JSON)
 * PCI_DEVICE   on a PCI bus, and nobody said what it is
 * AGGREGATION  sums inside the network, beside a switch: on the fabric, but neither a host nor an endpoint
 */
#define TOPOLOGY_NODE_KINDS(X)                                                                                         \
    X(HOST, "host")                                                                                                    \
    X(PACKAGE, "package")                                                                                              \
    X(NUMA, "numa_node")                                                                                               \
    X(CACHE, "cache")                                                                                                  \
    X(CORE, "core")                                                                                                    \
    X(PCI_BRIDGE, "pci_bridge")                                                                                        \
    X(GPU, "gpu")                                                                                                      \
    X(NIC, "nic")                                                                                                      \
    X(NVSWITCH, "nvswitch")                                                                                            \
    X(PCI_DEVICE, "pci_device")                                                                                        \
    X(AGGREGATION, "aggregation_node")                                                                                 \
    X(SWITCH, "switch")

/*
 * MEMORY        a NUMA node's memory and what reads it: a package, a PCI host bridge
 * INTERCONNECT  two packages of a host (UPI, xGMI, ...)
 * PCI           a device or bridge and the bridge, package or host above it
 * ATTACHED      a device and its host, by a bus that cannot be seen from here (a virtual machine, a container)
 * NVLINK        GPUs and NVSwitches, also of several hosts; a GPU and its package (NVLink-C2C)
 * XGMI          two GPUs, or a GPU and its package, over AMD's Infinity Fabric
 * NETWORK       NICs, switches and aggregation nodes; a host where nothing is known about its NICs
 */
#define TOPOLOGY_LINK_KINDS(X)                                                                                         \
    X(MEMORY, "memory")                                                                                                \
    X(INTERCONNECT, "interconnect")                                                                                    \
    X(PCI, "pci")                                                                                                      \
    X(ATTACHED, "attached")                                                                                            \
    X(NVLINK, "nvlink")                                                                                                \
    X(XGMI, "xgmi")                                                                                                    \
    X(NETWORK, "network")

/*
 * Where a figure came from. REPORTED is what a device or its driver says about itself; DATASHEET follows from the
 * standard or the data sheet of what was found; MEASURED was timed.
 */
#define TOPOLOGY_FIGURE_SOURCES(X)                                                                                     \
    X(UNKNOWN, "unknown")                                                                                              \
    X(FILE, "file")                                                                                                    \
    X(DATASHEET, "datasheet")                                                                                          \
    X(REPORTED, "reported")                                                                                            \
    X(MEASURED, "measured")

#define TOPOLOGY_ENUM_NODE(kind, name) NODE_##kind,
#define TOPOLOGY_ENUM_LINK(kind, name) LINK_##kind,
#define TOPOLOGY_ENUM_FIGURE(source, name) FIGURE_##source,
enum node_kind { TOPOLOGY_NODE_KINDS(TOPOLOGY_ENUM_NODE) NODE_KIND_COUNT };
enum link_kind { TOPOLOGY_LINK_KINDS(TOPOLOGY_ENUM_LINK) LINK_KIND_COUNT };
enum figure_source { TOPOLOGY_FIGURE_SOURCES(TOPOLOGY_ENUM_FIGURE) FIGURE_SOURCE_COUNT };
#undef TOPOLOGY_ENUM_NODE
#undef TOPOLOGY_ENUM_LINK
#undef TOPOLOGY_ENUM_FIGURE

/* A number and where it came from; all zeros is "unknown". */
struct figure {
    double value;
    enum figure_source source;
};

/* X(KIND, name in JSON) */
#define RDMA_LINK_LAYERS(X)                                                                                            \
    X(UNKNOWN, "unknown")                                                                                              \
    X(INFINIBAND, "infiniband")                                                                                        \
    X(ETHERNET, "ethernet")
#define RDMA_GID_TYPES(X)                                                                                              \
    X(INFINIBAND, "infiniband")                                                                                        \
    X(ROCE_V1, "roce_v1")                                                                                              \
    X(ROCE_V2, "roce_v2")

#define RDMA_ENUM_LINK_LAYER(kind, name) RDMA_LINK_##kind,
#define RDMA_ENUM_GID_TYPE(kind, name) RDMA_GID_##kind,
enum rdma_link_layer { RDMA_LINK_LAYERS(RDMA_ENUM_LINK_LAYER) RDMA_LINK_LAYER_COUNT };
enum rdma_gid_type { RDMA_GID_TYPES(RDMA_ENUM_GID_TYPE) RDMA_GID_TYPE_COUNT };
#undef RDMA_ENUM_LINK_LAYER
#undef RDMA_ENUM_GID_TYPE

/* One entry of a port's address table; an IPv4 address stands in it as ::ffff:a.b.c.d. */
struct rdma_gid {
    uint32_t index; /* in the table, which has holes */
    enum rdma_gid_type type;
    uint8_t bytes[16];
    const char *interface; /* the network interface whose address it is, or NULL */
};

struct rdma_port {
    uint32_t number; /* from 1 */
    enum rdma_link_layer link_layer;
    const char *state;            /* "ACTIVE", "DOWN", ... in the kernel's words, or NULL */
    const char *physical_state;   /* "LinkUp", "Disabled", ... or NULL */
    struct figure bandwidth;      /* line rate, each direction */
    uint32_t interface_mtu_bytes; /* of the network interface, which bounds the path's; 0: unknown */
    const struct rdma_gid *gids;
    uint32_t gid_count;
    const char *not_used; /* why weft leaves it alone, as in "the port is DOWN"; NULL: it may be used */
};

/* What a NIC offers beside its network interface: RDMA ports. */
struct rdma_device {
    const char *firmware; /* its version, or NULL */
    uint64_t node_guid;   /* 0: unknown */
    uint32_t numa_node;   /* the operating system's number, or TOPOLOGY_NONE */
    const struct rdma_port *ports;
    uint32_t port_count;
};

/* Where a device sits on its PCI bus and what it is. `present` is false for what was not found on a PCI bus. */
struct pci_identity {
    bool present;
    uint32_t domain;
    uint8_t bus, device, function;
    uint16_t vendor_id, device_id; /* 0: unknown */
    uint32_t class_code;           /* base class, subclass, interface: 0x030200; 0: unknown */
};

struct topology_node {
    enum node_kind kind;
    uint32_t parent;                                /* the node that contains it, or TOPOLOGY_NONE */
    uint32_t first_child, last_child, next_sibling; /* kept by topology_add_node() */
    const char *name;                               /* not empty; unique among the siblings of its kind */
    const char *model;                              /* what a person calls it, or NULL */
    uint32_t os_index;                              /* the operating system's number, or TOPOLOGY_NONE */
    uint64_t bytes;                                 /* NUMA node, GPU: memory; cache: size; else 0 */
    uint32_t cache_level; /* cache: 1 or more, 0 for one on the side of a NUMA node's memory; else 0 */
    const uint32_t *cpus; /* the operating system's numbers of a core's CPUs; of a package's where its cores are not
                             known one by one */
    uint32_t cpu_count;
    const char *architecture; /* GPU: "sm_90", "gfx942"; or NULL */
    uint64_t guid;            /* NIC, switch, aggregation node: its 64-bit identity on the fabric; 0: unknown */
    bool has_rank;            /* was this GPU or host given a rank where the topology comes from */
    uint32_t rank;            /* 0 without has_rank */
    struct pci_identity pci;
    const char *verbs_device;       /* NIC: its RDMA device ("mlx5_0"), or NULL */
    const struct rdma_device *rdma; /* NIC: what is known of it, or NULL; see topology_set_rdma() */
    struct figure port_bandwidth;   /* NIC: line rate towards the fabric, each direction */
    struct figure port_latency;     /* NIC: what it adds to a message, one way */
};

struct topology_link {
    enum link_kind kind;
    uint32_t from, to;               /* node indices, different */
    struct figure bandwidth;         /* from -> to; a known 0 means nothing goes that way */
    struct figure reverse_bandwidth; /* to -> from */
    struct figure latency;           /* one way */
    const char *name;                /* "PCIe 5.0 x16", or NULL */
    uint32_t count;                  /* equal links side by side that this one stands for; 0 means 1 */
    uint32_t from_port, to_port;     /* NETWORK: the ports at both ends, from 1; 0: unknown */
};

/*
 * A square matrix of numbers between some nodes, as firmware states them: "NUMALatency" in units of a node's distance
 * to itself (ACPI's SLIT says 10). What is a bandwidth of a link stands in links.
 */
struct topology_distances {
    const char *name;
    const uint32_t *nodes;
    uint32_t node_count;
    const double *values; /* from nodes[i] to nodes[j]: [i * node_count + j] */
};

/* X(KIND, name in JSON): the order in which a channel's nodes stand in a line, in a ring, or as a tree's hops. */
#define TOPOLOGY_CHANNEL_KINDS(X)                                                                                      \
    X(RING, "ring")                                                                                                    \
    X(TREE, "tree")                                                                                                    \
    X(OTHER, "other")
#define TOPOLOGY_ENUM_CHANNEL(kind, name) CHANNEL_##kind,
enum channel_kind { TOPOLOGY_CHANNEL_KINDS(TOPOLOGY_ENUM_CHANNEL) CHANNEL_KIND_COUNT };
#undef TOPOLOGY_ENUM_CHANNEL

/* A path over nodes that another program chose, as NCCL's graph files say them. */
struct topology_channel {
    enum channel_kind kind;
    const char *name;      /* "graph 0 channel 1" */
    const uint32_t *nodes; /* in order: NIC in, GPUs, NIC out; NICs are left out inside one host */
    uint32_t node_count;
    struct figure bandwidth;         /* of the channel inside a host */
    struct figure network_bandwidth; /* between hosts */
};

struct weft_topology {
    struct arena arena;
    struct topology_node *nodes;
    struct topology_link *links;
    uint32_t node_count, node_capacity;
    uint32_t link_count, link_capacity;
    struct topology_distances *distances;
    uint32_t distances_count, distances_capacity;
    struct topology_channel *channels;
    uint32_t channel_count, channel_capacity;
    const char **notes; /* sentences for a person: what the source says and the graph does not */
    uint32_t note_count, note_capacity;
    const char *format;             /* the format that it was read from, for a person; NULL: none. Not owned. */
    uint32_t first_root, last_root; /* nodes without a parent, chained by next_sibling */
    uint32_t *incident;             /* after sealing: link indices, grouped by node */
    uint32_t *incident_start;       /* node_count + 1 offsets into it */
    bool failed;                    /* ran out of memory while building */
};

/* An empty topology, or NULL when out of memory. weft_topology_destroy() frees it at any time. */
weft_topology *topology_new(void);

/*
 * Copy @p node (its kind, name and attributes; its children are ignored) under @p node->parent, which must have been
 * added before. Returns its index. Running out of memory is remembered: TOPOLOGY_NONE now, an error from
 * topology_seal() later; passing TOPOLOGY_NONE on to topology_add_link() is harmless then.
 */
uint32_t topology_add_node(weft_topology *topology, const struct topology_node *node);
uint32_t topology_add_link(weft_topology *topology, const struct topology_link *link);

/* Copy a matrix or a channel; the nodes that they name must have been added before. */
void topology_add_distances(weft_topology *topology, const struct topology_distances *distances);
void topology_add_channel(weft_topology *topology, const struct topology_channel *channel);
/* Remember a sentence for a person. After the first TOPOLOGY_NOTES_KEPT only how many more there were. */
__attribute__((format(printf, 2, 3))) void topology_note(weft_topology *topology, const char *format, ...);

/*
 * Say what is known of the RDMA device @p name, for the NIC @p node that has one; everything is copied. Call it before
 * sealing.
 */
void topology_set_rdma(weft_topology *topology, uint32_t node, const char *name, const struct rdma_device *rdma);

/* May a node of kind @p parent (NODE_KIND_COUNT: no node at all) directly contain one of kind @p kind? */
bool topology_may_contain(enum node_kind parent, enum node_kind kind);

/*
 * Check every invariant and build the index by node. WEFT_BAD_FORMAT with a sentence that names the node or link;
 * WEFT_OUT_OF_MEMORY.
 *  - A parent comes before its children, its kind may contain theirs, and they nest at most 256 deep; hosts stand at
 *    the top, and so do switches.
 *  - Names are not empty and differ among the siblings of a kind.
 *  - A link joins two different nodes of kinds that its kind may join; all but NVLINK and NETWORK stay in one host.
 *    Two nodes may have several.
 *  - Figures are finite and not negative; an unknown one is 0; a link lets something through in one direction at least.
 *  - Every GPU, NIC and switch in a host has a link.
 *  - Only NICs have RDMA devices; their ports are numbered from 1 upwards.
 */
weft_status topology_seal(weft_topology *topology, struct diagnostic *diagnostic);
/* The same checks on a topology in any state, changing nothing. */
weft_status topology_check(const weft_topology *topology, struct diagnostic *diagnostic);

/*
 * A hash of everything but the notes and the format: equal topologies have equal ones, on every machine. Nodes and
 * links are in their order, so that it tells apart what is the same graph with other indices.
 */
uint64_t topology_hash(const weft_topology *topology);
/* Compared without a hash: all that topology_hash() covers. False when out of memory. */
bool topology_equal(const weft_topology *one, const weft_topology *other);

/* The checks of one node or link alone, for a reader that can still say where it read it. */
weft_status topology_check_node(const weft_topology *topology, uint32_t node, struct diagnostic *diagnostic);
weft_status topology_check_link(const weft_topology *topology, uint32_t link, struct diagnostic *diagnostic);

/* The links at @p node of a sealed topology: *count link indices, owned by the topology. */
const uint32_t *topology_links_of(const weft_topology *topology, uint32_t node, uint32_t *count);
/* The host that contains @p node, itself included; TOPOLOGY_NONE for a switch outside of hosts. */
uint32_t topology_host_of(const weft_topology *topology, uint32_t node);

const char *topology_node_kind_name(enum node_kind kind);
const char *topology_link_kind_name(enum link_kind kind);
const char *topology_figure_source_name(enum figure_source source);
const char *topology_channel_kind_name(enum channel_kind kind);
const char *rdma_link_layer_name(enum rdma_link_layer link_layer);
const char *rdma_gid_type_name(enum rdma_gid_type type);

/* What a link of a PCI Express generation (1 to 6) and width delivers each way, in bytes per second; 0 out of range. */
double topology_pci_bandwidth(uint32_t generation, uint32_t lane_count);
/* Is that a maker of display controllers nothing computes on: of management processors and of virtual machines? */
bool topology_pci_is_frame_buffer(uint16_t vendor_id);
/*
 * The same where only the product of lane rate and width is known, in GB/s after the line code, as hwloc states it.
 * Pairs that share a product (generation 3 x16, generation 4 x8) also share their bandwidth.
 */
double topology_pci_bandwidth_of_rate(double rate_gbps);
/* One way over one NVLink of a GPU of this compute capability (80 for 8.0); unknown where no data sheet says. */
struct figure topology_nvlink_bandwidth(uint32_t compute_capability);
#endif
