/* SPDX-License-Identifier: Apache-2.0 */
/* The lifecycle of offers and their slots (offer.c), for those whose events move it (reader.c). */
#ifndef BATON_CORE_OFFER_H
#define BATON_CORE_OFFER_H

#include "core/state.h"

/* The offer of that id, and its index; NULL when it is unknown, or forgotten. */
struct offer *offer_find(const struct core *core, uint64_t id, uint32_t *ret_index);
void offer_check(const struct core *core, uint32_t index);
void slot_move(struct core *core, uint32_t index, uint32_t s, enum slot_state to,
               struct core_actions *out);
/* Set a bit on the slot's link. */
void slot_say(struct core *core, uint32_t number, enum say_slot what, struct core_actions *out);
/* Take the slot off its link, with all that it had to say there. */
void slot_unlink(struct core *core, uint32_t number);
/* Own movers that read for the slot's attempt stop at once. */
void offer_serve_stop(struct core *core, uint32_t index, uint32_t s, struct core_actions *out);
/* Start the clock that belongs to the slot's state. */
void slot_clock(struct core *core, uint32_t index, uint32_t s, uint64_t now_us);
/*
 * The lease ends without a commit: another reader may come.  `tell`: why, to a holder that does not
 * know yet.
 */
void lease_end(struct core *core, uint32_t index, uint32_t s, baton_cause tell, uint64_t now_us,
               struct core_actions *out);
void offer_decide(struct core *core, uint32_t index, baton_outcome outcome, baton_cause cause,
                  uint64_t now_us, struct core_actions *out);
/*
 * Revoke every open slot and decide the outcome, in one step.  `asker`: the slot whose reader asked
 * for it.
 */
void offer_end(struct core *core, uint32_t index, baton_outcome outcome, baton_cause cause,
               uint32_t asker, uint64_t now_us, struct core_actions *out);

#endif
