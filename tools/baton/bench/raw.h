/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP connections over the loopback without Baton, between the same blocks: the payload by writev
 * and readv, and round trips.  Both processes of a pair have this; who asks whom is elsewhere.
 */
#ifndef BATON_TOOLS_BENCH_RAW_H
#define BATON_TOOLS_BENCH_RAW_H

#include "bench/side.h"

enum {
    RAW_CONNECTIONS_MAX = 2,
    RAW_HEADER_BYTES_MAX = 64, /* of a round trip, before the block */
};

struct raw_config {
    bool polled;    /* one thread on each side never sleeps; else one a connection blocks */
    unsigned tries; /* that poll and move nothing, until the core is yielded: two that poll may
                       share one */
    unsigned connections;
    size_t call_bytes; /* of one writev or readv */
    int buffer_bytes;  /* of the sockets, by force where that is allowed; 0: the system's */
};

struct raw {
    struct raw_config config;
    int fds[RAW_CONNECTIONS_MAX]; /* -1: not connected */
};

/* There and back: a header, and for the way back a whole block behind it. */
struct raw_trip {
    size_t there_bytes, back_bytes; /* at most RAW_HEADER_BYTES_MAX */
    bool block;
};

void raw_init(struct raw *raw);
void raw_fini(struct raw *raw);

/* The end that listens, and the one that connects to it.  `raw` is not connected. */
baton_err raw_listen(const struct raw_config *config, int *ret_listener, uint16_t *ret_port,
                     struct baton_error *ret_error);
baton_err raw_accept(struct raw *raw, const struct raw_config *config, int listener,
                     struct baton_error *ret_error);
baton_err raw_connect(struct raw *raw, const struct raw_config *config, uint16_t port,
                      struct baton_error *ret_error);

/* The whole payload. */
baton_err raw_send(const struct bench_side *side, const struct raw *raw,
                   struct baton_error *ret_error);
baton_err raw_receive(const struct bench_side *side, const struct raw *raw,
                      struct baton_error *ret_error);

/* One round trip over a polled connection, with the payload's block `index`: ask and answer. */
baton_err raw_ask(const struct bench_side *side, const struct raw *raw, const struct raw_trip *trip,
                  size_t index, struct baton_error *ret_error);
baton_err raw_answer(const struct bench_side *side, const struct raw *raw,
                     const struct raw_trip *trip, size_t index, struct baton_error *ret_error);

#endif
