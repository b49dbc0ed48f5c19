/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes wrong with RDMA devices has a name: every completion status and every asynchronous event, provoked on one
 * of two rails and on the only one, and what memory registration can come to. And what a put must not cost.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/mockverbs/mockverbs.h"
#include "tests/transport/seed.h"
#include "tests/transport/verbs_hosts.h"

#define STEP_NS (100 * NS_PER_US)
#define REGION_BYTES 65536u

/* ---- Two ranks in one thread, with what they say ---- */

static struct {
    struct verbs_hosts hosts;
    struct endpoint *endpoints[2];
    struct connection *connections[2];
    uint64_t now_ns;
    uint32_t arrived, next_tag; /* at rank 1 */
    bool disorder;
    int path_down[2];      /* of rank: the path; -1: none */
    weft_status failed[2]; /* of rank; WEFT_OK: it has not */
    int stderr_fd;
    FILE *said;
    char text[8192];
} world;

static void log_catch(void)
{
    fflush(stderr);
    world.stderr_fd = dup(2);
    world.said = tmpfile();
    assert_non_null(world.said);
    assert_int_equal(dup2(fileno(world.said), 2), 2);
}

/* What was logged since log_catch(). */
static const char *log_release(void)
{
    if (!world.said) return world.text;
    fflush(stderr);
    dup2(world.stderr_fd, 2);
    close(world.stderr_fd);
    const ssize_t bytes = pread(fileno(world.said), world.text, sizeof world.text - 1, 0);
    world.text[bytes > 0 ? bytes : 0] = 0;
    fclose(world.said);
    world.said = NULL;
    return world.text;
}

static void poll_both(void)
{
    struct event events[64];
    world.now_ns += STEP_NS;
    for (uint32_t rank = 0; rank < 2; rank++) {
        const size_t count = endpoint_poll(world.endpoints[rank], events, 64, world.now_ns);
        for (size_t i = 0; i < count; i++) {
            if (events[i].kind == EVENT_ARRIVED && rank == 1) {
                world.disorder |= events[i].tag != world.arrived;
                world.arrived++;
            }
            if (events[i].kind == EVENT_PATH_DOWN) world.path_down[rank] = events[i].path;
            if (events[i].kind == EVENT_FAILED) world.failed[rank] = (weft_status)events[i].status;
        }
    }
}

static void world_open(uint32_t rails)
{
    struct diagnostic diagnostic;
    const struct verbs_config config = {.linger_ns = NS_PER_MS, .reconnect_ns = 3600 * NS_PER_S};
    verbs_hosts_open(&world.hosts, 2, rails);
    for (uint32_t rank = 0; rank < 2; rank++) {
        assert_int_equal(verbs_hosts_endpoint(&world.hosts, rank, &config, &world.endpoints[rank], &diagnostic),
                         WEFT_OK);
        world.path_down[rank] = -1;
        world.failed[rank] = WEFT_OK;
    }
    assert_int_equal(pairs_connect_two(world.endpoints[0], world.endpoints[1], REGION_BYTES, &world.connections[0],
                                       &world.connections[1]),
                     WEFT_OK);
    world.now_ns = clock_now_ns();
    world.arrived = world.next_tag = 0;
    world.disorder = false;
}

static void world_close(void)
{
    for (uint32_t rank = 0; rank < 2; rank++) connection_disconnect(world.connections[rank]);
    for (uint32_t rank = 0; rank < 2; rank++) endpoint_destroy(world.endpoints[rank]);
    verbs_hosts_close(&world.hosts);
}

static size_t put_some(uint32_t count)
{
    static const char bytes[16];
    size_t accepted = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct put put = {.source = bytes, .bytes = sizeof bytes, .tag = world.next_tag, .flags = PUT_NOTIFY};
        if (connection_put(world.connections[0], &put, 1) != 1) break;
        world.next_tag++;
        accepted++;
    }
    return accepted;
}

/* Rank 0's queue pair of the first path. */
static struct mockverbs_qp first_qp(void)
{
    struct mockverbs_qp list[8];
    const size_t count = mockverbs_qp_list(list, 8);
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].device, "mock0_0") == 0) return list[i];
    fail_msg("rank 0 has no queue pair on mock0_0");
    return list[0];
}

static void settle(void)
{
    for (int i = 0; i < 5000 && world.path_down[0] < 0 && world.failed[0] == WEFT_OK; i++) poll_both();
    for (int i = 0; i < 100; i++) poll_both();
}

static void expect_said(const char *text, const char *word)
{
    if (!strstr(text, word)) fail_msg("not said: %s\nbut: %s", word, text);
}

/*
 * Run @p provoke on the queue pair of rail 0, of one rail and of two. The rail's loss has to be told with device, port,
 * peer and @p words; what was put arrives once and in order over the other rail, or the connection fails.
 */
static void each_way(void (*provoke)(const struct mockverbs_qp *qp, const void *argument), const void *argument,
                     const char *const *words)
{
    for (uint32_t rails = 1; rails <= 2; rails++) {
        world_open(rails);
        assert_int_equal(put_some(5), 5);
        for (int i = 0; i < 20; i++) poll_both();
        const struct mockverbs_qp qp = first_qp();
        log_catch();
        provoke(&qp, argument);
        (void)put_some(5);
        settle();
        const char *text = log_release();
        char numbered[32];
        snprintf(numbered, sizeof numbered, "qp %u", qp.qp_num);
        expect_said(text, "verbs rail lost rank 0 peer 1 device mock0_0 port 1 peer device mock1_0 reason");
        for (size_t i = 0; words[i]; i++) expect_said(text, strcmp(words[i], "QP") == 0 ? numbered : words[i]);
        if (rails == 1) {
            expect_said(text, "verbs no rail left rank 0 peer 1");
            assert_int_equal(world.failed[0], WEFT_LINK_DOWN);
            assert_int_equal(world.failed[1], WEFT_LINK_DOWN);
            assert_int_equal(put_some(1), 0);
        } else {
            assert_int_equal(world.path_down[0], 0);
            assert_int_equal(world.path_down[1], 0);
            assert_int_equal(world.failed[0], WEFT_OK);
            assert_int_equal(put_some(5), 5);
            for (int i = 0; i < 100; i++) poll_both();
            assert_int_equal(world.arrived, world.next_tag);
            assert_false(world.disorder);
        }
        world_close();
    }
}

/* ---- Completion statuses ---- */

static void complete_with(const struct mockverbs_qp *qp, const void *argument)
{
    struct mockverbs_fault fault = *(const struct mockverbs_fault *)argument;
    fault.qp_num = qp->qp_num;
    mockverbs_fail_completion(&fault);
}

static const struct {
    enum ibv_wc_status status;
    const char *name;
} statuses[] = {
    {IBV_WC_LOC_LEN_ERR, "local length error"},
    {IBV_WC_LOC_QP_OP_ERR, "local queue pair operation error"},
    {IBV_WC_LOC_EEC_OP_ERR, "local EE context operation error"},
    {IBV_WC_LOC_PROT_ERR, "local protection error"},
    {IBV_WC_WR_FLUSH_ERR, "request flushed"},
    {IBV_WC_MW_BIND_ERR, "memory window bind error"},
    {IBV_WC_BAD_RESP_ERR, "bad response"},
    {IBV_WC_LOC_ACCESS_ERR, "local access error"},
    {IBV_WC_REM_INV_REQ_ERR, "remote invalid request"},
    {IBV_WC_REM_ACCESS_ERR, "remote access error"},
    {IBV_WC_REM_OP_ERR, "remote operation error"},
    {IBV_WC_RETRY_EXC_ERR, "retry exceeded"},
    {IBV_WC_RNR_RETRY_EXC_ERR, "receiver not ready"},
    {IBV_WC_LOC_RDD_VIOL_ERR, "local RDD violation"},
    {IBV_WC_REM_INV_RD_REQ_ERR, "remote invalid RD request"},
    {IBV_WC_REM_ABORT_ERR, "remote aborted"},
    {IBV_WC_INV_EECN_ERR, "invalid EE context number"},
    {IBV_WC_INV_EEC_STATE_ERR, "invalid EE context state"},
    {IBV_WC_FATAL_ERR, "fatal device error"},
    {IBV_WC_RESP_TIMEOUT_ERR, "response timeout"},
    {IBV_WC_GENERAL_ERR, "general error"},
    {(enum ibv_wc_status)200, "unknown completion status"},
};

static void each_completion_status_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        for (int delivered = 0; delivered <= 1; delivered++) { /* the bytes may have arrived all the same */
            const struct mockverbs_fault fault = {
                .status = statuses[i].status, .vendor_error = 0xbad1, .after = 2, .delivered = delivered};
            char number[32];
            snprintf(number, sizeof number, "status %d, vendor code 0xbad1", (int)statuses[i].status);
            each_way(complete_with, &fault, (const char *[]){statuses[i].name, number, "QP", NULL});
        }
    }
}

static void a_failed_receive_is_named_at_both_ends(void **state)
{
    (void)state;
    world_open(1);
    mockverbs_fail_completion(
        &(struct mockverbs_fault){.queue = MOCKVERBS_RECEIVE, .status = IBV_WC_LOC_PROT_ERR, .vendor_error = 0x51});
    log_catch();
    (void)put_some(3);
    settle();
    const char *text = log_release();
    expect_said(text,
                "rail lost rank 1 peer 0 device mock1_0 port 1 peer device mock0_0 reason \"local protection error");
    expect_said(text, "vendor code 0x51");
    expect_said(text, "rail lost rank 0 peer 1");
    expect_said(text, "remote operation error");
    world_close();
}

static void packets_that_get_no_answer_are_retry_exceeded(void **state)
{
    (void)state;
    world_open(2);
    mockverbs_drop(first_qp().qp_num, 3);
    log_catch();
    assert_int_equal(put_some(10), 10);
    settle();
    expect_said(log_release(), "retry exceeded: the peer's port does not answer");
    for (int i = 0; i < 100; i++) poll_both();
    assert_int_equal(world.arrived, 10);
    assert_false(world.disorder);
    world_close();
}

/* ---- Asynchronous events ---- */

static void raise_qp(const struct mockverbs_qp *qp, const void *argument)
{
    mockverbs_event_qp(qp->qp_num, *(const enum ibv_event_type *)argument);
}

static void overrun(const struct mockverbs_qp *qp, const void *argument)
{
    (void)argument;
    mockverbs_cq_overrun_of(qp->qp_num, MOCKVERBS_SEND);
}

static void port_down(const struct mockverbs_qp *qp, const void *argument)
{
    (void)argument;
    mockverbs_port_set(qp->device, qp->port, false);
}

static void device_gone(const struct mockverbs_qp *qp, const void *argument)
{
    (void)argument;
    mockverbs_device_remove(qp->device);
}

static void each_fatal_event_is_named(void **state)
{
    (void)state;
    static const struct {
        enum ibv_event_type type;
        const char *name;
    } events[] = {
        {IBV_EVENT_QP_FATAL, "queue pair failed"},
        {IBV_EVENT_QP_REQ_ERR, "invalid request at the queue pair"},
        {IBV_EVENT_QP_ACCESS_ERR, "access violation by the peer"},
    };
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        char number[32];
        snprintf(number, sizeof number, "event %d", (int)events[i].type);
        each_way(raise_qp, &events[i].type, (const char *[]){events[i].name, number, "QP", NULL});
    }
    each_way(overrun, NULL, (const char *[]){"completion queue overrun", "QP", NULL});
    each_way(port_down, NULL, (const char *[]){"event device mock0_0 port 1 event \"port is down\"", NULL});
    each_way(device_gone, NULL, (const char *[]){"reason \"device failed or was removed\"", NULL});
}

static void harmless_events_are_told_and_survived(void **state)
{
    (void)state;
    static const enum ibv_event_type of_qp[] = {IBV_EVENT_COMM_EST, IBV_EVENT_SQ_DRAINED, IBV_EVENT_PATH_MIG,
                                                IBV_EVENT_PATH_MIG_ERR, IBV_EVENT_QP_LAST_WQE_REACHED};
    static const enum ibv_event_type of_port[] = {IBV_EVENT_PORT_ACTIVE, IBV_EVENT_LID_CHANGE,
                                                  IBV_EVENT_PKEY_CHANGE, IBV_EVENT_SM_CHANGE,
                                                  IBV_EVENT_GID_CHANGE,  IBV_EVENT_CLIENT_REREGISTER};
    world_open(1);
    for (size_t i = 0; i < sizeof of_qp / sizeof *of_qp; i++) mockverbs_event_qp(first_qp().qp_num, of_qp[i]);
    for (size_t i = 0; i < sizeof of_port / sizeof *of_port; i++) mockverbs_event_device("mock0_0", 1, of_port[i]);
    for (int i = 0; i < 50; i++) poll_both();
    assert_int_equal(put_some(10), 10);
    for (int i = 0; i < 50; i++) poll_both();
    assert_int_equal(world.arrived, 10);
    assert_int_equal(world.failed[0], WEFT_OK);
    assert_int_equal(world.path_down[0], -1);
    world_close();
}

/* ---- Registration ---- */

static weft_status endpoint_with(struct verbs_hosts *hosts, struct diagnostic *diagnostic)
{
    struct endpoint *endpoint = NULL;
    const struct verbs_config config = {.linger_ns = NS_PER_MS};
    const weft_status status = verbs_hosts_endpoint(hosts, 0, &config, &endpoint, diagnostic);
    endpoint_destroy(endpoint);
    return status;
}

static void a_locked_memory_limit_is_told_with_how_to_raise_it(void **state)
{
    (void)state;
    struct diagnostic diagnostic = {WEFT_OK, ""};
    struct rlimit before, low = {.rlim_cur = 65536};
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
    low.rlim_max = before.rlim_max;
    verbs_hosts_open(&world.hosts, 2, 1);
    mockverbs_locked_limit(low.rlim_cur);
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &low), 0);
    const weft_status status = endpoint_with(&world.hosts, &diagnostic);
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
    assert_int_equal(status, WEFT_RESOURCE_LIMIT);
    expect_said(diagnostic.text, "mock0_0: 4194304 bytes cannot be registered");
    expect_said(diagnostic.text, "may lock 64 KiB");
    expect_said(diagnostic.text, "ulimit -l unlimited");
    verbs_hosts_close(&world.hosts);
}

static void other_refusals_to_register_are_told_as_they_are(void **state)
{
    (void)state;
    static const struct {
        int error;
        weft_status status;
    } refusals[] = {{EPERM, WEFT_SYSTEM_ERROR}, {EIO, WEFT_SYSTEM_ERROR}, {EMFILE, WEFT_RESOURCE_LIMIT}};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct diagnostic diagnostic = {WEFT_OK, ""};
        verbs_hosts_open(&world.hosts, 2, 1);
        mockverbs_fail_call(MOCKVERBS_REG_MR, 0, refusals[i].error);
        assert_int_equal(endpoint_with(&world.hosts, &diagnostic), refusals[i].status);
        expect_said(diagnostic.text, "mock0_0");
        expect_said(diagnostic.text, strerror(refusals[i].error));
        verbs_hosts_close(&world.hosts);
    }
}

/* Whatever call fails while an endpoint is made: a status, a sentence with the device, and nothing left over. */
static void each_call_may_fail_and_leaves_nothing_behind(void **state)
{
    (void)state;
    static const enum mockverbs_call calls[] = {
        MOCKVERBS_OPEN_DEVICE, MOCKVERBS_QUERY_DEVICE,      MOCKVERBS_QUERY_PORT,   MOCKVERBS_ALLOC_PD,
        MOCKVERBS_REG_MR,      MOCKVERBS_CREATE_CHANNEL,    MOCKVERBS_CM_CREATE_ID, MOCKVERBS_CM_BIND,
        MOCKVERBS_CM_LISTEN,   MOCKVERBS_CM_CREATE_CHANNEL,
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct diagnostic diagnostic = {WEFT_OK, ""};
        verbs_hosts_open(&world.hosts, 2, 1);
        mockverbs_fail_call(calls[i], 0, EACCES);
        const weft_status status = endpoint_with(&world.hosts, &diagnostic);
        if (status < WEFT_INVALID_ARGUMENT || !diagnostic.text[0]) fail_msg("call %d: %d", (int)calls[i], status);
        verbs_hosts_close(&world.hosts);
    }
}

/* ---- What a put must not cost ---- */

static unsigned allocations;

/* The linker sends what the transport's objects call here (--wrap). */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_reallocarray(void *memory, size_t count, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_reallocarray(void *memory, size_t count, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    allocations++;
    return __real_malloc(bytes);
}
void *__wrap_calloc(size_t count, size_t bytes)
{
    allocations++;
    return __real_calloc(count, bytes);
}
void *__wrap_realloc(void *memory, size_t bytes)
{
    allocations++;
    return __real_realloc(memory, bytes);
}
void *__wrap_reallocarray(void *memory, size_t count, size_t bytes)
{
    allocations++;
    return __real_reallocarray(memory, count, bytes);
}

/* Small and inline, large and copied, striped or not, signalled or not; a poll of both ends for each. */
static bool traffic(uint32_t puts, uint64_t step_ns)
{
    static uint8_t source[32768];
    static const uint32_t sizes[] = {0, 8, 220, 4096, sizeof source};
    struct event events[16];
    bool all = true;
    for (uint32_t i = 0; i < puts; i++) {
        const struct put put = {.source = source,
                                .bytes = sizes[i % 5],
                                .tag = i,
                                .path_hint = (uint16_t)(i / 3),
                                .flags = (uint16_t)(PUT_NOTIFY | (i % 7 == 0 ? PUT_LOCAL_DONE : 0))};
        all &= connection_put(world.connections[0], &put, 1) == 1;
        world.now_ns += step_ns;
        for (uint32_t rank = 0; rank < 2; rank++) (void)endpoint_poll(world.endpoints[rank], events, 16, world.now_ns);
    }
    return all;
}

static void a_put_allocates_nothing(void **state)
{
    (void)state;
    for (uint32_t rails = 1; rails <= 2; rails++) {
        struct mockverbs_counters counters;
        world_open(rails);
        for (int i = 0; i < 20; i++) poll_both();
        const unsigned before = allocations;
        assert_true(before > 0); /* the count works */
        mockverbs_counters_clear();
        assert_true(traffic(20000, STEP_NS)); /* looks at descriptors are among it */
        assert_int_equal(allocations, before);
        mockverbs_counters(&counters);
        assert_true(counters.posted_sends >= 20000);
        assert_int_equal(counters.receiver_not_ready, 0);
        assert_int_equal(counters.calls[MOCKVERBS_REG_MR], 0);
        assert_int_equal(counters.wakeups, 0);
        world_close();
    }
}

/* In a child that is killed at its first system call: puts and polls, between two looks at descriptors. */
static void a_put_makes_no_system_call(void **state)
{
    (void)state;
#if THREAD_SANITIZER
    print_message("the thread sanitizer makes system calls of its own\n");
    skip();
#endif
    world_open(2);
    for (int i = 0; i < 20; i++) poll_both();
    assert_true(traffic(700, 0)); /* everything has been touched */
    world.now_ns += NS_PER_S;
    assert_true(traffic(1, 0)); /* descriptors have been looked at */
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        };
        struct sock_fprog program = {sizeof code / sizeof *code, code};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
            _exit(77);
        syscall(SYS_exit_group, traffic(700, 0) ? 0 : 1); /* _exit() is another call or two under a sanitizer */
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    world_close();
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) skip();
    if (WIFSIGNALED(status)) fail_msg("the child made a system call: signal %d", WTERMSIG(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int teardown(void **state)
{
    (void)state;
    const char *text = log_release();
    if (text[0] && mockverbs_leftovers()[0]) print_message("%s", text);
    return 0;
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_completion_status_is_named),
        TEST(a_failed_receive_is_named_at_both_ends),
        TEST(packets_that_get_no_answer_are_retry_exceeded),
        TEST(each_fatal_event_is_named),
        TEST(harmless_events_are_told_and_survived),
        TEST(a_locked_memory_limit_is_told_with_how_to_raise_it),
        TEST(other_refusals_to_register_are_told_as_they_are),
        TEST(each_call_may_fail_and_leaves_nothing_behind),
        TEST(a_put_allocates_nothing),
        TEST(a_put_makes_no_system_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
