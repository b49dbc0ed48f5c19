/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-64/XZ (ECMA-182's polynomial, reflected): of checkpoints, and to compare parameters between ranks. */
#ifndef TRAINER_CHECKSUM_H
#define TRAINER_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Start with 0; feed the result back to go on with the next piece. Thread: any. */
uint64_t checksum(uint64_t before, const void *data, size_t bytes);

#endif
