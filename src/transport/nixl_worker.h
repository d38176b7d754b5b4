/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only code that calls NIXL for handoffs: a loop that owns NIXL's agents, polls them, and does
 * what messages on a socket say.  It runs in a thread of the engine's process, or is all that a
 * helper process does; either way it ends when its socket does.
 *
 * The socket is AF_UNIX, SOCK_SEQPACKET: a message is one packet, in the layout of this process's
 * compiler, since both ends are of one build.  The other end is trusted.
 *
 * A *port* is an agent with one pool registered: one for each link and pool, so that destroying it
 * ends what goes on over that link and nothing else.  A move is one posted operation.
 */
#ifndef BATON_TRANSPORT_NIXL_WORKER_H
#define BATON_TRANSPORT_NIXL_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NIXL_SPANS_MAX = 256,                 /* of one move */
    NIXL_DESCRIPTOR_BYTES_MAX = 32 << 10, /* an agent's metadata */
    NIXL_NAME_BYTES = 64,
    NIXL_VERSION = 1, /* of these messages */
};

enum nixl_message_type {
    /* To the worker. */
    NIXL_OPEN = 1, /* make a port.  A descriptor comes with it when `base` is 0: map it */
    NIXL_MEET,     /* a port is to know a peer's port; bytes: its descriptor */
    NIXL_MOVE,     /* bytes: spans */
    NIXL_WAKE,     /* look again at once for a while: the peer is about to move */
    NIXL_CLOSE,    /* destroy the port, with all that goes on */
    /* From the worker. */
    NIXL_OPENED, /* `base`: where the pool is there; bytes: the descriptor, or why it failed */
    NIXL_MOVED,
    NIXL_CLOSED, /* after it no byte is moved through the port; its last moves are told before */
};

/* How a move ended. */
enum nixl_moved {
    NIXL_MOVE_DONE = 0,
    NIXL_MOVE_NOT_BEGUN, /* nothing was posted */
    NIXL_MOVE_BROKEN,    /* the library gave it up: bytes may move until the port is closed */
};

struct nixl_span {
    uint64_t local, remote; /* bytes from the start of the pools */
    uint64_t length;
};

struct nixl_message {
    uint16_t type;
    uint16_t operation; /* MOVE: enum nixl_operation */
    uint32_t port;
    uint32_t peer;              /* MEET, MOVE: the worker's user's number of the peer's port */
    int32_t status;             /* OPENED: 0, or it failed; MOVED: enum nixl_moved */
    uint64_t tag;               /* MOVE, MOVED: the user's */
    uint64_t base;              /* OPEN, OPENED: this pool's; MEET: the peer's */
    uint64_t length;            /* OPEN: the pool's bytes; MEET: the peer's */
    uint32_t memory;            /* OPEN, MEET: enum nixl_memory, */
    uint32_t device;            /* and the GPU of NIXL_VRAM */
    char name[NIXL_NAME_BYTES]; /* OPEN: the agent's */
    /* The bytes follow, to the end of the packet. */
};

enum {
    NIXL_MESSAGE_BYTES_MAX = sizeof(struct nixl_message) + NIXL_DESCRIPTOR_BYTES_MAX,
};

struct nixl_api;

/*
 * Serve `socket` until its other end is closed; then destroy what is left and return.  Takes the
 * descriptor.  `api` is loaded.  False: it could not even begin, for want of memory.
 */
bool nixl_worker_run(const struct nixl_api *api, int socket);

/*
 * What UCX_TLS, as this process's environment has it, lets a peer do to memory of the host.  Read
 * before NIXL is loaded, which reads it once.
 */
enum nixl_lanes {
    NIXL_LANES_ANY = 0, /* anything: a NIC or a GPU may store */
    NIXL_LANES_HOST,    /* this host's: a peer's process may store by itself, or this side's */
    NIXL_LANES_OWN,     /* what is stored in a process's memory its own library stores */
};

enum nixl_lanes nixl_lanes(const char *tls);

/* Where there is a GPU, NIXL refuses lanes without one to it: add that to UCX_TLS.  Of a process
 * that is our own, before it has threads. */
void nixl_lanes_complete(void);

#endif
