/* SPDX-License-Identifier: Apache-2.0 */
/* Push: the source sends what the sink grants.  One outcome and one receipt each, as in pull. */
#include "scenario/pair.h"

#include <stdlib.h>
#include <string.h>

enum { STORM = 300, CANARY = 0xca9a };

static const struct baton_fetch_args push = {.mode = BATON_PUSH};

/* Windows much smaller than a handoff, and slices than a window. */
static struct pair_setup small_windows(const struct kind *kind)
{
    return (struct pair_setup){.kind = kind,
                               .source.window_bytes = 16384,
                               .sink.window_bytes = 16384,
                               .pool_flags = BATON_POOL_CHECK};
}

static bool is_tcp(const struct kind *kind)
{
    return strcmp(kind->transport, "tcp") == 0;
}

/* A story, on each kind of pair that has tcp. */
static void each_kind(void (*story)(struct pair *pair))
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair_setup setup = small_windows(&kinds[i]);
        struct pair pair;

        if (is_tcp(&kinds[i])) {
            pair_open(&pair, &setup);
            story(&pair);
            pair_close(&pair);
        }
    }
}

static void start(struct pair *pair, struct end *offer, struct end *fetch, size_t count,
                  uint64_t watermark_bytes)
{
    struct baton_offer_args more = {.watermark_bytes = watermark_bytes};

    CHECK_ON(pair, offer_start(pair, offer, count, count, &more) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, fetch, &offer->ticket, count, &push) == BATON_OK);
}

/* The laws of every ending; the blocks of both are rewritten by their next owners. */
static void finish(struct pair *pair, struct end *offer, struct end *fetch)
{
    end_retire(fetch);
    CHECK_ON(pair, fetch->result.outcome != BATON_COMPLETED || end_holds(fetch, offer->content, 0));
    CHECK_ON(pair, fetch->receipt.proof == BATON_PROOF_LOCAL_DRAIN ||
                       fetch->receipt.proof == BATON_PROOF_NEVER_EXPOSED);
    end_fill(fetch, CANARY);
    end_retire(offer);
    CHECK_ON(pair, offer->receipt.proof == BATON_PROOF_LOCAL_DRAIN ||
                       offer->receipt.proof == BATON_PROOF_NEVER_EXPOSED);
    CHECK_ON(pair,
             fetch->result.outcome != BATON_COMPLETED || offer->result.outcome == BATON_COMPLETED);
    end_fill(offer, CANARY + 1);
}

static void drop(struct end *offer, struct end *fetch)
{
    end_drop(fetch);
    end_drop(offer);
}

/* Outlasts whatever an ended handoff left on the wire. */
static void run_another(struct pair *pair)
{
    struct end offer = {0}, fetch = {0};

    start(pair, &offer, &fetch, 3, BATON_WATERMARK_END);
    finish(pair, &offer, &fetch);
    CHECK_ON(pair, fetch.result.outcome == BATON_COMPLETED);
    drop(&offer, &fetch);
}

static void completes(struct pair *pair)
{
    static const size_t counts[] = {1, 2, 7, 30};

    for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct end offer = {0}, fetch = {0};

        start(pair, &offer, &fetch, counts[i], BATON_WATERMARK_END);
        finish(pair, &offer, &fetch);
        CHECK_ON(pair, fetch.result.outcome == BATON_COMPLETED);
        CHECK_ON(pair, fetch.receipt.proof == BATON_PROOF_LOCAL_DRAIN);
        CHECK_ON(pair, strcmp(fetch.receipt.transport, "tcp") == 0);
        CHECK_ON(pair, fetch.receipt.bytes_landed == counts[i] * PAIR_BLOCK_BYTES);
        CHECK_ON(pair, offer.receipt.proof == BATON_PROOF_LOCAL_DRAIN);
        CHECK_ON(pair, strcmp(offer.receipt.transport, "tcp") == 0 && offer.receipt.attempts == 1);
        drop(&offer, &fetch);
    }
}

/* Payload intact, whatever drives the engines and however they talk. */
TEST(a_push_completes)
{
    each_kind(completes);
}

static void suffix(struct pair *pair)
{
    struct baton_fetch_args rest = {.mode = BATON_PUSH, .first_block = 5};
    struct end offer = {0}, fetch = {0};

    CHECK_ON(pair, offer_start(pair, &offer, 20, 3, NULL) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, &fetch, &offer.ticket, 9, &rest) == BATON_OK);
    end_retire(&fetch);
    CHECK_ON(pair, fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, 3, 5));
    CHECK_ON(pair, fetch.receipt.bytes_landed == 9 * PAIR_BLOCK_BYTES);
    end_drop(&fetch);
    end_finish(&offer);
}

/* The skipped prefix and what is not wanted are never sent. */
TEST(a_push_of_a_part_completes)
{
    each_kind(suffix);
}

static void steps(struct pair *pair)
{
    struct end offer = {0}, fetch = {0};

    start(pair, &offer, &fetch, 12, 100);
    for (unsigned block = 1; block < 12; block++) {
        uint64_t watermark = block * PAIR_BLOCK_BYTES - 1000;

        CHECK_ON(pair, end_wait_landed(&fetch, block == 1 ? 100 : watermark - PAIR_BLOCK_BYTES));
        CHECK_ON(pair, fetch.landed <= (block == 1 ? 100 : watermark - PAIR_BLOCK_BYTES));
        baton_offer_advance(offer.handoff, watermark);
    }
    baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
    finish(pair, &offer, &fetch);
    CHECK_ON(pair, fetch.result.outcome == BATON_COMPLETED);
    drop(&offer, &fetch);
}

/* The watermark rises in steps that fit neither blocks nor windows: bytes come up to it, not
 * beyond. */
TEST(a_push_follows_the_watermark)
{
    each_kind(steps);
}

/* Which ends are cancelled. */
enum by { BY_SINK, BY_SOURCE, BY_BOTH, BY_COUNT };

static void cancel_at(struct end *end, enum moment moment, baton_stage to)
{
    if (moment != MOMENT_TRACE || end->hook_value >> 8 != (unsigned)to || end->hook_calls > 0) {
        return;
    }
    end->hook_calls++;
    if ((end->hook_value & 0xff) != BY_SOURCE) {
        baton_handoff_cancel(end->seen, BATON_CANCEL_OFFER);
    }
    if ((end->hook_value & 0xff) != BY_SINK) {
        baton_handoff_cancel(end->other->handoff, BATON_CANCEL_OFFER);
    }
}

static void cancel_once(struct pair *pair, enum by by, baton_stage stage)
{
    struct end offer = {0}, fetch = {.hook = cancel_at,
                                     .hook_value = (unsigned)stage << 8 | by,
                                     .other = &offer};

    start(pair, &offer, &fetch, 12, BATON_WATERMARK_END);
    finish(pair, &offer, &fetch);
    CHECK_ON(pair, fetch.hook_calls == 1 || stage == BATON_STAGE_DRAINING);
    run_another(pair);
    CHECK_ON(pair, end_holds(&fetch, CANARY, 0) && end_holds(&offer, CANARY + 1, 0));
    drop(&offer, &fetch);
}

static void cancelled(struct pair *pair)
{
    for (unsigned stage = BATON_STAGE_OPENING; stage <= BATON_STAGE_QUIET; stage++) {
        for (unsigned by = 0; by < BY_COUNT; by++) {
            cancel_once(pair, (enum by)by, (baton_stage)stage);
        }
    }
}

/* Either side or both cancel from within the sink's trace of every stage: nothing lands after it.
 */
TEST(cancel_at_every_stage_of_a_push_is_quiet)
{
    each_kind(cancelled);
}

static void again(struct pair *pair)
{
    struct end offer = {0}, fetch = {0}, next = {0}, last = {0};

    start(pair, &offer, &fetch, 8, 2 * PAIR_BLOCK_BYTES);
    CHECK_ON(pair, end_wait_landed(&fetch, 2 * PAIR_BLOCK_BYTES));
    baton_handoff_cancel(fetch.handoff, BATON_CANCEL_ATTEMPT);
    end_finish(&fetch);
    CHECK_ON(pair, fetch.result.outcome == BATON_CANCELLED && offer.outcomes == 0);
    CHECK_ON(pair, fetch_start(pair, &next, &offer.ticket, 8, NULL) == BATON_OK);
    CHECK_ON(pair, end_wait_landed(&next, 2 * PAIR_BLOCK_BYTES));
    baton_handoff_cancel(next.handoff, BATON_CANCEL_ATTEMPT);
    end_finish(&next);
    CHECK_ON(pair, fetch_start(pair, &last, &offer.ticket, 8, &push) == BATON_OK);
    baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
    finish(pair, &offer, &last);
    CHECK_ON(pair, last.result.outcome == BATON_COMPLETED && offer.receipt.attempts == 3);
    drop(&offer, &last);
}

/* A push that was cancelled is followed by a pull of the same offer, and by a push. */
TEST(a_cancelled_push_leaves_the_offer)
{
    each_kind(again);
}

static void step(baton_engine *engine)
{
    for (unsigned i = 0; i < 100; i++) {
        CHECK(baton_engine_step(engine, 0) == BATON_OK);
    }
}

/* The CANCEL of an attempt and the next OPEN are read together, while the connection is full and
 * pushes wait for it: the slot is free for the next one. */
TEST(a_cancelled_push_is_not_in_the_way_of_the_next)
{
    struct pair_setup setup = {.kind = &kinds[8], .block_bytes = 256 << 10};
    struct end offer = {0}, fetch = {0}, next = {0};
    struct pair pair;

    setup.sink.window_bytes = 8 << 20; /* one fills the connection */
    pair_open(&pair, &setup);
    start(&pair, &offer, &fetch, PAIR_BLOCKS, BATON_WATERMARK_END);
    CHECK(end_wait_stage(&fetch, BATON_STAGE_READING));
    step(pair.sink);
    step(pair.source);
    pair.source_frozen = true;
    baton_handoff_cancel(fetch.handoff, BATON_CANCEL_ATTEMPT);
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_CANCELLED && fetch.receipt.bytes_landed < 8 << 20);
    CHECK(fetch_start(&pair, &next, &offer.ticket, PAIR_BLOCKS, &push) == BATON_OK);
    step(pair.sink);
    pair.source_frozen = false;
    finish(&pair, &offer, &next);
    CHECK(next.result.outcome == BATON_COMPLETED);
    drop(&offer, &next);
    pair_close(&pair);
}

/* A source of the caller's that does nothing any more: its reader is quiet at once all the same. */
TEST(cancel_while_the_source_does_nothing_is_quiet)
{
    struct pair_setup setup = small_windows(plain_tcp);
    struct end offer = {0}, fetch = {0};
    struct pair pair;

    setup.source.progress = BATON_PROGRESS_CALLER;
    pair_open(&pair, &setup);
    start(&pair, &offer, &fetch, 8, 2 * PAIR_BLOCK_BYTES);
    CHECK(end_wait_landed(&fetch, 2 * PAIR_BLOCK_BYTES));
    pair.source_frozen = true;
    baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
    baton_handoff_cancel(fetch.handoff, BATON_CANCEL_OFFER);
    end_retire(&fetch);
    CHECK(fetch.receipt.proof == BATON_PROOF_LOCAL_DRAIN);
    end_fill(&fetch, CANARY);
    pair.source_frozen = false;
    end_retire(&offer);
    run_another(&pair);
    CHECK(end_holds(&fetch, CANARY, 0));
    drop(&offer, &fetch);
    pair_close(&pair);
}

/* The same with a sink that does nothing: it has granted all, and takes nothing. */
TEST(cancel_while_the_sink_does_nothing_is_quiet)
{
    struct pair_setup setup = small_windows(plain_tcp);
    struct end offer = {0}, fetch = {0};
    struct pair pair;

    setup.sink.progress = BATON_PROGRESS_CALLER;
    pair_open(&pair, &setup);
    start(&pair, &offer, &fetch, 8, 2 * PAIR_BLOCK_BYTES);
    CHECK(end_wait_landed(&fetch, 2 * PAIR_BLOCK_BYTES));
    pair.sink_frozen = true;
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_retire(&offer);
    CHECK(offer.receipt.proof == BATON_PROOF_LOCAL_DRAIN);
    end_fill(&offer, CANARY);
    pair.sink_frozen = false;
    end_retire(&fetch);
    CHECK(fetch.result.outcome == BATON_PEER_CANCELLED);
    run_another(&pair);
    drop(&offer, &fetch);
    pair_close(&pair);
}

/* Two ways at once on one link: each fetch gets its own bytes. */
static void mixed(struct pair *pair)
{
    struct end offers[8] = {0}, fetches[8] = {0};

    for (unsigned i = 0; i < 8; i++) {
        CHECK_ON(pair, offer_start(pair, &offers[i], 8, i, NULL) == BATON_OK);
    }
    for (unsigned i = 0; i < 8; i++) {
        CHECK_ON(pair, fetch_start(pair, &fetches[i], &offers[i].ticket, 8, i % 2 ? &push : NULL) ==
                           BATON_OK);
    }
    for (unsigned i = 0; i < 8; i++) {
        end_retire(&fetches[i]);
        CHECK_ON(pair, fetches[i].result.outcome == BATON_COMPLETED);
        CHECK_ON(pair, end_holds(&fetches[i], i, 0));
        end_drop(&fetches[i]);
        end_finish(&offers[i]);
    }
}

TEST(pushes_and_pulls_share_a_link)
{
    static const struct kind both = {.name = "shm and tcp"};
    struct pair_setup setup = small_windows(&both);
    struct pair pair;

    each_kind(mixed);
    pair_open(&pair, &setup); /* what is pulled goes over shm */
    mixed(&pair);
    pair_close(&pair);
}

/* Windows as small as they may be, of more fetches than all windows together allow. */
TEST(many_pushes_at_once_complete)
{
    struct pair_setup setup = small_windows(plain_tcp);
    struct end *offers = calloc(STORM, sizeof(*offers)), *fetches = calloc(STORM, sizeof(*fetches));
    struct pair pair;

    setup.sink.window_bytes = 4096;
    setup.block_count = 2 * STORM;
    pair_open(&pair, &setup);
    for (unsigned i = 0; i < STORM; i++) {
        start(&pair, &offers[i], &fetches[i], 2, BATON_WATERMARK_END);
    }
    for (unsigned i = 0; i < STORM; i++) {
        finish(&pair, &offers[i], &fetches[i]);
        CHECK(fetches[i].result.outcome == BATON_COMPLETED);
        drop(&offers[i], &fetches[i]);
    }
    pair_close(&pair);
    free(offers);
    free(fetches);
}

static void storm(struct pair *pair)
{
    struct end *offers = calloc(STORM, sizeof(*offers)), *fetches = calloc(STORM, sizeof(*fetches));

    for (unsigned i = 0; i < STORM; i++) {
        CHECK_ON(pair, offer_start(pair, &offers[i], 1, i, NULL) == BATON_OK);
        CHECK_ON(pair, fetch_start(pair, &fetches[i], &offers[i].ticket, 1, i % 4 ? &push : NULL) ==
                           BATON_OK);
        if (i >= 20 && i % 3 != 1) {
            baton_handoff_cancel(fetches[i - i % 20].handoff, (baton_cancel_scope)(i & 1));
        }
        if (i >= 20 && i % 3 != 0) {
            baton_handoff_cancel(offers[i - i % 17].handoff, BATON_CANCEL_OFFER);
        }
    }
    for (unsigned i = 0; i < STORM; i++) {
        baton_handoff_cancel(offers[i].handoff, BATON_CANCEL_OFFER);
        finish(pair, &offers[i], &fetches[i]);
        drop(&offers[i], &fetches[i]);
    }
    baton_pool_verify(pair->source_pool);
    baton_pool_verify(pair->sink_pool);
    free(offers);
    free(fetches);
}

/* Pushes and some pulls at once, cancelled in turn by either side or both while they run. */
TEST(a_storm_of_cancelled_pushes_leaves_nothing_behind)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair_setup setup = small_windows(&kinds[i]);
        struct pair pair;

        setup.block_count = STORM;
        if (is_tcp(&kinds[i]) && !kinds[i].wrapped) {
            pair_open(&pair, &setup);
            storm(&pair);
            pair_close(&pair);
        }
    }
}
