/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fabric/memory/memory.h"

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

struct kind {
    weft_status (*allocate)(size_t bytes, struct memory *memory, struct diagnostic *diagnostic);
    void (*free)(struct memory *memory);
};

static bool round_up(size_t bytes, size_t unit, size_t *rounded)
{
    if (__builtin_add_overflow(bytes, unit - 1, rounded)) return false;
    *rounded -= *rounded % unit;
    return true;
}

static weft_status refused(struct diagnostic *diagnostic, const char *what, size_t bytes)
{
    const int error = errno;
    const weft_status status = error == EMFILE || error == ENFILE   ? WEFT_RESOURCE_LIMIT
                               : error == ENOMEM || error == ENOSPC ? WEFT_OUT_OF_MEMORY
                                                                    : WEFT_SYSTEM_ERROR;
    return diagnose(diagnostic, status, "%zu bytes of %s memory: %s", bytes, what, strerror(error));
}

/* ---- Host ---- */

static weft_status host_allocate(size_t bytes, struct memory *memory, struct diagnostic *diagnostic)
{
    const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    size_t mapped_bytes;
    if (!round_up(bytes, bytes >= HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : page_bytes, &mapped_bytes))
        return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "%zu bytes are more than there can be", bytes);
    void *address = mmap(NULL, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) return refused(diagnostic, "host", bytes);
    if (bytes >= HUGE_PAGE_BYTES) (void)madvise(address, mapped_bytes, MADV_HUGEPAGE);
    *memory = (struct memory){
        .kind = MEMORY_HOST,
        .address = address,
        .bytes = bytes,
        .mapped_bytes = mapped_bytes,
        .page_bytes = page_bytes,
        .descriptor = -1,
    };
    return WEFT_OK;
}

static void host_free(struct memory *memory)
{
    munmap(memory->address, memory->mapped_bytes);
}

/* ---- Shared ---- */

/* False with errno. Sealed: whoever maps it must be able to rely on its size (a truncated file kills its readers). */
static bool shared_map(size_t mapped_bytes, bool huge, struct memory *memory)
{
    const int descriptor =
        memfd_create("weft", MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0));
    if (descriptor < 0) return false;
    void *address = MAP_FAILED;
    if (ftruncate(descriptor, (off_t)mapped_bytes) == 0 &&
        fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        address = mmap(NULL, mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (address == MAP_FAILED) {
        const int error = errno;
        close(descriptor);
        errno = error;
        return false;
    }
    memory->address = address;
    memory->descriptor = descriptor;
    memory->mapped_bytes = mapped_bytes;
    return true;
}

static weft_status shared_allocate(size_t bytes, struct memory *memory, struct diagnostic *diagnostic)
{
    struct memory made = {.kind = MEMORY_SHARED, .bytes = bytes, .page_bytes = (size_t)sysconf(_SC_PAGESIZE)};
    const bool large = bytes >= HUGE_PAGE_BYTES;
    size_t mapped_bytes;
    if (!round_up(bytes, large ? HUGE_PAGE_BYTES : made.page_bytes, &mapped_bytes) || mapped_bytes > PTRDIFF_MAX)
        return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "%zu bytes are more than there can be", bytes);
    /* mmap() of hugetlb memory takes its pages from the reserve at once, or fails: it cannot fail later, on a touch. */
    if (large && shared_map(mapped_bytes, true, &made)) {
        made.page_bytes = HUGE_PAGE_BYTES;
    } else {
        if (!shared_map(mapped_bytes, false, &made)) return refused(diagnostic, "shared", bytes);
        if (large) (void)madvise(made.address, mapped_bytes, MADV_HUGEPAGE);
    }
    *memory = made;
    return WEFT_OK;
}

static void shared_free(struct memory *memory)
{
    munmap(memory->address, memory->mapped_bytes);
    close(memory->descriptor);
}

/* ---- CUDA ---- */

static weft_status cuda_allocate(size_t bytes, struct memory *memory, struct diagnostic *diagnostic)
{
    (void)bytes, (void)memory;
    return diagnose(diagnostic, WEFT_UNSUPPORTED, "this build has no CUDA memory; use host or shared memory");
}

static void cuda_free(struct memory *memory)
{
    (void)memory;
}

/* ---- The table ---- */

static const struct kind kinds[MEMORY_KIND_COUNT] = {
    [MEMORY_HOST] = {host_allocate, host_free},
    [MEMORY_SHARED] = {shared_allocate, shared_free},
    [MEMORY_CUDA] = {cuda_allocate, cuda_free},
};

weft_status memory_allocate(enum memory_kind kind, size_t bytes, struct memory *memory, struct diagnostic *diagnostic)
{
    if ((unsigned)kind >= MEMORY_KIND_COUNT)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "there is no memory kind %d", (int)kind);
    if (bytes == 0) return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "0 bytes of memory cannot be allocated");
    return kinds[kind].allocate(bytes, memory, diagnostic);
}

void memory_free(struct memory *memory)
{
    kinds[memory->kind].free(memory);
}
