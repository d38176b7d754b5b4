/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three headers of a bulk connection: READ from the sink, DATA and TRAILER from the source.
 * Fixed sizes, little-endian; docs/PROTOCOL.md lists each byte.  Pure: no sockets, no limits that
 * depend on options.
 */
#ifndef BATON_TRANSPORT_TCP_PROTO_H
#define BATON_TRANSPORT_TCP_PROTO_H

#include <stdbool.h>
#include <stdint.h>

enum {
    BULK_READ_BYTES = 48,
    BULK_DATA_BYTES = 40,
    BULK_TRAILER_BYTES = 16,
    BULK_READ_MAGIC = 0x31445242,    /* "BRD1" */
    BULK_DATA_MAGIC = 0x31544442,    /* "BDT1" */
    BULK_TRAILER_MAGIC = 0x31525442, /* "BTR1" */
};

enum bulk_status {
    BULK_OK = 0,
    BULK_REFUSED = 1, /* DATA only: no payload and no trailer follow */
    BULK_ABORTED = 2, /* TRAILER only: the last bytes of the payload are filler */
    BULK_PUSHED = 3,  /* DATA only: as OK, but it answers no READ: the window was granted */
};

struct bulk_read {
    uint32_t slot;
    uint64_t offer_id;
    uint64_t fetch_id;
    uint64_t attempt;
    uint64_t offset;
    uint64_t length; /* > 0; offset + length does not overflow */
};

struct bulk_data {
    enum bulk_status status; /* OK, REFUSED or PUSHED */
    uint64_t fetch_id;
    uint64_t attempt;
    uint64_t offset;
    uint64_t length; /* REFUSED: 0; else > 0 */
};

struct bulk_trailer {
    enum bulk_status status; /* OK or ABORTED */
    uint64_t bytes;          /* of the payload that came from the source's blocks */
};

void bulk_read_encode(const struct bulk_read *read, uint8_t ret_bytes[BULK_READ_BYTES]);
void bulk_data_encode(const struct bulk_data *data, uint8_t ret_bytes[BULK_DATA_BYTES]);
void bulk_trailer_encode(const struct bulk_trailer *trailer, uint8_t ret_bytes[BULK_TRAILER_BYTES]);

/* False: not such a header, or a field out of its range; nothing was written. */
bool bulk_read_decode(const uint8_t bytes[BULK_READ_BYTES], struct bulk_read *ret_read);
bool bulk_data_decode(const uint8_t bytes[BULK_DATA_BYTES], struct bulk_data *ret_data);
bool bulk_trailer_decode(const uint8_t bytes[BULK_TRAILER_BYTES], struct bulk_trailer *ret_trailer);

#endif
