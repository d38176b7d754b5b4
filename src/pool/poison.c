/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pattern of free blocks: a word is a step of a counter that starts at a number drawn from
 * (block, generation), folded once.  It is a tripwire against stray writes, not a code against an
 * enemy.
 *
 * Speed: whole pools are filled and verified, so a word costs an addition, a shift and an
 * exclusive or, with no multiplication, table or branch: compilers turn the loops over a chunk into
 * vector code.  Words are read and written with memcpy, because wrapped memory may lie anywhere.
 *
 * Strength: the fold is a bijection, so two patterns agree in a word only where their counters do,
 * and then only by the chance of 2^-64: another generation's, another block's or a shifted pattern
 * differs in every word.
 */
#include "pool/poison.h"

#include <stdbool.h>
#include <string.h>

#include "util/assert.h"

enum {
    WORD_BYTES = 8,
    CHUNK_WORDS = 32, /* a chunk's verdict is one branch */
};

/* Two odd numbers whose bits look random: the fractions of the golden ratio and of pi. */
#define STRIDE UINT64_C(0x9e3779b97f4a7c15)
#define FACTOR UINT64_C(0x243f6a8885a308d3)

/* A bijection whose every output bit depends on every input bit. */
static uint64_t stir(uint64_t x)
{
    x ^= x >> 32;
    x *= FACTOR;
    x ^= x >> 29;
    x *= STRIDE;
    return x ^ (x >> 32);
}

static uint64_t start_of(uint32_t block, uint64_t generation)
{
    return stir(stir(generation) + block);
}

static inline uint64_t fold(uint64_t counter)
{
    return counter ^ (counter >> 29);
}

/* How many of the eight bytes of `difference` are not zero. */
static uint64_t bytes_set(uint64_t difference)
{
    uint64_t x = difference;

    x |= x >> 4;
    x |= x >> 2;
    x |= x >> 1;
    x &= UINT64_C(0x0101010101010101);
    return (x * UINT64_C(0x0101010101010101)) >> 56;
}

static inline uint64_t word_difference(const unsigned char *memory, uint64_t counter)
{
    uint64_t word;

    memcpy(&word, memory, WORD_BYTES);
    return word ^ fold(counter);
}

static uint64_t count_differences(const unsigned char *memory, size_t words, uint64_t counter)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < words; i++) {
        bytes += bytes_set(word_difference(memory + i * WORD_BYTES, counter + i * STRIDE));
    }
    return bytes;
}

static bool chunk_differs(const unsigned char *memory, uint64_t counter)
{
    uint64_t any = 0;

    for (size_t i = 0; i < CHUNK_WORDS; i++) {
        any |= word_difference(memory + i * WORD_BYTES, counter + i * STRIDE);
    }
    return any != 0;
}

static inline void fill_words(unsigned char *memory, size_t words, uint64_t counter)
{
    for (size_t i = 0; i < words; i++) {
        uint64_t word = fold(counter + i * STRIDE);

        memcpy(memory + i * WORD_BYTES, &word, WORD_BYTES);
    }
}

void poison_fill(void *memory, size_t length, uint32_t block, uint64_t generation)
{
    unsigned char *at = memory;
    size_t words = length / WORD_BYTES;
    uint64_t counter = start_of(block, generation);

    BATON_ASSERT(length % WORD_BYTES == 0);
    BATON_ASSERT(memory || length == 0);
    for (; words >= CHUNK_WORDS; words -= CHUNK_WORDS) {
        fill_words(at, CHUNK_WORDS, counter);
        at += CHUNK_WORDS * WORD_BYTES;
        counter += CHUNK_WORDS * STRIDE;
    }
    fill_words(at, words, counter);
}

uint64_t poison_verify(const void *memory, size_t length, uint32_t block, uint64_t generation)
{
    const unsigned char *at = memory;
    size_t words = length / WORD_BYTES;
    uint64_t counter = start_of(block, generation);
    uint64_t bytes = 0;

    BATON_ASSERT(length % WORD_BYTES == 0);
    BATON_ASSERT(memory || length == 0);
    for (; words >= CHUNK_WORDS; words -= CHUNK_WORDS) {
        if (chunk_differs(at, counter)) {
            bytes += count_differences(at, CHUNK_WORDS, counter);
        }
        at += CHUNK_WORDS * WORD_BYTES;
        counter += CHUNK_WORDS * STRIDE;
    }
    return bytes + count_differences(at, words, counter);
}
