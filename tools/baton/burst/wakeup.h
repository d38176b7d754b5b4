/* SPDX-License-Identifier: Apache-2.0 */
/* The bare wake-up: an eventfd round trip between two threads, what a cancel's time to quiet is
 * compared with.  Whatever makes threads late on this machine makes both late. */
#ifndef BATON_TOOLS_BURST_WAKEUP_H
#define BATON_TOOLS_BURST_WAKEUP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct wakeup {
    pthread_t thread;
    bool running;
    int ping_fd, pong_fd;
};

bool wakeup_start(struct wakeup *wakeup);
void wakeup_stop(struct wakeup *wakeup);

/* One round trip, in ns.  0: it took longer than a second. */
uint64_t wakeup_round_trip(struct wakeup *wakeup);

#endif
