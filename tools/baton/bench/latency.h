/* SPDX-License-Identifier: Apache-2.0 */
/* How long one block of 16 KiB takes, on the machine as it is and on a busy one. */
#ifndef BATON_TOOLS_BENCH_LATENCY_H
#define BATON_TOOLS_BENCH_LATENCY_H

#include "bench/bench.h"

#include "baton.h"

/* Fills `*ret_latency`, for bench_latency_fini(); also on an error, as far as it came. */
baton_err latency_measure(enum bench_transport transport, bool link_tcp,
                          const struct bench_options *options, struct bench_latency *ret_latency,
                          struct baton_error *ret_error);

#endif
