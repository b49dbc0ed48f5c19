/* SPDX-License-Identifier: Apache-2.0 */
/* Plans over the rings and trees of well-known machines: proven right, and as good as the search says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "collectives/arrange/book.h"
#include "collectives/plan/plan.h"

struct machine {
    weft_topology *topology;
    uint32_t *nodes; /* by rank */
    uint32_t rank_count;
};

/* A rank on each GPU; where there are none, @p per_host on each host, consecutive or one host after the other. */
static struct machine machine_open(const char *name, uint32_t per_host, bool consecutive)
{
    char path[512], error[256];
    struct machine machine = {0};
    snprintf(path, sizeof path, "%s/%s", MACHINES, name);
    if (weft_topology_read(path, &machine.topology, error) != WEFT_OK) fail_msg("%s", error);
    const weft_topology *topology = machine.topology;
    machine.nodes = calloc((size_t)topology->node_count * per_host + 1, sizeof *machine.nodes);
    uint32_t hosts = 0;
    for (uint32_t i = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].kind == NODE_GPU) machine.nodes[machine.rank_count++] = i;
        hosts += topology->nodes[i].kind == NODE_HOST;
    }
    if (machine.rank_count) return machine;
    machine.rank_count = hosts * per_host;
    for (uint32_t i = 0, host = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].kind != NODE_HOST) continue;
        for (uint32_t k = 0; k < per_host; k++) machine.nodes[consecutive ? host * per_host + k : k * hosts + host] = i;
        host++;
    }
    return machine;
}

static void machine_close(struct machine *machine)
{
    weft_topology_destroy(machine->topology);
    free(machine->nodes);
}

static struct book *book_of(const struct machine *machine, uint32_t channel_limit)
{
    const struct book_request request = {.topology = machine->topology,
                                         .nodes = machine->nodes,
                                         .rank_count = machine->rank_count,
                                         .channel_limit = channel_limit};
    struct book *book;
    struct diagnostic diagnostic;
    if (book_make(&request, &book, &diagnostic) != WEFT_OK) fail_msg("%s", diagnostic.text);
    return book;
}

static void expect_right_plans(const struct book *book, uint32_t channel_limit)
{
    for (int c = 0; c < WEFT_COLLECTIVE_COUNT; c++)
        for (int a = 0; a < WEFT_ALGORITHM_COUNT; a++) {
            const struct book_entry *entry = &book->entries[c][a];
            if (entry->arrangement == ARRANGEMENT_KIND_COUNT) continue;
            for (uint32_t root = 0; root<book->rank_count; root += book->rank_count> 16 ? 37 : 3) {
                bool rooted = c == WEFT_BROADCAST || c == WEFT_REDUCE;
                const weft_plan_spec spec = {.size = sizeof spec,
                                             .collective = (weft_collective)c,
                                             .algorithm = (weft_algorithm)a,
                                             .rank_count = book->rank_count,
                                             .root = rooted ? root : 0,
                                             .layout = book_layout(book, (weft_collective)c, (weft_algorithm)a)};
                weft_plan *plan;
                weft_plan_report report = {.size = sizeof report};
                assert_int_equal(weft_plan_create(&spec, &plan), WEFT_OK);
                if (weft_plan_verify(plan, &report) != WEFT_OK)
                    fail_msg("%s %s: %s", weft_collective_name((weft_collective)c),
                             weft_algorithm_name((weft_algorithm)a), report.message);
                assert_true(plan->channel_count <= channel_limit);
                weft_plan_destroy(plan);
                if (!rooted) break;
            }
        }
}

static void plans_over_machines_are_proven_right(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t per_host;
        bool consecutive;
    } machines[] = {{"dgx1v.yaml", 1, true},      {"dgx_a100.yaml", 1, true}, {"mi250x_pair.yaml", 1, true},
                    {"mi250x_rccl.xml", 1, true}, {"fat_tree.yaml", 1, true}, {"fat_tree.yaml", 2, false},
                    {"dragonfly.yaml", 2, false}};
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        struct machine machine = machine_open(machines[i].name, machines[i].per_host, machines[i].consecutive);
        struct book *book = book_of(&machine, 16);
        expect_right_plans(book, 16);
        book_free(book);
        machine_close(&machine);
    }
}

static void too_many_channels_become_fewer(void **state)
{
    (void)state;
    struct machine machine = machine_open("dgx1v.yaml", 1, true);
    for (uint32_t limit = 1; limit <= 4; limit++) {
        struct book *book = book_of(&machine, limit);
        expect_right_plans(book, limit);
        assert_true(book->channel_count <= limit);
        assert_true(book->kept[ARRANGE_TREES] < book->found[ARRANGE_TREES]);
        book_free(book);
    }
    machine_close(&machine);
}

/* More trees than any plan has channels: of 150, at two roots in turn, the 64 heaviest of each are left as they were.
 */
static void the_heaviest_trees_of_each_root_are_kept(void **state)
{
    (void)state;
    enum { TREES = 150, MOST = 64 };
    static const uint32_t parents[3] = {0, 0, 1};
    weft_plan_tree trees[TREES];
    double all = 0, left = 0;
    for (uint32_t i = 0; i < TREES; i++) {
        trees[i] = (weft_plan_tree){.root = i % 2, .parents = parents, .weight = 1 + i * 37 % TREES};
        all += trees[i].weight;
    }
    const struct arrangement packing = {
        .layout = {.size = sizeof packing.layout, .trees = trees, .tree_count = TREES}, .trees = trees, .algbw = 1e9};
    struct arrangement fewer;
    assert_int_equal(arrangement_depth(&packing, true), TREES / 2);
    assert_true(arrangement_fewer(&packing, true, MOST, &fewer));
    assert_int_equal(fewer.layout.tree_count, 2 * MOST);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < TREES; i++) {
        uint32_t heavier = 0;
        for (uint32_t k = i % 2; k < TREES; k += 2) heavier += trees[k].weight > trees[i].weight;
        if (heavier >= MOST) continue;
        assert_memory_equal(&fewer.layout.trees[kept++], &trees[i], sizeof trees[i]);
        left += trees[i].weight;
    }
    assert_int_equal(kept, 2 * MOST);
    assert_true(fewer.algbw > 1e9 * left / all * 0.999 && fewer.algbw < 1e9 * left / all * 1.001);
    arrangement_free(&fewer);
}

/* Its six rings run at 6/7 of what all NVLinks carry; ranks in order go over PCI. */
static void a_dgx1v_gets_its_rings(void **state)
{
    (void)state;
    struct machine machine = machine_open("dgx1v.yaml", 1, true);
    struct book *book = book_of(&machine, 16);
    const struct book_entry *entry = &book->entries[WEFT_ALL_GATHER][WEFT_ALGORITHM_RING];
    assert_true(entry->arrangement == ARRANGE_RINGS || entry->arrangement == ARRANGE_FRACTIONAL_RINGS);
    assert_true(entry->algbw > 0.99 * 48.0 / 7 * 25e9);
    assert_true(entry->algbw > 5 * entry->algbw_in_order);
    book_free(book);
    machine_close(&machine);
}

/* Ranks dealt out host by host cross the network at every step; the book's rings cross it once a host. */
static void ranks_in_an_odd_order_get_their_hosts_together(void **state)
{
    (void)state;
    struct machine machine = machine_open("fat_tree.yaml", 4, false);
    struct book *book = book_of(&machine, 16);
    const struct book_entry *entry = &book->entries[WEFT_ALL_REDUCE][WEFT_ALGORITHM_RING];
    assert_int_not_equal(entry->arrangement, ARRANGEMENT_KIND_COUNT);
    assert_true(entry->algbw > 3.9 * entry->algbw_in_order);
    const weft_plan_ring *ring = &book_layout(book, WEFT_ALL_REDUCE, WEFT_ALGORITHM_RING)->rings[0];
    uint32_t crossings = 0;
    for (uint32_t i = 0; i < machine.rank_count; i++)
        crossings += machine.nodes[ring->order[i]] != machine.nodes[ring->order[(i + 1) % machine.rank_count]];
    assert_int_equal(crossings, 64);
    book_free(book);
    machine_close(&machine);
}

static void ranks_that_are_all_alike_stay_in_order(void **state)
{
    (void)state;
    struct machine machine = machine_open("fat_tree.yaml", 1, true);
    struct book *book = book_of(&machine, 16);
    assert_int_equal(book->entries[WEFT_ALL_REDUCE][WEFT_ALGORITHM_RING].arrangement, ARRANGEMENT_KIND_COUNT);
    book_free(book);
    for (uint32_t rank = 0; rank < machine.rank_count; rank++) machine.nodes[rank] = machine.nodes[0];
    book = book_of(&machine, 16); /* all on one host */
    assert_int_equal(book->channel_count, 0);
    book_free(book);
    machine_close(&machine);
}

static void books_are_equal_and_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct machine machine = machine_open("mi250x_pair.yaml", 1, true);
    uint8_t *bytes[2], *again;
    size_t sizes[2], size;
    for (int i = 0; i < 2; i++) {
        struct book *book = book_of(&machine, 16);
        assert_int_equal(book_encode(book, &bytes[i], &sizes[i]), WEFT_OK);
        book_free(book);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(bytes[0], bytes[1], sizes[0]);
    struct book *book;
    assert_int_equal(book_decode(bytes[0], sizes[0], machine.rank_count, &book, NULL), WEFT_OK);
    expect_right_plans(book, 16);
    assert_int_equal(book_encode(book, &again, &size), WEFT_OK);
    assert_int_equal(size, sizes[0]);
    assert_memory_equal(again, bytes[0], size);
    book_free(book);
    for (size_t part = 0; part < size; part++) {
        struct diagnostic diagnostic = {0};
        uint8_t *exact = malloc(part + 1);
        memcpy(exact, again, part);
        assert_int_equal(book_decode(exact, part, machine.rank_count, &book, &diagnostic), WEFT_PROTOCOL_ERROR);
        assert_string_not_equal(diagnostic.text, "");
        free(exact);
    }
    assert_int_equal(book_decode(again, size, machine.rank_count + 1, &book, NULL), WEFT_PROTOCOL_ERROR);
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct random random;
        random_seed(&random, seed);
        memcpy(bytes[1], again, size);
        for (int changes = 0; changes < 3; changes++)
            bytes[1][random_below(&random, random_below(&random, 2) ? 200 : size)] = (uint8_t)random_next(&random);
        weft_status status = book_decode(bytes[1], size, machine.rank_count, &book, NULL);
        if (status == WEFT_OK) book_free(book);
        if (status != WEFT_OK && status != WEFT_PROTOCOL_ERROR) fail_msg("seed %llu", (unsigned long long)seed);
    }
    free(again);
    free(bytes[0]);
    free(bytes[1]);
    machine_close(&machine);
}

static void check_groups(const struct grouping *grouping, uint32_t rank_count, uint32_t count, uint32_t largest,
                         uint32_t levels)
{
    assert_int_equal(grouping->count, count);
    assert_int_equal(grouping->largest, largest);
    assert_int_equal(grouping->layout.level_count, levels);
    const weft_plan_spec spec = {.size = sizeof spec,
                                 .collective = WEFT_ALL_REDUCE,
                                 .algorithm = WEFT_ALGORITHM_HIERARCHICAL,
                                 .rank_count = rank_count,
                                 .channel_count = 2,
                                 .layout = &grouping->layout};
    weft_plan *plan;
    assert_int_equal(weft_plan_create(&spec, &plan), WEFT_OK);
    weft_plan_destroy(plan);
}

static void groups_are_hosts_and_what_is_in_them(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t per_host, count, largest, levels;        /* no levels: no groups */
    } machines[] = {{"dgx_h100_rails.yaml", 1, 32, 8, 2}, /* packages in hosts */
                    {"dgx_a100.yaml", 1, 2, 4, 1},        /* of one host its packages */
                    {"fat_tree.yaml", 1, 64, 1, 1},
                    {"fat_tree.yaml", 3, 64, 3, 1}};
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        struct machine machine = machine_open(machines[i].name, machines[i].per_host, false);
        struct grouping grouping;
        assert_int_equal(grouping_of_places(machine.topology, machine.nodes, machine.rank_count, &grouping), WEFT_OK);
        check_groups(&grouping, machine.rank_count, machines[i].count, machines[i].largest, machines[i].levels);
        grouping_free(&grouping);
        machine_close(&machine);
    }
}

static void groups_of_hosts_are_refused_where_they_tell_nothing_or_are_too_many(void **state)
{
    (void)state;
    uint32_t hosts[300] = {0};
    struct grouping grouping;
    assert_int_equal(grouping_of_hosts(hosts, 4, &grouping), WEFT_UNSUPPORTED);
    hosts[2] = 2;
    assert_int_equal(grouping_of_hosts(hosts, 4, &grouping), WEFT_OK);
    check_groups(&grouping, 4, 2, 3, 1);
    grouping_free(&grouping);
    for (uint32_t rank = 0; rank < 300; rank++) hosts[rank] = rank;
    assert_int_equal(grouping_of_hosts(hosts, 255, &grouping), WEFT_OK);
    check_groups(&grouping, 255, 255, 1, 1);
    grouping_free(&grouping);
    assert_int_equal(grouping_of_hosts(hosts, 256, &grouping), WEFT_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_over_machines_are_proven_right),
        cmocka_unit_test(too_many_channels_become_fewer),
        cmocka_unit_test(the_heaviest_trees_of_each_root_are_kept),
        cmocka_unit_test(a_dgx1v_gets_its_rings),
        cmocka_unit_test(ranks_in_an_odd_order_get_their_hosts_together),
        cmocka_unit_test(ranks_that_are_all_alike_stay_in_order),
        cmocka_unit_test(groups_are_hosts_and_what_is_in_them),
        cmocka_unit_test(groups_of_hosts_are_refused_where_they_tell_nothing_or_are_too_many),
        cmocka_unit_test(books_are_equal_and_come_out_as_they_went_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
