/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real files, of which the project holds none: every one under the folder WEFT_TOPOLOGY_CORPUS is read or refused as
 * corpus_table.inc says, whole and cut off anywhere.
 */
#include <fts.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reader_support.h"

static const struct row {
    const char *file, *format;
    bool refused;
    struct expected_counts counts;
} rows[] = {
#define READ(hosts, gpus, nics, switches, links)                                                                       \
    false,                                                                                                             \
    {                                                                                                                  \
        hosts, gpus, nics, switches, links                                                                             \
    }
#define REFUSED                                                                                                        \
    true,                                                                                                              \
    {                                                                                                                  \
        0, 0, 0, 0, 0                                                                                                  \
    }
#include "corpus_table.inc"
};
enum { ROW_COUNT = sizeof rows / sizeof *rows };

static const char *corpus;

static const struct row *row_of(const char *path)
{
    const char *name = path + strlen(corpus);
    while (*name == '/') name++;
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (strcmp(rows[i].file, name) == 0) return &rows[i];
    return NULL;
}

/* False, with a line saying so, where the file is not what the table says. */
static bool file_agrees(const char *path, const struct row *row)
{
    size_t size;
    uint8_t *bytes = file_bytes(path, &size);
    struct diagnostic diagnostic = {0};
    weft_topology *topology = NULL;
    const struct format_reader *reader = format_recognise(&(struct format_source){path, bytes, size});
    weft_status status = topology_read(path, bytes, size, &topology, &diagnostic);
    free(bytes);
    bool agrees = false;
    if (!reader || strcmp(reader->name, row->format) != 0) {
        print_error("%s: taken for %s; expected %s\n", row->file, reader ? reader->name : "nothing", row->format);
    } else if (row->refused) {
        agrees = status == WEFT_UNSUPPORTED && strstr(diagnostic.text, reader->title) != NULL;
        if (!agrees) print_error("%s: not refused by its name: %s\n", row->file, diagnostic.text);
    } else if (status) {
        print_error("%s\n", diagnostic.text);
    } else {
        weft_topology_counts found = {.size = sizeof found};
        const struct expected_counts *counts = &row->counts;
        assert_int_equal(weft_topology_count(topology, &found), WEFT_OK);
        agrees = found.hosts == counts->hosts && found.gpus == counts->gpus && found.nics == counts->nics &&
                 found.switches == counts->switches && found.links == counts->links;
        if (!agrees)
            print_error("%s: %u hosts, %u GPUs, %u NICs, %u switches, %u links; expected %u, %u, %u, %u, %u\n",
                        row->file, found.hosts, found.gpus, found.nics, found.switches, found.links, counts->hosts,
                        counts->gpus, counts->nics, counts->switches, counts->links);
    }
    weft_topology_destroy(topology);
    return agrees;
}

static void every_file_is_read_or_refused_as_the_table_says(void **state)
{
    (void)state;
    char *roots[] = {(char *)corpus, NULL};
    FTS *walk = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
    assert_non_null(walk);
    uint32_t files = 0, wrong = 0;
    for (FTSENT *entry; (entry = fts_read(walk));) {
        if (entry->fts_info != FTS_F) continue;
        const struct row *row = row_of(entry->fts_path);
        files++;
        if (!row) print_error("%s: no row in corpus_table.inc\n", entry->fts_path);
        wrong += !row || !file_agrees(entry->fts_path, row);
    }
    fts_close(walk);
    print_message("%u files, %d rows\n", files, ROW_COUNT);
    assert_int_equal(wrong, 0);
    assert_int_equal(files, ROW_COUNT);
}

static void a_file_cut_off_is_no_larger(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        char path[4096];
        if (rows[i].refused) continue;
        snprintf(path, sizeof path, "%s/%s", corpus, rows[i].file);
        cut_everywhere(path);
    }
}

int main(void)
{
    corpus = getenv("WEFT_TOPOLOGY_CORPUS");
    if (!corpus || !*corpus) {
        fprintf(stderr, "skipped: WEFT_TOPOLOGY_CORPUS names no folder of captured machines and fabrics\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_is_read_or_refused_as_the_table_says),
        cmocka_unit_test(a_file_cut_off_is_no_larger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
