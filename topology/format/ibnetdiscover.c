/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ibnetdiscover(8) of rdma-core prints: a record per node (attributes, a header, its connected ports), perhaps
 * grouped by chassis (-g), with full information (-f), and several subnets one after the other.
 */
#include <string.h>

#include "topology/format/fabric.h"

enum { WINDOW_BYTES = 1 << 16 }; /* messages may come first */

/* Attributes stand before the header that they belong to. */
struct attributes {
    uint64_t guid, system_guid, device_id, vendor_id;
};

struct parser {
    struct fabric fabric;
    struct line_walk walk;
    struct attributes pending;
    uint32_t node; /* whose ports are listed; TOPOLOGY_NONE between records */
};

/* "KEY=0x2c9(2c9) # more": does the line give that attribute? */
static bool attribute_is(struct span line, const char *key)
{
    size_t size = strlen(key);
    return span_begins(line, key) && line.size > size && line.at[size] == '=';
}

/* True where the line is an attribute; *status is then what came of it. */
static bool attribute_read(struct parser *parser, struct span line, weft_status *status)
{
    static const char *const guids[] = {"switchguid", "caguid", "rtguid"};
    struct attributes *pending = &parser->pending;
    uint64_t *value = attribute_is(line, "vendid")       ? &pending->vendor_id
                      : attribute_is(line, "devid")      ? &pending->device_id
                      : attribute_is(line, "sysimgguid") ? &pending->system_guid
                                                         : NULL;
    for (size_t i = 0; i < sizeof guids / sizeof *guids; i++)
        if (attribute_is(line, guids[i])) value = &pending->guid;
    if (!value) return false;
    const char *begin = (const char *)memchr(line.at, '=', line.size) + 1;
    struct span number = {begin, 0};
    while (begin + number.size < line.at + line.size && !memchr("( \t#", begin[number.size], 4)) number.size++;
    *status = WEFT_OK;
    if (!span_begins(number, "0x") || !span_unsigned(number, UINT64_MAX, value))
        *status = format_error(parser->fabric.source, line_place(&parser->walk, line, begin), parser->fabric.diagnostic,
                               "found '%.*s'; expected a hexadecimal number such as 0x2c9", SPAN_ARGS(number));
    return true;
}

/* "S-0008f10400410015" holds the GUID, and so may a line before the header. */
static weft_status guid_read(struct parser *parser, struct fabric_node *node)
{
    static const char letters[] = {[FABRIC_SWITCH] = 'S', [FABRIC_ADAPTER] = 'H', [FABRIC_ROUTER] = 'R'};
    char digits[2 + 16] = "0x";
    uint64_t guid;
    bool right = node->id.size == 2 + 16 && node->id.at[0] == letters[node->kind] && node->id.at[1] == '-';
    if (right) memcpy(digits + 2, node->id.at + 2, 16);
    if (!right || !span_unsigned((struct span){digits, sizeof digits}, UINT64_MAX, &guid))
        return format_error(parser->fabric.source, (struct place){node->line, 0}, parser->fabric.diagnostic,
                            "found the id \"%.*s\"; expected %c- and 16 hexadecimal digits", SPAN_ARGS(node->id),
                            letters[node->kind]);
    if (parser->pending.guid && parser->pending.guid != guid)
        return format_error(parser->fabric.source, (struct place){node->line, 0}, parser->fabric.diagnostic,
                            "found the id \"%.*s\" behind another GUID, 0x%llx; expected the same twice",
                            SPAN_ARGS(node->id), (unsigned long long)parser->pending.guid);
    node->guid = guid;
    return WEFT_OK;
}

static weft_status header_take(struct parser *parser, struct span line)
{
    struct fabric_node node = {0};
    weft_status status = fabric_header_read(&parser->fabric, &parser->walk, line, &node);
    if (!status) status = guid_read(parser, &node);
    if (status) return status;
    node.system_guid = parser->pending.system_guid;
    node.device_id = (uint32_t)parser->pending.device_id;
    parser->pending = (struct attributes){0};
    return fabric_add_node(&parser->fabric, &node, &parser->node);
}

static weft_status port_take(struct parser *parser, struct span line)
{
    if (parser->node == TOPOLOGY_NONE)
        return format_error(parser->fabric.source, (struct place){parser->walk.line, 0}, parser->fabric.diagnostic,
                            "found a port, '%.*s'; expected the record of the node that it belongs to first",
                            SPAN_ARGS(line));
    struct fabric_port port = {.node = parser->node};
    weft_status status = fabric_port_read(&parser->fabric, &parser->walk, line, &port);
    return status ? status : fabric_add_port(&parser->fabric, &port);
}

/* Headings of -g. */
static bool is_heading(struct span line)
{
    static const char *const headings[] = {"Chassis ", "Non-Chassis Nodes", "Hostname: "};
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++)
        if (span_begins(line, headings[i])) return true;
    return false;
}

/* What the tool and its libraries say on the way, in a file that took both outputs. The fabric may lack a part then. */
static bool is_message(struct span line)
{
    static const char *const beginnings[] = {"ibwarn: ", "ibpanic: ", "ibdebug: ", "DR path ", "-> ", "src/"};
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
        if (span_begins(line, beginnings[i])) return true;
    /* "ibnetdisc.c:195; umad (...) bad status 110": a place in a source file. */
    const char *source = memmem(line.at, line.size, ".c:", 3);
    return source && source + 3 < line.at + line.size && source[3] >= '0' && source[3] <= '9';
}

static weft_status line_take(struct parser *parser, struct span line)
{
    weft_status status;
    struct span trimmed = span_trim(line);
    if (trimmed.size == 0) {
        parser->node = TOPOLOGY_NONE;
        return WEFT_OK;
    }
    if (*line.at == '#') return WEFT_OK;
    if (*line.at == '[') return port_take(parser, line);
    if (attribute_read(parser, line, &status)) {
        parser->node = TOPOLOGY_NONE;
        return status;
    }
    if (fabric_has_kind(line)) return header_take(parser, line);
    if (is_heading(line)) return WEFT_OK;
    if (is_message(line)) {
        topology_note(parser->fabric.topology, "line %u is a message, the fabric may lack a part: %.*s",
                      parser->walk.line, SPAN_ARGS(line));
        return WEFT_OK;
    }
    return format_error(parser->fabric.source, (struct place){parser->walk.line, 0}, parser->fabric.diagnostic,
                        "found '%.*s'; expected a record of ibnetdiscover's output", SPAN_ARGS(line));
}

static weft_status read_ibnetdiscover(const struct format_source *source, weft_topology *topology,
                                      struct diagnostic *diagnostic)
{
    struct parser parser = {
        .fabric = {.source = source, .topology = topology, .diagnostic = diagnostic},
        .walk = {.source = source},
        .node = TOPOLOGY_NONE,
    };
    struct span line;
    weft_status status = WEFT_OK;
    while (!status && line_next(&parser.walk, &line)) status = line_take(&parser, line);
    if (!status) status = fabric_build(&parser.fabric);
    fabric_free(&parser.fabric);
    return status;
}

/* 'Switch 24 "S-..."', with the id that no other tool gives. */
static bool is_own_header(struct span line)
{
    const char *id = fabric_is_header(line) ? memchr(line.at, '"', line.size) : NULL;
    return id && id + 2 < line.at + line.size && memchr("SHR", id[1], 3) && id[2] == '-';
}

static unsigned recognise_ibnetdiscover(const struct format_source *source)
{
    struct line_walk walk = {.source = source};
    struct span line;
    unsigned sure = 0;
    while (walk.at < WINDOW_BYTES && line_next(&walk, &line)) {
        if (span_begins(line, "# Topology file: generated on") || span_begins(line, "switchguid=0x") ||
            span_begins(line, "caguid=0x"))
            return 90;
        if (is_own_header(line)) sure = 60;
    }
    return sure;
}

const struct format_reader format_ibnetdiscover = {
    .name = "ibnetdiscover",
    .title = "ibnetdiscover output",
    .recognise = recognise_ibnetdiscover,
    .read = read_ibnetdiscover,
};
