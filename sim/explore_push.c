/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The explorer's pushes: the source's network card stores into a sink's blocks.  What was posted
 * lands, at any time: after the lease, the link, or the source's process has ended.  Only then does
 * the source know that it is over.  Of a source that died, the sink is given a proof once nothing
 * can land any more (its host, or a fence, would).
 */
#include "sim/explore_world.h"

#include <string.h>

void explore_push_start(struct explorer *x, const struct core_action *a)
{
    struct world *w = x->w;
    unsigned i = 0, key = w->reader[w->life[0]][a->serve.attempt % ATTEMPTS_MAX];
    struct push *p;

    while (i < PUSHES_MAX && w->pushes[i].state != PUSH_NONE) {
        i++;
    }
    if (i == PUSHES_MAX || !key || a->serve.length != 1) {
        explore_broken(x, "S16 bounds", "the source writes what nobody granted");
    }
    p = &w->pushes[i];
    *p = (struct push){.state = PUSH_ASKED,
                       .sink = (uint8_t)((key - 1) / FETCHES_MAX),
                       .fetch = (uint8_t)((key - 1) % FETCHES_MAX),
                       .source_life = w->life[0],
                       .plan = (uint8_t)a->index,
                       .slot = (uint8_t)a->slot,
                       .attempt = (uint8_t)a->serve.attempt,
                       .unit = (uint8_t)a->serve.offset};
    p->sink_life = w->fetches[p->sink][p->fetch].sink_life;
    explore_check_p6_push(x, p);
}

void explore_push_stop(struct explorer *x, const struct core_action *a)
{
    struct world *w = x->w;

    for (unsigned i = 0; i < PUSHES_MAX; i++) {
        struct push *p = &w->pushes[i];

        if (p->state == PUSH_ASKED && p->plan == a->index && p->attempt == a->serve.attempt) {
            p->state = PUSH_BACK;
        }
    }
}

/* Pushes of one attempt are posted and land in order. */
static bool is_first(const struct world *w, const struct push *p)
{
    for (unsigned i = 0; i < PUSHES_MAX; i++) {
        const struct push *q = &w->pushes[i];

        if (q->state != PUSH_NONE && q->source_life == p->source_life && q->attempt == p->attempt &&
            q->unit < p->unit && q->state <= p->state) {
            return false;
        }
    }
    return true;
}

static void served(struct explorer *x, struct push *p, enum core_copied status)
{
    struct core_event event = {.type = CORE_EVENT_SERVED};

    event.served.offer_id = x->w->offers[x->w->life[0]][p->plan].id;
    event.served.length = 1;
    event.served.status = status;
    event.served.slot = p->slot;
    event.served.push = true;
    memset(p, 0, sizeof(*p));
    explore_world_event(x, 0, &event);
}

bool explore_push_settle(struct explorer *x)
{
    for (unsigned i = 0; i < PUSHES_MAX; i++) {
        struct push *p = &x->w->pushes[i];

        /* What was stopped is told after what was posted before it. */
        if (p->state == PUSH_BACK && is_first(x->w, p)) {
            served(x, p, CORE_COPIED_ABORTED);
            return true;
        }
    }
    return false;
}

void explore_push_crash(struct world *w)
{
    for (unsigned i = 0; i < PUSHES_MAX; i++) {
        if (w->pushes[i].state != PUSH_POSTED) {
            memset(&w->pushes[i], 0, sizeof(w->pushes[i]));
        }
    }
}

bool explore_push_open(const struct world *w, unsigned sink, unsigned fetch)
{
    for (unsigned i = 0; i < PUSHES_MAX; i++) {
        const struct push *p = &w->pushes[i];

        if ((p->state == PUSH_ASKED || p->state == PUSH_POSTED) && p->sink == sink &&
            p->fetch == fetch && p->sink_life == w->life[sink + 1]) {
            return true;
        }
    }
    return false;
}

/* The sink's fetch that waits for a proof without a link; NULL. */
static const struct fetch_book *doubtful(const struct explorer *x, const struct world *w,
                                         unsigned sink)
{
    const struct core *core = core_of(x, w, (int)sink + 1);
    unsigned fetch = 0;

    for (uint32_t i = 0; i < core->limits.fetches; i++) {
        const struct fetch *f = &core_fetches(core)[i];

        if (f->state == FETCH_DRAINING && f->remote && f->link == ILIST_NONE) {
            return explore_fetch_book_of(w, sink, f->id, &fetch);
        }
    }
    return NULL;
}

static bool is_linked(const struct explorer *x, const struct world *w, unsigned sink)
{
    uint8_t source[ID_BYTES];

    explore_incarnation_of(0, w->life[0], source);
    return core_link_to(core_of(x, w, (int)sink + 1), source) != CORE_NONE;
}

enum step_kind explore_push_step_of(const struct explorer *x, const struct world *w, unsigned sink)
{
    const struct fetch_book *f = doubtful(x, w, sink);

    if (!f) {
        return STEP_NONE;
    }
    if (f->source_life == w->life[0]) {
        return is_linked(x, w, sink) ? STEP_NONE : STEP_DIAL;
    }
    return explore_push_open(w, sink, (unsigned)(f - w->fetches[sink])) ? STEP_NONE : STEP_PROVE;
}

enum step_kind explore_push_step(const struct world *w, unsigned i)
{
    const struct push *p = &w->pushes[i];

    if (p->state == PUSH_NONE || p->state == PUSH_BACK || !is_first(w, p)) {
        return STEP_NONE;
    }
    return p->state == PUSH_ASKED ? STEP_POST : STEP_LAND;
}

void explore_push_post(struct explorer *x, unsigned i)
{
    explore_check_p6_push(x, &x->w->pushes[i]);
    x->w->pushes[i].state = PUSH_POSTED;
}

/* The card reads the source's block as it is now. */
void explore_push_land(struct explorer *x, unsigned i)
{
    struct world *w = x->w;
    struct push *p = &w->pushes[i];
    struct fetch_book *f = &w->fetches[p->sink][p->fetch];

    if (p->sink_life == w->life[p->sink + 1]) {
        explore_check_s1_write(x, f);
        f->content[p->unit] = w->content[p->source_life][x->rules->block[p->plan][p->unit]];
        f->torn |= !explore_lease_valid(x, p->sink, p->fetch);
    }
    if (p->source_life == w->life[0]) {
        served(x, p, CORE_COPIED_OK);
    } else {
        memset(p, 0, sizeof(*p));
    }
}

void explore_push_prove(struct explorer *x, unsigned sink)
{
    struct core_event event = {.type = CORE_EVENT_PROOF};

    event.proof.id = doubtful(x, x->w, sink)->id;
    event.proof.proof = BATON_PROOF_PEER_EXITED;
    explore_world_event(x, (int)sink + 1, &event);
}
