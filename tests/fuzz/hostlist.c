/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hostlist.h"

#include <string.h>

#include "tests/fuzz/target.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *list = malloc(size + 1), host[256] = "", small[5] = "", last[256] = "";
    if (!list) return 0;
    memcpy(list, bytes, size);
    list[size] = '\0';

    struct diagnostic diagnostic = {0};
    weft_status status = hostlist_host(list, 0, host, sizeof host, &diagnostic);
    PROMISE(status == WEFT_OK || status == WEFT_INVALID_ARGUMENT);
    PROMISE((diagnostic.text[0] != '\0') == (status != WEFT_OK));
    PROMISE((host[0] != '\0') == (status == WEFT_OK));
    PROMISE(strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == strlen(host));
    /* It fits, or nothing is written. */
    weft_status fits = hostlist_host(list, 0, small, sizeof small, NULL);
    PROMISE((fits == WEFT_OK) == (status == WEFT_OK && strlen(host) < sizeof small));
    PROMISE(strcmp(small, fits == WEFT_OK ? host : "") == 0);
    /* A list without brackets has a host more than commas. */
    if (status == WEFT_OK && !strchr(list, '[')) {
        uint64_t commas = 0;
        for (const char *at = list; *at; at++) commas += *at == ',';
        weft_status of_last = hostlist_host(list, commas, last, sizeof last, NULL);
        PROMISE(of_last == WEFT_INVALID_ARGUMENT ||
                strcmp(last, strrchr(list, ',') ? strrchr(list, ',') + 1 : list) == 0);
        PROMISE(hostlist_host(list, commas + 1, last, sizeof last, NULL) == WEFT_INVALID_ARGUMENT);
    }
    /* Walking gives as many hosts as were counted, and each the one with its number. */
    uint64_t count = 0;
    PROMISE((hostlist_count(list, &count, NULL) == WEFT_OK) == (status == WEFT_OK));
    if (status == WEFT_OK) {
        char walked[HOSTLIST_NAME_BYTES];
        struct hostlist_walk walk = hostlist_walk_begin(list);
        for (uint64_t i = 0; i < count && i < 64; i++) {
            PROMISE(hostlist_walk_next(&walk, walked));
            PROMISE(hostlist_host(list, i, last, sizeof last, NULL) == WEFT_OK && strcmp(last, walked) == 0);
        }
        PROMISE(count > 64 || !hostlist_walk_next(&walk, walked));
    }
    free(list);
    return 0;
}
