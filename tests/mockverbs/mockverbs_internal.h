/* SPDX-License-Identifier: Apache-2.0 */
/* The objects behind the verbs' handles, and what the files of this folder tell each other. Everything below is guarded
 * by the one lock, taken by the entry points; functions named mock_* expect it to be held. */
#ifndef TESTS_MOCKVERBS_INTERNAL_H
#define TESTS_MOCKVERBS_INTERNAL_H

#include <pthread.h>
#include <rdma/rdma_cma.h>

#include "base/random.h"
#include "tests/mockverbs/mockverbs.h"

#define MOCK_MAX_SGE 4u
#define MOCK_MAX_MESSAGE_BYTES (1u << 30)
#define MOCK_GIDS 6u

#define mock_container(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* ---- Objects, all in one list, so that leftovers can be named ---- */
enum mock_kind {
    MOCK_CONTEXT,
    MOCK_PD,
    MOCK_MR,
    MOCK_CHANNEL,
    MOCK_CQ,
    MOCK_QP,
    MOCK_CM_CHANNEL,
    MOCK_CM_ID,
    MOCK_KINDS
};
struct mock_object {
    enum mock_kind kind;
    struct mock_object *next, *previous;
};

struct mock_device {
    struct ibv_device base;
    struct mockverbs_device config;
    char ipv4[MOCKVERBS_PORTS][16], ipv6[MOCKVERBS_PORTS][46];
    bool up[MOCKVERBS_PORTS], removed;
    struct ibv_gid_entry gids[MOCKVERBS_PORTS][MOCK_GIDS];
    uint32_t gid_count[MOCKVERBS_PORTS], index;
    struct ibv_context *cm_context; /* opened by rdma_cm when it first needs it */
    struct mock_device *next;
};

struct mock_event {
    struct ibv_async_event event;
    struct mock_event *next;
};

struct mock_context {
    struct mock_object object;
    struct mock_device *device;
    struct mock_event *first_event, **last_event;
    uint32_t users;             /* objects made in it */
    struct verbs_context verbs; /* last: ibv_context is its last member */
};

struct mock_pd {
    struct ibv_pd base;
    struct mock_object object;
    uint32_t users;
};

struct mock_mr {
    struct ibv_mr base;
    struct mock_object object;
    unsigned int access;
};

struct mock_channel {
    struct ibv_comp_channel base;
    struct mock_object object;
    struct mock_cq *first, **last; /* queues with events to be fetched */
};

struct mock_qp;
struct mock_entry {
    struct ibv_wc wc;
    struct mock_qp *qp;
    uint64_t slot; /* of the queue that the completion frees up to */
    bool send;
};

enum mock_armed { MOCK_NOT_ARMED, MOCK_ARMED_SOLICITED, MOCK_ARMED };
struct mock_cq {
    struct ibv_cq base;
    struct mock_object object;
    struct mock_entry *entries; /* a ring of `capacity` */
    uint32_t capacity, head, count, users;
    enum mock_armed armed;
    bool lost; /* overrun: later completions are lost */
    uint32_t pending_events, fetched_events;
    uint32_t async_events; /* fetched */
    struct mock_cq *next;  /* of the channel */
};

struct mock_send {
    struct ibv_send_wr wr;
    struct ibv_sge sge[MOCK_MAX_SGE];
    uint32_t bytes;
    bool signalled;
    bool examined; /* for faults that are asked for */
    bool refused;  /* by a receiver that was not ready, at least once */
};
struct mock_receive {
    uint64_t wr_id;
    struct ibv_sge sge[MOCK_MAX_SGE];
    int sge_count;
};

/* Why the oldest request does not leave. */
enum mock_stuck {
    MOCK_MOVING,
    MOCK_WAITING,   /* its peer is not connected yet */
    MOCK_NOT_READY, /* its peer has no receive posted */
    MOCK_SILENT,    /* nothing answers: retransmissions run out */
};

struct mock_qp {
    struct ibv_qp base;
    struct mock_object object;
    struct ibv_qp_attr attr;
    struct ibv_qp_init_attr init;
    struct mock_device *device;
    /* Counts since the start; a slot is its count modulo the capacity. */
    struct mock_send *sends;
    uint8_t *inline_bytes;
    struct mock_receive *receives;
    uint64_t sends_posted, sends_done, sends_free; /* done: delivered or failed; free: slots reclaimed */
    uint64_t receives_posted, receives_done, receives_free;
    enum mock_stuck stuck;
    uint32_t stuck_polls;
    bool busy; /* in the registry's list of those with something to deliver */
    bool refuses, dropping;
    uint64_t drop_from; /* sends_done from which on nothing arrives, where dropping */
    uint64_t sent, sent_bytes, received, receiver_not_ready;
    uint32_t async_events;
    bool established_told;
};

struct mock_fault {
    struct mockverbs_fault fault;
    struct mock_fault *next;
};
struct mock_call_fault {
    bool armed;
    uint32_t after;
    int error;
};

struct mock_registry {
    pthread_mutex_t lock;
    pthread_cond_t acknowledged; /* some event was */
    struct mock_object objects;  /* head of the ring */
    struct mock_device *devices;
    uint32_t device_count;
    struct mock_mr **regions; /* by key >> 8 */
    uint32_t region_count, region_room;
    struct mock_qp **qps; /* by number - MOCK_FIRST_QP_NUM; NULL where destroyed */
    uint32_t qp_count, qp_room;
    struct mock_qp **busy; /* room for all */
    uint32_t busy_count;
    struct random random;
    uint32_t delay_most, patience;
    size_t locked_limit, locked;
    struct mock_fault *faults;
    struct mock_call_fault call_faults[MOCKVERBS_CALL_COUNT];
    struct mockverbs_counters counters;
    bool cm_lossy;
    uint32_t cm_lose_after;
    int cm_lose_reason;
    uint16_t next_port;
};
extern struct mock_registry mock;
#define MOCK_FIRST_QP_NUM 0x11u
#define MOCK_DEFAULT_PATIENCE 256u

/* registry.c */
void mock_lock(void);
void mock_unlock(void);
__attribute__((noreturn, format(printf, 1, 2))) void mock_abort(const char *format, ...);
void *mock_allocate(size_t bytes);
void mock_object_add(struct mock_object *object, enum mock_kind kind);
void mock_object_remove(struct mock_object *object);
/* Around what the stopwatch measures. */
extern _Thread_local uint64_t mock_spent_ticks, mock_spent_calls;
extern _Thread_local bool mock_stopwatch_on;
static inline uint64_t mock_watch_start(void)
{
    return mock_stopwatch_on ? mockverbs_ticks() : 0;
}
static inline void mock_watch_stop(uint64_t start)
{
    if (!mock_stopwatch_on) return;
    mock_spent_calls++;
    mock_spent_ticks += mockverbs_ticks() - start;
}
/* Count a call; the errno it is to fail with, or 0. */
int mock_call(enum mockverbs_call call);
/* Unlock, set errno, return NULL. */
void *mock_refuse(int error);
struct mock_device *mock_device_named(const char *name);
bool mock_device_visible(const struct mock_device *device);
uint32_t mock_visible_host(void);
/* Wait, unlocked in between, until *outstanding is 0; abort after 10 s: an event was never acknowledged. */
void mock_wait_acknowledged(const uint32_t *outstanding, const char *what);
void mock_make_readable(int fd);
/* Read one of a descriptor of mock_descriptor(); false with errno where it is not blocking and there is none. */
bool mock_take_readable(int fd);
int mock_descriptor(void);

/* device.c */
struct ibv_context *mock_context_open(struct mock_device *device);
struct mock_context *mock_context_of(struct ibv_context *context);
bool mock_context_gone(struct ibv_context *context);
void mock_raise(struct ibv_context *context, const struct ibv_async_event *event);
void mock_raise_qp(struct mock_qp *qp, enum ibv_event_type type);
void mock_raise_device(struct mock_device *device, uint8_t port, enum ibv_event_type type);
void mock_forget_events(struct ibv_context *context, const void *element);

/* memory.c: is [address, address + bytes) inside the region of this key, domain and right? */
bool mock_region_allows(uint32_t key, const struct ibv_pd *pd, uint64_t address, uint64_t bytes, unsigned int access);

/* completion.c */
int mock_poll_cq(struct ibv_cq *cq, int count, struct ibv_wc *wc);
int mock_req_notify_cq(struct ibv_cq *cq, int solicited_only);
void mock_complete(struct mock_cq *cq, const struct mock_entry *entry, bool solicited);
void mock_cq_lose(struct mock_cq *cq);
void mock_cq_clean(struct mock_cq *cq, const struct mock_qp *qp);

/* faults.c: the fault asked for the next request (or receive) of this queue pair, if any. */
bool mock_fault_take(uint32_t qp_num, enum mockverbs_queue queue, struct mockverbs_fault *fault);

/* queue_pair.c */
int mock_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
int mock_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
struct mock_qp *mock_qp_of(uint32_t qp_num);
int mock_modify_qp(struct mock_qp *qp, const struct ibv_qp_attr *attr, int mask);
struct ibv_qp *mock_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *init, int *error);
void mock_destroy_qp(struct mock_qp *qp);

/* delivery.c */
void mock_deliver(struct mock_qp *qp);     /* as much as can be */
void mock_turn(struct mock_cq *polled);    /* some, before a poll of this queue */
void mock_turn_all(struct mock_cq *armed); /* everything; timers of this queue's requests run out */
void mock_qp_to_error(struct mock_qp *qp); /* and flush */
void mock_qp_forget(struct mock_qp *qp);   /* no longer busy */

/* cm.c */
void mock_cm_device_removed(struct mock_device *device);
#endif
