/* SPDX-License-Identifier: Apache-2.0 */
/* weft-topo show and check: what a machine or a file consists of. */
#include <stdio.h>
#include <stdlib.h>

#include "tools/topo/topo.h"

static const struct option_word show_formats[] = {{"text", FORMAT_TEXT, NULL}, {"json", FORMAT_JSON, NULL},
                                                  {"weft", FORMAT_WEFT, NULL}, {"svg", FORMAT_SVG, NULL},
                                                  {"dot", FORMAT_DOT, NULL},   {NULL, 0, NULL}};
static const struct option_entry show_entries[] = {
    {"--json", OPTION_FLAG, NULL, "print JSON: counts and the graph", FIELD(json), 0, 0, NULL, NULL},
    {"--format", OPTION_WORD, "F", "text, json, weft (YAML), svg (by graphviz), dot", FIELD(format), 0, 0, show_formats,
     NULL},
};
static const struct command show_command = {
    .name = "weft-topo show",
    .usage = "weft-topo show [FILE] [--json] [--format F]",
    .intro =
        "Show what a machine or a cluster consists of: packages, memory, cores, PCI, GPUs, NICs, switches, and the\n"
        "links between them. FILE describes one, in any format of docs/formats/ (NCCL, hwloc, InfiniBand, Slurm,\n"
        "nvidia-smi, weft's own), recognised by its content. Without FILE: this machine, and what this build of weft\n"
        "can use; what the process's cpuset excludes is not shown.",
    .notes =
        "a figure is followed by where it came from: datasheet (follows from the standard), reported (by the device\n"
        "or its driver), measured, file; where nothing is known the figure is unknown, never guessed.\n"
        "the JSON has \"hosts\" \"gpus\" \"nics\" \"switches\" \"links\" (counts) and \"graph\" with \"nodes\" and "
        "\"edges\";\n"
        "bandwidths in bytes per second, latencies in seconds.\n\n"
        "examples:\n"
        "  weft-topo show\n"
        "  weft-topo show --json | jq '.graph.nodes[] | select(.kind == \"nic\")'\n"
        "  weft-topo show cluster.xml --format weft > cluster.yaml\n",
    .entries = show_entries,
    .entry_count = COUNT(show_entries),
};

/* Above this machine: what weft can use of it. */
static void modules_print(void)
{
    char *text = NULL;
    weft_status status = weft_modules_describe(WEFT_TEXT, &text);
    if (status)
        status_print("cannot list this build's modules", status);
    else
        printf("weft %s\n%s\n", weft_version(), text);
    free(text);
}

static int topology_show(const weft_topology *topology, int format, bool discovered)
{
    char *text = NULL, error[256] = "";
    weft_status status;
    if (format == FORMAT_WEFT)
        status = weft_topology_write(topology, &text);
    else if (format == FORMAT_SVG || format == FORMAT_DOT)
        status = weft_topology_draw(topology, NULL, &text, error);
    else
        status = weft_topology_print(topology, format == FORMAT_JSON ? WEFT_JSON : WEFT_TEXT, &text);
    if (status) return status_print("cannot print this topology", status);
    if (format == FORMAT_SVG || format == FORMAT_DOT) return picture_print(text, format == FORMAT_SVG);
    if (discovered && format == FORMAT_TEXT) modules_print();
    return text_print(text);
}

int show_main(int argc, char *argv[])
{
    struct topo_options options = {0};
    struct positionals positionals;
    char error[OPTIONS_ERROR_BYTES];
    enum options_outcome outcome = options_parse(&show_command, argc, argv, &options, &positionals, error);
    if (outcome != OPTIONS_GO_ON) return options_answer(&show_command, outcome, error);
    if (positionals.count > 1) return usage_error(&show_command, "show takes one FILE; check takes several");
    int format = format_of(&options, error);
    if (format < 0) return usage_error(&show_command, error);
    weft_topology *topology = NULL;
    if (positionals.count) {
        if (!(topology = topology_open(positionals.values[0]))) return 1;
    } else {
        weft_status status = weft_topology_discover(&topology);
        if (status) return status_print("cannot discover this machine", status);
    }
    int exit_code = topology_show(topology, format, positionals.count == 0);
    weft_topology_destroy(topology);
    return exit_code;
}

static const struct command check_command = {
    .name = "weft-topo check",
    .usage = "weft-topo check FILE...",
    .intro = "Read each FILE and say in a line what it is: its format and what it counts, or what is wrong with it.\n"
             "Exit status 1 if any of them cannot be read.",
    .notes = "examples:\n"
             "  weft-topo check /etc/slurm/topology.conf nccl.xml\n",
};

static void plural_print(uint32_t count, const char *singular, const char *plural, const char *end)
{
    printf("%u %s%s", count, count == 1 ? singular : plural, end);
}

static int file_check(const char *path)
{
    weft_topology *topology = NULL;
    char error[256] = "";
    weft_status status = weft_topology_read(path, &topology, error);
    if (status) {
        printf("%s\n", error[0] ? error : weft_status_text(status));
        return 1;
    }
    weft_topology_counts counts = {.size = sizeof counts};
    status = weft_topology_count(topology, &counts);
    if (!status) {
        printf("%s: %s: ", path, counts.format ? counts.format : "unknown format");
        plural_print(counts.hosts, "host", "hosts", ", ");
        plural_print(counts.gpus, "GPU", "GPUs", ", ");
        plural_print(counts.nics, "NIC", "NICs", ", ");
        plural_print(counts.switches, "switch", "switches", ", ");
        plural_print(counts.links, "link", "links", "\n");
    }
    weft_topology_destroy(topology);
    return status ? status_print(path, status) : 0;
}

int check_main(int argc, char *argv[])
{
    struct topo_options options = {0};
    struct positionals positionals;
    char error[OPTIONS_ERROR_BYTES];
    enum options_outcome outcome = options_parse(&check_command, argc, argv, &options, &positionals, error);
    if (outcome != OPTIONS_GO_ON) return options_answer(&check_command, outcome, error);
    if (positionals.count == 0)
        return usage_error(&check_command, "name the files, as in weft-topo check topology.xml");
    int exit_code = 0;
    for (size_t i = 0; i < positionals.count; i++)
        if (file_check(positionals.values[i])) exit_code = 1;
    if (fflush(stdout) == 0) return exit_code;
    perror("weft-topo: standard output");
    return 1;
}
