/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/arrange/grouping.h"

#include <stdlib.h>

#include "collectives/plan/plan.h"

static int number_compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

/* How many different numbers there are, and how often the most frequent one. */
static uint32_t numbers_count(const uint32_t *numbers, uint32_t count, uint32_t *sorted, uint32_t *largest)
{
    uint32_t different = 0, run = 0;
    *largest = 0;
    for (uint32_t i = 0; i < count; i++) sorted[i] = numbers[i];
    qsort(sorted, count, sizeof *sorted, number_compare);
    for (uint32_t i = 0; i < count; i++) {
        run = i > 0 && sorted[i] == sorted[i - 1] ? run + 1 : 1;
        different += run == 1;
        if (run > *largest) *largest = run;
    }
    return different;
}

/*
 * Keeps the levels that tell anything: the outer one if it has several groups, the inner one if it has more of them and
 * they are no single ranks. Takes @p numbers, inner level first, over.
 */
static weft_status levels_take(uint32_t *numbers, uint32_t rank_count, struct grouping *grouping)
{
    uint32_t *sorted = calloc(rank_count, sizeof *sorted), sizes[2], counts[2];
    if (!numbers || !sorted) {
        free(numbers);
        free(sorted);
        return WEFT_OUT_OF_MEMORY;
    }
    for (uint32_t level = 0; level < 2; level++)
        counts[level] = numbers_count(numbers + (size_t)level * rank_count, rank_count, sorted, &sizes[level]);
    free(sorted);
    bool inner = counts[0] > counts[1] && counts[0]<rank_count, outer = counts[1]> 1;
    uint32_t last = outer ? 1 : 0;
    if ((!inner && !outer) || counts[last] + (uint64_t)sizes[last] > PLAN_MAX_OPERANDS + 1) {
        free(numbers);
        return WEFT_UNSUPPORTED;
    }
    *grouping = (struct grouping){.numbers = numbers, .count = counts[last], .largest = sizes[last]};
    grouping->layout = (weft_plan_layout){.size = sizeof grouping->layout,
                                          .groups = inner ? numbers : numbers + rank_count,
                                          .level_count = (uint32_t)inner + outer};
    return WEFT_OK;
}

/* The part of its host that a rank's place is in; the host itself where there is none, or nothing is known. */
static uint32_t part_of(const weft_topology *topology, uint32_t node, uint32_t host)
{
    uint32_t package = host;
    for (uint32_t at = node; at != TOPOLOGY_NONE; at = topology->nodes[at].parent) {
        if (topology->nodes[at].kind == NODE_NUMA) return at;
        if (topology->nodes[at].kind == NODE_PACKAGE) package = at;
    }
    return package;
}

weft_status grouping_of_places(const weft_topology *topology, const uint32_t *nodes, uint32_t rank_count,
                               struct grouping *grouping)
{
    uint32_t *numbers = calloc(2 * (size_t)rank_count, sizeof *numbers);
    for (uint32_t rank = 0; numbers && rank < rank_count; rank++) {
        uint32_t host = topology_host_of(topology, nodes[rank]);
        numbers[rank_count + rank] = host;
        numbers[rank] = part_of(topology, nodes[rank], host);
    }
    return levels_take(numbers, rank_count, grouping);
}

weft_status grouping_of_hosts(const uint32_t *hosts, uint32_t rank_count, struct grouping *grouping)
{
    uint32_t *numbers = calloc(2 * (size_t)rank_count, sizeof *numbers);
    for (uint32_t rank = 0; numbers && rank < rank_count; rank++)
        numbers[rank] = numbers[rank_count + rank] = hosts[rank];
    return levels_take(numbers, rank_count, grouping);
}

void grouping_free(struct grouping *grouping)
{
    free(grouping->numbers);
    *grouping = (struct grouping){0};
}
