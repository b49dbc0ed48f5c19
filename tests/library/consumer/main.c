/* SPDX-License-Identifier: Apache-2.0 */
/* A program outside the project: make and prove a plan, reduce over one rank. Prints one line; 0 when all was right. */
#include <stdio.h>
#include <weft/plan.h>
#include <weft/topology.h>
#include <weft/weft.h>

/* Names that weft has inside. If one leaked out of a library, the link would fail or weft would call these. */
int text_add(void);
int log_write(void);
int config_get(void);
int clock_now_ns(void);
static int calls;

int text_add(void)
{
    return ++calls;
}
int log_write(void)
{
    return ++calls;
}
int config_get(void)
{
    return ++calls;
}
int clock_now_ns(void)
{
    return ++calls;
}

static weft_status plan_prove(void)
{
    const weft_plan_spec spec = {.size = sizeof spec,
                                 .collective = WEFT_ALL_REDUCE,
                                 .algorithm = WEFT_ALGORITHM_RING,
                                 .rank_count = 4,
                                 .channel_count = 2};
    weft_plan *plan;
    weft_status status = weft_plan_create(&spec, &plan);
    if (status != WEFT_OK) return status;
    weft_plan_report report = {.size = sizeof report};
    status = weft_plan_verify(plan, &report);
    if (status != WEFT_OK) fprintf(stderr, "%s\n", report.message);
    weft_plan_destroy(plan);
    return status;
}

static weft_status sum_over_one_rank(void)
{
    weft_comm *comm;
    weft_status status = weft_comm_create_from_env(&comm);
    if (status != WEFT_OK) return status;
    float send[3] = {1, 2, 3}, recv[3] = {0};
    status = weft_all_reduce(comm, send, recv, 3, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
    weft_comm_destroy(comm);
    if (status == WEFT_OK && (recv[0] != 1 || recv[1] != 2 || recv[2] != 3)) status = WEFT_PROTOCOL_ERROR;
    return status;
}

int main(void)
{
    weft_status status = plan_prove();
    if (status == WEFT_OK) status = sum_over_one_rank();
    if (status != WEFT_OK || calls != 0) {
        fprintf(stderr, "%s, %d calls of the program's own functions\n", weft_status_text(status), calls);
        return 1;
    }
    printf("weft %s: plan of 4 ranks proved, sum of 1 rank right\n", weft_version());
    return 0;
}
