/* SPDX-License-Identifier: Apache-2.0 */
/* Measured choices: read, refused when they are none, and used in place of the cost model's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "collectives/select/select.h"
#include "collectives/select/tuning.h"

static const char good[] = "{\"weft_tuning\":1,\"entries\":[\n"
                           "{\"collective\":\"all_reduce\",\"transport\":\"shm\",\"ranks\":2,\"from_bytes\":4096,"
                           "\"algorithm\":\"ring\",\"channels\":2,\"slice_bytes\":65536},\n"
                           "{\"collective\":\"all_reduce\",\"transport\":\"shm\",\"ranks\":2,\"from_bytes\":1048576,"
                           "\"algorithm\":\"tree\"},\n"
                           "{\"collective\":\"all_reduce\",\"transport\":\"shm\",\"ranks\":4,\"from_bytes\":0,"
                           "\"algorithm\":\"tree\"},\n"
                           "{\"collective\":\"broadcast\",\"transport\":\"tcp\",\"ranks\":2,\"from_bytes\":0,"
                           "\"algorithm\":\"ring\"}]}";

static void parse(const char *text, const char *transport, uint32_t ranks, struct tuning *tuning)
{
    struct diagnostic diagnostic = {0};
    assert_int_equal(tuning_parse("t", text, strlen(text), transport, ranks, tuning, &diagnostic), WEFT_OK);
}

static struct select_choice choose(const struct tuning *tuning, struct select_request request)
{
    struct cost_model model = cost_model_shm;
    struct select_choice choice;
    model.tuning = tuning;
    if (!request.rank_count) request.rank_count = 2;
    assert_int_equal(select_plan(&model, &request, &choice), WEFT_OK);
    return choice;
}

static void a_communicator_gets_what_is_of_its_transport_and_ranks(void **state)
{
    (void)state;
    struct tuning tuning;
    parse(good, "shm", 2, &tuning);
    assert_int_equal(tuning.entry_count, 2);
    assert_int_equal(tuning.channel_units_most, 2);
    assert_int_equal(tuning.slice_bytes_most, 65536);
    assert_null(tuning_find(&tuning, WEFT_ALL_REDUCE, 4095));
    assert_int_equal(tuning_find(&tuning, WEFT_ALL_REDUCE, 4096)->algorithm, WEFT_ALGORITHM_RING);
    assert_int_equal(tuning_find(&tuning, WEFT_ALL_REDUCE, UINT64_MAX)->algorithm, WEFT_ALGORITHM_TREE);
    assert_null(tuning_find(&tuning, WEFT_BROADCAST, 4096));
    parse(good, "tcp", 3, &tuning);
    assert_int_equal(tuning.entry_count, 0);
}

static void a_measured_choice_goes_before_the_models(void **state)
{
    (void)state;
    struct tuning tuning;
    parse(good, "shm", 2, &tuning);
    struct select_choice choice =
        choose(&tuning, (struct select_request){.collective = WEFT_ALL_REDUCE, .bytes = 4096});
    assert_int_equal(choice.algorithm, WEFT_ALGORITHM_RING);
    assert_int_equal(choice.channel_units, 2);
    assert_int_equal(choice.slice_bytes, 65536);
    choice = choose(&tuning, (struct select_request){.collective = WEFT_ALL_REDUCE, .bytes = 1 << 20});
    assert_int_equal(choice.algorithm, WEFT_ALGORITHM_TREE);
    assert_int_equal(choice.slice_bytes, cost_model_shm.slice_bytes); /* of which the entry says nothing */
}

static void what_a_caller_forces_stays(void **state)
{
    (void)state;
    struct tuning tuning;
    parse(good, "shm", 2, &tuning);
    struct select_request request = {
        .collective = WEFT_ALL_REDUCE, .bytes = 4096, .channel_units = 1, .slice_bytes = 1024};
    struct select_choice choice = choose(&tuning, request);
    assert_int_equal(choice.channel_units, 1);
    assert_int_equal(choice.slice_bytes, 1024);
    request.forced = WEFT_ALGORITHM_TREE;
    assert_int_equal(choose(&tuning, request).algorithm, WEFT_ALGORITHM_TREE);
}

static void an_algorithm_that_is_no_candidate_is_passed_over(void **state)
{
    (void)state;
    static const char halving[] = "{\"weft_tuning\":1,\"entries\":[{\"collective\":\"broadcast\",\"transport\":\"shm\","
                                  "\"ranks\":3,\"from_bytes\":0,\"algorithm\":\"halving\"}]}";
    struct tuning tuning;
    parse(halving, "shm", 3, &tuning); /* which no broadcast has */
    const struct select_request request = {.collective = WEFT_BROADCAST, .bytes = 4096, .rank_count = 3};
    assert_int_equal(choose(&tuning, request).algorithm, choose(NULL, request).algorithm);
}

static void another_choice_is_another_hash(void **state)
{
    (void)state;
    struct tuning one, other;
    parse(good, "shm", 2, &one);
    parse(good, "shm", 4, &other);
    assert_true(one.hash != other.hash);
    parse(good, "shm", 2, &other);
    assert_true(one.hash == other.hash);
}

static void mistakes_are_named_with_their_place(void **state)
{
    static const struct {
        const char *entry, *sentence;
    } mistakes[] = {
        {"{\"collective\":\"all_reduse\"}", "t:2:15: no such \"collective\""},
        {"{\"collective\":\"reduce\",\"algorithm\":\"auto\"}", "t:2:36: no such \"algorithm\""},
        {"{\"collective\":\"reduce\",\"algorithm\":\"ring\",\"ranks\":0}",
         "t:2:51: \"ranks\" is not a whole number from 1 to 4294967295"},
        {"{\"collective\":\"reduce\",\"algorithm\":\"ring\",\"ranks\":2}",
         "t:2:1: \"from_bytes\" is not a whole number from 0 to 18446744073709551615"},
        {"{\"collective\":\"reduce\",\"algorithm\":\"ring\",\"ranks\":2,\"from_bytes\":0}", "t:2:1: no \"transport\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        char text[512];
        struct tuning tuning;
        struct diagnostic diagnostic = {0};
        int length = snprintf(text, sizeof text, "{\"weft_tuning\":1,\"entries\":[\n%s]}", mistakes[i].entry);
        assert_int_equal(tuning_parse("t", text, (size_t)length, "shm", 2, &tuning, &diagnostic), WEFT_BAD_FORMAT);
        assert_string_equal(diagnostic.text, mistakes[i].sentence);
    }
}

static void a_file_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct tuning tuning;
    struct diagnostic diagnostic = {0};
    assert_int_equal(tuning_load("/nowhere/tuning.json", "shm", 2, &tuning, &diagnostic), WEFT_SYSTEM_ERROR);
    assert_string_equal(diagnostic.text, "/nowhere/tuning.json: No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_communicator_gets_what_is_of_its_transport_and_ranks),
        cmocka_unit_test(a_measured_choice_goes_before_the_models),
        cmocka_unit_test(what_a_caller_forces_stays),
        cmocka_unit_test(an_algorithm_that_is_no_candidate_is_passed_over),
        cmocka_unit_test(another_choice_is_another_hash),
        cmocka_unit_test(mistakes_are_named_with_their_place),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
