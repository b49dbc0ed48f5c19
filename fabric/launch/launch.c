/* SPDX-License-Identifier: Apache-2.0 */
/* Which source of an identity decides, and which of its ids the next communicator gets. */
#include "launch.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "base/random.h"
#include "fabric/bootstrap/bootstrap.h"
#include "launch_internal.h"

static bool inherited_is_present(void)
{
    return variable_is_set("WEFT_ID_FD");
}

/*
 * Workers of torchrun inherit the environment of whatever started torchrun itself, such as one task of srun for each
 * node: the launcher nearest to the process decides.
 */
static bool torchrun_is_present(void)
{
    return variable_is_set("TORCHELASTIC_RUN_ID") && variable_is_set("RANK");
}

static bool rank_is_present(void)
{
    return variable_is_set("RANK");
}

static const struct source {
    const char *name;
    bool (*is_present)(void);
    weft_status (*identify)(struct place *, uint64_t deadline_at_ns, struct diagnostic *);
} sources[] = {
    {"weft_local_run", inherited_is_present, inherited_identify}, /* */
    {"torchrun", torchrun_is_present, rank_identify},
    {"PMIx", pmix_is_present, pmix_identify},
    {"PMI-1", pmi1_is_present, pmi1_identify},
    {"RANK and WORLD_SIZE", rank_is_present, rank_identify},
    {"Slurm", slurm_is_present, slurm_identify},
};

weft_status inherited_identify(struct place *place, uint64_t deadline_at_ns, struct diagnostic *diagnostic)
{
    (void)deadline_at_ns;
    weft_status status = bootstrap_id_inherited(&place->id, diagnostic);
    if (status == WEFT_OK) status = variable_number("RANK", INT32_MAX, &place->rank, diagnostic);
    if (status == WEFT_OK) status = variable_number("WORLD_SIZE", INT32_MAX, &place->rank_count, diagnostic);
    if (status == WEFT_OK) status = rank_check("RANK", place->rank, "WORLD_SIZE", place->rank_count, diagnostic);
    return status;
}

weft_status alone_identify(struct place *place, struct diagnostic *diagnostic)
{
    place->rank = 0;
    place->rank_count = 1;
    place->fresh = true;
    uint8_t secret[JOB_BYTES + KEY_BYTES];
    if (random_secret(secret, sizeof secret) != WEFT_OK)
        return diagnose(diagnostic, WEFT_SYSTEM_ERROR, "the kernel gives no random bytes: %s", strerror(errno));
    bootstrap_id_make(secret, secret + JOB_BYTES, &place->id);
    explicit_bzero(secret, sizeof secret);
    return WEFT_OK;
}

weft_status id_create(weft_unique_id *id, struct diagnostic *diagnostic)
{
    weft_status status = weft_unique_id_create(id);
    if (status == WEFT_OK) return WEFT_OK;
    return diagnose(diagnostic, status, "rank 0 cannot make the job's id: %s", weft_status_name(status));
}

static weft_status place_find(struct place *place, struct diagnostic *diagnostic)
{
    const uint64_t deadline_at_ns = clock_now_ns() + config_get()->deadline_ns;
    struct diagnostic unusable = {.status = WEFT_OK};
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        if (!sources[i].is_present()) continue;
        memset(place, 0, sizeof *place);
        struct diagnostic why;
        weft_status status = sources[i].identify(place, deadline_at_ns, &why);
        if (status == WEFT_OK) {
            log_info("launcher %s rank %u rank_count %u", sources[i].name, place->rank, place->rank_count);
            return WEFT_OK;
        }
        if (status != WEFT_UNSUPPORTED) return diagnose(diagnostic, status, "%s", why.text);
        /* The first that could not serve is the one whose reason helps most. */
        if (unusable.status == WEFT_OK) unusable = why;
    }
    if (unusable.status != WEFT_OK) return diagnose(diagnostic, unusable.status, "%s", unusable.text);

    memset(place, 0, sizeof *place);
    uint32_t world_size;
    if (variable_is_set("WORLD_SIZE")) {
        weft_status status = variable_number("WORLD_SIZE", INT32_MAX, &world_size, diagnostic);
        if (status != WEFT_OK) return status;
        if (world_size != 1)
            return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                            "WORLD_SIZE is %u but RANK is not set: set RANK to a number of its own, from 0 to %u, for "
                            "every process",
                            world_size, world_size - (world_size > 0));
    }
    return alone_identify(place, diagnostic);
}

weft_status launch_identify(weft_unique_id *id, uint32_t *rank, uint32_t *rank_count, struct diagnostic *diagnostic)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static struct place lasting; /* this and generations are guarded by mutex */
    static uint64_t generations;

    weft_status status = config_status(diagnostic);
    if (status != WEFT_OK) return status;
    pthread_mutex_lock(&mutex);
    struct place place = lasting;
    if (!lasting.lasting) status = place_find(&place, diagnostic);
    if (status == WEFT_OK) {
        if (place.lasting) lasting = place;
        if (!place.fresh) bootstrap_id_derive(&place.id, generations++);
        *id = place.id;
        *rank = place.rank;
        *rank_count = place.rank_count;
    }
    pthread_mutex_unlock(&mutex);
    return status;
}
