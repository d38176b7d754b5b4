/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links over connections: a queue of frames each way, with delays, that can be cut, clogged, broken
 * or lost.  What a link does at its end is what the engine's does.
 */
#include "sim/check.h"

#include <string.h>

static struct sim_link *link_at(struct sim *s, unsigned node, unsigned link)
{
    BATON_ASSERT(link < LINKS_MAX);
    return &s->world->nodes[node].links[link];
}

/* ---- connections ---- */

/* The next thing on the way to that end will arrive. */
void conn_arm(struct sim *s, unsigned number, unsigned end)
{
    struct conn *c = &s->world->conn[number];
    uint64_t due = c->due[end];

    if (c->armed[end] || c->closed[end] || c->lost[end] || c->blocked[end] ||
        (c->queue[end].count == 0 && !c->eof[end])) {
        return;
    }
    if (c->queue[end].count > 0) {
        due = c->queue[end].message[c->queue[end].first].due;
    }
    c->armed[end] = true;
    PUSH(s, due > s->world->now ? due - s->world->now : 0, .type = EV_DELIVER, .node = c->node[end],
         .a = (uint16_t)number, .b = c->serial, .c = end);
}

static void conn_push(struct sim *s, unsigned number, unsigned end, const struct frame *frame)
{
    struct conn *c = &s->world->conn[number];
    struct queue *q = &c->queue[end];
    uint64_t delay = around(&s->world->network, s->world->options.delay_us);
    struct message *m;

    if (c->closed[end]) {
        return;
    }
    BATON_ASSERT(q->count < QUEUE_MAX);
    if (fault_draw(s, SIM_DELAY, 20)) {
        delay *= 40;
    }
    if (s->world->now + delay > c->due[end]) {
        c->due[end] = s->world->now + delay; /* in order */
    }
    m = &q->message[(q->first + q->count++) % QUEUE_MAX];
    m->due = c->due[end];
    m->frame = *frame;
    if (frame->payload) {
        BATON_ASSERT(frame->payload_length <= PAYLOAD_MAX);
        memcpy(m->payload, frame->payload, frame->payload_length);
    }
    conn_arm(s, number, end);
}

void conn_send(struct sim *s, unsigned node, unsigned link, const struct frame *frame)
{
    struct sim_link *l = link_at(s, node, link);

    if (l->conn >= 0) {
        conn_push(s, (unsigned)l->conn, l->sink ? SOURCE : SINK, frame);
        s->world->result.frames++;
    }
}

/* That end is closed; the other one will see it, unless its host went silently. */
void conn_close(struct sim *s, unsigned number, unsigned end, bool silent)
{
    struct conn *c = &s->world->conn[number];

    c->closed[end] = true;
    c->link[end] = -1;
    c->queue[end].count = 0;
    if (c->closed[!end]) {
        c->used = false;
        return;
    }
    if (silent) {
        c->lost[!end] = true;
        return;
    }
    c->eof[!end] = true;
    c->blocked[!end] = false;
    if (c->queue[!end].count > 0 && chance(&s->world->network, 300)) {
        c->queue[!end].count = below(&s->world->network, c->queue[!end].count); /* a reset */
        c->orderly = false;
    }
    conn_arm(s, number, !end);
}

/* Both ends see its end, each in its time; what was on the way is partly lost. */
void conn_break(struct sim *s, unsigned number)
{
    struct conn *c = &s->world->conn[number];

    c->orderly = false;
    for (unsigned end = 0; end < 2; end++) {
        c->eof[end] = true;
        if (c->queue[end].count > 0) {
            c->queue[end].count = below(&s->world->network, c->queue[end].count + 1);
        }
        conn_arm(s, number, end);
    }
}

static int conn_new(struct sim *s, unsigned sink, unsigned link, unsigned life)
{
    struct world *w = s->world;
    unsigned i = 0;
    struct conn *c;

    while (i < CONNS_MAX && w->conn[i].used) {
        i++;
    }
    if (i == CONNS_MAX) {
        return -1;
    }
    c = &w->conn[i];
    c->queue[0].count = c->queue[1].count = 0;
    c->used = true;
    c->orderly = false;
    c->node[SINK] = (uint8_t)sink;
    c->node[SOURCE] = w->life[life].node;
    c->life[SINK] = w->nodes[sink].life;
    c->life[SOURCE] = (uint8_t)life;
    c->link[SINK] = (int16_t)link;
    c->link[SOURCE] = -1;
    memset(c->closed, 0, sizeof(c->closed));
    memset(c->eof, 0, sizeof(c->eof));
    memset(c->lost, 0, sizeof(c->lost));
    memset(c->armed, 0, sizeof(c->armed));
    memset(c->blocked, 0, sizeof(c->blocked));
    c->serial = ++w->serial;
    c->dial = ++w->nodes[sink].dials;
    memset(c->due, 0, sizeof(c->due));
    memset(c->bulk_due, 0, sizeof(c->bulk_due));
    c->stall_until = 0;
    return (int)i;
}

/* ---- links ---- */

static int link_unused(struct sim *s, unsigned node)
{
    struct node *n = &s->world->nodes[node];

    for (unsigned i = 0; i < s->world->options.limits.links; i++) {
        if (!n->links[i].used) {
            n->links[i] = (struct sim_link){
                .used = true, .core_knows = true, .conn = -1, .serial = ++s->world->serial};
            return (int)i;
        }
    }
    return -1;
}

/* No place is left.  Blocks may wait for a link, so one that nobody uses goes, if there is any; its
 * place is free the next time. */
static void make_room(struct sim *s, unsigned node)
{
    const struct node *n = &s->world->nodes[node];

    for (unsigned i = 0; i < LINKS_MAX && s->world->options.transports >> BY_PUSH_LIBRARY; i++) {
        struct core_link_view view;

        if (!n->links[i].up) {
            continue;
        }
        core_link_view(n->core, i, &view);
        if (view.up && view.handoffs == 0) {
            sim_link_break(s, node, i, BATON_CAUSE_LINK_CLOSED);
            return;
        }
    }
}

/* The sink's link to that life of a source: the one there is, or a new one that is dialled. */
int sim_link_to(struct sim *s, unsigned node, unsigned life)
{
    struct node *n = &s->world->nodes[node];
    const struct life *peer = &s->world->life[life];
    int32_t existing = core_link_to(n->core, peer->incarnation);
    struct core_event event = {.type = CORE_EVENT_DIAL};
    int number;

    if (existing != CORE_NONE) {
        return existing;
    }
    number = link_unused(s, node);
    if (number < 0) {
        make_room(s, node);
        return -1;
    }
    n->links[number].sink = true;
    n->links[number].peer_life = (uint8_t)life;
    event.link = (uint32_t)number;
    memcpy(event.peer.incarnation, peer->incarnation, ID_BYTES);
    node_apply(s, node, &event);
    n->links[number].conn = (int16_t)conn_new(s, node, (unsigned)number, life);
    if (n->links[number].conn < 0) {
        sim_link_break(s, node, (unsigned)number, BATON_CAUSE_UNREACHABLE);
        return number;
    }
    conn_send(s, node, (unsigned)number, &(struct frame){.type = FRAME_HELLO});
    PUSH(s, s->world->options.handshake_us, .type = EV_HANDSHAKE, .node = (uint8_t)node,
         .a = (uint16_t)number, .b = n->links[number].serial);
    return number;
}

/* Found out within an action or a frame: the link ends in node_settle(). */
void sim_link_break(struct sim *s, unsigned node, unsigned link, baton_cause cause)
{
    link_at(s, node, link)->broken = true;
    link_at(s, node, link)->broken_cause = (uint8_t)cause;
    s->world->nodes[node].attention = true;
}

void sim_link_lose(struct sim *s, unsigned node, unsigned link, baton_cause cause)
{
    struct core_event event = {.type = CORE_EVENT_LINK_LOST, .link = link};

    event.lost.cause = cause;
    if (link_at(s, node, link)->core_knows) {
        node_apply(s, node, &event);
    }
}

/* The core counts it as lost.  The control connection goes at once, the rest in node_settle(). */
void sim_link_shut(struct sim *s, unsigned node, unsigned link)
{
    struct sim_link *l = link_at(s, node, link);

    l->up = false;
    if (l->conn >= 0) {
        conn_close(s, (unsigned)l->conn, l->sink ? SINK : SOURCE, false);
        l->conn = -1;
    }
    l->shut = true;
    s->world->nodes[node].attention = true;
}

void sim_link_released(struct sim *s, unsigned node, unsigned link)
{
    struct sim_link *l = link_at(s, node, link);

    if (l->used && !l->core_knows && l->out == 0 && !l->shut && !l->flush && !l->broken) {
        l->used = false;
    }
}

void sim_link_wants(struct sim *s, unsigned node, unsigned link)
{
    struct sim_link *l = link_at(s, node, link);

    if (!l->flush) {
        l->flush = true;
        PUSH(s, below(&s->world->schedule, 20), .type = EV_ROOM, .node = (uint8_t)node,
             .a = (uint16_t)link, .b = l->serial);
    }
}

static bool has_room(struct sim *s, const struct sim_link *l)
{
    const struct options *o = &s->world->options;

    return l->conn >= 0 && s->world->conn[l->conn].queue[l->sink ? SOURCE : SINK].count <
                               (l->sink ? o->room : o->answers);
}

/* Build frames until nothing more is said, or the connection is full. */
void sim_link_flush(struct sim *s, unsigned node, unsigned link)
{
    struct sim_link *l = link_at(s, node, link);
    const struct core_event room = {.type = CORE_EVENT_LINK_ROOM, .link = link};

    s->world->framed = true;
    while (l->up && has_room(s, l) && s->world->framed) {
        s->world->framed = false;
        node_apply(s, node, &room);
    }
    l->wants = l->up && !has_room(s, l);
    /* Answers that left made room for frames that were not read for want of it. */
    if (l->up && s->world->conn[l->conn].blocked[l->sink ? SINK : SOURCE]) {
        s->world->conn[l->conn].blocked[l->sink ? SINK : SOURCE] = false;
        conn_arm(s, (unsigned)l->conn, l->sink ? SINK : SOURCE);
    }
}

/* ---- arrivals ---- */

static void reject(struct sim *s, unsigned number, baton_cause cause)
{
    struct frame frame = {.type = FRAME_REJECT};

    frame.reject.version_min = frame.reject.version_max = WIRE_VERSION_MAX;
    frame.reject.cause = (uint8_t)cause;
    conn_push(s, number, SINK, &frame);
    s->world->conn[number].closed[SOURCE] = true;
    s->world->conn[number].eof[SINK] = true;
    conn_arm(s, number, SINK);
}

/* Of the links of that peer that stand. */
static uint64_t newest_dial(struct sim *s, unsigned node, const struct conn *new)
{
    uint64_t newest = 0;

    for (unsigned i = 0; i < LINKS_MAX; i++) {
        const struct sim_link *l = link_at(s, node, i);

        if (l->used && l->up && !l->sink && l->peer_life == new->life[SINK] && l->conn >= 0 &&
            s->world->conn[l->conn].dial > newest) {
            newest = s->world->conn[l->conn].dial;
        }
    }
    return newest;
}

static void hello(struct sim *s, unsigned number)
{
    struct conn *c = &s->world->conn[number];
    unsigned node = c->node[SOURCE];
    struct core_event event = {.type = CORE_EVENT_HELLO};
    bool up[LINKS_MAX];
    struct sim_link *l;
    uint64_t newest;
    int link;

    if (c->life[SOURCE] != s->world->nodes[node].life) {
        reject(s, number, BATON_CAUSE_INCARNATION);
        return;
    }
    link = link_unused(s, node);
    if (link < 0) {
        make_room(s, node);
        reject(s, number, BATON_CAUSE_BUSY);
        return;
    }
    l = link_at(s, node, (unsigned)link);
    l->conn = (int16_t)number;
    l->peer_life = c->life[SINK];
    newest = newest_dial(s, node, c);
    for (unsigned i = 0; i < LINKS_MAX; i++) {
        up[i] = link_at(s, node, i)->up;
    }
    c->link[SOURCE] = (int16_t)link;
    event.link = (uint32_t)link;
    memcpy(event.peer.incarnation, s->world->life[c->life[SINK]].incarnation, ID_BYTES);
    event.peer.dial = c->dial;
    event.peer.ping = s->world->options.ping;
    node_apply(s, node, &event);
    check_P5_others_stay(s, node, up, c->life[SINK]);
    if (!l->up) {
        /* An older dial of the same peer: closed unread. */
        l->core_knows = false;
        l->conn = -1;
        conn_close(s, number, SOURCE, false);
        sim_link_released(s, node, (unsigned)link);
        return;
    }
    check_P5_newest_link(s, node, newest, c->dial);
}

static void greeted(struct sim *s, unsigned number, const struct frame *frame)
{
    struct conn *c = &s->world->conn[number];
    struct core_event event = {.type = CORE_EVENT_LINK_UP, .link = (uint32_t)c->link[SINK]};

    if (frame->type == FRAME_REJECT) {
        sim_link_lose(s, c->node[SINK], event.link,
                      frame->reject.cause == BATON_CAUSE_INCARNATION ? BATON_CAUSE_INCARNATION
                                                                     : BATON_CAUSE_UNREACHABLE);
        return;
    }
    event.peer.ping = s->world->options.ping;
    node_apply(s, c->node[SINK], &event);
}

static void ended(struct sim *s, unsigned number, unsigned end)
{
    struct conn *c = &s->world->conn[number];
    unsigned node = c->node[end];
    int link = c->link[end];

    if (link < 0) {
        conn_close(s, number, end, false); /* it was never opened at this end */
        return;
    }
    if (end == SINK && c->orderly) {
        check_P11_last_word(s, c);
    }
    sim_link_lose(s, node, (unsigned)link,
                  link_at(s, node, (unsigned)link)->up ? BATON_CAUSE_LINK_CLOSED
                                                       : BATON_CAUSE_UNREACHABLE);
}

/* Until when nothing arrives. */
static uint64_t held_until(const struct sim *s, const struct conn *c, unsigned end)
{
    uint64_t cut = s->world->cut_until[c->node[!end]][c->node[end]];
    uint64_t clog = s->world->nodes[c->node[end]].clog_until;

    return cut > clog ? cut : clog;
}

static void sender_has_room(struct sim *s, const struct conn *c, unsigned end)
{
    if (!c->closed[!end] && c->link[!end] >= 0 &&
        link_at(s, c->node[!end], (unsigned)c->link[!end])->wants) {
        sim_link_wants(s, c->node[!end], (unsigned)c->link[!end]);
    }
}

static void arrive(struct sim *s, unsigned number, unsigned end)
{
    struct conn *c = &s->world->conn[number];
    struct queue *q = &c->queue[end];
    struct message m = q->message[q->first % QUEUE_MAX];

    q->first = (q->first + 1) % QUEUE_MAX;
    q->count--;
    sender_has_room(s, c, end);
    m.frame.payload = m.frame.payload ? m.payload : NULL;
    chart_note(s, c->node[!end], c->node[end], m.frame.type, NULL, 0, 0);
    if (m.frame.type == FRAME_HELLO) {
        hello(s, number);
    } else if (m.frame.type == FRAME_WELCOME || m.frame.type == FRAME_REJECT) {
        greeted(s, number, &m.frame);
    } else {
        sim_frame_in(s, c->node[end], (unsigned)c->link[end], &m.frame);
    }
}

void conn_deliver(struct sim *s, const struct event *e)
{
    struct conn *c = &s->world->conn[e->a];
    unsigned end = e->c;
    const struct node *n = &s->world->nodes[e->node];

    if (!c->used || c->serial != e->b) {
        return;
    }
    c->armed[end] = false;
    if (c->closed[end] || c->lost[end]) {
        return;
    }
    if (!n->alive) {
        conn_close(s, e->a, end, false); /* nobody listens at that address */
        return;
    }
    if (held_until(s, c, end) > s->world->now) {
        /* Connections that waited for the same go on in any order. */
        c->armed[end] = true;
        push(s, held_until(s, c, end) - s->world->now + below(&s->world->network, 50), *e);
        return;
    }
    if (c->queue[end].count == 0) {
        if (c->eof[end]) {
            ended(s, e->a, end);
        }
        return;
    }
    if (c->link[end] >= 0 && n->links[c->link[end]].up &&
        !core_link_reads(n->core, (uint32_t)c->link[end])) {
        if (c->eof[end]) {
            /* It does not read while its answers wait to leave; writing them fails, which ends it.
             */
            c->queue[end].count = 0;
            ended(s, e->a, end);
            return;
        }
        c->blocked[end] = true;
        return;
    }
    user_asks(s, e->node);
    if (!c->used || c->serial != e->b || c->closed[end] || c->queue[end].count == 0) {
        return;
    }
    arrive(s, e->a, end);
    if (c->used && c->serial == e->b) {
        conn_arm(s, e->a, end);
    }
}
