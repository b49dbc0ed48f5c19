/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a peer sends over TCP: the first 8 bytes say how much was granted to it, then come a hello and frames, each
 * followed by its payload, as far as the input goes.
 */
#include <string.h>

#include "base/bytes.h"
#include "tests/fuzz/target.h"
#include "transport/tcp/frame.h"
#include "transport/tcp/tcp.h"

static void hello_try(const uint8_t wire[TCP_HELLO_BYTES])
{
    const struct tcp_hello untouched = {.rank = 0x12345678};
    struct tcp_hello hello = untouched;
    const char *reason = NULL;
    uint8_t again[TCP_HELLO_BYTES];

    const weft_status status = tcp_hello_decode(wire, &hello, &reason);
    PROMISE(status == WEFT_OK || status == WEFT_PEER_REFUSED || status == WEFT_PROTOCOL_ERROR);
    PROMISE((status == WEFT_OK) == (reason == NULL));
    if (status) {
        PROMISE(hello.rank == untouched.rank);
        return;
    }
    PROMISE(hello.lanes >= 1 && hello.lanes <= TCP_MAX_LANES && hello.lane < hello.lanes);
    PROMISE(hello.granted_bytes <= TCP_MAX_GRANTED_BYTES);
    tcp_hello_encode(&hello, again);
    PROMISE(memcmp(again, wire, sizeof again) == 0);
}

/* Bytes of payload that follow. */
static size_t frame_try(const uint8_t wire[TCP_FRAME_BYTES], uint64_t granted_bytes)
{
    struct tcp_frame frame = {.tag = 0x12345678};
    const char *reason = NULL;
    uint8_t again[TCP_FRAME_BYTES];

    const weft_status status = tcp_frame_decode(wire, granted_bytes, &frame, &reason);
    PROMISE(status == WEFT_OK || status == WEFT_PROTOCOL_ERROR);
    PROMISE((status == WEFT_OK) == (reason == NULL));
    if (status) {
        PROMISE(frame.kind == 0 && frame.tag == 0x12345678);
        return 0;
    }
    PROMISE(frame.bytes == 0 || frame.kind == TCP_FRAME_PUT);
    PROMISE(frame.offset <= granted_bytes && granted_bytes - frame.offset >= frame.bytes);
    tcp_frame_encode(&frame, again);
    PROMISE(memcmp(again, wire, sizeof again) == 0);
    return frame.bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < 8 + TCP_HELLO_BYTES) return 0;
    const uint64_t granted_bytes = bytes_get_u64(bytes) % (TCP_MAX_GRANTED_BYTES + 1);
    hello_try(bytes + 8);
    for (size_t at = 8 + TCP_HELLO_BYTES; size - at >= TCP_FRAME_BYTES;) {
        const size_t payload = frame_try(bytes + at, granted_bytes);
        at += TCP_FRAME_BYTES;
        at += payload < size - at ? payload : size - at;
    }
    return 0;
}
