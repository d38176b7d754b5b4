/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NIXL without Baton, between the same blocks, in its best simple use: an agent without a progress
 * thread on each side, both of which poll; of each handoff's share all blocks in one operation.
 * Both processes of a pair have this; who asks whom is elsewhere.
 */
#ifndef BATON_TOOLS_BENCH_RAW_NIXL_H
#define BATON_TOOLS_BENCH_RAW_NIXL_H

#include "bench/side.h"

enum { RAW_NIXL_DESCRIPTOR_BYTES_MAX = 4096 };

/* What one side tells the other of itself. */
struct raw_nixl_descriptor {
    uint64_t base; /* of its pool, in its process */
    size_t length;
    uint8_t bytes[RAW_NIXL_DESCRIPTOR_BYTES_MAX];
};

struct raw_nixl;

/* Load NIXL, make an agent and register the side's pool.  `side` is borrowed until the close. */
baton_err raw_nixl_open(const struct bench_side *side, struct raw_nixl **ret_nixl,
                        struct raw_nixl_descriptor *ret_descriptor, struct baton_error *ret_error);
/* Know the other side, and prepare the lists of all blocks of both. */
baton_err raw_nixl_meet(struct raw_nixl *nixl, const struct raw_nixl_descriptor *other,
                        struct baton_error *ret_error);
/* Accepts NULL.  Nothing is under way. */
void raw_nixl_close(struct raw_nixl *nixl);

/*
 * Move the whole payload: the sink reads it or the source writes it, whichever side calls this, and
 * the other polls meanwhile.  `prepares`: with lists that are made for it, in the time that is
 * measured, as for a request whose blocks nobody knew before; else with those of raw_nixl_meet().
 */
baton_err raw_nixl_move(struct raw_nixl *nixl, bool prepares, double *ret_seconds,
                        struct baton_error *ret_error);

/* Poll until there is something to read on `channel`. */
void raw_nixl_serve(struct raw_nixl *nixl, int channel);

#endif
