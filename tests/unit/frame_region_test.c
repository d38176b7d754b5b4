/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of wire/frame.c: what a REGION of each kind may hold. */
#include "test.h"

#include "util/bytes.h"
#include "wire/frame.h"

enum {
    BYTES_MAX = 256,
    /* Where the fields lie. */
    REGION = FRAME_HEAD_BYTES,
    LENGTH = REGION + 5,
    BLOCK_BYTES = REGION + 13,
    BASE = REGION + 21,
    NONCE_BASE = REGION + 29,
};

static enum frame_status decode(const uint8_t *bytes, size_t length)
{
    struct frame frame;
    const char *why = NULL;
    size_t used = 0;

    return frame_decode(bytes, length, &frame, &used, &why);
}

/* That byte of a whole frame, 0 before, alone makes it bad. */
static bool spoils(uint8_t *bytes, size_t length, unsigned at)
{
    bool bad;

    bytes[at] = 1;
    bad = decode(bytes, length) == FRAME_BAD;
    bytes[at] = 0;
    return bad && decode(bytes, length) == FRAME_WHOLE;
}

TEST(frame_region_memfd_has_no_address)
{
    const struct frame frame = {
        .type = FRAME_REGION,
        .region = {.region = 1, .kind = REGION_MEMFD, .length = 4096, .block_bytes = 4096}};
    uint8_t bytes[BYTES_MAX];
    size_t length = frame_encode(&frame, bytes);

    CHECK(spoils(bytes, length, BASE) && spoils(bytes, length, NONCE_BASE));
}

TEST(frame_region_of_a_writer_has_no_memory)
{
    const struct frame frame = {.type = FRAME_REGION, .region.kind = REGION_WRITER};
    uint8_t bytes[BYTES_MAX] = {0};
    size_t length = frame_encode(&frame, bytes);

    CHECK(spoils(bytes, length, REGION) && spoils(bytes, length, LENGTH));
    CHECK(spoils(bytes, length, BLOCK_BYTES));
    CHECK(spoils(bytes, length, BASE) && spoils(bytes, length, NONCE_BASE));
    bytes_put_u32(bytes, (uint32_t)(length - FRAME_HEAD_BYTES + 1));
    CHECK(decode(bytes, length + 1) == FRAME_BAD);
}

/* A library's memory comes with a description and without addresses. */
TEST(frame_region_of_a_library_is_described)
{
    static const uint8_t description[1];
    const struct frame frame = {
        .type = FRAME_REGION,
        .region = {.region = 1, .kind = REGION_NIXL, .length = 4096, .block_bytes = 4096},
        .payload = description,
        .payload_length = sizeof(description)};
    uint8_t bytes[BYTES_MAX];
    size_t length = frame_encode(&frame, bytes);

    CHECK(spoils(bytes, length, BASE) && spoils(bytes, length, NONCE_BASE));
    bytes_put_u32(bytes, (uint32_t)(length - FRAME_HEAD_BYTES - 1));
    CHECK(decode(bytes, length - 1) == FRAME_BAD);
}
