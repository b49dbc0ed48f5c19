/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/topo/modules.h"

#include <stddef.h>
#include <stdio.h>
#include <weft/types.h>

#include "transport/verbs/module.h"

struct module {
    const char *kind, *name, *state, *purpose; /* state NULL: it is a module, and says so itself */
};

static const struct module modules[] = {
    {"transport", "shm", "ready", "ranks of one host, through shared memory"},
    {"transport", "tcp", "ready", "ranks of several hosts, over sockets"},
    {"transport", "verbs", NULL, "ranks of several hosts, over RDMA devices"},
    {"transport", "dpdk", "not built in this version", "ranks of several hosts, over DPDK ports"},
    {"memory", "host", "ready", "ordinary memory"},
    {"memory", "cuda", "not built in this version", "GPU memory"},
};

void modules_print(void)
{
    const struct verbs_module *verbs;
    struct diagnostic diagnostic;
    const char *verbs_state = verbs_module_load(&verbs, &diagnostic) == WEFT_OK ? "ready" : diagnostic.text;
    printf("weft %s\n", weft_version());
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        printf("%-10s %-6s %-26s (%s)\n", modules[i].kind, modules[i].name,
               modules[i].state ? modules[i].state : verbs_state, modules[i].purpose);
    putchar('\n');
}
