/* SPDX-License-Identifier: Apache-2.0 */
#include "child.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void child_run(const char *variables, int result_fd)
{
    struct outcome outcome = {.diagnostic = {.text = ""}};
    char *copy = strdup(variables); /* becomes the environment, also of what runs at exit */
    clearenv();
    setenv("WEFT_LOG", "error", 1);
    for (char *variable = strtok(copy, " "); variable; variable = strtok(NULL, " ")) putenv(variable);

    outcome.status = launch_identify(&outcome.id, &outcome.rank, &outcome.rank_count, &outcome.diagnostic);
    if (outcome.status == WEFT_OK) {
        uint32_t rank, rank_count;
        outcome.status = launch_identify(&outcome.second_id, &rank, &rank_count, &outcome.diagnostic);
        if (rank != outcome.rank || rank_count != outcome.rank_count) abort();
    }
    if (write(result_fd, &outcome, sizeof outcome) != (ssize_t)sizeof outcome) abort();
}

struct child identify_begin(const char *variables, int keep_fd)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        for (int fd = 3; fd < 64; fd++)
            if (fd != keep_fd && fd != ends[1]) close(fd);
        alarm(100);
        child_run(variables, ends[1]);
        exit(0); /* not _exit(): what is to happen at the end of a process is part of the test */
    }
    close(ends[1]);
    return (struct child){.pid = pid, .result_fd = ends[0]};
}

struct outcome identify_end(struct child child)
{
    struct outcome outcome = {.status = WEFT_SYSTEM_ERROR};
    int status;
    ssize_t got = read(child.result_fd, &outcome, sizeof outcome);
    close(child.result_fd);
    assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
    outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (got != (ssize_t)sizeof outcome) fail_msg("the child ended with %d before it had a result", outcome.exit_code);
    return outcome;
}

struct outcome identify(const char *variables, int keep_fd)
{
    return identify_end(identify_begin(variables, keep_fd));
}

void expect_refusal(const char *variables, weft_status status, const char *why)
{
    struct outcome outcome = identify(variables, -1);
    if (outcome.status != status || !strstr(outcome.diagnostic.text, why))
        fail_msg("%s: status %d, not %d: '%s', not '%s'", variables, (int)outcome.status, (int)status,
                 outcome.diagnostic.text, why);
}
