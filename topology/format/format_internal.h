/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the readers share: their list, errors that name a place, and walking over text line by line and word by word.
 * A reader keeps what it parsed in a struct of its own on the stack and adds nodes and links as it learns of them;
 * sealing and its invariants are topology_read()'s part.
 */
#ifndef TOPOLOGY_FORMAT_INTERNAL_H
#define TOPOLOGY_FORMAT_INTERNAL_H

#include "topology/format/format.h"

/* Those that are read, one per file of this folder: format_ibsim is ibsim.c's. */
#define FORMATS_READ(X)                                                                                                \
    X(weft_yaml)                                                                                                       \
    X(nccl_topology)                                                                                                   \
    X(nccl_graph)                                                                                                      \
    X(hwloc_xml)                                                                                                       \
    X(ibnetdiscover)                                                                                                   \
    X(ibsim)                                                                                                           \
    X(nvidia_smi)                                                                                                      \
    X(slurm_conf)                                                                                                      \
    X(slurm_yaml)
/* Those of foreign.c, refused by name. */
#define FORMATS_FOREIGN(X)                                                                                             \
    X(archive)                                                                                                         \
    X(wide_text)                                                                                                       \
    X(web_page)                                                                                                        \
    X(manual_page)                                                                                                     \
    X(restructured_text)                                                                                               \
    X(lstopo_console)                                                                                                  \
    X(ibutils_topology)                                                                                                \
    X(ibutils_system)                                                                                                  \
    X(ibdiagnet_links)                                                                                                 \
    X(forwarding_tables)                                                                                               \
    X(ibnetdiscover_ports)                                                                                             \
    X(ibnetdiscover_list)                                                                                              \
    X(iblinkinfo)                                                                                                      \
    X(astra_sim_network)                                                                                               \
    X(astra_sim_system)                                                                                                \
    X(htsim_topology)                                                                                                  \
    X(goal_schedule)                                                                                                   \
    X(taccl_profile)                                                                                                   \
    X(taccl_sketch)                                                                                                    \
    X(slurm_settings)                                                                                                  \
    X(topograph_model)                                                                                                 \
    X(rocm_smi)                                                                                                        \
    X(nvidia_smi_status)                                                                                               \
    X(table)                                                                                                           \
    X(prose)
#define FORMAT_DECLARE(word) extern const struct format_reader format_##word;
FORMATS_READ(FORMAT_DECLARE)
FORMATS_FOREIGN(FORMAT_DECLARE)
#undef FORMAT_DECLARE

/* A piece of the source, not terminated. */
struct span {
    const char *at;
    size_t size;
};

/* Where a message points: both count from 1; 0 is left out of it. */
struct place {
    uint32_t line, column;
};

/*
 * "NAME:LINE:COLUMN: ..." into @p diagnostic; the sentence says what was found, then what was expected, as in
 *     format_error(source, place, diagnostic, "found '%.*s'; expected a link width from 1 to 32", SPAN_ARGS(span))
 * Returns WEFT_BAD_FORMAT. A long name loses its beginning, so that the sentence fits.
 */
__attribute__((format(printf, 4, 5))) weft_status format_error(const struct format_source *source, struct place place,
                                                               struct diagnostic *diagnostic, const char *format, ...);

/* For "%.*s": at most 40 bytes of a span, so that a hostile file cannot push the rest out of a message. */
#define SPAN_ARGS(span) ((int)((span).size < 40 ? (span).size : 40)), (span).at

/* A walk over the lines of a source; an all-zero one with its source stands at the beginning. */
struct line_walk {
    const struct format_source *source;
    size_t at;     /* offset of the next line */
    uint32_t line; /* number of the current one, from 1 */
};
/* The next line without its end ("\n" or "\r\n"); false after the last. */
bool line_next(struct line_walk *walk, struct span *line);
/* The place of @p inside, which points into @p line, the current line. */
struct place line_place(const struct line_walk *walk, struct span line, const char *inside);

bool span_equal(struct span span, const char *word);
bool span_begins(struct span span, const char *word);
/* Without the blanks (space, tab) at both ends. */
struct span span_trim(struct span span);
/* Cut the next run of non-blanks off the front of *rest; false when only blanks are left. */
bool span_word(struct span *rest, struct span *word);
/* The whole span as a number: decimal, or hexadecimal after "0x"; false if it is none or greater than @p most. */
bool span_unsigned(struct span span, uint64_t most, uint64_t *value);
/* The whole span as a finite decimal number, "." whatever the locale; false if it is none. */
bool span_number(struct span span, double *value);
/* A terminated copy that lives as long as the topology; NULL when out of memory (which the topology remembers). */
char *span_copy(weft_topology *topology, struct span span);
/* Does @p word occur in the first @p window bytes of the source? For recognise(). */
bool source_contains(const struct format_source *source, const char *word, size_t window);
#endif
