/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Movers: the queue of windows that wait to be copied, the threads that copy them, and the list of
 * those that are done.  Movers decide nothing; they never call into the engine but for `wake`.
 *
 * All functions are for the one thread that drives the transport.  With no threads at all the
 * driving thread copies, a slice at a time, in movers_step().
 */
#ifndef BATON_TRANSPORT_MOVERS_H
#define BATON_TRANSPORT_MOVERS_H

#include <stdbool.h>
#include <stdint.h>

#include "transport/transport.h"

struct movers;

/* Windows, oldest first, linked through their `next`. */
struct window_list {
    struct transport_window *first, *last;
};

struct movers_options {
    unsigned count;       /* threads, at most BATON_MOVERS_MAX */
    uint32_t slice_bytes; /* > 0 */
    unsigned spin_rounds; /* how often an idle mover looks for a window before it sleeps */
    void (*wake)(void *arg);
    void *wake_arg;
};

void window_list_push(struct window_list *list, struct transport_window *window);
/* NULL: it is empty. */
struct transport_window *window_list_pop(struct window_list *list);

/* Errors: BATON_ENOMEM, BATON_ESYSTEM; nothing was left behind. */
baton_err movers_create(const struct movers_options *options, struct movers **ret_movers,
                        struct baton_error *ret_error);
/* Ends the threads.  No window is queued, under way or done.  NULL is allowed. */
void movers_destroy(struct movers *movers);

/* Queue a window whose cursor is set. */
void movers_post(struct movers *movers, struct transport_window *window);

/*
 * Stop the windows of `link`, or those of one fetch when `fetch_id` is not NULL.  Those that no
 * mover is copying are put at the end of `list`: queued ones as aborted, done ones as they are.
 * Those under way end after at most one slice.
 */
void movers_stop(struct movers *movers, const struct transport_link *link, const uint64_t *fetch_id,
                 struct window_list *list);

/* Put the windows that are done at the end of `list`. */
void movers_collect(struct movers *movers, struct window_list *list);

/*
 * Without threads: copy one slice, of the oldest windows.  A window of another process fails, since
 * its memory may block the caller.  True: more is queued.
 */
bool movers_step(struct movers *movers);

#endif
