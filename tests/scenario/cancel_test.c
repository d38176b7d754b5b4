/* SPDX-License-Identifier: Apache-2.0 */
/* Cancel, by either side or both, at every stage and from every place: one outcome, one receipt,
 * then silence. */
#include "scenario/pair.h"

#include <stdlib.h>
#include <string.h>

enum { STORM = 500, CANARY = 0xca9a };

/* Which ends are cancelled, and how. */
enum by { BY_SINK, BY_SOURCE, BY_BOTH, BY_COUNT };

static void cancel_both(struct end *end, enum moment moment, baton_stage to)
{
    bool is_first = end->hook_calls == 0;

    if (moment != MOMENT_TRACE || end->hook_value >> 8 != (unsigned)to || !is_first) {
        return;
    }
    end->hook_calls++;
    for (unsigned twice = 0; twice < 2; twice++) {
        if ((end->hook_value & 0xff) != BY_SOURCE) {
            baton_handoff_cancel(end->seen, BATON_CANCEL_OFFER);
        }
        if ((end->hook_value & 0xff) != BY_SINK) {
            baton_handoff_cancel(end->other->handoff, BATON_CANCEL_OFFER);
        }
    }
}

/* The laws of every ending; the blocks of both are rewritten, and must stay so until the engines
 * end. */
static void check_ends(struct pair *pair, struct end *offer, struct end *fetch)
{
    end_retire(fetch);
    CHECK_ON(pair, fetch->result.outcome != BATON_COMPLETED || end_holds(fetch, offer->content, 0));
    CHECK_ON(pair, fetch->result.bytes_landed <= fetch->result.bytes_total);
    CHECK_ON(pair, fetch->receipt.bytes_landed == fetch->result.bytes_landed ||
                       fetch->result.outcome != BATON_COMPLETED);
    end_fill(fetch, CANARY);
    end_retire(offer);
    CHECK_ON(pair,
             fetch->result.outcome != BATON_COMPLETED || offer->result.outcome == BATON_COMPLETED);
    end_fill(offer, CANARY + 1);
}

/* Drives both engines through another handoff, which outlasts whatever the ended one left behind.
 */
static void run_another(struct pair *pair)
{
    struct end offer = {0}, fetch = {0};

    CHECK_ON(pair, offer_start(pair, &offer, 2, 4, NULL) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
    end_retire(&fetch);
    CHECK_ON(pair, fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, 4, 0));
    end_drop(&fetch);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
}

static void cancel_once(struct pair *pair, enum by by, baton_stage stage)
{
    struct end offer = {0}, fetch = {0};

    CHECK_ON(pair, offer_start(pair, &offer, 12, 1, NULL) == BATON_OK);
    fetch.hook = cancel_both;
    fetch.hook_value = (unsigned)stage << 8 | by;
    fetch.other = &offer;
    CHECK_ON(pair, fetch_start(pair, &fetch, &offer.ticket, 12, NULL) == BATON_OK);
    check_ends(pair, &offer, &fetch);
    run_another(pair);
    CHECK_ON(pair, end_holds(&fetch, CANARY, 0) && end_holds(&offer, CANARY + 1, 0));
    end_drop(&fetch);
    end_drop(&offer);
}

/* Either side or both cancel, twice, from within the sink's trace of every stage, on every kind. */
TEST(cancel_at_every_stage_is_quiet)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i],
                                              .source.slice_bytes = 4096,
                                              .sink.slice_bytes = 4096,
                                              .source.window_bytes = 16384,
                                              .sink.window_bytes = 16384});
        for (unsigned stage = BATON_STAGE_OPENING; stage <= BATON_STAGE_QUIET; stage++) {
            for (unsigned by = 0; by < BY_COUNT; by++) {
                cancel_once(&pair, (enum by)by, (baton_stage)stage);
            }
        }
        pair_close(&pair);
    }
}

static void cancel_at_source_stage(struct pair *pair, baton_stage stage)
{
    struct end offer = {0}, fetch = {0};

    offer.hook = cancel_both;
    offer.hook_value = (unsigned)stage << 8 | BY_SINK; /* the end that is traced: the offer */
    CHECK_ON(pair, offer_start(pair, &offer, 6, 1, NULL) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, &fetch, &offer.ticket, 6, NULL) == BATON_OK);
    check_ends(pair, &offer, &fetch);
    end_drop(&fetch);
    end_drop(&offer);
}

/* The source cancels itself in its own trace: the reader learns so, or had committed before. */
TEST(cancel_within_the_sources_trace_is_quiet)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        for (unsigned stage = BATON_STAGE_OFFERED; stage <= BATON_STAGE_REVOKED; stage++) {
            cancel_at_source_stage(&pair, (baton_stage)stage);
        }
        pair_close(&pair);
    }
}

static void cancel_in_notices(struct end *end, enum moment moment, baton_stage to)
{
    (void)to;
    if (moment == MOMENT_OUTCOME || moment == MOMENT_QUIET) {
        end->hook_calls +=
            baton_handoff_cancel(end->seen, BATON_CANCEL_OFFER) == BATON_CANCEL_ALREADY_DECIDED;
        end->hook_calls +=
            baton_handoff_cancel(end->seen, BATON_CANCEL_ATTEMPT) == BATON_CANCEL_ALREADY_DECIDED;
    }
}

/* Within on_outcome and on_quiet, and after the end, a cancel says that all is decided. */
TEST(cancel_after_the_outcome_is_too_late)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {.hook = cancel_in_notices}, fetch = {.hook = cancel_in_notices};

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        CHECK_ON(&pair, offer_start(&pair, &offer, 2, 1, NULL) == BATON_OK);
        CHECK_ON(&pair, fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
        check_ends(&pair, &offer, &fetch);
        CHECK_ON(&pair, fetch.result.outcome == BATON_COMPLETED);
        CHECK_ON(&pair, fetch.hook_calls == 4 && offer.hook_calls == 4);
        CHECK_ON(&pair, baton_handoff_cancel(fetch.handoff, BATON_CANCEL_OFFER) ==
                            BATON_CANCEL_ALREADY_DECIDED);
        CHECK_ON(&pair, baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER) ==
                            BATON_CANCEL_ALREADY_DECIDED);
        end_drop(&fetch);
        end_drop(&offer);
        pair_close(&pair);
    }
}

/* A fetch that waits for bytes, with half of them landed. */
static void start_half(struct pair *pair, struct end *offer, struct end *fetch)
{
    struct baton_offer_args half = {.watermark_bytes = 2 * PAIR_BLOCK_BYTES};

    CHECK_ON(pair, offer_start(pair, offer, 4, 6, &half) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, fetch, &offer->ticket, 4, NULL) == BATON_OK);
    CHECK_ON(pair, end_wait_landed(fetch, 2 * PAIR_BLOCK_BYTES));
}

/* A fetch cancelled for good takes the offer with it; both say who did it. */
TEST(cancel_of_the_offer_by_its_reader_revokes_it)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0};

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        start_half(&pair, &offer, &fetch);
        CHECK_ON(&pair,
                 baton_handoff_cancel(fetch.handoff, BATON_CANCEL_OFFER) == BATON_CANCEL_REQUESTED);
        check_ends(&pair, &offer, &fetch);
        CHECK_ON(&pair, fetch.result.outcome == BATON_CANCELLED &&
                            fetch.result.cause == BATON_CAUSE_CANCEL &&
                            fetch.result.stage == BATON_STAGE_READING);
        CHECK_ON(&pair, fetch.receipt.bytes_landed == 2 * PAIR_BLOCK_BYTES);
        CHECK_ON(&pair, offer.result.outcome == BATON_PEER_CANCELLED &&
                            offer.result.cause == BATON_CAUSE_CANCEL);
        CHECK_ON(&pair, offer.result.slots == 1 &&
                            offer.result.slot_stage[0] == BATON_STAGE_REVOKED &&
                            offer.result.slot_cause[0] == BATON_CAUSE_CANCEL);
        end_drop(&fetch);
        end_drop(&offer);
        pair_close(&pair);
    }
}

/* A cancelled attempt leaves the offer to the next fetch, also when a wider cancel follows. */
TEST(cancel_of_an_attempt_leaves_the_offer)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0}, next = {0};

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        start_half(&pair, &offer, &fetch);
        baton_handoff_cancel(fetch.handoff, BATON_CANCEL_ATTEMPT);
        baton_handoff_cancel(fetch.handoff, BATON_CANCEL_OFFER);
        end_finish(&fetch);
        CHECK_ON(&pair, fetch.result.outcome == BATON_CANCELLED && offer.outcomes == 0);
        CHECK_ON(&pair, fetch_start(&pair, &next, &offer.ticket, 4, NULL) == BATON_OK);
        baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
        check_ends(&pair, &offer, &next);
        CHECK_ON(&pair, next.result.outcome == BATON_COMPLETED);
        CHECK_ON(&pair, offer.receipt.attempts == 2);
        end_drop(&next);
        end_drop(&offer);
        pair_close(&pair);
    }
}

/* The source cancels under a reader: the reader is told so, and nothing it read is committed. */
TEST(cancel_by_the_source_reaches_the_reader)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0};

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        start_half(&pair, &offer, &fetch);
        CHECK_ON(&pair, baton_handoff_cancel(offer.handoff, BATON_CANCEL_ATTEMPT) ==
                            BATON_CANCEL_REQUESTED);
        check_ends(&pair, &offer, &fetch);
        CHECK_ON(&pair, offer.result.outcome == BATON_CANCELLED &&
                            offer.result.cause == BATON_CAUSE_CANCEL);
        CHECK_ON(&pair, fetch.result.outcome == BATON_PEER_CANCELLED &&
                            fetch.result.cause == BATON_CAUSE_CANCEL);
        end_drop(&fetch);
        end_drop(&offer);
        pair_close(&pair);
    }
}

/* An offer that nobody fetched ends at its cancel; a fetch whose source never answers does too. */
TEST(cancel_needs_no_peer)
{
    struct pair pair;
    struct end lonely = {0}, offer = {0}, fetch = {0};
    struct pair_setup setup = {.kind = plain_shm, .source.progress = BATON_PROGRESS_CALLER};

    pair_open(&pair, &setup);
    CHECK(offer_start(&pair, &lonely, 2, 1, NULL) == BATON_OK);
    CHECK(baton_handoff_cancel(lonely.handoff, BATON_CANCEL_OFFER) == BATON_CANCEL_REQUESTED);
    end_finish(&lonely);
    CHECK(lonely.result.outcome == BATON_CANCELLED);
    CHECK(lonely.receipt.proof == BATON_PROOF_NEVER_EXPOSED && lonely.receipt.attempts == 0);

    CHECK(offer_start(&pair, &offer, 2, 1, NULL) == BATON_OK);
    pair.source_frozen = true;
    CHECK(fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
    baton_handoff_cancel(fetch.handoff, BATON_CANCEL_OFFER);
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_CANCELLED && fetch.result.stage == BATON_STAGE_OPENING);
    CHECK(fetch.receipt.proof == BATON_PROOF_NEVER_EXPOSED && fetch.receipt.bytes_landed == 0);
    pair.source_frozen = false;
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    pair_close(&pair);
}

/* While the source does nothing at all, a reader in the middle of its bytes is quiet on its own. */
TEST(cancel_while_the_source_is_stopped_is_quiet)
{
    for (unsigned i = 0; i < 3; i++) {
        struct pair pair;
        struct pair_setup setup = {.kind = &kinds[i], .source.progress = BATON_PROGRESS_CALLER};
        struct end offer = {0}, fetch = {0};

        pair_open(&pair, &setup);
        start_half(&pair, &offer, &fetch);
        pair.source_frozen = true;
        baton_handoff_cancel(fetch.handoff, BATON_CANCEL_OFFER);
        end_retire(&fetch);
        end_fill(&fetch, CANARY);
        CHECK_ON(&pair, fetch.receipt.proof == BATON_PROOF_LOCAL_DRAIN);
        pair.source_frozen = false;
        end_retire(&offer);
        CHECK_ON(&pair, end_holds(&fetch, CANARY, 0));
        end_drop(&fetch);
        end_drop(&offer);
        pair_close(&pair);
    }
}

/* While the reader does nothing at all, the source has its blocks back on its own. */
TEST(cancel_while_the_reader_is_stopped_is_quiet)
{
    for (unsigned i = 0; i < 3; i++) {
        struct pair pair;
        struct pair_setup setup = {.kind = &kinds[i], .sink.progress = BATON_PROGRESS_CALLER};
        struct end offer = {0}, fetch = {0};

        pair_open(&pair, &setup);
        start_half(&pair, &offer, &fetch);
        pair.sink_frozen = true;
        baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
        end_retire(&offer);
        end_fill(&offer, CANARY);
        CHECK_ON(&pair, offer.result.outcome == BATON_CANCELLED);
        pair.sink_frozen = false;
        end_retire(&fetch);
        CHECK_ON(&pair, fetch.result.outcome == BATON_PEER_CANCELLED);
        end_drop(&fetch);
        end_drop(&offer);
        pair_close(&pair);
    }
}

/* 500 handoffs at once, cancelled in turn by either side or both while they run. */
TEST(a_storm_of_cancels_leaves_nothing_behind)
{
    static const unsigned storm_kinds[] = {0, 1, 2, 6, 9};

    for (unsigned k = 0; k < sizeof(storm_kinds) / sizeof(storm_kinds[0]); k++) {
        struct pair pair;
        struct end *offers = calloc(STORM, sizeof(*offers));
        struct end *fetches = calloc(STORM, sizeof(*fetches));

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[storm_kinds[k]],
                                              .block_count = STORM,
                                              .block_bytes = 4096,
                                              .pool_flags = BATON_POOL_CHECK});
        for (unsigned i = 0; i < STORM; i++) {
            CHECK_ON(&pair, offer_start(&pair, &offers[i], 1, i, NULL) == BATON_OK);
            CHECK_ON(&pair,
                     fetch_start(&pair, &fetches[i], &offers[i].ticket, 1, NULL) == BATON_OK);
            if (i >= 20 && i % 3 != 1) {
                baton_handoff_cancel(fetches[i - i % 20].handoff, (baton_cancel_scope)(i & 1));
            }
            if (i >= 20 && i % 3 != 0) {
                baton_handoff_cancel(offers[i - i % 17].handoff, BATON_CANCEL_OFFER);
            }
        }
        for (unsigned i = 0; i < STORM; i++) {
            baton_handoff_cancel(offers[i].handoff, BATON_CANCEL_OFFER);
            check_ends(&pair, &offers[i], &fetches[i]);
            end_drop(&fetches[i]);
            end_drop(&offers[i]);
        }
        baton_pool_verify(pair.source_pool);
        baton_pool_verify(pair.sink_pool);
        pair_close(&pair);
        free(offers);
        free(fetches);
    }
}
