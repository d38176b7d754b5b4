/* SPDX-License-Identifier: Apache-2.0 */
/* The burst's driver: starts the prefill and the decode process, issues requests, carries tickets
 * from one to the other, and keeps the books. */
#ifndef BATON_TOOLS_BURST_DRIVER_H
#define BATON_TOOLS_BURST_DRIVER_H

#include "burst/account.h"
#include "burst/config.h"
#include "burst/load.h"

/* Where the run stands, once a second. */
struct burst_progress {
    double seconds;
    uint64_t in_flight, waiting;
    const struct account *account;
};

/*
 * Run a burst, its probes, and the last look at the pools.  `on_progress` may be NULL.
 *
 * Returns EXIT_OK when it ran to its end, whatever the checks say of it; EXIT_CHECK when a process
 * was lost or nothing moved any more; EXIT_ENVIRONMENT when it could not be started.
 */
int burst_drive(const struct burst_config *config, const struct load *load,
                void (*on_progress)(const struct burst_progress *progress),
                struct account *ret_account);

/* How many blocks a request of `tokens` tokens has. */
uint64_t burst_blocks(const struct burst_config *config, uint64_t tokens);

#endif
