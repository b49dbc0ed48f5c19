/* SPDX-License-Identifier: Apache-2.0 */
/* weft-topo simulate: what a collective takes on a machine or cluster that need not be there. */
#include <stdio.h>
#include <stdlib.h>

#include "tools/topo/topo.h"

static const struct option_entry entries[] = {
    {"--collective", OPTION_WORD, "C", "what it does (all_reduce)", FIELD(collective), 0, 0, topo_collectives, NULL},
    {"--bytes", OPTION_BYTES, "B", "size of the message (256M)", FIELD(bytes), 1, UINT64_C(1) << 50, NULL, NULL},
    {"--algorithm", OPTION_WORD, "A", "how; auto: the fastest of all there are (auto)", FIELD(algorithm), 0, 0,
     topo_algorithms, NULL},
    {"--root", OPTION_NUMBER, "R", "root rank, where the collective has one (0)", FIELD(root), 0, RANKS_MOST, NULL,
     NULL},
    {"--channels", OPTION_NUMBER, "C", "in rank order: rings or trees that share the message (1)", FIELD(channel_count),
     1, 64, NULL, NULL},
    {"--slots", OPTION_NUMBER, "D", "slices in flight per connection and direction (4)", FIELD(slot_depth), 2, 64, NULL,
     NULL},
    {"--slices", OPTION_NUMBER, "S", "simulated slices of a chunk (as a run has, unless too many)", FIELD(slice_count),
     1, 1 << 20, NULL, NULL},
    {"--seconds", OPTION_NUMBER, "S", "when to stop searching for rings and trees (5)", FIELD(seconds), 1, 86400, NULL,
     NULL},
    {"--json", OPTION_FLAG, NULL, "print JSON", FIELD(json), 0, 0, NULL, NULL},
    {"--format", OPTION_WORD, "F", "text, json, svg (by graphviz), dot: links coloured by load", FIELD(format), 0, 0,
     topo_plan_formats, NULL},
};
static const struct command simulate_command = {
    .name = "weft-topo simulate",
    .usage = "weft-topo simulate FILE [--collective C] [--bytes B] [--algorithm A] [options]",
    .intro =
        "Run a collective's plans, all ranks' steps, on a simulated clock over the machine or cluster that FILE\n"
        "describes: a rank on every GPU, else on every host; links shared max-min fairly; overheads, latencies and\n"
        "slots as in docs/design/simulate.md. Says the time of the fastest plan, what every link carries, and the\n"
        "critical path. What is not simulated as it would be run is said (\"coarse\").",
    .notes =
        "the JSON has \"ranks\" \"collective\" \"algorithm\" \"plan\" \"bytes\" \"method\" \"time_us\" "
        "\"algbw_gbps\"\n"
        "\"busbw_gbps\" \"candidates\" \"links\" \"critical_path\" \"comparison\"; gbps are 1e9 bytes per second.\n\n"
        "examples:\n"
        "  weft-topo simulate cluster.yaml --collective all_reduce --bytes 1G --algorithm tree\n"
        "  weft-topo simulate cluster.yaml --bytes 64K --json | jq '.time_us, .method'\n",
    .entries = entries,
    .entry_count = COUNT(entries),
};

static int simulate_run(const char *path, const struct topo_options *options, int format)
{
    weft_topology *topology = topology_open(path);
    if (!topology) return 1;
    struct progress progress = progress_begin();
    const weft_topology_request request = {.size = sizeof request,
                                           .collective = (weft_collective)options->collective,
                                           .algorithm = (weft_algorithm)options->algorithm,
                                           .root = (uint32_t)options->root,
                                           .bytes = options->bytes,
                                           .channel_count = (uint32_t)options->channel_count,
                                           .slot_depth = (uint32_t)options->slot_depth,
                                           .slice_count = (uint32_t)options->slice_count,
                                           .budget_ns = options->seconds * 1000000000,
                                           .progress = progress_print,
                                           .context = &progress};
    bool picture = format == FORMAT_SVG || format == FORMAT_DOT;
    char *text = NULL, error[256] = "";
    weft_status status = picture
                             ? weft_topology_draw(topology, &request, &text, error)
                             : weft_topology_simulate(topology, &request, format == FORMAT_JSON ? WEFT_JSON : WEFT_TEXT,
                                                      NULL, &text, error);
    progress_end(&progress);
    weft_topology_destroy(topology);
    if (status) {
        fprintf(stderr, "weft-topo: cannot simulate over %s: %s\n", path, error[0] ? error : weft_status_text(status));
        return 1;
    }
    return picture ? picture_print(text, format == FORMAT_SVG) : text_print(text);
}

int simulate_main(int argc, char *argv[])
{
    struct topo_options options = {.bytes = UINT64_C(256) << 20};
    struct positionals positionals;
    char error[OPTIONS_ERROR_BYTES];
    enum options_outcome outcome = options_parse(&simulate_command, argc, argv, &options, &positionals, error);
    if (outcome != OPTIONS_GO_ON) return options_answer(&simulate_command, outcome, error);
    if (positionals.count != 1)
        return usage_error(&simulate_command, "name one FILE, as in weft-topo simulate cluster.yaml --bytes 1M");
    int format = format_of(&options, error);
    if (format < 0) return usage_error(&simulate_command, error);
    return simulate_run(positionals.values[0], &options, format);
}
