/* SPDX-License-Identifier: Apache-2.0 */
/* The machine that is measured on: its cores, work that keeps them busy, and what it is. */
#ifndef BATON_TOOLS_BENCH_MACHINE_H
#define BATON_TOOLS_BENCH_MACHINE_H

#include "baton.h"

#include <stdbool.h>
#include <sys/types.h>

enum { SPINNERS_MAX = 1024 };

/* Which of the two processes of a pair; each has a core of its own where there are two. */
enum bench_process { BENCH_PARENT = 0, BENCH_CHILD };

/* How many CPUs this process may use. */
unsigned machine_cpus(void);

/* Bind the calling thread to its process's core; give it back all of them. */
void machine_pin(enum bench_process process);
void machine_unpin(void);

/* Processes that do nothing, without rest, one on each CPU that this process may use. */
struct spinners {
    pid_t pids[SPINNERS_MAX];
    unsigned count;
};

/* They stand still at first. */
baton_err spinners_init(struct spinners *ret_spinners, struct baton_error *ret_error);
void spinners_run(const struct spinners *spinners, bool run);
void spinners_fini(struct spinners *spinners);

struct machine {
    unsigned cpus;
    char processor[128], kernel[160];
    double load; /* of the last minute */
};

void machine_read(struct machine *ret_machine);

#endif
