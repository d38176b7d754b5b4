/* SPDX-License-Identifier: Apache-2.0 */
/* What `baton bench` measures: its options, one configuration of two processes, and results. */
#ifndef BATON_TOOLS_BENCH_H
#define BATON_TOOLS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lanes.h"
#include "percentile.h"

enum {
    BENCH_LIST_MAX = 9,         /* values of one option */
    BENCH_HANDOFFS_MAX = 256,   /* at once: each has three descriptors */
    BENCH_CANCELS_A_FLIGHT = 8, /* handoffs beyond the wanted ones, to be cancelled one by one */
    BENCH_WATCHED_MAX = BENCH_HANDOFFS_MAX + BENCH_CANCELS_A_FLIGHT,
    BENCH_RUNS_MAX = 1000,
};

enum bench_transport {
    BENCH_SHM = 0,
    BENCH_TCP,
    BENCH_PROCESS, /* shm's way for memory that can not be mapped: process_vm_readv */
    BENCH_NIXL,
    BENCH_TRANSPORTS,
};

extern const char *const bench_transport_names[BENCH_TRANSPORTS + 1]; /* closed by NULL */

enum bench_section {
    BENCH_THROUGHPUT = 0,
    BENCH_POST,
    BENCH_LATENCY,
    BENCH_CANCEL,
    BENCH_IDLE,
    BENCH_SECTIONS,
};

struct bench_options {
    bool wanted[BENCH_TRANSPORTS];
    bool all; /* none was named: one that does not work here is left out, not an error */
    bool push;
    unsigned host;           /* baton_host; nixl */
    char lanes[LANES_BYTES]; /* nixl; empty: what the environment says */
    bool sections[BENCH_SECTIONS];
    uint64_t block_bytes[BENCH_LIST_MAX];
    unsigned sizes;
    uint64_t handoffs[BENCH_LIST_MAX];
    unsigned handoffs_count;
    uint64_t movers[BENCH_LIST_MAX]; /* the first one's for all but the throughput */
    unsigned movers_count;
    uint64_t bytes;       /* of one run, all handoffs together */
    uint64_t slice_bytes; /* of the throughput; 0: the engine's default */
    unsigned cancel_handoffs;
    unsigned runs;
    const char *json_path; /* borrowed from argv; NULL for none */
    int channel;           /* the hidden role: the descriptor to the parent; -1 in the parent */
};

/* Returns an exit code (with its message printed), or -1 to go on with `*ret_options`. */
int bench_options_read(int argc, char **argv, struct bench_options *ret_options);

/* Blocks of each of so many handoffs that share `bytes`: at least one, at most what one may have.
 */
size_t bench_blocks_each(uint64_t bytes, size_t block_bytes, unsigned handoffs);

/* As many as were asked for, or what the transport needs. */
unsigned bench_movers(enum bench_transport transport, uint64_t wanted);

/* What both processes of a pair agree on. */
struct bench_setup {
    enum bench_transport transport;
    bool push;        /* fetches are pushes */
    unsigned host;    /* baton_host; nixl */
    bool link_tcp;    /* the control link too is TCP, as between two hosts */
    bool child_reads; /* the child fetches; else the parent does */
    bool trace;       /* the parent waits for steps of a handoff */
    bool held;        /* offers are made before a byte is there: see PEER_ADVANCE */
    bool polled;      /* the callers drive the engines and never sleep; the child's has a core */
    unsigned handoffs;
    unsigned movers;      /* 0: none, the driving thread copies */
    uint32_t slice_bytes; /* 0: the engine's default */
    size_t block_bytes;
    size_t blocks; /* a multiple of `handoffs` */
    uint64_t seed; /* of the two permutations and of the payload */
};

/* What the same bytes cost without Baton. */
enum bench_baseline {
    BENCH_MEMCPY = 0,
    BENCH_MEMCPY_THREADS, /* as many threads as there are movers */
    BENCH_CONTIGUOUS,     /* one memcpy of everything */
    BENCH_RAW_POLLED,
    BENCH_RAW_BLOCKING,
    BENCH_READV, /* process_vm_readv */
    BENCH_RAW_NIXL,
    BENCH_RAW_NIXL_PREPARING, /* the same, lists of blocks made in the time that is measured */
    BENCH_BASELINES,
};

/* The one that a row is judged by. */
enum bench_baseline bench_baseline_judge(enum bench_transport transport, unsigned movers);

struct bench_rate {
    struct samples gb_per_s; /* a GB is 10^9 bytes */
    struct samples cpu;      /* seconds a GiB, both processes together */
    struct samples ratio;    /* Baton's rate / this, run by run; none for Baton's own */
};

/* One line of the throughput table. */
struct bench_row {
    enum bench_transport transport;
    bool push;
    size_t block_bytes;
    uint64_t bytes;
    unsigned handoffs, movers;
    struct bench_rate ours;
    struct bench_rate baselines[BENCH_BASELINES]; /* without samples: not measured here */
    struct samples post; /* CPU time of both calls of a handoff, ns a block */
};

/* What posting a large handoff costs, in ns a block. */
struct bench_post {
    enum bench_transport transport;
    size_t blocks;
    struct samples offer, fetch; /* the calls */
    struct samples opened;       /* from the call of fetch until the first window may start, without
                                    what a handoff of one block takes */
};

enum { BENCH_IDLE_MACHINE = 0, BENCH_BUSY_MACHINE, BENCH_MACHINES };

/* Times of one block of 16 KiB, in microseconds. */
struct bench_latency {
    enum bench_transport transport;
    bool link_tcp;
    struct samples polled[BENCH_MACHINES];    /* the callers drive the engines */
    struct samples threads[BENCH_MACHINES];   /* Baton's own threads do */
    struct samples raw_block[BENCH_MACHINES]; /* 48 bytes there, 64 and the block back */
    struct samples raw_small[BENCH_MACHINES]; /* 64 bytes there, 64 back */
};

/* Microseconds from a cancel to its receipt, while others are in flight. */
struct bench_cancel {
    struct samples us, bare; /* in turns with an eventfd round trip of two threads */
    struct samples ratio;    /* of the two medians of a run */
};

struct bench_cancels {
    enum bench_transport transport;
    unsigned handoffs; /* in flight, at least, at each cancel */
    /* [source][stopped]: of a fetch or, at the source, of an offer; the peer lives or stands. */
    struct bench_cancel of[2][2];
};

/* An engine pair with a link and nothing to do. */
struct bench_idle {
    enum bench_transport transport;
    bool link_tcp;
    double cores; /* of the busier one of the two processes */
};

void bench_row_fini(struct bench_row *row);
void bench_post_fini(struct bench_post *post);
void bench_latency_fini(struct bench_latency *latency);
void bench_cancels_fini(struct bench_cancels *cancels);

#endif
