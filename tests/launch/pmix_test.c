/* SPDX-License-Identifier: Apache-2.0 */
/* PMIx through fake_pmix.c, which the dynamic linker finds first: an honest library, and one that goes wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "fabric/bootstrap/bootstrap.h"

static char folder[] = "/tmp/weft-launch-XXXXXX";
static char store[64], calls[64];

static struct outcome identify_as(int rank, const char *mode, const char *deadline)
{
    char variables[512];
    snprintf(variables, sizeof variables,
             "PMIX_NAMESPACE=fake PMIX_RANK=%d FAKE_PMIX=%s FAKE_PMIX_STORE=%s FAKE_PMIX_LOG=%s WEFT_DEADLINE=%s", rank,
             mode, store, calls, deadline);
    unlink(calls);
    return identify(variables, -1);
}

/* How often the last process called it. */
static int call_count(const char *call)
{
    char line[64];
    int count = 0;
    FILE *file = fopen(calls, "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file)) count += strncmp(line, call, strlen(call)) == 0;
    fclose(file);
    return count;
}

static void expect(int rank, const char *mode, const char *deadline, weft_status status, const char *why)
{
    struct outcome outcome = identify_as(rank, mode, deadline);
    if (outcome.status != status || !strstr(outcome.diagnostic.text, why) || outcome.exit_code != 0)
        fail_msg("%s: status %d, code %d: '%s', not '%s'", mode, (int)outcome.status, outcome.exit_code,
                 outcome.diagnostic.text, why);
}

static void an_honest_library_carries_the_id(void **state)
{
    (void)state;
    struct outcome zero = identify_as(0, "honest", "20s");
    assert_int_equal(zero.status, WEFT_OK);
    assert_int_equal(call_count("put"), 1);
    assert_int_equal(call_count("fence"), 1); /* two communicators, one exchange */
    struct outcome one = identify_as(1, "honest", "20s");
    assert_int_equal(one.status, WEFT_OK);
    assert_int_equal(call_count("put"), 0);
    assert_int_equal(one.rank, 1);
    assert_int_equal(one.rank_count, 2);
    assert_memory_equal(&zero.id, &one.id, sizeof zero.id);
    assert_memory_equal(&zero.second_id, &one.second_id, sizeof zero.id);
    assert_memory_not_equal(&zero.id, &zero.second_id, sizeof zero.id);
    struct identity identity;
    assert_int_equal(bootstrap_identity(&one.id, 1, 2, &identity, NULL), WEFT_OK);
}

static void every_start_is_finalized_once(void **state)
{
    (void)state;
    static const char *const modes[] = {"honest", "alone", "put-fails", "size-0", "fence-times-out"};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        identify_as(0, modes[i], "20s");
        assert_int_equal(call_count("init"), 1);
        assert_int_equal(call_count("finalize"), 1);
    }
    identify_as(0, "init-fails", "20s");
    assert_int_equal(call_count("finalize"), 0);
}

static void a_job_of_one_needs_no_exchange(void **state)
{
    (void)state;
    struct outcome outcome = identify_as(0, "alone", "20s");
    assert_int_equal(outcome.status, WEFT_OK);
    assert_int_equal(outcome.rank_count, 1);
    assert_int_equal(call_count("fence"), 0);
}

static void what_goes_wrong_is_named(void **state)
{
    (void)state;
    identify_as(0, "honest", "20s"); /* there is something to fetch */
    expect(0, "init-fails", "20s", WEFT_PROTOCOL_ERROR, "PMIx_Init() says UNREACHABLE (-25): unset PMIX_NAMESPACE");
    expect(0, "put-fails", "20s", WEFT_PROTOCOL_ERROR, "storing the job's id: unknown error (-1)");
    expect(0, "size-0", "20s", WEFT_INVALID_ARGUMENT, "pmix.job.size is 0");
    expect(2, "honest", "20s", WEFT_INVALID_ARGUMENT, "PMIX_RANK is 2 but pmix.job.size is 2");
    expect(0, "size-is-bytes", "20s", WEFT_PROTOCOL_ERROR, "the number of ranks is no number");
    expect(1, "fence-times-out", "20s", WEFT_DEADLINE_EXCEEDED, "waiting for the other ranks: TIMEOUT (-24)");
    static const char *const damaged[] = {"id-short", "id-long", "id-null", "id-is-number", "no-value"};
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++)
        expect(1, damaged[i], "20s", WEFT_PROTOCOL_ERROR, "what the launcher stored is not rank 0's id");
    unlink(store);
    expect(1, "honest", "20s", WEFT_PROTOCOL_ERROR, "the id that rank 0 stored: NOT-FOUND (-46)");
}

static void a_silent_server_meets_the_deadline(void **state)
{
    (void)state;
    expect(0, "init-hangs", "200ms", WEFT_DEADLINE_EXCEEDED, "waited in vain for the launcher to answer (PMIx_Init)");
    expect(0, "size-hangs", "200ms", WEFT_DEADLINE_EXCEEDED, "waited in vain for the number of ranks (PMIx_Get)");
    expect(0, "fence-hangs", "200ms", WEFT_DEADLINE_EXCEEDED, "waited in vain for the other ranks (PMIx_Fence)");
    expect(1, "get-hangs", "200ms", WEFT_DEADLINE_EXCEEDED, "waited in vain for the id that rank 0 stored (PMIx_Get)");
    expect(0, "finalize-hangs", "20s", WEFT_OK, ""); /* the process ends all the same */
}

static void variables_of_another_launcher_must_agree(void **state)
{
    (void)state;
    char variables[512];
    snprintf(variables, sizeof variables,
             "PMIX_NAMESPACE=fake PMIX_RANK=0 FAKE_PMIX=honest FAKE_PMIX_STORE=%s RANK=0 WORLD_SIZE=8", store);
    expect_refusal(variables, WEFT_INVALID_ARGUMENT, "WORLD_SIZE is 8 but PMIx says 2: unset the variables");
    snprintf(variables, sizeof variables,
             "PMIX_NAMESPACE=fake PMIX_RANK=0 FAKE_PMIX=honest FAKE_PMIX_STORE=%s RANK=0 WORLD_SIZE=2", store);
    assert_int_equal(identify(variables, -1).status, WEFT_OK);
}

static int folder_make(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(store, sizeof store, "%s/store", folder);
    snprintf(calls, sizeof calls, "%s/calls", folder);
    return 0;
}

static int folder_remove(void **state)
{
    (void)state;
    unlink(store);
    unlink(calls);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_library_carries_the_id),
        cmocka_unit_test(every_start_is_finalized_once),
        cmocka_unit_test(a_job_of_one_needs_no_exchange),
        cmocka_unit_test(what_goes_wrong_is_named),
        cmocka_unit_test(a_silent_server_meets_the_deadline),
        cmocka_unit_test(variables_of_another_launcher_must_agree),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
