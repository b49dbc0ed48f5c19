/* SPDX-License-Identifier: Apache-2.0 */
/* PCI bridges, GPUs, NICs and NVSwitches of hwloc's XML. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/format/hwloc_xml.h"
#include "topology/format/pci.h"

enum device { DEVICE_NETWORK, DEVICE_OPENFABRICS };

/* Kinds of OSDev: numbers in version 2 (hwloc_obj_osdev_type_e), bits in version 3, where verbs devices have both. */
static bool os_device_is(const struct hwloc_file *file, const struct xml_element *object, enum device device)
{
    uint64_t type = 0;
    const char *text = hwloc_type_is(object, "OSDev") ? xml_attribute(object, "osdev_type") : NULL;
    if (!text || !xml_attribute(object, "name") || !span_unsigned((struct span){text, strlen(text)}, UINT32_MAX, &type))
        return false;
    if (file->is_version_3) return device == DEVICE_OPENFABRICS ? (type & 32) != 0 : (type & 48) == 16;
    return type == (device == DEVICE_OPENFABRICS ? 3 : 2);
}

static const struct xml_element *os_device_find(const struct hwloc_file *file, const struct xml_element *object,
                                                enum device device)
{
    const struct xml_element *child = object->first;
    while (child && !os_device_is(file, child, device)) child = child->next;
    return child;
}

/* A GPU as CUDA, ROCm or oneAPI show it. */
static bool is_gpu_coprocessor(const struct xml_element *object)
{
    const char *subtype = hwloc_type_is(object, "OSDev") ? xml_attribute(object, "subtype") : NULL;
    return subtype && (!strcmp(subtype, "CUDA") || !strcmp(subtype, "RSMI") || !strcmp(subtype, "LevelZero"));
}

/* "0302 [10de:15f9] [10de:116b] a1 00" and "0002:01:00.0" */
static weft_status identity_read(struct hwloc_file *file, const struct xml_element *object, struct pci_identity *pci,
                                 uint32_t *class_id)
{
    const char *address = xml_attribute(object, "pci_busid"), *type = xml_attribute(object, "pci_type");
    if (!address || !pci_address_read((struct span){address, strlen(address)}, pci))
        return format_error(file->source, object->place, file->diagnostic,
                            "pci_busid is '%.40s'; expected an address such as 0000:17:00.0", address ? address : "");
    unsigned class_found, vendor, device;
    if (!type || sscanf(type, "%4x [%4x:%4x]", &class_found, &vendor, &device) != 3)
        return format_error(file->source, object->place, file->diagnostic,
                            "pci_type is '%.40s'; expected class, vendor and device, as 0302 [10de:15f9]",
                            type ? type : "");
    pci->vendor_id = (uint16_t)vendor;
    pci->device_id = (uint16_t)device;
    *class_id = class_found;
    return WEFT_OK;
}

/* NODE_KIND_COUNT for what does not belong into a topology. */
static weft_status device_kind(struct hwloc_file *file, const struct xml_element *object, struct pci_identity *pci,
                               enum node_kind *kind)
{
    uint32_t class_id = 0;
    weft_status status = identity_read(file, object, pci, &class_id);
    if (status) return status;
    *kind = pci_function_kind(class_id, pci->vendor_id);
    for (const struct xml_element *child = object->first; child; child = child->next)
        if (is_gpu_coprocessor(child)) *kind = NODE_GPU;
    if (*kind == NODE_KIND_COUNT && os_device_find(file, object, DEVICE_OPENFABRICS)) *kind = NODE_NIC;
    return WEFT_OK;
}

/* The same for an operating system's device that hangs on no PCI function. */
static enum node_kind bare_kind(const struct hwloc_file *file, const struct xml_element *object)
{
    if (!xml_attribute(object, "name")) return NODE_KIND_COUNT;
    if (os_device_is(file, object, DEVICE_NETWORK) || os_device_is(file, object, DEVICE_OPENFABRICS)) return NODE_NIC;
    return is_gpu_coprocessor(object) ? NODE_GPU : NODE_KIND_COUNT;
}

/* Only bridges that lead to a device of interest are kept. */
static weft_status leads_to_one(struct hwloc_file *file, const struct xml_element *object, bool *leads)
{
    struct pci_identity pci = {0};
    enum node_kind kind = NODE_KIND_COUNT;
    weft_status status = WEFT_OK;
    *leads = false;
    if (hwloc_type_is(object, "OSDev")) kind = bare_kind(file, object);
    if (hwloc_type_is(object, "PCIDev")) status = device_kind(file, object, &pci, &kind);
    *leads = kind != NODE_KIND_COUNT;
    if (!hwloc_type_is(object, "Bridge")) return status;
    for (const struct xml_element *child = object->first; child && !*leads && !status; child = child->next)
        status = leads_to_one(file, child, leads);
    return status;
}

/* To the one memory near it, for a host bridge or what hangs on no visible bus; else to what contains it. */
static weft_status host_link_add(struct hwloc_file *file, const struct xml_element *object, uint32_t parent,
                                 uint32_t node, enum link_kind to_memory, enum link_kind to_parent)
{
    struct topology_link link = {.kind = to_parent, .from = parent, .to = node};
    const struct xml_element *near = object->parent;
    while (hwloc_type_is(near, "Bridge") || hwloc_type_is(near, "PCIDev") || hwloc_type_is(near, "OSDev"))
        near = near->parent;
    uint32_t number = 0, count = 0;
    weft_status status = hwloc_set_read(file, near, "nodeset", &number, 1, &count);
    if (status) return status;
    char key[40];
    snprintf(key, sizeof key, "NUMANode %u", number);
    uint32_t numa = name_table_find(&file->places, (struct span){key, strlen(key)});
    if (count == 1 && numa != TOPOLOGY_NONE) {
        link.kind = to_memory;
        link.from = numa;
    }
    topology_add_link(file->topology, &link);
    return WEFT_OK;
}

/* Gigabytes per second over all lanes, less the line code's share. */
static weft_status pci_link_add(struct hwloc_file *file, const struct xml_element *object, uint32_t parent,
                                uint32_t node)
{
    struct topology_link link = {.kind = LINK_PCI, .from = parent, .to = node};
    const char *speed = xml_attribute(object, "pci_link_speed");
    double rate = 0;
    if (speed && (!span_number((struct span){speed, strlen(speed)}, &rate) || rate < 0 || rate > 1e4))
        return format_error(file->source, object->place, file->diagnostic,
                            "pci_link_speed is '%.40s'; expected gigabytes per second", speed);
    if (rate > 0) link.bandwidth = (struct figure){topology_pci_bandwidth_of_rate(rate), FIGURE_DATASHEET};
    link.reverse_bandwidth = link.bandwidth;
    topology_add_link(file->topology, &link);
    return WEFT_OK;
}

static weft_status bridge_add(struct hwloc_file *file, const struct xml_element *object, uint32_t parent,
                              uint32_t *index)
{
    char name[40];
    uint32_t class_id;
    const char *type = xml_attribute(object, "bridge_type"), *buses = xml_attribute(object, "bridge_pci");
    struct topology_node node = {.kind = NODE_PCI_BRIDGE, .parent = parent, .name = name, .os_index = TOPOLOGY_NONE};
    bool below_host = type && type[0] == '0';
    weft_status status = WEFT_OK;
    if (below_host) {
        snprintf(name, sizeof name, "%.32s", buses ? buses : "host bridge");
    } else {
        status = identity_read(file, object, &node.pci, &class_id);
        if (status) return status;
        pci_address_write(&node.pci, name);
        node.model = hwloc_info(object, "PCIDevice");
    }
    *index = topology_add_node(file->topology, &node);
    if (file->topology->failed) return hwloc_no_memory(file);
    if (below_host || file->topology->nodes[parent].kind != NODE_PCI_BRIDGE)
        status = host_link_add(file, object, parent, *index, LINK_MEMORY, LINK_PCI);
    else
        status = pci_link_add(file, object, parent, *index);
    return status ? status : hwloc_register(file, object, *index);
}

/* "16671616KiB", in version 2 without the unit. */
static uint64_t kibibytes_read(const char *text)
{
    size_t digits = text ? strspn(text, "0123456789") : 0;
    uint64_t kib;
    if (digits == 0 || !span_unsigned((struct span){text, digits}, UINT64_MAX >> 10, &kib)) return 0;
    return text[digits] == '\0' || strcmp(text + digits, "KiB") == 0 ? kib << 10 : 0;
}

/* What the GPU's or NIC's own drivers say, in the objects that hang on it. */
static void details_read(struct hwloc_file *file, const struct xml_element *object, struct topology_node *node)
{
    const struct xml_element *verbs = os_device_find(file, object, DEVICE_OPENFABRICS),
                             *network = os_device_find(file, object, DEVICE_NETWORK);
    node->model = hwloc_info(object, "PCIDevice");
    if (node->kind == NODE_NIC) {
        if (network || verbs) node->name = xml_attribute(network ? network : verbs, "name");
        if (verbs) node->verbs_device = xml_attribute(verbs, "name");
    }
    for (const struct xml_element *child = object->first; child && node->kind == NODE_GPU; child = child->next) {
        const char *model = hwloc_info(child, "GPUModel"), *memory = hwloc_info(child, "CUDAGlobalMemorySize");
        if (model) node->model = model;
        if (memory) node->bytes = kibibytes_read(memory);
    }
}

/* Everything that hangs on a function is part of it. */
static weft_status parts_register(struct hwloc_file *file, const struct xml_element *object, uint32_t node)
{
    weft_status status = hwloc_register(file, object, node);
    for (const struct xml_element *child = object->first; child && !status; child = child->next)
        if (hwloc_type_is(child, "OSDev")) status = parts_register(file, child, node);
    return status;
}

static weft_status device_add(struct hwloc_file *file, const struct xml_element *object, uint32_t parent)
{
    char address[24];
    struct topology_node node = {.parent = parent, .os_index = TOPOLOGY_NONE};
    weft_status status = device_kind(file, object, &node.pci, &node.kind);
    if (status || node.kind == NODE_KIND_COUNT) return status;
    pci_address_write(&node.pci, address);
    node.name = address;
    details_read(file, object, &node);
    uint32_t index = topology_add_node(file->topology, &node);
    if (file->topology->failed) return hwloc_no_memory(file);
    if (file->topology->nodes[parent].kind == NODE_PCI_BRIDGE)
        status = pci_link_add(file, object, parent, index);
    else
        status = host_link_add(file, object, parent, index, LINK_ATTACHED, LINK_ATTACHED);
    return status ? status : parts_register(file, object, index);
}

static weft_status bare_device_add(struct hwloc_file *file, const struct xml_element *object, uint32_t parent)
{
    bool is_verbs = os_device_is(file, object, DEVICE_OPENFABRICS);
    struct topology_node node = {.kind = bare_kind(file, object),
                                 .parent = parent,
                                 .name = xml_attribute(object, "name"),
                                 .os_index = TOPOLOGY_NONE,
                                 .model = hwloc_info(object, "GPUModel")};
    if (node.kind == NODE_KIND_COUNT) return WEFT_OK;
    if (is_verbs) node.verbs_device = node.name;
    uint32_t index = topology_add_node(file->topology, &node);
    if (file->topology->failed) return hwloc_no_memory(file);
    weft_status status = host_link_add(file, object, parent, index, LINK_ATTACHED, LINK_ATTACHED);
    return status ? status : hwloc_register(file, object, index);
}

static weft_status device_read(struct hwloc_file *file, const struct xml_element *object, uint32_t parent)
{
    bool leads;
    weft_status status = leads_to_one(file, object, &leads);
    if (status || !leads) return status;
    if (hwloc_type_is(object, "PCIDev")) return device_add(file, object, parent);
    if (hwloc_type_is(object, "OSDev")) return bare_device_add(file, object, parent);
    uint32_t index = parent;
    status = bridge_add(file, object, parent, &index);
    for (const struct xml_element *child = object->first; child && !status; child = child->next)
        if (xml_is(child, "object")) status = device_read(file, child, index);
    return status;
}

static bool is_device(const struct xml_element *object)
{
    return hwloc_type_is(object, "Bridge") || hwloc_type_is(object, "PCIDev") || hwloc_type_is(object, "OSDev");
}

weft_status hwloc_devices_read(struct hwloc_file *file, const struct xml_element *object, uint32_t place)
{
    weft_status status = WEFT_OK;
    if (hwloc_type_is(object, "Package")) {
        uint64_t number = UINT64_MAX;
        char key[40];
        status = hwloc_unsigned(file, object, "os_index", UINT32_MAX, &number);
        snprintf(key, sizeof key, "Package %llu", (unsigned long long)number);
        uint32_t package = name_table_find(&file->places, (struct span){key, strlen(key)});
        if (package != TOPOLOGY_NONE) place = package;
    }
    for (const struct xml_element *child = object->first; child && !status; child = child->next)
        if (is_device(child)) status = device_read(file, child, place);
    for (const struct xml_element *child = object->first; child && !status; child = child->next)
        if (xml_is(child, "object") && !is_device(child)) status = hwloc_devices_read(file, child, place);
    return status;
}
