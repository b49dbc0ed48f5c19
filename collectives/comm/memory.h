/* SPDX-License-Identifier: Apache-2.0 */
/* What the rest of the communicator sees of its memory: see memory.c. */
#ifndef COLLECTIVES_COMM_MEMORY_H
#define COLLECTIVES_COMM_MEMORY_H

#include <stddef.h>
#include <weft/types.h>

struct weft_comm;
struct weft_request;

/* After the endpoint, and before it ends. WEFT_OUT_OF_MEMORY. */
weft_status comm_memory_create(struct weft_comm *comm);
void comm_memory_destroy(struct weft_comm *comm);

/* Register a request's buffers where that helps, and keep them registered until comm_memory_release(). */
void comm_memory_hold(struct weft_comm *comm, struct weft_request *request);
void comm_memory_release(struct weft_comm *comm, struct weft_request *request);

/* For a transport that asks: what endpoint_memory_register() gave for a range that covers these bytes, or NULL.
 * @p context is the communicator, which may be in the making. */
void *comm_memory_find(void *context, const void *source, size_t bytes);
#endif
