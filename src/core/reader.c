/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What readers ask of offers: OPEN, COMMIT, CANCEL, each with every case of DESIGN.md, section 5.2.
 * The lifecycle that they move is in offer.c.
 */
#include "core/offer.h"

#include "util/sabotage.h"

#include <string.h>

static void refuse(struct core *core, uint32_t link, uint64_t fetch_id, baton_cause cause,
                   bool revoked, struct core_actions *out)
{
    const struct reply reply = {
        .type = FRAME_REFUSED, .fetch_id = fetch_id, .cause = (uint8_t)cause, .revoked = revoked};
    bool taken = say_reply(core, link, &reply, out);

    BATON_ASSERT(taken); /* core_link_reads() was true */
}

/*
 * The slot is to be leased anew while the last words of its former lease still wait for a slow
 * link: they move to the link's replies.  A link that has not even room for it is closed,
 * which says the same to all of its readers; but not for a word that nobody has asked for.
 */
static void displace(struct core *core, uint32_t number, struct core_actions *out)
{
    const struct slot *t = &core_slots(core)[number];
    const struct reply ended = {
        .type = FRAME_ENDED, .fetch_id = t->fetch_id, .attempt = t->attempt, .cause = t->cause};
    const struct reply quiesced = {
        .type = FRAME_QUIESCED, .fetch_id = t->fetch_id, .attempt = t->attempt, .nonce = t->nonce};
    bool ends = say_has(core, say_of_slot(core, number, SAY_ENDED)) || BATON_SABOTAGE(SKIP_LEASE);
    bool quiesces = say_has(core, say_of_slot(core, number, SAY_QUIESCED));
    uint32_t link = t->link;

    if (link == ILIST_NONE) {
        return;
    }
    slot_unlink(core, number);
    if ((ends && !say_reply(core, link, &ended, out)) ||
        (quiesces && !say_reply(core, link, &quiesced, out) && t->nonce != 0)) {
        link_close(core, link, BATON_CAUSE_LINK_SILENT, out);
    }
}

static void lease(struct core *core, const struct core_event *event, uint32_t index, uint32_t s,
                  uint64_t now_us, struct core_actions *out)
{
    uint32_t number = slot_number(core, index, s);
    struct offer *o = &core_offers(core)[index];
    struct slot *t = &core_slots(core)[number];

    displace(core, number, out);
    BATON_ASSERT(core->last_attempt < UINT64_MAX);
    t->link = event->link;
    t->fetch_id = event->frame.frame->open.fetch_id;
    t->attempt = ++core->last_attempt;
    o->attempts++;
    o->last_attempt = t->attempt;
    t->exported = event->frame.exported;
    t->push = event->frame.frame->open.mode == OPEN_PUSH;
    t->remote = t->push && event->frame.remote;
    t->granted = t->written = 0;
    o->exported = o->exported || t->exported;
    o->last_slot = s;
    memcpy(t->peer, core_link(core, event->link)->incarnation, ID_BYTES);
    ilist_push(&core_link(core, t->link)->slots, core_slot_on_link(core), number);
    slot_move(core, index, s, SLOT_LEASED, out);
    core->counts.leases++;
    slot_clock(core, index, s, now_us);
    slot_say(core, number, SAY_ACCEPT, out);
    offer_check(core, index);
}

/* The slot's last lease was this very fetch's, and has ended: the frame came twice. */
static bool is_over(const struct core *core, const struct slot *t, const struct core_event *event)
{
    return t->attempt != 0 && t->fetch_id == event->frame.frame->open.fetch_id &&
           memcmp(t->peer, core_link(core, event->link)->incarnation, ID_BYTES) == 0;
}

/* DESIGN.md, section 5.2, line by line. */
static void frame_open(struct core *core, const struct core_event *event, uint64_t now_us,
                       struct core_actions *out)
{
    const struct frame_open *open = &event->frame.frame->open;
    uint32_t index = 0;
    const struct offer *o = offer_find(core, open->offer_id, &index);
    const struct slot *t;

    if (!o || open->slot >= o->slots) {
        refuse(core, event->link, open->fetch_id, BATON_CAUSE_GONE, false, out);
        return;
    }
    t = &core_slots(core)[slot_number(core, index, open->slot)];
    if (memcmp(t->secret, open->secret, ID_BYTES) != 0) {
        refuse(core, event->link, open->fetch_id, BATON_CAUSE_SECRET, false, out);
    } else if ((t->state == SLOT_LEASED && t->link == event->link &&
                t->fetch_id == open->fetch_id) ||
               (t->state == SLOT_OFFERED && is_over(core, t, event))) {
        core->counts.late++; /* it has had its answer, or will have it */
    } else if (t->state == SLOT_LEASED || (t->state == SLOT_OFFERED && t->pushes > 0)) {
        refuse(core, event->link, open->fetch_id, BATON_CAUSE_BUSY, false, out);
    } else if (t->state == SLOT_COMMITTED) {
        refuse(core, event->link, open->fetch_id, BATON_CAUSE_COMMITTED, false, out);
    } else if (t->state == SLOT_REVOKED) {
        refuse(core, event->link, open->fetch_id, t->cause, true, out);
    } else if (event->frame.misfit != BATON_CAUSE_NONE) {
        refuse(core, event->link, open->fetch_id, event->frame.misfit, false, out);
    } else if (o->attempts >= core->limits.attempts) {
        refuse(core, event->link, open->fetch_id, BATON_CAUSE_ATTEMPTS, false, out);
    } else {
        lease(core, event, index, open->slot, now_us, out);
    }
}

static bool all_committed(const struct core *core, uint32_t index)
{
    const struct offer *o = &core_offers(core)[index];

    for (uint32_t s = 0; s < o->slots; s++) {
        if (core_slots(core)[slot_number(core, index, s)].state != SLOT_COMMITTED) {
            return false;
        }
    }
    return true;
}

static void commit(struct core *core, uint32_t index, uint32_t s, uint64_t now_us,
                   struct core_actions *out)
{
    uint32_t number = slot_number(core, index, s);
    struct offer *o = &core_offers(core)[index];

    if (o->watermark < o->total) {
        lease_end(core, index, s, BATON_CAUSE_EARLY, now_us, out);
        return;
    }
    /* A reader that commits has read all that it wants; what it still asks for is not waited for.
     */
    offer_serve_stop(core, index, s, out);
    slot_move(core, index, s, SLOT_COMMITTED, out);
    core_slots(core)[number].due = CORE_NEVER;
    o->commits++;
    timer_offer(core, index);
    slot_say(core, number, SAY_COMMITTED, out);
    BATON_ASSERT(o->state == OFFER_OPEN); /* its end revokes every lease */
    if (all_committed(core, index)) {
        offer_decide(core, index, BATON_COMPLETED, BATON_CAUSE_NONE, now_us, out);
    }
}

static void frame_commit(struct core *core, const struct core_event *event, uint64_t now_us,
                         struct core_actions *out)
{
    const struct frame_commit *c = &event->frame.frame->commit;
    uint32_t index = 0;
    const struct offer *o = offer_find(core, c->offer_id, &index);
    const struct slot *t;

    if (!o || c->slot >= o->slots) {
        core->counts.late++;
        refuse(core, event->link, c->fetch_id, BATON_CAUSE_GONE, false, out);
        return;
    }
    t = &core_slots(core)[slot_number(core, index, c->slot)];
    if (t->attempt != c->attempt || t->fetch_id != c->fetch_id || t->link != event->link) {
        core->counts.late++;
    } else if (t->state == SLOT_LEASED) {
        commit(core, index, c->slot, now_us, out);
    } else if (t->state == SLOT_COMMITTED ||
               (t->state == SLOT_REVOKED && BATON_SABOTAGE(SKIP_LEASE))) {
        slot_say(core, slot_number(core, index, c->slot), SAY_COMMITTED, out);
    } else {
        core->counts.late++; /* ENDED is on its way */
    }
}

static void frame_cancel(struct core *core, const struct core_event *event, uint64_t now_us,
                         struct core_actions *out)
{
    const struct frame_cancel *c = &event->frame.frame->cancel;
    uint32_t index = 0;
    const struct offer *o = offer_find(core, c->offer_id, &index);
    const struct slot *t;
    bool holder;

    if (!o || c->slot >= o->slots) {
        core->counts.late++;
        return;
    }
    t = &core_slots(core)[slot_number(core, index, c->slot)];
    holder = t->state == SLOT_LEASED && t->link == event->link && t->fetch_id == c->fetch_id &&
             (c->attempt == 0 || c->attempt == t->attempt);
    if (memcmp(t->secret, c->secret, ID_BYTES) != 0) {
        core->counts.late++;
    } else if (c->scope == BATON_CANCEL_OFFER) {
        offer_end(core, index, BATON_PEER_CANCELLED, c->cause, holder ? c->slot : ILIST_NONE,
                  now_us, out);
    } else if (holder) {
        lease_end(core, index, c->slot, BATON_CAUSE_NONE, now_us, out);
        push_lease_over(core, slot_number(core, index, c->slot), event->link, out);
    } else {
        core->counts.late++;
    }
}

void offer_frame(struct core *core, const struct core_event *event, uint64_t now_us,
                 struct core_actions *out)
{
    switch (event->frame.frame->type) {
    case FRAME_OPEN:
        frame_open(core, event, now_us, out);
        return;
    case FRAME_COMMIT:
        frame_commit(core, event, now_us, out);
        return;
    case FRAME_GRANT:
    case FRAME_QUIESCE:
        push_offer_frame(core, event, now_us, out);
        return;
    default:
        BATON_ASSERT(event->frame.frame->type == FRAME_CANCEL);
        frame_cancel(core, event, now_us, out);
    }
}
