/* SPDX-License-Identifier: Apache-2.0 */
/* Which windows are started, when, and for whom. */
#include "core_world.h"
#include "test.h"

enum {
    SINK = 0,
    SOURCE = 1,
    OTHER = 2,   /* another source */
    PEER = 0x77, /* a puppet */
    MANY = 60,
};

static const struct world_offer_options whole = {.total = 1000, .watermark = UINT64_MAX};

/* Until no message is on its way; movers do nothing. */
static void settle(struct world *w)
{
    w->nodes[SINK].idle = true;
    world_run(w);
}

/* The sink's window at `place`, 0 for the oldest, ends with that status. */
static void end_window_proven(struct world *w, uint32_t place, enum core_copied status,
                              baton_proof proof)
{
    struct world_node *n = &w->nodes[SINK];
    struct world_copy copy = n->copies[place];
    struct core_event event = {.type = CORE_EVENT_COPIED};

    CHECK(place < n->copies_count);
    for (uint32_t i = place + 1; i < n->copies_count; i++) {
        n->copies[i - 1] = n->copies[i];
    }
    n->copies_count--;
    copy.fetch->copies--;
    event.copied.id = copy.id;
    event.copied.length = copy.length;
    event.copied.landed = status == CORE_COPIED_OK ? copy.length : 0;
    event.copied.status = status;
    event.copied.proof = proof;
    world_event(w, SINK, &event);
}

static void end_window_at(struct world *w, uint32_t place, enum core_copied status)
{
    end_window_proven(w, place, status, BATON_PROOF_NONE);
}

static void end_window(struct world *w, enum core_copied status)
{
    end_window_at(w, 0, status);
}

/* The oldest window of one fetch. */
static void end_window_of(struct world *w, const struct world_handoff *fetch,
                          enum core_copied status)
{
    uint32_t place = 0;

    while (place < w->nodes[SINK].copies_count && w->nodes[SINK].copies[place].fetch != fetch) {
        place++;
    }
    end_window_at(w, place, status);
}

/* A fetch of 1000 bytes, under way. */
static struct world_handoff *fetch_from(struct world *w, int source)
{
    struct world_handoff *fetch =
        world_fetch(w, SINK, world_offer(w, source, &whole), &(struct world_fetch_options){0});

    settle(w);
    return fetch;
}

static void end_world(struct world *w)
{
    w->nodes[SINK].idle = false;
    world_run(w);
    for (struct world_handoff *h = w->handoffs; h; h = h->next) {
        if (h->outcomes == 0) {
            world_cancel(w, h, BATON_CANCEL_OFFER);
        }
    }
    world_run(w);
    world_check_empty(w);
    world_destroy(w);
}

/* The same in a world with a puppet, which takes what is still said. */
static void end_puppet(struct world *w, int wire)
{
    struct frame f;

    world_run(w);
    while (world_said(w, wire, &f)) {
    }
    world_check_empty(w);
    world_destroy(w);
}

/* One fetch alone has no more windows under way than it may, one behind the other. */
TEST(windows_of_one_fetch_are_bounded)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *offer = world_offer(w, SOURCE, &whole);
    struct world_handoff *fetch =
        world_fetch(w, SINK, offer, &(struct world_fetch_options){.begin = 100, .end = 210});

    settle(w);
    CHECK(fetch->copies == 2);
    CHECK(w->nodes[SINK].copies[0].offset == 100 && w->nodes[SINK].copies[0].length == 40);
    CHECK(w->nodes[SINK].copies[1].offset == 140 && w->nodes[SINK].copies[1].length == 40);
    end_window(w, CORE_COPIED_OK);
    CHECK(fetch->copies == 2);
    CHECK(w->nodes[SINK].copies[1].offset == 180 && w->nodes[SINK].copies[1].length == 30);
    end_window(w, CORE_COPIED_OK);
    CHECK(fetch->copies == 1 && fetch->outcomes == 0);
    end_window(w, CORE_COPIED_OK);
    settle(w);
    CHECK(fetch->outcome == BATON_COMPLETED && fetch->landed == 110 && fetch->copies_all == 3);
    end_world(w);
}

/* All fetches together stay within the windows and the bytes of the engine. */
TEST(budget_of_the_engine_holds)
{
    const struct {
        uint32_t windows;
        uint64_t bytes;
        uint32_t expected;
    } budgets[] = {{3, 1000, 3}, {8, 120, 3}, {8, 119, 2}, {8, 1, 1}, {1, 1000, 1}, {8, 160, 4}};
    struct core_gauges g;

    for (size_t i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
        struct world *w =
            world_create(&(struct world_options){.limits = {.windows = budgets[i].windows,
                                                            .windows_per_fetch = 2,
                                                            .inflight_bytes = budgets[i].bytes}});
        struct world_handoff *offers[3];

        for (int f = 0; f < 3; f++) {
            offers[f] = world_offer(w, SOURCE, &whole);
            world_fetch(w, SINK, offers[f], &(struct world_fetch_options){0});
        }
        settle(w);
        for (int window = 0; window < 20; window++) {
            world_gauges(w, SINK, &g);
            CHECK(g.windows == budgets[i].expected);
            CHECK(g.inflight_bytes == (uint64_t)budgets[i].expected * 40);
            end_window(w, CORE_COPIED_OK);
        }
        end_world(w);
    }
}

/* Everybody moves on: nobody gets a window more than another, also where one alone could have had
 * them all. */
TEST(windows_are_shared_fairly)
{
    struct world *w =
        world_create(&(struct world_options){.limits = {.windows = 3, .windows_per_fetch = 8}});
    struct world_handoff *fetch[4];
    unsigned before[4];

    for (int i = 0; i < 4; i++) {
        fetch[i] =
            world_fetch(w, SINK, world_offer(w, SOURCE, &whole), &(struct world_fetch_options){0});
    }
    settle(w);
    for (int i = 0; i < 4; i++) {
        before[i] = fetch[i]->copies_all;
    }
    for (int window = 0; window < 60; window++) {
        unsigned least = UINT32_MAX, most = 0;

        end_window(w, CORE_COPIED_OK);
        for (int i = 0; i < 4; i++) {
            unsigned got = fetch[i]->copies_all - before[i];

            least = got < least ? got : least;
            most = got > most ? got : most;
        }
        CHECK(most - least <= 1);
    }
    end_world(w);
}

/* A source has stopped while its windows are the engine's whole budget.  A fetch from another one
 * has a window at a time all the same, to its end (baton sim --seed 814016). */
TEST(stopped_source_holds_up_nobody_else)
{
    const struct {
        uint32_t windows;
        uint64_t bytes;
    } budgets[] = {{2, 1000}, {8, 80}, {8, 100}};

    for (size_t i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
        struct world *w = world_create(&(struct world_options){
            .nodes = 3,
            .limits = {.windows = budgets[i].windows, .inflight_bytes = budgets[i].bytes}});
        struct world_handoff *stopped = fetch_from(w, SOURCE);
        struct world_handoff *waits = fetch_from(w, SOURCE);
        struct world_handoff *well = fetch_from(w, OTHER);

        for (int window = 0; window < 25; window++) {
            CHECK(stopped->copies == 2 && waits->copies == 0 && well->copies == 1);
            end_window_of(w, well, CORE_COPIED_OK);
        }
        settle(w);
        CHECK(well->outcome == BATON_COMPLETED);
        CHECK(stopped->copies == 2 && waits->copies == 0);
        end_world(w);
    }
}

/* Each source has its turn, however many fetches another one serves. */
TEST(windows_are_shared_fairly_among_links)
{
    struct world *w = world_create(
        &(struct world_options){.nodes = 3, .limits = {.windows = 4, .windows_per_fetch = 4}});
    struct world_handoff *fetch[4];
    unsigned one;

    for (int i = 0; i < 4; i++) {
        fetch[i] = fetch_from(w, i < 3 ? SOURCE : OTHER);
    }
    end_window(w, CORE_COPIED_OK); /* the one beyond the budget is used up */
    one = fetch[3]->copies_all;
    for (int window = 0; window < 36; window++) {
        end_window(w, CORE_COPIED_OK);
        CHECK(w->nodes[SINK].copies_count == 4);
    }
    CHECK(fetch[3]->copies_all - one == 18);
    end_world(w);
}

/* A link breaks, its windows are not back yet, and its place has another link already.  They count
 * for that one, so that links which come and go can't start more than the budget and one each. */
TEST(windows_of_a_lost_link_count_for_its_place)
{
    struct world *w = world_create(&(struct world_options){.limits = {.windows = 2}});
    struct world_handoff *lost = fetch_from(w, SOURCE);
    struct world_handoff *next;

    CHECK(lost->copies == 2);
    world_cut(w, SINK, SOURCE);
    CHECK(lost->outcome == BATON_LINK_LOST && lost->copies == 2 && lost->quiets == 0);
    next = fetch_from(w, SOURCE);
    CHECK(next->copies == 0);
    end_window_of(w, lost, CORE_COPIED_ABORTED);
    CHECK(lost->quiets == 0 && next->copies == 1);
    end_window_of(w, lost, CORE_COPIED_ABORTED);
    CHECK(lost->quiets == 1 && next->copies == 2);
    end_world(w);
}

/* One large window held the whole budget; when it is back, so many small ones start that one step
 * has no room for all of them.  None waits for anything else. */
TEST(more_windows_than_a_step_has_room_for)
{
    const struct core_limits limits = {
        .fetches = MANY + 1, .windows = MANY, .inflight_bytes = MANY, .window_bytes = MANY};
    struct world *w = world_create(&(struct world_options){.nodes = 1, .limits = limits});
    int wire = world_puppet_source(w, SINK, PEER);
    struct world_handoff *fetch[MANY + 1];
    uint64_t steps;

    for (int i = 0; i <= MANY; i++) {
        const struct world_fetch_options options = {
            .wire = wire, .offer_id = 1, .total = MANY, .end = i == 0 ? MANY : 1};
        struct frame f = {.type = FRAME_ACCEPT,
                          .accept = {.attempt = 1, .watermark = MANY, .total = MANY}};
        struct frame open;

        fetch[i] = world_fetch(w, SINK, NULL, &options);
        CHECK(world_said(w, wire, &open) && open.type == FRAME_OPEN);
        f.accept.fetch_id = fetch[i]->id;
        world_tell(w, wire, &f, BATON_CAUSE_NONE);
        CHECK(fetch[i]->copies == (i == 0));
    }
    steps = w->steps;
    end_window(w, CORE_COPIED_OK);
    CHECK(w->steps - steps > 1);
    for (int i = 0; i <= MANY; i++) {
        CHECK(fetch[i]->copies == (i > 0));
        world_cancel(w, fetch[i], BATON_CANCEL_ATTEMPT);
    }
    end_puppet(w, wire);
}

/* A fetch that ends gives its windows to the others as they come back, not before. */
TEST(ended_fetch_gives_its_windows_back)
{
    struct world *w = world_create(&(struct world_options){.limits.windows = 2});
    struct world_handoff *first =
        world_fetch(w, SINK, world_offer(w, SOURCE, &whole), &(struct world_fetch_options){0});
    struct world_handoff *second;

    settle(w);
    second = world_fetch(w, SINK, world_offer(w, SOURCE, &whole), &(struct world_fetch_options){0});
    settle(w);
    CHECK(first->copies == 2 && second->copies == 0);
    world_cancel(w, first, BATON_CANCEL_ATTEMPT);
    CHECK(first->stopped && first->quiets == 0 && second->copies == 0);
    end_window(w, CORE_COPIED_ABORTED);
    CHECK(first->quiets == 0 && second->copies == 1);
    end_window(w, CORE_COPIED_ABORTED);
    CHECK(first->quiets == 1 && second->copies == 2);
    end_world(w);
}

/* The watermark rises in steps: what is read stays below it, and nothing is read twice. */
TEST(windows_follow_the_watermark)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *offer =
        world_offer(w, SOURCE, &(struct world_offer_options){.total = 300, .watermark = 0});
    struct world_handoff *fetch = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});
    uint64_t next = 0;

    for (uint64_t watermark = 0; watermark <= 300; watermark += 7) {
        world_advance(w, offer, watermark == 294 ? 300 : watermark);
        settle(w);
        while (fetch->copies > 0) {
            CHECK(w->nodes[SINK].copies[0].offset == next);
            next += w->nodes[SINK].copies[0].length;
            CHECK(next <= offer->watermark);
            end_window(w, CORE_COPIED_OK);
        }
        CHECK(next == offer->watermark);
    }
    world_run(w);
    CHECK(fetch->outcome == BATON_COMPLETED && fetch->landed == 300);
    end_world(w);
}

/* All wanted bytes are there before the offer's last: the commit waits for the watermark's end. */
TEST(commit_waits_for_the_end_of_the_watermark)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *offer =
        world_offer(w, SOURCE, &(struct world_offer_options){.watermark = 80});
    struct world_handoff *part =
        world_fetch(w, SINK, offer, &(struct world_fetch_options){.end = 30});

    world_run(w);
    CHECK(part->copies_all == 1 && part->outcomes == 0 && part->copies == 0);
    world_advance(w, offer, 99);
    world_run(w);
    CHECK(part->outcomes == 0);
    world_advance(w, offer, 100);
    world_run(w);
    CHECK(part->outcome == BATON_COMPLETED && part->landed == 30);
    end_world(w);
}

/* Nothing is wanted: the fetch is a lease and a commit, and its blocks were never exposed. */
TEST(empty_fetch_completes)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *offer = world_offer(w, SOURCE, &whole);
    struct world_handoff *fetch =
        world_fetch(w, SINK, offer, &(struct world_fetch_options){.begin = 1000, .end = 1000});

    world_run(w);
    CHECK(fetch->outcome == BATON_COMPLETED && fetch->copies_all == 0 && fetch->landed == 0);
    CHECK(fetch->proof == BATON_PROOF_NEVER_EXPOSED && fetch->attempts == 1);
    end_world(w);
}

/* A window that was given back unread: no more are started, and the fetch waits to hear why. */
TEST(stalled_fetch_waits_for_the_reason)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *offer = world_offer(w, SOURCE, &whole);
    struct world_handoff *fetch =
        world_fetch(w, SINK, offer, &(struct world_fetch_options){.progress_ms = 50});
    struct world_handoff *other =
        world_fetch(w, SINK, world_offer(w, SOURCE, &whole), &(struct world_fetch_options){0});

    settle(w);
    while (fetch->copies == 2) {
        end_window(w, CORE_COPIED_ABORTED);
    }
    CHECK(fetch->copies == 1 && fetch->outcomes == 0 && other->copies == 2);
    while (fetch->copies == 1) {
        end_window(w, CORE_COPIED_OK);
    }
    CHECK(fetch->copies == 0 && fetch->outcomes == 0);
    world_after_ms(w, 50);
    CHECK(fetch->outcome == BATON_TIMED_OUT && fetch->cause == BATON_CAUSE_CLOCK_PROGRESS);
    CHECK(fetch->quiets == 1 && fetch->proof == BATON_PROOF_LOCAL_DRAIN);
    end_world(w);
}

/* Reading that fails ends the fetch once, when its other windows are back; a dead peer is a lost
 * link. */
TEST(failed_windows_end_the_fetch)
{
    const struct {
        enum core_copied status;
        baton_outcome outcome;
        baton_cause cause;
    } ends[] = {{CORE_COPIED_FAILED, BATON_FAILED, BATON_CAUSE_READ},
                {CORE_COPIED_PEER_DEAD, BATON_LINK_LOST, BATON_CAUSE_PEER_DIED}};

    for (int i = 0; i < 2; i++) {
        struct world *w = world_create(&(struct world_options){0});
        struct world_handoff *offer = world_offer(w, SOURCE, &whole);
        struct world_handoff *fetch = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});
        struct core_slot_view slot;

        settle(w);
        end_window(w, ends[i].status);
        CHECK(fetch->outcome == ends[i].outcome && fetch->cause == ends[i].cause);
        CHECK(fetch->stopped && fetch->copies == 1 && fetch->quiets == 0);
        end_window(w, ends[!i].status); /* the first decision won */
        CHECK(fetch->outcome == ends[i].outcome && fetch->quiets == 1);
        if (i == 1) {
            world_cut(w, SINK, SOURCE);
        }
        settle(w);
        world_slot(w, offer, 0, &slot);
        CHECK(slot.stage == BATON_STAGE_OFFERED); /* another can come */
        end_world(w);
    }
}

/* A window that was over by a proof from outside, and not by itself, is what the receipt says, also
 * when another came back by itself after it. */
TEST(proof_of_a_window_is_the_receipts)
{
    struct world *w = world_create(&(struct world_options){0});
    struct world_handoff *offer = world_offer(w, SOURCE, &whole);
    struct world_handoff *fetch = world_fetch(w, SINK, offer, &(struct world_fetch_options){0});

    settle(w);
    end_window_proven(w, 0, CORE_COPIED_FAILED, BATON_PROOF_HELPER_EXITED);
    CHECK(fetch->outcome == BATON_FAILED && fetch->quiets == 0);
    end_window(w, CORE_COPIED_ABORTED);
    CHECK(fetch->quiets == 1 && fetch->proof == BATON_PROOF_HELPER_EXITED);
    end_world(w);
}
