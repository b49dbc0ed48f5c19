/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks and counts from variables: RANK and WORLD_SIZE, and those of a Slurm step. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/hostlist.h"
#include "launch_internal.h"

bool variable_is_set(const char *name)
{
    const char *text = config_launcher_variable(name);
    return text && *text;
}

weft_status variable_number(const char *name, uint32_t most, uint32_t *number, struct diagnostic *diagnostic)
{
    const char *text = config_launcher_variable(name);
    if (!text || !*text) return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "%s is not set, or empty", name);
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value > most)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "%s is '%.32s': expected a number from 0 to %u", name, text,
                        most);
    *number = (uint32_t)value;
    return WEFT_OK;
}

weft_status rank_check(const char *rank_name, uint32_t rank, const char *count_name, uint32_t rank_count,
                       struct diagnostic *diagnostic)
{
    if (rank_count == 0)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "%s is 0: a job has one rank at least", count_name);
    if (rank >= rank_count)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "%s is %u but %s is %u: ranks are numbered from 0 to %u",
                        rank_name, rank, count_name, rank_count, rank_count - 1);
    return WEFT_OK;
}

weft_status rank_variables_agree(const char *launcher, uint32_t rank, uint32_t rank_count,
                                 struct diagnostic *diagnostic)
{
    const struct {
        const char *name;
        uint32_t told;
    } both[] = {{"RANK", rank}, {"WORLD_SIZE", rank_count}};
    for (int i = 0; i < 2; i++) {
        uint32_t number;
        if (!variable_is_set(both[i].name)) continue;
        weft_status status = variable_number(both[i].name, INT32_MAX, &number, diagnostic);
        if (status != WEFT_OK) return status;
        if (number != both[i].told)
            return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                            "%s is %u but %s says %u: unset the variables of the launcher that does not count (env -u)",
                            both[i].name, number, launcher, both[i].told);
    }
    return WEFT_OK;
}

weft_status master_port(uint16_t otherwise, uint16_t *port, struct diagnostic *diagnostic)
{
    uint32_t store;
    if (config_get()->port) {
        *port = (uint16_t)config_get()->port;
    } else if (variable_is_set("MASTER_PORT")) {
        weft_status status = variable_number("MASTER_PORT", 65534, &store, diagnostic);
        if (status != WEFT_OK) return status;
        *port = (uint16_t)(store + 1);
    } else if (otherwise) {
        *port = otherwise;
    } else {
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "neither WEFT_PORT nor MASTER_PORT is set: give all ranks the same free port of rank 0's host");
    }
    return WEFT_OK;
}

weft_status rank_identify(struct place *place, uint64_t deadline_at_ns, struct diagnostic *diagnostic)
{
    if (!variable_is_set("WORLD_SIZE"))
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "WORLD_SIZE is not set although RANK is: set both");
    weft_status status = variable_number("RANK", INT32_MAX, &place->rank, diagnostic);
    if (status == WEFT_OK) status = variable_number("WORLD_SIZE", INT32_MAX, &place->rank_count, diagnostic);
    if (status == WEFT_OK) status = rank_check("RANK", place->rank, "WORLD_SIZE", place->rank_count, diagnostic);
    if (status != WEFT_OK) return status;
    if (place->rank_count == 1) return alone_identify(place, diagnostic);

    if (!variable_is_set("MASTER_ADDR"))
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "MASTER_ADDR is not set although RANK and WORLD_SIZE are: set it, the same for all ranks, to "
                        "the address of rank 0's host (127.0.0.1 where all are on one), or start them with --ranks");
    uint16_t port = 0;
    status = master_port(0, &port, diagnostic);
    if (status != WEFT_OK) return status;
    return place_derive(place, config_launcher_variable("MASTER_ADDR"), port, deadline_at_ns, diagnostic);
}

/*
 * A batch script is given SLURM_PROCID too, and the task count of the whole job, but it is no step: nobody started the
 * other tasks.
 */
bool slurm_is_present(void)
{
    if (!variable_is_set("SLURM_PROCID")) return false;
    const char *context = config_launcher_variable("ENVIRONMENT");
    return variable_is_set("SLURM_STEP_ID") || !context || strcmp(context, "BATCH") != 0;
}

/* Where no port is given: one that two steps of one host hardly share, below the ports that the kernel hands out. */
static uint16_t slurm_port(void)
{
    uint32_t job = 0, step = 0;
    if (variable_is_set("SLURM_JOB_ID")) variable_number("SLURM_JOB_ID", UINT32_MAX, &job, NULL);
    if (variable_is_set("SLURM_STEP_ID")) variable_number("SLURM_STEP_ID", UINT32_MAX, &step, NULL);
    return (uint16_t)(20480 + (job * UINT64_C(16) + step) % 10240);
}

/* MASTER_ADDR, else the loopback where all tasks share a node, else the first host of the step's list. */
static weft_status slurm_master(char master[MASTER_BYTES], struct diagnostic *diagnostic)
{
    static const char *const lists[] = {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"};
    const char *given = config_launcher_variable("MASTER_ADDR"), *nodes;
    if (given && *given) {
        if (strlen(given) >= MASTER_BYTES)
            return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "MASTER_ADDR is longer than any host name");
        strcpy(master, given);
        return WEFT_OK;
    }
    nodes = config_launcher_variable("SLURM_STEP_NUM_NODES");
    if (nodes && strcmp(nodes, "1") == 0) {
        strcpy(master, "127.0.0.1");
        return WEFT_OK;
    }
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        if (!variable_is_set(lists[i])) continue;
        struct diagnostic why;
        weft_status status = hostlist_host(config_launcher_variable(lists[i]), 0, master, MASTER_BYTES, &why);
        return status == WEFT_OK ? status : diagnose(diagnostic, status, "%s: %s", lists[i], why.text);
    }
    return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                    "SLURM_PROCID is set but neither MASTER_ADDR nor SLURM_STEP_NODELIST: start the ranks with srun, "
                    "or set MASTER_ADDR to the address of rank 0's host");
}

weft_status slurm_identify(struct place *place, uint64_t deadline_at_ns, struct diagnostic *diagnostic)
{
    /* Inside a batch job SLURM_NTASKS may still be the job's; the step's own count is the right one where it is set. */
    const char *count_name = variable_is_set("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
    char master[MASTER_BYTES];
    uint16_t port;
    weft_status status = variable_number("SLURM_PROCID", INT32_MAX, &place->rank, diagnostic);
    if (status == WEFT_OK) status = variable_number(count_name, INT32_MAX, &place->rank_count, diagnostic);
    if (status == WEFT_OK) status = rank_check("SLURM_PROCID", place->rank, count_name, place->rank_count, diagnostic);
    if (status == WEFT_OK) status = rank_variables_agree("Slurm", place->rank, place->rank_count, diagnostic);
    if (status != WEFT_OK) return status;
    if (place->rank_count == 1) return alone_identify(place, diagnostic);
    status = slurm_master(master, diagnostic);
    if (status == WEFT_OK) status = master_port(slurm_port(), &port, diagnostic);
    if (status != WEFT_OK) return status;
    return place_derive(place, master, port, deadline_at_ns, diagnostic);
}
