/* SPDX-License-Identifier: Apache-2.0 */
/* A simulated engine: its life, its clock, and what it does with the actions of its core. */
#include "sim/check.h"

#include <string.h>

#define START_US UINT64_C(1000000000000)

/* ---- its life ---- */

/* A little below the end of so many bits; at that of all, with room for a whole run. */
static uint64_t number_near(unsigned bits, unsigned all)
{
    return bits == all ? (UINT64_MAX >> (64 - all)) - 2000 : (UINT64_C(1) << bits) - 4;
}

/* Whatever counts up: attempts, uses of the records of peers, dials, ids, generations. */
static uint64_t numbers_start(struct sim *s, struct node *n, struct life *life)
{
    unsigned bits = s->world->options.wrap_bits;

    if (bits == 0 || !fault_happens(s, SIM_NEAR_WRAP)) {
        return 0;
    }
    life->serial = number_near(bits - CORE_INDEX_BITS, 64 - CORE_INDEX_BITS);
    life->attempt = n->dials = number_near(bits, 64);
    return life->attempt;
}

static void core_start(struct sim *s, struct node *n, void *memory, uint64_t number)
{
    const struct options *o = &s->world->options;
    struct core_limits limits = o->limits;

    limits.first_attempt = number + 1;
    n->core = core_init(memory, &limits);
    n->core->peer_uses = number;
    if (o->few_peers && fault_happens(s, SIM_FEW_PEERS)) {
        /* The fewest: whoever says HELLO has no link yet, so one record is of nobody's. */
        n->core->peers = limits.links;
    }
}

static void pool_start(struct sim *s, struct node *n, struct life *life, uint64_t number)
{
    n->pool = pool_init(n->pool, s->world->options.blocks, s->world->options.wrapped, number);
    for (unsigned i = 0; i < BLOCKS_MAX; i++) {
        life->block[i] = (struct block_shadow){.owner = -1, .generation = number};
        for (unsigned p = 0; p < PIECES; p++) {
            life->block[i].tag[p] = mix(mix(life->node, i), p);
        }
    }
}

/* A process starts: a new incarnation, at the same address, with the same addresses of blocks. */
void node_start(struct sim *s, unsigned node)
{
    struct world *w = s->world;
    struct node *n = &w->nodes[node];
    struct life *life = &w->life[w->lives];
    uint8_t *memory = (uint8_t *)w + ((sizeof(*w) + 63) & ~(size_t)63);
    uint64_t number;

    BATON_ASSERT(w->lives < LIVES_MAX);
    memory += node * (s->core_bytes + s->pool_bytes);
    *n = (struct node){.alive = true,
                       .life = (uint8_t)w->lives++,
                       .clock_at = UINT64_MAX,
                       .clock_rate = 1024,
                       .pool = (struct pool *)(void *)(memory + s->core_bytes)};
    memset(n->table, 0xff, sizeof(n->table));
    *life = (struct life){.node = (uint8_t)node, .alive = true};
    for (unsigned i = 0; i < ID_BYTES; i++) {
        life->incarnation[i] = (uint8_t)(mix(mix(s->plan.seed, n->life), i) >> 40);
    }
    life->incarnation[0] = (uint8_t)(n->life + 1);
    number = numbers_start(s, n, life);
    core_start(s, n, memory, number);
    pool_start(s, n, life, number);
    if (w->lives > w->options.nodes) {
        chart_note(s, node, node, 0, "starts, incarnation", n->life, 0);
    }
    if (fault_draw(s, SIM_SKEW, 400)) {
        n->clock_rate = 700 + below(&w->fault, 800);
    }
}

static void handoffs_die(struct sim *s, unsigned life)
{
    struct world *w = s->world;

    for (unsigned i = 0; i < w->handoff_count; i++) {
        struct handoff *h = &w->handoff[i];

        /* Nothing that this life leased can be committed any more. */
        if (h->side == CORE_FETCH && h->lease == LEASE_VALID &&
            handoff_at(s, h->offer)->life == life) {
            h->lease = LEASE_OVER;
        }
    }
}

/* Silent: its host went with it, so nobody's kernel says anything. */
void node_crash(struct sim *s, unsigned node, bool silent)
{
    struct world *w = s->world;
    struct node *n = &w->nodes[node];

    chart_note(s, node, node, 0, silent ? "vanishes" : "dies", n->life, 0);
    n->alive = false;
    n->paused = false;
    w->life[n->life].alive = false;
    handoffs_die(s, n->life);
    sim_push_died(s, n->life);
    for (unsigned i = 0; i < CONNS_MAX; i++) {
        for (unsigned end = 0; end < 2; end++) {
            struct conn *c = &w->conn[i];

            if (c->used && c->node[end] == node && !c->closed[end]) {
                conn_close(s, i, end, silent);
            }
        }
    }
    for (unsigned i = 0; i < w->options.nodes && !w->options.ping; i++) {
        struct node *m = &w->nodes[i];

        /* The pidfd of each peer on this host. */
        for (unsigned l = 0; m->alive && l < LINKS_MAX; l++) {
            if (m->links[l].used && m->links[l].peer_life == n->life) {
                PUSH(s, around(&w->network, w->options.delay_us), .type = EV_PEER_EXIT,
                     .node = (uint8_t)i, .a = (uint16_t)l, .b = m->links[l].serial);
            }
        }
    }
}

/* ---- its clock ---- */

uint64_t node_now(const struct sim *s, unsigned node)
{
    const struct node *n = &s->world->nodes[node];

    return START_US + (uint64_t)((int64_t)(s->world->now * n->clock_rate / 1024) + n->clock_offset);
}

/* One event of its clock waits in the heap, or an earlier one that does nothing. */
void node_arm(struct sim *s, unsigned node)
{
    struct node *n = &s->world->nodes[node];
    uint64_t due = core_deadline(n->core), now = node_now(s, node), wait;

    if (due == CORE_NEVER) {
        return;
    }
    wait = due > now ? (due - now) * 1024 / n->clock_rate + 1 : 0;
    if (s->world->now + wait < n->clock_at) {
        n->clock_at = s->world->now + wait;
        PUSH(s, wait, .type = EV_CLOCK, .node = (uint8_t)node);
    }
}

void node_clock(struct sim *s, unsigned node)
{
    const struct core_event tick = {.type = CORE_EVENT_TICK};

    s->world->nodes[node].clock_at = UINT64_MAX;
    if (core_deadline(s->world->nodes[node].core) <= node_now(s, node)) {
        node_apply(s, node, &tick);
    }
}

/* ---- actions ---- */

static struct handoff *told(struct sim *s, unsigned node, const struct core_action *a)
{
    return handoff_at(s, s->world->nodes[node].table[a->side][a->index]);
}

static void cover(struct sim *s, const struct handoff *h, uint32_t from, uint32_t to, int by)
{
    struct life *life = life_of(s, h);

    for (uint32_t at = from; at < to; at++) {
        uint8_t *covered = &life->block[h->blocks[at / PIECES]].covered[at % PIECES];

        *covered = (uint8_t)(*covered + by);
    }
}

static void slot_moved(struct sim *s, struct handoff *h, const struct core_action *a)
{
    struct slot_shadow *t = &h->slot[a->slot];
    struct core_slot_view view;
    struct handoff *fetch;
    const struct slot *slot;

    check_P10_final_slot(s, h, a->slot);
    if (a->trace.to == BATON_STAGE_OFFERED && t->stage == BATON_STAGE_NONE) {
        t->stage = BATON_STAGE_OFFERED;
        t->holder = -1;
        return;
    }
    if (a->trace.to == BATON_STAGE_LEASED) {
        slot =
            &core_slots(s->world->nodes[h->node]
                            .core)[slot_number(s->world->nodes[h->node].core, h->index, a->slot)];
        check_P5_one_reader(s, h, a->slot);
        check_P5_pushes_over(s, h, a->slot);
        core_slot_view(s->world->nodes[h->node].core, h->index, a->slot, &view);
        check_S5_attempts_grow(s, life_of(s, h), view.attempt);
        t->attempt = view.attempt;
        t->holder = -1;
        for (int i = (int)s->world->handoff_count - 1; i >= 0 && t->holder < 0; i--) {
            const struct handoff *f = handoff_at(s, i);
            const struct life *life = life_of(s, f);

            if (f->side == CORE_FETCH && f->id == slot->fetch_id &&
                memcmp(life->incarnation, slot->peer, ID_BYTES) == 0) {
                t->holder = (int16_t)i;
            }
        }
        BATON_ASSERT(t->holder >= 0);
        fetch = handoff_at(s, t->holder);
        check_S10_epoch(s, h, fetch, a->slot);
        check_S15_authenticity(s, fetch);
        fetch->lease = LEASE_VALID;
        fetch->leased = view.attempt;
        h->attempts++;
        h->last_attempt = view.attempt;
        h->last_reader = fetch->life;
    } else if (t->holder >= 0 && t->stage == BATON_STAGE_LEASED) {
        fetch = handoff_at(s, t->holder);
        fetch->lease = a->trace.to == BATON_STAGE_COMMITTED ? LEASE_COMMITTED : LEASE_OVER;
        t->committed = a->trace.to == BATON_STAGE_COMMITTED ? t->attempt : 0;
    }
    t->stage = (uint8_t)a->trace.to;
}

static void carry_trace(struct sim *s, unsigned node, const struct core_action *a)
{
    struct handoff *h = told(s, node, a);

    if (a->side == CORE_OFFER) {
        if (a->trace.from != a->trace.to) {
            slot_moved(s, h, a);
            chart_note(s, node, node, 0, baton_stage_name(a->trace.to), h->id, a->slot);
        }
        return;
    }
    h->stage = (uint8_t)a->trace.to;
    if (a->trace.from != a->trace.to) {
        chart_note(s, node, node, 0, baton_stage_name(a->trace.to), h->id, a->trace.landed);
        fault_stage(s, h);
    }
}

static void carry_outcome(struct sim *s, unsigned node, const struct core_action *a)
{
    struct handoff *h = told(s, node, a);
    struct handoff *offer;

    h->outcomes++;
    h->outcome = (uint8_t)a->outcome.outcome;
    h->cause = (uint8_t)a->outcome.cause;
    chart_note(s, node, node, 0, baton_outcome_name(a->outcome.outcome), h->id, a->outcome.cause);
    check_S6_one_outcome(s, h);
    check_P10_landed(s, h, a);
    if (h->side == CORE_OFFER) {
        cover(s, h, 0, h->watermark, -1);
        pool_quarantine(s->world->nodes[node].pool, &h->loan, s->world->now);
        return;
    }
    check_S15_honest_reader(s, h);
    if (h->transport == BY_PUSH_LIBRARY && h->grants > 0 && h->outcome != BATON_COMPLETED) {
        sim_push_wait(s, h);
    }
    if (h->outcome == BATON_COMPLETED) {
        offer = handoff_at(s, h->offer);
        offer->slot[h->want_slot].completed++;
        s->world->result.completed++;
        check_P2_no_commit_after_revoke(s, h);
        check_P3_agreement(s, h);
        check_P1_no_torn_commit(s, h);
        check_P9_clean_landing(s, h);
        check_S7_integrity(s, h);
        for (unsigned i = 0; i < h->count; i++) {
            life_of(s, h)->block[h->blocks[i]].base = offer->base[h->first_block + i];
        }
    }
    pool_quarantine(s->world->nodes[node].pool, &h->loan, s->world->now);
}

static void carry_quiet(struct sim *s, unsigned node, const struct core_action *a)
{
    struct handoff *h = told(s, node, a);

    h->quiets++;
    h->proof = (uint8_t)a->quiet.proof;
    if (h->side == CORE_OFFER) {
        check_P10_exposed(s, h, h->proof);
    }
    if (h->side == CORE_OFFER && life_of(s, h)->exported && h->proof != BATON_PROOF_PEER_DRAIN) {
        h->proof = BATON_PROOF_REVOKED;
    }
    chart_note(s, node, node, 0, baton_proof_name((baton_proof)h->proof), h->id, 0);
    check_S6_one_outcome(s, h);
    check_S13_all_lanes(s, h);
    check_S9_never_exposed(s, h);
    check_P10_receipts(s, h);
    check_P10_evidence(s, h, a);
    if (h->side == CORE_FETCH) {
        check_P10_proof(s, h);
    }
    pool_unquarantine(s->world->nodes[node].pool, &h->loan);
    s->world->result.receipts++;
    user_told(s, h);
}

static void carry_forget(struct sim *s, unsigned node, const struct core_action *a)
{
    struct handoff *h = told(s, node, a);

    h->forgets++;
    check_S6_one_outcome(s, h);
    s->world->nodes[node].table[a->side][a->index] = -1;
}

static void carry_frame(struct sim *s, unsigned node, const struct core_action *a)
{
    struct frame frame = a->frame;

    s->world->framed = true;
    if (!sim_frame_out(s, node, &frame, a)) {
        sim_link_break(s, node, a->link, BATON_CAUSE_LINK_CLOSED);
    }
}

static void carry_link(struct sim *s, unsigned node, const struct core_action *a)
{
    struct sim_link *link = &s->world->nodes[node].links[a->link];

    if (a->type == CORE_ACTION_LINK_UP) {
        link->up = true;
        if (!link->sink) {
            conn_send(s, node, a->link, &(struct frame){.type = FRAME_WELCOME});
        }
    } else if (a->type == CORE_ACTION_LINK_CLOSE) {
        chart_note(s, node, node, 0, baton_cause_name(a->cause), link->peer_life, 0);
        link->closed_cause = (uint8_t)a->cause;
        if (a->cause == BATON_CAUSE_LINK_SILENT) {
            check_L1_silence(s, node);
            if (!s->world->opening) {
                check_L1_silence_was(s, node, link);
            }
        }
        sim_link_shut(s, node, a->link);
    } else if (a->type == CORE_ACTION_LINK_FREE) {
        link->core_knows = false;
        sim_link_released(s, node, a->link);
    }
}

static void carry(struct sim *s, unsigned node, const struct core_action *a)
{
    s->world->hash = mix(s->world->hash, ((uint64_t)a->type << 32) + a->index * 8 + a->slot);
    switch (a->type) {
    case CORE_ACTION_TRACE:
        carry_trace(s, node, a);
        return;
    case CORE_ACTION_FLUSH:
        sim_link_wants(s, node, a->link);
        return;
    case CORE_ACTION_FRAME:
        carry_frame(s, node, a);
        return;
    case CORE_ACTION_COPY:
        sim_window_start(s, node, a);
        return;
    case CORE_ACTION_COPY_STOP:
        sim_window_stop(s, node, s->world->nodes[node].table[CORE_FETCH][a->index]);
        return;
    case CORE_ACTION_SERVE:
        if (a->serve.push) {
            sim_push_start(s, node, a);
        } else {
            sim_serve_start(s, node, a);
        }
        return;
    case CORE_ACTION_SERVE_REFUSE:
        return; /* the asker sees that no serve was started */
    case CORE_ACTION_SERVE_STOP:
        sim_serve_stop(s, node, a);
        return;
    case CORE_ACTION_OUTCOME:
        carry_outcome(s, node, a);
        return;
    case CORE_ACTION_DOUBT:
        told(s, node, a)->doubts++;
        check_S6_one_outcome(s, told(s, node, a));
        return;
    case CORE_ACTION_QUIET:
        carry_quiet(s, node, a);
        return;
    case CORE_ACTION_FORGET:
        carry_forget(s, node, a);
        return;
    default:
        carry_link(s, node, a);
    }
}

/* A started offer, and what its watermark covers from now on. */
static void note_watermark(struct sim *s, unsigned node, const struct core_event *event)
{
    struct handoff *h = NULL;
    uint64_t to = 0;

    if (event->type == CORE_EVENT_OFFER) {
        h = handoff_at(s, s->world->nodes[node].table[CORE_OFFER][event->offer.index]);
        to = event->offer.watermark;
    } else {
        int16_t number = s->world->nodes[node]
                             .table[CORE_OFFER][event->advance.id & ((1U << CORE_INDEX_BITS) - 1)];

        h = number < 0 ? NULL : handoff_at(s, number);
        to = event->advance.watermark;
        if (!h || h->id != event->advance.id || h->outcomes > 0) {
            return;
        }
    }
    to = to < h->total ? to : h->total;
    if (to > h->watermark || event->type == CORE_EVENT_OFFER) {
        cover(s, h, h->watermark, (uint32_t)to, 1);
        h->watermark = (uint32_t)to;
    }
}

/* By what is a peer heard.  An OPEN may close a link that is too slow, for silence, too. */
static void note_heard(struct sim *s, unsigned node, const struct core_event *event)
{
    s->world->opening = event->type == CORE_EVENT_FRAME && event->frame.frame->type == FRAME_OPEN;
    if (event->type == CORE_EVENT_HELLO || event->type == CORE_EVENT_LINK_UP ||
        event->type == CORE_EVENT_FRAME || event->type == CORE_EVENT_HEARD) {
        s->world->nodes[node].links[event->link].heard = node_now(s, node);
    }
}

void node_apply(struct sim *s, unsigned node, const struct core_event *event)
{
    struct world *w = s->world;
    bool more = true;

    if (event->type == CORE_EVENT_OFFER || event->type == CORE_EVENT_ADVANCE) {
        note_watermark(s, node, event);
    }
    note_heard(s, node, event);
    while (more) {
        more = core_step(w->nodes[node].core, event, node_now(s, node), &w->actions);
        if (event && event->type == CORE_EVENT_READ) {
            check_P6_read_alone(s, &w->actions, more);
        }
        event = NULL;
        w->result.steps++;
        if (w->actions.count > CORE_ACTIONS_MAX) {
            sim_fail(s, "S18_bounded", "%u actions in one step", w->actions.count);
        }
        for (uint32_t i = 0; i < w->actions.count; i++) {
            carry(s, node, &w->actions.list[i]);
        }
    }
}

/* ---- what came back meanwhile ---- */

static void settle_window(struct sim *s, unsigned node)
{
    struct node *n = &s->world->nodes[node];
    struct window *w = &n->windows[n->done_window[0]];
    struct handoff *h = handoff_at(s, w->handoff);
    struct core_event event = {.type = CORE_EVENT_COPIED};

    n->done_windows--;
    memmove(n->done_window, n->done_window + 1, n->done_windows);
    event.copied.id = h->id;
    event.copied.length = w->length;
    event.copied.landed = w->landed;
    event.copied.status = (enum core_copied)w->status;
    w->state = WINDOW_FREE;
    h->windows--;
    h->landed += w->landed;
    node_apply(s, node, &event);
}

static void settle_serve(struct sim *s, unsigned node)
{
    struct node *n = &s->world->nodes[node];
    struct serve *v = &n->serves[n->done_serve[0]];
    struct handoff *h = handoff_at(s, v->handoff);
    struct core_event event = {.type = CORE_EVENT_SERVED};

    n->done_serves--;
    memmove(n->done_serve, n->done_serve + 1, n->done_serves);
    event.served.offer_id = h->id;
    event.served.push = v->push;
    event.served.slot = v->slot;
    event.served.length = v->length;
    event.served.status = (enum core_copied)v->status;
    v->used = false;
    h->serves--;
    node_apply(s, node, &event);
}

static void attend(struct sim *s, unsigned node, unsigned number)
{
    struct sim_link *link = &s->world->nodes[node].links[number];

    if (link->broken && link->core_knows) {
        link->broken = false;
        sim_link_lose(s, node, number, (baton_cause)link->broken_cause);
    }
    link->broken = false;
    if (link->shut) {
        link->shut = false;
        sim_windows_link_closed(s, node, number);
    }
    sim_link_released(s, node, number);
}

void node_settle(struct sim *s, unsigned node)
{
    struct node *n = &s->world->nodes[node];

    do {
        while (n->done_windows > 0) {
            settle_window(s, node);
        }
        while (n->done_serves > 0) {
            settle_serve(s, node);
        }
        if (n->attention) {
            n->attention = false;
            for (unsigned i = 0; i < LINKS_MAX; i++) {
                if (n->links[i].used && (n->links[i].broken || n->links[i].shut)) {
                    attend(s, node, i);
                }
            }
        }
    } while (n->done_windows || n->done_serves || n->attention);
    node_arm(s, node);
}
