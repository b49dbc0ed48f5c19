/* SPDX-License-Identifier: Apache-2.0 */
/* libyaml's events, made into a tree within bounds. */
#include "topology/format/yaml.h"

#include <string.h>
#include <yaml.h>

enum { DEPTH_MAX = 32, VALUES_MAX = 4 << 20 };

struct tree {
    const struct format_source *source;
    struct arena *arena;
    struct diagnostic *diagnostic;
    struct yaml_value *open[DEPTH_MAX]; /* the lists and maps around the next value */
    struct yaml_value *last[DEPTH_MAX]; /* the newest child of each */
    bool after_key[DEPTH_MAX];          /* a map's: the next value belongs to the key before it */
    uint32_t depth, value_count;
    struct yaml_value *root;
};

static struct place place_of(yaml_mark_t mark)
{
    return (struct place){(uint32_t)mark.line + 1, (uint32_t)mark.column + 1};
}

const char *yaml_kind_words(enum yaml_kind kind)
{
    static const char *const words[] = {"a scalar", "a list", "a map"};
    return words[kind];
}

const struct yaml_value *yaml_find(const struct yaml_value *map, const char *key)
{
    for (const struct yaml_value *pair = map->first; pair; pair = pair->next->next)
        if (span_equal(pair->text, key)) return pair->next;
    return NULL;
}

weft_status yaml_expect(const struct format_source *source, const struct yaml_value *value, enum yaml_kind kind,
                        const char *what, struct diagnostic *diagnostic)
{
    if (value->kind == kind) return WEFT_OK;
    return format_error(source, value->place, diagnostic, "found %s; expected %s, which is %s",
                        yaml_kind_words(value->kind), what, yaml_kind_words(kind));
}

/* Maps are short but for hostile ones, whose keys are bounded so that comparing all of them stays cheap. */
enum { KEYS_MAX = 256 };

static weft_status key_check(struct tree *tree, const struct yaml_value *map, const struct yaml_value *key)
{
    if (key->kind != YAML_IS_SCALAR)
        return format_error(tree->source, key->place, tree->diagnostic, "found %s as a key; expected a scalar",
                            yaml_kind_words(key->kind));
    if (map->count >= KEYS_MAX)
        return format_error(tree->source, key->place, tree->diagnostic, "a map has more than %d keys", KEYS_MAX);
    for (const struct yaml_value *pair = map->first; pair && pair->next; pair = pair->next->next)
        if (pair->text.size == key->text.size && memcmp(pair->text.at, key->text.at, key->text.size) == 0)
            return format_error(tree->source, key->place, tree->diagnostic,
                                "the key '%.*s' occurs twice, first on line %u", SPAN_ARGS(key->text),
                                pair->place.line);
    return WEFT_OK;
}

/* Put @p value where the next one belongs. */
static weft_status value_place(struct tree *tree, struct yaml_value *value)
{
    if (tree->depth == 0) {
        if (tree->root)
            return format_error(tree->source, value->place, tree->diagnostic,
                                "found a second document; expected the end of the file");
        tree->root = value;
        return WEFT_OK;
    }
    struct yaml_value *parent = tree->open[tree->depth - 1], *last = tree->last[tree->depth - 1];
    bool *after_key = &tree->after_key[tree->depth - 1];
    if (parent->kind == YAML_IS_MAP && !*after_key) {
        weft_status status = key_check(tree, parent, value);
        if (status) return status;
        *after_key = true;
    } else {
        *after_key = false;
        parent->count++;
    }
    if (last)
        last->next = value;
    else
        parent->first = value;
    tree->last[tree->depth - 1] = value;
    return WEFT_OK;
}

static weft_status no_memory(const struct tree *tree)
{
    return diagnose(tree->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s", tree->source->name);
}

static weft_status value_add(struct tree *tree, enum yaml_kind kind, yaml_mark_t mark, struct span text)
{
    if (++tree->value_count > VALUES_MAX)
        return format_error(tree->source, place_of(mark), tree->diagnostic, "more than %d values", VALUES_MAX);
    struct yaml_value *value = arena_alloc(tree->arena, 1, sizeof *value);
    if (!value) return no_memory(tree);
    *value = (struct yaml_value){.kind = kind, .place = place_of(mark)};
    if (kind == YAML_IS_SCALAR) {
        char *copy = arena_alloc(tree->arena, text.size + 1, 1);
        if (!copy) return no_memory(tree);
        memcpy(copy, text.at, text.size);
        value->text = (struct span){copy, text.size};
    }
    weft_status status = value_place(tree, value);
    if (status || kind == YAML_IS_SCALAR) return status;
    if (tree->depth == DEPTH_MAX)
        return format_error(tree->source, value->place, tree->diagnostic, "nested more than %d deep", DEPTH_MAX);
    tree->open[tree->depth] = value;
    tree->last[tree->depth] = NULL;
    tree->after_key[tree->depth++] = false;
    return WEFT_OK;
}

static weft_status plain_check(const struct tree *tree, const yaml_event_t *event, const yaml_char_t *anchor,
                               const yaml_char_t *tag)
{
    if (!anchor && !tag) return WEFT_OK;
    return format_error(tree->source, place_of(event->start_mark), tree->diagnostic,
                        "found %s '%.40s'; expected a value without one", anchor ? "the anchor" : "the tag",
                        (const char *)(anchor ? anchor : tag));
}

static weft_status event_take(struct tree *tree, const yaml_event_t *event)
{
    weft_status status = WEFT_OK;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        status = plain_check(tree, event, event->data.scalar.anchor, event->data.scalar.tag);
        if (status) return status;
        return value_add(tree, YAML_IS_SCALAR, event->start_mark,
                         (struct span){(const char *)event->data.scalar.value, event->data.scalar.length});
    case YAML_SEQUENCE_START_EVENT:
        status = plain_check(tree, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
        return status ? status : value_add(tree, YAML_IS_LIST, event->start_mark, (struct span){0});
    case YAML_MAPPING_START_EVENT:
        status = plain_check(tree, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
        return status ? status : value_add(tree, YAML_IS_MAP, event->start_mark, (struct span){0});
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        tree->depth--;
        return WEFT_OK;
    case YAML_ALIAS_EVENT:
        return format_error(tree->source, place_of(event->start_mark), tree->diagnostic,
                            "found the alias '%.40s'; expected the value itself",
                            (const char *)event->data.alias.anchor);
    default:
        return WEFT_OK;
    }
}

static weft_status parser_error(const struct tree *tree, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR) return no_memory(tree);
    if (parser->error == YAML_READER_ERROR)
        return format_error(tree->source, (struct place){0}, tree->diagnostic,
                            "not YAML: %s at byte %zu; expected UTF-8 text", parser->problem, parser->problem_offset);
    return format_error(tree->source, place_of(parser->problem_mark), tree->diagnostic, "not YAML: %s%s%s",
                        parser->problem ? parser->problem : "a mistake", parser->context ? ", " : "",
                        parser->context ? parser->context : "");
}

weft_status yaml_parse(const struct format_source *source, struct arena *arena, const struct yaml_value **root,
                       struct diagnostic *diagnostic)
{
    struct tree tree = {.source = source, .arena = arena, .diagnostic = diagnostic};
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return no_memory(&tree);
    yaml_parser_set_input_string(&parser, source->bytes, source->size);
    weft_status status = WEFT_OK;
    for (bool at_end = false; !at_end && !status;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            status = parser_error(&tree, &parser);
            break;
        }
        status = event_take(&tree, &event);
        at_end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    if (status) return status;
    if (!tree.root) {
        tree.root = arena_alloc(arena, 1, sizeof *tree.root);
        if (!tree.root) return no_memory(&tree);
        *tree.root = (struct yaml_value){.kind = YAML_IS_MAP, .place = {1, 1}};
    }
    *root = tree.root;
    return WEFT_OK;
}
