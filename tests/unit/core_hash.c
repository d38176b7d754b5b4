/* SPDX-License-Identifier: Apache-2.0 */
/* A number for a core's state, field by field, so that fillers do not count; not its counts. */
#include "core/state.h"
#include "core_world.h"

#include <string.h>

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 29);
}

static uint64_t mix_id(uint64_t hash, const uint8_t id[ID_BYTES])
{
    for (int i = 0; i < ID_BYTES; i++) {
        hash = mix(hash, id[i]);
    }
    return hash;
}

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

static uint64_t hash_offers(const struct core *core, uint64_t hash)
{
    for (uint32_t i = 0; i < core->limits.offers; i++) {
        const struct offer *o = &core_offers(core)[i];

        hash = MIX(hash, o->id, o->total, o->watermark, o->attempts, o->last_attempt, o->commits,
                   o->whole_due, o->doubt_due, o->reader_us, o->lease_us, o->slots, o->serves,
                   o->state, o->outcome, o->cause, o->exported, o->last_slot);
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
        for (uint32_t w = 0; w < CORE_FETCH_WINDOWS_MAX; w++) {
            hash = mix(hash, f->window[w]);
        }
        hash = mix_id(mix_id(hash, f->secret), f->peer);
    }
    return hash;
}

static uint64_t hash_links(const struct core *core, uint64_t hash)
{
    for (uint32_t i = 0; i < core->limits.links; i++) {
        const struct link *l = core_link(core, i);

        hash = MIX(hash, l->say.head, l->say.tail, l->fetches.head, l->slots.head, l->heard_us,
                   l->ready.head, l->ready.tail, l->windows, l->due, l->peer, l->state,
                   l->lost_cause, l->sink, l->ping);
        hash = mix_id(hash, l->incarnation);
    }
    for (uint32_t i = 0; i < core->limits.links * core->limits.replies; i++) {
        const struct reply *r = &core_replies(core)[i];

        hash = MIX(hash, r->fetch_id, r->attempt, r->type, r->cause, r->revoked);
    }
    for (uint32_t i = 0; i < core->peers; i++) {
        const struct peer *p = &core_peers(core)[i];

        hash = MIX(hash, p->dial, p->used, p->links);
        hash = mix_id(hash, p->incarnation);
    }
    return hash;
}

uint64_t core_hash(const struct core *core)
{
    uint64_t hash = MIX(1, core->gauges.offers, core->gauges.fetches, core->gauges.links,
                        core->gauges.windows, core->gauges.inflight_bytes, core->last_attempt,
                        core->peer_uses, core->ready.head, core->ready.tail, core->lost);
    const uint8_t *bytes = (const uint8_t *)core;

    hash = hash_links(core, hash_fetches(core, hash_offers(core, hash)));
    /* The lists and the heap have no fillers. */
    for (uint64_t at = core->say_at; at < core->bytes; at++) {
        hash = mix(hash, bytes[at]);
    }
    return hash;
}

uint32_t core_replies_waiting(const struct core *core)
{
    uint32_t waiting = 0;

    for (uint32_t i = 0; i < core->limits.links * core->limits.replies; i++) {
        waiting += core_replies(core)[i].type != 0;
    }
    return waiting;
}
