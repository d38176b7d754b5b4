/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One block of 16 KiB, from the call of fetch until its COMPLETED is in the caller's hands: the
 * link exists and the ticket is in hand.  Measured in batches: the tickets of a batch are fetched
 * before it.  Driven by callers that poll, source and sink each on its own core, in turns with raw
 * round trips between the same processes and blocks (neither on a single CPU); and by Baton's own
 * threads, where the caller sleeps until on_outcome wakes it.
 */
#include "bench/latency.h"
#include "bench/machine.h"
#include "bench/pair.h"
#include "util/clock.h"

#include <time.h>

enum {
    BLOCK_BYTES = 16 << 10,
    BLOCKS = 256,
    BATCH = 64,
    BATCHES_A_RUN = 2,
    PAUSE_NS = 30000, /* before each */
};

static const struct raw_config trip_config = {
    .polled = true, .connections = 1, .call_bytes = BLOCK_BYTES};
static const struct raw_trip block_trip = {.there_bytes = 48, .back_bytes = 64, .block = true};
static const struct raw_trip small_trip = {.there_bytes = 64, .back_bytes = 64};

struct latency {
    struct pair pair;
    struct watched watched;
    struct spinners spinners;
    struct bench_latency *result;
    struct peer_answer offers[BATCH];
    size_t next; /* block */
};

static double us_since(uint64_t start_ns)
{
    return (double)(clock_now_ns() - start_ns) / 1e3;
}

/* A caller that polls drives its engine meanwhile; others sleep. */
static void pause_briefly(struct latency *latency)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    uint64_t start_ns = clock_now_ns();

    if (!latency->pair.side.setup.polled) {
        nanosleep(&pause, NULL);
        return;
    }
    while (clock_now_ns() - start_ns < PAUSE_NS) {
        baton_engine_step(latency->pair.side.engine, 0);
    }
}

/* `samples` may be NULL. */
static baton_err fetch_one(struct latency *latency, size_t block, const struct peer_answer *offer,
                           struct samples *samples, struct baton_error *ret_error)
{
    struct bench_side *side = &latency->pair.side;
    struct watched *watched = &latency->watched;
    baton_err err =
        watched_fetch(side, watched, block, 1, offer->ticket, offer->ticket_length, ret_error);

    if (!err) {
        err = watched_wait_outcome(side, watched, "outcome of a fetch", ret_error);
    }
    if (!err && samples) {
        samples_add(samples, us_since(watched->start_ns));
    }
    if (!err) {
        err = watched_wait_quiet(side, watched, "receipt of a fetch", ret_error);
    }
    if (!err) {
        err = watched_retire(watched, ret_error);
    }
    return err ? err : watched_completed(watched, ret_error);
}

static baton_err fetch_batch(struct latency *latency, struct samples *samples,
                             struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_OFFER, .count = 1};
    struct peer_answer answer;
    baton_err err = BATON_OK;

    for (unsigned i = 0; i < BATCH && !err; i++) {
        request.first = (latency->next + i) % BLOCKS;
        err = pair_ask(&latency->pair, &request, &latency->offers[i], ret_error);
    }
    for (unsigned i = 0; i < BATCH && !err; i++) {
        pause_briefly(latency);
        err = fetch_one(latency, latency->next, &latency->offers[i], samples, ret_error);
        latency->next = (latency->next + 1) % BLOCKS;
    }
    request.kind = PEER_REAP;
    return err ? err : pair_ask(&latency->pair, &request, &answer, ret_error);
}

static baton_err trip_batch(struct latency *latency, const struct raw_trip *trip,
                            struct samples *samples, struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_TRIPS,
                                   .place = RAW_POLLED,
                                   .first = latency->next,
                                   .count = BATCH,
                                   .trip = *trip};
    struct pair *pair = &latency->pair;
    struct peer_answer answer;
    baton_err err = pair_send(pair, &request, ret_error);

    for (unsigned i = 0; i < BATCH && !err; i++) {
        uint64_t start_ns;

        pause_briefly(latency);
        start_ns = clock_now_ns();
        err = raw_ask(&pair->side, &pair->raw[RAW_POLLED], trip, (latency->next + i) % BLOCKS,
                      ret_error);
        samples_add(samples, us_since(start_ns));
    }
    return err ? err : pair_receive(pair, &answer, ret_error);
}

/* Some fetches and, where the callers poll, as many raw round trips of each kind. */
static baton_err turn(struct latency *latency, unsigned machine, struct baton_error *ret_error)
{
    struct bench_latency *result = latency->result;
    bool polled = latency->pair.side.setup.polled;
    baton_err err = fetch_batch(
        latency, polled ? &result->polled[machine] : &result->threads[machine], ret_error);

    if (!err && polled) {
        err = trip_batch(latency, &block_trip, &result->raw_block[machine], ret_error);
    }
    if (!err && polled) {
        err = trip_batch(latency, &small_trip, &result->raw_small[machine], ret_error);
    }
    return err;
}

/* The first batch makes the link, touches all memory, and shows that the bytes are right. */
static baton_err warm_up(struct latency *latency, struct baton_error *ret_error)
{
    baton_err err = BATON_OK;

    for (unsigned i = 0; i < BLOCKS / BATCH && !err; i++) {
        err = fetch_batch(latency, NULL, ret_error);
    }
    if (!err) {
        err = side_verify(&latency->pair.side, "fetches of one block", ret_error);
    }
    return err;
}

static baton_err turns(struct latency *latency, unsigned runs, struct baton_error *ret_error)
{
    baton_err err = warm_up(latency, ret_error);

    for (unsigned run = 0; run < runs && !err; run++) {
        for (unsigned machine = 0; machine < BENCH_MACHINES && !err; machine++) {
            spinners_run(&latency->spinners, machine == BENCH_BUSY_MACHINE);
            for (unsigned i = 0; i < BATCHES_A_RUN && !err; i++) {
                err = turn(latency, machine, ret_error);
            }
        }
        spinners_run(&latency->spinners, false);
    }
    return err;
}

static baton_err part_measure(struct latency *latency, const struct bench_setup *setup,
                              unsigned runs, struct baton_error *ret_error)
{
    baton_err end_err, err = pair_start(&latency->pair, setup, ret_error);

    if (err) {
        return err;
    }
    if (setup->polled) {
        machine_pin(BENCH_PARENT);
        err = pair_raw_connect(&latency->pair, RAW_POLLED, &trip_config, ret_error);
    }
    if (!err) {
        latency->watched.tell_outcome = true;
        err = turns(latency, runs, ret_error);
    }
    machine_unpin();
    end_err = pair_end(&latency->pair, err ? NULL : ret_error);
    return err ? err : end_err;
}

baton_err latency_measure(enum bench_transport transport, bool link_tcp,
                          const struct bench_options *options, struct bench_latency *ret_latency,
                          struct baton_error *ret_error)
{
    static struct latency latency;
    struct bench_setup setup = {.transport = transport,
                                .host = options->host,
                                .link_tcp = link_tcp,
                                .polled = true,
                                .handoffs = 1,
                                .movers = bench_movers(transport, 0),
                                .block_bytes = BLOCK_BYTES,
                                .blocks = BLOCKS,
                                .seed = 1};
    baton_err err;

    *ret_latency = (struct bench_latency){.transport = transport, .link_tcp = link_tcp};
    latency.result = ret_latency;
    err = watched_init(&latency.watched, ret_error);
    if (err) {
        return err;
    }
    /* Before there is a thread, or a process that could be measured with them. */
    err = spinners_init(&latency.spinners, ret_error);
    if (!err) {
        if (machine_cpus() > 1) {
            err = part_measure(&latency, &setup, options->runs, ret_error);
        }
        setup.polled = false;
        setup.movers = bench_movers(transport, options->movers[0]);
        if (!err) {
            err = part_measure(&latency, &setup, options->runs, ret_error);
        }
        spinners_fini(&latency.spinners);
    }
    watched_fini(&latency.watched);
    return err;
}

void bench_latency_fini(struct bench_latency *latency)
{
    for (unsigned machine = 0; machine < BENCH_MACHINES; machine++) {
        samples_fini(&latency->polled[machine]);
        samples_fini(&latency->threads[machine]);
        samples_fini(&latency->raw_block[machine]);
        samples_fini(&latency->raw_small[machine]);
    }
}
