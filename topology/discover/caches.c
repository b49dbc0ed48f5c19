/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/discover/caches.h"

#include <stdlib.h>
#include <string.h>

#include "topology/discover/discover_internal.h"

/* Of one cache: what is outside was never built, and is what a hypervisor makes up or leaves out. */
static const uint64_t least_bytes = UINT64_C(1) << 20, most_bytes = UINT64_C(1) << 30;
enum { INDICES = 16, PROCESSORS_MOST = 1 << 16 };

struct cache {
    unsigned long level;
    uint64_t bytes;
    uint32_t sharers; /* processors */
};

/* "32768K"; the kernel has no other unit, and no other is believed. */
static uint64_t size_parse(const char *text)
{
    char *end;
    unsigned long kibibytes = strtoul(text, &end, 10);
    return end != text && strcmp(end, "K") == 0 && kibibytes <= most_bytes >> 10 ? (uint64_t)kibibytes << 10 : 0;
}

/* Of a list such as "0-7,64-71"; 0 for anything else. */
static uint32_t processors_count(const char *list)
{
    uint32_t count = 0;
    for (const char *at = list; *at; at++) {
        char *end;
        unsigned long first = strtoul(at, &end, 10), last = first;
        if (end == at) return 0;
        if (*end == '-') {
            at = end + 1;
            last = strtoul(at, &end, 10);
            if (end == at) return 0;
        }
        if (last < first || last >= PROCESSORS_MOST || (*end != ',' && *end != '\0')) return 0;
        count += (uint32_t)(last - first) + 1;
        if (count > PROCESSORS_MOST) return 0;
        at = end;
        if (*at == '\0') break;
    }
    return count;
}

/* One entry of a processor's caches; .level 0: there is none, it is for instructions, or it makes no sense. */
static struct cache cache_read(const char *sysfs, uint32_t processor, int index)
{
    char folder[256], line[1024];
    struct cache cache = {0}, none = {0};
    snprintf(folder, sizeof folder, "%s/devices/system/cpu/cpu%u/cache/index%d", sysfs, processor, index);
    if (!sysfs_line(line, sizeof line, "%s/type", folder) || strcmp(line, "Instruction") == 0) return none;
    if (!sysfs_line(line, sizeof line, "%s/level", folder)) return none;
    cache.level = strtoul(line, NULL, 10);
    if (!sysfs_line(line, sizeof line, "%s/size", folder)) return none;
    cache.bytes = size_parse(line);
    if (!sysfs_line(line, sizeof line, "%s/shared_cpu_list", folder)) return none;
    cache.sharers = processors_count(line);
    return cache.bytes && cache.sharers ? cache : none;
}

uint64_t last_cache_bytes(const char *sysfs, uint32_t processor, uint32_t processor_count, uint32_t rank_count)
{
    struct cache last = {0};
    for (int index = 0; index < INDICES; index++) {
        struct cache cache = cache_read(sysfs, processor, index);
        if (cache.level > last.level) last = cache;
    }
    if (last.bytes < least_bytes || last.bytes > most_bytes) return 0;
    uint32_t caches = processor_count > last.sharers ? processor_count / last.sharers : 1;
    if (caches > rank_count) caches = rank_count > 0 ? rank_count : 1;
    return caches * last.bytes;
}
