/* SPDX-License-Identifier: Apache-2.0 */
/* weft-topo plan: for a topology the best rings and trees and the bound; for a number of ranks a plan, proved right. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/topo/topo.h"

const struct option_word topo_collectives[] = {{"all_reduce", WEFT_ALL_REDUCE, NULL},
                                               {"broadcast", WEFT_BROADCAST, NULL},
                                               {"barrier", WEFT_BARRIER, NULL},
                                               {"all_gather", WEFT_ALL_GATHER, NULL},
                                               {"reduce_scatter", WEFT_REDUCE_SCATTER, NULL},
                                               {"reduce", WEFT_REDUCE, NULL},
                                               {"gather", WEFT_GATHER, NULL},
                                               {"scatter", WEFT_SCATTER, NULL},
                                               {"all_to_all", WEFT_ALL_TO_ALL, NULL},
                                               {NULL, 0, NULL}};
const struct option_word topo_algorithms[] = {{"auto", WEFT_ALGORITHM_AUTO, NULL},
                                              {"ring", WEFT_ALGORITHM_RING, NULL},
                                              {"tree", WEFT_ALGORITHM_TREE, NULL},
                                              {"direct", WEFT_ALGORITHM_DIRECT, NULL},
                                              {"halving", WEFT_ALGORITHM_HALVING, NULL},
                                              {"hierarchical", WEFT_ALGORITHM_HIERARCHICAL, NULL},
                                              {NULL, 0, NULL}};
const struct option_word topo_plan_formats[] = {{"text", FORMAT_TEXT, NULL},
                                                {"json", FORMAT_JSON, NULL},
                                                {"svg", FORMAT_SVG, NULL},
                                                {"dot", FORMAT_DOT, NULL},
                                                {NULL, 0, NULL}};
static const struct option_entry plan_entries[] = {
    {"--ranks", OPTION_NUMBER, "N", "without FILE: how many ranks the plan is for", FIELD(rank_count), 1, RANKS_MOST,
     NULL, NULL},
    {"--collective", OPTION_WORD, "C", "what it does (all_reduce)", FIELD(collective), 0, 0, topo_collectives, NULL},
    {"--algorithm", OPTION_WORD, "A", "how; FILE: auto for all there are (auto), else ring", FIELD(algorithm), 0, 0,
     topo_algorithms, NULL},
    {"--root", OPTION_NUMBER, "R", "root rank, where the collective has one (0)", FIELD(root), 0, RANKS_MOST, NULL,
     NULL},
    {"--bytes", OPTION_BYTES, "B", "FILE, --explain: size that candidates are priced for (256M)", FIELD(bytes), 1,
     UINT64_C(1) << 50, NULL, NULL},
    {"--explain", OPTION_FLAG, NULL, "FILE: what was considered, why each lost, what binds", FIELD(explain), 0, 0, NULL,
     NULL},
    {"--seconds", OPTION_NUMBER, "S", "FILE: when to stop searching (5)", FIELD(seconds), 1, 86400, NULL, NULL},
    {"--channels", OPTION_NUMBER, "C", "--ranks: rings or trees that share the message (1)", FIELD(channel_count), 1,
     64, NULL, NULL},
    {"--slots", OPTION_NUMBER, "D", "slices in flight per connection and direction (4)", FIELD(slot_depth), 2, 64, NULL,
     NULL},
    {"--rank", OPTION_NUMBER, "R", "--ranks: print only this rank's part", FIELD(rank), 0, RANKS_MOST, NULL, NULL},
    {"--json", OPTION_FLAG, NULL, "print JSON", FIELD(json), 0, 0, NULL, NULL},
    {"--format", OPTION_WORD, "F", "text, json; FILE: svg (by graphviz), dot: links coloured by load", FIELD(format), 0,
     0, topo_plan_formats, NULL},
};
static const struct command plan_command = {
    .name = "weft-topo plan",
    .usage = "weft-topo plan FILE [options]\n"
             "       weft-topo plan --ranks N [--collective C] [--algorithm A] [options]",
    .intro =
        "FILE: find the best rings and trees for a collective over the machine or cluster that FILE describes, with a\n"
        "rank on every GPU, else on every host, and the bound that no plan can better.\n"
        "--ranks: print a plan for so many ranks and prove it right: every contribution arrives exactly once, nothing\n"
        "is read before it is written, nothing can deadlock. The plan goes to standard output, the proof's figures to\n"
        "standard error; exit status 1 if the plan is wrong.",
    .notes =
        "the JSON for FILE has \"ranks\", \"rings\" ({\"order\", \"gbps\"}), \"trees\" ({\"root\", \"edges\", "
        "\"gbps\"}),\n"
        "\"ring_algbw_gbps\", \"tree_algbw_gbps\", \"bound_algbw_gbps\", \"gap\"; gbps are 1e9 bytes per second.\n\n"
        "examples:\n"
        "  weft-topo plan cluster.yaml --explain\n"
        "  weft-topo plan dgx.xml --collective all_gather --json | jq .gap\n"
        "  weft-topo plan --ranks 4 --algorithm ring --rank 0\n"
        "  weft-topo plan --ranks 7 --collective broadcast --root 3 --algorithm tree --json\n",
    .entries = plan_entries,
    .entry_count = COUNT(plan_entries),
};

static int plan_prove(const weft_plan *plan)
{
    weft_plan_report report = {.size = sizeof report};
    weft_status status = weft_plan_verify(plan, &report);
    if (status == WEFT_INVALID_PLAN) {
        fprintf(stderr, "weft-topo: the plan is wrong: %s\n", report.message);
        return 1;
    }
    if (status) return status_print("cannot verify the plan", status);
    fprintf(stderr,
            "proved right: %" PRIu64 " steps, %" PRIu64 " messages, longest chain %" PRIu64
            "; a rank sends at most %.4g of the message, a pair of ranks carries at most %.4g\n",
            report.steps, report.messages, report.critical_messages, report.max_rank_sent_share, report.max_link_share);
    return 0;
}

/* A plan for a number of ranks, wherever they are. */
static int ranks_plan(const struct topo_options *options, int format)
{
    weft_plan_spec spec = {.size = sizeof spec,
                           .collective = (weft_collective)options->collective,
                           .algorithm = (weft_algorithm)options->algorithm,
                           .rank_count = (uint32_t)options->rank_count,
                           .root = (uint32_t)options->root,
                           .channel_count = (uint32_t)options->channel_count,
                           .slot_depth = (uint32_t)options->slot_depth};
    weft_plan *plan = NULL;
    char *text = NULL;
    weft_status status = weft_plan_create(&spec, &plan);
    if (status) return status_print("cannot make this plan", status);
    uint32_t rank = options->rank == UINT64_MAX ? WEFT_ALL_RANKS : (uint32_t)options->rank;
    status = weft_plan_print(plan, rank, format == FORMAT_JSON ? WEFT_JSON : WEFT_TEXT, &text);
    int exit_code = status ? status_print("cannot print the plan", status) : text_print(text);
    if (exit_code == 0) exit_code = plan_prove(plan);
    weft_plan_destroy(plan);
    return exit_code;
}

/* The best there is on a topology. */
static int file_plan(const char *path, const struct topo_options *options, int format)
{
    weft_topology *topology = topology_open(path);
    if (!topology) return 1;
    struct progress progress = progress_begin();
    const weft_topology_request request = {.size = sizeof request,
                                           .collective = (weft_collective)options->collective,
                                           .algorithm = (weft_algorithm)options->algorithm,
                                           .root = (uint32_t)options->root,
                                           .bytes = options->bytes,
                                           .slot_depth = (uint32_t)options->slot_depth,
                                           .budget_ns = options->seconds * 1000000000,
                                           .explain = options->explain,
                                           .progress = progress_print,
                                           .context = &progress};
    bool picture = format == FORMAT_SVG || format == FORMAT_DOT;
    char *text = NULL, error[256] = "";
    weft_topology_request drawn = request;
    drawn.bytes = 0; /* the loads of the plan, not of a simulation */
    weft_status status = picture ? weft_topology_draw(topology, &drawn, &text, error)
                                 : weft_topology_plan(topology, &request, format == FORMAT_JSON ? WEFT_JSON : WEFT_TEXT,
                                                      NULL, &text, error);
    progress_end(&progress);
    weft_topology_destroy(topology);
    if (status) {
        fprintf(stderr, "weft-topo: cannot plan over %s: %s\n", path, error[0] ? error : weft_status_text(status));
        return 1;
    }
    return picture ? picture_print(text, format == FORMAT_SVG) : text_print(text);
}

static bool takes_root(int collective)
{
    return collective == WEFT_BROADCAST || collective == WEFT_REDUCE || collective == WEFT_GATHER ||
           collective == WEFT_SCATTER;
}

/* What cannot go together, or NULL. */
static const char *ranks_mistake(const struct topo_options *options, int format)
{
    if (!options->rank_count) return "say for how many ranks, as in weft-topo plan --ranks 4, or name a FILE";
    if (options->root >= options->rank_count) return "--root must be below --ranks";
    if (options->rank != UINT64_MAX && options->rank >= options->rank_count) return "--rank must be below --ranks";
    if (options->explain) return "--explain needs a FILE to explain a plan over";
    if (options->bytes || options->seconds) return "--bytes and --seconds go with a FILE";
    if (format == FORMAT_SVG || format == FORMAT_DOT) return "a picture needs a FILE to draw";
    return NULL;
}

static const char *file_mistake(const struct topo_options *options)
{
    if (options->rank_count) return "a FILE says how many ranks there are; leave --ranks out";
    if (options->rank != UINT64_MAX || options->channel_count) return "--rank and --channels go with --ranks";
    if (options->algorithm >= WEFT_ALGORITHM_DIRECT)
        return "over a FILE rings and trees are searched; the others are for simulate, or for --ranks";
    return NULL;
}

int plan_main(int argc, char *argv[])
{
    struct topo_options options = {.rank = UINT64_MAX};
    struct positionals positionals;
    char error[OPTIONS_ERROR_BYTES];
    enum options_outcome outcome = options_parse(&plan_command, argc, argv, &options, &positionals, error);
    if (outcome != OPTIONS_GO_ON) return options_answer(&plan_command, outcome, error);
    if (positionals.count > 1) return usage_error(&plan_command, "plan takes one FILE");
    int format = format_of(&options, error);
    if (format < 0) return usage_error(&plan_command, error);
    if (options.root && !takes_root(options.collective))
        return usage_error(&plan_command, "--root goes with --collective broadcast, reduce, gather or scatter");
    const char *mistake = positionals.count ? file_mistake(&options) : ranks_mistake(&options, format);
    if (mistake) return usage_error(&plan_command, mistake);
    if (positionals.count) return file_plan(positionals.values[0], &options, format);
    if (options.algorithm == WEFT_ALGORITHM_AUTO) options.algorithm = WEFT_ALGORITHM_RING;
    return ranks_plan(&options, format);
}
