/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One process's side of a bench pair: an engine, a pool whose blocks are used in a random order,
 * and the payload in them.
 */
#ifndef BATON_TOOLS_BENCH_SIDE_H
#define BATON_TOOLS_BENCH_SIDE_H

#include "bench/bench.h"

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

#endif
