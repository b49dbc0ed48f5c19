/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of real sockets share. */
#ifndef TESTS_FABRIC_SUPPORT_H
#define TESTS_FABRIC_SUPPORT_H

#include "base/clock.h"
#include "fabric/control/control.h"

/* Against hanging for ever, on however busy a machine; nothing is measured. */
#define PATIENCE_NS (60 * NS_PER_S)
#define PATIENCE_MS ((int)(PATIENCE_NS / NS_PER_MS))

/* This process's open descriptors and control threads, and the job's listening sockets. */
unsigned count_descriptors(void);
unsigned count_control_threads(void);
unsigned count_sockets(const struct identity *identity);

struct identity make_identity(const weft_unique_id *id, uint32_t rank, uint32_t rank_count);
struct control_config make_config(const weft_unique_id *id, uint32_t rank, uint32_t rank_count);

/* Blocks until the communicator has failed. False: not within PATIENCE_NS. */
bool wait_failed(struct control *control);
#endif
