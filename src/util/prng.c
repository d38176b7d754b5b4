/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generator of prng.h: xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number
 * generators", 2021), its state filled by splitmix64 (Steele, Lea and Flood, "Fast splittable
 * pseudorandom number generators", 2014), which never gives four zeros in a row.
 */
#include "util/prng.h"

#include "util/assert.h"

static uint64_t rotated(uint64_t word, unsigned bits)
{
    return word << bits | word >> (64 - bits);
}

static uint64_t splitmix(uint64_t *counter)
{
    uint64_t word;

    *counter += 0x9e3779b97f4a7c15u;
    word = *counter;
    word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9u;
    word = (word ^ word >> 27) * 0x94d049bb133111ebu;
    return word ^ word >> 31;
}

void prng_init(struct prng *prng, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++) {
        prng->state[i] = splitmix(&seed);
    }
}

uint64_t prng_next(struct prng *prng)
{
    uint64_t *state = prng->state;
    uint64_t result = rotated(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;

    BATON_ASSERT(state[0] | state[1] | state[2] | state[3]);
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotated(state[3], 45);
    return result;
}

uint64_t prng_below(struct prng *prng, uint64_t n)
{
    uint64_t biased, word;

    BATON_ASSERT(n > 0);
    /* 2^64 mod n: the words below it would make the small remainders more likely. */
    biased = (0 - n) % n;
    do {
        word = prng_next(prng);
    } while (word < biased);
    return word % n;
}

bool prng_chance(struct prng *prng, double p)
{
    /* 53 bits are what a double holds: 0 <= word < 1. */
    double word = (double)(prng_next(prng) >> 11) * 0x1p-53;

    return word < p;
}
