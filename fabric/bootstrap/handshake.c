/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first exchange on a connection:
 *
 *     dialling side                          accepting side
 *     hello: who I am, whom I want, nonce -> reads it, refuses nothing yet
 *     reads it, checks proof, then fields <- reply: the same about itself, its nonce, proof over both records
 *     proof over both records             -> checks proof, then fields
 *
 * Each side checks the other's proof before it believes a field, and both see both records, so that a world size that
 * differs is told to both. The proofs of the two directions differ, so neither can be answered with its own reflection.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/random.h"
#include "bootstrap_internal.h"
#include "keyed_hash.h"
#include "network.h"

/* Record layout. Magic, version and job keep their places in all versions, so that any two can tell each other. */
enum {
    RECORD_MAGIC_AT = 0,
    RECORD_VERSION_AT = 4,
    RECORD_JOB_AT = 8,
    RECORD_FROM_AT = 24,
    RECORD_TO_AT = 28,
    RECORD_ROLE_AT = 32,
    RECORD_COUNT_AT = 36,
    RECORD_NONCE_AT = 40,
    RECORD_PROOF_AT = 56, /* zero in a hello */
    RECORD_VERSION = 2,
};
static const uint8_t record_magic[4] = {'W', 'E', 'F', 'T'};

enum handshake_state {
    DIAL_CONNECT,
    DIAL_SECURE,
    DIAL_HELLO,
    DIAL_REPLY,
    DIAL_PROOF,
    ACCEPT_FIRST,
    ACCEPT_SECURE,
    ACCEPT_HELLO,
    ACCEPT_REPLY,
    ACCEPT_PROOF
};
/* The first byte of every TLS connection: a record of type handshake (RFC 8446, 5.1). No hello of ours begins so. */
#define TLS_FIRST_BYTE 0x16

enum direction { FROM_DIALLING = 1, FROM_ACCEPTING = 2 };

static void record_fill(const struct handshake *handshake, uint8_t record[HANDSHAKE_RECORD_BYTES], uint32_t to,
                        enum bootstrap_role role)
{
    memset(record, 0, HANDSHAKE_RECORD_BYTES);
    memcpy(record + RECORD_MAGIC_AT, record_magic, sizeof record_magic);
    bytes_put_u32(record + RECORD_VERSION_AT, RECORD_VERSION);
    memcpy(record + RECORD_JOB_AT, handshake->identity->job, sizeof handshake->identity->job);
    bytes_put_u32(record + RECORD_FROM_AT, handshake->identity->rank);
    bytes_put_u32(record + RECORD_TO_AT, to);
    bytes_put_u32(record + RECORD_ROLE_AT, role);
    bytes_put_u32(record + RECORD_COUNT_AT, handshake->identity->rank_count);
}

static void make_proof(const struct handshake *handshake, enum direction direction,
                       uint8_t proof[HANDSHAKE_PROOF_BYTES])
{
    uint8_t message[16 + 2 * RECORD_PROOF_AT] = "weft handshake", key[32];
    message[15] = (uint8_t)direction;
    memcpy(message + 16, handshake->hello, RECORD_PROOF_AT);
    memcpy(message + 16 + RECORD_PROOF_AT, handshake->reply, RECORD_PROOF_AT);
    keyed_derive(handshake->identity->key, "weft connection", key);
    keyed_hash(key, message, sizeof message, proof);
    explicit_bzero(key, sizeof key);
}

static bool proofs_equal(const uint8_t *a, const uint8_t *b)
{
    return CRYPTO_memcmp(a, b, HANDSHAKE_PROOF_BYTES) == 0; /* takes equally long wherever they differ */
}

/* Magic, job and version: what must hold before the rest of a record has a meaning. */
static weft_status check_kind(const struct handshake *handshake, const uint8_t *record, struct diagnostic *diagnostic)
{
    weft_status stranger = handshake->dialling ? WEFT_PEER_REFUSED : WEFT_PROTOCOL_ERROR;
    if (memcmp(record + RECORD_MAGIC_AT, record_magic, sizeof record_magic) != 0)
        return diagnose(diagnostic, stranger, "rank %u was answered by something that is not weft",
                        handshake->identity->rank);
    if (memcmp(record + RECORD_JOB_AT, handshake->identity->job, sizeof handshake->identity->job) != 0)
        return diagnose(diagnostic, stranger,
                        "rank %u was answered by another job: all ranks must be given the same unique id",
                        handshake->identity->rank);
    uint32_t version = bytes_get_u32(record + RECORD_VERSION_AT);
    if (version != RECORD_VERSION)
        return diagnose(diagnostic, WEFT_PEER_REFUSED,
                        "a rank of this job speaks version %u of weft's handshake and rank %u speaks version %d: run "
                        "the same weft on all ranks",
                        version, handshake->identity->rank, RECORD_VERSION);
    return WEFT_OK;
}

/* Does a connection of this purpose go over what it came over? */
static bool role_fits(const struct handshake *handshake, uint32_t role)
{
    if (!handshake->network) return role == ROLE_CONTROL || role == ROLE_TRANSPORT;
    if (!handshake->link.tls) return role == ROLE_LANE;
    return role == ROLE_CONTROL || role == ROLE_MEETING;
}

/* What an authentic record claims. */
static weft_status check_claims(struct handshake *handshake, const uint8_t *record, struct diagnostic *diagnostic)
{
    const struct identity *own = handshake->identity;
    uint32_t from = bytes_get_u32(record + RECORD_FROM_AT), to = bytes_get_u32(record + RECORD_TO_AT);
    uint32_t role = bytes_get_u32(record + RECORD_ROLE_AT), count = bytes_get_u32(record + RECORD_COUNT_AT);
    if (count != own->rank_count)
        return diagnose(diagnostic, WEFT_PEER_REFUSED,
                        "rank %u was told that there are %u ranks, and rank %u that there are %u: start all ranks "
                        "with the same number of ranks",
                        from, count, own->rank, own->rank_count);
    if (from >= count || from == own->rank)
        return diagnose(diagnostic, WEFT_PEER_REFUSED,
                        "rank %u of %u was answered by one that calls itself rank %u: give every process a rank of "
                        "its own",
                        own->rank, count, from);
    if (to != own->rank || (handshake->dialling && from != handshake->peer))
        return diagnose(diagnostic, WEFT_PEER_REFUSED,
                        "rank %u was answered by rank %u, which looks for rank %u: give every process a rank of its "
                        "own",
                        own->rank, from, to);
    if (handshake->dialling ? role != handshake->role : !role_fits(handshake, role))
        return diagnose(diagnostic, WEFT_PEER_REFUSED,
                        "rank %u wants a connection of kind %u, which rank %u does not know: run the same weft on all "
                        "ranks",
                        from, role, own->rank);
    return WEFT_OK;
}

void handshake_dial(struct handshake *handshake, const struct identity *identity, uint32_t peer,
                    enum bootstrap_role role, const struct tcp_address *at)
{
    *handshake = (struct handshake){.identity = identity,
                                    .link = {.fd = -1},
                                    .at = *at,
                                    .dialling = true,
                                    .network = at->family != AF_UNSPEC,
                                    .peer = peer,
                                    .role = role,
                                    .state = DIAL_CONNECT};
}

void handshake_accept(struct handshake *handshake, const struct identity *identity, int fd, bool network)
{
    *handshake = (struct handshake){.identity = identity, .network = network, .state = ACCEPT_FIRST};
    link_plain(&handshake->link, fd);
    if (network) network_prepare(fd);
}

void handshake_abandon(struct handshake *handshake)
{
    link_close(&handshake->link);
    handshake->state = handshake->dialling ? DIAL_CONNECT : ACCEPT_FIRST;
    handshake->filled = handshake->sent = 0;
}

/* The other side's user, as the kernel knows it. On other hosts this will be the work of TLS. */
static bool same_user(int fd)
{
    struct ucred other;
    socklen_t size = sizeof other;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &other, &size) == 0 && other.uid == geteuid();
}

/* A connection that ended early: dialling, the peer may have been too busy and is asked again. */
static weft_status lost(struct handshake *handshake, struct diagnostic *diagnostic)
{
    bool dialling = handshake->dialling;
    handshake->cause = errno;
    handshake_abandon(handshake);
    if (dialling) return WEFT_IN_PROGRESS;
    return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "a connection ended before its first record was complete");
}

static weft_status send_all(struct handshake *handshake, const uint8_t *bytes, uint16_t size,
                            struct diagnostic *diagnostic)
{
    while (handshake->sent < size) {
        ssize_t sent = link_send(&handshake->link, bytes + handshake->sent, size - handshake->sent);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return WEFT_IN_PROGRESS;
        if (sent < 0) return lost(handshake, diagnostic);
        handshake->sent = (uint16_t)(handshake->sent + sent);
    }
    handshake->sent = 0;
    return WEFT_OK;
}

/* Exactly @p size bytes: what follows belongs to whoever gets the socket. */
static weft_status receive_all(struct handshake *handshake, uint8_t *bytes, uint16_t size,
                               struct diagnostic *diagnostic)
{
    while (handshake->filled < size) {
        ssize_t got = link_receive(&handshake->link, bytes + handshake->filled, size - handshake->filled);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return WEFT_IN_PROGRESS;
        if (got <= 0) return lost(handshake, diagnostic);
        handshake->filled = (uint16_t)(handshake->filled + got);
    }
    handshake->filled = 0;
    return WEFT_OK;
}

static weft_status dial_failed(const struct handshake *handshake, int cause, struct diagnostic *diagnostic)
{
    bool limit = cause == EMFILE || cause == ENFILE || cause == ENOBUFS || cause == ENOMEM;
    return diagnose(diagnostic, limit ? WEFT_RESOURCE_LIMIT : WEFT_SYSTEM_ERROR, "rank %u cannot reach rank %u: %s",
                    handshake->identity->rank, handshake->peer, strerror(cause));
}

static weft_status dial_network(struct handshake *handshake, struct diagnostic *diagnostic)
{
    int fd = network_connect(&handshake->at);
    if (fd < 0) {
        handshake->cause = errno;
        /* Routes and interfaces may come up after us. */
        bool later = errno == ECONNREFUSED || errno == ENETUNREACH || errno == EHOSTUNREACH || errno == ETIMEDOUT ||
                     errno == ENETDOWN || errno == EHOSTDOWN || errno == ECONNRESET || errno == EADDRNOTAVAIL ||
                     errno == EINTR || errno == EAGAIN;
        return later ? WEFT_IN_PROGRESS : dial_failed(handshake, errno, diagnostic);
    }
    if (handshake->role == ROLE_LANE) {
        link_plain(&handshake->link, fd);
    } else if (link_tls(&handshake->link, fd, handshake->identity, true) != WEFT_OK) {
        close(fd);
        return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for a TLS connection");
    }
    return WEFT_OK;
}

static weft_status dial_local(struct handshake *handshake, struct diagnostic *diagnostic)
{
    struct sockaddr_un address;
    socklen_t size = rank_address(handshake->identity, handshake->peer, &address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return dial_failed(handshake, errno, diagnostic);
    if (connect(fd, (struct sockaddr *)&address, size) != 0) {
        int cause = errno;
        close(fd);
        /* Nobody listens there yet; or the peer's queue of connections is full. */
        if (cause == ECONNREFUSED || cause == EAGAIN || cause == EINTR) return WEFT_IN_PROGRESS;
        return dial_failed(handshake, cause, diagnostic);
    }
    if (!same_user(fd)) {
        close(fd);
        return diagnose(diagnostic, WEFT_PEER_REFUSED,
                        "the address of rank %u is held by another user: run all ranks as one user", handshake->peer);
    }
    link_plain(&handshake->link, fd);
    return WEFT_OK;
}

static weft_status dial_connect(struct handshake *handshake, struct diagnostic *diagnostic)
{
    weft_status status = handshake->network ? dial_network(handshake, diagnostic) : dial_local(handshake, diagnostic);
    if (status != WEFT_OK) return status;
    record_fill(handshake, handshake->hello, handshake->peer, handshake->role);
    if (random_secret(handshake->hello + RECORD_NONCE_AT, 16) != WEFT_OK)
        return diagnose(diagnostic, WEFT_SYSTEM_ERROR, "the kernel gives no random bytes");
    return WEFT_OK;
}

/* Bring TLS up, where it is spoken. */
static weft_status secure(struct handshake *handshake, struct diagnostic *diagnostic)
{
    struct diagnostic why;
    weft_status status = link_secure(&handshake->link, &why);
    if (status == WEFT_LINK_DOWN) return lost(handshake, diagnostic);
    if (status == WEFT_PEER_REFUSED) {
        char text[TCP_ADDRESS_TEXT_BYTES];
        tcp_address_text(&handshake->at, text);
        return diagnose(diagnostic, status, "rank %u did not find rank %u at %s: %s", handshake->identity->rank,
                        handshake->peer, text, why.text);
    }
    if (status != WEFT_OK && status != WEFT_IN_PROGRESS) diagnose(diagnostic, status, "%s", why.text);
    return status;
}

/* TLS or a hello of ours? Both begin with what the other never does. */
static weft_status accept_first(struct handshake *handshake, struct diagnostic *diagnostic)
{
    uint8_t first;
    if (!handshake->network) return WEFT_OK;
    ssize_t got = recv(handshake->link.fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return WEFT_IN_PROGRESS;
    if (got <= 0) return lost(handshake, diagnostic);
    if (first != TLS_FIRST_BYTE) return WEFT_OK;
    weft_status status = link_tls(&handshake->link, handshake->link.fd, handshake->identity, false);
    if (status != WEFT_OK) return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "no memory for a TLS connection");
    return WEFT_OK;
}

static weft_status dial_check(struct handshake *handshake, struct diagnostic *diagnostic)
{
    weft_status status = check_kind(handshake, handshake->reply, diagnostic);
    if (status != WEFT_OK) return status;
    uint8_t proof[HANDSHAKE_PROOF_BYTES];
    make_proof(handshake, FROM_ACCEPTING, proof);
    if (!proofs_equal(proof, handshake->reply + RECORD_PROOF_AT))
        return diagnose(
            diagnostic, WEFT_PEER_REFUSED,
            "who answers as rank %u does not know this job's key: pass the unique id to all ranks unchanged",
            handshake->peer);
    make_proof(handshake, FROM_DIALLING, handshake->proof);
    return WEFT_OK;
}

static weft_status accept_reply(struct handshake *handshake, struct diagnostic *diagnostic)
{
    if (!handshake->network && !same_user(handshake->link.fd))
        return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "another user's process has connected to rank %u",
                        handshake->identity->rank);
    const uint8_t *hello = handshake->hello;
    weft_status status = check_kind(handshake, hello, diagnostic);
    if (status == WEFT_PROTOCOL_ERROR) return status;
    /* One of another version, too, is answered, so that it can say why. */
    record_fill(handshake, handshake->reply, bytes_get_u32(hello + RECORD_FROM_AT),
                (enum bootstrap_role)bytes_get_u32(hello + RECORD_ROLE_AT));
    if (random_secret(handshake->reply + RECORD_NONCE_AT, 16) != WEFT_OK)
        return diagnose(diagnostic, WEFT_SYSTEM_ERROR, "the kernel gives no random bytes");
    make_proof(handshake, FROM_ACCEPTING, handshake->reply + RECORD_PROOF_AT);
    if (status != WEFT_OK) (void)!link_send(&handshake->link, handshake->reply, sizeof handshake->reply);
    /* On a bare TCP socket anyone can say that: it is not for a stranger to end the job. */
    if (status != WEFT_OK && handshake->network && !handshake->link.tls)
        return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "a connection of another version");
    return status;
}

static weft_status accept_check(struct handshake *handshake, struct diagnostic *diagnostic)
{
    uint8_t proof[HANDSHAKE_PROOF_BYTES];
    make_proof(handshake, FROM_DIALLING, proof);
    if (!proofs_equal(proof, handshake->proof))
        return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "one who has connected to rank %u does not know the job's key",
                        handshake->identity->rank);
    weft_status status = check_claims(handshake, handshake->hello, diagnostic);
    handshake->peer = bytes_get_u32(handshake->hello + RECORD_FROM_AT);
    handshake->role = (enum bootstrap_role)bytes_get_u32(handshake->hello + RECORD_ROLE_AT);
    return status;
}

/* One message further. WEFT_OK: and on to the next state, or, when `*done`, at the end. */
static weft_status handshake_step(struct handshake *handshake, bool *done, struct diagnostic *diagnostic)
{
    weft_status status = WEFT_OK;
    switch ((enum handshake_state)handshake->state) {
    case DIAL_CONNECT:
        status = dial_connect(handshake, diagnostic);
        break;
    case DIAL_SECURE:
    case ACCEPT_SECURE:
        status = secure(handshake, diagnostic);
        break;
    case ACCEPT_FIRST:
        status = accept_first(handshake, diagnostic);
        break;
    case DIAL_HELLO:
        status = send_all(handshake, handshake->hello, sizeof handshake->hello, diagnostic);
        break;
    case DIAL_REPLY:
        status = receive_all(handshake, handshake->reply, sizeof handshake->reply, diagnostic);
        if (status == WEFT_OK) status = dial_check(handshake, diagnostic);
        break;
    case DIAL_PROOF:
        /* Sent even to one whose claims are wrong: only so can it believe ours, and complain in its turn. */
        status = send_all(handshake, handshake->proof, sizeof handshake->proof, diagnostic);
        if (status == WEFT_OK) status = check_claims(handshake, handshake->reply, diagnostic);
        *done = true;
        return status;
    case ACCEPT_HELLO:
        status = receive_all(handshake, handshake->hello, sizeof handshake->hello, diagnostic);
        if (status == WEFT_OK) status = accept_reply(handshake, diagnostic);
        break;
    case ACCEPT_REPLY:
        status = send_all(handshake, handshake->reply, sizeof handshake->reply, diagnostic);
        break;
    case ACCEPT_PROOF:
        status = receive_all(handshake, handshake->proof, sizeof handshake->proof, diagnostic);
        if (status == WEFT_OK) status = accept_check(handshake, diagnostic);
        *done = true;
        return status;
    }
    if (status == WEFT_OK) handshake->state++;
    return status;
}

weft_status handshake_advance(struct handshake *handshake, struct diagnostic *diagnostic)
{
    bool done = false;
    weft_status status = WEFT_OK;
    while (status == WEFT_OK && !done) status = handshake_step(handshake, &done, diagnostic);
    if (status != WEFT_OK && status != WEFT_IN_PROGRESS) handshake_abandon(handshake);
    return status;
}
