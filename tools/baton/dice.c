/* SPDX-License-Identifier: Apache-2.0 */
/* Repeatable chance: a counter in odd steps, scrambled.  See dice.h. */
#include "dice.h"

static const uint64_t dice_step = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t scramble(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

struct dice dice_of(uint64_t seed, uint64_t index)
{
    return (struct dice){scramble(scramble(seed + dice_step) + index)};
}

uint64_t dice_throw(struct dice *dice)
{
    dice->state += dice_step;
    return scramble(dice->state);
}

uint64_t dice_below(struct dice *dice, uint64_t limit)
{
    return dice_throw(dice) % limit;
}

double dice_fraction(struct dice *dice)
{
    return (double)(dice_throw(dice) >> 11) / 9007199254740992.0;
}

bool dice_chance(struct dice *dice, double probability)
{
    return dice_fraction(dice) < probability;
}
