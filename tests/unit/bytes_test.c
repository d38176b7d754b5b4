/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of util/bytes.h. */
#include "test.h"
#include "util/bytes.h"

#include <string.h>

/* The least significant byte comes first, and the address may be odd. */
TEST(bytes_are_little_endian)
{
    const uint8_t expected[15] = {0xa1, 0x02, 0xb1, 0x04, 0x03, 0x02, 0xc1, 0x08,
                                  0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0xd1};
    uint8_t bytes[15] = {0};

    bytes_put_u8(bytes, 0xa1);
    bytes_put_u16(bytes + 1, 0xb102);
    bytes_put_u32(bytes + 3, 0xc1020304);
    bytes_put_u64(bytes + 7, 0xd102030405060708);
    CHECK(memcmp(bytes, expected, sizeof(bytes)) == 0);
}

/* What was put is what one gets, for every bit and for all of them. */
TEST(bytes_get_what_was_put)
{
    uint8_t bytes[9];

    for (unsigned bit = 0; bit <= 64; bit++) {
        uint64_t value = bit < 64 ? UINT64_C(1) << bit : UINT64_MAX;

        bytes_put_u64(bytes + 1, value);
        CHECK(bytes_get_u64(bytes + 1) == value);
        bytes_put_u32(bytes + 1, (uint32_t)value);
        CHECK(bytes_get_u32(bytes + 1) == (uint32_t)value);
        bytes_put_u16(bytes + 1, (uint16_t)value);
        CHECK(bytes_get_u16(bytes + 1) == (uint16_t)value);
        bytes_put_u8(bytes + 1, (uint8_t)value);
        CHECK(bytes_get_u8(bytes + 1) == (uint8_t)value);
    }
}

/* A put touches its own bytes only. */
TEST(bytes_put_keeps_to_its_width)
{
    uint8_t bytes[10];

    memset(bytes, 0x55, sizeof(bytes));
    bytes_put_u16(bytes + 1, 0);
    CHECK(bytes[0] == 0x55 && bytes[3] == 0x55);
    bytes_put_u32(bytes + 1, 0);
    CHECK(bytes[0] == 0x55 && bytes[5] == 0x55);
    bytes_put_u64(bytes + 1, 0);
    CHECK(bytes[0] == 0x55 && bytes[9] == 0x55);
}
