/* SPDX-License-Identifier: Apache-2.0 */
/* The self-identifying payload: see payload.h.  One multiplication a word keeps it near the speed
 * of memory. */
#include "payload.h"

#include <string.h>

enum { PAYLOAD_WORD = 8, PAYLOAD_STRIP_WORDS = 512 };

static const uint64_t payload_step = UINT64_C(0x9e3779b97f4a7c15);
static const uint64_t payload_factor = UINT64_C(0xd6e8feb86659fd93);

static uint64_t scramble(uint64_t x)
{
    x ^= x >> 32;
    x *= payload_factor;
    x ^= x >> 32;
    x *= payload_factor;
    return x ^ x >> 32;
}

uint64_t payload_seed(const uint8_t incarnation[16], uint64_t content_id)
{
    uint64_t half[2];

    memcpy(half, incarnation, sizeof(half));
    return scramble(scramble(half[0] + payload_step) ^ scramble(half[1]) ^ scramble(content_id));
}

/* Neighbouring offsets differ in all bits: the counter walks in odd steps, then one multiplication
 * spreads it. */
static uint64_t word_at(uint64_t counter)
{
    counter ^= counter >> 32;
    return counter * payload_factor;
}

void payload_write(uint64_t seed, uint64_t offset, void *ret_bytes, size_t length)
{
    uint64_t counter = seed + offset / PAYLOAD_WORD * payload_step;
    unsigned char *to = ret_bytes;

    for (size_t at = 0; at < length; at += PAYLOAD_WORD) {
        uint64_t word = word_at(counter);
        memcpy(to + at, &word, PAYLOAD_WORD);
        counter += payload_step;
    }
}

/* Any difference at all in a strip, without a branch for every word. */
static uint64_t strip_differs(uint64_t counter, const unsigned char *from, size_t length)
{
    uint64_t differs = 0;

    for (size_t at = 0; at < length; at += PAYLOAD_WORD) {
        uint64_t word;
        memcpy(&word, from + at, PAYLOAD_WORD);
        differs |= word ^ word_at(counter);
        counter += payload_step;
    }
    return differs;
}

static uint64_t strip_wrong_bytes(uint64_t counter, const unsigned char *from, size_t length)
{
    uint64_t wrong = 0;

    for (size_t at = 0; at < length; at += PAYLOAD_WORD) {
        uint64_t word = word_at(counter);
        unsigned char wanted[PAYLOAD_WORD];

        memcpy(wanted, &word, PAYLOAD_WORD);
        for (size_t i = 0; i < PAYLOAD_WORD; i++) {
            wrong += wanted[i] != from[at + i];
        }
        counter += payload_step;
    }
    return wrong;
}

uint64_t payload_wrong_bytes(uint64_t seed, uint64_t offset, const void *bytes, size_t length)
{
    const size_t strip = PAYLOAD_STRIP_WORDS * PAYLOAD_WORD;
    const unsigned char *from = bytes;
    uint64_t wrong = 0;

    for (size_t at = 0; at < length; at += strip) {
        size_t part = length - at < strip ? length - at : strip;
        uint64_t counter = seed + (offset + at) / PAYLOAD_WORD * payload_step;

        if (strip_differs(counter, from + at, part)) {
            wrong += strip_wrong_bytes(counter, from + at, part);
        }
    }
    return wrong;
}
