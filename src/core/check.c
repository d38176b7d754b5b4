/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_check(): every invariant that can be seen within one engine, found by looking at all of the
 * state.  It changes nothing and trusts no count.  What only two engines together show (agreement,
 * nobody forgotten) is not here.
 */
#include "core/state.h"

#include <string.h>

/* A list is a chain in both directions, as long as it says. */
static void check_list(const struct ilist *list, const struct ilist_node *nodes)
{
    uint32_t prev = ILIST_NONE, at = list->head;

    for (uint32_t i = 0; i < list->count; i++) {
        BATON_ASSERT(at != ILIST_NONE);
        BATON_ASSERT(ilist_has(nodes, at));
        BATON_ASSERT(nodes[at].prev == prev);
        prev = at;
        at = nodes[at].next;
    }
    BATON_ASSERT(at == ILIST_NONE);
    BATON_ASSERT(list->tail == prev);
}

static uint64_t nodes_in_lists(const struct ilist_node *nodes, uint64_t count)
{
    uint64_t in = 0;

    for (uint64_t i = 0; i < count; i++) {
        in += ilist_has(nodes, (uint32_t)i);
    }
    return in;
}

static bool says(const struct core *core, uint32_t number, enum say_slot what)
{
    return say_has(core, say_of_slot(core, number, what));
}

/* ---- offers ---- */

static bool slot_says(const struct core *core, uint32_t number)
{
    for (int what = 0; what < SAY_SLOT_END_; what++) {
        if (says(core, number, what)) {
            return true;
        }
    }
    return false;
}

static void check_slot(const struct core *core, const struct offer *o, uint32_t number)
{
    const struct slot *t = &core_slots(core)[number];
    bool final = t->state == SLOT_COMMITTED || t->state == SLOT_REVOKED;

    BATON_ASSERT(t->state <= SLOT_REVOKED);
    BATON_ASSERT(BATON_IMPLIES(final, t->due == CORE_NEVER));
    BATON_ASSERT(BATON_IMPLIES(o->state != OFFER_OPEN, final));
    /* An offer ends with its first revoked slot, in one step. */
    BATON_ASSERT(BATON_IMPLIES(o->state == OFFER_OPEN, t->state != SLOT_REVOKED));
    BATON_ASSERT(BATON_IMPLIES(o->outcome == BATON_COMPLETED, t->state == SLOT_COMMITTED));
    BATON_ASSERT(BATON_IMPLIES(t->state == SLOT_REVOKED, t->cause != BATON_CAUSE_NONE));
    BATON_ASSERT(BATON_IMPLIES(t->state == SLOT_COMMITTED, o->watermark == o->total)); /* P7 */
    BATON_ASSERT(BATON_IMPLIES(t->state == SLOT_LEASED, t->link != ILIST_NONE && t->attempt > 0));
    /* The lease's clock runs only when all bytes are there. */
    BATON_ASSERT(
        BATON_IMPLIES(t->state == SLOT_LEASED && o->watermark < o->total, t->due == CORE_NEVER));
    BATON_ASSERT(t->attempt <= core->last_attempt);
    /* An open slot keeps its link only for its last word. */
    BATON_ASSERT(BATON_IMPLIES(
        t->state == SLOT_OFFERED && t->link != ILIST_NONE,
        says(core, number, SAY_ENDED) || t->quiesce || says(core, number, SAY_WRITTEN) ||
            says(core, number, SAY_QUIESCED) || core_link(core, t->link)->state == LINK_LOST));
    BATON_ASSERT(BATON_IMPLIES(says(core, number, SAY_ENDED),
                               t->state == SLOT_OFFERED || t->state == SLOT_REVOKED));
    BATON_ASSERT(BATON_IMPLIES(says(core, number, SAY_COMMITTED), t->state == SLOT_COMMITTED));
    BATON_ASSERT(BATON_IMPLIES(t->link == ILIST_NONE, !slot_says(core, number)));
}

/* What this side writes into the sink's memory. */
static void check_pushes(const struct core *core, const struct offer *o, uint32_t number)
{
    const struct slot *t = &core_slots(core)[number];
    bool quiesced = says(core, number, SAY_QUIESCED);

    BATON_ASSERT(t->written <= t->granted && t->granted <= o->watermark); /* P7 */
    BATON_ASSERT(BATON_IMPLIES(t->remote || t->pushes > 0 || t->granted > 0, t->push));
    BATON_ASSERT(BATON_IMPLIES(t->quiesce, t->pushes > 0 && t->link != ILIST_NONE));
    BATON_ASSERT(BATON_IMPLIES(quiesced, t->pushes == 0));
    BATON_ASSERT(BATON_IMPLIES(t->quiesce || quiesced, t->state != SLOT_LEASED)); /* S8 */
    BATON_ASSERT(BATON_IMPLIES(says(core, number, SAY_WRITTEN), t->remote));
}

static void check_offer(const struct core *core, uint32_t index)
{
    const struct offer *o = &core_offers(core)[index];
    uint32_t commits = 0, talkers = 0, on_lost = 0, pushes = 0;

    for (uint32_t s = 0; s < core->limits.slots; s++) {
        uint32_t number = slot_number(core, index, s);
        const struct slot *t = &core_slots(core)[number];

        if (o->state == OFFER_FREE || s >= o->slots) {
            BATON_ASSERT(t->link == ILIST_NONE && !slot_says(core, number));
            continue;
        }
        check_slot(core, o, number);
        check_pushes(core, o, number);
        pushes += t->pushes;
        commits += t->state == SLOT_COMMITTED;
        talkers += slot_says(core, number);
        on_lost += t->link != ILIST_NONE && core_link(core, t->link)->state == LINK_LOST;
    }
    if (o->state == OFFER_FREE) {
        BATON_ASSERT(o->serves == 0);
        return;
    }
    BATON_ASSERT((o->id & ((UINT64_C(1) << CORE_INDEX_BITS) - 1)) == index);
    BATON_ASSERT(o->slots >= 1 && o->slots <= core->limits.slots);
    BATON_ASSERT(o->watermark <= o->total);
    BATON_ASSERT(o->commits == commits && o->commits <= o->attempts);
    BATON_ASSERT(o->attempts <= core->limits.attempts);
    BATON_ASSERT(pushes <= o->serves);
    BATON_ASSERT(o->last_attempt <= core->last_attempt);
    BATON_ASSERT((o->state == OFFER_OPEN) == (o->outcome == BATON_UNDECIDED)); /* S6 */
    BATON_ASSERT(BATON_IMPLIES(o->state == OFFER_OPEN, commits < o->slots));
    BATON_ASSERT((o->outcome == BATON_COMPLETED) == (commits == o->slots));
    /* Decided and not quiet, only while movers of ours read; quiet, only when none does (P10). */
    BATON_ASSERT(BATON_IMPLIES(o->state == OFFER_ENDED, o->serves > 0));
    BATON_ASSERT(BATON_IMPLIES(o->state == OFFER_QUIET, o->serves == 0));
    /* The record stays for its last words, no longer. */
    BATON_ASSERT(BATON_IMPLIES(o->state == OFFER_QUIET, talkers > 0 || on_lost > 0));
}

/* ---- fetches ---- */

static void check_fetch_state(const struct core *core, uint32_t index)
{
    const struct fetch *f = &core_fetches(core)[index];
    bool cancels = say_has(core, say_of_fetch(core, index, SAY_CANCEL));
    bool commits = say_has(core, say_of_fetch(core, index, SAY_COMMIT));
    bool over = f->state == FETCH_DRAINING || f->state == FETCH_QUIET;
    bool lost = f->link != ILIST_NONE && core_link(core, f->link)->state == LINK_LOST;

    BATON_ASSERT(over == (f->outcome != BATON_UNDECIDED)); /* S6 */
    BATON_ASSERT(over == (f->clock == BATON_CAUSE_NONE));
    BATON_ASSERT(BATON_IMPLIES(cancels, over));
    BATON_ASSERT(BATON_IMPLIES(!over, f->link != ILIST_NONE));
    BATON_ASSERT(
        BATON_IMPLIES(f->link == ILIST_NONE,
                      !cancels && !commits && !say_has(core, say_of_fetch(core, index, SAY_OPEN))));
    BATON_ASSERT(BATON_IMPLIES(f->state == FETCH_OPENING, f->next == f->begin && !f->attempt));
    BATON_ASSERT(BATON_IMPLIES(f->state == FETCH_READING || f->state == FETCH_COMMITTING,
                               f->attempt > 0 && f->opened));
    /* P1: what is to be committed was wholly read, and all of the offer was there. */
    BATON_ASSERT(BATON_IMPLIES(f->state == FETCH_COMMITTING || f->outcome == BATON_COMPLETED,
                               f->landed == f->end - f->begin && f->watermark == f->total));
    BATON_ASSERT(BATON_IMPLIES(commits && !over, f->state == FETCH_COMMITTING));
    /* Quiet means that nobody is copying; draining, that somebody is. */
    BATON_ASSERT((f->copies > 0) == (f->state == FETCH_DRAINING) || f->state == FETCH_READING);
    /* The record stays for its last word, no longer. */
    BATON_ASSERT(BATON_IMPLIES(f->state == FETCH_QUIET, cancels || lost));
}

/* The windows that were granted to the source, or are to be. */
static void check_grants(const struct fetch *f)
{
    uint64_t end = f->oldest;

    BATON_ASSERT(BATON_IMPLIES(f->remote, f->push));
    BATON_ASSERT(f->oldest <= f->said && f->said <= f->next);
    for (uint32_t i = 0; i < f->copies; i++) {
        end += f->window[i];
    }
    BATON_ASSERT(BATON_IMPLIES(f->state == FETCH_READING && !f->stalled, end == f->next));
    BATON_ASSERT(
        BATON_IMPLIES(f->remote && f->state == FETCH_DRAINING, end == f->said && end == f->next));
}

static void check_fetch(const struct core *core, uint32_t index)
{
    const struct fetch *f = &core_fetches(core)[index];
    bool ready = ilist_has(core_fetch_ready(core), index);

    if (f->state == FETCH_FREE) {
        BATON_ASSERT(!ilist_has(core_fetch_on_link(core), index) && !ready);
        BATON_ASSERT(f->copies == 0);
        return;
    }
    BATON_ASSERT((f->id & ((UINT64_C(1) << CORE_INDEX_BITS) - 1)) == index);
    BATON_ASSERT(f->begin <= f->next && f->next <= f->end && f->end <= f->total);
    BATON_ASSERT(f->watermark <= f->total);
    BATON_ASSERT(f->next == f->begin || f->next <= fetch_readable(f)); /* P7 */
    BATON_ASSERT(f->landed <= f->next - f->begin && f->touched <= f->next - f->begin);
    BATON_ASSERT(f->copies <= core->limits.windows_per_fetch);
    BATON_ASSERT(f->link == ILIST_NONE || f->link == f->windows_link ||
                 (f->remote && f->state == FETCH_DRAINING));
    BATON_ASSERT(ready ==
                 (f->state == FETCH_READING && !f->stalled && f->next < fetch_readable(f) &&
                  f->copies < core->limits.windows_per_fetch));
    if (f->push) {
        check_grants(f);
    }
    check_fetch_state(core, index);
}

/* The queues for windows; how many links have some under way. */
static void check_turns(const struct core *core, uint64_t *ret_links)
{
    uint64_t windows = 0, ready = 0;

    check_list(&core->ready, core_link_ready(core));
    for (uint32_t i = 0; i < core->limits.links; i++) {
        const struct link *l = core_link(core, i);

        check_list(&l->ready, core_fetch_ready(core));
        BATON_ASSERT(ilist_has(core_link_ready(core), i) == (l->ready.count > 0));
        for (uint32_t f = l->ready.head; f != ILIST_NONE; f = core_fetch_ready(core)[f].next) {
            BATON_ASSERT(core_fetches(core)[f].link == i);
        }
        ready += l->ready.count;
        windows += l->windows;
        *ret_links += l->windows > 0;
    }
    BATON_ASSERT(ready == nodes_in_lists(core_fetch_ready(core), core->limits.fetches));
    BATON_ASSERT(windows == core->gauges.windows);
}

static void check_windows(const struct core *core)
{
    uint64_t windows = 0, bytes_max = 0, links = 0;

    for (uint32_t i = 0; i < core->limits.fetches; i++) {
        const struct fetch *f = &core_fetches(core)[i];
        uint64_t started = f->next - f->begin - f->landed;
        uint64_t most = f->copies * core->limits.window_bytes;

        bool drains = f->remote && f->state == FETCH_DRAINING; /* nobody waits for its windows */

        if (f->state != FETCH_FREE && f->copies > 0 && !drains) {
            windows += f->copies;
            bytes_max += started < most ? started : most;
        }
    }
    BATON_ASSERT(core->gauges.windows == windows);
    BATON_ASSERT(core->gauges.inflight_bytes >= windows);
    BATON_ASSERT(core->gauges.inflight_bytes <= bytes_max);
    check_turns(core, &links);
    /* The budget, and one window of each link beyond it. */
    BATON_ASSERT(windows <= core->limits.windows + links);
    BATON_ASSERT(core->gauges.inflight_bytes <=
                 core->limits.inflight_bytes + links * core->limits.window_bytes);
}

/* ---- links ---- */

/* Whose word `node` is: it must be of a handoff of this link, or of the link itself. */
static void check_word(const struct core *core, uint32_t link, uint32_t node)
{
    uint32_t slots = core->limits.fetches * SAY_FETCH_END_;
    uint32_t links = slots + core->limits.offers * core->limits.slots * SAY_SLOT_END_;
    uint32_t each = SAY_LINK_END_ + core->limits.replies;

    if (node < slots) {
        const struct fetch *f = &core_fetches(core)[node / SAY_FETCH_END_];

        BATON_ASSERT(f->state != FETCH_FREE && f->link == link);
    } else if (node < links) {
        const struct slot *t = &core_slots(core)[(node - slots) / SAY_SLOT_END_];

        BATON_ASSERT(t->link == link);
    } else {
        BATON_ASSERT((node - links) / each == link);
        BATON_ASSERT(BATON_IMPLIES(
            (node - links) % each >= SAY_LINK_END_,
            core_replies(core)[link * core->limits.replies + (node - links) % each - SAY_LINK_END_]
                    .type != 0));
    }
}

static void check_say(const struct core *core, uint32_t link)
{
    const struct link *l = core_link(core, link);
    uint32_t replies = 0, queued = 0;
    uint32_t base = say_of_link(core, link, SAY_LINK_END_);

    check_list(&l->say, core_say(core));
    for (uint32_t node = l->say.head; node != ILIST_NONE; node = core_say(core)[node].next) {
        check_word(core, link, node);
    }
    BATON_ASSERT(BATON_IMPLIES(l->state != LINK_UP && l->state != LINK_DIALING, l->say.count == 0));
    for (uint32_t i = 0; i < core->limits.replies; i++) {
        replies += core_replies(core)[link * core->limits.replies + i].type != 0;
        queued += say_has(core, base + i);
    }
    BATON_ASSERT(replies == queued);
    BATON_ASSERT(BATON_IMPLIES(l->sink, replies == 0));
}

static void check_link(const struct core *core, uint32_t link)
{
    const struct link *l = core_link(core, link);

    check_say(core, link);
    check_list(&l->fetches, core_fetch_on_link(core));
    check_list(&l->slots, core_slot_on_link(core));
    for (uint32_t i = l->fetches.head; i != ILIST_NONE; i = core_fetch_on_link(core)[i].next) {
        BATON_ASSERT(core_fetches(core)[i].state != FETCH_FREE);
        BATON_ASSERT(core_fetches(core)[i].link == link);
    }
    for (uint32_t i = l->slots.head; i != ILIST_NONE; i = core_slot_on_link(core)[i].next) {
        BATON_ASSERT(core_slots(core)[i].link == link);
    }
    BATON_ASSERT(BATON_IMPLIES(l->state == LINK_FREE, l->fetches.count + l->slots.count == 0));
    BATON_ASSERT(l->sink ? l->slots.count == 0 : l->fetches.count == 0);
    BATON_ASSERT(BATON_IMPLIES(l->state == LINK_DIALING, l->sink));
    if (l->state == LINK_FREE) {
        return;
    }
    BATON_ASSERT(l->sink == (l->peer == ILIST_NONE));
    BATON_ASSERT(BATON_IMPLIES(!l->sink, l->peer < core->peers &&
                                             memcmp(core_peers(core)[l->peer].incarnation,
                                                    l->incarnation, ID_BYTES) == 0));
}

/* One link that lives for each ordered pair, and a count of links at each peer's record. */
static void check_pairs(const struct core *core)
{
    uint64_t lost = 0, on_peers = 0, of_peers = 0;

    for (uint32_t i = 0; i < core->limits.links; i++) {
        const struct link *l = core_link(core, i);
        bool lives = l->state == LINK_UP || l->state == LINK_DIALING;

        lost += l->state == LINK_LOST;
        on_peers += l->state != LINK_FREE && !l->sink;
        for (uint32_t j = 0; lives && j < i; j++) {
            const struct link *m = core_link(core, j);

            BATON_ASSERT(!((m->state == LINK_UP || m->state == LINK_DIALING) &&
                           m->sink == l->sink &&
                           memcmp(m->incarnation, l->incarnation, ID_BYTES) == 0));
        }
    }
    for (uint32_t i = 0; i < core->peers; i++) {
        const struct peer *p = &core_peers(core)[i];

        BATON_ASSERT(BATON_IMPLIES(p->links > 0, p->used > 0 && p->dial > 0));
        BATON_ASSERT(p->used <= core->peer_uses);
        of_peers += p->links;
    }
    BATON_ASSERT(core->lost == lost);
    BATON_ASSERT(on_peers == of_peers);
}

/* Nothing is on two lists, or on none while it has a link. */
static void check_membership(const struct core *core)
{
    uint64_t slots = (uint64_t)core->limits.offers * core->limits.slots;
    uint64_t words = 0, fetches_linked = 0, slots_linked = 0;
    uint64_t fetches_on = 0, slots_on = 0;

    for (uint32_t i = 0; i < core->limits.links; i++) {
        words += core_link(core, i)->say.count;
        fetches_on += core_link(core, i)->fetches.count;
        slots_on += core_link(core, i)->slots.count;
    }
    for (uint32_t i = 0; i < core->limits.fetches; i++) {
        const struct fetch *f = &core_fetches(core)[i];

        fetches_linked += f->state != FETCH_FREE && f->link != ILIST_NONE;
    }
    for (uint64_t i = 0; i < slots; i++) {
        slots_linked += core_slots(core)[i].link != ILIST_NONE;
    }
    BATON_ASSERT(fetches_on == fetches_linked);
    BATON_ASSERT(slots_on == slots_linked);
    BATON_ASSERT(fetches_on == nodes_in_lists(core_fetch_on_link(core), core->limits.fetches));
    BATON_ASSERT(slots_on == nodes_in_lists(core_slot_on_link(core), slots));
    BATON_ASSERT(words == nodes_in_lists(core_say(core), (core->fetch_on_link_at - core->say_at) /
                                                             sizeof(struct ilist_node)));
}

/* ---- clocks and counts ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t offer_due(const struct core *core, uint32_t index)
{
    const struct offer *o = &core_offers(core)[index];
    uint64_t due = o->whole_due;

    if (o->state != OFFER_OPEN) {
        return o->state == OFFER_ENDED ? o->doubt_due : CORE_NEVER;
    }
    for (uint32_t s = 0; s < o->slots; s++) {
        due = earlier(due, core_slots(core)[slot_number(core, index, s)].due);
    }
    return due;
}

static uint64_t fetch_due(const struct core *core, uint32_t index)
{
    const struct fetch *f = &core_fetches(core)[index];

    switch (f->state) {
    case FETCH_OPENING:
    case FETCH_READING:
    case FETCH_COMMITTING:
        return earlier(f->whole_due, f->clock_due);
    case FETCH_DRAINING:
        return f->doubt_due;
    default:
        return CORE_NEVER;
    }
}

/* In the heap is what has a clock that runs, and the first of them is the earliest. */
static void check_heap(const struct core *core)
{
    const uint32_t offers = core->limits.offers, fetches = core->limits.fetches;
    uint64_t first = CORE_NEVER;

    for (uint32_t i = 0; i < offers + fetches + core->limits.links; i++) {
        uint64_t due = CORE_NEVER;

        if (i < offers) {
            due = offer_due(core, i);
        } else if (i < offers + fetches) {
            due = fetch_due(core, i - offers);
        } else if (core_link(core, i - offers - fetches)->state == LINK_UP &&
                   core_link(core, i - offers - fetches)->ping) {
            due = core_link(core, i - offers - fetches)->due;
        }
        BATON_ASSERT(heap_contains(core_heap(core), i) == (due != CORE_NEVER));
        first = earlier(first, due);
    }
    BATON_ASSERT(core_deadline(core) == first);
}

static void check_gauges(const struct core *core)
{
    uint32_t offers = 0, fetches = 0, links = 0;

    for (uint32_t i = 0; i < core->limits.offers; i++) {
        offers += core_offers(core)[i].state != OFFER_FREE;
    }
    for (uint32_t i = 0; i < core->limits.fetches; i++) {
        fetches += core_fetches(core)[i].state != FETCH_FREE;
    }
    for (uint32_t i = 0; i < core->limits.links; i++) {
        links += core_link(core, i)->state != LINK_FREE;
    }
    BATON_ASSERT(core->gauges.offers == offers);
    BATON_ASSERT(core->gauges.fetches == fetches);
    BATON_ASSERT(core->gauges.links == links);
    BATON_ASSERT(core->bytes == core_state_bytes(&core->limits));
}

void core_check(const struct core *core)
{
    for (uint32_t i = 0; i < core->limits.offers; i++) {
        check_offer(core, i);
    }
    for (uint32_t i = 0; i < core->limits.fetches; i++) {
        check_fetch(core, i);
    }
    for (uint32_t i = 0; i < core->limits.links; i++) {
        check_link(core, i);
    }
    check_windows(core);
    check_pairs(core);
    check_membership(core);
    check_heap(core);
    check_gauges(core);
}
