/* SPDX-License-Identifier: Apache-2.0 */
/* Samples in a growing array, later a reservoir: see percentile.h. */
#include "percentile.h"

#include <stdlib.h>

enum { SAMPLES_FIRST_ROOM = 256 };

static bool grow(struct samples *samples)
{
    size_t room = samples->room ? samples->room * 2 : SAMPLES_FIRST_ROOM;
    double *values = realloc(samples->values, room * sizeof(*values));

    if (!values) {
        return false;
    }
    samples->values = values;
    samples->room = room;
    return true;
}

/* A multiplicative congruential step is random enough to choose which samples stay. */
static uint64_t next_random(struct samples *samples)
{
    samples->random = samples->random * 6364136223846793005u + 1442695040888963407u;
    return samples->random >> 16;
}

void samples_add(struct samples *samples, double value)
{
    if (!samples->seen || value > samples->max) {
        samples->max = value;
    }
    samples->seen++;
    if (samples->count < SAMPLES_MAX) {
        if (samples->count == samples->room && !grow(samples)) {
            samples->lost++;
            return;
        }
        samples->values[samples->count++] = value;
        return;
    }
    uint64_t place = next_random(samples) % samples->seen;
    if (place < SAMPLES_MAX) {
        samples->values[place] = value;
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double samples_percentile(struct samples *samples, double percent)
{
    if (!samples->count) {
        return 0;
    }
    qsort(samples->values, samples->count, sizeof(*samples->values), by_value);
    double rank = percent / 100.0 * (double)samples->count;
    size_t index = (size_t)rank;

    if ((double)index == rank && index > 0) {
        index--;
    }
    return samples->values[index < samples->count ? index : samples->count - 1];
}

double samples_max(const struct samples *samples)
{
    return samples->seen ? samples->max : 0;
}

void samples_fini(struct samples *samples)
{
    free(samples->values);
    *samples = (struct samples){0};
}
