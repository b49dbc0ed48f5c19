/* SPDX-License-Identifier: Apache-2.0 */
/* The control calls over real sockets, ranks as threads of one process. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/random.h"
#include "fabric/bootstrap/bootstrap_internal.h"
#include "fabric/control/message.h"
#include "support.h"

enum { RANKS_MAX = 64 };

static const struct tcp_address unix_socket = {.family = AF_UNSPEC};

struct job;
struct rank_thread {
    struct job *job;
    uint32_t rank;
    pthread_t thread;
    struct control *control;
    weft_status joined;
    struct diagnostic diagnostic;
    weft_failure failure;
};

struct job {
    weft_unique_id id;
    uint32_t rank_count;
    uint64_t deadline_ns;
    pthread_barrier_t barrier; /* of all that have joined */
    void (*body)(struct rank_thread *rank);
    struct rank_thread ranks[RANKS_MAX];
};

static void *rank_main(void *argument)
{
    struct rank_thread *rank = argument;
    struct control_config config = make_config(&rank->job->id, rank->rank, rank->job->rank_count);
    config.deadline_ns = rank->job->deadline_ns;
    rank->joined = control_join(&config, &rank->control, &rank->diagnostic);
    if (rank->joined != WEFT_OK) return NULL;
    if (rank->job->body) {
        pthread_barrier_wait(&rank->job->barrier);
        rank->job->body(rank);
    }
    control_failure(rank->control, &rank->failure);
    control_leave(rank->control);
    return NULL;
}

static void job_prepare(struct job *job, uint32_t rank_count, void (*body)(struct rank_thread *rank))
{
    *job = (struct job){.rank_count = rank_count, .deadline_ns = PATIENCE_NS, .body = body};
    assert_int_equal(bootstrap_id_create_local(&job->id), WEFT_OK);
    pthread_barrier_init(&job->barrier, NULL, rank_count);
}

static void rank_start(struct job *job, uint32_t rank)
{
    job->ranks[rank].job = job;
    job->ranks[rank].rank = rank;
    assert_int_equal(pthread_create(&job->ranks[rank].thread, NULL, rank_main, &job->ranks[rank]), 0);
}

static void rank_end(struct job *job, uint32_t rank)
{
    pthread_join(job->ranks[rank].thread, NULL);
}

static void job_run(struct job *job, uint32_t rank_count, void (*body)(struct rank_thread *rank))
{
    job_prepare(job, rank_count, body);
    for (uint32_t rank = 0; rank < rank_count; rank++) rank_start(job, rank);
    for (uint32_t rank = 0; rank < rank_count; rank++) rank_end(job, rank);
    pthread_barrier_destroy(&job->barrier);
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        if (job->ranks[rank].joined != WEFT_OK) fail_msg("rank %u: %s", rank, job->ranks[rank].diagnostic.text);
    }
}

/* ---- Joining and leaving ---- */

static void meet(struct rank_thread *rank)
{
    (void)rank; /* having a body is enough to wait for the others */
}

static void ranks_join_and_leave_nothing_behind(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 7, 8, 16, 33, 64};
    unsigned descriptors = count_descriptors();
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        static struct job job;
        job_run(&job, counts[i], meet);
        for (uint32_t rank = 0; rank < counts[i]; rank++) assert_int_equal(job.ranks[rank].failure.status, WEFT_OK);
        struct identity identity = make_identity(&job.id, 0, counts[i]);
        assert_int_equal(count_sockets(&identity), 0);
        assert_int_equal(count_descriptors(), descriptors);
        assert_int_equal(count_control_threads(), 0);
    }
}

static void an_id_can_be_joined_again_after_leaving(void **state)
{
    (void)state;
    static struct job job;
    job_prepare(&job, 3, NULL);
    for (int round = 0; round < 20; round++) {
        for (uint32_t rank = 0; rank < 3; rank++) rank_start(&job, rank);
        for (uint32_t rank = 0; rank < 3; rank++) {
            rank_end(&job, rank);
            if (job.ranks[rank].joined != WEFT_OK) fail_msg("rank %u: %s", rank, job.ranks[rank].diagnostic.text);
        }
    }
    pthread_barrier_destroy(&job.barrier);
}

/* Eight of nine ranks join; the first answer that does not name the missing one, or NULL. */
static const char *join_without(uint32_t missing, uint64_t deadline_ns)
{
    static struct job job;
    const char *other = NULL;
    char name[32];
    job_prepare(&job, 9, NULL);
    job.deadline_ns = deadline_ns;
    snprintf(name, sizeof name, "rank %u has not arrived", missing);
    for (uint32_t rank = 0; rank < 9; rank++)
        if (rank != missing) rank_start(&job, rank);
    for (uint32_t rank = 0; rank < 9; rank++)
        if (rank != missing) rank_end(&job, rank);
    pthread_barrier_destroy(&job.barrier);
    for (uint32_t rank = 0; rank < 9; rank++) {
        if (rank == missing) continue;
        assert_int_equal(job.ranks[rank].joined, WEFT_DEADLINE_EXCEEDED);
        if (!other && !strstr(job.ranks[rank].diagnostic.text, name)) other = job.ranks[rank].diagnostic.text;
    }
    return other;
}

static void a_missing_rank_is_named_at_the_deadline(void **state)
{
    (void)state;
    for (uint32_t missing = 0; missing < 9; missing += 4) {
        /* On a machine so busy that the others have not met by then, one of them is late, and may be named. */
        const char *other = "never joined";
        for (uint64_t deadline_ns = 500 * NS_PER_MS; other && deadline_ns <= 8 * NS_PER_S; deadline_ns *= 4)
            other = join_without(missing, deadline_ns);
        if (other) fail_msg("rank %u is missing, and one says: %s", missing, other);
    }
}

static void a_rank_that_is_there_twice_is_refused(void **state)
{
    (void)state;
    weft_unique_id id;
    struct diagnostic diagnostic;
    struct control *first = NULL, *second = NULL;
    bootstrap_id_create_local(&id);
    struct control_config config = make_config(&id, 0, 1);
    assert_int_equal(control_join(&config, &first, &diagnostic), WEFT_OK);
    assert_int_equal(control_join(&config, &second, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_non_null(strstr(diagnostic.text, "rank 0 of this job is already there"));
    assert_null(second);
    control_leave(first);
    control_leave(NULL);
}

static void a_different_world_size_is_refused_on_both_sides(void **state)
{
    (void)state;
    static struct job two, three;
    job_prepare(&two, 2, NULL);
    job_prepare(&three, 3, NULL);
    three.id = two.id;
    rank_start(&two, 0);
    rank_start(&three, 1);
    rank_end(&two, 0);
    rank_end(&three, 1);
    assert_int_equal(two.ranks[0].joined, WEFT_PEER_REFUSED);
    assert_int_equal(three.ranks[1].joined, WEFT_PEER_REFUSED);
    assert_non_null(strstr(two.ranks[0].diagnostic.text, "rank 1 was told that there are 3 ranks"));
    assert_non_null(strstr(three.ranks[1].diagnostic.text, "rank 0 was told that there are 2 ranks"));
    pthread_barrier_destroy(&two.barrier);
    pthread_barrier_destroy(&three.barrier);
}

/* ---- Strangers ---- */

static int stranger_connect(const struct identity *identity, uint32_t rank)
{
    struct sockaddr_un address;
    socklen_t size = rank_address(identity, rank, &address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    while (connect(fd, (struct sockaddr *)&address, size) != 0) {
        if (errno != ECONNREFUSED && errno != EAGAIN) return fd;
        usleep(200);
    }
    return fd;
}

static void strangers_neither_delay_nor_fail_joining(void **state)
{
    (void)state;
    enum { SILENT = 200, NOISY = 50, HALF = 50, STRANGERS = SILENT + NOISY + HALF };
    static struct job job;
    static int fds[STRANGERS];
    struct random random;
    random_seed(&random, 7);
    job_prepare(&job, 2, meet);
    struct identity identity = make_identity(&job.id, 1, 2);
    rank_start(&job, 1);
    for (int i = 0; i < STRANGERS; i++) {
        uint8_t noise[200];
        fds[i] = stranger_connect(&identity, 1);
        for (size_t k = 0; k < sizeof noise; k++) noise[k] = (uint8_t)random_next(&random);
        if (i >= SILENT + NOISY) memcpy(noise, "WEFT\1\0\0\0", 8); /* and then not the job */
        if (i >= SILENT + NOISY) memcpy(noise + 8, identity.job, i % 2 ? 16 : 0);
        if (i >= SILENT) (void)!send(fds[i], noise, i >= SILENT + NOISY ? 72 : 1 + (size_t)i % 150, MSG_NOSIGNAL);
    }
    uint64_t begun_ns = clock_now_ns();
    rank_start(&job, 0);
    rank_end(&job, 0);
    rank_end(&job, 1);
    print_message("joined after %.1f ms among %d strangers\n", (double)(clock_now_ns() - begun_ns) / 1e6, STRANGERS);
    for (uint32_t rank = 0; rank < 2; rank++) {
        assert_int_equal(job.ranks[rank].joined, WEFT_OK);
        assert_int_equal(job.ranks[rank].failure.status, WEFT_OK);
    }
    for (int i = 0; i < STRANGERS; i++) close(fds[i]);
    pthread_barrier_destroy(&job.barrier);
}

/* One who knows the key, joins, and then sends @p bytes on its control connection. */
static void send_hostile(struct rank_thread *victim, const uint8_t *bytes, size_t size, weft_failure *failure)
{
    struct identity identity = make_identity(&victim->job->id, 0, 2);
    struct handshake handshake;
    handshake_dial(&handshake, &identity, 1, ROLE_CONTROL, &unix_socket);
    weft_status status;
    while ((status = handshake_advance(&handshake, NULL)) == WEFT_IN_PROGRESS) usleep(100);
    assert_int_equal(status, WEFT_OK);
    (void)!send(handshake.link.fd, bytes, size, MSG_NOSIGNAL);
    rank_end(victim->job, 1);
    *failure = victim->failure;
    close(handshake.link.fd);
}

static void hostile_bytes_fail_their_connection_only(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        static struct job job;
        struct random random;
        uint8_t bytes[512];
        weft_failure failure;
        random_seed(&random, seed);
        for (size_t k = 0; k < sizeof bytes; k++) bytes[k] = (uint8_t)random_next(&random);
        bytes[0] ^= (uint8_t)(bytes[0] == 0x65); /* not by chance the magic */
        job_prepare(&job, 2, NULL);
        rank_start(&job, 1);
        send_hostile(&job.ranks[1], bytes, 8 + random_below(&random, sizeof bytes - 8), &failure);
        if (job.ranks[1].joined != WEFT_PROTOCOL_ERROR || !strstr(job.ranks[1].diagnostic.text, "rank 0 sent what"))
            fail_msg("seed %llu: %s", (unsigned long long)seed, job.ranks[1].diagnostic.text);
        pthread_barrier_destroy(&job.barrier);
    }
}

/* ---- Failures ---- */

static void report_from_rank_2(struct rank_thread *rank)
{
    if (rank->rank == 2) {
        weft_failure failure = {.size = sizeof failure,
                                .status = WEFT_REVOKED,
                                .rank = 2,
                                .other_rank = -1,
                                .reporter_rank = 2,
                                .track = -1,
                                .step = -1,
                                .message = "rank 2 revoked the communicator"};
        control_report(rank->control, &failure);
        assert_true(control_failed(rank->control));
        failure.status = WEFT_MISMATCH;
        control_report(rank->control, &failure);
    }
    if (!wait_failed(rank->control)) abort();
}

static void a_report_reaches_every_rank(void **state)
{
    (void)state;
    static struct job job;
    job_run(&job, 13, report_from_rank_2);
    for (uint32_t rank = 0; rank < 13; rank++) {
        assert_int_equal(job.ranks[rank].failure.status, WEFT_REVOKED);
        assert_int_equal(job.ranks[rank].failure.rank, 2);
        assert_string_equal(job.ranks[rank].failure.message, "rank 2 revoked the communicator");
    }
}

static void disagree(struct rank_thread *rank)
{
    struct signature signature = {.sequence = 1, .count = 10, .op = WEFT_SUM};
    control_post(rank->control, &signature);
    signature.sequence = 2;
    if (rank->rank == 3) signature.count = 11;
    usleep(1000 * rank->rank);
    control_post(rank->control, &signature);
    for (int i = 0; i < 3; i++) control_stalled(rank->control, 2);
    if (!wait_failed(rank->control)) abort();
}

static void a_mismatch_fails_every_rank_naming_two(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        static struct job job;
        job_run(&job, 8, disagree);
        for (uint32_t rank = 0; rank < 8; rank++) {
            const weft_failure *failure = &job.ranks[rank].failure;
            assert_int_equal(failure->status, WEFT_MISMATCH);
            assert_int_equal(failure->sequence, 2);
            assert_true((failure->rank == 3) != (failure->other_rank == 3));
            const char *odd = failure->rank == 3 ? failure->operation : failure->other_operation;
            const char *usual = failure->rank == 3 ? failure->other_operation : failure->operation;
            assert_string_equal(odd, "all_reduce count 11 dtype float32 op sum algorithm auto");
            assert_string_equal(usual, "all_reduce count 10 dtype float32 op sum algorithm auto");
        }
    }
}

static void leave_early(struct rank_thread *rank)
{
    if (rank->rank == 0) return;
    control_post(rank->control, &(struct signature){.sequence = 1, .count = 10, .collective = WEFT_BARRIER});
    control_stalled(rank->control, 1);
    if (!wait_failed(rank->control)) abort();
}

static void one_that_left_before_an_operation_is_named(void **state)
{
    (void)state;
    static struct job job;
    job_run(&job, 6, leave_early);
    for (uint32_t rank = 1; rank < 6; rank++) {
        assert_int_equal(job.ranks[rank].failure.status, WEFT_PEER_FAILED);
        assert_int_equal(job.ranks[rank].failure.rank, 0);
        assert_non_null(strstr(job.ranks[rank].failure.message, "rank 0 left before operation 1, barrier"));
    }
}

/* Posting runs against the control thread's reading; agreement must not be taken for a mismatch. */
static void post_often(struct rank_thread *rank)
{
    for (uint64_t sequence = 1; sequence <= 20000; sequence++) {
        control_post(rank->control, &(struct signature){.sequence = sequence, .count = sequence / 3, .root = 5});
        if (sequence % 50 == 0) control_stalled(rank->control, sequence - sequence % 3);
    }
    pthread_barrier_wait(&rank->job->barrier);
}

static void posting_races_with_comparing_and_stays_right(void **state)
{
    (void)state;
    static struct job job;
    job_run(&job, 4, post_often);
    for (uint32_t rank = 0; rank < 4; rank++)
        if (job.ranks[rank].failure.status != WEFT_OK) fail_msg("%s", job.ranks[rank].failure.message);
}

/* A rank 0 that joins, and then reads nothing any more. */
static int deaf_join(const struct identity *identity, uint32_t peer)
{
    struct handshake handshake;
    weft_status status;
    handshake_dial(&handshake, identity, peer, ROLE_CONTROL, &unix_socket);
    while ((status = handshake_advance(&handshake, NULL)) == WEFT_IN_PROGRESS) usleep(100);
    assert_int_equal(status, WEFT_OK);
    struct message messages[3] = {{.kind = MESSAGE_HEARTBEAT, .heartbeat = {60 * NS_PER_S, -1}},
                                  {.kind = MESSAGE_READY, .round = 0},
                                  {.kind = MESSAGE_READY, .round = 1}};
    for (int i = 0; i < 3; i++) {
        uint8_t bytes[MESSAGE_BYTES_MAX];
        size_t size = message_encode(&messages[i], bytes);
        assert_int_equal(send(handshake.link.fd, bytes, size, MSG_NOSIGNAL), size);
    }
    return handshake.link.fd;
}

static void talk_much_then_report(struct rank_thread *rank)
{
    for (uint64_t sequence = 1; sequence <= 4000; sequence++) {
        control_post(rank->control, &(struct signature){.sequence = sequence, .count = 1});
        control_stalled(rank->control, sequence);
    }
    if (rank->rank == 1) {
        weft_failure failure = {.size = sizeof failure, .status = WEFT_REVOKED, .rank = 1, .track = -1, .step = -1};
        control_report(rank->control, &failure);
    }
    if (!wait_failed(rank->control)) abort();
}

static void a_neighbour_that_reads_nothing_delays_nobody(void **state)
{
    (void)state;
    static struct job job;
    int deaf[2];
    job_prepare(&job, 3, talk_much_then_report);
    pthread_barrier_destroy(&job.barrier);
    pthread_barrier_init(&job.barrier, NULL, 2);
    struct identity identity = make_identity(&job.id, 0, 3);
    rank_start(&job, 1);
    rank_start(&job, 2);
    for (uint32_t i = 0; i < 2; i++) deaf[i] = deaf_join(&identity, i + 1);
    uint64_t begun_ns = clock_now_ns();
    for (uint32_t rank = 1; rank < 3; rank++) {
        rank_end(&job, rank);
        if (job.ranks[rank].joined != WEFT_OK) fail_msg("rank %u: %s", rank, job.ranks[rank].diagnostic.text);
        if (job.ranks[rank].failure.status != WEFT_REVOKED)
            fail_msg("rank %u: %s", rank, job.ranks[rank].failure.message);
    }
    print_message("all over after %.1f ms\n", (double)(clock_now_ns() - begun_ns) / 1e6);
    for (uint32_t i = 0; i < 2; i++) close(deaf[i]);
    pthread_barrier_destroy(&job.barrier);
}

/* ---- Transport sockets ---- */

static void reach_everyone(struct rank_thread *rank)
{
    uint32_t count = rank->job->rank_count;
    int fds[RANKS_MAX];
    for (uint32_t peer = 0; peer < count; peer++) {
        weft_status status = WEFT_IN_PROGRESS;
        if (peer == rank->rank) continue;
        while ((status = control_reach(rank->control, peer, &fds[peer])) == WEFT_IN_PROGRESS) usleep(200);
        if (status != WEFT_OK || send(fds[peer], &rank->rank, sizeof rank->rank, 0) != sizeof rank->rank) abort();
    }
    for (uint32_t peer = 0; peer < count; peer++) {
        uint32_t said = UINT32_MAX;
        if (peer == rank->rank) continue;
        while (recv(fds[peer], &said, sizeof said, 0) < 0 && errno == EAGAIN) usleep(200);
        if (said != peer) abort();
        close(fds[peer]);
    }
    int none;
    if (control_reach(rank->control, rank->rank, &none) != WEFT_INVALID_ARGUMENT) abort();
    if (control_reach(rank->control, count, &none) != WEFT_INVALID_ARGUMENT) abort();
    pthread_barrier_wait(&rank->job->barrier);
}

static void any_two_ranks_can_be_connected(void **state)
{
    (void)state;
    static struct job job;
    unsigned descriptors = count_descriptors();
    job_run(&job, 9, reach_everyone);
    assert_int_equal(count_descriptors(), descriptors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_join_and_leave_nothing_behind),
        cmocka_unit_test(an_id_can_be_joined_again_after_leaving),
        cmocka_unit_test(a_missing_rank_is_named_at_the_deadline),
        cmocka_unit_test(a_rank_that_is_there_twice_is_refused),
        cmocka_unit_test(a_different_world_size_is_refused_on_both_sides),
        cmocka_unit_test(strangers_neither_delay_nor_fail_joining),
        cmocka_unit_test(hostile_bytes_fail_their_connection_only),
        cmocka_unit_test(a_report_reaches_every_rank),
        cmocka_unit_test(a_mismatch_fails_every_rank_naming_two),
        cmocka_unit_test(one_that_left_before_an_operation_is_named),
        cmocka_unit_test(a_neighbour_that_reads_nothing_delays_nobody),
        cmocka_unit_test(posting_races_with_comparing_and_stays_right),
        cmocka_unit_test(any_two_ranks_can_be_connected),
    };
    setenv("WEFT_LOG", "error", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
