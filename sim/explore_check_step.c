/* SPDX-License-Identifier: Apache-2.0 */
/* The explorer's checkers that compare a state with the one before it, and those of states at
 * rest. */
#include "sim/explore_world.h"

#include <string.h>

/* ---- messages ---- */

static bool late_at_sink(const struct core *core, uint32_t link, const struct frame *frame)
{
    uint64_t id = 0, attempt = 0;
    const struct fetch *f;

    switch (frame->type) {
    case FRAME_ACCEPT:
        id = frame->accept.fetch_id;
        break;
    case FRAME_REFUSED:
        id = frame->refused.fetch_id;
        break;
    case FRAME_WATERMARK:
        id = frame->watermark.fetch_id;
        attempt = frame->watermark.attempt;
        break;
    case FRAME_COMMITTED:
        id = frame->committed.fetch_id;
        attempt = frame->committed.attempt;
        break;
    case FRAME_ENDED:
        id = frame->ended.fetch_id;
        attempt = frame->ended.attempt;
        break;
    case FRAME_WRITTEN:
    case FRAME_QUIESCED: /* the same fields */
        id = frame->written.fetch_id;
        attempt = frame->written.attempt;
        break;
    default:
        return false;
    }
    f = &core_fetches(core)[id & ((1U << CORE_INDEX_BITS) - 1)];
    if (f->state == FETCH_DRAINING && f->remote &&
        (frame->type == FRAME_WRITTEN || frame->type == FRAME_QUIESCED)) {
        return f->id != id || f->link != link || attempt != f->attempt;
    }
    return f->state == FETCH_FREE || f->id != id || f->link != link || f->outcome ||
           (attempt && f->attempt && attempt != f->attempt);
}

static bool late_at_source(const struct core *core, uint32_t link, const struct frame *frame)
{
    bool commit = frame->type == FRAME_COMMIT;
    uint64_t id = commit ? frame->commit.offer_id : frame->cancel.offer_id;
    uint64_t fetch = commit ? frame->commit.fetch_id : frame->cancel.fetch_id;
    uint64_t attempt = commit ? frame->commit.attempt : frame->cancel.attempt;
    const struct offer *o = &core_offers(core)[id & ((1U << CORE_INDEX_BITS) - 1)];
    const struct slot *t;

    if (!commit && (frame->type != FRAME_CANCEL || frame->cancel.scope == BATON_CANCEL_OFFER)) {
        return false;
    }
    if (o->state == OFFER_FREE || o->id != id) {
        return !commit; /* a COMMIT for nobody is refused */
    }
    t = &core_slots(core)[slot_number(core, (uint32_t)(id & ((1U << CORE_INDEX_BITS) - 1)),
                                      commit ? frame->commit.slot : frame->cancel.slot)];
    return t->fetch_id != fetch || t->link != link || (attempt && t->attempt != attempt);
}

bool explore_frame_is_late(const struct explorer *x, const struct world *w, int node, uint32_t link,
                           const struct frame *frame)
{
    const struct core *core = core_of(x, w, node);

    return node ? late_at_sink(core, link, frame) : late_at_source(core, link, frame);
}

void explore_check_p5_inert(struct explorer *x, int node, const struct frame *frame)
{
    if (explore_core_key(x, x->w, node, core_of(x, x->w, node)) != x->before->key[node]) {
        explore_broken(x, "P5 one reader generation", "a late %s changed node %d",
                       frame_name(frame->type), node);
    }
}

static unsigned replies(const struct core *core)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < core->limits.links * core->limits.replies; i++) {
        count += core_replies(core)[i].type != 0;
    }
    return count;
}

/* An answer without a record is given again: there the protocol promises nothing. */
void explore_check_s14_twice(struct explorer *x, int node, const struct core_event *event)
{
    const struct core *core = core_of(x, x->w, node);

    if (replies(core) != replies(core_of(x, x->before, node)) ||
        !core_link_reads(core, event->link)) {
        return;
    }
    memcpy(x->scratch, core, x->core_bytes[node]);
    core_step(x->scratch, event, WORLD_NOW_US, &x->actions);
    for (uint32_t i = 0; i < x->actions.count; i++) {
        if (x->actions.list[i].type != CORE_ACTION_FLUSH) {
            explore_broken(x, "S14 idempotence", "%s twice does something twice at node %d",
                           frame_name(event->frame.frame->type), node);
        }
    }
    if (explore_core_key(x, x->w, node, x->scratch) != explore_core_key(x, x->w, node, core)) {
        explore_broken(x, "S14 idempotence", "%s twice is not %s once at node %d",
                       frame_name(event->frame.frame->type), frame_name(event->frame.frame->type),
                       node);
    }
}

/* ---- a state and the one before ---- */

static void check_source(struct explorer *x, const struct core *old, const struct core *new)
{
    for (uint32_t i = 0; i < new->limits.offers; i++) {
        const struct offer *a = &core_offers(old)[i], *b = &core_offers(new)[i];

        if (a->state == OFFER_FREE || b->state == OFFER_FREE || a->id != b->id) {
            continue;
        }
        if (b->watermark < a->watermark) {
            explore_broken(x, "P7 watermark", "the watermark went down");
        }
        if (b->watermark != x->w->offers[x->w->life[0]][i].watermark) {
            explore_broken(x, "P7 watermark", "an advance moved another offer, or none");
        }
        if (a->outcome && a->outcome != b->outcome) {
            explore_broken(x, "S6 one outcome", "an offer's outcome was rewritten");
        }
        for (uint32_t s = 0; s < b->slots; s++) {
            const struct slot *t = &core_slots(old)[slot_number(old, i, s)];
            const struct slot *u = &core_slots(new)[slot_number(new, i, s)];

            if ((t->state == SLOT_COMMITTED || t->state == SLOT_REVOKED) &&
                (t->state != u->state || t->attempt != u->attempt)) {
                explore_broken(x, "P10 receipts", "slot %u was final and has changed", s);
            }
        }
    }
}

static void check_sink(struct explorer *x, const struct core *old, const struct core *new)
{
    for (uint32_t i = 0; i < new->limits.fetches; i++) {
        const struct fetch *a = &core_fetches(old)[i], *b = &core_fetches(new)[i];

        if (a->state != FETCH_FREE && b->state != FETCH_FREE && a->id == b->id && a->outcome &&
            a->outcome != b->outcome) {
            explore_broken(x, "S6 one outcome", "a fetch's outcome was rewritten");
        }
    }
}

/* What is to be said makes its link want to write; else it would wait for ever. */
static void check_wants(struct explorer *x, int node, const struct core *core)
{
    for (uint32_t i = 0; i < core->limits.links; i++) {
        const struct link *l = core_link(core, i);
        const struct wire *wire;

        if (l->state != LINK_UP || l->say.count == 0) {
            continue;
        }
        wire = explore_world_wire_of(x->w, node, i);
        if (!wire || !wire->wants[node ? SINK_END : SOURCE_END]) {
            explore_broken(x, "P11 nobody is forgotten",
                           "node %d has something to say, and did not ask", node);
        }
    }
}

static void look(struct explorer *x)
{
    struct explore_look l = {.completed = 0};
    const struct world *w = x->w;
    const struct core *core = core_of(x, w, 0);

    for (unsigned sink = 0; sink < x->rules->sinks; sink++) {
        for (unsigned i = 0; i < w->fetched[sink]; i++) {
            l.completed += w->fetches[sink][i].outcome == BATON_COMPLETED;
        }
        for (unsigned i = 0; i < WINDOWS_MAX; i++) {
            l.reading += w->windows[sink][i].state != WINDOW_NONE;
        }
    }
    for (unsigned plan = 0; plan < x->rules->plans; plan++) {
        for (unsigned slot = 0; slot < x->rules->slots; slot++) {
            const struct slot *t = &core_slots(core)[slot_number(core, plan, slot)];

            l.committed += w->offers[w->life[0]][plan].committed[slot] != 0;
            l.revoked += core_offers(core)[plan].state != OFFER_FREE && t->state == SLOT_REVOKED;
        }
    }
    if (x->wrong(x->arg, &l)) {
        explore_broken(x, "a test's own", "completed %u, committed %u, revoked %u, reading %u",
                       l.completed, l.committed, l.revoked, l.reading);
    }
}

void explore_check_step(struct explorer *x)
{
    struct world *w = x->w;

    for (int node = 0; node <= x->rules->sinks; node++) {
        const struct core *core = core_of(x, w, node);
        const struct core *old = core_of(x, x->before, node);

        if (!(x->touched & 1U << node)) {
            continue;
        }
        core_check(core);
        check_wants(x, node, core);
        if (x->before->life[node] == w->life[node]) {
            if (node == 0) {
                check_source(x, old, core);
            } else {
                check_sink(x, old, core);
            }
        }
    }
    /* The names of links go into the keys, so that those come when all wires are what they are. */
    for (int node = 0; node <= x->rules->sinks; node++) {
        if (x->touched & 1U << node) {
            explore_node_key(x, w, node);
        }
    }
    if (x->wrong) {
        look(x);
    }
}

/* ---- rest ---- */

static void rest_of_fetch(struct explorer *x, const struct world *w, unsigned sink,
                          const struct fetch *f)
{
    unsigned i = 0;
    const struct fetch_book *book = explore_fetch_book_of(w, sink, f->id, &i);
    const struct core *core = core_of(x, w, 0);
    const struct offer *o;
    const struct slot *t;

    if (!book || f->state != FETCH_READING || f->stalled || f->copies > 0) {
        explore_broken(x, "P11 nobody is forgotten", "sink %u: a fetch stays in state %u for ever",
                       sink + 1, f->state);
    }
    o = &core_offers(core)[book->plan];
    t = &core_slots(core)[slot_number(core, book->plan, book->slot)];
    if (book->source_life != w->life[0] || o->state != OFFER_OPEN || t->state != SLOT_LEASED ||
        t->attempt != f->attempt || t->fetch_id != f->id) {
        explore_broken(x, "P11 nobody is forgotten", "sink %u reads without a lease, for ever",
                       sink + 1);
    }
    if (f->watermark != o->watermark || o->watermark == o->total || f->landed < f->watermark) {
        explore_broken(x, "P11 nobody is forgotten", "sink %u waits, and nothing is to come",
                       sink + 1);
    }
}

static bool holder_lives(const struct explorer *x, const struct world *w, const struct slot *t)
{
    uint8_t key = w->reader[w->life[0]][t->attempt % ATTEMPTS_MAX];
    unsigned sink = (key - 1U) / FETCHES_MAX, fetch = (key - 1U) % FETCHES_MAX;

    return key && w->fetches[sink][fetch].made && !w->fetches[sink][fetch].outcome &&
           w->fetches[sink][fetch].sink_life == w->life[sink + 1] && x->rules->sinks > sink;
}

static void rest_of_wires(struct explorer *x, const struct world *w)
{
    for (unsigned i = 0; i < WIRES_MAX; i++) {
        const struct wire *wire = &w->wires[i];

        if (wire->used && (wire->count[0] || wire->count[1] || wire->end[SOURCE_END] != END_UP)) {
            explore_broken(x, "deadlock", "frames wait on the wire of sink %u", wire->sink + 1);
        }
    }
    for (int node = 0; node <= x->rules->sinks; node++) {
        const struct core *core = core_of(x, w, node);

        for (uint32_t i = 0; i < core->limits.links; i++) {
            if (core_link(core, i)->say.count > 0 || core_link(core, i)->state == LINK_DIALING) {
                explore_broken(x, "deadlock", "node %d waits for a link", node);
            }
        }
    }
    for (unsigned i = 0; i < PUSHES_MAX; i++) {
        if (w->pushes[i].state != PUSH_NONE) {
            explore_broken(x, "deadlock", "a push to sink %u waits", w->pushes[i].sink + 1U);
        }
    }
    for (unsigned i = 0; i < SINKS_MAX * WINDOWS_MAX; i++) {
        if (w->windows[i / WINDOWS_MAX][i % WINDOWS_MAX].state != WINDOW_NONE ||
            w->serves[i].state != SERVE_NONE) {
            explore_broken(x, "deadlock", "a window of sink %u waits", i / WINDOWS_MAX + 1);
        }
    }
}

void explore_check_p11_rest(struct explorer *x, const struct world *w)
{
    const struct core *core = core_of(x, w, 0);

    x->w = (struct world *)(uintptr_t)w;
    rest_of_wires(x, w);
    for (unsigned sink = 0; sink < x->rules->sinks; sink++) {
        const struct core *c = core_of(x, w, (int)sink + 1);

        for (uint32_t i = 0; i < c->limits.fetches; i++) {
            if (core_fetches(c)[i].state != FETCH_FREE) {
                rest_of_fetch(x, w, sink, &core_fetches(c)[i]);
            }
        }
    }
    for (uint32_t i = 0; i < core->limits.offers; i++) {
        const struct offer *o = &core_offers(core)[i];

        if (o->state == OFFER_ENDED || o->state == OFFER_QUIET) {
            explore_broken(x, "P11 nobody is forgotten", "an ended offer stays for ever");
        }
        for (uint32_t s = 0; o->state == OFFER_OPEN && s < o->slots; s++) {
            const struct slot *t = &core_slots(core)[slot_number(core, i, s)];

            if (t->state == SLOT_LEASED && !holder_lives(x, w, t)) {
                explore_broken(x, "P11 nobody is forgotten",
                               "slot %u is leased to a fetch that is over", s);
            }
        }
    }
}

void explore_check_all_over(struct explorer *x, const struct world *w)
{
    struct pool_counts counts;

    explore_check_p11_rest(x, w);
    for (unsigned plan = 0; plan < x->rules->plans; plan++) {
        const struct offer_book *o = &w->offers[w->life[0]][plan];

        if (o->made && (!o->outcome || !o->quiet || !o->forgotten || !o->debt.used)) {
            explore_broken(x, "P4 free at once", "the offer is not over");
        }
    }
    for (unsigned sink = 0; sink < x->rules->sinks; sink++) {
        const struct fetch_book *f = explore_fetch_last(w, sink);

        if (f && (!f->outcome || !f->quiet || !f->forgotten || !f->debt.used)) {
            explore_broken(x, "P4 free at once", "the fetch of sink %u is not over", sink + 1);
        }
    }
    for (int node = 0; node <= x->rules->sinks; node++) {
        pool_counts(pool_of(x, w, node), &counts);
        if (counts.lent || counts.loans || counts.quarantined || counts.held != counts.total) {
            explore_broken(x, "S4 accounting", "node %d: a block is still lent", node);
        }
    }
}
