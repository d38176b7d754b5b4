/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The book of a pool's blocks: generations, holds, references, loans, quarantine, free list.  It
 * never touches the blocks' memory.  Pure: no I/O, clock, malloc; the state is one relocatable
 * piece of memory that the caller provides.
 *
 *            alloc                    lend (offer: +1; fetch: the only one)
 *   FREE ------------> HELD ------------------------------> LENT
 *    ^                  | free, no reference                 | pool_retire(), free: the last
 * reference and hold are gone
 *    +------ SCRUB <----+------------------------------------+
 *     reclaim
 *
 * SCRUB: nobody has the block, and it is not on the free list yet, so that its memory can be filled
 * with a pattern. A wrapped pool has no holds and no free list: its blocks go FREE -> LENT -> FREE.
 */
#ifndef BATON_POOL_POOL_H
#define BATON_POOL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton.h"

enum block_state {
    BLOCK_FREE = 0,
    BLOCK_HELD,  /* the caller may write */
    BLOCK_LENT,  /* refs > 0; the caller may hold it as well */
    BLOCK_SCRUB, /* nobody may touch it but the owner's fill */
};

/* A handoff's references to its blocks.  `blocks` and `generations` are the engine's memory,
 * borrowed until retired. */
struct pool_loan {
    uint64_t handoff_id;
    uint64_t nonce;
    const uint32_t *blocks;
    uint64_t *generations; /* written by pool_lend() */
    uint32_t count;
    bool exclusive; /* a fetch's destination */
    bool used;      /* its receipt was used */
    bool quarantined;
    uint64_t quarantined_at_us;
};

struct pool;

/* Bytes of a pool's state. */
size_t pool_state_bytes(uint32_t block_count);

/* Make `memory`, pool_state_bytes() of it, aligned for uint64_t, a pool of free blocks. */
struct pool *pool_init(void *memory, uint32_t block_count, bool wrapped, uint64_t first_generation);

/* BATON_EFULL when fewer are free.  Each block's generation grows by exactly one. */
baton_err pool_alloc(struct pool *pool, size_t count, uint32_t *ret_blocks,
                     struct baton_error *ret_error);

/*
 * Drop the caller's hold of each block.  Those to which nobody has a reference now are in SCRUB and
 * in `ret_last` (room for `count`, may be `blocks` itself).  Errors change nothing: BATON_EINVAL
 * (out of range, not held, named twice, a wrapped pool), BATON_EBUSY (lent to a fetch).
 */
baton_err pool_free(struct pool *pool, const uint32_t *blocks, size_t count, uint32_t *ret_last,
                    size_t *ret_last_count, struct baton_error *ret_error);

/* Put SCRUB blocks on the free list, so that the one named first is allocated first. */
void pool_reclaim(struct pool *pool, const uint32_t *blocks, size_t count);

/*
 * Lend the loan's blocks to its handoff; the loan's first five fields and `exclusive` are the
 * input.  Every block must be held, or the pool wrapped.  Exclusive: no block has any reference
 * yet, none is named twice, and each block's generation grows by one.  Shared: no block is lent
 * exclusively; a block may be named twice and is then referred to twice. Errors change nothing:
 * BATON_EINVAL, BATON_EBUSY.
 */
baton_err pool_lend(struct pool *pool, struct pool_loan *loan, struct baton_error *ret_error);

/*
 * Drop the loan's references.  Blocks that nobody holds or refers to any more are named in
 * `ret_last` (room for loan->count) and are in SCRUB, or FREE in a wrapped pool.  Ends the loan's
 * quarantine.  Errors change nothing: BATON_ERECEIPT (used before, other handoff, other nonce, a
 * generation that does not match).
 */
baton_err pool_retire(struct pool *pool, struct pool_loan *loan, uint64_t handoff_id,
                      uint64_t nonce, uint32_t *ret_last, size_t *ret_last_count,
                      struct baton_error *ret_error);

/* The loan's outcome is decided and quiet is not proven: count its blocks as quarantined, or no
 * longer. */
void pool_quarantine(struct pool *pool, struct pool_loan *loan, uint64_t now_us);
void pool_unquarantine(struct pool *pool, struct pool_loan *loan);

enum block_state pool_block_state(const struct pool *pool, uint32_t block);
uint64_t pool_block_generation(const struct pool *pool, uint32_t block);

struct pool_counts {
    uint64_t total, free, held, lent, scrub; /* free + held + lent + scrub == total */
    uint64_t quarantined;                    /* block references of quarantined loans */
    uint64_t loans;                          /* not used yet */
};

void pool_counts(const struct pool *pool, struct pool_counts *ret_counts);

/* Recount everything from the blocks and assert that the books agree (S4, S19).  O(blocks): for
 * tests and simulators. */
void pool_check(const struct pool *pool);

#endif
