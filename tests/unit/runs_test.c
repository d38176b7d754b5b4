/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of layout/runs.c. */
#include "test.h"

#include <string.h>

#include "layout/layout.h"
#include "util/bytes.h"
#include "util/prng.h"

enum {
    BLOCKS_MAX = 64,
};

static size_t run_put(uint8_t *bytes, size_t at, uint32_t first, uint32_t count)
{
    bytes_put_u32(bytes + at, first);
    bytes_put_u32(bytes + at + 4, count);
    return at + 8;
}

/* The bytes are fixed; order and repetition are kept. */
TEST(runs_golden)
{
    const uint32_t blocks[] = {5, 6, 7, 0x01020304, 7, 7, 6};
    const uint8_t golden[] = {5, 0, 0, 0, 3, 0, 0, 0, 4, 3, 2, 1, 1, 0, 0, 0, 7, 0, 0, 0,
                              1, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0};
    uint8_t bytes[8 * 7];

    CHECK(runs_encode(blocks, 7, bytes) == sizeof(golden));
    CHECK(!memcmp(bytes, golden, sizeof(golden)));
}

/* Random lists come back, in at most 8 bytes a block. */
TEST(runs_round_trip)
{
    struct prng prng;

    prng_init(&prng, 6);
    for (unsigned round = 0; round < 20000; round++) {
        uint32_t blocks[BLOCKS_MAX] = {0}, back[BLOCKS_MAX] = {0};
        uint32_t count = (uint32_t)prng_below(&prng, BLOCKS_MAX + 1);
        uint8_t bytes[8 * BLOCKS_MAX];
        size_t length;

        for (uint32_t i = 0; i < count; i++) {
            blocks[i] = i && prng_below(&prng, 3) ? blocks[i - 1] + 1
                                                  : (uint32_t)prng_below(&prng, 1 << 24);
        }
        length = runs_encode(blocks, count, bytes);
        CHECK(length <= 8 * (size_t)count);
        CHECK(runs_decode(bytes, length, count, 1 << 25, back));
        CHECK(!memcmp(blocks, back, sizeof(back)));
    }
}

/* One run of very many adjacent blocks takes 8 bytes. */
TEST(runs_are_compact)
{
    static uint32_t blocks[BATON_HANDOFF_BLOCKS_MAX], back[BATON_HANDOFF_BLOCKS_MAX];
    static uint8_t bytes[8 * BATON_HANDOFF_BLOCKS_MAX];

    for (uint32_t i = 0; i < BATON_HANDOFF_BLOCKS_MAX; i++) {
        blocks[i] = 100 + i;
    }
    CHECK(runs_encode(blocks, BATON_HANDOFF_BLOCKS_MAX, bytes) == 8);
    CHECK(runs_decode(bytes, 8, BATON_HANDOFF_BLOCKS_MAX, 100 + BATON_HANDOFF_BLOCKS_MAX, back));
    CHECK(!memcmp(blocks, back, sizeof(back)));
}

/* Block numbers do not wrap round: the highest and 0 are no neighbours. */
TEST(runs_do_not_wrap)
{
    const uint32_t blocks[] = {UINT32_MAX, 0};
    uint32_t back[2] = {0};
    uint8_t bytes[16];

    CHECK(runs_encode(blocks, 2, bytes) == 16);
    CHECK(runs_decode(bytes, 16, 2, UINT64_C(1) << 32, back));
    CHECK(back[0] == UINT32_MAX && back[1] == 0);
    run_put(bytes, 0, UINT32_MAX, 2);
    CHECK(!runs_decode(bytes, 8, 2, UINT64_C(1) << 32, back));
    CHECK(runs_decode(bytes, 8, 2, UINT64_MAX, back));
}

/* Anything but runs of exactly `count` blocks below the limit is refused, and writes nothing. */
TEST(runs_malformed)
{
    uint8_t bytes[64] = {0};
    uint32_t back[8], before[8];

    memset(back, 0x5a, sizeof(back));
    memcpy(before, back, sizeof(back));
    run_put(bytes, run_put(bytes, 0, 10, 2), 20, 3);
    for (size_t length = 0; length < 16; length++) {
        CHECK(!runs_decode(bytes, length, 5, 100, back)); /* truncated */
    }
    CHECK(!runs_decode(bytes, 16, 4, 100, back)); /* too many */
    CHECK(!runs_decode(bytes, 16, 6, 100, back)); /* too few */
    CHECK(!runs_decode(bytes, 24, 5, 100, back)); /* a run of none at the end */
    CHECK(!runs_decode(bytes, 16, 5, 22, back));  /* block 22 is past the limit */
    CHECK(!runs_decode(bytes, 16, 0, 100, back));
    run_put(bytes, 8, 20, UINT32_MAX); /* the sum wraps in 32 bits */
    CHECK(!runs_decode(bytes, 16, 1, UINT64_MAX, back));
    run_put(bytes, 8, 20, 0);
    CHECK(!runs_decode(bytes, 16, 2, 100, back));
    CHECK(!memcmp(back, before, sizeof(back)));
    run_put(bytes, 8, 20, 3);
    CHECK(runs_decode(bytes, 16, 5, 23, back));
    CHECK(runs_decode(bytes, 0, 0, 0, back));
}
