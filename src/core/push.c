/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Push: the source writes what the sink grants to it, a window after the other.
 *
 *   sink                                   source
 *   window starts    --GRANT-->            lease holds, below the watermark: SERVE
 *   bytes have landed  <--WRITTEN--        SERVED: all of it is where the sink sees it
 *   fetch has ended  --QUIESCE-->          the lease ends, no more SERVEs
 *   quiet              <--QUIESCED--       the last SERVE is over
 *
 *   lease has ended    <--ENDED, QUIESCED  the same, unasked: of a lease that ends without a commit
 *
 * Where the sink's own code stores the bytes (tcp), it knows of its windows by itself: WRITTEN and
 * QUIESCE are never said.  Where the source stores them (`remote`), an ended fetch is quiet when
 * all that was granted was WRITTEN, when the source is QUIESCED, or by a proof from outside; until
 * then it stays DRAINING, link or not, and asks over each new link to that source.
 *
 * QUIESCED can not be too early: GRANTs came before QUIESCE on the same link, those of an older
 * link were dropped with it, and a slot is not leased anew while a push of its last lease is under
 * way.  So a source that does not know the attempt any more writes nothing for it.
 *
 * Unasked, with the nonce 0, it is said so that a sink need not wait for a source that will not be
 * there to answer; it can not be too early either.  It is said once the lease has ended and its
 * last SERVE is over.  A GRANT that is still on its way then names an attempt that no slot is
 * leased to, and never will be again, since attempts only grow: it is inert whenever it comes.
 */
#include "core/fetch.h"
#include "core/offer.h"

#include <string.h>

/* ---- sink ---- */

static void forget_oldest(struct fetch *f)
{
    BATON_ASSERT(f->oldest < f->said);
    f->oldest += f->window[0];
    memmove(f->window, f->window + 1, sizeof(f->window) - sizeof(f->window[0]));
}

void push_start(struct core *core, uint32_t index, uint64_t length, struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];

    BATON_ASSERT(f->push && f->copies > 0 && f->copies <= CORE_FETCH_WINDOWS_MAX);
    f->window[f->copies - 1] = (uint32_t)length;
    say_set(core, f->link, say_of_fetch(core, index, SAY_GRANT), out);
}

void push_window_over(struct core *core, uint32_t index)
{
    forget_oldest(&core_fetches(core)[index]);
}

/* The length of the window that no GRANT was built for yet. */
static uint32_t length_unsaid(const struct fetch *f)
{
    uint64_t at = f->oldest;
    uint32_t i = 0;

    while (at < f->said) {
        at += f->window[i++];
    }
    BATON_ASSERT(at == f->said && i < f->copies);
    return f->window[i];
}

bool push_fetch_builds(const struct core *core, uint32_t index, enum say_fetch what,
                       struct frame *ret_frame)
{
    const struct fetch *f = &core_fetches(core)[index];

    if (what == SAY_GRANT) {
        if (f->state != FETCH_READING || f->stalled) {
            return false;
        }
        *ret_frame = (struct frame){.type = FRAME_GRANT};
        ret_frame->grant = (struct frame_grant){.offer_id = f->offer_id,
                                                .fetch_id = f->id,
                                                .attempt = f->attempt,
                                                .offset = f->said,
                                                .length = length_unsaid(f),
                                                .slot = f->slot};
        return true;
    }
    BATON_ASSERT(what == SAY_QUIESCE);
    *ret_frame = (struct frame){.type = FRAME_QUIESCE};
    ret_frame->quiesce = (struct frame_quiesce){.offer_id = f->offer_id,
                                                .fetch_id = f->id,
                                                .attempt = f->attempt,
                                                .nonce = f->nonce,
                                                .slot = f->slot};
    return f->state == FETCH_DRAINING;
}

void push_granted(struct core *core, uint32_t index, struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];

    f->said += length_unsaid(f);
    if (f->said < f->next) {
        say_set(core, f->link, say_of_fetch(core, index, SAY_GRANT), out);
    }
}

void push_end(struct core *core, uint32_t index, struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];
    uint64_t at = f->oldest;
    uint32_t granted = 0;

    /* What waits to be drained is not in anybody's way. */
    for (uint32_t i = 0; i < f->copies; i++) {
        granted += at < f->said;
        at += f->window[i];
        core_link(core, f->windows_link)->windows--;
        core->gauges.windows--;
        core->gauges.inflight_bytes -= f->window[i];
    }
    f->copies = granted;
    f->next = f->said;
    if (granted > 0 && f->link != ILIST_NONE) {
        say_set(core, f->link, say_of_fetch(core, index, SAY_QUIESCE), out);
    }
}

/* Everything that was granted counts as written: it may have been. */
static void drained(struct core *core, uint32_t index, baton_proof proof, struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];

    BATON_ASSERT(f->state == FETCH_DRAINING && f->remote);
    while (f->copies > 0) {
        f->touched += f->window[0];
        forget_oldest(f);
        f->copies--;
    }
    f->proof = (uint8_t)proof;
    fetch_quiet(core, index, out);
}

/* Whether the granted windows that `end` covers are whole ones. */
static bool ends_a_window(const struct fetch *f, uint64_t end)
{
    uint64_t at = f->oldest;

    for (uint32_t i = 0; i < f->copies && at < end; i++) {
        at += f->window[i];
    }
    return at == end && end <= f->said;
}

static void frame_written(struct core *core, uint32_t index, const struct core_event *event,
                          uint64_t now_us, struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];
    uint64_t end = event->frame.frame->written.end;

    if (end <= f->oldest) {
        core->counts.late++;
        return;
    }
    if (!ends_a_window(f, end)) {
        link_close(core, event->link, BATON_CAUSE_PROTOCOL, out);
        return;
    }
    while (f->state == FETCH_READING && f->oldest < end) {
        uint64_t length = f->window[0];

        forget_oldest(f);
        f->touched += length;
        fetch_window_over(core, index, length);
        fetch_landed(core, index, length, now_us, out);
    }
    while (f->state == FETCH_DRAINING && f->oldest < end) {
        f->touched += f->window[0];
        forget_oldest(f);
        f->copies--;
    }
    if (f->state == FETCH_DRAINING && f->copies == 0) {
        drained(core, index, BATON_PROOF_PEER_DRAIN, out);
    }
    fetch_ready(core, index);
}

void push_fetch_frame(struct core *core, const struct core_event *event, uint64_t now_us,
                      struct core_actions *out)
{
    const struct frame *frame = event->frame.frame;
    bool written = frame->type == FRAME_WRITTEN;
    uint32_t index = 0;
    const struct fetch *f =
        fetch_find(core, written ? frame->written.fetch_id : frame->quiesced.fetch_id, &index);

    if (!f || f->link != event->link || !f->remote ||
        f->attempt != (written ? frame->written.attempt : frame->quiesced.attempt)) {
        core->counts.late++;
    } else if (written && (f->state == FETCH_READING || f->state == FETCH_DRAINING)) {
        frame_written(core, index, event, now_us, out);
    } else if (!written && f->state == FETCH_DRAINING &&
               (frame->quiesced.nonce == 0 || frame->quiesced.nonce == f->nonce)) {
        drained(core, index, BATON_PROOF_PEER_DRAIN, out);
    } else {
        core->counts.late++;
    }
}

void push_proof(struct core *core, const struct core_event *event, struct core_actions *out)
{
    uint32_t index = 0;
    const struct fetch *f = fetch_find(core, event->proof.id, &index);

    if (f && f->state == FETCH_DRAINING && f->remote) {
        drained(core, index, event->proof.proof, out);
    }
}

void push_link_up(struct core *core, uint32_t link, struct core_actions *out)
{
    struct link *l = core_link(core, link);

    for (uint32_t i = 0; i < core->limits.fetches; i++) {
        struct fetch *f = &core_fetches(core)[i];

        if (f->state == FETCH_DRAINING && f->remote && f->link == ILIST_NONE &&
            memcmp(f->peer, l->incarnation, ID_BYTES) == 0) {
            f->link = link;
            ilist_push(&l->fetches, core_fetch_on_link(core), i);
            say_set(core, link, say_of_fetch(core, i, SAY_QUIESCE), out);
        }
    }
}

/* ---- source ---- */

static void frame_grant(struct core *core, const struct core_event *event, struct core_actions *out)
{
    const struct frame_grant *g = &event->frame.frame->grant;
    uint32_t index = 0;
    struct offer *o = offer_find(core, g->offer_id, &index);
    struct slot *t =
        o && g->slot < o->slots ? &core_slots(core)[slot_number(core, index, g->slot)] : NULL;
    struct core_action *action;

    if (!t || t->state != SLOT_LEASED || !t->push || t->link != event->link ||
        t->fetch_id != g->fetch_id || t->attempt != g->attempt) {
        core->counts.late++;
        return;
    }
    if (g->offset < t->granted) {
        core->counts.late++; /* it came twice */
        return;
    }
    /* In order, and below the watermark as it was told (P7). */
    if ((t->granted > 0 && g->offset > t->granted) || g->offset > o->watermark ||
        g->length > o->watermark - g->offset) {
        link_close(core, event->link, BATON_CAUSE_PROTOCOL, out);
        return;
    }
    t->written = t->granted > 0 ? t->written : g->offset;
    t->granted = g->offset + g->length;
    t->pushes++;
    o->serves++;
    action = action_add(out, CORE_ACTION_SERVE);
    action->link = event->link;
    action->index = index;
    action->slot = g->slot;
    action->serve.id = o->id;
    action->serve.fetch_id = g->fetch_id;
    action->serve.attempt = g->attempt;
    action->serve.offset = g->offset;
    action->serve.length = g->length;
    action->serve.push = true;
}

/* QUIESCED is to be said on this link, as soon as the pushes are over. */
static void promise(struct core *core, uint32_t number, uint32_t link, uint64_t nonce,
                    struct core_actions *out)
{
    struct slot *t = &core_slots(core)[number];

    if (t->link == ILIST_NONE) {
        t->link = link;
        ilist_push(&core_link(core, link)->slots, core_slot_on_link(core), number);
    }
    BATON_ASSERT(t->link == link); /* its older link was closed first */
    t->nonce = nonce;
    t->quiesce = t->pushes > 0;
    if (!t->quiesce) {
        slot_say(core, number, SAY_QUIESCED, out);
    }
}

void push_lease_over(struct core *core, uint32_t number, uint32_t link, struct core_actions *out)
{
    if (core_slots(core)[number].remote) {
        promise(core, number, link, 0, out);
    }
}

static void frame_quiesce(struct core *core, const struct core_event *event, uint64_t now_us,
                          struct core_actions *out)
{
    const struct frame_quiesce *q = &event->frame.frame->quiesce;
    const struct reply reply = {
        .type = FRAME_QUIESCED, .fetch_id = q->fetch_id, .attempt = q->attempt, .nonce = q->nonce};
    uint32_t index = 0, number;
    const struct offer *o = offer_find(core, q->offer_id, &index);
    struct slot *t;
    bool taken;

    number = slot_number(core, index, q->slot);
    t = o && q->slot < o->slots ? &core_slots(core)[number] : NULL;
    if (t && (t->fetch_id != q->fetch_id || t->attempt != q->attempt ||
              memcmp(t->peer, core_link(core, event->link)->incarnation, ID_BYTES) != 0)) {
        t = NULL;
    }
    if (t && t->state == SLOT_LEASED) {
        lease_end(core, index, q->slot, BATON_CAUSE_NONE, now_us, out);
    }
    if (!t || (t->pushes == 0 && !say_has(core, say_of_slot(core, number, SAY_QUIESCED)))) {
        taken = say_reply(core, event->link, &reply, out);
        BATON_ASSERT(taken); /* core_link_reads() was true */
        return;
    }
    promise(core, number, event->link, q->nonce, out);
}

void push_offer_frame(struct core *core, const struct core_event *event, uint64_t now_us,
                      struct core_actions *out)
{
    if (event->frame.frame->type == FRAME_GRANT) {
        frame_grant(core, event, out);
    } else {
        BATON_ASSERT(event->frame.frame->type == FRAME_QUIESCE);
        frame_quiesce(core, event, now_us, out);
    }
}

void push_served(struct core *core, uint32_t index, const struct core_event *event, uint64_t now_us,
                 struct core_actions *out)
{
    uint32_t s = event->served.slot, number = slot_number(core, index, s);
    struct slot *t = &core_slots(core)[number];

    BATON_ASSERT(s < core_offers(core)[index].slots && t->pushes > 0);
    t->pushes--;
    if (t->state == SLOT_LEASED && event->served.status != CORE_COPIED_OK) {
        lease_end(core, index, s, BATON_CAUSE_READ, now_us, out);
    } else if (t->state == SLOT_LEASED) {
        t->written += event->served.length;
        BATON_ASSERT(t->written <= t->granted);
        if (t->remote) {
            slot_say(core, number, SAY_WRITTEN, out);
        }
    }
    if (t->quiesce && t->pushes == 0) {
        t->quiesce = false;
        slot_say(core, number, SAY_QUIESCED, out);
    }
}

bool push_slot_builds(const struct core *core, uint32_t number, enum say_slot what,
                      struct frame *ret_frame)
{
    const struct slot *t = &core_slots(core)[number];

    if (what == SAY_WRITTEN) {
        *ret_frame = (struct frame){.type = FRAME_WRITTEN};
        ret_frame->written = (struct frame_written){
            .fetch_id = t->fetch_id, .attempt = t->attempt, .end = t->written};
        return true;
    }
    BATON_ASSERT(what == SAY_QUIESCED && t->pushes == 0);
    *ret_frame = (struct frame){.type = FRAME_QUIESCED};
    ret_frame->quiesced =
        (struct frame_quiesced){.fetch_id = t->fetch_id, .attempt = t->attempt, .nonce = t->nonce};
    return true;
}
