/* SPDX-License-Identifier: Apache-2.0 */
/* What weft-topo's subcommands share. */
#ifndef TOOLS_TOPO_H
#define TOOLS_TOPO_H

#include <stdbool.h>
#include <stdint.h>
#include <weft/plan.h>
#include <weft/topology.h>

#include "tools/common/options.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum topo_format { FORMAT_TEXT, FORMAT_JSON, FORMAT_WEFT, FORMAT_DOT, FORMAT_SVG };

struct topo_options {
    bool json, explain;
    uint64_t rank_count, root, channel_count, slot_depth, rank, bytes, slice_count, seconds;
    int collective, algorithm, format;
};
#define FIELD(name) offsetof(struct topo_options, name)
enum { RANKS_MOST = 1 << 20 };

extern const struct option_word topo_collectives[];
extern const struct option_word topo_algorithms[];
extern const struct option_word topo_plan_formats[]; /* what plan and simulate can print */

/* Each is a subcommand: argv[0] is its name. Returns the exit code. */
int show_main(int argc, char *argv[]);
int check_main(int argc, char *argv[]);
int plan_main(int argc, char *argv[]);
int simulate_main(int argc, char *argv[]);

/* The one line for a mistake; 2. */
int usage_error(const struct command *command, const char *error);
/* "weft-topo: WHAT: ..."; 1. */
int status_print(const char *what, weft_status status);
/* Print @p text, which is freed; 1 when standard output does not take it. */
int text_print(char *text);
/* The same for a picture in dot's language: as it is, or through dot to SVG. */
int picture_print(char *text, bool svg);

/* The topology in @p path. NULL, and said why, when there is none. */
weft_topology *topology_open(const char *path);
/* --format and --json: the format wanted, or -1 and @p error. */
int format_of(const struct topo_options *options, char error[OPTIONS_ERROR_BYTES]);

/* For weft_topology_request: says on standard error what is going on, from the first second on. */
bool progress_print(void *context, const char *what, double share_done);
struct progress {
    double begun_s, said_s;
    bool said;
};
struct progress progress_begin(void);
void progress_end(const struct progress *progress);
#endif
