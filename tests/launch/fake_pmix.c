/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A libpmix.so.2 for the tests, which does what the variable FAKE_PMIX says: "honest", or one way to go wrong. Its
 * store is the file that FAKE_PMIX_STORE names; its calls are counted into the file FAKE_PMIX_LOG names. It stands for
 * the library's interface alone: the real one is used by openmpi.sh and slurm.sh.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fabric/launch/pmix_abi.h"

#define EXPORT __attribute__((visibility("default")))
EXPORT pmix_abi_init PMIx_Init;
EXPORT pmix_abi_finalize PMIx_Finalize;
EXPORT pmix_abi_put PMIx_Put;
EXPORT pmix_abi_commit PMIx_Commit;
EXPORT pmix_abi_fence PMIx_Fence;
EXPORT pmix_abi_get PMIx_Get;
EXPORT pmix_abi_error_string PMIx_Error_string;

static bool is_mode(const char *mode)
{
    const char *text = getenv("FAKE_PMIX");
    return text && strcmp(text, mode) == 0;
}

static void log_call(const char *call)
{
    const char *path = getenv("FAKE_PMIX_LOG");
    FILE *log = path ? fopen(path, "a") : NULL;
    if (!log) return;
    fprintf(log, "%s\n", call);
    fclose(log);
}

static void hang(void)
{
    for (;;) pause();
}

int PMIx_Init(struct pmix_abi_process *self, struct pmix_abi_info infos[], size_t count)
{
    (void)infos, (void)count;
    log_call("init");
    if (is_mode("init-hangs")) hang();
    if (is_mode("init-fails")) return -25;
    memset(self, 0, sizeof *self);
    strcpy(self->name_space, "fake");
    self->rank = (uint32_t)strtoul(getenv("PMIX_RANK"), NULL, 10);
    return 0;
}

int PMIx_Finalize(const struct pmix_abi_info infos[], size_t count)
{
    (void)infos, (void)count;
    log_call("finalize");
    if (is_mode("finalize-hangs")) hang();
    return 0;
}

int PMIx_Put(uint8_t scope, const char *key, struct pmix_abi_value *value)
{
    log_call("put");
    if (is_mode("put-fails")) return -1;
    if (scope != PMIX_ABI_SCOPE_GLOBAL || strlen(key) >= PMIX_ABI_KEY_BYTES) abort();
    FILE *store = fopen(getenv("FAKE_PMIX_STORE"), "w");
    if (!store || fwrite(value->data.bytes.bytes, 1, value->data.bytes.size, store) != value->data.bytes.size) abort();
    fclose(store);
    return 0;
}

int PMIx_Commit(void)
{
    log_call("commit");
    return 0;
}

int PMIx_Fence(const struct pmix_abi_process processes[], size_t process_count, const struct pmix_abi_info infos[],
               size_t count)
{
    log_call("fence");
    if (processes || process_count || count != 2 || !infos[0].value.data.flag) abort();
    if (is_mode("fence-hangs")) hang();
    if (is_mode("fence-times-out")) return PMIX_ABI_ERR_TIMEOUT;
    return 0;
}

static int get_size(struct pmix_abi_value *value)
{
    value->type = is_mode("size-is-bytes") ? PMIX_ABI_TYPE_BYTE_OBJECT : PMIX_ABI_TYPE_UINT32;
    if (value->type == PMIX_ABI_TYPE_UINT32) value->data.uint32 = is_mode("size-0") ? 0 : is_mode("alone") ? 1 : 2;
    return 0;
}

static int get_id(struct pmix_abi_value *value)
{
    static char bytes[256];
    FILE *store = fopen(getenv("FAKE_PMIX_STORE"), "r");
    if (!store) return -46;
    size_t size = fread(bytes, 1, sizeof bytes, store);
    fclose(store);
    if (is_mode("id-short")) size--;
    if (is_mode("id-long")) size++;
    value->type = is_mode("id-is-number") ? PMIX_ABI_TYPE_UINT32 : PMIX_ABI_TYPE_BYTE_OBJECT;
    if (value->type == PMIX_ABI_TYPE_UINT32) return 0;
    value->data.bytes.size = size;
    value->data.bytes.bytes = is_mode("id-null") ? NULL : malloc(size);
    if (value->data.bytes.bytes) memcpy(value->data.bytes.bytes, bytes, size);
    return 0;
}

int PMIx_Get(const struct pmix_abi_process *process, const char *key, const struct pmix_abi_info infos[], size_t count,
             struct pmix_abi_value **value)
{
    (void)infos, (void)count;
    bool of_job = process->rank == PMIX_ABI_RANK_WILDCARD && strcmp(key, PMIX_ABI_JOB_SIZE) == 0;
    if (!of_job && process->rank != 0) abort();
    if (of_job && is_mode("size-hangs")) hang();
    if (!of_job && is_mode("get-hangs")) hang();
    if (!of_job && is_mode("no-value")) {
        *value = NULL;
        return 0;
    }
    struct pmix_abi_value *found = calloc(1, sizeof *found);
    int status = of_job ? get_size(found) : get_id(found);
    if (status == 0)
        *value = found;
    else
        free(found);
    return status;
}

const char *PMIx_Error_string(int status)
{
    return status == -25 ? "UNREACHABLE" : status == -46 ? "NOT-FOUND" : status == -24 ? "TIMEOUT" : NULL;
}
