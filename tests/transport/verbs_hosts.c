/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/transport/verbs_hosts.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/mockverbs/mockverbs.h"

void verbs_hosts_open(struct verbs_hosts *hosts, uint32_t rank_count, uint32_t rail_count)
{
    mockverbs_reset();
    mockverbs_hosts_add(rank_count, rail_count);
    pairs_init(&hosts->pairs);
    hosts->rank_count = rank_count;
    hosts->rail_count = rail_count;
    for (uint32_t rank = 0; rank < rank_count; rank++)
        hosts->ranks[rank] = (struct verbs_hosts_rank){.hosts = hosts, .rank = rank};
}

void verbs_hosts_close(struct verbs_hosts *hosts)
{
    for (uint32_t rank = 0; rank < hosts->rank_count; rank++) {
        while (hosts->ranks[rank].given_count > 0) close(hosts->ranks[rank].given[--hosts->ranks[rank].given_count]);
    }
    pairs_close(&hosts->pairs);
    const char *leftovers = mockverbs_leftovers();
    if (leftovers[0]) {
        fprintf(stderr, "left over:\n%s", leftovers);
        abort();
    }
}

static weft_status hosts_reach(void *context, uint32_t peer, int *fd)
{
    struct verbs_hosts_rank *self = context;
    struct rendezvous pairs = pairs_rendezvous(&self->hosts->pairs, self->rank);

    const weft_status status = pairs.reach(pairs.context, peer, fd);
    if (status == WEFT_OK) {
        if (self->given_count == sizeof self->given / sizeof self->given[0]) abort();
        self->given[self->given_count++] = dup(*fd);
    }
    return status;
}

void verbs_hosts_kill(struct verbs_hosts *hosts, uint32_t rank)
{
    for (uint32_t i = 0; i < hosts->ranks[rank].given_count; i++)
        (void)shutdown(hosts->ranks[rank].given[i], SHUT_RDWR);
}

weft_status verbs_hosts_endpoint(struct verbs_hosts *hosts, uint32_t rank, const struct verbs_config *config,
                                 struct endpoint **endpoint, struct diagnostic *diagnostic)
{
    struct verbs_rail rails[VERBS_HOSTS_MAX_RAILS] = {{.port = 0}};
    struct verbs_config filled = *config;
    struct rendezvous rendezvous = {.reach = hosts_reach, .context = &hosts->ranks[rank]};

    const uint32_t host = hosts->shared ? 0 : rank;
    for (uint32_t rail = 0; rail < hosts->rail_count; rail++) {
        char address[64];
        snprintf(rails[rail].device, sizeof rails[rail].device, "mock%u_%u", host, rail);
        rails[rail].port = 1;
        if (hosts->ipv6) {
            struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&rails[rail].address;
            v6->sin6_family = AF_INET6;
            snprintf(address, sizeof address, "fd00:%u::%u", rail, host + 1);
            inet_pton(AF_INET6, address, &v6->sin6_addr);
        } else {
            struct sockaddr_in *v4 = (struct sockaddr_in *)&rails[rail].address;
            v4->sin_family = AF_INET;
            snprintf(address, sizeof address, "10.%u.0.%u", rail, host + 1);
            inet_pton(AF_INET, address, &v4->sin_addr);
        }
    }
    filled.rank = rank;
    filled.rank_count = hosts->rank_count;
    filled.rails = rails;
    filled.rail_count = hosts->rail_count;
    memset(filled.key, 7, sizeof filled.key);
    return verbs_endpoint_create(&filled, rendezvous, endpoint, diagnostic);
}
