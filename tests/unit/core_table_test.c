/* SPDX-License-Identifier: Apache-2.0 */
/* What a source answers, case by case, and what a sink makes of it; the other side is a puppet. */
#include "core_world.h"
#include "test.h"

#include <string.h>

enum {
    NODE = 0,
    ONE = 0x31, /* puppets */
    TWO = 0x32,
};

/* A source with one offer, and links to two readers. */
struct table {
    struct world *world;
    struct world_handoff *offer;
    int wire[2];
};

static struct table table_new(const struct world_offer_options *offer)
{
    struct table t;

    t.world = world_create(&(struct world_options){.nodes = 1, .twice = true, .exported = true});
    t.offer = world_offer(t.world, NODE, offer);
    t.wire[0] = world_puppet_sink(t.world, NODE, ONE, 1);
    t.wire[1] = world_puppet_sink(t.world, NODE, TWO, 1);
    return t;
}

static void table_end(struct table *t)
{
    struct frame f;

    world_cancel(t->world, t->offer, BATON_CANCEL_OFFER);
    while (world_said(t->world, t->wire[0], &f) || world_said(t->world, t->wire[1], &f)) {
    }
    world_check_empty(t->world);
    world_destroy(t->world);
}

static const struct world_offer_options whole = {.watermark = UINT64_MAX};
static const struct world_offer_options half = {.watermark = 50};

static struct frame open_frame(const struct world_handoff *offer, uint32_t slot, uint64_t fetch)
{
    struct frame f = {.type = FRAME_OPEN,
                      .open = {.offer_id = offer->id, .fetch_id = fetch, .slot = slot}};

    world_secret(offer, slot, f.open.secret);
    return f;
}

static void tell_open(struct table *t, int reader, uint64_t fetch)
{
    const struct frame f = open_frame(t->offer, 0, fetch);

    world_tell(t->world, t->wire[reader], &f, BATON_CAUSE_NONE);
}

static void tell_commit(struct table *t, int reader, uint64_t fetch, uint64_t attempt)
{
    const struct frame f = {
        .type = FRAME_COMMIT,
        .commit = {.offer_id = t->offer->id, .fetch_id = fetch, .attempt = attempt}};

    world_tell(t->world, t->wire[reader], &f, BATON_CAUSE_NONE);
}

static void tell_cancel(struct table *t, int reader, uint64_t fetch, uint64_t attempt,
                        baton_cancel_scope scope)
{
    struct frame f = {.type = FRAME_CANCEL,
                      .cancel = {.offer_id = t->offer->id,
                                 .fetch_id = fetch,
                                 .attempt = attempt,
                                 .scope = (uint8_t)scope,
                                 .cause = BATON_CAUSE_CANCEL}};

    world_secret(t->offer, 0, f.cancel.secret);
    world_tell(t->world, t->wire[reader], &f, BATON_CAUSE_NONE);
}

static bool hears_accept(struct table *t, int reader, uint64_t fetch, uint64_t attempt)
{
    struct frame f;

    return world_said(t->world, t->wire[reader], &f) && f.type == FRAME_ACCEPT &&
           f.accept.fetch_id == fetch && f.accept.attempt == attempt && f.accept.total == 100 &&
           f.accept.watermark == t->offer->watermark;
}

static bool hears_refused(struct table *t, int reader, uint64_t fetch, baton_cause cause,
                          bool revoked)
{
    struct frame f;

    return world_said(t->world, t->wire[reader], &f) && f.type == FRAME_REFUSED &&
           f.refused.fetch_id == fetch && f.refused.cause == cause && f.refused.revoked == revoked;
}

static bool hears_committed(struct table *t, int reader, uint64_t fetch, uint64_t attempt)
{
    struct frame f;

    return world_said(t->world, t->wire[reader], &f) && f.type == FRAME_COMMITTED &&
           f.committed.fetch_id == fetch && f.committed.attempt == attempt;
}

static bool hears_ended(struct table *t, int reader, uint64_t fetch, uint64_t attempt,
                        baton_cause cause)
{
    struct frame f;

    return world_said(t->world, t->wire[reader], &f) && f.type == FRAME_ENDED &&
           f.ended.fetch_id == fetch && f.ended.attempt == attempt && f.ended.cause == cause;
}

static bool hears_nothing(struct table *t, int reader)
{
    struct frame f;

    return !world_said(t->world, t->wire[reader], &f);
}

static baton_stage stage(const struct table *t)
{
    struct core_slot_view view;

    world_slot(t->world, t->offer, 0, &view);
    return view.stage;
}

static uint64_t late(const struct table *t)
{
    struct core_counts counts;

    world_counts(t->world, NODE, &counts);
    return counts.late;
}

/* ---- OPEN ---- */

/* An offered slot is leased; the same OPEN again gets the same attempt; another fetch, also of the
 * same reader, is told to come later. */
TEST(open_of_offered_and_of_leased_slot)
{
    struct table t = table_new(&half);

    tell_open(&t, 0, 7);
    CHECK(hears_accept(&t, 0, 7, 1) && stage(&t) == BATON_STAGE_LEASED);
    tell_open(&t, 0, 7); /* again: it has had its answer */
    CHECK(hears_nothing(&t, 0));
    tell_open(&t, 0, 8);
    CHECK(hears_refused(&t, 0, 8, BATON_CAUSE_BUSY, false));
    tell_open(&t, 1, 7); /* the same number of another incarnation's fetch */
    CHECK(hears_refused(&t, 1, 7, BATON_CAUSE_BUSY, false));
    CHECK(stage(&t) == BATON_STAGE_LEASED);
    table_end(&t);
}

/* What is final stays so, and says which and why. */
TEST(open_of_final_slot)
{
    struct table t = table_new(&(struct world_offer_options){.watermark = UINT64_MAX, .slots = 2});
    struct frame f = open_frame(t.offer, 1, 20);

    world_tell(t.world, t.wire[1], &f, BATON_CAUSE_NONE); /* keeps the offer open, and known */
    CHECK(hears_accept(&t, 1, 20, 1));
    tell_open(&t, 0, 7);
    CHECK(hears_accept(&t, 0, 7, 2));
    tell_commit(&t, 0, 7, 2);
    CHECK(hears_committed(&t, 0, 7, 2));
    tell_open(&t, 0, 8);
    CHECK(hears_refused(&t, 0, 8, BATON_CAUSE_COMMITTED, false));
    tell_open(&t, 0, 7);
    CHECK(hears_refused(&t, 0, 7, BATON_CAUSE_COMMITTED, false));
    world_cancel(t.world, t.offer, BATON_CANCEL_OFFER);
    f = open_frame(t.offer, 1, 21);
    world_tell(t.world, t.wire[0], &f, BATON_CAUSE_NONE);
    CHECK(hears_refused(&t, 0, 21, BATON_CAUSE_CANCEL, true));
    CHECK(hears_ended(&t, 1, 20, 1, BATON_CAUSE_CANCEL));
    tell_open(&t, 0, 9); /* now it is forgotten */
    CHECK(hears_refused(&t, 0, 9, BATON_CAUSE_GONE, false));
    table_end(&t);
}

/* Unknown: another id, an older life of the same index, a slot that it does not have. */
TEST(open_of_unknown_offer)
{
    struct table t = table_new(&half);
    const uint64_t id = t.offer->id, serial = UINT64_C(1) << CORE_INDEX_BITS;
    const uint64_t ids[] = {id + 1, id + serial, id + (serial << 12), t.offer->index, UINT64_MAX,
                            id,     id};
    const uint32_t slots[] = {0, 0, 0, 0, 0, 1, UINT32_MAX};

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        struct frame f = open_frame(t.offer, slots[i], 7);

        f.open.offer_id = ids[i];
        world_tell(t.world, t.wire[0], &f, BATON_CAUSE_NONE);
        CHECK(hears_refused(&t, 0, 7, BATON_CAUSE_GONE, false));
    }
    CHECK(stage(&t) == BATON_STAGE_OFFERED);
    table_end(&t);
}

/* A wrong secret learns nothing about the slot; what does not fit is not leased. */
TEST(open_with_wrong_secret_or_misfit)
{
    struct table t = table_new(&half);
    struct frame f = open_frame(t.offer, 0, 7);

    f.open.secret[15] ^= 1;
    world_tell(t.world, t.wire[0], &f, BATON_CAUSE_NONE);
    CHECK(hears_refused(&t, 0, 7, BATON_CAUSE_SECRET, false));
    f.open.secret[15] ^= 1;
    world_tell(t.world, t.wire[0], &f, BATON_CAUSE_LAYOUT);
    CHECK(hears_refused(&t, 0, 7, BATON_CAUSE_LAYOUT, false));
    world_tell(t.world, t.wire[0], &f, BATON_CAUSE_TRANSPORT);
    CHECK(hears_refused(&t, 0, 7, BATON_CAUSE_TRANSPORT, false));
    CHECK(stage(&t) == BATON_STAGE_OFFERED);
    tell_open(&t, 0, 7);
    CHECK(hears_accept(&t, 0, 7, 1));
    f.open.secret[0] ^= 1; /* also while it is leased to that very fetch */
    world_tell(t.world, t.wire[0], &f, BATON_CAUSE_NONE);
    CHECK(hears_refused(&t, 0, 7, BATON_CAUSE_SECRET, false));
    table_end(&t);
}

/* The number of leases of an offer is bounded. */
TEST(open_too_often)
{
    struct table t = table_new(&half);

    for (uint64_t i = 1; i <= 8; i++) {
        tell_open(&t, 0, i);
        CHECK(hears_accept(&t, 0, i, i));
        tell_cancel(&t, 0, i, i, BATON_CANCEL_ATTEMPT);
    }
    tell_open(&t, 0, 9);
    CHECK(hears_refused(&t, 0, 9, BATON_CAUSE_ATTEMPTS, false));
    CHECK(stage(&t) == BATON_STAGE_OFFERED);
    table_end(&t);
}

/* ---- COMMIT ---- */

/* The commit of the lease ends the offer; asked again, it is answered again, while it is known. */
TEST(commit_again_is_answered_again)
{
    struct table t = table_new(&(struct world_offer_options){.watermark = UINT64_MAX, .slots = 2});

    tell_open(&t, 0, 7);
    CHECK(hears_accept(&t, 0, 7, 1));
    tell_commit(&t, 0, 7, 1);
    CHECK(hears_committed(&t, 0, 7, 1) && hears_nothing(&t, 0));
    CHECK(t.offer->committed[0] == 1 && t.offer->outcomes == 0);
    tell_commit(&t, 0, 7, 1);
    CHECK(hears_committed(&t, 0, 7, 1) && hears_nothing(&t, 0));
    tell_cancel(&t, 0, 7, 1, BATON_CANCEL_ATTEMPT); /* final: too late */
    CHECK(stage(&t) == BATON_STAGE_COMMITTED);
    tell_cancel(&t, 0, 7, 1, BATON_CANCEL_OFFER); /* the other slot is still open */
    CHECK(t.offer->outcome == BATON_PEER_CANCELLED && stage(&t) == BATON_STAGE_COMMITTED);
    CHECK(t.offer->proof == BATON_PROOF_PEER_DRAIN); /* all who had a lease have committed */
    tell_commit(&t, 0, 7, 1);
    CHECK(hears_refused(&t, 0, 7, BATON_CAUSE_GONE, false));
    table_end(&t);
}

/* Commit before the last byte is there ends the lease, and the slot waits for another reader. */
TEST(early_commit_ends_lease)
{
    struct table t = table_new(&half);

    tell_open(&t, 0, 7);
    CHECK(hears_accept(&t, 0, 7, 1));
    tell_commit(&t, 0, 7, 1);
    CHECK(stage(&t) == BATON_STAGE_OFFERED);
    CHECK(hears_ended(&t, 0, 7, 1, BATON_CAUSE_EARLY));
    world_advance(t.world, t.offer, UINT64_MAX);
    tell_commit(&t, 0, 7, 1); /* that attempt can never commit */
    CHECK(hears_nothing(&t, 0) && stage(&t) == BATON_STAGE_OFFERED);
    tell_open(&t, 0, 8);
    CHECK(hears_accept(&t, 0, 8, 2));
    table_end(&t);
}

/* A commit changes its own attempt only: not with another number, fetch, link or slot. */
TEST(commit_of_another_attempt_is_inert)
{
    struct table t = table_new(&(struct world_offer_options){.watermark = UINT64_MAX, .slots = 2});
    struct frame f = {.type = FRAME_COMMIT,
                      .commit = {.offer_id = t.offer->id, .fetch_id = 8, .attempt = 2, .slot = 1}};
    uint64_t before;

    tell_open(&t, 0, 7);
    tell_cancel(&t, 0, 7, 0, BATON_CANCEL_ATTEMPT);
    tell_open(&t, 0, 8);
    CHECK(hears_accept(&t, 0, 8, 2));
    before = late(&t);
    tell_commit(&t, 0, 7, 1);
    tell_commit(&t, 0, 8, 1);
    tell_commit(&t, 0, 7, 2);
    tell_commit(&t, 0, 8, 3);
    tell_commit(&t, 1, 8, 2);
    world_tell(t.world, t.wire[0], &f, BATON_CAUSE_NONE);
    CHECK(hears_nothing(&t, 0) && hears_nothing(&t, 1) && stage(&t) == BATON_STAGE_LEASED);
    CHECK(late(&t) == before + 12); /* each was applied twice */
    table_end(&t);
}

/* The offer is unknown, or its record has gone. */
TEST(commit_of_unknown_offer)
{
    struct table t = table_new(&whole);
    struct frame f = {.type = FRAME_COMMIT,
                      .commit = {.offer_id = 99, .fetch_id = 7, .attempt = 1}};

    world_tell(t.world, t.wire[0], &f, BATON_CAUSE_NONE);
    CHECK(hears_refused(&t, 0, 7, BATON_CAUSE_GONE, false));
    f.commit.offer_id = t.offer->id;
    f.commit.slot = 3;
    world_tell(t.world, t.wire[0], &f, BATON_CAUSE_NONE);
    CHECK(hears_refused(&t, 0, 7, BATON_CAUSE_GONE, false));
    tell_open(&t, 0, 7);
    CHECK(hears_accept(&t, 0, 7, 1));
    world_cancel(t.world, t.offer, BATON_CANCEL_OFFER);
    tell_commit(&t, 0, 7, 1);
    CHECK(hears_ended(&t, 0, 7, 1, BATON_CAUSE_CANCEL));
    tell_commit(&t, 0, 7, 1);
    CHECK(hears_refused(&t, 0, 7, BATON_CAUSE_GONE, false));
    table_end(&t);
}

/* ---- CANCEL ---- */

/* CANCEL(attempt) ends the lease of that very fetch, with its number or without, and has no answer;
 * also while ACCEPT has not left yet. */
TEST(cancel_of_attempt)
{
    struct table t = table_new(&half);

    tell_open(&t, 0, 7);
    tell_cancel(&t, 0, 7, 0, BATON_CANCEL_ATTEMPT);
    CHECK(hears_nothing(&t, 0) && stage(&t) == BATON_STAGE_OFFERED);
    tell_open(&t, 0, 8);
    CHECK(hears_accept(&t, 0, 8, 2));
    tell_cancel(&t, 0, 8, 2, BATON_CANCEL_ATTEMPT);
    CHECK(hears_nothing(&t, 0) && stage(&t) == BATON_STAGE_OFFERED);
    tell_open(&t, 1, 8);
    CHECK(hears_accept(&t, 1, 8, 3) && t.offer->outcomes == 0);
    table_end(&t);
}

/* A cancel of anybody else's attempt changes nothing. */
TEST(cancel_of_another_attempt_is_inert)
{
    struct table t = table_new(&half);
    struct frame f = {.type = FRAME_CANCEL,
                      .cancel = {.offer_id = t.offer->id,
                                 .fetch_id = 7,
                                 .scope = BATON_CANCEL_OFFER,
                                 .cause = BATON_CAUSE_CANCEL}};

    tell_open(&t, 0, 7);
    CHECK(hears_accept(&t, 0, 7, 1));
    tell_cancel(&t, 0, 6, 0, BATON_CANCEL_ATTEMPT);
    tell_cancel(&t, 0, 7, 2, BATON_CANCEL_ATTEMPT);
    tell_cancel(&t, 1, 7, 1, BATON_CANCEL_ATTEMPT);
    world_tell(t.world, t.wire[0], &f, BATON_CAUSE_NONE); /* no secret */
    f.cancel.slot = 9;
    world_tell(t.world, t.wire[0], &f, BATON_CAUSE_NONE);
    f.cancel.offer_id++;
    world_tell(t.world, t.wire[0], &f, BATON_CAUSE_NONE);
    CHECK(stage(&t) == BATON_STAGE_LEASED && t.offer->outcomes == 0);
    CHECK(hears_nothing(&t, 0) && hears_nothing(&t, 1));
    table_end(&t);
}

/* CANCEL(offer) revokes every open slot; all readers but the one who asked are told. */
TEST(cancel_of_offer_revokes_every_slot)
{
    struct table t = table_new(&(struct world_offer_options){.watermark = 50, .slots = 3});
    struct frame f = open_frame(t.offer, 1, 20);

    world_tell(t.world, t.wire[1], &f, BATON_CAUSE_NONE);
    CHECK(hears_accept(&t, 1, 20, 1));
    tell_open(&t, 0, 7);
    tell_cancel(&t, 0, 7, 0, BATON_CANCEL_OFFER);
    CHECK(t.offer->outcome == BATON_PEER_CANCELLED && t.offer->cause == BATON_CAUSE_CANCEL);
    CHECK(t.offer->quiets == 1 && t.offer->proof == BATON_PROOF_REVOKED);
    CHECK(t.offer->attempts == 2 && t.offer->peer[0] == ONE);
    CHECK(t.offer->forgets == 0); /* its last word has not left */
    CHECK(hears_ended(&t, 1, 20, 1, BATON_CAUSE_CANCEL) && hears_nothing(&t, 1));
    CHECK(hears_nothing(&t, 0) && t.offer->forgets == 1);
    table_end(&t);
}

/* Whoever knows the slot's secret may end the offer, with a lease or without. */
TEST(cancel_of_offer_without_lease)
{
    struct table t = table_new(&half);

    tell_cancel(&t, 1, 7, 0, BATON_CANCEL_OFFER);
    CHECK(t.offer->outcome == BATON_PEER_CANCELLED && t.offer->attempts == 0);
    CHECK(t.offer->forgets == 1);
    tell_cancel(&t, 1, 7, 0, BATON_CANCEL_OFFER);
    CHECK(hears_nothing(&t, 1));
    table_end(&t);
}

/* ---- the watermark ---- */

/* Advances are told to a reader, the last of them only; never down, never past the end. */
TEST(watermark_is_told)
{
    struct table t = table_new(&half);
    struct frame f;

    tell_open(&t, 0, 7);
    world_advance(t.world, t.offer, 60); /* ACCEPT has not left: it says so itself */
    CHECK(hears_accept(&t, 0, 7, 1) && hears_nothing(&t, 0));
    world_advance(t.world, t.offer, 70);
    world_advance(t.world, t.offer, 80);
    world_advance(t.world, t.offer, 20);
    CHECK(world_said(t.world, t.wire[0], &f) && f.type == FRAME_WATERMARK);
    CHECK(f.watermark.watermark == 80 && f.watermark.attempt == 1 && f.watermark.fetch_id == 7);
    world_advance(t.world, t.offer, UINT64_MAX);
    CHECK(world_said(t.world, t.wire[0], &f) && f.watermark.watermark == 100);
    CHECK(hears_nothing(&t, 0));
    world_cancel(t.world, t.offer, BATON_CANCEL_OFFER);
    world_advance(t.world, t.offer, UINT64_MAX); /* inert */
    CHECK(hears_ended(&t, 0, 7, 1, BATON_CAUSE_CANCEL));
    table_end(&t);
}

/* P6: bytes are read for the holder of the lease only, below the watermark. */
TEST(reads_of_others_are_refused)
{
    struct table t = table_new(&half);
    struct core_event good = {.type = CORE_EVENT_READ, .link = t.world->wires[t.wire[0]].link[1]};
    struct core_event bad[9];

    tell_open(&t, 0, 7);
    good.read.offer_id = t.offer->id;
    good.read.fetch_id = 7;
    good.read.attempt = 1;
    good.read.offset = 10;
    good.read.length = 40;
    for (int i = 0; i < 9; i++) {
        bad[i] = good;
    }
    bad[0].link = t.world->wires[t.wire[1]].link[1];
    bad[1].read.offer_id++;
    bad[2].read.fetch_id++;
    bad[3].read.attempt++;
    bad[4].read.slot = 1;
    bad[5].read.length = 41;
    bad[6].read.length = 0;
    bad[7].read.offset = UINT64_MAX - 20;
    bad[8].read.length = UINT64_MAX - 5;
    for (int i = 0; i < 9; i++) {
        world_event(t.world, NODE, &bad[i]);
        CHECK(t.world->actions.list[0].type == CORE_ACTION_SERVE_REFUSE && t.offer->serves == 0);
    }
    world_event(t.world, NODE, &good);
    CHECK(t.offer->serves == 1);
    tell_cancel(&t, 0, 7, 1, BATON_CANCEL_ATTEMPT);
    CHECK(t.world->nodes[NODE].serves[0].stopped);
    world_event(t.world, NODE, &good); /* not any more */
    CHECK(t.offer->serves == 1);
    world_run(t.world);
    table_end(&t);
}

/* Who commits has read what it wants: the source's own movers stop. */
TEST(a_commit_stops_the_movers_of_the_source)
{
    struct table t = table_new(&whole);
    struct core_event e = {.type = CORE_EVENT_READ, .link = t.world->wires[t.wire[0]].link[1]};

    e.read.offer_id = t.offer->id;
    e.read.fetch_id = 7;
    e.read.attempt = e.read.length = 1;
    tell_open(&t, 0, 7);
    world_event(t.world, NODE, &e);
    tell_commit(&t, 0, 7, 1);
    CHECK(t.world->nodes[NODE].serves[0].stopped && t.offer->quiets == 0);
    world_run(t.world);
    CHECK(t.offer->quiets == 1 && t.offer->outcome == BATON_COMPLETED);
    table_end(&t);
}

/* ---- the sink ---- */

struct answer {
    struct frame frame;
    baton_cause misfit;
    baton_outcome outcome;
    baton_cause cause;
};

static void check_answer(const struct answer *a)
{
    struct world *w = world_create(&(struct world_options){.nodes = 1, .twice = true});
    int wire = world_puppet_source(w, NODE, ONE);
    const struct world_fetch_options options = {.wire = wire, .offer_id = 5, .total = 100};
    struct world_handoff *fetch = world_fetch(w, NODE, NULL, &options);
    struct frame f, answer = a->frame;

    CHECK(world_said(w, wire, &f) && f.type == FRAME_OPEN && f.open.offer_id == 5);
    answer.refused.fetch_id = fetch->id; /* the first field of all of them */
    world_tell(w, wire, &answer, a->misfit);
    CHECK(fetch->outcome == a->outcome && fetch->cause == a->cause);
    if (a->misfit) { /* the source has leased it, and must not wait */
        CHECK(world_said(w, wire, &f) && f.type == FRAME_CANCEL && f.cancel.attempt == 3);
    }
    CHECK(!world_said(w, wire, &f));
    world_check_empty(w);
    world_destroy(w);
}

static struct answer refused(baton_cause cause, bool revoked, baton_outcome outcome)
{
    return (struct answer){
        .frame = {.type = FRAME_REFUSED, .refused = {.cause = (uint8_t)cause, .revoked = revoked}},
        .outcome = outcome,
        .cause = cause};
}

/* Each refusal has its outcome. */
TEST(sink_outcomes_of_refusals)
{
    const struct answer answers[] = {
        refused(BATON_CAUSE_BUSY, false, BATON_REFUSED),
        refused(BATON_CAUSE_GONE, false, BATON_REFUSED),
        refused(BATON_CAUSE_COMMITTED, false, BATON_REFUSED),
        refused(BATON_CAUSE_ATTEMPTS, false, BATON_REFUSED),
        refused(BATON_CAUSE_SECRET, false, BATON_FAILED),
        refused(BATON_CAUSE_LAYOUT, false, BATON_FAILED),
        refused(BATON_CAUSE_TRANSPORT, false, BATON_FAILED),
        refused(BATON_CAUSE_CANCEL, true, BATON_PEER_CANCELLED),
        refused(BATON_CAUSE_CLOCK_WHOLE, true, BATON_PEER_CANCELLED),
        {.frame = {.type = FRAME_ENDED, .ended = {.attempt = 3, .cause = BATON_CAUSE_CANCEL}},
         .outcome = BATON_PEER_CANCELLED,
         .cause = BATON_CAUSE_CANCEL},
        {.frame = {.type = FRAME_ENDED, .ended = {.attempt = 3, .cause = BATON_CAUSE_EARLY}},
         .outcome = BATON_FAILED,
         .cause = BATON_CAUSE_EARLY},
        {.frame = {.type = FRAME_ACCEPT, .accept = {.attempt = 3, .total = 100}},
         .misfit = BATON_CAUSE_LAYOUT,
         .outcome = BATON_FAILED,
         .cause = BATON_CAUSE_LAYOUT},
    };

    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        check_answer(&answers[i]);
    }
}

/* Frames of another attempt, of a fetch that is over, on another link, or in a wrong state, change
 * nothing. */
TEST(sink_ignores_what_is_not_its_own)
{
    struct world *w = world_create(&(struct world_options){.nodes = 1, .twice = true});
    int wire = world_puppet_source(w, NODE, ONE), other = world_puppet_source(w, NODE, TWO);
    const struct world_fetch_options options = {.wire = wire, .offer_id = 5, .total = 100};
    struct world_handoff *fetch = world_fetch(w, NODE, NULL, &options);
    struct frame f = {.type = FRAME_COMMITTED, .committed = {.fetch_id = fetch->id, .attempt = 3}};

    world_tell(w, wire, &f, BATON_CAUSE_NONE); /* while OPENING */
    f = (struct frame){.type = FRAME_ACCEPT,
                       .accept = {.fetch_id = fetch->id, .attempt = 3, .total = 100}};
    world_tell(w, other, &f, BATON_CAUSE_NONE);
    CHECK(fetch->outcomes == 0);
    CHECK(world_said(w, wire, &f) && f.type == FRAME_OPEN);
    f = (struct frame){.type = FRAME_ACCEPT,
                       .accept = {.fetch_id = fetch->id, .attempt = 3, .total = 100}};
    world_tell(w, wire, &f, BATON_CAUSE_NONE);
    f = (struct frame){.type = FRAME_ENDED, .ended = {.fetch_id = fetch->id, .attempt = 2}};
    world_tell(w, wire, &f, BATON_CAUSE_NONE);
    f = (struct frame){.type = FRAME_COMMITTED, .committed = {.fetch_id = fetch->id, .attempt = 3}};
    world_tell(w, wire, &f, BATON_CAUSE_NONE); /* while READING */
    f = (struct frame){.type = FRAME_WATERMARK,
                       .watermark = {.fetch_id = fetch->id, .attempt = 2, .watermark = 50}};
    world_tell(w, wire, &f, BATON_CAUSE_NONE);
    CHECK(fetch->outcomes == 0 && fetch->copies == 0);
    world_cancel(w, fetch, BATON_CANCEL_ATTEMPT);
    f.watermark.attempt = 3;
    world_tell(w, wire, &f, BATON_CAUSE_NONE);
    CHECK(fetch->copies == 0 && fetch->outcome == BATON_CANCELLED);
    world_run(w);
    world_check_empty(w);
    world_destroy(w);
}
