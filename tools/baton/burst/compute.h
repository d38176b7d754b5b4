/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The burst's prefill computation: one thread that writes the payloads of several requests in turn,
 * chunk by chunk, and moves their watermarks.  It stops where a request's plan says so.
 *
 * A request's blocks must not be given back before the thread has left them: compute_leave().
 */
#ifndef BATON_TOOLS_BURST_COMPUTE_H
#define BATON_TOOLS_BURST_COMPUTE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "burst/role.h"

enum { COMPUTE_TURNS = 4 }; /* requests that are written in turn, and one more that is urgent */

/* Who had a block last, for those that a revoked reader may still be copying. */
struct block_owner {
    uint64_t request_id;
    bool revoked;
};

struct compute {
    struct role *role;
    struct block_owner
        *owners; /* by block.  The main thread writes it while nobody computes there */
    pthread_t thread;
    bool running;

    pthread_mutex_t
        lock; /* protects what follows, and `compute`, `compute_stop`, `urgent` of records */
    pthread_cond_t work;
    struct record *queue, **queue_end;
    bool closing;

    struct record *turns[COMPUTE_TURNS + 1]; /* the thread's own */
    unsigned turn;
};

bool compute_start(struct compute *compute, struct role *role);
void compute_stop(struct compute *compute);

/* Compute the record; `urgent`: before all others, because its blocks were just taken
 * from a reader that may still be copying them. */
void compute_submit(struct compute *compute, struct record *record, bool urgent);

/* Write no more to the record's blocks.  True: nothing is written any more; false: LETTER_LEFT or
 * LETTER_PARKED will come, after the chunk that is being written. */
bool compute_leave(struct compute *compute, struct record *record);

#endif
