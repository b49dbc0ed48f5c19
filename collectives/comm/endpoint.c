/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/config.h"
#include "base/log.h"
#include "collectives/comm/comm_internal.h"
#include "transport/route/route.h"
#include "transport/shm/shm.h"
#include "transport/tcp/tcp.h"

enum { ROUTE_SHM, ROUTE_TCP, ROUTE_VERBS };

_Static_assert((int)SHM_ATTACH_PERMIT == (int)ATTACH_PERMIT && (int)SHM_ATTACH_OFF == (int)ATTACH_OFF, "one order");

static weft_status shm_create(struct weft_comm *comm, struct endpoint **endpoint, struct diagnostic *diagnostic)
{
    struct rendezvous rendezvous = {.reach = control_reach, .context = comm->control};
    const struct shm_config shm = {
        .rank = comm->identity.rank,
        .rank_count = comm->identity.rank_count,
        .attach = (enum shm_attach)config_get()->shm_attach,
    };
    return shm_endpoint_create(&shm, rendezvous, endpoint, diagnostic);
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
        .linger_ns = COMM_LINGER_NS,
    };
    return tcp_endpoint_create(&tcp, rendezvous, endpoint, diagnostic);
}

weft_status comm_devices_open(struct weft_comm *comm, uint8_t *features, struct diagnostic *diagnostic)
{
    const int wanted = config_get()->transport;
    const bool alone = comm->identity.meeting.family == AF_UNSPEC; /* all ranks are on this host */
    *features = 0;
    comm->verbs = NULL;
    if (wanted != TRANSPORT_VERBS && (wanted != TRANSPORT_AUTO || alone)) return WEFT_OK;
    const weft_status status = comm_verbs_create(comm, &comm->verbs, diagnostic);
    if (status == WEFT_OK) {
        *features = CONTROL_RDMA;
    } else if (wanted == TRANSPORT_VERBS) {
        char text[sizeof diagnostic->text];
        snprintf(text, sizeof text, "%s", diagnostic->text);
        return diagnose(diagnostic, status, "WEFT_TRANSPORT=verbs: %.220s", text);
    } else {
        log_info("rank %u does without RDMA: %s", comm->identity.rank, diagnostic->text);
    }
    return WEFT_OK;
}

/* Both ends come to the same answer: each knows of itself what it has told the other. */
static bool reached_by_verbs(const struct weft_comm *comm, uint32_t peer)
{
    return control_features(comm->control, comm->identity.rank) & control_features(comm->control, peer) & CONTROL_RDMA;
}

static uint32_t route_choose(void *context, uint32_t peer)
{
    const struct weft_comm *comm = context;
    if (control_same_host(comm->control, peer)) return ROUTE_SHM;
    return reached_by_verbs(comm, peer) ? ROUTE_VERBS : ROUTE_TCP;
}

/* Takes the verbs endpoint over. */
static weft_status routes_create(struct weft_comm *comm, struct diagnostic *diagnostic)
{
    struct route_config config = {
        .rank = comm->identity.rank,
        .rank_count = comm->identity.rank_count,
        .route_count = comm->verbs ? 3 : 2,
        .choose = route_choose,
        .context = comm,
    };
    weft_status status = shm_create(comm, &config.routes[ROUTE_SHM], diagnostic);
    if (status != WEFT_OK) return status;
    status = tcp_create(comm, &config.routes[ROUTE_TCP], diagnostic);
    config.routes[ROUTE_VERBS] = comm->verbs;
    if (status == WEFT_OK) status = route_endpoint_create(&config, &comm->endpoint);
    if (status != WEFT_OK) {
        endpoint_destroy(config.routes[ROUTE_TCP]);
        endpoint_destroy(config.routes[ROUTE_SHM]);
        return status;
    }
    comm->verbs = NULL;
    return WEFT_OK;
}

static weft_status verbs_take(struct weft_comm *comm, struct diagnostic *diagnostic)
{
    for (uint32_t rank = 0; rank < comm->identity.rank_count; rank++) {
        if (comm->identity.rank_count > 1 && !reached_by_verbs(comm, rank))
            return diagnose(diagnostic, WEFT_UNSUPPORTED,
                            "WEFT_TRANSPORT=verbs, but rank %u can use no RDMA device (its log says why)", rank);
    }
    comm->endpoint = comm->verbs;
    comm->verbs = NULL;
    return WEFT_OK;
}

/* A model is common to all ranks: where some are on other hosts, the slowest kind of message between hosts decides. */
static const struct cost_model *model_choose(const struct weft_comm *comm, bool shm_only)
{
    if (shm_only) return &cost_model_shm;
    for (uint32_t rank = 0; rank < comm->identity.rank_count; rank++) {
        if (!(control_features(comm->control, rank) & CONTROL_RDMA)) return &cost_model_tcp;
    }
    return &cost_model_verbs;
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
    bool shm_only = one_host && wanted != TRANSPORT_TCP && wanted != TRANSPORT_VERBS;
    comm->copies = config_get()->shm_attach != ATTACH_OFF;
    comm->exchanges = shm_only && comm->identity.rank_count <= EXCHANGE_RANKS;
    comm->model = model_choose(comm, shm_only);
    /* Processors of the host, not those that this rank may use: all ranks are to come to the same. */
    long processors = sysconf(_SC_NPROCESSORS_CONF);
    comm->crowd = one_host && processors > 0 ? (double)comm->identity.rank_count / (double)processors : 0;
    if (shm_only) {
        endpoint_destroy(comm->verbs);
        comm->verbs = NULL;
        return shm_create(comm, &comm->endpoint, diagnostic);
    }
    if (wanted == TRANSPORT_TCP) return tcp_create(comm, &comm->endpoint, diagnostic);
    return wanted == TRANSPORT_VERBS ? verbs_take(comm, diagnostic) : routes_create(comm, diagnostic);
}
