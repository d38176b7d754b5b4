/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Little-endian integers in byte strings, at any alignment and on any host.  The caller has checked
 * that the bytes are there: nothing here knows a length.
 */
#ifndef BATON_UTIL_BYTES_H
#define BATON_UTIL_BYTES_H

#include <stdint.h>

static inline void bytes_put_u8(uint8_t *p, uint8_t v)
{
    p[0] = v;
}

static inline void bytes_put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void bytes_put_u32(uint8_t *p, uint32_t v)
{
    bytes_put_u16(p, (uint16_t)v);
    bytes_put_u16(p + 2, (uint16_t)(v >> 16));
}

static inline void bytes_put_u64(uint8_t *p, uint64_t v)
{
    bytes_put_u32(p, (uint32_t)v);
    bytes_put_u32(p + 4, (uint32_t)(v >> 32));
}

static inline uint8_t bytes_get_u8(const uint8_t *p)
{
    return p[0];
}

static inline uint16_t bytes_get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t bytes_get_u32(const uint8_t *p)
{
    return bytes_get_u16(p) | (uint32_t)bytes_get_u16(p + 2) << 16;
}

static inline uint64_t bytes_get_u64(const uint8_t *p)
{
    return bytes_get_u32(p) | (uint64_t)bytes_get_u32(p + 4) << 32;
}

#endif
