/* SPDX-License-Identifier: Apache-2.0 */
/* Reader slots, offers that share blocks, prefixes, and who is refused why. */
#include "scenario/pair.h"

#include <string.h>

/* Two to eight readers, each with the ticket of its own slot, all commit; then the offer completes.
 */
TEST(every_reader_has_its_slot)
{
    for (unsigned readers = 2; readers <= BATON_READERS_MAX; readers += 3) {
        for (unsigned i = 0; i < kinds_count; i++) {
            struct pair pair;
            struct end offer = {0}, fetch[BATON_READERS_MAX] = {{0}};
            struct baton_offer_args args = {.readers = readers,
                                            .watermark_bytes = BATON_WATERMARK_END};

            pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
            CHECK_ON(&pair, offer_start(&pair, &offer, 2, 8, &args) == BATON_OK);
            for (unsigned r = 0; r < readers; r++) {
                struct ticket ticket = offer_ticket(&offer, r);

                CHECK_ON(&pair, offer.outcomes == 0);
                CHECK_ON(&pair, fetch_start(&pair, &fetch[r], &ticket, 2, NULL) == BATON_OK);
                end_retire(&fetch[r]);
                CHECK_ON(&pair,
                         fetch[r].result.outcome == BATON_COMPLETED && end_holds(&fetch[r], 8, 0));
                end_drop(&fetch[r]);
            }
            end_finish(&offer);
            CHECK_ON(&pair, offer.result.outcome == BATON_COMPLETED);
            CHECK_ON(&pair, offer.result.slots == readers && offer.receipt.attempts == readers);
            for (unsigned r = 0; r < readers; r++) {
                CHECK_ON(&pair, offer.result.slot_stage[r] == BATON_STAGE_COMMITTED);
            }
            pair_close(&pair);
        }
    }
}

/* One fetch with the ticket of `slot`, run to its end. */
static struct baton_result fetch_once(struct pair *pair, const struct ticket *ticket, size_t count)
{
    struct end fetch = {0};

    CHECK_ON(pair, fetch_start(pair, &fetch, ticket, count, NULL) == BATON_OK);
    end_finish(&fetch);
    return fetch.result;
}

/* A slot that has a reader is busy, a committed one is committed; the others are not touched. */
TEST(slots_refuse_with_the_right_cause)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0}, reader = {0};
        struct baton_result result;
        struct ticket second;

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        CHECK_ON(&pair, offer_start(&pair, &offer, 2, 8,
                                    &(struct baton_offer_args){.readers = 2,
                                                               .watermark_bytes = 8}) == BATON_OK);
        second = offer_ticket(&offer, 1);
        CHECK_ON(&pair, fetch_start(&pair, &reader, &second, 2, NULL) == BATON_OK);
        CHECK_ON(&pair, end_wait_landed(&reader, 8));
        result = fetch_once(&pair, &second, 2);
        CHECK_ON(&pair, result.outcome == BATON_REFUSED && result.cause == BATON_CAUSE_BUSY);
        CHECK_ON(&pair, reader.outcomes == 0);
        baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
        end_finish(&reader);
        CHECK_ON(&pair, reader.result.outcome == BATON_COMPLETED);
        result = fetch_once(&pair, &second, 2);
        CHECK_ON(&pair, result.outcome == BATON_REFUSED && result.cause == BATON_CAUSE_COMMITTED);
        result = fetch_once(&pair, &offer.ticket, 2);
        CHECK_ON(&pair, result.outcome == BATON_COMPLETED);
        end_finish(&offer);
        CHECK_ON(&pair, offer.result.outcome == BATON_COMPLETED);
        pair_close(&pair);
    }
}

/* One slot committed, then the offer is cancelled: the committed one stays so, the other says why.
 */
TEST(a_committed_slot_survives_the_cancel)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0};
        struct baton_result result;
        struct ticket second;

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        CHECK_ON(&pair, offer_start(&pair, &offer, 2, 8,
                                    &(struct baton_offer_args){
                                        .readers = 3, .watermark_bytes = BATON_WATERMARK_END}) ==
                            BATON_OK);
        second = offer_ticket(&offer, 1);
        result = fetch_once(&pair, &second, 2);
        CHECK_ON(&pair, result.outcome == BATON_COMPLETED);
        baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
        CHECK_ON(&pair, end_wait_quiet(&offer));
        CHECK_ON(&pair, offer.result.outcome == BATON_CANCELLED && offer.result.slots == 3);
        CHECK_ON(&pair, offer.result.slot_stage[1] == BATON_STAGE_COMMITTED);
        CHECK_ON(&pair, offer.result.slot_stage[0] == BATON_STAGE_REVOKED &&
                            offer.result.slot_stage[2] == BATON_STAGE_REVOKED);
        CHECK_ON(&pair, offer.result.slot_cause[0] == BATON_CAUSE_CANCEL &&
                            offer.result.slot_cause[1] == BATON_CAUSE_NONE);
        result = fetch_once(&pair, &offer.ticket, 2);
        CHECK_ON(&pair, result.outcome == BATON_PEER_CANCELLED ||
                            (result.outcome == BATON_REFUSED && result.cause == BATON_CAUSE_GONE));
        end_finish(&offer);
        pair_close(&pair);
    }
}

/* After its maximum of attempts an offer refuses, and says that no retry helps. */
TEST(attempts_are_limited)
{
    struct pair pair;
    struct end offer = {0};
    struct baton_result result;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm, .source.attempts_max = 3});
    CHECK(offer_start(&pair, &offer, 2, 8, &(struct baton_offer_args){.watermark_bytes = 8}) ==
          BATON_OK);
    for (unsigned i = 0; i < 3; i++) {
        struct end fetch = {0};

        CHECK(fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
        CHECK(end_wait_landed(&fetch, 8));
        baton_handoff_cancel(fetch.handoff, BATON_CANCEL_ATTEMPT);
        end_finish(&fetch);
    }
    result = fetch_once(&pair, &offer.ticket, 2);
    CHECK(result.outcome == BATON_REFUSED && result.cause == BATON_CAUSE_ATTEMPTS);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    CHECK(offer.receipt.attempts == 3);
    pair_close(&pair);
}

/* A reader that has a prefix skips it, and gets the rest of the offer in its place. */
TEST(a_prefix_can_be_skipped)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0};

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        CHECK_ON(&pair, offer_start(&pair, &offer, 7, 8, NULL) == BATON_OK);
        CHECK_ON(&pair, fetch_start(&pair, &fetch, &offer.ticket, 4,
                                    &(struct baton_fetch_args){.first_block = 3}) == BATON_OK);
        end_retire(&fetch);
        CHECK_ON(&pair, fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, 8, 3));
        CHECK_ON(&pair, fetch.result.bytes_total == 4 * PAIR_BLOCK_BYTES);
        CHECK_ON(&pair, fetch.receipt.bytes_landed == 4 * PAIR_BLOCK_BYTES);
        end_drop(&fetch);
        end_finish(&offer);
        pair_close(&pair);
    }
}

/* Starts an offer of blocks that are lent already. */
static void offer_shared(struct pair *pair, struct end *end, const uint32_t *blocks, size_t count)
{
    struct baton_offer_args args = {.size = sizeof(args),
                                    .pool = pair->source_pool,
                                    .blocks = blocks,
                                    .block_count = count,
                                    .watermark_bytes = BATON_WATERMARK_END,
                                    .notices = end_notices(end)};

    end->pair = pair;
    end->pool = pair->source_pool;
    memcpy(end->blocks, blocks, count * sizeof(*blocks));
    end->block_count = count;
    CHECK_ON(pair, baton_offer(pair->source, &args, &end->handoff, NULL) == BATON_OK);
    end->ticket = offer_ticket(end, 0);
}

static size_t retire_last(struct end *end, uint32_t *ret_last)
{
    size_t count = 99;

    CHECK_ON(end->pair, end_wait_quiet(end));
    CHECK_ON(end->pair,
             baton_retire(end->handoff, &end->receipt, ret_last, &count, NULL) == BATON_OK);
    baton_handoff_unref(end->handoff);
    return count;
}

/* Two offers share a prefix in wrapped memory: each block is named last once, by the later receipt.
 */
TEST(shared_wrapped_blocks_are_named_last_once)
{
    for (unsigned order = 0; order < 2; order++) {
        struct pair pair;
        struct end first = {0}, second = {0};
        uint32_t last[END_BLOCKS_MAX];
        size_t own, rest;

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[4]});
        CHECK(offer_start(&pair, &first, 4, 8, NULL) == BATON_OK); /* blocks 0 to 3 */
        offer_shared(&pair, &second, (const uint32_t[]){0, 1, 9}, 3);
        CHECK(fetch_once(&pair, &second.ticket, 3).outcome == BATON_COMPLETED);
        baton_handoff_cancel(first.handoff, BATON_CANCEL_OFFER);
        own = retire_last(order ? &second : &first, last);
        CHECK(own == (order ? 1 : 2) && last[0] == (order ? 9 : 2));
        CHECK(pool_stats(pair.source_pool).lent_blocks == (order ? 4 : 3));
        rest = retire_last(order ? &first : &second, last);
        CHECK(rest == (order ? 4 : 3) && last[0] + last[1] == 1);
        pair_close(&pair);
    }
}

/* Shared blocks of Baton's own memory are free with the last receipt, though let go long before. */
TEST(shared_blocks_are_free_with_the_last_receipt)
{
    struct pair pair;
    struct end first = {0}, second = {0};
    struct baton_result result;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm, .pool_flags = BATON_POOL_CHECK});
    CHECK(offer_start(&pair, &first, 4, 8, NULL) == BATON_OK);
    offer_shared(&pair, &second, first.blocks, 4);
    CHECK(baton_pool_free(pair.source_pool, first.blocks, 4, NULL) == BATON_OK);
    CHECK(baton_pool_free(pair.source_pool, first.blocks, 4, NULL) == BATON_EINVAL);
    CHECK(pool_stats(pair.source_pool).free_blocks == PAIR_BLOCKS - 4);
    baton_handoff_cancel(first.handoff, BATON_CANCEL_OFFER);
    retire_last(&first, NULL);
    CHECK(pool_stats(pair.source_pool).free_blocks == PAIR_BLOCKS - 4);
    result = fetch_once(&pair, &second.ticket, 4);
    CHECK(result.outcome == BATON_COMPLETED);
    retire_last(&second, NULL);
    CHECK(pool_stats(pair.source_pool).free_blocks == PAIR_BLOCKS);
    CHECK(baton_pool_verify(pair.source_pool) == PAIR_BLOCKS);
    pair_close(&pair);
}

/* What a fetch writes to belongs to it alone: no other fetch, no offer, no free until its receipt.
 */
TEST(fetch_destinations_are_exclusive)
{
    struct pair pair;
    struct end offer = {0}, fetch = {0};
    struct baton_error error = {0};
    struct baton_fetch_args args = {.size = sizeof(args)};
    struct baton_offer_args back = {.size = sizeof(back), .block_count = 2};
    baton_handoff *none = NULL;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&pair, &offer, 2, 8, &(struct baton_offer_args){.readers = 2}) == BATON_OK);
    CHECK(fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
    args.ticket = offer.ticket.bytes;
    args.ticket_length = offer.ticket.length;
    args.pool = back.pool = pair.sink_pool;
    args.blocks = back.blocks = fetch.blocks;
    args.block_count = 2;
    CHECK(baton_fetch(pair.sink, &args, &none, &error) == BATON_EBUSY && error.text[0]);
    CHECK(baton_offer(pair.sink, &back, &none, &error) == BATON_EBUSY && error.text[0]);
    CHECK(baton_pool_free(pair.sink_pool, fetch.blocks, 2, &error) == BATON_EBUSY);
    CHECK(baton_pool_destroy(pair.sink_pool, &error) == BATON_EBUSY && error.text[0]);
    baton_handoff_cancel(fetch.handoff, BATON_CANCEL_OFFER);
    CHECK(end_wait_quiet(&fetch));
    CHECK(baton_fetch(pair.sink, &args, &none, &error) == BATON_EBUSY);
    CHECK(baton_pool_free(pair.sink_pool, fetch.blocks, 2, &error) == BATON_EBUSY && !none);
    end_finish(&fetch);
    end_finish(&offer);
    pair_close(&pair);
}

/* Blocks that are offered can not be written to by a fetch. */
TEST(offered_blocks_are_no_destination)
{
    struct pair pair;
    struct end offer = {0};
    struct baton_fetch_args args = {.size = sizeof(args)};
    baton_handoff *none = NULL;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&pair, &offer, 2, 8, NULL) == BATON_OK);
    args.ticket = offer.ticket.bytes;
    args.ticket_length = offer.ticket.length;
    args.pool = pair.source_pool;
    args.blocks = offer.blocks;
    args.block_count = 2;
    CHECK(baton_fetch(pair.source, &args, &none, NULL) == BATON_EBUSY && !none);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    pair_close(&pair);
}
