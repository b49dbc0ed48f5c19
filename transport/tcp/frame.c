/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hello:  magic 8, rank 4, peer 4, attempt 4, lane 2, lanes 2, granted_bytes 8, zero 8.
 * A frame:  kind 1, flags 1, offset 6, bytes 4, tag 4.
 */
#include "transport/tcp/frame.h"

#include <string.h>

#include "base/bytes.h"
#include "transport/tcp/tcp.h"

#define MAGIC UINT64_C(0x3170637474666577) /* "wefttcp1" */

void tcp_hello_encode(const struct tcp_hello *hello, uint8_t wire[TCP_HELLO_BYTES])
{
    bytes_put_u64(wire, MAGIC);
    bytes_put_u32(wire + 8, hello->rank);
    bytes_put_u32(wire + 12, hello->peer);
    bytes_put_u32(wire + 16, hello->attempt);
    bytes_put_u16(wire + 20, hello->lane);
    bytes_put_u16(wire + 22, hello->lanes);
    bytes_put_u64(wire + 24, hello->granted_bytes);
    bytes_put_u64(wire + 32, 0);
}

static weft_status refuse(weft_status status, const char *sentence, const char **reason)
{
    *reason = sentence;
    return status;
}

weft_status tcp_hello_decode(const uint8_t wire[TCP_HELLO_BYTES], struct tcp_hello *hello, const char **reason)
{
    const struct tcp_hello said = {.rank = bytes_get_u32(wire + 8),
                                   .peer = bytes_get_u32(wire + 12),
                                   .attempt = bytes_get_u32(wire + 16),
                                   .lane = bytes_get_u16(wire + 20),
                                   .lanes = bytes_get_u16(wire + 22),
                                   .granted_bytes = bytes_get_u64(wire + 24)};

    if (bytes_get_u64(wire) != MAGIC)
        return refuse(WEFT_PEER_REFUSED, "speaks another version of this protocol, or none", reason);
    if (said.lanes == 0 || said.lanes > TCP_MAX_LANES || said.lane >= said.lanes)
        return refuse(WEFT_PROTOCOL_ERROR, "names a lane that cannot be", reason);
    if (said.granted_bytes > TCP_MAX_GRANTED_BYTES)
        return refuse(WEFT_PROTOCOL_ERROR, "grants more memory than there can be", reason);
    if (bytes_get_u64(wire + 32) != 0) return refuse(WEFT_PROTOCOL_ERROR, "fills what has to be zero", reason);
    *hello = said;
    return WEFT_OK;
}

void tcp_frame_encode(const struct tcp_frame *frame, uint8_t wire[TCP_FRAME_BYTES])
{
    bytes_put_u64(wire, frame->offset << 16 | (uint32_t)frame->flags << 8 | frame->kind);
    bytes_put_u32(wire + 8, frame->bytes);
    bytes_put_u32(wire + 12, frame->tag);
}

weft_status tcp_frame_decode(const uint8_t wire[TCP_FRAME_BYTES], uint64_t granted_bytes, struct tcp_frame *frame,
                             const char **reason)
{
    const uint64_t first = bytes_get_u64(wire);
    const struct tcp_frame said = {.kind = (uint8_t)first,
                                   .flags = (uint8_t)(first >> 8),
                                   .offset = first >> 16,
                                   .bytes = bytes_get_u32(wire + 8),
                                   .tag = bytes_get_u32(wire + 12)};

    switch (said.kind) {
    case TCP_FRAME_PUT:
        if (said.flags & ~TCP_FRAME_NOTIFY) return refuse(WEFT_PROTOCOL_ERROR, "sets unknown flags", reason);
        /* Never offset + bytes, although 48 and 32 bits could not overflow: the check stays right if they grow. */
        if (said.offset > granted_bytes || said.bytes > granted_bytes - said.offset)
            return refuse(WEFT_PROTOCOL_ERROR, "writes outside the region it was granted", reason);
        break;
    case TCP_FRAME_QUIESCE:
    case TCP_FRAME_QUIET:
        if (said.flags || said.offset || said.bytes || said.tag)
            return refuse(WEFT_PROTOCOL_ERROR, "fills what has to be zero", reason);
        break;
    default:
        return refuse(WEFT_PROTOCOL_ERROR, "sends what is no frame", reason);
    }
    *frame = said;
    return WEFT_OK;
}
