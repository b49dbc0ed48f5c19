/* SPDX-License-Identifier: Apache-2.0 */
/* A captured machine with a known answer. Needs the folder that WEFT_TOPOLOGY_CORPUS names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/topology/search_checker.h"

static char path[4096];

static void rccl_8p_90a_has_24_sevenths_in_trees_and_64_21sts_in_rings(void **state)
{
    (void)state;
    weft_topology *topology = NULL;
    char error[256];
    if (weft_topology_read(path, &topology, error)) fail_msg("%s", error);
    struct search_request request = {.collective = SEARCH_ALL_GATHER};
    struct search_result *result = NULL;
    assert_int_equal(topology_search(topology, &request, &result, NULL), WEFT_OK);
    check_result(topology, result);
    double link = 0; /* one xGMI link's bandwidth */
    for (uint32_t i = 0; i < topology->link_count; i++)
        if (topology->links[i].kind == LINK_XGMI) link = topology->links[i].bandwidth.value;
    struct rational unit = result->unit_is_link ? (struct rational){1, 1} : rational_make((uint64_t)link, 1);
    struct rational trees = rational_divide(result->forest.algbw, unit);
    check_rational(trees, 24, 7);
    check_rational(result->forest.gap, 1, 1);
    check_rational(rational_divide(result->fractional_rings.algbw, unit), 64, 21);
    topology_search_free(result);
    weft_topology_destroy(topology);
}

int main(void)
{
    const char *corpus = getenv("WEFT_TOPOLOGY_CORPUS");
    snprintf(path, sizeof path, "%s/ROCm-rccl/topo_8p_90a.xml", corpus ? corpus : "");
    if (!corpus || access(path, R_OK)) {
        printf("needs WEFT_TOPOLOGY_CORPUS, a folder with ROCm-rccl/topo_8p_90a.xml\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rccl_8p_90a_has_24_sevenths_in_trees_and_64_21sts_in_rings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
