/* SPDX-License-Identifier: Apache-2.0 */
#include "reader_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

uint8_t *file_bytes(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s cannot be opened", path);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long end = ftell(file);
    assert_true(end >= 0);
    rewind(file);
    uint8_t *bytes = calloc((size_t)end + 1, 1);
    assert_non_null(bytes);
    *size = fread(bytes, 1, (size_t)end, file);
    assert_int_equal(*size, end);
    fclose(file);
    return bytes;
}

/* In a buffer of exactly its size, so that a sanitizer sees a step beyond. */
static weft_status read_exactly(const char *name, const uint8_t *bytes, size_t size, weft_topology **topology,
                                struct diagnostic *diagnostic)
{
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    weft_status status = topology_read(name, copy, size, topology, diagnostic);
    free(copy);
    return status;
}

static weft_topology *must_read_bytes(const char *format, const char *name, const uint8_t *bytes, size_t size)
{
    struct diagnostic diagnostic = {0};
    weft_topology *topology = NULL;
    const struct format_reader *reader = format_recognise(&(struct format_source){name, bytes, size});
    assert_non_null(reader);
    assert_string_equal(reader->name, format);
    if (read_exactly(name, bytes, size, &topology, &diagnostic)) fail_msg("%s", diagnostic.text);
    return topology;
}

weft_topology *must_read(const char *format, const char *text)
{
    return must_read_bytes(format, "test", (const uint8_t *)text, strlen(text));
}

weft_topology *must_read_file(const char *format, const char *path)
{
    size_t size;
    uint8_t *bytes = file_bytes(path, &size);
    weft_topology *topology = must_read_bytes(format, path, bytes, size);
    free(bytes);
    return topology;
}

void must_refuse(const char *text, const char *words)
{
    struct diagnostic diagnostic = {0};
    weft_topology *topology = NULL;
    weft_status status = read_exactly("test", (const uint8_t *)text, strlen(text), &topology, &diagnostic);
    if (status == WEFT_OK) fail_msg("was read, not refused with '%s': %s", words, text);
    assert_null(topology);
    assert_true(status == WEFT_BAD_FORMAT || status == WEFT_UNSUPPORTED);
    assert_int_equal(strncmp(diagnostic.text, "test:", 5), 0);
    if (!strstr(diagnostic.text, words)) fail_msg("'%s' does not hold '%s'", diagnostic.text, words);
}

static weft_topology_counts counts_of(const weft_topology *topology)
{
    weft_topology_counts counts = {.size = sizeof counts};
    assert_int_equal(weft_topology_count(topology, &counts), WEFT_OK);
    return counts;
}

void expect_counts(const weft_topology *topology, struct expected_counts expected)
{
    weft_topology_counts counts = counts_of(topology);
    assert_int_equal(counts.hosts, expected.hosts);
    assert_int_equal(counts.gpus, expected.gpus);
    assert_int_equal(counts.nics, expected.nics);
    assert_int_equal(counts.switches, expected.switches);
    assert_int_equal(counts.links, expected.links);
}

uint32_t node_named(const weft_topology *topology, enum node_kind kind, const char *name)
{
    uint32_t found = TOPOLOGY_NONE;
    for (uint32_t i = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].kind != kind || strcmp(topology->nodes[i].name, name) != 0) continue;
        if (found != TOPOLOGY_NONE) fail_msg("there are several %s", name);
        found = i;
    }
    if (found == TOPOLOGY_NONE) fail_msg("there is no %s %s", topology_node_kind_name(kind), name);
    return found;
}

const struct topology_link *link_between(const weft_topology *topology, uint32_t one, uint32_t other)
{
    for (uint32_t i = 0; i < topology->link_count; i++) {
        const struct topology_link *link = &topology->links[i];
        if ((link->from == one && link->to == other) || (link->from == other && link->to == one)) return link;
    }
    fail_msg("no link joins %s and %s", topology->nodes[one].name, topology->nodes[other].name);
    return NULL;
}

uint32_t count_links(const weft_topology *topology, enum link_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->link_count; i++) count += topology->links[i].kind == kind;
    return count;
}

bool has_note(const weft_topology *topology, const char *words)
{
    for (uint32_t i = 0; i < topology->note_count; i++)
        if (strstr(topology->notes[i], words)) return true;
    return false;
}

uint32_t cut_everywhere(const char *path)
{
    size_t size;
    uint32_t read = 0;
    uint8_t *bytes = file_bytes(path, &size);
    weft_topology *whole = NULL;
    struct diagnostic diagnostic = {0};
    if (read_exactly(path, bytes, size, &whole, &diagnostic)) fail_msg("%s", diagnostic.text);
    weft_topology_counts most = counts_of(whole);
    for (size_t part = 0; part < 64; part++) {
        weft_topology *topology = NULL;
        diagnostic = (struct diagnostic){0};
        weft_status status = read_exactly(path, bytes, size * part / 64, &topology, &diagnostic);
        if (status) {
            assert_true(status == WEFT_BAD_FORMAT || status == WEFT_UNSUPPORTED);
            assert_null(topology);
            assert_true(diagnostic.text[0] != '\0');
            continue;
        }
        read++;
        weft_topology_counts counts = counts_of(topology);
        assert_true(counts.hosts <= most.hosts && counts.gpus <= most.gpus && counts.nics <= most.nics);
        assert_true(counts.switches <= most.switches && counts.links <= most.links);
        weft_topology_destroy(topology);
    }
    weft_topology_destroy(whole);
    free(bytes);
    return read;
}
