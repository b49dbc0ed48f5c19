/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How ranks of several hosts find each other. Everybody goes to rank 0, whose address is in the id, says where it can
 * be reached itself, and is told where its control neighbours are; all other contacts come around the control graph:
 *
 *     a rank                     rank 0
 *     CONTACT: its own        ->
 *                             <- HEARTBEAT: whom we wait for (every 100 ms, to the end)
 *                             <- CONTACT: its neighbours', once all of them have come
 *     HEARTBEAT: thank you    ->
 *                             <- HEARTBEAT: we wait for nobody, once all have said so
 *
 * When all have been served rank 0 stops to listen there, and only then lets the barrier begin: so nobody can have
 * joined, and ask for the next communicator under the same address, while the last one still meets there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "control_internal.h"

#define MISSING_INTERVAL_NS (100 * NS_PER_MS)
#define REDIAL_PAUSE_NS (20 * NS_PER_MS)

static bool is_known(const struct control *control, uint32_t rank)
{
    return control->contacts[rank].data.family != AF_UNSPEC;
}

/* The first of @p rank's neighbours who has not come yet, or -1. */
static int32_t missing_neighbour(const struct control *control, uint32_t rank)
{
    uint32_t neighbours[64];
    uint32_t count = control_neighbours(rank, control->identity.rank_count, neighbours);
    for (uint32_t i = 0; i < count; i++)
        if (!is_known(control, neighbours[i])) return (int32_t)neighbours[i];
    return -1;
}

static void dial_if_neighbour(struct control *control, uint32_t rank)
{
    bool ours = rank > control->identity.rank && protocol_neighbour(&control->protocol, rank) >= 0;
    struct diagnostic diagnostic;
    if (!ours || meeting_dial(control, rank, ROLE_CONTROL, 0) == WEFT_OK) return;
    diagnose(&diagnostic, WEFT_OUT_OF_MEMORY, "no memory to meet rank %u", rank);
    meeting_refuse(control, (int32_t)rank, &diagnostic);
}

static void refuse(struct control *control, uint32_t rank, weft_status status, const char *what)
{
    struct diagnostic diagnostic;
    diagnose(&diagnostic, status, "rank %u %s", rank, what);
    meeting_refuse(control, (int32_t)rank, &diagnostic);
}

/* ---- At rank 0 ---- */

static void tell_neighbours(struct control *control, struct visitor *visitor)
{
    struct message message = {.kind = MESSAGE_CONTACT};
    uint32_t neighbours[64];
    uint32_t count = control_neighbours(visitor->rank, control->identity.rank_count, neighbours);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = message.contacts.count++;
        message.contacts.entries[at].rank = neighbours[i];
        message.contacts.entries[at].contact = control->contacts[neighbours[i]];
        if (message.contacts.count < MESSAGE_CONTACTS && i + 1 < count) continue;
        stream_send(&visitor->stream, &message);
        message.contacts.count = 0;
    }
    visitor->told = true;
}

/* One more rank has said where it is: whom has that been keeping waiting? */
static void contact_came(struct control *control, uint32_t rank)
{
    uint32_t waiting[65];
    uint32_t count = control_neighbours(rank, control->identity.rank_count, waiting);
    waiting[count++] = rank;
    for (uint32_t i = 0; i < count; i++) {
        struct visitor *visitor = control->reception.visitors[waiting[i]];
        if (visitor && !visitor->told && is_known(control, visitor->rank) &&
            missing_neighbour(control, visitor->rank) < 0)
            tell_neighbours(control, visitor);
    }
    dial_if_neighbour(control, rank);
}

static void visitor_take(void *context, const struct message *message, uint64_t now_ns)
{
    (void)now_ns;
    struct visitor *visitor = context;
    struct control *control = visitor->control;
    if (control->protocol.failed) return;
    if (message->kind == MESSAGE_FAILURE) {
        protocol_report(&control->protocol, &message->failure);
    } else if (message->kind == MESSAGE_CONTACT && !is_known(control, visitor->rank) && message->contacts.count == 1 &&
               message->contacts.entries[0].rank == visitor->rank) {
        control->contacts[visitor->rank] = message->contacts.entries[0].contact;
        contact_came(control, visitor->rank);
    } else if (message->kind == MESSAGE_HEARTBEAT && visitor->told) {
        control->reception.served_count += !visitor->served;
        visitor->served = true;
        if (control->reception.served_count + 1 < control->identity.rank_count) return;
        meeting_close_door(&control->doors[DOOR_MEETING]);
        protocol_met(&control->protocol);
    } else {
        refuse(control, visitor->rank, WEFT_PROTOCOL_ERROR, "sent rank 0 what no correct rank sends");
    }
}

static void dismiss_all(struct control *control, const struct message *last)
{
    struct visitor **visitors = control->reception.visitors;
    for (uint32_t rank = 0; visitors && rank < control->identity.rank_count; rank++) {
        if (!visitors[rank]) continue;
        if (last) stream_send(&visitors[rank]->stream, last);
        stream_close(&visitors[rank]->stream);
        free(visitors[rank]);
    }
    free(visitors);
    control->reception.visitors = NULL;
}

static struct message waiting_for(const struct control *control, int32_t rank)
{
    return (struct message){.kind = MESSAGE_HEARTBEAT,
                            .heartbeat = {.keepalive_ns = control->protocol.keepalive_ns, .missing_rank = rank}};
}

static void visitor_ready(void *context, uint32_t events, uint64_t now_ns)
{
    (void)events;
    struct visitor *visitor = context;
    struct control *control = visitor->control;
    struct diagnostic wrong = {.status = WEFT_OK};
    bool goes_on =
        stream_advance(&visitor->stream, control->identity.rank_count, visitor_take, visitor, now_ns, &wrong);
    if (!control->protocol.meeting) {
        const struct message nobody = waiting_for(control, -1);
        dismiss_all(control, &nobody);
    } else if (!goes_on) {
        uint32_t rank = visitor->rank;
        stream_close(&visitor->stream);
        free(visitor);
        control->reception.visitors[rank] = NULL;
        if (wrong.status != WEFT_OK)
            refuse(control, rank, wrong.status, "sent rank 0 what no correct rank sends");
        else if (is_known(control, rank)) /* else it will come again */
            refuse(control, rank, WEFT_PEER_FAILED,
                   "ended while ranks were meeting: its process was killed, crashed, or exited early");
    }
    control_settle(control);
}

/* A second one of a rank learns it over a stream of its own, everybody else like any failure. */
static void refuse_second(struct control *control, uint32_t peer, const struct link *link)
{
    struct stream stream = {.link = *link};
    struct message message = {.kind = MESSAGE_FAILURE};
    refuse(control, peer, WEFT_PEER_REFUSED, "is there twice: give every process a rank of its own");
    message.failure = control->protocol.failure;
    stream_send(&stream, &message);
    stream_close(&stream);
}

void reception_admit(struct control *control, uint32_t peer, const struct link *link, uint64_t now_ns)
{
    (void)now_ns;
    struct link taken = *link;
    struct visitor **place = control->reception.visitors ? &control->reception.visitors[peer] : NULL;
    if (!place || !control->protocol.meeting) { /* also one who has found somebody else than rank 0 */
        link_close(&taken);
        return;
    }
    if (*place) {
        refuse_second(control, peer, link);
        return;
    }
    struct visitor *visitor = calloc(1, sizeof *visitor);
    if (!visitor) {
        link_close(&taken);
        return;
    }
    visitor->control = control;
    visitor->rank = peer;
    if (!stream_open(&visitor->stream, link, visitor_ready, visitor)) {
        free(visitor);
        return;
    }
    *place = visitor;
    if (control->protocol.failed)
        stream_send(&visitor->stream, &(struct message){.kind = MESSAGE_FAILURE, .failure = control->protocol.failure});
}

/* ---- Elsewhere ---- */

static void answer_take(void *context, const struct message *message, uint64_t now_ns)
{
    (void)now_ns;
    struct control *control = context;
    struct reception *reception = &control->reception;
    if (message->kind == MESSAGE_FAILURE) protocol_report(&control->protocol, &message->failure);
    if (message->kind == MESSAGE_HEARTBEAT) {
        reception->missing_rank = message->heartbeat.missing_rank;
        reception->over = reception->served && reception->missing_rank < 0;
    }
    for (uint32_t i = 0; message->kind == MESSAGE_CONTACT && i < message->contacts.count; i++) {
        uint32_t rank = message->contacts.entries[i].rank;
        if (is_known(control, rank)) continue;
        control->contacts[rank] = message->contacts.entries[i].contact;
        dial_if_neighbour(control, rank);
    }
    if (reception->served || missing_neighbour(control, control->identity.rank) >= 0) return;
    reception->served = true;
    const struct message thanks = waiting_for(control, -1);
    stream_send(&reception->stream, &thanks);
    protocol_met(&control->protocol);
}

static void answer_ready(void *context, uint32_t events, uint64_t now_ns)
{
    (void)events;
    struct control *control = context;
    struct stream *stream = &control->reception.stream;
    struct diagnostic wrong = {.status = WEFT_OK};
    bool goes_on = stream_advance(stream, control->identity.rank_count, answer_take, control, now_ns, &wrong);
    if (control->reception.over) {
        stream_close(stream);
    } else if (!goes_on) {
        if (wrong.status != WEFT_OK)
            refuse(control, 0, wrong.status, "sent what no correct rank sends");
        else
            refuse(control, 0, WEFT_PEER_FAILED,
                   "ended while ranks were meeting: its process was killed, crashed, or exited early");
        stream_close(stream);
    }
    control_settle(control);
}

void reception_attend(struct control *control, const struct link *link, uint64_t now_ns)
{
    struct message message = {.kind = MESSAGE_CONTACT, .contacts = {.count = 1}};
    uint32_t own = control->identity.rank;
    if (!stream_open(&control->reception.stream, link, answer_ready, control)) {
        meeting_dial(control, 0, ROLE_MEETING, now_ns + REDIAL_PAUSE_NS);
        return;
    }
    message.contacts.entries[0].rank = own;
    message.contacts.entries[0].contact = control->contacts[own];
    stream_send(&control->reception.stream, &message);
}

/* ---- Both ---- */

weft_status reception_begin(struct control *control)
{
    control->reception.missing_rank = -1;
    if (control->identity.rank != 0) return meeting_dial(control, 0, ROLE_MEETING, 0);
    control->reception.visitors = calloc(control->identity.rank_count, sizeof *control->reception.visitors);
    return control->reception.visitors ? WEFT_OK : WEFT_OUT_OF_MEMORY;
}

void reception_fail(struct control *control)
{
    struct reception *reception = &control->reception;
    struct message message = {.kind = MESSAGE_FAILURE, .failure = control->protocol.failure};
    if (reception->failure_told) return;
    reception->failure_told = true;
    stream_send(&reception->stream, &message);
    for (uint32_t rank = 0; reception->visitors && rank < control->identity.rank_count; rank++)
        if (reception->visitors[rank]) stream_send(&reception->visitors[rank]->stream, &message);
}

static bool is_receiving(const struct control *control)
{
    return control->reception.visitors && control->protocol.meeting && !control->protocol.failed;
}

void reception_tick(struct control *control, uint64_t now_ns)
{
    struct reception *reception = &control->reception;
    if (!is_receiving(control) || now_ns < reception->told_missing_ns + MISSING_INTERVAL_NS) return;
    reception->told_missing_ns = now_ns;
    for (uint32_t rank = 0; rank < control->identity.rank_count; rank++) {
        struct visitor *visitor = reception->visitors[rank];
        if (!visitor || !is_known(control, rank)) continue;
        int32_t missing = missing_neighbour(control, rank);
        const struct message message = waiting_for(control, missing >= 0 ? missing : reception_missing(control));
        stream_send(&visitor->stream, &message);
    }
}

uint64_t reception_next_ns(const struct control *control)
{
    return is_receiving(control) ? control->reception.told_missing_ns + MISSING_INTERVAL_NS : UINT64_MAX;
}

int32_t reception_missing(const struct control *control)
{
    const struct reception *reception = &control->reception;
    if (reception->stream.link.fd >= 0 && reception->missing_rank >= 0) return reception->missing_rank;
    if (!control->protocol.meeting) return -1;
    if (control->identity.rank != 0) return 0;
    for (uint32_t rank = 1; rank < control->identity.rank_count; rank++)
        if (!is_known(control, rank)) return (int32_t)rank;
    for (uint32_t rank = 1; rank < control->identity.rank_count; rank++)
        if (reception->visitors && reception->visitors[rank] && !reception->visitors[rank]->served)
            return (int32_t)rank;
    return -1;
}

void reception_end(struct control *control)
{
    stream_close(&control->reception.stream);
    dismiss_all(control, NULL);
}
