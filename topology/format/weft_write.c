/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A topology as weft's YAML, which reads back equal to it, nodes and links in the same order.
 *
 * Equal hosts become one shape. That keeps the order where each host's nodes stand in a row and the list of links
 * begins with every such host's own links, host after host; links behind that beginning are written out at the end.
 */
#include "topology/format/weft_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *shape_body(struct writing *writing, const struct host_block *block)
{
    struct text text = {0};
    struct view view = {writing, &text, block->first, true};
    if (block->end > block->first + 1) text_add(&text, "    nodes:\n");
    for (uint32_t i = block->first + 1; i < block->end; i++) {
        text_add(&text, "      - ");
        node_write(&view, i, block->first);
        text_add(&text, "}\n");
    }
    if (block->link_end > block->link_first) text_add(&text, "    links:\n");
    for (uint32_t i = block->link_first; i < block->link_end; i++) link_write(&view, i, "      ");
    return text_take(&text);
}

/* The hosts whose nodes stand in a row, each with those links that the beginning of the list has for it. */
static void blocks_find(struct writing *writing)
{
    const weft_topology *topology = writing->topology;
    for (uint32_t i = 0; i < topology->node_count; i++) {
        uint32_t host = topology_host_of(topology, i);
        struct host_block *last = writing->block_count ? &writing->blocks[writing->block_count - 1] : NULL;
        if (host == i) {
            writing->blocks[writing->block_count] = (struct host_block){.first = i, .end = i + 1};
            writing->block_of[i] = writing->block_count++;
        } else if (host != TOPOLOGY_NONE && last && last->first == host && last->end == i) {
            writing->block_of[i] = writing->block_of[host];
            last->end = i + 1;
        } else if (host != TOPOLOGY_NONE) { /* a straggler: its host is written out */
            uint32_t block = writing->block_of[host];
            for (uint32_t j = host; block != TOPOLOGY_NONE && j < writing->blocks[block].end; j++)
                writing->block_of[j] = TOPOLOGY_NONE;
        }
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < writing->block_count; i++) {
        struct host_block *block = &writing->blocks[i];
        block->link_first = at;
        while (at < topology->link_count && writing->block_of[topology->links[at].from] == i &&
               writing->block_of[topology->links[at].to] == i)
            at++;
        block->link_end = at;
    }
}

static void shapes_drop(struct writing *writing)
{
    for (uint32_t i = 0; i < writing->topology->node_count; i++) writing->block_of[i] = TOPOLOGY_NONE;
    for (uint32_t i = 0; i < writing->block_count; i++) {
        free(writing->blocks[i].body);
        writing->blocks[i].body = NULL;
        writing->blocks[i].link_first = writing->blocks[i].link_end = 0;
    }
}

/* Nodes of a shape that are named from outside of it, and may have no name there. */
static bool quiet_node_is_named(const struct writing *writing, const uint32_t *nodes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        enum node_kind kind = writing->topology->nodes[nodes[i]].kind;
        if ((kind == NODE_CORE || kind == NODE_CACHE) && writing->block_of[nodes[i]] != TOPOLOGY_NONE) return true;
    }
    return false;
}

/* Shapes for all hosts in a row, if two of them are equal; bodies that are equal share the number of the first. */
static void shapes_find(struct writing *writing)
{
    struct name_table bodies = {0};
    bool some_equal = false;
    uint32_t shape_count = 0;
    for (uint32_t i = 0; i < writing->block_count; i++) {
        struct host_block *block = &writing->blocks[i];
        if (writing->block_of[block->first] == TOPOLOGY_NONE) continue;
        block->body = shape_body(writing, block);
        uint32_t *value = block->body ? name_table_at(&bodies, (struct span){block->body, strlen(block->body)}) : NULL;
        if (!value) {
            writing->failed = true;
            break;
        }
        some_equal |= *value != TOPOLOGY_NONE;
        if (*value == TOPOLOGY_NONE) *value = block->body[0] ? shape_count++ : 0;
        block->shape = *value;
    }
    const weft_topology *topology = writing->topology;
    for (uint32_t i = 0; i < topology->distances_count && some_equal; i++)
        some_equal = !quiet_node_is_named(writing, topology->distances[i].nodes, topology->distances[i].node_count);
    for (uint32_t i = 0; i < topology->channel_count && some_equal; i++)
        some_equal = !quiet_node_is_named(writing, topology->channels[i].nodes, topology->channels[i].node_count);
    name_table_free(&bodies);
    if (!some_equal) shapes_drop(writing);
}

/* "node017" as a prefix and a number of some width; false if it does not end in one, or is no plain name. */
static bool name_split(const char *name, size_t *prefix, uint64_t *number, size_t *width)
{
    size_t length = strlen(name);
    size_t digits = 0;
    while (digits < length && digits < 9 && name[length - 1 - digits] >= '0' && name[length - 1 - digits] <= '9')
        digits++;
    *prefix = length - digits;
    *width = digits;
    if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != length) return false;
    return digits > 0 && span_unsigned((struct span){name + *prefix, digits}, UINT32_MAX, number);
}

/* How many hosts from block @p first on are one entry: equal but for consecutive numbers in their names. */
static uint32_t run_length(struct writing *writing, uint32_t first)
{
    const struct topology_node *nodes = writing->topology->nodes;
    const struct host_block *blocks = writing->blocks;
    const char *name = nodes[blocks[first].first].name;
    size_t prefix, width;
    uint64_t number;
    uint32_t count = 1;
    if (!name_split(name, &prefix, &number, &width)) return 1;
    struct text attributes = {0};
    node_attributes_write(&attributes, &nodes[blocks[first].first]);
    for (bool alike = !attributes.failed; first + count < writing->block_count; count++) {
        const struct host_block *block = &blocks[first + count];
        char expected[16];
        if (block->first != blocks[first + count - 1].end || !block->body ||
            strcmp(block->body, blocks[first].body) != 0)
            break;
        snprintf(expected, sizeof expected, "%0*" PRIu64, (int)width, number + count);
        const char *next = nodes[block->first].name;
        if (strlen(next) < prefix || memcmp(next, name, prefix) != 0 || strcmp(next + prefix, expected) != 0) break;
        struct text other = {0};
        node_attributes_write(&other, &nodes[block->first]);
        alike = alike && !other.failed && other.length == attributes.length &&
                (other.length == 0 || memcmp(other.bytes, attributes.bytes, other.length) == 0);
        text_free(&other);
        if (!alike) break;
    }
    text_free(&attributes);
    return count;
}

/* One entry for the hosts of some blocks in a row. */
static void hosts_write(struct writing *writing, struct view *view, uint32_t first, uint32_t count)
{
    const struct topology_node *nodes = writing->topology->nodes;
    const struct topology_node *host = &nodes[writing->blocks[first].first];
    if (count == 1) {
        node_write(view, writing->blocks[first].first, TOPOLOGY_NONE);
    } else {
        size_t prefix, width;
        uint64_t number;
        name_split(host->name, &prefix, &number, &width);
        text_add(view->text, "{host: \"%.*s[%s-%0*" PRIu64 "]\"", (int)prefix, host->name, host->name + prefix,
                 (int)width, number + count - 1);
        node_attributes_write(view->text, host);
    }
    if (writing->blocks[first].body[0]) text_add(view->text, ", shape: shape%" PRIu32, writing->blocks[first].shape);
}

static void nodes_write(struct writing *writing)
{
    const weft_topology *topology = writing->topology;
    struct view view = {writing, &writing->text, 0, false};
    uint32_t host = TOPOLOGY_NONE, block = 0;
    if (topology->node_count > 0) text_add(&writing->text, "nodes:\n");
    for (uint32_t i = 0; i < topology->node_count;) {
        while (block < writing->block_count && writing->blocks[block].first < i) block++;
        bool shaped = writing->block_of[i] != TOPOLOGY_NONE;
        text_add(&writing->text, "  - ");
        if (topology->nodes[i].kind == NODE_HOST) host = i;
        if (shaped) {
            uint32_t count = run_length(writing, block);
            hosts_write(writing, &view, block, count);
            host = writing->blocks[block + count - 1].first;
            i = writing->blocks[block + count - 1].end;
        } else {
            node_write(&view, i++, host);
        }
        text_add(&writing->text, "}\n");
    }
}

static void shapes_write(struct writing *writing)
{
    uint32_t written = 0;
    for (uint32_t i = 0; i < writing->block_count; i++) {
        const struct host_block *block = &writing->blocks[i];
        if (!block->body || !block->body[0] || block->shape != written) continue;
        if (written++ == 0) text_add(&writing->text, "shapes:\n");
        text_add(&writing->text, "  shape%" PRIu32 ":\n%s", block->shape, block->body);
    }
}

/* The links that no shape has. */
static void links_write(struct writing *writing)
{
    struct view view = {writing, &writing->text, 0, false};
    uint32_t first = 0;
    for (uint32_t i = 0; i < writing->block_count; i++)
        if (writing->blocks[i].link_end > first) first = writing->blocks[i].link_end;
    if (first < writing->topology->link_count) text_add(&writing->text, "links:\n");
    for (uint32_t i = first; i < writing->topology->link_count; i++) link_write(&view, i, "  ");
}

static void node_list_write(struct writing *writing, const uint32_t *nodes, uint32_t count)
{
    struct view view = {writing, &writing->text, 0, false};
    text_add(&writing->text, ", nodes: [");
    for (uint32_t i = 0; i < count; i++) {
        if (i) text_add(&writing->text, ", ");
        end_write(&view, nodes[i]);
    }
    text_add(&writing->text, "]");
}

static void distances_write(struct writing *writing)
{
    const weft_topology *topology = writing->topology;
    struct text *text = &writing->text;
    if (topology->distances_count > 0) text_add(text, "distances:\n");
    for (uint32_t i = 0; i < topology->distances_count; i++) {
        const struct topology_distances *distances = &topology->distances[i];
        text_add(text, "  - {name: ");
        yaml_string_write(text, distances->name);
        node_list_write(writing, distances->nodes, distances->node_count);
        text_add(text, ", values: [");
        for (size_t j = 0; j < (size_t)distances->node_count * distances->node_count; j++) {
            if (j) text_add(text, ", ");
            text_add_number(text, distances->values[j]);
        }
        text_add(text, "]}\n");
    }
}

static void channels_write(struct writing *writing)
{
    const weft_topology *topology = writing->topology;
    struct text *text = &writing->text;
    if (topology->channel_count > 0) text_add(text, "channels:\n");
    for (uint32_t i = 0; i < topology->channel_count; i++) {
        const struct topology_channel *channel = &topology->channels[i];
        text_add(text, "  - {%s: ", topology_channel_kind_name(channel->kind));
        yaml_string_write(text, channel->name);
        node_list_write(writing, channel->nodes, channel->node_count);
        if (channel->bandwidth.source) figure_write(text, "bandwidth", channel->bandwidth, false);
        if (channel->network_bandwidth.source)
            figure_write(text, "network_bandwidth", channel->network_bandwidth, false);
        text_add(text, "}\n");
    }
}

static void notes_write(struct writing *writing)
{
    const weft_topology *topology = writing->topology;
    if (topology->note_count > 0) text_add(&writing->text, "notes:\n");
    for (uint32_t i = 0; i < topology->note_count && i < TOPOLOGY_NOTES_KEPT; i++) {
        text_add(&writing->text, "  - ");
        yaml_string_write(&writing->text, topology->notes[i]);
        text_add(&writing->text, "\n");
    }
}

static void document_write(struct writing *writing)
{
    const weft_topology *topology = writing->topology;
    blocks_find(writing);
    names_learn(writing);
    shapes_find(writing);
    /* What has no shape after all is named from outside of its host, where more names are in use. */
    name_table_free(&writing->names);
    names_learn(writing);
    for (uint32_t i = 0; i < topology->distances_count; i++)
        for (uint32_t j = 0; j < topology->distances[i].node_count; j++)
            writing->referred[topology->distances[i].nodes[j]] = true;
    for (uint32_t i = 0; i < topology->channel_count; i++)
        for (uint32_t j = 0; j < topology->channels[i].node_count; j++)
            writing->referred[topology->channels[i].nodes[j]] = true;
    text_add(&writing->text, "weft_topology: %d\n", WEFT_YAML_VERSION);
    shapes_write(writing);
    nodes_write(writing);
    links_write(writing);
    distances_write(writing);
    channels_write(writing);
    notes_write(writing);
}

weft_status weft_topology_write(const weft_topology *topology, char **text)
{
    if (!topology || !text) return WEFT_INVALID_ARGUMENT;
    struct writing writing = {.topology = topology};
    size_t count = topology->node_count;
    writing.blocks = calloc(count + 1, sizeof *writing.blocks);
    writing.block_of = malloc((count + 1) * sizeof *writing.block_of);
    writing.referred = calloc(count + 1, sizeof *writing.referred);
    writing.failed = !writing.blocks || !writing.block_of || !writing.referred;
    for (size_t i = 0; i < count && !writing.failed; i++) writing.block_of[i] = TOPOLOGY_NONE;
    if (!writing.failed) document_write(&writing);
    for (uint32_t i = 0; i < writing.block_count; i++) free(writing.blocks[i].body);
    free(writing.referred);
    free(writing.block_of);
    free(writing.blocks);
    name_table_free(&writing.names);
    arena_free(&writing.arena);
    char *result = text_take(&writing.text);
    if (writing.failed) {
        free(result);
        result = NULL;
    }
    if (!result) return WEFT_OUT_OF_MEMORY;
    *text = result;
    return WEFT_OK;
}
