/* SPDX-License-Identifier: Apache-2.0 */
/* A handoff of a bench's side, from its call to its receipt. */
#ifndef BATON_TOOLS_BENCH_WATCHED_H
#define BATON_TOOLS_BENCH_WATCHED_H

#include "bench/side.h"

#include <stdatomic.h>

/*
 * A handoff and what came of it.  The engine's thread writes; the side's own thread reads after it
 * has waited for the descriptor.  Where the side drives its engine itself, the flags take the place
 * of the descriptors.  Reused for one handoff after the other.
 */
struct watched {
    int outcome_fd, quiet_fd; /* eventfds */
    int step_fd;              /* eventfd: the step that `step` names was made */
    baton_stage step;         /* NONE: none is waited for */
    bool tell_outcome;        /* write outcome_fd: else the outcome comes with the receipt */
    bool polled;
    atomic_bool stepped, decided, quiet;
    baton_handoff *handoff;
    struct baton_result result;
    struct baton_receipt receipt;
    uint64_t start_ns, call_ns; /* of the call: when, and how long it took */
    uint64_t call_cpu_ns;       /* on the CPU; not where the side drives its engine */
    uint64_t step_ns, outcome_ns;
};

baton_err watched_init(struct watched *ret_watched, struct baton_error *ret_error);
void watched_fini(struct watched *watched);

/* Offer, or fetch into, payload blocks `first` to `first + count - 1`. */
baton_err watched_offer(struct bench_side *side, struct watched *watched, size_t first,
                        size_t count, void *ret_ticket, size_t *ret_ticket_length,
                        struct baton_error *ret_error);
baton_err watched_fetch(struct bench_side *side, struct watched *watched, size_t first,
                        size_t count, const void *ticket, size_t ticket_length,
                        struct baton_error *ret_error);

/* Say that all bytes of an offer are there: for setup.held. */
void watched_advance(const struct watched *watched);

/* Before the handoff is started: the step that watched_wait_step() will wait for. */
void watched_expect(struct watched *watched, baton_stage step);
/* Wait for a notice of a watched handoff; `what` is for the message. */
baton_err watched_wait_outcome(struct bench_side *side, struct watched *watched, const char *what,
                               struct baton_error *ret_error);
baton_err watched_wait_quiet(struct bench_side *side, struct watched *watched, const char *what,
                             struct baton_error *ret_error);
/* Wait for the step, or for the end before it.  Both are BATON_OK. */
baton_err watched_wait_step(struct bench_side *side, struct watched *watched,
                            struct baton_error *ret_error);

/* Wait until an eventfd was written. */
baton_err watched_wait_fd(int fd, const char *what, struct baton_error *ret_error);

/* Use the receipt and drop the reference.  The handoff was waited for. */
baton_err watched_retire(struct watched *watched, struct baton_error *ret_error);

/* BATON_EINVAL unless it completed, as a handoff that nobody cancelled must. */
baton_err watched_completed(const struct watched *watched, struct baton_error *ret_error);

/* For the engine's on_trace, where setup.trace wants it. */
void watched_trace(void *arg, const struct baton_trace *trace);

#endif
