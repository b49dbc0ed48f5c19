/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: who is told what, and what is refused. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/mockverbs/pair.h"

static struct pair pair;

static int setup(void **state)
{
    (void)state;
    mockverbs_reset();
    mockverbs_hosts_add(2, 2);
    return 0;
}

static struct sockaddr_in address_of(const char *text, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET, text, &address.sin_addr), 1);
    return address;
}

/* An id that listens and one that has its route. */
static struct ends {
    struct rdma_event_channel *a_channel, *b_channel;
    struct rdma_cm_id *a, *listener;
} ends;

static void ends_open(const char *listen_at, const char *connect_to)
{
    struct sockaddr_in at = address_of(listen_at, 5000), to = address_of(connect_to, 5000);
    mockverbs_see(1);
    ends.b_channel = rdma_create_event_channel();
    assert_int_equal(rdma_create_id(ends.b_channel, &ends.listener, &ends, RDMA_PS_TCP), 0);
    assert_int_equal(rdma_bind_addr(ends.listener, (struct sockaddr *)&at), 0);
    assert_int_equal(rdma_listen(ends.listener, 1), 0);
    mockverbs_see(0);
    ends.a_channel = rdma_create_event_channel();
    assert_int_equal(rdma_create_id(ends.a_channel, &ends.a, NULL, RDMA_PS_TCP), 0);
    assert_int_equal(rdma_resolve_addr(ends.a, NULL, (struct sockaddr *)&to, 100), 0);
    assert_int_equal(pair_expect(ends.a_channel, RDMA_CM_EVENT_ADDR_RESOLVED), 0);
    assert_int_equal(rdma_resolve_route(ends.a, 100), 0);
    assert_int_equal(pair_expect(ends.a_channel, RDMA_CM_EVENT_ROUTE_RESOLVED), 0);
}

static void ends_close(void)
{
    assert_int_equal(rdma_destroy_id(ends.a), 0);
    assert_int_equal(rdma_destroy_id(ends.listener), 0);
    rdma_destroy_event_channel(ends.a_channel);
    rdma_destroy_event_channel(ends.b_channel);
}

static struct rdma_cm_id *take_request(void)
{
    struct rdma_cm_event *event;
    assert_int_equal(rdma_get_cm_event(ends.b_channel, &event), 0);
    assert_int_equal(event->event, RDMA_CM_EVENT_CONNECT_REQUEST);
    struct rdma_cm_id *id = event->id;
    assert_int_equal(rdma_ack_cm_event(event), 0);
    return id;
}

static void the_route_chooses_the_device_of_the_network(void **state)
{
    (void)state;
    ends_open("0.0.0.0", "10.1.0.2");
    assert_string_equal(ibv_get_device_name(ends.a->verbs->device), "mock0_1");
    assert_null(ends.listener->verbs);
    assert_int_equal(rdma_connect(ends.a, NULL), 0);
    struct rdma_cm_id *id = take_request();
    assert_string_equal(ibv_get_device_name(id->verbs->device), "mock1_1");
    assert_ptr_equal(id->context, &ends);
    assert_int_equal(rdma_get_dst_port(id), rdma_get_src_port(ends.a));
    assert_int_equal(ntohs(rdma_get_src_port(id)), 5000);
    assert_int_equal(rdma_destroy_id(id), 0);
    assert_int_equal(pair_expect(ends.a_channel, RDMA_CM_EVENT_REJECTED), 28);
    ends_close();
}

static void a_rejection_carries_its_reason(void **state)
{
    (void)state;
    struct rdma_cm_event *event;
    ends_open("10.0.0.2", "10.0.0.2");
    assert_int_equal(rdma_connect(ends.a, NULL), 0);
    struct rdma_cm_id *id = take_request();
    assert_int_equal(rdma_reject(id, "no", 3), 0);
    assert_int_equal(rdma_get_cm_event(ends.a_channel, &event), 0);
    assert_int_equal(event->event, RDMA_CM_EVENT_REJECTED);
    assert_int_equal(event->status, 28);
    assert_int_equal(event->param.conn.private_data_len, 148);
    assert_string_equal(event->param.conn.private_data, "no");
    assert_int_equal(rdma_ack_cm_event(event), 0);
    assert_int_equal(rdma_destroy_id(id), 0);
    ends_close();
}

static void private_data_has_its_limits(void **state)
{
    (void)state;
    static const char bytes[200];
    ends_open("10.0.0.2", "10.0.0.2");
    struct rdma_conn_param param = {.private_data = bytes, .private_data_len = 57};
    assert_int_equal(rdma_connect(ends.a, &param), -1);
    assert_int_equal(errno, EINVAL);
    param.private_data_len = 56;
    param.qp_num = 1;
    assert_int_equal(rdma_connect(ends.a, &param), 0);
    struct rdma_cm_id *id = take_request();
    param.private_data_len = 197;
    assert_int_equal(rdma_accept(id, &param), -1);
    assert_int_equal(errno, EINVAL);
    param.private_data_len = 196;
    assert_int_equal(rdma_accept(id, &param), 0);
    assert_int_equal(pair_expect(ends.a_channel, RDMA_CM_EVENT_CONNECT_RESPONSE), 0);
    assert_int_equal(rdma_destroy_id(id), 0);
    assert_int_equal(pair_expect(ends.a_channel, RDMA_CM_EVENT_REJECTED), 28); /* it was not established yet */
    ends_close();
}

static void nobody_listening_is_a_rejection(void **state)
{
    (void)state;
    ends_open("10.0.0.2", "10.1.0.2");
    assert_int_equal(rdma_connect(ends.a, NULL), 0);
    assert_int_equal(pair_expect(ends.a_channel, RDMA_CM_EVENT_REJECTED), 8);
    ends_close();
}

static void a_full_backlog_is_a_rejection_and_unfetched_requests_end_with_the_listener(void **state)
{
    (void)state;
    struct rdma_cm_id *second;
    struct sockaddr_in to = address_of("10.0.0.2", 5000);
    ends_open("10.0.0.2", "10.0.0.2");
    assert_int_equal(rdma_connect(ends.a, NULL), 0);
    assert_int_equal(rdma_create_id(ends.a_channel, &second, NULL, RDMA_PS_TCP), 0);
    assert_int_equal(rdma_resolve_addr(second, NULL, (struct sockaddr *)&to, 100), 0);
    pair_expect(ends.a_channel, RDMA_CM_EVENT_ADDR_RESOLVED);
    assert_int_equal(rdma_resolve_route(second, 100), 0);
    pair_expect(ends.a_channel, RDMA_CM_EVENT_ROUTE_RESOLVED);
    assert_int_equal(rdma_connect(second, NULL), 0);
    assert_int_equal(pair_expect(ends.a_channel, RDMA_CM_EVENT_REJECTED), 8);
    assert_int_equal(rdma_destroy_id(second), 0);
    ends_close();
}

static void a_lost_request_makes_the_peer_unreachable(void **state)
{
    (void)state;
    ends_open("10.0.0.2", "10.0.0.2");
    mockverbs_cm_lose(0, 0);
    assert_int_equal(rdma_connect(ends.a, NULL), 0);
    assert_int_equal(pair_expect(ends.a_channel, RDMA_CM_EVENT_UNREACHABLE), -ETIMEDOUT);
    ends_close();
}

static void addresses_that_nobody_has_fail(void **state)
{
    (void)state;
    struct rdma_cm_id *id;
    struct sockaddr_in nowhere = address_of("10.0.0.9", 1), far = address_of("192.168.0.1", 1),
                       other = address_of("10.0.0.2", 1);
    mockverbs_see(0);
    struct rdma_event_channel *channel = rdma_create_event_channel();
    assert_int_equal(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP), 0);
    assert_int_equal(rdma_bind_addr(id, (struct sockaddr *)&other), -1);
    assert_int_equal(errno, ENODEV);
    assert_int_equal(rdma_resolve_addr(id, NULL, (struct sockaddr *)&far, 100), -1);
    assert_int_equal(errno, ENODEV);
    assert_int_equal(rdma_resolve_addr(id, NULL, (struct sockaddr *)&nowhere, 100), 0);
    assert_int_equal(pair_expect(channel, RDMA_CM_EVENT_ADDR_ERROR), -ETIMEDOUT);
    assert_int_equal(rdma_destroy_id(id), 0);
    rdma_destroy_event_channel(channel);
}

static void an_address_is_bound_once(void **state)
{
    (void)state;
    struct rdma_cm_id *id;
    struct sockaddr_in at = address_of("10.0.0.2", 5000);
    ends_open("10.0.0.2", "10.0.0.2");
    mockverbs_see(1);
    assert_int_equal(rdma_create_id(ends.b_channel, &id, NULL, RDMA_PS_TCP), 0);
    assert_int_equal(rdma_bind_addr(id, (struct sockaddr *)&at), -1);
    assert_int_equal(errno, EADDRINUSE);
    at.sin_port = 0;
    assert_int_equal(rdma_bind_addr(id, (struct sockaddr *)&at), 0);
    assert_true(ntohs(rdma_get_src_port(id)) >= 32768);
    assert_int_equal(rdma_destroy_id(id), 0);
    ends_close();
}

static void disconnecting_flushes_and_tells_both(void **state)
{
    (void)state;
    struct ibv_wc wc;
    struct rdma_cm_event *event;
    pair_open(&pair, &(struct pair_options){0});
    assert_int_equal(pair_receive(&pair.a, 1), 0);
    assert_int_equal(rdma_disconnect(pair.a.id), 0);
    assert_int_equal(ibv_poll_cq(pair.a.recv_cq, 1, &wc), 1);
    assert_int_equal(wc.status, IBV_WC_WR_FLUSH_ERR);
    assert_int_equal(rdma_get_cm_event(pair.a.cm, &event), -1); /* waits for the other's answer */
    assert_int_equal(errno, EAGAIN);
    pair_expect(pair.b.cm, RDMA_CM_EVENT_DISCONNECTED);
    assert_int_equal(rdma_disconnect(pair.b.id), 0);
    pair_expect(pair.a.cm, RDMA_CM_EVENT_DISCONNECTED);
    pair_expect(pair.a.cm, RDMA_CM_EVENT_TIMEWAIT_EXIT);
    pair_close(&pair);
}

static void retry_counts_come_from_the_other_side(void **state)
{
    (void)state;
    struct mockverbs_qp a, b;
    pair_open(&pair, &(struct pair_options){.rnr_retry = 5});
    assert_true(mockverbs_qp_find(pair.a.qp->qp_num, &a));
    assert_true(mockverbs_qp_find(pair.b.qp->qp_num, &b));
    assert_int_equal(a.rnr_retry, 5); /* said by b in accepting */
    assert_int_equal(b.rnr_retry, 1); /* said by a in connecting */
    assert_int_equal(a.retry_count, 7);
    assert_int_equal(a.remote_qp_num, b.qp_num);
    assert_string_equal(a.remote_device, "mock1_0");
    assert_int_equal(mockverbs_qp_list(NULL, 0), 2);
    pair_close(&pair);
}

static void bring_up(struct rdma_cm_id *id, struct ibv_qp *qp, enum ibv_qp_state state)
{
    int mask;
    struct ibv_qp_attr attr = {.qp_state = state};
    assert_int_equal(rdma_init_qp_attr(id, &attr, &mask), 0);
    assert_int_equal(ibv_modify_qp(qp, &attr, mask), 0);
}

static void queue_pairs_of_the_callers_own_are_established_by_it(void **state)
{
    (void)state;
    struct rdma_cm_event *event;
    ends_open("10.0.0.2", "10.0.0.2");
    assert_int_equal(rdma_connect(ends.a, &(struct rdma_conn_param){.qp_num = 0x11}), 0);
    struct rdma_cm_id *ids[2] = {ends.a, take_request()};
    struct ibv_pd *pds[2];
    struct ibv_cq *cqs[2];
    struct ibv_qp *qps[2];
    for (int i = 0; i < 2; i++) {
        pds[i] = ibv_alloc_pd(ids[i]->verbs);
        cqs[i] = ibv_create_cq(ids[i]->verbs, 4, NULL, NULL, 0);
        qps[i] = ibv_create_qp(
            pds[i], &(struct ibv_qp_init_attr){
                        .send_cq = cqs[i], .recv_cq = cqs[i], .qp_type = IBV_QPT_RC, .cap = {1, 1, 1, 1, 0}});
        bring_up(ids[i], qps[i], IBV_QPS_INIT);
    }
    assert_int_equal(qps[0]->qp_num, 0x11);
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTR};
    int mask;
    assert_int_equal(rdma_init_qp_attr(ids[0], &attr, &mask), -1); /* not answered yet */
    assert_int_equal(rdma_establish(ids[0]), -1);
    bring_up(ids[1], qps[1], IBV_QPS_RTR);
    bring_up(ids[1], qps[1], IBV_QPS_RTS);
    assert_int_equal(rdma_accept(ids[1], &(struct rdma_conn_param){.qp_num = qps[1]->qp_num, .rnr_retry_count = 6}), 0);
    assert_int_equal(rdma_get_cm_event(ends.a_channel, &event), 0);
    assert_int_equal(event->event, RDMA_CM_EVENT_CONNECT_RESPONSE);
    assert_int_equal(event->param.conn.qp_num, qps[1]->qp_num);
    assert_int_equal(rdma_ack_cm_event(event), 0);
    bring_up(ids[0], qps[0], IBV_QPS_RTR);
    bring_up(ids[0], qps[0], IBV_QPS_RTS);
    assert_int_equal(rdma_establish(ids[0]), 0);
    assert_int_equal(pair_expect(ends.b_channel, RDMA_CM_EVENT_ESTABLISHED), 0);
    for (int i = 0; i < 2; i++) {
        ibv_destroy_qp(qps[i]);
        ibv_destroy_cq(cqs[i]);
        ibv_dealloc_pd(pds[i]);
    }
    assert_int_equal(rdma_destroy_id(ids[1]), 0);
    ends_close();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, pair_nothing_left)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_route_chooses_the_device_of_the_network),
        TEST(a_rejection_carries_its_reason),
        TEST(private_data_has_its_limits),
        TEST(nobody_listening_is_a_rejection),
        TEST(a_full_backlog_is_a_rejection_and_unfetched_requests_end_with_the_listener),
        TEST(a_lost_request_makes_the_peer_unreachable),
        TEST(addresses_that_nobody_has_fail),
        TEST(an_address_is_bound_once),
        TEST(disconnecting_flushes_and_tells_both),
        TEST(queue_pairs_of_the_callers_own_are_established_by_it),
        TEST(retry_counts_come_from_the_other_side),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mockverbs_reset();
    return failed;
}
