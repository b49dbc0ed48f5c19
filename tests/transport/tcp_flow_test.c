/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel does not take at once: full buffers, frames in parts, readers that are slow, ends in the midst. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/random.h"
#include "tests/transport/pairs.h"
#include "tests/transport/seed.h"
#include "tests/transport/tcp_sockets.h"
#include "transport/tcp/tcp.h"

#define REGION_BYTES (4u << 20)
#define TINY_BUFFER_BYTES 4096

struct couple {
    struct tcp_sockets sockets;
    struct endpoint *endpoints[2];
    struct connection *connections[2];
    uint8_t *source; /* REGION_BYTES of random bytes */
};

static void couple_open(struct couple *couple, struct tcp_config config)
{
    struct random random;

    memset(couple, 0, sizeof *couple);
    couple->sockets.buffer_bytes = (int)config.socket_buffer_bytes;
    assert_true(tcp_sockets_open(&couple->sockets, 2, AF_INET));
    config.rank_count = 2;
    for (config.rank = 0; config.rank < 2; config.rank++) {
        assert_int_equal(tcp_endpoint_create(&config, tcp_sockets_rendezvous(&couple->sockets, config.rank),
                                             &couple->endpoints[config.rank], NULL),
                         WEFT_OK);
    }
    assert_int_equal(pairs_connect_two(couple->endpoints[0], couple->endpoints[1], REGION_BYTES,
                                       &couple->connections[0], &couple->connections[1]),
                     WEFT_OK);
    couple->source = malloc(REGION_BYTES);
    assert_non_null(couple->source);
    random_seed(&random, 1);
    for (size_t i = 0; i < REGION_BYTES; i += 8) bytes_put_u64(couple->source + i, random_next(&random));
}

static void couple_close(struct couple *couple)
{
    for (int i = 0; i < 2; i++) {
        if (couple->connections[i]) connection_disconnect(couple->connections[i]);
        endpoint_destroy(couple->endpoints[i]);
    }
    tcp_sockets_close(&couple->sockets);
    free(couple->source);
}

/* The next event of rank @p of, while both poll; polls that bring nothing are limited in number. */
static struct event await_event(struct couple *couple, uint32_t of)
{
    struct event event;

    for (int i = 0; i < 10000000; i++) {
        if (endpoint_poll(couple->endpoints[of], &event, 1, clock_now_ns())) return event;
        assert_int_equal(endpoint_poll(couple->endpoints[!of], &(struct event){0}, 0, clock_now_ns()), 0);
    }
    fail_msg("rank %u waits in vain", of);
    return event;
}

/* Copied on the way, or referred to. */
static void a_large_put_arrives_whole_through_tiny_buffers(void **state)
{
    (void)state;
    for (uint32_t way = 0; way < 6; way++) {
        const bool refers = way % 2;
        const uint16_t flags = PUT_NOTIFY | PUT_LOCAL_DONE | (refers ? PUT_STEADY : 0);
        struct couple couple;
        couple_open(&couple, (struct tcp_config){.lanes = 1 + way / 2,
                                                 .socket_buffer_bytes = TINY_BUFFER_BYTES,
                                                 .references = refers ? TCP_REFER_ALWAYS : TCP_REFER_NEVER});
        const struct put puts[2] = {
            {.source = couple.source, .bytes = REGION_BYTES - 1, .path_hint = 2, .tag = 1, .flags = flags},
            {.source = couple.source + REGION_BYTES - 1,
             .remote_offset = REGION_BYTES - 1,
             .bytes = 1,
             .path_hint = 2,
             .tag = 2,
             .flags = flags}};
        assert_int_equal(connection_put(couple.connections[0], puts, 2), 2);
        /* Nobody reads, so the kernel cannot have it all, and the source is still needed. */
        for (int i = 0; i < 1000; i++)
            assert_int_equal(endpoint_poll(couple.endpoints[0], &(struct event){0}, 1, clock_now_ns()), 0);
        assert_int_equal(await_event(&couple, 1).tag, 1);
        assert_int_equal(await_event(&couple, 1).tag, 2);
        assert_memory_equal(couple.connections[1]->granted, couple.source, REGION_BYTES);
        for (uint32_t tag = 1; tag <= 2; tag++) {
            const struct event event = await_event(&couple, 0);
            assert_int_equal(event.kind, EVENT_LOCAL_DONE);
            assert_int_equal(event.tag, tag);
        }
        couple_close(&couple);
    }
}

static void a_steady_put_is_not_copied(void **state)
{
    enum { BYTES = 64 << 10 };
    struct couple couple;

    (void)state;
    couple_open(&couple, (struct tcp_config){.lanes = 1, .references = TCP_REFER_ALWAYS});
    assert_true(couple.connections[0]->steady_bytes > 0);
    const struct put put = {.source = couple.source, .bytes = BYTES, .flags = PUT_NOTIFY | PUT_LOCAL_DONE | PUT_STEADY};
    assert_int_equal(connection_put(couple.connections[0], &put, 1), 1);
    struct event event = {0};
    for (int i = 0; i < 1000 && event.kind != EVENT_LOCAL_DONE; i++)
        (void)endpoint_poll(couple.endpoints[0], &event, 1, clock_now_ns());
    assert_int_equal(event.kind, EVENT_LOCAL_DONE);
    if (couple.connections[0]->steady_bytes == 0) { /* a sandbox forbids vmsplice() or splice() */
        couple_close(&couple);
        skip();
    }
    couple.source[BYTES - 1] ^= 1; /* which breaks the promise, so that it can be seen */
    assert_int_equal(await_event(&couple, 1).kind, EVENT_ARRIVED);
    assert_memory_equal(couple.connections[1]->granted, couple.source, BYTES);
    couple_close(&couple);
}

/* One that did would end this process. */
static void a_steady_put_to_a_peer_that_is_gone_raises_no_signal(void **state)
{
    struct couple couple;

    (void)state;
    couple_open(&couple, (struct tcp_config){.lanes = 1, .references = TCP_REFER_ALWAYS});
    tcp_sockets_kill(&couple.sockets, 1);
    const struct put put = {.source = couple.source, .bytes = REGION_BYTES, .flags = PUT_NOTIFY | PUT_STEADY};
    while (connection_put(couple.connections[0], &put, 1) == 1) continue;
    assert_int_equal(await_event(&couple, 0).kind, EVENT_FAILED);
    couple_close(&couple);
}

struct landing {
    uint8_t *place; /* of what has this size; all else goes to the region */
    uint32_t bytes, asked;
};

static void *land(void *context, const struct put *put)
{
    struct landing *landing = context;

    landing->asked++;
    return put->bytes == landing->bytes ? landing->place : NULL;
}

static void what_has_a_place_lands_there(void **state)
{
    enum { BYTES = 1 << 20 };

    (void)state;
    for (uint32_t lanes = 1; lanes <= 3; lanes++) {
        struct landing landing = {.place = malloc(BYTES), .bytes = BYTES};
        struct couple couple;
        assert_non_null(landing.place);
        couple_open(&couple, (struct tcp_config){.lanes = lanes, .socket_buffer_bytes = TINY_BUFFER_BYTES});
        couple.connections[1]->land = land;
        couple.connections[1]->land_context = &landing;
        const struct put puts[3] = {
            {.source = couple.source, .bytes = BYTES, .tag = 1, .flags = PUT_NOTIFY, .path_hint = 1},
            {.source = couple.source, .bytes = BYTES - 1, .tag = 2, .flags = PUT_NOTIFY, .path_hint = 1},
            {.source = couple.source, .bytes = BYTES, .remote_offset = BYTES, .path_hint = 1}};
        const struct put last = {.tag = 4, .flags = PUT_NOTIFY, .path_hint = 1};
        assert_int_equal(connection_put(couple.connections[0], &puts[0], 1), 1);
        assert_int_equal(await_event(&couple, 1).kind, EVENT_LANDED);
        assert_memory_equal(landing.place, couple.source, BYTES);
        for (size_t i = 0; i < BYTES; i++) assert_int_equal(couple.connections[1]->granted[i], 0);
        /* One that has none, and one whose arrival nobody is told of. */
        assert_int_equal(connection_put(couple.connections[0], puts + 1, 2), 2);
        assert_int_equal(connection_put(couple.connections[0], &last, 1), 1);
        assert_int_equal(await_event(&couple, 1).kind, EVENT_ARRIVED);
        assert_int_equal(await_event(&couple, 1).tag, 4);
        assert_memory_equal(couple.connections[1]->granted, couple.source, BYTES - 1);
        assert_memory_equal(couple.connections[1]->granted + BYTES, couple.source, BYTES);
        assert_int_equal(landing.asked, 2);
        couple_close(&couple);
        free(landing.place);
    }
}

static void what_is_recalled_ends_in_the_region(void **state)
{
    struct landing landing = {.place = calloc(1, REGION_BYTES), .bytes = REGION_BYTES};
    struct couple couple;

    (void)state;
    assert_non_null(landing.place);
    couple_open(&couple, (struct tcp_config){.lanes = 1, .socket_buffer_bytes = TINY_BUFFER_BYTES});
    couple.connections[1]->land = land;
    couple.connections[1]->land_context = &landing;
    const struct put put = {.source = couple.source, .bytes = REGION_BYTES, .tag = 1, .flags = PUT_NOTIFY};
    assert_int_equal(connection_put(couple.connections[0], &put, 1), 1);
    while (memcmp(landing.place, couple.source, 64 << 10) != 0)
        for (int i = 0; i < 2; i++)
            assert_int_equal(endpoint_poll(couple.endpoints[i], &(struct event){0}, 1, clock_now_ns()), 0);
    connection_recall(couple.connections[1]);
    memset(landing.place, 0, REGION_BYTES);
    assert_int_equal(await_event(&couple, 1).kind, EVENT_ARRIVED);
    assert_memory_equal(couple.connections[1]->granted, couple.source, REGION_BYTES);
    for (size_t i = 0; i < REGION_BYTES; i++) assert_int_equal(landing.place[i], 0);
    couple_close(&couple);
    free(landing.place);
}

/* Whether it has been awake for long, or not, and with one lane as with those that epoll is asked for. */
static void who_sleeps_is_woken(void **state)
{
    const struct put put = {.tag = 7, .flags = PUT_NOTIFY, .path_hint = 1};

    (void)state;
    for (uint32_t lanes = 1; lanes <= 3; lanes++) {
        struct couple couple;
        couple_open(&couple, (struct tcp_config){.lanes = lanes});
        for (int polls = 0; polls <= 3000; polls += 1000) {
            struct pollfd waited = {.events = POLLIN};
            for (int i = 0; i < polls; i++)
                assert_int_equal(endpoint_poll(couple.endpoints[1], &(struct event){0}, 1, clock_now_ns()), 0);
            weft_status status = WEFT_AGAIN;
            for (int i = 0; i < 100 && status == WEFT_AGAIN; i++) {
                (void)endpoint_poll(couple.endpoints[1], &(struct event){0}, 1, clock_now_ns());
                status = endpoint_arm(couple.endpoints[1], &waited.fd);
            }
            assert_int_equal(status, WEFT_OK);
            assert_int_equal(poll(&waited, 1, 0), 0);
            assert_int_equal(connection_put(couple.connections[0], &put, 1), 1);
            assert_int_equal(poll(&waited, 1, 10000), 1);
            assert_int_equal(await_event(&couple, 1).tag, 7);
        }
        couple_close(&couple);
    }
}

static void what_may_wait_leaves_with_the_next_poll(void **state)
{
    const struct put more = {.tag = 1, .flags = PUT_NOTIFY | PUT_MORE}, last = {.tag = 2, .flags = PUT_NOTIFY};
    struct event events[4];
    struct couple couple;

    (void)state;
    couple_open(&couple, (struct tcp_config){.lanes = 1});
    /* Held until a poll of this side ... */
    assert_int_equal(connection_put(couple.connections[0], &more, 1), 1);
    for (int i = 0; i < 100; i++) assert_int_equal(endpoint_poll(couple.endpoints[1], events, 4, 0), 0);
    assert_int_equal(endpoint_poll(couple.endpoints[0], events, 4, 0), 0);
    assert_int_equal(await_event(&couple, 1).tag, 1);
    /* ... or until arm() ... */
    int fd;
    assert_int_equal(connection_put(couple.connections[0], &more, 1), 1);
    assert_int_equal(endpoint_arm(couple.endpoints[0], &fd), WEFT_OK);
    assert_int_equal(await_event(&couple, 1).tag, 1);
    /* ... or until one that does not wait ... */
    assert_int_equal(connection_put(couple.connections[0], &more, 1), 1);
    assert_int_equal(connection_put(couple.connections[0], &last, 1), 1);
    assert_int_equal(await_event(&couple, 1).tag, 1);
    assert_int_equal(await_event(&couple, 1).tag, 2);
    /* ... or until there is much of it. */
    const struct put large = {.source = couple.source, .bytes = REGION_BYTES, .tag = 3, .flags = PUT_NOTIFY | PUT_MORE};
    assert_int_equal(connection_put(couple.connections[0], &more, 1), 1);
    assert_int_equal(connection_put(couple.connections[0], &large, 1), 1);
    size_t count = 0;
    for (int i = 0; i < 100000 && !count; i++) count = endpoint_poll(couple.endpoints[1], events, 4, 0);
    assert_int_equal(count, 1);
    couple_close(&couple);
}

static void what_is_lazy_leaves_with_company_or_when_nothing_happens(void **state)
{
    const struct put lazy = {.tag = 1, .flags = PUT_NOTIFY | PUT_LAZY}, last = {.tag = 2, .flags = PUT_NOTIFY};
    const struct put more = {.tag = 3, .flags = PUT_NOTIFY | PUT_MORE};
    struct event events[4];
    struct couple couple;

    (void)state;
    couple_open(&couple, (struct tcp_config){.lanes = 1});
    /* Held, also by a poll ... */
    assert_int_equal(connection_put(couple.connections[1], &last, 1), 1);
    assert_int_equal(await_event(&couple, 0).tag, 2);
    assert_int_equal(connection_put(couple.connections[0], &lazy, 1), 1);
    assert_int_equal(endpoint_poll(couple.endpoints[0], events, 4, 0), 0);
    for (int i = 0; i < 100; i++) assert_int_equal(endpoint_poll(couple.endpoints[1], events, 4, 0), 0);
    /* ... until one that does not wait ... */
    assert_int_equal(connection_put(couple.connections[0], &last, 1), 1);
    assert_int_equal(await_event(&couple, 1).tag, 1);
    assert_int_equal(await_event(&couple, 1).tag, 2);
    /* ... or until the poll that one after it has waited for ... */
    assert_int_equal(connection_put(couple.connections[0], &lazy, 1), 1);
    assert_int_equal(connection_put(couple.connections[0], &more, 1), 1);
    assert_int_equal(endpoint_poll(couple.endpoints[0], events, 4, 0), 0);
    assert_int_equal(await_event(&couple, 1).tag, 1);
    assert_int_equal(await_event(&couple, 1).tag, 3);
    /* ... or until arm() ... */
    int fd;
    assert_int_equal(connection_put(couple.connections[0], &lazy, 1), 1);
    assert_int_equal(endpoint_arm(couple.endpoints[0], &fd), WEFT_OK);
    assert_int_equal(await_event(&couple, 1).tag, 1);
    /* ... or until some polls have found nothing ... */
    assert_int_equal(connection_put(couple.connections[0], &lazy, 1), 1);
    for (int i = 0; i < 1000; i++) assert_int_equal(endpoint_poll(couple.endpoints[0], events, 4, 0), 0);
    assert_int_equal(await_event(&couple, 1).tag, 1);
    /* ... or until the end. */
    assert_int_equal(connection_put(couple.connections[0], &lazy, 1), 1);
    connection_disconnect(couple.connections[0]);
    couple.connections[0] = NULL;
    assert_int_equal(await_event(&couple, 1).tag, 1);
    couple_close(&couple);
}

/* Segments that a rank's kernel has sent, acknowledgements among them. */
static uint32_t segments_of(const struct couple *couple, uint32_t rank)
{
    struct tcp_info info;
    socklen_t size = sizeof info;

    assert_int_equal(couple->sockets.ranks[rank].given_count, 1);
    assert_int_equal(getsockopt(couple->sockets.ranks[rank].given[0], IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    return info.tcpi_segs_out;
}

static void small_put(struct couple *couple, uint32_t from, uint32_t tag)
{
    const struct put put = {.source = couple->source, .bytes = 8, .tag = tag, .flags = PUT_NOTIFY};

    assert_int_equal(connection_put(couple->connections[from], &put, 1), 1);
}

static void the_second_of_two_small_puts_costs_no_acknowledgement(void **state)
{
    enum { TRIES = 200 };
    struct couple couple;
    uint32_t without = 0;

    (void)state;
    couple_open(&couple, (struct tcp_config){.lanes = 1});
    /* A young connection acknowledges everything, and so does one whose process was off the processor for 40 ms. */
    for (uint32_t i = 0; i < TRIES; i++) {
        small_put(&couple, 1, i);
        assert_int_equal(await_event(&couple, 0).tag, i);
        small_put(&couple, 0, i);
        assert_int_equal(await_event(&couple, 1).tag, i);
        const uint32_t before = segments_of(&couple, 1);
        small_put(&couple, 0, TRIES + i);
        assert_int_equal(await_event(&couple, 1).tag, TRIES + i);
        without += segments_of(&couple, 1) == before;
    }
    assert_true(without > TRIES / 4);
    couple_close(&couple);
}

/* One after another, of all sizes, to a reader that answers now and then and whose events have little room. */
static void puts_arrive_once_and_in_order(void **state)
{
    static const uint32_t sizes[] = {0, 8, 24, 500, 2272, 2288, 2304, 9000, 100000};
    enum { COUNT = 3000, SIZES = sizeof sizes / sizeof sizes[0], MOST_AHEAD = 20 };
    uint64_t seed = 1, seed_count = 4;

    (void)state;
    seeds_choose(&seed, &seed_count);
    for (; seed_count > 0; seed++, seed_count--) {
        struct couple couple;
        struct random random;
        uint32_t sent = 0, arrived = 0;
        print_message("WEFT_TEST_SEED=%llu\n", (unsigned long long)seed);
        couple_open(&couple, (struct tcp_config){.lanes = 1 + (uint32_t)(seed % 2) * 2,
                                                 .references = seed % 4 < 2 ? TCP_REFER_ALWAYS : TCP_REFER_NEVER});
        random_seed(&random, seed);
        while (arrived < COUNT) {
            const uint32_t bytes = sizes[random_below(&random, random_below(&random, 4) ? 4 : SIZES)];
            const uint32_t at = sent % (MOST_AHEAD + 1) * 100000;
            const struct put put = {.source = couple.source + sent % 1000,
                                    .bytes = bytes,
                                    .remote_offset = at,
                                    .tag = bytes,
                                    .flags = PUT_NOTIFY | (random_below(&random, 2) ? PUT_MORE : 0) |
                                             (random_below(&random, 2) ? PUT_STEADY : 0)};
            if (sent < COUNT && sent - arrived < MOST_AHEAD)
                sent += (uint32_t)connection_put(couple.connections[0], &put, 1);
            if (random_below(&random, 3) == 0) small_put(&couple, 1, 0);
            struct event events[4];
            for (uint32_t rank = 0; rank < 2; rank++) {
                const size_t count = endpoint_poll(couple.endpoints[rank], events, 1 + random_below(&random, 4), 0);
                for (size_t i = 0; rank == 1 && i < count; i++, arrived++) {
                    assert_int_equal(events[i].kind, EVENT_ARRIVED);
                    assert_memory_equal(couple.connections[1]->granted + arrived % (MOST_AHEAD + 1) * 100000,
                                        couple.source + arrived % 1000, events[i].tag);
                }
            }
        }
        assert_int_equal(sent, COUNT);
        couple_close(&couple);
    }
}

static void an_end_is_found_behind_messages_that_nobody_answered(void **state)
{
    (void)state;
    for (uint32_t lanes = 1; lanes <= 3; lanes += 2) {
        struct couple couple;
        couple_open(&couple, (struct tcp_config){.lanes = lanes});
        for (uint32_t i = 0; i < 3; i++) {
            small_put(&couple, 0, i);
            assert_int_equal(await_event(&couple, 1).tag, i);
        }
        connection_disconnect(couple.connections[0]);
        couple.connections[0] = NULL;
        assert_int_equal(await_event(&couple, 1).kind, EVENT_FAILED);
        couple_close(&couple);
    }
}

static void a_disconnect_sends_what_was_accepted(void **state)
{
    enum { COUNT = 60, BYTES = 512 };

    (void)state;
    for (uint32_t lanes = 1; lanes <= 3; lanes += 2) {
        struct couple couple;
        couple_open(&couple, (struct tcp_config){.lanes = lanes});
        for (uint32_t i = 0; i < COUNT; i++) {
            const struct put put = {.source = couple.source + i * BYTES,
                                    .remote_offset = (uint64_t)i * BYTES,
                                    .bytes = BYTES,
                                    .tag = i,
                                    .path_hint = (uint16_t)i,
                                    .flags = PUT_NOTIFY | PUT_MORE};
            assert_int_equal(connection_put(couple.connections[0], &put, 1), 1);
            /* Input that nobody reads would make a plain close() a reset. */
            const struct put unread = {.source = couple.source, .bytes = 1000};
            assert_int_equal(connection_put(couple.connections[1], &unread, 1), 1);
        }
        connection_disconnect(couple.connections[0]);
        couple.connections[0] = NULL;
        const struct put late = {.source = couple.source, .bytes = 1000};
        (void)connection_put(couple.connections[1], &late, 1);
        bool seen[COUNT] = {false};
        for (uint32_t i = 0; i < COUNT; i++) {
            const struct event event = await_event(&couple, 1);
            assert_int_equal(event.kind, EVENT_ARRIVED);
            assert_true(event.tag < COUNT && !seen[event.tag]);
            seen[event.tag] = true;
        }
        const struct event event = await_event(&couple, 1);
        assert_int_equal(event.kind, EVENT_FAILED);
        assert_int_equal(event.status, WEFT_PEER_FAILED);
        assert_memory_equal(couple.connections[1]->granted, couple.source, COUNT * BYTES);
        couple_close(&couple);
    }
}

/* One of its lanes has ended, and the next polls come so late that the others would have been given up. */
static void what_a_peer_sent_before_it_left_is_read_by_one_that_was_not_run(void **state)
{
    enum { LANES = 3, BYTES = 400 << 10 }; /* more than one turn of a lane */
    struct couple couple;
    uint64_t now_ns = clock_now_ns();
    uint32_t arrived = 0;

    (void)state;
    couple_open(&couple, (struct tcp_config){.lanes = LANES});
    for (uint32_t i = 0; i < LANES; i++) {
        const struct put put = {.source = couple.source + (size_t)i * BYTES,
                                .remote_offset = (uint64_t)i * BYTES,
                                .bytes = i == 0 ? 8 : BYTES,
                                .tag = i,
                                .path_hint = (uint16_t)i,
                                .flags = PUT_NOTIFY};
        assert_int_equal(connection_put(couple.connections[0], &put, 1), 1);
    }
    connection_disconnect(couple.connections[0]);
    couple.connections[0] = NULL;
    struct event event = {0};
    for (int i = 0; i < 1000 && event.kind != EVENT_FAILED; i++, now_ns += NS_PER_S) {
        if (endpoint_poll(couple.endpoints[1], &event, 1, now_ns) == 0) continue;
        arrived += event.kind == EVENT_ARRIVED;
    }
    assert_int_equal(event.kind, EVENT_FAILED);
    assert_int_equal(arrived, LANES);
    assert_memory_equal(couple.connections[1]->granted + BYTES, couple.source + BYTES, (LANES - 1) * BYTES);
    couple_close(&couple);
}

static void a_disconnect_does_not_wait_for_ever(void **state)
{
    struct couple couple;

    (void)state;
    couple_open(&couple,
                (struct tcp_config){.lanes = 2, .socket_buffer_bytes = TINY_BUFFER_BYTES, .linger_ns = NS_PER_MS});
    const struct put put = {.source = couple.source, .bytes = REGION_BYTES, .flags = PUT_NOTIFY};
    assert_int_equal(connection_put(couple.connections[0], &put, 1), 1);
    connection_disconnect(couple.connections[0]); /* nobody reads */
    couple.connections[0] = NULL;
    const struct event event = await_event(&couple, 1);
    assert_int_equal(event.kind, EVENT_FAILED); /* and no notification of what did not arrive */
    couple_close(&couple);
}

/* The reader's kernel answers probes of its closed window, however long its user computes. */
static void a_reader_that_is_busy_elsewhere_is_alive(void **state)
{
    enum { KEEPALIVE_S = 1, BUSY_S = 3 };
    struct couple couple;

    (void)state;
    couple_open(&couple, (struct tcp_config){.lanes = 1,
                                             .socket_buffer_bytes = TINY_BUFFER_BYTES,
                                             .keepalive_ns = KEEPALIVE_S * NS_PER_S});
    const struct put put = {.source = couple.source, .bytes = REGION_BYTES, .tag = 3, .flags = PUT_NOTIFY};
    assert_int_equal(connection_put(couple.connections[0], &put, 1), 1);
    for (int i = 0; i < BUSY_S * 10; i++) {
        assert_int_equal(endpoint_poll(couple.endpoints[0], &(struct event){0}, 1, clock_now_ns()), 0);
        nanosleep(&(struct timespec){.tv_nsec = 100 * NS_PER_MS}, NULL);
    }
    const struct event event = await_event(&couple, 1);
    assert_int_equal(event.kind, EVENT_ARRIVED);
    assert_memory_equal(couple.connections[1]->granted, couple.source, REGION_BYTES);
    couple_close(&couple);
}

static void a_configuration_that_cannot_be_is_refused(void **state)
{
    struct tcp_sockets sockets = {0};
    const struct rendezvous rendezvous = tcp_sockets_rendezvous(&sockets, 0), none = {NULL, NULL};
    const struct tcp_config many = {.rank_count = 2, .lanes = TCP_MAX_LANES + 1}, beyond = {.rank = 2, .rank_count = 2},
                            good = {.rank_count = 2};
    struct endpoint *endpoint = NULL;
    struct diagnostic diagnostic;

    (void)state;
    assert_int_equal(tcp_endpoint_create(&many, rendezvous, &endpoint, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_string_equal(diagnostic.text, "tcp: 17 lanes to a peer; at most 16 are supported");
    assert_int_equal(tcp_endpoint_create(&beyond, rendezvous, &endpoint, NULL), WEFT_INVALID_ARGUMENT);
    assert_int_equal(tcp_endpoint_create(&good, none, &endpoint, NULL), WEFT_INVALID_ARGUMENT);
    assert_null(endpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_put_arrives_whole_through_tiny_buffers),
        cmocka_unit_test(a_steady_put_is_not_copied),
        cmocka_unit_test(a_steady_put_to_a_peer_that_is_gone_raises_no_signal),
        cmocka_unit_test(who_sleeps_is_woken),
        cmocka_unit_test(what_has_a_place_lands_there),
        cmocka_unit_test(what_is_recalled_ends_in_the_region),
        cmocka_unit_test(what_may_wait_leaves_with_the_next_poll),
        cmocka_unit_test(what_is_lazy_leaves_with_company_or_when_nothing_happens),
        cmocka_unit_test(the_second_of_two_small_puts_costs_no_acknowledgement),
        cmocka_unit_test(puts_arrive_once_and_in_order),
        cmocka_unit_test(an_end_is_found_behind_messages_that_nobody_answered),
        cmocka_unit_test(a_disconnect_sends_what_was_accepted),
        cmocka_unit_test(what_a_peer_sent_before_it_left_is_read_by_one_that_was_not_run),
        cmocka_unit_test(a_disconnect_does_not_wait_for_ever),
        cmocka_unit_test(a_reader_that_is_busy_elsewhere_is_alive),
        cmocka_unit_test(a_configuration_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
