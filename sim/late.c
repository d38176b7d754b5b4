/* SPDX-License-Identifier: Apache-2.0 */
/* The model of late.h, with its own checkers: it notes the first invariant that was broken. */
#include "sim/late.h"

#include <string.h>

#include "util/assert.h"

static void broken(struct late_wire *wire, const char *checker)
{
    if (!wire->violation) {
        wire->violation = checker;
    }
}

static bool is_fenced(const struct late_wire *wire, const struct late_write *w)
{
    return wire->fenced >> w->lane & 1;
}

/* S1: what lands, lands in a block of that grant. */
static void check_S1_late(struct late_wire *wire, const struct late_write *w)
{
    const struct late_block *b = &wire->block[w->block];

    if (b->transfer != w->transfer || b->generation != w->generation) {
        broken(wire, "S1_no_late_write");
    }
}

/* S3, S13: nothing of the transfer can land any more, on any lane. */
static void check_S3_late(struct late_wire *wire, uint32_t transfer)
{
    for (uint32_t i = 0; i < wire->count; i++) {
        if (wire->posted[i].transfer == transfer && !is_fenced(wire, &wire->posted[i])) {
            broken(wire, "S3_proof_soundness");
        }
    }
}

/* S2: nothing is under way to a block that is given back. */
static void check_S2_late(struct late_wire *wire, uint32_t block)
{
    for (uint32_t i = 0; i < wire->count; i++) {
        if (wire->posted[i].block == block && !is_fenced(wire, &wire->posted[i])) {
            broken(wire, "S2_no_reuse_before_proof");
        }
    }
}

void late_init(struct late_wire *wire)
{
    memset(wire, 0, sizeof(*wire));
}

void late_grant(struct late_wire *wire, uint32_t transfer, uint32_t block)
{
    BATON_ASSERT(block < LATE_BLOCKS && transfer != 0 && wire->block[block].transfer == 0);
    wire->block[block].transfer = transfer;
    wire->block[block].generation++;
}

void late_post(struct late_wire *wire, uint32_t transfer, uint32_t block, uint32_t piece,
               uint32_t lane)
{
    BATON_ASSERT(wire->count < LATE_POSTED_MAX && block < LATE_BLOCKS && lane < 32);
    wire->posted[wire->count++] = (struct late_write){.transfer = transfer,
                                                      .block = block,
                                                      .piece = piece,
                                                      .lane = lane,
                                                      .generation = wire->block[block].generation};
}

void late_complete(struct late_wire *wire, uint32_t transfer)
{
    for (uint32_t i = 0; i < wire->count; i++) {
        wire->posted[i].completed |= wire->posted[i].transfer == transfer;
    }
}

bool late_land(struct late_wire *wire, uint32_t which)
{
    struct late_write w;

    if (wire->count == 0) {
        return false;
    }
    which %= wire->count;
    w = wire->posted[which];
    wire->posted[which] = wire->posted[--wire->count];
    if (is_fenced(wire, &w)) {
        wire->dropped++;
        return true;
    }
    check_S1_late(wire, &w);
    wire->landed++;
    return true;
}

void late_fence(struct late_wire *wire, uint32_t lane)
{
    wire->fenced |= UINT32_C(1) << lane;
}

void late_prove(struct late_wire *wire, uint32_t transfer)
{
    check_S3_late(wire, transfer);
}

void late_release(struct late_wire *wire, uint32_t block)
{
    check_S2_late(wire, block);
    wire->block[block].transfer = 0;
}
