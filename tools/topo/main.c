/* SPDX-License-Identifier: Apache-2.0 */
/* weft-topo: what this machine consists of, and what a plan does. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/plan.h>
#include <weft/topology.h>

#include "tools/common/options.h"
#include "tools/topo/modules.h"

#define LATER "is not in this version"
#define COUNT(array) (sizeof(array) / sizeof *(array))

struct topo_options {
    bool json, explain;
    uint64_t rank_count, root, channel_count, slot_depth, rank;
    int collective, algorithm;
};
#define FIELD(name) offsetof(struct topo_options, name)
enum { RANKS_MOST = 1 << 20 };

static const struct option_word collectives[] = {{"all_reduce", WEFT_ALL_REDUCE, NULL},
                                                 {"broadcast", WEFT_BROADCAST, NULL},
                                                 {"barrier", WEFT_BARRIER, NULL},
                                                 {"reduce_scatter", 0, LATER},
                                                 {"all_gather", 0, LATER},
                                                 {"all_to_all", 0, LATER},
                                                 {NULL, 0, NULL}};
static const struct option_word algorithms[] = {{"ring", WEFT_ALGORITHM_RING, NULL},
                                                {"tree", WEFT_ALGORITHM_TREE, NULL},
                                                {"auto", 0, "needs a communicator's cost model"},
                                                {"direct", 0, LATER},
                                                {"halving", 0, LATER},
                                                {"hierarchical", 0, LATER},
                                                {NULL, 0, NULL}};

static const struct option_entry show_entries[] = {
    {"--json", OPTION_FLAG, NULL, "print JSON: counts and the graph", FIELD(json), 0, 0, NULL, NULL},
};
static const struct command show_command = {
    .name = "weft-topo show",
    .usage = "weft-topo show [--json]",
    .intro =
        "Show what this machine consists of: packages, memory, cores, PCI, GPUs, NICs, and the links between them.\n"
        "Opens with what this build of weft can use. What the process's cpuset excludes is not shown.",
    .notes =
        "a figure is followed by where it came from: datasheet (follows from the standard), reported (by the device\n"
        "or its driver), measured, file; where nothing is known the figure is unknown, never guessed.\n"
        "the JSON has \"hosts\" \"gpus\" \"nics\" \"switches\" \"links\" (counts) and \"graph\" with \"nodes\" and "
        "\"edges\";\n"
        "bandwidths in bytes per second, latencies in seconds.\n\n"
        "examples:\n"
        "  weft-topo show\n"
        "  weft-topo show --json | jq '.graph.nodes[] | select(.kind == \"nic\")'\n",
    .entries = show_entries,
    .entry_count = COUNT(show_entries),
};

static const struct option_entry plan_entries[] = {
    {"--ranks", OPTION_NUMBER, "N", "how many ranks the plan is for", FIELD(rank_count), 1, RANKS_MOST, NULL, NULL},
    {"--collective", OPTION_WORD, "C", "what it does", FIELD(collective), 0, 0, collectives, NULL},
    {"--algorithm", OPTION_WORD, "A", "how", FIELD(algorithm), 0, 0, algorithms, NULL},
    {"--root", OPTION_NUMBER, "R", "root rank of a broadcast (0)", FIELD(root), 0, RANKS_MOST, NULL, NULL},
    {"--channels", OPTION_NUMBER, "C", "rings or trees that share the message (1)", FIELD(channel_count), 1, 64, NULL,
     NULL},
    {"--slots", OPTION_NUMBER, "D", "slices in flight per connection and direction (4)", FIELD(slot_depth), 2, 64, NULL,
     NULL},
    {"--rank", OPTION_NUMBER, "R", "print only this rank's part", FIELD(rank), 0, RANKS_MOST, NULL, NULL},
    {"--json", OPTION_FLAG, NULL, "print JSON", FIELD(json), 0, 0, NULL, NULL},
    {"--explain", OPTION_FLAG, NULL, "", FIELD(explain), 0, 0, NULL, LATER},
};
static const struct command plan_command = {
    .name = "weft-topo plan",
    .usage = "weft-topo plan --ranks N [--collective C] [--algorithm A] [options]",
    .intro =
        "Print the plan of a collective and prove it right: every contribution arrives exactly once, nothing is read\n"
        "before it is written, nothing can deadlock. The plan goes to standard output, the proof's figures to\n"
        "standard error; exit status 1 if the plan is wrong.",
    .notes = "examples:\n"
             "  weft-topo plan --ranks 4 --algorithm ring --rank 0\n"
             "  weft-topo plan --ranks 7 --collective broadcast --root 3 --algorithm tree --json\n",
    .entries = plan_entries,
    .entry_count = COUNT(plan_entries),
};

static const struct command tool_command = {
    .name = "weft-topo",
    .usage = "weft-topo show|plan [options]",
    .intro = "show    what this machine consists of, and what this build of weft can use\n"
             "plan    print a collective's plan and prove it right\n"
             "Each has its own --help.",
};

static int status_print(const char *what, weft_status status)
{
    fprintf(stderr, "weft-topo: %s: %s: %s\n", what, weft_status_name(status), weft_status_text(status));
    return 1;
}

static int usage_error(const struct command *command, const char *error)
{
    return options_answer(command, OPTIONS_MISTAKE, error);
}

/* Print @p text, which is freed; 1 when standard output does not take it. */
static int text_print(char *text)
{
    size_t length = strlen(text);
    bool printed = fputs(text, stdout) >= 0;
    if (printed && (length == 0 || text[length - 1] != '\n')) printed = putchar('\n') != EOF;
    free(text);
    if (printed && fflush(stdout) == 0) return 0;
    perror("weft-topo: standard output");
    return 1;
}

static int show_run(const struct topo_options *options)
{
    weft_topology *topology = NULL;
    char *text = NULL;
    weft_status status = weft_topology_discover(&topology);
    if (status) return status_print("cannot discover this machine", status);
    status = weft_topology_print(topology, options->json ? WEFT_JSON : WEFT_TEXT, &text);
    weft_topology_destroy(topology);
    if (status) return status_print("cannot print this machine", status);
    if (!options->json) modules_print();
    return text_print(text);
}

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

static int plan_run(const struct topo_options *options)
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
    status = weft_plan_print(plan, rank, options->json ? WEFT_JSON : WEFT_TEXT, &text);
    int exit_code = status ? status_print("cannot print the plan", status) : text_print(text);
    if (exit_code == 0) exit_code = plan_prove(plan);
    weft_plan_destroy(plan);
    return exit_code;
}

static int show_main(int argc, char *argv[])
{
    struct topo_options options = {0};
    struct positionals positionals;
    char error[OPTIONS_ERROR_BYTES];
    enum options_outcome outcome = options_parse(&show_command, argc, argv, &options, &positionals, error);
    if (outcome != OPTIONS_GO_ON) return options_answer(&show_command, outcome, error);
    if (positionals.count)
        return usage_error(&show_command, "reading topology files " LATER "; without FILE it shows this machine");
    return show_run(&options);
}

static int plan_main(int argc, char *argv[])
{
    struct topo_options options = {.rank = UINT64_MAX, .algorithm = WEFT_ALGORITHM_RING};
    struct positionals positionals;
    char error[OPTIONS_ERROR_BYTES];
    enum options_outcome outcome = options_parse(&plan_command, argc, argv, &options, &positionals, error);
    if (outcome != OPTIONS_GO_ON) return options_answer(&plan_command, outcome, error);
    if (positionals.count)
        return usage_error(&plan_command, "planning from topology files " LATER "; write weft-topo plan --ranks N");
    if (!options.rank_count)
        return usage_error(&plan_command, "say for how many ranks, as in weft-topo plan --ranks 4");
    if (options.root >= options.rank_count) return usage_error(&plan_command, "--root must be below --ranks");
    if (options.root && options.collective != WEFT_BROADCAST)
        return usage_error(&plan_command, "--root goes with --collective broadcast");
    if (options.rank != UINT64_MAX && options.rank >= options.rank_count)
        return usage_error(&plan_command, "--rank must be below --ranks");
    return plan_run(&options);
}

int main(int argc, char *argv[])
{
    static const char *const offered[] = {"show", "plan"};
    char error[OPTIONS_ERROR_BYTES];
    const char *word = argc > 1 ? argv[1] : "";
    if (!strcmp(word, "show")) return show_main(argc - 1, argv + 1);
    if (!strcmp(word, "plan")) return plan_main(argc - 1, argv + 1);
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) return options_answer(&tool_command, OPTIONS_HELP, NULL);
    if (!strcmp(word, "--version")) return options_answer(&tool_command, OPTIONS_VERSION, NULL);
    if (!strcmp(word, "check") || !strcmp(word, "simulate")) {
        snprintf(error, sizeof error, "%s " LATER "; there is show, plan", word);
        return usage_error(&tool_command, error);
    }
    int nearest = nearest_word(word, offered, COUNT(offered));
    if (word[0] && nearest >= 0)
        snprintf(error, sizeof error, "there is no subcommand \"%.32s\"; did you mean %s?", word, offered[nearest]);
    else
        snprintf(error, sizeof error, "say what to do, as in weft-topo show or weft-topo plan --ranks 4");
    return usage_error(&tool_command, error);
}
