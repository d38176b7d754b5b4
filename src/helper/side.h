/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two children with a NIXL agent each, for programs that count late bytes.  They are children
 * because NIXL can not be unloaded and reads its environment once.  The agents have no progress
 * thread, so nothing moves but when a side polls: what is under way is under the parent's orders.
 */
#ifndef BATON_HELPER_SIDE_H
#define BATON_HELPER_SIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "helper/child.h"
#include "transport/nixl_api.h"

enum { SIDE_INITIATOR, SIDE_TARGET, SIDES };

/* What both are to do; made before they are. */
struct side_orders {
    const char *library; /* or NULL */
    const char *tls;     /* UCX's transports */
    bool no_errors;      /* they can not tell that a peer died */
    bool writes;
    size_t bytes;
    unsigned char *memory[SIDES]; /* shared with the parent; of late_memory() */
    int peers[SIDES];             /* between the two, for their metadata; of side_pair_start() */
};

/* What a side says: that it is ready, or what its calls returned. */
struct side_report {
    int post, release, deregister, destroy;
    double us;     /* of the calls that end what goes on */
    size_t landed; /* blocks, of those that were looked for */
    char failure[128];
};

/* A child's own. */
struct side {
    const struct side_orders *orders;
    const struct nixl_api *api;
    int channel, peer_channel;
    struct nixl_agent *agent;
    struct nixl_hints *hints;
    struct nixl_regions *regions;
    struct nixl_notices *notices;
    char *peer;
    int *indices;                          /* initiator */
    struct nixl_prepared *prepared[SIDES]; /* initiator */
};

/* In a child.  An agent that is connected to the other, with its memory registered; the initiator
 * has moved one block.  What fails is told to the parent and ends the child. */
void side_open(struct side *ret_side, const struct side_orders *orders, int which, int channel);
void side_tell(const struct side *side, const struct side_report *report);
void side_must(const struct side *side, bool ok, const char *what);
/* A transfer of the first `blocks` blocks. */
struct nixl_request *side_request(struct side *side, size_t blocks);
/* Move what can be moved; true: the parent has said something. */
bool side_poll(struct side *side);
/* The next order, 0 when the parent has gone: polling until it comes, and without. */
char side_serve(struct side *side);
char side_order(const struct side *side);

/* In the parent. */
struct side_pair {
    struct late_child children[SIDES];
};

/* `run` is given the orders.  False: it could not be started, and nothing is left. */
bool side_pair_start(struct side_pair *ret_pair, struct side_orders *orders,
                     void (*const run[SIDES])(void *arg, int channel));
void side_pair_end(struct side_pair *pair, const struct side_orders *orders);
bool side_say(const struct side_pair *pair, int which, char order);
/* False: `ret_failure` says why there is none. */
bool side_hear(const struct side_pair *pair, int which, struct side_report *ret_report,
               char ret_failure[160]);

#endif
