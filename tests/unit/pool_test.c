/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the book of blocks: a story for each promise of pool.h. */
#include "pool_world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

/* A fresh pool hands out its blocks in order, each one generation on. */
TEST(low_numbers_come_first)
{
    struct world w;
    uint32_t blocks[4];

    world_init(&w, 4, false, 100);
    CHECK(pool_block_state(w.pool, 3) == BLOCK_FREE && pool_block_generation(w.pool, 3) == 100);
    CHECK(pool_alloc(w.pool, 1, blocks, NULL) == BATON_OK && blocks[0] == 0);
    CHECK(pool_alloc(w.pool, 3, blocks, NULL) == BATON_OK && blocks[0] == 1 && blocks[2] == 3);
    CHECK(pool_block_state(w.pool, 3) == BLOCK_HELD && pool_block_generation(w.pool, 3) == 101);
    CHECK(counts_are(&w, 0, 4, 0, 0));
    world_fini(&w);
}

/* The block freed last is lent first, and a batch comes back in the order in which it was named. */
TEST(free_blocks_are_reused_at_once)
{
    struct world w;
    uint32_t blocks[3] = {5, 1, 3};

    world_init(&w, 8, false, 0);
    hold(&w, 8);
    CHECK(give(&w, blocks, 3) == BATON_OK && w.last_count == 3 && w.last[1] == 1);
    CHECK(counts_are(&w, 0, 5, 0, 3) && pool_block_state(w.pool, 5) == BLOCK_SCRUB);
    pool_reclaim(w.pool, &w.last[2], 1);
    pool_reclaim(w.pool, &w.last[0], 2);
    CHECK(pool_alloc(w.pool, 3, blocks, NULL) == BATON_OK);
    CHECK(blocks[0] == 5 && blocks[1] == 1 && blocks[2] == 3);
    CHECK(pool_block_generation(w.pool, 3) == 2 && counts_are(&w, 0, 8, 0, 0));
    world_fini(&w);
}

/* The list of what became free may be written over the list of what was freed. */
TEST(free_may_write_over_its_own_list)
{
    struct world w;
    struct lease offer;
    uint32_t blocks[4] = {0, 1, 2, 3};
    size_t count = 0;

    world_init(&w, 4, false, 0);
    hold(&w, 4);
    CHECK(lend(&w, &offer, 1, false, (uint32_t[]){0, 2}, 2) == BATON_OK);
    CHECK(pool_free(w.pool, blocks, 4, blocks, &count, NULL) == BATON_OK);
    CHECK(count == 2 && blocks[0] == 1 && blocks[1] == 3 && counts_are(&w, 0, 0, 2, 2));
    world_fini(&w);
}

/* A pool that is too small says what is where, and gives nothing. */
TEST(alloc_of_too_many_is_full)
{
    struct world w;
    struct lease offer;
    uint32_t blocks[4];

    world_init(&w, 8, false, 0);
    hold(&w, 5);
    CHECK(lend(&w, &offer, 1, false, (uint32_t[]){0, 1}, 2) == BATON_OK);
    pool_quarantine(w.pool, &offer.loan, 5);
    CHECK(give(&w, (uint32_t[]){4}, 1) == BATON_OK);
    remember(&w);
    CHECK(refused(&w, pool_alloc(w.pool, 4, blocks, &w.error), BATON_EFULL));
    CHECK(!strcmp(w.error.text, "pool has 3 free blocks, 4 wanted; 2 lent (2 references in "
                                "quarantine), 2 held, 1 in scrub"));
    CHECK(pool_alloc(w.pool, SIZE_MAX, blocks, NULL) == BATON_EFULL);
    CHECK(pool_alloc(w.pool, 3, blocks, NULL) == BATON_OK);
    world_fini(&w);
}

/* A generation never wraps: its end is an error of alloc and of an exclusive loan. */
TEST(generations_run_out_and_never_wrap)
{
    struct world w;
    struct lease fetch;
    uint32_t blocks[2];

    world_init(&w, 2, false, UINT64_MAX - 3);
    for (unsigned round = 0; round < 3; round++) {
        CHECK(pool_alloc(w.pool, 1, blocks, NULL) == BATON_OK && blocks[0] == 0);
        CHECK(pool_block_generation(w.pool, 0) == UINT64_MAX - 2 + round);
        if (round == 2) {
            remember(&w);
            CHECK(refused(&w, lend(&w, &fetch, 1, true, blocks, 1), BATON_ELIMIT));
            CHECK(lend(&w, &fetch, 1, false, blocks, 1) == BATON_OK);
            CHECK(fetch.generations[0] == UINT64_MAX && retire(&w, &fetch) == BATON_OK);
        }
        CHECK(give(&w, blocks, 1) == BATON_OK);
        pool_reclaim(w.pool, blocks, 1);
    }
    remember(&w);
    CHECK(refused(&w, pool_alloc(w.pool, 2, blocks, &w.error), BATON_ELIMIT));
    world_fini(&w);
}

/* The last block of a list is the bad one: the ones before it are as they were. */
TEST(free_of_a_bad_list_changes_nothing)
{
    struct world w;
    static const uint32_t lists[][3] = {{0, 1, 8}, {0, 1, UINT32_MAX}, {0, 1, 0},
                                        {0, 1, 1}, {0, 1, 6},          {6, 0, 1}};

    world_init(&w, 8, false, 0);
    hold(&w, 4);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        remember(&w);
        CHECK(refused(&w, give(&w, lists[i], 3), BATON_EINVAL));
    }
    CHECK(give(&w, lists[0], 2) == BATON_OK);
    remember(&w);
    CHECK(refused(&w, give(&w, lists[0], 2), BATON_EINVAL));
    CHECK(!strcmp(w.error.text, "block 0 is in scrub, and not held"));
    CHECK(give(&w, NULL, 0) == BATON_OK && w.last_count == 0);
    world_fini(&w);
}

/* A fetch has its blocks for itself: they are not freed, offered or fetched into. */
TEST(a_fetch_has_its_blocks_alone)
{
    struct world w;
    struct lease fetch, other;

    world_init(&w, 8, false, 10);
    hold(&w, 4);
    CHECK(lend(&w, &fetch, 1, true, (uint32_t[]){2, 1}, 2) == BATON_OK);
    CHECK(fetch.generations[0] == 12 && pool_block_generation(w.pool, 1) == 12);
    remember(&w);
    CHECK(refused(&w, give(&w, (uint32_t[]){0, 1}, 2), BATON_EBUSY));
    CHECK(refused(&w, lend(&w, &other, 2, true, (uint32_t[]){0, 1}, 2), BATON_EBUSY));
    CHECK(refused(&w, lend(&w, &other, 2, false, (uint32_t[]){0, 1}, 2), BATON_EBUSY));
    CHECK(counts_are(&w, 4, 2, 2, 0));
    CHECK(retire(&w, &fetch) == BATON_OK && w.last_count == 0 && counts_are(&w, 4, 4, 0, 0));
    CHECK(give(&w, fetch.blocks, 2) == BATON_OK && w.last_count == 2);
    world_fini(&w);
}

/* A loan that can not be made leaves the pool, the loan and its generations as they were. */
TEST(a_bad_loan_changes_nothing)
{
    struct world w;
    struct lease offer, bad;

    world_init(&w, 8, false, 0);
    hold(&w, 4);
    CHECK(lend(&w, &offer, 1, false, (uint32_t[]){3}, 1) == BATON_OK);
    remember(&w);
    CHECK(refused(&w, lend(&w, &bad, 2, true, (uint32_t[]){0, 1, 0}, 3), BATON_EINVAL));
    CHECK(refused(&w, lend(&w, &bad, 2, true, (uint32_t[]){0, 1, 8}, 3), BATON_EINVAL));
    CHECK(refused(&w, lend(&w, &bad, 2, true, (uint32_t[]){0, 1, 5}, 3), BATON_EINVAL));
    CHECK(refused(&w, lend(&w, &bad, 2, false, (uint32_t[]){0, 1, 8}, 3), BATON_EINVAL));
    CHECK(refused(&w, lend(&w, &bad, 2, false, (uint32_t[]){0, 1, 5}, 3), BATON_EINVAL));
    CHECK(refused(&w, lend(&w, &bad, 2, true, (uint32_t[]){0, 1, 3}, 3), BATON_EBUSY));
    CHECK(!bad.generations[0] && counts_of(&w).loans == 1);
    CHECK(lend(&w, &bad, 2, true, (uint32_t[]){0, 1}, 2) == BATON_OK);
    CHECK(give(&w, (uint32_t[]){3}, 1) == BATON_OK && w.last_count == 0);
    remember(&w);
    CHECK(refused(&w, lend(&w, &bad, 3, false, (uint32_t[]){3}, 1), BATON_EINVAL));
    CHECK(!strcmp(w.error.text, "block 3 is lent, and not held"));
    world_fini(&w);
}

/* References are 32 bits wide and never wrap: the loan that could pass them is refused. */
TEST(references_never_wrap)
{
    struct world w;
    struct lease offer, huge;

    world_init(&w, 1, false, 0);
    hold(&w, 1);
    CHECK(lend(&w, &offer, 1, false, (uint32_t[]){0}, 1) == BATON_OK);
    lease_init(&huge, 2, false, (uint32_t[]){0}, 1);
    huge.loan.count = UINT32_MAX;
    remember(&w);
    CHECK(refused(&w, pool_lend(w.pool, &huge.loan, &w.error), BATON_ELIMIT));
    world_fini(&w);
}

/* Three offers share a prefix; retired in each order, a block is last exactly once, at its end. */
TEST(shared_prefixes_are_last_in_every_order)
{
    static const unsigned orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                         {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const uint32_t plans[3][4] = {{0, 1, 2, 3}, {0, 1, 2, 4}, {0, 1, 5, 6}};

    for (size_t o = 0; o < sizeof(orders) / sizeof(orders[0]); o++) {
        unsigned users[7] = {3, 3, 2, 1, 1, 1, 1}, named[7] = {0};
        struct world w;
        struct lease offers[3];

        world_init(&w, 7, false, 0);
        hold(&w, 7);
        for (unsigned i = 0; i < 3; i++) {
            CHECK(lend(&w, &offers[i], i, false, plans[i], 4) == BATON_OK);
        }
        CHECK(give(&w, (uint32_t[]){0, 1, 2, 3, 4, 5, 6}, 7) == BATON_OK && w.last_count == 0);
        for (unsigned i = 0; i < 3; i++) {
            unsigned ended = 0;

            for (unsigned b = 0; b < 4; b++) {
                ended += --users[plans[orders[o][i]][b]] == 0;
            }
            CHECK(retire(&w, &offers[orders[o][i]]) == BATON_OK && w.last_count == ended);
            for (size_t l = 0; l < w.last_count; l++) {
                CHECK(users[w.last[l]] == 0 && named[w.last[l]]++ == 0);
            }
        }
        CHECK(counts_are(&w, 0, 0, 0, 7) && counts_of(&w).loans == 0);
        world_fini(&w);
    }
}

/* The caller's hold and the offers' references are counted apart: either may go first. */
TEST(a_held_block_is_held_again_after_its_offers)
{
    struct world w;
    struct lease offer;

    world_init(&w, 2, false, 0);
    hold(&w, 2);
    CHECK(lend(&w, &offer, 1, false, (uint32_t[]){0, 1}, 2) == BATON_OK);
    CHECK(offer.generations[0] == 1 && counts_are(&w, 0, 0, 2, 0));
    CHECK(give(&w, (uint32_t[]){1}, 1) == BATON_OK && w.last_count == 0);
    CHECK(pool_block_state(w.pool, 1) == BLOCK_LENT);
    CHECK(retire(&w, &offer) == BATON_OK && w.last_count == 1 && w.last[0] == 1);
    CHECK(pool_block_state(w.pool, 0) == BLOCK_HELD && counts_are(&w, 0, 1, 0, 1));
    world_fini(&w);
}

/* A block named twice in an offer is referred to twice, and is last once. */
TEST(a_block_named_twice_counts_twice)
{
    struct world w;
    struct lease twice, once;

    world_init(&w, 2, false, 0);
    hold(&w, 2);
    CHECK(lend(&w, &twice, 1, false, (uint32_t[]){0, 1, 0}, 3) == BATON_OK);
    CHECK(lend(&w, &once, 2, false, (uint32_t[]){0}, 1) == BATON_OK);
    CHECK(give(&w, (uint32_t[]){0}, 1) == BATON_OK);
    CHECK(retire(&w, &once) == BATON_OK && w.last_count == 0);
    CHECK(retire(&w, &twice) == BATON_OK && w.last_count == 1 && w.last[0] == 0);
    world_fini(&w);
}

/* Used before; a sibling's; another nonce: each is told, in this order, and changes nothing. */
TEST(a_receipt_works_once_and_for_its_own_handoff)
{
    const uint64_t high = UINT64_C(1) << 63;
    struct world w;
    struct lease offer, sibling;

    world_init(&w, 2, false, 0);
    hold(&w, 2);
    CHECK(lend(&w, &offer, 7, false, (uint32_t[]){0}, 1) == BATON_OK);
    CHECK(lend(&w, &sibling, 8, false, (uint32_t[]){0}, 1) == BATON_OK);
    remember(&w);
    CHECK(refused(&w, retire_as(&w, &offer, 8, sibling.loan.nonce), BATON_ERECEIPT));
    CHECK(!strcmp(w.error.text, "the receipt is of handoff 8, not of handoff 7"));
    CHECK(refused(&w, retire_as(&w, &offer, 7, sibling.loan.nonce), BATON_ERECEIPT));
    CHECK(strstr(w.error.text, "nonce") && !offer.loan.used);
    CHECK(refused(&w, retire_as(&w, &offer, 7, offer.loan.nonce ^ high), BATON_ERECEIPT));
    CHECK(refused(&w, retire_as(&w, &offer, 7 ^ high, offer.loan.nonce), BATON_ERECEIPT));
    CHECK(retire(&w, &offer) == BATON_OK && offer.loan.used);
    remember(&w);
    CHECK(refused(&w, retire(&w, &offer), BATON_ERECEIPT));
    CHECK(refused(&w, retire_as(&w, &offer, 8, 0), BATON_ERECEIPT));
    CHECK(!strcmp(w.error.text, "the receipt of handoff 7 was used before"));
    CHECK(counts_are(&w, 0, 1, 1, 0) && counts_of(&w).loans == 1);
    world_fini(&w);
}

/* A loan whose generations, blocks or kind are not what was lent drops nothing, not even in part.
 */
TEST(a_reference_that_does_not_match_drops_nothing)
{
    struct world w;
    struct lease offer, forged;

    world_init(&w, 3, false, 0);
    hold(&w, 3);
    CHECK(lend(&w, &offer, 1, false, (uint32_t[]){0, 1}, 2) == BATON_OK);
    for (unsigned how = 0; how < 5; how++) {
        lease_init(&forged, 1, how == 4, offer.blocks, 2);
        memcpy(forged.generations, offer.generations, sizeof(forged.generations));
        forged.generations[1] += how == 0;
        forged.blocks[1] = how == 1 ? 2 : how == 2 ? 0 : how == 3 ? 99 : 1;
        pool_quarantine(w.pool, &offer.loan, 1);
        remember(&w);
        CHECK(refused(&w, retire(&w, &forged), BATON_ERECEIPT) && !forged.loan.used);
    }
    CHECK(retire(&w, &offer) == BATON_OK && counts_are(&w, 0, 3, 0, 0));
    world_fini(&w);
}

/* Quarantine counts references, keeps the first time, and ends by itself with the receipt. */
TEST(quarantine_is_counted_until_the_receipt)
{
    struct world w;
    struct lease offer, fetch;

    world_init(&w, 4, false, 0);
    hold(&w, 4);
    CHECK(lend(&w, &offer, 1, false, (uint32_t[]){0, 1, 0}, 3) == BATON_OK);
    CHECK(lend(&w, &fetch, 2, true, (uint32_t[]){2}, 1) == BATON_OK);
    pool_quarantine(w.pool, &offer.loan, 50);
    pool_quarantine(w.pool, &offer.loan, 60);
    pool_quarantine(w.pool, &fetch.loan, 70);
    CHECK(counts_of(&w).quarantined == 4 && offer.loan.quarantined_at_us == 50);
    CHECK(counts_are(&w, 0, 1, 3, 0));
    pool_unquarantine(w.pool, &fetch.loan);
    pool_unquarantine(w.pool, &fetch.loan);
    CHECK(counts_of(&w).quarantined == 3 && !fetch.loan.quarantined);
    CHECK(retire(&w, &offer) == BATON_OK && !offer.loan.quarantined);
    CHECK(counts_of(&w).quarantined == 0 && retire(&w, &fetch) == BATON_OK);
    pool_unquarantine(w.pool, &offer.loan);
    CHECK(counts_of(&w).quarantined == 0);
    world_fini(&w);
}

/* Wrapped memory has no holds: a block is free, lent, and named last once when it is free again. */
TEST(wrapped_blocks_are_named_last_once)
{
    struct world w;
    struct lease one, two, fetch;

    world_init(&w, 4, true, 5);
    CHECK(lend(&w, &one, 1, false, (uint32_t[]){0, 1, 0}, 3) == BATON_OK);
    CHECK(lend(&w, &two, 2, false, (uint32_t[]){1, 2}, 2) == BATON_OK);
    CHECK(one.generations[2] == 5 && counts_are(&w, 1, 0, 3, 0));
    remember(&w);
    CHECK(refused(&w, lend(&w, &fetch, 3, true, (uint32_t[]){3, 1}, 2), BATON_EBUSY));
    CHECK(refused(&w, lend(&w, &fetch, 3, true, (uint32_t[]){3, 3}, 2), BATON_EINVAL));
    CHECK(lend(&w, &fetch, 3, true, (uint32_t[]){3}, 1) == BATON_OK && fetch.generations[0] == 6);
    CHECK(retire(&w, &one) == BATON_OK && w.last_count == 1 && w.last[0] == 0);
    CHECK(retire(&w, &two) == BATON_OK && w.last_count == 2 && w.last[0] == 1 && w.last[1] == 2);
    CHECK(retire(&w, &fetch) == BATON_OK && w.last_count == 1 && counts_are(&w, 4, 0, 0, 0));
    CHECK(lend(&w, &fetch, 4, true, (uint32_t[]){3}, 1) == BATON_OK && fetch.generations[0] == 7);
    world_fini(&w);
}

/* The free list of wrapped memory is the caller's. */
TEST(wrapped_memory_has_no_alloc_and_no_free)
{
    struct world w;
    uint32_t block = 0;

    world_init(&w, 4, true, 0);
    remember(&w);
    CHECK(refused(&w, pool_alloc(w.pool, 1, &block, &w.error), BATON_EINVAL));
    CHECK(refused(&w, give(&w, &block, 1), BATON_EINVAL));
    world_fini(&w);
}

/* A loan of nothing, such as a fetch whose whole prefix is there, lives and ends like any other. */
TEST(a_loan_of_no_blocks_needs_its_receipt)
{
    struct world w;
    struct lease fetch;

    world_init(&w, 0, false, 0);
    CHECK(lend(&w, &fetch, 1, true, (uint32_t[]){0}, 0) == BATON_OK);
    CHECK(counts_of(&w).loans == 1);
    CHECK(retire(&w, &fetch) == BATON_OK && w.last_count == 0 && counts_of(&w).loans == 0);
    CHECK(retire(&w, &fetch) == BATON_ERECEIPT);
    world_fini(&w);
}

/* What an earlier use left in a loan's record means nothing to the next one. */
TEST(a_loan_record_may_be_used_again)
{
    struct world w;
    struct lease offer;

    world_init(&w, 1, false, 0);
    hold(&w, 1);
    CHECK(lend(&w, &offer, 1, false, (uint32_t[]){0}, 1) == BATON_OK);
    CHECK(retire(&w, &offer) == BATON_OK && offer.loan.used);
    offer.loan.quarantined = true;
    offer.loan.quarantined_at_us = 3;
    CHECK(pool_lend(w.pool, &offer.loan, NULL) == BATON_OK);
    CHECK(!offer.loan.used && !offer.loan.quarantined && !offer.loan.quarantined_at_us);
    CHECK(retire(&w, &offer) == BATON_OK && counts_are(&w, 0, 1, 0, 0));
    world_fini(&w);
}
