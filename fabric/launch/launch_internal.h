/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share: one function for each source of an identity, and their tools. */
#ifndef FABRIC_LAUNCH_INTERNAL_H
#define FABRIC_LAUNCH_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "launch.h"

struct place {
    weft_unique_id id;
    uint32_t rank, rank_count;
    bool lasting; /* cannot be asked for twice, or only at the price of another exchange: the process remembers it */
    bool fresh;   /* the id was made for this call alone */
};

/*
 * Sources. On WEFT_OK *place is filled; WEFT_UNSUPPORTED: this one cannot be used here, though the environment speaks
 * of it. @p deadline_at_ns is on clock_now_ns()'s clock.
 */
weft_status inherited_identify(struct place *place, uint64_t deadline_at_ns, struct diagnostic *diagnostic);
weft_status pmix_identify(struct place *place, uint64_t deadline_at_ns, struct diagnostic *diagnostic);
weft_status pmi1_identify(struct place *place, uint64_t deadline_at_ns, struct diagnostic *diagnostic);
weft_status rank_identify(struct place *place, uint64_t deadline_at_ns, struct diagnostic *diagnostic);
weft_status slurm_identify(struct place *place, uint64_t deadline_at_ns, struct diagnostic *diagnostic);
/* The id that rank 0 makes for all, where the launcher has a store to carry it. */
weft_status id_create(weft_unique_id *id, struct diagnostic *diagnostic);
/* One rank with an id of its own. */
weft_status alone_identify(struct place *place, struct diagnostic *diagnostic);

bool pmix_is_present(void);
bool pmi1_is_present(void);
bool slurm_is_present(void);

/* ---- Variables ---- */

/* Set, and not empty. */
bool variable_is_set(const char *name);
/* Decimal digits alone, at most @p most. WEFT_INVALID_ARGUMENT names the variable and what it holds. */
weft_status variable_number(const char *name, uint32_t most, uint32_t *number, struct diagnostic *diagnostic);
/* Below the count, and the count not 0. @p rank_name and @p count_name are the variables the numbers came from. */
weft_status rank_check(const char *rank_name, uint32_t rank, const char *count_name, uint32_t rank_count,
                       struct diagnostic *diagnostic);
/* RANK and WORLD_SIZE, where set, must agree with what @p launcher says. */
weft_status rank_variables_agree(const char *launcher, uint32_t rank, uint32_t rank_count,
                                 struct diagnostic *diagnostic);

/* ---- Keys, and ids made from them ---- */

enum { KEY_BYTES = 32, JOB_BYTES = 16, MASTER_BYTES = 256 };

/*
 * The job's key from WEFT_KEY_FD or WEFT_KEY_FILE; all zeros, with a warning on the log, where there is none and
 * WEFT_INSECURE is 1. *once: it came from a descriptor that may not give it again.
 */
weft_status key_find(uint8_t key[KEY_BYTES], bool *once, uint64_t deadline_at_ns, struct diagnostic *diagnostic);

/* The public name of the job that meets at @p address and @p port: differs where anything that tells jobs apart does.
 */
void job_derive(const uint8_t key[KEY_BYTES], const char *address, uint16_t port, uint8_t job[JOB_BYTES]);

/* The port of rank 0: WEFT_PORT, else MASTER_PORT + 1, else @p otherwise, which may be 0 for "none". */
weft_status master_port(uint16_t otherwise, uint16_t *port, struct diagnostic *diagnostic);

/* What @p name is at, into parts->family and parts->address; waits for the resolver until the deadline. */
struct unique_id_parts;
weft_status master_resolve(const char *name, struct unique_id_parts *parts, uint64_t deadline_at_ns,
                           struct diagnostic *diagnostic);

/* Fill in the id of the job that meets at @p address and @p port. */
weft_status place_derive(struct place *place, const char *address, uint16_t port, uint64_t deadline_at_ns,
                         struct diagnostic *diagnostic);

/* ---- Hexadecimal ---- */

/* 2 * size digits, lower case, and a terminator. */
void hex_write(const uint8_t *bytes, size_t size, char *text);
/* False unless the first 2 * size characters are digits of either case. */
bool hex_read(const char *text, uint8_t *bytes, size_t size);

/* ---- Calls into others' code that may never return ---- */

/*
 * Run @p function on a thread of its own, with signals blocked. True: it has returned. False: the deadline has passed,
 * or there is no thread to be had (*started is then false); a started one still runs, and @p argument stays its own
 * for ever.
 */
bool bounded_call(void (*function)(void *), void *argument, uint64_t deadline_at_ns, bool *started);
#endif
