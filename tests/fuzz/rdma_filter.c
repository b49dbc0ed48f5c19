/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tests/fuzz/target.h"
#include "topology/model/rdma.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *filter = malloc(size + 2);
    if (!filter) return 0;
    filter[0] = '^'; /* for the same list turned round */
    memcpy(filter + 1, bytes, size);
    filter[size + 1] = '\0';
    const char *list = filter + 1;

    struct diagnostic diagnostic = {0};
    weft_status status = rdma_filter_check(list, &diagnostic);
    PROMISE(status == WEFT_OK || status == WEFT_INVALID_ARGUMENT);
    PROMISE((diagnostic.text[0] != '\0') == (status != WEFT_OK));
    static const char *const devices[] = {"mlx5_0", "mlx5_10", "rxe0", ""};
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        for (uint32_t port = 1; port <= 2; port++) {
            bool allowed = rdma_filter_allows(list, devices[i], port);
            PROMISE(status == WEFT_OK || !allowed);
            if (status == WEFT_OK && *list && *list != '^')
                PROMISE(rdma_filter_allows(filter, devices[i], port) == !allowed);
        }
    }
    free(filter);
    return 0;
}
