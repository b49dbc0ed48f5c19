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

void meeting_refuse(struct control *control, int32_t peer, const struct diagnostic *why)
{
    if (control->protocol.joined) { /* no longer anything to end for */
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

struct reach *meeting_reach(struct control *control, uint32_t peer, enum bootstrap_role role)
{
    return &control->reaches[role == ROLE_LANE ? control->identity.rank_count + peer : peer];
}

static void reach_drop_first(struct reach *reach)
{
    struct arrival *first = reach->first;
    reach->first = first->next;
    close(first->fd);
    free(first);
}

/* At the end of the queue. Beyond @p most nobody took the oldest, and the peer has begun anew. */
static void reach_add(struct reach *reach, uint32_t most, int fd)
{
    struct arrival *arrival = malloc(sizeof *arrival), **at = &reach->first;
    uint32_t count = 1;
    if (!arrival) {
        close(fd); /* as if the network had lost it */
        return;
    }
    *arrival = (struct arrival){.fd = fd};
    for (; *at; at = &(*at)->next) count++;
    *at = arrival;
    if (count > most) reach_drop_first(reach);
}

/* A handshake is complete: whose is the socket? */
static void assign(struct control *control, uint32_t peer, enum bootstrap_role role, struct link *link, uint64_t now_ns)
{
    if (role == ROLE_TRANSPORT || role == ROLE_LANE) {
        reach_add(meeting_reach(control, peer, role), role == ROLE_LANE ? LANES_WAITING_MAX : 1, link_release(link));
        return;
    }
    int32_t index = protocol_neighbour(&control->protocol, peer);
    if (index < 0 || control->protocol.neighbours[index].state > NEIGHBOUR_CONNECTED) {
        /* He that is there already, or has left: perhaps his next communicator under the same id. He will try again. */
        log_debug("control connection dropped rank %u peer %u", control->identity.rank, peer);
        link_close(link);
        return;
    }
    struct connection *connection = &control->connections[index];
    if (connection->stream.link.fd >= 0) {
        protocol_ended(&control->protocol, (uint32_t)index, NULL);
        stream_close(&connection->stream);
    }
    if (connection_open(connection, link, now_ns)) return;
    struct diagnostic diagnostic;
    diagnose(&diagnostic, WEFT_RESOURCE_LIMIT, "rank %u cannot watch its connection to rank %u", control->identity.rank,
             peer);
    meeting_refuse(control, (int32_t)peer, &diagnostic);
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
    struct link link = guest->handshake.link; /* closed and -1 unless WEFT_OK */
    link_plain(&guest->handshake.link, -1);
    if (link.fd >= 0)
        engine_watch_remove(&guest->watch);
    else
        engine_watch_forget(&guest->watch);
    if (status == WEFT_OK && guest->handshake.role == ROLE_MEETING)
        reception_admit(control, guest->handshake.peer, &link, now_ns);
    else if (status == WEFT_OK && guest->handshake.peer < control->identity.rank)
        assign(control, guest->handshake.peer, guest->handshake.role, &link, now_ns);
    else if (status == WEFT_OK)
        link_close(&link); /* the higher rank does not dial */
    else if (status == WEFT_PEER_REFUSED)
        meeting_refuse(control, -1, &diagnostic);
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
        if (guest->handshake.link.fd < 0) return guest;
        if (guest->until_ns < oldest->until_ns) oldest = guest;
    }
    guest_dismiss(oldest);
    return oldest;
}

static void door_ready(void *context, uint32_t events, uint64_t now_ns)
{
    (void)events;
    struct door *door = context;
    struct control *control = door->control;
    for (int accepted = 0; accepted < GUESTS_MAX && door->fd >= 0; accepted++) {
        int fd = accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK) return;
            /* No descriptors: the connection stays in the queue, and would wake us for ever. */
            log_warning("accept failed rank %u reason \"%s\"", control->identity.rank, strerror(errno));
            engine_watch_change(door->watch, 0);
            door->again_ns = now_ns + LISTEN_PAUSE_NS;
            return;
        }
        struct guest *guest = guest_place(control);
        guest->control = control;
        guest->until_ns = now_ns + GUEST_PATIENCE_NS;
        handshake_accept(&guest->handshake, &control->identity, fd, door != &control->doors[DOOR_UNIX]);
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
    int before = handshake->link.fd;
    weft_status status = handshake_advance(handshake, &diagnostic);
    if (handshake->role == ROLE_MEETING) control->reception.cause = handshake->cause;
    if (handshake->link.fd < 0) engine_watch_forget(&dial->watch);
    if (handshake->role == ROLE_TRANSPORT || handshake->role == ROLE_LANE)
        meeting_reach(control, handshake->peer, handshake->role)->cause = handshake->cause;
    if (status == WEFT_IN_PROGRESS) {
        if (before < 0 && handshake->link.fd >= 0) {
            dial->watch = engine_watch_add(handshake->link.fd, HANDSHAKE_EVENTS, dial_ready, dial);
            if (!dial->watch) handshake_abandon(handshake);
        }
        dial->retry_ns = handshake->link.fd >= 0 ? UINT64_MAX : now_ns + dial->interval_ns;
        if (handshake->link.fd < 0 && dial->interval_ns < DIAL_INTERVAL_MAX_NS) dial->interval_ns *= 2;
        return;
    }
    uint32_t peer = handshake->peer;
    enum bootstrap_role role = handshake->role;
    struct link link = handshake->link;
    if (link.fd >= 0) engine_watch_remove(&dial->watch);
    link_plain(&handshake->link, -1);
    dial_free(dial);
    struct reach *reach = role == ROLE_TRANSPORT || role == ROLE_LANE ? meeting_reach(control, peer, role) : NULL;
    if (reach) reach->dialling = false;
    if (status == WEFT_OK && role == ROLE_MEETING) {
        reception_attend(control, &link, now_ns);
    } else if (status == WEFT_OK) {
        assign(control, peer, role, &link, now_ns);
    } else {
        if (reach) reach->refused = status;
        meeting_refuse(control, (int32_t)peer, &diagnostic);
    }
}

/* Where a connection for this purpose leads: AF_UNSPEC is the peer's Unix socket. */
static struct tcp_address dial_address(const struct control *control, uint32_t peer, enum bootstrap_role role)
{
    if (role == ROLE_MEETING) return control->identity.meeting;
    if (role == ROLE_LANE || (role == ROLE_CONTROL && !control_same_host(control, peer)))
        return control->contacts[peer].data;
    return (struct tcp_address){.family = AF_UNSPEC};
}

weft_status meeting_dial(struct control *control, uint32_t peer, enum bootstrap_role role, uint64_t not_before_ns)
{
    struct dial *dial = calloc(1, sizeof *dial);
    if (!dial) return WEFT_OUT_OF_MEMORY;
    dial->control = control;
    dial->retry_ns = not_before_ns;
    dial->interval_ns = DIAL_INTERVAL_MIN_NS;
    const struct tcp_address at = dial_address(control, peer, role);
    handshake_dial(&dial->handshake, &control->identity, peer, role, &at);
    dial->next = control->dials;
    control->dials = dial;
    engine_kick(); /* it may be due at once */
    return WEFT_OK;
}

/* ---- All of it ---- */

void meeting_close_door(struct door *door)
{
    engine_watch_remove(&door->watch);
    if (door->fd >= 0) close(door->fd);
    door->fd = -1;
    door->again_ns = 0;
}

weft_status meeting_begin(struct control *control)
{
    for (int i = 0; i < DOOR_COUNT; i++) {
        struct door *door = &control->doors[i];
        if (door->fd < 0) continue;
        door->watch = engine_watch_add(door->fd, EPOLLIN, door_ready, door);
        if (!door->watch) return WEFT_OUT_OF_MEMORY;
    }
    if (control->protocol.meeting) return reception_begin(control);
    for (uint32_t i = 0; i < control->protocol.neighbour_count; i++) {
        uint32_t peer = control->protocol.neighbours[i].rank;
        weft_status status = peer > control->identity.rank ? meeting_dial(control, peer, ROLE_CONTROL, 0) : WEFT_OK;
        if (status != WEFT_OK) return status;
    }
    return WEFT_OK;
}

void meeting_tick(struct control *control, uint64_t now_ns)
{
    for (int i = 0; i < DOOR_COUNT; i++) {
        struct door *door = &control->doors[i];
        if (!door->again_ns || door->again_ns > now_ns) continue;
        door->again_ns = 0;
        engine_watch_change(door->watch, EPOLLIN);
    }
    for (int i = 0; i < GUESTS_MAX; i++)
        if (control->guests[i].handshake.link.fd >= 0 && control->guests[i].until_ns <= now_ns)
            guest_dismiss(&control->guests[i]);
    for (struct dial *dial = control->dials, *next; dial; dial = next) {
        next = dial->next;
        if (dial->retry_ns <= now_ns) dial_advance(dial, now_ns);
    }
}

uint64_t meeting_next_ns(const struct control *control)
{
    uint64_t next = UINT64_MAX;
    for (int i = 0; i < DOOR_COUNT; i++)
        if (control->doors[i].again_ns && control->doors[i].again_ns < next) next = control->doors[i].again_ns;
    for (int i = 0; i < GUESTS_MAX; i++)
        if (control->guests[i].handshake.link.fd >= 0 && control->guests[i].until_ns < next)
            next = control->guests[i].until_ns;
    for (const struct dial *dial = control->dials; dial; dial = dial->next)
        if (dial->retry_ns < next) next = dial->retry_ns;
    return next;
}

void meeting_end(struct control *control)
{
    while (control->dials) dial_free(control->dials);
    for (int i = 0; i < GUESTS_MAX; i++) guest_dismiss(&control->guests[i]);
    for (uint32_t i = 0; i < 2 * control->identity.rank_count; i++)
        while (control->reaches[i].first) reach_drop_first(&control->reaches[i]);
    for (int i = 0; i < DOOR_COUNT; i++) meeting_close_door(&control->doors[i]);
}
