/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A min-heap of items 0..items-1, each present at most once with a 64-bit key: the engine's timers,
 * with a time as the key.  Moving or removing an item costs O(log n), whatever its place.
 *
 * The whole state lies in memory that the caller owns, without a pointer in it: it may be copied
 * with memcpy, also to another address, and the copy is a heap of its own.  Not thread-safe.
 * Nothing here allocates or fails; an item out of range is a broken invariant.
 */
#ifndef BATON_UTIL_HEAP_H
#define BATON_UTIL_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HEAP_ITEMS_MAX = 1 << 30, /* items of one heap */
};

/* Lies at the start of the caller's memory; the entries and the positions follow it. */
struct heap {
    uint32_t items; /* how many items there can be */
    uint32_t count; /* how many are in the heap now */
};

/* How many bytes heap_init() needs for `items` items. */
size_t heap_state_bytes(uint32_t items);

/* Make an empty heap in `memory`, which is aligned to 8 bytes and borrowed as long as the heap is
 * used.  The heap is at `memory`. */
struct heap *heap_init(void *memory, uint32_t items);

/* Insert `item` with `key`, or give it this key if it is in the heap. */
void heap_set(struct heap *heap, uint32_t item, uint64_t key);

/* Take `item` out.  Inert when it is absent. */
void heap_remove(struct heap *heap, uint32_t item);

/*
 * The item with the smallest key, which stays in the heap; of equal keys the smallest item, so that
 * the order depends on nothing else.  Returns false for an empty heap.
 */
bool heap_min(const struct heap *heap, uint32_t *ret_item, uint64_t *ret_key);

bool heap_contains(const struct heap *heap, uint32_t item);

#endif
