/* SPDX-License-Identifier: Apache-2.0 */
/* What every reader of topology/format promises of any bytes: a fuzz target is this and the name of its reader. */
#ifndef TESTS_FUZZ_READER_TARGET_H
#define TESTS_FUZZ_READER_TARGET_H

#include <string.h>

#include "tests/fuzz/target.h"
#include "topology/format/format_internal.h"

/* Read and seal; *sealed is NULL unless both went well. */
static inline weft_status reader_try(const struct format_reader *reader, const struct format_source *source,
                                     weft_topology **sealed, struct diagnostic *diagnostic)
{
    *sealed = NULL;
    weft_topology *topology = topology_new();
    if (!topology) return WEFT_OUT_OF_MEMORY;
    weft_status status = reader->read(source, topology, diagnostic);
    if (status == WEFT_OK) status = topology_seal(topology, diagnostic);
    if (status == WEFT_OK)
        *sealed = topology;
    else
        weft_topology_destroy(topology);
    return status;
}

/* A few bytes may stand for very many hosts. They are read; but checking them twice takes a fuzzer's time for nothing.
 */
enum { NODES_CHECKED_MAX = 512 };

/*
 * Recognising is safe; a refusal is bad format and comes with a sentence; what was read is a sound topology, prints,
 * and is the same when it is read again.
 */
static inline int reader_fuzz(const struct format_reader *reader, const uint8_t *bytes, size_t size)
{
    const struct format_source source = {"input", bytes ? bytes : (const uint8_t *)"", size};
    struct diagnostic diagnostic = {0}, again = {0};
    weft_topology *topology, *second;
    PROMISE(reader->recognise(&source) <= 100);
    weft_status status = reader_try(reader, &source, &topology, &diagnostic);
    PROMISE(status == WEFT_OK || status == WEFT_BAD_FORMAT || status == WEFT_OUT_OF_MEMORY);
    PROMISE(status == WEFT_OK || diagnostic.text[0] != '\0');
    if (topology && topology->node_count > NODES_CHECKED_MAX) {
        weft_topology_destroy(topology);
        return 0;
    }
    PROMISE(reader_try(reader, &source, &second, &again) == status);
    PROMISE(strcmp(diagnostic.text, again.text) == 0);
    if (topology) {
        char *text = NULL;
        PROMISE(topology_hash(topology) == topology_hash(second));
        weft_status printed = weft_topology_print(topology, WEFT_JSON, &text);
        PROMISE(printed == WEFT_OK || printed == WEFT_OUT_OF_MEMORY);
        free(text);
    }
    weft_topology_destroy(second);
    weft_topology_destroy(topology);
    return 0;
}

/* What topology_read() takes is also written as weft's YAML, which reads back as the same. */
static inline void written_fuzz(const uint8_t *bytes, size_t size)
{
    weft_topology *topology = NULL, *back = NULL;
    char *yaml = NULL;
    if (topology_read("input", bytes, size, &topology, NULL) != WEFT_OK) return;
    if (weft_topology_write(topology, &yaml) == WEFT_OK) {
        struct diagnostic diagnostic = {0};
        weft_status status = topology_read("written", (const uint8_t *)yaml, strlen(yaml), &back, &diagnostic);
        if (status != WEFT_OK && status != WEFT_OUT_OF_MEMORY) fprintf(stderr, "%s\n", diagnostic.text);
        PROMISE(status == WEFT_OK || status == WEFT_OUT_OF_MEMORY);
        PROMISE(status != WEFT_OK || topology_equal(topology, back));
    }
    free(yaml);
    weft_topology_destroy(back);
    weft_topology_destroy(topology);
}
#endif
