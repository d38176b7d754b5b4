/* SPDX-License-Identifier: Apache-2.0 */
/* Encode and decode the headers of a bulk connection.  Pure; knows nothing of links or windows. */
#include "transport/tcp_proto.h"

#include "util/assert.h"
#include "util/bytes.h"

void bulk_read_encode(const struct bulk_read *read, uint8_t ret_bytes[BULK_READ_BYTES])
{
    BATON_ASSERT(read->length > 0);
    BATON_ASSERT(read->offset <= UINT64_MAX - read->length);
    bytes_put_u32(ret_bytes, BULK_READ_MAGIC);
    bytes_put_u32(ret_bytes + 4, read->slot);
    bytes_put_u64(ret_bytes + 8, read->offer_id);
    bytes_put_u64(ret_bytes + 16, read->fetch_id);
    bytes_put_u64(ret_bytes + 24, read->attempt);
    bytes_put_u64(ret_bytes + 32, read->offset);
    bytes_put_u64(ret_bytes + 40, read->length);
}

bool bulk_read_decode(const uint8_t bytes[BULK_READ_BYTES], struct bulk_read *ret_read)
{
    uint64_t offset = bytes_get_u64(bytes + 32);
    uint64_t length = bytes_get_u64(bytes + 40);

    if (bytes_get_u32(bytes) != BULK_READ_MAGIC || length == 0 || offset > UINT64_MAX - length) {
        return false;
    }
    *ret_read = (struct bulk_read){
        .slot = bytes_get_u32(bytes + 4),
        .offer_id = bytes_get_u64(bytes + 8),
        .fetch_id = bytes_get_u64(bytes + 16),
        .attempt = bytes_get_u64(bytes + 24),
        .offset = offset,
        .length = length,
    };
    return true;
}

void bulk_data_encode(const struct bulk_data *data, uint8_t ret_bytes[BULK_DATA_BYTES])
{
    BATON_ASSERT(data->status == BULK_OK || data->status == BULK_REFUSED ||
                 data->status == BULK_PUSHED);
    BATON_ASSERT((data->status == BULK_REFUSED) == (data->length == 0));
    bytes_put_u32(ret_bytes, BULK_DATA_MAGIC);
    bytes_put_u32(ret_bytes + 4, data->status);
    bytes_put_u64(ret_bytes + 8, data->fetch_id);
    bytes_put_u64(ret_bytes + 16, data->attempt);
    bytes_put_u64(ret_bytes + 24, data->offset);
    bytes_put_u64(ret_bytes + 32, data->length);
}

bool bulk_data_decode(const uint8_t bytes[BULK_DATA_BYTES], struct bulk_data *ret_data)
{
    uint32_t status = bytes_get_u32(bytes + 4);
    uint64_t length = bytes_get_u64(bytes + 32);

    if (bytes_get_u32(bytes) != BULK_DATA_MAGIC ||
        (status != BULK_OK && status != BULK_REFUSED && status != BULK_PUSHED) ||
        (status == BULK_REFUSED) != (length == 0)) {
        return false;
    }
    *ret_data = (struct bulk_data){
        .status = status,
        .fetch_id = bytes_get_u64(bytes + 8),
        .attempt = bytes_get_u64(bytes + 16),
        .offset = bytes_get_u64(bytes + 24),
        .length = length,
    };
    return true;
}

void bulk_trailer_encode(const struct bulk_trailer *trailer, uint8_t ret_bytes[BULK_TRAILER_BYTES])
{
    BATON_ASSERT(trailer->status == BULK_OK || trailer->status == BULK_ABORTED);
    bytes_put_u32(ret_bytes, BULK_TRAILER_MAGIC);
    bytes_put_u32(ret_bytes + 4, trailer->status);
    bytes_put_u64(ret_bytes + 8, trailer->bytes);
}

bool bulk_trailer_decode(const uint8_t bytes[BULK_TRAILER_BYTES], struct bulk_trailer *ret_trailer)
{
    uint32_t status = bytes_get_u32(bytes + 4);

    if (bytes_get_u32(bytes) != BULK_TRAILER_MAGIC ||
        (status != BULK_OK && status != BULK_ABORTED)) {
        return false;
    }
    *ret_trailer = (struct bulk_trailer){.status = status, .bytes = bytes_get_u64(bytes + 8)};
    return true;
}
