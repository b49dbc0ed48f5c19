/* SPDX-License-Identifier: Apache-2.0 */
/* The stream of messages to and from one control neighbour. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "control_internal.h"

#define REDIAL_PAUSE_NS (20 * NS_PER_MS)

static void connection_ready(void *context, uint32_t events, uint64_t now_ns);

/* A host that acknowledges nothing is gone: without this the kernel would go on sending for a quarter of an hour. */
static void limit_silence(int fd, uint64_t keepalive_ns)
{
    uint64_t ms = keepalive_ns / NS_PER_MS;
    unsigned timeout_ms = ms > INT32_MAX ? INT32_MAX : (unsigned)ms;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms); /* no TCP: no matter */
}

bool connection_open(struct connection *connection, const struct link *link, uint64_t now_ns)
{
    struct control *control = connection->control;
    if (link->tls) limit_silence(link->fd, control->protocol.keepalive_ns);
    if (!stream_open(&connection->stream, link, connection_ready, connection)) return false;
    protocol_connected(&control->protocol, connection->neighbour, now_ns);
    return true;
}

bool connections_unsent(const struct control *control)
{
    for (uint32_t i = 0; i < control->protocol.neighbour_count; i++) {
        const struct stream *stream = &control->connections[i].stream;
        if (stream->link.fd >= 0 && stream->unsent_bytes > 0) return true;
    }
    return false;
}

static void take_message(void *context, const struct message *message, uint64_t now_ns)
{
    struct connection *connection = context;
    protocol_receive(&connection->control->protocol, connection->neighbour, message, now_ns);
}

static void connection_ready(void *context, uint32_t events, uint64_t now_ns)
{
    (void)events;
    struct connection *connection = context;
    struct control *control = connection->control;
    struct protocol *protocol = &control->protocol;
    struct diagnostic wrong = {.status = WEFT_OK};
    if (!stream_advance(&connection->stream, protocol->rank_count, take_message, connection, now_ns, &wrong)) {
        bool unheard = protocol->neighbours[connection->neighbour].state == NEIGHBOUR_CONNECTED;
        protocol_ended(protocol, connection->neighbour, wrong.status == WEFT_OK ? NULL : &wrong);
        control_settle(control);
        stream_close(&connection->stream);
        /* Dropped before a word: the peer was not ready for us, so try again, but not at full speed. */
        uint32_t peer = protocol->neighbours[connection->neighbour].rank;
        if (unheard && !protocol->failed && peer > control->identity.rank)
            meeting_dial(control, peer, ROLE_CONTROL, now_ns + REDIAL_PAUSE_NS);
        return;
    }
    control_settle(control);
}
