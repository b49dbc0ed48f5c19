/* SPDX-License-Identifier: Apache-2.0 */
/* One rank's part of a run of canonical calls: every type and operation, held against the reference. */
#ifndef TESTS_COLLECTIVES_CANONICAL_MESSAGES_H
#define TESTS_COLLECTIVES_CANONICAL_MESSAGES_H

#include <weft/weft.h>

enum { CANONICAL_MAX_RANKS = 17, CANONICAL_CALLS = 3 * WEFT_DTYPE_COUNT * WEFT_OP_COUNT };

/* How the ranks of a run come to their results; those must not depend on it. */
struct canonical_way {
    weft_algorithm algorithm; /* where the collective has it */
    bool in_place;
    uint32_t parts; /* calls that the message is divided into */
};

struct canonical_results {
    uint64_t wrong, calls;
    char first[160]; /* what was wrong first */
};

/* A rank_function; its argument is a struct canonical_way, and its results one struct canonical_results for each rank.
 */
void canonical_messages(weft_comm *comm, uint32_t rank, void *argument, void *results);
#endif
