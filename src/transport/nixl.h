/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the nixl transport share: nixl.c (windows, moves, what workers say),
 * nixl_port.c (ports and who hosts them), nixl_end.c (the ends of links, and what they prove).
 */
#ifndef BATON_TRANSPORT_NIXL_H
#define BATON_TRANSPORT_NIXL_H

#include <stdbool.h>
#include <stdint.h>

#include "transport/helper.h"
#include "transport/movers.h"
#include "transport/nixl_host.h"
#include "transport/transport.h"

enum {
    MOVES_MAX = 8, /* of a link, posted and not over */
    MOVE_BYTES_MAX = 1 << 20,
    SPAN_BYTES_MAX = 256 << 10, /* what is adjacent is one span up to here */
    DESCRIPTOR_VERSION = 1,
    DESCRIPTOR_HEAD_BYTES = 16,
};

#define NO_REGION UINT32_MAX

/* What the self-test of fences has shown.  Of the process, as the lanes are. */
enum fence_state {
    FENCE_UNKNOWN = 0,
    FENCE_TESTING,
    FENCE_HOLDS,
    FENCE_FAILS,
};

struct move {
    struct transport_window *window; /* NULL: free */
    struct port *port;
    uint64_t length;
    bool broken;
};

enum port_state {
    PORT_OPENING,
    PORT_OPEN,
    PORT_CLOSING,
};

/* An agent for one link and one pool of this process. */
struct port {
    struct port *next;
    struct transport_link *link;
    struct transport_memory *memory; /* a reference */
    struct nixl_host *host;
    uint32_t number;
    enum port_state state;
    bool wanted;               /* the peer is to know it, */
    bool told;                 /* and does */
    unsigned moves;            /* posted and not over */
    unsigned char *descriptor; /* for the peer; NULL until it is open */
    size_t descriptor_length;
    uint32_t met[BATON_POOLS_MAX]; /* regions of the peer, by place; NO_REGION: none */
};

/* A peer's pool. */
struct remote {
    uint32_t region;
    bool in_helper; /* the peer's end is */
    bool cuda;      /* it is memory of the GPU `device` */
    uint32_t device;
    uint64_t base, bytes;
    size_t length;
    unsigned char descriptor[];
};

struct transport_link {
    struct transport_link *next;
    struct transport *transport;
    uint32_t number;
    uint64_t serial;
    bool sink;
    bool closed;
    bool broken;
    bool fenced;   /* all its ports are gone, and that was told */
    bool shares;   /* a port was made known to the peer, or may have been */
    bool threaded; /* some port was in this process */
    bool gpu;      /* it moves, or has moved, GPU memory */
    bool peer_dead;
    struct transport_fd peer_exit; /* a pidfd of its own; fd -1: unknown */
    bool peer_exit_watched;
    struct nixl_host *helper; /* NULL: none */
    struct port *ports;
    struct remote *remotes[BATON_POOLS_MAX];
    struct window_list waiting; /* not wholly posted */
    unsigned windows;           /* posted by the engine, and window_done() has not returned */
    unsigned moves;
    struct move move[MOVES_MAX];
};

struct transport {
    struct transport_host host; /* copied */
    struct transport_options options;
    char helper_path[PATH_MAX]; /* "": there is none */
    enum nixl_lanes lanes;
    bool by_tcp; /* lanes on which a peer can die of its reader's end */
    char name[24];
    struct nixl_host_user user;
    struct nixl_host *thread; /* NULL until it is needed */
    struct nixl_host *spare;  /* a helper that no link has yet */
    unsigned helpers;
    struct transport_link *links;
    uint32_t next_port;
    struct window_list returning;
    enum fence_state fence;
    struct helper fence_test;
    struct transport_fd fence_said; /* its socket */
};

/* nixl.c */
void nixl_log(const struct transport *transport, baton_log_level level, const char *what,
              const char *why);
/* Give back what waits for it.  The upcalls may call into the transport. */
void nixl_give_back(struct transport *transport);
void nixl_link_break(struct transport_link *link, const char *why);
/* Post what can be. */
void nixl_pump(struct transport_link *link);
/* The port's end is gone: all its moves are over. */
void nixl_moves_fenced(struct port *port, baton_proof proof);

/* nixl_port.c */
/* The link's port for the pool, made if there is none; NULL: the link is broken. */
struct port *nixl_port_of(struct transport_link *link, struct transport_memory *memory);
struct port *nixl_port_find(const struct transport *transport, uint32_t number);
void nixl_port_opened(struct port *port, const struct nixl_message *message,
                      const unsigned char *bytes, size_t length);
/* Tell the peer of it, if that is wanted and it is open. */
void nixl_port_share(struct port *port);
void nixl_port_free(struct port *port);

/* The peer's pool, if it was learned; NULL. */
const struct remote *nixl_remote_of(const struct transport_link *link, uint32_t region);
/* As the ops table says. */
bool nixl_learn(struct transport_link *link, uint32_t region, uint64_t bytes,
                const void *descriptor, size_t length);

/* nixl_end.c */
/* A closed link: destroy what can be, and tell once all is gone.  It may be freed. */
void nixl_link_retire(struct transport_link *link);
/* Frees it, if it is closed and all is over. */
void nixl_link_release(struct transport_link *link);
void nixl_link_free(struct transport_link *link);
/* Destroy the port, unless that would harm, or prove nothing. */
void nixl_retire_port(struct port *port);
/* What the self-test has to say; and its end. */
void nixl_fence_tested(struct transport_fd *fd, unsigned events);
void nixl_fence_end(struct transport *transport);
/* The peer's process has ended. */
void nixl_peer_exited(struct transport_fd *fd, unsigned events);

#endif
