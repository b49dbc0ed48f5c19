/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which ranks are near each other: the groups that hierarchical plans go by. Pure; equal arguments give equal groups.
 */
#ifndef COLLECTIVES_GROUPING_H
#define COLLECTIVES_GROUPING_H

#include <weft/plan.h>

#include "topology/model/model.h"

struct grouping {
    weft_plan_layout layout; /* points to the numbers */
    uint32_t *numbers;       /* level by level; NULL: none */
    uint32_t count, largest; /* groups of the outermost level, and ranks of the largest of them */
};

/*
 * By the hosts of a topology, and by the NUMA nodes or packages of a host where ranks are on several of them: rank i is
 * on nodes[i]. WEFT_UNSUPPORTED: all ranks are alike, or groups are too many or too large for a plan.
 * WEFT_OUT_OF_MEMORY.
 */
weft_status grouping_of_places(const weft_topology *topology, const uint32_t *nodes, uint32_t rank_count,
                               struct grouping *grouping);
/* By a number for each rank, equal on one host. Errors as above. */
weft_status grouping_of_hosts(const uint32_t *hosts, uint32_t rank_count, struct grouping *grouping);
void grouping_free(struct grouping *grouping);
#endif
