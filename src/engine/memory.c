/* SPDX-License-Identifier: Apache-2.0 */
/* Pools: their memory, and the public face of their book. */
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pool/poison.h"
#include "util/clock.h"

enum {
    POOL_BLOCK_BYTES_MAX = 1 << 30,
    POOL_BLOCK_BYTES_UNIT = 8,
};

/* ---- checking mode ---- */

static bool checks(const baton_pool *pool)
{
    return pool->flags & BATON_POOL_CHECK;
}

static unsigned char *block_at(const baton_pool *pool, uint32_t block)
{
    return pool->memory + (uint64_t)block * pool->block_bytes;
}

/* The block is free at `generation`, or was until a moment ago and is ours alone. */
static void check_block(baton_pool *pool, uint32_t block, uint64_t generation)
{
    uint64_t late = poison_verify(block_at(pool, block), pool->block_bytes, block, generation);

    if (late > 0) {
        atomic_fetch_add(&pool->late_bytes, late);
        atomic_fetch_add(&pool->late_blocks, 1);
        engine_log(pool->engine, BATON_LOG_ERROR,
                   "pool %u: %llu bytes of free block %u were written to after its receipt",
                   pool->number, (unsigned long long)late, block);
        poison_fill(block_at(pool, block), pool->block_bytes, block, generation);
    }
}

/* One free block under the lock, so that nobody takes it meanwhile.  Returns whether it was free.
 */
static bool check_if_free(baton_pool *pool, uint32_t block)
{
    bool is_free;

    pthread_mutex_lock(&pool->lock);
    is_free = pool_block_state(pool->book, block) == BLOCK_FREE;
    if (is_free) {
        check_block(pool, block, pool_block_generation(pool->book, block));
    }
    pthread_mutex_unlock(&pool->lock);
    return is_free;
}

void pool_scan(baton_pool *pool)
{
    uint64_t budget = ENGINE_SCAN_BYTES;
    uint32_t looked = 0;

    if (!checks(pool)) {
        return;
    }
    while (looked++ < pool->block_count && budget > 0) {
        if (check_if_free(pool, pool->scan_next)) {
            budget -= pool->block_bytes < budget ? pool->block_bytes : budget;
        }
        pool->scan_next = (pool->scan_next + 1) % pool->block_count;
    }
}

uint64_t baton_pool_verify(baton_pool *pool)
{
    uint64_t checked = 0;

    if (engine_check(pool->engine) || !checks(pool)) {
        return 0;
    }
    for (uint32_t b = 0; b < pool->block_count; b++) {
        checked += check_if_free(pool, b);
    }
    return checked;
}

/* Blocks that nobody has any more: fill them, then let them be taken. */
void pool_give_back(baton_pool *pool, const uint32_t *blocks, size_t count)
{
    for (size_t i = 0; checks(pool) && i < count; i++) {
        /* In SCRUB its generation does not change, and nobody else reads or writes the block. */
        poison_fill(block_at(pool, blocks[i]), pool->block_bytes, blocks[i],
                    pool_block_generation(pool->book, blocks[i]));
    }
    pthread_mutex_lock(&pool->lock);
    pool_reclaim(pool->book, blocks, count);
    pthread_mutex_unlock(&pool->lock);
}

/* ---- making ---- */

static baton_err check_options(const struct baton_pool_options *o, struct baton_error *ret_error)
{
    if (o->size != sizeof(*o)) {
        return error_set(ret_error, BATON_EINVAL,
                         "options.size is %zu: set it to sizeof(struct baton_pool_options), %zu",
                         o->size, sizeof(*o));
    }
    if (o->block_bytes == 0 || o->block_bytes % POOL_BLOCK_BYTES_UNIT != 0 ||
        o->block_bytes > POOL_BLOCK_BYTES_MAX) {
        return error_set(ret_error, BATON_EINVAL,
                         "block_bytes is %zu: it must be a multiple of %d, at most %d",
                         o->block_bytes, POOL_BLOCK_BYTES_UNIT, POOL_BLOCK_BYTES_MAX);
    }
    if (o->block_count == 0 || o->block_count > BATON_POOL_BLOCKS_MAX) {
        return error_set(ret_error, BATON_EINVAL, "block_count is %zu: it must be 1 to %d",
                         o->block_count, BATON_POOL_BLOCKS_MAX);
    }
    if (o->memory && o->flags & BATON_POOL_CHECK) {
        return error_set(ret_error, BATON_EINVAL,
                         "BATON_POOL_CHECK fills free blocks, and those of wrapped memory are "
                         "their allocator's: not both");
    }
    if (o->flags & BATON_POOL_CUDA && !o->memory) {
        return error_set(ret_error, BATON_EINVAL,
                         "BATON_POOL_CUDA wraps memory of a GPU: set memory, and device");
    }
    if (o->device && !(o->flags & BATON_POOL_CUDA)) {
        return error_set(ret_error, BATON_EINVAL, "device is %u, but BATON_POOL_CUDA is not set",
                         o->device);
    }
    if (o->flags & ~(unsigned)(BATON_POOL_CHECK | BATON_POOL_HUGE | BATON_POOL_CUDA)) {
        return error_set(ret_error, BATON_EINVAL, "flags is 0x%x: unknown bits", o->flags);
    }
    return layout_check(&o->layout, o->block_bytes, ret_error);
}

/*
 * A memfd, sealed so that a peer that maps it can never be hit by a missing page.  Children do not
 * inherit the mapping: an engine is dead in them.
 */
static baton_err make_memory(baton_pool *pool, struct baton_error *ret_error)
{
    void *memory;

    pool->memfd = memfd_create("baton-pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (pool->memfd < 0 || ftruncate(pool->memfd, (off_t)pool->bytes) != 0 ||
        fcntl(pool->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
        return error_system(ret_error, errno, "can not make a pool of %llu bytes",
                            (unsigned long long)pool->bytes);
    }
    memory = mmap(NULL, pool->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, pool->memfd, 0);
    if (memory == MAP_FAILED) {
        return error_system(ret_error, errno, "can not map a pool of %llu bytes",
                            (unsigned long long)pool->bytes);
    }
    pool->memory = memory;
    if (pool->flags & BATON_POOL_HUGE) {
        madvise(memory, pool->bytes, MADV_HUGEPAGE); /* a wish */
    }
    madvise(memory, pool->bytes, MADV_DONTFORK);
    pool->export_fd = region_export(pool->memfd);
    if (pool->export_fd < 0) {
        return error_system(ret_error, errno, "can not reopen the pool's memory for reading");
    }
    return BATON_OK;
}

/* From here on the memory and its memfd belong to who has it registered, too. */
static baton_err make_shared(baton_pool *pool, unsigned device, struct baton_error *ret_error)
{
    pool->shared = calloc(1, sizeof(*pool->shared));
    if (!pool->shared) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for a pool");
    }
    pool->shared->base = pool->memory;
    pool->shared->bytes = pool->bytes;
    pool->shared->block_bytes = pool->block_bytes;
    pool->shared->fd = pool->memfd;
    pool->shared->cuda = pool->flags & BATON_POOL_CUDA;
    pool->shared->device = device;
    atomic_init(&pool->shared->refs, 1);
    return BATON_OK;
}

void pool_free_memory(baton_pool *pool)
{
    if (pool->export_fd >= 0) {
        close(pool->export_fd);
    }
    if (pool->shared) {
        atomic_store(&pool->shared->drop, true);
        transport_memory_unref(pool->shared);
    } else {
        if (!pool->wrapped && pool->memory) {
            munmap(pool->memory, pool->bytes);
        }
        if (pool->memfd >= 0) {
            close(pool->memfd);
        }
    }
    pthread_mutex_destroy(&pool->lock);
    pthread_mutex_destroy(&pool->scratch_lock);
    free(pool->scratch);
    free(pool->book);
    free(pool);
}

static baton_err make_book(baton_pool *pool, struct baton_error *ret_error)
{
    void *book = malloc(pool_state_bytes(pool->block_count));

    pool->scratch = malloc(pool->block_count * sizeof(uint32_t));
    if (!book || !pool->scratch) {
        free(book);
        return error_set(ret_error, BATON_ENOMEM, "no memory for the book of %u blocks",
                         pool->block_count);
    }
    pool->book = pool_init(book, pool->block_count, pool->wrapped, 1);
    for (uint32_t b = 0; checks(pool) && b < pool->block_count; b++) {
        poison_fill(block_at(pool, b), pool->block_bytes, b, pool_block_generation(pool->book, b));
    }
    return BATON_OK;
}

static baton_err enter(baton_engine *engine, baton_pool *pool, struct baton_error *ret_error)
{
    baton_err err = BATON_OK;
    unsigned number = 0;

    pthread_mutex_lock(&engine->table_lock);
    while (number < BATON_POOLS_MAX && engine->pools[number]) {
        number++;
    }
    if (atomic_load(&engine->closing)) {
        err = error_set(ret_error, BATON_ECLOSED, "the engine is closing");
    } else if (engine->regions == UINT32_MAX / BATON_POOLS_MAX) {
        err =
            error_set(ret_error, BATON_ELIMIT, "the engine has had all the pools that it can name");
    } else if (number == BATON_POOLS_MAX) {
        err = error_set(ret_error, BATON_ELIMIT, "the engine has %d pools, its maximum",
                        BATON_POOLS_MAX);
    } else {
        pool->number = number;
        pool->region = engine->regions++ * BATON_POOLS_MAX + number;
        pool->shared->region = pool->region;
        engine->pools[number] = pool;
        atomic_fetch_add(&engine->checked_pools, checks(pool));
    }
    pthread_mutex_unlock(&engine->table_lock);
    return err;
}

baton_err baton_pool_create(baton_engine *engine, const struct baton_pool_options *options,
                            baton_pool **ret_pool, struct baton_error *ret_error)
{
    baton_pool *pool;
    baton_err err;

    if (engine_check(engine)) {
        return error_set(ret_error, BATON_EFORKED, "the engine belongs to the parent process");
    }
    if (!options) {
        return error_set(ret_error, BATON_EINVAL, "the options pointer is NULL");
    }
    err = check_options(options, ret_error);
    if (err) {
        return err;
    }
    pool = calloc(1, sizeof(*pool));
    if (!pool) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for a pool");
    }
    pool->engine = engine;
    pool->flags = options->flags;
    pool->wrapped = options->memory != NULL;
    pool->block_bytes = options->block_bytes;
    pool->block_count = (uint32_t)options->block_count;
    pool->bytes = pool->block_bytes * pool->block_count;
    pool->layout = options->layout;
    pool->memory = options->memory;
    pool->memfd = pool->export_fd = -1;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_mutex_init(&pool->scratch_lock, NULL);
    err = pool->wrapped ? BATON_OK : make_memory(pool, ret_error);
    if (!err) {
        err = make_shared(pool, options->device, ret_error);
    }
    if (!err) {
        err = make_book(pool, ret_error);
    }
    if (!err) {
        err = enter(engine, pool, ret_error);
    }
    if (err) {
        pool_free_memory(pool);
        return err;
    }
    loop_wake(engine); /* its background check may have to begin */
    *ret_pool = pool;
    return BATON_OK;
}

baton_err baton_pool_destroy(baton_pool *pool, struct baton_error *ret_error)
{
    struct pool_counts counts;
    baton_engine *engine;

    if (!pool) {
        return BATON_OK;
    }
    engine = pool->engine;
    if (engine_check(engine)) {
        return error_set(ret_error, BATON_EFORKED, "the engine belongs to the parent process");
    }
    pthread_mutex_lock(&engine->table_lock);
    pthread_mutex_lock(&pool->lock);
    pool_counts(pool->book, &counts);
    pthread_mutex_unlock(&pool->lock);
    if (counts.loans > 0 || counts.held > 0) {
        pthread_mutex_unlock(&engine->table_lock);
        return error_set(ret_error, BATON_EBUSY,
                         "pool %u: %llu handoffs have no used receipt, %llu blocks are held",
                         pool->number, (unsigned long long)counts.loans,
                         (unsigned long long)counts.held);
    }
    /* What a library has registered in this process it has to let go of first. */
    if (pool->wrapped && atomic_load(&pool->shared->refs) > 1) {
        atomic_store(&pool->shared->drop, true);
        pthread_mutex_unlock(&engine->table_lock);
        loop_wake(engine);
        return error_set(ret_error, BATON_EBUSY,
                         "pool %u: nixl has its memory registered and is letting go of it: call "
                         "again in a moment, or destroy the engine",
                         pool->number);
    }
    engine->pools[pool->number] = NULL;
    atomic_fetch_sub(&engine->checked_pools, checks(pool));
    pthread_mutex_unlock(&engine->table_lock);
    pool_free_memory(pool);
    loop_wake(engine); /* libraries are to let go of it */
    return BATON_OK;
}

uint32_t pool_transports(const baton_pool *pool)
{
    return pool->flags & BATON_POOL_CUDA ? (uint32_t)WIRE_TRANSPORT_NIXL : UINT32_MAX;
}

bool pool_shareable(const baton_pool *pool)
{
    return pool->wrapped || pool->export_fd >= 0;
}

/* ---- using ---- */

void *baton_pool_block(const baton_pool *pool, uint32_t block)
{
    return block < pool->block_count ? block_at(pool, block) : NULL;
}

baton_err baton_pool_alloc(baton_pool *pool, size_t count, uint32_t *ret_blocks,
                           struct baton_error *ret_error)
{
    baton_err err;

    if (engine_check(pool->engine)) {
        return error_set(ret_error, BATON_EFORKED, "the engine belongs to the parent process");
    }
    pthread_mutex_lock(&pool->lock);
    err = pool_alloc(pool->book, count, ret_blocks, ret_error);
    pthread_mutex_unlock(&pool->lock);
    /* Held by us now; the pattern is of the generation before. */
    for (size_t i = 0; !err && checks(pool) && i < count; i++) {
        check_block(pool, ret_blocks[i], pool_block_generation(pool->book, ret_blocks[i]) - 1);
    }
    return err;
}

baton_err baton_pool_free(baton_pool *pool, const uint32_t *blocks, size_t count,
                          struct baton_error *ret_error)
{
    size_t last = 0;
    baton_err err;

    if (engine_check(pool->engine)) {
        return error_set(ret_error, BATON_EFORKED, "the engine belongs to the parent process");
    }
    if (count > pool->block_count) {
        return error_set(ret_error, BATON_EINVAL, "%zu blocks, but the pool has %u", count,
                         pool->block_count);
    }
    pthread_mutex_lock(&pool->scratch_lock);
    pthread_mutex_lock(&pool->lock);
    err = pool_free(pool->book, blocks, count, pool->scratch, &last, ret_error);
    pthread_mutex_unlock(&pool->lock);
    if (!err) {
        pool_give_back(pool, pool->scratch, last);
    }
    pthread_mutex_unlock(&pool->scratch_lock);
    return err;
}

/* Blocks of loans whose outcome is decided and whose quiet is not proven.  Under both locks. */
static void count_quarantine(const baton_pool *pool, struct baton_pool_stats *stats)
{
    const baton_engine *engine = pool->engine;
    const uint32_t count[2] = {engine->options.offers_max, engine->options.fetches_max};
    uint64_t now_us = clock_now_us();

    for (int side = 0; side < 2; side++) {
        for (uint32_t i = 0; i < count[side]; i++) {
            const struct baton_handoff *h = engine->table[side][i];
            uint64_t age;

            if (!h || h->pool != pool || !h->loan.quarantined) {
                continue;
            }
            age = now_us - h->loan.quarantined_at_us;
            stats->quarantine_blocks += h->loan.count;
            if (age > stats->quarantine_oldest_us) {
                stats->quarantine_oldest_us = age;
            }
        }
    }
    if (stats->quarantine_blocks > stats->lent_blocks) {
        stats->quarantine_blocks = stats->lent_blocks; /* shared blocks count once */
    }
}

void pool_look(baton_pool *pool, struct baton_pool_stats *ret_stats)
{
    struct baton_pool_stats stats = {0};
    struct pool_counts counts;

    pthread_mutex_lock(&pool->lock);
    pool_counts(pool->book, &counts);
    stats.blocks = counts.total;
    stats.free_blocks = counts.free;
    stats.held_blocks = counts.held + counts.scrub;
    stats.lent_blocks = counts.lent;
    if (counts.quarantined > 0) {
        count_quarantine(pool, &stats);
    }
    pthread_mutex_unlock(&pool->lock);
    stats.late_bytes = atomic_load(&pool->late_bytes);
    stats.late_blocks = atomic_load(&pool->late_blocks);
    *ret_stats = stats;
}

void baton_pool_inspect(baton_pool *pool, struct baton_pool_stats *ret_stats)
{
    if (engine_check(pool->engine)) {
        *ret_stats = (struct baton_pool_stats){0};
        return;
    }
    pthread_mutex_lock(&pool->engine->table_lock);
    pool_look(pool, ret_stats);
    pthread_mutex_unlock(&pool->engine->table_lock);
}
