/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One handoff through two cores, a source's and a sink's, without an engine: what core_step() costs
 * from the offer to the last FORGET.  Carries out only what such a handoff needs.
 */
#include "instructions.h"

#include "core/core.h"

#include <stdlib.h>
#include <string.h>

enum {
    SOURCE = 0,
    SINK = 1,
    WAITING_MAX = 64, /* events at once; a power of two */
    TOTAL_BYTES = 4 << 20,
};

struct waiting {
    int end;
    struct core_event event;
    struct frame frame;
};

struct two {
    struct core *core[2];
    struct core_actions actions;
    struct waiting waiting[WAITING_MAX];
    unsigned first, last;
    unsigned forgotten, completed;
    uint64_t serial;
};

static struct core_event *later(struct two *two, int end, enum core_event_type type)
{
    struct waiting *w = &two->waiting[two->last++ % WAITING_MAX];

    need(two->last - two->first <= WAITING_MAX, "room for events");
    memset(&w->event, 0, sizeof(w->event));
    w->end = end;
    w->event.type = type;
    return &w->event;
}

static void carry_frame(struct two *two, int end, const struct frame *frame)
{
    struct core_event *event = later(two, !end, CORE_EVENT_FRAME);
    struct waiting *w = &two->waiting[(two->last - 1) % WAITING_MAX];

    w->frame = *frame;
    event->frame.frame = &w->frame;
    event->frame.exported = true;
    later(two, end, CORE_EVENT_LINK_ROOM);
}

static void carry(struct two *two, int end, const struct core_action *action)
{
    struct core_event *event;

    switch (action->type) {
    case CORE_ACTION_FLUSH:
        later(two, end, CORE_EVENT_LINK_ROOM);
        break;
    case CORE_ACTION_FRAME:
        carry_frame(two, end, &action->frame);
        break;
    case CORE_ACTION_COPY:
        event = later(two, end, CORE_EVENT_COPIED);
        event->copied.id = action->copy.id;
        event->copied.length = event->copied.landed = action->copy.length;
        break;
    case CORE_ACTION_OUTCOME:
        two->completed += action->outcome.outcome == BATON_COMPLETED;
        break;
    case CORE_ACTION_FORGET:
        two->forgotten++;
        break;
    default: /* nothing that an event answers */
        break;
    }
}

static void apply(struct two *two, int end, const struct core_event *event)
{
    bool more = true;

    while (more) {
        more = core_step(two->core[end], event, 1, &two->actions);
        event = NULL;
        for (uint32_t i = 0; i < two->actions.count; i++) {
            carry(two, end, &two->actions.list[i]);
        }
    }
}

static void run_all(struct two *two)
{
    while (two->first < two->last) {
        /* A copy: what it causes may take its place. */
        struct waiting w = two->waiting[two->first++ % WAITING_MAX];

        if (w.event.type == CORE_EVENT_FRAME) {
            w.event.frame.frame = &w.frame;
        }
        apply(two, w.end, &w.event);
    }
}

static void handoff(void *arg)
{
    struct two *two = arg;
    const uint64_t id = two->serial++ << CORE_INDEX_BITS;
    struct core_event *event = later(two, SOURCE, CORE_EVENT_OFFER);

    event->offer.id = id;
    event->offer.slots = 1;
    event->offer.total = event->offer.watermark = TOTAL_BYTES;
    event->offer.exported = true;
    event = later(two, SINK, CORE_EVENT_FETCH);
    event->fetch.id = event->fetch.offer_id = id;
    event->fetch.end = event->fetch.total = TOTAL_BYTES;
    run_all(two);
}

static struct core *core_make(void)
{
    const struct core_limits limits = {.offers = 16,
                                       .fetches = 16,
                                       .links = 2,
                                       .slots = 8,
                                       .attempts = 8,
                                       .replies = 8,
                                       .windows = 16,
                                       .windows_per_fetch = 4,
                                       .window_bytes = 1 << 20,
                                       .inflight_bytes = 16 << 20,
                                       .link_timeout_us = 5000000,
                                       .doubt_us = 100000,
                                       .first_attempt = 1};
    void *memory = malloc(core_state_bytes(&limits));

    need(memory, "memory for a core");
    return core_init(memory, &limits);
}

void measure_core(void)
{
    static struct two two = {.serial = 1};
    struct core_event *event;

    two.core[SOURCE] = core_make();
    two.core[SINK] = core_make();
    event = later(&two, SINK, CORE_EVENT_DIAL);
    memset(event->peer.incarnation, 1, ID_BYTES);
    event = later(&two, SOURCE, CORE_EVENT_HELLO);
    memset(event->peer.incarnation, 2, ID_BYTES);
    event->peer.dial = 1;
    later(&two, SINK, CORE_EVENT_LINK_UP);
    run_all(&two);
    handoff(&two); /* what is done once is done now */
    measure("core_handoff_4_windows", handoff, &two);
    need(two.completed == 4 && two.forgotten == 4, "two handoffs, each completed at both ends");
    free(two.core[SOURCE]);
    free(two.core[SINK]);
}
