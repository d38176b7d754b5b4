/* SPDX-License-Identifier: Apache-2.0 */
/* What moving the same blocks costs without Baton: see enum bench_baseline. */
#ifndef BATON_TOOLS_BENCH_BASELINE_H
#define BATON_TOOLS_BENCH_BASELINE_H

#include "bench/pair.h"
#include "bench/sweep.h"

struct baseline {
    unsigned char *memory; /* of the source's kind, filled with the payload */
    uint32_t *order;       /* the source's blocks in the order of the payload */
};

/* `pair` is started, and the parent reads.  BATON_ESYSTEM: this machine does not allow it. */
baton_err baseline_init(struct baseline *ret_baseline, struct pair *pair,
                        const struct raw_choice *choice, struct baton_error *ret_error);
void baseline_fini(struct baseline *baseline, const struct pair *pair);

/* Whether `kind` is measured for such a pair. */
bool baseline_applies(enum bench_baseline kind, const struct bench_setup *setup);

/* Move the whole payload once into the parent's blocks. */
baton_err baseline_move(struct baseline *baseline, enum bench_baseline kind, struct pair *pair,
                        double *ret_seconds, struct baton_error *ret_error);

/* After a move into wiped blocks: BATON_EINVAL names what is wrong in them. */
baton_err baseline_verify(const struct baseline *baseline, enum bench_baseline kind,
                          const struct pair *pair, struct baton_error *ret_error);

#endif
