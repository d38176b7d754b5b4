/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's place and one end of a bulk connection, for the unit tests of the tcp transport.
 * The other end is a raw socket of the test.  Each test program includes it once.
 */
#ifndef BATON_TESTS_UNIT_TCP_RIG_H
#define BATON_TESTS_UNIT_TCP_RIG_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"
#include "transport/tcp_proto.h"
#include "transport/transport.h"

enum {
    BLOCK_BYTES = 64,
    BLOCKS = 16,
    POOL_BYTES = BLOCK_BYTES * BLOCKS,
    WINDOWS = 4, /* of a rig, and its windows_max */
    WINDOW_OFFSET = 40,
    WINDOW_BYTES = 100, /* parts of three blocks */
    GUARD = 0xa5,
    PREFACE_BYTES = 7,
    STEPS_MAX = 1000,
    WAIT_MS = 10, /* of one step; STEPS_MAX of them are a failed test */
    LINK_NUMBER = 5,
    OFFER = 70,
    FETCH = 80,
    ATTEMPT = 90,
    LARGE_BYTES = 24 << 20, /* more than the buffers of a connection take */
    LARGE_BLOCK_BYTES = 1 << 16,
    SMALL_BYTES = 64,
    NEXT_OWNER = 0xee, /* what is written into blocks once they are given back */
};

/* The engine's place, one link under test, and the raw socket at its other end. */
struct rig {
    struct transport_host host;
    struct transport *transport;
    struct transport_link *link;
    struct transport_fd *watched;
    unsigned events;
    int listener, peer;
    char address[32];
    unsigned char pool[POOL_BYTES];
    unsigned char *source; /* where serves read */
    struct plan plan;
    atomic_bool stop;
    struct transport_window windows[WINDOWS];
    unsigned window_done[WINDOWS];
    struct transport_serve serves[WINDOWS + 1]; /* one more than a link may have */
    unsigned requests, serve_done[WINDOWS + 1];
    bool refuse;
    unsigned broken;
    char why[256];
};

static inline void on_window_done(void *arg, struct transport_window *window)
{
    struct rig *rig = arg;

    rig->window_done[window - rig->windows]++;
}

static inline void on_read_request(void *arg, uint32_t number, const struct transport_read *read)
{
    struct rig *rig = arg;
    struct transport_serve *serve = &rig->serves[rig->requests % WINDOWS];

    CHECK(number == LINK_NUMBER);
    rig->requests++;
    if (rig->refuse || read->offset + read->length > plan_bytes(&rig->plan)) {
        transport_tcp.refuse(rig->link, read->own);
        return;
    }
    *serve = (struct transport_serve){.link = rig->link,
                                      .plan = &rig->plan,
                                      .source_base = rig->source,
                                      .offset = read->offset,
                                      .length = read->length,
                                      .offer_id = read->offer_id,
                                      .fetch_id = read->fetch_id,
                                      .attempt = read->attempt,
                                      .slot = read->slot};
    transport_tcp.serve(serve, read->own);
}

static inline void on_serve_done(void *arg, struct transport_serve *serve)
{
    struct rig *rig = arg;

    rig->serve_done[serve - rig->serves]++;
}

static inline void on_link_broken(void *arg, uint32_t number, const char *why)
{
    struct rig *rig = arg;

    CHECK(number == LINK_NUMBER);
    rig->broken++;
    snprintf(rig->why, sizeof rig->why, "%s", why);
}

static inline void on_heard(void *arg, uint32_t number)
{
    (void)arg;
    CHECK(number == LINK_NUMBER);
}

static inline bool watch(void *arg, struct transport_fd *fd, unsigned events)
{
    struct rig *rig = arg;

    rig->watched = fd;
    rig->events = events;
    return true;
}

static inline void rewatch(void *arg, struct transport_fd *fd, unsigned events)
{
    struct rig *rig = arg;

    CHECK(rig->watched == fd);
    rig->events = events;
}

static inline void unwatch(void *arg, struct transport_fd *fd)
{
    struct rig *rig = arg;

    CHECK(rig->watched == fd);
    rig->watched = NULL;
}

static inline void wake(void *arg)
{
    (void)arg; /* each step calls progress() */
}

static inline void step(struct rig *rig, int wait_ms)
{
    struct pollfd poll_fd = {.fd = rig->watched ? rig->watched->fd : -1,
                             .events = (short)rig->events};

    /* On Linux the bits of poll() and of epoll are the same. */
    _Static_assert((int)POLLIN == (int)EPOLLIN && (int)POLLOUT == (int)EPOLLOUT, "poll");
    if (poll(&poll_fd, 1, rig->watched ? wait_ms : 0) > 0 && rig->watched) {
        rig->watched->ready(rig->watched, (unsigned)poll_fd.revents);
    }
    transport_tcp.progress(rig->transport);
}

static inline bool until(struct rig *rig, bool (*condition)(struct rig *rig))
{
    for (int steps = 0; !condition(rig); steps++) {
        if (steps == STEPS_MAX) {
            return false;
        }
        step(rig, WAIT_MS);
    }
    return true;
}

static inline bool is_broken(struct rig *rig)
{
    return rig->broken > 0;
}

static inline bool listener_open(struct rig *rig)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int buffer_bytes = 1 << 16; /* inherited: a large payload does not fit into it */

    rig->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(rig->listener, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
    if (bind(rig->listener, (struct sockaddr *)&address, sizeof address) ||
        getsockname(rig->listener, (struct sockaddr *)&address, &length)) {
        return false;
    }
    snprintf(rig->address, sizeof rig->address, "127.0.0.1:%u", ntohs(address.sin_port));
    return true;
}

static inline struct rig *rig_create(uint32_t window_bytes)
{
    struct rig *rig = calloc(1, sizeof *rig);
    struct transport_options options = {
        .slice_bytes = 4096, .window_bytes = window_bytes, .links_max = 1, .windows_max = WINDOWS};

    rig->host = (struct transport_host){.arg = rig,
                                        .window_done = on_window_done,
                                        .read_request = on_read_request,
                                        .serve_done = on_serve_done,
                                        .link_broken = on_link_broken,
                                        .heard = on_heard,
                                        .watch = watch,
                                        .rewatch = rewatch,
                                        .unwatch = unwatch,
                                        .wake = wake};
    rig->peer = -1;
    rig->source = rig->pool;
    memset(rig->pool, GUARD, sizeof rig->pool);
    CHECK(listener_open(rig));
    CHECK(!transport_tcp.create(&rig->host, &options, &rig->transport, NULL));
    return rig;
}

static inline void rig_destroy(struct rig *rig)
{
    if (rig->link) {
        transport_tcp.link_close(rig->link);
    }
    transport_tcp.destroy(rig->transport);
    close(rig->listener);
    if (rig->peer >= 0) {
        close(rig->peer);
    }
    free(rig);
}

static inline void say(const struct rig *rig, const void *bytes, size_t length)
{
    CHECK(send(rig->peer, bytes, length, MSG_NOSIGNAL) == (ssize_t)length);
}

/* What the link under test sends, exactly `length` bytes. */
static inline bool hear(struct rig *rig, void *bytes, size_t length)
{
    size_t got = 0;

    for (int steps = 0; got < length && steps < STEPS_MAX; steps++) {
        ssize_t n = recv(rig->peer, (char *)bytes + got, length - got, MSG_DONTWAIT);

        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            return false;
        }
        if (n > 0) {
            got += (size_t)n;
        } else {
            step(rig, 1);
        }
    }
    return got == length;
}

static inline void hang_up(struct rig *rig)
{
    close(rig->peer);
    rig->peer = -1;
}

#endif
