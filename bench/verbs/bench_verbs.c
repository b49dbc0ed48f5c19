/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a put costs the CPU in the verbs transport's own code. Two ranks in one thread, over devices that are none
 * (tests/mockverbs): the time inside their calls is measured in the same run, by them, and taken away.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/mockverbs/mockverbs.h"
#include "tests/transport/pairs.h"
#include "tests/transport/verbs_hosts.h"

#define ROUNDS 801
#define ROUND_PUTS 512u /* short, so that most rounds are not interrupted */
#define REGION_BYTES (1u << 20)
#define EVENTS 64

static struct verbs_hosts hosts;
static struct endpoint *endpoints[2];
static struct connection *connections[2];
static void *registered; /* of `source`, or NULL where it is to be copied */
static uint8_t *source;

static void die(const char *what)
{
    fprintf(stderr, "bench_verbs: %s\n", what);
    exit(1);
}

static void *source_find(void *context, const void *address, size_t bytes)
{
    (void)context, (void)address, (void)bytes;
    return registered;
}

static void open_ranks(void)
{
    struct diagnostic diagnostic;
    const struct verbs_config config = {.memory = {.find = source_find}};
    verbs_hosts_open(&hosts, 2, 1);
    for (uint32_t rank = 0; rank < 2; rank++)
        if (verbs_hosts_endpoint(&hosts, rank, &config, &endpoints[rank], &diagnostic)) die(diagnostic.text);
    if (pairs_connect_two(endpoints[0], endpoints[1], REGION_BYTES, &connections[0], &connections[1]))
        die("cannot connect");
    source = aligned_alloc(4096, REGION_BYTES);
    if (!source) die("no memory");
    memset(source, 1, REGION_BYTES);
}

/* ---- One side's time, in ticks ---- */

struct cost {
    uint64_t all, mock, calls; /* calls: of the mock */
};
struct window {
    uint64_t begin, mock, calls;
};
static uint64_t window_ticks; /* of an empty one */
static double call_ticks;     /* of a call of the mock's, outside of what it measures itself */

static struct window window_open(void)
{
    const uint64_t mock = mockverbs_spent_ticks(), calls = mockverbs_spent_calls();
    return (struct window){.mock = mock, .calls = calls, .begin = mockverbs_ticks()};
}

static void window_close(struct cost *cost, struct window window)
{
    const uint64_t all = mockverbs_ticks() - window.begin;
    cost->all += all > window_ticks ? all - window_ticks : 0;
    cost->mock += mockverbs_spent_ticks() - window.mock;
    cost->calls += mockverbs_spent_calls() - window.calls;
}

static double cost_mock(const struct cost *cost)
{
    return (double)cost->mock + (double)cost->calls * call_ticks;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[ROUNDS / 2];
}

/* The mock called directly: what of it the stopwatch does not see. */
static void calibrate(void)
{
    enum { CALLS = 1000 };
    struct ibv_device **list = ibv_get_device_list(NULL);
    struct ibv_context *context = ibv_open_device(list[0]);
    ibv_free_device_list(list);
    struct ibv_cq *cq = context ? ibv_create_cq(context, 1, NULL, NULL, 0) : NULL;
    if (!cq) die("no completion queue");
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 10000; i++) {
        struct cost cost = {0, 0, 0};
        window_close(&cost, window_open());
        if (cost.all < least) least = cost.all;
    }
    window_ticks = least;
    double ticks[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        struct cost cost = {0, 0, 0};
        struct ibv_wc completion;
        const struct window window = window_open();
        for (int i = 0; i < CALLS; i++) (void)ibv_poll_cq(cq, 1, &completion);
        window_close(&cost, window);
        ticks[round] = (double)(cost.all - cost.mock) / CALLS;
    }
    call_ticks = median(ticks);
    ibv_destroy_cq(cq);
    ibv_close_device(context);
}

/* ---- A round ---- */

struct row {
    const char *how;
    uint32_t bytes, batch;
    bool registered;
};

/* Put ROUND_PUTS times, each in a batch of row->batch, until all have arrived. */
static void round_run(const struct row *row, struct cost *sender, struct cost *receiver)
{
    struct event events[EVENTS];
    struct put puts[64];
    uint32_t put = 0, arrived = 0;
    for (uint32_t i = 0; i < row->batch; i++)
        puts[i] = (struct put){.source = source, .bytes = row->bytes, .flags = PUT_NOTIFY};
    while (arrived < ROUND_PUTS) {
        uint32_t batch = ROUND_PUTS - put < row->batch ? ROUND_PUTS - put : row->batch;
        const uint64_t now_ns = clock_now_ns();
        struct window window = window_open();
        if (batch) put += (uint32_t)connection_put(connections[0], puts, batch);
        size_t count = endpoint_poll(endpoints[0], events, EVENTS, now_ns);
        window_close(sender, window);
        for (size_t i = 0; i < count; i++)
            if (events[i].kind == EVENT_FAILED) die("the connection failed");
        window = window_open();
        count = endpoint_poll(endpoints[1], events, EVENTS, now_ns);
        window_close(receiver, window);
        for (size_t i = 0; i < count; i++) arrived += events[i].kind == EVENT_ARRIVED;
    }
}

static void row_run(const struct row *row, double ns_per_tick)
{
    double columns[6][ROUNDS];
    struct diagnostic diagnostic;
    if (row->registered && endpoint_memory_register(endpoints[0], source, REGION_BYTES, &registered, &diagnostic))
        die(diagnostic.text);
    for (int round = -2; round < ROUNDS; round++) { /* two to warm up */
        struct cost sender = {0, 0, 0}, receiver = {0, 0, 0};
        round_run(row, &sender, &receiver);
        if (round < 0) continue;
        const double scale = ns_per_tick / ROUND_PUTS;
        columns[0][round] = (double)sender.all * scale;
        columns[1][round] = cost_mock(&sender) * scale;
        columns[2][round] = ((double)sender.all - cost_mock(&sender)) * scale;
        columns[3][round] = (double)receiver.all * scale;
        columns[4][round] = cost_mock(&receiver) * scale;
        columns[5][round] = ((double)receiver.all - cost_mock(&receiver)) * scale;
    }
    if (registered) endpoint_memory_deregister(endpoints[0], registered);
    registered = NULL;
    printf("%8u %-10s %5u", row->bytes, row->how, row->batch);
    for (int i = 0; i < 6; i++) printf(" %8.1f", median(columns[i]));
    printf("\n");
}

int main(void)
{
    static const struct row rows[] = {
        {"inline", 8, 1, false},        {"inline", 8, 8, false},       {"inline", 8, 32, false},
        {"inline", 128, 8, false},      {"registered", 4096, 1, true}, {"registered", 4096, 8, true},
        {"registered", 65536, 8, true}, {"staged", 4096, 8, false},
    };
    open_ranks();
    mockverbs_stopwatch(true);
    calibrate();
    const uint64_t begin_ns = clock_now_ns(), begin = mockverbs_ticks();
    while (clock_now_ns() - begin_ns < 50 * NS_PER_MS) {
    }
    const double ns_per_tick = (double)(clock_now_ns() - begin_ns) / (double)(mockverbs_ticks() - begin);
    printf("nanoseconds a put, medians of %d rounds of %u; a call of the mock's costs %.1f outside of itself\n", ROUNDS,
           ROUND_PUTS, call_ticks * ns_per_tick);
    printf("%8s %-10s %5s %26s %26s\n", "", "", "", "sender:", "receiver:");
    printf("%8s %-10s %5s %8s %8s %8s %8s %8s %8s\n", "bytes", "how", "puts", "all", "mock", "own", "all", "mock",
           "own");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) row_run(&rows[i], ns_per_tick);
    for (uint32_t rank = 0; rank < 2; rank++) connection_disconnect(connections[rank]);
    for (uint32_t rank = 0; rank < 2; rank++) endpoint_destroy(endpoints[rank]);
    verbs_hosts_close(&hosts);
    mockverbs_reset();
    free(source);
    return 0;
}
