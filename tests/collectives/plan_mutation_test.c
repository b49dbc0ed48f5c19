/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Good plans with one thing changed, many times over. The verifier has to refuse what became wrong, and only that: some
 * changes leave a plan right (a barrier's signal sent a little earlier), and the oracle knows which. It is asked for
 * one slice and for three, which also tests that one slice is enough.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "collectives/plan/shape.h"
#include "tests/collectives/plan_oracle.h"

enum { SEEDS = 400 };

static uint32_t below(struct random *random, uint32_t bound)
{
    return (uint32_t)random_below(random, bound);
}

/* Where a change is made, drawn at random. */
struct place {
    struct edit_program *program;
    struct edit_track *track;
    struct edit_step *step;
    uint32_t rank, track_index, step_index;
};

static struct place draw_place(struct edit_plan *plan, struct random *random)
{
    struct place place = {.rank = below(random, plan->header.rank_count)};
    place.program = &plan->programs[place.rank];
    place.track_index = below(random, place.program->track_count);
    place.track = &place.program->tracks[place.track_index];
    place.step_index = below(random, place.track->step_count);
    place.step = &place.track->steps[place.step_index];
    return place;
}

/* Each returns false, with nothing changed, when the plan offers no such change at the place that was drawn. */
typedef bool mutation(struct edit_plan *plan, struct place *place, struct random *random);

static bool drop_step(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)plan, (void)random;
    edit_remove_step(place->track, place->step_index);
    return true;
}

static bool double_step(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)plan, (void)random;
    edit_insert_step(place->track, place->step_index, place->step);
    return true;
}

static bool swap_steps(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)plan;
    uint32_t other = below(random, place->track->step_count);
    if (other == place->step_index) return false;
    struct edit_step kept = *place->step;
    *place->step = place->track->steps[other];
    place->track->steps[other] = kept;
    return true;
}

static struct plan_operand *draw_slot(struct edit_step *step, struct random *random)
{
    uint32_t count = step->source_count + step->destination_count;
    if (count == 0) return NULL;
    uint32_t at = below(random, count);
    struct plan_operand *operand =
        at < step->source_count ? &step->sources[at] : &step->destinations[at - step->source_count];
    return operand->space == SPACE_SLOT ? operand : NULL;
}

static bool change_peer(struct edit_plan *plan, struct place *place, struct random *random)
{
    struct plan_operand *slot = draw_slot(place->step, random);
    uint32_t peer = below(random, plan->header.rank_count);
    if (!slot || peer == slot->rank || peer == place->rank) return false;
    slot->rank = peer;
    return true;
}

static bool change_chunk(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)plan;
    uint32_t chunk = below(random, place->track->fields.chunk_count);
    if (chunk == place->step->fields.chunk) return false;
    place->step->fields.chunk = chunk;
    return true;
}

static bool change_stride(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)plan;
    int32_t stride = (int32_t)below(random, 13) - 6;
    if (stride == place->step->fields.stride || place->step->fields.repeat == 1) return false;
    place->step->fields.stride = stride;
    return true;
}

static bool change_repeat(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)plan;
    uint32_t repeat = 1 + below(random, 6);
    if (repeat == place->step->fields.repeat) return false;
    place->step->fields.repeat = repeat;
    return true;
}

static bool flip_final(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)plan, (void)random;
    place->step->fields.flags ^= STEP_FINAL;
    return true;
}

static bool drop_source(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)plan;
    if (place->step->source_count == 0) return false;
    edit_remove_operand(place->step->sources, &place->step->source_count, below(random, place->step->source_count));
    return true;
}

static bool drop_destination(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)plan;
    if (place->step->destination_count == 0) return false;
    edit_remove_operand(place->step->destinations, &place->step->destination_count,
                        below(random, place->step->destination_count));
    return true;
}

static bool step_has_slot(const struct edit_step *step)
{
    bool slot = false;
    for (uint32_t i = 0; i < step->source_count; i++) slot |= step->sources[i].space == SPACE_SLOT;
    for (uint32_t i = 0; i < step->destination_count; i++) slot |= step->destinations[i].space == SPACE_SLOT;
    return slot;
}

static bool change_channel(struct edit_plan *plan, struct place *place, struct random *random)
{
    uint32_t channel = below(random, plan->header.channel_count);
    bool slots = false; /* a track without any is on no channel in truth */
    for (uint32_t s = 0; s < place->track->step_count; s++) slots |= step_has_slot(&place->track->steps[s]);
    if (channel == place->track->fields.channel || !slots) return false;
    place->track->fields.channel = (uint16_t)channel;
    return true;
}

static bool change_window(struct edit_plan *plan, struct place *place, struct random *random)
{
    struct plan_track *track = &place->track->fields;
    switch (below(random, 3)) {
    case 0:
        track->chunk_count++;
        return true;
    case 1:
        track->window_end--;
        return true;
    default: {
        /* Another track's window: the message is covered still, but not by the same ranks' tracks. */
        const struct plan_track *other = &place->program->tracks[below(random, place->program->track_count)].fields;
        if (other->window_begin == track->window_begin || plan->header.rank_count == 1) return false;
        track->window_begin = other->window_begin;
        track->window_end = other->window_end;
        return true;
    }
    }
}

static bool read_output_for_input(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)plan, (void)random;
    for (uint32_t i = 0; i < place->step->source_count; i++) {
        if (place->step->sources[i].space != SPACE_INPUT) continue;
        place->step->sources[i].space = SPACE_OUTPUT;
        return true;
    }
    return false;
}

static bool read_input_for_slot(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)random;
    if (plan->header.collective == WEFT_BARRIER) return false;
    for (uint32_t i = 0; i < place->step->source_count; i++) {
        if (place->step->sources[i].space != SPACE_SLOT) continue;
        place->step->sources[i] = (struct plan_operand){.space = SPACE_INPUT, .rank = place->rank};
        return true;
    }
    return false;
}

static bool add_after(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)plan;
    uint32_t other = below(random, place->program->track_count);
    const struct plan_track *window = &place->program->tracks[other].fields;
    if (other == place->track_index || window->window_begin != place->track->fields.window_begin) return false;
    place->step->fields.after_track = other;
    place->step->fields.after_step = below(random, place->program->tracks[other].step_count);
    return true;
}

static bool lower_slots(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)place, (void)random;
    plan->header.slot_depth = 1;
    return true;
}

static bool swap_sources(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)plan, (void)random;
    if (place->step->source_count < 2) return false;
    struct plan_operand kept = place->step->sources[0];
    place->step->sources[0] = place->step->sources[1];
    place->step->sources[1] = kept;
    return true;
}

/* Two tracks of one channel and window one after another, in either order. */
static bool join_tracks(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)plan;
    uint32_t other = below(random, place->program->track_count);
    struct edit_track *to = &place->program->tracks[other];
    if (other == place->track_index || to->fields.channel != place->track->fields.channel) return false;
    for (uint32_t s = 0; s < place->track->step_count; s++)
        edit_insert_step(to, to->step_count, &place->track->steps[s]);
    place->program->track_count--;
    *place->track = place->program->tracks[place->program->track_count];
    return true;
}

/* A step that writes its output and sends becomes two, in two tracks; the second reads the output. */
static bool send_from_output(struct edit_plan *plan, struct place *place, bool wait)
{
    (void)plan;
    struct edit_step rest = {.fields = place->step->fields, .source_count = 1};
    uint32_t written = 0;
    for (uint32_t i = 0; i < place->step->destination_count; i++)
        if (place->step->destinations[i].space == SPACE_OUTPUT)
            written++;
        else
            rest.destinations[rest.destination_count++] = place->step->destinations[i];
    if (written == 0 || rest.destination_count == 0 || place->program->track_count == EDIT_TRACKS) return false;

    place->step->destinations[0] = (struct plan_operand){.space = SPACE_OUTPUT, .rank = place->rank};
    place->step->destination_count = 1;
    rest.sources[0] = (struct plan_operand){.space = SPACE_OUTPUT, .rank = place->rank};
    rest.fields.flags = 0;
    rest.fields.after_track = wait ? place->track_index : PLAN_NONE;
    rest.fields.after_step = wait ? place->step_index : PLAN_NONE;
    struct edit_track *track = &place->program->tracks[place->program->track_count++];
    *track = (struct edit_track){.fields = place->track->fields, .step_count = 1};
    track->steps[0] = rest;
    return true;
}

static bool send_from_output_in_time(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)random;
    return send_from_output(plan, place, true);
}

static bool send_from_output_at_any_time(struct edit_plan *plan, struct place *place, struct random *random)
{
    (void)random;
    return send_from_output(plan, place, false);
}

/* A further reader of the input that takes nothing and sends nothing, in a track of its own. */
static bool read_input_again(struct edit_plan *plan, struct place *place, struct random *random)
{
    if (plan->header.collective != WEFT_ALL_REDUCE || place->program->track_count == EDIT_TRACKS) return false;
    struct edit_track *track = &place->program->tracks[place->program->track_count++];
    *track = (struct edit_track){.fields = place->track->fields, .step_count = 1};
    track->steps[0] = (struct edit_step){.fields = {.repeat = 1, .after_track = PLAN_NONE, .after_step = PLAN_NONE},
                                         .source_count = 1};
    track->steps[0].fields.chunk = below(random, track->fields.chunk_count);
    track->steps[0].sources[0] = (struct plan_operand){.space = SPACE_INPUT, .rank = place->rank};
    if (below(random, 2) == 0) return true;
    place->step->fields.after_track = place->program->track_count - 1;
    place->step->fields.after_step = 0;
    return true;
}

enum expected { ALWAYS_WRONG, ALWAYS_RIGHT, EITHER };

static const struct kind {
    const char *name;
    mutation *mutate;
    enum expected expected;
} kinds[] = {
    {"a step dropped", drop_step, ALWAYS_WRONG},
    {"a step doubled", double_step, ALWAYS_WRONG},
    {"two steps swapped", swap_steps, EITHER},
    {"another peer", change_peer, ALWAYS_WRONG},
    {"another chunk", change_chunk, ALWAYS_WRONG},
    {"another stride", change_stride, EITHER},
    {"another repeat", change_repeat, ALWAYS_WRONG},
    {"the final flag changed", flip_final, ALWAYS_WRONG},
    {"a source dropped", drop_source, ALWAYS_WRONG},
    {"a destination dropped", drop_destination, ALWAYS_WRONG},
    {"another channel", change_channel, ALWAYS_WRONG},
    {"another window", change_window, ALWAYS_WRONG},
    {"output read for input", read_output_for_input, ALWAYS_WRONG},
    {"input read for a slot", read_input_for_slot, ALWAYS_WRONG},
    {"an after edge added", add_after, EITHER},
    {"slots used again too early", lower_slots, EITHER},
    {"sources in another order", swap_sources, ALWAYS_RIGHT},
    {"two tracks joined", join_tracks, EITHER},
    {"the output sent on, waiting", send_from_output_in_time, EITHER},
    {"the output sent on, not waiting", send_from_output_at_any_time, ALWAYS_WRONG},
    {"the input read again", read_input_again, EITHER},
};

static struct weft_plan *draw_plan(struct random *random)
{
    weft_collective collective;
    weft_algorithm algorithm;
    do {
        collective = (weft_collective)below(random, WEFT_COLLECTIVE_COUNT);
        algorithm = (weft_algorithm)(1 + below(random, WEFT_ALGORITHM_COUNT - 1));
    } while (!plan_generator_find(collective, algorithm) ||
             !plan_generator_serves(plan_generator_find(collective, algorithm), 2, false));
    /* A message between two ranks leaves the others without a track to change. */
    uint32_t rank_count = collective == WEFT_SEND_RECV ? 2 : 2 + below(random, 4);
    uint32_t root = shape_of(collective)->rooted ? below(random, rank_count) : 0;
    const weft_plan_spec spec = {
        .size = sizeof spec,
        .collective = collective,
        .algorithm = algorithm,
        .rank_count = rank_count,
        .root = root,
        .peer = collective == WEFT_SEND_RECV ? 1 - root : 0,
        .channel_count = 1 + below(random, 2),
        .slot_depth = 2 + below(random, 3),
    };
    weft_plan *plan = NULL;
    assert_int_equal(weft_plan_create(&spec, &plan), WEFT_OK);
    return plan;
}

/* Are the programs well formed? The oracle takes that for granted. */
static bool well_formed(const struct weft_plan *plan)
{
    bool well = true;
    for (uint32_t rank = 0; rank < plan->rank_count; rank++)
        well &= plan_check_program(plan, rank, &plan->programs[rank], NULL) == WEFT_OK;
    return well;
}

struct tally {
    uint32_t right, wrong;
};

/* The verifier and the oracle say the same about @p edit. */
static void judge(const struct edit_plan *edit, const char *what, uint64_t seed, struct tally *tally)
{
    struct weft_plan *plan = edit_put_together(edit);
    weft_plan_report report = {.size = sizeof report};
    weft_status status = weft_plan_verify(plan, &report);
    const char *reason = "malformed", *reason_3 = "malformed";
    bool well = well_formed(plan);
    bool right = well && oracle_accepts(edit, 1, &reason), right_3 = well && oracle_accepts(edit, 3, &reason_3);
    if (right != right_3)
        fail_msg("%s, seed %llu: one slice: %s, three: %s", what, (unsigned long long)seed, reason, reason_3);
    if (status != (right ? WEFT_OK : WEFT_INVALID_PLAN)) {
        char *text = NULL;
        if (well) weft_plan_print(plan, WEFT_ALL_RANKS, WEFT_TEXT, &text);
        fail_msg("%s, seed %llu: the verifier says %s (%s), the oracle says: %s\n%s", what, (unsigned long long)seed,
                 weft_status_name(status), report.message, reason, text ? text : "");
    }
    if (!right && strncmp(report.message, "rank ", 5) != 0)
        fail_msg("%s, seed %llu: the sentence names no rank: %s", what, (unsigned long long)seed, report.message);
    if (right) assert_string_equal(report.message, "");
    tally->right += right;
    tally->wrong += !right;
    weft_plan_destroy(plan);
}

static bool mutate_somewhere(const struct kind *kind, struct edit_plan *edit, struct random *random)
{
    for (int attempt = 0; attempt < 40; attempt++) {
        struct place place = draw_place(edit, random);
        if (kind->mutate(edit, &place, random)) return true;
    }
    return false;
}

static void every_single_mutation_is_judged_rightly(void **state)
{
    (void)state;
    struct edit_plan *edit = malloc(sizeof *edit);
    assert_non_null(edit);
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        struct tally tally = {0};
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct random random;
            random_seed(&random, seed * 1000 + k);
            bool changed = false;
            while (!changed) {
                struct weft_plan *plan = draw_plan(&random);
                edit_take_apart(plan, edit);
                weft_plan_destroy(plan);
                changed = mutate_somewhere(&kinds[k], edit, &random);
            }
            judge(edit, kinds[k].name, seed, &tally);
        }
        print_message("%-32s %3u refused, %3u still right\n", kinds[k].name, tally.wrong, tally.right);
        if (kinds[k].expected == ALWAYS_WRONG) assert_int_equal(tally.right, 0);
        if (kinds[k].expected == ALWAYS_RIGHT) assert_int_equal(tally.wrong, 0);
        if (kinds[k].expected == EITHER) assert_true(tally.right > 0 && tally.wrong > 0);
    }
    free(edit);
}

static void several_mutations_are_judged_rightly(void **state)
{
    (void)state;
    struct edit_plan *edit = malloc(sizeof *edit);
    assert_non_null(edit);
    struct tally tally = {0};
    for (uint64_t seed = 0; seed < 8 * SEEDS; seed++) {
        struct random random;
        random_seed(&random, UINT64_C(0x5eed000000) + seed);
        struct weft_plan *plan = draw_plan(&random);
        edit_take_apart(plan, edit);
        weft_plan_destroy(plan);
        uint32_t count = 2 + below(&random, 2);
        const char *last = "none";
        for (uint32_t i = 0; i < count; i++) {
            const struct kind *kind = &kinds[below(&random, sizeof kinds / sizeof kinds[0])];
            bool empty = false; /* draw_place() needs something in every track */
            for (uint32_t rank = 0; rank < edit->header.rank_count; rank++)
                for (uint32_t t = 0; t < edit->programs[rank].track_count; t++)
                    empty |= edit->programs[rank].tracks[t].step_count == 0;
            if (!empty && mutate_somewhere(kind, edit, &random)) last = kind->name;
        }
        judge(edit, last, seed, &tally);
    }
    print_message("%u refused, %u still right\n", tally.wrong, tally.right);
    assert_true(tally.right > 0 && tally.wrong > 0);
    free(edit);
}

static void an_unchanged_plan_survives_being_taken_apart(void **state)
{
    (void)state;
    struct edit_plan *edit = malloc(sizeof *edit);
    assert_non_null(edit);
    struct tally tally = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct random random;
        random_seed(&random, seed);
        struct weft_plan *plan = draw_plan(&random);
        edit_take_apart(plan, edit);
        struct weft_plan *same = edit_put_together(edit);
        assert_true(weft_plan_hash(plan) == weft_plan_hash(same));
        judge(edit, "nothing changed", seed, &tally);
        weft_plan_destroy(same);
        weft_plan_destroy(plan);
    }
    assert_int_equal(tally.wrong, 0);
    free(edit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unchanged_plan_survives_being_taken_apart),
        cmocka_unit_test(every_single_mutation_is_judged_rightly),
        cmocka_unit_test(several_mutations_are_judged_rightly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
