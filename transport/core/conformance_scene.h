/* SPDX-License-Identifier: Apache-2.0 */
/* All ranks of a conformance test, in one hand. */
#ifndef TRANSPORT_CONFORMANCE_SCENE_H
#define TRANSPORT_CONFORMANCE_SCENE_H

#include "transport/core/conformance.h"

#define SCENE_EVENTS 8192 /* of one rank; more than any test makes */
#define SCENE_BYTES 65536

struct scene {
    const struct conformance_backend *backend;
    struct random random;
    uint32_t rank_count;
    struct endpoint *endpoints[CONFORMANCE_MAX_RANKS];
    struct connection *connections[CONFORMANCE_MAX_RANKS][CONFORMANCE_MAX_RANKS]; /* [of][to] */
    bool dead[CONFORMANCE_MAX_RANKS], idle[CONFORMANCE_MAX_RANKS]; /* not polled: for good, for a while */
    size_t poll_max;                                               /* events taken at a time */
    struct event *events[CONFORMANCE_MAX_RANKS];                   /* all that a rank was given, in order */
    size_t event_count[CONFORMANCE_MAX_RANKS];
    size_t counts[CONFORMANCE_MAX_RANKS][CONFORMANCE_MAX_RANKS][EVENT_FAILED + 1]; /* [of][peer][kind] */
    uint8_t *source; /* SCENE_BYTES of random bytes that do not change */
    char reason[256];
};

/* In a test: go on only if it holds. */
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) return scene_fail(scene, __func__, __LINE__, #condition);                                    \
    } while (0)
/* In a test: for calls that have said what is wrong. */
#define REQUIRE_DONE(call)                                                                                             \
    do {                                                                                                               \
        if (!(call)) return CONFORMANCE_FAILED;                                                                        \
    } while (0)

enum conformance_result scene_fail(struct scene *scene, const char *where, int line, const char *what);

bool scene_open(struct scene *scene, uint32_t rank_count);
/* Join two ranks, each granting its own number of bytes. */
bool scene_connect(struct scene *scene, uint32_t a, uint32_t b, size_t a_bytes, size_t b_bytes);
/* scene_open() and every pair connected. */
bool scene_open_connected(struct scene *scene, uint32_t rank_count, size_t granted_bytes);
void scene_disconnect(struct scene *scene, uint32_t of, uint32_t to);
void scene_close(struct scene *scene);

/* Every rank takes what is there; false with a reason when one was given what makes no sense. */
bool scene_poll(struct scene *scene);
/* Poll and let time pass until rank @p of has had @p count events of @p kind from @p peer. */
bool scene_wait(struct scene *scene, uint32_t of, enum event_kind kind, uint32_t peer, size_t count);
/* Poll and let time pass until nothing can be expected to come. */
bool scene_settle(struct scene *scene);
size_t scene_count(const struct scene *scene, uint32_t of, enum event_kind kind, uint32_t peer);
/* The @p index'th event of @p kind from @p peer; NULL when there were fewer. */
const struct event *scene_event(const struct scene *scene, uint32_t of, enum event_kind kind, uint32_t peer,
                                size_t index);

/* Offer until accepted, letting time pass. */
bool scene_put(struct scene *scene, uint32_t of, uint32_t to, const struct put *put);

/* conformance_lending.c: tests */
enum conformance_result what_lends_nothing_rejects(struct scene *scene);
enum conformance_result a_loan_reaches_the_lenders_memory(struct scene *scene);
enum conformance_result memory_in_a_share_can_be_mapped_until_it_is_unshared(struct scene *scene);
enum conformance_result memory_that_may_shrink_is_not_shared(struct scene *scene);
enum conformance_result what_is_no_loan_is_refused(struct scene *scene);
enum conformance_result a_peer_that_is_gone_lends_nothing(struct scene *scene);
#endif
