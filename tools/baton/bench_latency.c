/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long single things take.  A cancel is timed from the caller's call until the caller, woken by
 * an eventfd that on_quiet wrote, has the receipt: two threads take turns, as they do in the bare
 * round trip that is measured next to each of them.  Only cancels that fell in the middle of
 * reading count; the moment is random.
 */
#include "bench_latency.h"
#include "bench_pair.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/prng.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 16 << 10,
    BLOCKS = (64 << 20) / BLOCK_BYTES,
    FETCHES_A_RUN = 100,
    CANCELS_A_RUN = 30,
    PAUSE_NS_MAX = 3000000, /* after the lease: reading 64 MiB takes longer */
};

/* A thread that answers one eventfd with another. */
struct echo {
    int there, back;
    atomic_bool ends;
    pthread_t thread;
};

struct latency {
    struct pair pair;
    struct watched watched;
    struct echo echo;
    struct prng prng;
    struct bench_times *times;
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

static baton_err bare_sample(struct latency *latency, struct baton_error *ret_error)
{
    uint64_t start_ns = clock_now_ns();
    baton_err err;

    eventfd_write(latency->echo.there, 1);
    err = watched_wait(latency->echo.back, "echo", ret_error);
    if (!err) {
        samples_add(&latency->times->bare_wakeup, us_since(start_ns));
    }
    return err;
}

/* Before the handoff is started: which step watched_wait_step() will wait for. */
static void step_expect(struct watched *watched, baton_stage step, uint64_t bytes)
{
    watched->step = step;
    watched->step_bytes = bytes;
}

/* One block, from the call until its COMPLETED is in the caller's hands. */
static baton_err fetch_sample(struct latency *latency, size_t block, struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_OFFER, .first = block, .count = 1};
    struct watched *watched = &latency->watched;
    struct peer_answer answer;
    uint64_t start_ns;
    baton_err err = pair_ask(&latency->pair, &request, &answer, ret_error);

    if (err) {
        return err;
    }
    watched->tell_outcome = true;
    start_ns = clock_now_ns();
    err = watched_fetch(&latency->pair.side, watched, block, 1, answer.ticket, answer.ticket_length,
                        ret_error);
    if (err) {
        return err;
    }
    err = watched_wait(watched->outcome_fd, "outcome of a fetch", ret_error);
    if (err) {
        return err;
    }
    samples_add(&latency->times->fetch, us_since(start_ns));
    err = watched_wait(watched->quiet_fd, "receipt of a fetch", ret_error);
    watched->tell_outcome = false;
    if (!err && watched->result.outcome != BATON_COMPLETED) {
        err = error_set(ret_error, BATON_EINVAL, "a fetch of one block ended as %s (%s)",
                        baton_outcome_name(watched->result.outcome),
                        baton_cause_name(watched->result.cause));
    }
    if (!err) {
        err = watched_retire(watched, ret_error);
    }
    request.kind = PEER_REAP;
    return err ? err : pair_ask(&latency->pair, &request, &answer, ret_error);
}

/* Cancel the watched handoff now, and wait for its receipt; use it. */
static baton_err cancel_timed(struct latency *latency, bool stop, double *ret_us,
                              struct baton_error *ret_error)
{
    struct watched *watched = &latency->watched;
    uint64_t start_ns;
    baton_err err = BATON_OK;

    if (stop) {
        err = pair_stop(&latency->pair, ret_error);
    }
    if (err) {
        return err;
    }
    start_ns = clock_now_ns();
    baton_handoff_cancel(watched->handoff, BATON_CANCEL_OFFER);
    err = watched_wait(watched->quiet_fd, "receipt after a cancel", ret_error);
    *ret_us = us_since(start_ns);
    pair_continue(&latency->pair);
    return err ? err : watched_retire(watched, ret_error);
}

/* Cancel a fetch in the middle of its reading. */
static baton_err cancel_sample(struct latency *latency, bool stop, struct baton_error *ret_error)
{
    const struct bench_setup *setup = &latency->pair.side.setup;
    struct peer_request request = {.kind = PEER_OFFER, .count = setup->blocks};
    uint64_t half = setup->blocks * setup->block_bytes / 2;
    struct watched *watched = &latency->watched;
    struct peer_answer answer;
    double us = 0;
    baton_err err = pair_ask(&latency->pair, &request, &answer, ret_error);

    if (err) {
        return err;
    }
    step_expect(watched, BATON_STAGE_READING, 1 + prng_below(&latency->prng, half));
    err = watched_fetch(&latency->pair.side, watched, 0, setup->blocks, answer.ticket,
                        answer.ticket_length, ret_error);
    if (!err) {
        err = watched_wait_step(watched, ret_error);
    }
    if (!err) {
        err = cancel_timed(latency, stop, &us, ret_error);
    }
    if (!err && watched->result.outcome == BATON_CANCELLED &&
        watched->result.stage == BATON_STAGE_READING) {
        samples_add(stop ? &latency->times->cancel_stopped : &latency->times->cancel, us);
    }
    request.kind = PEER_REAP;
    return err ? err : pair_ask(&latency->pair, &request, &answer, ret_error);
}

/* Cancel an offer while the other process reads it. */
static baton_err reclaim_sample(struct latency *latency, bool stop, struct baton_error *ret_error)
{
    const struct bench_setup *setup = &latency->pair.side.setup;
    struct peer_request request = {.kind = PEER_FETCH, .count = setup->blocks};
    struct timespec pause = {.tv_nsec = (long)prng_below(&latency->prng, PAUSE_NS_MAX)};
    struct watched *watched = &latency->watched;
    struct peer_answer answer;
    double us = 0;
    baton_err err;

    step_expect(watched, BATON_STAGE_LEASED, 0);
    err = watched_offer(&latency->pair.side, watched, 0, setup->blocks, request.ticket,
                        &request.ticket_length, ret_error);
    if (!err) {
        err = pair_ask(&latency->pair, &request, &answer, ret_error);
    }
    if (!err) {
        err = watched_wait_step(watched, ret_error);
    }
    nanosleep(&pause, NULL);
    if (!err) {
        err = cancel_timed(latency, stop, &us, ret_error);
    }
    request.kind = PEER_REAP;
    if (!err) {
        err = pair_ask(&latency->pair, &request, &answer, ret_error);
    }
    if (!err && answer.outcome == BATON_PEER_CANCELLED && answer.bytes_landed > 0) {
        samples_add(stop ? &latency->times->reclaim_stopped : &latency->times->reclaim, us);
    }
    return err;
}

/* Live and stopped in turns, and after each a bare round trip. */
static baton_err cancels_measure(struct latency *latency, unsigned count,
                                 baton_err (*sample)(struct latency *, bool, struct baton_error *),
                                 struct baton_error *ret_error)
{
    baton_err err = BATON_OK;

    for (unsigned i = 0; i < 2 * count && !err; i++) {
        err = sample(latency, i % 2, ret_error);
        if (!err) {
            err = bare_sample(latency, ret_error);
        }
    }
    return err;
}

static baton_err fetches_measure(struct latency *latency, unsigned count,
                                 struct baton_error *ret_error)
{
    double seconds;
    /* Makes the link, and touches all memory. */
    baton_err err = pair_move(&latency->pair, &latency->watched, &seconds, ret_error);

    for (unsigned i = 0; i < count && !err; i++) {
        err = fetch_sample(latency, prng_below(&latency->prng, BLOCKS), ret_error);
    }
    return err;
}

/* All times with the parent as the reader, or all with the child as the reader. */
static baton_err part_measure(struct latency *latency, const struct bench_setup *setup,
                              unsigned runs, struct baton_error *ret_error)
{
    baton_err end_err, err = watched_init(&latency->watched, ret_error);

    if (err) {
        return err;
    }
    err = pair_start(&latency->pair, setup, ret_error);
    if (err) {
        goto fini_watched;
    }
    err = echo_start(&latency->echo, ret_error);
    if (err) {
        goto end_pair;
    }
    if (setup->child_reads) {
        err = cancels_measure(latency, runs * CANCELS_A_RUN, reclaim_sample, ret_error);
    } else {
        err = fetches_measure(latency, runs * FETCHES_A_RUN, ret_error);
        if (!err) {
            err = cancels_measure(latency, runs * CANCELS_A_RUN, cancel_sample, ret_error);
        }
    }
    echo_finish(&latency->echo);
end_pair:
    end_err = pair_end(&latency->pair, err ? NULL : ret_error);
    err = err ? err : end_err;
fini_watched:
    watched_fini(&latency->watched);
    return err;
}

baton_err latency_measure(enum bench_transport transport, const struct bench_options *options,
                          struct bench_times *ret_times, struct baton_error *ret_error)
{
    struct bench_setup setup = {.transport = transport,
                                .trace = true,
                                .handoffs = 1,
                                .movers = options->movers,
                                .block_bytes = BLOCK_BYTES,
                                .blocks = BLOCKS,
                                .seed = 1};
    struct latency latency = {.times = ret_times};
    baton_err err;

    *ret_times = (struct bench_times){.transport = transport};
    prng_init(&latency.prng, 1);
    err = part_measure(&latency, &setup, options->runs, ret_error);
    if (!err) {
        setup.child_reads = true;
        err = part_measure(&latency, &setup, options->runs, ret_error);
    }
    return err;
}
