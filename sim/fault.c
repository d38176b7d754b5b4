/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes wrong.  Some faults come by themselves, some aim at a handoff that has just begun to
 * read or to commit, some come with an operation.  Each kind draws from a stream of its own, so
 * that leaving one out shifts no other.
 */
#include "sim/world.h"

enum { FORGIVEN = 2000 }; /* us between a restart and the next crash, lives being few */

bool fault_happens(struct sim *s, enum sim_fault fault)
{
    struct world *w = s->world;
    uint32_t number;

    if (w->healing || !(w->options.faults >> fault & 1)) {
        return false;
    }
    number = w->faults_done++;
    for (unsigned i = 0; i < s->plan.skips; i++) {
        if (s->plan.skip[i] == number) {
            return false;
        }
    }
    w->result.fired[fault]++;
    return true;
}

static uint64_t draw(struct sim *s, enum sim_fault fault)
{
    return mix(mix(s->plan.seed, 1000 + fault), ++s->world->draws[fault]) >> 16;
}

bool fault_draw(struct sim *s, enum sim_fault fault, uint32_t share)
{
    if (s->world->healing || !(s->world->options.faults >> fault & 1)) {
        return false;
    }
    return (draw(s, fault) & 1023) < share && fault_happens(s, fault);
}

/* ---- while READING or COMMITTING ---- */

static bool is_struck(const struct handoff *h)
{
    return h->side == CORE_FETCH && h->outcomes == 0 &&
           (h->stage == BATON_STAGE_READING || h->stage == BATON_STAGE_COMMITTING);
}

/* A fault, or a cancel, at this node: does it meet a handoff that moves? */
void fault_struck(struct sim *s, unsigned node)
{
    struct world *w = s->world;

    for (unsigned i = 0; !w->result.struck && i < FETCHES_MAX * w->options.nodes; i++) {
        const struct node *n = &w->nodes[i / FETCHES_MAX];
        int16_t number = n->alive ? n->table[CORE_FETCH][i % FETCHES_MAX] : -1;
        const struct handoff *h = number < 0 ? NULL : handoff_at(s, number);

        if (h && is_struck(h) && (h->node == node || handoff_at(s, h->offer)->node == node)) {
            w->result.struck = true;
        }
    }
}

/* ---- one fault ---- */

static void pause_node(struct sim *s, unsigned node, uint64_t length)
{
    struct node *n = &s->world->nodes[node];

    chart_note(s, node, node, 0, "is stopped, for us", length, 0);
    n->paused = true;
    n->resume_at = s->world->now + length;
    PUSH(s, length, .type = EV_RESUME, .node = (uint8_t)node);
}

static void crash(struct sim *s, unsigned node, enum sim_fault kind, uint64_t at)
{
    struct world *w = s->world;

    node_crash(s, node, w->options.silent_crash);
    if (kind == SIM_RESTART_FAST) {
        PUSH(s, 1, .type = EV_RESTART, .node = (uint8_t)node);
    } else if (kind == SIM_RESTART) {
        PUSH(s, at % 20000 + 1, .type = EV_RESTART, .node = (uint8_t)node);
    }
}

static bool on_node(struct sim *s, enum sim_fault kind, unsigned node, uint64_t r)
{
    struct world *w = s->world;
    struct node *n = &w->nodes[node];

    if (!n->alive || n->paused) {
        return false;
    }
    if (kind >= SIM_CRASH && kind <= SIM_RESTART_FAST &&
        (w->lives + w->options.nodes + 1U >= LIVES_MAX ||
         (w->now < FORGIVEN && kind == SIM_CRASH))) {
        return false;
    }
    if (!fault_happens(s, kind)) {
        return false;
    }
    fault_struck(s, node);
    switch (kind) {
    case SIM_PAUSE:
        pause_node(s, node, 50 + r % 2000);
        break;
    case SIM_PAUSE_LONG:
        pause_node(s, node, 40000 + r % 60000);
        break;
    case SIM_CLOG:
        n->clog_until = w->now + r % 8000;
        break;
    case SIM_JUMP_FORWARD:
        n->clock_offset += (int64_t)(r % 2 ? r % 5000000 : r % 4000000000U);
        break;
    case SIM_JUMP_BACKWARD:
        n->clock_offset -= (int64_t)(r % 2 ? r % 500000 : r % 4000000000U);
        break;
    default:
        crash(s, node, kind, r);
        return true;
    }
    if (kind == SIM_JUMP_FORWARD || kind == SIM_JUMP_BACKWARD) {
        chart_note(s, node, node, 0, sim_fault_name(kind), 0, 0);
        n->clock_highest = n->clock_offset > n->clock_highest ? n->clock_offset : n->clock_highest;
        n->clock_at = UINT64_MAX;
        node_arm(s, node);
    }
    return true;
}

static bool on_conn(struct sim *s, enum sim_fault kind, unsigned number, uint64_t r)
{
    struct world *w = s->world;
    struct conn *c = &w->conn[number];
    unsigned gone = r & 1, other = !gone;

    if (!c->used || c->closed[SINK] || (kind == SIM_HALF_OPEN && !w->options.ping)) {
        return false;
    }
    if (kind == SIM_REDIAL && (c->link[SINK] < 0 || w->nodes[c->node[SINK]].paused)) {
        return false;
    }
    if (!fault_happens(s, kind)) {
        return false;
    }
    fault_struck(s, c->node[SINK]);
    fault_struck(s, c->node[SOURCE]);
    chart_note(s, c->node[SINK], c->node[SOURCE], 0, sim_fault_name(kind), number, 0);
    if (kind == SIM_BREAK) {
        conn_break(s, number);
    } else if (kind == SIM_STALL) {
        c->stall_until = w->now + r % 20000;
    } else if (kind == SIM_REDIAL) {
        sim_link_lose(s, c->node[SINK], (unsigned)c->link[SINK], BATON_CAUSE_LINK_CLOSED);
        node_settle(s, c->node[SINK]);
    } else {
        /* Nothing that either end sends arrives, and that end sees its connection end. */
        c->lost[other] = true;
        c->orderly = false;
        c->eof[gone] = true;
        c->queue[gone].count = 0;
        conn_arm(s, number, gone);
    }
    return true;
}

static bool apply(struct sim *s, enum sim_fault kind, unsigned node, unsigned peer, uint64_t r)
{
    struct world *w = s->world;

    switch (kind) {
    case SIM_BREAK:
    case SIM_HALF_OPEN:
    case SIM_STALL:
    case SIM_REDIAL:
        for (unsigned i = 0; i < CONNS_MAX; i++) {
            const struct conn *c = &w->conn[(i + r) % CONNS_MAX];

            if (c->used && (c->node[SINK] == node || c->node[SOURCE] == node) &&
                on_conn(s, kind, (i + (unsigned)(r % CONNS_MAX)) % CONNS_MAX, r >> 8)) {
                return true;
            }
        }
        return false;
    case SIM_CUT:
        if (node == peer || !fault_happens(s, kind)) {
            return false;
        }
        fault_struck(s, node);
        w->cut_until[node][peer] = w->now + r % 30000;
        chart_note(s, node, peer, 0, "is cut, for us", r % 30000, 0);
        return true;
    default:
        return on_node(s, kind, node, r);
    }
}

static const enum sim_fault by_themselves[] = {
    SIM_PAUSE,  SIM_PAUSE_LONG,   SIM_CRASH,         SIM_RESTART, SIM_RESTART_FAST,
    SIM_BREAK,  SIM_HALF_OPEN,    SIM_CUT,           SIM_CLOG,    SIM_STALL,
    SIM_REDIAL, SIM_JUMP_FORWARD, SIM_JUMP_BACKWARD,
};

enum { KINDS = sizeof(by_themselves) / sizeof(by_themselves[0]) };

void fault_next(struct sim *s)
{
    struct world *w = s->world;
    enum sim_fault kind = by_themselves[below(&w->fault, KINDS)];
    unsigned node = below(&w->fault, w->options.nodes), peer = below(&w->fault, w->options.nodes);
    uint64_t r = prng_next(&w->fault) >> 8;

    if (w->healing || (w->offers_left == 0 && w->options.faults == 0)) {
        return;
    }
    apply(s, kind, node, peer, r);
    PUSH(s, around(&w->fault, w->options.fault_us), .type = EV_FAULT);
}

/* ---- faults that aim ---- */

/* A fetch has just moved on: something may happen to it soon. */
void fault_stage(struct sim *s, struct handoff *h)
{
    struct world *w = s->world;

    if (w->healing || h->outcomes > 0 ||
        (h->stage != BATON_STAGE_READING && h->stage != BATON_STAGE_COMMITTING)) {
        return;
    }
    if (chance(&w->fault, w->options.strike)) {
        PUSH(s, below(&w->fault, w->options.delay_us * 3), .type = EV_STRIKE, .node = h->node,
             .a = (uint16_t)number_of(s, h));
    }
}

static void both_cancel(struct sim *s, struct handoff *h, bool both)
{
    struct world *w = s->world;
    struct handoff *offer = handoff_at(s, h->offer);

    if (lives(s, h) && !w->nodes[h->node].paused) {
        user_cancel(s, h, below(&w->fault, 4) ? BATON_CANCEL_ATTEMPT : BATON_CANCEL_OFFER);
        node_settle(s, h->node);
    }
    if (lives(s, offer) && !w->nodes[offer->node].paused && both && offer->outcomes == 0 &&
        fault_happens(s, SIM_CANCEL_BOTH)) {
        PUSH(s, below(&w->fault, w->options.delay_us), .type = EV_CANCEL, .node = offer->node,
             .a = (uint16_t)number_of(s, offer));
    }
}

void fault_strike(struct sim *s, const struct event *e)
{
    struct world *w = s->world;
    struct handoff *h = handoff_at(s, e->a), *offer = handoff_at(s, h->offer);
    unsigned node = below(&w->fault, 2) ? h->node : offer->node;
    unsigned peer = node == h->node ? offer->node : h->node;
    unsigned kind = below(&w->fault, KINDS + 6);
    uint64_t r = prng_next(&w->fault) >> 8;

    if (w->healing) {
        return;
    }
    if (kind < KINDS) {
        apply(s, by_themselves[kind], node, peer, r);
    } else if (kind < KINDS + 4) {
        both_cancel(s, h, kind < KINDS + 2);
    } else if (lives(s, offer) && !w->nodes[offer->node].paused) {
        user_cancel(s, offer, BATON_CANCEL_OFFER);
        node_settle(s, offer->node);
    }
}
