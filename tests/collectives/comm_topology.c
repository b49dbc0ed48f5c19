/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Communicators that plan from a topology. Ranks are processes of this machine, each with an environment of its own;
 * the files they read claim machines with GPUs and hosts of their own, so that rings and trees are not those of ranks
 * in order. What a rank says when it cannot join is read from its log.
 */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/topology.h>

#include <cmocka.h>

#include "tests/collectives/comm_ranks.h"

enum { RANKS_MAX = 12, COUNT = 3001 };

struct outcome {
    weft_status created, status;
    weft_failure failure;
    uint32_t wrong; /* elements */
    char description[16000];
};

struct job_id {
    weft_unique_id id;
    _Atomic bool made; /* released by rank 0, acquired by the others: id_agree() */
};

struct job {
    uint32_t rank_count;
    bool by_network;                 /* rank 0 at 127.0.0.1, each rank a host of its own as far as weft knows */
    const char *topology[RANKS_MAX]; /* NULL: unset */
    const char *extra[RANKS_MAX];    /* one more "NAME=value", or NULL */
    void (*body)(weft_comm *comm, const struct job *job, struct outcome *outcome);
    struct outcome *outcomes;
    struct job_id *id; /* shared with the ranks */
};

static char folder[] = "/tmp/weft_topology_XXXXXX";

static const char *path_of(const char *name)
{
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, 128, "%s/%s", folder, name);
    return path;
}

static const char *file_write(const char *name, const char *text)
{
    const char *path = path_of(name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

static int folder_make(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
    (void)state;
    char line[160];
    snprintf(line, sizeof line, "rm -r '%s'", folder);
    return system(line);
}

/* ---- Ranks ---- */

static void environment_set(const struct job *job, uint32_t rank)
{
    char text[32];
    setenv("WEFT_LOG_FILE", path_of("log"), 1);
    snprintf(text, sizeof text, "rank%u.log", rank);
    setenv("WEFT_LOG_FILE", path_of(text), 1);
    unlink(getenv("WEFT_LOG_FILE"));
    setenv("WEFT_VERIFY", "1", 1);
    setenv("WEFT_DEADLINE", "60s", 1);
    if (job->topology[rank]) setenv("WEFT_TOPOLOGY", job->topology[rank], 1);
    if (job->extra[rank]) putenv((char *)(uintptr_t)job->extra[rank]);
    if (!job->by_network) return;
    snprintf(text, sizeof text, "host%u", rank / 2);
    setenv("WEFT_HOST_ID", text, 1);
    snprintf(text, sizeof text, "%u", rank);
    setenv("RANK", text, 1);
    snprintf(text, sizeof text, "%u", job->rank_count);
    setenv("WORLD_SIZE", text, 1);
    setenv("MASTER_ADDR", "127.0.0.1", 1);
    snprintf(text, sizeof text, "%d", 20000 + (int)(getppid() % 20000));
    setenv("WEFT_PORT", text, 1);
    setenv("WEFT_INSECURE", "1", 1);
}

/* Rank 0 makes it, once its environment is set: the parent must not read its own before it forks. */
static void id_agree(const struct job *job, uint32_t rank)
{
    if (rank == 0) {
        if (weft_unique_id_create(&job->id->id) != WEFT_OK) _exit(4);
        atomic_store_explicit(&job->id->made, true, memory_order_release);
    }
    while (!atomic_load_explicit(&job->id->made, memory_order_acquire)) usleep(200);
}

static _Noreturn void be_rank(const struct job *job, uint32_t rank)
{
    struct outcome *outcome = &job->outcomes[rank];
    weft_comm *comm;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    environment_set(job, rank);
    id_agree(job, rank);
    const weft_comm_config config = {
        .size = sizeof config, .id = &job->id->id, .rank = rank, .rank_count = job->rank_count};
    outcome->created = job->by_network ? weft_comm_create_from_env(&comm) : weft_comm_create(&config, &comm);
    if (outcome->created == WEFT_OK) {
        char *text;
        if (weft_comm_describe(comm, WEFT_TEXT, &text) == WEFT_OK) {
            snprintf(outcome->description, sizeof outcome->description, "%s", text);
            free(text);
        }
        if (job->body) job->body(comm, job, outcome);
        outcome->failure.size = sizeof outcome->failure;
        weft_comm_failure(comm, &outcome->failure);
        weft_comm_destroy(comm);
    }
    _exit(0);
}

static void job_run(struct job *job)
{
    job->outcomes = ranks_shared(RANKS_MAX * sizeof *job->outcomes);
    job->id = ranks_shared(sizeof *job->id);
    fflush(NULL);
    pid_t pids[RANKS_MAX];
    int status;
    for (uint32_t rank = 0; rank < job->rank_count; rank++) {
        pids[rank] = fork();
        assert_true(pids[rank] >= 0);
        if (pids[rank] == 0) be_rank(job, rank);
    }
    for (uint32_t rank = 0; rank < job->rank_count; rank++) {
        assert_int_equal(waitpid(pids[rank], &status, 0), pids[rank]);
        if (status != 0) fail_msg("rank %u ended with %d", rank, status);
    }
    ranks_unshare(job->id, sizeof *job->id);
}

static void job_end(struct job *job)
{
    ranks_unshare(job->outcomes, RANKS_MAX * sizeof *job->outcomes);
}

static void all_read(struct job *job, const char *path)
{
    for (uint32_t rank = 0; rank < job->rank_count; rank++) job->topology[rank] = path;
}

/* The rank's log has all of the words. */
static void expect_said(uint32_t rank, const char *const *words)
{
    char name[32], text[8000] = "";
    snprintf(name, sizeof name, "rank%u.log", rank);
    FILE *file = fopen(path_of(name), "r");
    if (file) {
        text[fread(text, 1, sizeof text - 1, file)] = '\0';
        fclose(file);
    }
    for (; *words; words++)
        if (!strstr(text, *words)) fail_msg("rank %u does not say \"%s\" but \"%s\"", rank, *words, text);
}

static void expect_refused(struct job *job, weft_status status, const char *const *words)
{
    job_run(job);
    for (uint32_t rank = 0; rank < job->rank_count; rank++) {
        if (job->outcomes[rank].created != status)
            fail_msg("rank %u: %s", rank, weft_status_name(job->outcomes[rank].created));
        expect_said(rank, words);
    }
    job_end(job);
}

/* ---- What is computed ---- */

static float input(uint32_t rank, uint64_t i)
{
    return (float)((rank + 1) * (i % 17 + 1));
}

static uint32_t check(weft_status status, const float *got, const float *expected, uint64_t count)
{
    uint32_t wrong = status != WEFT_OK;
    for (uint64_t i = 0; i < count && status == WEFT_OK; i++) wrong += got[i] != expected[i];
    return wrong;
}

static void sums(uint32_t rank_count, float *expected, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        expected[i] = 0;
        for (uint32_t rank = 0; rank < rank_count; rank++) expected[i] += input(rank, i);
    }
}

static uint32_t run_blocks(weft_comm *comm, const weft_call *call, float *send, float *recv, float *expected)
{
    uint32_t n = weft_comm_rank_count(comm), rank = weft_comm_rank(comm), wrong = 0;
    uint64_t block = COUNT / 7;
    for (uint32_t from = 0; from < n; from++)
        for (uint64_t i = 0; i < block; i++) expected[from * block + i] = input(from, i);
    for (uint64_t i = 0; i < block; i++) send[i] = input(rank, i);
    wrong += check(weft_all_gather(comm, send, recv, block, WEFT_FLOAT32, call, NULL), recv, expected, n * block);
    for (uint64_t i = 0; i < n * block; i++) send[i] = input(rank, i);
    float *all = expected + n * block;
    sums(n, all, n * block);
    wrong += check(weft_reduce_scatter(comm, send, recv, block, WEFT_FLOAT32, WEFT_SUM, call, NULL), recv,
                   all + rank * block, block);
    return wrong;
}

static uint32_t run_rooted(weft_comm *comm, const weft_call *call, float *send, float *recv, float *expected)
{
    uint32_t n = weft_comm_rank_count(comm), rank = weft_comm_rank(comm), wrong = 0;
    for (uint32_t root = 0; root < n; root += n - 1) {
        for (uint64_t i = 0; i < COUNT; i++) expected[i] = input(root, i);
        for (uint64_t i = 0; i < COUNT; i++) send[i] = input(rank, i);
        wrong += check(weft_broadcast(comm, send, recv, COUNT, WEFT_FLOAT32, root, call, NULL), recv, expected, COUNT);
        sums(n, expected, COUNT);
        weft_status status = weft_reduce(comm, send, recv, COUNT, WEFT_FLOAT32, WEFT_SUM, root, call, NULL);
        wrong += check(status, recv, expected, rank == root ? COUNT : 0);
    }
    return wrong;
}

/* Every collective that rings and trees are for, by each and by the automatic choice. */
static void run_all(weft_comm *comm, const struct job *job, struct outcome *outcome)
{
    (void)job;
    uint32_t n = weft_comm_rank_count(comm), rank = weft_comm_rank(comm);
    float *send = calloc((size_t)n * COUNT, sizeof *send), *recv = calloc((size_t)n * COUNT, sizeof *recv);
    float *expected = calloc(2 * (size_t)n * COUNT, sizeof *expected);
    static const weft_algorithm algorithms[] = {WEFT_ALGORITHM_AUTO, WEFT_ALGORITHM_RING, WEFT_ALGORITHM_TREE};
    for (size_t a = 0; a < 3; a++) {
        const weft_call call = {.size = sizeof call, .algorithm = algorithms[a]};
        for (uint64_t i = 0; i < COUNT; i++) send[i] = input(rank, i);
        sums(n, expected, COUNT);
        outcome->wrong +=
            check(weft_all_reduce(comm, send, recv, COUNT, WEFT_FLOAT32, WEFT_SUM, &call, NULL), recv, expected, COUNT);
        outcome->wrong += run_rooted(comm, &call, send, recv, expected);
        outcome->wrong += weft_barrier(comm, &call, NULL) != WEFT_OK;
        if (algorithms[a] != WEFT_ALGORITHM_TREE) outcome->wrong += run_blocks(comm, &call, send, recv, expected);
    }
    outcome->wrong += weft_all_to_all(comm, send, recv, 5, WEFT_FLOAT32, NULL, NULL) != WEFT_OK;
    free(send);
    free(recv);
    free(expected);
}

static void expect_right(struct job *job, const char *word)
{
    job_run(job);
    for (uint32_t rank = 0; rank < job->rank_count; rank++) {
        const struct outcome *outcome = &job->outcomes[rank];
        if (outcome->created != WEFT_OK || outcome->wrong || outcome->failure.status != WEFT_OK)
            fail_msg("rank %u of %u: %s, %u wrong, %s", rank, job->rank_count, weft_status_name(outcome->created),
                     outcome->wrong, outcome->failure.message);
        if (!strstr(outcome->description, word))
            fail_msg("rank %u does not say \"%s\":\n%s", rank, word, outcome->description);
    }
    job_end(job);
}

/* Two hosts of two GPUs and two rails. */
static const char rails[] = "weft_topology: 1\n"
                            "shapes:\n"
                            "  box:\n"
                            "    nodes:\n"
                            "      - {package: 0}\n"
                            "      - {gpu: \"[0-1]\", in: package 0}\n"
                            "      - {nic: \"mlx5_[0-1]\", in: package 0, port_bandwidth: 100 Gb/s}\n"
                            "    links:\n"
                            "      - {pci: [\"gpu [0-1]\", package 0], bandwidth: 32 GB/s}\n"
                            "      - {pci: [\"nic mlx5_[0-1]\", package 0], bandwidth: 16 GB/s}\n"
                            "nodes:\n"
                            "  - {host: \"a[0-1]\", shape: box}\n"
                            "  - {switch: \"s[0-1]\"}\n"
                            "links:\n"
                            "  - {network: [[\"a[0-1]\", \"nic mlx5_[0-1]\"], \"switch s[0-1]\"], join: cyclic, "
                            "bandwidth: 100 Gb/s}\n";

/* Hosts behind two switches, dealt out in turn: in their order every step crosses the narrow link between them. */
static const char dealt[] = "weft_topology: 1\n"
                            "nodes:\n"
                            "  - {host: \"a[0-5]\"}\n"
                            "  - {switch: \"s[0-1]\"}\n"
                            "links:\n"
                            "  - {network: [\"host a[0-5]\", \"switch s[0-1]\"], join: cyclic, bandwidth: 10 GB/s}\n"
                            "  - {network: [\"switch s0\", \"switch s1\"], bandwidth: 5 GB/s}\n";

static void rings_and_trees_of_a_file_give_right_results(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *word;
        uint32_t rank_count;
    } cases[] = {
        {"rails.yaml", rails, "packed trees", 4},          /* a rank for each GPU */
        {"rails.yaml", rails, "2 ranks at 2 places", 2},   /* for each host */
        {"dealt.yaml", dealt, "6 hosts, whose order", 6},  /* for each host */
        {"dealt.yaml", dealt, "12 ranks at 6 places", 12}, /* two for each host */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct job job = {.rank_count = cases[i].rank_count, .body = run_all};
        all_read(&job, file_write(cases[i].name, cases[i].text));
        expect_right(&job, cases[i].word);
    }
}

static void a_dgx1v_runs_over_its_six_rings(void **state)
{
    (void)state;
    struct job job = {.rank_count = 8, .body = run_all};
    all_read(&job, MACHINES "/dgx1v.yaml");
    expect_right(&job, "all_reduce ring: edge-disjoint rings (6)");
}

static void who_has_another_file_is_named_by_all(void **state)
{
    (void)state;
    char other[sizeof rails];
    snprintf(other, sizeof other, "%s", rails);
    *strstr(other, "32 GB/s") = '2';
    struct job job = {.rank_count = 4};
    all_read(&job, file_write("a.yaml", rails));
    job.topology[2] = file_write("b.yaml", other);
    expect_refused(&job, WEFT_MISMATCH,
                   (const char *const[]){"rank 2 (1 of 4) has another topology", "b.yaml", "a.yaml", NULL});
    job.topology[3] = job.topology[2];
    expect_refused(&job, WEFT_MISMATCH,
                   (const char *const[]){"ranks 2, 3 (2 of 4) have another topology than rank 0", NULL});
    /* The same in other words is the same. */
    struct job same = {.rank_count = 4};
    char longer[sizeof rails + 16];
    snprintf(longer, sizeof longer, "# Rails\n%s", rails);
    all_read(&same, path_of("a.yaml"));
    same.topology[1] = file_write("c.yaml", longer);
    expect_right(&same, "hash");
}

static void who_has_no_file_is_named_by_all(void **state)
{
    (void)state;
    struct job job = {.rank_count = 4};
    all_read(&job, file_write("a.yaml", rails));
    job.topology[1] = NULL;
    expect_refused(&job, WEFT_MISMATCH, (const char *const[]){"rank 1 (1 of 4)", "WEFT_TOPOLOGY unset", NULL});
    job.topology[1] = "none";
    expect_refused(&job, WEFT_MISMATCH, (const char *const[]){"rank 1 (1 of 4)", "none", NULL});
}

static void a_bad_file_is_the_readers_sentence(void **state)
{
    (void)state;
    struct job job = {.rank_count = 3};
    all_read(&job, path_of("missing.yaml"));
    expect_refused(&job, WEFT_SYSTEM_ERROR, (const char *const[]){"missing.yaml: No such file", NULL});
    all_read(&job, file_write("bad.yaml", "weft_topology: 1\nnodes:\n  - {hots: a}\n"));
    expect_refused(&job, WEFT_BAD_FORMAT, (const char *const[]){"bad.yaml:3", "hots", NULL});
    struct job one = {.rank_count = 4};
    all_read(&one, file_write("a.yaml", rails));
    one.topology[3] = path_of("bad.yaml");
    expect_refused(&one, WEFT_BAD_FORMAT, (const char *const[]){"rank 3: ", "bad.yaml:3", NULL});
}

static void other_counts_are_refused_with_all_three(void **state)
{
    (void)state;
    struct job job = {.rank_count = 3};
    all_read(&job, file_write("a.yaml", rails));
    expect_refused(&job, WEFT_INVALID_ARGUMENT, (const char *const[]){"a.yaml has 4 GPUs on 2 hosts", "3 ranks", NULL});
    job.rank_count = 7;
    all_read(&job, file_write("dealt.yaml", dealt));
    expect_refused(&job, WEFT_INVALID_ARGUMENT, (const char *const[]){"0 GPUs on 6 hosts", "7 ranks", NULL});
}

static void run_part(weft_comm *comm, const struct job *job, struct outcome *outcome)
{
    weft_comm *part;
    outcome->wrong += weft_comm_split(comm, weft_comm_rank(comm) % 3 == 0, -(int32_t)weft_comm_rank(comm), &part) != 0;
    if (outcome->wrong) return;
    run_all(part, job, outcome);
    char *text;
    if (weft_comm_describe(part, WEFT_TEXT, &text) == WEFT_OK) {
        snprintf(outcome->description, sizeof outcome->description, "%s", text);
        free(text);
    }
    weft_comm_destroy(part);
}

static void parts_have_the_topology_of_the_whole(void **state)
{
    (void)state;
    struct job job = {.rank_count = 6, .body = run_part};
    all_read(&job, file_write("dealt.yaml", dealt));
    expect_right(&job, "of the whole that this is a part of: file");
}

static void hosts_discover_themselves(void **state)
{
    (void)state;
    struct job job = {.rank_count = 5, .by_network = true, .body = run_all};
    expect_right(&job, "discovered on 3 hosts of 1 kind");
    all_read(&job, "none");
    expect_right(&job, "none (WEFT_TOPOLOGY=none)");
    struct job alone = {.rank_count = 2, .body = run_all};
    expect_right(&alone, "topology: none (all ranks are on one host");
    all_read(&alone, "discover");
    expect_right(&alone, "discovered on 1 host");
}

/* ---- What else ranks have to have in common ---- */

static void reduce_once(weft_comm *comm, const struct job *job, struct outcome *outcome)
{
    (void)job;
    float send[64] = {0}, recv[64];
    outcome->status = weft_all_reduce(comm, send, recv, 64, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
}

static void calibrated(const char *path, double message_ns)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "{\"weft_calibration\":1,\"host\":\"any\",\"date\":\"2026-01-01T00:00:00Z\",\"transports\":{\"shm\":"
            "{\"message_ns\":%g,\"message_spread_ns\":1,\"byte_ns\":0.1,\"byte_spread_ns\":0.01,\"samples\":41}}}\n",
            message_ns);
    fclose(file);
}

static void ranks_that_read_other_figures_are_told_so(void **state)
{
    (void)state;
    static char one[160], other[160];
    calibrated(path_of("one.json"), 400);
    calibrated(path_of("other.json"), 401);
    snprintf(one, sizeof one, "WEFT_CALIBRATION=%s", path_of("one.json"));
    snprintf(other, sizeof other, "WEFT_CALIBRATION=%s", path_of("other.json"));
    struct job job = {.rank_count = 3, .extra = {one, one, one}, .body = reduce_once};
    job_run(&job);
    for (uint32_t rank = 0; rank < 3; rank++) assert_int_equal(job.outcomes[rank].status, WEFT_OK);
    job_end(&job);
    job.extra[1] = other;
    job_run(&job);
    for (uint32_t rank = 0; rank < 3; rank++) {
        const weft_failure *failure = &job.outcomes[rank].failure;
        assert_int_equal(job.outcomes[rank].created, WEFT_OK);
        assert_int_equal(job.outcomes[rank].status, WEFT_MISMATCH);
        assert_int_equal(failure->status, WEFT_MISMATCH);
        assert_true(failure->rank == 1 || failure->other_rank == 1);
        assert_non_null(strstr(failure->operation, " plan "));
        assert_string_not_equal(failure->operation, failure->other_operation);
    }
    job_end(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rings_and_trees_of_a_file_give_right_results),
        cmocka_unit_test(a_dgx1v_runs_over_its_six_rings),
        cmocka_unit_test(who_has_another_file_is_named_by_all),
        cmocka_unit_test(who_has_no_file_is_named_by_all),
        cmocka_unit_test(a_bad_file_is_the_readers_sentence),
        cmocka_unit_test(other_counts_are_refused_with_all_three),
        cmocka_unit_test(parts_have_the_topology_of_the_whole),
        cmocka_unit_test(hosts_discover_themselves),
        cmocka_unit_test(ranks_that_read_other_figures_are_told_so),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
