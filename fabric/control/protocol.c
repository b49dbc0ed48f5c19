/* SPDX-License-Identifier: Apache-2.0 */
/* Joining, liveness, flooding of failures. */
#include "protocol.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "protocol_internal.h"

/* While joining neighbours tell each other often whom they wait for, so that whoever gives up names the right rank. */
#define JOINING_INTERVAL_NS (100 * NS_PER_MS)
#define HEARTBEATS_PER_KEEPALIVE 4

static int compare_ranks(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

uint32_t control_neighbours(uint32_t rank, uint32_t rank_count, uint32_t neighbours[64])
{
    uint32_t count = 0;
    for (uint64_t distance = 1; distance < rank_count; distance *= 2) {
        neighbours[count++] = (uint32_t)((rank + distance) % rank_count);
        neighbours[count++] = (uint32_t)((rank + rank_count - distance) % rank_count);
    }
    qsort(neighbours, count, sizeof neighbours[0], compare_ranks);
    uint32_t unique = 0;
    for (uint32_t i = 0; i < count; i++)
        if (unique == 0 || neighbours[unique - 1] != neighbours[i]) neighbours[unique++] = neighbours[i];
    return unique;
}

weft_status protocol_init(struct protocol *protocol, uint32_t rank, uint32_t rank_count, uint64_t keepalive_ns,
                          const struct protocol_outside *outside, uint64_t now_ns)
{
    uint32_t ranks[64];
    uint32_t count = control_neighbours(rank, rank_count, ranks);
    *protocol = (struct protocol){.outside = *outside,
                                  .rank = rank,
                                  .rank_count = rank_count,
                                  .neighbour_count = count,
                                  .keepalive_ns = keepalive_ns,
                                  .ticked_ns = now_ns,
                                  .joined = rank_count == 1};
    protocol->neighbours = calloc(count + 1, sizeof *protocol->neighbours);
    protocol->announced = calloc(SIGNATURES_KEPT, sizeof *protocol->announced);
    if (!protocol->neighbours || !protocol->announced) {
        protocol_free(protocol);
        return WEFT_OUT_OF_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        protocol->neighbours[i].rank = ranks[i];
        protocol->neighbours[i].missing_rank = -1;
    }
    return WEFT_OK;
}

void protocol_tell(struct protocol *protocol, uint64_t token)
{
    protocol->least_token = protocol->most_token = token;
}

void protocol_free(struct protocol *protocol)
{
    for (uint32_t i = 0; protocol->neighbours && i < protocol->neighbour_count; i++)
        free(protocol->neighbours[i].pending);
    free(protocol->neighbours);
    free(protocol->announced);
    sharing_free(protocol);
    *protocol = (struct protocol){0};
}

int32_t protocol_neighbour(const struct protocol *protocol, uint32_t rank)
{
    for (uint32_t i = 0; i < protocol->neighbour_count; i++)
        if (protocol->neighbours[i].rank == rank) return (int32_t)i;
    return -1;
}

bool neighbour_listens(const struct neighbour *neighbour)
{
    return neighbour->state == NEIGHBOUR_CONNECTED || neighbour->state == NEIGHBOUR_PRESENT;
}

void protocol_send(struct protocol *protocol, uint32_t index, const struct message *message)
{
    if (neighbour_listens(&protocol->neighbours[index]))
        protocol->outside.send(protocol->outside.context, index, message);
}

void send_to_all(struct protocol *protocol, const struct message *message, int32_t except)
{
    for (uint32_t i = 0; i < protocol->neighbour_count; i++)
        if ((int32_t)i != except) protocol_send(protocol, i, message);
}

/* ---- Failures ---- */

/* Every neighbour is written to before the caller's caller can see `failed`: README.md, "Who is named". */
static void fail(struct protocol *protocol, const weft_failure *failure, int32_t from)
{
    if (protocol->failed) return;
    struct message message = {.kind = MESSAGE_FAILURE, .failure = *failure};
    message.failure.size = sizeof message.failure;
    send_to_all(protocol, &message, from);
    protocol->failure = message.failure;
    protocol->failed = true;
}

void protocol_report(struct protocol *protocol, const weft_failure *failure)
{
    fail(protocol, failure, -1);
}

void failure_begin(const struct protocol *protocol, weft_status status, int32_t rank, weft_failure *failure)
{
    uint64_t posted = signature_ring_posted(protocol->outside.signatures);
    struct signature latest;
    *failure = (weft_failure){.size = sizeof *failure,
                              .status = status,
                              .rank = rank,
                              .other_rank = -1,
                              .reporter_rank = (int32_t)protocol->rank,
                              .sequence = posted,
                              .track = -1,
                              .step = -1};
    if (signature_ring_find(protocol->outside.signatures, posted, &latest)) signature_text(&latest, failure->operation);
}

/* ---- Joining ---- */

/* The rank we lack a connection to, or else what the neighbour says whose READY we wait for; -1: nothing known. */
static int32_t missing_rank(const struct protocol *protocol)
{
    if (protocol->joined) return -1;
    for (uint32_t i = 0; i < protocol->neighbour_count; i++)
        if (protocol->neighbours[i].state <= NEIGHBOUR_CONNECTED) return (int32_t)protocol->neighbours[i].rank;
    uint32_t distance = UINT32_C(1) << protocol->round;
    uint32_t from = (protocol->rank + protocol->rank_count - distance) % protocol->rank_count;
    return protocol->neighbours[protocol_neighbour(protocol, from)].missing_rank;
}

uint32_t protocol_missing(const struct protocol *protocol)
{
    int32_t rank = missing_rank(protocol);
    if (rank >= 0) return (uint32_t)rank;
    uint32_t distance = UINT32_C(1) << protocol->round;
    return (protocol->rank + protocol->rank_count - distance) % protocol->rank_count;
}

/*
 * The contacts of the 2^round ranks up to us, which is what the ranks that are there for this round make known: along
 * the edges of the barrier below this is Bruck's all-gather (Bruck et al., IEEE Trans. Parallel Distrib. Syst. 8,
 * 1997).
 */
static void send_contacts(struct protocol *protocol, uint32_t ahead)
{
    struct message message = {.kind = MESSAGE_CONTACT};
    uint32_t count = protocol->rank_count;
    for (uint32_t i = 0; protocol->outside.contacts && i < UINT32_C(1) << protocol->round; i++) {
        uint32_t rank = (protocol->rank + count - i) % count, at = message.contacts.count;
        if (protocol->outside.contacts[rank].data.family == AF_UNSPEC) continue;
        message.contacts.entries[at].rank = rank;
        message.contacts.entries[at].contact = protocol->outside.contacts[rank];
        message.contacts.count++;
        if (message.contacts.count < MESSAGE_CONTACTS) continue;
        protocol_send(protocol, ahead, &message);
        message.contacts.count = 0;
    }
    if (message.contacts.count) protocol_send(protocol, ahead, &message);
}

/* Once joined, others read the table without a lock. */
static void take_contacts(struct protocol *protocol, const struct message *message)
{
    if (!protocol->outside.contacts || protocol->joined) return;
    for (uint32_t i = 0; i < message->contacts.count; i++) {
        struct contact *contact = &protocol->outside.contacts[message->contacts.entries[i].rank];
        if (contact->data.family == AF_UNSPEC) *contact = message->contacts.entries[i].contact;
    }
}

/*
 * Least and most do not mind being told twice: what the barrier brings along to every rank is exact. Once joined they
 * are all ranks', and stay.
 */
static void take_tokens(struct protocol *protocol, const struct message *message)
{
    if (protocol->joined) return;
    if (message->least_token < protocol->least_token) protocol->least_token = message->least_token;
    if (message->most_token > protocol->most_token) protocol->most_token = message->most_token;
}

/*
 * Dissemination barrier (Hensgen, Finkel, Manber 1988): in round k tell the rank 2^k ahead that we and the 2^k - 1
 * ranks behind us are there. After the last round everybody is.
 */
static void join_advance(struct protocol *protocol)
{
    while (!protocol->joined && !protocol->failed && !protocol->meeting) {
        uint32_t distance = UINT32_C(1) << protocol->round, count = protocol->rank_count;
        bool last = (uint64_t)distance >= count;
        if (last) {
            for (uint32_t i = 0; i < protocol->neighbour_count; i++)
                if (protocol->neighbours[i].state <= NEIGHBOUR_CONNECTED) return;
            protocol->joined = true;
            sharing_joined(protocol);
            return;
        }
        uint32_t ahead = (uint32_t)protocol_neighbour(protocol, (protocol->rank + distance) % count);
        uint32_t behind = (uint32_t)protocol_neighbour(protocol, (protocol->rank + count - distance) % count);
        if (!(protocol->rounds_sent >> protocol->round & 1)) {
            if (protocol->neighbours[ahead].state <= NEIGHBOUR_CONNECTED) return;
            send_contacts(protocol, ahead);
            const struct message ready = {.kind = MESSAGE_READY,
                                          .round = protocol->round,
                                          .least_token = protocol->least_token,
                                          .most_token = protocol->most_token};
            protocol_send(protocol, ahead, &ready);
            protocol->rounds_sent |= UINT32_C(1) << protocol->round;
        }
        if (!(protocol->neighbours[behind].rounds_heard >> protocol->round & 1)) return;
        protocol->round++;
    }
}

void protocol_met(struct protocol *protocol)
{
    protocol->meeting = false;
    join_advance(protocol);
}

/* ---- Liveness ---- */

static void send_heartbeat(struct protocol *protocol, uint32_t index, uint64_t now_ns)
{
    struct message message = {
        .kind = MESSAGE_HEARTBEAT,
        .heartbeat = {.keepalive_ns = protocol->keepalive_ns, .missing_rank = missing_rank(protocol)},
    };
    protocol->neighbours[index].told_ns = now_ns;
    protocol_send(protocol, index, &message);
}

static uint64_t heartbeat_interval_ns(const struct protocol *protocol, const struct neighbour *neighbour)
{
    uint64_t keepalive = protocol->keepalive_ns;
    if (neighbour->keepalive_ns && neighbour->keepalive_ns < keepalive) keepalive = neighbour->keepalive_ns;
    uint64_t interval = keepalive / HEARTBEATS_PER_KEEPALIVE;
    if (!protocol->joined && interval > JOINING_INTERVAL_NS) interval = JOINING_INTERVAL_NS;
    return interval ? interval : 1;
}

void protocol_connected(struct protocol *protocol, uint32_t index, uint64_t now_ns)
{
    struct neighbour *neighbour = &protocol->neighbours[index];
    neighbour->state = NEIGHBOUR_CONNECTED;
    neighbour->heard_ns = now_ns;
    send_heartbeat(protocol, index, now_ns);
    /* One that connects after a failure must learn of it like the others. */
    if (protocol->failed)
        protocol_send(protocol, index, &(struct message){.kind = MESSAGE_FAILURE, .failure = protocol->failure});
}

static void take_share(struct protocol *protocol, uint32_t index, const struct message *message)
{
    const char *what = protocol->failed ? NULL : sharing_receive(protocol, index, message);
    struct diagnostic wrong;
    if (!what) return;
    diagnose(&wrong, WEFT_PROTOCOL_ERROR, "%s", what);
    protocol_ended(protocol, index, &wrong);
}

void protocol_receive(struct protocol *protocol, uint32_t index, const struct message *message, uint64_t now_ns)
{
    struct neighbour *neighbour = &protocol->neighbours[index];
    neighbour->heard_ns = now_ns;
    if (neighbour->state == NEIGHBOUR_CONNECTED) neighbour->state = NEIGHBOUR_PRESENT;
    if (neighbour->state != NEIGHBOUR_PRESENT) return;
    switch (message->kind) {
    case MESSAGE_HEARTBEAT:
        neighbour->keepalive_ns = message->heartbeat.keepalive_ns;
        neighbour->missing_rank = message->heartbeat.missing_rank;
        break;
    case MESSAGE_READY:
        neighbour->rounds_heard |= UINT32_C(1) << message->round;
        take_tokens(protocol, message);
        break;
    case MESSAGE_FAILURE:
        fail(protocol, &message->failure, (int32_t)index);
        break;
    case MESSAGE_SIGNATURE:
        comparison_receive(protocol, index, &message->signature);
        break;
    case MESSAGE_GOODBYE:
        neighbour->state = NEIGHBOUR_LEFT;
        neighbour->begun = message->goodbye.begun;
        neighbour->known_count = message->goodbye.known_count;
        memcpy(neighbour->known, message->goodbye.known, sizeof neighbour->known);
        comparison_goodbye(protocol, index);
        break;
    case MESSAGE_CONTACT:
        take_contacts(protocol, message);
        break;
    case MESSAGE_SHARE:
        take_share(protocol, index, message);
        break;
    case MESSAGE_KIND_END:
        break;
    }
    join_advance(protocol);
}

void protocol_ended(struct protocol *protocol, uint32_t index, const struct diagnostic *wrong)
{
    struct neighbour *neighbour = &protocol->neighbours[index];
    enum neighbour_state before = neighbour->state;
    if (before == NEIGHBOUR_CONNECTED && !wrong) neighbour->state = NEIGHBOUR_ABSENT;
    if (before == NEIGHBOUR_LEFT || before == NEIGHBOUR_LOST || before == NEIGHBOUR_ABSENT) return;
    if (before == NEIGHBOUR_CONNECTED && !wrong) return;
    neighbour->state = NEIGHBOUR_LOST;
    weft_failure failure;
    failure_begin(protocol, wrong ? wrong->status : WEFT_PEER_FAILED, (int32_t)neighbour->rank, &failure);
    if (wrong)
        snprintf(failure.message, sizeof failure.message, "rank %u sent what no correct rank sends: %.180s",
                 neighbour->rank, wrong->text);
    else
        snprintf(failure.message, sizeof failure.message,
                 "rank %u ended without leaving: its process was killed, crashed, or exited early (rank %u had begun "
                 "%" PRIu64 " operations)",
                 neighbour->rank, protocol->rank, failure.sequence);
    fail(protocol, &failure, -1);
}

static void check_silence(struct protocol *protocol, uint64_t now_ns)
{
    for (uint32_t i = 0; i < protocol->neighbour_count && !protocol->failed; i++) {
        struct neighbour *neighbour = &protocol->neighbours[i];
        if (neighbour->state != NEIGHBOUR_PRESENT || now_ns - neighbour->heard_ns <= protocol->keepalive_ns) continue;
        weft_failure failure;
        failure_begin(protocol, WEFT_PEER_FAILED, (int32_t)neighbour->rank, &failure);
        snprintf(failure.message, sizeof failure.message,
                 "rank %u has been silent for %.1f s: its process is stopped or its host is gone (WEFT_KEEPALIVE sets "
                 "the limit)",
                 neighbour->rank, (double)(now_ns - neighbour->heard_ns) / 1e9);
        fail(protocol, &failure, -1);
    }
}

void protocol_tick(struct protocol *protocol, uint64_t now_ns)
{
    /*
     * If nobody called for long, it is we who were stopped (SIGSTOP, a suspended machine, starvation) and could not
     * have heard: the neighbours' silence starts anew.
     */
    uint64_t gap_ns = now_ns - protocol->ticked_ns;
    if (gap_ns > protocol->keepalive_ns / 2)
        for (uint32_t i = 0; i < protocol->neighbour_count; i++) protocol->neighbours[i].heard_ns = now_ns;
    protocol->ticked_ns = now_ns;
    if (!protocol->failed) check_silence(protocol, now_ns);
    for (uint32_t i = 0; i < protocol->neighbour_count; i++) {
        const struct neighbour *neighbour = &protocol->neighbours[i];
        if (neighbour_listens(neighbour) && now_ns - neighbour->told_ns >= heartbeat_interval_ns(protocol, neighbour))
            send_heartbeat(protocol, i, now_ns);
    }
    comparison_tick(protocol);
    join_advance(protocol);
}

uint64_t protocol_next_ns(const struct protocol *protocol)
{
    /* Often enough for protocol_tick() to tell a gap of its own from one of the neighbours. */
    uint64_t next = protocol->ticked_ns + protocol->keepalive_ns / HEARTBEATS_PER_KEEPALIVE;
    if (comparison_is_pending(protocol)) next = protocol->ticked_ns + PENDING_INTERVAL_NS;
    for (uint32_t i = 0; i < protocol->neighbour_count; i++) {
        const struct neighbour *neighbour = &protocol->neighbours[i];
        if (!neighbour_listens(neighbour)) continue;
        uint64_t told = neighbour->told_ns + heartbeat_interval_ns(protocol, neighbour);
        if (told < next) next = told;
        uint64_t silent = neighbour->heard_ns + protocol->keepalive_ns + 1;
        if (neighbour->state == NEIGHBOUR_PRESENT && !protocol->failed && silent < next) next = silent;
    }
    return next;
}

void protocol_leave(struct protocol *protocol)
{
    struct message message = {.kind = MESSAGE_GOODBYE};
    uint64_t begun = signature_ring_posted(protocol->outside.signatures);
    uint32_t known = begun < GOODBYE_SIGNATURES ? (uint32_t)begun : GOODBYE_SIGNATURES;
    message.goodbye.begun = begun;
    for (uint64_t sequence = begun - known + 1; sequence <= begun; sequence++) {
        struct signature *next = &message.goodbye.known[message.goodbye.known_count];
        if (signature_ring_find(protocol->outside.signatures, sequence, next)) message.goodbye.known_count++;
    }
    send_to_all(protocol, &message, -1);
    /* From now on nothing is said, and what is heard concerns us no more. */
    for (uint32_t i = 0; i < protocol->neighbour_count; i++) protocol->neighbours[i].state = NEIGHBOUR_LOST;
}
