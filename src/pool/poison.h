/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pattern that fills free blocks in checking mode.  It is bound to block and generation, so
 * that a late write shows, also one that brings an older free block's pattern.  Pure: works on the
 * memory that it is given.
 */
#ifndef BATON_POOL_POISON_H
#define BATON_POOL_POISON_H

#include <stddef.h>
#include <stdint.h>

/* `length` is a multiple of 8. */
void poison_fill(void *memory, size_t length, uint32_t block, uint64_t generation);

/* Returns how many bytes differ from the pattern. */
uint64_t poison_verify(const void *memory, size_t length, uint32_t block, uint64_t generation);

#endif
