/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small sweep over raw TCP configurations.  Not every combination: the bytes of a call and the
 * socket buffers with one polled connection; then, with the best of these, two connections, and
 * fewer yields of the core, which help where each process has a core and cost where both share one;
 * and for sockets that block both numbers of connections with each kind of buffer.
 */
#include "bench/sweep.h"

enum {
    SWEEP_BLOCK_BYTES = 64 << 10,
    SWEEP_BYTES_MAX = 128 << 20,
    MOVES_MAX = 3, /* timed, after one that is not */
    TRIES_MANY = 1000,
};

static const size_t call_bytes[] = {128 << 10, 256 << 10, 512 << 10};
static const int buffer_bytes[] = {0, 1 << 20, 4 << 20};

enum {
    CALLS = sizeof(call_bytes) / sizeof(*call_bytes),
    BUFFERS = sizeof(buffer_bytes) / sizeof(*buffer_bytes),
};

struct sweeping {
    struct pair pair;
    unsigned moves;
    struct raw_choice *choices; /* so far */
};

static baton_err try(struct sweeping *sweeping, const struct raw_config *config,
                     struct baton_error *ret_error)
{
    const struct bench_setup *setup = &sweeping->pair.side.setup;
    struct raw_choice *choice = &sweeping->choices[config->polled ? RAW_POLLED : RAW_BLOCKING];
    double bytes = (double)setup->blocks * (double)setup->block_bytes, rate;
    struct samples rates = {0};
    baton_err err = pair_raw_connect(&sweeping->pair, RAW_POLLED, config, ret_error);

    for (unsigned i = 0; i <= sweeping->moves && !err; i++) {
        double seconds = 0;

        err = pair_raw_move(&sweeping->pair, RAW_POLLED, &seconds, ret_error);
        if (!err && i > 0) {
            samples_add(&rates, bytes / 1e9 / seconds);
        }
    }
    rate = samples_percentile(&rates, 50);
    if (!err && rate > choice->gb_per_s) {
        *choice = (struct raw_choice){*config, rate};
    }
    samples_fini(&rates);
    return err;
}

static baton_err try_all(struct sweeping *sweeping, struct baton_error *ret_error)
{
    struct raw_choice *choices = sweeping->choices;
    struct raw_config config = {.polled = true, .tries = 1, .connections = 1};
    baton_err err = BATON_OK;

    for (unsigned i = 0; i < CALLS * BUFFERS && !err; i++) {
        config.call_bytes = call_bytes[i / BUFFERS];
        config.buffer_bytes = buffer_bytes[i % BUFFERS];
        err = try(sweeping, &config, ret_error);
    }
    config = choices[RAW_POLLED].config;
    for (unsigned i = 1; i < 4 && !err; i++) {
        config.connections = 1 + i % 2;
        config.tries = i / 2 ? TRIES_MANY : 1;
        err = try(sweeping, &config, ret_error);
    }
    config.call_bytes = choices[RAW_POLLED].config.call_bytes;
    config.polled = false;
    for (unsigned i = 0; i < 2 * BUFFERS && !err; i++) {
        config.connections = 1 + i / BUFFERS;
        config.buffer_bytes = buffer_bytes[i % BUFFERS];
        err = try(sweeping, &config, ret_error);
    }
    return err;
}

baton_err sweep(const struct bench_options *options, struct raw_choice ret_choices[RAW_PLACES],
                struct baton_error *ret_error)
{
    uint64_t bytes = options->bytes < SWEEP_BYTES_MAX ? options->bytes : SWEEP_BYTES_MAX;
    struct bench_setup setup = {.transport = BENCH_TCP,
                                .handoffs = 1,
                                .movers = 1,
                                .block_bytes = SWEEP_BLOCK_BYTES,
                                .blocks = bytes / SWEEP_BLOCK_BYTES,
                                .seed = 1};
    struct sweeping sweeping = {.moves = options->runs < MOVES_MAX ? options->runs : MOVES_MAX,
                                .choices = ret_choices};
    baton_err end_err, err = pair_start(&sweeping.pair, &setup, ret_error);

    if (err) {
        return err;
    }
    for (unsigned i = 0; i < RAW_PLACES; i++) {
        ret_choices[i] = (struct raw_choice){0};
    }
    err = try_all(&sweeping, ret_error);
    end_err = pair_end(&sweeping.pair, err ? NULL : ret_error);
    return err ? err : end_err;
}
