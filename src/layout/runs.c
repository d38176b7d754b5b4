/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs: block lists as {first, count} pairs.  What an ACCEPT carries.  The order of the list is
 * kept, blocks may repeat, and a run need not be as long as it could be.  Not a compressor for
 * lists without neighbours: those take 8 bytes a block.
 */
#include "layout/layout.h"

#include "util/assert.h"
#include "util/bytes.h"

enum {
    RUN_BYTES = 8,
};

/* How many blocks from the start of the list follow one another by number. */
static uint32_t run_length(const uint32_t *blocks, uint32_t count)
{
    uint32_t length = 1;

    BATON_ASSERT(count > 0);
    while (length < count && blocks[length] == (uint64_t)blocks[0] + length) {
        length++;
    }
    return length;
}

size_t runs_encode(const uint32_t *blocks, uint32_t count, uint8_t *ret_bytes)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < count;) {
        uint32_t length = run_length(blocks + i, count - i);

        bytes_put_u32(ret_bytes + bytes, blocks[i]);
        bytes_put_u32(ret_bytes + bytes + 4, length);
        bytes += RUN_BYTES;
        i += length;
    }
    BATON_ASSERT(bytes <= (size_t)RUN_BYTES * count);
    return bytes;
}

static bool runs_ok(const uint8_t *bytes, size_t length, uint32_t count, uint64_t block_limit)
{
    uint64_t blocks = 0;

    if (length % RUN_BYTES || length / RUN_BYTES > count) {
        return false;
    }
    for (size_t at = 0; at < length; at += RUN_BYTES) {
        uint64_t first = bytes_get_u32(bytes + at);
        uint64_t run = bytes_get_u32(bytes + at + 4);

        if (!run || run > count - blocks || first + run > block_limit) {
            return false;
        }
        blocks += run;
    }
    return blocks == count;
}

bool runs_decode(const uint8_t *bytes, size_t length, uint32_t count, uint64_t block_limit,
                 uint32_t *ret_blocks)
{
    uint32_t written = 0;

    /* All of it is checked first, so that a bad list writes nothing. */
    if (!runs_ok(bytes, length, count, block_limit)) {
        return false;
    }
    for (size_t at = 0; at < length; at += RUN_BYTES) {
        uint32_t first = bytes_get_u32(bytes + at);
        uint32_t run = bytes_get_u32(bytes + at + 4);

        for (uint32_t i = 0; i < run; i++) {
            ret_blocks[written++] = first + i;
        }
    }
    BATON_ASSERT(written == count);
    return true;
}
