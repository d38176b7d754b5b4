/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an explorer's peers never send, because they are honest and their links keep order: the
 * frame that has just arrived, of another attempt, fetch, link or secret, and a commit before its
 * time.  Each is applied to a copy of the core, and must change nothing that the protocol keeps.
 */
#include "sim/explore_world.h"

#include <string.h>

/* Added to a fetch's id, it is one that nobody has made, of the same index. */
#define NO_FETCH (UINT64_C(1000) << CORE_INDEX_BITS)

/* Applies the forged frame to a copy.  Returns whether the copy's state is another one then. */
static bool changes(struct explorer *x, int node, uint32_t link, const struct frame *frame)
{
    const struct core *core = core_of(x, x->w, node);
    struct core_event event = {.type = CORE_EVENT_FRAME, .link = link};

    if (core_link(core, link)->state != LINK_UP || !core_link_reads(core, link)) {
        return false;
    }
    event.frame.frame = frame;
    memcpy(x->scratch, core, x->core_bytes[node]);
    core_step(x->scratch, &event, WORLD_NOW_US, &x->actions);
    core_check(x->scratch);
    return explore_core_key(x, x->w, node, x->scratch) != x->w->key[node];
}

static void must_not(struct explorer *x, int node, uint32_t link, const struct frame *frame,
                     const char *what)
{
    if (changes(x, node, link, frame)) {
        explore_broken(x, "P5 one reader generation", "%s of another %s changes node %d",
                       frame_name(frame->type), what, node);
    }
}

static void forge_commit(struct explorer *x, uint32_t link, struct frame frame)
{
    const struct core *core = core_of(x, x->w, 0);
    const struct offer *o =
        &core_offers(core)[frame.commit.offer_id & ((1U << CORE_INDEX_BITS) - 1)];

    if (o->state == OFFER_FREE || o->id != frame.commit.offer_id) {
        return;
    }
    for (uint32_t other = 0; other < core->limits.links; other++) {
        if (other != link) {
            must_not(x, 0, other, &frame, "link");
        }
    }
    frame.commit.attempt++;
    must_not(x, 0, link, &frame, "attempt");
    frame.commit.attempt--;
    frame.commit.fetch_id += NO_FETCH;
    must_not(x, 0, link, &frame, "fetch");
}

static void forge_cancel(struct explorer *x, uint32_t link, struct frame frame)
{
    struct frame_cancel *c = &frame.cancel;

    for (unsigned i = 0; i < ID_BYTES; i += ID_BYTES - 1) {
        c->secret[i] ^= 0x80;
        must_not(x, 0, link, &frame, "secret");
        c->secret[i] ^= 0x80;
    }
    if (c->scope == BATON_CANCEL_ATTEMPT) {
        c->fetch_id += NO_FETCH;
        must_not(x, 0, link, &frame, "fetch");
        c->fetch_id -= NO_FETCH;
        c->attempt += c->attempt ? 1 : ATTEMPTS_MAX;
        must_not(x, 0, link, &frame, "attempt");
    }
}

static void forge_open(struct explorer *x, uint32_t link, struct frame frame)
{
    for (unsigned i = 0; i < ID_BYTES; i += ID_BYTES - 1) {
        frame.open.secret[i] ^= 0x80;
        if (changes(x, 0, link, &frame) &&
            x->scratch->counts.leases > core_of(x, x->w, 0)->counts.leases) {
            explore_broken(x, "S15 authenticity", "a lease for a wrong secret");
        }
        frame.open.secret[i] ^= 0x80;
    }
}

static void forge_answer(struct explorer *x, int node, uint32_t link, struct frame frame)
{
    switch (frame.type) {
    case FRAME_WATERMARK:
        frame.watermark.attempt++;
        must_not(x, node, link, &frame, "attempt");
        frame.watermark.attempt--;
        frame.watermark.watermark = 0;
        must_not(x, node, link, &frame, "time");
        return;
    case FRAME_COMMITTED:
        frame.committed.attempt++;
        must_not(x, node, link, &frame, "attempt");
        frame.committed.attempt--;
        frame.committed.fetch_id += NO_FETCH;
        must_not(x, node, link, &frame, "fetch");
        return;
    case FRAME_ENDED:
    case FRAME_REFUSED:
    case FRAME_ACCEPT:
        /* The id is at the same place in all of them. */
        frame.accept.fetch_id += NO_FETCH;
        must_not(x, node, link, &frame, "fetch");
        return;
    case FRAME_WRITTEN:
        frame.written.attempt++;
        must_not(x, node, link, &frame, "attempt");
        return;
    case FRAME_QUIESCED:
        frame.quiesced.attempt++;
        must_not(x, node, link, &frame, "attempt");
        frame.quiesced.attempt--;
        frame.quiesced.fetch_id += NO_FETCH;
        must_not(x, node, link, &frame, "fetch");
        frame.quiesced.fetch_id -= NO_FETCH;
        frame.quiesced.nonce += FETCHES_MAX + 1; /* no fetch's */
        must_not(x, node, link, &frame, "nonce");
        return;
    default:
        return;
    }
}

static void forge_grant(struct explorer *x, uint32_t link, struct frame frame)
{
    frame.grant.attempt++;
    must_not(x, 0, link, &frame, "attempt");
    frame.grant.attempt--;
    frame.grant.fetch_id += NO_FETCH;
    must_not(x, 0, link, &frame, "fetch");
}

void explore_check_forged(struct explorer *x, int node, uint32_t link, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_OPEN:
        forge_open(x, link, *frame);
        return;
    case FRAME_COMMIT:
        forge_commit(x, link, *frame);
        return;
    case FRAME_CANCEL:
        forge_cancel(x, link, *frame);
        return;
    case FRAME_GRANT:
        forge_grant(x, link, *frame);
        return;
    default:
        if (node > 0) {
            forge_answer(x, node, link, *frame);
        }
    }
}

/* The OPEN of a fetch whose lease has ended, again. */
void explore_check_again(struct explorer *x, uint32_t link, const struct frame *frame)
{
    const struct frame_cancel *c = &frame->cancel;
    const struct core *core = core_of(x, x->w, 0);
    struct frame again = {.type = FRAME_OPEN};
    uint32_t index = c->offer_id & ((1U << CORE_INDEX_BITS) - 1);
    const struct slot *t;

    if (frame->type != FRAME_CANCEL || c->scope != BATON_CANCEL_ATTEMPT) {
        return;
    }
    t = &core_slots(core)[slot_number(core, index, c->slot)];
    if (t->fetch_id != c->fetch_id ||
        memcmp(t->peer, core_link(core, link)->incarnation, ID_BYTES) != 0) {
        return; /* only of its last lease does a slot know */
    }
    again.open.offer_id = c->offer_id;
    again.open.fetch_id = c->fetch_id;
    again.open.slot = c->slot;
    again.open.secret[0] = c->secret[0];
    /* The keys are of the state before the step. */
    changes(x, 0, link, &again);
    if (core_link(core, link)->state == LINK_UP && core_link_reads(core, link) &&
        x->scratch->counts.leases > core->counts.leases) {
        explore_broken(x, "P5 one reader generation", "a fetch whose lease ended gets another");
    }
}

/* A sink's older dial closes nothing, and no dial makes two links. */
void explore_check_greeting(struct explorer *x, const struct wire *wire, bool old)
{
    const struct core *core = core_of(x, x->w, 0);
    struct core_event event = {.type = CORE_EVENT_HELLO};
    uint64_t key = explore_core_key(x, x->w, 0, core);

    if (old && core->counts.links_made != core_of(x, x->before, 0)->counts.links_made) {
        explore_broken(x, "P5 one reader generation", "an older dial of sink %u makes a link",
                       wire->sink + 1);
    }
    while (event.link < core->limits.links && core_link(core, event.link)->state != LINK_FREE) {
        event.link++;
    }
    if (event.link == core->limits.links) {
        return;
    }
    event.peer.dial = wire->dial;
    explore_incarnation_of(wire->sink + 1U, wire->sink_life, event.peer.incarnation);
    memcpy(x->scratch, core, x->core_bytes[0]);
    core_step(x->scratch, &event, WORLD_NOW_US, &x->actions);
    if (explore_core_key(x, x->w, 0, x->scratch) != key) {
        explore_broken(x, "S14 idempotence", "a dial number of sink %u is good twice",
                       wire->sink + 1);
    }
}

void explore_check_p7_early(struct explorer *x, unsigned plan)
{
    const struct core *core = core_of(x, x->w, 0);
    const struct offer *o = &core_offers(core)[plan];

    for (uint32_t s = 0; o->state == OFFER_OPEN && s < o->slots; s++) {
        const struct slot *t = &core_slots(core)[slot_number(core, plan, s)];
        struct frame frame = {.type = FRAME_COMMIT};

        frame.commit = (struct frame_commit){o->id, t->fetch_id, t->attempt, s};
        if (t->state == SLOT_LEASED && o->watermark < o->total && changes(x, 0, t->link, &frame) &&
            core_slots(x->scratch)[slot_number(core, plan, s)].state == SLOT_COMMITTED) {
            explore_broken(x, "P7 watermark", "a commit before the end is taken");
        }
    }
}
