/* SPDX-License-Identifier: Apache-2.0 */
/* The clocks of the core: each starts an attempt, none of them frees anything. */
#include "core_world.h"
#include "test.h"

enum {
    SINK = 0,
    SOURCE = 1,
    PEER = 0x77, /* a puppet */
    ATTEMPT = 5,
};

static struct frame accept_frame(const struct world_handoff *fetch, uint64_t watermark)
{
    return (struct frame){
        .type = FRAME_ACCEPT,
        .accept = {
            .fetch_id = fetch->id, .attempt = ATTEMPT, .watermark = watermark, .total = 100}};
}

static struct frame watermark_frame(const struct world_handoff *fetch, uint64_t watermark)
{
    return (struct frame){
        .type = FRAME_WATERMARK,
        .watermark = {.fetch_id = fetch->id, .attempt = ATTEMPT, .watermark = watermark}};
}

/* A fetch from a puppet, of bytes 0..100 but for what the options say. */
static struct world_handoff *fetch_from_puppet(struct world *w, struct world_fetch_options options)
{
    options.wire = world_puppet_source(w, SINK, PEER);
    options.offer_id = 1;
    options.total = 100;
    return world_fetch(w, SINK, NULL, &options);
}

static bool timed_out(const struct world_handoff *h, baton_cause cause)
{
    return h->outcomes == 1 && h->outcome == BATON_TIMED_OUT && h->cause == cause;
}

/* What is said on the wire of the fetch is a cancel of its attempt, and nothing else. */
static bool says_cancel(struct world *w, const struct world_handoff *fetch, uint64_t attempt)
{
    struct frame f, none;

    return world_said(w, fetch->wire, &f) && f.type == FRAME_CANCEL &&
           f.cancel.scope == BATON_CANCEL_ATTEMPT && f.cancel.fetch_id == fetch->id &&
           f.cancel.attempt == attempt && f.cancel.cause == fetch->cause &&
           !world_said(w, fetch->wire, &none);
}

static void says(struct world *w, const struct world_handoff *fetch, enum frame_type type)
{
    struct frame f = {.payload_length = 0};

    CHECK(world_said(w, fetch->wire, &f) && f.type == type);
}

/* One window lands. */
static void land(struct world *w, const struct world_handoff *fetch)
{
    unsigned over = fetch->copies_all - fetch->copies;

    while (fetch->copies_all - fetch->copies == over && world_step(w)) {
    }
}

static void end_world(struct world *w)
{
    world_run(w);
    world_check_empty(w);
    world_destroy(w);
}

/* ---- the source's ---- */

/* No reader comes: not a microsecond early, the offer ends. */
TEST(reader_clock_ends_offer)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *offer =
        world_offer(w, SOURCE, &(struct world_offer_options){.reader_ms = 50, .slots = 2});

    CHECK(core_deadline(w->nodes[SOURCE].core) == WORLD_START_US + 50000);
    world_at(w, WORLD_START_US + 49999);
    CHECK(offer->outcomes == 0);
    world_at(w, WORLD_START_US + 50000);
    CHECK(timed_out(offer, BATON_CAUSE_CLOCK_READER));
    CHECK(offer->proof == BATON_PROOF_NEVER_EXPOSED && offer->attempts == 0);
    end_world(w);
}

/* The reader's clock stands while the slot is leased, and starts anew when the lease ends. */
TEST(reader_clock_starts_anew_after_lease)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *offer =
        world_offer(w, SOURCE, &(struct world_offer_options){.reader_ms = 50});
    struct world_handoff *fetch = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});

    world_run(w);
    world_after_ms(w, 1000);
    CHECK(offer->outcomes == 0);
    world_cancel(w, fetch, BATON_CANCEL_ATTEMPT);
    world_run(w);
    world_after_ms(w, 49);
    CHECK(offer->outcomes == 0);
    world_after_ms(w, 1);
    CHECK(timed_out(offer, BATON_CAUSE_CLOCK_READER) && offer->attempts == 1);
    end_world(w);
}

/* The lease's clock runs from when all bytes are there; its end leaves the slot to another. */
TEST(lease_clock_ends_lease_only)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *offer =
        world_offer(w, SOURCE, &(struct world_offer_options){.lease_ms = 50});
    struct world_handoff *fetch = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});
    struct core_slot_view slot;

    w->nodes[SINK].idle = true;
    world_run(w);
    world_after_ms(w, 1000);
    world_slot(w, offer, 0, &slot);
    CHECK(slot.stage == BATON_STAGE_LEASED && slot.attempt == 1);
    world_advance(w, offer, UINT64_MAX);
    world_run(w);
    world_after_ms(w, 50);
    world_slot(w, offer, 0, &slot);
    CHECK(slot.stage == BATON_STAGE_OFFERED && offer->outcomes == 0);
    world_run(w);
    CHECK(fetch->outcome == BATON_PEER_CANCELLED && fetch->cause == BATON_CAUSE_CLOCK_LEASE);
    CHECK(fetch->quiets == 0); /* time never frees: its movers are still at work */
    w->nodes[SINK].idle = false;
    fetch = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});
    world_run(w);
    CHECK(fetch->outcome == BATON_COMPLETED && offer->committed[0] == 2);
    end_world(w);
}

/* The whole handoff takes too long: the lease is revoked and its holder told why. */
TEST(whole_clock_of_offer_revokes)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *offer =
        world_offer(w, SOURCE, &(struct world_offer_options){.whole_ms = 50, .reader_ms = 900});
    struct world_handoff *fetch = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});

    world_run(w);
    world_after_ms(w, 50);
    CHECK(timed_out(offer, BATON_CAUSE_CLOCK_WHOLE) && offer->quiets == 1);
    world_run(w);
    CHECK(fetch->outcome == BATON_PEER_CANCELLED && fetch->cause == BATON_CAUSE_CLOCK_WHOLE);
    end_world(w);
}

/* ---- the sink's ---- */

/* The source does not answer OPEN: the attempt is cancelled although its number is not known. */
TEST(opening_clock_cancels_unknown_attempt)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *fetch =
        fetch_from_puppet(w, (struct world_fetch_options){.opening_ms = 50});

    says(w, fetch, FRAME_OPEN);
    world_after_ms(w, 49);
    CHECK(fetch->outcomes == 0);
    world_after_ms(w, 1);
    CHECK(timed_out(fetch, BATON_CAUSE_CLOCK_OPENING) && fetch->stage == BATON_STAGE_OPENING);
    CHECK(fetch->proof == BATON_PROOF_NEVER_EXPOSED && fetch->quiets == 1);
    CHECK(fetch->forgets == 0); /* it has something to say yet */
    CHECK(says_cancel(w, fetch, 0));
    end_world(w);
}

/* A source that was never told of the attempt is not told of its end. */
TEST(opening_clock_before_open_says_nothing)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *fetch =
        fetch_from_puppet(w, (struct world_fetch_options){.opening_ms = 50});
    struct frame f;

    world_after_ms(w, 50);
    CHECK(timed_out(fetch, BATON_CAUSE_CLOCK_OPENING) && fetch->forgets == 1);
    CHECK(!world_said(w, fetch->wire, &f));
    end_world(w);
}

/* All readable bytes are read and the watermark stands still for too long. */
TEST(bytes_clock_waits_for_watermark)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *fetch = fetch_from_puppet(
        w, (struct world_fetch_options){.opening_ms = 10, .bytes_ms = 50, .progress_ms = 7000});
    struct frame f = accept_frame(fetch, 30);

    says(w, fetch, FRAME_OPEN);
    world_tell(w, fetch->wire, &f, BATON_CAUSE_NONE);
    world_after_ms(w, 100); /* a window is under way: another clock runs */
    CHECK(fetch->outcomes == 0 && fetch->copies == 1);
    world_run(w);
    world_after_ms(w, 49);
    f = watermark_frame(fetch, 60);
    world_tell(w, fetch->wire, &f, BATON_CAUSE_NONE);
    world_run(w);
    world_after_ms(w, 49);
    CHECK(fetch->outcomes == 0);
    world_after_ms(w, 1);
    CHECK(timed_out(fetch, BATON_CAUSE_CLOCK_BYTES) && fetch->landed == 60);
    CHECK(says_cancel(w, fetch, ATTEMPT));
    end_world(w);
}

/* A watermark that rises below a skipped prefix, or past the wanted end, does not stand still. */
TEST(bytes_clock_sees_any_rise)
{
    const struct world_fetch_options parts[] = {{.begin = 80, .bytes_ms = 50},
                                                {.end = 10, .bytes_ms = 50}};

    for (int i = 0; i < 2; i++) {
        struct world *w = world_create(&(struct world_options){0});
        struct world_handoff *fetch = fetch_from_puppet(w, parts[i]);
        struct frame f = accept_frame(fetch, 20);

        says(w, fetch, FRAME_OPEN);
        world_tell(w, fetch->wire, &f, BATON_CAUSE_NONE);
        world_run(w);
        for (uint64_t watermark = 30; watermark < 80; watermark += 10) {
            world_after_ms(w, 40);
            f = watermark_frame(fetch, watermark);
            world_tell(w, fetch->wire, &f, BATON_CAUSE_NONE);
        }
        CHECK(fetch->outcomes == 0);
        world_after_ms(w, 50);
        CHECK(timed_out(fetch, BATON_CAUSE_CLOCK_BYTES));
        says(w, fetch, FRAME_CANCEL);
        end_world(w);
    }
}

/* Readable bytes do not land.  Landed bytes restart the clock; words of the peer do not. */
TEST(progress_clock_is_restarted_by_bytes_only)
{
    struct world *w = world_create(&(struct world_options){.limits.window_bytes = 10});
    struct world_handoff *fetch =
        fetch_from_puppet(w, (struct world_fetch_options){.progress_ms = 50, .bytes_ms = 20});
    struct frame f = accept_frame(fetch, 80), ping = {.type = FRAME_PING};

    says(w, fetch, FRAME_OPEN);
    world_tell(w, fetch->wire, &f, BATON_CAUSE_NONE);
    world_after_ms(w, 49);
    land(w, fetch);
    world_after_ms(w, 49);
    CHECK(fetch->outcomes == 0);
    f = watermark_frame(fetch, 90);
    world_tell(w, fetch->wire, &f, BATON_CAUSE_NONE);
    world_tell(w, fetch->wire, &ping, BATON_CAUSE_NONE);
    world_after_ms(w, 1);
    CHECK(timed_out(fetch, BATON_CAUSE_CLOCK_PROGRESS) && fetch->quiets == 0 && fetch->stopped);
    says(w, fetch, FRAME_PONG);
    CHECK(says_cancel(w, fetch, ATTEMPT));
    CHECK(fetch->forgets == 0);
    end_world(w);
}

/* The source does not answer the commit: the sink discards what it has read. */
TEST(commit_clock_discards)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *fetch = fetch_from_puppet(
        w, (struct world_fetch_options){.commit_ms = 50, .progress_ms = 20, .bytes_ms = 20});
    struct frame f = accept_frame(fetch, 100);

    says(w, fetch, FRAME_OPEN);
    world_tell(w, fetch->wire, &f, BATON_CAUSE_NONE);
    while (fetch->copies > 0) {
        world_step(w);
    }
    says(w, fetch, FRAME_COMMIT);
    world_after_ms(w, 49);
    CHECK(fetch->outcomes == 0);
    world_after_ms(w, 1);
    CHECK(timed_out(fetch, BATON_CAUSE_CLOCK_COMMIT) && fetch->stage == BATON_STAGE_COMMITTING);
    CHECK(fetch->quiets == 1 && says_cancel(w, fetch, ATTEMPT));
    f = (struct frame){.type = FRAME_COMMITTED,
                       .committed = {.fetch_id = fetch->id, .attempt = ATTEMPT}};
    world_tell(w, fetch->wire, &f, BATON_CAUSE_NONE); /* too late: inert */
    end_world(w);
}

/* The whole fetch takes too long, whatever it is doing, also when bytes land all the time. */
TEST(whole_clock_of_fetch)
{
    struct world *w = world_create(&(struct world_options){.limits.window_bytes = 10});
    struct world_handoff *fetch =
        fetch_from_puppet(w, (struct world_fetch_options){.whole_ms = 50, .progress_ms = 20});
    struct frame f = accept_frame(fetch, 90);

    says(w, fetch, FRAME_OPEN);
    world_tell(w, fetch->wire, &f, BATON_CAUSE_NONE);
    for (int i = 0; i < 5; i++) {
        CHECK(fetch->outcomes == 0);
        world_after_ms(w, 10);
        land(w, fetch);
    }
    CHECK(timed_out(fetch, BATON_CAUSE_CLOCK_WHOLE));
    world_run(w);
    CHECK(says_cancel(w, fetch, ATTEMPT));
    end_world(w);
}

/* ---- doubt ---- */

/* Movers that do not come back: doubt is told once, with the outcome's cause, and quiet follows. */
TEST(doubt_is_told_once)
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
    world_run(w);
    world_after_ms(w, 99);
    CHECK(offer->doubts == 0 && fetch->doubts == 0);
    world_after_ms(w, 1);
    CHECK(offer->doubts == 1 && fetch->doubts == 1);
    world_after_ms(w, 100000);
    CHECK(offer->doubts == 1 && fetch->doubts == 1 && offer->quiets == 0 && fetch->quiets == 0);
    w->nodes[SINK].idle = w->nodes[SOURCE].idle = false;
    world_run(w);
    CHECK(offer->quiets == 1 && fetch->quiets == 1);
    end_world(w);
}

/* What is quiet at once is never doubted. */
TEST(no_doubt_when_quiet)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *offer = world_offer(w, SOURCE, &(struct world_offer_options){0});
    struct world_handoff *fetch = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});

    world_run(w);
    world_cancel(w, fetch, BATON_CANCEL_OFFER);
    world_run(w);
    world_after_ms(w, 100000);
    CHECK(offer->doubts == 0 && fetch->doubts == 0);
    end_world(w);
}

/* ---- links between hosts ---- */

/* Nothing is heard: the peer is asked after a third of the time, and the link closed after all. */
TEST(silent_link_is_closed)
{
    struct world *w = world_create(&(struct world_options){.ping = true});
    int wire = world_puppet_source(w, SINK, PEER);
    struct world_handoff *fetch = world_fetch(
        w, SINK, NULL, &(struct world_fetch_options){.wire = wire, .offer_id = 1, .total = 100});
    struct frame f = {.payload_length = 0};

    says(w, fetch, FRAME_OPEN);
    world_after_ms(w, 999);
    CHECK(!world_said(w, wire, &f));
    world_after_ms(w, 1);
    CHECK(world_said(w, wire, &f) && f.type == FRAME_PING);
    world_after_ms(w, 1999);
    CHECK(fetch->outcomes == 0);
    world_after_ms(w, 1);
    CHECK(fetch->outcome == BATON_LINK_LOST && fetch->cause == BATON_CAUSE_LINK_SILENT);
    while (world_said(w, wire, &f) && f.type == FRAME_PING) {
    }
    CHECK(f.type == 0); /* closed */
    end_world(w);
}

/* The shortest time that a link may be silent: its peer is asked all the same, and then closed. */
TEST(shortest_silence_closes_a_link)
{
    struct world *w = world_create(
        &(struct world_options){.nodes = 1, .ping = true, .limits.link_timeout_us = 2});
    int wire = world_puppet_source(w, SINK, PEER);
    struct frame f;

    CHECK(!world_said(w, wire, &f));
    world_at(w, w->now_us + 1);
    CHECK(world_said(w, wire, &f) && f.type == FRAME_PING);
    world_at(w, w->now_us + 1);
    CHECK(world_said(w, wire, &f) && f.type == 0); /* closed */
    CHECK(core_deadline(w->nodes[SINK].core) == CORE_NEVER);
    world_destroy(w);
}

/* An answer, or any byte, is enough to go on for ever. */
TEST(heard_link_stays)
{
    struct world *w = world_create(&(struct world_options){.ping = true});
    int wire = world_puppet_sink(w, SOURCE, PEER, 1);
    const struct frame pong = {.type = FRAME_PONG};
    const struct core_event heard = {.type = CORE_EVENT_HEARD,
                                     .link = w->wires[wire].link[WORLD_SOURCE]};
    struct core_link_view view;

    for (int i = 0; i < 20; i++) {
        world_after_ms(w, 2900);
        if (i % 2) {
            world_event(w, SOURCE, &heard);
        } else {
            world_tell(w, wire, &pong, BATON_CAUSE_NONE);
        }
    }
    core_link_view(w->nodes[SOURCE].core, heard.link, &view);
    CHECK(view.up && !view.sink);
    world_destroy(w);
}

/* Two engines between hosts ping one another and keep an idle link. */
TEST(idle_link_stays)
{
    struct world *w = world_create(&(struct world_options){.ping = true});
    struct world_handoff *offer = world_offer(w, SOURCE, &(struct world_offer_options){0});
    struct world_handoff *fetch = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});

    world_run(w);
    for (int i = 0; i < 30; i++) {
        world_after_ms(w, 1000);
        world_run(w);
    }
    world_advance(w, offer, UINT64_MAX);
    world_run(w);
    CHECK(fetch->outcome == BATON_COMPLETED && offer->outcome == BATON_COMPLETED);
    end_world(w);
}

/* ---- any timestamps whatever ---- */

static const struct world_fetch_options all_fetch_clocks = {
    .opening_ms = 40, .bytes_ms = 60, .progress_ms = 30, .commit_ms = 20, .whole_ms = 200};
static const struct world_offer_options all_offer_clocks = {
    .slots = 2, .watermark = 60, .reader_ms = 100, .lease_ms = 50, .whole_ms = 300};

/* An engine that was stopped for long wakes up: its links, fetches and leases are all overdue at
 * once, the links first. */
TEST(jump_past_every_clock_at_once)
{
    for (unsigned steps = 0; steps < 40; steps++) {
        struct world *w = world_create(&(struct world_options){.ping = true, .streams = true});
        struct world_offer_options clocks = all_offer_clocks;
        struct world_handoff *offer, *fetch;

        w->options.limits.link_timeout_us = 3000000;
        clocks.watermark = UINT64_MAX;
        clocks.reader_ms = clocks.whole_ms = 9000;
        clocks.lease_ms = 5000;
        offer = world_offer(w, SOURCE, &clocks);
        fetch = world_fetch(w, SINK, offer,
                            &(struct world_fetch_options){.opening_ms = 4000,
                                                          .bytes_ms = 4000,
                                                          .progress_ms = 4000,
                                                          .commit_ms = 4000,
                                                          .whole_ms = 7000});
        world_steps(w, steps);
        world_after_ms(w, 20000);
        world_run(w);
        CHECK(fetch->outcomes == 1 && offer->outcomes == 1);
        end_world(w);
    }
}

/* The clock of the machine jumps to and fro at every step; what is safe stays safe, and every
 * handoff ends. */
TEST(any_timestamps_are_safe)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct world *w = world_create(&(struct world_options){
            .seed = seed, .ping = seed % 2, .streams = seed % 3 == 0, .twice = seed % 4 == 0});
        struct world_handoff *offer = world_offer(w, SOURCE, &all_offer_clocks), *fetch[4];

        for (uint32_t i = 0; i < 4; i++) {
            struct world_fetch_options options = all_fetch_clocks;

            options.slot = i % 2;
            fetch[i] = world_fetch(w, SINK, offer, &options);
            for (unsigned step = 0; step < 15; step++) {
                if (prng_chance(&w->prng, 0.3)) {
                    world_at(w, WORLD_START_US / 2 + prng_below(&w->prng, WORLD_START_US));
                } else if (prng_chance(&w->prng, 0.3)) {
                    world_at(w, w->now_us + prng_below(&w->prng, 30000));
                }
                world_step(w);
            }
            world_advance(w, offer, i == 2 ? UINT64_MAX : 70);
        }
        world_run(w);
        world_at(w, UINT64_MAX / 2);
        world_run(w);
        CHECK(fetch[0]->outcomes + fetch[1]->outcomes + fetch[2]->outcomes + fetch[3]->outcomes ==
              4);
        end_world(w);
    }
}
