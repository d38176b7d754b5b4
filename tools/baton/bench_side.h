/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One process's side of a bench pair: an engine, a pool whose blocks are used in a random order,
 * the payload in them, and handoffs that are watched.
 */
#ifndef BATON_TOOLS_BENCH_SIDE_H
#define BATON_TOOLS_BENCH_SIDE_H

#include "bench.h"

#include "baton.h"

enum {
    BENCH_WAIT_MS_MAX = 60000, /* a peer or a handoff that needs longer is broken */
};

struct bench_side {
    struct bench_setup setup;
    bool source;
    baton_engine *engine;
    baton_pool *pool;
    unsigned char *wrapped; /* the source's memory for BENCH_PROCESS; else NULL */
    uint32_t *blocks;       /* the pool's blocks in the order of the payload */
};

/*
 * A handoff and what came of it.  The engine's thread writes; the side's own thread reads after it
 * has waited for the descriptor.  Reused for one handoff after the other.
 */
struct watched {
    int outcome_fd, quiet_fd; /* eventfds */
    int step_fd;              /* eventfd: the step that `step` and `step_bytes` name was made */
    baton_stage step;         /* NONE: none is waited for */
    uint64_t step_bytes;      /* and so many bytes landed */
    bool tell_outcome;        /* write outcome_fd: else the outcome comes with the receipt */
    baton_handoff *handoff;
    struct baton_result result;
    struct baton_receipt receipt;
    uint64_t outcome_ns;
};

baton_err side_init(struct bench_side *ret_side, const struct bench_setup *setup, bool source,
                    struct baton_error *ret_error);
/* BATON_EBUSY or BATON_ETIMEOUT: blocks never became quiet; the engine was abandoned. */
baton_err side_fini(struct bench_side *side, struct baton_error *ret_error);

/* Where block `index` of the payload lies. */
unsigned char *side_block(const struct bench_side *side, size_t index);

/* The order of the blocks of the one side or the other, known to both. */
void bench_permutation(const struct bench_setup *setup, bool source, uint32_t *ret_order);

/* Payload block `index`, and whether a block holds it. */
void payload_fill(const struct bench_setup *setup, size_t index, unsigned char *block);
bool payload_check(const struct bench_setup *setup, size_t index, const unsigned char *block);
void side_fill(const struct bench_side *side);
void side_wipe(const struct bench_side *side);
/* BATON_EINVAL names the first block that is wrong. */
baton_err side_verify(const struct bench_side *side, const char *whose,
                      struct baton_error *ret_error);

baton_err watched_init(struct watched *ret_watched, struct baton_error *ret_error);
void watched_fini(struct watched *watched);

/* Offer, or fetch into, payload blocks `first` to `first + count - 1`. */
baton_err watched_offer(struct bench_side *side, struct watched *watched, size_t first,
                        size_t count, void *ret_ticket, size_t *ret_ticket_length,
                        struct baton_error *ret_error);
baton_err watched_fetch(struct bench_side *side, struct watched *watched, size_t first,
                        size_t count, const void *ticket, size_t ticket_length,
                        struct baton_error *ret_error);

/* Wait for one of the descriptors of a watched handoff. */
baton_err watched_wait(int fd, const char *what, struct baton_error *ret_error);
/* Wait for the step, or for the end before it.  Both are BATON_OK. */
baton_err watched_wait_step(const struct watched *watched, struct baton_error *ret_error);

/* Use the receipt and drop the reference.  The handoff was waited for. */
baton_err watched_retire(struct watched *watched, struct baton_error *ret_error);

#endif
