/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts, and plans walked as contiguous spans.  It computes offsets only: it never sees the
 * memory, and it does not know windows, leases or transports.
 */
#include "layout/layout.h"

#include <inttypes.h>

#include "util/assert.h"
#include "util/error.h"

/*
 * Layouts
 */

static bool layout_has_zero(const struct baton_layout *layout)
{
    return !layout->layers || !layout->kv_parts || !layout->block_tokens || !layout->heads ||
           !layout->head_size || !layout->dtype_bytes;
}

uint64_t layout_bytes(const struct baton_layout *layout)
{
    const uint32_t rest[] = {layout->kv_parts, layout->block_tokens, layout->heads,
                             layout->head_size, layout->dtype_bytes};
    uint64_t bytes = layout->layers;

    /* Looked at first, else a 0 behind an overflow would be missed. */
    if (layout_has_zero(layout)) {
        return 0;
    }
    for (unsigned i = 0; i < sizeof(rest) / sizeof(*rest); i++) {
        if (__builtin_mul_overflow(bytes, rest[i], &bytes)) {
            return UINT64_MAX;
        }
    }
    return bytes;
}

bool layout_opaque(const struct baton_layout *layout)
{
    return layout_equal(layout, &(struct baton_layout){0});
}

bool layout_equal(const struct baton_layout *a, const struct baton_layout *b)
{
    return a->layers == b->layers && a->kv_parts == b->kv_parts &&
           a->block_tokens == b->block_tokens && a->heads == b->heads &&
           a->head_size == b->head_size && a->dtype_bytes == b->dtype_bytes;
}

baton_err layout_check(const struct baton_layout *layout, uint64_t block_bytes,
                       struct baton_error *ret_error)
{
    uint64_t bytes = layout_bytes(layout);

    if (layout_opaque(layout)) {
        return BATON_OK;
    }
    if (layout_has_zero(layout)) {
        return error_set(ret_error, BATON_EINVAL,
                         "the layout (layers %" PRIu32 ", kv_parts %" PRIu32
                         ", block_tokens %" PRIu32 ", heads %" PRIu32 ", head_size %" PRIu32
                         ", dtype_bytes %" PRIu32 ") describes 0 bytes, but a block has %" PRIu64
                         ": set every number, or none",
                         layout->layers, layout->kv_parts, layout->block_tokens, layout->heads,
                         layout->head_size, layout->dtype_bytes, block_bytes);
    }
    if (bytes == UINT64_MAX) {
        return error_set(ret_error, BATON_EINVAL,
                         "the layout describes 2^64-1 bytes or more, but a block has %" PRIu64,
                         block_bytes);
    }
    if (bytes != block_bytes) {
        return error_set(ret_error, BATON_EINVAL,
                         "the layout describes %" PRIu64 " bytes, but a block has %" PRIu64, bytes,
                         block_bytes);
    }
    return BATON_OK;
}

/*
 * Plans
 */

/* No offset overflows: 32-bit block numbers times at most this much stay within 64 bits. */
#define PLAN_BLOCK_BYTES_MAX UINT32_MAX

uint64_t plan_bytes(const struct plan *plan)
{
    BATON_ASSERT(plan->block_bytes > 0);
    BATON_ASSERT(plan->block_bytes <= PLAN_BLOCK_BYTES_MAX);
    return plan->block_bytes * plan->block_count;
}

void plan_cursor_init(struct plan_cursor *cursor, const struct plan *plan, uint64_t offset,
                      uint64_t length)
{
    BATON_ASSERT(offset <= plan_bytes(plan));
    BATON_ASSERT(length <= plan_bytes(plan) - offset);
    *cursor = (struct plan_cursor){.plan = plan, .offset = offset, .end = offset + length};
}

/* Whether entry `i + 1` of a list lies right behind entry `i`.  A list that is not known never
 * breaks a span. */
static bool list_adjacent(const uint32_t *blocks, uint64_t i)
{
    return !blocks || blocks[i + 1] == (uint64_t)blocks[i] + 1;
}

static uint64_t list_offset(const uint32_t *blocks, uint64_t i, const struct plan *plan,
                            uint64_t within)
{
    return blocks ? blocks[i] * plan->block_bytes + within : 0;
}

bool plan_next(struct plan_cursor *cursor, uint64_t length_max, struct plan_span *ret_span)
{
    const struct plan *plan = cursor->plan;
    uint64_t first = cursor->offset / plan->block_bytes;
    uint64_t within = cursor->offset % plan->block_bytes;
    uint64_t limit = cursor->end - cursor->offset;
    uint64_t length = plan->block_bytes - within;

    BATON_ASSERT(length_max > 0);
    BATON_ASSERT(cursor->offset <= cursor->end);
    if (!limit) {
        return false;
    }
    if (limit > length_max) {
        limit = length_max;
    }
    /* `length < limit` also keeps i + 1 below the block count, since the cursor ends in the plan.
     */
    for (uint64_t i = first; length < limit; i++) {
        if (!list_adjacent(plan->source, i) || !list_adjacent(plan->sink, i)) {
            break;
        }
        length += plan->block_bytes;
    }
    if (length > limit) {
        length = limit;
    }
    ret_span->source_offset = list_offset(plan->source, first, plan, within);
    ret_span->sink_offset = list_offset(plan->sink, first, plan, within);
    ret_span->length = length;
    cursor->offset += length;
    BATON_ASSERT(cursor->offset <= cursor->end);
    return true;
}
