/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three threads make handoffs at random and cancel them at random, for some seconds, in pools that
 * are checked for late bytes.  BATON_STRESS_SEED replays the choices of a run; threads are still
 * scheduled as they please.
 */
#include "scenario/pair.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { WORKERS = 3, STRESS_MS = 600, FLIGHT = 6, BLOCKS_MAX = 8 };

struct worker {
    struct pair *pair;
    uint64_t seed, contents;
    uint64_t until_ns;
    unsigned bad, completed, ended;
    struct worker *next; /* whose handoffs it also cancels */
    struct flight {
        struct end offer, fetch;
        pthread_mutex_t lock; /* of the two handles, against the other worker's cancel */
        bool is_live;
    } flights[FLIGHT];
};

static uint64_t draw(struct worker *worker)
{
    worker->seed += 0x9e3779b97f4a7c15u;
    uint64_t x = worker->seed;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint32_t maybe_ms(struct worker *worker)
{
    return draw(worker) % 4 ? 0 : 1 + (uint32_t)(draw(worker) % 8);
}

static void cancel_someones(struct worker *worker)
{
    struct flight *flight = &worker->flights[draw(worker) % FLIGHT];

    if (draw(worker) % 3 == 0) {
        flight = &worker->next->flights[draw(worker) % FLIGHT];
    }
    pthread_mutex_lock(&flight->lock);
    if (flight->is_live) {
        struct end *end = draw(worker) % 2 ? &flight->offer : &flight->fetch;

        baton_handoff_cancel(end->handoff, (baton_cancel_scope)(draw(worker) % 2));
    }
    pthread_mutex_unlock(&flight->lock);
}

static void land(struct worker *worker, struct flight *flight)
{
    struct end *offer = &flight->offer, *fetch = &flight->fetch;

    end_retire(fetch);
    if (fetch->result.outcome == BATON_COMPLETED) {
        worker->completed++;
        worker->bad += !end_holds(fetch, offer->content, 0);
    }
    worker->ended++;
    end_fill(fetch, draw(worker));
    baton_handoff_cancel(offer->handoff, BATON_CANCEL_OFFER);
    end_retire(offer);
    worker->bad +=
        fetch->result.outcome == BATON_COMPLETED && offer->result.outcome != BATON_COMPLETED;
    end_fill(offer, draw(worker));
    pthread_mutex_lock(&flight->lock);
    flight->is_live = false;
    end_drop(fetch);
    end_drop(offer);
    pthread_mutex_unlock(&flight->lock);
}

static void take_off(struct worker *worker, struct flight *flight)
{
    size_t count = 1 + draw(worker) % BLOCKS_MAX;
    struct baton_offer_args offer = {.reader_timeout_ms = maybe_ms(worker),
                                     .lease_timeout_ms = maybe_ms(worker),
                                     .whole_timeout_ms = maybe_ms(worker),
                                     .watermark_bytes = draw(worker) % 2 ? BATON_WATERMARK_END
                                                                         : draw(worker) % 4096};
    struct baton_fetch_args fetch = {.opening_timeout_ms = maybe_ms(worker),
                                     .bytes_timeout_ms = maybe_ms(worker),
                                     .progress_timeout_ms = maybe_ms(worker),
                                     .commit_timeout_ms = maybe_ms(worker),
                                     .whole_timeout_ms = maybe_ms(worker)};

    flight->offer = flight->fetch = (struct end){0};
    worker->bad +=
        offer_start(worker->pair, &flight->offer, count, ++worker->contents, &offer) != BATON_OK;
    worker->bad +=
        fetch_start(worker->pair, &flight->fetch, &flight->offer.ticket, count, &fetch) != BATON_OK;
    pthread_mutex_lock(&flight->lock);
    flight->is_live = true;
    pthread_mutex_unlock(&flight->lock);
}

static void *work(void *arg)
{
    struct worker *worker = arg;

    while (now_ns() < worker->until_ns) {
        struct flight *flight = &worker->flights[draw(worker) % FLIGHT];

        if (!flight->is_live) {
            take_off(worker, flight);
        } else if (draw(worker) % 3 == 0) {
            baton_offer_advance(flight->offer.handoff,
                                draw(worker) % 2 ? BATON_WATERMARK_END : draw(worker) % 9999);
        } else if (draw(worker) % 2) {
            cancel_someones(worker);
        } else {
            baton_offer_advance(flight->offer.handoff, BATON_WATERMARK_END);
            land(worker, flight);
        }
    }
    for (unsigned i = 0; i < FLIGHT; i++) {
        if (worker->flights[i].is_live) {
            baton_offer_advance(worker->flights[i].offer.handoff, BATON_WATERMARK_END);
            land(worker, &worker->flights[i]);
        }
    }
    return NULL;
}

static void stress(const struct kind *kind, uint64_t seed)
{
    static struct worker workers[WORKERS];
    pthread_t threads[WORKERS];
    struct pair pair;
    unsigned bad = 0, ended = 0, completed = 0;

    pair_open(&pair, &(struct pair_setup){.kind = kind,
                                          .block_count = WORKERS * FLIGHT * BLOCKS_MAX,
                                          .pool_flags = BATON_POOL_CHECK,
                                          .sink.window_bytes = 16384,
                                          .sink.slice_bytes = 4096});
    pair.shared = true;
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.pair = &pair,
                                     .seed = seed + i,
                                     .contents = seed + i * 1000000,
                                     .next = &workers[(i + 1) % WORKERS],
                                     .until_ns = now_ns() + STRESS_MS * 1000000ull};
        for (unsigned f = 0; f < FLIGHT; f++) {
            pthread_mutex_init(&workers[i].flights[f].lock, NULL);
        }
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        bad += workers[i].bad;
        ended += workers[i].ended;
        completed += workers[i].completed;
    }
    baton_pool_verify(pair.source_pool);
    baton_pool_verify(pair.sink_pool);
    if (!CHECK_ON(&pair, bad == 0) || !CHECK_ON(&pair, completed > 0) ||
        !CHECK_ON(&pair, ended > completed)) {
        printf("    %u ended, %u completed; replay with BATON_STRESS_SEED=%llu\n", ended, completed,
               (unsigned long long)seed);
    }
    pair_close(&pair);
}

/* Offers, fetches, clocks and cancels of three threads: every byte right, every block back. */
TEST(random_handoffs_of_three_threads)
{
    static const unsigned stress_kinds[] = {0, 1, 2, 3};
    const char *text = getenv("BATON_STRESS_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 10) : now_ns();

    for (unsigned i = 0; i < sizeof(stress_kinds) / sizeof(stress_kinds[0]); i++) {
        stress(&kinds[stress_kinds[i]], seed);
    }
}
