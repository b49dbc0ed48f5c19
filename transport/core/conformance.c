/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/core/conformance.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "transport/core/conformance_scene.h"

/* Rounds of polling after which what has not come is taken not to come, for transports that cannot tell. */
#define SETTLE_ROUNDS 2000

enum conformance_result scene_fail(struct scene *scene, const char *where, int line, const char *what)
{
    snprintf(scene->reason, sizeof scene->reason, "%s, line %d: not so: %s", where, line, what);
    return CONFORMANCE_FAILED;
}

static bool fail(struct scene *scene, const char *what, uint32_t rank, uint32_t peer)
{
    snprintf(scene->reason, sizeof scene->reason, "rank %u, peer %u: %s", rank, peer, what);
    return false;
}

bool scene_open(struct scene *scene, uint32_t rank_count)
{
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        scene->events[rank] = calloc(SCENE_EVENTS, sizeof *scene->events[rank]);
        if (!scene->events[rank]) return fail(scene, "no memory", rank, rank);
    }
    const weft_status status =
        scene->backend->open(scene->backend->context, rank_count, random_next(&scene->random), scene->endpoints);
    if (status) return fail(scene, "the backend cannot open", 0, rank_count);
    scene->rank_count = rank_count;
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        if (scene->endpoints[rank]->rank != rank || scene->endpoints[rank]->rank_count != rank_count)
            return fail(scene, "the endpoint does not know who it is", rank, rank);
    }
    return true;
}

static uint64_t scene_now_ns(const struct scene *scene)
{
    return scene->backend->now_ns(scene->backend->context);
}

bool scene_connect(struct scene *scene, uint32_t a, uint32_t b, size_t a_bytes, size_t b_bytes)
{
    struct connection **of_a = &scene->connections[a][b], **of_b = &scene->connections[b][a];

    if (endpoint_connect(scene->endpoints[a], b, a_bytes, of_a)) return fail(scene, "cannot connect", a, b);
    if (endpoint_connect(scene->endpoints[b], a, b_bytes, of_b)) return fail(scene, "cannot connect", b, a);
    for (;;) {
        const weft_status a_status = connection_advance(*of_a, scene_now_ns(scene));
        const weft_status b_status = connection_advance(*of_b, scene_now_ns(scene));
        if (a_status == WEFT_OK && b_status == WEFT_OK) return true;
        if (a_status > WEFT_IN_PROGRESS || b_status > WEFT_IN_PROGRESS) return fail(scene, "connecting failed", a, b);
        if (!scene->backend->pass(scene->backend->context)) return fail(scene, "connecting never ends", a, b);
    }
}

bool scene_open_connected(struct scene *scene, uint32_t rank_count, size_t granted_bytes)
{
    if (!scene_open(scene, rank_count)) return false;
    for (uint32_t a = 0; a < rank_count; a++) {
        for (uint32_t b = a + 1; b < rank_count; b++) {
            if (!scene_connect(scene, a, b, granted_bytes, granted_bytes)) return false;
        }
    }
    return true;
}

void scene_disconnect(struct scene *scene, uint32_t of, uint32_t to)
{
    if (scene->connections[of][to]) connection_disconnect(scene->connections[of][to]);
    scene->connections[of][to] = NULL;
}

void scene_close(struct scene *scene)
{
    for (uint32_t of = 0; of < scene->rank_count; of++) {
        for (uint32_t to = 0; to < scene->rank_count; to++) scene_disconnect(scene, of, to);
        endpoint_destroy(scene->endpoints[of]);
    }
    if (scene->rank_count) scene->backend->close(scene->backend->context);
    for (uint32_t rank = 0; rank < CONFORMANCE_MAX_RANKS; rank++) free(scene->events[rank]);
    free(scene->source);
}

static bool event_makes_sense(const struct scene *scene, uint32_t of, const struct event *event)
{
    if (event->peer >= scene->rank_count || event->peer == of || event->kind > EVENT_FAILED) return false;
    /* Nothing of a connection that has ended, or that was never asked for. */
    if (!scene->connections[of][event->peer]) return false;
    if (event->kind == EVENT_FAILED) return event->status >= WEFT_INVALID_ARGUMENT;
    return true;
}

bool scene_poll(struct scene *scene)
{
    struct event batch[16];

    for (uint32_t rank = 0; rank < scene->rank_count; rank++) {
        if (scene->dead[rank] || scene->idle[rank]) continue;
        const size_t count = endpoint_poll(scene->endpoints[rank], batch, scene->poll_max, scene_now_ns(scene));
        if (count > scene->poll_max) return fail(scene, "poll wrote more events than there was room for", rank, rank);
        for (size_t i = 0; i < count; i++) {
            if (!event_makes_sense(scene, rank, &batch[i])) return fail(scene, "unknown event", rank, batch[i].peer);
            if (scene->event_count[rank] == SCENE_EVENTS) return fail(scene, "more events than expected", rank, rank);
            scene->events[rank][scene->event_count[rank]++] = batch[i];
            scene->counts[rank][batch[i].peer][batch[i].kind]++;
        }
    }
    return true;
}

const struct event *scene_event(const struct scene *scene, uint32_t of, enum event_kind kind, uint32_t peer,
                                size_t index)
{
    for (size_t i = 0; i < scene->event_count[of]; i++) {
        const struct event *event = &scene->events[of][i];
        if (event->kind == kind && event->peer == peer && index-- == 0) return event;
    }
    return NULL;
}

size_t scene_count(const struct scene *scene, uint32_t of, enum event_kind kind, uint32_t peer)
{
    return scene->counts[of][peer][kind];
}

bool scene_wait(struct scene *scene, uint32_t of, enum event_kind kind, uint32_t peer, size_t count)
{
    static const char *const names[] = {"ARRIVED", "LOCAL_DONE", "WRITABLE", "QUIESCED", "PATH_DOWN", "FAILED"};

    for (bool more = true;; more = scene->backend->pass(scene->backend->context)) {
        /* As long as there is something to take, no time passes. */
        size_t before;
        do {
            before = scene->event_count[of];
            if (!scene_poll(scene)) return false;
        } while (scene->event_count[of] > before);
        const size_t seen = scene_count(scene, of, kind, peer);
        if (seen >= count) return true;
        if (!more) {
            snprintf(scene->reason, sizeof scene->reason, "rank %u waits in vain for EVENT_%s of peer %u: %zu of %zu",
                     of, names[kind], peer, seen, count);
            return false;
        }
    }
}

bool scene_settle(struct scene *scene)
{
    for (uint32_t round = 0; round < SETTLE_ROUNDS; round++) {
        if (!scene_poll(scene)) return false;
        if (!scene->backend->pass(scene->backend->context) && round > 100) break;
    }
    return true;
}

bool scene_put(struct scene *scene, uint32_t of, uint32_t to, const struct put *put)
{
    while (connection_put(scene->connections[of][to], put, 1) == 0) {
        const bool more = scene->backend->pass(scene->backend->context);
        const size_t before = scene->event_count[of] + scene->event_count[to];
        if (!scene_poll(scene)) return false;
        if (!more && before == scene->event_count[of] + scene->event_count[to])
            return fail(scene, "a put is refused for ever", of, to);
    }
    return true;
}

enum conformance_result conformance_run(const struct conformance_test *test, const struct conformance_backend *backend,
                                        uint64_t seed, char reason[512])
{
    struct scene scene = {.backend = backend};
    enum conformance_result result = CONFORMANCE_FAILED;

    random_seed(&scene.random, seed);
    scene.poll_max = 1 + random_below(&scene.random, 16);
    scene.source = malloc(SCENE_BYTES);
    if (scene.source) {
        for (size_t i = 0; i < SCENE_BYTES; i += 8) bytes_put_u64(scene.source + i, random_next(&scene.random));
        result = test->run(&scene);
    }
    if (result != CONFORMANCE_PASSED)
        snprintf(reason, 512, "%s (seed %llu): %s", test->name, (unsigned long long)seed, scene.reason);
    scene_close(&scene);
    return result;
}
