/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/transport/shm_stage.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

size_t stage_descriptor_count(void)
{
    DIR *folder = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

void stage_open(struct stage *stage)
{
    *stage = (struct stage){.descriptors = stage_descriptor_count()};
    pairs_init(&stage->pairs);
    assert_int_equal(shm_endpoint_create(&(struct shm_config){.rank = 0, .rank_count = 3, .apart = true},
                                         pairs_rendezvous(&stage->pairs, 0), &stage->victim, NULL),
                     WEFT_OK);
    assert_int_equal(shm_endpoint_create(&(struct shm_config){.rank = 2, .rank_count = 3, .apart = true},
                                         pairs_rendezvous(&stage->pairs, 2), &stage->honest, NULL),
                     WEFT_OK);
    assert_int_equal(pairs_connect_two(stage->victim, stage->honest, GRANTED, &stage->to_honest, &stage->from_honest),
                     WEFT_OK);
    const struct rendezvous liar = pairs_rendezvous(&stage->pairs, 1);
    assert_int_equal(liar.reach(liar.context, 0, &stage->liar), WEFT_OK);
    assert_int_equal(endpoint_connect(stage->victim, 1, GRANTED, &stage->connection), WEFT_OK);
    assert_int_equal(connection_advance(stage->connection, 0), WEFT_IN_PROGRESS);
}

void stage_close(struct stage *stage)
{
    const struct put put = {.tag = 9, .flags = PUT_NOTIFY};
    struct event event;

    assert_int_equal(connection_put(stage->from_honest, &put, 1), 1);
    assert_int_equal(endpoint_poll(stage->victim, &event, 1, 0), 1);
    assert_true(event.kind == EVENT_ARRIVED && event.peer == 2 && event.tag == 9);
    connection_disconnect(stage->connection);
    connection_disconnect(stage->to_honest);
    connection_disconnect(stage->from_honest);
    endpoint_destroy(stage->victim);
    endpoint_destroy(stage->honest);
    pairs_close(&stage->pairs);
    if (stage->liar >= 0) close(stage->liar);
    if (stage->own) munmap(stage->own, SEGMENT_BYTES);
    if (stage->victims) munmap(stage->victims, SEGMENT_BYTES);
    assert_int_equal(stage_descriptor_count(), stage->descriptors);
}

struct shm_header stage_header(void)
{
    return (struct shm_header){.magic = SHM_MAGIC,
                               .rank = 1,
                               .peer = 0,
                               .granted_bytes = GRANTED,
                               .ring_entries = SHM_RING_ENTRIES,
                               .region_offset = SHM_REGION_OFFSET};
}

int stage_memory(const struct shm_header *header, size_t bytes, int seals)
{
    const int memory = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(memory >= 0);
    assert_int_equal(ftruncate(memory, (off_t)bytes), 0);
    assert_int_equal(pwrite(memory, header, sizeof *header, 0), sizeof *header);
    assert_int_equal(fcntl(memory, F_ADD_SEALS, seals), 0);
    return memory;
}

void stage_send(const struct stage *stage, const void *bytes, size_t size, const int *memory, size_t count)
{
    alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(8 * sizeof(int))] = {0};
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (count) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(rights), memory, count * sizeof(int));
    }
    assert_int_equal(sendmsg(stage->liar, &message, MSG_NOSIGNAL), size);
    for (size_t i = 0; i < count; i++) close(memory[i]);
}

void stage_connect(struct stage *stage, bool in_pieces, enum shm_message_kind ready)
{
    const struct shm_header header = stage_header();
    alignas(struct cmsghdr) uint8_t control[256];
    uint8_t greeting[sizeof header];
    struct iovec part = {greeting, sizeof greeting};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int memory = stage_memory(&header, SEGMENT_BYTES, SEALS), victims = -1;

    stage->own = mmap(NULL, SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    assert_ptr_not_equal(stage->own, MAP_FAILED);
    assert_int_equal(recvmsg(stage->liar, &message, MSG_CMSG_CLOEXEC), sizeof greeting);
    for (struct cmsghdr *rights = CMSG_FIRSTHDR(&message); rights; rights = CMSG_NXTHDR(&message, rights)) {
        if (rights->cmsg_type == SCM_RIGHTS) memcpy(&victims, CMSG_DATA(rights), sizeof victims);
    }
    stage->victims = mmap(NULL, SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, victims, 0);
    assert_ptr_not_equal(stage->victims, MAP_FAILED);
    close(victims);
    if (in_pieces) {
        stage_send(stage, &header, 1, &memory, 1);
        for (size_t i = 1; i < sizeof header; i++) {
            assert_int_equal(connection_advance(stage->connection, 0), WEFT_IN_PROGRESS);
            assert_int_equal(send(stage->liar, (const uint8_t *)&header + i, 1, 0), 1);
        }
    } else {
        stage_send(stage, &header, sizeof header, &memory, 1);
    }
    assert_int_equal(connection_advance(stage->connection, 0), WEFT_IN_PROGRESS);
    assert_int_equal(send(stage->liar, &(char){(char)ready}, 1, 0), 1);
    assert_int_equal(connection_advance(stage->connection, 0), WEFT_OK);
}

void stage_expect_failure(struct stage *stage, weft_status expected)
{
    struct event event;
    uint64_t now_ns = 0;

    for (int polls = 0; polls < 10; polls++) {
        now_ns += 10000000; /* enough to look at the sockets */
        if (!endpoint_poll(stage->victim, &event, 1, now_ns)) continue;
        if (event.kind == EVENT_FAILED) break;
    }
    assert_true(event.kind == EVENT_FAILED && event.peer == 1);
    assert_int_equal(event.status, expected);
    assert_int_equal(connection_put(stage->connection, &(struct put){.flags = PUT_NOTIFY}, 1), 0);
    for (int polls = 0; polls < 10; polls++)
        assert_int_equal(endpoint_poll(stage->victim, &event, 1, now_ns += 10000000), 0);
}
