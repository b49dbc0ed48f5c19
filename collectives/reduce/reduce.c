/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/reduce/reduce.h"

#include <stdatomic.h>

#include "base/config.h"
#include "collectives/reduce/reduce_internal.h"

#ifdef __x86_64__
#include <cpuid.h>

/*
 * Every processor with AVX2 has F16C and FMA, but a hypervisor may mask any of them. F16C is asked for by number
 * because clang 14 does not know the name; AVX2 has already told that the operating system keeps the wide registers.
 */
static bool processor_has_f16c(void)
{
    unsigned int eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

static int processor_level(void)
{
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !processor_has_f16c())
        return SIMD_PORTABLE;
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512vbmi");
    return avx512 ? SIMD_AVX512 : SIMD_AVX2;
}
#else
static int processor_level(void)
{
    return SIMD_PORTABLE;
}
#endif

/* The widest level of this processor that is not above @p ceiling. */
static int widest_level(int ceiling)
{
    /*
     * Kept because cpuid leaves a virtual machine for microseconds. Relaxed, and paired with nothing: every thread that
     * finds it unset computes the same value, and no other memory hangs on it.
     */
    static _Atomic int known = SIMD_AUTO;
    int level = atomic_load_explicit(&known, memory_order_relaxed);
    if (level == SIMD_AUTO) {
        level = processor_level();
        atomic_store_explicit(&known, level, memory_order_relaxed);
    }
    return ceiling == SIMD_AUTO || ceiling > level ? level : ceiling;
}

static reduce_table *table_at(int level)
{
    switch (level) {
#ifdef __x86_64__
    case SIMD_AVX512:
        return &reduce_table_avx512;
    case SIMD_AVX2:
        return &reduce_table_avx2;
#endif
    default:
        return &reduce_table_portable;
    }
}

static reduce_function lookup(bool canonical, weft_dtype dtype, weft_op op, int simd)
{
    if ((unsigned)dtype >= WEFT_DTYPE_COUNT || (unsigned)op >= WEFT_OP_COUNT) return NULL;
    if (simd < SIMD_AUTO || simd > SIMD_AVX512) return NULL;
    int level = widest_level(simd);
    if (simd != SIMD_AUTO && simd != level) return NULL;
    return (*table_at(level))[canonical][dtype][(int)op >= REDUCE_KERNEL_COUNT ? WEFT_SUM : op];
}

reduce_function reduce_lookup_at(weft_dtype dtype, weft_op op, int simd)
{
    return lookup(false, dtype, op, simd);
}

reduce_function reduce_lookup(weft_dtype dtype, weft_op op)
{
    return lookup(false, dtype, op, widest_level(config_get()->simd));
}

reduce_function reduce_lookup_canonical_at(weft_dtype dtype, weft_op op, int simd)
{
    return lookup(true, dtype, op, simd);
}

reduce_function reduce_lookup_canonical(weft_dtype dtype, weft_op op)
{
    return lookup(true, dtype, op, widest_level(config_get()->simd));
}

size_t reduce_partial_bytes(weft_dtype dtype, weft_op op)
{
    switch (dtype) {
    case WEFT_FLOAT16:
    case WEFT_BFLOAT16:
    case WEFT_FLOAT8_E4M3:
    case WEFT_FLOAT8_E5M2:
        return op == WEFT_MIN || op == WEFT_MAX ? weft_dtype_size(dtype) : sizeof(float);
    default:
        return weft_dtype_size(dtype);
    }
}

/*
 * Two ranks on one cache of 32 MiB, time of a call streamed over stored, by bytes of all buffers: out of place 3 at 8
 * MiB, 2.6 at 16, 1 at 24, 0.5 at 32, 0.7 at 512; in place 3.9 at 16 MiB, 1.2 at 64 to 128, 0.75 at 256.
 */
uint64_t reduce_streaming_bytes(uint64_t cache_bytes, bool in_place)
{
    const uint64_t bytes = cache_bytes ? cache_bytes : UINT64_C(32) << 20;
    return in_place ? 6 * bytes : bytes / 4 * 3;
}

const char *reduce_simd_name(void)
{
    static const char *const names[] = {[SIMD_PORTABLE] = "portable", [SIMD_AVX2] = "avx2", [SIMD_AVX512] = "avx512"};
    return names[widest_level(config_get()->simd)];
}
