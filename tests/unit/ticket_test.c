/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of wire/ticket.c: bytes, text, and one clear message for each way to be wrong. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/prng.h"
#include "wire/ticket.h"

/* Where fields lie; docs/PROTOCOL.md says the same. */
enum {
    AT_VERSION = 4,
    AT_LENGTH = 6,
    AT_SLOT = 32,
    AT_SECRET = 36,
    AT_BLOCK_BYTES = 52,
    AT_BLOCK_COUNT = 60,
    AT_ENDPOINT_COUNT = 88,
    AT_ENDPOINTS = 89,
};

static struct ticket sample(void)
{
    return (struct ticket){
        .incarnation = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
        .offer_id = 0x0102030405060708,
        .slot = 5,
        .secret = {0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc,
                   0xfd, 0xfe, 0xff},
        .block_bytes = 0x10000,
        .block_count = 0x1234,
        .layout = {1, 2, 16, 8, 64, 4},
        .endpoint_count = 2,
        .endpoint = {"unix:@x", "tcp:127.0.0.1:1"},
    };
}

/* The checksum, written a second time, bit by bit, so that tests can mend what they change. */
static void mend(uint8_t *bytes, size_t length)
{
    uint32_t crc = UINT32_MAX;

    for (size_t bit = 0; bit < 8 * (length - 4); bit++) {
        unsigned in = (bytes[bit / 8] >> bit % 8 & 1u) ^ (crc & 1u);

        crc = crc >> 1 ^ (in ? 0xedb88320u : 0);
    }
    bytes_put_u32(bytes + length - 4, ~crc);
}

/* Decode an exact copy, so that sanitizers see any byte read past it; the message must hold `word`.
 */
static bool refused(const uint8_t *bytes, size_t length, const char *word)
{
    uint8_t *copy = malloc(length ? length : 1);
    struct ticket ticket;
    struct baton_error error = {0};
    baton_err err;

    memcpy(copy, bytes, length);
    err = ticket_decode(copy, length, &ticket, &error);
    CHECK(ticket_decode(copy, length, &ticket, NULL) == err);
    free(copy);
    if (err == BATON_ETICKET && error.code == err && strstr(error.text, word)) {
        return true;
    }
    printf("  expected \"%s\", got %d \"%s\"\n", word, (int)err, error.text);
    return false;
}

static bool equal(const struct ticket *a, const struct ticket *b)
{
    bool same = !memcmp(a->incarnation, b->incarnation, ID_BYTES) && a->offer_id == b->offer_id &&
                a->slot == b->slot && !memcmp(a->secret, b->secret, ID_BYTES) &&
                a->block_bytes == b->block_bytes && a->block_count == b->block_count &&
                !memcmp(&a->layout, &b->layout, sizeof(a->layout)) &&
                a->endpoint_count == b->endpoint_count;

    for (unsigned i = 0; same && i < a->endpoint_count; i++) {
        same = !strcmp(a->endpoint[i], b->endpoint[i]);
    }
    return same;
}

/* The bytes are fixed: a change of them is a change of the format. */
TEST(ticket_golden)
{
    static const uint8_t golden[] = {
        'B',  'T',  'K',  'T',  1,    0,    117,  0,                       /* head */
        1,    2,    3,    4,    5,    6,    7,    8,    9,   10,  11,  12, /* incarnation */
        13,   14,   15,   16,                                              /* */
        8,    7,    6,    5,    4,    3,    2,    1,                       /* offer_id */
        5,    0,    0,    0,                                               /* slot */
        0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7,                    /* secret */
        0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,                    /* */
        0,    0,    1,    0,    0,    0,    0,    0,                       /* block_bytes */
        0x34, 0x12, 0,    0,                                               /* block_count */
        1,    0,    0,    0,    2,    0,    0,    0,    16,  0,   0,   0,  /* layout */
        8,    0,    0,    0,    64,   0,    0,    0,    4,   0,   0,   0,  /* */
        2,                                                                 /* endpoints */
        7,    'u',  'n',  'i',  'x',  ':',  '@',  'x',                     /* */
        15,   't',  'c',  'p',  ':',  '1',  '2',  '7',  '.', '0', '.', '0', '.', '1', ':', '1',
    };
    struct ticket ticket = sample();
    uint8_t bytes[BATON_TICKET_BYTES_MAX], mended[sizeof(golden) + 4];
    size_t length = ticket_encode(&ticket, bytes);

    CHECK(length == sizeof(golden) + 4);
    CHECK(!memcmp(bytes, golden, sizeof(golden)));
    memcpy(mended, bytes, sizeof(mended));
    mend(mended, sizeof(mended));
    CHECK(!memcmp(bytes, mended, sizeof(mended)));
}

/* What is encoded comes back, with any number of endpoints. */
TEST(ticket_round_trip)
{
    for (unsigned endpoints = 0; endpoints <= BATON_ENDPOINTS_MAX; endpoints++) {
        struct ticket ticket = sample(), back;
        uint8_t bytes[BATON_TICKET_BYTES_MAX];
        size_t length;

        ticket.endpoint_count = endpoints;
        for (unsigned i = 0; i < endpoints; i++) {
            snprintf(ticket.endpoint[i], BATON_ENDPOINT_BYTES_MAX, "tcp:10.0.0.%u:7000", i);
        }
        length = ticket_encode(&ticket, bytes);
        CHECK(length > 0);
        CHECK(ticket_decode(bytes, length, &back, NULL) == BATON_OK);
        CHECK(equal(&ticket, &back));
    }
}

/* A ticket that lost its end is refused, wherever it was cut, and the message says so. */
TEST(ticket_truncated)
{
    struct ticket ticket = sample();
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
    size_t whole = ticket_encode(&ticket, bytes);

    for (size_t length = 0; length < whole; length++) {
        CHECK(refused(bytes, length, length < 8 ? "too short" : "truncated"));
    }
}

/* Whatever byte of a ticket is changed, to whatever value: it is refused. */
TEST(ticket_flipped_byte)
{
    struct ticket ticket = sample();
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
    size_t length = ticket_encode(&ticket, bytes);

    for (size_t at = 0; at < length; at++) {
        for (unsigned change = 1; change < 256; change++) {
            bytes[at] ^= (uint8_t)change;
            CHECK(refused(bytes, length, ""));
            bytes[at] ^= (uint8_t)change;
        }
    }
}

/* Put `value` into a sample ticket, mend its checksum, and expect a message with `word`. */
static bool patched_refused(size_t at, unsigned width, uint64_t value, const char *word)
{
    struct ticket ticket = sample();
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
    size_t length = ticket_encode(&ticket, bytes);

    for (unsigned i = 0; i < width; i++) {
        bytes[at + i] = (uint8_t)(value >> 8 * i);
    }
    mend(bytes, length);
    return refused(bytes, length, word);
}

/* Each way to be malformed has its own message. */
TEST(ticket_messages)
{
    CHECK(patched_refused(0, 4, 0, "not a ticket"));
    CHECK(patched_refused(AT_VERSION, 2, 2, "version 2"));
    CHECK(patched_refused(AT_VERSION, 2, 0, "version 0"));
    CHECK(patched_refused(AT_LENGTH, 2, 118, "truncated: 117 of its 118"));
    CHECK(patched_refused(AT_LENGTH, 2, 116, "follows"));
    CHECK(patched_refused(AT_LENGTH, 2, 92, "92 bytes"));
    CHECK(patched_refused(AT_LENGTH, 2, 513, "513 bytes"));
    CHECK(patched_refused(AT_SLOT, 4, BATON_READERS_MAX, "slot 8"));
    CHECK(patched_refused(AT_BLOCK_BYTES, 8, 0, "block_bytes 0"));
    CHECK(patched_refused(AT_BLOCK_BYTES, 8, (1u << 30) + 1, "block_bytes 1073741825"));
    CHECK(patched_refused(AT_BLOCK_COUNT, 4, 0, "block_count 0"));
    CHECK(patched_refused(AT_BLOCK_COUNT, 4, BATON_HANDOFF_BLOCKS_MAX + 1, "block_count 131073"));
    CHECK(patched_refused(AT_ENDPOINT_COUNT, 1, BATON_ENDPOINTS_MAX + 1, "endpoint count 5"));
    CHECK(patched_refused(AT_ENDPOINT_COUNT, 1, 3, "endpoint 2"));
    CHECK(patched_refused(AT_ENDPOINT_COUNT, 1, 1, "16 bytes follow"));
    CHECK(patched_refused(AT_ENDPOINTS, 1, 0, "endpoint 0"));
    CHECK(patched_refused(AT_ENDPOINTS, 1, 24, "endpoint 0"));
    CHECK(patched_refused(AT_ENDPOINTS, 1, 108, "endpoint 0"));
    CHECK(patched_refused(AT_ENDPOINTS + 1, 1, 0, "not printable"));
    CHECK(patched_refused(AT_ENDPOINTS + 3, 1, '\n', "not printable"));
    CHECK(patched_refused(AT_ENDPOINTS + 3, 1, 0xc3, "not printable"));
}

/* A wrong checksum has its message as well, and on an error nothing is written. */
TEST(ticket_checksum)
{
    struct ticket ticket = sample(), back, before;
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
    size_t length = ticket_encode(&ticket, bytes);

    memset(&back, 0x5a, sizeof(back));
    before = back;
    bytes[AT_SECRET] ^= 1;
    CHECK(refused(bytes, length, "checksum"));
    CHECK(ticket_decode(bytes, length, &back, NULL) == BATON_ETICKET);
    CHECK(!memcmp(&back, &before, sizeof(back)));
}

static void fill(char *text, size_t length)
{
    memset(text, 'e', length);
    text[length] = '\0';
}

/* The largest ticket has exactly 512 bytes and its text 683 characters; one more does not fit. */
TEST(ticket_largest)
{
    struct ticket ticket = sample(), back;
    uint8_t bytes[BATON_TICKET_BYTES_MAX], again[BATON_TICKET_BYTES_MAX];
    char text[BATON_TICKET_TEXT_BYTES_MAX];
    size_t length, left = BATON_TICKET_BYTES_MAX - AT_ENDPOINTS - 4 - BATON_ENDPOINTS_MAX;

    ticket.endpoint_count = BATON_ENDPOINTS_MAX;
    for (unsigned i = 0; i < BATON_ENDPOINTS_MAX - 1; i++) {
        fill(ticket.endpoint[i], BATON_ENDPOINT_BYTES_MAX - 1);
        left -= BATON_ENDPOINT_BYTES_MAX - 1;
    }
    fill(ticket.endpoint[BATON_ENDPOINTS_MAX - 1], left);
    length = ticket_encode(&ticket, bytes);
    CHECK(length == BATON_TICKET_BYTES_MAX);
    CHECK(ticket_decode(bytes, length, &back, NULL) == BATON_OK && equal(&ticket, &back));
    CHECK(baton_ticket_to_text(bytes, length, text) == BATON_OK);
    CHECK(strlen(text) == 683);
    CHECK(baton_ticket_from_text(text, again, &length, NULL) == BATON_OK);
    CHECK(length == BATON_TICKET_BYTES_MAX && !memcmp(bytes, again, length));
    fill(ticket.endpoint[BATON_ENDPOINTS_MAX - 1], left + 1);
    CHECK(ticket_encode(&ticket, bytes) == 0);
}

/* Endpoints that a ticket can not carry give 0. */
TEST(ticket_endpoints_that_do_not_fit)
{
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
    struct ticket ticket = sample();

    ticket.endpoint_count = BATON_ENDPOINTS_MAX + 1;
    CHECK(ticket_encode(&ticket, bytes) == 0);
    ticket = sample();
    memset(ticket.endpoint[1], 'e', BATON_ENDPOINT_BYTES_MAX); /* no closing NUL */
    CHECK(ticket_encode(&ticket, bytes) == 0);
    ticket = sample();
    ticket.endpoint[0][0] = '\0';
    CHECK(ticket_encode(&ticket, bytes) == 0);
    ticket = sample();
    ticket.endpoint[0][2] = '\t';
    CHECK(ticket_encode(&ticket, bytes) == 0);
}

/* Text and back, for every remainder of three bytes; the text needs no escaping in a URL. */
TEST(ticket_text_round_trip)
{
    for (unsigned extra = 0; extra < 3; extra++) {
        struct ticket ticket = sample();
        uint8_t bytes[BATON_TICKET_BYTES_MAX], back[BATON_TICKET_BYTES_MAX];
        char text[BATON_TICKET_TEXT_BYTES_MAX];
        size_t length, back_length = 0;

        fill(ticket.endpoint[0], 8 + extra);
        length = ticket_encode(&ticket, bytes);
        CHECK(baton_ticket_to_text(bytes, length, text) == BATON_OK);
        CHECK(!strncmp(text, "QlRLVAEA", 8)); /* "BTKT", version 1 */
        CHECK(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") ==
              strlen(text));
        CHECK(strlen(text) == (length * 4 + 2) / 3);
        CHECK(baton_ticket_from_text(text, back, &back_length, NULL) == BATON_OK);
        CHECK(back_length == length && !memcmp(bytes, back, length));
    }
}

static bool text_refused(const char *text, const char *word)
{
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
    struct baton_error error = {0};
    size_t length = 12345;
    baton_err err = baton_ticket_from_text(text, bytes, &length, &error);

    CHECK(length == 12345);
    CHECK(baton_ticket_from_text(text, bytes, &length, NULL) == err);
    if (err == BATON_ETICKET && strstr(error.text, word)) {
        return true;
    }
    printf("  expected \"%s\", got %d \"%s\"\n", word, (int)err, error.text);
    return false;
}

/* Characters of other alphabets, padding, white space, cut and foreign texts are refused. */
TEST(ticket_text_malformed)
{
    struct ticket ticket = sample();
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
    char text[BATON_TICKET_TEXT_BYTES_MAX], bad[2 * BATON_TICKET_TEXT_BYTES_MAX];
    size_t length = ticket_encode(&ticket, bytes);
    static const char foreign[] = "+/= \n.%\x7f\xc3";

    CHECK(baton_ticket_to_text(bytes, length, text) == BATON_OK);
    for (const char *c = foreign; *c; c++) {
        snprintf(bad, sizeof(bad), "%s", text);
        bad[20] = *c;
        CHECK(text_refused(bad, "foreign character"));
        snprintf(bad, sizeof(bad), "%s%c", text, *c);
        CHECK(text_refused(bad, "foreign character"));
    }
    for (size_t cut = 0; cut < strlen(text); cut++) {
        snprintf(bad, sizeof(bad), "%.*s", (int)cut, text);
        CHECK(text_refused(bad, ""));
    }
    memset(bad, 'A', 684);
    bad[684] = '\0';
    CHECK(text_refused(bad, "longer than 683"));
    CHECK(text_refused("", "too short"));
    CHECK(text_refused("aGVsbG8gd29ybGQ", "not a ticket"));
}

/* The unused bits of the last character must be zero: a ticket has one text only. */
TEST(ticket_text_canonical)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    for (unsigned extra = 0; extra < 3; extra++) {
        struct ticket ticket = sample();
        uint8_t bytes[BATON_TICKET_BYTES_MAX];
        char text[BATON_TICKET_TEXT_BYTES_MAX], *last, right;
        unsigned accepted = 0;
        size_t length;

        fill(ticket.endpoint[0], 8 + extra);
        length = ticket_encode(&ticket, bytes);
        CHECK(baton_ticket_to_text(bytes, length, text) == BATON_OK);
        last = text + strlen(text) - 1;
        right = *last;
        for (const char *d = digits; *d; d++) {
            *last = *d;
            if (baton_ticket_from_text(text, bytes, &length, NULL) == BATON_OK) {
                CHECK(*d == right);
                accepted++;
            }
        }
        CHECK(accepted == 1);
    }
}

/* The view shows what a ticket says and never its secret. */
TEST(ticket_view)
{
    struct ticket ticket = sample();
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
    struct baton_ticket_view view;
    struct baton_error error;
    size_t length = ticket_encode(&ticket, bytes);

    CHECK(baton_ticket_inspect(bytes, length, &view, &error) == BATON_OK);
    CHECK(!memcmp(view.incarnation, ticket.incarnation, ID_BYTES));
    CHECK(view.offer_id == ticket.offer_id && view.slot == 5);
    CHECK(view.block_bytes == 0x10000 && view.block_count == 0x1234);
    CHECK(view.bytes_total == UINT64_C(0x10000) * 0x1234);
    CHECK(view.endpoints == 2 && !strcmp(view.endpoint[1], "tcp:127.0.0.1:1"));
    CHECK(!memmem(&view, sizeof(view), ticket.secret, ID_BYTES));
    CHECK(baton_ticket_inspect(bytes, length - 1, &view, &error) == BATON_ETICKET);
    CHECK(strstr(error.text, "truncated"));
    CHECK(baton_ticket_inspect(NULL, 0, &view, &error) == BATON_EINVAL);
}

/* Each missing argument is said, and nothing is written. */
TEST(ticket_calls_without_an_argument)
{
    struct ticket ticket = sample();
    uint8_t bytes[BATON_TICKET_BYTES_MAX], back[BATON_TICKET_BYTES_MAX] = {7};
    char text[BATON_TICKET_TEXT_BYTES_MAX], untouched[BATON_TICKET_TEXT_BYTES_MAX] = "7";
    size_t length = ticket_encode(&ticket, bytes), back_length = 7;
    struct baton_error error;

    CHECK(baton_ticket_to_text(NULL, length, untouched) == BATON_EINVAL);
    CHECK(baton_ticket_to_text(bytes, length, NULL) == BATON_EINVAL);
    CHECK(baton_ticket_to_text(bytes, length - 1, untouched) == BATON_ETICKET);
    CHECK(baton_ticket_to_text(bytes, length, text) == BATON_OK);
    CHECK(baton_ticket_from_text(NULL, back, &back_length, &error) == BATON_EINVAL);
    CHECK(strstr(error.text, "must be given"));
    CHECK(baton_ticket_from_text(text, NULL, &back_length, NULL) == BATON_EINVAL);
    CHECK(baton_ticket_from_text(text, back, NULL, NULL) == BATON_EINVAL);
    CHECK(baton_ticket_inspect(bytes, length, NULL, &error) == BATON_EINVAL);
    CHECK(back[0] == 7 && back_length == 7 && !strcmp(untouched, "7"));
}

/* Random bytes behind a good head and a good checksum get an answer, and tickets survive a cycle.
 */
TEST(ticket_random_bytes)
{
    struct prng prng;
    struct ticket ticket = sample();
    uint8_t good[BATON_TICKET_BYTES_MAX];
    size_t length = ticket_encode(&ticket, good);

    prng_init(&prng, 4);
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t bytes[BATON_TICKET_BYTES_MAX], again[BATON_TICKET_BYTES_MAX];
        struct ticket back;

        memcpy(bytes, good, length);
        for (unsigned changes = 0; changes < 3; changes++) {
            bytes[8 + prng_below(&prng, length - 8)] = (uint8_t)prng_next(&prng);
        }
        mend(bytes, length);
        if (ticket_decode(bytes, length, &back, NULL) == BATON_OK) {
            CHECK(ticket_encode(&back, again) == length && !memcmp(bytes, again, length));
        }
    }
}
