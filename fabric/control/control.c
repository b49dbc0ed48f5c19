/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of control.h. README.md has the reasoning, protocol.c the protocol, engine.c the thread. */
#include "control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "control_internal.h"

static void send_message(void *context, uint32_t neighbour, const struct message *message)
{
    struct control *control = context;
    connection_send(&control->connections[neighbour], message);
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
    protocol_tick(&control->protocol, now_ns);
    control_settle(control);
}

static uint64_t control_next_ns(const struct engine_member *member)
{
    const struct control *control = (const struct control *)member;
    uint64_t next = protocol_next_ns(&control->protocol), meeting = meeting_next_ns(control);
    if (meeting < next) next = meeting;
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
    close_in_child(&control->listener);
    for (uint32_t i = 0; i < control->protocol.neighbour_count; i++) close_in_child(&control->connections[i].fd);
    for (int i = 0; i < GUESTS_MAX; i++) close_in_child(&control->guests[i].handshake.fd);
    for (struct dial *dial = control->dials; dial; dial = dial->next) close_in_child(&dial->handshake.fd);
    for (uint32_t rank = 0; rank < control->identity.rank_count; rank++) close_in_child(&control->reaches[rank].fd);
}

/* ---- Life ---- */

static void control_free(struct control *control)
{
    if (control->wake_fd >= 0) close(control->wake_fd);
    if (control->listener >= 0) close(control->listener);
    pthread_cond_destroy(&control->changed);
    protocol_free(&control->protocol);
    free(control->connections);
    free(control->reaches);
    explicit_bzero(&control->identity, sizeof control->identity);
    free(control);
}

static bool allocate_tables(struct control *control)
{
    uint32_t rank_count = control->identity.rank_count, neighbour_count = control->protocol.neighbour_count;
    control->connections = calloc(neighbour_count + 1, sizeof *control->connections);
    control->reaches = calloc(rank_count, sizeof *control->reaches);
    if (!control->connections || !control->reaches) return false;
    for (uint32_t i = 0; i < neighbour_count; i++)
        control->connections[i] = (struct connection){.control = control, .neighbour = i, .fd = -1};
    for (uint32_t rank = 0; rank < rank_count; rank++) control->reaches[rank].fd = -1;
    for (int i = 0; i < GUESTS_MAX; i++) control->guests[i].handshake.fd = -1;
    return true;
}

static weft_status control_create(const struct control_config *config, struct control **created,
                                  struct diagnostic *diagnostic)
{
    struct control *control = calloc(1, sizeof *control);
    if (!control) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for the control connections");
    control->identity = config->identity;
    control->listener = -1;
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
    if (status == WEFT_OK) status = bootstrap_listen(&control->identity, &control->listener, diagnostic);
    if (status == WEFT_OK)
        *created = control;
    else
        control_free(control);
    return status;
}

static void report_late(struct control *control, uint64_t deadline_ns)
{
    weft_failure failure = {.size = sizeof failure,
                            .status = WEFT_DEADLINE_EXCEEDED,
                            .rank = (int32_t)protocol_missing(&control->protocol),
                            .other_rank = -1,
                            .reporter_rank = (int32_t)control->identity.rank,
                            .track = -1,
                            .step = -1};
    snprintf(failure.message, sizeof failure.message,
             "rank %d has not arrived within %.1f s: is its process running, on this host and with this job's id?",
             failure.rank, (double)deadline_ns / 1e9);
    protocol_report(&control->protocol, &failure);
    control_settle(control);
}

weft_status control_join(const struct control_config *config, struct control **joined, struct diagnostic *diagnostic)
{
    uint64_t begun_ns = clock_now_ns();
    uint64_t until_ns = begun_ns + config->deadline_ns;
    if (until_ns < begun_ns || until_ns > INT64_MAX) until_ns = INT64_MAX;
    if (config->keepalive_ns == 0 || config->keepalive_ns > INT64_MAX)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "a keepalive of %llu ns is no time to wait for a sign of life",
                        (unsigned long long)config->keepalive_ns);
    struct control *control = NULL;
    weft_status status = control_create(config, &control, diagnostic);
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
    for (uint32_t i = 0; i < control->protocol.neighbour_count; i++) connection_close(&control->connections[i]);
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

weft_status control_reach_tcp(void *context, uint32_t peer, int *fd)
{
    (void)context, (void)peer, (void)fd;
    return WEFT_UNSUPPORTED;
}

bool control_same_host(const struct control *control, uint32_t peer)
{
    (void)control, (void)peer;
    return true;
}

weft_status control_reach(void *context, uint32_t peer, int *fd)
{
    struct control *control = context;
    if (peer >= control->identity.rank_count || peer == control->identity.rank) return WEFT_INVALID_ARGUMENT;
    if (!engine_trylock()) return WEFT_IN_PROGRESS;
    struct reach *reach = &control->reaches[peer];
    weft_status status = WEFT_IN_PROGRESS;
    if (reach->fd >= 0) {
        *fd = reach->fd;
        reach->fd = -1;
        status = WEFT_OK;
    } else if (reach->refused != WEFT_OK) {
        status = reach->refused;
        reach->refused = WEFT_OK;
    } else if (control->protocol.failed) {
        status = control->protocol.failure.status;
    } else if (peer > control->identity.rank && !reach->dialling) {
        weft_status begun = meeting_dial(control, peer, ROLE_TRANSPORT, 0);
        reach->dialling = begun == WEFT_OK;
        if (begun != WEFT_OK) status = begun;
    }
    engine_unlock();
    return status;
}
