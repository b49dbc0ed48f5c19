/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ibsim's net files: the fabric that the InfiniBand simulator plays. Their records look like ibnetdiscover's, with any
 * id, and beside them stand commands to the simulator. Where a file gives no width or speed ibsim plays 4xSDR, and what
 * it does not understand it ignores; so does this reader, but for what could hide a part of the fabric.
 */
#include <string.h>

#include "topology/format/fabric.h"

enum { WINDOW_BYTES = 1 << 16 };

struct parser {
    struct fabric fabric;
    struct line_walk walk;
    struct fabric_rate rate; /* of ports that give none */
    uint32_t node;           /* whose ports are listed; TOPOLOGY_NONE between records */
};

static weft_status found(const struct parser *parser, struct span what, const char *expected)
{
    return format_error(parser->fabric.source, (struct place){parser->walk.line, 0}, parser->fabric.diagnostic,
                        "found '%.*s'; expected %s", SPAN_ARGS(what), expected);
}

static weft_status header_take(struct parser *parser, struct span line)
{
    struct fabric_node node = {0};
    weft_status status = fabric_header_read(&parser->fabric, &parser->walk, line, &node);
    if (status) return status;
    /* Its id is what a person calls it. */
    if (node.description.size == 0) node.description = node.id;
    return fabric_add_node(&parser->fabric, &node, &parser->node);
}

static weft_status port_take(struct parser *parser, struct span line)
{
    if (parser->node == TOPOLOGY_NONE)
        return found(parser, line, "the record of the node that this port belongs to first");
    struct fabric_port port = {.node = parser->node, .rate = parser->rate};
    weft_status status = fabric_port_read(&parser->fabric, &parser->walk, line, &port);
    return status ? status : fabric_add_port(&parser->fabric, &port);
}

/* "width = 2": the code that ports without one of their own take from here on. */
static weft_status default_take(struct parser *parser, struct span line)
{
    bool width = span_begins(line, "width");
    const char *equals = memchr(line.at, '=', line.size);
    struct span digits = {line.at, 0};
    uint64_t code;
    if (equals) digits = span_trim((struct span){equals + 1, (size_t)(line.at + line.size - equals) - 1});
    if (!span_unsigned(digits, width ? 15 : 7, &code) || code == 0)
        return found(parser, line, width ? "a width code from 1 to 15" : "a speed code from 1 to 7");
    if (width)
        parser->rate.lanes = fabric_lanes_of_code(code);
    else
        parser->rate.speed = fabric_speed_of_code(code);
    return WEFT_OK;
}

/* "do COMMAND": at the simulator's console, whose commands also unplug cables. */
static weft_status command_take(struct parser *parser, struct span line)
{
    static const char *const changes[] = {"link", "relink", "unlink", "clear"};
    struct span rest = {line.at + 2, line.size - 2}, word;
    if (!span_word(&rest, &word)) return WEFT_OK;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        if (strlen(changes[i]) == word.size && strncasecmp(changes[i], word.at, word.size) == 0)
            return found(parser, line, "all cables in the records, none changed by a command");
    return WEFT_OK;
}

static weft_status line_take(struct parser *parser, struct span line)
{
    if (line.size > 0 && *line.at == '#') return WEFT_OK;
    if (line.size > 0 && *line.at == '[') return port_take(parser, line);
    if (line.size > 0 && *line.at == '@') return found(parser, line, "ports without aliases");
    parser->node = TOPOLOGY_NONE; /* any other line ends a record */
    if (span_begins(line, "Switch") || span_begins(line, "Hca") || span_begins(line, "Ca") || span_begins(line, "Rt"))
        return header_take(parser, line);
    if (span_begins(line, "include")) return found(parser, line, "one file that holds the whole fabric");
    if (span_begins(line, "module")) return found(parser, line, "a fabric of one module");
    if (span_begins(line, "width") || span_begins(line, "speed")) return default_take(parser, line);
    if (span_begins(line, "do ") || span_begins(line, "do\t")) return command_take(parser, line);
    return WEFT_OK;
}

static weft_status read_ibsim(const struct format_source *source, weft_topology *topology,
                              struct diagnostic *diagnostic)
{
    struct parser parser = {
        .fabric = {.source = source, .topology = topology, .diagnostic = diagnostic},
        .walk = {.source = source},
        .rate = {.lanes = 4, .speed = FABRIC_SDR},
        .node = TOPOLOGY_NONE,
    };
    struct span line;
    weft_status status = WEFT_OK;
    while (!status && line_next(&parser.walk, &line)) status = line_take(&parser, line);
    if (!status) status = fabric_build(&parser.fabric);
    fabric_free(&parser.fabric);
    return status;
}

/* Less sure than ibnetdiscover's reader of the same lines: only what that does not know comes here. */
static unsigned recognise_ibsim(const struct format_source *source)
{
    struct line_walk walk = {.source = source};
    struct span line;
    unsigned sure = 0;
    while (walk.at < WINDOW_BYTES && line_next(&walk, &line)) {
        if (!fabric_is_header(line)) continue;
        if (span_begins(line, "Hca")) return 80;
        sure = 50;
    }
    return sure;
}

const struct format_reader format_ibsim = {
    .name = "ibsim",
    .title = "ibsim net file",
    .recognise = recognise_ibsim,
    .read = read_ibsim,
};
