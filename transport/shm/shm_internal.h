/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection is two segments, one made by each side. A side's segment holds what the other side writes: the granted
 * region and a ring of notifications. Both processes map both segments, writable: whatever is read from one may have
 * been written by a peer gone mad, so it is copied once, checked, and never used as an address or a length before.
 *
 * Beside the memory each connection keeps the Unix socket it was made over, which carries messages (message.h) and
 * whose end tells that the peer is gone.
 */
#ifndef TRANSPORT_SHM_INTERNAL_H
#define TRANSPORT_SHM_INTERNAL_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "transport/shm/message.h"
#include "transport/shm/shm.h"

/*
 * The memory orders that make a put's bytes visible before its notification: stored by notification_store() and loaded
 * by notification_load(), nowhere else. Weakened only to show that thread sanitizer would notice.
 */
#ifdef SHM_WEAKENED_FOR_TEST
#define SHM_NOTIFICATION_STORE memory_order_relaxed
#define SHM_NOTIFICATION_LOAD memory_order_relaxed
#else
#define SHM_NOTIFICATION_STORE memory_order_release
#define SHM_NOTIFICATION_LOAD memory_order_acquire
#endif

#define SHM_MAGIC UINT64_C(0x326d687374666577) /* "weftshm2", little-endian */
#define SHM_RING_ENTRIES 512u                  /* one page of 8-byte entries; a power of two */
#define SHM_LINE_BYTES 128                     /* processors fetch 64-byte lines in pairs */
#define SHM_SHARES 512u                        /* of an endpoint, at a time */
#define SHM_REGION_OFFSET 65536                /* a page boundary for every page size; the hole costs nothing */

/* First in the segment, where it never changes, and first on the socket: both must say the same. */
struct shm_header {
    uint64_t magic;
    uint32_t rank, peer; /* who made the segment, for whom */
    uint64_t granted_bytes;
    uint32_t ring_entries, region_offset;
    uint64_t probe_address; /* of two words of its maker: a nonce to be read, one that may be written; 0: do not try */
    uint64_t probe_nonce;
};

/*
 * A ring entry is (sequence << 32 | tag). The consumer knows which sequence it waits for, so one load of one line says
 * both whether something came and what; no shared head or tail index is needed for that.
 */
struct shm_segment {
    struct shm_header header;
    /* Notifications its owner has taken, in steps of a quarter of the ring; the peer reads it only when it finds the
     * ring full. */
    alignas(SHM_LINE_BYTES) _Atomic uint64_t consumed;
    /* 1 while its owner wants a SHM_WAKE when something happens; cleared by whoever sends that. */
    alignas(SHM_LINE_BYTES) _Atomic uint32_t sleeping;
    alignas(4096) _Atomic uint64_t ring[SHM_RING_ENTRIES];
};
_Static_assert(sizeof(struct shm_segment) <= SHM_REGION_OFFSET, "the region follows the ring");
_Static_assert(sizeof(struct shm_header) == 48, "the header is a wire format");

/* One mapping of one segment, shared by all who use it in this process. */
struct shm_mapping {
    struct shm_mapping *next;
    struct shm_segment *segment;
    size_t bytes;
    dev_t device;
    ino_t inode;
    pid_t process;
    uint32_t references;
};

/* How one side gets at the other's own memory, which is in no segment and no share. */
enum shm_reach {
    SHM_REACH_NOT,
    SHM_REACH_COPYING,  /* the kernel copies */
    SHM_REACH_DIRECTLY, /* both are threads of one process */
};

/* Memory of this process that peers may map. Its slot is number % SHM_SHARES: so a peer finds it without a search. */
struct shm_share {
    uint64_t number; /* never used again; 0: free */
    uintptr_t address;
    size_t bytes;
    uint64_t offset;
    int descriptor; /* -1: free */
};

struct shm_ranges {
    uint32_t count;
    struct shm_range {
        uintptr_t address;
        size_t bytes;
        uint64_t number;
    } sorted[SHM_SHARES];         /* by address; they do not overlap */
    uint64_t numbers[SHM_SHARES]; /* by slot */
};

struct shm_shares {
    pthread_mutex_t lock; /* guards the next three; any thread */
    struct shm_share table[SHM_SHARES];
    struct shm_ranges ranges;
    uint64_t serial;
    _Atomic uint64_t generation; /* changes with them */
    /* The endpoint's thread alone: `ranges` as of generation `seen`. */
    uint64_t seen;
    struct shm_ranges copy;
    bool endings_due; /* some peer could not be told of some share's end */
};

/* A share of the peer's. */
struct shm_borrowed {
    uint64_t number; /* 0: none */
    uint64_t address;
    uint64_t bytes;
    uint8_t *start; /* here; NULL: it could not be mapped */
    void *mapping;
    size_t mapping_bytes;
};

enum shm_state {
    SHM_REACHING, /* no socket yet */
    SHM_GREETING, /* headers and segments are exchanged */
    SHM_AWAITING, /* the peer has yet to say SHM_READY, or one like it */
    SHM_CONNECTED,
    SHM_FAILING, /* EVENT_FAILED is due, after all that had arrived */
    SHM_FAILED,
};

enum shm_quiesce { SHM_NOT_ASKED, SHM_ASKED, SHM_QUIESCED_DUE, SHM_QUIESCED };

struct shm_endpoint;

struct shm_connection {
    struct connection base;
    struct shm_segment *own, *remote; /* remote: NULL until mapped */
    uint64_t taken, published;        /* notifications taken from own->ring; of those, told in own->consumed */
    uint64_t stored, consumed;        /* notifications stored in remote->ring; of those, known to be taken */
    uint8_t state, quiesce;
    bool connected;  /* has been, at least: it is among the endpoint's polled ones */
    bool attention;  /* something beside the ring is to be seen to by poll */
    bool refused;    /* put() has refused for want of room: EVENT_WRITABLE is owed */
    bool gone;       /* the peer's process or its end of the connection is no more */
    bool stop_asked; /* the peer wants quiet: SHM_QUIET is owed once our user knows */
    weft_status failure;

    uint32_t done_head, done_tail; /* of done_tags, both counting up */
    uint32_t done_tags[SHM_RING_ENTRIES];

    int socket, process; /* -1: none. process: pidfd of the peer */
    int memory;          /* own segment's memfd, until it has been sent */
    uint8_t greeting[sizeof(struct shm_header)];
    uint32_t greeting_sent, greeting_received;
    int greeting_memory;      /* the peer's memfd, until it has been mapped */
    pid_t peer_process;       /* 0: unknown here */
    uint64_t process_seen_ns; /* when it last was seen to live: attach.c */
    bool ready_sent;
    uint8_t reach, peer_reach; /* enum shm_reach: ours into the peer's memory, and its into ours */
    struct shm_mapping *own_mapping, *remote_mapping;

    struct shm_message_reader reader;
    int received_memory;       /* came with a message that is not complete yet */
    uint64_t told[SHM_SHARES]; /* the share of ours that the peer knows under each slot, or 0 */
    struct shm_borrowed borrowed[SHM_SHARES];
};

struct shm_endpoint {
    struct endpoint base;
    struct shm_config config;
    struct rendezvous rendezvous;
    struct shm_shares shares;
    int epoll;
    bool armed;
    uint32_t polls_unwatched;
    uint64_t watched_at_ns;
    uint32_t polled_count, polled_next;
    struct shm_connection **polled;   /* those that have been connected, in no order */
    struct shm_connection *of_peer[]; /* rank_count */
};

static inline struct shm_connection *shm_connection_of(struct connection *connection)
{
    return (struct shm_connection *)connection;
}
static inline struct shm_endpoint *shm_endpoint_of(struct endpoint *endpoint)
{
    return (struct shm_endpoint *)endpoint;
}
static inline uint8_t *shm_segment_region(struct shm_segment *segment)
{
    return (uint8_t *)segment + SHM_REGION_OFFSET;
}

/* segment.c */

/* A fresh, sealed, zeroed segment with @p header. The descriptor is the caller's. */
weft_status shm_segment_create(const struct shm_header *header, int *memory, struct shm_mapping **mapping);
/*
 * Map a segment that a peer sent, which has to be what @p header says. Does not take @p memory. On
 * WEFT_PROTOCOL_ERROR @p reason says what is wrong with it.
 */
weft_status shm_segment_open(int memory, const struct shm_header *header, struct shm_mapping **mapping,
                             const char **reason);
/* NULL is allowed. */
void shm_segment_release(struct shm_mapping *mapping);
/* The status for an errno of the calls that make segments and descriptors. */
weft_status shm_status_of_errno(int error);

/* handshake.c */

/* What this side says of its segment. */
struct shm_header shm_header_of(const struct shm_connection *connection);
weft_status shm_connect_advance(struct connection *connection, uint64_t now_ns);

/* watch.c: what happens on sockets */

/* Start to watch a connection that is being completed. */
weft_status shm_watch_begin(struct shm_connection *connection);
/* Stop watching, before its descriptors are closed. */
void shm_watch_end(struct shm_connection *connection);
/* Take what the peer has said, some of it at least; false: nothing. */
bool shm_socket_look(struct shm_connection *connection);
/* Look at all sockets: one system call when nothing happened. */
void shm_watch(struct shm_endpoint *endpoint);
/* EVENT_FAILED becomes due. */
void shm_connection_fail(struct shm_connection *connection, weft_status status);
/* Pay the SHM_QUIET that is owed: our user has seen EVENT_FAILED. */
void shm_quiet_send(struct shm_connection *connection);
/* To be called after storing into the remote segment what its owner may be asleep for. */
void shm_peer_wake(struct shm_connection *connection);
/* The peer was seen asleep. */
void shm_peer_rouse(struct shm_connection *connection);
weft_status shm_quiesce(struct connection *connection);

/* share.c: what this side lends */

/* NULL: @p memory is a file that its user can map and rely on; else what it is instead. */
const char *shm_share_defect(int memory, uint64_t offset, uint64_t bytes, uint64_t *page_bytes);
void shm_shares_init(struct shm_shares *shares);
void shm_shares_destroy(struct shm_shares *shares);
/* Learn of what other threads have shared and unshared, and tell peers of the latter. Two loads when they have not. */
void shm_shares_sync(struct shm_endpoint *endpoint);
weft_status shm_memory_share(struct endpoint *endpoint, void *address, size_t bytes, int descriptor, uint64_t offset,
                             void **share, struct diagnostic *diagnostic);
void shm_memory_unshare(struct endpoint *endpoint, void *share);
bool shm_lend(struct connection *connection, const void *address, size_t bytes, struct loan *loan);

/* borrow.c: what this side is lent */

/* SHM_SHARE came, with @p memory, which is not taken, or -1. NULL, or what is wrong with it. */
const char *shm_share_take(struct shm_connection *connection, const struct shm_message *message, int memory);
const char *shm_share_drop(struct shm_connection *connection, uint64_t number);
void shm_shares_unmap(struct shm_connection *connection);
void *shm_borrow(struct connection *connection, const struct loan *loan, size_t bytes);
weft_status shm_read(struct connection *connection, const struct loan *loan, uint64_t offset, void *to, size_t bytes);
weft_status shm_write(struct connection *connection, const struct loan *loan, uint64_t offset, const void *from,
                      size_t bytes);

/* attach.c: the kernel copies between processes */

/* What a header says of this process. */
void shm_probe_describe(uint64_t *address, uint64_t *nonce);
/* How this side gets at the memory of the peer that sent @p header. */
enum shm_reach shm_probe_try(const struct shm_connection *connection, const struct shm_header *header);
void shm_attach_permit(void);
weft_status shm_attach_read(struct shm_connection *connection, uint64_t address, void *to, size_t bytes);
weft_status shm_attach_write(struct shm_connection *connection, uint64_t address, const void *from, size_t bytes);

/* ring.c: the data path */
size_t shm_put(struct connection *connection, const struct put *puts, size_t count);
size_t shm_poll(struct endpoint *endpoint, struct event *events, size_t max, uint64_t now_ns);
weft_status shm_arm(struct endpoint *endpoint, int *fd);
#endif
