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
 * Layout of a unique id. The room between key and check is where the address of a first rank on another host will be;
 * zero means "same host". The check finds truncation and text conversions, not attacks: the whole id is a secret.
 */
enum {
    ID_MAGIC_AT = 0,
    ID_VERSION_AT = 8,
    ID_JOB_AT = 16,
    ID_KEY_AT = 32,
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

weft_status weft_unique_id_create(weft_unique_id *id)
{
    if (!id) return WEFT_INVALID_ARGUMENT;
    weft_unique_id fresh = {0};
    weft_status status = random_secret(fresh.bytes + ID_JOB_AT, 16);
    if (status == WEFT_OK) status = random_secret(fresh.bytes + ID_KEY_AT, 32);
    if (status != WEFT_OK) return status;
    id_seal(&fresh);
    *id = fresh;
    return WEFT_OK;
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
    return WEFT_OK;
}

void bootstrap_id_make(const uint8_t job[16], const uint8_t key[32], weft_unique_id *id)
{
    memset(id->bytes, 0, sizeof id->bytes);
    memcpy(id->bytes + ID_JOB_AT, job, 16);
    memcpy(id->bytes + ID_KEY_AT, key, 32);
    id_seal(id);
}

void bootstrap_id_derive(weft_unique_id *id, uint64_t generation)
{
    if (generation == 0) return;
    uint8_t key[32], seed[32] = "weft communicator";
    memcpy(key, id->bytes + ID_KEY_AT, sizeof key);
    bytes_put_u64(seed + 24, generation);
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
