/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steady memory: slots of this process from which slices leave without being copied again, because they stay as they
 * are until the peer has given its own slots back. Slices are written there past the caches. The peer's processor
 * fetches them from memory, and does not have to give them back before the next are written, which between cores that
 * share no cache takes ten times as long.
 *
 * Which kind of cores these are is the host's to change at any moment. That copies have become slow the transport
 * notices; that they would be quick again is seen here: by how long it takes to get hold of lines that the peer has
 * read.
 */
#include <sys/mman.h>

#include "base/fence.h"
#include "collectives/exec/exec_internal.h"

/* Fewer pages are fewer references to count, at both ends. */
#define HUGE_BYTES ((size_t)2 << 20)
#define PAGE_BYTES 4096u

/*
 * One slice in 8 is preceded by a store to each line of 16 KiB. Measured: 0.4 us between threads of one core, 1.0 us
 * between cores that share a cache, 1.6 to 5 us between others, and less among those than NEAR_NS once in a while.
 */
enum { LOOK_SLICES = 8, LOOK_LINES = 256, LINE_BYTES = 64 };
#define NEAR_NS 1400u

/*
 * A peer whose caches keep nothing for long makes far processors look near. Then copies are found to be slow again at
 * once, after a megabyte or so; each time it takes twice as many looks to be sure, until copies have been quick for
 * LASTING_SLICES.
 */
enum { LOOKS_FEWEST = 3, LOOKS_MOST = 192, LASTING_SLICES = 256 };

static bool steady_open(struct peer *peer)
{
    struct steady *steady = &peer->steady;
    const struct engine_config *config = &peer->engine->config;
    /* Whole pages, of which the kernel puts no more than 17 into a packet. */
    steady->slot_stride = (config->slot_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    const size_t slots_bytes = (size_t)config->channel_limit * config->slot_depth * steady->slot_stride;
    const size_t bytes = (slots_bytes + 2 * HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
    uint8_t *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return false;
    steady->mapped = mapped;
    steady->mapped_bytes = bytes;
    steady->others = LASTING_SLICES;
    steady->slots = (uint8_t *)(((uintptr_t)mapped + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES);
    (void)madvise(steady->slots, (size_t)(mapped + bytes - steady->slots), MADV_HUGEPAGE); /* or pages as they are */
    return true;
}

bool steady_serves(struct peer *peer, size_t bytes)
{
    struct steady *steady = &peer->steady;
    const uint32_t least_bytes = peer->connection->steady_bytes;
    if (least_bytes == 0 || bytes < least_bytes) {
        steady->others += least_bytes == 0;
        return false;
    }
    if (!steady->slots && !steady_open(peer)) {
        peer->connection->steady_bytes = 0;
        return false;
    }
    if (steady->slices++ == 0) {
        const bool lasted = steady->others >= LASTING_SLICES;
        steady->looks_sure = lasted ? LOOKS_FEWEST : steady->looks_sure * 2;
        if (steady->looks_sure > LOOKS_MOST) steady->looks_sure = LOOKS_MOST;
    }
    return true;
}

void steady_look(struct peer *peer, uint64_t offset)
{
    struct steady *steady = &peer->steady;
    const struct engine_config *config = &peer->engine->config;
    if (!config->clock_ns || steady->slices % LOOK_SLICES || steady->slices <= config->slot_depth) return;
    if (config->slot_bytes < LOOK_LINES * LINE_BYTES) return;
    volatile uint8_t *lines = steady_place(peer, offset);
    const uint64_t begun_ns = config->clock_ns();
    for (uint32_t i = 0; i < LOOK_LINES; i++) lines[(size_t)i * LINE_BYTES] = 0;
    fence_full(); /* until all of these stores are done */
    const bool near = config->clock_ns() - begun_ns <= NEAR_NS;
    steady->near_looks = near ? steady->near_looks + 1 : 0;
    if (steady->near_looks < steady->looks_sure) return;
    steady->near_looks = steady->slices = steady->others = 0;
    peer->connection->steady_bytes = 0;
}

void steady_close(struct peer *peer)
{
    if (peer->steady.slots) munmap(peer->steady.mapped, peer->steady.mapped_bytes);
}
