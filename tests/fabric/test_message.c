/* SPDX-License-Identifier: Apache-2.0 */
/* Control messages: what goes in comes out, and nothing that comes from outside does harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/random.h"
#include "fabric/control/message.h"

enum { RANKS = 12 };

static struct message any_message(struct random *random)
{
    struct message message;
    memset(&message, 0, sizeof message);
    message.kind = (enum message_kind)(1 + random_below(random, MESSAGE_KIND_END - 1));
    switch (message.kind) {
    case MESSAGE_HEARTBEAT:
        message.heartbeat.keepalive_ns = 1 + random_next(random) / 2;
        message.heartbeat.missing_rank = (int32_t)random_below(random, RANKS + 1) - 1;
        break;
    case MESSAGE_READY:
        message.round = (uint32_t)random_below(random, 4);
        message.least_token = random_next(random) / 2;
        message.most_token = message.least_token + random_next(random) / 2;
        break;
    case MESSAGE_FAILURE:
        message.failure = (weft_failure){.size = sizeof message.failure,
                                         .status = WEFT_MISMATCH,
                                         .rank = (int32_t)random_below(random, RANKS),
                                         .other_rank = -1,
                                         .reporter_rank = 0,
                                         .sequence = random_next(random),
                                         .track = -1,
                                         .step = (int32_t)random_below(random, 100)};
        for (size_t i = 0; i < random_below(random, sizeof message.failure.message); i++)
            message.failure.message[i] = (char)('a' + random_below(random, 26));
        snprintf(message.failure.operation, sizeof message.failure.operation, "operation");
        break;
    case MESSAGE_SIGNATURE:
        message.signature = (struct signature){.sequence = 1 + random_next(random) / 2,
                                               .count = random_next(random),
                                               .root = (uint32_t)random_next(random),
                                               .plan = (uint32_t)random_next(random),
                                               .collective = 1,
                                               .dtype = 2,
                                               .op = 3,
                                               .algorithm = 255};
        break;
    case MESSAGE_GOODBYE:
        message.goodbye.known_count = (uint32_t)random_below(random, GOODBYE_SIGNATURES + 1);
        message.goodbye.begun = message.goodbye.known_count + random_below(random, 100);
        for (uint32_t i = 0; i < message.goodbye.known_count; i++) message.goodbye.known[i].sequence = i + 1;
        break;
    case MESSAGE_CONTACT:
        message.contacts.count = 1 + (uint32_t)random_below(random, MESSAGE_CONTACTS);
        for (uint32_t i = 0; i < message.contacts.count; i++) {
            message.contacts.entries[i].rank = (uint32_t)random_below(random, RANKS);
            struct contact *contact = &message.contacts.entries[i].contact;
            for (int byte = 0; byte < 16; byte++) contact->host[byte] = (uint8_t)random_next(random);
            for (int byte = 0; byte < 16; byte++) contact->data.bytes[byte] = (uint8_t)random_next(random);
            contact->data.family = random_below(random, 2) ? AF_INET : AF_INET6;
            contact->data.port = (uint16_t)(1 + random_below(random, 65535));
        }
        break;
    case MESSAGE_SHARE: {
        uint32_t whole = (uint32_t)random_below(random, 4) * MESSAGE_SHARE_BYTES;
        message.share.number = (uint32_t)random_next(random);
        message.share.source = (uint32_t)random_below(random, RANKS);
        message.share.total = whole + (uint32_t)random_below(random, MESSAGE_SHARE_BYTES);
        message.share.offset = random_below(random, 2) ? whole : 0;
        message.share.count = message.share.total - message.share.offset;
        if (message.share.count > MESSAGE_SHARE_BYTES) message.share.count = MESSAGE_SHARE_BYTES;
        for (uint32_t i = 0; i < message.share.count; i++) message.share.bytes[i] = (uint8_t)random_next(random);
        break;
    }
    case MESSAGE_KIND_END:
        break;
    }
    return message;
}

static void every_message_comes_out_as_it_went_in(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct random random;
        random_seed(&random, seed);
        struct message in = any_message(&random), out;
        uint8_t bytes[MESSAGE_BYTES_MAX];
        size_t size = message_encode(&in, bytes), used = 0;
        assert_true(size <= sizeof bytes);
        if (message_decode(bytes, size, RANKS, &out, &used, NULL) != WEFT_OK || used != size ||
            memcmp(&in, &out, sizeof in) != 0)
            fail_msg("seed %llu kind %d", (unsigned long long)seed, (int)in.kind);
        /* Every part of it is not enough. */
        for (size_t part = 0; part < size; part++)
            assert_int_equal(message_decode(bytes, part, RANKS, &out, &used, NULL), WEFT_IN_PROGRESS);
    }
}

static void hostile_bytes_are_refused_or_harmless(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50000; seed++) {
        struct random random;
        random_seed(&random, seed);
        struct message message = any_message(&random);
        uint8_t bytes[MESSAGE_BYTES_MAX];
        size_t size = message_encode(&message, bytes), used = 0;
        for (uint64_t changes = 1 + random_below(&random, 8); changes > 0; changes--)
            bytes[random_below(&random, random_below(&random, 2) ? 12 : size)] = (uint8_t)random_next(&random);
        /* An own allocation of the exact size, so that the address sanitizer sees a step beyond it. */
        uint8_t *exact = malloc(size);
        memcpy(exact, bytes, size);
        struct diagnostic diagnostic = {.text = ""};
        weft_status status = message_decode(exact, size, RANKS, &message, &used, &diagnostic);
        free(exact);
        bool fine = status == WEFT_IN_PROGRESS || (status == WEFT_PROTOCOL_ERROR && diagnostic.text[0] != 0) ||
                    (status == WEFT_OK && used <= size);
        if (!fine) fail_msg("seed %llu status %d", (unsigned long long)seed, (int)status);
        if (status != WEFT_OK || message.kind != MESSAGE_FAILURE) continue;
        if (message.failure.rank < -1 || message.failure.rank >= RANKS ||
            strnlen(message.failure.message, sizeof message.failure.message) == sizeof message.failure.message)
            fail_msg("seed %llu lets a bad failure pass", (unsigned long long)seed);
    }
}

static void expect_refused(size_t at, uint8_t value, enum message_kind kind, const char *why)
{
    struct random random;
    random_seed(&random, 1);
    struct message message;
    do message = any_message(&random);
    while (message.kind != kind);
    uint8_t bytes[MESSAGE_BYTES_MAX];
    size_t size = message_encode(&message, bytes), used;
    struct diagnostic diagnostic = {.text = ""};
    bytes[at] = value;
    assert_int_equal(message_decode(bytes, size, RANKS, &message, &used, &diagnostic), WEFT_PROTOCOL_ERROR);
    if (!strstr(diagnostic.text, why)) fail_msg("'%s' lacks '%s'", diagnostic.text, why);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    expect_refused(0, 0, MESSAGE_READY, "no control message");
    expect_refused(2, 9, MESSAGE_READY, "version 9");
    expect_refused(3, 77, MESSAGE_READY, "unknown kind 77");
    expect_refused(3, 0, MESSAGE_READY, "unknown kind 0");
    expect_refused(4, 5, MESSAGE_READY, "with 5 bytes, not 20");
    expect_refused(8, 4, MESSAGE_READY, "round");
    expect_refused(8, 40, MESSAGE_READY, "round");
    expect_refused(9, 0x77, MESSAGE_FAILURE, "without a status");
    expect_refused(12, RANKS, MESSAGE_FAILURE, "a rank that does not exist");
    expect_refused(15, 0x80, MESSAGE_FAILURE, "a rank that does not exist");
    expect_refused(8 + 32 + 127, 'x', MESSAGE_FAILURE, "a text without an end");
    expect_refused(8 + 8, GOODBYE_SIGNATURES + 1, MESSAGE_GOODBYE, "more operations");
}

static void texts_cannot_drive_a_terminal(void **state)
{
    (void)state;
    struct message message = {.kind = MESSAGE_FAILURE,
                              .failure = {.size = sizeof message.failure, .status = WEFT_REVOKED}};
    uint8_t bytes[MESSAGE_BYTES_MAX];
    size_t used;
    snprintf(message.failure.message, sizeof message.failure.message, "a\033[2Jb\n\177");
    size_t size = message_encode(&message, bytes);
    assert_int_equal(message_decode(bytes, size, RANKS, &message, &used, NULL), WEFT_OK);
    assert_string_equal(message.failure.message, "a?[2Jb??");
}

static void signatures_read_as_the_calls_they_stand_for(void **state)
{
    (void)state;
    static const struct {
        struct signature signature;
        const char *text;
    } cases[] = {
        {{.collective = WEFT_ALL_REDUCE, .count = 1024}, "all_reduce count 1024 dtype float32 op sum algorithm auto"},
        {{.collective = WEFT_ALL_REDUCE, .count = UINT64_MAX, .dtype = WEFT_INT64, .op = WEFT_MAX, .algorithm = 1},
         "all_reduce count 18446744073709551615 dtype int64 op max algorithm ring"},
        {{.collective = WEFT_BROADCAST, .count = 3, .root = 7},
         "broadcast count 3 dtype float32 root 7 algorithm auto"},
        {{.collective = WEFT_BARRIER}, "barrier algorithm auto"},
        {{.collective = 200}, "collective 200 (unknown to this version)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128];
        signature_text(&cases[i].signature, text);
        assert_string_equal(text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_comes_out_as_it_went_in),
        cmocka_unit_test(hostile_bytes_are_refused_or_harmless),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(texts_cannot_drive_a_terminal),
        cmocka_unit_test(signatures_read_as_the_calls_they_stand_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
