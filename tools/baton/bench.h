/* SPDX-License-Identifier: Apache-2.0 */
/* What `baton bench` measures: its options, one configuration of two processes, and results. */
#ifndef BATON_TOOLS_BENCH_H
#define BATON_TOOLS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "percentile.h"

enum {
    BENCH_SIZES_MAX = 8,     /* block sizes of one call */
    BENCH_HANDOFFS_MAX = 64, /* at once: each has three descriptors */
    BENCH_RUNS_MAX = 1000,
};

enum bench_transport {
    BENCH_SHM = 0,
    BENCH_TCP,
    BENCH_PROCESS, /* shm's way for memory that can not be mapped: process_vm_readv */
    BENCH_TRANSPORTS,
};

extern const char *const bench_transport_names[BENCH_TRANSPORTS + 1]; /* closed by NULL */

struct bench_options {
    bool wanted[BENCH_TRANSPORTS];
    bool all; /* none was named: one that does not work here is left out, not an error */
    size_t block_bytes[BENCH_SIZES_MAX];
    unsigned sizes;
    uint64_t bytes; /* of one run, all handoffs together */
    unsigned handoffs;
    unsigned runs;
    unsigned movers;
    const char *json_path; /* borrowed from argv; NULL for none */
    int channel;           /* the hidden role: the descriptor to the parent; -1 in the parent */
};

/* Returns an exit code (with its message printed), or -1 to go on with `*ret_options`. */
int bench_options_read(int argc, char **argv, struct bench_options *ret_options);

/* What both processes of a pair agree on. */
struct bench_setup {
    enum bench_transport transport;
    bool child_reads; /* the child fetches; else the parent does */
    bool trace;       /* the parent waits for steps of a handoff */
    unsigned handoffs;
    unsigned movers;
    size_t block_bytes;
    size_t blocks; /* a multiple of `handoffs` */
    uint64_t seed; /* of the two permutations and of the payload */
};

/* One line of the throughput table. */
struct bench_row {
    enum bench_transport transport;
    size_t block_bytes;
    unsigned handoffs;
    struct samples ours, baseline;    /* GB/s; a GB is 10^9 bytes */
    struct samples paired;            /* ours / baseline, run by run */
    struct samples cpu, baseline_cpu; /* seconds a GiB, both processes together */
};

/* Times of one transport, in microseconds. */
struct bench_times {
    enum bench_transport transport;
    struct samples fetch;                    /* 16 KiB over an existing link */
    struct samples cancel, cancel_stopped;   /* of a fetch: call to receipt */
    struct samples reclaim, reclaim_stopped; /* of an offer: call to receipt */
    struct samples bare_wakeup;              /* eventfd round trip between two threads */
};

void bench_row_fini(struct bench_row *row);
void bench_times_fini(struct bench_times *times);

#endif
