/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How two sides exchange their segments over the socket:
 *
 *     each side sends       struct shm_header, with its segment's memfd
 *     then, having mapped   SHM_READY, or one like it that says how it gets at the other's own memory
 *
 * Both sides do the same at the same time, so nobody waits for somebody who waits.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "transport/shm/shm_internal.h"

/* What a socket call that failed means; WEFT_IN_PROGRESS: nothing yet. */
static weft_status status_of_socket_errno(int error)
{
    if (error == EAGAIN || error == EINTR) return WEFT_IN_PROGRESS;
    if (error == EPIPE || error == ECONNRESET) return WEFT_PEER_FAILED;
    return shm_status_of_errno(error);
}

static weft_status refuse(const struct shm_connection *connection, weft_status status, const char *reason)
{
    log_warning("shm connection refused rank %u peer %u reason \"%s\"", connection->base.endpoint->rank,
                connection->base.peer, reason);
    return status;
}

/* The kernel vouches for who made the other end. */
static weft_status peer_check(struct shm_connection *connection)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    int domain = 0;
    socklen_t domain_size = sizeof domain;
    const int on = 1;

    if (getsockopt(connection->socket, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) < 0 || domain != AF_UNIX ||
        getsockopt(connection->socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return refuse(connection, WEFT_UNSUPPORTED, "the rendezvous gave no unix socket");
    if (peer.uid != geteuid()) return refuse(connection, WEFT_PEER_REFUSED, "it belongs to another user");
    /* From here the kernel tells who sends, which need not be who made the socket. */
    if (setsockopt(connection->socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0) return shm_status_of_errno(errno);
    return WEFT_OK;
}

struct shm_header shm_header_of(const struct shm_connection *connection)
{
    struct shm_header header = {.magic = SHM_MAGIC,
                                .rank = connection->base.endpoint->rank,
                                .peer = connection->base.peer,
                                .granted_bytes = connection->base.granted_bytes,
                                .ring_entries = SHM_RING_ENTRIES,
                                .region_offset = SHM_REGION_OFFSET};

    if (shm_endpoint_of(connection->base.endpoint)->config.attach != SHM_ATTACH_OFF)
        shm_probe_describe(&header.probe_address, &header.probe_nonce);
    return header;
}

static weft_status greeting_send(struct shm_connection *connection)
{
    const struct shm_header header = shm_header_of(connection);

    if (connection->greeting_sent == sizeof header) return WEFT_OK;

    const struct ucred self = {.pid = getpid(), .uid = geteuid(), .gid = getegid()};
    alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof self)] = {0};
    struct iovec rest = {(uint8_t *)&header + connection->greeting_sent, sizeof header - connection->greeting_sent};
    struct msghdr message = {.msg_iov = &rest, .msg_iovlen = 1};

    if (connection->greeting_sent == 0) { /* the descriptor travels with the first byte */
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(part), &connection->memory, sizeof(int));
        part = CMSG_NXTHDR(&message, part);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_CREDENTIALS;
        part->cmsg_len = CMSG_LEN(sizeof self);
        memcpy(CMSG_DATA(part), &self, sizeof self);
    }
    const ssize_t sent = sendmsg(connection->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return status_of_socket_errno(errno);

    if (connection->memory >= 0) {
        close(connection->memory); /* the mapping and the message hold the memory now */
        connection->memory = -1;
    }
    connection->greeting_sent += (uint32_t)sent;
    return connection->greeting_sent == sizeof header ? WEFT_OK : WEFT_IN_PROGRESS;
}

static weft_status greeting_receive(struct shm_connection *connection)
{
    while (connection->greeting_received < sizeof connection->greeting) {
        alignas(struct cmsghdr) uint8_t control[SHM_CONTROL_BYTES];
        struct iovec rest = {connection->greeting + connection->greeting_received,
                             sizeof connection->greeting - connection->greeting_received};
        struct msghdr message = {
            .msg_iov = &rest, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        const ssize_t received = recvmsg(connection->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (received < 0) return status_of_socket_errno(errno);
        if (!shm_control_take(&message, &connection->greeting_memory, &connection->peer_process))
            return refuse(connection, WEFT_PROTOCOL_ERROR, "it sent more than one segment");
        if (received == 0) return WEFT_PEER_FAILED;
        connection->greeting_received += (uint32_t)received;
    }
    return WEFT_OK;
}

/* Is it a greeting, of this version, from the peer this connection is for, to us? */
static weft_status greeting_check(const struct shm_connection *connection, const struct shm_header *header)
{
    if (header->magic != SHM_MAGIC || header->ring_entries != SHM_RING_ENTRIES ||
        header->region_offset != SHM_REGION_OFFSET)
        return refuse(connection, WEFT_PEER_REFUSED, "it speaks another version of this protocol, or none");
    if (header->rank != connection->base.peer || header->peer != connection->base.endpoint->rank)
        return refuse(connection, WEFT_PROTOCOL_ERROR, "it is another rank, or takes us for another");
    if (connection->greeting_memory < 0) return refuse(connection, WEFT_PROTOCOL_ERROR, "it sent no segment");
    return WEFT_OK;
}

static weft_status remote_open(struct shm_connection *connection)
{
    struct shm_header header;
    const char *reason = NULL;

    memcpy(&header, connection->greeting, sizeof header);
    weft_status status = greeting_check(connection, &header);
    if (status) return status;
    status = shm_segment_open(connection->greeting_memory, &header, &connection->remote_mapping, &reason);
    if (status == WEFT_PROTOCOL_ERROR) {
        log_warning("shm connection refused rank %u peer %u reason \"its segment %s\"", connection->base.endpoint->rank,
                    connection->base.peer, reason);
    }
    if (status) return status;

    close(connection->greeting_memory);
    connection->greeting_memory = -1;
    connection->remote = connection->remote_mapping->segment;
    connection->base.remote_bytes = header.granted_bytes;
    connection->base.sleeping = &connection->remote->sleeping;
    connection->reach = (uint8_t)shm_probe_try(connection, &header);
    return WEFT_OK;
}

/*
 * The socket's end tells of the peer's death only once all copies of it are closed, and a child that the peer forked
 * may hold one. So the process itself is watched too, where the kernel lets us (5.3; some containers forbid it).
 */
static void process_open(struct shm_connection *connection)
{
    const pid_t process = connection->peer_process;

    if (process > 0 && process != getpid()) connection->process = (int)syscall(SYS_pidfd_open, process, 0);
}

static weft_status greet(struct shm_connection *connection)
{
    const weft_status sent = greeting_send(connection);
    if (sent && sent != WEFT_IN_PROGRESS) return sent;
    const weft_status received = greeting_receive(connection);
    if (received) return received;
    if (sent) return sent;

    const weft_status status = remote_open(connection);
    if (status) return status;
    process_open(connection);
    return WEFT_OK;
}

static const char ready[] = {
    [SHM_REACH_NOT] = SHM_READY, [SHM_REACH_COPYING] = SHM_READY_COPYING, [SHM_REACH_DIRECTLY] = SHM_READY_DIRECTLY};

static weft_status await_ready(struct shm_connection *connection)
{
    char message;

    if (!connection->ready_sent) {
        if (send(connection->socket, &ready[connection->reach], 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            return status_of_socket_errno(errno);
        connection->ready_sent = true;
    }
    /* One byte and no more: the peer may already say other things after it. */
    const ssize_t received = recv(connection->socket, &message, 1, MSG_DONTWAIT);
    if (received < 0) return status_of_socket_errno(errno);
    if (received == 0) return WEFT_PEER_FAILED;
    const char *found = memchr(ready, message, sizeof ready);
    if (!found) return refuse(connection, WEFT_PROTOCOL_ERROR, "it did not say that it is ready");
    connection->peer_reach = (uint8_t)(found - ready);
    return shm_watch_begin(connection);
}

static weft_status reach(struct shm_connection *connection)
{
    const struct rendezvous *rendezvous = &shm_endpoint_of(connection->base.endpoint)->rendezvous;
    int fd;

    const weft_status status = rendezvous->reach(rendezvous->context, connection->base.peer, &fd);
    if (status) return status;
    connection->socket = fd;
    return peer_check(connection);
}

weft_status shm_connect_advance(struct connection *base, uint64_t now_ns)
{
    static weft_status (*const advance[])(struct shm_connection *) = {
        [SHM_REACHING] = reach, [SHM_GREETING] = greet, [SHM_AWAITING] = await_ready};
    struct shm_connection *connection = shm_connection_of(base);

    (void)now_ns;
    while (connection->state < SHM_CONNECTED) {
        const weft_status status = advance[connection->state](connection);
        if (status == WEFT_IN_PROGRESS) return status;
        if (status) { /* the peer learns of it by the socket's end */
            if (connection->socket >= 0) close(connection->socket);
            connection->socket = -1;
            connection->failure = status;
            connection->state = SHM_FAILED;
            return status;
        }
        connection->state++;
    }
    return connection->state == SHM_FAILED || connection->state == SHM_FAILING ? connection->failure : WEFT_OK;
}
