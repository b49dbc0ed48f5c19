/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_cm's ids: creation, addresses, routes, listening. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/mockverbs/cm_internal.h"

#define DEFAULT_ACK_TIMEOUT 14u

static int refuse(int error)
{
    mock_unlock();
    errno = error;
    return -1;
}

struct cm_id *cm_of(struct rdma_cm_id *id)
{
    return mock_container(id, struct cm_id, base);
}

struct cm_id *cm_next(struct cm_id *id)
{
    struct mock_object *object = id ? id->object.next : mock.objects.next;
    while (object != &mock.objects && object->kind != MOCK_CM_ID) object = object->next;
    return object == &mock.objects ? NULL : mock_container(object, struct cm_id, object);
}

/* ---- Addresses ---- */

uint16_t cm_port_of(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET6) return ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

static void set_port(struct sockaddr *address, uint16_t port)
{
    if (address->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
}

static const void *host_part(const struct sockaddr *address, size_t *bytes)
{
    *bytes = address->sa_family == AF_INET6 ? 16 : 4;
    if (address->sa_family == AF_INET6) return &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return &((const struct sockaddr_in *)(const void *)address)->sin_addr;
}

bool cm_same_host_address(const struct sockaddr *a, const struct sockaddr *b)
{
    size_t a_bytes, b_bytes;
    const void *a_host = host_part(a, &a_bytes), *b_host = host_part(b, &b_bytes);
    return a->sa_family == b->sa_family && memcmp(a_host, b_host, a_bytes) == 0;
}

static bool is_wildcard(const struct sockaddr *address)
{
    static const uint8_t zeros[16];
    size_t bytes;
    const void *host = host_part(address, &bytes);
    return memcmp(host, zeros, bytes) == 0;
}

static bool address_make(int family, const char *text, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (!text) return false;
    out->ss_family = (sa_family_t)family;
    if (family == AF_INET6) return inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)out)->sin6_addr) == 1;
    return inet_pton(AF_INET, text, &((struct sockaddr_in *)out)->sin_addr) == 1;
}

static bool port_address(const struct mock_device *device, uint32_t port, int family, struct sockaddr_storage *out)
{
    const struct mockverbs_port *config = &device->config.ports[port];
    return address_make(family, family == AF_INET6 ? config->ipv6 : config->ipv4, out);
}

struct mock_device *cm_device_at(const struct sockaddr *address, uint8_t *port)
{
    struct sockaddr_storage own;
    for (struct mock_device *device = mock.devices; device; device = device->next) {
        for (uint32_t p = 0; !device->removed && p < device->config.port_count; p++) {
            if (!port_address(device, p, address->sa_family, &own)) continue;
            if (!cm_same_host_address((struct sockaddr *)&own, address)) continue;
            *port = (uint8_t)(p + 1);
            return device;
        }
    }
    return NULL;
}

/* The first port of this thread's host whose network holds @p to. */
static struct mock_device *route(const struct sockaddr *to, uint8_t *port, struct sockaddr_storage *from)
{
    size_t bytes, own_bytes;
    const void *wanted = host_part(to, &bytes);
    const size_t prefix_bytes = bytes == 16 ? 8 : 3;
    for (struct mock_device *device = mock.devices; device; device = device->next) {
        for (uint32_t p = 0; mock_device_visible(device) && p < device->config.port_count; p++) {
            if (!port_address(device, p, to->sa_family, from)) continue;
            if (memcmp(host_part((struct sockaddr *)from, &own_bytes), wanted, prefix_bytes) != 0) continue;
            *port = (uint8_t)(p + 1);
            return device;
        }
    }
    return NULL;
}

static size_t address_bytes(const struct sockaddr *address)
{
    return address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static bool family_known(const struct sockaddr *address)
{
    return address->sa_family == AF_INET || address->sa_family == AF_INET6;
}

/* ---- Ids ---- */

struct cm_id *cm_id_make(struct cm_channel *channel, void *context, enum rdma_port_space space)
{
    struct cm_id *id = mock_allocate(sizeof *id);
    id->base.channel = &channel->base;
    id->base.context = context;
    id->base.ps = space;
    id->base.qp_type = IBV_QPT_RC;
    id->ack_timeout = DEFAULT_ACK_TIMEOUT;
    id->host = mock_visible_host();
    channel->users++;
    mock_object_add(&id->object, MOCK_CM_ID);
    return id;
}

int rdma_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **out, void *context,
                   enum rdma_port_space space)
{
    mock_lock();
    int error = mock_call(MOCKVERBS_CM_CREATE_ID);
    if (!error && (!channel || space != RDMA_PS_TCP)) error = EOPNOTSUPP;
    if (error) return refuse(error);
    *out = &cm_id_make(mock_container(channel, struct cm_channel, base), context, space)->base;
    mock_unlock();
    return 0;
}

void cm_bind_device(struct cm_id *id, struct mock_device *device, uint8_t port)
{
    if (!device->cm_context) device->cm_context = mock_context_open(device);
    id->device = device;
    id->base.verbs = device->cm_context;
    id->base.port_num = port;
}

static bool port_taken(const struct sockaddr *address)
{
    for (struct cm_id *id = cm_next(NULL); id; id = cm_next(id)) {
        const struct sockaddr *own = &id->base.route.addr.src_addr;
        if (id->state == CM_IDLE || id->listener || own->sa_family != address->sa_family) continue;
        if (cm_port_of(own) != cm_port_of(address)) continue;
        if (cm_same_host_address(own, address)) return true;
    }
    return false;
}

static int id_bind(struct cm_id *id, const struct sockaddr *address)
{
    uint8_t port = 0;
    struct mock_device *device = NULL;
    if (id->state != CM_IDLE || !family_known(address)) return EINVAL;
    if (!is_wildcard(address)) {
        device = cm_device_at(address, &port);
        if (!device || !mock_device_visible(device)) return ENODEV;
    }
    if (cm_port_of(address) && port_taken(address)) return EADDRINUSE;
    struct sockaddr *own = &id->base.route.addr.src_addr;
    memcpy(own, address, address_bytes(address));
    if (cm_port_of(own) == 0) set_port(own, mock.next_port++);
    if (device) cm_bind_device(id, device, port);
    id->state = CM_BOUND;
    return 0;
}

int rdma_bind_addr(struct rdma_cm_id *base, struct sockaddr *address)
{
    mock_lock();
    int error = mock_call(MOCKVERBS_CM_BIND);
    if (!error) error = id_bind(cm_of(base), address);
    if (error) return refuse(error);
    mock_unlock();
    return 0;
}

static int id_resolve(struct cm_id *id, struct sockaddr *from, const struct sockaddr *to)
{
    struct sockaddr_storage chosen;
    uint8_t port;
    if (!family_known(to) || is_wildcard(to)) return EINVAL;
    if (from && id->state == CM_IDLE) {
        int error = id_bind(id, from);
        if (error) return error;
    }
    if (id->state != CM_IDLE && id->state != CM_BOUND) return EINVAL;
    if (!id->device) {
        struct mock_device *device = route(to, &port, &chosen);
        if (!device) return ENODEV;
        const uint16_t own_port = id->state == CM_BOUND ? cm_port_of(&id->base.route.addr.src_addr) : mock.next_port++;
        memcpy(&id->base.route.addr.src_addr, &chosen, address_bytes(to));
        set_port(&id->base.route.addr.src_addr, own_port);
        cm_bind_device(id, device, port);
    }
    memcpy(&id->base.route.addr.dst_addr, to, address_bytes(to));
    if (!cm_device_at(to, &port)) { /* nobody answers */
        id->state = CM_BOUND;
        cm_announce(id, RDMA_CM_EVENT_ADDR_ERROR, -ETIMEDOUT, NULL, 0, 0);
    } else if (!id->device->up[id->base.port_num - 1]) {
        id->state = CM_BOUND;
        cm_announce(id, RDMA_CM_EVENT_ADDR_ERROR, -ENETUNREACH, NULL, 0, 0);
    } else {
        id->state = CM_ADDRESS_RESOLVED;
        cm_announce(id, RDMA_CM_EVENT_ADDR_RESOLVED, 0, NULL, 0, 0);
    }
    return 0;
}

int rdma_resolve_addr(struct rdma_cm_id *base, struct sockaddr *from, struct sockaddr *to, int timeout_ms)
{
    (void)timeout_ms;
    mock_lock();
    int error = mock_call(MOCKVERBS_CM_RESOLVE_ADDRESS);
    if (!error) error = id_resolve(cm_of(base), from, to);
    if (error) return refuse(error);
    mock_unlock();
    return 0;
}

int rdma_resolve_route(struct rdma_cm_id *base, int timeout_ms)
{
    (void)timeout_ms;
    struct cm_id *id = cm_of(base);
    mock_lock();
    int error = mock_call(MOCKVERBS_CM_RESOLVE_ROUTE);
    if (!error && id->state != CM_ADDRESS_RESOLVED) error = EINVAL;
    if (error) return refuse(error);
    if (id->device->up[base->port_num - 1]) {
        id->state = CM_ROUTE_RESOLVED;
        cm_announce(id, RDMA_CM_EVENT_ROUTE_RESOLVED, 0, NULL, 0, 0);
    } else {
        cm_announce(id, RDMA_CM_EVENT_ROUTE_ERROR, -ENETUNREACH, NULL, 0, 0);
    }
    mock_unlock();
    return 0;
}

int rdma_listen(struct rdma_cm_id *base, int backlog)
{
    struct cm_id *id = cm_of(base);
    mock_lock();
    int error = mock_call(MOCKVERBS_CM_LISTEN);
    if (!error && id->state != CM_BOUND) error = EINVAL;
    if (error) return refuse(error);
    id->backlog = backlog > 0 ? backlog : 1024;
    id->state = CM_LISTENING;
    mock_unlock();
    return 0;
}

__be16 rdma_get_src_port(struct rdma_cm_id *id)
{
    return htons(cm_port_of(&id->route.addr.src_addr));
}

__be16 rdma_get_dst_port(struct rdma_cm_id *id)
{
    return htons(cm_port_of(&id->route.addr.dst_addr));
}

int rdma_set_option(struct rdma_cm_id *base, int level, int name, void *value, size_t bytes)
{
    struct cm_id *id = cm_of(base);
    mock_lock();
    int error = mock_call(MOCKVERBS_CM_SET_OPTION);
    if (!error && level != RDMA_OPTION_ID) error = EOPNOTSUPP;
    if (error) return refuse(error);
    if (name == RDMA_OPTION_ID_TOS && bytes == sizeof(uint8_t))
        id->traffic_class = *(const uint8_t *)value;
    else if (name == RDMA_OPTION_ID_ACK_TIMEOUT && bytes == sizeof(uint8_t))
        id->ack_timeout = *(const uint8_t *)value;
    else if ((name != RDMA_OPTION_ID_REUSEADDR && name != RDMA_OPTION_ID_AFONLY) || bytes != sizeof(int))
        return refuse(EINVAL);
    mock_unlock();
    return 0;
}

struct ibv_context **rdma_get_devices(int *count)
{
    mock_lock();
    struct ibv_context **list = mock_allocate((mock.device_count + 1) * sizeof *list);
    int visible = 0;
    for (struct mock_device *device = mock.devices; device; device = device->next) {
        if (!mock_device_visible(device)) continue;
        if (!device->cm_context) device->cm_context = mock_context_open(device);
        list[visible++] = device->cm_context;
    }
    mock_unlock();
    if (count) *count = visible;
    return list;
}

void rdma_free_devices(struct ibv_context **list)
{
    free(list);
}
