/* SPDX-License-Identifier: Apache-2.0 */
/* The completion queue, references, and the order of notices where there are no callbacks. */
#include "scenario/pair.h"

#include <poll.h>
#include <stdlib.h>

static bool readable(int fd, int wait_ms)
{
    struct pollfd poll_fd = {fd, POLLIN, 0};

    return poll(&poll_fd, 1, wait_ms) == 1;
}

/* Offers and fetches without callbacks. */
static baton_handoff *offer_quietly(struct pair *pair, struct end *end, void *arg)
{
    struct baton_offer_args args = {.size = sizeof(args),
                                    .pool = pair->source_pool,
                                    .blocks = end->blocks,
                                    .block_count = 1,
                                    .watermark_bytes = BATON_WATERMARK_END,
                                    .notices.arg = arg};
    baton_handoff *handoff = NULL;

    end->pair = pair;
    end->pool = pair->source_pool;
    end->block_count = 1;
    CHECK(baton_pool_alloc(pair->source_pool, 1, end->blocks, NULL) == BATON_OK);
    CHECK(baton_offer(pair->source, &args, &handoff, NULL) == BATON_OK);
    return handoff;
}

/* Waits until the queue of the source has something, stepping what the caller drives. */
static bool wait_for_completion(struct pair *pair)
{
    int fd = baton_engine_completion_fd(pair->source);
    uint64_t end = now_ns() + (uint64_t)PAIR_WAIT_MS * 1000000;

    while (!readable(fd, pair->kind->progress == BATON_PROGRESS_CALLER ? 0 : 1000)) {
        if (now_ns() > end) {
            return false;
        }
        if (pair->kind->progress == BATON_PROGRESS_CALLER) {
            (void)baton_engine_step(pair->source, 100);
        }
    }
    return true;
}

/* The fd is readable exactly while something waits; the order is outcome, then quiet; each holds
 * on. */
TEST(the_queue_holds_what_has_no_callback)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end end = {0};
        struct baton_completion got[2];
        baton_handoff *handoff;
        int fd;

        if (kinds[i].wrapped) {
            continue;
        }
        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        fd = baton_engine_completion_fd(pair.source);
        CHECK_ON(&pair, fd >= 0 && !readable(fd, 0));
        CHECK_ON(&pair, baton_engine_collect(pair.source, got, 2) == 0);
        handoff = offer_quietly(&pair, &end, &end);
        CHECK_ON(&pair, !readable(fd, 0));
        baton_handoff_cancel(handoff, BATON_CANCEL_OFFER);
        baton_handoff_unref(handoff);
        CHECK_ON(&pair, wait_for_completion(&pair));
        CHECK_ON(&pair, baton_engine_collect(pair.source, got, 0) == 0);
        CHECK_ON(&pair, baton_engine_collect(pair.source, &got[0], 1) == 1);
        CHECK_ON(&pair, wait_for_completion(&pair));
        CHECK_ON(&pair, baton_engine_collect(pair.source, &got[1], 1) == 1);
        CHECK_ON(&pair, !readable(fd, 0));
        CHECK_ON(&pair, got[0].notice == BATON_NOTICE_OUTCOME && got[0].arg == &end);
        CHECK_ON(&pair, got[0].result.outcome == BATON_CANCELLED);
        CHECK_ON(&pair, got[1].notice == BATON_NOTICE_QUIET && got[1].handoff == handoff);
        CHECK_ON(&pair, got[1].result.outcome == BATON_CANCELLED && got[1].arg == &end);
        baton_handoff_unref(got[0].handoff);
        CHECK_ON(&pair,
                 baton_retire(got[1].handoff, &got[1].receipt, NULL, NULL, NULL) == BATON_OK);
        baton_handoff_unref(got[1].handoff);
        CHECK_ON(&pair, baton_pool_free(pair.source_pool, end.blocks, 1, NULL) == BATON_OK);
        pair_close(&pair);
    }
}

/* Sixty completions at once come oldest first: of each handoff the outcome before the quiet. */
TEST(the_queue_is_in_order)
{
    enum { COUNT = 30 };
    struct pair pair;
    struct end ends[COUNT] = {{0}};
    baton_handoff *handoffs[COUNT];
    struct baton_completion got[2 * COUNT];
    unsigned collected = 0, seen[COUNT] = {0};

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    for (unsigned i = 0; i < COUNT; i++) {
        handoffs[i] = offer_quietly(&pair, &ends[i], &ends[i]);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        baton_handoff_cancel(handoffs[i], BATON_CANCEL_OFFER);
    }
    while (collected < 2 * COUNT && CHECK(wait_for_completion(&pair))) {
        unsigned room = 2 * COUNT - collected < 7 ? 2 * COUNT - collected : 7;

        collected += (unsigned)baton_engine_collect(pair.source, got + collected, room);
    }
    for (unsigned i = 0; i < collected; i++) {
        struct end *end = got[i].arg;
        unsigned at = (unsigned)(end - ends);

        CHECK(got[i].handoff == handoffs[at]);
        CHECK(got[i].notice == (seen[at] ? BATON_NOTICE_QUIET : BATON_NOTICE_OUTCOME));
        if (seen[at]++) {
            CHECK(baton_retire(handoffs[at], &got[i].receipt, NULL, NULL, NULL) == BATON_OK);
            CHECK(baton_pool_free(pair.source_pool, end->blocks, 1, NULL) == BATON_OK);
            baton_handoff_unref(handoffs[at]);
        }
        baton_handoff_unref(got[i].handoff);
    }
    pair_close(&pair);
}

/* A waiting completion keeps its handoff, so an engine with an uncollected one is not destroyed. */
TEST(an_uncollected_completion_holds_the_engine)
{
    struct pair pair;
    struct end end = {0};
    struct baton_completion got;
    baton_handoff *handoff;
    struct baton_error error = {0};

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    handoff = offer_quietly(&pair, &end, NULL);
    baton_handoff_unref(handoff);
    baton_engine_close(pair.source);
    CHECK(baton_engine_drain(pair.source, PAIR_WAIT_MS) == BATON_OK);
    CHECK(baton_engine_destroy(pair.source, &error) == BATON_EBUSY && error.text[0]);
    while (baton_engine_collect(pair.source, &got, 1)) {
        CHECK(got.result.cause == BATON_CAUSE_CLOSING);
        if (got.notice == BATON_NOTICE_QUIET) {
            CHECK(baton_retire(got.handoff, &got.receipt, NULL, NULL, NULL) == BATON_OK);
        }
        baton_handoff_unref(got.handoff);
    }
    CHECK(baton_pool_free(pair.source_pool, end.blocks, 1, NULL) == BATON_OK);
    pair_close(&pair);
}

/* One callback alone is enough to keep a handoff out of the queue. */
static void count_quiet(baton_handoff *handoff, void *arg, const struct baton_receipt *receipt)
{
    struct end *end = arg;
    uint64_t before = now_ns();

    CHECK(before >= receipt->time_ns);
    CHECK(baton_retire(handoff, receipt, NULL, NULL, NULL) == BATON_OK);
    CHECK(baton_pool_free(end->pool, end->blocks, end->block_count, NULL) == BATON_OK);
}

/* A handoff with one callback only has no completions; its other notices go nowhere. */
TEST(one_callback_keeps_a_handoff_out_of_the_queue)
{
    struct pair pair;
    struct end end = {0};
    struct baton_offer_args args = {.size = sizeof(args), .block_count = 1};
    struct baton_completion got;
    baton_handoff *handoff;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    end.pool = args.pool = pair.source_pool;
    args.blocks = end.blocks;
    end.block_count = 1;
    args.notices.on_quiet = count_quiet;
    args.notices.arg = &end;
    CHECK(baton_pool_alloc(pair.source_pool, 1, end.blocks, NULL) == BATON_OK);
    CHECK(baton_offer(pair.source, &args, &handoff, NULL) == BATON_OK);
    baton_handoff_cancel(handoff, BATON_CANCEL_OFFER);
    baton_handoff_unref(handoff);
    CHECK(baton_engine_drain(pair.source, PAIR_WAIT_MS) == BATON_OK);
    CHECK(baton_engine_collect(pair.source, &got, 1) == 0);
    CHECK(pool_stats(pair.source_pool).free_blocks == PAIR_BLOCKS);
    pair_close(&pair);
}
