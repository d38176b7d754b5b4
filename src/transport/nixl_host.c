/* SPDX-License-Identifier: Apache-2.0 */
/* A worker and the socket to it.  Packets that the socket has no room for wait here. */
#include "transport/nixl_host.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/helper.h"
#include "transport/nixl_api.h"
#include "util/error.h"
#include "util/thread.h"

enum {
    GREETING_MS_MAX = 30000,
    MESSAGES_AT_ONCE = 64, /* before other descriptors have their turn */
};

struct packet {
    struct packet *next;
    int fd; /* ours; -1: none */
    size_t length;
    unsigned char bytes[];
};

struct nixl_host {
    struct transport_host upcalls; /* copied */
    struct nixl_host_user user;
    const struct nixl_api *api;
    bool threaded;
    pthread_t thread;
    int worker_socket;         /* the thread's end; it takes it */
    struct helper helper;      /* pid -1: threaded, or reaped */
    struct transport_fd watch; /* our end; fd -1: closed */
    struct transport_fd exit;  /* the helper's pidfd; fd -1: threaded, or reaped */
    bool greeted;
    struct packet *waiting, **last;
    unsigned char *in;
};

/* ---- out ---- */

static bool send_packet(int socket, const struct packet *packet)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    struct iovec iov = {(void *)(uintptr_t)packet->bytes, packet->length};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t sent;

    if (packet->fd >= 0) {
        struct cmsghdr *m;

        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        m = CMSG_FIRSTHDR(&message);
        m->cmsg_level = SOL_SOCKET;
        m->cmsg_type = SCM_RIGHTS;
        m->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(m), &packet->fd, sizeof(int));
    }
    do {
        sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    /* An error other than a full buffer: the worker has gone, its end tells. */
    return sent >= 0 || errno != EAGAIN;
}

static void packet_free(struct packet *packet)
{
    if (packet->fd >= 0) {
        close(packet->fd);
    }
    free(packet);
}

static void send_waiting(struct nixl_host *host)
{
    while (host->waiting && send_packet(host->watch.fd, host->waiting)) {
        struct packet *packet = host->waiting;

        host->waiting = packet->next;
        packet_free(packet);
    }
    if (!host->waiting) {
        host->last = &host->waiting;
        host->upcalls.rewatch(host->upcalls.arg, &host->watch, EPOLLIN);
    }
}

bool nixl_host_send(struct nixl_host *host, const struct nixl_message *message, const void *bytes,
                    size_t length, int fd)
{
    struct packet *packet;

    if (host->watch.fd < 0) {
        return false;
    }
    packet = malloc(sizeof(*packet) + sizeof(*message) + length);
    if (!packet) {
        return false;
    }
    packet->next = NULL;
    packet->fd = fd >= 0 ? dup(fd) : -1;
    packet->length = sizeof(*message) + length;
    memcpy(packet->bytes, message, sizeof(*message));
    if (length > 0) {
        memcpy(packet->bytes + sizeof(*message), bytes, length);
    }
    if (fd >= 0 && packet->fd < 0) {
        free(packet);
        return false;
    }
    if (!host->waiting && send_packet(host->watch.fd, packet)) {
        packet_free(packet);
        return true;
    }
    if (!host->waiting) {
        host->upcalls.rewatch(host->upcalls.arg, &host->watch, EPOLLIN | EPOLLOUT);
    }
    *host->last = packet;
    host->last = &packet->next;
    return true;
}

/* ---- in ---- */

/* 1: a message is in host->in; 0: none is there; -1: the worker has closed its end. */
static ssize_t receive(struct nixl_host *host)
{
    ssize_t got = recv(host->watch.fd, host->in, NIXL_MESSAGE_BYTES_MAX, MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    return got < (ssize_t)sizeof(struct nixl_message) ? -1 : got;
}

static const struct nixl_message *in_message(const struct nixl_host *host)
{
    return (const struct nixl_message *)(const void *)host->in;
}

static void greeting(struct nixl_host *host, const char *text, size_t length)
{
    char line[256];

    host->greeted = in_message(host)->status == 0;
    if (!host->greeted) {
        snprintf(line, sizeof(line), "nixl: a helper can not begin: %.*s", (int)length, text);
        host->upcalls.log(host->upcalls.arg, BATON_LOG_ERROR, line);
    }
}

/* The worker learns of it even where a child that the user forked holds a copy. */
static void socket_close(struct nixl_host *host)
{
    if (host->watch.fd >= 0) {
        host->upcalls.unwatch(host->upcalls.arg, &host->watch);
        shutdown(host->watch.fd, SHUT_RDWR);
        close(host->watch.fd);
        host->watch.fd = -1;
    }
    while (host->waiting) {
        struct packet *packet = host->waiting;

        host->waiting = packet->next;
        packet_free(packet);
    }
    host->last = &host->waiting;
}

/* What the worker has said is heard before its end is told of. */
static void receive_all(struct nixl_host *host, unsigned most)
{
    ssize_t got = 1;

    for (unsigned i = 0; i < most && host->watch.fd >= 0 && got > 0; i++) {
        const unsigned char *bytes = host->in + sizeof(struct nixl_message);

        got = receive(host);
        if (got < 0) {
            socket_close(host);
        } else if (got > 0 && in_message(host)->port == UINT32_MAX) {
            greeting(host, (const char *)bytes, (size_t)got - sizeof(struct nixl_message));
        } else if (got > 0) {
            host->user.message(host->user.arg, in_message(host), bytes,
                               (size_t)got - sizeof(struct nixl_message));
        }
    }
}

static struct nixl_host *host_of(struct transport_fd *fd, size_t offset)
{
    return (struct nixl_host *)(void *)((char *)fd - offset);
}

static void ready(struct transport_fd *fd, unsigned events)
{
    struct nixl_host *host = host_of(fd, offsetof(struct nixl_host, watch));

    if (events & EPOLLOUT) {
        send_waiting(host);
    }
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        receive_all(host, MESSAGES_AT_ONCE);
    }
}

static void exited(struct transport_fd *fd, unsigned events)
{
    struct nixl_host *host = host_of(fd, offsetof(struct nixl_host, exit));
    char how[HELPER_END_BYTES];

    (void)events;
    /* Before it is reaped, since that closes the descriptor. */
    host->upcalls.unwatch(host->upcalls.arg, &host->exit);
    if (!helper_reaped(&host->helper, how)) {
        if (!host->upcalls.watch(host->upcalls.arg, &host->exit, EPOLLIN)) {
            host->upcalls.log(host->upcalls.arg, BATON_LOG_ERROR,
                              "nixl: out of resources to watch a helper");
        }
        return;
    }
    host->exit.fd = -1;
    receive_all(host, UINT32_MAX);
    socket_close(host);
    host->user.ended(host->user.arg, host, how);
}

/* ---- making ---- */

static struct nixl_host *host_new(const struct transport_host *upcalls,
                                  const struct nixl_host_user *user)
{
    struct nixl_host *host = calloc(1, sizeof(*host));

    if (!host) {
        return NULL;
    }
    host->upcalls = *upcalls;
    host->user = *user;
    host->helper = (struct helper){-1, -1, -1};
    host->watch = (struct transport_fd){.fd = -1, .ready = ready};
    host->exit = (struct transport_fd){.fd = -1, .ready = exited};
    host->worker_socket = -1;
    host->last = &host->waiting;
    host->in = malloc(NIXL_MESSAGE_BYTES_MAX);
    if (!host->in) {
        free(host);
        return NULL;
    }
    return host;
}

static void *work(void *arg)
{
    const struct nixl_host *host = arg;

    nixl_worker_run(host->api, host->worker_socket);
    return NULL;
}

static baton_err begin_thread(struct nixl_host *host, struct baton_error *ret_error)
{
    int ends[2], failed;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        return error_system(ret_error, errno, "socketpair");
    }
    host->watch.fd = ends[0];
    host->worker_socket = ends[1];
    if (!host->upcalls.watch(host->upcalls.arg, &host->watch, EPOLLIN)) {
        close(ends[0]);
        close(ends[1]);
        host->watch.fd = -1;
        return error_set(ret_error, BATON_ENOMEM, "nixl: can not watch a socket");
    }
    failed = thread_start(&host->thread, "baton-nixl", work, host);
    if (failed) {
        socket_close(host);
        close(ends[1]);
        return error_system(ret_error, failed, "pthread_create");
    }
    host->threaded = true;
    return BATON_OK;
}

baton_err nixl_host_thread(const struct transport_host *upcalls, const struct nixl_host_user *user,
                           struct nixl_host **ret_host, struct baton_error *ret_error)
{
    const struct nixl_api *api;
    baton_err err = nixl_api_load(NULL, &api, ret_error);
    struct nixl_host *host = err ? NULL : host_new(upcalls, user);

    if (err) {
        return err;
    }
    if (!host) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for NIXL's thread");
    }
    host->api = api;
    host->greeted = true;
    err = begin_thread(host, ret_error);
    if (err) {
        nixl_host_destroy(host);
        return err;
    }
    *ret_host = host;
    return BATON_OK;
}

baton_err nixl_host_helper(const struct transport_host *upcalls, const struct nixl_host_user *user,
                           const char *path, struct nixl_host **ret_host,
                           struct baton_error *ret_error)
{
    static const char *const argv[] = {"baton-helper", "nixl", NULL};
    struct nixl_host *host = host_new(upcalls, user);
    baton_err err;

    if (!host) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for a helper");
    }
    err = helper_start(path, argv, &host->helper, ret_error);
    if (!err) {
        host->watch.fd = host->helper.socket;
        if (!upcalls->watch(upcalls->arg, &host->watch, EPOLLIN)) {
            close(host->watch.fd);
            host->watch.fd = -1;
            err = error_set(ret_error, BATON_ENOMEM, "nixl: can not watch a socket");
        }
    }
    if (!err) {
        host->exit.fd = host->helper.pidfd;
        if (!upcalls->watch(upcalls->arg, &host->exit, EPOLLIN)) {
            host->exit.fd = -1;
            err = error_set(ret_error, BATON_ENOMEM, "nixl: can not watch a helper");
        }
    }
    if (err) {
        nixl_host_destroy(host);
        return err;
    }
    *ret_host = host;
    return BATON_OK;
}

baton_err nixl_host_greeted(struct nixl_host *host, const char *path, struct baton_error *ret_error)
{
    struct pollfd said = {.fd = host->watch.fd, .events = POLLIN};
    ssize_t got = host->greeted || poll(&said, 1, GREETING_MS_MAX) < 1 ? 0 : receive(host);
    size_t length = got > 0 ? (size_t)got - sizeof(struct nixl_message) : 0;

    if (got > 0 && in_message(host)->status == 0) {
        host->greeted = true;
    }
    if (host->greeted) {
        return BATON_OK;
    }
    if (got > 0) {
        return error_set(ret_error, BATON_ESYSTEM, "%.*s", (int)length,
                         (const char *)host->in + sizeof(struct nixl_message));
    }
    return error_set(ret_error, BATON_ESYSTEM,
                     "the helper ended, or hangs, before it had loaded NIXL: %s", path);
}

void nixl_host_use(struct nixl_host *host, const struct nixl_host_user *user)
{
    host->user = *user;
}

bool nixl_host_in_helper(const struct nixl_host *host)
{
    return !host->threaded;
}

int nixl_host_process(const struct nixl_host *host)
{
    return host->exit.fd;
}

/* ---- ending ---- */

void nixl_host_leave(struct nixl_host *host)
{
    socket_close(host);
}

void nixl_host_kill(struct nixl_host *host)
{
    if (host->exit.fd >= 0) {
        helper_kill(&host->helper);
    }
}

void nixl_host_destroy(struct nixl_host *host)
{
    struct pollfd gone = {.events = POLLIN};
    char how[HELPER_END_BYTES];

    if (!host) {
        return;
    }
    socket_close(host);
    if (host->threaded) {
        pthread_join(host->thread, NULL);
    }
    if (host->exit.fd >= 0) {
        host->upcalls.unwatch(host->upcalls.arg, &host->exit);
    }
    if (host->helper.pidfd >= 0) {
        helper_kill(&host->helper);
        gone.fd = host->helper.pidfd;
        do {
            poll(&gone, 1, -1);
        } while (!helper_reaped(&host->helper, how));
    }
    free(host->in);
    free(host);
}
