/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two lines that ibnetdiscover and ibsim's net files share:
 *     Switch  24 "S-005442ba00003080"   # "ISR9024 Voltaire" base port 0 lid 6 lmc 0
 *     [22]    "H-0008f10403961354"[1](8f10403961355)   # "MT23108 InfiniHost" lid 4 4xSDR
 * Descriptions come from devices and may hold anything, also quotation marks: they go up to the last one of their line.
 */
#include <stdlib.h>
#include <string.h>

#include "topology/format/fabric.h"

/* A place in a line. Takers move it on where they find what they look for. */
struct cursor {
    const char *at, *end;
};

static void blanks_skip(struct cursor *cursor)
{
    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\t')) cursor->at++;
}

static bool byte_take(struct cursor *cursor, char byte)
{
    if (cursor->at == cursor->end || *cursor->at != byte) return false;
    cursor->at++;
    return true;
}

static bool number_take(struct cursor *cursor, uint32_t most, uint32_t *number)
{
    uint32_t value = 0;
    const char *at = cursor->at;
    for (; at < cursor->end && *at >= '0' && *at <= '9'; at++) {
        value = value * 10 + (uint32_t)(*at - '0');
        if (value > most) return false;
    }
    if (at == cursor->at) return false;
    cursor->at = at;
    *number = value;
    return true;
}

/* "[22]" */
static bool bracket_take(struct cursor *cursor, uint32_t most, uint32_t *number)
{
    struct cursor inside = *cursor;
    if (!byte_take(&inside, '[') || !number_take(&inside, most, number) || !byte_take(&inside, ']')) return false;
    *cursor = inside;
    return true;
}

static bool quoted_take(struct cursor *cursor, struct span *text)
{
    if (cursor->at == cursor->end || *cursor->at != '"') return false;
    const char *begin = cursor->at + 1;
    const char *quote = memchr(begin, '"', (size_t)(cursor->end - begin));
    if (!quote || quote == begin) return false;
    *text = (struct span){begin, (size_t)(quote - begin)};
    cursor->at = quote + 1;
    return true;
}

/* "(8f10403961355)", a port's GUID, and "[ext 7]", the number on a chassis: of no use here. */
static void decoration_skip(struct cursor *cursor)
{
    for (;;) {
        struct cursor past = *cursor;
        blanks_skip(&past);
        bool ext = past.end - past.at > 5 && memcmp(past.at, "[ext ", 5) == 0;
        if (past.at == past.end || (*past.at != '(' && !ext)) return;
        const char *close = memchr(past.at, ext ? ']' : ')', (size_t)(past.end - past.at));
        if (!close) return;
        cursor->at = close + 1;
    }
}

static weft_status unexpected(const struct fabric *fabric, const struct line_walk *walk, struct span line,
                              struct cursor cursor, const char *expected)
{
    struct span found = span_trim((struct span){cursor.at, (size_t)(cursor.end - cursor.at)});
    struct place place = line_place(walk, line, cursor.at);
    if (found.size == 0)
        return format_error(fabric->source, place, fabric->diagnostic, "the line ends here; expected %s", expected);
    return format_error(fabric->source, place, fabric->diagnostic, "found '%.*s'; expected %s", SPAN_ARGS(found),
                        expected);
}

static const struct {
    const char *word;
    enum fabric_kind kind;
} kinds[] = {
    {"Switch", FABRIC_SWITCH},
    {"Ca", FABRIC_ADAPTER},
    {"Hca", FABRIC_ADAPTER},
    {"Rt", FABRIC_ROUTER},
};

/* The line's first word, where it is one of a record, and behind it. */
static bool kind_take(struct cursor *cursor, enum fabric_kind *kind)
{
    struct span rest = {cursor->at, (size_t)(cursor->end - cursor->at)}, word;
    if (rest.size == 0 || *rest.at == ' ' || *rest.at == '\t' || !span_word(&rest, &word)) return false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!span_equal(word, kinds[i].word)) continue;
        *kind = kinds[i].kind;
        cursor->at = word.at + word.size;
        return true;
    }
    return false;
}

bool fabric_has_kind(struct span line)
{
    struct cursor cursor = {line.at, line.at + line.size};
    enum fabric_kind kind;
    return kind_take(&cursor, &kind);
}

bool fabric_is_header(struct span line)
{
    struct cursor cursor = {line.at, line.at + line.size};
    enum fabric_kind kind;
    uint32_t count;
    if (!kind_take(&cursor, &kind)) return false;
    blanks_skip(&cursor);
    if (!number_take(&cursor, UINT8_MAX, &count)) return false;
    blanks_skip(&cursor);
    return byte_take(&cursor, '"');
}

/* What stands between the first quotation mark behind a "#" and the last of the line; size 0 where there is none. */
static struct span description_of(struct cursor cursor)
{
    const char *hash = memchr(cursor.at, '#', (size_t)(cursor.end - cursor.at));
    const char *first = hash ? memchr(hash, '"', (size_t)(cursor.end - hash)) : NULL;
    const char *last = first ? memrchr(first, '"', (size_t)(cursor.end - first)) : NULL;
    if (!first || first == last) return (struct span){cursor.at, 0};
    return span_trim((struct span){first + 1, (size_t)(last - first) - 1});
}

weft_status fabric_header_read(const struct fabric *fabric, const struct line_walk *walk, struct span line,
                               struct fabric_node *node)
{
    struct cursor cursor = {line.at, line.at + line.size};
    if (!kind_take(&cursor, &node->kind))
        return unexpected(fabric, walk, line, cursor, "a node's record, beginning with Switch, Ca, Hca or Rt");
    blanks_skip(&cursor);
    if (!number_take(&cursor, UINT8_MAX, &node->port_count))
        return unexpected(fabric, walk, line, cursor, "how many ports it has, 1 to 255");
    blanks_skip(&cursor);
    if (!quoted_take(&cursor, &node->id))
        return unexpected(fabric, walk, line, cursor, "the node's id in quotation marks");
    blanks_skip(&cursor);
    if (cursor.at < cursor.end && *cursor.at != '#')
        return unexpected(fabric, walk, line, cursor, "the end of the line, or # and a description");
    node->description = description_of(cursor);
    node->line = walk->line;
    return WEFT_OK;
}

/* "4xEDR", "12x???": a width and a speed, each of which may be unknown. */
static bool rate_read(struct span word, struct fabric_rate *rate)
{
    struct cursor cursor = {word.at, word.at + word.size};
    uint32_t lanes = 0;
    if (span_begins(word, "??"))
        cursor.at += 2;
    else if (!number_take(&cursor, 12, &lanes) || !byte_take(&cursor, 'x'))
        return false;
    if (lanes != 0 && lanes != 1 && lanes != 2 && lanes != 4 && lanes != 8 && lanes != 12) return false;
    struct span speed = {cursor.at, (size_t)(cursor.end - cursor.at)};
    *rate = (struct fabric_rate){.lanes = (uint8_t)lanes};
    if (span_equal(speed, "???")) return true;
    for (int i = 1; i < FABRIC_SPEED_COUNT; i++) {
        if (!span_equal(speed, fabric_speed_name((enum fabric_speed)i))) continue;
        rate->speed = (enum fabric_speed)i;
        return true;
    }
    return false;
}

/* "w=2", "s=4" */
static bool option_read(struct span word, struct fabric_rate *rate)
{
    struct span digits = {word.at + 2, word.size - 2};
    uint64_t code;
    if (!span_unsigned(digits, word.at[0] == 'w' ? 31 : 7, &code)) return false;
    if (word.at[0] == 'w')
        rate->lanes = fabric_lanes_of_code(code);
    else
        rate->speed = fabric_speed_of_code(code);
    return true;
}

/*
 * The words behind the description: "lid 4 4xSDR", "lid 4 4xEDR s=4 w=2 v=4", "lid 1 lmc 0 ... slot 3". *rate is what
 * the words say, or else what the options do. Returns the word that has no place here, or one of size 0.
 */
static struct span tail_read(struct span tail, struct fabric_rate *rate)
{
    struct fabric_rate named = {0}, options = *rate;
    struct span word;
    bool has_name = false;
    uint64_t number;
    while (span_word(&tail, &word)) {
        bool counted = span_equal(word, "lid") || span_equal(word, "lmc") || span_equal(word, "slot");
        struct span value = word;
        if (counted) {
            if (!span_word(&tail, &value) || !span_unsigned(value, UINT32_MAX, &number)) return word;
        } else if (span_begins(word, "w=") || span_begins(word, "s=")) {
            if (!option_read(word, &options)) return word;
        } else if (rate_read(word, &named)) {
            has_name = true;
        } else if (!span_begins(word, "v=") && !span_equal(word, "(scp)")) {
            return word;
        }
    }
    *rate = has_name ? named : options;
    return (struct span){0};
}

weft_status fabric_port_read(const struct fabric *fabric, const struct line_walk *walk, struct span line,
                             struct fabric_port *port)
{
    struct cursor cursor = {line.at, line.at + line.size};
    if (!bracket_take(&cursor, UINT8_MAX, &port->number))
        return unexpected(fabric, walk, line, cursor, "a port such as [7]");
    decoration_skip(&cursor);
    blanks_skip(&cursor);
    if (!quoted_take(&cursor, &port->peer_id))
        return unexpected(fabric, walk, line, cursor, "the id of the node at the other end in quotation marks");
    blanks_skip(&cursor);
    /* ibsim takes port 1 where none is given. */
    port->peer_port = 1;
    if (cursor.at < cursor.end && *cursor.at == '[' && !bracket_take(&cursor, UINT8_MAX, &port->peer_port))
        return unexpected(fabric, walk, line, cursor, "the port at the other end such as [7]");
    decoration_skip(&cursor);
    const char *hash = memchr(cursor.at, '#', (size_t)(cursor.end - cursor.at));
    const char *quote = hash ? memrchr(hash, '"', (size_t)(cursor.end - hash)) : NULL;
    struct span options = {cursor.at, (size_t)((hash ? hash : cursor.end) - cursor.at)};
    const char *behind = quote ? quote + 1 : hash ? hash + 1 : cursor.end;
    struct span wrong = tail_read(options, &port->rate);
    if (wrong.size == 0) wrong = tail_read((struct span){behind, (size_t)(cursor.end - behind)}, &port->rate);
    if (wrong.size != 0)
        return unexpected(fabric, walk, line, (struct cursor){wrong.at, wrong.at + wrong.size},
                          "a lid and a rate such as 4xEDR");
    port->line = walk->line;
    return WEFT_OK;
}
