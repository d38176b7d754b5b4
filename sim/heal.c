/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a run.  All faults are over for the nodes inside; some may stay outside, dead, stopped
 * or cut off for good.  Between the nodes inside everything must end by itself; then they close,
 * and every block must be free, in bounded virtual time.
 */
#include "sim/check.h"

enum {
    QUIET_US = 400000, /* for what goes on by itself */
    CLOSE_US = 400000, /* for what is cancelled */
    SLICE_US = 10000,
};

/* ---- who is inside ---- */

static void stop_for_good(struct node *n)
{
    n->outside = true;
    n->paused = true;
    n->resume_at = UINT64_MAX / 2;
}

void heal_leave_source(struct sim *s)
{
    struct world *w = s->world;

    stop_for_good(&w->nodes[below(&w->fault, w->options.sources)]);
}

static void leave_outside(struct sim *s, unsigned node)
{
    struct world *w = s->world;
    unsigned how = below(&w->fault, 3);

    w->nodes[node].outside = true;
    if (how == 0 && w->nodes[node].alive) {
        node_crash(s, node, w->options.silent_crash);
    } else if (how == 1) {
        stop_for_good(&w->nodes[node]);
    } else {
        for (unsigned i = 0; i < w->options.nodes; i++) {
            w->cut_until[i][node] = w->cut_until[node][i] = UINT64_MAX / 2;
        }
    }
}

static void heal_node(struct sim *s, unsigned node)
{
    struct world *w = s->world;
    struct node *n = &w->nodes[node];

    if (!n->alive && w->lives < LIVES_MAX) {
        node_start(s, node);
    }
    n->clog_until = 0;
    /* A clock that was put back would make silence last. */
    n->clock_offset = n->clock_highest;
    n->clock_at = UINT64_MAX;
    node_arm(s, node);
    if (n->paused) {
        PUSH(s, n->resume_at > w->now ? n->resume_at - w->now : 0, .type = EV_RESUME,
             .node = (uint8_t)node);
    }
    for (unsigned i = 0; i < w->options.nodes; i++) {
        if (!w->nodes[i].outside) {
            w->cut_until[i][node] = w->cut_until[node][i] = 0;
        }
    }
}

static void heal(struct sim *s)
{
    struct world *w = s->world;
    unsigned outsider = below(&w->fault, w->options.nodes);
    bool leave = chance(&w->fault, 300);

    chart_note(s, 0, 0, 0, "all faults are over", 0, 0);
    w->healing = true;
    if (leave && w->options.nodes > 1 && !w->options.narrow) {
        leave_outside(s, outsider);
    }
    for (unsigned i = 0; i < w->options.nodes; i++) {
        if (!w->nodes[i].outside) {
            heal_node(s, i);
        }
    }
    for (unsigned i = 0; i < CONNS_MAX; i++) {
        w->conn[i].stall_until = 0;
    }
}

/* ---- time passes ---- */

static void run_for(struct sim *s, uint64_t length, bool (*done)(struct sim *))
{
    struct world *w = s->world;
    uint64_t until = w->now + length, begun = w->result.events, look = w->now;

    while (w->events > 0 && w->heap[0].time <= until) {
        world_dispatch(s);
        check_L4_no_livelock(s, w->result.events - begun);
        if (w->now >= look) {
            look = w->now + SLICE_US / 10;
            world_full_check(s);
            if (done(s)) {
                return;
            }
        }
    }
    w->now = w->now > until ? w->now : until;
}

/* Nothing between nodes inside waits for anything but a reader that may never come. */
static bool fetches_over(struct sim *s)
{
    struct world *w = s->world;

    for (unsigned i = 0; i < w->handoff_count; i++) {
        const struct handoff *h = handoff_at(s, (int)i);
        const struct handoff *offer = h->offer < 0 ? NULL : handoff_at(s, h->offer);

        if (offer && lives(s, h) && lives(s, offer) && !w->nodes[h->node].outside &&
            !w->nodes[offer->node].outside && (h->outcomes == 0 || h->lease == LEASE_VALID)) {
            return false;
        }
    }
    return true;
}

static bool all_free(struct sim *s)
{
    struct world *w = s->world;

    for (unsigned i = 0; i < w->options.nodes; i++) {
        struct core_gauges g;
        struct pool_counts c;

        if (!w->nodes[i].alive || w->nodes[i].outside) {
            continue;
        }
        core_gauges(w->nodes[i].core, &g);
        pool_counts(w->nodes[i].pool, &c);
        if (c.free + stuck_of(s, i).blocks != c.total ||
            g.offers + g.fetches != stuck_of(s, i).fetches) {
            return false;
        }
    }
    return true;
}

/* Users go on computing what they have offered. */
static void go_on(struct sim *s)
{
    for (unsigned i = 0; i < s->world->handoff_count; i++) {
        struct handoff *h = handoff_at(s, (int)i);

        if (h->side == CORE_OFFER && lives(s, h) && !s->world->nodes[h->node].outside &&
            h->filled < h->total) {
            PUSH(s, i, .type = EV_COMPUTE, .node = h->node, .a = (uint16_t)i);
        }
    }
}

/* Users close: cancel what is not over, and drop every block. */
static void close_all(struct sim *s)
{
    s->world->closing = true;
    for (unsigned i = 0; i < s->world->handoff_count; i++) {
        struct handoff *h = handoff_at(s, (int)i);

        if (lives(s, h) && !s->world->nodes[h->node].outside) {
            user_cancel(s, h, BATON_CANCEL_ATTEMPT);
            PUSH(s, 200, .type = EV_RELEASE, .node = h->node, .a = (uint16_t)i);
        }
    }
}

void heal_and_finish(struct sim *s)
{
    struct world *w = s->world;

    heal(s);
    go_on(s);
    run_for(s, QUIET_US, fetches_over);
    check_P11_nobody_forgotten(s);
    close_all(s);
    run_for(s, CLOSE_US, all_free);
    check_L1_terminal(s);
    for (unsigned i = 0; i < w->options.nodes; i++) {
        if (w->nodes[i].alive && !w->nodes[i].outside) {
            check_L2_free(s, i);
            core_check(w->nodes[i].core);
            pool_check(w->nodes[i].pool);
        }
    }
    world_full_check(s);
}
