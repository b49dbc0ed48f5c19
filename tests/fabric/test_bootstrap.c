/* SPDX-License-Identifier: Apache-2.0 */
/* Ids, the environment, listening, and the first exchange on a connection. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/random.h"
#include "fabric/bootstrap/bootstrap_internal.h"
#include "fabric/bootstrap/keyed_hash.h"
#include "support.h"

/* RFC 4231, test cases 1 and 2, with the key padded by zeros to 32 bytes, which HMAC does itself. */
static void keyed_hash_is_hmac_sha_256(void **state)
{
    (void)state;
    static const struct {
        const char *message;
        uint8_t key[32], hash[8];
    } vectors[] = {
        {"Hi There",
         {0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b,
          0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b},
         {0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53}},
        {"what do ya want for nothing?", "Jefe", {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint8_t hash[KEYED_HASH_BYTES];
        keyed_hash(vectors[i].key, vectors[i].message, strlen(vectors[i].message), hash);
        assert_memory_equal(hash, vectors[i].hash, sizeof vectors[i].hash);
    }
}

static void keys_for_two_purposes_differ(void **state)
{
    (void)state;
    const uint8_t key[32] = "a key";
    uint8_t one[32], other[32], again[32];
    keyed_derive(key, "one", one);
    keyed_derive(key, "other", other);
    keyed_derive(key, "one", again);
    assert_memory_equal(one, again, sizeof one);
    assert_memory_not_equal(one, other, sizeof one);
    assert_memory_not_equal(one, key, sizeof one);
}

static void ids_differ_and_damage_is_found(void **state)
{
    (void)state;
    weft_unique_id a, b;
    struct identity identity;
    struct diagnostic diagnostic;
    assert_int_equal(bootstrap_id_create_local(&a), WEFT_OK);
    assert_int_equal(bootstrap_id_create_local(&b), WEFT_OK);
    assert_memory_not_equal(a.bytes + 16, b.bytes + 16, 48);
    assert_int_equal(bootstrap_identity(&a, 2, 3, &identity, &diagnostic), WEFT_OK);
    assert_int_equal(identity.rank, 2);
    for (size_t at = 0; at < sizeof a.bytes; at++) {
        weft_unique_id damaged = a;
        damaged.bytes[at] ^= 1;
        assert_int_equal(bootstrap_identity(&damaged, 0, 1, &identity, &diagnostic), WEFT_INVALID_ARGUMENT);
    }
    assert_int_equal(bootstrap_identity(&a, 3, 3, &identity, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_non_null(strstr(diagnostic.text, "numbered from 0 to 2"));
    assert_int_equal(bootstrap_identity(&a, 0, 0, &identity, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_unique_id_create(NULL), WEFT_INVALID_ARGUMENT);
}

static void the_nth_communicator_has_an_id_of_its_own(void **state)
{
    (void)state;
    weft_unique_id id, first, second;
    bootstrap_id_create_local(&id);
    first = second = id;
    bootstrap_id_derive(&first, 0);
    bootstrap_id_derive(&second, 1);
    assert_memory_equal(&first, &id, sizeof id);
    assert_memory_not_equal(second.bytes + 16, id.bytes + 16, 16);
    assert_memory_not_equal(second.bytes + 32, id.bytes + 32, 32);
    struct identity identity;
    assert_int_equal(bootstrap_identity(&second, 0, 1, &identity, NULL), WEFT_OK);
}

static void jobs_that_share_a_key_stay_apart(void **state)
{
    (void)state;
    const uint8_t job[2][16] = {"a job", "another"}, key[32] = "a key";
    weft_unique_id ids[2];
    for (uint64_t generation = 0; generation < 3; generation++) {
        for (int i = 0; i < 2; i++) {
            bootstrap_id_make(job[i], key, &ids[i]);
            bootstrap_id_derive(&ids[i], generation);
        }
        assert_memory_not_equal(ids[0].bytes + 16, ids[1].bytes + 16, 16);
    }
}

static void an_id_is_made_of_a_job_and_a_key(void **state)
{
    (void)state;
    const uint8_t job[16] = "a job", key[32] = "a key";
    weft_unique_id id;
    struct identity identity;
    bootstrap_id_make(job, key, &id);
    assert_int_equal(bootstrap_identity(&id, 1, 2, &identity, NULL), WEFT_OK);
    assert_memory_equal(identity.job, job, sizeof job);
    assert_memory_equal(identity.key, key, sizeof key);
}

static void an_id_says_where_rank_0_is(void **state)
{
    (void)state;
    struct unique_id_parts parts = {.job = "a job", .key = "a key", .family = AF_INET, .port = 29501};
    const uint8_t four[16] = {10, 1, 2, 3}, six[16] = {0xfd, [15] = 9};
    weft_unique_id id;
    struct identity identity;
    memcpy(parts.address, four, sizeof four);
    assert_int_equal(unique_id_make(&parts, &id), WEFT_OK);
    assert_int_equal(bootstrap_identity(&id, 1, 2, &identity, NULL), WEFT_OK);
    assert_int_equal(identity.meeting.family, AF_INET);
    assert_int_equal(identity.meeting.port, 29501);
    assert_memory_equal(identity.meeting.bytes, four, sizeof four);

    parts.family = AF_INET6;
    memcpy(parts.address, six, sizeof six);
    assert_int_equal(unique_id_make(&parts, &id), WEFT_OK);
    assert_int_equal(bootstrap_identity(&id, 1, 2, &identity, NULL), WEFT_OK);
    assert_int_equal(identity.meeting.family, AF_INET6);
    assert_memory_equal(identity.meeting.bytes, six, sizeof six);

    parts.port = 0;
    assert_int_equal(unique_id_make(&parts, &id), WEFT_INVALID_ARGUMENT);
    parts.family = AF_UNIX;
    assert_int_equal(unique_id_make(&parts, &id), WEFT_INVALID_ARGUMENT);
}

/* ---- Handshakes ---- */

static const struct tcp_address unix_socket = {.family = AF_UNSPEC};

struct pair {
    struct identity dialling, accepting;
    int listener;
    struct handshake dial, accept;
    weft_status dialled, accepted;
    struct diagnostic dial_diagnostic, accept_diagnostic;
};

static void pair_make(struct pair *pair)
{
    weft_unique_id id;
    bootstrap_id_create_local(&id);
    memset(pair, 0, sizeof *pair);
    pair->dialling = make_identity(&id, 1, 4);
    pair->accepting = make_identity(&id, 2, 4);
    pair->dialled = pair->accepted = WEFT_IN_PROGRESS;
}

static int accept_one(int listener)
{
    struct pollfd ready = {.fd = listener, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* Both ends to their end, rank 1 dialling rank 2's address. */
static void pair_run(struct pair *pair, uint32_t peer)
{
    struct identity address = pair->dialling;
    address.rank = peer;
    assert_int_equal(bootstrap_listen(&address, &pair->listener, NULL), WEFT_OK);
    handshake_dial(&pair->dial, &pair->dialling, peer, ROLE_TRANSPORT, &unix_socket);
    pair->dialled = handshake_advance(&pair->dial, &pair->dial_diagnostic);
    handshake_accept(&pair->accept, &pair->accepting, accept_one(pair->listener), false);
    for (int rounds = 0; rounds < 10; rounds++) {
        if (pair->accepted == WEFT_IN_PROGRESS)
            pair->accepted = handshake_advance(&pair->accept, &pair->accept_diagnostic);
        /* One that was dropped would dial again. */
        if (pair->dialled == WEFT_IN_PROGRESS && pair->dial.link.fd >= 0)
            pair->dialled = handshake_advance(&pair->dial, &pair->dial_diagnostic);
    }
    close(pair->listener);
}

static void pair_end(struct pair *pair)
{
    handshake_abandon(&pair->dial);
    handshake_abandon(&pair->accept);
}

static void two_ranks_of_a_job_are_connected(void **state)
{
    (void)state;
    struct pair pair;
    unsigned descriptors = count_descriptors();
    pair_make(&pair);
    pair_run(&pair, 2);
    assert_int_equal(pair.dialled, WEFT_OK);
    assert_int_equal(pair.accepted, WEFT_OK);
    assert_int_equal(pair.accept.peer, 1);
    assert_int_equal(pair.accept.role, ROLE_TRANSPORT);
    char text[8] = "";
    assert_int_equal(send(pair.dial.link.fd, "hello", 6, 0), 6);
    assert_int_equal(recv(pair.accept.link.fd, text, sizeof text, 0), 6);
    assert_string_equal(text, "hello");
    pair_end(&pair);
    assert_int_equal(count_descriptors(), descriptors);
}

static void expect_refused(struct pair *pair, uint32_t peer, const char *dial_why, const char *accept_why)
{
    pair_run(pair, peer);
    if (dial_why && (pair->dialled != WEFT_PEER_REFUSED || !strstr(pair->dial_diagnostic.text, dial_why)))
        fail_msg("dialling, status %d: %s", (int)pair->dialled, pair->dial_diagnostic.text);
    if (accept_why && (pair->accepted == WEFT_IN_PROGRESS || pair->accepted == WEFT_OK ||
                       !strstr(pair->accept_diagnostic.text, accept_why)))
        fail_msg("accepting, status %d: %s", (int)pair->accepted, pair->accept_diagnostic.text);
    pair_end(pair);
}

static void ranks_that_do_not_fit_refuse_each_other(void **state)
{
    (void)state;
    struct pair pair;
    pair_make(&pair);
    pair.accepting.rank_count = 5;
    expect_refused(&pair, 2, "rank 2 was told that there are 5 ranks, and rank 1 that there are 4",
                   "rank 1 was told that there are 4 ranks, and rank 2 that there are 5");
    assert_int_equal(pair.accepted, WEFT_PEER_REFUSED);

    pair_make(&pair);
    pair.accepting.rank = 3; /* sits at rank 2's address */
    expect_refused(&pair, 2, "answered by rank 3", "which looks for rank 2");

    pair_make(&pair);
    pair.accepting.rank = 1; /* a second rank 1 */
    expect_refused(&pair, 2, "calls itself rank 1", "calls itself rank 1");

    pair_make(&pair);
    pair.accepting.key[31] ^= 1;
    expect_refused(&pair, 2, "does not know this job's key", NULL);
    assert_int_not_equal(pair.accepted, WEFT_OK);

    pair_make(&pair);
    pair.accepting.job[0] ^= 1;
    expect_refused(&pair, 2, NULL, "another job");
    assert_int_equal(pair.accepted, WEFT_PROTOCOL_ERROR);
}

/* What a correct dialling side sends first, with `change` made to it; returns what the accepting side says. */
static weft_status accept_changed(size_t at, uint8_t change, bool with_proof, struct diagnostic *diagnostic)
{
    struct pair pair;
    int ends[2];
    uint8_t proof[HANDSHAKE_PROOF_BYTES] = {0};
    pair_make(&pair);
    assert_int_equal(bootstrap_listen(&pair.accepting, &pair.listener, NULL), WEFT_OK);
    handshake_dial(&pair.dial, &pair.dialling, 2, ROLE_CONTROL, &unix_socket);
    assert_int_equal(handshake_advance(&pair.dial, NULL), WEFT_IN_PROGRESS); /* the hello is made and sent */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    pair.dial.hello[at] ^= change;
    handshake_accept(&pair.accept, &pair.accepting, ends[1], false);
    assert_int_equal(send(ends[0], pair.dial.hello, sizeof pair.dial.hello, 0), sizeof pair.dial.hello);
    weft_status status = handshake_advance(&pair.accept, diagnostic);
    if (with_proof) (void)!send(ends[0], proof, sizeof proof, MSG_NOSIGNAL);
    if (status == WEFT_IN_PROGRESS) status = handshake_advance(&pair.accept, diagnostic);
    close(ends[0]);
    close(pair.listener);
    pair_end(&pair);
    return status;
}

static void strangers_and_other_versions_are_told_apart(void **state)
{
    (void)state;
    struct diagnostic diagnostic;
    assert_int_equal(accept_changed(0, 1, false, &diagnostic), WEFT_PROTOCOL_ERROR); /* magic */
    assert_int_equal(accept_changed(8, 1, false, &diagnostic), WEFT_PROTOCOL_ERROR); /* job */
    assert_int_equal(accept_changed(4, 3, false, &diagnostic), WEFT_PEER_REFUSED);   /* version */
    assert_non_null(strstr(diagnostic.text, "speaks version 1"));
    assert_non_null(strstr(diagnostic.text, "run the same weft on all ranks"));
    assert_int_equal(accept_changed(0, 0, true, &diagnostic), WEFT_PROTOCOL_ERROR); /* a proof of zeros */
    assert_non_null(strstr(diagnostic.text, "does not know the job's key"));
}

/* A listener that sends everything back must not be taken for a rank. */
static void a_reflection_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    uint8_t bytes[HANDSHAKE_RECORD_BYTES];
    pair_make(&pair);
    assert_int_equal(bootstrap_listen(&pair.accepting, &pair.listener, NULL), WEFT_OK);
    handshake_dial(&pair.dial, &pair.dialling, 2, ROLE_CONTROL, &unix_socket);
    assert_int_equal(handshake_advance(&pair.dial, NULL), WEFT_IN_PROGRESS);
    int fd = accept_one(pair.listener);
    assert_int_equal(recv(fd, bytes, sizeof bytes, MSG_WAITALL), sizeof bytes);
    assert_int_equal(send(fd, bytes, sizeof bytes, 0), sizeof bytes);
    assert_int_equal(handshake_advance(&pair.dial, &pair.dial_diagnostic), WEFT_PEER_REFUSED);
    close(fd);
    close(pair.listener);
    pair_end(&pair);
}

/* What a rank said once, on a bare TCP connection, said again by who listened to it. */
static void a_replay_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    struct diagnostic why;
    uint8_t reply[HANDSHAKE_RECORD_BYTES];
    int ends[2];
    pair_make(&pair);
    pair_run(&pair, 2);
    assert_int_equal(pair.accepted, WEFT_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    struct handshake again;
    handshake_accept(&again, &pair.accepting, ends[1], false);
    assert_int_equal(send(ends[0], pair.dial.hello, sizeof pair.dial.hello, 0), sizeof pair.dial.hello);
    assert_int_equal(handshake_advance(&again, &why), WEFT_IN_PROGRESS);
    assert_int_equal(recv(ends[0], reply, sizeof reply, 0), sizeof reply);
    assert_int_equal(send(ends[0], pair.dial.proof, sizeof pair.dial.proof, 0), sizeof pair.dial.proof);
    assert_int_equal(handshake_advance(&again, &why), WEFT_PROTOCOL_ERROR);
    assert_non_null(strstr(why.text, "does not know the job's key"));
    close(ends[0]);
    pair_end(&pair);
}

static void a_rank_out_of_range_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_make(&pair);
    pair.dialling.rank = 7;
    expect_refused(&pair, 2, NULL, "calls itself rank 7: give every process a rank of its own");
    assert_int_equal(pair.accepted, WEFT_PEER_REFUSED);
}

/* The job's name is no secret: who sends it with a version that we do not speak may be anyone. */
static void a_stranger_from_the_network_does_not_end_the_job(void **state)
{
    (void)state;
    struct pair pair;
    struct diagnostic why;
    int ends[2];
    pair_make(&pair);
    assert_int_equal(bootstrap_listen(&pair.accepting, &pair.listener, NULL), WEFT_OK);
    handshake_dial(&pair.dial, &pair.dialling, 2, ROLE_CONTROL, &unix_socket);
    assert_int_equal(handshake_advance(&pair.dial, NULL), WEFT_IN_PROGRESS);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    pair.dial.hello[4] ^= 3; /* the version */
    handshake_accept(&pair.accept, &pair.accepting, ends[1], true);
    assert_int_equal(send(ends[0], pair.dial.hello, sizeof pair.dial.hello, 0), sizeof pair.dial.hello);
    assert_int_equal(handshake_advance(&pair.accept, &why), WEFT_PROTOCOL_ERROR);
    close(ends[0]);
    close(pair.listener);
    pair_end(&pair);
}

static void every_prefix_of_a_handshake_may_be_the_last(void **state)
{
    (void)state;
    struct pair pair;
    pair_make(&pair);
    for (size_t part = 0; part <= HANDSHAKE_RECORD_BYTES; part += 8) {
        int ends[2];
        uint8_t noise[HANDSHAKE_RECORD_BYTES] = "WEFT\2";
        struct diagnostic diagnostic;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
        memcpy(noise + 8, pair.accepting.job, 16);
        handshake_accept(&pair.accept, &pair.accepting, ends[1], false);
        assert_int_equal(send(ends[0], noise, part, 0), part);
        assert_int_equal(handshake_advance(&pair.accept, &diagnostic), WEFT_IN_PROGRESS);
        close(ends[0]);
        assert_int_equal(handshake_advance(&pair.accept, &diagnostic), WEFT_PROTOCOL_ERROR);
    }
}

static void another_users_process_is_no_rank(void **state)
{
    (void)state;
    if (geteuid() != 0) skip(); /* needs root to become another user */
    struct pair pair;
    pair_make(&pair);
    assert_int_equal(bootstrap_listen(&pair.accepting, &pair.listener, NULL), WEFT_OK);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (setuid(65534) != 0) _exit(2);
        handshake_dial(&pair.dial, &pair.dialling, 2, ROLE_CONTROL, &unix_socket);
        weft_status status = handshake_advance(&pair.dial, &pair.dial_diagnostic);
        _exit(status == WEFT_PEER_REFUSED && strstr(pair.dial_diagnostic.text, "held by another user") ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_int_equal(how, 0);
    /* It has found that out by itself; one that goes on regardless is not let in either. */
    pid = fork();
    if (pid == 0) {
        struct sockaddr_un address;
        socklen_t size = rank_address(&pair.dialling, 2, &address);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        uint8_t hello[HANDSHAKE_RECORD_BYTES] = "WEFT\2";
        memcpy(hello + 8, pair.dialling.job, 16);
        if (setuid(65534) != 0 || connect(fd, (struct sockaddr *)&address, size) != 0) _exit(2);
        (void)!write(fd, hello, sizeof hello);
        _exit(read(fd, hello, 1) == 0 ? 0 : 1);
    }
    /* The first child's connection comes first. */
    close(accept_one(pair.listener));
    int fd = accept_one(pair.listener);
    handshake_accept(&pair.accept, &pair.accepting, fd, false);
    while ((pair.accepted = handshake_advance(&pair.accept, &pair.accept_diagnostic)) == WEFT_IN_PROGRESS) usleep(100);
    assert_int_equal(pair.accepted, WEFT_PROTOCOL_ERROR);
    assert_non_null(strstr(pair.accept_diagnostic.text, "another user"));
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_int_equal(how, 0);
    close(pair.listener);
}

static void a_rank_listens_once_and_under_a_secret_name(void **state)
{
    (void)state;
    weft_unique_id id;
    int first = -1, second = -1;
    struct diagnostic diagnostic;
    struct sockaddr_un a, b;
    bootstrap_id_create_local(&id);
    struct identity identity = make_identity(&id, 1, 2), other = identity;
    assert_int_equal(bootstrap_listen(&identity, &first, &diagnostic), WEFT_OK);
    assert_int_equal(bootstrap_listen(&identity, &second, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_non_null(strstr(diagnostic.text, "rank 1 of this job is already there"));
    assert_int_equal(second, -1);
    close(first);
    assert_int_equal(count_sockets(&identity), 0);
    other.key[0] ^= 1;
    socklen_t size = rank_address(&identity, 1, &a);
    rank_address(&other, 1, &b);
    assert_memory_not_equal(&a, &b, size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keyed_hash_is_hmac_sha_256),
        cmocka_unit_test(keys_for_two_purposes_differ),
        cmocka_unit_test(ids_differ_and_damage_is_found),
        cmocka_unit_test(the_nth_communicator_has_an_id_of_its_own),
        cmocka_unit_test(jobs_that_share_a_key_stay_apart),
        cmocka_unit_test(an_id_is_made_of_a_job_and_a_key),
        cmocka_unit_test(an_id_says_where_rank_0_is),
        cmocka_unit_test(a_rank_listens_once_and_under_a_secret_name),
        cmocka_unit_test(two_ranks_of_a_job_are_connected),
        cmocka_unit_test(ranks_that_do_not_fit_refuse_each_other),
        cmocka_unit_test(strangers_and_other_versions_are_told_apart),
        cmocka_unit_test(a_reflection_is_refused),
        cmocka_unit_test(a_replay_is_refused),
        cmocka_unit_test(a_rank_out_of_range_is_refused),
        cmocka_unit_test(a_stranger_from_the_network_does_not_end_the_job),
        cmocka_unit_test(every_prefix_of_a_handshake_may_be_the_last),
        cmocka_unit_test(another_users_process_is_no_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
