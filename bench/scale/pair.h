/* SPDX-License-Identifier: Apache-2.0 */
/* What the two processes of scale_end.h share; for scale_source.c and scale_sink.c only. */
#ifndef BATON_BENCH_SCALE_PAIR_H
#define BATON_BENCH_SCALE_PAIR_H

#include "end.h"

#include <stdatomic.h>

enum order_kind {
    ORDER_ROUND = 1, /* answered when all offers are retired */
    ORDER_HOLD,      /* the same, but no byte is there yet */
    ORDER_ADVANCE,   /* now they are; no answer */
    ORDER_LOOK,      /* answered at once */
};

struct order {
    enum order_kind kind;
    uint32_t handoffs, at_once;
};

struct shared_ticket {
    uint32_t length;
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
};

/* Memory of both processes.  Tickets of a round lie in the order of its handoffs. */
struct shared {
    atomic_uint offered; /* so many tickets are there */
    struct shared_ticket ticket[];
};

/* What the source's block says at its two ends; never zero. */
static inline uint64_t payload_word(uint32_t handoff, uint32_t block, bool last)
{
    return (((uint64_t)handoff << 32 | block) * 2 + last + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

/* The child; ends when the channel does.  A write to `bell` says that there are more tickets. */
_Noreturn void source_run(const struct setup *setup, struct shared *shared, int channel, int bell);

#endif
