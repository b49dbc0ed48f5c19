/* SPDX-License-Identifier: Apache-2.0 */
/* A folder that looks like /sys, made for one test. */
#ifndef TESTS_FAKE_SYSFS_H
#define TESTS_FAKE_SYSFS_H

struct fake_sysfs {
    char root[64];
};

/* Write @p content to the file at @p path below the root; the folders above it are made. */
void sysfs_write(const struct fake_sysfs *sysfs, const char *path, const char *content);
/* The same with a path made by printf. */
__attribute__((format(printf, 3, 4))) void sysfs_write_at(const struct fake_sysfs *sysfs, const char *content,
                                                          const char *format, ...);

/* cmocka's setup and teardown: *state is a struct fake_sysfs. */
int sysfs_setup(void **state);
int sysfs_teardown(void **state);
#endif
