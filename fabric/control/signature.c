/* SPDX-License-Identifier: Apache-2.0 */
#include "signature.h"

#include <inttypes.h>
#include <stdio.h>

static bool alike(const struct signature *a, const struct signature *b)
{
    return a->count == b->count && a->root == b->root && a->collective == b->collective && a->dtype == b->dtype &&
           a->op == b->op && a->algorithm == b->algorithm && a->plan == b->plan;
}

/*
 * The words of a slot are stored with release and loaded with acquire order, which on x86 costs nothing over relaxed
 * and, unlike fences, is understood by the thread sanitizer: a reader that sees a word of a later writer also sees that
 * writer's 0 or its new first sequence, and discards what it has read.
 */
static void run_begin(struct signature_ring *ring, const struct signature *signature)
{
    /* Relaxed: the poster's own; its release below pairs with the first load of signature_ring_find(). */
    uint64_t run = atomic_load_explicit(&ring->runs, memory_order_relaxed) + 1;
    struct signature_slot *slot = &ring->slots[run % SIGNATURES_KEPT];
    uint64_t rest = (uint64_t)signature->root | (uint64_t)signature->collective << 32 |
                    (uint64_t)signature->dtype << 40 | (uint64_t)signature->op << 48 |
                    (uint64_t)signature->algorithm << 56;
    /* Relaxed: ordered before the words by their release; slot_read() reads it last. */
    atomic_store_explicit(&slot->first, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->count, signature->count, memory_order_release);
    atomic_store_explicit(&slot->rest, rest, memory_order_release);
    atomic_store_explicit(&slot->plan, signature->plan, memory_order_release);
    atomic_store_explicit(&slot->last, signature->sequence, memory_order_release);
    /* Release: pairs with the first load of slot_read(). */
    atomic_store_explicit(&slot->first, signature->sequence, memory_order_release);
    atomic_store_explicit(&ring->runs, run, memory_order_release);
}

void signature_ring_put(struct signature_ring *ring, const struct signature *signature)
{
    if (signature->sequence == ring->latest.sequence + 1 && alike(signature, &ring->latest)) {
        uint64_t run = atomic_load_explicit(&ring->runs, memory_order_relaxed); /* the poster's own */
        /* Release: pairs with slot_read(), though nothing else changes with it. */
        atomic_store_explicit(&ring->slots[run % SIGNATURES_KEPT].last, signature->sequence, memory_order_release);
    } else {
        run_begin(ring, signature);
    }
    ring->latest = *signature;
    /* Release: pairs with signature_ring_posted(); whoever sees the number finds the slot. */
    atomic_store_explicit(&ring->posted, signature->sequence, memory_order_release);
}

uint64_t signature_ring_posted(const struct signature_ring *ring)
{
    /* Acquire: pairs with the last store of signature_ring_put(). */
    return atomic_load_explicit(&ring->posted, memory_order_acquire);
}

/* False: the slot's run does not have it, or is being replaced. */
static bool slot_read(const struct signature_slot *slot, uint64_t sequence, struct signature *signature)
{
    /* Acquire: pairs with the slot's last store in run_begin(). */
    uint64_t first = atomic_load_explicit(&slot->first, memory_order_acquire);
    if (first == 0 || first > sequence) return false;
    /* Acquire: pairs with the words' stores, so that the load below sees at least what was stored before them. */
    uint64_t last = atomic_load_explicit(&slot->last, memory_order_acquire);
    uint64_t count = atomic_load_explicit(&slot->count, memory_order_acquire);
    uint64_t rest = atomic_load_explicit(&slot->rest, memory_order_acquire);
    uint32_t plan = atomic_load_explicit(&slot->plan, memory_order_acquire);
    /* Relaxed: the acquiring loads above keep it behind them; pairs with the store of 0 in run_begin(). */
    if (atomic_load_explicit(&slot->first, memory_order_relaxed) != first || sequence > last) return false;
    *signature = (struct signature){
        .sequence = sequence,
        .count = count,
        .root = (uint32_t)rest,
        .plan = plan,
        .collective = (uint8_t)(rest >> 32),
        .dtype = (uint8_t)(rest >> 40),
        .op = (uint8_t)(rest >> 48),
        .algorithm = (uint8_t)(rest >> 56),
    };
    return true;
}

bool signature_ring_find(const struct signature_ring *ring, uint64_t sequence, struct signature *signature)
{
    /* Acquire: pairs with run_begin(). What is looked for is mostly of the latest runs. */
    uint64_t newest = atomic_load_explicit(&ring->runs, memory_order_acquire);
    uint64_t kept = newest < SIGNATURES_KEPT ? newest : SIGNATURES_KEPT;
    for (uint64_t run = newest; sequence > 0 && run > newest - kept; run--)
        if (slot_read(&ring->slots[run % SIGNATURES_KEPT], sequence, signature)) return true;
    return false;
}

bool signature_equal(const struct signature *a, const struct signature *b)
{
    return a->sequence == b->sequence && alike(a, b);
}

void signature_text(const struct signature *signature, char text[128])
{
    const char *collective = weft_collective_name((weft_collective)signature->collective);
    const char *algorithm = weft_algorithm_name((weft_algorithm)signature->algorithm);
    const char *dtype = weft_dtype_name((weft_dtype)signature->dtype);
    switch ((weft_collective)signature->collective) {
    case WEFT_ALL_REDUCE:
    case WEFT_REDUCE_SCATTER:
        snprintf(text, 128, "%s count %" PRIu64 " dtype %s op %s algorithm %s", collective, signature->count, dtype,
                 weft_op_name((weft_op)signature->op), algorithm);
        return;
    case WEFT_REDUCE:
        snprintf(text, 128, "%s count %" PRIu64 " dtype %s op %s root %" PRIu32 " algorithm %s", collective,
                 signature->count, dtype, weft_op_name((weft_op)signature->op), signature->root, algorithm);
        return;
    case WEFT_BROADCAST:
    case WEFT_GATHER:
    case WEFT_SCATTER:
        snprintf(text, 128, "%s count %" PRIu64 " dtype %s root %" PRIu32 " algorithm %s", collective, signature->count,
                 dtype, signature->root, algorithm);
        return;
    case WEFT_ALL_GATHER:
    case WEFT_ALL_TO_ALL:
        snprintf(text, 128, "%s count %" PRIu64 " dtype %s algorithm %s", collective, signature->count, dtype,
                 algorithm);
        return;
    case WEFT_ALL_TO_ALLV: /* counts are each pair's own affair */
        snprintf(text, 128, "%s dtype %s algorithm %s", collective, dtype, algorithm);
        return;
    case WEFT_SEND_RECV: /* root: the peer */
        snprintf(text, 128, "%s count %" PRIu64 " dtype %s peer %" PRIu32, collective, signature->count, dtype,
                 signature->root);
        return;
    case WEFT_BARRIER:
        snprintf(text, 128, "%s algorithm %s", collective, algorithm);
        return;
    case WEFT_COLLECTIVE_COUNT:
        break;
    }
    snprintf(text, 128, "collective %u (unknown to this version)", signature->collective);
}
