/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Results that everybody takes for itself. Each rank makes a share of what all are to get, once, where its peers can
 * load it from; when all have, each copies the others' shares to its own output. So nobody needs to get at outputs,
 * what is copied is as much as the message is long, and all ranks copy from the same lines.
 */
#include "collectives/exec/exec_internal.h"
#include "collectives/exec/task.h"

/* Of one rank's share, so much at a time. */
#define TURN_BYTES ((size_t)1 << 20)

/* Some elements of @p owner's share, to where they belong in the output. */
static weft_status elements_pull(const struct operation *operation, uint32_t owner, struct share elements)
{
    const struct engine *engine = operation->binding->engine;
    const struct lent *lent = &engine->exchange.lent[owner];
    const size_t element_bytes = operation->element_bytes;
    const uint64_t first = lent->result_staged ? task_share(operation, owner).begin : 0;
    const uint64_t offset = (elements.begin - first) * element_bytes;
    void *destination = (uint8_t *)operation->call.recv + elements.begin * element_bytes;
    if (!lent->output)
        return connection_read(engine->peers[owner]->connection, &lent->output_loan, offset, destination,
                               (elements.end - elements.begin) * element_bytes);
    reduce_copy(operation->combine, destination, lent->output + offset, elements.end - elements.begin,
                operation->bypasses_caches);
    return WEFT_OK;
}

weft_status pull_advance(struct operation *operation, uint32_t *peer)
{
    const struct engine_config *config = &operation->binding->engine->config;
    struct loan_work *work = &operation->binding->engine->exchange.work;
    size_t budget = TURN_BYTES / operation->element_bytes;
    for (; work->task < config->rank_count - 1 && budget > 0;) {
        const uint32_t owner = (config->rank + 1 + work->task) % config->rank_count;
        const struct share share = task_share(operation, owner);
        const uint64_t begin = share.begin + work->done, left = share.end - begin;
        const uint64_t count = left < budget ? left : budget;
        *peer = owner;
        const weft_status status = elements_pull(operation, owner, (struct share){begin, begin + count});
        if (status != WEFT_OK) return status;
        budget -= count;
        work->done += count;
        if (work->done == share.end - share.begin) *work = (struct loan_work){work->task + 1, 0};
    }
    return work->task < config->rank_count - 1 ? WEFT_IN_PROGRESS : WEFT_OK;
}
