/* SPDX-License-Identifier: Apache-2.0 */
/* How long single things take: a small fetch, and cancels up to their receipts. */
#ifndef BATON_TOOLS_BENCH_LATENCY_H
#define BATON_TOOLS_BENCH_LATENCY_H

#include "bench.h"

#include "baton.h"

/* Fills `*ret_times`, for bench_times_fini(); also on an error, as far as it came. */
baton_err latency_measure(enum bench_transport transport, const struct bench_options *options,
                          struct bench_times *ret_times, struct baton_error *ret_error);

#endif
