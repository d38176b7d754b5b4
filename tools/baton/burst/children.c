/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and ending the burst's processes: see burst_children.h. */
#include "burst/children.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_LEAVE_MS = 20000, EXEC_FAILED = 127 };

/* In the child, after fork(): only calls that are safe there. */
static _Noreturn void become(const char *name, int channel, int board)
{
    char channel_text[16], board_text[16];
    char *argv[] = {"baton",     "burst",      "--role",  (char *)(uintptr_t)name,
                    "--channel", channel_text, "--board", board_text,
                    NULL};

    snprintf(channel_text, sizeof(channel_text), "%d", channel);
    snprintf(board_text, sizeof(board_text), "%d", board);
    /* A driver that dies leaves nobody stopped: its processes then see that it has gone. */
    prctl(PR_SET_PDEATHSIG, SIGCONT);
    if (fcntl(channel, F_SETFD, 0) == 0 && fcntl(board, F_SETFD, 0) == 0) {
        execv("/proc/self/exe", argv);
    }
    _exit(EXEC_FAILED);
}

static pid_t spawn(const char *name, struct board **ret_board, int *ret_channel)
{
    int ends[2], page;
    struct board *board;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        return -1;
    }
    board = board_create(&page);
    if (!board) {
        close(ends[0]);
        close(ends[1]);
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        become(name, ends[1], page);
    }
    close(ends[1]);
    close(page);
    if (pid < 0) {
        close(ends[0]);
        board_unmap(board);
        return -1;
    }
    *ret_board = board;
    *ret_channel = ends[0];
    return pid;
}

bool child_start(struct child *child, const char *name)
{
    int channel;

    *child = (struct child){.name = name, .channel = {.fd = -1, .closed = true}};
    pid_t pid = spawn(name, &child->board, &channel);
    if (pid < 0) {
        fprintf(stderr, "baton burst: the %s process can not be started: %s\n", name,
                strerror(errno));
        return false;
    }
    child->pid = pid;
    channel_init(&child->channel, channel);
    return true;
}

/* ---- faults ---- */

static bool left_in_order(const struct child *child, int status)
{
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "baton burst: the %s process (pid %d) was ended by signal %d (%s)\n",
                child->name, (int)child->pid, WTERMSIG(status), strsignal(WTERMSIG(status)));
        return false;
    }
    if (WEXITSTATUS(status)) {
        fprintf(stderr, "baton burst: the %s process (pid %d) ended with exit code %d\n",
                child->name, (int)child->pid, WEXITSTATUS(status));
        return false;
    }
    return true;
}

static pid_t wait_status(pid_t pid, int options, int *ret_status)
{
    pid_t got = waitpid(pid, ret_status, options);

    while (got < 0 && errno == EINTR) {
        got = waitpid(pid, ret_status, options);
    }
    return got;
}

bool child_stop(struct child *child)
{
    int status = 0;

    if (kill(child->pid, SIGSTOP) || wait_status(child->pid, WUNTRACED, &status) != child->pid) {
        return false;
    }
    if (!WIFSTOPPED(status)) {
        left_in_order(child, status);
        child->pid = 0;
        return false;
    }
    return true;
}

void child_continue(const struct child *child)
{
    if (child->pid) {
        kill(child->pid, SIGCONT);
    }
}

int child_kill(struct child *child)
{
    int status = 0;

    kill(child->pid, SIGKILL);
    wait_status(child->pid, 0, &status);
    child->pid = 0;
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void child_forget(struct child *child)
{
    channel_fini(&child->channel);
    board_unmap(child->board);
    child->board = NULL;
}

/* ---- the end ---- */

/* Waits up to `timeout_ms` for the process's end, without taking its status. */
static bool wait_for_end(pid_t pid, int timeout_ms)
{
    int fd = pidfd_open(pid, 0);
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    if (fd < 0) {
        return false;
    }
    int ready = poll(&wait, 1, timeout_ms);
    while (ready < 0 && errno == EINTR) {
        ready = poll(&wait, 1, timeout_ms);
    }
    close(fd);
    return ready == 1;
}

bool child_finish(struct child *child)
{
    int status = 0;

    child_forget(child);
    if (!child->pid) {
        return true;
    }
    bool ended = wait_for_end(child->pid, CHILD_LEAVE_MS);
    if (!ended) {
        fprintf(stderr, "baton burst: the %s process (pid %d) does not leave; it is killed\n",
                child->name, (int)child->pid);
        kill(child->pid, SIGKILL);
    }
    pid_t got = wait_status(child->pid, 0, &status);
    bool ok = ended && got == child->pid && left_in_order(child, status);
    child->pid = 0;
    return ok;
}
