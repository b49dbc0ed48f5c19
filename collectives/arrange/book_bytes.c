/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A book as bytes: 32- and 64-bit numbers, little-endian, doubles as IEEE 754 bits, in the order of the functions
 * below, which the writer and the reader walk alike. Its hash is that of these bytes.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "collectives/arrange/book.h"

#define BOOK_MAGIC UINT32_C(0x6b6f6f62) /* "book" */
enum { BOOK_VERSION = 2 };

struct writer {
    uint8_t *bytes;
    size_t size, capacity;
    bool failed;
};

static uint8_t *room(struct writer *writer, size_t size)
{
    if (writer->failed) return NULL;
    if (writer->capacity - writer->size < size) {
        size_t capacity = 2 * writer->capacity + size + 4096;
        uint8_t *larger = realloc(writer->bytes, capacity);
        writer->failed = !larger;
        if (!larger) return NULL;
        writer->bytes = larger;
        writer->capacity = capacity;
    }
    writer->size += size;
    return writer->bytes + writer->size - size;
}

static void put_u32(struct writer *writer, uint32_t value)
{
    uint8_t *at = room(writer, 4);
    if (at) bytes_put_u32(at, value);
}

static void put_double(struct writer *writer, double value)
{
    uint64_t bits;
    uint8_t *at = room(writer, 8);
    memcpy(&bits, &value, sizeof bits);
    if (at) bytes_put_u64(at, bits);
}

static void put_numbers(struct writer *writer, const uint32_t *numbers, uint32_t count)
{
    uint8_t *at = room(writer, 4 * (size_t)count);
    for (uint32_t i = 0; at && i < count; i++) bytes_put_u32(at + 4 * (size_t)i, numbers[i]);
}

static void put_arrangement(struct writer *writer, const struct arrangement *arrangement, uint32_t rank_count)
{
    put_u32(writer, arrangement->layout.ring_count);
    put_u32(writer, arrangement->layout.tree_count);
    put_double(writer, arrangement->algbw);
    for (uint32_t i = 0; i < arrangement->layout.ring_count; i++) {
        put_u32(writer, arrangement->rings[i].weight);
        put_numbers(writer, arrangement->rings[i].order, rank_count);
    }
    for (uint32_t i = 0; i < arrangement->layout.tree_count; i++) {
        const weft_plan_tree *tree = &arrangement->trees[i];
        put_u32(writer, tree->weight);
        put_u32(writer, tree->root);
        put_u32(writer, tree->reduce_parents != NULL);
        put_numbers(writer, tree->parents, rank_count);
        if (tree->reduce_parents) put_numbers(writer, tree->reduce_parents, rank_count);
    }
}

weft_status book_encode(const struct book *book, uint8_t **bytes, size_t *size)
{
    struct writer writer = {0};
    put_u32(&writer, BOOK_MAGIC);
    put_u32(&writer, BOOK_VERSION);
    put_u32(&writer, book->rank_count);
    put_u32(&writer, book->place_count);
    put_u32(&writer, book->host_count);
    put_u32(&writer, (uint32_t)book->bound_exact | (uint32_t)book->in_links << 1 | (uint32_t)book->expired << 2);
    put_u32(&writer, book->switch_hops);
    put_u32(&writer, book->switch_hops_as_listed);
    put_double(&writer, book->bound_algbw);
    put_double(&writer, book->ring_algbw);
    put_double(&writer, book->tree_algbw);
    for (int kind = 0; kind < ARRANGEMENT_KIND_COUNT; kind++) {
        put_u32(&writer, book->found[kind]);
        put_u32(&writer, book->kept[kind]);
        put_arrangement(&writer, &book->arrangements[kind], book->rank_count);
    }
    for (int c = 0; c < WEFT_COLLECTIVE_COUNT; c++)
        for (int a = 0; a < WEFT_ALGORITHM_COUNT; a++) {
            const struct book_entry *entry = &book->entries[c][a];
            put_u32(&writer, entry->arrangement);
            put_u32(&writer, entry->channels);
            put_u32(&writer, entry->messages);
            put_double(&writer, entry->algbw);
            put_double(&writer, entry->algbw_in_order);
        }
    if (writer.failed) {
        free(writer.bytes);
        return WEFT_OUT_OF_MEMORY;
    }
    *bytes = writer.bytes;
    *size = writer.size;
    return WEFT_OK;
}

struct reader {
    const uint8_t *at, *end;
    const char *wrong; /* the first thing, or NULL; what is read after it is 0 */
    bool no_memory;
};

static bool has(struct reader *reader, size_t size)
{
    if (!reader->wrong && (size_t)(reader->end - reader->at) < size) reader->wrong = "it ends early";
    return !reader->wrong;
}

static uint32_t get_u32(struct reader *reader)
{
    if (!has(reader, 4)) return 0;
    reader->at += 4;
    return bytes_get_u32(reader->at - 4);
}

static double get_rate(struct reader *reader)
{
    double value;
    if (!has(reader, 8)) return 0;
    uint64_t bits = bytes_get_u64(reader->at);
    reader->at += 8;
    memcpy(&value, &bits, sizeof value);
    if (isfinite(value) && value >= 0) return value;
    reader->wrong = "a rate is no number";
    return 0;
}

static void get_numbers(struct reader *reader, uint32_t *numbers, uint32_t count)
{
    if (!has(reader, 4 * (size_t)count)) return;
    for (uint32_t i = 0; i < count; i++, reader->at += 4) {
        numbers[i] = bytes_get_u32(reader->at);
        if (numbers[i] >= count) reader->wrong = "there is no such rank";
    }
}

static uint32_t get_weight(struct reader *reader)
{
    uint32_t weight = get_u32(reader);
    if (!reader->wrong && weight == 0) reader->wrong = "a weight is 0";
    return weight;
}

/* How many there are is believed only so far as there are bytes for them. */
static void get_arrangement(struct reader *reader, uint32_t rank_count, struct arrangement *made)
{
    uint32_t rings = get_u32(reader), trees = get_u32(reader);
    made->algbw = get_rate(reader);
    if (reader->wrong || rings + (uint64_t)trees == 0) return;
    if ((rings + (uint64_t)trees) * rank_count > (size_t)(reader->end - reader->at) / 4) {
        reader->wrong = "it ends early";
        return;
    }
    made->rings = calloc((size_t)rings + 1, sizeof *made->rings);
    made->trees = calloc((size_t)trees + 1, sizeof *made->trees);
    made->numbers = calloc((rings + 2 * (size_t)trees) * rank_count + 1, sizeof *made->numbers);
    reader->no_memory = !made->rings || !made->trees || !made->numbers;
    if (reader->no_memory) {
        reader->wrong = "there is no memory for it";
        return;
    }
    uint32_t *numbers = made->numbers;
    for (uint32_t i = 0; i < rings && !reader->wrong; i++, numbers += rank_count) {
        made->rings[i] = (weft_plan_ring){.order = numbers, .weight = get_weight(reader)};
        get_numbers(reader, numbers, rank_count);
    }
    for (uint32_t i = 0; i < trees && !reader->wrong; i++, numbers += 2 * (size_t)rank_count) {
        weft_plan_tree *tree = &made->trees[i];
        *tree = (weft_plan_tree){.parents = numbers, .weight = get_weight(reader)};
        tree->root = get_u32(reader);
        uint32_t both = get_u32(reader);
        if (both) tree->reduce_parents = numbers + rank_count;
        if (tree->root >= rank_count || both > 1) reader->wrong = "a tree is none";
        get_numbers(reader, numbers, rank_count);
        if (both) get_numbers(reader, numbers + rank_count, rank_count);
    }
    made->layout = (weft_plan_layout){.size = sizeof made->layout,
                                      .rings = made->rings,
                                      .ring_count = rings,
                                      .trees = made->trees,
                                      .tree_count = trees};
}

static void get_entry(struct reader *reader, const struct book *book, struct book_entry *entry)
{
    entry->arrangement = get_u32(reader);
    entry->channels = get_u32(reader);
    entry->messages = get_u32(reader);
    entry->algbw = get_rate(reader);
    entry->algbw_in_order = get_rate(reader);
    if (reader->wrong) return;
    if (entry->arrangement > ARRANGEMENT_KIND_COUNT || entry->channels > 128 || entry->messages > 2 * book->rank_count)
        reader->wrong = "an entry is out of range";
    else if (entry->arrangement < ARRANGEMENT_KIND_COUNT && !book->arrangements[entry->arrangement].numbers)
        reader->wrong = "an entry names what is not there";
}

static void get_book(struct reader *reader, uint32_t rank_count, struct book *book)
{
    if (get_u32(reader) != BOOK_MAGIC || get_u32(reader) != BOOK_VERSION) reader->wrong = "it is no book";
    book->rank_count = get_u32(reader);
    if (!reader->wrong && book->rank_count != rank_count) reader->wrong = "it is for another number of ranks";
    book->place_count = get_u32(reader);
    book->host_count = get_u32(reader);
    uint32_t flags = get_u32(reader);
    if (flags > 7) reader->wrong = "a flag is unknown";
    book->bound_exact = flags & 1;
    book->in_links = flags & 2;
    book->expired = flags & 4;
    book->switch_hops = get_u32(reader);
    book->switch_hops_as_listed = get_u32(reader);
    book->bound_algbw = get_rate(reader);
    book->ring_algbw = get_rate(reader);
    book->tree_algbw = get_rate(reader);
    for (int kind = 0; kind < ARRANGEMENT_KIND_COUNT && !reader->wrong; kind++) {
        book->found[kind] = get_u32(reader);
        book->kept[kind] = get_u32(reader);
        get_arrangement(reader, rank_count, &book->arrangements[kind]);
    }
    for (int c = 0; c < WEFT_COLLECTIVE_COUNT; c++)
        for (int a = 0; a < WEFT_ALGORITHM_COUNT && !reader->wrong; a++) {
            get_entry(reader, book, &book->entries[c][a]);
            if (book->entries[c][a].channels > book->channel_count) book->channel_count = book->entries[c][a].channels;
        }
    if (!reader->wrong && reader->at != reader->end) reader->wrong = "it goes on behind its end";
}

weft_status book_decode(const uint8_t *bytes, size_t size, uint32_t rank_count, struct book **book,
                        struct diagnostic *diagnostic)
{
    struct reader reader = {.at = bytes, .end = bytes + size};
    struct book *made = calloc(1, sizeof *made);
    if (!made) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for plans over a topology");
    get_book(&reader, rank_count, made);
    if (reader.wrong) {
        book_free(made);
        return diagnose(diagnostic, reader.no_memory ? WEFT_OUT_OF_MEMORY : WEFT_PROTOCOL_ERROR,
                        "what rank 0 says of plans over the topology makes no sense: %s", reader.wrong);
    }
    made->hash = bytes_hash(BYTES_HASH_START, bytes, size);
    *book = made;
    return WEFT_OK;
}
