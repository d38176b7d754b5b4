/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's life next to its process's: restarts at the same address, a close in mid transfers,
 * forks. */
#include "fault/party.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

enum {
    HALF = PARTY_BYTES / 2,
    HANDOFFS = 3,
};

/* A source dies and is started again where it listened: its old tickets are refused and say why,
 * new ones work, also for a sink that had a link to its earlier life. */
static void source_restarted(const struct way *way)
{
    char folder[] = "/tmp/baton-fault-XXXXXX", path[64], tcp[BATON_ENDPOINT_BYTES_MAX];
    struct party_options options = {.way = way, .listen = {path, "tcp:127.0.0.1:0"}};
    struct party_options sink_options = {.way = way};
    struct party_ticket lost, old, ticket;
    struct party *source, *sink;

    if (!CHECK(mkdtemp(folder))) {
        return;
    }
    snprintf(path, sizeof(path), "unix:%s/source", folder);
    source = party_start(&options);
    sink = party_start(&sink_options);
    memcpy(tcp, source->seen->endpoint[1], sizeof(tcp));
    options.listen[1] = tcp;
    lost = party_offer(source, 0, 1, HALF);
    old = party_offer(source, 1, 2, BATON_WATERMARK_END);
    party_fetch(sink, 0, &lost);
    party_await_landed(sink, 0, 1);
    party_kill(source);
    party_await_end(sink, 0);
    party_finish(source);

    source = party_start(&options);
    CHECK(strcmp(source->seen->endpoint[1], tcp) == 0);
    ticket = party_offer(source, 0, 3, BATON_WATERMARK_END);
    party_fetch(sink, 1, &old);
    party_await_end(sink, 1);
    CHECK(party_outcome(sink, 1) == BATON_REFUSED);
    CHECK(party_cause(sink, 1) == BATON_CAUSE_INCARNATION);
    party_fetch(sink, 2, &ticket);
    party_await_end(sink, 2);
    CHECK(party_outcome(sink, 2) == BATON_COMPLETED && party_wrong_bytes(sink, 2, 3) == 0);
    party_await_end(source, 0);
    party_finish(sink);
    party_finish(source);
    CHECK(rmdir(folder) == 0);
}
TEST_EACH_WAY(source_restarted)

/* Several handoffs, all in mid read. */
static void start_handoffs(struct party *source, struct party *sink)
{
    for (unsigned i = 0; i < HANDOFFS; i++) {
        struct party_ticket ticket = party_offer(source, i, i, HALF);

        party_fetch(sink, i, &ticket);
    }
    for (unsigned i = 0; i < HANDOFFS; i++) {
        party_await_landed(sink, i, 1);
    }
}

/* The source closes in mid transfers: both sides end, and it drains and can be destroyed. */
static void source_closes(const struct way *way)
{
    struct party_options options = {.way = way};
    struct party *source = party_start(&options), *sink = party_start(&options);

    start_handoffs(source, sink);
    party_close(source);
    CHECK(party_drain(source, PARTY_PATIENCE_MS) == BATON_OK);
    for (unsigned i = 0; i < HANDOFFS; i++) {
        party_await_end(source, i);
        CHECK(party_outcome(source, i) == BATON_CANCELLED);
        CHECK(party_cause(source, i) == BATON_CAUSE_CLOSING);
        party_await_end(sink, i);
        CHECK(party_outcome(sink, i) == BATON_PEER_CANCELLED);
        CHECK(party_cause(sink, i) == BATON_CAUSE_CLOSING);
    }
    party_finish(source);
    party_finish(sink);
}
TEST_EACH_WAY(source_closes)

/* The sink closes in mid transfers: its fetches end, and the offers wait for another reader. */
static void sink_closes(const struct way *way)
{
    struct party_options options = {.way = way};
    struct party *source = party_start(&options), *sink = party_start(&options);

    start_handoffs(source, sink);
    party_close(sink);
    CHECK(party_drain(sink, PARTY_PATIENCE_MS) == BATON_OK);
    for (unsigned i = 0; i < HANDOFFS; i++) {
        party_await_end(sink, i);
        CHECK(party_outcome(sink, i) == BATON_CANCELLED);
        CHECK(party_cause(sink, i) == BATON_CAUSE_CLOSING);
        party_await_stage(source, i, BATON_STAGE_OFFERED);
        CHECK(party_outcome(source, i) == BATON_UNDECIDED);
        party_cancel(source, i, BATON_CANCEL_OFFER);
        party_await_end(source, i);
    }
    party_finish(sink);
    party_finish(source);
}
TEST_EACH_WAY(sink_closes)

/* Both processes fork in mid read.  In the children every call fails or does nothing; the parents
 * do not notice, and the handoff completes. */
static void both_fork(const struct way *way)
{
    struct party_options options = {.way = way};
    struct party *source = party_start(&options), *sink = party_start(&options);
    struct party_ticket ticket = party_offer(source, 0, 1, HALF);

    party_fetch(sink, 0, &ticket);
    party_await_landed(sink, 0, 1);
    CHECK(party_fork_wrong_calls(source) == 0);
    CHECK(party_fork_wrong_calls(sink) == 0);
    CHECK(party_outcome(source, 0) == BATON_UNDECIDED && party_outcome(sink, 0) == BATON_UNDECIDED);
    party_advance(source, 0, BATON_WATERMARK_END);
    party_await_end(sink, 0);
    party_await_end(source, 0);
    CHECK(party_outcome(sink, 0) == BATON_COMPLETED && party_wrong_bytes(sink, 0, 1) == 0);
    CHECK(party_outcome(source, 0) == BATON_COMPLETED);
    ticket = party_offer(source, 1, 2, BATON_WATERMARK_END);
    party_fetch(sink, 1, &ticket);
    party_await_end(sink, 1);
    party_await_end(source, 1);
    CHECK(party_outcome(sink, 1) == BATON_COMPLETED && party_wrong_bytes(sink, 1, 2) == 0);
    party_finish(sink);
    party_finish(source);
}
TEST_EACH_WAY(both_fork)
