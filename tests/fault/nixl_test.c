/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handoffs over NIXL between processes that are stopped, killed and cancelled in mid transfer, for
 * each host and for each kind of lanes: what is told at once, which proof comes, and that nothing
 * is written to blocks after their receipt.
 */
#include "fault/scene.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

enum { CLOCK_MS = 3000 }; /* longer than it takes to begin */

static bool has_lanes(const struct party_options *n, const char *lanes)
{
    return lanes[0] == n->lanes[0] && lanes[1] == n->lanes[1];
}

static void completes(const struct party_options *n)
{
    struct scene s = scene_make(n);

    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    party_await_end(s.source, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_COMPLETED && party_wrong_bytes(s.sink, 0, 1) == 0);
    CHECK(party_outcome(s.source, 0) == BATON_COMPLETED);
    CHECK(party_proof(s.sink, 0) ==
          (n->way->mode == BATON_PULL ? BATON_PROOF_LOCAL_DRAIN : BATON_PROOF_PEER_DRAIN));
    CHECK(party_proof(s.source, 0) ==
          (n->way->mode == BATON_PULL ? BATON_PROOF_PEER_DRAIN : BATON_PROOF_LOCAL_DRAIN));
    scene_end(&s);
}

/* A receive that is under way is cancelled; what is written into its blocks then stays, and the
 * offer can be fetched again. */
static void cancel_of_a_receive(const struct party_options *n)
{
    struct scene s = scene_make(n);

    party_cancel(s.sink, 0, BATON_CANCEL_ATTEMPT);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_CANCELLED);
    party_rewrite(s.sink, 0, 7);
    party_fetch(s.sink, 1, &s.ticket);
    party_await_end(s.sink, 1);
    CHECK(party_outcome(s.sink, 1) == BATON_COMPLETED && party_wrong_bytes(s.sink, 1, 1) == 0);
    CHECK(party_wrong_bytes(s.sink, 0, 7) == 0);
    party_await_end(s.source, 0);
    scene_end(&s);
}

static void source_cancels(const struct party_options *n)
{
    struct scene s = scene_make(n);

    party_cancel(s.source, 0, BATON_CANCEL_OFFER);
    party_await_end(s.source, 0);
    CHECK(party_outcome(s.source, 0) == BATON_CANCELLED);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_PEER_CANCELLED);
    party_rewrite(s.sink, 0, 7);
    party_free(s.source);
    CHECK(party_wrong_bytes(s.sink, 0, 7) == 0);
    scene_end(&s);
}

/* Whether a stopped source's end can keep a move, or a word about it, from the sink. */
static bool stop_leaves_doubt(const struct party_options *n)
{
    if (n->way->mode == BATON_PUSH) {
        return true; /* nobody else says QUIESCED */
    }
    /* A helper is not stopped with its engine, and process_vm_readv() reads a stopped process. */
    return n->host == BATON_HOST_IN_PROCESS && !has_lanes(n, "shm");
}

/* The source is stopped; what the sink has begun since then ends when the source goes on, or by
 * itself.  The clock's end is told at once. */
static void stopped_source(const struct party_options *n)
{
    struct party_options options = *n;
    struct scene s;

    options.progress_timeout_ms = options.commit_timeout_ms = CLOCK_MS;
    s = scene_make(&options);
    party_stop(s.source);
    party_open_gate(s.sink);
    if (stop_leaves_doubt(n)) {
        party_await_doubt(s.sink, 0);
        CHECK(!party_has_receipt(s.sink, 0));
    } else {
        party_await_end(s.sink, 0);
    }
    CHECK(party_outcome(s.sink, 0) == BATON_TIMED_OUT);
    party_continue(s.source);
    party_await_end(s.sink, 0);
    scene_stays_quiet(&s, 0);
    scene_end(&s);
}

/* Which proof the sink has of a source that was killed; NONE: none, ever, on these lanes. */
static bool killed_proof_fits(const struct party_options *n, baton_proof got)
{
    if (has_lanes(n, "shm") && n->way->mode == BATON_PUSH) {
        return got == BATON_PROOF_PEER_EXITED; /* it has written itself */
    }
    if (n->way->mode == BATON_PULL && got == BATON_PROOF_LOCAL_DRAIN) {
        return true; /* no move was under way, or the post was the copy */
    }
    return got ==
           (n->host == BATON_HOST_IN_PROCESS ? BATON_PROOF_LINK_FENCED : BATON_PROOF_HELPER_EXITED);
}

static void killed_source(const struct party_options *n)
{
    struct scene s = scene_make(n);

    party_kill(s.source);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_LINK_LOST);
    CHECK(party_cause(s.sink, 0) == BATON_CAUSE_PEER_DIED);
    CHECK(killed_proof_fits(n, party_proof(s.sink, 0)));
    party_rewrite(s.sink, 0, 7);
    party_free(s.sink);
    scene_end(&s);
}

/* The source's blocks are its own again, and another sink gets the offer's bytes. */
static void killed_sink(const struct party_options *n)
{
    struct scene s = scene_make(n);
    struct party *next = party_start(n);
    struct party_ticket ticket;

    party_kill(s.sink);
    party_cancel(s.source, 0, BATON_CANCEL_OFFER);
    party_await_end(s.source, 0);
    party_rewrite(s.source, 0, 3);
    ticket = party_offer(s.source, 1, 2, BATON_WATERMARK_END);
    party_fetch(next, 0, &ticket);
    party_await_end(next, 0);
    CHECK(party_outcome(next, 0) == BATON_COMPLETED && party_wrong_bytes(next, 0, 2) == 0);
    party_finish(next);
    scene_end(&s);
}

static const struct {
    void (*tell)(const struct party_options *n);
} stories[] = {{completes},      {cancel_of_a_receive}, {source_cancels},
               {stopped_source}, {killed_source},       {killed_sink}};

static void tell_all(baton_host host, const char *lanes, baton_mode mode)
{
    const struct way way = {"nixl", BATON_LINK_AUTO, mode};
    const struct party_options n = {.way = &way, .host = host, .lanes = lanes};
    /* The other lanes once each, unless all is asked for: make test-nixl. */
    bool usual = !strcmp(lanes, "tcp") ||
                 (!strcmp(lanes, "shm") ? host == BATON_HOST_HELPER && mode == BATON_PUSH
                                        : host == BATON_HOST_IN_PROCESS && mode == BATON_PULL);

    if (!usual && !getenv("BATON_NIXL_ALL")) {
        test_skip("BATON_NIXL_ALL is not set");
        return;
    }
    for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]) && scene_has_nixl(); i++) {
        stories[i].tell(&n);
    }
}

#define TEST_LANES(name, lanes)                                                                    \
    TEST(pull_##name##_in_process)                                                                 \
    {                                                                                              \
        tell_all(BATON_HOST_IN_PROCESS, lanes, BATON_PULL);                                        \
    }                                                                                              \
    TEST(push_##name##_in_process)                                                                 \
    {                                                                                              \
        tell_all(BATON_HOST_IN_PROCESS, lanes, BATON_PUSH);                                        \
    }                                                                                              \
    TEST(pull_##name##_by_helpers)                                                                 \
    {                                                                                              \
        tell_all(BATON_HOST_HELPER, lanes, BATON_PULL);                                            \
    }                                                                                              \
    TEST(push_##name##_by_helpers)                                                                 \
    {                                                                                              \
        tell_all(BATON_HOST_HELPER, lanes, BATON_PUSH);                                            \
    }

TEST_LANES(tcp, "tcp")
TEST_LANES(queues, "posix")
TEST_LANES(shm, "shm")
