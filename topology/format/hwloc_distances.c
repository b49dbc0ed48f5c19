/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrices of hwloc's XML: bandwidths between GPUs become links, everything else (NUMALatency, XGMIHops) stays a
 * matrix.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/format/hwloc_xml.h"

enum { OBJECTS_MAX = 1024 };

struct matrix {
    struct hwloc_file *file;
    const struct xml_element *element;
    const char *name;
    uint32_t *nodes; /* TOPOLOGY_NONE for an object that the topology does not have */
    uint64_t *values;
    uint32_t count, node_count, missing_count;
    size_t value_count;
};

static weft_status matrix_error(const struct matrix *matrix, const char *what, struct span word)
{
    return format_error(matrix->file->source, matrix->element->place, matrix->file->diagnostic,
                        "the distances %.40s %s '%.*s'; expected %u objects and a value for each pair", matrix->name,
                        what, SPAN_ARGS(word), matrix->count);
}

/* "OSDev:332" where objects are of several types, else a number: of the operating system, or unique in the file. */
static weft_status object_find(struct matrix *matrix, struct span word)
{
    const char *type = xml_attribute(matrix->element, "type"), *indexing = xml_attribute(matrix->element, "indexing");
    const char *colon = memchr(word.at, ':', word.size);
    bool by_gp = colon || (indexing && strcmp(indexing, "gp") == 0);
    struct span digits = colon ? (struct span){colon + 1, word.size - (size_t)(colon + 1 - word.at)} : word;
    uint64_t number;
    char key[64];
    if (matrix->node_count == matrix->count || !span_unsigned(digits, UINT64_MAX, &number) || (!by_gp && !type))
        return matrix_error(matrix, "have the object", word);
    snprintf(key, sizeof key, "%.32s %" PRIu64, by_gp ? "gp" : type, number);
    uint32_t node = name_table_find(by_gp ? &matrix->file->gp : &matrix->file->places, (struct span){key, strlen(key)});
    matrix->missing_count += node == TOPOLOGY_NONE;
    matrix->nodes[matrix->node_count++] = node;
    return WEFT_OK;
}

static weft_status value_take(struct matrix *matrix, struct span word)
{
    if (matrix->value_count == (size_t)matrix->count * matrix->count ||
        !span_unsigned(word, UINT64_MAX, &matrix->values[matrix->value_count]))
        return matrix_error(matrix, "have the value", word);
    matrix->value_count++;
    return WEFT_OK;
}

static weft_status words_each(struct matrix *matrix, const struct xml_element *element,
                              weft_status (*each)(struct matrix *matrix, struct span word))
{
    struct line_walk walk = {.source = &(struct format_source){
                                 .name = "", .bytes = (const uint8_t *)element->text.at, .size = element->text.size}};
    struct span line, word;
    weft_status status = WEFT_OK;
    while (!status && line_next(&walk, &line))
        while (!status && span_word(&line, &word)) status = each(matrix, word);
    return status;
}

/* Megabytes per second. What stands in one cell is one way. */
static weft_status links_add(const struct matrix *matrix, enum link_kind kind)
{
    weft_topology *topology = matrix->file->topology;
    for (uint32_t i = 0; i < matrix->count; i++) {
        for (uint32_t j = i + 1; j < matrix->count; j++) {
            uint64_t there = matrix->values[(size_t)i * matrix->count + j];
            uint64_t back = matrix->values[(size_t)j * matrix->count + i];
            if (there == 0 && back == 0) continue;
            const struct topology_link link = {.kind = kind,
                                               .from = matrix->nodes[i],
                                               .to = matrix->nodes[j],
                                               .bandwidth = {(double)there * 1e6, FIGURE_FILE},
                                               .reverse_bandwidth = {(double)back * 1e6, FIGURE_FILE}};
            struct diagnostic found = {0};
            uint32_t index = topology_add_link(topology, &link);
            if (index == TOPOLOGY_NONE) return hwloc_no_memory(matrix->file);
            weft_status status = topology_check_link(topology, index, &found);
            if (status)
                return format_error(matrix->file->source, matrix->element->place, matrix->file->diagnostic, "%s",
                                    found.text);
        }
    }
    return WEFT_OK;
}

static weft_status distances_add(const struct matrix *matrix)
{
    size_t count = (size_t)matrix->count * matrix->count;
    double *values = calloc(count + 1, sizeof *values);
    if (!values) return hwloc_no_memory(matrix->file);
    for (size_t i = 0; i < count; i++) values[i] = (double)matrix->values[i];
    const struct topology_distances distances = {
        .name = matrix->name, .nodes = matrix->nodes, .node_count = matrix->count, .values = values};
    topology_add_distances(matrix->file->topology, &distances);
    free(values);
    return WEFT_OK;
}

static weft_status matrix_use(const struct matrix *matrix)
{
    if (matrix->node_count < matrix->count || matrix->value_count < (size_t)matrix->count * matrix->count)
        return matrix_error(matrix, "end early:", (struct span){"", 0});
    if (matrix->missing_count > 0) {
        topology_note(matrix->file->topology,
                      "line %u: the distances %.40s are left out: %u of their objects are no part of the topology",
                      matrix->element->place.line, matrix->name, matrix->missing_count);
        return WEFT_OK;
    }
    if (strcmp(matrix->name, "NVLinkBandwidth") == 0) return links_add(matrix, LINK_NVLINK);
    if (strcmp(matrix->name, "XGMIBandwidth") == 0) return links_add(matrix, LINK_XGMI);
    return distances_add(matrix);
}

weft_status hwloc_distances_read(struct hwloc_file *file, const struct xml_element *element)
{
    struct matrix matrix = {.file = file, .element = element, .name = xml_attribute(element, "name")};
    uint64_t count = 0;
    if (!matrix.name) matrix.name = "without a name";
    weft_status status = hwloc_unsigned(file, element, "nbobjs", OBJECTS_MAX, &count);
    if (status) return status;
    matrix.count = (uint32_t)count;
    matrix.nodes = calloc(count + 1, sizeof *matrix.nodes);
    matrix.values = calloc(count * count + 1, sizeof *matrix.values);
    if (!matrix.nodes || !matrix.values) status = hwloc_no_memory(file);
    for (const struct xml_element *child = element->first; child && !status; child = child->next) {
        if (xml_is(child, "indexes")) status = words_each(&matrix, child, object_find);
        if (xml_is(child, "u64values")) status = words_each(&matrix, child, value_take);
    }
    if (!status) status = matrix_use(&matrix);
    free(matrix.values);
    free(matrix.nodes);
    return status;
}
