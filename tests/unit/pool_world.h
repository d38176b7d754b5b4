/* SPDX-License-Identifier: Apache-2.0 */
/* A pool on its own, and loans of it, for the tests of the pool's book. */
#ifndef BATON_TESTS_UNIT_POOL_WORLD_H
#define BATON_TESTS_UNIT_POOL_WORLD_H

#include "pool/pool.h"

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

void world_init(struct world *w, uint32_t blocks, bool wrapped, uint64_t first_generation);
void world_fini(struct world *w);
void remember(struct world *w);
/* The call after remember() failed with `wanted`, said why, and changed nothing. */
bool refused(struct world *w, baton_err err, baton_err wanted);
struct pool_counts counts_of(const struct world *w);
bool counts_are(const struct world *w, uint64_t free_blocks, uint64_t held, uint64_t lent,
                uint64_t scrub);
/* Allocate `count` blocks of a fresh pool: they are 0, 1, 2, ... */
void hold(struct world *w, size_t count);
baton_err give(struct world *w, const uint32_t *blocks, size_t count);
void lease_init(struct lease *l, uint64_t id, bool exclusive, const uint32_t *blocks,
                uint32_t count);
baton_err lend(struct world *w, struct lease *l, uint64_t id, bool exclusive,
               const uint32_t *blocks, uint32_t count);
baton_err retire_as(struct world *w, struct lease *l, uint64_t id, uint64_t nonce);
baton_err retire(struct world *w, struct lease *l);

#endif
