/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Helper processes, without fork(): the host may be large, and may have threads that hold locks.
 *
 * Two processes are made, each in this one's memory and with its maker waiting: `between`, which
 * shares this process's descriptors too, so that the helper's pidfd is made here; and from it the
 * helper, which leaves this memory by execve().  `between` sends no signal when it ends, and only
 * a wait that asks for such processes finds it.
 *
 * What runs in them before that calls nothing but the kernel: the C library's state, and that of
 * what may be wrapped around it (sanitizers), is the host's own.
 */
#include "transport/helper.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/assert.h"
#include "util/error.h"

#define EXECUTABLE "baton-helper"

enum {
    STACK_BYTES = 64 << 10, /* of each of the two processes */
    SIGNALS_MAX = 64,
    SHOWN_MAX = 44, /* of a path in a message with three */
};

/* ---- finding ---- */

/* Whether `path` can be executed; its absolute path if so.  False: errno says why. */
static bool is_program(const char *path, char ret_path[PATH_MAX])
{
    char real[PATH_MAX];
    struct stat file;

    if (!realpath(path, real) || stat(real, &file) || access(real, X_OK)) {
        return false;
    }
    if (!S_ISREG(file.st_mode)) {
        errno = EACCES;
        return false;
    }
    memcpy(ret_path, real, sizeof(real));
    return true;
}

/* The folder of the file that this code is in: a shared library, or a program. */
static bool folder_find(char ret_folder[PATH_MAX])
{
    const struct link_map *map = NULL;
    bool in_library;
    Dl_info where;
    char *slash;

    in_library =
        dladdr1((void *)(uintptr_t)&helper_find, &where, (void **)(void *)&map, RTLD_DL_LINKMAP) &&
        map && map->l_name[0];
    if (!realpath(in_library ? map->l_name : "/proc/self/exe", ret_folder)) {
        return false;
    }
    slash = strrchr(ret_folder, '/');
    slash[0] = '\0';
    return true;
}

/* The end of a path, as much as a message has room for. */
static const char *shown(const char *path)
{
    size_t length = strlen(path);

    return length > SHOWN_MAX ? path + length - SHOWN_MAX : path;
}

static baton_err search(char ret_path[PATH_MAX], struct baton_error *ret_error)
{
    static const char installed[] = HELPER_INSTALLED;
    char folder[PATH_MAX], beside[2 * PATH_MAX], apart[2 * PATH_MAX];

    if (!folder_find(folder)) {
        folder[0] = '\0';
    }
    snprintf(beside, sizeof(beside), "%s/" EXECUTABLE, folder);
    snprintf(apart, sizeof(apart), "%s/../libexec/baton/" EXECUTABLE, folder);
    if ((folder[0] && (is_program(beside, ret_path) || is_program(apart, ret_path))) ||
        is_program(installed, ret_path)) {
        return BATON_OK;
    }
    return error_set(ret_error, BATON_ESYSTEM,
                     EXECUTABLE " is not there: not ...%s, ...%s, ...%s; install it, or name it "
                                "with " HELPER_VARIABLE " or helper_path",
                     shown(beside), shown(apart), shown(installed));
}

baton_err helper_find(const char *given, char ret_path[PATH_MAX], struct baton_error *ret_error)
{
    const char *variable = secure_getenv(HELPER_VARIABLE);
    const char *named = given ? given : variable;

    if (!named) {
        return search(ret_path, ret_error);
    }
    if (!is_program(named, ret_path)) {
        return error_system(ret_error, errno,
                            "%.120s, which %s names, can not be the program " EXECUTABLE, named,
                            given ? "helper_path" : HELPER_VARIABLE);
    }
    return BATON_OK;
}

/* ---- starting ---- */

/* glibc's other name of clone(), which sanitizers do not take for a fork(). */
extern int __clone(int (*run)(void *arg), void *stack, int flags, void *arg, ...);

/* Shared with both processes. */
struct start {
    const char *path;
    char *const *argv;
    int socket, null;
    char *stacks;
    pid_t pid;
    int pidfd;
    int error;        /* errno of what failed, or 0 */
    const char *what; /* failed */
};

static void fail(struct start *start, const char *what)
{
    start->error = errno;
    start->what = what;
}

/* `to` is another name of `from`, and stays over execve(). */
static bool name_as(int from, int to)
{
    return from == to ? syscall(SYS_fcntl, from, F_SETFD, 0) == 0
                      : syscall(SYS_dup3, from, to, 0) == to;
}

static bool is_kept(int fd)
{
    long flags = syscall(SYS_fcntl, fd, F_GETFD);

    return flags >= 0 && !(flags & FD_CLOEXEC);
}

/* The socket first, since it may lie where another belongs; `null` may not be below 3. */
static bool descriptors_set(const struct start *start)
{
    if (!name_as(start->socket, HELPER_SOCKET) || !name_as(start->null, STDIN_FILENO)) {
        return false;
    }
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        if (!is_kept(fd) && !name_as(start->null, fd)) {
            return false;
        }
    }
    return syscall(SYS_close_range, HELPER_SOCKET + 1, ~0U, 0) == 0;
}

/* No signal is taken before execve() but with its default action, and those that the host ignores
 * are not ignored after it. */
static void signals_reset(void)
{
    static const unsigned char as_default[128]; /* of whatever layout: SIG_DFL, and no flags */
    const uint64_t none = 0;

    for (int number = 1; number <= SIGNALS_MAX; number++) {
        syscall(SYS_rt_sigaction, number, as_default, NULL, sizeof(none));
    }
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
}

/*
 * The two functions that run on a stack of ours and do not return: what the address sanitizer would
 * note of their frames would stay, and be found where the stack was, in the host's next mapping.
 */
__attribute__((no_sanitize("address"))) static int helper_run(void *arg)
{
    struct start *start = arg;

    if (!descriptors_set(start)) {
        fail(start, "its descriptors");
    } else {
        syscall(SYS_setsid);
        signals_reset();
        syscall(SYS_execve, start->path, start->argv, environ);
        fail(start, "execve");
    }
    syscall(SYS_exit_group, 1);
    return 1;
}

__attribute__((no_sanitize("address"))) static int between_run(void *arg)
{
    struct start *start = arg;

    start->pid = __clone(helper_run, start->stacks + STACK_BYTES,
                         CLONE_VM | CLONE_VFORK | CLONE_PIDFD, start, &start->pidfd);
    if (start->pid < 0) {
        fail(start, "clone");
    } else if (start->error) {
        syscall(SYS_wait4, start->pid, NULL, __WALL, NULL);
        syscall(SYS_close, start->pidfd);
    }
    syscall(SYS_exit_group, 0);
    return 0;
}

/* All signals are blocked meanwhile: the host's handlers are not for the two processes, which run
 * in the host's memory. */
static void run_between(struct start *start)
{
    const uint64_t all = ~(uint64_t)0;
    uint64_t before;
    pid_t between;

    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(all));
    between = __clone(between_run, start->stacks + 2 * STACK_BYTES,
                      CLONE_VM | CLONE_VFORK | CLONE_FILES, start);
    if (between < 0) {
        fail(start, "clone");
    } else {
        /* It has left this memory, or is about to be gone. */
        syscall(SYS_wait4, between, NULL, __WALL, NULL);
    }
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
}

/* Not one of the standard ones, should the host have closed those. */
static int null_open(void)
{
    int low = open("/dev/null", O_RDWR | O_CLOEXEC);
    int fd = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, HELPER_SOCKET + 1);

    if (low >= 0) {
        close(low);
    }
    return fd;
}

static void prepare(struct start *start, int ends[2])
{
    void *stacks;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        ends[0] = ends[1] = -1;
        fail(start, "socketpair");
        return;
    }
    start->socket = ends[1];
    start->null = null_open();
    if (start->null < 0) {
        fail(start, "/dev/null");
        return;
    }
    stacks = mmap(NULL, 2 * STACK_BYTES, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stacks == MAP_FAILED) {
        fail(start, "mmap");
        return;
    }
    start->stacks = stacks;
}

static void close_if(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

baton_err helper_start(const char *path, const char *const argv[], struct helper *ret_helper,
                       struct baton_error *ret_error)
{
    struct start start = {
        .path = path, .argv = (char *const *)(uintptr_t)argv, .null = -1, .pid = -1, .pidfd = -1};
    int ends[2];

    BATON_ASSERT(path && argv && argv[0]);
    prepare(&start, ends);
    if (!start.error) {
        run_between(&start);
    }
    if (start.stacks) {
        munmap(start.stacks, 2 * STACK_BYTES);
    }
    close_if(start.null);
    close_if(ends[1]);
    if (start.error) {
        close_if(ends[0]);
        return error_system(ret_error, start.error, "can not start %.150s: %s", path, start.what);
    }
    *ret_helper = (struct helper){.pid = start.pid, .pidfd = start.pidfd, .socket = ends[0]};
    return BATON_OK;
}

/* ---- ending ---- */

void helper_kill(const struct helper *helper)
{
    if (helper->pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, helper->pidfd, SIGKILL, NULL, 0);
    }
}

/* What Linux 6.15 and later tell of a process that was reaped, whoever its parent was. */
struct pidfd_exit {
    uint64_t mask;
    uint64_t cgroup;
    uint32_t ids[11];
    int32_t status; /* as of wait() */
};

#define PIDFD_EXIT ((uint64_t)1 << 3)
#define PIDFD_EXIT_GET _IOWR(0xff, 11, struct pidfd_exit)

static bool status_of_reaped(int pidfd, int *ret_status)
{
    struct pidfd_exit exit = {.mask = PIDFD_EXIT};

    if (ioctl(pidfd, PIDFD_EXIT_GET, &exit) || !(exit.mask & PIDFD_EXIT)) {
        return false;
    }
    *ret_status = exit.status;
    return true;
}

/* Of one that nobody has reaped: the last field of its line. */
static bool status_of_zombie(pid_t pid, int *ret_status)
{
    char path[32], line[1024] = "";
    const char *name_end, *last;
    ssize_t length;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    length = read(fd, line, sizeof(line) - 1);
    close(fd);
    line[length > 0 ? length : 0] = '\0';
    name_end = strrchr(line, ')');
    last = strrchr(line, ' ');
    if (!name_end || last <= name_end || strncmp(name_end, ") Z ", strlen(") Z "))) {
        return false;
    }
    *ret_status = (int)strtol(last, NULL, 10);
    return true;
}

static bool has_ended(int pidfd)
{
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};

    return poll(&ended, 1, 0) == 1 && (ended.revents & POLLIN);
}

static void end_text(const char *word, int number, const char *name, char ret_end[HELPER_END_BYTES])
{
    snprintf(ret_end, HELPER_END_BYTES, "%s %d%s%.20s", word, number, name ? ", " : "",
             name ? name : "");
}

static void end_of_orphan(const struct helper *helper, char ret_end[HELPER_END_BYTES])
{
    int status;

    if (!status_of_reaped(helper->pidfd, &status) && !status_of_zombie(helper->pid, &status)) {
        snprintf(ret_end, HELPER_END_BYTES, "it ended");
    } else if (WIFSIGNALED(status)) {
        end_text("signal", WTERMSIG(status), sigabbrev_np(WTERMSIG(status)), ret_end);
    } else {
        end_text("exit status", WEXITSTATUS(status), NULL, ret_end);
    }
}

static void end_of_child(const siginfo_t *how, char ret_end[HELPER_END_BYTES])
{
    if (how->si_code == CLD_EXITED) {
        end_text("exit status", how->si_status, NULL, ret_end);
    } else {
        end_text("signal", how->si_status, sigabbrev_np(how->si_status), ret_end);
    }
}

bool helper_reaped(struct helper *helper, char ret_end[HELPER_END_BYTES])
{
    siginfo_t how = {0};

    BATON_ASSERT(helper->pidfd >= 0);
    /* Only where this process adopts orphans; and there somebody else may have reaped it. */
    if (waitid(P_PIDFD, (id_t)helper->pidfd, &how, WEXITED | WNOHANG | __WALL) == 0) {
        if (how.si_pid == 0) {
            return false;
        }
        end_of_child(&how, ret_end);
    } else if (has_ended(helper->pidfd)) {
        end_of_orphan(helper, ret_end);
    } else {
        return false;
    }
    close(helper->pidfd);
    helper->pid = helper->pidfd = -1;
    return true;
}
