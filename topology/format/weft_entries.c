/* SPDX-License-Identifier: Apache-2.0 */
/* A node and a link of weft's YAML, and how one refers to the other. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/format/pci.h"
#include "topology/format/weft_write.h"

static struct span key_of(struct writing *writing, uint32_t host, uint32_t index)
{
    const struct topology_node *node = &writing->topology->nodes[index];
    const char *kind = topology_node_kind_name(node->kind);
    const char *host_name = host == TOPOLOGY_NONE ? "" : writing->topology->nodes[host].name;
    size_t size = strlen(kind) + strlen(node->name) + strlen(host_name) + 2;
    char *key = arena_alloc(&writing->arena, size + 1, 1);
    if (!key) {
        writing->failed = true;
        return (struct span){"", 0};
    }
    int length = snprintf(key, size + 1, "%s%s%s %s", host_name, host == TOPOLOGY_NONE ? "" : "\x1f", kind, node->name);
    return (struct span){key, (size_t)length};
}

static void key_count(struct writing *writing, uint32_t host, uint32_t index)
{
    uint32_t *value = name_table_at(&writing->names, key_of(writing, host, index));
    if (value)
        *value = *value == TOPOLOGY_NONE ? index : SEVERAL;
    else
        writing->failed = true;
}

void names_learn(struct writing *writing)
{
    const weft_topology *topology = writing->topology;
    for (uint32_t i = 0; i < topology->node_count; i++) {
        uint32_t host = topology_host_of(topology, i);
        if (writing->block_of[i] == TOPOLOGY_NONE || host == i) key_count(writing, TOPOLOGY_NONE, i);
        if (host != TOPOLOGY_NONE && host != i) key_count(writing, host, i);
        if (topology->nodes[i].parent != TOPOLOGY_NONE) writing->referred[topology->nodes[i].parent] = true;
    }
    for (uint32_t i = 0; i < topology->link_count; i++)
        writing->referred[topology->links[i].from] = writing->referred[topology->links[i].to] = true;
}

static bool is_unique(struct writing *writing, uint32_t host, uint32_t index)
{
    return name_table_find(&writing->names, key_of(writing, host, index)) == index;
}

bool is_pattern(const char *name)
{
    return strchr(name, '[') != NULL;
}

/* Can a node be named by kind and name, in its host if @p host is one, or does it need an id? */
static bool is_named(struct writing *writing, uint32_t host, uint32_t index)
{
    const weft_topology *topology = writing->topology;
    if (is_pattern(topology->nodes[index].name)) return false;
    return (host == TOPOLOGY_NONE || !is_pattern(topology->nodes[host].name)) && is_unique(writing, host, index);
}

static bool needs_id(struct view *view, uint32_t index)
{
    struct writing *writing = view->writing;
    const struct topology_node *node = &writing->topology->nodes[index];
    uint32_t host = topology_host_of(writing->topology, index);
    if (view->in_shape) {
        /* Whether others name it must not matter, or equal hosts would differ. Only links inside name cores. */
        bool quiet = (node->kind == NODE_CORE || node->kind == NODE_CACHE) && !writing->referred[index];
        return !quiet && (is_pattern(node->name) || !is_unique(writing, host, index));
    }
    if (node->kind == NODE_HOST && is_pattern(node->name)) return true;
    return writing->referred[index] && !is_named(writing, TOPOLOGY_NONE, index) &&
           (host == TOPOLOGY_NONE || host == index || !is_named(writing, host, index));
}

static void kind_and_name_write(struct view *view, uint32_t index)
{
    const struct topology_node *node = &view->writing->topology->nodes[index];
    struct text both = {0};
    text_add(&both, "%s %s", topology_node_kind_name(node->kind), node->name);
    char *string = text_take(&both);
    if (string)
        yaml_string_write(view->text, string);
    else
        view->writing->failed = true;
    free(string);
}

void end_write(struct view *view, uint32_t index)
{
    struct writing *writing = view->writing;
    const weft_topology *topology = writing->topology;
    uint32_t host = topology_host_of(topology, index);
    if (view->in_shape) {
        if (index == view->first)
            text_add(view->text, "host");
        else if (!is_pattern(topology->nodes[index].name) && is_unique(writing, host, index))
            kind_and_name_write(view, index);
        else
            text_add(view->text, "n%" PRIu32, index - view->first);
        return;
    }
    uint32_t block = writing->block_of[index];
    if (block != TOPOLOGY_NONE && index != host) {
        struct view inside = {writing, view->text, writing->blocks[block].first, true};
        text_add(view->text, "[");
        if (is_pattern(topology->nodes[host].name))
            text_add(view->text, "n%" PRIu32, host);
        else
            yaml_string_write(view->text, topology->nodes[host].name);
        text_add(view->text, ", ");
        end_write(&inside, index);
        text_add(view->text, "]");
    } else if (is_named(writing, TOPOLOGY_NONE, index)) {
        kind_and_name_write(view, index);
    } else if (host != TOPOLOGY_NONE && host != index && is_named(writing, host, index)) {
        text_add(view->text, "[");
        yaml_string_write(view->text, topology->nodes[host].name);
        text_add(view->text, ", ");
        kind_and_name_write(view, index);
        text_add(view->text, "]");
    } else {
        text_add(view->text, "n%" PRIu32, index);
    }
}

static void cpus_write(struct text *text, const struct topology_node *node)
{
    if (node->cpu_count == 0) return;
    text_add(text, ", cpus: \"");
    for (uint32_t i = 0; i < node->cpu_count;) {
        uint32_t last = i;
        while (last + 1 < node->cpu_count && node->cpus[last + 1] == node->cpus[last] + 1) last++;
        text_add(text, i ? ",%" PRIu32 : "%" PRIu32, node->cpus[i]);
        if (last > i) text_add(text, "-%" PRIu32, node->cpus[last]);
        i = last + 1;
    }
    text_add(text, "\"");
}

static void gid_write(struct text *text, const struct rdma_gid *gid)
{
    text_add(text, "{index: %" PRIu32 ", type: %s, address: ", gid->index, rdma_gid_type_name(gid->type));
    for (int i = 0; i < 16; i++) text_add(text, "%02x", gid->bytes[i]);
    if (gid->interface) {
        text_add(text, ", interface: ");
        yaml_string_write(text, gid->interface);
    }
    text_add(text, "}");
}

static void rdma_write(struct text *text, const struct rdma_device *rdma)
{
    text_add(text, ", rdma: {ports: [");
    for (uint32_t i = 0; i < rdma->port_count; i++) {
        const struct rdma_port *port = &rdma->ports[i];
        text_add(text, "%s{link_layer: %s", i ? ", " : "", rdma_link_layer_name(port->link_layer));
        attributes_write(text, port_attributes, port);
        for (uint32_t j = 0; j < port->gid_count; j++) {
            text_add(text, j ? ", " : ", gids: [");
            gid_write(text, &port->gids[j]);
        }
        text_add(text, port->gid_count ? "]}" : "}");
    }
    text_add(text, "]");
    attributes_write(text, rdma_attributes, rdma);
    text_add(text, "}");
}

static void pci_write(struct text *text, const struct pci_identity *pci)
{
    if (!pci->present) return;
    char address[24];
    pci_address_write(pci, address);
    text_add(text, ", pci: \"%s\"", address);
    if (pci->vendor_id || pci->device_id) text_add(text, ", pci_id: \"%04x:%04x\"", pci->vendor_id, pci->device_id);
    if (pci->class_code) text_add(text, ", pci_class: 0x%06" PRIx32, pci->class_code);
}

/* Everything of an entry behind its name, but for what contains it. */
void node_attributes_write(struct text *text, const struct topology_node *node)
{
    attributes_write(text, node_attributes, node);
    if (node->has_rank) text_add(text, ", rank: %" PRIu32, node->rank);
    cpus_write(text, node);
    pci_write(text, &node->pci);
    if (node->rdma) rdma_write(text, node->rdma);
}

void node_write(struct view *view, uint32_t index, uint32_t host)
{
    const struct topology_node *node = &view->writing->topology->nodes[index];
    struct text *text = view->text;
    text_add(text, "{%s: %s", topology_node_kind_name(node->kind), is_pattern(node->name) ? "[" : "");
    yaml_string_write(text, node->name);
    if (is_pattern(node->name)) text_add(text, "]");
    if (needs_id(view, index)) text_add(text, ", id: n%" PRIu32, index - view->first);
    uint32_t usual = topology_may_contain(NODE_HOST, node->kind) ? host : TOPOLOGY_NONE;
    if (node->parent != usual) {
        text_add(text, ", in: ");
        if (node->parent == TOPOLOGY_NONE)
            text_add(text, "none");
        else
            end_write(view, node->parent);
    }
    node_attributes_write(text, node);
}

static bool figures_equal(struct figure one, struct figure other)
{
    return one.source == other.source && one.value == other.value;
}

void link_write(struct view *view, uint32_t index, const char *indent)
{
    const struct topology_link *link = &view->writing->topology->links[index];
    struct text *text = view->text;
    text_add(text, "%s- {%s: [", indent, topology_link_kind_name(link->kind));
    end_write(view, link->from);
    text_add(text, ", ");
    end_write(view, link->to);
    text_add(text, "]");
    attributes_write(text, link_attributes, link);
    if (!figures_equal(link->bandwidth, link->reverse_bandwidth))
        figure_write(text, "reverse", link->reverse_bandwidth, false);
    text_add(text, "}\n");
}
