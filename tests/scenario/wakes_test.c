/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wakes: engines driven in every way, each against each, by drivers that sleep whenever they can.
 * No clock of an engine runs here, so a wake that is lost leaves a handoff without its end.  And
 * windows that the driver copies itself, cut off at every moment.
 */
#include "scenario/pair.h"

#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

enum {
    HANDOFFS = 60, /* of each pair of drivers, one after the other */
    WORKERS = 4,
    WORKER_HANDOFFS = 60,
    CUTS = 60,
    STEPS = 30,
    STEP_NS_MAX = 3000000, /* of a step that may wait 1 ms */
    SPIN_US_MAX = 100000,
};

static const struct kind by_thread = {"a thread, shm",       "shm", BATON_LINK_AUTO,
                                      BATON_PROGRESS_THREAD, 0,     false};
static const struct kind by_caller = {"a caller, shm",       "shm", BATON_LINK_AUTO,
                                      BATON_PROGRESS_CALLER, 0,     false};

/* How a caller drives. */
enum way { WAY_STEP, WAY_POLL, WAY_FD, WAY_LATE_FD, WAY_MIXED, WAYS };

static const char *const way_names[] = {"step", "poll", "fd", "late fd", "mixed"};

struct driver {
    baton_engine *engine;
    enum way way;
    int cpu; /* -1: any */
    atomic_bool stop;
    pthread_t thread;
};

static uint64_t draw(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void step_by_fd(baton_engine *engine)
{
    struct pollfd readable = {.fd = baton_engine_fd(engine), .events = POLLIN};

    poll(&readable, 1, -1);
    CHECK(baton_engine_step(engine, 0) == BATON_OK);
}

static void *drive(void *arg)
{
    struct driver *driver = arg;
    baton_engine *engine = driver->engine;
    cpu_set_t cpus;
    uint64_t seed = (uint64_t)driver->way, turn = 0;

    CPU_ZERO(&cpus);
    CPU_SET(driver->cpu < 0 ? 0 : (unsigned)driver->cpu, &cpus);
    if (driver->cpu >= 0) {
        sched_setaffinity(0, sizeof(cpus), &cpus);
    }
    while (!driver->stop) {
        unsigned what = driver->way == WAY_STEP                      ? 0
                        : driver->way == WAY_POLL                    ? 1
                        : driver->way == WAY_FD                      ? 2
                        : driver->way == WAY_LATE_FD && turn++ < 400 ? 1
                        : driver->way == WAY_LATE_FD                 ? 2
                                                                     : (unsigned)(draw(&seed) % 3);

        if (what == 0) {
            CHECK(baton_engine_step(engine, -1) == BATON_OK);
        } else if (what == 1) {
            CHECK(baton_engine_step(engine, 0) == BATON_OK);
            sched_yield();
        } else {
            step_by_fd(engine);
        }
    }
    return NULL;
}

static void drivers_start(struct pair *pair, struct driver driver[2])
{
    driver[0].engine = pair->source;
    driver[1].engine = pair->sink;
    /* The pair does not step them, nor does it take their descriptors. */
    pair->source_frozen = pair->sink_frozen = true;
    for (unsigned i = 0; i < 2; i++) {
        driver[i].stop = false;
        CHECK(pthread_create(&driver[i].thread, NULL, drive, &driver[i]) == 0);
    }
}

/* Closing wakes a driver that sleeps; there is nothing more to do then. */
static void drivers_stop(struct driver driver[2])
{
    for (unsigned i = 0; i < 2; i++) {
        driver[i].stop = true;
        baton_engine_close(driver[i].engine);
        pthread_join(driver[i].thread, NULL);
    }
}

/* One offer, one fetch, and perhaps a cancel of either at some time. */
static bool hand_off(struct pair *pair, uint64_t *seed)
{
    const struct baton_offer_args args = {.watermark_bytes =
                                              draw(seed) % 2 ? BATON_WATERMARK_END : 8};
    struct end offer = {0}, fetch = {0};
    unsigned wait = (unsigned)(draw(seed) % 3000);
    bool ended;

    CHECK(offer_start(pair, &offer, 1 + draw(seed) % 4, 1, &args) == BATON_OK);
    CHECK(fetch_start(pair, &fetch, &offer.ticket, offer.block_count, NULL) == BATON_OK);
    for (volatile unsigned i = 0; i < wait; i++) {
    }
    switch (draw(seed) % 4) {
    case 0:
        baton_handoff_cancel(fetch.handoff, BATON_CANCEL_OFFER);
        break;
    case 1:
        baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
        break;
    default:
        baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
    }
    ended = end_wait_quiet(&fetch) && end_wait_quiet(&offer);
    CHECK(fetch.result.outcome != BATON_COMPLETED || end_holds(&fetch, 1, 0));
    end_finish(&fetch);
    end_finish(&offer);
    return ended;
}

static void run_ways(const struct kind *kind, struct driver driver[2], int spin_us)
{
    struct pair_setup setup = {.kind = kind, .source.spin_us = spin_us, .sink.spin_us = spin_us};
    struct pair pair;
    uint64_t seed = (uint64_t)(driver[0].way * WAYS + driver[1].way);
    bool ended = true;

    pair_open(&pair, &setup);
    drivers_start(&pair, driver);
    for (unsigned i = 0; i < HANDOFFS && ended; i++) {
        ended = hand_off(&pair, &seed);
    }
    drivers_stop(driver);
    if (!CHECK(ended)) {
        printf("    source by %s, sink by %s, spin_us %d\n", way_names[driver[0].way],
               way_names[driver[1].way], spin_us);
    }
    pair_close(&pair);
}

/* Every way against every way: each handoff ends, whoever sleeps when. */
TEST(no_wake_is_lost_whoever_drives_how)
{
    const int spins[] = {-1, 0, SPIN_US_MAX};

    for (unsigned spin = 0; spin < 3; spin++) {
        for (unsigned i = 0; i < WAYS * WAYS; i++) {
            struct driver driver[2] = {{.way = i / WAYS, .cpu = -1}, {.way = i % WAYS, .cpu = -1}};

            run_ways(&by_caller, driver, spins[spin]);
        }
    }
}

/* The same on one processor, where nobody sees what the other is about to do. */
TEST(no_wake_is_lost_on_one_processor)
{
    for (unsigned i = 0; i < WAYS; i++) {
        struct driver driver[2] = {{.way = i, .cpu = 0}, {.way = (i + 1) % WAYS, .cpu = 0}};

        run_ways(&by_caller, driver, 0);
    }
}

struct worker {
    struct pair *pair;
    uint64_t seed;
    bool ended;
    pthread_t thread;
};

static void *work(void *arg)
{
    struct worker *worker = arg;

    worker->ended = true;
    for (unsigned i = 0; i < WORKER_HANDOFFS && worker->ended; i++) {
        worker->ended = hand_off(worker->pair, &worker->seed);
    }
    return NULL;
}

static void run_workers(struct pair *pair)
{
    struct worker worker[WORKERS];

    pair->shared = true;
    for (unsigned i = 0; i < WORKERS; i++) {
        worker[i] = (struct worker){.pair = pair, .seed = i};
        CHECK(pthread_create(&worker[i].thread, NULL, work, &worker[i]) == 0);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_join(worker[i].thread, NULL);
        CHECK_ON(pair, worker[i].ended);
    }
}

/* Four threads submit, advance and cancel while each engine is driven by one. */
TEST(no_wake_is_lost_with_four_callers)
{
    for (unsigned i = 0; i <= WAYS; i++) {
        struct driver driver[2] = {{.way = i % WAYS, .cpu = -1}, {.way = WAY_STEP, .cpu = -1}};
        struct pair pair;

        pair_open(&pair, &(struct pair_setup){.kind = i < WAYS ? &by_caller : &by_thread});
        if (i < WAYS) {
            drivers_start(&pair, driver);
        }
        run_workers(&pair);
        if (i < WAYS) {
            drivers_stop(driver);
        }
        pair_close(&pair);
    }
}

/* ---- time ---- */

static uint64_t used_ns(void)
{
    struct timespec used;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

/* A step returns when its time is over, also if the engine may spin for longer than that.  The time
 * of the processor is looked at, which others can not make longer. */
TEST(a_step_spins_no_longer_than_it_may_wait)
{
    struct pair_setup setup = {.kind = &by_caller, .sink.spin_us = SPIN_US_MAX};
    uint64_t longest_ns = 0;
    struct pair pair;

    pair_open(&pair, &setup);
    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t from_ns = used_ns(), step_ns;

        CHECK(baton_engine_step(pair.sink, 1) == BATON_OK);
        step_ns = used_ns() - from_ns;
        longest_ns = step_ns > longest_ns ? step_ns : longest_ns;
    }
    if (!CHECK(longest_ns < STEP_NS_MAX)) {
        printf("    %llu us\n", (unsigned long long)longest_ns / 1000);
    }
    pair_close(&pair);
}

/* ---- small windows ---- */

static void cut(struct pair *pair, unsigned how, uint64_t *seed)
{
    struct baton_offer_args args = {.watermark_bytes = how % 2 ? 8 : BATON_WATERMARK_END};
    struct end offer = {0}, fetch = {0};
    unsigned wait = (unsigned)(draw(seed) % 60000);

    CHECK_ON(pair, offer_start(pair, &offer, 4, how, &args) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, &fetch, &offer.ticket, 4, NULL) == BATON_OK);
    for (volatile unsigned i = 0; i < wait; i++) {
        if (how % 2 && i % 512 == 0) {
            baton_offer_advance(offer.handoff, i / 8); /* a layer, some bytes long */
        }
    }
    baton_handoff_cancel(how % 4 < 2 ? fetch.handoff : offer.handoff, BATON_CANCEL_OFFER);
    end_retire(&fetch);
    /* The blocks are the test's again: who writes there now writes late. */
    end_fill(&fetch, 99);
    end_retire(&offer);
    CHECK_ON(pair, end_holds(&fetch, 99, 0) && end_holds(&offer, how, 0));
    end_drop(&fetch);
    end_drop(&offer);
}

/* Windows of one slice or less, cancelled at any moment: quiet is quiet. */
TEST(a_small_window_is_quiet_after_its_receipt)
{
    const int movers[] = {-1, 1, BATON_MOVERS_MAX};
    const uint32_t slices[] = {4096, 1 << 20};

    for (unsigned i = 0; i < 6; i++) {
        struct pair_setup setup = {.kind = &by_thread,
                                   .sink.movers = movers[i % 3],
                                   .sink.slice_bytes = slices[i / 3],
                                   .pool_flags = BATON_POOL_CHECK};
        struct pair pair;
        uint64_t seed = i;

        pair_open(&pair, &setup);
        for (unsigned k = 0; k < CUTS; k++) {
            cut(&pair, k, &seed);
        }
        pair_close(&pair);
    }
}

/* The same when the engine at either end closes. */
TEST(a_small_window_ends_with_its_engine)
{
    for (unsigned i = 0; i < 16; i++) {
        struct pair_setup setup = {.kind = &by_thread,
                                   .sink.movers = i % 4 < 2 ? 1 : BATON_MOVERS_MAX,
                                   .sink.slice_bytes = i % 8 < 4 ? 4096 : 1 << 20,
                                   .pool_flags = BATON_POOL_CHECK};
        struct end offer[4] = {{0}}, fetch[4] = {{0}};
        struct pair pair;

        pair_open(&pair, &setup);
        for (unsigned k = 0; k < 4; k++) {
            CHECK(offer_start(&pair, &offer[k], 4, k, NULL) == BATON_OK);
            CHECK(fetch_start(&pair, &fetch[k], &offer[k].ticket, 4, NULL) == BATON_OK);
        }
        for (volatile unsigned wait = i * 4000; wait > 0; wait--) {
        }
        baton_engine_close(i % 2 ? pair.source : pair.sink);
        baton_engine_close(i % 2 ? pair.sink : pair.source);
        for (unsigned k = 0; k < 4; k++) {
            end_finish(&fetch[k]);
            end_finish(&offer[k]);
        }
        pair_close(&pair);
    }
}
