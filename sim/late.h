/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of the one-sided write, for the push protocol to come: a source writes into the sink's
 * memory, and its bytes land later than anything it says: after its local completion, after the
 * connection was closed, after its death.  Only a fence at the sink (closing its own end of the way
 * in, and waiting for that to be done) ends it.  It is not wired to the protocol.
 */
#ifndef BATON_SIM_LATE_H
#define BATON_SIM_LATE_H

#include <stdbool.h>
#include <stdint.h>

enum { LATE_BLOCKS = 8, LATE_POSTED_MAX = 64 };

/* One piece that was posted and has not landed. */
struct late_write {
    uint32_t transfer, block, piece, lane;
    uint64_t generation;
    bool completed; /* its source was told so: that says nothing about landing */
};

struct late_block {
    uint64_t generation;
    uint32_t transfer; /* that it is granted to; 0: none */
};

struct late_wire {
    struct late_write posted[LATE_POSTED_MAX];
    uint32_t count;
    uint32_t fenced; /* bit set of lanes whose way in is closed: nothing lands from them */
    struct late_block block[LATE_BLOCKS];
    uint64_t landed, dropped;
    const char *violation; /* the name of the checker that was not content; NULL */
};

void late_init(struct late_wire *wire);
/* The sink grants a free block to a transfer, at a new generation. */
void late_grant(struct late_wire *wire, uint32_t transfer, uint32_t block);
void late_post(struct late_wire *wire, uint32_t transfer, uint32_t block, uint32_t piece,
               uint32_t lane);
/* The source's local completion of all that it posted for the transfer. */
void late_complete(struct late_wire *wire, uint32_t transfer);
/* One posted piece lands, whatever was said meanwhile.  False: none was posted. */
bool late_land(struct late_wire *wire, uint32_t which);
/* The sink closes its own end of a lane, and that is done. */
void late_fence(struct late_wire *wire, uint32_t lane);
/* The sink counts the transfer as proven quiet (check_S3 and S13). */
void late_prove(struct late_wire *wire, uint32_t transfer);
/* The sink gives the block back (check_S2). */
void late_release(struct late_wire *wire, uint32_t block);

#endif
