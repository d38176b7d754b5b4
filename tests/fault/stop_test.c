/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Either process is stopped in mid read, and goes on later.  A cancel at the other end waits for
 * nobody, and what the stopped one says when it wakes up changes nothing.
 */
#include "fault/party.h"

#include "test.h"

enum {
    HALF = PARTY_BYTES / 2,
    QUIET_US_MAX = 1000000, /* from a cancel to its receipt: no clock of the engine is as long */
    COMMIT_TIMEOUT_MS = 200,
    LINK_TIMEOUT_MS = 600,
};

/* The source is stopped in mid read; the sink's cancel is quiet nevertheless.  Awake again, the
 * source hears of it, and its offer is free for the next fetch. */
static void source_stopped_sink_cancels(const struct way *way)
{
    struct party_options options = {.way = way};
    struct party *source = party_start(&options), *sink = party_start(&options);
    struct party_ticket ticket = party_offer(source, 0, 1, HALF);
    uint64_t cancelled_us;

    party_fetch(sink, 0, &ticket);
    party_await_landed(sink, 0, 1);
    party_await_stage(source, 0, BATON_STAGE_LEASED);
    party_stop(source);
    cancelled_us = party_cancel(sink, 0, BATON_CANCEL_ATTEMPT);
    party_await_end(sink, 0);
    CHECK(party_outcome(sink, 0) == BATON_CANCELLED);
    CHECK(party_quiet_us(sink, 0) - cancelled_us < QUIET_US_MAX);
    party_free(sink);
    CHECK(party_whole(sink));
    party_continue(source);
    party_await_stage(source, 0, BATON_STAGE_OFFERED);
    party_advance(source, 0, BATON_WATERMARK_END);
    party_fetch(sink, 1, &ticket);
    party_await_end(sink, 1);
    CHECK(party_outcome(sink, 1) == BATON_COMPLETED && party_wrong_bytes(sink, 1, 1) == 0);
    party_await_end(source, 0);
    CHECK(party_outcome(source, 0) == BATON_COMPLETED);
    party_finish(sink);
    party_finish(source);
}
TEST_EACH_WAY(source_stopped_sink_cancels)

/* The client of a stopped source's offer is gone: awake again, the source learns it and ends. */
static void source_stopped_request_over(const struct way *way)
{
    struct party_options options = {.way = way};
    struct party *source = party_start(&options), *sink = party_start(&options);
    struct party_ticket ticket = party_offer(source, 0, 1, HALF);
    uint64_t cancelled_us;

    party_fetch(sink, 0, &ticket);
    party_await_landed(sink, 0, 1);
    party_stop(source);
    cancelled_us = party_cancel(sink, 0, BATON_CANCEL_OFFER);
    party_await_end(sink, 0);
    CHECK(party_quiet_us(sink, 0) - cancelled_us < QUIET_US_MAX);
    party_continue(source);
    party_await_end(source, 0);
    CHECK(party_outcome(source, 0) == BATON_PEER_CANCELLED);
    CHECK(party_cause(source, 0) == BATON_CAUSE_CANCEL);
    party_finish(sink);
    party_finish(source);
}
TEST_EACH_WAY(source_stopped_request_over)

/* All bytes have landed and the source is stopped: its silence is not a commit.  The sink's clock
 * ends the fetch; the source, awake again, may count it as committed and is quiet. */
static void source_stopped_at_commit(const struct way *way)
{
    struct party_options options = {
        .way = way, .gate = PARTY_GATE_COMMITTING, .commit_timeout_ms = COMMIT_TIMEOUT_MS};
    struct party *source = party_start(&options), *sink = party_start(&options);
    struct party_ticket ticket = party_offer(source, 0, 1, BATON_WATERMARK_END);

    party_fetch(sink, 0, &ticket);
    party_await_gate(sink);
    party_stop(source);
    party_open_gate(sink);
    party_await_end(sink, 0);
    CHECK(party_outcome(sink, 0) == BATON_TIMED_OUT);
    CHECK(party_cause(sink, 0) == BATON_CAUSE_CLOCK_COMMIT);
    CHECK(sink->seen->handoff[0].result.stage == BATON_STAGE_COMMITTING);
    party_continue(source);
    party_await_end(source, 0);
    CHECK(party_outcome(source, 0) == BATON_COMPLETED);
    party_finish(sink);
    party_finish(source);
}
TEST_EACH_WAY(source_stopped_at_commit)

/* The sink is stopped in mid read; the source cancels, has its receipt at once and gives its blocks
 * to another request.  The sink, awake again, never takes what it reads there for the offer. */
static void sink_stopped_source_cancels(const struct way *way)
{
    struct party_options options = {.way = way, .gate = PARTY_GATE_LANDED};
    struct party *source = party_start(&options), *sink = party_start(&options);
    struct party_ticket ticket = party_offer(source, 0, 1, BATON_WATERMARK_END);
    uint64_t cancelled_us;

    party_fetch(sink, 0, &ticket);
    party_await_gate(sink);
    party_stop(sink);
    cancelled_us = party_cancel(source, 0, BATON_CANCEL_OFFER);
    party_await_end(source, 0);
    CHECK(party_outcome(source, 0) == BATON_CANCELLED);
    CHECK(party_quiet_us(source, 0) - cancelled_us < QUIET_US_MAX);
    party_rewrite(source, 0, 2);
    party_continue(sink);
    party_open_gate(sink);
    party_await_end(sink, 0);
    CHECK(party_outcome(sink, 0) == BATON_PEER_CANCELLED);
    CHECK(party_cause(sink, 0) == BATON_CAUSE_CANCEL);
    CHECK(party_wrong_bytes(source, 0, 2) == 0);
    party_finish(sink);
    party_finish(source);
}
TEST_EACH_WAY(sink_stopped_source_cancels)

/* The sink is stopped when all bytes have landed; the source cancels before COMMIT is said.  The
 * sink, awake again, asks for a commit that it can not have. */
static void sink_stopped_before_commit(const struct way *way)
{
    struct party_options options = {.way = way, .gate = PARTY_GATE_COMMITTING};
    struct party *source = party_start(&options), *sink = party_start(&options);
    struct party_ticket ticket = party_offer(source, 0, 1, BATON_WATERMARK_END);

    party_fetch(sink, 0, &ticket);
    party_await_gate(sink);
    party_stop(sink);
    party_cancel(source, 0, BATON_CANCEL_OFFER);
    party_await_end(source, 0);
    party_rewrite(source, 0, 2);
    party_continue(sink);
    party_open_gate(sink);
    party_await_end(sink, 0);
    CHECK(party_outcome(source, 0) == BATON_CANCELLED);
    CHECK(party_outcome(sink, 0) == BATON_PEER_CANCELLED);
    party_finish(sink);
    party_finish(source);
}
TEST_EACH_WAY(sink_stopped_before_commit)

static const struct way tcp_link = {"tcp", BATON_LINK_TCP, BATON_PULL};

/* Between hosts nobody can tell a stopped source from a dead one: the link closes.  What the source
 * says when it wakes up is of a link that is gone, and the offer is read over a new one. */
TEST(source_stopped_for_too_long)
{
    struct party_options options = {.way = &tcp_link, .link_timeout_ms = LINK_TIMEOUT_MS};
    struct party *source = party_start(&options), *sink = party_start(&options);
    struct party_ticket ticket = party_offer(source, 0, 1, HALF);

    party_fetch(sink, 0, &ticket);
    party_await_landed(sink, 0, 1);
    party_stop(source);
    party_await_end(sink, 0);
    CHECK(party_outcome(sink, 0) == BATON_LINK_LOST);
    CHECK(party_cause(sink, 0) == BATON_CAUSE_LINK_SILENT);
    party_continue(source);
    party_await_stage(source, 0, BATON_STAGE_OFFERED);
    party_advance(source, 0, BATON_WATERMARK_END);
    party_fetch(sink, 1, &ticket);
    party_await_end(sink, 1);
    CHECK(party_outcome(sink, 1) == BATON_COMPLETED && party_wrong_bytes(sink, 1, 1) == 0);
    party_await_end(source, 0);
    party_finish(sink);
    party_finish(source);
}

/* The sink is stopped with all bytes landed, until the source gives its lease to another.  Awake
 * again it asks for the commit that the other one has: one of them completes, not both. */
TEST(sink_stopped_for_too_long)
{
    struct party_options options = {.way = &tcp_link, .link_timeout_ms = LINK_TIMEOUT_MS};
    struct party_options gated = {
        .way = &tcp_link, .link_timeout_ms = LINK_TIMEOUT_MS, .gate = PARTY_GATE_COMMITTING};
    struct party *source = party_start(&options), *sink = party_start(&gated);
    struct party *other = party_start(&options);
    struct party_ticket ticket = party_offer(source, 0, 1, BATON_WATERMARK_END);

    party_fetch(sink, 0, &ticket);
    party_await_gate(sink);
    party_stop(sink);
    party_await_stage(source, 0, BATON_STAGE_OFFERED);
    party_fetch(other, 0, &ticket);
    party_await_end(other, 0);
    CHECK(party_outcome(other, 0) == BATON_COMPLETED && party_wrong_bytes(other, 0, 1) == 0);
    party_await_end(source, 0);
    CHECK(party_outcome(source, 0) == BATON_COMPLETED);
    party_continue(sink);
    party_open_gate(sink);
    party_await_end(sink, 0);
    CHECK(party_outcome(sink, 0) == BATON_LINK_LOST);
    party_finish(sink);
    party_finish(other);
    party_finish(source);
}
