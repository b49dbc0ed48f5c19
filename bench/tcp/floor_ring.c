/* SPDX-License-Identifier: Apache-2.0 */
/* As much of io_uring as two requests at a time need: submitted together, in one call that waits for nothing. */
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/tcp/floor.h"

enum { ENTRIES = 8, IS_SEND = 1 };

struct uring {
    int fd;
    unsigned begun; /* not handed over yet */
    unsigned *submission_tail, *submission_mask, *submissions;
    unsigned *completion_head, *completion_tail, *completion_mask;
    struct io_uring_sqe *entries;
    struct io_uring_cqe *completions;
};

static unsigned *field(uint8_t *ring, uint32_t offset)
{
    return (unsigned *)(void *)(ring + offset);
}

struct uring *uring_open(void)
{
    /* Work is done when this process asks, not by interrupting it. */
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    const int fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &params);
    if (fd < 0) return NULL;
    const size_t submission_bytes = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    const size_t completion_bytes = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    const int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    uint8_t *submission = mmap(NULL, submission_bytes, protection, flags, fd, IORING_OFF_SQ_RING);
    uint8_t *completion = mmap(NULL, completion_bytes, protection, flags, fd, IORING_OFF_CQ_RING);
    struct io_uring_sqe *entries =
        mmap(NULL, params.sq_entries * sizeof *entries, protection, flags, fd, IORING_OFF_SQES);
    struct uring *ring = calloc(1, sizeof *ring);
    if (submission == MAP_FAILED || completion == MAP_FAILED || entries == MAP_FAILED || !ring) die("io_uring");
    *ring = (struct uring){
        .fd = fd,
        .submission_tail = field(submission, params.sq_off.tail),
        .submission_mask = field(submission, params.sq_off.ring_mask),
        .submissions = field(submission, params.sq_off.array),
        .completion_head = field(completion, params.cq_off.head),
        .completion_tail = field(completion, params.cq_off.tail),
        .completion_mask = field(completion, params.cq_off.ring_mask),
        .entries = entries,
        .completions = (struct io_uring_cqe *)(void *)(completion + params.cq_off.cqes),
    };
    return ring;
}

void uring_begin(struct uring *ring, bool is_send, int fd, void *at, size_t bytes)
{
    const unsigned tail = *ring->submission_tail, slot = tail & *ring->submission_mask;
    ring->entries[slot] = (struct io_uring_sqe){
        .opcode = is_send ? IORING_OP_SEND : IORING_OP_RECV,
        .fd = fd,
        .addr = (uint64_t)(uintptr_t)at,
        .len = (uint32_t)bytes,
        .msg_flags = is_send ? MSG_NOSIGNAL : 0,
        .user_data = is_send ? IS_SEND : 0,
    };
    ring->submissions[slot] = slot;
    /* Release: the entry before the tail that shows it; the kernel acquires. */
    __atomic_store_n(ring->submission_tail, tail + 1, __ATOMIC_RELEASE);
    ring->begun++;
}

bool uring_poll(struct uring *ring, bool *is_send, int *result)
{
    const unsigned head = *ring->completion_head;
    /* Acquire: the completion after the tail that shows it, which the kernel releases. */
    if (head == __atomic_load_n(ring->completion_tail, __ATOMIC_ACQUIRE)) {
        (void)syscall(SYS_io_uring_enter, ring->fd, ring->begun, 0, IORING_ENTER_GETEVENTS, NULL, 0);
        ring->begun = 0;
        if (head == __atomic_load_n(ring->completion_tail, __ATOMIC_ACQUIRE)) return false;
    }
    const struct io_uring_cqe *completion = &ring->completions[head & *ring->completion_mask];
    *is_send = completion->user_data == IS_SEND;
    *result = completion->res;
    __atomic_store_n(ring->completion_head, head + 1, __ATOMIC_RELEASE);
    return true;
}
