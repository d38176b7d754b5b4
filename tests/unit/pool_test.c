/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the book of blocks: a story for each promise of pool.h.  The model test is at the end.
 */
#include "pool/pool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "util/prng.h"

enum {
    WORLD_BLOCKS = 16,
    NAMES_MAX = 8, /* blocks that one loan or call names here */
    NONCE = 0xabc,
};

/* A pool, and a copy of its state to see that an error changed nothing. */
struct world {
    struct pool *pool;
    size_t bytes;
    void *memory, *before;
    uint32_t last[NAMES_MAX];
    size_t last_count;
    struct baton_error error;
};

struct lease {
    struct pool_loan loan;
    uint32_t blocks[NAMES_MAX];
    uint64_t generations[NAMES_MAX];
};

static void *allocate(size_t bytes)
{
    void *memory = calloc(1, bytes);

    if (!memory) {
        abort();
    }
    return memory;
}

static void world_init(struct world *w, uint32_t blocks, bool wrapped, uint64_t first_generation)
{
    *w = (struct world){.bytes = pool_state_bytes(blocks)};
    w->memory = allocate(w->bytes);
    w->before = allocate(w->bytes);
    w->pool = pool_init(w->memory, blocks, wrapped, first_generation);
}

static void world_fini(struct world *w)
{
    pool_check(w->pool);
    free(w->memory);
    free(w->before);
}

static void remember(struct world *w)
{
    w->last_count = SIZE_MAX;
    memcpy(w->before, w->memory, w->bytes);
}

/* The call after remember() failed with `wanted`, said why, and changed nothing. */
static bool refused(struct world *w, baton_err err, baton_err wanted)
{
    pool_check(w->pool);
    return err == wanted && w->error.code == wanted && w->error.text[0] &&
           w->last_count == SIZE_MAX && !memcmp(w->before, w->memory, w->bytes);
}

static struct pool_counts counts_of(const struct world *w)
{
    struct pool_counts counts;

    pool_counts(w->pool, &counts);
    return counts;
}

static bool counts_are(const struct world *w, uint64_t free_blocks, uint64_t held, uint64_t lent,
                       uint64_t scrub)
{
    struct pool_counts c = counts_of(w);

    return c.free == free_blocks && c.held == held && c.lent == lent && c.scrub == scrub &&
           c.total == free_blocks + held + lent + scrub;
}

/* Allocate `count` blocks of a fresh pool: they are 0, 1, 2, ... */
static void hold(struct world *w, size_t count)
{
    uint32_t blocks[WORLD_BLOCKS];

    CHECK(pool_alloc(w->pool, count, blocks, &w->error) == BATON_OK);
}

static baton_err give(struct world *w, const uint32_t *blocks, size_t count)
{
    return pool_free(w->pool, blocks, count, w->last, &w->last_count, &w->error);
}

static void lease_init(struct lease *l, uint64_t id, bool exclusive, const uint32_t *blocks,
                       uint32_t count)
{
    *l = (struct lease){.loan = {.handoff_id = id,
                                 .nonce = NONCE + id,
                                 .blocks = l->blocks,
                                 .generations = l->generations,
                                 .count = count,
                                 .exclusive = exclusive}};
    memcpy(l->blocks, blocks, count * sizeof(blocks[0]));
}

static baton_err lend(struct world *w, struct lease *l, uint64_t id, bool exclusive,
                      const uint32_t *blocks, uint32_t count)
{
    lease_init(l, id, exclusive, blocks, count);
    return pool_lend(w->pool, &l->loan, &w->error);
}

static baton_err retire_as(struct world *w, struct lease *l, uint64_t id, uint64_t nonce)
{
    return pool_retire(w->pool, &l->loan, id, nonce, w->last, &w->last_count, &w->error);
}

static baton_err retire(struct world *w, struct lease *l)
{
    return retire_as(w, l, l->loan.handoff_id, l->loan.nonce);
}

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

/* The naive model: it recounts references from the loans each time that it needs them. */
enum {
    MODEL_BLOCKS = 12,
    MODEL_LOANS = 6,
};

enum use { FREEING, SHARING, FETCHING };

struct model {
    struct world w;
    struct prng prng;
    bool wrapped, held[MODEL_BLOCKS], scrub[MODEL_BLOCKS], live[MODEL_LOANS];
    uint64_t generation[MODEL_BLOCKS];
    uint32_t stack[MODEL_BLOCKS]; /* free blocks, the next one on top */
    size_t depth;
    struct lease leases[MODEL_LOANS];
};

static unsigned references(const struct model *m, uint32_t block, bool exclusive_only)
{
    unsigned count = 0;

    for (unsigned l = 0; l < MODEL_LOANS; l++) {
        const struct pool_loan *loan = &m->leases[l].loan;

        for (uint32_t i = 0; m->live[l] && i < loan->count; i++) {
            count += loan->blocks[i] == block && (loan->exclusive || !exclusive_only);
        }
    }
    return count;
}

/* Some blocks, now and then the same twice or one past the end. */
static uint32_t draw_names(struct model *m, uint32_t *names)
{
    uint32_t count = (uint32_t)prng_below(&m->prng, NAMES_MAX / 2);

    for (uint32_t i = 0; i < count; i++) {
        names[i] = (uint32_t)prng_below(&m->prng, MODEL_BLOCKS);
    }
    if (count && prng_chance(&m->prng, 0.02)) {
        names[count - 1] = MODEL_BLOCKS;
    }
    return count;
}

static baton_err expected(const struct model *m, const uint32_t *names, uint32_t count,
                          enum use use)
{
    if (m->wrapped && use == FREEING) {
        return BATON_EINVAL;
    }
    for (uint32_t i = 0; i < count; i++) {
        bool again = false;

        for (uint32_t j = 0; j < i; j++) {
            again = again || names[j] == names[i];
        }
        if (names[i] == MODEL_BLOCKS || (again && use != SHARING) ||
            (!m->wrapped && !m->held[names[i]])) {
            return BATON_EINVAL;
        }
        if (references(m, names[i], use != FETCHING)) {
            return BATON_EBUSY;
        }
        if (use == FETCHING && m->generation[names[i]] == UINT64_MAX) {
            return BATON_ELIMIT;
        }
    }
    return BATON_OK;
}

static bool step_alloc(struct model *m)
{
    uint32_t blocks[NAMES_MAX];
    size_t count = prng_below(&m->prng, NAMES_MAX / 2);
    baton_err want = m->wrapped ? BATON_EINVAL : count > m->depth ? BATON_EFULL : BATON_OK;
    baton_err err = pool_alloc(m->w.pool, count, blocks, &m->w.error);
    bool ok = true;

    for (size_t i = 0; !want && i < count; i++) {
        want = m->generation[m->stack[m->depth - 1 - i]] == UINT64_MAX ? BATON_ELIMIT : BATON_OK;
    }
    if (err || want) {
        return refused(&m->w, err, want);
    }
    for (size_t i = 0; i < count; i++) {
        ok = ok && blocks[i] == m->stack[--m->depth];
        m->held[blocks[i]] = true;
        m->generation[blocks[i]]++;
    }
    return ok;
}

/* The blocks that this call let go of for good are named once each, in the order of the call. */
static bool let_go(struct model *m, const uint32_t *names, uint32_t count)
{
    size_t last = 0;
    bool ok = true, done[MODEL_BLOCKS] = {false};

    for (uint32_t i = 0; i < count; i++) {
        uint32_t block = names[i];

        if (!references(m, block, false) && !m->held[block] && !done[block]) {
            done[block] = true;
            m->scrub[block] = !m->wrapped;
            ok = ok && last < m->w.last_count && m->w.last[last] == block;
            last++;
        }
    }
    return ok && last == m->w.last_count;
}

static bool step_free(struct model *m)
{
    uint32_t names[NAMES_MAX], count = draw_names(m, names);
    baton_err want = expected(m, names, count, FREEING), err = give(&m->w, names, count);

    if (err || want) {
        return refused(&m->w, err, want);
    }
    for (uint32_t i = 0; i < count; i++) {
        m->held[names[i]] = false;
    }
    return let_go(m, names, count);
}

static bool step_reclaim(struct model *m)
{
    uint32_t names[MODEL_BLOCKS];
    size_t count = 0;

    for (uint32_t b = 0; b < MODEL_BLOCKS; b++) {
        if (m->scrub[b] && prng_chance(&m->prng, 0.7)) {
            m->scrub[b] = false;
            names[count++] = b;
        }
    }
    pool_reclaim(m->w.pool, names, count);
    while (count > 0) {
        m->stack[m->depth++] = names[--count];
    }
    return true;
}

static bool step_lend(struct model *m, unsigned slot)
{
    struct lease *l = &m->leases[slot];
    uint32_t names[NAMES_MAX], count = draw_names(m, names);
    enum use use = prng_chance(&m->prng, 0.4) ? FETCHING : SHARING;
    baton_err want = expected(m, names, count, use);
    baton_err err = lend(&m->w, l, prng_next(&m->prng), use == FETCHING, names, count);
    bool ok = true;

    if (err || want) {
        l->loan.used = true;
        return refused(&m->w, err, want);
    }
    m->live[slot] = true;
    for (uint32_t i = 0; i < count; i++) {
        m->generation[names[i]] += use == FETCHING;
        ok = ok && l->generations[i] == m->generation[names[i]];
    }
    return ok;
}

/* Three of eight receipts are forged: another handoff, another nonce, another generation. */
static bool step_retire(struct model *m, unsigned slot)
{
    struct lease *l = &m->leases[slot];
    uint64_t forged = prng_below(&m->prng, 8);
    bool bad = !m->live[slot] || forged < 2 || (forged == 2 && l->loan.count > 0);
    baton_err err;

    l->generations[0] ^= forged == 2;
    err = retire_as(&m->w, l, l->loan.handoff_id + (forged == 0), l->loan.nonce ^ (forged == 1));
    l->generations[0] ^= forged == 2;
    if (err || bad) {
        return bad && refused(&m->w, err, BATON_ERECEIPT);
    }
    m->live[slot] = false;
    return let_go(m, l->blocks, l->loan.count);
}

static bool step_quarantine(struct model *m, unsigned slot)
{
    if (m->live[slot] && prng_chance(&m->prng, 0.7)) {
        pool_quarantine(m->w.pool, &m->leases[slot].loan, 1);
        return m->leases[slot].loan.quarantined;
    }
    pool_unquarantine(m->w.pool, &m->leases[slot].loan);
    return !m->leases[slot].loan.quarantined;
}

static bool agrees(const struct model *m)
{
    uint64_t count[BLOCK_SCRUB + 1] = {0}, quarantined = 0, loans = 0;
    bool ok = true;

    for (uint32_t b = 0; b < MODEL_BLOCKS; b++) {
        enum block_state state = references(m, b, false) ? BLOCK_LENT
                                 : m->held[b]            ? BLOCK_HELD
                                 : m->scrub[b]           ? BLOCK_SCRUB
                                                         : BLOCK_FREE;

        count[state]++;
        ok = ok && pool_block_state(m->w.pool, b) == state;
        ok = ok && pool_block_generation(m->w.pool, b) == m->generation[b];
    }
    for (unsigned l = 0; l < MODEL_LOANS; l++) {
        loans += m->live[l];
        quarantined += m->leases[l].loan.quarantined ? m->leases[l].loan.count : 0;
    }
    return ok && counts_of(&m->w).loans == loans && counts_of(&m->w).quarantined == quarantined &&
           counts_are(&m->w, count[0], count[1], count[2], count[3]);
}

/* The state has no pointers: it goes on from another place, and the old one is garbage. */
static void relocate(struct world *w)
{
    void *old = w->memory;

    memcpy(w->before, old, w->bytes);
    memset(old, 0xff, w->bytes);
    w->memory = w->before;
    w->before = old;
    w->pool = w->memory;
}

static bool model_step(struct model *m)
{
    unsigned slot = (unsigned)prng_below(&m->prng, MODEL_LOANS);
    bool ok;

    if (prng_chance(&m->prng, 0.01)) {
        relocate(&m->w);
    }
    remember(&m->w);
    switch (prng_below(&m->prng, 6)) {
    case 0:
        ok = step_alloc(m);
        break;
    case 1:
        ok = step_free(m);
        break;
    case 2:
        ok = step_reclaim(m);
        break;
    case 3:
        ok = step_quarantine(m, slot);
        break;
    default:
        ok = !m->live[slot] && prng_chance(&m->prng, 0.8) ? step_lend(m, slot)
                                                          : step_retire(m, slot);
        break;
    }
    pool_check(m->w.pool);
    return ok && agrees(m);
}

static void model_run(uint64_t seed, unsigned steps, bool wrapped, uint64_t first_generation)
{
    struct model m = {.wrapped = wrapped, .depth = wrapped ? 0 : MODEL_BLOCKS};
    unsigned step = 0;

    world_init(&m.w, MODEL_BLOCKS, wrapped, first_generation);
    prng_init(&m.prng, seed);
    for (uint32_t b = 0; b < MODEL_BLOCKS; b++) {
        m.generation[b] = first_generation;
        m.stack[b] = MODEL_BLOCKS - 1 - b;
    }
    for (unsigned l = 0; l < MODEL_LOANS; l++) {
        m.leases[l].loan.used = true;
    }
    while (step < steps && model_step(&m)) {
        step++;
    }
    if (!CHECK(step == steps)) {
        printf("  seed %" PRIu64 ", step %u; replay: pool_test model\n", seed, step);
    }
    world_fini(&m.w);
}

/* Random histories agree with the model after each step, wherever the state is moved to. */
TEST(model_of_a_pool_agrees)
{
    model_run(1, 120000, false, 0);
    model_run(2, 20000, false, UINT64_MAX - 40);
}

/* The same without holds and free list. */
TEST(model_of_a_wrapped_pool_agrees)
{
    model_run(3, 50000, true, 0);
    model_run(4, 10000, true, UINT64_MAX - 3);
}
