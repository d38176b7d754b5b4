/* SPDX-License-Identifier: Apache-2.0 */
/* tools/baton/percentile.c. */
#include "../../tools/baton/percentile.h"

#include "test.h"

/* Without samples everything is 0. */
TEST(percentile_of_nothing_is_zero)
{
    struct samples samples = {0};

    CHECK(samples_percentile(&samples, 50) == 0);
    CHECK(samples_max(&samples) == 0);
    samples_fini(&samples);
}

/* One sample is every percentile, also when it is negative. */
TEST(percentile_of_one_sample)
{
    struct samples samples = {0};

    samples_add(&samples, -3);
    CHECK(samples_percentile(&samples, 0) == -3);
    CHECK(samples_percentile(&samples, 50) == -3);
    CHECK(samples_percentile(&samples, 100) == -3);
    CHECK(samples_max(&samples) == -3);
    samples_fini(&samples);
}

/* Nearest rank: of 1 to 1000 in any order, p50 is 500 and p99 is 990. */
TEST(percentile_is_the_nearest_rank)
{
    struct samples samples = {0};

    for (unsigned i = 0; i < 1000; i++) {
        samples_add(&samples, (double)(i * 619 % 1000 + 1));
    }
    CHECK(samples.count == 1000 && samples.lost == 0);
    CHECK(samples_percentile(&samples, 50) == 500);
    CHECK(samples_percentile(&samples, 99) == 990);
    CHECK(samples_percentile(&samples, 100) == 1000);
    CHECK(samples_max(&samples) == 1000);
    samples_fini(&samples);
}

/* Samples may come after a percentile was asked for. */
TEST(percentile_goes_on_after_a_question)
{
    struct samples samples = {0};

    samples_add(&samples, 5);
    samples_add(&samples, 1);
    CHECK(samples_percentile(&samples, 50) == 1);
    samples_add(&samples, 9);
    CHECK(samples_percentile(&samples, 50) == 5);
    samples_fini(&samples);
}

/* Past its limit the memory stays the same, the maximum stays exact, and the middle stays near. */
TEST(percentile_beyond_the_limit_is_a_fair_choice)
{
    struct samples samples = {0};
    const uint64_t count = (uint64_t)SAMPLES_MAX * 2;

    for (uint64_t i = 0; i < count; i++) {
        samples_add(&samples, (double)i);
    }
    double middle = samples_percentile(&samples, 50) / (double)count;
    CHECK(samples.count == SAMPLES_MAX && samples.seen == count);
    CHECK(samples_max(&samples) == (double)(count - 1));
    CHECK(middle > 0.48 && middle < 0.52);
    samples_fini(&samples);
}
