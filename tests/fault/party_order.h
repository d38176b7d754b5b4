/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of a party say to each other; for party.c and party_child.c only. */
#ifndef BATON_TESTS_FAULT_PARTY_ORDER_H
#define BATON_TESTS_FAULT_PARTY_ORDER_H

#include "fault/party.h"

enum party_verb {
    PARTY_OFFER = 1,
    PARTY_ADVANCE,
    PARTY_FETCH,
    PARTY_CANCEL,
    PARTY_REWRITE,
    PARTY_WRONG_BYTES,
    PARTY_FREE,
    PARTY_CLOSE,
    PARTY_DRAIN,
    PARTY_DESTROY,
    PARTY_FORK_HOLDER,
    PARTY_FORK_CALLS,
    PARTY_DEAFEN,
    PARTY_TRY_GUARDS,
    PARTY_STATUS,
    PARTY_ABANDON,
};

/* One packet to the child. */
struct party_order {
    enum party_verb verb;
    unsigned handoff;
    uint64_t number; /* a seed, a watermark, a time, a scope */
    uint64_t watermark_bytes;
    struct party_ticket ticket;
};

/* One packet back; the first, without an order, says that the engine listens. */
struct party_answer {
    baton_err err;
    uint64_t number;
    baton_cancel cancel;
    struct baton_abandoned abandoned;
    struct party_ticket ticket;
};

/* The child's whole life. */
_Noreturn void party_live(const struct party *party, const struct party_options *options);

/* In a child of the party: how many calls on the parent's engine do not say EFORKED. */
unsigned party_calls_after_fork(baton_engine *engine, baton_pool *pool, baton_handoff *handoff);

#endif
