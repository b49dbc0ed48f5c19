/* SPDX-License-Identifier: Apache-2.0 */
/* expat's callbacks, made into a tree within bounds. */
#include "topology/format/xml.h"

#include <expat.h>
#include <string.h>

enum { DEPTH_MAX = 200, ELEMENTS_MAX = 1 << 20 };

struct tree {
    const struct format_source *source;
    struct arena *arena;
    struct diagnostic *diagnostic;
    XML_Parser parser;
    struct xml_element *root, *open; /* open: the element that the parser is in */
    uint32_t depth, element_count;
    weft_status status; /* the first error, which stops the parser */
};

static struct place place_now(const struct tree *tree)
{
    return (struct place){(uint32_t)XML_GetCurrentLineNumber(tree->parser),
                          (uint32_t)XML_GetCurrentColumnNumber(tree->parser) + 1};
}

static void tree_stop(struct tree *tree, weft_status status)
{
    tree->status = status;
    XML_StopParser(tree->parser, XML_FALSE);
}

static void tree_stop_no_memory(struct tree *tree)
{
    tree_stop(tree, diagnose(tree->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s", tree->source->name));
}

static const char **attributes_copy(struct arena *arena, const XML_Char **attributes)
{
    size_t count = 0;
    while (attributes[count]) count++;
    const char **copy = arena_alloc(arena, count + 1, sizeof *copy);
    for (size_t i = 0; copy && i < count; i++)
        if (!(copy[i] = arena_strdup(arena, attributes[i]))) return NULL;
    return copy;
}

static void XMLCALL element_begin(void *context, const XML_Char *name, const XML_Char **attributes)
{
    struct tree *tree = context;
    if (tree->status) return;
    if (++tree->depth > DEPTH_MAX || ++tree->element_count > ELEMENTS_MAX) {
        bool deep = tree->depth > DEPTH_MAX;
        tree_stop(tree, format_error(tree->source, place_now(tree), tree->diagnostic,
                                     deep ? "nested more than %d deep" : "more than %d elements",
                                     deep ? DEPTH_MAX : ELEMENTS_MAX));
        return;
    }
    struct xml_element *element = arena_alloc(tree->arena, 1, sizeof *element);
    if (element) {
        element->name = arena_strdup(tree->arena, name);
        element->attributes = attributes_copy(tree->arena, attributes);
        element->text = (struct span){"", 0};
    }
    if (!element || !element->name || !element->attributes) {
        tree_stop_no_memory(tree);
        return;
    }
    element->place = place_now(tree);
    element->parent = tree->open;
    if (!tree->open)
        tree->root = element;
    else if (tree->open->last)
        tree->open->last->next = element;
    else
        tree->open->first = element;
    if (tree->open) tree->open->last = element;
    tree->open = element;
}

static void XMLCALL element_end(void *context, const XML_Char *name)
{
    struct tree *tree = context;
    (void)name;
    if (tree->status) return;
    tree->depth--;
    tree->open = tree->open->parent;
}

/* Pieces come as the parser cuts them; each copy doubles, so that all of them together cost a few times the text. */
static void XMLCALL text_take_piece(void *context, const XML_Char *piece, int length)
{
    struct tree *tree = context;
    struct xml_element *element = tree->open;
    if (tree->status || !element || element->first) return;
    size_t size = element->text.size, wanted = size + (size_t)length;
    char *text = (char *)element->text.at; /* ours unless it is empty */
    size_t room = 64;                      /* what the last copy has */
    while (room < size) room *= 2;
    if (size == 0 || wanted > room) {
        while (room < wanted) room *= 2;
        text = arena_alloc(tree->arena, room + 1, 1);
        if (!text) {
            tree_stop_no_memory(tree);
            return;
        }
        memcpy(text, element->text.at, size);
    }
    memcpy(text + size, piece, (size_t)length);
    text[wanted] = '\0';
    element->text = (struct span){text, wanted};
}

static void XMLCALL entity_refuse(void *context, const XML_Char *name, int is_parameter, const XML_Char *value,
                                  int length, const XML_Char *base, const XML_Char *system_id,
                                  const XML_Char *public_id, const XML_Char *notation)
{
    struct tree *tree = context;
    (void)is_parameter, (void)value, (void)length, (void)base, (void)system_id, (void)public_id, (void)notation;
    if (tree->status) return;
    tree_stop(tree, format_error(tree->source, place_now(tree), tree->diagnostic,
                                 "declares the entity '%.40s'; expected a description without entities", name));
}

weft_status xml_parse(const struct format_source *source, struct arena *arena, const struct xml_element **root,
                      struct diagnostic *diagnostic)
{
    struct tree tree = {.source = source, .arena = arena, .diagnostic = diagnostic};
    tree.parser = XML_ParserCreate(NULL);
    if (!tree.parser) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s", source->name);
    XML_SetUserData(tree.parser, &tree);
    XML_SetElementHandler(tree.parser, element_begin, element_end);
    XML_SetCharacterDataHandler(tree.parser, text_take_piece);
    XML_SetEntityDeclHandler(tree.parser, entity_refuse);
    XML_SetParamEntityParsing(tree.parser, XML_PARAM_ENTITY_PARSING_NEVER);
    enum XML_Status parsed = XML_Parse(tree.parser, (const char *)source->bytes, (int)source->size, XML_TRUE);
    weft_status status = tree.status;
    if (!status && parsed != XML_STATUS_OK) {
        enum XML_Error error = XML_GetErrorCode(tree.parser);
        if (error == XML_ERROR_NO_MEMORY)
            status = diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s", source->name);
        else
            status = format_error(source, place_now(&tree), diagnostic, "not XML: %s%s%s", XML_ErrorString(error),
                                  tree.open ? ", inside of element " : "", tree.open ? tree.open->name : "");
    }
    XML_ParserFree(tree.parser);
    if (status) return status;
    *root = tree.root;
    return WEFT_OK;
}

const char *xml_attribute(const struct xml_element *element, const char *name)
{
    for (const char **attribute = element->attributes; *attribute; attribute += 2)
        if (strcmp(attribute[0], name) == 0) return attribute[1][0] ? attribute[1] : NULL;
    return NULL;
}

weft_status xml_unsigned(const struct format_source *source, const struct xml_element *element, const char *name,
                         uint64_t most, uint64_t *value, struct diagnostic *diagnostic)
{
    const char *text = xml_attribute(element, name);
    if (!text || span_unsigned((struct span){text, strlen(text)}, most, value)) return WEFT_OK;
    return format_error(source, element->place, diagnostic, "%s of %s is '%.40s'; expected a number up to %llu", name,
                        element->name, text, (unsigned long long)most);
}

bool xml_is(const struct xml_element *element, const char *name)
{
    return strcmp(element->name, name) == 0;
}

/* What ends the markup at @p at, which begins with "<" and is no element. NULL: it is an element. */
static const char *markup_end(const char *at, size_t size)
{
    if (at[1] == '?') return "?>";
    if (at[1] != '!') return NULL;
    if (size >= 4 && memcmp(at, "<!--", 4) == 0) return "-->";
    const char *close = memchr(at, '>', size), *inside = memchr(at, '[', size);
    return close && inside && inside < close ? "]>" : ">"; /* a document type with declarations of its own */
}

bool xml_root_is(const struct format_source *source, const char *name)
{
    const char *at = (const char *)source->bytes, *end = at + source->size;
    if (end - at >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) at += 3; /* a byte order mark */
    for (;;) {
        while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')) at++;
        if (end - at < 2 || *at != '<') return false;
        const char *close = markup_end(at, (size_t)(end - at));
        if (!close) break;
        at = memmem(at, (size_t)(end - at), close, strlen(close));
        if (!at) return false;
        at += strlen(close);
    }
    size_t length = strlen(name);
    if ((size_t)(end - at) < length + 2 || memcmp(at + 1, name, length) != 0) return false;
    char behind = at[length + 1];
    return behind == ' ' || behind == '\t' || behind == '\r' || behind == '\n' || behind == '/' || behind == '>';
}
