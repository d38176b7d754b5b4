/* SPDX-License-Identifier: Apache-2.0 */
/* The support of the pool's tests: pool_world.h says what each is for. */
#include "pool_world.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

static void *allocate(size_t bytes)
{
    void *memory = calloc(1, bytes);

    if (!memory) {
        abort();
    }
    return memory;
}

void world_init(struct world *w, uint32_t blocks, bool wrapped, uint64_t first_generation)
{
    *w = (struct world){.bytes = pool_state_bytes(blocks)};
    w->memory = allocate(w->bytes);
    w->before = allocate(w->bytes);
    w->pool = pool_init(w->memory, blocks, wrapped, first_generation);
}

void world_fini(struct world *w)
{
    pool_check(w->pool);
    free(w->memory);
    free(w->before);
}

void remember(struct world *w)
{
    w->last_count = SIZE_MAX;
    memcpy(w->before, w->memory, w->bytes);
}

bool refused(struct world *w, baton_err err, baton_err wanted)
{
    pool_check(w->pool);
    return err == wanted && w->error.code == wanted && w->error.text[0] &&
           w->last_count == SIZE_MAX && !memcmp(w->before, w->memory, w->bytes);
}

struct pool_counts counts_of(const struct world *w)
{
    struct pool_counts counts;

    pool_counts(w->pool, &counts);
    return counts;
}

bool counts_are(const struct world *w, uint64_t free_blocks, uint64_t held, uint64_t lent,
                uint64_t scrub)
{
    struct pool_counts c = counts_of(w);

    return c.free == free_blocks && c.held == held && c.lent == lent && c.scrub == scrub &&
           c.total == free_blocks + held + lent + scrub;
}

void hold(struct world *w, size_t count)
{
    uint32_t blocks[WORLD_BLOCKS];

    CHECK(pool_alloc(w->pool, count, blocks, &w->error) == BATON_OK);
}

baton_err give(struct world *w, const uint32_t *blocks, size_t count)
{
    return pool_free(w->pool, blocks, count, w->last, &w->last_count, &w->error);
}

void lease_init(struct lease *l, uint64_t id, bool exclusive, const uint32_t *blocks,
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

baton_err lend(struct world *w, struct lease *l, uint64_t id, bool exclusive,
               const uint32_t *blocks, uint32_t count)
{
    lease_init(l, id, exclusive, blocks, count);
    return pool_lend(w->pool, &l->loan, &w->error);
}

baton_err retire_as(struct world *w, struct lease *l, uint64_t id, uint64_t nonce)
{
    return pool_retire(w->pool, &l->loan, id, nonce, w->last, &w->last_count, &w->error);
}

baton_err retire(struct world *w, struct lease *l)
{
    return retire_as(w, l, l->loan.handoff_id, l->loan.nonce);
}
