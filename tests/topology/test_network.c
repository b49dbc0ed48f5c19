/* SPDX-License-Identifier: Apache-2.0 */
/* Max-min fair rates: cases done by hand, and random networks against a reference that fills in small steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "topology/simulate/network.h"

enum { LINKS_MOST = 12, FLOWS_MOST = 24, HOPS_MOST = 4 };

static uint64_t rate_of(struct network *network, uint32_t flow)
{
    const uint32_t *changed;
    network_settle(network, &changed);
    return network_rate(network, flow);
}

static void one_flow_gets_its_narrowest_link(void **state)
{
    (void)state;
    const uint64_t capacities[] = {100, 40, 70};
    const uint32_t route[] = {0, 1, 2};
    struct network *network = network_create(capacities, 3, 3);
    assert_non_null(network);
    uint32_t flow = network_add(network, route, 3);
    assert_int_equal(rate_of(network, flow), 40);
    network_destroy(network);
}

static void two_flows_on_a_link_get_half_each_and_all_when_one_has_gone(void **state)
{
    (void)state;
    const uint64_t capacities[] = {100};
    const uint32_t route[] = {0};
    struct network *network = network_create(capacities, 1, 1);
    uint32_t one = network_add(network, route, 1), other = network_add(network, route, 1);
    assert_int_equal(rate_of(network, one), 50);
    assert_int_equal(rate_of(network, other), 50);
    network_remove(network, one);
    assert_int_equal(rate_of(network, other), 100);
    network_destroy(network);
}

/* Bertsekas and Gallager's way of putting it: what one cannot use goes to those who can. */
static void what_one_flow_cannot_use_the_others_share(void **state)
{
    (void)state;
    const uint64_t capacities[] = {90, 20};
    const uint32_t wide[] = {0}, narrow[] = {0, 1};
    struct network *network = network_create(capacities, 2, 2);
    uint32_t held = network_add(network, narrow, 2);
    uint32_t free_one = network_add(network, wide, 1), free_two = network_add(network, wide, 1);
    assert_int_equal(rate_of(network, held), 20);
    assert_int_equal(rate_of(network, free_one), 35);
    assert_int_equal(rate_of(network, free_two), 35);
    network_destroy(network);
}

static void a_flow_over_no_link_is_unbounded(void **state)
{
    (void)state;
    struct network *network = network_create(NULL, 0, 0);
    assert_true(rate_of(network, network_add(network, NULL, 0)) == NETWORK_UNBOUNDED);
    network_destroy(network);
}

struct reference {
    uint64_t capacities[LINKS_MOST];
    uint32_t link_count;
    struct {
        bool present;
        uint32_t id; /* the network's */
        uint32_t links[HOPS_MOST], count;
        double rate;
    } flows[FLOWS_MOST];
};

/* Raise all rates together; whoever meets a full link stays where it is. No heap, no components, no caps. */
static void reference_fill(struct reference *reference)
{
    double left[LINKS_MOST];
    bool open[FLOWS_MOST];
    uint32_t open_count = 0;
    for (uint32_t l = 0; l < reference->link_count; l++) left[l] = (double)reference->capacities[l];
    for (uint32_t f = 0; f < FLOWS_MOST; f++) {
        open[f] = reference->flows[f].present;
        open_count += open[f];
        reference->flows[f].rate = 0;
    }
    while (open_count > 0) {
        double raise = 1e300;
        uint32_t users[LINKS_MOST] = {0};
        for (uint32_t f = 0; f < FLOWS_MOST; f++)
            for (uint32_t i = 0; open[f] && i < reference->flows[f].count; i++) users[reference->flows[f].links[i]]++;
        for (uint32_t l = 0; l < reference->link_count; l++)
            if (users[l] && left[l] / users[l] < raise) raise = left[l] / users[l];
        for (uint32_t l = 0; l < reference->link_count; l++) left[l] -= raise * users[l];
        for (uint32_t f = 0; f < FLOWS_MOST; f++) {
            if (!open[f]) continue;
            reference->flows[f].rate += raise;
            for (uint32_t i = 0; i < reference->flows[f].count; i++) {
                if (left[reference->flows[f].links[i]] > 1e-6 || !open[f]) continue;
                open[f] = false;
                open_count--;
            }
        }
    }
}

static void reference_compare(struct reference *reference, const struct network *network, uint64_t seed)
{
    reference_fill(reference);
    for (uint32_t f = 0; f < FLOWS_MOST; f++) {
        if (!reference->flows[f].present) continue;
        double rate = (double)network_rate(network, reference->flows[f].id), expected = reference->flows[f].rate;
        /* Whole bytes per second, rounded down once for each flow that was there before. */
        if (rate > expected + FLOWS_MOST || rate < expected - FLOWS_MOST)
            fail_msg("seed %llu flow %u: rate %g, reference %g", (unsigned long long)seed, f, rate, expected);
    }
}

static void change_one(struct reference *reference, struct network *network, struct random *random)
{
    uint32_t f = (uint32_t)random_below(random, FLOWS_MOST);
    if (reference->flows[f].present) {
        network_remove(network, reference->flows[f].id);
        reference->flows[f].present = false;
        return;
    }
    uint32_t most = reference->link_count < HOPS_MOST ? reference->link_count : HOPS_MOST;
    uint32_t count = 1 + (uint32_t)random_below(random, most);
    reference->flows[f].count = 0;
    while (reference->flows[f].count < count) {
        uint32_t link = (uint32_t)random_below(random, reference->link_count);
        bool there = false;
        for (uint32_t i = 0; i < reference->flows[f].count; i++) there |= reference->flows[f].links[i] == link;
        if (!there) reference->flows[f].links[reference->flows[f].count++] = link;
    }
    reference->flows[f].present = true;
    reference->flows[f].id = network_add(network, reference->flows[f].links, count);
}

static void random_networks_are_as_fair_as_the_reference(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct random random;
        struct reference reference = {0};
        random_seed(&random, seed);
        reference.link_count = 1 + (uint32_t)random_below(&random, LINKS_MOST);
        for (uint32_t l = 0; l < reference.link_count; l++) /* a few sizes, so that ties are common */
            reference.capacities[l] = UINT64_C(1000000) << random_below(&random, 4);
        struct network *network = network_create(reference.capacities, reference.link_count, HOPS_MOST);
        assert_non_null(network);
        for (uint32_t round = 0; round < 60; round++) {
            const uint32_t *changed;
            uint64_t changes = 1 + random_below(&random, 4);
            for (uint64_t i = 0; i < changes; i++) change_one(&reference, network, &random);
            network_settle(network, &changed);
            reference_compare(&reference, network, seed);
        }
        network_destroy(network);
    }
    print_message("seeds 1 to 300\n");
}

static void settling_tells_exactly_which_rates_changed(void **state)
{
    (void)state;
    const uint64_t capacities[] = {100, 100};
    const uint32_t first[] = {0}, second[] = {1};
    struct network *network = network_create(capacities, 2, 1);
    const uint32_t *changed;
    uint32_t a = network_add(network, first, 1), b = network_add(network, second, 1);
    assert_int_equal(network_settle(network, &changed), 2);
    assert_int_equal(network_settle(network, &changed), 0);
    network_add(network, first, 1);
    assert_int_equal(network_settle(network, &changed), 2);
    for (uint32_t i = 0; i < 2; i++) assert_int_not_equal(changed[i], b);
    network_remove(network, a);
    assert_int_equal(network_settle(network, &changed), 1);
    network_destroy(network);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_flow_gets_its_narrowest_link),
        cmocka_unit_test(two_flows_on_a_link_get_half_each_and_all_when_one_has_gone),
        cmocka_unit_test(what_one_flow_cannot_use_the_others_share),
        cmocka_unit_test(a_flow_over_no_link_is_unbounded),
        cmocka_unit_test(random_networks_are_as_fair_as_the_reference),
        cmocka_unit_test(settling_tells_exactly_which_rates_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
