/* SPDX-License-Identifier: Apache-2.0 */
/* What moving the same blocks costs without Baton.  One kind for each transport. */
#ifndef BATON_TOOLS_BENCH_BASELINE_H
#define BATON_TOOLS_BENCH_BASELINE_H

#include "bench_pair.h"

struct baseline {
    unsigned char *memory; /* shm: a source of the same kind, filled with the payload */
    uint32_t *order;       /* the source's blocks in the order of the payload */
    int raw_fd;            /* tcp: this side's end of the connection; -1 otherwise */
};

/* `pair` is started, and the parent reads.  BATON_ESYSTEM: this machine does not allow it. */
baton_err baseline_init(struct baseline *ret_baseline, struct pair *pair,
                        struct baton_error *ret_error);
void baseline_fini(struct baseline *baseline, const struct pair *pair);

/* Move the whole payload once into the parent's blocks. */
baton_err baseline_move(struct baseline *baseline, struct pair *pair, double *ret_seconds,
                        struct baton_error *ret_error);

#endif
