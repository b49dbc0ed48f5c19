/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slurm's topology.conf: lines of KEY=VALUE, of which the first key names a switch, a block or a ring. Keys are in any
 * case; "#" begins a comment; a backslash at the end continues a line; a value may stand in quotation marks.
 */
#include <stdlib.h>
#include <string.h>

#include "topology/format/slurm.h"

enum {
    WINDOW_BYTES = 1 << 16,
    SIZES_MAX = 16 /* of BlockSizes */
};

enum key { KEY_SWITCH, KEY_BLOCK, KEY_RING, KEY_SIZES, KEY_SWITCHES, KEY_NODES, KEY_SPEED, KEY_COUNT };
static const char *const keys[KEY_COUNT] = {"SwitchName", "BlockName", "RingName", "BlockSizes",
                                            "Switches",   "Nodes",     "LinkSpeed"};

struct parser {
    struct slurm slurm;
    struct line_walk walk;
    enum key subject; /* what the file describes; KEY_COUNT: not known yet */
    uint64_t sizes[SIZES_MAX];
    uint32_t size_count;
    struct place sizes_place;
};

/* The values of one line; size 0 where a key is not given. */
struct entry {
    struct span values[KEY_COUNT];
    bool given[KEY_COUNT];
    struct place place;
};

static weft_status found(const struct parser *parser, struct place place, struct span what, const char *expected)
{
    return slurm_error(&parser->slurm, place, what, expected);
}

static struct span comment_cut(struct span line)
{
    size_t backslashes = 0;
    for (size_t i = 0; i < line.size; i++) {
        if (line.at[i] == '#' && backslashes % 2 == 0) return (struct span){line.at, i};
        backslashes = line.at[i] == '\\' ? backslashes + 1 : 0;
    }
    return line;
}

/* Cuts a backslash off the end; false where there is none. */
static bool continuation_cut(struct span *line)
{
    struct span trimmed = span_trim(*line);
    if (trimmed.size == 0 || trimmed.at[trimmed.size - 1] != '\\') return false;
    *line = (struct span){line->at, (size_t)(trimmed.at + trimmed.size - 1 - line->at)};
    return true;
}

/* A line with those that continue it, without comments. It may be a copy, so that columns mean nothing then. */
static bool logical_line_next(struct parser *parser, struct span *line, struct place *place)
{
    if (!line_next(&parser->walk, line)) return false;
    *place = (struct place){parser->walk.line, 0};
    *line = comment_cut(*line);
    if (!continuation_cut(line)) return true;
    /* No more than all lines together is copied, once. */
    const struct line_walk behind = parser->walk;
    size_t size = line->size;
    struct span more;
    bool goes_on = true;
    while (goes_on && line_next(&parser->walk, &more)) {
        more = comment_cut(more);
        goes_on = continuation_cut(&more);
        size += more.size;
    }
    char *joined = arena_alloc(&parser->slurm.topology->arena, size + 1, 1);
    if (!joined) {
        parser->slurm.topology->failed = true;
        return false;
    }
    memcpy(joined, line->at, line->size);
    size_t length = line->size;
    parser->walk = behind;
    for (goes_on = true; goes_on && line_next(&parser->walk, &more); length += more.size) {
        more = comment_cut(more);
        goes_on = continuation_cut(&more);
        memcpy(joined + length, more.at, more.size);
    }
    *line = (struct span){joined, length};
    return true;
}

static enum key key_of(struct span word)
{
    for (int i = 0; i < KEY_COUNT; i++)
        if (word.size == strlen(keys[i]) && strncasecmp(word.at, keys[i], word.size) == 0) return (enum key)i;
    return KEY_COUNT;
}

/* Cut 'KEY=VALUE' off the front of *rest, quotation marks taken off the value. */
static weft_status pair_read(const struct parser *parser, struct place place, struct span *rest, struct span *key,
                             struct span *value)
{
    struct span left = span_trim(*rest);
    const char *end = left.at + left.size, *equals = memchr(left.at, '=', left.size);
    if (!equals) return found(parser, place, left, "KEY=VALUE, as in SwitchName=leaf1 Nodes=node[01-16]");
    *key = span_trim((struct span){left.at, (size_t)(equals - left.at)});
    left = span_trim((struct span){equals + 1, (size_t)(end - equals) - 1});
    const char *close = NULL;
    if (left.size > 0 && *left.at == '"') {
        close = memchr(left.at + 1, '"', left.size - 1);
        if (!close) return found(parser, place, left, "a closing quotation mark");
        *value = (struct span){left.at + 1, (size_t)(close - left.at) - 1};
        *rest = (struct span){close + 1, (size_t)(end - close) - 1};
    } else {
        struct span behind = left;
        span_word(&behind, value);
        *rest = behind;
    }
    if (value->size == 0) return found(parser, place, *key, "a value behind it");
    if (memchr(value->at, '\0', value->size)) return found(parser, place, *key, "a value without zero bytes");
    return WEFT_OK;
}

static weft_status entry_read(const struct parser *parser, struct span line, struct entry *entry, enum key *subject)
{
    struct span rest = line;
    *subject = KEY_COUNT;
    while (span_trim(rest).size > 0) {
        struct span word, value;
        weft_status status = pair_read(parser, entry->place, &rest, &word, &value);
        if (status) return status;
        enum key key = key_of(word);
        if (key == KEY_COUNT)
            return found(parser, entry->place, word,
                         "SwitchName, BlockName, RingName, BlockSizes, Switches, Nodes or "
                         "LinkSpeed");
        if (*subject == KEY_COUNT && key > KEY_SIZES)
            return found(parser, entry->place, word, "a line that begins with SwitchName, BlockName or RingName");
        if (*subject != KEY_COUNT && key <= KEY_SIZES)
            return found(parser, entry->place, word, "one switch, block or ring in a line");
        if (entry->given[key]) return found(parser, entry->place, word, "every key once in a line");
        if (*subject == KEY_COUNT) *subject = key;
        entry->given[key] = true;
        entry->values[key] = value;
    }
    return WEFT_OK;
}

static const char *value_copy(struct parser *parser, const struct entry *entry, enum key key)
{
    return entry->given[key] ? span_copy(parser->slurm.topology, entry->values[key]) : NULL;
}

static weft_status sizes_take(struct parser *parser, const struct entry *entry)
{
    struct span rest = entry->values[KEY_SIZES];
    parser->sizes_place = entry->place;
    parser->size_count = 0;
    for (bool more = true; more;) {
        const char *comma = memchr(rest.at, ',', rest.size);
        struct span number = {rest.at, comma ? (size_t)(comma - rest.at) : rest.size};
        if (parser->size_count == SIZES_MAX || !span_unsigned(number, UINT32_MAX, &parser->sizes[parser->size_count]))
            return found(parser, entry->place, number, "numbers of nodes with commas between, 16 at most");
        parser->size_count++;
        more = comma != NULL;
        if (more) rest = (struct span){comma + 1, (size_t)(rest.at + rest.size - comma) - 1};
    }
    return WEFT_OK;
}

static weft_status group_take(struct parser *parser, const struct entry *entry, enum key subject)
{
    weft_topology *topology = parser->slurm.topology;
    struct slurm_group group = {.name = entry->values[subject], .place = entry->place};
    if (subject == KEY_BLOCK && (entry->given[KEY_SWITCHES] || entry->given[KEY_SPEED]))
        return found(parser, entry->place, group.name, "a block, which has Nodes and nothing else");
    group.nodes = value_copy(parser, entry, KEY_NODES);
    group.switches = value_copy(parser, entry, KEY_SWITCHES);
    if (entry->given[KEY_SPEED]) {
        struct span speed = entry->values[KEY_SPEED];
        char *text = arena_alloc(&topology->arena, speed.size + sizeof "LinkSpeed=", 1);
        if (text) memcpy(stpcpy(text, "LinkSpeed="), speed.at, speed.size);
        group.link_speed = text;
    }
    return slurm_group_add(&parser->slurm, &group);
}

static weft_status entry_take(struct parser *parser, const struct entry *entry, enum key subject)
{
    if (subject == KEY_SIZES) {
        if (parser->subject != KEY_COUNT && parser->subject != KEY_BLOCK)
            return found(parser, entry->place, entry->values[KEY_SIZES], "BlockSizes beside BlockName only");
        return sizes_take(parser, entry);
    }
    if (parser->subject != KEY_COUNT && parser->subject != subject)
        return found(parser, entry->place, entry->values[subject], "switches, blocks or rings, not several of them");
    parser->subject = subject;
    if (subject != KEY_RING) return group_take(parser, entry, subject);
    if (!entry->given[KEY_NODES]) return found(parser, entry->place, entry->values[subject], "a ring with Nodes");
    const char *nodes = value_copy(parser, entry, KEY_NODES);
    if (!nodes) return WEFT_OK; /* sealing says so */
    return slurm_ring_add(&parser->slurm, nodes, entry->place);
}

static weft_status lines_read(struct parser *parser)
{
    struct span line;
    struct place place;
    weft_status status = WEFT_OK;
    while (!status && logical_line_next(parser, &line, &place)) {
        struct entry entry = {.place = place};
        enum key subject;
        struct span rest = line, word;
        if (!span_word(&rest, &word)) continue;
        if (word.size == 7 && strncasecmp(word.at, "include", 7) == 0)
            return found(parser, place, line, "one file that holds the whole topology");
        status = entry_read(parser, line, &entry, &subject);
        if (!status) status = entry_take(parser, &entry, subject);
    }
    return status;
}

static weft_status read_slurm_conf(const struct format_source *source, weft_topology *topology,
                                   struct diagnostic *diagnostic)
{
    struct parser parser = {
        .slurm = {.source = source, .topology = topology, .diagnostic = diagnostic},
        .walk = {.source = source},
        .subject = KEY_COUNT,
    };
    weft_status status = lines_read(&parser);
    if (!status && parser.subject == KEY_SWITCH) status = slurm_tree_build(&parser.slurm);
    if (!status && parser.subject == KEY_BLOCK)
        status = slurm_blocks_build(&parser.slurm, parser.sizes, parser.size_count, parser.sizes_place);
    slurm_free(&parser.slurm);
    return status;
}

static unsigned recognise_slurm_conf(const struct format_source *source)
{
    struct line_walk walk = {.source = source};
    struct span line;
    while (walk.at < WINDOW_BYTES && line_next(&walk, &line)) {
        line = span_trim(line);
        const char *equals = memchr(line.at, '=', line.size);
        enum key key = equals ? key_of(span_trim((struct span){line.at, (size_t)(equals - line.at)})) : KEY_COUNT;
        if (key <= KEY_SIZES) return 80;
    }
    return 0;
}

const struct format_reader format_slurm_conf = {
    .name = "slurm_topology_conf",
    .title = "Slurm topology.conf",
    .recognise = recognise_slurm_conf,
    .read = read_slurm_conf,
};
