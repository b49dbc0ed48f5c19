/* SPDX-License-Identifier: Apache-2.0 */
/* What a control neighbour may send: decoded, encoded again, and taken by the protocol of rank 0 of 4. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "fabric/control/protocol.h"
#include "tests/fuzz/target.h"

enum { RANKS = 4, SENDER = 0 /* its index among the neighbours */ };

static void discard(void *context, uint32_t neighbour, const struct message *message)
{
    uint8_t bytes[MESSAGE_BYTES_MAX];
    (void)context;
    PROMISE(neighbour < RANKS);
    PROMISE(message_encode(message, bytes) <= sizeof bytes);
}

static void check_same_again(const struct message *message)
{
    uint8_t bytes[MESSAGE_BYTES_MAX];
    struct message again;
    size_t size = message_encode(message, bytes), used = 0;
    PROMISE(message_decode(bytes, size, RANKS, &again, &used, NULL) == WEFT_OK);
    PROMISE(used == size);
    PROMISE(memcmp(message, &again, sizeof again) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct signature_ring ring;
    struct contact contacts[RANKS] = {{.data = {.family = AF_UNSPEC}}};
    struct protocol_outside outside = {.send = discard, .signatures = &ring, .contacts = contacts};
    struct protocol protocol;
    uint64_t now_ns = NS_PER_S;
    for (uint64_t sequence = 1; sequence <= 3; sequence++)
        signature_ring_put(&ring, &(struct signature){.sequence = sequence, .count = 5});
    if (protocol_init(&protocol, 0, RANKS, NS_PER_S, &outside, now_ns) != WEFT_OK) return 0;
    protocol_connected(&protocol, SENDER, now_ns);

    weft_status status = WEFT_OK;
    struct diagnostic diagnostic = {0};
    while (status == WEFT_OK) {
        struct message message;
        size_t used = 0;
        status = message_decode(bytes, size, RANKS, &message, &used, &diagnostic);
        if (status != WEFT_OK) break;
        PROMISE(used > 0 && used <= size);
        check_same_again(&message);
        bool failed = protocol.failed;
        weft_failure first = protocol.failure;
        protocol_receive(&protocol, SENDER, &message, now_ns);
        PROMISE(!failed || memcmp(&first, &protocol.failure, sizeof first) == 0);
        now_ns += NS_PER_MS;
        protocol_tick(&protocol, now_ns);
        PROMISE(protocol_next_ns(&protocol) > now_ns);
        bytes += used;
        size -= used;
    }
    PROMISE(status == WEFT_IN_PROGRESS || (status == WEFT_PROTOCOL_ERROR && diagnostic.text[0] != '\0'));
    protocol_ended(&protocol, SENDER, status == WEFT_PROTOCOL_ERROR ? &diagnostic : NULL);
    protocol_free(&protocol);
    return 0;
}
