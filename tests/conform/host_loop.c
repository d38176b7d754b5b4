/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's place in the conformance suite: epoll, an eventfd, and counters. */
#include "conform/host_loop.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static void window_done(void *arg, struct transport_window *window)
{
    struct host_loop *loop = arg;

    loop->on_window_done(loop->arg, window);
}

static void read_request(void *arg, uint32_t link, const struct transport_read *read)
{
    struct host_loop *loop = arg;

    loop->on_read_request(loop->arg, link, read);
}

static void serve_done(void *arg, struct transport_serve *serve)
{
    struct host_loop *loop = arg;

    loop->on_serve_done(loop->arg, serve);
}

static void link_broken(void *arg, uint32_t link, const char *why)
{
    struct host_loop *loop = arg;

    loop->links_broken++;
    snprintf(loop->last_log, sizeof(loop->last_log), "link %u broken: %s", link, why);
}

static void heard(void *arg, uint32_t link)
{
    struct host_loop *loop = arg;

    (void)link;
    loop->heard++;
}

static bool watch(void *arg, struct transport_fd *fd, unsigned events)
{
    struct host_loop *loop = arg;
    struct epoll_event event = {.events = events, .data.ptr = fd};

    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd->fd, &event) == 0;
}

static void rewatch(void *arg, struct transport_fd *fd, unsigned events)
{
    struct host_loop *loop = arg;
    struct epoll_event event = {.events = events, .data.ptr = fd};

    epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd->fd, &event);
}

static void unwatch(void *arg, struct transport_fd *fd)
{
    struct host_loop *loop = arg;

    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd->fd, NULL);
    for (unsigned i = 0; i < loop->batch_count; i++) {
        loop->batch[i] = loop->batch[i] == fd ? NULL : loop->batch[i];
    }
}

static void wake(void *arg)
{
    struct host_loop *loop = arg;
    uint64_t one = 1;
    ssize_t ret = write(loop->wake_fd, &one, sizeof(one));

    (void)ret; /* a full counter is readable already */
}

static void keep_log(void *arg, baton_log_level level, const char *text)
{
    struct host_loop *loop = arg;

    loop->warnings += level <= BATON_LOG_WARN;
    snprintf(loop->last_log, sizeof(loop->last_log), "%s", text);
}

bool host_loop_init(struct host_loop *loop)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    memset(loop, 0, sizeof(*loop));
    loop->host = (struct transport_host){.arg = loop,
                                         .window_done = window_done,
                                         .read_request = read_request,
                                         .serve_done = serve_done,
                                         .link_broken = link_broken,
                                         .heard = heard,
                                         .watch = watch,
                                         .rewatch = rewatch,
                                         .unwatch = unwatch,
                                         .wake = wake,
                                         .log = keep_log};
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        return false;
    }
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0 || epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) < 0) {
        host_loop_fini(loop);
        return false;
    }
    return true;
}

void host_loop_fini(struct host_loop *loop)
{
    if (loop->wake_fd >= 0) {
        close(loop->wake_fd);
    }
    close(loop->epoll_fd);
}

void host_loop_drive(struct host_loop *loop, const struct transport_ops *ops,
                     struct transport *transport)
{
    loop->driven[loop->driven_count].ops = ops;
    loop->driven[loop->driven_count].transport = transport;
    loop->driven_count++;
}

void host_loop_undrive(struct host_loop *loop, struct transport *transport)
{
    for (unsigned i = 0; i < loop->driven_count; i++) {
        if (loop->driven[i].transport == transport) {
            loop->driven_count--;
            loop->driven[i] = loop->driven[loop->driven_count];
            return;
        }
    }
}

static void handle(struct host_loop *loop, struct transport_fd *fd, unsigned events)
{
    uint64_t wakes;
    ssize_t ret;

    if (fd) {
        fd->ready(fd, events);
        return;
    }
    ret = read(loop->wake_fd, &wakes, sizeof(wakes));
    (void)ret;
}

bool host_loop_step(struct host_loop *loop, int timeout_ms)
{
    struct epoll_event events[HOST_LOOP_EVENTS_MAX];
    int count = epoll_wait(loop->epoll_fd, events, HOST_LOOP_EVENTS_MAX, timeout_ms);
    bool more = count > 0;

    loop->batch_count = count > 0 ? (unsigned)count : 0;
    for (unsigned i = 0; i < loop->batch_count; i++) {
        loop->batch[i] = events[i].data.ptr;
    }
    for (unsigned i = 0; i < loop->batch_count; i++) {
        if (loop->batch[i] || !events[i].data.ptr) {
            handle(loop, loop->batch[i], events[i].events);
        }
    }
    loop->batch_count = 0;
    for (unsigned i = 0; i < loop->driven_count; i++) {
        more = loop->driven[i].ops->progress(loop->driven[i].transport) || more;
    }
    return more;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool host_loop_until(struct host_loop *loop, bool (*condition)(void *arg), void *arg)
{
    int64_t end_ms = now_ms() + HOST_LOOP_DRIVE_MS_MAX;
    bool more = true;

    while (!condition(arg)) {
        int64_t left_ms = end_ms - now_ms();

        if (left_ms <= 0) {
            return false;
        }
        more = host_loop_step(loop, more ? 0 : (int)left_ms);
    }
    return true;
}

void host_loop_settle(struct host_loop *loop, unsigned steps_max)
{
    while (steps_max-- && host_loop_step(loop, 0)) {
    }
}
