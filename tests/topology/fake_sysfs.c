/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/topology/fake_sysfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

void sysfs_write(const struct fake_sysfs *sysfs, const char *path, const char *content)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", sysfs->root, path);
    for (char *slash = full + strlen(sysfs->root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
}

void sysfs_write_at(const struct fake_sysfs *sysfs, const char *content, const char *format, ...)
{
    char path[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path, sizeof path, format, arguments);
    va_end(arguments);
    sysfs_write(sysfs, path, content);
}

int sysfs_setup(void **state)
{
    static struct fake_sysfs sysfs;
    strcpy(sysfs.root, "/tmp/weft-sysfs-XXXXXX");
    if (!mkdtemp(sysfs.root)) return -1;
    *state = &sysfs;
    return 0;
}

int sysfs_teardown(void **state)
{
    const struct fake_sysfs *sysfs = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", sysfs->root);
    return system(command);
}
