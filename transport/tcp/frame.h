/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes over a lane: one hello each way, one TCP_GO from the dialling side over lane 0, and then frames. All fields
 * are little-endian. Nothing here reads or writes anything but its arguments.
 */
#ifndef TRANSPORT_TCP_FRAME_H
#define TRANSPORT_TCP_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <weft/types.h>

#define TCP_HELLO_BYTES 40
#define TCP_FRAME_BYTES 16
/* Offsets have 48 bits on the wire, as addresses have in a process. */
#define TCP_MAX_GRANTED_BYTES (UINT64_C(1) << 48)
/* From the dialling side: it has had an answer on every lane, so this is no attempt that it has given up. */
#define TCP_GO 'g'

struct tcp_hello {
    uint32_t rank, peer;    /* whose it is, for whom */
    uint32_t attempt;       /* counts up at the dialling side: sockets of one connection have the same */
    uint16_t lane, lanes;   /* which of how many */
    uint64_t granted_bytes; /* of the region that the other side may write */
};

/* Far apart, so that a stream that has gone astray is noticed at the next frame. */
enum tcp_frame_kind {
    TCP_FRAME_PUT = 0x9d,     /* `bytes` bytes of payload follow */
    TCP_FRAME_QUIESCE = 0x5a, /* stop writing to me, and say when you have */
    TCP_FRAME_QUIET = 0xc3,   /* I have, on this lane: it is the lane's last frame */
};

enum tcp_frame_flags { TCP_FRAME_NOTIFY = 1 };

struct tcp_frame {
    uint8_t kind, flags;
    uint32_t bytes, tag;
    uint64_t offset;
};

void tcp_hello_encode(const struct tcp_hello *hello, uint8_t wire[TCP_HELLO_BYTES]);
/*
 * WEFT_PEER_REFUSED: another version of this protocol, or none. WEFT_PROTOCOL_ERROR: no correct peer says this. *reason
 * is then the end of a sentence about the peer, and *hello untouched.
 */
weft_status tcp_hello_decode(const uint8_t wire[TCP_HELLO_BYTES], struct tcp_hello *hello, const char **reason);

void tcp_frame_encode(const struct tcp_frame *frame, uint8_t wire[TCP_FRAME_BYTES]);
/* WEFT_PROTOCOL_ERROR as above; else a put lies within a region of @p granted_bytes. */
weft_status tcp_frame_decode(const uint8_t wire[TCP_FRAME_BYTES], uint64_t granted_bytes, struct tcp_frame *frame,
                             const char **reason);
#endif
