/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Symbolic values: which ranks' contributions a piece of data holds. A set of consecutive ranks (going round) is two
 * numbers, which is all that rings and trees ever need; any other set is a shared bitset. A value is passed on by
 * value_copy() and ended by value_drop(). Not thread-safe.
 */
#ifndef COLLECTIVES_PLAN_VERIFY_VALUE_H
#define COLLECTIVES_PLAN_VERIFY_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

struct value_bits;

struct value {
    uint32_t first, count; /* without bits: ranks first, first + 1, ..., modulo the rank count; all ranks: first is 0 */
    struct value_bits *bits; /* else: these, `count` of them */
};

/* Where the values of one verification live. */
struct value_space {
    uint32_t rank_count;
    struct arena arena;
    struct value_bits *unused;
};

enum value_result { VALUE_OK, VALUE_OVERLAP, VALUE_OUT_OF_MEMORY };

static inline struct value value_none(void)
{
    return (struct value){0};
}
static inline struct value value_one(uint32_t rank)
{
    return (struct value){.first = rank, .count = 1};
}
static inline struct value value_all(const struct value_space *space)
{
    return (struct value){.count = space->rank_count};
}
static inline bool value_is_all(const struct value_space *space, const struct value *value)
{
    return value->count == space->rank_count;
}

void value_space_free(struct value_space *space);
struct value value_copy(struct value value);
void value_drop(struct value_space *space, struct value *value);

/* Add the ranks of @p other, which stays as it is. VALUE_OVERLAP with a rank that both hold: *value is then unchanged.
 */
enum value_result value_combine(struct value_space *space, struct value *value, const struct value *other,
                                uint32_t *twice);
/* The same for sets that may overlap. */
enum value_result value_unite(struct value_space *space, struct value *value, const struct value *other);

/* The lowest rank that is not in a set that does not hold all. */
uint32_t value_first_missing(const struct value_space *space, const struct value *value);
#endif
