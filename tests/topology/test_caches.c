/* SPDX-License-Identifier: Apache-2.0 */
/* The last-level cache, read in a folder that looks like /sys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/topology/fake_sysfs.h"
#include "topology/discover/caches.h"

#define MIB (UINT64_C(1) << 20)

static void cache_write(const struct fake_sysfs *sysfs, unsigned index, const char *level, const char *type,
                        const char *size, const char *processors)
{
    char folder[128];
    snprintf(folder, sizeof folder, "devices/system/cpu/cpu3/cache/index%u", index);
    sysfs_write_at(sysfs, level, "%s/level", folder);
    sysfs_write_at(sysfs, type, "%s/type", folder);
    sysfs_write_at(sysfs, size, "%s/size", folder);
    sysfs_write_at(sysfs, processors, "%s/shared_cpu_list", folder);
}

/* 16 processors in four groups, each with a cache of 32 MiB: processor 3 is in the first. */
static void machine_write(const struct fake_sysfs *sysfs)
{
    cache_write(sysfs, 0, "1\n", "Data\n", "32K\n", "3,11\n");
    cache_write(sysfs, 1, "1\n", "Instruction\n", "32K\n", "3,11\n");
    cache_write(sysfs, 2, "3\n", "Unified\n", "32768K\n", "2-3,10-11\n"); /* the order is the kernel's to choose */
    cache_write(sysfs, 3, "2\n", "Unified\n", "1024K\n", "3,11\n");
}

static void the_highest_level_for_data_is_the_last(void **state)
{
    machine_write(*state);
    assert_int_equal(last_cache_bytes(((struct fake_sysfs *)*state)->root, 3, 16, 1), 32 * MIB);
    cache_write(*state, 4, "4\n", "Instruction\n", "65536K\n", "0-15\n");
    assert_int_equal(last_cache_bytes(((struct fake_sysfs *)*state)->root, 3, 16, 1), 32 * MIB);
}

static void ranks_have_as_many_caches_as_they_reach(void **state)
{
    machine_write(*state);
    const char *root = ((struct fake_sysfs *)*state)->root;
    assert_int_equal(last_cache_bytes(root, 3, 16, 2), 64 * MIB);
    assert_int_equal(last_cache_bytes(root, 3, 16, 4), 128 * MIB);
    assert_int_equal(last_cache_bytes(root, 3, 16, 64), 128 * MIB); /* there are no more */
    assert_int_equal(last_cache_bytes(root, 3, 4, 4), 32 * MIB);
    assert_int_equal(last_cache_bytes(root, 3, 2, 4), 32 * MIB); /* fewer are online than share it */
}

static void what_is_not_there_is_not_known(void **state)
{
    const char *root = ((struct fake_sysfs *)*state)->root;
    assert_int_equal(last_cache_bytes(root, 3, 16, 2), 0);
    machine_write(*state);
    assert_int_equal(last_cache_bytes(root, 4, 16, 2), 0); /* another processor */
    assert_int_equal(last_cache_bytes("/nowhere", 3, 16, 2), 0);
}

static void nonsense_is_not_believed(void **state)
{
    static const char *const sizes[] = {"0K\n",      "64K\n", "2097152K\n", "32768\n", "-1K\n",
                                        "K\n",       "\n",    "",           "32M\n",   "99999999999999999999999K\n",
                                        "32768K K\n"};
    static const char *const lists[] = {"\n", "", "x\n", "3-\n", "5-3\n", "0-99999999\n", "-1\n", "3;4\n", "3,-7\n"};
    const char *root = ((struct fake_sysfs *)*state)->root;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        cache_write(*state, 0, "3\n", "Unified\n", sizes[i], "0-3\n");
        assert_int_equal(last_cache_bytes(root, 3, 16, 2), 0);
    }
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        cache_write(*state, 0, "3\n", "Unified\n", "32768K\n", lists[i]);
        assert_int_equal(last_cache_bytes(root, 3, 16, 2), 0);
    }
}

#define with_sysfs(test) cmocka_unit_test_setup_teardown(test, sysfs_setup, sysfs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_sysfs(the_highest_level_for_data_is_the_last),
        with_sysfs(ranks_have_as_many_caches_as_they_reach),
        with_sysfs(what_is_not_there_is_not_known),
        with_sysfs(nonsense_is_not_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
