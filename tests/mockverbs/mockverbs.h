/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RDMA devices that exist in this process alone: the libibverbs and librdmacm calls that a transport makes, behind the
 * real <infiniband/verbs.h> and <rdma/rdma_cma.h>, so that its objects are linked against them unchanged; and the
 * faults that no software device can be asked for.
 *
 * What is kept of real devices: bounds, access rights and keys of memory regions; capacities of queues (a send slot is
 * free again when a completion of it or of a later request has been polled); which requests complete and in what
 * order; the queue pair's states; receiver-not-ready; flushing; asynchronous events; the sizes of rdma_cm's private
 * data (events show 56, 196 and 148 bytes, padded with zeros). A source that is not inline is read at delivery, not
 * when it is posted.
 *
 * Time: there is none, and no thread. Requests are delivered inside ibv_post_send(), or inside a later ibv_poll_cq() or
 * ibv_req_notify_cq() of anyone's where mockverbs_delay() says so. A retransmission timer is a number of polls of the
 * sender's completion queue (mockverbs_patience()); to arm a completion queue is to let all of them pass.
 *
 * Threads: any call from any thread; one lock orders everything. All ranks are in one process, as threads or not.
 * Determinism: one thread, one seed, one result.
 * Errors of use (a device twice, an unknown name) abort with a sentence: they are the test's own.
 */
#ifndef TESTS_MOCKVERBS_H
#define TESTS_MOCKVERBS_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define MOCKVERBS_PORTS 2u
#define MOCKVERBS_VENDOR_ID 0x00c0deu

struct mockverbs_port {
    const char *ipv4; /* "10.0.0.1", the whole of /24 is one network; NULL: none */
    const char *ipv6; /* "fd00::1", /64; NULL: none */
    bool down;
};

struct mockverbs_device {
    const char *name;    /* as ibv_get_device_name() */
    uint32_t host;       /* whose machine it is in: mockverbs_see() */
    uint32_t port_count; /* 0: 1 */
    struct mockverbs_port ports[MOCKVERBS_PORTS];
    /* Limits, as ibv_query_device() tells them; 0: those of a usual network card. */
    uint32_t max_qp, max_qp_wr, max_cqe, max_mr, max_inline_bytes;
    bool lacks_relaxed_ordering; /* registration with IBV_ACCESS_RELAXED_ORDERING ignores it either way */
};

/*
 * GID table of each port: 0 and 1 link-local as RoCE v1 and v2; then for each address one RoCE v1 and one v2 entry. So
 * the RoCE v2 GID of the IPv4 address has index 3.
 */

/* Start with nothing: no devices, faults, delays or limits, all counters 0, seed 1. Aborts when objects are left over;
 * mockverbs_leftovers() asks beforehand. */
void mockverbs_reset(void);
void mockverbs_device_add(const struct mockverbs_device *device);
/* The usual machine room: devices "mock<host>_<rail>", one port each, 10.<rail>.0.<host + 1> and fd00:<rail>::<host +
 * 1>. */
void mockverbs_hosts_add(uint32_t host_count, uint32_t rail_count);

/* The calling thread sees the devices of @p host alone in ibv_get_device_list() and in rdma_cm's choice of device;
 * MOCKVERBS_ALL_HOSTS, as at the start: of all. */
#define MOCKVERBS_ALL_HOSTS UINT32_MAX
void mockverbs_see(uint32_t host);

/* Objects that have been made and not destroyed, one a line, "" when there are none. Valid until the next call. */
const char *mockverbs_leftovers(void);

/*
 * From now on requests wait to be delivered: a poll or an arming of anyone's delivers some of them, chosen across queue
 * pairs from @p seed; each queue pair's own stay in order. Up to @p most_per_poll; 0: deliver while posting again.
 */
void mockverbs_delay(uint64_t seed, uint32_t most_per_poll);
/* Deliver everything that can be delivered. */
void mockverbs_settle(void);
/* Polls of its completion queue after which an undeliverable request completes in error; 0: the default of 256;
 * UINT32_MAX: it waits for ever, also over an arming. */
void mockverbs_patience(uint32_t polls);

/* ---- Queue pairs ---- */
/* Numbers are unique over all devices. */
struct mockverbs_qp {
    uint32_t qp_num, remote_qp_num; /* remote 0: never connected */
    char device[32], remote_device[32];
    uint32_t host, remote_host;
    uint8_t port;
    enum ibv_qp_state state;
    uint8_t traffic_class, timeout, retry_count, rnr_retry; /* as they came to hold for its sends */
    uint32_t send_outstanding, receive_outstanding;         /* slots in use */
    uint64_t sent, sent_bytes, received;                    /* requests that were delivered */
    uint64_t receiver_not_ready;                            /* messages that found no receive posted here */
};
/* Up to @p max of the queue pairs that exist, oldest first; returns how many there are. */
size_t mockverbs_qp_list(struct mockverbs_qp *list, size_t max);
bool mockverbs_qp_find(uint32_t qp_num, struct mockverbs_qp *qp);

/* ---- Faults ---- */
enum mockverbs_queue { MOCKVERBS_SEND, MOCKVERBS_RECEIVE };
struct mockverbs_fault {
    uint32_t qp_num;            /* 0: of any queue pair */
    enum mockverbs_queue queue; /* whose completion goes wrong */
    uint32_t after;             /* how many are let through first */
    enum ibv_wc_status status;
    uint32_t vendor_error;
    bool delivered; /* MOCKVERBS_SEND: the bytes and their notification arrive all the same; only this side is told
                       otherwise, as when an acknowledgement is lost */
};
/* Complete one request with an error. Its queue pair goes to the error state and flushes, as a device's does. */
void mockverbs_fail_completion(const struct mockverbs_fault *fault);
/* From the request after the next @p after ones on, nothing of this queue pair arrives: retries exceeded. */
void mockverbs_drop(uint32_t qp_num, uint32_t after);
/* The receiver answers nothing but "not ready" until told otherwise; with rnr_retry 7 for ever. */
void mockverbs_receiver_not_ready(uint32_t qp_num, bool not_ready);

/* The port's state, with its event on every open context. Down: what is sent from it or to it does not arrive. */
void mockverbs_port_set(const char *device, uint8_t port, bool up);
/* Unplug: IBV_EVENT_DEVICE_FATAL, RDMA_CM_EVENT_DEVICE_REMOVAL, queue pairs flush, calls fail with EIO; destroying what
 * is left works. A device of that name may be added again. */
void mockverbs_device_remove(const char *device);
/* Lose all later completions of a queue: IBV_EVENT_CQ_ERR, its queue pairs go to the error state. */
void mockverbs_cq_overrun(struct ibv_cq *cq);
/* As the previous for the queue where this queue pair's sends (or receives) complete. */
void mockverbs_cq_overrun_of(uint32_t qp_num, enum mockverbs_queue queue);
/* Any asynchronous event. Of a queue pair or its completion queues: by number. Of a port or device: by name. */
void mockverbs_event_qp(uint32_t qp_num, enum ibv_event_type type);
void mockverbs_event_device(const char *device, uint8_t port, enum ibv_event_type type);

/* Calls that can be made to fail. */
#define MOCKVERBS_CALLS(X)                                                                                             \
    X(OPEN_DEVICE)                                                                                                     \
    X(QUERY_DEVICE)                                                                                                    \
    X(QUERY_PORT)                                                                                                      \
    X(QUERY_GID)                                                                                                       \
    X(ALLOC_PD)                                                                                                        \
    X(REG_MR)                                                                                                          \
    X(DEREG_MR)                                                                                                        \
    X(CREATE_CHANNEL)                                                                                                  \
    X(CREATE_CQ) X(REQ_NOTIFY) X(POLL_CQ) X(CREATE_QP) X(MODIFY_QP) X(POST_SEND) X(POST_RECEIVE) X(FORK_INIT)          \
        X(CM_CREATE_CHANNEL) X(CM_CREATE_ID) X(CM_BIND) X(CM_LISTEN) X(CM_RESOLVE_ADDRESS) X(CM_RESOLVE_ROUTE)         \
            X(CM_CREATE_QP) X(CM_CONNECT) X(CM_ACCEPT) X(CM_REJECT) X(CM_DISCONNECT) X(CM_SET_OPTION)
#define MOCKVERBS_CALL_NAME(call) MOCKVERBS_##call,
enum mockverbs_call { MOCKVERBS_CALLS(MOCKVERBS_CALL_NAME) MOCKVERBS_CALL_COUNT };
/* The call after the next @p after ones fails with @p error (ENOMEM, EPERM, ...), once. */
void mockverbs_fail_call(enum mockverbs_call call, uint32_t after, int error);
/* Bytes that may be registered at a time before ENOMEM, as RLIMIT_MEMLOCK; 0: no limit. */
void mockverbs_locked_limit(size_t bytes);

/*
 * The next connection that arrives at a listener (the next answer to one) is lost: RDMA_CM_EVENT_UNREACHABLE at the
 * connecting side. With @p reason not 0 the network refuses it instead: RDMA_CM_EVENT_REJECTED with that status.
 */
void mockverbs_cm_lose(uint32_t after, int reason);

/* ---- Counters ---- */
struct mockverbs_counters {
    uint64_t calls[MOCKVERBS_CALL_COUNT];
    uint64_t posted_sends, posted_receives;   /* work requests; calls[MOCKVERBS_POST_SEND] are doorbells */
    uint64_t posted_inline, posted_signalled; /* of posted_sends */
    uint64_t delivered, delivered_bytes;
    uint64_t completions, empty_polls;
    uint64_t receiver_not_ready;
    uint64_t wakeups; /* descriptors made readable: each a system call of the mock's own */
};
void mockverbs_counters(struct mockverbs_counters *counters);
void mockverbs_counters_clear(void);

/*
 * Time that the calling thread has spent inside posting, polling and arming since it was switched on, in ticks of
 * mockverbs_ticks(), and in how many calls: what a measurement of the code above takes away. From entry to exit; what
 * the call and reading the clock cost outside of that has to be measured (bench/verbs).
 */
void mockverbs_stopwatch(bool on);
uint64_t mockverbs_spent_ticks(void);
uint64_t mockverbs_spent_calls(void);
static inline uint64_t mockverbs_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#endif
}
#endif
