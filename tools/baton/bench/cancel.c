/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cancels up to their receipts.  A flight is so many handoffs as are wanted and a few more.  All
 * are begun before a byte is there, then all bytes are, and everything moves; those few are
 * cancelled one after the other, chosen at random, while the rest goes on: so at each cancel as
 * many as are wanted are in flight.  Then all are cancelled, and the next flight begins.
 *
 * A cancel is timed from the caller's call until the caller, woken by an eventfd that on_quiet
 * wrote, has the receipt: two threads take turns, as they do in the bare round trip that is
 * measured after each of them, in the same flight.  What does not count: cancels of handoffs that
 * had not begun or had ended, and those with too few others in flight.
 */
#include "bench/cancel.h"
#include "bench/pair.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/prng.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 16 << 10,
    FLIGHTS_A_RUN = 5,
    HANDOFFS_A_CANCEL = 16, /* a flight has a cancel for each so many, and at least one */
    PAUSE_NS_MAX = 2000000, /* before a flight's first cancel: moving it takes longer */
};

/* A thread that answers one eventfd with another. */
struct echo {
    int there, back;
    atomic_bool ends;
    pthread_t thread;
};

struct cancelling {
    struct pair pair;
    struct watched watched[BENCH_WATCHED_MAX];
    unsigned watched_made;
    struct echo echo;
    struct prng prng;
    unsigned wanted; /* in flight */
    unsigned each;   /* cancels of a flight */
};

static void *echo_run(void *arg)
{
    struct echo *echo = arg;
    eventfd_t count;

    while (!eventfd_read(echo->there, &count) && !atomic_load(&echo->ends)) {
        eventfd_write(echo->back, 1);
    }
    return NULL;
}

static baton_err echo_start(struct echo *echo, struct baton_error *ret_error)
{
    int reason;

    atomic_init(&echo->ends, false);
    echo->there = eventfd(0, EFD_CLOEXEC);
    echo->back = eventfd(0, EFD_CLOEXEC);
    reason = echo->there < 0 || echo->back < 0
                 ? errno
                 : pthread_create(&echo->thread, NULL, echo_run, echo);
    if (!reason) {
        return BATON_OK;
    }
    if (echo->there >= 0) {
        close(echo->there);
    }
    if (echo->back >= 0) {
        close(echo->back);
    }
    return error_system(ret_error, reason, "a thread with eventfds");
}

static void echo_finish(struct echo *echo)
{
    atomic_store(&echo->ends, true);
    eventfd_write(echo->there, 1);
    pthread_join(echo->thread, NULL);
    close(echo->there);
    close(echo->back);
}

static double us_since(uint64_t start_ns)
{
    return (double)(clock_now_ns() - start_ns) / 1e3;
}

static baton_err bare_sample(struct cancelling *c, struct samples *samples,
                             struct baton_error *ret_error)
{
    uint64_t start_ns = clock_now_ns();
    baton_err err;

    eventfd_write(c->echo.there, 1);
    err = watched_wait_fd(c->echo.back, "echo", ret_error);
    if (!err) {
        samples_add(samples, us_since(start_ns));
    }
    return err;
}

static unsigned flight_size(const struct cancelling *c)
{
    return c->pair.side.setup.handoffs;
}

/* Handoff `index` of a flight: an offer here and its fetch there, or the reverse. */
static baton_err begin(struct cancelling *c, unsigned index, struct baton_error *ret_error)
{
    struct bench_side *side = &c->pair.side;
    size_t count = side->setup.blocks / side->setup.handoffs, first = index * count;
    struct peer_request request = {.first = first, .count = count};
    struct watched *watched = &c->watched[index];
    struct peer_answer answer;
    baton_err err;

    if (side->source) {
        request.kind = PEER_FETCH;
        watched_expect(watched, BATON_STAGE_LEASED);
        err = watched_offer(side, watched, first, count, request.ticket, &request.ticket_length,
                            ret_error);
        return err ? err : pair_ask(&c->pair, &request, &answer, ret_error);
    }
    request.kind = PEER_OFFER;
    err = pair_ask(&c->pair, &request, &answer, ret_error);
    watched_expect(watched, BATON_STAGE_READING);
    return err ? err
               : watched_fetch(side, watched, first, count, answer.ticket, answer.ticket_length,
                               ret_error);
}

static unsigned in_flight(const struct cancelling *c)
{
    unsigned count = 0;

    for (unsigned i = 0; i < flight_size(c); i++) {
        count += !atomic_load(&c->watched[i].decided);
    }
    return count;
}

/* One that was not cancelled before. */
static struct watched *choose(struct cancelling *c)
{
    struct watched *watched;

    do {
        watched = &c->watched[prng_below(&c->prng, flight_size(c))];
    } while (!watched->handoff);
    return watched;
}

/* Whether the cancel fell into the middle of it. */
static bool hit(const struct cancelling *c, const struct watched *watched)
{
    return watched->result.outcome == BATON_CANCELLED &&
           (c->pair.side.source || watched->result.stage == BATON_STAGE_READING);
}

static baton_err cancel_one(struct cancelling *c, struct bench_cancel *result,
                            struct baton_error *ret_error)
{
    struct watched *watched = choose(c);
    bool enough = in_flight(c) >= c->wanted;
    uint64_t start_ns = clock_now_ns();
    double us;
    baton_err err;

    baton_handoff_cancel(watched->handoff, BATON_CANCEL_OFFER);
    err = watched_wait_quiet(&c->pair.side, watched, "receipt after a cancel", ret_error);
    us = us_since(start_ns);
    if (!err) {
        err = watched_retire(watched, ret_error);
    }
    if (!err && enough && hit(c, watched)) {
        samples_add(&result->us, us);
        err = bare_sample(c, &result->bare, ret_error);
    }
    return err;
}

/* Receipts of what is left of a flight, and of its other side. */
static baton_err flight_reap(struct cancelling *c, struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_REAP};
    struct peer_answer answer;
    baton_err err = BATON_OK;

    for (unsigned i = 0; i < flight_size(c) && !err; i++) {
        struct watched *watched = &c->watched[i];

        if (watched->handoff) {
            err = watched_wait_quiet(&c->pair.side, watched, "receipt of a flight", ret_error);
            err = err ? err : watched_retire(watched, ret_error);
        }
    }
    return err ? err : pair_ask(&c->pair, &request, &answer, ret_error);
}

static baton_err flight_end(struct cancelling *c, struct baton_error *ret_error)
{
    for (unsigned i = 0; i < flight_size(c); i++) {
        if (c->watched[i].handoff) {
            baton_handoff_cancel(c->watched[i].handoff, BATON_CANCEL_OFFER);
        }
    }
    return flight_reap(c, ret_error);
}

/* Now everything may move. */
static baton_err flight_advance(struct cancelling *c, struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_ADVANCE};
    struct peer_answer answer;

    for (unsigned i = 0; i < flight_size(c) && c->pair.side.source; i++) {
        watched_advance(&c->watched[i]);
    }
    return c->pair.side.source ? BATON_OK : pair_ask(&c->pair, &request, &answer, ret_error);
}

/* All of it begun, up to where nothing but bytes is missing; then the bytes are there. */
static baton_err flight_begin(struct cancelling *c, struct baton_error *ret_error)
{
    baton_err err = BATON_OK;

    for (unsigned i = 0; i < flight_size(c) && !err; i++) {
        err = begin(c, i, ret_error);
    }
    for (unsigned i = 0; i < flight_size(c) && !err; i++) {
        err = watched_wait_step(&c->pair.side, &c->watched[i], ret_error);
    }
    return err ? err : flight_advance(c, ret_error);
}

/* One that nobody cancels: makes the link and all that moves bytes over it, and touches the memory.
 */
static baton_err flight_whole(struct cancelling *c, struct baton_error *ret_error)
{
    baton_err err = flight_begin(c, ret_error);

    return err ? err : flight_reap(c, ret_error);
}

static baton_err flight(struct cancelling *c, bool stop, struct bench_cancel *result,
                        struct baton_error *ret_error)
{
    struct timespec pause = {.tv_nsec = (long)prng_below(&c->prng, PAUSE_NS_MAX)};
    baton_err err = flight_begin(c, ret_error);

    nanosleep(&pause, NULL);
    if (!err && stop) {
        err = pair_stop(&c->pair, ret_error);
    }
    for (unsigned i = 0; i < c->each && !err; i++) {
        err = cancel_one(c, result, ret_error);
    }
    pair_continue(&c->pair);
    return err ? err : flight_end(c, ret_error);
}

static void cancel_fini(struct bench_cancel *cancel)
{
    samples_fini(&cancel->us);
    samples_fini(&cancel->bare);
    samples_fini(&cancel->ratio);
}

static void samples_move(struct samples *to, struct samples *from)
{
    for (size_t i = 0; i < from->count; i++) {
        samples_add(to, from->values[i]);
    }
    samples_fini(from);
}

/* What one run found, into what all found. */
static void run_add(struct bench_cancel *all, struct bench_cancel *run)
{
    double bare = samples_percentile(&run->bare, 50);

    if (bare > 0) {
        samples_add(&all->ratio, samples_percentile(&run->us, 50) / bare);
    }
    samples_move(&all->us, &run->us);
    samples_move(&all->bare, &run->bare);
}

/*
 * What NIXL has posted to a process that stands is not over before that goes on: there is no
 * receipt to wait for, but of an offer that its reader reads by itself, which is revoked.
 */
static bool ends_while_stopped(const struct bench_side *side)
{
    return side->setup.transport != BENCH_NIXL || (side->source && !side->setup.push);
}

/* Live and stopped in turns. */
static baton_err runs_measure(struct cancelling *c, unsigned runs, struct bench_cancel all[2],
                              struct baton_error *ret_error)
{
    bool stops = ends_while_stopped(&c->pair.side);
    baton_err err = BATON_OK;

    for (unsigned i = 0; i < runs && !err; i++) {
        struct bench_cancel run[2] = {0};

        for (unsigned turn = 0; turn < 2 * FLIGHTS_A_RUN && !err; turn++) {
            err = turn % 2 && !stops ? BATON_OK : flight(c, turn % 2, &run[turn % 2], ret_error);
        }
        run_add(&all[false], &run[false]);
        run_add(&all[true], &run[true]);
    }
    return err;
}

/* Cancels of fetches in this process, or of offers while the other process reads them. */
static baton_err part_measure(struct cancelling *c, const struct bench_setup *setup, unsigned runs,
                              struct bench_cancel all[2], struct baton_error *ret_error)
{
    baton_err end_err, err = pair_start(&c->pair, setup, ret_error);

    if (err) {
        return err;
    }
    err = echo_start(&c->echo, ret_error);
    if (!err) {
        err = flight_whole(c, ret_error);
        if (!err) {
            err = runs_measure(c, runs, all, ret_error);
        }
        echo_finish(&c->echo);
    }
    end_err = pair_end(&c->pair, err ? NULL : ret_error);
    return err ? err : end_err;
}

baton_err cancels_measure(enum bench_transport transport, const struct bench_options *options,
                          struct bench_cancels *ret_cancels, struct baton_error *ret_error)
{
    static struct cancelling c;
    unsigned each = options->cancel_handoffs / HANDOFFS_A_CANCEL;
    struct bench_setup setup = {.transport = transport,
                                .push = options->push,
                                .host = options->host,
                                .trace = true,
                                .held = true,
                                .movers = bench_movers(transport, options->movers[0]),
                                .block_bytes = BLOCK_BYTES,
                                .seed = 1};
    baton_err err = BATON_OK;

    *ret_cancels =
        (struct bench_cancels){.transport = transport, .handoffs = options->cancel_handoffs};
    each = each < 1 ? 1 : each > BENCH_CANCELS_A_FLIGHT ? BENCH_CANCELS_A_FLIGHT : each;
    c = (struct cancelling){.wanted = options->cancel_handoffs, .each = each};
    setup.handoffs = c.wanted + each - 1;
    setup.blocks = bench_blocks_each(options->bytes, BLOCK_BYTES, setup.handoffs) * setup.handoffs;
    prng_init(&c.prng, 1);
    while (c.watched_made < setup.handoffs && !err) {
        err = watched_init(&c.watched[c.watched_made], ret_error);
        c.watched_made += !err;
    }
    for (unsigned source = 0; source < 2 && !err; source++) {
        setup.child_reads = source;
        err = part_measure(&c, &setup, options->runs, ret_cancels->of[source], ret_error);
    }
    for (unsigned i = 0; i < c.watched_made; i++) {
        watched_fini(&c.watched[i]);
    }
    return err;
}

void bench_cancels_fini(struct bench_cancels *cancels)
{
    for (unsigned i = 0; i < 4; i++) {
        cancel_fini(&cancels->of[i / 2][i % 2]);
    }
}
