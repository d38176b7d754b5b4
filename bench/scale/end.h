/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two processes of bench/scale.  The child is a source of one engine; the parent has one sink
 * engine or many.  Both drive their engines themselves, on one thread each.  A round moves a number
 * of handoffs, so many at once, always the same blocks; tickets travel through shared memory, so
 * that they cost next to nothing.  What goes wrong ends the program, with a message and status 1.
 */
#ifndef BATON_BENCH_SCALE_END_H
#define BATON_BENCH_SCALE_END_H

#include <stdbool.h>
#include <stdint.h>

#include "baton.h"

enum {
    ENGINE_SPARE = 64, /* a record is free again a moment after its receipt */
};

struct setup {
    const char *transport; /* "shm", "tcp" */
    int movers;            /* as the engine's option */
    unsigned sinks;        /* engines */
    uint32_t handoffs;     /* most of a round */
    uint32_t block_bytes;
    uint32_t blocks; /* of one handoff */
    baton_trace_fn on_trace;
};

/* What a process has used, so far or now. */
struct usage {
    double cpu_s;
    double heap_bytes; /* allocated and not freed */
};

struct pair;

void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
double now_s(void);
struct usage usage_now(void);
/* BATON_OK, or the end of the program. */
void must(baton_err err, const char *what, const struct baton_error *error);
/* How engines are made here: driven by the caller, with room for so many handoffs and links. */
baton_engine *engine_make(const struct setup *setup, uint32_t handoffs, unsigned links);
void engine_end(baton_engine *engine);
/* A pool with all its blocks held; `ret_blocks` has room for them, and gets them shuffled. */
baton_pool *pool_make(baton_engine *engine, uint32_t block_bytes, uint32_t blocks, uint64_t seed,
                      uint32_t *ret_blocks);

struct pair *pair_make(const struct setup *setup);
void pair_end(struct pair *pair);

/* What a round has cost. */
struct cost {
    double wall_s;
    double source_cpu_s, sink_cpu_s;
};

/* Every handoff completes, and the ends of each of its blocks are checked, or the program ends. */
void pair_round(struct pair *pair, uint32_t handoffs, uint32_t at_once, struct cost *ret_cost);
/* What both processes allocate for so many handoffs that are accepted and wait for their bytes, and
 * then complete. */
void pair_hold(struct pair *pair, uint32_t handoffs, double *ret_source_bytes,
               double *ret_sink_bytes);
/* What both have used so far. */
void pair_look(struct pair *pair, struct usage *ret_source, struct usage *ret_sink);
/* Both processes wait for so long for something to do. */
void pair_idle(struct pair *pair, double seconds, struct cost *ret_cost);

#endif
