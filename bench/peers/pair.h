/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two processes of a peer's program in C, what each does in which order, and the report.  The
 * source sends payload blocks when the sink asks for them.
 */
#ifndef BATON_PEERS_PAIR_H
#define BATON_PEERS_PAIR_H

#include "workload.h"

struct pair {
    struct workload workload;
    bool source;
    int channel; /* a socket to the other process, used outside of what is measured */
};

struct pair_transport {
    /* Both sides, at the same time. */
    void (*open)(struct pair *pair);
    /* The source: sends what is asked for until stop(). */
    void (*serve)(void);
    /* The sink: from the question to the last block in its place. */
    void (*fetch)(uint64_t first, uint64_t count);
    /* The sink. */
    void (*stop)(void);
};

/* Arguments: the size of a block and of all blocks, in bytes. */
int pair_main(int argc, char **argv, const struct pair_transport *transport);

/* Both exit when the other process is gone. */
void pair_send(const struct pair *pair, const void *bytes, size_t length);
void pair_receive(const struct pair *pair, void *bytes, size_t length);

#endif
