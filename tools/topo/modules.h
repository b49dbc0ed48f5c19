/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_MODULES_H
#define TOOLS_MODULES_H

/* What this build can use and what it cannot, a line each, to standard output. */
void modules_print(void);
#endif
