/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fingerprints of an explorer's worlds, field by field: equal for states from which the same can
 * happen.  Times are left out but for which clocks run; attempts are named by their readers, links
 * by their dials, windows by what they copy; what can not be seen any more does not count.  The
 * orders of what is to be said, and of who gets the next window, do.
 */
#include "sim/explore_world.h"

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 32;
    hash *= UINT64_C(0xd6e8feb86659fd93);
    return hash ^ (hash >> 29);
}

/* Up to eight bytes as one value. */
static uint64_t pack(unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned f)
{
    return (uint64_t)(a & 0xff) | (uint64_t)(b & 0xff) << 8 | (uint64_t)(c & 0xff) << 16 |
           (uint64_t)(d & 0xff) << 24 | (uint64_t)(e & 0xff) << 32 | (uint64_t)(f & 0xff) << 40;
}

/* ---- one core ---- */

struct names {
    const struct explorer *x;
    const struct world *w;
    const struct core *core;
    int node;
    uint8_t link[LINKS_MAX]; /* 0: it has ended */
};

static uint8_t link_name(const struct names *n, uint32_t link)
{
    return link == ILIST_NONE ? NOBODY : n->link[link];
}

static uint64_t key_slot(const struct names *n, uint64_t hash, uint32_t number)
{
    const struct slot *t = &core_slots(n->core)[number];
    bool ends = say_has(n->core, say_of_slot(n->core, number, SAY_ENDED));
    uint8_t cause = ends || t->state == SLOT_REVOKED ? t->cause : 0;
    uint8_t reader = n->w->reader[n->w->life[0]][t->attempt % ATTEMPTS_MAX];

    hash = mix(hash, pack(t->state, cause, link_name(n, t->link), ends, 0, 0));
    /* Without a link no message can name the lease any more. */
    return t->link == ILIST_NONE ? hash
                                 : mix(hash, pack(reader, (unsigned)t->attempt > 0, 0, 0, 0, 0));
}

static uint64_t key_offer(const struct names *n, uint64_t hash, uint32_t index)
{
    const struct offer *o = &core_offers(n->core)[index];
    uint64_t over = o->attempts - o->commits;

    if (o->state == OFFER_FREE) {
        return mix(hash, 0);
    }
    for (uint32_t s = 0; s < o->slots; s++) {
        uint32_t number = slot_number(n->core, index, s);

        over -= core_slots(n->core)[number].state == SLOT_LEASED;
        hash = key_slot(n, hash, number);
    }
    /* Their number counts only when there is a small bound on it. */
    over = n->core->limits.attempts > 4 ? over > 0 : over;
    hash = mix(
        hash, pack(o->state, o->outcome, o->cause, (unsigned)o->watermark, o->serves, o->exported));
    return mix(hash, pack((unsigned)over, o->attempts > 0, o->doubt_due != CORE_NEVER,
                          (unsigned)o->id, (unsigned)(o->id >> CORE_INDEX_BITS), 1));
}

static uint64_t key_fetch(const struct names *n, uint64_t hash, uint32_t index)
{
    const struct fetch *f = &core_fetches(n->core)[index];
    unsigned i = 0;
    const struct fetch_book *book;
    uint8_t reader = 0;

    if (f->state == FETCH_FREE) {
        return mix(hash, 0);
    }
    book = explore_fetch_book_of(n->w, (unsigned)n->node - 1, f->id, &i);
    if (book && f->attempt) {
        reader = n->w->reader[book->source_life][f->attempt % ATTEMPTS_MAX];
    }
    hash = mix(hash, pack(f->state, i, reader, link_name(n, f->link), f->outcome, f->cause));
    hash = mix(hash, pack(f->cancel_scope, f->copies, f->doubt_due != CORE_NEVER, f->opened, 0, 1));
    if (f->outcome) {
        return hash;
    }
    return mix(hash, pack((unsigned)f->watermark, (unsigned)f->next, (unsigned)f->landed, f->clock,
                          f->stalled, 1));
}

/* Whose word a node of a say list is, without its number. */
static uint64_t key_word(const struct names *n, uint32_t link, uint32_t node)
{
    const struct core *core = n->core;
    uint32_t slots = core->limits.fetches * SAY_FETCH_END_;
    uint32_t links = slots + core->limits.offers * core->limits.slots * SAY_SLOT_END_;
    const struct reply *r;

    if (node < links) {
        return node + 1;
    }
    node = (node - links) % (1 + core->limits.replies);
    if (node == 0) {
        return 0xfe;
    }
    r = &core_replies(core)[link * core->limits.replies + node - 1];
    return pack(0xff, r->type, r->cause, r->revoked, (unsigned)(r->fetch_id >> CORE_INDEX_BITS),
                n->w->reader[n->w->life[0]][r->attempt % ATTEMPTS_MAX]);
}

static uint64_t key_link(const struct names *n, uint32_t link)
{
    const struct link *l = core_link(n->core, link);
    uint64_t hash = mix(1, pack(n->link[link], l->state, l->sink, l->incarnation[0], 0, 0));

    for (uint32_t at = l->say.head; at != ILIST_NONE; at = core_say(n->core)[at].next) {
        hash = mix(hash, key_word(n, link, at));
    }
    return hash;
}

uint64_t explore_core_key(const struct explorer *x, const struct world *w, int node,
                          const struct core *core)
{
    struct names n = {.x = x, .w = w, .core = core, .node = node};
    uint64_t hash = 1, sum = 0;

    for (unsigned i = 0; i < WIRES_MAX; i++) {
        const struct wire *wire = &w->wires[i];
        int end = node ? SINK_END : SOURCE_END;

        if (wire->used && wire->end[end] == END_UP &&
            (node == 0 || (wire->sink + 1 == node && wire->sink_life == w->life[node]))) {
            n.link[wire->link[end]] =
                (uint8_t)((unsigned)(wire->sink + 1) << 6 | (wire_name(wire) & 0x3f));
        }
    }
    for (uint32_t i = 0; i < core->limits.offers; i++) {
        hash = key_offer(&n, hash, i);
    }
    for (uint32_t i = 0; i < core->limits.fetches; i++) {
        hash = key_fetch(&n, hash, i);
    }
    for (uint32_t at = core->ready.head; at != ILIST_NONE; at = core_fetch_ready(core)[at].next) {
        hash = mix(hash, at + 1);
    }
    for (uint32_t i = 0; i < core->limits.links; i++) {
        sum += core_link(core, i)->state == LINK_FREE ? 0 : key_link(&n, i);
    }
    for (uint32_t i = 0; i < core->peers; i++) {
        const struct peer *p = &core_peers(core)[i];

        sum += p->used ? mix(3, pack(p->incarnation[0], (unsigned)p->dial, p->links, 0, 0, 0)) : 0;
    }
    return mix(hash, sum);
}

/* ---- the rest of the world ---- */

static uint64_t key_wire(const struct world *w, const struct wire *wire)
{
    uint64_t hash = mix(5, pack(wire->sink, wire_name(wire), wire->source_life, wire->cut,
                                wire->end[0], wire->end[1]));

    for (int end = 0; end < 2; end++) {
        hash = mix(hash, wire->count[end]);
        for (unsigned i = 0; i < wire->count[end]; i++) {
            const struct word *v = &wire->queue[end][i];

            hash = mix(hash, pack(v->type, v->cause, v->scope, v->revoked, v->slot, v->watermark));
            hash = mix(hash, pack(w->reader[wire->source_life][v->attempt % ATTEMPTS_MAX],
                                  v->secret, v->offer >> CORE_INDEX_BITS,
                                  v->fetch >> CORE_INDEX_BITS, v->attempt > 0, v->fetch & 1));
        }
    }
    return hash;
}

static uint64_t key_movers(const struct world *w)
{
    uint64_t sum = 0;

    for (unsigned sink = 0; sink < SINKS_MAX; sink++) {
        for (unsigned i = 0; i < WINDOWS_MAX; i++) {
            const struct window *v = &w->windows[sink][i];

            if (v->state) {
                sum += mix(mix(7, sink),
                           pack(v->state, v->fetch, v->unit, v->stopped, v->content, v->torn));
            }
        }
    }
    for (unsigned i = 0; i < SERVES_MAX; i++) {
        const struct serve *s = &w->serves[i];

        if (s->state) {
            sum += mix(mix(9, pack(s->state, s->sink, s->plan, s->slot, s->unit, s->orphan)),
                       pack(w->reader[w->life[0]][s->attempt % ATTEMPTS_MAX], s->wire, 0, 0, 0, 0));
        }
    }
    return sum;
}

static uint64_t key_offer_book(uint64_t hash, const struct offer_book *o)
{
    if (!o->made) {
        return mix(hash, 0);
    }
    hash = mix(hash, pack(o->made, o->watermark, o->outcome != 0, o->quiet, o->forgotten,
                          o->quiet ? 0 : o->leased));
    hash = mix(hash, pack(o->committed[0], o->committed[1], o->completed[0], o->completed[1],
                          o->content[0], o->content[1]));
    return hash;
}

static uint64_t key_fetch_book(uint64_t hash, const struct fetch_book *f)
{
    uint8_t outcome = f->outcome;

    if (f->quiet && outcome != BATON_COMPLETED && outcome != BATON_LINK_LOST) {
        outcome = BATON_CANCELLED; /* how it ended is of no more use */
    }
    hash = mix(hash, pack(f->made, f->sink_life, f->source_life, outcome, f->quiet, f->forgotten));
    return f->quiet ? hash : mix(hash, pack(f->torn, f->content[0], f->content[1], 0, 0, 1));
}

uint64_t explore_world_key(const struct explorer *x, const struct world *w)
{
    uint64_t hash = 1, sum = key_movers(w);

    for (int node = 0; node <= x->rules->sinks; node++) {
        hash = mix(mix(hash, w->key[node]), w->life[node]);
    }
    hash = mix(hash, pack(w->cancels_offer, w->cancels_fetch[0], w->cancels_fetch[1], w->clocks,
                          w->breaks, w->crashes));
    hash = mix(hash, pack(w->retries, w->reopens, w->failures, w->exported[0], w->exported[1], 0));
    hash = mix(hash, pack(w->rewritten[0], w->rewritten[1], w->rewritten[2], 0, 0, 0));
    for (unsigned life = 0; life < LIVES_MAX; life++) {
        hash =
            mix(hash, pack(w->content[life][0], w->content[life][1], w->content[life][2], 0, 0, 0));
        for (unsigned plan = 0; plan < x->rules->plans; plan++) {
            hash = key_offer_book(hash, &w->offers[life][plan]);
        }
    }
    for (unsigned sink = 0; sink < x->rules->sinks; sink++) {
        hash = mix(hash, pack(w->fetched[sink], w->fresh[sink], w->dials[sink], 0, 0, 0));
        for (unsigned i = 0; i < w->fetched[sink]; i++) {
            const struct fetch_book *f = &w->fetches[sink][i];

            if (!f->forgotten || i + 1 == w->fetched[sink]) {
                hash = mix(key_fetch_book(hash, f), i);
            }
        }
    }
    for (unsigned i = 0; i < WIRES_MAX; i++) {
        sum += w->wires[i].used ? key_wire(w, &w->wires[i]) : 0;
    }
    hash = mix(hash, sum);
    return hash ? hash : 1;
}
