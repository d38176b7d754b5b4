/* SPDX-License-Identifier: Apache-2.0 */
/* How long a cancel takes to its receipt, at either end, while others are in flight. */
#ifndef BATON_TOOLS_BENCH_CANCEL_H
#define BATON_TOOLS_BENCH_CANCEL_H

#include "bench/bench.h"

#include "baton.h"

/* Fills `*ret_cancels`, for bench_cancels_fini(); also on an error, as far as it came. */
baton_err cancels_measure(enum bench_transport transport, const struct bench_options *options,
                          struct bench_cancels *ret_cancels, struct baton_error *ret_error);

#endif
