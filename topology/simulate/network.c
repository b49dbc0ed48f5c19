/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/simulate/network.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A flow's place on one link, chained with the others of that link. */
struct hop {
    uint32_t link;
    uint32_t next, previous; /* hops */
};

struct flow {
    uint64_t rate; /* 0: not settled yet */
    uint64_t cap;  /* of its narrowest link */
    uint32_t hop_count;
    uint32_t visit; /* the settling that has seen it */
    uint32_t next_free;
    bool frozen;
};

struct link {
    uint64_t capacity;
    uint64_t demand; /* sum of its flows' caps: it couples them if that is more than the capacity */
    uint32_t first_hop;
    uint32_t flow_count;
    uint32_t visit;
    bool dirty, coupled_before;
    /* While filling. */
    uint64_t left;
    uint32_t open_count; /* flows not frozen yet */
};

/* A link in the order of what it can still give to each of its flows. */
struct offer {
    uint64_t share;
    uint32_t link;
};

struct network {
    struct link *links;
    uint32_t link_count, hop_max;
    struct flow *flows;
    struct hop *hops; /* flow i has those from i * hop_max */
    uint32_t flow_capacity, flow_used, first_free;
    uint32_t visit;
    uint64_t work;

    /* Links that a change has touched, and flows that were added, since the last settling. */
    uint32_t *dirty, dirty_count;
    uint32_t *added, added_count;

    /* Scratch of a settling; room for all flows, or all links. */
    uint32_t *reached, reached_count;
    uint32_t *reached_links, reached_link_count;
    uint32_t *changed, changed_count;
    uint64_t *rates_before;
    struct offer *offers;
    uint32_t offer_count;
};

static bool link_couples(const struct link *link)
{
    return link->demand > link->capacity;
}

struct network *network_create(const uint64_t *capacities, uint32_t link_count, uint32_t hop_max)
{
    struct network *network = calloc(1, sizeof *network);
    if (!network) return NULL;
    size_t room = link_count ? link_count : 1;
    network->link_count = link_count;
    network->hop_max = hop_max ? hop_max : 1;
    network->first_free = NETWORK_NONE;
    network->links = calloc(room, sizeof *network->links);
    network->dirty = calloc(room, sizeof *network->dirty);
    network->reached_links = calloc(room, sizeof *network->reached_links);
    network->offers = calloc(room, sizeof *network->offers);
    if (!network->links || !network->dirty || !network->reached_links || !network->offers) {
        network_destroy(network);
        return NULL;
    }
    for (uint32_t i = 0; i < link_count; i++) {
        uint64_t capacity = capacities[i] ? capacities[i] : 1; /* the sum of 2^20 flows' caps fits 64 bits */
        network->links[i].capacity = capacity < NETWORK_CAPACITY_MAX ? capacity : NETWORK_CAPACITY_MAX;
        network->links[i].first_hop = NETWORK_NONE;
    }
    return network;
}

void network_destroy(struct network *network)
{
    if (!network) return;
    free(network->links);
    free(network->dirty);
    free(network->reached_links);
    free(network->offers);
    free(network->flows);
    free(network->hops);
    free(network->added);
    free(network->reached);
    free(network->changed);
    free(network->rates_before);
    free(network);
}

static bool grow(void *array, size_t count, size_t size)
{
    void **place = array, *moved = realloc(*place, count * size);
    if (moved) *place = moved;
    return moved != NULL;
}

static bool network_grow(struct network *network)
{
    size_t grown = network->flow_capacity ? (size_t)network->flow_capacity * 2 : 64;
    if (grown >= NETWORK_NONE / network->hop_max) return false;
    if (!grow(&network->flows, grown, sizeof *network->flows) ||
        !grow(&network->hops, grown * network->hop_max, sizeof *network->hops) ||
        !grow(&network->added, grown, sizeof *network->added) ||
        !grow(&network->reached, grown, sizeof *network->reached) ||
        !grow(&network->changed, grown, sizeof *network->changed) ||
        !grow(&network->rates_before, grown, sizeof *network->rates_before))
        return false;
    network->flow_capacity = (uint32_t)grown;
    return true;
}

static uint32_t flow_take(struct network *network)
{
    uint32_t index = network->first_free;
    if (index != NETWORK_NONE) {
        network->first_free = network->flows[index].next_free;
        return index;
    }
    if (network->flow_used == network->flow_capacity && !network_grow(network)) return NETWORK_NONE;
    return network->flow_used++;
}

/* Remember that the link's flows may get other rates, and whether they depended on each other before that. */
static void link_touch(struct network *network, uint32_t index)
{
    struct link *link = &network->links[index];
    if (link->dirty) return;
    link->dirty = true;
    link->coupled_before = link_couples(link);
    network->dirty[network->dirty_count++] = index;
}

static void hop_insert(struct network *network, uint32_t hop)
{
    struct link *link = &network->links[network->hops[hop].link];
    network->hops[hop].previous = NETWORK_NONE;
    network->hops[hop].next = link->first_hop;
    if (link->first_hop != NETWORK_NONE) network->hops[link->first_hop].previous = hop;
    link->first_hop = hop;
    link->flow_count++;
}

static void hop_unlink(struct network *network, uint32_t hop)
{
    const struct hop *gone = &network->hops[hop];
    struct link *link = &network->links[gone->link];
    if (gone->next != NETWORK_NONE) network->hops[gone->next].previous = gone->previous;
    if (gone->previous != NETWORK_NONE)
        network->hops[gone->previous].next = gone->next;
    else
        link->first_hop = gone->next;
    link->flow_count--;
}

uint32_t network_add(struct network *network, const uint32_t *links, uint32_t count)
{
    assert(count <= network->hop_max);
    uint32_t index = flow_take(network);
    if (index == NETWORK_NONE) return NETWORK_NONE;
    struct flow *flow = &network->flows[index];
    *flow = (struct flow){.cap = NETWORK_UNBOUNDED, .hop_count = count};
    for (uint32_t i = 0; i < count; i++)
        if (network->links[links[i]].capacity < flow->cap) flow->cap = network->links[links[i]].capacity;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t hop = index * network->hop_max + i;
        network->hops[hop].link = links[i];
        link_touch(network, links[i]);
        network->links[links[i]].demand += flow->cap;
        hop_insert(network, hop);
    }
    network->added[network->added_count++] = index;
    return index;
}

void network_remove(struct network *network, uint32_t index)
{
    struct flow *flow = &network->flows[index];
    for (uint32_t i = 0; i < flow->hop_count; i++) {
        uint32_t hop = index * network->hop_max + i, link = network->hops[hop].link;
        link_touch(network, link);
        network->links[link].demand -= flow->cap;
        hop_unlink(network, hop);
    }
    if (flow->rate == 0) /* added and removed between two settlings */
        for (uint32_t i = 0; i < network->added_count; i++)
            if (network->added[i] == index) network->added[i--] = network->added[--network->added_count];
    flow->next_free = network->first_free;
    network->first_free = index;
}

static void flow_reach(struct network *network, uint32_t index)
{
    struct flow *flow = &network->flows[index];
    if (flow->visit == network->visit) return;
    flow->visit = network->visit;
    flow->frozen = false;
    network->rates_before[network->reached_count] = flow->rate;
    network->reached[network->reached_count++] = index;
}

static void link_reach_flows(struct network *network, const struct link *link)
{
    for (uint32_t hop = link->first_hop; hop != NETWORK_NONE; hop = network->hops[hop].next)
        flow_reach(network, hop / network->hop_max);
}

/* All flows that can get another rate, and the coupling links among theirs. */
static void reach(struct network *network)
{
    network->visit++;
    network->reached_count = network->reached_link_count = 0;
    for (uint32_t i = 0; i < network->added_count; i++) flow_reach(network, network->added[i]);
    for (uint32_t i = 0; i < network->dirty_count; i++) {
        struct link *link = &network->links[network->dirty[i]];
        if (link->coupled_before || link_couples(link)) link_reach_flows(network, link);
        link->dirty = false;
    }
    network->added_count = network->dirty_count = 0;
    for (uint32_t i = 0; i < network->reached_count; i++) {
        uint32_t flow = network->reached[i], first = flow * network->hop_max;
        for (uint32_t hop = first; hop < first + network->flows[flow].hop_count; hop++) {
            struct link *link = &network->links[network->hops[hop].link];
            if (link->visit == network->visit || !link_couples(link)) continue;
            link->visit = network->visit;
            network->reached_links[network->reached_link_count++] = network->hops[hop].link;
            link_reach_flows(network, link);
        }
    }
}

static void offer_sink(struct offer *offers, uint32_t count, uint32_t place)
{
    struct offer moved = offers[place];
    for (uint32_t child; (child = 2 * place + 1) < count; place = child) {
        if (child + 1 < count && offers[child + 1].share < offers[child].share) child++;
        if (offers[child].share >= moved.share) break;
        offers[place] = offers[child];
    }
    offers[place] = moved;
}

static uint64_t link_share(const struct link *link)
{
    uint64_t share = link->left / link->open_count;
    return share ? share : 1;
}

/* Give the flow its rate, and take it from its coupling links. */
static void flow_freeze(struct network *network, uint32_t index, uint64_t rate)
{
    struct flow *flow = &network->flows[index];
    flow->frozen = true;
    flow->rate = rate;
    uint32_t first = index * network->hop_max;
    for (uint32_t hop = first; hop < first + flow->hop_count; hop++) {
        struct link *link = &network->links[network->hops[hop].link];
        if (link->visit != network->visit) continue;
        link->left -= link->left < rate ? link->left : rate;
        link->open_count--;
    }
}

static int cap_compare(const void *left, const void *right, void *context)
{
    const struct network *network = context;
    uint64_t a = network->flows[*(const uint32_t *)left].cap, b = network->flows[*(const uint32_t *)right].cap;
    return (a > b) - (a < b);
}

/* The flows in the order of their caps. They mostly are alike, and then nothing has to be done. */
static void sort_by_cap(struct network *network, uint32_t *order)
{
    bool sorted = true;
    for (uint32_t i = 0; i < network->reached_count; i++) {
        order[i] = network->reached[i];
        sorted = sorted && (i == 0 || network->flows[order[i - 1]].cap <= network->flows[order[i]].cap);
    }
    if (!sorted) qsort_r(order, network->reached_count, sizeof *order, cap_compare, network);
}

static void offers_make(struct network *network)
{
    network->offer_count = 0;
    for (uint32_t i = 0; i < network->reached_link_count; i++) {
        struct link *link = &network->links[network->reached_links[i]];
        link->left = link->capacity;
        link->open_count = link->flow_count;
        network->offers[network->offer_count++] =
            (struct offer){.share = link_share(link), .link = network->reached_links[i]};
    }
    for (uint32_t i = network->offer_count / 2; i-- > 0;) offer_sink(network->offers, network->offer_count, i);
}

/* Freeze every flow of the first offer's link at its share; or put the offer where it belongs by now. */
static void offer_take(struct network *network)
{
    struct offer *first = &network->offers[0];
    struct link *link = &network->links[first->link];
    if (link->open_count > 0 && link_share(link) > first->share) {
        first->share = link_share(link); /* shares only grow while others are frozen below them */
    } else {
        uint64_t rate = first->share;
        for (uint32_t hop = link->first_hop; hop != NETWORK_NONE && link->open_count > 0;
             hop = network->hops[hop].next) {
            uint32_t flow = hop / network->hop_max;
            if (!network->flows[flow].frozen) flow_freeze(network, flow, rate);
        }
        *first = network->offers[--network->offer_count];
    }
    if (network->offer_count > 0) offer_sink(network->offers, network->offer_count, 0);
}

static void fill(struct network *network)
{
    uint32_t *by_cap = network->changed; /* free until the end of the settling */
    sort_by_cap(network, by_cap);
    offers_make(network);
    for (uint32_t i = 0; i < network->reached_count;) {
        const struct flow *flow = &network->flows[by_cap[i]];
        if (flow->frozen)
            i++;
        else if (network->offer_count == 0 || flow->cap <= network->offers[0].share)
            flow_freeze(network, by_cap[i++], flow->cap);
        else
            offer_take(network);
    }
}

uint32_t network_settle(struct network *network, const uint32_t **changed)
{
    *changed = network->changed;
    if (network->dirty_count == 0 && network->added_count == 0) return 0;
    reach(network);
    fill(network);
    network->work += network->reached_count;
    network->changed_count = 0;
    for (uint32_t i = 0; i < network->reached_count; i++)
        if (network->flows[network->reached[i]].rate != network->rates_before[i])
            network->changed[network->changed_count++] = network->reached[i];
    return network->changed_count;
}

uint64_t network_rate(const struct network *network, uint32_t flow)
{
    return network->flows[flow].rate;
}

uint64_t network_work(const struct network *network)
{
    return network->work;
}
