/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/select/calibration.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/config.h"
#include "base/file.h"
#include "base/text.h"
#include "topology/format/yaml.h"

enum { FILE_BYTES_MAX = 65536 };
static const double doubt_most = 0.5; /* what is less certain is not kept */

/* What a file has of a transport, and where weft_calibration and calibration_figures have it. */
#define FIGURE(name)                                                                                                   \
    {                                                                                                                  \
#name, offsetof(struct calibration_figures, name), offsetof(weft_calibration, name)                            \
    }
static const struct figure_field {
    const char *key;
    size_t kept, measured;
} fields[] = {
    FIGURE(message_ns),   FIGURE(message_spread_ns),   FIGURE(byte_ns),     FIGURE(byte_spread_ns),
    FIGURE(lone_byte_ns), FIGURE(lone_byte_spread_ns), FIGURE(round_ns),    FIGURE(round_spread_ns),
    FIGURE(cell_byte_ns), FIGURE(cell_byte_spread_ns), FIGURE(copy_ns),     FIGURE(copy_spread_ns),
    FIGURE(copy_byte_ns), FIGURE(copy_byte_spread_ns), FIGURE(exchange_ns),
};
enum { FIELDS = sizeof fields / sizeof fields[0], FIELDS_NEEDED = 4 };

static double *figure_at(struct calibration_figures *figures, size_t field)
{
    return (double *)(void *)((char *)figures + fields[field].kept);
}

const char *const calibration_transports[CALIBRATION_TRANSPORTS] = {"shm", "tcp", "verbs"};

/* A number of nanoseconds, or a count: finite, not negative, less than a day. */
static weft_status number_take(const struct format_source *source, const struct yaml_value *map, const char *key,
                               double *number, struct diagnostic *diagnostic)
{
    const struct yaml_value *value = yaml_find(map, key);
    char *end = NULL;
    bool scalar = value && value->kind == YAML_IS_SCALAR && value->text.size > 0;
    double found = scalar ? strtod(value->text.at, &end) : 0;
    if (scalar && end == value->text.at + value->text.size && isfinite(found) && found >= 0 && found < 86400e9) {
        *number = found;
        return WEFT_OK;
    }
    const struct place place = value ? value->place : map->place;
    return diagnose(diagnostic, WEFT_BAD_FORMAT, "%s:%u:%u: \"%s\" is not a number from 0 to a day of nanoseconds",
                    source->name, place.line, place.column, key);
}

static weft_status figures_take(const struct format_source *source, const struct yaml_value *map,
                                struct calibration_figures *figures, struct diagnostic *diagnostic)
{
    double samples = 0;
    weft_status status = yaml_expect(source, map, YAML_IS_MAP, "a transport's figures", diagnostic);
    for (size_t i = 0; i < FIELDS && !status; i++)
        if (i < FIELDS_NEEDED || yaml_find(map, fields[i].key))
            status = number_take(source, map, fields[i].key, figure_at(figures, i), diagnostic);
    if (!status) status = number_take(source, map, "samples", &samples, diagnostic);
    if (!status && (figures->message_ns <= 0 || figures->byte_ns <= 0 || samples > UINT32_MAX))
        status = diagnose(diagnostic, WEFT_BAD_FORMAT, "%s:%u:%u: a message and a byte each take some time",
                          source->name, map->place.line, map->place.column);
    figures->samples = status ? 0 : (uint32_t)samples;
    figures->present = true;
    return status;
}

static void text_copy(const struct yaml_value *value, char text[CALIBRATION_TEXT])
{
    if (!value || value->kind != YAML_IS_SCALAR) return;
    size_t length = value->text.size < CALIBRATION_TEXT ? value->text.size : CALIBRATION_TEXT - 1;
    for (size_t i = 0; i < length; i++) text[i] = (unsigned char)value->text.at[i] < ' ' ? '?' : value->text.at[i];
}

static weft_status root_take(const struct format_source *source, const struct yaml_value *root,
                             struct calibration *calibration, struct diagnostic *diagnostic)
{
    const struct yaml_value *version = root->kind == YAML_IS_MAP ? yaml_find(root, "weft_calibration") : NULL;
    if (!version || version->kind != YAML_IS_SCALAR || strcmp(version->text.at, "1") != 0)
        return diagnose(diagnostic, WEFT_BAD_FORMAT, "%s: no \"weft_calibration\": 1; weft-perf --calibrate makes one",
                        source->name);
    text_copy(yaml_find(root, "host"), calibration->host);
    text_copy(yaml_find(root, "date"), calibration->date);
    const struct yaml_value *transports = yaml_find(root, "transports");
    if (!transports) return diagnose(diagnostic, WEFT_BAD_FORMAT, "%s: there are no \"transports\"", source->name);
    weft_status status = yaml_expect(source, transports, YAML_IS_MAP, "\"transports\"", diagnostic);
    for (int i = 0; i < CALIBRATION_TRANSPORTS && !status; i++) {
        const struct yaml_value *map = yaml_find(transports, calibration_transports[i]);
        if (map) status = figures_take(source, map, &calibration->figures[i], diagnostic);
    }
    return status;
}

weft_status calibration_parse(const char *name, const char *bytes, size_t size, struct calibration *calibration,
                              struct diagnostic *diagnostic)
{
    const struct format_source source = {.name = name, .bytes = (const uint8_t *)bytes, .size = size};
    struct calibration taken = {0};
    struct arena arena = {0};
    const struct yaml_value *root = NULL;
    weft_status status = yaml_parse(&source, &arena, &root, diagnostic); /* JSON is YAML */
    if (!status) status = root_take(&source, root, &taken, diagnostic);
    arena_free(&arena);
    if (!status) *calibration = taken;
    return status;
}

bool calibration_is_named(void)
{
    return config_get()->calibration[0] != '\0';
}

void calibration_path(char path[CALIBRATION_PATH])
{
    path[0] = '\0';
    if (calibration_is_named()) {
        if (strcmp(config_get()->calibration, "0") != 0)
            snprintf(path, CALIBRATION_PATH, "%s", config_get()->calibration);
        return;
    }
    const char *cache = config_launcher_variable("XDG_CACHE_HOME"), *home = config_launcher_variable("HOME");
    int length = 0;
    if (cache && cache[0] == '/') /* a relative one is to be ignored, says the XDG Base Directory Specification */
        length = snprintf(path, CALIBRATION_PATH, "%s/weft/calibration.json", cache);
    else if (home && home[0] == '/')
        length = snprintf(path, CALIBRATION_PATH, "%s/.cache/weft/calibration.json", home);
    if (length >= CALIBRATION_PATH) path[0] = '\0';
}

void calibration_host(char host[CALIBRATION_TEXT])
{
    struct utsname names;
    if (uname(&names) != 0) memset(&names, 0, sizeof names);
    snprintf(host, CALIBRATION_TEXT, "%.64s %.32s %ld processors", names.nodename, names.machine,
             sysconf(_SC_NPROCESSORS_CONF));
}

weft_status calibration_load(const char *path, struct calibration *calibration, struct diagnostic *diagnostic)
{
    char *bytes = NULL;
    size_t size = 0;
    weft_status status = file_load(path, FILE_BYTES_MAX, &bytes, &size, diagnostic);
    if (status == WEFT_OK) status = calibration_parse(path, bytes, size, calibration, diagnostic);
    free(bytes);
    return status;
}

/* The larger of the two doubts. */
static double doubt_more(double doubt, double median, double spread)
{
    double own = median > 0 ? spread / median : 0;
    if (own > doubt_most) own = doubt_most;
    return own > doubt ? own : doubt;
}

static void figures_apply(const struct calibration_figures *figures, struct cost_model *model)
{
    double doubt = doubt_more(0, figures->message_ns, figures->message_spread_ns);
    doubt = doubt_more(doubt, figures->byte_ns, figures->byte_spread_ns);
    model->message_ns = figures->message_ns;
    model->byte_ns = figures->byte_ns;
    model->lone_byte_ns = figures->lone_byte_ns;
    model->step_ns = 0; /* what is measured is a message and its step together */
    if (figures->round_ns > 0 && model->round_ns > 0) {
        doubt = doubt_more(doubt, figures->round_ns, figures->round_spread_ns);
        doubt = doubt_more(doubt, figures->copy_byte_ns, figures->copy_byte_spread_ns);
        model->cell_ns *= figures->round_ns / model->round_ns; /* measured is a round of two ranks, without others */
        model->round_ns = figures->round_ns;
        model->cell_byte_ns = figures->cell_byte_ns;
        model->copy_ns = figures->copy_ns;
        model->copy_byte_ns = figures->copy_byte_ns;
    }
    model->doubt = doubt;
}

bool calibration_apply(const struct calibration *calibration, const char *transport, const struct cost_model *built_in,
                       struct cost_model *model, char *source)
{
    for (int i = 0; i < CALIBRATION_TRANSPORTS; i++) {
        const struct calibration_figures *figures = &calibration->figures[i];
        if (!figures->present || strcmp(transport, calibration_transports[i]) != 0) continue;
        int length = snprintf(source, CALIBRATION_PATH,
                              "measured %s on %s, %u samples: message %.4g +- %.2g ns, byte %.4g +- %.2g ns",
                              calibration->date, calibration->host, figures->samples, figures->message_ns,
                              figures->message_spread_ns, figures->byte_ns, figures->byte_spread_ns);
        if (figures->round_ns > 0 && length > 0 && length < CALIBRATION_PATH)
            snprintf(source + length, CALIBRATION_PATH - (size_t)length,
                     ", round %.4g +- %.2g ns, kernel's copy %.4g +- %.2g ns and byte %.4g +- %.2g ns",
                     figures->round_ns, figures->round_spread_ns, figures->copy_ns, figures->copy_spread_ns,
                     figures->copy_byte_ns, figures->copy_byte_spread_ns);
        *model = *built_in;
        figures_apply(figures, model);
        model->source = source;
        return true;
    }
    return false;
}

static char *calibration_json(const struct calibration *calibration)
{
    struct text text = {0};
    json_object_begin(&text, NULL);
    json_unsigned(&text, "weft_calibration", 1);
    json_string(&text, "host", calibration->host);
    json_string(&text, "date", calibration->date);
    json_object_begin(&text, "transports");
    for (int i = 0; i < CALIBRATION_TRANSPORTS; i++) {
        const struct calibration_figures *figures = &calibration->figures[i];
        if (!figures->present) continue;
        json_object_begin(&text, calibration_transports[i]);
        for (size_t k = 0; k < FIELDS; k++) {
            double value = *(const double *)(const void *)((const char *)figures + fields[k].kept);
            if (k < FIELDS_NEEDED || value > 0) json_number(&text, fields[k].key, value);
        }
        json_unsigned(&text, "samples", figures->samples);
        json_object_end(&text);
    }
    json_object_end(&text);
    json_object_end(&text);
    text_add(&text, "\n");
    return text_take(&text);
}

/* The folders that lead to @p path, as far as they are missing: for this user alone, as the specification asks. */
static void folders_make(const char *path)
{
    char folder[CALIBRATION_PATH];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(folder, 0700); /* what cannot be made is noticed when the file is opened */
        *slash = '/';
    }
}

/* Beside its place first: readers see the old file or the new one, whole. */
static bool file_replace(const char *path, const char *text)
{
    char beside[CALIBRATION_PATH + 16];
    snprintf(beside, sizeof beside, "%s.%ld", path, (long)getpid());
    FILE *file = fopen(beside, "we");
    if (!file) return false;
    bool written = fputs(text, file) >= 0;
    written = fclose(file) == 0 && written;
    if (written && rename(beside, path) == 0) return true;
    int error = errno;
    unlink(beside);
    errno = error;
    return false;
}

weft_status weft_calibration_store(const weft_calibration *measured, char *path)
{
    char place[CALIBRATION_PATH];
    struct calibration calibration = {0};
    /* Callers of the first version end with `samples`; they measured no more than that. */
    const size_t first_size = offsetof(weft_calibration, lone_byte_ns);
    if (!measured || (measured->size != sizeof *measured && measured->size != first_size) || !measured->transport)
        return WEFT_INVALID_ARGUMENT;
    struct calibration_figures figures = {.present = true, .samples = measured->samples};
    for (size_t i = 0; i < FIELDS; i++) {
        if (fields[i].measured + sizeof(double) > measured->size) continue;
        double value = *(const double *)(const void *)((const char *)measured + fields[i].measured);
        if (!isfinite(value) || value < 0) return WEFT_INVALID_ARGUMENT;
        *figure_at(&figures, i) = value;
    }
    if (!(figures.message_ns > 0) || !(figures.byte_ns > 0)) return WEFT_INVALID_ARGUMENT;
    int transport = 0;
    while (transport < CALIBRATION_TRANSPORTS && strcmp(measured->transport, calibration_transports[transport]) != 0)
        transport++;
    calibration_path(place);
    if (transport == CALIBRATION_TRANSPORTS || !place[0]) return WEFT_INVALID_ARGUMENT;
    char host[CALIBRATION_TEXT];
    calibration_host(host);
    if (calibration_load(place, &calibration, NULL) != WEFT_OK || strcmp(calibration.host, host) != 0)
        calibration = (struct calibration){0};
    memcpy(calibration.host, host, sizeof host);
    time_t now = time(NULL);
    struct tm utc;
    strftime(calibration.date, sizeof calibration.date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    calibration.figures[transport] = figures;
    char *text = calibration_json(&calibration);
    if (!text) return WEFT_OUT_OF_MEMORY;
    folders_make(place);
    bool stored = file_replace(place, text);
    free(text);
    if (!stored) return WEFT_SYSTEM_ERROR;
    if (path) snprintf(path, CALIBRATION_PATH, "%s", place);
    return WEFT_OK;
}
