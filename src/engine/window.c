/* SPDX-License-Identifier: Apache-2.0 */
/* Windows and serves: what the engine lends to transports, and what they tell it. */
#include "engine/engine.h"
#include "engine/landing.h"

#include <stdlib.h>
#include <string.h>

#include "util/clock.h"
#include "util/sabotage.h"

/* ---- upcalls ---- */

unsigned transport_index(const baton_engine *engine, const struct transport_ops *ops)
{
    unsigned i = 0;

    while (engine->transports[i].ops != ops) {
        i++;
        BATON_ASSERT(i < engine->transport_count);
    }
    return i;
}

/* Only tcp has its source's own code move the bytes. */
static const struct transport_ops *serving = &transport_tcp;

static void window_back(struct engine_link *link)
{
    BATON_ASSERT(link->out > 0);
    link->out--;
    link_released(link);
}

void window_over(baton_engine *engine, struct engine_window *w)
{
    w->next = NULL;
    *engine->windows_last = w;
    engine->windows_last = &w->next;
}

struct engine_window *window_done_pop(baton_engine *engine)
{
    struct engine_window *w = engine->windows_done;

    if (w) {
        engine->windows_done = w->next;
        engine->windows_last = w->next ? engine->windows_last : &engine->windows_done;
    }
    return w;
}

static void serve_over(baton_engine *engine, struct transport_serve *serve)
{
    serve->next = NULL;
    *engine->serves_last = serve;
    engine->serves_last = &serve->next;
}

struct transport_serve *serve_done_pop(baton_engine *engine)
{
    struct transport_serve *s = engine->serves_done;

    if (s) {
        engine->serves_done = s->next;
        engine->serves_last = s->next ? engine->serves_last : &engine->serves_done;
    }
    return s;
}

static void window_done(void *arg, struct transport_window *window)
{
    baton_engine *engine = arg;
    struct engine_window *w = (struct engine_window *)window;

    if (w->landing) {
        landing_done(engine, w);
        return;
    }
    window_back(&engine->links[window->engine_link]);
    w->busy = false;
    if (w->orphan) { /* sabotage: it was counted as done long ago */
        w->next = engine->windows_free;
        engine->windows_free = w;
        return;
    }
    window_over(engine, w);
}

static void serve_done(void *arg, struct transport_serve *serve)
{
    baton_engine *engine = arg;

    window_back(&engine->links[serve->engine_link]);
    serve_over(engine, serve);
}

static void link_broken(void *arg, uint32_t link, const char *why)
{
    baton_engine *engine = arg;

    engine_log(engine, BATON_LOG_WARN, "link %u: %s", link, why);
    engine->links[link].broken = true;
    engine->links[link].broken_cause = BATON_CAUSE_LINK_CLOSED;
    link_attend(&engine->links[link]);
}

bool serve_reserve(struct engine_link *link)
{
    baton_engine *engine = link->engine;

    if (!engine->serve_spare) {
        engine->serve_spare = malloc(sizeof(*engine->serve_spare));
    }
    if (!engine->serve_spare) {
        link_broken(engine, link->number, "no memory to serve a window");
    }
    return engine->serve_spare != NULL;
}

static void read_request(void *arg, uint32_t link, const struct transport_read *read)
{
    baton_engine *engine = arg;
    struct core_event event = {.type = CORE_EVENT_READ, .link = link};

    event.read.offer_id = read->offer_id;
    event.read.fetch_id = read->fetch_id;
    event.read.attempt = read->attempt;
    event.read.slot = read->slot;
    event.read.offset = read->offset;
    event.read.length = read->length;
    if (!serve_reserve(&engine->links[link])) {
        serving->refuse(engine->links[link].transport[transport_index(engine, serving)], read->own);
        return;
    }
    engine->read_own = read->own;
    engine_apply(engine, &event);
}

static void heard(void *arg, uint32_t link)
{
    baton_engine *engine = arg;

    engine->links[link].heard = true;
    link_attend(&engine->links[link]);
}

static void wake(void *arg)
{
    loop_wake(arg);
}

static void log_line(void *arg, baton_log_level level, const char *text)
{
    engine_log(arg, level, "%s", text);
}

static void shared(void *arg, uint32_t link, const struct transport_memory *memory,
                   const void *descriptor, size_t length)
{
    baton_engine *engine = arg;

    if (!frame_share(&engine->links[link], memory, descriptor, length)) {
        link_broken(engine, link, "no memory to describe a pool");
    }
}

/* Each link may have one window beyond the budget. */
static unsigned windows_count(const baton_engine *engine)
{
    return ENGINE_WINDOWS_MAX + engine->options.links_max;
}

baton_err windows_init(baton_engine *engine, struct baton_error *ret_error)
{
    const struct transport_host host = {.arg = engine,
                                        .window_done = window_done,
                                        .read_request = read_request,
                                        .serve_done = serve_done,
                                        .link_broken = link_broken,
                                        .heard = heard,
                                        .watch = loop_watch,
                                        .rewatch = loop_rewatch,
                                        .unwatch = loop_unwatch,
                                        .wake = wake,
                                        .log = log_line,
                                        .shared = shared,
                                        .fenced = landing_fenced};
    const struct transport_options options = {.movers = (unsigned)engine->options.movers,
                                              .slice_bytes = engine->options.slice_bytes,
                                              .window_bytes = ENGINE_WINDOW_BYTES_MAX,
                                              .links_max = engine->options.links_max,
                                              .windows_max = ENGINE_WINDOWS_MAX,
                                              .host = engine->options.host,
                                              .helpers_max = engine->options.helpers_max,
                                              .helper_path = engine->options.helper_path};
    unsigned windows = windows_count(engine);

    engine->windows_last = &engine->windows_done;
    engine->serves_last = &engine->serves_done;
    engine->windows = calloc(windows, sizeof(*engine->windows));
    if (!engine->windows) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for %u windows", windows);
    }
    for (unsigned i = 0; i < windows; i++) {
        engine->windows[i].next = engine->windows_free;
        engine->windows_free = &engine->windows[i];
    }
    for (unsigned i = 0; i < engine->transport_count; i++) {
        struct engine_transport *t = &engine->transports[i];
        baton_err err = t->ops->create(&host, &options, &t->transport, ret_error);

        if (err) {
            return err;
        }
    }
    return BATON_OK;
}

void windows_fini(baton_engine *engine)
{
    for (unsigned i = 0; i < engine->transport_count; i++) {
        if (engine->transports[i].transport) {
            engine->transports[i].ops->destroy(engine->transports[i].transport);
        }
    }
    free(engine->windows);
    free(engine->serve_spare);
}

/* ---- windows ---- */

/* Where bulk connections go: where the control connection went, or the first TCP endpoint there is.
 */
static const char *tcp_address(const struct engine_link *link)
{
    const struct ticket *ticket = &link->ticket;

    if (!link->control.is_unix) {
        return ticket->endpoint[link->endpoint] + 4;
    }
    return endpoint_of(ticket, "tcp:");
}

struct transport_link *window_link(struct engine_link *link, unsigned transport)
{
    const struct engine_transport *t = &link->engine->transports[transport];
    struct frame bulk = {.type = FRAME_BULK, .bulk.magic = WIRE_MAGIC};
    uint8_t preface[FRAME_HEAD_BYTES + FRAME_FIXED_BYTES_MAX];
    struct transport_link_args args = {.link = link->number,
                                       .serial = link->serial,
                                       .sink = link->sink,
                                       .peer_pidfd = link->peer_exit.fd};
    struct baton_error error;

    if (link->transport[transport] || !link->up) {
        return link->transport[transport];
    }
    memcpy(bulk.bulk.expected, link->incarnation, ID_BYTES);
    memcpy(bulk.bulk.link_id, link->id, ID_BYTES);
    args.tcp_address = link->sink ? tcp_address(link) : NULL;
    args.preface = preface;
    args.preface_length = frame_encode(&bulk, preface);
    if (t->ops->link_open(t->transport, &args, &link->transport[transport], &error)) {
        engine_log(link->engine, BATON_LOG_ERROR, "link %u, %s: %s", link->number, t->ops->name,
                   error.text);
        link->transport[transport] = NULL;
    }
    return link->transport[transport];
}

void window_share(struct engine_link *link, baton_pool *pool)
{
    unsigned nixl = transport_index(link->engine, &transport_nixl);
    struct transport_link *t = window_link(link, nixl);

    if (t) {
        link->engine->transports[nixl].ops->share(t, pool->shared);
    } else {
        link_broken(link->engine, link->number, "nixl can not be used");
    }
}

void window_start(baton_engine *engine, const struct core_action *a)
{
    struct baton_handoff *h = engine->table[CORE_FETCH][a->index];
    struct engine_window *w = engine->windows_free;
    struct transport_link *link = h->link ? window_link(h->link, h->transport) : NULL;

    BATON_ASSERT(h->id == a->copy.id && h->accepted);
    BATON_ASSERT(w); /* the core starts at most as many as there are */
    engine->windows_free = w->next;
    w->orphan = false;
    w->window = (struct transport_window){.link = link,
                                          .plan = &h->plan,
                                          .sink_base = h->pool->memory,
                                          .region = h->region ? &h->region->region : NULL,
                                          .memory = h->pool->shared,
                                          .peer_region = h->peer_region,
                                          .own_bytes = h->pool->bytes,
                                          .stop = &h->stop,
                                          .granted = h->fetch.push ? &h->granted : NULL,
                                          .offset = a->copy.offset,
                                          .length = a->copy.length,
                                          .fetch_id = h->id,
                                          .offer_id = h->fetch.offer_id,
                                          .attempt = h->attempt,
                                          .slot = h->fetch.slot};
    if (!link) {
        /* The link is being lost, or could not be opened: its loss, or the read's failure, ends the
         * fetch. */
        w->window.status = h->link && h->link->up ? TRANSPORT_FAILED : TRANSPORT_ABORTED;
        window_over(engine, w);
        return;
    }
    w->busy = true;
    w->window.engine_link = h->link->number;
    h->link->out++;
    h->transports_used |= engine->transports[h->transport].ops->bit;
    engine->transports[h->transport].ops->post(&w->window);
}

#ifdef BATON_TEST_BUILD
/* Sabotage: tell the core that the windows have stopped, and let them go on. */
static bool let_run(baton_engine *engine, struct baton_handoff *h)
{
    for (unsigned i = 0; i < windows_count(engine) && BATON_SABOTAGE(LATE_MOVER); i++) {
        struct engine_window *w = &engine->windows[i], *told = engine->windows_free;

        if (!w->busy || w->orphan || w->window.fetch_id != h->id || !told) {
            continue;
        }
        handoff_ref(h); /* never dropped: the window goes on using its plan, and the region */
        region_ref(h->region);
        w->orphan = true;
        engine->windows_free = told->next;
        told->window = w->window;
        told->window.status = TRANSPORT_ABORTED;
        window_over(engine, told);
    }
    return BATON_SABOTAGE(LATE_MOVER);
}
#else
static bool let_run(baton_engine *engine, struct baton_handoff *h)
{
    (void)engine;
    (void)h;
    return false;
}
#endif

void window_stop(baton_engine *engine, const struct core_action *a)
{
    struct baton_handoff *h = engine->table[CORE_FETCH][a->index];

    BATON_ASSERT(h->id == a->copy.id);
    if (let_run(engine, h)) {
        return;
    }
    atomic_store(&h->stop, true);
    if (h->link && h->link->transport[h->transport]) {
        engine->transports[h->transport].ops->stop(h->link->transport[h->transport], h->id);
    }
}

/* ---- serves ---- */

void serve_free(struct transport_serve *serve)
{
    free(serve);
}

void serve_start(baton_engine *engine, const struct core_action *a)
{
    struct baton_handoff *h = engine->table[CORE_OFFER][a->index];
    struct engine_link *link = &engine->links[a->link];
    struct transport_serve *serve = engine->serve_spare;
    unsigned transport;

    if (landing_is(h, a->slot, a->serve.attempt)) {
        landing_start(engine, a);
        return;
    }
    transport = transport_index(engine, serving);
    engine->serve_spare = NULL;
    *serve = (struct transport_serve){.engine_link = link->number, .push = a->serve.push};
    /* A grant can be here before the bulk connection that it is answered on. */
    serve->link = window_link(link, transport);
    serve->plan = &h->plan;
    serve->source_base = h->pool->memory;
    serve->offset = a->serve.offset;
    serve->length = a->serve.length;
    serve->offer_id = h->id;
    serve->fetch_id = a->serve.fetch_id;
    serve->attempt = a->serve.attempt;
    serve->slot = a->slot;
    if (!serve->link) {
        serve->status = TRANSPORT_ABORTED;
        serve_over(engine, serve);
        return;
    }
    link->out++;
    h->transports_used |= serving->bit;
    engine->counts.bytes_served += a->serve.length;
    if (serve->push) {
        serving->push(serve);
    } else {
        serving->serve(serve, engine->read_own);
    }
}

void serve_refuse(baton_engine *engine, const struct core_action *a)
{
    const struct engine_link *link = &engine->links[a->link];

    serving->refuse(link->transport[transport_index(engine, serving)], engine->read_own);
}

void serve_stop(baton_engine *engine, const struct core_action *a)
{
    if (landing_is(engine->table[CORE_OFFER][a->index], a->slot, a->serve.attempt)) {
        landing_stop(engine, a);
        return;
    }
    /* The slot may have been leased over several links in its life; the attempt is on one of them.
     */
    for (uint32_t i = 0; i < engine->links_used; i++) {
        const struct engine_link *link = &engine->links[i];
        struct transport_link *t =
            link->used ? link->transport[transport_index(engine, serving)] : NULL;

        if (t && !link->sink) {
            serving->serve_stop(t, a->serve.id, a->slot, a->serve.attempt);
        }
    }
}
