/* SPDX-License-Identifier: Apache-2.0 */
/* The ring: bytes in order, wakes that are not lost, and a peer that writes nonsense. */
#include "test.h"
#include "util/ring.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "util/prng.h"

struct two {
    struct ring *ring;
    struct ring_end writer, reader;
};

static struct two two_ends(void)
{
    struct two t = {.ring = aligned_alloc(RING_LINE_BYTES, sizeof(struct ring))};

    memset(t.ring, 0, sizeof(*t.ring));
    t.writer.ring = t.reader.ring = t.ring;
    return t;
}

/* Whatever the sizes of writes and reads, the bytes come out as they went in. */
TEST(bytes_come_out_in_order)
{
    static unsigned char bytes[RING_BYTES], out[RING_BYTES];
    struct two t = two_ends();
    struct prng prng;
    uint64_t written = 0, read = 0;

    prng_init(&prng, 1);
    for (unsigned i = 0; i < 2000; i++) {
        size_t length = prng_below(&prng, RING_BYTES), done;
        bool wake;

        for (size_t k = 0; k < length; k++) {
            bytes[k] = (unsigned char)((written + k) * 7);
        }
        CHECK(ring_write(&t.writer, bytes, length, &done, &wake));
        CHECK(done == length || written + done - read == RING_BYTES);
        written += done;
        CHECK(ring_read(&t.reader, out, prng_below(&prng, RING_BYTES + 1), &done, &wake));
        for (size_t k = 0; k < done; k++) {
            CHECK(out[k] == (unsigned char)((read + k) * 7));
        }
        read += done;
    }
    CHECK(written > 10 * (uint64_t)RING_BYTES);
    free(t.ring);
}

/* A reader that sleeps is woken by the first byte, and by that one only. */
TEST(a_sleeping_reader_is_woken_once)
{
    struct two t = two_ends();
    size_t done;
    bool wake;

    CHECK(ring_write(&t.writer, "a", 1, &done, &wake) && !wake);
    CHECK(!ring_sleep(&t.reader)); /* there is a byte */
    ring_awake(&t.reader);
    CHECK(ring_read(&t.reader, &(char){0}, 1, &done, &wake) && done == 1 && !wake);
    CHECK(ring_sleep(&t.reader));
    CHECK(ring_write(&t.writer, "b", 1, &done, &wake) && wake);
    CHECK(ring_write(&t.writer, "c", 1, &done, &wake) && !wake);
    free(t.ring);
}

/* A writer that found the ring full is woken by the next read. */
TEST(a_waiting_writer_is_woken_by_room)
{
    static unsigned char bytes[RING_BYTES + 1];
    struct two t = two_ends();
    size_t done;
    bool wake;

    CHECK(ring_write(&t.writer, bytes, sizeof(bytes), &done, &wake) && done == RING_BYTES);
    CHECK(ring_read(&t.reader, bytes, 1, &done, &wake) && done == 1 && wake);
    CHECK(ring_read(&t.reader, bytes, 1, &done, &wake) && done == 1 && !wake);
    CHECK(ring_write(&t.writer, bytes, 2, &done, &wake) && done == 2);
    free(t.ring);
}

/* More was read than written, or more is there than there is room for: told, and nothing is copied.
 */
TEST(a_position_that_can_not_be_is_told)
{
    static const uint64_t heads[] = {RING_BYTES + 1, UINT64_MAX}, tails[] = {1, UINT64_C(1) << 63};

    for (unsigned i = 0; i < 2; i++) {
        struct two t = two_ends();
        unsigned char byte = 7;
        size_t done = 99;
        bool wake;

        atomic_store(&t.ring->head, heads[i]);
        CHECK(!ring_read(&t.reader, &byte, 1, &done, &wake) && byte == 7 && done == 99);
        atomic_store(&t.ring->tail, tails[i]);
        CHECK(!ring_write(&t.writer, &byte, 1, &done, &wake) && t.ring->bytes[0] == 0);
        free(t.ring);
    }
}

enum { TWO_THREADS_BYTES = 8 << 20 };

/* What a bell does here: a thread that sleeps waits for its own count to go up. */
struct bells {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    unsigned of_reader, of_writer;
};

static void ring_bell(struct bells *bells, unsigned *count)
{
    pthread_mutex_lock(&bells->lock);
    (*count)++;
    pthread_cond_broadcast(&bells->rung);
    pthread_mutex_unlock(&bells->lock);
}

static void wait_bell(struct bells *bells, const unsigned *count, unsigned *heard)
{
    pthread_mutex_lock(&bells->lock);
    while (*count == *heard) {
        pthread_cond_wait(&bells->rung, &bells->lock);
    }
    *heard = *count;
    pthread_mutex_unlock(&bells->lock);
}

static struct bells bells = {.lock = PTHREAD_MUTEX_INITIALIZER, .rung = PTHREAD_COND_INITIALIZER};

static void *write_all(void *arg)
{
    struct two *t = arg;
    struct prng prng;
    unsigned heard = 0;

    prng_init(&prng, 2);
    for (uint64_t at = 0; at < TWO_THREADS_BYTES;) {
        unsigned char bytes[300];
        size_t length = 1 + prng_below(&prng, sizeof(bytes)), done;
        bool wake;

        length = length < TWO_THREADS_BYTES - at ? length : TWO_THREADS_BYTES - at;
        for (size_t k = 0; k < length; k++) {
            bytes[k] = (unsigned char)((at + k) % 251);
        }
        if (!ring_write(&t->writer, bytes, length, &done, &wake)) {
            break;
        }
        at += done;
        if (wake) {
            ring_bell(&bells, &bells.of_reader);
        }
        if (done < length) {
            wait_bell(&bells, &bells.of_writer, &heard);
        }
    }
    return NULL;
}

/* Two threads that both go to sleep whenever they can: all bytes arrive, so no wake was lost. */
TEST(no_wake_is_lost)
{
    struct two t = two_ends();
    unsigned heard = 0;
    uint64_t at = 0, wrong = 0;
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, write_all, &t) == 0);
    while (at < TWO_THREADS_BYTES) {
        unsigned char bytes[500];
        size_t done;
        bool wake;

        if (!CHECK(ring_read(&t.reader, bytes, sizeof(bytes), &done, &wake))) {
            break;
        }
        for (size_t k = 0; k < done; k++) {
            wrong += bytes[k] != (unsigned char)((at + k) % 251);
        }
        at += done;
        if (wake) {
            ring_bell(&bells, &bells.of_writer);
        }
        if (done == 0 && ring_sleep(&t.reader)) {
            wait_bell(&bells, &bells.of_reader, &heard);
        }
    }
    CHECK(wrong == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    free(t.ring);
}
