/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit tests of the program baton-helper: what it says on its socket and on its output, with a fake
 * of NIXL's library; that it ends when nobody needs it.
 */
#include "test.h"
#include "transport/helper.h"
#include "transport/nixl_api.h"
#include "transport/nixl_worker.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_BYTES = 1024, TEXT_BYTES = 2048 };

static const char *built(const char *name, char path[PATH_BYTES])
{
    const char *root = getenv("BATON_BUILD_ROOT");

    snprintf(path, PATH_BYTES, "%s/%s", root ? root : ".", name);
    return path;
}

/* The exit status of a mode, with the library and the lanes named; what it prints into `text`. */
static int mode_run(const char *mode, const char *library, const char *tls, char text[TEXT_BYTES])
{
    char path[PATH_BYTES];
    int ends[2], status = -1;
    size_t length = 0;
    ssize_t got;
    pid_t child;

    if (pipe(ends) || (child = fork()) < 0) {
        return -1;
    }
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        setenv(NIXL_LIBRARY_VARIABLE, library, 1);
        setenv("UCX_TLS", tls, 1);
        execl(built("baton-helper", path), "baton-helper", mode, NULL);
        _exit(127);
    }
    close(ends[1]);
    while (length < TEXT_BYTES - 1 &&
           (got = read(ends[0], text + length, TEXT_BYTES - 1 - length)) > 0) {
        length += (size_t)got;
    }
    text[length] = '\0';
    close(ends[0]);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A mode that it does not have. */
TEST(helper_program_says_its_modes)
{
    char text[TEXT_BYTES];

    CHECK(mode_run("other", "", "", text) == 64);
    CHECK(strstr(text, "nixl") && strstr(text, "check") && strstr(text, "fence"));
}

/* Which NIXL there is, or why there is none. */
TEST(helper_program_checks_for_nixl)
{
    char text[TEXT_BYTES], path[PATH_BYTES];

    CHECK(mode_run("check", built("tests/libnixl.so", path), "", text) == 0);
    CHECK(strstr(text, "NIXL ") && strstr(text, "libnixl.so"));
    CHECK(mode_run("check", "/nonexistent/libnixl_capi.so", "", text) == 1);
    CHECK(strstr(text, "pip install") && strstr(text, "/nonexistent"));
}

/* Lanes of which nothing is known are not tried. */
TEST(helper_program_tries_no_fence_of_other_lanes)
{
    char text[TEXT_BYTES];

    CHECK(mode_run("fence", "/nonexistent", "", text) == 2 && strstr(text, "not on the list"));
    CHECK(mode_run("fence", "/nonexistent", "tcp,cma", text) == 2 && strstr(text, "tcp,cma"));
}

/* Fences that can not be tried do not hold. */
TEST(helper_program_without_nixl_has_no_fence)
{
    char text[TEXT_BYTES];

    CHECK(mode_run("fence", "/nonexistent", "tcp", text) == 1);
    CHECK(strstr(text, "FAILED") && strstr(text, "NIXL is not there"));
}

/* Its first message into `message` and `text`. */
static bool greeting(const struct helper *helper, struct nixl_message *message,
                     char text[TEXT_BYTES])
{
    struct iovec parts[2] = {{message, sizeof(*message)}, {text, TEXT_BYTES - 1}};
    struct msghdr packet = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t got = recvmsg(helper->socket, &packet, 0);

    text[got > (ssize_t)sizeof(*message) ? (size_t)got - sizeof(*message) : 0] = '\0';
    return got >= (ssize_t)sizeof(*message);
}

static bool start(const char *library, struct helper *ret_helper)
{
    const char *const argv[] = {"baton-helper", "nixl", NULL};
    struct baton_error error = {0};
    char path[PATH_BYTES];
    bool ok;

    setenv(NIXL_LIBRARY_VARIABLE, library, 1);
    ok = !helper_start(built("baton-helper", path), argv, ret_helper, &error);
    unsetenv(NIXL_LIBRARY_VARIABLE);
    if (!ok) {
        printf("  %s\n", error.text);
    }
    return ok;
}

static void wait_ended(struct helper *helper)
{
    struct pollfd ended = {.fd = helper->pidfd, .events = POLLIN};
    char how[HELPER_END_BYTES];

    CHECK(poll(&ended, 1, -1) == 1 && helper_reaped(helper, how));
}

/* It says that it has NIXL, serves, and ends when its socket is closed. */
TEST(helper_program_serves_until_its_socket_closes)
{
    struct nixl_message message;
    char path[PATH_BYTES], text[TEXT_BYTES], how[HELPER_END_BYTES];
    struct helper helper;

    if (!CHECK(start(built("tests/libnixl.so", path), &helper))) {
        return;
    }
    CHECK(greeting(&helper, &message, text));
    CHECK(message.type == NIXL_OPENED && message.port == UINT32_MAX && message.status == 0);
    CHECK(!helper_reaped(&helper, how));
    close(helper.socket);
    wait_ended(&helper);
}

/* It says why it has no NIXL, and ends. */
TEST(helper_program_without_nixl_says_why)
{
    struct nixl_message message;
    char text[TEXT_BYTES];
    struct helper helper;

    if (!CHECK(start("/nonexistent/libnixl_capi.so", &helper))) {
        return;
    }
    CHECK(greeting(&helper, &message, text));
    CHECK(message.type == NIXL_OPENED && message.port == UINT32_MAX && message.status != 0);
    CHECK(strstr(text, "/nonexistent/libnixl_capi.so"));
    wait_ended(&helper);
    close(helper.socket);
}

/* A host that tells the number of its helper and ends, and whose own child keeps the socket. */
static void host_run(int tell)
{
    struct nixl_message message;
    char path[PATH_BYTES], text[TEXT_BYTES];
    struct helper helper;
    pid_t numbers[2];

    if (!start(built("tests/libnixl.so", path), &helper) || !greeting(&helper, &message, text)) {
        _exit(1);
    }
    numbers[0] = helper.pid;
    numbers[1] = fork();
    if (numbers[1] == 0) {
        for (;;) {
            pause();
        }
    }
    /* Not before the other end has seen the helper alive. */
    _exit(send(tell, numbers, sizeof(numbers), 0) < 0 || recv(tell, path, 1, 0) < 0);
}

/* Its host's end is enough, whoever else has the other end of the socket. */
TEST(helper_program_ends_with_its_host)
{
    struct pollfd ended = {.events = POLLIN};
    pid_t numbers[2] = {0, 0}, host;
    int ends[2];

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    host = fork();
    if (host == 0) {
        close(ends[0]);
        host_run(ends[1]);
    }
    close(ends[1]);
    if (CHECK(recv(ends[0], numbers, sizeof(numbers), 0) == sizeof(numbers))) {
        ended.fd = (int)syscall(SYS_pidfd_open, numbers[0], 0);
        CHECK(ended.fd >= 0 && poll(&ended, 1, 0) == 0);
        send(ends[0], "e", 1, 0);
        CHECK(poll(&ended, 1, -1) == 1);
        close(ended.fd);
        kill(numbers[1], SIGKILL);
    }
    close(ends[0]);
    CHECK(waitpid(host, NULL, 0) == host);
}
