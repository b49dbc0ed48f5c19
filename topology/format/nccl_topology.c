/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NCCL's and RCCL's topology XML (NCCL_TOPO_FILE, NCCL_TOPO_DUMP_FILE): a system of cpu elements, which are NUMA nodes
 * with their PCI trees. docs/formats/nccl.md says what becomes of each element.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/format/nccl.h"

struct span nccl_key(struct nccl *nccl, uint32_t node, const char *what, const char *text)
{
    size_t size = strlen(what) + strlen(text) + 16;
    char *key = arena_alloc(&nccl->arena, size, 1);
    if (!key) return (struct span){0};
    int length = snprintf(key, size, "%u %s ", node, what);
    for (const char *at = text; *at; at++) key[length++] = (char)tolower((unsigned char)*at);
    return (struct span){key, (size_t)length};
}

weft_status nccl_error(struct nccl *nccl, const struct xml_element *element, const char *format, ...)
{
    char sentence[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return format_error(nccl->source, element->place, nccl->diagnostic, "%s", sentence);
}

weft_status nccl_no_memory(struct nccl *nccl)
{
    return diagnose(nccl->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s", nccl->source->name);
}

weft_status nccl_unsigned(struct nccl *nccl, const struct xml_element *element, const char *name, uint64_t most,
                          uint64_t *value)
{
    return xml_unsigned(nccl->source, element, name, most, value, nccl->diagnostic);
}

weft_status nccl_node_add(struct nccl *nccl, struct topology_node *node, uint32_t *index)
{
    char name[FORMAT_TEXT_BYTES_MAX + 1];
    const char *wanted = node->name;
    const char *kind = topology_node_kind_name(node->kind);
    uint32_t *taken = name_table_at(&nccl->devices, nccl_key(nccl, node->parent, kind, wanted));
    if (!taken) return nccl_no_memory(nccl);
    uint32_t count = *taken == TOPOLOGY_NONE ? 0 : *taken;
    snprintf(name, sizeof name, "%.200s", wanted);
    while (count > 0) { /* "x#2" may be somebody's own name, too */
        snprintf(name, sizeof name, "%.200s#%u", wanted, count + 1);
        if (name_table_find(&nccl->devices, nccl_key(nccl, node->parent, kind, name)) == TOPOLOGY_NONE) break;
        count++;
    }
    *taken = count + 1;
    if (count > 0) {
        taken = name_table_at(&nccl->devices, nccl_key(nccl, node->parent, kind, name));
        if (!taken) return nccl_no_memory(nccl);
        *taken = 1;
    }
    node->name = name;
    *index = topology_add_node(nccl->topology, node);
    node->name = wanted;
    return nccl->topology->failed ? nccl_no_memory(nccl) : WEFT_OK;
}

/* "ffff0000,0000ffff": words of 32 bits, the lowest CPUs last. */
static weft_status affinity_read(struct nccl *nccl, const struct xml_element *element, struct topology_node *package)
{
    const char *mask = xml_attribute(element, "affinity");
    if (!mask) return WEFT_OK;
    uint64_t offset = 0;
    weft_status status = nccl_unsigned(nccl, element, "affinity_offset", NCCL_CPUS_MAX, &offset);
    if (status) return status;
    const char *end = mask + strlen(mask);
    for (uint32_t word = 0; end > mask; word++) {
        const char *begin = end;
        while (begin > mask && begin[-1] != ',') begin--;
        char digits[16] = "0x";
        uint64_t bits;
        size_t size = (size_t)(end - begin);
        if (size > 8 || word * 32 >= NCCL_CPUS_MAX) break;
        memcpy(digits + 2, begin, size);
        if (!span_unsigned((struct span){digits, size + 2}, UINT32_MAX, &bits)) break;
        for (uint32_t bit = 0; bit < 32; bit++)
            if (bits >> bit & 1) nccl->cpus[package->cpu_count++] = (uint32_t)offset + word * 32 + bit;
        if (begin == mask) {
            package->cpus = nccl->cpus;
            return WEFT_OK;
        }
        end = begin - 1;
    }
    return nccl_error(nccl, element, "affinity is '%.40s'; expected words of up to 8 hexadecimal digits", mask);
}

/* "AuthenticAMD family 175 model 48": whose numbers they are is for a person to look up. */
static void cpu_model_write(const struct xml_element *element, char model[128])
{
    static const char *const names[] = {"vendor", "familyid", "modelid"}, *const words[] = {"", " family ", " model "};
    const char *arch = xml_attribute(element, "arch");
    bool plain = !arch || strcmp(arch, "x86_64") == 0;
    size_t length = plain ? 0 : (size_t)snprintf(model, 128, "%.24s ", arch);
    model[length] = '\0';
    for (size_t i = 0; i < 3; i++) {
        const char *value = xml_attribute(element, names[i]);
        if (value) length += (size_t)snprintf(model + length, 128 - length, "%s%.24s", words[i], value);
    }
}

static weft_status cpu_read(struct nccl *nccl, const struct xml_element *element, uint32_t host, uint32_t *package)
{
    char name[32] = "unknown", model[128];
    cpu_model_write(element, model);
    struct topology_node node = {.kind = NODE_PACKAGE,
                                 .parent = host,
                                 .name = name,
                                 .model = model[0] ? model : NULL,
                                 .os_index = TOPOLOGY_NONE};
    const char *numa = xml_attribute(element, "numaid");
    uint64_t number = TOPOLOGY_NONE;
    bool is_known = numa && strcmp(numa, "-1") != 0; /* what the kernel says of a machine without NUMA nodes */
    weft_status status = is_known ? nccl_unsigned(nccl, element, "numaid", 1 << 20, &number) : WEFT_OK;
    if (!status) status = affinity_read(nccl, element, &node);
    if (status) return status;
    if (is_known) snprintf(name, sizeof name, "%u", (uint32_t)number);
    status = nccl_node_add(nccl, &node, package);
    if (status || !is_known) return status;
    const struct topology_node memory = {
        .kind = NODE_NUMA, .parent = *package, .name = name, .os_index = (uint32_t)number};
    uint32_t index = topology_add_node(nccl->topology, &memory);
    const struct topology_link link = {.kind = LINK_MEMORY, .from = index, .to = *package};
    topology_add_link(nccl->topology, &link);
    return WEFT_OK;
}

/* Files of several hosts (a multi-node NVLink domain) tell them apart by a hash on each cpu. */
static weft_status host_of_cpu(struct nccl *nccl, const struct xml_element *element, uint32_t *host)
{
    const char *hash = xml_attribute(element, "host_hash");
    char name[80];
    snprintf(name, sizeof name, hash ? "host %.64s" : "host", hash);
    uint32_t *known = name_table_at(&nccl->devices, nccl_key(nccl, TOPOLOGY_NONE, "cpu of", name));
    if (!known) return nccl_no_memory(nccl);
    if (*known == TOPOLOGY_NONE) {
        const struct topology_node node = {
            .kind = NODE_HOST, .parent = TOPOLOGY_NONE, .name = name, .os_index = TOPOLOGY_NONE};
        *known = topology_add_node(nccl->topology, &node);
        if (nccl->topology->failed) return nccl_no_memory(nccl);
    }
    *host = *known;
    return WEFT_OK;
}

/* Every NUMA node of a host reaches every other; how fast, the file does not say. */
static weft_status packages_join(struct nccl *nccl, const struct xml_element *system)
{
    enum { PACKAGES_MAX = 256 };
    weft_topology *topology = nccl->topology;
    uint32_t count = topology->node_count, packages[PACKAGES_MAX], package_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (topology->nodes[i].kind != NODE_PACKAGE) continue;
        if (package_count == PACKAGES_MAX) return nccl_error(nccl, system, "more than %d cpus", PACKAGES_MAX);
        for (uint32_t j = 0; j < package_count; j++) {
            if (topology->nodes[packages[j]].parent != topology->nodes[i].parent) continue;
            const struct topology_link link = {.kind = LINK_INTERCONNECT, .from = packages[j], .to = i};
            topology_add_link(topology, &link);
        }
        packages[package_count++] = i;
    }
    return WEFT_OK;
}

static weft_status system_read(struct nccl *nccl, const struct xml_element *system)
{
    uint64_t version = 0;
    weft_status status = nccl_unsigned(nccl, system, "version", UINT32_MAX, &version);
    if (!status && version != 1 && version != 2)
        status = nccl_error(nccl, system, "system version %llu; expected 1 or 2", (unsigned long long)version);
    for (const struct xml_element *element = system->first; element && !status; element = element->next) {
        uint32_t host = TOPOLOGY_NONE, package = TOPOLOGY_NONE;
        if (!xml_is(element, "cpu")) {
            topology_note(nccl->topology, "line %u: the element %.40s is left out", element->place.line, element->name);
            continue;
        }
        status = host_of_cpu(nccl, element, &host);
        if (!status) status = cpu_read(nccl, element, host, &package);
        if (!status) status = nccl_devices_read(nccl, element, package, package);
    }
    if (!status) status = packages_join(nccl, system);
    return status ? status : nccl_links_read(nccl);
}

static weft_status nccl_topology_read(const struct format_source *source, weft_topology *topology,
                                      struct diagnostic *diagnostic)
{
    struct nccl nccl = {.source = source, .diagnostic = diagnostic, .topology = topology};
    const struct xml_element *root;
    weft_status status = xml_parse(source, &nccl.arena, &root, diagnostic);
    if (!status) status = system_read(&nccl, root);
    free(nccl.gpus);
    name_table_free(&nccl.devices);
    arena_free(&nccl.arena);
    return status;
}

static unsigned nccl_topology_recognise(const struct format_source *source)
{
    return xml_root_is(source, "system") ? 90 : 0;
}

const struct format_reader format_nccl_topology = {
    .name = "nccl_topology",
    .title = "NCCL topology XML",
    .recognise = nccl_topology_recognise,
    .read = nccl_topology_read,
};
