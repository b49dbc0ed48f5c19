/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <weft/plan.h>

#include "tests/fuzz/target.h"

/* A plan's text form is the only one it has: printing what was read and reading that gives the same plan. */
static void expect_round_trip(const weft_plan *plan)
{
    char *text = NULL, *again_text = NULL, error[256] = "";
    weft_plan *again = NULL;
    weft_status status = weft_plan_print(plan, WEFT_ALL_RANKS, WEFT_TEXT, &text);
    PROMISE(status == WEFT_OK);
    status = weft_plan_read(text, strlen(text), &again, error);
    if (status != WEFT_OK) fprintf(stderr, "%s: %s\n%s\n", weft_status_name(status), error, text);
    PROMISE(status == WEFT_OK);
    PROMISE(weft_plan_hash(plan) == weft_plan_hash(again));
    PROMISE(weft_plan_print(again, WEFT_ALL_RANKS, WEFT_TEXT, &again_text) == WEFT_OK);
    PROMISE(strcmp(text, again_text) == 0);
    weft_plan_destroy(again);
    free(again_text);
    free(text);

    PROMISE(weft_plan_print(plan, WEFT_ALL_RANKS, WEFT_JSON, &text) == WEFT_OK);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    weft_plan *plan = NULL;
    char error[256] = "";
    weft_status status = weft_plan_read((const char *)bytes, size, &plan, error);
    if (status != WEFT_OK) {
        PROMISE(status == WEFT_BAD_FORMAT || status == WEFT_OUT_OF_MEMORY);
        PROMISE(plan == NULL);
        PROMISE(memchr(error, '\0', sizeof error));
        PROMISE(status != WEFT_BAD_FORMAT || error[0] != '\0');
        return 0;
    }
    PROMISE(plan != NULL);
    expect_round_trip(plan);

    weft_plan_report report = {.size = sizeof report};
    status = weft_plan_verify(plan, &report);
    PROMISE(status == WEFT_OK || status == WEFT_INVALID_PLAN || status == WEFT_OUT_OF_MEMORY);
    PROMISE(status != WEFT_INVALID_PLAN || report.message[0] != '\0');
    PROMISE(memchr(report.message, '\0', sizeof report.message));
    weft_plan_destroy(plan);
    return 0;
}
