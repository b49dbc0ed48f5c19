/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash-2-4 (Aumasson and Bernstein, INDOCRYPT 2012): a keyed hash of short messages that nobody without the key can
 * predict. It names sockets and proves possession of the job's key between processes of one user on one host.
 */
#ifndef FABRIC_KEYED_HASH_H
#define FABRIC_KEYED_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t keyed_hash(const uint8_t key[16], const void *bytes, size_t size);

/* 128 bits: the halves of @p key each make 64 of them, independently. */
void keyed_tag(const uint8_t key[32], const void *bytes, size_t size, uint8_t tag[16]);
#endif
