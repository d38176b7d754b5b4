/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks.  Each offer, fetch and link has one entry in the heap: the earliest of the clocks that it
 * runs.  Expiry only starts attempts (cancel, revoke, close); nothing is freed here, so any
 * timestamps are safe.
 */
#include "core/state.h"

uint64_t timer_span(uint32_t ms)
{
    return ms ? (uint64_t)ms * 1000 : CORE_NEVER;
}

uint64_t timer_after(uint64_t now_us, uint64_t span_us)
{
    return span_us > CORE_NEVER - now_us ? CORE_NEVER : now_us + span_us;
}

static void set(struct core *core, uint32_t item, uint64_t due)
{
    if (due == CORE_NEVER) {
        heap_remove(core_heap(core), item);
    } else {
        heap_set(core_heap(core), item, due);
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void timer_offer(struct core *core, uint32_t index)
{
    const struct offer *o = &core_offers(core)[index];
    uint64_t due = CORE_NEVER;

    if (o->state == OFFER_OPEN) {
        due = o->whole_due;
        for (uint32_t s = 0; s < o->slots; s++) {
            due = earlier(due, core_slots(core)[slot_number(core, index, s)].due);
        }
    } else if (o->state == OFFER_ENDED) {
        due = o->doubt_due;
    }
    set(core, index, due);
}

void timer_fetch(struct core *core, uint32_t index)
{
    const struct fetch *f = &core_fetches(core)[index];
    uint64_t due = CORE_NEVER;

    BATON_ASSERT(f->state != FETCH_FREE);
    if (f->outcome == BATON_UNDECIDED) {
        due = earlier(f->whole_due, f->clock_due);
    } else if (f->state == FETCH_DRAINING) {
        due = f->doubt_due;
    }
    set(core, core->limits.offers + index, due);
}

void timer_link(struct core *core, uint32_t index)
{
    const struct link *l = core_link(core, index);

    set(core, core->limits.offers + core->limits.fetches + index,
        l->state == LINK_UP && l->ping ? l->due : CORE_NEVER);
}

bool timer_expire(struct core *core, uint64_t now_us, struct core_actions *out)
{
    const uint32_t offers = core->limits.offers, fetches = core->limits.fetches;
    uint32_t item;
    uint64_t due;

    /* A clock that closed a link comes first: its handoffs have nowhere to say anything any more.
     */
    while (core->lost == 0 && heap_min(core_heap(core), &item, &due) && due <= now_us) {
        if (!action_room(out)) {
            return true;
        }
        /* Each of these ends the clock that ran out or sets it later, so the loop ends. */
        if (item < offers) {
            offer_expire(core, item, now_us, out);
        } else if (item < offers + fetches) {
            fetch_expire(core, item - offers, now_us, out);
        } else {
            link_expire(core, item - offers - fetches, now_us, out);
        }
    }
    return false;
}
