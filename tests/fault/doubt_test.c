/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source that is stopped while it may write into the sink's blocks: what the sink does about it
 * (on_doubt), and how much of its pool it lets that source hold.
 */
#include "fault/party.h"

#include "test.h"

enum {
    PROGRESS_MS = 150,
    SOON_MS = 1, /* before the doubt is told */
    PERCENT = 100 * PARTY_BLOCKS / PARTY_POOL_BLOCKS,
    CANARY = 7,
};

static const struct way landing = {"shm", BATON_LINK_AUTO, BATON_PUSH};

/* A source with two offers, stopped while it pushes the first, and the sink of that. */
struct scene {
    struct party *source, *sink;
    struct party_ticket first, second;
};

/* The sink is held, and has granted what the source will not write before it goes on. */
static struct scene scene_make(struct party_options sink)
{
    struct scene s = {.source = party_start(&(struct party_options){.way = &landing})};

    sink.way = &landing;
    sink.gate = PARTY_GATE_LANDED;
    s.sink = party_start(&sink);
    s.first = party_offer(s.source, 0, 1, BATON_WATERMARK_END);
    s.second = party_offer(s.source, 1, 2, BATON_WATERMARK_END);
    party_fetch_timed(s.sink, 0, &s.first, PROGRESS_MS);
    party_await_gate(s.sink);
    party_stop(s.source);
    return s;
}

static struct scene doubt_make(const struct party_options *sink)
{
    struct scene s = scene_make(*sink);

    party_open_gate(s.sink);
    party_await_doubt(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_TIMED_OUT);
    return s;
}

/* With the sink's receipt nobody writes into its blocks, whatever the source still does. */
static void scene_end(const struct scene *s)
{
    if (s->source->pid) {
        party_rewrite(s->sink, 0, CANARY);
        for (unsigned i = 0; i < 2; i++) {
            party_cancel(s->source, i, BATON_CANCEL_OFFER);
            party_await_end(s->source, i);
        }
        CHECK(party_wrong_bytes(s->sink, 0, CANARY) == 0);
    }
    party_finish(s->sink);
    party_finish(s->source);
}

static const struct party_handoff *seen(const struct party *party, unsigned handoff)
{
    return &party->seen->handoff[handoff];
}

/* Another source, in the same way. */
static void fetch_from_another(struct party *sink, unsigned handoff)
{
    struct party *other = party_start(&(struct party_options){.way = &landing});
    struct party_ticket ticket = party_offer(other, 0, 3, BATON_WATERMARK_END);

    party_fetch(sink, handoff, &ticket);
    party_await_end(sink, handoff);
    CHECK(party_outcome(sink, handoff) == BATON_COMPLETED);
    CHECK(party_wrong_bytes(sink, handoff, 3) == 0);
    party_await_end(other, 0);
    party_finish(other);
}

/* on_doubt_ms have passed when the doubt is told, and nothing was done: the source's word ends it.
 */
TEST(wait_leaves_the_source_alone)
{
    struct scene s = doubt_make(&(struct party_options){.on_doubt_ms = SOON_MS});

    CHECK(atomic_load(&seen(s.sink, 0)->receipts) == 0);
    party_continue(s.source);
    party_await_end(s.sink, 0);
    CHECK(seen(s.sink, 0)->receipt.proof == BATON_PROOF_PEER_DRAIN);
    CHECK(seen(s.sink, 0)->links_fenced == 0 && seen(s.sink, 0)->peers_killed == 0);
    scene_end(&s);
}

/* The link is closed, once, with the fetch that waits on it for the stopped source.  That is no
 * proof of what the source's own movers store: it is asked again over a new link. */
TEST(fence_closes_the_link)
{
    struct scene s = scene_make(
        (struct party_options){.on_doubt = BATON_ON_DOUBT_FENCE, .on_doubt_ms = SOON_MS});

    party_fetch(s.sink, 1, &s.second);
    party_open_gate(s.sink);
    party_await_end(s.sink, 1);
    CHECK(party_outcome(s.sink, 1) == BATON_LINK_LOST);
    CHECK(party_cause(s.sink, 1) == BATON_CAUSE_FENCED);
    CHECK(party_outcome(s.sink, 0) == BATON_TIMED_OUT);
    party_await_doubt(s.sink, 0);
    CHECK(atomic_load(&seen(s.sink, 0)->receipts) == 0);
    party_continue(s.source);
    party_await_end(s.sink, 0);
    CHECK(seen(s.sink, 0)->receipt.proof == BATON_PROOF_PEER_DRAIN);
    CHECK(seen(s.sink, 0)->links_fenced == 1 && seen(s.sink, 0)->peers_killed == 0);
    scene_end(&s);
}

/* The source is killed by nobody but the sink, and its end is the proof.  Where it is started again
 * it is another peer. */
TEST(kill_ends_the_doubt)
{
    struct scene s = scene_make((struct party_options){.on_doubt = BATON_ON_DOUBT_KILL_LOCAL_PEER,
                                                       .quarantine_percent_max = PERCENT - 1});

    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    party_await_killed(s.source);
    CHECK(party_outcome(s.sink, 0) == BATON_TIMED_OUT);
    CHECK(atomic_load(&seen(s.sink, 0)->doubts) == 1);
    CHECK(seen(s.sink, 0)->receipt.proof == BATON_PROOF_PEER_EXITED);
    CHECK(seen(s.sink, 0)->links_fenced == 1 && seen(s.sink, 0)->peers_killed == 1);
    fetch_from_another(s.sink, 1);
    scene_end(&s);
}

/* A peer with too much in doubt gets no more of the pool; others do.  With its word it does again.
 */
TEST(a_budget_is_of_one_peer)
{
    struct scene s = doubt_make(&(struct party_options){.quarantine_percent_max = PERCENT - 1});

    party_fetch_refused(s.sink, 1, &s.second, BATON_ELIMIT);
    fetch_from_another(s.sink, 2);
    party_fetch_refused(s.sink, 1, &s.second, BATON_ELIMIT);
    party_continue(s.source);
    party_await_end(s.sink, 0);
    party_fetch(s.sink, 1, &s.second);
    party_await_end(s.sink, 1);
    CHECK(party_outcome(s.sink, 1) == BATON_COMPLETED && party_wrong_bytes(s.sink, 1, 2) == 0);
    scene_end(&s);
}

/* The same, ended by the source's death; and its next life is not charged for it. */
TEST(a_budget_is_of_one_life)
{
    struct scene s = doubt_make(&(struct party_options){.quarantine_bytes_max = PARTY_BYTES - 1});

    party_fetch_refused(s.sink, 1, &s.second, BATON_ELIMIT);
    party_kill(s.source);
    party_await_end(s.sink, 0);
    CHECK(seen(s.sink, 0)->receipt.proof == BATON_PROOF_PEER_EXITED);
    party_finish(s.source);
    s.source = party_start(&(struct party_options){.way = &landing});
    s.first = party_offer(s.source, 0, 4, BATON_WATERMARK_END);
    s.second = party_offer(s.source, 1, 5, BATON_WATERMARK_END);
    party_fetch(s.sink, 1, &s.first);
    party_await_end(s.sink, 1);
    CHECK(party_outcome(s.sink, 1) == BATON_COMPLETED && party_wrong_bytes(s.sink, 1, 4) == 0);
    scene_end(&s);
}

/* What a peer may hold it may hold: its doubtful bytes are not more than the limits. */
TEST(a_budget_that_is_kept)
{
    struct scene s = doubt_make(&(struct party_options){.quarantine_bytes_max = PARTY_BYTES,
                                                        .quarantine_percent_max = PERCENT});

    party_fetch(s.sink, 1, &s.second);
    party_continue(s.source);
    party_await_end(s.sink, 0);
    party_await_end(s.sink, 1);
    CHECK(party_outcome(s.sink, 1) == BATON_COMPLETED && party_wrong_bytes(s.sink, 1, 2) == 0);
    scene_end(&s);
}
