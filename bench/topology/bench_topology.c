/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_topology FILE...: how long recognising, reading and sealing each description takes, beside a plain walk over
 * its bytes: medians of several turns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "topology/format/format.h"

enum { TURNS = 21 };

static uint8_t *load(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(FORMAT_BYTES_MAX);
    if (!file || !bytes) {
        perror(path);
        exit(1);
    }
    *size = fread(bytes, 1, FORMAT_BYTES_MAX, file);
    fclose(file);
    return bytes;
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static double median_ms(uint64_t times_ns[TURNS])
{
    qsort(times_ns, TURNS, sizeof *times_ns, compare);
    return (double)times_ns[TURNS / 2] / 1e6;
}

static void measure(const char *path)
{
    size_t size;
    uint8_t *bytes = load(path, &size);
    uint64_t read_ns[TURNS], walk_ns[TURNS];
    weft_topology_counts counts = {.size = sizeof counts};
    volatile uint64_t hash; /* or else the walk is left out */
    for (int turn = 0; turn < TURNS; turn++) {
        struct diagnostic diagnostic;
        weft_topology *topology;
        uint64_t start_ns = clock_now_ns();
        if (topology_read(path, bytes, size, &topology, &diagnostic)) {
            fprintf(stderr, "%s\n", diagnostic.text);
            exit(1);
        }
        read_ns[turn] = clock_now_ns() - start_ns;
        weft_topology_count(topology, &counts);
        weft_topology_destroy(topology);
        start_ns = clock_now_ns();
        hash = bytes_hash(BYTES_HASH_START, bytes, size);
        walk_ns[turn] = clock_now_ns() - start_ns;
    }
    (void)hash;
    double read_ms = median_ms(read_ns), walk_ms = median_ms(walk_ns);
    const char *slash = strrchr(path, '/');
    printf("%-32s %10zu %6u %6u %8u %8u %10.3f %10.3f\n", slash ? slash + 1 : path, size, counts.hosts, counts.nics,
           counts.switches, counts.links, read_ms, walk_ms);
    free(bytes);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_topology FILE...\n");
        return 2;
    }
    printf("%-32s %10s %6s %6s %8s %8s %10s %10s\n", "file", "bytes", "hosts", "nics", "switches", "links", "read ms",
           "hash ms");
    for (int i = 1; i < argc; i++) measure(argv[i]);
    return 0;
}
