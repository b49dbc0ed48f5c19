/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/collectives/path_counts.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static __thread struct path_counts *window; /* NULL: outside of one */

void path_counts_begin(struct path_counts *counts)
{
    window = counts;
}

void path_counts_end(void)
{
    window = NULL;
}

/* ---- Allocations and locks ---- */

#define WRAP(counter, type, name, parameters, arguments)                                                               \
    type __real_##name parameters;                                                                                     \
    type __wrap_##name parameters;                                                                                     \
    type __wrap_##name parameters                                                                                      \
    {                                                                                                                  \
        if (window) window->counter++;                                                                                 \
        return __real_##name arguments;                                                                                \
    }
WRAP(allocations, void *, malloc, (size_t bytes), (bytes))
WRAP(allocations, void *, calloc, (size_t count, size_t bytes), (count, bytes))
WRAP(allocations, void *, realloc, (void *memory, size_t bytes), (memory, bytes))
WRAP(allocations, void *, aligned_alloc, (size_t alignment, size_t bytes), (alignment, bytes))
WRAP(allocations, int, posix_memalign, (void **memory, size_t alignment, size_t bytes), (memory, alignment, bytes))
WRAP(allocations, void, free, (void *memory), (memory))
WRAP(locks, int, pthread_mutex_lock, (pthread_mutex_t * mutex), (mutex))
WRAP(locks, int, pthread_mutex_trylock, (pthread_mutex_t * mutex), (mutex))
WRAP(locks, int, pthread_rwlock_rdlock, (pthread_rwlock_t * lock), (lock))
WRAP(locks, int, pthread_rwlock_wrlock, (pthread_rwlock_t * lock), (lock))
WRAP(locks, int, pthread_spin_lock, (pthread_spinlock_t * lock), (lock))
WRAP(locks, int, pthread_cond_wait, (pthread_cond_t * condition, pthread_mutex_t *mutex), (condition, mutex))
WRAP(locks, int, pthread_cond_timedwait,
     (pthread_cond_t * condition, pthread_mutex_t *mutex, const struct timespec *until), (condition, mutex, until))
WRAP(locks, int, pthread_cond_signal, (pthread_cond_t * condition), (condition))
WRAP(locks, int, pthread_cond_broadcast, (pthread_cond_t * condition), (condition))

/* ---- System calls ---- */

#if defined(__x86_64__)

/* Six arguments and a number; what follows the instruction is the address that the filter lets pass. */
long path_counts_system_call(long a, long b, long c, long d, long e, long f, long number);
extern const char path_counts_passes[];
__asm__(".text\n"
        ".type path_counts_system_call, @function\n"
        "path_counts_system_call:\n"
        "    movq %rcx, %r10\n"
        "    movq 8(%rsp), %rax\n"
        "    syscall\n"
        "path_counts_passes:\n"
        "    ret\n"
        ".size path_counts_system_call, .-path_counts_system_call\n");

static void handle(int signal, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)signal;
    if (window) {
        if (window->system_calls < PATH_COUNTS_NUMBERS)
            window->numbers[window->system_calls] = (uint32_t)info->si_syscall;
        window->system_calls++;
    }
    registers[REG_RAX] =
        path_counts_system_call(registers[REG_RDI], registers[REG_RSI], registers[REG_RDX], registers[REG_R10],
                                registers[REG_R8], registers[REG_R9], info->si_syscall);
}

bool path_counts_prepare(void)
{
    const uint64_t passes = (uint64_t)(uintptr_t)path_counts_passes;
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER};
#define LOAD(field, offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field) + (offset))
#define EQUAL(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), then, otherwise)
    struct sock_filter steps[] = {
        LOAD(nr, 0),
        EQUAL(SYS_rt_sigreturn, 5, 0), /* what ends the handler */
        LOAD(instruction_pointer, 0),
        EQUAL(passes, 0, 2),
        LOAD(instruction_pointer, 4),
        EQUAL(passes >> 32, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof steps / sizeof steps[0], .filter = steps};
    return sigaction(SIGSYS, &action, NULL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

#else

bool path_counts_prepare(void)
{
    errno = ENOSYS; /* the handler is written for one processor */
    return false;
}

#endif
