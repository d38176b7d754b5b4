/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small event loop that plays the engine for the transports under test: it implements struct
 * transport_host over epoll and an eventfd, and passes what a transport says on to the world's
 * hooks.  It knows nothing of windows' contents, and it is no part of the library.
 */
#ifndef BATON_TESTS_CONFORM_HOST_LOOP_H
#define BATON_TESTS_CONFORM_HOST_LOOP_H

#include <stdbool.h>

#include "transport/transport.h"

enum {
    HOST_LOOP_TRANSPORTS_MAX = 2,
    HOST_LOOP_EVENTS_MAX = 32,
    HOST_LOOP_DRIVE_MS_MAX = 20000, /* a drive that takes longer is a failed test */
};

struct host_loop {
    struct transport_host host; /* give it to ops->create */
    int epoll_fd;
    int wake_fd;
    struct {
        const struct transport_ops *ops;
        struct transport *transport;
    } driven[HOST_LOOP_TRANSPORTS_MAX];
    unsigned driven_count;
    /* Descriptors that were unwatched while a batch of events is handled are skipped in it. */
    struct transport_fd *batch[HOST_LOOP_EVENTS_MAX];
    unsigned batch_count;

    /* Set by the world before a transport is made; all run on the thread that steps the loop. */
    void *arg;
    void (*on_window_done)(void *arg, struct transport_window *window);
    void (*on_read_request)(void *arg, uint32_t link, const struct transport_read *read);
    void (*on_serve_done)(void *arg, struct transport_serve *serve);

    unsigned links_broken; /* how often link_broken() was called */
    unsigned heard;        /* how often heard() was called */
    unsigned warnings;     /* log lines of level WARN or ERROR */
    char last_log[256];
};

/* False: epoll or eventfd could not be made.  The hooks are NULL afterwards. */
bool host_loop_init(struct host_loop *loop);
void host_loop_fini(struct host_loop *loop);

/* Call `transport`'s progress in every step from now on, or no more. */
void host_loop_drive(struct host_loop *loop, const struct transport_ops *ops,
                     struct transport *transport);
void host_loop_undrive(struct host_loop *loop, struct transport *transport);

/*
 * Wait for events up to `timeout_ms` (0: not at all), handle them, and call each transport's
 * progress once.  Returns true when there is more to do at once.
 */
bool host_loop_step(struct host_loop *loop, int timeout_ms);

/* Step until `condition(arg)` is true.  False: it did not become true in HOST_LOOP_DRIVE_MS_MAX. */
bool host_loop_until(struct host_loop *loop, bool (*condition)(void *arg), void *arg);

/* Step without waiting until nothing is to be done, at most `steps_max` times. */
void host_loop_settle(struct host_loop *loop, unsigned steps_max);

#endif
