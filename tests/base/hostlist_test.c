/* SPDX-License-Identifier: Apache-2.0 */
/* Slurm's lists of hosts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/hostlist.h"

/* All hosts of the list, with a space after each: asked for one by one, walked and counted alike. */
static void expand(const char *list, char *hosts, size_t size)
{
    char host[256], walked[HOSTLIST_NAME_BYTES];
    uint64_t count, i = 0;
    struct hostlist_walk walk = hostlist_walk_begin(list);
    hosts[0] = '\0';
    for (; hostlist_host(list, i, host, sizeof host, NULL) == WEFT_OK; i++) {
        assert_true(strlen(hosts) + strlen(host) + 2 < size);
        strcat(strcat(hosts, host), " ");
        assert_true(hostlist_walk_next(&walk, walked));
        assert_string_equal(walked, host);
    }
    assert_false(hostlist_walk_next(&walk, walked));
    assert_false(hostlist_walk_next(&walk, walked));
    assert_int_equal(hostlist_count(list, &count, NULL), WEFT_OK);
    assert_int_equal(count, i);
}

static void lists_expand_as_scontrol_shows_them(void **state)
{
    (void)state;
    /* The second column is what `scontrol show hostnames` of Slurm 22.05 prints for the first, in one line. */
    static const struct {
        const char *list, *hosts;
    } cases[] = {
        {"localhost", "localhost "},
        {"a,b,a", "a b a "},
        {"node[01-03,7],gpu5", "node01 node02 node03 node7 gpu5 "},
        {"n[008-011]", "n008 n009 n010 n011 "},
        {"n[8-11]", "n8 n9 n10 n11 "},
        {"n[1]", "n1 "},
        {"n[98-101,5]", "n98 n99 n100 n101 n5 "},
        {"rack[1-2]node[3-4]", "rack1node3 rack1node4 rack2node3 rack2node4 "},
        {"r[1,3]n[2-3,08]x", "r1n2x r1n3x r1n08x r3n2x r3n3x r3n08x "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char hosts[512];
        expand(cases[i].list, hosts, sizeof hosts);
        assert_string_equal(hosts, cases[i].hosts);
    }
}

static void names_may_go_on_behind_a_bracket(void **state)
{
    (void)state;
    char hosts[128];
    expand("a-b_c.d[1-2].example.com", hosts, sizeof hosts);
    assert_string_equal(hosts, "a-b_c.d1.example.com a-b_c.d2.example.com ");
}

static void a_long_list_is_not_walked(void **state)
{
    (void)state;
    char host[64];
    assert_int_equal(hostlist_host("n[0-999999999]x[0-999999999],last", 1000000001, host, sizeof host, NULL), WEFT_OK);
    assert_string_equal(host, "n1x1");
    assert_int_equal(
        hostlist_host("n[0-999999999]x[0-999999999],last", UINT64_C(1000000000000000000), host, sizeof host, NULL),
        WEFT_OK);
    assert_string_equal(host, "last");
    uint64_t count;
    assert_int_equal(hostlist_count("n[0-999999999]x[0-999999999],last", &count, NULL), WEFT_OK);
    assert_int_equal(count, UINT64_C(1000000000000000001));
}

static void damage_is_found_anywhere_in_the_list(void **state)
{
    (void)state;
    static const struct {
        const char *list, *why;
    } cases[] = {
        {"", "byte 1"},
        {",a", "byte 1"},
        {"a,", "byte 3"},
        {"a,,b", "byte 3"},
        {"a b", "byte 2"},
        {"a,b[", "byte 5"},
        {"a[]", "byte 3"},
        {"a[1", "byte 4"},
        {"a[1-]", "byte 5"},
        {"a[-1]", "byte 3"},
        {"a[3-1]", "byte 5"},
        {"a[1,]", "byte 5"},
        {"a[1-2-3]", "byte 6"},
        {"a[x]", "byte 3"},
        {"a]", "byte 2"},
        {"a[[1]]", "byte 3"},
        {"a[1234567890]", "no list of hosts"},
        {"a[1]b[1]c[1]d[1]e[1]", "no list of hosts"},
        {"a[0-999999999]b[0-999999999]c[0-999999999]", "no list of hosts"},
        {"a;reboot", "byte 2"},
        {"a/b", "byte 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct diagnostic diagnostic;
        char host[16] = "untouched";
        assert_int_equal(hostlist_host(cases[i].list, 0, host, sizeof host, &diagnostic), WEFT_INVALID_ARGUMENT);
        if (!strstr(diagnostic.text, cases[i].why)) fail_msg("'%s': %s", cases[i].list, diagnostic.text);
        assert_string_equal(host, "untouched");
    }
}

static void a_name_may_have_255_bytes(void **state)
{
    (void)state;
    char list[300], host[HOSTLIST_NAME_BYTES] = "";
    uint64_t count;
    struct diagnostic diagnostic;
    memset(list, 'a', sizeof list);
    strcpy(list + 253, "[98-99]");
    assert_int_equal(hostlist_count(list, &count, NULL), WEFT_OK);
    struct hostlist_walk walk = hostlist_walk_begin(list);
    assert_true(hostlist_walk_next(&walk, host) && hostlist_walk_next(&walk, host));
    assert_int_equal(strlen(host), 255);
    assert_string_equal(host + 253, "99");
    strcpy(list + 253, "[98-100]");
    assert_int_equal(hostlist_count(list, &count, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_non_null(strstr(diagnostic.text, "longer than 255 bytes"));
}

static void names_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    char list[300], host[8];
    struct diagnostic diagnostic;
    memset(list, 'a', sizeof list);
    list[299] = '\0';
    assert_int_equal(hostlist_host(list, 0, host, sizeof host, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_non_null(strstr(diagnostic.text, "longer than 255 bytes"));
    assert_int_equal(hostlist_host("node[1000-1001]", 0, host, sizeof host, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_non_null(strstr(diagnostic.text, "'node1000' is longer than 7 bytes"));
    assert_int_equal(hostlist_host("a,b", 2, host, sizeof host, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_non_null(strstr(diagnostic.text, "no host number 2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_expand_as_scontrol_shows_them), cmocka_unit_test(names_may_go_on_behind_a_bracket),
        cmocka_unit_test(a_long_list_is_not_walked),           cmocka_unit_test(damage_is_found_anywhere_in_the_list),
        cmocka_unit_test(names_that_do_not_fit_are_refused),   cmocka_unit_test(a_name_may_have_255_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
