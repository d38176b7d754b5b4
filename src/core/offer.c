/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offers: the source's side of handoffs.  Per reader slot:
 *
 *   OFFERED --OPEN--> LEASED(attempt) --COMMIT--> COMMITTED
 *      |  ^---lease ends---|  |
 *      +--------revoke--------+--> REVOKED
 *
 * The offer itself is OPEN until its outcome is decided (all slots final), ENDED while this side's
 * own movers still read for it, and QUIET after that.  Its record goes when its last word was said.
 */
#include "core/offer.h"

#include "util/sabotage.h"

#include <string.h>

#define BIT(n) (1U << (n))

static const struct slot_state_conf {
    baton_stage stage;
    unsigned next; /* bit set of the states one move away */
} slot_states[] = {
    /* Nobody may read below the watermark. */
    [SLOT_OFFERED] = {BATON_STAGE_OFFERED, BIT(SLOT_LEASED) | BIT(SLOT_REVOKED)},
    /* The lease's holder may read below the watermark. */
    [SLOT_LEASED] = {BATON_STAGE_LEASED,
                     BIT(SLOT_OFFERED) | BIT(SLOT_COMMITTED) | BIT(SLOT_REVOKED)},
    /* The holder has read all.  Final. */
    [SLOT_COMMITTED] = {BATON_STAGE_COMMITTED, 0},
    /* What is still read can not be committed.  Final. */
    [SLOT_REVOKED] = {BATON_STAGE_REVOKED, 0},
};

static const struct offer_state_conf {
    unsigned next;
} offer_states[] = {
    [OFFER_FREE] = {BIT(OFFER_OPEN)},
    [OFFER_OPEN] = {BIT(OFFER_ENDED)},
    [OFFER_ENDED] = {BIT(OFFER_QUIET)},
    [OFFER_QUIET] = {BIT(OFFER_FREE)},
};

void offer_check(const struct core *core, uint32_t index)
{
    const struct offer *o = &core_offers(core)[index];

    BATON_ASSERT(o->watermark <= o->total); /* P7 */
    BATON_ASSERT(o->commits <= o->attempts);
    BATON_ASSERT(BATON_IMPLIES(o->state == OFFER_OPEN, o->outcome == BATON_UNDECIDED));
    BATON_ASSERT(BATON_IMPLIES(o->state == OFFER_QUIET, o->serves == 0)); /* P10, S3 */
    for (uint32_t s = 0; s < o->slots; s++) {
        const struct slot *t = &core_slots(core)[slot_number(core, index, s)];
        bool final = t->state == SLOT_COMMITTED || t->state == SLOT_REVOKED;

        BATON_ASSERT(BATON_IMPLIES(o->state != OFFER_OPEN && o->state != OFFER_FREE, final));
        BATON_ASSERT(BATON_IMPLIES(t->state == SLOT_LEASED, t->link != ILIST_NONE));
        BATON_ASSERT(BATON_IMPLIES(t->state == SLOT_COMMITTED, o->watermark == o->total));
    }
}

static void offer_move(struct core *core, uint32_t index, enum offer_state to)
{
    struct offer *o = &core_offers(core)[index];

    BATON_ASSERT(offer_states[o->state].next & BIT(to));
    o->state = (uint8_t)to;
    offer_check(core, index);
}

void slot_move(struct core *core, uint32_t index, uint32_t s, enum slot_state to,
               struct core_actions *out)
{
    struct slot *t = &core_slots(core)[slot_number(core, index, s)];
    const struct slot_state_conf *from = &slot_states[t->state];

    BATON_ASSERT(from->next & BIT(to));
    t->state = (uint8_t)to;
    action_trace(out, CORE_OFFER, index, s, from->stage, slot_states[to].stage, 0,
                 core_offers(core)[index].total);
}

struct offer *offer_find(const struct core *core, uint64_t id, uint32_t *ret_index)
{
    uint32_t index = (uint32_t)(id & (BIT(CORE_INDEX_BITS) - 1));
    struct offer *o;

    if (index >= core->limits.offers) {
        return NULL;
    }
    o = &core_offers(core)[index];
    if (o->state == OFFER_FREE || o->id != id) {
        return NULL;
    }
    *ret_index = index;
    return o;
}

static bool slot_says_anything(const struct core *core, uint32_t number)
{
    if (BATON_SABOTAGE(SKIP_LEASE) && core_slots(core)[number].link != ILIST_NONE) {
        return true; /* stay, to answer the commit that must fail */
    }
    for (int what = 0; what < SAY_SLOT_END_; what++) {
        if (say_has(core, say_of_slot(core, number, what))) {
            return true;
        }
    }
    return core_slots(core)[number].quiesce; /* it will */
}

void slot_say(struct core *core, uint32_t number, enum say_slot what, struct core_actions *out)
{
    say_set(core, core_slots(core)[number].link, say_of_slot(core, number, what), out);
}

/* Take the slot off its link, with all that it had to say there. */
void slot_unlink(struct core *core, uint32_t number)
{
    struct slot *t = &core_slots(core)[number];

    if (t->link == ILIST_NONE) {
        return;
    }
    for (int what = 0; what < SAY_SLOT_END_; what++) {
        say_clear(core, t->link, say_of_slot(core, number, what));
    }
    ilist_remove(&core_link(core, t->link)->slots, core_slot_on_link(core), number);
    t->link = ILIST_NONE;
    t->quiesce = false;
}

/* The record goes after its quiet, when its last frame was written or its link closed. */
static void offer_forget(struct core *core, uint32_t index, struct core_actions *out)
{
    struct offer *o = &core_offers(core)[index];
    struct core_action *action;

    if (o->state != OFFER_QUIET) {
        return;
    }
    for (uint32_t s = 0; s < o->slots; s++) {
        uint32_t number = slot_number(core, index, s);

        if (slot_says_anything(core, number)) {
            return;
        }
    }
    for (uint32_t s = 0; s < o->slots; s++) {
        slot_unlink(core, slot_number(core, index, s));
    }
    offer_move(core, index, OFFER_FREE);
    core->gauges.offers--;
    action = action_add(out, CORE_ACTION_FORGET);
    action->side = CORE_OFFER;
    action->index = index;
}

/*
 * Which proof there is, once no own mover reads: with memory that only our own code sends from, its
 * drain.  With memory that peers read themselves, the commits of all who ever had a lease, else
 * that none of the others can ever commit.
 */
static baton_proof proof(const struct offer *o)
{
    if (o->exported) {
        return o->attempts > 0 && o->attempts == o->commits ? BATON_PROOF_PEER_DRAIN
                                                            : BATON_PROOF_REVOKED;
    }
    return o->attempts > 0 ? BATON_PROOF_LOCAL_DRAIN : BATON_PROOF_NEVER_EXPOSED;
}

static void offer_quiet(struct core *core, uint32_t index, struct core_actions *out)
{
    struct offer *o = &core_offers(core)[index];
    struct core_action *action;

    if (o->state != OFFER_ENDED || o->serves > 0) {
        return;
    }
    offer_move(core, index, OFFER_QUIET);
    timer_offer(core, index);
    action = action_add(out, CORE_ACTION_QUIET);
    action->side = CORE_OFFER;
    action->index = index;
    action->quiet.proof = proof(o);
    action->quiet.attempts = o->attempts;
    action->quiet.last_attempt = o->last_attempt;
    memcpy(action->quiet.peer, core_slots(core)[slot_number(core, index, o->last_slot)].peer,
           ID_BYTES);
    offer_forget(core, index, out);
}

void offer_decide(struct core *core, uint32_t index, baton_outcome outcome, baton_cause cause,
                  uint64_t now_us, struct core_actions *out)
{
    struct offer *o = &core_offers(core)[index];
    struct core_action *action;

    BATON_ASSERT(o->outcome == BATON_UNDECIDED); /* S6 */
    o->outcome = (uint8_t)outcome;
    o->cause = (uint8_t)cause;
    o->doubt_due = timer_after(now_us, core->limits.doubt_us);
    offer_move(core, index, OFFER_ENDED);
    timer_offer(core, index);
    action = action_add(out, CORE_ACTION_OUTCOME);
    action->side = CORE_OFFER;
    action->index = index;
    action->outcome.outcome = outcome;
    action->outcome.cause = cause;
    action->outcome.total = o->total;
    offer_quiet(core, index, out);
}

void offer_serve_stop(struct core *core, uint32_t index, uint32_t s, struct core_actions *out)
{
    const struct offer *o = &core_offers(core)[index];
    struct core_action *action;

    if (o->serves == 0) {
        return;
    }
    action = action_add(out, CORE_ACTION_SERVE_STOP);
    action->index = index;
    action->slot = s;
    action->serve.id = o->id;
    action->serve.attempt = core_slots(core)[slot_number(core, index, s)].attempt;
}

/* One reader can not commit any more.  `tell`: it does not know yet. */
static void slot_revoke(struct core *core, uint32_t index, uint32_t s, baton_cause cause, bool tell,
                        struct core_actions *out)
{
    uint32_t number = slot_number(core, index, s);
    struct slot *t = &core_slots(core)[number];
    bool leased = t->state == SLOT_LEASED;

    slot_move(core, index, s, SLOT_REVOKED, out);
    t->cause = (uint8_t)cause;
    t->due = CORE_NEVER;
    if (leased) {
        offer_serve_stop(core, index, s, out);
        if (tell && !BATON_SABOTAGE(SKIP_LEASE)) {
            slot_say(core, number, SAY_ENDED, out);
        }
        push_lease_over(core, number, t->link, out);
    }
}

/* Revoke every open slot and decide the outcome, in one step.  `asker`: the slot whose reader asked
 * for it. */
void offer_end(struct core *core, uint32_t index, baton_outcome outcome, baton_cause cause,
               uint32_t asker, uint64_t now_us, struct core_actions *out)
{
    const struct offer *o = &core_offers(core)[index];

    if (o->state != OFFER_OPEN) {
        return; /* the first decision won */
    }
    for (uint32_t s = 0; s < o->slots; s++) {
        const struct slot *t = &core_slots(core)[slot_number(core, index, s)];

        if (t->state == SLOT_OFFERED || t->state == SLOT_LEASED) {
            slot_revoke(core, index, s, cause, s != asker, out);
        }
    }
    offer_decide(core, index, outcome, cause, now_us, out);
}

void slot_clock(struct core *core, uint32_t index, uint32_t s, uint64_t now_us)
{
    const struct offer *o = &core_offers(core)[index];
    struct slot *t = &core_slots(core)[slot_number(core, index, s)];

    BATON_ASSERT(t->state == SLOT_OFFERED || t->state == SLOT_LEASED);
    t->due = CORE_NEVER;
    if (t->state == SLOT_OFFERED) {
        t->due = timer_after(now_us, o->reader_us);
    } else if (o->watermark == o->total) {
        t->due = timer_after(now_us, o->lease_us);
    }
    timer_offer(core, index);
}

/* The lease ends without a commit: another reader may come.  `tell`: why, to a holder that does not
 * know yet. */
void lease_end(struct core *core, uint32_t index, uint32_t s, baton_cause tell, uint64_t now_us,
               struct core_actions *out)
{
    uint32_t number = slot_number(core, index, s);
    struct slot *t = &core_slots(core)[number];

    offer_serve_stop(core, index, s, out);
    slot_move(core, index, s, SLOT_OFFERED, out);
    t->cause = (uint8_t)tell;
    if (tell != BATON_CAUSE_NONE) {
        slot_say(core, number, SAY_ENDED, out);
        push_lease_over(core, number, t->link, out);
    } else {
        slot_unlink(core, number);
    }
    slot_clock(core, index, s, now_us);
}

void slot_lost(struct core *core, uint32_t number, uint64_t now_us, struct core_actions *out)
{
    uint32_t index = number / core->limits.slots, s = number % core->limits.slots;

    if (core_slots(core)[number].state == SLOT_LEASED) {
        lease_end(core, index, s, BATON_CAUSE_NONE, now_us, out);
        return;
    }
    slot_unlink(core, number);
    offer_forget(core, index, out);
}

bool slot_builds(const struct core *core, uint32_t number, enum say_slot what,
                 struct frame *ret_frame)
{
    const struct slot *t = &core_slots(core)[number];
    const struct offer *o = &core_offers(core)[number / core->limits.slots];

    switch (what) {
    case SAY_ACCEPT:
        *ret_frame = (struct frame){.type = FRAME_ACCEPT};
        ret_frame->accept.fetch_id = t->fetch_id;
        ret_frame->accept.attempt = t->attempt;
        ret_frame->accept.watermark = o->watermark;
        ret_frame->accept.total = o->total;
        return t->state == SLOT_LEASED;
    case SAY_WATERMARK:
        *ret_frame = (struct frame){.type = FRAME_WATERMARK};
        ret_frame->watermark = (struct frame_watermark){
            .fetch_id = t->fetch_id, .attempt = t->attempt, .watermark = o->watermark};
        return t->state == SLOT_LEASED;
    case SAY_COMMITTED:
        *ret_frame = (struct frame){.type = FRAME_COMMITTED};
        ret_frame->committed =
            (struct frame_committed){.fetch_id = t->fetch_id, .attempt = t->attempt};
        return t->state == SLOT_COMMITTED || BATON_SABOTAGE(SKIP_LEASE);
    case SAY_WRITTEN:
    case SAY_QUIESCED:
        return push_slot_builds(core, number, what, ret_frame);
    default:
        BATON_ASSERT(what == SAY_ENDED);
        BATON_ASSERT(t->state == SLOT_OFFERED || t->state == SLOT_REVOKED);
        *ret_frame = (struct frame){.type = FRAME_ENDED};
        ret_frame->ended =
            (struct frame_ended){.fetch_id = t->fetch_id, .attempt = t->attempt, .cause = t->cause};
        return true;
    }
}

void slot_said(struct core *core, uint32_t number, struct core_actions *out)
{
    /* An open slot that has said the end of its lease has no business with that link any more. */
    if (core_slots(core)[number].state == SLOT_OFFERED && !slot_says_anything(core, number)) {
        slot_unlink(core, number);
    }
    offer_forget(core, number / core->limits.slots, out);
}

/* ---- local events ---- */

static void event_offer(struct core *core, const struct core_event *event, uint64_t now_us,
                        struct core_actions *out)
{
    const struct core_event_offer *e = &event->offer;
    struct offer *o = &core_offers(core)[e->index];

    BATON_ASSERT(e->index < core->limits.offers);
    BATON_ASSERT((e->id & (BIT(CORE_INDEX_BITS) - 1)) == e->index);
    BATON_ASSERT(o->state == OFFER_FREE && e->id > o->id); /* S5: never used twice */
    BATON_ASSERT(e->slots >= 1 && e->slots <= core->limits.slots);
    *o = (struct offer){.id = e->id,
                        .total = e->total,
                        .watermark = e->watermark < e->total ? e->watermark : e->total,
                        .slots = e->slots,
                        .exported = e->exported,
                        .reader_us = timer_span(e->reader_ms),
                        .lease_us = timer_span(e->lease_ms),
                        .whole_due = timer_after(now_us, timer_span(e->whole_ms)),
                        .doubt_due = CORE_NEVER};
    for (uint32_t s = 0; s < e->slots; s++) {
        struct slot *t = &core_slots(core)[slot_number(core, e->index, s)];

        *t = (struct slot){.link = ILIST_NONE, .due = timer_after(now_us, o->reader_us)};
        memcpy(t->secret, e->secret[s], ID_BYTES);
        action_trace(out, CORE_OFFER, e->index, s, BATON_STAGE_NONE, BATON_STAGE_OFFERED, 0,
                     o->total);
    }
    offer_move(core, e->index, OFFER_OPEN);
    core->gauges.offers++;
    timer_offer(core, e->index);
}

static void event_advance(struct core *core, const struct core_event *event, uint64_t now_us,
                          struct core_actions *out)
{
    uint32_t index = 0;
    struct offer *o = offer_find(core, event->advance.id, &index);
    uint64_t watermark = event->advance.watermark;

    if (!o || o->state != OFFER_OPEN) {
        return; /* inert on an offer that has ended */
    }
    watermark = watermark < o->total ? watermark : o->total;
    if (watermark <= o->watermark) {
        return;
    }
    o->watermark = watermark;
    for (uint32_t s = 0; s < o->slots; s++) {
        uint32_t number = slot_number(core, index, s);

        if (core_slots(core)[number].state != SLOT_LEASED) {
            continue;
        }
        if (!say_has(core, say_of_slot(core, number, SAY_ACCEPT))) {
            slot_say(core, number, SAY_WATERMARK, out);
        }
        slot_clock(core, index, s, now_us);
    }
}

/* P6: an own mover reads only inside the blocks of a leased offer, below its watermark. */
static bool may_read(const struct core *core, const struct core_event *event, uint32_t *ret_index)
{
    const struct offer *o = offer_find(core, event->read.offer_id, ret_index);
    const struct slot *t;

    if (!o || event->read.slot >= o->slots) {
        return false;
    }
    t = &core_slots(core)[slot_number(core, *ret_index, event->read.slot)];
    return t->state == SLOT_LEASED && t->link == event->link && t->attempt == event->read.attempt &&
           t->fetch_id == event->read.fetch_id && event->read.length > 0 &&
           event->read.offset <= o->watermark &&
           event->read.length <= o->watermark - event->read.offset;
}

static void event_read(struct core *core, const struct core_event *event, struct core_actions *out)
{
    uint32_t index = 0;
    struct core_action *action;

    if (!may_read(core, event, &index)) {
        core->counts.late++;
        action_add(out, CORE_ACTION_SERVE_REFUSE)->link = event->link;
        return;
    }
    core_offers(core)[index].serves++;
    action = action_add(out, CORE_ACTION_SERVE);
    action->link = event->link;
    action->index = index;
    action->slot = event->read.slot;
    action->serve.id = event->read.offer_id;
    action->serve.fetch_id = event->read.fetch_id;
    action->serve.attempt = event->read.attempt;
    action->serve.offset = event->read.offset;
    action->serve.length = event->read.length;
}

static void event_served(struct core *core, const struct core_event *event, uint64_t now_us,
                         struct core_actions *out)
{
    uint32_t index = 0;
    struct offer *o = offer_find(core, event->served.offer_id, &index);

    BATON_ASSERT(o && o->serves > 0); /* a record stays until its movers are drained */
    o->serves--;
    if (event->served.push) {
        push_served(core, index, event, now_us, out);
    }
    offer_quiet(core, index, out);
}

void offer_event(struct core *core, const struct core_event *event, uint64_t now_us,
                 struct core_actions *out)
{
    uint32_t index = 0;

    switch (event->type) {
    case CORE_EVENT_OFFER:
        event_offer(core, event, now_us, out);
        return;
    case CORE_EVENT_ADVANCE:
        event_advance(core, event, now_us, out);
        return;
    case CORE_EVENT_READ:
        event_read(core, event, out);
        return;
    case CORE_EVENT_SERVED:
        event_served(core, event, now_us, out);
        return;
    default:
        BATON_ASSERT(event->type == CORE_EVENT_CANCEL);
        if (offer_find(core, event->cancel.id, &index)) {
            offer_end(core, index, BATON_CANCELLED, event->cancel.cause, ILIST_NONE, now_us, out);
        }
    }
}

void offer_expire(struct core *core, uint32_t index, uint64_t now_us, struct core_actions *out)
{
    struct offer *o = &core_offers(core)[index];

    if (o->state == OFFER_ENDED) {
        struct core_action *action = action_add(out, CORE_ACTION_DOUBT);

        BATON_ASSERT(now_us >= o->doubt_due);
        action->side = CORE_OFFER;
        action->index = index;
        action->cause = o->cause;
        o->doubt_due = CORE_NEVER;
        timer_offer(core, index);
        return;
    }
    BATON_ASSERT(o->state == OFFER_OPEN);
    if (now_us >= o->whole_due) {
        offer_end(core, index, BATON_TIMED_OUT, BATON_CAUSE_CLOCK_WHOLE, ILIST_NONE, now_us, out);
        return;
    }
    for (uint32_t s = 0; s < o->slots; s++) {
        const struct slot *t = &core_slots(core)[slot_number(core, index, s)];

        if (now_us < t->due) {
            continue;
        }
        if (t->state == SLOT_OFFERED) {
            offer_end(core, index, BATON_TIMED_OUT, BATON_CAUSE_CLOCK_READER, ILIST_NONE, now_us,
                      out);
            return;
        }
        lease_end(core, index, s, BATON_CAUSE_CLOCK_LEASE, now_us, out);
    }
    timer_offer(core, index);
}

void core_slot_view(const struct core *core, uint32_t offer, uint32_t slot,
                    struct core_slot_view *ret_view)
{
    const struct slot *t = &core_slots(core)[slot_number(core, offer, slot)];

    BATON_ASSERT(offer < core->limits.offers && slot < core->limits.slots);
    *ret_view =
        (struct core_slot_view){.stage = slot_states[t->state].stage,
                                .cause = t->state == SLOT_REVOKED ? t->cause : BATON_CAUSE_NONE,
                                .attempt = t->attempt};
}
