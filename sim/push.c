/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pushes: the source's side of two models of transport, and what a sink's driver does until the
 * source is drained.
 *
 *  stream   the source's own code sends, a window after the other, on the bulk connection of the
 *           link.  Stopping is immediate.  What the sink does with it is in bulk.c.
 *  library  the source posts pieces, one by one; a card loads each and stores it in the sink's
 *           memory, each in its own time: whether the processes are stopped, the link is closed or
 *           the source is dead.  The source knows of it some time later.  Only a fence at the sink
 *           ends it, or, where the card is code of the source's process, that process's death.
 *
 * Pushes of an attempt are given back in their order.
 */
#include "sim/bulk.h"

/* Of an event of a card: c is the piece, the serve's number, and these. */
enum { PIECE_DROPPED = 1 << 16, PIECE_LATE = 1 << 17, PIECE_FAILED = 1 << 18 };

enum {
    LATE_US = 1000000,
    AGAIN_US = 500, /* doubled each time */
    AGAIN_US_MAX = 64000,
};

static struct handoff *fetch_of(struct sim *s, const struct serve *v)
{
    return handoff_at(s, v->fetch);
}

static unsigned source_life(struct sim *s, const struct handoff *fetch)
{
    return handoff_at(s, fetch->offer)->life;
}

static bool is_fenced(struct sim *s, const struct handoff *fetch)
{
    return life_of(s, fetch)->fenced[source_life(s, fetch)] >= fetch->lane;
}

/* ---- in order ---- */

/* Of the pushes of an attempt that are not given back, the first. */
static struct serve *oldest(struct node *n, int16_t handoff, uint64_t attempt)
{
    struct serve *first = NULL;

    for (unsigned i = 0; i < SERVES_MAX; i++) {
        struct serve *v = &n->serves[i];

        if (v->used && !v->done && v->push && v->handoff == handoff && v->attempt == attempt &&
            (!first || v->serial < first->serial)) {
            first = v;
        }
    }
    return first;
}

static void give_back(struct sim *s, unsigned node, struct serve *v)
{
    struct node *n = &s->world->nodes[node];

    v->done = true;
    n->links[v->link].out--;
    n->done_serve[n->done_serves++] = (uint8_t)(v - n->serves);
    sim_link_released(s, node, v->link);
}

static void begin(struct sim *s, unsigned node, const struct serve *v)
{
    PUSH(s, bulk_move_time(s), .type = EV_SERVE, .node = (uint8_t)node,
         .a = (uint16_t)(v - s->world->nodes[node].serves), .b = v->serial);
}

/* Nothing of it is under way any more. */
static void over(struct sim *s, unsigned node, struct serve *v, enum core_copied status)
{
    struct node *n = &s->world->nodes[node];
    int16_t handoff = v->handoff;
    uint64_t attempt = v->attempt;
    struct serve *first = oldest(n, handoff, attempt);
    bool moved = false;

    v->over = true;
    v->status = (uint8_t)status;
    while (first && first->over) {
        give_back(s, node, first);
        first = oldest(n, handoff, attempt);
        moved = true;
    }
    if (first && moved && !first->card) {
        begin(s, node, first);
    }
}

/* ---- stream ---- */

static void send_end(struct sim *s, unsigned node, const struct serve *v, enum core_copied status)
{
    const struct sim_link *l = &s->world->nodes[node].links[v->link];

    if (l->conn >= 0) {
        bulk_send(s, &s->world->conn[l->conn],
                  (struct event){.type = EV_PUSH_END,
                                 .node = fetch_of(s, v)->node,
                                 .a = (uint16_t)v->fetch,
                                 .b = v->offset,
                                 .c = status});
    }
}

static void step_stream(struct sim *s, const struct event *e, struct serve *v)
{
    const struct node *n = &s->world->nodes[e->node];
    const struct handoff *h = handoff_at(s, v->handoff);
    uint32_t at = v->offset + v->next;

    check_P6_read_stays_inside(s, h, v->slot, v->attempt, at);
    check_S3_proof_soundness(s, h);
    BATON_ASSERT(n->links[v->link].conn >= 0);
    if (fault_draw(s, SIM_WRITE_FAIL, 6)) {
        send_end(s, e->node, v, CORE_COPIED_ABORTED);
        over(s, e->node, v, CORE_COPIED_FAILED);
        return;
    }
    bulk_send(s, &s->world->conn[n->links[v->link].conn],
              (struct event){.type = EV_PUSH_PIECE,
                             .node = fetch_of(s, v)->node,
                             .a = (uint16_t)v->fetch,
                             .b = v->offset,
                             .c = at,
                             .d = life_of(s, h)->block[h->blocks[at / PIECES]].tag[at % PIECES]});
    if (++v->next < v->length) {
        push(s, bulk_move_time(s), *e);
        return;
    }
    send_end(s, e->node, v, CORE_COPIED_OK);
    over(s, e->node, v, CORE_COPIED_OK);
}

/* ---- library ---- */

/* All is posted that will be, and all that was posted has ended? */
static void settle_card(struct sim *s, unsigned node, struct serve *v)
{
    if (v->over || v->under_way > 0 || (v->next < v->length && !v->stopping && !v->failed)) {
        return;
    }
    over(s, node, v,
         v->stopping ? CORE_COPIED_ABORTED
         : v->failed ? CORE_COPIED_FAILED
                     : CORE_COPIED_OK);
}

static void step_card(struct sim *s, const struct event *e, struct serve *v)
{
    struct handoff *fetch = fetch_of(s, v);
    uint32_t at = v->offset + v->next;

    if (v->over || v->stopping) {
        return;
    }
    check_P6_read_stays_inside(s, handoff_at(s, v->handoff), v->slot, v->attempt, at);
    if (is_fenced(s, fetch) || fault_draw(s, SIM_WRITE_FAIL, 6)) {
        v->failed = true;
        settle_card(s, e->node, v);
        return;
    }
    check_S8_no_push_after_end(s, fetch);
    v->next++;
    v->under_way++;
    fetch->coming++;
    bulk_under_way(s, fetch, at, 1);
    PUSH(s, around(&s->world->network, s->world->options.move_us * 2), .type = EV_CARD_READ,
         .node = e->node, .a = (uint16_t)v->fetch, .b = v->serial, .c = at | (uint32_t)e->a << 8);
    if (v->next < v->length) {
        push(s, bulk_move_time(s), *e);
    }
}

static void card_reads(struct sim *s, const struct event *e)
{
    struct handoff *fetch = handoff_at(s, e->a);
    uint64_t delay = around(&s->world->network, s->world->options.delay_us);

    if (fault_draw(s, SIM_LATE_PIECE, 30)) {
        delay *= 40;
    }
    PUSH(s, delay, .type = EV_CARD_LAND, .node = fetch->node, .a = e->a, .b = e->b, .c = e->c,
         .d = e->c & PIECE_DROPPED ? 0 : bulk_load(s, fetch, e->c & 0xff, false));
}

/* It is not on its way any more. */
static void came(struct sim *s, struct handoff *fetch, uint32_t at)
{
    BATON_ASSERT(fetch->coming > 0);
    fetch->coming--;
    bulk_under_way(s, fetch, at, -1);
}

static void card_stores(struct sim *s, struct event e)
{
    struct world *w = s->world;
    struct handoff *fetch = handoff_at(s, e.a), *offer = handoff_at(s, fetch->offer);
    const struct node *source = &w->nodes[offer->node];

    if (w->options.exits && lives(s, offer) && source->paused) {
        push(s, source->resume_at - w->now, e); /* who would write it is stopped */
        return;
    }
    if (!lives(s, offer) && !(e.c & (PIECE_LATE | PIECE_DROPPED)) &&
        fault_draw(s, SIM_LATE_PIECE, 400)) {
        e.c |= PIECE_LATE;
        push(s, below(&w->push, LATE_US), e);
        return;
    }
    if (!(e.c & PIECE_DROPPED)) {
        came(s, fetch, e.c & 0xff);
    }
    if (!(e.c & PIECE_DROPPED) && lives(s, fetch)) {
        check_S16_granted(s, fetch, e.c & 0xff, 1);
        bulk_land(s, fetch, e.c & 0xff, e.d);
        fetch->set |= 1U << (e.c & 0xff);
    } else {
        e.c |= PIECE_FAILED;
    }
    PUSH(s, around(&w->network, w->options.delay_us), .type = EV_CARD_DONE, .node = offer->node,
         .a = e.a, .b = e.b, .c = e.c);
}

void sim_push_card(struct sim *s, const struct event *e)
{
    if (e->type == EV_CARD_READ) {
        card_reads(s, e);
    } else {
        card_stores(s, *e);
    }
}

void sim_push_done(struct sim *s, const struct event *e)
{
    struct serve *v = &s->world->nodes[e->node].serves[e->c >> 8 & 0xff];

    if (v->used && v->serial == e->b) {
        BATON_ASSERT(v->card && !v->over && v->under_way > 0);
        v->under_way--;
        v->failed = v->failed || (e->c & PIECE_FAILED);
        settle_card(s, e->node, v);
    }
}

/* ---- both ---- */

void sim_push_start(struct sim *s, unsigned node, const struct core_action *a)
{
    struct node *n = &s->world->nodes[node];
    struct handoff *h = handoff_at(s, n->table[CORE_OFFER][a->index]);
    struct serve *v = &n->serves[bulk_serve_unused(n)];
    int16_t fetch = h->slot[a->slot].holder;
    uint32_t end = (uint32_t)(a->serve.offset + a->serve.length);

    BATON_ASSERT(h->id == a->serve.id);
    check_P7_watermark(s, h, end);
    check_P6_read_stays_inside(s, h, a->slot, a->serve.attempt, end - 1);
    check_S14_pushed_once(s, handoff_at(s, fetch), a);
    handoff_at(s, fetch)->served = end;
    *v = (struct serve){.used = true,
                        .push = true,
                        .card = handoff_at(s, fetch)->transport == BY_PUSH_LIBRARY,
                        .link = (uint8_t)a->link,
                        .slot = (uint8_t)a->slot,
                        .handoff = (int16_t)number_of(s, h),
                        .fetch = fetch,
                        .serial = ++s->world->serial,
                        .offset = (uint32_t)a->serve.offset,
                        .length = (uint32_t)a->serve.length,
                        .attempt = a->serve.attempt};
    n->links[a->link].out++;
    h->serves++;
    if (fault_draw(s, SIM_NO_SERVE, 10)) {
        over(s, node, v, CORE_COPIED_FAILED);
    } else if (v->card || oldest(n, v->handoff, v->attempt) == v) {
        begin(s, node, v);
    }
}

void sim_push_step(struct sim *s, const struct event *e)
{
    struct serve *v = &s->world->nodes[e->node].serves[e->a];

    if (v->card) {
        step_card(s, e, v);
    } else {
        step_stream(s, e, v);
    }
}

static void stop(struct sim *s, unsigned node, struct serve *v)
{
    v->stopping = true;
    if (v->card) {
        settle_card(s, node, v);
        return;
    }
    if (v->next > 0) {
        send_end(s, node, v, CORE_COPIED_ABORTED);
    }
    v->over = true;
    v->status = CORE_COPIED_ABORTED;
}

/* All of them first, so that none is begun when the one before it is given back. */
static void stop_all(struct sim *s, unsigned node, uint64_t offer_id, uint64_t attempt, int link)
{
    struct node *n = &s->world->nodes[node];

    for (unsigned i = 0; i < SERVES_MAX; i++) {
        struct serve *v = &n->serves[i];

        if (v->used && v->push && !v->over &&
            (link >= 0 ? v->link == link
                       : handoff_at(s, v->handoff)->id == offer_id && v->attempt == attempt)) {
            stop(s, node, v);
        }
    }
    for (unsigned i = 0; i < SERVES_MAX; i++) {
        struct serve *v = &n->serves[i];

        if (v->used && v->push && v->over && !v->done) {
            over(s, node, v, (enum core_copied)v->status);
        }
    }
}

void sim_push_stop(struct sim *s, unsigned node, uint64_t offer_id, uint64_t attempt)
{
    stop_all(s, node, offer_id, attempt, -1);
}

void sim_push_link_closed(struct sim *s, unsigned node, unsigned link)
{
    stop_all(s, node, 0, 0, (int)link);
}

/* ---- what ends what is on its way ---- */

static void drop(struct sim *s, struct handoff *fetch)
{
    for (uint32_t i = 0; i < s->world->events && fetch->coming > 0; i++) {
        struct event *e = &s->world->heap[i];

        if ((e->type == EV_CARD_READ || e->type == EV_CARD_LAND) && e->a == number_of(s, fetch) &&
            !(e->c & PIECE_DROPPED)) {
            e->c |= PIECE_DROPPED;
            came(s, fetch, e->c & 0xff);
        }
    }
    BATON_ASSERT(fetch->coming == 0);
}

void sim_push_died(struct sim *s, unsigned life)
{
    for (unsigned i = 0; i < s->world->handoff_count && s->world->options.exits; i++) {
        struct handoff *h = handoff_at(s, (int)i);

        if (h->side == CORE_FETCH && source_life(s, h) == life) {
            drop(s, h);
        }
    }
}

/* The sink closes the way in of the fetch's lane, and of those before it, for ever. */
static void fence(struct sim *s, struct handoff *fetch)
{
    unsigned source = source_life(s, fetch);

    chart_note(s, fetch->node, fetch->node, 0, "fences", fetch->id, source);
    if (!is_fenced(s, fetch)) {
        life_of(s, fetch)->fenced[source] = fetch->lane;
    }
    for (unsigned i = 0; i < s->world->handoff_count; i++) {
        struct handoff *h = handoff_at(s, (int)i);

        if (h->side == CORE_FETCH && h->life == fetch->life && source_life(s, h) == source &&
            is_fenced(s, h)) {
            drop(s, h);
        }
    }
}

/* ---- until the source is drained ---- */

void sim_push_wait(struct sim *s, struct handoff *fetch)
{
    fetch->again_us = AGAIN_US;
    PUSH(s, around(&s->world->push, AGAIN_US), .type = EV_AGAIN, .node = fetch->node,
         .a = (uint16_t)number_of(s, fetch));
}

static void prove(struct sim *s, const struct handoff *fetch, int proof)
{
    struct core_event event = {.type = CORE_EVENT_PROOF};

    event.proof.id = fetch->id;
    event.proof.proof = (baton_proof)proof;
    node_apply(s, fetch->node, &event);
}

void sim_push_again(struct sim *s, const struct event *e)
{
    struct world *w = s->world;
    struct handoff *h = handoff_at(s, e->a);
    bool patient = h->again_us < AGAIN_US_MAX;
    uint32_t link;

    if (!lives(s, h) || h->quiets > 0) {
        return;
    }
    link = core_fetches(w->nodes[e->node].core)[h->index].link;
    if ((w->options.exits || s->plan.break_proof) && !w->life[source_life(s, h)].alive) {
        prove(s, h, BATON_PROOF_PEER_EXITED);
    } else if (w->options.fences &&
               (link == ILIST_NONE ? w->healing || chance(&w->push, 512) : !patient)) {
        if (link != ILIST_NONE) {
            sim_link_lose(s, e->node, link, BATON_CAUSE_LINK_CLOSED);
        }
        fence(s, h);
        h->fenced = true;
        prove(s, h, BATON_PROOF_LINK_FENCED);
    } else if (link == ILIST_NONE) {
        sim_link_to(s, e->node, source_life(s, h));
    }
    h->again_us *= patient ? 2 : 1;
    push(s, around(&w->push, h->again_us), *e);
}
