/* SPDX-License-Identifier: Apache-2.0 */
/* A bare wake-up round trip: see burst_wakeup.h. */
#include "burst/wakeup.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "burst/role.h"

enum { WAKEUP_WAIT_MS = 1000, WAKEUP_STOP = 2 };

static bool ring(int fd, uint64_t value)
{
    return write(fd, &value, sizeof(value)) == sizeof(value);
}

/* Waits as an engine's and a caller's thread do: in poll(), then a read. */
static uint64_t answer(int fd, int timeout_ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    uint64_t value = 0;

    if (poll(&wait, 1, timeout_ms) != 1 || read(fd, &value, sizeof(value)) != sizeof(value)) {
        return 0;
    }
    return value;
}

static void *echo_thread(void *arg)
{
    struct wakeup *wakeup = arg;

    for (;;) {
        uint64_t value = answer(wakeup->ping_fd, -1);
        if (value >= WAKEUP_STOP) {
            return NULL;
        }
        if (value) {
            ring(wakeup->pong_fd, value);
        }
    }
}

bool wakeup_start(struct wakeup *wakeup)
{
    *wakeup =
        (struct wakeup){.ping_fd = eventfd(0, EFD_CLOEXEC), .pong_fd = eventfd(0, EFD_CLOEXEC)};
    wakeup->running = wakeup->ping_fd >= 0 && wakeup->pong_fd >= 0 &&
                      !pthread_create(&wakeup->thread, NULL, echo_thread, wakeup);
    return wakeup->running;
}

void wakeup_stop(struct wakeup *wakeup)
{
    if (wakeup->running && ring(wakeup->ping_fd, WAKEUP_STOP)) {
        pthread_join(wakeup->thread, NULL);
    }
    wakeup->running = false;
    close(wakeup->ping_fd);
    close(wakeup->pong_fd);
}

uint64_t wakeup_round_trip(struct wakeup *wakeup)
{
    uint64_t start = role_now_ns();

    if (!ring(wakeup->ping_fd, 1) || !answer(wakeup->pong_fd, WAKEUP_WAIT_MS)) {
        return 0;
    }
    return role_now_ns() - start;
}
