/* SPDX-License-Identifier: Apache-2.0 */
/* NVML as a script tells it. One thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/discover/nvml_abi.h"

enum { GPUS_MAX = 80, LINKS_MAX = 18, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, UNKNOWN = 999 };

struct link {
    unsigned int state, kind, version;
    struct nvml_abi_pci remote;
};
struct nvml_abi_device {
    int withheld; /* the code that its handle is refused with; 0: none */
    int capability;
    char name[96];
    struct nvml_abi_pci pci;
    unsigned int link_count;
    struct link links[LINKS_MAX];
};

static struct nvml_abi_device gpus[GPUS_MAX];
static unsigned int gpu_count, counted, starts;
static int init_status, count_status;

/* When the library is closed. */
__attribute__((destructor)) static void stopped(void)
{
    if (starts) abort();
}

static void started(void)
{
    if (!starts) abort();
}

static int pci_parse(const char *text, struct nvml_abi_pci *pci)
{
    memset(pci, 0xff, sizeof *pci);
    pci->bus_id[0] = pci->legacy_bus_id[0] = '\0';
    if (strcmp(text, "-") == 0) return 1;
    pci->device_and_vendor = 0x10de;
    return sscanf(text, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device) == 3;
}

static int line_read(const char *line)
{
    char address[32];
    struct link link;
    unsigned int gpu, *known = &gpu_count;
    struct nvml_abi_device *next = &gpus[gpu_count];
    if (sscanf(line, "init %d", &init_status) == 1 || sscanf(line, "count %d %u", &count_status, &counted) == 2)
        return 1;
    if (gpu_count < GPUS_MAX && sscanf(line, "withheld %d", &next->withheld) == 1) return (int)++*known;
    if (gpu_count < GPUS_MAX && sscanf(line, "gpu %31s %d %95[^\n]", address, &next->capability, next->name) == 3) {
        ++*known;
        return pci_parse(address, &next->pci);
    }
    if (sscanf(line, "link %u %u %u %u %31s", &gpu, &link.state, &link.kind, &link.version, address) == 5 &&
        gpu < gpu_count && gpus[gpu].link_count < LINKS_MAX && pci_parse(address, &link.remote)) {
        gpus[gpu].links[gpus[gpu].link_count++] = link;
        return 1;
    }
    return 0;
}

static int script_read(void)
{
    const char *script = getenv("FAKENVML");
    memset(gpus, 0, sizeof gpus);
    gpu_count = 0;
    counted = ~0u;
    init_status = count_status = 0;
    while (script && *script) {
        char line[256];
        size_t length = strcspn(script, "\n");
        snprintf(line, sizeof line, "%.*s", (int)length, script);
        if (!line_read(line)) return 0;
        script += length + (script[length] == '\n');
    }
    return 1;
}

int nvmlInit_v2(void);
int nvmlInit_v2(void)
{
    if (!script_read()) return UNKNOWN;
    if (init_status == 0) starts++;
    return init_status;
}

int nvmlShutdown(void);
int nvmlShutdown(void)
{
    started();
    starts--;
    return 0;
}

const char *nvmlErrorString(int status);
const char *nvmlErrorString(int status)
{
    return status == 18 ? "Driver/library version mismatch" : NULL;
}

int nvmlDeviceGetCount_v2(unsigned int *count);
int nvmlDeviceGetCount_v2(unsigned int *count)
{
    started();
    *count = counted == ~0u ? gpu_count : counted;
    return count_status;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvml_abi_device *device);
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvml_abi_device *device)
{
    started();
    if (index >= gpu_count) return INVALID_ARGUMENT;
    if (gpus[index].withheld) return gpus[index].withheld;
    *device = &gpus[index];
    return 0;
}

int nvmlDeviceGetPciInfo_v3(nvml_abi_device device, struct nvml_abi_pci *pci);
int nvmlDeviceGetPciInfo_v3(nvml_abi_device device, struct nvml_abi_pci *pci)
{
    started();
    *pci = device->pci;
    return 0;
}

static const struct link *link_at(nvml_abi_device device, unsigned int index)
{
    started();
    return index < device->link_count ? &device->links[index] : NULL;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(nvml_abi_device device, unsigned int index, struct nvml_abi_pci *pci);
int nvmlDeviceGetNvLinkRemotePciInfo_v2(nvml_abi_device device, unsigned int index, struct nvml_abi_pci *pci)
{
    const struct link *link = link_at(device, index);
    if (!link) return INVALID_ARGUMENT;
    *pci = link->remote;
    return 0;
}

#ifndef FAKENVML_LACKING
int nvmlDeviceGetNvLinkState(nvml_abi_device device, unsigned int index, unsigned int *state);
int nvmlDeviceGetNvLinkState(nvml_abi_device device, unsigned int index, unsigned int *state)
{
    const struct link *link = link_at(device, index);
    if (!link) return device->link_count ? INVALID_ARGUMENT : NOT_SUPPORTED;
    *state = link->state;
    return 0;
}
#endif

#ifndef FAKENVML_OLD
int nvmlDeviceGetName(nvml_abi_device device, char *name, unsigned int size);
int nvmlDeviceGetName(nvml_abi_device device, char *name, unsigned int size)
{
    started();
    memcpy(name, device->name, size < sizeof device->name ? size : sizeof device->name);
    return 0;
}

int nvmlDeviceGetCudaComputeCapability(nvml_abi_device device, int *major, int *minor);
int nvmlDeviceGetCudaComputeCapability(nvml_abi_device device, int *major, int *minor)
{
    started();
    *major = device->capability / 10;
    *minor = device->capability % 10;
    return 0;
}

int nvmlDeviceGetNvLinkVersion(nvml_abi_device device, unsigned int index, unsigned int *version);
int nvmlDeviceGetNvLinkVersion(nvml_abi_device device, unsigned int index, unsigned int *version)
{
    const struct link *link = link_at(device, index);
    if (!link) return INVALID_ARGUMENT;
    *version = link->version;
    return 0;
}

int nvmlDeviceGetNvLinkRemoteDeviceType(nvml_abi_device device, unsigned int index, unsigned int *kind);
int nvmlDeviceGetNvLinkRemoteDeviceType(nvml_abi_device device, unsigned int index, unsigned int *kind)
{
    const struct link *link = link_at(device, index);
    if (!link) return INVALID_ARGUMENT;
    *kind = link->kind;
    return 0;
}
#endif
