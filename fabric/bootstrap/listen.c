/* SPDX-License-Identifier: Apache-2.0 */
/* Where ranks listen: abstract Unix sockets, which vanish with their last descriptor. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "bootstrap_internal.h"
#include "keyed_hash.h"

socklen_t rank_address(const struct identity *identity, uint32_t rank, struct sockaddr_un *address)
{
    /*
     * The name comes out of the key: a name that could be computed from what /proc/net/unix shows of other ranks could
     * be taken by any user before its rank gets there.
     */
    static const char prefix[] = "weft-", digits[] = "0123456789abcdef";
    uint8_t seed[36] = "weft address", tag[16];
    memcpy(seed + 16, identity->job, sizeof identity->job);
    bytes_put_u32(seed + 32, rank);
    keyed_tag(identity->key, seed, sizeof seed, tag);

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    char *at = address->sun_path + 1; /* a leading zero byte: the abstract name space */
    memcpy(at, prefix, sizeof prefix - 1);
    at += sizeof prefix - 1;
    for (size_t i = 0; i < sizeof tag; i++) {
        *at++ = digits[tag[i] >> 4];
        *at++ = digits[tag[i] & 15];
    }
    return (socklen_t)(at - (char *)address);
}

weft_status bootstrap_listen(const struct identity *identity, int *fd, struct diagnostic *diagnostic)
{
    struct sockaddr_un address;
    socklen_t size = rank_address(identity, identity->rank, &address);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) {
        bool limit = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
        return diagnose(diagnostic, limit ? WEFT_RESOURCE_LIMIT : WEFT_SYSTEM_ERROR,
                        "rank %u cannot make a socket to listen on: %s", identity->rank, strerror(errno));
    }
    if (bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, SOMAXCONN) == 0) {
        *fd = listener;
        return WEFT_OK;
    }
    int cause = errno;
    close(listener);
    if (cause == EADDRINUSE)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "rank %u of this job is already there: give every process a rank of its own, and every "
                        "communicator an id of its own",
                        identity->rank);
    return diagnose(diagnostic, WEFT_SYSTEM_ERROR, "rank %u cannot listen: %s", identity->rank, strerror(cause));
}
