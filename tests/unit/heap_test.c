/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of util/heap.h. */
#include "test.h"
#include "util/heap.h"
#include "util/prng.h"

#include <stdlib.h>
#include <string.h>

enum {
    ITEMS = 61,
    STEPS = 20000,
    KEYS = 40, /* fewer than items, so that keys are often equal */
};

static struct heap *heap_new(uint32_t items)
{
    return heap_init(malloc(heap_state_bytes(items)), items);
}

/* What the heap must do, done by looking at every item. */
struct model {
    bool present[ITEMS];
    uint64_t key[ITEMS];
};

static bool model_min(const struct model *model, uint32_t *ret_item)
{
    bool found = false;

    for (uint32_t i = 0; i < ITEMS; i++) {
        if (model->present[i] && (!found || model->key[i] < model->key[*ret_item])) {
            *ret_item = i;
            found = true;
        }
    }
    return found;
}

static bool agrees(const struct heap *heap, const struct model *model)
{
    uint32_t item = 0, expected = 0;
    uint64_t key = 0;
    bool any = model_min(model, &expected);
    bool same = heap_min(heap, &item, &key) == any;

    if (any) {
        same = same && item == expected && key == model->key[expected];
    }
    for (uint32_t i = 0; i < ITEMS; i++) {
        same = same && heap_contains(heap, i) == model->present[i];
    }
    return same;
}

static void step(struct prng *p, struct heap *heap, struct model *model)
{
    uint32_t item = (uint32_t)prng_below(p, ITEMS);

    if (prng_chance(p, 0.6)) {
        model->present[item] = true;
        model->key[item] = prng_below(p, KEYS);
        heap_set(heap, item, model->key[item]);
    } else {
        model->present[item] = false;
        heap_remove(heap, item);
    }
}

/* A heap without items has no minimum and leaves the outputs alone. */
TEST(heap_starts_empty)
{
    struct heap *heap = heap_new(3);
    uint32_t item = 7;
    uint64_t key = 7;

    CHECK(!heap_min(heap, &item, &key));
    CHECK(item == 7 && key == 7);
    CHECK(!heap_contains(heap, 0) && !heap_contains(heap, 2));
    heap_remove(heap, 1);
    CHECK(!heap_min(heap, &item, &key));
    free(heap);
}

/* Items come out by key, and equal keys by item. */
TEST(heap_orders_by_key_then_item)
{
    const uint64_t keys[6] = {5, UINT64_MAX, 0, 5, 1, 0};
    const uint32_t order[6] = {2, 5, 4, 0, 3, 1};
    struct heap *heap = heap_new(6);
    uint32_t item;
    uint64_t key;

    for (uint32_t i = 0; i < 6; i++) {
        heap_set(heap, i, keys[i]);
    }
    for (uint32_t i = 0; i < 6; i++) {
        CHECK(heap_min(heap, &item, &key) && item == order[i] && key == keys[item]);
        heap_remove(heap, item);
    }
    CHECK(!heap_min(heap, &item, &key));
    free(heap);
}

/* Setting an item again moves it, both ways. */
TEST(heap_set_moves)
{
    struct heap *heap = heap_new(4);
    uint32_t item;
    uint64_t key;

    heap_set(heap, 0, 10);
    heap_set(heap, 1, 20);
    heap_set(heap, 1, 5);
    CHECK(heap_min(heap, &item, &key) && item == 1 && key == 5);
    heap_set(heap, 1, 30);
    CHECK(heap_min(heap, &item, &key) && item == 0 && key == 10);
    free(heap);
}

/* Any history gives what a plain search gives. */
TEST(heap_agrees_with_a_search)
{
    struct heap *heap = heap_new(ITEMS);
    struct model model = {0};
    struct prng p;

    prng_init(&p, 1);
    for (unsigned i = 0; i < STEPS; i++) {
        step(&p, heap, &model);
        if (!CHECK(agrees(heap, &model))) {
            break;
        }
    }
    free(heap);
}

/* A copy at another address goes on like the original, which is wiped; equal histories are equal
 * bytes. */
TEST(heap_is_relocatable)
{
    size_t bytes = heap_state_bytes(ITEMS);
    struct heap *heap = heap_new(ITEMS), *twin = heap_new(ITEMS), *copy = malloc(bytes);
    struct model model = {0}, twin_model = {0};
    struct prng p, twin_p;

    prng_init(&p, 2);
    for (unsigned i = 0; i < 500; i++) {
        twin_p = p;
        step(&p, heap, &model);
        step(&twin_p, twin, &twin_model);
    }
    CHECK(memcmp(heap, twin, bytes) == 0);
    memcpy(copy, heap, bytes);
    memset(heap, 0xff, bytes);
    for (unsigned i = 0; i < 500; i++) {
        step(&p, copy, &model);
        CHECK(agrees(copy, &model));
    }
    free(copy);
    free(twin);
    free(heap);
}
