/* SPDX-License-Identifier: Apache-2.0 */
/* The attributes of weft's YAML, read and written by one table. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/format/weft_yaml.h"

#define NODE(member) offsetof(struct topology_node, member)
#define LINK(member) offsetof(struct topology_link, member)
#define RDMA(member) offsetof(struct rdma_device, member)
#define PORT(member) offsetof(struct rdma_port, member)

const struct attribute node_attributes[] = {
    {"model", VALUE_TEXT, NODE(model), 0},
    {"os_index", VALUE_UINT32, NODE(os_index), TOPOLOGY_NONE},
    {"bytes", VALUE_UINT64, NODE(bytes), 0},
    {"cache_level", VALUE_UINT32, NODE(cache_level), 0},
    {"architecture", VALUE_TEXT, NODE(architecture), 0},
    {"guid", VALUE_HEX64, NODE(guid), 0},
    {"verbs_device", VALUE_TEXT, NODE(verbs_device), 0},
    {"port_bandwidth", VALUE_BANDWIDTH, NODE(port_bandwidth), 0},
    {"port_latency", VALUE_LATENCY, NODE(port_latency), 0},
    {0},
};
const struct attribute link_attributes[] = {
    {"name", VALUE_TEXT, LINK(name), 0},
    {"bandwidth", VALUE_BANDWIDTH, LINK(bandwidth), 0},
    {"latency", VALUE_LATENCY, LINK(latency), 0},
    {"count", VALUE_UINT32, LINK(count), 0},
    {"from_port", VALUE_UINT32, LINK(from_port), 0},
    {"to_port", VALUE_UINT32, LINK(to_port), 0},
    {0},
};
const struct attribute rdma_attributes[] = {
    {"firmware", VALUE_TEXT, RDMA(firmware), 0},
    {"node_guid", VALUE_HEX64, RDMA(node_guid), 0},
    {"numa_node", VALUE_UINT32, RDMA(numa_node), TOPOLOGY_NONE},
    {0},
};
const struct attribute port_attributes[] = {
    {"number", VALUE_UINT32, PORT(number), 0},
    {"state", VALUE_TEXT, PORT(state), 0},
    {"physical_state", VALUE_TEXT, PORT(physical_state), 0},
    {"bandwidth", VALUE_BANDWIDTH, PORT(bandwidth), 0},
    {"interface_mtu_bytes", VALUE_UINT32, PORT(interface_mtu_bytes), 0},
    {"not_used", VALUE_TEXT, PORT(not_used), 0},
    {0},
};

weft_status reading_error(struct reading *reading, const struct yaml_value *value, const char *format, ...)
{
    char sentence[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return format_error(reading->source, value->place, reading->diagnostic, "%s", sentence);
}

weft_status reading_no_memory(struct reading *reading)
{
    return diagnose(reading->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s", reading->source->name);
}

weft_status reading_charge(struct reading *reading, const struct yaml_value *value, uint64_t count, uint64_t bytes)
{
    const uint64_t built_bytes_max = (uint64_t)256 << 20; /* a quarter of a million of GPUs with all around them */
    bool too_many = __builtin_mul_overflow(count, bytes, &bytes) ||
                    __builtin_add_overflow(reading->built_bytes, bytes, &reading->built_bytes);
    if (!too_many && reading->built_bytes <= built_bytes_max) return WEFT_OK;
    return reading_error(reading, value, "asks for more nodes and links than fit in %d MiB",
                         (int)(built_bytes_max >> 20));
}

weft_status text_read(struct reading *reading, const struct yaml_value *value, const char **text)
{
    if (value->kind != YAML_IS_SCALAR)
        return reading_error(reading, value, "found %s; expected a text", yaml_kind_words(value->kind));
    if (value->text.size > FORMAT_TEXT_BYTES_MAX || memchr(value->text.at, '\0', value->text.size))
        return reading_error(reading, value, "found a text of %zu bytes; expected at most %d, none of them 0",
                             value->text.size, FORMAT_TEXT_BYTES_MAX);
    *text = value->text.at;
    return WEFT_OK;
}

struct unit {
    const char *name;
    double factor;
};
static const struct unit bandwidth_units[] = {{"GB/s", 1e9},   {"MB/s", 1e6},   {"B/s", 1},      {"TB/s", 1e12},
                                              {"Gb/s", 125e6}, {"Mb/s", 125e3}, {"Tb/s", 125e9}, {0}};
/* Divided by, since 1e6 is a double and 1e-6 is not. */
static const struct unit latency_units[] = {{"us", 1e6}, {"ns", 1e9}, {"s", 1}, {"ms", 1e3}, {0}};

static bool source_find(struct span word, enum figure_source *source)
{
    for (int i = FIGURE_UNKNOWN + 1; i < FIGURE_SOURCE_COUNT; i++)
        if (span_equal(word, topology_figure_source_name((enum figure_source)i))) {
            *source = (enum figure_source)i;
            return true;
        }
    return false;
}

weft_status figure_read(struct reading *reading, const struct yaml_value *value, bool is_latency, struct figure *figure)
{
    const struct unit *unit = is_latency ? latency_units : bandwidth_units;
    struct span rest = value->text, word;
    struct figure result = {0, FIGURE_FILE};
    if (value->kind != YAML_IS_SCALAR) goto unreadable;
    if (span_equal(rest, "unknown")) {
        *figure = (struct figure){0};
        return WEFT_OK;
    }
    if (!span_word(&rest, &word) || !span_number(word, &result.value) || result.value < 0) goto unreadable;
    bool more = span_word(&rest, &word);
    for (; more && unit->name; unit++) {
        if (!span_equal(word, unit->name)) continue;
        result.value = is_latency ? result.value / unit->factor : result.value * unit->factor;
        more = span_word(&rest, &word);
        break;
    }
    if (more) more = !source_find(word, &result.source) || span_word(&rest, &word);
    if (more || result.value > 1e300) goto unreadable;
    *figure = result;
    return WEFT_OK;
unreadable:
    return reading_error(reading, value, "found '%.*s'; expected %s, and file, datasheet, reported or measured",
                         SPAN_ARGS(value->text),
                         is_latency ? "a latency such as '1.5 us'" : "a bandwidth such as '25 GB/s'");
}

weft_status attribute_read(struct reading *reading, const struct attribute *attribute, const struct yaml_value *value,
                           void *object)
{
    void *member = (char *)object + attribute->offset;
    uint64_t number;
    switch (attribute->type) {
    case VALUE_TEXT:
        return text_read(reading, value, member);
    case VALUE_BANDWIDTH:
    case VALUE_LATENCY:
        return figure_read(reading, value, attribute->type == VALUE_LATENCY, member);
    case VALUE_UINT32:
        if (value->kind != YAML_IS_SCALAR || !span_unsigned(value->text, UINT32_MAX - 2, &number))
            return reading_error(reading, value, "%s is '%.*s'; expected a number below 4294967294", attribute->key,
                                 SPAN_ARGS(value->text));
        *(uint32_t *)member = (uint32_t)number;
        return WEFT_OK;
    case VALUE_UINT64:
    case VALUE_HEX64:
        if (value->kind != YAML_IS_SCALAR || !span_unsigned(value->text, UINT64_MAX, &number))
            return reading_error(reading, value, "%s is '%.*s'; expected a number of 64 bits", attribute->key,
                                 SPAN_ARGS(value->text));
        *(uint64_t *)member = number;
        return WEFT_OK;
    }
    return WEFT_OK;
}

weft_status attributes_read(struct reading *reading, const struct attribute *attributes, const struct yaml_value *map,
                            void *object)
{
    for (const struct attribute *attribute = attributes; attribute->key; attribute++) {
        if (attribute->type == VALUE_UINT32)
            memcpy((char *)object + attribute->offset, &attribute->absent, sizeof attribute->absent);
        const struct yaml_value *value = yaml_find(map, attribute->key);
        weft_status status = value ? attribute_read(reading, attribute, value, object) : WEFT_OK;
        if (status) return status;
    }
    return WEFT_OK;
}

static bool is_among(struct span key, const char *const *words)
{
    for (; *words; words++)
        if (span_equal(key, *words)) return true;
    return false;
}

weft_status keys_check(struct reading *reading, const struct yaml_value *map, const struct attribute *attributes,
                       const char *const *others)
{
    for (const struct yaml_value *key = map->first; key; key = key->next->next) {
        bool known = is_among(key->text, others);
        for (const struct attribute *attribute = attributes; attribute && attribute->key && !known; attribute++)
            known = span_equal(key->text, attribute->key);
        if (known) continue;
        char expected[160];
        size_t length = 0;
        for (; *others; others++)
            length +=
                (size_t)snprintf(expected + length, sizeof expected - length, "%s%s", length ? ", " : "", *others);
        for (; attributes && attributes->key && length + 24 < sizeof expected; attributes++)
            length += (size_t)snprintf(expected + length, sizeof expected - length, "%s%s", length ? ", " : "",
                                       attributes->key);
        return reading_error(reading, key, "found the key '%.*s'; expected one of %s", SPAN_ARGS(key->text), expected);
    }
    return WEFT_OK;
}

void yaml_string_write(struct text *text, const char *string)
{
    /* What every YAML reader takes for a plain text inside a flow map. */
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.- /()+";
    size_t length = strlen(string);
    bool is_plain = length > 0 && strspn(string, plain) == length && string[length - 1] != ' ';
    if (is_plain && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", string[0])) {
        text_add(text, "%s", string);
        return;
    }
    text_add(text, "\"");
    for (const unsigned char *at = (const unsigned char *)string; *at;) {
        /* UTF-8's first byte says how many follow; the topology's strings are valid UTF-8. */
        uint32_t code = *at < 0x80 ? *at : *at < 0xe0 ? *at & 0x1fu : *at < 0xf0 ? *at & 0x0fu : *at & 0x07u;
        size_t size = *at < 0x80 ? 1 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;
        for (size_t i = 1; i < size && at[i]; i++) code = code << 6 | (at[i] & 0x3fu);
        if (code == '"' || code == '\\')
            text_add(text, "\\%c", (char)code);
        else if (code < 0x20 || code == 0x7f || (code >= 0x80 && code < 0xa0) || code >= 0xd800)
            text_add(text, "\\U%08" PRIX32, code);
        else
            text_add(text, "%.*s", (int)size, (const char *)at);
        for (size_t i = 0; i < size && *at; i++) at++;
    }
    text_add(text, "\"");
}

void figure_write(struct text *text, const char *key, struct figure figure, bool is_latency)
{
    text_add(text, ", %s: ", key);
    if (figure.source == FIGURE_UNKNOWN) {
        text_add(text, "unknown");
        return;
    }
    /* In the first unit if that is exact, else in the one that needs no arithmetic. */
    const struct unit *unit = is_latency ? latency_units : bandwidth_units;
    double scaled = is_latency ? figure.value * unit->factor : figure.value / unit->factor;
    double back = is_latency ? scaled / unit->factor : scaled * unit->factor;
    text_add_number(text, back == figure.value ? scaled : figure.value);
    if (back == figure.value)
        text_add(text, " %s", unit->name);
    else
        text_add(text, is_latency ? " s" : " B/s");
    if (figure.source != FIGURE_FILE) text_add(text, " %s", topology_figure_source_name(figure.source));
}

void attributes_write(struct text *text, const struct attribute *attributes, const void *object)
{
    for (const struct attribute *attribute = attributes; attribute->key; attribute++) {
        const void *member = (const char *)object + attribute->offset;
        uint64_t number = 0;
        switch (attribute->type) {
        case VALUE_TEXT:
            if (*(const char *const *)member) {
                text_add(text, ", %s: ", attribute->key);
                yaml_string_write(text, *(const char *const *)member);
            }
            break;
        case VALUE_BANDWIDTH:
        case VALUE_LATENCY:
            if (((const struct figure *)member)->source != FIGURE_UNKNOWN)
                figure_write(text, attribute->key, *(const struct figure *)member, attribute->type == VALUE_LATENCY);
            break;
        case VALUE_UINT32:
            number = *(const uint32_t *)member;
            if (number != attribute->absent) text_add(text, ", %s: %" PRIu64, attribute->key, number);
            break;
        case VALUE_UINT64:
            number = *(const uint64_t *)member;
            if (number) text_add(text, ", %s: %" PRIu64, attribute->key, number);
            break;
        case VALUE_HEX64:
            number = *(const uint64_t *)member;
            if (number) text_add(text, ", %s: 0x%016" PRIx64, attribute->key, number);
            break;
        }
    }
}
