/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread puts bytes that another reads when notified, and nothing but the notification orders the two. Built twice
 * under thread sanitizer: over the transport as it is, which has to be clean; and over a copy whose notifications are
 * relaxed (SHM_WEAKENED_FOR_TEST), where the sanitizer has to report the data race. Exits 77 without the sanitizer.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tests/transport/pairs.h"
#include "tests/transport/seed.h"
#include "transport/shm/shm.h"

#define COUNT 100 /* less than makes the consumer tell of its progress, which would order more than it should here */
#define BYTES 64

static struct connection *producer, *consumer;
static int wrong;

static void *produce(void *unused)
{
    uint8_t source[BYTES];

    for (uint32_t i = 0; i < COUNT; i++) {
        memset(source, (int)(i + 1), BYTES);
        const struct put put = {
            .source = source, .remote_offset = (uint64_t)i * BYTES, .bytes = BYTES, .tag = i, .flags = PUT_NOTIFY};
        (void)connection_put(producer, &put, 1);
    }
    return unused;
}

static void *consume(void *unused)
{
    for (uint32_t i = 0; i < COUNT;) {
        struct event event;
        if (!endpoint_poll(consumer->endpoint, &event, 1, 0)) continue;
        for (uint32_t at = 0; at < BYTES; at++) wrong += consumer->granted[event.tag * BYTES + at] != event.tag + 1;
        i++;
    }
    return unused;
}

int main(void)
{
    struct pairs pairs;
    struct endpoint *endpoints[2];
    pthread_t threads[2];

    if (!THREAD_SANITIZER) {
        puts("needs a build with -DWEFT_SANITIZE=thread");
        return 77;
    }
    pairs_init(&pairs);
    for (uint32_t rank = 0; rank < 2; rank++) {
        if (shm_endpoint_create(&(struct shm_config){.rank = rank, .rank_count = 2}, pairs_rendezvous(&pairs, rank),
                                &endpoints[rank], NULL))
            return 1;
    }
    if (pairs_connect_two(endpoints[0], endpoints[1], COUNT * BYTES, &producer, &consumer)) return 1;
    if (pthread_create(&threads[0], NULL, consume, NULL) || pthread_create(&threads[1], NULL, produce, NULL)) return 1;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    connection_disconnect(producer);
    connection_disconnect(consumer);
    for (int i = 0; i < 2; i++) endpoint_destroy(endpoints[i]);
    return wrong != 0;
}
