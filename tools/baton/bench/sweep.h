/* SPDX-License-Identifier: Apache-2.0 */
/* Which raw TCP configuration is the fastest on this machine, now. */
#ifndef BATON_TOOLS_BENCH_SWEEP_H
#define BATON_TOOLS_BENCH_SWEEP_H

#include "bench/pair.h"

struct raw_choice {
    struct raw_config config;
    double gb_per_s; /* in the sweep */
};

/* The best that polls and the best that blocks: at RAW_POLLED and RAW_BLOCKING. */
baton_err sweep(const struct bench_options *options, struct raw_choice ret_choices[RAW_PLACES],
                struct baton_error *ret_error);

#endif
