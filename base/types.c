/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <weft/types.h>

struct status_words {
    weft_status status;
    const char *name, *text;
};

static const struct status_words statuses[] = {
    {WEFT_OK, "ok", "The call did what it says."},
    {WEFT_IN_PROGRESS, "in_progress", "The operation has not completed yet; ask again."},
    {WEFT_INVALID_ARGUMENT, "invalid_argument",
     "An argument is out of its documented range; correct it and call again, nothing has changed."},
    {WEFT_UNSUPPORTED, "unsupported",
     "The request is valid, but this build or machine cannot serve it; ask for something else."},
    {WEFT_INVALID_STATE, "invalid_state",
     "The object is not in a state that allows this call; finish or repeat what has to come before it."},
    {WEFT_BAD_FORMAT, "bad_format", "A file, a variable or a message is not what its format says; correct its source."},
    {WEFT_INVALID_PLAN, "invalid_plan",
     "The verifier refused a plan; use another algorithm and report the plan if it was generated."},
    {WEFT_OUT_OF_MEMORY, "out_of_memory", "There was not enough memory; free some and call again."},
    {WEFT_RESOURCE_LIMIT, "resource_limit",
     "The system's limit of descriptors, processes, locked memory or the like was met; raise it and call again."},
    {WEFT_AGAIN, "again", "It cannot be taken right now; call again."},
    {WEFT_LINK_DOWN, "link_down", "A link is down; plan again without it."},
    {WEFT_PEER_FAILED, "peer_failed",
     "A rank's process has ended or its machine has gone silent; go on with the survivors."},
    {WEFT_PEER_REFUSED, "peer_refused",
     "A rank answered but would not take part; check that all ranks have the same identity, version and job."},
    {WEFT_MISMATCH, "mismatch",
     "Ranks called different collectives or with different arguments; correct the program and make a new "
     "communicator."},
    {WEFT_DEADLINE_EXCEEDED, "deadline_exceeded",
     "A live rank did not arrive in time; find what keeps it, or raise the deadline, and make a new communicator."},
    {WEFT_REVOKED, "revoked", "A rank revoked the communicator; make a new one."},
    {WEFT_PROTOCOL_ERROR, "protocol_error",
     "A peer sent what no correct peer sends; make a new communicator and report it."},
    {WEFT_SYSTEM_ERROR, "system_error",
     "The operating system refused what should have worked; the log says which call, make a new communicator."},
};

static const char *const dtype_names[WEFT_DTYPE_COUNT] = {
    "float32", "float64", "float16", "bfloat16", "int32",       "int64",
    "int8",    "uint8",   "uint32",  "uint64",   "float8_e4m3", "float8_e5m2",
};
static const char *const op_names[WEFT_OP_COUNT] = {"sum", "prod", "min", "max", "avg", "premul_sum"};
static const char *const collective_names[WEFT_COLLECTIVE_COUNT] = {
    "all_reduce", "broadcast", "barrier",    "all_gather",  "reduce_scatter", "reduce",
    "gather",     "scatter",   "all_to_all", "all_to_allv", "send_recv"};
static const char *const algorithm_names[WEFT_ALGORITHM_COUNT] = {"auto",   "ring",    "tree",
                                                                  "direct", "halving", "hierarchical"};

static const struct status_words *status_find(weft_status status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        if (statuses[i].status == status) return &statuses[i];
    }
    return NULL;
}

const char *weft_status_name(weft_status status)
{
    const struct status_words *words = status_find(status);
    return words ? words->name : "unknown";
}

const char *weft_status_text(weft_status status)
{
    const struct status_words *words = status_find(status);
    return words ? words->text : "The status is none that this version of weft knows.";
}

weft_status_group_kind weft_status_group(weft_status status)
{
    int code = (int)status;
    /* A newer library's status is still handled by its hundred; what is outside all of them needs the most rebuilt. */
    if (code < 0 || code / 100 > WEFT_GROUP_COMMUNICATOR) return WEFT_GROUP_COMMUNICATOR;
    return (weft_status_group_kind)(code / 100);
}

static const char *name_at(const char *const names[], unsigned count, unsigned index)
{
    return index < count ? names[index] : "unknown";
}

/* The index of @p name, or -1. */
static int name_find(const char *const names[], int count, const char *name)
{
    if (!name) return -1;
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) return i;
    }
    return -1;
}

const char *weft_dtype_name(weft_dtype dtype)
{
    return name_at(dtype_names, WEFT_DTYPE_COUNT, (unsigned)dtype);
}

const char *weft_op_name(weft_op op)
{
    return name_at(op_names, WEFT_OP_COUNT, (unsigned)op);
}

const char *weft_collective_name(weft_collective collective)
{
    return name_at(collective_names, WEFT_COLLECTIVE_COUNT, (unsigned)collective);
}

const char *weft_algorithm_name(weft_algorithm algorithm)
{
    return name_at(algorithm_names, WEFT_ALGORITHM_COUNT, (unsigned)algorithm);
}

weft_status weft_dtype_parse(const char *name, weft_dtype *dtype)
{
    int index = name_find(dtype_names, WEFT_DTYPE_COUNT, name);
    if (index < 0) return WEFT_INVALID_ARGUMENT;
    *dtype = (weft_dtype)index;
    return WEFT_OK;
}

weft_status weft_op_parse(const char *name, weft_op *op)
{
    int index = name_find(op_names, WEFT_OP_COUNT, name);
    if (index < 0) return WEFT_INVALID_ARGUMENT;
    *op = (weft_op)index;
    return WEFT_OK;
}

weft_status weft_algorithm_parse(const char *name, weft_algorithm *algorithm)
{
    int index = name_find(algorithm_names, WEFT_ALGORITHM_COUNT, name);
    if (index < 0) return WEFT_INVALID_ARGUMENT;
    *algorithm = (weft_algorithm)index;
    return WEFT_OK;
}

size_t weft_dtype_size(weft_dtype dtype)
{
    static const uint8_t sizes[WEFT_DTYPE_COUNT] = {4, 8, 2, 2, 4, 8, 1, 1, 4, 8, 1, 1};
    return (unsigned)dtype < WEFT_DTYPE_COUNT ? sizes[dtype] : 0;
}

#define STRING_OF(value) #value
#define VERSION_STRING(major, minor, patch) STRING_OF(major) "." STRING_OF(minor) "." STRING_OF(patch)

const char *weft_version(void)
{
    return VERSION_STRING(WEFT_VERSION_MAJOR, WEFT_VERSION_MINOR, WEFT_VERSION_PATCH);
}
