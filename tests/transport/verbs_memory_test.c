/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registered sources: read where they are, found through the registration cache, and gone from the device when their
 * memory is. Requests are delivered late, so that a source that was copied tells itself from one that was not.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fabric/memory/registration.h"
#include "tests/mockverbs/mockverbs.h"
#include "tests/transport/verbs_hosts.h"

#define PAGE 4096u
#define REGION_BYTES (64u * PAGE)

static struct {
    struct verbs_hosts hosts;
    struct endpoint *endpoints[2];
    struct connection *connections[2];
    struct registration_cache *cache; /* rank 0's */
    uint64_t now_ns;
} world;

static void *source_find(void *context, const void *source, size_t bytes)
{
    (void)context;
    const struct registration *registration = world.cache ? registration_cache_find(world.cache, source, bytes) : NULL;
    return registration ? registration->handle : NULL;
}

static weft_status cache_make(void *context, void *address, size_t bytes, void **handle, struct diagnostic *diagnostic)
{
    return endpoint_memory_register(context, address, bytes, handle, diagnostic);
}

static void cache_unmake(void *context, void *handle)
{
    endpoint_memory_deregister(context, handle);
}

static int setup(void **state)
{
    (void)state;
    struct diagnostic diagnostic;
    const struct verbs_config config = {.linger_ns = NS_PER_MS, .memory = {.find = source_find}};
    verbs_hosts_open(&world.hosts, 2, 2);
    for (uint32_t rank = 0; rank < 2; rank++)
        assert_int_equal(verbs_hosts_endpoint(&world.hosts, rank, &config, &world.endpoints[rank], &diagnostic),
                         WEFT_OK);
    const struct registration_config cache = {
        .backend = {.make = cache_make, .unmake = cache_unmake, .context = world.endpoints[0]},
        .max_count = 16,
        .max_bytes = REGION_BYTES,
        .transparent = true,
    };
    assert_int_equal(registration_cache_create(&cache, &world.cache), WEFT_OK);
    assert_int_equal(pairs_connect_two(world.endpoints[0], world.endpoints[1], REGION_BYTES, &world.connections[0],
                                       &world.connections[1]),
                     WEFT_OK);
    world.now_ns = clock_now_ns();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mockverbs_delay(1, 0);
    registration_cache_destroy(world.cache);
    world.cache = NULL;
    for (uint32_t rank = 0; rank < 2; rank++) connection_disconnect(world.connections[rank]);
    for (uint32_t rank = 0; rank < 2; rank++) endpoint_destroy(world.endpoints[rank]);
    verbs_hosts_close(&world.hosts);
    return 0;
}

static uint8_t *pages(size_t count)
{
    uint8_t *memory = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

/* Put, change the source before it is delivered, and deliver: the byte that arrived says whether it was copied. */
static bool put_copies(uint8_t *source, uint32_t bytes)
{
    struct event events[8];
    bool arrived = false;
    memset(source, 1, bytes);
    mockverbs_delay(7, 1);
    const struct put put = {.source = source, .bytes = bytes, .flags = PUT_NOTIFY};
    assert_int_equal(connection_put(world.connections[0], &put, 1), 1);
    memset(source, 2, bytes);
    mockverbs_delay(7, 0);
    for (int turn = 0; turn < 1000 && !arrived; turn++) {
        world.now_ns += NS_PER_MS;
        for (uint32_t rank = 0; rank < 2; rank++) {
            const size_t count = endpoint_poll(world.endpoints[rank], events, 8, world.now_ns);
            for (size_t i = 0; i < count; i++) arrived |= rank == 1 && events[i].kind == EVENT_ARRIVED;
        }
    }
    assert_true(arrived);
    const uint8_t *granted = world.connections[1]->granted;
    for (uint32_t i = 1; i < bytes; i++) assert_int_equal(granted[i], granted[0]);
    return granted[0] == 1;
}

static uint64_t registered(void)
{
    struct mockverbs_counters counters;
    mockverbs_counters(&counters);
    return counters.calls[MOCKVERBS_REG_MR] - counters.calls[MOCKVERBS_DEREG_MR];
}

static void an_added_source_is_not_copied(void **state)
{
    (void)state;
    struct registration *registration;
    uint8_t *source = pages(32);
    const uint64_t before = registered();
    assert_true(put_copies(source, 32 * PAGE)); /* by default: through staging */
    assert_int_equal(registration_cache_add(world.cache, source, 32 * PAGE, &registration, NULL), WEFT_OK);
    assert_int_equal(registered(), before + 2);  /* with the device of each rail */
    assert_false(put_copies(source, 32 * PAGE)); /* striped over both */
    assert_false(put_copies(source + PAGE, 2 * PAGE));
    assert_true(put_copies(source, 16)); /* which goes with its request */
    assert_int_equal(registration_cache_remove(world.cache, registration), WEFT_OK);
    assert_int_equal(registered(), before);
    assert_true(put_copies(source, 2 * PAGE));
    munmap(source, 32 * PAGE);
}

static void a_buffer_of_an_operation_is_registered_while_it_is_mapped(void **state)
{
    (void)state;
    if (registration_cache_obstacle(world.cache)) {
        print_message("%s\n", registration_cache_obstacle(world.cache));
        skip();
    }
    struct registration *registration;
    uint8_t *source = pages(2), *other = pages(1);
    const uint64_t before = registered();
    for (int operation = 0; operation < 3; operation++) {
        assert_int_equal(registration_cache_acquire(world.cache, source, 2 * PAGE, &registration, NULL), WEFT_OK);
        assert_false(put_copies(source, 2 * PAGE));
        registration_cache_release(world.cache, registration);
        assert_int_equal(registered(), before + 2);
    }
    munmap(source, 2 * PAGE);
    assert_ptr_equal(mmap(source, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                     source);
    assert_true(put_copies(source, 2 * PAGE)); /* other memory at that address */
    assert_int_equal(registration_cache_acquire(world.cache, other, PAGE, &registration, NULL), WEFT_OK);
    registration_cache_release(world.cache, registration);
    assert_int_equal(registered(), before + 2); /* `other` alone */
    munmap(source, 2 * PAGE);
    munmap(other, PAGE);
}

static void what_a_device_refuses_is_copied(void **state)
{
    (void)state;
    struct registration *registration;
    struct diagnostic diagnostic = {WEFT_OK, ""};
    uint8_t *source = pages(2);
    const uint64_t before = registered();
    mockverbs_fail_call(MOCKVERBS_REG_MR, 1, EPERM); /* the second rail's */
    assert_int_equal(registration_cache_add(world.cache, source, 2 * PAGE, &registration, &diagnostic),
                     WEFT_SYSTEM_ERROR);
    assert_non_null(strstr(diagnostic.text, "mock0_1"));
    assert_int_equal(registered(), before + 1); /* the call that failed, and nothing */
    assert_true(put_copies(source, 2 * PAGE));
    munmap(source, 2 * PAGE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_added_source_is_not_copied),
        TEST(a_buffer_of_an_operation_is_registered_while_it_is_mapped),
        TEST(what_a_device_refuses_is_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
