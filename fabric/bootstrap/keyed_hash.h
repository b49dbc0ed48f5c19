/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HMAC-SHA-256 (RFC 2104), from OpenSSL: it names sockets, proves possession of the job's key, and derives one key
 * from another. Without memory for it these functions end the process: no answer would be safe to go on with.
 */
#ifndef FABRIC_KEYED_HASH_H
#define FABRIC_KEYED_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { KEYED_HASH_BYTES = 32 };

void keyed_hash(const uint8_t key[32], const void *bytes, size_t size, uint8_t hash[KEYED_HASH_BYTES]);

/* Its first 128 bits. */
void keyed_tag(const uint8_t key[32], const void *bytes, size_t size, uint8_t tag[16]);

/*
 * The key for one purpose: HKDF-Expand (RFC 5869, 2.3) with @p purpose as info. Its first step, Extract, is for keys
 * that are not uniformly random, which ours are.
 */
void keyed_derive(const uint8_t key[32], const char *purpose, uint8_t derived[32]);
#endif
