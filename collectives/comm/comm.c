/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "collectives/comm/comm_internal.h"
#include "fabric/launch/launch.h"
#include "topology/discover/caches.h"

#define CACHE_LINE_BYTES 64u
/* Measured, 4 ranks on two processors: from 128 KiB to 4 MiB no difference stands out. */
#define STAGE_BYTES ((size_t)3 << 19)

/* The caller's wishes, else the environment's, else the defaults; checked. */
static weft_status comm_settle(struct weft_comm *comm, const weft_comm_config *wishes, struct diagnostic *diagnostic)
{
    const struct config *config = config_get();
    weft_status status = config_status(diagnostic);
    if (status != WEFT_OK) return status;
    uint64_t channels = wishes->channel_count ? wishes->channel_count : config->channels;
    uint64_t slice_bytes = wishes->slice_bytes ? wishes->slice_bytes : config->slice_bytes;
    if (channels > 16) return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "channel_count is above 16");
    if (config->slot_depth == 1)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "WEFT_SLOTS is 1; expected 0, or 2 to 64");
    if (slice_bytes > 16 << 20) return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "slice_bytes is above 16 MiB");
    comm->deadline_ns = wishes->deadline_ns ? wishes->deadline_ns : config->deadline_ns;
    comm->algorithm = (weft_algorithm)config->algorithm;
    comm->channel_units = (uint32_t)channels;
    comm->slice_bytes = (uint32_t)((slice_bytes + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES);
    comm->slot_depth = (uint32_t)config->slot_depth;
    comm->verify = config->verify;
    comm->canonical = wishes->canonical || config->canonical;
    return WEFT_OK;
}

/* Room for whatever the model and the tuning may choose. */
static uint32_t slice_bytes_most(const struct weft_comm *comm)
{
    uint32_t tuned = comm->tuning ? comm->tuning->slice_bytes_most : 0;
    return tuned > comm->model->slice_bytes ? tuned : comm->model->slice_bytes;
}

static uint32_t channel_units_most(const struct weft_comm *comm)
{
    if (comm->channel_units) return comm->channel_units;
    return comm->tuning && comm->tuning->channel_units_most ? comm->tuning->channel_units_most : 1;
}

/*
 * What ranks copy their buffers through where that is faster (exec/stage.h). Without it they lend them as they are.
 */
static void *stage_create(struct weft_comm *comm)
{
    void *stage = NULL;
    if (!comm->exchanges || !comm->copies) return NULL;
    return weft_mem_alloc(comm, STAGE_BYTES, WEFT_MEMORY_SHARED, &stage) == WEFT_OK ? stage : NULL;
}

/* Of the last-level caches of a host's ranks. Nothing has to agree on it: a rank streams what it stores itself. */
static uint64_t caches_bytes(const struct weft_comm *comm)
{
    const int processor = sched_getcpu();
    const long processor_count = sysconf(_SC_NPROCESSORS_ONLN);
    return last_cache_bytes("/sys", processor < 0 ? 0 : (uint32_t)processor,
                            processor_count < 1 ? 1 : (uint32_t)processor_count, comm->local_rank_count);
}

static weft_status comm_build(struct weft_comm *comm, const weft_comm_config *wishes,
                              const struct topology_heritage *heritage, struct diagnostic *diagnostic)
{
    uint8_t features;
    weft_status status = comm_devices_open(comm, &features, diagnostic);
    if (status != WEFT_OK) return status;
    comm_topology_open(comm, heritage, &comm->topology_token);
    const struct control_config control = {
        .identity = comm->identity,
        .deadline_ns = comm->deadline_ns,
        .keepalive_ns = config_get()->keepalive_ns,
        .features = features,
        .token = comm->topology_token,
        .network = config_get()->transport == TRANSPORT_TCP || config_get()->transport == TRANSPORT_VERBS,
    };
    status = control_join(&control, &comm->control, diagnostic);
    if (status != WEFT_OK) goto close_devices;
    status = comm_endpoint_create(comm, diagnostic);
    if (status != WEFT_OK) goto leave;
    comm_model_calibrate(comm);
    status = comm_tune(comm, diagnostic);
    if (status == WEFT_OK) status = comm_topology_settle(comm, diagnostic);
    if (status != WEFT_OK) goto destroy_endpoint;
    status = comm_memory_create(comm);
    if (status != WEFT_OK) goto destroy_endpoint;
    comm->slot_bytes = comm->slice_bytes ? comm->slice_bytes : slice_bytes_most(comm);
    if (!comm->slot_depth) comm->slot_depth = cost_model_slot_depth(comm->model, comm->identity.rank_count);
    comm->spin_ns = comm->local_rank_count > wait_core_count() ? 0 : config_get()->spin_ns;
    comm->pair_channel = 2 * channel_units_most(comm); /* a double tree has two per unit */
    if (comm->topology.book && comm->topology.book->channel_count > comm->pair_channel)
        comm->pair_channel = comm->topology.book->channel_count;
    const struct engine_config engine = {
        .endpoint = comm->endpoint,
        .rank = comm->identity.rank,
        .rank_count = comm->identity.rank_count,
        .channel_limit = comm->pair_channel * (comm->exchanges ? 2 : 1) + 1,
        .slot_depth = comm->slot_depth,
        .slot_bytes = comm->slot_bytes,
        .exchanges = comm->exchanges,
        .exchange_channel = comm->pair_channel + 1,
        .shares_processors = comm->crowd > 1,
        .clock_ns = clock_now_ns,
        .stage = stage_create(comm),
        .stage_bytes = STAGE_BYTES,
        .cache_bytes = caches_bytes(comm),
        .cache_ranks = comm->local_rank_count,
    };
    status = engine_create(&engine, &comm->engine);
    if (status != WEFT_OK) goto destroy_memory;
    status = comm_links_check(comm, diagnostic);
    if (status != WEFT_OK) goto destroy_engine;
    if (!heritage) wait_place(comm);
    if (wishes->progress_thread || config_get()->progress_thread) status = progress_thread_start(comm);
    if (status != WEFT_OK) goto destroy_engine;
    return WEFT_OK;

destroy_engine:
    comm_plans_free(comm);
    engine_destroy(comm->engine);
destroy_memory:
    comm_memory_destroy(comm);
destroy_endpoint:
    endpoint_destroy(comm->endpoint);
leave:
    control_leave(comm->control);
close_devices:
    comm_topology_close(comm);
    endpoint_destroy(comm->verbs);
    comm->verbs = NULL;
    return status;
}

weft_status weft_comm_create(const weft_comm_config *config, weft_comm **comm)
{
    return comm_create(config, NULL, comm);
}

static weft_status config_check(const weft_comm_config *config, struct diagnostic *diagnostic)
{
    if (!config) return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "there is no weft_comm_config");
    if (config->size != sizeof *config)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "size of the weft_comm_config is %zu; set it to its sizeof, %zu", config->size, sizeof *config);
    if (!config->id)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "id is NULL; weft_unique_id_create() makes one");
    if (config->rank_count == 0 || config->rank_count > PLAN_MAX_RANKS)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "rank_count is %u; expected 1 to %u", config->rank_count,
                        (unsigned)PLAN_MAX_RANKS);
    if (config->rank >= config->rank_count)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "rank is %u; expected 0 to %u", config->rank,
                        config->rank_count - 1);
    return WEFT_OK;
}

weft_status comm_create(const weft_comm_config *config, const struct topology_heritage *heritage, weft_comm **comm)
{
    struct diagnostic diagnostic = {WEFT_OK, ""};
    if (!comm) return WEFT_INVALID_ARGUMENT;
    weft_status status = config_check(config, &diagnostic);
    if (status != WEFT_OK) {
        log_error("no communicator is made: %s", diagnostic.text);
        return status;
    }
    struct weft_comm *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    pthread_mutex_init(&made->plans_lock, NULL);
    status = bootstrap_identity(config->id, config->rank, config->rank_count, &made->identity, &diagnostic);
    if (status == WEFT_OK) status = comm_settle(made, config, &diagnostic);
    if (status == WEFT_OK) status = comm_build(made, config, heritage, &diagnostic);
    if (status != WEFT_OK) {
        log_error("rank %u of %u cannot join: %s: %s", config->rank, config->rank_count, weft_status_name(status),
                  diagnostic.text);
        pthread_mutex_destroy(&made->plans_lock);
        free(made->tuning);
        free(made);
        return status;
    }
    *comm = made;
    return WEFT_OK;
}

weft_status weft_comm_create_from_env(weft_comm **comm)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    weft_unique_id id;
    weft_comm_config config = {.size = sizeof config, .id = &id};
    struct diagnostic diagnostic = {WEFT_OK, ""};
    weft_status status = launch_identify(&id, &config.rank, &config.rank_count, &diagnostic);
    if (status != WEFT_OK) {
        log_error("cannot join from the environment: %s", diagnostic.text);
        return status;
    }
    return weft_comm_create(&config, comm);
}

/* What is under way ends here, with its buffers no longer touched. */
static void requests_abandon(struct weft_comm *comm)
{
    while (comm->active_first) {
        struct weft_request *request = comm->active_first;
        comm->active_first = request->next;
        while (request_is_lent(comm, request, clock_now_ns()))
            if (!engine_poll(comm->engine, clock_now_ns())) sched_yield();
        if (request->operation) operation_free(request->operation);
        comm_memory_release(comm, request);
    }
}

/* Peers that are slower may be at an operation that is complete here, and read from the stage. */
static void peers_await(struct weft_comm *comm)
{
    const uint64_t begun_ns = clock_now_ns();
    for (uint64_t now_ns = begun_ns; comm->engine && engine_is_awaited(comm->engine); now_ns = clock_now_ns()) {
        if (control_failed(comm->control) || now_ns - begun_ns >= COMM_LINGER_NS) return;
        engine_poll(comm->engine, now_ns);
        sched_yield();
    }
}

void weft_comm_destroy(weft_comm *comm)
{
    if (!comm) return;
    progress_thread_stop(comm);
    requests_abandon(comm);
    peers_await(comm);
    comm_plans_free(comm);
    /* Goodbye first: a peer that sees its connection end must already be able to know why. */
    control_leave(comm->control);
    engine_destroy(comm->engine);
    comm_memory_destroy(comm);
    endpoint_destroy(comm->endpoint);
    comm_topology_close(comm);
    requests_free(comm);
    pthread_mutex_destroy(&comm->plans_lock);
    free(comm->pair_sequences);
    free(comm->tuning);
    free(comm);
}

uint32_t weft_comm_rank(const weft_comm *comm)
{
    return comm->identity.rank;
}

uint32_t weft_comm_rank_count(const weft_comm *comm)
{
    return comm->identity.rank_count;
}

const char *weft_comm_transport(const weft_comm *comm)
{
    return comm->endpoint->ops->name;
}

weft_status weft_comm_failure(const weft_comm *comm, weft_failure *failure)
{
    if (!comm || !failure || failure->size != sizeof *failure) return WEFT_INVALID_ARGUMENT;
    control_failure(comm->control, failure);
    failure->size = sizeof *failure;
    return WEFT_OK;
}

weft_status weft_comm_revoke(weft_comm *comm)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    weft_failure failure = {
        .size = sizeof failure,
        .status = WEFT_REVOKED,
        .rank = (int32_t)comm->identity.rank,
        .other_rank = -1,
        .reporter_rank = (int32_t)comm->identity.rank,
        .track = -1,
        .step = -1,
    };
    snprintf(failure.device, sizeof failure.device, "%s", comm->endpoint->ops->name);
    snprintf(failure.message, sizeof failure.message, "rank %u revoked the communicator", comm->identity.rank);
    control_report(comm->control, &failure);
    return WEFT_OK;
}

weft_status weft_comm_statistics(const weft_comm *comm, weft_statistics *statistics)
{
    if (!comm || !statistics || statistics->size != sizeof *statistics) return WEFT_INVALID_ARGUMENT;
    *statistics = (weft_statistics){
        .size = sizeof *statistics,
        .operations = atomic_load_explicit(&comm->operations, memory_order_relaxed),
        .payload_bytes = atomic_load_explicit(&comm->payload_bytes, memory_order_relaxed),
        .busy_ns = atomic_load_explicit(&comm->busy_ns, memory_order_relaxed),
    };
    return WEFT_OK;
}
