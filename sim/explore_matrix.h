/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The matrix of cancels: in every order in which frames and windows of one handoff can complete, a
 * cancel at every step, by the source, by the sink with each scope, or by both; and after it every
 * order again.  Each case is one whole run, counted and checked to its end.  Unlike explore_run()
 * nothing is left out because it was seen before.
 */
#ifndef BATON_SIM_EXPLORE_MATRIX_H
#define BATON_SIM_EXPLORE_MATRIX_H

#include "sim/explore.h"

enum explore_cancel {
    EXPLORE_CANCEL_SOURCE = 0,
    EXPLORE_CANCEL_SINK_ATTEMPT,
    EXPLORE_CANCEL_SINK_OFFER,
    EXPLORE_CANCEL_BOTH_ATTEMPT, /* the source, then the sink before anything else happens */
    EXPLORE_CANCEL_BOTH_OFFER,
    EXPLORE_CANCEL_ATTEMPT_BOTH, /* the sink, then the source */
    EXPLORE_CANCEL_OFFER_BOTH,
    EXPLORE_CANCEL_END_,
};

struct explore_matrix_options {
    bool small;         /* one block and one window, for tests; else two of each */
    bool stream, push;  /* neither: the sink reads the source's memory */
    uint64_t cases_max; /* 0: all */
    bool (*progress)(void *arg, uint64_t cases);
    void *arg;
};

struct explore_matrix_result {
    uint64_t cases, steps;
    uint64_t by_kind[EXPLORE_CANCEL_END_];
    uint64_t completed; /* cases in which the commit was first */
    uint32_t positions; /* the longest run before a cancel, in steps */
    bool exhausted;
    uint64_t violations;
    struct explore_violation first;
};

/* Returns 0 when it ran, whatever it found; -2: no memory. */
int explore_matrix(const struct explore_matrix_options *options,
                   struct explore_matrix_result *ret_result);
void explore_matrix_fini(struct explore_matrix_result *result);
const char *explore_cancel_name(enum explore_cancel kind);

#endif
