/* SPDX-License-Identifier: Apache-2.0 */
/* GPUs, NICs, NVSwitches and the PCI bridges above them. */
#include <stdio.h>
#include <string.h>

#include "topology/discover/discover_internal.h"

/* Class codes of the PCI Code and ID Assignment Specification: base class in the upper byte, subclass in the lower. */
enum {
    CLASS_NETWORK = 0x02,
    CLASS_DISPLAY = 0x03,
    CLASS_BRIDGE_OTHER = 0x0680, /* what an NVSwitch calls itself */
    CLASS_INFINIBAND = 0x0c06,
    CLASS_ACCELERATOR = 0x12, /* what AMD's Instinct GPUs call themselves */
};
enum { VENDOR_AMD = 0x1002, VENDOR_NVIDIA = 0x10de };

static hwloc_obj_t os_device_find(hwloc_obj_t object, hwloc_obj_osdev_type_t type)
{
    for (hwloc_obj_t child = object->io_first_child; child; child = child->next_sibling)
        if (child->type == HWLOC_OBJ_OS_DEVICE && child->attr->osdev.type == type && child->name) return child;
    return NULL;
}

static bool is_gpu_coprocessor(hwloc_obj_t os_device)
{
    return os_device && os_device->subtype &&
           (!strcmp(os_device->subtype, "CUDA") || !strcmp(os_device->subtype, "RSMI") ||
            !strcmp(os_device->subtype, "LevelZero"));
}

/* NODE_KIND_COUNT for what does not belong into a topology. */
static enum node_kind function_kind(hwloc_obj_t object)
{
    const struct hwloc_pcidev_attr_s *pci = &object->attr->pcidev;
    uint32_t base_class = pci->class_id >> 8;
    if (pci->class_id == CLASS_BRIDGE_OTHER && pci->vendor_id == VENDOR_NVIDIA) return NODE_NVSWITCH;
    if (is_gpu_coprocessor(os_device_find(object, HWLOC_OBJ_OSDEV_COPROC))) return NODE_GPU;
    if (base_class == CLASS_DISPLAY && !topology_pci_is_frame_buffer(pci->vendor_id)) return NODE_GPU;
    if (base_class == CLASS_ACCELERATOR && pci->vendor_id == VENDOR_AMD) return NODE_GPU;
    if (base_class == CLASS_NETWORK || pci->class_id == CLASS_INFINIBAND) return NODE_NIC;
    if (os_device_find(object, HWLOC_OBJ_OSDEV_OPENFABRICS)) return NODE_NIC;
    return NODE_KIND_COUNT;
}

/* The same of what this process may use: NVML does not list GPUs whose device files a container or cgroup withholds. */
static enum node_kind pci_kind(const struct discovery *discovery, hwloc_obj_t object)
{
    const struct hwloc_pcidev_attr_s *pci = &object->attr->pcidev;
    const struct nvml_report *nvml = discovery->nvml;
    enum node_kind kind = function_kind(object);
    if (kind == NODE_GPU && pci->vendor_id == VENDOR_NVIDIA && nvml && nvml->usable && nvml->lists_all &&
        !nvml_find(nvml, pci->domain, pci->bus, pci->dev))
        return NODE_KIND_COUNT;
    return kind;
}

/* The same for an operating system device that hangs on no PCI function. */
static enum node_kind bare_kind(hwloc_obj_t object)
{
    if (!object->name) return NODE_KIND_COUNT;
    switch (object->attr->osdev.type) {
    case HWLOC_OBJ_OSDEV_NETWORK:
    case HWLOC_OBJ_OSDEV_OPENFABRICS:
        return NODE_NIC;
    case HWLOC_OBJ_OSDEV_COPROC:
        return is_gpu_coprocessor(object) ? NODE_GPU : NODE_KIND_COUNT;
    default:
        return NODE_KIND_COUNT;
    }
}

bool device_leads_to_one(const struct discovery *discovery, hwloc_obj_t object)
{
    if (object->type == HWLOC_OBJ_PCI_DEVICE) return pci_kind(discovery, object) != NODE_KIND_COUNT;
    if (object->type == HWLOC_OBJ_OS_DEVICE) return bare_kind(object) != NODE_KIND_COUNT;
    for (hwloc_obj_t child = object->io_first_child; child; child = child->next_sibling)
        if (device_leads_to_one(discovery, child)) return true;
    return false;
}

bool device_leads_to_nvidia_gpu(hwloc_obj_t object)
{
    if (object->type == HWLOC_OBJ_PCI_DEVICE)
        return object->attr->pcidev.vendor_id == VENDOR_NVIDIA && function_kind(object) == NODE_GPU;
    for (hwloc_obj_t child = object->io_first_child; child; child = child->next_sibling)
        if (device_leads_to_nvidia_gpu(child)) return true;
    for (hwloc_obj_t child = object->first_child; child; child = child->next_sibling)
        if (device_leads_to_nvidia_gpu(child)) return true;
    return false;
}

static struct pci_identity pci_identity_of(const struct hwloc_pcidev_attr_s *pci)
{
    return (struct pci_identity){.present = true,
                                 .domain = pci->domain,
                                 .bus = pci->bus,
                                 .device = pci->dev,
                                 .function = pci->func,
                                 .vendor_id = pci->vendor_id,
                                 .device_id = pci->device_id};
}

static void pci_link_add(struct discovery *discovery, uint32_t parent, uint32_t node, double rate)
{
    struct topology_link link = {.kind = LINK_PCI, .from = parent, .to = node};
    char name[32];
    uint32_t generation, lane_count;
    struct pci_identity pci = discovery->topology->nodes[node].pci;
    if (discovery->sysfs && sysfs_pci_link(discovery->sysfs, &pci, &generation, &lane_count)) {
        snprintf(name, sizeof name, "PCIe %u.0 x%u", generation, lane_count);
        link.name = name;
        link.bandwidth = (struct figure){topology_pci_bandwidth(generation, lane_count), FIGURE_DATASHEET};
    } else if (rate > 0) {
        link.bandwidth = (struct figure){topology_pci_bandwidth_of_rate(rate), FIGURE_DATASHEET};
    }
    link.reverse_bandwidth = link.bandwidth;
    topology_add_link(discovery->topology, &link);
}

/* Join a host bridge, or a device whose bus cannot be seen, with the one memory near it, else with what contains it. */
static void host_link_add(struct discovery *discovery, hwloc_obj_t object, uint32_t parent, uint32_t node,
                          enum link_kind to_memory, enum link_kind to_parent)
{
    struct topology_link link = {.kind = to_parent, .from = parent, .to = node};
    hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(discovery->hwloc, object);
    if (near && near->nodeset && hwloc_bitmap_weight(near->nodeset) == 1) {
        hwloc_obj_t numa =
            hwloc_get_numanode_obj_by_os_index(discovery->hwloc, (unsigned)hwloc_bitmap_first(near->nodeset));
        if (numa && discovery->numa_nodes[numa->logical_index] != TOPOLOGY_NONE) {
            link.kind = to_memory;
            link.from = discovery->numa_nodes[numa->logical_index];
        }
    }
    topology_add_link(discovery->topology, &link);
}

static uint32_t bridge_add(struct discovery *discovery, hwloc_obj_t object, uint32_t parent)
{
    const struct hwloc_bridge_attr_s *bridge = &object->attr->bridge;
    bool below_host = bridge->upstream_type == HWLOC_OBJ_BRIDGE_HOST;
    char name[40];
    struct topology_node node = {.kind = NODE_PCI_BRIDGE, .parent = parent, .name = name, .os_index = TOPOLOGY_NONE};
    if (below_host) {
        snprintf(name, sizeof name, "%04x:[%02x-%02x]", bridge->downstream.pci.domain,
                 bridge->downstream.pci.secondary_bus, bridge->downstream.pci.subordinate_bus);
    } else {
        node.pci = pci_identity_of(&bridge->upstream.pci);
        snprintf(name, sizeof name, "%04x:%02x:%02x.%x", node.pci.domain, node.pci.bus, node.pci.device,
                 node.pci.function);
        node.model = hwloc_obj_get_info_by_name(object, "PCIDevice");
    }
    uint32_t index = topology_add_node(discovery->topology, &node);
    if (index == TOPOLOGY_NONE) return parent;
    if (below_host)
        host_link_add(discovery, object, parent, index, LINK_MEMORY, LINK_PCI);
    else
        pci_link_add(discovery, parent, index, bridge->upstream.pci.linkspeed);
    return index;
}

static struct figure port_bandwidth_of(const struct discovery *discovery, hwloc_obj_t network, hwloc_obj_t verbs)
{
    struct figure figure = {0};
    if (!discovery->sysfs) return figure;
    if (verbs) figure = sysfs_verbs_bandwidth(discovery->sysfs, verbs->name, 1);
    if (network && figure.source == FIGURE_UNKNOWN) figure = sysfs_interface_bandwidth(discovery->sysfs, network->name);
    return figure;
}

static uint32_t pci_device_add(struct discovery *discovery, hwloc_obj_t object, uint32_t parent)
{
    enum node_kind kind = pci_kind(discovery, object);
    if (kind == NODE_KIND_COUNT) return parent;
    char address[32], architecture[16];
    struct topology_node node = {
        .kind = kind, .parent = parent, .os_index = TOPOLOGY_NONE, .pci = pci_identity_of(&object->attr->pcidev)};
    snprintf(address, sizeof address, "%04x:%02x:%02x.%x", node.pci.domain, node.pci.bus, node.pci.device,
             node.pci.function);
    node.name = address;
    node.model = hwloc_obj_get_info_by_name(object, "PCIDevice");
    if (kind == NODE_NIC) {
        hwloc_obj_t network = os_device_find(object, HWLOC_OBJ_OSDEV_NETWORK);
        hwloc_obj_t verbs = os_device_find(object, HWLOC_OBJ_OSDEV_OPENFABRICS);
        if (network)
            node.name = network->name;
        else if (verbs)
            node.name = verbs->name;
        if (verbs) node.verbs_device = verbs->name;
        node.port_bandwidth = port_bandwidth_of(discovery, network, verbs);
    } else if (kind == NODE_GPU) {
        for (hwloc_obj_t child = object->io_first_child; child; child = child->next_sibling) {
            const char *model = hwloc_obj_get_info_by_name(child, "GPUModel");
            if (model) node.model = model;
        }
        const struct nvml_gpu *gpu = nvml_find(discovery->nvml, node.pci.domain, node.pci.bus, node.pci.device);
        if (gpu && gpu->name[0]) node.model = gpu->name;
        if (gpu && gpu->compute_capability) {
            snprintf(architecture, sizeof architecture, "sm_%u", gpu->compute_capability);
            node.architecture = architecture;
        }
    }
    uint32_t index = topology_add_node(discovery->topology, &node);
    if (index == TOPOLOGY_NONE) return parent;
    if (topology_may_contain(NODE_PCI_BRIDGE, kind) && discovery->topology->nodes[parent].kind == NODE_PCI_BRIDGE)
        pci_link_add(discovery, parent, index, object->attr->pcidev.linkspeed);
    else
        host_link_add(discovery, object, parent, index, LINK_ATTACHED, LINK_ATTACHED);
    return index;
}

static uint32_t bare_device_add(struct discovery *discovery, hwloc_obj_t object, uint32_t parent)
{
    enum node_kind kind = bare_kind(object);
    if (kind == NODE_KIND_COUNT) return parent;
    bool verbs = object->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS;
    struct topology_node node = {.kind = kind,
                                 .parent = parent,
                                 .os_index = TOPOLOGY_NONE,
                                 .name = object->name,
                                 .verbs_device = verbs ? object->name : NULL,
                                 .model = hwloc_obj_get_info_by_name(object, "GPUModel")};
    if (kind == NODE_NIC)
        node.port_bandwidth = port_bandwidth_of(discovery, verbs ? NULL : object, verbs ? object : NULL);
    uint32_t index = topology_add_node(discovery->topology, &node);
    if (index == TOPOLOGY_NONE) return parent;
    host_link_add(discovery, object, parent, index, LINK_ATTACHED, LINK_ATTACHED);
    return index;
}

uint32_t device_add(struct discovery *discovery, hwloc_obj_t object, uint32_t parent)
{
    switch (object->type) {
    case HWLOC_OBJ_BRIDGE:
        return bridge_add(discovery, object, parent);
    case HWLOC_OBJ_PCI_DEVICE:
        return pci_device_add(discovery, object, parent);
    case HWLOC_OBJ_OS_DEVICE:
        return bare_device_add(discovery, object, parent);
    default:
        return parent;
    }
}
