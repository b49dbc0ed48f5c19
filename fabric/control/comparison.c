/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Comparison of signatures. A rank that does not get on with an operation sends its signature of it to its neighbours.
 * Whoever receives one compares it with its own, once it has posted that operation, and sends its own on, once: so the
 * comparison covers the whole graph however few ranks noticed, and some edge of it joins two ranks that disagree.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "protocol_internal.h"

static void plan_add(char text[128], uint32_t plan)
{
    size_t used = strlen(text);
    snprintf(text + used, 128 - used, " plan %08" PRIx32, plan);
}

static void fail_mismatch(struct protocol *protocol, const struct neighbour *neighbour, const struct signature *own,
                          const struct signature *other)
{
    weft_failure failure;
    failure_begin(protocol, WEFT_MISMATCH, (int32_t)protocol->rank, &failure);
    failure.other_rank = (int32_t)neighbour->rank;
    failure.sequence = own->sequence;
    signature_text(own, failure.operation);
    signature_text(other, failure.other_operation);
    if (own->plan != other->plan && strcmp(failure.operation, failure.other_operation) == 0) {
        /* The call is the same, how it would be run is not. */
        plan_add(failure.operation, own->plan);
        plan_add(failure.other_operation, other->plan);
    }
    snprintf(failure.message, sizeof failure.message, "operation %" PRIu64 " is %.80s on rank %u but %.80s on rank %u",
             own->sequence, failure.operation, protocol->rank, failure.other_operation, neighbour->rank);
    protocol_report(protocol, &failure);
}

static void compare(struct protocol *protocol, const struct neighbour *neighbour, const struct signature *other)
{
    struct signature own;
    if (!signature_ring_find(protocol->outside.signatures, other->sequence, &own)) return;
    if (!signature_equal(&own, other)) fail_mismatch(protocol, neighbour, &own, other);
}

/* @p signature: that of any rank that waits in the operation. */
static void fail_left(struct protocol *protocol, const struct neighbour *neighbour, const struct signature *signature)
{
    weft_failure failure;
    failure_begin(protocol, WEFT_PEER_FAILED, (int32_t)neighbour->rank, &failure);
    failure.sequence = signature->sequence;
    signature_text(signature, failure.operation);
    snprintf(failure.message, sizeof failure.message,
             "rank %u left before operation %" PRIu64 ", %s, having begun %" PRIu64, neighbour->rank,
             signature->sequence, failure.operation, neighbour->begun);
    protocol_report(protocol, &failure);
}

/* An operation that some rank waits in, against what is known of neighbours that have left. */
static void compare_left(struct protocol *protocol, const struct signature *signature)
{
    for (uint32_t i = 0; i < protocol->neighbour_count; i++) {
        const struct neighbour *neighbour = &protocol->neighbours[i];
        if (neighbour->state != NEIGHBOUR_LEFT) continue;
        if (neighbour->begun < signature->sequence) fail_left(protocol, neighbour, signature);
        for (uint32_t k = 0; k < neighbour->known_count; k++)
            if (neighbour->known[k].sequence == signature->sequence) compare(protocol, neighbour, &neighbour->known[k]);
    }
}

static bool is_announced(const struct protocol *protocol, uint64_t sequence)
{
    return protocol->announced[sequence % SIGNATURES_KEPT] == sequence;
}

static void announce(struct protocol *protocol, uint64_t sequence)
{
    struct signature own;
    if (protocol->failed || is_announced(protocol, sequence)) return;
    if (!signature_ring_find(protocol->outside.signatures, sequence, &own)) return;
    protocol->announced[sequence % SIGNATURES_KEPT] = sequence;
    if (sequence > protocol->announced_highest) protocol->announced_highest = sequence;
    compare_left(protocol, &own);
    if (!protocol->failed) send_to_all(protocol, &(struct message){.kind = MESSAGE_SIGNATURE, .signature = own}, -1);
}

void protocol_stalled(struct protocol *protocol, uint64_t sequence)
{
    announce(protocol, sequence);
}

static void keep_pending(struct neighbour *neighbour, const struct signature *signature)
{
    /* A neighbour is never further ahead than its own memory reaches: more than that is not kept. */
    if (neighbour->pending_count == SIGNATURES_KEPT) return;
    if (neighbour->pending_count == neighbour->pending_capacity) {
        uint32_t capacity = neighbour->pending_capacity ? 2 * neighbour->pending_capacity : 8;
        struct signature *grown = realloc(neighbour->pending, capacity * sizeof *grown);
        if (!grown) return; /* the comparison is lost; the operation's deadline remains */
        neighbour->pending = grown;
        neighbour->pending_capacity = capacity;
    }
    neighbour->pending[neighbour->pending_count++] = *signature;
}

void comparison_receive(struct protocol *protocol, uint32_t index, const struct signature *signature)
{
    if (protocol->failed) return;
    struct neighbour *neighbour = &protocol->neighbours[index];
    if (signature->sequence <= signature_ring_posted(protocol->outside.signatures)) {
        compare(protocol, neighbour, signature);
        announce(protocol, signature->sequence);
        return;
    }
    keep_pending(neighbour, signature);
    compare_left(protocol, signature);
}

void comparison_tick(struct protocol *protocol)
{
    uint64_t posted = signature_ring_posted(protocol->outside.signatures);
    for (uint32_t i = 0; i < protocol->neighbour_count; i++) {
        struct neighbour *neighbour = &protocol->neighbours[i];
        uint32_t kept = 0;
        for (uint32_t k = 0; k < neighbour->pending_count && !protocol->failed; k++) {
            struct signature signature = neighbour->pending[k];
            if (signature.sequence > posted) {
                neighbour->pending[kept++] = signature;
                continue;
            }
            compare(protocol, neighbour, &signature);
            announce(protocol, signature.sequence);
        }
        neighbour->pending_count = kept;
    }
}

bool comparison_is_pending(const struct protocol *protocol)
{
    for (uint32_t i = 0; i < protocol->neighbour_count; i++)
        if (protocol->neighbours[i].pending_count > 0) return true;
    return false;
}

/* The signature of an operation that some rank waits in and that is numbered above @p begun. */
static bool find_waiting(const struct protocol *protocol, uint64_t begun, struct signature *signature)
{
    if (protocol->announced_highest > begun &&
        signature_ring_find(protocol->outside.signatures, protocol->announced_highest, signature))
        return true;
    for (uint32_t i = 0; i < protocol->neighbour_count; i++)
        for (uint32_t k = 0; k < protocol->neighbours[i].pending_count; k++)
            if (protocol->neighbours[i].pending[k].sequence > begun) {
                *signature = protocol->neighbours[i].pending[k];
                return true;
            }
    return false;
}

void comparison_goodbye(struct protocol *protocol, uint32_t index)
{
    struct neighbour *neighbour = &protocol->neighbours[index];
    struct signature waiting;
    if (find_waiting(protocol, neighbour->begun, &waiting)) fail_left(protocol, neighbour, &waiting);
    for (uint32_t k = 0; k < neighbour->known_count; k++)
        if (is_announced(protocol, neighbour->known[k].sequence)) compare(protocol, neighbour, &neighbour->known[k]);
}
