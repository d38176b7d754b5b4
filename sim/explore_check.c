/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The explorer's checkers: the invariants that a world shows, each by the name it has in the list
 * of invariants.  core_check() sees one engine only; these see both ends, the wires, the movers and
 * the bytes.
 */
#include "sim/explore_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void explore_broken(struct explorer *x, const char *invariant, const char *format, ...)
{
    va_list args;

    snprintf(x->invariant, sizeof(x->invariant), "%s", invariant);
    va_start(args, format);
    vsnprintf(x->what, sizeof(x->what), format, args);
    va_end(args);
    longjmp(x->broken, 1);
}

/* ---- what a sink and an offer are told ---- */

void explore_check_s6_outcome(struct explorer *x, int node, const struct core_action *a,
                              uint8_t outcome, uint8_t quiet)
{
    const char *side = a->side == CORE_OFFER ? "offer" : "fetch";

    if (a->type == CORE_ACTION_OUTCOME && (outcome || quiet || !a->outcome.outcome)) {
        explore_broken(x, "S6 one outcome", "node %d: the %s at %u is decided twice", node, side,
                       a->index);
    }
    if (a->type == CORE_ACTION_QUIET && (!outcome || quiet)) {
        explore_broken(x, "S6 one outcome", "node %d: the %s at %u is quiet %s", node, side,
                       a->index, quiet ? "twice" : "before its outcome");
    }
    if ((a->type == CORE_ACTION_FORGET && !quiet) || (a->type == CORE_ACTION_DOUBT && quiet)) {
        explore_broken(x, "S6 one outcome", "node %d: the %s at %u is %s", node, side, a->index,
                       quiet ? "doubted after its quiet" : "forgotten before its quiet");
    }
}

bool explore_lease_valid(const struct explorer *x, unsigned sink, unsigned fetch)
{
    const struct world *w = x->w;
    const struct fetch_book *f = &w->fetches[sink][fetch];
    const struct core *core = core_of(x, w, 0);
    const struct offer *o = &core_offers(core)[f->plan];
    const struct slot *t = &core_slots(core)[slot_number(core, f->plan, f->slot)];

    return f->source_life == w->life[0] && o->state == OFFER_OPEN &&
           o->id == w->offers[w->life[0]][f->plan].id && t->state == SLOT_LEASED &&
           w->reader[w->life[0]][t->attempt % ATTEMPTS_MAX] == reader_key(sink, fetch);
}

void explore_check_completed(struct explorer *x, unsigned sink, unsigned fetch)
{
    struct world *w = x->w;
    const struct fetch_book *f = &w->fetches[sink][fetch];
    struct offer_book *o = &w->offers[f->source_life][f->plan];

    if (o->committed[f->slot] != reader_key(sink, fetch)) {
        explore_broken(x, o->committed[f->slot] ? "P2 no commit after revoke" : "P3 agreement",
                       "sink %u completed, and its source has not committed that attempt",
                       sink + 1);
    }
    if (o->completed[f->slot]++ > 0) {
        explore_broken(x, "P5 one reader generation", "slot %u was completed twice", f->slot);
    }
    if (f->torn) {
        explore_broken(x, "P1 no torn commit",
                       "sink %u completed what it read without a valid lease", sink + 1);
    }
    for (unsigned unit = 0; unit < x->rules->units; unit++) {
        if (f->content[unit] != o->content[unit] || !f->content[unit]) {
            explore_broken(x, "P1 no torn commit",
                           "sink %u completed: unit %u is content %u, offered %u", sink + 1, unit,
                           f->content[unit], o->content[unit]);
        }
    }
    for (unsigned i = 0; i < WINDOWS_MAX; i++) {
        if (w->windows[sink][i].state != WINDOW_NONE) {
            explore_broken(x, "P9 clean landing",
                           "sink %u completed, and a window into its blocks is open", sink + 1);
        }
    }
    if (explore_push_open(w, sink, fetch)) {
        explore_broken(x, "P9 clean landing", "sink %u completed, and is written to", sink + 1);
    }
}

void explore_check_fetch_quiet(struct explorer *x, unsigned sink, unsigned fetch,
                               const struct core_action *a)
{
    const struct world *w = x->w;
    const struct fetch_book *f = &w->fetches[sink][fetch];

    for (unsigned i = 0; i < WINDOWS_MAX; i++) {
        const struct window *v = &w->windows[sink][i];

        if (v->state != WINDOW_NONE && v->fetch == fetch) {
            explore_broken(x, "S3 proof soundness", "sink %u is quiet, and a window is open",
                           sink + 1);
        }
    }
    if (explore_push_open(w, sink, fetch)) {
        explore_broken(x, "S3 proof soundness", "sink %u is quiet, and is written to", sink + 1);
    }
    for (unsigned unit = 0; unit < x->rules->units; unit++) {
        if (a->quiet.proof == BATON_PROOF_NEVER_EXPOSED && f->content[unit]) {
            explore_broken(x, "P10 receipts",
                           "sink %u: blocks that were written were never exposed", sink + 1);
        }
    }
}

/* Another process may still load bytes of the offer. */
static bool is_mapped(const struct explorer *x, unsigned plan)
{
    const struct world *w = x->w;

    for (unsigned sink = 0; sink < x->rules->sinks; sink++) {
        for (unsigned i = 0; i < WINDOWS_MAX && !is_stream(x, sink); i++) {
            const struct window *v = &w->windows[sink][i];
            const struct fetch_book *f = &w->fetches[sink][v->fetch];

            if (v->state == WINDOW_POSTED && f->source_life == w->life[0] && f->plan == plan) {
                return true;
            }
        }
    }
    return false;
}

void explore_check_offer_quiet(struct explorer *x, unsigned plan, const struct core_action *a)
{
    const struct world *w = x->w;
    const struct core *core = core_of(x, w, 0);
    const struct offer_book *o = &w->offers[w->life[0]][plan];
    baton_proof proof = a->quiet.proof;

    /* As the engine does: a pool that a peer can map is exposed, for whichever offer. */
    if (w->exported[w->life[0]] && proof != BATON_PROOF_PEER_DRAIN) {
        proof = BATON_PROOF_REVOKED;
    }
    for (unsigned slot = 0; slot < x->rules->slots; slot++) {
        uint8_t state = core_slots(core)[slot_number(core, plan, slot)].state;

        if (state != SLOT_COMMITTED && state != SLOT_REVOKED) {
            explore_broken(x, "P10 receipts", "the offer is quiet, and slot %u is not final", slot);
        }
    }
    for (unsigned i = 0; i < SERVES_MAX; i++) {
        if (w->serves[i].state != SERVE_NONE && w->serves[i].plan == plan) {
            explore_broken(x, "P10 receipts",
                           "the offer is quiet, and the source's code still reads");
        }
    }
    for (unsigned i = 0; i < PUSHES_MAX; i++) {
        const struct push *p = &w->pushes[i];

        if (p->state != PUSH_NONE && p->source_life == w->life[0] && p->plan == plan) {
            explore_broken(x, "P10 receipts", "the offer is quiet, and its blocks are being sent");
        }
    }
    if (proof == BATON_PROOF_NEVER_EXPOSED && o->leased) {
        explore_broken(x, "S9 unadvertised fast path",
                       "an offer that was leased was never exposed");
    }
    if (proof != BATON_PROOF_REVOKED && is_mapped(x, plan)) {
        explore_broken(x, "P10 receipts", "the proof says drained, and a sink's mover still reads");
    }
}

/* ---- leases ---- */

/* The fetch that a lease is for, also when its sink has died since. */
static uint8_t reader_of(const struct explorer *x, const struct slot *t)
{
    const struct world *w = x->w;
    uint32_t serial = (uint32_t)(t->fetch_id >> CORE_INDEX_BITS), seen = 0;

    for (unsigned sink = 0; sink < x->rules->sinks; sink++) {
        unsigned life = t->peer[0] - 0x10U * (sink + 2);

        seen = 0;
        for (unsigned i = 0; i < w->fetched[sink] && life < LIVES_MAX; i++) {
            seen += w->fetches[sink][i].sink_life == life;
            if (w->fetches[sink][i].sink_life == life && seen == serial) {
                return reader_key(sink, i);
            }
        }
    }
    return 0;
}

void explore_check_lease(struct explorer *x, unsigned plan, const struct core_action *a)
{
    struct world *w = x->w;
    const struct core *core = core_of(x, w, 0);
    const struct slot *t = &core_slots(core)[slot_number(core, plan, a->slot)];
    uint8_t key = reader_of(x, t), *reader = &w->reader[w->life[0]][t->attempt % ATTEMPTS_MAX];

    if (t->attempt == 0 || t->attempt >= ATTEMPTS_MAX || *reader) {
        explore_broken(x, "S5 generation", "attempt %u is not new", (unsigned)t->attempt);
    }
    for (unsigned i = 0; i < ATTEMPTS_MAX; i++) {
        if (key && w->reader[w->life[0]][i] == key) {
            explore_broken(x, "P5 one reader generation", "one fetch was given two leases");
        }
    }
    if (!key) {
        explore_broken(x, "P5 one reader generation", "a lease for a fetch that nobody made");
    }
    *reader = key;
    w->offers[w->life[0]][plan].leased = 1;
}

void explore_check_commit(struct explorer *x, unsigned plan, const struct core_action *a)
{
    struct world *w = x->w;
    const struct core *core = core_of(x, w, 0);
    const struct slot *t = &core_slots(core)[slot_number(core, plan, a->slot)];
    struct offer_book *o = &w->offers[w->life[0]][plan];

    if (o->committed[a->slot]) {
        explore_broken(x, "P10 receipts", "slot %u was committed twice", a->slot);
    }
    if (o->watermark < x->rules->units) {
        explore_broken(x, "P7 watermark", "slot %u was committed before all bytes were there",
                       a->slot);
    }
    o->committed[a->slot] = w->reader[w->life[0]][t->attempt % ATTEMPTS_MAX];
}

/* ---- reads and writes ---- */

void explore_check_p6_serve(struct explorer *x, const struct serve *s)
{
    const struct core *core = core_of(x, x->w, 0);
    const struct offer *o = &core_offers(core)[s->plan];
    const struct slot *t = &core_slots(core)[slot_number(core, s->plan, s->slot)];

    if (o->state != OFFER_OPEN || t->state != SLOT_LEASED || t->attempt != s->attempt ||
        s->unit >= o->watermark) {
        explore_broken(x, "P6 read stays inside",
                       "the source's code reads for a lease that is not there");
    }
}

void explore_check_p6_push(struct explorer *x, const struct push *p)
{
    const struct core *core = core_of(x, x->w, 0);
    const struct offer *o = &core_offers(core)[p->plan];
    const struct slot *t = &core_slots(core)[slot_number(core, p->plan, p->slot)];

    if (o->state != OFFER_OPEN || t->state != SLOT_LEASED || t->attempt != p->attempt ||
        p->unit >= o->watermark) {
        explore_broken(x, "S8 no post after the end",
                       "the source writes for a lease that is not there");
    }
}

void explore_check_p7_window(struct explorer *x, const struct fetch_book *f, uint64_t end)
{
    const struct offer_book *o = &x->w->offers[f->source_life][f->plan];

    if (end > o->watermark) {
        explore_broken(x, "P7 watermark", "a window up to %u, the watermark is %u", (unsigned)end,
                       o->watermark);
    }
}

void explore_check_p7_late(struct explorer *x, unsigned plan)
{
    const struct core *core = core_of(x, x->w, 0);
    struct core_event event = {.type = CORE_EVENT_ADVANCE};
    uint64_t key = explore_core_key(x, x->w, 0, core);

    event.advance.id = x->w->offers[x->w->life[0]][plan].id;
    event.advance.watermark = x->rules->units;
    memcpy(x->scratch, core, x->core_bytes[0]);
    core_step(x->scratch, &event, WORLD_NOW_US, &x->actions);
    if (x->actions.count > 0 || explore_core_key(x, x->w, 0, x->scratch) != key) {
        explore_broken(x, "P7 watermark", "an advance of an ended offer is not inert");
    }
}

void explore_check_p8_rewrite(struct explorer *x, unsigned block)
{
    const struct world *w = x->w;
    const struct core *core = core_of(x, w, 0);

    for (unsigned i = 0; i < SERVES_MAX; i++) {
        const struct serve *s = &w->serves[i];

        if (s->state == SERVE_ON && x->rules->block[s->plan][s->unit] == block) {
            explore_broken(x, "S2 no reuse before proof",
                           "block %u is reused while the source reads it", block);
        }
    }
    for (unsigned i = 0; i < PUSHES_MAX; i++) {
        const struct push *p = &w->pushes[i];

        if (p->state != PUSH_NONE && p->source_life == w->life[0] &&
            x->rules->block[p->plan][p->unit] == block) {
            explore_broken(x, "S2 no reuse before proof", "block %u is reused while it is sent",
                           block);
        }
    }
    for (unsigned plan = 0; plan < x->rules->plans; plan++) {
        const struct offer *o = &core_offers(core)[plan];

        for (unsigned unit = 0; unit < x->rules->units; unit++) {
            for (unsigned s = 0; o->state == OFFER_OPEN && s < o->slots; s++) {
                if (x->rules->block[plan][unit] == block && unit < o->watermark &&
                    core_slots(core)[slot_number(core, plan, s)].state == SLOT_LEASED) {
                    explore_broken(x, "P8 shared blocks", "block %u changes under a valid lease",
                                   block);
                }
            }
        }
    }
}

void explore_check_p11_last_word(struct explorer *x, const struct wire *wire)
{
    const struct world *w = x->w;
    const struct core *core = core_of(x, w, wire->sink + 1);

    for (unsigned i = 0; i < w->fetched[wire->sink]; i++) {
        const struct fetch_book *f = &w->fetches[wire->sink][i];
        uint32_t index = f->id & ((1U << CORE_INDEX_BITS) - 1);

        if (f->made && !f->quiet && f->sink_life == wire->sink_life && f->wire == wire_name(wire) &&
            core_fetches(core)[index].said > core_fetches(core)[index].begin) {
            explore_broken(x, "P11 nobody is forgotten",
                           "the source has ended in order, and sink %u waits for its word",
                           wire->sink + 1);
        }
    }
}

void explore_check_s1_write(struct explorer *x, const struct fetch_book *f)
{
    if (!f->made || f->debt.used) {
        explore_broken(x, "S1 no late write", "a mover writes to blocks whose receipt was used");
    }
}
