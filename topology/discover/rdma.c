/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RDMA devices as the kernel's InfiniBand core shows them in /sys/class/infiniband, whatever drives them. hwloc knows
 * those that hang on a PCI function; soft-RoCE and others belong to the NIC whose interface they use.
 */
#include "topology/model/rdma.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "topology/discover/discover_internal.h"

/*
 * A port may have a table of 1,024 addresses, of which the kernel fills the first free ones: after so many unused
 * entries in a row nothing is expected any more.
 */
enum { TEXT_BYTES = 64, REASON_BYTES = 160, UNUSED_GIDS_MAX = 64 };

/* A device while it is read; what its ports point to lives here until topology_set_rdma() has copied it. */
struct reading {
    const struct rdma_source *source;
    char path[300]; /* of the device */
    const char *name;
    char firmware[TEXT_BYTES];
    const char *host_reason; /* why no port of the device can be used, or NULL */
    struct rdma_port *ports;
    struct port_texts {
        char state[TEXT_BYTES], physical_state[TEXT_BYTES], not_used[REASON_BYTES];
        char (*interfaces)[TEXT_BYTES]; /* of the GIDs, in their order */
        struct rdma_gid *gids;
    } * texts;
    uint32_t port_count;
};

static int names_compare(const struct dirent **one, const struct dirent **other)
{
    return strverscmp((*one)->d_name, (*other)->d_name);
}

static int name_is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* The entries of a folder, sorted by the numbers in them; the count, 0 when there is none. entries_free() frees. */
static int entries_of(const char *path, struct dirent ***entries)
{
    int count = scandir(path, entries, name_is_visible, names_compare);
    if (count < 0) *entries = NULL;
    return count < 0 ? 0 : count;
}

static void entries_free(struct dirent **entries, int count)
{
    for (int i = 0; i < count; i++) free(entries[i]);
    free(entries);
}

/* "4: ACTIVE" is ACTIVE. */
static void state_read(char state[TEXT_BYTES], const char *device, uint32_t port, const char *file)
{
    char line[TEXT_BYTES];
    state[0] = '\0';
    if (!sysfs_line(line, sizeof line, "%s/ports/%u/%s", device, port, file)) return;
    const char *colon = strstr(line, ": ");
    snprintf(state, TEXT_BYTES, "%s", colon ? colon + 2 : line);
}

static enum rdma_link_layer link_layer_read(const char *device, uint32_t port)
{
    char line[TEXT_BYTES];
    if (!sysfs_line(line, sizeof line, "%s/ports/%u/link_layer", device, port)) return RDMA_LINK_UNKNOWN;
    if (!strcmp(line, "Ethernet")) return RDMA_LINK_ETHERNET;
    return strcmp(line, "InfiniBand") ? RDMA_LINK_UNKNOWN : RDMA_LINK_INFINIBAND;
}

/* "fe80:0000:...": eight groups of four digits. False for anything else, and for the zeros of an unused entry. */
static bool gid_parse(const char *line, uint8_t gid[16])
{
    unsigned groups[8];
    int used = 0;
    if (sscanf(line, "%4x:%4x:%4x:%4x:%4x:%4x:%4x:%4x%n", &groups[0], &groups[1], &groups[2], &groups[3], &groups[4],
               &groups[5], &groups[6], &groups[7], &used) != 8 ||
        line[used])
        return false;
    unsigned any = 0;
    for (int i = 0; i < 8; i++) {
        gid[2 * i] = (uint8_t)(groups[i] >> 8);
        gid[2 * i + 1] = (uint8_t)groups[i];
        any |= groups[i];
    }
    return any != 0;
}

/* The interface of an InfiniBand port (IPoIB), which the address table does not name. */
static void ipoib_interface_read(const char *device, uint32_t port, char interface[TEXT_BYTES])
{
    char path[400], line[TEXT_BYTES];
    struct dirent **entries;
    snprintf(path, sizeof path, "%s/device/net", device);
    int count = entries_of(path, &entries);
    for (int i = 0; i < count; i++)
        if (!interface[0] && sysfs_line(line, sizeof line, "%s/%s/dev_port", path, entries[i]->d_name) &&
            strtoul(line, NULL, 10) + 1 == port)
            snprintf(interface, TEXT_BYTES, "%.63s", entries[i]->d_name);
    entries_free(entries, count);
}

/* Reads one entry of the address table; false where it is unused. */
static bool gid_read(const struct reading *reading, const struct rdma_port *port, const char *index,
                     struct rdma_gid *gid, char interface[TEXT_BYTES])
{
    char line[TEXT_BYTES];
    if (!sysfs_line(line, sizeof line, "%s/ports/%u/gids/%s", reading->path, port->number, index) ||
        !gid_parse(line, gid->bytes))
        return false;
    gid->index = (uint32_t)strtoul(index, NULL, 10);
    gid->type = port->link_layer == RDMA_LINK_ETHERNET ? RDMA_GID_ROCE_V1 : RDMA_GID_INFINIBAND;
    if (sysfs_line(line, sizeof line, "%s/ports/%u/gid_attrs/types/%s", reading->path, port->number, index) &&
        !strcmp(line, "RoCE v2"))
        gid->type = RDMA_GID_ROCE_V2;
    interface[0] = '\0';
    sysfs_line(interface, TEXT_BYTES, "%s/ports/%u/gid_attrs/ndevs/%s", reading->path, port->number, index);
    if (!interface[0] && port->link_layer == RDMA_LINK_INFINIBAND)
        ipoib_interface_read(reading->path, port->number, interface);
    gid->interface = interface[0] ? interface : NULL;
    return true;
}

static bool gids_read(const struct reading *reading, struct rdma_port *port, struct port_texts *texts)
{
    char path[400];
    struct dirent **entries;
    snprintf(path, sizeof path, "%s/ports/%u/gids", reading->path, port->number);
    int count = entries_of(path, &entries);
    texts->gids = calloc((size_t)count + 1, sizeof *texts->gids);
    texts->interfaces = calloc((size_t)count + 1, sizeof *texts->interfaces);
    bool enough = texts->gids && texts->interfaces;
    for (int i = 0, unused = 0; i < count && enough && unused < UNUSED_GIDS_MAX; i++) {
        bool used = gid_read(reading, port, entries[i]->d_name, &texts->gids[port->gid_count],
                             texts->interfaces[port->gid_count]);
        port->gid_count += used;
        unused = used ? 0 : unused + 1;
    }
    port->gids = texts->gids;
    entries_free(entries, count);
    return enough;
}

static uint32_t mtu_read(const struct reading *reading, const struct rdma_port *port)
{
    char line[TEXT_BYTES];
    for (uint32_t i = 0; i < port->gid_count; i++)
        if (port->gids[i].interface &&
            sysfs_line(line, sizeof line, "%s/class/net/%s/mtu", reading->source->sysfs, port->gids[i].interface))
            return (uint32_t)strtoul(line, NULL, 10);
    return 0;
}

static bool has_roce_v2(const struct rdma_port *port)
{
    for (uint32_t i = 0; i < port->gid_count; i++)
        if (port->gids[i].type == RDMA_GID_ROCE_V2) return true;
    return false;
}

/* Why weft leaves @p port alone; "" if it may be used. What a person decided comes first, then what is the matter. */
static void reason_say(const struct reading *reading, const struct rdma_port *port, char reason[REASON_BYTES])
{
    const char *filter = reading->source->filter;
    reason[0] = '\0';
    if (rdma_filter_check(filter, NULL))
        snprintf(reason, REASON_BYTES, "WEFT_VERBS_DEVICES cannot be read: \"%.80s\"", filter);
    else if (!rdma_filter_allows(filter, reading->name, port->number))
        snprintf(reason, REASON_BYTES, "WEFT_VERBS_DEVICES leaves it out: \"%.80s\"", filter);
    else if (reading->host_reason)
        snprintf(reason, REASON_BYTES, "%s", reading->host_reason);
    else if (strcmp(port->state ? port->state : "", "ACTIVE") != 0)
        snprintf(reason, REASON_BYTES, "the port is %s%s%s%s", port->state ? port->state : "in an unknown state",
                 port->physical_state ? " (" : "", port->physical_state ? port->physical_state : "",
                 port->physical_state ? ")" : "");
    else if (port->link_layer == RDMA_LINK_UNKNOWN)
        snprintf(reason, REASON_BYTES, "it is neither InfiniBand nor Ethernet");
    else if (port->link_layer == RDMA_LINK_ETHERNET && !has_roce_v2(port))
        snprintf(reason, REASON_BYTES, "it has no RoCE v2 GID; its network interface needs an IP address");
    else if (port->gid_count == 0)
        snprintf(reason, REASON_BYTES, "it has no GID");
}

static bool port_read(struct reading *reading, uint32_t number)
{
    struct rdma_port *port = &reading->ports[reading->port_count];
    struct port_texts *texts = &reading->texts[reading->port_count++];
    port->number = number;
    port->link_layer = link_layer_read(reading->path, number);
    state_read(texts->state, reading->path, number, "state");
    state_read(texts->physical_state, reading->path, number, "phys_state");
    if (texts->state[0]) port->state = texts->state;
    if (texts->physical_state[0]) port->physical_state = texts->physical_state;
    port->bandwidth = sysfs_verbs_bandwidth(reading->source->sysfs, reading->name, number);
    if (!gids_read(reading, port, texts)) return false;
    port->interface_mtu_bytes = mtu_read(reading, port);
    reason_say(reading, port, texts->not_used);
    if (texts->not_used[0]) port->not_used = texts->not_used;
    return true;
}

static bool ports_read(struct reading *reading)
{
    char path[400];
    struct dirent **entries;
    snprintf(path, sizeof path, "%s/ports", reading->path);
    int count = entries_of(path, &entries);
    reading->ports = calloc((size_t)count + 1, sizeof *reading->ports);
    reading->texts = calloc((size_t)count + 1, sizeof *reading->texts);
    bool enough = reading->ports && reading->texts;
    for (int i = 0; i < count && enough; i++) {
        unsigned long number = strtoul(entries[i]->d_name, NULL, 10);
        if (number >= 1 && number <= 255) enough = port_read(reading, (uint32_t)number);
    }
    entries_free(entries, count);
    return enough;
}

static void reading_free(struct reading *reading)
{
    for (uint32_t i = 0; i < reading->port_count; i++) {
        free(reading->texts[i].gids);
        free(reading->texts[i].interfaces);
    }
    free(reading->texts);
    free(reading->ports);
}

/* "5054:00ff:fe88:0000" */
static uint64_t guid_read(const char *device)
{
    char line[TEXT_BYTES];
    unsigned groups[4];
    if (!sysfs_line(line, sizeof line, "%s/node_guid", device) ||
        sscanf(line, "%4x:%4x:%4x:%4x", &groups[0], &groups[1], &groups[2], &groups[3]) != 4)
        return 0;
    return (uint64_t)groups[0] << 48 | (uint64_t)groups[1] << 32 | (uint64_t)groups[2] << 16 | groups[3];
}

static uint32_t numa_node_read(const char *device)
{
    char line[TEXT_BYTES];
    if (!sysfs_line(line, sizeof line, "%s/device/numa_node", device)) return TOPOLOGY_NONE;
    long number = strtol(line, NULL, 10);
    return number < 0 || number > INT32_MAX ? TOPOLOGY_NONE : (uint32_t)number;
}

/*
 * A program reaches a device through two character devices. Without ib_uverbs or rdma_ucm the kernel has none, and a
 * container may have been given the device's files in /sys without them.
 */
static const char *host_reason(const struct rdma_source *source, const char *name, char text[REASON_BYTES])
{
    char path[400], line[TEXT_BYTES];
    struct dirent **entries;
    snprintf(path, sizeof path, "%s/class/infiniband_verbs", source->sysfs);
    int count = entries_of(path, &entries);
    snprintf(text, REASON_BYTES, "the kernel offers it to no program; is the module ib_uverbs loaded?");
    for (int i = 0; i < count; i++) {
        if (!sysfs_line(line, sizeof line, "%s/%s/ibdev", path, entries[i]->d_name) || strcmp(line, name)) continue;
        snprintf(path, sizeof path, "%s/infiniband/%s", source->devices, entries[i]->d_name);
        bool there = access(path, R_OK | W_OK) == 0;
        snprintf(text, REASON_BYTES, "%s", there ? "" : "this process may not open ");
        if (!there) strncat(text, path, REASON_BYTES - strlen(text) - 1);
        break;
    }
    entries_free(entries, count);
    if (text[0]) return text;
    snprintf(path, sizeof path, "%s/infiniband/rdma_cm", source->devices);
    if (access(path, R_OK | W_OK) == 0) return NULL;
    snprintf(text, REASON_BYTES, "this process may not open %.80s; is the module rdma_ucm loaded?", path);
    return text;
}

/* The NIC that has device @p name: hwloc said so, or the device says which interface it uses, or an address does. */
static uint32_t nic_find(const weft_topology *topology, const struct reading *reading)
{
    char interface[TEXT_BYTES] = "";
    for (uint32_t i = 0; i < topology->node_count; i++)
        if (topology->nodes[i].verbs_device && !strcmp(topology->nodes[i].verbs_device, reading->name)) return i;
    sysfs_line(interface, sizeof interface, "%s/parent", reading->path);
    for (uint32_t i = 0; i < reading->port_count && !interface[0]; i++)
        for (uint32_t j = 0; j < reading->ports[i].gid_count && !interface[0]; j++)
            if (reading->ports[i].gids[j].interface)
                snprintf(interface, sizeof interface, "%s", reading->ports[i].gids[j].interface);
    for (uint32_t i = 0; i < topology->node_count; i++)
        if (topology->nodes[i].kind == NODE_NIC && !topology->nodes[i].verbs_device &&
            !strcmp(topology->nodes[i].name, interface))
            return i;
    return TOPOLOGY_NONE;
}

/* A device that belongs to no NIC we know hangs on the host. */
static uint32_t nic_add(weft_topology *topology, uint32_t host, const char *name)
{
    struct topology_node node = {.kind = NODE_NIC, .parent = host, .name = name, .os_index = TOPOLOGY_NONE};
    uint32_t index = topology_add_node(topology, &node);
    struct topology_link link = {.kind = LINK_ATTACHED, .from = host, .to = index};
    topology_add_link(topology, &link);
    return index;
}

static void device_read(weft_topology *topology, uint32_t host, const struct rdma_source *source, const char *name)
{
    char reason[REASON_BYTES];
    struct reading reading = {.source = source, .name = name};
    snprintf(reading.path, sizeof reading.path, "%s/class/infiniband/%s", source->sysfs, name);
    struct rdma_device rdma = {.node_guid = guid_read(reading.path), .numa_node = numa_node_read(reading.path)};
    if (sysfs_line(reading.firmware, sizeof reading.firmware, "%s/fw_ver", reading.path) && reading.firmware[0])
        rdma.firmware = reading.firmware;
    reading.host_reason = host_reason(source, name, reason);
    if (ports_read(&reading)) {
        rdma.ports = reading.ports;
        rdma.port_count = reading.port_count;
        uint32_t nic = nic_find(topology, &reading);
        if (nic == TOPOLOGY_NONE) nic = nic_add(topology, host, name);
        topology_set_rdma(topology, nic, name, &rdma);
        if (nic != TOPOLOGY_NONE && rdma.port_count && topology->nodes[nic].port_bandwidth.source == FIGURE_UNKNOWN)
            topology->nodes[nic].port_bandwidth = rdma.ports[0].bandwidth;
    } else {
        topology->failed = true;
    }
    reading_free(&reading);
}

void rdma_devices_add(weft_topology *topology, uint32_t host, const struct rdma_source *source)
{
    char path[300];
    struct dirent **entries;
    snprintf(path, sizeof path, "%s/class/infiniband", source->sysfs);
    int count = entries_of(path, &entries);
    for (int i = 0; i < count && !topology->failed; i++) device_read(topology, host, source, entries[i]->d_name);
    entries_free(entries, count);
}
