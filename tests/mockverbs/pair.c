/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/mockverbs/pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define PORT 4791

static void set_address(struct sockaddr_storage *address, const char *text)
{
    memset(address, 0, sizeof *address);
    if (strchr(text, ':')) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(PORT);
        assert_int_equal(inet_pton(AF_INET6, text, &six->sin6_addr), 1);
    } else {
        struct sockaddr_in *four = (struct sockaddr_in *)address;
        four->sin_family = AF_INET;
        four->sin_port = htons(PORT);
        assert_int_equal(inet_pton(AF_INET, text, &four->sin_addr), 1);
    }
}

int pair_expect(struct rdma_event_channel *channel, enum rdma_cm_event_type type)
{
    struct rdma_cm_event *event;
    assert_int_equal(rdma_get_cm_event(channel, &event), 0);
    assert_string_equal(rdma_event_str(event->event), rdma_event_str(type));
    const int status = event->status;
    assert_int_equal(rdma_ack_cm_event(event), 0);
    return status;
}

int pair_async(struct ibv_context *context)
{
    struct ibv_async_event event;
    if (ibv_get_async_event(context, &event) != 0) return -1;
    ibv_ack_async_event(&event);
    return event.event_type;
}

static void nonblocking(int fd)
{
    assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

static void end_make(struct pair_end *end, int access, uint32_t cq_capacity)
{
    const int capacity = (int)(cq_capacity ? cq_capacity : 64);
    nonblocking(end->id->verbs->async_fd);
    end->pd = ibv_alloc_pd(end->id->verbs);
    end->channel = ibv_create_comp_channel(end->id->verbs);
    assert_non_null(end->channel);
    nonblocking(end->channel->fd);
    end->send_cq = ibv_create_cq(end->id->verbs, capacity, end, end->channel, 0);
    end->recv_cq = ibv_create_cq(end->id->verbs, capacity, end, end->channel, 0);
    assert_non_null(end->send_cq);
    assert_non_null(end->recv_cq);
    struct ibv_qp_init_attr init = {
        .send_cq = end->send_cq,
        .recv_cq = end->recv_cq,
        .qp_type = IBV_QPT_RC,
        .cap = {PAIR_DEPTH, PAIR_DEPTH, 2, 2, 64},
    };
    assert_int_equal(rdma_create_qp(end->id, end->pd, &init), 0);
    end->qp = end->id->qp;
    end->mr = ibv_reg_mr(end->pd, end->buffer, sizeof end->buffer, access);
    assert_non_null(end->mr);
}

void pair_open(struct pair *pair, const struct pair_options *options)
{
    struct sockaddr_storage address;
    memset(pair, 0, sizeof *pair);
    set_address(&address, options->to ? options->to : "10.0.0.2");
    const int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;

    mockverbs_see(1);
    pair->b.cm = rdma_create_event_channel();
    nonblocking(pair->b.cm->fd);
    assert_int_equal(rdma_create_id(pair->b.cm, &pair->listener, NULL, RDMA_PS_TCP), 0);
    assert_int_equal(rdma_bind_addr(pair->listener, (struct sockaddr *)&address), 0);
    assert_int_equal(rdma_listen(pair->listener, 4), 0);

    mockverbs_see(0);
    pair->a.cm = rdma_create_event_channel();
    nonblocking(pair->a.cm->fd);
    assert_int_equal(rdma_create_id(pair->a.cm, &pair->a.id, NULL, RDMA_PS_TCP), 0);
    assert_int_equal(rdma_resolve_addr(pair->a.id, NULL, (struct sockaddr *)&address, 1000), 0);
    assert_int_equal(pair_expect(pair->a.cm, RDMA_CM_EVENT_ADDR_RESOLVED), 0);
    assert_int_equal(rdma_resolve_route(pair->a.id, 1000), 0);
    assert_int_equal(pair_expect(pair->a.cm, RDMA_CM_EVENT_ROUTE_RESOLVED), 0);
    end_make(&pair->a, access, options->cq_capacity);
    struct rdma_conn_param param = {
        .private_data = "knock", .private_data_len = 6, .retry_count = 7, .rnr_retry_count = 1};
    assert_int_equal(rdma_connect(pair->a.id, &param), 0);

    struct rdma_cm_event *event;
    assert_int_equal(rdma_get_cm_event(pair->b.cm, &event), 0);
    assert_int_equal(event->event, RDMA_CM_EVENT_CONNECT_REQUEST);
    assert_ptr_equal(event->listen_id, pair->listener);
    assert_int_equal(event->param.conn.private_data_len, 56);
    assert_string_equal(event->param.conn.private_data, "knock");
    pair->b.id = event->id;
    assert_int_equal(rdma_ack_cm_event(event), 0);
    end_make(&pair->b, options->b_access ? options->b_access : access, options->cq_capacity);
    param.private_data = "come in";
    param.private_data_len = 8;
    param.rnr_retry_count = options->rnr_retry;
    assert_int_equal(rdma_accept(pair->b.id, &param), 0);
    assert_int_equal(rdma_get_cm_event(pair->a.cm, &event), 0);
    assert_int_equal(event->event, RDMA_CM_EVENT_ESTABLISHED);
    assert_int_equal(event->param.conn.private_data_len, 196);
    assert_string_equal(event->param.conn.private_data, "come in");
    assert_int_equal(rdma_ack_cm_event(event), 0);
    assert_int_equal(pair_expect(pair->b.cm, RDMA_CM_EVENT_ESTABLISHED), 0);
}

static void end_close(struct pair_end *end)
{
    rdma_destroy_qp(end->id);
    assert_int_equal(ibv_dereg_mr(end->mr), 0);
    assert_int_equal(ibv_destroy_cq(end->send_cq), 0);
    assert_int_equal(ibv_destroy_cq(end->recv_cq), 0);
    assert_int_equal(ibv_destroy_comp_channel(end->channel), 0);
    assert_int_equal(ibv_dealloc_pd(end->pd), 0);
    assert_int_equal(rdma_destroy_id(end->id), 0);
}

void pair_close(struct pair *pair)
{
    end_close(&pair->a);
    end_close(&pair->b);
    assert_int_equal(rdma_destroy_id(pair->listener), 0);
    rdma_destroy_event_channel(pair->a.cm);
    rdma_destroy_event_channel(pair->b.cm);
}

int pair_nothing_left(void **state)
{
    (void)state;
    if (mockverbs_leftovers()[0]) print_error("left over:\n%s", mockverbs_leftovers());
    return mockverbs_leftovers()[0] != 0;
}

static int post(struct pair *pair, enum ibv_wr_opcode opcode, uint32_t bytes, uint32_t offset, uint32_t immediate,
                unsigned int flags)
{
    static uint64_t number;
    struct ibv_sge sge = {(uintptr_t)pair->a.buffer, bytes, pair->a.mr->lkey};
    struct ibv_send_wr *bad, wr = {
                                 .wr_id = ++number,
                                 .sg_list = &sge,
                                 .num_sge = 1,
                                 .opcode = opcode,
                                 .send_flags = flags,
                                 .imm_data = htonl(immediate),
                                 .wr.rdma = {(uintptr_t)pair->b.buffer + offset, pair->b.mr->rkey},
                             };
    return ibv_post_send(pair->a.qp, &wr, &bad);
}

int pair_write(struct pair *pair, uint32_t bytes, uint32_t offset, unsigned int flags)
{
    return post(pair, IBV_WR_RDMA_WRITE, bytes, offset, 0, flags);
}

int pair_notify(struct pair *pair, uint32_t bytes, uint32_t offset, uint32_t immediate, unsigned int flags)
{
    return post(pair, IBV_WR_RDMA_WRITE_WITH_IMM, bytes, offset, immediate, flags);
}

int pair_receive(struct pair_end *end, uint32_t count)
{
    struct ibv_recv_wr *bad, wr = {.wr_id = 77};
    int error = 0;
    while (!error && count--) error = ibv_post_recv(end->qp, &wr, &bad);
    return error;
}
