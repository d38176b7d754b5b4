/* SPDX-License-Identifier: Apache-2.0 */
/* What users have asked for, worked off by the driver of their node: start, advance, cancel; also
 * twice, and too late.  What users want is user.c's. */
#include "sim/check.h"

#include <string.h>

static void start(struct sim *s, struct handoff *h)
{
    struct core_event event = {.type = CORE_EVENT_OFFER};
    bool clocks = s->world->options.clocks;
    struct prng *p = &s->world->work;

    h->started = true;
    if (h->side == CORE_OFFER) {
        event.offer.index = h->index;
        event.offer.id = h->id;
        event.offer.slots = h->slots;
        event.offer.total = h->total;
        event.offer.watermark = h->asked_watermark;
        event.offer.exported = life_of(s, h)->exported;
        event.offer.reader_ms = clocks && chance(p, 300) ? 2 + below(p, 20) : 0;
        event.offer.lease_ms =
            clocks && (chance(p, 300) || s->world->options.crowded) ? 1 + below(p, 10) : 0;
        event.offer.whole_ms = clocks && chance(p, 300) ? 4 + below(p, 40) : 0;
        for (unsigned i = 0; i < h->slots; i++) {
            secret_of(s, h, i, event.offer.secret[i]);
        }
        node_apply(s, h->node, &event);
        return;
    }
    event.type = CORE_EVENT_FETCH;
    event.fetch = (struct core_event_fetch){
        .index = h->index,
        .id = h->id,
        .offer_id = handoff_at(s, h->offer)->id,
        .slot = h->want_slot,
        .begin = h->begin,
        .end = h->end,
        .total = h->total,
        .push = is_push(h->transport),
        .nonce = h->nonce,
        .opening_ms = clocks && chance(p, 300) ? 1 + below(p, 10) : 0,
        .bytes_ms = clocks && chance(p, 300) ? 1 + below(p, 10) : 0,
        .progress_ms = clocks && chance(p, 300) ? 1 + below(p, 10) : 0,
        .commit_ms = clocks && chance(p, 300) ? 1 + below(p, 10) : 0,
        .whole_ms = clocks && chance(p, 300) ? 4 + below(p, 40) : 0,
    };
    secret_of(s, handoff_at(s, h->offer), h->want_slot, event.fetch.secret);
    event.fetch.secret[3] ^= h->wrong_secret;
    h->link = (int8_t)sim_link_to(s, h->node, handoff_at(s, h->offer)->life);
    event.fetch.link = h->link < 0 ? CORE_NO_LINK : (uint32_t)h->link;
    if (h->link >= 0 && s->world->nodes[h->node].links[h->link].conn >= 0) {
        h->lane = s->world->conn[s->world->nodes[h->node].links[h->link].conn].serial;
    }
    node_apply(s, h->node, &event);
}

static void advance(struct sim *s, struct handoff *h, uint64_t watermark)
{
    struct core_event event = {.type = CORE_EVENT_ADVANCE};

    event.advance.id = h->id;
    event.advance.watermark = watermark;
    node_apply(s, h->node, &event);
    check_P7_watermark_agrees(s, h);
}

static void cancel(struct sim *s, struct handoff *h)
{
    struct core_event event = {.type = CORE_EVENT_CANCEL};

    event.cancel.side = (enum core_side)h->side;
    event.cancel.id = h->id;
    event.cancel.scope = (baton_cancel_scope)h->scope;
    event.cancel.cause = s->world->closing || s->world->nodes[h->node].leaving ? BATON_CAUSE_CLOSING
                                                                               : BATON_CAUSE_CANCEL;
    node_apply(s, h->node, &event);
    /* Nothing more may follow while the last words of it wait to be said. */
    if (fault_draw(s, SIM_CANCEL_LATE, 60)) {
        node_apply(s, h->node, &event);
    }
    if (h->side == CORE_OFFER && fault_draw(s, SIM_LATE_ADVANCE, 60)) {
        advance(s, h, h->total);
    }
}

static void work_off(struct sim *s, struct handoff *h)
{
    bool advances = h->ask_advance, cancels = h->ask_cancel;

    h->asked = false;
    if (h->ask_start) {
        h->ask_start = false;
        start(s, h);
    }
    if (advances) {
        h->ask_advance = false;
        advance(s, h, h->asked_watermark);
        if (fault_draw(s, SIM_LATE_ADVANCE, 60)) {
            advance(s, h, h->watermark / 2); /* from a thread that was slow */
        }
    }
    if (cancels) {
        h->ask_cancel = false;
        cancel(s, h);
    }
}

void user_asks(struct sim *s, unsigned node)
{
    struct node *n = &s->world->nodes[node];

    while (n->asks > 0) {
        struct handoff *h = handoff_at(s, n->ask[0]);

        memmove(n->ask, n->ask + 1, --n->asks * sizeof(n->ask[0]));
        work_off(s, h);
    }
}
