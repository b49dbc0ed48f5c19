/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few declarations of the PMIx standard that are used here, so that the library can be opened at run time and its
 * headers need not be there to build. Sizes, offsets and numbers are those of libpmix.so.2, equal in the standard's
 * versions 3.2, 4.1 and 5.0 (sections "Data Structures and Types" and "Client Initialization and Finalization");
 * tests/launch/pmix_abi_test.c compares them with the library's own headers where those are installed.
 */
#ifndef FABRIC_LAUNCH_PMIX_ABI_H
#define FABRIC_LAUNCH_PMIX_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PMIX_ABI_LIBRARY "libpmix.so.2"

enum {
    PMIX_ABI_NAMESPACE_BYTES = 256, /* with the terminator, as the key's */
    PMIX_ABI_KEY_BYTES = 512,

    PMIX_ABI_SUCCESS = 0,
    PMIX_ABI_ERR_TIMEOUT = -24,

    PMIX_ABI_TYPE_BOOL = 1,
    PMIX_ABI_TYPE_INT = 6,
    PMIX_ABI_TYPE_UINT32 = 14,
    PMIX_ABI_TYPE_BYTE_OBJECT = 27,

    PMIX_ABI_SCOPE_GLOBAL = 3,
};
#define PMIX_ABI_RANK_WILDCARD (UINT32_MAX - 1)
#define PMIX_ABI_JOB_SIZE "pmix.job.size"    /* uint32 */
#define PMIX_ABI_COLLECT_DATA "pmix.collect" /* bool */
#define PMIX_ABI_GET_TIMEOUT "pmix.timeout"  /* int, seconds */

struct pmix_abi_process {
    char name_space[PMIX_ABI_NAMESPACE_BYTES];
    uint32_t rank;
};

struct pmix_abi_value {
    uint16_t type;
    union {
        bool flag;
        int integer;
        uint32_t uint32;
        struct {
            char *bytes;
            size_t size;
        } bytes;
        uint64_t room[3]; /* the largest member of the standard's union is two pointers and a character */
    } data;
};

struct pmix_abi_info {
    char key[PMIX_ABI_KEY_BYTES];
    uint32_t flags;
    struct pmix_abi_value value;
};

typedef int pmix_abi_init(struct pmix_abi_process *, struct pmix_abi_info[], size_t);
typedef int pmix_abi_finalize(const struct pmix_abi_info[], size_t);
typedef int pmix_abi_put(uint8_t scope, const char *key, struct pmix_abi_value *);
typedef int pmix_abi_commit(void);
typedef int pmix_abi_fence(const struct pmix_abi_process[], size_t, const struct pmix_abi_info[], size_t);
/* The value and, in it, a byte object's bytes come from malloc() and are the caller's. */
typedef int pmix_abi_get(const struct pmix_abi_process *, const char *key, const struct pmix_abi_info[], size_t,
                         struct pmix_abi_value **);
typedef const char *pmix_abi_error_string(int status);
#endif
