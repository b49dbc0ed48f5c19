/* SPDX-License-Identifier: Apache-2.0 */
/* The PCI tree of a cpu element: bridges, GPUs and NICs with the links above them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/format/nccl.h"
#include "topology/format/pci.h"

/*
 * "16 GT/s", "16.0 GT/s PCIe"; empty in virtual machines, and "Unknown" where the kernel does not know. A width of 0,
 * also from virtual machines, means 16, as NCCL takes it.
 */
static weft_status uplink_read(struct nccl *nccl, const struct xml_element *element, struct topology_link *link,
                               char name[24])
{
    uint64_t width = 0;
    weft_status status = nccl_unsigned(nccl, element, "link_width", UINT32_MAX, &width);
    if (status) return status;
    if (width == 0) width = 16;
    const char *speed = xml_attribute(element, "link_speed");
    if (!speed) return WEFT_OK;
    struct span rest = {speed, strlen(speed)}, word;
    double rate;
    struct figure bandwidth;
    bool known = span_word(&rest, &word) && span_number(word, &rate) && span_word(&rest, &word) &&
                 span_equal(word, "GT/s") && width <= 32 && pci_link_describe(rate, (uint32_t)width, name, &bandwidth);
    if (!known) {
        topology_note(nccl->topology,
                      "line %u: '%.40s' x%llu is no speed and width of a PCI link, and taken as unknown",
                      element->place.line, speed, (unsigned long long)width);
        return WEFT_OK;
    }
    link->name = name;
    link->bandwidth = link->reverse_bandwidth = bandwidth;
    return WEFT_OK;
}

static weft_status identity_read(struct nccl *nccl, const struct xml_element *element, struct pci_identity *pci)
{
    const char *address = xml_attribute(element, "busid");
    if (!address) return nccl_error(nccl, element, "a pci element without a busid; expected one such as 0000:17:00.0");
    if (!pci_address_read((struct span){address, strlen(address)}, pci))
        return nccl_error(nccl, element, "busid is '%.40s'; expected an address such as 0000:17:00.0", address);
    uint64_t vendor = 0, device = 0, class_code = 0;
    weft_status status = nccl_unsigned(nccl, element, "vendor", UINT16_MAX, &vendor);
    if (!status) status = nccl_unsigned(nccl, element, "device", UINT16_MAX, &device);
    if (!status) status = nccl_unsigned(nccl, element, "class", 0xffffff, &class_code);
    if (vendor != UINT16_MAX) { /* all ones is no device, and stands for "whatever is there" */
        pci->vendor_id = (uint16_t)vendor;
        pci->device_id = (uint16_t)device;
    }
    pci->class_code = (uint32_t)class_code;
    return status;
}

static const struct xml_element *child_find(const struct xml_element *element, const char *name)
{
    const struct xml_element *child = element->first;
    while (child && !xml_is(child, name)) child = child->next;
    return child;
}

/* Add a device and the link that leads up from it. */
static weft_status device_add(struct nccl *nccl, struct topology_node *node, const struct topology_link *uplink,
                              uint32_t *index)
{
    weft_status status = nccl_node_add(nccl, node, index);
    if (status) return status;
    struct topology_link link = *uplink;
    link.from = *index;
    link.to = node->parent;
    topology_add_link(nccl->topology, &link);
    return WEFT_OK;
}

/* RCCL says which architecture in gcn, and in sm how many compute units; NCCL says the compute capability in sm. */
static weft_status gpu_read(struct nccl *nccl, const struct xml_element *gpu, struct topology_node *node,
                            const struct topology_link *uplink, uint32_t package)
{
    char architecture[40] = "";
    uint64_t device = TOPOLOGY_NONE, rank = UINT64_MAX, capability = 0;
    const char *gcn = xml_attribute(gpu, "gcn"), *rank_text = xml_attribute(gpu, "rank");
    weft_status status = nccl_unsigned(nccl, gpu, "dev", UINT32_MAX - 2, &device);
    if (!status && rank_text && strcmp(rank_text, "-1") != 0)
        status = nccl_unsigned(nccl, gpu, "rank", UINT32_MAX, &rank);
    if (!status && !gcn) status = nccl_unsigned(nccl, gpu, "sm", 9999, &capability);
    if (status) return status;
    if (gcn && strcmp(gcn, "910") == 0) /* how RCCL counts gfx90a */
        snprintf(architecture, sizeof architecture, "gfx90a");
    else if (gcn)
        snprintf(architecture, sizeof architecture, "%s%.24s", strncmp(gcn, "gfx", 3) == 0 ? "" : "gfx", gcn);
    else if (capability)
        snprintf(architecture, sizeof architecture, "sm_%u", (uint32_t)capability);
    node->architecture = architecture[0] ? architecture : NULL;
    node->os_index = (uint32_t)device;
    node->has_rank = rank <= UINT32_MAX;
    node->rank = node->has_rank ? (uint32_t)rank : 0;
    uint32_t index;
    status = device_add(nccl, node, uplink, &index);
    if (status) return status;
    if (nccl->gpu_count == nccl->gpu_capacity) {
        uint32_t wanted = nccl->gpu_capacity ? nccl->gpu_capacity * 2 : 16;
        struct nccl_gpu *larger = reallocarray(nccl->gpus, wanted, sizeof *larger);
        if (!larger) return nccl_no_memory(nccl);
        nccl->gpus = larger;
        nccl->gpu_capacity = wanted;
    }
    nccl->gpus[nccl->gpu_count++] = (struct nccl_gpu){gpu, index, package};
    return WEFT_OK;
}

/* Megabits per second; -1 is unknown, and so is what no port has, as of adapters that state bits for megabits. */
static weft_status port_read(struct nccl *nccl, const struct xml_element *net, struct topology_node *node)
{
    const uint64_t credible_mbps = 10000000;
    const char *speed = xml_attribute(net, "speed"), *latency = xml_attribute(net, "latency");
    uint64_t mbps = 0;
    double us;
    if (speed && speed[0] != '-') {
        weft_status status = nccl_unsigned(nccl, net, "speed", UINT64_MAX, &mbps);
        if (status) return status;
    }
    if (mbps > credible_mbps)
        topology_note(nccl->topology, "line %u: %.40s has a speed of %llu Mb/s, which is taken as unknown",
                      net->place.line, node->name, (unsigned long long)mbps);
    else if (mbps > 0)
        node->port_bandwidth = (struct figure){(double)mbps * 125e3, FIGURE_FILE};
    if (!latency) return WEFT_OK;
    if (!span_number((struct span){latency, strlen(latency)}, &us) || us < 0)
        return nccl_error(nccl, net, "latency is '%.40s'; expected microseconds", latency);
    if (us > 0) node->port_latency = (struct figure){us / 1e6, FIGURE_FILE};
    return WEFT_OK;
}

/* Adapters of verbs count their ports from 1; sockets have none. libfabric's Slingshot provider counts, too. */
static weft_status verbs_device_read(struct nccl *nccl, const struct xml_element *net, struct topology_node *node)
{
    uint64_t number = 0;
    weft_status status = nccl_unsigned(nccl, net, "port", UINT32_MAX, &number);
    const char *name = xml_attribute(net, "name");
    if (!status && number > 0 && name && strncmp(name, "cxi", 3) != 0) node->verbs_device = name;
    return status;
}

/* A NIC for each net of a nic element, since each is a way out of the host with a speed of its own. */
static weft_status nets_read(struct nccl *nccl, const struct xml_element *nic, struct topology_node *node,
                             const struct topology_link *uplink, uint32_t *net_count)
{
    weft_status status = WEFT_OK;
    for (const struct xml_element *net = nic->first; net && !status; net = net->next) {
        if (!xml_is(net, "net")) continue; /* gin and rma: other ways to drive the same ports */
        const char *fused = xml_attribute(net, "net"), *name = xml_attribute(net, "name");
        if (fused && strcmp(fused, "0") == 0) {
            topology_note(nccl->topology, "line %u: %.40s is part of another net, and left out", net->place.line,
                          name ? name : "a net");
            continue;
        }
        struct topology_node copy = *node;
        uint64_t device = TOPOLOGY_NONE;
        uint32_t index;
        char unnamed[24] = "net";
        status = nccl_unsigned(nccl, net, "dev", UINT32_MAX - 2, &device);
        if (!status) status = nccl_unsigned(nccl, net, "guid", UINT64_MAX, &copy.guid);
        if (device != TOPOLOGY_NONE) snprintf(unnamed, sizeof unnamed, "net%u", (uint32_t)device);
        copy.os_index = (uint32_t)device;
        copy.name = name ? name : unnamed;
        if (!status) status = port_read(nccl, net, &copy);
        if (!status) status = verbs_device_read(nccl, net, &copy);
        if (!status) status = device_add(nccl, &copy, uplink, &index);
        ++*net_count;
    }
    return status;
}

static weft_status pci_read(struct nccl *nccl, const struct xml_element *element, uint32_t parent, uint32_t package)
{
    char name[24], speed[24];
    struct topology_node node = {.parent = parent, .name = name, .os_index = TOPOLOGY_NONE};
    struct topology_link uplink = {.kind = LINK_PCI};
    weft_status status = identity_read(nccl, element, &node.pci);
    if (!status) status = uplink_read(nccl, element, &uplink, speed);
    if (status) return status;
    pci_address_write(&node.pci, name);
    const struct xml_element *gpu = child_find(element, "gpu"), *nic = child_find(element, "nic");
    /* What a device contains says best what it is; a minimal file leaves out even the class. */
    node.kind = gpu ? NODE_GPU : nic ? NODE_NIC : child_find(element, "pci") ? NODE_PCI_BRIDGE : NODE_PCI_DEVICE;
    if (node.kind == NODE_PCI_DEVICE && node.pci.class_code) node.kind = pci_class_kind(node.pci.class_code);
    uint32_t index, net_count = 0;
    if (gpu) {
        for (; gpu && !status; gpu = gpu->next)
            if (xml_is(gpu, "gpu")) status = gpu_read(nccl, gpu, &node, &uplink, package);
        index = nccl->gpu_count ? nccl->gpus[nccl->gpu_count - 1].node : TOPOLOGY_NONE;
    } else {
        if (nic) status = nets_read(nccl, nic, &node, &uplink, &net_count);
        if (!status && net_count > 0) return WEFT_OK;
        if (!status) status = device_add(nccl, &node, &uplink, &index);
    }
    if (status) return status;
    uint32_t host = topology_host_of(nccl->topology, parent);
    uint32_t *known = name_table_at(&nccl->devices, nccl_key(nccl, host, "bus", xml_attribute(element, "busid")));
    if (!known) return nccl_no_memory(nccl);
    *known = *known == TOPOLOGY_NONE ? index : SEVERAL_DEVICES;
    if (node.kind == NODE_PCI_BRIDGE) return nccl_devices_read(nccl, element, index, package);
    return WEFT_OK;
}

weft_status nccl_devices_read(struct nccl *nccl, const struct xml_element *element, uint32_t parent, uint32_t package)
{
    weft_status status = WEFT_OK;
    for (const struct xml_element *child = element->first; child && !status; child = child->next) {
        if (xml_is(child, "pci")) {
            status = pci_read(nccl, child, parent, package);
        } else if (xml_is(child, "nic")) { /* its bus cannot be seen */
            struct topology_node node = {.kind = NODE_NIC, .parent = parent};
            const struct topology_link uplink = {.kind = LINK_ATTACHED};
            uint32_t net_count = 0;
            status = nets_read(nccl, child, &node, &uplink, &net_count);
        } else {
            topology_note(nccl->topology, "line %u: the element %.40s is left out", child->place.line, child->name);
        }
    }
    return status;
}
