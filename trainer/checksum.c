/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/checksum.h"

uint64_t checksum(uint64_t before, const void *data, size_t bytes)
{
    const uint64_t polynomial = 0xc96c5795d7870f42;
    uint64_t table[256]; /* made anew each time: 2048 shifts, against megabytes to come, and nothing to share */
    for (uint64_t i = 0; i < 256; i++) {
        uint64_t value = i;
        for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ (value & 1 ? polynomial : 0);
        table[i] = value;
    }
    const uint8_t *byte = data;
    uint64_t crc = ~before;
    for (size_t i = 0; i < bytes; i++) crc = (crc >> 8) ^ table[(crc ^ byte[i]) & 0xff];
    return ~crc;
}
