/* SPDX-License-Identifier: Apache-2.0 */
/* A rank that is the transport under test, one that is honest, and one that is played by hand and lies. */
#ifndef TESTS_TRANSPORT_SHM_STAGE_H
#define TESTS_TRANSPORT_SHM_STAGE_H

#include "tests/transport/pairs.h"
#include "transport/shm/shm_internal.h"

#define GRANTED 4096
#define SEGMENT_BYTES (2 * (size_t)SHM_REGION_OFFSET)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

/* Rank 0, rank 2 that is honest, and rank 1's end of the socket to rank 0. */
struct stage {
    struct pairs pairs;
    struct endpoint *victim, *honest;
    struct connection *connection; /* of the victim to the liar */
    struct connection *to_honest, *from_honest;
    int liar;                          /* socket */
    struct shm_segment *own, *victims; /* as the liar maps them */
    size_t descriptors;
};

size_t stage_descriptor_count(void);
void stage_open(struct stage *stage);
/* Whatever the liar did, the honest peer is still served, and nothing is left. */
void stage_close(struct stage *stage);
/* What the liar says of its segment when it does not lie. */
struct shm_header stage_header(void);
int stage_memory(const struct shm_header *header, size_t bytes, int seals);
/* The liar sends bytes with @p count descriptors, which are closed. */
void stage_send(const struct stage *stage, const void *bytes, size_t size, const int *memory, size_t count);
/* Take the victim's greeting, as an honest peer would, and map both segments; end it with @p ready. */
void stage_connect(struct stage *stage, bool in_pieces, enum shm_message_kind ready);
/* Exactly one EVENT_FAILED with that status comes, and nothing after it. */
void stage_expect_failure(struct stage *stage, weft_status expected);
#endif
