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
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_LEAVE_MS = 20000, EXEC_FAILED = 127 };

/* In the child, after fork(): only calls that are safe there. */
static _Noreturn void become(const char *name, int fd)
{
    char number[16];
    char *argv[] = {"baton", "burst", "--role", (char *)(uintptr_t)name, "--channel", number, NULL};

    snprintf(number, sizeof(number), "%d", fd);
    if (fcntl(fd, F_SETFD, 0) == 0) {
        execv("/proc/self/exe", argv);
    }
    _exit(EXEC_FAILED);
}

bool child_start(struct child *child, const char *name)
{
    int ends[2];

    *child = (struct child){.name = name, .channel = {.fd = -1, .closed = true}};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        fprintf(stderr, "baton burst: socketpair: %s\n", strerror(errno));
        return false;
    }
    pid_t pid = fork();
    if (pid == 0) {
        become(name, ends[1]);
    }
    close(ends[1]);
    if (pid < 0) {
        fprintf(stderr, "baton burst: fork: %s\n", strerror(errno));
        close(ends[0]);
        return false;
    }
    child->pid = pid;
    channel_init(&child->channel, ends[0]);
    return true;
}

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

bool child_finish(struct child *child)
{
    int status = 0;

    if (!child->pid) {
        return true;
    }
    channel_fini(&child->channel);
    bool ended = wait_for_end(child->pid, CHILD_LEAVE_MS);
    if (!ended) {
        fprintf(stderr, "baton burst: the %s process (pid %d) does not leave; it is killed\n",
                child->name, (int)child->pid);
        kill(child->pid, SIGKILL);
    }
    pid_t got = waitpid(child->pid, &status, 0);
    while (got < 0 && errno == EINTR) {
        got = waitpid(child->pid, &status, 0);
    }
    bool ok = ended && got == child->pid && left_in_order(child, status);
    child->pid = 0;
    return ok;
}
