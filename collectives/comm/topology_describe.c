/* SPDX-License-Identifier: Apache-2.0 */
/* Where ranks are, and what their plans are made of and why. */
#include <stdio.h>

#include "collectives/comm/comm_internal.h"

static uint32_t count_of(const struct arrangement *arrangement)
{
    return arrangement->layout.ring_count ? arrangement->layout.ring_count : arrangement->layout.tree_count;
}

static void rate_text(struct text *text, const struct book *book, const char *what, double rate)
{
    if (rate > 0) text_add(text, "%s %.4g%s", what, book->in_links ? rate : rate / 1e9, book->in_links ? "" : " GB/s");
}

static void entries_text(const struct book *book, struct text *text)
{
    for (int c = 0; c < WEFT_COLLECTIVE_COUNT; c++)
        for (int a = 0; a < WEFT_ALGORITHM_COUNT; a++) {
            const struct book_entry *entry = &book->entries[c][a];
            if (entry->arrangement == ARRANGEMENT_KIND_COUNT) continue;
            text_add(text, "  %s %s: %s (%u), %u channels", weft_collective_name((weft_collective)c),
                     weft_algorithm_name((weft_algorithm)a),
                     arrangement_name((enum arrangement_kind)entry->arrangement),
                     count_of(&book->arrangements[entry->arrangement]), entry->channels);
            if (entry->algbw > 0) text_add(text, "; links allow %.4g GB/s", entry->algbw / 1e9);
            if (entry->algbw_in_order > 0) text_add(text, ", %.4g in rank order", entry->algbw_in_order / 1e9);
            text_add(text, "\n");
        }
}

static void groups_text(const struct comm_topology *topology, struct text *text)
{
    const struct select_groups *groups = &topology->links.groups;
    if (groups->count)
        text_add(text, "groups: %u of at most %u ranks, in %u level%s\n", groups->count, groups->largest,
                 groups->levels, groups->levels == 1 ? "" : "s");
}

void comm_topology_text(const struct weft_comm *comm, struct text *text)
{
    const struct comm_topology *topology = &comm->topology;
    const struct book *book = topology->book;
    groups_text(topology, text);
    text_add(text, "topology: ");
    if (!topology->graph) {
        text_add(text, "none (%s)\n", topology->in_order_why);
        return;
    }
    text_add(text, "%s, hash %016llx\n", topology->source, (unsigned long long)topology->hash);
    if (!book) {
        text_add(text, "  ranks stay in order: %s\n", topology->in_order_why);
        return;
    }
    text_add(text, "  %u ranks at %u places on %u hosts", book->rank_count, book->place_count, book->host_count);
    if (book->host_count > 1)
        text_add(text, ", whose order crosses %u links between switches (%u as listed)", book->switch_hops,
                 book->switch_hops_as_listed);
    text_add(text, "\n");
    if (book->bound_algbw > 0) {
        double best = book->ring_algbw > book->tree_algbw ? book->ring_algbw : book->tree_algbw;
        rate_text(text, book, "  all_reduce: rings", book->ring_algbw);
        rate_text(text, book, ", trees", book->tree_algbw);
        rate_text(text, book, book->bound_exact ? ", bound" : ", best proven bound", book->bound_algbw);
        text_add(text, "%s, gap %.4g%s\n", book->in_links ? " (in links)" : "", best / book->bound_algbw,
                 book->expired ? " (the search was ended)" : "");
    }
    for (int kind = 0; kind < ARRANGEMENT_KIND_COUNT; kind++)
        if (book->kept[kind] < book->found[kind])
            text_add(text, "  %s: %u of %u, since a communicator has at most %d channels\n",
                     arrangement_name((enum arrangement_kind)kind), book->kept[kind], book->found[kind],
                     TOPOLOGY_CHANNELS_MAX);
    entries_text(book, text);
    if (book->channel_count == 0) text_add(text, "  ranks stay in order: nothing that was found is faster\n");
}

static void entries_json(const struct book *book, struct text *text)
{
    json_array_begin(text, "arranged");
    for (int c = 0; c < WEFT_COLLECTIVE_COUNT; c++)
        for (int a = 0; a < WEFT_ALGORITHM_COUNT; a++) {
            const struct book_entry *entry = &book->entries[c][a];
            if (entry->arrangement == ARRANGEMENT_KIND_COUNT) continue;
            json_object_begin(text, NULL);
            json_string(text, "collective", weft_collective_name((weft_collective)c));
            json_string(text, "algorithm", weft_algorithm_name((weft_algorithm)a));
            json_string(text, "by", arrangement_name((enum arrangement_kind)entry->arrangement));
            json_unsigned(text, "count", count_of(&book->arrangements[entry->arrangement]));
            json_unsigned(text, "channels", entry->channels);
            json_number(text, "algbw_gbps", entry->algbw / 1e9);
            json_number(text, "in_order_algbw_gbps", entry->algbw_in_order / 1e9);
            json_object_end(text);
        }
    json_array_end(text);
}

void comm_topology_json(const struct weft_comm *comm, struct text *text)
{
    static const char *const origins[] = {"none", "file", "discovered", "parent"};
    const struct comm_topology *topology = &comm->topology;
    const struct book *book = topology->book;
    json_object_begin(text, "topology");
    json_string(text, "origin", topology->graph ? origins[topology->origin] : "none");
    if (topology->graph) {
        char hash[24];
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)topology->hash);
        json_string(text, "source", topology->source);
        json_string(text, "hash", hash);
    }
    if (topology->in_order_why[0]) json_string(text, "in_order_why", topology->in_order_why);
    if (book) {
        double unit = book->in_links ? 1 : 1e9, bound = book->bound_algbw;
        double best = book->ring_algbw > book->tree_algbw ? book->ring_algbw : book->tree_algbw;
        json_unsigned(text, "places", book->place_count);
        json_unsigned(text, "hosts", book->host_count);
        json_unsigned(text, "switch_hops", book->switch_hops);
        json_unsigned(text, "switch_hops_as_listed", book->switch_hops_as_listed);
        json_bool(text, "in_links", book->in_links);
        json_number(text, "ring_algbw_gbps", book->ring_algbw / unit);
        json_number(text, "tree_algbw_gbps", book->tree_algbw / unit);
        json_number(text, "bound_algbw_gbps", bound / unit);
        json_bool(text, "bound_exact", book->bound_exact);
        json_number(text, "gap", bound > 0 ? best / bound : 0);
        entries_json(book, text);
    }
    json_object_end(text);
}
