/* SPDX-License-Identifier: Apache-2.0 */
/* Handoffs: their memory, references, asks, and what callers do with them. */
#include "engine/engine.h"
#include "engine/landing.h"

#include <stdlib.h>
#include <string.h>

#include "util/clock.h"
#include "util/sabotage.h"

/* ---- references ---- */

void handoff_ref(struct baton_handoff *h)
{
    unsigned before = atomic_fetch_add(&h->refs, 1);

    BATON_ASSERT(before > 0);
}

void handoff_free(struct baton_handoff *h)
{
    for (uint32_t slot = 0; slot < BATON_READERS_MAX; slot++) {
        landing_forget(h, slot);
    }
    pthread_mutex_destroy(&h->aux_lock);
    free(h->aux);
    free(h->blocks);
    free(h->last);
    free(h->loan.generations);
    free(h->remote);
    free(h);
}

void handoff_unref(struct baton_handoff *h)
{
    unsigned before = atomic_fetch_sub(&h->refs, 1);

    BATON_ASSERT(before > 0);
    if (before == 1) {
        handoff_free(h);
    }
}

void baton_handoff_ref(baton_handoff *handoff)
{
    if (engine_check(handoff->engine)) {
        return;
    }
    handoff_ref(handoff);
    atomic_fetch_add(&handoff->user_refs, 1);
    atomic_fetch_add(&handoff->engine->user_refs, 1);
}

void baton_handoff_unref(baton_handoff *handoff)
{
    unsigned before;

    if (engine_check(handoff->engine)) {
        return;
    }
    before = atomic_fetch_sub(&handoff->user_refs, 1);
    BATON_ASSERT(before > 0); /* more unref than ref */
    atomic_fetch_sub(&handoff->engine->user_refs, 1);
    handoff_unref(handoff);
}

uint64_t baton_handoff_id(const baton_handoff *handoff)
{
    return handoff->id;
}

/* ---- asks ---- */

/*
 * Push the handoff on the list of those that ask, unless it is there.  No lock, no memory, no
 * waiting: the cancel path. The bit is set first: if the driver has taken the handoff off the list
 * but not yet read its bits, it sees this one.
 */
void handoff_ask(struct baton_handoff *h, enum ask ask)
{
    baton_engine *engine = h->engine;
    struct baton_handoff *first;

    atomic_fetch_or(&h->asks, ask);
    if (atomic_exchange(&h->asked, true)) {
        return;
    }
    handoff_ref(h);
    first = atomic_load(&engine->asking);
    do {
        h->ask_next = first;
    } while (!atomic_compare_exchange_weak_explicit(&engine->asking, &first, h,
                                                    memory_order_release, memory_order_relaxed));
    loop_wake(engine);
}

baton_cancel baton_handoff_cancel(baton_handoff *handoff, baton_cancel_scope scope)
{
    unsigned none = 0;

    if (engine_check(handoff->engine) || atomic_load(&handoff->decided)) {
        return BATON_CANCEL_ALREADY_DECIDED;
    }
    atomic_fetch_add(&handoff->engine->cancels_requested, 1);
    if (!atomic_compare_exchange_strong(&handoff->cancel, &none, 1U + (unsigned)scope)) {
        return BATON_CANCEL_REQUESTED; /* it was asked before */
    }
    atomic_store(&handoff->cancel_at_ns, clock_now_ns());
    if (!BATON_SABOTAGE(EARLY_RETIRE) && !BATON_SABOTAGE(LATE_MOVER)) {
        /* Movers look at this before each slice, so the copying ends even before the driver hears
         * of the cancel. */
        atomic_store(&handoff->stop, true);
    }
    handoff_ask(handoff, ASK_CANCEL);
    return BATON_CANCEL_REQUESTED;
}

/* ---- making ---- */

struct baton_handoff *handoff_create(baton_engine *engine, enum core_side side, baton_pool *pool,
                                     const uint32_t *blocks, uint32_t count,
                                     const struct baton_notices *notices)
{
    struct baton_handoff *h = calloc(1, sizeof(*h));

    if (!h) {
        return NULL;
    }
    h->engine = engine;
    h->side = side;
    h->pool = pool;
    h->notices = *notices;
    h->start_us = clock_now_us();
    pthread_mutex_init(&h->aux_lock, NULL);
    h->blocks = malloc(count * sizeof(uint32_t));
    h->last = malloc(count * sizeof(uint32_t));
    h->loan.generations = malloc(count * sizeof(uint64_t));
    if (!h->blocks || !h->last || !h->loan.generations ||
        !engine_random(engine, &h->nonce, sizeof(h->nonce))) {
        handoff_free(h);
        return NULL;
    }
    memcpy(h->blocks, blocks, count * sizeof(uint32_t));
    h->loan.blocks = h->blocks;
    h->loan.count = count;
    h->loan.nonce = h->nonce;
    for (int i = 0; i < NOTICES; i++) {
        h->notice[i] = (struct notice){.handoff = h, .kind = (baton_notice)(i + 1)};
    }
    return h;
}

static baton_err lend(struct baton_handoff *h, bool exclusive, struct baton_error *ret_error)
{
    baton_err err;

    h->loan.handoff_id = h->id;
    h->loan.exclusive = exclusive;
    pthread_mutex_lock(&h->pool->lock);
    err = pool_lend(h->pool->book, &h->loan, ret_error);
    pthread_mutex_unlock(&h->pool->lock);
    return err;
}

static void index_give_back(struct baton_handoff *h)
{
    baton_engine *engine = h->engine;

    pthread_mutex_lock(&engine->table_lock);
    engine->table[h->side][h->index] = NULL;
    engine->free_index[h->side][engine->free_count[h->side]++] = h->index;
    pthread_mutex_unlock(&engine->table_lock);
}

/*
 * Reserve an index, take an id, lend the blocks.  On success the handoff has its three references
 * (caller, record, loan) and counts as active.  The notices' places are part of the handoff, so
 * they are reserved with it.
 */
baton_err handoff_enter(struct baton_handoff *h, struct baton_error *ret_error)
{
    static const char *const limit[2] = {"offers_max", "fetches_max"};
    baton_engine *engine = h->engine;
    baton_err err = BATON_OK;

    pthread_mutex_lock(&engine->table_lock);
    if (atomic_load(&engine->closing)) {
        err = error_set(ret_error, BATON_ECLOSED, "the engine is closing");
    } else if (engine->free_count[h->side] == 0) {
        err = error_set(ret_error, BATON_ELIMIT, "%u at once are in flight, which is %s",
                        h->side == CORE_OFFER ? engine->options.offers_max
                                              : engine->options.fetches_max,
                        limit[h->side]);
    } else {
        h->index = engine->free_index[h->side][--engine->free_count[h->side]];
        h->id = ++engine->serial << CORE_INDEX_BITS | h->index;
        atomic_fetch_add(&engine->active, 1);
    }
    pthread_mutex_unlock(&engine->table_lock);
    if (err) {
        return err;
    }
    err = lend(h, h->side == CORE_FETCH, ret_error);
    if (err) {
        index_give_back(h);
        atomic_fetch_sub(&engine->active, 1);
        return err;
    }
    atomic_store(&h->refs, 3);
    atomic_store(&h->user_refs, 1);
    atomic_fetch_add(&engine->user_refs, 1);
    /* Last: from here on the driver can find it, by an id that a peer guessed. */
    pthread_mutex_lock(&engine->table_lock);
    engine->table[h->side][h->index] = h;
    pthread_mutex_unlock(&engine->table_lock);
    return BATON_OK;
}

struct baton_handoff *handoff_find(baton_engine *engine, enum core_side side, uint64_t id)
{
    const uint32_t count =
        side == CORE_OFFER ? engine->options.offers_max : engine->options.fetches_max;
    uint32_t index = (uint32_t)(id & ((1U << CORE_INDEX_BITS) - 1));
    struct baton_handoff *h = NULL;

    if (index < count) {
        pthread_mutex_lock(&engine->table_lock);
        h = engine->table[side][index];
        pthread_mutex_unlock(&engine->table_lock);
    }
    return h && h->id == id ? h : NULL;
}

void handoff_forget(baton_engine *engine, enum core_side side, uint32_t index)
{
    struct baton_handoff *h = engine->table[side][index];

    index_give_back(h);
    handoff_unref(h);
}

/* Driver: the core learns of the handoff. */
void handoff_start(struct baton_handoff *h)
{
    baton_engine *engine = h->engine;
    struct core_event event = {0};

    if (h->side == CORE_OFFER) {
        engine->counts.offers++;
        event.type = CORE_EVENT_OFFER;
        event.offer = h->offer;
        event.offer.exported = atomic_load(&h->pool->exported);
        engine_apply(engine, &event);
        return;
    }
    engine->counts.fetches++;
    h->link = greet_link(engine, &h->ticket);
    if (h->link) {
        h->link_serial = h->link->serial;
    }
    event.type = CORE_EVENT_FETCH;
    event.fetch = h->fetch;
    event.fetch.link = h->link ? h->link->number : CORE_NO_LINK;
    engine_apply(engine, &event);
}

/* ---- retiring ---- */

static baton_err check_receipt(const struct baton_handoff *h, const struct baton_receipt *receipt,
                               struct baton_error *ret_error)
{
    if (!receipt || receipt->proof == BATON_PROOF_NONE) {
        return error_set(ret_error, BATON_ERECEIPT, "this is no receipt: its proof is NONE");
    }
    if (memcmp(receipt->incarnation, h->engine->incarnation, ID_BYTES) != 0) {
        return error_set(ret_error, BATON_ERECEIPT, "the receipt is of another engine");
    }
    return BATON_OK;
}

baton_err baton_retire(baton_handoff *handoff, const struct baton_receipt *receipt,
                       uint32_t *ret_last, size_t *ret_last_count, struct baton_error *ret_error)
{
    baton_engine *engine = handoff->engine;
    baton_pool *pool = handoff->pool;
    size_t count = 0;
    baton_err err;

    if (engine_check(engine)) {
        return error_set(ret_error, BATON_EFORKED, "the engine belongs to the parent process");
    }
    err = check_receipt(handoff, receipt, ret_error);
    if (err) {
        return err;
    }
    pthread_mutex_lock(&pool->lock);
    err = pool_retire(pool->book, &handoff->loan, receipt->handoff_id, receipt->nonce,
                      handoff->last, &count, ret_error);
    pthread_mutex_unlock(&pool->lock);
    if (err) {
        return err;
    }
    if (ret_last) {
        memcpy(ret_last, handoff->last, count * sizeof(uint32_t));
    }
    if (ret_last_count) {
        *ret_last_count = count;
    }
    if (!pool->wrapped) {
        pool_give_back(pool, handoff->last, count);
    }
    atomic_fetch_add(&engine->retired, 1);
    handoff_unref(handoff); /* the loan's */
    return BATON_OK;
}
