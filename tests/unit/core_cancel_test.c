/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every way to end a handoff, at every step of its life, in many orders.  The world checks what
 * must hold at each step: one outcome and one quiet, in this order, never while something is at
 * work, and nothing completed that its source has not committed.
 */
#include "core_world.h"
#include "test.h"

enum {
    SINK = 0,
    SOURCE = 1,
    SEEDS = 24,
    STEPS_MAX = 120,
    TOTAL = 200,
};

/* The watermark rises in three moves, each of which happens after some steps. */
struct story {
    struct world *world;
    struct world_handoff *offer, *fetch;
    unsigned steps;
};

typedef void (*act_fn)(struct story *story);

static struct story begin(uint64_t seed)
{
    struct story s = {.steps = 0};
    const struct world_options options = {.seed = seed,
                                          .streams = seed % 2 == 1,
                                          .exported = seed % 2 == 0,
                                          .twice = seed % 3 == 0,
                                          .first_serial = (UINT64_C(1) << 44) - 8,
                                          .limits = {.first_attempt = UINT64_MAX - 3}};
    const struct world_offer_options offer = {.total = TOTAL, .watermark = 50};

    s.world = world_create(&options);
    s.offer = world_offer(s.world, SOURCE, &offer);
    s.fetch = world_fetch(s.world, SINK, s.offer, &(struct world_fetch_options){.begin = 10});
    return s;
}

static bool go(struct story *s)
{
    s->steps++;
    if (s->steps == 12) {
        world_advance(s->world, s->offer, 120);
    } else if (s->steps == 24) {
        world_advance(s->world, s->offer, UINT64_MAX);
    }
    return world_step(s->world) || s->steps < 24;
}

/* To the end of everything; an offer that nobody has ended is cancelled last. */
static void finish(struct story *s)
{
    while (go(s)) {
    }
    CHECK(s->fetch->outcomes == 1);
    world_cancel(s->world, s->offer, BATON_CANCEL_OFFER);
    world_run(s->world);
    CHECK(world_over(s->fetch) && world_over(s->offer));
    world_check_empty(s->world);
    world_destroy(s->world);
}

/* The story is told again and again, and `act` comes one step later each time. */
static void act_at_each_step(act_fn act, uint64_t seed)
{
    bool ended = false;

    for (unsigned at = 0; at < STEPS_MAX && !ended; at++) {
        struct story s = begin(seed);

        while (s.steps < at) {
            go(&s);
        }
        ended = s.fetch->forgets == 1 && s.offer->forgets == 1;
        act(&s);
        finish(&s);
    }
    CHECK(ended);
}

static void act_in_many_orders(act_fn act)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        act_at_each_step(act, seed);
    }
}

/* Without any trouble both ends complete, and each has a proof that says how. */
TEST(whole_handoff_completes)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct story s = begin(seed);

        while (go(&s)) {
        }
        CHECK(s.fetch->outcome == BATON_COMPLETED && s.offer->outcome == BATON_COMPLETED);
        CHECK(s.fetch->cause == BATON_CAUSE_NONE && s.fetch->stage == BATON_STAGE_COMMITTING);
        CHECK(s.fetch->proof == BATON_PROOF_LOCAL_DRAIN && s.fetch->landed == TOTAL - 10);
        CHECK(s.offer->proof == (seed % 2 ? BATON_PROOF_LOCAL_DRAIN : BATON_PROOF_PEER_DRAIN));
        CHECK(s.fetch->attempts == 1 && s.offer->attempts == 1);
        CHECK(s.fetch->last_attempt == UINT64_MAX - 3);
        CHECK(s.offer->committed[0] == UINT64_MAX - 3);
        finish(&s);
    }
}

static void sink_cancels_attempt(struct story *s)
{
    bool undecided = s->fetch->outcomes == 0;

    world_cancel(s->world, s->fetch, BATON_CANCEL_ATTEMPT);
    CHECK(!undecided || s->fetch->outcome == BATON_CANCELLED);
    /* No message, clock or peer is waited for. */
    CHECK(s->fetch->copies > 0 || s->fetch->quiets == 1);
}

/* The sink cancels its fetch only, at any step. */
TEST(sink_cancels_attempt_at_any_step)
{
    act_in_many_orders(sink_cancels_attempt);
}

static void sink_cancels_and_fetches_again(struct story *s)
{
    struct world_handoff *again;

    world_cancel(s->world, s->fetch, BATON_CANCEL_ATTEMPT);
    if (s->offer->outcomes > 0) {
        return;
    }
    again = world_fetch(s->world, SINK, s->offer, &(struct world_fetch_options){.begin = 10});
    while (go(s)) {
    }
    CHECK(world_over(again));
    /* The former may have been committed although its sink had cancelled. */
    CHECK(again->outcome == BATON_COMPLETED ||
          (again->outcome == BATON_REFUSED && s->offer->committed[0] == UINT64_MAX - 3));
}

/* After a cancel of the attempt the next fetch gets the offer, without waiting. */
TEST(next_fetch_after_cancel_at_any_step)
{
    act_in_many_orders(sink_cancels_and_fetches_again);
}

static void sink_cancels_request(struct story *s)
{
    bool undecided = s->fetch->outcomes == 0;

    world_cancel(s->world, s->fetch, BATON_CANCEL_OFFER);
    while (go(s)) {
    }
    CHECK(!undecided || s->fetch->outcome == BATON_CANCELLED);
    CHECK(s->offer->outcome == BATON_COMPLETED || s->offer->outcome == BATON_PEER_CANCELLED);
    CHECK(s->offer->outcome == BATON_COMPLETED || s->offer->cause == BATON_CAUSE_CANCEL);
    CHECK(world_over(s->offer)); /* law 10: the peer was told */
}

/* The request is over at the sink, at any step: the source hears of it and ends, too. */
TEST(sink_cancels_request_at_any_step)
{
    act_in_many_orders(sink_cancels_request);
}

static void source_cancels(struct story *s)
{
    bool undecided = s->offer->outcomes == 0;

    world_cancel(s->world, s->offer, BATON_CANCEL_OFFER);
    CHECK(!undecided || s->offer->outcome == BATON_CANCELLED);
    CHECK(s->offer->serves > 0 || s->offer->quiets == 1);
    CHECK(!undecided || s->offer->quiets == 0 || s->offer->proof != BATON_PROOF_NONE);
    while (go(s)) {
    }
    CHECK(s->fetch->outcome == (s->offer->committed[0] ? BATON_COMPLETED : BATON_PEER_CANCELLED) ||
          s->fetch->outcome == BATON_REFUSED);
    CHECK(s->fetch->outcome != BATON_REFUSED || s->fetch->cause == BATON_CAUSE_GONE);
}

/* The source revokes at any step: nothing that is read afterwards is ever committed. */
TEST(source_cancels_at_any_step)
{
    act_in_many_orders(source_cancels);
}

static void both_cancel(struct story *s)
{
    world_cancel(s->world, s->offer, BATON_CANCEL_OFFER);
    world_cancel(s->world, s->fetch, s->steps % 2 ? BATON_CANCEL_OFFER : BATON_CANCEL_ATTEMPT);
    CHECK(s->fetch->outcomes == 1 && s->offer->outcomes == 1);
    /* Twice, and after the end: inert. */
    world_cancel(s->world, s->offer, BATON_CANCEL_OFFER);
    world_cancel(s->world, s->fetch, BATON_CANCEL_OFFER);
}

/* Both sides cancel before they hear of one another. */
TEST(both_cancel_at_any_step)
{
    act_in_many_orders(both_cancel);
}

static void link_breaks(struct story *s)
{
    struct core_slot_view slot;
    bool undecided = s->fetch->outcomes == 0;

    world_cut(s->world, SINK, SOURCE);
    CHECK(s->fetch->outcomes == 1 && (!undecided || s->fetch->outcome == BATON_LINK_LOST));
    CHECK(!undecided || s->fetch->cause == BATON_CAUSE_LINK_CLOSED);
    CHECK(s->fetch->copies > 0 || s->fetch->quiets == 1);
    if (s->offer->outcomes == 0) { /* another can come at once */
        world_slot(s->world, s->offer, 0, &slot);
        CHECK(slot.stage == BATON_STAGE_OFFERED);
        sink_cancels_and_fetches_again(s);
    }
}

/* Both ends lose the link at any step: both decide by themselves, and a new fetch goes on. */
TEST(link_loss_at_any_step)
{
    act_in_many_orders(link_breaks);
}

static void dialled_anew(struct story *s)
{
    bool undecided = s->fetch->outcomes == 0;

    world_redial(s->world, SINK, SOURCE);
    CHECK(!undecided || s->fetch->outcome == BATON_LINK_LOST);
    if (s->offer->outcomes == 0) {
        sink_cancels_and_fetches_again(s);
    }
}

/* The sink dials anew at any step, before the source has seen the end of the older link: that one
 * is closed first, and what was leased on it can be leased to the next fetch. */
TEST(newer_link_at_any_step)
{
    act_in_many_orders(dialled_anew);
}

static void cancel_then_cut(struct story *s)
{
    world_cancel(s->world, s->fetch, BATON_CANCEL_OFFER);
    world_steps(s->world, 2);
    world_cut(s->world, SINK, SOURCE);
    CHECK(s->fetch->copies > 0 || s->fetch->forgets == 1);
}

/* The link breaks while the cancel is on its way: nobody waits for it. */
TEST(link_loss_after_cancel_at_any_step)
{
    act_in_many_orders(cancel_then_cut);
}

/* Two readers, one that completes and one that is cancelled at any step: the other is not hurt, and
 * the offer waits for another reader of the second slot. */
TEST(cancel_of_one_of_two_readers_at_any_step)
{
    for (unsigned at = 0; at < STEPS_MAX; at++) {
        struct world *w = world_create(&(struct world_options){.seed = at, .nodes = 3});
        const struct world_offer_options two = {.slots = 2, .watermark = UINT64_MAX};
        struct world_handoff *offer = world_offer(w, 2, &two), *fetch[3];

        fetch[0] = world_fetch(w, 0, offer, &(struct world_fetch_options){.slot = 0});
        fetch[1] = world_fetch(w, 1, offer, &(struct world_fetch_options){.slot = 1});
        world_steps(w, at);
        world_cancel(w, fetch[1], BATON_CANCEL_ATTEMPT);
        world_run(w);
        CHECK(fetch[0]->outcome == BATON_COMPLETED);
        if (offer->outcomes == 0) {
            fetch[2] = world_fetch(w, 0, offer, &(struct world_fetch_options){.slot = 1});
            world_run(w);
            CHECK(fetch[2]->outcome == BATON_COMPLETED);
        }
        CHECK(offer->outcome == BATON_COMPLETED);
        world_check_empty(w);
        world_destroy(w);
    }
}

/* Why it was cancelled is said at both ends, by whichever it was: here an engine that closes. */
TEST(cause_of_a_cancel_is_told_at_both_ends)
{
    for (int at = SINK; at <= SOURCE; at++) {
        struct world *w = world_create(&(struct world_options){0});
        struct world_handoff *offer = world_offer(w, SOURCE, &(struct world_offer_options){0});
        struct world_handoff *fetch = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});
        struct core_event closing = {.type = CORE_EVENT_CANCEL};

        closing.cancel.side = at == SINK ? CORE_FETCH : CORE_OFFER;
        closing.cancel.id = at == SINK ? fetch->id : offer->id;
        closing.cancel.scope = BATON_CANCEL_OFFER;
        closing.cancel.cause = BATON_CAUSE_CLOSING;
        world_run(w);
        world_event(w, at, &closing);
        world_run(w);
        CHECK(fetch->outcome == (at == SINK ? BATON_CANCELLED : BATON_PEER_CANCELLED));
        CHECK(offer->outcome == (at == SINK ? BATON_PEER_CANCELLED : BATON_CANCELLED));
        CHECK(fetch->cause == BATON_CAUSE_CLOSING && offer->cause == BATON_CAUSE_CLOSING);
        world_check_empty(w);
        world_destroy(w);
    }
}

/* Movers that are still at work at the end: quiet waits for each of them, the outcome for none. */
TEST(quiet_waits_for_movers)
{
    struct world *w = world_create(&(struct world_options){.streams = true});
    struct world_handoff *offer =
        world_offer(w, SOURCE, &(struct world_offer_options){.watermark = UINT64_MAX});
    struct world_handoff *fetch = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});

    while (offer->serves == 0) {
        world_step(w);
    }
    w->nodes[SINK].idle = w->nodes[SOURCE].idle = true;
    world_cancel(w, offer, BATON_CANCEL_OFFER);
    CHECK(offer->outcomes == 1 && offer->quiets == 0);
    world_run(w);
    CHECK(fetch->outcome == BATON_PEER_CANCELLED && fetch->stopped && fetch->quiets == 0);
    CHECK(offer->quiets == 0);
    w->nodes[SOURCE].idle = false;
    world_run(w);
    CHECK(offer->quiets == 1 && offer->proof == BATON_PROOF_LOCAL_DRAIN && fetch->quiets == 0);
    w->nodes[SINK].idle = false;
    world_run(w);
    world_check_empty(w);
    world_destroy(w);
}
