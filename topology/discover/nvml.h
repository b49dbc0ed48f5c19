/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVLinks, as the NVIDIA driver's management library (NVML) tells of them. nvml_read() asks; what is made of the
 * answers is a pure function of the report, so that tests and captured machines need no driver.
 *
 * NVML is opened while weft runs and closed again, never linked. It makes no CUDA context and keeps nothing open after
 * it was shut down, so that a program may fork afterwards; it counts references, so that a program that uses NVML too
 * is not disturbed. Without NVIDIA's persistence daemon asking may wake GPUs up, which takes seconds.
 */
#ifndef TOPOLOGY_DISCOVER_NVML_H
#define TOPOLOGY_DISCOVER_NVML_H

#include <stdbool.h>
#include <stdint.h>

enum {
    NVML_GPUS_MAX = 64,  /* several times what any host has; more is taken for nonsense */
    NVML_LINKS_MAX = 18, /* of one GPU: NVML_NVLINK_MAX_LINKS of NVIDIA's header */
    NVML_NAME_BYTES = 96,
    NVML_REASON_BYTES = 160,
};

/* `known` is false for what stands nowhere on a PCI bus that we can see. */
struct nvml_address {
    bool known;
    uint32_t domain, bus, device;
};

/* What an NVLink's far end is. Drivers before 495 cannot say: REMOTE_UNTOLD. */
enum nvml_remote { REMOTE_UNTOLD, REMOTE_GPU, REMOTE_SWITCH, REMOTE_CPU };

/* A link that is up. */
struct nvml_link {
    enum nvml_remote kind;
    struct nvml_address remote;
    uint32_t version; /* NVML's code for it; 0: unknown */
};

struct nvml_gpu {
    struct nvml_address address;
    char name[NVML_NAME_BYTES];  /* printable; "": unknown */
    uint32_t compute_capability; /* 80 for 8.0; 0: unknown */
    uint32_t link_count;
    struct nvml_link links[NVML_LINKS_MAX];
};

struct nvml_report {
    bool usable;
    char reason[NVML_REASON_BYTES]; /* why not, without a full stop */
    bool lists_all;                 /* an NVIDIA GPU that is not among `gpus` may not be used by this process */
    uint32_t gpu_count;
    struct nvml_gpu gpus[NVML_GPUS_MAX];
};

/*
 * Ask NVML about every GPU that this process may use. Never fails: what cannot be asked makes the report unusable, or
 * a GPU's fields unknown. At most NVML_GPUS_MAX * (4 + 4 * NVML_LINKS_MAX) calls. Thread: any.
 */
void nvml_read(struct nvml_report *report);
/* Can NVML be used? If not, @p reason says why. Thread: any. */
bool nvml_probe(char reason[NVML_REASON_BYTES]);

/* The GPU at an address, or NULL; @p report may be NULL. */
const struct nvml_gpu *nvml_find(const struct nvml_report *report, uint32_t domain, uint32_t bus, uint32_t device);
#endif
