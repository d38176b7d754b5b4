/* SPDX-License-Identifier: Apache-2.0 */
/* Pools, orders and payload: see workload.h. */
#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

static const uint64_t block_step = UINT64_C(0x9e3779b97f4a7c15);
static const uint64_t word_step = UINT64_C(0xd6e8feb86659fd93);
static const uint64_t run_step = UINT64_C(0xbf58476d1ce4e5b9);

static void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static uint64_t scramble(uint64_t x)
{
    x = (x ^ x >> 30) * run_step;
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static void shuffle(uint32_t *order, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        size_t j = scramble(seed + i * block_step) % (i + 1);

        order[i] = order[j];
        order[j] = (uint32_t)i;
    }
}

void workload_init(struct workload *ret_workload, size_t block_bytes, size_t bytes, bool source)
{
    struct workload workload = {.block_bytes = block_bytes, .blocks = bytes / block_bytes};

    workload.pool = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    workload.order = malloc(workload.blocks * sizeof(*workload.order));
    if (workload.pool == MAP_FAILED || !workload.order) {
        fail("memory for the pool");
    }
    shuffle(workload.order, workload.blocks, source ? 1 : 2);
    *ret_workload = workload;
}

unsigned char *workload_block(const struct workload *workload, size_t index)
{
    return workload->pool + workload->order[index] * workload->block_bytes;
}

void workload_fill(const struct workload *workload, uint64_t run)
{
    for (size_t index = 0; index < workload->blocks; index++) {
        uint64_t *words = (uint64_t *)workload_block(workload, index);
        uint64_t word = (run + 1) * run_step + index * block_step;

        for (size_t i = 0; i < workload->block_bytes / sizeof(*words); i++) {
            words[i] = word;
            word += word_step;
        }
    }
}

void workload_wipe(const struct workload *workload)
{
    memset(workload->pool, 0xee, workload->blocks * workload->block_bytes);
}

size_t workload_wrong(const struct workload *workload, uint64_t run)
{
    size_t wrong = 0;

    for (size_t index = 0; index < workload->blocks; index++) {
        const uint64_t *words = (const uint64_t *)workload_block(workload, index);
        uint64_t word = (run + 1) * run_step + index * block_step, differs = 0;

        for (size_t i = 0; i < workload->block_bytes / sizeof(*words); i++) {
            differs |= words[i] ^ word;
            word += word_step;
        }
        wrong += differs != 0;
    }
    return wrong;
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

double workload_cpu_s(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}
