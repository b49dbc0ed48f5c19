/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/select/tuning.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "topology/format/yaml.h"

enum { FILE_BYTES_MAX = 1 << 20 };

struct reading {
    const struct format_source *source;
    struct diagnostic *diagnostic;
    const char *transport;
    uint32_t rank_count;
    struct tuning *tuning;
};

static weft_status wrong(const struct reading *reading, const struct yaml_value *at, const char *what)
{
    return diagnose(reading->diagnostic, WEFT_BAD_FORMAT, "%s:%u:%u: %s", reading->source->name, at->place.line,
                    at->place.column, what);
}

/* A whole number from @p least to @p most; @p otherwise where the key is missing, UINT64_MAX: it must not be. */
static weft_status number_take(const struct reading *reading, const struct yaml_value *map, const char *key,
                               uint64_t least, uint64_t most, uint64_t otherwise, uint64_t *number)
{
    const struct yaml_value *value = yaml_find(map, key);
    char what[128], *end = NULL;
    if (!value && otherwise != UINT64_MAX) {
        *number = otherwise;
        return WEFT_OK;
    }
    bool digits = value && value->kind == YAML_IS_SCALAR && value->text.size > 0 && value->text.size < 20 &&
                  strspn(value->text.at, "0123456789") == value->text.size;
    uint64_t found = digits ? strtoull(value->text.at, &end, 10) : 0;
    if (digits && found >= least && found <= most) {
        *number = found;
        return WEFT_OK;
    }
    snprintf(what, sizeof what, "\"%s\" is not a whole number from %llu to %llu", key, (unsigned long long)least,
             (unsigned long long)most);
    return wrong(reading, value ? value : map, what);
}

static bool text_is(const struct yaml_value *value, const char *word)
{
    return value && value->kind == YAML_IS_SCALAR && value->text.size == strlen(word) &&
           memcmp(value->text.at, word, value->text.size) == 0;
}

static weft_status names_take(const struct reading *reading, const struct yaml_value *map, struct tuning_entry *entry)
{
    const struct yaml_value *collective = yaml_find(map, "collective"), *algorithm = yaml_find(map, "algorithm");
    int i = 0;
    while (i < WEFT_COLLECTIVE_COUNT && !text_is(collective, weft_collective_name((weft_collective)i))) i++;
    if (i == WEFT_COLLECTIVE_COUNT) return wrong(reading, collective ? collective : map, "no such \"collective\"");
    entry->collective = (weft_collective)i;
    i = WEFT_ALGORITHM_AUTO + 1;
    while (i < WEFT_ALGORITHM_COUNT && !text_is(algorithm, weft_algorithm_name((weft_algorithm)i))) i++;
    if (i == WEFT_ALGORITHM_COUNT) return wrong(reading, algorithm ? algorithm : map, "no such \"algorithm\"");
    entry->algorithm = (weft_algorithm)i;
    return WEFT_OK;
}

/* Entries come in order, so that the last that begins at or below a size is its own. */
static weft_status entry_keep(const struct reading *reading, const struct yaml_value *map, struct tuning_entry entry)
{
    struct tuning *tuning = reading->tuning;
    for (uint32_t i = 0; i < tuning->entry_count; i++)
        if (tuning->entries[i].collective == entry.collective && tuning->entries[i].from_bytes >= entry.from_bytes)
            return wrong(reading, map, "the entries of a collective are not in ascending order of \"from_bytes\"");
    if (tuning->entry_count == TUNING_ENTRIES) return wrong(reading, map, "too many entries");
    uint32_t at = tuning->entry_count++;
    for (; at > 0 && tuning->entries[at - 1].collective > entry.collective; at--)
        tuning->entries[at] = tuning->entries[at - 1];
    tuning->entries[at] = entry;
    if (entry.channel_units > tuning->channel_units_most) tuning->channel_units_most = entry.channel_units;
    if (entry.slice_bytes > tuning->slice_bytes_most) tuning->slice_bytes_most = entry.slice_bytes;
    return WEFT_OK;
}

static weft_status entry_take(const struct reading *reading, const struct yaml_value *map)
{
    struct tuning_entry entry = {0};
    uint64_t ranks = 0, channels = 0, slice_bytes = 0;
    weft_status status = yaml_expect(reading->source, map, YAML_IS_MAP, "an entry", reading->diagnostic);
    if (!status) status = names_take(reading, map, &entry);
    if (!status) status = number_take(reading, map, "ranks", 1, UINT32_MAX, UINT64_MAX, &ranks);
    if (!status) status = number_take(reading, map, "from_bytes", 0, UINT64_MAX, UINT64_MAX, &entry.from_bytes);
    if (!status) status = number_take(reading, map, "channels", 0, TUNING_CHANNELS_MOST, 0, &channels);
    if (!status) status = number_take(reading, map, "slice_bytes", 0, TUNING_SLICE_MOST, 0, &slice_bytes);
    if (status) return status;
    const struct yaml_value *transport = yaml_find(map, "transport");
    if (!transport || transport->kind != YAML_IS_SCALAR) return wrong(reading, map, "no \"transport\"");
    if (slice_bytes % 64 != 0) return wrong(reading, map, "\"slice_bytes\" is not a multiple of 64");
    if (ranks != reading->rank_count || !text_is(transport, reading->transport)) return WEFT_OK;
    entry.channel_units = (uint32_t)channels;
    entry.slice_bytes = (uint32_t)slice_bytes;
    return entry_keep(reading, map, entry);
}

static weft_status root_take(const struct reading *reading, const struct yaml_value *root)
{
    const struct yaml_value *version = root->kind == YAML_IS_MAP ? yaml_find(root, "weft_tuning") : NULL;
    if (!text_is(version, "1"))
        return diagnose(reading->diagnostic, WEFT_BAD_FORMAT, "%s: no \"weft_tuning\": 1; weft-perf --tune makes one",
                        reading->source->name);
    const struct yaml_value *entries = yaml_find(root, "entries");
    if (!entries)
        return diagnose(reading->diagnostic, WEFT_BAD_FORMAT, "%s: there are no \"entries\"", reading->source->name);
    weft_status status = yaml_expect(reading->source, entries, YAML_IS_LIST, "\"entries\"", reading->diagnostic);
    for (const struct yaml_value *entry = entries->first; entry && !status; entry = entry->next)
        status = entry_take(reading, entry);
    return status;
}

/* FNV-1a, a word at a time: for being compared, not for being hard to forge. */
static uint64_t entries_hash(const struct tuning *tuning)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (uint32_t i = 0; i < tuning->entry_count; i++) {
        const struct tuning_entry *entry = &tuning->entries[i];
        const uint64_t words[] = {entry->from_bytes, (uint64_t)entry->collective << 32 | (uint64_t)entry->algorithm,
                                  (uint64_t)entry->channel_units << 32 | entry->slice_bytes};
        for (size_t k = 0; k < sizeof words / sizeof words[0]; k++) hash = (hash ^ words[k]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

weft_status tuning_parse(const char *name, const char *bytes, size_t size, const char *transport, uint32_t rank_count,
                         struct tuning *tuning, struct diagnostic *diagnostic)
{
    const struct format_source source = {.name = name, .bytes = (const uint8_t *)bytes, .size = size};
    struct tuning *taken = calloc(1, sizeof *taken);
    if (!taken) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for a tuning");
    const struct reading reading = {&source, diagnostic, transport, rank_count, taken};
    struct arena arena = {0};
    const struct yaml_value *root = NULL;
    weft_status status = yaml_parse(&source, &arena, &root, diagnostic); /* JSON is YAML */
    if (!status) status = root_take(&reading, root);
    arena_free(&arena);
    taken->hash = entries_hash(taken);
    if (!status) *tuning = *taken;
    free(taken);
    return status;
}

weft_status tuning_load(const char *path, const char *transport, uint32_t rank_count, struct tuning *tuning,
                        struct diagnostic *diagnostic)
{
    char *bytes = NULL;
    size_t size = 0;
    weft_status status = file_load(path, FILE_BYTES_MAX, &bytes, &size, diagnostic);
    if (status == WEFT_OK) status = tuning_parse(path, bytes, size, transport, rank_count, tuning, diagnostic);
    free(bytes);
    return status;
}

const struct tuning_entry *tuning_find(const struct tuning *tuning, weft_collective collective, uint64_t bytes)
{
    const struct tuning_entry *found = NULL;
    for (uint32_t i = 0; tuning && i < tuning->entry_count; i++)
        if (tuning->entries[i].collective == collective && tuning->entries[i].from_bytes <= bytes)
            found = &tuning->entries[i];
    return found;
}
