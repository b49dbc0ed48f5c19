/* SPDX-License-Identifier: Apache-2.0 */
/* The key of a job whose launcher carries none, and the id that all its ranks derive from it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "fabric/bootstrap/bootstrap.h"
#include "fabric/bootstrap/keyed_hash.h"
#include "launch_internal.h"

#define MAKE_A_KEY "od -An -N32 -tx1 /dev/urandom | tr -d ' \\n'"

enum { KEY_TEXT_BYTES = 2 * KEY_BYTES + 2 }; /* a line end may follow, and one byte tells what is longer */

/* 64 digits and at most one line end. */
static weft_status key_parse(const char *name, const char *text, size_t size, uint8_t key[KEY_BYTES],
                             struct diagnostic *diagnostic)
{
    bool whole = size == 2 * KEY_BYTES || (size == 2 * KEY_BYTES + 1 && text[size - 1] == '\n');
    if (whole && hex_read(text, key, KEY_BYTES)) return WEFT_OK;
    return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                    "%s does not hold a key, which is %d hexadecimal digits: make one with " MAKE_A_KEY, name,
                    2 * KEY_BYTES);
}

static weft_status key_from_file(const char *path, uint8_t key[KEY_BYTES], struct diagnostic *diagnostic)
{
    char text[KEY_TEXT_BYTES];
    struct stat about;
    /* Non-blocking, so that a FIFO in the file's place does not stop us. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "WEFT_KEY_FILE '%.100s' cannot be opened: %s", path,
                        strerror(errno));
    weft_status status;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) {
        status = diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "WEFT_KEY_FILE '%.100s' is not a file", path);
    } else if (about.st_uid != geteuid()) {
        status = diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                          "WEFT_KEY_FILE '%.100s' belongs to user %u, not to %u who runs this: give every user a key "
                          "of their own",
                          path, (unsigned)about.st_uid, (unsigned)geteuid());
    } else if (about.st_mode & 077) {
        status = diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                          "WEFT_KEY_FILE '%.100s' has mode %04o, so others may read or change it: chmod 600, and make "
                          "a new key if they could before",
                          path, (unsigned)about.st_mode & 07777);
    } else {
        ssize_t size = pread(fd, text, sizeof text, 0);
        status = key_parse("WEFT_KEY_FILE", text, size < 0 ? 0 : (size_t)size, key, diagnostic);
    }
    explicit_bzero(text, sizeof text);
    close(fd);
    return status;
}

/* What a descriptor gives until its end, or until it is too much. */
static weft_status descriptor_read(int fd, char *text, size_t room, size_t *size, uint64_t deadline_at_ns,
                                   struct diagnostic *diagnostic)
{
    for (*size = 0; *size < room;) {
        uint64_t now_ns = clock_now_ns();
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int timeout_ms = now_ns >= deadline_at_ns ? 0 : (int)((deadline_at_ns - now_ns) / NS_PER_MS) + 1;
        int got = poll(&ready, 1, timeout_ms);
        if (got == 0)
            return diagnose(diagnostic, WEFT_DEADLINE_EXCEEDED,
                            "nobody has written the key to the descriptor WEFT_KEY_FD names and closed it");
        ssize_t count = got < 0 ? -1 : read(fd, text + *size, room - *size);
        if (count == 0) break;
        if (count > 0) *size += (size_t)count;
        if (count < 0 && errno != EINTR && errno != EAGAIN)
            return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "the descriptor WEFT_KEY_FD names cannot be read: %s",
                            strerror(errno));
    }
    return WEFT_OK;
}

static weft_status key_from_descriptor(uint8_t key[KEY_BYTES], uint64_t deadline_at_ns, struct diagnostic *diagnostic)
{
    uint32_t fd;
    char text[KEY_TEXT_BYTES];
    size_t size;
    weft_status status = variable_number("WEFT_KEY_FD", INT32_MAX, &fd, diagnostic);
    if (status != WEFT_OK) return status;
    status = descriptor_read((int)fd, text, sizeof text, &size, deadline_at_ns, diagnostic);
    if (status == WEFT_OK) status = key_parse("WEFT_KEY_FD", text, size, key, diagnostic);
    explicit_bzero(text, sizeof text);
    /* From here on the secret is not for the programs this process runs. */
    if (status == WEFT_OK) fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    return status;
}

weft_status key_find(uint8_t key[KEY_BYTES], bool *once, uint64_t deadline_at_ns, struct diagnostic *diagnostic)
{
    const struct config *config = config_get();
    *once = variable_is_set("WEFT_KEY_FD");
    if (*once && config->key_file[0])
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "WEFT_KEY_FD and WEFT_KEY_FILE are both set: unset the one that does not count");
    if (*once) return key_from_descriptor(key, deadline_at_ns, diagnostic);
    if (config->key_file[0]) return key_from_file(config->key_file, key, diagnostic);
    if (!config->insecure)
        return diagnose(
            diagnostic, WEFT_INVALID_ARGUMENT,
            "there is no key to trust the other ranks by: let WEFT_KEY_FILE name a file of mode 600 with 64 "
            "hexadecimal digits, the same for all ranks, or set WEFT_INSECURE=1 where nobody else can reach "
            "them");
    log_warning("no key WEFT_INSECURE 1 whoever reaches the ranks of this job can take part in it");
    memset(key, 0, KEY_BYTES);
    return WEFT_OK;
}

void job_derive(const uint8_t key[KEY_BYTES], const char *address, uint16_t port, uint8_t job[JOB_BYTES])
{
    /* What tells apart two jobs that meet at one address and port, where the launcher numbers them. */
    static const char *const numbered_by[] = {"TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "SLURM_JOB_ID",
                                              "SLURM_STEP_ID"};
    /*
     * The tag of the fields' tags: fields of any length, none of which can pass for a part of another. A variable that
     * is unset counts as empty.
     */
    uint8_t tags[6][16], port_bytes[2];
    bytes_put_u16(port_bytes, port);
    keyed_tag(key, address, strlen(address), tags[0]);
    keyed_tag(key, port_bytes, sizeof port_bytes, tags[1]);
    for (int i = 0; i < 4; i++) {
        const char *value = config_launcher_variable(numbered_by[i]);
        if (!value) value = "";
        keyed_tag(key, value, strlen(value), tags[2 + i]);
    }
    keyed_tag(key, tags, sizeof tags, job);
}

weft_status place_derive(struct place *place, const char *address, uint16_t port, uint64_t deadline_at_ns,
                         struct diagnostic *diagnostic)
{
    struct unique_id_parts parts = {.port = port};
    weft_status status = key_find(parts.key, &place->lasting, deadline_at_ns, diagnostic);
    if (status == WEFT_OK) status = master_resolve(address, &parts, deadline_at_ns, diagnostic);
    if (status == WEFT_OK) {
        /* From the text, not from what it resolved to: hosts may see one name at different addresses. */
        job_derive(parts.key, address, port, parts.job);
        status = unique_id_make(&parts, &place->id);
    }
    explicit_bzero(&parts, sizeof parts);
    return status;
}

void hex_write(const uint8_t *bytes, size_t size, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        *text++ = digits[bytes[i] >> 4];
        *text++ = digits[bytes[i] & 15];
    }
    *text = '\0';
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool hex_read(const char *text, uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        int high = digit_value(text[2 * i]);
        int low = high < 0 ? -1 : digit_value(text[2 * i + 1]);
        if (low < 0) return false;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
