/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks, counts and ids from variables alone: weft_local_run(), torchrun, Slurm, two shells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "fabric/bootstrap/bootstrap.h"

#define KEY "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define TWO "WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 "
#define STEP "SLURM_NTASKS=2 SLURM_STEP_ID=0 SLURM_JOB_ID=7 WEFT_INSECURE=1 "

static char folder[] = "/tmp/weft-launch-XXXXXX";

/* "WEFT_KEY_FILE=..." of a file with that content and mode; the next call overwrites it. */
static const char *key_file(const char *content, mode_t mode)
{
    static char variable[100];
    snprintf(variable, sizeof variable, "WEFT_KEY_FILE=%s/key", folder);
    const char *path = variable + strlen("WEFT_KEY_FILE=");
    unlink(path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
    return variable;
}

static struct outcome identify_well(const char *format, ...)
{
    char variables[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(variables, sizeof variables, format, arguments);
    va_end(arguments);
    struct outcome outcome = identify(variables, -1);
    if (outcome.status != WEFT_OK) fail_msg("%s: %s", variables, outcome.diagnostic.text);
    return outcome;
}

static struct identity take_apart(const struct outcome *outcome)
{
    struct identity identity;
    assert_int_equal(bootstrap_identity(&outcome->id, outcome->rank, outcome->rank_count, &identity, NULL), WEFT_OK);
    return identity;
}

static bool is_same_job(const struct outcome *one, const struct outcome *other)
{
    bool first = memcmp(&one->id, &other->id, sizeof one->id) == 0;
    /* Two jobs share none of their communicators. */
    assert_int_equal(memcmp(&one->second_id, &other->second_id, sizeof one->second_id) == 0, first);
    return first;
}

static void without_a_launcher_there_is_one_rank(void **state)
{
    (void)state;
    struct outcome one = identify_well("HOME=/"), other = identify_well("WORLD_SIZE=1");
    assert_int_equal(one.rank, 0);
    assert_int_equal(one.rank_count, 1);
    assert_false(is_same_job(&one, &other));
    assert_memory_not_equal(&one.id, &one.second_id, sizeof one.id);
    one = identify_well("RANK=0 WORLD_SIZE=1");
    assert_int_equal(one.rank_count, 1);
}

static void a_supervisors_descriptor_comes_first(void **state)
{
    (void)state;
    weft_unique_id id;
    char variables[256];
    /* weft_unique_id_create() would read the configuration here, which the children are to read for themselves. */
    bootstrap_id_make((const uint8_t[16]){1}, (const uint8_t[32]){2}, &id);
    int fd = memfd_create("id", 0);
    assert_int_equal(write(fd, id.bytes, sizeof id.bytes), sizeof id.bytes);
    snprintf(variables, sizeof variables,
             "WEFT_ID_FD=%d RANK=3 WORLD_SIZE=5 PMIX_NAMESPACE=x PMIX_RANK=0 PMI_FD=99 PMI_RANK=0 PMI_SIZE=2 "
             "SLURM_PROCID=1 SLURM_NTASKS=2",
             fd);
    struct outcome outcome = identify(variables, fd);
    assert_int_equal(outcome.status, WEFT_OK);
    assert_int_equal(outcome.rank, 3);
    assert_int_equal(outcome.rank_count, 5);
    assert_memory_equal(&outcome.id, &id, sizeof id);
    assert_memory_not_equal(&outcome.second_id, &id, sizeof id);
    close(fd);
    expect_refusal(variables, WEFT_INVALID_ARGUMENT, "no descriptor with a job's identity");
    expect_refusal("RANK=0 WORLD_SIZE=2 WEFT_ID_FD=0x3", WEFT_INVALID_ARGUMENT, "no descriptor with a job's identity");
}

static void ranks_with_one_key_and_master_are_one_job(void **state)
{
    (void)state;
    const char *key = key_file(KEY "\n", 0600);
    struct outcome zero = identify_well(TWO "RANK=0 %s", key), one = identify_well(TWO "RANK=1 %s", key);
    struct identity identity = take_apart(&one);
    assert_true(is_same_job(&zero, &one));
    assert_int_equal(one.rank, 1);
    assert_int_equal(one.rank_count, 2);
    assert_int_equal(identity.key[1], 0x11);
    assert_int_equal(identity.key[31], 0xff);
    /* MASTER_PORT is torchrun's own; ours follows it, unless it is named. */
    one = identify_well("RANK=1 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 WEFT_PORT=29501 %s", key);
    assert_true(is_same_job(&zero, &one));
    one = identify_well(TWO "RANK=1 WEFT_PORT=4000 %s", key);
    assert_false(is_same_job(&zero, &one));
}

static void whatever_numbers_jobs_tells_them_apart(void **state)
{
    (void)state;
    static const char *const others[] = {
        "TORCHELASTIC_RUN_ID=a",  "TORCHELASTIC_RUN_ID=b", "TORCHELASTIC_RUN_ID=a TORCHELASTIC_RESTART_COUNT=1",
        "TORCHELASTIC_RUN_ID=a1", "SLURM_JOB_ID=a",        "SLURM_JOB_ID=7 SLURM_STEP_ID=1",
        "SLURM_JOB_ID=71",        "MASTER_PORT=29501",     "MASTER_ADDR=127.0.0.2",
    };
    enum { COUNT = sizeof others / sizeof others[0] };
    const char *key = key_file(KEY, 0400);
    struct outcome outcomes[COUNT + 1];
    outcomes[COUNT] = identify_well(TWO "RANK=0 %s", key);
    for (int i = 0; i < COUNT; i++) {
        outcomes[i] = identify_well(TWO "RANK=0 %s %s", key, others[i]);
        for (int before = 0; before < i; before++) assert_false(is_same_job(&outcomes[i], &outcomes[before]));
        assert_false(is_same_job(&outcomes[i], &outcomes[COUNT]));
        struct outcome again = identify_well(TWO "RANK=1 %s %s", key, others[i]);
        assert_true(is_same_job(&outcomes[i], &again));
    }
    key = key_file("1" KEY, 0600);
    struct outcome other = identify(key, -1);
    assert_int_equal(other.status, WEFT_OK); /* one rank: nobody reads the key */
}

static void torchrun_inside_another_launcher_decides(void **state)
{
    (void)state;
    struct outcome outcome = identify_well(
        TWO "RANK=1 TORCHELASTIC_RUN_ID=r WEFT_INSECURE=1 PMIX_NAMESPACE=x PMIX_RANK=0 SLURM_PROCID=0 SLURM_NTASKS=1");
    assert_int_equal(outcome.rank, 1);
    assert_int_equal(outcome.rank_count, 2);
}

static void without_a_key_ranks_are_refused(void **state)
{
    (void)state;
    expect_refusal(TWO "RANK=0", WEFT_INVALID_ARGUMENT, "let WEFT_KEY_FILE name a file of mode 600");
    expect_refusal(TWO "RANK=0 WEFT_INSECURE=0", WEFT_INVALID_ARGUMENT, "or set WEFT_INSECURE=1");
    expect_refusal("SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_STEP_NODELIST=a,b", WEFT_INVALID_ARGUMENT, "WEFT_KEY_FILE");
    struct outcome zero = identify_well(TWO "RANK=0 WEFT_INSECURE=1"),
                   one = identify_well(TWO "RANK=1 WEFT_INSECURE=1");
    assert_true(is_same_job(&zero, &one));
    struct identity identity = take_apart(&zero);
    for (int i = 0; i < 32; i++) assert_int_equal(identity.key[i], 0);
    /* A key that is there counts. */
    one = identify_well(TWO "RANK=1 WEFT_INSECURE=1 %s", key_file(KEY, 0600));
    assert_false(is_same_job(&zero, &one));
}

static void expect_key_refusal(const char *key, const char *why)
{
    char variables[512];
    snprintf(variables, sizeof variables, TWO "RANK=0 %s", key);
    expect_refusal(variables, WEFT_INVALID_ARGUMENT, why);
}

static void a_key_file_that_others_can_read_is_refused(void **state)
{
    (void)state;
    expect_key_refusal(key_file(KEY, 0640), "mode 0640");
    expect_key_refusal(key_file(KEY, 0604), "chmod 600");
    expect_key_refusal(key_file(KEY, 0622), "others may read or change it");
    const char *key = key_file(KEY, 0600);
    if (geteuid() != 0) return; /* nobody else may give files away */
    assert_int_equal(chown(key + strlen("WEFT_KEY_FILE="), 12345, 0), 0);
    expect_key_refusal(key, "belongs to user 12345");
}

static void a_damaged_key_is_refused(void **state)
{
    (void)state;
    char key[] = KEY KEY;
    static const size_t sizes[] = {0, 1, 63, 66, 128};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        key[sizes[i]] = '\0';
        expect_key_refusal(key_file(key, 0600), "which is 64 hexadecimal digits: make one with");
        strcpy(key, KEY KEY);
    }
    expect_key_refusal(key_file(KEY "\r\n", 0600), "64 hexadecimal digits");
    expect_key_refusal(key_file(KEY "0", 0600), "64 hexadecimal digits");
    key[64] = '\0';
    key[17] = 'g';
    expect_key_refusal(key_file(key, 0600), "64 hexadecimal digits");
    expect_key_refusal("WEFT_KEY_FILE=/no/such/file", "cannot be opened: No such file");
    expect_key_refusal("WEFT_KEY_FILE=/", "is not a file");
    char fifo[100];
    snprintf(fifo, sizeof fifo, "WEFT_KEY_FILE=%s/fifo", folder);
    assert_int_equal(mkfifo(fifo + strlen("WEFT_KEY_FILE="), 0600), 0);
    expect_key_refusal(fifo, "is not a file");
    unlink(fifo + strlen("WEFT_KEY_FILE="));
}

static void a_key_comes_by_descriptor(void **state)
{
    (void)state;
    struct outcome by_file = identify_well(TWO "RANK=1 %s", key_file(KEY, 0600));
    int ends[2];
    char variables[512];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], KEY "\n", 65), 65);
    close(ends[1]);
    snprintf(variables, sizeof variables, TWO "RANK=0 WEFT_KEY_FD=%d", ends[0]);
    struct outcome outcome = identify(variables, ends[0]);
    assert_int_equal(outcome.status, WEFT_OK); /* also of the second communicator, which a pipe has no second key for */
    assert_true(is_same_job(&by_file, &outcome));
    close(ends[0]);
    expect_refusal(TWO "RANK=0 WEFT_KEY_FD=61", WEFT_INVALID_ARGUMENT, "cannot be read: Bad file descriptor");
    expect_refusal(TWO "RANK=0 WEFT_KEY_FD=x", WEFT_INVALID_ARGUMENT, "WEFT_KEY_FD is 'x'");
    snprintf(variables, sizeof variables, TWO "RANK=0 WEFT_KEY_FD=0 %s", key_file(KEY, 0600));
    expect_refusal(variables, WEFT_INVALID_ARGUMENT, "both set");

    assert_int_equal(pipe(ends), 0); /* whose writer stays silent */
    snprintf(variables, sizeof variables, TWO "RANK=0 WEFT_DEADLINE=200ms WEFT_KEY_FD=%d", ends[0]);
    outcome = identify(variables, ends[0]);
    assert_int_equal(outcome.status, WEFT_DEADLINE_EXCEEDED);
    assert_non_null(strstr(outcome.diagnostic.text, "nobody has written the key"));
    close(ends[0]);
    close(ends[1]);
}

static void the_id_says_where_rank_0_is(void **state)
{
    (void)state;
    struct outcome outcome = identify_well(TWO "RANK=1 WEFT_INSECURE=1");
    struct identity identity = take_apart(&outcome);
    assert_int_equal(identity.meeting.family, AF_INET);
    assert_int_equal(identity.meeting.port, 29501);
    assert_memory_equal(identity.meeting.bytes, "\x7f\0\0\1", 4);
    /* IPv4 where a name has both, so that all hosts arrive at the same. */
    outcome = identify_well(TWO "RANK=1 WEFT_INSECURE=1 MASTER_ADDR=localhost");
    identity = take_apart(&outcome);
    assert_int_equal(identity.meeting.family, AF_INET);
    outcome = identify_well(TWO "RANK=1 WEFT_INSECURE=1 MASTER_ADDR=fd00::2");
    identity = take_apart(&outcome);
    assert_int_equal(identity.meeting.family, AF_INET6);
    assert_memory_equal(identity.meeting.bytes, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2", 16);
    expect_refusal(TWO "RANK=1 WEFT_INSECURE=1 MASTER_ADDR=no..such..host", WEFT_INVALID_ARGUMENT,
                   "the address of rank 0's host 'no..such..host' is not known here");
}

static void contradictions_are_explained(void **state)
{
    (void)state;
    static const struct {
        const char *variables, *why;
    } cases[] = {
        {"RANK=one WORLD_SIZE=2", "RANK is 'one': expected a number"},
        {"RANK=-1 WORLD_SIZE=2", "RANK is '-1'"},
        {"RANK=0x1 WORLD_SIZE=2", "RANK is '0x1'"},
        {"RANK=0", "WORLD_SIZE is not set although RANK is: set both"},
        {"RANK=0 WORLD_SIZE=", "WORLD_SIZE is not set although RANK is: set both"},
        {"WORLD_SIZE=2", "WORLD_SIZE is 2 but RANK is not set"},
        {"RANK=0 WORLD_SIZE=99999999999", "WORLD_SIZE is '99999999999'"},
        {"RANK=0 WORLD_SIZE=0", "WORLD_SIZE is 0"},
        {"RANK=2 WORLD_SIZE=2", "RANK is 2 but WORLD_SIZE is 2: ranks are numbered from 0 to 1"},
        {"RANK=0 WORLD_SIZE=2", "MASTER_ADDR is not set although RANK and WORLD_SIZE are"},
        {"RANK=0 WORLD_SIZE=2 MASTER_ADDR=a", "neither WEFT_PORT nor MASTER_PORT is set"},
        {"RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=65535",
         "MASTER_PORT is '65535': expected a number from 0 to 65534"},
        {"RANK=0 WORLD_SIZE=2 MASTER_ADDR=a WEFT_PORT=70000", "WEFT_PORT"},
        {"SLURM_PROCID=2 SLURM_NTASKS=2", "SLURM_PROCID is 2 but SLURM_NTASKS is 2"},
        {"SLURM_PROCID=0", "SLURM_NTASKS is not set"},
        {"SLURM_PROCID=1 SLURM_NTASKS=2 WORLD_SIZE=4", "WORLD_SIZE is 4 but Slurm says 2"},
        {"SLURM_PROCID=1 SLURM_NTASKS=2", "neither MASTER_ADDR nor SLURM_STEP_NODELIST"},
        {"SLURM_PROCID=1 SLURM_NTASKS=2 SLURM_STEP_NODELIST=n[1-", "SLURM_STEP_NODELIST: 'n[1-' is no list of hosts"},
        {"PMI_FD=61 PMI_RANK=3 PMI_SIZE=2", "PMI_RANK is 3 but PMI_SIZE is 2"},
        {"PMI_FD=61 PMI_RANK=0 PMI_SIZE=2 RANK=1 WORLD_SIZE=2", "RANK is 1 but PMI says 0"},
        {"PMI_FD=61 PMI_RANK=0 PMI_SIZE=2", "PMI_FD is 61, which is no open socket"},
        {"PMI_FD=0 PMI_RANK=0 PMI_SIZE=2", "which is no open socket"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_refusal(cases[i].variables, WEFT_INVALID_ARGUMENT, cases[i].why);
}

static void a_slurm_step_meets_at_its_first_node(void **state)
{
    (void)state;
    struct outcome zero = identify_well(STEP "SLURM_PROCID=0 SLURM_STEP_NUM_NODES=2 SLURM_STEP_NODELIST=127.0.0.[3-4]");
    struct outcome one = identify_well(STEP "SLURM_PROCID=1 MASTER_ADDR=127.0.0.3");
    assert_int_equal(one.rank, 1);
    assert_int_equal(one.rank_count, 2);
    assert_true(is_same_job(&zero, &one));
    one = identify_well(STEP "SLURM_PROCID=1 SLURM_JOB_NODELIST=127.0.0.3,m");
    assert_true(is_same_job(&zero, &one));
    /* The step's count, where the job's is another. */
    one = identify_well(STEP "SLURM_PROCID=4 SLURM_STEP_NUM_TASKS=6 SLURM_STEP_NODELIST=127.0.0.3");
    assert_int_equal(one.rank_count, 6);
    /* On one node names need not resolve. */
    zero = identify_well(STEP "SLURM_PROCID=0 SLURM_STEP_NUM_NODES=1 SLURM_STEP_NODELIST=n01");
    one = identify_well(STEP "SLURM_PROCID=1 MASTER_ADDR=127.0.0.1");
    assert_true(is_same_job(&zero, &one));
    one = identify_well(STEP "SLURM_PROCID=1 MASTER_ADDR=127.0.0.1 SLURM_JOB_ID=8");
    assert_false(is_same_job(&zero, &one));
}

static void a_batch_script_is_no_step(void **state)
{
    (void)state;
    struct outcome outcome = identify_well("SLURM_PROCID=0 SLURM_NTASKS=4 SLURM_JOB_ID=7 ENVIRONMENT=BATCH");
    assert_int_equal(outcome.rank_count, 1);
    outcome = identify_well(STEP "SLURM_PROCID=1 SLURM_STEP_NUM_NODES=1 ENVIRONMENT=BATCH");
    assert_int_equal(outcome.rank_count, 2);
}

static int folder_make(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
    (void)state;
    char path[100];
    snprintf(path, sizeof path, "%s/key", folder);
    unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_launcher_there_is_one_rank),
        cmocka_unit_test(a_supervisors_descriptor_comes_first),
        cmocka_unit_test(ranks_with_one_key_and_master_are_one_job),
        cmocka_unit_test(whatever_numbers_jobs_tells_them_apart),
        cmocka_unit_test(torchrun_inside_another_launcher_decides),
        cmocka_unit_test(without_a_key_ranks_are_refused),
        cmocka_unit_test(a_key_file_that_others_can_read_is_refused),
        cmocka_unit_test(a_damaged_key_is_refused),
        cmocka_unit_test(a_key_comes_by_descriptor),
        cmocka_unit_test(the_id_says_where_rank_0_is),
        cmocka_unit_test(contradictions_are_explained),
        cmocka_unit_test(a_slurm_step_meets_at_its_first_node),
        cmocka_unit_test(a_batch_script_is_no_step),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
