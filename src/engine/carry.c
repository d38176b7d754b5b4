/* SPDX-License-Identifier: Apache-2.0 */
/* Between the core and the world: events in, actions carried out. */
#include "engine/engine.h"
#include "engine/landing.h"

#include <stdlib.h>
#include <string.h>

#include "util/clock.h"
#include "util/sabotage.h"

static struct baton_handoff *handoff_of(const baton_engine *engine, const struct core_action *a)
{
    struct baton_handoff *h = engine->table[a->side][a->index];

    BATON_ASSERT(h && h->side == a->side);
    return h;
}

static void carry_trace(baton_engine *engine, const struct core_action *a)
{
    struct baton_trace trace;
    struct baton_handoff *h;

    if (!engine->options.on_trace) {
        return;
    }
    h = handoff_of(engine, a);
    trace = (struct baton_trace){.handoff = h,
                                 .arg = h->notices.arg,
                                 .slot = a->slot,
                                 .from = a->trace.from,
                                 .to = a->trace.to,
                                 .bytes_landed = a->trace.landed,
                                 .bytes_total = a->trace.total};
    engine->options.on_trace(engine->options.arg, &trace);
}

static void count_outcome(baton_engine *engine, const struct baton_handoff *h)
{
    struct engine_counts *counts = &engine->counts;
    const struct baton_result *r = &h->result;

    counts->outcomes[h->side][r->outcome]++;
    counts->causes[r->cause]++;
    counts->cancels_won += r->outcome == BATON_CANCELLED && r->cause == BATON_CAUSE_CANCEL;
    if (h->side == CORE_FETCH) {
        histogram_add(&counts->fetch_us, h->outcome_us - h->start_us);
    }
}

static void carry_outcome(baton_engine *engine, const struct core_action *a)
{
    struct baton_handoff *h = handoff_of(engine, a);
    struct baton_result *r = &h->result;

    BATON_ASSERT(!atomic_load(&h->decided)); /* S6 */
    r->outcome = a->outcome.outcome;
    r->cause = a->outcome.cause;
    r->stage = a->outcome.stage;
    r->bytes_landed = a->outcome.landed;
    r->bytes_total = a->outcome.total;
    h->outcome_us = clock_now_us();
    if (h->side == CORE_OFFER) {
        r->slots = h->offer.slots;
        for (unsigned s = 0; s < r->slots; s++) {
            struct core_slot_view view;

            core_slot_view(engine->core, h->index, s, &view);
            r->slot_stage[s] = view.stage;
            r->slot_cause[s] = view.cause;
        }
    } else if (r->outcome == BATON_COMPLETED) {
        r->aux = h->aux;
        r->aux_bytes = h->aux_bytes;
    }
    pthread_mutex_lock(&h->pool->lock);
    pool_quarantine(h->pool->book, &h->loan, h->outcome_us);
    pthread_mutex_unlock(&h->pool->lock);
    count_outcome(engine, h);
    quarantine_begin(h);
    atomic_store(&h->decided, true);
    notice_give(h, BATON_NOTICE_OUTCOME);
    if (BATON_SABOTAGE(DOUBLE_OUTCOME) && h->notices.on_outcome) {
        notice_give(h, BATON_NOTICE_OUTCOME);
    }
}

static const char *transport_name(unsigned bits)
{
    switch (bits) {
    case 0:
        return "none";
    case WIRE_TRANSPORT_SHM:
        return transport_shm.name;
    case WIRE_TRANSPORT_TCP:
        return transport_tcp.name;
    case WIRE_TRANSPORT_NIXL:
        return transport_nixl.name;
    default:
        return "mixed";
    }
}

static void count_quiet(baton_engine *engine, const struct baton_handoff *h, uint64_t now_ns)
{
    uint64_t cancelled_ns = atomic_load(&h->cancel_at_ns);

    engine->counts.receipts[h->receipt.proof]++;
    engine->counts.bytes_landed += h->receipt.bytes_landed;
    if (h->result.outcome == BATON_COMPLETED) {
        engine->counts.bytes_useful += h->receipt.bytes_landed;
    } else {
        engine->counts.bytes_wasted += h->receipt.bytes_landed;
    }
    if (cancelled_ns && now_ns > cancelled_ns && h->result.cause == BATON_CAUSE_CANCEL) {
        histogram_add(&engine->counts.time_to_quiet_us, (now_ns - cancelled_ns) / 1000);
    }
}

/*
 * The core knows how this offer was read.  A pool that was exported, for whichever offer, can be
 * read by a peer at any time, so then only what the readers said, or that they can not commit, is a
 * proof.
 */
static baton_proof proof_of(const struct baton_handoff *h, baton_proof proof)
{
    bool exported = h->side == CORE_OFFER && atomic_load(&h->pool->exported);

    return exported && proof != BATON_PROOF_PEER_DRAIN ? BATON_PROOF_REVOKED : proof;
}

static void carry_quiet(baton_engine *engine, const struct core_action *a)
{
    struct baton_handoff *h = handoff_of(engine, a);
    struct baton_receipt *r = &h->receipt;

    /*
     * DESIGN.md, section 4.1.  The slot's last state is written (the core's step is over); nothing
     * that is read from here on can be committed.  The fence orders it before the owner's next
     * write to the blocks, which the receipt allows.
     */
    atomic_thread_fence(memory_order_seq_cst);
    *r = (struct baton_receipt){.handoff_id = h->id,
                                .nonce = h->nonce,
                                .proof = proof_of(h, a->quiet.proof),
                                .transport = transport_name(h->transports_used),
                                .attempts = a->quiet.attempts,
                                .last_attempt = a->quiet.last_attempt,
                                .bytes_landed = a->quiet.landed,
                                .time_ns = clock_now_ns()};
    memcpy(r->incarnation, engine->incarnation, ID_BYTES);
    memcpy(r->peer, h->side == CORE_FETCH ? h->ticket.incarnation : a->quiet.peer, ID_BYTES);
    pthread_mutex_lock(&h->pool->lock);
    pool_unquarantine(h->pool->book, &h->loan);
    pthread_mutex_unlock(&h->pool->lock);
    quarantine_end(h); /* before the notice, which may fetch again */
    count_quiet(engine, h, r->time_ns);
    notice_give(h, BATON_NOTICE_QUIET);
    if (atomic_fetch_sub(&engine->active, 1) == 1) {
        pthread_mutex_lock(&engine->drain_lock);
        pthread_cond_broadcast(&engine->drained);
        pthread_mutex_unlock(&engine->drain_lock);
    }
}

static void carry_doubt(baton_engine *engine, const struct core_action *a)
{
    struct baton_handoff *h = handoff_of(engine, a);

    engine->counts.doubts++;
    engine_log(engine, BATON_LOG_WARN,
               "handoff %llu is not quiet %u ms after its outcome (%s): its blocks are in "
               "quarantine",
               (unsigned long long)h->id, engine->options.doubt_ms, baton_cause_name(a->cause));
    quarantine_doubt(h);
    notice_give(h, BATON_NOTICE_DOUBT);
}

static void carry(baton_engine *engine, const struct core_action *a)
{
    switch (a->type) {
    case CORE_ACTION_TRACE:
        carry_trace(engine, a);
        return;
    case CORE_ACTION_FLUSH:
        link_wants(engine, a->link);
        return;
    case CORE_ACTION_FRAME:
        link_frame(engine, a);
        return;
    case CORE_ACTION_COPY:
        window_start(engine, a);
        return;
    case CORE_ACTION_COPY_STOP:
        window_stop(engine, a);
        return;
    case CORE_ACTION_SERVE:
        serve_start(engine, a);
        return;
    case CORE_ACTION_SERVE_REFUSE:
        serve_refuse(engine, a);
        return;
    case CORE_ACTION_SERVE_STOP:
        serve_stop(engine, a);
        return;
    case CORE_ACTION_OUTCOME:
        carry_outcome(engine, a);
        return;
    case CORE_ACTION_DOUBT:
        carry_doubt(engine, a);
        return;
    case CORE_ACTION_QUIET:
        carry_quiet(engine, a);
        return;
    case CORE_ACTION_FORGET:
        handoff_forget(engine, a->side, a->index);
        return;
    case CORE_ACTION_LINK_UP:
        link_up(&engine->links[a->link]);
        return;
    case CORE_ACTION_LINK_REFUSED: /* the caller sees that no LINK_UP came */
        return;
    case CORE_ACTION_LINK_CLOSE:
        link_shut(engine, a);
        return;
    case CORE_ACTION_LINK_FREE:
        engine->links[a->link].core_knows = false;
        link_released(&engine->links[a->link]);
        return;
    }
}

/*
 * Actions are carried out between steps, never within one, and carrying one out never applies an
 * event: what transports give back meanwhile waits on lists for engine_settle().
 */
void engine_apply(baton_engine *engine, const struct core_event *event)
{
    bool more = true;

    BATON_ASSERT(!engine->applying);
    engine->applying = true;
    engine->applied += event->type != CORE_EVENT_TICK;
    while (more) {
        more = core_step(engine->core, event, clock_now_us(), engine->actions);
        event = NULL;
        engine->applied += engine->actions->count;
        for (uint32_t i = 0; i < engine->actions->count; i++) {
            carry(engine, &engine->actions->list[i]);
        }
    }
    engine->applying = false;
}

static enum core_copied copied_status(enum transport_status status)
{
    switch (status) {
    case TRANSPORT_OK:
        return CORE_COPIED_OK;
    case TRANSPORT_FAILED:
        return CORE_COPIED_FAILED;
    case TRANSPORT_PEER_DEAD:
        return CORE_COPIED_PEER_DEAD;
    default:
        return CORE_COPIED_ABORTED;
    }
}

/* The source's part of a push over shm. */
static void settle_push(baton_engine *engine, struct engine_window *w)
{
    struct core_event event = {.type = CORE_EVENT_SERVED};

    event.served.offer_id = w->window.offer_id;
    event.served.length = w->window.length;
    event.served.status = copied_status(w->window.status);
    event.served.slot = w->window.slot;
    event.served.push = true;
    free(w);
    engine_apply(engine, &event);
}

static bool settle_window(baton_engine *engine)
{
    struct engine_window *w = window_done_pop(engine);
    struct core_event event = {.type = CORE_EVENT_COPIED};

    if (!w) {
        return false;
    }
    if (w->landing) {
        settle_push(engine, w);
        return true;
    }
    event.copied.id = w->window.fetch_id;
    event.copied.length = w->window.length;
    event.copied.landed = w->window.landed;
    event.copied.status = copied_status(w->window.status);
    event.copied.proof = w->window.proof;
    w->next = engine->windows_free;
    engine->windows_free = w;
    engine_apply(engine, &event);
    return true;
}

static bool settle_serve(baton_engine *engine)
{
    struct transport_serve *s = serve_done_pop(engine);
    struct core_event event = {.type = CORE_EVENT_SERVED};

    if (!s) {
        return false;
    }
    event.served.offer_id = s->offer_id;
    event.served.length = s->length;
    event.served.status = copied_status(s->status);
    event.served.slot = s->slot;
    event.served.push = s->push;
    serve_free(s);
    engine_apply(engine, &event);
    return true;
}

void engine_settle_movers(baton_engine *engine)
{
    while (settle_window(engine) || settle_serve(engine)) {
    }
}

/* What could not be done where it was found out: within an action, or within an upcall. */
static void attend(baton_engine *engine, struct engine_link *link)
{
    const struct core_event heard = {.type = CORE_EVENT_HEARD, .link = link->number};

    link->attention = false;
    if (link->heard && link->core_knows) {
        engine_apply(engine, &heard);
    }
    link->heard = false;
    if (link->broken && link->core_knows) {
        link_lose(link, link->broken_cause);
    }
    link->broken = false;
    if (link->shut) {
        link->shut = false;
        link_close_transports(link);
    }
    link_released(link);
}

void engine_settle(baton_engine *engine)
{
    do {
        engine_settle_movers(engine);
        if (engine->attention) {
            engine->attention = false;
            for (uint32_t i = 0; i < engine->links_used; i++) {
                if (engine->links[i].attention) {
                    attend(engine, &engine->links[i]);
                }
            }
        }
    } while (engine->windows_done || engine->serves_done || engine->attention);
}
