/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks as processes, one of which is killed, stopped or exits: every other one must name it. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/random.h"
#include "support.h"

enum { RANKS_MAX = 8 };

/* What a survivor does as soon as it knows. */
enum reaction { LEAVE, EXIT, ABORT, REACTIONS };

struct outcome {
    weft_status joined, status;
    int32_t rank;
    uint64_t known_ns;
};

struct job {
    weft_unique_id id;
    uint32_t rank_count;
    uint64_t deadline_ns, keepalive_ns, seed;
    bool same_reaction;
    enum reaction reaction;
    pid_t pids[RANKS_MAX];
    struct outcome *outcomes; /* shared with the ranks */
    int joined[2];            /* a byte from every rank that has joined */
};

static _Noreturn void be_rank(const struct job *job, uint32_t rank)
{
    struct outcome *outcome = &job->outcomes[rank];
    struct control_config config = make_config(&job->id, rank, job->rank_count);
    config.deadline_ns = job->deadline_ns;
    config.keepalive_ns = job->keepalive_ns;
    struct control *control = NULL;
    struct random random;
    random_seed(&random, job->seed + rank);
    enum reaction reaction = job->same_reaction ? job->reaction : (enum reaction)random_below(&random, REACTIONS);
    outcome->joined = control_join(&config, &control, NULL);
    if (outcome->joined != WEFT_OK) _exit(0);
    (void)!write(job->joined[1], "J", 1);
    if (!wait_failed(control)) _exit(1);
    weft_failure failure;
    control_failure(control, &failure);
    outcome->known_ns = clock_now_ns();
    outcome->rank = failure.rank;
    outcome->status = failure.status;
    if (reaction == LEAVE) control_leave(control);
    if (reaction == ABORT) kill(getpid(), SIGKILL);
    _exit(0);
}

static void job_start(struct job *job, uint32_t rank_count, uint64_t seed)
{
    weft_unique_id id;
    assert_int_equal(bootstrap_id_create_local(&id), WEFT_OK);
    *job = (struct job){
        .id = id, .rank_count = rank_count, .deadline_ns = PATIENCE_NS, .keepalive_ns = 10 * NS_PER_S, .seed = seed};
    job->outcomes =
        mmap(NULL, sizeof *job->outcomes * RANKS_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(job->outcomes != MAP_FAILED);
    for (uint32_t rank = 0; rank < rank_count; rank++)
        job->outcomes[rank] = (struct outcome){.joined = WEFT_IN_PROGRESS, .rank = -2};
    assert_int_equal(pipe(job->joined), 0);
}

static void job_fork(struct job *job)
{
    fflush(NULL);
    for (uint32_t rank = 0; rank < job->rank_count; rank++) {
        job->pids[rank] = fork();
        assert_true(job->pids[rank] >= 0);
        if (job->pids[rank] == 0) be_rank(job, rank);
    }
}

static void job_wait_joined(struct job *job)
{
    char byte;
    for (uint32_t rank = 0; rank < job->rank_count; rank++) assert_int_equal(read(job->joined[0], &byte, 1), 1);
}

static void reap_rank(struct job *job, uint32_t rank)
{
    while (waitpid(job->pids[rank], NULL, 0) < 0) assert_int_equal(errno, EINTR);
}

static void job_end(struct job *job)
{
    struct identity identity = make_identity(&job->id, 0, job->rank_count);
    assert_int_equal(count_sockets(&identity), 0);
    munmap(job->outcomes, sizeof *job->outcomes * RANKS_MAX);
    close(job->joined[0]);
    close(job->joined[1]);
}

static void expect_named(const struct job *job, uint32_t rank, uint32_t victim)
{
    const struct outcome *outcome = &job->outcomes[rank];
    if (outcome->status != WEFT_PEER_FAILED || outcome->rank != (int32_t)victim)
        fail_msg("seed %llu: rank %u of %u names rank %d (%s), but rank %u was killed", (unsigned long long)job->seed,
                 rank, job->rank_count, outcome->rank, weft_status_name(outcome->status), victim);
}

static void every_survivor_names_the_killed_rank(void **state)
{
    (void)state;
    static const struct {
        uint32_t rank_count, repetitions;
    } cases[] = {{2, 20}, {3, 20}, {8, 12}};
    uint64_t slowest_ns = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (uint32_t victim = 0; victim < cases[i].rank_count; victim++)
            for (uint32_t repetition = 0; repetition < cases[i].repetitions; repetition++) {
                struct job job;
                job_start(&job, cases[i].rank_count, repetition * 100 + victim);
                job.same_reaction = repetition % 4 != 3; /* all leave, all exit, all die at once, or all mixed */
                job.reaction = (enum reaction)(repetition % 4);
                job_fork(&job);
                job_wait_joined(&job);
                uint64_t killed_ns = clock_now_ns();
                kill(job.pids[victim], SIGKILL);
                for (uint32_t rank = 0; rank < job.rank_count; rank++) reap_rank(&job, rank);
                for (uint32_t rank = 0; rank < job.rank_count; rank++) {
                    if (rank == victim) continue;
                    expect_named(&job, rank, victim);
                    uint64_t took_ns = job.outcomes[rank].known_ns - killed_ns;
                    if (took_ns > slowest_ns) slowest_ns = took_ns;
                }
                job_end(&job);
            }
    print_message("slowest survivor knew after %.1f ms\n", (double)slowest_ns / 1e6);
}

/* At any moment of joining: whoever gets to know of it in whatever way must name the killed rank. */
static void a_rank_killed_while_joining_is_named(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct job job;
        struct random random;
        random_seed(&random, seed);
        job_start(&job, (uint32_t)(2 + random_below(&random, 7)), seed);
        job.deadline_ns = 400 * NS_PER_MS;
        uint32_t victim = (uint32_t)random_below(&random, job.rank_count);
        job_fork(&job);
        usleep((useconds_t)random_below(&random, 3000));
        kill(job.pids[victim], SIGKILL);
        for (uint32_t rank = 0; rank < job.rank_count; rank++) reap_rank(&job, rank);
        for (uint32_t rank = 0; rank < job.rank_count; rank++) {
            if (rank == victim) continue;
            if (job.outcomes[rank].joined == WEFT_OK)
                expect_named(&job, rank, victim);
            else
                assert_true(job.outcomes[rank].joined == WEFT_DEADLINE_EXCEEDED ||
                            job.outcomes[rank].joined == WEFT_PEER_FAILED);
        }
        job_end(&job);
    }
}

static void a_stopped_rank_is_named_after_the_keepalive(void **state)
{
    (void)state;
    for (uint32_t victim = 0; victim < 3; victim++) {
        struct job job;
        job_start(&job, victim == 0 ? 8 : 2 + victim, victim);
        job.keepalive_ns = 2 * NS_PER_S; /* a busy machine may hold a healthy rank up for one */
        job.same_reaction = true;
        job.reaction = LEAVE;
        job_fork(&job);
        job_wait_joined(&job);
        kill(job.pids[victim], SIGSTOP);
        for (uint32_t rank = 0; rank < job.rank_count; rank++)
            if (rank != victim) {
                reap_rank(&job, rank);
                expect_named(&job, rank, victim);
            }
        /* Awake again it learns that it was given up, and blames none of those that have left. */
        kill(job.pids[victim], SIGCONT);
        reap_rank(&job, victim);
        expect_named(&job, victim, victim);
        job_end(&job);
    }
}

/* A child of the killed rank that has its descriptors, too, must not keep the rank's connections alive. */
static void a_forked_child_does_not_hide_its_parents_death(void **state)
{
    (void)state;
    struct job job;
    job_start(&job, 2, 1);
    int grandchild[2];
    assert_int_equal(pipe(grandchild), 0);
    fflush(NULL);
    job.pids[0] = fork();
    if (job.pids[0] == 0) be_rank(&job, 0);
    job.pids[1] = fork();
    if (job.pids[1] == 0) {
        struct control_config config = make_config(&job.id, 1, 2);
        struct control *control = NULL;
        if (control_join(&config, &control, NULL) != WEFT_OK) _exit(1);
        pid_t pid = fork();
        if (pid == 0) {
            control_leave(control); /* of the parent's communicator: says and stops nothing */
            (void)!write(job.joined[1], "J", 1);
            pause();
        }
        (void)!write(grandchild[1], &pid, sizeof pid);
        pause();
    }
    job_wait_joined(&job);
    pid_t pid;
    assert_int_equal(read(grandchild[0], &pid, sizeof pid), sizeof pid);
    kill(job.pids[1], SIGKILL);
    reap_rank(&job, 0);
    reap_rank(&job, 1);
    kill(pid, SIGKILL);
    expect_named(&job, 0, 1);
    close(grandchild[0]);
    close(grandchild[1]);
    job_end(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_survivor_names_the_killed_rank),
        cmocka_unit_test(a_rank_killed_while_joining_is_named),
        cmocka_unit_test(a_stopped_rank_is_named_after_the_keepalive),
        cmocka_unit_test(a_forked_child_does_not_hide_its_parents_death),
    };
    setenv("WEFT_LOG", "error", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
