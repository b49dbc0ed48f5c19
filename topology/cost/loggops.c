/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "topology/cost/cost.h"

const struct loggops loggops_built_in = {
    .L = 2.5e-6,
    .o = 1.5e-6,
    .g = 0.5e-6,
    .G = 0.08e-9,
    .O = 0.02e-9,
    .S = 65536,
    .source = "built in: an estimate for a 100 Gb/s fabric with kernel bypass, not measured",
};

static double bytes_after_first(double bytes)
{
    return bytes > 1 ? bytes - 1 : 0;
}

double loggops_message(const struct loggops *model, double bytes)
{
    double once = model->L + 2 * model->o + bytes_after_first(bytes) * (model->G + 2 * model->O);
    /* Rendezvous: ask and be answered before the data, each a message without payload. */
    return bytes > (double)model->S ? once + 2 * (model->L + 2 * model->o) : once;
}

double loggops_ring_all_reduce(const struct loggops *model, uint32_t rank_count, double bytes)
{
    if (rank_count < 2) return 0;
    double message = loggops_message(model, bytes / rank_count);
    return 2.0 * (rank_count - 1) * fmax(message, model->g);
}

double loggops_tree_all_reduce(const struct loggops *model, uint32_t rank_count, double bytes, uint32_t slice_count)
{
    if (rank_count < 2) return 0;
    double slices = slice_count ? slice_count : 1, slice = bytes / 2 / slices;
    double depth = floor(log2(rank_count));
    /* An inner rank takes two slices and passes one on, up and down, and is a leaf of the other tree: for each slice
     * its wire is busy with at most three outgoing or three incoming ones. */
    double messages = rank_count == 2 ? 2 : 3;
    double per_slice = messages * fmax(model->g, 2 * model->o + bytes_after_first(slice) * (model->G + 2 * model->O));
    return 2 * depth * loggops_message(model, slice) + (slices - 1) * per_slice;
}
