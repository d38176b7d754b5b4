/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One configuration in two processes: each way of moving the payload once, checked; then all of
 * them in turns, timed.  bench_pair.c has the processes, bench_baseline.c what Baton is compared
 * with.
 */
#include "bench/throughput.h"
#include "bench/baseline.h"
#include "bench/pair.h"

#include <string.h>

enum { OURS = BENCH_BASELINES, WAYS }; /* after the baselines */

struct station {
    struct pair pair;
    struct baseline baseline;
    struct watched watched[BENCH_HANDOFFS_MAX];
    unsigned watched_made;
    unsigned ways[WAYS], ways_count; /* what is measured here */
};

static void watched_fini_all(struct station *station)
{
    for (unsigned i = 0; i < station->watched_made; i++) {
        watched_fini(&station->watched[i]);
    }
}

static baton_err station_init(struct station *station, const struct bench_setup *setup,
                              const struct raw_choice *choices, struct baton_error *ret_error)
{
    baton_err err = BATON_OK;

    memset(station, 0, sizeof(*station));
    for (unsigned way = 0; way < WAYS; way++) {
        if (way == OURS || baseline_applies(way, setup)) {
            station->ways[station->ways_count++] = way;
        }
    }
    while (station->watched_made < setup->handoffs && !err) {
        err = watched_init(&station->watched[station->watched_made], ret_error);
        station->watched_made += !err;
    }
    if (!err) {
        err = pair_start(&station->pair, setup, ret_error);
    }
    if (!err) {
        err = baseline_init(&station->baseline, &station->pair, choices, ret_error);
        if (err) {
            pair_end(&station->pair, NULL);
        }
    }
    if (err) {
        watched_fini_all(station);
    }
    return err;
}

static baton_err station_fini(struct station *station, struct baton_error *ret_error)
{
    baton_err err;

    baseline_fini(&station->baseline, &station->pair);
    err = pair_end(&station->pair, ret_error);
    watched_fini_all(station);
    return err;
}

/* `ret_moved->post_ns` is 0 for a baseline. */
static baton_err move(struct station *station, unsigned way, struct pair_moved *ret_moved,
                      struct baton_error *ret_error)
{
    ret_moved->post_ns = 0;
    return way == OURS ? pair_move(&station->pair, station->watched, ret_moved, ret_error)
                       : baseline_move(&station->baseline, way, &station->pair, &ret_moved->seconds,
                                       ret_error);
}

static struct bench_rate *rate_of(struct bench_row *row, unsigned way)
{
    return way == OURS ? &row->ours : &row->baselines[way];
}

/* One move, with its rate and its CPU time. */
static baton_err timed_move(struct station *station, unsigned way, struct bench_row *row,
                            double *ret_rate, struct baton_error *ret_error)
{
    struct bench_rate *rate = rate_of(row, way);
    double bytes = (double)row->bytes, cpu_before = 0, cpu_after = 0;
    struct pair_moved moved = {0};
    baton_err err = pair_usage(&station->pair, &cpu_before, ret_error);

    if (!err) {
        err = move(station, way, &moved, ret_error);
    }
    if (!err) {
        err = pair_usage(&station->pair, &cpu_after, ret_error);
    }
    if (err) {
        return err;
    }
    *ret_rate = bytes / 1e9 / moved.seconds;
    samples_add(&rate->gb_per_s, *ret_rate);
    samples_add(&rate->cpu, (cpu_after - cpu_before) / (bytes / (1 << 30)));
    if (way == OURS) {
        samples_add(&row->post, moved.post_ns / (double)station->pair.side.setup.blocks);
    }
    return BATON_OK;
}

/* Each way once, untimed, into wiped blocks: touches all memory and proves that all do the same. */
static baton_err ways_verify(struct station *station, struct baton_error *ret_error)
{
    baton_err err = BATON_OK;

    for (unsigned i = 0; i < station->ways_count && !err; i++) {
        struct pair_moved moved;
        unsigned way = station->ways[i];

        side_wipe(&station->pair.side);
        err = move(station, way, &moved, ret_error);
        if (!err) {
            err = way == OURS ? side_verify(&station->pair.side, "handoffs", ret_error)
                              : baseline_verify(&station->baseline, way, &station->pair, ret_error);
        }
    }
    return err;
}

/* Who comes first changes, so that a machine that slows down favours none. */
static baton_err ways_measure(struct station *station, unsigned runs, struct bench_row *row,
                              struct baton_error *ret_error)
{
    baton_err err = BATON_OK;

    for (unsigned run = 0; run < runs && !err; run++) {
        double rates[WAYS] = {0};

        for (unsigned turn = 0; turn < station->ways_count && !err; turn++) {
            unsigned way = station->ways[(run + turn) % station->ways_count];

            err = timed_move(station, way, row, &rates[way], ret_error);
        }
        for (unsigned way = 0; way < BENCH_BASELINES && !err; way++) {
            if (rates[way] > 0) {
                samples_add(&row->baselines[way].ratio, rates[OURS] / rates[way]);
            }
        }
    }
    return err;
}

baton_err throughput_measure(const struct bench_setup *setup, unsigned runs,
                             const struct raw_choice *choices, struct bench_row *ret_row,
                             struct baton_error *ret_error)
{
    static struct station station;
    baton_err end_err, err = station_init(&station, setup, choices, ret_error);

    *ret_row = (struct bench_row){.transport = setup->transport,
                                  .push = setup->push,
                                  .block_bytes = setup->block_bytes,
                                  .bytes = setup->block_bytes * setup->blocks,
                                  .handoffs = setup->handoffs,
                                  .movers = setup->movers};
    if (err) {
        return err;
    }
    err = ways_verify(&station, ret_error);
    if (!err) {
        err = ways_measure(&station, runs, ret_row, ret_error);
    }
    end_err = station_fini(&station, err ? NULL : ret_error);
    return err ? err : end_err;
}

static void rate_fini(struct bench_rate *rate)
{
    samples_fini(&rate->gb_per_s);
    samples_fini(&rate->cpu);
    samples_fini(&rate->ratio);
}

void bench_row_fini(struct bench_row *row)
{
    rate_fini(&row->ours);
    for (unsigned i = 0; i < BENCH_BASELINES; i++) {
        rate_fini(&row->baselines[i]);
    }
    samples_fini(&row->post);
}
