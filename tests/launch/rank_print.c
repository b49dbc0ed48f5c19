/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the launchers' tests start: join from the environment twice, and sum over all ranks each time. Prints
 * "rank R of N" when all is right. With the argument "fail", rank 1 returns 3 instead of summing.
 */
#include <stdio.h>
#include <string.h>
#include <weft/weft.h>

static int sum(weft_comm *comm)
{
    const int32_t ranks = (int32_t)weft_comm_rank_count(comm);
    int32_t value = (int32_t)weft_comm_rank(comm) + 1;
    weft_status status = weft_all_reduce(comm, &value, &value, 1, WEFT_INT32, WEFT_SUM, NULL, NULL);
    if (status == WEFT_OK && value == ranks * (ranks + 1) / 2) return 0;
    weft_failure failure = {.size = sizeof failure};
    weft_comm_failure(comm, &failure);
    fprintf(stderr, "rank %u: %s: %s\n", weft_comm_rank(comm), weft_status_name(status), failure.message);
    return 1;
}

int main(int argc, char *argv[])
{
    weft_comm *comm[2];
    for (int i = 0; i < 2; i++) {
        weft_status status = weft_comm_create_from_env(&comm[i]);
        if (status == WEFT_OK) continue;
        fprintf(stderr, "cannot join: %s\n", weft_status_name(status));
        return 1;
    }
    if (argc == 2 && strcmp(argv[1], "fail") == 0 && weft_comm_rank(comm[0]) == 1) return 3;
    int result = sum(comm[0]) | sum(comm[1]);
    if (result == 0) printf("rank %u of %u\n", weft_comm_rank(comm[0]), weft_comm_rank_count(comm[0]));
    weft_comm_destroy(comm[1]);
    weft_comm_destroy(comm[0]);
    return result;
}
