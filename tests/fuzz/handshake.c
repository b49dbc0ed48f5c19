/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stranger may send to a rank that listens, over a Unix socket or TCP, TLS or not, and what one may answer to a
 * rank that dials; and 128 bytes that are said to be a unique id. Nobody gets in without the key.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fabric/bootstrap/bootstrap_internal.h"
#include "tests/fuzz/target.h"

static struct identity identity; /* rank 2 of 4 */
static int listener;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    weft_unique_id id;
    PROMISE(bootstrap_id_create_local(&id) == WEFT_OK);
    PROMISE(bootstrap_identity(&id, 2, 4, &identity, NULL) == WEFT_OK);
    memcpy(identity.job, "a job of fuzzing", sizeof identity.job); /* public: inputs may know it */
    PROMISE(bootstrap_listen(&identity, &listener, NULL) == WEFT_OK);
    return 0;
}

/* All that it has to say, and then its end. */
static void stranger_talks(int fd, const uint8_t *bytes, size_t size, struct handshake *handshake)
{
    struct diagnostic why = {.status = WEFT_OK};
    weft_status status = WEFT_IN_PROGRESS;
    size_t half = size / 2;
    if (half) (void)!send(fd, bytes, half, MSG_NOSIGNAL | MSG_DONTWAIT);
    status = handshake_advance(handshake, &why);
    if (size > half) (void)!send(fd, bytes + half, size - half, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (status == WEFT_IN_PROGRESS && handshake->link.fd >= 0) status = handshake_advance(handshake, &why);
    shutdown(fd, SHUT_WR);
    for (int i = 0; i < 4 && status == WEFT_IN_PROGRESS && handshake->link.fd >= 0; i++)
        status = handshake_advance(handshake, &why);
    PROMISE(status != WEFT_OK);
    PROMISE(handshake->link.fd < 0);
    if (!handshake->dialling) {
        PROMISE(status == WEFT_PROTOCOL_ERROR || status == WEFT_PEER_REFUSED);
        PROMISE(why.text[0] != '\0');
        /* On the network a stranger must not pass for a rank that cannot take part: that would end the job. */
        PROMISE(!handshake->network || status == WEFT_PROTOCOL_ERROR);
    }
    close(fd);
    handshake_abandon(handshake);
}

static void accept_stranger(bool network, const uint8_t *bytes, size_t size)
{
    struct handshake handshake;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) return;
    handshake_accept(&handshake, &identity, ends[1], network);
    stranger_talks(ends[0], bytes, size, &handshake);
}

static void dial_stranger(const uint8_t *bytes, size_t size)
{
    const struct tcp_address unix_socket = {.family = AF_UNSPEC};
    struct identity own = identity;
    struct handshake handshake;
    own.rank = 1;
    handshake_dial(&handshake, &own, 2, ROLE_CONTROL, &unix_socket);
    PROMISE(handshake_advance(&handshake, NULL) == WEFT_IN_PROGRESS);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    PROMISE(fd >= 0);
    stranger_talks(fd, bytes, size, &handshake);
}

static void read_id(const uint8_t *bytes, size_t size)
{
    weft_unique_id id = {{0}};
    struct identity found;
    memcpy(id.bytes, bytes, size < sizeof id.bytes ? size : sizeof id.bytes);
    struct diagnostic why = {.status = WEFT_OK};
    weft_status status = bootstrap_identity(&id, 1, 2, &found, &why);
    PROMISE(status == WEFT_OK || (status == WEFT_INVALID_ARGUMENT && why.text[0] != '\0'));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0 || size > 4096) return 0;
    switch (bytes[0] & 3) {
    case 0:
        accept_stranger(false, bytes + 1, size - 1);
        break;
    case 1:
        accept_stranger(true, bytes + 1, size - 1);
        break;
    case 2:
        dial_stranger(bytes + 1, size - 1);
        break;
    default:
        read_id(bytes + 1, size - 1);
    }
    return 0;
}
