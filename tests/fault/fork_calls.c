/* SPDX-License-Identifier: Apache-2.0 */
/* Every call on an engine, its pools and handoffs, made in a process that did not make it. */
#include "fault/party_order.h"

static unsigned wrong;

static void expect(bool ok)
{
    wrong += !ok;
}

static void call_engine(baton_engine *engine)
{
    struct baton_abandoned kept;
    struct baton_completion completion;

    baton_engine_close(engine);
    expect(baton_engine_fd(engine) == -1);
    expect(baton_engine_step(engine, 0) == BATON_EFORKED);
    expect(baton_engine_drain(engine, -1) == BATON_EFORKED);
    expect(baton_engine_completion_fd(engine) == -1);
    expect(baton_engine_collect(engine, &completion, 1) == 0);
    baton_engine_abandon(engine, &kept);
    expect(baton_engine_destroy(engine, NULL) == BATON_EFORKED);
}

static void call_pool(baton_engine *engine, baton_pool *pool)
{
    const struct baton_pool_options options = {
        .size = sizeof(options), .block_bytes = 4096, .block_count = 1};
    struct baton_pool_stats stats;
    baton_pool *other;
    uint32_t block = 0;

    expect(baton_pool_create(engine, &options, &other, NULL) == BATON_EFORKED);
    expect(baton_pool_alloc(pool, 1, &block, NULL) == BATON_EFORKED);
    expect(baton_pool_free(pool, &block, 1, NULL) == BATON_EFORKED);
    expect(baton_pool_verify(pool) == 0);
    baton_pool_inspect(pool, &stats);
    expect(baton_pool_destroy(pool, NULL) == BATON_EFORKED);
}

static void call_handoff(baton_engine *engine, baton_pool *pool, baton_handoff *handoff)
{
    const struct baton_receipt receipt = {.handoff_id = baton_handoff_id(handoff)};
    const uint32_t block = 0;
    const struct baton_offer_args offer = {
        .size = sizeof(offer), .pool = pool, .blocks = &block, .block_count = 1};
    const struct baton_fetch_args fetch = {.size = sizeof(fetch),
                                           .ticket = "",
                                           .ticket_length = 1,
                                           .pool = pool,
                                           .blocks = &block,
                                           .block_count = 1};
    uint8_t ticket[BATON_TICKET_BYTES_MAX];
    baton_handoff *other;
    size_t length;

    expect(baton_offer(engine, &offer, &other, NULL) == BATON_EFORKED);
    expect(baton_fetch(engine, &fetch, &other, NULL) == BATON_EFORKED);
    expect(baton_offer_ticket(handoff, 0, ticket, &length) == BATON_EFORKED);
    expect(baton_offer_aux(handoff, "x", 1) == BATON_EFORKED);
    baton_offer_advance(handoff, BATON_WATERMARK_END);
    baton_handoff_cancel(handoff, BATON_CANCEL_OFFER);
    baton_handoff_ref(handoff);
    baton_handoff_unref(handoff);
    baton_handoff_unref(handoff);
    expect(baton_retire(handoff, &receipt, NULL, NULL, NULL) == BATON_EFORKED);
}

unsigned party_calls_after_fork(baton_engine *engine, baton_pool *pool, baton_handoff *handoff)
{
    wrong = 0;
    call_handoff(engine, pool, handoff);
    call_pool(engine, pool);
    call_engine(engine);
    return wrong;
}
