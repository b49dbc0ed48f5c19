/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwloc's XML, versions 2.0 and 3.0 (lstopo machine.xml): packages, NUMA nodes, shared caches and cores. Debian's hwloc
 * 2 refuses 3.0, and reading the file through a library would tell no line of a mistake in it.
 */
#include "topology/format/hwloc_xml.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

weft_status hwloc_no_memory(struct hwloc_file *file)
{
    return diagnose(file->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s", file->source->name);
}

weft_status hwloc_unsigned(struct hwloc_file *file, const struct xml_element *element, const char *name, uint64_t most,
                           uint64_t *value)
{
    return xml_unsigned(file->source, element, name, most, value, file->diagnostic);
}

bool hwloc_type_is(const struct xml_element *object, const char *type)
{
    const char *own = xml_is(object, "object") ? xml_attribute(object, "type") : NULL;
    return own && strcmp(own, type) == 0;
}

const char *hwloc_info(const struct xml_element *object, const char *name)
{
    for (const struct xml_element *child = object->first; child; child = child->next) {
        const char *own = xml_is(child, "info") ? xml_attribute(child, "name") : NULL;
        if (own && strcmp(own, name) == 0) return xml_attribute(child, "value");
    }
    return NULL;
}

/* Words of 32 bits, the lowest last; an empty one is 0, and "0xf...f" before the others means all above them. */
weft_status hwloc_set_read(struct hwloc_file *file, const struct xml_element *object, const char *name,
                           uint32_t *numbers, uint32_t most, uint32_t *count)
{
    const char *set = xml_attribute(object, name);
    *count = 0;
    if (!set) return WEFT_OK;
    if (strncmp(set, "0xf...f", 7) == 0) {
        *count = most + 1;
        return WEFT_OK;
    }
    const char *end = set + strlen(set);
    for (uint64_t word = 0; word < HWLOC_CPUS_MAX / 32; word++) {
        const char *begin = end;
        uint64_t bits = 0;
        while (begin > set && begin[-1] != ',') begin--;
        if (begin < end && !span_unsigned((struct span){begin, (size_t)(end - begin)}, UINT32_MAX, &bits)) break;
        for (uint32_t bit = 0; bit < 32; bit++) {
            if (!(bits >> bit & 1)) continue;
            if (*count < most) numbers[*count] = (uint32_t)word * 32 + bit;
            if (*count <= most) ++*count;
        }
        if (begin == set) return WEFT_OK;
        end = begin - 1;
    }
    return format_error(file->source, object->place, file->diagnostic,
                        "%s is '%.40s'; expected words of 32 bits, for at most %d numbers", name, set, HWLOC_CPUS_MAX);
}

static weft_status key_add(struct hwloc_file *file, struct name_table *table, const char *before, uint64_t number,
                           uint32_t node)
{
    char *key = arena_alloc(&file->arena, 64, 1);
    if (!key) return hwloc_no_memory(file);
    snprintf(key, 64, "%.32s %" PRIu64, before, number);
    uint32_t *value = name_table_at(table, (struct span){key, strlen(key)});
    if (!value) return hwloc_no_memory(file);
    *value = node;
    return WEFT_OK;
}

weft_status hwloc_register(struct hwloc_file *file, const struct xml_element *object, uint32_t node)
{
    uint64_t gp_index = UINT64_MAX, os_index = UINT64_MAX;
    weft_status status = hwloc_unsigned(file, object, "gp_index", UINT64_MAX, &gp_index);
    if (!status) status = hwloc_unsigned(file, object, "os_index", UINT32_MAX, &os_index);
    if (!status && gp_index != UINT64_MAX) status = key_add(file, &file->gp, "gp", gp_index, node);
    if (!status && os_index != UINT64_MAX)
        status = key_add(file, &file->places, xml_attribute(object, "type"), os_index, node);
    return status;
}

/* @p parent, or the nearest node above it that may contain @p kind. The host may contain everything. */
static uint32_t place_for(const struct hwloc_file *file, uint32_t parent, enum node_kind kind)
{
    const struct topology_node *nodes = file->topology->nodes;
    while (!topology_may_contain(nodes[parent].kind, kind)) parent = nodes[parent].parent;
    return parent;
}

/* Add what @p object is, with the operating system's number or, where it has none, with @p logical. */
static weft_status object_add(struct hwloc_file *file, const struct xml_element *object, struct topology_node *node,
                              uint32_t parent, uint32_t logical, uint32_t *index)
{
    char name[16];
    uint64_t number = logical;
    weft_status status = hwloc_unsigned(file, object, "os_index", UINT32_MAX - 2, &number);
    if (status) return status;
    node->parent = place_for(file, parent, node->kind);
    if (!node->name) {
        node->os_index = (uint32_t)number;
        snprintf(name, sizeof name, "%u", node->kind == NODE_CORE ? logical : (uint32_t)number);
        node->name = name;
    }
    *index = topology_add_node(file->topology, node);
    if (file->topology->failed) return hwloc_no_memory(file);
    return hwloc_register(file, object, *index);
}

static weft_status numa_add(struct hwloc_file *file, const struct xml_element *object, uint32_t parent)
{
    struct topology_node node = {.kind = NODE_NUMA};
    uint32_t index = TOPOLOGY_NONE;
    weft_status status = hwloc_unsigned(file, object, "local_memory", UINT64_MAX, &node.bytes);
    node.model = xml_attribute(object, "subtype"); /* "GPUMemory", "HBM", ... */
    if (!status) status = object_add(file, object, &node, parent, file->numa_count++, &index);
    if (status) return status;
    const struct topology_link link = {.kind = LINK_MEMORY, .from = file->topology->nodes[index].parent, .to = index};
    topology_add_link(file->topology, &link);
    /* A cache on the side of the memory stands above it in the file. */
    for (const struct xml_element *side = object->parent; side && hwloc_type_is(side, "MemCache");
         side = side->parent) {
        char name[32];
        uint64_t depth = 1, bytes = 0;
        status = hwloc_unsigned(file, side, "depth", 16, &depth);
        if (!status) status = hwloc_unsigned(file, side, "cache_size", UINT64_MAX, &bytes);
        if (status) return status;
        snprintf(name, sizeof name, "memory-side %u", (uint32_t)depth);
        const struct topology_node cache = {
            .kind = NODE_CACHE, .parent = index, .name = name, .os_index = TOPOLOGY_NONE, .bytes = bytes};
        topology_add_node(file->topology, &cache);
    }
    return WEFT_OK;
}

static weft_status core_add(struct hwloc_file *file, const struct xml_element *object, uint32_t parent, uint32_t *index)
{
    uint32_t *cpus = calloc(HWLOC_CPUS_MAX, sizeof *cpus);
    struct topology_node node = {.kind = NODE_CORE, .cpus = cpus};
    if (!cpus) return hwloc_no_memory(file);
    weft_status status = hwloc_set_read(file, object, "cpuset", cpus, HWLOC_CPUS_MAX, &node.cpu_count);
    if (!status && node.cpu_count > HWLOC_CPUS_MAX)
        status = format_error(file->source, object->place, file->diagnostic, "a core with CPUs without end");
    if (!status) status = object_add(file, object, &node, parent, file->core_count++, index);
    free(cpus);
    return status;
}

/* More than one core below? Others' caches say nothing about where ranks should sit. */
static uint32_t cores_count(const struct xml_element *object, uint32_t enough)
{
    uint32_t count = hwloc_type_is(object, "Core");
    for (const struct xml_element *child = object->first; child && count < enough; child = child->next)
        if (xml_is(child, "object")) count += cores_count(child, enough - count);
    return count;
}

/* The level of a data or unified cache ("L3Cache"), 0 for anything else ("L1iCache", "Group"). */
static uint32_t cache_level(const struct xml_element *object)
{
    const char *type = xml_attribute(object, "type");
    bool is_cache = type && type[0] == 'L' && type[1] >= '1' && type[1] < '0' + HWLOC_CACHE_LEVELS;
    return is_cache && strcmp(type + 2, "Cache") == 0 ? (uint32_t)(type[1] - '0') : 0;
}

static weft_status cache_add(struct hwloc_file *file, const struct xml_element *object, uint32_t level, uint32_t parent,
                             uint32_t *index)
{
    char name[32];
    uint32_t logical = file->cache_counts[level]++;
    if (cores_count(object, 2) < 2) return WEFT_OK;
    snprintf(name, sizeof name, "L%u#%u", level, logical);
    struct topology_node node = {.kind = NODE_CACHE, .name = name, .os_index = TOPOLOGY_NONE, .cache_level = level};
    weft_status status = hwloc_unsigned(file, object, "cache_size", UINT64_MAX, &node.bytes);
    return status ? status : object_add(file, object, &node, parent, logical, index);
}

static bool is_device(const struct xml_element *object)
{
    return hwloc_type_is(object, "Bridge") || hwloc_type_is(object, "PCIDev") || hwloc_type_is(object, "OSDev") ||
           hwloc_type_is(object, "Misc");
}

static weft_status processors_read(struct hwloc_file *file, const struct xml_element *object, uint32_t parent)
{
    uint32_t node = parent, level = cache_level(object);
    weft_status status = WEFT_OK;
    if (!xml_attribute(object, "type"))
        return format_error(file->source, object->place, file->diagnostic, "an object without a type; expected one");
    if (hwloc_type_is(object, "NUMANode")) return numa_add(file, object, parent);
    if (hwloc_type_is(object, "Package")) {
        struct topology_node package = {.kind = NODE_PACKAGE, .model = hwloc_info(object, "CPUModel")};
        status = object_add(file, object, &package, parent, file->package_count++, &node);
    } else if (hwloc_type_is(object, "Core")) {
        status = core_add(file, object, parent, &node);
    } else if (hwloc_type_is(object, "PU")) {
        /* Some virtual machines tell of CPUs but not of cores. */
        if (!hwloc_type_is(object->parent, "Core")) status = core_add(file, object, parent, &node);
    } else if (level > 0) {
        status = cache_add(file, object, level, parent, &node);
    }
    /* Memory before processors, as in every hwloc. */
    for (int pass = 0; pass < 2; pass++) {
        for (const struct xml_element *child = object->first; child && !status; child = child->next) {
            if (!xml_is(child, "object") || is_device(child)) continue;
            bool is_memory = hwloc_type_is(child, "NUMANode") || hwloc_type_is(child, "MemCache");
            if (is_memory == (pass == 0)) status = processors_read(file, child, node);
        }
    }
    return status;
}

/* Any package reaches any other; over how many hops, and how fast, is not known from here. */
static weft_status packages_join(struct hwloc_file *file)
{
    enum { PACKAGES_MAX = 1024 };
    weft_topology *topology = file->topology;
    uint32_t packages[PACKAGES_MAX], count = 0;
    for (uint32_t i = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].kind != NODE_PACKAGE) continue;
        if (count == PACKAGES_MAX)
            return format_error(file->source, (struct place){0}, file->diagnostic, "more than %d packages",
                                PACKAGES_MAX);
        packages[count++] = i;
    }
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = i + 1; j < count; j++) {
            const struct topology_link link = {.kind = LINK_INTERCONNECT, .from = packages[i], .to = packages[j]};
            topology_add_link(topology, &link);
        }
    return WEFT_OK;
}

static weft_status machine_read(struct hwloc_file *file, const struct xml_element *machine)
{
    const char *name = hwloc_info(machine, "HostName");
    const struct topology_node node = {.kind = NODE_HOST,
                                       .parent = TOPOLOGY_NONE,
                                       .name = name ? name : "localhost",
                                       .model = hwloc_info(machine, "DMIProductName"),
                                       .os_index = TOPOLOGY_NONE};
    if (!hwloc_type_is(machine, "Machine"))
        return format_error(file->source, machine->place, file->diagnostic, "found a %.40s; expected a Machine",
                            xml_attribute(machine, "type") ? xml_attribute(machine, "type") : machine->name);
    uint32_t host = topology_add_node(file->topology, &node);
    if (host == TOPOLOGY_NONE) return hwloc_no_memory(file);
    weft_status status = processors_read(file, machine, host);
    if (!status) status = hwloc_devices_read(file, machine, host);
    return status ? status : packages_join(file);
}

static weft_status file_read(struct hwloc_file *file, const struct xml_element *root)
{
    const char *version = xml_attribute(root, "version");
    file->is_version_3 = version && strncmp(version, "3.", 2) == 0;
    if (!version || (!file->is_version_3 && strncmp(version, "2.", 2) != 0))
        return format_error(file->source, root->place, file->diagnostic, "hwloc XML version %.20s; expected 2 or 3",
                            version ? version : "1");
    const struct xml_element *machine = root->first;
    while (machine && !xml_is(machine, "object")) machine = machine->next;
    if (!machine)
        return format_error(file->source, root->place, file->diagnostic, "without an object; expected a Machine");
    weft_status status = machine_read(file, machine);
    for (const struct xml_element *element = root->first; element && !status; element = element->next)
        if (xml_is(element, "distances2") || xml_is(element, "distances2hetero"))
            status = hwloc_distances_read(file, element);
    return status;
}

static weft_status hwloc_xml_read(const struct format_source *source, weft_topology *topology,
                                  struct diagnostic *diagnostic)
{
    struct hwloc_file file = {.source = source, .diagnostic = diagnostic, .topology = topology};
    const struct xml_element *root;
    weft_status status = xml_parse(source, &file.arena, &root, diagnostic);
    if (!status) status = file_read(&file, root);
    name_table_free(&file.places);
    name_table_free(&file.gp);
    arena_free(&file.arena);
    return status;
}

static unsigned hwloc_xml_recognise(const struct format_source *source)
{
    return xml_root_is(source, "topology") ? 90 : 0;
}

const struct format_reader format_hwloc_xml = {
    .name = "hwloc_xml",
    .title = "hwloc XML",
    .recognise = hwloc_xml_recognise,
    .read = hwloc_xml_read,
};
