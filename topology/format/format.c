/* SPDX-License-Identifier: Apache-2.0 */
/* Which format a description is in, and reading it to the end or not at all. */
#include "topology/format/format.h"

#include <stdio.h>
#include <string.h>

#include "topology/format/format_internal.h"

/* A new format is a file with its reader and a row in the header. */
#define ROW(word) &format_##word,
static const struct format_reader *const rows[] = {FORMATS_READ(ROW) FORMATS_FOREIGN(ROW)};
#undef ROW

const struct format_reader *const *format_readers(size_t *count)
{
    *count = sizeof rows / sizeof *rows;
    return rows;
}

const struct format_reader *format_recognise(const struct format_source *source)
{
    const struct format_reader *best = NULL;
    unsigned best_sure = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned sure = rows[i]->recognise(source);
        if (sure > best_sure) best = rows[i], best_sure = sure;
    }
    return best;
}

/* "weft YAML, NCCL topology XML, ...": what could have been read instead. */
static const char *readable_titles(char *titles, size_t size)
{
    size_t length = 0;
    titles[0] = '\0';
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!rows[i]->read || length + strlen(rows[i]->title) + 3 > size) continue;
        if (length > 0) length += (size_t)sprintf(titles + length, ", ");
        length += (size_t)sprintf(titles + length, "%s", rows[i]->title);
    }
    return titles;
}

/* How many bytes of valid UTF-8 stand at @p at (RFC 3629), 0 if it is none or a control character. */
static size_t character_size(const unsigned char *at)
{
    if (at[0] < 0x80) return at[0] >= 0x20 && at[0] != 0x7f ? 1 : 0;
    if (at[0] < 0xc0) return 0; /* goes on with a character that did not begin */
    size_t size = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    uint32_t code = at[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (at[i] & 0x3fu);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    bool valid = code >= least[size] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) && at[0] < 0xf8;
    return valid && code >= 0xa0 ? size : 0;
}

/* Names come from strangers' devices: what is no text is shown as "?", and what is too long to be a name is cut. */
static void text_repair(const char *text)
{
    unsigned char *at = (unsigned char *)text; /* the topology's own copy */
    size_t length = 0;
    while (at && at[length]) {
        size_t size = character_size(at + length);
        if (size == 0) at[length] = '?', size = 1;
        if (length + size > FORMAT_TEXT_BYTES_MAX)
            at[length] = '\0';
        else
            length += size;
    }
}

static void texts_repair(weft_topology *topology)
{
    for (uint32_t i = 0; i < topology->node_count; i++) {
        text_repair(topology->nodes[i].name);
        text_repair(topology->nodes[i].model);
        text_repair(topology->nodes[i].architecture);
        text_repair(topology->nodes[i].verbs_device);
    }
    for (uint32_t i = 0; i < topology->link_count; i++) text_repair(topology->links[i].name);
    for (uint32_t i = 0; i < topology->distances_count; i++) text_repair(topology->distances[i].name);
    for (uint32_t i = 0; i < topology->channel_count; i++) text_repair(topology->channels[i].name);
    for (uint32_t i = 0; i < topology->note_count && i < TOPOLOGY_NOTES_KEPT; i++) text_repair(topology->notes[i]);
}

/* What is right word by word may still be no topology; then the sentence lacks only whose it is. */
static weft_status sealed(const struct format_source *source, weft_topology *topology, struct diagnostic *diagnostic)
{
    struct diagnostic found = {0};
    texts_repair(topology);
    weft_status status = topology_seal(topology, &found);
    if (status == WEFT_BAD_FORMAT) return format_error(source, (struct place){0}, diagnostic, "%s", found.text);
    if (status) return diagnose(diagnostic, status, "%s", found.text);
    if (topology->node_count == 0)
        return format_error(source, (struct place){0}, diagnostic,
                            "describes nothing; expected a host or a switch at least");
    return WEFT_OK;
}

weft_status topology_read(const char *name, const uint8_t *bytes, size_t size, weft_topology **topology,
                          struct diagnostic *diagnostic)
{
    const struct format_source source = {name, bytes ? bytes : (const uint8_t *)"", size};
    char titles[200];
    if (size > FORMAT_BYTES_MAX)
        return diagnose(diagnostic, WEFT_UNSUPPORTED, "%s: has %zu bytes; expected at most %zu", name, size,
                        FORMAT_BYTES_MAX);
    if (size == 0) return format_error(&source, (struct place){0}, diagnostic, "the file is empty");
    const struct format_reader *reader = format_recognise(&source);
    if (!reader)
        return format_error(&source, (struct place){0}, diagnostic, "is in no known format; expected one of %s",
                            readable_titles(titles, sizeof titles));
    if (!reader->read)
        return diagnose(diagnostic, WEFT_UNSUPPORTED, "%s: is %s; expected a description of machines or of a fabric",
                        name, reader->title);
    weft_topology *built = topology_new();
    if (!built) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s", name);
    built->format = reader->title;
    weft_status status = reader->read(&source, built, diagnostic);
    if (!status) status = sealed(&source, built, diagnostic);
    if (status) {
        weft_topology_destroy(built);
        return status;
    }
    *topology = built;
    return WEFT_OK;
}
