/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft/weft.h: communicators, collectives, requests and failures.
 *
 * Threads: one posting thread at a time per communicator. Communicators are independent of each other, also inside one
 * process, where several ranks may live as threads. weft_comm_failure() and weft_comm_revoke() may be called by any
 * thread at any time before weft_comm_destroy().
 *
 * Errors: every function that can fail returns a weft_status and leaves its outputs untouched on error. After a status
 * of the groups peer and communicator, weft_comm_failure() tells the whole story.
 */
#ifndef WEFT_WEFT_H
#define WEFT_WEFT_H

#include <stdbool.h>
#include <weft/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_comm weft_comm;
typedef struct weft_request weft_request;

/**
 * Names a job that is about to start, so that its ranks can find and trust each other. Made once by
 * weft_unique_id_create(), carried to every rank by whatever the program already has (a file of its own, a framework's
 * store). It holds a secret: keep it from other users.
 */
typedef struct weft_unique_id {
    uint8_t bytes[128];
} weft_unique_id;

/**
 * Make an id, and listen where it says: at WEFT_INTERFACE, else at the address that the default route leaves from, at a
 * port of WEFT_PORT_RANGE, else at any. So the process that calls this has to make the communicator of rank 0, or to be
 * the parent that it was forked from; its ranks may then be on any host that reaches that address.
 *
 * Thread: any. Errors: WEFT_SYSTEM_ERROR (no randomness, no socket), WEFT_INVALID_ARGUMENT (no such interface or ports),
 * WEFT_RESOURCE_LIMIT (no free port, no descriptors). *id is untouched then.
 */
WEFT_API weft_status weft_unique_id_create(weft_unique_id *id);

/**
 * How to make a communicator. Set @c size to sizeof(weft_comm_config); zero for any other field means "as the
 * environment's WEFT_ variables say, else the built-in default".
 */
typedef struct weft_comm_config {
    size_t size;              /* sizeof(weft_comm_config) of the caller: later versions append fields */
    const weft_unique_id *id; /* the same for all ranks; only read during the call */
    uint32_t rank;            /* this rank, below rank_count */
    uint32_t rank_count;      /* 1 or more */
    uint64_t deadline_ns;     /* for creation, and for every operation that names none */
    uint32_t channel_count;   /* rings or trees that share each message */
    uint64_t slice_bytes;     /* piece of a chunk in flight */
    bool progress_thread;     /* a thread of this communicator runs posted operations while the caller computes */
    bool canonical;           /* every call is; see weft_call */
} weft_comm_config;

/**
 * Join the other ranks. Collective: returns when every rank has arrived, or the deadline has passed.
 *
 * Owner:  the caller; weft_comm_destroy() ends it.
 * Errors: WEFT_INVALID_ARGUMENT, WEFT_OUT_OF_MEMORY, WEFT_RESOURCE_LIMIT, WEFT_DEADLINE_EXCEEDED, WEFT_PEER_FAILED,
 *         WEFT_PEER_REFUSED (another job, world size or version under the same id), WEFT_SYSTEM_ERROR;
 *         WEFT_MISMATCH (ranks were given different topologies), WEFT_BAD_FORMAT, WEFT_UNSUPPORTED (one that cannot be
 *         read), WEFT_LINK_DOWN (two ranks of different hosts cannot connect).
 */
WEFT_API weft_status weft_comm_create(const weft_comm_config *config, weft_comm **comm);

/**
 * The same from the environment that a launcher made: weft_local_run(); mpirun of OpenMPI or MPICH; srun; torchrun; or
 * RANK, WORLD_SIZE and MASTER_ADDR set by hand. Without any of them: a communicator of one rank. weft(7) has the
 * variables and their order. Every call makes another communicator of the same ranks: all ranks call equally often.
 */
WEFT_API weft_status weft_comm_create_from_env(weft_comm **comm);

#define WEFT_COLOUR_NONE (-1)
/**
 * Divide the ranks of @p comm: those of equal @p colour (0 or more) become a communicator, numbered by ascending @p key,
 * and by their ranks in @p comm where keys are equal. A rank of WEFT_COLOUR_NONE gets NULL. Collective over @p comm, and
 * one of its operations in the order of calls; blocks. What @p comm was configured with holds for the new ones.
 *
 * The new communicator is independent: a failure, a mismatch or weft_comm_revoke() in one fails no other. Only a process
 * that ends fails every communicator it is in. @p comm may be destroyed first, or not.
 *
 * Owner:  the caller; weft_comm_destroy() ends *part.
 * Errors: WEFT_INVALID_ARGUMENT, WEFT_INVALID_STATE (a group is open), WEFT_OUT_OF_MEMORY, what @p comm failed with, and
 *         those of weft_comm_create().
 */
WEFT_API weft_status weft_comm_split(weft_comm *comm, int32_t colour, int32_t key, weft_comm **part);

/**
 * Leave. Not collective: the other ranks are told, and go on until they need this one. Every request must have been
 * waited for or the communicator have failed; unfinished ones are abandoned with their buffers no longer touched.
 * NULL is allowed.
 */
WEFT_API void weft_comm_destroy(weft_comm *comm);

WEFT_API uint32_t weft_comm_rank(const weft_comm *comm);
WEFT_API uint32_t weft_comm_rank_count(const weft_comm *comm);

/**
 * How ranks reach each other: "shm", "tcp", or "shm+tcp" where only some share a host. WEFT_TRANSPORT forces one.
 * Owner: the communicator. Thread: any.
 */
WEFT_API const char *weft_comm_transport(const weft_comm *comm);

/**
 * The algorithm that a call of @p bytes would get which forces none: the environment's, else the cost model's choice.
 * The same on every rank. Thread: any. WEFT_ALGORITHM_AUTO when out of range or when there is none.
 */
WEFT_API weft_algorithm weft_comm_algorithm(const weft_comm *comm, weft_collective collective, uint64_t bytes);

/**
 * What one call may ask for; NULL stands for all zeros, which are the communicator's defaults.
 *
 * @c scale is this rank's alone: the ranks need not agree on it. It is read for WEFT_PREMUL_SUM only, which is refused
 * (WEFT_INVALID_ARGUMENT) without a weft_call. It has to be finite, for all floats but float64 within float32's range,
 * and for an integer type an integer that the type holds. 0 is allowed: such a rank takes part with a weight of nothing
 * (and its infinities and NaNs make NaNs).
 *
 * With @c canonical the result of a reduction depends on the ranks' inputs and their number alone: every bit is the same
 * whatever the transport, the algorithm, the number of channels, the sizes of slices and messages, and the hosts that
 * ranks are on. It is what one binary tree over the ranks in their order comes to; docs/guide/reproducible.md defines it
 * exactly. A forced algorithm has to be direct, tree or halving then (else WEFT_INVALID_ARGUMENT). Calls that combine
 * nothing take it too, and do as always. Without it results are still the same from run to run.
 */
typedef struct weft_call {
    size_t size;              /* sizeof(weft_call) of the caller */
    uint64_t deadline_ns;     /* from posting to completion; 0: the communicator's */
    weft_algorithm algorithm; /* force one; WEFT_ALGORITHM_AUTO lets the cost model choose */
    double scale;             /* WEFT_PREMUL_SUM: what this rank's input is multiplied by */
    bool canonical;           /* the ranks agree; false: as the communicator was configured */
} weft_call;

/**
 * Combine one buffer per rank element by element; every rank gets the result.
 *
 * Shape:  @p count elements of @p dtype at @p send and at @p recv. In place when send == recv; any other overlap is
 *         refused. A count of 0 is allowed and moves nothing, but is a collective call like any other.
 * Order:  every rank posts the collectives of a communicator in the same order.
 * Owner:  both buffers belong to the operation until it completes.
 * Wait:   @p request NULL blocks; else *request is completed by weft_wait() or weft_test().
 * Errors: WEFT_INVALID_ARGUMENT, WEFT_UNSUPPORTED (the collective does not have the forced algorithm), each with the
 *         reason in the log; WEFT_OUT_OF_MEMORY; and what the communicator failed with (weft_comm_failure()).
 */
WEFT_API weft_status weft_all_reduce(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype,
                                     weft_op op, const weft_call *call, weft_request **request);

/**
 * Copy rank @p root's buffer to all. Shape: @p count elements; @p send is read on the root only, @p recv is written on
 * every rank (on the root too, unless recv == send). Otherwise as weft_all_reduce(). The root's call completes when its
 * children have taken the data; a rank that received and passed on the data may return before others have arrived.
 */
WEFT_API weft_status weft_broadcast(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype,
                                    uint32_t root, const weft_call *call, weft_request **request);

/**
 * Combine as weft_all_reduce() does, for the root alone. Shape: @p count elements at @p send on every rank, and at
 * @p recv on rank @p root, where in place means send == recv; elsewhere @p recv is not looked at. A rank's call completes
 * when what it sent has been taken. Otherwise as weft_all_reduce().
 */
WEFT_API weft_status weft_reduce(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype,
                                 weft_op op, uint32_t root, const weft_call *call, weft_request **request);

/**
 * Every rank's block to all. Shape: @p count elements at @p send; rank_count times as many at @p recv, where rank r's
 * begin at r * count. In place when @p send is this rank's place in @p recv. Otherwise as weft_all_reduce().
 */
WEFT_API weft_status weft_all_gather(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype,
                                     const weft_call *call, weft_request **request);

/**
 * Combine rank_count blocks, and leave block r with rank r. Shape: rank_count * @p count elements at @p send, @p count at
 * @p recv. In place when @p recv is this rank's block of @p send. Otherwise as weft_all_reduce().
 */
WEFT_API weft_status weft_reduce_scatter(weft_comm *comm, const void *send, void *recv, uint64_t count,
                                         weft_dtype dtype, weft_op op, const weft_call *call, weft_request **request);

/**
 * Every rank's block to the root. Shape: @p count elements at @p send; on rank @p root rank_count times as many at
 * @p recv, in the order of the ranks. In place on the root when its @p send is its place in @p recv.
 * Otherwise as weft_reduce().
 */
WEFT_API weft_status weft_gather(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype,
                                 uint32_t root, const weft_call *call, weft_request **request);

/**
 * The root's block r to rank r. Shape: on rank @p root rank_count * @p count elements at @p send; @p count at @p recv. In
 * place on the root when its @p recv is its own block of @p send. Otherwise as weft_reduce().
 */
WEFT_API weft_status weft_scatter(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype,
                                  uint32_t root, const weft_call *call, weft_request **request);

/**
 * Rank i's block j to rank j, as its block i. Shape: rank_count * @p count elements at @p send and at @p recv. In place
 * when send == recv. Otherwise as weft_all_reduce().
 */
WEFT_API weft_status weft_all_to_all(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype,
                                     const weft_call *call, weft_request **request);

/**
 * The same with blocks of any sizes. Shape: rank_count counts and offsets each, in elements; what rank i sends to j has
 * to be what j receives from i (else WEFT_MISMATCH). In place when send == recv and the counts and offsets of both sides
 * are equal. The four arrays are read until the operation completes; blocks of @p recv must not overlap.
 * Otherwise as weft_all_reduce().
 */
WEFT_API weft_status weft_all_to_allv(weft_comm *comm, const void *send, const uint64_t *send_counts,
                                      const uint64_t *send_offsets, void *recv, const uint64_t *recv_counts,
                                      const uint64_t *recv_offsets, weft_dtype dtype, const weft_call *call,
                                      weft_request **request);

/** No rank returns (or completes its request) before every rank has called. Otherwise as weft_all_reduce(). */
WEFT_API weft_status weft_barrier(weft_comm *comm, const weft_call *call, weft_request **request);

/**
 * Send @p count elements to rank @p peer, which receives them with weft_recv(): messages between two ranks arrive in the
 * order in which they were sent. Only these two call; count and type have to be equal at both ends (else WEFT_MISMATCH).
 * Complete when the receiver has taken everything, so two ranks that both send first, blocking, wait for ever: use a
 * group or requests. A rank may send to itself.
 * Errors: as weft_all_reduce(). The algorithm can only be WEFT_ALGORITHM_DIRECT.
 */
WEFT_API weft_status weft_send(weft_comm *comm, const void *send, uint64_t count, weft_dtype dtype, uint32_t peer,
                               const weft_call *call, weft_request **request);
/** The other end. @p peer: the sender. Otherwise as weft_send(). */
WEFT_API weft_status weft_recv(weft_comm *comm, void *recv, uint64_t count, weft_dtype dtype, uint32_t peer,
                               const weft_call *call, weft_request **request);

/**
 * Keep the calls that follow, whose @p request has to be NULL, until weft_group_end() begins them together: none waits
 * for another one of the group to be made. A call that is refused is not in it. Errors: WEFT_INVALID_STATE (there is an
 * open group).
 */
WEFT_API weft_status weft_group_start(weft_comm *comm);
/**
 * Begin them, in the order in which they were called. @p request NULL blocks until all are complete; else *request stands
 * for all of them. The status is that of the first one that failed. Deadlines count from here.
 * Errors: WEFT_INVALID_STATE (no group is open), WEFT_OUT_OF_MEMORY (the group stays open).
 */
WEFT_API weft_status weft_group_end(weft_comm *comm, weft_request **request);

/**
 * Has it completed? WEFT_OK: yes, and *request is freed and set to NULL. WEFT_IN_PROGRESS: not yet; progress was made.
 * Any other status: it failed, and *request is freed and set to NULL. Requests may be completed in any order.
 */
WEFT_API weft_status weft_test(weft_request **request);
/** The same, blocking until the request completes, fails, or reaches its deadline. */
WEFT_API weft_status weft_wait(weft_request **request);

typedef enum weft_memory_kind {
    WEFT_MEMORY_HOST = 0,   /* private to this process */
    WEFT_MEMORY_SHARED = 1, /* a memfd, which local ranks can map */
    WEFT_MEMORY_CUDA = 2,   /* a GPU's: refused by this version */
} weft_memory_kind;

/**
 * Allocate zeroed memory that the communicator's devices can read and write without a copy; on huge pages where it is
 * large and the machine has them. For buffers that are used again and again.
 *
 * Owner:  the caller, weft_mem_free(); what is left goes with the communicator.
 * Thread: any, also while operations run.
 * Errors: WEFT_INVALID_ARGUMENT (0 bytes, no such kind), WEFT_OUT_OF_MEMORY, WEFT_RESOURCE_LIMIT (locked memory:
 *         ulimit -l), WEFT_UNSUPPORTED (CUDA). *memory is untouched then.
 */
WEFT_API weft_status weft_mem_alloc(weft_comm *comm, uint64_t bytes, weft_memory_kind kind, void **memory);
/** NULL is allowed. WEFT_INVALID_ARGUMENT: not from weft_mem_alloc(); WEFT_INVALID_STATE: an operation uses it. */
WEFT_API weft_status weft_mem_free(weft_comm *comm, void *memory);

/**
 * Tell of @p bytes of the program's own memory that will be used as buffers: registered with the communicator's devices
 * until weft_mem_deregister(), and mapped until then. Any part of it may be a buffer. Not telling is allowed: large
 * buffers are then registered as they come where the kernel lets weft watch them, else copied.
 *
 * @p descriptor, @p offset: of the file (a memfd, for one) whose bytes from @p offset on are mapped there, so that local
 * ranks can be given it; -1 and 0 for memory without one. The descriptor is duplicated.
 * Thread: any, also while operations run.
 * Errors: WEFT_INVALID_ARGUMENT (no memory there, or none such in the file), WEFT_INVALID_STATE (told of this address
 *         already), WEFT_OUT_OF_MEMORY, WEFT_RESOURCE_LIMIT (locked memory: ulimit -l; descriptors; WEFT_REGISTRATION_LIMIT).
 */
WEFT_API weft_status weft_mem_register(weft_comm *comm, void *memory, uint64_t bytes, int descriptor, uint64_t offset);
/** @p memory as registered. WEFT_INVALID_ARGUMENT: it is not; WEFT_INVALID_STATE: an operation uses it. */
WEFT_API weft_status weft_mem_deregister(weft_comm *comm, void *memory);

/** What went wrong: filled by the rank that noticed first and the same on all that were told. */
typedef struct weft_failure {
    size_t size;             /* sizeof(weft_failure) of the caller, set before the call */
    weft_status status;      /* WEFT_OK while nothing has failed */
    int32_t rank;            /* the rank at fault, or -1 */
    int32_t other_rank;      /* mismatch: the rank it disagrees with; else -1 */
    int32_t reporter_rank;   /* who noticed */
    uint64_t sequence;       /* the operation's number on this communicator, from 1; 0: outside of one */
    int32_t track;           /* where in the plan the reporter stood; -1: outside of one */
    int32_t step;
    char operation[128];     /* the reporter's call, e.g. "all_reduce count 1024 dtype float32 op sum" */
    char other_operation[128]; /* mismatch: the other rank's call */
    char device[64];         /* the transport or device in use */
    char message[256];       /* one sentence for a person */
} weft_failure;

/** Thread: any. WEFT_OK always, with failure->status WEFT_OK while nothing has failed; WEFT_INVALID_ARGUMENT on a bad size. */
WEFT_API weft_status weft_comm_failure(const weft_comm *comm, weft_failure *failure);

/** End all operations of all ranks with WEFT_REVOKED. Thread: any. */
WEFT_API weft_status weft_comm_revoke(weft_comm *comm);

/** Counters since creation, for monitoring. */
typedef struct weft_statistics {
    size_t size;               /* sizeof(weft_statistics) of the caller, set before the call */
    uint64_t operations;       /* completed */
    uint64_t payload_bytes;    /* count times element size, summed over them */
    uint64_t busy_ns;          /* time with at least one operation in flight */
} weft_statistics;
/** Thread: any. */
WEFT_API weft_status weft_comm_statistics(const weft_comm *comm, weft_statistics *statistics);

typedef enum weft_format { WEFT_TEXT = 0, WEFT_JSON = 1 } weft_format;
/**
 * Say what the communicator is and why: ranks, transport, waiting, the topology that plans come from, the plans made so
 * far with what each was preferred to. *text is allocated; the caller frees it with free().
 */
WEFT_API weft_status weft_comm_describe(const weft_comm *comm, weft_format format, char **text);
/**
 * Say which transports, kinds of memory and sources of discovery can be used in this process, and why the others cannot:
 * a line each, or a JSON array of "kind" "name" "state" "purpose". Those that are libraries are loaded for it.
 * Thread: any.
 * *text is allocated; the caller frees it with free(). Errors: WEFT_INVALID_ARGUMENT, WEFT_OUT_OF_MEMORY.
 */
WEFT_API weft_status weft_modules_describe(weft_format format, char **text);

/**
 * Run @p argv as @p rank_count local ranks: children of the caller, each with RANK, WORLD_SIZE and a descriptor that
 * carries the job's fresh identity, so that weft_comm_create_from_env() joins them. Blocks until all have ended,
 * says on standard error which rank died and how, and ends the rest some seconds after one has failed. Children die
 * with their parent; SIGINT and SIGTERM are passed on.
 *
 * Where there are cores enough each rank is bound to an equal share of them (WEFT_BIND=0: not); with WEFT_BIND=all also
 * where there are not, to one core, if each core gets as many.
 *
 * *exit_code: 0 when all ranks returned 0, else the worst code of those that ended by themselves (128 + signal for a
 * signal).
 * Thread: the process's only one. Errors: WEFT_INVALID_ARGUMENT, WEFT_RESOURCE_LIMIT, WEFT_SYSTEM_ERROR.
 */
WEFT_API weft_status weft_local_run(uint32_t rank_count, char *const argv[], int *exit_code);
/** True in a child of weft_local_run(): a tool that is given --ranks asks this before becoming a supervisor itself. */
WEFT_API bool weft_local_is_child(void);

#ifdef __cplusplus
}
#endif
#endif
