/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trainer/checksum.h"
#include "trainer/error.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "checkpoints are written as they lie in memory, which must be little-endian"
#endif

static const char magic[8] = {'w', 'e', 'f', 't', '\n', 't', 'r', '1'};

struct checkpoint_header {
    char magic[8];
    uint64_t layers, width, heads, context, tokens;
    uint64_t optimizer, seed, step, count, array_count;
    uint64_t reserved; /* 0 */
};

static struct checkpoint_header header_of(const struct checkpoint *checkpoint)
{
    struct checkpoint_header header = {
        .layers = checkpoint->shape.layers,
        .width = checkpoint->shape.width,
        .heads = checkpoint->shape.heads,
        .context = checkpoint->shape.context,
        .tokens = TOKEN_COUNT,
        .optimizer = checkpoint->optimizer,
        .seed = checkpoint->seed,
        .step = checkpoint->step,
        .count = checkpoint->count,
        .array_count = checkpoint->array_count,
    };
    memcpy(header.magic, magic, sizeof(magic));
    return header;
}

/* A file and the CRC of what went through it so far. */
struct stream {
    int fd;
    uint64_t crc;
};

static bool stream_write(struct stream *stream, const void *data, size_t bytes)
{
    stream->crc = checksum(stream->crc, data, bytes);
    const char *at = data;
    while (bytes) {
        ssize_t wrote = write(stream->fd, at, bytes);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return false;
        at += wrote;
        bytes -= (size_t)wrote;
    }
    return true;
}

/* False with errno 0 at the end of the file. */
static bool stream_read(struct stream *stream, void *data, size_t bytes)
{
    char *at = data;
    for (size_t left = bytes; left;) {
        ssize_t got = read(stream->fd, at, left);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) errno = 0;
        if (got <= 0) return false;
        at += got;
        left -= (size_t)got;
    }
    stream->crc = checksum(stream->crc, data, bytes);
    return true;
}

static bool write_all(int fd, const struct checkpoint *checkpoint)
{
    struct stream stream = {.fd = fd};
    struct checkpoint_header header = header_of(checkpoint);
    bool good = stream_write(&stream, &header, sizeof(header));
    for (uint32_t i = 0; i < checkpoint->array_count && good; i++)
        good = stream_write(&stream, checkpoint->arrays[i], checkpoint->count * sizeof(float));
    uint64_t crc = stream.crc;
    return good && stream_write(&stream, &crc, sizeof(crc)) && fsync(fd) == 0;
}

/* A rename is on the disk only when its directory is. */
static bool sync_directory(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return false;
    bool good = fsync(fd) == 0;
    close(fd);
    return good;
}

bool checkpoint_write(const char *directory, const struct checkpoint *checkpoint, char *error)
{
    char path[PATH_MAX], fresh[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/checkpoint", directory) >= (int)sizeof(path) ||
        snprintf(fresh, sizeof(fresh), "%s/checkpoint.new", directory) >= (int)sizeof(fresh))
        return error_set(error, "the name of the checkpoint directory is too long");
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        return error_set(error, "cannot make the directory %s: %s", directory, strerror(errno));
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return error_set(error, "cannot write %s: %s", fresh, strerror(errno));
    bool good = write_all(fd, checkpoint);
    int reason = errno;
    if (close(fd) != 0 && good) good = false, reason = errno;
    if (good && rename(fresh, path) != 0) good = false, reason = errno;
    if (good && !sync_directory(directory)) good = false, reason = errno;
    if (good) return true;
    unlink(fresh);
    return error_set(error, "cannot write %s: %s", path, strerror(reason));
}

static bool read_failed(const char *path, char *error)
{
    if (errno) return error_set(error, "cannot read %s: %s", path, strerror(errno));
    return error_set(error, "%s is cut short: it is not a whole checkpoint", path);
}

static bool same(const char *path, const char *what, uint64_t found, uint64_t expected, char *error)
{
    if (found == expected) return true;
    return error_set(error, "%s was written with %s %llu, not %llu", path, what, (unsigned long long)found,
                     (unsigned long long)expected);
}

static bool header_fits(const char *path, const struct checkpoint_header *found,
                        const struct checkpoint_header *expected, char *error)
{
    static const char *const optimizers[] = {"sgd", "momentum", "adam", "adamw"};
    if (!same(path, "--layers", found->layers, expected->layers, error) ||
        !same(path, "--width", found->width, expected->width, error) ||
        !same(path, "--heads", found->heads, expected->heads, error) ||
        !same(path, "--context", found->context, expected->context, error) ||
        !same(path, "--seed", found->seed, expected->seed, error))
        return false;
    if (found->optimizer != expected->optimizer)
        return error_set(error, "%s was written with --optimizer %s, not %s", path,
                         found->optimizer < 4 ? optimizers[found->optimizer] : "unknown",
                         optimizers[expected->optimizer]);
    return same(path, "a vocabulary of", found->tokens, expected->tokens, error) &&
           same(path, "a parameter count of", found->count, expected->count, error) &&
           same(path, "a count of arrays of", found->array_count, expected->array_count, error);
}

static bool read_all(int fd, const char *path, struct checkpoint *checkpoint, char *error)
{
    struct stream stream = {.fd = fd};
    struct checkpoint_header header, expected = header_of(checkpoint);
    if (!stream_read(&stream, &header, sizeof(header))) return read_failed(path, error);
    if (memcmp(header.magic, magic, sizeof(magic)) != 0)
        return error_set(error, "%s is not a checkpoint of this program's version", path);
    if (!header_fits(path, &header, &expected, error)) return false;
    for (uint32_t i = 0; i < checkpoint->array_count; i++)
        if (!stream_read(&stream, checkpoint->arrays[i], checkpoint->count * sizeof(float)))
            return read_failed(path, error);
    uint64_t computed = stream.crc, written;
    if (!stream_read(&stream, &written, sizeof(written))) return read_failed(path, error);
    if (written != computed)
        return error_set(error, "%s is damaged: its checksum is %016llx, its contents have %016llx", path,
                         (unsigned long long)written, (unsigned long long)computed);
    char beyond;
    if (stream_read(&stream, &beyond, 1)) return error_set(error, "%s is longer than its checkpoint", path);
    checkpoint->step = header.step;
    return true;
}

bool checkpoint_read(const char *directory, struct checkpoint *checkpoint, char *error)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/checkpoint", directory) >= (int)sizeof(path))
        return error_set(error, "the name of the checkpoint directory is too long");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_set(error, "cannot open %s: %s", path, strerror(errno));
    bool good = read_all(fd, path, checkpoint, error);
    close(fd);
    return good;
}
