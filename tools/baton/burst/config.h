/* SPDX-License-Identifier: Apache-2.0 */
/* What one burst is to be: from the command line, the same for the driver and its two processes. */
#ifndef BATON_TOOLS_BURST_CONFIG_H
#define BATON_TOOLS_BURST_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "lanes.h"

enum {
    BURST_CONCURRENCY_MAX = 4096,
    BURST_PROBES = 20,
    BURST_PROBES_MS = 1000,         /* they must all be complete by then */
    BURST_POOL_REQUESTS_MAX = 128,  /* default pools hold at most so many mean requests */
    BURST_WINDOW_BYTES = 256 << 10, /* small, so that a fetch has several */
    BURST_STUCK_MS = 30000,         /* no request ended for so long: something hangs */
    /* A fetch that goes on for so long after its offer's end was not told. */
    BURST_UNTOLD_MS = 3000,
    BURST_UNTOLD_SABOTAGED_MS = 300, /* where that is the rule, more requests get their turn */
    BURST_STATS_PATH_BYTES = 90,
    BURST_FAULTS = 2, /* evenly over the burst */
    /* What is in quarantine has this long to come out, after the last request. */
    BURST_PROOF_MS = 25000,   /* a self-test of fences can take 20 s */
    BURST_UNPROVEN_MS = 1000, /* where no proof exists */
};

/* Bugs that are switched on in test builds.  The first ones are the library's, the others our own.
 */
enum burst_sabotage {
    BURST_SABOTAGE_NONE = 0,
    BURST_SABOTAGE_EARLY_RETIRE,
    BURST_SABOTAGE_SKIP_LEASE,
    BURST_SABOTAGE_LATE_MOVER,
    BURST_SABOTAGE_DOUBLE_OUTCOME,
    BURST_SABOTAGE_LEAK,
    BURST_SABOTAGE_WRONG_RECEIPT,
};

/* What happens to one of the two processes in mid burst. */
enum burst_fault {
    BURST_FAULT_NONE = 0,
    BURST_FAULT_STOP, /* SIGSTOP, and later SIGCONT */
    BURST_FAULT_KILL, /* SIGKILL, and a new process of its role */
};

enum burst_transport {
    BURST_SHM = 0,
    BURST_TCP,
    BURST_NIXL,
    BURST_TRANSPORTS,
};

extern const char *const burst_transport_names[BURST_TRANSPORTS + 1]; /* closed by NULL */

struct burst_config {
    uint64_t seed;
    uint32_t concurrency;
    uint64_t duration_ms; /* 0: until `requests` */
    uint64_t requests;    /* 0: until `duration_ms` */
    double cancel_rate;
    double speed; /* of a trace's time; 0: as fast as the concurrency allows */
    uint32_t kv_bytes_per_token;
    uint32_t block_tokens;
    uint64_t block_bytes;
    uint64_t pool_blocks;    /* of each of the two pools */
    unsigned transport;      /* enum burst_transport */
    unsigned host;           /* baton_host; nixl */
    unsigned on_doubt;       /* baton_on_doubt */
    char lanes[LANES_BYTES]; /* nixl; empty: what the environment says */
    bool push;               /* fetches are pushes; else pulls */
    bool link_tcp;
    bool verbose;
    int movers;        /* -1: the engine's default */
    unsigned fault;    /* enum burst_fault */
    bool fault_decode; /* it hits decode; else prefill */
    enum burst_sabotage sabotage;
    char stats_path[BURST_STATS_PATH_BYTES]; /* empty: none; ".prefill" and ".decode" are added */
};

#endif
