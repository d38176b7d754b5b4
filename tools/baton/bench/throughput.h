/* SPDX-License-Identifier: Apache-2.0 */
/* How fast uncancelled handoffs are, next to what the same bytes cost without Baton. */
#ifndef BATON_TOOLS_BENCH_THROUGHPUT_H
#define BATON_TOOLS_BENCH_THROUGHPUT_H

#include "bench/bench.h"
#include "bench/sweep.h"

#include "baton.h"

/* One row, for bench_row_fini(); also on an error, as far as it came.  `choices` is for tcp. */
baton_err throughput_measure(const struct bench_setup *setup, unsigned runs,
                             const struct raw_choice *choices, struct bench_row *ret_row,
                             struct baton_error *ret_error);

#endif
