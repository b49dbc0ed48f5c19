/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COLLECTIVES_COMM_INTERNAL_H
#define COLLECTIVES_COMM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <weft/weft.h>

#include "base/clock.h"
#include "collectives/comm/memory.h"
#include "collectives/comm/topology.h"
#include "collectives/exec/exec.h"
#include "collectives/select/calibration.h"
#include "collectives/select/select.h"
#include "collectives/select/tuning.h"
#include "fabric/control/control.h"

/* What tells the plans of a collective apart. */
struct plan_key {
    weft_algorithm algorithm;
    uint32_t channel_units, root, peer;
    bool canonical;
    weft_algorithm near; /* whose steps are run instead where ranks are near; WEFT_ALGORITHM_AUTO: its own */
};

/* A plan made and bound, kept for the life of the communicator. */
struct plan_entry {
    weft_collective collective;
    struct plan_key key;
    weft_plan *plan, *near_plan; /* near_plan: or NULL */
    struct binding *binding;
    struct plan_entry *next;
};

/* What was settled for a call, for the next ones like it. */
#define CALL_MEMOS 16u /* a power of two */
struct call_memo {
    bool used;
    weft_algorithm wanted; /* by the call */
    bool wants_canonical;  /* the call */
    uint32_t peer;
    struct signature signature; /* sequence: of the last such call, 0 for a message between two ranks */
    uint64_t hash;              /* of the rest of it */
    struct select_choice choice;
    struct binding *binding; /* quick.c's, as is_small and small: NULL until it is needed */
    bool is_rooted;
    bool checked;  /* the buffers of `operation` are known to fit */
    bool is_quick; /* quick.c can run it, when nothing else is under way */
    bool is_small; /* without an operation */
    struct small small;
    uint64_t payload_bytes;
    struct operation_call operation; /* of the last such call; check and scale are a call's own */
};

struct weft_request {
    struct weft_comm *comm;
    struct signature signature; /* sequence 0: a message between two ranks, which the others know nothing of */
    struct select_choice choice;
    struct operation_call call;
    struct operation_blocks blocks; /* what call.blocks points to, if anything */
    uint32_t root, peer;            /* of the plan */
    uint64_t payload_bytes;
    uint64_t posted_ns, deadline_ns; /* times, not durations */
    struct operation *operation;     /* NULL until begun */
    size_t send_bytes, recv_bytes;   /* of this rank's buffers; 0: it has none */
    struct registration *held[2];    /* of the buffers, while it runs: memory.c; NULL: none */
    struct record *shared[2];        /* shared memory that they lie in, likewise */
    uint64_t broken_since_ns;        /* when the operation stopped for good; 0: it has not */
    _Atomic uint32_t status; /* WEFT_IN_PROGRESS until complete: request_finish() releases, request_status() acquires */
    bool receives, taken;    /* send_recv: the receiver's call; a message to oneself that its receiver has */
    bool group;              /* stands for `members`, linked by group_next */
    struct weft_request *members, *group_next;
    struct weft_request *next;      /* of those that are idle, or active */
    struct weft_request *made_next; /* of all that the communicator has made */
};

/* What every collective has in common, filled in by each. */
struct collective_call {
    weft_collective collective;
    const void *send;
    void *recv;
    uint64_t count;                        /* elements of a block */
    const struct operation_blocks *blocks; /* all_to_allv: instead; else NULL */
    weft_dtype dtype;
    weft_op op;
    uint32_t root, peer; /* as in a plan; 0 where there is none */
    bool receives;       /* send_recv: this is the receiver's call */
};

/* Posted requests on their way to the progress thread: one producer, one consumer. */
#define QUEUE_CAPACITY 256u /* a power of two */
struct post_queue {
    struct weft_request *requests[QUEUE_CAPACITY];
    _Atomic uint32_t head; /* taken: queue_pop() releases, queue_push() acquires */
    _Atomic uint32_t tail; /* pushed: queue_push() releases, queue_pop() acquires */
};

struct progress_thread {
    bool running;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic bool asleep;
    int wake; /* eventfd */
    struct post_queue queue;
};

struct weft_comm {
    struct identity identity;
    struct control *control;
    struct endpoint *endpoint;
    struct endpoint *verbs; /* over this host's RDMA devices, until it is `endpoint` or part of it; NULL: none */
    struct engine *engine;
    struct comm_memory *memory;
    struct comm_topology topology;
    uint64_t topology_token;
    /* Settled at creation. */
    uint64_t deadline_ns, spin_ns;
    weft_algorithm algorithm;
    uint32_t channel_units, slice_bytes, slot_bytes, slot_depth, local_rank_count;
    double crowd; /* ranks per processor, for prices; 0: not known to be alike on all ranks */
    const struct cost_model *model;
    struct cost_model measured_model; /* what `model` points to where figures or choices were measured */
    struct tuning *tuning;            /* these choices; NULL: none */
    char measured_source[CALIBRATION_PATH];
    bool verify, canonical;
    bool exchanges;        /* of small messages and of loans: see collectives/exec/exchange.h */
    bool copies;           /* the kernel may be asked to copy between ranks */
    uint32_t pair_channel; /* the engine's, for messages between two ranks */
    /* The poster's. */
    uint64_t sequence;                /* of the last collective */
    _Atomic uint64_t rooted_sequence; /* of the last with a root: relaxed, a hint for the engine's thread */
    uint64_t *pair_sequences;         /* messages so far: to each rank, then from each; NULL until the first */
    struct call_memo memos[CALL_MEMOS];
    uint32_t memos_made;
    bool calm;     /* small calls may run: nothing else has been under way since that was looked at */
    bool grouping; /* calls are kept until weft_group_end() */
    struct weft_request *group_first, *group_last;
    struct weft_request *idle_requests;
    struct weft_request *made_requests; /* all: they go with the communicator, also those that nobody waited for */
    /* The engine's: the poster's, or the progress thread's. */
    struct weft_request *active_first, *active_last;
    uint64_t moved_ns;    /* when something last moved */
    uint64_t compared_ns; /* when signatures were last compared */
    uint64_t busy_since_ns;
    uint64_t ending_since_ns;  /* when operations began to be given up; 0: they have not */
    uint64_t crowded_until_ns; /* others compute on this core: sleep instead of yielding */
    struct progress_thread progress;
    /* Written under plans_lock by the engine's thread, read by weft_comm_describe(). */
    pthread_mutex_t plans_lock;
    struct plan_entry *plans;
    /* Statistics: relaxed counters, each written by one thread. */
    _Atomic uint64_t operations, payload_bytes, busy_ns;
};

/* Longest that leaving waits for bytes that peers are still to receive. */
#define COMM_LINGER_NS (2 * NS_PER_S)

/* comm.c: as weft_comm_create(), for a part of a whole. @p heritage may be NULL. */
weft_status comm_create(const weft_comm_config *config, const struct topology_heritage *heritage, weft_comm **comm);

/* endpoint.c: before ranks meet, what needs devices; *features is what the others are to know of it. Fails only where
 * that was asked for by name. */
weft_status comm_devices_open(struct weft_comm *comm, uint8_t *features, struct diagnostic *diagnostic);
/* endpoint.c: over shared memory, TCP, RDMA, or several; settles local_rank_count and model. */
weft_status comm_endpoint_create(struct weft_comm *comm, struct diagnostic *diagnostic);
/* calibration.c: measured figures in the model's place, where there are any that all ranks read. */
void comm_model_calibrate(struct weft_comm *comm);
/* tuning.c: measured choices, where WEFT_TUNING names a file of them. */
weft_status comm_tune(struct weft_comm *comm, struct diagnostic *diagnostic);
/* verbs.c */
weft_status comm_verbs_create(struct weft_comm *comm, struct endpoint **endpoint, struct diagnostic *diagnostic);

/* links.c: are the ranks there that plans will want? WEFT_LINK_DOWN, with both ends, and reported to all ranks. */
weft_status comm_links_check(struct weft_comm *comm, struct diagnostic *diagnostic);

/* buffers.c: does the caller's memory fit the call? *in_place: the two buffers are one. */
weft_status call_check_buffers(const struct weft_comm *comm, const struct collective_call *call, bool *in_place,
                               struct diagnostic *diagnostic);
/* Bytes of this rank's buffers, 0 where it has none. The call has been checked. */
void call_extent(const struct weft_comm *comm, const struct collective_call *call, size_t *send_bytes,
                 size_t *recv_bytes);

/* arguments.c: all else that a caller may have got wrong. @p out: where the request is to go, or NULL. */
weft_status call_check_arguments(const struct weft_comm *comm, const struct collective_call *call,
                                 const weft_call *options, weft_request **out, struct diagnostic *diagnostic);
/* No plan serves what this call asks for: say which would, and return @p status. */
weft_status call_check_failed_choice(const struct weft_comm *comm, const struct collective_call *call,
                                     weft_algorithm forced, bool canonical, weft_status status,
                                     struct diagnostic *diagnostic);

/* call.c */
/* Check, sign, choose and post. What is refused is logged with the reason. */
weft_status call_post(struct weft_comm *comm, const struct collective_call *call, const weft_call *options,
                      weft_request **out);
/* What the environment wants, where the collective has it. */
weft_algorithm comm_preferred(const struct weft_comm *comm, weft_collective collective);

/* point_to_point.c: a message to oneself has no operation; as operation_advance(). The engine's thread only. */
static inline bool request_is_to_self(const struct weft_request *request)
{
    return request->signature.collective == WEFT_SEND_RECV && request->root == request->peer;
}
weft_status self_advance(struct weft_comm *comm, struct weft_request *request, bool *moved);

/* group.c */
void group_add(struct weft_comm *comm, struct weft_request *request);

/* plans.c */
weft_status comm_plan(struct weft_comm *comm, weft_collective collective, const struct plan_key *key,
                      struct binding **binding);
void comm_plans_free(struct weft_comm *comm);

/* request.c */
weft_status request_status(const struct weft_request *request);
/* Hand a filled-in request to the engine. */
void request_begin(struct weft_request *request);
/* Make sure that the next request_take() has one to give. */
bool request_reserve(struct weft_comm *comm);
struct weft_request *request_take(struct weft_comm *comm);
void request_give_back(struct weft_request *request);
void requests_free(struct weft_comm *comm);

/* progress.c: the engine's thread only. */
void progress_begin(struct weft_comm *comm, struct weft_request *request);
/* The same for a request whose operation has begun. */
void progress_adopt(struct weft_comm *comm, struct weft_request *request);
/* One turn over everything active. True if anything moved. */
bool progress_turn(struct weft_comm *comm, uint64_t now_ns);
/* The request has failed or is abandoned: may a peer still be at its buffers? Ask again, after a turn. */
bool request_is_lent(struct weft_comm *comm, struct weft_request *request, uint64_t now_ns);

/* quick.c */
bool quick_serves(const struct weft_comm *comm, const struct call_memo *memo);
static inline bool quick_is_free(const struct weft_comm *comm)
{
    return !comm->active_first && !comm->grouping;
}
/* Run the memo's operation to its end. False: it came to none; *begun, which was NULL, is the operation as far as it
 * came if it has begun. */
bool quick_run(struct weft_comm *comm, struct call_memo *memo, struct operation **begun);

/* thread.c */
weft_status progress_thread_start(struct weft_comm *comm);
void progress_thread_stop(struct weft_comm *comm);
void progress_thread_post(struct weft_comm *comm, struct weft_request *request);

/* wait.c */
/*
 * Cores that this host has for its ranks; the one that a rank is bound to does not count alone. With more ranks than
 * cores nobody spins: each would keep the others from what it waits for.
 */
uint32_t wait_core_count(void);
/* Where ranks share cores: move the calling thread to its core, side by side with its neighbours, without binding it.
 * Neighbours are what plans by groups put together. */
void wait_place(const struct weft_comm *comm);
struct waiter {
    struct weft_comm *comm;
    uint64_t spin_ns, yield_ns; /* busy waiting, then giving the core away, before sleeping */
    uint64_t idle_since_ns;     /* 0: not idle */
    uint64_t yielded_ns;        /* when the last look was followed by a yield; 0: it was not */
};
struct waiter waiter_of_caller(struct weft_comm *comm);
struct waiter waiter_of_thread(struct weft_comm *comm);
/* Nothing moved. False: it was worth another look at once, and a spin or a yield was made of it. True: time to sleep.
 */
bool waiter_idle(struct waiter *waiter, uint64_t now_ns);
void waiter_busy(struct waiter *waiter);
/* Sleep until the transport, the control thread or @p wake (or -1) has news, or it is time to look at deadlines. */
void waiter_sleep(const struct waiter *waiter, int wake);
/* Sleep until *status is no longer WEFT_IN_PROGRESS; another thread completes it. */
void wait_for_completion(const _Atomic uint32_t *status, uint64_t spin_ns);
void wake_completion(_Atomic uint32_t *status);
#endif
