/* SPDX-License-Identifier: Apache-2.0 */
/* TLS between ranks, and those who only look like ranks. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fabric/bootstrap/bootstrap_internal.h"
#include "fabric/bootstrap/network.h"
#include "support.h"

struct pair {
    struct identity dialling, accepting;
    int ends[2]; /* of the dialling, of the accepting side */
};

static void pair_make(struct pair *pair)
{
    weft_unique_id id;
    bootstrap_id_create_local(&id);
    pair->dialling = make_identity(&id, 1, 4);
    pair->accepting = make_identity(&id, 2, 4);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair->ends), 0);
}

/* Both sides until neither has anything left to do. */
static void secure_both(struct link *dial, struct link *accept, weft_status *dialled, weft_status *accepted,
                        struct diagnostic *why)
{
    *dialled = *accepted = WEFT_IN_PROGRESS;
    for (int turns = 0; turns < 20; turns++) {
        if (*dialled == WEFT_IN_PROGRESS) *dialled = link_secure(dial, why);
        if (*accepted == WEFT_IN_PROGRESS) *accepted = link_secure(accept, NULL);
    }
}

static void two_holders_of_the_key_talk(void **state)
{
    (void)state;
    struct pair pair;
    struct link dial, accept;
    weft_status dialled, accepted;
    struct diagnostic why;
    char text[8] = "";
    unsigned descriptors = count_descriptors();
    pair_make(&pair);
    assert_int_equal(link_tls(&dial, pair.ends[0], &pair.dialling, true), WEFT_OK);
    assert_int_equal(link_tls(&accept, pair.ends[1], &pair.accepting, false), WEFT_OK);
    secure_both(&dial, &accept, &dialled, &accepted, &why);
    assert_int_equal(dialled, WEFT_OK);
    assert_int_equal(accepted, WEFT_OK);
    assert_string_equal(SSL_get_version(dial.tls), "TLSv1.3");
    assert_int_equal(link_receive(&accept, text, sizeof text), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(link_send(&dial, "hello", 6), 6);
    assert_int_equal(link_receive(&accept, text, 4), 4);
    assert_true(link_pending(&accept));
    assert_int_equal(link_receive(&accept, text + 4, 4), 2);
    assert_false(link_pending(&accept));
    assert_string_equal(text, "hello");
    link_close(&dial);
    assert_int_equal(link_receive(&accept, text, sizeof text), 0);
    link_close(&accept);
    assert_int_equal(count_descriptors(), descriptors);
}

/* A reader that does not read stops the writer, and loses nothing. */
static void what_does_not_fit_goes_later(void **state)
{
    (void)state;
    struct pair pair;
    struct link dial, accept;
    weft_status dialled, accepted;
    struct diagnostic why;
    pair_make(&pair);
    link_tls(&dial, pair.ends[0], &pair.dialling, true);
    link_tls(&accept, pair.ends[1], &pair.accepting, false);
    secure_both(&dial, &accept, &dialled, &accepted, &why);
    enum { BYTES = 4 << 20 };
    uint8_t *out = malloc(BYTES), *in = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++) out[i] = (uint8_t)(i * 2654435761u >> 24);
    size_t sent = 0, got = 0;
    bool stopped = false;
    while (got < BYTES) {
        ssize_t now;
        while (sent < BYTES && (now = link_send(&dial, out + sent, BYTES - sent)) > 0) sent += (size_t)now;
        stopped |= sent < BYTES;
        while ((now = link_receive(&accept, in + got, BYTES - got)) > 0) got += (size_t)now;
    }
    assert_true(stopped);
    assert_memory_equal(in, out, BYTES);
    free(out);
    free(in);
    link_close(&dial);
    link_close(&accept);
}

static void expect_refused(struct pair *pair, const char *reason)
{
    struct link dial, accept;
    weft_status dialled, accepted;
    struct diagnostic why;
    assert_int_equal(link_tls(&dial, pair->ends[0], &pair->dialling, true), WEFT_OK);
    assert_int_equal(link_tls(&accept, pair->ends[1], &pair->accepting, false), WEFT_OK);
    secure_both(&dial, &accept, &dialled, &accepted, &why);
    assert_int_equal(dialled, WEFT_PEER_REFUSED);
    assert_int_equal(accepted, WEFT_PROTOCOL_ERROR);
    if (!strstr(why.text, reason)) fail_msg("%s", why.text);
    link_close(&dial);
    link_close(&accept);
}

static void another_key_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_make(&pair);
    pair.accepting.key[5] ^= 1;
    expect_refused(&pair, "it holds another key");
}

static void another_job_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_make(&pair);
    pair.accepting.job[5] ^= 1;
    expect_refused(&pair, "it serves another job");
}

/* ---- A server without the key, and with the best certificate there can be ---- */

struct rogue {
    int fd;
    bool accepted; /* TLS came up */
    ssize_t told;  /* bytes it was told after that */
};

static SSL_CTX *rogue_settings(void)
{
    SSL_CTX *settings = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (const uint8_t *)"rank 0", -1,
                               -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_sign(certificate, key, EVP_sha256());
    SSL_CTX_use_certificate(settings, certificate);
    SSL_CTX_use_PrivateKey(settings, key);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return settings;
}

static void *rogue_main(void *argument)
{
    struct rogue *rogue = argument;
    uint8_t bytes[256];
    SSL_CTX *settings = rogue_settings();
    SSL *ssl = SSL_new(settings);
    SSL_set_fd(ssl, rogue->fd);
    rogue->accepted = SSL_accept(ssl) == 1;
    rogue->told = rogue->accepted ? SSL_read(ssl, bytes, sizeof bytes) : 0;
    SSL_free(ssl);
    SSL_CTX_free(settings);
    close(rogue->fd);
    return NULL;
}

static void a_rogue_certificate_server_is_refused_and_told_nothing(void **state)
{
    (void)state;
    struct pair pair;
    struct diagnostic why;
    struct rogue rogue;
    pthread_t thread;
    pair_make(&pair);
    close(pair.ends[0]);
    close(pair.ends[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.ends), 0);
    rogue = (struct rogue){.fd = pair.ends[1]};
    pthread_create(&thread, NULL, rogue_main, &rogue);
    struct link dial;
    link_tls(&dial, pair.ends[0], &pair.dialling, true);
    weft_status status;
    while ((status = link_secure(&dial, &why)) == WEFT_IN_PROGRESS) usleep(100);
    assert_int_equal(status, WEFT_PEER_REFUSED);
    if (!strstr(why.text, "shows a certificate")) fail_msg("%s", why.text);
    link_close(&dial);
    pthread_join(thread, NULL);
    assert_true(rogue.told <= 0);
}

/* A client without a key, who would be content with any certificate. */
static void a_client_without_a_key_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    struct diagnostic why;
    pair_make(&pair);
    SSL_CTX *settings = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(settings);
    SSL_set_fd(ssl, pair.ends[0]);
    assert_int_equal(SSL_connect(ssl), -1); /* its hello is sent */
    struct link accept;
    link_tls(&accept, pair.ends[1], &pair.accepting, false);
    assert_int_equal(link_secure(&accept, &why), WEFT_PROTOCOL_ERROR);
    link_close(&accept);
    SSL_free(ssl);
    SSL_CTX_free(settings);
    close(pair.ends[0]);
}

/* What one rank said once, said again by somebody else. */
static void a_replayed_handshake_leads_nowhere(void **state)
{
    (void)state;
    struct pair pair, again;
    struct link dial, accept;
    uint8_t said[2][4096], answer[4096];
    ssize_t sizes[2];
    pair_make(&pair);
    again = pair;
    link_tls(&dial, pair.ends[0], &pair.dialling, true);
    assert_int_equal(link_secure(&dial, NULL), WEFT_IN_PROGRESS);
    sizes[0] = recv(pair.ends[1], said[0], sizeof said[0], 0);
    assert_true(sizes[0] > 0);
    /* The real exchange goes on over another pair of sockets, whose bytes are carried by hand. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, again.ends), 0);
    link_tls(&accept, again.ends[1], &pair.accepting, false);
    assert_int_equal(send(again.ends[0], said[0], (size_t)sizes[0], 0), sizes[0]);
    assert_int_equal(link_secure(&accept, NULL), WEFT_IN_PROGRESS);
    ssize_t size = recv(again.ends[0], answer, sizeof answer, 0);
    assert_int_equal(send(pair.ends[1], answer, (size_t)size, 0), size);
    assert_int_equal(link_secure(&dial, NULL), WEFT_OK);
    sizes[1] = recv(pair.ends[1], said[1], sizeof said[1], 0);
    assert_int_equal(send(again.ends[0], said[1], (size_t)sizes[1], 0), sizes[1]);
    assert_int_equal(link_secure(&accept, NULL), WEFT_OK);
    link_close(&accept);
    close(again.ends[0]);
    /* The replay: the same words, to the same rank. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, again.ends), 0);
    link_tls(&accept, again.ends[1], &pair.accepting, false);
    assert_int_equal(send(again.ends[0], said[0], (size_t)sizes[0], 0), sizes[0]);
    assert_int_equal(link_secure(&accept, NULL), WEFT_IN_PROGRESS);
    assert_int_equal(send(again.ends[0], said[1], (size_t)sizes[1], 0), sizes[1]);
    assert_int_equal(link_secure(&accept, NULL), WEFT_PROTOCOL_ERROR);
    link_close(&accept);
    close(again.ends[0]);
    link_close(&dial);
    close(pair.ends[1]);
}

static void addresses_read_as_people_write_them(void **state)
{
    (void)state;
    char text[TCP_ADDRESS_TEXT_BYTES];
    tcp_address_text(&(struct tcp_address){.family = AF_INET, .port = 80, .bytes = {10, 0, 0, 1}}, text);
    assert_string_equal(text, "10.0.0.1:80");
    tcp_address_text(&(struct tcp_address){.family = AF_INET6, .port = 80, .bytes = {0xfd, [15] = 1}}, text);
    assert_string_equal(text, "[fd00::1]:80");
}

static void ports_come_out_of_the_range(void **state)
{
    (void)state;
    struct tcp_address at = {.family = AF_INET, .bytes = {127, 0, 0, 1}};
    struct diagnostic why;
    int fds[3], extra;
    for (int i = 0; i < 3; i++) {
        struct tcp_address own = at;
        assert_int_equal(network_listen(&own, &fds[i], &why), WEFT_OK);
        assert_in_range(own.port, 21211, 21213);
    }
    struct tcp_address own = at;
    assert_int_equal(network_listen(&own, &extra, &why), WEFT_RESOURCE_LIMIT);
    assert_non_null(strstr(why.text, "every port of WEFT_PORT_RANGE 21211-21213 is taken"));
    for (int i = 0; i < 3; i++) close(fds[i]);
}

/* In a network of its own, whose ports for outgoing connections are two. True: it is there. */
static bool enter_narrow_network(void)
{
    static const char range[] = "21220 21221";
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    if (unshare(CLONE_NEWNET) != 0) return false;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool made = ioctl(fd, SIOCSIFFLAGS, &loopback) == 0;
    close(fd);
    fd = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY | O_CLOEXEC);
    made = made && write(fd, range, sizeof range - 1) == sizeof range - 1;
    close(fd);
    return made;
}

/* 0, or a number for what went wrong; 77 where there are no networks of one's own. */
static int dial_where_nobody_listens(void)
{
    if (!enter_narrow_network()) return 77;
    for (int i = 0; i < 64; i++) {
        struct tcp_address at = {.family = AF_INET, .bytes = {127, 0, 0, 1}, .port = (uint16_t)(21220 + i % 2)};
        struct sockaddr_in peer;
        socklen_t size = sizeof peer;
        int fd = network_connect(&at), listener;
        if (fd < 0 && errno != ECONNREFUSED) return 1;
        if (fd >= 0 && getpeername(fd, (struct sockaddr *)&peer, &size) == 0) return 2;
        if (fd >= 0) close(fd);
        if (network_listen(&at, &listener, NULL) != WEFT_OK) return 3;
        close(listener);
    }
    return 0;
}

/* TCP can connect a socket to itself, and it then has the port that the peer is to listen at. */
static void nobody_connects_to_himself(void **state)
{
    (void)state;
    int status = 0;
    pid_t child = fork();
    if (child == 0) _exit(dial_where_nobody_listens());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("needs to make a network namespace\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    setenv("WEFT_PORT_RANGE", "21211-21213", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_holders_of_the_key_talk),
        cmocka_unit_test(what_does_not_fit_goes_later),
        cmocka_unit_test(another_key_is_refused),
        cmocka_unit_test(another_job_is_refused),
        cmocka_unit_test(a_rogue_certificate_server_is_refused_and_told_nothing),
        cmocka_unit_test(a_client_without_a_key_is_refused),
        cmocka_unit_test(a_replayed_handshake_leads_nowhere),
        cmocka_unit_test(addresses_read_as_people_write_them),
        cmocka_unit_test(ports_come_out_of_the_range),
        cmocka_unit_test(nobody_connects_to_himself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
