/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A push over shm: the source's process writes into the sink's blocks itself.  What it may still
 * write when a fetch ends is known by its word or by its end, and by nothing else.
 */
#include "fault/scene.h"

#include "test.h"

enum { PROGRESS_MS = 150 };

static const struct way landing = {"shm", BATON_LINK_AUTO, BATON_PUSH};

/* Undisturbed, all of it lands, and the source has said so. */
TEST(push_over_shm_completes)
{
    struct scene s = scene_make(&(struct party_options){.way = &landing});

    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    party_await_end(s.source, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_COMPLETED && party_wrong_bytes(s.sink, 0, 1) == 0);
    CHECK(s.sink->seen->handoff[0].receipt.proof == BATON_PROOF_PEER_DRAIN);
    CHECK(party_outcome(s.source, 0) == BATON_COMPLETED);
    scene_end(&s);
}

/* The sink cancels, and has its receipt with the source's word; what it writes into the blocks then
 * stays. */
TEST(cancel_of_a_push_over_shm)
{
    struct scene s = scene_make(&(struct party_options){.way = &landing});

    party_open_gate(s.sink);
    party_cancel(s.sink, 0, BATON_CANCEL_ATTEMPT);
    party_await_end(s.sink, 0);
    if (party_outcome(s.sink, 0) == BATON_CANCELLED) {
        party_rewrite(s.sink, 0, 7);
        party_fetch(s.sink, 1, &s.ticket);
        party_await_end(s.sink, 1);
        CHECK(party_outcome(s.sink, 1) == BATON_COMPLETED && party_wrong_bytes(s.sink, 1, 1) == 0);
        CHECK(party_wrong_bytes(s.sink, 0, 7) == 0);
    }
    party_await_end(s.source, 0);
    scene_end(&s);
}

/* The source is stopped with a window in its hands.  The clock's end is told at once; the receipt
 * waits, however long, for the source's word. */
TEST(stopped_source_leaves_doubt)
{
    struct scene s =
        scene_make(&(struct party_options){.way = &landing, .progress_timeout_ms = PROGRESS_MS});
    const struct party_handoff *h = &s.sink->seen->handoff[0];

    party_stop(s.source);
    party_open_gate(s.sink);
    party_await_doubt(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_TIMED_OUT);
    CHECK(atomic_load(&h->receipts) == 0);
    party_continue(s.source);
    party_await_end(s.sink, 0);
    CHECK(h->receipt.proof == BATON_PROOF_PEER_DRAIN);
    scene_stays_quiet(&s, 0);
    scene_end(&s);
}

/* The source is killed with a window in its hands: its end is the proof. */
TEST(killed_source_is_a_proof)
{
    struct scene s = scene_make(&(struct party_options){.way = &landing});
    const struct party_handoff *h = &s.sink->seen->handoff[0];

    party_kill(s.source);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_LINK_LOST);
    CHECK(party_cause(s.sink, 0) == BATON_CAUSE_PEER_DIED);
    CHECK(h->receipt.proof == BATON_PROOF_PEER_EXITED);
    scene_end(&s);
}

/* Stopped, in doubt, and then killed: the doubt ends with the process. */
TEST(killed_in_doubt)
{
    struct scene s =
        scene_make(&(struct party_options){.way = &landing, .progress_timeout_ms = PROGRESS_MS});
    const struct party_handoff *h = &s.sink->seen->handoff[0];

    party_stop(s.source);
    party_open_gate(s.sink);
    party_await_doubt(s.sink, 0);
    CHECK(atomic_load(&h->receipts) == 0);
    party_kill(s.source);
    party_await_end(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_TIMED_OUT);
    CHECK(h->receipt.proof == BATON_PROOF_PEER_EXITED);
    scene_end(&s);
}

/* A stopped sink keeps no source from its blocks: only the source's own movers read them. */
TEST(source_cancels_under_a_stopped_sink)
{
    struct scene s = scene_make(&(struct party_options){.way = &landing});

    party_stop(s.sink);
    party_cancel(s.source, 0, BATON_CANCEL_OFFER);
    party_await_end(s.source, 0);
    CHECK(party_outcome(s.source, 0) == BATON_CANCELLED);
    party_continue(s.sink);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_PEER_CANCELLED);
    party_rewrite(s.sink, 0, 7);
    party_free(s.source);
    CHECK(party_wrong_bytes(s.sink, 0, 7) == 0);
    scene_end(&s);
}
