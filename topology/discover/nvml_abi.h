/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of libnvidia-ml.so.1's binary interface is used. Declared here so that weft builds without NVIDIA's header and
 * runs without its driver. Facts, from NVIDIA's "NVML API Reference Guide" and the nvml.h of driver branches 450 to
 * 580: functions return 0 or one of a few dozen positive codes; an index or a name never changes its meaning, since a
 * function that changes gets a new suffix (_v2, _v3).
 */
#ifndef TOPOLOGY_DISCOVER_NVML_ABI_H
#define TOPOLOGY_DISCOVER_NVML_ABI_H

#include <stddef.h>

#define NVML_ABI_LIBRARY "libnvidia-ml.so.1"

enum {
    NVML_ABI_SUCCESS = 0,
    NVML_ABI_NO_PERMISSION = 4, /* of a GPU whose device file a cgroup or its mode keeps from us */
};
enum { NVML_ABI_ENABLED = 1 }; /* of a link's state; 0 is down */
enum { NVML_ABI_REMOTE_GPU = 0, NVML_ABI_REMOTE_CPU = 1, NVML_ABI_REMOTE_SWITCH = 2 }; /* 255: unknown */
/*
 * An NVLink's version is a code, not a number: 1: 1.0, 2: 2.0, 3: 2.2, 4: 3.0, 5: 3.1, 6: 4.0, 7: 5.0.
 * Drivers have been seen to say 7 of an H100, whose links are of version 4.
 */
enum { NVML_ABI_VERSION_1_0 = 1, NVML_ABI_VERSION_4_0 = 6 };

typedef struct nvml_abi_device *nvml_abi_device;

struct nvml_abi_pci {
    char legacy_bus_id[16];
    unsigned int domain, bus, device;
    unsigned int device_and_vendor; /* the vendor in the lower half */
    unsigned int subsystem;         /* left as it was by the call about a link's far end */
    char bus_id[32];
};
_Static_assert(sizeof(struct nvml_abi_pci) == 68 && offsetof(struct nvml_abi_pci, domain) == 16, "NVML's layout");

typedef int nvml_abi_init(void);     /* nvmlInit_v2: counts references */
typedef int nvml_abi_shutdown(void); /* nvmlShutdown */
typedef int nvml_abi_count(unsigned int *count);
typedef int nvml_abi_handle(unsigned int index, nvml_abi_device *device);
typedef int nvml_abi_pci_info(nvml_abi_device device, struct nvml_abi_pci *pci);
typedef int nvml_abi_name(nvml_abi_device device, char *name, unsigned int size);
typedef int nvml_abi_capability(nvml_abi_device device, int *major, int *minor);
typedef int nvml_abi_link_number(nvml_abi_device device, unsigned int link, unsigned int *number);
typedef int nvml_abi_link_remote(nvml_abi_device device, unsigned int link, struct nvml_abi_pci *pci);
typedef const char *nvml_abi_error_string(int status);
#endif
