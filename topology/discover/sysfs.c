/* SPDX-License-Identifier: Apache-2.0 */
/* The few figures that the kernel tells and hwloc does not keep. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/discover/discover_internal.h"

bool sysfs_line(char *line, size_t size, const char *format, ...)
{
    char path[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(path, sizeof path, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof path) return false;
    FILE *file = fopen(path, "re");
    if (!file) return false;
    bool found = fgets(line, (int)size, file) != NULL;
    fclose(file);
    if (found) line[strcspn(line, "\n")] = '\0';
    return found;
}

/* "16.0 GT/s PCIe" is generation 4; 0 for anything else. */
static uint32_t generation_parse(const char *speed)
{
    static const double transfers_per_lane[] = {0, 2.5, 5, 8, 16, 32, 64}; /* 1e9 a second */
    char *end;
    double rate = strtod(speed, &end);
    if (end == speed || strncmp(end, " GT/s", 5) != 0) return 0;
    for (uint32_t generation = 1; generation <= 6; generation++)
        if (rate == transfers_per_lane[generation]) return generation;
    return 0;
}

bool sysfs_pci_link(const char *sysfs, const struct pci_identity *pci, uint32_t *generation, uint32_t *lane_count)
{
    char device[256], line[64];
    snprintf(device, sizeof device, "%s/bus/pci/devices/%04x:%02x:%02x.%x", sysfs, pci->domain, pci->bus, pci->device,
             pci->function);
    /*
     * The speed is what both ends can do: the current one drops while a device idles. The width is the current one,
     * since a slot may have fewer lanes than either end.
     */
    if (!sysfs_line(line, sizeof line, "%s/max_link_speed", device)) return false;
    uint32_t own = generation_parse(line);
    /* The entry is a link to the device's place in the tree: ".." of it is the port above. */
    if (sysfs_line(line, sizeof line, "%s/../max_link_speed", device)) {
        uint32_t above = generation_parse(line);
        if (above && above < own) own = above;
    }
    if (!sysfs_line(line, sizeof line, "%s/current_link_width", device)) return false;
    unsigned long width = strtoul(line, NULL, 10);
    if (own == 0 || width == 0 || width > 32) return false;
    *generation = own;
    *lane_count = (uint32_t)width;
    return true;
}

struct figure sysfs_interface_bandwidth(const char *sysfs, const char *interface)
{
    char line[64];
    struct figure unknown = {0};
    /* In Mb/s; -1, or an error while the interface is down. */
    if (!sysfs_line(line, sizeof line, "%s/class/net/%s/speed", sysfs, interface)) return unknown;
    double megabits = strtod(line, NULL);
    if (!(megabits > 0) || megabits > 1e9) return unknown;
    return (struct figure){megabits * 1e6 / 8, FIGURE_REPORTED};
}

struct figure sysfs_verbs_bandwidth(const char *sysfs, const char *device, uint32_t port)
{
    char line[64];
    struct figure unknown = {0};
    /* "100 Gb/sec (4X EDR)" */
    if (!sysfs_line(line, sizeof line, "%s/class/infiniband/%s/ports/%u/rate", sysfs, device, port)) return unknown;
    char *end;
    double gigabits = strtod(line, &end);
    if (end == line || strncmp(end, " Gb/sec", 7) != 0 || !(gigabits > 0) || gigabits > 1e6) return unknown;
    return (struct figure){gigabits * 1e9 / 8, FIGURE_REPORTED};
}
