/* SPDX-License-Identifier: Apache-2.0 */
/* Every clock of both sides fires alone, with its own cause, not early, and frees nothing by
 * itself. */
#include "scenario/pair.h"

#include <string.h>

enum { CLOCK_MS = 60 };

/* `end` has timed out for `cause`, not before its time. */
static void check_clock(struct end *end, baton_cause cause, uint64_t start)
{
    CHECK_ON(end->pair, end_wait_quiet(end));
    CHECK_ON(end->pair, now_ns() - start >= (CLOCK_MS - 1) * 1000000ull);
    if (!CHECK_ON(end->pair, end->result.outcome == BATON_TIMED_OUT) ||
        !CHECK_ON(end->pair, end->result.cause == cause)) {
        printf("    %s, %s\n", baton_outcome_name(end->result.outcome),
               baton_cause_name(end->result.cause));
    }
    end_finish(end);
}

static struct pair_setup caller_source(const struct kind *kind)
{
    return (struct pair_setup){.kind = kind, .source.progress = BATON_PROGRESS_CALLER};
}

/* Nobody comes for an offer. */
TEST(the_reader_clock_ends_an_offer)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0};
        uint64_t start;

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        start = now_ns();
        CHECK_ON(&pair, offer_start(&pair, &offer, 2, 1,
                                    &(struct baton_offer_args){.reader_timeout_ms = CLOCK_MS}) ==
                            BATON_OK);
        check_clock(&offer, BATON_CAUSE_CLOCK_READER, start);
        CHECK_ON(&pair, offer.receipt.proof == BATON_PROOF_NEVER_EXPOSED);
        CHECK_ON(&pair, offer.result.slot_cause[0] == BATON_CAUSE_CLOCK_READER);
        pair_close(&pair);
    }
}

/* A reader that stops in the middle loses its lease, not the offer; it is told why. */
TEST(the_lease_clock_ends_a_lease)
{
    for (unsigned i = 0; i < 3; i++) {
        struct pair pair;
        struct pair_setup setup = {.kind = &kinds[i], .sink.progress = BATON_PROGRESS_CALLER};
        struct end offer = {0}, fetch = {0}, next = {0};

        pair_open(&pair, &setup);
        CHECK_ON(&pair,
                 offer_start(&pair, &offer, 2, 1,
                             &(struct baton_offer_args){.lease_timeout_ms = CLOCK_MS}) == BATON_OK);
        CHECK_ON(&pair, fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
        CHECK_ON(&pair, end_wait_stage(&fetch, BATON_STAGE_READING));
        pair.sink_frozen = true;
        offer.stages = 0;
        baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
        CHECK_ON(&pair, end_wait_stage(&offer, BATON_STAGE_OFFERED) && offer.outcomes == 0);
        pair.sink_frozen = false;
        end_finish(&fetch);
        CHECK_ON(&pair, fetch.result.outcome == BATON_PEER_CANCELLED);
        CHECK_ON(&pair, fetch.result.cause == BATON_CAUSE_CLOCK_LEASE);
        CHECK_ON(&pair, fetch_start(&pair, &next, &offer.ticket, 2, NULL) == BATON_OK);
        end_finish(&next);
        CHECK_ON(&pair, next.result.outcome == BATON_COMPLETED);
        end_finish(&offer);
        CHECK_ON(&pair, offer.receipt.attempts == 2);
        pair_close(&pair);
    }
}

/* The whole offer is over, whatever its reader does; the reader is told so. */
TEST(the_whole_clock_of_an_offer_ends_it)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0};
        uint64_t start;

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        start = now_ns();
        CHECK_ON(&pair,
                 offer_start(&pair, &offer, 2, 1,
                             &(struct baton_offer_args){.whole_timeout_ms = CLOCK_MS}) == BATON_OK);
        CHECK_ON(&pair, fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
        check_clock(&offer, BATON_CAUSE_CLOCK_WHOLE, start);
        end_finish(&fetch);
        CHECK_ON(&pair, fetch.result.outcome == BATON_PEER_CANCELLED);
        CHECK_ON(&pair, fetch.result.cause == BATON_CAUSE_CLOCK_WHOLE);
        pair_close(&pair);
    }
}

/* A sink's clock ends one fetch of an offer, which the next one still gets. */
static void run_sink_clock(const struct kind *kind, const struct baton_fetch_args *clocks,
                           baton_cause cause)
{
    struct pair pair;
    struct end offer = {0}, fetch = {0}, next = {0};
    uint64_t start;

    pair_open(&pair, &(struct pair_setup){.kind = kind});
    CHECK_ON(&pair, offer_start(&pair, &offer, 2, 1,
                                &(struct baton_offer_args){.watermark_bytes = 100}) == BATON_OK);
    start = now_ns();
    CHECK_ON(&pair, fetch_start(&pair, &fetch, &offer.ticket, 2, clocks) == BATON_OK);
    check_clock(&fetch, cause, start);
    /* Two that meet by nixl for the first time may need longer than the clock runs. */
    CHECK_ON(&pair, fetch.receipt.bytes_landed == 100 ||
                        (!strcmp(kind->transport, "nixl") && fetch.receipt.bytes_landed == 0));
    CHECK_ON(&pair, offer.outcomes == 0);
    CHECK_ON(&pair, fetch_start(&pair, &next, &offer.ticket, 2, NULL) == BATON_OK);
    baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
    end_finish(&next);
    CHECK_ON(&pair, next.result.outcome == BATON_COMPLETED);
    end_finish(&offer);
    pair_close(&pair);
}

/* The watermark stands still, or the whole takes too long. */
TEST(the_bytes_and_whole_clocks_end_a_fetch)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        run_sink_clock(&kinds[i], &(struct baton_fetch_args){.bytes_timeout_ms = CLOCK_MS},
                       BATON_CAUSE_CLOCK_BYTES);
        run_sink_clock(&kinds[i], &(struct baton_fetch_args){.whole_timeout_ms = CLOCK_MS},
                       BATON_CAUSE_CLOCK_WHOLE);
    }
}

/* A source that never answers the opening. */
TEST(the_opening_clock_ends_a_fetch)
{
    for (unsigned i = 0; i < 3; i++) {
        struct pair pair;
        struct pair_setup setup = caller_source(&kinds[i]);
        struct end offer = {0}, fetch = {0};
        uint64_t start;

        pair_open(&pair, &setup);
        CHECK_ON(&pair, offer_start(&pair, &offer, 2, 1, NULL) == BATON_OK);
        pair.source_frozen = true;
        start = now_ns();
        CHECK_ON(&pair,
                 fetch_start(&pair, &fetch, &offer.ticket, 2,
                             &(struct baton_fetch_args){.opening_timeout_ms = CLOCK_MS,
                                                        .bytes_timeout_ms = 1,
                                                        .progress_timeout_ms = 1,
                                                        .commit_timeout_ms = 1}) == BATON_OK);
        check_clock(&fetch, BATON_CAUSE_CLOCK_OPENING, start);
        pair.source_frozen = false;
        baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
        end_finish(&offer);
        pair_close(&pair);
    }
}

/* The source says that all bytes are there, and then nothing more: to copy (tcp), or to commit
 * (shm).  The sink is driven by the test too, so that no answer can get into the source's last
 * step. */
static void run_mute_source(const struct kind *kind, const struct baton_fetch_args *clocks,
                            baton_cause cause)
{
    struct pair pair;
    struct pair_setup setup = caller_source(kind);
    size_t count = 4;
    struct end offer = {0}, fetch = {0};
    uint64_t start;

    setup.sink.progress = BATON_PROGRESS_CALLER;
    pair_open(&pair, &setup);
    CHECK_ON(&pair, offer_start(&pair, &offer, count, 1,
                                &(struct baton_offer_args){.watermark_bytes = 64}) == BATON_OK);
    CHECK_ON(&pair, fetch_start(&pair, &fetch, &offer.ticket, count, clocks) == BATON_OK);
    CHECK_ON(&pair, end_wait_landed(&fetch, 64));
    start = now_ns();
    baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
    CHECK_ON(&pair, baton_engine_step(pair.source, 0) == BATON_OK);
    pair.source_frozen = true;
    check_clock(&fetch, cause, start);
    pair.source_frozen = false;
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    pair_close(&pair);
}

/* Bytes are readable and none lands; all have landed and the commit is not answered. */
TEST(the_progress_and_commit_clocks_end_a_fetch)
{
    run_mute_source(plain_shm, &(struct baton_fetch_args){.commit_timeout_ms = CLOCK_MS},
                    BATON_CAUSE_CLOCK_COMMIT);
    run_mute_source(&kinds[4], &(struct baton_fetch_args){.commit_timeout_ms = CLOCK_MS},
                    BATON_CAUSE_CLOCK_COMMIT);
    run_mute_source(plain_tcp, &(struct baton_fetch_args){.progress_timeout_ms = CLOCK_MS},
                    BATON_CAUSE_CLOCK_PROGRESS);
    run_mute_source(&kinds[2], &(struct baton_fetch_args){.progress_timeout_ms = CLOCK_MS},
                    BATON_CAUSE_CLOCK_PROGRESS);
}

/* Clocks of stages that are passed in time do not fire later. */
TEST(clocks_that_were_met_stay_silent)
{
    static const unsigned some[] = {0, 2, 9};

    for (unsigned k = 0; k < sizeof(some) / sizeof(some[0]); k++) {
        unsigned i = some[k];
        struct pair pair;
        struct end offer = {0}, fetch = {0}, timer = {0};

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        CHECK_ON(&pair,
                 offer_start(&pair, &offer, 2, 1,
                             &(struct baton_offer_args){.watermark_bytes = 64,
                                                        .reader_timeout_ms = 500,
                                                        .lease_timeout_ms = 500}) == BATON_OK);
        CHECK_ON(&pair,
                 fetch_start(&pair, &fetch, &offer.ticket, 2,
                             &(struct baton_fetch_args){.opening_timeout_ms = 500,
                                                        .progress_timeout_ms = 500,
                                                        .commit_timeout_ms = 500}) == BATON_OK);
        CHECK_ON(&pair, end_wait_landed(&fetch, 64));
        CHECK_ON(&pair,
                 offer_start(&pair, &timer, 1, 1,
                             &(struct baton_offer_args){.reader_timeout_ms = 700}) == BATON_OK);
        end_finish(&timer); /* 700 ms have passed, and the fetch waits for bytes */
        CHECK_ON(&pair, offer.outcomes == 0 && fetch.outcomes == 0);
        baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
        end_finish(&fetch);
        CHECK_ON(&pair, fetch.result.outcome == BATON_COMPLETED ||
                            fetch.result.cause == BATON_CAUSE_CLOCK_LEASE);
        baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
        end_finish(&offer);
        pair_close(&pair);
    }
}
