/* SPDX-License-Identifier: Apache-2.0 */
/* The 128 bytes that name a job, and who we are in it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/config.h"
#include "base/random.h"
#include "bootstrap_internal.h"
#include "keyed_hash.h"

/*
 * Layout of a unique id. The family is 4, 6, or 0 where all ranks are on one host; the rest is zero. The check finds
 * truncation and text conversions, not attacks: the whole id is a secret.
 */
enum {
    ID_MAGIC_AT = 0,
    ID_VERSION_AT = 8,
    ID_JOB_AT = 16,
    ID_KEY_AT = 32,
    ID_FAMILY_AT = 64,
    ID_PORT_AT = 66,
    ID_ADDRESS_AT = 68,
    ID_CHECK_AT = 120,
    ID_VERSION = 1,
};
static const char id_magic[8] = "weft id";

static void id_seal(weft_unique_id *id)
{
    memcpy(id->bytes + ID_MAGIC_AT, id_magic, sizeof id_magic);
    bytes_put_u32(id->bytes + ID_VERSION_AT, ID_VERSION);
    bytes_put_u64(id->bytes + ID_CHECK_AT, bytes_hash(BYTES_HASH_START, id->bytes, ID_CHECK_AT));
}

weft_status unique_id_make(const struct unique_id_parts *parts, weft_unique_id *id)
{
    bool anywhere = parts->family != AF_UNSPEC;
    if (parts->family != AF_INET && parts->family != AF_INET6 && anywhere) return WEFT_INVALID_ARGUMENT;
    if (anywhere && parts->port == 0) return WEFT_INVALID_ARGUMENT;
    memset(id->bytes, 0, sizeof id->bytes);
    memcpy(id->bytes + ID_JOB_AT, parts->job, sizeof parts->job);
    memcpy(id->bytes + ID_KEY_AT, parts->key, sizeof parts->key);
    if (anywhere) {
        bytes_put_u16(id->bytes + ID_FAMILY_AT, parts->family == AF_INET ? 4 : 6);
        bytes_put_u16(id->bytes + ID_PORT_AT, parts->port);
        memcpy(id->bytes + ID_ADDRESS_AT, parts->address, parts->family == AF_INET ? 4 : 16);
    }
    id_seal(id);
    return WEFT_OK;
}

void bootstrap_id_make(const uint8_t job[16], const uint8_t key[32], weft_unique_id *id)
{
    struct unique_id_parts parts = {.family = AF_UNSPEC};
    memcpy(parts.job, job, sizeof parts.job);
    memcpy(parts.key, key, sizeof parts.key);
    unique_id_make(&parts, id);
    explicit_bzero(&parts, sizeof parts);
}

weft_status bootstrap_id_create_local(weft_unique_id *id)
{
    uint8_t secret[48];
    weft_status status = random_secret(secret, sizeof secret);
    if (status == WEFT_OK) bootstrap_id_make(secret, secret + 16, id);
    explicit_bzero(secret, sizeof secret);
    return status;
}

bool id_is_valid(const weft_unique_id *id)
{
    return memcmp(id->bytes + ID_MAGIC_AT, id_magic, sizeof id_magic) == 0 &&
           bytes_get_u32(id->bytes + ID_VERSION_AT) == ID_VERSION &&
           bytes_get_u64(id->bytes + ID_CHECK_AT) == bytes_hash(BYTES_HASH_START, id->bytes, ID_CHECK_AT);
}

weft_status bootstrap_identity(const weft_unique_id *id, uint32_t rank, uint32_t rank_count, struct identity *identity,
                               struct diagnostic *diagnostic)
{
    if (!id_is_valid(id))
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "the unique id is not one that weft_unique_id_create() of this version made: "
                        "pass all its %zu bytes unchanged from one rank to all",
                        sizeof id->bytes);
    if (rank_count == 0 || rank_count > BOOTSTRAP_RANKS_MAX)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "%u ranks: expected 1 to %u", rank_count,
                        BOOTSTRAP_RANKS_MAX);
    if (rank >= rank_count)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "rank %u of %u ranks: ranks are numbered from 0 to %u", rank,
                        rank_count, rank_count - 1);
    memcpy(identity->job, id->bytes + ID_JOB_AT, sizeof identity->job);
    memcpy(identity->key, id->bytes + ID_KEY_AT, sizeof identity->key);
    identity->rank = rank;
    identity->rank_count = rank_count;
    identity->meeting = (struct tcp_address){.family = AF_UNSPEC};
    uint16_t family = bytes_get_u16(id->bytes + ID_FAMILY_AT);
    if (family) {
        identity->meeting.family = family == 4 ? AF_INET : AF_INET6;
        identity->meeting.port = bytes_get_u16(id->bytes + ID_PORT_AT);
        memcpy(identity->meeting.bytes, id->bytes + ID_ADDRESS_AT, sizeof identity->meeting.bytes);
    }
    return WEFT_OK;
}

void bootstrap_id_derive(weft_unique_id *id, uint64_t generation)
{
    if (generation == 0) return;
    /* The job is part of it: jobs may share a key, where it comes from a file. */
    uint8_t key[32], seed[48] = "weft communicator";
    memcpy(key, id->bytes + ID_KEY_AT, sizeof key);
    bytes_put_u64(seed + 24, generation);
    memcpy(seed + 32, id->bytes + ID_JOB_AT, 16);
    for (uint8_t part = 0; part < 3; part++) {
        seed[23] = part;
        keyed_tag(key, seed, sizeof seed, id->bytes + ID_JOB_AT + 16 * part);
    }
    id_seal(id);
}

bool id_descriptor(int *fd)
{
    const char *text = config_launcher_variable(ID_DESCRIPTOR_VARIABLE);
    if (!text) return false;
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value > INT_MAX) return false;
    *fd = (int)value;
    return true;
}

bool id_read(int fd, weft_unique_id *id)
{
    /* pread, so that every communicator of the process, and every process that shares the descriptor, can read it. */
    return pread(fd, id->bytes, sizeof id->bytes, 0) == (ssize_t)sizeof id->bytes && id_is_valid(id);
}

weft_status bootstrap_id_inherited(weft_unique_id *id, struct diagnostic *diagnostic)
{
    weft_unique_id found;
    int fd;
    if (!id_descriptor(&fd) || !id_read(fd, &found)) {
        const char *text = config_launcher_variable(ID_DESCRIPTOR_VARIABLE);
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "%s is '%.16s', which is no descriptor with a job's identity: a program between the launcher "
                        "and this one must have closed it",
                        ID_DESCRIPTOR_VARIABLE, text ? text : "");
    }
    /* From here on the secret is not for the programs this process runs. */
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    *id = found;
    return WEFT_OK;
}
