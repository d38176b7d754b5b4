/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handoffs over NIXL between processes that are stopped, killed and cancelled in mid transfer, for
 * each host and for each kind of lanes: what is told at once, which proof comes, and that nothing
 * is written to blocks after their receipt.
 */
#include "fault/party.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

enum { CLOCK_MS = 3000 }; /* longer than it takes to begin */

/* How it travels, where NIXL runs, and over what. */
struct nixl {
    struct way way;
    baton_host host;
    const char *lanes;
};

struct scene {
    struct party *source, *sink;
    struct party_ticket ticket;
};

static bool have_nixl(void)
{
    if (!getenv("BATON_NIXL_LIBRARY")) {
        test_skip("BATON_NIXL_LIBRARY is not set: see docs/NIXL.md");
        return false;
    }
    return true;
}

/* The sink's engine is held when the first bytes have landed. */
static struct scene scene_make(const struct nixl *n, uint32_t clock_ms)
{
    struct party_options options = {.way = &n->way, .host = n->host, .lanes = n->lanes};
    struct scene s = {.source = party_start(&options)};

    options.gate = PARTY_GATE_LANDED;
    options.progress_timeout_ms = options.commit_timeout_ms = clock_ms;
    s.sink = party_start(&options);
    s.ticket = party_offer(s.source, 0, 1, BATON_WATERMARK_END);
    party_fetch(s.sink, 0, &s.ticket);
    party_await_gate(s.sink);
    return s;
}

static void scene_end(const struct scene *s)
{
    party_finish(s->sink);
    party_finish(s->source);
}

static bool has_lanes(const struct nixl *n, const char *lanes)
{
    return lanes[0] == n->lanes[0] && lanes[1] == n->lanes[1];
}

static baton_proof proof(const struct party *party, unsigned handoff)
{
    return party->seen->handoff[handoff].receipt.proof;
}

static bool in_doubt(const struct party *party, unsigned handoff)
{
    return atomic_load(&party->seen->handoff[handoff].receipts) == 0;
}

static void completes(const struct nixl *n)
{
    struct scene s = scene_make(n, 0);

    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    party_await_end(s.source, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_COMPLETED && party_wrong_bytes(s.sink, 0, 1) == 0);
    CHECK(party_outcome(s.source, 0) == BATON_COMPLETED);
    CHECK(proof(s.sink, 0) ==
          (n->way.mode == BATON_PULL ? BATON_PROOF_LOCAL_DRAIN : BATON_PROOF_PEER_DRAIN));
    CHECK(proof(s.source, 0) ==
          (n->way.mode == BATON_PULL ? BATON_PROOF_PEER_DRAIN : BATON_PROOF_LOCAL_DRAIN));
    scene_end(&s);
}

/* A receive that is under way is cancelled; what is written into its blocks then stays, and the
 * offer can be fetched again. */
static void cancel_of_a_receive(const struct nixl *n)
{
    struct scene s = scene_make(n, 0);

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

static void source_cancels(const struct nixl *n)
{
    struct scene s = scene_make(n, 0);

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
static bool stop_leaves_doubt(const struct nixl *n)
{
    if (n->way.mode == BATON_PUSH) {
        return true; /* nobody else says QUIESCED */
    }
    /* A helper is not stopped with its engine, and process_vm_readv() reads a stopped process. */
    return n->host == BATON_HOST_IN_PROCESS && !has_lanes(n, "shm");
}

/* The source is stopped; what the sink has begun since then ends when the source goes on, or by
 * itself.  The clock's end is told at once. */
static void stopped_source(const struct nixl *n)
{
    struct scene s = scene_make(n, CLOCK_MS);

    party_stop(s.source);
    party_open_gate(s.sink);
    if (stop_leaves_doubt(n)) {
        party_await_doubt(s.sink, 0);
        CHECK(in_doubt(s.sink, 0));
    } else {
        party_await_end(s.sink, 0);
    }
    CHECK(party_outcome(s.sink, 0) == BATON_TIMED_OUT);
    party_continue(s.source);
    party_await_end(s.sink, 0);
    party_rewrite(s.sink, 0, 7);
    party_cancel(s.source, 0, BATON_CANCEL_OFFER);
    party_await_end(s.source, 0);
    CHECK(party_wrong_bytes(s.sink, 0, 7) == 0);
    scene_end(&s);
}

/* Which proof the sink has of a source that was killed; NONE: none, ever, on these lanes. */
static bool killed_proof_fits(const struct nixl *n, baton_proof got)
{
    if (has_lanes(n, "shm") && n->way.mode == BATON_PUSH) {
        return got == BATON_PROOF_PEER_EXITED; /* it has written itself */
    }
    if (n->way.mode == BATON_PULL && got == BATON_PROOF_LOCAL_DRAIN) {
        return true; /* no move was under way, or the post was the copy */
    }
    return got ==
           (n->host == BATON_HOST_IN_PROCESS ? BATON_PROOF_LINK_FENCED : BATON_PROOF_HELPER_EXITED);
}

static void killed_source(const struct nixl *n)
{
    struct scene s = scene_make(n, 0);

    party_kill(s.source);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) == BATON_LINK_LOST);
    CHECK(party_cause(s.sink, 0) == BATON_CAUSE_PEER_DIED);
    CHECK(killed_proof_fits(n, proof(s.sink, 0)));
    party_rewrite(s.sink, 0, 7);
    party_free(s.sink);
    scene_end(&s);
}

/* The source's blocks are its own again, and another sink gets the offer's bytes. */
static void killed_sink(const struct nixl *n)
{
    struct party_options options = {.way = &n->way, .host = n->host, .lanes = n->lanes};
    struct scene s = scene_make(n, 0);
    struct party *next = party_start(&options);
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
    void (*tell)(const struct nixl *n);
} stories[] = {{completes},      {cancel_of_a_receive}, {source_cancels},
               {stopped_source}, {killed_source},       {killed_sink}};

static void tell_all(baton_host host, const char *lanes, baton_mode mode)
{
    const struct nixl n = {{"nixl", BATON_LINK_AUTO, mode}, host, lanes};
    /* The other lanes once each, unless all is asked for: make test-nixl. */
    bool usual = !strcmp(lanes, "tcp") ||
                 (!strcmp(lanes, "shm") ? host == BATON_HOST_HELPER && mode == BATON_PUSH
                                        : host == BATON_HOST_IN_PROCESS && mode == BATON_PULL);

    if (!usual && !getenv("BATON_NIXL_ALL")) {
        test_skip("BATON_NIXL_ALL is not set");
        return;
    }
    for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]) && have_nixl(); i++) {
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
