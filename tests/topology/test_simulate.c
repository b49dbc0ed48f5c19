/* SPDX-License-Identifier: Apache-2.0 */
/* Transfers over shared links, by hand: times, lanes, causes, loads. A link of 1e12 bytes/s moves a byte in 1 ps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "topology/simulate/simulate.h"

#define BYTE_PER_PS UINT64_C(1000000000000)
enum { TAGS_MOST = 64 };

/* What a test's driver remembers, and what it starts when a transfer is over. */
struct driver {
    struct simulation *simulation;
    uint64_t ended_ps[TAGS_MOST];
    uint32_t record[TAGS_MOST];
    uint32_t done_count;
    const struct transfer *then[TAGS_MOST]; /* by the tag that is over */
};

static void driver_done(void *context, uint32_t transfer, uint32_t record, uint64_t tag)
{
    (void)transfer;
    struct driver *driver = context;
    driver->ended_ps[tag] = simulation_now(driver->simulation);
    driver->record[tag] = record;
    driver->done_count++;
    if (!driver->then[tag]) return;
    struct transfer next = *driver->then[tag];
    next.start_ps = simulation_now(driver->simulation);
    next.cause = record;
    simulation_start(driver->simulation, &next);
}

static void driver_open(struct driver *driver, const uint64_t *capacities, uint32_t link_count, uint32_t lane_count)
{
    *driver = (struct driver){0};
    const struct simulation_config config = {.capacities = capacities,
                                             .link_count = link_count,
                                             .hop_max = 4,
                                             .lane_count = lane_count,
                                             .done = driver_done,
                                             .context = driver};
    driver->simulation = simulation_create(&config);
    assert_non_null(driver->simulation);
}

static void driver_run(struct driver *driver, const struct transfer *transfers, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        assert_int_not_equal(simulation_start(driver->simulation, &transfers[i]), SIMULATION_NONE);
    assert_int_equal(simulation_run(driver->simulation), WEFT_OK);
}

static const uint32_t link_0[] = {0}, link_1[] = {1};

static struct transfer transfer_over(const uint32_t *link, uint64_t bytes, uint64_t tag)
{
    return (struct transfer){.links = link,
                             .link_count = link ? 1 : 0,
                             .lane = SIMULATION_NONE,
                             .bytes = bytes,
                             .tag = tag,
                             .cause = SIMULATION_NONE};
}

static void a_transfer_takes_its_delay_and_its_bytes(void **state)
{
    (void)state;
    struct driver driver;
    driver_open(&driver, &(uint64_t){BYTE_PER_PS}, 1, 0);
    struct transfer transfer = transfer_over(link_0, 1000, 0);
    transfer.delay_ps = 50;
    driver_run(&driver, &transfer, 1);
    assert_int_equal(driver.ended_ps[0], 1050);
    const struct simulation_record *record = simulation_record(driver.simulation, driver.record[0]);
    assert_int_equal(record->start_ps, 0);
    assert_int_equal(record->begin_ps, 50);
    assert_int_equal(record->end_ps, 1050);
    simulation_destroy(driver.simulation);
}

/* 1000 bytes and 3000: at half the rate each until 2000, then the rest alone. */
static void two_transfers_share_a_link_until_one_is_over(void **state)
{
    (void)state;
    struct driver driver;
    driver_open(&driver, &(uint64_t){BYTE_PER_PS}, 1, 0);
    const struct transfer both[] = {transfer_over(link_0, 1000, 0), transfer_over(link_0, 3000, 1)};
    driver_run(&driver, both, 2);
    assert_int_equal(driver.ended_ps[0], 2000);
    assert_int_equal(driver.ended_ps[1], 4000);
    simulation_destroy(driver.simulation);
}

/* The second comes when the first has 600 of its 1000 bytes left. */
static void one_that_comes_later_slows_down_what_is_left(void **state)
{
    (void)state;
    struct driver driver;
    driver_open(&driver, &(uint64_t){BYTE_PER_PS}, 1, 0);
    struct transfer both[] = {transfer_over(link_0, 1000, 0), transfer_over(link_0, 100, 1)};
    both[1].delay_ps = 400;
    driver_run(&driver, both, 2);
    assert_int_equal(driver.ended_ps[1], 600);
    assert_int_equal(driver.ended_ps[0], 1100);
    simulation_destroy(driver.simulation);
}

static void a_lane_lets_one_through_after_the_other(void **state)
{
    (void)state;
    struct driver driver;
    driver_open(&driver, &(uint64_t){BYTE_PER_PS}, 1, 1);
    struct transfer three[] = {transfer_over(link_0, 100, 0), transfer_over(link_0, 100, 1),
                               transfer_over(link_0, 100, 2)};
    for (uint32_t i = 0; i < 3; i++) three[i].lane = 0;
    driver_run(&driver, three, 3);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(driver.ended_ps[i], 100 * (i + 1));
    const struct simulation_record *last = simulation_record(driver.simulation, driver.record[2]);
    assert_int_equal(last->cause, driver.record[1]);
    assert_int_equal(simulation_record(driver.simulation, last->cause)->cause, driver.record[0]);
    simulation_destroy(driver.simulation);
}

static void transfers_without_bytes_or_links_take_their_delay_only(void **state)
{
    (void)state;
    struct driver driver;
    driver_open(&driver, &(uint64_t){BYTE_PER_PS}, 1, 0);
    struct transfer both[] = {transfer_over(link_0, 0, 0), transfer_over(NULL, 1000, 1)};
    both[0].delay_ps = both[1].delay_ps = 7;
    driver_run(&driver, both, 2);
    assert_int_equal(driver.ended_ps[0], 7);
    assert_int_equal(driver.ended_ps[1], 7);
    assert_int_equal(simulation_loads(driver.simulation)[0].busy_ps, 0);
    simulation_destroy(driver.simulation);
}

/* Tags 0 -> 1 -> 2 on two links; tag 3 runs beside them and ends earlier. */
static void causes_lead_from_the_last_transfer_back_to_the_first(void **state)
{
    (void)state;
    struct driver driver;
    driver_open(&driver, (uint64_t[]){BYTE_PER_PS, BYTE_PER_PS}, 2, 0);
    const struct transfer first = transfer_over(link_0, 100, 0), beside = transfer_over(link_1, 150, 3);
    const struct transfer second = transfer_over(link_0, 100, 1), third = transfer_over(link_0, 100, 2);
    driver.then[0] = &second;
    driver.then[1] = &third;
    driver_run(&driver, (struct transfer[]){first, beside}, 2);
    uint32_t record = simulation_last(driver.simulation);
    for (uint64_t tag = 3; tag-- > 0; record = simulation_record(driver.simulation, record)->cause)
        assert_int_equal(simulation_record(driver.simulation, record)->tag, tag);
    assert_int_equal(record, SIMULATION_NONE);
    assert_int_equal(driver.ended_ps[2], 300);
    simulation_destroy(driver.simulation);
}

static void loads_count_bytes_and_the_time_a_link_was_in_use(void **state)
{
    (void)state;
    struct driver driver;
    driver_open(&driver, (uint64_t[]){BYTE_PER_PS, BYTE_PER_PS}, 2, 0);
    struct transfer three[] = {transfer_over(link_0, 100, 0), transfer_over(link_0, 300, 1),
                               transfer_over(link_1, 50, 2)};
    three[2].delay_ps = 1000;
    driver_run(&driver, three, 3);
    const struct simulation_load *loads = simulation_loads(driver.simulation);
    assert_int_equal(loads[0].bytes, 400);
    assert_int_equal(loads[0].busy_ps, 400);
    assert_int_equal(loads[1].bytes, 50);
    assert_int_equal(loads[1].busy_ps, 50);
    simulation_destroy(driver.simulation);
}

static bool no_further(void *context, uint64_t transfers_done)
{
    (void)context;
    return transfers_done < 100000;
}

static void endless_done(void *context, uint32_t transfer, uint32_t record, uint64_t tag)
{
    (void)transfer;
    (void)record;
    struct driver *driver = context;
    struct transfer again = transfer_over(link_0, 1, tag);
    again.start_ps = simulation_now(driver->simulation);
    simulation_start(driver->simulation, &again);
}

static void a_run_can_be_ended(void **state)
{
    (void)state;
    struct driver driver = {0};
    const struct simulation_config config = {.capacities = &(uint64_t){BYTE_PER_PS},
                                             .link_count = 1,
                                             .hop_max = 1,
                                             .done = endless_done,
                                             .go_on = no_further,
                                             .context = &driver};
    driver.simulation = simulation_create(&config);
    const struct transfer first = transfer_over(link_0, 1, 0);
    simulation_start(driver.simulation, &first);
    assert_int_equal(simulation_run(driver.simulation), WEFT_DEADLINE_EXCEEDED);
    assert_in_range(simulation_record_count(driver.simulation), 100000, 200000);
    simulation_destroy(driver.simulation);
}

/* Random transfers over two links; returns when the last one ends. */
static uint64_t random_run(uint64_t seed, const uint64_t *capacities)
{
    struct driver driver;
    struct random random;
    random_seed(&random, seed);
    driver_open(&driver, capacities, 2, 0);
    static const uint32_t both[] = {0, 1};
    for (uint64_t tag = 0; tag < TAGS_MOST; tag++) {
        struct transfer transfer = transfer_over(random_below(&random, 2) ? link_0 : both, 0, tag);
        transfer.link_count = transfer.links == both ? 2 : 1;
        transfer.bytes = 1 + random_below(&random, 100000);
        transfer.delay_ps = random_below(&random, 100000);
        simulation_start(driver.simulation, &transfer);
    }
    assert_int_equal(simulation_run(driver.simulation), WEFT_OK);
    assert_int_equal(driver.done_count, TAGS_MOST);
    uint64_t end_ps = simulation_now(driver.simulation);
    simulation_destroy(driver.simulation);
    return end_ps;
}

static void equal_input_gives_equal_times_and_wider_links_no_later_ones(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        const uint64_t narrow[] = {BYTE_PER_PS, BYTE_PER_PS / 2}, wide[] = {2 * BYTE_PER_PS, BYTE_PER_PS};
        uint64_t end_ps = random_run(seed, narrow);
        if (random_run(seed, narrow) != end_ps) fail_msg("seed %llu: two runs differ", (unsigned long long)seed);
        if (random_run(seed, wide) > end_ps + 1) fail_msg("seed %llu: wider is slower", (unsigned long long)seed);
    }
    print_message("seeds 1 to 50\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_transfer_takes_its_delay_and_its_bytes),
        cmocka_unit_test(two_transfers_share_a_link_until_one_is_over),
        cmocka_unit_test(one_that_comes_later_slows_down_what_is_left),
        cmocka_unit_test(a_lane_lets_one_through_after_the_other),
        cmocka_unit_test(transfers_without_bytes_or_links_take_their_delay_only),
        cmocka_unit_test(causes_lead_from_the_last_transfer_back_to_the_first),
        cmocka_unit_test(loads_count_bytes_and_the_time_a_link_was_in_use),
        cmocka_unit_test(a_run_can_be_ended),
        cmocka_unit_test(equal_input_gives_equal_times_and_wider_links_no_later_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
