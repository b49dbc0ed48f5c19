/* SPDX-License-Identifier: Apache-2.0 */
/* How sockets come to be: the listening one, guests at the door, dials. Of two ranks the lower dials. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "control_internal.h"

/* A guest says who he is within microseconds, unless his process is starved or he is none of ours. */
#define GUEST_PATIENCE_NS (5 * NS_PER_S)
#define DIAL_INTERVAL_MIN_NS (1 * NS_PER_MS)
#define DIAL_INTERVAL_MAX_NS (20 * NS_PER_MS)
#define LISTEN_PAUSE_NS (50 * NS_PER_MS)
/* Every message of a handshake changes what its socket is ready for, so edges are enough and states need no telling. */
#define HANDSHAKE_EVENTS (EPOLLIN | EPOLLOUT | EPOLLET)

/* Somebody of this job cannot take part: as long as ranks are joining that ends the job for everyone. */
static void refuse(struct control *control, int32_t peer, const struct diagnostic *why)
{
    if (control->protocol.joined) {
        log_warning("connection refused rank %u reason \"%s\"", control->identity.rank, why->text);
        return;
    }
    weft_failure failure = {.size = sizeof failure,
                            .status = why->status,
                            .rank = peer,
                            .other_rank = -1,
                            .reporter_rank = (int32_t)control->identity.rank,
                            .track = -1,
                            .step = -1};
    snprintf(failure.message, sizeof failure.message, "%s", why->text);
    protocol_report(&control->protocol, &failure);
}

/* A handshake is complete: whose is the socket? */
static void assign(struct control *control, uint32_t peer, enum bootstrap_role role, int fd, uint64_t now_ns)
{
    if (role == ROLE_TRANSPORT) {
        struct reach *reach = &control->reaches[peer];
        if (reach->fd >= 0) close(reach->fd); /* nobody took it, and the peer has begun anew */
        reach->fd = fd;
        return;
    }
    int32_t index = protocol_neighbour(&control->protocol, peer);
    if (index < 0 || control->protocol.neighbours[index].state > NEIGHBOUR_CONNECTED) {
        /* He that is there already, or has left: perhaps his next communicator under the same id. He will try again. */
        log_debug("control connection dropped rank %u peer %u", control->identity.rank, peer);
        close(fd);
        return;
    }
    struct connection *connection = &control->connections[index];
    if (connection->fd >= 0) {
        protocol_ended(&control->protocol, (uint32_t)index, NULL);
        connection_close(connection);
    }
    if (connection_open(connection, fd, now_ns)) return;
    struct diagnostic diagnostic;
    diagnose(&diagnostic, WEFT_RESOURCE_LIMIT, "rank %u cannot watch its connection to rank %u", control->identity.rank,
             peer);
    refuse(control, (int32_t)peer, &diagnostic);
}

/* ---- Guests ---- */

static void guest_dismiss(struct guest *guest)
{
    engine_watch_remove(&guest->watch);
    handshake_abandon(&guest->handshake);
}

static void guest_advance(void *context, uint32_t events, uint64_t now_ns)
{
    (void)events;
    struct guest *guest = context;
    struct control *control = guest->control;
    struct diagnostic diagnostic;
    weft_status status = handshake_advance(&guest->handshake, &diagnostic);
    if (status == WEFT_IN_PROGRESS) return;
    int fd = guest->handshake.fd; /* closed and -1 unless WEFT_OK */
    guest->handshake.fd = -1;
    if (fd >= 0)
        engine_watch_remove(&guest->watch);
    else
        engine_watch_forget(&guest->watch);
    if (status == WEFT_OK && guest->handshake.peer < control->identity.rank)
        assign(control, guest->handshake.peer, guest->handshake.role, fd, now_ns);
    else if (status == WEFT_OK)
        close(fd); /* the higher rank does not dial */
    else if (status == WEFT_PEER_REFUSED)
        refuse(control, -1, &diagnostic);
    else
        log_debug("stranger dismissed rank %u reason \"%s\"", control->identity.rank, diagnostic.text);
    control_settle(control);
}

/* A free place at the door; strangers who crowd it are the oldest, and go first. */
static struct guest *guest_place(struct control *control)
{
    struct guest *oldest = &control->guests[0];
    for (int i = 0; i < GUESTS_MAX; i++) {
        struct guest *guest = &control->guests[i];
        if (guest->handshake.fd < 0) return guest;
        if (guest->until_ns < oldest->until_ns) oldest = guest;
    }
    guest_dismiss(oldest);
    return oldest;
}

static void listener_ready(void *context, uint32_t events, uint64_t now_ns)
{
    (void)events;
    struct control *control = context;
    for (int accepted = 0; accepted < GUESTS_MAX; accepted++) {
        int fd = accept4(control->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK) return;
            /* No descriptors: the connection stays in the queue, and would wake us for ever. */
            log_warning("accept failed rank %u reason \"%s\"", control->identity.rank, strerror(errno));
            engine_watch_change(control->listener_watch, 0);
            control->listen_again_ns = now_ns + LISTEN_PAUSE_NS;
            return;
        }
        struct guest *guest = guest_place(control);
        guest->control = control;
        guest->until_ns = now_ns + GUEST_PATIENCE_NS;
        handshake_accept(&guest->handshake, &control->identity, fd);
        guest->watch = engine_watch_add(fd, HANDSHAKE_EVENTS, guest_advance, guest);
        if (!guest->watch) guest_dismiss(guest);
    }
}

/* ---- Dials ---- */

static void dial_free(struct dial *dial)
{
    struct dial **at = &dial->control->dials;
    while (*at != dial) at = &(*at)->next;
    *at = dial->next;
    engine_watch_remove(&dial->watch);
    handshake_abandon(&dial->handshake);
    free(dial);
}

static void dial_advance(struct dial *dial, uint64_t now_ns);

static void dial_ready(void *context, uint32_t events, uint64_t now_ns)
{
    (void)events;
    struct control *control = ((struct dial *)context)->control;
    dial_advance(context, now_ns);
    control_settle(control);
}

/* May free the dial. */
static void dial_advance(struct dial *dial, uint64_t now_ns)
{
    struct control *control = dial->control;
    struct handshake *handshake = &dial->handshake;
    struct diagnostic diagnostic;
    int before = handshake->fd;
    weft_status status = handshake_advance(handshake, &diagnostic);
    if (handshake->fd < 0) engine_watch_forget(&dial->watch);
    if (status == WEFT_IN_PROGRESS) {
        if (before < 0 && handshake->fd >= 0) {
            dial->watch = engine_watch_add(handshake->fd, HANDSHAKE_EVENTS, dial_ready, dial);
            if (!dial->watch) handshake_abandon(handshake);
        }
        dial->retry_ns = handshake->fd >= 0 ? UINT64_MAX : now_ns + dial->interval_ns;
        if (handshake->fd < 0 && dial->interval_ns < DIAL_INTERVAL_MAX_NS) dial->interval_ns *= 2;
        return;
    }
    uint32_t peer = handshake->peer;
    enum bootstrap_role role = handshake->role;
    int fd = handshake->fd;
    handshake->fd = -1;
    dial_free(dial);
    if (role == ROLE_TRANSPORT) control->reaches[peer].dialling = false;
    if (status == WEFT_OK) {
        assign(control, peer, role, fd, now_ns);
    } else {
        if (role == ROLE_TRANSPORT) control->reaches[peer].refused = status;
        refuse(control, (int32_t)peer, &diagnostic);
    }
}

weft_status meeting_dial(struct control *control, uint32_t peer, enum bootstrap_role role, uint64_t not_before_ns)
{
    struct dial *dial = calloc(1, sizeof *dial);
    if (!dial) return WEFT_OUT_OF_MEMORY;
    dial->control = control;
    dial->retry_ns = not_before_ns;
    dial->interval_ns = DIAL_INTERVAL_MIN_NS;
    handshake_dial(&dial->handshake, &control->identity, peer, role);
    dial->next = control->dials;
    control->dials = dial;
    engine_kick(); /* it may be due at once */
    return WEFT_OK;
}

/* ---- All of it ---- */

weft_status meeting_begin(struct control *control)
{
    control->listener_watch = engine_watch_add(control->listener, EPOLLIN, listener_ready, control);
    if (!control->listener_watch) return WEFT_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < control->protocol.neighbour_count; i++) {
        uint32_t peer = control->protocol.neighbours[i].rank;
        weft_status status = peer > control->identity.rank ? meeting_dial(control, peer, ROLE_CONTROL, 0) : WEFT_OK;
        if (status != WEFT_OK) return status;
    }
    return WEFT_OK;
}

void meeting_tick(struct control *control, uint64_t now_ns)
{
    if (control->listen_again_ns && control->listen_again_ns <= now_ns) {
        control->listen_again_ns = 0;
        engine_watch_change(control->listener_watch, EPOLLIN);
    }
    for (int i = 0; i < GUESTS_MAX; i++)
        if (control->guests[i].handshake.fd >= 0 && control->guests[i].until_ns <= now_ns)
            guest_dismiss(&control->guests[i]);
    for (struct dial *dial = control->dials, *next; dial; dial = next) {
        next = dial->next;
        if (dial->retry_ns <= now_ns) dial_advance(dial, now_ns);
    }
}

uint64_t meeting_next_ns(const struct control *control)
{
    uint64_t next = control->listen_again_ns ? control->listen_again_ns : UINT64_MAX;
    for (int i = 0; i < GUESTS_MAX; i++)
        if (control->guests[i].handshake.fd >= 0 && control->guests[i].until_ns < next)
            next = control->guests[i].until_ns;
    for (const struct dial *dial = control->dials; dial; dial = dial->next)
        if (dial->retry_ns < next) next = dial->retry_ns;
    return next;
}

void meeting_end(struct control *control)
{
    while (control->dials) dial_free(control->dials);
    for (int i = 0; i < GUESTS_MAX; i++) guest_dismiss(&control->guests[i]);
    for (uint32_t rank = 0; rank < control->identity.rank_count; rank++) {
        if (control->reaches[rank].fd >= 0) close(control->reaches[rank].fd);
        control->reaches[rank].fd = -1;
    }
    engine_watch_remove(&control->listener_watch);
    if (control->listener >= 0) close(control->listener);
    control->listener = -1;
}
