/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic: combine any number of sources, in the given order, into any number of destinations, reading each
 * source once and writing each destination once. One source without a divisor or scale is a copy of bytes.
 *
 * For 16- and 8-bit floats the sources of one call are combined in float32 and rounded once per call, to nearest, ties
 * to even; all other types are combined in themselves, left to right: ((s0 op s1) op s2) ...
 *
 * Results are bitwise the same whatever the processor, vector width, alignment and length:
 *   - no fused multiply-add, no flush to zero (the caller's rounding mode is the default one, to nearest);
 *   - a result that is not a number is the one positive quiet NaN with an empty payload (0x7fc00000 in float32): which
 *     payload survives a sum is up to the processor and to the order a compiler gives the operands;
 *   - 8-bit floats saturate: what is too large, infinities included, becomes the largest number of its sign;
 *   - min and max return a NaN if any contribution is one, and hold -0 to be less than +0;
 *   - integer sums and products wrap in their type; an average divides the wrapped sum, truncating towards zero;
 *   - a float average is a true division by the divisor, not a product with its reciprocal;
 *   - a scale multiplies its source in the type that is combined, to which it is rounded first, and the product is
 * rounded before it is added; 1 leaves a source as it is.
 */
#ifndef COLLECTIVES_REDUCE_H
#define COLLECTIVES_REDUCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weft/types.h>

struct reduce_call {
    void *const *destinations;  /* 1 or more; a destination may be equal to a source, else they do not overlap */
    const void *const *sources; /* 1 or more; neither side needs any alignment */
    uint32_t destination_count, source_count;
    size_t count;     /* elements; 0 is allowed */
    uint32_t divisor; /* average: divide the sum by this, once; 0 or 1: do not. No other operation reads it */
    bool streaming;   /* destinations will not be read soon: bypass the cache where the processor can */
    /* Premultiplied sum: a factor for each source, for an integer type one of its integers. NULL: none. No other
     * operation reads it. */
    const double *scales;
    /* Canonical kernels alone read these. Which sources are partial results, of reduce_partial_bytes() an element, and
     * not scaled; NULL: none. Whether the result is to be one: then it is neither rounded nor divided. And whether the
     * sources are joined one after another, along a branch of the tree, instead of by the tree. */
    const bool *partial_sources;
    bool partial_result, chained;
};

/* Bytes are written, and visible to other cores in program order, when the call returns. Thread: any. */
typedef void (*reduce_function)(const struct reduce_call *call);

/* As many elements, as they are, by any kernel of their type. @p streaming: as in struct reduce_call. */
static inline void reduce_copy(reduce_function kernel, void *to, const void *from, size_t count, bool streaming)
{
    const struct reduce_call copy = {.destinations = &to,
                                     .sources = &from,
                                     .destination_count = 1,
                                     .source_count = 1,
                                     .count = count,
                                     .streaming = streaming};
    kernel(&copy);
}

/*
 * The best kernel for this processor (WEFT_SIMD can lower it). WEFT_AVG combines as WEFT_SUM, with the divisor, and
 * WEFT_PREMUL_SUM with the scales.
 * Never NULL for valid arguments; NULL out of range. Thread: any.
 */
reduce_function reduce_lookup(weft_dtype dtype, weft_op op);
/* The same at a given level of enum config_simd, or NULL if this processor lacks it: for tests and benchmarks. */
reduce_function reduce_lookup_at(weft_dtype dtype, weft_op op, int simd);

/*
 * The canonical order: the sources are the leaves of a binary tree, and the tree over the sources from lo up to hi
 * joins that over [lo, m) on the left with that over [m, hi) on the right, where m - lo is the largest power of two
 * below hi - lo. So a source may be replaced by the partial result of a block of sources, provided that all blocks but
 * the last are of one size, which is a power of two: the tree over the blocks joins what the tree over their sources
 * joins. Which of two is on the left makes no difference to a sum or product. In 16- and 8-bit floats the whole tree is
 * in float32, and rounded once, at its root.
 */
reduce_function reduce_lookup_canonical(weft_dtype dtype, weft_op op);
reduce_function reduce_lookup_canonical_at(weft_dtype dtype, weft_op op, int simd);
/*
 * Bytes of an element of a partial result, which holds what rounding would lose: 4 for 16- and 8-bit floats, which are
 * combined in float32, but where the result is one of the contributions (minimum, maximum); else those of the type.
 */
size_t reduce_partial_bytes(weft_dtype dtype, weft_op op);

/*
 * From so many bytes of all buffers of all ranks on, results are better stored past the caches (reduce_call.streaming):
 * they would not be found there any more. In place they are stored where they were just read, into lines that are
 * there: that pays until nothing of a call is left in a cache by the next. @p cache_bytes is what the last-level caches
 * of the ranks hold; 0: not known. Thread: any.
 */
uint64_t reduce_streaming_bytes(uint64_t cache_bytes, bool in_place);

/* "avx512", "avx2" or "portable": what reduce_lookup() chooses. Thread: any. */
const char *reduce_simd_name(void);
#endif
