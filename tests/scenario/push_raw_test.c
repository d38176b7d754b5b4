/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source against a sink that is no engine: grants that come too late, twice, out of order, beyond
 * the watermark, in masses, and without a bulk connection to send on.
 */
#include "scenario/pair.h"
#include "scenario/raw_link.h"

#include <string.h>

enum {
    FETCH_ID = 77,
    BLOCKS = 8,
    HALF = BLOCKS / 2 * PAIR_BLOCK_BYTES,
    WINDOWS_MAX = 256, /* that a sink may grant at once */
};

static const struct kind both = {.name = "shm and tcp"};

/* A pair whose sink does nothing yet, an offer that is half there, and a raw sink. */
struct stage {
    struct pair pair;
    struct end offer;
    struct raw_link raw;
    uint64_t offer_id, attempt;
};

static struct frame open_of(const struct stage *stage, enum open_mode mode, uint32_t transports)
{
    struct frame frame = {.type = FRAME_OPEN};
    struct baton_ticket_view view;
    const uint8_t *bytes = stage->offer.ticket.bytes;

    CHECK(baton_ticket_inspect(bytes, stage->offer.ticket.length, &view, NULL) == BATON_OK);
    frame.open.offer_id = view.offer_id;
    frame.open.fetch_id = FETCH_ID;
    frame.open.transports = transports;
    frame.open.block_bytes = PAIR_BLOCK_BYTES;
    frame.open.block_count = BLOCKS;
    frame.open.mode = mode;
    memcpy(frame.open.secret, bytes + 36, ID_BYTES); /* docs/PROTOCOL.md, Tickets */
    return frame;
}

static void stage_open(struct stage *stage)
{
    struct baton_offer_args half = {.watermark_bytes = HALF};

    *stage = (struct stage){0};
    pair_open(&stage->pair, &(struct pair_setup){.kind = &both});
    CHECK(offer_start(&stage->pair, &stage->offer, BLOCKS, 1, &half) == BATON_OK);
    CHECK(raw_dial_rings(&stage->raw, stage->pair.source));
}

/* The raw sink gets the lease. */
static void lease(struct stage *stage, enum open_mode mode, uint32_t transports)
{
    struct frame open = open_of(stage, mode, transports), answer = {0};

    CHECK(raw_say(&stage->raw, &open) && raw_hear(&stage->raw, &answer));
    CHECK(answer.type == FRAME_ACCEPT && answer.accept.watermark == HALF);
    stage->offer_id = open.open.offer_id;
    stage->attempt = answer.accept.attempt;
}

static bool grant(struct stage *stage, uint64_t offset, uint64_t length)
{
    struct frame frame = {.type = FRAME_GRANT};

    frame.grant = (struct frame_grant){.offer_id = stage->offer_id,
                                       .fetch_id = FETCH_ID,
                                       .attempt = stage->attempt,
                                       .offset = offset,
                                       .length = length};
    return raw_say(&stage->raw, &frame);
}

/* Everything that was said is applied, and the link stands. */
static bool answers(struct stage *stage)
{
    struct frame ping = {.type = FRAME_PING}, pong = {0};

    return raw_say(&stage->raw, &ping) && raw_hear(&stage->raw, &pong) && pong.type == FRAME_PONG;
}

/* The offer is another reader's, who gets it whole; then all is over. */
static void stage_close(struct stage *stage)
{
    struct end fetch = {0};

    raw_close(&stage->raw);
    baton_offer_advance(stage->offer.handoff, BATON_WATERMARK_END);
    do {
        fetch = (struct end){0};
        CHECK(fetch_start(&stage->pair, &fetch, &stage->offer.ticket, BLOCKS,
                          &(struct baton_fetch_args){.mode = BATON_PUSH}) == BATON_OK);
        end_retire(&fetch);
        end_drop(&fetch);
        /* The raw sink's end may not have been noticed yet. */
    } while (fetch.result.cause == BATON_CAUSE_BUSY);
    CHECK(fetch.result.outcome == BATON_COMPLETED);
    end_retire(&stage->offer);
    CHECK(stage->offer.receipt.proof == BATON_PROOF_LOCAL_DRAIN);
    end_drop(&stage->offer);
    pair_close(&stage->pair);
}

/* Without a lease, of a lease that pulls, of another attempt, twice: nothing comes of them. */
TEST(late_grants_change_nothing)
{
    struct stage stage;

    stage_open(&stage);
    stage.offer_id = open_of(&stage, OPEN_PUSH, WIRE_TRANSPORT_TCP).open.offer_id;
    stage.attempt = 1;
    CHECK(grant(&stage, 0, 100) && answers(&stage));
    lease(&stage, OPEN_PUSH, WIRE_TRANSPORT_TCP);
    stage.attempt++;
    CHECK(grant(&stage, 0, 100));
    stage.attempt--;
    CHECK(grant(&stage, 0, 100) && grant(&stage, 0, 100) && grant(&stage, 50, 50));
    CHECK(grant(&stage, 100, HALF - 100) && answers(&stage));
    stage_close(&stage);
}

TEST(grants_of_a_pull_change_nothing)
{
    struct stage stage;

    stage_open(&stage);
    lease(&stage, OPEN_PULL, WIRE_TRANSPORT_TCP);
    CHECK(grant(&stage, 0, 100) && grant(&stage, 700, UINT64_MAX - 700) && answers(&stage));
    stage_close(&stage);
}

/* A gap, and one byte beyond what is there. */
TEST(a_grant_out_of_bounds_closes_the_link)
{
    for (unsigned beyond = 0; beyond < 2; beyond++) {
        struct stage stage;

        stage_open(&stage);
        lease(&stage, OPEN_PUSH, WIRE_TRANSPORT_TCP);
        CHECK(grant(&stage, 0, 100));
        CHECK(beyond ? grant(&stage, 100, HALF - 99) : grant(&stage, 101, 1));
        CHECK(raw_gone(&stage.raw));
        stage_close(&stage);
    }
}

/* As many as may be, and they wait for a bulk connection; one more ends the link. */
TEST(too_many_grants_close_the_link)
{
    struct stage stage;

    stage_open(&stage);
    lease(&stage, OPEN_PUSH, WIRE_TRANSPORT_TCP);
    for (unsigned i = 0; i < WINDOWS_MAX; i++) {
        CHECK(grant(&stage, i, 1));
    }
    CHECK(answers(&stage));
    CHECK(grant(&stage, WINDOWS_MAX, 1) && raw_gone(&stage.raw));
    stage_close(&stage);
}

/* The bulk connection that the grants wait for never comes: the source is quiet on its own. */
TEST(an_offer_with_waiting_grants_is_quiet_at_its_cancel)
{
    struct stage stage;
    struct frame ended = {0};

    stage_open(&stage);
    lease(&stage, OPEN_PUSH, WIRE_TRANSPORT_TCP);
    CHECK(grant(&stage, 0, 100) && grant(&stage, 100, 100) && answers(&stage));
    baton_handoff_cancel(stage.offer.handoff, BATON_CANCEL_OFFER);
    end_retire(&stage.offer);
    CHECK(stage.offer.result.outcome == BATON_CANCELLED && stage.offer.doubts == 0);
    CHECK(stage.offer.receipt.proof == BATON_PROOF_LOCAL_DRAIN);
    CHECK(raw_hear(&stage.raw, &ended) && ended.type == FRAME_ENDED);
    CHECK(ended.ended.attempt == stage.attempt && grant(&stage, 200, 1) && answers(&stage));
    raw_close(&stage.raw);
    end_drop(&stage.offer);
    pair_close(&stage.pair);
}

/* A push that says that it may use shm gets no region for it; one without tcp gets no lease. */
TEST(a_push_is_leased_over_tcp_only)
{
    struct frame open, answer = {0};
    struct stage stage;

    stage_open(&stage);
    open = open_of(&stage, OPEN_PUSH, WIRE_TRANSPORT_SHM);
    CHECK(raw_say(&stage.raw, &open) && raw_hear(&stage.raw, &answer));
    CHECK(answer.type == FRAME_REFUSED && answer.refused.cause == BATON_CAUSE_TRANSPORT);
    lease(&stage, OPEN_PUSH, WIRE_TRANSPORT_SHM | WIRE_TRANSPORT_TCP);
    stage_close(&stage); /* its receipt is a local drain: the pool was never exported */
}
