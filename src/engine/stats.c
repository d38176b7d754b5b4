/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's counters as one JSON object (docs/METRICS.md).  Every value is a number or one of
 * our own names, so nothing has to be escaped, and libbaton needs no JSON library.
 *
 * The driver counts without locks.  Everybody else sees the copy that it publishes before it
 * sleeps, and every now and then while it does not.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/clock.h"

enum {
    STATS_BYTES_MAX = 256 << 10, /* of one answer */
    STATS_PUBLISH_US = 20000,    /* while the driver does not sleep */
};

struct published_link {
    bool used, sink, is_unix, up;
    uint8_t peer[ID_BYTES];
    uint64_t made_us;
    uint32_t handoffs;
};

struct engine_published {
    struct engine_counts counts;
    struct core_counts core;
    struct core_gauges gauges;
    struct published_link link[]; /* options.links_max */
};

static void publish_link(const struct engine_link *link, struct published_link *ret_link)
{
    struct core_link_view view;

    ret_link->used = link->core_knows;
    if (!link->core_knows) {
        return;
    }
    core_link_view(link->engine->core, link->number, &view);
    *ret_link = (struct published_link){.used = true,
                                        .sink = link->sink,
                                        .is_unix = link->control.is_unix,
                                        .up = link->up,
                                        .made_us = link->made_us,
                                        .handoffs = view.handoffs};
    memcpy(ret_link->peer, link->incarnation, ID_BYTES);
}

static void publish(baton_engine *engine)
{
    struct engine_published *p = engine->published;

    pthread_mutex_lock(&engine->stats_lock);
    p->counts = engine->counts;
    core_counts(engine->core, &p->core);
    core_gauges(engine->core, &p->gauges);
    for (uint32_t i = 0; i < engine->links_used; i++) {
        publish_link(&engine->links[i], &p->link[i]);
    }
    pthread_mutex_unlock(&engine->stats_lock);
    engine->published_applied = engine->applied;
}

void stats_publish(baton_engine *engine, bool sleeping)
{
    uint64_t now_us;

    if (engine->published_applied == engine->applied) {
        return;
    }
    now_us = clock_now_us();
    if (sleeping || now_us - engine->published_us > STATS_PUBLISH_US) {
        engine->published_us = now_us;
        publish(engine);
    }
}

void histogram_add(struct histogram *h, uint64_t value)
{
    unsigned i = 0;

    while (i < 31 && value > UINT64_C(1) << i) {
        i++;
    }
    h->count++;
    h->sum += value;
    h->bucket[i]++;
}

/* Text that is cut at the end of its room, and knows how long it would have been. */
struct text {
    char *at;
    size_t room, length;
};

static void add(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *t, const char *format, ...)
{
    size_t left = t->length < t->room ? t->room - t->length : 0;
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(left ? t->at + t->length : NULL, left, format, args);
    va_end(args);
    t->length += length > 0 ? (size_t)length : 0;
}

static void add_number(struct text *t, const char *name, uint64_t value)
{
    add(t, "\"%s\": %llu, ", name, (unsigned long long)value);
}

/* Takes back the ", " of the last member. */
static void close_with(struct text *t, const char *end)
{
    if (t->length >= 2 && t->length <= t->room && t->at[t->length - 2] == ',') {
        t->length -= 2;
    }
    add(t, "%s", end);
}

static void add_hex(struct text *t, const char *name, const uint8_t id[ID_BYTES])
{
    add(t, "\"%s\": \"", name);
    for (unsigned i = 0; i < ID_BYTES; i++) {
        add(t, "%02x", id[i]);
    }
    add(t, "\", ");
}

static void add_outcomes(struct text *t, const struct engine_counts *c)
{
    static const char *const side[2] = {"offer", "fetch"};

    add(t, "\"outcomes\": {");
    for (int s = 0; s < 2; s++) {
        add(t, "\"%s\": {", side[s]);
        for (int o = BATON_COMPLETED; o <= BATON_FAILED; o++) {
            add_number(t, baton_outcome_name((baton_outcome)o), c->outcomes[s][o]);
        }
        close_with(t, "}, ");
    }
    close_with(t, "}, \"causes\": {");
    for (int cause = 1; cause < BATON_CAUSE_COUNT_; cause++) {
        add_number(t, baton_cause_name((baton_cause)cause), c->causes[cause]);
    }
    close_with(t, "}, ");
}

static void add_counters(struct text *t, baton_engine *engine)
{
    const struct engine_counts *c = &engine->published->counts;
    const struct core_counts *core = &engine->published->core;

    add(t, "\"counters\": {");
    add_number(t, "offers", c->offers);
    add_number(t, "fetches", c->fetches);
    add_outcomes(t, c);
    add_number(t, "cancels_requested", atomic_load(&engine->cancels_requested));
    add_number(t, "cancels_won", c->cancels_won);
    add(t, "\"receipts\": {");
    for (int p = BATON_PROOF_NEVER_EXPOSED; p < BATON_PROOF_COUNT_; p++) {
        add_number(t, baton_proof_name((baton_proof)p), c->receipts[p]);
    }
    close_with(t, "}, ");
    add_number(t, "retired", atomic_load(&engine->retired));
    add_number(t, "doubts", c->doubts);
    add_number(t, "links_fenced", c->links_fenced);
    add_number(t, "peers_killed", c->peers_killed);
    add_number(t, "bytes_landed", c->bytes_landed);
    add_number(t, "bytes_useful", c->bytes_useful);
    add_number(t, "bytes_wasted", c->bytes_wasted);
    add_number(t, "bytes_served", c->bytes_served);
    add_number(t, "late_messages", core->late);
    add_number(t, "leases", core->leases);
    add_number(t, "links_made", core->links_made);
    add_number(t, "links_lost", core->links_lost);
    add_number(t, "links_refused", core->links_refused + c->links_rejected);
    add_number(t, "frames_in", c->frames_in);
    add_number(t, "frames_out", c->frames_out);
    add_number(t, "protocol_errors", core->protocol_errors);
    close_with(t, "}, ");
}

static void add_gauges(struct text *t, const baton_engine *engine)
{
    const struct core_gauges *g = &engine->published->gauges;

    add(t, "\"gauges\": {");
    add_number(t, "offers", g->offers);
    add_number(t, "fetches", g->fetches);
    add_number(t, "links", g->links);
    add_number(t, "inflight_bytes", g->inflight_bytes);
    add_number(t, "windows", g->windows);
    close_with(t, "}, ");
}

static void add_histogram(struct text *t, const char *name, const struct histogram *h)
{
    add(t, "\"%s\": {", name);
    add_number(t, "count", h->count);
    add_number(t, "sum", h->sum);
    add(t, "\"buckets\": [");
    for (unsigned i = 0; i < 31; i++) {
        add(t, "[%llu, %llu], ", 1ULL << i, (unsigned long long)h->bucket[i]);
    }
    add(t, "[null, %llu]]}, ", (unsigned long long)h->bucket[31]);
}

static void add_pool(struct text *t, baton_engine *engine, unsigned number)
{
    struct baton_pool_stats s;
    uint64_t block_bytes = 0;
    bool there;

    pthread_mutex_lock(&engine->table_lock);
    there = engine->pools[number] != NULL;
    if (there) {
        block_bytes = engine->pools[number]->block_bytes;
        pool_look(engine->pools[number], &s);
    }
    pthread_mutex_unlock(&engine->table_lock);
    if (!there) {
        return;
    }
    add(t, "{");
    add_number(t, "id", number);
    add_number(t, "block_bytes", block_bytes);
    add_number(t, "blocks", s.blocks);
    add_number(t, "free_blocks", s.free_blocks);
    add_number(t, "held_blocks", s.held_blocks);
    add_number(t, "lent_blocks", s.lent_blocks);
    add_number(t, "quarantine_blocks", s.quarantine_blocks);
    add_number(t, "quarantine_bytes", s.quarantine_blocks * block_bytes);
    add_number(t, "quarantine_oldest_us", s.quarantine_oldest_us);
    add_number(t, "late_bytes", s.late_bytes);
    add_number(t, "late_blocks", s.late_blocks);
    close_with(t, "}, ");
}

static void add_link(struct text *t, const struct published_link *link, uint64_t now_us)
{
    add(t, "{");
    add_hex(t, "peer", link->peer);
    add(t, "\"role\": \"%s\", \"kind\": \"%s\", \"state\": \"%s\", ",
        link->sink ? "sink" : "source", link->is_unix ? "unix" : "tcp",
        link->up ? "up" : "dialing");
    add_number(t, "age_us", link->up ? now_us - link->made_us : 0);
    add_number(t, "handoffs", link->handoffs);
    close_with(t, "}, ");
}

static void add_all(struct text *t, baton_engine *engine)
{
    uint64_t now_us = clock_now_us();

    add(t, "{\"version\": \"%s\", ", baton_version());
    add_hex(t, "incarnation", engine->incarnation);
    add_number(t, "pid", (uint64_t)getpid());
    add_number(t, "uptime_us", now_us - engine->made_us);
    pthread_mutex_lock(&engine->stats_lock);
    add_counters(t, engine);
    add_gauges(t, engine);
    add(t, "\"histograms\": {");
    add_histogram(t, "time_to_quiet_us", &engine->published->counts.time_to_quiet_us);
    add_histogram(t, "fetch_us", &engine->published->counts.fetch_us);
    pthread_mutex_unlock(&engine->stats_lock);
    close_with(t, "}, \"pools\": [");
    for (unsigned i = 0; i < BATON_POOLS_MAX; i++) {
        add_pool(t, engine, i);
    }
    close_with(t, "], \"links\": [");
    pthread_mutex_lock(&engine->stats_lock);
    for (uint32_t i = 0; i < engine->options.links_max; i++) {
        if (engine->published->link[i].used) {
            add_link(t, &engine->published->link[i], now_us);
        }
    }
    pthread_mutex_unlock(&engine->stats_lock);
    close_with(t, "]}\n");
}

size_t baton_engine_stats_json(baton_engine *engine, char *ret_text, size_t size)
{
    struct text t = {ret_text, size, 0};

    if (engine_check(engine)) {
        return 0;
    }
    if (loop_drives(engine)) {
        publish(engine); /* a callback, or the socket below: as of this moment */
    }
    add_all(&t, engine);
    return t.length;
}

/* Each connection is answered once, and closed.  Whoever does not read gets what the socket's
 * buffer holds. */
static void stats_ready(struct transport_fd *watch, unsigned events)
{
    struct listener *listener =
        (struct listener *)(void *)((char *)watch - offsetof(struct listener, watch));
    int fd = listener_accept(listener);
    const int room = STATS_BYTES_MAX;
    char *text;

    (void)events;
    if (fd < 0) {
        return;
    }
    text = malloc(STATS_BYTES_MAX);
    if (text) {
        size_t length = baton_engine_stats_json(listener->engine, text, STATS_BYTES_MAX);
        ssize_t put;

        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        put = send(fd, text, length < STATS_BYTES_MAX ? length : STATS_BYTES_MAX - 1, MSG_NOSIGNAL);
        (void)put;
    }
    free(text);
    close(fd);
}

baton_err stats_listen(baton_engine *engine, struct baton_error *ret_error)
{
    char text[BATON_ENDPOINT_BYTES_MAX];
    const char *path = engine->options.stats_path;

    engine->published = calloc(1, sizeof(*engine->published) +
                                      engine->options.links_max * sizeof(struct published_link));
    if (!engine->published) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for the counters");
    }
    if (!path) {
        return BATON_OK;
    }
    if (path[0] != '/' || strlen(path) + 6 > sizeof(text)) {
        return error_set(ret_error, BATON_EADDRESS,
                         "stats_path \"%s\": it must be an absolute path of at most %zu characters",
                         path, sizeof(text) - 6);
    }
    snprintf(text, sizeof(text), "unix:%s", path);
    return listener_open(&engine->stats, engine, text, stats_ready, ret_error);
}

void stats_fini(baton_engine *engine)
{
    if (engine->stats.watch.fd >= 0) {
        listener_close(&engine->stats);
    }
    free(engine->published);
    engine->published = NULL;
}
