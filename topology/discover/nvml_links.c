/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVLinks as links of the graph. Each GPU tells its own side: of two GPUs both have to, and the fewer links count,
 * since one that goes down between two questions is seen from one side only. NVSwitches are asked nothing.
 */
#include <stdio.h>
#include <string.h>

#include "topology/discover/discover_internal.h"
#include "topology/discover/nvml_abi.h"

/* One GPU's links to one node. */
struct bundle {
    uint32_t to, count;
    struct figure bandwidth; /* of all of them */
};

/* One GPU's side. */
struct side {
    uint32_t node; /* TOPOLOGY_NONE: not in the graph */
    uint32_t bundle_count;
    struct bundle bundles[NVML_LINKS_MAX];
};

static uint32_t node_at(const weft_topology *topology, const struct nvml_address *address)
{
    for (uint32_t i = 0; address->known && i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if ((node->kind == NODE_GPU || node->kind == NODE_NVSWITCH) && node->pci.present &&
            node->pci.domain == address->domain && node->pci.bus == address->bus && node->pci.device == address->device)
            return i;
    }
    return TOPOLOGY_NONE;
}

/* An NVSwitch that only its links tell of: in virtual machines, and where the driver keeps its address to itself. */
static uint32_t hidden_switch(weft_topology *topology, uint32_t host, const struct nvml_address *address)
{
    char name[32] = "NVSwitch";
    if (address->known) snprintf(name, sizeof name, "%04x:%02x:%02x.0", address->domain, address->bus, address->device);
    for (uint32_t i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (node->kind == NODE_NVSWITCH && node->parent == host && strcmp(node->name, name) == 0) return i;
    }
    struct topology_node node = {.kind = NODE_NVSWITCH, .parent = host, .name = name, .os_index = TOPOLOGY_NONE};
    return topology_add_node(topology, &node);
}

static uint32_t package_of(const weft_topology *topology, uint32_t node)
{
    while (node != TOPOLOGY_NONE && topology->nodes[node].kind != NODE_PACKAGE) node = topology->nodes[node].parent;
    return node;
}

/*
 * Where a link leads; TOPOLOGY_NONE if that is not in the graph. An older driver does not say what the far end is: if
 * it is nowhere on the bus it is taken for an NVSwitch, since a machine shows all of its GPUs or is a virtual one.
 */
static uint32_t target_of(weft_topology *topology, uint32_t host, uint32_t gpu, const struct nvml_link *link)
{
    if (link->kind == REMOTE_CPU) return package_of(topology, gpu);
    uint32_t node = node_at(topology, &link->remote);
    if (node == TOPOLOGY_NONE)
        return link->kind == REMOTE_GPU ? TOPOLOGY_NONE : hidden_switch(topology, host, &link->remote);
    enum node_kind kind = topology->nodes[node].kind;
    bool contradicts = (link->kind == REMOTE_GPU && kind != NODE_GPU) ||
                       (link->kind == REMOTE_SWITCH && kind != NODE_NVSWITCH) || node == gpu;
    return contradicts ? TOPOLOGY_NONE : node;
}

/*
 * Which GPU it is says more than the version of its links: an A40's run at little more than half the speed of an
 * A100's, and codes above 4.0 have been ambiguous. The code has the say where no data sheet is known.
 */
static struct figure bandwidth_of(const struct nvml_gpu *gpu, const struct nvml_link *link)
{
    struct figure figure = topology_nvlink_bandwidth(gpu->compute_capability);
    if (figure.source != FIGURE_UNKNOWN) return figure;
    if (link->version < NVML_ABI_VERSION_1_0 || link->version > NVML_ABI_VERSION_4_0) return figure;
    /* P100's 160 GB/s over 4 links both ways; V100's 300 over 6, A100's 600 over 12, H100's 900 over 18. */
    return (struct figure){link->version == NVML_ABI_VERSION_1_0 ? 20e9 : 25e9, FIGURE_DATASHEET};
}

static void side_add(struct side *side, uint32_t to, struct figure bandwidth)
{
    uint32_t i = 0;
    while (i < side->bundle_count && side->bundles[i].to != to) i++;
    struct bundle *bundle = &side->bundles[i];
    if (i == side->bundle_count) {
        side->bundle_count++;
        *bundle = (struct bundle){.to = to, .bandwidth = {0, bandwidth.source}};
    }
    bundle->count++;
    bundle->bandwidth.value += bandwidth.value;
    if (bandwidth.source == FIGURE_UNKNOWN || bundle->bandwidth.source == FIGURE_UNKNOWN)
        bundle->bandwidth = (struct figure){0};
}

static void side_read(weft_topology *topology, uint32_t host, const struct nvml_gpu *gpu, struct side *side)
{
    uint32_t left_out = 0;
    *side = (struct side){.node = node_at(topology, &gpu->address)};
    if (side->node == TOPOLOGY_NONE || topology->nodes[side->node].kind != NODE_GPU) {
        side->node = TOPOLOGY_NONE;
        return;
    }
    for (uint32_t i = 0; i < gpu->link_count; i++) {
        uint32_t to = target_of(topology, host, side->node, &gpu->links[i]);
        if (to == TOPOLOGY_NONE)
            left_out++;
        else
            side_add(side, to, bandwidth_of(gpu, &gpu->links[i]));
    }
    if (left_out)
        topology_note(topology, "%u NVLinks of GPU %s are left out: they lead to what is not there", left_out,
                      topology->nodes[side->node].name);
}

/* What the GPU at @p from has towards @p to; no links if it says nothing of them. */
static struct bundle bundle_back(const struct side *sides, uint32_t count, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; sides[i].node == from && j < sides[i].bundle_count; j++)
            if (sides[i].bundles[j].to == to) return sides[i].bundles[j];
    return (struct bundle){.to = to};
}

static void bundle_link(weft_topology *topology, const struct side *sides, uint32_t side_count, uint32_t from,
                        const struct bundle *there)
{
    struct bundle back = *there;
    uint32_t count = there->count;
    if (topology->nodes[there->to].kind == NODE_GPU) {
        back = bundle_back(sides, side_count, there->to, from);
        if (back.count && there->to < from) return; /* added from the other side */
        if (back.count < count) count = back.count;
        if (there->count != back.count)
            topology_note(topology, "GPU %s has %u NVLinks to GPU %s, which has %u back: %u are taken for true",
                          topology->nodes[from].name, there->count, topology->nodes[there->to].name, back.count, count);
        if (!count) return;
    }
    struct topology_link link = {.kind = LINK_NVLINK, .from = from, .to = there->to, .count = count};
    link.bandwidth = (struct figure){there->bandwidth.value / there->count * count, there->bandwidth.source};
    link.reverse_bandwidth = (struct figure){back.bandwidth.value / back.count * count, back.bandwidth.source};
    topology_add_link(topology, &link);
}

void nvml_links_add(weft_topology *topology, uint32_t host, const struct nvml_report *report)
{
    if (!report->usable) return;
    struct side sides[NVML_GPUS_MAX]; /* 28 KiB */
    for (uint32_t i = 0; i < report->gpu_count; i++) side_read(topology, host, &report->gpus[i], &sides[i]);
    for (uint32_t i = 0; i < report->gpu_count; i++)
        for (uint32_t j = 0; sides[i].node != TOPOLOGY_NONE && j < sides[i].bundle_count; j++)
            bundle_link(topology, sides, report->gpu_count, sides[i].node, &sides[i].bundles[j]);
}
