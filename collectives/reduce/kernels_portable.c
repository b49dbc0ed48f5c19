/* SPDX-License-Identifier: Apache-2.0 */
/* Sixteen bytes: the vectors that every x86-64 (SSE2) and arm64 processor has, and that compilers emulate elsewhere. */
#define LEVEL portable
#define VECTOR_BYTES 16
#include "collectives/reduce/kernels.inc"
