/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where this project starts: what TensorRT-LLM's pull request 13495 wants of a cancelled transfer,
 * point by point, between real processes: over NIXL, where its library is there, and over shm
 * where the source writes into the sink's blocks.
 */
#include "fault/scene.h"

#include <stdlib.h>

#include "test.h"

enum {
    CLOCK_MS = 400, /* of the sink's progress, where the source is stopped */
    DRAIN_MS = 50,  /* of a drain in vain */
};

static const struct way push_shm = {"shm", BATON_LINK_AUTO, BATON_PUSH};
static const struct way pull = {"nixl", BATON_LINK_AUTO, BATON_PULL};
static const struct way push = {"nixl", BATON_LINK_AUTO, BATON_PUSH};

/* How it travels, where NIXL runs, and over what. */
static const struct party_options by_shm = {.way = &push_shm};
static const struct party_options by_nixl[] = {
    {.way = &pull, .host = BATON_HOST_IN_PROCESS, .lanes = "tcp"},
    {.way = &push, .host = BATON_HOST_IN_PROCESS, .lanes = "tcp"},
    {.way = &pull, .host = BATON_HOST_HELPER, .lanes = "tcp"},
    {.way = &push, .host = BATON_HOST_HELPER, .lanes = "tcp"},
};

typedef void (*story)(const struct party_options *how);

static void tell_by_nixl(story tell, bool pushes_only)
{
    for (size_t i = 0; i < sizeof(by_nixl) / sizeof(by_nixl[0]) && scene_has_nixl(); i++) {
        if (by_nixl[i].way->mode == BATON_PUSH || !pushes_only) {
            tell(&by_nixl[i]);
        }
    }
}

/* A point of the list, as a test over each. */
#define TEST_POINT(point)                                                                          \
    TEST(point##_shm)                                                                              \
    {                                                                                              \
        point(&by_shm);                                                                            \
    }                                                                                              \
    TEST(point##_nixl)                                                                             \
    {                                                                                              \
        tell_by_nixl(point, false);                                                                \
    }

#define TEST_PUSH_POINT(point)                                                                     \
    TEST(point##_shm)                                                                              \
    {                                                                                              \
        point(&by_shm);                                                                            \
    }                                                                                              \
    TEST(point##_nixl)                                                                             \
    {                                                                                              \
        tell_by_nixl(point, true);                                                                 \
    }

/*
 * 1. Request memory stays owned while any transfer can touch it, on both sides: whatever the
 * program tries, in mid transfer and in doubt; and all of it is free with the receipt.
 */
static void memory_stays_owned(const struct party_options *how)
{
    struct scene s = scene_make(how);

    CHECK(party_guards(s.sink, 0) == PARTY_GUARDS);
    CHECK(party_guards(s.source, 0) == PARTY_GUARDS);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    party_await_end(s.source, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_COMPLETED && party_wrong_bytes(s.sink, 0, 1) == 0);
    scene_end(&s);
}
TEST_POINT(memory_stays_owned)

/* In doubt, too: what was granted can land until the source says that it will not. */
static void memory_in_doubt_stays_owned(const struct party_options *how)
{
    struct scene s = scene_stalled(how, CLOCK_MS);

    party_open_gate(s.sink);
    party_await_doubt(s.sink, 1);
    CHECK(party_outcome(s.sink, 1) == BATON_TIMED_OUT && !party_has_receipt(s.sink, 1));
    CHECK(party_guards(s.sink, 1) == PARTY_GUARDS);
    party_continue(s.source);
    party_await_end(s.sink, 1);
    scene_stays_quiet(&s, 1);
    scene_end(&s);
}
TEST_PUSH_POINT(memory_in_doubt_stays_owned)

/*
 * 2. Nothing is free because of an error that says too little: on lanes without a proof a source
 * that dies in mid transfer leaves the sink's blocks in quarantine, for good.  Others get none of
 * them, the engine neither drains nor can be destroyed, and says how much it keeps.
 */
static void fails_closed(const struct party_options *how)
{
    struct party_options all_lanes = *how;
    struct baton_abandoned kept;
    struct scene s;

    all_lanes.lanes = "all";
    s = scene_make(&all_lanes);
    party_kill(s.source);
    party_open_gate(s.sink);
    party_await_doubt(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_LINK_LOST);
    CHECK(party_guards(s.sink, 0) == PARTY_GUARDS);
    party_close(s.sink);
    CHECK(party_drain(s.sink, DRAIN_MS) == BATON_ETIMEOUT);
    party_status(s.sink);
    CHECK(s.sink->seen->pool.quarantine_blocks == PARTY_BLOCKS);
    CHECK(party_guards(s.sink, 0) == PARTY_GUARDS && !party_has_receipt(s.sink, 0));
    kept = party_abandon(s.sink);
    CHECK(kept.pools == 1 && kept.handoffs == 1);
    CHECK(kept.bytes == (uint64_t)PARTY_POOL_BLOCKS * PARTY_BLOCK_BYTES);
    party_kill(s.sink);
    scene_end(&s);
}

TEST(fails_closed_nixl)
{
    tell_by_nixl(fails_closed, true);
}

/*
 * 3. The release hook is the receipt, and the destructor the last guard: also of a closed engine,
 * until the receipts are there and used.
 */
static void destructor_is_the_last_guard(const struct party_options *how)
{
    struct scene s = scene_make(how);

    party_close(s.sink);
    CHECK(party_guards(s.sink, 0) == PARTY_GUARDS);
    party_close(s.source);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    party_await_end(s.source, 0);
    CHECK(party_cause(s.sink, 0) == BATON_CAUSE_CLOSING);
    CHECK(party_cause(s.source, 0) == BATON_CAUSE_CLOSING);
    scene_end(&s); /* destroys both */
}
TEST_POINT(destructor_is_the_last_guard)

/* Who gives the engine up hears what it keeps, and what lands there late harms nobody. */
static void abandon_keeps_the_memory(const struct party_options *how)
{
    struct scene s = scene_stalled(how, CLOCK_MS);
    struct baton_abandoned kept;

    party_open_gate(s.sink);
    party_await_doubt(s.sink, 1);
    kept = party_abandon(s.sink);
    CHECK(kept.pools == 1 && kept.handoffs == 1);
    CHECK(kept.bytes == (uint64_t)PARTY_POOL_BLOCKS * PARTY_BLOCK_BYTES);
    party_continue(s.source);
    party_cancel(s.source, 1, BATON_CANCEL_OFFER);
    party_await_end(s.source, 1);
    party_kill(s.sink);
    scene_end(&s);
}
TEST_PUSH_POINT(abandon_keeps_the_memory)

/*
 * 4. Sending and receiving look for a cancel between windows: after one no more lands than what
 * was under way.  Here the sender's, which has its end while the sink's engine does nothing.
 */
static void cancel_of_a_send_waits_for_windows_only(const struct party_options *how)
{
    struct scene s = scene_make(how);
    uint64_t landed = atomic_load(&party_seen(s.sink, 0)->landed);

    CHECK(party_ask_cancel(s.source, 0, BATON_CANCEL_OFFER) == BATON_CANCEL_REQUESTED);
    party_await_end(s.source, 0);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_PEER_CANCELLED);
    CHECK(party_seen(s.sink, 0)->receipt.bytes_landed <= landed + 2ul * PARTY_BLOCK_BYTES);
    scene_end(&s);
}
TEST_POINT(cancel_of_a_send_waits_for_windows_only)

/*
 * 5. A cancel is of one request, and comes after its books: cancelled twice by both sides at once,
 * each end has one outcome, and then one receipt; the request beside it completes.
 */
static void cancel_is_of_one_request(const struct party_options *how)
{
    struct scene s = scene_make(how);
    struct party_ticket other = party_offer(s.source, 1, 2, BATON_WATERMARK_END);

    party_fetch(s.sink, 1, &other);
    CHECK(party_ask_cancel(s.source, 0, BATON_CANCEL_OFFER) == BATON_CANCEL_REQUESTED);
    party_ask_cancel(s.sink, 0, BATON_CANCEL_OFFER);
    party_ask_cancel(s.source, 0, BATON_CANCEL_OFFER);
    party_ask_cancel(s.sink, 0, BATON_CANCEL_ATTEMPT);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    party_await_end(s.source, 0);
    CHECK(party_outcome(s.source, 0) == BATON_CANCELLED);
    CHECK(party_outcome(s.sink, 0) == BATON_CANCELLED ||
          party_outcome(s.sink, 0) == BATON_PEER_CANCELLED);
    party_await_end(s.sink, 1);
    party_await_end(s.source, 1);
    CHECK(party_outcome(s.sink, 1) == BATON_COMPLETED && party_wrong_bytes(s.sink, 1, 2) == 0);
    for (unsigned i = 0; i < 2; i++) {
        struct party *party = i ? s.source : s.sink;

        CHECK(party_ask_cancel(party, 0, BATON_CANCEL_OFFER) == BATON_CANCEL_ALREADY_DECIDED);
        CHECK(party_ask_cancel(party, 1, BATON_CANCEL_OFFER) == BATON_CANCEL_ALREADY_DECIDED);
        CHECK(party_seen(party, 0)->outcomes == 1 && party_seen(party, 0)->receipts == 1);
        CHECK(!party_seen(party, 0)->disordered && !party_seen(party, 1)->disordered);
    }
    scene_end(&s);
}
TEST_POINT(cancel_is_of_one_request)

/*
 * 6. A receive in progress can be cancelled: the call says so the first time, no more lands than
 * was under way, and the blocks come back; again and again.
 */
static void cancel_of_a_receive_in_progress(const struct party_options *how)
{
    struct scene s = scene_make(how);
    uint64_t landed = atomic_load(&party_seen(s.sink, 0)->landed);

    CHECK(party_ask_cancel(s.sink, 0, BATON_CANCEL_ATTEMPT) == BATON_CANCEL_REQUESTED);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_CANCELLED);
    CHECK(party_cause(s.sink, 0) == BATON_CAUSE_CANCEL);
    CHECK(party_seen(s.sink, 0)->receipt.bytes_landed <= landed + 2ul * PARTY_BLOCK_BYTES);
    for (unsigned i = 1; i < 4; i++) {
        party_free(s.sink);
        party_fetch(s.sink, i, &s.ticket);
        party_await_landed(s.sink, i, 1);
        party_ask_cancel(s.sink, i, BATON_CANCEL_ATTEMPT);
        party_await_end(s.sink, i);
        CHECK(party_outcome(s.sink, i) == BATON_CANCELLED ||
              party_outcome(s.sink, i) == BATON_COMPLETED);
    }
    party_cancel(s.source, 0, BATON_CANCEL_OFFER);
    party_await_end(s.source, 0);
    scene_end(&s);
}
TEST_POINT(cancel_of_a_receive_in_progress)

/*
 * 7. Asking how it stands waits for no transfer: not while the engine itself is held in one, not
 * while the peer is stopped, not in doubt.
 */
static void status_waits_for_no_transfer(const struct party_options *how)
{
    struct scene s = scene_stalled(how, CLOCK_MS);

    party_status(s.sink); /* its engine is held */
    CHECK(s.sink->seen->pool.lent_blocks == PARTY_BLOCKS);
    party_open_gate(s.sink);
    party_await_doubt(s.sink, 1);
    party_status(s.sink);
    CHECK(s.sink->seen->pool.quarantine_blocks == PARTY_BLOCKS);
    party_continue(s.source);
    party_await_end(s.sink, 1);
    party_status(s.sink);
    CHECK(s.sink->seen->pool.lent_blocks == 0 && s.sink->seen->pool.quarantine_blocks == 0);
    party_cancel(s.source, 1, BATON_CANCEL_OFFER);
    party_await_end(s.source, 1);
    scene_end(&s);
}
TEST_PUSH_POINT(status_waits_for_no_transfer)
