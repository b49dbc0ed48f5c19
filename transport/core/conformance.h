/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of transport.h as tests, for any backend. Linked by test programs only.
 *
 * The tests of conformance_tests[] drive all ranks from one thread and let time pass through the backend, so that they
 * run under a virtual clock as well. struct traffic is one rank's share of a random exchange among all ranks: it runs
 * in such a test, or one in each thread or process.
 *
 * Beside the rules they take for granted that a connection holds less than 8192 notifications that nobody polls.
 */
#ifndef TRANSPORT_CONFORMANCE_H
#define TRANSPORT_CONFORMANCE_H

#include "base/random.h"
#include "transport/core/transport.h"

#define CONFORMANCE_MAX_RANKS 8

/* How to come by endpoints of the transport under test. */
struct conformance_backend {
    void *context;
    /* Fill @p endpoints with one for each rank, not yet connected. Whatever is random about them comes of @p seed. */
    weft_status (*open)(void *context, uint32_t rank_count, uint64_t seed, struct endpoint **endpoints);
    /* After the endpoints have been destroyed. */
    void (*close)(void *context);
    uint64_t (*now_ns)(void *context);
    /* Let some time pass. False: nothing will happen any more unless somebody does something. */
    bool (*pass)(void *context);
    /* Make a rank die without a word; it is not touched again but by disconnect and destroy. NULL: cannot. */
    void (*kill)(void *context, uint32_t rank);
};

enum conformance_result { CONFORMANCE_PASSED, CONFORMANCE_FAILED, CONFORMANCE_SKIPPED };

struct scene;

struct conformance_test {
    const char *name; /* the promise */
    enum conformance_result (*run)(struct scene *scene);
};
extern const struct conformance_test conformance_tests[];
extern const size_t conformance_test_count;

/* Run one test. Unless it passed, @p reason says why, with the seed that repeats it. */
enum conformance_result conformance_run(const struct conformance_test *test, const struct conformance_backend *backend,
                                        uint64_t seed, char reason[512]);

/*
 * One rank of a random exchange: it sends and answers messages of random size to and from every other rank, in slots of
 * the peers' regions that are used again as soon as they are free, over several paths, and checks each byte.
 */
struct traffic;

struct traffic_config {
    struct endpoint *endpoint;
    struct connection **connections; /* by rank, connected; NULL for oneself. Each grants TRAFFIC_REGION_BYTES */
    uint64_t seed;                   /* the same on all ranks */
    uint32_t messages;               /* to each peer */
    uint32_t path_count;
};

#define TRAFFIC_SLOTS 8
#define TRAFFIC_SLOT_BYTES 2048
#define TRAFFIC_REGION_BYTES (TRAFFIC_SLOTS * TRAFFIC_SLOT_BYTES)

struct traffic *traffic_create(const struct traffic_config *config);
/*
 * Bounded work. WEFT_IN_PROGRESS; WEFT_OK: nothing is left to send, receive or wait for; else traffic_reason().
 * A peer that leaves after its share is done is no failure. *progress: something was done.
 */
weft_status traffic_step(struct traffic *traffic, uint64_t now_ns, bool *progress);
const char *traffic_reason(const struct traffic *traffic);
void traffic_destroy(struct traffic *traffic);
#endif
