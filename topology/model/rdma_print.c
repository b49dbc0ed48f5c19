/* SPDX-License-Identifier: Apache-2.0 */
/* A NIC's RDMA device for a person and for a program, with how far each GPU of the host is from it. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "topology/model/model_internal.h"
#include "topology/model/proximity.h"
#include "topology/model/rdma.h"

/* The next GPU after @p node in the host of the NIC, or TOPOLOGY_NONE; begin with TOPOLOGY_NONE. */
static uint32_t gpu_next(const weft_topology *topology, uint32_t nic, uint32_t node)
{
    uint32_t host = topology_host_of(topology, nic);
    for (uint32_t i = node == TOPOLOGY_NONE ? 0 : node + 1; i < topology->node_count; i++)
        if (topology->nodes[i].kind == NODE_GPU && topology_host_of(topology, i) == host) return i;
    return TOPOLOGY_NONE;
}

static void port_draw(const struct rdma_port *port, const char *margin, struct text *text)
{
    text_add(text, "%sport %" PRIu32 "  %s", margin, port->number, rdma_link_layer_name(port->link_layer));
    if (port->state) text_add(text, "  %s", port->state);
    if (port->physical_state) text_add(text, " (%s)", port->physical_state);
    if (port->bandwidth.source)
        text_add(text, "  %.4g GB/s (%s)", port->bandwidth.value / 1e9,
                 topology_figure_source_name(port->bandwidth.source));
    if (port->interface_mtu_bytes) text_add(text, "  interface mtu %" PRIu32, port->interface_mtu_bytes);
    text_add(text, port->not_used ? "  not used: %s\n" : "  usable\n", port->not_used);
    /* Version 1 of RoCE is never used; its addresses are those of version 2 again. */
    for (uint32_t i = 0; i < port->gid_count; i++) {
        const struct rdma_gid *gid = &port->gids[i];
        if (gid->type == RDMA_GID_ROCE_V1) continue;
        char address[RDMA_GID_TEXT_BYTES];
        rdma_gid_format(gid->bytes, address);
        text_add(text, "%s   gid %" PRIu32 "  %s  %s", margin, gid->index, address,
                 gid->type == RDMA_GID_ROCE_V2 ? "RoCE v2" : "InfiniBand");
        if (gid->interface) text_add(text, "  %s", gid->interface);
        text_add(text, "\n");
    }
}

void rdma_draw(const weft_topology *topology, uint32_t nic, const char *margin, struct text *text)
{
    const struct topology_node *node = &topology->nodes[nic];
    if (!node->rdma) return;
    text_add(text, "%s%s", margin, node->verbs_device);
    if (node->rdma->firmware) text_add(text, "  firmware %s", node->rdma->firmware);
    if (node->rdma->node_guid) text_add(text, "  guid %016" PRIx64, node->rdma->node_guid);
    if (node->rdma->numa_node != TOPOLOGY_NONE) text_add(text, "  NUMA node %" PRIu32, node->rdma->numa_node);
    text_add(text, "\n");
    for (uint32_t i = 0; i < node->rdma->port_count; i++) port_draw(&node->rdma->ports[i], margin, text);
    for (uint32_t gpu = gpu_next(topology, nic, TOPOLOGY_NONE); gpu != TOPOLOGY_NONE;
         gpu = gpu_next(topology, nic, gpu))
        text_add(text, "%sto GPU %s: %s\n", margin, topology->nodes[gpu].name,
                 topology_proximity_words(topology_proximity_between(topology, nic, gpu)));
}

static void port_write(struct text *text, const struct rdma_port *port)
{
    json_object_begin(text, NULL);
    json_unsigned(text, "number", port->number);
    json_string(text, "link_layer", rdma_link_layer_name(port->link_layer));
    json_string(text, "state", port->state);
    json_string(text, "physical_state", port->physical_state);
    json_number(text, "bandwidth", port->bandwidth.source ? port->bandwidth.value : NAN);
    json_string(text, "bandwidth_source", topology_figure_source_name(port->bandwidth.source));
    if (port->interface_mtu_bytes) json_unsigned(text, "interface_mtu_bytes", port->interface_mtu_bytes);
    json_array_begin(text, "gids");
    for (uint32_t i = 0; i < port->gid_count; i++) {
        char address[RDMA_GID_TEXT_BYTES];
        rdma_gid_format(port->gids[i].bytes, address);
        json_object_begin(text, NULL);
        json_unsigned(text, "index", port->gids[i].index);
        json_string(text, "type", rdma_gid_type_name(port->gids[i].type));
        json_string(text, "address", address);
        json_string(text, "interface", port->gids[i].interface);
        json_object_end(text);
    }
    json_array_end(text);
    json_string(text, "not_used", port->not_used);
    json_object_end(text);
}

void rdma_write_json(const weft_topology *topology, uint32_t nic, struct text *text)
{
    const struct rdma_device *rdma = topology->nodes[nic].rdma;
    if (!rdma) return;
    char guid[20];
    snprintf(guid, sizeof guid, "0x%016" PRIx64, rdma->node_guid);
    json_object_begin(text, "rdma");
    json_string(text, "firmware", rdma->firmware);
    json_string(text, "node_guid", rdma->node_guid ? guid : NULL);
    if (rdma->numa_node != TOPOLOGY_NONE) json_unsigned(text, "numa_node", rdma->numa_node);
    json_array_begin(text, "ports");
    for (uint32_t i = 0; i < rdma->port_count; i++) port_write(text, &rdma->ports[i]);
    json_array_end(text);
    json_array_begin(text, "gpus");
    for (uint32_t gpu = gpu_next(topology, nic, TOPOLOGY_NONE); gpu != TOPOLOGY_NONE;
         gpu = gpu_next(topology, nic, gpu)) {
        json_object_begin(text, NULL);
        json_unsigned(text, "id", gpu);
        json_string(text, "proximity", topology_proximity_name(topology_proximity_between(topology, nic, gpu)));
        json_object_end(text);
    }
    json_array_end(text);
    json_object_end(text);
}
