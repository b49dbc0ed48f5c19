/* SPDX-License-Identifier: Apache-2.0 */
/* What a node of weft's YAML has besides plain attributes: CPUs, its place on a PCI bus, a rank, an RDMA device. */
#include <stdlib.h>
#include <string.h>

#include "topology/format/pci.h"
#include "topology/format/weft_yaml.h"

/* Cut what stands before the next @p separator off the front of *rest. */
static struct span part_cut(struct span *rest, char separator)
{
    const char *end = memchr(rest->at, separator, rest->size);
    size_t size = end ? (size_t)(end - rest->at) : rest->size;
    struct span part = {rest->at, size};
    *rest = (struct span){rest->at + size + (end ? 1 : 0), rest->size - size - (end ? 1 : 0)};
    return part;
}

/* "0-15,32-47" */
static weft_status cpus_read(struct reading *reading, const struct yaml_value *value, struct topology_node *node)
{
    const uint32_t cpus_max = 65536;
    if (value->kind != YAML_IS_SCALAR || value->text.size == 0) goto unreadable;
    uint64_t first, last, total = 0;
    for (int pass = 0; pass < 2; pass++) {
        struct span rest = value->text;
        uint32_t *cpus = NULL, filled = 0;
        if (pass == 1) node->cpus = cpus = arena_alloc(&reading->arena, total, sizeof *cpus);
        if (pass == 1 && !cpus) return reading_no_memory(reading);
        while (rest.size > 0) {
            struct span range = part_cut(&rest, ',');
            struct span low = part_cut(&range, '-');
            if (!span_unsigned(low, cpus_max - 1, &first)) goto unreadable;
            last = first;
            if (range.size > 0 && (!span_unsigned(range, cpus_max - 1, &last) || last < first)) goto unreadable;
            if (pass == 0) total += last - first + 1;
            if (total > cpus_max) goto unreadable;
            for (uint64_t cpu = first; cpu <= last && pass == 1; cpu++) cpus[filled++] = (uint32_t)cpu;
        }
    }
    node->cpu_count = (uint32_t)total;
    return WEFT_OK;
unreadable:
    return reading_error(reading, value, "cpus are '%.*s'; expected ranges of numbers below 65536, as 0-15,32-47",
                         SPAN_ARGS(value->text));
}

static weft_status pci_read(struct reading *reading, const struct yaml_value *map, struct pci_identity *pci)
{
    const struct yaml_value *address = yaml_find(map, "pci"), *id = yaml_find(map, "pci_id"),
                            *class_code = yaml_find(map, "pci_class");
    uint64_t number;
    if (!address) {
        const struct yaml_value *stray = id ? id : class_code;
        if (stray) return reading_error(reading, stray, "a PCI id or class without an address; expected pci, too");
        return WEFT_OK;
    }
    if (address->kind != YAML_IS_SCALAR || !pci_address_read(address->text, pci))
        return reading_error(reading, address, "pci is '%.*s'; expected an address such as 0000:17:00.0",
                             SPAN_ARGS(address->text));
    if (id) {
        char hex[12] = "0x";
        uint64_t vendor, device;
        struct span text = id->text;
        if (id->kind != YAML_IS_SCALAR || text.size != 9 || text.at[4] != ':') goto bad_id;
        memcpy(hex + 2, text.at, 4);
        if (!span_unsigned((struct span){hex, 6}, UINT16_MAX, &vendor)) goto bad_id;
        memcpy(hex + 2, text.at + 5, 4);
        if (!span_unsigned((struct span){hex, 6}, UINT16_MAX, &device)) goto bad_id;
        pci->vendor_id = (uint16_t)vendor;
        pci->device_id = (uint16_t)device;
    }
    if (class_code) {
        if (class_code->kind != YAML_IS_SCALAR || !span_unsigned(class_code->text, UINT32_MAX, &number))
            return reading_error(reading, class_code, "pci_class is '%.*s'; expected a number such as 0x030200",
                                 SPAN_ARGS(class_code->text));
        pci->class_code = (uint32_t)number;
    }
    return WEFT_OK;
bad_id:
    return reading_error(reading, id, "pci_id is '%.*s'; expected vendor and device, such as 10de:2330",
                         SPAN_ARGS(id->text));
}

static bool name_index(const struct yaml_value *value, const char *(*name_of)(int), int count, int *index)
{
    for (int i = 0; i < count && value->kind == YAML_IS_SCALAR; i++)
        if (span_equal(value->text, name_of(i))) {
            *index = i;
            return true;
        }
    return false;
}

static const char *link_layer_name(int index)
{
    return rdma_link_layer_name((enum rdma_link_layer)index);
}

static const char *gid_type_name(int index)
{
    return rdma_gid_type_name((enum rdma_gid_type)index);
}

/* An address is 32 hexadecimal digits. */
static bool gid_bytes_read(struct span digits, uint8_t bytes[16])
{
    if (digits.size != 32) return false;
    for (size_t i = 0; i < 16; i++) {
        char pair[4] = {'0', 'x', digits.at[2 * i], digits.at[2 * i + 1]};
        uint64_t value;
        if (!span_unsigned((struct span){pair, 4}, UINT8_MAX, &value)) return false;
        bytes[i] = (uint8_t)value;
    }
    return true;
}

static weft_status gid_read(struct reading *reading, const struct yaml_value *map, struct rdma_gid *gid)
{
    static const char *const keys[] = {"index", "type", "address", "interface", NULL};
    weft_status status = yaml_expect(reading->source, map, YAML_IS_MAP, "a GID", reading->diagnostic);
    if (status || (status = keys_check(reading, map, NULL, keys))) return status;
    const struct yaml_value *index = yaml_find(map, "index"), *type = yaml_find(map, "type"),
                            *address = yaml_find(map, "address"), *interface = yaml_find(map, "interface");
    uint64_t number;
    int type_index = 0;
    if (!index || index->kind != YAML_IS_SCALAR || !span_unsigned(index->text, UINT32_MAX, &number))
        return reading_error(reading, map, "a GID without an index; expected a number");
    if (!type || !name_index(type, gid_type_name, RDMA_GID_TYPE_COUNT, &type_index))
        return reading_error(reading, map, "a GID without a known type; expected infiniband, roce_v1 or roce_v2");
    if (!address || address->kind != YAML_IS_SCALAR || !gid_bytes_read(address->text, gid->bytes))
        return reading_error(reading, map, "a GID without an address; expected 32 hexadecimal digits");
    gid->index = (uint32_t)number;
    gid->type = (enum rdma_gid_type)type_index;
    return interface ? text_read(reading, interface, &gid->interface) : WEFT_OK;
}

static weft_status port_read(struct reading *reading, const struct yaml_value *map, struct rdma_port *port)
{
    static const char *const keys[] = {"link_layer", "gids", NULL};
    weft_status status = yaml_expect(reading->source, map, YAML_IS_MAP, "a port", reading->diagnostic);
    if (!status) status = keys_check(reading, map, port_attributes, keys);
    if (!status) status = attributes_read(reading, port_attributes, map, port);
    if (status) return status;
    const struct yaml_value *layer = yaml_find(map, "link_layer"), *gids = yaml_find(map, "gids");
    int index = RDMA_LINK_UNKNOWN;
    if (layer && !name_index(layer, link_layer_name, RDMA_LINK_LAYER_COUNT, &index))
        return reading_error(reading, layer, "link_layer is '%.*s'; expected infiniband, ethernet or unknown",
                             SPAN_ARGS(layer->text));
    port->link_layer = (enum rdma_link_layer)index;
    if (!gids) return WEFT_OK;
    status = yaml_expect(reading->source, gids, YAML_IS_LIST, "the GIDs", reading->diagnostic);
    if (status) return status;
    struct rdma_gid *row = arena_alloc(&reading->arena, gids->count, sizeof *row);
    if (!row) return reading_no_memory(reading);
    port->gids = row;
    for (const struct yaml_value *gid = gids->first; gid && !status; gid = gid->next)
        status = gid_read(reading, gid, &row[port->gid_count++]);
    return status;
}

static weft_status rdma_read(struct reading *reading, const struct yaml_value *map, struct rdma_device **rdma)
{
    static const char *const keys[] = {"ports", NULL};
    weft_status status = yaml_expect(reading->source, map, YAML_IS_MAP, "an RDMA device", reading->diagnostic);
    struct rdma_device *device = arena_alloc(&reading->arena, 1, sizeof *device);
    if (!status && !device) return reading_no_memory(reading);
    if (!status) status = keys_check(reading, map, rdma_attributes, keys);
    if (!status) status = attributes_read(reading, rdma_attributes, map, device);
    const struct yaml_value *ports = status ? NULL : yaml_find(map, "ports");
    if (ports) {
        status = yaml_expect(reading->source, ports, YAML_IS_LIST, "the ports", reading->diagnostic);
        struct rdma_port *row = arena_alloc(&reading->arena, ports->count, sizeof *row);
        if (!status && !row) return reading_no_memory(reading);
        device->ports = row;
        for (const struct yaml_value *port = ports->first; port && !status; port = port->next)
            status = port_read(reading, port, &row[device->port_count++]);
    }
    *rdma = device;
    return status;
}

weft_status node_specials_read(struct reading *reading, const struct yaml_value *map, struct topology_node *node,
                               struct rdma_device **rdma)
{
    const struct yaml_value *rank = yaml_find(map, "rank"), *cpus = yaml_find(map, "cpus"),
                            *device = yaml_find(map, "rdma");
    uint64_t number;
    if (rank) {
        if (rank->kind != YAML_IS_SCALAR || !span_unsigned(rank->text, UINT32_MAX, &number))
            return reading_error(reading, rank, "rank is '%.*s'; expected a number", SPAN_ARGS(rank->text));
        node->has_rank = true;
        node->rank = (uint32_t)number;
    }
    weft_status status = cpus ? cpus_read(reading, cpus, node) : WEFT_OK;
    if (!status) status = pci_read(reading, map, &node->pci);
    if (!status && device) status = rdma_read(reading, device, rdma);
    if (!status && device && !node->verbs_device)
        status = reading_error(reading, device, "an RDMA device without a name; expected verbs_device, too");
    return status;
}
