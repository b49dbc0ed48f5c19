/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of transport.h about memory that peers lend each other. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/core/conformance_scene.h"

typedef enum conformance_result result;

#define SHARED_BYTES 16384

/* Memory that a file backs; closed and unmapped by shared_close(). */
struct shared {
    uint8_t *memory;
    int descriptor;
};

static bool shared_open(struct shared *shared, bool sealed)
{
    *shared = (struct shared){.descriptor = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    if (shared->descriptor < 0 || ftruncate(shared->descriptor, SHARED_BYTES)) return false;
    if (sealed && fcntl(shared->descriptor, F_ADD_SEALS, F_SEAL_SHRINK)) return false;
    shared->memory = mmap(NULL, SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, shared->descriptor, 0);
    return shared->memory != MAP_FAILED;
}

static void shared_close(struct shared *shared)
{
    munmap(shared->memory, SHARED_BYTES);
    close(shared->descriptor);
}

static bool lends(const struct connection *connection)
{
    return connection->endpoint->ops->capabilities & TRANSPORT_LENDS;
}

result what_lends_nothing_rejects(struct scene *scene)
{
    uint8_t byte = 1;
    struct loan loan = {0};
    struct shared shared;
    void *share = NULL;

    REQUIRE_DONE(scene_open_connected(scene, 2, 64));
    struct connection *connection = scene->connections[0][1];
    if (lends(connection)) return CONFORMANCE_PASSED;
    REQUIRE(!connection_lend(connection, &byte, 1, &loan));
    loan.address = (uintptr_t)&byte;
    REQUIRE(!connection_borrow(connection, &loan, 1));
    REQUIRE(connection_read(connection, &loan, 0, &byte, 1) == WEFT_UNSUPPORTED);
    REQUIRE(connection_write(connection, &loan, 0, &byte, 1) == WEFT_UNSUPPORTED);
    if (lends(scene->connections[0][1]) || scene->endpoints[0] != connection->endpoint) return CONFORMANCE_PASSED;
    REQUIRE(shared_open(&shared, true));
    const weft_status status =
        endpoint_memory_share(scene->endpoints[0], shared.memory, SHARED_BYTES, shared.descriptor, 0, &share, NULL);
    shared_close(&shared);
    REQUIRE(status == WEFT_UNSUPPORTED && !share);
    return CONFORMANCE_PASSED;
}

/* Both ways of getting at a loan see the same bytes: what lies in @p memory of the lender's, SHARED_BYTES of it. */
static result loan_reaches(struct scene *scene, struct connection *lender, struct connection *borrower, uint8_t *memory)
{
    static uint8_t copy[SHARED_BYTES];
    const size_t at = random_below(&scene->random, SHARED_BYTES / 2);
    const size_t bytes = 1 + random_below(&scene->random, SHARED_BYTES / 2 - 1);
    const size_t part = random_below(&scene->random, bytes);
    struct loan loan = {0};

    if (!connection_lend(lender, memory + at, bytes, &loan)) return CONFORMANCE_PASSED;
    memcpy(memory, scene->source, SHARED_BYTES);
    memset(copy, 0, sizeof copy);
    REQUIRE(connection_read(borrower, &loan, part, copy, bytes - part) == WEFT_OK);
    REQUIRE(memcmp(copy, memory + at + part, bytes - part) == 0 && copy[bytes - part] == 0);
    memset(copy, 0xaa, sizeof copy);
    REQUIRE(connection_write(borrower, &loan, part, copy, bytes - part) == WEFT_OK);
    REQUIRE(memcmp(copy, memory + at + part, bytes - part) == 0);
    REQUIRE(memcmp(memory, scene->source, at + part) == 0);
    REQUIRE(memcmp(memory + at + bytes, scene->source + at + bytes, SHARED_BYTES - at - bytes) == 0);
    REQUIRE(connection_read(borrower, &loan, bytes, copy, 0) == WEFT_OK);

    uint8_t *here = connection_borrow(borrower, &loan, bytes);
    if (!here) return CONFORMANCE_PASSED;
    REQUIRE(connection_borrow(borrower, &loan, bytes) == here);
    REQUIRE(memcmp(here, memory + at, bytes) == 0);
    here[part] ^= 0xff;
    REQUIRE(memory[at + part] == (0xaa ^ 0xff));
    memory[at] = 0x55;
    REQUIRE(*(volatile uint8_t *)here == 0x55);
    return CONFORMANCE_PASSED;
}

result a_loan_reaches_the_lenders_memory(struct scene *scene)
{
    result outcome = CONFORMANCE_PASSED;
    const uint32_t peer = 1 + (uint32_t)random_below(&scene->random, 2);

    REQUIRE_DONE(scene_open_connected(scene, 3, 64));
    struct connection *lender = scene->connections[0][peer], *borrower = scene->connections[peer][0];
    if (!lends(lender)) return CONFORMANCE_PASSED;
    uint8_t *memory = malloc(SHARED_BYTES);
    REQUIRE(memory);
    for (int i = 0; i < 4 && outcome == CONFORMANCE_PASSED; i++)
        outcome = loan_reaches(scene, lender, borrower, memory);
    free(memory);
    return outcome;
}

/* Shared and lent of, which a transport that lends by address may do without; then taken back. */
static result share_reaches(struct scene *scene, uint32_t peer, struct shared *shared)
{
    struct connection *lender = scene->connections[0][peer], *borrower = scene->connections[peer][0];
    struct diagnostic diagnostic;
    struct loan loan = {0}, beyond;
    void *share = NULL;

    weft_status status = endpoint_memory_share(scene->endpoints[0], shared->memory, SHARED_BYTES, shared->descriptor, 0,
                                               &share, &diagnostic);
    if (status == WEFT_UNSUPPORTED) return loan_reaches(scene, lender, borrower, shared->memory);
    REQUIRE(status == WEFT_OK && share);
    result outcome = loan_reaches(scene, lender, borrower, shared->memory);
    if (outcome == CONFORMANCE_PASSED && connection_lend(lender, shared->memory, SHARED_BYTES, &loan) && loan.share) {
        beyond = (struct loan){loan.address + SHARED_BYTES - 8, loan.share};
        if (!connection_borrow(borrower, &loan, SHARED_BYTES) || connection_borrow(borrower, &loan, SHARED_BYTES + 1) ||
            connection_borrow(borrower, &beyond, 9) || !connection_borrow(borrower, &beyond, 8))
            outcome = scene_fail(scene, __func__, __LINE__, "a share has its bounds");
    }
    endpoint_memory_unshare(scene->endpoints[0], share);
    return outcome;
}

result memory_in_a_share_can_be_mapped_until_it_is_unshared(struct scene *scene)
{
    result outcome = CONFORMANCE_PASSED;
    struct shared shared;
    const uint32_t peer = 1 + (uint32_t)random_below(&scene->random, 2);

    REQUIRE_DONE(scene_open_connected(scene, 3, 64));
    if (!lends(scene->connections[0][peer])) return CONFORMANCE_PASSED;
    REQUIRE(shared_open(&shared, true));
    for (int i = 0; i < 2 && outcome == CONFORMANCE_PASSED; i++) outcome = share_reaches(scene, peer, &shared);
    /* It is the lender's own again, and still lent as such. */
    if (outcome == CONFORMANCE_PASSED)
        outcome = loan_reaches(scene, scene->connections[0][peer], scene->connections[peer][0], shared.memory);
    shared_close(&shared);
    return outcome;
}

result memory_that_may_shrink_is_not_shared(struct scene *scene)
{
    struct shared shared;
    struct diagnostic diagnostic = {WEFT_OK, ""};
    void *share = NULL;

    REQUIRE_DONE(scene_open_connected(scene, 2, 64));
    REQUIRE(shared_open(&shared, false));
    const weft_status status = endpoint_memory_share(scene->endpoints[0], shared.memory, SHARED_BYTES,
                                                     shared.descriptor, 0, &share, &diagnostic);
    shared_close(&shared);
    REQUIRE(status == WEFT_UNSUPPORTED && !share && diagnostic.text[0]);
    return CONFORMANCE_PASSED;
}

result what_is_no_loan_is_refused(struct scene *scene)
{
    uint8_t bytes[16] = {0};
    static const struct loan none[] = {{.address = 0}, {.address = 4096, .share = 1}, {.share = UINT64_MAX}};

    REQUIRE_DONE(scene_open_connected(scene, 2, 64));
    struct connection *connection = scene->connections[0][1];
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        REQUIRE(!connection_borrow(connection, &none[i], sizeof bytes));
        REQUIRE(connection_read(connection, &none[i], 0, bytes, sizeof bytes) > WEFT_IN_PROGRESS);
        REQUIRE(connection_write(connection, &none[i], 0, bytes, sizeof bytes) > WEFT_IN_PROGRESS);
    }
    const struct loan last = {.address = UINT64_MAX - 8};
    if (!lends(connection)) return CONFORMANCE_PASSED;
    REQUIRE(connection_read(connection, &last, 0, bytes, sizeof bytes) > WEFT_IN_PROGRESS);
    REQUIRE(connection_read(connection, &last, UINT64_MAX - 4, bytes, sizeof bytes) > WEFT_IN_PROGRESS);
    REQUIRE_DONE(scene_put(scene, 0, 1, &(struct put){.flags = PUT_NOTIFY})); /* and nothing has happened */
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_ARRIVED, 0, 1));
    return CONFORMANCE_PASSED;
}

result a_peer_that_is_gone_lends_nothing(struct scene *scene)
{
    uint8_t memory[64], copy[64];
    struct loan loan, again;

    REQUIRE_DONE(scene_open_connected(scene, 2, 64));
    struct connection *borrower = scene->connections[0][1];
    if (!lends(borrower) || !connection_lend(scene->connections[1][0], memory, sizeof memory, &loan))
        return CONFORMANCE_PASSED;
    scene_disconnect(scene, 1, 0);
    REQUIRE_DONE(scene_wait(scene, 0, EVENT_FAILED, 1, 1));
    REQUIRE(connection_read(borrower, &loan, 0, copy, sizeof copy) == WEFT_PEER_FAILED);
    REQUIRE(connection_write(borrower, &loan, 0, copy, sizeof copy) == WEFT_PEER_FAILED);
    REQUIRE(!connection_lend(borrower, memory, sizeof memory, &again));
    return CONFORMANCE_PASSED;
}
