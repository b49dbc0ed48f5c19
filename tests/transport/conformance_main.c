/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/transport/conformance_main.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct job {
    const struct conformance_test *test;
    const struct conformance_backend *backend;
    uint64_t first_seed, seed_count;
};

static void job_run(void **state)
{
    const struct job *job = *state;
    char reason[512];

    for (uint64_t i = 0; i < job->seed_count; i++) {
        switch (conformance_run(job->test, job->backend, job->first_seed + i, reason)) {
        case CONFORMANCE_PASSED:
            break;
        case CONFORMANCE_SKIPPED:
            skip();
            break;
        case CONFORMANCE_FAILED:
            fail_msg("%s", reason);
        }
    }
}

int conformance_main(const char *group, const struct conformance_backend *backend, uint64_t first_seed,
                     uint64_t seed_count)
{
    struct CMUnitTest *tests = calloc(conformance_test_count, sizeof *tests);
    struct job *jobs = calloc(conformance_test_count, sizeof *jobs);

    if (!tests || !jobs) return 1;
    for (size_t i = 0; i < conformance_test_count; i++) {
        jobs[i] = (struct job){&conformance_tests[i], backend, first_seed, seed_count};
        tests[i] =
            (struct CMUnitTest){.name = conformance_tests[i].name, .test_func = job_run, .initial_state = &jobs[i]};
    }
    const int failed = _cmocka_run_group_tests(group, tests, conformance_test_count, NULL, NULL);
    free(jobs);
    free(tests);
    return failed;
}
