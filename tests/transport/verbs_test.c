/* SPDX-License-Identifier: Apache-2.0 */
/* What the transport over RDMA promises beside the contract of all transports. */
#include <arpa/inet.h>
#include <errno.h>
#include <rdma/rdma_cma.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/mockverbs/mockverbs.h"
#include "tests/transport/verbs_hosts.h"
#include "transport/verbs/verbs_internal.h"

enum { REGION_BYTES = 1 << 20 };

struct two {
    struct verbs_hosts hosts;
    struct verbs_config config;
    struct endpoint *endpoints[2];
    struct connection *connections[2];
    uint32_t arrived[2], done[2], failed[2];
    uint64_t now_ns;
};

static struct two *two_open(const struct verbs_config *config, uint32_t rails)
{
    struct two *two = calloc(1, sizeof *two);

    assert_non_null(two);
    if (config) two->config = *config;
    verbs_hosts_open(&two->hosts, 2, rails);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(verbs_hosts_endpoint(&two->hosts, i, &two->config, &two->endpoints[i], NULL), WEFT_OK);
    assert_int_equal(pairs_connect_two(two->endpoints[0], two->endpoints[1], REGION_BYTES, &two->connections[0],
                                       &two->connections[1]),
                     WEFT_OK);
    mockverbs_counters_clear();
    return two;
}

static void two_poll(struct two *two, int rounds)
{
    struct event events[16];

    for (int round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < 2; i++) {
            const size_t count = endpoint_poll(two->endpoints[i], events, 16, two->now_ns += 10 * NS_PER_US);
            for (size_t k = 0; k < count; k++) {
                two->arrived[i] += events[k].kind == EVENT_ARRIVED;
                two->done[i] += events[k].kind == EVENT_LOCAL_DONE;
                if (events[k].kind == EVENT_FAILED) two->failed[i] = events[k].status;
            }
        }
    }
}

static void two_close(struct two *two)
{
    for (uint32_t i = 0; i < 2; i++) {
        connection_disconnect(two->connections[i]);
        endpoint_destroy(two->endpoints[i]);
    }
    verbs_hosts_close(&two->hosts);
    free(two);
}

static struct mockverbs_counters counters_now(void)
{
    struct mockverbs_counters counters;

    mockverbs_counters(&counters);
    return counters;
}

/* ---- Posting ---- */

static void a_list_of_puts_is_one_doorbell(void **state)
{
    struct two *two = two_open(NULL, 1);
    struct put puts[20];

    (void)state;
    for (uint32_t i = 0; i < 20; i++)
        puts[i] = (struct put){.source = "0123456", .remote_offset = 8 * i, .bytes = 8, .tag = i, .flags = PUT_NOTIFY};
    assert_int_equal(connection_put(two->connections[0], puts, 20), 20);
    const struct mockverbs_counters counters = counters_now();
    assert_int_equal(counters.posted_sends, 20);
    assert_int_equal(counters.calls[MOCKVERBS_POST_SEND], 1);
    assert_int_equal(counters.posted_inline, 20);
    assert_int_equal(counters.posted_signalled, 0);
    two_close(two);
}

static void what_may_wait_leaves_with_what_follows(void **state)
{
    struct two *two = two_open(NULL, 1);
    struct put put = {.source = "0123456", .bytes = 8, .flags = PUT_NOTIFY | PUT_MORE};

    (void)state;
    assert_int_equal(connection_put(two->connections[0], &put, 1), 1);
    assert_int_equal(connection_put(two->connections[0], &put, 1), 1);
    assert_int_equal(counters_now().calls[MOCKVERBS_POST_SEND], 0);
    put.flags = PUT_NOTIFY;
    assert_int_equal(connection_put(two->connections[0], &put, 1), 1);
    assert_int_equal(counters_now().calls[MOCKVERBS_POST_SEND], 1);
    assert_int_equal(counters_now().posted_sends, 3);
    put.flags = PUT_NOTIFY | PUT_MORE;
    assert_int_equal(connection_put(two->connections[0], &put, 1), 1);
    two_poll(two, 10); /* nothing follows: it leaves with the poll */
    assert_int_equal(two->arrived[1], 4);
    two_close(two);
}

static void completions_are_asked_for_each_half_queue(void **state)
{
    enum { COUNT = 4000, DEPTH = 64 };
    const struct verbs_config config = {.send_depth = DEPTH, .depth = DEPTH};
    struct two *two = two_open(&config, 1);
    const struct put put = {.source = "0123456", .bytes = 8, .flags = PUT_NOTIFY};

    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        while (connection_put(two->connections[0], &put, 1) == 0) two_poll(two, 1);
        two_poll(two, 1);
    }
    two_poll(two, 10);
    assert_int_equal(two->arrived[1], COUNT);
    const struct mockverbs_counters counters = counters_now();
    assert_in_range(counters.posted_signalled, COUNT / DEPTH, 3 * COUNT / DEPTH);
    /* Each put, and credits of a quarter of the depth each. */
    assert_in_range(counters.posted_sends, COUNT + 2 * COUNT / DEPTH, COUNT + 6 * COUNT / DEPTH);
    assert_int_equal(counters.receiver_not_ready, 0);
    two_close(two);
}

static void credits_hold_when_nobody_polls(void **state)
{
    enum { DEPTH = 16 };
    const struct verbs_config config = {.send_depth = DEPTH, .depth = DEPTH, .lanes_per_rail = 3};
    struct two *two = two_open(&config, 2);
    uint32_t accepted = 0;

    (void)state;
    for (uint32_t i = 0; i < 2000; i++) {
        const struct put put = {.tag = i, .path_hint = (uint16_t)i, .flags = PUT_NOTIFY};
        accepted += (uint32_t)connection_put(two->connections[0], &put, 1);
    }
    assert_in_range(accepted, 6 * DEPTH, 6 * 3 * DEPTH);
    assert_int_equal(counters_now().receiver_not_ready, 0);
    two_poll(two, 200);
    assert_int_equal(two->arrived[1], accepted);
    two_close(two);
}

/* ---- Sources ---- */

static void *registered;
static void *find_registered(void *context, const void *source, size_t bytes)
{
    (void)context;
    (void)source;
    (void)bytes;
    return registered;
}

static void a_registered_source_is_not_copied(void **state)
{
    static uint8_t source[100000];
    const struct verbs_config config = {.memory = {.find = find_registered}};
    struct two *two = two_open(&config, 1);
    const struct put put = {.source = source, .bytes = sizeof source, .flags = PUT_NOTIFY | PUT_LOCAL_DONE};

    (void)state;
    assert_int_equal(endpoint_memory_register(two->endpoints[0], source, sizeof source, &registered, NULL), WEFT_OK);
    mockverbs_delay(1, 1); /* a source that was not copied is read when it is sent */
    memset(source, 1, sizeof source);
    assert_int_equal(connection_put(two->connections[0], &put, 1), 1);
    memset(source, 2, sizeof source);
    two_poll(two, 50);
    assert_int_equal(two->connections[1]->granted[sizeof source - 1], 2);
    assert_int_equal(two->done[0], 1);
    endpoint_memory_deregister(two->endpoints[0], registered);
    registered = NULL;

    memset(source, 3, sizeof source);
    assert_int_equal(connection_put(two->connections[0], &put, 1), 1);
    memset(source, 4, sizeof source); /* copied: LOCAL_DONE is due at once */
    two_poll(two, 50);
    assert_int_equal(two->connections[1]->granted[sizeof source - 1], 3);
    assert_int_equal(two->done[0], 2);
    two_close(two);
}

static void what_was_received_is_passed_on_without_a_copy(void **state)
{
    struct two *two = two_open(NULL, 1);
    uint8_t *granted = two->connections[0]->granted;
    const struct put put = {.source = granted, .bytes = 5000, .flags = PUT_NOTIFY};

    (void)state;
    mockverbs_delay(1, 1);
    memset(granted, 1, 5000);
    assert_int_equal(connection_put(two->connections[0], &put, 1), 1);
    memset(granted, 2, 5000);
    two_poll(two, 50);
    assert_int_equal(two->connections[1]->granted[4999], 2);
    two_close(two);
}

static void a_put_larger_than_all_staging_arrives(void **state)
{
    static uint8_t source[900000];
    const struct verbs_config config = {.staging_bytes = 2 * VERBS_BLOCK_BYTES, .stripe_bytes = UINT32_MAX};
    struct two *two = two_open(&config, 1);
    const struct put put = {.source = source, .bytes = sizeof source, .flags = PUT_NOTIFY};

    (void)state;
    for (size_t i = 0; i < sizeof source; i++) source[i] = (uint8_t)(i * 7);
    assert_int_equal(connection_put(two->connections[0], &put, 1), 1);
    two_poll(two, 100);
    assert_int_equal(two->arrived[1], 1);
    assert_memory_equal(two->connections[1]->granted, source, sizeof source);
    two_close(two);
}

/* ---- What the environment lacks ---- */

static void locked_memory_that_does_not_suffice_is_named(void **state)
{
    struct verbs_hosts hosts = {.ipv6 = false};
    struct rlimit limit, low;
    struct diagnostic diagnostic;
    struct endpoint *endpoint = NULL;

    (void)state;
    verbs_hosts_open(&hosts, 2, 1);
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    low = limit;
    low.rlim_cur = 64 << 10;
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &low), 0);
    mockverbs_locked_limit(64 << 10);
    assert_int_equal(verbs_hosts_endpoint(&hosts, 0, &(struct verbs_config){.depth = 0}, &endpoint, &diagnostic),
                     WEFT_RESOURCE_LIMIT);
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    assert_non_null(strstr(diagnostic.text, "mock0_0"));
    assert_non_null(strstr(diagnostic.text, "64 KiB"));
    assert_non_null(strstr(diagnostic.text, "ulimit -l"));
    assert_non_null(strstr(diagnostic.text, "limits.conf"));
    assert_non_null(strstr(diagnostic.text, "LimitMEMLOCK"));
    assert_null(endpoint);
    verbs_hosts_close(&hosts);
}

/* Each call that can fail, fails once: the endpoint says so, and nothing is left over. */
static void every_call_may_fail_at_creation(void **state)
{
    (void)state;
    for (uint32_t call = 0; call < MOCKVERBS_CALL_COUNT; call++) {
        if (call == MOCKVERBS_DEREG_MR) continue; /* then something is left over, which nobody can do anything about */
        struct verbs_hosts hosts = {.ipv6 = false};
        struct diagnostic diagnostic = {WEFT_OK, ""};
        struct endpoint *endpoint = NULL;
        verbs_hosts_open(&hosts, 2, 2);
        mockverbs_fail_call(call, 0, ENOMEM);
        const weft_status status =
            verbs_hosts_endpoint(&hosts, 0, &(struct verbs_config){.depth = 0}, &endpoint, &diagnostic);
        if (status == WEFT_OK)
            endpoint_destroy(endpoint);
        else
            assert_true(diagnostic.text[0] && !endpoint);
        verbs_hosts_close(&hosts);
    }
}

/* The same while two ranks connect: either they do, over what is left, or both are told. */
static void every_call_may_fail_while_connecting(void **state)
{
    (void)state;
    for (uint32_t call = 0; call < MOCKVERBS_CALL_COUNT; call++) {
        if (call == MOCKVERBS_DEREG_MR) continue;
        for (uint32_t after = 0; after < 8; after++) {
            struct verbs_hosts hosts = {.ipv6 = false};
            struct endpoint *endpoints[2];
            struct connection *connections[2];
            weft_status statuses[2] = {WEFT_IN_PROGRESS, WEFT_IN_PROGRESS};
            verbs_hosts_open(&hosts, 2, 2);
            for (uint32_t i = 0; i < 2; i++) {
                assert_int_equal(
                    verbs_hosts_endpoint(&hosts, i, &(struct verbs_config){.lanes_per_rail = 2}, &endpoints[i], NULL),
                    WEFT_OK);
                assert_int_equal(endpoint_connect(endpoints[i], !i, 4096, &connections[i]), WEFT_OK);
            }
            mockverbs_fail_call(call, after, ENOMEM);
            for (uint32_t round = 0; round < 3000; round++) {
                for (uint32_t i = 0; i < 2; i++) {
                    if (statuses[i] == WEFT_IN_PROGRESS)
                        statuses[i] = connection_advance(connections[i], round * 10 * NS_PER_MS);
                }
                /* A rank that has failed leaves, and the other one may wait for another attempt. */
                if (statuses[0] > WEFT_IN_PROGRESS || statuses[1] > WEFT_IN_PROGRESS) break;
                if (statuses[0] == WEFT_OK && statuses[1] == WEFT_OK) break;
            }
            assert_true(statuses[0] != WEFT_IN_PROGRESS || statuses[1] != WEFT_IN_PROGRESS);
            for (uint32_t i = 0; i < 2; i++) {
                connection_disconnect(connections[i]);
                endpoint_destroy(endpoints[i]);
            }
            verbs_hosts_close(&hosts);
        }
    }
}

/* ---- Strangers ---- */

/* Someone who knows where a rank listens, and has seen what goes over the network. */
static void a_stranger_gets_no_queue_pair(void **state)
{
    struct two *two = two_open(NULL, 1);
    struct verbs_endpoint *endpoint = verbs_endpoint_of(two->endpoints[1]);
    struct verbs_connection *connection = verbs_connection_of(two->connections[1]);
    struct rdma_event_channel *channel = rdma_create_event_channel();
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(endpoint->ports[0].listen_port)};
    uint8_t data[WIRE_GREETING_BYTES];
    struct rdma_cm_event *event;
    struct rdma_cm_id *id;

    (void)state;
    inet_pton(AF_INET, "10.0.0.2", &to.sin_addr);
    struct wire_greeting greeting = {.lane = 0, .incarnation = 0};
    memcpy(greeting.nonce, connection->own.nonce, sizeof greeting.nonce);
    for (int attempt = 0; attempt < 3; attempt++) {
        if (attempt == 1) greeting.incarnation = 1;
        if (attempt == 2) greeting.nonce[0] ^= 1;
        wire_greeting_encode(&greeting, data);
        assert_int_equal(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP), 0);
        assert_int_equal(rdma_resolve_addr(id, NULL, (struct sockaddr *)&to, 1000), 0);
        assert_int_equal(rdma_get_cm_event(channel, &event), 0);
        rdma_ack_cm_event(event);
        assert_int_equal(rdma_resolve_route(id, 1000), 0);
        assert_int_equal(rdma_get_cm_event(channel, &event), 0);
        rdma_ack_cm_event(event);
        struct rdma_conn_param parameter = {
            .private_data = data, .private_data_len = sizeof data, .qp_num = 77, .retry_count = 7};
        assert_int_equal(rdma_connect(id, &parameter), 0);
        two_poll(two, 5000);
        assert_int_equal(rdma_get_cm_event(channel, &event), 0);
        assert_int_equal(event->event, RDMA_CM_EVENT_REJECTED);
        rdma_ack_cm_event(event);
        rdma_destroy_id(id);
    }
    rdma_destroy_event_channel(channel);
    /* And the connection is as good as before. */
    assert_int_equal(connection_put(two->connections[0], &(struct put){.flags = PUT_NOTIFY}, 1), 1);
    two_poll(two, 10);
    assert_int_equal(two->arrived[1], 1);
    two_close(two);
}

/* Keys of another job prove nothing, to either side. */
static void ranks_of_different_jobs_do_not_connect(void **state)
{
    struct verbs_hosts hosts = {.ipv6 = false};
    struct endpoint *endpoints[2];
    struct connection *connections[2];
    weft_status statuses[2] = {WEFT_IN_PROGRESS, WEFT_IN_PROGRESS};

    (void)state;
    verbs_hosts_open(&hosts, 2, 1);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(verbs_hosts_endpoint(&hosts, i, &(struct verbs_config){.depth = 0}, &endpoints[i], NULL),
                         WEFT_OK);
        verbs_endpoint_of(endpoints[i])->proof_key[5] ^= (uint8_t)i;
        assert_int_equal(endpoint_connect(endpoints[i], !i, 4096, &connections[i]), WEFT_OK);
    }
    for (uint32_t round = 0; round < 3000 && statuses[0] == WEFT_IN_PROGRESS; round++) {
        for (uint32_t i = 0; i < 2; i++) {
            if (statuses[i] == WEFT_IN_PROGRESS) statuses[i] = connection_advance(connections[i], round * NS_PER_MS);
        }
    }
    assert_int_equal(statuses[0], WEFT_LINK_DOWN);
    assert_int_not_equal(statuses[1], WEFT_OK);
    for (uint32_t i = 0; i < 2; i++) {
        connection_disconnect(connections[i]);
        endpoint_destroy(endpoints[i]);
    }
    verbs_hosts_close(&hosts);
}

/* ---- Words ---- */

static void every_completion_status_and_event_has_a_name(void **state)
{
    (void)state;
    for (int status = 0; status <= IBV_WC_GENERAL_ERR; status++)
        assert_null(strstr(verbs_completion_text((enum ibv_wc_status)status), "unknown"));
    for (int type = 0; type <= IBV_EVENT_WQ_FATAL; type++) {
        const struct verbs_async_meaning *meaning = verbs_async_meaning((enum ibv_event_type)type);
        assert_null(strstr(meaning->text, "unknown"));
        assert_int_equal(meaning->type, type);
    }
    assert_non_null(strstr(verbs_completion_text((enum ibv_wc_status)999), "unknown"));
    assert_non_null(strstr(verbs_async_meaning((enum ibv_event_type)999)->text, "unknown"));
}

static void rails_pair_by_their_networks(void **state)
{
    struct wire_card a = {.lanes_per_rail = 4, .rail_count = 3}, b = {.lanes_per_rail = 2, .rail_count = 2};
    struct wire_pairing pairing;

    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        a.rails[i] = (struct wire_card_rail){.family = 4, .address = {10, (uint8_t)i, 0, 1}};
    b.rails[0] = (struct wire_card_rail){.family = 4, .address = {10, 2, 0, 9}};
    b.rails[1] = (struct wire_card_rail){.family = 4, .address = {10, 0, 0, 9}};
    assert_int_equal(wire_pair(&a, &b, &pairing), WEFT_OK);
    assert_int_equal(pairing.rail_count, 2);
    assert_int_equal(pairing.lanes_per_rail, 2);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(a.rails[pairing.dialling[i]].address[1], b.rails[pairing.accepting[i]].address[1]);
    b.rails[0].family = b.rails[1].family = 6;
    assert_int_equal(wire_pair(&a, &b, &pairing), WEFT_LINK_DOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_of_puts_is_one_doorbell),
        cmocka_unit_test(what_may_wait_leaves_with_what_follows),
        cmocka_unit_test(completions_are_asked_for_each_half_queue),
        cmocka_unit_test(credits_hold_when_nobody_polls),
        cmocka_unit_test(a_registered_source_is_not_copied),
        cmocka_unit_test(what_was_received_is_passed_on_without_a_copy),
        cmocka_unit_test(a_put_larger_than_all_staging_arrives),
        cmocka_unit_test(locked_memory_that_does_not_suffice_is_named),
        cmocka_unit_test(every_call_may_fail_at_creation),
        cmocka_unit_test(every_call_may_fail_while_connecting),
        cmocka_unit_test(a_stranger_gets_no_queue_pair),
        cmocka_unit_test(ranks_of_different_jobs_do_not_connect),
        cmocka_unit_test(every_completion_status_and_event_has_a_name),
        cmocka_unit_test(rails_pair_by_their_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
