/* SPDX-License-Identifier: Apache-2.0 */
/* Push: what is granted, what is written, and when the sink may believe that it is over. */
#include "core_world.h"
#include "test.h"

#include <string.h>

enum {
    SINK = 0,
    SOURCE = 1,
    PEER = 0x77, /* a puppet */
    NONCE = 4711,
    STEPS_MAX = 60,
};

static const struct world_offer_options whole = {.total = 100, .watermark = UINT64_MAX};
static const struct world_fetch_options push = {.push = true, .nonce = NONCE};

/* A sink whose source is the test: two windows of 40 bytes are started and the first GRANT is
 * built, if `granted`. */
struct stage {
    struct world *w;
    int wire;
    struct world_handoff *fetch;
};

static void accept(const struct stage *s)
{
    struct frame f = {
        .type = FRAME_ACCEPT,
        .accept = {.fetch_id = s->fetch->id, .attempt = 9, .watermark = 100, .total = 100}};
    struct frame open;

    CHECK(world_said(s->w, s->wire, &open) && open.type == FRAME_OPEN);
    world_tell(s->w, s->wire, &f, BATON_CAUSE_NONE);
}

static struct stage stage_make(void)
{
    struct stage s = {.w = world_create(&(struct world_options){.nodes = 1, .remote = true})};
    struct world_fetch_options options = push;

    s.wire = world_puppet_source(s.w, SINK, PEER);
    options.wire = s.wire;
    options.offer_id = 1;
    options.total = 100;
    s.fetch = world_fetch(s.w, SINK, NULL, &options);
    accept(&s);
    return s;
}

static void stage_end(const struct stage *s)
{
    struct frame f;

    while (world_said(s->w, s->wire, &f)) {
    }
    CHECK(world_over(s->fetch));
    world_check_empty(s->w);
    world_destroy(s->w);
}

/* The next frame that the sink says, but for CANCEL. */
static struct frame said(const struct stage *s)
{
    struct frame f = {.type = FRAME_CANCEL};

    while (f.type == FRAME_CANCEL) {
        CHECK(world_said(s->w, s->wire, &f));
    }
    return f;
}

static void written(const struct stage *s, uint64_t attempt, uint64_t end)
{
    const struct frame f = {.type = FRAME_WRITTEN,
                            .written = {.fetch_id = s->fetch->id, .attempt = attempt, .end = end}};

    world_tell(s->w, s->wire, &f, BATON_CAUSE_NONE);
}

static void quiesced(const struct stage *s, uint64_t attempt, uint64_t nonce)
{
    const struct frame f = {
        .type = FRAME_QUIESCED,
        .quiesced = {.fetch_id = s->fetch->id, .attempt = attempt, .nonce = nonce}};

    world_tell(s->w, s->wire, &f, BATON_CAUSE_NONE);
}

/* Windows are granted one by one, in order, and the commit follows when the last was written. */
TEST(push_goes_window_by_window)
{
    struct stage s = stage_make();
    struct frame f = said(&s);

    CHECK(f.type == FRAME_GRANT && f.grant.offset == 0 && f.grant.length == 40);
    CHECK(f.grant.attempt == 9 && f.grant.fetch_id == s.fetch->id && f.grant.offer_id == 1);
    f = said(&s);
    CHECK(f.type == FRAME_GRANT && f.grant.offset == 40 && f.grant.length == 40);
    CHECK(!world_said(s.w, s.wire, &f));
    written(&s, 9, 40);
    f = said(&s);
    CHECK(f.type == FRAME_GRANT && f.grant.offset == 80 && f.grant.length == 20);
    written(&s, 9, 100); /* two at once */
    f = said(&s);
    CHECK(f.type == FRAME_COMMIT);
    world_tell(s.w, s.wire,
               &(struct frame){.type = FRAME_COMMITTED,
                               .committed = {.fetch_id = s.fetch->id, .attempt = 9}},
               BATON_CAUSE_NONE);
    CHECK(s.fetch->outcome == BATON_COMPLETED && s.fetch->proof == BATON_PROOF_PEER_DRAIN);
    CHECK(s.fetch->landed == 100);
    stage_end(&s);
}

/* Nothing was granted yet when the fetch is cancelled: nobody could ever write. */
TEST(cancel_before_the_first_grant)
{
    struct stage s = stage_make();
    struct frame f;

    world_cancel(s.w, s.fetch, BATON_CANCEL_ATTEMPT);
    CHECK(s.fetch->quiets == 1 && s.fetch->proof == BATON_PROOF_NEVER_EXPOSED);
    CHECK(s.fetch->landed == 0);
    CHECK(world_said(s.w, s.wire, &f) && f.type == FRAME_CANCEL);
    CHECK(!world_said(s.w, s.wire, &f)); /* no GRANT leaves any more */
    stage_end(&s);
}

/* One of two windows was granted.  The outcome is told at once; quiet waits for the source's word
 * on that very attempt, with the nonce of the question. */
TEST(quiet_waits_for_quiesced)
{
    struct stage s = stage_make();
    struct frame f = said(&s);

    world_cancel(s.w, s.fetch, BATON_CANCEL_ATTEMPT);
    CHECK(s.fetch->outcomes == 1 && s.fetch->quiets == 0);
    f = said(&s);
    CHECK(f.type == FRAME_QUIESCE && f.quiesce.nonce == NONCE && f.quiesce.attempt == 9);
    quiesced(&s, 8, NONCE);
    quiesced(&s, 9, NONCE + 1);
    CHECK(s.fetch->quiets == 0);
    quiesced(&s, 9, NONCE);
    CHECK(s.fetch->quiets == 1 && s.fetch->proof == BATON_PROOF_PEER_DRAIN);
    CHECK(s.fetch->landed == 40); /* that was granted */
    stage_end(&s);
}

/* All that was granted is written before the answer comes: the same word. */
TEST(quiet_when_all_granted_is_written)
{
    struct stage s = stage_make();

    said(&s);
    said(&s);
    world_cancel(s.w, s.fetch, BATON_CANCEL_ATTEMPT);
    written(&s, 9, 40);
    CHECK(s.fetch->quiets == 0);
    written(&s, 9, 80);
    CHECK(s.fetch->quiets == 1 && s.fetch->proof == BATON_PROOF_PEER_DRAIN);
    stage_end(&s);
}

/* A source that says more than it was granted, or half a window, breaks the protocol; that is no
 * proof of anything. */
TEST(written_beyond_the_grant_closes_the_link)
{
    static const uint64_t ends[] = {80, 120, 39, 41};

    for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct stage s = stage_make();
        struct core_event proof = {.type = CORE_EVENT_PROOF,
                                   .proof = {s.fetch->id, BATON_PROOF_PEER_DRAIN}};
        struct core_counts counts;

        CHECK(said(&s).type == FRAME_GRANT);
        written(&s, 8, ends[i]); /* of another attempt */
        CHECK(s.fetch->outcomes == 0);
        written(&s, 9, ends[i]);
        world_counts(s.w, SINK, &counts);
        CHECK(counts.protocol_errors == 1);
        CHECK(s.fetch->outcome == BATON_LINK_LOST && s.fetch->quiets == 0);
        world_event(s.w, SINK, &proof);
        CHECK(s.fetch->quiets == 1);
        stage_end(&s);
    }
}

/* The link is lost: doubt, until the same incarnation answers over a new one. */
TEST(quiesce_is_said_on_each_new_link)
{
    struct stage s = stage_make();
    struct core_event lost = {.type = CORE_EVENT_LINK_LOST, .lost.cause = BATON_CAUSE_LINK_CLOSED};

    CHECK(said(&s).type == FRAME_GRANT);
    for (int i = 0; i < 3; i++) {
        world_event(s.w, SINK, &lost);
        CHECK(s.fetch->outcome == BATON_LINK_LOST && s.fetch->quiets == 0);
        s.wire = world_puppet_source(s.w, SINK, PEER + 1); /* another one */
        CHECK(!world_said(s.w, s.wire, &(struct frame){0}));
        lost.link = s.w->wires[s.wire].link[WORLD_SINK];
        world_event(s.w, SINK, &lost);
        s.wire = world_puppet_source(s.w, SINK, PEER);
        lost.link = s.w->wires[s.wire].link[WORLD_SINK];
        CHECK(said(&s).type == FRAME_QUIESCE);
    }
    world_after_ms(s.w, 1000);
    CHECK(s.fetch->doubts == 1);
    quiesced(&s, 9, NONCE);
    CHECK(s.fetch->quiets == 1 && s.fetch->proof == BATON_PROOF_PEER_DRAIN);
    stage_end(&s);
}

/* Windows that wait for a proof are in nobody's way. */
TEST(drained_windows_leave_the_budget)
{
    struct stage s = stage_make();
    struct core_gauges g;

    CHECK(said(&s).type == FRAME_GRANT);
    world_gauges(s.w, SINK, &g);
    CHECK(g.windows == 2 && g.inflight_bytes == 80);
    world_cancel(s.w, s.fetch, BATON_CANCEL_ATTEMPT);
    world_gauges(s.w, SINK, &g);
    CHECK(g.windows == 0 && g.inflight_bytes == 0 && s.fetch->quiets == 0);
    quiesced(&s, 9, NONCE);
    stage_end(&s);
}

/* ---- the source, and a sink that is the test ---- */

struct offered {
    struct world *w;
    int wire;
    struct world_handoff *offer;
    uint64_t attempt;
};

static void tell_open(struct world *w, int wire, const struct world_handoff *offer,
                      uint64_t fetch_id)
{
    struct frame f = {.type = FRAME_OPEN,
                      .open = {.offer_id = offer->id, .fetch_id = fetch_id, .mode = OPEN_PUSH}};

    world_secret(offer, 0, f.open.secret);
    world_tell(w, wire, &f, BATON_CAUSE_NONE);
}

static struct offered offered_make(uint64_t watermark)
{
    struct offered o = {.w = world_create(&(struct world_options){.nodes = 1, .remote = true})};
    struct frame f;

    o.w->nodes[0].idle = true;
    o.wire = world_puppet_sink(o.w, 0, PEER, 1);
    o.offer = world_offer(o.w, 0, &(struct world_offer_options){.watermark = watermark});
    tell_open(o.w, o.wire, o.offer, 5);
    CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_ACCEPT);
    o.attempt = f.accept.attempt;
    return o;
}

static void tell_grant(const struct offered *o, uint64_t offset, uint64_t length)
{
    const struct frame f = {.type = FRAME_GRANT,
                            .grant = {.offer_id = o->offer->id,
                                      .fetch_id = 5,
                                      .attempt = o->attempt,
                                      .offset = offset,
                                      .length = length}};

    world_tell(o->w, o->wire, &f, BATON_CAUSE_NONE);
}

static void tell_quiesce(const struct offered *o, int wire, uint64_t attempt, uint64_t nonce)
{
    const struct frame f = {
        .type = FRAME_QUIESCE,
        .quiesce = {.offer_id = o->offer->id, .fetch_id = 5, .attempt = attempt, .nonce = nonce}};

    world_tell(o->w, wire, &f, BATON_CAUSE_NONE);
}

/* The oldest push is over. */
static void serve_ends(const struct offered *o)
{
    struct world_node *n = &o->w->nodes[0];

    CHECK(n->serves_count > 0);
    n->idle = false;
    while (n->serves_count > 0 && n->serves[0].push) {
        uint32_t before = n->serves_count;

        world_step(o->w);
        if (n->serves_count < before) {
            break;
        }
    }
    n->idle = true;
}

static void offered_end(const struct offered *o)
{
    struct frame f;

    o->w->nodes[0].idle = false;
    world_cancel(o->w, o->offer, BATON_CANCEL_OFFER);
    world_run(o->w);
    while (world_said(o->w, o->wire, &f)) {
    }
    CHECK(world_over(o->offer));
    world_check_empty(o->w);
    world_destroy(o->w);
}

/* Each grant is one push; WRITTEN says how far they are, and a grant that comes twice is inert. */
TEST(grants_are_served_in_order)
{
    struct offered o = offered_make(UINT64_MAX);
    struct world_node *n = &o.w->nodes[0];
    struct frame f;

    tell_grant(&o, 0, 40);
    tell_grant(&o, 40, 10);
    tell_grant(&o, 0, 40);
    tell_grant(&o, 40, 10);
    CHECK(n->serves_count == 2 && n->serves[0].offset == 0 && n->serves[0].length == 40);
    CHECK(n->serves[1].offset == 40 && n->serves[1].length == 10);
    CHECK(!world_said(o.w, o.wire, &f));
    serve_ends(&o);
    CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_WRITTEN && f.written.end == 40);
    serve_ends(&o);
    CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_WRITTEN && f.written.end == 50);
    CHECK(f.written.attempt == o.attempt && f.written.fetch_id == 5);
    offered_end(&o);
}

/* Above the watermark, or with a gap: no honest sink grants that. */
TEST(bad_grants_close_the_link)
{
    static const uint64_t bad[][2] = {{60, 1}, {0, 61}, {50, 11}, {61, 1}, {UINT64_MAX - 1, 1}};
    struct core_counts counts;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]) + 1; i++) {
        struct offered o = offered_make(60);

        if (i < sizeof(bad) / sizeof(bad[0])) {
            tell_grant(&o, bad[i][0], bad[i][1]);
        } else {
            tell_grant(&o, 0, 10);
            tell_grant(&o, 20, 10);
        }
        world_counts(o.w, 0, &counts);
        CHECK(counts.protocol_errors == 1 && counts.links_lost == 1);
        CHECK(o.w->nodes[0].serves_count == (i == sizeof(bad) / sizeof(bad[0])));
        offered_end(&o);
    }
}

/* The lease ends at once; the answer waits for the last push that was under way. */
TEST(quiesced_waits_for_pushes)
{
    struct offered o = offered_make(UINT64_MAX);
    struct core_slot_view slot;
    struct frame f;

    tell_grant(&o, 0, 40);
    tell_grant(&o, 40, 40);
    tell_quiesce(&o, o.wire, o.attempt, NONCE);
    world_slot(o.w, o.offer, 0, &slot);
    CHECK(slot.stage == BATON_STAGE_OFFERED);
    tell_grant(&o, 80, 20); /* it was on its way: no more */
    CHECK(o.w->nodes[0].serves_count == 2 && o.w->nodes[0].serves[0].stopped);
    serve_ends(&o);
    CHECK(!world_said(o.w, o.wire, &f));
    tell_open(o.w, o.wire, o.offer, 6);
    CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_REFUSED && f.refused.fetch_id == 6);
    CHECK(f.refused.cause == BATON_CAUSE_BUSY);
    serve_ends(&o);
    CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_QUIESCED);
    CHECK(f.quiesced.fetch_id == 5 && f.quiesced.attempt == o.attempt && f.quiesced.nonce == NONCE);
    offered_end(&o);
}

/* The same over a second link, the first one being lost with pushes under way. */
TEST(quiesced_over_a_new_link)
{
    struct offered o = offered_make(UINT64_MAX);
    struct frame f;
    int wire;

    tell_grant(&o, 0, 40);
    wire = world_puppet_sink(o.w, 0, PEER, 2); /* closes the older one */
    CHECK(wire >= 0 && o.w->nodes[0].serves_count == 1);
    tell_quiesce(&o, wire, o.attempt, NONCE);
    CHECK(!world_said(o.w, wire, &f));
    serve_ends(&o);
    CHECK(world_said(o.w, wire, &f) && f.type == FRAME_QUIESCED && f.quiesced.nonce == NONCE);
    o.wire = wire;
    offered_end(&o);
}

/* Of another attempt, another sink's, of no offer that there is: nothing is written for it, so it
 * is answered at once, and nobody's lease ends. */
TEST(quiesce_of_the_unknown_is_answered)
{
    struct offered o = offered_make(UINT64_MAX);
    int wire = world_puppet_sink(o.w, 0, PEER + 1, 1);
    struct core_slot_view slot;
    struct frame f;

    tell_grant(&o, 0, 40);
    tell_quiesce(&o, o.wire, o.attempt + 1, 1);
    CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_QUIESCED && f.quiesced.nonce == 1);
    tell_quiesce(&o, wire, o.attempt, 2);
    CHECK(world_said(o.w, wire, &f) && f.type == FRAME_QUIESCED && f.quiesced.nonce == 2);
    o.offer->id += 1 << CORE_INDEX_BITS;
    tell_quiesce(&o, o.wire, o.attempt, 3);
    o.offer->id -= 1 << CORE_INDEX_BITS;
    CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_QUIESCED && f.quiesced.nonce == 3);
    world_slot(o.w, o.offer, 0, &slot);
    CHECK(slot.stage == BATON_STAGE_LEASED && !o.w->nodes[0].serves[0].stopped);
    offered_end(&o);
}

/* A write that fails ends the lease, and says why. */
TEST(failed_push_ends_the_lease)
{
    struct offered o = offered_make(UINT64_MAX);
    struct core_event event = {
        .type = CORE_EVENT_SERVED,
        .served = {
            .offer_id = o.offer->id, .length = 40, .status = CORE_COPIED_FAILED, .push = true}};
    struct core_slot_view slot;
    struct frame f;

    tell_grant(&o, 0, 40);
    o.w->nodes[0].serves_count = 0;
    o.offer->serves = 0;
    world_event(o.w, 0, &event);
    CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_ENDED);
    CHECK(f.ended.cause == BATON_CAUSE_READ && f.ended.attempt == o.attempt);
    world_slot(o.w, o.offer, 0, &slot);
    CHECK(slot.stage == BATON_STAGE_OFFERED);
    offered_end(&o);
}

/* ---- both ends ---- */

static struct world *pair(uint64_t seed, bool remote, bool twice)
{
    return world_create(&(struct world_options){.seed = seed, .remote = remote, .twice = twice});
}

/* Bytes that come late, in steps, by both kinds of push, in many orders; each frame twice. */
TEST(pushes_complete_in_any_order)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct world *w = pair(seed, seed & 1, seed & 2);
        struct world_handoff *offer =
            world_offer(w, SOURCE, &(struct world_offer_options){.total = 300, .watermark = 7});
        struct world_handoff *fetch =
            world_fetch(w, SINK, offer, &(struct world_fetch_options){.push = true, .begin = 3});

        for (uint64_t watermark = 50; watermark <= 300; watermark += 50) {
            world_steps(w, (unsigned)(seed % 17));
            world_advance(w, offer, watermark);
        }
        world_run(w);
        CHECK(fetch->outcome == BATON_COMPLETED && fetch->landed == 297);
        CHECK(fetch->proof == (seed & 1 ? BATON_PROOF_PEER_DRAIN : BATON_PROOF_LOCAL_DRAIN));
        CHECK(offer->outcome == BATON_COMPLETED);
        world_check_empty(w);
        world_destroy(w);
    }
}

/* Either side, or both, cancel at every step of a run.  Quiet comes by itself, never while a push
 * is under way (carry_told() looks). */
TEST(pushes_are_cancelled_at_any_step)
{
    for (unsigned step = 0; step < STEPS_MAX; step++) {
        for (unsigned how = 0; how < 12; how++) {
            struct world *w = pair(1 + step * 12 + how, how & 1, false);
            struct world_handoff *offer = world_offer(w, SOURCE, &whole);
            struct world_handoff *fetch = world_fetch(w, SINK, offer, &push);

            world_steps(w, step);
            if ((how >> 1) % 3 != 0 && fetch->outcomes == 0) {
                world_cancel(w, fetch, how >= 6 ? BATON_CANCEL_OFFER : BATON_CANCEL_ATTEMPT);
            }
            if ((how >> 1) % 3 != 1 && offer->outcomes == 0) {
                world_cancel(w, offer, BATON_CANCEL_OFFER);
            }
            world_run(w);
            CHECK(world_over(fetch));
            if (offer->outcomes == 0) {
                world_cancel(w, offer, BATON_CANCEL_OFFER);
            }
            world_run(w);
            world_check_empty(w);
            world_destroy(w);
        }
    }
}

/* The link is cut at every step.  What the sink's own code stores is quiet at once; what the source
 * stores, when the source is asked over a new link. */
TEST(pushes_lose_their_link_at_any_step)
{
    for (unsigned step = 0; step < STEPS_MAX; step++) {
        for (unsigned how = 0; how < 2; how++) {
            struct world *w = pair(1 + step * 2 + how, how == 0, false);
            struct world_handoff *offer = world_offer(w, SOURCE, &whole);
            struct world_handoff *fetch = world_fetch(w, SINK, offer, &push);

            world_steps(w, step);
            world_cut(w, SINK, SOURCE);
            world_steps(w, step % 5);
            CHECK(fetch->outcomes == 1);
            world_redial(w, SINK, SOURCE);
            world_run(w);
            CHECK(world_over(fetch));
            world_cancel(w, offer, BATON_CANCEL_OFFER);
            world_run(w);
            world_check_empty(w);
            world_destroy(w);
        }
    }
}
