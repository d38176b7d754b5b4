/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The users of the cluster: they offer, compute, pass tickets on, fetch, cancel at any moment, use
 * receipts, and rewrite blocks as soon as they may.
 */
#include "sim/check.h"

enum { TRIES_MAX = 3 };

static void ask(struct sim *s, struct handoff *h)
{
    struct node *n = &s->world->nodes[h->node];

    if (h->asked || n->asks == ASKS_MAX) {
        return;
    }
    h->asked = true;
    n->ask[n->asks++] = (int16_t)number_of(s, h);
    PUSH(s, below(&s->world->schedule, 60), .type = EV_ASK, .node = h->node);
}

/* ---- blocks ---- */

static void write_piece(struct sim *s, struct life *life, unsigned block, unsigned piece,
                        uint64_t tag)
{
    check_P8_shared_blocks(s, life, block, piece);
    life->block[block].tag[piece] = tag;
}

/* Nobody has it: it is rewritten at once, and free for the next one. */
static void recycle(struct sim *s, struct life *life, uint32_t block)
{
    const struct node *n = &s->world->nodes[life->node];

    check_S2_no_reuse_before_proof(s, life, block);
    life->block[block].base = 0;
    for (unsigned p = 0; p < PIECES; p++) {
        write_piece(s, life, block, p, mix(s->world->content++, 77));
    }
    if (!s->world->options.wrapped) {
        pool_reclaim(n->pool, &block, 1);
    }
}

static bool take_block(struct sim *s, unsigned node, uint32_t *ret_block)
{
    struct node *n = &s->world->nodes[node];
    struct life *life = &s->world->life[n->life];

    if (!s->world->options.wrapped) {
        if (pool_alloc(n->pool, 1, ret_block, NULL)) {
            return false;
        }
        check_S5_generation_grows(s, life, *ret_block, pool_block_generation(n->pool, *ret_block));
    } else {
        uint32_t b = 0;

        while (b < s->world->options.blocks && (life->block[b].users || life->block[b].refs)) {
            b++;
        }
        if (b == s->world->options.blocks) {
            return false;
        }
        *ret_block = b;
    }
    check_S2_no_reuse_before_proof(s, life, *ret_block);
    if (life->block[*ret_block].users > 0) {
        sim_fail(s, "S4_accounting", "block %u was allocated while it is held", *ret_block);
    }
    life->block[*ret_block].users = 1;
    return true;
}

/* The user does not want the block any more. */
static void drop_block(struct sim *s, struct life *life, uint32_t block)
{
    struct node *n = &s->world->nodes[life->node];
    struct block_shadow *b = &life->block[block];
    uint32_t last;
    size_t count = 0;

    BATON_ASSERT(b->users > 0);
    if (--b->users > 0) {
        return;
    }
    if (s->world->options.wrapped) {
        if (b->refs == 0) {
            recycle(s, life, block);
        }
        return;
    }
    if (pool_free(n->pool, &block, 1, &last, &count, NULL) || (count == 1) != (b->refs == 0)) {
        sim_fail(s, "S4_accounting", "block %u with %u loans was freed, and %zu are last", block,
                 b->refs, count);
    }
    if (count == 1) {
        recycle(s, life, block);
    }
}

/* A block in use is freed, or lent again: the book must say no and stay as it is. */
static void try_steal(struct sim *s, struct handoff *h)
{
    struct node *n = &s->world->nodes[h->node];
    struct pool_loan loan = h->loan;
    uint64_t generations[LIST_MAX];
    uint32_t last[LIST_MAX];
    size_t count;

    if (!fault_draw(s, SIM_STOLEN_BLOCK, 100)) {
        return;
    }
    loan.generations = generations;
    loan.exclusive = true;
    if (pool_lend(n->pool, &loan, NULL) == BATON_OK) {
        sim_fail(s, "S4_accounting", "blocks of handoff %llu were lent to a fetch as well",
                 (unsigned long long)h->id);
    }
    if (h->side == CORE_FETCH && pool_free(n->pool, h->blocks, h->count, last, &count, NULL) == 0) {
        sim_fail(s, "S4_accounting", "blocks of fetch %llu were freed", (unsigned long long)h->id);
    }
}

/* ---- handoffs ---- */

/* A record, with its blocks taken; NULL when there is no room for one. */
static struct handoff *handoff_new(struct sim *s, unsigned node, enum core_side side)
{
    struct world *w = s->world;
    struct node *n = &w->nodes[node];
    uint32_t limit = side == CORE_OFFER ? w->options.limits.offers : w->options.limits.fetches;
    uint32_t index = 0;
    struct handoff *h;

    while (index < limit && n->table[side][index] >= 0) {
        index++;
    }
    if (index == limit || n->leaving || w->handoff_count == HANDOFFS_MAX) {
        return NULL;
    }
    h = &w->handoff[w->handoff_count];
    *h = (struct handoff){.side = (uint8_t)side,
                          .node = (uint8_t)node,
                          .life = n->life,
                          .index = index,
                          .nonce = mix(w->handoff_count, s->plan.seed) | 1,
                          .offer = -1,
                          .link = -1};
    return h;
}

static bool take_blocks(struct sim *s, struct handoff *h, uint32_t from, uint32_t count)
{
    h->count = from;
    while (h->count < from + count && take_block(s, h->node, &h->blocks[h->count])) {
        h->count++;
    }
    if (h->count == from + count) {
        return true;
    }
    while (h->count > 0) {
        drop_block(s, life_of(s, h), h->blocks[--h->count]);
    }
    return false;
}

/* The record enters: from here on it has an id, an index and a loan. */
static void enter(struct sim *s, struct handoff *h)
{
    struct world *w = s->world;
    struct life *life = life_of(s, h);

    w->handoff_count++;
    h->id = ++life->serial << CORE_INDEX_BITS | h->index;
    h->loan = (struct pool_loan){.handoff_id = h->id,
                                 .nonce = h->nonce,
                                 .blocks = h->blocks,
                                 .generations = h->generations,
                                 .count = h->count,
                                 .exclusive = h->side == CORE_FETCH};
    if (pool_lend(w->nodes[h->node].pool, &h->loan, NULL)) {
        sim_fail(s, "S4_accounting", "blocks of a new handoff can not be lent");
    }
    for (uint32_t i = 0; i < h->count; i++) {
        struct block_shadow *b = &life->block[h->blocks[i]];

        if (h->side == CORE_FETCH) {
            check_S2_no_reuse_before_proof(s, life, h->blocks[i]);
            check_S5_generation_grows(s, life, h->blocks[i], h->generations[i]);
            b->owner = (int16_t)number_of(s, h);
            b->base = 0;
        }
        b->refs++;
    }
    w->nodes[h->node].table[h->side][h->index] = (int16_t)number_of(s, h);
    h->ask_start = true;
    ask(s, h);
    try_steal(s, h);
}

static void plan_cancel(struct sim *s, struct handoff *h)
{
    struct world *w = s->world;
    bool offer = h->side == CORE_OFFER;
    enum sim_fault kind = offer                   ? SIM_CANCEL_OFFER
                          : chance(&w->work, 300) ? SIM_CANCEL_REQUEST
                                                  : SIM_CANCEL_FETCH;
    uint64_t delay = below(&w->work, w->options.delay_us * 8 + w->options.move_us * 12 + 1);
    bool happens = chance(&w->work, w->options.cancel);

    if (happens) {
        PUSH(s, delay, .type = EV_CANCEL, .node = h->node, .a = (uint16_t)number_of(s, h),
             .b = kind,
             .c = kind == SIM_CANCEL_REQUEST ? BATON_CANCEL_OFFER : BATON_CANCEL_ATTEMPT);
    }
}

/* ---- offers ---- */

/* Blocks whose whole content is known, such as a prefix that many requests share. */
static uint32_t share_prefix(struct sim *s, struct handoff *h, uint32_t most)
{
    struct life *life = life_of(s, h);
    uint32_t count = 0;

    for (uint32_t b = 0; b < s->world->options.blocks && count < most; b++) {
        struct block_shadow *shadow = &life->block[b];

        if (shadow->users > 0 && shadow->users < 8 && shadow->base && shadow->owner < 0 &&
            chance(&s->world->work, 600)) {
            shadow->users++;
            h->base[count] = shadow->base;
            h->blocks[count++] = b;
        }
    }
    return count;
}

static void pass_tickets(struct sim *s, const struct handoff *h)
{
    struct world *w = s->world;

    for (unsigned slot = 0; slot < h->slots; slot++) {
        unsigned readers = chance(&w->work, 150) ? 2 : chance(&w->work, 60) ? 0 : 1;

        readers += w->options.crowded;
        for (unsigned i = 0; i < readers; i++) {
            unsigned node =
                (h->node + 1 + below(&w->work, w->options.nodes - 1)) % w->options.nodes;

            PUSH(s, below(&w->work, w->options.work_us), .type = EV_FETCH, .node = (uint8_t)node,
                 .a = (uint16_t)number_of(s, h), .b = slot);
        }
    }
}

static void offer(struct sim *s, unsigned node)
{
    struct world *w = s->world;
    struct handoff *h = handoff_new(s, node, CORE_OFFER);
    uint32_t count = 1 + below(&w->work, LIST_MAX), shared;

    if (!h) {
        return;
    }
    shared = chance(&w->work, 500) ? share_prefix(s, h, count) : 0;
    if (!take_blocks(s, h, shared, count - shared)) {
        return;
    }
    for (uint32_t i = shared; i < count; i++) {
        h->base[i] = mix(++w->content, mix(node, 1000)) | 1;
    }
    h->total = count * PIECES;
    h->filled = shared * PIECES;
    h->slots = (uint8_t)(1 + below(&w->work, w->options.limits.slots));
    h->stalls = chance(&w->work, w->options.stall_compute);
    h->exported = life_of(s, h)->exported;
    w->result.offers++;
    if (chance(&w->work, 512)) {
        user_compute(s, h); /* some of it is there already */
    }
    h->asked_watermark = h->filled;
    enter(s, h);
    pass_tickets(s, h);
    plan_cancel(s, h);
    PUSH(s, around(&w->work, w->options.move_us * 4), .type = EV_COMPUTE, .node = (uint8_t)node,
         .a = (uint16_t)number_of(s, h));
    PUSH(s, around(&w->work, w->options.work_us * 4), .type = EV_RELEASE, .node = (uint8_t)node,
         .a = (uint16_t)number_of(s, h));
}

/* Some more bytes are computed; the watermark follows.  Of an offer that is over nobody computes
 * any more, since its blocks may have a new owner. */
void user_compute(struct sim *s, struct handoff *h)
{
    struct world *w = s->world;
    struct life *life = life_of(s, h);
    uint32_t to = h->filled + 1 + below(&w->work, h->total);
    bool entered = h->id != 0;

    if (h->released || h->retired || (h->stalls && !w->healing && h->filled > 0)) {
        return;
    }
    to = to < h->total && !w->healing ? to : h->total;
    for (; h->filled < to; h->filled++) {
        unsigned i = h->filled / PIECES, p = h->filled % PIECES;

        write_piece(s, life, h->blocks[i], p, mix(h->base[i], p));
        if (p == PIECES - 1) {
            life->block[h->blocks[i]].base = h->base[i];
        }
    }
    if (!entered) {
        return;
    }
    h->asked_watermark = h->filled;
    h->ask_advance = true;
    ask(s, h);
    if (h->filled < h->total) {
        PUSH(s, around(&w->work, w->options.move_us * 4), .type = EV_COMPUTE, .node = h->node,
             .a = (uint16_t)number_of(s, h));
    }
}

void user_work(struct sim *s)
{
    struct world *w = s->world;
    unsigned node = below(&w->work, w->options.sources);

    if (w->healing || w->offers_left == 0) {
        return;
    }
    w->offers_left--;
    if (chance(&w->work, 150)) {
        node = below(&w->work, w->options.nodes); /* a sink hands on what it has */
    }
    if (w->nodes[node].alive && !w->nodes[node].paused) {
        offer(s, node);
    }
    PUSH(s, around(&w->work, w->options.work_us), .type = EV_WORK);
}

/* ---- fetches ---- */

/* Pushes are drawn from a stream of their own. */
static uint8_t draw_transport(struct sim *s)
{
    uint32_t pulls = s->world->options.transports & ((1U << PULLS) - 1);
    uint32_t pushes = s->world->options.transports >> PULLS;
    uint8_t t;

    if (pushes && (!pulls || chance(&s->world->push, 512))) {
        do {
            t = (uint8_t)below(&s->world->push, TRANSPORTS - PULLS);
        } while (!(pushes & (1U << t)));
        return (uint8_t)(t + PULLS);
    }
    do {
        t = (uint8_t)below(&s->world->work, PULLS);
    } while (!(pulls & (1U << t)));
    return t;
}

void user_fetch(struct sim *s, const struct event *e)
{
    struct world *w = s->world;
    const struct handoff *offer = handoff_at(s, e->a);
    struct handoff *h = w->healing ? NULL : handoff_new(s, e->node, CORE_FETCH);
    uint32_t first;

    if (!h) {
        return;
    }
    first = chance(&w->work, 200) ? below(&w->work, offer->count) : 0;
    if (!take_blocks(s, h, 0, 1 + below(&w->work, offer->count - first))) {
        return;
    }
    h->offer = (int16_t)e->a;
    h->want_slot = (uint8_t)e->b;
    h->tries = (uint8_t)e->c;
    h->first_block = first;
    h->begin = first * PIECES;
    h->end = (first + h->count) * PIECES;
    h->total = offer->total;
    h->transport = draw_transport(s);
    h->wrong_secret = fault_draw(s, SIM_WRONG_SECRET, 20);
    if (offer->life != w->nodes[offer->node].life) {
        fault_draw(s, SIM_STALE_TICKET, 1024);
    }
    w->result.fetches++;
    enter(s, h);
    plan_cancel(s, h);
}

/* ---- cancels ---- */

void user_cancel(struct sim *s, struct handoff *h, baton_cancel_scope scope)
{
    enum sim_fault kind = h->side == CORE_OFFER         ? SIM_CANCEL_OFFER
                          : scope == BATON_CANCEL_OFFER ? SIM_CANCEL_REQUEST
                                                        : SIM_CANCEL_FETCH;

    if (s->world->closing || s->world->nodes[h->node].leaving) {
        if (h->outcomes > 0) {
            return;
        }
    } else {
        if (h->outcomes > 0 || h->cancelled) {
            kind = SIM_CANCEL_LATE;
        }
        if (!fault_happens(s, kind)) {
            return;
        }
        fault_struck(s, h->node);
    }
    chart_note(s, h->node, h->node, 0, "is asked to cancel", h->id, scope);
    if (!h->cancelled) {
        h->scope = (uint8_t)scope;
    }
    h->cancelled = true;
    if (h->side == CORE_FETCH) {
        h->stop = true; /* movers look at it before the driver has heard of it */
    }
    h->ask_cancel = true;
    ask(s, h);
}

/* ---- receipts ---- */

/* The receipt has come. */
void user_told(struct sim *s, struct handoff *h)
{
    struct world *w = s->world;
    uint32_t mean = w->healing || chance(&w->work, 500) ? 4 : w->options.work_us;
    bool again;

    PUSH(s, below(&w->work, mean), .type = EV_RETIRE, .node = h->node,
         .a = (uint16_t)number_of(s, h));
    again = h->side == CORE_FETCH && h->outcome != BATON_COMPLETED && h->tries < TRIES_MAX &&
            chance(&w->work, w->options.retry);
    if (again && !w->healing) {
        PUSH(s, below(&w->work, w->options.work_us), .type = EV_FETCH, .node = h->node,
             .a = (uint16_t)h->offer, .b = h->want_slot, .c = h->tries + 1U);
    }
}

static void wrong_receipts(struct sim *s, struct handoff *h)
{
    struct pool *pool = s->world->nodes[h->node].pool;
    uint32_t last[LIST_MAX];
    size_t count = 0;

    if (fault_draw(s, SIM_RECEIPT_FORGED, 60)) {
        check_S12_timeout_never_frees(
            s, h, true, pool_retire(pool, &h->loan, h->id, h->nonce ^ 1, last, &count, NULL));
        check_S12_timeout_never_frees(s, h, true,
                                      pool_retire(pool, &h->loan, h->id + (1U << CORE_INDEX_BITS),
                                                  h->nonce, last, &count, NULL));
    }
}

void user_retire(struct sim *s, struct handoff *h)
{
    struct life *life = life_of(s, h);
    struct pool *pool = s->world->nodes[h->node].pool;
    uint32_t last[LIST_MAX];
    size_t count = 0, want = 0;

    if (h->retired) {
        return;
    }
    wrong_receipts(s, h);
    check_S12_timeout_never_frees(s, h, false,
                                  pool_retire(pool, &h->loan, h->id, h->nonce, last, &count, NULL));
    h->retired = true;
    for (uint32_t i = 0; i < h->count; i++) {
        struct block_shadow *b = &life->block[h->blocks[i]];

        b->owner = -1;
        b->refs--;
        want += b->refs == 0 && (b->users == 0 || s->world->options.wrapped);
    }
    if (want != count) {
        sim_fail(s, "S4_accounting", "the receipt of handoff %llu frees %zu blocks, not %zu",
                 (unsigned long long)h->id, count, want);
    }
    for (size_t i = 0; i < count; i++) {
        if (life->block[last[i]].users == 0) {
            recycle(s, life, last[i]);
        }
    }
    if (fault_draw(s, SIM_RECEIPT_TWICE, 60)) {
        check_S12_timeout_never_frees(
            s, h, true, pool_retire(pool, &h->loan, h->id, h->nonce, last, &count, NULL));
    }
    if (h->side == CORE_FETCH) {
        PUSH(s, s->world->healing ? 0 : below(&s->world->work, s->world->options.work_us * 3),
             .type = EV_RELEASE, .node = h->node, .a = (uint16_t)number_of(s, h));
    }
}

void user_release(struct sim *s, struct handoff *h)
{
    if (h->released || (h->side == CORE_FETCH && !h->retired)) {
        return;
    }
    if (h->side == CORE_OFFER && h->filled < h->total && h->outcomes == 0) {
        PUSH(s, s->world->options.work_us, .type = EV_RELEASE, .node = h->node,
             .a = (uint16_t)number_of(s, h));
        return; /* it is still being computed */
    }
    h->released = true;
    for (uint32_t i = 0; i < h->count; i++) {
        drop_block(s, life_of(s, h), h->blocks[i]);
    }
}
