/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attacks on pushes, over shm and over tcp, through the public calls only: cancels from every
 * callback, relays, readers of both modes, sources that do nothing any more, small limits.  It
 * knows nothing of how a push is made.
 */
#include "scenario/pair.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    CANARY = 0xca9a,
    COUNT = 12,     /* blocks of a handoff */
    CALLBACKS = 40, /* more than a handoff has */
    BLOCK = PAIR_BLOCK_BYTES,
    DRAIN_MS = 50,
    STATS_BYTES = 1 << 16,
    STORM = 300,
    MANY = 180,
    PLACES = 64, /* of a link, for answers */
};

static const struct baton_fetch_args push = {.mode = BATON_PUSH};
static const struct baton_fetch_args push_shm = {.mode = BATON_PUSH, .transport = "shm"};
static const struct baton_fetch_args push_tcp = {.mode = BATON_PUSH, .transport = "tcp"};
static const struct baton_fetch_args pull_shm = {.transport = "shm"};
static const struct baton_fetch_args pull_tcp = {.transport = "tcp"};
static const struct kind both = {.name = "shm and tcp"};

static struct pair_setup small(const struct kind *kind)
{
    return (struct pair_setup){.kind = kind,
                               .source.window_bytes = 16384,
                               .sink.window_bytes = 16384,
                               .source.slice_bytes = 4096,
                               .sink.slice_bytes = 4096,
                               .sink.doubt_ms = 1,
                               .pool_flags = BATON_POOL_CHECK};
}

/* A story, on each kind of pair whose memory is Baton's. */
static void each_kind(void (*story)(struct pair *pair))
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair_setup setup = small(&kinds[i]);
        struct pair pair;

        if (!kinds[i].wrapped) {
            pair_open(&pair, &setup);
            story(&pair);
            pair_close(&pair);
        }
    }
}

static void start(struct pair *pair, struct end *offer, struct end *fetch)
{
    CHECK_ON(pair, offer_start(pair, offer, COUNT, 5, NULL) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, fetch, &offer->ticket, COUNT, &push) == BATON_OK);
}

static void drop(struct end *offer, struct end *fetch)
{
    end_drop(fetch);
    end_drop(offer);
}

/* An undisturbed push, which outlasts what an ended one left on its way. */
static void run_another(struct pair *pair)
{
    struct end offer = {0}, fetch = {0};

    start(pair, &offer, &fetch);
    end_retire(&fetch);
    CHECK_ON(pair, fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, 5, 0));
    end_retire(&offer);
    CHECK_ON(pair, offer.result.outcome == BATON_COMPLETED);
    drop(&offer, &fetch);
}

/* ---- cancels from callbacks ---- */

static atomic_bool armed; /* the offer has its handle */

/* In the callback of the given number of this end, whatever it is: cancel, by both when odd. */
static void cancel_in_callback(struct end *end, enum moment moment, baton_stage to)
{
    (void)moment;
    (void)to;
    if (atomic_load(&armed) && end->hook_calls++ == end->hook_value >> 2) {
        baton_handoff_cancel(end->seen, (baton_cancel_scope)(end->hook_value & 1));
        if (end->hook_value & 2) {
            baton_handoff_cancel(end->other->handoff, BATON_CANCEL_OFFER);
        }
    }
}

/* Returns false when there is no such callback. */
static bool cancel_in(struct pair *pair, bool by_source, unsigned value)
{
    struct end offer = {0}, fetch = {0};
    struct end *by = by_source ? &offer : &fetch;

    atomic_store(&armed, false);
    by->hook = cancel_in_callback;
    by->hook_value = value;
    by->other = &offer; /* the fetch may not have returned yet */
    CHECK_ON(pair, offer_start(pair, &offer, COUNT, 5, NULL) == BATON_OK);
    atomic_store(&armed, true);
    CHECK_ON(pair, fetch_start(pair, &fetch, &offer.ticket, COUNT, &push) == BATON_OK);
    end_retire(&fetch);
    CHECK_ON(pair, fetch.result.outcome != BATON_COMPLETED || end_holds(&fetch, 5, 0));
    end_fill(&fetch, CANARY);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_retire(&offer);
    end_fill(&offer, CANARY + 1);
    CHECK_ON(pair,
             fetch.result.outcome != BATON_COMPLETED || offer.result.outcome == BATON_COMPLETED);
    run_another(pair);
    CHECK_ON(pair, end_holds(&fetch, CANARY, 0) && end_holds(&offer, CANARY + 1, 0));
    drop(&offer, &fetch);
    return by->hook_calls > value >> 2;
}

static void cancelled_in_callbacks(struct pair *pair)
{
    for (unsigned by_source = 0; by_source < 2; by_source++) {
        for (unsigned flags = 0; flags < 4; flags++) {
            for (unsigned n = 0; n < CALLBACKS && cancel_in(pair, by_source, n << 2 | flags);) {
                n++;
            }
        }
    }
}

/* A cancel from the n-th callback of either end, for every n, of both scopes, by one or both. */
TEST(cancel_from_every_callback)
{
    each_kind(cancelled_in_callbacks);
}

/* In the receipt's own callback: use it, and give the blocks to somebody else. */
static void reuse_in_callback(struct end *end, enum moment moment, baton_stage to)
{
    (void)to;
    if (moment == MOMENT_QUIET) {
        end->hook_calls += baton_retire(end->seen, &end->receipt, NULL, NULL, NULL) == BATON_OK;
        for (size_t i = 0; i < end->block_count; i++) {
            block_fill(baton_pool_block(end->pool, end->blocks[i]), BLOCK, CANARY, i);
        }
    }
}

/* The source takes its blocks back in mid push and fills them with others' bytes: whoever
 * completes got none of those. */
static void torn(struct pair *pair)
{
    for (unsigned n = 0; n < 30; n++) {
        struct end offer = {.hook = reuse_in_callback}, fetch = {0};

        start(pair, &offer, &fetch);
        end_wait_landed(&fetch, n % 12 * BLOCK);
        baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
        CHECK_ON(pair, end_wait_quiet(&offer));
        end_retire(&fetch);
        CHECK_ON(pair, fetch.result.outcome == BATON_COMPLETED
                           ? end_holds(&fetch, 5, 0) && offer.result.outcome == BATON_COMPLETED
                           : fetch.result.outcome == BATON_PEER_CANCELLED ||
                                 fetch.result.cause == BATON_CAUSE_GONE);
        drop(&offer, &fetch);
    }
}

TEST(a_revoked_push_is_never_torn)
{
    each_kind(torn);
}

/* ---- relays and readers ---- */

/* What was pushed is offered on from the very blocks, back to where it came from, again and
 * again. */
static void relayed(struct pair *pair)
{
    struct end offer = {0}, fetch = {0}, back = {0}, home = {.pair = pair, .block_count = COUNT};
    struct baton_offer_args again = {.size = sizeof(again),
                                     .pool = pair->sink_pool,
                                     .blocks = fetch.blocks,
                                     .block_count = COUNT,
                                     .watermark_bytes = BATON_WATERMARK_END,
                                     .notices = end_notices(&back)};
    struct baton_fetch_args into = {.size = sizeof(into),
                                    .mode = BATON_PUSH,
                                    .pool = pair->source_pool,
                                    .blocks = home.blocks,
                                    .block_count = COUNT,
                                    .notices = end_notices(&home)};

    start(pair, &offer, &fetch);
    end_retire(&fetch);
    end_finish(&offer);
    back.pair = pair;
    home.pool = pair->source_pool;
    CHECK_ON(pair, baton_pool_alloc(home.pool, COUNT, home.blocks, NULL) == BATON_OK);
    CHECK_ON(pair, baton_offer(pair->sink, &again, &back.handoff, NULL) == BATON_OK);
    back.ticket = offer_ticket(&back, 0);
    into.ticket = back.ticket.bytes;
    into.ticket_length = back.ticket.length;
    CHECK_ON(pair, baton_fetch(pair->source, &into, &home.handoff, NULL) == BATON_OK);
    end_retire(&home);
    CHECK_ON(pair, home.result.outcome == BATON_COMPLETED && end_holds(&home, 5, 0));
    end_retire(&back);
    baton_handoff_unref(back.handoff);
    drop(&home, &fetch);
}

TEST(what_was_pushed_is_pushed_back)
{
    each_kind(relayed);
}

static const struct baton_fetch_args *const ways[] = {&push_shm, &push_tcp, &pull_shm, &pull_tcp};

/* Readers of one offer, on two sinks, of both modes and transports; one of them gives up and
 * another takes its slot: each of the rest has the bytes. */
TEST(readers_of_both_modes_and_transports)
{
    const struct baton_offer_args eight = {.watermark_bytes = 3 * BLOCK, .readers = 8};
    struct pair_setup setup = small(&both);
    struct end offer = {0}, fetch[8] = {{0}}, again = {0};
    struct pair pair, other;
    struct ticket ticket;

    setup.block_count = 256;
    pair_open(&pair, &setup);
    pair_open(&other, &setup);
    CHECK(offer_start(&pair, &offer, COUNT, 9, &eight) == BATON_OK);
    for (unsigned i = 0; i < 8; i++) {
        ticket = offer_ticket(&offer, i);
        CHECK(fetch_start(i < 4 ? &pair : &other, &fetch[i], &ticket, COUNT, ways[i % 4]) ==
              BATON_OK);
    }
    CHECK(end_wait_landed(&fetch[4], 2 * BLOCK));
    baton_handoff_cancel(fetch[4].handoff, BATON_CANCEL_ATTEMPT);
    end_retire(&fetch[4]);
    end_fill(&fetch[4], CANARY);
    ticket = offer_ticket(&offer, 4);
    CHECK(fetch_start(&other, &again, &ticket, COUNT, &push_shm) == BATON_OK);
    CHECK(end_wait_landed(&again, 2 * BLOCK));
    baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
    end_retire(&again);
    CHECK(again.result.outcome == BATON_COMPLETED && end_holds(&again, 9, 0));
    end_drop(&again);
    for (unsigned i = 0; i < 8; i++) {
        if (i != 4) {
            end_retire(&fetch[i]);
            CHECK(fetch[i].result.outcome == BATON_COMPLETED && end_holds(&fetch[i], 9, 0));
        }
    }
    end_retire(&offer);
    CHECK(offer.result.outcome == BATON_COMPLETED && offer.receipt.attempts == 9);
    CHECK(offer.receipt.transport && strcmp(offer.receipt.transport, "mixed") == 0 &&
          end_holds(&fetch[4], CANARY, 0));
    for (unsigned i = 0; i < 8; i++) {
        end_drop(&fetch[i]);
    }
    end_drop(&offer);
    pair_close(&other);
    pair_close(&pair);
}

/* ---- sources that do nothing any more ---- */

static void step(baton_engine *engine)
{
    for (unsigned i = 0; i < 100; i++) {
        CHECK(baton_engine_step(engine, 0) == BATON_OK);
    }
}

/* A push that the source, whose driver is the caller's, leaves as it is: it was granted windows
 * that it did not see. */
static void freeze(struct pair *pair, struct end *offer, struct end *fetch,
                   const struct baton_fetch_args *more, unsigned landed)
{
    CHECK_ON(pair, offer_start(pair, offer, COUNT, 5, NULL) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, fetch, &offer->ticket, COUNT, more) == BATON_OK);
    CHECK_ON(pair, end_wait_stage(fetch, BATON_STAGE_READING) && end_wait_landed(fetch, landed));
    pair->source_frozen = true;
    step(pair->sink);
}

static bool has_doubt(const void *arg)
{
    return ((const struct end *)arg)->doubts > 0;
}

static bool stats_say(baton_engine *engine, const char *what)
{
    static char text[STATS_BYTES];

    CHECK(baton_engine_stats_json(engine, text, sizeof(text)) < sizeof(text));
    return strstr(text, what) != NULL;
}

/* Kinds of the caller's whose transport is shm. */
static void each_doubt(void (*story)(struct pair *pair))
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair_setup setup = small(&kinds[i]);
        struct pair pair;

        if (!kinds[i].wrapped && kinds[i].progress == BATON_PROGRESS_CALLER &&
            strcmp(kinds[i].transport, "shm") == 0) {
            pair_open(&pair, &setup);
            story(&pair);
            pair_close(&pair);
        }
    }
}

static void doubted(struct pair *pair)
{
    struct end offer = {0}, fetch = {0};
    struct baton_receipt forged = {0};

    freeze(pair, &offer, &fetch, &push, BLOCK);
    baton_handoff_cancel(fetch.handoff, BATON_CANCEL_OFFER);
    CHECK_ON(pair, pair_until(pair, has_doubt, &fetch));
    CHECK_ON(pair, fetch.quiets == 0 && fetch.result.outcome == BATON_CANCELLED);
    CHECK_ON(pair, pool_stats(pair->sink_pool).quarantine_blocks == COUNT);
    step(pair->sink);
    CHECK_ON(pair, stats_say(pair->sink, "\"quarantine_blocks\": 12"));
    CHECK_ON(pair, baton_pool_free(pair->sink_pool, fetch.blocks, COUNT, NULL) == BATON_EBUSY);
    CHECK_ON(pair, baton_pool_destroy(pair->sink_pool, NULL) == BATON_EBUSY);
    forged.handoff_id = baton_handoff_id(fetch.handoff);
    CHECK_ON(pair, baton_retire(fetch.handoff, &forged, NULL, NULL, NULL) == BATON_ERECEIPT);
    baton_engine_close(pair->sink);
    CHECK_ON(pair, baton_engine_drain(pair->sink, DRAIN_MS) == BATON_ETIMEOUT);
    CHECK_ON(pair, baton_engine_destroy(pair->sink, NULL) == BATON_EBUSY);
    pair->source_frozen = false;
    end_retire(&fetch);
    CHECK_ON(pair, fetch.doubts == 1 && fetch.receipt.proof == BATON_PROOF_PEER_DRAIN);
    CHECK_ON(pair, pool_stats(pair->sink_pool).quarantine_blocks == 0);
    end_fill(&fetch, CANARY);
    end_retire(&offer);
    CHECK_ON(pair, end_holds(&fetch, CANARY, 0));
    drop(&offer, &fetch);
}

/* In doubt nothing frees the blocks and nothing hangs, not even the engine's end; then the source
 * goes on, and all is quiet. */
TEST(nothing_frees_while_a_push_is_in_doubt)
{
    each_doubt(doubted);
}

static void clocks(struct pair *pair)
{
    static const struct {
        struct baton_fetch_args args;
        baton_cause cause;
    } clock[] = {
        {{.mode = BATON_PUSH, .progress_timeout_ms = 5}, BATON_CAUSE_CLOCK_PROGRESS},
        {{.mode = BATON_PUSH, .whole_timeout_ms = 200}, BATON_CAUSE_CLOCK_WHOLE},
        {{.mode = BATON_PUSH, .bytes_timeout_ms = 5, .progress_timeout_ms = 50},
         BATON_CAUSE_CLOCK_PROGRESS},
    };

    for (unsigned i = 0; i < sizeof(clock) / sizeof(clock[0]); i++) {
        struct end offer = {0}, fetch = {0};

        freeze(pair, &offer, &fetch, &clock[i].args, 0);
        CHECK_ON(pair, end_wait_outcome(&fetch) && fetch.result.outcome == BATON_TIMED_OUT);
        CHECK_ON(pair, fetch.result.cause == clock[i].cause);
        CHECK_ON(pair, fetch.quiets == 0 || strcmp(pair->kind->transport, "tcp") == 0);
        pair->source_frozen = false;
        end_retire(&fetch);
        end_fill(&fetch, CANARY);
        CHECK_ON(pair, offer.outcomes == 0);
        run_another(pair);
        CHECK_ON(pair, end_holds(&fetch, CANARY, 0));
        baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
        end_retire(&offer);
        drop(&offer, &fetch);
    }
}

/* The clocks of a fetch run out in time while the source does nothing, and free nothing. */
TEST(clocks_of_a_push_whose_source_does_nothing)
{
    each_doubt(clocks);
}

static void again(struct pair *pair)
{
    struct end offer = {0}, fetch[3] = {{0}};

    freeze(pair, &offer, &fetch[0], &push, 0);
    for (unsigned i = 0; i < 2; i++) {
        baton_handoff_cancel(fetch[i].handoff, BATON_CANCEL_ATTEMPT);
        CHECK_ON(pair, end_wait_outcome(&fetch[i]));
        CHECK_ON(pair, fetch_start(pair, &fetch[i + 1], &offer.ticket, COUNT, &push) == BATON_OK);
        step(pair->sink);
    }
    CHECK_ON(pair, fetch[0].quiets == 0);
    pair->source_frozen = false;
    for (unsigned i = 0; i < 3; i++) {
        end_retire(&fetch[i]);
        end_fill(&fetch[i], i == 2 && fetch[i].result.outcome == BATON_COMPLETED ? 5 : CANARY);
    }
    CHECK_ON(pair, fetch[0].receipt.proof == BATON_PROOF_PEER_DRAIN);
    CHECK_ON(pair, fetch[2].result.outcome == BATON_COMPLETED ||
                       fetch[2].result.cause == BATON_CAUSE_BUSY);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    run_another(pair);
    end_finish(&offer);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_ON(pair,
                 end_holds(&fetch[i], fetch[i].result.outcome == BATON_COMPLETED ? 5 : CANARY, 0));
        end_drop(&fetch[i]);
    }
}

/* Attempt after attempt while the first is still in doubt: each has its own end. */
TEST(attempts_while_the_first_is_in_doubt)
{
    each_doubt(again);
}

/* A stopped source whose windows are the sink's whole budget is in nobody's way: others push to the
 * same sink. */
TEST(doubt_holds_up_no_other_source)
{
    struct pair_setup setup = small(&kinds[6]);
    struct end offer = {0}, fetch = {0}, offers[3] = {{0}}, fetches[3] = {{0}};
    struct pair pair, others[3];

    setup.sink.inflight_bytes_max = 16384;
    setup.block_count = 128;
    pair_open(&pair, &setup);
    freeze(&pair, &offer, &fetch, &push, 0);
    baton_handoff_cancel(fetch.handoff, BATON_CANCEL_ATTEMPT);
    CHECK(pair_until(&pair, has_doubt, &fetch));
    setup.source.progress = BATON_PROGRESS_THREAD;
    for (unsigned i = 0; i < 3; i++) {
        setup.kind = plain_shm;
        pair_open(&others[i], &setup);
        CHECK(offer_start(&others[i], &offers[i], COUNT, i, NULL) == BATON_OK);
        CHECK(fetch_start(&pair, &fetches[i], &offers[i].ticket, COUNT, &push_shm) == BATON_OK);
        end_retire(&fetches[i]);
        CHECK(fetches[i].result.outcome == BATON_COMPLETED && end_holds(&fetches[i], i, 0));
        end_drop(&fetches[i]);
        end_finish(&offers[i]);
        pair_close(&others[i]);
    }
    CHECK(fetch.quiets == 0);
    pair.source_frozen = false;
    end_retire(&fetch);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_retire(&offer);
    drop(&offer, &fetch);
    pair_close(&pair);
}

/* ---- others ---- */

static void parts(struct pair *pair)
{
    for (unsigned n = 0; n < 12; n++) {
        struct baton_fetch_args more = {.mode = BATON_PUSH, .first_block = n};
        struct baton_offer_args none = {.watermark_bytes = 3 * n};
        struct end offer = {0}, fetch = {0};
        size_t count = 1 + n % (COUNT - n);

        CHECK_ON(pair, offer_start(pair, &offer, COUNT, n, &none) == BATON_OK);
        CHECK_ON(pair, fetch_start(pair, &fetch, &offer.ticket, count, &more) == BATON_OK);
        for (uint64_t at = 0; at < COUNT * BLOCK; at += BLOCK + 1 + 500 * n) {
            baton_offer_advance(offer.handoff, at);
            baton_offer_advance(offer.handoff, at / 2); /* inert */
        }
        if (n % 3 == 0) {
            CHECK_ON(pair, end_wait_stage(&fetch, BATON_STAGE_READING));
        }
        baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
        end_retire(&fetch);
        CHECK_ON(pair, fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, n, n));
        CHECK_ON(pair, fetch.receipt.bytes_landed == count * BLOCK);
        end_retire(&offer);
        drop(&offer, &fetch);
    }
}

/* Every skipped prefix, and watermarks that fit nothing. */
TEST(parts_of_an_offer_are_pushed)
{
    each_kind(parts);
}

static void storm(struct pair *pair)
{
    struct end *offers = calloc(STORM, sizeof(*offers)), *fetches = calloc(STORM, sizeof(*fetches));

    for (unsigned i = 0; i < STORM; i++) {
        CHECK_ON(pair, offer_start(pair, &offers[i], 3, i, NULL) == BATON_OK);
        CHECK_ON(pair, fetch_start(pair, &fetches[i], &offers[i].ticket, 3, i % 5 ? &push : NULL) ==
                           BATON_OK);
        if (i >= 20 && i % 3 != 1) {
            baton_handoff_cancel(fetches[i - i % 20].handoff, (baton_cancel_scope)(i & 1));
        }
        if (i >= 20 && i % 3 != 0) {
            baton_handoff_cancel(offers[i - i % 17].handoff, BATON_CANCEL_OFFER);
        }
        if (i >= 40 && i % 2) {
            end_wait_quiet(&fetches[i - 40]);
        }
    }
    for (unsigned i = 0; i < STORM; i++) {
        baton_handoff_cancel(offers[i].handoff, BATON_CANCEL_OFFER);
        end_retire(&fetches[i]);
        CHECK_ON(pair,
                 fetches[i].result.outcome != BATON_COMPLETED || end_holds(&fetches[i], i, 0));
        end_fill(&fetches[i], CANARY);
        end_retire(&offers[i]);
        end_fill(&offers[i], CANARY);
    }
    run_another(pair);
    for (unsigned i = 0; i < STORM; i++) {
        CHECK_ON(pair, end_holds(&fetches[i], CANARY, 0));
        drop(&offers[i], &fetches[i]);
    }
    baton_pool_verify(pair->source_pool);
    baton_pool_verify(pair->sink_pool);
    free(offers);
    free(fetches);
}

/* Pushes and some pulls at once, cancelled in turn by either side or both while they run. */
TEST(a_storm_over_shm)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair_setup setup = small(&kinds[i]);
        struct pair pair;

        setup.block_count = 3 * STORM + COUNT;
        if (strcmp(kinds[i].transport, "shm") == 0 && !kinds[i].wrapped) {
            pair_open(&pair, &setup);
            storm(&pair);
            pair_close(&pair);
        }
    }
}

/* More fetches in doubt at once than a link has places for answers. */
TEST(many_in_doubt_at_once)
{
    struct pair_setup setup = small(&kinds[6]);
    struct end *offers = calloc(MANY, sizeof(*offers)), *fetches = calloc(MANY, sizeof(*fetches));
    const struct baton_offer_args none = {0};
    unsigned doubtful = 0;
    struct pair pair;

    setup.block_count = MANY * 2;
    setup.sink.fetches_max = MANY;
    pair_open(&pair, &setup);
    for (unsigned i = 0; i < MANY; i++) {
        CHECK(offer_start(&pair, &offers[i], 2, i, &none) == BATON_OK);
        CHECK(fetch_start(&pair, &fetches[i], &offers[i].ticket, 2, &push) == BATON_OK);
    }
    for (unsigned i = 0; i < MANY; i++) {
        CHECK(end_wait_stage(&fetches[i], BATON_STAGE_READING));
        baton_offer_advance(offers[i].handoff, BATON_WATERMARK_END);
    }
    step(pair.source);
    pair.source_frozen = true;
    step(pair.sink);
    for (unsigned i = 0; i < MANY; i++) {
        baton_handoff_cancel(fetches[i].handoff, BATON_CANCEL_OFFER);
    }
    for (unsigned i = 0; i < MANY; i++) {
        CHECK(end_wait_outcome(&fetches[i]));
    }
    pair.source_frozen = false;
    for (unsigned i = 0; i < MANY; i++) {
        end_finish(&fetches[i]);
        doubtful += fetches[i].receipt.proof == BATON_PROOF_PEER_DRAIN;
    }
    CHECK(doubtful > PLACES);
    for (unsigned i = 0; i < MANY; i++) {
        end_finish(&offers[i]);
    }
    pair_close(&pair);
    free(offers);
    free(fetches);
}
