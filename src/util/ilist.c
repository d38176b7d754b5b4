/* SPDX-License-Identifier: Apache-2.0 */
/* Doubly linked lists of indices. */
#include "util/ilist.h"

#include "util/assert.h"

void ilist_init(struct ilist *list)
{
    *list = (struct ilist){.head = ILIST_NONE, .tail = ILIST_NONE};
}

void ilist_node_init(struct ilist_node *node)
{
    *node = (struct ilist_node){.prev = ILIST_NONE, .next = ILIST_OUT};
}

bool ilist_has(const struct ilist_node *nodes, uint32_t index)
{
    return nodes[index].next != ILIST_OUT;
}

void ilist_push(struct ilist *list, struct ilist_node *nodes, uint32_t index)
{
    BATON_ASSERT(!ilist_has(nodes, index));
    nodes[index] = (struct ilist_node){.prev = list->tail, .next = ILIST_NONE};
    if (list->tail == ILIST_NONE) {
        list->head = index;
    } else {
        nodes[list->tail].next = index;
    }
    list->tail = index;
    list->count++;
}

void ilist_remove(struct ilist *list, struct ilist_node *nodes, uint32_t index)
{
    struct ilist_node node = nodes[index];

    BATON_ASSERT(ilist_has(nodes, index));
    BATON_ASSERT(list->count > 0);
    if (node.prev == ILIST_NONE) {
        BATON_ASSERT(list->head == index);
        list->head = node.next;
    } else {
        nodes[node.prev].next = node.next;
    }
    if (node.next == ILIST_NONE) {
        BATON_ASSERT(list->tail == index);
        list->tail = node.prev;
    } else {
        nodes[node.next].prev = node.prev;
    }
    ilist_node_init(&nodes[index]);
    list->count--;
}

uint32_t ilist_pop(struct ilist *list, struct ilist_node *nodes)
{
    uint32_t index = list->head;

    if (index != ILIST_NONE) {
        ilist_remove(list, nodes, index);
    }
    return index;
}
