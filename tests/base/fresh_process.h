/* SPDX-License-Identifier: Apache-2.0 */
/* Run a function in a child that has not read its configuration yet, and keep what it wrote to standard error. */
#ifndef TESTS_FRESH_PROCESS_H
#define TESTS_FRESH_PROCESS_H

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct fresh_process {
    int exit_code; /* -1: ended by a signal, or never started */
    char error_output[16384];
};

/* @p prepare sets the environment, which holds no WEFT_ variable before. @p body may _exit() with a code. */
static inline struct fresh_process fresh_process_run(void (*prepare)(void), void (*body)(void))
{
    struct fresh_process result = {.exit_code = -1};
    int pipe_ends[2];
    if (pipe(pipe_ends) != 0) return result;
    pid_t child = fork();
    if (child == 0) {
        dup2(pipe_ends[1], STDERR_FILENO);
        close(pipe_ends[0]);
        close(pipe_ends[1]);
        for (char **entry = environ; *entry;) {
            if (strncmp(*entry, "WEFT_", 5) != 0) {
                entry++;
                continue;
            }
            char name[128] = "";
            strncat(name, *entry, strcspn(*entry, "=") < 127 ? strcspn(*entry, "=") : 127);
            unsetenv(name);
        }
        prepare();
        body();
        _exit(0);
    }
    close(pipe_ends[1]);
    size_t length = 0;
    ssize_t got;
    while ((got = read(pipe_ends[0], result.error_output + length, sizeof result.error_output - 1 - length)) > 0) {
        length += (size_t)got;
    }
    close(pipe_ends[0]);
    int status;
    if (child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
    return result;
}
#endif
