/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program outside the project: make and prove a plan, then start itself as two ranks that reduce over shared memory.
 * Prints one line; 0 when all was right.
 */
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

/* Every rank gives rank + {1, 2, 3}. */
static weft_status sum_over_ranks(weft_comm *comm)
{
    const float rank = (float)weft_comm_rank(comm), n = (float)weft_comm_rank_count(comm);
    const float send[3] = {rank + 1, rank + 2, rank + 3};
    float recv[3];
    weft_status status = weft_all_reduce(comm, send, recv, 3, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
    if (status != WEFT_OK) return status;
    for (int i = 0; i < 3; i++) {
        float expected = n * (n - 1) / 2 + n * (float)(i + 1); /* small whole numbers: exact */
        if (recv[i] != expected) {
            fprintf(stderr, "element %d is %g; expected %g\n", i, (double)recv[i], (double)expected);
            return WEFT_PROTOCOL_ERROR;
        }
    }
    return WEFT_OK;
}

static int rank_run(void)
{
    weft_comm *comm;
    weft_status status = weft_comm_create_from_env(&comm);
    if (status == WEFT_OK) {
        status = sum_over_ranks(comm);
        if (status == WEFT_OK && weft_comm_rank(comm) == 0) {
            printf("weft %s: plan of 4 ranks proved, sum of %u ranks right\n", weft_version(),
                   weft_comm_rank_count(comm));
        }
        weft_comm_destroy(comm);
    }
    if (status != WEFT_OK || calls != 0) {
        fprintf(stderr, "%s %d calls of the program's own functions.\n", weft_status_text(status), calls);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    (void)argc;
    if (weft_local_is_child()) return rank_run();

    weft_status status = plan_prove();
    int exit_code = 1;
    if (status == WEFT_OK) status = weft_local_run(2, argv, &exit_code);
    if (status != WEFT_OK) fprintf(stderr, "%s\n", weft_status_text(status));
    return status == WEFT_OK ? exit_code : 1;
}
