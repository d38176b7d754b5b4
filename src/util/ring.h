/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte stream in memory that two processes share: one writes, one reads, neither makes a system
 * call.  It tells when the other side sleeps and must be woken; how, is the caller's business.
 *
 * `struct ring` is shared, and the other process is not trusted with more than its bytes: each side
 * keeps its own position, checks the other's against it, and looks at a byte only after copying it.
 * A position that can not be is told as broken; then the ring must not be used any more.  One
 * thread at a time at each end.  Nothing here allocates.
 */
#ifndef BATON_UTIL_RING_H
#define BATON_UTIL_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RING_BYTES = 32 << 10, /* a power of two */
    RING_LINE_BYTES = 64,  /* what two processors write is that far apart, or more */
};

/* All zero is an empty ring whose reader is awake. */
struct ring {
    _Alignas(RING_LINE_BYTES) atomic_uint_least64_t head; /* bytes ever written */
    _Alignas(RING_LINE_BYTES) atomic_uint_least64_t tail; /* bytes ever read */
    _Alignas(RING_LINE_BYTES) atomic_uint reader_sleeps;  /* wants to be woken by the next byte */
    atomic_uint writer_waits;                             /* wants to be woken by the next room */
    _Alignas(RING_LINE_BYTES) unsigned char bytes[RING_BYTES];
};

/* One end: a ring, and the position that is this process's own. */
struct ring_end {
    struct ring *ring;
    uint64_t at;
};

/*
 * Writes as many of `length` bytes as there is room for; fewer: the reader will wake the writer.
 * Everything that was written before, to whatever memory, is seen by who reads these bytes.
 * `*ret_wake`: the reader sleeps and must be woken.  Returns false when the ring is broken.
 */
bool ring_write(struct ring_end *end, const void *bytes, size_t length, size_t *ret_written,
                bool *ret_wake);

/*
 * Reads up to `room` bytes.  `*ret_wake`: the writer waits for room and must be woken.  Returns
 * false when the ring is broken.
 */
bool ring_read(struct ring_end *end, void *ret_bytes, size_t room, size_t *ret_read,
               bool *ret_wake);

/* Whether there are bytes to read, or the ring is broken. */
bool ring_has(const struct ring_end *end);

/* The reader will sleep: from here on the next byte wakes it.  False: there are bytes, or the ring
 * is broken; read on.  Either way a wake may come. */
bool ring_sleep(struct ring_end *end);

/* The reader looks by itself again. */
void ring_awake(struct ring_end *end);

#endif
