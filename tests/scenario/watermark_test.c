/* SPDX-License-Identifier: Apache-2.0 */
/* The watermark and the aux bytes: what is read when, and what arrives with the commit only. */
#include "scenario/pair.h"

#include <string.h>

enum { BLOCKS = 6 };

/* Writes the bytes of an offer's plan from `from` to `to`, and no others. */
static void compute(struct end *offer, uint64_t from, uint64_t to)
{
    static char whole[PAIR_BLOCK_BYTES];

    while (from < to) {
        size_t block = from / PAIR_BLOCK_BYTES, at = from % PAIR_BLOCK_BYTES;
        size_t bytes = to - from < PAIR_BLOCK_BYTES - at ? to - from : PAIR_BLOCK_BYTES - at;

        block_fill(whole, sizeof(whole), 31, block);
        memcpy((char *)baton_pool_block(offer->pool, offer->blocks[block]) + at, whole + at, bytes);
        from += bytes;
    }
}

/* An offer is made empty, fetched, and then computed step by step: bytes follow the watermark. */
static void advance_in_steps(struct pair *pair, uint64_t step)
{
    struct end offer = {0}, fetch = {0};
    uint64_t total = BLOCKS * PAIR_BLOCK_BYTES, mark = 0;

    CHECK_ON(pair, offer_start(pair, &offer, BLOCKS, 0, &(struct baton_offer_args){0}) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, &fetch, &offer.ticket, BLOCKS, NULL) == BATON_OK);
    CHECK_ON(pair, end_wait_stage(&fetch, BATON_STAGE_READING));
    CHECK_ON(pair, fetch.landed == 0);
    while (mark + step < total) {
        compute(&offer, mark, mark + step);
        mark += step;
        baton_offer_advance(offer.handoff, mark);
        baton_offer_advance(offer.handoff, mark - step);
        CHECK_ON(pair, end_wait_landed(&fetch, mark));
        CHECK_ON(pair, fetch.landed == mark && fetch.outcomes == 0);
        CHECK_ON(pair, !(fetch.stages & 1u << BATON_STAGE_COMMITTING));
    }
    compute(&offer, mark, total);
    baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
    end_retire(&fetch);
    CHECK_ON(pair, fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, 31, 0));
    end_drop(&fetch);
    end_finish(&offer);
}

/* Whole blocks, and odd numbers of bytes across them. */
TEST(bytes_follow_the_watermark)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        advance_in_steps(&pair, PAIR_BLOCK_BYTES);
        advance_in_steps(&pair, 3001);
        advance_in_steps(&pair, 2 * PAIR_BLOCK_BYTES + 8);
        pair_close(&pair);
    }
}

/* The total as a number is the end as well, and so is anything above it. */
TEST(a_watermark_at_the_total_is_the_end)
{
    for (unsigned past = 0; past < 2; past++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0};

        pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
        CHECK(offer_start(&pair, &offer, 2, 5, &(struct baton_offer_args){0}) == BATON_OK);
        CHECK(fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
        baton_offer_advance(offer.handoff, 2 * PAIR_BLOCK_BYTES + 100 * past);
        end_retire(&fetch);
        CHECK(fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, 5, 0));
        end_drop(&fetch);
        end_finish(&offer);
        pair_close(&pair);
    }
}

/* On an offer that has ended the watermark and the aux bytes change nothing. */
TEST(an_ended_offer_does_not_advance)
{
    struct pair pair;
    struct end offer = {0};

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&pair, &offer, 2, 5, &(struct baton_offer_args){0}) == BATON_OK);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_retire(&offer);
    baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
    baton_offer_advance(offer.handoff, 0);
    CHECK(offer.outcomes == 1 && offer.quiets == 1);
    end_drop(&offer);
    pair_close(&pair);
}

/* Aux bytes come with COMPLETED, the last that were set before the end of the watermark. */
TEST(aux_bytes_come_with_the_commit)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0};

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        CHECK_ON(&pair, offer_start(&pair, &offer, 2, 5,
                                    &(struct baton_offer_args){.watermark_bytes = 64}) == BATON_OK);
        CHECK_ON(&pair, baton_offer_aux(offer.handoff, "first", 6) == BATON_OK);
        CHECK_ON(&pair, fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
        CHECK_ON(&pair, end_wait_landed(&fetch, 64));
        CHECK_ON(&pair, baton_offer_aux(offer.handoff, "token 17", 9) == BATON_OK);
        baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
        CHECK_ON(&pair, baton_offer_aux(offer.handoff, "late", 5) == BATON_EINVAL);
        end_finish(&fetch);
        CHECK_ON(&pair, fetch.result.outcome == BATON_COMPLETED);
        CHECK_ON(&pair, fetch.result.aux_bytes == 9 && strcmp(fetch.aux, "token 17") == 0);
        end_finish(&offer);
        CHECK_ON(&pair, !offer.result.aux && offer.result.aux_bytes == 0);
        pair_close(&pair);
    }
}

/* Without COMPLETED there are no aux bytes. */
TEST(aux_bytes_do_not_come_otherwise)
{
    for (unsigned i = 0; i < 3; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0};

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        CHECK_ON(&pair, offer_start(&pair, &offer, 2, 5,
                                    &(struct baton_offer_args){.watermark_bytes = 64}) == BATON_OK);
        CHECK_ON(&pair, baton_offer_aux(offer.handoff, "secret", 7) == BATON_OK);
        CHECK_ON(&pair, fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
        CHECK_ON(&pair, end_wait_landed(&fetch, 64));
        baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
        end_finish(&fetch);
        CHECK_ON(&pair, fetch.result.outcome == BATON_PEER_CANCELLED);
        CHECK_ON(&pair, !fetch.result.aux && fetch.result.aux_bytes == 0);
        end_finish(&offer);
        pair_close(&pair);
    }
}

/* The largest aux there may be arrives whole; it stays until the last reference goes. */
TEST(the_largest_aux_arrives_whole)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        static uint64_t aux[BATON_AUX_BYTES_MAX / 8];
        struct pair pair;
        struct end offer = {0}, fetch = {0};

        block_fill(aux, sizeof(aux), 12, 0);
        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        CHECK_ON(&pair,
                 offer_start(&pair, &offer, 2, 5, &(struct baton_offer_args){0}) == BATON_OK);
        CHECK_ON(&pair, baton_offer_aux(offer.handoff, aux, sizeof(aux)) == BATON_OK);
        baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
        CHECK_ON(&pair, fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
        end_retire(&fetch);
        end_finish(&offer);
        CHECK_ON(&pair, fetch.result.aux_bytes == sizeof(aux));
        CHECK_ON(&pair, fetch.result.aux && block_holds(fetch.result.aux, sizeof(aux), 12, 0));
        end_drop(&fetch);
        pair_close(&pair);
    }
}
