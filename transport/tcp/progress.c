/* SPDX-License-Identifier: Apache-2.0 */
/* Poll and arm: which lanes to look at, and the events that come from none. */
#include <errno.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/log.h"
#include "transport/tcp/tcp_internal.h"

/* Up to so many lanes each is asked for itself; with more, epoll is: an empty read costs half of what it does. */
#define DIRECT_LANES 2u
#define WAIT_EVENTS 64
#define LOOK_INTERVAL_NS NS_PER_S

/* So many polls without a sleep, some 300 us, and epoll is left alone until the next one. */
#define AWAKE_POLLS 512u

static weft_status lane_announce(struct tcp_endpoint *endpoint, struct tcp_lane *lane)
{
    /* Edges: output needs no registering when it blocks, and what poll() has read directly costs no wake-up. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = lane};

    if (epoll_ctl(endpoint->epoll, EPOLL_CTL_ADD, lane->fd, &event) < 0 && errno != EEXIST)
        return tcp_status_of_errno(errno);
    return WEFT_OK;
}

static weft_status lanes_announce(struct tcp_endpoint *endpoint)
{
    struct tcp_lane *lane;
    weft_status status = WEFT_OK;

    if (endpoint->announced) return WEFT_OK;
    TAILQ_FOREACH(lane, &endpoint->watched, watched_link) status = status ? status : lane_announce(endpoint, lane);
    endpoint->announced = status == WEFT_OK;
    return status;
}

/* Sockets that epoll watches make whoever sends to them tell it. Nobody asks it while lanes are read directly. */
static void lanes_hush(struct tcp_endpoint *endpoint)
{
    struct tcp_lane *lane;

    TAILQ_FOREACH(lane, &endpoint->watched, watched_link) epoll_ctl(endpoint->epoll, EPOLL_CTL_DEL, lane->fd, NULL);
    endpoint->announced = false;
}

weft_status tcp_lane_watch(struct tcp_lane *lane)
{
    struct tcp_endpoint *endpoint = tcp_endpoint_of_connection(lane->connection);
    weft_status status = lanes_announce(endpoint);

    if (status == WEFT_OK) status = lane_announce(endpoint, lane);
    if (status != WEFT_OK) return status;
    TAILQ_INSERT_TAIL(&endpoint->watched, lane, watched_link);
    endpoint->watched_count++;
    return WEFT_OK;
}

void tcp_lane_unwatch(struct tcp_lane *lane)
{
    struct tcp_endpoint *endpoint = tcp_endpoint_of_connection(lane->connection);

    if (lane->ended) return;
    /* Closing would not do: a copy of the descriptor in a forked child keeps it in the epoll set. */
    (void)epoll_ctl(endpoint->epoll, EPOLL_CTL_DEL, lane->fd, NULL);
    TAILQ_REMOVE(&endpoint->watched, lane, watched_link);
    endpoint->watched_count--;
    tcp_lane_set_ready(lane, false);
    tcp_lane_set_sending(lane, false);
}

void tcp_lane_set_ready(struct tcp_lane *lane, bool ready)
{
    struct tcp_endpoint *endpoint = tcp_endpoint_of_connection(lane->connection);

    if (ready) lane->drained = false;
    if (lane->ready == ready) return;
    lane->ready = ready;
    if (ready)
        TAILQ_INSERT_TAIL(&endpoint->ready, lane, ready_link);
    else
        TAILQ_REMOVE(&endpoint->ready, lane, ready_link);
}

void tcp_lane_set_sending(struct tcp_lane *lane, bool sending)
{
    struct tcp_endpoint *endpoint = tcp_endpoint_of_connection(lane->connection);

    if (lane->sending == sending) return;
    lane->sending = sending;
    if (sending)
        TAILQ_INSERT_TAIL(&endpoint->sending, lane, sending_link);
    else
        TAILQ_REMOVE(&endpoint->sending, lane, sending_link);
}

void tcp_connection_attend(struct tcp_connection *connection)
{
    if (connection->attentive) return;
    connection->attentive = true;
    TAILQ_INSERT_TAIL(&tcp_endpoint_of_connection(connection)->attention, connection, attention_link);
}

/* What epoll has to tell; no system call but one when that is nothing. */
static void take_edges(struct tcp_endpoint *endpoint)
{
    struct epoll_event events[WAIT_EVENTS];
    int count;

    do {
        count = epoll_wait(endpoint->epoll, events, WAIT_EVENTS, 0);
        for (int i = 0; i < count; i++) {
            struct tcp_lane *lane = events[i].data.ptr;
            if (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) lane->hung_up = true;
            if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) tcp_lane_set_ready(lane, true);
            if (events[i].events & EPOLLOUT) lane->blocked = false;
        }
    } while (count == WAIT_EVENTS);
}

static void flush_all(struct tcp_endpoint *endpoint, bool blocked_too, bool lazy_too)
{
    struct tcp_lane *lane = TAILQ_FIRST(&endpoint->sending);

    while (lane) {
        /* A flush takes no lane off the list but its own, or, when it fails, all of its connection: begin anew. */
        struct tcp_lane *next = TAILQ_NEXT(lane, sending_link);
        if ((blocked_too || !lane->blocked) && (lazy_too || !lane->lazy)) {
            const bool healthy = lane->connection->state == TCP_CONNECTED;
            tcp_lane_flush(lane);
            if (healthy && lane->connection->state != TCP_CONNECTED) next = TAILQ_FIRST(&endpoint->sending);
        }
        lane = next;
    }
}

/* Events of @p connection that come from no lane. */
static size_t attention_take(struct tcp_connection *connection, struct event *events, size_t max)
{
    size_t count = 0;

    while (count < max && connection->done_head != connection->done_tail) {
        const uint32_t tag = connection->done_tags[connection->done_head++ % TCP_DONE_ENTRIES];
        connection->done_reserved--;
        events[count++] = tcp_event(connection, EVENT_LOCAL_DONE, tag);
    }
    tcp_connection_check_room(connection);
    if (count < max && connection->writable) {
        connection->writable = false;
        if (connection->state == TCP_CONNECTED) events[count++] = tcp_event(connection, EVENT_WRITABLE, 0);
    }
    const bool over = connection->state == TCP_FAILING && tcp_connection_is_over(connection);
    if (count < max && connection->quiesce == TCP_QUIESCED_DUE) {
        connection->quiesce = TCP_QUIESCED;
        events[count++] = tcp_event(connection, EVENT_QUIESCED, 0);
    }
    if (count < max && over) {
        connection->state = TCP_FAILED;
        events[count] = tcp_event(connection, EVENT_FAILED, 0);
        events[count++].status = (uint16_t)connection->failure;
    }
    return count;
}

static bool attention_is_due(const struct tcp_connection *connection)
{
    return connection->done_head != connection->done_tail || connection->writable ||
           connection->quiesce == TCP_QUIESCED_DUE || connection->state == TCP_FAILING;
}

static size_t attend_all(struct tcp_endpoint *endpoint, struct event *events, size_t max)
{
    struct tcp_connection *last = TAILQ_LAST(&endpoint->attention, tcp_connection_list), *connection = NULL;
    size_t count = 0;

    while (count < max && connection != last) {
        connection = TAILQ_FIRST(&endpoint->attention);
        count += attention_take(connection, events + count, max - count);
        TAILQ_REMOVE(&endpoint->attention, connection, attention_link);
        connection->attentive = false;
        if (attention_is_due(connection)) tcp_connection_attend(connection);
    }
    return count;
}

static size_t receive_all(struct tcp_endpoint *endpoint, struct event *events, size_t max)
{
    struct tcp_lane *last = TAILQ_LAST(&endpoint->ready, tcp_lane_list), *lane = NULL;
    size_t count = 0;

    while (count < max && lane != last && (lane = TAILQ_FIRST(&endpoint->ready))) {
        const bool was_last = lane == last;
        count += tcp_lane_receive(lane, events + count, max - count);
        if (lane->ready) { /* behind the others, so that no peer can keep them out */
            TAILQ_REMOVE(&endpoint->ready, lane, ready_link);
            TAILQ_INSERT_TAIL(&endpoint->ready, lane, ready_link);
        }
        if (was_last) break;
    }
    return count;
}

/* What need not be looked at each time. */
static void look_now_and_then(struct tcp_endpoint *endpoint)
{
    struct tcp_lane *lane, *next;

    if (endpoint->now_ns - endpoint->looked_at_ns < LOOK_INTERVAL_NS) return;
    endpoint->looked_at_ns = endpoint->now_ns;
    if (endpoint->closing_count) tcp_closing_reap(endpoint, clock_now_ns());
    if (!endpoint->config.keepalive_ns) return;
    for (lane = TAILQ_FIRST(&endpoint->watched); lane; lane = next) {
        next = TAILQ_NEXT(lane, watched_link);
        if (lane->connection->state != TCP_CONNECTED || !tcp_socket_silent(lane->fd, endpoint->config.keepalive_ns))
            continue;
        log_warning("tcp peer is silent rank %u peer %u", endpoint->base.rank, lane->connection->base.peer);
        tcp_lane_end(lane);
    }
}

size_t tcp_poll(struct endpoint *base, struct event *events, size_t max, uint64_t now_ns)
{
    struct tcp_endpoint *endpoint = tcp_endpoint_of(base);
    const bool direct = endpoint->watched_count <= DIRECT_LANES;
    struct tcp_lane *lane;

    endpoint->now_ns = now_ns;
    look_now_and_then(endpoint);
    if (direct) {
        if (endpoint->announced && ++endpoint->awake_polls >= AWAKE_POLLS) lanes_hush(endpoint);
        TAILQ_FOREACH(lane, &endpoint->watched, watched_link) tcp_lane_set_ready(lane, true);
    } else {
        take_edges(endpoint);
    }
    flush_all(endpoint, direct, endpoint->fruitless_polls >= TCP_LAZY_POLLS);
    size_t count = attend_all(endpoint, events, max);
    /* Whose puts have left may be waiting for that alone: an empty read is not in its way, unless it was last time. */
    endpoint->skipped = direct && count > 0 && !endpoint->skipped;
    if (!endpoint->skipped) count += receive_all(endpoint, events + count, max - count);
    endpoint->fruitless_polls = count ? 0 : endpoint->fruitless_polls + 1;
    return count;
}

weft_status tcp_arm(struct endpoint *base, int *fd)
{
    struct tcp_endpoint *endpoint = tcp_endpoint_of(base);

    endpoint->awake_polls = 0;
    if (lanes_announce(endpoint) != WEFT_OK) return WEFT_UNSUPPORTED;
    /* Edges of what poll() has read directly since. Those that come from here on make the descriptor readable. */
    take_edges(endpoint);
    flush_all(endpoint, false, true);
    if (!TAILQ_EMPTY(&endpoint->attention) || !TAILQ_EMPTY(&endpoint->ready)) return WEFT_AGAIN;
    *fd = endpoint->epoll;
    return WEFT_OK;
}
