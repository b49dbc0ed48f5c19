/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/plan/verify_value.h"

#include <string.h>

struct value_bits {
    uint32_t references;
    struct value_bits *next_unused;
    uint64_t words[];
};

static uint32_t word_count(const struct value_space *space)
{
    return (space->rank_count + 63) / 64;
}

void value_space_free(struct value_space *space)
{
    arena_free(&space->arena);
    space->unused = NULL;
}

struct value value_copy(struct value value)
{
    if (value.bits) value.bits->references++;
    return value;
}

void value_drop(struct value_space *space, struct value *value)
{
    if (value->bits && --value->bits->references == 0) {
        value->bits->next_unused = space->unused;
        space->unused = value->bits;
    }
    *value = value_none();
}

/* Without any bit set. */
static struct value_bits *bits_create(struct value_space *space)
{
    size_t bytes = sizeof(struct value_bits) + word_count(space) * sizeof(uint64_t);
    struct value_bits *bits = space->unused;
    if (bits)
        space->unused = bits->next_unused;
    else
        bits = arena_alloc(&space->arena, 1, bytes);
    if (!bits) return NULL;
    memset(bits, 0, bytes);
    bits->references = 1;
    return bits;
}

static void bits_set_range(uint64_t *words, uint32_t begin, uint32_t end)
{
    for (uint32_t at = begin; at < end;) {
        uint32_t low = at % 64, length = 64 - low < end - at ? 64 - low : end - at;
        words[at / 64] |= (length == 64 ? UINT64_MAX : (UINT64_C(1) << length) - 1) << low;
        at += length;
    }
}

/* The set of @p value, added to @p words. */
static void bits_add(const struct value_space *space, uint64_t *words, const struct value *value)
{
    if (value->bits) {
        for (uint32_t i = 0; i < word_count(space); i++) words[i] |= value->bits->words[i];
        return;
    }
    uint32_t room = space->rank_count - value->first;
    uint32_t before_wrap = value->count < room ? value->count : room;
    bits_set_range(words, value->first, value->first + before_wrap);
    bits_set_range(words, 0, value->count - before_wrap);
}

/* Bits of @p words that begin a run, going round; the bits beyond the last rank are never set. */
static uint64_t run_starts(const struct value_space *space, const uint64_t *words, uint32_t word)
{
    uint32_t last = space->rank_count - 1;
    uint64_t before = word > 0 ? words[word - 1] >> 63 : words[last / 64] >> (last % 64) & 1;
    return words[word] & ~(words[word] << 1 | before);
}

/* A value of the ranks in @p bits, which it takes over: two numbers if they are consecutive. */
static struct value value_from_bits(struct value_space *space, struct value_bits *bits)
{
    uint32_t count = 0, run_count = 0, first = 0;
    for (uint32_t i = 0; i < word_count(space); i++) {
        uint64_t starts = run_starts(space, bits->words, i);
        if (starts) first = i * 64 + (uint32_t)__builtin_ctzll(starts);
        run_count += (uint32_t)__builtin_popcountll(starts);
        count += (uint32_t)__builtin_popcountll(bits->words[i]);
    }
    struct value value = {.count = count, .bits = bits};
    if (run_count > 1) return value;
    value_drop(space, &value);
    return (struct value){.first = count == space->rank_count ? 0 : first, .count = count};
}

static enum value_result value_join(struct value_space *space, struct value *value, const struct value *other)
{
    struct value_bits *bits = bits_create(space);
    if (!bits) return VALUE_OUT_OF_MEMORY;
    bits_add(space, bits->words, value);
    bits_add(space, bits->words, other);
    value_drop(space, value);
    *value = value_from_bits(space, bits);
    return VALUE_OK;
}

/* How far round it is from one rank to another. */
static uint32_t distance(const struct value_space *space, uint32_t from, uint32_t to)
{
    return to >= from ? to - from : space->rank_count - from + to;
}

/* Both runs of consecutive ranks and not empty. False when the result is no such run. */
static bool runs_combine(const struct value_space *space, struct value *value, const struct value *other,
                         enum value_result *result, uint32_t *twice)
{
    uint32_t ahead = distance(space, value->first, other->first);
    uint32_t behind = distance(space, other->first, value->first);
    *result = VALUE_OK;
    if (ahead < value->count || behind < other->count) {
        *twice = ahead < value->count ? other->first : value->first;
        *result = VALUE_OVERLAP;
        return true;
    }
    if (ahead != value->count && behind != other->count) return false;
    uint32_t first = ahead == value->count ? value->first : other->first;
    uint32_t count = value->count + other->count;
    *value = (struct value){.first = count == space->rank_count ? 0 : first, .count = count};
    return true;
}

/* The lowest rank in both sets, or the rank count. */
static enum value_result first_common(struct value_space *space, const struct value *a, const struct value *b,
                                      uint32_t *rank)
{
    struct value_bits *of_a = bits_create(space), *of_b = bits_create(space);
    if (!of_a || !of_b) return VALUE_OUT_OF_MEMORY; /* what was made goes with the space */
    bits_add(space, of_a->words, a);
    bits_add(space, of_b->words, b);
    *rank = space->rank_count;
    for (uint32_t i = word_count(space); i-- > 0;) {
        uint64_t common = of_a->words[i] & of_b->words[i];
        if (common) *rank = i * 64 + (uint32_t)__builtin_ctzll(common);
    }
    struct value scratch_a = {.bits = of_a}, scratch_b = {.bits = of_b};
    value_drop(space, &scratch_a);
    value_drop(space, &scratch_b);
    return VALUE_OK;
}

enum value_result value_combine(struct value_space *space, struct value *value, const struct value *other,
                                uint32_t *twice)
{
    if (other->count == 0) return VALUE_OK;
    if (value->count == 0) {
        *value = value_copy(*other);
        return VALUE_OK;
    }
    enum value_result result;
    if (!value->bits && !other->bits && runs_combine(space, value, other, &result, twice)) return result;
    uint32_t common;
    result = first_common(space, value, other, &common);
    if (result != VALUE_OK) return result;
    if (common < space->rank_count) {
        *twice = common;
        return VALUE_OVERLAP;
    }
    return value_join(space, value, other);
}

enum value_result value_unite(struct value_space *space, struct value *value, const struct value *other)
{
    uint32_t common;
    if (value_is_all(space, value)) return VALUE_OK;
    if (value->count == 0 || other->count == 0 || (!value->bits && !other->bits)) {
        enum value_result result = value_combine(space, value, other, &common);
        if (result != VALUE_OVERLAP) return result;
    }
    return value_join(space, value, other);
}

uint32_t value_first_missing(const struct value_space *space, const struct value *value)
{
    if (!value->bits) {
        if (value->count == 0 || value->first > 0) {
            uint32_t end = value->first + value->count; /* beyond the rank count: the run wraps and begins before 0 */
            return value->count == 0 || end <= space->rank_count ? 0 : end - space->rank_count;
        }
        return value->count;
    }
    uint32_t word = 0;
    while (value->bits->words[word] == UINT64_MAX) word++;
    return word * 64 + (uint32_t)__builtin_ctzll(~value->bits->words[word]);
}
