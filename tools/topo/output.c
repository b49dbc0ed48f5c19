/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/topo/topo.h"

int status_print(const char *what, weft_status status)
{
    fprintf(stderr, "weft-topo: %s: %s: %s\n", what, weft_status_name(status), weft_status_text(status));
    return 1;
}

int usage_error(const struct command *command, const char *error)
{
    return options_answer(command, OPTIONS_MISTAKE, error);
}

int text_print(char *text)
{
    size_t length = strlen(text);
    bool printed = fputs(text, stdout) >= 0;
    if (printed && (length == 0 || text[length - 1] != '\n')) printed = putchar('\n') != EOF;
    free(text);
    if (printed && fflush(stdout) == 0) return 0;
    perror("weft-topo: standard output");
    return 1;
}

/* All of @p text into @p descriptor; a reader that has gone away is its own affair: its exit code tells. */
static void write_all(int descriptor, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t written = write(descriptor, text, left);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        text += written;
        left -= (size_t)written;
    }
}

static int svg_print(const char *text)
{
    int pipes[2];
    if (pipe(pipes) != 0) {
        perror("weft-topo: pipe");
        return 1;
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[0], STDIN_FILENO);
    posix_spawn_file_actions_addclose(&actions, pipes[0]);
    posix_spawn_file_actions_addclose(&actions, pipes[1]);
    char *const arguments[] = {(char *)"dot", (char *)"-Tsvg", NULL};
    pid_t child;
    int failure = posix_spawnp(&child, "dot", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[0]);
    if (failure) {
        close(pipes[1]);
        fprintf(stderr,
                "weft-topo: --format svg is drawn by graphviz's dot, which cannot be run here: %s; install "
                "graphviz, or take --format dot\n",
                strerror(failure));
        return 1;
    }
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    write_all(pipes[1], text);
    close(pipes[1]);
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    signal(SIGPIPE, before);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    fprintf(stderr, "weft-topo: graphviz's dot failed\n");
    return 1;
}

int picture_print(char *text, bool svg)
{
    if (!svg) return text_print(text);
    int exit_code = svg_print(text);
    free(text);
    return exit_code;
}

weft_topology *topology_open(const char *path)
{
    weft_topology *topology = NULL;
    char error[256] = "";
    weft_status status = weft_topology_read(path, &topology, error);
    if (status == WEFT_OK) return topology;
    fprintf(stderr, "weft-topo: %s\n", error[0] ? error : weft_status_text(status));
    return NULL;
}

int format_of(const struct topo_options *options, char error[OPTIONS_ERROR_BYTES])
{
    if (!options->json) return options->format;
    if (options->format == FORMAT_TEXT || options->format == FORMAT_JSON) return FORMAT_JSON;
    snprintf(error, OPTIONS_ERROR_BYTES, "--json and another --format cannot both be had");
    return -1;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

struct progress progress_begin(void)
{
    return (struct progress){.begun_s = now_s()};
}

bool progress_print(void *context, const char *what, double share_done)
{
    struct progress *progress = context;
    double now = now_s(), pause_s = isatty(STDERR_FILENO) ? 0.5 : 5;
    if (now - progress->begun_s < 1 || (progress->said && now - progress->said_s < pause_s)) return true;
    progress->said_s = now;
    progress->said = true;
    fprintf(stderr,
            isatty(STDERR_FILENO) ? "\rweft-topo: %s, %.0f %%, %.0f s\033[K" : "weft-topo: %s, %.0f %%, %.0f s\n", what,
            share_done * 100, now - progress->begun_s);
    return true;
}

void progress_end(const struct progress *progress)
{
    if (progress->said && isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}
