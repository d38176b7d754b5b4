/* SPDX-License-Identifier: Apache-2.0 */
/* What frames say beyond the core's numbers, and how they reach it: the real codec on a share of
 * them, the real runs on each ACCEPT. */
#include "sim/check.h"

#include <string.h>

#include "layout/layout.h"

enum { SCRATCH_BYTES = FRAME_HEAD_BYTES + FRAME_FIXED_BYTES_MAX + PAYLOAD_MAX };

static struct handoff *at(struct sim *s, unsigned node, enum core_side side, uint64_t id)
{
    uint32_t index = (uint32_t)(id & ((1U << CORE_INDEX_BITS) - 1));
    int16_t number = index < OFFERS_MAX ? s->world->nodes[node].table[side][index] : -1;
    struct handoff *h = number < 0 ? NULL : handoff_at(s, number);

    return h && h->id == id ? h : NULL;
}

void secret_of(const struct sim *s, const struct handoff *offer, unsigned slot,
               uint8_t ret_secret[ID_BYTES])
{
    uint64_t half[2];

    half[0] = mix(mix(s->plan.seed, offer->id), slot + offer->life * 8U);
    half[1] = mix(half[0], 99);
    memcpy(ret_secret, half, ID_BYTES);
}

/* ---- out ---- */

static bool out_accept(struct sim *s, unsigned node, struct frame *frame,
                       const struct core_action *action)
{
    struct handoff *h = handoff_at(s, s->world->nodes[node].table[CORE_OFFER][action->index]);
    uint8_t runs[8 * LIST_MAX];

    check_P10_told_exposed(s, h, action);
    if (action->exported) {
        life_of(s, h)->exported = true;
    }
    frame->accept.block_count = h->count;
    frame->accept.block_bytes = PIECES;
    frame->payload_length = (uint32_t)runs_encode(h->blocks, h->count, runs);
    frame->payload = runs;
    h->accepted_sent = true;
    conn_send(s, node, action->link, frame);
    return true;
}

/* The fetch of the peer at the other end. */
static struct handoff *fetch_of_peer(struct sim *s, unsigned life, uint64_t id)
{
    for (unsigned i = 0; i < s->world->handoff_count; i++) {
        struct handoff *h = handoff_at(s, (int)i);

        if (h->side == CORE_FETCH && h->life == life && h->id == id) {
            return h;
        }
    }
    return NULL;
}

static void out_push(struct sim *s, unsigned node, const struct frame *frame,
                     const struct core_action *action)
{
    unsigned life = s->world->nodes[node].links[action->link].peer_life;
    struct handoff *h;

    if (frame->type == FRAME_GRANT) {
        h = handoff_at(s, s->world->nodes[node].table[CORE_FETCH][action->index]);
        check_S8_no_post_after_end(s, h);
        check_S16_bounds(s, h, frame->grant.offset, frame->grant.length);
        if (h->lease == LEASE_VALID) {
            check_P7_watermark(s, handoff_at(s, h->offer),
                               frame->grant.offset + frame->grant.length);
        }
        check_S16_window(s, h);
        h->grants++;
        h->granted = (uint32_t)(frame->grant.offset + frame->grant.length);
    } else if (frame->type == FRAME_WRITTEN) {
        h = fetch_of_peer(s, life, frame->written.fetch_id);
        check_S13_written(s, h, frame->written.end);
    } else if (frame->type == FRAME_QUIESCED) {
        h = fetch_of_peer(s, life, frame->quiesced.fetch_id);
        if (h && handoff_at(s, h->offer)->life == s->world->nodes[node].life &&
            frame->quiesced.attempt == h->leased) {
            check_S13_quiesced(s, node, h);
            h->quiesced_said = true;
        }
    }
}

bool sim_frame_out(struct sim *s, unsigned node, struct frame *frame,
                   const struct core_action *action)
{
    struct handoff *h;
    const struct sim_link *link = &s->world->nodes[node].links[action->link];

    out_push(s, node, frame, action);
    /* The engine has always room for what is small, and GRANTs after one that was lost would tell
     * of a gap. */
    if (frame->type < FRAME_GRANT && fault_draw(s, SIM_NO_FRAME, 8)) {
        fault_struck(s, node);
        return false;
    }
    switch (frame->type) {
    case FRAME_OPEN:
        h = handoff_at(s, s->world->nodes[node].table[CORE_FETCH][action->index]);
        frame->open.transports = is_stream(h->transport) ? WIRE_TRANSPORT_TCP : WIRE_TRANSPORT_SHM;
        frame->open.block_bytes = PIECES;
        frame->open.first_block = h->first_block;
        frame->open.block_count = h->count;
        break;
    case FRAME_ACCEPT:
        return out_accept(s, node, frame, action);
    case FRAME_COMMIT:
        if (!s->world->options.ping && !s->world->life[link->peer_life].alive) {
            return false; /* the pidfd says that the process has died */
        }
        break;
    case FRAME_COMMITTED:
        h = handoff_at(s, s->world->nodes[node].table[CORE_OFFER][action->index]);
        frame->payload = (const uint8_t *)h->base;
        frame->payload_length = h->count * 8;
        break;
    default:
        break;
    }
    conn_send(s, node, action->link, frame);
    return true;
}

/* ---- in ---- */

/* S14: the frame once more, on a copy of the core: nothing changes, nothing is to be done. */
static void check_S14_idempotence(struct sim *s, unsigned node, const struct core_event *event,
                                  uint32_t replies_before)
{
    struct core *copy = s->scratch;
    uint64_t hash;

    if (hash_replies(s->world->nodes[node].core) != replies_before) {
        return; /* an answer without a record is given again */
    }
    memcpy(copy, s->world->nodes[node].core, s->world->nodes[node].core->bytes);
    hash = hash_core(copy);
    if (core_step(copy, event, node_now(s, node), &s->world->actions)) {
        sim_fail(s, "S14_idempotence", "%s, applied twice, has more to do",
                 frame_name(event->frame.frame->type));
    }
    for (uint32_t i = 0; i < s->world->actions.count; i++) {
        if (s->world->actions.list[i].type != CORE_ACTION_FLUSH) {
            sim_fail(s, "S14_idempotence", "%s, applied twice, does something",
                     frame_name(event->frame.frame->type));
        }
    }
    if (hash_replies(copy) == replies_before && hash_core(copy) != hash) {
        sim_fail(s, "S14_idempotence", "%s, applied twice, changes the state",
                 frame_name(event->frame.frame->type));
    }
}

static void apply(struct sim *s, unsigned node, unsigned link, const struct frame *frame,
                  baton_cause misfit, bool exported, bool remote)
{
    struct core_event event = {.type = CORE_EVENT_FRAME, .link = link};
    const struct sim_link *l = &s->world->nodes[node].links[link];
    bool doubled = s->world->options.deep || fault_draw(s, SIM_DUPLICATE, 30);
    uint32_t replies = doubled ? hash_replies(s->world->nodes[node].core) : 0;

    event.frame.frame = frame;
    event.frame.misfit = misfit;
    event.frame.exported = exported;
    event.frame.remote = remote;
    node_apply(s, node, &event);
    if (doubled && l->up && l->core_knows) {
        check_S14_idempotence(s, node, &event, replies);
    }
    /* The wire may give a frame twice in truth, too. */
    if (doubled && !s->world->options.deep && l->up &&
        core_link_reads(s->world->nodes[node].core, link)) {
        node_apply(s, node, &event);
    }
}

static void in_open(struct sim *s, unsigned node, unsigned link, const struct frame *frame)
{
    const struct handoff *h = at(s, node, CORE_OFFER, frame->open.offer_id);
    baton_cause misfit = BATON_CAUSE_NONE;
    bool outside = frame->open.transports & WIRE_TRANSPORT_SHM;
    bool pushed = frame->open.mode == OPEN_PUSH;

    if (!h || h->outcomes > 0) {
        apply(s, node, link, frame, misfit, false, false);
        return;
    }
    if (fault_draw(s, SIM_MISFIT, 30)) {
        misfit = BATON_CAUSE_LAYOUT;
    }
    apply(s, node, link, frame, misfit, outside && !pushed, outside && pushed);
}

static void in_accept(struct sim *s, unsigned node, unsigned link, const struct frame *frame)
{
    struct handoff *h = at(s, node, CORE_FETCH, frame->accept.fetch_id);
    baton_cause misfit = BATON_CAUSE_NONE;

    if (h && !h->accepted && h->outcomes == 0 && h->link == (int8_t)link) {
        if (frame->accept.block_count > LIST_MAX ||
            !runs_decode(frame->payload, frame->payload_length, frame->accept.block_count,
                         BLOCKS_MAX, h->remote) ||
            fault_draw(s, SIM_MISFIT, 20)) {
            misfit = BATON_CAUSE_LAYOUT;
        }
        h->attempt = frame->accept.attempt;
        h->accepted = true;
    }
    apply(s, node, link, frame, misfit, false, h && h->transport == BY_PUSH_LIBRARY);
}

/* Of a fetch that never heard of its lease before. */
static void in_ended(struct sim *s, unsigned node, unsigned link, const struct frame *frame)
{
    struct handoff *h = at(s, node, CORE_FETCH, frame->ended.fetch_id);

    if (h && !h->accepted && h->outcomes == 0 && h->link == (int8_t)link) {
        h->attempt = frame->ended.attempt;
    }
    apply(s, node, link, frame, BATON_CAUSE_NONE, false, false);
}

static void in_committed(struct sim *s, unsigned node, unsigned link, const struct frame *frame)
{
    struct handoff *h = at(s, node, CORE_FETCH, frame->committed.fetch_id);

    if (h && h->accepted && h->attempt == frame->committed.attempt && !h->aux_came &&
        frame->payload_length > 0) {
        memcpy(h->aux, frame->payload, frame->payload_length);
        h->aux_came = true;
    }
    apply(s, node, link, frame, BATON_CAUSE_NONE, false, false);
}

/* What the sink may take for a proof, by its source's own words. */
static void in_push(struct sim *s, unsigned node, unsigned link, const struct frame *frame)
{
    bool written = frame->type == FRAME_WRITTEN;
    struct handoff *h =
        at(s, node, CORE_FETCH, written ? frame->written.fetch_id : frame->quiesced.fetch_id);
    unsigned life = s->world->nodes[node].links[link].peer_life;

    if (h && handoff_at(s, h->offer)->life == life) {
        if (written && frame->written.attempt == h->attempt) {
            h->written = (uint32_t)frame->written.end;
        }
        h->quiesced_heard =
            h->quiesced_heard ||
            (!written && h->quiesced_said && frame->quiesced.attempt == h->attempt &&
             (frame->quiesced.nonce == 0 || frame->quiesced.nonce == h->nonce));
    }
    apply(s, node, link, frame, BATON_CAUSE_NONE, false, false);
}

static void forge_some(struct sim *s, unsigned node, unsigned link);

/* Through the real codec, and in two parts. */
static const struct frame *recoded(struct sim *s, const struct frame *frame, struct frame *decoded,
                                   uint8_t *bytes)
{
    const char *why = NULL;
    size_t length, used = 0;

    if (!chance(&s->world->network, 64) && !fault_draw(s, SIM_SPLIT, 100)) {
        return frame;
    }
    BATON_ASSERT(frame_bytes(frame) <= SCRATCH_BYTES);
    length = frame_encode(frame, bytes);
    if (frame_decode(bytes, below(&s->world->network, (uint32_t)length), decoded, &used, &why) !=
            FRAME_SHORT ||
        frame_decode(bytes, length, decoded, &used, &why) != FRAME_WHOLE || used != length) {
        sim_fail(s, "wire", "%s is not what was encoded: %s", frame_name(frame->type),
                 why ? why : "in parts");
    }
    return decoded;
}

void sim_frame_in(struct sim *s, unsigned node, unsigned link, const struct frame *sent)
{
    uint8_t bytes[SCRATCH_BYTES];
    struct frame decoded;
    const struct frame *frame = recoded(s, sent, &decoded, bytes);

    switch (frame->type) {
    case FRAME_OPEN:
        in_open(s, node, link, frame);
        break;
    case FRAME_ACCEPT:
        in_accept(s, node, link, frame);
        break;
    case FRAME_ENDED:
        in_ended(s, node, link, frame);
        break;
    case FRAME_COMMITTED:
        in_committed(s, node, link, frame);
        break;
    case FRAME_WRITTEN:
    case FRAME_QUIESCED:
        in_push(s, node, link, frame);
        break;
    default:
        apply(s, node, link, frame, BATON_CAUSE_NONE, false, false);
    }
    forge_some(s, node, link);
}

/* ---- forged ---- */

/* What a handoff of this node is called, or a name of nobody. */
static const struct handoff *named(struct sim *s, unsigned node, enum core_side side)
{
    int16_t number = s->world->nodes[node].table[side][below(&s->world->fault, OFFERS_MAX)];

    return number < 0 ? NULL : handoff_at(s, number);
}

/* A fetch that waits for its source to be drained, by a word of the right link, or of another. */
static bool forged_drain(struct sim *s, unsigned node, unsigned link, struct frame *ret_frame)
{
    const struct node *n = &s->world->nodes[node];
    const struct handoff *h = named(s, node, CORE_FETCH);
    bool own = h && core_fetches(n->core)[h->index].link == link;
    uint32_t wrong = below(&s->world->fault, 2);

    if (!h || h->transport != BY_PUSH_LIBRARY || !h->grants || h->quiets) {
        return false;
    }
    *ret_frame = (struct frame){.type = FRAME_QUIESCED};
    ret_frame->quiesced =
        (struct frame_quiesced){.fetch_id = h->id, .attempt = h->attempt, .nonce = h->nonce};
    if (chance(&s->world->fault, 512)) {
        ret_frame->type = FRAME_WRITTEN;
        ret_frame->written = (struct frame_written){
            .fetch_id = h->id, .attempt = h->attempt + own, .end = h->granted};
    } else if (own && wrong) {
        ret_frame->quiesced.attempt += 1000;
    } else if (own) {
        ret_frame->quiesced.nonce ^= UINT64_C(2) << below(&s->world->fault, 63);
    }
    if (ret_frame->type == FRAME_QUIESCED && (wrong || !own) && chance(&s->world->push, 512)) {
        ret_frame->quiesced.nonce = 0; /* as if unasked */
    }
    return true;
}

/* A word for a fetch of another link is nobody's, too. */
static struct frame forged_of_source(struct sim *s, unsigned node, unsigned link)
{
    static const enum frame_type types[] = {FRAME_WATERMARK, FRAME_COMMITTED, FRAME_ENDED,
                                            FRAME_ACCEPT};
    const struct handoff *h = named(s, node, CORE_FETCH);
    enum frame_type type = types[below(&s->world->fault, 4)];
    uint64_t nobody = UINT64_C(1) << 50;
    bool stranger = h && h->link >= 0 && h->link != (int8_t)link && h->outcomes == 0;
    uint64_t id = stranger                                                         ? h->id
                  : h && h->accepted && type < FRAME_ENDED && type != FRAME_ACCEPT ? h->id
                                                                                   : nobody;
    uint64_t attempt = stranger ? h->attempt + !h->attempt : h ? h->attempt + 1000 : 1;
    struct frame f = {.type = type};

    if (type == FRAME_COMMITTED) {
        f.committed = (struct frame_committed){.fetch_id = id, .attempt = attempt};
    } else if (type == FRAME_WATERMARK) {
        f.watermark = (struct frame_watermark){.fetch_id = id, .attempt = attempt, .watermark = 1};
    } else if (type == FRAME_ENDED) {
        f.ended =
            (struct frame_ended){.fetch_id = id, .attempt = attempt, .cause = BATON_CAUSE_CANCEL};
    } else {
        f.accept =
            (struct frame_accept){.fetch_id = id, .attempt = attempt, .total = h ? h->total : 1};
    }
    return f;
}

/* Of the holder of a lease, or of another peer, or about another attempt. */
static struct frame forged_push(struct sim *s, const struct handoff *h, uint32_t slot, bool own)
{
    const struct handoff *fetch = handoff_at(s, h->slot[slot].holder);
    uint64_t attempt = h->slot[slot].attempt + (own ? 1000 : 0);
    struct frame f = {.type = FRAME_GRANT};

    if (chance(&s->world->fault, 512)) {
        f.grant = (struct frame_grant){.offer_id = h->id,
                                       .fetch_id = fetch->id,
                                       .attempt = attempt,
                                       .offset = fetch->served,
                                       .length = 1,
                                       .slot = slot};
        return f;
    }
    f.type = FRAME_QUIESCE;
    f.quiesce = (struct frame_quiesce){
        .offer_id = h->id, .fetch_id = fetch->id, .attempt = attempt, .nonce = 1, .slot = slot};
    return f;
}

static struct frame forged_of_sink(struct sim *s, unsigned node, unsigned link)
{
    const struct handoff *h = named(s, node, CORE_OFFER);
    uint64_t id = h ? h->id : UINT64_C(1) << 50;
    uint32_t slot = h ? below(&s->world->fault, h->slots) : 0;
    struct frame f = {.type = FRAME_CANCEL};

    if (h && h->slot[slot].holder >= 0 && (s->world->options.transports >> PULLS) &&
        chance(&s->world->fault, 512)) {
        return forged_push(s, h, slot,
                           handoff_at(s, h->slot[slot].holder)->life ==
                               s->world->nodes[node].links[link].peer_life);
    }
    if (below(&s->world->fault, 2)) {
        f.type = FRAME_COMMIT;
        f.commit = (struct frame_commit){.offer_id = id,
                                         .fetch_id = 1,
                                         .attempt = h ? h->slot[slot].attempt + 1000 : 1,
                                         .slot = slot};
        return f;
    }
    /* A cancel whose secret is not the offer's. */
    f.cancel = (struct frame_cancel){.offer_id = id,
                                     .fetch_id = 1,
                                     .slot = slot,
                                     .scope = BATON_CANCEL_OFFER,
                                     .cause = BATON_CAUSE_CANCEL};
    return f;
}

static void replay(struct sim *s, unsigned node, unsigned link)
{
    const struct handoff *h = named(s, node, CORE_OFFER);
    unsigned slot = h ? below(&s->world->fault, h->slots) : 0;
    const struct handoff *f =
        h && h->slot[slot].holder >= 0 ? handoff_at(s, h->slot[slot].holder) : NULL;
    struct core_event event = {.type = CORE_EVENT_FRAME, .link = link};
    struct frame frame = {.type = FRAME_OPEN};
    uint64_t hash;

    if (!f || f->life != s->world->nodes[node].links[link].peer_life ||
        (h->slot[slot].stage != BATON_STAGE_OFFERED && h->slot[slot].stage != BATON_STAGE_LEASED) ||
        !fault_happens(s, SIM_REPLAY)) {
        return;
    }
    frame.open = (struct frame_open){.offer_id = h->id, .fetch_id = f->id, .slot = slot};
    secret_of(s, h, slot, frame.open.secret);
    event.frame.frame = &frame;
    hash = hash_core(s->world->nodes[node].core);
    node_apply(s, node, &event);
    if (hash_core(s->world->nodes[node].core) != hash) {
        sim_fail(s, "P5_one_reader", "an OPEN that came again changed the state of node %u", node);
    }
}

/* The source must end the lease, and commit nothing. */
static void commit_early(struct sim *s, unsigned node, unsigned link)
{
    const struct handoff *h = named(s, node, CORE_OFFER);
    unsigned slot = h ? below(&s->world->fault, h->slots) : 0;
    const struct handoff *f =
        h && h->slot[slot].holder >= 0 ? handoff_at(s, h->slot[slot].holder) : NULL;
    struct core_event event = {.type = CORE_EVENT_FRAME, .link = link};
    struct frame frame = {.type = FRAME_COMMIT};

    if (!f || f->life != s->world->nodes[node].links[link].peer_life ||
        h->slot[slot].stage != BATON_STAGE_LEASED || h->watermark == h->total ||
        !fault_happens(s, SIM_EARLY_COMMIT)) {
        return;
    }
    frame.commit = (struct frame_commit){
        .offer_id = h->id, .fetch_id = f->id, .attempt = h->slot[slot].attempt, .slot = slot};
    event.frame.frame = &frame;
    node_apply(s, node, &event);
    if (h->slot[slot].stage == BATON_STAGE_COMMITTED) {
        sim_fail(s, "P7_watermark", "a slot was committed below the watermark's end");
    }
}

/* A GRANT above the watermark, or with a gap, costs the link, and nothing is written for it. */
static void grant_greedily(struct sim *s, unsigned node, unsigned link)
{
    const struct handoff *h = named(s, node, CORE_OFFER);
    unsigned slot = h ? below(&s->world->fault, h->slots) : 0;
    const struct handoff *f =
        h && h->slot[slot].holder >= 0 ? handoff_at(s, h->slot[slot].holder) : NULL;
    struct core_event event = {.type = CORE_EVENT_FRAME, .link = link};
    struct frame frame = {.type = FRAME_GRANT};
    bool gap = f && f->served > 0 && f->served + 2 <= h->watermark && below(&s->world->fault, 2);

    if (!f || !is_push(f->transport) || f->life != s->world->nodes[node].links[link].peer_life ||
        h->slot[slot].stage != BATON_STAGE_LEASED || !fault_happens(s, SIM_GREEDY_GRANT)) {
        return;
    }
    frame.grant = (struct frame_grant){.offer_id = h->id,
                                       .fetch_id = f->id,
                                       .attempt = h->slot[slot].attempt,
                                       .offset = gap ? f->served + 1 : f->served,
                                       .length = gap ? 1 : h->watermark - f->served + 1,
                                       .slot = slot};
    event.frame.frame = &frame;
    node_apply(s, node, &event);
    if (s->world->nodes[node].links[link].up) {
        sim_fail(s, "P7_watermark", "a sink may grant what is not there, or with a gap");
    }
}

/* WRITTEN beyond what was granted costs the link, and is believed by nobody. */
static void write_falsely(struct sim *s, unsigned node, unsigned link)
{
    const struct node *n = &s->world->nodes[node];
    const struct handoff *h = named(s, node, CORE_FETCH);
    struct core_event event = {.type = CORE_EVENT_FRAME, .link = link};
    struct frame frame = {.type = FRAME_WRITTEN};

    if (!h || h->transport != BY_PUSH_LIBRARY || !h->grants || h->quiets ||
        core_fetches(n->core)[h->index].link != link ||
        (h->stage != BATON_STAGE_READING && h->stage != BATON_STAGE_DRAINING) ||
        !fault_happens(s, SIM_FALSE_WRITTEN)) {
        return;
    }
    frame.written =
        (struct frame_written){.fetch_id = h->id, .attempt = h->attempt, .end = h->granted + 1};
    event.frame.frame = &frame;
    node_apply(s, node, &event);
    if (n->links[link].up) {
        sim_fail(s, "P10_proof", "a source may say that it wrote what it was not granted");
    }
}

/* Nothing that names nobody, or another attempt, changes anything but a count and an answer. */
void sim_frame_forge(struct sim *s, unsigned node, unsigned link)
{
    const struct node *n = &s->world->nodes[node];
    struct core_event event = {.type = CORE_EVENT_FRAME, .link = link};
    struct frame frame;
    uint32_t replies;
    uint64_t hash;

    if (!n->links[link].up || !core_link_reads(n->core, link) || s->world->handoff_count == 0) {
        return;
    }
    if (!n->links[link].sink) {
        frame = forged_of_sink(s, node, link);
    } else if (!(s->world->options.transports >> PULLS) || !forged_drain(s, node, link, &frame)) {
        frame = forged_of_source(s, node, link);
    }
    event.frame.frame = &frame;
    replies = hash_replies(n->core);
    hash = hash_core(n->core);
    node_apply(s, node, &event);
    if ((hash_replies(n->core) == replies || frame.type == FRAME_GRANT) &&
        hash_core(n->core) != hash) {
        sim_fail(s, "P5_one_reader", "a forged %s changed the state of node %u",
                 frame_name(frame.type), node);
    }
}

static void forge_some(struct sim *s, unsigned node, unsigned link)
{
    const struct node *n = &s->world->nodes[node];
    bool source = n->links[link].used && !n->links[link].sink;

    if (fault_draw(s, SIM_FORGED, 30)) {
        sim_frame_forge(s, node, link);
    }
    if (source && n->links[link].up && core_link_reads(n->core, link) &&
        (s->world->options.faults >> SIM_REPLAY & 1) && chance(&s->world->fault, 60)) {
        replay(s, node, link);
    }
    if (source && n->links[link].up && core_link_reads(n->core, link) &&
        (s->world->options.faults >> SIM_EARLY_COMMIT & 1) && chance(&s->world->fault, 60)) {
        commit_early(s, node, link);
    }
    if (source && (s->world->options.transports >> PULLS) && n->links[link].up &&
        core_link_reads(n->core, link) && (s->world->options.faults >> SIM_GREEDY_GRANT & 1) &&
        chance(&s->world->push, 60)) {
        grant_greedily(s, node, link);
    }
    if (!source && (s->world->options.transports >> BY_PUSH_LIBRARY) && n->links[link].up &&
        (s->world->options.faults >> SIM_FALSE_WRITTEN & 1) && chance(&s->world->push, 60)) {
        write_falsely(s, node, link);
    }
}
