/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a matrix of relations to a machine. Devices that are no further apart than a relation make up a group, and
 * groups of a closer relation lie inside those of a farther one: PIX and PXB groups hang below PCI bridges of their
 * own, PHB groups below a host bridge, NODE groups make up a package (a NUMA node with its PCI devices), and SYS is
 * between packages. Two GPUs with NVLinks do not say how they are placed; others' relations and the NUMA affinity do.
 *
 * No figure is known: neither the generation of a bus nor that of an NVLink is in the matrix.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/format/nvidia_smi.h"

enum {
    LEVELS = RELATION_NODE - RELATION_PIX + 1,
    CPUS_MAX = 4096,
    GPU_LINKS_MAX = 18 /* NVLinks of one GPU: 4 (P100), 6 (V100), 12 (A100), 18 (H100, B200) */
};

struct drawing {
    struct matrix *matrix;
    uint16_t group[LEVELS][MATRIX_DEVICES_MAX];         /* the first device of a device's group; [0] is PIX */
    uint32_t holder[LEVELS][MATRIX_DEVICES_MAX];        /* of such a first device: the node its group hangs below */
    uint32_t size[LEVELS][MATRIX_DEVICES_MAX];          /* of such a first device: how many are in its group */
    uint32_t numa_bearers[MATRIX_NUMA_MAX + 1];         /* packages with this NUMA node */
    bool apart[MATRIX_DEVICES_MAX][MATRIX_DEVICES_MAX]; /* NODE groups with a SYS between them */
    uint32_t host, bridge_count, package_count;
};

static uint16_t *group_of(struct drawing *drawing, enum relation level, uint32_t device)
{
    return &drawing->group[level - RELATION_PIX][device];
}

static void groups_merge(struct drawing *drawing, enum relation level, uint32_t one, uint32_t other)
{
    uint16_t a = *group_of(drawing, level, one), b = *group_of(drawing, level, other);
    uint16_t low = a < b ? a : b, high = a < b ? b : a;
    for (uint32_t i = 0; i < drawing->matrix->device_count && low != high; i++)
        if (*group_of(drawing, level, i) == high) *group_of(drawing, level, i) = low;
}

static weft_status symmetry_check(struct matrix *matrix)
{
    for (uint32_t row = 0; row < matrix->device_count; row++)
        for (uint32_t column = 0; column < row; column++) {
            const struct matrix_cell *cell = matrix_cell(matrix, row, column);
            const struct matrix_cell *mirror = matrix_cell(matrix, column, row);
            if (cell->relation != mirror->relation || cell->link_count != mirror->link_count)
                return format_error(matrix->source, (struct place){matrix->devices[row].line, 0}, matrix->diagnostic,
                                    "found that %s reaches %s in another way than back; expected the same both ways",
                                    matrix->devices[row].name, matrix->devices[column].name);
        }
    return WEFT_OK;
}

/*
 * GPUs that only NVLinks relate are in one package if they name the same NUMA node, unless somebody in the group of one
 * is SYS away from somebody in that of the other.
 */
static void groups_merge_by_numa(struct drawing *drawing)
{
    struct matrix *matrix = drawing->matrix;
    uint32_t count = matrix->device_count;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < count; j++)
            if (matrix_cell(matrix, i, j)->relation == RELATION_SYS)
                drawing->apart[*group_of(drawing, RELATION_NODE, i)][*group_of(drawing, RELATION_NODE, j)] = true;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < i; j++) {
            uint16_t a = *group_of(drawing, RELATION_NODE, i), b = *group_of(drawing, RELATION_NODE, j);
            uint32_t node = matrix->devices[i].numa_node;
            if (a == b || drawing->apart[a][b] || node == TOPOLOGY_NONE || node != matrix->devices[j].numa_node)
                continue;
            groups_merge(drawing, RELATION_NODE, i, j);
            uint16_t low = a < b ? a : b, high = a < b ? b : a;
            for (uint32_t k = 0; k < count; k++)
                if (drawing->apart[high][k]) drawing->apart[low][k] = drawing->apart[k][low] = true;
        }
}

static void groups_find(struct drawing *drawing)
{
    struct matrix *matrix = drawing->matrix;
    uint32_t count = matrix->device_count;
    for (int level = RELATION_PIX; level <= RELATION_NODE; level++) {
        for (uint32_t i = 0; i < count; i++) *group_of(drawing, (enum relation)level, i) = (uint16_t)i;
        for (uint32_t i = 0; i < count; i++)
            for (uint32_t j = 0; j < i; j++)
                if (matrix_cell(matrix, i, j)->relation <= (enum relation)level)
                    groups_merge(drawing, (enum relation)level, i, j);
    }
    groups_merge_by_numa(drawing);
    for (int level = 0; level < LEVELS; level++)
        for (uint32_t i = 0; i < count; i++) {
            drawing->size[level][drawing->group[level][i]]++;
            drawing->holder[level][i] = TOPOLOGY_NONE;
        }
}

/* Relations need not fit each other: A is next to B and B next to C, but C far from A. Nearness is believed. */
static void contradictions_note(struct drawing *drawing)
{
    struct matrix *matrix = drawing->matrix;
    for (uint32_t i = 0; i < matrix->device_count; i++)
        for (uint32_t j = 0; j < i; j++) {
            enum relation relation = matrix_cell(matrix, i, j)->relation;
            if (relation == RELATION_NVLINK || relation <= RELATION_PIX) continue;
            enum relation closer = relation - 1;
            if (*group_of(drawing, closer, i) == *group_of(drawing, closer, j))
                topology_note(
                    matrix->topology,
                    "line %u: %s and %s are drawn closer than they are said to be, as what is next to them is",
                    matrix->devices[i].line, matrix->devices[i].name, matrix->devices[j].name);
        }
}

static void link_add(struct drawing *drawing, enum link_kind kind, uint32_t from, uint32_t to)
{
    topology_add_link(drawing->matrix->topology, &(struct topology_link){.kind = kind, .from = from, .to = to});
}

/* "0-15,32-47" to numbers; what is wrong in it was found before, but for ranges that run backwards or too far. */
static weft_status cpus_read(const struct matrix *matrix, const struct matrix_device *device, uint32_t *cpus,
                             uint32_t *count)
{
    struct span rest = device->cpus;
    *count = 0;
    while (rest.size > 0) {
        const char *comma = memchr(rest.at, ',', rest.size);
        struct span range = {rest.at, comma ? (size_t)(comma - rest.at) : rest.size};
        const char *dash = memchr(range.at, '-', range.size);
        struct span low_text = {range.at, dash ? (size_t)(dash - range.at) : range.size};
        struct span high_text = dash ? (struct span){dash + 1, range.size - low_text.size - 1} : low_text;
        uint64_t low, high;
        if (!span_unsigned(low_text, UINT16_MAX, &low) || !span_unsigned(high_text, UINT16_MAX, &high) || high < low ||
            high - low >= CPUS_MAX - *count)
            return format_error(matrix->source, (struct place){device->line, 0}, matrix->diagnostic,
                                "found '%.*s'; expected numbers of CPUs such as 0-15,32-47", SPAN_ARGS(device->cpus));
        for (uint64_t cpu = low; cpu <= high; cpu++) cpus[(*count)++] = (uint32_t)cpu;
        size_t taken = range.size + (comma ? 1 : 0);
        rest = (struct span){rest.at + taken, rest.size - taken};
    }
    return WEFT_OK;
}

/* The package of a NODE group, with the CPUs and NUMA node of its first GPU that has some. */
static weft_status package_add(struct drawing *drawing, uint32_t first)
{
    struct matrix *matrix = drawing->matrix;
    const struct matrix_device *with_cpus = NULL, *with_numa = NULL;
    uint32_t cpus[CPUS_MAX], cpu_count = 0;
    for (uint32_t i = matrix->device_count; i-- > first;) {
        if (*group_of(drawing, RELATION_NODE, i) != first) continue;
        if (matrix->devices[i].cpus.size > 0) with_cpus = &matrix->devices[i];
        if (matrix->devices[i].numa_node != TOPOLOGY_NONE) with_numa = &matrix->devices[i];
    }
    weft_status status = with_cpus ? cpus_read(matrix, with_cpus, cpus, &cpu_count) : WEFT_OK;
    if (status) return status;
    char name[16];
    snprintf(name, sizeof name, "%u", drawing->package_count++);
    uint32_t package = topology_add_node(matrix->topology, &(struct topology_node){.kind = NODE_PACKAGE,
                                                                                   .parent = drawing->host,
                                                                                   .name = name,
                                                                                   .os_index = TOPOLOGY_NONE,
                                                                                   .cpus = cpus,
                                                                                   .cpu_count = cpu_count});
    drawing->holder[RELATION_NODE - RELATION_PIX][first] = package;
    if (!with_numa) return WEFT_OK;
    if (drawing->numa_bearers[with_numa->numa_node]++ > 0) {
        topology_note(matrix->topology, "line %u: NUMA node %u is drawn once, though %s is SYS away from others of it",
                      with_numa->line, with_numa->numa_node, with_numa->name);
        return WEFT_OK;
    }
    snprintf(name, sizeof name, "%u", with_numa->numa_node);
    uint32_t memory = topology_add_node(
        matrix->topology,
        &(struct topology_node){.kind = NODE_NUMA, .parent = package, .name = name, .os_index = with_numa->numa_node});
    link_add(drawing, LINK_MEMORY, memory, package);
    return WEFT_OK;
}

static uint32_t bridge_add(struct drawing *drawing, uint32_t parent, const char *model)
{
    char name[16];
    snprintf(name, sizeof name, "bridge%u", drawing->bridge_count++);
    uint32_t bridge = topology_add_node(
        drawing->matrix->topology,
        &(struct topology_node){
            .kind = NODE_PCI_BRIDGE, .parent = parent, .name = name, .model = model, .os_index = TOPOLOGY_NONE});
    link_add(drawing, LINK_PCI, bridge, parent);
    return bridge;
}

/* The bridge of @p device's group, drawn below @p parent if it is not there yet. */
static uint32_t bridge_of(struct drawing *drawing, enum relation level, uint32_t device, uint32_t parent,
                          const char *model)
{
    uint32_t *holder = &drawing->holder[level - RELATION_PIX][*group_of(drawing, level, device)];
    if (*holder == TOPOLOGY_NONE) *holder = bridge_add(drawing, parent, model);
    return *holder;
}

static uint32_t group_size(struct drawing *drawing, enum relation level, uint32_t device)
{
    return drawing->size[level - RELATION_PIX][*group_of(drawing, level, device)];
}

/* What @p device hangs below: a host bridge at least, and a PCI switch for each group of several devices. */
static uint32_t holder_of(struct drawing *drawing, uint32_t device)
{
    uint32_t holder = drawing->holder[RELATION_NODE - RELATION_PIX][*group_of(drawing, RELATION_NODE, device)];
    uint32_t pxb = group_size(drawing, RELATION_PXB, device), pix = group_size(drawing, RELATION_PIX, device);
    holder = bridge_of(drawing, RELATION_PHB, device, holder, "host bridge");
    if (pxb > pix) holder = bridge_of(drawing, RELATION_PXB, device, holder, "PCI switch");
    if (pix > 1) holder = bridge_of(drawing, RELATION_PIX, device, holder, "PCI switch");
    return holder;
}

static void device_add(struct drawing *drawing, uint32_t index)
{
    struct matrix *matrix = drawing->matrix;
    struct matrix_device *device = &matrix->devices[index];
    uint32_t holder = holder_of(drawing, index);
    device->in_topology = topology_add_node(
        matrix->topology, &(struct topology_node){
                              .kind = device->is_gpu ? NODE_GPU : NODE_NIC,
                              .parent = holder,
                              .name = device->verbs_device && !device->is_gpu ? device->verbs_device : device->name,
                              .os_index = device->is_gpu ? device->index : TOPOLOGY_NONE,
                              .verbs_device = device->is_gpu ? NULL : device->verbs_device,
                          });
    link_add(drawing, LINK_PCI, device->in_topology, holder);
}

/* How many NVLinks GPU @p gpu has if each stands for a cable of its own, and whether all its peers have as many. */
static uint32_t links_of(struct matrix *matrix, uint32_t gpu)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < matrix->device_count; i++) sum += matrix_cell(matrix, gpu, i)->link_count;
    return sum;
}

static void nvlink_add(struct drawing *drawing, uint32_t from, uint32_t to, uint32_t count)
{
    topology_add_link(drawing->matrix->topology,
                      &(struct topology_link){.kind = LINK_NVLINK, .from = from, .to = to, .count = count});
}

/*
 * Behind NVSwitches a GPU shows all of its links towards every other: more than any GPU has, taken together. Then the
 * switches, which the matrix hides, are drawn as one, and each GPU's links go there.
 */
static void nvlinks_add(struct drawing *drawing)
{
    struct matrix *matrix = drawing->matrix;
    uint32_t nvswitch = TOPOLOGY_NONE;
    for (uint32_t i = 0; i < matrix->device_count; i++) {
        bool switched = links_of(matrix, i) > GPU_LINKS_MAX;
        uint32_t most = 0;
        for (uint32_t j = 0; j < matrix->device_count; j++) {
            uint32_t count = matrix_cell(matrix, i, j)->link_count;
            if (count > most) most = count;
            bool other_switched = count > 0 && links_of(matrix, j) > GPU_LINKS_MAX;
            if (j < i && count > 0 && !(switched && other_switched))
                nvlink_add(drawing, matrix->devices[j].in_topology, matrix->devices[i].in_topology, count);
        }
        if (!switched) continue;
        if (nvswitch == TOPOLOGY_NONE) {
            nvswitch = topology_add_node(matrix->topology, &(struct topology_node){.kind = NODE_NVSWITCH,
                                                                                   .parent = drawing->host,
                                                                                   .name = "nvswitches",
                                                                                   .os_index = TOPOLOGY_NONE});
            topology_note(matrix->topology,
                          "%s shows %u NVLinks, more than the %d of any GPU: NVSwitches, drawn as one, are between",
                          matrix->devices[i].name, links_of(matrix, i), GPU_LINKS_MAX);
        }
        nvlink_add(drawing, matrix->devices[i].in_topology, nvswitch, most);
    }
}

static weft_status packages_add(struct drawing *drawing)
{
    const struct matrix *matrix = drawing->matrix;
    const uint32_t *holders = drawing->holder[RELATION_NODE - RELATION_PIX];
    for (uint32_t i = 0; i < matrix->device_count; i++) {
        if (*group_of(drawing, RELATION_NODE, i) != i) continue;
        weft_status status = package_add(drawing, i);
        if (status) return status;
        for (uint32_t j = 0; j < i; j++)
            if (*group_of(drawing, RELATION_NODE, j) == j) link_add(drawing, LINK_INTERCONNECT, holders[j], holders[i]);
    }
    return WEFT_OK;
}

weft_status matrix_build(struct matrix *matrix)
{
    weft_status status = symmetry_check(matrix);
    if (status) return status;
    struct drawing *drawing = calloc(1, sizeof *drawing);
    if (!drawing) return diagnose(matrix->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read a matrix");
    drawing->matrix = matrix;
    groups_find(drawing);
    contradictions_note(drawing);
    drawing->host = topology_add_node(
        matrix->topology,
        &(struct topology_node){.kind = NODE_HOST, .parent = TOPOLOGY_NONE, .name = "host", .os_index = TOPOLOGY_NONE});
    status = packages_add(drawing);
    for (uint32_t i = 0; i < matrix->device_count && !status; i++) device_add(drawing, i);
    if (!status) nvlinks_add(drawing);
    free(drawing);
    return status;
}
