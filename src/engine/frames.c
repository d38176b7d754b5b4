/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What frames say beyond the core's numbers: layouts, ranges, blocks, regions, aux.  Everything
 * that a peer sends is checked here before the core, or a mover, sees it.
 */
#include "engine/engine.h"
#include "engine/landing.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whether the source is to write into the sink's memory itself. */
static bool is_landing(const struct frame_open *open)
{
    return open->mode == OPEN_PUSH &&
           (open->transports == WIRE_TRANSPORT_SHM || open->transports == WIRE_TRANSPORT_NIXL);
}

/* ---- out ---- */

static bool out_open(struct engine_link *link, struct frame *frame, const struct baton_handoff *h)
{
    frame->open.transports = h->transports_wanted;
    frame->open.block_bytes = h->pool->block_bytes;
    frame->open.first_block = h->first_block;
    frame->open.block_count = h->loan.count;
    frame->open.layout = h->pool->layout;
    if (is_landing(&frame->open)) {
        return landing_out(link, frame, h);
    }
    return connection_add(&link->control, frame, -1);
}

/* How the peer may read the pool itself: over this link, and with its leave. */
static uint32_t shares(const struct engine_link *link, const baton_pool *pool, uint32_t transports)
{
    uint32_t how = WIRE_TRANSPORT_NIXL;

    if (link->control.is_unix && pool_shareable(pool)) {
        how |= WIRE_TRANSPORT_SHM;
    }
    return how & transports & link->engine->transport_bits & pool_transports(pool);
}

static bool out_region(struct engine_link *link, const baton_pool *pool)
{
    struct frame frame = {.type = FRAME_REGION};

    frame.region.region = pool->region;
    frame.region.length = pool->bytes;
    frame.region.block_bytes = pool->block_bytes;
    frame.region.kind = pool->wrapped ? REGION_PROCESS : REGION_MEMFD;
    if (pool->wrapped) {
        frame.region.base = (uint64_t)(uintptr_t)pool->memory;
        frame.region.nonce_base = (uint64_t)(uintptr_t)link->engine->nonce;
        memcpy(frame.region.nonce, link->engine->nonce, ID_BYTES);
    }
    link->told[pool->number] = pool->region;
    return connection_add(&link->control, &frame, pool->export_fd);
}

bool frame_share(struct engine_link *link, const struct transport_memory *memory,
                 const void *descriptor, size_t length)
{
    struct frame frame = {.type = FRAME_REGION};
    bool added;

    frame.region.region = memory->region;
    frame.region.kind = REGION_NIXL;
    frame.region.length = memory->bytes;
    frame.region.block_bytes = memory->block_bytes;
    frame.payload = descriptor;
    frame.payload_length = (uint32_t)length;
    added = connection_add(&link->control, &frame, -1);
    link_wants(link->engine, link->number);
    return added;
}

/*
 * `exported`: the reader may read the pool itself.  Exposure is recorded before the descriptor, or
 * the address, leaves: whatever offer of this pool ends from now on, a peer can read its blocks.
 */
static bool out_accept(struct engine_link *link, struct frame *frame, struct baton_handoff *h,
                       bool exported)
{
    uint8_t *runs;
    bool added;

    if (exported) {
        uint32_t how = shares(link, h->pool, link->peer_transports);

        atomic_store(&h->pool->exported, true);
        h->transports_used |= how;
        if (how & WIRE_TRANSPORT_SHM && link->told[h->pool->number] != h->pool->region &&
            !out_region(link, h->pool)) {
            return false;
        }
        if (how & WIRE_TRANSPORT_NIXL) {
            window_share(link, h->pool);
        }
    }
    runs = malloc(8 * (size_t)h->loan.count);
    if (!runs) {
        return false;
    }
    frame->accept.region = h->pool->region;
    frame->accept.block_count = h->loan.count;
    frame->accept.block_bytes = h->pool->block_bytes;
    frame->accept.layout = h->pool->layout;
    frame->payload = runs;
    frame->payload_length = (uint32_t)runs_encode(h->blocks, h->loan.count, runs);
    added = connection_add(&link->control, frame, -1);
    free(runs);
    return added;
}

static bool out_committed(struct engine_link *link, struct frame *frame, struct baton_handoff *h)
{
    bool added;

    pthread_mutex_lock(&h->aux_lock);
    frame->payload = h->aux_bytes ? h->aux : NULL;
    frame->payload_length = (uint32_t)h->aux_bytes;
    added = connection_add(&link->control, frame, -1);
    pthread_mutex_unlock(&h->aux_lock);
    return added;
}

/*
 * What was read from a process by its number is committed only while that process lives: somebody
 * else may have the number by now.  A mapping is the right memory, whoever lives.
 */
static bool out_commit(struct engine_link *link, const struct frame *frame,
                       const struct baton_handoff *h)
{
    struct pollfd exited = {.fd = link->peer_exit.fd, .events = POLLIN};

    /* The last load of every mover comes before the commit (DESIGN.md, section 4.1). */
    atomic_thread_fence(memory_order_seq_cst);
    return !(h->region && h->region->region.process && poll(&exited, 1, 0) == 1) &&
           connection_add(&link->control, frame, -1);
}

/* From here on the granted bytes may come: the window is the transport's already. */
static bool out_grant(struct engine_link *link, const struct frame *frame, struct baton_handoff *h)
{
    BATON_ASSERT(h->id == frame->grant.fetch_id);
    h->granted = frame->grant.offset + frame->grant.length;
    if (landing_wanted(h)) {
        h->transports_used |= h->transports_wanted; /* the peer stores the bytes */
    }
    return connection_add(&link->control, frame, -1);
}

bool frame_out(struct engine_link *link, struct frame *frame, const struct core_action *action)
{
    baton_engine *engine = link->engine;

    switch (frame->type) {
    case FRAME_OPEN:
        return out_open(link, frame, engine->table[CORE_FETCH][action->index]);
    case FRAME_ACCEPT:
        return out_accept(link, frame, engine->table[CORE_OFFER][action->index], action->exported);
    case FRAME_COMMIT:
        return out_commit(link, frame, engine->table[CORE_FETCH][action->index]);
    case FRAME_COMMITTED:
        return out_committed(link, frame, engine->table[CORE_OFFER][action->index]);
    case FRAME_GRANT:
        return out_grant(link, frame, engine->table[CORE_FETCH][action->index]);
    default:
        return connection_add(&link->control, frame, -1);
    }
}

/* ---- in ---- */

static void apply(struct engine_link *link, const struct frame *frame, baton_cause misfit,
                  bool exported, bool remote)
{
    struct core_event event = {.type = CORE_EVENT_FRAME, .link = link->number};

    event.frame.frame = frame;
    event.frame.misfit = misfit;
    event.frame.exported = exported;
    event.frame.remote = remote;
    engine_apply(link->engine, &event);
}

/* Whether a lease lets the reader read the pool itself: what is pushed, this side sends. */
static bool open_shares(const struct engine_link *link, const struct frame_open *open,
                        const baton_pool *pool)
{
    return open->mode == OPEN_PULL && shares(link, pool, open->transports) != 0;
}

/* Source: does the sink want what the offer has? */
static baton_cause open_misfit(const struct engine_link *link, const struct frame_open *open,
                               const struct baton_handoff *h)
{
    const baton_pool *pool = h->pool;

    if (open->block_bytes != pool->block_bytes || !layout_equal(&open->layout, &pool->layout) ||
        open->first_block > h->loan.count ||
        open->block_count > h->loan.count - open->first_block) {
        return BATON_CAUSE_LAYOUT;
    }
    if (!is_landing(open) && !open_shares(link, open, pool) &&
        !(open->transports & link->engine->transport_bits & pool_transports(pool) &
          WIRE_TRANSPORT_TCP)) {
        return BATON_CAUSE_TRANSPORT;
    }
    return BATON_CAUSE_NONE;
}

static void in_open(struct engine_link *link, const struct frame *frame)
{
    struct baton_handoff *h;
    struct core_slot_view before, after;
    baton_cause misfit;

    /* The CANCEL before it may have stopped pushes: they are over, and their slot is free. */
    engine_settle_movers(link->engine);
    h = handoff_find(link->engine, CORE_OFFER, frame->open.offer_id);
    /* Of an offer that has ended only the core's record is looked at: its pool may be gone. */
    if (!h || atomic_load(&h->decided)) {
        apply(link, frame, BATON_CAUSE_NONE, false, false);
        return;
    }
    misfit = open_misfit(link, &frame->open, h);
    if (!is_landing(&frame->open)) {
        apply(link, frame, misfit, open_shares(link, &frame->open, h->pool), false);
        return;
    }
    if (!misfit) {
        misfit = landing_open(link, frame, h);
    }
    core_slot_view(link->engine->core, h->index, frame->open.slot, &before);
    apply(link, frame, misfit, false, true);
    core_slot_view(link->engine->core, h->index, frame->open.slot, &after);
    landing_opened(link->engine, h, frame->open.slot,
                   after.attempt != before.attempt ? after.attempt : 0);
}

/* The fetch that a frame of its source names. */
static struct baton_handoff *fetch_of(struct engine_link *link, uint64_t id)
{
    struct baton_handoff *h = handoff_find(link->engine, CORE_FETCH, id);

    return h && h->link == link && !atomic_load(&h->decided) ? h : NULL;
}

/* Which of the engine's transports reaches the source's memory, best first; CAUSE_TRANSPORT when
 * none does. */
static baton_cause pick_transport(struct engine_link *link, struct baton_handoff *h,
                                  uint32_t region)
{
    baton_engine *engine = link->engine;
    struct engine_region *known = link->region[region % BATON_POOLS_MAX];

    for (unsigned i = 0; i < engine->transport_count; i++) {
        uint32_t bit = engine->transports[i].ops->bit;

        if (!(h->transports_wanted & bit & link->peer_transports) ||
            (bit == WIRE_TRANSPORT_SHM && !h->fetch.push &&
             !(known && known->usable && known->region.id == region))) {
            continue;
        }
        h->transport = i;
        h->peer_region = region;
        h->region = bit == WIRE_TRANSPORT_SHM && !h->fetch.push ? region_ref(known) : NULL;
        return BATON_CAUSE_NONE;
    }
    return BATON_CAUSE_TRANSPORT;
}

static baton_cause accept_misfit(struct engine_link *link, const struct frame *frame,
                                 struct baton_handoff *h)
{
    const struct frame_accept *a = &frame->accept;
    const struct transport_region *region;
    uint64_t limit = UINT32_MAX;
    baton_cause cause = pick_transport(link, h, a->region);

    if (cause) {
        return cause;
    }
    region = h->region ? &h->region->region : NULL;
    if (region) {
        limit = region->length / region->block_bytes;
    }
    if (a->block_count != h->ticket.block_count || a->block_bytes != h->pool->block_bytes ||
        (region && region->block_bytes != a->block_bytes) ||
        !layout_equal(&a->layout, &h->pool->layout) ||
        !runs_decode(frame->payload, frame->payload_length, a->block_count, limit, h->remote)) {
        return BATON_CAUSE_LAYOUT;
    }
    return BATON_CAUSE_NONE;
}

static void in_accept(struct engine_link *link, const struct frame *frame)
{
    struct baton_handoff *h = fetch_of(link, frame->accept.fetch_id);
    baton_cause misfit = BATON_CAUSE_NONE;
    bool remote = h && landing_wanted(h);

    /* A second ACCEPT changes nothing: movers are using the plan. */
    if (h && !h->accepted) {
        misfit = accept_misfit(link, frame, h);
        h->attempt = frame->accept.attempt;
        h->accepted = true;
    }
    apply(link, frame, misfit, false, remote);
}

static bool in_grant(struct engine_link *link, const struct frame *frame)
{
    if (!landing_reserve(link)) {
        return false;
    }
    if (serve_reserve(link)) {
        apply(link, frame, BATON_CAUSE_NONE, false, false);
    }
    return true;
}

static bool in_committed(struct engine_link *link, const struct frame *frame)
{
    struct baton_handoff *h = fetch_of(link, frame->committed.fetch_id);

    /* Kept with the handoff; the caller sees it with COMPLETED only. */
    if (h && h->accepted && h->attempt == frame->committed.attempt && !h->aux &&
        frame->payload_length > 0) {
        h->aux = malloc(frame->payload_length);
        if (!h->aux) {
            return false; /* the link ends, and with it the fetch: better than a completion without
                             its aux */
        }
        memcpy(h->aux, frame->payload, frame->payload_length);
        h->aux_bytes = frame->payload_length;
    }
    apply(link, frame, BATON_CAUSE_NONE, false, false);
    return true;
}

static baton_err open_region(struct engine_link *link, const struct frame_region *r, int *fd,
                             struct engine_region *region, struct baton_error *ret_error)
{
    const struct connection *c = &link->control;
    baton_err err;

    if (r->kind == REGION_MEMFD) {
        err = (link->sink ? region_map : region_map_writable)(&region->region, r->region, r->length,
                                                              r->block_bytes, *fd, ret_error);
        if (!err) {
            *fd = -1; /* the region's now */
        }
        return err;
    }
    if (c->pid <= 0 || link->peer_exit.fd < 0) {
        return error_set(ret_error, BATON_ESYSTEM,
                         "the kernel does not say which process the peer is: is it in another PID "
                         "namespace?  Use tcp, or memory that Baton makes");
    }
    if (link->engine->options.movers == 0) {
        return error_set(ret_error, BATON_EINVAL,
                         "memory that can not be mapped needs a mover thread: set movers");
    }
    return region_attach(&region->region, r->region, r->length, r->block_bytes, c->pid,
                         link->peer_exit.fd, r->base, r->nonce_base, r->nonce, ret_error);
}

/* A frame's descriptor was sent before it: through a ring, the frame can be here first. */
static int pop_fd(struct engine_link *link)
{
    if (link->control.ringed && link->control.fd_count == 0) {
        connection_bells(&link->control);
    }
    return connection_pop_fd(&link->control);
}

/* What NIXL is to know of a peer's pool; who does not allow NIXL has no use for it. */
static bool in_region_nixl(struct engine_link *link, const struct frame *frame)
{
    const struct frame_region *r = &frame->region;
    baton_engine *engine = link->engine;
    struct transport_link *t;
    unsigned nixl;

    if (!(engine->transport_bits & WIRE_TRANSPORT_NIXL)) {
        return true;
    }
    nixl = transport_index(engine, &transport_nixl);
    t = window_link(link, nixl);
    return !t || engine->transports[nixl].ops->learn(t, r->region, r->length, frame->payload,
                                                     frame->payload_length);
}

/*
 * A pool of the source, to be read; or of the sink, to be written.  A later one may take the place
 * of an earlier one that its owner has destroyed.  One that can not be used is no error of the
 * protocol: another transport may do.
 */
static bool in_region(struct engine_link *link, const struct frame *frame)
{
    const struct frame_region *r = &frame->region;
    struct engine_region **place = &link->region[r->region % BATON_POOLS_MAX], *region;
    struct baton_error error;
    baton_err err;
    int fd = -1;

    if (r->kind == REGION_NIXL) {
        return in_region_nixl(link, frame);
    }
    if (r->kind == REGION_WRITER) {
        return landing_writer(link, pop_fd(link));
    }
    if (r->kind == REGION_MEMFD) {
        fd = pop_fd(link);
    }

    if ((!link->sink && r->kind != REGION_MEMFD) || !link->control.is_unix ||
        (r->kind == REGION_MEMFD && fd < 0) || (*place && (*place)->region.id >= r->region)) {
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    region = calloc(1, sizeof(*region));
    err = region ? open_region(link, r, &fd, region, &error)
                 : error_set(&error, BATON_ENOMEM, "no memory");
    if (fd >= 0) {
        close(fd);
    }
    if (err) {
        engine_log(link->engine, BATON_LOG_WARN, "link %u: region %u can not be read directly: %s",
                   link->number, r->region, error.text);
    }
    if (!region) {
        return true;
    }
    region->usable = err == BATON_OK;
    region->region.id = r->region;
    region_unref(*place);
    *place = region_ref(region);
    return true;
}

bool frame_in(struct engine_link *link, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_OPEN:
        in_open(link, frame);
        return true;
    case FRAME_ACCEPT:
        in_accept(link, frame);
        return true;
    case FRAME_COMMITTED:
        return in_committed(link, frame);
    case FRAME_GRANT:
        return in_grant(link, frame);
    case FRAME_REGION:
        return in_region(link, frame);
    case FRAME_QUIESCED:
        if (landing_quiesced(link, frame)) {
            apply(link, frame, BATON_CAUSE_NONE, false, false);
        }
        return true;
    case FRAME_HELLO:
    case FRAME_WELCOME:
    case FRAME_REJECT:
    case FRAME_BULK:
        return false; /* only at the start of a connection */
    default:
        apply(link, frame, BATON_CAUSE_NONE, false, false);
        return true;
    }
}
