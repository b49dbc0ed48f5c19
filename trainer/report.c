/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>

#include "trainer/checksum.h"
#include "trainer/error.h"
#include "trainer/trainer_internal.h"

/* Ranks that started equal and applied equal gradients have equal parameters; anything else is a bug worth an end. */
static bool compare_parameters(struct run *run, uint64_t *hash, char *error)
{
    int64_t lowest, highest;
    *hash = checksum(0, transformer_parameters(run->model), transformer_layout(run->model)->count * sizeof(float));
    if (!sync_range(run->sync, (int64_t)*hash, &lowest, &highest, error)) return false;
    if (lowest == highest) return true;
    return error_set(error, "the ranks' parameters have become different: hashes from %016" PRIx64 " to %016" PRIx64,
                     (uint64_t)lowest, (uint64_t)highest);
}

static void print_communication(const struct run *run)
{
    double share = journal_hidden_share(&run->journal);
    if (sync_rank_count(run->sync) == 1)
        puts("hidden share of communication: none was needed, there is one rank");
    else if (isnan(share))
        puts("hidden share of communication: no step was made");
    else
        printf("hidden share of communication %.1f %%: %.1f s of all-reduce, %.1f s of it waited for\n", 100 * share,
               (double)run->journal.comm_ns * 1e-9, (double)run->journal.comm_exposed_ns * 1e-9);
}

bool report(struct run *run, char *error)
{
    double held_out_loss;
    uint64_t hash;
    if (!evaluate(run, 0, &held_out_loss, error) || !compare_parameters(run, &hash, error)) return false;
    if (sync_rank(run->sync) != 0) return true;
    journal_close(&run->journal);
    if (run->options->sample) {
        puts("sample:");
        if (!write_sample(run, stdout, error)) return false;
    }
    uint32_t ranks = sync_rank_count(run->sync);
    printf("parameter hash %016" PRIx64 ", equal on %s%" PRIu32 " rank%s\n", hash, ranks > 1 ? "all " : "", ranks,
           ranks > 1 ? "s" : "");
    printf("tokens per second %.0f\n", journal_tokens_per_s(&run->journal));
    print_communication(run);
    printf("bigram baseline %.2f nats/byte\n", text_bigram_loss(&run->text));
    printf("held-out loss %.2f nats/byte\n", held_out_loss);
    if (fflush(stdout) != 0) return error_set(error, "cannot write to standard output");
    return true;
}
