/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the ranks of a job meet. The one who makes an id listens from then on, since others may have the id before
 * rank 0 has its communicator, and since only a socket that listens has a port that nobody else can take.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/random.h"
#include "bootstrap_internal.h"
#include "keyed_hash.h"
#include "network.h"

/* Ids whose rank 0 has no communicator in this process yet. The oldest goes: somebody makes ids and does not use them.
 */
enum { PLACES_MAX = 64 };

static struct {
    pthread_mutex_t mutex; /* guards the rest */
    struct {
        uint8_t job[16];
        int fd;
    } places[PLACES_MAX];
    unsigned made; /* how many there have ever been: the next goes to made % PLACES_MAX */
} open_places = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void place_remember(const uint8_t job[16], int fd)
{
    pthread_mutex_lock(&open_places.mutex);
    unsigned at = open_places.made++ % PLACES_MAX;
    if (open_places.made > PLACES_MAX && open_places.places[at].fd >= 0) close(open_places.places[at].fd);
    memcpy(open_places.places[at].job, job, 16);
    open_places.places[at].fd = fd;
    pthread_mutex_unlock(&open_places.mutex);
}

/* -1: there is none. */
static int place_take(const uint8_t job[16])
{
    int fd = -1;
    pthread_mutex_lock(&open_places.mutex);
    unsigned count = open_places.made < PLACES_MAX ? open_places.made : PLACES_MAX;
    for (unsigned i = 0; i < count && fd < 0; i++) {
        if (open_places.places[i].fd < 0 || memcmp(open_places.places[i].job, job, 16) != 0) continue;
        fd = open_places.places[i].fd;
        open_places.places[i].fd = -1;
    }
    pthread_mutex_unlock(&open_places.mutex);
    return fd;
}

weft_status weft_unique_id_create(weft_unique_id *id)
{
    if (!id) return WEFT_INVALID_ARGUMENT;
    struct unique_id_parts parts;
    struct diagnostic diagnostic;
    int fd = -1;
    weft_status status = random_secret(parts.job, sizeof parts.job);
    if (status == WEFT_OK) status = random_secret(parts.key, sizeof parts.key);
    if (status != WEFT_OK) return status;
    struct tcp_address anywhere = {.family = AF_UNSPEC}, own;
    status = network_own_address(&anywhere, &own, &diagnostic);
    if (status == WEFT_OK) status = network_listen(&own, &fd, &diagnostic);
    if (status != WEFT_OK) {
        log_error("no place for ranks to meet: %s", diagnostic.text);
        return status;
    }
    char text[TCP_ADDRESS_TEXT_BYTES];
    tcp_address_text(&own, text);
    log_info("unique id made address %s", text);
    parts.family = own.family;
    parts.port = own.port;
    memcpy(parts.address, own.bytes, sizeof parts.address);
    place_remember(parts.job, fd);
    status = unique_id_make(&parts, id);
    explicit_bzero(&parts, sizeof parts);
    return status;
}

/* Layout of a split's place; the rest is zero. */
enum { PLACE_JOB_AT = 0, PLACE_ADDRESS_AT = 16, PLACE_PORT_AT = 32, PLACE_FAMILY_AT = 34 };

weft_status bootstrap_split_open(const struct identity *whole, uint8_t place[SPLIT_PLACE_BYTES],
                                 struct diagnostic *diagnostic)
{
    uint8_t made[SPLIT_PLACE_BYTES] = {0};
    weft_status status = random_secret(made + PLACE_JOB_AT, 16);
    if (status != WEFT_OK) return diagnose(diagnostic, status, "no random bytes");
    if (whole->meeting.family != AF_UNSPEC) {
        struct tcp_address own;
        int fd = -1;
        status = network_own_address(&whole->meeting, &own, diagnostic);
        if (status == WEFT_OK) status = network_listen(&own, &fd, diagnostic);
        if (status != WEFT_OK) return status;
        memcpy(made + PLACE_ADDRESS_AT, own.bytes, 16);
        bytes_put_u16(made + PLACE_PORT_AT, own.port);
        bytes_put_u16(made + PLACE_FAMILY_AT, own.family == AF_INET ? 4 : 6);
        place_remember(made + PLACE_JOB_AT, fd);
    }
    memcpy(place, made, sizeof made);
    return WEFT_OK;
}

weft_status bootstrap_split_id(const struct identity *whole, const uint8_t place[SPLIT_PLACE_BYTES], weft_unique_id *id)
{
    uint8_t seed[24 + SPLIT_PLACE_BYTES] = "weft split";
    uint16_t family = bytes_get_u16(place + PLACE_FAMILY_AT);
    struct unique_id_parts parts = {
        .family = family == 0   ? AF_UNSPEC
                  : family == 4 ? AF_INET
                  : family == 6 ? AF_INET6
                                : -1,
        .port = bytes_get_u16(place + PLACE_PORT_AT),
    };
    memcpy(parts.job, place + PLACE_JOB_AT, sizeof parts.job);
    memcpy(parts.address, place + PLACE_ADDRESS_AT, sizeof parts.address);
    memcpy(seed + 24, place, SPLIT_PLACE_BYTES);
    keyed_hash(whole->key, seed, sizeof seed, parts.key);
    weft_status status = unique_id_make(&parts, id);
    explicit_bzero(&parts, sizeof parts);
    return status;
}

weft_status bootstrap_meeting_listen(const struct identity *identity, int *fd, struct diagnostic *diagnostic)
{
    int taken = place_take(identity->job);
    if (taken >= 0) {
        *fd = taken;
        return WEFT_OK;
    }
    struct tcp_address at = identity->meeting;
    return network_listen(&at, fd, diagnostic);
}
