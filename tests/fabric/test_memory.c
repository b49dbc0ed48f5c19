/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "fabric/memory/memory.h"

static void memory_is_zeroed_aligned_and_as_large_as_asked(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 4096, 4097, (2u << 20) + 1};
    for (enum memory_kind kind = MEMORY_HOST; kind <= MEMORY_SHARED; kind++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct memory memory;
            assert_int_equal(memory_allocate(kind, sizes[i], &memory, NULL), WEFT_OK);
            assert_int_equal(memory.kind, kind);
            assert_int_equal(memory.bytes, sizes[i]);
            assert_true(memory.mapped_bytes >= sizes[i] && memory.mapped_bytes % memory.page_bytes == 0);
            assert_int_equal((uintptr_t)memory.address % memory.page_bytes, 0);
            uint8_t *bytes = memory.address;
            assert_int_equal(bytes[0] | bytes[sizes[i] - 1], 0);
            memset(bytes, 1, sizes[i]);
            assert_int_equal(memory.descriptor >= 0, kind == MEMORY_SHARED);
            memory_free(&memory);
        }
    }
}

static void shared_memory_is_mapped_by_descriptor_and_keeps_its_size(void **state)
{
    (void)state;
    struct memory memory;
    assert_int_equal(memory_allocate(MEMORY_SHARED, 5000, &memory, NULL), WEFT_OK);
    const char *other = mmap(NULL, memory.mapped_bytes, PROT_READ, MAP_SHARED, memory.descriptor, 0);
    assert_ptr_not_equal(other, MAP_FAILED);
    strcpy((char *)memory.address + 4990, "there");
    assert_string_equal(other + 4990, "there");
    assert_int_equal(ftruncate(memory.descriptor, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(memory.descriptor, 1 << 20), -1);
    munmap((void *)(uintptr_t)other, memory.mapped_bytes);
    memory_free(&memory);
}

static void what_cannot_be_allocated_is_refused_with_a_sentence(void **state)
{
    (void)state;
    struct memory memory;
    struct diagnostic diagnostic;
    assert_int_equal(memory_allocate(MEMORY_HOST, 0, &memory, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_int_equal(memory_allocate(MEMORY_KIND_COUNT, 1, &memory, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_int_equal(memory_allocate(MEMORY_CUDA, 1, &memory, &diagnostic), WEFT_UNSUPPORTED);
    assert_non_null(strstr(diagnostic.text, "CUDA"));
    for (enum memory_kind kind = MEMORY_HOST; kind <= MEMORY_SHARED; kind++) {
        assert_int_equal(memory_allocate(kind, SIZE_MAX, &memory, &diagnostic), WEFT_OUT_OF_MEMORY);
        assert_int_equal(memory_allocate(kind, SIZE_MAX / 4, &memory, &diagnostic), WEFT_OUT_OF_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_as_large_as_asked),
        cmocka_unit_test(shared_memory_is_mapped_by_descriptor_and_keeps_its_size),
        cmocka_unit_test(what_cannot_be_allocated_is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
