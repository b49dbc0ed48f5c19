/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that lie beside topologies and are none that weft reads: known in order to be refused by name, with the reason,
 * which tells a person more than "no known format" does. Each title says what the file is and why that is no use.
 */
#include <string.h>

#include "topology/format/format_internal.h"

enum {
    WINDOW_BYTES = 1 << 14,
    CERTAIN = 100, /* a signature */
    SURE = 70,     /* words that hardly occur together elsewhere */
    PERHAPS = 5    /* nothing else knows it, and it looks like this */
};

static bool begins(const struct format_source *source, const char *bytes, size_t size)
{
    return source->size >= size && memcmp(source->bytes, bytes, size) == 0;
}

static bool contains(const struct format_source *source, const char *word)
{
    return source_contains(source, word, WINDOW_BYTES);
}

/* Is there a line that begins with @p word near the beginning? */
static bool has_line(const struct format_source *source, const char *word)
{
    struct line_walk walk = {.source = source};
    struct span line;
    while (walk.at < WINDOW_BYTES && line_next(&walk, &line))
        if (span_begins(line, word)) return true;
    return false;
}

/* The first line that says something: no comment, not blank. */
static struct span first_line(const struct format_source *source)
{
    struct line_walk walk = {.source = source};
    struct span line;
    while (line_next(&walk, &line))
        if (span_trim(line).size > 0 && *line.at != '#') return line;
    return (struct span){(const char *)source->bytes, 0};
}

static uint32_t words_of(struct span line)
{
    struct span word;
    uint32_t count = 0;
    while (span_word(&line, &word)) count++;
    return count;
}

/* Does any line near the beginning look so? */
static bool any_line(const struct format_source *source, bool (*looks_so)(struct span line))
{
    struct line_walk walk = {.source = source};
    struct span line;
    while (walk.at < WINDOW_BYTES && line_next(&walk, &line))
        if (looks_so(line)) return true;
    return false;
}

static bool is_compressed(const struct format_source *source)
{
    static const struct {
        const char *bytes;
        size_t size;
    } magics[] = {{"BZh", 3}, {"\x1f\x8b", 2}, {"\xfd\x37zXZ", 5}, {"PK\x03\x04", 4}, {"\x28\xb5\x2f\xfd", 4}};
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (begins(source, magics[i].bytes, magics[i].size)) return true;
    return source->size > 262 && memcmp(source->bytes + 257, "ustar", 5) == 0;
}

/* A title is underlined with as many marks as it has characters. */
static bool is_restructured_text(const struct format_source *source)
{
    struct line_walk walk = {.source = source};
    struct span line, last = {0};
    if (begins(source, ".. ", 3)) return true;
    for (; walk.at < WINDOW_BYTES && line_next(&walk, &line); last = line) {
        if (line.size < 4 || line.size != last.size || !memchr("=-~^*", *line.at, 5)) continue;
        size_t same = 1;
        while (same < line.size && line.at[same] == *line.at) same++;
        if (same == line.size && *last.at != *line.at) return true;
    }
    return false;
}

/* "  P1 -4x-5G-> Cougar H-1 P1": a port of a box, an arrow, a kind of box, its name and port. */
static bool is_ibutils_cable(struct span line)
{
    struct span rest = line, port, arrow;
    if (line.size == 0 || (*line.at != ' ' && *line.at != '\t')) return false;
    if (!span_word(&rest, &port) || !span_word(&rest, &arrow)) return false;
    return arrow.size >= 2 && *arrow.at == '-' && arrow.at[arrow.size - 1] == '>' && words_of(rest) == 3;
}

/* "SW   268  1 0xe41d2d030003e470 4x EDR - ..." */
static bool is_port_report(struct span line)
{
    struct span rest = line, word;
    uint64_t number;
    if (!span_begins(line, "SW ") && !span_begins(line, "CA ") && !span_begins(line, "RT ")) return false;
    span_word(&rest, &word);
    for (int i = 0; i < 2; i++)
        if (!span_word(&rest, &word) || !span_unsigned(word, UINT32_MAX, &number)) return false;
    return span_word(&rest, &word) && span_begins(word, "0x");
}

/* "Switch  : 0x0008f10400410015 ports 8 ..." */
static bool is_node_list(struct span line)
{
    struct span rest = line, kind, colon, guid;
    return span_word(&rest, &kind) && span_word(&rest, &colon) && span_word(&rest, &guid) &&
           (span_equal(kind, "Switch") || span_equal(kind, "Ca") || span_equal(kind, "Router")) &&
           span_equal(colon, ":") && span_begins(guid, "0x");
}

/* A sentence: a capital, and eight words or more of letters. */
static bool is_sentence(struct span line)
{
    if (line.size == 0 || *line.at < 'A' || *line.at > 'Z' || words_of(line) < 8) return false;
    for (size_t i = 0; i < line.size; i++) {
        char byte = line.at[i];
        bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        if (!letter && (byte == '\0' || !strchr(" ,.;:'-()", byte))) return false;
    }
    return true;
}

static uint32_t tabs_of(struct span line)
{
    uint32_t count = 0;
    for (size_t i = 0; i < line.size; i++) count += line.at[i] == '\t';
    return count;
}

static bool is_table(const struct format_source *source)
{
    struct line_walk walk = {.source = source};
    struct span heading, row;
    return line_next(&walk, &heading) && line_next(&walk, &row) && tabs_of(heading) >= 3 &&
           tabs_of(heading) == tabs_of(row);
}

#define FOREIGN(word, what, how_sure, condition)                                                                       \
    static unsigned word##_recognise(const struct format_source *source)                                               \
    {                                                                                                                  \
        return (condition) ? how_sure : 0;                                                                             \
    }                                                                                                                  \
    const struct format_reader format_##word = {.name = #word, .title = what, .recognise = word##_recognise};

FOREIGN(archive, "an archive or a compressed file, which would have to be unpacked first", CERTAIN,
        is_compressed(source))
FOREIGN(wide_text, "text in UTF-16, which would have to be stored as UTF-8 first", CERTAIN,
        begins(source, "\xff\xfe", 2) || begins(source, "\xfe\xff", 2))
FOREIGN(web_page, "a web page, perhaps one that says why there is no file", CERTAIN,
        begins(source, "<!DOCTYPE html", 14) || begins(source, "<!doctype html", 14) || begins(source, "<html", 5))
FOREIGN(manual_page, "a manual page, which explains a format to people", CERTAIN,
        begins(source, ".TH ", 4) || begins(source, ".\\\"", 3) || begins(source, ".Dd ", 4))
FOREIGN(restructured_text, "reStructuredText, a document for people", CERTAIN - 5, is_restructured_text(source))
FOREIGN(lstopo_console, "what lstopo shows on a console (its XML is read)", SURE,
        begins(source, "Machine (", 9) || begins(source, "Machine L#", 10))
FOREIGN(ibutils_topology,
        "an ibutils (ibdm) topology, whose boxes other files describe (ibnetdiscover's output is read)", SURE,
        any_line(source, is_ibutils_cable))
FOREIGN(ibutils_system, "an ibutils (ibdm) system definition, the inside of one kind of switch box and no fabric", SURE,
        has_line(source, "SYSTEM ") && has_line(source, "NODE "))
FOREIGN(ibdiagnet_links, "an ibdiagnet list of links, a format of old tools (ibnetdiscover's output is read)", SURE,
        begins(source, "{ ", 2) && contains(source, "SystemGUID:"))
FOREIGN(forwarding_tables, "a dump of OpenSM's forwarding tables, which are routes and not cables", SURE,
        has_line(source, "dump_ucast_routes:") || has_line(source, "Unicast lids "))
FOREIGN(ibnetdiscover_ports, "a port report of ibnetdiscover -p (its output without -p is read)", SURE,
        any_line(source, is_port_report))
FOREIGN(ibnetdiscover_list, "a list of nodes without cables (ibnetdiscover's output without -l is read)", SURE,
        any_line(source, is_node_list))
FOREIGN(iblinkinfo, "what iblinkinfo prints (ibnetdiscover's output is read)", SURE,
        contains(source, "==(") && contains(source, ")==>"))
FOREIGN(astra_sim_network, "an ASTRA-sim network, a shape to simulate without hosts or devices", SURE,
        has_line(source, "npus_count:"))
FOREIGN(astra_sim_system, "an ASTRA-sim system, which says how to schedule collectives", SURE,
        contains(source, "\"scheduling-policy\"") && contains(source, "-implementation\""))
FOREIGN(htsim_topology, "an htsim topology, the sizes of a fat tree to simulate", SURE,
        span_begins(first_line(source), "Nodes ") && has_line(source, "Tiers "))
FOREIGN(goal_schedule, "a LogGOPSim schedule (GOAL), which describes messages and not machines", SURE,
        span_begins(first_line(source), "num_ranks "))
FOREIGN(taccl_profile, "a TACCL profile, which holds costs and not what is connected", SURE,
        contains(source, "\"gpus_per_node\"") && contains(source, "invbw"))
FOREIGN(taccl_sketch, "a TACCL sketch, which holds hints for a search and no machine", SURE,
        contains(source, "\"intranode_sketch\""))
FOREIGN(slurm_settings, "a slurm.conf, which names nodes and not what connects them (topology.conf is read)", SURE,
        has_line(source, "ClusterName=") || (has_line(source, "NodeName=") && has_line(source, "PartitionName=")))
FOREIGN(topograph_model, "a topograph model, with which that tool's tests play a provider of machines", SURE,
        has_line(source, "switches:") && has_line(source, "blocks:") && has_line(source, "- switch:"))
FOREIGN(rocm_smi, "what rocm-smi prints (RCCL's topology XML is read)", SURE,
        contains(source, "ROCm System Management Interface"))
FOREIGN(nvidia_smi_status, "what nvidia-smi prints of each GPU's state (nvidia-smi topo -m is read)", SURE,
        contains(source, "| NVIDIA-SMI "))
FOREIGN(table, "a table of tab-separated values", PERHAPS, is_table(source))
FOREIGN(prose, "a text for people", PERHAPS, is_sentence(first_line(source)))
