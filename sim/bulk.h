/* SPDX-License-Identifier: Apache-2.0 */
/* What the models of transport share: how pieces are loaded, stored and sent. */
#ifndef BATON_SIM_BULK_H
#define BATON_SIM_BULK_H

#include "sim/check.h"

uint64_t bulk_move_time(struct sim *s);
/* Somebody loads plan byte `at` of the fetch's offer. */
uint64_t bulk_load(struct sim *s, struct handoff *fetch, uint32_t at, bool by_address);
/* A piece is on its way to the sink's block by something that the sink can not stop. */
void bulk_under_way(struct sim *s, struct handoff *fetch, uint32_t at, int by);
void bulk_land(struct sim *s, struct handoff *fetch, uint32_t at, uint64_t tag);
/* In order, on the bulk connection of the link. */
void bulk_send(struct sim *s, struct conn *c, struct event event);
unsigned bulk_serve_unused(const struct node *node);

#endif
