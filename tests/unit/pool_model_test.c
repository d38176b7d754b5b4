/* SPDX-License-Identifier: Apache-2.0 */
/* The book of blocks against a naive model, over many random calls. */
#include "pool_world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "util/prng.h"

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
