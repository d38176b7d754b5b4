/* SPDX-License-Identifier: Apache-2.0 */
/* baton sim --explore: runs the explorer of sim/explore.h, shows how far it is, prints what it
 * found. */
#ifndef BATON_TOOLS_SIM_EXPLORE_H
#define BATON_TOOLS_SIM_EXPLORE_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct sim_explore {
    const char *world; /* NULL: do not explore */
    uint64_t memory_bytes;
    bool quiet;
    const volatile sig_atomic_t *interrupted; /* set by a signal: explore no further */
};

void sim_explore_print_worlds(FILE *file);
/* Returns an exit code. */
int sim_explore_run(const struct sim_explore *explore);

#endif
