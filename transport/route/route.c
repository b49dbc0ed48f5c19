/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/route/route.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct route_endpoint {
    struct endpoint base;
    struct transport_ops ops; /* the name and capabilities of this set of routes */
    struct route_config config;
    bool used[ROUTE_LIMIT]; /* a peer was connected over it: only then is it worth a poll */
    int armed[ROUTE_LIMIT]; /* descriptors that `descriptor` waits for, or -1 */
    uint32_t next_poll;
    int descriptor; /* epoll over those of the routes */
    char name[64];
};

static struct route_endpoint *route_of(struct endpoint *endpoint)
{
    return (struct route_endpoint *)endpoint;
}

static weft_status route_connect(struct endpoint *endpoint, uint32_t peer, size_t granted_bytes,
                                 struct connection **connection)
{
    struct route_endpoint *route = route_of(endpoint);
    if (peer >= endpoint->rank_count || peer == endpoint->rank) return WEFT_INVALID_ARGUMENT;
    uint32_t chosen = route->config.choose(route->config.context, peer);
    if (chosen >= route->config.route_count) return WEFT_INVALID_ARGUMENT;
    weft_status status = endpoint_connect(route->config.routes[chosen], peer, granted_bytes, connection);
    if (status == WEFT_OK) route->used[chosen] = true;
    return status;
}

/* Every route gets its poll, so that every one is disarmed; who comes first takes turns. */
static size_t route_poll(struct endpoint *endpoint, struct event *events, size_t max, uint64_t now_ns)
{
    struct route_endpoint *route = route_of(endpoint);
    size_t count = 0;
    for (uint32_t i = 0; i < route->config.route_count; i++) {
        uint32_t polled = (route->next_poll + i) % route->config.route_count;
        if (route->used[polled])
            count += endpoint_poll(route->config.routes[polled], events + count, max - count, now_ns);
    }
    route->next_poll = (route->next_poll + 1) % route->config.route_count;
    return count;
}

static weft_status route_arm(struct endpoint *endpoint, int *fd)
{
    struct route_endpoint *route = route_of(endpoint);
    for (uint32_t i = 0; i < route->config.route_count; i++) {
        if (!route->used[i]) continue;
        int armed;
        weft_status status = endpoint_arm(route->config.routes[i], &armed);
        if (status != WEFT_OK) return status;
        if (armed == route->armed[i]) continue;
        struct epoll_event event = {.events = EPOLLIN};
        if (route->armed[i] >= 0) epoll_ctl(route->descriptor, EPOLL_CTL_DEL, route->armed[i], NULL);
        if (epoll_ctl(route->descriptor, EPOLL_CTL_ADD, armed, &event) != 0 && errno != EEXIST)
            return WEFT_RESOURCE_LIMIT;
        route->armed[i] = armed;
    }
    *fd = route->descriptor;
    return WEFT_OK;
}

/* The one route that registers memory: two with devices of their own would each need a handle. */
static struct endpoint *registrar(const struct route_endpoint *route)
{
    for (uint32_t i = 0; i < route->config.route_count; i++)
        if (route->config.routes[i]->ops->memory_register != transport_memory_register_unsupported)
            return route->config.routes[i];
    return route->config.routes[0];
}

static weft_status route_memory_register(struct endpoint *endpoint, void *address, size_t bytes, void **registration,
                                         struct diagnostic *diagnostic)
{
    return endpoint_memory_register(registrar(route_of(endpoint)), address, bytes, registration, diagnostic);
}

static void route_memory_deregister(struct endpoint *endpoint, void *registration)
{
    endpoint_memory_deregister(registrar(route_of(endpoint)), registration);
}

/* The one route that lends: there is one kind of memory that peers can map. */
static struct endpoint *lender(const struct route_endpoint *route)
{
    for (uint32_t i = 0; i < route->config.route_count; i++)
        if (route->config.routes[i]->ops->capabilities & TRANSPORT_LENDS) return route->config.routes[i];
    return route->config.routes[0];
}

static weft_status route_memory_share(struct endpoint *endpoint, void *address, size_t bytes, int descriptor,
                                      uint64_t offset, void **share, struct diagnostic *diagnostic)
{
    return endpoint_memory_share(lender(route_of(endpoint)), address, bytes, descriptor, offset, share, diagnostic);
}

static void route_memory_unshare(struct endpoint *endpoint, void *share)
{
    endpoint_memory_unshare(lender(route_of(endpoint)), share);
}

static void route_destroy(struct endpoint *endpoint)
{
    struct route_endpoint *route = route_of(endpoint);
    for (uint32_t i = 0; i < route->config.route_count; i++) endpoint_destroy(route->config.routes[i]);
    close(route->descriptor);
    free(route);
}

/* Connections are the routes' own: calls on them never come here. What is common to all routes is this endpoint's. */
static void ops_fill(struct route_endpoint *route)
{
    route->ops = (struct transport_ops){
        .name = route->name,
        .capabilities = UINT32_MAX,
        .endpoint_destroy = route_destroy,
        .connect = route_connect,
        .connect_advance = route->config.routes[0]->ops->connect_advance,
        .disconnect = route->config.routes[0]->ops->disconnect,
        .map = transport_map_none,
        .lend = transport_lend_none,
        .borrow = transport_borrow_none,
        .read = transport_read_unsupported,
        .write = transport_write_unsupported,
        .put = route->config.routes[0]->ops->put,
        .quiesce = transport_quiesce_unsupported,
        .poll = route_poll,
        .arm = route_arm,
        .memory_register = route_memory_register,
        .memory_deregister = route_memory_deregister,
        .memory_share = route_memory_share,
        .memory_unshare = route_memory_unshare,
    };
    size_t length = 0;
    for (uint32_t i = 0; i < route->config.route_count; i++) {
        const struct transport_ops *ops = route->config.routes[i]->ops;
        route->ops.capabilities &= ops->capabilities;
        if (i > 0 && length + 1 < sizeof route->name) route->name[length++] = '+';
        for (const char *at = ops->name; *at && length + 1 < sizeof route->name; at++) route->name[length++] = *at;
    }
}

weft_status route_endpoint_create(const struct route_config *config, struct endpoint **endpoint)
{
    if (config->route_count == 0 || config->route_count > ROUTE_LIMIT || !config->choose) return WEFT_INVALID_ARGUMENT;
    struct route_endpoint *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    made->descriptor = epoll_create1(EPOLL_CLOEXEC);
    if (made->descriptor < 0) {
        free(made);
        return WEFT_RESOURCE_LIMIT;
    }
    made->config = *config;
    for (uint32_t i = 0; i < ROUTE_LIMIT; i++) made->armed[i] = -1;
    ops_fill(made);
    made->base = (struct endpoint){.ops = &made->ops, .rank = config->rank, .rank_count = config->rank_count};
    *endpoint = &made->base;
    return WEFT_OK;
}
