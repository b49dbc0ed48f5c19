/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exact fractions of two unsigned 64-bit numbers, in lowest terms. 0 is 0/1; a denominator of 0 means "no number":
 * what did not fit into 64 bits after reduction. Whatever is computed from no number is no number. Intermediate results
 * have 128 bits, so that only results can be out of range, never the way to them.
 */
#ifndef TOPOLOGY_SEARCH_RATIONAL_H
#define TOPOLOGY_SEARCH_RATIONAL_H

#include <stdbool.h>
#include <stdint.h>

struct rational {
    uint64_t numerator, denominator;
};

static inline unsigned __int128 rational_gcd(unsigned __int128 a, unsigned __int128 b)
{
    while (b) {
        unsigned __int128 rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static inline bool rational_valid(struct rational a)
{
    return a.denominator != 0;
}

/* numerator / denominator in lowest terms; no number when the denominator is 0 or it does not fit. */
static inline struct rational rational_reduce(unsigned __int128 numerator, unsigned __int128 denominator)
{
    if (denominator == 0) return (struct rational){0, 0};
    unsigned __int128 divisor = rational_gcd(numerator, denominator);
    numerator /= divisor;
    denominator /= divisor;
    if (numerator > UINT64_MAX || denominator > UINT64_MAX) return (struct rational){0, 0};
    return (struct rational){(uint64_t)numerator, (uint64_t)denominator};
}

static inline struct rational rational_make(uint64_t numerator, uint64_t denominator)
{
    return rational_reduce(numerator, denominator);
}

static inline struct rational rational_multiply(struct rational a, struct rational b)
{
    return rational_reduce((unsigned __int128)a.numerator * b.numerator,
                           (unsigned __int128)a.denominator * b.denominator);
}

static inline struct rational rational_divide(struct rational a, struct rational b)
{
    if (!rational_valid(b)) return b;
    return rational_reduce((unsigned __int128)a.numerator * b.denominator,
                           (unsigned __int128)a.denominator * b.numerator);
}

static inline struct rational rational_add(struct rational a, struct rational b)
{
    unsigned __int128 left, right, sum;
    left = (unsigned __int128)a.numerator * b.denominator;
    right = (unsigned __int128)b.numerator * a.denominator;
    if (__builtin_add_overflow(left, right, &sum)) return (struct rational){0, 0};
    return rational_reduce(sum, (unsigned __int128)a.denominator * b.denominator);
}

/* The sign of a - b; both are numbers. */
static inline int rational_compare(struct rational a, struct rational b)
{
    unsigned __int128 left = (unsigned __int128)a.numerator * b.denominator;
    unsigned __int128 right = (unsigned __int128)b.numerator * a.denominator;
    return left < right ? -1 : left > right;
}

static inline struct rational rational_min(struct rational a, struct rational b)
{
    return rational_compare(b, a) < 0 ? b : a;
}

/* For printing and estimates; 0 where there is no number. */
static inline double rational_value(struct rational a)
{
    return rational_valid(a) ? (double)a.numerator / (double)a.denominator : 0.0;
}
#endif
