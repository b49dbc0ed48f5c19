/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/diagnostic.h"
#include "base/text.h"
#include "collectives/comm/comm_internal.h"
#include "topology/discover/nvml.h"
#include "transport/verbs/module.h"

struct module {
    const char *kind, *name, *state, *purpose; /* state NULL: is loaded to find out, by kind */
};

static const struct module modules[] = {
    {"transport", "shm", "ready", "ranks of one host, through shared memory"},
    {"transport", "tcp", "ready", "ranks of several hosts, over sockets"},
    {"transport", "verbs", NULL, "ranks of several hosts, over RDMA devices"},
    {"transport", "dpdk", "not built in this version", "ranks of several hosts, over DPDK ports"},
    {"memory", "host", "ready", "ordinary memory"},
    {"memory", "shared", "ready", "memory that ranks of one host can map"},
    {"memory", "cuda", "not built in this version", "GPU memory"},
    {"discovery", "nvml", NULL, "NVLinks of this machine"},
};

weft_status weft_modules_describe(weft_format format, char **text)
{
    if (!text || (format != WEFT_TEXT && format != WEFT_JSON)) return WEFT_INVALID_ARGUMENT;
    const struct verbs_module *verbs;
    struct diagnostic diagnostic = {WEFT_OK, ""};
    const char *loaded = verbs_module_load(&verbs, &diagnostic) == WEFT_OK ? "ready" : diagnostic.text;
    char nvml_reason[NVML_REASON_BYTES];
    const char *nvml = nvml_probe(nvml_reason) ? "ready" : nvml_reason;
    struct text written = {0};
    if (format == WEFT_JSON) json_array_begin(&written, NULL);
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        const struct module *module = &modules[i];
        const char *found = strcmp(module->kind, "discovery") == 0 ? nvml : loaded;
        const char *state = module->state ? module->state : found;
        if (format == WEFT_TEXT) {
            text_add(&written, "%-10s %-6s %-26s (%s)\n", module->kind, module->name, state, module->purpose);
            continue;
        }
        json_object_begin(&written, NULL);
        json_string(&written, "kind", module->kind);
        json_string(&written, "name", module->name);
        json_string(&written, "state", state);
        json_string(&written, "purpose", module->purpose);
        json_object_end(&written);
    }
    if (format == WEFT_JSON) json_array_end(&written);
    char *taken = text_take(&written);
    if (!taken) return WEFT_OUT_OF_MEMORY;
    *text = taken;
    return WEFT_OK;
}
