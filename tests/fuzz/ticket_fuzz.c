/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: tickets, as bytes, as bytes whose envelope (length and checksum) was mended so that
 * the fields behind it are reached, and as text.  Promises: every input ends in an answer; what is
 * accepted encodes to the very bytes, or the very text, that it came from.
 */
#include "fuzz/fuzz.h"

#include <string.h>

#include "util/bytes.h"
#include "wire/ticket.h"

static void check_view(const uint8_t *bytes, size_t length, const struct ticket *ticket)
{
    struct baton_ticket_view view;

    FUZZ_CHECK(baton_ticket_inspect(bytes, length, &view, NULL) == BATON_OK);
    FUZZ_CHECK(view.slot < BATON_READERS_MAX && view.endpoints <= BATON_ENDPOINTS_MAX);
    FUZZ_CHECK(view.block_count <= BATON_HANDOFF_BLOCKS_MAX);
    FUZZ_CHECK(view.bytes_total == ticket->block_bytes * ticket->block_count);
    for (unsigned i = 0; i < view.endpoints; i++) {
        FUZZ_CHECK(strlen(view.endpoint[i]) < BATON_ENDPOINT_BYTES_MAX);
    }
}

static void check_bytes(const uint8_t *bytes, size_t length)
{
    uint8_t again[BATON_TICKET_BYTES_MAX];
    char text[BATON_TICKET_TEXT_BYTES_MAX];
    struct ticket ticket;
    struct baton_error error = {0};
    baton_err err = ticket_decode(bytes, length, &ticket, &error);
    size_t again_length;

    if (err) {
        FUZZ_CHECK(err == BATON_ETICKET && error.code == err && error.text[0]);
        return;
    }
    FUZZ_CHECK(ticket_encode(&ticket, again) == length && !memcmp(bytes, again, length));
    FUZZ_CHECK(baton_ticket_to_text(bytes, length, text) == BATON_OK);
    FUZZ_CHECK(strlen(text) < BATON_TICKET_TEXT_BYTES_MAX);
    FUZZ_CHECK(baton_ticket_from_text(text, again, &again_length, NULL) == BATON_OK);
    FUZZ_CHECK(again_length == length && !memcmp(bytes, again, length));
    check_view(bytes, length, &ticket);
}

static uint32_t checksum(const uint8_t *bytes, size_t length)
{
    uint32_t crc = UINT32_MAX;

    for (size_t bit = 0; bit < 8 * length; bit++) {
        unsigned in = (bytes[bit / 8] >> bit % 8 & 1u) ^ (crc & 1u);

        crc = crc >> 1 ^ (in ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void check_mended(const uint8_t *bytes, size_t length)
{
    uint8_t mended[BATON_TICKET_BYTES_MAX];

    if (length < 12 || length > sizeof(mended)) {
        return;
    }
    memcpy(mended, bytes, length);
    bytes_put_u16(mended + 6, (uint16_t)length);
    bytes_put_u32(mended + length - 4, checksum(mended, length - 4));
    check_bytes(mended, length);
}

static void check_text(const uint8_t *bytes, size_t length)
{
    char *text = malloc(length + 1), again[BATON_TICKET_TEXT_BYTES_MAX];
    uint8_t ticket[BATON_TICKET_BYTES_MAX];
    struct baton_error error = {0};
    size_t ticket_length;
    baton_err err;

    FUZZ_CHECK(text);
    memcpy(text, bytes, length);
    text[length] = '\0';
    err = baton_ticket_from_text(text, ticket, &ticket_length, &error);
    if (err) {
        FUZZ_CHECK(err == BATON_ETICKET && error.code == err && error.text[0]);
    } else {
        FUZZ_CHECK(baton_ticket_to_text(ticket, ticket_length, again) == BATON_OK);
        FUZZ_CHECK(!strcmp(text, again));
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    check_bytes(bytes, length);
    check_mended(bytes, length);
    check_text(bytes, length);
    return 0;
}

/* Tickets with 0 to 4 endpoints as bytes, then the same as text. */
unsigned fuzz_seed_count(void)
{
    return 2 * (BATON_ENDPOINTS_MAX + 1);
}

size_t fuzz_seed(unsigned index, uint8_t *ret_bytes)
{
    struct ticket ticket = {
        .incarnation = {1, 2, 3},
        .offer_id = 7,
        .slot = 1,
        .secret = {9, 8, 7},
        .block_bytes = 65536,
        .block_count = 100,
        .layout = {32, 2, 16, 8, 4, 2},
        .endpoint_count = index % (BATON_ENDPOINTS_MAX + 1),
        .endpoint = {"unix:@baton", "tcp:127.0.0.1:7000", "unix:/run/baton", "tcp:[::1]:7000"},
    };
    char text[BATON_TICKET_TEXT_BYTES_MAX];
    size_t length = ticket_encode(&ticket, ret_bytes);

    if (index > BATON_ENDPOINTS_MAX) {
        FUZZ_CHECK(baton_ticket_to_text(ret_bytes, length, text) == BATON_OK);
        length = strlen(text);
        memcpy(ret_bytes, text, length);
    }
    return length;
}
