/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slurm's topology.yaml: a list of topologies, of which a partition uses one. Read is the one that Slurm takes by
 * default, or else the first that says what is connected: a flat one names no node. The others become notes.
 */
#include <stdlib.h>
#include <string.h>

#include "topology/format/slurm.h"
#include "topology/format/yaml.h"

enum {
    SIZES_MAX = 16,
    CELLS_MAX = 1 << 18 /* of all toruses together */
};

struct parser {
    struct slurm slurm;
    struct arena arena;  /* of the YAML tree */
    uint64_t cell_count; /* of all toruses */
};

static weft_status expect(const struct parser *parser, const struct yaml_value *value, enum yaml_kind kind,
                          const char *what)
{
    return yaml_expect(parser->slurm.source, value, kind, what, parser->slurm.diagnostic);
}

static weft_status found(const struct parser *parser, const struct yaml_value *value, const char *expected)
{
    return slurm_error(&parser->slurm, value->place, value->text, expected);
}

/* Say which keys of a map nobody here reads. */
static void others_note(const struct parser *parser, const struct yaml_value *map, const char *const *known)
{
    for (const struct yaml_value *key = map->first; key; key = key->next->next) {
        const char *const *at = known;
        while (*at && !span_equal(key->text, *at)) at++;
        if (!*at)
            topology_note(parser->slurm.topology, "line %u: left out '%.*s'", key->place.line, SPAN_ARGS(key->text));
    }
}

/* A name or list of names; NULL in *text where it is not given. */
static weft_status text_find(const struct parser *parser, const struct yaml_value *map, const char *key,
                             const char **text)
{
    const struct yaml_value *value = yaml_find(map, key);
    *text = NULL;
    if (!value) return WEFT_OK;
    weft_status status = expect(parser, value, YAML_IS_SCALAR, key);
    if (status) return status;
    if (memchr(value->text.at, '\0', value->text.size)) return found(parser, value, "no zero bytes");
    *text = value->text.at;
    return WEFT_OK;
}

/* Group names and lists outlive the YAML tree: only until the topology is built, which is before the arena goes. */
static weft_status group_read(struct parser *parser, const struct yaml_value *map, const char *name_key,
                              const char *const *known)
{
    struct slurm_group group = {.place = map->place};
    const char *name;
    weft_status status = expect(parser, map, YAML_IS_MAP, name_key);
    if (status) return status;
    status = text_find(parser, map, name_key, &name);
    if (!status && !name)
        return format_error(parser->slurm.source, map->place, parser->slurm.diagnostic,
                            "found an entry without '%s'; expected its name", name_key);
    if (!status) status = text_find(parser, map, "nodes", &group.nodes);
    if (!status) status = text_find(parser, map, "children", &group.switches);
    if (status) return status;
    others_note(parser, map, known);
    group.name = (struct span){name, strlen(name)};
    return slurm_group_add(&parser->slurm, &group);
}

/* The list @p key of a map, which must be there. */
static weft_status list_find(const struct parser *parser, const struct yaml_value *map, const char *key,
                             const struct yaml_value **list)
{
    weft_status status = expect(parser, map, YAML_IS_MAP, "the topology");
    if (status) return status;
    *list = yaml_find(map, key);
    if (!*list)
        return format_error(parser->slurm.source, map->place, parser->slurm.diagnostic, "expected a list '%s' here",
                            key);
    return expect(parser, *list, YAML_IS_LIST, key);
}

static weft_status tree_read(struct parser *parser, const struct yaml_value *tree)
{
    static const char *const known[] = {"switch", "children", "nodes", NULL};
    const struct yaml_value *list;
    weft_status status = list_find(parser, tree, "switches", &list);
    if (status) return status;
    for (const struct yaml_value *at = list->first; at && !status; at = at->next)
        status = group_read(parser, at, "switch", known);
    return status ? status : slurm_tree_build(&parser->slurm);
}

static weft_status block_read(struct parser *parser, const struct yaml_value *block)
{
    static const char *const known[] = {"block", "nodes", NULL};
    uint64_t sizes[SIZES_MAX];
    uint32_t size_count = 0;
    struct place place = block->place;
    const struct yaml_value *list;
    weft_status status = list_find(parser, block, "blocks", &list);
    if (status) return status;
    for (const struct yaml_value *at = list->first; at && !status; at = at->next)
        status = group_read(parser, at, "block", known);
    const struct yaml_value *given = yaml_find(block, "block_sizes");
    if (!status && given) status = expect(parser, given, YAML_IS_LIST, "block_sizes");
    for (const struct yaml_value *at = given && !status ? given->first : NULL; at; at = at->next) {
        place = at->place;
        if (at->kind != YAML_IS_SCALAR || size_count == SIZES_MAX ||
            !span_unsigned(at->text, UINT32_MAX, &sizes[size_count++]))
            return found(parser, at, "numbers of nodes, 16 at most");
    }
    return status ? status : slurm_blocks_build(&parser->slurm, sizes, size_count, place);
}

static weft_status rings_read(struct parser *parser, const struct yaml_value *ring)
{
    const struct yaml_value *list;
    weft_status status = list_find(parser, ring, "rings", &list);
    for (const struct yaml_value *at = status ? NULL : list->first; at && !status; at = at->next) {
        const char *nodes = NULL;
        status = expect(parser, at, YAML_IS_MAP, "a ring");
        if (!status) status = text_find(parser, at, "nodes", &nodes);
        if (!status && !nodes)
            status = format_error(parser->slurm.source, at->place, parser->slurm.diagnostic,
                                  "found a ring without 'nodes'; expected a list of nodes");
        if (!status) status = slurm_ring_add(&parser->slurm, nodes, at->place);
    }
    return status;
}

/* "x", "y" and "z" of the map @p key; @p least where there is no such map. */
static weft_status cell_find(const struct parser *parser, const struct yaml_value *map, const char *key, uint32_t least,
                             struct slurm_cell *cell)
{
    const struct yaml_value *given = yaml_find(map, key);
    uint64_t values[3] = {least, least, least};
    static const char *const axes[] = {"x", "y", "z"};
    weft_status status = given ? expect(parser, given, YAML_IS_MAP, key) : WEFT_OK;
    for (int i = 0; i < 3 && given && !status; i++) {
        const struct yaml_value *axis = yaml_find(given, axes[i]);
        if (!axis || axis->kind != YAML_IS_SCALAR || !span_unsigned(axis->text, CELLS_MAX, &values[i]) ||
            values[i] < least)
            status = format_error(parser->slurm.source, given->place, parser->slurm.diagnostic,
                                  "expected x, y and z, numbers from %u upwards, in '%s'", least, key);
    }
    *cell = (struct slurm_cell){(uint32_t)values[0], (uint32_t)values[1], (uint32_t)values[2]};
    return status;
}

static weft_status region_read(struct parser *parser, const struct yaml_value *region, struct slurm_cell size,
                               uint32_t *cells)
{
    struct slurm_cell anchor, extent;
    const char *nodes = NULL;
    weft_status status = expect(parser, region, YAML_IS_MAP, "a region");
    if (!status) status = cell_find(parser, region, "anchor", 0, &anchor);
    if (!status) status = cell_find(parser, region, "dims", 1, &extent);
    if (!status) status = text_find(parser, region, "nodes", &nodes);
    if (status || !nodes) return status;
    if (anchor.x + extent.x > size.x || anchor.y + extent.y > size.y || anchor.z + extent.z > size.z)
        return format_error(parser->slurm.source, region->place, parser->slurm.diagnostic,
                            "found a region that goes beyond its torus; expected one inside of it");
    return slurm_torus_fill(&parser->slurm, size, anchor, extent, nodes, cells, region->place);
}

static weft_status torus_read(struct parser *parser, const struct yaml_value *torus)
{
    static const char *const known[] = {"name", "dims", "nodes", "regions", "placements", NULL};
    struct slurm_cell size;
    const char *nodes = NULL;
    weft_status status = expect(parser, torus, YAML_IS_MAP, "a torus");
    if (!status) status = cell_find(parser, torus, "dims", 1, &size);
    if (!status) status = text_find(parser, torus, "nodes", &nodes);
    if (status) return status;
    others_note(parser, torus, known);
    uint64_t cell_count = (uint64_t)size.x * size.y; /* each at most 2^18 */
    if (cell_count <= CELLS_MAX) cell_count *= size.z;
    if ((parser->cell_count += cell_count) > CELLS_MAX)
        return format_error(parser->slurm.source, torus->place, parser->slurm.diagnostic,
                            "found toruses of more than %d cells; expected no more", CELLS_MAX);
    uint32_t *cells = arena_alloc(&parser->arena, cell_count, sizeof *cells);
    if (!cells)
        return diagnose(parser->slurm.diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s",
                        parser->slurm.source->name);
    memset(cells, 0xff, cell_count * sizeof *cells); /* TOPOLOGY_NONE */
    if (nodes)
        status = slurm_torus_fill(&parser->slurm, size, (struct slurm_cell){0}, size, nodes, cells, torus->place);
    const struct yaml_value *regions = yaml_find(torus, "regions");
    if (!status && regions) status = expect(parser, regions, YAML_IS_LIST, "regions");
    for (const struct yaml_value *at = regions && !status ? regions->first : NULL; at && !status; at = at->next)
        status = region_read(parser, at, size, cells);
    if (!status) slurm_torus_link(&parser->slurm, size, cells);
    return status;
}

static weft_status toruses_read(struct parser *parser, const struct yaml_value *torus3d)
{
    const struct yaml_value *list;
    weft_status status = list_find(parser, torus3d, "toruses", &list);
    for (const struct yaml_value *at = status ? NULL : list->first; at && !status; at = at->next)
        status = torus_read(parser, at);
    return status;
}

static const struct {
    const char *key;
    weft_status (*read)(struct parser *parser, const struct yaml_value *value); /* NULL: flat */
} kinds[] = {
    {"tree", tree_read}, {"block", block_read}, {"ring", rings_read}, {"torus3d", toruses_read}, {"flat", NULL},
};
enum { KIND_COUNT = sizeof kinds / sizeof *kinds };

/* Which one of the kinds it is: it must be one of them. */
static weft_status kind_find(const struct parser *parser, const struct yaml_value *topology, int *kind)
{
    *kind = KIND_COUNT;
    for (int i = 0; i < KIND_COUNT; i++) {
        if (!yaml_find(topology, kinds[i].key)) continue;
        if (*kind != KIND_COUNT)
            return format_error(parser->slurm.source, topology->place, parser->slurm.diagnostic,
                                "found a topology that is both '%s' and '%s'; expected one kind", kinds[*kind].key,
                                kinds[i].key);
        *kind = i;
    }
    if (*kind != KIND_COUNT) return WEFT_OK;
    return format_error(parser->slurm.source, topology->place, parser->slurm.diagnostic,
                        "found a topology of no kind; expected one of tree, block, ring, torus3d, flat");
}

static bool is_true(const struct yaml_value *value)
{
    return value && value->kind == YAML_IS_SCALAR && value->text.size == 4 &&
           strncasecmp(value->text.at, "true", 4) == 0;
}

/* Check every topology, and choose one: *chosen is NULL where all are flat. */
static weft_status choose(const struct parser *parser, const struct yaml_value *list, const struct yaml_value **chosen,
                          int *chosen_kind)
{
    static const char *const known[] = {"topology", "cluster_default", "tree", "block",
                                        "ring",     "torus3d",         "flat", NULL};
    bool by_default = false;
    *chosen = NULL;
    for (const struct yaml_value *at = list->first; at; at = at->next) {
        int kind;
        const char *name;
        weft_status status = expect(parser, at, YAML_IS_MAP, "a topology");
        if (!status) status = text_find(parser, at, "topology", &name);
        if (!status && !name)
            status = format_error(parser->slurm.source, at->place, parser->slurm.diagnostic,
                                  "found an entry without 'topology'; expected its name");
        if (!status) status = kind_find(parser, at, &kind);
        if (status) return status;
        others_note(parser, at, known);
        bool is_default = is_true(yaml_find(at, "cluster_default"));
        if (!kinds[kind].read || (*chosen && (by_default || !is_default))) continue;
        *chosen = at;
        *chosen_kind = kind;
        by_default = is_default;
    }
    return WEFT_OK;
}

static weft_status topologies_read(struct parser *parser, const struct yaml_value *list)
{
    const struct yaml_value *chosen;
    int kind = KIND_COUNT;
    weft_status status = expect(parser, list, YAML_IS_LIST, "topology.yaml");
    if (!status) status = choose(parser, list, &chosen, &kind);
    if (status) return status;
    if (!chosen)
        return format_error(parser->slurm.source, list->place, parser->slurm.diagnostic,
                            "found flat topologies only, which name no node; expected a tree or blocks");
    for (const struct yaml_value *at = list->first; at; at = at->next)
        topology_note(parser->slurm.topology, "topology '%.80s': %s", yaml_find(at, "topology")->text.at,
                      at == chosen ? "read" : "left out");
    return kinds[kind].read(parser, yaml_find(chosen, kinds[kind].key));
}

static weft_status read_slurm_yaml(const struct format_source *source, weft_topology *topology,
                                   struct diagnostic *diagnostic)
{
    struct parser parser = {.slurm = {.source = source, .topology = topology, .diagnostic = diagnostic}};
    const struct yaml_value *root;
    weft_status status = yaml_parse(source, &parser.arena, &root, diagnostic);
    if (!status) status = topologies_read(&parser, root);
    slurm_free(&parser.slurm);
    arena_free(&parser.arena);
    return status;
}

static unsigned recognise_slurm_yaml(const struct format_source *source)
{
    struct line_walk walk = {.source = source};
    struct span line, word;
    while (walk.at < (1 << 16) && line_next(&walk, &line)) {
        struct span rest = line;
        if (!span_word(&rest, &word) || !span_equal(word, "-")) continue;
        if (span_word(&rest, &word) && span_begins(word, "topology:")) return 80;
    }
    return 0;
}

const struct format_reader format_slurm_yaml = {
    .name = "slurm_topology_yaml",
    .title = "Slurm topology.yaml",
    .recognise = recognise_slurm_yaml,
    .read = read_slurm_yaml,
};
