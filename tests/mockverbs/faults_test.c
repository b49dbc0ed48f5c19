/* SPDX-License-Identifier: Apache-2.0 */
/* Each fault that can be asked for, and each error that a device makes by itself. */
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
    mockverbs_hosts_add(2, 1);
    return 0;
}

static struct ibv_wc poll_one(struct ibv_cq *cq)
{
    struct ibv_wc wc;
    assert_int_equal(ibv_poll_cq(cq, 1, &wc), 1);
    return wc;
}

static void expect_nothing(struct ibv_cq *cq)
{
    struct ibv_wc wc;
    assert_int_equal(ibv_poll_cq(cq, 1, &wc), 0);
}

static enum ibv_qp_state state_of(const struct ibv_qp *qp)
{
    struct mockverbs_qp found;
    assert_true(mockverbs_qp_find(qp->qp_num, &found));
    return found.state;
}

static void a_failed_request_flushes_what_follows_it(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){0});
    assert_int_equal(pair_receive(&pair.a, 2), 0);
    mockverbs_fail_completion(&(struct mockverbs_fault){
        .qp_num = pair.a.qp->qp_num, .after = 1, .status = IBV_WC_FATAL_ERR, .vendor_error = 0x1234});
    mockverbs_delay(1, 1);
    pair.a.buffer[0] = 1;
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(pair_write(&pair, 1, i, 0), 0);
    mockverbs_settle();
    struct ibv_wc wc = poll_one(pair.a.send_cq);
    assert_int_equal(wc.status, IBV_WC_FATAL_ERR);
    assert_int_equal(wc.vendor_err, 0x1234);
    assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_WR_FLUSH_ERR);
    assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_WR_FLUSH_ERR);
    expect_nothing(pair.a.send_cq);
    for (int i = 0; i < 2; i++) assert_int_equal(poll_one(pair.a.recv_cq).status, IBV_WC_WR_FLUSH_ERR);
    assert_int_equal(pair.b.buffer[0], 1);
    assert_int_equal(pair.b.buffer[1], 0);
    assert_int_equal(state_of(pair.a.qp), IBV_QPS_ERR);
    assert_int_equal(state_of(pair.b.qp), IBV_QPS_RTS);
    assert_int_equal(pair_write(&pair, 1, 0, 0), 0); /* accepted, and flushed */
    assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_WR_FLUSH_ERR);
    pair_close(&pair);
}

static void a_lost_acknowledgement_leaves_the_bytes_there(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){0});
    assert_int_equal(pair_receive(&pair.b, 1), 0);
    mockverbs_fail_completion(&(struct mockverbs_fault){.status = IBV_WC_RETRY_EXC_ERR, .delivered = true});
    pair.a.buffer[0] = 3;
    assert_int_equal(pair_notify(&pair, 1, 9, 5, 0), 0);
    assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_RETRY_EXC_ERR);
    assert_int_equal(poll_one(pair.b.recv_cq).status, IBV_WC_SUCCESS);
    assert_int_equal(pair.b.buffer[9], 3);
    pair_close(&pair);
}

static void a_failed_receive_is_told_to_both_ends(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){0});
    assert_int_equal(pair_receive(&pair.b, 2), 0);
    mockverbs_fail_completion(
        &(struct mockverbs_fault){.queue = MOCKVERBS_RECEIVE, .status = IBV_WC_LOC_PROT_ERR, .vendor_error = 5});
    assert_int_equal(pair_notify(&pair, 1, 0, 5, 0), 0);
    struct ibv_wc wc = poll_one(pair.b.recv_cq);
    assert_int_equal(wc.status, IBV_WC_LOC_PROT_ERR);
    assert_int_equal(wc.vendor_err, 5);
    assert_int_equal(poll_one(pair.b.recv_cq).status, IBV_WC_WR_FLUSH_ERR);
    assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_REM_OP_ERR);
    pair_close(&pair);
}

static void expect_remote_access_error(void)
{
    assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_REM_ACCESS_ERR);
    assert_int_equal(state_of(pair.a.qp), IBV_QPS_ERR);
    assert_int_equal(state_of(pair.b.qp), IBV_QPS_ERR);
    assert_int_equal(pair_async(pair.b.id->verbs), IBV_EVENT_QP_ACCESS_ERR);
    assert_int_equal(pair_async(pair.b.id->verbs), -1);
    for (uint32_t i = 0; i < PAIR_BYTES; i++) assert_int_equal(pair.b.buffer[i], 0);
    pair_close(&pair);
}

static void a_write_past_the_region_is_refused(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){0});
    memset(pair.a.buffer, 1, 8);
    assert_int_equal(pair_write(&pair, 8, PAIR_BYTES - 7, 0), 0);
    expect_remote_access_error();
}

static void a_region_without_remote_write_refuses(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){.b_access = IBV_ACCESS_LOCAL_WRITE});
    pair.a.buffer[0] = 1;
    assert_int_equal(pair_write(&pair, 1, 0, 0), 0);
    expect_remote_access_error();
}

static void a_key_of_a_region_that_is_gone_refuses(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){0});
    const uint32_t old = pair.b.mr->rkey;
    assert_int_equal(ibv_dereg_mr(pair.b.mr), 0);
    pair.b.mr = ibv_reg_mr(pair.b.pd, pair.b.buffer, PAIR_BYTES, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    assert_int_not_equal(pair.b.mr->rkey, old);
    const uint32_t fresh = pair.b.mr->rkey;
    pair.b.mr->rkey = old;
    pair.a.buffer[0] = 1;
    assert_int_equal(pair_write(&pair, 1, 0, 0), 0);
    pair.b.mr->rkey = fresh;
    expect_remote_access_error();
}

static void a_source_outside_its_region_is_a_local_error(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){0});
    assert_int_equal(pair_write(&pair, PAIR_BYTES + 1, 0, 0), 0);
    assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_LOC_PROT_ERR);
    assert_int_equal(state_of(pair.b.qp), IBV_QPS_RTS);
    pair_close(&pair);
}

static void receiver_not_ready_is_counted_and_waits(void **state)
{
    (void)state;
    struct mockverbs_qp qp;
    pair_open(&pair, &(struct pair_options){.rnr_retry = 7});
    assert_int_equal(pair_notify(&pair, 1, 0, 1, IBV_SEND_SIGNALED), 0);
    for (int i = 0; i < 1000; i++) expect_nothing(pair.a.send_cq);
    assert_true(mockverbs_qp_find(pair.b.qp->qp_num, &qp));
    assert_int_equal(qp.receiver_not_ready, 1);
    assert_int_equal(pair_receive(&pair.b, 1), 0);
    assert_int_equal(poll_one(pair.b.recv_cq).status, IBV_WC_SUCCESS);
    assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_SUCCESS);
    pair_close(&pair);
}

static void receiver_not_ready_ends_after_its_retries(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){.rnr_retry = 6});
    assert_int_equal(pair_receive(&pair.b, 1), 0);
    mockverbs_receiver_not_ready(pair.b.qp->qp_num, true);
    mockverbs_patience(3);
    assert_int_equal(pair_notify(&pair, 1, 0, 1, 0), 0);
    expect_nothing(pair.a.send_cq);
    expect_nothing(pair.a.send_cq);
    assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_RNR_RETRY_EXC_ERR);
    pair_close(&pair);
}

static void what_is_dropped_ends_in_retry_exceeded(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){0});
    mockverbs_drop(pair.a.qp->qp_num, 1);
    mockverbs_patience(2);
    assert_int_equal(pair_write(&pair, 1, 0, IBV_SEND_SIGNALED), 0);
    assert_int_equal(pair_write(&pair, 1, 1, IBV_SEND_SIGNALED), 0);
    assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_SUCCESS);
    assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_RETRY_EXC_ERR);
    pair_close(&pair);
}

static void a_port_that_comes_back_in_time_loses_nothing(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){0});
    mockverbs_patience(UINT32_MAX);
    mockverbs_port_set("mock1_0", 1, false);
    assert_int_equal(pair_async(pair.b.id->verbs), IBV_EVENT_PORT_ERR);
    assert_int_equal(pair_async(pair.a.id->verbs), -1);
    pair.a.buffer[0] = 4;
    assert_int_equal(pair_write(&pair, 1, 0, IBV_SEND_SIGNALED), 0);
    expect_nothing(pair.a.send_cq);
    assert_int_equal(ibv_req_notify_cq(pair.a.send_cq, 0), 0);
    expect_nothing(pair.a.send_cq);
    mockverbs_port_set("mock1_0", 1, true);
    assert_int_equal(pair_async(pair.b.id->verbs), IBV_EVENT_PORT_ACTIVE);
    assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_SUCCESS);
    assert_int_equal(pair.b.buffer[0], 4);
    pair_close(&pair);
}

static void arming_lets_the_timers_of_a_down_port_run_out(void **state)
{
    (void)state;
    struct ibv_cq *cq;
    void *context;
    pair_open(&pair, &(struct pair_options){0});
    mockverbs_port_set("mock0_0", 1, false);
    assert_int_equal(pair_write(&pair, 1, 0, 0), 0);
    assert_int_equal(ibv_req_notify_cq(pair.a.send_cq, 0), 0);
    assert_int_equal(ibv_get_cq_event(pair.a.channel, &cq, &context), 0);
    ibv_ack_cq_events(cq, 1);
    assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_RETRY_EXC_ERR);
    pair_close(&pair);
}

static void a_full_completion_queue_is_lost_with_its_queue_pairs(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){.cq_capacity = 4});
    for (uint32_t i = 0; i < 5; i++) assert_int_equal(pair_write(&pair, 1, 0, IBV_SEND_SIGNALED), 0);
    assert_int_equal(pair_async(pair.a.id->verbs), IBV_EVENT_CQ_ERR);
    assert_int_equal(pair_async(pair.a.id->verbs), IBV_EVENT_QP_FATAL);
    assert_int_equal(state_of(pair.a.qp), IBV_QPS_ERR);
    for (int i = 0; i < 4; i++) assert_int_equal(poll_one(pair.a.send_cq).status, IBV_WC_SUCCESS);
    expect_nothing(pair.a.send_cq);
    pair_close(&pair);
}

static void an_overrun_can_be_asked_for(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){0});
    mockverbs_cq_overrun_of(pair.b.qp->qp_num, MOCKVERBS_RECEIVE);
    assert_int_equal(pair_async(pair.b.id->verbs), IBV_EVENT_CQ_ERR);
    assert_int_equal(pair_async(pair.b.id->verbs), IBV_EVENT_QP_FATAL);
    assert_int_equal(pair_async(pair.b.id->verbs), -1);
    pair_close(&pair);
}

static void a_removed_device_flushes_and_refuses(void **state)
{
    (void)state;
    int count;
    struct ibv_port_attr port;
    pair_open(&pair, &(struct pair_options){0});
    assert_int_equal(pair_receive(&pair.a, 1), 0);
    mockverbs_device_remove("mock0_0");
    assert_int_equal(pair_async(pair.a.id->verbs), IBV_EVENT_DEVICE_FATAL);
    pair_expect(pair.a.cm, RDMA_CM_EVENT_DEVICE_REMOVAL);
    assert_int_equal(poll_one(pair.a.recv_cq).status, IBV_WC_WR_FLUSH_ERR);
    assert_int_equal(pair_write(&pair, 1, 0, 0), EIO);
    assert_null(ibv_reg_mr(pair.a.pd, pair.a.buffer, 1, IBV_ACCESS_LOCAL_WRITE));
    assert_int_equal(errno, EIO);
    assert_int_equal(ibv_query_port(pair.a.id->verbs, 1, &port), EIO);
    mockverbs_see(0);
    ibv_free_device_list(ibv_get_device_list(&count));
    assert_int_equal(count, 0);
    pair_close(&pair);
}

static void any_event_can_be_raised(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){0});
    mockverbs_event_device("mock0_0", 1, IBV_EVENT_GID_CHANGE);
    mockverbs_event_qp(pair.a.qp->qp_num, IBV_EVENT_PATH_MIG);
    mockverbs_event_qp(pair.a.qp->qp_num, IBV_EVENT_QP_FATAL);
    assert_int_equal(pair_async(pair.a.id->verbs), IBV_EVENT_GID_CHANGE);
    assert_int_equal(pair_async(pair.a.id->verbs), IBV_EVENT_PATH_MIG);
    assert_int_equal(state_of(pair.a.qp), IBV_QPS_ERR);
    assert_int_equal(pair_async(pair.a.id->verbs), IBV_EVENT_QP_FATAL);
    pair_close(&pair);
}

static void registration_fails_as_asked_and_at_the_limit(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){0});
    mockverbs_fail_call(MOCKVERBS_REG_MR, 1, EPERM);
    struct ibv_mr *mr = ibv_reg_mr(pair.a.pd, pair.a.buffer, 1, IBV_ACCESS_LOCAL_WRITE);
    assert_non_null(mr);
    assert_null(ibv_reg_mr(pair.a.pd, pair.a.buffer, 1, IBV_ACCESS_LOCAL_WRITE));
    assert_int_equal(errno, EPERM);
    mockverbs_locked_limit(3 * PAIR_BYTES); /* two whole buffers and a byte are registered */
    assert_null(ibv_reg_mr(pair.a.pd, pair.a.buffer, PAIR_BYTES, IBV_ACCESS_LOCAL_WRITE));
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(ibv_dereg_mr(mr), 0);
    mr = ibv_reg_mr(pair.a.pd, pair.a.buffer, PAIR_BYTES, IBV_ACCESS_LOCAL_WRITE);
    assert_non_null(mr);
    assert_int_equal(ibv_dereg_mr(mr), 0);
    assert_null(ibv_reg_mr(pair.a.pd, (void *)4096, 1, IBV_ACCESS_LOCAL_WRITE));
    assert_int_equal(errno, EFAULT);
    assert_null(ibv_reg_mr(pair.a.pd, pair.a.buffer, 1, IBV_ACCESS_REMOTE_WRITE));
    assert_int_equal(errno, EINVAL);
    pair_close(&pair);
}

static void states_need_their_attributes(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){0});
    struct ibv_qp_init_attr init = {
        .send_cq = pair.a.send_cq, .recv_cq = pair.a.recv_cq, .qp_type = IBV_QPT_RC, .cap = {1, 1, 1, 1, 0}};
    struct ibv_qp *qp = ibv_create_qp(pair.a.pd, &init);
    assert_non_null(qp);
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = 1};
    assert_int_equal(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PORT), EINVAL);
    assert_int_equal(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PORT | IBV_QP_PKEY_INDEX | IBV_QP_ACCESS_FLAGS), 0);
    attr.qp_state = IBV_QPS_RTS;
    assert_int_equal(ibv_modify_qp(qp, &attr, IBV_QP_STATE), EINVAL);
    struct ibv_send_wr *bad, wr = {.opcode = IBV_WR_RDMA_WRITE};
    assert_int_equal(ibv_post_send(qp, &wr, &bad), EINVAL);
    assert_ptr_equal(bad, &wr);
    attr.qp_state = IBV_QPS_ERR;
    assert_int_equal(ibv_modify_qp(qp, &attr, IBV_QP_STATE), 0);
    attr.qp_state = IBV_QPS_RESET;
    assert_int_equal(ibv_modify_qp(qp, &attr, IBV_QP_STATE), 0);
    assert_int_equal(ibv_destroy_qp(qp), 0);
    pair_close(&pair);
}

static void what_is_in_use_is_not_destroyed(void **state)
{
    (void)state;
    pair_open(&pair, &(struct pair_options){0});
    assert_int_equal(ibv_destroy_cq(pair.a.send_cq), EBUSY);
    assert_int_equal(ibv_dealloc_pd(pair.a.pd), EBUSY);
    assert_int_equal(ibv_destroy_comp_channel(pair.a.channel), EBUSY);
    pair_close(&pair);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, pair_nothing_left)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_failed_request_flushes_what_follows_it),
        TEST(a_lost_acknowledgement_leaves_the_bytes_there),
        TEST(a_failed_receive_is_told_to_both_ends),
        TEST(a_write_past_the_region_is_refused),
        TEST(a_region_without_remote_write_refuses),
        TEST(a_key_of_a_region_that_is_gone_refuses),
        TEST(a_source_outside_its_region_is_a_local_error),
        TEST(receiver_not_ready_is_counted_and_waits),
        TEST(receiver_not_ready_ends_after_its_retries),
        TEST(what_is_dropped_ends_in_retry_exceeded),
        TEST(a_port_that_comes_back_in_time_loses_nothing),
        TEST(arming_lets_the_timers_of_a_down_port_run_out),
        TEST(a_full_completion_queue_is_lost_with_its_queue_pairs),
        TEST(an_overrun_can_be_asked_for),
        TEST(a_removed_device_flushes_and_refuses),
        TEST(any_event_can_be_raised),
        TEST(registration_fails_as_asked_and_at_the_limit),
        TEST(states_need_their_attributes),
        TEST(what_is_in_use_is_not_destroyed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mockverbs_reset();
    return failed;
}
