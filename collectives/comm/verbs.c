/* SPDX-License-Identifier: Apache-2.0 */
/* The transport over RDMA devices, where this machine has the devices and what it takes to use them. */
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/log.h"
#include "collectives/comm/comm_internal.h"
#include "fabric/device/device.h"
#include "transport/verbs/module.h"

#define CHOOSE_GID 256u /* WEFT_VERBS_GID_INDEX */

/* Reading the whole topology costs tens of milliseconds: not where there is nothing to be found in it. */
static bool has_devices(void)
{
    DIR *folder = opendir("/sys/class/infiniband");
    const struct dirent *entry;
    bool any = false;

    while (folder && (entry = readdir(folder))) any |= entry->d_name[0] != '.';
    if (folder) closedir(folder);
    return any;
}

/* Those nearest to the cores that this process runs on. */
static weft_status rails_find(struct verbs_rail rails[VERBS_MAX_RAILS], uint32_t *count, struct diagnostic *diagnostic)
{
    const struct config *config = config_get();
    uint32_t cpus[CPU_SETSIZE], cpu_count = 0, port_count;
    struct device_port *ports;
    weft_topology *topology;
    cpu_set_t set;

    if (!has_devices()) return diagnose(diagnostic, WEFT_UNSUPPORTED, "this machine has no RDMA devices");
    weft_status status = weft_topology_discover(&topology);
    if (status != WEFT_OK) return diagnose(diagnostic, status, "this machine's devices cannot be discovered");
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (CPU_ISSET(cpu, &set)) cpus[cpu_count++] = cpu;
        }
    }
    const struct device_query query = {
        .devices = config->verbs_devices,
        .cpus = cpus,
        .cpu_count = cpu_count,
        .has_gid_index = config->verbs_gid_index != CHOOSE_GID,
        .gid_index = (uint32_t)config->verbs_gid_index,
    };
    status = device_ports_find(topology, &query, &ports, &port_count, diagnostic);
    weft_topology_destroy(topology);
    if (status != WEFT_OK) return status;
    *count = 0;
    for (uint32_t i = 0; i < port_count && *count < config->verbs_rails; i++) {
        struct verbs_rail *rail = &rails[*count];
        if (device_port_address(&ports[i], &rail->address, diagnostic) != WEFT_OK) continue;
        (void)snprintf(rail->device, sizeof rail->device, "%s", ports[i].device);
        rail->port = ports[i].port;
        rail->bandwidth = ports[i].bandwidth;
        (*count)++;
    }
    free(ports);
    return *count ? WEFT_OK : WEFT_UNSUPPORTED;
}

/* Made before the ranks have met, so that only what works is told to the others. */
static weft_status reach(void *context, uint32_t peer, int *fd)
{
    const struct weft_comm *comm = context;
    return control_reach_tcp(comm->control, peer, fd);
}

weft_status comm_verbs_create(struct weft_comm *comm, struct endpoint **endpoint, struct diagnostic *diagnostic)
{
    const struct config *config = config_get();
    const struct verbs_module *module;
    struct verbs_rail rails[VERBS_MAX_RAILS] = {{.port = 0}};
    uint32_t rail_count = 0;

    weft_status status = rails_find(rails, &rail_count, diagnostic);
    if (status == WEFT_OK) status = verbs_module_load(&module, diagnostic);
    if (status != WEFT_OK) return status;
    struct verbs_config verbs = {
        .rank = comm->identity.rank,
        .rank_count = comm->identity.rank_count,
        .rails = rails,
        .rail_count = rail_count,
        .memory = {.find = comm_memory_find, .context = comm},
        .lanes_per_rail = (uint32_t)config->verbs_lanes,
        .depth = (uint32_t)config->verbs_depth,
        .send_depth = (uint32_t)config->verbs_depth,
        .stripe_bytes = (uint32_t)config->verbs_stripe_bytes,
        .traffic_class = (uint8_t)config->verbs_traffic_class,
        .service_level = (uint8_t)config->verbs_service_level,
        .pkey_index = (uint16_t)config->verbs_pkey_index,
        .timeout = (uint8_t)config->verbs_timeout,
        .retry_count = (uint8_t)config->verbs_retries,
        .keepalive_ns = config->keepalive_ns,
        .linger_ns = COMM_LINGER_NS,
    };
    memcpy(verbs.key, comm->identity.key, sizeof verbs.key);
    status =
        module->endpoint_create(&verbs, (struct rendezvous){.reach = reach, .context = comm}, endpoint, diagnostic);
    explicit_bzero(verbs.key, sizeof verbs.key);
    return status;
}
