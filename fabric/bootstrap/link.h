/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of bytes to one other process that never blocks: a bare socket, or TLS 1.3 over one, with the job's key as
 * the only thing that either side is known by.
 *
 * A client that offers a key would still accept a server that ignores it and shows a certificate. So ours trusts no
 * certificate at all, and neither side sends a byte of its own before OpenSSL says that the key was used.
 */
#ifndef FABRIC_LINK_H
#define FABRIC_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <weft/types.h>

#include "base/diagnostic.h"

struct identity;

struct link {
    int fd;             /* -1: none */
    struct ssl_st *tls; /* NULL: a bare socket */
    bool dialling, secure;
};

/* A link over the connected (or connecting) non-blocking socket @p fd, taken over. */
void link_plain(struct link *link, int fd);
/*
 * The same with TLS. @p identity is needed until link_secure() has ended. WEFT_OUT_OF_MEMORY: @p fd stays the caller's.
 */
weft_status link_tls(struct link *link, int fd, const struct identity *identity, bool dialling);

/*
 * Bring TLS up; WEFT_OK at once without. WEFT_IN_PROGRESS: again when the socket is ready. WEFT_LINK_DOWN: the
 * connection has ended. WEFT_PEER_REFUSED (dialling), WEFT_PROTOCOL_ERROR (accepting): the other side does not hold the
 * key.
 */
weft_status link_secure(struct link *link, struct diagnostic *diagnostic);

/*
 * As send() and recv(): -1 with errno EAGAIN when nothing goes now, and nothing else to be read from EPROTO than that
 * TLS has failed. What link_send() could not take must be offered again, with more behind it or not.
 */
ssize_t link_send(struct link *link, const void *bytes, size_t size);
ssize_t link_receive(struct link *link, void *bytes, size_t size);
/* Is there something to receive that the socket is no longer readable for? */
bool link_pending(const struct link *link);

void link_close(struct link *link);
/* Give the socket of a link without TLS away. */
int link_release(struct link *link);
/* In a child of fork(): only async-signal-safe calls. */
void link_forget(struct link *link);
#endif
