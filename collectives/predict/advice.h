/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What could be run on a topology, how good each is, and what the best possible is: the material that
 * weft_topology_plan(), weft_topology_simulate() and weft_topology_draw() put into words.
 */
#ifndef COLLECTIVES_PREDICT_ADVICE_H
#define COLLECTIVES_PREDICT_ADVICE_H

#include "base/text.h"
#include "collectives/predict/predict.h"
#include "topology/search/search.h"

enum { CANDIDATES_MAX = 12 };

/* One way to run the collective. */
struct candidate {
    const char *name; /* "ring over the found order" */
    weft_algorithm algorithm;
    weft_plan *plan;              /* NULL: there is none, and `refusal` says why */
    double ideal_algbw;           /* latency left aside, as the search found it; 0: not known */
    struct prediction prediction; /* all zeros unless `predicted` */
    bool predicted;
    uint32_t kept, found; /* rings or trees (or: trees of each root) that fit into a plan's channels; 0: all of them */
    char refusal[256];
};

struct advice {
    const weft_topology *topology;
    weft_topology_request request; /* defaults filled in */
    uint32_t *endpoints;
    uint32_t rank_count;
    struct search_result *search; /* NULL: not searched, and `search_refusal` says why */
    char search_refusal[256];
    double *assumed; /* by route link: bandwidths that the search took for links without one */
    struct candidate candidates[CANDIDATES_MAX];
    uint32_t candidate_count;
    uint64_t work_budget;           /* of predict_request, for each candidate */
    uint32_t chosen;                /* the one with the least predicted time; CANDIDATES_MAX: none was predicted */
    uint64_t begun_ns, deadline_ns; /* of the search */
    uint64_t asked_ns;              /* when progress was last asked */
    bool ended;                     /* progress said so */
    const char *activity;
};

/* Fill in defaults, find the ranks. */
weft_status advice_open(struct advice *advice, const weft_topology *topology, const weft_topology_request *request,
                        struct diagnostic *diagnostic);
void advice_close(struct advice *advice);
/* Bounds, rings and trees. */
weft_status advice_search(struct advice *advice, struct diagnostic *diagnostic);
/* Plans: in rank order, and from what the search found. */
weft_status advice_candidates(struct advice *advice, struct diagnostic *diagnostic);
/* Price all of them and choose. WEFT_UNSUPPORTED when none could be priced. */
weft_status advice_predict(struct advice *advice, struct diagnostic *diagnostic);

/* The better of edge-disjoint and fractional rings; NULL: there are none. */
const struct search_rings *advice_rings(const struct advice *advice);
bool advice_collective_bounded(weft_collective collective, enum search_collective *bounded);

void advice_figures(const struct advice *advice, weft_topology_figures *figures);
void advice_candidates_text(const struct advice *advice, struct text *text);
void advice_candidates_json(const struct advice *advice, struct text *text);
void advice_plan_text(const struct advice *advice, struct text *text);
void advice_plan_json(const struct advice *advice, struct text *text);
void advice_simulation_text(const struct advice *advice, struct text *text);
void advice_simulation_json(const struct advice *advice, struct text *text);

/* "gpu node3/0", "host a": what a person calls the rank's place. */
void advice_node_name(const weft_topology *topology, uint32_t node, char name[128]);
/* "leaf0 -> a/mlx5_0 (network)". */
void advice_link_name(const weft_topology *topology, uint32_t route_link, char name[300]);

/* @p loads by ROUTE_LINK, 0 to 1 and more, or NULL; @p load_count of them. */
void advice_dot(const weft_topology *topology, const double *loads, uint32_t load_count, struct text *text);
#endif
