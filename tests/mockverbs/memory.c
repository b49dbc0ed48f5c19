/* SPDX-License-Identifier: Apache-2.0 */
/* Protection domains and memory regions. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/mockverbs/mockverbs_internal.h"

#undef ibv_reg_mr
#undef ibv_reg_mr_iova

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
    mock_lock();
    int error = mock_call(MOCKVERBS_ALLOC_PD);
    if (!error && mock_context_gone(context)) error = EIO;
    if (error) return mock_refuse(error);
    struct mock_pd *pd = mock_allocate(sizeof *pd);
    pd->base.context = context;
    mock_context_of(context)->users++;
    mock_object_add(&pd->object, MOCK_PD);
    mock_unlock();
    return &pd->base;
}

int ibv_dealloc_pd(struct ibv_pd *base)
{
    struct mock_pd *pd = mock_container(base, struct mock_pd, base);
    mock_lock();
    if (pd->users) {
        mock_unlock();
        return EBUSY;
    }
    mock_context_of(base->context)->users--;
    mock_object_remove(&pd->object);
    mock_unlock();
    free(pd);
    return 0;
}

/* Keys carry what tells one use of a table entry from the next in their low byte, as those of real devices may. */
static uint32_t region_place(struct mock_mr *mr)
{
    uint32_t index = 1;
    while (index < mock.region_count && mock.regions[index]) index++;
    if (index >= mock.region_room) {
        mock.region_room = mock.region_room ? 2 * mock.region_room : 64;
        mock.regions = realloc(mock.regions, mock.region_room * sizeof(struct mock_mr *));
        if (!mock.regions) mock_abort("no memory");
        if (mock.region_count == 0) mock.regions[mock.region_count++] = NULL;
    }
    if (index >= mock.region_count) mock.region_count = index + 1;
    mock.regions[index] = mr;
    return index << 8 | (uint32_t)(mock.counters.calls[MOCKVERBS_REG_MR] & 0xff);
}

/* Is there memory at all? The kernel would have to pin it. */
static bool memory_mapped(const void *address, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)address & ~(page - 1), last = ((uintptr_t)address + bytes - 1) & ~(page - 1);
    return msync((void *)first, last - first + page, MS_ASYNC) == 0;
}

static struct ibv_mr *region_register(struct ibv_pd *base, void *address, size_t bytes, unsigned int access)
{
    struct mock_pd *pd = mock_container(base, struct mock_pd, base);
    mock_lock();
    int error = mock_call(MOCKVERBS_REG_MR);
    if (!error && mock_context_gone(base->context)) error = EIO;
    if (!error && bytes == 0) error = EINVAL;
    if (!error && (access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)) && !(access & IBV_ACCESS_LOCAL_WRITE))
        error = EINVAL;
    if (!error && (uintptr_t)address + bytes < (uintptr_t)address) error = EINVAL;
    if (!error && !memory_mapped(address, bytes)) error = EFAULT;
    if (!error && mock.locked_limit && bytes > mock.locked_limit - mock.locked) error = ENOMEM;
    if (error) return mock_refuse(error);
    struct mock_mr *mr = mock_allocate(sizeof *mr);
    mr->base = (struct ibv_mr){.context = base->context, .pd = base, .addr = address, .length = bytes};
    mr->access = access;
    mr->base.lkey = mr->base.rkey = mr->base.handle = region_place(mr);
    pd->users++;
    mock.locked += bytes;
    mock_object_add(&mr->object, MOCK_MR);
    mock_unlock();
    return &mr->base;
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *address, size_t bytes, int access)
{
    return region_register(pd, address, bytes, (unsigned int)access);
}

/* Addresses other than a region's own are not modelled. */
struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *address, size_t bytes, uint64_t iova, unsigned int access)
{
    if (iova != (uintptr_t)address) {
        errno = EOPNOTSUPP;
        return NULL;
    }
    return region_register(pd, address, bytes, access);
}

struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *address, size_t bytes, uint64_t iova, int access)
{
    return ibv_reg_mr_iova2(pd, address, bytes, iova, (unsigned int)access);
}

struct ibv_mr *ibv_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t bytes, uint64_t iova, int fd, int access)
{
    (void)pd, (void)offset, (void)bytes, (void)iova, (void)fd, (void)access;
    errno = EOPNOTSUPP;
    return NULL;
}

int ibv_dereg_mr(struct ibv_mr *base)
{
    struct mock_mr *mr = mock_container(base, struct mock_mr, base);
    mock_lock();
    int error = mock_call(MOCKVERBS_DEREG_MR);
    if (error) {
        mock_unlock();
        return error;
    }
    mock_container(base->pd, struct mock_pd, base)->users--;
    mock.locked -= base->length;
    mock.regions[base->lkey >> 8] = NULL;
    mock_object_remove(&mr->object);
    mock_unlock();
    free(mr);
    return 0;
}

bool mock_region_allows(uint32_t key, const struct ibv_pd *pd, uint64_t address, uint64_t bytes, unsigned int access)
{
    if (key >> 8 >= mock.region_count) return false;
    const struct mock_mr *mr = mock.regions[key >> 8];
    if (!mr || mr->base.lkey != key || mr->base.pd != pd || (mr->access & access) != access) return false;
    uint64_t start = (uintptr_t)mr->base.addr;
    return address >= start && bytes <= mr->base.length && address - start <= mr->base.length - bytes;
}

void mockverbs_locked_limit(size_t bytes)
{
    mock_lock();
    mock.locked_limit = bytes;
    mock_unlock();
}
