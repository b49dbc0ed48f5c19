/* SPDX-License-Identifier: Apache-2.0 */
/* pmix_abi.h says what the library's own headers say. Compared when this is compiled: it then has nothing to do. */
#include <stdio.h>

#include "fabric/launch/pmix_abi.h"

#ifdef WEFT_TEST_HAVE_PMIX_HEADERS
#include <pmix.h>

#define SAME(ours, theirs) _Static_assert((ours) == (theirs), #theirs)
#define SAME_MEMBER(our_type, ours, their_type, theirs)                                                                \
    SAME(offsetof(our_type, ours), offsetof(their_type, theirs));                                                      \
    SAME(sizeof(((our_type *)0)->ours), sizeof(((their_type *)0)->theirs))

SAME(PMIX_ABI_SUCCESS, PMIX_SUCCESS);
SAME(PMIX_ABI_ERR_TIMEOUT, PMIX_ERR_TIMEOUT);
SAME(PMIX_ABI_TYPE_BOOL, PMIX_BOOL);
SAME(PMIX_ABI_TYPE_INT, PMIX_INT);
SAME(PMIX_ABI_TYPE_UINT32, PMIX_UINT32);
SAME(PMIX_ABI_TYPE_BYTE_OBJECT, PMIX_BYTE_OBJECT);
SAME(PMIX_ABI_SCOPE_GLOBAL, PMIX_GLOBAL);
SAME(PMIX_ABI_RANK_WILDCARD, PMIX_RANK_WILDCARD);
_Static_assert(sizeof PMIX_ABI_JOB_SIZE == sizeof PMIX_JOB_SIZE && sizeof PMIX_ABI_GET_TIMEOUT == sizeof PMIX_TIMEOUT &&
                   sizeof PMIX_ABI_COLLECT_DATA == sizeof PMIX_COLLECT_DATA,
               "names of attributes");

SAME(sizeof(struct pmix_abi_process), sizeof(pmix_proc_t));
SAME_MEMBER(struct pmix_abi_process, name_space, pmix_proc_t, nspace);
SAME_MEMBER(struct pmix_abi_process, rank, pmix_proc_t, rank);
SAME(sizeof(struct pmix_abi_value), sizeof(pmix_value_t));
SAME_MEMBER(struct pmix_abi_value, type, pmix_value_t, type);
SAME_MEMBER(struct pmix_abi_value, data, pmix_value_t, data);
SAME_MEMBER(struct pmix_abi_value, data.flag, pmix_value_t, data.flag);
SAME_MEMBER(struct pmix_abi_value, data.integer, pmix_value_t, data.integer);
SAME_MEMBER(struct pmix_abi_value, data.uint32, pmix_value_t, data.uint32);
SAME_MEMBER(struct pmix_abi_value, data.bytes.bytes, pmix_value_t, data.bo.bytes);
SAME_MEMBER(struct pmix_abi_value, data.bytes.size, pmix_value_t, data.bo.size);
SAME(sizeof(struct pmix_abi_info), sizeof(pmix_info_t));
SAME_MEMBER(struct pmix_abi_info, key, pmix_info_t, key);
SAME_MEMBER(struct pmix_abi_info, flags, pmix_info_t, flags);
SAME_MEMBER(struct pmix_abi_info, value, pmix_info_t, value);
SAME(sizeof(pmix_scope_t), sizeof(uint8_t));

int main(void)
{
    printf("equal to the headers of PMIx %ld.%ld.%ld\n", (long)PMIX_VERSION_MAJOR, (long)PMIX_VERSION_MINOR,
           (long)PMIX_VERSION_RELEASE);
    return 0;
}
#else
int main(void)
{
    puts("needs the headers of PMIx (Debian: libpmix-dev)");
    return 77;
}
#endif
