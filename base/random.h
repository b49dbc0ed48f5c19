/* SPDX-License-Identifier: Apache-2.0 */
/* Seeded random numbers, the same on every machine: for tests, simulation and initial values, never for secrets. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>
#include <weft/types.h>

struct random {
    uint64_t state[4]; /* xoshiro256** (Blackman, Vigna 2018), seeded through splitmix64 */
};

void random_seed(struct random *random, uint64_t seed);
uint64_t random_next(struct random *random);
/* Uniform in [0, bound); bound > 0. */
uint64_t random_below(struct random *random, uint64_t bound);
/* Uniform in [0, 1). */
double random_unit(struct random *random);

/* Secret bytes from the kernel. WEFT_SYSTEM_ERROR when it has none. */
weft_status random_secret(void *bytes, size_t size);
#endif
