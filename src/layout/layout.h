/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts and plans.  A layout says how one rank's KV cache lies within a block; a plan names the
 * bytes to move from one rank's blocks to another's.  Both sides walk the same plan, so a window is
 * named by two numbers: offset and length in plan bytes.  Pure.
 *
 * Today both layouts are equal and a span is a block or several adjacent ones.  A plan between
 * different layouts will yield shorter spans with strides through the same cursor; nothing outside
 * this folder knows how spans come about.
 */
#ifndef BATON_LAYOUT_LAYOUT_H
#define BATON_LAYOUT_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton.h"

/* The bytes of a block that `layout` describes; 0 for an opaque layout; UINT64_MAX where the
 * product overflows. */
uint64_t layout_bytes(const struct baton_layout *layout);
bool layout_opaque(const struct baton_layout *layout);
bool layout_equal(const struct baton_layout *a, const struct baton_layout *b);

/* BATON_EINVAL, with both numbers in the message, unless the layout is opaque or fills
 * `block_bytes` exactly. */
baton_err layout_check(const struct baton_layout *layout, uint64_t block_bytes,
                       struct baton_error *ret_error);

/* The bytes of `block_count` whole blocks, in the order of the lists.  The lists are borrowed. */
struct plan {
    uint64_t block_bytes;
    uint32_t block_count;
    const uint32_t *source; /* block numbers at the source; NULL: walk the sink's side only */
    const uint32_t *sink;   /* block numbers at the sink; NULL: walk the source's side only */
};

/* Contiguous bytes on both sides.  The offset of a side that the plan does not know is 0. */
struct plan_span {
    uint64_t source_offset; /* bytes from the start of the source's pool */
    uint64_t sink_offset;   /* bytes from the start of the sink's pool */
    uint64_t length;
};

/* A place in a plan, and where to stop. */
struct plan_cursor {
    const struct plan *plan; /* borrowed */
    uint64_t offset;         /* plan bytes walked */
    uint64_t end;
};

uint64_t plan_bytes(const struct plan *plan);

/* Walk [offset, offset + length), which must lie within the plan. */
void plan_cursor_init(struct plan_cursor *cursor, const struct plan *plan, uint64_t offset,
                      uint64_t length);

/*
 * The next span, at most `length_max` bytes (> 0) and as long as adjacency on both sides allows.
 * Returns false at the end, and then leaves `*ret_span` alone.
 */
bool plan_next(struct plan_cursor *cursor, uint64_t length_max, struct plan_span *ret_span);

/*
 * Runs: a list of block numbers as {first, count} pairs, each 8 bytes little-endian.  Encode
 * returns the bytes written, at most 8 x count, into `ret_bytes`.  Decode checks that the runs hold
 * exactly `count` blocks, all below `block_limit`, and returns false otherwise.
 */
size_t runs_encode(const uint32_t *blocks, uint32_t count, uint8_t *ret_bytes);
bool runs_decode(const uint8_t *bytes, size_t length, uint32_t count, uint64_t block_limit,
                 uint32_t *ret_blocks);

#endif
