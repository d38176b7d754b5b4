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

/* The source's word on that attempt is as good when nobody has asked; but not before the end. */
TEST(quiet_by_quiesced_unasked)
{
    struct stage s = stage_make();

    CHECK(said(&s).type == FRAME_GRANT);
    quiesced(&s, 9, 0);
    CHECK(s.fetch->outcomes == 0);
    world_tell(s.w, s.wire,
               &(struct frame){
                   .type = FRAME_ENDED,
                   .ended = {.fetch_id = s.fetch->id, .attempt = 9, .cause = BATON_CAUSE_CLOSING}},
               BATON_CAUSE_NONE);
    CHECK(s.fetch->outcome == BATON_PEER_CANCELLED && s.fetch->quiets == 0);
    quiesced(&s, 8, 0);
    CHECK(s.fetch->quiets == 0);
    quiesced(&s, 9, 0);
    CHECK(s.fetch->quiets == 1 && s.fetch->proof == BATON_PROOF_PEER_DRAIN);
    CHECK(s.fetch->landed == 40); /* that was granted */
    stage_end(&s);
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

/* Words and proofs that are not for this fetch, this link, or this moment change nothing. */
TEST(words_of_others_are_inert)
{
    struct stage s = stage_make();
    struct stage other = {.w = s.w, .wire = world_puppet_source(s.w, SINK, PEER + 1)};
    struct core_event proof = {.type = CORE_EVENT_PROOF,
                               .proof = {s.fetch->id, BATON_PROOF_PEER_DRAIN}};

    other.fetch = s.fetch;
    CHECK(said(&s).type == FRAME_GRANT);
    quiesced(&s, 9, NONCE); /* nobody asked */
    world_event(s.w, SINK, &proof);
    CHECK(s.fetch->outcomes == 0);
    world_cancel(s.w, s.fetch, BATON_CANCEL_ATTEMPT);
    written(&other, 9, 40);
    quiesced(&other, 9, NONCE);
    proof.proof.id += 1 << CORE_INDEX_BITS;
    world_event(s.w, SINK, &proof);
    s.fetch->id += 1 << CORE_INDEX_BITS;
    quiesced(&s, 9, NONCE);
    s.fetch->id -= 1 << CORE_INDEX_BITS;
    CHECK(s.fetch->quiets == 0);
    /* A further link of others, while the fetch has its own. */
    CHECK(!world_said(s.w, world_puppet_source(s.w, SINK, PEER + 2), &(struct frame){0}));
    quiesced(&s, 9, NONCE);
    CHECK(s.fetch->quiets == 1);
    stage_end(&s);
}

/* Where the sink's own code stores the bytes, the source's word and proofs from outside say
 * nothing; and a window that was given back unread stops the grants. */
TEST(own_code_needs_no_word)
{
    struct stage s = {.w = world_create(&(struct world_options){.nodes = 1})};
    struct world_fetch_options options = push;
    struct core_event proof = {.type = CORE_EVENT_PROOF};
    struct frame f;

    s.w->nodes[SINK].idle = true;
    options.wire = s.wire = world_puppet_source(s.w, SINK, PEER);
    options.offer_id = 1;
    options.total = 100;
    s.fetch = world_fetch(s.w, SINK, NULL, &options);
    accept(&s);
    CHECK(said(&s).type == FRAME_GRANT && s.fetch->copies == 2);
    written(&s, 9, 40);
    CHECK(s.fetch->copies == 2);
    s.w->nodes[SINK].copies[0].stopped = true;
    world_hold(s.w, s.wire, WORLD_SINK, true);
    s.w->nodes[SINK].idle = false;
    world_run(s.w); /* it comes back unread */
    s.w->nodes[SINK].idle = true;
    CHECK(s.fetch->copies == 1 && s.fetch->outcomes == 0);
    CHECK(!world_said(s.w, s.wire, &f)); /* the second window is never granted */
    world_cancel(s.w, s.fetch, BATON_CANCEL_ATTEMPT);
    proof.proof.id = s.fetch->id;
    proof.proof.proof = BATON_PROOF_PEER_DRAIN;
    world_event(s.w, SINK, &proof);
    CHECK(s.fetch->outcomes == 1 && s.fetch->quiets == 0 && s.fetch->copies == 1);
    s.w->nodes[SINK].idle = false;
    world_run(s.w);
    CHECK(s.fetch->proof == BATON_PROOF_LOCAL_DRAIN);
    stage_end(&s);
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
