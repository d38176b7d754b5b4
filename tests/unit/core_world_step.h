/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the world of core_world.h: wires and what happens on them; not for tests. */
#ifndef BATON_TESTS_CORE_WORLD_STEP_H
#define BATON_TESTS_CORE_WORLD_STEP_H

#include "core_world.h"

void queue_push(struct world_queue *queue, const struct frame *frame);
bool queue_pop(struct world_queue *queue, struct frame *ret_frame);
/* A new wire; its sink's link is taken, its source's is not open yet. */
int wire_new(struct world *world, int sink, int source);
/* Forget a wire that both ends have closed. */
void wire_end(struct world *world, int wire);
/* Take the next message to that end off the wire, and let the end have it. */
void wire_deliver(struct world *world, int wire, int end);
void wire_apply(struct world *world, int wire, int end, const struct frame *frame,
                baton_cause misfit);
/* That end may say something. */
void wire_room(struct world *world, int wire, int end);

#endif
