/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PMIx, as OpenMPI's mpirun and srun --mpi=pmix offer it: rank 0 puts the job's id into the launcher's store, a fence
 * spreads it, the others get it.
 *
 * The calls block and know no deadline of their own (PMIX_TIMEOUT is optional for servers), so they run on a thread
 * that is waited for no longer than our deadline.
 *
 * PMIx_Init() and PMIx_Finalize() count references. Ours is kept until the process ends, because the standard promises
 * nothing about a second start after the last finalize, which an application that uses MPI later would need; and is
 * given back then, because launchers take a process that does not for one that crashed.
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "fabric/bootstrap/bootstrap.h"
#include "launch_internal.h"
#include "pmix_abi.h"

#define ID_KEY "weft.id"
#define FINALIZE_LIMIT_NS (5 * NS_PER_S)

struct pmix {
    pmix_abi_init *init;
    pmix_abi_finalize *finalize;
    pmix_abi_put *put;
    pmix_abi_commit *commit;
    pmix_abi_fence *fence;
    pmix_abi_get *get;
    pmix_abi_error_string *error_string;
};

/* Of the one exchange of this process; written under launch_identify()'s lock. The library is never closed. */
static struct pmix pmix;
static pid_t initialized_by;

bool pmix_is_present(void)
{
    return variable_is_set("PMIX_NAMESPACE") && variable_is_set("PMIX_RANK");
}

static weft_status library_open(struct diagnostic *diagnostic)
{
    static const struct {
        const char *name;
        size_t offset;
    } functions[] = {
        {"PMIx_Init", offsetof(struct pmix, init)},
        {"PMIx_Finalize", offsetof(struct pmix, finalize)},
        {"PMIx_Put", offsetof(struct pmix, put)},
        {"PMIx_Commit", offsetof(struct pmix, commit)},
        {"PMIx_Fence", offsetof(struct pmix, fence)},
        {"PMIx_Get", offsetof(struct pmix, get)},
        {"PMIx_Error_string", offsetof(struct pmix, error_string)},
    };
    void *library = dlopen(PMIX_ABI_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return diagnose(
            diagnostic, WEFT_UNSUPPORTED,
            "the launcher speaks PMIx (PMIX_NAMESPACE is set) but %.120s: install it (Debian: libpmix2), or "
            "set RANK, WORLD_SIZE and MASTER_ADDR",
            dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        void *symbol = dlsym(library, functions[i].name);
        if (!symbol) {
            dlclose(library);
            return diagnose(diagnostic, WEFT_UNSUPPORTED, PMIX_ABI_LIBRARY " has no %s", functions[i].name);
        }
        memcpy((char *)&pmix + functions[i].offset, &symbol, sizeof symbol);
    }
    return WEFT_OK;
}

/* ---- On the thread that may be left behind ---- */

struct exchange {
    struct place place;
    int timeout_s;
    struct diagnostic diagnostic;
    /* Written by the thread (release), read by who gave up waiting for it (acquire): what it is at. */
    _Atomic(const char *) stage;
};

static bool step(struct exchange *exchange, const char *what, int status)
{
    if (status == PMIX_ABI_SUCCESS) return true;
    const char *text = pmix.error_string(status);
    diagnose(&exchange->diagnostic, status == PMIX_ABI_ERR_TIMEOUT ? WEFT_DEADLINE_EXCEEDED : WEFT_PROTOCOL_ERROR,
             "PMIx: %s: %.64s (%d)", what, text ? text : "unknown error", status);
    return false;
}

static void stage_set(struct exchange *exchange, const char *stage)
{
    atomic_store_explicit(&exchange->stage, stage, memory_order_release); /* pairs with pmix_identify() */
}

static void value_free(struct pmix_abi_value *value)
{
    if (value && value->type == PMIX_ABI_TYPE_BYTE_OBJECT && value->data.bytes.bytes) {
        explicit_bzero(value->data.bytes.bytes, value->data.bytes.size);
        free(value->data.bytes.bytes);
    }
    free(value);
}

static bool world_size_get(struct exchange *exchange, const struct pmix_abi_process *self)
{
    struct pmix_abi_process all = *self;
    struct pmix_abi_value *value = NULL;
    all.rank = PMIX_ABI_RANK_WILDCARD;
    stage_set(exchange, "the number of ranks (PMIx_Get)");
    if (!step(exchange, "the number of ranks", pmix.get(&all, PMIX_ABI_JOB_SIZE, NULL, 0, &value))) return false;
    bool is_number = value && value->type == PMIX_ABI_TYPE_UINT32;
    if (is_number)
        exchange->place.rank_count = value->data.uint32;
    else
        diagnose(&exchange->diagnostic, WEFT_PROTOCOL_ERROR, "PMIx: the number of ranks is no number");
    value_free(value);
    return is_number &&
           rank_check("PMIX_RANK", exchange->place.rank, PMIX_ABI_JOB_SIZE, exchange->place.rank_count,
                      &exchange->diagnostic) == WEFT_OK &&
           rank_variables_agree("PMIx", exchange->place.rank, exchange->place.rank_count, &exchange->diagnostic) ==
               WEFT_OK;
}

static bool id_publish(struct exchange *exchange)
{
    weft_unique_id *id = &exchange->place.id;
    if (id_create(id, &exchange->diagnostic) != WEFT_OK) return false;
    struct pmix_abi_value value = {.type = PMIX_ABI_TYPE_BYTE_OBJECT};
    value.data.bytes.bytes = (char *)id->bytes;
    value.data.bytes.size = sizeof id->bytes;
    stage_set(exchange, "the launcher to store the job's id (PMIx_Put)");
    return step(exchange, "storing the job's id", pmix.put(PMIX_ABI_SCOPE_GLOBAL, ID_KEY, &value)) &&
           step(exchange, "storing the job's id", pmix.commit());
}

static bool others_await(struct exchange *exchange)
{
    struct pmix_abi_info infos[2] = {{.key = PMIX_ABI_COLLECT_DATA}, {.key = PMIX_ABI_GET_TIMEOUT}};
    infos[0].value.type = PMIX_ABI_TYPE_BOOL;
    infos[0].value.data.flag = true;
    infos[1].value.type = PMIX_ABI_TYPE_INT;
    infos[1].value.data.integer = exchange->timeout_s;
    stage_set(exchange, "the other ranks (PMIx_Fence)");
    return step(exchange, "waiting for the other ranks", pmix.fence(NULL, 0, infos, 2));
}

static bool id_fetch(struct exchange *exchange, const struct pmix_abi_process *self)
{
    struct pmix_abi_process root = *self;
    struct pmix_abi_value *value = NULL;
    struct pmix_abi_info info = {.key = PMIX_ABI_GET_TIMEOUT};
    root.rank = 0;
    info.value.type = PMIX_ABI_TYPE_INT;
    info.value.data.integer = exchange->timeout_s;
    stage_set(exchange, "the id that rank 0 stored (PMIx_Get)");
    if (!step(exchange, "the id that rank 0 stored", pmix.get(&root, ID_KEY, &info, 1, &value))) return false;
    weft_unique_id *id = &exchange->place.id;
    bool right = value && value->type == PMIX_ABI_TYPE_BYTE_OBJECT && value->data.bytes.bytes &&
                 value->data.bytes.size == sizeof id->bytes;
    if (right)
        memcpy(id->bytes, value->data.bytes.bytes, sizeof id->bytes);
    else
        diagnose(&exchange->diagnostic, WEFT_PROTOCOL_ERROR, "PMIx: what the launcher stored is not rank 0's id");
    value_free(value);
    return right;
}

static void exchange_run(void *of_exchange)
{
    struct exchange *exchange = of_exchange;
    struct pmix_abi_process self = {.rank = 0};
    int status = pmix.init(&self, NULL, 0);
    if (status != PMIX_ABI_SUCCESS) {
        const char *text = pmix.error_string(status);
        diagnose(&exchange->diagnostic, WEFT_PROTOCOL_ERROR,
                 "PMIX_NAMESPACE is set but PMIx_Init() says %.64s (%d): unset PMIX_NAMESPACE where the launcher that "
                 "set it did not start this process",
                 text ? text : "unknown error", status);
        return;
    }
    exchange->place.rank = self.rank;
    bool done = world_size_get(exchange, &self);
    if (done && exchange->place.rank_count == 1)
        done = alone_identify(&exchange->place, &exchange->diagnostic) == WEFT_OK;
    else if (done)
        done = (self.rank != 0 || id_publish(exchange)) && others_await(exchange) &&
               (self.rank == 0 || id_fetch(exchange, &self));
    if (done) {
        exchange->diagnostic.status = WEFT_OK;
        return;
    }
    stage_set(exchange, "the launcher's goodbye (PMIx_Finalize)");
    pmix.finalize(NULL, 0);
}

/* ---- On the caller's ---- */

static void finalize_run(void *unused)
{
    (void)unused;
    pmix.finalize(NULL, 0);
}

static void finalize_at_exit(void)
{
    bool started;
    if (initialized_by != getpid()) return; /* a child that fork() made: the reference is its parent's */
    bounded_call(finalize_run, NULL, clock_now_ns() + FINALIZE_LIMIT_NS, &started);
}

weft_status pmix_identify(struct place *place, uint64_t deadline_at_ns, struct diagnostic *diagnostic)
{
    weft_status status = library_open(diagnostic);
    if (status != WEFT_OK) return status;
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory to speak with the launcher");
    uint64_t now_ns = clock_now_ns(), left_ns = deadline_at_ns > now_ns ? deadline_at_ns - now_ns : 0;
    exchange->timeout_s = (int)(left_ns / NS_PER_S) + 1; /* ours comes first, the server's then clears up after it */
    stage_set(exchange, "the launcher to answer (PMIx_Init)");

    bool started;
    if (!bounded_call(exchange_run, exchange, deadline_at_ns, &started)) {
        /* Pairs with stage_set(). The exchange belongs to the thread now. */
        if (started)
            return diagnose(diagnostic, WEFT_DEADLINE_EXCEEDED, "PMIx: waited in vain for %s",
                            atomic_load_explicit(&exchange->stage, memory_order_acquire));
        free(exchange);
        return diagnose(diagnostic, WEFT_RESOURCE_LIMIT, "no thread to be had to speak with the launcher");
    }
    status = exchange->diagnostic.status;
    if (status == WEFT_OK) {
        *place = exchange->place;
        place->fresh = false;
        place->lasting = true;
        initialized_by = getpid();
        atexit(finalize_at_exit);
    } else {
        diagnose(diagnostic, status, "%s", exchange->diagnostic.text);
    }
    explicit_bzero(exchange, sizeof *exchange);
    free(exchange);
    return status;
}
