/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions: arguments checked, advice asked for, put into words. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collectives/predict/advice.h"

static weft_status request_take(const weft_topology *topology, const weft_topology_request *request,
                                struct advice *advice, struct diagnostic *diagnostic)
{
    weft_topology_request taken = {.size = sizeof taken};
    if (request && (request->size < sizeof request->size || request->size > sizeof taken))
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "the request's size is not that of a weft_topology_request");
    if (request) memcpy(&taken, request, request->size);
    return advice_open(advice, topology, &taken, diagnostic);
}

/* Hand the text over, or say why there is none. */
static weft_status answer(weft_status status, struct text *text, char **result, const struct diagnostic *diagnostic,
                          char *error)
{
    char *taken = status == WEFT_OK ? text_take(text) : NULL;
    if (status == WEFT_OK && !taken) status = WEFT_OUT_OF_MEMORY;
    text_free(text);
    if (status == WEFT_OK) {
        *result = taken;
        return WEFT_OK;
    }
    if (error) {
        const char *said = diagnostic->text[0] ? diagnostic->text : weft_status_text(status);
        snprintf(error, 256, "%s", said);
    }
    return status;
}

static bool arguments_are_sound(const weft_topology *topology, weft_format format, const weft_topology_figures *figures,
                                char **text)
{
    return topology && text && (format == WEFT_TEXT || format == WEFT_JSON) &&
           (!figures || (figures->size >= sizeof figures->size && figures->size <= sizeof *figures));
}

static void figures_give(const weft_topology_figures *made, weft_topology_figures *figures)
{
    if (!figures) return;
    size_t size = figures->size;
    memcpy(figures, made, size);
    figures->size = size;
}

/* To tell candidates from each other needs less than to say what one takes. */
#define COMPARISON_WORK UINT64_C(3000000)

/* Everything before the words: search, and if it is to be explained, prices. */
static weft_status plan_prepare(struct advice *advice, bool price, struct diagnostic *diagnostic)
{
    weft_status status = advice_search(advice, diagnostic);
    advice->work_budget = COMPARISON_WORK;
    if (status == WEFT_OK && price) {
        status = advice_candidates(advice, diagnostic);
        if (status == WEFT_OK) status = advice_predict(advice, diagnostic);
        if (status == WEFT_UNSUPPORTED) status = WEFT_OK; /* each candidate says why it has no price */
    }
    return status;
}

weft_status weft_topology_plan(const weft_topology *topology, const weft_topology_request *request, weft_format format,
                               weft_topology_figures *figures, char **text, char *error)
{
    if (!arguments_are_sound(topology, format, figures, text)) return WEFT_INVALID_ARGUMENT;
    struct advice advice = {0};
    struct diagnostic diagnostic = {0};
    struct text made = {0};
    weft_topology_figures found = {0};
    weft_status status = request_take(topology, request, &advice, &diagnostic);
    if (status == WEFT_OK) status = plan_prepare(&advice, advice.request.explain, &diagnostic);
    if (status == WEFT_OK) {
        if (format == WEFT_JSON)
            advice_plan_json(&advice, &made);
        else
            advice_plan_text(&advice, &made);
        advice_figures(&advice, &found);
    }
    advice_close(&advice);
    status = answer(status, &made, text, &diagnostic, error);
    if (status == WEFT_OK) figures_give(&found, figures);
    return status;
}

/* Search as far as that is of use, make plans, price them. */
static weft_status simulation_prepare(struct advice *advice, struct diagnostic *diagnostic)
{
    struct diagnostic refused = {0};
    weft_status status = advice_search(advice, &refused);
    if (status == WEFT_UNSUPPORTED)
        snprintf(advice->search_refusal, sizeof advice->search_refusal, "%s", refused.text);
    else if (status != WEFT_OK)
        return diagnose(diagnostic, status, "%s", refused.text);
    status = advice_candidates(advice, diagnostic);
    return status == WEFT_OK ? advice_predict(advice, diagnostic) : status;
}

weft_status weft_topology_simulate(const weft_topology *topology, const weft_topology_request *request,
                                   weft_format format, weft_topology_figures *figures, char **text, char *error)
{
    if (!arguments_are_sound(topology, format, figures, text)) return WEFT_INVALID_ARGUMENT;
    struct advice advice = {0};
    struct diagnostic diagnostic = {0};
    struct text made = {0};
    weft_topology_figures found = {0};
    weft_status status = request_take(topology, request, &advice, &diagnostic);
    if (status == WEFT_OK) status = simulation_prepare(&advice, &diagnostic);
    if (status == WEFT_OK) {
        if (format == WEFT_JSON)
            advice_simulation_json(&advice, &made);
        else
            advice_simulation_text(&advice, &made);
        const struct candidate *chosen = &advice.candidates[advice.chosen];
        found = (weft_topology_figures){.rank_count = advice.rank_count,
                                        .algorithm = chosen->algorithm,
                                        .seconds = chosen->prediction.seconds,
                                        .algbw = chosen->prediction.algbw,
                                        .busbw = chosen->prediction.busbw};
    }
    advice_close(&advice);
    status = answer(status, &made, text, &diagnostic, error);
    if (status == WEFT_OK) figures_give(&found, figures);
    return status;
}

/* By ROUTE_LINK: of the better of rings and trees at full rate, or of the chosen simulated plan. */
static double *loads_of(const struct advice *advice, bool simulated, uint32_t count)
{
    double *loads = calloc((size_t)count + 1, sizeof *loads);
    if (!loads) return NULL;
    if (simulated) {
        const struct prediction *prediction = &advice->candidates[advice->chosen].prediction;
        for (uint32_t i = 0; i < prediction->load_count; i++)
            if (prediction->loads[i].link < count) loads[prediction->loads[i].link] = prediction->loads[i].used;
        return loads;
    }
    const struct search_result *search = advice->search;
    weft_topology_figures figures = {0};
    advice_figures(advice, &figures);
    const double *load =
        figures.ring_algbw > figures.tree_algbw || search->forest.rotated ? search->ring_load : search->forest_load;
    for (uint32_t i = 0; i < count && load; i++)
        if (search->hop_capacity[i] > 0) loads[i] = load[i] / search->hop_capacity[i];
    return loads;
}

weft_status weft_topology_draw(const weft_topology *topology, const weft_topology_request *request, char **text,
                               char *error)
{
    if (!topology || !text) return WEFT_INVALID_ARGUMENT;
    struct advice advice = {0};
    struct diagnostic diagnostic = {0};
    struct text made = {0};
    double *loads = NULL;
    uint32_t count = 2 * topology->link_count;
    bool simulated = false;
    weft_status status = WEFT_OK;
    if (request) {
        status = request_take(topology, request, &advice, &diagnostic);
        simulated = status == WEFT_OK && request->size > offsetof(weft_topology_request, bytes) && request->bytes > 0;
        if (status == WEFT_OK)
            status = simulated ? simulation_prepare(&advice, &diagnostic) : plan_prepare(&advice, false, &diagnostic);
        if (status == WEFT_OK && !(loads = loads_of(&advice, simulated, count))) status = WEFT_OUT_OF_MEMORY;
    }
    if (status == WEFT_OK) advice_dot(topology, loads, count, &made);
    free(loads);
    advice_close(&advice);
    return answer(status, &made, text, &diagnostic, error);
}
