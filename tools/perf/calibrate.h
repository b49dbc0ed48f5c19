/* SPDX-License-Identifier: Apache-2.0 */
/* weft-perf --calibrate: measure what messages between two ranks cost, transport by transport, and keep it. */
#ifndef TOOLS_CALIBRATE_H
#define TOOLS_CALIBRATE_H

/* The supervisor's part: argv is the command line, which its children are started with. Returns the exit code. */
int calibrate_supervise(char *const argv[]);
/* A child's part. */
int calibrate_rank(void);
#endif
