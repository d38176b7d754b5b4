/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer that is no engine: one Unix socket and a pair of rings, through which a test says whatever
 * it wants, also what no engine would say.  It may be the sink, which dials, or the source.  Calls
 * that wait do so for RAW_WAIT_MS at most and then say false.
 */
#ifndef BATON_TESTS_SCENARIO_RAW_LINK_H
#define BATON_TESTS_SCENARIO_RAW_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton.h"
#include "util/ring.h"
#include "wire/frame.h"

enum {
    RAW_WAIT_MS = 10000,
    RAW_RINGS_BYTES = 2 * sizeof(struct ring),
    RAW_SEALS = 0x2 | 0x4, /* F_SEAL_SHRINK, F_SEAL_GROW */
    RAW_IN_BYTES = 64 << 10,
    RAW_FDS_MAX = 4,
    RAW_ATTEMPT = 77, /* of the lease that raw_accept_push() gives */
};

struct raw_link {
    int listener, socket, memfd; /* -1: none */
    struct ring *map;            /* two; NULL: none */
    struct ring_end in, out;
    bool ringed; /* frames go through them */
    uint8_t incarnation[ID_BYTES];
    char endpoint[BATON_ENDPOINT_BYTES_MAX]; /* sources */
    uint8_t bytes[RAW_IN_BYTES];             /* heard and not used */
    size_t length, used;
};

/* A memfd of so many bytes with these seals. */
int raw_memfd(size_t bytes, unsigned seals);

/*
 * Sink: dial the engine and say HELLO with these bits and descriptors, which stay the caller's; the
 * first is mapped as the rings if it can be.  True: WELCOME, and `ringed` is what it says.
 */
bool raw_dial(struct raw_link *raw, baton_engine *engine, uint32_t bits, const int *fds,
              unsigned fd_count);
/* The same, with rings as they should be. */
bool raw_dial_rings(struct raw_link *raw, baton_engine *engine);

/* Source: listen, and make a ticket for an offer that there is not. */
bool raw_listen(struct raw_link *raw);
size_t raw_ticket(const struct raw_link *raw, uint64_t block_bytes, uint32_t block_count,
                  uint8_t *ret_ticket);
/* Source: wait for a HELLO with rings, map them, and say WELCOME. */
bool raw_accept(struct raw_link *raw);
/* The same, and then accept the push over shm that is opened; the first GRANT that follows. */
bool raw_accept_push(struct raw_link *raw, uint64_t block_bytes, uint32_t block_count,
                     struct frame *ret_grant);

/* Source: the connection alone; raw_accept() takes the next one. */
void raw_hang_up(struct raw_link *raw);
void raw_close(struct raw_link *raw);

/* One byte on the socket, with a descriptor or, -1, without. */
bool raw_bell(const struct raw_link *raw, int fd);
/* As many bytes as there is room for, without a bell. */
size_t raw_write(struct raw_link *raw, const void *bytes, size_t length);
/* A whole frame, and a bell if the engine sleeps.  False: no room, and nothing of it was said. */
bool raw_say(struct raw_link *raw, const struct frame *frame);
/* Wait for a frame.  Its payload is valid until the next call. */
bool raw_hear(struct raw_link *raw, struct frame *ret_frame);
/* Wait until the engine has closed the link. */
bool raw_gone(const struct raw_link *raw);
/* Wait until the engine has taken all bytes of the socket. */
bool raw_taken(const struct raw_link *raw);

/* Why the last link of an engine with the callback raw_on_log() ended; NULL: none has. */
extern _Atomic(const char *) raw_closed;
void raw_on_log(void *arg, baton_log_level level, const char *text);

/* An OPEN that is answered REFUSED, whatever the engine offers. */
struct frame raw_open(uint64_t fetch_id);
/* The CANCEL that ends the whole offer of a ticket. */
struct frame raw_cancel(const uint8_t *ticket, size_t length);

#endif
