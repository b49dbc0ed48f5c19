/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The canonical result, as docs/guide/reproducible.md defines it, said once more: recursively, one element at a time,
 * with the scalar arithmetic and rounding of reduce_reference.c.
 */
#ifndef TESTS_COLLECTIVES_CANONICAL_REFERENCE_H
#define TESTS_COLLECTIVES_CANONICAL_REFERENCE_H

#include "reduce_reference.h"

/* The bytes that the call's sources, in the order of the ranks, come to. None of them is a partial result. */
void canonical_reference(weft_dtype dtype, weft_op op, const struct reduce_call *call, void *expected);
#endif
