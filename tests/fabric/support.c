/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fabric/bootstrap/bootstrap_internal.h"

unsigned count_descriptors(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (!directory) abort();
    while (readdir(directory)) count++;
    closedir(directory);
    return count;
}

static unsigned control_threads_now(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/task");
    if (!directory) abort();
    for (struct dirent *entry; (entry = readdir(directory));) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        if (fgets(name, sizeof name, file) && strcmp(name, "weft-control\n") == 0) count++;
        fclose(file);
    }
    closedir(directory);
    return count;
}

unsigned count_control_threads(void)
{
    /* The kernel lets go of a thread's directory some moments after it has been joined. */
    unsigned count = control_threads_now();
    for (int tries = 0; count > 0 && tries < 1000; tries++) {
        usleep(1000);
        count = control_threads_now();
    }
    return count;
}

unsigned count_sockets(const struct identity *identity)
{
    char line[512];
    unsigned count = 0;
    FILE *file = fopen("/proc/net/unix", "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        for (uint32_t rank = 0; rank < identity->rank_count; rank++) {
            struct sockaddr_un address;
            rank_address(identity, rank, &address);
            if (strstr(line, address.sun_path + 1)) count++;
        }
    fclose(file);
    return count;
}

struct identity make_identity(const weft_unique_id *id, uint32_t rank, uint32_t rank_count)
{
    struct identity identity;
    if (bootstrap_identity(id, rank, rank_count, &identity, NULL) != WEFT_OK) abort();
    return identity;
}

struct control_config make_config(const weft_unique_id *id, uint32_t rank, uint32_t rank_count)
{
    return (struct control_config){
        .identity = make_identity(id, rank, rank_count), .deadline_ns = PATIENCE_NS, .keepalive_ns = 10 * NS_PER_S};
}

bool wait_failed(struct control *control)
{
    struct pollfd wake = {.fd = control_wake_descriptor(control), .events = POLLIN};
    return poll(&wake, 1, PATIENCE_MS) == 1 && control_failed(control);
}
