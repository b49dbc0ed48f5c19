/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/topology/search_machines.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static struct figure figure(double bandwidth)
{
    return (struct figure){.value = bandwidth, .source = bandwidth > 0 ? FIGURE_DATASHEET : FIGURE_UNKNOWN};
}

uint32_t machine_add(weft_topology *topology, enum node_kind kind, uint32_t parent, const char *format, ...)
{
    char name[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    return topology_add_node(topology, &(struct topology_node){.kind = kind, .parent = parent, .name = name});
}

void machine_link_uneven(weft_topology *topology, enum link_kind kind, uint32_t from, uint32_t to, double bandwidth,
                         double reverse_bandwidth)
{
    struct topology_link link = {.kind = kind, .from = from, .to = to};
    link.bandwidth = (struct figure){.value = bandwidth, .source = FIGURE_DATASHEET};
    link.reverse_bandwidth = (struct figure){.value = reverse_bandwidth, .source = FIGURE_DATASHEET};
    topology_add_link(topology, &link);
}

void machine_link(weft_topology *topology, enum link_kind kind, uint32_t from, uint32_t to, double bandwidth)
{
    struct topology_link link = {.kind = kind, .from = from, .to = to};
    link.bandwidth = link.reverse_bandwidth = figure(bandwidth);
    topology_add_link(topology, &link);
}

weft_topology *machine_seal(weft_topology *topology)
{
    struct diagnostic diagnostic = {0};
    if (topology_seal(topology, &diagnostic)) {
        fprintf(stderr, "a test's machine is refused: %s\n", diagnostic.text);
        abort();
    }
    return topology;
}

weft_topology *machine_direct(uint32_t gpu_count, const uint8_t *link_counts, double link_bandwidth)
{
    weft_topology *topology = topology_new();
    uint32_t gpus[64], host = machine_add(topology, NODE_HOST, TOPOLOGY_NONE, "box");
    for (uint32_t i = 0; i < gpu_count; i++) gpus[i] = machine_add(topology, NODE_GPU, host, "gpu%u", i);
    for (uint32_t i = 0; i < gpu_count; i++)
        for (uint32_t k = i + 1; k < gpu_count; k++)
            for (uint32_t link = 0; link < link_counts[i * gpu_count + k]; link++)
                machine_link(topology, LINK_NVLINK, gpus[i], gpus[k], link_bandwidth);
    return machine_seal(topology);
}

weft_topology *machine_dgx1v(double link_bandwidth)
{
    static const uint8_t links[8 * 8] = {
        0, 1, 1, 2, 2, 0, 0, 0, /* 0 */
        0, 0, 2, 1, 0, 2, 0, 0, /* 1 */
        0, 0, 0, 2, 0, 0, 1, 0, /* 2 */
        0, 0, 0, 0, 0, 0, 0, 1, /* 3 */
        0, 0, 0, 0, 0, 1, 1, 2, /* 4 */
        0, 0, 0, 0, 0, 0, 2, 1, /* 5 */
        0, 0, 0, 0, 0, 0, 0, 2, /* 6 */
        0, 0, 0, 0, 0, 0, 0, 0,
    };
    return machine_direct(8, links, link_bandwidth);
}

weft_topology *machine_complete(uint32_t gpu_count, double link_bandwidth)
{
    uint8_t links[64 * 64];
    for (uint32_t i = 0; i < gpu_count * gpu_count; i++) links[i] = 1;
    return machine_direct(gpu_count, links, link_bandwidth);
}

weft_topology *machine_xgmi8(double link_bandwidth)
{
    static const uint8_t links[8 * 8] = {
        0, 1, 1, 0, 0, 0, 1, 0, /* 0 */
        0, 0, 0, 1, 0, 1, 0, 0, /* 1 */
        0, 0, 0, 1, 1, 0, 0, 0, /* 2 */
        0, 0, 0, 0, 0, 0, 0, 1, /* 3 */
        0, 0, 0, 0, 0, 1, 1, 0, /* 4 */
        0, 0, 0, 0, 0, 0, 0, 1, /* 5 */
        0, 0, 0, 0, 0, 0, 0, 1, /* 6 */
        0, 0, 0, 0, 0, 0, 0, 0,
    };
    return machine_direct(8, links, link_bandwidth);
}

weft_topology *machine_boxes(const struct boxes *boxes)
{
    weft_topology *topology = topology_new();
    uint32_t rails[64] = {0}, spine = TOPOLOGY_NONE;
    bool fabric = boxes->nic_bandwidth > 0;
    for (uint32_t i = 0; i < boxes->gpus_per_box && fabric; i++)
        rails[i] = boxes->one_switch && i ? rails[0] : machine_add(topology, NODE_SWITCH, TOPOLOGY_NONE, "rail%u", i);
    if (fabric && !boxes->one_switch && boxes->spine_bandwidth > 0) {
        spine = machine_add(topology, NODE_SWITCH, TOPOLOGY_NONE, "spine");
        for (uint32_t i = 0; i < boxes->gpus_per_box; i++)
            machine_link(topology, LINK_NETWORK, rails[i], spine, boxes->spine_bandwidth);
    }
    for (uint32_t box = 0; box < boxes->box_count; box++) {
        uint32_t host = machine_add(topology, NODE_HOST, TOPOLOGY_NONE, "box%u", box);
        uint32_t package = machine_add(topology, NODE_PACKAGE, host, "0");
        uint32_t nvswitch = machine_add(topology, NODE_NVSWITCH, host, "nvswitch");
        for (uint32_t i = 0; i < boxes->gpus_per_box; i++) {
            uint32_t bridge = machine_add(topology, NODE_PCI_BRIDGE, package, "bridge%u", i);
            uint32_t gpu = machine_add(topology, NODE_GPU, bridge, "gpu%u", i);
            machine_link(topology, LINK_PCI, bridge, package, 48e9);
            machine_link(topology, LINK_PCI, gpu, bridge, 48e9 > boxes->nic_bandwidth ? 48e9 : boxes->nic_bandwidth);
            machine_link(topology, LINK_NVLINK, gpu, nvswitch, boxes->nvlink_bandwidth);
            if (!fabric) continue;
            uint32_t nic = machine_add(topology, NODE_NIC, bridge, "nic%u", i);
            machine_link(topology, LINK_PCI, nic, bridge, 48e9 > boxes->nic_bandwidth ? 48e9 : boxes->nic_bandwidth);
            machine_link(topology, LINK_NETWORK, nic, rails[i], boxes->nic_bandwidth);
        }
    }
    return machine_seal(topology);
}

weft_topology *machine_fat_tree(uint32_t leaf_count, uint32_t hosts_per_leaf, uint32_t spine_count, double bandwidth,
                                bool scattered)
{
    weft_topology *topology = topology_new();
    uint32_t spines[64], leaves[64];
    for (uint32_t i = 0; i < spine_count; i++)
        spines[i] = machine_add(topology, NODE_SWITCH, TOPOLOGY_NONE, "spine%u", i);
    for (uint32_t leaf = 0; leaf < leaf_count; leaf++) {
        leaves[leaf] = machine_add(topology, NODE_SWITCH, TOPOLOGY_NONE, "leaf%u", leaf);
        for (uint32_t i = 0; i < spine_count; i++)
            machine_link(topology, LINK_NETWORK, leaves[leaf], spines[i], bandwidth);
    }
    for (uint32_t k = 0; k < leaf_count * hosts_per_leaf; k++) {
        uint32_t host = machine_add(topology, NODE_HOST, TOPOLOGY_NONE, "host%u", k);
        machine_link(topology, LINK_NETWORK, host, leaves[scattered ? k % leaf_count : k / hosts_per_leaf], bandwidth);
    }
    return machine_seal(topology);
}

void machine_gpus(const weft_topology *topology, const uint32_t *numbers, uint32_t count, uint32_t *nodes)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t seen = 0;
        nodes[i] = TOPOLOGY_NONE;
        for (uint32_t node = 0; node < topology->node_count; node++)
            if (topology->nodes[node].kind == NODE_GPU && seen++ == numbers[i]) nodes[i] = node;
    }
}
