/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the conformance suite needs from each transport: a world, which is a source pool, a sink
 * pool and two links between them, all in the test's process and driven by one host loop.
 *
 * A test program is conform.c, world.c, host_loop.c and one or more fixture files; one of those
 * files defines `conform_fixtures`.  The world answers the transport's read_request() itself (see
 * world.h), or pushes what is posted, so a fixture makes and destroys things, and no more.
 */
#ifndef BATON_TESTS_CONFORM_FIXTURE_H
#define BATON_TESTS_CONFORM_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "host_loop.h"

enum {
    WORLD_LINKS = 2,
    FIXTURE_MOVERS_MAX = 4,
};

/* The engine's numbers of the `i`-th link's two ends: for link_args.link, hence in the upcalls. */
static inline uint32_t world_sink_number(unsigned i)
{
    return 2 * i;
}

static inline uint32_t world_source_number(unsigned i)
{
    return 2 * i + 1;
}

struct world_link {
    struct transport_link *sink;           /* open; the world sets NULL when it closes it */
    struct transport_link *source;         /* the same; NULL: this transport has no source's end */
    const struct transport_region *region; /* NULL: windows of this transport have none */
};

struct world {
    const struct fixture *fixture;
    struct transport_options options; /* as the story wants them; links_max holds for both ends */
    uint32_t block_bytes;
    uint32_t block_count;  /* of each pool */
    struct host_loop loop; /* initialised; its hooks are set */

    /* Made by the fixture's open. */
    unsigned char *source; /* block_bytes x block_count bytes that the test writes */
    unsigned char *sink;   /* the same size; where windows go */
    struct world_link links[WORLD_LINKS];
    void *own;        /* the fixture's */
    const char *skip; /* why open() failed, when it is the environment's fault */

    struct world_state *state; /* world.c's */
};

struct fixture {
    const char *name;
    const struct transport_ops *ops;
    bool push; /* windows are granted: the world has the source push each one that is posted */
    /* The mover counts with which every story runs; a transport without movers names {0}, 1. */
    unsigned movers[FIXTURE_MOVERS_MAX];
    unsigned movers_count;

    /*
     * Make the pools, the transport (or two: one for each side) with `world->options`, tell the
     * loop to drive it, and open both links; drive the loop until they can carry windows.
     * False: nothing is left behind; `world->skip` says why, or is NULL and the story has failed.
     */
    bool (*open)(struct world *world);
    /* Destroy all that open made.  The links are closed and every window was given back. */
    void (*close)(struct world *world);

    /*
     * From now on the source's memory can not be read from block `from_block` on.  NULL: the world
     * answers requests for such bytes with refuse().
     */
    void (*break_source)(struct world *world, uint32_t from_block);

    /* End the source's process and return when it is gone.  NULL: it has none of its own. */
    void (*kill_source)(struct world *world);
};

/* The fixtures of this program; ends with NULL. */
extern const struct fixture *const conform_fixtures[];

#endif
