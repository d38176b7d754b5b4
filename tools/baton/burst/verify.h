/* SPDX-License-Identifier: Apache-2.0 */
/* The decode process's checking thread: compares every byte of a completed request with what its
 * label says, and answers with LETTER_VERIFIED. */
#ifndef BATON_TOOLS_BURST_VERIFY_H
#define BATON_TOOLS_BURST_VERIFY_H

#include <pthread.h>
#include <stdbool.h>

#include "burst/role.h"

struct verify {
    struct role *role;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* protects what follows */
    pthread_cond_t work;
    struct record *queue, **queue_end;
    bool closing;
};

bool verify_start(struct verify *verify, struct role *role);
void verify_stop(struct verify *verify);

/* Check the record's blocks, which its owner leaves alone until the letter. */
void verify_submit(struct verify *verify, struct record *record);

#endif
