/* SPDX-License-Identifier: Apache-2.0 */
/* A run: its memory, the heap of what is to happen, and who does what happens. */
#include "sim/check.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "baton.h"

enum {
    EVENTS_PER_RUN_MAX = 6000, /* before healing */
    RUN_US_MAX = 400000,
    CHECK_EVERY = 64,
};

/* ---- what is to happen ---- */

static bool before(const struct event *a, const struct event *b)
{
    return a->time != b->time ? a->time < b->time : a->order < b->order;
}

void push(struct sim *s, uint64_t delay, struct event event)
{
    struct world *w = s->world;
    uint32_t at = w->events++;

    BATON_ASSERT(w->events < EVENTS_MAX);
    event.time = w->now + delay;
    event.order = ++w->order;
    while (at > 0 && before(&event, &w->heap[(at - 1) / 2])) {
        w->heap[at] = w->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    w->heap[at] = event;
}

static struct event pop(struct world *w)
{
    struct event first = w->heap[0], last = w->heap[--w->events];
    uint32_t at = 0;

    while (at * 2 + 1 < w->events) {
        uint32_t child = at * 2 + 1;

        if (child + 1 < w->events && before(&w->heap[child + 1], &w->heap[child])) {
            child++;
        }
        if (!before(&w->heap[child], &last)) {
            break;
        }
        w->heap[at] = w->heap[child];
        at = child;
    }
    w->heap[at] = last;
    return first;
}

/* ---- who does it ---- */

/* What is of a handoff's user and driver, and only while its process lives. */
static void dispatch_handoff(struct sim *s, const struct event *e)
{
    struct handoff *h = handoff_at(s, e->a);

    if (!lives(s, h)) {
        return;
    }
    switch (e->type) {
    case EV_COMPUTE:
        user_compute(s, h);
        break;
    case EV_CANCEL:
        user_cancel(s, h, (baton_cancel_scope)e->c);
        break;
    case EV_RETIRE:
        user_retire(s, h);
        break;
    default:
        user_release(s, h);
    }
}

static void dispatch_link(struct sim *s, const struct event *e)
{
    struct sim_link *link = &s->world->nodes[e->node].links[e->a];

    if (!link->used || link->serial != e->b) {
        return;
    }
    if (e->type == EV_ROOM) {
        link->flush = false;
        sim_link_flush(s, e->node, e->a);
        sim_link_released(s, e->node, e->a);
    } else if (e->type == EV_HANDSHAKE && !link->up && link->core_knows) {
        sim_link_lose(s, e->node, e->a, BATON_CAUSE_UNREACHABLE);
    } else if (e->type == EV_PEER_EXIT && link->up) {
        sim_link_lose(s, e->node, e->a, BATON_CAUSE_PEER_DIED);
    }
}

static void dispatch_node(struct sim *s, const struct event *e)
{
    switch (e->type) {
    case EV_CLOCK:
        if (s->world->nodes[e->node].clock_at == e->time) {
            node_clock(s, e->node);
        }
        return;
    case EV_ASK:
        user_asks(s, e->node);
        return;
    case EV_ROOM:
    case EV_HANDSHAKE:
    case EV_PEER_EXIT:
        dispatch_link(s, e);
        return;
    case EV_DELIVER:
        conn_deliver(s, e);
        return;
    case EV_MOVE:
        sim_window_move(s, e);
        return;
    case EV_NIC_READ:
    case EV_NIC_LAND:
        sim_window_nic(s, e);
        return;
    case EV_BULK_ASK:
        sim_serve_ask(s, e);
        return;
    case EV_BULK_PIECE:
    case EV_BULK_END:
    case EV_PUSH_PIECE:
    case EV_PUSH_END:
        sim_window_bulk(s, e);
        return;
    case EV_CARD_DONE:
        sim_push_done(s, e);
        return;
    case EV_AGAIN:
        sim_push_again(s, e);
        return;
    case EV_SERVE:
        sim_serve_step(s, e);
        return;
    case EV_FETCH:
        user_fetch(s, e);
        return;
    case EV_LEAVE:
        leave_begin(s, e->node);
        return;
    default:
        dispatch_handoff(s, e);
    }
}

/* A process that is stopped does nothing; what a network card does goes on. */
static bool waits(struct sim *s, const struct event *e)
{
    const struct node *n = &s->world->nodes[e->node];

    return n->paused && e->type > EV_RESTART && e->type != EV_NIC_READ && e->type != EV_NIC_LAND &&
           e->type != EV_CARD_READ && e->type != EV_CARD_LAND;
}

void world_dispatch(struct sim *s)
{
    struct world *w = s->world;
    struct event e = pop(w);

    BATON_ASSERT(e.time >= w->now);
    w->now = e.time;
    if (waits(s, &e)) {
        struct node *n = &w->nodes[e.node];

        if (e.type == EV_CLOCK && n->clock_at == e.time) {
            n->clock_at = n->resume_at; /* it is the same one, later */
        } else if (e.type == EV_CLOCK) {
            return;
        }
        push(s, n->resume_at - w->now, e);
        return;
    }
    w->result.events++;
    w->hash = mix(w->hash, e.time * 64 + e.type + ((uint64_t)e.a << 40));
    switch (e.type) {
    case EV_WORK:
        user_work(s);
        return;
    case EV_FAULT:
        fault_next(s);
        return;
    case EV_STRIKE:
        fault_strike(s, &e);
        return;
    case EV_RESUME:
        if (w->now >= w->nodes[e.node].resume_at) {
            w->nodes[e.node].paused = false;
        }
        return;
    case EV_RESTART:
        if (!w->nodes[e.node].alive && !w->nodes[e.node].outside) {
            node_start(s, e.node);
        }
        return;
    case EV_CARD_READ:
    case EV_CARD_LAND:
        sim_push_card(s, &e);
        return;
    default:
        if (w->nodes[e.node].alive || e.type == EV_DELIVER) {
            dispatch_node(s, &e);
        }
        if (w->nodes[e.node].alive) {
            node_settle(s, e.node);
            leave_if_drained(s, e.node);
        }
    }
}

/* ---- a run ---- */

void world_full_check(struct sim *s)
{
    check_all(s);
    for (unsigned i = 0; s->world->options.deep && i < s->world->options.nodes; i++) {
        if (s->world->nodes[i].alive) {
            core_check(s->world->nodes[i].core);
            pool_check(s->world->nodes[i].pool);
        }
    }
}

static void steps(struct sim *s, uint64_t events)
{
    struct world *w = s->world;

    while (w->events > 0 && w->now < RUN_US_MAX && w->result.events < events) {
        world_dispatch(s);
        if (w->result.events % CHECK_EVERY == 0) {
            world_full_check(s);
        }
    }
}

/* S20: in a copy of this world one node dies now, for good; the others must finish as always. */
static void fork_and_kill(struct sim *s)
{
    struct world *w = s->world;
    uint64_t count = s->chart.count;
    struct sim_result result;
    unsigned victim;

    memcpy(s->spare, w, s->bytes);
    victim = below(&w->fault, w->options.nodes);
    chart_note(s, victim, victim, 0, "killed for good, in a copy of the world", 0, 0);
    if (w->nodes[victim].alive) {
        node_crash(s, victim, false);
    }
    w->nodes[victim].outside = true;
    heal_and_finish(s);
    result = w->result;
    memcpy(w, s->spare, s->bytes);
    s->chart.count = count;
    w->result.events = result.events;
    w->result.steps = result.steps;
    w->result.forked = true;
}

static void world_init(struct sim *s)
{
    struct world *w = s->world;

    memset(w, 0, sizeof(*w));
    s->chart.count = 0;
    w->result.seed = s->plan.seed;
    w->serve_new = -1;
    prng_init(&w->network, mix(s->plan.seed, 1));
    prng_init(&w->schedule, mix(s->plan.seed, 2));
    prng_init(&w->work, mix(s->plan.seed, 3));
    prng_init(&w->fault, mix(s->plan.seed, 4));
    prng_init(&w->push, mix(s->plan.seed, 6));
    options_draw(s);
    for (unsigned i = 0; i < w->options.nodes; i++) {
        node_start(s, i);
    }
    w->offers_left = w->options.offers;
    PUSH(s, 0, .type = EV_WORK);
    PUSH(s, around(&w->fault, w->options.fault_us), .type = EV_FAULT);
    if (w->options.leave_us > 0) {
        PUSH(s, w->options.leave_us, .type = EV_LEAVE, .node = w->options.leaver);
    }
}

static void run(struct sim *s)
{
    struct world *w = s->world;

    world_init(s);
    if (w->options.forked) {
        steps(s, 50 + below(&w->fault, 600));
        fork_and_kill(s);
    }
    if (w->options.narrow) {
        steps(s, 50 + below(&w->fault, 600));
        heal_leave_source(s);
    }
    steps(s, EVENTS_PER_RUN_MAX);
    heal_and_finish(s);
    w->result.hash = hash_world(s);
}

/* ---- what goes wrong ---- */

static struct sim *running;

static _Noreturn void leave(struct sim *s)
{
    s->running = false;
    longjmp(s->failed, 1);
}

void sim_fail(struct sim *s, const char *checker, const char *format, ...)
{
    struct sim_result *r = &s->world->result;
    va_list list;

    va_start(list, format);
    vsnprintf(r->text, sizeof(r->text), format, list);
    va_end(list);
    snprintf(r->checker, sizeof(r->checker), "%s", checker);
    leave(s);
}

/* An assertion of the core, the pool, the wire, or of this simulator. */
static void panicked(const char *condition, const char *file, int line)
{
    const char *name = strrchr(file, '/');

    if (running && running->running) {
        sim_fail(running, "panic", "%s (%s:%d)", condition, name ? name + 1 : file, line);
    }
}

void sim_run(struct sim *s, const struct sim_plan *plan, struct sim_result *ret_result)
{
    s->plan = *plan;
    s->running = true;
    running = s;
    baton_panic_hook(panicked);
    if (setjmp(s->failed) == 0) {
        run(s);
    } else {
        s->world->result.failed = true;
    }
    s->running = false;
    baton_panic_hook(NULL);
    s->world->result.deep = s->world->options.deep;
    s->world->result.faults = s->world->faults_done;
    *ret_result = s->world->result;
}

/* ---- memory ---- */

static struct core_limits largest(void)
{
    return (struct core_limits){.offers = OFFERS_MAX,
                                .fetches = FETCHES_MAX,
                                .links = LINKS_MAX,
                                .slots = SLOTS_MAX,
                                .attempts = 8,
                                .replies = 8,
                                .windows = WINDOWS_SHARED_MAX,
                                .windows_per_fetch = 4,
                                .window_bytes = 8,
                                .first_attempt = 1};
}

struct sim *sim_create(void)
{
    const struct core_limits limits = largest();
    struct sim *s = calloc(1, sizeof(*s));

    if (!s) {
        return NULL;
    }
    s->core_bytes = (core_state_bytes(&limits) + 63) & ~(size_t)63;
    s->pool_bytes = (pool_state_bytes(BLOCKS_MAX) + 63) & ~(size_t)63;
    s->bytes =
        ((sizeof(struct world) + 63) & ~(size_t)63) + NODES_MAX * (s->core_bytes + s->pool_bytes);
    s->world = calloc(1, s->bytes);
    s->spare = calloc(1, s->bytes);
    s->scratch = calloc(1, s->core_bytes);
    if (!s->world || !s->spare || !s->scratch) {
        sim_destroy(s);
        return NULL;
    }
    return s;
}

void sim_destroy(struct sim *s)
{
    if (!s) {
        return;
    }
    free(s->world);
    free(s->spare);
    free(s->scratch);
    free(s);
}
