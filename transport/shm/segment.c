/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that two processes share: made, checked, mapped once for each process, let go. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "transport/shm/shm_internal.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#define HUGE_PAGES_FROM_BYTES (UINT64_C(4) << 20)

/*
 * All mappings of this process. Two ranks that are threads of one process get the same addresses for the same segment:
 * half the page-table entries, and tools that look for data races see both sides touch the same memory.
 */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct shm_mapping *table;

weft_status shm_status_of_errno(int error)
{
    switch (error) {
    case ENOMEM:
    case ENOBUFS:
        return WEFT_OUT_OF_MEMORY;
    case EMFILE:
    case ENFILE:
    case ENOSPC:
    case EFBIG:
    case ETOOMANYREFS:
        return WEFT_RESOURCE_LIMIT;
    default:
        return WEFT_SYSTEM_ERROR;
    }
}

/* False when no file can be so large. */
static bool segment_bytes(uint64_t granted_bytes, size_t *bytes)
{
    if (granted_bytes > (uint64_t)INT64_MAX - 2 * SHM_REGION_OFFSET) return false;
    *bytes = SHM_REGION_OFFSET + ((granted_bytes + SHM_REGION_OFFSET - 1) & ~(uint64_t)(SHM_REGION_OFFSET - 1));
    return true;
}

static struct shm_mapping *table_find(const struct stat *file)
{
    const pid_t process = getpid();

    for (struct shm_mapping *mapping = table; mapping; mapping = mapping->next) {
        /* What a parent had mapped is not mapped in its child (MADV_DONTFORK below). */
        if (mapping->device == file->st_dev && mapping->inode == file->st_ino && mapping->process == process)
            return mapping;
    }
    return NULL;
}

static weft_status mapping_create(int memory, const struct stat *file, struct shm_mapping **result)
{
    const size_t bytes = (size_t)file->st_size;
    struct shm_mapping *mapping = calloc(1, sizeof *mapping);
    if (!mapping) return WEFT_OUT_OF_MEMORY;

    void *address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory, 0);
    if (address == MAP_FAILED) {
        const weft_status status = shm_status_of_errno(errno);
        free(mapping);
        return status;
    }
    /*
     * A forked child has no business here, and would keep the memory alive after its parent's death.
     * Huge pages are taken where the system's policy for shared memory is to give them to those who ask; not for small
     * regions, for which they would multiply what is really used. Either request may be refused without harm.
     */
    (void)madvise(address, bytes, MADV_DONTFORK);
    if (bytes >= HUGE_PAGES_FROM_BYTES) (void)madvise(address, bytes, MADV_HUGEPAGE);

    *mapping = (struct shm_mapping){.next = table,
                                    .segment = address,
                                    .bytes = bytes,
                                    .device = file->st_dev,
                                    .inode = file->st_ino,
                                    .process = getpid(),
                                    .references = 1};
    table = mapping;
    *result = mapping;
    return WEFT_OK;
}

static weft_status mapping_acquire(int memory, const struct stat *file, struct shm_mapping **mapping)
{
    weft_status status = WEFT_OK;

    pthread_mutex_lock(&table_lock);
    struct shm_mapping *found = table_find(file);
    if (found) {
        found->references++;
        *mapping = found;
    } else {
        status = mapping_create(memory, file, mapping);
    }
    pthread_mutex_unlock(&table_lock);
    return status;
}

void shm_segment_release(struct shm_mapping *mapping)
{
    if (!mapping) return;

    pthread_mutex_lock(&table_lock);
    if (--mapping->references == 0) {
        struct shm_mapping **link = &table;
        while (*link != mapping) link = &(*link)->next;
        *link = mapping->next;
        if (mapping->process == getpid()) munmap(mapping->segment, mapping->bytes);
        free(mapping);
    }
    pthread_mutex_unlock(&table_lock);
}

static weft_status memory_create(size_t bytes, int *memory)
{
    /* Not executable where the kernel knows the word (6.3); it answers EINVAL where it does not. */
    int fd = memfd_create("weft", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) fd = memfd_create("weft", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return shm_status_of_errno(errno);

    /* Whoever maps it can rely on its size: an access beyond a file's end is a SIGBUS. */
    if (ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        const weft_status status = shm_status_of_errno(errno);
        close(fd);
        return status;
    }
    *memory = fd;
    return WEFT_OK;
}

weft_status shm_segment_create(const struct shm_header *header, int *memory, struct shm_mapping **mapping)
{
    size_t bytes;
    int fd;
    struct stat file;
    struct shm_mapping *created;

    if (!segment_bytes(header->granted_bytes, &bytes)) return WEFT_INVALID_ARGUMENT;
    weft_status status = memory_create(bytes, &fd);
    if (status) return status;

    status = fstat(fd, &file) < 0 ? shm_status_of_errno(errno) : mapping_acquire(fd, &file, &created);
    if (status) {
        close(fd);
        return status;
    }
    created->segment->header = *header;
    *memory = fd;
    *mapping = created;
    return WEFT_OK;
}

/* NULL when @p memory is memory of @p bytes that cannot change its size; else what it is instead. */
static const char *memory_defect(int memory, size_t bytes, struct stat *file)
{
    struct statfs system;

    if (fstat(memory, file) < 0 || !S_ISREG(file->st_mode)) return "is no file";
    /* Other file systems may take for ever to give a page, or have none to give: huge pages, remote files. */
    if (fstatfs(memory, &system) < 0 || system.f_type != TMPFS_MAGIC) return "is not memory";
    const int seals = fcntl(memory, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || !(seals & F_SEAL_GROW)) return "is not sealed";
    if (file->st_size < 0 || (uint64_t)file->st_size != bytes) return "has another size than announced";
    if ((fcntl(memory, F_GETFL) & O_ACCMODE) != O_RDWR) return "cannot be written";
    if (seals & ~(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | 0x20 /* F_SEAL_EXEC */)) return "has unexpected seals";
    return NULL;
}

weft_status shm_segment_open(int memory, const struct shm_header *header, struct shm_mapping **mapping,
                             const char **reason)
{
    size_t bytes;
    struct stat file;
    struct shm_mapping *opened;

    if (!segment_bytes(header->granted_bytes, &bytes)) {
        *reason = "has an impossible size";
        return WEFT_PROTOCOL_ERROR;
    }
    *reason = memory_defect(memory, bytes, &file);
    if (*reason) return WEFT_PROTOCOL_ERROR;

    const weft_status status = mapping_acquire(memory, &file, &opened);
    if (status) return status;

    struct shm_header found;
    memcpy(&found, &opened->segment->header, sizeof found);
    if (memcmp(&found, header, sizeof found) != 0) {
        *reason = "has another header than announced";
        shm_segment_release(opened);
        return WEFT_PROTOCOL_ERROR;
    }
    *mapping = opened;
    return WEFT_OK;
}
