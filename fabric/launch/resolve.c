/* SPDX-License-Identifier: Apache-2.0 */
/* From MASTER_ADDR, a name or an address, to where rank 0 expects the others. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fabric/bootstrap/bootstrap.h"
#include "launch_internal.h"

struct question {
    char name[MASTER_BYTES];
    int error; /* EAI_..., 0: found */
    int family;
    uint8_t address[16];
};

static void answer_keep(struct question *question, const struct addrinfo *answer)
{
    question->family = answer->ai_family;
    if (answer->ai_family == AF_INET)
        memcpy(question->address, &((const struct sockaddr_in *)(const void *)answer->ai_addr)->sin_addr, 4);
    else
        memcpy(question->address, &((const struct sockaddr_in6 *)(const void *)answer->ai_addr)->sin6_addr, 16);
}

/*
 * Every host must arrive at the same address, but the resolver's order depends on a host's routes: the first of IPv4,
 * and of IPv6 only where there is no other.
 */
static void question_ask(void *of_question)
{
    struct question *question = of_question;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *answers = NULL;
    question->family = AF_UNSPEC;
    question->error = getaddrinfo(question->name, NULL, &hints, &answers);
    if (question->error != 0) return;
    for (const struct addrinfo *answer = answers; answer; answer = answer->ai_next) {
        bool better = answer->ai_family == AF_INET ? question->family != AF_INET
                                                   : answer->ai_family == AF_INET6 && question->family == AF_UNSPEC;
        if (better) answer_keep(question, answer);
    }
    freeaddrinfo(answers);
    if (question->family == AF_UNSPEC) question->error = EAI_NONAME;
}

weft_status master_resolve(const char *name, struct unique_id_parts *parts, uint64_t deadline_at_ns,
                           struct diagnostic *diagnostic)
{
    for (int family = AF_INET;; family = AF_INET6) {
        if (inet_pton(family, name, parts->address) == 1) {
            parts->family = family;
            return WEFT_OK;
        }
        if (family == AF_INET6) break;
    }
    if (strlen(name) >= MASTER_BYTES)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "MASTER_ADDR is longer than any host name");
    struct question *question = calloc(1, sizeof *question);
    if (!question) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory to look up rank 0's host");
    strcpy(question->name, name);

    /* The resolver's patience is set by resolv.conf, not by us. */
    bool started;
    if (!bounded_call(question_ask, question, deadline_at_ns, &started)) {
        if (started)
            return diagnose(diagnostic, WEFT_DEADLINE_EXCEEDED,
                            "waited in vain for the address of rank 0's host '%.100s'", name);
        free(question);
        return diagnose(diagnostic, WEFT_RESOURCE_LIMIT, "no thread to be had to look up rank 0's host");
    }
    weft_status status = WEFT_OK;
    if (question->error != 0) {
        status =
            diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                     "the address of rank 0's host '%.100s' is not known here: %.60s; set MASTER_ADDR to an address "
                     "that all ranks reach",
                     name, gai_strerror(question->error));
    } else {
        parts->family = question->family;
        memcpy(parts->address, question->address, sizeof parts->address);
    }
    free(question);
    return status;
}
