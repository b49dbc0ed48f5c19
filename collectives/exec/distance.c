/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/exec/distance.h"

#include "collectives/exec/stage.h"

/* Lines of a cell's trail, one naming the next, so that loads wait for each other; out of order, so that no prefetcher
 * is there first. */
static const uint8_t trail[] = {9, 40, 21, 58, 3, 34, 15, 50};
enum { TRAIL = sizeof trail, LINE_BYTES = 64, LINES = CELL_TRAIL_BYTES / LINE_BYTES };

/*
 * Loading the trail, the clock included, takes up to 0.27 us between threads of one core, and 0.8 to 1.1 us between
 * cores. It takes longer, too, when something has interrupted it, or when the ranks' work has driven the lines out of
 * the nearest caches: among 8 ranks of 1 MiB half of the looks at near peers. Apart, one in fifty takes as little, and
 * one in two hundred among 4 ranks. So a look that is fast says more than one that is not: peers are near when two have
 * been fast with not too many slow ones between, and as long as fewer than so many slow ones follow each fast one.
 */
#define NEAR_NS 320u
#define LOOK_NEAR 3u  /* what a fast look counts; a slow one, 1 */
#define LOOKS_SURE 6u /* from here on a peer is near */
#define LOOKS_KEPT 12u
/* Apart takes as many slow looks, of which a fast one takes back two: small messages do not disturb one. */
#define APART_SURE 2u
#define APART_KEPT 4u

/* One cell in 16 carries a trail, which keeps it below a hundredth of a call's time; of large messages each does, of
 * small ones one in 64. By a hash, so that no pattern of calls is always passed by. */
#define LOOK_SHIFT 28
#define SMALL_LOOK_SHIFT 26
#define LARGE_BYTES (256u << 10)
#define FIRST_CELLS 4u

static bool is_drawn(uint32_t number, int shift)
{
    return number <= FIRST_CELLS || number * UINT32_C(0x9e3779b1) >> shift == 0;
}

static bool is_due(const struct operation *operation, uint32_t number)
{
    const struct operation_call *call = &operation->call;
    if (!call->steps_when_near && !call->stages_when_near && !call->stages_when_apart) return false;
    if (stage_probes(operation)) return false;
    return is_drawn(number, LOOK_SHIFT) || operation->call.count * operation->element_bytes >= LARGE_BYTES;
}

/* Ranks that share processors have other things to wait for than lines. */
static bool is_due_small(const struct engine_config *config, uint32_t number)
{
    return !config->shares_processors && is_drawn(number, SMALL_LOOK_SHIFT);
}

static void trail_lay(const struct lanes *lanes)
{
    struct cell *cell = cell_next(lanes);
    for (uint32_t i = 0; i < TRAIL; i++) cell->trail[trail[i] * LINE_BYTES] = trail[(i + 1) % TRAIL];
}

/* That of the last cell that has come. */
static bool trail_is_near(const struct peer *peer)
{
    uint64_t (*const clock_ns)(void) = peer->engine->config.clock_ns;
    const volatile uint8_t *laid = cell_last(&peer->lanes)->trail;
    /* Finding the pages is not of interest, and takes as long among many ranks. No line of the trail is touched. */
    (void)laid[0], (void)laid[CELL_TRAIL_BYTES - 1];
    const uint64_t begun_ns = clock_ns();
    uint32_t line = trail[0];
    for (uint32_t i = 0; i < TRAIL; i++) line = laid[line * LINE_BYTES] % LINES; /* whatever a peer has stored */
    return clock_ns() - begun_ns <= NEAR_NS;
}

static void peer_look(struct peer *peer)
{
    const uint32_t near_looks = peer->near_looks, apart_looks = peer->apart_looks;
    if (trail_is_near(peer)) {
        peer->near_looks = near_looks + LOOK_NEAR < LOOKS_KEPT ? near_looks + LOOK_NEAR : LOOKS_KEPT;
        peer->apart_looks = apart_looks > 2 ? apart_looks - 2 : 0;
    } else {
        peer->near_looks = near_looks > 0 ? near_looks - 1 : 0;
        peer->apart_looks = apart_looks < APART_KEPT ? apart_looks + 1 : APART_KEPT;
    }
    const bool apart = peer->apart_looks >= APART_SURE;
    if (apart != (apart_looks >= APART_SURE))
        atomic_store_explicit(&peer->lanes.to->finds_apart, apart, memory_order_relaxed); /* with distance_is_apart() */
}

void distance_mark(const struct operation *operation, const struct lanes *lanes)
{
    if (is_due(operation, lanes->sent + 1)) trail_lay(lanes);
}

void distance_look(const struct operation *operation, struct peer *peer, const struct loan *loan)
{
    if (!peer->engine->config.clock_ns || !is_due(operation, peer->lanes.come)) return;
    if (loan->share == 0 && connection_borrow(peer->connection, loan, 1))
        peer->near_looks = 0; /* a thread of this process: there is nothing to copy */
    else
        peer_look(peer);
}

void distance_mark_small(const struct peer *peer)
{
    if (is_due_small(&peer->engine->config, peer->lanes.sent + 1)) trail_lay(&peer->lanes);
}

void distance_look_small(struct peer *peer)
{
    const struct engine_config *config = &peer->engine->config;
    if (config->clock_ns && is_due_small(config, peer->lanes.come)) peer_look(peer);
}

bool distance_is_near(const struct engine *engine)
{
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next)
        if (peer->near_looks < LOOKS_SURE) return false;
    return true;
}
