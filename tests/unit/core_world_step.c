/* SPDX-License-Identifier: Apache-2.0 */
/* What happens by itself in the world of core_world.h: actions are carried out, messages arrive,
 * windows end. */
#include "core_world_step.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>

/* ---- wires ---- */

void queue_push(struct world_queue *q, const struct frame *frame)
{
    if (q->first + q->count == q->room) {
        if (q->first > 0) {
            memmove(q->frames, q->frames + q->first, q->count * sizeof(*q->frames));
            q->first = 0;
        } else {
            q->room = q->room ? q->room * 2 : 4;
            q->frames = realloc(q->frames, q->room * sizeof(*q->frames));
        }
    }
    q->frames[q->first + q->count++] = *frame;
}

bool queue_pop(struct world_queue *q, struct frame *ret_frame)
{
    if (q->count == 0) {
        return false;
    }
    *ret_frame = q->frames[q->first++];
    q->count--;
    q->first = q->count ? q->first : 0;
    return true;
}

/* An unused link of the node, taken for the wire. */
static uint32_t link_take(struct world *w, int node, int wire)
{
    for (uint32_t i = 0; i < w->options.limits.links; i++) {
        if (w->nodes[node].wire_of[i] == -1) {
            w->nodes[node].wire_of[i] = wire;
            return i;
        }
    }
    return CORE_NO_LINK;
}

int wire_new(struct world *w, int sink, int source)
{
    int at = 0;

    while (at < WORLD_WIRES_MAX && w->wires[at].used) {
        at++;
    }
    if (!CHECK(at < WORLD_WIRES_MAX)) {
        abort();
    }
    w->wires[at] = (struct world_wire){.used = true,
                                       .node = {sink, source},
                                       .link = {CORE_NO_LINK, CORE_NO_LINK},
                                       .queue = {w->wires[at].queue[0], w->wires[at].queue[1]},
                                       .dial = ++w->dial};
    w->wires[at].queue[0].count = w->wires[at].queue[0].first = 0;
    w->wires[at].queue[1].count = w->wires[at].queue[1].first = 0;
    if (sink >= 0) {
        w->wires[at].link[WORLD_SINK] = link_take(w, sink, at);
        CHECK(w->wires[at].link[WORLD_SINK] != CORE_NO_LINK);
    }
    return at;
}

void wire_end(struct world *w, int at)
{
    w->wires[at].used = false;
    w->wires[at].queue[WORLD_SINK].count = 0;
    w->wires[at].queue[WORLD_SOURCE].count = 0;
}

/* That end is closed; the other one will see it. */
static void end_close(struct world *w, int at, int end)
{
    struct world_wire *wire = &w->wires[at];
    const struct frame closed = {.payload_length = 0};

    wire->link[end] = CORE_NO_LINK;
    wire->gone[end] = true;
    wire->wants[end] = false;
    wire->queue[end].count = 0;
    if (wire->link[!end] == CORE_NO_LINK) {
        wire_end(w, at);
    } else {
        queue_push(&wire->queue[!end], &closed);
    }
}

static int end_of(const struct world *w, int node, uint32_t link)
{
    const struct world_wire *wire = &w->wires[w->nodes[node].wire_of[link]];

    return wire->node[WORLD_SINK] == node && wire->link[WORLD_SINK] == link ? WORLD_SINK
                                                                            : WORLD_SOURCE;
}

/* ---- actions ---- */

static void carry_copy(struct world *w, int node, const struct core_action *a)
{
    struct world_node *n = &w->nodes[node];
    struct world_handoff *h = n->at[CORE_FETCH][a->index];

    CHECK(h && h->id == a->copy.id && h->outcomes == 0 && !h->stopped);
    CHECK(n->copies_count < w->options.limits.windows + w->options.limits.links);
    CHECK(a->copy.offset >= h->begin && a->copy.length > 0);
    CHECK(!h->offer || a->copy.offset + a->copy.length <= h->offer->watermark); /* P7 */
    n->copies[n->copies_count++] = (struct world_copy){.id = a->copy.id,
                                                       .offset = a->copy.offset,
                                                       .length = a->copy.length,
                                                       .serial = ++w->copy_serial,
                                                       .push = h->push,
                                                       .fetch = h};
    h->copies++;
    h->copies_all++;
}

static void carry_stop(struct world *w, int node, const struct core_action *a)
{
    struct world_node *n = &w->nodes[node];

    if (a->type == CORE_ACTION_COPY_STOP) {
        for (uint32_t i = 0; i < n->copies_count; i++) {
            n->copies[i].stopped |= n->copies[i].id == a->copy.id;
        }
        n->at[CORE_FETCH][a->index]->stopped = true;
        return;
    }
    for (uint32_t i = 0; i < n->serves_count; i++) {
        n->serves[i].stopped |=
            n->serves[i].offer_id == a->serve.id && n->serves[i].attempt == a->serve.attempt;
    }
}

static void carry_serve(struct world *w, int node, const struct core_action *a)
{
    struct world_node *n = &w->nodes[node];
    struct world_handoff *h = n->at[CORE_OFFER][a->index];

    CHECK(h && h->id == a->serve.id && h->outcomes == 0);
    CHECK(a->serve.offset + a->serve.length <= h->watermark);
    n->serves[n->serves_count++] = (struct world_serve){.offer_id = a->serve.id,
                                                        .attempt = a->serve.attempt,
                                                        .push = a->serve.push,
                                                        .fetch_id = a->serve.fetch_id,
                                                        .offset = a->serve.offset,
                                                        .length = a->serve.length,
                                                        .slot = a->slot};
    h->serves++;
}

/* S3, S13: while a push of the fetch is under way, somebody may write into its blocks. */
static void check_no_push(const struct world *w, const struct world_handoff *fetch)
{
    for (unsigned i = 0; i < w->options.nodes; i++) {
        for (uint32_t s = 0; s < w->nodes[i].serves_count; s++) {
            const struct world_serve *serve = &w->nodes[i].serves[s];

            CHECK(!serve->push || serve->fetch_id != fetch->id);
        }
    }
}

static void carry_told(struct world *w, int node, const struct core_action *a)
{
    struct world_handoff *h = w->nodes[node].at[a->side][a->index];

    if (!CHECK(h)) {
        return;
    }
    if (a->type == CORE_ACTION_OUTCOME) {
        h->outcomes++;
        CHECK(h->outcomes == 1 && h->quiets == 0 && h->doubts == 0);
        h->outcome = a->outcome.outcome;
        h->cause = a->outcome.cause;
        h->stage = a->outcome.stage;
    } else if (a->type == CORE_ACTION_DOUBT) {
        h->doubts++;
        CHECK(h->outcomes == 1 && h->quiets == 0 && h->doubts == 1);
        CHECK((h->copies + h->serves > 0 || (h->push && w->options.remote)) &&
              a->cause == h->cause);
    } else if (a->type == CORE_ACTION_QUIET) {
        h->quiets++;
        CHECK(h->outcomes == 1 && h->quiets == 1);
        CHECK(h->copies == 0 && h->serves == 0);
        h->proof = a->quiet.proof;
        if (h->push && w->options.remote && h->proof <= BATON_PROOF_PEER_DRAIN) {
            check_no_push(w, h);
        }
        h->attempts = a->quiet.attempts;
        h->last_attempt = a->quiet.last_attempt;
        memcpy(h->peer, a->quiet.peer, ID_BYTES);
        h->landed = a->quiet.landed;
        /* P2, P3: what a sink completes, its source has committed, that very attempt. */
        CHECK(h->side == CORE_OFFER || h->outcome != BATON_COMPLETED || !h->offer ||
              h->offer->committed[h->slot] == h->last_attempt);
    } else {
        h->forgets++;
        CHECK(h->quiets == 1 && h->forgets == 1);
        w->nodes[node].at[a->side][a->index] = NULL;
    }
}

static void carry_trace(struct world *w, int node, const struct core_action *a)
{
    struct world_handoff *h = w->nodes[node].at[a->side][a->index];
    struct core_slot_view view;

    if (a->side == CORE_OFFER && CHECK(h) && a->trace.to == BATON_STAGE_COMMITTED) {
        core_slot_view(w->nodes[node].core, a->index, a->slot, &view);
        CHECK(h->committed[a->slot] == 0); /* final */
        h->committed[a->slot] = view.attempt;
    }
}

/* What is sent to an end that has gone is lost. */
static void carry_frame(struct world *w, int node, const struct core_action *a)
{
    struct world_wire *wire = &w->wires[w->nodes[node].wire_of[a->link]];
    int end = end_of(w, node, a->link);

    wire->wants[end] = true;
    if (!wire->gone[!end]) {
        queue_push(&wire->queue[!end], &a->frame);
    }
}

static void carry_link(struct world *w, int node, const struct core_action *a)
{
    int *wire_of = &w->nodes[node].wire_of[a->link], at = *wire_of;
    const struct frame welcome = {.type = FRAME_WELCOME};

    if (a->type == CORE_ACTION_LINK_FREE) {
        CHECK(*wire_of == -2);
        *wire_of = -1;
        return;
    }
    if (at < 0) {
        CHECK(a->type == CORE_ACTION_LINK_CLOSE); /* world_redial() was first */
        return;
    }
    switch (a->type) {
    case CORE_ACTION_FLUSH:
        w->wires[at].wants[end_of(w, node, a->link)] = true;
        return;
    case CORE_ACTION_FRAME:
        carry_frame(w, node, a);
        return;
    case CORE_ACTION_LINK_UP:
        if (end_of(w, node, a->link) == WORLD_SOURCE) {
            queue_push(&w->wires[at].queue[WORLD_SINK], &welcome);
        }
        return;
    case CORE_ACTION_LINK_REFUSED:
        *wire_of = -1;
        end_close(w, at, WORLD_SOURCE);
        return;
    default:
        CHECK(a->type == CORE_ACTION_LINK_CLOSE);
        end_close(w, at, end_of(w, node, a->link));
        *wire_of = -2;
    }
}

static void carry(struct world *w, int node, const struct core_action *a)
{
    switch (a->type) {
    case CORE_ACTION_TRACE:
        carry_trace(w, node, a);
        return;
    case CORE_ACTION_COPY:
        carry_copy(w, node, a);
        return;
    case CORE_ACTION_COPY_STOP:
    case CORE_ACTION_SERVE_STOP:
        carry_stop(w, node, a);
        return;
    case CORE_ACTION_SERVE:
        carry_serve(w, node, a);
        return;
    case CORE_ACTION_SERVE_REFUSE:
        return;
    case CORE_ACTION_OUTCOME:
    case CORE_ACTION_DOUBT:
    case CORE_ACTION_QUIET:
    case CORE_ACTION_FORGET:
        carry_told(w, node, a);
        return;
    default:
        carry_link(w, node, a);
    }
}

void world_event(struct world *w, int node, const struct core_event *event)
{
    struct core *core = w->nodes[node].core;
    bool more = true;

    while (more) {
        more = core_step(core, event, w->now_us, &w->actions);
        event = NULL;
        CHECK(w->actions.count <= CORE_ACTIONS_MAX);
        if (++w->steps % w->options.check_every == 0) {
            core_check(core);
        }
        for (uint32_t i = 0; i < w->actions.count; i++) {
            carry(w, node, &w->actions.list[i]);
        }
    }
}

/* ---- messages ---- */

static void hello(struct world *w, int at)
{
    struct world_wire *wire = &w->wires[at];
    int sink = wire->node[WORLD_SINK], source = wire->node[WORLD_SOURCE];
    struct core_event event = {.type = CORE_EVENT_HELLO};

    wire->link[WORLD_SOURCE] = link_take(w, source, at);
    if (wire->link[WORLD_SOURCE] == CORE_NO_LINK) {
        end_close(w, at, WORLD_SOURCE);
        return;
    }
    event.link = wire->link[WORLD_SOURCE];
    event.peer.dial = wire->dial;
    event.peer.ping = w->options.ping;
    if (sink >= 0) {
        memcpy(event.peer.incarnation, w->nodes[sink].incarnation, ID_BYTES);
    } else {
        memset(event.peer.incarnation, (int)wire->link[WORLD_SINK], ID_BYTES);
    }
    world_event(w, source, &event);
}

void wire_apply(struct world *w, int at, int end, const struct frame *frame, baton_cause misfit)
{
    const struct world_wire *wire = &w->wires[at];
    int node = wire->node[end];
    struct core *core = w->nodes[node].core;
    struct core_event event = {.type = CORE_EVENT_FRAME, .link = wire->link[end]};
    uint32_t waiting = core_replies_waiting(core);
    uint64_t hash;

    event.frame.frame = frame;
    event.frame.misfit = misfit;
    event.frame.exported = w->options.exported;
    event.frame.remote = w->options.remote;
    CHECK(core_link_reads(core, event.link));
    world_event(w, node, &event);
    /* S14; an answer that has no record is given again. */
    if (w->options.twice && core_replies_waiting(core) == waiting) {
        hash = core_hash(core);
        world_event(w, node, &event);
        CHECK(core_hash(core) == hash);
        for (uint32_t i = 0; i < w->actions.count; i++) {
            CHECK(w->actions.list[i].type == CORE_ACTION_FLUSH);
        }
    }
}

void wire_deliver(struct world *w, int at, int end)
{
    struct world_wire *wire = &w->wires[at];
    struct core_event event = {.link = wire->link[end]};
    struct frame frame = {.payload_length = 0};

    queue_pop(&wire->queue[end], &frame);
    if (frame.type == FRAME_HELLO) {
        hello(w, at);
    } else if (frame.type == FRAME_WELCOME) {
        event.type = CORE_EVENT_LINK_UP;
        event.peer.ping = w->options.ping;
        world_event(w, wire->node[end], &event);
    } else if (frame.type) {
        wire_apply(w, at, end, &frame, BATON_CAUSE_NONE);
    } else if (wire->link[end] == CORE_NO_LINK) {
        wire_end(w, at); /* closed before it was ever opened */
    } else {
        event.type = CORE_EVENT_LINK_LOST;
        event.lost.cause = BATON_CAUSE_LINK_CLOSED;
        world_event(w, wire->node[end], &event);
    }
}

void wire_room(struct world *w, int at, int end)
{
    w->wires[at].wants[end] = false;
    world_event(w, w->wires[at].node[end],
                &(struct core_event){.type = CORE_EVENT_LINK_ROOM, .link = w->wires[at].link[end]});
}

/* ---- windows ---- */

/* The source's own code is to send a window: its answer is a serve, or no. */
static void ask(struct world *w, struct world_copy *c, int sink)
{
    const struct world_wire *wire = &w->wires[c->fetch->wire];
    int source = wire->node[WORLD_SOURCE];
    struct core_event event = {.type = CORE_EVENT_READ, .link = wire->link[WORLD_SOURCE]};
    struct core_slot_view view;
    struct world_serve *serve;
    uint32_t before;

    c->asked = true;
    c->refused = true;
    if (!wire->used || wire->node[WORLD_SINK] != sink || event.link == CORE_NO_LINK) {
        return;
    }
    before = w->nodes[source].serves_count;
    core_slot_view(w->nodes[source].core, c->fetch->offer->index, c->fetch->slot, &view);
    event.read.offer_id = c->fetch->offer->id;
    event.read.fetch_id = c->id;
    event.read.attempt = view.attempt;
    event.read.offset = c->offset;
    event.read.length = c->length;
    event.read.slot = c->fetch->slot;
    world_event(w, source, &event);
    if (w->nodes[source].serves_count > before) {
        serve = &w->nodes[source].serves[before];
        serve->copy = c->serial;
        serve->sink = sink;
        c->refused = false;
    }
}

/* A push is stored in the order of its windows. */
static bool is_first(const struct world_node *n, const struct world_copy *c)
{
    for (uint32_t i = 0; i < n->copies_count; i++) {
        if (n->copies[i].id == c->id && n->copies[i].offset < c->offset) {
            return false;
        }
    }
    return true;
}

static bool copy_waits(const struct world *w, const struct world_node *n,
                       const struct world_copy *c)
{
    if (c->push) {
        return !c->served || !is_first(n, c);
    }
    return w->options.streams && c->asked && !c->served && !c->refused;
}

static void copy_step(struct world *w, int node, uint32_t at)
{
    struct world_node *n = &w->nodes[node];
    struct world_copy *c = &n->copies[at], copy;
    struct core_event event = {.type = CORE_EVENT_COPIED};
    bool aborted = c->stopped || c->refused;

    if (w->options.streams && !c->asked && !aborted && !c->push) {
        ask(w, c, node);
        return;
    }
    copy = *c;
    *c = n->copies[--n->copies_count];
    copy.fetch->copies--;
    event.copied.id = copy.id;
    event.copied.length = copy.length;
    event.copied.landed = aborted ? copy.length / 2 : copy.length;
    event.copied.status = aborted ? CORE_COPIED_ABORTED : CORE_COPIED_OK;
    world_event(w, node, &event);
}

/* The window of a sink whose own code stores what was sent. */
static void push_arrives(struct world *w, const struct world_serve *serve)
{
    for (unsigned i = 0; i < w->options.nodes; i++) {
        for (uint32_t c = 0; c < w->nodes[i].copies_count; c++) {
            struct world_copy *copy = &w->nodes[i].copies[c];

            copy->served |= copy->id == serve->fetch_id && copy->offset == serve->offset &&
                            copy->length == serve->length;
        }
    }
}

/* Pushes of one attempt end in order. */
static bool serve_waits(const struct world_node *n, uint32_t at)
{
    for (uint32_t i = 0; i < at; i++) {
        if (n->serves[at].push && n->serves[i].attempt == n->serves[at].attempt) {
            return true;
        }
    }
    return false;
}

static void serve_step(struct world *w, int node, uint32_t at)
{
    struct world_node *n = &w->nodes[node];
    struct world_serve serve = n->serves[at];
    struct world_node *sink = &w->nodes[serve.sink];
    struct core_event event = {.type = CORE_EVENT_SERVED};

    n->serves_count--;
    memmove(&n->serves[at], &n->serves[at + 1], (n->serves_count - at) * sizeof(*n->serves));
    event.served.offer_id = serve.offer_id;
    event.served.push = serve.push;
    event.served.slot = serve.slot;
    event.served.length = serve.length;
    event.served.status = serve.stopped ? CORE_COPIED_ABORTED : CORE_COPIED_OK;
    if (serve.push && !serve.stopped) {
        push_arrives(w, &serve);
    }
    n->at[CORE_OFFER][serve.offer_id & ((1 << CORE_INDEX_BITS) - 1)]->serves--;
    for (uint32_t i = 0; i < sink->copies_count && !serve.push; i++) {
        if (sink->copies[i].serial == serve.copy) {
            sink->copies[i].served = !serve.stopped;
            sink->copies[i].refused = serve.stopped;
        }
    }
    world_event(w, node, &event);
}

/* ---- one step ---- */

/* Everything that could happen next, numbered; the chosen one happens. */
static bool on_wire(struct world *w, int at, int end, uint64_t *left)
{
    struct world_wire *wire = &w->wires[at];
    int node = wire->node[end];
    bool opens = wire->queue[end].count && (wire->link[end] == CORE_NO_LINK ||
                                            core_link_reads(w->nodes[node].core, wire->link[end]));

    if (opens && (*left)-- == 0) {
        wire_deliver(w, at, end);
        return true;
    }
    if (wire->wants[end] && !wire->held[end] && (*left)-- == 0) {
        wire_room(w, at, end);
        return true;
    }
    return false;
}

static bool on_node(struct world *w, int node, uint64_t *left)
{
    struct world_node *n = &w->nodes[node];

    if (n->idle) {
        return false;
    }
    for (uint32_t i = 0; i < n->copies_count; i++) {
        if ((n->copies[i].stopped || !copy_waits(w, n, &n->copies[i])) && (*left)-- == 0) {
            copy_step(w, node, i);
            return true;
        }
    }
    for (uint32_t i = 0; i < n->serves_count; i++) {
        if (!serve_waits(n, i) && (*left)-- == 0) {
            serve_step(w, node, i);
            return true;
        }
    }
    return false;
}

/* Does the `*left`-th thing that can be done; `*left` is lowered by how many there are before it.
 */
static bool choose(struct world *w, uint64_t *left)
{
    for (int i = 0; i < WORLD_WIRES_MAX; i++) {
        for (int end = 0; end < 2 && w->wires[i].used; end++) {
            if (w->wires[i].node[end] >= 0 && on_wire(w, i, end, left)) {
                return true;
            }
        }
    }
    for (unsigned i = 0; i < w->options.nodes; i++) {
        if (on_node(w, (int)i, left)) {
            return true;
        }
    }
    return false;
}

bool world_step(struct world *w)
{
    uint64_t all = UINT64_MAX, left;

    choose(w, &all);
    all = UINT64_MAX - all;
    if (all == 0) {
        return false;
    }
    left = w->options.seed ? prng_below(&w->prng, all) : w->turn++ % all;
    return choose(w, &left);
}
