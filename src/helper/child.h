/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For programs that count late bytes (the helper's self-test of fences, `baton demo late-bytes`):
 * processes that move bytes, and memory that they share with the one that counts.
 */
#ifndef BATON_HELPER_CHILD_H
#define BATON_HELPER_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    LATE_BLOCK_BYTES = 64 << 10,
    LATE_WAIT_MS_MAX = 20000, /* whoever needs longer for one step is broken */
    LATE_PAYLOAD = 0xa5,      /* every byte that moves */
    LATE_POISON = 0x5a,       /* every byte of the memory of the next owner */
};

/* A child of this process with a channel (SOCK_SEQPACKET) to it. */
struct late_child {
    pid_t pid;
    int channel;
};

/* Fork a child that runs `run` and leaves with _exit(): it dies with its parent, has nothing of it
 * but memory and descriptors, and must be forked while no engine lives.  False: errno says why. */
bool late_child_start(struct late_child *ret_child, void (*run)(void *arg, int channel), void *arg);
/* Wait for its next message of exactly `length` bytes. */
bool late_child_receive(const struct late_child *child, void *ret_message, size_t length);
/* Stop it; returns when it has stopped. */
void late_child_stop(const struct late_child *child);
/* Whether it has not ended.  It stays to be reaped. */
bool late_child_lives(const struct late_child *child);
/* Kill and reap it. */
void late_child_end(struct late_child *child);

/* Memory that the children share, NULL when there is none; and `late_settle()`: wait until nothing
 * more lands in it, and return how many of its bytes are not poison. */
unsigned char *late_memory(size_t bytes);
uint64_t late_settle(const unsigned char *memory, size_t bytes);
uint64_t late_count(const unsigned char *memory, size_t bytes, unsigned char but);

#endif
