/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loans of the explorer's worlds, on the real book of a pool.  A loan there has pointers; here it
 * lies in the world without them.  A receipt is used as soon as there is one, which is the earliest
 * that an owner can.
 */
#include "sim/explore_world.h"

#include "util/error.h"

void explore_offer_blocks(const struct explorer *x, unsigned plan, uint32_t ret_blocks[UNITS_MAX])
{
    for (unsigned unit = 0; unit < x->rules->units; unit++) {
        ret_blocks[unit] = x->rules->block[plan][unit];
    }
}

void explore_fetch_blocks(const struct explorer *x, uint32_t ret_blocks[UNITS_MAX])
{
    for (unsigned unit = 0; unit < x->rules->units; unit++) {
        ret_blocks[unit] = unit;
    }
}

static uint64_t nonce_of(uint64_t handoff_id)
{
    return handoff_id * UINT64_C(0x9e3779b97f4a7c15);
}

static struct pool_loan loan_of(struct debt *debt, const uint32_t *blocks, uint64_t handoff_id)
{
    return (struct pool_loan){.handoff_id = handoff_id,
                              .nonce = nonce_of(handoff_id),
                              .blocks = blocks,
                              .generations = debt->generations,
                              .count = debt->count,
                              .exclusive = debt->exclusive,
                              .used = debt->used,
                              .quarantined = debt->quarantined};
}

bool explore_debt_lend(struct explorer *x, int node, struct debt *debt, const uint32_t *blocks,
                       uint64_t handoff_id)
{
    struct pool_loan loan;
    baton_err err;

    debt->count = x->rules->units;
    debt->exclusive = node > 0;
    loan = loan_of(debt, blocks, handoff_id);
    err = pool_lend(pool_of(x, x->w, node), &loan, NULL);
    debt->used = loan.used;
    return err == BATON_OK;
}

void explore_debt_quarantine(struct explorer *x, int node, struct debt *debt,
                             const uint32_t *blocks, uint64_t handoff_id)
{
    struct pool_loan loan = loan_of(debt, blocks, handoff_id);

    pool_quarantine(pool_of(x, x->w, node), &loan, WORLD_NOW_US);
    debt->quarantined = loan.quarantined;
}

void explore_debt_retire(struct explorer *x, int node, struct debt *debt, const uint32_t *blocks,
                         uint64_t handoff_id)
{
    struct pool *pool = pool_of(x, x->w, node);
    struct pool_loan loan = loan_of(debt, blocks, handoff_id);
    uint32_t last[UNITS_MAX];
    size_t count = 0;
    baton_err err;

    pool_unquarantine(pool, &loan);
    err = pool_retire(pool, &loan, handoff_id, nonce_of(handoff_id) + 1, last, &count, NULL);
    if (err != BATON_ERECEIPT) {
        explore_broken(x, "P10 receipts", "a receipt with another nonce was taken");
    }
    err = pool_retire(pool, &loan, handoff_id, nonce_of(handoff_id), last, &count, NULL);
    if (err) {
        explore_broken(x, "P10 receipts", "a good receipt was not taken");
    }
    err = pool_retire(pool, &loan, handoff_id, nonce_of(handoff_id), last, &count, NULL);
    if (err != BATON_ERECEIPT) {
        explore_broken(x, "P10 receipts", "a receipt was taken twice");
    }
    debt->used = loan.used;
    debt->quarantined = loan.quarantined;
    pool_check(pool);
}
