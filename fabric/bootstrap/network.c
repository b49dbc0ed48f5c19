/* SPDX-License-Identifier: Apache-2.0 */
#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/config.h"
#include "base/log.h"
#include "base/random.h"
#include "keyed_hash.h"

union socket_address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

static socklen_t to_socket(const struct tcp_address *address, union socket_address *to)
{
    memset(to, 0, sizeof *to);
    if (address->family == AF_INET6) {
        to->six.sin6_family = AF_INET6;
        to->six.sin6_port = htons(address->port);
        memcpy(&to->six.sin6_addr, address->bytes, 16);
        return sizeof to->six;
    }
    to->four.sin_family = AF_INET;
    to->four.sin_port = htons(address->port);
    memcpy(&to->four.sin_addr, address->bytes, 4);
    return sizeof to->four;
}

static void from_socket(const union socket_address *from, struct tcp_address *address)
{
    *address = (struct tcp_address){.family = from->any.sa_family};
    if (from->any.sa_family == AF_INET6) {
        address->port = ntohs(from->six.sin6_port);
        memcpy(address->bytes, &from->six.sin6_addr, 16);
    } else {
        address->port = ntohs(from->four.sin_port);
        memcpy(address->bytes, &from->four.sin_addr, 4);
    }
}

void tcp_address_text(const struct tcp_address *address, char text[TCP_ADDRESS_TEXT_BYTES])
{
    char number[INET6_ADDRSTRLEN] = "nowhere";
    if (address->family != AF_UNSPEC) inet_ntop(address->family, address->bytes, number, sizeof number);
    snprintf(text, TCP_ADDRESS_TEXT_BYTES, address->family == AF_INET6 ? "[%s]:%u" : "%s:%u", number, address->port);
}

/* ---- Which address ---- */

/* An address that only means something together with an interface cannot be handed to others. */
static bool is_link_local(const union socket_address *address)
{
    return address->any.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&address->six.sin6_addr);
}

static bool parse_number(const char *text, struct tcp_address *address)
{
    *address = (struct tcp_address){.family = strchr(text, ':') ? AF_INET6 : AF_INET};
    return inet_pton(address->family, text, address->bytes) == 1;
}

/* @p name NULL: of any interface that leads elsewhere. @p family AF_UNSPEC: of either, rather IPv4. */
static weft_status interface_address(const char *name, int family, struct tcp_address *own,
                                     struct diagnostic *diagnostic)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) != 0)
        return diagnose(diagnostic, WEFT_SYSTEM_ERROR, "cannot list this host's interfaces: %s", strerror(errno));
    bool exists = false, found = false;
    for (const struct ifaddrs *entry = all; entry; entry = entry->ifa_next) {
        if (name ? strcmp(entry->ifa_name, name) != 0 : !(entry->ifa_flags & IFF_UP) || entry->ifa_flags & IFF_LOOPBACK)
            continue;
        exists = true;
        if (!entry->ifa_addr) continue;
        union socket_address address = {.any = {.sa_family = entry->ifa_addr->sa_family}};
        if (address.any.sa_family != AF_INET && address.any.sa_family != AF_INET6) continue;
        if (family != AF_UNSPEC && address.any.sa_family != family) continue;
        if (found && (!name || address.any.sa_family == AF_INET6)) continue;
        memcpy(&address, entry->ifa_addr, address.any.sa_family == AF_INET ? sizeof address.four : sizeof address.six);
        if (is_link_local(&address)) continue;
        from_socket(&address, own);
        own->port = 0;
        found = true;
    }
    freeifaddrs(all);
    if (found) return WEFT_OK;
    return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                    exists ? "WEFT_INTERFACE: interface %s has no address that the other ranks could use"
                           : "WEFT_INTERFACE: this host has no interface or address '%s': `ip address` lists them",
                    name ? name : "");
}

/* From where packets to there would leave; nothing is sent. */
static bool source_address(const struct tcp_address *toward, struct tcp_address *own)
{
    union socket_address address;
    struct tcp_address with_port = *toward;
    if (with_port.port == 0) with_port.port = 9;
    socklen_t size = to_socket(&with_port, &address);
    int fd = socket(toward->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool found = connect(fd, &address.any, size) == 0 && getsockname(fd, &address.any, &size) == 0;
    close(fd);
    if (!found || is_link_local(&address)) return false;
    from_socket(&address, own);
    own->port = 0;
    return true;
}

weft_status network_own_address(const struct tcp_address *toward, struct tcp_address *own,
                                struct diagnostic *diagnostic)
{
    /* Documentation addresses (RFC 5737, RFC 3849): somewhere else, reached by the default route. */
    static const struct tcp_address elsewhere[] = {{.family = AF_INET, .bytes = {192, 0, 2, 1}},
                                                   {.family = AF_INET6, .bytes = {0x20, 0x01, 0x0d, 0xb8}}};
    static const struct tcp_address loopback = {.family = AF_INET, .bytes = {127, 0, 0, 1}};
    const char *name = config_get()->interface;
    if (name[0] && !parse_number(name, own)) return interface_address(name, toward->family, own, diagnostic);
    if (name[0]) return WEFT_OK;
    if (toward->family != AF_UNSPEC) {
        if (source_address(toward, own)) return WEFT_OK;
        char text[TCP_ADDRESS_TEXT_BYTES];
        tcp_address_text(toward, text);
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "this host has no route to rank 0 at %s: check the address, or name the interface to use in "
                        "WEFT_INTERFACE",
                        text);
    }
    if (source_address(&elsewhere[0], own) || source_address(&elsewhere[1], own)) return WEFT_OK;
    /* A cluster's network need not lead to the rest of the world. */
    if (interface_address(NULL, AF_UNSPEC, own, NULL) != WEFT_OK) *own = loopback;
    return WEFT_OK;
}

/* ---- Sockets ---- */

static weft_status port_range(uint16_t *low, uint16_t *high, struct diagnostic *diagnostic)
{
    const char *text = config_get()->port_range;
    unsigned first, last;
    char after;
    *low = *high = 0;
    if (!text[0]) return WEFT_OK;
    if (sscanf(text, "%5u-%5u%c", &first, &last, &after) != 2 || first == 0 || first > last || last > 65535)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "WEFT_PORT_RANGE is '%.32s': expected two ports such as 30000-30999", text);
    *low = (uint16_t)first;
    *high = (uint16_t)last;
    return WEFT_OK;
}

static bool is_loopback(const struct tcp_address *address)
{
    static const struct in6_addr six = IN6ADDR_LOOPBACK_INIT;
    return address->family == AF_INET6 ? !memcmp(address->bytes, &six, sizeof six) : address->bytes[0] == 127;
}

/*
 * Over loopback no router can be crowded. Where the system's congestion control is one that paces (bbr), packets wait
 * for timers there all the same, and in a virtual machine setting one costs as much as a packet. Reno does not pace. It
 * has to be chosen before there is a connection: pacing once begun does not end with the choice of another. Where it
 * is not to be had, things stay as they are.
 */
static void advise_loopback(int fd, const struct tcp_address *address)
{
    static const char algorithm[] = "reno";
    if (is_loopback(address)) (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, algorithm, sizeof algorithm - 1);
}

/* 0, or the errno. */
static int listen_at(const struct tcp_address *at, int *fd)
{
    union socket_address address;
    socklen_t size = to_socket(at, &address);
    int listener = socket(at->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) return errno;
    int on = 1; /* connections of a job that has ended are no reason to keep its port from the next */
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    advise_loopback(listener, at);
    if (bind(listener, &address.any, size) == 0 && listen(listener, SOMAXCONN) == 0) {
        *fd = listener;
        return 0;
    }
    int cause = errno;
    close(listener);
    return cause;
}

weft_status network_listen(struct tcp_address *at, int *fd, struct diagnostic *diagnostic)
{
    uint16_t low = 0, high = 0;
    weft_status status = at->port ? WEFT_OK : port_range(&low, &high, diagnostic);
    if (status != WEFT_OK) return status;
    struct tcp_address tried = *at;
    uint16_t count = (uint16_t)(high - low + 1), first = 0;
    /* From anywhere in the range, so that the ranks of a host seldom try the same ports. */
    if (low && random_secret(&first, sizeof first) == WEFT_OK) first %= count;
    int cause = EADDRINUSE;
    for (uint32_t i = 0; i < (low ? count : 1u) && cause == EADDRINUSE; i++) {
        if (low) tried.port = (uint16_t)(low + (first + i) % count);
        cause = listen_at(&tried, fd);
    }
    if (cause == 0) {
        union socket_address address;
        socklen_t size = sizeof address;
        getsockname(*fd, &address.any, &size);
        from_socket(&address, at);
        return WEFT_OK;
    }
    char text[TCP_ADDRESS_TEXT_BYTES];
    tcp_address_text(at, text);
    if (cause == EADDRINUSE && low)
        return diagnose(diagnostic, WEFT_RESOURCE_LIMIT, "every port of WEFT_PORT_RANGE %u-%u is taken on this host",
                        low, high);
    if (cause == EADDRINUSE)
        return diagnose(diagnostic, WEFT_AGAIN, "%s is taken: another program, or another job, listens there", text);
    if (cause == EADDRNOTAVAIL)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "%s is no address of this host: rank 0 has to run where its address is", text);
    bool limit = cause == EMFILE || cause == ENFILE || cause == ENOBUFS || cause == ENOMEM;
    return diagnose(diagnostic, limit ? WEFT_RESOURCE_LIMIT : WEFT_SYSTEM_ERROR, "cannot listen at %s: %s", text,
                    strerror(cause));
}

void network_prepare(int fd)
{
    int on = 1; /* control messages and handshakes wait for each other */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/*
 * Has the kernel given this end the very port that it is to reach? Where nobody listens at a port that connections get
 * their own from, it does so once in many attempts, and connects the socket to itself (RFC 9293, 3.5, two SYNs that
 * cross): the rank that comes to listen there would find its port taken.
 */
static bool is_own_peer(int fd, const struct tcp_address *to)
{
    union socket_address address;
    socklen_t size = sizeof address;
    struct tcp_address own;
    if (getsockname(fd, &address.any, &size) != 0) return false;
    from_socket(&address, &own);
    return own.family == to->family && own.port == to->port && memcmp(own.bytes, to->bytes, sizeof own.bytes) == 0;
}

int network_connect(const struct tcp_address *to)
{
    union socket_address address;
    socklen_t size = to_socket(to, &address);
    int fd = socket(to->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    network_prepare(fd);
    advise_loopback(fd, to);
    bool begun = connect(fd, &address.any, size) == 0 || errno == EINPROGRESS;
    int cause = begun ? ECONNREFUSED : errno;
    if (begun && !is_own_peer(fd, to)) return fd;
    if (begun) setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd); /* with a reset: the port is free at once */
    errno = cause;
    return -1;
}

/* ---- The host ---- */

void network_host(const char *given, uint8_t host[16])
{
    static const uint8_t not_secret[32] = "weft host";
    uint8_t seed[288] = {0};
    size_t size = 0;
    if (!given) given = config_get()->host_id;
    if (given[0]) {
        size = strnlen(given, CONFIG_STRING_BYTES);
        memcpy(seed, given, size);
    } else {
        int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
        ssize_t got = fd < 0 ? -1 : read(fd, seed, 36);
        if (fd >= 0) close(fd);
        size = got > 0 ? (size_t)got : 0;
        struct stat space = {0};
        if (stat("/proc/self/ns/net", &space) != 0) memset(&space, 0, sizeof space);
        bytes_put_u64(seed + size, space.st_dev);
        bytes_put_u64(seed + size + 8, space.st_ino);
        bytes_put_u32(seed + size + 16, geteuid());
        size += 20;
    }
    keyed_tag(not_secret, seed, size, host);
}
