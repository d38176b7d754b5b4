/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `baton demo late-bytes`: one run moves bytes between two processes, breaks off, is told that it
 * is over, poisons the memory, lets everything go on, and counts the bytes that changed after that.
 */
#ifndef BATON_TOOLS_DEMO_LATE_H
#define BATON_TOOLS_DEMO_LATE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "baton.h"

enum {
    LATE_BLOCK_BYTES = 64 << 10,
    LATE_WAIT_MS_MAX = 20000, /* whoever needs longer for one step is broken */
    LATE_PAYLOAD = 0xa5,      /* every byte that moves */
    LATE_POISON = 0x5a,       /* every byte of the memory of the next owner */
};

struct late_run {
    const char *who, *lane, *way;
    bool stopped;      /* the peer, from before the end until after the poison */
    uint64_t bytes;    /* that were to move */
    uint64_t before;   /* of them, there when the memory was poisoned */
    uint64_t late;     /* and changed afterwards */
    double answer_us;  /* from the call that ends it to the answer */
    char answer[80];   /* what the caller was told */
    char failure[160]; /* why there is no result; "" when there is one */
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
/* Kill and reap it. */
void late_child_end(struct late_child *child);

/* Memory that the children share, NULL when there is none; and `late_settle()`: wait until nothing
 * more lands in it, and return how many of its bytes are not poison. */
unsigned char *late_memory(size_t bytes);
uint64_t late_settle(const unsigned char *memory, size_t bytes);
uint64_t late_count(const unsigned char *memory, size_t bytes, unsigned char but);

/* Find NIXL, in a child.  BATON_OK with its version, or the error. */
baton_err late_nixl_find(const char *path, char ret_version[32], struct baton_error *ret_error);
enum { LATE_NIXL_RUNS = 12, LATE_BATON_RUNS = 4 };
void late_nixl_run(const char *path, unsigned index, size_t bytes, struct late_run *ret_run);
void late_baton_run(unsigned index, size_t bytes, struct late_run *ret_run);

#endif
