/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/cost/cost.h"

/*
 * Estimates, each of the order that data sheets and published measurements of such links give; none was measured by
 * this project. They fill in for what a topology does not say, and what stands in a topology goes before them.
 */
#define ESTIMATE "built in: an estimate of the usual order, not measured"

const struct cost_model_figures cost_figures_built_in = {
    .links =
        {
            [LINK_MEMORY] = {.latency_s = 100e-9, .bandwidth = 100e9, .source = ESTIMATE},
            [LINK_INTERCONNECT] = {.latency_s = 150e-9, .bandwidth = 40e9, .source = ESTIMATE},
            [LINK_PCI] = {.latency_s = 300e-9, .bandwidth = 24e9, .source = ESTIMATE},
            [LINK_ATTACHED] = {.latency_s = 500e-9, .bandwidth = 24e9, .source = ESTIMATE},
            [LINK_NVLINK] = {.latency_s = 500e-9, .bandwidth = 25e9, .source = ESTIMATE},
            [LINK_XGMI] = {.latency_s = 500e-9, .bandwidth = 36e9, .source = ESTIMATE},
            [LINK_NETWORK] = {.latency_s = 500e-9, .bandwidth = 12.5e9, .source = ESTIMATE},
        },
    .host = {.step_s = 500e-9, .engine_bandwidth = 12e9, .one_engine = true, .source = ESTIMATE},
    .gpu = {.step_s = 1e-6, .engine_bandwidth = 1e12, .one_engine = false, .source = ESTIMATE},
};

bool cost_link_is_assumed(const struct topology_link *link, bool reverse)
{
    return (reverse ? link->reverse_bandwidth : link->bandwidth).source == FIGURE_UNKNOWN;
}

double cost_link_bandwidth(const struct cost_model_figures *figures, const struct topology_link *link, bool reverse)
{
    struct figure own = reverse ? link->reverse_bandwidth : link->bandwidth;
    if (own.source != FIGURE_UNKNOWN) return own.value;
    return figures->links[link->kind].bandwidth * (link->count ? link->count : 1);
}

double cost_port_bandwidth(const struct cost_model_figures *figures, const struct topology_node *nic)
{
    return nic->port_bandwidth.source == FIGURE_UNKNOWN ? figures->links[LINK_NETWORK].bandwidth
                                                        : nic->port_bandwidth.value;
}

double cost_link_latency(const struct cost_model_figures *figures, const struct topology_link *link)
{
    return link->latency.source == FIGURE_UNKNOWN ? figures->links[link->kind].latency_s : link->latency.value;
}
