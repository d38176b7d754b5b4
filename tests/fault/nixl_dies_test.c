/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Over NIXL in helpers, one side dies, or leaves in order, in mid transfer, again and again; the
 * other is the same process all along, and the next peer gets through.  BATON_DIES: how often.
 */
#include "fault/party.h"

#include <stdlib.h>

#include "test.h"

struct rounds {
    struct way way;
    const char *lanes;
    bool sink_goes; /* else the source */
    bool dies;      /* else it leaves */
};

static unsigned rounds_wanted(void)
{
    const char *text = getenv("BATON_DIES");
    int wanted = text ? atoi(text) : 1;

    return wanted < 1 ? 1 : wanted > PARTY_HANDOFFS / 2 ? PARTY_HANDOFFS / 2 : (unsigned)wanted;
}

static struct party *start(const struct rounds *r)
{
    const struct party_options options = {
        .way = &r->way, .host = BATON_HOST_HELPER, .lanes = r->lanes};

    return party_start(&options);
}

static void go(const struct rounds *r, struct party *party)
{
    if (r->dies) {
        party_kill(party);
    } else {
        party_close(party);
        party_await_end(party, 0);
    }
}

/* One that goes in mid transfer, and one that gets through.  `stays` numbers its own from `first`.
 */
static void round_of_sources(const struct rounds *r, struct party *sink, unsigned first)
{
    struct party *source = start(r);
    struct party_ticket ticket = party_offer(source, 0, 1, BATON_WATERMARK_END);

    party_fetch(sink, first, &ticket);
    party_await_landed(sink, first, 1);
    go(r, source);
    party_await_end(sink, first);
    party_finish(source);
    source = start(r);
    ticket = party_offer(source, 0, 2, BATON_WATERMARK_END);
    party_fetch(sink, first + 1, &ticket);
    party_await_end(sink, first + 1);
    CHECK(party_outcome(sink, first + 1) == BATON_COMPLETED);
    CHECK(party_wrong_bytes(sink, first + 1, 2) == 0);
    party_await_end(source, 0);
    party_finish(source);
    party_free(sink);
}

static void round_of_sinks(const struct rounds *r, struct party *source, unsigned first)
{
    struct party *sink = start(r);
    struct party_ticket ticket = party_offer(source, first, 1, BATON_WATERMARK_END);

    party_fetch(sink, 0, &ticket);
    party_await_landed(sink, 0, 1);
    go(r, sink);
    party_cancel(source, first, BATON_CANCEL_OFFER);
    party_await_end(source, first);
    party_finish(sink);
    sink = start(r);
    ticket = party_offer(source, first + 1, 2, BATON_WATERMARK_END);
    party_fetch(sink, 0, &ticket);
    party_await_end(sink, 0);
    CHECK(party_outcome(sink, 0) == BATON_COMPLETED && party_wrong_bytes(sink, 0, 2) == 0);
    party_await_end(source, first + 1);
    party_finish(sink);
    party_free(source);
}

static void run(const struct rounds *r)
{
    struct party *stays;

    if (!getenv("BATON_NIXL_LIBRARY")) {
        test_skip("BATON_NIXL_LIBRARY is not set: see docs/NIXL.md");
        return;
    }
    stays = start(r);
    for (unsigned i = 0; i < rounds_wanted(); i++) {
        if (r->sink_goes) {
            round_of_sinks(r, stays, 2 * i);
        } else {
            round_of_sources(r, stays, 2 * i);
        }
    }
    party_finish(stays);
}

#define TEST_ROUNDS(name, mode, sink_goes, dies)                                                   \
    TEST(name##_tcp)                                                                               \
    {                                                                                              \
        run(&(struct rounds){{"nixl", BATON_LINK_AUTO, mode}, "tcp", sink_goes, dies});            \
    }                                                                                              \
    TEST(name##_queues)                                                                            \
    {                                                                                              \
        run(&(struct rounds){{"nixl", BATON_LINK_AUTO, mode}, "posix", sink_goes, dies});          \
    }

TEST_ROUNDS(source_dies_in_mid_read, BATON_PULL, false, true)
TEST_ROUNDS(source_leaves_in_mid_read, BATON_PULL, false, false)
TEST_ROUNDS(sink_dies_in_mid_read, BATON_PULL, true, true)
TEST_ROUNDS(sink_leaves_in_mid_read, BATON_PULL, true, false)
TEST_ROUNDS(source_dies_in_mid_write, BATON_PUSH, false, true)
TEST_ROUNDS(source_leaves_in_mid_write, BATON_PUSH, false, false)
TEST_ROUNDS(sink_dies_in_mid_write, BATON_PUSH, true, true)
TEST_ROUNDS(sink_leaves_in_mid_write, BATON_PUSH, true, false)
