/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links between GPUs, and from GPUs to NVSwitches and CPUs. Each GPU lists its own side; a link of the graph is both.
 * Bandwidths are the data sheets', since the file states counts alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/format/nccl.h"
#include "topology/format/pci.h"

/* What a GPU lists, added up for each target. */
struct side {
    enum link_kind kind;
    uint32_t from, to, count;
    const struct xml_element *element;
    struct figure bandwidth; /* of one */
};

struct sides {
    struct nccl *nccl;
    struct side *rows;
    uint32_t count, capacity;
    struct name_table pairs; /* (from, to) to its row */
};

static weft_status pair_at(struct sides *sides, uint32_t from, uint32_t to, uint32_t **row)
{
    char text[16];
    snprintf(text, sizeof text, "%u", to);
    *row = name_table_at(&sides->pairs, nccl_key(sides->nccl, from, "to", text));
    return *row ? WEFT_OK : nccl_no_memory(sides->nccl);
}

static weft_status side_add(struct sides *sides, const struct side *side)
{
    uint32_t *row;
    weft_status status = pair_at(sides, side->from, side->to, &row);
    if (status) return status;
    if (*row != TOPOLOGY_NONE) {
        struct side *known = &sides->rows[*row];
        if (known->kind != side->kind)
            return nccl_error(sides->nccl, side->element, "two kinds of links to one target; expected one");
        known->count += side->count;
        return WEFT_OK;
    }
    if (sides->count == sides->capacity) {
        uint32_t wanted = sides->capacity ? sides->capacity * 2 : 64;
        struct side *larger = reallocarray(sides->rows, wanted, sizeof *larger);
        if (!larger) return nccl_no_memory(sides->nccl);
        sides->rows = larger;
        sides->capacity = wanted;
    }
    *row = sides->count;
    sides->rows[sides->count++] = *side;
    return WEFT_OK;
}

/* An NVSwitch that only its links tell of: in virtual machines, and where a container does not see it. */
static weft_status hidden_switch_add(struct nccl *nccl, uint32_t host, const char *target, uint32_t *index)
{
    struct topology_node node = {.kind = NODE_NVSWITCH, .parent = host, .name = target, .os_index = TOPOLOGY_NONE};
    weft_status status = nccl_node_add(nccl, &node, index);
    if (status) return status;
    uint32_t *known = name_table_at(&nccl->devices, nccl_key(nccl, host, "bus", target));
    if (!known) return nccl_no_memory(nccl);
    *known = *index;
    return WEFT_OK;
}

/* The node that a link leads to; TOPOLOGY_NONE, with a note, where there is none. */
static weft_status target_find(struct nccl *nccl, const struct nccl_gpu *gpu, const struct xml_element *element,
                               uint32_t *target)
{
    const char *address = xml_attribute(element, "target");
    uint32_t host = topology_host_of(nccl->topology, gpu->node);
    uint64_t class_code = 0;
    weft_status status = nccl_unsigned(nccl, element, "tclass", 0xffffff, &class_code);
    if (status) return status;
    *target = TOPOLOGY_NONE;
    if (class_code == 0x068001) { /* Power's NVLink bridge: it is the CPU */
        *target = gpu->package;
        return WEFT_OK;
    }
    if (!address && class_code >> 8 != 0x0680)
        return nccl_error(nccl, element, "a %s without a target; expected a bus id", element->name);
    if (!address) address = "NVSwitch";
    *target = name_table_find(&nccl->devices, nccl_key(nccl, host, "bus", address));
    if (*target == SEVERAL_DEVICES)
        return nccl_error(nccl, element, "several devices are at %.40s; expected one", address);
    if (*target == TOPOLOGY_NONE && class_code >> 8 == 0x0680) return hidden_switch_add(nccl, host, address, target);
    if (*target == TOPOLOGY_NONE)
        topology_note(nccl->topology, "line %u: links to %.40s, which the file does not have, are left out",
                      element->place.line, address);
    if (*target == gpu->node) {
        topology_note(nccl->topology, "line %u: links of %.40s to itself are left out", element->place.line, address);
        *target = TOPOLOGY_NONE;
    }
    return WEFT_OK;
}

static weft_status link_read(struct sides *sides, const struct nccl_gpu *gpu, const struct xml_element *element)
{
    struct nccl *nccl = sides->nccl;
    bool is_xgmi = xml_is(element, "xgmi");
    struct side side = {.kind = is_xgmi ? LINK_XGMI : LINK_NVLINK, .from = gpu->node, .element = element};
    uint64_t count = 0, capability = 0;
    weft_status status = nccl_unsigned(nccl, element, "count", 1024, &count);
    if (!status && count == 0) status = nccl_error(nccl, element, "%s without a count; expected one", element->name);
    if (!status) status = target_find(nccl, gpu, element, &side.to);
    if (status || side.to == TOPOLOGY_NONE) return status;
    enum node_kind to = nccl->topology->nodes[side.to].kind;
    if (to != NODE_GPU && to != NODE_PACKAGE && (is_xgmi || to != NODE_NVSWITCH))
        return nccl_error(nccl, element, "%s to a %s; expected a GPU%s", element->name, topology_node_kind_name(to),
                          is_xgmi ? "" : " or an NVSwitch");
    const struct topology_node *node = &nccl->topology->nodes[gpu->node];
    side.count = (uint32_t)count;
    if (is_xgmi)
        side.bandwidth = xgmi_bandwidth(node->architecture);
    else if (node->architecture && strncmp(node->architecture, "sm_", 3) == 0 &&
             span_unsigned((struct span){node->architecture + 3, strlen(node->architecture) - 3}, 9999, &capability))
        side.bandwidth = topology_nvlink_bandwidth((uint32_t)capability);
    return side_add(sides, &side);
}

/* NVLink-C2C: megabytes per second over one link, each way. */
static weft_status c2c_read(struct nccl *nccl, const struct nccl_gpu *gpu, const struct xml_element *element)
{
    uint64_t count = 0, mbps = 0;
    weft_status status = nccl_unsigned(nccl, element, "count", 1024, &count);
    if (!status) status = nccl_unsigned(nccl, element, "bw", UINT32_MAX, &mbps);
    if (!status && count == 0) status = nccl_error(nccl, element, "c2c without a count; expected one");
    if (status) return status;
    struct topology_link link = {
        .kind = LINK_NVLINK, .from = gpu->node, .to = gpu->package, .name = "NVLink-C2C", .count = (uint32_t)count};
    if (mbps > 0) link.bandwidth = (struct figure){(double)mbps * (double)count * 1e6, FIGURE_FILE};
    link.reverse_bandwidth = link.bandwidth;
    topology_add_link(nccl->topology, &link);
    return WEFT_OK;
}

/*
 * One link for both sides. A GPU whose other side is silent (an NVSwitch, a CPU, a file cut by hand) has links that
 * work both ways all the same; two GPUs that count differently cannot both be right.
 */
static weft_status side_link(struct sides *sides, uint32_t index)
{
    const struct side *side = &sides->rows[index];
    uint32_t *row;
    weft_status status = pair_at(sides, side->to, side->from, &row);
    if (status) return status;
    const struct side *back = *row == TOPOLOGY_NONE ? side : &sides->rows[*row];
    if (*row != TOPOLOGY_NONE && *row < index) return WEFT_OK; /* done with the other side */
    if (back->count != side->count || back->kind != side->kind)
        return nccl_error(sides->nccl, back->element, "%u links to a device that lists %u back; expected as many",
                          back->count, side->count);
    struct topology_link link = {.kind = side->kind, .from = side->from, .to = side->to, .count = side->count};
    link.bandwidth = (struct figure){side->bandwidth.value * side->count, side->bandwidth.source};
    link.reverse_bandwidth = (struct figure){back->bandwidth.value * back->count, back->bandwidth.source};
    topology_add_link(sides->nccl->topology, &link);
    return WEFT_OK;
}

weft_status nccl_links_read(struct nccl *nccl)
{
    struct sides sides = {.nccl = nccl};
    weft_status status = WEFT_OK;
    for (uint32_t i = 0; i < nccl->gpu_count && !status; i++) {
        const struct nccl_gpu *gpu = &nccl->gpus[i];
        for (const struct xml_element *child = gpu->element->first; child && !status; child = child->next) {
            if (xml_is(child, "nvlink") || xml_is(child, "xgmi"))
                status = link_read(&sides, gpu, child);
            else if (xml_is(child, "c2c"))
                status = c2c_read(nccl, gpu, child);
            else
                topology_note(nccl->topology, "line %u: the element %.40s is left out", child->place.line, child->name);
        }
    }
    for (uint32_t i = 0; i < sides.count && !status; i++) status = side_link(&sides, i);
    name_table_free(&sides.pairs);
    free(sides.rows);
    weft_topology_counts counts = {.size = sizeof counts};
    if (!status && weft_topology_count(nccl->topology, &counts) == WEFT_OK && counts.gpus > 1 && nccl->gpu_count == 0)
        topology_note(nccl->topology, "the file says nothing about links between GPUs; NCCL adds what it finds");
    return status;
}
