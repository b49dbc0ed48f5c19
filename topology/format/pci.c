/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/format/pci.h"

#include <stdio.h>
#include <string.h>

/* Cut up to @p most hexadecimal digits and then @p end (0: nothing) off the front of *rest. */
static bool hex_cut(struct span *rest, size_t most, char end, uint32_t *value)
{
    size_t size = 0;
    uint32_t number = 0;
    for (; size < rest->size && size < most; size++) {
        char byte = rest->at[size];
        uint32_t digit;
        if (byte >= '0' && byte <= '9')
            digit = (uint32_t)(byte - '0');
        else if ((byte | 32) >= 'a' && (byte | 32) <= 'f')
            digit = (uint32_t)((byte | 32) - 'a' + 10);
        else
            break;
        number = number << 4 | digit;
    }
    if (size == 0 || (end ? size >= rest->size || rest->at[size] != end : size != rest->size)) return false;
    if (end) size++;
    *rest = (struct span){rest->at + size, rest->size - size};
    *value = number;
    return true;
}

bool pci_address_read(struct span span, struct pci_identity *pci)
{
    uint32_t domain, bus, device, function;
    if (!hex_cut(&span, 8, ':', &domain) || !hex_cut(&span, 2, ':', &bus) || !hex_cut(&span, 2, '.', &device) ||
        !hex_cut(&span, 1, '\0', &function) || device > 0x1f || function > 7)
        return false;
    pci->present = true;
    pci->domain = domain;
    pci->bus = (uint8_t)bus;
    pci->device = (uint8_t)device;
    pci->function = (uint8_t)function;
    return true;
}

void pci_address_write(const struct pci_identity *pci, char address[24])
{
    snprintf(address, 24, "%04x:%02x:%02x.%x", pci->domain, pci->bus, pci->device, pci->function & 7u);
}

enum node_kind pci_class_kind(uint32_t class_code)
{
    switch (class_code >> 16) {
    case 0x02: /* network controllers; 0x0207 is InfiniBand's */
        return NODE_NIC;
    case 0x03: /* display controllers; 0x0302 is a GPU without a screen, 0x0380 AMD's */
    case 0x12: /* processing accelerators: AMD's since CDNA 3 */
        return NODE_GPU;
    case 0x06:
        /* NVSwitches call themselves "other bridge". */
        return class_code >> 8 == 0x0680 ? NODE_NVSWITCH : NODE_PCI_BRIDGE;
    default:
        return NODE_PCI_DEVICE;
    }
}

enum node_kind pci_function_kind(uint32_t class_id, uint16_t vendor_id)
{
    enum { AMD = 0x1002, NVIDIA = 0x10de, INFINIBAND_ON_SERIAL_BUS = 0x0c06 };
    if (class_id == 0x0680) return vendor_id == NVIDIA ? NODE_NVSWITCH : NODE_KIND_COUNT;
    if (class_id == INFINIBAND_ON_SERIAL_BUS) return NODE_NIC;
    enum node_kind kind = pci_class_kind(class_id << 8);
    bool is_gpu = class_id >> 8 == 0x03 ? !topology_pci_is_frame_buffer(vendor_id) : vendor_id == AMD;
    return kind == NODE_NIC || (kind == NODE_GPU && is_gpu) ? kind : NODE_KIND_COUNT;
}

bool pci_link_describe(double lane_rate_gts, uint32_t width, char name[24], struct figure *bandwidth)
{
    static const double rates[] = {2.5, 5, 8, 16, 32, 64};
    for (uint32_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        if (lane_rate_gts != rates[i]) continue;
        snprintf(name, 24, "PCIe %u.0 x%u", i + 1, width);
        *bandwidth = (struct figure){topology_pci_bandwidth(i + 1, width), FIGURE_DATASHEET};
        return true;
    }
    return false;
}

struct figure xgmi_bandwidth(const char *architecture)
{
    /* AMD states one link's two directions together. RCCL's files write some architectures as numbers. */
    static const struct {
        const char *architecture;
        double gbps;
    } rows[] = {
        {"906", 46},   /* MI50, MI60: 92 GB/s a link ("AMD Radeon Instinct MI50", 2018) */
        {"908", 46},   /* MI100: 276 GB/s over 3 links ("AMD Instinct MI100", 2020) */
        {"90a", 50},   /* MI250X: 800 GB/s over 8 links ("AMD Instinct MI250X", 2021) */
        {"910", 50},   /* the same, in RCCL's numbers */
        {"940", 64},   /* MI300A: 128 GB/s a link ("AMD Instinct MI300A", 2023) */
        {"941", 64},   /* MI300X: 896 GB/s over 7 links ("AMD Instinct MI300X", 2023) */
        {"942", 64},   /* both */
        {"950", 76.8}, /* MI355X: 1075.2 GB/s over 7 links ("AMD Instinct MI355X", 2025) */
    };
    if (!architecture) return (struct figure){0};
    if (strncmp(architecture, "gfx", 3) == 0) architecture += 3;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].architecture, architecture) == 0)
            return (struct figure){rows[i].gbps * 1e9, FIGURE_DATASHEET};
    return (struct figure){0};
}
