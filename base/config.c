/* SPDX-License-Identifier: Apache-2.0 */
#include "base/config.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config_internal.h"
#include "base/log.h"
#include "base/text.h"

/* Words of each kind-C option; the index is the value, so the order is that of the enum the field holds. */
static const char *const levels[] = {"error", "warning", "info", "debug", NULL}; /* enum log_level */
static const char *const algorithms[] = {"auto",    "ring",         "tree", "direct",
                                         "halving", "hierarchical", NULL};             /* weft_algorithm */
static const char *const transports[] = {"auto", "shm", "tcp", "verbs", NULL};         /* enum config_transport */
static const char *const attachments[] = {"auto", "off", "permit", NULL};              /* enum config_attach */
static const char *const bindings[] = {"0", "1", "all", NULL};                         /* enum config_binding */
static const char *const link_checks[] = {"auto", "off", "on", NULL};                  /* enum config_link_check */
static const char *const simd_levels[] = {"auto", "portable", "avx2", "avx512", NULL}; /* enum config_simd */

_Static_assert(sizeof algorithms / sizeof algorithms[0] == WEFT_ALGORITHM_COUNT + 1, "a word for each algorithm");

#define RANGE_U(low, high) (low), (high), NULL
#define RANGE_T(low, high) (low), (high), NULL
#define RANGE_B(low, high) 0, 1, NULL
#define RANGE_S(low, high) 0, 0, NULL
#define RANGE_C(low, high) 0, 0, (low)
#define OPTION(field, variable, kind, default_text, low, high, help)                                                   \
    {#variable, KIND_##kind, offsetof(struct config, field), default_text, RANGE_##kind(low, high), help},
static const struct config_option options[] = {CONFIG_TABLE(OPTION)};
enum { OPTION_COUNT = sizeof options / sizeof options[0] };

/*
 * Variables that carry something from one process to another rather than configure: read by their module through
 * config_launcher_variable(), listed here only so that they are not called unknown.
 */
static const char *const passed_variables[] = {
    "WEFT_ID_FD",           /* weft_local_run() to its children: the descriptor that carries the job's identity */
    "WEFT_KEY_FD",          /* whoever starts ranks to them: a descriptor that gives the job's key */
    "WEFT_TOPOLOGY_CORPUS", /* ./check to the topology tests: a folder of captured machines */
};

/* The option that "NAME=value" sets, or NULL; *value is then what follows the '='. */
static const struct config_option *option_find(const char *entry, const char **value)
{
    size_t length = strcspn(entry, "=");
    if (entry[length] != '=') return NULL;
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (strlen(options[i].variable) == length && memcmp(options[i].variable, entry, length) == 0) {
            *value = entry + length + 1;
            return &options[i];
        }
    }
    return NULL;
}

static bool is_passed_variable(const char *name)
{
    for (size_t i = 0; i < sizeof passed_variables / sizeof passed_variables[0]; i++) {
        if (strcmp(passed_variables[i], name) == 0) return true;
    }
    return false;
}

static void unknown_variable_warn(const char *entry)
{
    char name[64];
    size_t length = strcspn(entry, "=");
    if (length >= sizeof name) length = sizeof name - 1;
    memcpy(name, entry, length);
    name[length] = '\0';
    if (is_passed_variable(name)) return;

    unsigned nearest = 0, nearest_distance = (unsigned)-1;
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        unsigned distance = config_name_distance(name, options[i].variable);
        if (distance < nearest_distance) {
            nearest_distance = distance;
            nearest = i;
        }
    }
    log_warning("variable %s unknown nearest %s", name, options[nearest].variable);
}

static void unknown_variables_warn(char *const environment[])
{
    const char *value;
    for (; *environment; environment++) {
        if (strncmp(*environment, "WEFT_", 5) == 0 && !option_find(*environment, &value)) {
            unknown_variable_warn(*environment);
        }
    }
}

/* config_parse() without the warnings. A bad value does not keep the later ones from being read. */
static weft_status environment_parse(char *const environment[], struct config *config, struct diagnostic *diagnostic)
{
    memset(config, 0, sizeof *config);
    for (int i = 0; i < OPTION_COUNT; i++) config_value_parse(&options[i], options[i].default_text, config, NULL);

    struct diagnostic bad;
    weft_status result = WEFT_OK;
    for (; *environment; environment++) {
        const char *value;
        const struct config_option *option = option_find(*environment, &value);
        if (!option || !value[0]) continue;
        weft_status status = config_value_parse(option, value, config, &bad);
        if (status != WEFT_OK && result == WEFT_OK) result = diagnose(diagnostic, status, "%s", bad.text);
    }
    return result;
}

weft_status config_parse(char *const environment[], struct config *config, struct diagnostic *diagnostic)
{
    unknown_variables_warn(environment);
    return environment_parse(environment, config, diagnostic);
}

static struct config process_config;
static struct diagnostic process_diagnostic;
static pthread_once_t process_read = PTHREAD_ONCE_INIT, process_reported = PTHREAD_ONCE_INIT;

static void process_config_read(void)
{
    static char *nothing[] = {NULL};
    environment_parse(environ ? environ : nothing, &process_config, &process_diagnostic);
}

/* Apart from reading, because the log reads the configuration and must not wait here for itself. */
static void process_config_report(void)
{
    if (environ) unknown_variables_warn(environ);
    if (process_diagnostic.status != WEFT_OK) log_error("config %s", process_diagnostic.text);
}

const struct config *config_values(void)
{
    pthread_once(&process_read, process_config_read);
    return &process_config;
}

const struct config *config_get(void)
{
    config_values();
    pthread_once(&process_reported, process_config_report);
    return &process_config;
}

weft_status config_status(struct diagnostic *diagnostic)
{
    config_get();
    if (process_diagnostic.status == WEFT_OK) return WEFT_OK;
    return diagnose(diagnostic, process_diagnostic.status, "%s", process_diagnostic.text);
}

const char *config_launcher_variable(const char *name)
{
    return getenv(name);
}

char *config_help(void)
{
    struct text text = {0};
    for (int i = 0; i < OPTION_COUNT; i++) {
        const struct config_option *option = &options[i];
        text_add(&text, "%-21s %-8s %s", option->variable, option->default_text, option->help);
        for (int word = 0; option->words && option->words[word]; word++) {
            const char *separator = word == 0 ? ": " : option->words[word + 1] ? ", " : " or ";
            text_add(&text, "%s%s", separator, option->words[word]);
        }
        text_add(&text, "\n");
    }
    return text_take(&text);
}
