/* SPDX-License-Identifier: Apache-2.0 */
/* weft-perf: how fast collectives are, and whether their results are right. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/common/options.h"
#include "tools/perf/calibrate.h"
#include "tools/perf/measure.h"
#include "tools/perf/report.h"
#include "tools/perf/tune.h"

#define LATER "is not in this version"

static const struct option_word collectives[] = {
    {"all_reduce", WEFT_ALL_REDUCE, NULL},   {"reduce_scatter", WEFT_REDUCE_SCATTER, NULL},
    {"all_gather", WEFT_ALL_GATHER, NULL},   {"broadcast", WEFT_BROADCAST, NULL},
    {"reduce", WEFT_REDUCE, NULL},           {"gather", WEFT_GATHER, NULL},
    {"scatter", WEFT_SCATTER, NULL},         {"all_to_all", WEFT_ALL_TO_ALL, NULL},
    {"all_to_allv", WEFT_ALL_TO_ALLV, NULL}, {"send_recv", WEFT_SEND_RECV, NULL},
    {"barrier", WEFT_BARRIER, NULL},         {NULL, 0, NULL}};
enum { PERF_TRANSPORT_AUTO, PERF_TRANSPORT_SHM, PERF_TRANSPORT_TCP, PERF_TRANSPORT_VERBS };
static const struct option_word transports[] = {{"auto", PERF_TRANSPORT_AUTO, NULL},
                                                {"shm", PERF_TRANSPORT_SHM, NULL},
                                                {"tcp", PERF_TRANSPORT_TCP, NULL},
                                                {"verbs", PERF_TRANSPORT_VERBS, NULL},
                                                {"dpdk", 0, LATER},
                                                {NULL, 0, NULL}};
static const struct option_word algorithms[] = {{"auto", WEFT_ALGORITHM_AUTO, NULL},
                                                {"ring", WEFT_ALGORITHM_RING, NULL},
                                                {"tree", WEFT_ALGORITHM_TREE, NULL},
                                                {"direct", WEFT_ALGORITHM_DIRECT, NULL},
                                                {"halving", WEFT_ALGORITHM_HALVING, NULL},
                                                {"hierarchical", WEFT_ALGORITHM_HIERARCHICAL, NULL},
                                                {NULL, 0, NULL}};
static const struct option_word dtypes[] = {{"float32", WEFT_FLOAT32, NULL},
                                            {"float64", WEFT_FLOAT64, NULL},
                                            {"float16", WEFT_FLOAT16, NULL},
                                            {"bfloat16", WEFT_BFLOAT16, NULL},
                                            {"int32", WEFT_INT32, NULL},
                                            {"int64", WEFT_INT64, NULL},
                                            {"int8", WEFT_INT8, NULL},
                                            {"uint8", WEFT_UINT8, NULL},
                                            {"uint32", WEFT_UINT32, NULL},
                                            {"uint64", WEFT_UINT64, NULL},
                                            {"float8_e4m3", WEFT_FLOAT8_E4M3, NULL},
                                            {"float8_e5m2", WEFT_FLOAT8_E5M2, NULL},
                                            {NULL, 0, NULL}};
static const struct option_word ops[] = {{"sum", WEFT_SUM, NULL}, {"prod", WEFT_PROD, NULL},
                                         {"min", WEFT_MIN, NULL}, {"max", WEFT_MAX, NULL},
                                         {"avg", WEFT_AVG, NULL}, {"premul_sum", WEFT_PREMUL_SUM, NULL},
                                         {NULL, 0, NULL}};
static const struct option_word buffers[] = {{"plain", PERF_BUFFERS_PLAIN, NULL},
                                             {"registered", PERF_BUFFERS_REGISTERED, NULL},
                                             {"cuda", 0, LATER},
                                             {NULL, 0, NULL}};

#define FIELD(name) offsetof(struct perf_options, name)
static const uint64_t begin_default = 4, end_default = UINT64_C(64) << 20;
static const uint64_t bytes_most = UINT64_C(1) << 40;
static const struct option_entry entries[] = {
    {"--ranks", OPTION_NUMBER, "N", "start N ranks on this host", FIELD(rank_count), 1, 4096, NULL, NULL},
    {"--transport", OPTION_WORD, "T", "how ranks reach each other", FIELD(transport), 0, 0, transports, NULL},
    {"-b", OPTION_BYTES, "BYTES", "smallest size (4)", FIELD(begin_bytes), 1, bytes_most, NULL, NULL},
    {"-e", OPTION_BYTES, "BYTES", "largest size (64M)", FIELD(end_bytes), 1, bytes_most, NULL, NULL},
    {"-f", OPTION_NUMBER, "FACTOR", "from one size to the next (2)", FIELD(factor), 2, 1 << 30, NULL, NULL},
    {"--iters", OPTION_NUMBER, "N", "timed calls a row (as many as fit 0.15 s, 5 to 2000)", FIELD(iterations), 1,
     100000000, NULL, NULL},
    {"--warmup", OPTION_NUMBER, "N", "untimed calls before them (10 below 1 MiB, else 2)", FIELD(warmup), 0, 1000000,
     NULL, NULL},
    {"--batch", OPTION_NUMBER, "N", "calls timed together, without a barrier between them (1)", FIELD(batch), 1,
     1000000, NULL, NULL},
    {"--dtype", OPTION_WORD, "D", "element type", FIELD(dtype), 0, 0, dtypes, NULL},
    {"--op", OPTION_WORD, "O", "reduction", FIELD(op), 0, 0, ops, NULL},
    {"--root", OPTION_NUMBER, "R", "root rank, where there is one (0)", FIELD(root), 0, UINT32_MAX - 1, NULL, NULL},
    {"--algorithm", OPTION_WORD, "A", "force one", FIELD(algorithm), 0, 0, algorithms, NULL},
    {"--buffers", OPTION_WORD, "KIND", "kind of memory (plain)", FIELD(buffers), 0, 0, buffers, NULL},
    {"--no-check", OPTION_FLAG, NULL, "do not compare results", FIELD(no_check), 0, 0, NULL, NULL},
    {"--json", OPTION_TEXT, "FILE", "write the rows there too", FIELD(json_file), 0, 0, NULL, NULL},
    {"--calibrate", OPTION_FLAG, NULL, "instead: measure two ranks' messages, for communicators to choose by",
     FIELD(calibrate), 0, 0, NULL, NULL},
    {"--tune", OPTION_TEXT, "FILE", "instead: time every algorithm, and keep the fastest there for WEFT_TUNING",
     FIELD(tune_file), 0, 0, NULL, NULL},
    {"--plain-only", OPTION_FLAG, NULL, "--tune: with the model's slices and channels only", FIELD(plain_only), 0, 0,
     NULL, NULL},
    {"--compare", OPTION_FLAG, NULL, "--tune: once, and beside what WEFT_TUNING chooses", FIELD(compare), 0, 0, NULL,
     NULL},
    {"--canonical", OPTION_FLAG, NULL, "results that depend on inputs and the number of ranks alone", FIELD(canonical),
     0, 0, NULL, NULL},
};

static const char notes[] =
    "columns, as nccl-tests has them, out of place and then in place (one buffer for both):\n"
    "  size          bytes of the message: of all ranks' blocks where each rank has one\n"
    "  count         elements of --dtype in the message, or in each block\n"
    "  time          median over the timed calls of the slowest rank's time, each after a barrier, in microseconds;\n"
    "                with --batch N calls after each barrier, their mean is what counts for one\n"
    "  algbw         size / time, in 1e9 bytes a second\n"
    "  busbw         algbw times 2(n-1)/n for all_reduce, 1 for broadcast, reduce and send_recv, (n-1)/n for the\n"
    "                others: comparable for any rank count n\n"
    "  #wrong        elements that differ from the exact result, over all ranks, in a cold and in a warm call\n"
    "the JSON file has {\"collective\",\"ranks\",\"transport\",\"dtype\",\"op\",\"buffers\",\"rows\":[{\"bytes\",\n"
    "\"in_place\",\"algorithm\",\"time_us\",\"p99_us\",\"algbw_gbps\",\"busbw_gbps\",\"wrong\"}]}; p99_us is the 99th "
    "percentile.\n"
    "\n"
    "examples:\n"
    "  weft-perf all_reduce --ranks 4                         4 B to 64 MiB of float32, algorithm chosen by size\n"
    "  weft-perf all_reduce --ranks 2 --algorithm ring -b 1M -e 1M --iters 200 --json ring.json\n"
    "  weft-perf all_to_all --ranks 4 -b 1M -e 1M             256 KiB to each of the four\n"
    "  weft-perf broadcast --ranks 3 --root 2 --dtype bfloat16\n"
    "  weft-perf all_reduce --ranks 4 --canonical             what equal bits on every machine cost\n"
    "  WEFT_VERIFY=1 weft-perf all_reduce --ranks 8 -e 64K    prove every plan right before it is used\n"
    "\n"
    "WEFT_ variables (WEFT_SLICE, WEFT_CHANNELS, WEFT_DEADLINE, WEFT_LOG, ...) set everything else: man weft.\n"
    "exit status: 0, 1 after a failure or a wrong element, 2 after a mistake in the command line.\n";

static const struct command command = {
    .name = "weft-perf",
    .usage = "weft-perf COLLECTIVE [--ranks N] [options]",
    .intro = "all_reduce, reduce_scatter, all_gather, broadcast, reduce, gather, scatter, all_to_all, all_to_allv,\n"
             "send_recv (to the next rank, from the previous one), barrier.\n"
             "Time a collective over a range of message sizes and check its results. With --ranks N the ranks are\n"
             "started here; without, the environment says which rank this is, or it is the only one.",
    .notes = notes,
    .entries = entries,
    .entry_count = sizeof entries / sizeof *entries,
};

/* What the table of options cannot say: which collective, and what goes together. */
static enum options_outcome options_complete(struct perf_options *options, const struct positionals *positionals,
                                             char *error)
{
    static const struct option_entry collective = {
        .name = "collective", .kind = OPTION_WORD, .offset = FIELD(collective), .words = collectives};
    if (options->calibrate || options->tune_file) {
        snprintf(error, OPTIONS_ERROR_BYTES, "%s",
                 options->calibrate ? "--calibrate stands alone: it measures messages, not a collective"
                                    : "--tune names no collective: it times all of them");
        return OPTIONS_MISTAKE;
    }
    if (!options->factor) options->factor = 2;
    if (positionals->count != 1) {
        snprintf(error, OPTIONS_ERROR_BYTES, "%s, as in weft-perf all_reduce --ranks 2",
                 positionals->count ? "name one collective" : "name a collective");
        return OPTIONS_MISTAKE;
    }
    enum options_outcome outcome = option_word_parse(&collective, positionals->values[0], options, error);
    if (outcome != OPTIONS_GO_ON) return outcome;
    bool never = options->algorithm == WEFT_ALGORITHM_RING || options->algorithm == WEFT_ALGORITHM_HIERARCHICAL;
    if (options->canonical && never && perf_has_op(options->collective)) {
        snprintf(error, OPTIONS_ERROR_BYTES, "--algorithm %s is never canonical; direct, tree and halving are",
                 weft_algorithm_name(options->algorithm));
        return OPTIONS_MISTAKE;
    }
    if (!options->begin_bytes) options->begin_bytes = begin_default;
    if (options->begin_bytes > end_default && !options->end_bytes) options->end_bytes = options->begin_bytes;
    if (!options->end_bytes) options->end_bytes = end_default;
    if (options->end_bytes < options->begin_bytes) {
        snprintf(error, OPTIONS_ERROR_BYTES, "-e %" PRIu64 " is below -b %" PRIu64 "; sizes go up from -b to -e",
                 options->end_bytes, options->begin_bytes);
        return OPTIONS_MISTAKE;
    }
    if (options->rank_count && options->root >= options->rank_count) {
        snprintf(error, OPTIONS_ERROR_BYTES,
                 "--root %" PRIu64 " is no rank: with --ranks %" PRIu64 " they go from 0 to %" PRIu64, options->root,
                 options->rank_count, options->rank_count - 1);
        return OPTIONS_MISTAKE;
    }
    return OPTIONS_GO_ON;
}

/* The whole story of a failed communicator, in one line that names the rank at fault. */
static int failure_print(const weft_comm *comm, weft_status status)
{
    weft_failure failure = {.size = sizeof failure};
    uint32_t rank = weft_comm_rank(comm);
    if (weft_comm_failure(comm, &failure) != WEFT_OK || failure.status == WEFT_OK) {
        fprintf(stderr, "weft-perf: rank %" PRIu32 ": %s: %s\n", rank, weft_status_name(status),
                weft_status_text(status));
        return 1;
    }
    /* Printed at once: the other ranks say the same at the same time. */
    char operation[sizeof failure.operation + 48] = "";
    if (failure.operation[0])
        snprintf(operation, sizeof operation, " (operation %" PRIu64 ": %s)", failure.sequence, failure.operation);
    fprintf(stderr, "weft-perf: rank %" PRIu32 ": %s: %s%s\n", rank, weft_status_name(failure.status), failure.message,
            operation);
    return 1;
}

static uint64_t next_size(const struct perf_options *options, uint64_t bytes)
{
    return bytes > options->end_bytes / options->factor ? options->end_bytes + 1 : bytes * options->factor;
}

/* Sizes from -b to -e, in whole elements of every block: smaller ones are one element. */
static size_t sizes_list(struct perf_options *options, uint32_t rank_count, uint64_t sizes[64])
{
    uint64_t element = weft_dtype_size((weft_dtype)options->dtype);
    if (perf_has_blocks(options->collective)) element *= rank_count; /* of every block one */
    size_t count = 0;
    if (!perf_has_bytes(options->collective)) options->begin_bytes = options->end_bytes = sizes[count++] = 0;
    if (!perf_has_bytes(options->collective)) return count;
    if (options->begin_bytes < element) options->begin_bytes = element;
    if (options->end_bytes < options->begin_bytes) options->end_bytes = options->begin_bytes;
    for (uint64_t bytes = options->begin_bytes; bytes <= options->end_bytes && count < 64;
         bytes = next_size(options, bytes))
        sizes[count++] = bytes - bytes % element;
    return count;
}

/* Every size, both ways; rank 0 prints. *row_count grows as rows are done, also when a call fails. */
static weft_status sweep(struct measurement *measurement, const uint64_t sizes[], size_t size_count,
                         struct perf_row rows[], size_t *row_count)
{
    const struct perf_options *options = measurement->options;
    size_t ways = perf_has_in_place(options->collective) ? 2 : 1;
    struct progress progress;
    progress_begin(&progress, size_count * ways);
    for (size_t i = 0; i < size_count; i++) {
        for (size_t way = 0; way < ways; way++) {
            if (measurement->rank == 0) progress_show(&progress, *row_count, sizes[i], way == 1);
            weft_status status = measure(measurement, sizes[i], way == 1, &rows[*row_count]);
            if (measurement->rank == 0) progress_clear(&progress);
            if (status) return status;
            ++*row_count;
        }
        const struct perf_row *first = &rows[*row_count - ways];
        if (measurement->rank == 0) report_rows(options, first, ways == 2 ? first + 1 : NULL);
    }
    return WEFT_OK;
}

static uint64_t wrong_total(const struct perf_row rows[], size_t row_count)
{
    uint64_t wrong = 0;
    for (size_t i = 0; i < row_count; i++) wrong += rows[i].wrong;
    return wrong;
}

static int json_error(const struct perf_options *options)
{
    fprintf(stderr, "weft-perf: cannot write %s: %s\n", options->json_file, strerror(errno));
    return 1;
}

/* This rank's part, in a communicator that stands. Returns the exit code. */
static int rank_run(weft_comm *comm, struct perf_options *options, FILE *json)
{
    uint64_t sizes[64];
    struct perf_row rows[128];
    uint32_t rank = weft_comm_rank(comm), rank_count = weft_comm_rank_count(comm);
    size_t size_count = sizes_list(options, rank_count, sizes), row_count = 0;
    struct measurement measurement;
    if (options->root >= rank_count) {
        if (rank == 0)
            fprintf(stderr, "weft-perf: --root %" PRIu64 " is not one of %" PRIu32 " ranks\n", options->root,
                    rank_count);
        return 2;
    }
    weft_status status = measurement_begin(&measurement, comm, options, NULL);
    if (status) {
        char size[24];
        fprintf(stderr, "weft-perf: rank %" PRIu32 ": %s: no memory for two buffers of %s\n", rank,
                weft_status_name(status), bytes_format(options->end_bytes, size));
        return 1;
    }
    if (rank == 0) report_header(options, weft_comm_transport(comm), rank_count);
    status = sweep(&measurement, sizes, size_count, rows, &row_count);
    int exit_code = status ? failure_print(comm, status) : 0;
    bool checked = !options->no_check && perf_has_bytes(options->collective);
    if (!status && rank == 0) report_summary(rows, row_count, checked);
    if (!status && json && report_json(json, options, weft_comm_transport(comm), rank_count, rows, row_count) != 0)
        exit_code = json_error(options);
    if (rank == 0 && (fflush(stdout) != 0 || ferror(stdout))) {
        fprintf(stderr, "weft-perf: cannot write to standard output: %s\n", strerror(errno));
        exit_code = 1;
    }
    if (wrong_total(rows, row_count) > 0) exit_code = 1;
    measurement_end(&measurement);
    return exit_code;
}

/* Join the others, run, leave. Only rank 0 writes a file. */
static int rank_main(struct perf_options *options)
{
    weft_comm *comm = NULL;
    weft_status status = weft_comm_create_from_env(&comm);
    if (status) {
        fprintf(stderr, "weft-perf: cannot join: %s: %s\n", weft_status_name(status), weft_status_text(status));
        return 1;
    }
    bool writes = options->json_file && weft_comm_rank(comm) == 0;
    FILE *json = writes ? fopen(options->json_file, "we") : NULL;
    int exit_code = writes && !json ? json_error(options) : rank_run(comm, options, json);
    if (json && fclose(json) != 0) exit_code = json_error(options);
    weft_comm_destroy(comm);
    return exit_code;
}

/* Try --json before any rank is started. An existing file is left as it is until there are rows. */
static bool json_is_writable(const struct perf_options *options)
{
    if (!options->json_file) return true;
    FILE *file = fopen(options->json_file, "ae");
    if (file && fclose(file) == 0) return true;
    json_error(options);
    return false;
}

/* --tune: over one transport, or the two that every machine has. */
static int tune(struct perf_options *options, char *argv[])
{
    const char *over[3] = {transports[PERF_TRANSPORT_SHM].name, transports[PERF_TRANSPORT_TCP].name, NULL};
    if (options->transport != PERF_TRANSPORT_AUTO) {
        over[0] = transports[options->transport].name;
        over[1] = NULL;
    }
    if (!options->factor) options->factor = 4;
    if (!options->begin_bytes) options->begin_bytes = 8;
    if (!options->end_bytes) options->end_bytes = UINT64_C(8) << 20;
    return weft_local_is_child() ? tune_rank(options) : tune_supervise(options, over, argv);
}

int main(int argc, char *argv[])
{
    struct perf_options options = {.warmup = PERF_WARMUP_AUTO, .dtype = WEFT_FLOAT32, .op = WEFT_SUM};
    struct positionals positionals;
    char error[OPTIONS_ERROR_BYTES];
    enum options_outcome outcome = options_parse(&command, argc, argv, &options, &positionals, error);
    if (outcome == OPTIONS_GO_ON && options.calibrate && positionals.count == 0)
        return weft_local_is_child() ? calibrate_rank() : calibrate_supervise(argv);
    if (outcome == OPTIONS_GO_ON && options.tune_file && positionals.count == 0) return tune(&options, argv);
    if (outcome == OPTIONS_GO_ON) outcome = options_complete(&options, &positionals, error);
    if (outcome != OPTIONS_GO_ON) return options_answer(&command, outcome, error);
    /* The library takes it from the environment, and the ranks that are started inherit that. */
    if (options.transport != PERF_TRANSPORT_AUTO) setenv("WEFT_TRANSPORT", transports[options.transport].name, 1);
    if (options.canonical) setenv("WEFT_CANONICAL", "1", 1);
    if (!options.rank_count || weft_local_is_child()) return rank_main(&options);
    if (!json_is_writable(&options)) return 1;
    int exit_code = 1;
    weft_status status = weft_local_run((uint32_t)options.rank_count, argv, &exit_code);
    if (status) {
        fprintf(stderr, "weft-perf: cannot start %" PRIu64 " ranks: %s: %s\n", options.rank_count,
                weft_status_name(status), weft_status_text(status));
        return 1;
    }
    return exit_code;
}
