/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading hwloc's XML: processors and memory (hwloc_xml.c), devices (hwloc_devices.c), matrices (hwloc_distances.c).
 * What becomes of an object is what topology/discover makes of it, so that a machine looks the same from its own file.
 */
#ifndef TOPOLOGY_FORMAT_HWLOC_XML_H
#define TOPOLOGY_FORMAT_HWLOC_XML_H

#include "topology/format/name_table.h"
#include "topology/format/xml.h"

enum { HWLOC_CPUS_MAX = 65536, HWLOC_CACHE_LEVELS = 6 };

struct hwloc_file {
    const struct format_source *source;
    struct diagnostic *diagnostic;
    weft_topology *topology;
    struct arena arena;
    bool is_version_3;        /* kinds of devices are bits; before, they are numbers */
    struct name_table gp;     /* gp_index, which is unique in a file, to the node */
    struct name_table places; /* "NUMANode 3": type and os_index */
    uint32_t package_count, core_count, numa_count, cache_counts[HWLOC_CACHE_LEVELS];
};

weft_status hwloc_no_memory(struct hwloc_file *file);
weft_status hwloc_unsigned(struct hwloc_file *file, const struct xml_element *element, const char *name, uint64_t most,
                           uint64_t *value);
bool hwloc_type_is(const struct xml_element *object, const char *type);
/* The value of the info element of that name in an object, or NULL. */
const char *hwloc_info(const struct xml_element *object, const char *name);
/* Numbers of the bits of a set ("0x00000001,0x0"), up to @p most of them; a set without end has *count = most + 1. */
weft_status hwloc_set_read(struct hwloc_file *file, const struct xml_element *object, const char *name,
                           uint32_t *numbers, uint32_t most, uint32_t *count);
/* Remember what an object has become. */
weft_status hwloc_register(struct hwloc_file *file, const struct xml_element *object, uint32_t node);

/* All devices at and below @p object, which stands in @p place, a package or the host. */
weft_status hwloc_devices_read(struct hwloc_file *file, const struct xml_element *object, uint32_t place);
weft_status hwloc_distances_read(struct hwloc_file *file, const struct xml_element *element);
#endif
