/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine that ends in order, in a process that lives on: it closes, which cancels all that it
 * has, goes on until everything is quiet and every receipt was used, says what is left to say, as
 * far as its connections take it, and is gone.  Nobody's kernel tells of that, and nobody answers
 * afterwards: what a sink is to know of its pushes must have been said.
 */
#include "sim/check.h"

void leave_begin(struct sim *s, unsigned node)
{
    struct world *w = s->world;
    struct node *n = &w->nodes[node];

    if (!n->alive || n->leaving || w->lives + w->options.nodes + 1U >= LIVES_MAX ||
        !fault_happens(s, SIM_LEAVE)) {
        return;
    }
    fault_struck(s, node);
    chart_note(s, node, node, 0, "closes, incarnation", n->life, 0);
    n->leaving = true;
    for (unsigned i = 0; i < w->handoff_count; i++) {
        struct handoff *h = handoff_at(s, (int)i);

        if (h->node == node && lives(s, h)) {
            user_cancel(s, h, BATON_CANCEL_ATTEMPT);
        }
    }
}

/* What is said is written first; whether that was all, the peer's end of it will judge by. */
static void say_last_words(struct sim *s, unsigned node, unsigned link)
{
    const struct sim_link *l = &s->world->nodes[node].links[link];
    struct conn *c;

    if (!l->up || l->conn < 0) {
        return;
    }
    sim_link_flush(s, node, link);
    if (l->up && l->conn >= 0 && !l->broken) {
        c = &s->world->conn[l->conn];
        /* Not one that was broken before, and has lost some of it. */
        c->orderly = !c->eof[SINK] && !c->lost[SINK] &&
                     core_link(s->world->nodes[node].core, link)->say.count == 0;
    }
}

static void engine_ends(struct sim *s, unsigned node)
{
    struct world *w = s->world;
    struct node *n = &w->nodes[node];

    for (unsigned i = 0; i < LINKS_MAX; i++) {
        say_last_words(s, node, i);
    }
    for (unsigned i = 0; i < LINKS_MAX; i++) {
        if (n->links[i].used && n->links[i].core_knows) {
            sim_link_lose(s, node, i, BATON_CAUSE_CLOSING);
        }
    }
    node_settle(s, node);
    chart_note(s, node, node, 0, "is gone, incarnation", n->life, 0);
    n->alive = false;
    for (unsigned i = 0; i < CONNS_MAX; i++) {
        for (unsigned end = 0; end < 2; end++) {
            if (w->conn[i].used && w->conn[i].node[end] == node && !w->conn[i].closed[end]) {
                conn_close(s, i, end, false);
            }
        }
    }
    PUSH(s, around(&w->push, w->options.work_us), .type = EV_RESTART, .node = (uint8_t)node);
}

void leave_if_drained(struct sim *s, unsigned node)
{
    if (!s->world->nodes[node].leaving || s->world->healing) {
        return;
    }
    for (unsigned i = 0; i < s->world->handoff_count; i++) {
        const struct handoff *h = handoff_at(s, (int)i);

        if (h->node == node && lives(s, h) && !h->retired) {
            return;
        }
    }
    engine_ends(s, node);
}
