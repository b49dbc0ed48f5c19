/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_cm's objects. As in mockverbs_internal.h, the lock is held in functions named mock_*. */
#ifndef TESTS_MOCKVERBS_CM_INTERNAL_H
#define TESTS_MOCKVERBS_CM_INTERNAL_H

#include "tests/mockverbs/mockverbs_internal.h"

/* Bytes of private data: what a caller may send, and what every event then shows. */
enum { CM_REQUEST_BYTES = 56, CM_REPLY_BYTES = 196, CM_REJECT_BYTES = 148 };
/* Reasons of RDMA_CM_EVENT_REJECTED (InfiniBand Architecture Specification, volume 1, 12.6.7.2). */
enum { CM_NO_SUCH_SERVICE = 8, CM_CONSUMER_REJECT = 28 };

enum cm_state {
    CM_IDLE,
    CM_BOUND,
    CM_LISTENING,
    CM_ADDRESS_RESOLVED,
    CM_ROUTE_RESOLVED,
    CM_REQUEST_SENT,
    CM_REQUEST_RECEIVED,
    CM_REPLY_SENT,
    CM_CONNECTED,
    CM_DISCONNECTING, /* this side has asked */
    CM_DISCONNECTED,
};

struct cm_id;
struct cm_event {
    struct rdma_cm_event event;
    uint8_t private_data[CM_REPLY_BYTES];
    struct cm_event *next;
};

struct cm_channel {
    struct rdma_event_channel base;
    struct mock_object object;
    struct cm_event *first, **last;
    uint32_t users;
};

struct cm_id {
    struct rdma_cm_id base;
    struct mock_object object;
    enum cm_state state;
    uint32_t host; /* whose devices a wildcard address means */
    struct mock_device *device;
    struct cm_id *peer; /* of a connection or of one in the making; NULL once that is gone */
    int backlog;
    uint32_t waiting; /* listening: connections that are neither accepted nor rejected */
    struct cm_id *listener;
    uint32_t fetched_events;
    /* What the two ends' queue pairs are set up with. */
    uint32_t own_qp_num, remote_qp_num;
    uint8_t traffic_class, ack_timeout, retry_count, rnr_retry;
};

struct cm_id *cm_of(struct rdma_cm_id *id);
/* Every id that exists, one after the other; NULL starts and ends. */
struct cm_id *cm_next(struct cm_id *id);
void cm_announce(struct cm_id *id, enum rdma_cm_event_type type, int status, const void *private_data,
                 size_t given_bytes, size_t shown_bytes);
/* Bring the queue pair of @p id up; an errno. */
int cm_qp_to_rts(struct cm_id *id);
/* The connecting side has what it needs: both are connected. */
void cm_established(struct cm_id *id);
/* The address of a device's port; NULL: there is none. */
struct mock_device *cm_device_at(const struct sockaddr *address, uint8_t *port);
bool cm_same_host_address(const struct sockaddr *a, const struct sockaddr *b);
uint16_t cm_port_of(const struct sockaddr *address);
struct cm_id *cm_id_make(struct cm_channel *channel, void *context, enum rdma_port_space space);
void cm_bind_device(struct cm_id *id, struct mock_device *device, uint8_t port);
/* The other side is told that this id is going; a connection ends. */
void cm_part(struct cm_id *id);
/* True: this message of a connection's making is lost or refused, as was asked for; *reason says which. */
bool cm_lost(int *reason);
#endif
