/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order within a rank's own buffers. Input and output may be one buffer, so a chunk of the input has to be read before
 * the same chunk of the output is written. "Before" must hold in every run: this one's order proves it inside a track
 * only; between tracks it is proved by the value that is written, or by verify_precedes().
 */
#include <inttypes.h>
#include <stdlib.h>

#include "collectives/plan/verify_internal.h"

static struct verify_cell *cell_at(struct verify *verify, const struct verify_track *track, uint32_t chunk)
{
    return &verify->cells[track->rank * verify->cells_per_rank + verify->window_first_cell[track->window] + chunk];
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
    if (verify->plan->collective == WEFT_BROADCAST && track->rank != verify->plan->root)
        return verify_refuse(verify, track, "reads its input, and only the root, rank %u, has one", verify->plan->root);
    struct verify_cell *cell = cell_at(verify, track, chunk);
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
    const struct verify_cell *cell = cell_at(verify, track, chunk);
    uint32_t number = track_number(verify, track);
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
    struct verify_cell *cell = cell_at(verify, track, chunk);
    if (!value_is_all(&verify->values, value))
        return verify_refuse(verify, track, "writes output without %s%" PRIu32 "%s",
                             verify->plan->collective == WEFT_BROADCAST ? "the data of root " : "rank ",
                             verify->plan->collective == WEFT_BROADCAST ? verify->plan->root
                                                                        : value_first_missing(&verify->values, value),
                             verify->plan->collective == WEFT_BROADCAST ? "" : "'s contribution");
    if (cell->writer)
        return verify_refuse(verify, track, "writes output that track %u step %u has written",
                             verify->tracks[cell->writer - 1].index, writer_step(verify, cell));
    /* A single read is where this rank's part of the whole value came from, so it came first. */
    bool proved = cell->reads <= 1 && verify->plan->collective == WEFT_ALL_REDUCE;
    if (cell->reader && !proved) {
        weft_status status = check_read_before(verify, track, cell->reader - 1, cell->reader_position);
        for (uint32_t i = cell->next_read; i != 0 && status == WEFT_OK; i = verify->reads[i - 1].next)
            status = check_read_before(verify, track, verify->reads[i - 1].track, verify->reads[i - 1].position);
        if (status != WEFT_OK) return status;
    }
    cell->writer = track_number(verify, track) + 1;
    cell->writer_position = track->position;
    verify->write_count++;
    return WEFT_OK;
}

weft_status verify_outputs_whole(struct verify *verify)
{
    uint64_t count = verify->cells_per_rank * verify->plan->rank_count;
    if (verify->write_count == count) return WEFT_OK;
    uint64_t at = 0;
    while (verify->cells[at].writer) at++;
    uint32_t cell = (uint32_t)(at % verify->cells_per_rank), window = 0;
    while (window + 1 < verify->window_count && verify->window_first_cell[window + 1] <= cell) window++;
    return diagnose(&verify->diagnostic, WEFT_INVALID_PLAN,
                    "rank %" PRIu64 ": nothing writes chunk %u of window %u to %u to the output",
                    at / verify->cells_per_rank, cell - verify->window_first_cell[window],
                    verify->windows[window].begin, verify->windows[window].end);
}
