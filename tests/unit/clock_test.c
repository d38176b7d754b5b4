/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of util/clock.h. */
#include "test.h"
#include "util/clock.h"

/* Time never runs backwards, and it does run. */
TEST(clock_is_monotonic)
{
    uint64_t first = clock_now_ns(), before = first, now = first;

    while (now - first < 1000000) {
        now = clock_now_ns();
        if (!CHECK(now >= before)) {
            return;
        }
        before = now;
    }
}

/* Both units read one clock. */
TEST(clock_units_agree)
{
    uint64_t before = clock_now_ns() / 1000;
    uint64_t between = clock_now_us();
    uint64_t after = clock_now_ns() / 1000;

    CHECK(before <= between && between <= after);
}
