/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attacks on pushes between real processes: stopped, killed, forked and started again, while who is
 * left closes, drains and retries.  The clocks and drains have bounds; receipts wait for proofs.
 */
#include "fault/scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

enum {
    PROGRESS_MS = 150,
    DRAIN_MS = 100,
    LINK_TIMEOUT_MS = 400,
    LONG_MS = 1500, /* a clock that does not run out while a second party is started */
    CANARY = 7,
    HALF = PARTY_BYTES / 2,
};

static const struct way landing = {"shm", BATON_LINK_AUTO, BATON_PUSH};
static const struct way landing_socket = {"shm", BATON_LINK_SOCKET, BATON_PUSH};
static const struct way stream = {"tcp", BATON_LINK_AUTO, BATON_PUSH};
static const struct way stream_link = {"tcp", BATON_LINK_TCP, BATON_PUSH};
static const struct way *const pushes[] = {&landing, &landing_socket, &stream, &stream_link};

/* The source is stopped, the sink granted more and its clock ran out: a doubt. */
static struct scene doubt_make(void)
{
    struct scene s =
        scene_make(&(struct party_options){.way = &landing, .progress_timeout_ms = PROGRESS_MS});

    party_stop(s.source);
    party_open_gate(s.sink);
    party_await_doubt(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_TIMED_OUT);
    return s;
}

/* The sink closes and drains in doubt: in time, and in vain.  With the source's word it is done. */
TEST(closing_in_doubt_waits_for_the_proof)
{
    struct scene s = doubt_make();

    party_close(s.sink);
    CHECK(party_drain(s.sink, DRAIN_MS) == BATON_ETIMEOUT);
    party_free(s.sink);
    CHECK(s.sink->seen->pool.quarantine_blocks == PARTY_BLOCKS && !party_has_receipt(s.sink, 0));
    party_continue(s.source);
    party_await_end(s.sink, 0);
    CHECK(party_proof(s.sink, 0) == BATON_PROOF_PEER_DRAIN);
    scene_stays_quiet(&s, 0);
    scene_end(&s);
}

/* The sink in doubt is served by another source, in the same way. */
TEST(doubt_does_not_hold_up_another_source)
{
    struct party_options options = {.way = &landing};
    struct scene s = doubt_make();
    struct party *other = party_start(&options);
    struct party_ticket ticket = party_offer(other, 0, 2, BATON_WATERMARK_END);

    party_fetch(s.sink, 1, &ticket);
    party_await_end(s.sink, 1);
    CHECK(party_outcome(s.sink, 1) == BATON_COMPLETED && party_wrong_bytes(s.sink, 1, 2) == 0);
    party_await_end(other, 0);
    CHECK(!party_has_receipt(s.sink, 0));
    party_finish(other);
    party_kill(s.source);
    party_await_end(s.sink, 0);
    CHECK(party_proof(s.sink, 0) == BATON_PROOF_PEER_EXITED);
    scene_end(&s);
}

/* The sink dies in doubt.  The source, when it goes on, is whole, and serves the next one. */
TEST(sink_killed_in_doubt)
{
    struct party_options options = {.way = &landing};
    struct scene s = doubt_make();
    struct party *next;

    party_kill(s.sink);
    party_continue(s.source);
    next = party_start(&options);
    party_fetch(next, 0, &s.ticket);
    party_await_end(next, 0);
    /* The source may not have heard of the death yet. */
    CHECK(party_outcome(next, 0) == BATON_COMPLETED || party_cause(next, 0) == BATON_CAUSE_BUSY);
    party_cancel(s.source, 0, BATON_CANCEL_OFFER);
    party_await_end(s.source, 0);
    party_finish(next);
    scene_end(&s);
}

/* A child of the source holds all its descriptors: the source's own end is the proof. */
TEST(source_killed_with_a_child_that_holds)
{
    struct scene s = scene_make(&(struct party_options){.way = &landing});
    pid_t holder = party_fork_holder(s.source);

    CHECK(party_fork_wrong_calls(s.source) == 0);
    party_kill(s.source);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_LINK_LOST);
    CHECK(party_proof(s.sink, 0) == BATON_PROOF_PEER_EXITED);
    party_rewrite(s.sink, 0, CANARY);
    CHECK(party_wrong_bytes(s.sink, 0, CANARY) == 0);
    party_end_holder(holder);
    scene_end(&s);
}

/* The same with a child of the sink: what the source writes is seen, and stays. */
TEST(sink_forks_in_mid_push)
{
    struct scene s = scene_make(&(struct party_options){.way = &landing});
    pid_t holder = party_fork_holder(s.sink);

    CHECK(party_fork_wrong_calls(s.sink) == 0);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_COMPLETED && party_wrong_bytes(s.sink, 0, 1) == 0);
    party_await_end(s.source, 0);
    scene_end(&s);
    party_end_holder(holder);
}

/* The source closes, drains and destroys its engine in mid push, and its process goes on. */
TEST(source_closed_in_mid_push)
{
    for (unsigned i = 0; i < sizeof(pushes) / sizeof(pushes[0]); i++) {
        struct scene s = scene_make(&(struct party_options){.way = pushes[i]});

        party_close(s.source);
        party_open_gate(s.sink);
        party_await_end(s.sink, 0);
        CHECK(party_outcome(s.sink, 0) == BATON_PEER_CANCELLED);
        CHECK(party_cause(s.sink, 0) == BATON_CAUSE_CLOSING);
        party_rewrite(s.sink, 0, CANARY);
        party_await_end(s.source, 0);
        CHECK(party_drain(s.source, PARTY_PATIENCE_MS) == BATON_OK);
        CHECK(party_wrong_bytes(s.sink, 0, CANARY) == 0);
        scene_end(&s);
    }
}

/* The sink closes in mid push: its attempt is over, the offer is not. */
TEST(sink_closed_in_mid_push)
{
    for (unsigned i = 0; i < sizeof(pushes) / sizeof(pushes[0]); i++) {
        struct scene s = scene_make(&(struct party_options){.way = pushes[i]});

        party_close(s.sink);
        party_open_gate(s.sink);
        party_await_end(s.sink, 0);
        CHECK(party_outcome(s.sink, 0) == BATON_CANCELLED);
        party_rewrite(s.sink, 0, CANARY);
        CHECK(party_outcome(s.source, 0) == BATON_UNDECIDED);
        party_cancel(s.source, 0, BATON_CANCEL_OFFER);
        party_await_end(s.source, 0);
        CHECK(party_wrong_bytes(s.sink, 0, CANARY) == 0);
        scene_end(&s);
    }
}

/* A sink dies in mid push: its slot is free, another sink has the whole offer. */
TEST(sink_killed_in_mid_push_leaves_the_offer)
{
    for (unsigned i = 0; i < sizeof(pushes) / sizeof(pushes[0]); i++) {
        struct party_options options = {.way = pushes[i]};
        struct scene s = scene_make(&(struct party_options){.way = pushes[i]});
        struct party *next = party_start(&options);
        unsigned n = 0;

        party_kill(s.sink);
        do {
            party_fetch(next, n, &s.ticket);
            party_await_end(next, n);
            party_free(next);
        } while (party_cause(next, n) == BATON_CAUSE_BUSY && ++n < PARTY_HANDOFFS);
        CHECK(n == PARTY_HANDOFFS || party_outcome(next, n) == BATON_COMPLETED);
        party_cancel(s.source, 0, BATON_CANCEL_OFFER);
        party_await_end(s.source, 0);
        CHECK(party_proof(s.source, 0) == BATON_PROOF_LOCAL_DRAIN);
        party_finish(next);
        scene_end(&s);
    }
}

/* Both cancel, one of them while the other is stopped; each has its receipt by itself over tcp, the
 * sink over shm waits. */
TEST(both_cancel_around_a_stop)
{
    for (unsigned i = 0; i < sizeof(pushes) / sizeof(pushes[0]); i++) {
        struct scene s = scene_make(&(struct party_options){.way = pushes[i]});

        party_stop(s.source);
        party_open_gate(s.sink);
        party_cancel(s.sink, 0, BATON_CANCEL_ATTEMPT);
        if (pushes[i] == &stream || pushes[i] == &stream_link) {
            party_await_end(s.sink, 0);
            CHECK(party_proof(s.sink, 0) == BATON_PROOF_LOCAL_DRAIN);
        }
        party_continue(s.source);
        party_cancel(s.source, 0, BATON_CANCEL_OFFER);
        party_await_end(s.sink, 0);
        party_rewrite(s.sink, 0, CANARY);
        party_await_end(s.source, 0);
        CHECK(party_wrong_bytes(s.sink, 0, CANARY) == 0);
        scene_end(&s);
    }
}

/* Doubt, and the source is killed and started again where it listened: its new life knows nothing
 * of the old attempt, and is not asked in its place. */
TEST(source_started_again_after_doubt)
{
    char folder[] = "/tmp/baton-fault-XXXXXX", path[64];
    struct party_options options = {.way = &landing, .listen = {path, "tcp:127.0.0.1:0"}};
    struct scene s;

    if (!CHECK(mkdtemp(folder))) {
        return;
    }
    snprintf(path, sizeof(path), "unix:%s/source", folder);
    s.source = party_start(&options);
    options = (struct party_options){
        .way = &landing, .gate = PARTY_GATE_LANDED, .progress_timeout_ms = PROGRESS_MS};
    s.sink = party_start(&options);
    s.ticket = party_offer(s.source, 0, 1, BATON_WATERMARK_END);
    party_fetch(s.sink, 0, &s.ticket);
    party_await_gate(s.sink);
    party_stop(s.source);
    party_open_gate(s.sink);
    party_await_doubt(s.sink, 0);
    party_kill(s.source);
    party_finish(s.source);
    options = (struct party_options){.way = &landing, .listen = {path, "tcp:127.0.0.1:0"}};
    s.source = party_start(&options);
    party_await_end(s.sink, 0);
    CHECK(party_proof(s.sink, 0) == BATON_PROOF_PEER_EXITED);
    party_fetch(s.sink, 1, &s.ticket);
    party_await_end(s.sink, 1);
    CHECK(party_cause(s.sink, 1) == BATON_CAUSE_INCARNATION);
    s.ticket = party_offer(s.source, 0, 3, HALF);
    party_fetch(s.sink, 2, &s.ticket);
    party_await_landed(s.sink, 2, HALF);
    party_advance(s.source, 0, BATON_WATERMARK_END);
    party_await_end(s.sink, 2);
    CHECK(party_outcome(s.sink, 2) == BATON_COMPLETED && party_wrong_bytes(s.sink, 2, 3) == 0);
    party_await_end(s.source, 0);
    scene_end(&s);
    CHECK(rmdir(folder) == 0);
}

/* Between hosts: one side hears nothing any more.  Both know by silence, and own their blocks. */
static void deaf(bool source)
{
    struct party_options options = {.way = &stream_link, .link_timeout_ms = LINK_TIMEOUT_MS};
    struct scene s = {.source = party_start(&options), .sink = party_start(&options)};

    s.ticket = party_offer(s.source, 0, 1, HALF);
    party_fetch(s.sink, 0, &s.ticket);
    party_await_landed(s.sink, 0, HALF);
    CHECK(party_deafen(source ? s.source : s.sink, true) > 0);
    party_advance(s.source, 0, BATON_WATERMARK_END);
    party_await_end(s.sink, 0);
    CHECK(party_cause(s.sink, 0) == BATON_CAUSE_LINK_SILENT ||
          party_cause(s.sink, 0) == BATON_CAUSE_LINK_CLOSED);
    CHECK(party_proof(s.sink, 0) == BATON_PROOF_LOCAL_DRAIN);
    party_rewrite(s.sink, 0, CANARY);
    party_cancel(s.source, 0, BATON_CANCEL_OFFER);
    party_await_end(s.source, 0);
    party_deafen(source ? s.source : s.sink, false);
    CHECK(party_wrong_bytes(s.sink, 0, CANARY) == 0);
    scene_end(&s);
}

TEST(a_push_to_a_deaf_sink)
{
    deaf(false);
}

TEST(a_push_from_a_deaf_source)
{
    deaf(true);
}

/* COMMIT is held while the source is killed or stopped: all is written, and the process's end takes
 * nothing from the receipt. */
static void at_commit(const struct way *way, bool killed)
{
    struct party_options options = {.way = way};
    struct scene s = {.source = party_start(&options)};

    options.gate = PARTY_GATE_COMMITTING;
    options.commit_timeout_ms = PROGRESS_MS;
    s.sink = party_start(&options);
    s.ticket = party_offer(s.source, 0, 1, BATON_WATERMARK_END);
    party_fetch(s.sink, 0, &s.ticket);
    party_await_gate(s.sink);
    if (killed) {
        party_kill(s.source);
    } else {
        party_stop(s.source);
    }
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == (killed ? BATON_LINK_LOST : BATON_TIMED_OUT));
    CHECK(party_proof(s.sink, 0) ==
          (way->transport[0] == 's' ? BATON_PROOF_PEER_DRAIN : BATON_PROOF_LOCAL_DRAIN));
    party_rewrite(s.sink, 0, CANARY);
    if (!killed) {
        party_continue(s.source);
        party_cancel(s.source, 0, BATON_CANCEL_OFFER);
        party_await_end(s.source, 0);
        CHECK(party_wrong_bytes(s.sink, 0, CANARY) == 0);
    }
    scene_end(&s);
}

TEST(source_gone_at_the_commit_of_a_push)
{
    for (unsigned i = 0; i < sizeof(pushes) / sizeof(pushes[0]); i++) {
        at_commit(pushes[i], false);
        at_commit(pushes[i], true);
    }
}

/* Both are stopped and go on, in both orders, again and again. */
TEST(stops_by_turns)
{
    for (unsigned i = 0; i < sizeof(pushes) / sizeof(pushes[0]); i++) {
        struct scene s = scene_make(&(struct party_options){.way = pushes[i]});

        for (unsigned n = 0; n < 6; n++) {
            struct party *first = n % 2 ? s.source : s.sink, *second = n % 2 ? s.sink : s.source;

            party_stop(first);
            party_stop(second);
            party_continue(n % 3 ? first : second);
            if (n == 2) {
                party_open_gate(s.sink);
            }
            party_continue(n % 3 ? second : first);
        }
        party_await_end(s.sink, 0);
        CHECK(party_outcome(s.sink, 0) == BATON_COMPLETED && party_wrong_bytes(s.sink, 0, 1) == 0);
        party_await_end(s.source, 0);
        scene_end(&s);
    }
}

/* One of two sinks dies while both are in doubt of one source: the other has its word. */
TEST(two_sinks_in_doubt_of_one_source)
{
    struct party_options options = {
        .way = &landing, .gate = PARTY_GATE_LANDED, .progress_timeout_ms = LONG_MS};
    struct scene s = {.source = party_start(&(struct party_options){.way = &landing})};
    struct party *sink[2] = {party_start(&options), party_start(&options)};

    for (unsigned i = 0; i < 2; i++) {
        s.ticket = party_offer(s.source, i, 1, BATON_WATERMARK_END);
        party_fetch(sink[i], 0, &s.ticket);
        party_await_gate(sink[i]);
    }
    party_stop(s.source);
    for (unsigned i = 0; i < 2; i++) {
        party_open_gate(sink[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        party_await_doubt(sink[i], 0);
    }
    party_kill(sink[0]);
    party_continue(s.source);
    party_await_end(sink[1], 0);
    CHECK(party_proof(sink[1], 0) == BATON_PROOF_PEER_DRAIN);
    party_rewrite(sink[1], 0, CANARY);
    for (unsigned i = 0; i < 2; i++) {
        party_cancel(s.source, i, BATON_CANCEL_OFFER);
        party_await_end(s.source, i);
    }
    CHECK(party_wrong_bytes(sink[1], 0, CANARY) == 0);
    party_finish(sink[0]);
    party_finish(sink[1]);
    party_finish(s.source);
}
