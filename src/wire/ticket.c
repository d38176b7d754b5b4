/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec of tickets, in bytes and as text, and the public functions that show one.  It does not
 * know whether a ticket's offer exists or its secret is right: only the source does.
 *
 * No message names the secret.
 */
#include "wire/ticket.h"

#include <inttypes.h>
#include <string.h>

#include "util/assert.h"
#include "util/bytes.h"
#include "util/error.h"
#include "wire/limits.h"

enum {
    TICKET_MAGIC = 0x544b5442, /* "BTKT" */
    TICKET_VERSION = 1,
    /* Where the fields lie.  Magic, version and length stay there in every version. */
    AT_MAGIC = 0,
    AT_VERSION = 4, /* u16 */
    AT_LENGTH = 6,  /* u16: of the whole ticket, so that a truncated one is told from a typo */
    AT_INCARNATION = 8,
    AT_OFFER = 24,
    AT_SLOT = 32,
    AT_SECRET = 36,
    AT_BLOCK_BYTES = 52,
    AT_BLOCK_COUNT = 60,
    AT_LAYOUT = 64,
    AT_ENDPOINT_COUNT = 88, /* u8; then {u8 length, text} each */
    AT_ENDPOINTS = 89,
    HEAD_BYTES = 8,
    CHECKSUM_BYTES = 4, /* the last ones */
    TICKET_BYTES_MIN = AT_ENDPOINTS + CHECKSUM_BYTES,
    /* Unpadded base64 of the largest ticket. */
    TEXT_LENGTH_MAX = (BATON_TICKET_BYTES_MAX * 4 + 2) / 3,
};

_Static_assert(TEXT_LENGTH_MAX + 1 <= BATON_TICKET_TEXT_BYTES_MAX, "the text and its NUL fit");

/* CRC-32 with the polynomial of IEEE 802.3: finds every change within 4 neighbouring bytes. */
static uint32_t checksum(const uint8_t *bytes, size_t length)
{
    /* Of each value of four bits. */
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

static bool printable(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] < WIRE_TEXT_FIRST || text[i] > WIRE_TEXT_LAST) {
            return false;
        }
    }
    return true;
}

static void layout_put(uint8_t *ret_bytes, const struct baton_layout *layout)
{
    bytes_put_u32(ret_bytes, layout->layers);
    bytes_put_u32(ret_bytes + 4, layout->kv_parts);
    bytes_put_u32(ret_bytes + 8, layout->block_tokens);
    bytes_put_u32(ret_bytes + 12, layout->heads);
    bytes_put_u32(ret_bytes + 16, layout->head_size);
    bytes_put_u32(ret_bytes + 20, layout->dtype_bytes);
}

static struct baton_layout layout_get(const uint8_t *bytes)
{
    return (struct baton_layout){
        .layers = bytes_get_u32(bytes),
        .kv_parts = bytes_get_u32(bytes + 4),
        .block_tokens = bytes_get_u32(bytes + 8),
        .heads = bytes_get_u32(bytes + 12),
        .head_size = bytes_get_u32(bytes + 16),
        .dtype_bytes = bytes_get_u32(bytes + 20),
    };
}

/* The length of a ticket with these endpoints; 0 when it can not carry them. */
static size_t encoded_bytes(const struct ticket *ticket)
{
    size_t bytes = TICKET_BYTES_MIN;

    if (ticket->endpoint_count > BATON_ENDPOINTS_MAX) {
        return 0;
    }
    for (unsigned i = 0; i < ticket->endpoint_count; i++) {
        size_t length = strnlen(ticket->endpoint[i], BATON_ENDPOINT_BYTES_MAX);

        if (!length || length == BATON_ENDPOINT_BYTES_MAX ||
            !printable(ticket->endpoint[i], length)) {
            return 0;
        }
        bytes += 1 + length;
    }
    return bytes <= BATON_TICKET_BYTES_MAX ? bytes : 0;
}

size_t ticket_encode(const struct ticket *ticket, uint8_t *ret_bytes)
{
    size_t bytes = encoded_bytes(ticket);
    uint8_t *at = ret_bytes + AT_ENDPOINTS;

    BATON_ASSERT(ticket->slot < BATON_READERS_MAX);
    BATON_ASSERT(ticket->block_bytes > 0 && ticket->block_bytes <= WIRE_BLOCK_BYTES_MAX);
    BATON_ASSERT(ticket->block_count > 0 && ticket->block_count <= BATON_HANDOFF_BLOCKS_MAX);
    if (!bytes) {
        return 0;
    }
    bytes_put_u32(ret_bytes + AT_MAGIC, TICKET_MAGIC);
    bytes_put_u16(ret_bytes + AT_VERSION, TICKET_VERSION);
    bytes_put_u16(ret_bytes + AT_LENGTH, (uint16_t)bytes);
    memcpy(ret_bytes + AT_INCARNATION, ticket->incarnation, ID_BYTES);
    bytes_put_u64(ret_bytes + AT_OFFER, ticket->offer_id);
    bytes_put_u32(ret_bytes + AT_SLOT, ticket->slot);
    memcpy(ret_bytes + AT_SECRET, ticket->secret, ID_BYTES);
    bytes_put_u64(ret_bytes + AT_BLOCK_BYTES, ticket->block_bytes);
    bytes_put_u32(ret_bytes + AT_BLOCK_COUNT, ticket->block_count);
    layout_put(ret_bytes + AT_LAYOUT, &ticket->layout);
    ret_bytes[AT_ENDPOINT_COUNT] = (uint8_t)ticket->endpoint_count;
    for (unsigned i = 0; i < ticket->endpoint_count; i++) {
        size_t length = strnlen(ticket->endpoint[i], BATON_ENDPOINT_BYTES_MAX);

        *at++ = (uint8_t)length;
        memcpy(at, ticket->endpoint[i], length);
        at += length;
    }
    BATON_ASSERT(at + CHECKSUM_BYTES == ret_bytes + bytes);
    bytes_put_u32(at, checksum(ret_bytes, bytes - CHECKSUM_BYTES));
    return bytes;
}

/* That these bytes are a whole, unharmed ticket of this version.  Its fields are not looked at. */
static baton_err envelope_check(const uint8_t *bytes, size_t length, struct baton_error *ret_error)
{
    uint16_t version, stated;

    if (length < HEAD_BYTES) {
        return error_set(ret_error, BATON_ETICKET,
                         "the ticket is too short: %zu bytes, the shortest has %d", length,
                         TICKET_BYTES_MIN);
    }
    if (bytes_get_u32(bytes + AT_MAGIC) != TICKET_MAGIC) {
        return error_set(ret_error, BATON_ETICKET,
                         "these %zu bytes are not a ticket: they start with 0x%08" PRIx32
                         ", a ticket with 0x%08x",
                         length, bytes_get_u32(bytes + AT_MAGIC), (unsigned)TICKET_MAGIC);
    }
    version = bytes_get_u16(bytes + AT_VERSION);
    if (version != TICKET_VERSION) {
        return error_set(ret_error, BATON_ETICKET,
                         "the ticket is of version %u, this library knows version %d only", version,
                         TICKET_VERSION);
    }
    stated = bytes_get_u16(bytes + AT_LENGTH);
    if (stated < TICKET_BYTES_MIN || stated > BATON_TICKET_BYTES_MAX) {
        return error_set(ret_error, BATON_ETICKET,
                         "the ticket says that it has %u bytes, which is not within %d..%d", stated,
                         TICKET_BYTES_MIN, BATON_TICKET_BYTES_MAX);
    }
    if (length < stated) {
        return error_set(ret_error, BATON_ETICKET, "the ticket is truncated: %zu of its %u bytes",
                         length, stated);
    }
    if (length > stated) {
        return error_set(ret_error, BATON_ETICKET,
                         "the ticket has %u bytes, but %zu were given: something follows it",
                         stated, length);
    }
    if (bytes_get_u32(bytes + length - CHECKSUM_BYTES) !=
        checksum(bytes, length - CHECKSUM_BYTES)) {
        return error_set(ret_error, BATON_ETICKET,
                         "the ticket's checksum is wrong: it was changed on its way");
    }
    return BATON_OK;
}

static baton_err fields_check(const struct ticket *ticket, struct baton_error *ret_error)
{
    if (ticket->slot >= BATON_READERS_MAX) {
        return error_set(ret_error, BATON_ETICKET,
                         "the ticket's slot %" PRIu32 " is out of range, at most %d", ticket->slot,
                         BATON_READERS_MAX - 1);
    }
    if (!ticket->block_bytes || ticket->block_bytes > WIRE_BLOCK_BYTES_MAX) {
        return error_set(ret_error, BATON_ETICKET,
                         "the ticket's block_bytes %" PRIu64 " is out of range 1..%d",
                         ticket->block_bytes, WIRE_BLOCK_BYTES_MAX);
    }
    if (!ticket->block_count || ticket->block_count > BATON_HANDOFF_BLOCKS_MAX) {
        return error_set(ret_error, BATON_ETICKET,
                         "the ticket's block_count %" PRIu32 " is out of range 1..%d",
                         ticket->block_count, BATON_HANDOFF_BLOCKS_MAX);
    }
    if (ticket->endpoint_count > BATON_ENDPOINTS_MAX) {
        return error_set(ret_error, BATON_ETICKET,
                         "the ticket's endpoint count %u is out of range, at most %d",
                         ticket->endpoint_count, BATON_ENDPOINTS_MAX);
    }
    return BATON_OK;
}

/* Read the endpoints, which must fill [at, end) exactly. */
static baton_err endpoints_get(const uint8_t *at, const uint8_t *end, struct ticket *ret_ticket,
                               struct baton_error *ret_error)
{
    BATON_ASSERT(ret_ticket->endpoint_count <= BATON_ENDPOINTS_MAX);
    for (unsigned i = 0; i < ret_ticket->endpoint_count; i++) {
        char *text = ret_ticket->endpoint[i];
        size_t left = (size_t)(end - at);
        size_t length = left ? *at : 0;

        if (!length || length >= BATON_ENDPOINT_BYTES_MAX || length > left - 1) {
            return error_set(ret_error, BATON_ETICKET,
                             "the length %zu of the ticket's endpoint %u is out of range", length,
                             i);
        }
        memcpy(text, at + 1, length);
        text[length] = '\0';
        if (!printable(text, length)) {
            return error_set(ret_error, BATON_ETICKET,
                             "the text of the ticket's endpoint %u is not printable", i);
        }
        at += 1 + length;
    }
    if (at != end) {
        return error_set(ret_error, BATON_ETICKET,
                         "%zu bytes follow the last of the ticket's %u endpoints",
                         (size_t)(end - at), ret_ticket->endpoint_count);
    }
    return BATON_OK;
}

baton_err ticket_decode(const uint8_t *bytes, size_t length, struct ticket *ret_ticket,
                        struct baton_error *ret_error)
{
    struct ticket ticket = {0};
    baton_err err = envelope_check(bytes, length, ret_error);

    if (err) {
        return err;
    }
    BATON_ASSERT(length >= TICKET_BYTES_MIN);
    memcpy(ticket.incarnation, bytes + AT_INCARNATION, ID_BYTES);
    ticket.offer_id = bytes_get_u64(bytes + AT_OFFER);
    ticket.slot = bytes_get_u32(bytes + AT_SLOT);
    memcpy(ticket.secret, bytes + AT_SECRET, ID_BYTES);
    ticket.block_bytes = bytes_get_u64(bytes + AT_BLOCK_BYTES);
    ticket.block_count = bytes_get_u32(bytes + AT_BLOCK_COUNT);
    ticket.layout = layout_get(bytes + AT_LAYOUT);
    ticket.endpoint_count = bytes[AT_ENDPOINT_COUNT];
    err = fields_check(&ticket, ret_error);
    if (err) {
        return err;
    }
    err = endpoints_get(bytes + AT_ENDPOINTS, bytes + length - CHECKSUM_BYTES, &ticket, ret_error);
    if (err) {
        return err;
    }
    *ret_ticket = ticket;
    return BATON_OK;
}

/*
 * Text: base64 with the alphabet of RFC 4648, section 5, without padding.  Each ticket has exactly
 * one text.
 */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void text_put(const uint8_t *bytes, size_t length, char *ret_text)
{
    uint32_t bits = 0;
    unsigned bit_count = 0;

    for (size_t i = 0; i < length; i++) {
        bits = bits << 8 | bytes[i];
        bit_count += 8;
        while (bit_count >= 6) {
            bit_count -= 6;
            *ret_text++ = digits[bits >> bit_count & 63];
        }
    }
    if (bit_count) {
        *ret_text++ = digits[bits << (6 - bit_count) & 63];
    }
    *ret_text = '\0';
}

static int digit_value(char c)
{
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* `ret_bytes` has room for length * 6 / 8 bytes. */
static baton_err text_get(const char *text, size_t length, uint8_t *ret_bytes,
                          struct baton_error *ret_error)
{
    uint32_t bits = 0;
    unsigned bit_count = 0;

    for (size_t i = 0; i < length; i++) {
        int value = digit_value(text[i]);

        if (value < 0) {
            return error_set(ret_error, BATON_ETICKET,
                             "the ticket's text has a foreign character, 0x%02x, at position %zu",
                             (unsigned)(uint8_t)text[i], i);
        }
        bits = bits << 6 | (uint32_t)value;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            *ret_bytes++ = (uint8_t)(bits >> bit_count);
        }
    }
    if (bit_count == 6 || bits & ((1u << bit_count) - 1)) {
        return error_set(ret_error, BATON_ETICKET,
                         "the ticket's text of %zu characters does not end where a byte ends: it "
                         "was cut or changed",
                         length);
    }
    return BATON_OK;
}

/*
 * Public functions
 */

baton_err baton_ticket_to_text(const void *ticket, size_t length, char *ret_text)
{
    struct ticket decoded;
    baton_err err;

    if (!ticket || !ret_text) {
        return BATON_EINVAL;
    }
    err = ticket_decode(ticket, length, &decoded, NULL);
    if (err) {
        return err;
    }
    text_put(ticket, length, ret_text);
    return BATON_OK;
}

baton_err baton_ticket_from_text(const char *text, void *ret_ticket, size_t *ret_length,
                                 struct baton_error *ret_error)
{
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
    struct ticket decoded;
    size_t text_length, length;
    baton_err err;

    if (!text || !ret_ticket || !ret_length) {
        return error_set(ret_error, BATON_EINVAL, "text, ret_ticket and ret_length must be given");
    }
    text_length = strnlen(text, TEXT_LENGTH_MAX + 1);
    if (text_length > TEXT_LENGTH_MAX) {
        return error_set(ret_error, BATON_ETICKET, "the ticket's text is longer than %d characters",
                         TEXT_LENGTH_MAX);
    }
    err = text_get(text, text_length, bytes, ret_error);
    if (err) {
        return err;
    }
    length = text_length * 6 / 8;
    err = ticket_decode(bytes, length, &decoded, ret_error);
    if (err) {
        return err;
    }
    memcpy(ret_ticket, bytes, length);
    *ret_length = length;
    return BATON_OK;
}

baton_err baton_ticket_inspect(const void *ticket, size_t length,
                               struct baton_ticket_view *ret_view, struct baton_error *ret_error)
{
    struct ticket decoded;
    baton_err err;

    if (!ticket || !ret_view) {
        return error_set(ret_error, BATON_EINVAL, "ticket and ret_view must be given");
    }
    err = ticket_decode(ticket, length, &decoded, ret_error);
    if (err) {
        return err;
    }
    *ret_view = (struct baton_ticket_view){
        .offer_id = decoded.offer_id,
        .slot = decoded.slot,
        .bytes_total = decoded.block_bytes * decoded.block_count,
        .block_bytes = decoded.block_bytes,
        .block_count = decoded.block_count,
        .endpoints = decoded.endpoint_count,
    };
    memcpy(ret_view->incarnation, decoded.incarnation, ID_BYTES);
    memcpy(ret_view->endpoint, decoded.endpoint, sizeof(ret_view->endpoint));
    return BATON_OK;
}
