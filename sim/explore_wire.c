/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The explorer's wires: connections that carry frames in order, each way, until they end.  A wire
 * that is cut, or closed at its other end, still delivers what was sent before, as far as its end
 * reads on before it learns; what is written into it is lost.
 */
#include "sim/explore_world.h"

#include <stdio.h>
#include <string.h>

/* What is said about pushes only. */
static void word_of_push(const struct frame *frame, struct word *w)
{
    switch (frame->type) {
    case FRAME_GRANT:
        w->offer = (uint32_t)frame->grant.offer_id;
        w->fetch = (uint32_t)frame->grant.fetch_id;
        w->attempt = (uint8_t)frame->grant.attempt;
        w->slot = (uint8_t)frame->grant.slot;
        w->watermark = (uint8_t)frame->grant.offset;
        BATON_ASSERT(frame->grant.length == 1);
        break;
    case FRAME_WRITTEN:
        w->fetch = (uint32_t)frame->written.fetch_id;
        w->attempt = (uint8_t)frame->written.attempt;
        w->watermark = (uint8_t)frame->written.end;
        break;
    case FRAME_QUIESCE:
        w->offer = (uint32_t)frame->quiesce.offer_id;
        w->fetch = (uint32_t)frame->quiesce.fetch_id;
        w->attempt = (uint8_t)frame->quiesce.attempt;
        w->slot = (uint8_t)frame->quiesce.slot;
        w->secret = (uint8_t)frame->quiesce.nonce;
        break;
    case FRAME_QUIESCED:
        w->fetch = (uint32_t)frame->quiesced.fetch_id;
        w->attempt = (uint8_t)frame->quiesced.attempt;
        w->secret = (uint8_t)frame->quiesced.nonce;
        break;
    default:
        BATON_ASSERT(frame->type == FRAME_PING || frame->type == FRAME_PONG);
    }
}

void explore_word_of(const struct frame *frame, struct word *ret_word)
{
    struct word w = {.type = (uint8_t)frame->type};

    switch (frame->type) {
    case FRAME_OPEN:
        w.offer = (uint32_t)frame->open.offer_id;
        w.fetch = (uint32_t)frame->open.fetch_id;
        w.slot = (uint8_t)frame->open.slot;
        w.secret = frame->open.secret[0];
        w.scope = frame->open.mode;
        break;
    case FRAME_ACCEPT:
        w.fetch = (uint32_t)frame->accept.fetch_id;
        w.attempt = (uint8_t)frame->accept.attempt;
        w.watermark = (uint8_t)frame->accept.watermark;
        break;
    case FRAME_REFUSED:
        w.fetch = (uint32_t)frame->refused.fetch_id;
        w.cause = frame->refused.cause;
        w.revoked = frame->refused.revoked;
        break;
    case FRAME_WATERMARK:
        w.fetch = (uint32_t)frame->watermark.fetch_id;
        w.attempt = (uint8_t)frame->watermark.attempt;
        w.watermark = (uint8_t)frame->watermark.watermark;
        break;
    case FRAME_COMMIT:
        w.offer = (uint32_t)frame->commit.offer_id;
        w.fetch = (uint32_t)frame->commit.fetch_id;
        w.attempt = (uint8_t)frame->commit.attempt;
        w.slot = (uint8_t)frame->commit.slot;
        break;
    case FRAME_COMMITTED:
        w.fetch = (uint32_t)frame->committed.fetch_id;
        w.attempt = (uint8_t)frame->committed.attempt;
        break;
    case FRAME_ENDED:
        w.fetch = (uint32_t)frame->ended.fetch_id;
        w.attempt = (uint8_t)frame->ended.attempt;
        w.cause = frame->ended.cause;
        break;
    case FRAME_CANCEL:
        w.offer = (uint32_t)frame->cancel.offer_id;
        w.fetch = (uint32_t)frame->cancel.fetch_id;
        w.attempt = (uint8_t)frame->cancel.attempt;
        w.slot = (uint8_t)frame->cancel.slot;
        w.scope = frame->cancel.scope;
        w.cause = frame->cancel.cause;
        w.secret = frame->cancel.secret[0];
        break;
    default:
        word_of_push(frame, &w);
    }
    *ret_word = w;
}

static struct frame frame_of(const struct explorer *x, const struct word *w)
{
    struct frame frame = {.type = (enum frame_type)w->type};

    switch (frame.type) {
    case FRAME_OPEN:
        frame.open.offer_id = w->offer;
        frame.open.fetch_id = w->fetch;
        frame.open.slot = w->slot;
        frame.open.secret[0] = w->secret;
        frame.open.mode = w->scope;
        break;
    case FRAME_ACCEPT:
        frame.accept.fetch_id = w->fetch;
        frame.accept.attempt = w->attempt;
        frame.accept.watermark = w->watermark;
        frame.accept.total = x->rules->units;
        break;
    case FRAME_REFUSED:
        frame.refused = (struct frame_refused){w->fetch, w->cause, w->revoked};
        break;
    case FRAME_WATERMARK:
        frame.watermark = (struct frame_watermark){w->fetch, w->attempt, w->watermark};
        break;
    case FRAME_COMMIT:
        frame.commit = (struct frame_commit){w->offer, w->fetch, w->attempt, w->slot};
        break;
    case FRAME_COMMITTED:
        frame.committed = (struct frame_committed){w->fetch, w->attempt};
        break;
    case FRAME_ENDED:
        frame.ended = (struct frame_ended){w->fetch, w->attempt, w->cause};
        break;
    case FRAME_CANCEL:
        frame.cancel = (struct frame_cancel){.offer_id = w->offer,
                                             .fetch_id = w->fetch,
                                             .attempt = w->attempt,
                                             .slot = w->slot,
                                             .scope = w->scope,
                                             .cause = w->cause};
        frame.cancel.secret[0] = w->secret;
        break;
    case FRAME_GRANT:
        frame.grant =
            (struct frame_grant){w->offer, w->fetch, w->attempt, w->watermark, 1, w->slot};
        break;
    case FRAME_WRITTEN:
        frame.written = (struct frame_written){w->fetch, w->attempt, w->watermark};
        break;
    case FRAME_QUIESCE:
        frame.quiesce = (struct frame_quiesce){w->offer, w->fetch, w->attempt, w->secret, w->slot};
        break;
    case FRAME_QUIESCED:
        frame.quiesced = (struct frame_quiesced){w->fetch, w->attempt, w->secret};
        break;
    default:
        break;
    }
    return frame;
}

void explore_word_text(const struct word *w, char *ret_text, size_t room)
{
    int n = snprintf(ret_text, room, "%s", frame_name((enum frame_type)w->type));

    if (w->fetch && n > 0 && (size_t)n < room) {
        n += snprintf(ret_text + n, room - (size_t)n, " of fetch %u", w->fetch >> CORE_INDEX_BITS);
    }
    if (w->attempt && n > 0 && (size_t)n < room) {
        n += snprintf(ret_text + n, room - (size_t)n, ", lease %u", w->attempt);
    }
    if (w->cause && n > 0 && (size_t)n < room) {
        n += snprintf(ret_text + n, room - (size_t)n, ", cause %u", w->cause);
    }
    if ((w->type == FRAME_WATERMARK || w->type == FRAME_ACCEPT) && n > 0 && (size_t)n < room) {
        snprintf(ret_text + n, room - (size_t)n, ", watermark %u", w->watermark);
    }
}

/* ---- the ends ---- */

struct wire *explore_world_wire_of(const struct world *w, int node, uint32_t link)
{
    int end = node ? SINK_END : SOURCE_END;

    for (unsigned i = 0; i < WIRES_MAX; i++) {
        const struct wire *wire = &w->wires[i];

        if (!wire->used || wire->end[end] != END_UP || wire->link[end] != link) {
            continue;
        }
        if (node == 0 || (wire->sink + 1 == node && wire->sink_life == w->life[node])) {
            return (struct wire *)(uintptr_t)wire;
        }
    }
    return NULL;
}

static uint8_t link_unused(const struct core *core)
{
    for (uint32_t i = 0; i < core->limits.links; i++) {
        if (core_link(core, i)->state == LINK_FREE) {
            return (uint8_t)i;
        }
    }
    return NOBODY;
}

/* What is written to an end that has gone, or over a wire that is cut, is lost. */
void explore_wire_say(struct explorer *x, struct wire *wire, int to, const struct word *word)
{
    if (wire->cut || wire->end[to] == END_CLOSED) {
        return;
    }
    if (wire->count[to] >= QUEUE_MAX) {
        explore_broken(x, "S18 bounded", "a frame was built for a wire that is full");
    }
    wire->queue[to][wire->count[to]++] = *word;
}

struct wire *explore_wire_dial(struct explorer *x, unsigned sink, unsigned source_life)
{
    struct world *w = x->w;
    const int node = (int)sink + 1;
    struct core_event event = {.type = CORE_EVENT_DIAL};
    uint8_t link = link_unused(core_of(x, w, node));
    unsigned i = 0;

    while (i < WIRES_MAX && w->wires[i].used) {
        i++;
    }
    if (i == WIRES_MAX || link == NOBODY) {
        return NULL;
    }
    w->wires[i] = (struct wire){.used = 1,
                                .sink = (uint8_t)sink,
                                .sink_life = w->life[node],
                                .source_life = (uint8_t)source_life,
                                .dial = ++w->dials[sink],
                                .end = {END_UP, END_NEW},
                                .link = {link, NOBODY}};
    explore_wire_say(x, &w->wires[i], SOURCE_END, &(struct word){.type = FRAME_HELLO});
    event.link = link;
    explore_incarnation_of(0, source_life, event.peer.incarnation);
    explore_world_event(x, node, &event);
    return &w->wires[i];
}

/* A stream's bytes go with the link: what was lent for them comes back at once. */
static void give_back(struct world *w, const struct wire *wire, int end)
{
    for (unsigned i = 0; i < WINDOWS_MAX && end == SINK_END; i++) {
        struct window *v = &w->windows[wire->sink][i];

        if (v->state != WINDOW_NONE &&
            w->fetches[wire->sink][v->fetch].source_life == wire->source_life) {
            v->state = WINDOW_BACK;
        }
    }
    for (unsigned i = 0; i < SERVES_MAX; i++) {
        struct serve *s = &w->serves[i];

        if (s->state == SERVE_NONE || s->sink != wire->sink || s->wire != wire_name(wire)) {
            continue;
        }
        if (end == SOURCE_END) {
            s->state = SERVE_BACK;
        } else {
            s->orphan = 1;
        }
    }
}

void explore_world_close(struct explorer *x, struct wire *wire, int end)
{
    if (is_stream(x, wire->sink) && wire->end[end] == END_UP) {
        give_back(x->w, wire, end);
    }
    wire->end[end] = END_CLOSED;
    wire->link[end] = NOBODY;
    wire->count[end] = 0;
    wire->wants[end] = 0;
    memset(wire->queue[end], 0, sizeof(wire->queue[end]));
    if (wire->end[!end] == END_CLOSED) {
        memset(wire, 0, sizeof(*wire));
    }
}

/* ---- messages ---- */

static void reject(struct explorer *x, struct wire *wire, baton_cause cause)
{
    explore_wire_say(x, wire, SINK_END,
                     &(struct word){.type = FRAME_REJECT, .cause = (uint8_t)cause});
    explore_world_close(x, wire, SOURCE_END);
}

static void hello(struct explorer *x, struct wire *wire)
{
    struct core_event event = {.type = CORE_EVENT_HELLO};
    uint8_t link = link_unused(core_of(x, x->w, 0));
    struct wire greeting; /* the wire goes when it is refused */
    uint8_t *highest;
    bool old;

    if (wire->source_life != x->w->life[0]) {
        reject(x, wire, BATON_CAUSE_INCARNATION);
        return;
    }
    if (link == NOBODY) {
        reject(x, wire, BATON_CAUSE_BUSY);
        return;
    }
    wire->link[SOURCE_END] = link;
    wire->end[SOURCE_END] = END_UP;
    event.link = link;
    event.peer.dial = wire->dial;
    event.peer.ping = x->rules->ping;
    explore_incarnation_of(wire->sink + 1U, wire->sink_life, event.peer.incarnation);
    highest = &x->w->greeted[wire->sink][wire->sink_life];
    old = wire->dial <= *highest;
    *highest = old ? *highest : wire->dial;
    greeting = *wire;
    explore_world_event(x, 0, &event);
    explore_check_greeting(x, &greeting, old);
}

static void lose(struct explorer *x, const struct wire *wire, int end, baton_cause cause)
{
    struct core_event event = {.type = CORE_EVENT_LINK_LOST, .link = wire->link[end]};

    event.lost.cause = cause;
    explore_world_event(x, end == SINK_END ? wire->sink + 1 : 0, &event);
}

static void apply(struct explorer *x, const struct wire *wire, int end, const struct word *word)
{
    int node = end == SINK_END ? wire->sink + 1 : 0;
    const struct frame frame = frame_of(x, word);
    struct core_event event = {.type = CORE_EVENT_FRAME, .link = wire->link[end]};
    bool late = explore_frame_is_late(x, x->w, node, event.link, &frame);

    event.frame.frame = &frame;
    event.frame.exported = node == 0 && !is_stream(x, wire->sink) && !is_push(x, wire->sink);
    event.frame.remote = is_push(x, wire->sink);
    if (frame.type == FRAME_OPEN && event.frame.exported) {
        x->w->exported[x->w->life[0]] = 1;
    }
    explore_check_forged(x, node, event.link, &frame);
    explore_world_event(x, node, &event);
    if (late) {
        explore_check_p5_inert(x, node, &frame);
    }
    explore_check_s14_twice(x, node, &event);
    if (node == 0) {
        explore_check_again(x, event.link, &frame);
    }
}

void explore_wire_deliver(struct explorer *x, unsigned at, int end)
{
    struct wire *wire = &x->w->wires[at];
    struct word word = wire->queue[end][0];
    struct core_event event = {.type = CORE_EVENT_LINK_UP, .link = wire->link[end]};

    BATON_ASSERT(wire->used && wire->count[end] > 0);
    wire->count[end]--;
    memmove(&wire->queue[end][0], &wire->queue[end][1], wire->count[end] * sizeof(word));
    memset(&wire->queue[end][wire->count[end]], 0, sizeof(word));
    switch (word.type) {
    case FRAME_HELLO:
        hello(x, wire);
        return;
    case FRAME_WELCOME:
        event.peer.ping = x->rules->ping;
        explore_world_event(x, wire->sink + 1, &event);
        return;
    case FRAME_REJECT:
        lose(x, wire, end, word.cause);
        return;
    default:
        apply(x, wire, end, &word);
    }
}

bool explore_wire_inert(const struct explorer *x, const struct world *w, unsigned at, int end)
{
    const struct wire *wire = &w->wires[at];
    int node = end == SINK_END ? wire->sink + 1 : 0;
    struct frame frame;

    if (wire->count[end] == 0 || wire->end[end] != END_UP ||
        core_link(core_of(x, w, node), wire->link[end])->state != LINK_UP ||
        !core_link_reads(core_of(x, w, node), wire->link[end])) {
        return false;
    }
    frame = frame_of(x, &wire->queue[end][0]);
    return frame.type >= FRAME_OPEN && explore_frame_is_late(x, w, node, wire->link[end], &frame);
}

void explore_wire_notice(struct explorer *x, unsigned at, int end)
{
    struct wire *wire = &x->w->wires[at];
    bool dialing = end == SINK_END &&
                   core_link(core_of(x, x->w, wire->sink + 1), wire->link[end])->state != LINK_UP;

    if (wire->end[end] == END_NEW) {
        explore_world_close(x, wire, end);
        return;
    }
    if (end == SINK_END && wire->orderly && !wire->cut && wire->count[end] == 0) {
        explore_check_p11_last_word(x, wire);
    }
    lose(x, wire, end, dialing ? BATON_CAUSE_UNREACHABLE : BATON_CAUSE_LINK_CLOSED);
}

void explore_wire_room(struct explorer *x, unsigned at, int end)
{
    const struct wire *wire = &x->w->wires[at];

    explore_world_event(
        x, end == SINK_END ? wire->sink + 1 : 0,
        &(struct core_event){.type = CORE_EVENT_LINK_ROOM, .link = wire->link[end]});
}
