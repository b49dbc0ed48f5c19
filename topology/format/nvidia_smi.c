/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The matrix of `nvidia-smi topo -m`: how each two of a machine's GPUs and NICs reach each other. Shells, wikis and
 * mails leave prompts, fences and escape sequences around it, which are ignored, as is the legend but for NICs' names.
 * What it says becomes a graph in nvidia_smi_graph.c.
 */
#include "topology/format/nvidia_smi.h"

#include <stdlib.h>
#include <string.h>

enum {
    WINDOW_BYTES = 1 << 16,
    LINE_BYTES = 1 << 12, /* looked at to recognise a heading */
    WORD_BYTES_MAX = 64   /* of a device's name */
};

struct parser {
    struct matrix *matrix;
    struct line_walk walk;
    uint32_t row_count;
    bool has_heading, in_nic_legend;
};

/* "CPU Affinity" and "NUMA Affinity" of a row; "N/A" and what is not there are none. */
static weft_status affinity_read(const struct parser *parser, struct span rest, struct matrix_device *device);

static weft_status found(const struct parser *parser, struct span what, const char *expected)
{
    const struct matrix *matrix = parser->matrix;
    return format_error(matrix->source, (struct place){parser->walk.line, 0}, matrix->diagnostic,
                        "found '%.*s'; expected %s", SPAN_ARGS(what), expected);
}

/* "GPU7": the number behind @p prefix. */
static bool numbered(struct span word, const char *prefix, uint64_t *number)
{
    size_t size = strlen(prefix);
    return span_begins(word, prefix) &&
           span_unsigned((struct span){word.at + size, word.size - size}, MATRIX_DEVICES_MAX * 16, number);
}

static bool is_device_word(struct span word)
{
    if (word.size == 0 || word.size > WORD_BYTES_MAX) return false;
    for (size_t i = 0; i < word.size; i++) {
        char byte = word.at[i];
        bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        bool digit = byte >= '0' && byte <= '9';
        if (!letter && (i == 0 || (!digit && (byte == '\0' || !strchr("_-.:", byte))))) return false;
    }
    return true;
}

/* The line as a terminal shows it: without escape sequences (ECMA-48: ESC [ parameters, and a letter). */
static struct span line_clean(struct span line, char *clean, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < line.size && length < size; i++) {
        if (line.at[i] != '\033') {
            clean[length++] = line.at[i];
            continue;
        }
        if (i + 1 < line.size && line.at[i + 1] == '[') {
            i += 2;
            while (i < line.size && (line.at[i] < '@' || line.at[i] > '~')) i++;
        }
    }
    return (struct span){clean, length};
}

/* A line that begins with the name of a GPU, whose next word is another device or an affinity's heading. */
static bool is_heading(struct span line)
{
    struct span rest = line, first, second, third;
    uint64_t number;
    if (!span_word(&rest, &first) || !numbered(first, "GPU", &number) || !span_word(&rest, &second)) return false;
    if (span_equal(second, "CPU")) return span_word(&rest, &third) && span_equal(third, "Affinity");
    if (numbered(second, "GPU", &number) || numbered(second, "NIC", &number)) return true;
    /* Older drivers write a NIC's own name. No relation has a small letter. */
    return is_device_word(second) && second.at[0] >= 'a' && second.at[0] <= 'z';
}

static weft_status heading_take(struct parser *parser, struct span line)
{
    struct matrix *matrix = parser->matrix;
    struct span rest = line, word;
    if (parser->has_heading) return found(parser, line, "one matrix");
    parser->has_heading = true;
    while (span_word(&rest, &word)) {
        if (span_equal(word, "CPU") || span_equal(word, "NUMA")) break;
        struct matrix_device device = {.line = parser->walk.line, .numa_node = TOPOLOGY_NONE};
        uint64_t number = TOPOLOGY_NONE;
        if (!is_device_word(word)) return found(parser, word, "the name of a GPU or NIC");
        if (matrix->device_count == MATRIX_DEVICES_MAX) return found(parser, word, "256 devices at most");
        device.is_gpu = numbered(word, "GPU", &number);
        device.index = device.is_gpu || numbered(word, "NIC", &number) ? (uint32_t)number : TOPOLOGY_NONE;
        device.name = span_copy(matrix->topology, word);
        if (!device.name) return diagnose(matrix->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read a matrix");
        /* A NIC called NIC3 has its own name in the legend, if anywhere. */
        device.verbs_device = device.index == TOPOLOGY_NONE ? device.name : NULL;
        for (uint32_t i = 0; i < matrix->device_count; i++)
            if (strcmp(matrix->devices[i].name, device.name) == 0) return found(parser, word, "every device once");
        matrix->devices[matrix->device_count++] = device;
    }
    matrix->cells = calloc((size_t)matrix->device_count * matrix->device_count, sizeof *matrix->cells);
    if (!matrix->cells) return diagnose(matrix->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read a matrix");
    return WEFT_OK;
}

static bool cell_read(struct span word, struct matrix_cell *cell)
{
    static const struct {
        const char *word;
        enum relation relation;
    } words[] = {{"X", RELATION_SELF},    {"PIX", RELATION_PIX}, {"PXB", RELATION_PXB}, {"PHB", RELATION_PHB},
                 {"NODE", RELATION_NODE}, {"SYS", RELATION_SYS}, {"SOC", RELATION_SYS}};
    uint64_t count;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!span_equal(word, words[i].word)) continue;
        *cell = (struct matrix_cell){words[i].relation, 0};
        return true;
    }
    if (!span_begins(word, "NV") || !span_unsigned((struct span){word.at + 2, word.size - 2}, UINT8_MAX, &count) ||
        count == 0)
        return false;
    *cell = (struct matrix_cell){RELATION_NVLINK, (uint8_t)count};
    return true;
}

static weft_status row_take(struct parser *parser, struct span line)
{
    struct matrix *matrix = parser->matrix;
    struct span rest = line, word;
    uint32_t row = parser->row_count;
    struct matrix_device *device = &matrix->devices[row];
    span_word(&rest, &word);
    if (!span_equal(word, device->name)) {
        char expected[WORD_BYTES_MAX + 32] = "the row of ";
        return found(parser, word, strncat(expected, device->name, WORD_BYTES_MAX));
    }
    device->line = parser->walk.line;
    for (uint32_t column = 0; column < matrix->device_count; column++) {
        struct matrix_cell *cell = matrix_cell(matrix, row, column);
        if (!span_word(&rest, &word)) return found(parser, line, "a relation for each device");
        if (!cell_read(word, cell)) return found(parser, word, "X, PIX, PXB, PHB, NODE, SYS or NV and a number");
        if ((cell->relation == RELATION_SELF) != (row == column))
            return found(parser, word, "X where a device meets itself, and only there");
        if (cell->relation == RELATION_NVLINK && !(device->is_gpu && matrix->devices[column].is_gpu))
            return found(parser, word, "NVLinks between GPUs only");
    }
    parser->row_count++;
    return device->is_gpu ? affinity_read(parser, rest, device) : WEFT_OK;
}

static weft_status affinity_read(const struct parser *parser, struct span rest, struct matrix_device *device)
{
    struct span cpus, numa;
    uint64_t number;
    if (!span_word(&rest, &cpus) || span_equal(cpus, "N/A")) cpus.size = 0;
    if (cpus.size > 0 && strspn(cpus.at, "0123456789,-") < cpus.size)
        return found(parser, cpus, "numbers of CPUs such as 0-15,32-47");
    device->cpus = cpus;
    /* It may also be several: those nearest to a GPU whose own has no memory. */
    if (span_word(&rest, &numa) && span_unsigned(numa, MATRIX_NUMA_MAX, &number)) device->numa_node = (uint32_t)number;
    return WEFT_OK;
}

/* "  NIC0: mlx5_0" */
static weft_status legend_take(struct parser *parser, struct span line)
{
    struct span rest = line, word, name, more;
    uint64_t number;
    if (!span_word(&rest, &word) || word.size < 2 || word.at[word.size - 1] != ':') return WEFT_OK;
    word.size--;
    if (!numbered(word, "NIC", &number)) return WEFT_OK;
    if (!span_word(&rest, &name) || span_word(&rest, &more) || !is_device_word(name))
        return found(parser, line, "a NIC and its name, as in NIC0: mlx5_0");
    for (uint32_t i = 0; i < parser->matrix->device_count; i++) {
        struct matrix_device *device = &parser->matrix->devices[i];
        if (device->is_gpu || device->index != number) continue;
        device->verbs_device = span_copy(parser->matrix->topology, name);
        return WEFT_OK;
    }
    return found(parser, word, "a NIC of the matrix");
}

static weft_status line_take(struct parser *parser, struct span line)
{
    struct span trimmed = span_trim(line);
    if (is_heading(line)) return heading_take(parser, line);
    if (!parser->has_heading || trimmed.size == 0) return WEFT_OK;
    if (parser->row_count < parser->matrix->device_count) return row_take(parser, line);
    if (span_equal(trimmed, "NIC Legend:")) parser->in_nic_legend = true;
    return parser->in_nic_legend ? legend_take(parser, line) : WEFT_OK;
}

static weft_status lines_read(struct parser *parser)
{
    const struct matrix *matrix = parser->matrix;
    struct span line;
    weft_status status = WEFT_OK;
    while (!status && line_next(&parser->walk, &line)) {
        char *clean = arena_alloc(&matrix->topology->arena, line.size + 1, 1);
        if (!clean) return diagnose(matrix->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read a matrix");
        status = line_take(parser, line_clean(line, clean, line.size));
    }
    if (!status && parser->row_count < matrix->device_count)
        return format_error(matrix->source, (struct place){0}, matrix->diagnostic,
                            "ends before the row of %s; expected a row for each column",
                            matrix->devices[parser->row_count].name);
    return status;
}

static weft_status read_nvidia_smi(const struct format_source *source, weft_topology *topology,
                                   struct diagnostic *diagnostic)
{
    struct matrix *matrix = calloc(1, sizeof *matrix);
    if (!matrix) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read a matrix");
    matrix->source = source;
    matrix->topology = topology;
    matrix->diagnostic = diagnostic;
    struct parser parser = {.matrix = matrix, .walk = {.source = source}};
    weft_status status = lines_read(&parser);
    if (!status) status = matrix_build(matrix);
    free(matrix->cells);
    free(matrix);
    return status;
}

/* A heading, and below it the row of its first device with an X in it. */
static unsigned recognise_nvidia_smi(const struct format_source *source)
{
    char clean[LINE_BYTES];
    struct line_walk walk = {.source = source};
    struct span line;
    bool after_heading = false;
    while (walk.at < WINDOW_BYTES && line_next(&walk, &line)) {
        struct span rest = line_clean(line, clean, sizeof clean), first, second;
        if (after_heading && span_word(&rest, &first) && span_word(&rest, &second) && span_begins(first, "GPU") &&
            span_equal(second, "X"))
            return 80;
        after_heading = is_heading(line_clean(line, clean, sizeof clean));
    }
    return 0;
}

const struct format_reader format_nvidia_smi = {
    .name = "nvidia_smi_topo",
    .title = "nvidia-smi topo -m matrix",
    .recognise = recognise_nvidia_smi,
    .read = read_nvidia_smi,
};
