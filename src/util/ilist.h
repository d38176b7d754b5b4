/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doubly linked lists of indices.  The nodes of all lists of one kind lie in one array, so that the
 * state holds no pointer and can be copied as it is.  A node is in at most one list at a time.
 * Nothing here allocates or fails.
 */
#ifndef BATON_UTIL_ILIST_H
#define BATON_UTIL_ILIST_H

#include <stdbool.h>
#include <stdint.h>

#define ILIST_NONE UINT32_MAX      /* end of a list */
#define ILIST_OUT (UINT32_MAX - 1) /* in `next` of a node that is in no list */

struct ilist_node {
    uint32_t prev, next;
};

struct ilist {
    uint32_t head, tail;
    uint32_t count;
};

void ilist_init(struct ilist *list);
void ilist_node_init(struct ilist_node *node);
bool ilist_has(const struct ilist_node *nodes, uint32_t index);                /* in any list */
void ilist_push(struct ilist *list, struct ilist_node *nodes, uint32_t index); /* at the tail */
void ilist_remove(struct ilist *list, struct ilist_node *nodes, uint32_t index);
/* The head, taken out; ILIST_NONE when the list is empty. */
uint32_t ilist_pop(struct ilist *list, struct ilist_node *nodes);

#endif
