/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload that every peer is given, the one of `baton bench`: a pool in each of two processes,
 * the payload's blocks scattered over both in different random orders, every byte checked.  Knows
 * no transport.
 */
#ifndef BATON_PEERS_WORKLOAD_H
#define BATON_PEERS_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct workload {
    size_t block_bytes; /* a multiple of 8 */
    size_t blocks;
    unsigned char *pool;
    uint32_t *order; /* where in the pool block `index` of the payload lies */
};

/* Exits with a message when there is no memory.  Every page is touched. */
void workload_init(struct workload *ret_workload, size_t block_bytes, size_t bytes, bool source);

unsigned char *workload_block(const struct workload *workload, size_t index);

/* The payload of run `run`: every word says which run, block and place it belongs to. */
void workload_fill(const struct workload *workload, uint64_t run);
void workload_wipe(const struct workload *workload);
/* The number of blocks that do not hold their part of the payload. */
size_t workload_wrong(const struct workload *workload, uint64_t run);

/* CPU time of this process so far, user and system, all threads. */
double workload_cpu_s(void);

#endif
