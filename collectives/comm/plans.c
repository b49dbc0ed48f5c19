/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/log.h"
#include "collectives/comm/comm_internal.h"

static weft_status plan_make(const struct weft_comm *comm, weft_collective collective, const struct plan_key *key,
                             weft_plan **plan)
{
    const weft_plan_spec spec = {
        .size = sizeof spec,
        .collective = collective,
        .algorithm = key->algorithm,
        .rank_count = comm->identity.rank_count,
        .root = key->root,
        .peer = key->peer,
        .channel_count = key->channel_units,
        .slot_depth = comm->slot_depth,
        .canonical = key->canonical,
        .layout = key->canonical ? NULL : comm_layout(comm, collective, key->algorithm),
    };
    weft_plan *made;
    weft_status status = weft_plan_create(&spec, &made);
    if (status != WEFT_OK) return status;
    if (comm->verify) {
        weft_plan_report report = {.size = sizeof report};
        status = weft_plan_verify(made, &report);
        if (status != WEFT_OK) {
            log_error("plan %s %s refused: %s", weft_collective_name(spec.collective),
                      weft_algorithm_name(spec.algorithm), report.message);
            weft_plan_destroy(made);
            return status;
        }
    }
    *plan = made;
    return WEFT_OK;
}

static void entry_free(struct plan_entry *entry)
{
    binding_destroy(entry->binding);
    weft_plan_destroy(entry->near_plan);
    weft_plan_destroy(entry->plan);
    free(entry);
}

static weft_status entry_add_near(struct weft_comm *comm, struct plan_entry *entry)
{
    struct plan_key key = entry->key;
    key.algorithm = entry->key.near;
    weft_status status = plan_make(comm, entry->collective, &key, &entry->near_plan);
    return status == WEFT_OK ? binding_follow(entry->binding, entry->near_plan) : status;
}

static weft_status entry_make(struct weft_comm *comm, weft_collective collective, const struct plan_key *key,
                              struct plan_entry **entry)
{
    struct plan_entry *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    made->collective = collective;
    made->key = *key;
    weft_status status = plan_make(comm, collective, key, &made->plan);
    uint32_t first_channel = made->collective == WEFT_SEND_RECV ? comm->pair_channel : 0;
    if (status == WEFT_OK) status = binding_create(comm->engine, made->plan, first_channel, &made->binding);
    if (status == WEFT_OK && key->near != WEFT_ALGORITHM_AUTO) status = entry_add_near(comm, made);
    if (status != WEFT_OK) {
        entry_free(made);
        return status;
    }
    *entry = made;
    return WEFT_OK;
}

static bool entry_serves(const struct plan_entry *entry, weft_collective collective, const struct plan_key *key)
{
    return entry->collective == collective && entry->key.algorithm == key->algorithm && entry->key.root == key->root &&
           entry->key.peer == key->peer && entry->key.channel_units == key->channel_units &&
           entry->key.canonical == key->canonical && entry->key.near == key->near;
}

weft_status comm_plan(struct weft_comm *comm, weft_collective collective, const struct plan_key *key,
                      struct binding **binding)
{
    struct plan_entry *entry = comm->plans;
    while (entry && !entry_serves(entry, collective, key)) entry = entry->next;
    if (!entry) {
        weft_status status = entry_make(comm, collective, key, &entry);
        if (status != WEFT_OK) return status;
        pthread_mutex_lock(&comm->plans_lock);
        entry->next = comm->plans;
        comm->plans = entry;
        pthread_mutex_unlock(&comm->plans_lock);
    }
    *binding = entry->binding;
    return WEFT_OK;
}

void comm_plans_free(struct weft_comm *comm)
{
    while (comm->plans) {
        struct plan_entry *entry = comm->plans;
        comm->plans = entry->next;
        entry_free(entry);
    }
}
