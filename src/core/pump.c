/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which fetch starts a window next.  Links have their turns, and so have the fetches of a link,
 * while the budget of the whole engine lasts.  A link without a window may always start one: a peer
 * that has stopped, with the whole budget under way, holds up nobody else.
 */
#include "core/state.h"

uint64_t fetch_readable(const struct fetch *f)
{
    return f->watermark < f->end ? f->watermark : f->end;
}

static bool wants_window(const struct core *core, const struct fetch *f)
{
    return f->state == FETCH_READING && !f->stalled && f->next < fetch_readable(f) &&
           f->copies < core->limits.windows_per_fetch;
}

void fetch_ready(struct core *core, uint32_t index)
{
    const struct fetch *f = &core_fetches(core)[index];
    bool wants = wants_window(core, f);
    bool is = ilist_has(core_fetch_ready(core), index);
    struct link *l;

    if (wants == is) {
        return;
    }
    l = core_link(core, f->windows_link);
    if (wants) {
        ilist_push(&l->ready, core_fetch_ready(core), index);
        if (l->ready.count == 1) {
            ilist_push(&core->ready, core_link_ready(core), f->windows_link);
        }
    } else {
        ilist_remove(&l->ready, core_fetch_ready(core), index);
        if (l->ready.count == 0) {
            ilist_remove(&core->ready, core_link_ready(core), f->windows_link);
        }
    }
}

static uint64_t next_length(const struct core *core, const struct fetch *f)
{
    uint64_t length = fetch_readable(f) - f->next;

    return length < core->limits.window_bytes ? length : core->limits.window_bytes;
}

static bool budget(const struct core *core, const struct link *l)
{
    uint64_t length = next_length(core, &core_fetches(core)[l->ready.head]);

    return core->gauges.windows < core->limits.windows &&
           core->gauges.inflight_bytes + length <= core->limits.inflight_bytes;
}

/* The link whose turn it is; while the budget has no room for it, the next one without a window. */
static uint32_t next_link(const struct core *core)
{
    uint32_t link = core->ready.head;

    if (link != ILIST_NONE && budget(core, core_link(core, link))) {
        return link;
    }
    while (link != ILIST_NONE && core_link(core, link)->windows > 0) {
        link = core_link_ready(core)[link].next;
    }
    return link;
}

static void start_window(struct core *core, struct link *l, uint32_t index,
                         struct core_actions *out)
{
    struct fetch *f = &core_fetches(core)[index];
    uint64_t length = next_length(core, f);

    if (!f->remote) {
        struct core_action *action = action_add(out, CORE_ACTION_COPY);

        action->index = index;
        action->copy.id = f->id;
        action->copy.offset = f->next;
        action->copy.length = length;
    }
    f->next += length;
    f->copies++;
    l->windows++;
    core->gauges.windows++;
    core->gauges.inflight_bytes += length;
    if (f->push) {
        push_start(core, index, length, out);
    }
}

bool fetch_pump(struct core *core, struct core_actions *out)
{
    uint32_t link;

    while ((link = next_link(core)) != ILIST_NONE) {
        struct link *l = core_link(core, link);
        uint32_t index = l->ready.head;

        BATON_ASSERT(wants_window(core, &core_fetches(core)[index]));
        if (!action_room(out)) {
            return true;
        }
        start_window(core, l, index, out);
        /* To the ends of the queues: everybody moves on. */
        ilist_remove(&l->ready, core_fetch_ready(core), index);
        ilist_remove(&core->ready, core_link_ready(core), link);
        if (l->ready.count > 0) {
            ilist_push(&core->ready, core_link_ready(core), link);
        }
        fetch_ready(core, index);
    }
    return false;
}
