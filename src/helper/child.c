/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of a run, and the memory that they and their parent see.  Knows no transport. */
#include "helper/child.h"
#include "util/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOK_MS = 20,
    STILL_MS = 500, /* nothing landed for so long: nothing more will */
    SAMPLE_BYTES = 4096,
};

bool late_child_start(struct late_child *ret_child, void (*run)(void *arg, int channel), void *arg)
{
    pid_t pid, parent = getpid();
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        return false;
    }
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        close(ends[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            run(arg, ends[1]);
        }
        _exit(0);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return false;
    }
    *ret_child = (struct late_child){.pid = pid, .channel = ends[0]};
    return true;
}

bool late_child_receive(const struct late_child *child, void *ret_message, size_t length)
{
    struct pollfd wanted = {.fd = child->channel, .events = POLLIN};
    int ready;

    do {
        ready = poll(&wanted, 1, LATE_WAIT_MS_MAX);
    } while (ready < 0 && errno == EINTR);
    return ready == 1 && recv(child->channel, ret_message, length, 0) == (ssize_t)length;
}

void late_child_stop(const struct late_child *child)
{
    siginfo_t what;

    kill(child->pid, SIGSTOP);
    /* One that has ended instead stays to be reaped: its number must not become another's. */
    waitid(P_PID, (id_t)child->pid, &what, WSTOPPED | WEXITED | WNOWAIT);
}

bool late_child_lives(const struct late_child *child)
{
    siginfo_t what = {0};

    return waitid(P_PID, (id_t)child->pid, &what, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           what.si_pid == 0;
}

void late_child_end(struct late_child *child)
{
    if (child->pid > 0) {
        kill(child->pid, SIGKILL);
        waitpid(child->pid, NULL, 0);
        close(child->channel);
    }
    child->pid = 0;
}

unsigned char *late_memory(size_t bytes)
{
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

static bool is_all(const unsigned char *memory, size_t bytes, unsigned char value)
{
    return memory[0] == value && memcmp(memory, memory + 1, bytes - 1) == 0;
}

uint64_t late_count(const unsigned char *memory, size_t bytes, unsigned char but)
{
    uint64_t count = 0;

    for (size_t at = 0; at < bytes; at += SAMPLE_BYTES) {
        size_t length = bytes - at < SAMPLE_BYTES ? bytes - at : SAMPLE_BYTES;

        for (size_t i = is_all(memory + at, length, but) ? length : 0; i < length; i++) {
            count += memory[at + i] != but;
        }
    }
    return count;
}

/* Cheap: a byte of each page. */
static uint64_t sample(const unsigned char *memory, size_t bytes)
{
    uint64_t count = 0;

    for (size_t i = 0; i < bytes; i += SAMPLE_BYTES) {
        count += ((const volatile unsigned char *)memory)[i] != LATE_POISON;
    }
    return count;
}

uint64_t late_settle(const unsigned char *memory, size_t bytes)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000};
    uint64_t start_ns = clock_now_ns(), moved_ns = start_ns, now_ns = start_ns;
    uint64_t seen = 0, all = (bytes + SAMPLE_BYTES - 1) / SAMPLE_BYTES;

    while (seen < all && now_ns - moved_ns < STILL_MS * 1000000ULL &&
           now_ns - start_ns < LATE_WAIT_MS_MAX * 1000000ULL) {
        uint64_t count;

        nanosleep(&pause, NULL);
        now_ns = clock_now_ns();
        count = sample(memory, bytes);
        moved_ns = count != seen ? now_ns : moved_ns;
        seen = count;
    }
    /* The last bytes of the last pages. */
    nanosleep(&pause, NULL);
    return late_count(memory, bytes, LATE_POISON);
}
