/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the cores and the explorer's world: what an engine does with actions is done here, and
 * written down in the books of what everybody was told.
 */
#include "sim/explore_world.h"

#include <string.h>

/* ---- windows and serves ---- */

static void carry_copy(struct explorer *x, unsigned sink, const struct core_action *a)
{
    struct world *w = x->w;
    struct window *v = NULL;
    unsigned fetch = 0;
    const struct fetch_book *f = explore_fetch_book_of(w, sink, a->copy.id, &fetch);

    for (unsigned i = 0; i < WINDOWS_MAX && !v; i++) {
        v = w->windows[sink][i].state == WINDOW_NONE ? &w->windows[sink][i] : NULL;
    }
    if (!f || !v || f->outcome || a->copy.length != 1 || a->copy.offset >= x->rules->units) {
        explore_broken(x, "S8 no post after the end", "a window starts for a fetch that is over");
    }
    explore_check_p7_window(x, f, a->copy.offset + a->copy.length);
    *v = (struct window){
        .state = WINDOW_POSTED, .fetch = (uint8_t)fetch, .unit = (uint8_t)a->copy.offset};
}

/* Streams give windows back at once; a mover that has looked before goes on to the end. */
static void carry_copy_stop(struct explorer *x, unsigned sink, const struct core_action *a)
{
    struct world *w = x->w;

    for (unsigned i = 0; i < WINDOWS_MAX; i++) {
        struct window *v = &w->windows[sink][i];

        if (v->state == WINDOW_NONE || w->fetches[sink][v->fetch].id != a->copy.id) {
            continue;
        }
        v->stopped = 1;
        v->state = is_stream(x, sink) ? WINDOW_BACK : v->state;
    }
    for (unsigned i = 0; i < SERVES_MAX && is_stream(x, sink); i++) {
        struct serve *s = &w->serves[i];

        s->orphan |= s->state != SERVE_NONE && s->sink == sink &&
                     w->windows[sink][s->window].state == WINDOW_BACK;
    }
}

static void carry_serve_stop(struct explorer *x, const struct core_action *a)
{
    struct world *w = x->w;

    for (unsigned i = 0; i < SERVES_MAX; i++) {
        struct serve *s = &w->serves[i];

        if (s->state == SERVE_ON && s->plan == a->index && s->attempt == a->serve.attempt) {
            s->state = SERVE_BACK;
        }
    }
}

void explore_world_settle(struct explorer *x)
{
    struct world *w = x->w;

    while (explore_push_settle(x)) {
    }
    for (unsigned i = 0; i < SERVES_MAX; i++) {
        struct serve *s = &w->serves[i];
        struct core_event event = {.type = CORE_EVENT_SERVED};

        if (s->state != SERVE_BACK) {
            continue;
        }
        if (!s->orphan && w->windows[s->sink][s->window].state == WINDOW_SERVED) {
            w->windows[s->sink][s->window].state = WINDOW_REFUSED;
        }
        event.served.offer_id = w->offers[w->life[0]][s->plan].id;
        memset(s, 0, sizeof(*s));
        explore_world_event(x, 0, &event);
    }
    for (unsigned sink = 0; sink < x->rules->sinks; sink++) {
        for (unsigned i = 0; i < WINDOWS_MAX; i++) {
            struct window *v = &w->windows[sink][i];
            struct core_event event = {.type = CORE_EVENT_COPIED};

            if (v->state != WINDOW_BACK) {
                continue;
            }
            event.copied.id = w->fetches[sink][v->fetch].id;
            event.copied.length = 1;
            event.copied.status = CORE_COPIED_ABORTED;
            memset(v, 0, sizeof(*v));
            explore_world_event(x, (int)sink + 1, &event);
        }
    }
}

/* ---- outcomes and receipts ---- */

static void carry_offer(struct explorer *x, const struct core_action *a)
{
    struct offer_book *o = &x->w->offers[x->w->life[0]][a->index];
    uint32_t blocks[UNITS_MAX];

    explore_offer_blocks(x, a->index, blocks);
    explore_check_s6_outcome(x, 0, a, o->outcome, o->quiet);
    if (a->type == CORE_ACTION_OUTCOME) {
        o->outcome = (uint8_t)a->outcome.outcome;
        explore_debt_quarantine(x, 0, &o->debt, blocks, o->id);
    } else if (a->type == CORE_ACTION_QUIET) {
        explore_check_offer_quiet(x, a->index, a);
        o->quiet = 1;
        explore_debt_retire(x, 0, &o->debt, blocks, o->id);
    } else if (a->type == CORE_ACTION_FORGET) {
        o->forgotten = 1;
    }
}

/* The fetch that a sink's core names by its index: the record stays until it is forgotten. */
static struct fetch_book *fetch_spoken_of(struct explorer *x, unsigned sink, uint32_t index)
{
    struct world *w = x->w;

    for (unsigned i = w->fetched[sink]; i > 0; i--) {
        struct fetch_book *f = &w->fetches[sink][i - 1];

        if (f->made && !f->forgotten && (f->id & ((1U << CORE_INDEX_BITS) - 1)) == index) {
            return f;
        }
    }
    explore_broken(x, "S6 one outcome", "sink %u speaks of a fetch that nobody made", sink + 1);
}

static void carry_fetch(struct explorer *x, unsigned sink, const struct core_action *a)
{
    struct fetch_book *f = fetch_spoken_of(x, sink, a->index);
    unsigned fetch = (unsigned)(f - x->w->fetches[sink]);
    uint32_t blocks[UNITS_MAX];

    explore_fetch_blocks(x, blocks);
    explore_check_s6_outcome(x, (int)sink + 1, a, f->outcome, f->quiet);
    if (a->type == CORE_ACTION_OUTCOME) {
        f->outcome = (uint8_t)a->outcome.outcome;
        if (f->outcome == BATON_COMPLETED) {
            explore_check_completed(x, sink, fetch);
        }
        explore_debt_quarantine(x, (int)sink + 1, &f->debt, blocks, f->id);
    } else if (a->type == CORE_ACTION_QUIET) {
        explore_check_fetch_quiet(x, sink, fetch, a);
        f->quiet = 1;
        explore_debt_retire(x, (int)sink + 1, &f->debt, blocks, f->id);
    } else if (a->type == CORE_ACTION_FORGET) {
        f->forgotten = 1;
    }
}

/* ---- links ---- */

static void carry_frame(struct explorer *x, int node, const struct core_action *a)
{
    struct wire *wire = explore_world_wire_of(x->w, node, a->link);
    int end = node ? SINK_END : SOURCE_END;
    struct word word;

    if (!wire) {
        explore_broken(x, "P5 one reader generation",
                       "node %d writes a frame for a link that ended", node);
    }
    explore_word_of(&a->frame, &word);
    explore_wire_say(x, wire, !end, &word);
    wire->wants[end] = 1;
}

static void carry_link(struct explorer *x, int node, const struct core_action *a)
{
    struct wire *wire = explore_world_wire_of(x->w, node, a->link);
    int end = node ? SINK_END : SOURCE_END;

    switch (a->type) {
    case CORE_ACTION_FLUSH:
        if (wire) {
            wire->wants[end] = 1;
        }
        return;
    case CORE_ACTION_LINK_UP:
        if (node == 0 && wire) {
            explore_wire_say(x, wire, SINK_END, &(struct word){.type = FRAME_WELCOME});
        }
        return;
    case CORE_ACTION_LINK_REFUSED:
    case CORE_ACTION_LINK_CLOSE:
        if (!wire) {
            explore_broken(x, "P5 one reader generation", "node %d closes a link that ended", node);
        }
        explore_world_close(x, wire, end);
        return;
    default:
        return;
    }
}

static void carry_trace(struct explorer *x, const struct core_action *a)
{
    if (a->side == CORE_OFFER && a->trace.to == BATON_STAGE_LEASED) {
        explore_check_lease(x, a->index, a);
    } else if (a->side == CORE_OFFER && a->trace.to == BATON_STAGE_COMMITTED) {
        explore_check_commit(x, a->index, a);
    }
}

static void carry(struct explorer *x, int node, const struct core_action *a)
{
    switch (a->type) {
    case CORE_ACTION_TRACE:
        carry_trace(x, a);
        return;
    case CORE_ACTION_COPY:
        carry_copy(x, (unsigned)node - 1, a);
        return;
    case CORE_ACTION_COPY_STOP:
        carry_copy_stop(x, (unsigned)node - 1, a);
        return;
    case CORE_ACTION_SERVE_STOP:
        carry_serve_stop(x, a);
        explore_push_stop(x, a);
        return;
    case CORE_ACTION_SERVE:
        if (a->serve.push) {
            explore_push_start(x, a);
        }
        return; /* else who asked looks at the actions itself */
    case CORE_ACTION_SERVE_REFUSE:
        return;
    case CORE_ACTION_OUTCOME:
    case CORE_ACTION_DOUBT:
    case CORE_ACTION_QUIET:
    case CORE_ACTION_FORGET:
        if (node == 0) {
            carry_offer(x, a);
        } else {
            carry_fetch(x, (unsigned)node - 1, a);
        }
        return;
    case CORE_ACTION_FRAME:
        carry_frame(x, node, a);
        return;
    default:
        carry_link(x, node, a);
    }
}

void explore_world_event(struct explorer *x, int node, const struct core_event *event)
{
    struct core *core = core_of(x, x->w, node);
    bool more = true;

    x->touched |= 1U << node;
    while (more) {
        more = core_step(core, event, WORLD_NOW_US, &x->actions);
        event = NULL;
        for (uint32_t i = 0; i < x->actions.count; i++) {
            carry(x, node, &x->actions.list[i]);
        }
    }
}
