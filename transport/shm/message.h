/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What two sides of a connection say to each other over their Unix socket once they have greeted. A message is one byte
 * that says what it is, and for some kinds a body of 64-bit numbers in the byte order of the host that both share.
 */
#ifndef TRANSPORT_SHM_MESSAGE_H
#define TRANSPORT_SHM_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

enum shm_message_kind {
    /* One of these three ends the greeting: I have mapped your segment, and your own memory */
    SHM_READY = 'r',          /* is out of my reach */
    SHM_READY_COPYING = 'c',  /* can be copied from and to by the kernel for me */
    SHM_READY_DIRECTLY = 'm', /* is mine: we are one process */
    SHM_WAKE = 'w',           /* you were asleep; look */
    SHM_QUIESCE = 'q',        /* stop writing to me, and say when you have */
    SHM_QUIET = 'd',          /* I have */
    SHM_SHARE = 's',          /* share, address, bytes, offset; with the descriptor: map it, I may lend of it */
    SHM_UNSHARE = 'u',        /* share: unmap it */
};

#define SHM_MESSAGE_MAX_BYTES (1 + 4 * sizeof(uint64_t))

struct shm_message {
    uint8_t kind;
    uint64_t share, address, bytes, offset; /* as far as the kind has them, else 0 */
};

/* The beginning of a message whose end is still to come. Zeroed at the start. */
struct shm_message_reader {
    uint8_t held[SHM_MESSAGE_MAX_BYTES];
    uint8_t count;
};

/* Returns how many bytes it takes. */
size_t shm_message_encode(const struct shm_message *message, uint8_t wire[SHM_MESSAGE_MAX_BYTES]);
/*
 * Take bytes from *wire until a message is complete: true, and both are moved behind it. False: all were taken. A byte
 * that begins no known kind is a message of that byte alone, for the caller to refuse.
 */
bool shm_message_decode(struct shm_message_reader *reader, const uint8_t **wire, size_t *bytes,
                        struct shm_message *message);

/* Room for more than a correct peer sends, so that what is too much can be closed rather than lost track of. */
#define SHM_CONTROL_BYTES (CMSG_SPACE(4 * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred)))
/*
 * Take what came beside the bytes of @p received: a descriptor into *descriptor, where that is -1, and the sender into
 * *process. False: there were more descriptors, which have been closed.
 */
bool shm_control_take(struct msghdr *received, int *descriptor, pid_t *process);
/* The same as for a send; errno. @p descriptor travels along unless it is -1. All of @p bytes are sent, or none. */
bool shm_message_send(int socket, const struct shm_message *message, int descriptor);
#endif
