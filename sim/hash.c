/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers for states, field by field, so that fillers do not count.  Of a core all but its counts.
 */
#include "sim/world.h"

#include <string.h>

static uint64_t mix_all(uint64_t hash, const uint64_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hash = mix(hash, values[i]);
    }
    return hash;
}

#define MIX(hash, ...)                                                                             \
    mix_all(hash, (const uint64_t[]){__VA_ARGS__},                                                 \
            sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static uint64_t mix_id(uint64_t hash, const uint8_t id[ID_BYTES])
{
    uint64_t half[2];

    memcpy(half, id, ID_BYTES);
    return mix_all(hash, half, 2);
}

static uint64_t hash_offers(const struct core *core, uint64_t hash)
{
    for (uint32_t i = 0; i < core->limits.offers; i++) {
        const struct offer *o = &core_offers(core)[i];

        hash = MIX(hash, o->id, o->total, o->watermark, o->attempts, o->last_attempt, o->commits,
                   o->whole_due, o->doubt_due, o->slots, o->serves, o->state, o->outcome, o->cause,
                   o->exported, o->last_slot);
    }
    for (uint32_t i = 0; i < core->limits.offers * core->limits.slots; i++) {
        const struct slot *t = &core_slots(core)[i];

        hash = MIX(hash, t->fetch_id, t->attempt, t->due, t->link, t->state, t->cause, t->exported,
                   t->push, t->remote, t->quiesce, t->pushes, t->granted, t->written, t->nonce);
        hash = mix_id(mix_id(hash, t->secret), t->peer);
    }
    return hash;
}

static uint64_t hash_fetches(const struct core *core, uint64_t hash)
{
    for (uint32_t i = 0; i < core->limits.fetches; i++) {
        const struct fetch *f = &core_fetches(core)[i];

        hash = MIX(hash, f->id, f->offer_id, f->attempt, f->begin, f->end, f->total, f->watermark,
                   f->next, f->landed, f->touched, f->whole_due, f->clock_due, f->doubt_due,
                   f->link, f->windows_link, f->slot, f->copies, f->state, f->stage, f->outcome,
                   f->cause, f->clock, f->cancel_scope, f->opened, f->stalled);
        hash = MIX(hash, f->push, f->remote, f->proof, f->nonce, f->oldest, f->said);
        for (uint32_t w = 0; f->push && w < f->copies; w++) {
            hash = mix(hash, f->window[w]);
        }
    }
    return hash;
}

/* Without when it was last heard of: a frame that is repeated is heard, too. */
static uint64_t hash_links(const struct core *core, uint64_t hash)
{
    for (uint32_t i = 0; i < core->limits.links; i++) {
        const struct link *l = core_link(core, i);

        hash = MIX(hash, l->say.count, l->say.head, l->say.tail, l->fetches.head, l->slots.head,
                   l->ready.head, l->ready.tail, l->windows, l->due, l->peer, l->state,
                   l->lost_cause, l->sink, l->ping);
        hash = mix_id(hash, l->incarnation);
    }
    for (uint32_t i = 0; i < core->limits.links * core->limits.replies; i++) {
        const struct reply *r = &core_replies(core)[i];

        hash = MIX(hash, r->fetch_id, r->attempt, r->type, r->cause, r->revoked, r->nonce);
    }
    for (uint32_t i = 0; i < core->peers; i++) {
        const struct peer *p = &core_peers(core)[i];

        hash = mix_id(MIX(hash, p->dial, p->used, p->links), p->incarnation);
    }
    return hash;
}

uint64_t hash_core(const struct core *core)
{
    uint64_t hash = MIX(1, core->gauges.offers, core->gauges.fetches, core->gauges.links,
                        core->gauges.windows, core->gauges.inflight_bytes, core->last_attempt,
                        core->ready.head, core->ready.tail, core->lost, core_deadline(core));

    return hash_links(core, hash_fetches(core, hash_offers(core, hash)));
}

uint32_t hash_replies(const struct core *core)
{
    uint32_t waiting = 0;

    for (uint32_t i = 0; i < core->limits.links * core->limits.replies; i++) {
        waiting += core_replies(core)[i].type != 0;
    }
    return waiting;
}

uint64_t hash_world(struct sim *s)
{
    struct world *w = s->world;
    uint64_t hash = MIX(w->hash, w->now, w->order, w->handoff_count, w->lives);

    for (unsigned i = 0; i < w->handoff_count; i++) {
        const struct handoff *h = &w->handoff[i];

        hash = MIX(hash, h->id, h->outcome, h->cause, h->proof, h->attempt, h->doubts, h->posted,
                   h->granted, h->set, h->coming);
    }
    for (unsigned i = 0; i < w->options.nodes; i++) {
        const struct node *n = &w->nodes[i];

        hash = n->alive ? mix(hash, hash_core(n->core)) : hash;
        for (unsigned b = 0; n->alive && b < w->options.blocks; b++) {
            hash = mix_all(hash, w->life[n->life].block[b].tag, PIECES);
            hash = MIX(hash, pool_block_state(n->pool, b), pool_block_generation(n->pool, b));
        }
    }
    return hash;
}
