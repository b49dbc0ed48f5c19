/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the rate of this processor's time stamp counter in kHz. A machine of the lab counts the same ticks, and would
 * measure their rate wrongly at boot when it has to share its cores; its clock would then run several times too fast.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define INTERVAL_NS 30000000

/* One instant on both clocks: the narrowest of several tries, so that nobody ran in between. */
static void instant(uint64_t *ticks, int64_t *ns)
{
    uint64_t narrowest = UINT64_MAX;
    for (int i = 0; i < 100; i++) {
        struct timespec now;
        const uint64_t before = __rdtsc();
        clock_gettime(CLOCK_MONOTONIC_RAW, &now);
        const uint64_t width = __rdtsc() - before;
        if (width >= narrowest) continue;
        narrowest = width;
        *ticks = before + width / 2;
        *ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
}

int main(void)
{
    uint64_t begin_ticks, end_ticks;
    int64_t begin_ns, end_ns;
    instant(&begin_ticks, &begin_ns);
    nanosleep(&(struct timespec){.tv_nsec = INTERVAL_NS}, NULL);
    instant(&end_ticks, &end_ns);
    printf("%.0f\n", (double)(end_ticks - begin_ticks) * 1e6 / (double)(end_ns - begin_ns));
    return 0;
}
