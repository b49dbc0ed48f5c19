/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that uses MPI beside weft. with_mpi first: MPI_Init() before weft; last: after it; id: MPI carries the
 * unique id. Prints "rank R of N" when both agree.
 */
#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <weft/weft.h>

static weft_status join_by_id(weft_comm **comm)
{
    int rank, count;
    weft_unique_id id;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &count);
    if (rank == 0) weft_unique_id_create(&id);
    MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, MPI_COMM_WORLD);
    weft_comm_config config = {.size = sizeof config, .id = &id, .rank = (uint32_t)rank, .rank_count = (uint32_t)count};
    return weft_comm_create(&config, comm);
}

int main(int argc, char *argv[])
{
    weft_comm *comm;
    const char *order = argc > 1 ? argv[1] : "first";
    if (strcmp(order, "last") != 0) MPI_Init(&argc, &argv);
    weft_status status = strcmp(order, "id") == 0 ? join_by_id(&comm) : weft_comm_create_from_env(&comm);
    if (status != WEFT_OK) {
        fprintf(stderr, "cannot join: %s\n", weft_status_name(status));
        if (strcmp(order, "last") != 0) MPI_Finalize();
        return 1;
    }
    if (strcmp(order, "last") == 0) MPI_Init(&argc, &argv);

    int rank, count, by_mpi = 0, by_weft = 0, wrong = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &count);
    for (int round = 0; round < 100; round++) {
        MPI_Allreduce(&rank, &by_mpi, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
        status = weft_all_reduce(comm, &rank, &by_weft, 1, WEFT_INT32, WEFT_SUM, NULL, NULL);
        wrong |= status != WEFT_OK || by_mpi != by_weft;
    }
    wrong |= weft_comm_rank(comm) != (uint32_t)rank || weft_comm_rank_count(comm) != (uint32_t)count;
    weft_comm_destroy(comm);
    MPI_Finalize();
    if (!wrong) printf("rank %d of %d\n", rank, count);
    return wrong;
}
