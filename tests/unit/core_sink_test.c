/* SPDX-License-Identifier: Apache-2.0 */
/* What a sink makes of a source that is wrong or hostile.  The source is a puppet; what an honest
 * one says is in core_table_test.c. */
#include "core_world.h"
#include "test.h"

enum {
    NODE = 0,
    PEER = 0x77, /* the puppet */
    ATTEMPT = 3,
    TOTAL = 100,
};

/* A sink with one fetch that has said OPEN. */
struct sink {
    struct world *world;
    struct world_handoff *fetch;
    int wire;
};

static struct sink sink_new(void)
{
    struct sink s;
    struct world_fetch_options options = {.offer_id = 5, .total = TOTAL};
    struct frame f;

    s.world = world_create(&(struct world_options){.nodes = 1, .twice = true});
    s.wire = options.wire = world_puppet_source(s.world, NODE, PEER);
    s.fetch = world_fetch(s.world, NODE, NULL, &options);
    CHECK(world_said(s.world, s.wire, &f) && f.type == FRAME_OPEN);
    return s;
}

static void sink_end(struct sink *s)
{
    struct frame f;

    world_run(s->world);
    while (world_said(s->world, s->wire, &f)) {
    }
    world_check_empty(s->world);
    world_destroy(s->world);
}

static void tell_accept(struct sink *s, uint64_t fetch, uint64_t watermark, uint64_t total)
{
    const struct frame f = {
        .type = FRAME_ACCEPT,
        .accept = {.fetch_id = fetch, .attempt = ATTEMPT, .watermark = watermark, .total = total}};

    world_tell(s->world, s->wire, &f, BATON_CAUSE_NONE);
}

/* A number that no fetch of this engine can have, or that only another of the same index will have,
 * is nobody's, also from its own user. */
TEST(number_of_no_fetch_is_nobody)
{
    struct sink s = sink_new();
    const uint64_t wrong[] = {s.fetch->id + s.world->options.limits.fetches, UINT64_MAX,
                              s.fetch->id + (UINT64_C(1) << 32)};
    struct core_event cancel = {.type = CORE_EVENT_CANCEL,
                                .cancel = {.side = CORE_FETCH, .cause = BATON_CAUSE_CANCEL}};
    struct core_counts counts;

    for (int i = 0; i < 3; i++) {
        tell_accept(&s, wrong[i], TOTAL, TOTAL);
        cancel.cancel.id = wrong[i];
        world_event(s.world, NODE, &cancel);
        CHECK(s.world->actions.count == 0);
    }
    CHECK(s.fetch->outcomes == 0 && s.fetch->copies == 0);
    world_counts(s.world, NODE, &counts);
    CHECK(counts.late == 6); /* each frame was applied twice */
    world_cancel(s.world, s.fetch, BATON_CANCEL_ATTEMPT);
    sink_end(&s);
}

/* An offer that is larger or smaller than its ticket said is not read, and its source need not
 * wait. */
TEST(accept_of_another_size_fails)
{
    const uint64_t totals[] = {0, TOTAL - 1, TOTAL + 1, UINT64_MAX};

    for (int i = 0; i < 4; i++) {
        struct sink s = sink_new();
        struct frame f;

        tell_accept(&s, s.fetch->id, totals[i], totals[i]);
        CHECK(s.fetch->outcome == BATON_FAILED && s.fetch->cause == BATON_CAUSE_LAYOUT);
        CHECK(s.fetch->copies_all == 0 && s.fetch->proof == BATON_PROOF_NEVER_EXPOSED);
        CHECK(world_said(s.world, s.wire, &f) && f.type == FRAME_CANCEL);
        CHECK(f.cancel.attempt == ATTEMPT && f.cancel.cause == BATON_CAUSE_LAYOUT);
        sink_end(&s);
    }
}

/* P7: more bytes than the offer has can not be there; nobody reads them, and the link closes. */
TEST(watermark_beyond_the_end_closes_the_link)
{
    struct sink s = sink_new();
    struct frame f = {.type = FRAME_WATERMARK,
                      .watermark = {.fetch_id = s.fetch->id, .attempt = ATTEMPT}};
    struct core_counts counts;

    tell_accept(&s, s.fetch->id, 0, TOTAL);
    f.watermark.watermark = TOTAL + 1;
    world_tell(s.world, s.wire, &f, BATON_CAUSE_NONE);
    CHECK(s.fetch->outcome == BATON_LINK_LOST && s.fetch->cause == BATON_CAUSE_PROTOCOL);
    CHECK(s.fetch->copies_all == 0 && s.fetch->quiets == 1);
    world_counts(s.world, NODE, &counts);
    CHECK(counts.protocol_errors == 1 && counts.links_lost == 1);
    sink_end(&s);
}
