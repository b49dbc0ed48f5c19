/* SPDX-License-Identifier: Apache-2.0 */
/* Devices: the list, opening, queries, asynchronous events. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/mockverbs/mockverbs_internal.h"

#undef ibv_get_device_list
#undef ibv_query_port

#define USUAL(value, usual) ((value) ? (value) : (usual))

/* ---- Making devices ---- */

static void gid_add(struct mock_device *device, uint32_t port, const union ibv_gid *gid)
{
    for (uint32_t type = IBV_GID_TYPE_ROCE_V1; type <= IBV_GID_TYPE_ROCE_V2; type++) {
        uint32_t index = device->gid_count[port]++;
        device->gids[port][index] = (struct ibv_gid_entry){
            .gid = *gid,
            .gid_index = index,
            .port_num = port + 1,
            .gid_type = type,
            .ndev_ifindex = 2 + device->index * MOCKVERBS_PORTS + port,
        };
    }
}

static void port_add(struct mock_device *device, uint32_t port)
{
    struct mockverbs_port *config = &device->config.ports[port];
    union ibv_gid gid = {.raw = {0xfe, 0x80, [8] = 0x02, [11] = 0xff, [12] = 0xfe}};
    gid.raw[14] = (uint8_t)device->index;
    gid.raw[15] = (uint8_t)(port + 1);
    gid_add(device, port, &gid);
    device->up[port] = !config->down;
    if (config->ipv4) {
        gid = (union ibv_gid){.raw = {[10] = 0xff, [11] = 0xff}};
        if (inet_pton(AF_INET, config->ipv4, gid.raw + 12) != 1) mock_abort("no IPv4 address: %s", config->ipv4);
        snprintf(device->ipv4[port], sizeof device->ipv4[port], "%s", config->ipv4);
        config->ipv4 = device->ipv4[port];
        gid_add(device, port, &gid);
    }
    if (config->ipv6) {
        if (inet_pton(AF_INET6, config->ipv6, gid.raw) != 1) mock_abort("no IPv6 address: %s", config->ipv6);
        snprintf(device->ipv6[port], sizeof device->ipv6[port], "%s", config->ipv6);
        config->ipv6 = device->ipv6[port];
        gid_add(device, port, &gid);
    }
}

void mockverbs_device_add(const struct mockverbs_device *config)
{
    mock_lock();
    if (mock_device_named(config->name)) mock_abort("there is a device %s already", config->name);
    struct mock_device *device = mock_allocate(sizeof *device);
    device->config = *config;
    device->config.port_count = USUAL(config->port_count, 1);
    device->index = mock.device_count++;
    device->base.node_type = IBV_NODE_CA;
    device->base.transport_type = IBV_TRANSPORT_IB;
    snprintf(device->base.name, sizeof device->base.name, "%s", config->name);
    device->config.name = device->base.name;
    snprintf(device->base.dev_name, sizeof device->base.dev_name, "uverbs%u", device->index);
    for (uint32_t port = 0; port < device->config.port_count; port++) port_add(device, port);
    struct mock_device **end = &mock.devices;
    while (*end) end = &(*end)->next;
    *end = device;
    mock_unlock();
}

void mockverbs_hosts_add(uint32_t host_count, uint32_t rail_count)
{
    for (uint32_t host = 0; host < host_count; host++) {
        for (uint32_t rail = 0; rail < rail_count; rail++) {
            char name[32], ipv4[16], ipv6[46];
            snprintf(name, sizeof name, "mock%u_%u", host, rail);
            snprintf(ipv4, sizeof ipv4, "10.%u.0.%u", rail & 0xff, (host + 1) & 0xff);
            snprintf(ipv6, sizeof ipv6, "fd00:%x::%x", rail, host + 1);
            mockverbs_device_add(
                &(struct mockverbs_device){.name = name, .host = host, .ports = {{.ipv4 = ipv4, .ipv6 = ipv6}}});
        }
    }
}

/* ---- The list ---- */

struct ibv_device **ibv_get_device_list(int *count)
{
    mock_lock();
    struct ibv_device **list = mock_allocate((mock.device_count + 1) * sizeof *list);
    int visible = 0;
    for (struct mock_device *device = mock.devices; device; device = device->next)
        if (mock_device_visible(device)) list[visible++] = &device->base;
    mock_unlock();
    if (count) *count = visible;
    return list;
}

void ibv_free_device_list(struct ibv_device **list)
{
    free(list);
}

const char *ibv_get_device_name(struct ibv_device *device)
{
    return device->name;
}

int ibv_get_device_index(struct ibv_device *base)
{
    return (int)mock_container(base, struct mock_device, base)->index;
}

__be64 ibv_get_device_guid(struct ibv_device *base)
{
    return htobe64(UINT64_C(0x0200c0de00000000) | mock_container(base, struct mock_device, base)->index);
}

/* ---- Contexts ---- */

struct mock_context *mock_context_of(struct ibv_context *context)
{
    return mock_container(context, struct mock_context, verbs.context);
}

bool mock_context_gone(struct ibv_context *context)
{
    return mock_context_of(context)->device->removed;
}

static int query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr, size_t bytes)
{
    const struct mock_device *device = mock_context_of(context)->device;
    mock_lock();
    int error = mock_call(MOCKVERBS_QUERY_PORT);
    if (!error && device->removed) error = EIO;
    if (!error && (port == 0 || port > device->config.port_count)) error = EINVAL;
    bool up = !error && device->up[port - 1];
    int gids = error ? 0 : (int)device->gid_count[port - 1];
    mock_unlock();
    if (error) return error;
    const struct ibv_port_attr known = {
        .state = up ? IBV_PORT_ACTIVE : IBV_PORT_DOWN,
        .max_mtu = IBV_MTU_4096,
        .active_mtu = IBV_MTU_4096,
        .gid_tbl_len = gids,
        .max_msg_sz = MOCK_MAX_MESSAGE_BYTES,
        .pkey_tbl_len = 1,
        .active_width = 2,  /* 4x */
        .active_speed = 64, /* HDR: 50 Gb/s a lane */
        .phys_state = up ? 5 : 3,
        .link_layer = IBV_LINK_LAYER_ETHERNET,
    };
    memset(attr, 0, bytes);
    memcpy(attr, &known, bytes < sizeof known ? bytes : sizeof known);
    return 0;
}

int ibv_query_port(struct ibv_context *context, uint8_t port, struct _compat_ibv_port_attr *attr)
{
    /* The old layout ends before what is last in the new one. */
    return query_port(context, port, (struct ibv_port_attr *)attr, offsetof(struct ibv_port_attr, port_cap_flags2));
}

struct ibv_context *mock_context_open(struct mock_device *device)
{
    struct mock_context *context = mock_allocate(sizeof *context);
    context->device = device;
    context->last_event = &context->first_event;
    context->verbs.sz = sizeof context->verbs;
    context->verbs.query_port = query_port;
    context->verbs.context = (struct ibv_context){
        .device = &device->base,
        .ops = {.poll_cq = mock_poll_cq,
                .req_notify_cq = mock_req_notify_cq,
                .post_send = mock_post_send,
                .post_recv = mock_post_recv},
        .cmd_fd = -1,
        .async_fd = mock_descriptor(),
        .num_comp_vectors = 1,
        .abi_compat = __VERBS_ABI_IS_EXTENDED,
    };
    pthread_mutex_init(&context->verbs.context.mutex, NULL);
    return &context->verbs.context;
}

struct ibv_context *ibv_open_device(struct ibv_device *base)
{
    struct mock_device *device = mock_container(base, struct mock_device, base);
    mock_lock();
    int error = mock_call(MOCKVERBS_OPEN_DEVICE);
    if (!error && device->removed) error = ENODEV;
    if (error) return mock_refuse(error);
    struct ibv_context *context = mock_context_open(device);
    mock_object_add(&mock_context_of(context)->object, MOCK_CONTEXT);
    mock_unlock();
    return context;
}

int ibv_close_device(struct ibv_context *base)
{
    struct mock_context *context = mock_context_of(base);
    mock_lock();
    if (context->users) mock_abort("%s is closed with %u objects in it", base->device->name, context->users);
    if (context->device->cm_context == base) mock_abort("rdma_cm's own context of %s is closed", base->device->name);
    mock_object_remove(&context->object);
    mock_forget_events(base, NULL);
    mock_unlock();
    close(base->async_fd);
    pthread_mutex_destroy(&base->mutex);
    free(context);
    return 0;
}

int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
    const struct mock_device *device = mock_context_of(context)->device;
    mock_lock();
    int error = mock_call(MOCKVERBS_QUERY_DEVICE);
    if (!error && device->removed) error = EIO;
    mock_unlock();
    if (error) return error;
    *attr = (struct ibv_device_attr){
        .fw_ver = "1.0.0",
        .node_guid = ibv_get_device_guid(context->device),
        .sys_image_guid = ibv_get_device_guid(context->device),
        .max_mr_size = UINT64_MAX,
        .page_size_cap = 0xfffff000,
        .vendor_id = MOCKVERBS_VENDOR_ID,
        .max_qp = (int)USUAL(device->config.max_qp, 131072),
        .max_qp_wr = (int)USUAL(device->config.max_qp_wr, 8192),
        .device_cap_flags = IBV_DEVICE_PORT_ACTIVE_EVENT | IBV_DEVICE_SYS_IMAGE_GUID | IBV_DEVICE_RC_RNR_NAK_GEN,
        .max_sge = MOCK_MAX_SGE,
        .max_cq = 65536,
        .max_cqe = (int)USUAL(device->config.max_cqe, 65536),
        .max_mr = (int)USUAL(device->config.max_mr, 1u << 20),
        .max_pd = 65536,
        .max_pkeys = 1,
        .phys_port_cnt = (uint8_t)device->config.port_count,
    };
    return 0;
}

/* ---- GIDs and partition keys ---- */

int _ibv_query_gid_ex(struct ibv_context *context, uint32_t port, uint32_t index, struct ibv_gid_entry *entry,
                      uint32_t flags, size_t bytes)
{
    const struct mock_device *device = mock_context_of(context)->device;
    mock_lock();
    int error = mock_call(MOCKVERBS_QUERY_GID);
    if (!error && device->removed) error = EIO;
    if (!error && (flags || port == 0 || port > device->config.port_count)) error = EINVAL;
    if (!error && index >= device->gid_count[port - 1]) error = ENODATA;
    if (!error) memcpy(entry, &device->gids[port - 1][index], bytes < sizeof *entry ? bytes : sizeof *entry);
    mock_unlock();
    return error;
}

ssize_t _ibv_query_gid_table(struct ibv_context *context, struct ibv_gid_entry *entries, size_t max, uint32_t flags,
                             size_t bytes)
{
    const struct mock_device *device = mock_context_of(context)->device;
    mock_lock();
    int error = mock_call(MOCKVERBS_QUERY_GID);
    if (!error && device->removed) error = EIO;
    if (!error && (flags || bytes != sizeof *entries)) error = EINVAL;
    size_t count = 0;
    for (uint32_t port = 0; !error && port < device->config.port_count; port++)
        for (uint32_t index = 0; index < device->gid_count[port] && count < max; index++)
            entries[count++] = device->gids[port][index];
    mock_unlock();
    return error ? -error : (ssize_t)count;
}

int ibv_query_gid(struct ibv_context *context, uint8_t port, int index, union ibv_gid *gid)
{
    struct ibv_gid_entry entry;
    int error = index < 0 ? EINVAL : _ibv_query_gid_ex(context, port, (uint32_t)index, &entry, 0, sizeof entry);
    if (error) {
        errno = error;
        return -1;
    }
    *gid = entry.gid;
    return 0;
}

int ibv_query_pkey(struct ibv_context *context, uint8_t port, int index, __be16 *pkey)
{
    if (port == 0 || port > mock_context_of(context)->device->config.port_count || index != 0) return -1;
    *pkey = htobe16(0xffff);
    return 0;
}

int ibv_get_pkey_index(struct ibv_context *context, uint8_t port, __be16 pkey)
{
    if (port == 0 || port > mock_context_of(context)->device->config.port_count) return -1;
    return (be16toh(pkey) & 0x7fff) == 0x7fff ? 0 : -1;
}

/* ---- Asynchronous events ---- */

void mock_raise(struct ibv_context *base, const struct ibv_async_event *event)
{
    struct mock_context *context = mock_context_of(base);
    struct mock_event *made = mock_allocate(sizeof *made);
    made->event = *event;
    *context->last_event = made;
    context->last_event = &made->next;
    mock_make_readable(base->async_fd);
}

void mock_raise_qp(struct mock_qp *qp, enum ibv_event_type type)
{
    struct ibv_async_event event = {.event_type = type};
    if (type == IBV_EVENT_CQ_ERR)
        event.element.cq = qp->base.send_cq;
    else
        event.element.qp = &qp->base;
    mock_raise(qp->base.context, &event);
}

void mock_raise_device(struct mock_device *device, uint8_t port, enum ibv_event_type type)
{
    const struct ibv_async_event event = {.event_type = type, .element.port_num = port};
    for (struct mock_object *object = mock.objects.next; object != &mock.objects; object = object->next) {
        if (object->kind != MOCK_CONTEXT) continue;
        struct mock_context *context = mock_container(object, struct mock_context, object);
        if (context->device == device) mock_raise(&context->verbs.context, &event);
    }
    if (device->cm_context) mock_raise(device->cm_context, &event);
}

/* Drop the events of one element, or all. The descriptor may stay readable for nothing: a reader looks again. */
void mock_forget_events(struct ibv_context *base, const void *element)
{
    struct mock_context *context = mock_context_of(base);
    struct mock_event **at = &context->first_event;
    while (*at) {
        struct mock_event *event = *at;
        bool ported =
            event->event.event_type >= IBV_EVENT_DEVICE_FATAL && event->event.event_type <= IBV_EVENT_SM_CHANGE;
        if (element && (ported || (const void *)event->event.element.qp != element)) {
            at = &event->next;
            continue;
        }
        *at = event->next;
        free(event);
    }
    context->last_event = at;
}

static uint32_t *event_count(const struct ibv_async_event *event)
{
    switch (event->event_type) {
    case IBV_EVENT_CQ_ERR:
        return &mock_container(event->element.cq, struct mock_cq, base)->async_events;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_COMM_EST:
    case IBV_EVENT_SQ_DRAINED:
    case IBV_EVENT_PATH_MIG:
    case IBV_EVENT_PATH_MIG_ERR:
    case IBV_EVENT_QP_LAST_WQE_REACHED:
        return &mock_container(event->element.qp, struct mock_qp, base)->async_events;
    default:
        return NULL;
    }
}

int ibv_get_async_event(struct ibv_context *base, struct ibv_async_event *event)
{
    struct mock_context *context = mock_context_of(base);
    for (;;) {
        if (!mock_take_readable(base->async_fd)) return -1;
        mock_lock();
        struct mock_event *first = context->first_event;
        if (first) {
            *event = first->event;
            context->first_event = first->next;
            if (!context->first_event) context->last_event = &context->first_event;
            uint32_t *count = event_count(event);
            if (count) ++*count;
        }
        mock_unlock();
        free(first);
        if (first) return 0;
    }
}

void ibv_ack_async_event(struct ibv_async_event *event)
{
    mock_lock();
    uint32_t *count = event_count(event);
    if (count && (*count)-- == 0) mock_abort("an asynchronous event is acknowledged twice");
    pthread_cond_broadcast(&mock.acknowledged);
    mock_unlock();
}
