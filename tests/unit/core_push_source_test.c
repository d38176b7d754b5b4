/* SPDX-License-Identifier: Apache-2.0 */
/* Push, at the source: what it writes, and when it may say that it writes no more.  The sink is the
 * test. */
#include "core_world.h"
#include "test.h"

enum {
    PEER = 0x77, /* a puppet */
    NONCE = 4711,
    LEASE_MS = 50,
};

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
    o.offer = world_offer(
        o.w, 0, &(struct world_offer_options){.watermark = watermark, .lease_ms = LEASE_MS});
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

/* Grants that name no lease of this link are inert, whoever sends them. */
TEST(grants_of_others_are_inert)
{
    struct offered o = offered_make(UINT64_MAX);
    int wire = world_puppet_sink(o.w, 0, PEER + 1, 1), own = o.wire;
    struct world_handoff *pulled =
        world_offer(o.w, 0, &(struct world_offer_options){.watermark = UINT64_MAX});
    struct frame f = {.type = FRAME_GRANT,
                      .grant = {.offer_id = o.offer->id, .fetch_id = 5, .attempt = o.attempt}};
    struct core_counts counts;

    o.wire = wire;
    tell_grant(&o, 0, 40); /* another sink's */
    o.wire = own;
    f.grant.length = 40;
    f.grant.slot = 1;
    world_tell(o.w, own, &f, BATON_CAUSE_NONE);
    f.grant.slot = 0;
    f.grant.fetch_id = 6;
    world_tell(o.w, own, &f, BATON_CAUSE_NONE);
    f.grant.fetch_id = 5;
    f.grant.attempt++;
    world_tell(o.w, own, &f, BATON_CAUSE_NONE);
    f.grant.offer_id += 1 << CORE_INDEX_BITS;
    world_tell(o.w, own, &f, BATON_CAUSE_NONE);
    /* One that pulls has nothing to grant. */
    f = (struct frame){.type = FRAME_OPEN, .open = {.offer_id = pulled->id, .fetch_id = 7}};
    world_secret(pulled, 0, f.open.secret);
    world_tell(o.w, own, &f, BATON_CAUSE_NONE);
    CHECK(world_said(o.w, own, &f) && f.type == FRAME_ACCEPT);
    f = (struct frame){
        .type = FRAME_GRANT,
        .grant = {
            .offer_id = pulled->id, .fetch_id = 7, .attempt = f.accept.attempt, .length = 40}};
    world_tell(o.w, own, &f, BATON_CAUSE_NONE);
    world_counts(o.w, 0, &counts);
    CHECK(o.w->nodes[0].serves_count == 0 && counts.late == 6 && counts.protocol_errors == 0);
    tell_quiesce(&o, own, o.attempt, 1);
    CHECK(world_said(o.w, own, &f) && f.type == FRAME_QUIESCED);
    f = (struct frame){
        .type = FRAME_QUIESCE,
        .quiesce = {.offer_id = o.offer->id, .fetch_id = 5, .attempt = 1, .slot = 3}};
    world_tell(o.w, own, &f, BATON_CAUSE_NONE);
    CHECK(world_said(o.w, own, &f) && f.type == FRAME_QUIESCED);
    world_cancel(o.w, pulled, BATON_CANCEL_OFFER);
    offered_end(&o);
}

/* The answer to QUIESCE has not left when the next reader gets the slot: it leaves all the same. */
TEST(quiesced_is_displaced)
{
    struct offered o = offered_make(UINT64_MAX);
    struct frame f;

    tell_grant(&o, 0, 40);
    tell_quiesce(&o, o.wire, o.attempt, NONCE);
    serve_ends(&o);
    tell_open(o.w, o.wire, o.offer, 6);
    CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_QUIESCED && f.quiesced.fetch_id == 5);
    CHECK(f.quiesced.nonce == NONCE && f.quiesced.attempt == o.attempt);
    CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_ACCEPT && f.accept.fetch_id == 6);
    offered_end(&o);
}

/* The lease's end and that answer find room for one of them on their slow link: it is closed, which
 * says both. */
TEST(quiesced_without_room_closes_the_link)
{
    struct offered o = offered_make(UINT64_MAX);
    int wire = world_puppet_sink(o.w, 0, PEER + 1, 1);
    struct core_counts counts;

    world_hold(o.w, o.wire, WORLD_SOURCE, true);
    tell_grant(&o, 0, 40);
    world_after_ms(o.w, LEASE_MS);
    tell_quiesce(&o, o.wire, o.attempt, NONCE);
    for (uint64_t fetch = 20; fetch < 23; fetch++) {
        tell_open(o.w, o.wire, o.offer, fetch); /* BUSY */
    }
    serve_ends(&o);
    CHECK(core_replies_waiting(o.w->nodes[0].core) == 3);
    tell_open(o.w, wire, o.offer, 6);
    world_counts(o.w, 0, &counts);
    CHECK(counts.leases == 2 && counts.links_lost == 1);
    o.wire = wire;
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

static void tell_cancel(const struct offered *o, baton_cancel_scope scope)
{
    struct frame f = {.type = FRAME_CANCEL,
                      .cancel = {.offer_id = o->offer->id,
                                 .fetch_id = 5,
                                 .attempt = o->attempt,
                                 .scope = (uint8_t)scope,
                                 .cause = BATON_CAUSE_CANCEL}};

    world_secret(o->offer, 0, f.cancel.secret);
    world_tell(o->w, o->wire, &f, BATON_CAUSE_NONE);
}

enum ending { BY_SOURCE, BY_CLOCK, BY_SINK, BY_REQUEST, ENDINGS };

static void end_lease(const struct offered *o, unsigned how)
{
    if (how == BY_SOURCE) {
        world_cancel(o->w, o->offer, BATON_CANCEL_OFFER);
    } else if (how == BY_CLOCK) {
        world_after_ms(o->w, LEASE_MS);
    } else {
        tell_cancel(o, how == BY_SINK ? BATON_CANCEL_ATTEMPT : BATON_CANCEL_OFFER);
    }
}

/* However the lease ends, but by a commit: that the pushes are over is said without being asked,
 * after ENDED and after the last of them; what was granted on the way there is not served. */
TEST(over_is_said_unasked)
{
    for (unsigned how = 0; how < ENDINGS; how++) {
        for (unsigned pushes = 0; pushes < 2; pushes++) {
            struct offered o = offered_make(UINT64_MAX);
            struct frame f;

            if (pushes > 0) {
                tell_grant(&o, 0, 40);
            }
            end_lease(&o, how);
            tell_grant(&o, pushes ? 40 : 0, 40);
            CHECK(o.w->nodes[0].serves_count == pushes);
            if (how < BY_SINK) {
                CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_ENDED);
            }
            if (pushes > 0) {
                CHECK(!world_said(o.w, o.wire, &f));
                serve_ends(&o);
            }
            CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_QUIESCED);
            CHECK(f.quiesced.fetch_id == 5 && f.quiesced.attempt == o.attempt);
            CHECK(f.quiesced.nonce == 0 && !world_said(o.w, o.wire, &f));
            offered_end(&o);
        }
    }
}

/* The question comes while the word waits, for a push or for its link: one answer, to it. */
TEST(a_question_makes_it_an_answer)
{
    for (unsigned held = 0; held < 2; held++) {
        struct offered o = offered_make(UINT64_MAX);
        struct frame f;

        tell_grant(&o, 0, 40);
        if (held) {
            serve_ends(&o);
            CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_WRITTEN);
        }
        tell_cancel(&o, BATON_CANCEL_ATTEMPT);
        tell_quiesce(&o, o.wire, o.attempt, NONCE);
        if (!held) {
            serve_ends(&o);
        }
        CHECK(world_said(o.w, o.wire, &f) && f.type == FRAME_QUIESCED);
        CHECK(f.quiesced.nonce == NONCE && !world_said(o.w, o.wire, &f));
        offered_end(&o);
    }
}

/* A word that nobody has asked for, and no room for it when another reader gets the slot: it goes,
 * and its slow link stays. */
TEST(unasked_without_room_is_dropped)
{
    struct offered o = offered_make(UINT64_MAX);
    int wire = world_puppet_sink(o.w, 0, PEER + 1, 1);
    struct core_counts counts;
    struct frame f;

    world_hold(o.w, o.wire, WORLD_SOURCE, true);
    world_after_ms(o.w, LEASE_MS);
    for (uint64_t fetch = 20; core_link_reads(o.w->nodes[0].core, 0); fetch++) {
        o.offer->id += 1 << CORE_INDEX_BITS;
        tell_open(o.w, o.wire, o.offer, fetch); /* GONE */
        o.offer->id -= 1 << CORE_INDEX_BITS;
    }
    tell_open(o.w, wire, o.offer, 6);
    world_counts(o.w, 0, &counts);
    CHECK(counts.leases == 2 && counts.links_lost == 0);
    world_hold(o.w, o.wire, WORLD_SOURCE, false);
    while (world_said(o.w, o.wire, &f)) {
        CHECK(f.type != FRAME_QUIESCED);
    }
    o.wire = wire;
    offered_end(&o);
}
