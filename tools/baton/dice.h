/* SPDX-License-Identifier: Apache-2.0 */
/* Repeatable chance: the same seed throws the same numbers.  Not for secrets. */
#ifndef BATON_TOOLS_DICE_H
#define BATON_TOOLS_DICE_H

#include <stdbool.h>
#include <stdint.h>

struct dice {
    uint64_t state;
};

/* The dice of the `index`-th thing of a run: each has its own, so that what it does depends on the
 * seed and its number only. */
struct dice dice_of(uint64_t seed, uint64_t index);

uint64_t dice_throw(struct dice *dice);

/* 0 to `limit` - 1; `limit` is at least 1. */
uint64_t dice_below(struct dice *dice, uint64_t limit);

/* 0 up to, but not, 1. */
double dice_fraction(struct dice *dice);

bool dice_chance(struct dice *dice, double probability);

#endif
