/* SPDX-License-Identifier: Apache-2.0 */
/* What requests do when nothing goes wrong, and the rules of queues. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
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
    mockverbs_hosts_add(2, 1);
    return 0;
}

static void open_with(struct pair_options options)
{
    pair_open(&pair, &options);
}

static void devices_are_seen_by_host_with_ports_and_gids(void **state)
{
    (void)state;
    int count;
    mockverbs_see(1);
    struct ibv_device **list = ibv_get_device_list(&count);
    assert_int_equal(count, 1);
    assert_string_equal(ibv_get_device_name(list[0]), "mock1_0");
    struct ibv_context *context = ibv_open_device(list[0]);
    ibv_free_device_list(list);
    struct ibv_device_attr device;
    struct ibv_port_attr port;
    struct ibv_gid_entry entry;
    assert_int_equal(ibv_query_device(context, &device), 0);
    assert_int_equal(device.phys_port_cnt, 1);
    assert_int_equal(ibv_query_port(context, 1, &port), 0);
    assert_int_equal(port.state, IBV_PORT_ACTIVE);
    assert_int_equal(port.link_layer, IBV_LINK_LAYER_ETHERNET);
    assert_int_equal(port.gid_tbl_len, 6);
    assert_int_equal(ibv_query_port(context, 2, &port), EINVAL);
    assert_int_equal(ibv_query_gid_ex(context, 1, 3, &entry, 0), 0);
    assert_int_equal(entry.gid_type, IBV_GID_TYPE_ROCE_V2);
    assert_memory_equal(entry.gid.raw, ((uint8_t[]){0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2}), 16);
    assert_int_equal(ibv_query_gid_ex(context, 1, 6, &entry, 0), ENODATA);
    struct ibv_gid_entry all[8];
    assert_int_equal(ibv_query_gid_table(context, all, 8, 0), 6);
    assert_int_equal(ibv_close_device(context), 0);
    mockverbs_see(MOCKVERBS_ALL_HOSTS);
    list = ibv_get_device_list(&count);
    assert_int_equal(count, 2);
    ibv_free_device_list(list);
}

static void a_write_lands_and_completes_only_where_signalled(void **state)
{
    (void)state;
    struct ibv_wc wc;
    open_with((struct pair_options){0});
    memset(pair.a.buffer, 7, 100);
    assert_int_equal(pair_write(&pair, 100, 50, 0), 0);
    assert_int_equal(pair.b.buffer[50], 7);
    assert_int_equal(pair.b.buffer[149], 7);
    assert_int_equal(pair.b.buffer[150], 0);
    assert_int_equal(ibv_poll_cq(pair.a.send_cq, 1, &wc), 0);
    assert_int_equal(ibv_poll_cq(pair.b.recv_cq, 1, &wc), 0);
    assert_int_equal(pair_write(&pair, 1, 0, IBV_SEND_SIGNALED), 0);
    assert_int_equal(ibv_poll_cq(pair.a.send_cq, 1, &wc), 1);
    assert_int_equal(wc.status, IBV_WC_SUCCESS);
    assert_int_equal(wc.opcode, IBV_WC_RDMA_WRITE);
    assert_int_equal(wc.qp_num, pair.a.qp->qp_num);
    pair_close(&pair);
}

static void an_immediate_takes_a_receive_and_carries_its_data(void **state)
{
    (void)state;
    struct ibv_wc wc;
    open_with((struct pair_options){0});
    assert_int_equal(pair_receive(&pair.b, 1), 0);
    assert_int_equal(pair_notify(&pair, 16, 0, 0xfeedf00d, 0), 0);
    assert_int_equal(ibv_poll_cq(pair.b.recv_cq, 1, &wc), 1);
    assert_int_equal(wc.status, IBV_WC_SUCCESS);
    assert_int_equal(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
    assert_int_equal(wc.wc_flags & IBV_WC_WITH_IMM, IBV_WC_WITH_IMM);
    assert_int_equal(ntohl(wc.imm_data), 0xfeedf00d);
    assert_int_equal(wc.byte_len, 16);
    assert_int_equal(wc.wr_id, 77);
    pair_close(&pair);
}

static void a_send_is_scattered_and_must_fit(void **state)
{
    (void)state;
    struct ibv_wc wc;
    open_with((struct pair_options){0});
    struct ibv_sge into[2] = {{(uintptr_t)pair.b.buffer, 3, pair.b.mr->lkey},
                              {(uintptr_t)pair.b.buffer + 100, 8, pair.b.mr->lkey}};
    struct ibv_recv_wr *bad_receive, receive = {.sg_list = into, .num_sge = 2};
    memcpy(pair.a.buffer, "abcdefgh", 8);
    struct ibv_sge from = {(uintptr_t)pair.a.buffer, 8, pair.a.mr->lkey};
    struct ibv_send_wr *bad, send = {.sg_list = &from, .num_sge = 1, .opcode = IBV_WR_SEND};
    assert_int_equal(ibv_post_recv(pair.b.qp, &receive, &bad_receive), 0);
    assert_int_equal(ibv_post_send(pair.a.qp, &send, &bad), 0);
    assert_memory_equal(pair.b.buffer, "abc", 4);
    assert_memory_equal(pair.b.buffer + 100, "defgh", 6);
    assert_int_equal(ibv_poll_cq(pair.b.recv_cq, 1, &wc), 1);
    assert_int_equal(wc.opcode, IBV_WC_RECV);
    assert_int_equal(wc.byte_len, 8);

    from.length = 12;
    assert_int_equal(ibv_post_recv(pair.b.qp, &receive, &bad_receive), 0);
    assert_int_equal(ibv_post_send(pair.a.qp, &send, &bad), 0);
    assert_int_equal(ibv_poll_cq(pair.b.recv_cq, 1, &wc), 1);
    assert_int_equal(wc.status, IBV_WC_LOC_LEN_ERR);
    assert_int_equal(ibv_poll_cq(pair.a.send_cq, 1, &wc), 1);
    assert_int_equal(wc.status, IBV_WC_REM_INV_REQ_ERR);
    pair_close(&pair);
}

static void inline_bytes_are_taken_when_posted_and_others_when_delivered(void **state)
{
    (void)state;
    open_with((struct pair_options){0});
    mockverbs_delay(5, 1);
    pair.a.buffer[0] = 1;
    assert_int_equal(pair_write(&pair, 1, 0, IBV_SEND_INLINE), 0);
    assert_int_equal(pair_write(&pair, 1, 1, 0), 0);
    pair.a.buffer[0] = 2;
    mockverbs_settle();
    assert_int_equal(pair.b.buffer[0], 1);
    assert_int_equal(pair.b.buffer[1], 2);
    assert_int_equal(pair_write(&pair, 65, 0, IBV_SEND_INLINE), EINVAL);
    pair_close(&pair);
}

static void a_send_slot_is_free_once_a_later_completion_was_polled(void **state)
{
    (void)state;
    struct ibv_wc wc[PAIR_DEPTH];
    open_with((struct pair_options){0});
    for (uint32_t i = 0; i < PAIR_DEPTH; i++)
        assert_int_equal(pair_write(&pair, 1, 0, i == PAIR_DEPTH - 2 ? IBV_SEND_SIGNALED : 0), 0);
    assert_int_equal(pair_write(&pair, 1, 0, 0), ENOMEM);
    assert_int_equal(ibv_poll_cq(pair.a.send_cq, (int)PAIR_DEPTH, wc), 1);
    for (uint32_t i = 0; i < PAIR_DEPTH - 1; i++) assert_int_equal(pair_write(&pair, 1, 0, 0), 0);
    assert_int_equal(pair_write(&pair, 1, 0, 0), ENOMEM);
    pair_close(&pair);
}

static void a_list_is_posted_up_to_the_request_that_fails(void **state)
{
    (void)state;
    struct mockverbs_counters counters;
    open_with((struct pair_options){0});
    struct ibv_sge sge = {(uintptr_t)pair.a.buffer, 1, pair.a.mr->lkey};
    struct ibv_send_wr *bad, list[PAIR_DEPTH + 2];
    for (uint32_t i = 0; i < PAIR_DEPTH + 2; i++)
        list[i] = (struct ibv_send_wr){
            .next = i + 1 < PAIR_DEPTH + 2 ? &list[i + 1] : NULL,
            .sg_list = &sge,
            .num_sge = 1,
            .opcode = IBV_WR_RDMA_WRITE,
            .wr.rdma = {(uintptr_t)pair.b.buffer + i, pair.b.mr->rkey},
        };
    pair.a.buffer[0] = 9;
    mockverbs_counters_clear();
    assert_int_equal(ibv_post_send(pair.a.qp, list, &bad), ENOMEM);
    assert_ptr_equal(bad, &list[PAIR_DEPTH]);
    assert_int_equal(pair.b.buffer[PAIR_DEPTH - 1], 9);
    assert_int_equal(pair.b.buffer[PAIR_DEPTH], 0);
    mockverbs_counters(&counters);
    assert_int_equal(counters.calls[MOCKVERBS_POST_SEND], 1);
    assert_int_equal(counters.posted_sends, PAIR_DEPTH);
    pair_close(&pair);
}

static void an_armed_queue_makes_its_channel_readable_once(void **state)
{
    (void)state;
    struct ibv_cq *cq;
    void *context;
    struct ibv_wc wc;
    open_with((struct pair_options){0});
    assert_int_equal(pair_receive(&pair.b, 3), 0);
    assert_int_equal(pair_notify(&pair, 1, 0, 1, 0), 0);
    assert_int_equal(ibv_get_cq_event(pair.b.channel, &cq, &context), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(ibv_req_notify_cq(pair.b.recv_cq, 0), 0);
    assert_int_equal(ibv_get_cq_event(pair.b.channel, &cq, &context), -1);
    assert_int_equal(pair_notify(&pair, 1, 0, 2, 0), 0);
    assert_int_equal(pair_notify(&pair, 1, 0, 3, 0), 0);
    assert_int_equal(ibv_get_cq_event(pair.b.channel, &cq, &context), 0);
    assert_ptr_equal(cq, pair.b.recv_cq);
    assert_ptr_equal(context, &pair.b);
    assert_int_equal(ibv_get_cq_event(pair.b.channel, &cq, &context), -1);
    ibv_ack_cq_events(cq, 1);
    for (int i = 0; i < 3; i++) assert_int_equal(ibv_poll_cq(pair.b.recv_cq, 1, &wc), 1);
    pair_close(&pair);
}

/* Two queue pairs to one peer: each keeps its own order, and across them it varies with the seed. */
static uint32_t order_with_seed(uint64_t seed)
{
    static struct pair second;
    struct ibv_wc wc;
    uint32_t order = 0, last[2] = {0, 0};
    open_with((struct pair_options){0});
    pair_open(&second, &(struct pair_options){.to = "fd00:0::2"});
    assert_int_equal(pair_receive(&pair.b, 6), 0);
    assert_int_equal(pair_receive(&second.b, 6), 0);
    mockverbs_delay(seed, 1);
    for (uint32_t i = 1; i <= 6; i++) {
        assert_int_equal(pair_notify(&pair, 1, 0, i, 0), 0);
        assert_int_equal(pair_notify(&second, 1, 0, i, 0), 0);
    }
    for (uint32_t got = 0; got < 12;) {
        for (uint32_t which = 0; which < 2; which++) {
            struct pair *from = which ? &second : &pair;
            if (ibv_poll_cq(from->b.recv_cq, 1, &wc) != 1) continue;
            assert_int_equal(ntohl(wc.imm_data), ++last[which]);
            order = order << 1 | which;
            got++;
        }
    }
    mockverbs_delay(1, 0);
    pair_close(&second);
    pair_close(&pair);
    return order;
}

static void delay_reorders_across_queue_pairs_by_seed_alone(void **state)
{
    (void)state;
    uint32_t first = order_with_seed(11), orders = 0;
    assert_int_equal(order_with_seed(11), first);
    for (uint64_t seed = 12; seed < 20; seed++) orders += order_with_seed(seed) != first;
    assert_true(orders > 0);
}

#define THREAD_MESSAGES 1000u

static void *consume(void *unused)
{
    (void)unused;
    struct ibv_wc wc;
    uint32_t expected = 1;
    while (expected <= THREAD_MESSAGES) {
        if (ibv_poll_cq(pair.b.recv_cq, 1, &wc) != 1) {
            sched_yield();
            continue;
        }
        if (ntohl(wc.imm_data) != expected++ || pair_receive(&pair.b, 1)) return &pair;
    }
    return NULL;
}

static void threads_may_post_and_poll(void **state)
{
    (void)state;
    pthread_t thread;
    struct ibv_wc wc;
    void *wrong;
    open_with((struct pair_options){.rnr_retry = 7});
    assert_int_equal(pair_receive(&pair.b, PAIR_DEPTH), 0);
    assert_int_equal(pthread_create(&thread, NULL, consume, NULL), 0);
    for (uint32_t i = 1; i <= THREAD_MESSAGES; i++) {
        while (pair_notify(&pair, 8, 0, i, IBV_SEND_SIGNALED) == ENOMEM)
            if (ibv_poll_cq(pair.a.send_cq, 1, &wc) == 0) sched_yield();
    }
    while (mockverbs_settle(), ibv_poll_cq(pair.a.send_cq, 1, &wc) >= 0) {
        struct mockverbs_qp qp;
        assert_true(mockverbs_qp_find(pair.a.qp->qp_num, &qp));
        if (qp.send_outstanding == 0) break;
    }
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(devices_are_seen_by_host_with_ports_and_gids, setup, pair_nothing_left),
        cmocka_unit_test_setup_teardown(a_write_lands_and_completes_only_where_signalled, setup, pair_nothing_left),
        cmocka_unit_test_setup_teardown(an_immediate_takes_a_receive_and_carries_its_data, setup, pair_nothing_left),
        cmocka_unit_test_setup_teardown(a_send_is_scattered_and_must_fit, setup, pair_nothing_left),
        cmocka_unit_test_setup_teardown(inline_bytes_are_taken_when_posted_and_others_when_delivered, setup,
                                        pair_nothing_left),
        cmocka_unit_test_setup_teardown(a_send_slot_is_free_once_a_later_completion_was_polled, setup,
                                        pair_nothing_left),
        cmocka_unit_test_setup_teardown(a_list_is_posted_up_to_the_request_that_fails, setup, pair_nothing_left),
        cmocka_unit_test_setup_teardown(an_armed_queue_makes_its_channel_readable_once, setup, pair_nothing_left),
        cmocka_unit_test_setup_teardown(delay_reorders_across_queue_pairs_by_seed_alone, setup, pair_nothing_left),
        cmocka_unit_test_setup_teardown(threads_may_post_and_poll, setup, pair_nothing_left),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mockverbs_reset();
    return failed;
}
