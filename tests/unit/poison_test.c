/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the pattern: what it finds, how exactly it counts, and that it never writes outside. */
#include "pool/poison.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

enum {
    LENGTH_MAX = 1024,
    MARGIN = 64,
};

/* A pattern of every length is its own, also where the memory is not aligned. */
TEST(what_was_filled_verifies_at_every_length_and_alignment)
{
    unsigned char memory[LENGTH_MAX + MARGIN];

    for (size_t shift = 0; shift < 8; shift++) {
        for (size_t length = 0; length <= LENGTH_MAX; length += 8) {
            memset(memory, 0xa5, sizeof(memory));
            poison_fill(memory + shift, length, 3, 9);
            CHECK(poison_verify(memory + shift, length, 3, 9) == 0);
        }
    }
}

/* A fill ends where its length says. */
TEST(fill_keeps_within_its_length)
{
    unsigned char memory[LENGTH_MAX + 2 * MARGIN];

    for (size_t length = 0; length <= LENGTH_MAX; length += 8) {
        size_t touched = 0;

        memset(memory, 0xa5, sizeof(memory));
        poison_fill(memory + MARGIN, length, 1, 1);
        for (size_t i = 0; i < sizeof(memory); i++) {
            bool within = i >= MARGIN && i < MARGIN + length;

            touched += !within && memory[i] != 0xa5;
        }
        CHECK(touched == 0);
    }
}

/* One changed bit, at any place, is one changed byte. */
TEST(one_flipped_bit_is_found_wherever_it_is)
{
    unsigned char memory[LENGTH_MAX - 8];

    poison_fill(memory, sizeof(memory), 7, UINT64_MAX);
    for (size_t i = 0; i < sizeof(memory); i++) {
        unsigned char bit = (unsigned char)(1u << (i % 8));

        memory[i] ^= bit;
        CHECK(poison_verify(memory, sizeof(memory), 7, UINT64_MAX) == 1);
        memory[i] ^= bit;
    }
    CHECK(poison_verify(memory, sizeof(memory), 7, UINT64_MAX) == 0);
}

/* The count is of bytes: as many as were changed, whatever each was changed to. */
TEST(changed_bytes_are_counted_exactly)
{
    unsigned char memory[LENGTH_MAX];

    for (unsigned change = 1; change < 256; change++) {
        uint64_t changed = 0;

        poison_fill(memory, sizeof(memory), 0, 0);
        for (size_t i = change % 11; i < sizeof(memory); i += 1 + change % 13) {
            memory[i] ^= (unsigned char)change;
            changed++;
        }
        CHECK(poison_verify(memory, sizeof(memory), 0, 0) == changed);
    }
}

/* Late bytes that are themselves a free block's pattern: every word of them is foreign. */
TEST(patterns_of_other_blocks_and_generations_differ_in_every_word)
{
    static const struct {
        uint32_t block;
        uint64_t generation;
    } others[] = {{5, 41}, {5, 43}, {4, 42}, {6, 42}, {42, 5}, {6, 41}, {4, 43}, {5, 42ull << 32}};
    uint64_t memory[LENGTH_MAX / 8];

    for (size_t o = 0; o < sizeof(others) / sizeof(others[0]); o++) {
        poison_fill(memory, sizeof(memory), others[o].block, others[o].generation);
        for (size_t w = 0; w < LENGTH_MAX / 8; w++) {
            uint64_t whole[LENGTH_MAX / 8];

            poison_fill(whole, sizeof(whole), 5, 42);
            whole[w] = memory[w];
            CHECK(poison_verify(whole, sizeof(whole), 5, 42) > 0);
        }
        CHECK(poison_verify(memory, sizeof(memory), 5, 42) > LENGTH_MAX / 2);
    }
}

/* The right pattern at the wrong place is a late write as well. */
TEST(a_shifted_pattern_differs_in_every_word)
{
    uint64_t memory[LENGTH_MAX / 8], pattern[LENGTH_MAX / 8];

    poison_fill(pattern, sizeof(pattern), 2, 8);
    for (size_t from = 0; from < LENGTH_MAX / 8; from++) {
        for (size_t to = 0; to < LENGTH_MAX / 8; to++) {
            memcpy(memory, pattern, sizeof(memory));
            memory[to] = pattern[from];
            CHECK((poison_verify(memory, sizeof(memory), 2, 8) == 0) == (from == to));
        }
    }
}

/* What a stray memset writes does not pass for the pattern. */
TEST(constant_bytes_are_no_pattern)
{
    unsigned char memory[LENGTH_MAX];

    for (int value = 0; value < 256; value++) {
        uint64_t words_found = 0;

        memset(memory, value, sizeof(memory));
        for (size_t i = 0; i < sizeof(memory); i += 8) {
            poison_fill(memory, i, 1, 2);
            words_found += poison_verify(memory, i + 8, 1, 2) > 0;
        }
        CHECK(words_found == LENGTH_MAX / 8);
    }
}

/* Generations near each other over many blocks: the same 64 bytes never come twice. */
TEST(no_two_patterns_are_alike)
{
    enum { BLOCKS = 64, GENERATIONS = 64 };
    uint64_t(*seen)[8] = calloc(BLOCKS * GENERATIONS, sizeof(*seen));
    size_t alike = 0;

    if (!CHECK(seen)) {
        return;
    }
    for (size_t i = 0; i < BLOCKS * GENERATIONS; i++) {
        poison_fill(seen[i], sizeof(seen[i]), (uint32_t)(i / GENERATIONS), i % GENERATIONS);
        for (size_t j = 0; j < i; j++) {
            alike += seen[i][0] == seen[j][0];
        }
    }
    CHECK(alike == 0);
    free(seen);
}
