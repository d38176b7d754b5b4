/* SPDX-License-Identifier: Apache-2.0 */
/* tools/baton/payload.c. */
#include "../../tools/baton/payload.h"

#include <string.h>

#include "test.h"

enum { BYTES = 12 * 1024 + 24 };

static const uint8_t incarnation[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* What was written is right, whatever the pieces in which it was written. */
TEST(payload_does_not_depend_on_its_pieces)
{
    static unsigned char whole[BYTES], pieces[BYTES];
    uint64_t seed = payload_seed(incarnation, 7);

    payload_write(seed, 4096, whole, BYTES);
    for (size_t at = 0; at < BYTES;) {
        size_t part = at % 512 + 8 < BYTES - at ? at % 512 + 8 : BYTES - at;
        payload_write(seed, 4096 + at, pieces + at, part);
        at += part;
    }
    CHECK(memcmp(whole, pieces, BYTES) == 0);
    CHECK(payload_wrong_bytes(seed, 4096, whole, BYTES) == 0);
    CHECK(payload_wrong_bytes(seed, 4096 + 64, whole + 64, BYTES - 64) == 0);
}

/* Every single flipped byte is seen and counted. */
TEST(payload_counts_wrong_bytes)
{
    static unsigned char bytes[BYTES];
    uint64_t seed = payload_seed(incarnation, 7);
    uint64_t missed = 0;

    payload_write(seed, 0, bytes, BYTES);
    for (size_t at = 0; at < BYTES; at += 61) {
        bytes[at] ^= 1;
        missed += payload_wrong_bytes(seed, 0, bytes, BYTES) != 1;
        bytes[at] ^= 1;
    }
    CHECK(missed == 0);
    memset(bytes + 100, bytes[100] ^ 0x55, 1);
    bytes[BYTES - 1] ^= 0x80;
    CHECK(payload_wrong_bytes(seed, 0, bytes, BYTES) == 2);
}

/* Bytes of another content, another life, or another place are nearly all wrong. */
TEST(payload_of_another_is_foreign)
{
    static unsigned char bytes[BYTES];
    uint8_t other[16];
    const uint64_t most = BYTES - BYTES / 64;
    uint64_t seed = payload_seed(incarnation, 7);

    memcpy(other, incarnation, sizeof(other));
    other[15] ^= 1;
    payload_write(seed, 0, bytes, BYTES);
    CHECK(payload_wrong_bytes(payload_seed(incarnation, 8), 0, bytes, BYTES) > most);
    CHECK(payload_wrong_bytes(payload_seed(other, 7), 0, bytes, BYTES) > most);
    CHECK(payload_wrong_bytes(seed, 8, bytes, BYTES) > most);
}
