/* SPDX-License-Identifier: Apache-2.0 */
/* Replaying a failed run, and making it smaller. */
#ifndef BATON_SIM_SHRINK_H
#define BATON_SIM_SHRINK_H

#include "sim/sim.h"

/* `*plan` failed with `*result`; both become those of a smaller run that the same checker catches.
 */
void sim_shrink(struct sim *sim, struct sim_plan *plan, struct sim_result *result);
/* The command that runs it again, without an end of line. */
void sim_print_replay(const struct sim_plan *plan, FILE *file);

#endif
