/* SPDX-License-Identifier: Apache-2.0 */
/* PMI-1 against a launcher of our own: an honest one, and one that answers whatever it likes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "fabric/bootstrap/bootstrap.h"
#include "fabric/launch/pmi1_line.h"

#define GREETING "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n"
#define LIMITS "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024\n"
#define NAME "cmd=my_kvsname kvsname=kvs_0\n"
#define PUT "cmd=put_result rc=0 msg=success\n"
#define BARRIER "cmd=barrier_out\n"
#define GOODBYE "cmd=finalize_ack\n"

enum { RANKS_MAX = 8, LINE_BYTES = 2048 };

/* ---- An honest launcher ---- */

struct launcher {
    int count, waiting;
    int fds[RANKS_MAX];
    char stored[LINE_BYTES];
};

static void answer(int fd, const char *line)
{
    assert_int_equal(send(fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
}

/* One line; false at the end of the connection. */
static bool listen_to(int fd, char line[LINE_BYTES])
{
    size_t size = 0;
    while (size + 1 < LINE_BYTES && recv(fd, line + size, 1, 0) == 1)
        if (line[size++] == '\n') {
            line[size - 1] = '\0';
            return true;
        }
    return false;
}

/* Serve rank @p rank until it waits in the barrier or has said goodbye. */
static void serve(struct launcher *launcher, int rank)
{
    char line[LINE_BYTES], reply[2 * LINE_BYTES];
    int fd = launcher->fds[rank];
    while (listen_to(fd, line)) {
        if (strcmp(line, "cmd=init pmi_version=1 pmi_subversion=1") == 0) {
            answer(fd, GREETING);
        } else if (strcmp(line, "cmd=get_maxes") == 0) {
            answer(fd, LIMITS);
        } else if (strcmp(line, "cmd=get_my_kvsname") == 0) {
            answer(fd, NAME);
        } else if (sscanf(line, "cmd=put kvsname=kvs_0 key=weft-id value=%1024s", launcher->stored) == 1) {
            assert_int_equal(rank, 0);
            answer(fd, PUT);
        } else if (strcmp(line, "cmd=get kvsname=kvs_0 key=weft-id") == 0) {
            snprintf(reply, sizeof reply, "cmd=get_result rc=0 msg=success value=%s\n", launcher->stored);
            answer(fd, reply);
        } else if (strcmp(line, "cmd=barrier_in") == 0) {
            launcher->waiting++;
            return;
        } else if (strcmp(line, "cmd=finalize") == 0) {
            answer(fd, GOODBYE);
            return;
        } else {
            fail_msg("rank %d says '%s'", rank, line);
        }
    }
}

static void an_honest_launcher_carries_the_id(void **state)
{
    (void)state;
    struct launcher launcher = {.count = 3};
    struct child children[RANKS_MAX];
    struct outcome outcomes[RANKS_MAX];
    for (int rank = 0; rank < launcher.count; rank++) {
        int ends[2];
        char variables[200];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        launcher.fds[rank] = ends[0];
        snprintf(variables, sizeof variables, "PMI_FD=%d PMI_RANK=%d PMI_SIZE=%d WEFT_DEADLINE=20s", ends[1], rank,
                 launcher.count);
        children[rank] = identify_begin(variables, ends[1]);
        close(ends[1]);
    }
    for (int rank = 0; rank < launcher.count; rank++) serve(&launcher, rank);
    assert_int_equal(launcher.waiting, launcher.count);
    for (int rank = 0; rank < launcher.count; rank++) answer(launcher.fds[rank], BARRIER);
    for (int rank = 0; rank < launcher.count; rank++) serve(&launcher, rank);
    for (int rank = 0; rank < launcher.count; rank++) {
        outcomes[rank] = identify_end(children[rank]);
        close(launcher.fds[rank]);
        if (outcomes[rank].status != WEFT_OK) fail_msg("rank %d: %s", rank, outcomes[rank].diagnostic.text);
        assert_int_equal(outcomes[rank].rank, rank);
        assert_int_equal(outcomes[rank].rank_count, 3);
        assert_memory_equal(&outcomes[rank].id, &outcomes[0].id, sizeof outcomes[0].id);
        assert_memory_equal(&outcomes[rank].second_id, &outcomes[0].second_id, sizeof outcomes[0].id);
    }
    struct identity identity;
    assert_int_equal(bootstrap_identity(&outcomes[2].id, 2, 3, &identity, NULL), WEFT_OK);
    assert_memory_not_equal(&outcomes[0].id, &outcomes[0].second_id, sizeof outcomes[0].id);
}

/* ---- A launcher that answers whatever it likes ---- */

/* Each request is answered by the next line of @p answers; after the last it hangs up, or stays silent. */
static struct outcome hear(int rank, const char *answers, size_t size, bool hang_up)
{
    int ends[2];
    char variables[200];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    snprintf(variables, sizeof variables, "PMI_FD=%d PMI_RANK=%d PMI_SIZE=2 WEFT_DEADLINE=%s", ends[1], rank,
             hang_up ? "20s" : "300ms");
    struct child child = identify_begin(variables, ends[1]);
    close(ends[1]);
    char request[LINE_BYTES];
    for (size_t at = 0; at < size;) {
        const char *end = memchr(answers + at, '\n', size - at);
        size_t length = end ? (size_t)(end - answers) + 1 - at : size - at;
        if (!listen_to(ends[0], request)) break;
        if (send(ends[0], answers + at, length, MSG_NOSIGNAL) != (ssize_t)length) break;
        at += length;
    }
    /* Not close(): bytes that were not read would turn the hanging up into a reset. */
    if (hang_up) shutdown(ends[0], SHUT_WR);
    struct outcome outcome = identify_end(child);
    close(ends[0]);
    return outcome;
}

static void expect_after(int rank, const char *answers, weft_status status, bool hang_up, const char *why)
{
    struct outcome outcome = hear(rank, answers, strlen(answers), hang_up);
    if (outcome.status != status || !strstr(outcome.diagnostic.text, why) || outcome.exit_code != 0)
        fail_msg("after '%s': status %d, code %d: '%s', not '%s'", answers, (int)outcome.status, outcome.exit_code,
                 outcome.diagnostic.text, why);
}

static void a_hostile_launcher_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *answers, *why;
    } cases[] = {
        {"\n", "no cmd="},
        {"hello\n", "no field=value at byte 1"},
        {"HTTP/1.1 400 Bad Request\r\n",
         "waiting for its greeting: the launcher's line has a byte that is not printable"},
        {"cmd=response_to_init rc=-1 msg=version\n", "refuses its greeting: rc -1 version"},
        {"cmd=response_to_init cmd=response_to_init\n", "a field twice"},
        {"rc=0 cmd=response_to_init\n", "no cmd="},
        {"cmd=finalize_ack\n", "answers 'finalize_ack' instead of its greeting"},
        {GREETING "cmd=maxes\n", "limit keylen_max is ''"},
        {GREETING "cmd=maxes keylen_max=64 vallen_max=256\n", "limit vallen_max is '256': 257 needed"},
        {GREETING "cmd=maxes keylen_max=64 vallen_max=-1\n", "limit vallen_max is '-1'"},
        {GREETING "cmd=maxes keylen_max=64 vallen_max=1024x\n", "limit vallen_max is '1024x'"},
        {GREETING LIMITS "cmd=my_kvsname\n", "store has no name"},
        {GREETING LIMITS "cmd=my_kvsname kvsname=\n", "store has no name"},
        {GREETING LIMITS NAME "cmd=barrier_out rc=1\n", "refuses the other ranks (PMI barrier): rc 1"},
        {GREETING LIMITS NAME BARRIER "cmd=get_result rc=-1 msg=key_weft-id_not_found\n",
         "rc -1 key_weft-id_not_found"},
        {GREETING LIMITS NAME BARRIER "cmd=get_result rc=0\n", "what the launcher stored is not rank 0's id"},
        {GREETING LIMITS NAME BARRIER "cmd=get_result rc=0 value=00\n", "what the launcher stored is not rank 0's id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_after(1, cases[i].answers, WEFT_PROTOCOL_ERROR, true, cases[i].why);
    expect_after(0, GREETING LIMITS NAME "cmd=put_result rc=-1 msg=duplicate\n", WEFT_PROTOCOL_ERROR, true,
                 "refuses storing the job's id: rc -1 duplicate");
}

static void lines_without_an_end_are_refused(void **state)
{
    (void)state;
    static char answers[PMI1_LINE_BYTES + 600];
    memset(answers, 'a', sizeof answers);
    memcpy(answers, "cmd=", 4);
    struct outcome outcome = hear(1, answers, sizeof answers, true);
    assert_int_equal(outcome.status, WEFT_PROTOCOL_ERROR);
    assert_non_null(strstr(outcome.diagnostic.text, "does not end within 4096 bytes"));
    /* A name and a value at the edge of what fits. */
    char name[350];
    memset(name, 'n', sizeof name);
    memcpy(name, GREETING LIMITS "cmd=my_kvsname kvsname=", sizeof(GREETING LIMITS "cmd=my_kvsname kvsname=") - 1);
    memcpy(name + sizeof name - 2, "\n", 2);
    expect_after(1, name, WEFT_PROTOCOL_ERROR, true, "the other ranks");
    char long_name[600];
    memset(long_name, 'n', sizeof long_name);
    memcpy(long_name, GREETING LIMITS "cmd=my_kvsname kvsname=", sizeof(GREETING LIMITS "cmd=my_kvsname kvsname=") - 1);
    memcpy(long_name + sizeof long_name - 2, "\n", 2);
    expect_after(1, long_name, WEFT_PROTOCOL_ERROR, true, "too long a one");
}

static void a_launcher_that_hangs_up_is_named(void **state)
{
    (void)state;
    expect_after(1, "", WEFT_PROTOCOL_ERROR, true, "the launcher hung up instead of sending its greeting");
    expect_after(1, "cmd=respo", WEFT_PROTOCOL_ERROR, true, "the launcher hung up instead of sending its greeting");
    expect_after(1, GREETING LIMITS NAME, WEFT_PROTOCOL_ERROR, true, "hung up instead of sending the other ranks");
    expect_after(1, GREETING LIMITS NAME BARRIER, WEFT_PROTOCOL_ERROR, true, "the id that rank 0 stored");
}

static void a_silent_launcher_meets_the_deadline(void **state)
{
    (void)state;
    expect_after(1, "", WEFT_DEADLINE_EXCEEDED, false, "waited in vain for its greeting");
    expect_after(0, GREETING LIMITS NAME PUT, WEFT_DEADLINE_EXCEEDED, false,
                 "waited in vain for the other ranks (PMI barrier)");
    expect_after(1, GREETING LIMITS NAME BARRIER, WEFT_DEADLINE_EXCEEDED, false,
                 "waited in vain for the id that rank 0 stored");
    expect_after(0, GREETING LIMITS NAME PUT BARRIER, WEFT_DEADLINE_EXCEEDED, false, "waited in vain for its goodbye");
}

/* ---- Lines ---- */

static void a_line_is_taken_apart(void **state)
{
    (void)state;
    static const char text[] = "cmd=get_result rc=0  msg= value=a=b \n";
    struct pmi1_line line;
    assert_int_equal(pmi1_line_parse(&line, text, sizeof text - 1, NULL), WEFT_OK);
    assert_int_equal(line.count, 4);
    assert_string_equal(pmi1_line_field(&line, "cmd"), "get_result");
    assert_string_equal(pmi1_line_field(&line, "rc"), "0");
    assert_string_equal(pmi1_line_field(&line, "msg"), "");
    assert_string_equal(pmi1_line_field(&line, "value"), "a=b");
    assert_null(pmi1_line_field(&line, "key"));
}

static void two_lines_at_once_are_not_one(void **state)
{
    (void)state;
    static const char two[] = "cmd=a\ncmd=b\n";
    struct pmi1_line line;
    assert_int_equal(pmi1_line_parse(&line, two, sizeof two - 1, NULL), WEFT_PROTOCOL_ERROR);
    assert_int_equal(pmi1_line_parse(&line, two, 0, NULL), WEFT_PROTOCOL_ERROR);
    assert_int_equal(pmi1_line_parse(&line, two, 5, NULL), WEFT_PROTOCOL_ERROR);
}

static void too_many_fields_are_refused(void **state)
{
    (void)state;
    char text[512] = "cmd=a";
    struct pmi1_line line;
    for (int i = 1; i <= PMI1_FIELDS_MAX; i++) {
        char field[16], whole[600];
        snprintf(whole, sizeof whole, "%s\n", text);
        assert_int_equal(pmi1_line_parse(&line, whole, strlen(whole), NULL), WEFT_OK);
        assert_int_equal(line.count, i);
        snprintf(field, sizeof field, " f%d=", i);
        strcat(text, field);
    }
    strcat(text, "\n");
    assert_int_equal(pmi1_line_parse(&line, text, strlen(text), NULL), WEFT_PROTOCOL_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_launcher_carries_the_id),    cmocka_unit_test(a_hostile_launcher_is_refused),
        cmocka_unit_test(lines_without_an_end_are_refused),     cmocka_unit_test(a_launcher_that_hangs_up_is_named),
        cmocka_unit_test(a_silent_launcher_meets_the_deadline), cmocka_unit_test(a_line_is_taken_apart),
        cmocka_unit_test(two_lines_at_once_are_not_one),        cmocka_unit_test(too_many_fields_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
