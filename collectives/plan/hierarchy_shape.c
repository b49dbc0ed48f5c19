/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/plan/hierarchy_shape.h"

#include <stdlib.h>

/* ---- Sorting ranks ---- */

/* A rank among those of its groups: at each level the lowest rank of its group, outermost first. */
struct key {
    uint32_t rank, level_count;
    const uint32_t *lowest; /* level_count numbers */
};

static int key_compare(const void *left, const void *right)
{
    const struct key *a = left, *b = right;
    for (uint32_t i = 0; i < a->level_count; i++)
        if (a->lowest[i] != b->lowest[i]) return a->lowest[i] < b->lowest[i] ? -1 : 1;
    return (a->rank > b->rank) - (a->rank < b->rank);
}

struct member {
    uint32_t group, rank;
};

static int member_compare(const void *left, const void *right)
{
    const struct member *a = left, *b = right;
    if (a->group != b->group) return a->group < b->group ? -1 : 1;
    return (a->rank > b->rank) - (a->rank < b->rank);
}

/* The lowest rank of each rank's group, to lowest[rank * stride]; returns how many groups there are. */
static uint32_t lowest_find(const uint32_t *groups, uint32_t rank_count, struct member *members, uint32_t *lowest,
                            uint32_t stride)
{
    uint32_t count = 0, first = 0;
    for (uint32_t rank = 0; rank < rank_count; rank++) members[rank] = (struct member){groups[rank], rank};
    qsort(members, rank_count, sizeof *members, member_compare);
    for (uint32_t i = 0; i < rank_count; i++) {
        if (i == 0 || members[i].group != members[i - 1].group) count++, first = members[i].rank;
        lowest[(size_t)members[i].rank * stride] = first;
    }
    return count;
}

/* Groups in the order of the sorted ranks; false if one is in two places, so lies in two groups of a level above. */
static bool level_fill(const struct hierarchy *hierarchy, const struct key *keys, uint32_t above, uint32_t count,
                       struct hierarchy_level *level)
{
    uint32_t groups = 0;
    level->group_count = count;
    for (uint32_t i = 0; i < hierarchy->rank_count; i++) {
        bool begins = i == 0 || keys[i].lowest[above] != keys[i - 1].lowest[above];
        if (begins && groups == count) return false;
        if (begins) level->first[groups++] = i;
        level->group_of[keys[i].rank] = groups - 1;
    }
    level->first[groups] = hierarchy->rank_count;
    return true;
}

static weft_status ranks_sort(struct hierarchy *hierarchy, const uint32_t *groups, struct arena *arena)
{
    uint32_t n = hierarchy->rank_count, levels = hierarchy->level_count;
    struct key *keys = calloc(n, sizeof *keys);
    struct member *members = calloc(n, sizeof *members);
    uint32_t *lowest = calloc((size_t)n * levels, sizeof *lowest), *counts = calloc(levels, sizeof *counts);
    weft_status status = keys && members && lowest && counts ? WEFT_OK : WEFT_OUT_OF_MEMORY;
    for (uint32_t i = 0; status == WEFT_OK && i < levels; i++)
        counts[i] = lowest_find(groups + (size_t)(levels - 1 - i) * n, n, members, lowest + i, levels);
    for (uint32_t rank = 0; status == WEFT_OK && rank < n; rank++)
        keys[rank] = (struct key){rank, levels, lowest + (size_t)rank * levels};
    if (status == WEFT_OK) qsort(keys, n, sizeof *keys, key_compare);
    for (uint32_t i = 0; status == WEFT_OK && i < n; i++) {
        hierarchy->order[i] = keys[i].rank;
        hierarchy->place[keys[i].rank] = i;
    }
    for (uint32_t i = 0; status == WEFT_OK && i < levels; i++) {
        struct hierarchy_level *level = &hierarchy->levels[levels - 1 - i];
        level->group_of = arena_alloc(arena, n, sizeof *level->group_of);
        level->first = arena_alloc(arena, (size_t)counts[i] + 1, sizeof *level->first);
        if (!level->group_of || !level->first)
            status = WEFT_OUT_OF_MEMORY;
        else if (!level_fill(hierarchy, keys, i, counts[i], level))
            status = WEFT_INVALID_ARGUMENT;
    }
    free(keys);
    free(members);
    free(lowest);
    free(counts);
    return status;
}

/* The least power of two whose square is no less: where nothing is known, caches and hosts hold powers of two. */
static uint32_t usual_size(uint32_t rank_count)
{
    uint32_t size = 1;
    while ((uint64_t)size * size < rank_count) size *= 2;
    return size;
}

/* A step of a group's leader has an operand for each other rank of the group and for each other group. */
static bool hierarchy_fits(const struct hierarchy *hierarchy)
{
    uint32_t count = hierarchy_group_count(hierarchy), largest = 0;
    for (uint32_t group = 0; group < count; group++)
        if (hierarchy_size(hierarchy, group) > largest) largest = hierarchy_size(hierarchy, group);
    return (uint64_t)largest + count <= PLAN_MAX_OPERANDS + 1;
}

weft_status hierarchy_create(struct arena *arena, uint32_t rank_count, const uint32_t *groups, uint32_t level_count,
                             struct hierarchy **hierarchy)
{
    struct hierarchy *made = arena_alloc(arena, 1, sizeof *made);
    uint32_t *usual = NULL;
    if (!made) return WEFT_OUT_OF_MEMORY;
    *made = (struct hierarchy){.rank_count = rank_count, .level_count = groups ? level_count : 1};
    made->levels = arena_alloc(arena, made->level_count, sizeof *made->levels);
    made->order = arena_alloc(arena, rank_count, sizeof *made->order);
    made->place = arena_alloc(arena, rank_count, sizeof *made->place);
    if (!groups) {
        usual = calloc(rank_count, sizeof *usual);
        uint32_t size = usual_size(rank_count);
        for (uint32_t rank = 0; usual && rank < rank_count; rank++) usual[rank] = rank / size;
        groups = usual;
    }
    weft_status status = WEFT_OUT_OF_MEMORY;
    if (groups && made->levels && made->order && made->place) status = ranks_sort(made, groups, arena);
    free(usual);
    if (status != WEFT_OK) return status;
    while (made->level_count > 1 && hierarchy_group_count(made) == 1) made->level_count--;
    if (!hierarchy_fits(made)) return WEFT_RESOURCE_LIMIT;
    *hierarchy = made;
    return WEFT_OK;
}

/* ---- Who is where ---- */

static const struct hierarchy_level *outermost(const struct hierarchy *hierarchy)
{
    return &hierarchy->levels[hierarchy->level_count - 1];
}

uint32_t hierarchy_group_count(const struct hierarchy *hierarchy)
{
    return outermost(hierarchy)->group_count;
}

uint32_t hierarchy_group(const struct hierarchy *hierarchy, uint32_t rank)
{
    return outermost(hierarchy)->group_of[rank];
}

uint32_t hierarchy_size(const struct hierarchy *hierarchy, uint32_t group)
{
    return outermost(hierarchy)->first[group + 1] - outermost(hierarchy)->first[group];
}

uint32_t hierarchy_index(const struct hierarchy *hierarchy, uint32_t rank)
{
    return hierarchy->place[rank] - outermost(hierarchy)->first[hierarchy_group(hierarchy, rank)];
}

uint32_t hierarchy_member(const struct hierarchy *hierarchy, uint32_t group, uint32_t index)
{
    return hierarchy->order[outermost(hierarchy)->first[group] + index];
}

uint32_t hierarchy_counterpart(const struct hierarchy *hierarchy, uint32_t group, uint32_t rank)
{
    return hierarchy_member(hierarchy, group, hierarchy_index(hierarchy, rank) % hierarchy_size(hierarchy, group));
}

/* Groups of the level below that @p group consists of: they follow each other. */
static uint32_t parts_find(const struct hierarchy *hierarchy, uint32_t level, uint32_t group, uint32_t *count)
{
    const struct hierarchy_level *at = &hierarchy->levels[level], *below = at - 1;
    uint32_t first = below->group_of[hierarchy->order[at->first[group]]];
    *count = below->group_of[hierarchy->order[at->first[group + 1] - 1]] - first + 1;
    return first;
}

/* The leader of the group is that of one of its parts. */
static uint32_t level_leader(const struct hierarchy *hierarchy, uint32_t level, uint32_t group, uint32_t turn)
{
    for (; level > 0; level--) {
        uint32_t count, first = parts_find(hierarchy, level, group, &count);
        group = first + turn % count;
    }
    const uint32_t *first = &hierarchy->levels[0].first[group];
    return hierarchy->order[first[0] + turn % (first[1] - first[0])];
}

uint32_t hierarchy_leader(const struct hierarchy *hierarchy, uint32_t group, uint32_t turn)
{
    return level_leader(hierarchy, hierarchy->level_count - 1, group, turn);
}

/* The root leads whatever it is in. */
static uint32_t leader_towards(const struct hierarchy *hierarchy, uint32_t level, uint32_t group, uint32_t root)
{
    bool holds_root = hierarchy->levels[level].group_of[root] == group;
    return holds_root ? root : level_leader(hierarchy, level, group, 0);
}

static void finest_children(const struct hierarchy *hierarchy, uint32_t rank, struct hierarchy_node *node)
{
    const struct hierarchy_level *level = &hierarchy->levels[0];
    uint32_t group = level->group_of[rank];
    for (uint32_t place = level->first[group]; place < level->first[group + 1]; place++) {
        uint32_t member = hierarchy->order[place];
        if (member == rank)
            node->before = node->child_count;
        else
            node->children[node->child_count++] = member;
    }
}

void hierarchy_node(const struct hierarchy *hierarchy, uint32_t rank, uint32_t root, struct hierarchy_node *node)
{
    node->parent = PLAN_NONE;
    node->before = node->child_count = 0;
    for (uint32_t level = 0; level < hierarchy->level_count; level++) {
        uint32_t group = hierarchy->levels[level].group_of[rank];
        uint32_t leader = leader_towards(hierarchy, level, group, root);
        if (leader != rank) {
            node->parent = leader;
            return;
        }
        if (level == 0) {
            finest_children(hierarchy, rank, node);
            continue;
        }
        uint32_t count, first = parts_find(hierarchy, level, group, &count);
        for (uint32_t part = first; part < first + count; part++) {
            uint32_t below = leader_towards(hierarchy, level - 1, part, root);
            if (below != rank) node->children[node->child_count++] = below;
        }
    }
}
