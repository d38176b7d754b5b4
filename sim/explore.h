/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The explorer: every interleaving of a small world over the real core and pool, by depth-first
 * search with a table of fingerprints.  Time is left out: any clock that runs may fire at any step.
 * It is not the simulator, which runs larger worlds along random schedules.
 *
 * Not thread-safe: it sets the process's panic hook while it runs, to catch broken assertions.
 */
#ifndef BATON_SIM_EXPLORE_H
#define BATON_SIM_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EXPLORE_TEXT_BYTES = 128,   /* one step in words */
    EXPLORE_WHAT_BYTES = 256,   /* what is wrong */
    EXPLORE_VIOLATIONS_MAX = 8, /* kept, each of another invariant */
    EXPLORE_MEMORY_BYTES_MIN = 1 << 16,
};

struct explore_progress {
    uint64_t states, transitions, violations;
    uint32_t depth; /* of the state that is looked at */
    uint64_t memory_bytes;
};

/* What a test's own check may look at. */
struct explore_look {
    unsigned completed; /* fetches, so far */
    unsigned committed; /* slots, so far */
    unsigned revoked;   /* slots that a peer of the offer can no longer commit */
    unsigned reading;   /* pieces that movers have under way */
};

struct explore_options {
    const char *world;
    uint64_t memory_bytes;   /* of the table of fingerprints; 0: 1 GiB */
    uint64_t states_max;     /* 0: all */
    uint32_t violations_max; /* stop after so many; 0: after the first */
    /* Called every 2^16 states or so; may be NULL.  Returns false to stop. */
    bool (*progress)(void *arg, const struct explore_progress *progress);
    /* A check of a test, made after every step; true: broken.  NULL but in tests. */
    bool (*wrong)(void *arg, const struct explore_look *look);
    void *arg;
};

struct explore_violation {
    char invariant[EXPLORE_TEXT_BYTES]; /* its name in the list of invariants, or "assertion" */
    char what[EXPLORE_WHAT_BYTES];
    uint32_t length; /* of the path, already shortened */
    char (*path)[EXPLORE_TEXT_BYTES];
};

struct explore_result {
    uint64_t states; /* canonical */
    uint64_t transitions;
    uint64_t terminals; /* states in which nothing can happen any more */
    uint64_t rests;     /* states in which nothing happens by itself: P11 was checked there */
    uint32_t depth;     /* of the longest path searched */
    bool exhausted;     /* every state was seen; else memory, states_max or a stop ended it */
    uint64_t violations;
    uint32_t kept;
    struct explore_violation violation[EXPLORE_VIOLATIONS_MAX];
};

/*
 * Explore.  Returns 0 when it ran, whatever it found; -1: no such world; -2: no memory.
 * `*ret_result` is written when it ran, and is emptied with explore_result_fini().
 */
int explore_run(const struct explore_options *options, struct explore_result *ret_result);
void explore_result_fini(struct explore_result *result);

/* The worlds, in the order of their size; NULL behind the last. */
const char *explore_world_name(unsigned i);
const char *explore_world_about(unsigned i);

#endif
