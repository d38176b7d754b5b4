/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tickets: what lets a decode server fetch an offer.  A fixed byte order, a version, and a checksum
 * against truncation and typing errors (the secret is what authorises).  The text form is URL-safe
 * base64 without padding.  Pure.
 */
#ifndef BATON_WIRE_TICKET_H
#define BATON_WIRE_TICKET_H

#include "baton.h"
#include "wire/frame.h"

struct ticket {
    uint8_t incarnation[ID_BYTES];
    uint64_t offer_id;
    uint32_t slot;
    uint8_t secret[ID_BYTES];
    uint64_t block_bytes;
    uint32_t block_count;
    struct baton_layout layout;
    unsigned endpoint_count;
    char endpoint[BATON_ENDPOINTS_MAX][BATON_ENDPOINT_BYTES_MAX];
};

/* Encode into `ret_bytes` (room for BATON_TICKET_BYTES_MAX).  Returns the length; 0 when the
 * endpoints do not fit. */
size_t ticket_encode(const struct ticket *ticket, uint8_t *ret_bytes);

/* BATON_ETICKET with what is wrong: too short, not a ticket, unknown version, bad checksum, a field
 * out of range. */
baton_err ticket_decode(const uint8_t *bytes, size_t length, struct ticket *ret_ticket,
                        struct baton_error *ret_error);

#endif
