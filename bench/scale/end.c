/* SPDX-License-Identifier: Apache-2.0 */
/* What both processes of bench/scale need: engines, pools, clocks.  Knows nothing of rounds. */
#include "end.h"

#include "util/clock.h"
#include "util/prng.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { WAIT_MS = 20000 };

void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "scale: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(EXIT_FAILURE);
}

double now_s(void)
{
    return (double)clock_now_ns() / 1e9;
}

struct usage usage_now(void)
{
    struct mallinfo2 heap = mallinfo2();
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return (struct usage){
        .cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6,
        .heap_bytes = (double)heap.uordblks + (double)heap.hblkhd,
    };
}

void must(baton_err err, const char *what, const struct baton_error *error)
{
    if (err) {
        die("%s: %s", what, error && error->code ? error->text : baton_strerror(err));
    }
}

baton_engine *engine_make(const struct setup *setup, uint32_t handoffs, unsigned links)
{
    struct baton_engine_options options = {
        .size = sizeof(options),
        .progress = BATON_PROGRESS_CALLER,
        .link = strcmp(setup->transport, "tcp") == 0 ? BATON_LINK_TCP : BATON_LINK_AUTO,
        .transports = &setup->transport,
        .transports_count = 1,
        .movers = setup->movers,
        .offers_max = handoffs,
        .fetches_max = handoffs,
        .links_max = links,
        .on_trace = setup->on_trace,
    };
    struct baton_error error = {0};
    baton_engine *engine = NULL;

    must(baton_engine_create(&options, &engine, &error), "an engine", &error);
    return engine;
}

void engine_end(baton_engine *engine)
{
    struct baton_error error = {0};

    baton_engine_close(engine);
    must(baton_engine_drain(engine, WAIT_MS), "drain", NULL);
    must(baton_engine_destroy(engine, &error), "destroy", &error);
}

static void shuffle(uint32_t *numbers, uint32_t count, uint64_t seed)
{
    struct prng prng;

    prng_init(&prng, seed);
    for (uint32_t i = count; i > 1; i--) {
        uint32_t other = (uint32_t)prng_below(&prng, i), number = numbers[i - 1];

        numbers[i - 1] = numbers[other];
        numbers[other] = number;
    }
}

baton_pool *pool_make(baton_engine *engine, uint32_t block_bytes, uint32_t blocks, uint64_t seed,
                      uint32_t *ret_blocks)
{
    const struct baton_pool_options options = {
        .size = sizeof(options), .block_bytes = block_bytes, .block_count = blocks};
    struct baton_error error = {0};
    baton_pool *pool = NULL;

    must(baton_pool_create(engine, &options, &pool, &error), "a pool", &error);
    must(baton_pool_alloc(pool, blocks, ret_blocks, &error), "blocks", &error);
    shuffle(ret_blocks, blocks, seed);
    return pool;
}
