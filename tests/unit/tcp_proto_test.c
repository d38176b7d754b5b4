/* SPDX-License-Identifier: Apache-2.0 */
/* The headers of bulk connections: each byte where docs/PROTOCOL.md says, and nothing else
 * accepted. */
#include <string.h>

#include "test.h"
#include "transport/tcp_proto.h"

static const uint8_t read_bytes[BULK_READ_BYTES] = {
    'B',  'R',  'D',  '1',  0x07, 0,    0,    0,    /* magic, slot */
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, /* offer id */
    0x11, 0,    0,    0,    0,    0,    0,    0,    /* fetch id */
    0x22, 0,    0,    0,    0,    0,    0,    0,    /* attempt */
    0x00, 0x10, 0,    0,    0,    0,    0,    0,    /* offset */
    0x00, 0x00, 0x01, 0,    0,    0,    0,    0,    /* length */
};

static const uint8_t data_bytes[BULK_DATA_BYTES] = {
    'B',  'D',  'T',  '1', 0, 0, 0, 0, /* magic, status */
    0x11, 0,    0,    0,   0, 0, 0, 0, /* fetch id */
    0x22, 0,    0,    0,   0, 0, 0, 0, /* attempt */
    0x00, 0x10, 0,    0,   0, 0, 0, 0, /* offset */
    0x00, 0x00, 0x01, 0,   0, 0, 0, 0, /* length */
};

static const uint8_t trailer_bytes[BULK_TRAILER_BYTES] = {
    'B',  'T', 'R', '1', 2, 0, 0, 0, /* magic, status */
    0x05, 0,   0,   0,   0, 0, 0, 0, /* bytes */
};

TEST(read_is_as_documented)
{
    struct bulk_read read = {7, 0x0807060504030201, 0x11, 0x22, 4096, 65536}, back;
    uint8_t bytes[BULK_READ_BYTES];

    bulk_read_encode(&read, bytes);
    CHECK(!memcmp(bytes, read_bytes, sizeof bytes));
    CHECK(bulk_read_decode(bytes, &back));
    CHECK(back.slot == 7 && back.offer_id == read.offer_id && back.fetch_id == 0x11);
    CHECK(back.attempt == 0x22 && back.offset == 4096 && back.length == 65536);
}

TEST(data_is_as_documented)
{
    struct bulk_data data = {BULK_OK, 0x11, 0x22, 4096, 65536}, back;
    uint8_t bytes[BULK_DATA_BYTES];

    bulk_data_encode(&data, bytes);
    CHECK(!memcmp(bytes, data_bytes, sizeof bytes));
    CHECK(bulk_data_decode(bytes, &back));
    CHECK(back.status == BULK_OK && back.fetch_id == 0x11 && back.attempt == 0x22);
    CHECK(back.offset == 4096 && back.length == 65536);
    data.status = BULK_PUSHED;
    bulk_data_encode(&data, bytes);
    CHECK(bytes[4] == 3 && bulk_data_decode(bytes, &back) && back.status == BULK_PUSHED);
    CHECK(back.fetch_id == 0x11 && back.offset == 4096 && back.length == 65536);
}

TEST(trailer_is_as_documented)
{
    struct bulk_trailer trailer = {BULK_ABORTED, 5}, back;
    uint8_t bytes[BULK_TRAILER_BYTES];

    bulk_trailer_encode(&trailer, bytes);
    CHECK(!memcmp(bytes, trailer_bytes, sizeof bytes));
    CHECK(bulk_trailer_decode(bytes, &back));
    CHECK(back.status == BULK_ABORTED && back.bytes == 5);
}

/* Every wrong bit of the magic, and each value out of its range. */
TEST(bad_headers_are_not_decoded)
{
    struct bulk_read read;
    struct bulk_data data;
    struct bulk_trailer trailer;
    uint8_t bytes[BULK_READ_BYTES];

    for (unsigned bit = 0; bit < 32; bit++) {
        memcpy(bytes, read_bytes, BULK_READ_BYTES);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(!bulk_read_decode(bytes, &read));
        memcpy(bytes, data_bytes, BULK_DATA_BYTES);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(!bulk_data_decode(bytes, &data));
        memcpy(bytes, trailer_bytes, BULK_TRAILER_BYTES);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(!bulk_trailer_decode(bytes, &trailer));
    }
}

TEST(fields_out_of_range_are_not_decoded)
{
    struct bulk_read read;
    struct bulk_data data;
    struct bulk_trailer trailer;
    uint8_t bytes[BULK_READ_BYTES];

    memcpy(bytes, read_bytes, BULK_READ_BYTES);
    memset(bytes + 40, 0, 8); /* no bytes */
    CHECK(!bulk_read_decode(bytes, &read));
    memset(bytes + 40, 0xff, 8); /* the end of the window overflows */
    CHECK(!bulk_read_decode(bytes, &read));

    memcpy(bytes, data_bytes, BULK_DATA_BYTES);
    bytes[4] = BULK_REFUSED; /* with a length */
    CHECK(!bulk_data_decode(bytes, &data));
    bytes[4] = BULK_ABORTED; /* a trailer's */
    CHECK(!bulk_data_decode(bytes, &data));
    memset(bytes + 32, 0, 8);
    CHECK(!bulk_data_decode(bytes, &data));
    bytes[4] = BULK_REFUSED;
    CHECK(bulk_data_decode(bytes, &data));
    bytes[4] = BULK_OK; /* without a length */
    CHECK(!bulk_data_decode(bytes, &data));
    bytes[4] = BULK_PUSHED; /* the same */
    CHECK(!bulk_data_decode(bytes, &data));

    memcpy(bytes, trailer_bytes, BULK_TRAILER_BYTES);
    bytes[4] = BULK_REFUSED;
    CHECK(!bulk_trailer_decode(bytes, &trailer));
    bytes[4] = BULK_PUSHED;
    CHECK(!bulk_trailer_decode(bytes, &trailer));
}
