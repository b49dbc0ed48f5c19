/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"
#include "collectives/comm/comm_internal.h"
#include "collectives/plan/shape.h"
#include "collectives/reduce/reduce.h"

/* Prices are per message size, so a plan is shown with those of three sizes that tell latency from bandwidth. */
static const uint64_t sample_bytes[] = {8, 64 << 10, 64 << 20};
#define SAMPLE_COUNT (sizeof sample_bytes / sizeof sample_bytes[0])

static struct select_choice sample_choice(const struct weft_comm *comm, weft_collective collective, uint64_t bytes)
{
    bool canonical = comm->canonical && shape_of(collective)->combines;
    const struct select_request request = {
        .collective = collective,
        .rank_count = comm->identity.rank_count,
        .links = canonical ? NULL : comm_links(comm),
        .bytes = bytes,
        .forced = comm_preferred(comm, collective),
        .channel_units = comm->channel_units,
        .slice_bytes = comm->slice_bytes,
        .exchange_bytes = comm->exchanges ? EXCHANGE_BYTES : 0,
        .copies = comm->copies,
        .canonical = canonical,
        .crowd = comm->crowd,
    };
    struct select_choice choice = {0};
    select_plan(comm->model, &request, &choice);
    return choice;
}

weft_algorithm weft_comm_algorithm(const weft_comm *comm, weft_collective collective, uint64_t bytes)
{
    if (!comm || (unsigned)collective >= WEFT_COLLECTIVE_COUNT) return WEFT_ALGORITHM_AUTO;
    return sample_choice(comm, collective, bytes).algorithm;
}

static void choice_text(struct text *text, const struct select_choice *choice, uint64_t bytes)
{
    text_add(text, "  %10llu bytes: %s", (unsigned long long)bytes, weft_algorithm_name(choice->algorithm));
    for (int i = WEFT_ALGORITHM_AUTO + 1; i < WEFT_ALGORITHM_COUNT; i++)
        if (choice->predicted_ns[i] > 0)
            text_add(text, "%s %s %.3g us", i == WEFT_ALGORITHM_AUTO + 1 ? " predicted" : ",",
                     weft_algorithm_name((weft_algorithm)i), choice->predicted_ns[i] / 1000);
    text_add(text, "\n");
}

static void describe_text(struct weft_comm *comm, struct text *text)
{
    char address[64];
    control_address_text(comm->control, address);
    text_add(text, "rank %u of %u over %s, %s kernels\n", comm->identity.rank, comm->identity.rank_count,
             comm->endpoint->ops->name, reduce_simd_name());
    text_add(text, "listening at %s\n", address);
    text_add(text, "waiting: %s, deadline %.3g s, %s\n",
             comm->spin_ns ? "spin, yield, sleep" : "yield, sleep (ranks share cores)", (double)comm->deadline_ns / 1e9,
             comm->progress.running ? "progress thread" : "progress in the caller");
    text_add(text, "slots: %u of %u bytes per connection, channel and direction\n", comm->slot_depth, comm->slot_bytes);
    text_add(text, "cost model: %s\n", comm->model->source);
    text_add(text, "reductions: %s\n",
             comm->canonical ? "canonical, by the one tree over the ranks"
                             : "in the order of their plans; canonical where a call asks");
    comm_topology_text(comm, text);
    for (int i = 0; i < WEFT_COLLECTIVE_COUNT; i++) {
        if (i == WEFT_BARRIER) continue; /* moves nothing */
        text_add(text, "%s would use\n", weft_collective_name((weft_collective)i));
        for (size_t s = 0; s < SAMPLE_COUNT; s++) {
            struct select_choice choice = sample_choice(comm, (weft_collective)i, sample_bytes[s]);
            choice_text(text, &choice, sample_bytes[s]);
        }
    }
    for (const struct plan_entry *entry = comm->plans; entry; entry = entry->next)
        text_add(text, "plan in use: %s%s %s%s%s root %u channels %u hash %016llx\n",
                 entry->plan->canonical ? "canonical " : "", weft_collective_name(entry->collective),
                 weft_algorithm_name(entry->key.algorithm), entry->near_plan ? ", near by steps of " : "",
                 entry->near_plan ? weft_algorithm_name(entry->key.near) : "", entry->key.root,
                 entry->plan->channel_count, (unsigned long long)weft_plan_hash(entry->plan));
}

static void choice_json(struct text *text, const struct select_choice *choice, weft_collective collective,
                        uint64_t bytes)
{
    json_object_begin(text, NULL);
    json_string(text, "collective", weft_collective_name(collective));
    json_unsigned(text, "bytes", bytes);
    json_string(text, "algorithm", weft_algorithm_name(choice->algorithm));
    json_object_begin(text, "predicted_us");
    for (int i = WEFT_ALGORITHM_AUTO + 1; i < WEFT_ALGORITHM_COUNT; i++)
        if (choice->predicted_ns[i] > 0)
            json_number(text, weft_algorithm_name((weft_algorithm)i), choice->predicted_ns[i] / 1000);
    json_object_end(text);
    json_object_end(text);
}

static void describe_json(struct weft_comm *comm, struct text *text)
{
    char address[64];
    control_address_text(comm->control, address);
    json_object_begin(text, NULL);
    json_unsigned(text, "rank", comm->identity.rank);
    json_unsigned(text, "ranks", comm->identity.rank_count);
    json_string(text, "transport", comm->endpoint->ops->name);
    json_string(text, "address", address);
    json_string(text, "kernels", reduce_simd_name());
    json_bool(text, "progress_thread", comm->progress.running);
    json_unsigned(text, "slot_depth", comm->slot_depth);
    json_unsigned(text, "slot_bytes", comm->slot_bytes);
    json_string(text, "cost_model", comm->model->source);
    json_bool(text, "canonical", comm->canonical);
    comm_topology_json(comm, text);
    json_array_begin(text, "choices");
    for (int i = 0; i < WEFT_COLLECTIVE_COUNT; i++)
        for (size_t s = 0; s < SAMPLE_COUNT && i != WEFT_BARRIER; s++) {
            struct select_choice choice = sample_choice(comm, (weft_collective)i, sample_bytes[s]);
            choice_json(text, &choice, (weft_collective)i, sample_bytes[s]);
        }
    json_array_end(text);
    json_array_begin(text, "plans");
    for (const struct plan_entry *entry = comm->plans; entry; entry = entry->next) {
        json_object_begin(text, NULL);
        json_string(text, "collective", weft_collective_name(entry->collective));
        json_string(text, "algorithm", weft_algorithm_name(entry->key.algorithm));
        if (entry->near_plan) json_string(text, "near", weft_algorithm_name(entry->key.near));
        json_bool(text, "canonical", entry->plan->canonical);
        json_unsigned(text, "root", entry->key.root);
        json_unsigned(text, "channels", entry->plan->channel_count);
        json_unsigned(text, "hash", weft_plan_hash(entry->plan));
        json_object_end(text);
    }
    json_array_end(text);
    json_object_end(text);
}

weft_status weft_comm_describe(const weft_comm *comm, weft_format format, char **text)
{
    if (!comm || !text || (format != WEFT_TEXT && format != WEFT_JSON)) return WEFT_INVALID_ARGUMENT;
    struct weft_comm *described = (struct weft_comm *)(uintptr_t)comm; /* only the lock is written */
    struct text made = {0};
    pthread_mutex_lock(&described->plans_lock);
    if (format == WEFT_JSON)
        describe_json(described, &made);
    else
        describe_text(described, &made);
    pthread_mutex_unlock(&described->plans_lock);
    char *result = text_take(&made);
    if (!result) return WEFT_OUT_OF_MEMORY;
    *text = result;
    return WEFT_OK;
}
