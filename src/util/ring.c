/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of bytes between two processes.
 *
 * Who publishes (a head, a tail) and then looks whether the other sleeps, and who says that it
 * sleeps and then looks for a head or a tail, have a sequentially consistent fence between the two:
 * at least one of them sees the other, so that no wake is lost.
 */
#include "util/ring.h"

#include <string.h>

_Static_assert((RING_BYTES & (RING_BYTES - 1)) == 0, "a position modulo RING_BYTES is a place");

/* Whether the flag was set; it is not any more. */
static bool take(atomic_uint *flag)
{
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(flag, memory_order_relaxed) &&
           atomic_exchange_explicit(flag, 0, memory_order_relaxed);
}

bool ring_write(struct ring_end *end, const void *bytes, size_t length, size_t *ret_written,
                bool *ret_wake)
{
    struct ring *ring = end->ring;
    size_t written = 0;

    *ret_wake = false;
    while (written < length) {
        uint64_t used = end->at - atomic_load_explicit(&ring->tail, memory_order_acquire);
        size_t place = end->at % RING_BYTES;
        size_t some = RING_BYTES - place;

        if (used > RING_BYTES) {
            return false;
        }
        if (used == RING_BYTES) {
            if (atomic_exchange(&ring->writer_waits, 1)) {
                break; /* looked twice, and it is as full as before */
            }
            atomic_thread_fence(memory_order_seq_cst);
            continue;
        }
        some = some < RING_BYTES - used ? some : RING_BYTES - used;
        some = some < length - written ? some : length - written;
        memcpy(ring->bytes + place, (const unsigned char *)bytes + written, some);
        written += some;
        end->at += some;
        atomic_store_explicit(&ring->head, end->at, memory_order_release);
    }
    *ret_wake = written > 0 && take(&ring->reader_sleeps);
    *ret_written = written;
    return true;
}

bool ring_read(struct ring_end *end, void *ret_bytes, size_t room, size_t *ret_read, bool *ret_wake)
{
    struct ring *ring = end->ring;
    uint64_t there = atomic_load_explicit(&ring->head, memory_order_acquire) - end->at;
    size_t some = there < room ? there : room;
    size_t place = end->at % RING_BYTES;
    size_t first = some < RING_BYTES - place ? some : RING_BYTES - place;

    if (there > RING_BYTES) {
        return false;
    }
    *ret_read = some;
    *ret_wake = false;
    if (some > 0) {
        memcpy(ret_bytes, ring->bytes + place, first);
        memcpy((unsigned char *)ret_bytes + first, ring->bytes, some - first);
        end->at += some;
        atomic_store_explicit(&ring->tail, end->at, memory_order_release);
        *ret_wake = take(&ring->writer_waits);
    }
    return true;
}

bool ring_has(const struct ring_end *end)
{
    return atomic_load_explicit(&end->ring->head, memory_order_relaxed) != end->at;
}

bool ring_sleep(struct ring_end *end)
{
    struct ring *ring = end->ring;

    atomic_store_explicit(&ring->reader_sleeps, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    return !ring_has(end);
}

void ring_awake(struct ring_end *end)
{
    atomic_store_explicit(&end->ring->reader_sleeps, 0, memory_order_relaxed);
}
