/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton-helper: the process in which NIXL runs, so that what it does to a process it does to this
 * one, and ends with it.  Started by the engine, with its socket at HELPER_SOCKET; never by a
 * person, but for what it tells about a machine.
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper/fence.h"
#include "transport/helper.h"
#include "transport/nixl_api.h"
#include "transport/nixl_worker.h"

enum { EXIT_USAGE = 64 };

/* NIXL and UCX read it once, when they are loaded. */
static void environment(void)
{
    nixl_lanes_complete();
    /* Their module of InfiniBand brings libraries that crash some processes at their exit; this one
     * leaves by _exit(), so it stays where it may be wanted. */
    if (nixl_lanes(getenv("UCX_TLS")) != NIXL_LANES_ANY) {
        setenv("UCX_MODULES", "^ib", false);
    }
    setenv("UCX_LOG_LEVEL", "fatal", false);
    setenv("NIXL_LOG_LEVEL", "FATAL", false);
}

/* Whether NIXL is there: the first message. */
static void greet(bool loaded, const char *text)
{
    struct nixl_message message = {
        .type = NIXL_OPENED, .port = UINT32_MAX, .status = loaded ? 0 : 1};
    struct iovec parts[2] = {{&message, sizeof(message)}, {(void *)(uintptr_t)text, strlen(text)}};
    const struct msghdr packet = {.msg_iov = parts, .msg_iovlen = 2};

    if (sendmsg(HELPER_SOCKET, &packet, MSG_NOSIGNAL) < 0) {
        _exit(EXIT_FAILURE);
    }
}

/* The host's end, even where a process that it forked holds the other end of the socket, and
 * whatever the library is doing. */
static void *host_watch(void *arg)
{
    struct pollfd host = {.fd = *(const int *)arg, .events = POLLIN};

    while (poll(&host, 1, -1) != 1) {
    }
    _exit(EXIT_SUCCESS);
}

static bool host_watch_start(void)
{
    static int host;
    struct ucred who;
    socklen_t length = sizeof(who);
    pthread_t thread;

    if (getsockopt(HELPER_SOCKET, SOL_SOCKET, SO_PEERCRED, &who, &length)) {
        return false;
    }
    host = (int)syscall(SYS_pidfd_open, who.pid, 0);
    return host >= 0 && !pthread_create(&thread, NULL, host_watch, &host);
}

static int run_nixl(void)
{
    const struct nixl_api *api;
    struct baton_error error = {0};

    dup2(STDERR_FILENO, STDOUT_FILENO);
    environment();
    if (!host_watch_start()) {
        greet(false, "the host's process can not be watched");
        return EXIT_FAILURE;
    }
    if (nixl_api_load(NULL, &api, &error)) {
        greet(false, error.text);
        return EXIT_FAILURE;
    }
    greet(true, api->version);
    return nixl_worker_run(api, HELPER_SOCKET) ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run_check(void)
{
    const struct nixl_api *api;
    struct baton_error error = {0};

    environment();
    if (nixl_api_load(NULL, &api, &error)) {
        printf("%s\n", error.text);
        return EXIT_FAILURE;
    }
    printf("NIXL %s, %s\n", api->version, api->path);
    return EXIT_SUCCESS;
}

/* An engine is told what a person reads from the exit status. */
static int run_fence(void)
{
    int type, status;
    socklen_t length = sizeof(type);
    bool engine = !getsockopt(HELPER_SOCKET, SOL_SOCKET, SO_TYPE, &type, &length);

    /* Of what an engine itself moves over these lanes its own calls copy, within the call, or
     * queues do. */
    if (engine && nixl_lanes(getenv("UCX_TLS")) == NIXL_LANES_HOST) {
        setenv("UCX_TLS", "posix", true);
    }
    if (engine && !freopen("/dev/null", "w", stdout)) {
        return EXIT_FAILURE;
    }
    status = (int)fence_test();
    if (engine) {
        greet(status == 0, status == 0 ? "they hold" : "baton-helper fence says why");
    }
    return status;
}

static const struct mode {
    const char *name;
    int (*run)(void);
    const char *text;
} modes[] = {
    {"nixl", run_nixl, "serve an engine, on descriptor 3"},
    {"check", run_check, "say which NIXL is found"},
    {"fence", run_fence, "try whether fences hold with UCX_TLS, on this machine"},
};

enum { MODES = sizeof(modes) / sizeof(modes[0]) };

int main(int argc, char **argv)
{
    for (size_t i = 0; i < MODES; i++) {
        if (argc == 2 && !strcmp(argv[1], modes[i].name)) {
            int status = modes[i].run();

            fflush(NULL);
            /* Not exit(): destructors of NIXL's libraries crash. */
            _exit(status);
        }
    }
    fprintf(stderr, "usage: baton-helper MODE\n");
    for (size_t i = 0; i < MODES; i++) {
        fprintf(stderr, "  %-6s %s\n", modes[i].name, modes[i].text);
    }
    return EXIT_USAGE;
}
