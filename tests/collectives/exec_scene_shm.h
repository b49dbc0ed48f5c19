/* SPDX-License-Identifier: Apache-2.0 */
/* A scene over real shared memory, whose clock stands still. */
#ifndef TESTS_EXEC_SCENE_SHM_H
#define TESTS_EXEC_SCENE_SHM_H

#include "tests/collectives/exec_scene.h"

/* One at a time. */
struct scene *shm_scene_open(weft_collective collective);
void shm_scene_close(struct scene *scene);
#endif
