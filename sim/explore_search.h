/* SPDX-License-Identifier: Apache-2.0 */
/* What the explorer's searches share: one guarded step, and the path to what it broke. */
#ifndef BATON_SIM_EXPLORE_SEARCH_H
#define BATON_SIM_EXPLORE_SEARCH_H

#include "sim/explore_world.h"

/* Broken assertions are this explorer's violations from now on; NULL: nobody's. */
void explorer_guard(struct explorer *x);
/* False: an invariant broke, x->invariant says which.  `after` is a copy of `before`. */
bool explorer_takes(struct explorer *x, const struct world *before, struct world *after,
                    struct step step);
bool explorer_begins(struct explorer *x, struct world *w);
/* Of a state in which nothing happens by itself. */
bool explorer_rests(struct explorer *x, const struct world *w);
/* The same, and everybody has ended. */
bool explorer_is_over(struct explorer *x, const struct world *w);

/*
 * What the steps broke, in words.  Steps that are not needed for it are left out.  `steps` is
 * changed; x->invariant and x->what are of the break.
 */
void explore_path(struct explorer *x, struct step *steps, uint32_t count,
                  struct explore_violation *ret_violation);

#endif
