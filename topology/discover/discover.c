/* SPDX-License-Identifier: Apache-2.0 */
/* One walk over hwloc's objects: memory first, then processors, then devices, so that every link finds its ends. */
#include "topology/discover/discover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/log.h"
#include "topology/discover/discover_internal.h"

/* "3" in a buffer of the caller's. */
static const char *number_name(char name[16], uint32_t number)
{
    snprintf(name, 16, "%u", number);
    return name;
}

/* The operating system's number where it has one, which is what people know from other tools. */
static uint32_t number_of(hwloc_obj_t object)
{
    return object->os_index == HWLOC_UNKNOWN_INDEX ? object->logical_index : object->os_index;
}

/* @p parent, or the nearest node above it that may contain @p kind. The host may contain everything. */
static uint32_t place_for(const struct discovery *discovery, uint32_t parent, enum node_kind kind)
{
    const struct topology_node *nodes = discovery->topology->nodes;
    while (!topology_may_contain(nodes[parent].kind, kind)) parent = nodes[parent].parent;
    return parent;
}

static uint32_t package_add(struct discovery *discovery, hwloc_obj_t object, uint32_t parent)
{
    char name[16];
    struct topology_node node = {.kind = NODE_PACKAGE,
                                 .parent = place_for(discovery, parent, NODE_PACKAGE),
                                 .name = number_name(name, number_of(object)),
                                 .model = hwloc_obj_get_info_by_name(object, "CPUModel"),
                                 .os_index = number_of(object)};
    uint32_t index = topology_add_node(discovery->topology, &node);
    discovery->packages[object->logical_index] = index;
    return index == TOPOLOGY_NONE ? parent : index;
}

static void memory_link_add(struct discovery *discovery, uint32_t numa, uint32_t reader)
{
    struct topology_link link = {.kind = LINK_MEMORY, .from = reader, .to = numa};
    topology_add_link(discovery->topology, &link);
}

static void numa_add(struct discovery *discovery, hwloc_obj_t object, uint32_t parent)
{
    char name[16];
    struct topology_node node = {.kind = NODE_NUMA,
                                 .parent = place_for(discovery, parent, NODE_NUMA),
                                 .name = number_name(name, number_of(object)),
                                 .os_index = number_of(object),
                                 .bytes = object->attr->numanode.local_memory};
    uint32_t index = topology_add_node(discovery->topology, &node);
    if (index == TOPOLOGY_NONE) return;
    discovery->numa_nodes[object->logical_index] = index;
    memory_link_add(discovery, index, node.parent);
}

/* Only caches that several cores share say anything about where ranks should sit. */
static bool is_shared_cache(const struct discovery *discovery, hwloc_obj_t object)
{
    return hwloc_obj_type_is_dcache(object->type) &&
           hwloc_get_nbobjs_inside_cpuset_by_type(discovery->hwloc, object->cpuset, HWLOC_OBJ_CORE) > 1;
}

static uint32_t cache_add(struct discovery *discovery, hwloc_obj_t object, uint32_t parent)
{
    /* With the level, since caches of several levels may stand in one place. */
    char name[32];
    snprintf(name, sizeof name, "L%u#%u", object->attr->cache.depth, object->logical_index);
    struct topology_node node = {.kind = NODE_CACHE,
                                 .parent = place_for(discovery, parent, NODE_CACHE),
                                 .name = name,
                                 .os_index = TOPOLOGY_NONE,
                                 .bytes = object->attr->cache.size,
                                 .cache_level = object->attr->cache.depth};
    uint32_t index = topology_add_node(discovery->topology, &node);
    return index == TOPOLOGY_NONE ? parent : index;
}

static uint32_t core_add(struct discovery *discovery, hwloc_obj_t object, uint32_t parent)
{
    char name[16];
    int weight = hwloc_bitmap_weight(object->cpuset);
    uint32_t *cpus = weight > 0 ? calloc((size_t)weight, sizeof *cpus) : NULL;
    if (!cpus) {
        discovery->topology->failed = true;
        return parent;
    }
    uint32_t cpu_count = 0;
    for (int cpu = hwloc_bitmap_first(object->cpuset); cpu >= 0; cpu = hwloc_bitmap_next(object->cpuset, cpu))
        cpus[cpu_count++] = (uint32_t)cpu;
    struct topology_node node = {.kind = NODE_CORE,
                                 .parent = place_for(discovery, parent, NODE_CORE),
                                 .name = number_name(name, object->logical_index),
                                 .os_index = number_of(object),
                                 .cpus = cpus,
                                 .cpu_count = cpu_count};
    uint32_t index = topology_add_node(discovery->topology, &node);
    free(cpus);
    return index == TOPOLOGY_NONE ? parent : index;
}

/* Add @p object under @p parent; returns the node that its children belong under. */
static uint32_t object_add(struct discovery *discovery, hwloc_obj_t object, uint32_t parent)
{
    switch (object->type) {
    case HWLOC_OBJ_PACKAGE:
        return package_add(discovery, object, parent);
    case HWLOC_OBJ_CORE:
        return core_add(discovery, object, parent);
    case HWLOC_OBJ_NUMANODE:
        numa_add(discovery, object, parent);
        return parent;
    case HWLOC_OBJ_PU:
        /* Some virtual machines tell of CPUs but not of cores. */
        return object->parent->type == HWLOC_OBJ_CORE ? parent : core_add(discovery, object, parent);
    default:
        return is_shared_cache(discovery, object) ? cache_add(discovery, object, parent) : parent;
    }
}

static void processors_visit(struct discovery *discovery, hwloc_obj_t object, uint32_t parent)
{
    uint32_t node = object_add(discovery, object, parent);
    for (hwloc_obj_t child = object->memory_first_child; child; child = child->next_sibling)
        processors_visit(discovery, child, node);
    for (hwloc_obj_t child = object->first_child; child; child = child->next_sibling)
        processors_visit(discovery, child, node);
}

static void device_visit(struct discovery *discovery, hwloc_obj_t object, uint32_t parent)
{
    if (!device_leads_to_one(discovery, object)) return;
    uint32_t node = device_add(discovery, object, parent);
    if (object->type == HWLOC_OBJ_PCI_DEVICE) return; /* what hangs on a function is part of it */
    for (hwloc_obj_t child = object->io_first_child; child; child = child->next_sibling)
        device_visit(discovery, child, node);
}

/* hwloc hangs a host bridge on whatever it is near to: a package, something inside one, or the whole machine. */
static uint32_t host_node_near(const struct discovery *discovery, hwloc_obj_t object, uint32_t host)
{
    for (; object; object = object->parent)
        if (object->type == HWLOC_OBJ_PACKAGE && discovery->packages[object->logical_index] != TOPOLOGY_NONE)
            return discovery->packages[object->logical_index];
    return host;
}

static void devices_visit(struct discovery *discovery, hwloc_obj_t object, uint32_t host)
{
    uint32_t place = host_node_near(discovery, object, host);
    for (hwloc_obj_t child = object->io_first_child; child; child = child->next_sibling)
        device_visit(discovery, child, place);
    for (hwloc_obj_t child = object->first_child; child; child = child->next_sibling)
        devices_visit(discovery, child, host);
}

/* Any package reaches any other; over how many hops, and how fast, is not known from here. */
static void interconnect_add(struct discovery *discovery)
{
    for (uint32_t i = 0; i < discovery->package_count; i++) {
        for (uint32_t j = i + 1; j < discovery->package_count; j++) {
            struct topology_link link = {
                .kind = LINK_INTERCONNECT, .from = discovery->packages[i], .to = discovery->packages[j]};
            topology_add_link(discovery->topology, &link);
        }
    }
}

static uint32_t *indices_new(uint32_t count)
{
    uint32_t *indices = calloc((size_t)count + 1, sizeof *indices);
    for (uint32_t i = 0; indices && i < count; i++) indices[i] = TOPOLOGY_NONE;
    return indices;
}

static uint32_t count_of(hwloc_topology_t hwloc, hwloc_obj_type_t type)
{
    int count = hwloc_get_nbobjs_by_type(hwloc, type);
    return count > 0 ? (uint32_t)count : 0; /* -1: in several depths, which neither packages nor NUMA nodes are */
}

weft_status topology_from_hwloc(hwloc_topology_t hwloc, const char *sysfs, const struct nvml_report *nvml,
                                weft_topology **topology, struct diagnostic *diagnostic)
{
    struct discovery discovery = {.hwloc = hwloc, .sysfs = sysfs, .nvml = nvml};
    discovery.package_count = count_of(hwloc, HWLOC_OBJ_PACKAGE);
    discovery.numa_count = count_of(hwloc, HWLOC_OBJ_NUMANODE);
    discovery.packages = indices_new(discovery.package_count);
    discovery.numa_nodes = indices_new(discovery.numa_count);
    discovery.topology = topology_new();
    weft_status status = WEFT_OUT_OF_MEMORY;
    if (!discovery.packages || !discovery.numa_nodes || !discovery.topology) {
        diagnose(diagnostic, status, "no memory to discover a topology");
        goto out;
    }
    hwloc_obj_t machine = hwloc_get_root_obj(hwloc);
    const char *name = hwloc_obj_get_info_by_name(machine, "HostName");
    struct topology_node host_node = {
        .kind = NODE_HOST, .parent = TOPOLOGY_NONE, .name = name ? name : "localhost", .os_index = TOPOLOGY_NONE};
    uint32_t host = topology_add_node(discovery.topology, &host_node);
    if (host != TOPOLOGY_NONE) {
        processors_visit(&discovery, machine, host);
        devices_visit(&discovery, machine, host);
        interconnect_add(&discovery);
        if (nvml) nvml_links_add(discovery.topology, host, nvml);
        struct rdma_source source = {
            .sysfs = sysfs, .devices = "/dev", .filter = sysfs ? config_get()->verbs_devices : NULL};
        if (sysfs) rdma_devices_add(discovery.topology, host, &source);
    }
    status = topology_seal(discovery.topology, diagnostic);
    if (!status) {
        *topology = discovery.topology;
        discovery.topology = NULL;
    }
out:
    weft_topology_destroy(discovery.topology);
    free(discovery.numa_nodes);
    free(discovery.packages);
    return status;
}

bool topology_hwloc_configure(hwloc_topology_t hwloc)
{
    /* Drivers of devices; and libpciaccess, which leaks what it reads, and tells no more than hwloc finds in /sys. */
    static const char *const unwanted[] = {"cuda", "opencl", "levelzero", "gl", "pci"};
    for (size_t i = 0; i < sizeof unwanted / sizeof *unwanted; i++) {
        /* Fails for a part that this hwloc was built without, which is as good. */
        (void)hwloc_topology_set_components(hwloc, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, unwanted[i]);
    }
    /* hwloc counts NVSwitches, which are PCI bridges to no PCI bus, as unimportant: look at every function. */
    return hwloc_topology_set_io_types_filter(hwloc, HWLOC_TYPE_FILTER_KEEP_IMPORTANT) == 0 &&
           hwloc_topology_set_type_filter(hwloc, HWLOC_OBJ_PCI_DEVICE, HWLOC_TYPE_FILTER_KEEP_ALL) == 0;
}

/* Not where nothing on the bus is NVIDIA's: opening its library may start the driver. NULL also when out of memory. */
static struct nvml_report *nvml_ask(hwloc_topology_t hwloc)
{
    if (!device_leads_to_nvidia_gpu(hwloc_get_root_obj(hwloc))) return NULL;
    struct nvml_report *report = malloc(sizeof *report);
    if (!report) return NULL;
    nvml_read(report);
    if (!report->usable) log_info("topology without NVLinks: NVML cannot be used reason \"%s\"", report->reason);
    return report;
}

weft_status weft_topology_discover(weft_topology **topology)
{
    if (!topology) return WEFT_INVALID_ARGUMENT;
    hwloc_topology_t hwloc;
    if (hwloc_topology_init(&hwloc) != 0) return WEFT_OUT_OF_MEMORY;
    weft_status status = WEFT_SYSTEM_ERROR;
    struct diagnostic diagnostic = {0};
    if (!topology_hwloc_configure(hwloc) || hwloc_topology_load(hwloc) != 0) {
        diagnose(&diagnostic, status, "hwloc cannot read this machine: %s", strerror(errno));
    } else {
        bool here = hwloc_topology_is_thissystem(hwloc);
        struct nvml_report *nvml = here ? nvml_ask(hwloc) : NULL;
        status = topology_from_hwloc(hwloc, here ? "/sys" : NULL, nvml, topology, &diagnostic);
        free(nvml);
    }
    hwloc_topology_destroy(hwloc);
    if (status == WEFT_BAD_FORMAT) status = WEFT_SYSTEM_ERROR;
    if (status) log_error("topology discovery status %s reason \"%s\"", weft_status_name(status), diagnostic.text);
    return status;
}
