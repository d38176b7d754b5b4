/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The book of a pool's blocks: a header and one record of 16 bytes a block, in one piece of memory
 * without pointers.  It knows numbers only: the blocks' memory, the clock and the loans themselves
 * are the engine's.
 *
 * Every change is made in two passes.  The first only validates; what it has to note in the records
 * (a mark, a reference dropped) it takes back when it fails.  The second cannot fail.  Work is
 * O(1) for each block named; only pool_init() and pool_check() look at all blocks.
 */
#include "pool/pool.h"

#include <inttypes.h>
#include <string.h>

#include "util/assert.h"
#include "util/error.h"

enum {
    BLOCK_STATES = BLOCK_SCRUB + 1,
    NEXT_FREE_BITS = 25,
    BLOCK_NONE = (1 << NEXT_FREE_BITS) - 1,
};

struct block {
    uint64_t generation; /* grows by one with each alloc and each exclusive loan, never wraps */
    uint32_t refs;       /* of handoffs; a loan that names the block twice has two of them */
    uint32_t next_free : NEXT_FREE_BITS; /* FREE and on the list: the next one, else BLOCK_NONE */
    uint32_t state : 2;                  /* enum block_state; written by block_move() only */
    uint32_t held : 1;                   /* the caller has it; in LENT it may be set or not */
    uint32_t exclusive : 1;              /* LENT to a fetch: its reference is the only one */
    uint32_t marked : 1; /* named earlier in the list being validated; clear between calls */
};

struct pool {
    uint64_t references;  /* sum of all refs */
    uint64_t quarantined; /* those of quarantined loans */
    uint64_t loans;       /* lent and not retired */
    uint32_t block_count;
    uint32_t state_count[BLOCK_STATES];
    uint32_t first_free; /* the block freed last; BLOCK_NONE when none is, or the pool is wrapped */
    bool wrapped;
    struct block blocks[];
};

_Static_assert((uint32_t)BATON_POOL_BLOCKS_MAX <= (uint32_t)BLOCK_NONE,
               "every block number fits next_free");
_Static_assert(sizeof(struct block) == 16, "four records to a cache line");

#define BIT(state) (1u << (state))

/* The graph is drawn in pool.h.  A wrapped pool has the edges FREE -> LENT -> FREE, and only it. */
static const struct block_state_conf {
    const char *name;
    unsigned next;         /* bit set of the states one move away */
    unsigned next_wrapped; /* the same in a wrapped pool */
} block_states[BLOCK_STATES] = {
    [BLOCK_FREE] = {"free", BIT(BLOCK_HELD), BIT(BLOCK_LENT)},
    [BLOCK_HELD] = {"held", BIT(BLOCK_LENT) | BIT(BLOCK_SCRUB), 0},
    [BLOCK_LENT] = {"lent", BIT(BLOCK_HELD) | BIT(BLOCK_SCRUB), BIT(BLOCK_FREE)},
    [BLOCK_SCRUB] = {"in scrub", BIT(BLOCK_FREE), 0},
};

/* S4: a block is free, lent or held by a count of references; a fetch's has exactly one. */
static void block_check(const struct pool *pool, const struct block *b)
{
    BATON_ASSERT((b->state == BLOCK_LENT) == (b->refs > 0));
    BATON_ASSERT(BATON_IMPLIES(b->state == BLOCK_HELD, b->held));
    BATON_ASSERT(BATON_IMPLIES(b->held, b->state == BLOCK_HELD || b->state == BLOCK_LENT));
    BATON_ASSERT(BATON_IMPLIES(b->exclusive, b->refs == 1));
    BATON_ASSERT(BATON_IMPLIES(b->exclusive, b->held || pool->wrapped));
    BATON_ASSERT(BATON_IMPLIES(pool->wrapped, !b->held));
    BATON_ASSERT(BATON_IMPLIES(b->next_free != BLOCK_NONE, b->state == BLOCK_FREE));
}

/* The caller has set the other fields to what they are in `to`. */
static void block_move(struct pool *pool, struct block *b, enum block_state to)
{
    const struct block_state_conf *from = &block_states[b->state];

    BATON_ASSERT((pool->wrapped ? from->next_wrapped : from->next) & BIT(to));
    BATON_ASSERT(pool->state_count[b->state] > 0);
    pool->state_count[b->state]--;
    pool->state_count[to]++;
    b->state = to;
    block_check(pool, b);
}

static struct block *block_at(struct pool *pool, uint32_t number)
{
    BATON_ASSERT(number < pool->block_count);
    return &pool->blocks[number];
}

static void push_free(struct pool *pool, uint32_t number)
{
    struct block *b = block_at(pool, number);

    BATON_ASSERT(b->next_free == BLOCK_NONE);
    block_move(pool, b, BLOCK_FREE);
    b->next_free = pool->first_free;
    pool->first_free = number;
}

static uint32_t pop_free(struct pool *pool)
{
    uint32_t number = pool->first_free;
    struct block *b = block_at(pool, number);

    BATON_ASSERT(b->state == BLOCK_FREE);
    pool->first_free = b->next_free;
    b->next_free = BLOCK_NONE;
    b->held = true;
    b->generation++;
    block_move(pool, b, BLOCK_HELD);
    return number;
}

/* A list may name blocks that the pool lacks, and, where marks are set, a block twice. */
static baton_err check_named(const struct pool *pool, uint32_t number,
                             struct baton_error *ret_error)
{
    if (number >= pool->block_count) {
        return error_set(ret_error, BATON_EINVAL, "block %" PRIu32 " is not in a pool of %" PRIu32,
                         number, pool->block_count);
    }
    if (pool->blocks[number].marked) {
        return error_set(ret_error, BATON_EINVAL, "block %" PRIu32 " is named twice", number);
    }
    return BATON_OK;
}

static baton_err check_held(const struct pool *pool, uint32_t number, struct baton_error *ret_error)
{
    const struct block *b = &pool->blocks[number];

    if (!b->held) {
        return error_set(ret_error, BATON_EINVAL, "block %" PRIu32 " is %s, and not held", number,
                         block_states[b->state].name);
    }
    return BATON_OK;
}

static baton_err check_generation(const struct pool *pool, uint32_t number,
                                  struct baton_error *ret_error)
{
    if (pool->blocks[number].generation == UINT64_MAX) {
        return error_set(ret_error, BATON_ELIMIT,
                         "block %" PRIu32 " has used up its generations, the last is %" PRIu64,
                         number, UINT64_MAX);
    }
    return BATON_OK;
}

static void unmark(struct pool *pool, const uint32_t *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        block_at(pool, blocks[i])->marked = false;
    }
}

size_t pool_state_bytes(uint32_t block_count)
{
    return sizeof(struct pool) + (size_t)block_count * sizeof(struct block);
}

struct pool *pool_init(void *memory, uint32_t block_count, bool wrapped, uint64_t first_generation)
{
    struct pool *pool = memory;

    BATON_ASSERT(memory && (uintptr_t)memory % _Alignof(struct pool) == 0);
    BATON_ASSERT(block_count <= BATON_POOL_BLOCKS_MAX);
    memset(memory, 0, pool_state_bytes(block_count));
    pool->block_count = block_count;
    pool->state_count[BLOCK_FREE] = block_count;
    pool->first_free = wrapped || block_count == 0 ? BLOCK_NONE : 0;
    pool->wrapped = wrapped;
    for (uint32_t i = 0; i < block_count; i++) {
        bool linked = !wrapped && i + 1 < block_count;

        pool->blocks[i].generation = first_generation;
        pool->blocks[i].next_free = linked ? i + 1 : BLOCK_NONE;
    }
    return pool;
}

static baton_err check_alloc(const struct pool *pool, size_t count, struct baton_error *ret_error)
{
    uint32_t number = pool->first_free;
    baton_err err = BATON_OK;

    if (pool->wrapped) {
        return error_set(ret_error, BATON_EINVAL,
                         "the pool wraps the caller's memory, whose free list is the caller's");
    }
    if (count > pool->state_count[BLOCK_FREE]) {
        return error_set(ret_error, BATON_EFULL,
                         "pool has %" PRIu32 " free blocks, %zu wanted; %" PRIu32 " lent (%" PRIu64
                         " references in quarantine), %" PRIu32 " held, %" PRIu32 " in scrub",
                         pool->state_count[BLOCK_FREE], count, pool->state_count[BLOCK_LENT],
                         pool->quarantined, pool->state_count[BLOCK_HELD],
                         pool->state_count[BLOCK_SCRUB]);
    }
    for (size_t i = 0; i < count && !err; i++) {
        BATON_ASSERT(number < pool->block_count);
        err = check_generation(pool, number, ret_error);
        number = pool->blocks[number].next_free;
    }
    return err;
}

baton_err pool_alloc(struct pool *pool, size_t count, uint32_t *ret_blocks,
                     struct baton_error *ret_error)
{
    baton_err err = check_alloc(pool, count, ret_error);

    if (err) {
        return err;
    }
    BATON_ASSERT(ret_blocks || count == 0);
    for (size_t i = 0; i < count; i++) {
        ret_blocks[i] = pop_free(pool);
    }
    return BATON_OK;
}

static baton_err check_free(const struct pool *pool, uint32_t number, struct baton_error *ret_error)
{
    baton_err err = check_named(pool, number, ret_error);

    if (!err) {
        err = check_held(pool, number, ret_error);
    }
    if (!err && pool->blocks[number].exclusive) {
        err = error_set(ret_error, BATON_EBUSY,
                        "block %" PRIu32 " is lent to a fetch whose receipt was not used yet",
                        number);
    }
    return err;
}

static baton_err mark_freeable(struct pool *pool, const uint32_t *blocks, size_t count,
                               struct baton_error *ret_error)
{
    for (size_t i = 0; i < count; i++) {
        baton_err err = check_free(pool, blocks[i], ret_error);

        if (err) {
            unmark(pool, blocks, i);
            return err;
        }
        block_at(pool, blocks[i])->marked = true;
    }
    return BATON_OK;
}

baton_err pool_free(struct pool *pool, const uint32_t *blocks, size_t count, uint32_t *ret_last,
                    size_t *ret_last_count, struct baton_error *ret_error)
{
    size_t last = 0;
    baton_err err;

    if (pool->wrapped) {
        return error_set(ret_error, BATON_EINVAL,
                         "the pool wraps the caller's memory, whose blocks are never held");
    }
    err = mark_freeable(pool, blocks, count, ret_error);
    if (err) {
        return err;
    }
    BATON_ASSERT(ret_last || count == 0);
    BATON_ASSERT(ret_last_count);
    for (size_t i = 0; i < count; i++) {
        uint32_t number = blocks[i];
        struct block *b = block_at(pool, number);

        b->marked = false;
        b->held = false;
        if (b->refs == 0) {
            block_move(pool, b, BLOCK_SCRUB);
            ret_last[last++] = number;
        }
    }
    *ret_last_count = last;
    return BATON_OK;
}

void pool_reclaim(struct pool *pool, const uint32_t *blocks, size_t count)
{
    for (size_t i = count; i > 0; i--) {
        BATON_ASSERT(block_at(pool, blocks[i - 1])->state == BLOCK_SCRUB);
        push_free(pool, blocks[i - 1]);
    }
}

/* The references are counted ahead as if the whole loan named this one block. */
static baton_err check_references(const struct pool *pool, const struct pool_loan *loan,
                                  uint32_t number, struct baton_error *ret_error)
{
    const struct block *b = &pool->blocks[number];

    if (b->exclusive) {
        return error_set(ret_error, BATON_EBUSY,
                         "block %" PRIu32 " is lent to a fetch, at generation %" PRIu64, number,
                         b->generation);
    }
    if (loan->exclusive && b->refs > 0) {
        return error_set(ret_error, BATON_EBUSY,
                         "block %" PRIu32 " is lent to offers, %" PRIu32
                         " times; a fetch needs it alone",
                         number, b->refs);
    }
    if (b->refs > UINT32_MAX - loan->count) {
        return error_set(ret_error, BATON_ELIMIT,
                         "block %" PRIu32 " has %" PRIu32 " references, %" PRIu32
                         " more may pass the limit of %" PRIu32,
                         number, b->refs, loan->count, UINT32_MAX);
    }
    return BATON_OK;
}

static baton_err check_lend(const struct pool *pool, const struct pool_loan *loan, uint32_t number,
                            struct baton_error *ret_error)
{
    baton_err err = check_named(pool, number, ret_error);

    if (!err && !pool->wrapped) {
        err = check_held(pool, number, ret_error);
    }
    if (!err) {
        err = check_references(pool, loan, number, ret_error);
    }
    if (!err && loan->exclusive) {
        err = check_generation(pool, number, ret_error);
    }
    return err;
}

/* Marks are for exclusive loans: a shared one may name a block twice. */
static baton_err mark_lendable(struct pool *pool, const struct pool_loan *loan,
                               struct baton_error *ret_error)
{
    for (uint32_t i = 0; i < loan->count; i++) {
        baton_err err = check_lend(pool, loan, loan->blocks[i], ret_error);

        if (err) {
            unmark(pool, loan->blocks, i);
            return err;
        }
        block_at(pool, loan->blocks[i])->marked = loan->exclusive;
    }
    return BATON_OK;
}

static void lend_block(struct pool *pool, struct block *b, bool exclusive)
{
    b->marked = false;
    b->refs++;
    pool->references++;
    if (exclusive) {
        b->exclusive = true;
        b->generation++;
    }
    if (b->state != BLOCK_LENT) {
        block_move(pool, b, BLOCK_LENT);
    }
}

baton_err pool_lend(struct pool *pool, struct pool_loan *loan, struct baton_error *ret_error)
{
    baton_err err = mark_lendable(pool, loan, ret_error);

    if (err) {
        return err;
    }
    BATON_ASSERT(loan->generations || loan->count == 0);
    for (uint32_t i = 0; i < loan->count; i++) {
        struct block *b = block_at(pool, loan->blocks[i]);

        lend_block(pool, b, loan->exclusive);
        loan->generations[i] = b->generation;
    }
    loan->used = false;
    loan->quarantined = false;
    loan->quarantined_at_us = 0;
    pool->loans++;
    return BATON_OK;
}

static baton_err check_receipt(const struct pool_loan *loan, uint64_t handoff_id, uint64_t nonce,
                               struct baton_error *ret_error)
{
    if (loan->used) {
        return error_set(ret_error, BATON_ERECEIPT,
                         "the receipt of handoff %" PRIu64 " was used before", loan->handoff_id);
    }
    if (handoff_id != loan->handoff_id) {
        return error_set(ret_error, BATON_ERECEIPT,
                         "the receipt is of handoff %" PRIu64 ", not of handoff %" PRIu64,
                         handoff_id, loan->handoff_id);
    }
    if (nonce != loan->nonce) {
        return error_set(ret_error, BATON_ERECEIPT,
                         "the receipt names handoff %" PRIu64 " with nonce %016" PRIx64
                         ", which is not that handoff's",
                         handoff_id, nonce);
    }
    return BATON_OK;
}

static baton_err check_reference(const struct pool *pool, const struct pool_loan *loan, uint32_t i,
                                 struct baton_error *ret_error)
{
    uint32_t number = loan->blocks[i];
    const struct block *b;

    if (number >= pool->block_count) {
        return error_set(ret_error, BATON_ERECEIPT,
                         "handoff %" PRIu64 " names block %" PRIu32 ", not in a pool of %" PRIu32,
                         loan->handoff_id, number, pool->block_count);
    }
    b = &pool->blocks[number];
    if (b->generation != loan->generations[i]) {
        return error_set(ret_error, BATON_ERECEIPT,
                         "block %" PRIu32 " is at generation %" PRIu64 ", handoff %" PRIu64
                         " was lent generation %" PRIu64,
                         number, b->generation, loan->handoff_id, loan->generations[i]);
    }
    if (b->refs == 0 || b->exclusive != loan->exclusive) {
        return error_set(
            ret_error, BATON_ERECEIPT,
            "handoff %" PRIu64 " has no %s reference to block %" PRIu32 ", which has %" PRIu32,
            loan->handoff_id, loan->exclusive ? "exclusive" : "shared", number, b->refs);
    }
    return BATON_OK;
}

/*
 * Dropping while validating is what makes it exact: a loan that names a block twice needs two
 * references.  A failure takes the dropped ones back.
 */
static baton_err drop_references(struct pool *pool, const struct pool_loan *loan,
                                 struct baton_error *ret_error)
{
    for (uint32_t i = 0; i < loan->count; i++) {
        baton_err err = check_reference(pool, loan, i, ret_error);

        if (err) {
            while (i > 0) {
                block_at(pool, loan->blocks[--i])->refs++;
            }
            return err;
        }
        block_at(pool, loan->blocks[i])->refs--;
    }
    return BATON_OK;
}

/* Returns whether nobody has the block any more.  A block named twice is LENT the first time only.
 */
static bool settle(struct pool *pool, struct block *b)
{
    if (b->refs > 0 || b->state != BLOCK_LENT) {
        return false;
    }
    b->exclusive = false;
    if (b->held) {
        block_move(pool, b, BLOCK_HELD);
        return false;
    }
    block_move(pool, b, pool->wrapped ? BLOCK_FREE : BLOCK_SCRUB);
    return true;
}

baton_err pool_retire(struct pool *pool, struct pool_loan *loan, uint64_t handoff_id,
                      uint64_t nonce, uint32_t *ret_last, size_t *ret_last_count,
                      struct baton_error *ret_error)
{
    size_t last = 0;
    baton_err err = check_receipt(loan, handoff_id, nonce, ret_error);

    if (!err) {
        err = drop_references(pool, loan, ret_error);
    }
    if (err) {
        return err;
    }
    BATON_ASSERT(pool->loans > 0 && pool->references >= loan->count);
    BATON_ASSERT(ret_last_count && (ret_last || loan->count == 0));
    pool_unquarantine(pool, loan);
    for (uint32_t i = 0; i < loan->count; i++) {
        uint32_t number = loan->blocks[i];

        if (settle(pool, block_at(pool, number))) {
            ret_last[last++] = number;
        }
    }
    pool->references -= loan->count;
    pool->loans--;
    loan->used = true;
    *ret_last_count = last;
    return BATON_OK;
}

void pool_quarantine(struct pool *pool, struct pool_loan *loan, uint64_t now_us)
{
    BATON_ASSERT(!loan->used);
    if (loan->quarantined) {
        return; /* its age counts from the first time */
    }
    loan->quarantined = true;
    loan->quarantined_at_us = now_us;
    pool->quarantined += loan->count;
    BATON_ASSERT(pool->quarantined <= pool->references);
}

void pool_unquarantine(struct pool *pool, struct pool_loan *loan)
{
    if (!loan->quarantined) {
        return;
    }
    BATON_ASSERT(!loan->used);
    BATON_ASSERT(pool->quarantined >= loan->count);
    pool->quarantined -= loan->count;
    loan->quarantined = false;
    loan->quarantined_at_us = 0;
}

enum block_state pool_block_state(const struct pool *pool, uint32_t block)
{
    BATON_ASSERT(block < pool->block_count);
    return (enum block_state)pool->blocks[block].state;
}

uint64_t pool_block_generation(const struct pool *pool, uint32_t block)
{
    BATON_ASSERT(block < pool->block_count);
    return pool->blocks[block].generation;
}

void pool_counts(const struct pool *pool, struct pool_counts *ret_counts)
{
    *ret_counts = (struct pool_counts){
        .total = pool->block_count,
        .free = pool->state_count[BLOCK_FREE],
        .held = pool->state_count[BLOCK_HELD],
        .lent = pool->state_count[BLOCK_LENT],
        .scrub = pool->state_count[BLOCK_SCRUB],
        .quarantined = pool->quarantined,
        .loans = pool->loans,
    };
}

/* A list that ends after `free` steps has no loop, so it names `free` different blocks. */
static void check_free_list(const struct pool *pool)
{
    uint32_t number = pool->first_free;
    uint32_t listed = pool->wrapped ? 0 : pool->state_count[BLOCK_FREE];

    for (uint32_t i = 0; i < listed; i++) {
        BATON_ASSERT(number < pool->block_count);
        BATON_ASSERT(pool->blocks[number].state == BLOCK_FREE);
        number = pool->blocks[number].next_free;
    }
    BATON_ASSERT(number == BLOCK_NONE);
}

void pool_check(const struct pool *pool)
{
    uint32_t state_count[BLOCK_STATES] = {0};
    uint64_t references = 0;

    for (uint32_t i = 0; i < pool->block_count; i++) {
        const struct block *b = &pool->blocks[i];

        block_check(pool, b);
        BATON_ASSERT(!b->marked);
        state_count[b->state]++;
        references += b->refs;
    }
    for (unsigned s = 0; s < BLOCK_STATES; s++) {
        BATON_ASSERT(state_count[s] == pool->state_count[s]);
    }
    BATON_ASSERT(references == pool->references);
    BATON_ASSERT(pool->quarantined <= references);
    BATON_ASSERT(BATON_IMPLIES(pool->loans == 0, references == 0));
    check_free_list(pool);
}
