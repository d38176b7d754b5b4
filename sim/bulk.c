/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes: windows and serves by five models of transport.  Each piece is loaded at one time and
 * stored at another, and carries what was in the source's memory when it was loaded.
 *
 *  stream   the source's own code loads a piece and sends it; the sink's own code stores it on
 *           arrival.  Stopping is immediate at both ends; what is under way is dropped.
 *  mapping  a mover of the sink loads a piece, and stores it in its next turn; a window that a
 *           mover has begun ends after at most one more piece.  The memory outlives its process.
 *  library  a network card loads and stores, whatever the processes do; the window comes back when
 *           the last of its pieces is known to have ended.  It reads what lies at the address now.
 *  pushes    see push.c; of a push by stream the sink's side is here.
 */
#include "sim/bulk.h"

#include <string.h>

static struct window *window_at(struct sim *s, unsigned node, unsigned number, uint32_t serial)
{
    struct window *w = &s->world->nodes[node].windows[number];

    return w->state == WINDOW_POSTED && w->serial == serial ? w : NULL;
}

uint64_t bulk_move_time(struct sim *s)
{
    return around(&s->world->schedule, s->world->options.move_us);
}

/* ---- pieces ---- */

uint64_t bulk_load(struct sim *s, struct handoff *h, uint32_t at, bool by_address)
{
    const struct handoff *offer = handoff_at(s, h->offer);
    uint32_t block = h->remote[at / PIECES];
    unsigned life = offer->life;

    if (h->lease == LEASE_VALID) {
        check_P7_watermark(s, offer, at + 1);
    } else {
        h->torn = true;
    }
    if (by_address && s->world->nodes[offer->node].alive) {
        life = s->world->nodes[offer->node].life;
    }
    if (life == offer->life && s->world->life[life].alive) {
        check_S3_proof_soundness(s, offer);
    }
    return s->world->life[life].block[block].tag[at % PIECES];
}

void bulk_under_way(struct sim *s, struct handoff *h, uint32_t at, int by)
{
    uint8_t *inflight = &life_of(s, h)->block[h->blocks[(at - h->begin) / PIECES]].inflight;

    *inflight = (uint8_t)(*inflight + by);
}

void bulk_land(struct sim *s, struct handoff *h, uint32_t at, uint64_t tag)
{
    struct life *life = life_of(s, h);
    uint32_t i = (at - h->begin) / PIECES;

    check_S16_bounds(s, h, at, 1);
    check_S1_no_late_write(s, life, h->blocks[i], h, i);
    life->block[h->blocks[i]].tag[at % PIECES] = tag;
    s->world->result.pieces++;
}

/* ---- the end of a window ---- */

static void give_back(struct sim *s, unsigned node, struct window *w, enum core_copied status)
{
    struct node *n = &s->world->nodes[node];
    struct handoff *h = handoff_at(s, w->handoff);

    BATON_ASSERT(w->state == WINDOW_POSTED);
    w->state = WINDOW_DONE;
    w->status = (uint8_t)status;
    if (w->link < LINKS_MAX) {
        n->links[w->link].out--;
        sim_link_released(s, node, w->link);
    }
    n->done_window[n->done_windows++] = (uint8_t)(w - n->windows);
    if (s->plan.break_landing && status == CORE_COPIED_ABORTED && w->landed < w->length) {
        /* A mover that does not know yet: its store comes after the window was given back. */
        PUSH(s, 500, .type = EV_NIC_LAND, .node = (uint8_t)node, .a = (uint16_t)(w - n->windows),
             .b = UINT32_MAX, .c = h->begin, .d = (uint64_t)number_of(s, h));
    }
}

/* ---- start and stop ---- */

static void post_stream(struct sim *s, unsigned node, struct window *w, const struct sim_link *l)
{
    struct conn *c = &s->world->conn[l->conn];
    uint64_t delay = around(&s->world->network, s->world->options.delay_us);

    PUSH(s, delay, .type = EV_BULK_ASK, .node = c->node[SOURCE], .a = (uint16_t)l->conn,
         .b = c->serial, .c = node,
         .d = ((uint64_t)w->serial << 32) | ((uint64_t)w->handoff << 24) | (w->offset << 16) |
              (w->length << 8) | (uint64_t)(w - s->world->nodes[node].windows));
}

static void post(struct sim *s, unsigned node, struct window *w, const struct handoff *h)
{
    unsigned number = (unsigned)(w - s->world->nodes[node].windows);

    if (h->transport == BY_PUSH_STREAM) {
        return; /* the source is told by a GRANT */
    }
    if (h->transport == BY_STREAM) {
        post_stream(s, node, w, &s->world->nodes[node].links[w->link]);
        return;
    }
    if (h->transport == BY_MAPPING) {
        PUSH(s, bulk_move_time(s), .type = EV_MOVE, .node = (uint8_t)node, .a = (uint16_t)number,
             .b = w->serial);
        return;
    }
    w->under_way = w->length;
    for (uint32_t i = 0; i < w->length; i++) {
        PUSH(s, around(&s->world->network, s->world->options.move_us * 2), .type = EV_NIC_READ,
             .node = (uint8_t)node, .a = (uint16_t)number, .b = w->serial, .c = w->offset + i);
    }
}

void sim_window_start(struct sim *s, unsigned node, const struct core_action *a)
{
    struct node *n = &s->world->nodes[node];
    struct handoff *h = handoff_at(s, n->table[CORE_FETCH][a->index]);
    unsigned number = 0;
    struct window *w;
    bool up;

    while (number < WINDOWS_MAX && n->windows[number].state != WINDOW_FREE) {
        number++;
    }
    BATON_ASSERT(number < WINDOWS_MAX && h->id == a->copy.id && h->accepted);
    BATON_ASSERT(h->transport != BY_PUSH_LIBRARY);
    check_S8_no_post_after_end(s, h);
    check_S16_bounds(s, h, a->copy.offset, a->copy.length);
    if (h->lease == LEASE_VALID) {
        check_P7_watermark(s, handoff_at(s, h->offer), a->copy.offset + a->copy.length);
    }
    w = &n->windows[number];
    *w = (struct window){.state = WINDOW_POSTED,
                         .transport = h->transport,
                         .link = LINKS_MAX,
                         .handoff = (int16_t)number_of(s, h),
                         .serial = ++s->world->serial,
                         .offset = (uint32_t)a->copy.offset,
                         .length = (uint32_t)a->copy.length};
    h->windows++;
    h->posted++;
    up = n->links[h->link].up;
    if (!up || fault_draw(s, SIM_NO_LINK, 10)) {
        give_back(s, node, w, up ? CORE_COPIED_FAILED : CORE_COPIED_ABORTED);
        return;
    }
    w->link = (uint8_t)h->link;
    n->links[h->link].out++;
    post(s, node, w, h);
}

static void stop(struct sim *s, unsigned node, struct window *w)
{
    w->stopping = true;
    if (is_stream(w->transport) || (w->transport == BY_MAPPING && !w->begun)) {
        give_back(s, node, w, CORE_COPIED_ABORTED);
    }
}

void sim_window_stop(struct sim *s, unsigned node, int handoff)
{
    struct node *n = &s->world->nodes[node];

    handoff_at(s, handoff)->stop = true;
    for (unsigned i = 0; i < WINDOWS_MAX; i++) {
        if (n->windows[i].state == WINDOW_POSTED && n->windows[i].handoff == handoff) {
            stop(s, node, &n->windows[i]);
        }
    }
}

static void serve_end(struct sim *s, unsigned node, struct serve *v, enum core_copied status);

void sim_windows_link_closed(struct sim *s, unsigned node, unsigned link)
{
    struct node *n = &s->world->nodes[node];

    for (unsigned i = 0; i < WINDOWS_MAX; i++) {
        if (n->windows[i].state == WINDOW_POSTED && n->windows[i].link == link) {
            stop(s, node, &n->windows[i]);
        }
    }
    for (unsigned i = 0; i < SERVES_MAX; i++) {
        if (n->serves[i].used && !n->serves[i].done && !n->serves[i].push &&
            n->serves[i].link == link) {
            serve_end(s, node, &n->serves[i], CORE_COPIED_ABORTED);
        }
    }
    sim_push_link_closed(s, node, link);
}

/* ---- mapping ---- */

static void mover_ends(struct sim *s, unsigned node, struct window *w)
{
    const struct handoff *h = handoff_at(s, w->handoff);
    bool dead = !s->world->options.ping && !life_of(s, handoff_at(s, h->offer))->alive;

    if (w->landed == w->length) {
        give_back(s, node, w, dead ? CORE_COPIED_PEER_DEAD : CORE_COPIED_OK);
    } else if (w->failed) {
        give_back(s, node, w, CORE_COPIED_FAILED);
    } else {
        give_back(s, node, w, CORE_COPIED_ABORTED);
    }
}

void sim_window_move(struct sim *s, const struct event *e)
{
    struct window *w = window_at(s, e->node, e->a, e->b);
    struct handoff *h;

    if (!w) {
        return;
    }
    h = handoff_at(s, w->handoff);
    w->begun = true;
    if (w->holding) {
        w->holding = false;
        bulk_under_way(s, h, w->offset + w->next, -1);
        bulk_land(s, h, w->offset + w->next, w->tag);
        w->next++;
        w->landed++;
    }
    if (w->landed < w->length && !w->stopping && !h->stop && fault_draw(s, SIM_READ_FAIL, 6)) {
        w->failed = true;
    }
    if (w->landed == w->length || w->stopping || h->stop || w->failed) {
        mover_ends(s, e->node, w);
        return;
    }
    check_P4_stopped_at_once(s, h);
    w->tag = bulk_load(s, h, w->offset + w->next, false);
    w->holding = true;
    bulk_under_way(s, h, w->offset + w->next, 1);
    push(s, bulk_move_time(s), *e);
}

/* ---- library ---- */

static void nic_ends(struct sim *s, unsigned node, struct window *w)
{
    const struct handoff *h = handoff_at(s, w->handoff);

    if (--w->under_way > 0) {
        return;
    }
    if (w->landed == w->length) {
        give_back(s, node, w, CORE_COPIED_OK);
    } else {
        give_back(s, node, w,
                  w->failed && !w->stopping && !h->stop ? CORE_COPIED_FAILED : CORE_COPIED_ABORTED);
    }
}

void sim_window_nic(struct sim *s, const struct event *e)
{
    struct window *w = window_at(s, e->node, e->a, e->b);
    struct handoff *h;

    if (e->b == UINT32_MAX) { /* a test's broken mover */
        if (lives(s, handoff_at(s, (int)e->d))) {
            bulk_land(s, handoff_at(s, (int)e->d), e->c, e->d);
        }
        return;
    }
    if (!w) {
        return; /* the process has died, and its memory with it */
    }
    h = handoff_at(s, w->handoff);
    if (e->type == EV_NIC_READ) {
        bool cancelled = (w->stopping || h->stop) && chance(&s->world->network, 512);

        if (cancelled || !s->world->nodes[handoff_at(s, h->offer)->node].alive ||
            fault_draw(s, SIM_READ_FAIL, 4)) {
            w->failed = true;
            nic_ends(s, e->node, w);
            return;
        }
        bulk_under_way(s, h, e->c, 1);
        PUSH(s, around(&s->world->network, s->world->options.delay_us), .type = EV_NIC_LAND,
             .node = e->node, .a = e->a, .b = e->b, .c = e->c, .d = bulk_load(s, h, e->c, true));
        return;
    }
    bulk_under_way(s, h, e->c, -1);
    bulk_land(s, h, e->c, e->d);
    w->landed++;
    nic_ends(s, e->node, w);
}

/* ---- streams, at the sink ---- */

/* What is pushed says of which fetch it is, and where its window begins. */
static struct window *bulk_window(struct sim *s, const struct event *e)
{
    struct node *n = &s->world->nodes[e->node];

    if (e->type != EV_PUSH_PIECE && e->type != EV_PUSH_END) {
        return window_at(s, e->node, e->a, e->b);
    }
    for (unsigned i = 0; i < WINDOWS_MAX && lives(s, handoff_at(s, e->a)); i++) {
        struct window *w = &n->windows[i];

        if (w->state == WINDOW_POSTED && w->handoff == (int16_t)e->a && w->offset == e->b) {
            return w;
        }
    }
    return NULL;
}

void sim_window_bulk(struct sim *s, const struct event *e)
{
    struct window *w = bulk_window(s, e);
    const struct core_event heard = {.type = CORE_EVENT_HEARD, .link = w ? w->link : 0};
    struct handoff *h;

    if (!w) {
        return; /* read and dropped */
    }
    h = handoff_at(s, w->handoff);
    node_apply(s, e->node, &heard);
    w = bulk_window(s, e);
    if (!w) {
        return; /* a clock ran out first */
    }
    if (h->stop) {
        give_back(s, e->node, w, CORE_COPIED_ABORTED);
    } else if (e->type == EV_BULK_PIECE || e->type == EV_PUSH_PIECE) {
        check_P4_stopped_at_once(s, h);
        bulk_land(s, h, e->c, e->d);
        w->landed++;
    } else {
        give_back(s, e->node, w,
                  e->c == CORE_COPIED_OK && w->landed == w->length ? CORE_COPIED_OK
                                                                   : CORE_COPIED_ABORTED);
    }
}

/* ---- stream, at the source ---- */

void bulk_send(struct sim *s, struct conn *c, struct event event)
{
    uint64_t at = s->world->now + around(&s->world->network, s->world->options.delay_us);
    uint64_t cut = s->world->cut_until[c->node[SOURCE]][c->node[SINK]];

    at = at > c->stall_until ? at : c->stall_until;
    at = at > cut ? at : cut;
    at = at > c->bulk_due[SINK] ? at : c->bulk_due[SINK];
    c->bulk_due[SINK] = at;
    push(s, at - s->world->now, event);
}

static void answer(struct sim *s, struct conn *c, unsigned window, uint32_t serial,
                   enum core_copied status)
{
    bulk_send(s, c,
              (struct event){.type = EV_BULK_END,
                             .node = c->node[SINK],
                             .a = (uint16_t)window,
                             .b = serial,
                             .c = status});
}

/* What a sink that lies would ask for: all of it, and nobody waits for the answer. */
static void greedy(struct sim *s, const struct event *e, struct core_event event)
{
    struct world *w = s->world;
    const struct handoff *h = handoff_at(s, (int)(e->d >> 24 & 0xff));

    event.read.offset = 0;
    event.read.length = h->total;
    w->serve_new = -1;
    node_apply(s, e->node, &event);
    if (w->serve_new >= 0) {
        check_P7_watermark(s, handoff_at(s, h->offer), event.read.length);
        w->nodes[e->node].serves[w->serve_new].sink = (uint8_t)e->c;
    }
}

/* A sink asks for a window; it may have stopped it meanwhile. */
void sim_serve_ask(struct sim *s, const struct event *e)
{
    struct world *w = s->world;
    struct conn *c = &w->conn[e->a];
    const struct handoff *h = handoff_at(s, (int)(e->d >> 24 & 0xff));
    struct core_event event = {.type = CORE_EVENT_READ};
    struct serve *v;

    if (!c->used || c->serial != e->b || c->link[SOURCE] < 0) {
        return;
    }
    if (c->stall_until > w->now || w->cut_until[c->node[SINK]][c->node[SOURCE]] > w->now) {
        uint64_t cut = w->cut_until[c->node[SINK]][c->node[SOURCE]];

        push(s, (c->stall_until > cut ? c->stall_until : cut) - w->now, *e);
        return;
    }
    if (fault_draw(s, SIM_NO_SERVE, 10)) {
        fault_struck(s, e->node);
        sim_link_break(s, e->node, (unsigned)c->link[SOURCE], BATON_CAUSE_LINK_CLOSED);
        return;
    }
    event.link = (uint32_t)c->link[SOURCE];
    event.read.offer_id = handoff_at(s, h->offer)->id;
    event.read.fetch_id = h->id;
    event.read.attempt = h->attempt;
    event.read.slot = h->want_slot;
    event.read.offset = e->d >> 16 & 0xff;
    event.read.length = e->d >> 8 & 0xff;
    if (fault_draw(s, SIM_GREEDY_READ, 40)) {
        greedy(s, e, event);
    }
    w->serve_new = -1;
    node_apply(s, e->node, &event);
    if (w->serve_new < 0) {
        answer(s, c, e->d & 0xff, (uint32_t)(e->d >> 32), CORE_COPIED_ABORTED);
        return;
    }
    v = &w->nodes[e->node].serves[w->serve_new];
    v->window = (uint16_t)(e->d & 0xff);
    v->window_serial = (uint32_t)(e->d >> 32);
    v->sink = (uint8_t)e->c;
}

unsigned bulk_serve_unused(const struct node *n)
{
    unsigned i = 0;

    while (i < SERVES_MAX && n->serves[i].used) {
        i++;
    }
    BATON_ASSERT(i < SERVES_MAX);
    return i;
}

void sim_serve_start(struct sim *s, unsigned node, const struct core_action *a)
{
    struct node *n = &s->world->nodes[node];
    struct handoff *h = handoff_at(s, n->table[CORE_OFFER][a->index]);
    unsigned i = bulk_serve_unused(n);

    BATON_ASSERT(h->id == a->serve.id && !a->serve.push);
    n->serves[i] = (struct serve){.used = true,
                                  .link = (uint8_t)a->link,
                                  .slot = (uint8_t)a->slot,
                                  .handoff = (int16_t)number_of(s, h),
                                  .serial = ++s->world->serial,
                                  .offset = (uint32_t)a->serve.offset,
                                  .length = (uint32_t)a->serve.length,
                                  .attempt = a->serve.attempt};
    n->links[a->link].out++;
    h->serves++;
    s->world->serve_new = (int16_t)i;
    PUSH(s, bulk_move_time(s), .type = EV_SERVE, .node = (uint8_t)node, .a = (uint16_t)i,
         .b = n->serves[i].serial);
}

static void serve_end(struct sim *s, unsigned node, struct serve *v, enum core_copied status)
{
    struct node *n = &s->world->nodes[node];
    struct sim_link *l = &n->links[v->link];

    if (l->conn >= 0) {
        answer(s, &s->world->conn[l->conn], v->window, v->window_serial, status);
    }
    v->done = true;
    l->out--;
    n->done_serve[n->done_serves++] = (uint8_t)(v - n->serves);
    sim_link_released(s, node, v->link);
}

void sim_serve_stop(struct sim *s, unsigned node, const struct core_action *a)
{
    struct node *n = &s->world->nodes[node];

    for (unsigned i = 0; i < SERVES_MAX; i++) {
        struct serve *v = &n->serves[i];

        if (v->used && !v->done && !v->push && handoff_at(s, v->handoff)->id == a->serve.id &&
            v->attempt == a->serve.attempt) {
            serve_end(s, node, v, CORE_COPIED_ABORTED);
        }
    }
    sim_push_stop(s, node, a->serve.id, a->serve.attempt);
}

void sim_serve_step(struct sim *s, const struct event *e)
{
    struct node *n = &s->world->nodes[e->node];
    struct serve *v = &n->serves[e->a];
    const struct handoff *h;
    uint32_t at;

    if (!v->used || v->done || v->serial != e->b) {
        return;
    }
    if (v->push) {
        sim_push_step(s, e);
        return;
    }
    h = handoff_at(s, v->handoff);
    at = v->offset + v->next;
    check_P6_read_stays_inside(s, h, v->slot, v->attempt, at);
    check_S3_proof_soundness(s, h);
    BATON_ASSERT(n->links[v->link].conn >= 0);
    bulk_send(s, &s->world->conn[n->links[v->link].conn],
              (struct event){.type = EV_BULK_PIECE,
                             .node = v->sink,
                             .a = v->window,
                             .b = v->window_serial,
                             .c = at,
                             .d = life_of(s, h)->block[h->blocks[at / PIECES]].tag[at % PIECES]});
    if (++v->next == v->length) {
        serve_end(s, e->node, v, CORE_COPIED_OK);
        return;
    }
    push(s, bulk_move_time(s), *e);
}
