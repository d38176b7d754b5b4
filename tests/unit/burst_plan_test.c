/* SPDX-License-Identifier: Apache-2.0 */
/* tools/baton/burst/plan.c: what is planned can happen. */
#include "../../tools/baton/burst/plan.h"

#include <string.h>

#include "test.h"

enum { COUNT = 20000 };

static const uint64_t sizes[] = {512, 4096, 114688, 131072, 1540096, 16154624, UINT64_C(1) << 33};

/* Where decode or prefill waits for a trigger, prefill computes so far; and it stops before the
 * end. */
TEST(plan_triggers_are_reached)
{
    unsigned wrong = 0;

    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t bytes = sizes[i % (sizeof(sizes) / sizeof(sizes[0]))];
        struct request_plan plan = burst_plan(1, i, bytes, 300, 1.0);

        wrong += plan.trigger_bytes > bytes;
        if (plan.stop_bytes != BURST_NEVER) {
            wrong += plan.stop_bytes >= bytes || plan.trigger_bytes > plan.stop_bytes;
        }
        wrong += plan.callbacks && plan.by_caller;
    }
    CHECK(wrong == 0);
}

/* A request whose computation stops for good has something else that ends it. */
TEST(plan_that_stops_is_ended_by_something)
{
    unsigned stuck = 0;

    for (uint64_t i = 0; i < COUNT; i++) {
        struct request_plan plan = burst_plan(2, i, 1540096, 300, 0.5);
        bool clock = plan.prefill_whole_ms || plan.prefill_reader_ms || plan.decode_whole_ms ||
                     plan.decode_bytes_ms;
        bool deadline = plan.cause == BURST_PREFILL_DEADLINE || plan.cause == BURST_DECODE_DEADLINE;

        stuck += deadline != clock;
        stuck += plan.stop_bytes != BURST_NEVER && !burst_cause_ends(plan.cause);
        stuck += plan.fetch_when == FETCH_NEVER && !plan.prefill_reader_ms &&
                 plan.cause != BURST_GONE_BEFORE_PREFILL;
        stuck += plan.fetch_when == FETCH_AT_PARK && plan.stop_bytes == 0;
    }
    CHECK(stuck == 0);
}

/* The shares follow the rate, and every cause comes. */
TEST(plan_shares_follow_the_rate)
{
    unsigned ends = 0, of_cause[BURST_CAUSES] = {0};

    for (uint64_t i = 0; i < COUNT; i++) {
        struct request_plan plan = burst_plan(3, i, 1540096, 300, 0.5);
        ends += burst_cause_ends(plan.cause);
        of_cause[plan.cause]++;
    }
    CHECK(ends > COUNT * 0.48 && ends < COUNT * 0.52);
    CHECK(of_cause[BURST_GONE_READING] > COUNT * 0.12);
    for (unsigned i = 0; i < BURST_CAUSES; i++) {
        CHECK(of_cause[i] > COUNT / 100);
    }
}

/* Without cancels nobody interferes; and a plan depends on seed and number only. */
TEST(plan_is_repeatable)
{
    unsigned interfered = 0, different = 0;

    for (uint64_t i = 0; i < COUNT; i++) {
        struct request_plan none = burst_plan(4, i, 114688, 300, 0);
        struct request_plan one = burst_plan(4, i, 114688, 300, 0.5);
        struct request_plan two = burst_plan(4, i, 114688, 300, 0.5);
        interfered += none.cause != BURST_PLAIN || none.stop_bytes != BURST_NEVER;
        different += one.cause != two.cause || one.stop_bytes != two.stop_bytes ||
                     one.trigger_bytes != two.trigger_bytes;
    }
    CHECK(interfered == 0 && different == 0);
}
