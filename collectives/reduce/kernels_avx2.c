/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with -mavx2 -mfma -mf16c; nothing here may run before reduce.c has asked the processor. */
#define LEVEL avx2
#define VECTOR_BYTES 32
#include "collectives/reduce/kernels.inc"
