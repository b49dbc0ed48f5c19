/* SPDX-License-Identifier: Apache-2.0 */
/* A pause between two looks at memory that somebody else is to write: what spins leaves the core to its sibling. */
#ifndef BASE_RELAX_H
#define BASE_RELAX_H

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
#endif
