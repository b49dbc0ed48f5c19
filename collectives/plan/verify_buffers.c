/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order within a rank's own buffers. Input and output may be one buffer, so a chunk of the input has to be read before
 * the same chunk of the output is written. "Before" must hold in every run: this one's order proves it inside a track
 * only; between tracks it is proved by the value that is written, or by verify_precedes().
 */
#include <inttypes.h>
#include <stdlib.h>

#include "collectives/plan/verify_internal.h"

static uint32_t chunk_block(const struct verify *verify, const struct verify_track *track, uint32_t chunk)
{
    return plan_window_block(verify->plan, &verify->windows[track->window], chunk);
}

/*
 * Where a chunk lies at its rank. In place, chunks of input and output that lie in one place are the same: each chunk
 * of the input and that of the output, but for pairs, where what goes to a rank and what comes from it are.
 */
static struct verify_cell *cell_at(struct verify *verify, const struct verify_track *track, uint32_t place)
{
    return &verify->cells[track->rank * verify->cells_per_rank + verify->window_first_cell[track->window] + place];
}

static struct verify_cell *input_cell(struct verify *verify, const struct verify_track *track, uint32_t chunk)
{
    bool pairs = shape_of(verify->plan->collective)->blocks == BLOCKS_PER_PAIR;
    return cell_at(verify, track, pairs ? chunk % verify->plan->rank_count : chunk);
}

static struct verify_cell *output_cell(struct verify *verify, const struct verify_track *track, uint32_t chunk)
{
    bool pairs = shape_of(verify->plan->collective)->blocks == BLOCKS_PER_PAIR;
    return cell_at(verify, track, pairs ? chunk / verify->plan->rank_count : chunk);
}

static uint32_t track_number(const struct verify *verify, const struct verify_track *track)
{
    return (uint32_t)(track - verify->tracks);
}

/* For messages: the step, in its track, that wrote the output. */
static uint32_t writer_step(const struct verify *verify, const struct verify_cell *cell)
{
    uint32_t track = cell->writer - 1;
    return verify_step_at(verify, track, cell->writer_position) - verify->tracks[track].first_step;
}

static weft_status read_append(struct verify *verify, struct verify_cell *cell, uint32_t track, uint32_t position)
{
    if (verify->read_count == verify->read_capacity) {
        uint32_t grown;
        if (__builtin_mul_overflow(verify->read_capacity, 2u, &grown)) return verify_out_of_memory(verify);
        if (grown == 0) grown = 64;
        struct verify_read *reads = realloc(verify->reads, (size_t)grown * sizeof *reads);
        if (!reads) return verify_out_of_memory(verify);
        verify->reads = reads;
        verify->read_capacity = grown;
    }
    verify->reads[verify->read_count++] = (struct verify_read){track, position, cell->next_read};
    cell->next_read = verify->read_count;
    return WEFT_OK;
}

weft_status verify_read_input(struct verify *verify, const struct verify_track *track, uint32_t chunk)
{
    uint32_t block = chunk_block(verify, track, chunk);
    if (!plan_has_input(verify->plan, track->rank, block)) {
        if (shape_of(verify->plan->collective)->input == HOLDER_ROOT)
            return verify_refuse(verify, track, "reads its input, and only the root, rank %u, has one",
                                 verify->plan->root);
        return verify_refuse(verify, track, "reads block %u, which is not in its input", block);
    }
    struct verify_cell *cell = input_cell(verify, track, chunk);
    uint32_t number = track_number(verify, track);
    if (cell->writer)
        return verify_refuse(verify, track, "in place, its input has been overwritten by track %u step %u",
                             verify->tracks[cell->writer - 1].index, writer_step(verify, cell));
    cell->reads += cell->reads < 2;
    if (!cell->reader) cell->reader = number + 1;
    if (cell->reader == number + 1) {
        cell->reader_position = track->position;
        return WEFT_OK;
    }
    for (uint32_t i = cell->next_read; i != 0; i = verify->reads[i - 1].next) {
        if (verify->reads[i - 1].track != number) continue;
        verify->reads[i - 1].position = track->position;
        return WEFT_OK;
    }
    return read_append(verify, cell, number, track->position);
}

weft_status verify_read_output(struct verify *verify, const struct verify_track *track, uint32_t chunk)
{
    const struct verify_cell *cell = output_cell(verify, track, chunk);
    uint32_t number = track_number(verify, track);
    if (!plan_has_output(verify->plan, track->rank, chunk_block(verify, track, chunk)))
        return verify_refuse(verify, track, "reads block %u, which is not in its output",
                             chunk_block(verify, track, chunk));
    if (!cell->writer) return verify_refuse(verify, track, "reads its output, which nothing has written yet");
    if (cell->writer != number + 1 &&
        !verify_precedes(verify, cell->writer - 1, cell->writer_position, number, track->position))
        return verify_refuse(verify, track, "reads its output, and nothing makes it wait for the write in track %u",
                             verify->tracks[cell->writer - 1].index);
    return WEFT_OK;
}

static weft_status check_read_before(struct verify *verify, const struct verify_track *track, uint32_t reader,
                                     uint32_t reader_position)
{
    uint32_t number = track_number(verify, track);
    if (reader == number || verify_precedes(verify, reader, reader_position, number, track->position)) return WEFT_OK;
    return verify_refuse(verify, track,
                         "in place, overwrites the input, and nothing makes it wait for the read in track %u",
                         verify->tracks[reader].index);
}

weft_status verify_write_output(struct verify *verify, const struct verify_track *track, uint32_t chunk,
                                const struct value *value)
{
    const struct shape *shape = shape_of(verify->plan->collective);
    struct verify_cell *cell = output_cell(verify, track, chunk);
    uint32_t block = chunk_block(verify, track, chunk);
    if (!plan_has_output(verify->plan, track->rank, block))
        return verify_refuse(verify, track, "writes block %u, which is not in its output", block);
    if (!value_is_all(&verify->values, value)) {
        if (!shape->combines) return verify_refuse(verify, track, "writes output without any data");
        return verify_refuse(verify, track, "writes output without rank %" PRIu32 "'s contribution",
                             value_first_missing(&verify->values, value));
    }
    if (cell->writer)
        return verify_refuse(verify, track, "writes output that track %u step %u has written",
                             verify->tracks[cell->writer - 1].index, writer_step(verify, cell));
    /* A single read is where this rank's part of the whole value came from, so it came first. */
    bool proved = cell->reads <= 1 && shape->combines;
    if (cell->reader && !proved) {
        weft_status status = check_read_before(verify, track, cell->reader - 1, cell->reader_position);
        for (uint32_t i = cell->next_read; i != 0 && status == WEFT_OK; i = verify->reads[i - 1].next)
            status = check_read_before(verify, track, verify->reads[i - 1].track, verify->reads[i - 1].position);
        if (status != WEFT_OK) return status;
    }
    cell->writer = track_number(verify, track) + 1;
    cell->writer_position = track->position;
    return WEFT_OK;
}

/* The chunk whose output lies in a place of a window at a rank. */
static uint32_t chunk_of_output(const struct verify *verify, uint32_t rank, uint32_t place)
{
    bool pairs = shape_of(verify->plan->collective)->blocks == BLOCKS_PER_PAIR;
    return pairs ? place * verify->plan->rank_count + rank : place;
}

static weft_status window_output_whole(struct verify *verify, uint32_t rank, uint32_t window)
{
    const struct plan_window *shares = &verify->windows[window];
    bool one_block = shape_of(verify->plan->collective)->blocks == BLOCKS_ONE;
    if (one_block && !plan_has_output(verify->plan, rank, 0)) return WEFT_OK;
    const struct verify_cell *cells = &verify->cells[rank * verify->cells_per_rank + verify->window_first_cell[window]];
    for (uint32_t place = 0; place < verify_window_cells(verify, window); place++) {
        uint32_t chunk = chunk_of_output(verify, rank, place);
        if (cells[place].writer || !plan_has_output(verify->plan, rank, plan_window_block(verify->plan, shares, chunk)))
            continue;
        return diagnose(&verify->diagnostic, WEFT_INVALID_PLAN,
                        "rank %" PRIu32 ": nothing writes chunk %u of window %u to %u to the output", rank, chunk,
                        shares->begin, shares->end);
    }
    return WEFT_OK;
}

/* Windows leave nothing out but where tracks do so; then what is left out is missing from some output. */
static weft_status windows_whole(struct verify *verify)
{
    uint64_t shares = 0;
    for (uint32_t i = 0; i < verify->window_count; i++) {
        const struct plan_window *window = &verify->windows[i];
        shares += (uint64_t)(window->end - window->begin) * (window->chunk_stride ? window->chunk_count : 1);
    }
    if (shares == verify->plan->share_denominator) return WEFT_OK;
    return diagnose(&verify->diagnostic, WEFT_INVALID_PLAN, "rank 0: tracks for %" PRIu64 " of %u shares", shares,
                    verify->plan->share_denominator);
}

weft_status verify_outputs_whole(struct verify *verify)
{
    weft_status status = windows_whole(verify);
    for (uint32_t rank = 0; rank < verify->plan->rank_count && status == WEFT_OK; rank++)
        for (uint32_t window = 0; window < verify->window_count && status == WEFT_OK; window++)
            status = window_output_whole(verify, rank, window);
    return status;
}
