/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PMI-1 on the descriptor PMI_FD, as MPICH's mpiexec.hydra and Slurm's mpi/pmi2 plugin speak it (sources: pmi1_line.h).
 * The exchange happens once in a process, and ends with finalize: the launcher then takes the process's end for a
 * regular one. So it must not happen where an MPI library is about to speak on the same descriptor.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "fabric/bootstrap/bootstrap.h"
#include "launch_internal.h"
#include "pmi1_line.h"

#define ID_KEY "weft-id"

enum {
    KVS_NAME_BYTES = 256, /* a name that the launcher makes up; MPICH's and Slurm's limit */
    ID_TEXT_BYTES = 2 * sizeof(weft_unique_id) + 1,
    REQUEST_BYTES = 1024,
};

struct pmi1 {
    int fd;
    uint64_t deadline_at_ns;
    struct pmi1_line reply;
    char kvs_name[KVS_NAME_BYTES];
};

bool pmi1_is_present(void)
{
    return variable_is_set("PMI_FD") && variable_is_set("PMI_RANK") && variable_is_set("PMI_SIZE");
}

/* ---- Is the descriptor somebody else's? ---- */

static int object_is_mpi(struct dl_phdr_info *object, size_t size, void *found)
{
    (void)size;
    const char *slash = strrchr(object->dlpi_name, '/');
    const char *name = slash ? slash + 1 : object->dlpi_name;
    if (strncmp(name, "libmpi", 6) != 0) return 0; /* libmpich.so.12, libmpi.so.12 (Intel, Cray), libmpi.so.40 */
    *(bool *)found = true;
    return 1;
}

/* Linked to the program, or loaded by it where no symbol tells (Python's mpi4py). */
static bool mpi_is_loaded(void)
{
    bool found = dlsym(RTLD_DEFAULT, "MPI_Init") != NULL;
    if (!found) dl_iterate_phdr(object_is_mpi, &found);
    return found;
}

/* ---- Lines ---- */

static weft_status ready_wait(struct pmi1 *pmi, short events, const char *what, struct diagnostic *diagnostic)
{
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        struct pollfd ready = {.fd = pmi->fd, .events = events};
        int timeout_ms = now_ns >= pmi->deadline_at_ns ? 0 : (int)((pmi->deadline_at_ns - now_ns) / NS_PER_MS) + 1;
        int got = poll(&ready, 1, timeout_ms);
        if (got > 0) return WEFT_OK;
        if (got == 0) return diagnose(diagnostic, WEFT_DEADLINE_EXCEEDED, "PMI_FD: waited in vain for %s", what);
        if (errno != EINTR)
            return diagnose(diagnostic, WEFT_SYSTEM_ERROR, "PMI_FD: cannot wait for %s: %s", what, strerror(errno));
    }
}

static weft_status line_send(struct pmi1 *pmi, const char *line, struct diagnostic *diagnostic)
{
    for (size_t sent = 0, size = strlen(line); sent < size;) {
        weft_status status = ready_wait(pmi, POLLOUT, "the launcher to read", diagnostic);
        if (status != WEFT_OK) return status;
        ssize_t count = send(pmi->fd, line + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count > 0) sent += (size_t)count;
        if (count < 0 && errno != EINTR && errno != EAGAIN)
            return diagnose(diagnostic, WEFT_SYSTEM_ERROR, "PMI_FD: cannot write to the launcher: %s", strerror(errno));
    }
    return WEFT_OK;
}

/* The launcher speaks only when asked, one line at a time: nothing may follow the line end. */
static weft_status line_receive(struct pmi1 *pmi, const char *what, struct diagnostic *diagnostic)
{
    char bytes[PMI1_LINE_BYTES];
    size_t size = 0;
    while (!memchr(bytes, '\n', size) && size < sizeof bytes) {
        weft_status status = ready_wait(pmi, POLLIN, what, diagnostic);
        if (status != WEFT_OK) return status;
        ssize_t count = recv(pmi->fd, bytes + size, sizeof bytes - size, MSG_DONTWAIT);
        if (count > 0) size += (size_t)count;
        if (count == 0)
            return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "PMI_FD: the launcher hung up instead of sending %s",
                            what);
        if (count < 0 && errno != EINTR && errno != EAGAIN)
            return diagnose(diagnostic, WEFT_SYSTEM_ERROR, "PMI_FD: cannot read %s: %s", what, strerror(errno));
    }
    struct diagnostic why;
    if (pmi1_line_parse(&pmi->reply, bytes, size, &why) == WEFT_OK) return WEFT_OK;
    return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "PMI_FD: waiting for %s: %s", what, why.text);
}

/* Send one line; the answer must be @p expected, and its rc, where it has one, 0. */
static weft_status ask(struct pmi1 *pmi, const char *request, const char *expected, const char *what,
                       struct diagnostic *diagnostic)
{
    weft_status status = line_send(pmi, request, diagnostic);
    if (status == WEFT_OK) status = line_receive(pmi, what, diagnostic);
    if (status != WEFT_OK) return status;
    const char *command = pmi->reply.fields[0].value;
    if (strcmp(command, expected) != 0)
        return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "PMI_FD: the launcher answers '%.32s' instead of %s", command,
                        what);
    const char *code = pmi1_line_field(&pmi->reply, "rc"), *message = pmi1_line_field(&pmi->reply, "msg");
    if (code && strcmp(code, "0") != 0)
        return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "PMI_FD: the launcher refuses %s: rc %.16s %.64s", what, code,
                        message ? message : "");
    return WEFT_OK;
}

/* ---- The exchange ---- */

/* Is there room for our key and value? Limits count the terminator. */
static weft_status limits_check(struct pmi1 *pmi, struct diagnostic *diagnostic)
{
    static const struct {
        const char *name;
        unsigned least;
    } limits[] = {{"keylen_max", sizeof ID_KEY}, {"vallen_max", ID_TEXT_BYTES}};
    weft_status status = ask(pmi, "cmd=get_maxes\n", "maxes", "its limits", diagnostic);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0] && status == WEFT_OK; i++) {
        const char *text = pmi1_line_field(&pmi->reply, limits[i].name);
        unsigned long most = 0;
        if (text && *text && text[strspn(text, "0123456789")] == '\0') most = strtoul(text, NULL, 10);
        if (most < limits[i].least)
            status = diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "PMI_FD: the launcher's limit %s is '%.16s': %u needed",
                              limits[i].name, text ? text : "", limits[i].least);
    }
    return status;
}

static weft_status session_open(struct pmi1 *pmi, struct diagnostic *diagnostic)
{
    weft_status status =
        ask(pmi, "cmd=init pmi_version=1 pmi_subversion=1\n", "response_to_init", "its greeting", diagnostic);
    if (status == WEFT_OK) status = limits_check(pmi, diagnostic);
    if (status == WEFT_OK)
        status = ask(pmi, "cmd=get_my_kvsname\n", "my_kvsname", "the name of the job's store", diagnostic);
    if (status != WEFT_OK) return status;
    const char *name = pmi1_line_field(&pmi->reply, "kvsname");
    if (!name || !*name || strlen(name) >= sizeof pmi->kvs_name)
        return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "PMI_FD: the launcher's store has no name, or too long a one");
    strcpy(pmi->kvs_name, name);
    return WEFT_OK;
}

static weft_status id_publish(struct pmi1 *pmi, const weft_unique_id *id, struct diagnostic *diagnostic)
{
    char text[ID_TEXT_BYTES], request[REQUEST_BYTES];
    hex_write(id->bytes, sizeof id->bytes, text);
    snprintf(request, sizeof request, "cmd=put kvsname=%s key=" ID_KEY " value=%s\n", pmi->kvs_name, text);
    return ask(pmi, request, "put_result", "storing the job's id", diagnostic);
}

static weft_status id_fetch(struct pmi1 *pmi, weft_unique_id *id, struct diagnostic *diagnostic)
{
    char request[REQUEST_BYTES];
    snprintf(request, sizeof request, "cmd=get kvsname=%s key=" ID_KEY "\n", pmi->kvs_name);
    weft_status status = ask(pmi, request, "get_result", "the id that rank 0 stored", diagnostic);
    if (status != WEFT_OK) return status;
    const char *text = pmi1_line_field(&pmi->reply, "value");
    if (text && strlen(text) == 2 * sizeof id->bytes && hex_read(text, id->bytes, sizeof id->bytes)) return WEFT_OK;
    return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "PMI_FD: what the launcher stored is not rank 0's id");
}

static weft_status exchange(struct pmi1 *pmi, struct place *place, struct diagnostic *diagnostic)
{
    weft_status status = session_open(pmi, diagnostic);
    if (status == WEFT_OK && place->rank == 0) status = id_publish(pmi, &place->id, diagnostic);
    if (status == WEFT_OK)
        status = ask(pmi, "cmd=barrier_in\n", "barrier_out", "the other ranks (PMI barrier)", diagnostic);
    if (status == WEFT_OK && place->rank != 0) status = id_fetch(pmi, &place->id, diagnostic);
    if (status == WEFT_OK) status = ask(pmi, "cmd=finalize\n", "finalize_ack", "its goodbye", diagnostic);
    return status;
}

weft_status pmi1_identify(struct place *place, uint64_t deadline_at_ns, struct diagnostic *diagnostic)
{
    uint32_t fd;
    struct stat about;
    weft_status status = variable_number("PMI_RANK", INT32_MAX, &place->rank, diagnostic);
    if (status == WEFT_OK) status = variable_number("PMI_SIZE", INT32_MAX, &place->rank_count, diagnostic);
    if (status == WEFT_OK) status = rank_check("PMI_RANK", place->rank, "PMI_SIZE", place->rank_count, diagnostic);
    if (status == WEFT_OK) status = rank_variables_agree("PMI", place->rank, place->rank_count, diagnostic);
    if (status == WEFT_OK) status = variable_number("PMI_FD", INT32_MAX, &fd, diagnostic);
    if (status != WEFT_OK) return status;
    if (mpi_is_loaded())
        return diagnose(diagnostic, WEFT_UNSUPPORTED,
                        "this program uses MPI, to which PMI_FD belongs: pass a weft_unique_id from rank 0 to all with "
                        "MPI_Bcast() and call weft_comm_create()");
    if (fstat((int)fd, &about) != 0 || !S_ISSOCK(about.st_mode))
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "PMI_FD is %u, which is no open socket: a program between the launcher and this one closed it, "
                        "or the launcher is gone: then unset PMI_FD",
                        fd);
    if (place->rank_count == 1) return alone_identify(place, diagnostic);
    if (place->rank == 0) status = id_create(&place->id, diagnostic);
    if (status != WEFT_OK) return status;
    /* Programs that this one runs have no business there; the number stays taken, for those who still read PMI_FD. */
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    struct pmi1 pmi = {.fd = (int)fd, .deadline_at_ns = deadline_at_ns};
    status = exchange(&pmi, place, diagnostic);
    explicit_bzero(&pmi.reply, sizeof pmi.reply);
    place->lasting = status == WEFT_OK;
    return status;
}
