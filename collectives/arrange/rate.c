/* SPDX-License-Identifier: Apache-2.0 */
/* The busiest link of a plan, each pair of ranks sending over one shortest way. */
#include <stdlib.h>

#include "collectives/arrange/book.h"
#include "topology/simulate/route.h"

struct pairs {
    const struct rating *rating;
    struct route_request *requests;
    double *shares;
    uint32_t count, capacity;
    bool failed;
};

static void pair_add(void *context, const weft_plan_load *load)
{
    struct pairs *pairs = context;
    uint32_t from = pairs->rating->nodes[load->from], to = pairs->rating->nodes[load->to];
    if (from == to || pairs->failed) return; /* through memory, which is no link of the topology */
    if (pairs->count == pairs->capacity) {
        uint32_t capacity = pairs->capacity ? 2 * pairs->capacity : 256;
        struct route_request *requests = realloc(pairs->requests, capacity * sizeof *requests);
        if (requests) pairs->requests = requests;
        double *shares = realloc(pairs->shares, capacity * sizeof *shares);
        if (shares) pairs->shares = shares;
        pairs->failed = !requests || !shares;
        if (pairs->failed) return;
        pairs->capacity = capacity;
    }
    pairs->requests[pairs->count] = (struct route_request){.from = from, .to = to, .salt = load->from};
    pairs->shares[pairs->count++] = load->share;
}

static double busiest(const struct route_links *links, const struct routes *routes, const double *shares, double *loads)
{
    double slowest = 0; /* seconds for each byte of the message */
    for (uint32_t route = 0; route < routes->count; route++)
        for (uint32_t hop = 0; hop < routes->spans[route].count; hop++) {
            uint32_t link = routes->links[routes->spans[route].first + hop];
            loads[link] += shares[route];
            double capacity = (double)links->capacities[link];
            if (capacity > 0 && loads[link] / capacity > slowest) slowest = loads[link] / capacity;
        }
    return slowest > 0 ? 1 / slowest : 0;
}

bool rate_plan(const struct rating *rating, const weft_plan *plan, double *algbw)
{
    struct pairs pairs = {.rating = rating};
    struct route_links links;
    struct routes routes = {0};
    *algbw = 0;
    weft_status status = weft_plan_loads(plan, pair_add, &pairs);
    bool made = status != WEFT_OUT_OF_MEMORY && !pairs.failed;
    if (status != WEFT_OK || !made || pairs.count == 0 || pairs.count > BOOK_RATED_PAIRS_MAX) goto free_pairs;
    made = route_links_open(rating->topology, &cost_figures_built_in, rating->assumed, &links);
    if (!made) goto free_pairs;
    status = routes_find(rating->topology, &cost_figures_built_in, &links, pairs.requests, pairs.count, &routes, NULL);
    double *loads = calloc((size_t)links.count + 1, sizeof *loads);
    made = loads && status != WEFT_OUT_OF_MEMORY;
    if (made && status == WEFT_OK) *algbw = busiest(&links, &routes, pairs.shares, loads);
    free(loads);
    routes_free(&routes);
    route_links_close(&links);
free_pairs:
    free(pairs.requests);
    free(pairs.shares);
    return made;
}
