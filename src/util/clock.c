/* SPDX-License-Identifier: Apache-2.0 */
/* The monotonic clock of clock.h. */
#include "util/clock.h"

#include "util/assert.h"

#include <time.h>

uint64_t clock_now_ns(void)
{
    struct timespec now;

    /* It fails for an unknown clock or a bad address only. */
    BATON_ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_now_us(void)
{
    return clock_now_ns() / 1000;
}
