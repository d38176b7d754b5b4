/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A payload that identifies itself: every 64-bit word is mix(incarnation, content id, offset), so
 * that a torn, stale or foreign byte is seen by whoever knows the three.  Offsets and lengths are
 * multiples of 8 bytes.  Pure.
 */
#ifndef BATON_TOOLS_PAYLOAD_H
#define BATON_TOOLS_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

/* What incarnation and content id come to. */
uint64_t payload_seed(const uint8_t incarnation[16], uint64_t content_id);

/* Write the payload's bytes from `offset` on. */
void payload_write(uint64_t seed, uint64_t offset, void *ret_bytes, size_t length);

/* How many of the bytes are not the payload's. */
uint64_t payload_wrong_bytes(uint64_t seed, uint64_t offset, const void *bytes, size_t length);

#endif
