/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with -mavx512{f,bw,dq,vl,vbmi}; nothing here may run before reduce.c has asked the processor. */
#define LEVEL avx512
#define VECTOR_BYTES 64
#include "collectives/reduce/kernels.inc"
