/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pushes of which the source stores the bytes (shm, nixl), and what becomes of a handoff that has
 * ended before its quiet is proven.  Driver only, unless said.
 */
#ifndef BATON_ENGINE_LANDING_H
#define BATON_ENGINE_LANDING_H

#include "engine/engine.h"

/* landing.c.  Source: an OPEN is prepared, applied, and over. */
baton_cause landing_open(struct engine_link *link, const struct frame *frame,
                         const struct baton_handoff *h);
/* `attempt`: of the lease that the OPEN led to; 0: to none. */
void landing_opened(baton_engine *engine, struct baton_handoff *h, uint32_t slot, uint64_t attempt);
/* The attempt is such a push. */
bool landing_is(const struct baton_handoff *h, uint32_t slot, uint64_t attempt);
void landing_forget(struct baton_handoff *h, uint32_t slot);
/* Memory for one more push, of a link that has not too many.  False: the link is to be closed. */
bool landing_reserve(struct engine_link *link);
void landing_start(baton_engine *engine, const struct core_action *action);
void landing_stop(baton_engine *engine, const struct core_action *action);
void landing_done(baton_engine *engine, struct engine_window *window);
/* Sink: this side's end of a link is gone: as the upcall. */
bool landing_fenced(void *engine, uint64_t serial, baton_proof proof, bool exit_proves);
/* Sink: whether the source's QUIESCED is to be told to the core: the bytes that a library sent over
 * an older link may still be on their way. */
bool landing_quiesced(const struct engine_link *link, const struct frame *frame);
/* Of the pushes of that slot that are under way; NULL: there are none. */
struct engine_link *landing_link(const struct baton_handoff *h, uint32_t slot);
/* Sink: a fetch whose source is to write into our pool itself. */
bool landing_wanted(const struct baton_handoff *h);
/* An OPEN that names our blocks; a link that is lost; its source, who may still write. */
bool landing_out(struct engine_link *link, struct frame *frame, const struct baton_handoff *h);
/* A pidfd that came, ours now: of the process that pushes for the source.  False: it is none. */
bool landing_writer(struct engine_link *link, int pidfd);
void doubt_begin(struct engine_link *link);
/* Nobody else needs the pidfd of a lost link any more: a doubt that has none may. */
void doubt_take(struct engine_link *link);
void doubt_tick(baton_engine *engine, uint64_t now_us);
/* The process of such a source: its pidfd, borrowed, and its number.  -1: not known. */
int doubt_process(const baton_engine *engine, const uint8_t incarnation[ID_BYTES], pid_t *ret_pid);
void landing_fini(baton_engine *engine);

/* quarantine.c: what waits for its proof.  It begins with an outcome, and ends with quiet. */
void quarantine_begin(struct baton_handoff *handoff);
/* The doubt is about to be told. */
void quarantine_doubt(struct baton_handoff *handoff);
void quarantine_end(struct baton_handoff *handoff);
/* Do what on_doubt says, to whom it is due. */
void quarantine_tick(baton_engine *engine, uint64_t now_us);
/* When the next is; CORE_NEVER: none. */
uint64_t quarantine_due(const baton_engine *engine);
/* BATON_ELIMIT: that peer holds too much in doubt for a fetch into this pool.  Any thread. */
baton_err quarantine_check(baton_engine *engine, const baton_pool *pool,
                           const uint8_t peer[ID_BYTES], struct baton_error *ret_error);

#endif
