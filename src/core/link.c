/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links: the ordered control stream from a sink's incarnation to a source's.  The sink dials.
 *
 *   FREE --dial--> DIALING --welcome--> UP --closed, silent, replaced--> LOST --all its handoffs
 * ended--> FREE FREE --hello------------------------^
 *
 * LOST: nothing is sent or read any more; the handoffs are ended one by one, however many they are.
 */
#include "core/state.h"

#include <string.h>

static bool same(const uint8_t a[ID_BYTES], const uint8_t b[ID_BYTES])
{
    return memcmp(a, b, ID_BYTES) == 0;
}

int32_t core_link_to(const struct core *core, const uint8_t incarnation[ID_BYTES])
{
    for (uint32_t i = 0; i < core->limits.links; i++) {
        const struct link *l = &core_links(core)[i];

        if ((l->state == LINK_DIALING || l->state == LINK_UP) && l->sink &&
            same(l->incarnation, incarnation)) {
            return (int32_t)i;
        }
    }
    return CORE_NONE;
}

void core_link_view(const struct core *core, uint32_t link, struct core_link_view *ret_view)
{
    const struct link *l = core_link(core, link);

    *ret_view = (struct core_link_view){.used = l->state != LINK_FREE,
                                        .up = l->state == LINK_UP,
                                        .sink = l->sink,
                                        .handoffs = l->fetches.count + l->slots.count};
    memcpy(ret_view->peer, l->incarnation, ID_BYTES);
}

static void link_start(struct core *core, uint32_t link, const struct core_event *event,
                       uint64_t now_us)
{
    struct link *l = core_link(core, link);

    BATON_ASSERT(l->state == LINK_FREE);
    BATON_ASSERT(l->say.count == 0 && l->fetches.count == 0 && l->slots.count == 0);
    l->sink = event->type == CORE_EVENT_DIAL;
    l->ping = event->peer.ping;
    l->peer = ILIST_NONE;
    l->heard_us = now_us;
    l->due = timer_after(now_us, core->limits.link_timeout_us / 3);
    memcpy(l->incarnation, event->peer.incarnation, ID_BYTES);
    core->gauges.links++;
}

/* The record of an incarnation's dial numbers, made when it is new.  Records without a link are
 * reused, oldest first. */
static uint32_t peer_of(struct core *core, const uint8_t incarnation[ID_BYTES])
{
    struct peer *peers = core_peers(core);
    uint32_t oldest = ILIST_NONE;

    for (uint32_t i = 0; i < core->peers; i++) {
        if (peers[i].used && same(peers[i].incarnation, incarnation)) {
            peers[i].used = ++core->peer_uses;
            return i;
        }
        if (peers[i].links == 0 && (oldest == ILIST_NONE || peers[i].used < peers[oldest].used)) {
            oldest = i;
        }
    }
    /* There are more records than links. */
    BATON_ASSERT(oldest != ILIST_NONE);
    peers[oldest] = (struct peer){.used = ++core->peer_uses};
    memcpy(peers[oldest].incarnation, incarnation, ID_BYTES);
    return oldest;
}

/* A newer link of the same incarnation closes the older one first, unread bytes and all. */
static void close_older(struct core *core, uint32_t peer, struct core_actions *out)
{
    for (uint32_t i = 0; i < core->limits.links; i++) {
        const struct link *l = core_link(core, i);

        if (l->state == LINK_UP && !l->sink && l->peer == peer) {
            link_close(core, i, BATON_CAUSE_LINK_CLOSED, out);
        }
    }
}

static void hello(struct core *core, const struct core_event *event, uint64_t now_us,
                  struct core_actions *out)
{
    uint32_t peer = peer_of(core, event->peer.incarnation);
    struct peer *p = &core_peers(core)[peer];
    struct core_action *action;

    if (event->peer.dial <= p->dial) {
        core->counts.links_refused++;
        action = action_add(out, CORE_ACTION_LINK_REFUSED);
        action->link = event->link;
        action->cause = BATON_CAUSE_PROTOCOL;
        return;
    }
    close_older(core, peer, out);
    link_start(core, event->link, event, now_us);
    p->dial = event->peer.dial;
    p->links++;
    core_link(core, event->link)->peer = peer;
    core_link(core, event->link)->state = LINK_UP;
    core->counts.links_made++;
    timer_link(core, event->link);
    action_add(out, CORE_ACTION_LINK_UP)->link = event->link;
}

static void link_up(struct core *core, const struct core_event *event, uint64_t now_us,
                    struct core_actions *out)
{
    uint32_t link = event->link;
    struct link *l = core_link(core, link);

    if (l->state != LINK_DIALING) {
        core->counts.late++;
        return;
    }
    l->state = LINK_UP;
    l->ping = event->peer.ping;
    l->heard_us = now_us;
    l->due = timer_after(now_us, core->limits.link_timeout_us / 3);
    core->counts.links_made++;
    timer_link(core, link);
    action_add(out, CORE_ACTION_LINK_UP)->link = link;
    push_link_up(core, link, out);
    if (l->say.count > 0) {
        action_add(out, CORE_ACTION_FLUSH)->link = link;
    }
}

void link_close(struct core *core, uint32_t link, baton_cause cause, struct core_actions *out)
{
    struct link *l = core_link(core, link);
    struct core_action *action;

    if (l->state != LINK_DIALING && l->state != LINK_UP) {
        return;
    }
    if (l->state == LINK_UP) {
        core->counts.links_lost++;
    }
    if (cause == BATON_CAUSE_PROTOCOL) {
        core->counts.protocol_errors++;
    }
    l->state = LINK_LOST;
    l->lost_cause = (uint8_t)cause;
    core->lost++;
    say_clear_all(core, link);
    timer_link(core, link);
    action = action_add(out, CORE_ACTION_LINK_CLOSE);
    action->link = link;
    action->cause = cause;
}

static void link_free(struct core *core, uint32_t link, struct core_actions *out)
{
    struct link *l = core_link(core, link);

    BATON_ASSERT(l->state == LINK_LOST);
    BATON_ASSERT(l->say.count == 0 && l->fetches.count == 0 && l->slots.count == 0);
    BATON_ASSERT(l->ready.count == 0);
    if (l->peer != ILIST_NONE) {
        BATON_ASSERT(core_peers(core)[l->peer].links > 0);
        core_peers(core)[l->peer].links--;
    }
    l->state = LINK_FREE;
    core->lost--;
    core->gauges.links--;
    action_add(out, CORE_ACTION_LINK_FREE)->link = link;
}

bool link_reap(struct core *core, uint64_t now_us, struct core_actions *out)
{
    /* As many as are lost are found: core_link() asserts that `i` is a link. */
    for (uint32_t i = 0; core->lost > 0; i++) {
        struct link *l = core_link(core, i);

        if (l->state != LINK_LOST) {
            continue;
        }
        while (l->fetches.count + l->slots.count > 0) {
            if (!action_room(out)) {
                return true;
            }
            if (l->fetches.count > 0) {
                fetch_lost(core, l->fetches.head, l->lost_cause, now_us, out);
            } else {
                slot_lost(core, l->slots.head, now_us, out);
            }
        }
        if (!action_room(out)) {
            return true;
        }
        link_free(core, i, out);
    }
    return false;
}

/* Nobody answers for a third of the time: ask.  For all of it: the peer is not there. */
void link_expire(struct core *core, uint32_t link, uint64_t now_us, struct core_actions *out)
{
    struct link *l = core_link(core, link);
    uint64_t timeout = core->limits.link_timeout_us;
    uint64_t third = timeout / 3 ? timeout / 3 : 1;

    if (now_us >= timer_after(l->heard_us, timeout)) {
        link_close(core, link, BATON_CAUSE_LINK_SILENT, out);
        return;
    }
    if (now_us >= timer_after(l->heard_us, third)) {
        say_set(core, link, say_of_link(core, link, SAY_PING), out);
    }
    l->due = timer_after(now_us, third);
    if (timer_after(l->heard_us, timeout) < l->due) {
        l->due = timer_after(l->heard_us, timeout);
    }
    timer_link(core, link);
}

static void ping_frame(struct core *core, const struct core_event *event, struct core_actions *out)
{
    if (event->frame.frame->type == FRAME_PING) {
        /* A bit, not a reply: a sink has no replies, so it always reads, and two sides can not wait
         * for each other. */
        say_set(core, event->link, say_of_link(core, event->link, SAY_PONG), out);
    }
}

/* A frame is only for the side that it is sent to. */
static void frame(struct core *core, const struct core_event *event, uint64_t now_us,
                  struct core_actions *out)
{
    struct link *l = core_link(core, event->link);

    if (l->state != LINK_UP) {
        core->counts.late++;
        return;
    }
    l->heard_us = now_us;
    switch (event->frame.frame->type) {
    case FRAME_PING:
    case FRAME_PONG:
        ping_frame(core, event, out);
        return;
    case FRAME_OPEN:
    case FRAME_COMMIT:
    case FRAME_CANCEL:
    case FRAME_GRANT:
    case FRAME_QUIESCE:
        if (!l->sink) {
            offer_frame(core, event, now_us, out);
            return;
        }
        break;
    case FRAME_ACCEPT:
    case FRAME_REFUSED:
    case FRAME_WATERMARK:
    case FRAME_COMMITTED:
    case FRAME_ENDED:
    case FRAME_WRITTEN:
    case FRAME_QUIESCED:
        if (l->sink) {
            fetch_frame(core, event, now_us, out);
            return;
        }
        break;
    default:
        break;
    }
    link_close(core, event->link, BATON_CAUSE_PROTOCOL, out);
}

void link_event(struct core *core, const struct core_event *event, uint64_t now_us,
                struct core_actions *out)
{
    switch (event->type) {
    case CORE_EVENT_DIAL:
        BATON_ASSERT(core_link_to(core, event->peer.incarnation) == CORE_NONE);
        link_start(core, event->link, event, now_us);
        core_link(core, event->link)->state = LINK_DIALING;
        return;
    case CORE_EVENT_HELLO:
        hello(core, event, now_us, out);
        return;
    case CORE_EVENT_LINK_UP:
        link_up(core, event, now_us, out);
        return;
    case CORE_EVENT_LINK_LOST:
        link_close(core, event->link, event->lost.cause, out);
        return;
    case CORE_EVENT_LINK_ROOM:
        say_next(core, event->link, out);
        return;
    case CORE_EVENT_HEARD:
        core_link(core, event->link)->heard_us = now_us;
        return;
    default:
        BATON_ASSERT(event->type == CORE_EVENT_FRAME);
        frame(core, event, now_us, out);
    }
}
