/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SIM_INTERNAL_H
#define TRANSPORT_SIM_INTERNAL_H

#include "transport/sim/sim.h"

#define SIM_MAX_PATHS 64

struct sim_connection;

/* Granted memory; direct stores of a peer may reach it after its owner is gone, as they may a mapping. */
struct sim_region {
    uint32_t references;
    uint8_t *bytes; /* 64-byte aligned, inside the same allocation */
};

/* Something that is to happen. */
enum sim_happening {
    SIM_LANDS,     /* the first put of connection's path `detail` */
    SIM_CONNECTED, /* connection */
    SIM_FAILS,     /* connection, with status `detail` */
    SIM_WRITABLE,  /* connection may have room again */
    SIM_STOPS,     /* connection's peer has asked it to stop */
    SIM_QUIET,     /* connection's peer has stopped */
    SIM_FAULT,     /* fault number `detail` */
};

struct sim_entry {
    uint64_t at_ns, serial; /* serial: what was planned first happens first, of things at one time */
    struct sim_connection *connection;
    uint32_t incarnation, detail;
    uint8_t happening;
};

/* queue.c: a binary heap; room is made beforehand, so that pushing cannot fail. */
struct sim_queue {
    struct sim_entry *entries;
    size_t count, capacity;
    uint64_t serial;
};
bool sim_queue_reserve(struct sim_queue *queue, size_t more);
void sim_queue_push(struct sim_queue *queue, struct sim_entry entry);
/* The first entry, or NULL. */
const struct sim_entry *sim_queue_first(const struct sim_queue *queue);
void sim_queue_pop(struct sim_queue *queue);

struct sim_put {
    struct put put;
    uint64_t lands_ns;
    struct sim_put *next;
};

struct sim_path {
    struct sim_put *first, **last; /* in the order of landing */
    uint64_t free_ns;              /* when its bandwidth is free again */
    uint64_t lands_ns;             /* of the last one */
    bool down;
};

enum sim_state { SIM_ENDED, SIM_CONNECTING, SIM_OPEN, SIM_FAILING, SIM_FAILED };

/*
 * One rank's end of a connection. It stays allocated from the first connect to the end of the fabric, so that a planned
 * happening of an earlier incarnation finds something to look at.
 */
struct sim_connection {
    struct connection base;
    struct sim_fabric *fabric;
    struct sim_connection *peer; /* the other end, of the same life while `joined` */
    uint32_t incarnation;
    uint8_t state;
    bool joined;    /* both ends take part */
    bool announced; /* our user knows that it is connected */
    bool severed;   /* what is put from now on is lost */
    bool refused, writable_planned;
    bool quiesce_asked, quiesced;
    bool stop_asked; /* the peer is to be told once our user knows */
    weft_status failure;
    struct sim_region *own, *remote;

    uint32_t outstanding,
        done_outstanding;             /* of queue_depth: puts not polled by the peer; LOCAL_DONE not polled by us */
    struct sim_put *puts, *free_puts; /* queue_depth of them */
    struct sim_path paths[SIM_MAX_PATHS];
    struct event *events; /* event_capacity, a ring */
    uint32_t event_first, event_count, event_capacity;
};

struct sim_endpoint {
    struct endpoint base;
    struct sim_fabric *fabric;
    uint32_t pending; /* events, of all connections */
    uint32_t active_count, active_next;
    struct sim_connection *active[]; /* rank_count */
};

struct sim_fabric {
    struct sim_config config;
    struct sim_fault *faults;
    struct random random;
    uint64_t now_ns, hash;
    struct sim_queue queue;
    uint32_t connection_count;       /* allocated ones */
    bool *dead;                      /* rank_count */
    struct sim_endpoint **endpoints; /* rank_count */
    struct sim_connection **ends;    /* [of * rank_count + to] */
};

/* fabric.c */
void sim_plan(struct sim_fabric *fabric, uint64_t at_ns, enum sim_happening happening,
              struct sim_connection *connection, uint32_t detail);
/* 0 to @p bound, both included. */
uint64_t sim_random_up_to(struct sim_fabric *fabric, uint64_t bound);
struct sim_connection *sim_end(const struct sim_fabric *fabric, uint32_t of, uint32_t to);

/* connection.c: operations, and what the clock does to a connection */
const struct transport_ops *sim_ops_of(const struct sim_config *config);
void sim_connection_happens(struct sim_connection *connection, enum sim_happening happening, uint32_t detail);
/* Lose what is under way, but for a random part that still lands; returns when the last of that does. */
uint64_t sim_connection_sever(struct sim_connection *connection);
void sim_connection_free(struct sim_connection *connection);

/* flight.c: puts between being accepted and landing */

/* False: refused. */
bool sim_flight_add(struct sim_connection *connection, const struct put *put);
/* The first put of @p path lands, if it is due. */
void sim_flight_land(struct sim_connection *connection, uint32_t path);
/* What is under way is lost: all of it, or from a random put of each path on. */
void sim_flight_cut(struct sim_connection *connection, bool randomly);
/* @p path is no more: its puts go by another. False: there is none. */
bool sim_flight_divert(struct sim_connection *connection, uint32_t path);
void sim_flight_reset(struct sim_connection *connection);
/* An event for this end's user. */
void sim_event_add(struct sim_connection *connection, enum event_kind kind, uint32_t tag, uint8_t path,
                   weft_status status);
/* There may be room for a put that was refused. */
void sim_writable_plan(struct sim_connection *connection, uint64_t at_ns);

/* lending.c: all ranks live in one process, so an address is good everywhere */
bool sim_lend(struct connection *connection, const void *address, size_t bytes, struct loan *loan);
void *sim_borrow(struct connection *connection, const struct loan *loan, size_t bytes);
weft_status sim_read(struct connection *connection, const struct loan *loan, uint64_t offset, void *to, size_t bytes);
weft_status sim_write(struct connection *connection, const struct loan *loan, uint64_t offset, const void *from,
                      size_t bytes);

/* faults.c */
void sim_fault_strike(struct sim_fabric *fabric, const struct sim_fault *fault);
/* How much longer a put from @p of to @p to takes now. */
uint64_t sim_fault_delay_ns(const struct sim_fabric *fabric, uint32_t of, uint32_t to);
bool sim_fault_is_valid(const struct sim_fault *fault, const struct sim_config *config);
#endif
