/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects: a device is the process's (device.c); a port is an endpoint's use of one (endpoint.c, queues.c); a rail is a
 * connection's use of a port (rail.c), with lanes on it, each a queue pair (lane.c). Rails are joined by rdma_cm
 * (manager.c) once the two ends have exchanged cards over the stream (stream.c, connection.c), which stays open: its
 * end is the peer's, and what becomes of rails is agreed over it.
 */
#ifndef TRANSPORT_VERBS_INTERNAL_H
#define TRANSPORT_VERBS_INTERNAL_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "transport/verbs/ledger.h"
#include "transport/verbs/verbs.h"
#include "transport/verbs/wire.h"

#define VERBS_RECEIVE_BATCH 16u
/* Requests that are no items: credits, and those that say when all before them are done, or flushed. */
#define VERBS_EXTRA_SENDS (LEDGER_RESERVE + 3u)

struct verbs_endpoint;
struct verbs_connection;

/* ---- device.c: a device of this process ---- */

struct verbs_device {
    LIST_ENTRY(verbs_device) link;
    char name[VERBS_DEVICE_NAME_BYTES];
    uint32_t users;
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_device_attr limits;
    /*
     * Whoever reads an event stores it where it belongs, releases `events`, and each endpoint that acquires a count it
     * has not seen looks at what is its own (verbs_device_take_events(), verbs_port_check()).
     */
    _Atomic uint32_t events;
    _Atomic uint32_t ports_down; /* a bit each */
    _Atomic bool removed;
};

weft_status verbs_device_open(const char *name, struct verbs_device **device, struct diagnostic *diagnostic);
void verbs_device_close(struct verbs_device *device);
/* Read what has happened, of any endpoint's. Does not block. */
void verbs_device_take_events(struct verbs_device *device);

/* ---- errors.c: what goes wrong, in words ---- */

/* "retry exceeded (transport retry counter exceeded)" */
const char *verbs_completion_text(enum ibv_wc_status status);
/* Why a completion status came about, for a person; "" where the name says all. */
const char *verbs_completion_hint(enum ibv_wc_status status);
struct verbs_async_meaning {
    enum ibv_event_type type;
    enum verbs_async_scope { ASYNC_QUEUE_PAIR, ASYNC_COMPLETION_QUEUE, ASYNC_PORT, ASYNC_DEVICE, ASYNC_OTHER } scope;
    bool fatal; /* to what it concerns */
    const char *text;
};
const struct verbs_async_meaning *verbs_async_meaning(enum ibv_event_type type);
weft_status verbs_status_of_errno(int error);
/* A sentence about memory that could not be registered: with ENOMEM, the limit and how to raise it. */
weft_status verbs_registration_failed(struct diagnostic *diagnostic, const char *device, size_t bytes, int error);

/* ---- queues.c: completion queues of a port ---- */

struct verbs_queue {
    LIST_ENTRY(verbs_queue) link;
    struct verbs_port *port;
    struct ibv_cq *cq;
    uint32_t capacity, used; /* entries */
    uint32_t unacknowledged; /* events of its channel */
    _Atomic uint8_t lost;    /* overrun: device.c releases, verbs_port_check() acquires */
};
LIST_HEAD(verbs_queue_list, verbs_queue);

struct verbs_port {
    struct verbs_endpoint *endpoint;
    struct verbs_rail config;
    struct verbs_device *device;
    uint32_t events_seen;
    bool down; /* port or device: no connection can be made */
    uint32_t inline_bytes;
    struct ibv_comp_channel *channel;
    struct verbs_queue_list queues;
    struct ibv_mr *staging;
    struct rdma_cm_id *listener;
    uint16_t listen_port;
};

/* A queue with room for @p entries more. NULL with errno. */
struct verbs_queue *verbs_queue_get(struct verbs_port *port, uint32_t entries);
void verbs_queue_put(struct verbs_queue *queue, uint32_t entries);
void verbs_queues_close(struct verbs_port *port);
/* Handle what is complete, up to a bound. True: there was something. */
bool verbs_queues_poll(struct verbs_port *port);
/* Have completions make the channel readable; false: there is something already. */
bool verbs_queues_arm(struct verbs_port *port);
void verbs_queues_disarm(struct verbs_port *port);

/* ---- staging.c: registered memory for copies of sources ---- */

struct verbs_block {
    struct verbs_block *next;     /* free */
    struct verbs_block **current; /* who puts more into it, or NULL */
    uint32_t users, used;         /* requests that read it; bytes taken */
};
struct verbs_staging {
    uint8_t *memory;
    size_t bytes;
    uint32_t block_count;
    struct verbs_block *blocks, *free;
};
#define VERBS_BLOCK_BYTES 65536u

weft_status verbs_staging_open(struct verbs_staging *staging, size_t bytes);
void verbs_staging_close(struct verbs_staging *staging);
/*
 * Room for up to @p *bytes in @p *current, or a new block in its place; *bytes becomes what fits. NULL: none for now.
 */
uint8_t *verbs_staging_take(struct verbs_staging *staging, struct verbs_block **current, uint32_t *bytes);
void verbs_staging_release(struct verbs_staging *staging, struct verbs_block *block);

/* ---- memory.c: what endpoint_memory_register() gives ---- */

weft_status verbs_memory_register(struct endpoint *endpoint, void *address, size_t bytes, void **registration,
                                  struct diagnostic *diagnostic);
void verbs_memory_deregister(struct endpoint *endpoint, void *registration);
/* NULL for NULL. */
const struct ibv_mr *verbs_registered_region(void *registration, const struct verbs_port *port);

/* ---- lane.c ---- */

struct verbs_lane {
    struct verbs_connection *connection;
    uint8_t index, rail;
    uint32_t slot;      /* in the endpoint's table, which completions name */
    uint8_t generation; /* of the queue pair, as well */
    struct rdma_cm_id *id;
    struct ibv_qp *qp; /* NULL: none */
    struct verbs_queue *queue;
    bool established;
    _Atomic uint8_t async;     /* an event of the queue pair + 1: device.c releases, verbs_port_check() acquires */
    uint32_t posted, complete; /* work requests, counting up */
    uint32_t signalled;        /* the last one that tells of its completion */
    uint32_t receives;         /* posted */
    uint32_t repost_count;
    uint16_t repost[VERBS_RECEIVE_BATCH]; /* slots to be posted again */
    struct verbs_block *block;            /* that copies are put into */
    struct verbs_waiting_link {
        TAILQ_ENTRY(verbs_lane) link;
        bool linked;
    } waiting; /* for staging */
};

weft_status verbs_lane_create_qp(struct verbs_lane *lane);
/* Bring it into a state with what rdma_cm knows. False with errno. */
bool verbs_lane_modify(struct verbs_lane *lane, enum ibv_qp_state state);
bool verbs_lane_post_receives(struct verbs_lane *lane);
/* Nothing is sent or received on it any more; completions of what was posted come. */
void verbs_lane_stop(struct verbs_lane *lane);
/* Have all of them come? */
bool verbs_lane_quiet(const struct verbs_lane *lane);
void verbs_lane_destroy(struct verbs_lane *lane);
/* Post what can be. */
void verbs_lane_advance(struct verbs_lane *lane);
/* Make sure that a completion will come after everything that is posted. */
void verbs_lane_mark(struct verbs_lane *lane);
void verbs_lane_completion(struct verbs_endpoint *endpoint, const struct ibv_wc *completion);
void verbs_item_release(void *context, struct ledger_item *item);

/* ---- rail.c ---- */

enum verbs_rail_state {
    RAIL_JOINING,  /* its lanes are being connected */
    RAIL_READY,    /* they are, and we have said so */
    RAIL_UP,       /* so has the peer */
    RAIL_DRAINING, /* it failed: completions are waited for */
    RAIL_QUIET,    /* none are left, and we have said so */
    RAIL_DOWN,     /* so has the peer, and what it had not received is given to other rails */
};

struct verbs_rail_end {
    struct verbs_port *port;
    uint8_t state;
    bool path_down; /* EVENT_PATH_DOWN is due */
    bool noted;     /* its loss is worth a warning */
    bool peer_ready, peer_down;
    uint32_t incarnation;  /* of its queue pairs; the dialling side counts */
    uint64_t since_ns;     /* of the state */
    struct wire_rail peer; /* its latest WIRE_READY or WIRE_DOWN of this incarnation */
    struct wire_card_rail peer_card;
    struct ibv_mr *region;
    struct ibv_mr *messages;
    uint64_t remote_address;
    uint32_t rkey;
    char reason[160];
};

/* Begin to connect its lanes (dialling), or to await them. */
void verbs_rail_join(struct verbs_rail_end *rail, struct verbs_connection *connection);
/* Take it out. The reason, a few words, is for the person who reads the log. */
__attribute__((format(printf, 3, 4))) void verbs_rail_fail(struct verbs_connection *connection, uint32_t rail,
                                                           const char *format, ...);
/* Go on with what can go on. */
void verbs_rail_advance(struct verbs_connection *connection, uint32_t rail);
/* The peer has sent WIRE_READY or WIRE_DOWN. */
weft_status verbs_rail_told(struct verbs_connection *connection, const struct wire_rail *said, const char **reason);
/* Once connected: rails that were not are lost for now. */
void verbs_rails_settle(struct verbs_connection *connection);
/* Stop all; for a connection that ends. */
void verbs_rails_stop(struct verbs_connection *connection);
bool verbs_rails_quiet(const struct verbs_connection *connection);
void verbs_rails_close(struct verbs_connection *connection);

/* ---- manager.c: rdma_cm ---- */

weft_status verbs_listen(struct verbs_port *port, struct diagnostic *diagnostic);
/* Begin to connect. False: it failed, with errno. */
bool verbs_lane_dial(struct verbs_lane *lane);
void verbs_manager_take_events(struct verbs_endpoint *endpoint);

/* ---- stream.c ---- */

#define STREAM_INPUT_BYTES (2u * WIRE_FRAME_MAX_BYTES)
#define STREAM_OUTPUT_BYTES 8192u

struct verbs_stream {
    int fd; /* -1: none */
    bool ended;
    uint32_t filled, unsent;
    uint8_t input[STREAM_INPUT_BYTES], output[STREAM_OUTPUT_BYTES];
};

weft_status verbs_stream_open(struct verbs_connection *connection, int fd);
void verbs_stream_close(struct verbs_connection *connection);
/* False: no room, which a peer that reads nothing for very long brings about, or out of service. */
bool verbs_stream_send(struct verbs_connection *connection, const uint8_t *frame, size_t bytes);
/* Read and write what can be; frames go to verbs_frame_take(). */
void verbs_stream_advance(struct verbs_connection *connection);

/* ---- connection.c ---- */

enum verbs_state {
    VERBS_REACHING, /* no stream */
    VERBS_GREETING, /* cards are exchanged */
    VERBS_JOINING,  /* rails are connected */
    VERBS_CONNECTED,
    VERBS_FAILING, /* EVENT_FAILED is due, after all that had arrived */
    VERBS_FAILED,
};
enum verbs_quiesce { VERBS_NOT_ASKED, VERBS_ASKED, VERBS_STOPPING, VERBS_QUIESCED };

struct verbs_connection {
    struct connection base;
    TAILQ_ENTRY(verbs_connection) attention_link;
    bool attentive;
    uint8_t state, quiesce;
    bool answer_quiet; /* WIRE_QUIET is due, once all rails are quiet */
    bool announced;    /* connect_advance() has said that it is connected */
    weft_status failure;
    struct verbs_stream stream;
    struct wire_card own, card;
    struct ledger_config ledger_config;
    struct outbox outbox;
    struct inbox inbox;
    uint32_t rail_count, lanes_per_rail;
    uint32_t dirty; /* lanes with something to post, a bit each */
    struct verbs_rail_end rails[VERBS_MAX_RAILS];
    struct verbs_lane *lanes; /* NULL until the cards are exchanged */
    uint8_t *message_buffers; /* of all lanes: what is received, and what is sent where it does not fit inline */
    size_t message_bytes;
};
TAILQ_HEAD(verbs_connection_list, verbs_connection);

weft_status verbs_connect(struct endpoint *endpoint, uint32_t peer, size_t granted_bytes,
                          struct connection **connection);
weft_status verbs_connect_advance(struct connection *connection, uint64_t now_ns);
void verbs_disconnect(struct connection *connection);
size_t verbs_put(struct connection *connection, const struct put *puts, size_t count);
weft_status verbs_quiesce(struct connection *connection);
weft_status verbs_frame_take(struct verbs_connection *connection, enum wire_frame_kind kind, const uint8_t *frame,
                             size_t bytes, const char **reason);
/* EVENT_FAILED becomes due, or connect_advance() fails. Ignored unless it is the first time. */
void verbs_connection_fail(struct verbs_connection *connection, weft_status status);
void verbs_connection_refuse(struct verbs_connection *connection, weft_status status, const char *reason);
/* Post what can be on all lanes that have something new. */
void verbs_connection_flush(struct verbs_connection *connection);
/* Events of it, at most @p max. */
size_t verbs_connection_take(struct verbs_connection *connection, struct event *events, size_t max);
bool verbs_connection_due(const struct verbs_connection *connection);
/* What goes on without completions: rails, quiescing, failing. */
void verbs_connection_advance(struct verbs_connection *connection);
/* The lower rank dials. */
bool verbs_dials(const struct verbs_connection *connection);

/* ---- endpoint.c ---- */

struct verbs_range {
    const uint8_t *begin, *end;
    struct verbs_connection *connection;
};

struct verbs_endpoint {
    struct endpoint base;
    struct verbs_config config;
    struct rendezvous rendezvous;
    uint8_t proof_key[32];
    int epoll;
    bool armed, look; /* look: at descriptors, in the next poll */
    uint32_t polls;
    uint64_t now_ns, looked_ns;
    uint32_t port_count;
    struct verbs_port ports[VERBS_MAX_RAILS];
    struct rdma_event_channel *events;
    struct verbs_staging staging;
    TAILQ_HEAD(verbs_waiting, verbs_lane) waiting; /* lanes that found no staging */
    uint32_t lane_slots;
    struct verbs_lane **lanes; /* by slot */
    uint8_t generation;
    struct verbs_range *ranges; /* granted regions, in the order of their addresses */
    uint32_t range_count;
    struct verbs_connection_list attention;
    struct verbs_connection *of_peer[]; /* rank_count */
};

static inline struct verbs_endpoint *verbs_endpoint_of(struct endpoint *endpoint)
{
    return (struct verbs_endpoint *)endpoint;
}
static inline struct verbs_connection *verbs_connection_of(struct connection *connection)
{
    return (struct verbs_connection *)connection;
}
static inline struct verbs_endpoint *verbs_endpoint_of_connection(const struct verbs_connection *connection)
{
    return verbs_endpoint_of(connection->base.endpoint);
}

size_t verbs_poll(struct endpoint *endpoint, struct event *events, size_t max, uint64_t now_ns);
weft_status verbs_arm(struct endpoint *endpoint, int *fd);
/* Have the connection looked at by the next poll. */
void verbs_connection_attend(struct verbs_connection *connection);
/* The local key of a source that need not be copied. */
bool verbs_source_key(struct verbs_connection *connection, const struct verbs_rail_end *rail, const void *source,
                      uint32_t bytes, uint32_t *lkey);
weft_status verbs_ranges_add(struct verbs_endpoint *endpoint, struct verbs_connection *connection);
void verbs_ranges_remove(struct verbs_endpoint *endpoint, const struct verbs_connection *connection);
/* Slots for @p count lanes of a connection. */
weft_status verbs_lanes_register(struct verbs_endpoint *endpoint, struct verbs_lane *lanes, uint32_t count);
void verbs_lanes_forget(struct verbs_endpoint *endpoint, struct verbs_lane *lanes, uint32_t count);
/* Look at what has been reported of the port's device since the last time. */
void verbs_port_check(struct verbs_port *port);
/* Post again what waited for staging. */
void verbs_waiting_wake(struct verbs_endpoint *endpoint);
#endif
