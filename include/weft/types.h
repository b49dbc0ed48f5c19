/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft/types.h: the words every other public header uses: statuses, element types, operations, algorithms.
 */
#ifndef WEFT_TYPES_H
#define WEFT_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define WEFT_API __attribute__((visibility("default")))
#else
#define WEFT_API
#endif

#define WEFT_VERSION_MAJOR 0
#define WEFT_VERSION_MINOR 1
#define WEFT_VERSION_PATCH 0

/**
 * What a call came to. Grouped in hundreds by what the caller has to rebuild before going on; weft_status_group() tells
 * the group. Values are stable across releases; new ones are added at the end of their group.
 */
typedef enum weft_status {
    WEFT_OK = 0,
    WEFT_IN_PROGRESS = 1, /* not an error: ask again */

    /* Argument: nothing to rebuild. The call had no effect. */
    WEFT_INVALID_ARGUMENT = 100, /* a value out of its documented range */
    WEFT_UNSUPPORTED = 101,      /* a valid request that this build or machine cannot serve */
    WEFT_INVALID_STATE = 102,    /* the object is not in a state that allows the call */
    WEFT_BAD_FORMAT = 103,       /* a file, variable or wire message that is not what its format says */
    WEFT_INVALID_PLAN = 104,     /* the verifier refused a plan */

    /* Resource: retry once some is free. */
    WEFT_OUT_OF_MEMORY = 200,
    WEFT_RESOURCE_LIMIT = 201, /* descriptors, processes, locked memory, ... */
    WEFT_AGAIN = 202,          /* cannot be taken right now */

    /* Link: replan without it. */
    WEFT_LINK_DOWN = 300,

    /* Peer: shrink to the survivors. */
    WEFT_PEER_FAILED = 400,  /* a rank's process has ended, or its machine has gone silent */
    WEFT_PEER_REFUSED = 401, /* a rank answered, but would not take part (identity, version, job) */

    /* Communicator: recreate it. */
    WEFT_MISMATCH = 500,          /* ranks called different collectives, or with different arguments */
    WEFT_DEADLINE_EXCEEDED = 501, /* a live rank did not arrive in time */
    WEFT_REVOKED = 502,           /* some rank called weft_comm_revoke() */
    WEFT_PROTOCOL_ERROR = 503,    /* a peer sent what no correct peer sends */
    WEFT_SYSTEM_ERROR = 504,      /* the operating system refused something that should have worked */
} weft_status;

typedef enum weft_status_group_kind {
    WEFT_GROUP_OK = 0,
    WEFT_GROUP_ARGUMENT = 1,
    WEFT_GROUP_RESOURCE = 2,
    WEFT_GROUP_LINK = 3,
    WEFT_GROUP_PEER = 4,
    WEFT_GROUP_COMMUNICATOR = 5,
} weft_status_group_kind;

/**
 * Element types. The names are those of IEEE 754 interchange formats and C; bfloat16 is the upper half of a float32.
 *
 * float8_e4m3 and float8_e5m2 are those of the OCP 8-bit Floating Point Specification (OFP8), revision 1.0, 2023: e4m3
 * has no infinities, S.1111.111 is its NaN and 448 its largest number; e5m2 is the upper half of a float16. Results are
 * rounded to them as in the specification's saturating mode, to nearest, ties to even: what is too large, infinities
 * included, becomes the largest number of its sign (448, 57344), and a NaN stays one. So do CUDA's conversions and
 * NCCL. A caller who looks for overflow has to look before the reduction: not even an infinity of e5m2 outlives one.
 */
typedef enum weft_dtype {
    WEFT_FLOAT32 = 0,
    WEFT_FLOAT64 = 1,
    WEFT_FLOAT16 = 2,
    WEFT_BFLOAT16 = 3,
    WEFT_INT32 = 4,
    WEFT_INT64 = 5,
    WEFT_INT8 = 6,
    WEFT_UINT8 = 7,
    WEFT_UINT32 = 8,
    WEFT_UINT64 = 9,
    WEFT_FLOAT8_E4M3 = 10,
    WEFT_FLOAT8_E5M2 = 11,
    WEFT_DTYPE_COUNT
} weft_dtype;

/**
 * Reductions. Integer sums and products wrap around in their own type, the narrow ones too. An average is that sum
 * divided once by the number of ranks: in floating point for floats, truncating towards zero for integers; so int8's
 * average of 100 and 100 is -28. Unsigned types are compared and divided as unsigned. min and max of floats return a
 * NaN if any contribution is one. 16- and 8-bit floats are combined in float32; partial results that travel between
 * ranks are rounded to the type, but for canonical calls (weft_call), which round once.
 *
 * A premultiplied sum adds up every rank's input times that rank's own scale (weft_call). 16- and 8-bit floats are
 * multiplied in float32 by the scale rounded to it, and the product goes into the rank's first addition as it is;
 * float32 and float64 products are rounded once, never fused with the addition. An integer's scale is an integer of its
 * type, and the product wraps.
 */
typedef enum weft_op {
    WEFT_SUM = 0,
    WEFT_PROD = 1,
    WEFT_MIN = 2,
    WEFT_MAX = 3,
    WEFT_AVG = 4,
    WEFT_PREMUL_SUM = 5,
    WEFT_OP_COUNT
} weft_op;

/** What ranks do together. A block is what one rank contributes, or gets, where there is one for each. */
typedef enum weft_collective {
    WEFT_ALL_REDUCE = 0,
    WEFT_BROADCAST = 1,
    WEFT_BARRIER = 2,
    WEFT_ALL_GATHER = 3,     /* every rank's block to all */
    WEFT_REDUCE_SCATTER = 4, /* combined block r to rank r */
    WEFT_REDUCE = 5,         /* combined, to the root */
    WEFT_GATHER = 6,         /* every rank's block to the root */
    WEFT_SCATTER = 7,        /* the root's block r to rank r */
    WEFT_ALL_TO_ALL = 8,     /* every rank's block r to rank r */
    WEFT_ALL_TO_ALLV = 9,    /* the same, each block with a size of its own */
    WEFT_SEND_RECV = 10,     /* one rank's message to one other */
    WEFT_COLLECTIVE_COUNT
} weft_collective;

typedef enum weft_algorithm {
    WEFT_ALGORITHM_AUTO = 0,
    WEFT_ALGORITHM_RING = 1,
    WEFT_ALGORITHM_TREE = 2,         /* double binary, or binomial where each rank has a block of its own */
    WEFT_ALGORITHM_DIRECT = 3,       /* every rank with every other, at once */
    WEFT_ALGORITHM_HALVING = 4,      /* distances that halve or double, round by round */
    WEFT_ALGORITHM_HIERARCHICAL = 5, /* by groups of ranks: within a cache or host, then between them */
    WEFT_ALGORITHM_COUNT
} weft_algorithm;

/** The name of a status as written in this header, without the prefix, in lower case ("peer_failed"). Any thread. */
WEFT_API const char *weft_status_name(weft_status status);
/** One sentence saying what the status means and what to do next. Any thread. */
WEFT_API const char *weft_status_text(weft_status status);
/** What has to be rebuilt after @p status. Any thread. */
WEFT_API weft_status_group_kind weft_status_group(weft_status status);

/** Names as the tools' options take them ("float32", "sum", "all_reduce", "ring"); "unknown" out of range. */
WEFT_API const char *weft_dtype_name(weft_dtype dtype);
WEFT_API const char *weft_op_name(weft_op op);
WEFT_API const char *weft_collective_name(weft_collective collective);
WEFT_API const char *weft_algorithm_name(weft_algorithm algorithm);

/** The inverse of the names above. WEFT_INVALID_ARGUMENT for a name that is none; the output is then untouched. */
WEFT_API weft_status weft_dtype_parse(const char *name, weft_dtype *dtype);
WEFT_API weft_status weft_op_parse(const char *name, weft_op *op);
WEFT_API weft_status weft_algorithm_parse(const char *name, weft_algorithm *algorithm);

/** Bytes of one element; 0 out of range. */
WEFT_API size_t weft_dtype_size(weft_dtype dtype);

/** The library's version at run time, "major.minor.patch". */
WEFT_API const char *weft_version(void);

#ifdef __cplusplus
}
#endif
#endif
