/* SPDX-License-Identifier: Apache-2.0 */
/* Making and ending an engine. */
#include "engine/engine.h"
#include "engine/landing.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/thread.h"

/* ---- forking ---- */

/* How often this process is the child of a fork; an engine of another count is the parent's. */
static atomic_uint_fast64_t forks;

static void forked(void)
{
    atomic_fetch_add(&forks, 1);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forked);
}

baton_err engine_check(const baton_engine *engine)
{
    return engine->forks == atomic_load_explicit(&forks, memory_order_relaxed) ? BATON_OK
                                                                               : BATON_EFORKED;
}

/* ---- helpers ---- */

static bool random_bytes(void *ret_bytes, size_t length)
{
    unsigned char *at = ret_bytes;

    while (length > 0) {
        ssize_t got = getrandom(at, length, 0);

        if (got < 0 && errno != EINTR) {
            return false;
        }
        at += got > 0 ? got : 0;
        length -= got > 0 ? (size_t)got : 0;
    }
    return true;
}

bool engine_random(baton_engine *engine, void *ret_bytes, size_t length)
{
    uint8_t *at;
    bool ok = true;

    BATON_ASSERT(length <= ENGINE_RANDOM_BYTES);
    pthread_mutex_lock(&engine->random_lock);
    if (engine->random_left < length) {
        ok = random_bytes(engine->random, ENGINE_RANDOM_BYTES);
        engine->random_left = ok ? ENGINE_RANDOM_BYTES : 0;
    }
    if (ok) {
        engine->random_left -= length;
        at = engine->random + engine->random_left;
        memcpy(ret_bytes, at, length);
        explicit_bzero(at, length); /* some of them are secrets */
    }
    pthread_mutex_unlock(&engine->random_lock);
    return ok;
}

void engine_log(const baton_engine *engine, baton_log_level level, const char *format, ...)
{
    char text[512];
    va_list args;

    if (!engine->options.on_log) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    engine->options.on_log(engine->options.arg, level, text);
}

static const struct {
    const char *name;
    const struct transport_ops *ops;
} known_transports[] = {
    {"shm", &transport_shm},
    {"tcp", &transport_tcp},
    {"nixl", &transport_nixl}, /* only where it is asked for */
};

static baton_err pick_transports(baton_engine *engine, struct baton_error *ret_error)
{
    const struct baton_engine_options *o = &engine->options;
    unsigned count =
        o->transports_count ? (unsigned)o->transports_count : ENGINE_TRANSPORTS_DEFAULT;

    for (unsigned i = 0; i < count; i++) {
        const char *name = o->transports_count ? o->transports[i] : known_transports[i].name;
        const struct transport_ops *ops = NULL;

        for (unsigned k = 0; k < ENGINE_TRANSPORTS; k++) {
            if (name && strcmp(name, known_transports[k].name) == 0) {
                ops = known_transports[k].ops;
            }
        }
        if (!ops) {
            return error_set(ret_error, BATON_EINVAL,
                             "unknown transport \"%s\": have shm, tcp, nixl",
                             name ? name : "(null)");
        }
        if (engine->transport_bits & ops->bit) {
            return error_set(ret_error, BATON_EINVAL, "transport \"%s\" is named twice", name);
        }
        engine->transports[i].ops = ops;
        engine->transport_bits |= ops->bit;
        engine->transport_count = i + 1;
    }
    return BATON_OK;
}

/* ---- making ---- */

static baton_err make_core(baton_engine *engine, struct baton_error *ret_error)
{
    const struct baton_engine_options *o = &engine->options;
    const struct core_limits limits = {
        .offers = o->offers_max,
        .fetches = o->fetches_max,
        .links = o->links_max,
        .slots = BATON_READERS_MAX,
        .attempts = o->attempts_max,
        .replies = ENGINE_REPLIES_MAX,
        .windows = ENGINE_WINDOWS_MAX,
        .windows_per_fetch = ENGINE_WINDOWS_PER_FETCH,
        .window_bytes = o->window_bytes,
        .inflight_bytes = o->inflight_bytes_max,
        .link_timeout_us = (uint64_t)o->link_timeout_ms * 1000,
        .doubt_us = (uint64_t)o->doubt_ms * 1000,
        .first_attempt = 1,
    };
    void *memory = malloc(core_state_bytes(&limits));

    if (!memory) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for %zu bytes of protocol state",
                         core_state_bytes(&limits));
    }
    engine->core = core_init(memory, &limits);
    return BATON_OK;
}

static baton_err make_tables(baton_engine *engine, struct baton_error *ret_error)
{
    const uint32_t count[2] = {engine->options.offers_max, engine->options.fetches_max};

    engine->actions = malloc(sizeof(*engine->actions));
    engine->nonce = malloc(ID_BYTES);
    engine->links = calloc(engine->options.links_max, sizeof(*engine->links));
    engine->hot = calloc(engine->options.links_max, sizeof(*engine->hot));
    /* At once: whatever fails next, these are closed. */
    for (uint32_t i = 0; engine->links && i < engine->options.links_max; i++) {
        link_init(&engine->links[i], engine, i);
    }
    for (unsigned i = 0; i < ENGINE_GREETERS_MAX; i++) {
        connection_init(&engine->greeters[i], engine);
    }
    for (int side = 0; side < 2; side++) {
        engine->table[side] = calloc(count[side], sizeof(struct baton_handoff *));
        engine->free_index[side] = calloc(count[side], sizeof(uint32_t));
        if (!engine->table[side] || !engine->free_index[side]) {
            return error_set(ret_error, BATON_ENOMEM, "no memory for %u handoffs", count[side]);
        }
        /* Low indices first. */
        for (uint32_t i = 0; i < count[side]; i++) {
            engine->free_index[side][i] = count[side] - 1 - i;
        }
        engine->free_count[side] = count[side];
    }
    if (!engine->actions || !engine->nonce || !engine->links || !engine->hot) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for %u links",
                         engine->options.links_max);
    }
    return BATON_OK;
}

static void *drive(void *arg)
{
    baton_engine *engine = arg;

    while (!atomic_load(&engine->stopping)) {
        loop_step(engine, -1);
    }
    return NULL;
}

static baton_err start_thread(baton_engine *engine, struct baton_error *ret_error)
{
    int failed;

    if (engine->options.progress == BATON_PROGRESS_CALLER) {
        return BATON_OK;
    }
    failed = thread_start(&engine->thread, "baton", drive, engine);
    if (failed) {
        return error_system(ret_error, failed, "pthread_create");
    }
    engine->has_thread = true;
    return BATON_OK;
}

/* Everything but the thread goes, also of an engine that was made in part. */
static void engine_free(baton_engine *engine)
{
    stats_fini(engine);
    if (engine->links) {
        greet_fini(engine);
    }
    landing_fini(engine);
    windows_fini(engine);
    loop_fini(engine);
    for (unsigned i = 0; i < BATON_POOLS_MAX; i++) {
        if (engine->pools[i]) {
            pool_free_memory(engine->pools[i]);
        }
    }
    for (int side = 0; side < 2; side++) {
        free(engine->table[side]);
        free(engine->free_index[side]);
    }
    free(engine->links);
    free(engine->hot);
    free(engine->actions);
    free(engine->nonce);
    free(engine->core);
    pthread_mutex_destroy(&engine->table_lock);
    pthread_mutex_destroy(&engine->notices_lock);
    pthread_mutex_destroy(&engine->stats_lock);
    pthread_mutex_destroy(&engine->random_lock);
    pthread_mutex_destroy(&engine->drain_lock);
    pthread_cond_destroy(&engine->drained);
    free(engine);
}

static void engine_init(baton_engine *engine)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_condattr_t attributes;

    pthread_once(&once, watch_forks);
    engine->forks = atomic_load(&forks);
    engine->made_us = clock_now_us();
    engine->epoll_fd = engine->wake_fd = engine->timer_fd = engine->completion_fd = -1;
    engine->stats.watch.fd = -1;
    engine->notices_last = &engine->notices_first;
    engine->unproven_last = &engine->unproven;
    pthread_mutex_init(&engine->table_lock, NULL);
    pthread_mutex_init(&engine->notices_lock, NULL);
    pthread_mutex_init(&engine->stats_lock, NULL);
    pthread_mutex_init(&engine->random_lock, NULL);
    pthread_mutex_init(&engine->drain_lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&engine->drained, &attributes);
    pthread_condattr_destroy(&attributes);
}

static baton_err engine_build(baton_engine *engine, struct baton_error *ret_error)
{
    baton_err err;

    if ((err = pick_transports(engine, ret_error)) || (err = make_core(engine, ret_error)) ||
        (err = make_tables(engine, ret_error))) {
        return err;
    }
    if (!engine_random(engine, engine->incarnation, ID_BYTES) ||
        !engine_random(engine, engine->nonce, ID_BYTES)) {
        return error_system(ret_error, errno, "getrandom");
    }
    if ((err = loop_init(engine, ret_error)) || (err = windows_init(engine, ret_error)) ||
        (err = greet_listen(engine, ret_error)) || (err = stats_listen(engine, ret_error))) {
        return err;
    }
    /* What was borrowed for making it is not looked at again. */
    engine->options.listen = engine->options.advertise = engine->options.transports = NULL;
    engine->options.stats_path = engine->options.helper_path = NULL;
    return start_thread(engine, ret_error);
}

baton_err baton_engine_create(const struct baton_engine_options *options, baton_engine **ret_engine,
                              struct baton_error *ret_error)
{
    struct baton_engine_options copy;
    baton_err err = options_copy(&copy, options, ret_error);
    baton_engine *engine;

    if (err) {
        return err;
    }
    engine = calloc(1, sizeof(*engine));
    if (!engine) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for an engine");
    }
    engine->options = copy;
    engine_init(engine);
    err = engine_build(engine, ret_error);
    if (err) {
        engine_free(engine);
        return err;
    }
    *ret_engine = engine;
    return BATON_OK;
}

/* ---- ending ---- */

void baton_engine_close(baton_engine *engine)
{
    if (engine_check(engine)) {
        return;
    }
    /* Under the lock: whoever enters a handoff afterwards sees it, whoever did before is in the
     * table. */
    pthread_mutex_lock(&engine->table_lock);
    atomic_store(&engine->closing, true);
    pthread_mutex_unlock(&engine->table_lock);
    loop_wake(engine);
}

static struct timespec deadline_after(int timeout_ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += timeout_ms / 1000;
    at.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (at.tv_nsec >= 1000000000L) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000L;
    }
    return at;
}

static baton_err drain_by_thread(baton_engine *engine, int timeout_ms)
{
    struct timespec at = deadline_after(timeout_ms < 0 ? 0 : timeout_ms);
    int late = 0;

    pthread_mutex_lock(&engine->drain_lock);
    while (atomic_load(&engine->active) > 0 && late == 0) {
        late = timeout_ms < 0 ? pthread_cond_wait(&engine->drained, &engine->drain_lock)
                              : pthread_cond_timedwait(&engine->drained, &engine->drain_lock, &at);
    }
    pthread_mutex_unlock(&engine->drain_lock);
    return atomic_load(&engine->active) > 0 ? BATON_ETIMEOUT : BATON_OK;
}

baton_err baton_engine_drain(baton_engine *engine, int timeout_ms)
{
    uint64_t end_us = clock_now_us() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * 1000;

    if (engine_check(engine)) {
        return BATON_EFORKED;
    }
    if (engine->has_thread) {
        return drain_by_thread(engine, timeout_ms);
    }
    while (atomic_load(&engine->active) > 0) {
        uint64_t now = clock_now_us();

        if (timeout_ms >= 0 && now >= end_us) {
            return BATON_ETIMEOUT;
        }
        loop_step(engine, timeout_ms < 0 ? -1 : (int)((end_us - now + 999) / 1000));
    }
    return BATON_OK;
}

static void stop_thread(baton_engine *engine)
{
    if (engine->has_thread) {
        atomic_store(&engine->stopping, true);
        loop_wake(engine);
        pthread_join(engine->thread, NULL);
        engine->has_thread = false;
    }
}

static void drop_links(baton_engine *engine)
{
    for (uint32_t i = 0; i < engine->links_used; i++) {
        if (engine->links[i].core_knows) {
            link_lose(&engine->links[i], BATON_CAUSE_CLOSING);
        }
    }
    engine_settle(engine);
}

static baton_err why_not_destroy(baton_engine *engine, struct baton_error *ret_error)
{
    unsigned refs = atomic_load(&engine->user_refs), active = atomic_load(&engine->active);
    uint64_t loans = 0;

    if (!atomic_load(&engine->closing)) {
        return error_set(ret_error, BATON_EBUSY, "the engine is not closed: baton_engine_close()");
    }
    for (unsigned i = 0; i < BATON_POOLS_MAX; i++) {
        struct pool_counts counts = {0};

        if (engine->pools[i]) {
            pthread_mutex_lock(&engine->pools[i]->lock);
            pool_counts(engine->pools[i]->book, &counts);
            pthread_mutex_unlock(&engine->pools[i]->lock);
        }
        loans += counts.loans;
    }
    if (active > 0 || loans > 0 || refs > 0) {
        return error_set(ret_error, BATON_EBUSY,
                         "%u handoffs are not quiet (baton_engine_drain), %llu receipts were not "
                         "used (baton_retire), %u references were not dropped "
                         "(baton_handoff_unref)",
                         active, (unsigned long long)loans, refs);
    }
    return BATON_OK;
}

baton_err baton_engine_destroy(baton_engine *engine, struct baton_error *ret_error)
{
    baton_err err;

    if (!engine) {
        return BATON_OK;
    }
    if (engine_check(engine)) {
        return error_set(ret_error, BATON_EFORKED, "the engine belongs to the parent process");
    }
    err = why_not_destroy(engine, ret_error);
    if (err) {
        return err;
    }
    /*
     * Nobody holds the engine any more: no handoff is active, so no window is under way and no
     * mover has work; no caller has a reference, so nobody can ask.  The driver leaves first, then
     * links go, then memory.
     */
    stop_thread(engine);
    loop_asks(engine);
    drop_links(engine);
    engine_free(engine);
    return BATON_OK;
}

void baton_engine_abandon(baton_engine *engine, struct baton_abandoned *ret_abandoned)
{
    struct baton_abandoned kept = {0};

    if (engine_check(engine)) {
        return;
    }
    baton_engine_close(engine);
    stop_thread(engine);
    drop_links(engine);
    for (unsigned i = 0; i < BATON_POOLS_MAX; i++) {
        struct pool_counts counts = {0};

        if (!engine->pools[i]) {
            continue;
        }
        pool_counts(engine->pools[i]->book, &counts);
        if (counts.loans > 0) {
            kept.pools++;
            kept.bytes += engine->pools[i]->bytes;
            kept.handoffs += (unsigned)counts.loans;
        }
    }
    /* The rest is kept on purpose: what could still be touched has to stay. */
    greet_fini(engine);
    stats_fini(engine);
    if (ret_abandoned) {
        *ret_abandoned = kept;
    }
}

/* ---- looking ---- */

int baton_engine_fd(baton_engine *engine)
{
    if (engine_check(engine) || engine->options.progress != BATON_PROGRESS_CALLER) {
        return -1;
    }
    /* From now on it is made readable; what was asked before this call makes it so at once. */
    if (!atomic_exchange(&engine->fd_taken, true)) {
        atomic_store(&engine->asleep, true);
        loop_wake(engine);
    }
    return engine->epoll_fd;
}

baton_err baton_engine_step(baton_engine *engine, int timeout_ms)
{
    if (engine_check(engine)) {
        return BATON_EFORKED;
    }
    if (engine->options.progress != BATON_PROGRESS_CALLER) {
        return BATON_EINVAL;
    }
    loop_step(engine, timeout_ms);
    return BATON_OK;
}

void baton_engine_incarnation(const baton_engine *engine, uint8_t ret_incarnation[16])
{
    memcpy(ret_incarnation, engine->incarnation, ID_BYTES);
}

bool baton_engine_endpoint(const baton_engine *engine, unsigned index, char *ret_endpoint)
{
    if (index >= engine->listeners) {
        return false;
    }
    memcpy(ret_endpoint, engine->listener[index].endpoint, BATON_ENDPOINT_BYTES_MAX);
    return true;
}
