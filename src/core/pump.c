/* SPDX-License-Identifier: Apache-2.0 */
/* Which fetch starts a window next: in turn, while the budget of the whole engine lasts. */
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
    bool wants = wants_window(core, &core_fetches(core)[index]);
    bool is = ilist_has(core_fetch_ready(core), index);

    if (wants && !is) {
        ilist_push(&core->ready, core_fetch_ready(core), index);
    } else if (!wants && is) {
        ilist_remove(&core->ready, core_fetch_ready(core), index);
    }
}

static bool budget(const struct core *core, uint64_t length)
{
    if (core->gauges.windows == 0) {
        return true; /* one window always fits, whatever the limits say */
    }
    return core->gauges.windows < core->limits.windows &&
           core->gauges.inflight_bytes + length <= core->limits.inflight_bytes;
}

bool fetch_pump(struct core *core, struct core_actions *out)
{
    while (core->ready.count > 0) {
        uint32_t index = core->ready.head;
        struct fetch *f = &core_fetches(core)[index];
        uint64_t length = fetch_readable(f) - f->next;
        struct core_action *action;

        BATON_ASSERT(wants_window(core, f));
        length = length < core->limits.window_bytes ? length : core->limits.window_bytes;
        if (!budget(core, length)) {
            return false; /* a window that ends makes room */
        }
        if (!action_room(out)) {
            return true;
        }
        action = action_add(out, CORE_ACTION_COPY);
        action->index = index;
        action->copy.id = f->id;
        action->copy.offset = f->next;
        action->copy.length = length;
        f->next += length;
        f->copies++;
        core->gauges.windows++;
        core->gauges.inflight_bytes += length;
        /* To the end of the queue: everybody moves on. */
        ilist_remove(&core->ready, core_fetch_ready(core), index);
        fetch_ready(core, index);
    }
    return false;
}
