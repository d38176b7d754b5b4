/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of util/prng.h. */
#include "test.h"
#include "util/prng.h"

enum {
    DRAWS = 100000,
};

/* One seed, one sequence; another seed, another one. */
TEST(prng_replays_its_seed)
{
    struct prng a, b, other;
    unsigned same = 0;

    prng_init(&a, 42);
    prng_init(&b, 42);
    prng_init(&other, 43);
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t word = prng_next(&a);

        CHECK(word == prng_next(&b));
        same += word == prng_next(&other);
    }
    CHECK(same == 0);
}

/* Seeds in use stay what they are: a saved seed must replay with a later version. */
TEST(prng_sequence_is_fixed)
{
    struct prng p;

    prng_init(&p, 0);
    CHECK(prng_next(&p) == UINT64_C(0x99ec5f36cb75f2b4));
    CHECK(prng_next(&p) == UINT64_C(0xbf6e1f784956452a));
    CHECK(prng_next(&p) == UINT64_C(0x1a5f849d4933e6e0));
}

/* Every number below n is drawn, about equally often, and none above. */
TEST(prng_below_is_uniform)
{
    unsigned seen[7] = {0};
    struct prng p;

    prng_init(&p, 1);
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t drawn = prng_below(&p, 7);

        if (!CHECK(drawn < 7)) {
            return;
        }
        seen[drawn]++;
    }
    for (unsigned i = 0; i < 7; i++) {
        CHECK(seen[i] > DRAWS / 7 * 95 / 100 && seen[i] < DRAWS / 7 * 105 / 100);
    }
}

/* The ends of the range of n. */
TEST(prng_below_one_and_below_everything)
{
    struct prng p;

    prng_init(&p, 2);
    for (unsigned i = 0; i < 100; i++) {
        CHECK(prng_below(&p, 1) == 0);
        CHECK(prng_below(&p, UINT64_MAX) < UINT64_MAX);
        CHECK(prng_below(&p, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
    }
}

/* 0 is never, 1 is always, a quarter is a quarter. */
TEST(prng_chance_keeps_its_odds)
{
    unsigned never = 0, always = 0, quarter = 0;
    struct prng p;

    prng_init(&p, 3);
    for (unsigned i = 0; i < DRAWS; i++) {
        never += prng_chance(&p, 0.0) + prng_chance(&p, -1.0);
        always += prng_chance(&p, 1.0);
        quarter += prng_chance(&p, 0.25);
    }
    CHECK(never == 0);
    CHECK(always == DRAWS);
    CHECK(quarter > DRAWS / 4 * 95 / 100 && quarter < DRAWS / 4 * 105 / 100);
}
