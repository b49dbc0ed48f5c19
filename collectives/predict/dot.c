/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A topology in the language of graphviz's dot: hosts are boxes around what is in them; cores and caches are left out,
 * and so is the inside of hosts where there is too much of it to see anything. A link that has a load is as warm as its
 * busier direction.
 */
#include <stdio.h>
#include <stdlib.h>

#include "collectives/predict/advice.h"
#include "topology/simulate/route.h"

/* More drawn nodes than this, and a host becomes one node. */
enum { NODES_MAX = 1500 };

struct picture {
    const weft_topology *topology;
    struct text *text;
    const double *loads;
    uint32_t load_count;
    uint32_t *drawn; /* by node: the node that stands for it; TOPOLOGY_NONE: not in the picture */
    bool folded;     /* hosts are single nodes */
};

static bool kind_is_drawn(const weft_topology *topology, uint32_t node)
{
    uint32_t links;
    enum node_kind kind = topology->nodes[node].kind;
    if (kind == NODE_CORE || kind == NODE_CACHE) return false;
    topology_links_of(topology, node, &links);
    return links > 0 || kind == NODE_GPU || kind == NODE_NIC || kind == NODE_SWITCH;
}

static void picture_choose(struct picture *picture)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < picture->topology->node_count; i++) count += kind_is_drawn(picture->topology, i);
    picture->folded = count > NODES_MAX;
    for (uint32_t i = 0; i < picture->topology->node_count; i++) {
        uint32_t host = topology_host_of(picture->topology, i);
        picture->drawn[i] = kind_is_drawn(picture->topology, i) ? i : TOPOLOGY_NONE;
        if (picture->folded && host != TOPOLOGY_NONE) picture->drawn[i] = host;
    }
}

/* What a file calls things may hold anything; in dot's strings quotes and backslashes have a meaning. */
static void quoted_add(struct text *text, const char *string)
{
    text_add(text, "\"");
    for (; *string; string++) {
        if (*string == '"' || *string == '\\') text_add(text, "\\");
        if ((unsigned char)*string >= ' ') text_add(text, "%c", *string);
    }
    text_add(text, "\"");
}

static void node_draw(const struct picture *picture, uint32_t node, const char *indent)
{
    static const char *const looks[NODE_KIND_COUNT] = {
        [NODE_GPU] = "shape=box, style=filled, fillcolor=\"#cfe8cf\"",
        [NODE_NIC] = "shape=box, style=filled, fillcolor=\"#cfdcf2\"",
        [NODE_SWITCH] = "shape=hexagon, style=filled, fillcolor=\"#e6e0f2\"",
        [NODE_NVSWITCH] = "shape=hexagon, style=filled, fillcolor=\"#dff0df\"",
    };
    const struct topology_node *at = &picture->topology->nodes[node];
    text_add(picture->text, "%sn%u [%s, label=", indent, node, looks[at->kind] ? looks[at->kind] : "shape=ellipse");
    char label[160];
    snprintf(label, sizeof label, "%s %.120s", topology_node_kind_name(at->kind), at->name);
    quoted_add(picture->text, label);
    text_add(picture->text, "];\n");
}

static void nodes_draw(const struct picture *picture)
{
    const weft_topology *topology = picture->topology;
    for (uint32_t root = topology->first_root; root != TOPOLOGY_NONE; root = topology->nodes[root].next_sibling) {
        if (topology->nodes[root].kind != NODE_HOST || picture->folded) {
            if (picture->drawn[root] != TOPOLOGY_NONE) node_draw(picture, root, "  ");
            continue;
        }
        text_add(picture->text, "  subgraph cluster_%u {\n    label=", root);
        quoted_add(picture->text, topology->nodes[root].name);
        text_add(picture->text, ";\n");
        /* Parents come before their children, but hosts' nodes need not stand in a row. */
        for (uint32_t i = root; i < topology->node_count; i++)
            if (picture->drawn[i] == i && topology_host_of(topology, i) == root) node_draw(picture, i, "    ");
        text_add(picture->text, "  }\n");
    }
}

static double load_of(const struct picture *picture, uint32_t route_link)
{
    return picture->loads && route_link < picture->load_count ? picture->loads[route_link] : 0;
}

/* Grey without load, else from green over yellow to red: the legend in advice_dot() says so. */
static void link_draw(const struct picture *picture, uint32_t index)
{
    const struct topology_link *link = &picture->topology->links[index];
    uint32_t from = picture->drawn[link->from], to = picture->drawn[link->to];
    if (from == TOPOLOGY_NONE || to == TOPOLOGY_NONE || from == to) return;
    double there = load_of(picture, ROUTE_LINK(index, false)), back = load_of(picture, ROUTE_LINK(index, true));
    double load = there > back ? there : back;
    text_add(picture->text, "  n%u -- n%u [", from, to);
    if (picture->loads && load > 0) {
        double warm = load < 1 ? load : 1;
        text_add(picture->text, "color=\"%.3f 1.0 0.9\", penwidth=%.2f, ", 0.33 * (1 - warm), 1 + 3 * warm);
    } else {
        text_add(picture->text, "color=\"#b0b0b0\", ");
    }
    text_add(picture->text, "tooltip=\"%s", topology_link_kind_name(link->kind));
    if (link->bandwidth.source != FIGURE_UNKNOWN) text_add(picture->text, ", %.4g GB/s", link->bandwidth.value / 1e9);
    if (picture->loads) text_add(picture->text, ", load %.1f %% and %.1f %%", there * 100, back * 100);
    text_add(picture->text, "\"];\n");
}

void advice_dot(const weft_topology *topology, const double *loads, uint32_t load_count, struct text *text)
{
    struct picture picture = {.topology = topology,
                              .text = text,
                              .loads = loads,
                              .load_count = load_count,
                              .drawn = calloc((size_t)topology->node_count + 1, sizeof *picture.drawn)};
    if (!picture.drawn) {
        text->failed = true;
        return;
    }
    picture_choose(&picture);
    text_add(text, "graph topology {\n  layout=\"%s\";\n  node [fontsize=10];\n  overlap=false;\n",
             picture.folded ? "sfdp" : "dot");
    if (loads)
        text_add(
            text,
            "  fontsize=10;\n  label=\"links by load: grey none, green little, yellow half, red full (of the busier "
            "direction)\";\n");
    nodes_draw(&picture);
    for (uint32_t i = 0; i < topology->link_count; i++) link_draw(&picture, i);
    text_add(text, "}\n");
    free(picture.drawn);
}
