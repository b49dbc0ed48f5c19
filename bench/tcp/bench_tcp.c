/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TCP transport beside a loop of plain sendmsg() and recv() that moves the same bytes over a socket of its own.
 * Both run in turns in the same two processes; what is printed are medians of the turns, and their ratio.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "transport/tcp/tcp.h"

#define SLOTS 4u
#define SLOT_BYTES (4u << 20)
#define HEADER_BYTES 16

static struct options {
    uint32_t lanes, buffer_bytes, paths, turns, stripes;
    const char *namespaces[2], *address;
} options = {.lanes = TCP_DEFAULT_LANES, .paths = 1, .turns = 15, .address = "127.0.0.1"};

static void die(const char *what)
{
    fprintf(stderr, "bench_tcp: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Sockets belong to the network namespace they were made in, wherever their process goes afterwards. */
static void enter(const char *name)
{
    char path[256];

    if (!name) return;
    snprintf(path, sizeof path, "/run/netns/%s", name);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) die(path);
    close(fd);
}

static void connected_pair(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;

    if (inet_pton(AF_INET, options.address, &address.sin_addr) != 1) die("address");
    enter(options.namespaces[1]);
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        die("listen");
    enter(options.namespaces[0]);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fds[0], (struct sockaddr *)&address, size) < 0) die("connect");
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    for (int i = 0; i < 2; i++) {
        if (fcntl(fds[i], F_SETFL, O_NONBLOCK) < 0) die("fcntl");
        (void)setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
}

struct side {
    uint32_t rank;
    int lanes[TCP_MAX_LANES], lanes_given;
    int raw[TCP_MAX_LANES];
    struct endpoint *endpoint;
    struct connection *connection;
    uint32_t arrived; /* not yet taken by the game */
    uint32_t leaving; /* puts that the kernel does not have wholly */
    uint8_t *source, *raw_target;
};

static weft_status give_lane(void *context, uint32_t peer, int *fd)
{
    struct side *side = context;

    (void)peer;
    *fd = side->lanes[side->lanes_given++];
    return WEFT_OK;
}

static void side_open(struct side *side)
{
    const struct tcp_config config = {
        .rank = side->rank, .rank_count = 2, .lanes = options.lanes, .socket_buffer_bytes = options.buffer_bytes};
    struct diagnostic diagnostic;

    if (tcp_endpoint_create(&config, (struct rendezvous){give_lane, side}, &side->endpoint, &diagnostic))
        die(diagnostic.text);
    if (endpoint_connect(side->endpoint, !side->rank, (size_t)SLOTS * SLOT_BYTES, &side->connection)) die("grant");
    while (connection_advance(side->connection, clock_now_ns())) continue;
    side->source = aligned_alloc(4096, (size_t)SLOTS * SLOT_BYTES);
    side->raw_target = aligned_alloc(4096, (size_t)SLOTS * SLOT_BYTES + HEADER_BYTES);
    memset(side->source, 1, (size_t)SLOTS * SLOT_BYTES);
    memset(side->raw_target, 1, (size_t)SLOTS * SLOT_BYTES);
    memset(side->connection->granted, 1, (size_t)SLOTS * SLOT_BYTES);
}

/* The transport */

static void progress(struct side *side)
{
    struct event events[32];
    const size_t count = endpoint_poll(side->endpoint, events, 32, clock_now_ns());

    for (size_t i = 0; i < count; i++) {
        if (events[i].kind == EVENT_ARRIVED) side->arrived++;
        if (events[i].kind == EVENT_LOCAL_DONE) side->leaving--;
        if (events[i].kind == EVENT_FAILED) die("the peer is gone");
    }
}

static void send_message(struct side *side, uint32_t index, uint32_t bytes)
{
    const struct put put = {.source = side->source + (size_t)(index % SLOTS) * SLOT_BYTES,
                            .remote_offset = (uint64_t)(index % SLOTS) * SLOT_BYTES,
                            .bytes = bytes,
                            .tag = index,
                            .path_hint = (uint16_t)(index % options.paths),
                            .flags = PUT_NOTIFY | PUT_LOCAL_DONE};

    side->leaving++;
    while (!connection_put(side->connection, &put, 1)) progress(side);
}

static void await(struct side *side)
{
    while (!side->arrived) progress(side);
    side->arrived--;
}

static void ping_pong(struct side *side, uint32_t bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (side->rank == 0) send_message(side, i, bytes);
        await(side);
        if (side->rank == 1) send_message(side, i, bytes);
    }
}

static void exchange(struct side *side, uint32_t bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        send_message(side, i, bytes);
        await(side);
    }
    send_message(side, 0, 0);
    await(side);
}

/* Each slot is used again once it has been given back. */
static void stream(struct side *side, uint32_t bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (side->rank == 0) {
            if (i >= SLOTS) await(side);
            send_message(side, i, bytes);
        } else {
            await(side);
            send_message(side, 0, 0);
        }
    }
    for (uint32_t i = 0; side->rank == 0 && i < (count < SLOTS ? count : SLOTS); i++) await(side);
}

/* The plain loop */

struct raw_job {
    size_t left;
    uint8_t *at;
};

static void raw_send_some(int fd, struct raw_job *job)
{
    uint8_t header[HEADER_BYTES] = {0};
    struct iovec parts[2] = {{header, sizeof header}, {job->at, job->left - HEADER_BYTES}};
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = job->left > HEADER_BYTES ? 2 : 1};

    const ssize_t sent = job->at == NULL           ? 0
                         : message.msg_iovlen == 1 ? send(fd, header, job->left, MSG_DONTWAIT)
                                                   : sendmsg(fd, &message, MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) die("send");
    if (sent > 0) job->left -= (size_t)sent;
}

static void raw_receive_some(int fd, struct raw_job *job)
{
    const ssize_t received = recv(fd, job->at, job->left, MSG_DONTWAIT);
    if (received == 0 || (received < 0 && errno != EAGAIN)) die("recv");
    if (received > 0) {
        job->at += received;
        job->left -= (size_t)received;
    }
}

/* From and to the memory that the transport would use. */
static void raw_both(struct side *side, uint32_t index, size_t out_bytes, size_t in_bytes)
{
    struct raw_job out[TCP_MAX_LANES], in[TCP_MAX_LANES];
    const uint32_t stripes = options.stripes ? options.stripes : 1;
    const size_t slot = (size_t)(index % SLOTS) * SLOT_BYTES;
    bool busy;

    for (uint32_t i = 0; i < stripes; i++) {
        out[i] = (struct raw_job){out_bytes ? out_bytes / stripes + HEADER_BYTES : 0,
                                  side->source + slot + i * (out_bytes / stripes)};
        in[i] = (struct raw_job){in_bytes ? in_bytes / stripes + HEADER_BYTES : 0,
                                 side->raw_target + slot + i * (in_bytes / stripes)};
    }
    do {
        busy = false;
        for (uint32_t i = 0; i < stripes; i++) {
            if (out[i].left) raw_send_some(side->raw[i], &out[i]);
            if (in[i].left) raw_receive_some(side->raw[i], &in[i]);
            busy |= out[i].left || in[i].left;
        }
    } while (busy);
}

static void raw_ping_pong(struct side *side, uint32_t bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (side->rank == 0) raw_both(side, i, bytes, 0);
        raw_both(side, i, 0, bytes);
        if (side->rank == 1) raw_both(side, i, bytes, 0);
    }
}

static void raw_exchange(struct side *side, uint32_t bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) raw_both(side, i, bytes, bytes);
}

static void raw_stream(struct side *side, uint32_t bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) raw_both(side, i, side->rank == 0 ? bytes : 0, side->rank == 0 ? 0 : bytes);
    raw_both(side, 0, side->rank == 1 ? 1024 : 0, side->rank == 1 ? 0 : 1024);
}

static const struct game {
    const char *name;
    void (*play)(struct side *, uint32_t bytes, uint32_t count), (*raw)(struct side *, uint32_t bytes, uint32_t count);
} games[] = {
    {"ping-pong", ping_pong, raw_ping_pong}, {"exchange", exchange, raw_exchange}, {"stream", stream, raw_stream}};

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return values[count / 2];
}

static void play(struct side *side)
{
    static const uint32_t sizes[] = {8, 1024, 32 << 10, 128 << 10, 512 << 10, 4 << 20};

    side_open(side);
    if (side->rank == 0) printf("%-10s %9s %12s %12s %7s\n", "game", "bytes", "tcp us", "plain us", "ratio");
    for (size_t g = 0; g < sizeof games / sizeof games[0]; g++) {
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            const uint32_t count = sizes[s] <= 1024               ? 2000
                                   : (64u << 20) / sizes[s] > 500 ? 500
                                                                  : (64u << 20) / sizes[s];
            double ours[64], raw[64];
            for (uint32_t turn = 0; turn < options.turns; turn++) {
                uint64_t from_ns = clock_now_ns();
                games[g].play(side, sizes[s], count);
                while (side->leaving) progress(side); /* nobody polls during the other game */
                ours[turn] = (double)(clock_now_ns() - from_ns) / count / 1e3;
                from_ns = clock_now_ns();
                games[g].raw(side, sizes[s], count);
                raw[turn] = (double)(clock_now_ns() - from_ns) / count / 1e3;
            }
            const double our = median(ours, options.turns), theirs = median(raw, options.turns);
            if (side->rank == 0)
                printf("%-10s %9u %12.2f %12.2f %7.2f\n", games[g].name, sizes[s], our, theirs, our / theirs);
        }
    }
    fflush(stdout);
    connection_disconnect(side->connection);
    endpoint_destroy(side->endpoint);
}

int main(int argc, char **argv)
{
    static struct side sides[2] = {{.rank = 0}, {.rank = 1}};
    int option;

    while ((option = getopt(argc, argv, "l:b:p:t:s:n:m:a:")) != -1) {
        switch (option) {
        case 'l':
            options.lanes = (uint32_t)atoi(optarg);
            break;
        case 'b':
            options.buffer_bytes = (uint32_t)atoi(optarg);
            break;
        case 'p':
            options.paths = (uint32_t)atoi(optarg);
            break;
        case 't':
            options.turns = (uint32_t)atoi(optarg);
            break;
        case 's':
            options.stripes = (uint32_t)atoi(optarg);
            break;
        case 'n':
            options.namespaces[0] = optarg;
            break;
        case 'm':
            options.namespaces[1] = optarg;
            break;
        case 'a':
            options.address = optarg;
            break;
        default:
            fprintf(stderr,
                    "usage: bench_tcp [-l lanes] [-b socket buffer bytes] [-p paths] [-t turns] [-s stripes of the "
                    "plain loop] [-n namespace -m namespace -a address in the latter]\n");
            return 2;
        }
    }
    for (uint32_t i = 0; i < TCP_MAX_LANES; i++) {
        int fds[2];
        connected_pair(fds);
        sides[0].lanes[i] = fds[0], sides[1].lanes[i] = fds[1];
        connected_pair(fds);
        sides[0].raw[i] = fds[0], sides[1].raw[i] = fds[1];
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    const pid_t child = fork();
    if (child < 0) die("fork");
    play(&sides[child == 0]);
    return child ? (waitpid(child, NULL, 0), 0) : 0;
}
