/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target without libFuzzer: on each file named, and on each file of a folder named. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/target.h"

#pragma weak LLVMFuzzerInitialize /* a target may do without, as with libFuzzer */

/* The whole file, to be freed; NULL, with a message, when it cannot be read. */
static uint8_t *file_read(const char *path, size_t *size)
{
    uint8_t *bytes = NULL;
    FILE *file = fopen(path, "rb");
    long end = file && fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (end >= 0 && fseek(file, 0, SEEK_SET) == 0) {
        bytes = malloc(end > 0 ? (size_t)end : 1); /* exactly, so that a sanitizer sees the first byte beyond */
        if (bytes && fread(bytes, 1, (size_t)end, file) != (size_t)end) {
            free(bytes);
            bytes = NULL;
        }
        *size = (size_t)end;
    }
    if (!bytes) fprintf(stderr, "%s: %s\n", path, strerror(errno));
    if (file) fclose(file);
    return bytes;
}

/* How many inputs were run, or -1. */
static int path_replay(const char *path)
{
    DIR *folder = opendir(path);
    if (!folder) {
        size_t size;
        uint8_t *bytes = file_read(path, &size);
        if (!bytes) return -1;
        LLVMFuzzerTestOneInput(bytes, size);
        free(bytes);
        return 1;
    }
    int count = 0;
    for (struct dirent *entry; count >= 0 && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        int more = path_replay(name);
        count = more < 0 ? -1 : count + more;
    }
    closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    if (LLVMFuzzerInitialize) LLVMFuzzerInitialize(&argc, &argv);
    int count = 0;
    for (int i = 1; i < argc; i++) {
        int more = path_replay(argv[i]);
        if (more < 0) return 1;
        count += more;
    }
    printf("%d inputs replayed\n", count);
    return count > 0 ? 0 : 1; /* an empty corpus is a mistake in how this was called */
}
