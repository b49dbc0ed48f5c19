/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection is as many sockets as it has lanes. Each lane has a queue of accepted puts, drained by lane_flush(), and
 * a small input buffer, filled by lane_receive(): small frames come many at a time through the buffer, the payload of
 * large ones goes from the kernel straight into the granted region.
 *
 * Poll learns in one of two ways which lanes have input. With few it asks each: that saves one system call of two. With
 * more it asks epoll, whose events are edges: a lane stays in the endpoint's list of ready ones until a read came back
 * short.
 */
#ifndef TRANSPORT_TCP_INTERNAL_H
#define TRANSPORT_TCP_INTERNAL_H

#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "transport/tcp/frame.h"
#include "transport/tcp/tcp.h"

#define TCP_QUEUE_ENTRIES 256u /* of a lane; a power of two */
#define TCP_DONE_ENTRIES 1024u /* of a connection; a power of two */
#define TCP_INPUT_BYTES 8192u
/* Of smaller sends the time is not that of the copy. */
#define TCP_JUDGED_BYTES (60u << 10)
/* Who has polled in vain for so long, about 10 us, has the time for what could wait. */
#define TCP_LAZY_POLLS 32u

enum tcp_state {
    TCP_CONNECTING,
    TCP_CONNECTED,
    TCP_FAILING, /* EVENT_FAILED is due, after all that had arrived */
    TCP_FAILED,
};

enum tcp_quiesce { TCP_NOT_ASKED, TCP_ASKED, TCP_QUIESCED_DUE, TCP_QUIESCED };

struct tcp_connection;
struct tcp_endpoint;

/* What has been accepted and is not yet, or not wholly, in the kernel's hands. */
struct tcp_output {
    struct tcp_frame frame;
    const uint8_t *source;
    bool local_done;
    bool steady; /* referred to, not copied */
};

struct tcp_lane {
    struct tcp_connection *connection;
    int fd;
    bool ended;    /* the socket's end or error has been read; it is no longer watched */
    bool quiet;    /* the peer has sent its last frame */
    bool drained;  /* the last read found the socket empty */
    bool hung_up;  /* an end has been announced: a short read is not the last one */
    bool ready;    /* in the endpoint's list of lanes with input */
    bool sending;  /* in the endpoint's list of lanes with output */
    bool blocked;  /* the kernel took less than it was offered */
    bool refused;  /* put() has refused for want of room in the queue */
    bool lazy;     /* all that is in the queue may wait for company */
    bool in_frame; /* `frame` has not been received wholly, or its notification not been given */
    TAILQ_ENTRY(tcp_lane) watched_link, ready_link, sending_link;

    uint32_t head, tail;   /* of queue, both counting up */
    uint64_t head_sent;    /* bytes of the frame at the head that have gone, its header included */
    uint64_t queued_bytes; /* of all that is in the queue, without head_sent */
    struct tcp_output queue[TCP_QUEUE_ENTRIES];

    /* For refer.c. */
    int pipe[2];         /* -1: there is none */
    size_t piped_bytes;  /* in it: of the frame at the head, after what has gone of that */
    bool judged;         /* sends are timed */
    uint32_t slow_sends; /* in a row */

    struct tcp_frame frame;
    uint8_t *destination;    /* of its payload: in the granted region, or where connection.land has said */
    bool lands;              /* the latter */
    uint32_t frame_received; /* bytes of its payload */
    uint32_t input_begin, input_end;
    uint32_t left_bytes; /* at the end of the input: read, but not taken from the kernel, which has them still */
    uint32_t unanswered; /* reads that found something since something was sent */
    uint8_t input[TCP_INPUT_BYTES];
};
TAILQ_HEAD(tcp_lane_list, tcp_lane);

/* A socket on which hellos are being exchanged. */
struct tcp_greeting {
    int fd; /* -1: none */
    uint8_t sent, received;
    uint8_t wire[TCP_HELLO_BYTES];
};

struct tcp_connection {
    struct connection base;
    uint8_t state, quiesce;
    bool attentive; /* in the endpoint's list of connections with events that come from no lane */
    bool writable;  /* EVENT_WRITABLE is due */
    weft_status failure;
    uint64_t failing_since_ns; /* or when something was read last since */
    uint32_t failing_polls;    /* since then */
    TAILQ_ENTRY(tcp_connection) attention_link;

    uint32_t lane_count;
    struct tcp_lane *lanes; /* NULL until connected */

    /* Tags of EVENT_LOCAL_DONE; done_reserved counts those of puts in the queues as well. */
    uint32_t done_head, done_tail, done_reserved;
    uint32_t done_tags[TCP_DONE_ENTRIES];

    /* While connecting */
    uint32_t attempt;
    bool attempt_known;
    struct tcp_greeting placed[TCP_MAX_LANES];  /* by lane */
    struct tcp_greeting waiting[TCP_MAX_LANES]; /* accepting: sockets that have not said hello */
};
TAILQ_HEAD(tcp_connection_list, tcp_connection);

/* A socket of an ended connection whose last bytes have not been acknowledged. */
struct tcp_closing {
    int fd;
    uint64_t give_up_ns;
};

struct tcp_endpoint {
    struct endpoint base;
    struct tcp_config config;
    struct rendezvous rendezvous;
    int epoll;
    uint64_t now_ns, looked_at_ns;
    uint32_t attempts; /* made to connect, as the dialling side */
    uint32_t watched_count;
    uint32_t fruitless_polls; /* since the last event */
    uint32_t awake_polls;     /* since arm() */
    bool announced;           /* epoll watches the lanes */
    bool skipped;             /* the last poll has read nothing, for it had events without */
    struct tcp_lane_list watched, ready, sending;
    struct tcp_connection_list attention;
    struct tcp_closing *closing;
    size_t closing_count;
    struct tcp_connection *of_peer[]; /* rank_count */
};

static inline struct tcp_connection *tcp_connection_of(struct connection *connection)
{
    return (struct tcp_connection *)connection;
}
static inline struct tcp_endpoint *tcp_endpoint_of(struct endpoint *endpoint)
{
    return (struct tcp_endpoint *)endpoint;
}
static inline struct tcp_endpoint *tcp_endpoint_of_connection(const struct tcp_connection *connection)
{
    return tcp_endpoint_of(connection->base.endpoint);
}

/* socket.c: what is asked of sockets beside sending and receiving */

weft_status tcp_status_of_errno(int error);
/* Options of a socket that the rendezvous has given. WEFT_UNSUPPORTED: it is no stream socket. */
weft_status tcp_socket_prepare(int fd, const struct tcp_config *config);
/* Is the peer on this host, as far as the addresses say? */
bool tcp_socket_is_local(int fd);
/* Has the peer's kernel been silent for @p keepalive_ns although we wait for its answer? */
bool tcp_socket_silent(int fd, uint64_t keepalive_ns);
/* Has the peer's kernel acknowledged all that was sent, or the peer ended the connection too? Discards input. */
bool tcp_socket_finished(int fd);

/* handshake.c */
weft_status tcp_connect_advance(struct connection *connection, uint64_t now_ns);
/* Close the sockets of a connection that is not complete. */
void tcp_greetings_close(struct tcp_connection *connection);

/* send.c */
size_t tcp_put(struct connection *connection, const struct put *puts, size_t count);
/* Hand to the kernel what it takes. */
void tcp_lane_flush(struct tcp_lane *lane);
/* Queue a frame without payload. False: no room. */
bool tcp_lane_send_control(struct tcp_lane *lane, enum tcp_frame_kind kind);
/* Forget what is queued. True: a frame was cut in the middle, so that nothing may follow on this lane. */
bool tcp_lane_drop_output(struct tcp_lane *lane);
/* Make EVENT_WRITABLE due if there is room again for what was refused. */
void tcp_connection_check_room(struct tcp_connection *connection);

/* refer.c */

/* Once the socket is there. */
void tcp_refer_open(struct tcp_lane *lane);
void tcp_refer_close(struct tcp_lane *lane);
/* A send() of so many bytes, TCP_JUDGED_BYTES or more, took so long. */
void tcp_refer_judge(struct tcp_lane *lane, size_t bytes, uint64_t taken_ns);
/* Can payload of this lane be referred to? */
bool tcp_refer_serves(struct tcp_lane *lane);
/* Have the socket refer to the next @p bytes at @p source. As send(); EFAULT: they have to be copied. */
ssize_t tcp_refer_send(struct tcp_lane *lane, const uint8_t *source, size_t bytes, bool more);

/* receive.c */

/* Events of what has come over a lane, at most @p max. Takes the lane off the ready list once it is drained. */
size_t tcp_lane_receive(struct tcp_lane *lane, struct event *events, size_t max);
void tcp_recall(struct connection *connection);

/* progress.c */
size_t tcp_poll(struct endpoint *endpoint, struct event *events, size_t max, uint64_t now_ns);
weft_status tcp_arm(struct endpoint *endpoint, int *fd);
weft_status tcp_lane_watch(struct tcp_lane *lane);
/* Before its descriptor is closed, in any case. */
void tcp_lane_unwatch(struct tcp_lane *lane);
void tcp_lane_set_ready(struct tcp_lane *lane, bool ready);
void tcp_lane_set_sending(struct tcp_lane *lane, bool sending);
/* Have the connection looked at by the next poll. */
void tcp_connection_attend(struct tcp_connection *connection);

/* ending.c */
weft_status tcp_quiesce(struct connection *connection);
/* EVENT_FAILED becomes due. Ignored unless it is the first time. */
void tcp_connection_fail(struct tcp_connection *connection, weft_status status);
/* The peer broke the protocol. @p reason: the end of a sentence about it. */
void tcp_connection_refuse(struct tcp_connection *connection, const char *reason);
/* The socket has come to its end, or to an error. */
void tcp_lane_end(struct tcp_lane *lane);
/* The peer has asked for quiet. */
void tcp_connection_stop(struct tcp_connection *connection);
/* The peer has said that nothing follows on this lane. */
void tcp_lane_quiet(struct tcp_lane *lane);
/* Something more has come of a connection that fails. */
void tcp_connection_heard(struct tcp_connection *connection);
/* Can EVENT_FAILED be told? */
bool tcp_connection_is_over(struct tcp_connection *connection);
/* Close sockets of ended connections that have nothing left to do. */
void tcp_closing_reap(struct tcp_endpoint *endpoint, uint64_t now_ns);
/* End a socket so that what the kernel holds of ours still gets there; takes @p fd. */
void tcp_socket_end(struct tcp_endpoint *endpoint, int fd);

static inline struct event tcp_event(const struct tcp_connection *connection, enum event_kind kind, uint32_t tag)
{
    return (struct event){.kind = (uint8_t)kind, .peer = connection->base.peer, .tag = tag};
}
#endif
