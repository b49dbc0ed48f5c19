/* SPDX-License-Identifier: Apache-2.0 */
/* The one table of what devices report, in words that say what to look at. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "transport/verbs/verbs_internal.h"

struct completion_meaning {
    const char *text, *hint;
};

static const struct completion_meaning completions[] = {
    [IBV_WC_SUCCESS] = {"success", ""},
    [IBV_WC_LOC_LEN_ERR] = {"local length error", "a message larger than its receive"},
    [IBV_WC_LOC_QP_OP_ERR] = {"local queue pair operation error", ""},
    [IBV_WC_LOC_EEC_OP_ERR] = {"local EE context operation error", ""},
    [IBV_WC_LOC_PROT_ERR] = {"local protection error", "a source outside its memory region"},
    [IBV_WC_WR_FLUSH_ERR] = {"request flushed", "the device gave the queue pair up; the other end may know why"},
    [IBV_WC_MW_BIND_ERR] = {"memory window bind error", ""},
    [IBV_WC_BAD_RESP_ERR] = {"bad response", ""},
    [IBV_WC_LOC_ACCESS_ERR] = {"local access error", "a destination that this side has not granted"},
    [IBV_WC_REM_INV_REQ_ERR] = {"remote invalid request", "the peer's device does not allow it"},
    [IBV_WC_REM_ACCESS_ERR] = {"remote access error", "outside what the peer has granted, or its key is gone"},
    [IBV_WC_REM_OP_ERR] = {"remote operation error", "the peer's device failed"},
    [IBV_WC_RETRY_EXC_ERR] = {"retry exceeded", "the peer's port does not answer: link, switch, address or its host"},
    [IBV_WC_RNR_RETRY_EXC_ERR] = {"receiver not ready", "the peer posts no receives"},
    [IBV_WC_LOC_RDD_VIOL_ERR] = {"local RDD violation", ""},
    [IBV_WC_REM_INV_RD_REQ_ERR] = {"remote invalid RD request", ""},
    [IBV_WC_REM_ABORT_ERR] = {"remote aborted", ""},
    [IBV_WC_INV_EECN_ERR] = {"invalid EE context number", ""},
    [IBV_WC_INV_EEC_STATE_ERR] = {"invalid EE context state", ""},
    [IBV_WC_FATAL_ERR] = {"fatal device error", "see the kernel log"},
    [IBV_WC_RESP_TIMEOUT_ERR] = {"response timeout", ""},
    [IBV_WC_GENERAL_ERR] = {"general error", "see the kernel log"},
};

static const struct completion_meaning *completion_meaning(enum ibv_wc_status status)
{
    static const struct completion_meaning unknown = {"unknown completion status", ""};

    if ((size_t)status >= sizeof completions / sizeof completions[0] || !completions[status].text) return &unknown;
    return &completions[status];
}

const char *verbs_completion_text(enum ibv_wc_status status)
{
    return completion_meaning(status)->text;
}

const char *verbs_completion_hint(enum ibv_wc_status status)
{
    return completion_meaning(status)->hint;
}

static const struct verbs_async_meaning events[] = {
    {IBV_EVENT_CQ_ERR, ASYNC_COMPLETION_QUEUE, true, "completion queue overrun"},
    {IBV_EVENT_QP_FATAL, ASYNC_QUEUE_PAIR, true, "queue pair failed"},
    {IBV_EVENT_QP_REQ_ERR, ASYNC_QUEUE_PAIR, true, "invalid request at the queue pair"},
    {IBV_EVENT_QP_ACCESS_ERR, ASYNC_QUEUE_PAIR, true, "access violation by the peer"},
    {IBV_EVENT_COMM_EST, ASYNC_QUEUE_PAIR, false, "first packet before the connection was confirmed"},
    {IBV_EVENT_SQ_DRAINED, ASYNC_QUEUE_PAIR, false, "send queue drained"},
    {IBV_EVENT_PATH_MIG, ASYNC_QUEUE_PAIR, false, "path migrated"},
    {IBV_EVENT_PATH_MIG_ERR, ASYNC_QUEUE_PAIR, false, "path migration failed"},
    {IBV_EVENT_QP_LAST_WQE_REACHED, ASYNC_QUEUE_PAIR, false, "last request of a shared receive queue reached"},
    {IBV_EVENT_DEVICE_FATAL, ASYNC_DEVICE, true, "device failed or was removed"},
    {IBV_EVENT_PORT_ACTIVE, ASYNC_PORT, false, "port is up"},
    {IBV_EVENT_PORT_ERR, ASYNC_PORT, true, "port is down"},
    {IBV_EVENT_LID_CHANGE, ASYNC_PORT, false, "port has another LID"},
    {IBV_EVENT_PKEY_CHANGE, ASYNC_PORT, false, "port has another P_Key table"},
    {IBV_EVENT_SM_CHANGE, ASYNC_PORT, false, "subnet manager changed"},
    {IBV_EVENT_GID_CHANGE, ASYNC_PORT, false, "port has another GID table"},
    {IBV_EVENT_CLIENT_REREGISTER, ASYNC_PORT, false, "subnet manager asks to register again"},
    {IBV_EVENT_SRQ_ERR, ASYNC_OTHER, false, "shared receive queue failed"},
    {IBV_EVENT_SRQ_LIMIT_REACHED, ASYNC_OTHER, false, "shared receive queue runs low"},
    {IBV_EVENT_WQ_FATAL, ASYNC_OTHER, false, "work queue failed"},
};

const struct verbs_async_meaning *verbs_async_meaning(enum ibv_event_type type)
{
    static const struct verbs_async_meaning unknown = {.scope = ASYNC_OTHER, .text = "unknown event"};

    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (events[i].type == type) return &events[i];
    }
    return &unknown;
}

weft_status verbs_status_of_errno(int error)
{
    switch (error) {
    case ENOMEM:
        return WEFT_OUT_OF_MEMORY;
    case EMFILE:
    case ENFILE:
    case ENOSPC:
        return WEFT_RESOURCE_LIMIT;
    case ENODEV:
    case ENOSYS:
    case EOPNOTSUPP:
        return WEFT_UNSUPPORTED;
    default:
        return WEFT_SYSTEM_ERROR;
    }
}

weft_status verbs_registration_failed(struct diagnostic *diagnostic, const char *device, size_t bytes, int error)
{
    struct rlimit limit;

    if (error != ENOMEM || getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return diagnose(diagnostic, verbs_status_of_errno(error), "%s: %zu bytes cannot be registered: %s", device,
                        bytes, strerror(error));
    return diagnose(diagnostic, WEFT_RESOURCE_LIMIT,
                    "%s: %zu bytes cannot be registered: this process may lock %llu KiB of memory; raise it by `ulimit "
                    "-l unlimited`, memlock in /etc/security/limits.conf, or LimitMEMLOCK=infinity",
                    device, bytes, (unsigned long long)limit.rlim_cur / 1024);
}
