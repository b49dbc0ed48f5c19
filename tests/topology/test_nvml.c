/* SPDX-License-Identifier: Apache-2.0 */
/* test_topology_nvml [full|old|lacking|broken]: which of tests/fakenvml's libraries LD_LIBRARY_PATH leads to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "tests/topology/search_checker.h"
#include "topology/discover/discover.h"
#include "topology/discover/nvml.h"
#include "topology/model/model.h"

/* The hybrid cube mesh of a DGX-1V: two links to each of the first pairs, one to each of the second. */
static const uint8_t doubled[8][2] = {{0, 3}, {0, 4}, {1, 2}, {1, 5}, {2, 3}, {4, 7}, {5, 6}, {6, 7}};
static const uint8_t single[8][2] = {{0, 1}, {0, 2}, {1, 3}, {2, 6}, {3, 7}, {4, 5}, {4, 6}, {5, 7}};

static void script_set(struct text *script)
{
    char *taken = text_take(script);
    assert_non_null(taken);
    assert_int_equal(setenv("FAKENVML", taken, 1), 0);
    free(taken);
}

static void gpus_say(struct text *script, uint32_t count, uint32_t capability)
{
    for (uint32_t i = 0; i < count; i++) text_add(script, "gpu 0000:%02x:00 %u GPU model %u\n", 16 + i, capability, i);
}

static void pairs_say(struct text *script, const uint8_t pairs[8][2], uint32_t count)
{
    for (uint32_t i = 0; i < 8 * count; i++) {
        uint32_t one = pairs[i % 8][0], other = pairs[i % 8][1];
        text_add(script, "link %u 1 0 2 0000:%02x:00\n", one, 16 + other);
        text_add(script, "link %u 1 0 2 0000:%02x:00\n", other, 16 + one);
    }
}

/* A machine of PCI functions on one bus: GPUs at 10:00.0, 11:00.0 ...; NVSwitches at 80:00.0, 81:00.0 ... */
static char *machine_xml(uint32_t gpu_count, uint32_t switch_count)
{
    struct text xml = {0};
    uint32_t index = 10;
    static const char sets[] = "cpuset=\"0x1\" complete_cpuset=\"0x1\" nodeset=\"0x1\" complete_nodeset=\"0x1\"";
    text_add(
        &xml,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><!DOCTYPE topology SYSTEM \"hwloc2.dtd\"><topology version=\"2.0\">"
        "<object type=\"Machine\" os_index=\"0\" %s allowed_cpuset=\"0x1\" allowed_nodeset=\"0x1\" gp_index=\"1\">"
        "<object type=\"Package\" os_index=\"0\" %s gp_index=\"2\">"
        "<object type=\"NUMANode\" os_index=\"0\" %s gp_index=\"3\" local_memory=\"1073741824\"/>"
        "<object type=\"Core\" os_index=\"0\" %s gp_index=\"4\"><object type=\"PU\" os_index=\"0\" %s "
        "gp_index=\"5\"/></object>"
        "<object type=\"Bridge\" gp_index=\"6\" bridge_type=\"0-1\" depth=\"0\" bridge_pci=\"0000:[00-ff]\">",
        sets, sets, sets, sets, sets);
    for (uint32_t i = 0; i < gpu_count + switch_count; i++) {
        bool gpu = i < gpu_count;
        text_add(&xml,
                 "<object type=\"PCIDev\" gp_index=\"%u\" pci_busid=\"0000:%02x:00.0\" pci_type=\"%s [10de:%s] "
                 "[0000:0000] 00\" pci_link_speed=\"15.753846\"/>",
                 index++, gpu ? 16 + i : 128 + i - gpu_count, gpu ? "0302" : "0680", gpu ? "1db1" : "1af1");
    }
    text_add(&xml, "</object></object></object></topology>");
    return text_take(&xml);
}

static weft_topology *discover(uint32_t gpu_count, uint32_t switch_count, struct nvml_report *report)
{
    hwloc_topology_t hwloc;
    struct diagnostic diagnostic = {0};
    weft_topology *topology = NULL;
    char *xml = machine_xml(gpu_count, switch_count);
    nvml_read(report);
    assert_int_equal(hwloc_topology_init(&hwloc), 0);
    assert_int_equal(hwloc_topology_set_xmlbuffer(hwloc, xml, (int)strlen(xml) + 1), 0);
    assert_true(topology_hwloc_configure(hwloc));
    assert_int_equal(hwloc_topology_load(hwloc), 0);
    if (topology_from_hwloc(hwloc, NULL, report, &topology, &diagnostic)) fail_msg("refused: %s", diagnostic.text);
    hwloc_topology_destroy(hwloc);
    free(xml);
    return topology;
}

static uint32_t count_nodes(const weft_topology *topology, enum node_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->node_count; i++) count += topology->nodes[i].kind == kind;
    return count;
}

/* Bundles of NVLinks, and how many links they stand for. */
static uint32_t count_nvlinks(const weft_topology *topology, uint32_t *links)
{
    uint32_t count = 0;
    *links = 0;
    for (uint32_t i = 0; i < topology->link_count; i++) {
        if (topology->links[i].kind != LINK_NVLINK) continue;
        count++;
        *links += topology->links[i].count;
    }
    return count;
}

static void expect_nvlinks(const weft_topology *topology, uint32_t bundles, uint32_t links, double bandwidth)
{
    uint32_t found_links, found = count_nvlinks(topology, &found_links);
    assert_int_equal(found, bundles);
    assert_int_equal(found_links, links);
    for (uint32_t i = 0; i < topology->link_count; i++) {
        const struct topology_link *link = &topology->links[i];
        if (link->kind != LINK_NVLINK) continue;
        assert_true(link->bandwidth.value == bandwidth * link->count);
        assert_true(link->reverse_bandwidth.value == link->bandwidth.value);
        assert_int_equal(link->bandwidth.source, bandwidth > 0 ? FIGURE_DATASHEET : FIGURE_UNKNOWN);
    }
}

static void hybrid_cube_mesh_has_the_known_bound(void **state)
{
    struct nvml_report *report = *state;
    struct text script = {0};
    gpus_say(&script, 8, 70);
    pairs_say(&script, doubled, 2);
    pairs_say(&script, single, 1);
    script_set(&script);
    weft_topology *topology = discover(8, 0, report);
    assert_true(report->usable && report->lists_all);
    expect_nvlinks(topology, 16, 24, 25e9);
    assert_int_equal(topology->note_count, 0);
    struct search_request request = {.collective = SEARCH_ALL_GATHER};
    struct search_result *result = NULL;
    assert_int_equal(topology_search(topology, &request, &result, NULL), WEFT_OK);
    check_rational(rational_divide(result->bound.algbw, rational_make(UINT64_C(25000000000), 1)), 48, 7);
    check_result(topology, result);
    topology_search_free(result);
    weft_topology_destroy(topology);
}

static void gpus_are_named_and_dated(void **state)
{
    struct text script = {0};
    gpus_say(&script, 1, 90);
    text_add(&script, "gpu 0000:11:00 999999 tab\tand \x01\n");
    script_set(&script);
    weft_topology *topology = discover(2, 0, *state);
    for (uint32_t i = 0, gpu = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (node->kind != NODE_GPU) continue;
        assert_string_equal(node->model, gpu == 0 ? "GPU model 0" : "tab?and ?");
        if (gpu == 0) assert_string_equal(node->architecture, "sm_90");
        if (gpu == 1) assert_null(node->architecture);
        gpu++;
    }
    weft_topology_destroy(topology);
}

static void switches_say(struct text *script, uint32_t kind, const char *address)
{
    gpus_say(script, 8, 80);
    for (uint32_t i = 0; i < 8 * 12; i++) {
        char own[16];
        snprintf(own, sizeof own, "0000:%02x:00", 128 + i % 6);
        text_add(script, "link %u 1 %u 5 %s\n", i / 12, kind, address ? address : own);
    }
}

static void visible_switches_are_matched(void **state)
{
    struct text script = {0};
    switches_say(&script, 2, NULL);
    script_set(&script);
    weft_topology *topology = discover(8, 6, *state);
    assert_int_equal(count_nodes(topology, NODE_NVSWITCH), 6);
    expect_nvlinks(topology, 48, 96, 25e9);
    weft_topology_destroy(topology);
}

static void hidden_switches_are_known_by_their_addresses(void **state)
{
    struct text script = {0};
    switches_say(&script, 2, NULL);
    script_set(&script);
    weft_topology *topology = discover(8, 0, *state);
    assert_int_equal(count_nodes(topology, NODE_NVSWITCH), 6);
    expect_nvlinks(topology, 48, 96, 25e9);
    weft_topology_destroy(topology);
}

static void switches_without_addresses_are_one(void **state)
{
    for (uint32_t kind = 2; kind < 256; kind += 253) { /* said to be a switch; unknown */
        struct text script = {0};
        switches_say(&script, kind, "-");
        script_set(&script);
        weft_topology *topology = discover(8, 0, *state);
        assert_int_equal(count_nodes(topology, NODE_NVSWITCH), 1);
        expect_nvlinks(topology, 8, 96, 25e9);
        for (uint32_t i = 0; i < topology->node_count; i++)
            if (topology->nodes[i].kind == NODE_NVSWITCH) assert_string_equal(topology->nodes[i].name, "NVSwitch");
        weft_topology_destroy(topology);
    }
}

static void links_that_are_down_or_seen_from_one_side_are_not_there(void **state)
{
    struct text script = {0};
    gpus_say(&script, 3, 80);
    text_add(&script, "link 0 1 0 5 0000:11:00\nlink 0 1 0 5 0000:11:00\nlink 0 1 0 5 0000:12:00\n"
                      "link 1 0 0 5 0000:10:00\nlink 1 1 0 5 0000:10:00\nlink 2 0 0 5 0000:10:00\n");
    script_set(&script);
    weft_topology *topology = discover(3, 0, *state);
    expect_nvlinks(topology, 1, 1, 25e9);
    assert_int_equal(topology->note_count, 2);
    weft_topology_destroy(topology);
}

static void withheld_gpus_are_not_there(void **state)
{
    struct nvml_report *report = *state;
    struct text script = {0};
    gpus_say(&script, 2, 80);
    text_add(&script, "withheld 4\nlink 0 1 0 5 0000:11:00\nlink 1 1 0 5 0000:10:00\nlink 0 1 0 5 0000:12:00\n");
    script_set(&script);
    weft_topology *topology = discover(4, 0, report);
    assert_true(report->lists_all);
    assert_int_equal(count_nodes(topology, NODE_GPU), 2);
    expect_nvlinks(topology, 1, 1, 25e9);
    weft_topology_destroy(topology);
}

static void a_gpu_that_does_not_answer_hides_no_other(void **state)
{
    struct text script = {0};
    gpus_say(&script, 2, 80);
    text_add(&script, "withheld 15\n"); /* lost */
    script_set(&script);
    weft_topology *topology = discover(4, 0, *state);
    assert_int_equal(count_nodes(topology, NODE_GPU), 4);
    weft_topology_destroy(topology);
}

static void the_version_decides_where_no_data_sheet_does(void **state)
{
    static const struct {
        uint32_t capability, version;
        double bandwidth;
    } rows[] = {{90, 7, 25e9}, {100, 7, 50e9}, {86, 5, 14.0625e9}, {61, 1, 20e9},
                {61, 6, 25e9}, {61, 7, 0},     {0, 99, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct text script = {0};
        gpus_say(&script, 2, rows[i].capability);
        for (uint32_t k = 0; k < 2; k++) text_add(&script, "link %u 1 0 %u 0000:%02x:00\n", k, rows[i].version, 17 - k);
        script_set(&script);
        weft_topology *topology = discover(2, 0, *state);
        expect_nvlinks(topology, 1, 1, rows[i].bandwidth);
        weft_topology_destroy(topology);
    }
}

static void a_cpu_is_its_package(void **state)
{
    struct text script = {0};
    gpus_say(&script, 1, 70);
    text_add(&script, "link 0 1 1 2 0004:04:00\nlink 0 1 1 2 0004:04:00\n");
    script_set(&script);
    weft_topology *topology = discover(1, 0, *state);
    expect_nvlinks(topology, 1, 2, 25e9);
    assert_int_equal(count_nodes(topology, NODE_NVSWITCH), 0);
    for (uint32_t i = 0; i < topology->link_count; i++)
        if (topology->links[i].kind == LINK_NVLINK)
            assert_int_equal(topology->nodes[topology->links[i].to].kind, NODE_PACKAGE);
    weft_topology_destroy(topology);
}

static void a_failing_driver_costs_the_nvlinks_alone(void **state)
{
    struct nvml_report *report = *state;
    static const struct {
        const char *script, *reason;
    } rows[] = {
        {"init 18\n", "nvmlInit: Driver/library version mismatch (18)"},
        {"init 9\n", "nvmlInit: unknown error (9)"},
        {"gpu 0000:10:00 80 x\ncount 999 1\n", "nvmlDeviceGetCount: unknown error (999)"},
        {"count 0 2147483648\n", "NVML counts 2147483648 GPUs, more than the 64 that any host can have"},
        {"gpu 0000:10:00 80 x\ngpu 0000:10:00 80 x\n", "NVML has two GPUs at 0000:10:00"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char reason[NVML_REASON_BYTES];
        assert_int_equal(setenv("FAKENVML", rows[i].script, 1), 0);
        weft_topology *topology = discover(2, 1, report);
        assert_false(report->usable);
        assert_string_equal(report->reason, rows[i].reason);
        assert_int_equal(count_nodes(topology, NODE_GPU), 2);
        expect_nvlinks(topology, 0, 0, 0);
        weft_topology_destroy(topology);
        if (i < 4) assert_false(nvml_probe(reason));
        if (i < 4) assert_string_equal(reason, rows[i].reason);
    }
}

static void lies_make_no_links(void **state)
{
    struct nvml_report *report = *state;
    struct text script = {0};
    gpus_say(&script, 2, 80);
    text_add(&script, "gpu ffffffff:ffff:ff 80 nowhere\n"
                      "link 0 1 0 99 0077:66:15\n"   /* a GPU that nobody has */
                      "link 0 1 0 99 0000:10:00\n"   /* itself */
                      "link 0 1 2 99 0000:11:00\n"   /* a switch that is a GPU */
                      "link 0 1 0 99 0000:80:00\n"   /* a GPU that is a switch */
                      "link 0 1 0 99 -\n"            /* a GPU at no address */
                      "link 0 7 0 99 0000:11:00\n"); /* neither up nor down */
    script_set(&script);
    weft_topology *topology = discover(2, 1, report);
    assert_int_equal(report->gpu_count, 2);
    assert_false(report->lists_all);
    expect_nvlinks(topology, 0, 0, 0);
    assert_int_equal(count_nodes(topology, NODE_NVSWITCH), 1);
    assert_int_equal(topology->note_count, 1);
    weft_topology_destroy(topology);
}

/* All of it, as a program would: hwloc is told to take the machine for this one. */
static void discovery_asks_nvml(void **state)
{
    (void)state;
    char path[] = "/tmp/weft_nvml_XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    FILE *file = fdopen(descriptor, "w");
    char *xml = machine_xml(2, 0);
    struct text script = {0};
    assert_true(fputs(xml, file) >= 0);
    assert_int_equal(fclose(file), 0);
    gpus_say(&script, 2, 80);
    text_add(&script, "link 0 1 0 5 0000:11:00\nlink 1 1 0 5 0000:10:00\n");
    script_set(&script);
    assert_int_equal(setenv("HWLOC_XMLFILE", path, 1), 0);
    for (int here = 0; here < 2; here++) {
        weft_topology *topology = NULL;
        assert_int_equal(setenv("HWLOC_THISSYSTEM", here ? "1" : "0", 1), 0);
        assert_int_equal(weft_topology_discover(&topology), WEFT_OK);
        expect_nvlinks(topology, (uint32_t)here, (uint32_t)here, 25e9);
        weft_topology_destroy(topology);
    }
    unsetenv("HWLOC_XMLFILE");
    unsetenv("HWLOC_THISSYSTEM");
    remove(path);
    free(xml);
}

static void an_older_driver_tells_by_addresses(void **state)
{
    struct nvml_report *report = *state;
    struct text script = {0};
    gpus_say(&script, 8, 70);
    pairs_say(&script, doubled, 2);
    pairs_say(&script, single, 1);
    script_set(&script);
    weft_topology *topology = discover(8, 0, report);
    assert_true(report->usable);
    expect_nvlinks(topology, 16, 24, 0);
    weft_topology_destroy(topology);
    switches_say(&script, 2, NULL);
    script_set(&script);
    topology = discover(8, 2, report); /* two of six are on the bus */
    assert_int_equal(count_nodes(topology, NODE_NVSWITCH), 6);
    expect_nvlinks(topology, 48, 96, 0);
    weft_topology_destroy(topology);
}

static void a_function_that_is_missing_is_named(void **state)
{
    struct nvml_report *report = *state;
    assert_int_equal(setenv("FAKENVML", "gpu 0000:10:00 80 x\n", 1), 0);
    weft_topology *topology = discover(2, 0, report);
    assert_string_equal(report->reason, "libnvidia-ml.so.1 has no nvmlDeviceGetNvLinkState");
    assert_int_equal(count_nodes(topology, NODE_GPU), 2);
    weft_topology_destroy(topology);
}

static void a_library_that_cannot_be_opened_is_named(void **state)
{
    struct nvml_report *report = *state;
    weft_topology *topology = discover(2, 0, report);
    assert_false(report->usable);
    assert_non_null(strstr(report->reason, "libnvidia-ml.so.1"));
    assert_int_equal(count_nodes(topology, NODE_GPU), 2);
    expect_nvlinks(topology, 0, 0, 0);
    weft_topology_destroy(topology);
}

static int report_new(void **state)
{
    *state = malloc(sizeof(struct nvml_report));
    return *state ? 0 : -1;
}

static int report_free(void **state)
{
    free(*state);
    return 0;
}

int main(int argc, char *argv[])
{
    const struct CMUnitTest full[] = {
        cmocka_unit_test(hybrid_cube_mesh_has_the_known_bound),
        cmocka_unit_test(gpus_are_named_and_dated),
        cmocka_unit_test(visible_switches_are_matched),
        cmocka_unit_test(hidden_switches_are_known_by_their_addresses),
        cmocka_unit_test(switches_without_addresses_are_one),
        cmocka_unit_test(links_that_are_down_or_seen_from_one_side_are_not_there),
        cmocka_unit_test(withheld_gpus_are_not_there),
        cmocka_unit_test(a_gpu_that_does_not_answer_hides_no_other),
        cmocka_unit_test(the_version_decides_where_no_data_sheet_does),
        cmocka_unit_test(a_cpu_is_its_package),
        cmocka_unit_test(a_failing_driver_costs_the_nvlinks_alone),
        cmocka_unit_test(lies_make_no_links),
        cmocka_unit_test(discovery_asks_nvml),
    };
    const struct CMUnitTest old[] = {cmocka_unit_test(an_older_driver_tells_by_addresses)};
    const struct CMUnitTest lacking[] = {cmocka_unit_test(a_function_that_is_missing_is_named)};
    const struct CMUnitTest broken[] = {cmocka_unit_test(a_library_that_cannot_be_opened_is_named)};
    const char *library = argc > 1 ? argv[1] : "full";
    if (strcmp(library, "full") == 0) return cmocka_run_group_tests(full, report_new, report_free);
    if (strcmp(library, "old") == 0) return cmocka_run_group_tests(old, report_new, report_free);
    if (strcmp(library, "lacking") == 0) return cmocka_run_group_tests(lacking, report_new, report_free);
    if (strcmp(library, "broken") == 0) return cmocka_run_group_tests(broken, report_new, report_free);
    fprintf(stderr, "usage: test_topology_nvml [full|old|lacking|broken], LD_LIBRARY_PATH being that folder\n");
    return 2;
}
