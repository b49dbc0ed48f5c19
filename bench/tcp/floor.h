/* SPDX-License-Identifier: Apache-2.0 */
/* The ways in which bench_tcp_floor moves bytes between its two processes. */
#ifndef BENCH_TCP_FLOOR_H
#define BENCH_TCP_FLOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What one process has to do in a call. */
struct job {
    const uint8_t *source;
    uint8_t *target;
    size_t out_bytes, in_bytes; /* either may be 0 */
    bool adds;                  /* target = source + what comes, floats; else target = what comes */
};

struct way;
struct lane {
    const struct way *way;
    int fd;
    uint8_t *staging; /* STAGING_BYTES, used round and round */
    int pipe[2];
    size_t piped_bytes;
    struct uring *ring;
};

struct way {
    const char *name, *what;
    bool paced;         /* by the congestion control that the system chooses, not by reno */
    bool staged;        /* what comes is received into staging and copied from there */
    size_t piece_bytes; /* of a send at most; 0: all that is left */
    bool refers;
    bool rings;
};

enum { STAGING_BYTES = 1 << 20 };

extern const struct way ways[];
extern const size_t way_count;

/* Once in each process, after the sockets are connected. False, with errno: this machine does not have it. */
bool lane_open(struct lane *lane);
void lane_run(struct lane *lane, const struct job *job);

/* floor_ring.c: io_uring without a library. NULL: not to be had. */
struct uring *uring_open(void);
/* Begin a send() or recv(); its result comes with @p is_send. */
void uring_begin(struct uring *ring, bool is_send, int fd, void *at, size_t bytes);
/* Hand over what has begun, and see whether anything is done. */
bool uring_poll(struct uring *ring, bool *is_send, int *result);

void die(const char *what);
#endif
