/* SPDX-License-Identifier: Apache-2.0 */
/* New work: offers and fetches. */
#include "engine/engine.h"
#include "engine/landing.h"

#include <stdlib.h>
#include <string.h>

/* The number of args.size that this library knows; a smaller one is of an older baton.h, its
 * missing end is zero. */
static baton_err check_size(const char *what, size_t size, size_t known,
                            struct baton_error *ret_error)
{
    if (size != known) {
        return error_set(ret_error, BATON_EINVAL,
                         "args.size is %zu: set it to sizeof(struct %s), %zu", size, what, known);
    }
    return BATON_OK;
}

static baton_err check_blocks(const baton_engine *engine, const baton_pool *pool,
                              const uint32_t *blocks, size_t count, struct baton_error *ret_error)
{
    if (!pool || pool->engine != engine) {
        return error_set(ret_error, BATON_EINVAL, "the pool is %s",
                         pool ? "another engine's" : "NULL");
    }
    if (!blocks || count == 0 || count > BATON_HANDOFF_BLOCKS_MAX) {
        return error_set(ret_error, BATON_EINVAL, "%zu blocks: a handoff has 1 to %d", count,
                         BATON_HANDOFF_BLOCKS_MAX);
    }
    return BATON_OK;
}

/* ---- offers ---- */

static baton_err check_offer(baton_engine *engine, const struct baton_offer_args *args,
                             struct baton_error *ret_error)
{
    baton_err err;

    if (engine_check(engine)) {
        return error_set(ret_error, BATON_EFORKED, "the engine belongs to the parent process");
    }
    if (!args) {
        return error_set(ret_error, BATON_EINVAL, "the args pointer is NULL");
    }
    if ((err = check_size("baton_offer_args", args->size, sizeof(*args), ret_error)) ||
        (err = check_blocks(engine, args->pool, args->blocks, args->block_count, ret_error))) {
        return err;
    }
    if (args->readers > BATON_READERS_MAX) {
        return error_set(ret_error, BATON_EINVAL, "%u readers: an offer has 1 to %d", args->readers,
                         BATON_READERS_MAX);
    }
    return BATON_OK;
}

static struct ticket ticket_of(const struct baton_handoff *h, unsigned slot)
{
    const baton_engine *engine = h->engine;
    struct ticket t = {.offer_id = h->id,
                       .slot = slot,
                       .block_bytes = h->pool->block_bytes,
                       .block_count = h->loan.count,
                       .layout = h->pool->layout,
                       .endpoint_count = engine->advertised};

    memcpy(t.incarnation, engine->incarnation, ID_BYTES);
    memcpy(t.secret, h->offer.secret[slot], ID_BYTES);
    memcpy(t.endpoint, engine->advertise, sizeof(t.endpoint));
    return t;
}

static baton_err offer_fill(struct baton_handoff *h, const struct baton_offer_args *args,
                            struct baton_error *ret_error)
{
    struct core_event_offer *e = &h->offer;

    *e = (struct core_event_offer){.slots = args->readers ? args->readers : 1,
                                   .total = h->pool->block_bytes * h->loan.count,
                                   .watermark = args->watermark_bytes,
                                   .reader_ms = args->reader_timeout_ms,
                                   .lease_ms = args->lease_timeout_ms,
                                   .whole_ms = args->whole_timeout_ms};
    atomic_store(&h->watermark, e->watermark);
    atomic_store(&h->aux_closed, e->watermark >= e->total);
    h->plan = (struct plan){
        .block_bytes = h->pool->block_bytes, .block_count = h->loan.count, .source = h->blocks};
    if (!engine_random(h->engine, e->secret, sizeof(e->secret))) {
        return error_set(ret_error, BATON_ESYSTEM, "getrandom failed");
    }
    return BATON_OK;
}

baton_err baton_offer(baton_engine *engine, const struct baton_offer_args *args,
                      baton_handoff **ret_handoff, struct baton_error *ret_error)
{
    baton_err err = check_offer(engine, args, ret_error);
    struct baton_handoff *h;

    if (err) {
        return err;
    }
    h = handoff_create(engine, CORE_OFFER, args->pool, args->blocks, (uint32_t)args->block_count,
                       &args->notices);
    if (!h) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for an offer of %zu blocks",
                         args->block_count);
    }
    err = offer_fill(h, args, ret_error);
    if (!err) {
        err = handoff_enter(h, ret_error);
    }
    if (err) {
        handoff_free(h);
        return err;
    }
    h->offer.index = h->index;
    h->offer.id = h->id;
    *ret_handoff = h; /* before the first notice can come */
    handoff_ask(h, ASK_START);
    return BATON_OK;
}

baton_err baton_offer_ticket(baton_handoff *offer, unsigned slot, void *ret_ticket,
                             size_t *ret_length)
{
    struct ticket ticket;
    size_t length;

    if (engine_check(offer->engine)) {
        return BATON_EFORKED;
    }
    if (offer->side != CORE_OFFER || slot >= offer->offer.slots) {
        return BATON_EINVAL;
    }
    ticket = ticket_of(offer, slot);
    length = ticket_encode(&ticket, ret_ticket);
    BATON_ASSERT(length > 0); /* the endpoints were tried when the engine was made */
    *ret_length = length;
    return BATON_OK;
}

void baton_offer_advance(baton_handoff *offer, uint64_t watermark_bytes)
{
    uint64_t now;

    if (engine_check(offer->engine) || offer->side != CORE_OFFER) {
        return;
    }
    if (watermark_bytes >= offer->offer.total) {
        pthread_mutex_lock(&offer->aux_lock);
        atomic_store(&offer->aux_closed, true);
        pthread_mutex_unlock(&offer->aux_lock);
    }
    /* Up only.  The store releases the caller's writes to the blocks to whoever is told of this
     * watermark. */
    now = atomic_load(&offer->watermark);
    while (watermark_bytes > now) {
        if (atomic_compare_exchange_weak(&offer->watermark, &now, watermark_bytes)) {
            handoff_ask(offer, ASK_ADVANCE);
            return;
        }
    }
}

baton_err baton_offer_aux(baton_handoff *offer, const void *aux, size_t aux_bytes)
{
    unsigned char *copy;
    baton_err err = BATON_OK;

    if (engine_check(offer->engine)) {
        return BATON_EFORKED;
    }
    if (offer->side != CORE_OFFER || aux_bytes > BATON_AUX_BYTES_MAX || (aux_bytes && !aux)) {
        return BATON_EINVAL;
    }
    copy = malloc(aux_bytes ? aux_bytes : 1);
    if (!copy) {
        return BATON_ENOMEM;
    }
    if (aux_bytes) {
        memcpy(copy, aux, aux_bytes);
    }
    pthread_mutex_lock(&offer->aux_lock);
    if (atomic_load(&offer->aux_closed)) {
        err = BATON_EINVAL; /* a reader may have committed without it */
    } else {
        unsigned char *before = offer->aux;

        offer->aux = copy;
        offer->aux_bytes = aux_bytes;
        copy = before;
    }
    pthread_mutex_unlock(&offer->aux_lock);
    free(copy);
    return err;
}

/* ---- fetches ---- */

static baton_err wanted_transports(const baton_engine *engine, const char *name, unsigned *ret_bits,
                                   struct baton_error *ret_error)
{
    unsigned bits = engine->transport_bits;

    for (unsigned i = 0; name && i < engine->transport_count; i++) {
        if (strcmp(name, engine->transports[i].ops->name) == 0) {
            bits = engine->transports[i].ops->bit;
            name = NULL;
        }
    }
    if (name) {
        return error_set(ret_error, BATON_EINVAL,
                         "unknown transport \"%s\": this engine has %s%s%s", name,
                         engine->transports[0].ops->name, engine->transport_count > 1 ? ", " : "",
                         engine->transport_count > 1 ? engine->transports[1].ops->name : "");
    }
    *ret_bits = bits;
    return BATON_OK;
}

static baton_err pool_reached(const baton_pool *pool, unsigned *bits, struct baton_error *ret_error)
{
    *bits &= pool_transports(pool);
    if (!*bits) {
        return error_set(ret_error, BATON_EINVAL,
                         "memory of a GPU is moved by nixl only: allow it in the engine's "
                         "transports, and name no other");
    }
    return BATON_OK;
}

/* One of them: the source can not be asked which it prefers.  tcp, unless shm is asked for, since
 * then no receipt ever waits for the source. */
static baton_err push_transports(const struct ticket *ticket, const baton_pool *pool,
                                 unsigned *bits, struct baton_error *ret_error)
{
    if (*bits & WIRE_TRANSPORT_TCP && endpoint_of(ticket, "tcp:")) {
        *bits = WIRE_TRANSPORT_TCP;
        return BATON_OK;
    }
    if (*bits & WIRE_TRANSPORT_NIXL &&
        (!(*bits & WIRE_TRANSPORT_SHM) || pool->memfd < 0 || !endpoint_of(ticket, "unix:"))) {
        *bits = WIRE_TRANSPORT_NIXL;
        return BATON_OK;
    }
    if (!(*bits & WIRE_TRANSPORT_SHM)) {
        return error_set(ret_error, BATON_EINVAL,
                         "a push over tcp needs a tcp endpoint, and the ticket names none: let the "
                         "source listen on one, allow shm, or pull");
    }
    if (pool->memfd < 0) {
        return error_set(ret_error, BATON_EINVAL,
                         "a push over shm needs a pool that Baton makes: use one, or tcp, or pull");
    }
    if (!endpoint_of(ticket, "unix:")) {
        return error_set(ret_error, BATON_EINVAL,
                         "a push over shm needs a Unix endpoint, and the ticket names none: use "
                         "tcp, or pull");
    }
    *bits = WIRE_TRANSPORT_SHM;
    return BATON_OK;
}

static baton_err layouts_differ(const struct baton_layout *offer, const struct baton_layout *pool,
                                struct baton_error *ret_error)
{
    return error_set(ret_error, BATON_EINVAL,
                     "the offer's layout is %u layers x %u kv parts x %u tokens x %u heads x %u x "
                     "%u bytes, the pool's %u x %u x %u x %u x %u x %u: they must be equal",
                     offer->layers, offer->kv_parts, offer->block_tokens, offer->heads,
                     offer->head_size, offer->dtype_bytes, pool->layers, pool->kv_parts,
                     pool->block_tokens, pool->heads, pool->head_size, pool->dtype_bytes);
}

static baton_err check_fetch(baton_engine *engine, const struct baton_fetch_args *args,
                             struct ticket *ret_ticket, struct baton_error *ret_error)
{
    baton_err err;

    if (engine_check(engine)) {
        return error_set(ret_error, BATON_EFORKED, "the engine belongs to the parent process");
    }
    if (!args || !args->ticket) {
        return error_set(ret_error, args ? BATON_ETICKET : BATON_EINVAL, "the %s is NULL",
                         args ? "ticket" : "args pointer");
    }
    if ((err = check_size("baton_fetch_args", args->size, sizeof(*args), ret_error)) ||
        (err = ticket_decode(args->ticket, args->ticket_length, ret_ticket, ret_error)) ||
        (err = check_blocks(engine, args->pool, args->blocks, args->block_count, ret_error))) {
        return err;
    }
    if (args->mode != BATON_PULL && args->mode != BATON_PUSH) {
        return error_set(ret_error, BATON_EINVAL, "mode is %u: it must be BATON_PULL or BATON_PUSH",
                         (unsigned)args->mode);
    }
    if (args->pool->block_bytes != ret_ticket->block_bytes) {
        return error_set(ret_error, BATON_EINVAL,
                         "the offer's blocks have %llu bytes, the pool's %llu: they must be equal",
                         (unsigned long long)ret_ticket->block_bytes,
                         (unsigned long long)args->pool->block_bytes);
    }
    if (!layout_equal(&args->pool->layout, &ret_ticket->layout)) {
        return layouts_differ(&ret_ticket->layout, &args->pool->layout, ret_error);
    }
    if (args->first_block > ret_ticket->block_count ||
        args->block_count > ret_ticket->block_count - args->first_block) {
        return error_set(ret_error, BATON_EINVAL,
                         "blocks %zu to %zu are wanted, but the offer has %u", args->first_block,
                         args->first_block + args->block_count, ret_ticket->block_count);
    }
    return BATON_OK;
}

/* The plan is that of the offer, so that both sides count its bytes alike; the skipped prefix is
 * never walked. */
static baton_err fetch_plan(struct baton_handoff *h, const struct baton_fetch_args *args,
                            struct baton_error *ret_error)
{
    uint32_t count = h->ticket.block_count, first = (uint32_t)args->first_block;
    uint32_t *sink;

    /* One piece of memory for both lists. */
    h->remote = calloc(2 * (size_t)count, sizeof(uint32_t));
    if (!h->remote) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for a plan of %u blocks", count);
    }
    sink = h->remote + count;
    memcpy(sink + first, args->blocks, args->block_count * sizeof(uint32_t));
    h->plan = (struct plan){.block_bytes = h->pool->block_bytes,
                            .block_count = first + (uint32_t)args->block_count,
                            .source = h->remote,
                            .sink = sink};
    return BATON_OK;
}

static baton_err fetch_fill(struct baton_handoff *h, const struct baton_fetch_args *args,
                            struct baton_error *ret_error)
{
    uint64_t block_bytes = h->pool->block_bytes;

    h->first_block = (uint32_t)args->first_block;
    h->fetch = (struct core_event_fetch){
        .offer_id = h->ticket.offer_id,
        .slot = h->ticket.slot,
        .begin = args->first_block * block_bytes,
        .end = (args->first_block + args->block_count) * block_bytes,
        .total = h->ticket.block_count * block_bytes,
        .push = args->mode == BATON_PUSH,
        .opening_ms = args->opening_timeout_ms,
        .bytes_ms = args->bytes_timeout_ms,
        .progress_ms = args->progress_timeout_ms,
        .commit_ms = args->commit_timeout_ms,
        .whole_ms = args->whole_timeout_ms,
    };
    memcpy(h->fetch.secret, h->ticket.secret, ID_BYTES);
    if (h->fetch.push && !engine_random(h->engine, &h->fetch.nonce, sizeof(h->fetch.nonce))) {
        return error_set(ret_error, BATON_ESYSTEM, "getrandom failed");
    }
    h->fetch.nonce |= 1; /* 0 is of a QUIESCED that nobody asked for */
    return BATON_OK;
}

baton_err baton_fetch(baton_engine *engine, const struct baton_fetch_args *args,
                      baton_handoff **ret_handoff, struct baton_error *ret_error)
{
    struct baton_handoff *h;
    struct ticket ticket;
    unsigned transports = 0;
    baton_err err = check_fetch(engine, args, &ticket, ret_error);

    if (err || (err = wanted_transports(engine, args->transport, &transports, ret_error)) ||
        (err = pool_reached(args->pool, &transports, ret_error)) ||
        (args->mode == BATON_PUSH &&
         (err = push_transports(&ticket, args->pool, &transports, ret_error))) ||
        (err = quarantine_check(engine, args->pool, ticket.incarnation, ret_error))) {
        return err;
    }
    h = handoff_create(engine, CORE_FETCH, args->pool, args->blocks, (uint32_t)args->block_count,
                       &args->notices);
    if (!h) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for a fetch of %zu blocks",
                         args->block_count);
    }
    h->ticket = ticket;
    h->transports_wanted = transports;
    err = fetch_fill(h, args, ret_error);
    if (!err) {
        err = fetch_plan(h, args, ret_error);
    }
    if (!err) {
        err = handoff_enter(h, ret_error);
    }
    if (err) {
        handoff_free(h);
        return err;
    }
    h->fetch.index = h->index;
    h->fetch.id = h->id;
    *ret_handoff = h; /* before the first notice can come */
    handoff_ask(h, ASK_START);
    return BATON_OK;
}
