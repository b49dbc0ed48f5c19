/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a peer says over the socket of a shared-memory connection: the first byte says in pieces of what size it comes.
 * However it is cut, the same messages come of it, and they are what was said.
 */
#include <string.h>

#include "tests/fuzz/target.h"
#include "transport/shm/message.h"

static bool message_equal(const struct shm_message *a, const struct shm_message *b)
{
    return a->kind == b->kind && a->share == b->share && a->address == b->address && a->bytes == b->bytes &&
           a->offset == b->offset;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct shm_message_reader whole = {.count = 0}, parts = {.count = 0};
    struct shm_message message, same;
    uint8_t wire[SHM_MESSAGE_MAX_BYTES];

    if (size == 0) return 0;
    const size_t step = 1 + bytes[0] % 64;
    const uint8_t *at = bytes + 1, *cut = at;
    size_t left = size - 1, piece = 0, unsent = left;
    while (shm_message_decode(&whole, &at, &left, &message)) {
        const size_t length = shm_message_encode(&message, wire);
        PROMISE(length <= sizeof wire && memcmp(at - length, wire, length) == 0);
        while (!shm_message_decode(&parts, &cut, &piece, &same)) {
            PROMISE(piece == 0 && unsent > 0);
            piece = unsent < step ? unsent : step;
            unsent -= piece;
        }
        PROMISE(message_equal(&message, &same) && cut == at);
    }
    PROMISE(left == 0 && whole.count < SHM_MESSAGE_MAX_BYTES);
    return 0;
}
