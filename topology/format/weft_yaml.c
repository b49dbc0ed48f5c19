/* SPDX-License-Identifier: Apache-2.0 */
/* Weft's own description of a machine or a cluster: shapes of hosts, how many of each, and what joins them. */
#include "topology/format/weft_yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hostlist.h"

static bool kind_find(struct span word, enum node_kind *kind)
{
    for (int i = 0; i < NODE_KIND_COUNT; i++)
        if (span_equal(word, topology_node_kind_name((enum node_kind)i))) {
            *kind = (enum node_kind)i;
            return true;
        }
    return false;
}

/* A key of the table made of parts, in the arena; {NULL} when out of memory. */
static struct span key_make(struct reading *reading, const char *host, const char *kind, const char *name)
{
    size_t size = strlen(kind) + strlen(name) + 1 + (host ? strlen(host) + 1 : 0);
    char *key = arena_alloc(&reading->arena, size + 1, 1);
    if (!key) return (struct span){0};
    snprintf(key, size + 1, host ? "%s\x1f%s %s" : "%s%s %s", host ? host : "", kind, name);
    return (struct span){key, size};
}

static weft_status key_add(struct reading *reading, struct scope *scope, struct span key, uint32_t node)
{
    uint32_t *value = key.at ? name_table_at(&scope->names, key) : NULL;
    if (!value) return reading_no_memory(reading);
    *value = *value == TOPOLOGY_NONE ? node : SEVERAL;
    return WEFT_OK;
}

/* Let others refer to node @p index: by kind and name, and by its id if it has one. */
static weft_status node_register(struct reading *reading, struct scope *scope, const struct yaml_value *id,
                                 uint32_t index)
{
    const struct topology_node *node = &scope->target->nodes[index];
    const char *kind = topology_node_kind_name(node->kind);
    weft_status status = key_add(reading, scope, key_make(reading, NULL, kind, node->name), index);
    uint32_t host = scope->is_shape ? TOPOLOGY_NONE : topology_host_of(scope->target, index);
    if (!status && host != TOPOLOGY_NONE && host != index)
        status = key_add(reading, scope, key_make(reading, scope->target->nodes[host].name, kind, node->name), index);
    if (status || !id) return status;
    if (id->kind != YAML_IS_SCALAR || id->text.size == 0 || memchr(id->text.at, ' ', id->text.size) ||
        memchr(id->text.at, '[', id->text.size) || span_equal(id->text, "host"))
        return reading_error(reading, id, "the id '%.*s' has a blank or a bracket, or is empty or 'host'",
                             SPAN_ARGS(id->text));
    if (name_table_find(&scope->names, id->text) != TOPOLOGY_NONE)
        return reading_error(reading, id, "the id '%.*s' occurs twice", SPAN_ARGS(id->text));
    return key_add(reading, scope, id->text, index);
}

uint64_t names_count(struct span names)
{
    uint64_t count = 1;
    if (memchr(names.at, '[', names.size) && hostlist_count(names.at, &count, NULL)) return 0;
    return count;
}

weft_status names_each(struct reading *reading, const struct yaml_value *value, struct span names,
                       weft_status (*each)(void *context, struct span name), void *context)
{
    if (!memchr(names.at, '[', names.size)) return each(context, names);
    struct diagnostic found = {0};
    uint64_t count;
    if (hostlist_count(names.at, &count, &found)) return reading_error(reading, value, "%s", found.text);
    char name[HOSTLIST_NAME_BYTES];
    struct hostlist_walk walk = hostlist_walk_begin(names.at);
    weft_status status = WEFT_OK;
    while (!status && hostlist_walk_next(&walk, name)) status = each(context, (struct span){name, strlen(name)});
    return status;
}

/* One entry of a list of nodes, while its names are walked. */
struct entry {
    struct reading *reading;
    struct scope *scope;
    const struct yaml_value *map, *id;
    struct topology_node node; /* what they have in common */
    struct rdma_device *rdma;
    struct shape *shape; /* of hosts */
    struct ends parents; /* shared out among the names in blocks */
    uint64_t name_count, name_index;
};

static uint64_t node_bytes(const struct topology_node *node, const struct rdma_device *rdma)
{
    uint64_t bytes = sizeof *node + 64 + (uint64_t)node->cpu_count * sizeof *node->cpus;
    if (node->model) bytes += strlen(node->model);
    if (!rdma) return bytes;
    bytes += sizeof *rdma + rdma->port_count * sizeof *rdma->ports;
    for (uint32_t i = 0; i < rdma->port_count; i++) bytes += rdma->ports[i].gid_count * sizeof(struct rdma_gid);
    return bytes;
}

/* What one more node of the entry takes, with all that its shape has. */
static uint64_t entry_bytes(const struct entry *entry)
{
    uint64_t bytes = node_bytes(&entry->node, entry->rdma);
    if (!entry->shape) return bytes;
    const weft_topology *shape = entry->shape->scope.target;
    for (uint32_t i = 1; i < shape->node_count; i++) bytes += node_bytes(&shape->nodes[i], shape->nodes[i].rdma);
    return bytes + shape->link_count * (sizeof *shape->links + 32);
}

static weft_status host_record_add(struct entry *entry, uint32_t node)
{
    struct reading *reading = entry->reading;
    if (reading->host_count == reading->host_capacity) {
        uint32_t wanted = reading->host_capacity ? reading->host_capacity * 2 : 64;
        void *larger = reallocarray(reading->hosts, wanted, sizeof *reading->hosts);
        if (!larger) return reading_no_memory(reading);
        reading->hosts = larger;
        reading->host_capacity = wanted;
    }
    reading->hosts[reading->host_count++] = (struct host_record){node, entry->shape};
    return WEFT_OK;
}

/* Everything inside the shape, and its links, once more behind the host that was just added. */
static weft_status shape_copy(struct entry *entry, uint32_t host)
{
    weft_topology *to = entry->scope->target;
    const weft_topology *from = entry->shape->scope.target;
    for (uint32_t i = 1; i < from->node_count; i++) {
        struct topology_node node = from->nodes[i];
        const struct rdma_device *rdma = node.rdma;
        node.parent += host;
        uint32_t index = topology_add_node(to, &node);
        if (rdma) topology_set_rdma(to, index, node.verbs_device, rdma);
    }
    for (uint32_t i = 0; i < from->link_count; i++) {
        struct topology_link link = from->links[i];
        link.from += host;
        link.to += host;
        topology_add_link(to, &link);
    }
    return to->failed ? reading_no_memory(entry->reading) : WEFT_OK;
}

static weft_status node_add(void *context, struct span name)
{
    struct entry *entry = context;
    struct reading *reading = entry->reading;
    weft_topology *topology = entry->scope->target;
    char terminated[FORMAT_TEXT_BYTES_MAX + 1] = "";
    if (name.size > FORMAT_TEXT_BYTES_MAX) return reading_error(reading, entry->map, "a name of %zu bytes", name.size);
    memcpy(terminated, name.at, name.size);
    entry->node.name = terminated;
    if (entry->parents.count > 0)
        entry->node.parent = entry->parents.nodes[entry->name_index * entry->parents.count / entry->name_count];
    entry->name_index++;
    uint32_t index = topology_add_node(topology, &entry->node);
    if (entry->rdma) topology_set_rdma(topology, index, entry->node.verbs_device, entry->rdma);
    if (topology->failed) return reading_no_memory(reading);
    /* A shape's host stands for itself, and is checked where it gets a name. */
    struct diagnostic found = {0};
    weft_status status = topology_check_node(topology, index, &found);
    if (status) return reading_error(reading, entry->map, "%s", found.text);
    status = node_register(reading, entry->scope, entry->id, index);
    if (status || entry->node.kind != NODE_HOST) return status;
    entry->scope->host = index;
    status = host_record_add(entry, index);
    return status || !entry->shape ? status : shape_copy(entry, index);
}

/* "in", or what contains a node that does not say it. */
static weft_status parents_read(struct entry *entry)
{
    struct scope *scope = entry->scope;
    const struct yaml_value *in = yaml_find(entry->map, "in");
    entry->node.parent = TOPOLOGY_NONE;
    if (!in) {
        bool inside = topology_may_contain(NODE_HOST, entry->node.kind);
        if (inside) entry->node.parent = scope->host;
        return WEFT_OK;
    }
    if (in->kind == YAML_IS_SCALAR && span_equal(in->text, "none")) return WEFT_OK;
    weft_status status = ends_read(entry->reading, scope, in, &entry->parents);
    if (status) return status;
    if (entry->parents.count == 0 || entry->name_count % entry->parents.count != 0)
        return reading_error(entry->reading, in, "%llu nodes cannot be shared out evenly in %u",
                             (unsigned long long)entry->name_count, entry->parents.count);
    return WEFT_OK;
}

static weft_status shape_find(struct entry *entry)
{
    const struct yaml_value *value = yaml_find(entry->map, "shape");
    if (!value) return WEFT_OK;
    if (entry->scope->is_shape || entry->node.kind != NODE_HOST || value->kind != YAML_IS_SCALAR)
        return reading_error(entry->reading, value, "found a shape here; expected it on a host, as a name");
    for (struct shape *shape = entry->reading->shapes; shape && !entry->shape; shape = shape->next)
        if (shape->name.size == value->text.size && memcmp(shape->name.at, value->text.at, value->text.size) == 0)
            entry->shape = shape;
    if (!entry->shape)
        return reading_error(entry->reading, value, "there is no shape '%.*s'; expected one of those under shapes",
                             SPAN_ARGS(value->text));
    return WEFT_OK;
}

/* The kind is the entry's first key, and its value the name, a pattern of names, or a list of names as they are. */
static weft_status entry_read(struct entry *entry)
{
    static const char *const others[] = {"id",     "in",        "rank", "cpus",  "pci",
                                         "pci_id", "pci_class", "rdma", "shape", NULL};
    struct reading *reading = entry->reading;
    const struct yaml_value *map = entry->map;
    weft_status status = yaml_expect(reading->source, map, YAML_IS_MAP, "a node", reading->diagnostic);
    if (status) return status;
    struct span first = map->first ? map->first->text : (struct span){"", 0};
    if (!kind_find(first, &entry->node.kind))
        return reading_error(reading, map, "a node begins with '%.*s'; expected its kind: host, gpu, switch, ...",
                             SPAN_ARGS(first));
    if (entry->scope->is_shape && entry->node.kind == NODE_HOST)
        return reading_error(reading, map, "a host inside a shape; a shape is one host");
    struct yaml_value rest = *map;
    rest.first = map->first->next->next;
    status = keys_check(reading, &rest, node_attributes, others);
    if (!status) status = attributes_read(reading, node_attributes, &rest, &entry->node);
    if (!status) status = node_specials_read(reading, &rest, &entry->node, &entry->rdma);
    if (!status) status = shape_find(entry);
    if (status) return status;
    const struct yaml_value *names = map->first->next;
    entry->id = yaml_find(&rest, "id");
    if (names->kind == YAML_IS_MAP) return reading_error(reading, names, "found a map; expected a name or names");
    entry->name_count = names->kind == YAML_IS_LIST ? names->count : names_count(names->text);
    if (entry->name_count > 1 && entry->id)
        return reading_error(reading, entry->id, "one id for %llu nodes", (unsigned long long)entry->name_count);
    status = reading_charge(reading, map, entry->name_count, entry_bytes(entry));
    if (!status) status = parents_read(entry);
    if (status) return status;
    if (names->kind == YAML_IS_SCALAR) return names_each(reading, names, names->text, node_add, entry);
    for (const struct yaml_value *name = names->first; name && !status; name = name->next) {
        const char *text;
        status = text_read(reading, name, &text);
        if (!status) status = node_add(entry, name->text);
    }
    return status;
}

static weft_status nodes_read(struct reading *reading, struct scope *scope, const struct yaml_value *list)
{
    weft_status status = yaml_expect(reading->source, list, YAML_IS_LIST, "the nodes", reading->diagnostic);
    if (status) return status;
    for (const struct yaml_value *map = list->first; map && !status; map = map->next) {
        struct entry entry = {.reading = reading, .scope = scope, .map = map};
        status = entry_read(&entry);
        free(entry.parents.nodes);
    }
    return status;
}

/* A shape is a topology of one host without a name of its own. */
static weft_status shape_read(struct reading *reading, const struct yaml_value *name, const struct yaml_value *map)
{
    static const char *const keys[] = {"nodes", "links", NULL};
    struct shape *shape = arena_alloc(&reading->arena, 1, sizeof *shape);
    if (!shape) return reading_no_memory(reading);
    *shape = (struct shape){.next = reading->shapes, .name = name->text};
    reading->shapes = shape;
    shape->scope = (struct scope){.target = topology_new(), .is_shape = true};
    if (!shape->scope.target) return reading_no_memory(reading);
    const struct topology_node host = {.kind = NODE_HOST, .parent = TOPOLOGY_NONE, .name = "host"};
    topology_add_node(shape->scope.target, &host);
    weft_status status = key_add(reading, &shape->scope, (struct span){"host", 4}, 0);
    if (!status) status = yaml_expect(reading->source, map, YAML_IS_MAP, "a shape", reading->diagnostic);
    if (!status) status = keys_check(reading, map, NULL, keys);
    if (status) return status;
    const struct yaml_value *nodes = yaml_find(map, "nodes"), *links = yaml_find(map, "links");
    if (nodes) status = nodes_read(reading, &shape->scope, nodes);
    if (!status && links) status = links_read(reading, &shape->scope, links);
    return status;
}

static weft_status document_read(struct reading *reading, const struct yaml_value *root)
{
    static const char *const keys[] = {"weft_topology", "shapes",   "nodes", "links",
                                       "distances",     "channels", "notes", NULL};
    struct scope top = {.target = reading->topology, .host = TOPOLOGY_NONE};
    weft_status status = yaml_expect(reading->source, root, YAML_IS_MAP, "a topology", reading->diagnostic);
    if (!status) status = keys_check(reading, root, NULL, keys);
    if (status) return status;
    const struct yaml_value *version = yaml_find(root, "weft_topology"), *shapes = yaml_find(root, "shapes"), *part;
    if (version && version->kind == YAML_IS_SCALAR && !span_equal(version->text, "1"))
        return reading_error(reading, version, "found the format's version %.*s; expected %d", SPAN_ARGS(version->text),
                             WEFT_YAML_VERSION);
    if (!version || version->kind != YAML_IS_SCALAR)
        return reading_error(reading, version ? version : root, "expected 'weft_topology: %d', the format's version",
                             WEFT_YAML_VERSION);
    if (shapes) status = yaml_expect(reading->source, shapes, YAML_IS_MAP, "the shapes", reading->diagnostic);
    for (part = shapes ? shapes->first : NULL; part && !status; part = part->next->next)
        status = shape_read(reading, part, part->next);
    if (!status && (part = yaml_find(root, "nodes"))) status = nodes_read(reading, &top, part);
    if (!status && (part = yaml_find(root, "links"))) status = links_read(reading, &top, part);
    if (!status && (part = yaml_find(root, "distances"))) status = distances_read(reading, &top, part);
    if (!status && (part = yaml_find(root, "channels"))) status = channels_read(reading, &top, part);
    if (!status && (part = yaml_find(root, "notes"))) {
        status = yaml_expect(reading->source, part, YAML_IS_LIST, "the notes", reading->diagnostic);
        for (const struct yaml_value *note = part->first; note && !status; note = note->next) {
            const char *text;
            status = text_read(reading, note, &text);
            if (!status) topology_note(reading->topology, "%s", text);
        }
    }
    name_table_free(&top.names);
    return status;
}

static weft_status weft_yaml_read(const struct format_source *source, weft_topology *topology,
                                  struct diagnostic *diagnostic)
{
    struct reading reading = {.source = source, .diagnostic = diagnostic, .topology = topology};
    const struct yaml_value *root;
    weft_status status = yaml_parse(source, &reading.arena, &root, diagnostic);
    if (!status) status = document_read(&reading, root);
    for (struct shape *shape = reading.shapes; shape; shape = shape->next) {
        name_table_free(&shape->scope.names);
        weft_topology_destroy(shape->scope.target);
    }
    free(reading.hosts);
    arena_free(&reading.arena);
    return status;
}

static unsigned weft_yaml_recognise(const struct format_source *source)
{
    return source_contains(source, "weft_topology:", 4096) ? 95 : 0;
}

const struct format_reader format_weft_yaml = {
    .name = "weft_yaml",
    .title = "weft's YAML",
    .recognise = weft_yaml_recognise,
    .read = weft_yaml_read,
};
