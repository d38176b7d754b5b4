/* SPDX-License-Identifier: Apache-2.0 */
/* What the scenarios of bench/instructions share; nothing else includes it. */
#ifndef BATON_BENCH_INSTRUCTIONS_H
#define BATON_BENCH_INSTRUCTIONS_H

#include <stdbool.h>

/* Says which check failed and ends the program. */
void need(bool ok, const char *what);
/* Runs the scenario with its instructions counted, and prints its name: the counts that callgrind
 * writes have the same order. */
void measure(const char *name, void (*run)(void *arg), void *arg);

/* instructions_core.c: one handoff through two cores, from offer to forgotten. */
void measure_core(void);

#endif
