/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can happen next in an explorer's world, and making it happen.  Nothing is left out because
 * it is unlikely; what is left out changes nothing that anybody could see.
 */
#include "sim/explore_world.h"

#include <string.h>

struct list {
    struct step *steps;
    unsigned count;
};

static void add(struct list *list, enum step_kind kind, unsigned a, unsigned b, unsigned c)
{
    BATON_ASSERT(list->count < STEPS_MAX);
    list->steps[list->count++] = (struct step){(uint8_t)kind, (uint8_t)a, (uint8_t)b, (uint8_t)c};
}

/* ---- what happens by itself ---- */

static void wire_steps(const struct explorer *x, const struct world *w, unsigned i, int end,
                       struct list *list)
{
    const struct wire *wire = &w->wires[i];
    const struct core *core = core_of(x, w, end == SINK_END ? wire->sink + 1 : 0);
    bool over = wire->cut || wire->end[!end] == END_CLOSED;

    if (wire->end[end] == END_CLOSED) {
        return;
    }
    if (wire->count[end] > 0 &&
        (wire->end[end] == END_NEW || core_link_reads(core, wire->link[end]))) {
        add(list, STEP_DELIVER, i, (unsigned)end, 0);
    }
    if (over) {
        add(list, STEP_NOTICE, i, (unsigned)end, 0);
    }
    if (wire->end[end] == END_UP && core_link(core, wire->link[end])->state == LINK_UP &&
        core_link(core, wire->link[end])->say.count > 0 &&
        (over || wire->count[!end] < x->rules->queue)) {
        add(list, STEP_ROOM, i, (unsigned)end, 0);
    }
}

/* The source's end of the wire over which a stream's window goes; NULL: it has gone. */
static struct wire *wire_of_window(const struct explorer *x, const struct world *w, unsigned sink,
                                   const struct window *v)
{
    uint32_t index = w->fetches[sink][v->fetch].id & ((1U << CORE_INDEX_BITS) - 1);
    const struct fetch *f = &core_fetches(core_of(x, w, (int)sink + 1))[index];

    return f->link == ILIST_NONE ? NULL : explore_world_wire_of(w, (int)sink + 1, f->link);
}

static void stream_steps(const struct explorer *x, const struct world *w, unsigned sink, unsigned i,
                         struct list *list)
{
    const struct window *v = &w->windows[sink][i];
    const struct wire *wire = wire_of_window(x, w, sink, v);

    if (v->state == WINDOW_POSTED && wire && wire->end[SOURCE_END] == END_UP) {
        add(list, STEP_ASK, sink, i, 0);
    } else if (v->state == WINDOW_SENT) {
        add(list, STEP_READ, sink, i, 0);
    } else if (v->state == WINDOW_REFUSED) {
        add(list, STEP_BACK, sink, i, 0);
    }
}

static void window_steps(const struct explorer *x, const struct world *w, unsigned sink, unsigned i,
                         struct list *list)
{
    const struct window *v = &w->windows[sink][i];

    if (v->state == WINDOW_NONE) {
        return;
    }
    if (is_stream(x, sink)) {
        stream_steps(x, w, sink, i, list);
        return;
    }
    if (v->state == WINDOW_READ) {
        add(list, STEP_BACK, sink, i, 0);
        return;
    }
    /* A mover that has looked before it was told to stop reads on. */
    add(list, STEP_READ, sink, i, 0);
    if (v->stopped) {
        add(list, STEP_BACK, sink, i, 0);
    }
    if (w->fetches[sink][v->fetch].source_life != w->life[0]) {
        add(list, STEP_DEAD, sink, i, 0);
    }
}

/* ---- what users and faults do ---- */

static bool may_fetch(const struct explorer *x, const struct world *w, unsigned sink)
{
    const struct fetch_book *f = explore_fetch_last(w, sink);
    const struct core *core = core_of(x, w, (int)sink + 1);

    if (w->fresh[sink]) {
        return true;
    }
    if (!f || !f->quiet || f->outcome == BATON_COMPLETED || w->fetched[sink] == FETCHES_MAX ||
        (core_fetches(core)[0].state != FETCH_FREE && core_fetches(core)[1].state != FETCH_FREE)) {
        return false;
    }
    return w->retries > 0 || (w->reopens > 0 && f->outcome == BATON_LINK_LOST);
}

/* Somebody could still read the block, or is about to. */
static bool is_watched(const struct explorer *x, const struct world *w, unsigned block)
{
    for (unsigned sink = 0; sink < x->rules->sinks; sink++) {
        for (unsigned i = 0; i < w->fetched[sink]; i++) {
            const struct fetch_book *f = &w->fetches[sink][i];

            for (unsigned unit = 0; unit < x->rules->units; unit++) {
                if (f->made && !f->quiet && f->source_life == w->life[0] &&
                    x->rules->block[f->plan][unit] == block) {
                    return true;
                }
            }
        }
    }
    return false;
}

static bool may_rewrite(const struct explorer *x, const struct world *w, unsigned block)
{
    return !w->rewritten[block] && w->content[w->life[0]][block] > 0 &&
           pool_block_state(pool_of(x, w, 0), block) == BLOCK_HELD;
}

static void owner_steps(const struct explorer *x, const struct world *w, struct list *list)
{
    const struct explore_rules *r = x->rules;
    unsigned life = w->life[0];

    for (unsigned plan = 0; plan < r->plans; plan++) {
        const struct offer_book *o = &w->offers[life][plan];

        if (!o->made) {
            if (r->reoffers && life > 0) {
                add(list, STEP_OFFER, plan, 0, 0);
            }
            continue;
        }
        if (!o->outcome && o->watermark < r->units) {
            add(list, STEP_ADVANCE, plan, 0, 0);
        }
        if (!o->outcome && w->cancels_offer > 0) {
            add(list, STEP_CANCEL_OFFER, plan, 0, 0);
        }
    }
    for (unsigned block = 0; r->rewrites && block < r->blocks; block++) {
        if (may_rewrite(x, w, block) && is_watched(x, w, block)) {
            add(list, STEP_REWRITE, block, 0, 0);
        }
    }
}

static void sink_steps(const struct explorer *x, const struct world *w, unsigned sink,
                       struct list *list)
{
    const struct fetch_book *f = explore_fetch_last(w, sink);

    for (unsigned life = 0; may_fetch(x, w, sink) && life <= w->life[0]; life++) {
        if (w->offers[life][x->rules->plan[sink]].made) {
            add(list, STEP_FETCH, sink, life, 0);
        }
    }
    if (w->cancels_fetch[sink] > 0 && f && !f->outcome) {
        add(list, STEP_CANCEL_FETCH, sink, BATON_CANCEL_ATTEMPT, 0);
        add(list, STEP_CANCEL_FETCH, sink, BATON_CANCEL_OFFER, 0);
    }
    for (unsigned i = 0; i < WINDOWS_MAX && w->failures > 0; i++) {
        if (w->windows[sink][i].state == WINDOW_POSTED && !w->windows[sink][i].stopped &&
            !is_stream(x, sink)) {
            add(list, STEP_FAIL, sink, i, 0);
        }
    }
}

/* Each clock that runs may be the next. */
static void clock_steps(const struct explorer *x, const struct world *w, unsigned node,
                        struct list *list)
{
    const struct core *core = core_of(x, w, (int)node);
    const uint32_t offers = core->limits.offers, fetches = core->limits.fetches;

    for (uint32_t i = 0; i < offers; i++) {
        const struct offer *o = &core_offers(core)[i];

        if (o->state == OFFER_OPEN) {
            add(list, STEP_CLOCK, node, i, 0);
        } else if (o->state == OFFER_ENDED && o->doubt_due != CORE_NEVER) {
            add(list, STEP_CLOCK, node, i, 1);
        }
        for (uint32_t s = 0; o->state == OFFER_OPEN && s < o->slots; s++) {
            if (core_slots(core)[slot_number(core, i, s)].due != CORE_NEVER) {
                add(list, STEP_CLOCK, node, i, 2 + s);
            }
        }
    }
    for (uint32_t i = 0; i < fetches; i++) {
        const struct fetch *f = &core_fetches(core)[i];

        if (f->state == FETCH_DRAINING && f->doubt_due != CORE_NEVER) {
            add(list, STEP_CLOCK, node, offers + i, 1);
        } else if (f->state != FETCH_FREE && !f->outcome) {
            add(list, STEP_CLOCK, node, offers + i, 0);
            add(list, STEP_CLOCK, node, offers + i, 2);
        }
    }
    for (uint32_t i = 0; i < core->limits.links; i++) {
        if (core_link(core, i)->state == LINK_UP && core_link(core, i)->ping) {
            add(list, STEP_CLOCK, node, offers + fetches + i, 0);
            add(list, STEP_CLOCK, node, offers + fetches + i, 1);
        }
    }
}

static void fault_steps(const struct explorer *x, const struct world *w, struct list *list)
{
    for (unsigned node = 0; node <= x->rules->sinks; node++) {
        if (w->clocks > 0) {
            clock_steps(x, w, node, list);
        }
        if (w->crashes > 0 && w->life[node] + 1 < LIVES_MAX) {
            add(list, STEP_CRASH, node, 0, 0);
        }
    }
    for (unsigned i = 0; i < WIRES_MAX && w->breaks > 0; i++) {
        const struct wire *wire = &w->wires[i];

        if (wire->used && !wire->cut && wire->end[SINK_END] == END_UP &&
            wire->end[SOURCE_END] != END_CLOSED) {
            add(list, STEP_CUT, i, 0, 0);
        }
    }
}

unsigned explore_world_steps(struct explorer *x, const struct world *w, struct step *ret_steps,
                             unsigned *ret_work)
{
    struct list list = {.steps = ret_steps};

    /* What is inert now is inert for ever: when it arrives is of no matter. */
    for (unsigned i = 0; i < WIRES_MAX; i++) {
        for (int end = 0; end < 2 && w->wires[i].used; end++) {
            if (explore_wire_inert(x, w, i, end)) {
                add(&list, STEP_DELIVER, i, (unsigned)end, 0);
                *ret_work = 1;
                return 1;
            }
        }
    }
    for (unsigned i = 0; i < WIRES_MAX; i++) {
        if (w->wires[i].used) {
            wire_steps(x, w, i, SINK_END, &list);
            wire_steps(x, w, i, SOURCE_END, &list);
        }
    }
    for (unsigned sink = 0; sink < x->rules->sinks; sink++) {
        for (unsigned i = 0; i < WINDOWS_MAX; i++) {
            window_steps(x, w, sink, i, &list);
        }
    }
    for (unsigned i = 0; i < SERVES_MAX; i++) {
        if (w->serves[i].state == SERVE_ON) {
            add(&list, STEP_SERVE, i, 0, 0);
        }
    }
    for (unsigned i = 0; i < PUSHES_MAX; i++) {
        enum step_kind kind = explore_push_step(w, i);

        if (kind != STEP_NONE) {
            add(&list, kind, i, 0, 0);
        }
    }
    for (unsigned sink = 0; sink < x->rules->sinks; sink++) {
        enum step_kind kind = explore_push_step_of(x, w, sink);

        if (kind != STEP_NONE) {
            add(&list, kind, sink, 0, 0);
        }
    }
    *ret_work = list.count;
    owner_steps(x, w, &list);
    for (unsigned sink = 0; sink < x->rules->sinks; sink++) {
        sink_steps(x, w, sink, &list);
    }
    fault_steps(x, w, &list);
    return list.count;
}

/* ---- movers ---- */

static void copied(struct explorer *x, unsigned sink, struct window *v, enum core_copied status)
{
    struct core_event event = {.type = CORE_EVENT_COPIED};

    event.copied.id = x->w->fetches[sink][v->fetch].id;
    event.copied.length = 1;
    event.copied.landed = status == CORE_COPIED_OK;
    event.copied.status = status;
    memset(v, 0, sizeof(*v));
    explore_world_event(x, (int)sink + 1, &event);
}

/* The bytes of a window land in the sink's block: from the source's memory as it is now, or, of a
 * stream, as it was when the source sent them. */
static void read_window(struct explorer *x, unsigned sink, struct window *v)
{
    struct world *w = x->w;
    struct fetch_book *f = &w->fetches[sink][v->fetch];
    bool stream = is_stream(x, sink);

    explore_check_s1_write(x, f);
    if (stream) {
        f->content[v->unit] = v->content;
        f->torn |= v->torn;
    } else {
        f->content[v->unit] = w->content[f->source_life][x->rules->block[f->plan][v->unit]];
        f->torn |= !explore_lease_valid(x, sink, v->fetch);
    }
    if (!stream && x->rules->split) {
        v->state = WINDOW_READ;
        return;
    }
    copied(x, sink, v, CORE_COPIED_OK);
}

static void ask(struct explorer *x, unsigned sink, unsigned i)
{
    struct world *w = x->w;
    struct window *v = &w->windows[sink][i];
    const struct fetch_book *f = &w->fetches[sink][v->fetch];
    const struct wire *wire = wire_of_window(x, w, sink, v);
    const struct core *core = core_of(x, w, (int)sink + 1);
    struct core_event event = {.type = CORE_EVENT_READ, .link = wire->link[SOURCE_END]};
    unsigned s = 0;

    event.read.offer_id = (f->plan + 1U) << CORE_INDEX_BITS | f->plan;
    event.read.fetch_id = f->id;
    event.read.attempt = core_fetches(core)[f->id & ((1U << CORE_INDEX_BITS) - 1)].attempt;
    event.read.offset = v->unit;
    event.read.length = 1;
    event.read.slot = f->slot;
    explore_world_event(x, 0, &event);
    if (x->actions.count != 1 || x->actions.list[0].type != CORE_ACTION_SERVE) {
        v->state = WINDOW_REFUSED;
        return;
    }
    while (s < SERVES_MAX && w->serves[s].state != SERVE_NONE) {
        s++;
    }
    BATON_ASSERT(s < SERVES_MAX);
    v->state = WINDOW_SERVED;
    w->serves[s] = (struct serve){.state = SERVE_ON,
                                  .sink = (uint8_t)sink,
                                  .window = (uint8_t)i,
                                  .plan = f->plan,
                                  .slot = f->slot,
                                  .attempt = (uint8_t)event.read.attempt,
                                  .unit = v->unit,
                                  .wire = wire_name(wire)};
    explore_check_p6_serve(x, &w->serves[s]);
}

static void serve(struct explorer *x, struct serve *s)
{
    struct world *w = x->w;
    struct window *v = &w->windows[s->sink][s->window];
    struct core_event event = {.type = CORE_EVENT_SERVED};

    explore_check_p6_serve(x, s);
    if (!s->orphan) {
        const struct wire *wire = wire_of_window(x, w, s->sink, v);

        v->content = w->content[w->life[0]][x->rules->block[s->plan][s->unit]];
        v->torn = !explore_lease_valid(x, s->sink, v->fetch);
        v->state = wire && !wire->cut ? WINDOW_SENT : WINDOW_LOST;
    }
    event.served.offer_id = w->offers[w->life[0]][s->plan].id;
    memset(s, 0, sizeof(*s));
    explore_world_event(x, 0, &event);
}

/* ---- owners and faults ---- */

static void advance(struct explorer *x, unsigned plan)
{
    struct world *w = x->w;
    struct offer_book *o = &w->offers[w->life[0]][plan];
    uint8_t *content = &w->content[w->life[0]][x->rules->block[plan][o->watermark]];
    struct core_event event = {.type = CORE_EVENT_ADVANCE};

    explore_check_p7_early(x, plan);
    (*content)++;
    o->content[o->watermark++] = *content;
    event.advance.id = o->id;
    event.advance.watermark = o->watermark;
    explore_world_event(x, 0, &event);
}

static void rewrite(struct explorer *x, unsigned block)
{
    explore_check_p8_rewrite(x, block);
    x->w->content[x->w->life[0]][block]++;
    x->w->rewritten[block] = 1;
}

static void cancel(struct explorer *x, struct step step)
{
    struct world *w = x->w;
    struct core_event event = {.type = CORE_EVENT_CANCEL};
    const int node = step.kind == STEP_CANCEL_OFFER ? 0 : step.a + 1;
    bool over;

    event.cancel.cause = BATON_CAUSE_CANCEL;
    if (node == 0) {
        w->cancels_offer--;
        event.cancel.side = CORE_OFFER;
        event.cancel.id = w->offers[w->life[0]][step.a].id;
        over = w->offers[w->life[0]][step.a].outcome != 0;
    } else {
        w->cancels_fetch[step.a]--;
        event.cancel.side = CORE_FETCH;
        event.cancel.id = explore_fetch_last(w, step.a)->id;
        event.cancel.scope = (baton_cancel_scope)step.b;
        over = explore_fetch_last(w, step.a)->outcome != 0;
    }
    explore_world_event(x, node, &event);
    if (over && (explore_core_key(x, w, node, core_of(x, w, node)) != w->key[node] ||
                 x->actions.count > 0)) {
        explore_broken(x, "S6 one outcome", "a cancel of what is over is not inert at node %d",
                       node);
    }
    if (node == 0) {
        explore_check_p7_late(x, step.a);
    }
}

/* The clock's time is now, and everybody else's is still to come. */
static void clock_fires(struct explorer *x, struct step step)
{
    struct core *core = core_of(x, x->w, step.a);
    const uint32_t offers = core->limits.offers, fetches = core->limits.fetches;

    x->w->clocks--;
    if (step.b < offers) {
        struct offer *o = &core_offers(core)[step.b];

        if (step.c == 0) {
            o->whole_due = WORLD_NOW_US;
        } else if (step.c == 1) {
            o->doubt_due = WORLD_NOW_US;
        } else {
            core_slots(core)[slot_number(core, step.b, step.c - 2U)].due = WORLD_NOW_US;
        }
    } else if (step.b < offers + fetches) {
        struct fetch *f = &core_fetches(core)[step.b - offers];

        if (step.c == 0) {
            f->whole_due = WORLD_NOW_US;
        } else if (step.c == 1) {
            f->doubt_due = WORLD_NOW_US;
        } else {
            f->clock_due = WORLD_NOW_US;
        }
    } else {
        struct link *l = core_link(core, step.b - offers - fetches);
        uint64_t silent = core->limits.link_timeout_us;

        l->heard_us = WORLD_NOW_US - (step.c ? silent : silent / 3);
        l->due = WORLD_NOW_US;
    }
    heap_set(core_heap(core), step.b, WORLD_NOW_US);
    explore_world_event(x, step.a, &(struct core_event){.type = CORE_EVENT_TICK});
}

static void fetch_again(struct explorer *x, unsigned sink, unsigned life)
{
    const struct fetch_book *f = explore_fetch_last(x->w, sink);

    if (f && !x->w->fresh[sink]) {
        uint8_t *budget =
            f->outcome == BATON_LINK_LOST && x->w->reopens ? &x->w->reopens : &x->w->retries;
        (*budget)--;
    }
    explore_world_fetch_make(x, sink, life);
}

static void others_step(struct explorer *x, struct step step)
{
    struct world *w = x->w;

    switch (step.kind) {
    case STEP_FETCH:
        fetch_again(x, step.a, step.b);
        return;
    case STEP_OFFER:
        explore_world_offer_make(x, step.a);
        return;
    case STEP_ADVANCE:
        advance(x, step.a);
        return;
    case STEP_REWRITE:
        rewrite(x, step.a);
        return;
    case STEP_FAIL:
        w->failures--;
        copied(x, step.a, &w->windows[step.a][step.b], CORE_COPIED_FAILED);
        return;
    case STEP_CLOCK:
        clock_fires(x, step);
        return;
    case STEP_CUT:
        w->breaks--;
        w->wires[step.a].cut = 1;
        return;
    case STEP_CRASH:
        w->crashes--;
        explore_world_crash(x, step.a);
        return;
    default:
        BATON_ASSERT(step.kind == STEP_CANCEL_OFFER || step.kind == STEP_CANCEL_FETCH);
        cancel(x, step);
    }
}

static void work_step(struct explorer *x, struct step step)
{
    struct window *v = &x->w->windows[step.a % SINKS_MAX][step.b % WINDOWS_MAX];

    switch (step.kind) {
    case STEP_DELIVER:
        explore_wire_deliver(x, step.a, step.b);
        return;
    case STEP_NOTICE:
        explore_wire_notice(x, step.a, step.b);
        return;
    case STEP_ROOM:
        explore_wire_room(x, step.a, step.b);
        return;
    case STEP_READ:
        read_window(x, step.a, v);
        return;
    case STEP_BACK:
        copied(x, step.a, v, v->state == WINDOW_READ ? CORE_COPIED_OK : CORE_COPIED_ABORTED);
        return;
    case STEP_DEAD:
        copied(x, step.a, v, CORE_COPIED_PEER_DEAD);
        return;
    case STEP_ASK:
        ask(x, step.a, step.b);
        return;
    case STEP_POST:
        explore_push_post(x, step.a);
        return;
    case STEP_LAND:
        explore_push_land(x, step.a);
        return;
    case STEP_PROVE:
        explore_push_prove(x, step.a);
        return;
    case STEP_DIAL:
        explore_wire_dial(x, step.a, x->w->life[0]);
        return;
    default:
        BATON_ASSERT(step.kind == STEP_SERVE);
        serve(x, &x->w->serves[step.a]);
    }
}

void explore_world_step(struct explorer *x, const struct world *before, struct world *w,
                        struct step step)
{
    x->before = before;
    x->w = w;
    x->touched = 0;
    if (step.kind < STEP_WORK_END_) {
        work_step(x, step);
    } else {
        others_step(x, step);
    }
    explore_world_settle(x);
    for (unsigned block = 0; x->rules->rewrites_at_once && block < x->rules->blocks; block++) {
        if (may_rewrite(x, w, block)) {
            rewrite(x, block);
        }
    }
    explore_check_step(x);
}
