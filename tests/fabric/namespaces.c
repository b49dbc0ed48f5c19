/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fabric/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool command(const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return system(line) == 0;
}

void namespaces_remove(const struct namespaces *namespaces)
{
    for (uint32_t host = 0; host < namespaces->hosts; host++)
        command("ip netns del %s%u 2>/dev/null", namespaces->prefix, host);
    command("ip netns del %sbridge 2>/dev/null", namespaces->prefix);
}

bool namespaces_make(struct namespaces *namespaces, uint32_t hosts, uint32_t net)
{
    const char *prefix = namespaces->prefix;
    snprintf(namespaces->prefix, sizeof namespaces->prefix, "weft%d-", (int)getpid());
    namespaces->hosts = hosts;
    bool made = command("ip netns add %sbridge 2>/dev/null", prefix) &&
                command("ip -n %sbridge link add hub type bridge", prefix) &&
                command("ip -n %sbridge link set hub up", prefix);
    for (uint32_t host = 0; host < hosts && made; host++)
        made =
            command("ip netns add %s%u", prefix, host) && command("ip -n %s%u link set lo up", prefix, host) &&
            command("ip -n %s%u link add net type veth peer name port%u netns %sbridge", prefix, host, host, prefix) &&
            command("ip -n %sbridge link set port%u master hub up", prefix, host) &&
            command("ip -n %s%u addr add 10.%u.0.%u/24 dev net", prefix, host, net, host + 1) &&
            command("ip -n %s%u link set net up", prefix, host);
    if (!made) namespaces_remove(namespaces);
    return made;
}

bool namespaces_enter(const struct namespaces *namespaces, uint32_t host)
{
    char path[96];
    snprintf(path, sizeof path, "/run/netns/%s%u", namespaces->prefix, host);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool entered = fd >= 0 && setns(fd, CLONE_NEWNET) == 0;
    if (fd >= 0) close(fd);
    return entered;
}
