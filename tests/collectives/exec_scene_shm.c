/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/collectives/exec_scene_shm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/transport/pairs.h"
#include "transport/shm/shm.h"

static struct endpoint *endpoint_open(void *network, uint32_t rank)
{
    const struct shm_config shm = {.rank = rank, .rank_count = SCENE_RANKS};
    struct endpoint *endpoint = NULL;
    assert_int_equal(shm_endpoint_create(&shm, pairs_rendezvous(network, rank), &endpoint, NULL), WEFT_OK);
    return endpoint;
}

static uint64_t network_step(void *network)
{
    (void)network;
    return 0; /* this one goes by itself */
}

struct scene *shm_scene_open(weft_collective collective)
{
    static struct pairs pairs;
    const struct scene_setting setting = {
        .collective = collective, .endpoint_open = endpoint_open, .network_step = network_step};
    pairs_init(&pairs);
    return scene_open(&setting, &pairs);
}

void shm_scene_close(struct scene *scene)
{
    struct pairs *pairs = scene->network;
    scene_close(scene);
    pairs_close(pairs);
}
