/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/discover/nvml.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "topology/discover/nvml_abi.h"

enum { VENDOR_IBM = 0x1014 };

struct nvml {
    void *library;
    nvml_abi_init *init;
    nvml_abi_shutdown *shutdown;
    nvml_abi_count *count;
    nvml_abi_handle *handle;
    nvml_abi_pci_info *pci_info;
    nvml_abi_link_number *link_state;
    nvml_abi_link_remote *link_remote;
    /* NULL in drivers that lack them */
    nvml_abi_name *name;
    nvml_abi_capability *capability;
    nvml_abi_link_number *link_version;
    nvml_abi_link_number *link_remote_kind;
    nvml_abi_error_string *error_string;
};

__attribute__((format(printf, 2, 3))) static bool refuse(char reason[NVML_REASON_BYTES], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, NVML_REASON_BYTES, format, arguments);
    va_end(arguments);
    return false;
}

static bool library_open(struct nvml *nvml, char reason[NVML_REASON_BYTES])
{
    static const struct {
        const char *name;
        size_t offset;
        bool optional;
    } functions[] = {
        {"nvmlInit_v2", offsetof(struct nvml, init), false},
        {"nvmlShutdown", offsetof(struct nvml, shutdown), false},
        {"nvmlDeviceGetCount_v2", offsetof(struct nvml, count), false},
        {"nvmlDeviceGetHandleByIndex_v2", offsetof(struct nvml, handle), false},
        {"nvmlDeviceGetPciInfo_v3", offsetof(struct nvml, pci_info), false},
        {"nvmlDeviceGetNvLinkState", offsetof(struct nvml, link_state), false},
        {"nvmlDeviceGetNvLinkRemotePciInfo_v2", offsetof(struct nvml, link_remote), false},
        {"nvmlDeviceGetName", offsetof(struct nvml, name), true},
        {"nvmlDeviceGetCudaComputeCapability", offsetof(struct nvml, capability), true},
        {"nvmlDeviceGetNvLinkVersion", offsetof(struct nvml, link_version), true},
        {"nvmlDeviceGetNvLinkRemoteDeviceType", offsetof(struct nvml, link_remote_kind), true},
        {"nvmlErrorString", offsetof(struct nvml, error_string), true},
    };
    nvml->library = dlopen(NVML_ABI_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!nvml->library) return refuse(reason, "%.150s", dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *symbol = dlsym(nvml->library, functions[i].name);
        if (!symbol && !functions[i].optional) {
            dlclose(nvml->library);
            return refuse(reason, NVML_ABI_LIBRARY " has no %s", functions[i].name);
        }
        memcpy((char *)nvml + functions[i].offset, &symbol, sizeof symbol);
    }
    return true;
}

static void nvml_close(struct nvml *nvml)
{
    (void)nvml->shutdown(); /* nothing is left to be done about a failure */
    dlclose(nvml->library);
}

/* After a call failed: close all, and say why. */
static bool give_up(struct nvml *nvml, bool initialized, const char *what, int status, char reason[NVML_REASON_BYTES])
{
    const char *text = nvml->error_string ? nvml->error_string(status) : NULL;
    refuse(reason, "%s: %.100s (%d)", what, text ? text : "unknown error", status);
    if (initialized)
        nvml_close(nvml);
    else
        dlclose(nvml->library);
    return false;
}

static bool nvml_open(struct nvml *nvml, unsigned int *count, char reason[NVML_REASON_BYTES])
{
    *count = 0;
    if (!library_open(nvml, reason)) return false;
    int status = nvml->init();
    if (status != NVML_ABI_SUCCESS) return give_up(nvml, false, "nvmlInit", status, reason);
    status = nvml->count(count);
    if (status != NVML_ABI_SUCCESS) return give_up(nvml, true, "nvmlDeviceGetCount", status, reason);
    if (*count > NVML_GPUS_MAX) {
        nvml_close(nvml);
        return refuse(reason, "NVML counts %u GPUs, more than the %d that any host can have", *count, NVML_GPUS_MAX);
    }
    return true;
}

/* NVML says all ones of what a virtual machine does not see. */
static struct nvml_address address_of(const struct nvml_abi_pci *pci)
{
    if (pci->bus > 0xff || pci->device > 0x1f) return (struct nvml_address){0};
    return (struct nvml_address){.known = true, .domain = pci->domain, .bus = pci->bus, .device = pci->device};
}

static enum nvml_remote remote_kind(const struct nvml *nvml, nvml_abi_device device, unsigned int index,
                                    const struct nvml_abi_pci *remote)
{
    unsigned int kind;
    if (nvml->link_remote_kind && nvml->link_remote_kind(device, index, &kind) == NVML_ABI_SUCCESS) {
        if (kind == NVML_ABI_REMOTE_GPU) return REMOTE_GPU;
        if (kind == NVML_ABI_REMOTE_SWITCH) return REMOTE_SWITCH;
        if (kind == NVML_ABI_REMOTE_CPU) return REMOTE_CPU;
    }
    return (remote->device_and_vendor & 0xffff) == VENDOR_IBM ? REMOTE_CPU : REMOTE_UNTOLD;
}

static void links_read(const struct nvml *nvml, nvml_abi_device device, struct nvml_gpu *gpu)
{
    for (unsigned int index = 0; index < NVML_LINKS_MAX; index++) {
        unsigned int state = 0, version = 0;
        /* Fails for links that the GPU does not have. */
        if (nvml->link_state(device, index, &state) != NVML_ABI_SUCCESS || state != NVML_ABI_ENABLED) continue;
        struct nvml_abi_pci pci = {.bus = ~0u};
        struct nvml_link *link = &gpu->links[gpu->link_count++];
        if (nvml->link_remote(device, index, &pci) == NVML_ABI_SUCCESS) link->remote = address_of(&pci);
        link->kind = remote_kind(nvml, device, index, &pci);
        if (nvml->link_version && nvml->link_version(device, index, &version) == NVML_ABI_SUCCESS)
            link->version = version;
    }
}

/* False: there is no telling which GPU it is. */
static bool gpu_read(const struct nvml *nvml, nvml_abi_device device, struct nvml_gpu *gpu)
{
    struct nvml_abi_pci pci = {.bus = ~0u};
    int major, minor;
    memset(gpu, 0, sizeof *gpu);
    if (nvml->pci_info(device, &pci) != NVML_ABI_SUCCESS) return false;
    gpu->address = address_of(&pci);
    if (!gpu->address.known) return false;
    if (!nvml->name || nvml->name(device, gpu->name, sizeof gpu->name) != NVML_ABI_SUCCESS) gpu->name[0] = '\0';
    gpu->name[sizeof gpu->name - 1] = '\0';
    for (char *byte = gpu->name; *byte; byte++)
        if (*byte < ' ' || *byte > '~') *byte = '?';
    if (nvml->capability && nvml->capability(device, &major, &minor) == NVML_ABI_SUCCESS && major > 0 && major < 100 &&
        minor >= 0 && minor < 10)
        gpu->compute_capability = (uint32_t)(major * 10 + minor);
    links_read(nvml, device, gpu);
    return true;
}

void nvml_read(struct nvml_report *report)
{
    struct nvml nvml = {0};
    unsigned int count;
    memset(report, 0, sizeof *report);
    if (!nvml_open(&nvml, &count, report->reason)) return;
    report->usable = report->lists_all = true;
    for (unsigned int i = 0; i < count && report->usable; i++) {
        struct nvml_gpu *gpu = &report->gpus[report->gpu_count];
        nvml_abi_device device = NULL;
        int status = nvml.handle(i, &device);
        if (status == NVML_ABI_NO_PERMISSION) continue;
        if (status != NVML_ABI_SUCCESS || !gpu_read(&nvml, device, gpu)) {
            report->lists_all = false;
        } else if (nvml_find(report, gpu->address.domain, gpu->address.bus, gpu->address.device)) {
            report->usable = refuse(report->reason, "NVML has two GPUs at %04x:%02x:%02x", gpu->address.domain,
                                    gpu->address.bus, gpu->address.device);
        } else {
            report->gpu_count++;
        }
    }
    nvml_close(&nvml);
}

bool nvml_probe(char reason[NVML_REASON_BYTES])
{
    struct nvml nvml = {0};
    unsigned int count;
    if (!nvml_open(&nvml, &count, reason)) return false;
    nvml_close(&nvml);
    return true;
}

const struct nvml_gpu *nvml_find(const struct nvml_report *report, uint32_t domain, uint32_t bus, uint32_t device)
{
    if (!report || !report->usable) return NULL;
    for (uint32_t i = 0; i < report->gpu_count; i++) {
        const struct nvml_address *address = &report->gpus[i].address;
        if (address->domain == domain && address->bus == bus && address->device == device) return &report->gpus[i];
    }
    return NULL;
}
