/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fingerprints of an explorer's worlds, field by field: equal for states from which the same can
 * happen.  Times are left out but for which clocks run; attempts are named by their readers, links
 * by their dials, windows by what they copy; what can not be seen any more does not count.  The
 * orders of what is to be said, and of who gets the next window, do.
 *
 * Where the sinks differ by their slots alone, two states that differ by which sink is which are
 * one: what belongs to a sink is mixed apart and without its number, and the parts are sorted.
 */
#include "sim/explore_world.h"

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 32;
    hash *= UINT64_C(0xd6e8feb86659fd93);
    return hash ^ (hash >> 29);
}

/* Up to six bytes as one value. */
static uint64_t pack(unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned f)
{
    return (uint64_t)(a & 0xff) | (uint64_t)(b & 0xff) << 8 | (uint64_t)(c & 0xff) << 16 |
           (uint64_t)(d & 0xff) << 24 | (uint64_t)(e & 0xff) << 32 | (uint64_t)(f & 0xff) << 40;
}

/* A sink's number, where it counts. */
static unsigned sink_name(const struct explorer *x, unsigned sink)
{
    return x->symmetric ? 0 : sink + 1;
}

static unsigned reader_name(const struct explorer *x, uint8_t reader)
{
    return x->symmetric && reader ? (reader - 1U) % FETCHES_MAX + 1 : reader;
}

static unsigned reader_of(const struct explorer *x, const struct world *w, unsigned life,
                          uint64_t attempt)
{
    return reader_name(x, w->reader[life][attempt % ATTEMPTS_MAX]);
}

/* ---- one core ---- */

struct names {
    const struct explorer *x;
    const struct world *w;
    const struct core *core;
    int node;
    uint8_t link[LINKS_MAX];      /* 0: it has ended */
    uint8_t sink[LINKS_MAX];      /* whose link it is */
    uint64_t part[1 + SINKS_MAX]; /* of all, and of each sink */
};

static uint8_t link_name(const struct names *n, uint32_t link)
{
    return link == ILIST_NONE ? NOBODY : n->link[link];
}

/* Where a part of a source's state belongs. */
static uint64_t *part_of(struct names *n, unsigned sink)
{
    return &n->part[n->x->symmetric && n->node == 0 ? sink + 1 : 0];
}

static uint64_t key_slot(const struct names *n, uint64_t hash, uint32_t number)
{
    const struct slot *t = &core_slots(n->core)[number];
    bool ends = say_has(n->core, say_of_slot(n->core, number, SAY_ENDED));
    uint8_t cause = ends || t->state == SLOT_REVOKED ? t->cause : 0;

    hash = mix(hash, pack(t->state, cause, link_name(n, t->link), ends, t->quiesce, t->pushes));
    if (t->push && (t->pushes > 0 || t->link != ILIST_NONE)) {
        hash = mix(hash, pack((unsigned)t->granted, (unsigned)t->written, t->remote,
                              (unsigned)t->nonce, 0, 2));
    }
    if (t->pushes > 0) {
        hash = mix(hash, reader_of(n->x, n->w, n->w->life[0], t->attempt));
    }
    /* Without a link no message can name the lease any more. */
    return t->link == ILIST_NONE ? hash
                                 : mix(hash, pack(reader_of(n->x, n->w, n->w->life[0], t->attempt),
                                                  t->attempt > 0, 0, 0, 0, 0));
}

static void key_offer(struct names *n, uint32_t index)
{
    const struct offer *o = &core_offers(n->core)[index];
    uint64_t over = o->attempts - o->commits;

    n->part[0] = mix(n->part[0], o->state);
    if (o->state == OFFER_FREE) {
        return;
    }
    for (uint32_t s = 0; s < o->slots; s++) {
        uint32_t number = slot_number(n->core, index, s);
        uint64_t *part = part_of(n, n->x->symmetric ? n->x->sink_of[s] : 0);

        over -= core_slots(n->core)[number].state == SLOT_LEASED;
        *part = key_slot(n, *part, number);
    }
    /* Their number counts only when there is a small bound on it. */
    over = n->core->limits.attempts > 4 ? over > 0 : over;
    n->part[0] = mix(n->part[0], pack(o->state, o->outcome, o->cause, (unsigned)o->watermark,
                                      o->serves, o->exported));
    n->part[0] = mix(n->part[0], pack((unsigned)over, o->attempts > 0, o->doubt_due != CORE_NEVER,
                                      (unsigned)o->id, (unsigned)(o->id >> CORE_INDEX_BITS), 1));
}

static uint64_t key_fetch(const struct names *n, uint64_t hash, uint32_t index)
{
    const struct fetch *f = &core_fetches(n->core)[index];
    unsigned i = 0, reader = 0;
    bool lost = f->link == ILIST_NONE && f->copies > 0; /* its windows count for another link */
    const struct fetch_book *book;

    if (f->state == FETCH_FREE) {
        return mix(hash, 0);
    }
    book = explore_fetch_book_of(n->w, (unsigned)n->node - 1, f->id, &i);
    if (book && f->attempt) {
        reader = reader_of(n->x, n->w, book->source_life, f->attempt);
    }
    hash = mix(hash, pack(f->state, i, reader, link_name(n, f->link), f->outcome, f->cause));
    hash = mix(hash, pack(f->cancel_scope, f->copies, f->doubt_due != CORE_NEVER, f->opened,
                          lost ? f->windows_link + 1 : 0, 1));
    if (f->remote) {
        hash = mix(hash, pack((unsigned)f->oldest, (unsigned)f->said, (unsigned)f->next, 0, 0, 2));
    }
    if (f->outcome) {
        return hash;
    }
    return mix(hash, pack((unsigned)f->watermark, (unsigned)f->next, (unsigned)f->landed, f->clock,
                          f->stalled, 1));
}

/* What a node of a say list says; a slot's number is that of its sink. */
static uint64_t key_word(const struct names *n, uint32_t link, uint32_t node)
{
    const struct core *core = n->core;
    uint32_t slots = core->limits.fetches * SAY_FETCH_END_;
    uint32_t links = slots + core->limits.offers * core->limits.slots * SAY_SLOT_END_;
    const struct reply *r;

    if (node < links) {
        return n->x->symmetric && node >= slots ? 1 + (node - slots) % SAY_SLOT_END_ : node + 1;
    }
    node = (node - links) % (SAY_LINK_END_ + core->limits.replies);
    if (node < SAY_LINK_END_) {
        return 0xfd + node;
    }
    r = &core_replies(core)[link * core->limits.replies + node - SAY_LINK_END_];
    return mix(r->nonce,
               pack(0xff, r->type, r->cause, r->revoked, (unsigned)(r->fetch_id >> CORE_INDEX_BITS),
                    reader_of(n->x, n->w, n->w->life[0], r->attempt)));
}

static uint64_t key_link(const struct names *n, uint32_t link)
{
    const struct link *l = core_link(n->core, link);
    uint64_t hash =
        mix(1, pack(n->link[link], l->state, l->sink, l->windows, n->node ? link : 0, 0));

    for (uint32_t at = l->say.head; at != ILIST_NONE; at = core_say(n->core)[at].next) {
        hash = mix(hash, key_word(n, link, at));
    }
    return hash;
}

static void name_links(struct names *n)
{
    for (unsigned i = 0; i < WIRES_MAX; i++) {
        const struct wire *wire = &n->w->wires[i];
        int end = n->node ? SINK_END : SOURCE_END;

        if (wire->used && wire->end[end] == END_UP &&
            (n->node == 0 ||
             (wire->sink + 1 == n->node && wire->sink_life == n->w->life[n->node]))) {
            n->link[wire->link[end]] =
                (uint8_t)(sink_name(n->x, wire->sink) << 6 | (wire->source_life & 1U) << 5 |
                          (wire_name(wire) & 0x1fU));
            n->sink[wire->link[end]] = wire->sink;
        }
    }
}

/* Who starts a window next.  A sink of the explorer has one link that is up. */
static void key_turns(struct names *n)
{
    for (uint32_t at = n->core->ready.head; at != ILIST_NONE;
         at = core_link_ready(n->core)[at].next) {
        const struct link *l = core_link(n->core, at);

        for (uint32_t f = l->ready.head; f != ILIST_NONE; f = core_fetch_ready(n->core)[f].next) {
            n->part[0] = mix(n->part[0], f + 1);
        }
    }
}

static void key_parts(struct names *n)
{
    const struct core *core = n->core;

    name_links(n);
    for (uint32_t i = 0; i < core->limits.offers; i++) {
        key_offer(n, i);
    }
    for (uint32_t i = 0; i < core->limits.fetches; i++) {
        n->part[0] = key_fetch(n, n->part[0], i);
    }
    key_turns(n);
    for (uint32_t i = 0; i < core->limits.links; i++) {
        if (core_link(core, i)->state != LINK_FREE) {
            *part_of(n, n->node ? (unsigned)n->node - 1 : n->sink[i]) += key_link(n, i);
        }
    }
    for (uint32_t i = 0; i < core->peers; i++) {
        const struct peer *p = &core_peers(core)[i];

        if (p->used) {
            unsigned sink = (p->incarnation[0] >> 4) - 2U, life = p->incarnation[0] & 0xf;

            *part_of(n, sink) +=
                mix(3, pack(sink_name(n->x, sink), life, (unsigned)p->dial, p->links, 0, 0));
        }
    }
}

uint64_t explore_core_key(const struct explorer *x, const struct world *w, int node,
                          const struct core *core)
{
    struct names n = {.x = x, .w = w, .core = core, .node = node};

    key_parts(&n);
    return mix(mix(mix(1, n.part[0]), n.part[1]), n.part[2]);
}

void explore_node_key(const struct explorer *x, struct world *w, int node)
{
    struct names n = {.x = x, .w = w, .core = core_of(x, w, node), .node = node};

    key_parts(&n);
    w->key[node] = mix(mix(mix(1, n.part[0]), n.part[1]), n.part[2]);
    for (int i = 0; node == 0 && i < 1 + SINKS_MAX; i++) {
        w->part[i] = n.part[i];
    }
}

/* ---- the rest of the world ---- */

static uint64_t key_wire(const struct explorer *x, const struct world *w, const struct wire *wire)
{
    uint64_t hash = mix(5, pack(sink_name(x, wire->sink), wire_name(wire), wire->source_life,
                                (unsigned)wire->cut | (unsigned)wire->orderly << 1, wire->end[0],
                                wire->end[1]));

    for (int end = 0; end < 2; end++) {
        hash = mix(hash, wire->count[end]);
        for (unsigned i = 0; i < wire->count[end]; i++) {
            const struct word *v = &wire->queue[end][i];

            hash = mix(hash, pack(v->type, v->cause, v->scope, v->revoked,
                                  x->symmetric ? 0 : v->slot, v->watermark));
            hash = mix(hash, pack(reader_of(x, w, wire->source_life, v->attempt),
                                  x->symmetric ? 0 : v->secret, v->offer >> CORE_INDEX_BITS,
                                  v->fetch >> CORE_INDEX_BITS, v->attempt > 0, v->fetch & 1));
        }
    }
    return hash;
}

static uint64_t key_movers(const struct explorer *x, const struct world *w, unsigned sink)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < WINDOWS_MAX; i++) {
        const struct window *v = &w->windows[sink][i];

        if (v->state) {
            sum += mix(7, pack(v->state, v->fetch, v->unit, v->stopped, v->content, v->torn));
        }
    }
    for (unsigned i = 0; i < PUSHES_MAX; i++) {
        const struct push *p = &w->pushes[i];

        if (p->state && p->sink == sink) {
            sum += mix(11, pack(p->state, p->plan, x->symmetric ? 0 : p->slot, p->unit, p->fetch,
                                p->source_life));
        }
    }
    for (unsigned i = 0; i < SERVES_MAX; i++) {
        const struct serve *s = &w->serves[i];

        if (s->state && s->sink == sink) {
            sum += mix(mix(9, pack(s->state, s->plan, x->symmetric ? 0 : s->slot, s->unit,
                                   s->orphan, s->wire)),
                       reader_of(x, w, w->life[0], s->attempt));
        }
    }
    return sum;
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

static uint64_t key_sink(const struct explorer *x, const struct world *w, unsigned sink)
{
    uint64_t hash = mix(w->key[sink + 1], w->part[sink + 1]), sum = key_movers(x, w, sink);
    unsigned slot = x->rules->slot[sink];

    hash = mix(hash, pack(w->life[sink + 1], w->cancels_fetch[sink], w->fetched[sink],
                          w->fresh[sink], w->dials[sink],
                          (unsigned)w->greeted[sink][0] | (unsigned)w->greeted[sink][1] << 4));
    for (unsigned i = 0; i < w->fetched[sink]; i++) {
        const struct fetch_book *f = &w->fetches[sink][i];

        if (!f->forgotten || i + 1 == w->fetched[sink]) {
            hash = mix(key_fetch_book(hash, f), i);
        }
    }
    for (unsigned i = 0; i < WIRES_MAX; i++) {
        const struct wire *wire = &w->wires[i];

        sum += wire->used && wire->sink == sink ? key_wire(x, w, wire) : 0;
    }
    for (unsigned life = 0; life < LIVES_MAX; life++) {
        const struct offer_book *o = &w->offers[life][x->rules->plan[sink]];

        hash = mix(hash, pack(reader_name(x, o->committed[slot]), o->completed[slot], 0, 0, 0, 0));
    }
    return mix(hash, sum);
}

static uint64_t key_offer_book(uint64_t hash, const struct offer_book *o)
{
    if (!o->made) {
        return mix(hash, 0);
    }
    hash = mix(hash, pack(o->made, o->watermark, o->outcome != 0, o->quiet, o->forgotten,
                          o->quiet ? 0 : o->leased));
    return mix(hash, pack(o->content[0], o->content[1], 0, 0, 0, 1));
}

/* A cancel that nobody can make any more is none that is left. */
static unsigned cancels_left(const struct explorer *x, const struct world *w)
{
    for (unsigned plan = 0; plan < x->rules->plans; plan++) {
        const struct offer_book *o = &w->offers[w->life[0]][plan];

        if (!o->outcome && (o->made || x->rules->reoffers)) {
            return w->cancels_offer;
        }
    }
    return x->rules->reoffers && w->crashes ? w->cancels_offer : 0;
}

uint64_t explore_world_key(const struct explorer *x, const struct world *w)
{
    uint64_t hash = mix(w->part[0], w->life[0]), sinks[SINKS_MAX] = {0, 0};

    hash = mix(hash,
               pack(cancels_left(x, w), w->clocks, w->breaks, w->crashes, w->retries, w->reopens));
    hash = mix(hash, pack(w->failures, w->exported[0], w->exported[1], w->rewritten[0],
                          w->rewritten[1], w->rewritten[2]));
    for (unsigned life = 0; life < LIVES_MAX; life++) {
        hash =
            mix(hash, pack(w->content[life][0], w->content[life][1], w->content[life][2], 0, 0, 0));
        for (unsigned plan = 0; plan < x->rules->plans; plan++) {
            hash = key_offer_book(hash, &w->offers[life][plan]);
        }
    }
    for (unsigned sink = 0; sink < x->rules->sinks; sink++) {
        sinks[sink] = key_sink(x, w, sink);
    }
    if (x->symmetric && sinks[0] > sinks[1]) {
        uint64_t first = sinks[1];

        sinks[1] = sinks[0];
        sinks[0] = first;
    }
    hash = mix(mix(hash, sinks[0]), sinks[1]);
    return hash ? hash : 1;
}
