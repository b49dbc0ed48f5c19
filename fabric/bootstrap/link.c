/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bootstrap.h"
#include "keyed_hash.h"

/* By what a client names the key: the job, so that a server can tell another job's ranks. Public. */
enum { KEY_NAME_BYTES = 5 + 16 };

/* ---- OpenSSL's sockets ---- */

/* Its own would raise SIGPIPE in whichever thread writes to a peer that has gone. */
static int socket_write(BIO *bio, const char *bytes, int size)
{
    int fd = (int)(intptr_t)BIO_get_data(bio);
    ssize_t sent;
    do sent = send(fd, bytes, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    BIO_clear_retry_flags(bio);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM))
        BIO_set_retry_write(bio);
    return (int)sent;
}

static int socket_read(BIO *bio, char *bytes, int size)
{
    int fd = (int)(intptr_t)BIO_get_data(bio);
    ssize_t got;
    do got = recv(fd, bytes, (size_t)size, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    BIO_clear_retry_flags(bio);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_read(bio);
    if (got == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return (int)got;
}

static long socket_control(BIO *bio, int command, long number, void *pointer)
{
    (void)number, (void)pointer;
    if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return command == BIO_CTRL_FLUSH; /* nothing is held back */
}

/* ---- The key ---- */

static void key_name(const struct identity *identity, uint8_t name[KEY_NAME_BYTES])
{
    memcpy(name, "weft ", 5);
    memcpy(name + 5, identity->job, sizeof identity->job);
}

/* A session that never was, whose secret is the key: this is how OpenSSL takes an external one. */
static SSL_SESSION *key_session(SSL *ssl, const struct identity *identity)
{
    static const uint8_t aes_128_gcm_sha256[] = {0x13, 0x01};
    uint8_t key[32];
    keyed_derive(identity->key, "weft tls", key);
    SSL_SESSION *session = SSL_SESSION_new();
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes_128_gcm_sha256);
    bool made = session && cipher && SSL_SESSION_set1_master_key(session, key, sizeof key) == 1 &&
                SSL_SESSION_set_cipher(session, cipher) == 1 &&
                SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1;
    explicit_bzero(key, sizeof key);
    if (made) return session;
    SSL_SESSION_free(session);
    return NULL;
}

/* The name is read after we return, in this thread. */
static int offer_key(SSL *ssl, const EVP_MD *digest, const unsigned char **name, size_t *size, SSL_SESSION **session)
{
    static _Thread_local uint8_t offered[KEY_NAME_BYTES];
    const struct identity *identity = SSL_get_app_data(ssl);
    *session = NULL;
    if (digest && EVP_MD_get_type(digest) != NID_sha256) return 1; /* asked again: the key goes with SHA-256 alone */
    *session = key_session(ssl, identity);
    if (!*session) return 0;
    key_name(identity, offered);
    *name = offered;
    *size = sizeof offered;
    return 1;
}

static int find_key(SSL *ssl, const unsigned char *name, size_t size, SSL_SESSION **session)
{
    const struct identity *identity = SSL_get_app_data(ssl);
    uint8_t expected[KEY_NAME_BYTES];
    key_name(identity, expected);
    *session = NULL;
    if (size != sizeof expected || memcmp(name, expected, sizeof expected) != 0) return 1;
    *session = key_session(ssl, identity);
    return *session != NULL;
}

/* ---- What all links share: made once, never changed ---- */

static struct {
    pthread_once_t once;
    SSL_CTX *settings; /* NULL: out of memory */
    BIO_METHOD *sockets;
} tls = {.once = PTHREAD_ONCE_INIT};

static void tls_make(void)
{
    tls.sockets = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weft socket");
    SSL_CTX *settings = SSL_CTX_new(TLS_method());
    bool made = tls.sockets && settings && BIO_meth_set_write(tls.sockets, socket_write) == 1 &&
                BIO_meth_set_read(tls.sockets, socket_read) == 1 &&
                BIO_meth_set_ctrl(tls.sockets, socket_control) == 1 &&
                SSL_CTX_set_min_proto_version(settings, TLS1_3_VERSION) == 1 &&
                SSL_CTX_set_max_proto_version(settings, TLS1_3_VERSION) == 1 &&
                SSL_CTX_set_ciphersuites(settings, "TLS_AES_128_GCM_SHA256") == 1 &&
                SSL_CTX_set1_groups_list(settings, "X25519:P-256") == 1 && SSL_CTX_set_num_tickets(settings, 0) == 1;
    if (!made) {
        SSL_CTX_free(settings);
        return;
    }
    /* The end of a connection is judged by what was said before it; it needs no announcement of TLS's own. */
    SSL_CTX_set_options(settings, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(settings,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(settings, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_psk_use_session_callback(settings, offer_key);
    SSL_CTX_set_psk_find_session_callback(settings, find_key);
    tls.settings = settings;
}

/* ---- Links ---- */

void link_plain(struct link *link, int fd)
{
    *link = (struct link){.fd = fd};
}

weft_status link_tls(struct link *link, int fd, const struct identity *identity, bool dialling)
{
    pthread_once(&tls.once, tls_make);
    SSL *ssl = tls.settings ? SSL_new(tls.settings) : NULL;
    BIO *bio = ssl ? BIO_new(tls.sockets) : NULL;
    if (!bio) {
        SSL_free(ssl);
        return WEFT_OUT_OF_MEMORY;
    }
    BIO_set_data(bio, (void *)(intptr_t)fd);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, (void *)(uintptr_t)identity);
    if (dialling) {
        SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL); /* against no authorities at all: every certificate is refused */
        SSL_set_connect_state(ssl);
    } else {
        SSL_set_accept_state(ssl);
    }
    *link = (struct link){.fd = fd, .tls = ssl, .dialling = dialling};
    return WEFT_OK;
}

/* Why TLS did not come up, for who dials. */
static const char *refusal_reason(void)
{
    unsigned long error = ERR_peek_error();
    if (ERR_GET_LIB(error) != ERR_LIB_SSL) return "what listens there is not weft";
    switch (ERR_GET_REASON(error)) {
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        return "it serves another job: pass this job's unique id to all ranks, or the same key, address and port";
    case SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
    case SSL_R_BINDER_DOES_NOT_VERIFY:
        return "it holds another key: give all ranks the same unique id or key file";
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return "it shows a certificate instead of knowing the job's key, as no rank does";
    default:
        return "what listens there is not a rank of this job, or not weft";
    }
}

weft_status link_secure(struct link *link, struct diagnostic *diagnostic)
{
    if (!link->tls || link->secure) return WEFT_OK;
    ERR_clear_error();
    errno = 0;
    int done = SSL_do_handshake(link->tls);
    if (done == 1 && SSL_session_reused(link->tls)) {
        link->secure = true;
        SSL_set_app_data(link->tls, NULL);
        return WEFT_OK;
    }
    int cause = errno, error = SSL_get_error(link->tls, done);
    if (done != 1) {
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return WEFT_IN_PROGRESS;
        if (error == SSL_ERROR_SYSCALL || error == SSL_ERROR_ZERO_RETURN) {
            errno = cause;
            return WEFT_LINK_DOWN;
        }
    }
    weft_status status =
        link->dialling ? diagnose(diagnostic, WEFT_PEER_REFUSED, "%s",
                                  done == 1 ? "it does not know the job's key" : refusal_reason())
                       : diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "a connection that does not know the job's key");
    ERR_clear_error();
    return status;
}

/* What SSL_read() and SSL_write() could not do, in the words of recv() and send(). */
static ssize_t tls_result(struct link *link, int result, size_t done)
{
    if (result == 1) return (ssize_t)done;
    int cause = errno;
    switch (SSL_get_error(link->tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        errno = cause ? cause : ECONNRESET;
        break;
    default:
        errno = EPROTO;
    }
    ERR_clear_error();
    return -1;
}

ssize_t link_send(struct link *link, const void *bytes, size_t size)
{
    if (!link->tls) return send(link->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    size_t sent = 0;
    ERR_clear_error();
    errno = 0;
    int result = SSL_write_ex(link->tls, bytes, size, &sent);
    return tls_result(link, result, sent);
}

ssize_t link_receive(struct link *link, void *bytes, size_t size)
{
    if (!link->tls) return recv(link->fd, bytes, size, MSG_DONTWAIT);
    size_t received = 0;
    ERR_clear_error();
    errno = 0;
    int result = SSL_read_ex(link->tls, bytes, size, &received);
    return tls_result(link, result, received);
}

bool link_pending(const struct link *link)
{
    return link->tls && SSL_pending(link->tls) > 0;
}

void link_close(struct link *link)
{
    if (link->tls && link->fd >= 0) {
        /* Closing with something unread would have TCP take back what we said last. */
        uint8_t unread[512];
        shutdown(link->fd, SHUT_WR);
        for (int reads = 0; reads < 64 && recv(link->fd, unread, sizeof unread, MSG_DONTWAIT) > 0; reads++) continue;
    }
    SSL_free(link->tls);
    if (link->fd >= 0) close(link->fd);
    link_plain(link, -1);
}

int link_release(struct link *link)
{
    int fd = link->fd;
    link->fd = -1;
    return fd;
}

void link_forget(struct link *link)
{
    if (link->fd >= 0) close(link->fd);
    link->fd = -1;
}
