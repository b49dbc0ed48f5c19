/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/exec/distance.h"

#include "collectives/exec/stage.h"

/* Lines of a cell's payload, one naming the next, so that loads wait for each other; out of order, so that no
 * prefetcher is there first. */
static const uint8_t trail[] = {9, 40, 21, 58, 3, 34, 15, 50};
enum { TRAIL = sizeof trail, LINE_BYTES = 64, LINES = EXCHANGE_BYTES / LINE_BYTES };

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

/* One cell in 16 carries a trail, which keeps it below a hundredth of a call's time; of large messages each does. By a
 * hash, so that no pattern of calls is always passed by. */
#define LOOK_SHIFT 28
#define LARGE_BYTES (256u << 10)
#define FIRST_CELLS 4u

static bool is_due(const struct operation *operation, uint32_t number)
{
    if (!operation->call.steps_when_near && !operation->call.stages_when_near) return false;
    if (stage_probes(operation)) return operation->probes == STAGE_PROBES - 1;
    if (operation->probes > 0) return false;
    return number <= FIRST_CELLS || number * UINT32_C(0x9e3779b1) >> LOOK_SHIFT == 0 ||
           operation->call.count * operation->element_bytes >= LARGE_BYTES;
}

void distance_mark(const struct operation *operation, const struct lanes *lanes)
{
    if (!is_due(operation, lanes->sent + 1)) return;
    struct cell *cell = cell_next(lanes);
    for (uint32_t i = 0; i < TRAIL; i++) cell->payload[trail[i] * LINE_BYTES] = trail[(i + 1) % TRAIL];
}

void distance_look(const struct operation *operation, struct peer *peer, const struct loan *loan)
{
    const struct engine_config *config = &peer->engine->config;
    if (!config->clock_ns || !is_due(operation, peer->lanes.come)) return;
    if (loan->share == 0 && connection_borrow(peer->connection, loan, 1)) {
        peer->near_looks = 0; /* a thread of this process: there is nothing to copy */
        return;
    }
    const volatile uint8_t *payload = cell_last(&peer->lanes)->payload;
    /* Finding the pages is not of interest, and takes as long among many ranks. No line of the trail is touched. */
    (void)payload[0], (void)payload[EXCHANGE_BYTES - 1];
    const uint64_t begun_ns = config->clock_ns();
    uint32_t line = trail[0];
    for (uint32_t i = 0; i < TRAIL; i++) line = payload[line * LINE_BYTES] % LINES; /* whatever a peer has stored */
    const bool near = config->clock_ns() - begun_ns <= NEAR_NS;
    if (near) {
        const uint32_t looks = peer->near_looks + LOOK_NEAR;
        peer->near_looks = looks < LOOKS_KEPT ? looks : LOOKS_KEPT;
    } else if (peer->near_looks > 0) {
        peer->near_looks--;
    }
}

bool distance_is_near(const struct engine *engine)
{
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next)
        if (peer->near_looks < LOOKS_SURE) return false;
    return true;
}
