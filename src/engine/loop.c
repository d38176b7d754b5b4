/* SPDX-License-Identifier: Apache-2.0 */
/* The driver: waits for descriptors, asks and clocks, and feeds the core. */
#include "engine/engine.h"
#include "engine/landing.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "util/clock.h"

/* The engine that this thread is driving at the moment. */
static _Thread_local const baton_engine *driven;

bool loop_drives(const baton_engine *engine)
{
    return driven == engine;
}

bool loop_watch(void *arg, struct transport_fd *fd, unsigned events)
{
    baton_engine *engine = arg;
    struct epoll_event event = {.events = events, .data.ptr = fd};

    return epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, fd->fd, &event) == 0;
}

void loop_rewatch(void *arg, struct transport_fd *fd, unsigned events)
{
    baton_engine *engine = arg;
    struct epoll_event event = {.events = events, .data.ptr = fd};
    int failed = epoll_ctl(engine->epoll_fd, EPOLL_CTL_MOD, fd->fd, &event);

    BATON_ASSERT(failed == 0); /* needs no memory for what is watched already */
}

void loop_unwatch(void *arg, struct transport_fd *fd)
{
    baton_engine *engine = arg;

    epoll_ctl(engine->epoll_fd, EPOLL_CTL_DEL, fd->fd, NULL);
    /* Its memory may go next: events of this batch that were not looked at yet must not reach it.
     */
    for (int i = 0; i < engine->batch_count; i++) {
        if (engine->batch[i].data.ptr == fd) {
            engine->batch[i].data.ptr = NULL;
        }
    }
}

static void drain_counter(struct transport_fd *fd, unsigned events)
{
    uint64_t count;
    ssize_t got = read(fd->fd, &count, sizeof(count));

    (void)events;
    (void)got; /* EAGAIN: somebody else's reading is as good */
}

/* Not set any more: the next step sets it. */
static void timer_ready(struct transport_fd *fd, unsigned events)
{
    baton_engine *engine =
        (baton_engine *)(void *)((char *)fd - offsetof(baton_engine, timer_watch));

    drain_counter(fd, events);
    engine->timer_due_us = CORE_NEVER;
}

/*
 * Who wakes writes down that there is something (`woken`), then looks whether the driver sleeps;
 * who wants to sleep says so, then looks whether something was written down.  A driver that is
 * awake costs nobody a system call.
 */
void loop_wake(baton_engine *engine)
{
    const uint64_t one = 1;

    atomic_store(&engine->woken, true);
    if (atomic_load(&engine->asleep) && atomic_exchange(&engine->asleep, false)) {
        ssize_t put = write(engine->wake_fd, &one, sizeof(one));

        (void)put; /* EAGAIN: the counter is full, so it is readable */
    }
}

/* False: there is something to do first. */
static bool may_sleep(baton_engine *engine, bool leave_rings)
{
    bool quiet;

    atomic_store(&engine->asleep, true);
    /* The order to leave may have come before this step forgot that it was woken. */
    quiet = !atomic_load(&engine->woken) && !atomic_load(&engine->stopping);
    return rings_rest(engine, leave_rings) && quiet;
}

baton_err loop_init(baton_engine *engine, struct baton_error *ret_error)
{
    engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    engine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    engine->completion_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    engine->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    engine->wake_watch = (struct transport_fd){.fd = engine->wake_fd, .ready = drain_counter};
    engine->timer_watch = (struct transport_fd){.fd = engine->timer_fd, .ready = timer_ready};
    engine->timer_due_us = CORE_NEVER;
    if (engine->epoll_fd < 0 || engine->wake_fd < 0 || engine->completion_fd < 0 ||
        engine->timer_fd < 0 || !loop_watch(engine, &engine->wake_watch, EPOLLIN) ||
        !loop_watch(engine, &engine->timer_watch, EPOLLIN)) {
        return error_system(ret_error, errno, "can not make the engine's event loop");
    }
    return BATON_OK;
}

void loop_fini(baton_engine *engine)
{
    const int fds[] = {engine->timer_fd, engine->completion_fd, engine->wake_fd, engine->epoll_fd};

    for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

/* ---- asks ---- */

static void answer(struct baton_handoff *h)
{
    unsigned asks = atomic_exchange(&h->asks, 0);
    struct core_event event = {0};

    if (asks & ASK_START) {
        handoff_start(h);
    }
    if (asks & ASK_ADVANCE) {
        event.type = CORE_EVENT_ADVANCE;
        event.advance.id = h->id;
        event.advance.watermark = atomic_load(&h->watermark);
        engine_apply(h->engine, &event);
    }
    if (asks & ASK_CANCEL || (asks & ASK_START && h->engine->closed)) {
        unsigned scope = atomic_load(&h->cancel);

        event.type = CORE_EVENT_CANCEL;
        event.cancel.side = h->side;
        event.cancel.id = h->id;
        event.cancel.scope = scope ? (baton_cancel_scope)(scope - 1) : BATON_CANCEL_ATTEMPT;
        event.cancel.cause = asks & ASK_CANCEL ? BATON_CAUSE_CANCEL : BATON_CAUSE_CLOSING;
        engine_apply(h->engine, &event);
    }
}

/* Everybody is told that the engine closes; other decode servers may fetch what was fetched here.
 */
static void close_all(baton_engine *engine)
{
    const uint32_t count[2] = {engine->options.offers_max, engine->options.fetches_max};

    engine->closed = true;
    for (int side = 0; side < 2; side++) {
        for (uint32_t i = 0; i < count[side]; i++) {
            struct core_event event = {.type = CORE_EVENT_CANCEL};
            struct baton_handoff *h;

            pthread_mutex_lock(&engine->table_lock);
            h = engine->table[side][i];
            pthread_mutex_unlock(&engine->table_lock);
            if (!h) {
                continue;
            }
            /* One that was entered and not started yet is cancelled when it starts; here it is
             * unknown, so inert. */
            event.cancel.side = (enum core_side)side;
            event.cancel.id = h->id;
            event.cancel.scope = BATON_CANCEL_ATTEMPT;
            event.cancel.cause = BATON_CAUSE_CLOSING;
            engine_apply(engine, &event);
        }
    }
}

void loop_asks(baton_engine *engine)
{
    struct baton_handoff *newest, *oldest = NULL;

    newest = atomic_exchange_explicit(&engine->asking, NULL, memory_order_acquire);
    while (newest) {
        struct baton_handoff *next = newest->ask_next;

        newest->ask_next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct baton_handoff *h = oldest;

        oldest = h->ask_next;
        /* From here on it can be pushed again; its bits are read afterwards, so no ask is missed.
         */
        atomic_store(&h->asked, false);
        answer(h);
        handoff_unref(h);
    }
    if (atomic_load(&engine->closing) && !engine->closed) {
        close_all(engine);
    }
}

/* ---- a step ---- */

static void tick(baton_engine *engine, uint64_t now_us)
{
    if (now_us < engine->next_tick_us) {
        return;
    }
    engine->next_tick_us = now_us + ENGINE_TICK_MS * 1000;
    greet_tick(engine, now_us);
    doubt_tick(engine, now_us);
    for (unsigned i = 0; i < BATON_POOLS_MAX; i++) {
        baton_pool *pool;

        pthread_mutex_lock(&engine->table_lock);
        pool = engine->pools[i];
        if (pool) {
            pool_scan(pool);
        }
        pthread_mutex_unlock(&engine->table_lock);
    }
}

/* Nothing needs the tick while there are no handshakes and nothing to scan: an idle engine sleeps.
 */
static bool needs_tick(const baton_engine *engine)
{
    for (unsigned i = 0; i < engine->greeters_used; i++) {
        if (engine->greeters[i].watch.fd >= 0) {
            return true;
        }
    }
    for (uint32_t i = 0; i < engine->links_used; i++) {
        if (engine->links[i].core_knows && !engine->links[i].up) {
            return true;
        }
    }
    for (unsigned i = 0; i < engine->listeners; i++) {
        if (engine->listener[i].paused) {
            return true;
        }
    }
    return engine->doubts || atomic_load(&engine->checked_pools) > 0;
}

static uint64_t next_deadline(const baton_engine *engine)
{
    uint64_t due = core_deadline(engine->core), act = quarantine_due(engine);

    due = act < due ? act : due;
    return needs_tick(engine) && engine->next_tick_us < due ? engine->next_tick_us : due;
}

static int wait_ms(const baton_engine *engine, int timeout_ms, uint64_t now_us)
{
    uint64_t due = next_deadline(engine), wait;

    if (due <= now_us) {
        return 0;
    }
    if (due == CORE_NEVER) {
        return timeout_ms;
    }
    wait = (due - now_us + 999) / 1000;
    if (wait > 3600000) {
        wait = 3600000;
    }
    return timeout_ms < 0 || wait < (uint64_t)timeout_ms ? (int)wait : timeout_ms;
}

/* For a caller that sleeps on our descriptor: make it readable when the next clock runs out. */
static void set_timer(baton_engine *engine)
{
    uint64_t due = next_deadline(engine);
    struct itimerspec at = {0};

    /* Too early does no harm: the step that it causes sets it anew. */
    if (due >= engine->timer_due_us) {
        return;
    }
    engine->timer_due_us = due;
    at.it_value.tv_sec = (time_t)(due / 1000000);
    at.it_value.tv_nsec = (long)(due % 1000000 * 1000) + 1;
    timerfd_settime(engine->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static bool progress(baton_engine *engine)
{
    bool more = false;

    for (unsigned i = 0; i < engine->transport_count; i++) {
        const struct engine_transport *t = &engine->transports[i];

        more = t->ops->progress(t->transport) || more;
    }
    engine_settle(engine);
    return more;
}

static int look(baton_engine *engine)
{
    return epoll_wait(engine->epoll_fd, engine->batch, ENGINE_EVENTS_MAX, 0);
}

/*
 * Looks for work as long as lately was worth it, and lets others on this processor go first: they
 * may be those who bring it.  Who gets it back late shares it with somebody busy, and sleeps for a
 * while instead: a sleeper is woken sooner than it gets its turn.  True: there is work,
 * `*ret_count` events of it.
 */
static bool spin(baton_engine *engine, uint64_t most_us, int *ret_count)
{
    uint64_t now_us = engine->spin_us ? clock_now_us() : 0;
    uint64_t end_us = now_us + (engine->spin_us < most_us ? engine->spin_us : most_us);

    while (now_us < end_us) {
        uint64_t before_us = now_us;

        sched_yield();
        *ret_count = look(engine);
        if (*ret_count != 0 || atomic_load(&engine->woken) || rings_have(engine)) {
            return true;
        }
        now_us = clock_now_us();
        if (now_us - before_us > ENGINE_SPIN_TURN_US) {
            engine->spin_us = 0;
            engine->spin_from_us = now_us + ENGINE_SPIN_PAUSE_US;
        }
    }
    return false;
}

/* A sleep that was short would have been better spent spinning; a long one was right, and the
 * spinning before it was not. */
static void adapt_spin(baton_engine *engine, uint64_t slept_us, uint64_t now_us)
{
    uint64_t most = (uint64_t)engine->options.spin_us;

    if (slept_us > most || now_us < engine->spin_from_us) {
        engine->spin_us = engine->spin_us / 2 < ENGINE_SPIN_US_FIRST ? 0 : engine->spin_us / 2;
        return;
    }
    engine->spin_us = engine->spin_us ? engine->spin_us * 2 : ENGINE_SPIN_US_FIRST;
    engine->spin_us = engine->spin_us < most ? engine->spin_us : most;
}

static int wait_events(baton_engine *engine, int timeout_ms)
{
    int count = look(engine);
    int most_ms = count == 0 && timeout_ms != 0 ? wait_ms(engine, timeout_ms, clock_now_us()) : 0;
    uint64_t most_us = most_ms < 0 ? UINT64_MAX : (uint64_t)most_ms * 1000;

    if (most_ms != 0 && !spin(engine, most_us, &count) && may_sleep(engine, true)) {
        uint64_t from_us = clock_now_us(), now_us;

        stats_publish(engine, true);
        count = epoll_wait(engine->epoll_fd, engine->batch, ENGINE_EVENTS_MAX,
                           wait_ms(engine, timeout_ms, from_us));
        now_us = clock_now_us();
        /* To be woken by a clock is no work that came soon. */
        adapt_spin(engine, count > 0 ? now_us - from_us : UINT64_MAX, now_us);
    }
    atomic_store(&engine->asleep, false);
    return count;
}

void loop_step(baton_engine *engine, int timeout_ms)
{
    const struct core_event time_passes = {.type = CORE_EVENT_TICK};
    const baton_engine *outer = driven;
    uint64_t applied = engine->applied;
    bool busy;

    driven = engine;
    atomic_store(&engine->asleep, false);
    /* First: what is asked from here on keeps the wait below from sleeping. */
    atomic_store(&engine->woken, false);
    loop_asks(engine);
    rings_poll(engine);
    busy = progress(engine);
    link_flush_all(engine);
    /* Who waits for something is told of what was done already. */
    busy = busy || engine->applied != applied;
    engine->batch_count = wait_events(engine, busy ? 0 : timeout_ms);
    for (int i = 0; i < engine->batch_count; i++) {
        struct transport_fd *fd = engine->batch[i].data.ptr;

        if (fd) {
            fd->ready(fd, engine->batch[i].events);
            engine_settle(engine);
            loop_asks(engine); /* a cancel does not wait for the rest of the batch */
        }
    }
    engine->batch_count = 0;
    atomic_store(&engine->woken, false);
    loop_asks(engine);
    rings_poll(engine);
    busy = progress(engine);
    engine_apply(engine, &time_passes);
    /* After all that was read: a peer whose word is here is left alone. */
    quarantine_tick(engine, clock_now_us());
    tick(engine, clock_now_us());
    link_flush_all(engine);
    if (atomic_load(&engine->fd_taken)) {
        /* The caller may sleep on the descriptor until the next step. */
        stats_publish(engine, true);
        set_timer(engine);
        if (!may_sleep(engine, false) || busy) {
            loop_wake(engine);
        }
    } else {
        stats_publish(engine, false);
    }
    driven = outer;
}
