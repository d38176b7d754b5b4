/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pseudo-random numbers from a seed: the same seed gives the same numbers on every host.  For
 * simulation, tests and load, never for a secret.
 */
#ifndef BATON_UTIL_PRNG_H
#define BATON_UTIL_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
    uint64_t state[4]; /* never all zero */
};

/* Any seed is as good as another, also 0. */
void prng_init(struct prng *prng, uint64_t seed);

/* 64 uniform bits. */
uint64_t prng_next(struct prng *prng);

/* Uniform in 0..n-1, without bias.  `n` is above 0. */
uint64_t prng_below(struct prng *prng, uint64_t n);

/* True with probability `p`; never for p <= 0, always for p >= 1. */
bool prng_chance(struct prng *prng, double p);

#endif
