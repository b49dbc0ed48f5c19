/* SPDX-License-Identifier: Apache-2.0 */
/* weft-topo: what a machine or a cluster consists of, what can be planned over it, and what that takes. */
#include <stdio.h>
#include <string.h>

#include "tools/topo/topo.h"

static const struct command tool_command = {
    .name = "weft-topo",
    .usage = "weft-topo show|check|plan|simulate [FILE...] [options]",
    .intro =
        "show      what this machine, or a FILE's, consists of, and what this build of weft can use\n"
        "check     whether files can be read, and what each of them is\n"
        "plan      the best rings and trees over a FILE's machine and how good any could be; or a plan, proved right\n"
        "simulate  how long a collective takes over a FILE's machine, and what holds it up\n"
        "Each has its own --help.",
};

static const struct {
    const char *name;
    int (*run)(int argc, char *argv[]);
} subcommands[] = {{"show", show_main}, {"check", check_main}, {"plan", plan_main}, {"simulate", simulate_main}};

int main(int argc, char *argv[])
{
    const char *word = argc > 1 ? argv[1] : "", *offered[COUNT(subcommands)];
    char error[OPTIONS_ERROR_BYTES];
    for (size_t i = 0; i < COUNT(subcommands); i++) {
        offered[i] = subcommands[i].name;
        if (!strcmp(word, subcommands[i].name)) return subcommands[i].run(argc - 1, argv + 1);
    }
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) return options_answer(&tool_command, OPTIONS_HELP, NULL);
    if (!strcmp(word, "--version")) return options_answer(&tool_command, OPTIONS_VERSION, NULL);
    int nearest = nearest_word(word, offered, COUNT(offered));
    if (word[0] && nearest >= 0)
        snprintf(error, sizeof error, "there is no subcommand \"%.32s\"; did you mean %s?", word, offered[nearest]);
    else if (word[0])
        snprintf(error, sizeof error, "there is no subcommand \"%.32s\"; there is show, check, plan, simulate", word);
    else
        snprintf(error, sizeof error, "say what to do, as in weft-topo show or weft-topo plan --ranks 4");
    return usage_error(&tool_command, error);
}
