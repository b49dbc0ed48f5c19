/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/shm/message.h"

#include <errno.h>
#include <stdalign.h>
#include <string.h>
#include <unistd.h>

/* Numbers in the body. */
static size_t body_count(uint8_t kind)
{
    return kind == SHM_SHARE ? 4 : kind == SHM_UNSHARE ? 1 : 0;
}

size_t shm_message_encode(const struct shm_message *message, uint8_t wire[SHM_MESSAGE_MAX_BYTES])
{
    const uint64_t body[] = {message->share, message->address, message->bytes, message->offset};
    const size_t bytes = body_count(message->kind) * sizeof body[0];

    wire[0] = message->kind;
    memcpy(wire + 1, body, bytes);
    return 1 + bytes;
}

bool shm_message_decode(struct shm_message_reader *reader, const uint8_t **wire, size_t *bytes,
                        struct shm_message *message)
{
    uint64_t body[4] = {0};

    while (*bytes) {
        reader->held[reader->count++] = *(*wire)++;
        --*bytes;
        const size_t body_bytes = body_count(reader->held[0]) * sizeof body[0];
        if (reader->count < 1 + body_bytes) continue;
        memcpy(body, reader->held + 1, body_bytes);
        *message = (struct shm_message){reader->held[0], body[0], body[1], body[2], body[3]};
        reader->count = 0;
        return true;
    }
    return false;
}

bool shm_control_take(struct msghdr *received, int *descriptor, pid_t *process)
{
    bool excess = received->msg_flags & MSG_CTRUNC;

    for (struct cmsghdr *part = CMSG_FIRSTHDR(received); part; part = CMSG_NXTHDR(received, part)) {
        if (part->cmsg_level != SOL_SOCKET) continue;
        if (part->cmsg_type == SCM_CREDENTIALS && part->cmsg_len == CMSG_LEN(sizeof(struct ucred))) {
            struct ucred sender;
            memcpy(&sender, CMSG_DATA(part), sizeof sender);
            *process = sender.pid;
        } else if (part->cmsg_type == SCM_RIGHTS) {
            const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (size_t i = 0; i < count; i++) {
                int fd;
                memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
                if (*descriptor < 0) {
                    *descriptor = fd;
                } else {
                    close(fd);
                    excess = true;
                }
            }
        }
    }
    return !excess;
}

/* A Unix socket splits nothing that fits into one of the kernel's buffers, so it takes all of a message or none. */
bool shm_message_send(int socket, const struct shm_message *message, int descriptor)
{
    alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))] = {0};
    uint8_t wire[SHM_MESSAGE_MAX_BYTES];
    struct iovec part = {wire, shm_message_encode(message, wire)};
    struct msghdr sent = {.msg_iov = &part, .msg_iovlen = 1};

    if (descriptor >= 0) {
        sent.msg_control = control;
        sent.msg_controllen = sizeof control;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&sent);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
    }
    return sendmsg(socket, &sent, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)part.iov_len;
}
