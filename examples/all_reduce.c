/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest user of weft: four ranks on this host, each with a vector, end with the sum of all four.
 *
 *     cc all_reduce.c $(pkg-config --cflags --libs weft) -o all_reduce && ./all_reduce
 */
#include <stdio.h>
#include <weft/weft.h>

enum { RANKS = 4, COUNT = 1000 };

/* What every rank runs. */
static int rank_main(void)
{
    weft_comm *comm;
    weft_status status = weft_comm_create_from_env(&comm);
    if (status) {
        fprintf(stderr, "cannot join: %s\n", weft_status_text(status));
        return 1;
    }
    float values[COUNT];
    for (int i = 0; i < COUNT; i++) values[i] = (float)(weft_comm_rank(comm) + 1);

    /* In place, and blocking: a request in place of the last NULL would let this rank compute meanwhile. */
    status = weft_all_reduce(comm, values, values, COUNT, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
    if (status) {
        weft_failure failure = {.size = sizeof failure};
        weft_comm_failure(comm, &failure);
        fprintf(stderr, "rank %u: %s: %s\n", weft_comm_rank(comm), weft_status_name(status), failure.message);
    } else if (weft_comm_rank(comm) == 0) {
        printf("the sum over %u ranks is %g\n", weft_comm_rank_count(comm), (double)values[COUNT - 1]);
    }
    weft_comm_destroy(comm);
    return status ? 1 : 0;
}

/* The program starts itself again, once for each rank. */
int main(int argc, char *argv[])
{
    (void)argc;
    if (weft_local_is_child()) return rank_main();
    int exit_code = 1;
    weft_status status = weft_local_run(RANKS, argv, &exit_code);
    if (status) fprintf(stderr, "cannot start %d ranks: %s\n", RANKS, weft_status_text(status));
    return status ? 1 : exit_code;
}
