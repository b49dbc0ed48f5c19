/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/model/rdma.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static const char *string_copy(weft_topology *topology, const char *string)
{
    if (!string) return NULL;
    char *copy = arena_strdup(&topology->arena, string);
    if (!copy) topology->failed = true;
    return copy;
}

static void *array_copy(weft_topology *topology, const void *array, uint32_t count, size_t element_bytes)
{
    void *copy = arena_alloc(&topology->arena, count, element_bytes);
    if (!copy)
        topology->failed = true;
    else if (count)
        memcpy(copy, array, count * element_bytes);
    return copy;
}

static void port_copy(weft_topology *topology, struct rdma_port *port)
{
    port->state = string_copy(topology, port->state);
    port->physical_state = string_copy(topology, port->physical_state);
    port->not_used = string_copy(topology, port->not_used);
    struct rdma_gid *gids = array_copy(topology, port->gids, port->gid_count, sizeof *gids);
    for (uint32_t i = 0; gids && i < port->gid_count; i++) gids[i].interface = string_copy(topology, gids[i].interface);
    port->gids = gids;
}

void topology_set_rdma(weft_topology *topology, uint32_t node, const char *name, const struct rdma_device *rdma)
{
    if (topology->failed || node == TOPOLOGY_NONE) return;
    struct rdma_device *copy = array_copy(topology, rdma, 1, sizeof *copy);
    if (!copy) return;
    copy->firmware = string_copy(topology, rdma->firmware);
    struct rdma_port *ports = array_copy(topology, rdma->ports, rdma->port_count, sizeof *ports);
    for (uint32_t i = 0; ports && i < rdma->port_count; i++) port_copy(topology, &ports[i]);
    copy->ports = ports;
    topology->nodes[node].verbs_device = string_copy(topology, name);
    topology->nodes[node].rdma = copy;
}

bool rdma_gid_is_ipv4(const uint8_t gid[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291, 2.5.5.2 */
    return memcmp(gid, mapped, sizeof mapped) == 0;
}

bool rdma_gid_is_link_local(const uint8_t gid[16])
{
    return gid[0] == 0xfe && (gid[1] & 0xc0) == 0x80;
}

void rdma_gid_format(const uint8_t gid[16], char text[RDMA_GID_TEXT_BYTES])
{
    if (rdma_gid_is_ipv4(gid))
        inet_ntop(AF_INET, gid + 12, text, RDMA_GID_TEXT_BYTES);
    else
        inet_ntop(AF_INET6, gid, text, RDMA_GID_TEXT_BYTES);
}

/* One element of a filter's list. */
struct filter_element {
    const char *name;
    size_t name_bytes;
    bool whole;    /* the whole name, not its beginning */
    uint32_t port; /* 0: every port */
};

/* Take the element that begins at *cursor, up to a comma or the end. False when it cannot be read. */
static bool element_take(const char **cursor, struct filter_element *element)
{
    const char *begin = *cursor, *end = begin + strcspn(begin, ",");
    *cursor = *end ? end + 1 : end;
    *element = (struct filter_element){.whole = *begin == '='};
    element->name = begin + element->whole;
    element->name_bytes = strcspn(element->name, ":,");
    const char *rest = element->name + element->name_bytes;
    if (*rest == ':') {
        char *after;
        if (rest[1] < '1' || rest[1] > '9') return false;
        unsigned long port = strtoul(rest + 1, &after, 10);
        if (after != end || port > 255) return false; /* the width of a port number in InfiniBand's attributes */
        element->port = (uint32_t)port;
    }
    /* A "^" inside means that somebody took it for a part of one element; an empty name would match all. */
    return element->name_bytes > 0 && !memchr(element->name, '^', element->name_bytes) &&
           !memchr(element->name, '=', element->name_bytes);
}

weft_status rdma_filter_check(const char *filter, struct diagnostic *diagnostic)
{
    if (!filter || !*filter) return WEFT_OK;
    const char *cursor = filter + (*filter == '^');
    do {
        const char *begin = cursor;
        struct filter_element element;
        if (!element_take(&cursor, &element))
            return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                            "\"%.*s\" in the list of RDMA devices \"%.80s\" is not NAME, NAME:PORT or =NAME; \"^\" may "
                            "only open the list",
                            (int)strcspn(begin, ","), begin, filter);
    } while (*cursor);
    return WEFT_OK;
}

static bool element_matches(const struct filter_element *element, const char *device, uint32_t port)
{
    if (strncmp(device, element->name, element->name_bytes) != 0) return false;
    if (element->whole && device[element->name_bytes]) return false;
    return element->port == 0 || element->port == port;
}

bool rdma_filter_allows(const char *filter, const char *device, uint32_t port)
{
    if (!filter || !*filter) return true;
    if (rdma_filter_check(filter, NULL)) return false;
    bool inverted = *filter == '^', matched = false;
    const char *cursor = filter + inverted;
    while (*cursor && !matched) {
        struct filter_element element;
        matched = element_take(&cursor, &element) && element_matches(&element, device, port);
    }
    return matched != inverted;
}
