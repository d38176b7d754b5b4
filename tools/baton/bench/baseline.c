/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What moving the same blocks costs without Baton.  All but the contiguous copy go straight from
 * the source's blocks to the sink's, in the payload's order, which is scattered on both sides; none
 * knows of requests, cancels or commits.
 *   memcpy      from a mapped memfd, as the source's memory is, by one thread or by as many as
 *               there are movers, which take a piece each in turns;
 *   contiguous  one memcpy of all of it, in the order of the memory;
 *   readv       process_vm_readv, IOVECS blocks a call;
 *   raw         bench/raw.c, configured as the sweep found best;
 *   nixl        bench/raw_nixl.c.
 */
#include "bench/baseline.h"
#include "util/clock.h"
#include "util/error.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    IOVECS = 64,               /* blocks of one process_vm_readv */
    READV_BYTES_MAX = 1 << 30, /* of one too: above 2 GiB the kernel cuts it short */
    PIECE_BYTES = 1 << 20,     /* what one of several threads takes at a time */
};

static size_t payload_bytes(const struct bench_side *side)
{
    return side->setup.block_bytes * side->setup.blocks;
}

enum bench_baseline bench_baseline_judge(enum bench_transport transport, unsigned movers)
{
    switch (transport) {
    case BENCH_TCP:
        return BENCH_RAW_POLLED;
    case BENCH_PROCESS:
        return BENCH_READV;
    case BENCH_NIXL:
        return BENCH_RAW_NIXL;
    default:
        return movers > 1 ? BENCH_MEMCPY_THREADS : BENCH_MEMCPY;
    }
}

bool baseline_applies(enum bench_baseline kind, const struct bench_setup *setup)
{
    switch (kind) {
    case BENCH_MEMCPY:
        return true;
    case BENCH_MEMCPY_THREADS:
        return setup->transport == BENCH_SHM && setup->movers > 1;
    case BENCH_CONTIGUOUS:
        return setup->transport == BENCH_SHM;
    case BENCH_RAW_POLLED:
    case BENCH_RAW_BLOCKING:
        return setup->transport == BENCH_TCP;
    case BENCH_RAW_NIXL:
    case BENCH_RAW_NIXL_PREPARING:
        return setup->transport == BENCH_NIXL;
    default:
        return setup->transport == BENCH_PROCESS;
    }
}

/* memcpy */

static baton_err memory_make(struct baseline *baseline, const struct bench_side *side,
                             struct baton_error *ret_error)
{
    size_t bytes = payload_bytes(side);
    int fd = memfd_create("baton-bench", MFD_CLOEXEC);
    void *memory = MAP_FAILED;

    if (fd >= 0 && !ftruncate(fd, (off_t)bytes)) {
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (memory == MAP_FAILED) {
        return error_system(ret_error, errno, "a memfd of %zu bytes", bytes);
    }
    baseline->memory = memory;
    for (size_t i = 0; i < side->setup.blocks; i++) {
        payload_fill(&side->setup, i,
                     baseline->memory + baseline->order[i] * side->setup.block_bytes);
    }
    return BATON_OK;
}

static void blocks_copy(const struct baseline *baseline, const struct bench_side *side,
                        size_t first, size_t count)
{
    size_t block_bytes = side->setup.block_bytes;

    for (size_t i = first; i < first + count; i++) {
        memcpy(side_block(side, i), baseline->memory + baseline->order[i] * block_bytes,
               block_bytes);
    }
}

/* Threads that take pieces of one copy, each the next that nobody has. */
struct copying {
    const struct baseline *baseline;
    const struct bench_side *side;
    atomic_size_t next;
};

static void *copying_run(void *arg)
{
    struct copying *copying = arg;
    size_t blocks = copying->side->setup.blocks;
    size_t most = PIECE_BYTES / copying->side->setup.block_bytes;
    size_t first;

    most = most ? most : 1;
    while ((first = atomic_fetch_add(&copying->next, most)) < blocks) {
        size_t left = blocks - first;

        blocks_copy(copying->baseline, copying->side, first, left < most ? left : most);
    }
    return NULL;
}

static baton_err threads_copy(const struct baseline *baseline, const struct bench_side *side,
                              struct baton_error *ret_error)
{
    struct copying copying = {.baseline = baseline, .side = side};
    pthread_t threads[BATON_MOVERS_MAX];
    unsigned started = 1;
    int reason = 0;

    while (started < side->setup.movers && !reason) {
        reason = pthread_create(&threads[started], NULL, copying_run, &copying);
        started += !reason;
    }
    copying_run(&copying);
    for (unsigned i = 1; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    return reason ? error_system(ret_error, reason, "a thread") : BATON_OK;
}

/* process_vm_readv */

static baton_err readv_some(const struct baseline *baseline, const struct pair *pair, size_t first,
                            size_t count, struct baton_error *ret_error)
{
    size_t block_bytes = pair->side.setup.block_bytes;
    struct iovec here[IOVECS], there[IOVECS];
    ssize_t got;

    for (size_t i = 0; i < count; i++) {
        uint64_t place = pair->child_memory + baseline->order[first + i] * block_bytes;

        here[i] = (struct iovec){side_block(&pair->side, first + i), block_bytes};
        there[i] = (struct iovec){(void *)(uintptr_t)place, block_bytes};
    }
    got = process_vm_readv(pair->child, here, count, there, count, 0);
    if (got < 0) {
        return error_system(ret_error, errno,
                            "process_vm_readv (does kernel.yama.ptrace_scope or seccomp forbid "
                            "it?)");
    }
    /* A short read is none of the kernel's whole memory: it says that an address was wrong. */
    return (size_t)got == count * block_bytes
               ? BATON_OK
               : error_set(ret_error, BATON_EINVAL, "process_vm_readv read %zd of %zu bytes", got,
                           count * block_bytes);
}

static baton_err readv_all(const struct baseline *baseline, const struct pair *pair,
                           struct baton_error *ret_error)
{
    size_t blocks = pair->side.setup.blocks;
    size_t most = READV_BYTES_MAX / pair->side.setup.block_bytes;
    baton_err err = BATON_OK;

    most = most < IOVECS ? most : IOVECS;
    for (size_t i = 0; i < blocks && !err; i += most) {
        size_t count = blocks - i < most ? blocks - i : most;

        err = readv_some(baseline, pair, i, count, ret_error);
    }
    return err;
}

baton_err baseline_init(struct baseline *ret_baseline, struct pair *pair,
                        const struct raw_choice *choice, struct baton_error *ret_error)
{
    const struct bench_setup *setup = &pair->side.setup;
    struct baseline baseline = {0};
    baton_err err = BATON_OK;

    baseline.order = malloc(setup->blocks * sizeof(*baseline.order));
    if (!baseline.order) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for %zu block numbers", setup->blocks);
    }
    bench_permutation(setup, true, baseline.order);
    if (setup->transport == BENCH_PROCESS) {
        err = readv_some(&baseline, pair, 0, 1, ret_error);
    }
    if (!err) {
        err = memory_make(&baseline, &pair->side, ret_error);
    }
    for (unsigned i = 0; i < RAW_PLACES && setup->transport == BENCH_TCP && !err; i++) {
        err = pair_raw_connect(pair, i, &choice[i].config, ret_error);
    }
    if (setup->transport == BENCH_NIXL && !err) {
        err = pair_nixl_connect(pair, ret_error);
    }
    if (err) {
        baseline_fini(&baseline, pair);
        return err;
    }
    *ret_baseline = baseline;
    return BATON_OK;
}

void baseline_fini(struct baseline *baseline, const struct pair *pair)
{
    if (baseline->memory) {
        munmap(baseline->memory, payload_bytes(&pair->side));
    }
    free(baseline->order);
}

/* Where the sink's pool begins: a pool of Baton's is one piece of memory. */
static void *pool_memory(const struct pair *pair)
{
    return baton_pool_block(pair->side.pool, 0);
}

baton_err baseline_move(struct baseline *baseline, enum bench_baseline kind, struct pair *pair,
                        double *ret_seconds, struct baton_error *ret_error)
{
    uint64_t start_ns = clock_now_ns();
    baton_err err = BATON_OK;

    switch (kind) {
    case BENCH_RAW_POLLED:
        return pair_raw_move(pair, RAW_POLLED, ret_seconds, ret_error);
    case BENCH_RAW_BLOCKING:
        return pair_raw_move(pair, RAW_BLOCKING, ret_seconds, ret_error);
    case BENCH_RAW_NIXL:
    case BENCH_RAW_NIXL_PREPARING:
        return pair_nixl_move(pair, kind == BENCH_RAW_NIXL_PREPARING, ret_seconds, ret_error);
    case BENCH_MEMCPY:
        blocks_copy(baseline, &pair->side, 0, pair->side.setup.blocks);
        break;
    case BENCH_MEMCPY_THREADS:
        err = threads_copy(baseline, &pair->side, ret_error);
        break;
    case BENCH_CONTIGUOUS:
        memcpy(pool_memory(pair), baseline->memory, payload_bytes(&pair->side));
        break;
    default:
        err = readv_all(baseline, pair, ret_error);
        break;
    }
    if (!err) {
        *ret_seconds = (double)(clock_now_ns() - start_ns) / 1e9;
    }
    return err;
}

baton_err baseline_verify(const struct baseline *baseline, enum bench_baseline kind,
                          const struct pair *pair, struct baton_error *ret_error)
{
    if (kind != BENCH_CONTIGUOUS) {
        return side_verify(&pair->side, "a baseline", ret_error);
    }
    return memcmp(pool_memory(pair), baseline->memory, payload_bytes(&pair->side))
               ? error_set(ret_error, BATON_EINVAL, "a contiguous copy: wrong bytes")
               : BATON_OK;
}
