/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of util/ilist.h. */
#include "test.h"
#include "util/ilist.h"
#include "util/prng.h"

#include <string.h>

enum {
    NODES = 16,
    STEPS = 20000,
};

/* A list and what must be in it, in order. */
struct model {
    struct ilist list;
    uint32_t order[NODES];
    uint32_t count;
};

static void nodes_init(struct ilist_node *nodes)
{
    for (uint32_t i = 0; i < NODES; i++) {
        ilist_node_init(&nodes[i]);
    }
}

static bool agrees(const struct model *m, const struct ilist_node *nodes)
{
    uint32_t at = m->list.head, prev = ILIST_NONE;

    for (uint32_t i = 0; i < m->count; i++) {
        if (at != m->order[i] || nodes[at].prev != prev) {
            return false;
        }
        prev = at;
        at = nodes[at].next;
    }
    return at == ILIST_NONE && m->list.tail == prev && m->list.count == m->count;
}

static void model_push(struct model *m, struct ilist_node *nodes, uint32_t index)
{
    ilist_push(&m->list, nodes, index);
    m->order[m->count++] = index;
}

static void model_remove(struct model *m, struct ilist_node *nodes, uint32_t at)
{
    ilist_remove(&m->list, nodes, m->order[at]);
    memmove(&m->order[at], &m->order[at + 1], (m->count - at - 1) * sizeof(m->order[0]));
    m->count--;
}

/* An empty list has nothing to pop, again and again. */
TEST(ilist_starts_empty)
{
    struct ilist_node nodes[NODES];
    struct ilist list;

    nodes_init(nodes);
    ilist_init(&list);
    CHECK(list.count == 0 && list.head == ILIST_NONE && list.tail == ILIST_NONE);
    CHECK(ilist_pop(&list, nodes) == ILIST_NONE);
    CHECK(ilist_pop(&list, nodes) == ILIST_NONE && list.count == 0);
    CHECK(!ilist_has(nodes, 0) && !ilist_has(nodes, NODES - 1));
}

/* What went in first comes out first, and a node alone in its list is in it all the same. */
TEST(ilist_keeps_the_order)
{
    struct ilist_node nodes[NODES];
    struct ilist list;

    nodes_init(nodes);
    ilist_init(&list);
    ilist_push(&list, nodes, 3);
    CHECK(ilist_has(nodes, 3) && list.count == 1);
    ilist_push(&list, nodes, 0);
    ilist_push(&list, nodes, 7);
    CHECK(ilist_pop(&list, nodes) == 3 && !ilist_has(nodes, 3));
    ilist_push(&list, nodes, 3);
    CHECK(ilist_pop(&list, nodes) == 0);
    CHECK(ilist_pop(&list, nodes) == 7);
    CHECK(ilist_pop(&list, nodes) == 3 && list.count == 0);
}

/* From the head, the middle and the tail: the others stay as they are. */
TEST(ilist_removes_from_anywhere)
{
    for (uint32_t gone = 0; gone < 4; gone++) {
        struct ilist_node nodes[NODES];
        struct model m = {.count = 0};

        nodes_init(nodes);
        ilist_init(&m.list);
        for (uint32_t i = 0; i < 4; i++) {
            model_push(&m, nodes, i * 2);
        }
        model_remove(&m, nodes, gone);
        CHECK(agrees(&m, nodes) && !ilist_has(nodes, gone * 2));
        model_push(&m, nodes, gone * 2);
        CHECK(agrees(&m, nodes) && ilist_has(nodes, gone * 2));
    }
}

/* Two lists share their nodes; moved at random, each node is in one of them, in order. */
TEST(ilist_lists_share_nodes)
{
    struct ilist_node nodes[NODES];
    struct model models[2] = {{.count = 0}, {.count = 0}};
    struct prng prng;

    prng_init(&prng, 5);
    nodes_init(nodes);
    ilist_init(&models[0].list);
    ilist_init(&models[1].list);
    for (unsigned step = 0; step < STEPS; step++) {
        uint32_t index = (uint32_t)prng_below(&prng, NODES);
        struct model *m = &models[prng_below(&prng, 2)];

        if (!ilist_has(nodes, index)) {
            model_push(m, nodes, index);
        } else if (m->count > 0) {
            model_remove(m, nodes, (uint32_t)prng_below(&prng, m->count));
        }
        if (!CHECK(agrees(&models[0], nodes) && agrees(&models[1], nodes))) {
            return;
        }
    }
}
