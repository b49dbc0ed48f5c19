/* SPDX-License-Identifier: Apache-2.0 */
/* weft_local_run(): the ranks of one host as children of a supervisor. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "bootstrap_internal.h"

/* How long the other ranks have to end by themselves after the first has failed, and after having been asked to. */
#define GRACE_NS (5 * NS_PER_S)
#define ASKED_GRACE_NS (2 * NS_PER_S)
#define LOCAL_RANKS_MAX 4096

struct supervisor {
    pid_t pid;    /* our own: what a child expects its parent to be */
    pid_t *ranks; /* 0: not there, or reaped */
    uint32_t rank_count, alive_count;
    int id_fd, signal_fd;
    sigset_t caller_mask;
    struct sigaction caller_child_action;
    int exit_code;         /* the worst of those that ranks came to by themselves */
    bool asked;            /* the ranks have been sent a signal: how they end now is our doing */
    uint64_t next_kill_ns; /* 0: nothing has failed */
    int next_kill;         /* SIGTERM, then SIGKILL */
};

/* For the user, whatever WEFT_LOG says: one line, one write. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    char line[256] = "weft: ";
    size_t length = strlen(line);
    va_list arguments;
    va_start(arguments, format);
    int added = vsnprintf(line + length, sizeof line - length - 1, format, arguments);
    va_end(arguments);
    if (added > 0) length += (size_t)added;
    if (length > sizeof line - 2) length = sizeof line - 2;
    line[length++] = '\n';
    (void)!write(STDERR_FILENO, line, length);
}

/* A sealed file without a name: readable by every child as often as it likes, changed by none. */
static weft_status identity_file(int *fd)
{
    weft_unique_id id;
    weft_status status = bootstrap_id_create_local(&id);
    if (status != WEFT_OK) return status;
    int file = memfd_create("weft-id", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0) return errno == EMFILE || errno == ENFILE ? WEFT_RESOURCE_LIMIT : WEFT_SYSTEM_ERROR;
    if (write(file, id.bytes, sizeof id.bytes) != (ssize_t)sizeof id.bytes ||
        fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
        close(file);
        return WEFT_SYSTEM_ERROR;
    }
    *fd = file;
    return WEFT_OK;
}

static bool child_environment(uint32_t rank, uint32_t rank_count, int id_fd)
{
    const struct {
        const char *name;
        uint32_t value;
    } variables[] = {
        {"RANK", rank},
        {"WORLD_SIZE", rank_count},
        {"LOCAL_RANK", rank},
        {"LOCAL_WORLD_SIZE", rank_count},
        {ID_DESCRIPTOR_VARIABLE, (uint32_t)id_fd},
    };
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        char text[16];
        snprintf(text, sizeof text, "%u", variables[i].value);
        if (setenv(variables[i].name, text, 1) != 0) return false;
    }
    return true;
}

/*
 * Where there are cores enough, each rank gets an equal share of them, side by side: two ranks that the scheduler puts
 * on one core spend their time waiting for each other. With more ranks than cores, each core gets as many where that is
 * wanted and comes out even: ranks that yield look busy to the scheduler, which may leave three on one core and one on
 * the other. But bound ranks cannot make way for others who compute. Failing to is no reason not to run.
 */
static void child_bind(uint32_t rank, uint32_t rank_count)
{
    cpu_set_t allowed, share;
    if (config_get()->bind == BIND_NOT || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    uint32_t core_count = (uint32_t)CPU_COUNT(&allowed), seen = 0;
    if (rank_count > core_count && (config_get()->bind != BIND_ALL || rank_count % core_count != 0)) return;
    uint32_t first = (uint32_t)((uint64_t)rank * core_count / rank_count);
    uint32_t end = (uint32_t)((uint64_t)(rank + 1) * core_count / rank_count);
    if (end == first) end++;
    CPU_ZERO(&share);
    for (int core = 0; core < CPU_SETSIZE; core++) {
        if (!CPU_ISSET(core, &allowed)) continue;
        if (seen >= first && seen < end) CPU_SET(core, &share);
        seen++;
    }
    sched_setaffinity(0, sizeof share, &share);
}

/* In the child, until exec. What went wrong is written to @p report_fd as an errno. */
static _Noreturn void child_become(const struct supervisor *supervisor, uint32_t rank, char *const argv[],
                                   int report_fd)
{
    int cause = 0;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) cause = errno;
    /* A parent that died before prctl() sends no signal any more: it is then no longer our parent. */
    if (!cause && getppid() != supervisor->pid) _exit(128 + SIGKILL);
    sigaction(SIGCHLD, &supervisor->caller_child_action, NULL);
    sigprocmask(SIG_SETMASK, &supervisor->caller_mask, NULL);
    if (!cause && fcntl(supervisor->id_fd, F_SETFD, 0) != 0) cause = errno;
    if (!cause && !child_environment(rank, supervisor->rank_count, supervisor->id_fd)) cause = errno;
    if (!cause) {
        child_bind(rank, supervisor->rank_count);
        execvp(argv[0], argv);
        cause = errno;
    }
    (void)!write(report_fd, &cause, sizeof cause);
    _exit(127);
}

static weft_status start_rank(struct supervisor *supervisor, uint32_t rank, char *const argv[])
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0)
        return errno == EMFILE || errno == ENFILE ? WEFT_RESOURCE_LIMIT : WEFT_SYSTEM_ERROR;
    pid_t pid = fork();
    if (pid == 0) child_become(supervisor, rank, argv, report[1]);
    int cause = errno;
    close(report[1]);
    if (pid < 0) {
        close(report[0]);
        say("cannot start rank %u: %s", rank, strerror(cause));
        return cause == EAGAIN || cause == ENOMEM ? WEFT_RESOURCE_LIMIT : WEFT_SYSTEM_ERROR;
    }
    supervisor->ranks[rank] = pid;
    supervisor->alive_count++;
    ssize_t got; /* the pipe ends with nothing in it when exec has succeeded */
    do got = read(report[0], &cause, sizeof cause);
    while (got < 0 && errno == EINTR);
    close(report[0]);
    if (got != (ssize_t)sizeof cause) return WEFT_OK;
    say("cannot run %s: %s", argv[0], strerror(cause));
    return WEFT_INVALID_ARGUMENT;
}

static void signal_ranks(struct supervisor *supervisor, int signal_number)
{
    supervisor->asked = true;
    for (uint32_t rank = 0; rank < supervisor->rank_count; rank++)
        if (supervisor->ranks[rank] > 0) kill(supervisor->ranks[rank], signal_number);
}

/* The rest may end by themselves for a while, since they will have something to say about it; then they are ended. */
static void begin_ending(struct supervisor *supervisor)
{
    if (supervisor->next_kill_ns) return;
    supervisor->next_kill = SIGTERM;
    supervisor->next_kill_ns = clock_now_ns() + GRACE_NS;
}

static void note_end(struct supervisor *supervisor, uint32_t rank, pid_t pid, int how)
{
    int code;
    if (WIFSIGNALED(how)) {
        code = 128 + WTERMSIG(how);
        say("rank %u (pid %d) was killed by signal %d (%s)%s", rank, (int)pid, WTERMSIG(how), strsignal(WTERMSIG(how)),
            WCOREDUMP(how) ? ", core dumped" : "");
    } else {
        code = WEXITSTATUS(how);
        if (code != 0) say("rank %u (pid %d) exited with status %d", rank, (int)pid, code);
    }
    if (code == 0) return;
    if (supervisor->exit_code == 0 || (!supervisor->asked && code > supervisor->exit_code))
        supervisor->exit_code = code;
    begin_ending(supervisor);
}

static void reap(struct supervisor *supervisor)
{
    /* By pid, since the caller may have children of its own. */
    for (uint32_t rank = 0; rank < supervisor->rank_count; rank++) {
        pid_t pid = supervisor->ranks[rank];
        int how;
        if (pid <= 0 || waitpid(pid, &how, WNOHANG) != pid) continue;
        supervisor->ranks[rank] = 0;
        supervisor->alive_count--;
        note_end(supervisor, rank, pid, how);
    }
}

static void take_signals(struct supervisor *supervisor)
{
    struct signalfd_siginfo info;
    while (read(supervisor->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) continue;
        /* A terminal's Ctrl-C has reached the ranks already: they are in its foreground with us. */
        if (info.ssi_code != SI_KERNEL) signal_ranks(supervisor, (int)info.ssi_signo);
        begin_ending(supervisor);
    }
}

static void escalate(struct supervisor *supervisor)
{
    if (!supervisor->next_kill_ns || clock_now_ns() < supervisor->next_kill_ns) return;
    for (uint32_t rank = 0; rank < supervisor->rank_count; rank++)
        if (supervisor->ranks[rank] > 0)
            say("rank %u (pid %d) has not ended either: sending signal %d (%s)", rank, (int)supervisor->ranks[rank],
                supervisor->next_kill, strsignal(supervisor->next_kill));
    signal_ranks(supervisor, supervisor->next_kill);
    supervisor->next_kill = SIGKILL;
    supervisor->next_kill_ns = clock_now_ns() + ASKED_GRACE_NS;
}

static void supervise(struct supervisor *supervisor)
{
    while (supervisor->alive_count > 0) {
        int timeout_ms = -1;
        if (supervisor->next_kill_ns) {
            uint64_t now = clock_now_ns();
            timeout_ms = now >= supervisor->next_kill_ns ? 0 : (int)((supervisor->next_kill_ns - now) / NS_PER_MS) + 1;
        }
        struct pollfd signals = {.fd = supervisor->signal_fd, .events = POLLIN};
        poll(&signals, 1, timeout_ms);
        take_signals(supervisor);
        reap(supervisor);
        escalate(supervisor);
    }
}

/* Signals arrive through a descriptor while ranks run; what the caller had set comes back afterwards. */
static weft_status signals_take(struct supervisor *supervisor)
{
    sigset_t taken;
    sigemptyset(&taken);
    sigaddset(&taken, SIGCHLD);
    sigaddset(&taken, SIGINT);
    sigaddset(&taken, SIGTERM);
    sigaddset(&taken, SIGHUP);
    supervisor->signal_fd = signalfd(-1, &taken, SFD_NONBLOCK | SFD_CLOEXEC);
    if (supervisor->signal_fd < 0) return errno == EMFILE || errno == ENFILE ? WEFT_RESOURCE_LIMIT : WEFT_SYSTEM_ERROR;
    sigprocmask(SIG_BLOCK, &taken, &supervisor->caller_mask);
    /* An ignored SIGCHLD would have the kernel reap the ranks, and their fate with them. */
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_DFL}, &supervisor->caller_child_action);
    return WEFT_OK;
}

static void signals_return(struct supervisor *supervisor)
{
    sigaction(SIGCHLD, &supervisor->caller_child_action, NULL);
    sigprocmask(SIG_SETMASK, &supervisor->caller_mask, NULL);
    close(supervisor->signal_fd);
}

weft_status weft_local_run(uint32_t rank_count, char *const argv[], int *exit_code)
{
    if (rank_count == 0 || rank_count > LOCAL_RANKS_MAX || !argv || !argv[0] || !exit_code)
        return WEFT_INVALID_ARGUMENT;
    struct supervisor supervisor = {.pid = getpid(), .rank_count = rank_count};
    supervisor.ranks = calloc(rank_count, sizeof *supervisor.ranks);
    if (!supervisor.ranks) return WEFT_OUT_OF_MEMORY;
    weft_status status = identity_file(&supervisor.id_fd);
    if (status != WEFT_OK) goto free_ranks;
    status = signals_take(&supervisor);
    if (status != WEFT_OK) goto close_identity;

    for (uint32_t rank = 0; rank < rank_count && status == WEFT_OK; rank++)
        status = start_rank(&supervisor, rank, argv);
    if (status != WEFT_OK) {
        signal_ranks(&supervisor, SIGKILL);
        for (uint32_t rank = 0; rank < rank_count; rank++)
            if (supervisor.ranks[rank] > 0) waitpid(supervisor.ranks[rank], NULL, 0);
    } else {
        supervise(&supervisor);
        *exit_code = supervisor.exit_code;
    }
    signals_return(&supervisor);
close_identity:
    close(supervisor.id_fd);
free_ranks:
    free(supervisor.ranks);
    return status;
}

bool weft_local_is_child(void)
{
    /*
     * The variable alone would also be seen by what a rank runs in its turn; the descriptor is not, once the rank has
     * made a communicator.
     */
    int fd;
    weft_unique_id id;
    return id_descriptor(&fd) && id_read(fd, &id);
}
