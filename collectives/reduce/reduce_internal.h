/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the lookup and the kernels of each vector width share. The kernels are one text, kernels.inc and lanes.inc,
 * compiled once per width in kernels_<level>.c.
 */
#ifndef COLLECTIVES_REDUCE_INTERNAL_H
#define COLLECTIVES_REDUCE_INTERNAL_H

#include "collectives/reduce/reduce.h"

/* Indexed by [canonical][weft_dtype][weft_op]. An average is a sum with a divisor and a premultiplied sum one with
 * scales, so they have no kernels of their own. */
enum { REDUCE_KERNEL_COUNT = WEFT_AVG };
typedef const reduce_function reduce_table[2][WEFT_DTYPE_COUNT][REDUCE_KERNEL_COUNT];

extern reduce_table reduce_table_portable;
#ifdef __x86_64__
extern reduce_table reduce_table_avx2;
extern reduce_table reduce_table_avx512;
#endif
#endif
