/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/core/transport.h"

void *transport_map_none(struct connection *connection)
{
    (void)connection;
    return NULL;
}

weft_status transport_quiesce_unsupported(struct connection *connection)
{
    (void)connection;
    return WEFT_UNSUPPORTED;
}

weft_status transport_arm_unsupported(struct endpoint *endpoint, int *fd)
{
    (void)endpoint, (void)fd;
    return WEFT_UNSUPPORTED;
}

weft_status transport_memory_register_unsupported(struct endpoint *endpoint, void *address, size_t bytes,
                                                  void **registration, struct diagnostic *diagnostic)
{
    (void)address, (void)bytes, (void)registration;
    return diagnose(diagnostic, WEFT_UNSUPPORTED, "%s registers no memory: it copies from anywhere",
                    endpoint->ops->name);
}

void transport_memory_deregister_none(struct endpoint *endpoint, void *registration)
{
    (void)endpoint, (void)registration;
}

bool transport_lend_none(struct connection *connection, const void *address, size_t bytes, struct loan *loan)
{
    (void)connection, (void)address, (void)bytes, (void)loan;
    return false;
}

void *transport_borrow_none(struct connection *connection, const struct loan *loan, size_t bytes)
{
    (void)connection, (void)loan, (void)bytes;
    return NULL;
}

weft_status transport_read_unsupported(struct connection *connection, const struct loan *loan, uint64_t offset,
                                       void *to, size_t bytes)
{
    (void)connection, (void)loan, (void)offset, (void)to, (void)bytes;
    return WEFT_UNSUPPORTED;
}

weft_status transport_write_unsupported(struct connection *connection, const struct loan *loan, uint64_t offset,
                                        const void *from, size_t bytes)
{
    (void)connection, (void)loan, (void)offset, (void)from, (void)bytes;
    return WEFT_UNSUPPORTED;
}

weft_status transport_memory_share_unsupported(struct endpoint *endpoint, void *address, size_t bytes, int descriptor,
                                               uint64_t offset, void **share, struct diagnostic *diagnostic)
{
    (void)address, (void)bytes, (void)descriptor, (void)offset, (void)share;
    return diagnose(diagnostic, WEFT_UNSUPPORTED, "%s maps no memory of peers", endpoint->ops->name);
}

void transport_memory_unshare_none(struct endpoint *endpoint, void *share)
{
    (void)endpoint, (void)share;
}

bool transport_put_fits(const struct connection *connection, const struct put *put)
{
    /* Never offset + bytes: a caller's arithmetic gone wrong gives offsets near 2^64. */
    return put->remote_offset <= connection->remote_bytes &&
           put->bytes <= connection->remote_bytes - put->remote_offset && (put->source || !put->bytes);
}
