/* SPDX-License-Identifier: Apache-2.0 */
/* What posting costs, and what an engine costs that has nothing to do. */
#ifndef BATON_TOOLS_BENCH_POST_H
#define BATON_TOOLS_BENCH_POST_H

#include "bench/bench.h"

#include "baton.h"

/* Fills `*ret_post`, for bench_post_fini(); also on an error, as far as it came. */
baton_err post_measure(enum bench_transport transport, const struct bench_options *options,
                       struct bench_post *ret_post, struct baton_error *ret_error);

baton_err idle_measure(enum bench_transport transport, bool link_tcp,
                       const struct bench_options *options, struct bench_idle *ret_idle,
                       struct baton_error *ret_error);

#endif
