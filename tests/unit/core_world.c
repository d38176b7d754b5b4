/* SPDX-License-Identifier: Apache-2.0 */
/* The world of core_world.h: what users and time do is here; what happens by itself is in
 * core_world_step.c. */
#include "core_world.h"
#include "core_world_step.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>

static void default_u32(uint32_t *value, uint32_t otherwise)
{
    *value = *value ? *value : otherwise;
}

static void default_u64(uint64_t *value, uint64_t otherwise)
{
    *value = *value ? *value : otherwise;
}

static void defaults(struct world_options *o)
{
    default_u32(&o->nodes, 2);
    default_u32(&o->check_every, 1);
    default_u64(&o->first_serial, 1);
    default_u32(&o->limits.offers, 4);
    default_u32(&o->limits.fetches, 4);
    default_u32(&o->limits.links, 4);
    default_u32(&o->limits.slots, 4);
    default_u32(&o->limits.attempts, 8);
    default_u32(&o->limits.replies, 4);
    default_u32(&o->limits.windows, 4);
    default_u32(&o->limits.windows_per_fetch, 2);
    default_u64(&o->limits.window_bytes, 40);
    default_u64(&o->limits.inflight_bytes, 160);
    default_u64(&o->limits.link_timeout_us, 3000000);
    default_u64(&o->limits.doubt_us, 100000);
    default_u64(&o->limits.first_attempt, 1);
}

static void node_init(struct world *w, int node)
{
    struct world_node *n = &w->nodes[node];
    const struct core_limits *limits = &w->options.limits;

    n->core = core_init(malloc(core_state_bytes(limits)), limits);
    memset(n->incarnation, 0x10 + node, ID_BYTES);
    for (uint32_t i = 0; i < WORLD_WIRES_MAX; i++) {
        n->wire_of[i] = -1;
    }
    n->at[CORE_OFFER] = calloc(limits->offers, sizeof(*n->at[0]));
    n->at[CORE_FETCH] = calloc(limits->fetches, sizeof(*n->at[0]));
    n->copies = calloc(limits->windows + limits->links, sizeof(*n->copies));
    n->serves =
        calloc((size_t)(limits->windows + limits->links) * WORLD_NODES_MAX, sizeof(*n->serves));
}

struct world *world_create(const struct world_options *options)
{
    struct world *w = calloc(1, sizeof(*w));

    w->options = *options;
    defaults(&w->options);
    w->now_us = WORLD_START_US;
    w->serial = w->options.first_serial;
    prng_init(&w->prng, w->options.seed);
    for (unsigned i = 0; i < w->options.nodes; i++) {
        node_init(w, (int)i);
    }
    return w;
}

void world_destroy(struct world *w)
{
    for (unsigned i = 0; i < w->options.nodes; i++) {
        core_check(w->nodes[i].core);
        free(w->nodes[i].core);
        free(w->nodes[i].at[CORE_OFFER]);
        free(w->nodes[i].at[CORE_FETCH]);
        free(w->nodes[i].copies);
        free(w->nodes[i].serves);
    }
    for (int i = 0; i < WORLD_WIRES_MAX; i++) {
        free(w->wires[i].queue[WORLD_SINK].frames);
        free(w->wires[i].queue[WORLD_SOURCE].frames);
    }
    while (w->handoffs) {
        struct world_handoff *next = w->handoffs->next;

        free(w->handoffs);
        w->handoffs = next;
    }
    free(w);
}

/* ---- what users do ---- */

static struct world_handoff *handoff_new(struct world *w, int node, enum core_side side)
{
    const struct core_limits *limits = &w->options.limits;
    uint32_t count = side == CORE_OFFER ? limits->offers : limits->fetches, index = 0;
    struct world_handoff *h = calloc(1, sizeof(*h));

    while (index < count && w->nodes[node].at[side][index]) {
        index++;
    }
    CHECK(index < count);
    *h = (struct world_handoff){.next = w->handoffs, .node = node, .side = side, .index = index};
    h->id = w->serial++ << CORE_INDEX_BITS | index;
    w->nodes[node].at[side][index] = h;
    w->handoffs = h;
    return h;
}

void world_secret(const struct world_handoff *offer, uint32_t slot, uint8_t ret_secret[ID_BYTES])
{
    uint64_t value = offer->id * BATON_READERS_MAX + slot;

    memset(ret_secret, 0, ID_BYTES);
    memcpy(ret_secret, &value, sizeof(value));
}

struct world_handoff *world_offer(struct world *w, int node,
                                  const struct world_offer_options *options)
{
    struct world_handoff *h = handoff_new(w, node, CORE_OFFER);
    struct core_event event = {.type = CORE_EVENT_OFFER};

    h->slots = options->slots ? options->slots : 1;
    event.offer.index = h->index;
    event.offer.id = h->id;
    event.offer.slots = h->slots;
    event.offer.total = options->total ? options->total : 100;
    event.offer.watermark = options->watermark;
    event.offer.exported = w->options.exported;
    event.offer.reader_ms = options->reader_ms;
    event.offer.lease_ms = options->lease_ms;
    event.offer.whole_ms = options->whole_ms;
    h->total = event.offer.total;
    h->watermark = options->watermark < h->total ? options->watermark : h->total;
    for (uint32_t s = 0; s < h->slots; s++) {
        world_secret(h, s, event.offer.secret[s]);
    }
    world_event(w, node, &event);
    return h;
}

static int dial(struct world *w, int sink, int source)
{
    int at = wire_new(w, sink, source);
    struct core_event event = {.type = CORE_EVENT_DIAL, .link = w->wires[at].link[WORLD_SINK]};
    const struct frame hello = {.type = FRAME_HELLO};

    memcpy(event.peer.incarnation, w->nodes[source].incarnation, ID_BYTES);
    world_event(w, sink, &event);
    queue_push(&w->wires[at].queue[WORLD_SOURCE], &hello);
    return at;
}

int world_wire(const struct world *w, int sink, int source)
{
    int32_t link = core_link_to(w->nodes[sink].core, w->nodes[source].incarnation);

    return link == CORE_NONE ? -1 : w->nodes[sink].wire_of[link];
}

struct world_handoff *world_fetch(struct world *w, int node, struct world_handoff *offer,
                                  const struct world_fetch_options *options)
{
    struct world_handoff *h = handoff_new(w, node, CORE_FETCH);
    struct core_event event = {.type = CORE_EVENT_FETCH};

    h->offer = offer;
    h->slot = options->slot;
    h->wire = options->wire;
    if (offer) {
        h->wire = world_wire(w, node, offer->node);
        h->wire = h->wire < 0 ? dial(w, node, offer->node) : h->wire;
    }
    event.fetch.index = h->index;
    event.fetch.id = h->id;
    event.fetch.link = w->wires[h->wire].link[WORLD_SINK];
    event.fetch.offer_id = offer ? offer->id : options->offer_id;
    event.fetch.slot = options->slot;
    event.fetch.begin = h->begin = options->begin;
    event.fetch.total = offer ? offer->total : options->total;
    event.fetch.end = options->end ? options->end : event.fetch.total;
    event.fetch.push = h->push = options->push;
    event.fetch.nonce = options->nonce ? options->nonce : 1;
    event.fetch.opening_ms = options->opening_ms;
    event.fetch.bytes_ms = options->bytes_ms;
    event.fetch.progress_ms = options->progress_ms;
    event.fetch.commit_ms = options->commit_ms;
    event.fetch.whole_ms = options->whole_ms;
    if (offer) {
        world_secret(offer, options->slot, event.fetch.secret);
    }
    world_event(w, node, &event);
    return h;
}

void world_advance(struct world *w, struct world_handoff *offer, uint64_t watermark)
{
    struct core_event event = {.type = CORE_EVENT_ADVANCE};

    event.advance.id = offer->id;
    event.advance.watermark = watermark;
    if (watermark > offer->watermark) {
        offer->watermark = watermark < offer->total ? watermark : offer->total;
    }
    world_event(w, offer->node, &event);
}

void world_cancel(struct world *w, struct world_handoff *h, baton_cancel_scope scope)
{
    struct core_event event = {.type = CORE_EVENT_CANCEL};

    event.cancel.side = h->side;
    event.cancel.id = h->id;
    event.cancel.scope = scope;
    event.cancel.cause = BATON_CAUSE_CANCEL;
    world_event(w, h->node, &event);
}

/* ---- what happens to them ---- */

void world_run(struct world *w)
{
    unsigned limit = 2000000;

    while (limit > 0 && world_step(w)) {
        limit--;
    }
    CHECK(limit > 0);
}

void world_steps(struct world *w, unsigned steps)
{
    while (steps > 0 && world_step(w)) {
        steps--;
    }
}

void world_at(struct world *w, uint64_t now_us)
{
    const struct core_event tick = {.type = CORE_EVENT_TICK};

    w->now_us = now_us;
    for (unsigned i = 0; i < w->options.nodes; i++) {
        world_event(w, (int)i, &tick);
        CHECK(core_deadline(w->nodes[i].core) > now_us);
    }
}

void world_after_ms(struct world *w, uint64_t ms)
{
    world_at(w, w->now_us + ms * 1000);
}

static void lose(struct world *w, int at, int end)
{
    struct world_wire *wire = &w->wires[at];
    struct core_event event = {.type = CORE_EVENT_LINK_LOST, .link = wire->link[end]};

    event.lost.cause = BATON_CAUSE_LINK_CLOSED;
    if (wire->node[end] >= 0 && wire->link[end] != CORE_NO_LINK) {
        world_event(w, wire->node[end], &event);
    }
}

void world_cut(struct world *w, int sink, int source)
{
    for (int i = 0; i < WORLD_WIRES_MAX; i++) {
        if (w->wires[i].used && w->wires[i].node[WORLD_SINK] == sink &&
            w->wires[i].node[WORLD_SOURCE] == source) {
            lose(w, i, WORLD_SINK);
            lose(w, i, WORLD_SOURCE);
            wire_end(w, i);
        }
    }
}

void world_redial(struct world *w, int sink, int source)
{
    int at = world_wire(w, sink, source);

    if (at >= 0) {
        struct world_wire *wire = &w->wires[at];

        wire->node[WORLD_SINK] = WORLD_PUPPET; /* nobody tells the source */
        wire->queue[WORLD_SOURCE].count = 0;
        w->nodes[sink].wire_of[wire->link[WORLD_SINK]] = -2;
        world_event(w, sink,
                    &(struct core_event){.type = CORE_EVENT_LINK_LOST,
                                         .link = wire->link[WORLD_SINK],
                                         .lost.cause = BATON_CAUSE_LINK_CLOSED});
        wire->link[WORLD_SINK] = CORE_NO_LINK;
        if (wire->link[WORLD_SOURCE] == CORE_NO_LINK) {
            wire_end(w, at);
        }
    }
    dial(w, sink, source);
}

void world_hold(struct world *w, int wire, int end, bool held)
{
    w->wires[wire].held[end] = held;
}

/* ---- puppets ---- */

int world_puppet_sink(struct world *w, int node, uint8_t who, uint64_t number)
{
    int at = wire_new(w, WORLD_PUPPET, node);
    const struct frame hello = {.type = FRAME_HELLO};
    struct frame answer;

    w->wires[at].dial = number;
    w->wires[at].link[WORLD_SINK] = who;
    queue_push(&w->wires[at].queue[WORLD_SOURCE], &hello);
    wire_deliver(w, at, WORLD_SOURCE);
    if (queue_pop(&w->wires[at].queue[WORLD_SINK], &answer) && answer.type == FRAME_WELCOME) {
        return at;
    }
    wire_end(w, at);
    return -1;
}

int world_puppet_source(struct world *w, int node, uint8_t who)
{
    int at = wire_new(w, node, WORLD_PUPPET);
    struct core_event event = {.type = CORE_EVENT_DIAL, .link = w->wires[at].link[WORLD_SINK]};
    const struct frame welcome = {.type = FRAME_WELCOME};

    memset(event.peer.incarnation, who, ID_BYTES);
    w->wires[at].link[WORLD_SOURCE] = who;
    world_event(w, node, &event);
    queue_push(&w->wires[at].queue[WORLD_SINK], &welcome);
    wire_deliver(w, at, WORLD_SINK);
    return at;
}

void world_tell(struct world *w, int at, const struct frame *frame, baton_cause misfit)
{
    struct world_wire *wire = &w->wires[at];
    int end = wire->node[WORLD_SINK] == WORLD_PUPPET ? WORLD_SOURCE : WORLD_SINK;

    wire_apply(w, at, end, frame, misfit);
}

bool world_said(struct world *w, int at, struct frame *ret_frame)
{
    struct world_wire *wire = &w->wires[at];
    int puppet = wire->node[WORLD_SINK] == WORLD_PUPPET ? WORLD_SINK : WORLD_SOURCE;

    while (wire->queue[puppet].count == 0 && wire->wants[!puppet]) {
        wire_room(w, at, !puppet);
    }
    return queue_pop(&wire->queue[puppet], ret_frame);
}

/* ---- looking ---- */

bool world_over(const struct world_handoff *h)
{
    return h->outcomes == 1 && h->quiets == 1 && h->copies == 0 && h->serves == 0;
}

void world_check_empty(struct world *w)
{
    for (unsigned i = 0; i < w->options.nodes; i++) {
        struct core_gauges g;

        core_gauges(w->nodes[i].core, &g);
        CHECK(g.offers == 0 && g.fetches == 0 && g.windows == 0 && g.inflight_bytes == 0);
        CHECK(w->nodes[i].copies_count == 0 && w->nodes[i].serves_count == 0);
        CHECK(core_replies_waiting(w->nodes[i].core) == 0);
        CHECK(w->options.ping || core_deadline(w->nodes[i].core) == CORE_NEVER);
    }
    for (const struct world_handoff *h = w->handoffs; h; h = h->next) {
        CHECK(world_over(h) && h->forgets == 1);
    }
}

void world_slot(const struct world *w, const struct world_handoff *offer, uint32_t slot,
                struct core_slot_view *ret_view)
{
    core_slot_view(w->nodes[offer->node].core, offer->index, slot, ret_view);
}

void world_counts(const struct world *w, int node, struct core_counts *ret_counts)
{
    core_counts(w->nodes[node].core, ret_counts);
}

void world_gauges(const struct world *w, int node, struct core_gauges *ret_gauges)
{
    core_gauges(w->nodes[node].core, ret_gauges);
}
