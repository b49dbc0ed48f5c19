/* SPDX-License-Identifier: Apache-2.0 */
/* Links of weft's YAML, what they refer to, and what else names nodes: distances and channels. */
#include <stdlib.h>
#include <string.h>

#include "topology/format/weft_yaml.h"

/* While the names of one end are walked. */
struct end_walk {
    struct reading *reading;
    struct scope *scope;
    const struct yaml_value *value;
    struct ends *ends;
    struct span kind;                /* "gpu" of "gpu [0-7]"; empty for an id */
    const char *host;                /* in which to look, or NULL */
    const struct yaml_value *inside; /* of [HOSTS, NODES]: what is looked for in each host */
};

static weft_status end_add(struct end_walk *walk, uint32_t node)
{
    struct ends *ends = walk->ends;
    if (ends->count == ends->capacity) {
        weft_status status = reading_charge(walk->reading, walk->value, ends->capacity, sizeof *ends->nodes);
        if (status) return status;
        uint32_t wanted = ends->capacity ? ends->capacity * 2 : 16;
        uint32_t *larger = reallocarray(ends->nodes, wanted, sizeof *larger);
        if (!larger) return reading_no_memory(walk->reading);
        ends->nodes = larger;
        ends->capacity = wanted;
    }
    ends->nodes[ends->count++] = node;
    return WEFT_OK;
}

static weft_status unknown_end(const struct end_walk *walk, struct span key, uint32_t found)
{
    if (found == SEVERAL)
        return reading_error(walk->reading, walk->value, "several nodes are '%.*s'; give them ids to tell them apart",
                             SPAN_ARGS(key));
    return reading_error(walk->reading, walk->value, "there is no '%.*s'%s%.60s; expected a kind and a name, or an id",
                         SPAN_ARGS(key), walk->host ? " in " : "", walk->host ? walk->host : "");
}

enum { KEY_BYTES_MAX = 2 * FORMAT_TEXT_BYTES_MAX + 64 };

/* One name, with the kind before it. */
static weft_status end_find(void *context, struct span name)
{
    struct end_walk *walk = context;
    char key[KEY_BYTES_MAX];
    if (name.size > FORMAT_TEXT_BYTES_MAX || walk->kind.size > 32)
        return reading_error(walk->reading, walk->value, "a name of %zu bytes", name.size);
    size_t size = walk->kind.size;
    memcpy(key, walk->kind.at, size);
    if (size > 0) key[size++] = ' ';
    memcpy(key + size, name.at, name.size);
    size += name.size;
    uint32_t node = name_table_find(&walk->scope->names, (struct span){key, size});
    if (node >= SEVERAL) return unknown_end(walk, (struct span){key, size}, node);
    return end_add(walk, node);
}

/* "gpu [0-7]", or an id. */
static weft_status scalar_read(struct end_walk *walk, const struct yaml_value *value)
{
    if (value->kind != YAML_IS_SCALAR)
        return reading_error(walk->reading, value, "found %s; expected a kind and a name, or an id",
                             yaml_kind_words(value->kind));
    const char *blank = memchr(value->text.at, ' ', value->text.size);
    struct span names = value->text;
    if (blank) {
        walk->kind = (struct span){value->text.at, (size_t)(blank - value->text.at)};
        names = (struct span){blank + 1, value->text.size - walk->kind.size - 1};
    }
    return names_each(walk->reading, value, names, end_find, walk);
}

static const struct host_record *host_record_of(const struct reading *reading, uint32_t node)
{
    uint32_t low = 0, high = reading->host_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (reading->hosts[middle].node < node)
            low = middle + 1;
        else
            high = middle;
    }
    return low < reading->host_count && reading->hosts[low].node == node ? &reading->hosts[low] : NULL;
}

/* One node of a host that was written out; its key has the host's name before it. */
static weft_status in_host_find(void *context, struct span name)
{
    struct end_walk *walk = context;
    char key[2 * KEY_BYTES_MAX];
    size_t host_size = strlen(walk->host);
    if (name.size > FORMAT_TEXT_BYTES_MAX || walk->kind.size > 32)
        return reading_error(walk->reading, walk->value, "a name of %zu bytes", name.size);
    memcpy(key, walk->host, host_size);
    key[host_size] = '\x1f';
    memcpy(key + host_size + 1, walk->kind.at, walk->kind.size);
    key[host_size + 1 + walk->kind.size] = ' ';
    memcpy(key + host_size + walk->kind.size + 2, name.at, name.size);
    struct span whole = {key, host_size + walk->kind.size + name.size + 2};
    uint32_t node = name_table_find(&walk->scope->names, whole);
    if (node >= SEVERAL) return unknown_end(walk, (struct span){key + host_size + 1, whole.size - host_size - 1}, node);
    return end_add(walk, node);
}

/* One host of [HOSTS, NODES]. */
static weft_status host_find(void *context, struct span name)
{
    struct end_walk *walk = context;
    struct reading *reading = walk->reading;
    char key[FORMAT_TEXT_BYTES_MAX + 8] = "host ";
    if (name.size > FORMAT_TEXT_BYTES_MAX) return reading_error(reading, walk->value, "a name of %zu bytes", name.size);
    memcpy(key + 5, name.at, name.size);
    uint32_t host = name_table_find(&walk->scope->names, (struct span){key, name.size + 5});
    if (host == TOPOLOGY_NONE) host = name_table_find(&walk->scope->names, name); /* an id */
    if (host >= SEVERAL) return unknown_end(walk, (struct span){key, name.size + 5}, host);
    const struct host_record *record = host_record_of(reading, host);
    if (!record) return reading_error(reading, walk->value, "'%.*s' is no host", SPAN_ARGS(name));
    struct end_walk inside = *walk;
    inside.host = reading->topology->nodes[host].name;
    if (!record->shape) {
        const struct yaml_value *value = walk->inside;
        const char *blank = memchr(value->text.at, ' ', value->text.size);
        if (!blank)
            return reading_error(reading, value, "'%.*s' in a host without a shape; expected a kind and a name",
                                 SPAN_ARGS(value->text));
        inside.kind = (struct span){value->text.at, (size_t)(blank - value->text.at)};
        return names_each(reading, value, (struct span){blank + 1, value->text.size - inside.kind.size - 1},
                          in_host_find, &inside);
    }
    inside.scope = &record->shape->scope;
    uint32_t first = walk->ends->count;
    weft_status status = scalar_read(&inside, walk->inside);
    for (uint32_t i = first; i < walk->ends->count; i++) walk->ends->nodes[i] += host;
    return status;
}

weft_status ends_read(struct reading *reading, struct scope *scope, const struct yaml_value *value, struct ends *ends)
{
    struct end_walk walk = {.reading = reading, .scope = scope, .value = value, .ends = ends, .kind = {"", 0}};
    if (value->kind == YAML_IS_SCALAR) return scalar_read(&walk, value);
    if (value->kind == YAML_IS_MAP || scope->is_shape || value->count != 2 || value->first->kind != YAML_IS_SCALAR ||
        value->first->next->kind != YAML_IS_SCALAR)
        return reading_error(reading, value, "found %s; expected a kind and a name, an id, or [HOST, NODE]",
                             yaml_kind_words(value->kind));
    walk.inside = value->first->next;
    return names_each(reading, value, value->first->text, host_find, &walk);
}

/* One entry of a list of links: every link that it stands for. */
struct link_entry {
    struct reading *reading;
    struct scope *scope;
    const struct yaml_value *map;
    struct topology_link link;
    struct ends from, to;
};

static weft_status link_add(struct link_entry *entry, uint32_t from, uint32_t to)
{
    weft_topology *topology = entry->scope->target;
    uint64_t bytes = sizeof entry->link + (entry->link.name ? strlen(entry->link.name) : 0);
    weft_status status = reading_charge(entry->reading, entry->map, 1, bytes);
    if (status) return status;
    entry->link.from = from;
    entry->link.to = to;
    uint32_t index = topology_add_link(topology, &entry->link);
    if (index == TOPOLOGY_NONE) return reading_no_memory(entry->reading);
    struct diagnostic found = {0};
    status = topology_check_link(topology, index, &found);
    return status ? reading_error(entry->reading, entry->map, "%s", found.text) : WEFT_OK;
}

/* Each of both; two equal rows make a clique, each pair once. */
static weft_status all_join(struct link_entry *entry)
{
    const struct ends *from = &entry->from, *to = &entry->to;
    bool clique = from->count == to->count && memcmp(from->nodes, to->nodes, from->count * sizeof *from->nodes) == 0;
    weft_status status = WEFT_OK;
    for (uint32_t i = 0; i < from->count && !status; i++)
        for (uint32_t j = clique ? i + 1 : 0; j < to->count && !status; j++)
            status = link_add(entry, from->nodes[i], to->nodes[j]);
    return status;
}

/* The longer row shared out over the shorter: in blocks (0 1 to the first, 2 3 to the second) or in turn. */
static weft_status shared_join(struct link_entry *entry, bool in_turn)
{
    const struct ends *from = &entry->from, *to = &entry->to;
    uint64_t longer = from->count > to->count ? from->count : to->count;
    uint32_t shorter = from->count > to->count ? to->count : from->count;
    if (shorter == 0 || longer % shorter != 0)
        return reading_error(entry->reading, entry->map, "%u nodes cannot be shared out evenly over %u; or join: all",
                             from->count, to->count);
    weft_status status = WEFT_OK;
    for (uint64_t i = 0; i < longer && !status; i++) {
        uint64_t other = in_turn ? i % shorter : i * shorter / longer;
        status =
            link_add(entry, from->nodes[from->count == longer ? i : other], to->nodes[to->count == longer ? i : other]);
    }
    return status;
}

static weft_status joined(struct link_entry *entry)
{
    const struct yaml_value *join = yaml_find(entry->map, "join");
    if (!join || span_equal(join->text, "blocks")) return shared_join(entry, false);
    if (span_equal(join->text, "cyclic")) return shared_join(entry, true);
    if (span_equal(join->text, "all")) return all_join(entry);
    return reading_error(entry->reading, join, "join is '%.*s'; expected blocks, cyclic or all", SPAN_ARGS(join->text));
}

static bool link_kind_find(struct span word, enum link_kind *kind)
{
    for (int i = 0; i < LINK_KIND_COUNT; i++)
        if (span_equal(word, topology_link_kind_name((enum link_kind)i))) {
            *kind = (enum link_kind)i;
            return true;
        }
    return false;
}

static weft_status link_entry_read(struct link_entry *entry)
{
    static const char *const others[] = {"reverse", "join", NULL};
    struct reading *reading = entry->reading;
    const struct yaml_value *map = entry->map;
    weft_status status = yaml_expect(reading->source, map, YAML_IS_MAP, "a link", reading->diagnostic);
    if (status) return status;
    struct span first = map->first ? map->first->text : (struct span){"", 0};
    if (!link_kind_find(first, &entry->link.kind))
        return reading_error(reading, map, "a link begins with '%.*s'; expected its kind: pci, nvlink, network, ...",
                             SPAN_ARGS(first));
    const struct yaml_value *both = map->first->next;
    if (both->kind != YAML_IS_LIST || both->count != 2)
        return reading_error(reading, both, "found %s; expected a list of the two ends", yaml_kind_words(both->kind));
    struct yaml_value rest = *map;
    rest.first = both->next;
    status = keys_check(reading, &rest, link_attributes, others);
    if (!status) status = attributes_read(reading, link_attributes, &rest, &entry->link);
    entry->link.reverse_bandwidth = entry->link.bandwidth;
    const struct yaml_value *reverse = yaml_find(&rest, "reverse");
    if (!status && reverse) status = figure_read(reading, reverse, false, &entry->link.reverse_bandwidth);
    if (!status) status = ends_read(reading, entry->scope, both->first, &entry->from);
    if (!status) status = ends_read(reading, entry->scope, both->first->next, &entry->to);
    return status ? status : joined(entry);
}

weft_status links_read(struct reading *reading, struct scope *scope, const struct yaml_value *list)
{
    weft_status status = yaml_expect(reading->source, list, YAML_IS_LIST, "the links", reading->diagnostic);
    if (status) return status;
    for (const struct yaml_value *map = list->first; map && !status; map = map->next) {
        struct link_entry entry = {.reading = reading, .scope = scope, .map = map};
        status = link_entry_read(&entry);
        free(entry.to.nodes);
        free(entry.from.nodes);
    }
    return status;
}

/* A list of ends, one after the other. */
static weft_status node_list_read(struct reading *reading, struct scope *scope, const struct yaml_value *map,
                                  struct ends *ends)
{
    const struct yaml_value *list = yaml_find(map, "nodes");
    if (!list || list->kind != YAML_IS_LIST)
        return reading_error(reading, map, "without nodes; expected a list of them");
    weft_status status = WEFT_OK;
    for (const struct yaml_value *node = list->first; node && !status; node = node->next)
        status = ends_read(reading, scope, node, ends);
    return status;
}

static weft_status matrix_read(struct reading *reading, struct scope *scope, const struct yaml_value *map,
                               struct ends *ends)
{
    static const char *const keys[] = {"name", "nodes", "values", NULL};
    struct topology_distances distances = {0};
    weft_status status = yaml_expect(reading->source, map, YAML_IS_MAP, "a matrix", reading->diagnostic);
    if (!status) status = keys_check(reading, map, NULL, keys);
    if (!status) status = node_list_read(reading, scope, map, ends);
    if (status) return status;
    const struct yaml_value *name = yaml_find(map, "name"), *rows = yaml_find(map, "values");
    if (!name || text_read(reading, name, &distances.name))
        return reading_error(reading, map, "distances without a name; expected one");
    if (!rows || rows->kind != YAML_IS_LIST || rows->count != (uint64_t)ends->count * ends->count)
        return reading_error(reading, rows ? rows : map,
                             "%u values for %u nodes; expected a list with one for each pair", rows ? rows->count : 0,
                             ends->count);
    double *values = arena_alloc(&reading->arena, rows->count, sizeof *values);
    if (!values) return reading_no_memory(reading);
    size_t filled = 0;
    for (const struct yaml_value *value = rows->first; value; value = value->next)
        if (value->kind != YAML_IS_SCALAR || !span_number(value->text, &values[filled++]))
            return reading_error(reading, value, "found '%.*s'; expected a number", SPAN_ARGS(value->text));
    distances.nodes = ends->nodes;
    distances.node_count = ends->count;
    distances.values = values;
    topology_add_distances(reading->topology, &distances);
    return WEFT_OK;
}

weft_status distances_read(struct reading *reading, struct scope *scope, const struct yaml_value *list)
{
    weft_status status = yaml_expect(reading->source, list, YAML_IS_LIST, "the distances", reading->diagnostic);
    for (const struct yaml_value *map = status ? NULL : list->first; map && !status; map = map->next) {
        struct ends ends = {0};
        status = matrix_read(reading, scope, map, &ends);
        free(ends.nodes);
    }
    return status;
}

static weft_status channel_read(struct reading *reading, struct scope *scope, const struct yaml_value *map,
                                struct ends *ends)
{
    static const char *const keys[] = {"ring", "tree", "other", "nodes", "bandwidth", "network_bandwidth", NULL};
    struct topology_channel channel = {0};
    weft_status status = yaml_expect(reading->source, map, YAML_IS_MAP, "a channel", reading->diagnostic);
    if (!status) status = keys_check(reading, map, NULL, keys);
    if (!status) status = node_list_read(reading, scope, map, ends);
    if (status) return status;
    while (channel.kind < CHANNEL_KIND_COUNT && !yaml_find(map, topology_channel_kind_name(channel.kind)))
        channel.kind++;
    if (channel.kind == CHANNEL_KIND_COUNT)
        return reading_error(reading, map, "a channel of no kind; expected ring, tree or other, with its name");
    const struct yaml_value *name = yaml_find(map, topology_channel_kind_name(channel.kind)),
                            *bandwidth = yaml_find(map, "bandwidth"), *network = yaml_find(map, "network_bandwidth");
    status = text_read(reading, name, &channel.name);
    if (!status && bandwidth) status = figure_read(reading, bandwidth, false, &channel.bandwidth);
    if (!status && network) status = figure_read(reading, network, false, &channel.network_bandwidth);
    if (status) return status;
    channel.nodes = ends->nodes;
    channel.node_count = ends->count;
    topology_add_channel(reading->topology, &channel);
    return WEFT_OK;
}

weft_status channels_read(struct reading *reading, struct scope *scope, const struct yaml_value *list)
{
    weft_status status = yaml_expect(reading->source, list, YAML_IS_LIST, "the channels", reading->diagnostic);
    for (const struct yaml_value *map = status ? NULL : list->first; map && !status; map = map->next) {
        struct ends ends = {0};
        status = channel_read(reading, scope, map, &ends);
        free(ends.nodes);
    }
    return status;
}
