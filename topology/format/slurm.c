/* SPDX-License-Identifier: Apache-2.0 */
/* Trees, blocks and rings of a Slurm cluster. */
#include "topology/format/slurm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hostlist.h"

enum {
    LISTED_MAX = 1 << 17, /* names in all lists of a file together: a few bytes could stand for 10^18 */
    LEVELS_MAX = 16       /* of blocks, as in Slurm */
};

static weft_status no_memory(const struct slurm *slurm)
{
    return diagnose(slurm->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s", slurm->source->name);
}

weft_status slurm_error(const struct slurm *slurm, struct place place, struct span found, const char *expected)
{
    return format_error(slurm->source, place, slurm->diagnostic, "found '%.*s'; expected %s", SPAN_ARGS(found),
                        expected);
}

static struct span span_of(const char *text)
{
    return (struct span){text, strlen(text)};
}

weft_status slurm_list_count(struct slurm *slurm, const char *text, struct place place, uint64_t *count)
{
    struct diagnostic why = {0};
    if (hostlist_count(text, count, &why)) return format_error(slurm->source, place, slurm->diagnostic, "%s", why.text);
    if (__builtin_add_overflow(slurm->listed, *count, &slurm->listed) || slurm->listed > LISTED_MAX)
        return slurm_error(slurm, place, span_of(text), "no more than 131072 names in a file");
    return WEFT_OK;
}

uint32_t slurm_host(struct slurm *slurm, const char *name)
{
    uint32_t known = name_table_find(&slurm->hosts, span_of(name));
    if (known != TOPOLOGY_NONE) return known;
    uint32_t host = topology_add_node(
        slurm->topology,
        &(struct topology_node){.kind = NODE_HOST, .parent = TOPOLOGY_NONE, .name = name, .os_index = TOPOLOGY_NONE});
    if (host == TOPOLOGY_NONE) return host;
    uint32_t *slot = name_table_at(&slurm->hosts, span_of(slurm->topology->nodes[host].name));
    if (slot) *slot = host;
    return slot ? host : TOPOLOGY_NONE;
}

void slurm_link(struct slurm *slurm, uint32_t from, uint32_t to, const char *name)
{
    topology_add_link(slurm->topology,
                      &(struct topology_link){.kind = LINK_NETWORK, .from = from, .to = to, .name = name});
}

weft_status slurm_group_add(struct slurm *slurm, const struct slurm_group *group)
{
    if (group->name.size == 0 || memchr(group->name.at, '[', group->name.size))
        return slurm_error(slurm, group->place, group->name, "one name");
    uint32_t *known = name_table_at(&slurm->groups, group->name);
    if (!known) return no_memory(slurm);
    if (*known != TOPOLOGY_NONE)
        return format_error(slurm->source, group->place, slurm->diagnostic,
                            "found '%.*s' again, which line %" PRIu32 " describes; expected each name once",
                            SPAN_ARGS(group->name), slurm->group[*known].place.line);
    if (!array_reserve((void **)&slurm->group, slurm->group_count, &slurm->group_capacity, sizeof *slurm->group))
        return no_memory(slurm);
    *known = slurm->group_count;
    slurm->group[slurm->group_count] = *group;
    slurm->group[slurm->group_count].last_parent = TOPOLOGY_NONE;
    slurm->group_count++;
    return WEFT_OK;
}

static uint32_t switch_node_add(struct slurm *slurm, const char *name, const char *model)
{
    return topology_add_node(
        slurm->topology,
        &(struct topology_node){
            .kind = NODE_SWITCH, .parent = TOPOLOGY_NONE, .name = name, .model = model, .os_index = TOPOLOGY_NONE});
}

static weft_status groups_to_nodes(struct slurm *slurm, const char *model)
{
    for (uint32_t i = 0; i < slurm->group_count; i++) {
        const char *name = span_copy(slurm->topology, slurm->group[i].name);
        if (!name) return no_memory(slurm);
        slurm->group[i].in_topology = switch_node_add(slurm, name, model);
    }
    return WEFT_OK;
}

/*
 * Connect a group with its nodes. @p leaf_of remembers, for each host, the last group that listed it plus one: the same
 * name twice in a list is one node, in another group's list one with two switches, of which Slurm warns.
 */
static weft_status nodes_connect(struct slurm *slurm, uint32_t group, struct name_table *leaf_of)
{
    const struct slurm_group *leaf = &slurm->group[group];
    uint64_t count;
    char name[HOSTLIST_NAME_BYTES];
    if (strcasecmp(leaf->nodes, "ALL") == 0)
        return slurm_error(slurm, leaf->place, span_of(leaf->nodes), "names of nodes, which slurm.conf alone has else");
    weft_status status = slurm_list_count(slurm, leaf->nodes, leaf->place, &count);
    if (status) return status;
    struct hostlist_walk walk = hostlist_walk_begin(leaf->nodes);
    while (hostlist_walk_next(&walk, name)) {
        uint32_t host = slurm_host(slurm, name);
        uint32_t *last =
            host == TOPOLOGY_NONE ? NULL : name_table_at(leaf_of, span_of(slurm->topology->nodes[host].name));
        if (!last) return no_memory(slurm);
        if (*last == group) continue;
        if (*last != TOPOLOGY_NONE)
            topology_note(slurm->topology, "line %" PRIu32 ": node %.80s is in two groups, %.*s and %.*s",
                          leaf->place.line, name, SPAN_ARGS(slurm->group[*last].name), SPAN_ARGS(leaf->name));
        *last = group;
        slurm_link(slurm, host, leaf->in_topology, leaf->link_speed);
    }
    return WEFT_OK;
}

static weft_status switches_connect(struct slurm *slurm, uint32_t index)
{
    const struct slurm_group *parent = &slurm->group[index];
    uint64_t count;
    char name[HOSTLIST_NAME_BYTES];
    weft_status status = slurm_list_count(slurm, parent->switches, parent->place, &count);
    if (status) return status;
    struct hostlist_walk walk = hostlist_walk_begin(parent->switches);
    while (hostlist_walk_next(&walk, name)) {
        uint32_t child = name_table_find(&slurm->groups, span_of(name));
        if (child == TOPOLOGY_NONE)
            return format_error(slurm->source, parent->place, slurm->diagnostic,
                                "found the child '%.80s' of switch '%.*s', which no line describes; expected the "
                                "name of a switch",
                                name, SPAN_ARGS(parent->name));
        if (slurm->group[child].last_parent == index) continue;
        if (!array_reserve((void **)&slurm->edges, slurm->edge_count, &slurm->edge_capacity, sizeof *slurm->edges))
            return no_memory(slurm);
        slurm->edges[slurm->edge_count++] = (struct slurm_edge){index, child};
        slurm->group[child].last_parent = index;
        slurm_link(slurm, slurm->group[child].in_topology, parent->in_topology, parent->link_speed);
    }
    return WEFT_OK;
}

/*
 * Take away switches that nobody is above, until none is left or each of them has one above it: *above[i] is then
 * such a one for those left, and TOPOLOGY_NONE for the others.
 */
static void roots_strip(const struct slurm *slurm, uint32_t *above, uint32_t *parent_count, uint32_t *queue,
                        uint32_t *first_edge)
{
    uint32_t tail = 0;
    for (uint32_t i = 0; i < slurm->edge_count; i++) {
        parent_count[slurm->edges[i].child]++;
        first_edge[slurm->edges[i].parent + 1] = i + 1;
    }
    for (uint32_t i = 0; i < slurm->group_count; i++) {
        if (first_edge[i + 1] < first_edge[i]) first_edge[i + 1] = first_edge[i];
        if (parent_count[i] == 0) queue[tail++] = i;
    }
    for (uint32_t head = 0; head < tail; head++)
        for (uint32_t i = first_edge[queue[head]]; i < first_edge[queue[head] + 1]; i++)
            if (--parent_count[slurm->edges[i].child] == 0) queue[tail++] = slurm->edges[i].child;
    for (uint32_t i = 0; i < slurm->group_count; i++) above[i] = TOPOLOGY_NONE;
    for (uint32_t i = 0; i < slurm->edge_count; i++)
        if (parent_count[slurm->edges[i].parent] > 0) above[slurm->edges[i].child] = slurm->edges[i].parent;
}

/* Slurm refuses to start with a switch that is below itself. */
static weft_status circle_refuse(struct slurm *slurm)
{
    size_t count = (size_t)slurm->group_count + 1;
    uint32_t *memory = calloc(count * 4, sizeof *memory);
    if (!memory) return no_memory(slurm);
    uint32_t *above = memory, *parent_count = memory + count, *queue = memory + 2 * count;
    roots_strip(slurm, above, parent_count, queue, memory + 3 * count);
    weft_status status = WEFT_OK;
    for (uint32_t i = 0; i < slurm->group_count && !status; i++) {
        if (parent_count[i] == 0) continue;
        /* Upwards from what is left it goes round for ever, so that so many steps end in the circle. */
        uint32_t at = i;
        for (uint32_t step = 0; step < slurm->group_count; step++) at = above[at];
        status = format_error(slurm->source, slurm->group[at].place, slurm->diagnostic,
                              "found switch '%.*s' below itself, through '%.*s'; expected a tree",
                              SPAN_ARGS(slurm->group[at].name), SPAN_ARGS(slurm->group[above[at]].name));
    }
    free(memory);
    return status;
}

weft_status slurm_tree_build(struct slurm *slurm)
{
    struct name_table leaf_of = {0};
    weft_status status = groups_to_nodes(slurm, NULL);
    for (uint32_t i = 0; i < slurm->group_count && !status; i++) {
        const struct slurm_group *group = &slurm->group[i];
        if (group->nodes && group->switches)
            status = slurm_error(slurm, group->place, group->name, "a switch with nodes or with switches, not both");
        else if (group->nodes)
            status = nodes_connect(slurm, i, &leaf_of);
        else if (group->switches)
            status = switches_connect(slurm, i);
        else
            topology_note(slurm->topology, "line %" PRIu32 ": switch %.*s has neither nodes nor switches",
                          group->place.line, SPAN_ARGS(group->name));
    }
    if (!status) status = circle_refuse(slurm);
    name_table_free(&leaf_of);
    return status;
}

/* Join @p count blocks or joined blocks, of which each stands for @p stride blocks, by @p factor. Returns how many. */
static uint32_t blocks_join(struct slurm *slurm, uint32_t *nodes, uint32_t count, uint32_t stride, uint32_t factor)
{
    uint32_t joined = 0;
    for (uint32_t first = 0; first < count; first += factor, joined++) {
        uint32_t members = count - first < factor ? count - first : factor;
        uint32_t node = nodes[first];
        if (members > 1) {
            uint32_t last_block = (first + members) * stride;
            if (last_block > slurm->group_count) last_block = slurm->group_count;
            char name[96];
            snprintf(name, sizeof name, "%.*s..%.*s", SPAN_ARGS(slurm->group[first * stride].name),
                     SPAN_ARGS(slurm->group[last_block - 1].name));
            node = switch_node_add(slurm, name, "Slurm joined blocks");
            for (uint32_t i = 0; i < members; i++) slurm_link(slurm, nodes[first + i], node, NULL);
        }
        nodes[joined] = node;
    }
    return joined;
}

/* How many blocks the levels join: from BlockSizes, which count nodes. */
static weft_status levels_of(struct slurm *slurm, const uint64_t *sizes, uint32_t size_count, struct place place,
                             uint32_t levels[LEVELS_MAX], uint32_t *level_count)
{
    *level_count = 0;
    for (uint32_t i = 0; i < size_count; i++) {
        uint64_t blocks = sizes[0] ? sizes[i] / sizes[0] : 0;
        bool power = blocks > 0 && (blocks & (blocks - 1)) == 0 && sizes[i] % sizes[0] == 0;
        if (!power || blocks > 1u << (LEVELS_MAX - 1) || (i > 0 && sizes[i] <= sizes[i - 1]))
            return format_error(slurm->source, place, slurm->diagnostic,
                                "found the block size %" PRIu64 "; expected each to be the first times a power of two, "
                                "ascending",
                                sizes[i]);
        levels[(*level_count)++] = (uint32_t)blocks;
    }
    if (size_count == 0)
        for (uint32_t blocks = 1; blocks <= 8; blocks *= 2) levels[(*level_count)++] = blocks;
    return WEFT_OK;
}

weft_status slurm_blocks_build(struct slurm *slurm, const uint64_t *sizes, uint32_t size_count, struct place place)
{
    uint32_t levels[LEVELS_MAX], level_count, stride = 1, count = slurm->group_count;
    struct name_table leaf_of = {0};
    uint32_t *nodes = calloc((size_t)count + 1, sizeof *nodes);
    if (!nodes) return no_memory(slurm);
    weft_status status = levels_of(slurm, sizes, size_count, place, levels, &level_count);
    if (!status) status = groups_to_nodes(slurm, "Slurm block");
    for (uint32_t i = 0; i < count && !status; i++) {
        nodes[i] = slurm->group[i].in_topology;
        if (!slurm->group[i].nodes)
            status = slurm_error(slurm, slurm->group[i].place, slurm->group[i].name, "a block with nodes");
        else
            status = nodes_connect(slurm, i, &leaf_of);
    }
    for (uint32_t i = 0; i < level_count && !status && count > 1; i++) {
        count = blocks_join(slurm, nodes, count, stride, levels[i] / stride);
        stride = levels[i];
    }
    if (!status && count > 1) blocks_join(slurm, nodes, count, stride, count);
    name_table_free(&leaf_of);
    free(nodes);
    return status;
}

weft_status slurm_ring_add(struct slurm *slurm, const char *nodes, struct place place)
{
    char name[HOSTLIST_NAME_BYTES];
    uint64_t count;
    uint32_t first = TOPOLOGY_NONE, last = TOPOLOGY_NONE;
    weft_status status = slurm_list_count(slurm, nodes, place, &count);
    if (status) return status;
    struct hostlist_walk walk = hostlist_walk_begin(nodes);
    while (hostlist_walk_next(&walk, name)) {
        if (name_table_find(&slurm->hosts, span_of(name)) != TOPOLOGY_NONE)
            return slurm_error(slurm, place, span_of(name), "every node once, in one ring");
        uint32_t host = slurm_host(slurm, name);
        if (host == TOPOLOGY_NONE) return no_memory(slurm);
        if (first == TOPOLOGY_NONE)
            first = host;
        else
            slurm_link(slurm, last, host, NULL);
        last = host;
    }
    if (count > 2) slurm_link(slurm, last, first, NULL);
    return WEFT_OK;
}

void slurm_free(struct slurm *slurm)
{
    name_table_free(&slurm->groups);
    name_table_free(&slurm->hosts);
    free(slurm->edges);
    free(slurm->group);
}
