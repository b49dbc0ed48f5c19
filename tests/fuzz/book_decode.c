/* SPDX-License-Identifier: Apache-2.0 */
/* What another rank may say about plans over a topology: decoded, encoded again, and made plans of. */
#include <stdlib.h>
#include <string.h>

#include "collectives/arrange/book.h"
#include "collectives/plan/plan.h"
#include "tests/fuzz/target.h"

enum { RANKS = 4 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return 0;
}

static void check_plans(const struct book *book)
{
    for (int a = 0; a < WEFT_ALGORITHM_COUNT; a++) {
        const weft_plan_spec spec = {.size = sizeof spec,
                                     .collective = WEFT_ALL_REDUCE,
                                     .algorithm = (weft_algorithm)a,
                                     .rank_count = RANKS,
                                     .layout = book_layout(book, WEFT_ALL_REDUCE, (weft_algorithm)a)};
        weft_plan *plan;
        weft_plan_report report = {.size = sizeof report};
        if (!spec.layout || weft_plan_create(&spec, &plan) != WEFT_OK) continue;
        PROMISE(weft_plan_verify(plan, &report) == WEFT_OK);
        weft_plan_destroy(plan);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct book *book;
    struct diagnostic diagnostic = {0};
    weft_status status = book_decode(bytes, size, RANKS, &book, &diagnostic);
    if (status != WEFT_OK) {
        PROMISE(status == WEFT_PROTOCOL_ERROR && diagnostic.text[0] != '\0');
        return 0;
    }
    uint8_t *again;
    size_t again_size;
    PROMISE(book_encode(book, &again, &again_size) == WEFT_OK);
    PROMISE(again_size == size && memcmp(again, bytes, size) == 0);
    check_plans(book);
    free(again);
    book_free(book);
    return 0;
}
