/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An InfiniBand fabric as text lists it (ibnetdiscover's output, ibsim's net files): nodes, and for each connected port
 * of theirs where its cable leads. So every cable stands there twice, once at each of its ends; both must agree, which
 * also finds a file that was cut off.
 *
 * Spans point into the source. Errors have been written to the diagnostic when a call returns one.
 */
#ifndef TOPOLOGY_FORMAT_FABRIC_H
#define TOPOLOGY_FORMAT_FABRIC_H

#include "topology/format/name_table.h"

enum fabric_kind {
    FABRIC_SWITCH,
    FABRIC_ADAPTER,
    FABRIC_ROUTER /* between subnets */
};

/* X(NAME, bits per second of one lane, after line code): InfiniBand Architecture Specification, volume 1 and 2. */
#define FABRIC_SPEEDS(X)                                                                                               \
    X(SDR, 2e9)                                                                                                        \
    X(DDR, 4e9)                                                                                                        \
    X(QDR, 8e9)                                                                                                        \
    X(FDR10, 10e9)                                                                                                     \
    X(FDR, 14.0625e9 * 64 / 66)                                                                                        \
    X(EDR, 25e9)                                                                                                       \
    X(HDR, 50e9)                                                                                                       \
    X(NDR, 100e9)                                                                                                      \
    X(XDR, 200e9)
#define FABRIC_ENUM_SPEED(name, lane_rate) FABRIC_##name,
enum fabric_speed { FABRIC_SPEED_UNKNOWN, FABRIC_SPEEDS(FABRIC_ENUM_SPEED) FABRIC_SPEED_COUNT };
#undef FABRIC_ENUM_SPEED

struct fabric_rate {
    uint8_t lanes; /* 1, 2, 4, 8 or 12; 0: unknown */
    enum fabric_speed speed;
};

struct fabric_node {
    enum fabric_kind kind;
    struct span id;             /* "S-0008f10400410015": what other nodes' ports call it */
    struct span description;    /* what its firmware or its host says of it; size 0: nothing */
    uint64_t guid, system_guid; /* 0: unknown; nodes of one case or card share the second */
    uint32_t device_id;         /* PCI; 0: unknown */
    uint32_t port_count;
    uint32_t line;        /* of its record */
    uint32_t first_port;  /* kept by fabric_build(), which sorts the ports; those of the next node follow */
    uint32_t in_topology; /* kept by fabric_build() */
};

struct fabric_port {
    uint32_t node, number;
    struct span peer_id;
    uint32_t peer_port;
    struct fabric_rate rate;
    uint32_t line;
    uint32_t peer; /* kept by fabric_build(): the node that peer_id names */
};

struct fabric {
    const struct format_source *source;
    weft_topology *topology;
    struct diagnostic *diagnostic;
    struct fabric_node *nodes;
    struct fabric_port *ports;
    uint32_t node_count, node_capacity, port_count, port_capacity;
    struct name_table ids; /* to indices into nodes */
};

/* A node may be listed again (ibnetdiscover -g does so), in the same words; then *index is that of the first. */
weft_status fabric_add_node(struct fabric *fabric, const struct fabric_node *node, uint32_t *index);
/* Of a node that was added; the number is checked against its port_count. */
weft_status fabric_add_port(struct fabric *fabric, const struct fabric_port *port);
/*
 * After the last line: check that both ends of every cable agree, decide which adapters are in one host, and add it
 * all to the topology. A cable from a switch to itself is left out, with a note.
 */
weft_status fabric_build(struct fabric *fabric);
void fabric_free(struct fabric *fabric);

/* Adds one host for all adapters in it, and them; sets in_topology. The part of fabric_build() in fabric_hosts.c. */
weft_status fabric_add_hosts(struct fabric *fabric);

/* "EDR"; NULL for the unknown one. */
const char *fabric_speed_name(enum fabric_speed speed);
/*
 * PortInfo's codes have a bit for each width and speed. Several are what a port is allowed, as ibsim's files may say;
 * it then takes the best. 0: none of them.
 */
uint8_t fabric_lanes_of_code(uint64_t code);
enum fabric_speed fabric_speed_of_code(uint64_t code);
/* "4xEDR": at most 24 bytes with the end. "" when unknown. */
void fabric_rate_name(struct fabric_rate rate, char name[24]);
/* Each way; unknown where the rate is. */
struct figure fabric_rate_bandwidth(struct fabric_rate rate);
/* The lines that both formats share: fabric_text.c. */
/* Is its first word that of a node's record ("Switch")? And does all of it begin like one, as in 'Switch 24 "'? */
bool fabric_has_kind(struct span line);
bool fabric_is_header(struct span line);
/* Kind, port count, id and description of @p line, the walk's current one; the other fields are left alone. */
weft_status fabric_header_read(const struct fabric *fabric, const struct line_walk *walk, struct span line,
                               struct fabric_node *node);
/* A line that begins with "[": everything but the node. */
weft_status fabric_port_read(const struct fabric *fabric, const struct line_walk *walk, struct span line,
                             struct fabric_port *port);
#endif
