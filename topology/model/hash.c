/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A topology as one canonical row of bytes. Both the hash and the comparison read it, so that they cannot disagree on
 * what a topology is. Strings end in a zero byte, absent ones are a 1 and a zero byte, which no string holds; numbers
 * are little-endian, doubles their IEEE 754 bits.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "topology/model/model.h"

/* Bytes go into the hash, and also into a buffer if there is one. */
struct sink {
    uint64_t hash;
    bool keep, failed;
    uint8_t *bytes;
    size_t size, capacity;
};

static void bytes_put(struct sink *sink, const void *bytes, size_t size)
{
    if (!sink->keep) {
        sink->hash = bytes_hash(sink->hash, bytes, size);
        return;
    }
    if (sink->failed) return;
    if (sink->capacity - sink->size < size) {
        size_t wanted = 2 * sink->capacity + size + 4096;
        uint8_t *larger = realloc(sink->bytes, wanted);
        if (!larger) {
            sink->failed = true;
            return;
        }
        sink->bytes = larger;
        sink->capacity = wanted;
    }
    memcpy(sink->bytes + sink->size, bytes, size);
    sink->size += size;
}

static void number_put(struct sink *sink, uint64_t number)
{
    uint8_t bytes[8];
    bytes_put_u64(bytes, number);
    bytes_put(sink, bytes, sizeof bytes);
}

static void double_put(struct sink *sink, double value)
{
    uint64_t bits;
    value += 0.0; /* -0 is 0 */
    memcpy(&bits, &value, sizeof bits);
    number_put(sink, bits);
}

static void string_put(struct sink *sink, const char *string)
{
    if (string)
        bytes_put(sink, string, strlen(string) + 1);
    else
        bytes_put(sink, "\1", 2);
}

static void figure_put(struct sink *sink, struct figure figure)
{
    number_put(sink, figure.source);
    double_put(sink, figure.value);
}

static void rdma_put(struct sink *sink, const struct rdma_device *rdma)
{
    number_put(sink, rdma != NULL);
    if (!rdma) return;
    string_put(sink, rdma->firmware);
    number_put(sink, rdma->node_guid);
    number_put(sink, rdma->numa_node);
    number_put(sink, rdma->port_count);
    for (uint32_t i = 0; i < rdma->port_count; i++) {
        const struct rdma_port *port = &rdma->ports[i];
        number_put(sink, port->number);
        number_put(sink, port->link_layer);
        string_put(sink, port->state);
        string_put(sink, port->physical_state);
        figure_put(sink, port->bandwidth);
        number_put(sink, port->interface_mtu_bytes);
        string_put(sink, port->not_used);
        number_put(sink, port->gid_count);
        for (uint32_t j = 0; j < port->gid_count; j++) {
            number_put(sink, port->gids[j].index);
            number_put(sink, port->gids[j].type);
            bytes_put(sink, port->gids[j].bytes, sizeof port->gids[j].bytes);
            string_put(sink, port->gids[j].interface);
        }
    }
}

static void node_put(struct sink *sink, const struct topology_node *node)
{
    const struct pci_identity *pci = &node->pci;
    number_put(sink, node->kind);
    number_put(sink, node->parent);
    string_put(sink, node->name);
    string_put(sink, node->model);
    number_put(sink, node->os_index);
    number_put(sink, node->bytes);
    number_put(sink, node->cache_level);
    number_put(sink, node->cpu_count);
    for (uint32_t i = 0; i < node->cpu_count; i++) number_put(sink, node->cpus[i]);
    string_put(sink, node->architecture);
    number_put(sink, node->guid);
    number_put(sink, node->has_rank ? (uint64_t)node->rank + 1 : 0);
    number_put(sink, pci->present);
    if (pci->present) {
        number_put(sink, pci->domain);
        number_put(sink, (uint64_t)pci->bus << 16 | (uint64_t)pci->device << 8 | pci->function);
        number_put(sink, (uint64_t)pci->vendor_id << 48 | (uint64_t)pci->device_id << 32 | pci->class_code);
    }
    string_put(sink, node->verbs_device);
    rdma_put(sink, node->rdma);
    figure_put(sink, node->port_bandwidth);
    figure_put(sink, node->port_latency);
}

static void topology_put(struct sink *sink, const weft_topology *topology)
{
    number_put(sink, topology->node_count);
    for (uint32_t i = 0; i < topology->node_count; i++) node_put(sink, &topology->nodes[i]);
    number_put(sink, topology->link_count);
    for (uint32_t i = 0; i < topology->link_count; i++) {
        const struct topology_link *link = &topology->links[i];
        number_put(sink, link->kind);
        number_put(sink, (uint64_t)link->from << 32 | link->to);
        figure_put(sink, link->bandwidth);
        figure_put(sink, link->reverse_bandwidth);
        figure_put(sink, link->latency);
        string_put(sink, link->name);
        number_put(sink, link->count > 1 ? link->count : 1);
        number_put(sink, (uint64_t)link->from_port << 32 | link->to_port);
    }
    number_put(sink, topology->distances_count);
    for (uint32_t i = 0; i < topology->distances_count; i++) {
        const struct topology_distances *distances = &topology->distances[i];
        size_t count = distances->node_count;
        string_put(sink, distances->name);
        number_put(sink, count);
        for (size_t j = 0; j < count; j++) number_put(sink, distances->nodes[j]);
        for (size_t j = 0; j < count * count; j++) double_put(sink, distances->values[j]);
    }
    number_put(sink, topology->channel_count);
    for (uint32_t i = 0; i < topology->channel_count; i++) {
        const struct topology_channel *channel = &topology->channels[i];
        number_put(sink, channel->kind);
        string_put(sink, channel->name);
        number_put(sink, channel->node_count);
        for (uint32_t j = 0; j < channel->node_count; j++) number_put(sink, channel->nodes[j]);
        figure_put(sink, channel->bandwidth);
        figure_put(sink, channel->network_bandwidth);
    }
}

uint64_t topology_hash(const weft_topology *topology)
{
    struct sink sink = {.hash = BYTES_HASH_START};
    topology_put(&sink, topology);
    return sink.hash;
}

uint64_t weft_topology_hash(const weft_topology *topology)
{
    return topology ? topology_hash(topology) : 0;
}

bool topology_equal(const weft_topology *one, const weft_topology *other)
{
    struct sink left = {.keep = true}, right = {.keep = true};
    topology_put(&left, one);
    topology_put(&right, other);
    bool equal =
        !left.failed && !right.failed && left.size == right.size && memcmp(left.bytes, right.bytes, left.size) == 0;
    free(right.bytes);
    free(left.bytes);
    return equal;
}
