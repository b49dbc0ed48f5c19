/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/config.h"
#include "collectives/comm/comm_internal.h"
#include "transport/route/route.h"
#include "transport/shm/shm.h"
#include "transport/tcp/tcp.h"

/* Longest that leaving waits for bytes that peers are still to receive. */
#define LINGER_NS (2 * NS_PER_S)

enum { ROUTE_SHM, ROUTE_TCP };

static weft_status shm_create(struct weft_comm *comm, struct endpoint **endpoint, struct diagnostic *diagnostic)
{
    struct rendezvous rendezvous = {.reach = control_reach, .context = comm->control};
    return shm_endpoint_create(comm->identity.rank, comm->identity.rank_count, rendezvous, endpoint, diagnostic);
}

static weft_status tcp_create(struct weft_comm *comm, struct endpoint **endpoint, struct diagnostic *diagnostic)
{
    struct rendezvous rendezvous = {.reach = control_reach_tcp, .context = comm->control};
    const struct config *config = config_get();
    const struct tcp_config tcp = {
        .rank = comm->identity.rank,
        .rank_count = comm->identity.rank_count,
        .lanes = (uint32_t)config->tcp_lanes,
        .socket_buffer_bytes = (uint32_t)config->tcp_buffer_bytes,
        .keepalive_ns = config->keepalive_ns,
        .linger_ns = LINGER_NS,
    };
    return tcp_endpoint_create(&tcp, rendezvous, endpoint, diagnostic);
}

static uint32_t route_choose(void *context, uint32_t peer)
{
    const struct weft_comm *comm = context;
    return control_same_host(comm->control, peer) ? ROUTE_SHM : ROUTE_TCP;
}

static weft_status both_create(struct weft_comm *comm, struct diagnostic *diagnostic)
{
    struct route_config config = {
        .rank = comm->identity.rank,
        .rank_count = comm->identity.rank_count,
        .route_count = 2,
        .choose = route_choose,
        .context = comm,
    };
    weft_status status = shm_create(comm, &config.routes[ROUTE_SHM], diagnostic);
    if (status != WEFT_OK) return status;
    status = tcp_create(comm, &config.routes[ROUTE_TCP], diagnostic);
    if (status == WEFT_OK) status = route_endpoint_create(&config, &comm->endpoint);
    if (status != WEFT_OK) {
        endpoint_destroy(config.routes[ROUTE_TCP]);
        endpoint_destroy(config.routes[ROUTE_SHM]);
    }
    return status;
}

weft_status comm_endpoint_create(struct weft_comm *comm, struct diagnostic *diagnostic)
{
    int wanted = config_get()->transport;
    comm->local_rank_count = 0;
    for (uint32_t rank = 0; rank < comm->identity.rank_count; rank++)
        comm->local_rank_count += control_same_host(comm->control, rank);
    bool one_host = comm->local_rank_count == comm->identity.rank_count;
    if (wanted == TRANSPORT_SHM && !one_host)
        return diagnose(diagnostic, WEFT_UNSUPPORTED,
                        "WEFT_TRANSPORT=shm, but only %u of %u ranks are on this host; leave it unset or use tcp",
                        comm->local_rank_count, comm->identity.rank_count);
    /* A model is common to all ranks: where some are on other hosts, messages between hosts decide. */
    bool shm_only = one_host && wanted != TRANSPORT_TCP;
    comm->model = shm_only ? &cost_model_shm : &cost_model_tcp;
    if (shm_only) return shm_create(comm, &comm->endpoint, diagnostic);
    return wanted == TRANSPORT_TCP ? tcp_create(comm, &comm->endpoint, diagnostic) : both_create(comm, diagnostic);
}
