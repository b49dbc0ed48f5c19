/* SPDX-License-Identifier: Apache-2.0 */
/* Two ranks that share memory and run a direct plan, both by hand in one thread, over whatever connects them. */
#ifndef TESTS_EXEC_SCENE_H
#define TESTS_EXEC_SCENE_H

#include "collectives/exec/exec_internal.h"

enum { SCENE_RANKS = 2, SCENE_COUNT = 512 << 10 };

struct scene {
    void *network; /* the test's own */
    weft_plan *plan;
    bool steps_when_near; /* of the operations to come */
    struct scene_rank {
        struct endpoint *endpoint;
        struct engine *engine;
        struct binding *binding;
        struct operation *operation; /* the last one that was begun, or NULL */
        uint32_t check;              /* of the operations to come */
        int64_t send[SCENE_COUNT], recv[SCENE_COUNT];
    } ranks[SCENE_RANKS];
};

/* What the test brings along. */
struct scene_setting {
    weft_collective collective;
    uint64_t (*clocks[SCENE_RANKS])(void); /* the engines' */
    bool shares_processors;
    struct endpoint *(*endpoint_open)(void *network, uint32_t rank);
    uint64_t (*network_step)(void *network); /* whatever time has to do; returns it */
};

/* Connected; element k of rank r's input is k x (r + 1). */
struct scene *scene_open(const struct scene_setting *setting, void *network);
void scene_close(struct scene *scene);
/* The rank has done all its operations, and ends. */
void scene_leave(struct scene *scene, uint32_t rank);
/* Begin an operation that sums @p count elements, or moves them. One that went before has to be complete. */
void scene_post(struct scene *scene, uint32_t rank, uint64_t count);
/* Do the same without an operation, which in progress there is then. */
weft_status scene_call(struct scene *scene, uint32_t rank, uint64_t count);
weft_status scene_advance(struct scene *scene, uint32_t rank);
#endif
