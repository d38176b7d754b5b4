/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Either process is killed in mid read.  The other one ends its handoffs on its own, its pool is
 * whole, and it goes on with whoever comes next.
 */
#include "fault/party.h"

#include "test.h"

enum {
    HALF = PARTY_BYTES / 2,
    END_US_MAX = 1000000, /* from the kill to the receipt */
    LINK_TIMEOUT_MS = 600,
};

/* With a link as between hosts, a peer that can not be seen to die is silent. */
static uint64_t bound_us(const struct way *way, bool held)
{
    return held && way->link == BATON_LINK_TCP ? END_US_MAX + LINK_TIMEOUT_MS * UINT64_C(1000)
                                               : END_US_MAX;
}

static bool is_death(baton_cause cause, const struct way *way, bool held)
{
    if (way->link == BATON_LINK_AUTO) {
        /* The end of the socket may be seen before the end of the process. */
        return cause == BATON_CAUSE_PEER_DIED || (!held && cause == BATON_CAUSE_LINK_CLOSED);
    }
    return cause == (held ? BATON_CAUSE_LINK_SILENT : BATON_CAUSE_LINK_CLOSED);
}

static struct party_options options_of(const struct way *way, bool held)
{
    return (struct party_options){.way = way, .link_timeout_ms = held ? LINK_TIMEOUT_MS : 0};
}

/* A new source process serves the sink, which has lost one. */
static void serve_from_new_source(struct party *sink, unsigned handoff, const struct way *way)
{
    struct party_options options = options_of(way, false);
    struct party *source = party_start(&options);
    struct party_ticket ticket = party_offer(source, 0, 7, BATON_WATERMARK_END);

    party_fetch(sink, handoff, &ticket);
    party_await_end(sink, handoff);
    CHECK(party_outcome(sink, handoff) == BATON_COMPLETED);
    CHECK(party_wrong_bytes(sink, handoff, 7) == 0);
    party_await_end(source, 0);
    CHECK(party_outcome(source, 0) == BATON_COMPLETED);
    party_finish(source);
}

static void kill_source(const struct way *way, bool held)
{
    struct party_options options = options_of(way, held);
    struct party *source = party_start(&options), *sink = party_start(&options);
    struct party_ticket ticket = party_offer(source, 0, 1, HALF);
    pid_t holder = 0;
    uint64_t killed_us;

    party_fetch(sink, 0, &ticket);
    party_await_landed(sink, 0, 1);
    if (held) {
        /* Nothing moves, so that no mover finds out. */
        party_await_landed(sink, 0, HALF);
        holder = party_fork_holder(source);
    }
    killed_us = party_kill(source);
    party_await_end(sink, 0);
    CHECK(party_outcome(sink, 0) == BATON_LINK_LOST);
    CHECK(is_death(party_cause(sink, 0), way, held));
    CHECK(party_quiet_us(sink, 0) - killed_us < bound_us(way, held));
    party_free(sink);
    CHECK(party_whole(sink));
    serve_from_new_source(sink, 1, way);
    if (held) {
        party_end_holder(holder);
    }
    party_finish(sink);
    party_finish(source);
}

/* kill -9 of the source in mid read: the sink's fetch ends at once, and another source serves it.
 */
static void source_killed(const struct way *way)
{
    kill_source(way, false);
}
TEST_EACH_WAY(source_killed)

/* The same, when a child of the source keeps all its sockets open. */
static void source_killed_sockets_held(const struct way *way)
{
    kill_source(way, true);
}
TEST_EACH_WAY(source_killed_sockets_held)

/* Another decode process reads the offer whose first reader was lost. */
static void fetch_by_other_sink(struct party *source, unsigned offer,
                                const struct party_ticket *ticket, const struct way *way)
{
    struct party_options options = options_of(way, false);
    struct party *sink = party_start(&options);

    party_fetch(sink, 0, ticket);
    party_await_landed(sink, 0, HALF);
    party_advance(source, offer, BATON_WATERMARK_END);
    party_await_end(sink, 0);
    CHECK(party_outcome(sink, 0) == BATON_COMPLETED);
    CHECK(party_wrong_bytes(sink, 0, 1) == 0);
    party_await_end(source, offer);
    CHECK(party_outcome(source, offer) == BATON_COMPLETED);
    CHECK(source->seen->handoff[offer].receipt.attempts == 2);
    party_finish(sink);
}

static void kill_sink(const struct way *way, bool held)
{
    struct party_options options = options_of(way, held);
    struct party *source = party_start(&options), *sink = party_start(&options);
    struct party_ticket ticket = party_offer(source, 0, 1, HALF);
    pid_t holder = 0;
    uint64_t killed_us;

    party_fetch(sink, 0, &ticket);
    party_await_landed(sink, 0, 1);
    party_await_stage(source, 0, BATON_STAGE_LEASED);
    if (held) {
        holder = party_fork_holder(sink);
    }
    killed_us = party_kill(sink);
    party_await_stage(source, 0, BATON_STAGE_OFFERED);
    CHECK(source->seen->handoff[0].stage_us - killed_us < bound_us(way, held));
    CHECK(party_outcome(source, 0) == BATON_UNDECIDED);
    fetch_by_other_sink(source, 0, &ticket, way);
    if (held) {
        party_end_holder(holder);
    }
    party_finish(source);
    party_finish(sink);
}

/* kill -9 of the sink in mid read: the offer waits for a reader again, and one comes. */
static void sink_killed(const struct way *way)
{
    kill_sink(way, false);
}
TEST_EACH_WAY(sink_killed)

/* The same, when a child of the sink keeps all its sockets open. */
static void sink_killed_sockets_held(const struct way *way)
{
    kill_sink(way, true);
}
TEST_EACH_WAY(sink_killed_sockets_held)

/* kill -9 of the source while the sink's last word, COMMIT, is about to be said: never COMPLETED.
 */
static void source_killed_before_commit(const struct way *way)
{
    struct party_options options = {.way = way, .gate = PARTY_GATE_COMMITTING};
    struct party *source = party_start(&options), *sink = party_start(&options);
    struct party_ticket ticket = party_offer(source, 0, 1, BATON_WATERMARK_END);

    party_fetch(sink, 0, &ticket);
    party_await_gate(sink);
    party_kill(source);
    party_open_gate(sink);
    party_await_end(sink, 0);
    CHECK(party_outcome(sink, 0) == BATON_LINK_LOST);
    CHECK(sink->seen->handoff[0].result.stage == BATON_STAGE_COMMITTING);
    party_finish(sink);
    party_finish(source);
}
TEST_EACH_WAY(source_killed_before_commit)
