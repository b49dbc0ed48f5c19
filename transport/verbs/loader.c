/* SPDX-License-Identifier: Apache-2.0 */
/* libweft's side of module.h. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "transport/verbs/module.h"

#define MODULE_NAME "weft_verbs.so"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool tried;
static const struct verbs_module *loaded;
static struct diagnostic obstacle;

/* The folder of libweft, or of the program that it is part of; "" where that is unknown. */
static void own_folder(char folder[4096])
{
    Dl_info info;
    const char *end;

    folder[0] = '\0';
    if (!dladdr((void *)weft_version, &info) || !info.dli_fname) return;
    /* A program is named as it was started, which may be without a folder. */
    char program[4096];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    const char *path = info.dli_fname;
    if (!strchr(path, '/') && length > 0) {
        program[length] = '\0';
        path = program;
    }
    end = strrchr(path, '/');
    if (end) (void)snprintf(folder, 4096, "%.*s", (int)(end - path), path);
}

/* False: no such file. */
static bool path_try(const char *folder, const char *below, void **handle)
{
    char path[4352];

    if (!folder[0]) return false;
    (void)snprintf(path, sizeof path, "%s%s/%s", folder, below, MODULE_NAME);
    if (access(path, R_OK) != 0) return false;
    *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!*handle) (void)diagnose(&obstacle, WEFT_UNSUPPORTED, "%.240s", dlerror());
    return true;
}

static void module_load(void)
{
    const char *given = config_get()->module_path;
    char own[4096];
    void *handle = NULL;

    own_folder(own);
    const bool found = given[0] ? path_try(given, "", &handle)
                                : path_try(own, "/weft", &handle) || path_try(WEFT_MODULE_FOLDER, "", &handle);
    if (!found)
        (void)diagnose(&obstacle, WEFT_UNSUPPORTED, "no module %s in %.180s", MODULE_NAME,
                       given[0] ? given : WEFT_MODULE_FOLDER);
    if (!handle) return;
    const struct verbs_module *(*entry)(void) =
        (const struct verbs_module *(*)(void))(uintptr_t)dlsym(handle, "weft_verbs_module");
    const struct verbs_module *module = entry ? entry() : NULL;
    if (!module || module->abi != VERBS_MODULE_ABI || strcmp(module->version, weft_version()) != 0) {
        (void)diagnose(&obstacle, WEFT_UNSUPPORTED, "%s is of version %s; this is %s", MODULE_NAME,
                       module && module->abi == VERBS_MODULE_ABI ? module->version : "unknown", weft_version());
        (void)dlclose(handle);
        return;
    }
    loaded = module; /* for the life of the process: what it opened is the process's */
}

weft_status verbs_module_load(const struct verbs_module **module, struct diagnostic *diagnostic)
{
    weft_status status = WEFT_OK;

    pthread_mutex_lock(&lock);
    if (!tried) module_load();
    tried = true;
    if (loaded)
        *module = loaded;
    else
        status = diagnose(diagnostic, obstacle.status, "%s", obstacle.text);
    pthread_mutex_unlock(&lock);
    return status;
}
