/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checkers: one function for each invariant, named for it.  Each is called with what an event
 * touched, at the moment that the invariant speaks of; check_all() looks at everything.  A checker
 * that is not content calls sim_fail() and does not return.
 */
#ifndef BATON_SIM_CHECK_H
#define BATON_SIM_CHECK_H

#include "sim/world.h"

/* A piece is stored into a block of a life, on behalf of a fetch. */
void check_S1_no_late_write(struct sim *s, const struct life *life, unsigned block,
                            const struct handoff *fetch, unsigned at);
/* A block is rewritten, or put on the free list. */
void check_S2_no_reuse_before_proof(struct sim *s, const struct life *life, unsigned block);
/* A piece is loaded from an offer's block by anybody. */
void check_S3_proof_soundness(struct sim *s, const struct handoff *offer);
void check_S4_accounting(struct sim *s, unsigned node);
void check_S5_generation_grows(struct sim *s, struct life *life, unsigned block,
                               uint64_t generation);
/* A lease is given: its number was never used in that life. */
void check_S5_attempts_grow(struct sim *s, struct life *life, uint64_t attempt);
void check_S6_one_outcome(struct sim *s, const struct handoff *h);
void check_S7_integrity(struct sim *s, const struct handoff *fetch);
void check_S8_no_post_after_end(struct sim *s, const struct handoff *fetch);
/* A slot is leased anew: nothing is pushed for its last lease any more. */
void check_P5_pushes_over(struct sim *s, const struct handoff *offer, unsigned slot);
/* Pushes (check_push.c): a piece is posted; a push is started; WRITTEN, QUIESCED leave. */
void check_S8_no_push_after_end(struct sim *s, const struct handoff *fetch);
void check_S14_pushed_once(struct sim *s, const struct handoff *fetch,
                           const struct core_action *serve);
void check_S13_written(struct sim *s, const struct handoff *fetch, uint64_t end);
void check_S13_quiesced(struct sim *s, unsigned node, const struct handoff *fetch);
/* A sink has all that a source said which ended in order: it waits for no word of it any more. */
void check_P11_last_word(struct sim *s, const struct conn *conn);
/* A GRANT leaves: where the sink's own code stores, it has a window for it already. */
void check_S16_window(struct sim *s, const struct handoff *fetch);
/* Whatever is written was granted before. */
void check_S16_granted(struct sim *s, const struct handoff *fetch, uint64_t offset,
                       uint64_t length);
/* The receipt of a fetch says how it became quiet, and so it did. */
void check_P10_proof(struct sim *s, const struct handoff *fetch);
/* What an outcome and a receipt say of bytes that a card of the source wrote. */
void check_P10_bounds(struct sim *s, const struct handoff *fetch, uint64_t said, bool receipt);
void check_S9_never_exposed(struct sim *s, const struct handoff *h);
/* A slot is leased to a fetch. */
void check_S10_epoch(struct sim *s, const struct handoff *offer, const struct handoff *fetch,
                     unsigned slot);
void check_S12_timeout_never_frees(struct sim *s, const struct handoff *h, bool wrong_receipt,
                                   baton_err err);
void check_S13_all_lanes(struct sim *s, const struct handoff *h);
void check_S15_authenticity(struct sim *s, const struct handoff *fetch);
/* A fetch ends: for its secret only when that is wrong. */
void check_S15_honest_reader(struct sim *s, const struct handoff *fetch);
void check_S16_bounds(struct sim *s, const struct handoff *fetch, uint64_t offset, uint64_t length);
void check_S18_bounded(struct sim *s, unsigned node);
void check_S19_conservation(struct sim *s, unsigned node);
void check_P1_no_torn_commit(struct sim *s, const struct handoff *fetch);
void check_P2_no_commit_after_revoke(struct sim *s, const struct handoff *fetch);
void check_P3_agreement(struct sim *s, const struct handoff *fetch);
/* After all that a node did at once: what is decided is quiet, but for movers at work. */
void check_P4_free_at_once(struct sim *s, unsigned node);
/* A mover goes on: its fetch is not over, or it was not told. */
void check_P4_stopped_at_once(struct sim *s, const struct handoff *fetch);
/* A newer link of the same peer stands, and this one was let in. */
void check_P5_newest_link(struct sim *s, unsigned node, uint64_t newest, uint64_t dial);
/* A HELLO was let in, and no link of another peer was closed for it. */
void check_P5_others_stay(struct sim *s, unsigned node, const bool up_before[LINKS_MAX],
                          unsigned life);
void check_P5_one_reader(struct sim *s, const struct handoff *offer, unsigned slot);
/* A source's own mover loads a piece. */
void check_P6_read_stays_inside(struct sim *s, const struct handoff *offer, unsigned slot,
                                uint64_t attempt, unsigned at);
/* A transport asks for bytes amid its own work: nothing but the answer may come of it. */
void check_P6_read_alone(struct sim *s, const struct core_actions *actions, bool more);
void check_P7_watermark(struct sim *s, const struct handoff *offer, uint64_t end);
/* Of an offer whose record there is: it is where its user said, and moves no more when it is over.
 */
void check_P7_watermark_agrees(struct sim *s, const struct handoff *offer);
/* A piece of a block is rewritten by its owner. */
void check_P8_shared_blocks(struct sim *s, const struct life *life, unsigned block, unsigned piece);
void check_P9_clean_landing(struct sim *s, const struct handoff *fetch);
void check_P10_receipts(struct sim *s, const struct handoff *h);
/* What the core itself says of an offer that peers could read. */
void check_P10_exposed(struct sim *s, const struct handoff *offer, unsigned proof);
/* What an outcome and a receipt say of bytes, attempts and the last reader. */
void check_P10_landed(struct sim *s, const struct handoff *h, const struct core_action *outcome);
void check_P10_evidence(struct sim *s, const struct handoff *h, const struct core_action *quiet);
/* An ACCEPT leaves: its driver is told whether the reader may read the memory by itself. */
void check_P10_told_exposed(struct sim *s, const struct handoff *offer,
                            const struct core_action *accept);
void check_P10_final_slot(struct sim *s, const struct handoff *offer, unsigned slot);

/* A link was closed for silence. */
void check_L1_silence(struct sim *s, unsigned node);
/* The same, by its clock: nothing was heard for all of the time. */
void check_L1_silence_was(struct sim *s, unsigned node, const struct sim_link *link);
/* The liveness phase. */
/* A fetch that is over and waits, for good, for a proof that its source is drained: that is dead or
 * outside, and nothing can close its way in. */
bool is_stuck(struct sim *s, const struct handoff *fetch);

struct stuck {
    uint32_t fetches, blocks;
};

struct stuck stuck_of(struct sim *s, unsigned node);
void check_L1_terminal(struct sim *s);
void check_L2_free(struct sim *s, unsigned node);
void check_L4_no_livelock(struct sim *s, uint64_t events);
void check_P11_nobody_forgotten(struct sim *s);

/* S4, S18, S19, S6, P7, P10 over everything. */
void check_all(struct sim *s);

#endif
