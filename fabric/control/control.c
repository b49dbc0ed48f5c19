/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of control.h. README.md has the reasoning, protocol.c the protocol, engine.c the thread. */
#include "control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "control_internal.h"
#include "fabric/bootstrap/network.h"

/* How long the port at which ranks meet may be somebody else's. */
#define PORT_PATIENCE_NS (5 * NS_PER_S)

static void send_message(void *context, uint32_t neighbour, const struct message *message)
{
    struct control *control = context;
    stream_send(&control->connections[neighbour].stream, message);
}

static bool is_published(const struct control *control)
{
    /* Relaxed: written under the lock, which we hold. */
    return atomic_load_explicit(&control->failed, memory_order_relaxed);
}

static void publish_failure(struct control *control)
{
    const weft_failure *failure = &control->protocol.failure;
    /* Release: pairs with control_failed(); whoever sees it may read protocol.failure, which never changes again. */
    atomic_store_explicit(&control->failed, true, memory_order_release);
    (void)!write(control->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    if (failure->reporter_rank == (int32_t)control->identity.rank)
        log_warning("failure status %s rank %u culprit %d seq %llu reason \"%s\"", weft_status_name(failure->status),
                    control->identity.rank, failure->rank, (unsigned long long)failure->sequence, failure->message);
}

void control_settle(struct control *control)
{
    if (control->protocol.failed && !is_published(control)) {
        reception_fail(control);
        uint64_t now_ns = clock_now_ns();
        bool unsent = connections_unsent(control);
        if (unsent && control->flush_until_ns == 0) {
            control->flush_until_ns = now_ns + FLUSH_LIMIT_NS;
            engine_kick();
        }
        if (!unsent || now_ns >= control->flush_until_ns) publish_failure(control);
    }
    pthread_cond_broadcast(&control->changed);
}

/* With the lock, which is let go meanwhile, so that the control thread can send the rest. */
static void wait_published(struct control *control)
{
    while (control->protocol.failed && !is_published(control)) {
        engine_wait(&control->changed, control->flush_until_ns);
        control_settle(control);
    }
}

/* ---- As a member of the engine ---- */

static struct control *control_of(struct engine_member *member)
{
    return (struct control *)member; /* its first field */
}

static void control_tick(struct engine_member *member, uint64_t now_ns)
{
    struct control *control = control_of(member);
    meeting_tick(control, now_ns);
    reception_tick(control, now_ns);
    protocol_tick(&control->protocol, now_ns);
    control_settle(control);
}

static uint64_t control_next_ns(const struct engine_member *member)
{
    const struct control *control = (const struct control *)member;
    uint64_t next = protocol_next_ns(&control->protocol), meeting = meeting_next_ns(control);
    if (meeting < next) next = meeting;
    uint64_t reception = reception_next_ns(control);
    if (reception < next) next = reception;
    bool flushing = control->flush_until_ns != 0 && !is_published(control);
    return flushing && control->flush_until_ns < next ? control->flush_until_ns : next;
}

static void close_in_child(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void control_forget(struct engine_member *member)
{
    struct control *control = control_of(member);
    control->forgotten = true;
    for (int i = 0; i < DOOR_COUNT; i++) close_in_child(&control->doors[i].fd);
    for (uint32_t i = 0; i < control->protocol.neighbour_count; i++) link_forget(&control->connections[i].stream.link);
    for (int i = 0; i < GUESTS_MAX; i++) link_forget(&control->guests[i].handshake.link);
    for (struct dial *dial = control->dials; dial; dial = dial->next) link_forget(&dial->handshake.link);
    for (uint32_t i = 0; i < 2 * control->identity.rank_count; i++)
        for (struct arrival *arrival = control->reaches[i].first; arrival; arrival = arrival->next)
            close_in_child(&arrival->fd);
    link_forget(&control->reception.stream.link);
    for (uint32_t rank = 0; control->reception.visitors && rank < control->identity.rank_count; rank++)
        if (control->reception.visitors[rank]) link_forget(&control->reception.visitors[rank]->stream.link);
}

/* ---- Life ---- */

static void control_free(struct control *control)
{
    if (control->wake_fd >= 0) close(control->wake_fd);
    for (int i = 0; i < DOOR_COUNT; i++)
        if (control->doors[i].fd >= 0) close(control->doors[i].fd);
    pthread_cond_destroy(&control->changed);
    protocol_free(&control->protocol);
    free(control->connections);
    free(control->reaches);
    free(control->contacts);
    explicit_bzero(&control->identity, sizeof control->identity);
    free(control);
}

static bool allocate_tables(struct control *control)
{
    uint32_t rank_count = control->identity.rank_count, neighbour_count = control->protocol.neighbour_count;
    control->connections = calloc(neighbour_count + 1, sizeof *control->connections);
    control->reaches = calloc(2 * (size_t)rank_count, sizeof *control->reaches);
    if (!control->connections || !control->reaches) return false;
    for (uint32_t i = 0; i < neighbour_count; i++)
        control->connections[i] =
            (struct connection){.control = control, .neighbour = i, .stream = {.link = {.fd = -1}}};
    for (int i = 0; i < GUESTS_MAX; i++) link_plain(&control->guests[i].handshake.link, -1);
    link_plain(&control->reception.stream.link, -1);
    return true;
}

/*
 * Of communicators that follow each other under one address, the next may come while the one before still meets. Who
 * else has the port is told after a while.
 */
static weft_status listen_for_meeting(struct control *control, uint64_t until_ns, struct diagnostic *diagnostic)
{
    uint64_t give_up_ns = clock_now_ns() + PORT_PATIENCE_NS;
    if (until_ns < give_up_ns) give_up_ns = until_ns;
    for (;;) {
        weft_status status = bootstrap_meeting_listen(&control->identity, &control->doors[DOOR_MEETING].fd, diagnostic);
        if (status != WEFT_AGAIN) return status;
        if (clock_now_ns() >= give_up_ns) {
            if (diagnostic) diagnostic->status = WEFT_INVALID_ARGUMENT; /* its text says whose port it is */
            return WEFT_INVALID_ARGUMENT;
        }
        usleep(20000);
    }
}

/* Everything that others can connect to; only after that is it told to anyone. */
static weft_status listen_all(struct control *control, const struct control_config *config, uint64_t until_ns,
                              struct diagnostic *diagnostic)
{
    const struct identity *identity = &control->identity;
    weft_status status = bootstrap_listen(identity, &control->doors[DOOR_UNIX].fd, diagnostic);
    bool meeting = identity->meeting.family != AF_UNSPEC;
    if (status == WEFT_OK && meeting && identity->rank == 0) status = listen_for_meeting(control, until_ns, diagnostic);
    if (status != WEFT_OK || (!meeting && !config->network) || identity->rank_count == 1) return status;

    control->contacts = calloc(identity->rank_count, sizeof *control->contacts);
    if (!control->contacts) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for the ranks' addresses");
    struct contact *own = &control->contacts[identity->rank];
    own->features = config->features;
    network_host(config->host_id, own->host);
    /* Ranks that meet nowhere on the network are all on this host; WEFT_INTERFACE means what it says all the same. */
    static const struct tcp_address loopback = {.family = AF_INET, .bytes = {127, 0, 0, 1}};
    const struct tcp_address *toward = meeting ? &identity->meeting : &loopback;
    status = network_own_address(toward, &own->data, diagnostic);
    if (status == WEFT_OK) status = network_listen(&own->data, &control->doors[DOOR_NETWORK].fd, diagnostic);
    if (status != WEFT_OK) return status;
    control->protocol.outside.contacts = control->contacts;
    control->protocol.meeting = meeting;
    char text[TCP_ADDRESS_TEXT_BYTES];
    tcp_address_text(&own->data, text);
    log_info("listening rank %u address %s", identity->rank, text);
    return WEFT_OK;
}

static weft_status control_create(const struct control_config *config, uint64_t until_ns, struct control **created,
                                  struct diagnostic *diagnostic)
{
    struct control *control = calloc(1, sizeof *control);
    if (!control) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for the control connections");
    control->identity = config->identity;
    for (int i = 0; i < DOOR_COUNT; i++) control->doors[i] = (struct door){.control = control, .fd = -1};
    control->member =
        (struct engine_member){.tick = control_tick, .next_ns = control_next_ns, .forget = control_forget};
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&control->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    control->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct protocol_outside outside = {.send = send_message, .context = control, .signatures = &control->signatures};
    weft_status status = WEFT_OK;
    if (control->wake_fd < 0)
        status = diagnose(diagnostic, WEFT_RESOURCE_LIMIT, "no descriptor to wake by: %s", strerror(errno));
    else if (protocol_init(&control->protocol, config->identity.rank, config->identity.rank_count, config->keepalive_ns,
                           &outside, clock_now_ns()) != WEFT_OK ||
             !allocate_tables(control))
        status = diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for the control connections");
    protocol_tell(&control->protocol, config->token);
    if (status == WEFT_OK) status = listen_all(control, config, until_ns, diagnostic);
    if (status == WEFT_OK)
        *created = control;
    else
        control_free(control);
    return status;
}

static void say_late(const struct control *control, uint64_t deadline_ns, weft_failure *failure)
{
    const struct reception *reception = &control->reception;
    double seconds = (double)deadline_ns / 1e9;
    if (control->protocol.meeting && control->identity.rank != 0 && reception->stream.link.fd < 0) {
        char text[TCP_ADDRESS_TEXT_BYTES];
        tcp_address_text(&control->identity.meeting, text);
        snprintf(failure->message, sizeof failure->message,
                 "rank 0 could not be reached at %s within %.1f s (%s): is its process running, and does no firewall "
                 "stand between?",
                 text, seconds, reception->cause ? strerror(reception->cause) : "no answer");
        return;
    }
    snprintf(failure->message, sizeof failure->message,
             "rank %d has not arrived within %.1f s: is its process running, %swith this job's id?", failure->rank,
             seconds, control->contacts ? "" : "on this host and ");
}

static void report_late(struct control *control, uint64_t deadline_ns)
{
    int32_t unmet = reception_missing(control);
    weft_failure failure = {.size = sizeof failure,
                            .status = WEFT_DEADLINE_EXCEEDED,
                            .rank = unmet >= 0 ? unmet : (int32_t)protocol_missing(&control->protocol),
                            .other_rank = -1,
                            .reporter_rank = (int32_t)control->identity.rank,
                            .track = -1,
                            .step = -1};
    say_late(control, deadline_ns, &failure);
    protocol_report(&control->protocol, &failure);
    control_settle(control);
}

weft_status control_join(const struct control_config *config, struct control **joined, struct diagnostic *diagnostic)
{
    uint64_t until_ns = clock_after_ns(clock_now_ns(), config->deadline_ns);
    if (config->keepalive_ns == 0 || config->keepalive_ns > INT64_MAX)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "a keepalive of %llu ns is no time to wait for a sign of life",
                        (unsigned long long)config->keepalive_ns);
    struct control *control = NULL;
    weft_status status = control_create(config, until_ns, &control, diagnostic);
    if (status != WEFT_OK) return status;
    status = engine_enter(&control->member, diagnostic);
    if (status != WEFT_OK) {
        control_free(control);
        return status;
    }
    engine_lock();
    status = meeting_begin(control);
    if (status != WEFT_OK) diagnose(diagnostic, status, "no memory to meet the other ranks");
    while (status == WEFT_OK && !control->protocol.joined && !control->protocol.failed)
        if (!engine_wait(&control->changed, until_ns) && !control->protocol.joined && !control->protocol.failed)
            report_late(control, config->deadline_ns);
    if (!control->protocol.joined) wait_published(control);
    /* Joined and failed since: the caller gets its communicator, whose first operation tells. */
    if (status == WEFT_OK && !control->protocol.joined)
        status = diagnose(diagnostic, control->protocol.failure.status, "%s", control->protocol.failure.message);
    engine_unlock();
    if (status == WEFT_OK)
        *joined = control;
    else
        control_leave(control);
    return status;
}

void control_leave(struct control *control)
{
    if (!control) return;
    uint64_t until_ns = clock_now_ns() + FLUSH_LIMIT_NS;
    engine_lock();
    if (!control->forgotten) protocol_leave(&control->protocol);
    while (!control->forgotten && connections_unsent(control))
        if (!engine_wait(&control->changed, until_ns)) break;
    for (uint32_t i = 0; i < control->protocol.neighbour_count; i++) stream_close(&control->connections[i].stream);
    reception_end(control);
    meeting_end(control);
    engine_unlock();
    engine_leave(&control->member);
    control_free(control);
}

/* ---- Failures ---- */

bool control_failed(const struct control *control)
{
    /* Acquire: pairs with control_settle(). */
    return atomic_load_explicit(&control->failed, memory_order_acquire);
}

void control_failure(const struct control *control, weft_failure *failure)
{
    *failure =
        control_failed(control)
            ? control->protocol.failure
            : (weft_failure){
                  .size = sizeof *failure, .rank = -1, .other_rank = -1, .reporter_rank = -1, .track = -1, .step = -1};
}

int control_wake_descriptor(const struct control *control)
{
    return control->wake_fd;
}

void control_report(struct control *control, const weft_failure *failure)
{
    engine_lock();
    protocol_report(&control->protocol, failure);
    control_settle(control);
    wait_published(control);
    engine_unlock();
}

/* ---- Operations ---- */

void control_post(struct control *control, const struct signature *signature)
{
    signature_ring_put(&control->signatures, signature);
}

void control_stalled(struct control *control, uint64_t sequence)
{
    if (control_failed(control) || sequence > signature_ring_posted(&control->signatures)) return;
    /* Relaxed: only saves the work of saying it twice, which the protocol would drop. */
    if (atomic_load_explicit(&control->stalled, memory_order_relaxed) == sequence) return;
    atomic_store_explicit(&control->stalled, sequence, memory_order_relaxed);
    engine_lock();
    protocol_stalled(&control->protocol, sequence);
    control_settle(control);
    engine_unlock();
}

/* ---- Sockets for transports ---- */

static weft_status reach(struct control *control, uint32_t peer, enum bootstrap_role role, int *fd)
{
    if (peer >= control->identity.rank_count || peer == control->identity.rank) return WEFT_INVALID_ARGUMENT;
    if (!engine_trylock()) return WEFT_IN_PROGRESS;
    struct reach *reach = meeting_reach(control, peer, role);
    struct arrival *arrival = reach->first;
    weft_status status = WEFT_IN_PROGRESS;
    if (arrival) {
        *fd = arrival->fd;
        reach->first = arrival->next;
        free(arrival);
        status = WEFT_OK;
    } else if (reach->refused != WEFT_OK) {
        status = reach->refused;
        reach->refused = WEFT_OK;
    } else if (control->protocol.failed) {
        status = control->protocol.failure.status;
    } else if (peer > control->identity.rank && !reach->dialling) {
        weft_status begun = meeting_dial(control, peer, role, 0);
        reach->dialling = begun == WEFT_OK;
        if (begun != WEFT_OK) status = begun;
    }
    engine_unlock();
    return status;
}

weft_status control_reach(void *context, uint32_t peer, int *fd)
{
    return reach(context, peer, ROLE_TRANSPORT, fd);
}

weft_status control_reach_tcp(void *context, uint32_t peer, int *fd)
{
    struct control *control = context;
    /* A rank that is configured otherwise has told no address. */
    if (!control->contacts || (peer < control->identity.rank_count && control->contacts[peer].data.family == AF_UNSPEC))
        return WEFT_UNSUPPORTED;
    return reach(control, peer, ROLE_LANE, fd);
}

uint8_t control_features(const struct control *control, uint32_t peer)
{
    return control->contacts ? control->contacts[peer].features : 0;
}

/* Where ranks were brought together without a meeting they were by Unix sockets. */
static bool all_on_one_host(const struct control *control)
{
    return !control->contacts || control->identity.meeting.family == AF_UNSPEC;
}

bool control_same_host(const struct control *control, uint32_t peer)
{
    const struct contact *contacts = control->contacts;
    if (all_on_one_host(control)) return true;
    return memcmp(contacts[peer].host, contacts[control->identity.rank].host, sizeof contacts[peer].host) == 0;
}

/* By host, the lower rank first. */
static int compare_hosts(const void *a, const void *b, void *context)
{
    const struct contact *contacts = context;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = memcmp(contacts[x].host, contacts[y].host, sizeof contacts[x].host);
    return order ? order : (x > y) - (x < y);
}

bool control_hosts(const struct control *control, uint32_t *first)
{
    uint32_t count = control->identity.rank_count;
    struct contact *contacts = control->contacts;
    memset(first, 0, count * sizeof *first);
    if (all_on_one_host(control)) return true;
    uint32_t *ranks = calloc(count, sizeof *ranks);
    if (!ranks) return false;
    for (uint32_t rank = 0; rank < count; rank++) ranks[rank] = rank;
    qsort_r(ranks, count, sizeof *ranks, compare_hosts, contacts);
    for (uint32_t i = 0; i < count; i++) {
        bool same = i > 0 && memcmp(contacts[ranks[i - 1]].host, contacts[ranks[i]].host, sizeof contacts->host) == 0;
        first[ranks[i]] = same ? first[ranks[i - 1]] : ranks[i];
    }
    free(ranks);
    return true;
}

void control_address_text(const struct control *control, char text[64])
{
    control_contact_text(control, control->identity.rank, text);
}

int control_reach_cause(const struct control *control, uint32_t peer)
{
    engine_lock();
    int cause = control->reaches[peer].cause;
    if (!cause) cause = control->reaches[control->identity.rank_count + peer].cause;
    engine_unlock();
    return cause;
}

void control_contact_text(const struct control *control, uint32_t rank, char text[64])
{
    if (control->contacts)
        tcp_address_text(&control->contacts[rank].data, text);
    else
        strcpy(text, "Unix sockets only");
}
