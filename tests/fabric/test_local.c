/* SPDX-License-Identifier: Apache-2.0 */
/* weft_local_run(). The ranks are this very program, told by its first argument what to do. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/config.h"
#include "fabric/launch/launch.h"
#include "support.h"

static char self[] = "/proc/self/exe";

static int cores_allowed(void)
{
    cpu_set_t cores;
    return sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 0;
}

/* ---- As a rank ---- */

static int rank_joins(void)
{
    struct diagnostic diagnostic = {.text = ""};
    for (int communicator = 0; communicator < 3; communicator++) {
        weft_unique_id id;
        uint32_t rank, rank_count;
        struct control *control;
        if (!weft_local_is_child() && communicator == 0) return 10;
        if (launch_identify(&id, &rank, &rank_count, &diagnostic) != WEFT_OK) return 11;
        if (strtoul(config_launcher_variable("LOCAL_RANK"), NULL, 10) != rank) return 12;
        struct control_config config = make_config(&id, rank, rank_count);
        if (control_join(&config, &control, &diagnostic) != WEFT_OK) {
            fprintf(stderr, "%s\n", diagnostic.text);
            return 13;
        }
        control_leave(control);
    }
    return 0;
}

static void exit_9(int signal_number)
{
    (void)signal_number;
    _exit(9);
}

static int be_rank(const char *what)
{
    unsigned long rank = strtoul(config_launcher_variable("RANK"), NULL, 10);
    if (strcmp(what, "join") == 0) return rank_joins();
    if (strcmp(what, "rank-1-is-killed") == 0 && rank == 1) raise(SIGKILL);
    if (strcmp(what, "rank-1-returns-3") == 0) return rank == 1 ? 3 : 0;
    if (strcmp(what, "stubborn") == 0) {
        if (rank == 0) return 4;
        signal(SIGTERM, SIG_IGN);
        for (;;) pause();
    }
    if (strcmp(what, "wait") == 0) {
        signal(SIGTERM, exit_9);
        printf("ready\n");
        fflush(stdout);
        for (;;) pause();
    }
    if (strcmp(what, "one-core") == 0) return cores_allowed() != 1;
    if (strcmp(what, "some-cores") == 0) return cores_allowed() < 2;
    if (strcmp(what, "mask") == 0) {
        sigset_t mask;
        sigprocmask(SIG_BLOCK, NULL, &mask);
        return sigismember(&mask, SIGCHLD) || sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGUSR1);
    }
    return 0;
}

/* ---- As a supervisor, in a process of its own ---- */

struct supervisor {
    pid_t pid;
    int said, printed; /* its standard error and output, and those of its ranks */
};

static struct supervisor start(uint32_t rank_count, const char *what)
{
    struct supervisor supervisor;
    int said[2], printed[2];
    assert_int_equal(pipe2(said, O_CLOEXEC), 0);
    assert_int_equal(pipe2(printed, O_CLOEXEC), 0);
    fflush(NULL);
    supervisor.pid = fork();
    if (supervisor.pid == 0) {
        char role[64];
        char *argv[] = {self, role, NULL};
        int code = -1;
        snprintf(role, sizeof role, "%s", what);
        dup2(said[1], STDERR_FILENO);
        dup2(printed[1], STDOUT_FILENO);
        if (weft_local_run(rank_count, argv, &code) != WEFT_OK) _exit(99);
        /* No child is left, alive or not. */
        if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD) _exit(98);
        _exit(code);
    }
    close(said[1]);
    close(printed[1]);
    supervisor.said = said[0];
    supervisor.printed = printed[0];
    return supervisor;
}

/* What it has said, and its exit code. */
static int finish(struct supervisor *supervisor, char *text, size_t size)
{
    size_t length = 0;
    ssize_t got;
    while (length + 1 < size && (got = read(supervisor->said, text + length, size - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = 0;
    int how;
    assert_int_equal(waitpid(supervisor->pid, &how, 0), supervisor->pid);
    close(supervisor->said);
    close(supervisor->printed);
    assert_true(WIFEXITED(how));
    return WEXITSTATUS(how);
}

static void expect_said(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("'%s' lacks '%s'", text, part);
}

static void ranks_find_each_other_for_every_communicator(void **state)
{
    (void)state;
    char text[4096];
    struct supervisor supervisor = start(5, "join");
    int code = finish(&supervisor, text, sizeof text);
    if (code != 0) fail_msg("exit code %d: %s", code, text);
    assert_string_equal(text, "");
}

static void a_killed_rank_is_named_and_gives_the_exit_code(void **state)
{
    (void)state;
    char text[4096];
    struct supervisor supervisor = start(3, "rank-1-is-killed");
    assert_int_equal(finish(&supervisor, text, sizeof text), 128 + SIGKILL);
    expect_said(text, "weft: rank 1 (pid ");
    expect_said(text, ") was killed by signal 9 (Killed)\n");
}

static void a_failing_rank_is_named_and_gives_the_exit_code(void **state)
{
    (void)state;
    char text[4096];
    struct supervisor supervisor = start(3, "rank-1-returns-3");
    assert_int_equal(finish(&supervisor, text, sizeof text), 3);
    expect_said(text, "weft: rank 1 (pid ");
    expect_said(text, ") exited with status 3\n");
}

static void ranks_that_do_not_end_are_ended_and_the_first_code_stays(void **state)
{
    (void)state;
    char text[4096];
    struct supervisor supervisor = start(2, "stubborn");
    assert_int_equal(finish(&supervisor, text, sizeof text), 4);
    expect_said(text, "has not ended either: sending signal 15");
    expect_said(text, "has not ended either: sending signal 9");
    expect_said(text, "rank 1 (pid ");
}

static void wait_ready(const struct supervisor *supervisor, size_t ranks)
{
    char text[64];
    for (size_t length = 0; length < ranks * strlen("ready\n");) {
        ssize_t got = read(supervisor->printed, text, sizeof text);
        assert_true(got > 0);
        length += (size_t)got;
    }
}

static void a_termination_request_is_passed_on(void **state)
{
    (void)state;
    char text[4096];
    struct supervisor supervisor = start(3, "wait");
    wait_ready(&supervisor, 3);
    kill(supervisor.pid, SIGTERM);
    assert_int_equal(finish(&supervisor, text, sizeof text), 9);
    expect_said(text, "rank 0 (pid ");
    expect_said(text, "rank 2 (pid ");
}

static void ranks_die_with_a_killed_supervisor(void **state)
{
    (void)state;
    struct supervisor supervisor = start(4, "wait");
    wait_ready(&supervisor, 4);
    kill(supervisor.pid, SIGKILL);
    assert_int_equal(waitpid(supervisor.pid, NULL, 0), supervisor.pid);
    /* The pipe ends when the last rank that could write to it is gone. */
    struct pollfd end = {.fd = supervisor.printed};
    assert_int_equal(poll(&end, 1, PATIENCE_MS), 1);
    assert_true(end.revents & POLLHUP);
    close(supervisor.said);
    close(supervisor.printed);
}

static void ranks_get_the_callers_signal_mask(void **state)
{
    (void)state;
    char text[4096];
    sigset_t mask, before;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigprocmask(SIG_BLOCK, &mask, &before);
    struct supervisor supervisor = start(2, "mask");
    sigprocmask(SIG_SETMASK, &before, NULL);
    assert_int_equal(finish(&supervisor, text, sizeof text), 0);
}

static void ranks_that_share_cores_are_bound_only_where_that_is_wanted(void **state)
{
    (void)state;
    char text[4096];
    const int cores = cores_allowed();
    if (cores < 2 || cores > 16) skip();
    struct supervisor unasked = start(2 * (uint32_t)cores, "some-cores");
    assert_int_equal(finish(&unasked, text, sizeof text), 0);
    setenv("WEFT_BIND", "all", 1);
    struct supervisor even = start(2 * (uint32_t)cores, "one-core");
    assert_int_equal(finish(&even, text, sizeof text), 0);
    struct supervisor uneven = start((uint32_t)cores + 1, "some-cores");
    assert_int_equal(finish(&uneven, text, sizeof text), 0);
    unsetenv("WEFT_BIND");
}

static void what_cannot_be_run_is_an_argument_error_and_leaves_nothing(void **state)
{
    (void)state;
    char path[] = "/nonexistent/program";
    char *missing[] = {path, NULL}, *none[] = {NULL};
    int code = -7;
    unsigned descriptors = count_descriptors();
    int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);
    dup2(null, STDERR_FILENO);
    weft_status status = weft_local_run(3, missing, &code);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(null);
    assert_int_equal(status, WEFT_INVALID_ARGUMENT);
    assert_int_equal(code, -7);
    assert_int_equal(weft_local_run(0, missing, &code), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_local_run(2, none, &code), WEFT_INVALID_ARGUMENT);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(count_descriptors(), descriptors);
}

int main(int argc, char *argv[])
{
    if (argc == 2 && config_launcher_variable("RANK")) return be_rank(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_find_each_other_for_every_communicator),
        cmocka_unit_test(a_killed_rank_is_named_and_gives_the_exit_code),
        cmocka_unit_test(a_failing_rank_is_named_and_gives_the_exit_code),
        cmocka_unit_test(ranks_that_do_not_end_are_ended_and_the_first_code_stays),
        cmocka_unit_test(a_termination_request_is_passed_on),
        cmocka_unit_test(ranks_die_with_a_killed_supervisor),
        cmocka_unit_test(ranks_get_the_callers_signal_mask),
        cmocka_unit_test(ranks_that_share_cores_are_bound_only_where_that_is_wanted),
        cmocka_unit_test(what_cannot_be_run_is_an_argument_error_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
