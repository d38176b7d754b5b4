/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources that are closed, drained and destroyed in the middle of pushes over shm, in a process
 * that lives on: nobody answers afterwards, so their sinks must have been told before.
 */
#include "scenario/pair.h"

#include <string.h>

enum {
    COUNT = 12, /* blocks of a handoff */
    BLOCK = PAIR_BLOCK_BYTES,
    AUX_BYTES = 60000, /* more than a ring holds */
};

static const struct baton_fetch_args push_shm = {.mode = BATON_PUSH, .transport = "shm"};
static const struct baton_fetch_args pull_shm = {.transport = "shm"};

static struct pair_setup setup_of(const struct kind *kind)
{
    return (struct pair_setup){.kind = kind,
                               .source.window_bytes = 16384,
                               .sink.window_bytes = 16384,
                               .sink.doubt_ms = 1,
                               .pool_flags = BATON_POOL_CHECK};
}

static void step(baton_engine *engine)
{
    for (unsigned i = 0; i < 100; i++) {
        CHECK(baton_engine_step(engine, 0) == BATON_OK);
    }
}

/* Kinds that the test drives, whose memory can be written by a source. */
static void each_kind(void (*story)(struct pair *pair))
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair_setup setup = setup_of(&kinds[i]);
        struct pair pair;

        if (!kinds[i].wrapped && kinds[i].progress == BATON_PROGRESS_CALLER &&
            strcmp(kinds[i].transport, "shm") == 0) {
            pair_open(&pair, &setup);
            story(&pair);
            pair_close(&pair);
        }
    }
}

/* A push that was granted windows which its source has not seen. */
static void begin(struct pair *pair, struct end *offer, struct end *fetch, unsigned landed)
{
    CHECK_ON(pair, offer_start(pair, offer, COUNT, 5, NULL) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, fetch, &offer->ticket, COUNT, &push_shm) == BATON_OK);
    CHECK_ON(pair, end_wait_stage(fetch, BATON_STAGE_READING) && end_wait_landed(fetch, landed));
    step(pair->sink);
}

/* The sink sees nothing of the source's end before it is over. */
static void left(struct pair *pair)
{
    for (unsigned landed = 0; landed <= BLOCK; landed += BLOCK) {
        struct pair_setup setup = setup_of(pair->kind);
        struct end offer = {0}, fetch = {0};

        begin(pair, &offer, &fetch, landed);
        pair->sink_frozen = true;
        baton_engine_close(pair->source);
        end_finish(&offer);
        pair_renew_source(pair, &setup);
        CHECK_ON(pair, fetch.outcomes == 0);
        pair->sink_frozen = false;
        end_retire(&fetch);
        CHECK_ON(pair, fetch.result.outcome == BATON_PEER_CANCELLED);
        CHECK_ON(pair, fetch.result.cause == BATON_CAUSE_CLOSING);
        CHECK_ON(pair, fetch.receipt.proof == BATON_PROOF_PEER_DRAIN);
        end_drop(&fetch);
    }
}

/* A source engine is closed, drained and destroyed in a process that lives on, while the sink has
 * granted windows: that they are over was said before, and the sink has its receipt. */
TEST(a_source_that_ends_in_order_leaves_no_doubt)
{
    each_kind(left);
}

static void start_both(struct pair *pair, struct end *pulled, struct end *pushed)
{
    struct baton_offer_args half = {.watermark_bytes = COUNT / 2 * BLOCK};
    static unsigned char aux[AUX_BYTES];

    CHECK_ON(pair, offer_start(pair, &pulled[0], COUNT, 6, &half) == BATON_OK);
    CHECK_ON(pair, offer_start(pair, &pushed[0], COUNT, 7, &half) == BATON_OK);
    CHECK_ON(pair, baton_offer_aux(pulled[0].handoff, aux, sizeof(aux)) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, &pulled[1], &pulled[0].ticket, COUNT, &pull_shm) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, &pushed[1], &pushed[0].ticket, COUNT, &push_shm) == BATON_OK);
    CHECK_ON(pair, end_wait_landed(&pulled[1], COUNT / 2 * BLOCK));
    CHECK_ON(pair, end_wait_landed(&pushed[1], COUNT / 2 * BLOCK));
}

/* COMMITTED with its aux is more than a ring holds, and all that follows waits behind it. */
static void blocked(struct pair *pair)
{
    struct end pulled[2] = {{0}}, pushed[2] = {{0}}; /* offer, fetch */
    struct pair_setup setup = setup_of(pair->kind);

    start_both(pair, pulled, pushed);
    baton_offer_advance(pulled[0].handoff, BATON_WATERMARK_END);
    baton_offer_advance(pushed[0].handoff, BATON_WATERMARK_END);
    step(pair->source);
    pair->source_frozen = true;
    CHECK_ON(pair, end_wait_stage(&pulled[1], BATON_STAGE_COMMITTING));
    pair->source_frozen = false;
    pair->sink_frozen = true;
    CHECK_ON(pair, end_wait_outcome(&pulled[0]));
    baton_engine_close(pair->source);
    end_finish(&pulled[0]);
    end_finish(&pushed[0]);
    CHECK_ON(pair, pulled[0].result.outcome == BATON_COMPLETED);
    step(pair->sink); /* makes room, and the source does not see it */
    pair_renew_source(pair, &setup);
    pair->sink_frozen = false;
    end_retire(&pulled[1]);
    end_retire(&pushed[1]);
    CHECK_ON(pair, pulled[1].result.outcome == BATON_COMPLETED && end_holds(&pulled[1], 6, 0));
    CHECK_ON(pair, pushed[1].receipt.proof == BATON_PROOF_PEER_DRAIN);
    end_drop(&pulled[1]);
    end_drop(&pushed[1]);
}

/* What a source has to say when it is destroyed, and its ring has room for by then, is said. */
TEST(last_words_are_written_at_the_end)
{
    each_kind(blocked);
}
