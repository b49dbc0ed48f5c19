/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs two processes to lend each other memory over shared memory: a loan and its borrowing, and the kernel's
 * copy beside memcpy() of as many bytes, taken in turns. This process borrows; its child lends.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "transport/shm/shm.h"

#define ROUNDS 401
#define CALLS 1000u
#define LARGEST_BYTES ((size_t)1 << 20)
#define SHARES 64 /* first loans and borrowings to take the median of */

/* What the two tell each other. */
struct board {
    _Atomic int stage;
    struct loan own, shared[SHARES];
    double first_lend_ns, lend_ns, lend_own_ns;
};

static struct board *board;
static int sockets[2];

static void die(const char *what)
{
    fprintf(stderr, "bench_lending: %s\n", what);
    exit(1);
}

static void stage_reach(int stage)
{
    atomic_store(&board->stage, stage);
}

static void stage_await(int stage)
{
    while (atomic_load(&board->stage) < stage) sched_yield();
}

static weft_status reach(void *context, uint32_t peer, int *fd)
{
    const uint32_t rank = *(const uint32_t *)context;
    (void)peer;
    *fd = sockets[rank];
    return WEFT_OK;
}

static struct connection *connect_as(uint32_t *rank)
{
    const struct shm_config config = {.rank = *rank, .rank_count = 2};
    struct endpoint *endpoint;
    struct connection *connection;
    weft_status status = WEFT_IN_PROGRESS;
    struct diagnostic diagnostic;

    close(sockets[1 - *rank]);
    if (shm_endpoint_create(&config, (struct rendezvous){reach, rank}, &endpoint, &diagnostic)) die(diagnostic.text);
    if (endpoint_connect(endpoint, 1 - *rank, 4096, &connection)) die("cannot connect");
    while (status == WEFT_IN_PROGRESS) status = connection_advance(connection, clock_now_ns());
    if (status) die("connecting failed");
    return connection;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

static uint8_t *buffer_make(size_t bytes)
{
    uint8_t *buffer = aligned_alloc(4096, bytes);
    if (!buffer) die("no memory");
    memset(buffer, 1, bytes);
    return buffer;
}

static double lend_measure(struct connection *connection, const uint8_t *memory)
{
    double times_ns[ROUNDS];
    struct loan loan;

    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t begin_ns = clock_now_ns();
        for (uint32_t i = 0; i < CALLS; i++)
            if (!connection_lend(connection, memory + i, 1, &loan)) die("the kernel does not copy here");
        times_ns[round] = (double)(clock_now_ns() - begin_ns) / CALLS;
    }
    return median(times_ns, ROUNDS);
}

static void lend(struct connection *connection)
{
    uint8_t *own = buffer_make(LARGEST_BYTES), *shared = NULL;
    double times_ns[SHARES];

    board->lend_own_ns = lend_measure(connection, own);
    if (!connection_lend(connection, own, LARGEST_BYTES, &board->own)) die("the kernel does not copy here");
    for (int i = 0; i < SHARES; i++) {
        const int memory = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        void *share;
        if (memory < 0 || ftruncate(memory, LARGEST_BYTES) || fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK))
            die("no shared memory");
        shared = mmap(NULL, LARGEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        if (shared == MAP_FAILED) die("no shared memory");
        memset(shared, 1, LARGEST_BYTES);
        if (endpoint_memory_share(connection->endpoint, shared, LARGEST_BYTES, memory, 0, &share, NULL))
            die("cannot share");
        const uint64_t begin_ns = clock_now_ns();
        if (!connection_lend(connection, shared, LARGEST_BYTES, &board->shared[i])) die("cannot lend");
        times_ns[i] = (double)(clock_now_ns() - begin_ns);
        stage_reach(2 * i + 1);
        stage_await(2 * i + 2);
        close(memory);
    }
    board->first_lend_ns = median(times_ns, SHARES);
    board->lend_ns = lend_measure(connection, shared);
    stage_reach(1000);
    stage_await(1001);
}

static void borrow_first(struct connection *connection, double *first_ns)
{
    double times_ns[SHARES];

    for (int i = 0; i < SHARES; i++) {
        stage_await(2 * i + 1);
        const uint64_t begin_ns = clock_now_ns();
        if (!connection_borrow(connection, &board->shared[i], LARGEST_BYTES)) die("cannot borrow");
        times_ns[i] = (double)(clock_now_ns() - begin_ns);
        stage_reach(2 * i + 2);
    }
    *first_ns = median(times_ns, SHARES);
}

static double borrow_measure(struct connection *connection)
{
    double times_ns[ROUNDS];

    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t begin_ns = clock_now_ns();
        for (uint32_t i = 0; i < CALLS; i++)
            if (!connection_borrow(connection, &board->shared[i % SHARES], 4096)) die("cannot borrow");
        times_ns[round] = (double)(clock_now_ns() - begin_ns) / CALLS;
    }
    return median(times_ns, ROUNDS);
}

static void copies_measure(struct connection *connection, size_t bytes)
{
    double own_ns[ROUNDS], mapped_ns[ROUNDS], local_ns[ROUNDS], write_ns[ROUNDS];
    uint8_t *to = buffer_make(LARGEST_BYTES), *from = buffer_make(LARGEST_BYTES);
    const uint8_t *mapped = connection_borrow(connection, &board->shared[0], bytes);

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t begin_ns = clock_now_ns();
        if (connection_read(connection, &board->own, 0, to, bytes)) die("cannot read");
        own_ns[round] = (double)(clock_now_ns() - begin_ns);
        begin_ns = clock_now_ns();
        if (connection_write(connection, &board->own, 0, from, bytes)) die("cannot write");
        write_ns[round] = (double)(clock_now_ns() - begin_ns);
        begin_ns = clock_now_ns();
        memcpy(to, mapped, bytes);
        __asm__ volatile("" ::"r"(to) : "memory");
        mapped_ns[round] = (double)(clock_now_ns() - begin_ns);
        begin_ns = clock_now_ns();
        memcpy(to, from, bytes);
        __asm__ volatile("" ::"r"(to) : "memory");
        local_ns[round] = (double)(clock_now_ns() - begin_ns);
    }
    printf(
        "%8zu bytes: read %.0f ns, write %.0f ns; memcpy() of what is mapped %.0f ns, of this process's own %.0f ns\n",
        bytes, median(own_ns, ROUNDS), median(write_ns, ROUNDS), median(mapped_ns, ROUNDS), median(local_ns, ROUNDS));
    free(to);
    free(from);
}

int main(void)
{
    static const size_t sizes[] = {64, 4096, 32768, 131072, LARGEST_BYTES};
    uint32_t rank = 0;
    double first_ns;
    int status;

    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets))
        die("no memory or sockets");
    const pid_t child = fork();
    if (child < 0) die("cannot fork");
    if (child == 0) {
        rank = 1;
        lend(connect_as(&rank));
        _exit(0);
    }
    struct connection *connection = connect_as(&rank);
    borrow_first(connection, &first_ns);
    stage_await(1000);
    printf("a loan of a share: first %.0f ns, then %.1f ns; of other memory %.1f ns\n", board->first_lend_ns,
           board->lend_ns, board->lend_own_ns);
    printf("borrowing of a share: first %.0f ns, then %.1f ns\n", first_ns, borrow_measure(connection));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) copies_measure(connection, sizes[i]);
    stage_reach(1001);
    if (waitpid(child, &status, 0) != child || status) die("the lender failed");
    return 0;
}
