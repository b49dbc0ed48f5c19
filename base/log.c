/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/config_internal.h"

/* Longer messages are cut; below PIPE_BUF, so that lines of several processes into one pipe stay whole. */
enum { LINE_BYTES = 1024 };

static const char *const level_names[] = {"error", "warning", "info", "debug"};

static pthread_once_t file_once = PTHREAD_ONCE_INIT;
static int log_descriptor = STDERR_FILENO;

static void line_write(int descriptor, char *line, int length)
{
    if (length > LINE_BYTES - 2) { /* as snprintf says it: cut */
        length = LINE_BYTES - 2;
        memcpy(line + length - 3, "...", 3);
    }
    for (int i = 0; i < length; i++) { /* what a peer or a file sent must not forge a line or a terminal command */
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f) line[i] = ' ';
    }
    line[length++] = '\n';
    while (write(descriptor, line, (size_t)length) < 0 && errno == EINTR) continue;
}

static void file_open(void)
{
    const char *path = config_values()->log_file;
    if (!path[0]) return;
    int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (descriptor >= 0) {
        log_descriptor = descriptor;
        return;
    }
    char line[LINE_BYTES];
    int length =
        snprintf(line, LINE_BYTES - 1, "weft warning log_file %s error %s using stderr", path, strerror(errno));
    line_write(STDERR_FILENO, line, length);
}

void log_write(enum log_level level, const char *format, ...)
{
    int saved_errno = errno; /* a caller may log before it looks at errno */
    if ((int)level <= config_values()->log) {
        pthread_once(&file_once, file_open);
        char line[LINE_BYTES];
        int length = snprintf(line, sizeof line, "weft %s ", level_names[level]);
        va_list arguments;
        va_start(arguments, format);
        int added = vsnprintf(line + length, sizeof line - 1 - (size_t)length, format, arguments);
        va_end(arguments);
        line_write(log_descriptor, line, added < 0 ? length : length + added);
    }
    errno = saved_errno;
}
