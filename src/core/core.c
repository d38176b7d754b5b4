/* SPDX-License-Identifier: Apache-2.0 */
/* The core as a whole: its memory, and one step. */
#include "core/state.h"

#include <string.h>

/* Where the tables lie; the same walk gives the size and fills in the offsets. */
static uint64_t place(struct core *core)
{
    const struct core_limits *limits = &core->limits;
    uint64_t at = (sizeof(struct core) + 7) & ~UINT64_C(7);
    uint64_t slots = (uint64_t)limits->offers * limits->slots;
    uint64_t says = (uint64_t)limits->fetches * SAY_FETCH_END_ + slots * SAY_SLOT_END_ +
                    (uint64_t)limits->links * (SAY_LINK_END_ + limits->replies);

#define PLACE(field, type, count)                                                                  \
    core->field = at;                                                                              \
    at += ((count) * sizeof(type) + 7) & ~UINT64_C(7)
    PLACE(offers_at, struct offer, limits->offers);
    PLACE(slots_at, struct slot, slots);
    PLACE(fetches_at, struct fetch, limits->fetches);
    PLACE(links_at, struct link, limits->links);
    PLACE(replies_at, struct reply, (uint64_t)limits->links * limits->replies);
    PLACE(peers_at, struct peer, core->peers);
    PLACE(say_at, struct ilist_node, says);
    PLACE(fetch_on_link_at, struct ilist_node, limits->fetches);
    PLACE(slot_on_link_at, struct ilist_node, slots);
    PLACE(fetch_ready_at, struct ilist_node, limits->fetches);
    PLACE(link_ready_at, struct ilist_node, limits->links);
#undef PLACE
    core->heap_at = at;
    at += heap_state_bytes(limits->offers + limits->fetches + limits->links);
    return at;
}

/* Enough to remember the dial numbers of incarnations that have just lost their link. */
static uint32_t peers_for(const struct core_limits *limits)
{
    return limits->links * 2 + 2;
}

size_t core_state_bytes(const struct core_limits *limits)
{
    struct core core = {.limits = *limits, .peers = peers_for(limits)};

    return place(&core);
}

static void check_limits(const struct core_limits *limits)
{
    BATON_ASSERT(limits->offers <= 1U << CORE_INDEX_BITS);
    BATON_ASSERT(limits->fetches <= 1U << CORE_INDEX_BITS);
    BATON_ASSERT(limits->slots >= 1 && limits->slots <= BATON_READERS_MAX);
    BATON_ASSERT(limits->replies >= 2);
    BATON_ASSERT(limits->first_attempt >= 1);
    BATON_ASSERT(limits->windows >= 1 && limits->windows_per_fetch >= 1);
    BATON_ASSERT(limits->windows_per_fetch <= CORE_FETCH_WINDOWS_MAX);
    BATON_ASSERT(limits->window_bytes >= 1 && limits->window_bytes <= UINT32_MAX);
}

static void init_nodes(struct ilist_node *nodes, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        ilist_node_init(&nodes[i]);
    }
}

struct core *core_init(void *memory, const struct core_limits *limits)
{
    struct core *core = memory;
    uint64_t slots = (uint64_t)limits->offers * limits->slots;

    check_limits(limits);
    BATON_ASSERT(((uintptr_t)memory & 7) == 0);
    memset(memory, 0, core_state_bytes(limits));
    core->limits = *limits;
    core->peers = peers_for(limits);
    core->bytes = place(core);
    core->last_attempt = limits->first_attempt - 1;
    ilist_init(&core->ready);
    /* All lists of nodes lie one behind the other. */
    init_nodes(core_say(core), (core->fetch_on_link_at - core->say_at) / sizeof(struct ilist_node));
    init_nodes(core_fetch_on_link(core), limits->fetches);
    init_nodes(core_slot_on_link(core), slots);
    init_nodes(core_fetch_ready(core), limits->fetches);
    init_nodes(core_link_ready(core), limits->links);
    for (uint32_t i = 0; i < limits->links; i++) {
        ilist_init(&core_links(core)[i].say);
        ilist_init(&core_links(core)[i].fetches);
        ilist_init(&core_links(core)[i].slots);
        ilist_init(&core_links(core)[i].ready);
    }
    for (uint64_t i = 0; i < slots; i++) {
        core_slots(core)[i].link = ILIST_NONE;
    }
    heap_init(core_heap(core), limits->offers + limits->fetches + limits->links);
    return core;
}

static void dispatch(struct core *core, const struct core_event *event, uint64_t now_us,
                     struct core_actions *out)
{
    switch (event->type) {
    case CORE_EVENT_OFFER:
    case CORE_EVENT_ADVANCE:
    case CORE_EVENT_READ:
    case CORE_EVENT_SERVED:
        offer_event(core, event, now_us, out);
        return;
    case CORE_EVENT_FETCH:
    case CORE_EVENT_COPIED:
    case CORE_EVENT_PROOF:
        fetch_event(core, event, now_us, out);
        return;
    case CORE_EVENT_CANCEL:
        if (event->cancel.side == CORE_OFFER) {
            offer_event(core, event, now_us, out);
        } else {
            fetch_event(core, event, now_us, out);
        }
        return;
    case CORE_EVENT_TICK:
        return;
    default:
        link_event(core, event, now_us, out);
    }
}

bool core_step(struct core *core, const struct core_event *event, uint64_t now_us,
               struct core_actions *ret_actions)
{
    ret_actions->count = 0;
    if (event) {
        /* A link's end must be worked off before the next event sees its handoffs. */
        BATON_ASSERT(core->lost == 0);
        dispatch(core, event, now_us, ret_actions);
    }
    if (event && event->type == CORE_EVENT_READ) {
        return false; /* asked by a transport amid its own work: nothing else is to happen now */
    }
    if (link_reap(core, now_us, ret_actions)) {
        return true;
    }
    if (timer_expire(core, now_us, ret_actions)) {
        return true;
    }
    if (core->lost > 0) {
        return true; /* a clock closed a link */
    }
    return fetch_pump(core, ret_actions);
}

uint64_t core_deadline(const struct core *core)
{
    uint32_t item;
    uint64_t due;

    return heap_min(core_heap(core), &item, &due) ? due : CORE_NEVER;
}

void core_counts(const struct core *core, struct core_counts *ret_counts)
{
    *ret_counts = core->counts;
}

void core_gauges(const struct core *core, struct core_gauges *ret_gauges)
{
    *ret_gauges = core->gauges;
}
