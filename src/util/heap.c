/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index min-heap of heap.h.  Entry i's children are 2i+1 and 2i+2.  places[item] is the entry
 * of the item plus one, 0 when it is absent; entries and places are kept in step by place() alone.
 */
#include "util/heap.h"

#include "util/assert.h"

#include <string.h>

struct entry {
    uint64_t key;
    uint32_t item;
};

_Static_assert(sizeof(struct heap) % _Alignof(struct entry) == 0, "the entries are aligned");

static size_t places_offset(uint32_t items)
{
    return sizeof(struct heap) + items * sizeof(struct entry);
}

static struct entry *entries_of(const struct heap *heap)
{
    return (struct entry *)((char *)heap + sizeof(*heap));
}

static uint32_t *places_of(const struct heap *heap)
{
    return (uint32_t *)((char *)heap + places_offset(heap->items));
}

static bool before(const struct entry *a, const struct entry *b)
{
    return a->key < b->key || (a->key == b->key && a->item < b->item);
}

static void place(struct heap *heap, uint32_t at, struct entry entry)
{
    BATON_ASSERT(at < heap->count);
    entries_of(heap)[at] = entry;
    places_of(heap)[entry.item] = at + 1;
}

/* Put `entry` where it belongs, starting from the hole at `at` and going towards the root. */
static void sift_up(struct heap *heap, uint32_t at, struct entry entry)
{
    const struct entry *entries = entries_of(heap);

    while (at > 0 && before(&entry, &entries[(at - 1) / 2])) {
        place(heap, at, entries[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(heap, at, entry);
}

/* The same, going towards the leaves. */
static void sift_down(struct heap *heap, uint32_t at, struct entry entry)
{
    const struct entry *entries = entries_of(heap);

    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child + 1 < heap->count && before(&entries[child + 1], &entries[child])) {
            child++;
        }
        if (child >= heap->count || !before(&entries[child], &entry)) {
            break;
        }
        place(heap, at, entries[child]);
        at = child;
    }
    place(heap, at, entry);
}

static void settle(struct heap *heap, uint32_t hole, struct entry entry)
{
    if (hole > 0 && before(&entry, &entries_of(heap)[(hole - 1) / 2])) {
        sift_up(heap, hole, entry);
    } else {
        sift_down(heap, hole, entry);
    }
}

size_t heap_state_bytes(uint32_t items)
{
    BATON_ASSERT(items <= HEAP_ITEMS_MAX);
    return places_offset(items) + items * sizeof(uint32_t);
}

struct heap *heap_init(void *memory, uint32_t items)
{
    struct heap *heap = memory;

    BATON_ASSERT(memory);
    BATON_ASSERT((uintptr_t)memory % _Alignof(struct entry) == 0);
    /* Unused entries are zero too, so that equal histories make equal bytes. */
    memset(memory, 0, heap_state_bytes(items));
    heap->items = items;
    return heap;
}

void heap_set(struct heap *heap, uint32_t item, uint64_t key)
{
    struct entry entry;
    uint32_t hole;

    BATON_ASSERT(item < heap->items);
    /* With its padding, for the same reason as in heap_init(). */
    memset(&entry, 0, sizeof(entry));
    entry.key = key;
    entry.item = item;
    hole = places_of(heap)[item];
    if (hole == 0) {
        BATON_ASSERT(heap->count < heap->items);
        hole = ++heap->count;
    }
    settle(heap, hole - 1, entry);
}

void heap_remove(struct heap *heap, uint32_t item)
{
    struct entry last;
    uint32_t hole;

    BATON_ASSERT(item < heap->items);
    hole = places_of(heap)[item];
    if (hole == 0) {
        return;
    }
    BATON_ASSERT(entries_of(heap)[hole - 1].item == item);
    places_of(heap)[item] = 0;
    heap->count--;
    last = entries_of(heap)[heap->count];
    memset(&entries_of(heap)[heap->count], 0, sizeof(last));
    if (hole - 1 < heap->count) {
        settle(heap, hole - 1, last);
    }
}

bool heap_min(const struct heap *heap, uint32_t *ret_item, uint64_t *ret_key)
{
    const struct entry *entries = entries_of(heap);

    BATON_ASSERT(heap->count <= heap->items);
    if (heap->count == 0) {
        return false;
    }
    *ret_item = entries[0].item;
    *ret_key = entries[0].key;
    return true;
}

bool heap_contains(const struct heap *heap, uint32_t item)
{
    BATON_ASSERT(item < heap->items);
    return places_of(heap)[item] != 0;
}
