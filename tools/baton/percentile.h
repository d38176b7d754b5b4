/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Samples and their percentiles, exact up to SAMPLES_MAX of them; beyond that a uniform choice of
 * those seen stands for all, and only the maximum stays exact.
 */
#ifndef BATON_TOOLS_PERCENTILE_H
#define BATON_TOOLS_PERCENTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SAMPLES_MAX = 1 << 20 };

/* All zero is an empty collection.  Not for use by two threads at once. */
struct samples {
    double *values;
    size_t count, room;
    uint64_t seen; /* added, kept or not */
    uint64_t lost; /* not kept for want of memory */
    double max;
    uint64_t random;
};

void samples_add(struct samples *samples, double value);

/* The smallest value that at least `percent` % of the samples do not exceed; 0 when there is none.
 * Sorts the samples. */
double samples_percentile(struct samples *samples, double percent);

/* Exact, also beyond SAMPLES_MAX; 0 when there is none. */
double samples_max(const struct samples *samples);

void samples_fini(struct samples *samples);

#endif
