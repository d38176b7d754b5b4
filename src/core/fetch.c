/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetches: the sink's side of handoffs.
 *
 *   OPENING --ACCEPT--> READING --last byte--> COMMITTING --COMMITTED--> QUIET
 *      |                  |  |                     |                       ^
 *      |                  |  +--------- any end, no window under way ------|
 *      |                  +-- any end --> DRAINING --last window is back --+
 *      +--------------------------------------------- any end -------------+
 *
 * The outcome is decided when a fetch leaves OPENING, READING or COMMITTING by any end; quiet
 * follows at QUIET.
 */
#include "core/fetch.h"

#include "util/sabotage.h"

#include <string.h>

#define BIT(n) (1U << (n))

static const struct fetch_state_conf {
    baton_stage stage;
    unsigned next; /* bit set of the states one move away */
} fetch_states[] = {
    [FETCH_FREE] = {BATON_STAGE_NONE, BIT(FETCH_OPENING)},
    /* Nobody touches the blocks. */
    [FETCH_OPENING] = {BATON_STAGE_OPENING, BIT(FETCH_READING) | BIT(FETCH_QUIET)},
    /* Our own movers write to the blocks. */
    [FETCH_READING] = {BATON_STAGE_READING,
                       BIT(FETCH_COMMITTING) | BIT(FETCH_DRAINING) | BIT(FETCH_QUIET)},
    /* Nobody touches the blocks. */
    [FETCH_COMMITTING] = {BATON_STAGE_COMMITTING, BIT(FETCH_QUIET)},
    /* Movers that were told to stop may still write. */
    [FETCH_DRAINING] = {BATON_STAGE_DRAINING, BIT(FETCH_QUIET)},
    /* Nobody touches the blocks; the owner may, once he has the receipt. */
    [FETCH_QUIET] = {BATON_STAGE_QUIET, BIT(FETCH_FREE)},
};

static void fetch_check(const struct fetch *f)
{
    BATON_ASSERT(BATON_IMPLIES(f->state == FETCH_DRAINING, f->outcome != BATON_COMPLETED));
    /* The safety property of this library: quiet means that nobody is copying. */
    BATON_ASSERT(
        BATON_IMPLIES(f->state == FETCH_QUIET, f->copies == 0 || BATON_SABOTAGE(EARLY_RETIRE)));
    BATON_ASSERT(BATON_IMPLIES(f->state == FETCH_COMMITTING, f->copies == 0));
    /* P1: what is committed was wholly read. */
    BATON_ASSERT(BATON_IMPLIES(f->outcome == BATON_COMPLETED, f->landed == f->end - f->begin));
    BATON_ASSERT(f->watermark <= f->total);
    BATON_ASSERT(f->begin <= f->next && f->next <= f->end);
}

static void fetch_move(struct core *core, uint32_t index, enum fetch_state to,
                       struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];
    const struct fetch_state_conf *from = &fetch_states[f->state];

    BATON_ASSERT(from->next & BIT(to));
    f->state = (uint8_t)to;
    if (to != FETCH_FREE) {
        action_trace(out, CORE_FETCH, index, 0, from->stage, fetch_states[to].stage, f->touched,
                     f->end - f->begin);
    }
    fetch_check(f);
}

struct fetch *fetch_find(const struct core *core, uint64_t id, uint32_t *ret_index)
{
    uint32_t index = (uint32_t)(id & (BIT(CORE_INDEX_BITS) - 1));
    struct fetch *f;

    if (index >= core->limits.fetches) {
        return NULL;
    }
    f = &core_fetches(core)[index];
    if (f->state == FETCH_FREE || f->id != id) {
        return NULL;
    }
    *ret_index = index;
    return f;
}

static void clock_set(struct core *core, uint32_t index, baton_cause clock, uint64_t due)
{
    struct fetch *f = &core_fetches(core)[index];

    f->clock = (uint8_t)clock;
    f->clock_due = due;
    timer_fetch(core, index);
}

/* Which clock runs while READING: bytes could land, or none can before the watermark rises. */
static void clock_reading(struct core *core, uint32_t index, bool restart, uint64_t now_us)
{
    const struct fetch *f = &core_fetches(core)[index];
    bool outstanding = f->copies > 0 || f->next < fetch_readable(f);
    baton_cause clock = outstanding ? BATON_CAUSE_CLOCK_PROGRESS : BATON_CAUSE_CLOCK_BYTES;

    if (restart || f->clock != clock) {
        clock_set(core, index, clock,
                  timer_after(now_us, outstanding ? f->progress_us : f->bytes_us));
    }
}

static void fetch_unlink(struct core *core, uint32_t index)
{
    struct fetch *f = &core_fetches(core)[index];

    if (f->link == ILIST_NONE) {
        return;
    }
    for (int what = 0; what < SAY_FETCH_END_; what++) {
        say_clear(core, f->link, say_of_fetch(core, index, what));
    }
    ilist_remove(&core_link(core, f->link)->fetches, core_fetch_on_link(core), index);
    f->link = ILIST_NONE;
}

/* The record goes after its quiet, when its last frame was written or its link closed. */
static void fetch_forget(struct core *core, uint32_t index, struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];
    struct core_action *action;

    if (f->state != FETCH_QUIET || (BATON_SABOTAGE(EARLY_RETIRE) && f->copies > 0) ||
        say_has(core, say_of_fetch(core, index, SAY_CANCEL))) {
        return;
    }
    fetch_unlink(core, index);
    fetch_move(core, index, FETCH_FREE, out);
    core->gauges.fetches--;
    action = action_add(out, CORE_ACTION_FORGET);
    action->side = CORE_FETCH;
    action->index = index;
}

void fetch_quiet(struct core *core, uint32_t index, struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];
    struct core_action *action;

    BATON_ASSERT(f->outcome != BATON_UNDECIDED);
    fetch_move(core, index, FETCH_QUIET, out);
    timer_fetch(core, index);
    action = action_add(out, CORE_ACTION_QUIET);
    action->side = CORE_FETCH;
    action->index = index;
    /* A window was started only after the lease: next > begin tells whether anybody could write. */
    action->quiet.proof = f->next > f->begin ? f->proof : BATON_PROOF_NEVER_EXPOSED;
    action->quiet.attempts = f->attempt ? 1 : 0;
    action->quiet.last_attempt = f->attempt;
    action->quiet.landed = f->touched;
    fetch_forget(core, index, out);
}

static void tell_outcome(const struct fetch *f, uint32_t index, struct core_actions *out)
{
    struct core_action *action = action_add(out, CORE_ACTION_OUTCOME);

    action->side = CORE_FETCH;
    action->index = index;
    action->outcome.outcome = f->outcome;
    action->outcome.cause = f->cause;
    action->outcome.stage = f->stage;
    action->outcome.landed = f->touched;
    action->outcome.total = f->end - f->begin;
}

static void stop_copies(const struct fetch *f, uint32_t index, struct core_actions *out)
{
    struct core_action *action = action_add(out, CORE_ACTION_COPY_STOP);

    action->index = index;
    action->copy.id = f->id;
}

void fetch_end(struct core *core, uint32_t index, baton_outcome outcome, baton_cause cause,
               enum fetch_tell tell, uint64_t now_us, struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];

    if (f->outcome != BATON_UNDECIDED) {
        return; /* S6: the first decision won */
    }
    f->outcome = (uint8_t)outcome;
    f->cause = (uint8_t)cause;
    f->stage = (uint8_t)fetch_states[f->state].stage;
    f->clock = BATON_CAUSE_NONE;
    f->doubt_due = timer_after(now_us, core->limits.doubt_us);
    /* An attempt that the source never heard of needs no cancel; a request that is over does. */
    if (f->link != ILIST_NONE && (tell == TELL_OFFER || (tell == TELL_ATTEMPT && f->opened))) {
        f->cancel_scope = tell == TELL_OFFER ? BATON_CANCEL_OFFER : BATON_CANCEL_ATTEMPT;
        say_set(core, f->link, say_of_fetch(core, index, SAY_CANCEL), out);
    }
    if (f->remote) {
        push_end(core, index, out);
    }
    if (f->copies > 0 && !BATON_SABOTAGE(EARLY_RETIRE)) {
        fetch_move(core, index, FETCH_DRAINING, out);
        fetch_ready(core, index);
        timer_fetch(core, index);
        if (!f->remote) {
            stop_copies(f, index, out);
        }
        tell_outcome(f, index, out);
        return;
    }
    tell_outcome(f, index, out);
    fetch_quiet(core, index, out);
    fetch_ready(core, index);
}

void fetch_lost(struct core *core, uint32_t index, baton_cause cause, uint64_t now_us,
                struct core_actions *out)
{
    fetch_unlink(core, index);
    /* A source that answered and did not want the link has refused its fetches. */
    fetch_end(core, index,
              cause == BATON_CAUSE_INCARNATION || cause == BATON_CAUSE_BUSY ? BATON_REFUSED
                                                                            : BATON_LINK_LOST,
              cause, TELL_NOBODY, now_us, out);
    fetch_forget(core, index, out);
}

/* ---- frames of sources ---- */

/* All bytes are read: ask for the commit. */
static void commit_if_whole(struct core *core, uint32_t index, uint64_t now_us,
                            struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];

    BATON_ASSERT(f->state == FETCH_READING);
    if (f->landed < f->end - f->begin || f->watermark < f->total) {
        return;
    }
    fetch_move(core, index, FETCH_COMMITTING, out);
    clock_set(core, index, BATON_CAUSE_CLOCK_COMMIT, timer_after(now_us, f->commit_us));
    say_set(core, f->link, say_of_fetch(core, index, SAY_COMMIT), out);
}

static void frame_accept(struct core *core, uint32_t index, const struct core_event *event,
                         uint64_t now_us, struct core_actions *out)
{
    const struct frame_accept *a = &event->frame.frame->accept;
    struct fetch *f = &core_fetches(core)[index];

    if (f->state != FETCH_OPENING) {
        core->counts.late++;
        return;
    }
    f->attempt = a->attempt;
    if (event->frame.misfit != BATON_CAUSE_NONE || a->total != f->total) {
        baton_cause cause =
            event->frame.misfit != BATON_CAUSE_NONE ? event->frame.misfit : BATON_CAUSE_LAYOUT;

        fetch_end(core, index, BATON_FAILED, cause, TELL_ATTEMPT, now_us, out);
        return;
    }
    f->watermark = a->watermark;
    f->remote = f->push && event->frame.remote;
    f->proof = f->remote ? BATON_PROOF_PEER_DRAIN : BATON_PROOF_LOCAL_DRAIN;
    fetch_move(core, index, FETCH_READING, out);
    clock_reading(core, index, true, now_us);
    commit_if_whole(core, index, now_us, out);
    fetch_ready(core, index);
}

static void frame_watermark(struct core *core, uint32_t index, const struct frame_watermark *w,
                            uint64_t now_us, struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];

    if (f->state != FETCH_READING || w->attempt != f->attempt || w->watermark <= f->watermark) {
        core->counts.late++;
        return;
    }
    if (w->watermark > f->total) {
        link_close(core, f->link, BATON_CAUSE_PROTOCOL, out);
        return;
    }
    f->watermark = w->watermark;
    /* A rise that makes nothing readable, below a skipped prefix or beyond the wanted end, is one
     * all the same. */
    clock_reading(core, index, f->clock == BATON_CAUSE_CLOCK_BYTES, now_us);
    commit_if_whole(core, index, now_us, out);
    fetch_ready(core, index);
}

static void frame_refused(struct core *core, uint32_t index, const struct frame_refused *r,
                          uint64_t now_us, struct core_actions *out)
{
    baton_outcome outcome = BATON_REFUSED;

    if (r->revoked) {
        outcome = BATON_PEER_CANCELLED;
    } else if (r->cause == BATON_CAUSE_SECRET || r->cause == BATON_CAUSE_LAYOUT ||
               r->cause == BATON_CAUSE_TRANSPORT) {
        outcome = BATON_FAILED;
    }
    fetch_end(core, index, outcome, r->cause, TELL_NOBODY, now_us, out);
}

static void frame_ended(struct core *core, uint32_t index, const struct frame_ended *e,
                        uint64_t now_us, struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];

    if (f->state == FETCH_OPENING) {
        /* Leased and ended again before ACCEPT was built: a fetch has one attempt, so it is this
         * one. */
        f->attempt = e->attempt;
    } else if (e->attempt != f->attempt) {
        core->counts.late++;
        return;
    }
    fetch_end(core, index, e->cause == BATON_CAUSE_EARLY ? BATON_FAILED : BATON_PEER_CANCELLED,
              e->cause, TELL_NOBODY, now_us, out);
}

static void frame_committed(struct core *core, uint32_t index, const struct frame_committed *c,
                            uint64_t now_us, struct core_actions *out)
{
    const struct fetch *f = &core_fetches(core)[index];

    if (f->state != FETCH_COMMITTING || c->attempt != f->attempt) {
        core->counts.late++;
        return;
    }
    fetch_end(core, index, BATON_COMPLETED, BATON_CAUSE_NONE, TELL_NOBODY, now_us, out);
}

/* The fetch that a frame names, if it is one of this link and not over. */
static struct fetch *addressee(struct core *core, const struct core_event *event, uint64_t id,
                               uint32_t *ret_index)
{
    struct fetch *f = fetch_find(core, id, ret_index);

    if (!f || f->link != event->link || f->outcome != BATON_UNDECIDED) {
        core->counts.late++;
        return NULL;
    }
    return f;
}

void fetch_frame(struct core *core, const struct core_event *event, uint64_t now_us,
                 struct core_actions *out)
{
    const struct frame *frame = event->frame.frame;
    uint32_t i = 0;

    switch (frame->type) {
    case FRAME_ACCEPT:
        if (addressee(core, event, frame->accept.fetch_id, &i)) {
            frame_accept(core, i, event, now_us, out);
        }
        return;
    case FRAME_REFUSED:
        if (addressee(core, event, frame->refused.fetch_id, &i)) {
            frame_refused(core, i, &frame->refused, now_us, out);
        }
        return;
    case FRAME_WATERMARK:
        if (addressee(core, event, frame->watermark.fetch_id, &i)) {
            frame_watermark(core, i, &frame->watermark, now_us, out);
        }
        return;
    case FRAME_COMMITTED:
        if (addressee(core, event, frame->committed.fetch_id, &i)) {
            frame_committed(core, i, &frame->committed, now_us, out);
        }
        return;
    case FRAME_WRITTEN:
    case FRAME_QUIESCED:
        push_fetch_frame(core, event, now_us, out);
        return;
    default:
        BATON_ASSERT(frame->type == FRAME_ENDED);
        if (addressee(core, event, frame->ended.fetch_id, &i)) {
            frame_ended(core, i, &frame->ended, now_us, out);
        }
    }
}

bool fetch_builds(const struct core *core, uint32_t index, enum say_fetch what,
                  struct frame *ret_frame)
{
    const struct fetch *f = &core_fetches(core)[index];

    switch (what) {
    case SAY_OPEN:
        *ret_frame = (struct frame){.type = FRAME_OPEN};
        ret_frame->open.offer_id = f->offer_id;
        ret_frame->open.fetch_id = f->id;
        ret_frame->open.slot = f->slot;
        ret_frame->open.mode = f->push ? OPEN_PUSH : OPEN_PULL;
        memcpy(ret_frame->open.secret, f->secret, ID_BYTES);
        return f->state == FETCH_OPENING;
    case SAY_COMMIT:
        *ret_frame = (struct frame){.type = FRAME_COMMIT};
        ret_frame->commit = (struct frame_commit){
            .offer_id = f->offer_id, .fetch_id = f->id, .attempt = f->attempt, .slot = f->slot};
        return f->state == FETCH_COMMITTING;
    case SAY_GRANT:
    case SAY_QUIESCE:
        return push_fetch_builds(core, index, what, ret_frame);
    default:
        BATON_ASSERT(what == SAY_CANCEL && f->outcome != BATON_UNDECIDED);
        *ret_frame = (struct frame){.type = FRAME_CANCEL};
        ret_frame->cancel = (struct frame_cancel){.offer_id = f->offer_id,
                                                  .fetch_id = f->id,
                                                  .attempt = f->attempt,
                                                  .slot = f->slot,
                                                  .scope = f->cancel_scope,
                                                  .cause = f->cause};
        memcpy(ret_frame->cancel.secret, f->secret, ID_BYTES);
        return true;
    }
}

void fetch_said(struct core *core, uint32_t index, enum say_fetch what, bool built,
                struct core_actions *out)
{
    if (what == SAY_OPEN && built) {
        core_fetches(core)[index].opened = true;
    } else if (what == SAY_GRANT && built) {
        push_granted(core, index, out);
    }
    fetch_forget(core, index, out);
}

/* ---- local events ---- */

static void event_fetch(struct core *core, const struct core_event *event, uint64_t now_us,
                        struct core_actions *out)
{
    const struct core_event_fetch *e = &event->fetch;
    struct fetch *f = &core_fetches(core)[e->index];

    BATON_ASSERT(e->index < core->limits.fetches);
    BATON_ASSERT((e->id & (BIT(CORE_INDEX_BITS) - 1)) == e->index);
    BATON_ASSERT(f->state == FETCH_FREE && e->id > f->id); /* S5: never used twice */
    BATON_ASSERT(e->begin <= e->end && e->end <= e->total);
    BATON_ASSERT(BATON_IMPLIES(e->push, e->nonce != 0)); /* 0: QUIESCED that nobody asked for */
    *f = (struct fetch){.id = e->id,
                        .offer_id = e->offer_id,
                        .begin = e->begin,
                        .end = e->end,
                        .next = e->begin,
                        .total = e->total,
                        .push = e->push,
                        .nonce = e->nonce,
                        .oldest = e->begin,
                        .said = e->begin,
                        .link = e->link,
                        .windows_link = e->link,
                        .slot = e->slot,
                        .bytes_us = timer_span(e->bytes_ms),
                        .progress_us = timer_span(e->progress_ms),
                        .commit_us = timer_span(e->commit_ms),
                        .whole_due = timer_after(now_us, timer_span(e->whole_ms)),
                        .doubt_due = CORE_NEVER};
    memcpy(f->secret, e->secret, ID_BYTES);
    core->gauges.fetches++;
    fetch_move(core, e->index, FETCH_OPENING, out);
    if (e->link == CORE_NO_LINK) {
        fetch_end(core, e->index, BATON_LINK_LOST, BATON_CAUSE_UNREACHABLE, TELL_NOBODY, now_us,
                  out);
        return;
    }
    BATON_ASSERT(core_link(core, e->link)->sink);
    memcpy(f->peer, core_link(core, e->link)->incarnation, ID_BYTES);
    ilist_push(&core_link(core, e->link)->fetches, core_fetch_on_link(core), e->index);
    clock_set(core, e->index, BATON_CAUSE_CLOCK_OPENING,
              timer_after(now_us, timer_span(e->opening_ms)));
    say_set(core, e->link, say_of_fetch(core, e->index, SAY_OPEN), out);
}

void fetch_window_over(struct core *core, uint32_t index, uint64_t length)
{
    struct fetch *f = &core_fetches(core)[index];

    BATON_ASSERT(f->copies > 0 && core->gauges.inflight_bytes >= length);
    f->copies--;
    core_link(core, f->windows_link)->windows--;
    core->gauges.windows--;
    core->gauges.inflight_bytes -= length;
}

void fetch_landed(struct core *core, uint32_t index, uint64_t length, uint64_t now_us,
                  struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];

    f->landed += length;
    BATON_ASSERT(f->landed <= f->end - f->begin);
    action_trace(out, CORE_FETCH, index, 0, BATON_STAGE_READING, BATON_STAGE_READING, f->touched,
                 f->end - f->begin);
    clock_reading(core, index, true, now_us);
    commit_if_whole(core, index, now_us, out);
}

static void event_copied(struct core *core, const struct core_event *event, uint64_t now_us,
                         struct core_actions *out)
{
    uint32_t index = 0;
    struct fetch *f = fetch_find(core, event->copied.id, &index);

    BATON_ASSERT(f && f->copies > 0); /* a record stays until its movers are drained */
    BATON_ASSERT(!f->remote);
    f->touched += event->copied.landed;
    f->proof = event->copied.proof ? (uint8_t)event->copied.proof : f->proof;
    fetch_window_over(core, index, event->copied.length);
    if (f->state == FETCH_DRAINING && f->copies == 0) {
        fetch_quiet(core, index, out);
        return;
    }
    if (BATON_SABOTAGE(EARLY_RETIRE) && f->state == FETCH_QUIET) {
        fetch_forget(core, index, out);
        return;
    }
    if (f->state != FETCH_READING) {
        return;
    }
    switch (event->copied.status) {
    case CORE_COPIED_OK:
        if (f->push) {
            push_window_over(core, index);
        }
        fetch_landed(core, index, event->copied.length, now_us, out);
        break;
    case CORE_COPIED_ABORTED:
        /* A cancel that was not applied yet, ENDED, or the link's loss is on its way and decides.
         */
        f->stalled = true;
        break;
    case CORE_COPIED_FAILED:
        fetch_end(core, index, BATON_FAILED, BATON_CAUSE_READ, TELL_ATTEMPT, now_us, out);
        return;
    default:
        BATON_ASSERT(event->copied.status == CORE_COPIED_PEER_DEAD);
        fetch_end(core, index, BATON_LINK_LOST, BATON_CAUSE_PEER_DIED, TELL_NOBODY, now_us, out);
        return;
    }
    fetch_ready(core, index);
}

void fetch_event(struct core *core, const struct core_event *event, uint64_t now_us,
                 struct core_actions *out)
{
    uint32_t index = 0;

    switch (event->type) {
    case CORE_EVENT_FETCH:
        event_fetch(core, event, now_us, out);
        return;
    case CORE_EVENT_COPIED:
        event_copied(core, event, now_us, out);
        return;
    case CORE_EVENT_PROOF:
        push_proof(core, event, out);
        return;
    default:
        BATON_ASSERT(event->type == CORE_EVENT_CANCEL);
        if (fetch_find(core, event->cancel.id, &index)) {
            fetch_end(core, index, BATON_CANCELLED, event->cancel.cause,
                      event->cancel.scope == BATON_CANCEL_OFFER ? TELL_OFFER : TELL_ATTEMPT, now_us,
                      out);
        }
    }
}

void fetch_expire(struct core *core, uint32_t index, uint64_t now_us, struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];

    if (f->outcome != BATON_UNDECIDED) {
        struct core_action *action = action_add(out, CORE_ACTION_DOUBT);

        BATON_ASSERT(f->state == FETCH_DRAINING);
        BATON_ASSERT(now_us >= f->doubt_due);
        f->doubt_due = CORE_NEVER;
        timer_fetch(core, index);
        action->side = CORE_FETCH;
        action->index = index;
        action->cause = f->cause;
    } else if (now_us >= f->whole_due) {
        fetch_end(core, index, BATON_TIMED_OUT, BATON_CAUSE_CLOCK_WHOLE, TELL_ATTEMPT, now_us, out);
    } else {
        fetch_end(core, index, BATON_TIMED_OUT, f->clock, TELL_ATTEMPT, now_us, out);
    }
}
