/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trainer/error.h"
#include "trainer/model/parameters.h"

static bool read_whole(int fd, const char *path, struct text *text, char *error)
{
    struct stat file;
    if (fstat(fd, &file) != 0) return error_set(error, "cannot read %s: %s", path, strerror(errno));
    if (!S_ISREG(file.st_mode)) return error_set(error, "%s is not a regular file", path);
    if (file.st_size == 0) return error_set(error, "%s is empty", path);
    text->count = (size_t)file.st_size;
    text->bytes = malloc(text->count);
    if (!text->bytes) return error_set(error, "no memory for the %zu bytes of %s", text->count, path);
    size_t filled = 0;
    while (filled < text->count) {
        ssize_t got = read(fd, text->bytes + filled, text->count - filled);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_set(error, "cannot read %s: %s", path, strerror(errno));
        if (got == 0) return error_set(error, "%s became shorter while it was read", path);
        filled += (size_t)got;
    }
    return true;
}

bool text_open(const char *path, size_t context, struct text *text, char *error)
{
    struct text opened = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_set(error, "cannot open %s: %s", path, strerror(errno));
    bool good = read_whole(fd, path, &opened, error);
    close(fd);
    if (good) {
        size_t held_out = opened.count / 20;
        opened.training_count = opened.count - held_out;
        if (held_out < context + 1)
            good = error_set(error,
                             "%s has %zu bytes, of which 5 %% are held out: too few for --context %zu, which needs %zu",
                             path, opened.count, context, 20 * (context + 1));
    }
    if (good)
        *text = opened;
    else
        free(opened.bytes);
    return good;
}

void text_close(struct text *text)
{
    free(text->bytes);
    *text = (struct text){0};
}

void text_sample(const struct text *text, uint64_t seed, uint64_t step, uint64_t index, size_t context, uint8_t *inputs,
                 uint8_t *targets)
{
    uint64_t bits = mix_bits(mix_bits(mix_bits(seed) ^ step) ^ index);
    size_t offset = (size_t)(bits % (text->training_count - context));
    memcpy(inputs, text->bytes + offset, context);
    memcpy(targets, text->bytes + offset + 1, context);
}

double text_bigram_loss(const struct text *text)
{
    static const double added = 0.1;
    uint32_t(*pairs)[TOKEN_COUNT] = calloc(TOKEN_COUNT, sizeof(*pairs));
    if (!pairs) return NAN;
    double singles[TOKEN_COUNT] = {0}, sum = 0;
    for (size_t i = 0; i + 1 < text->training_count; i++) {
        pairs[text->bytes[i]][text->bytes[i + 1]]++;
        singles[text->bytes[i]]++;
    }
    for (size_t i = text->training_count; i < text->count; i++) {
        uint8_t before = text->bytes[i - 1], byte = text->bytes[i];
        sum -= log((pairs[before][byte] + added) / (singles[before] + TOKEN_COUNT * added));
    }
    free(pairs);
    return sum / (double)(text->count - text->training_count);
}

/* Bytes by which a window starts after the one before: every byte but the first few is seen with half a context. */
static size_t window_stride(size_t context)
{
    return context - context / 2;
}

size_t text_window_count(const struct text *text, size_t context)
{
    size_t targets = text->count - text->training_count - 1, stride = window_stride(context);
    return 1 + (targets - context + stride - 1) / stride;
}

struct text_window text_window(const struct text *text, size_t context, size_t index)
{
    const uint8_t *held_out = text->bytes + text->training_count;
    size_t targets = text->count - text->training_count - 1, stride = window_stride(context);
    if (index == 0) return (struct text_window){held_out, 0, context};
    size_t start = index * stride, already = start - stride + context; /* targets that earlier windows score */
    if (start + context > targets) start = targets - context;          /* the last window ends with the text */
    return (struct text_window){held_out + start, already - start, start + context - already};
}
