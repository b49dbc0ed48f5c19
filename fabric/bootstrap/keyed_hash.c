/* SPDX-License-Identifier: Apache-2.0 */
#include "keyed_hash.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

void keyed_hash(const uint8_t key[32], const void *bytes, size_t size, uint8_t hash[KEYED_HASH_BYTES])
{
    unsigned length = 0;
    if (!HMAC(EVP_sha256(), key, 32, bytes, size, hash, &length) || length != KEYED_HASH_BYTES) abort();
}

void keyed_tag(const uint8_t key[32], const void *bytes, size_t size, uint8_t tag[16])
{
    uint8_t hash[KEYED_HASH_BYTES];
    keyed_hash(key, bytes, size, hash);
    memcpy(tag, hash, 16);
}

void keyed_derive(const uint8_t key[32], const char *purpose, uint8_t derived[32])
{
    uint8_t info[64];
    size_t size = strlen(purpose);
    assert(size < sizeof info);
    memcpy(info, purpose, size);
    info[size] = 1; /* the number of the block */
    keyed_hash(key, info, size + 1, derived);
}
