/* SPDX-License-Identifier: Apache-2.0 */
/* One process's side of a bench pair.  Knows nothing of the other process, nor of timing. */
#include "bench/side.h"
#include "bench/watched.h"
#include "util/error.h"
#include "util/prng.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A word of the payload that says which bench, block and place it belongs to. */
static uint64_t payload_word(uint64_t seed, uint64_t place)
{
    uint64_t word = seed + place * UINT64_C(0x9e3779b97f4a7c15);

    word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
    return word ^ (word >> 31);
}

void payload_fill(const struct bench_setup *setup, size_t index, unsigned char *block)
{
    uint64_t *words = (uint64_t *)block;
    size_t count = setup->block_bytes / sizeof(*words);

    for (size_t i = 0; i < count; i++) {
        words[i] = payload_word(setup->seed, index * count + i);
    }
}

bool payload_check(const struct bench_setup *setup, size_t index, const unsigned char *block)
{
    const uint64_t *words = (const uint64_t *)block;
    size_t count = setup->block_bytes / sizeof(*words);
    uint64_t different = 0;

    for (size_t i = 0; i < count; i++) {
        different |= words[i] ^ payload_word(setup->seed, index * count + i);
    }
    return !different;
}

void side_fill(const struct bench_side *side)
{
    for (size_t i = 0; i < side->setup.blocks; i++) {
        payload_fill(&side->setup, i, side_block(side, i));
    }
}

void side_wipe(const struct bench_side *side)
{
    for (size_t i = 0; i < side->setup.blocks; i++) {
        memset(side_block(side, i), 0xee, side->setup.block_bytes);
    }
}

baton_err side_verify(const struct bench_side *side, const char *whose,
                      struct baton_error *ret_error)
{
    for (size_t i = 0; i < side->setup.blocks; i++) {
        if (!payload_check(&side->setup, i, side_block(side, i))) {
            return error_set(ret_error, BATON_EINVAL, "%s: wrong bytes in block %zu of %zu", whose,
                             i, side->setup.blocks);
        }
    }
    return BATON_OK;
}

unsigned char *side_block(const struct bench_side *side, size_t index)
{
    return baton_pool_block(side->pool, side->blocks[index]);
}

void bench_permutation(const struct bench_setup *setup, bool source, uint32_t *ret_order)
{
    struct prng prng;

    prng_init(&prng, setup->seed * 2 + source);
    for (size_t i = 0; i < setup->blocks; i++) {
        size_t j = prng_below(&prng, i + 1);

        ret_order[i] = ret_order[j];
        ret_order[j] = (uint32_t)i;
    }
}

static baton_err engine_make(struct bench_side *side, struct baton_error *ret_error)
{
    bool process = side->setup.transport == BENCH_PROCESS;
    const char *transport = bench_transport_names[process ? BENCH_SHM : side->setup.transport];
    struct baton_engine_options options = {
        .size = sizeof(options),
        .transports = &transport,
        .transports_count = 1,
        .progress = side->setup.polled ? BATON_PROGRESS_CALLER : BATON_PROGRESS_THREAD,
        .link = side->setup.link_tcp ? BATON_LINK_TCP : BATON_LINK_AUTO,
        .host = (baton_host)side->setup.host,
        .movers = side->setup.movers ? (int)side->setup.movers : -1,
        .slice_bytes = side->setup.slice_bytes,
        .on_trace = side->setup.trace ? watched_trace : NULL,
    };

    return baton_engine_create(&options, &side->engine, ret_error);
}

static baton_err pool_make(struct bench_side *side, struct baton_error *ret_error)
{
    struct baton_pool_options options = {
        .size = sizeof(options),
        .block_bytes = side->setup.block_bytes,
        .block_count = side->setup.blocks,
        .memory = side->wrapped,
    };
    uint32_t *held;
    baton_err err = baton_pool_create(side->engine, &options, &side->pool, ret_error);

    if (err || side->wrapped) {
        return err;
    }
    /* The bench has its own order: what matters is only that every block is held. */
    held = malloc(side->setup.blocks * sizeof(*held));
    if (!held) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for %zu block numbers",
                         side->setup.blocks);
    }
    err = baton_pool_alloc(side->pool, side->setup.blocks, held, ret_error);
    free(held);
    return err;
}

baton_err side_init(struct bench_side *ret_side, const struct bench_setup *setup, bool source,
                    struct baton_error *ret_error)
{
    struct bench_side side = {.setup = *setup, .source = source};
    size_t bytes = setup->block_bytes * setup->blocks;
    baton_err err;

    side.blocks = malloc(setup->blocks * sizeof(*side.blocks));
    if (!side.blocks) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for %zu block numbers", setup->blocks);
    }
    if (source && setup->transport == BENCH_PROCESS) {
        void *memory =
            mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED) {
            err = error_system(ret_error, errno, "mmap of %zu bytes", bytes);
            goto free_blocks;
        }
        side.wrapped = memory;
    }
    err = engine_make(&side, ret_error);
    if (err) {
        goto unmap;
    }
    bench_permutation(setup, source, side.blocks);
    err = pool_make(&side, ret_error);
    if (err) {
        goto destroy_engine;
    }
    *ret_side = side;
    return BATON_OK;

destroy_engine:
    baton_engine_close(side.engine);
    if (baton_engine_destroy(side.engine, NULL)) {
        baton_engine_abandon(side.engine, &(struct baton_abandoned){0});
    }
unmap:
    if (side.wrapped) {
        munmap(side.wrapped, bytes);
    }
free_blocks:
    free(side.blocks);
    return err;
}

baton_err side_fini(struct bench_side *side, struct baton_error *ret_error)
{
    baton_err err;

    baton_engine_close(side->engine);
    err = baton_engine_drain(side->engine, BENCH_WAIT_MS_MAX / 10);
    if (err) {
        error_set(ret_error, err, "a handoff did not become quiet: %s", baton_strerror(err));
    } else {
        err = baton_engine_destroy(side->engine, ret_error);
    }
    if (err) {
        /* Its memory may still be in use, so it stays. */
        baton_engine_abandon(side->engine, &(struct baton_abandoned){0});
    } else if (side->wrapped) {
        munmap(side->wrapped, side->setup.block_bytes * side->setup.blocks);
    }
    free(side->blocks);
    return err;
}
