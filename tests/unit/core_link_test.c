/* SPDX-License-Identifier: Apache-2.0 */
/* Links: dial numbers, loss, and what waits to be said on a slow one. */
#include "core_world.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>

enum {
    NODE = 0,
    SINK = 0,
    SOURCE = 1,
    ONE = 0x31, /* puppets */
    TWO = 0x32,
    MANY = 10000,
};

static struct frame open_frame(const struct world_handoff *offer, uint32_t slot, uint64_t fetch)
{
    struct frame f = {.type = FRAME_OPEN,
                      .open = {.offer_id = offer->id, .fetch_id = fetch, .slot = slot}};

    world_secret(offer, slot, f.open.secret);
    return f;
}

static bool is_up(const struct world *w, int node, uint32_t link)
{
    struct core_link_view view;

    core_link_view(w->nodes[node].core, link, &view);
    return view.up;
}

/* A dial number that is not above the highest seen of that incarnation is refused, also after its
 * link has gone; another incarnation has numbers of its own. */
TEST(dial_numbers_only_rise)
{
    struct world *w = world_create(&(struct world_options){.nodes = 1});
    struct core_counts counts;
    int first = world_puppet_sink(w, NODE, ONE, 5);
    uint32_t link = w->wires[first].link[WORLD_SOURCE];

    CHECK(first >= 0 && is_up(w, NODE, link));
    CHECK(world_puppet_sink(w, NODE, ONE, 5) < 0);
    CHECK(world_puppet_sink(w, NODE, ONE, 4) < 0);
    CHECK(is_up(w, NODE, link));
    CHECK(world_puppet_sink(w, NODE, TWO, 1) >= 0);
    world_event(w, NODE,
                &(struct core_event){.type = CORE_EVENT_LINK_LOST,
                                     .link = link,
                                     .lost.cause = BATON_CAUSE_PEER_DIED});
    CHECK(world_puppet_sink(w, NODE, ONE, 5) < 0);
    CHECK(world_puppet_sink(w, NODE, ONE, 0) < 0);
    CHECK(world_puppet_sink(w, NODE, ONE, UINT64_MAX) >= 0);
    CHECK(world_puppet_sink(w, NODE, ONE, UINT64_MAX) < 0);
    world_counts(w, NODE, &counts);
    CHECK(counts.links_made == 3 && counts.links_refused == 5 && counts.links_lost == 1);
    world_destroy(w);
}

/* A newer link closes the older one first: what was leased there is free before the new link's
 * first frame, and the older link's words go nowhere. */
TEST(newer_link_closes_older_first)
{
    struct world *w = world_create(&(struct world_options){.nodes = 1});
    struct world_handoff *offer = world_offer(w, NODE, &(struct world_offer_options){0});
    int first = world_puppet_sink(w, NODE, ONE, 1), second;
    uint32_t link = w->wires[first].link[WORLD_SOURCE];
    struct frame f = open_frame(offer, 0, 7);
    struct core_slot_view slot;

    world_tell(w, first, &f, BATON_CAUSE_NONE);
    second = world_puppet_sink(w, NODE, ONE, 2);
    world_slot(w, offer, 0, &slot);
    CHECK(second >= 0 && slot.stage == BATON_STAGE_OFFERED);
    CHECK(!is_up(w, NODE, link) && w->nodes[NODE].wire_of[link] == -1);
    CHECK(world_said(w, first, &f) && f.type == 0); /* closed, no ACCEPT */
    f = open_frame(offer, 0, 7); /* the older link's frame once more: its fetch is over */
    world_tell(w, second, &f, BATON_CAUSE_NONE);
    CHECK(!world_said(w, second, &f));
    f = open_frame(offer, 0, 8);
    world_tell(w, second, &f, BATON_CAUSE_NONE);
    CHECK(world_said(w, second, &f) && f.type == FRAME_ACCEPT && f.accept.attempt == 2);
    world_cancel(w, offer, BATON_CANCEL_OFFER);
    CHECK(world_said(w, second, &f) && f.type == FRAME_ENDED);
    world_check_empty(w);
    world_destroy(w);
}

/* The records of incarnations are few; those without a link are used again, the oldest first, so
 * what was seen last is still known. */
TEST(peer_records_are_reused)
{
    struct world *w = world_create(&(struct world_options){.nodes = 1});
    int keep = world_puppet_sink(w, NODE, 1, 9), last = -1;

    for (unsigned who = 2; who < 200; who++) {
        last = world_puppet_sink(w, NODE, (uint8_t)who, 9);
        CHECK(last >= 0);
        CHECK(world_puppet_sink(w, NODE, (uint8_t)who, 9) < 0);
        world_event(w, NODE,
                    &(struct core_event){.type = CORE_EVENT_LINK_LOST,
                                         .link = w->wires[last].link[WORLD_SOURCE],
                                         .lost.cause = BATON_CAUSE_LINK_CLOSED});
    }
    CHECK(world_puppet_sink(w, NODE, 199, 9) < 0);
    CHECK(world_puppet_sink(w, NODE, 198, 9) < 0);
    CHECK(world_puppet_sink(w, NODE, 1, 9) < 0); /* its link has lived all the time */
    CHECK(is_up(w, NODE, w->wires[keep].link[WORLD_SOURCE]));
    world_destroy(w);
}

/* What a record is used for, also a refusal, makes it young again. */
TEST(peer_that_comes_again_is_remembered)
{
    struct world *w = world_create(&(struct world_options){.nodes = 1});
    unsigned who = 2, refusals = 0;

    for (unsigned i = 0; i < 20; i++) {
        int last = world_puppet_sink(w, NODE, (uint8_t)(i ? who++ : 1), 9);

        CHECK(last >= 0);
        world_event(w, NODE,
                    &(struct core_event){.type = CORE_EVENT_LINK_LOST,
                                         .link = w->wires[last].link[WORLD_SOURCE],
                                         .lost.cause = BATON_CAUSE_LINK_CLOSED});
        refusals += i % 5 == 4 && world_puppet_sink(w, NODE, 1, 9) < 0;
    }
    CHECK(refusals == 4);
    world_destroy(w);
}

/* Two engines that are both to each other have two links, independent of one another. */
TEST(both_directions_are_independent)
{
    struct world *w = world_create(&(struct world_options){.seed = 3});
    const struct world_offer_options whole = {.watermark = UINT64_MAX};
    struct world_handoff *offers[2], *fetches[2];

    for (int i = 0; i < 2; i++) {
        offers[i] = world_offer(w, i, &whole);
    }
    for (int i = 0; i < 2; i++) {
        fetches[i] = world_fetch(w, i, offers[!i], &(struct world_fetch_options){0});
    }
    world_steps(w, 9);
    world_cut(w, 0, 1);
    world_run(w);
    CHECK(fetches[0]->outcome == BATON_LINK_LOST && fetches[1]->outcome == BATON_COMPLETED);
    CHECK(offers[0]->outcome == BATON_COMPLETED && offers[1]->outcomes == 0);
    world_cancel(w, offers[1], BATON_CANCEL_OFFER);
    world_check_empty(w);
    world_destroy(w);
}

/* A dial that fails ends the fetches that waited for it; they never said anything. */
TEST(dial_that_fails)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *offer = world_offer(w, SOURCE, &(struct world_offer_options){0});
    struct world_handoff *fetch[3];
    const baton_cause causes[3] = {BATON_CAUSE_UNREACHABLE, BATON_CAUSE_INCARNATION,
                                   BATON_CAUSE_BUSY};

    for (int i = 0; i < 3; i++) {
        struct core_event lost = {.type = CORE_EVENT_LINK_LOST, .lost.cause = causes[i]};

        fetch[0] = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});
        fetch[1] = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});
        fetch[2] = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});
        world_cancel(w, fetch[1], BATON_CANCEL_OFFER); /* can not be told any more */
        world_cancel(w, fetch[2], BATON_CANCEL_ATTEMPT);
        CHECK(fetch[1]->forgets == 0 && fetch[2]->forgets == 1);
        lost.link = (uint32_t)core_link_to(w->nodes[SINK].core, w->nodes[SOURCE].incarnation);
        world_event(w, SINK, &lost);
        CHECK(fetch[0]->outcome == (i ? BATON_REFUSED : BATON_LINK_LOST));
        CHECK(fetch[0]->cause == causes[i] && fetch[0]->proof == BATON_PROOF_NEVER_EXPOSED);
        CHECK(fetch[1]->outcome == BATON_CANCELLED && fetch[1]->forgets == 1);
    }
    world_cancel(w, offer, BATON_CANCEL_OFFER);
    world_run(w);
    world_check_empty(w);
    world_destroy(w);
}

/* Room on a link that is still being dialled: OPEN waits for the welcome. */
TEST(nothing_is_said_before_the_welcome)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *offer =
        world_offer(w, SOURCE, &(struct world_offer_options){.watermark = UINT64_MAX});
    struct world_handoff *fetch = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});
    struct core_event room = {.type = CORE_EVENT_LINK_ROOM};

    room.link = (uint32_t)core_link_to(w->nodes[SINK].core, w->nodes[SOURCE].incarnation);
    CHECK(!is_up(w, SINK, room.link));
    world_event(w, SINK, &room);
    CHECK(w->actions.count == 0);
    world_run(w);
    CHECK(fetch->outcome == BATON_COMPLETED);
    world_check_empty(w);
    world_destroy(w);
}

/* A link stands once and is lost once: what its driver says again, or too late, changes nothing. */
TEST(link_stands_once_and_is_lost_once)
{
    struct world *w = world_create(&(struct world_options){.nodes = 1});
    int wire = world_puppet_source(w, NODE, ONE);
    const struct core_event up = {.type = CORE_EVENT_LINK_UP,
                                  .link = w->wires[wire].link[WORLD_SINK]};
    const struct core_event lost = {
        .type = CORE_EVENT_LINK_LOST, .link = up.link, .lost.cause = BATON_CAUSE_PROTOCOL};
    struct core_counts counts;

    world_event(w, NODE, &up);
    CHECK(w->actions.count == 0 && is_up(w, NODE, up.link));
    world_event(w, NODE, &lost);
    CHECK(w->actions.count > 0 && !is_up(w, NODE, up.link));
    world_event(w, NODE, &lost);
    CHECK(w->actions.count == 0);
    world_event(w, NODE, &up);
    CHECK(w->actions.count == 0 && !is_up(w, NODE, up.link));
    world_counts(w, NODE, &counts);
    CHECK(counts.links_made == 1 && counts.links_lost == 1);
    CHECK(counts.protocol_errors == 1 && counts.late == 2);
    world_destroy(w);
}

/* A fetch without any link ends at once. */
TEST(fetch_without_link)
{
    struct core_limits limits = {.offers = 1,
                                 .fetches = 2,
                                 .links = 1,
                                 .slots = 1,
                                 .replies = 2,
                                 .windows = 1,
                                 .windows_per_fetch = 1,
                                 .window_bytes = 1,
                                 .first_attempt = 1};
    struct core *core = core_init(malloc(core_state_bytes(&limits)), &limits);
    struct core_actions actions;
    struct core_event event = {.type = CORE_EVENT_FETCH,
                               .fetch = {.index = 1,
                                         .id = UINT64_MAX << CORE_INDEX_BITS | 1,
                                         .link = CORE_NO_LINK,
                                         .end = 9,
                                         .total = 9}};
    const enum core_action_type types[] = {CORE_ACTION_TRACE, CORE_ACTION_OUTCOME,
                                           CORE_ACTION_TRACE, CORE_ACTION_QUIET,
                                           CORE_ACTION_FORGET};

    CHECK(!core_step(core, &event, 0, &actions) && actions.count == 5);
    for (uint32_t i = 0; i < 5; i++) {
        CHECK(actions.list[i].type == types[i]);
    }
    CHECK(actions.list[1].outcome.outcome == BATON_LINK_LOST);
    CHECK(actions.list[1].outcome.cause == BATON_CAUSE_UNREACHABLE);
    CHECK(core_deadline(core) == CORE_NEVER);
    core_check(core);
    free(core);
}

/* A frame that is not for this side is a breach of the protocol. */
TEST(frames_of_the_wrong_side_close_the_link)
{
    const enum frame_type to_source[] = {FRAME_ACCEPT, FRAME_REFUSED,   FRAME_WATERMARK,
                                         FRAME_ENDED,  FRAME_COMMITTED, FRAME_HELLO};
    const enum frame_type to_sink[] = {FRAME_OPEN, FRAME_COMMIT, FRAME_CANCEL, FRAME_HELLO};
    struct core_counts counts;

    for (size_t i = 0; i < 10; i++) {
        struct world *w = world_create(&(struct world_options){.nodes = 1});
        int wire = i < 6 ? world_puppet_sink(w, NODE, ONE, 1) : world_puppet_source(w, NODE, ONE);
        struct frame f = {.type = i < 6 ? to_source[i] : to_sink[i - 6]};

        world_tell(w, wire, &f, BATON_CAUSE_NONE);
        CHECK(world_said(w, wire, &f) && f.type == 0);
        world_counts(w, NODE, &counts);
        CHECK(counts.protocol_errors == 1 && counts.links_lost == 1);
        world_check_empty(w);
        world_destroy(w);
    }
}

static struct world *many(unsigned nodes)
{
    return world_create(&(struct world_options){.nodes = nodes,
                                                .check_every = 5000,
                                                .limits = {.offers = MANY,
                                                           .fetches = MANY,
                                                           .slots = 1,
                                                           .windows = 64,
                                                           .inflight_bytes = 64 * 40}});
}

/* Ten thousand handoffs on one link that breaks: each side ends all of them, a bounded number of
 * actions at a time, and every offer is free for the next reader. */
TEST(many_handoffs_on_a_lost_link)
{
    struct world *w = many(2);
    struct world_handoff **offers = calloc(MANY, sizeof(*offers));
    struct core_link_view view;
    uint64_t steps;

    for (unsigned i = 0; i < MANY; i++) {
        offers[i] = world_offer(w, SOURCE, &(struct world_offer_options){.watermark = 90});
        world_fetch(w, SINK, offers[i], &(struct world_fetch_options){0});
    }
    world_steps(w, 5 * MANY);
    core_link_view(w->nodes[SINK].core, 0, &view);
    CHECK(view.handoffs == MANY);
    steps = w->steps;
    world_cut(w, SINK, SOURCE);
    CHECK(w->steps - steps >= 2 * MANY / CORE_ACTIONS_MAX);
    for (const struct world_handoff *h = w->handoffs; h; h = h->next) {
        CHECK(h->side == CORE_OFFER ? h->outcomes == 0 : h->outcome == BATON_LINK_LOST);
    }
    for (unsigned i = 0; i < MANY; i++) {
        world_cancel(w, offers[i], BATON_CANCEL_OFFER);
    }
    world_run(w);
    world_check_empty(w);
    world_destroy(w);
    free(offers);
}

/* Ten thousand words that have lost their sense before the link could take them. */
TEST(many_words_without_sense)
{
    struct world *w = many(1);
    int wire = world_puppet_source(w, NODE, ONE);
    const struct world_fetch_options options = {.wire = wire, .offer_id = 5, .total = 100};
    struct world_handoff **fetches = calloc(MANY, sizeof(*fetches));
    struct frame f;
    unsigned cancels = 0;

    for (unsigned i = 0; i < MANY; i++) {
        fetches[i] = world_fetch(w, NODE, NULL, &options);
    }
    for (unsigned i = 0; i < MANY; i++) {
        world_cancel(w, fetches[i], BATON_CANCEL_OFFER);
    }
    while (world_said(w, wire, &f)) {
        cancels += f.type == FRAME_CANCEL;
        CHECK(f.type == FRAME_CANCEL);
    }
    CHECK(cancels == MANY);
    world_check_empty(w);
    world_destroy(w);
    free(fetches);
}

/* Readers that end their offers before ACCEPT left: each word that has lost its sense takes a
 * record with it, more of them than one step tells, and the word behind them is said all the same.
 */
TEST(many_records_end_with_their_words)
{
    enum { OFFERS = 40 };
    struct world *w = world_create(&(struct world_options){.nodes = 1, .limits.offers = OFFERS});
    int wire = world_puppet_sink(w, NODE, ONE, 1);
    const struct core_event room = {.type = CORE_EVENT_LINK_ROOM,
                                    .link = w->wires[wire].link[WORLD_SOURCE]};
    struct core_gauges gauges;
    struct frame f;

    for (uint64_t i = 0; i < OFFERS; i++) {
        struct world_handoff *offer = world_offer(w, NODE, &(struct world_offer_options){0});

        f = open_frame(offer, 0, 7 + i);
        world_tell(w, wire, &f, BATON_CAUSE_NONE);
        f = (struct frame){.type = FRAME_CANCEL,
                           .cancel = {.offer_id = offer->id,
                                      .fetch_id = 7 + i,
                                      .scope = BATON_CANCEL_OFFER,
                                      .cause = BATON_CAUSE_CANCEL}};
        world_secret(offer, 0, f.cancel.secret);
        world_tell(w, wire, &f, BATON_CAUSE_NONE);
        CHECK(offer->quiets == 1 && offer->forgets == 0);
    }
    f = (struct frame){.type = FRAME_PING};
    world_tell(w, wire, &f, BATON_CAUSE_NONE);
    world_event(w, NODE, &room);
    world_gauges(w, NODE, &gauges);
    CHECK(gauges.offers > 0 && gauges.offers < OFFERS);
    CHECK(w->actions.list[w->actions.count - 1].type == CORE_ACTION_FLUSH);
    CHECK(world_said(w, wire, &f) && f.type == FRAME_PONG && !world_said(w, wire, &f));
    world_check_empty(w);
    world_destroy(w);
}

/* A reader that does not take its answers is not read until it does, and no answer is lost. */
TEST(full_replies_stop_reading)
{
    struct world *w = world_create(&(struct world_options){.nodes = 1});
    struct world_handoff *offer = world_offer(w, NODE, &(struct world_offer_options){0});
    int wire = world_puppet_sink(w, NODE, ONE, 1);
    struct core *core = w->nodes[NODE].core;
    uint32_t link = w->wires[wire].link[WORLD_SOURCE];
    uint64_t told = 0, heard = 0;
    struct frame f;

    while (core_link_reads(core, link) && told < 100) {
        f = open_frame(offer, 0, ++told);
        f.open.offer_id = 999;
        world_tell(w, wire, &f, BATON_CAUSE_NONE);
    }
    CHECK(told == 3); /* of 4: one is kept for the last word of a lease */
    CHECK(world_said(w, wire, &f) && f.type == FRAME_REFUSED && f.refused.fetch_id == ++heard);
    CHECK(core_link_reads(core, link));
    f = (struct frame){.type = FRAME_PING};
    world_tell(w, wire, &f, BATON_CAUSE_NONE);
    CHECK(core_link_reads(core, link)); /* a pong takes no place */
    while (world_said(w, wire, &f)) {
        CHECK(heard < told ? f.type == FRAME_REFUSED && f.refused.fetch_id == heard + 1
                           : f.type == FRAME_PONG);
        heard++;
    }
    CHECK(heard == told + 1 && core_link_reads(core, link));
    world_cancel(w, offer, BATON_CANCEL_OFFER);
    world_check_empty(w);
    world_destroy(w);
}

/* The slot is leased anew while the former reader has not yet heard of its lease's end: it hears of
 * it all the same, on the same link or on another. */
TEST(displaced_word_is_not_lost)
{
    for (int other = 0; other < 2; other++) {
        struct world *w = world_create(&(struct world_options){.nodes = 1, .twice = true});
        struct world_handoff *offer =
            world_offer(w, NODE, &(struct world_offer_options){.watermark = 100, .lease_ms = 50});
        int first = world_puppet_sink(w, NODE, ONE, 1);
        int second = other ? world_puppet_sink(w, NODE, TWO, 1) : first;
        struct frame f = open_frame(offer, 0, 7);

        world_tell(w, first, &f, BATON_CAUSE_NONE);
        CHECK(world_said(w, first, &f) && f.type == FRAME_ACCEPT);
        world_after_ms(w, 50);
        f = open_frame(offer, 0, 8);
        world_tell(w, second, &f, BATON_CAUSE_NONE);
        CHECK(world_said(w, first, &f) && f.type == FRAME_ENDED);
        CHECK(f.ended.fetch_id == 7 && f.ended.attempt == 1 &&
              f.ended.cause == BATON_CAUSE_CLOCK_LEASE);
        CHECK(world_said(w, second, &f) && f.type == FRAME_ACCEPT && f.accept.attempt == 2);
        world_cancel(w, offer, BATON_CANCEL_OFFER);
        CHECK(world_said(w, second, &f) && f.type == FRAME_ENDED);
        world_check_empty(w);
        world_destroy(w);
    }
}

/* The word that is displaced says why, as it would have done in time: this reader lied. */
TEST(displaced_word_keeps_its_cause)
{
    struct world *w = world_create(&(struct world_options){.nodes = 1, .twice = true});
    struct world_handoff *offer =
        world_offer(w, NODE, &(struct world_offer_options){.watermark = 50});
    int first = world_puppet_sink(w, NODE, ONE, 1), second = world_puppet_sink(w, NODE, TWO, 1);
    struct frame f = open_frame(offer, 0, 7);

    world_tell(w, first, &f, BATON_CAUSE_NONE);
    CHECK(world_said(w, first, &f) && f.type == FRAME_ACCEPT);
    f = (struct frame){.type = FRAME_COMMIT,
                       .commit = {.offer_id = offer->id, .fetch_id = 7, .attempt = 1}};
    world_tell(w, first, &f, BATON_CAUSE_NONE);
    f = open_frame(offer, 0, 8);
    world_tell(w, second, &f, BATON_CAUSE_NONE);
    CHECK(world_said(w, first, &f) && f.type == FRAME_ENDED && f.ended.fetch_id == 7);
    CHECK(f.ended.attempt == 1 && f.ended.cause == BATON_CAUSE_EARLY);
    world_cancel(w, offer, BATON_CANCEL_OFFER);
    while (world_said(w, second, &f)) {
    }
    world_check_empty(w);
    world_destroy(w);
}

/* A reader so slow that there is no room even for that word loses its link, which says the same. */
TEST(displaced_word_without_room_closes_the_link)
{
    struct world *w = world_create(&(struct world_options){.nodes = 1, .limits.offers = 8});
    int slow = world_puppet_sink(w, NODE, ONE, 1), quick = world_puppet_sink(w, NODE, TWO, 1);
    struct world_handoff *offers[5];
    struct core_slot_view slot;
    struct frame f;

    for (uint64_t i = 0; i < 5; i++) {
        offers[i] =
            world_offer(w, NODE, &(struct world_offer_options){.watermark = 100, .lease_ms = 50});
        f = open_frame(offers[i], 0, 10 + i);
        world_tell(w, slow, &f, BATON_CAUSE_NONE);
    }
    world_after_ms(w, 50);
    for (uint64_t i = 0; i < 5; i++) {
        CHECK(is_up(w, NODE, w->wires[slow].link[WORLD_SOURCE]));
        f = open_frame(offers[i], 0, 20 + i);
        world_tell(w, quick, &f, BATON_CAUSE_NONE);
        world_slot(w, offers[i], 0, &slot);
        CHECK(slot.stage == BATON_STAGE_LEASED && slot.attempt == 6 + i);
    }
    CHECK(w->wires[slow].link[WORLD_SOURCE] == CORE_NO_LINK);
    for (uint64_t i = 0; i < 5; i++) {
        CHECK(world_said(w, quick, &f) && f.type == FRAME_ACCEPT && f.accept.fetch_id == 20 + i);
        world_cancel(w, offers[i], BATON_CANCEL_OFFER);
    }
    while (world_said(w, quick, &f)) {
        CHECK(f.type == FRAME_ENDED);
    }
    world_check_empty(w);
    world_destroy(w);
}

/* Words leave in the order in which they were first set, and are built from the state at that time:
 * of a lease that has ended before ACCEPT left, only the end is told. */
TEST(words_are_built_when_they_leave)
{
    struct world *w = world_create(&(struct world_options){.nodes = 1});
    struct world_handoff *offers[2];
    int wire = world_puppet_sink(w, NODE, ONE, 1);
    struct frame f;

    for (uint64_t i = 0; i < 2; i++) {
        offers[i] = world_offer(w, NODE, &(struct world_offer_options){0});
        f = open_frame(offers[i], 0, 7 + i);
        world_tell(w, wire, &f, BATON_CAUSE_NONE);
    }
    world_advance(w, offers[1], 70);
    world_cancel(w, offers[0], BATON_CANCEL_OFFER);
    CHECK(offers[0]->quiets == 1 && offers[0]->forgets == 0);
    CHECK(world_said(w, wire, &f) && f.type == FRAME_ACCEPT && f.accept.fetch_id == 8);
    CHECK(f.accept.watermark == 70);
    CHECK(world_said(w, wire, &f) && f.type == FRAME_ENDED && f.ended.fetch_id == 7);
    CHECK(offers[0]->forgets == 1 && !world_said(w, wire, &f));
    world_cancel(w, offers[1], BATON_CANCEL_OFFER);
    CHECK(world_said(w, wire, &f) && f.type == FRAME_ENDED);
    world_check_empty(w);
    world_destroy(w);
}
