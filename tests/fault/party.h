/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parties: real processes, each with one engine and one checked pool, that a test stops, continues,
 * kills and gives orders to.  What a party hears of its handoffs (stages, outcomes, receipts) it
 * writes to memory that the test reads.  The test's own process never has an engine.
 *
 * A call that can not do its part within PARTY_PATIENCE_MS fails a CHECK and returns; the test goes
 * on to its end, where party_finish() leaves no process behind.
 */
#ifndef BATON_TESTS_FAULT_PARTY_H
#define BATON_TESTS_FAULT_PARTY_H

#include <baton.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    PARTY_HANDOFFS = 256,
    PARTY_BLOCK_BYTES = 64 << 10,
    PARTY_POOL_BLOCKS = 256,
    PARTY_BLOCKS = 64, /* of one handoff */
    PARTY_BYTES = PARTY_BLOCKS * PARTY_BLOCK_BYTES,
    PARTY_HELPERS = 16,
    PARTY_PATIENCE_MS = 30000, /* on a busy machine, under a sanitizer, for a self-test */
};

/* How bytes and words travel. */
struct way {
    const char *transport;
    baton_link_kind link;
    baton_mode mode;
};

/* A story, told once for each way. */
#define TEST_EACH_WAY(story)                                                                       \
    TEST(story##_shm)                                                                              \
    {                                                                                              \
        story(&(struct way){"shm", BATON_LINK_AUTO, BATON_PULL});                                  \
    }                                                                                              \
    TEST(story##_tcp)                                                                              \
    {                                                                                              \
        story(&(struct way){"tcp", BATON_LINK_AUTO, BATON_PULL});                                  \
    }                                                                                              \
    TEST(story##_tcp_link)                                                                         \
    {                                                                                              \
        story(&(struct way){"tcp", BATON_LINK_TCP, BATON_PULL});                                   \
    }

/* Where a party's engine is held, once, within its trace, until party_open_gate(). */
enum party_gate {
    PARTY_GATE_NONE = 0,
    PARTY_GATE_LANDED,     /* a fetch's first bytes have landed */
    PARTY_GATE_COMMITTING, /* its last have, and COMMIT is not said yet */
};

struct party_options {
    const struct way *way;
    uint32_t link_timeout_ms;                        /* 0: the engine's default */
    uint32_t commit_timeout_ms, progress_timeout_ms; /* of fetches; 0: never */
    enum party_gate gate;
    unsigned gate_from;    /* handoffs below this number pass it */
    const char *listen[2]; /* both or none */
    baton_host host;       /* nixl: where it runs, */
    const char *lanes;     /* and what UCX may use; NULL: as the environment says */
    baton_on_doubt on_doubt;
    uint32_t on_doubt_ms; /* these: 0: the engine's default */
    uint64_t quarantine_bytes_max;
    unsigned quarantine_percent_max;
    unsigned blocks;      /* of a handoff; 0: PARTY_BLOCKS, which is the most */
    unsigned helpers_max; /* nixl */
};

/* What a program may not do with memory that a handoff still has, a bit each. */
enum party_guard {
    PARTY_GUARD_FREE = 1 << 0,   /* its blocks do not become free */
    PARTY_GUARD_RETIRE = 1 << 1, /* nor with a receipt that nobody gave */
    PARTY_GUARD_POOL = 1 << 2,   /* the pool can not be destroyed */
    PARTY_GUARD_ENGINE = 1 << 3, /* the engine neither */
    PARTY_GUARD_ALLOC = 1 << 4,  /* nobody else gets its blocks */
    PARTY_GUARDS = (1 << 5) - 1,
};

/* What a party has seen of one handoff.  Times are of CLOCK_MONOTONIC. */
struct party_handoff {
    atomic_uint stage;    /* of the fetch, or of the offer's slot 0 */
    atomic_ullong landed; /* bytes */
    atomic_uint outcomes, doubts, receipts;
    atomic_bool disordered;       /* a receipt before its outcome */
    atomic_bool retired;          /* the receipt was used */
    struct baton_result result;   /* valid once outcomes is 1 */
    struct baton_receipt receipt; /* valid once receipts is 1 */
    _Atomic(uint64_t) stage_us;   /* when `stage` was written last */
    uint64_t quiet_us;
    uint64_t links_fenced, peers_killed; /* by the engine, as of the receipt */
};

/* The memory that a party shares with the test. */
struct party_seen {
    struct party_handoff handoff[PARTY_HANDOFFS];
    char endpoint[2][BATON_ENDPOINT_BYTES_MAX];
    struct baton_pool_stats pool; /* as of the last party_free() */
    atomic_bool at_gate;
};

struct party_ticket {
    size_t length;
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
};

struct party {
    pid_t pid; /* 0: was killed and reaped, or never was */
    int pidfd, orders, news, gate;
    struct party_seen *seen;
};

uint64_t party_now_us(void);

/* Start a process with an engine.  Returns once it listens. */
struct party *party_start(const struct party_options *options);

/*
 * Everything of this party is over and was right: each handoff had one outcome and then one
 * receipt, the pool is whole and without late bytes, the engine closes, drains and can be
 * destroyed. Of one that was killed only the test's own things are let go.
 */
void party_finish(struct party *party);

/* Signals.  They return when the process is dead and reaped, or stopped; the time before that. */
uint64_t party_kill(struct party *party);
void party_stop(struct party *party);
void party_continue(struct party *party);
/* Somebody else kills it: wait for that, and reap it. */
void party_await_killed(struct party *party);

/* Orders.  Handoffs are numbered by the test, each number is used once in a party. */
struct party_ticket party_offer(struct party *party, unsigned handoff, uint64_t seed,
                                uint64_t watermark_bytes);
void party_advance(struct party *party, unsigned handoff, uint64_t watermark_bytes);
void party_fetch(struct party *party, unsigned handoff, const struct party_ticket *ticket);
/* With a progress clock of its own. */
void party_fetch_timed(struct party *party, unsigned handoff, const struct party_ticket *ticket,
                       uint32_t progress_timeout_ms);
/* One that must be refused, with that error. */
void party_fetch_refused(struct party *party, unsigned handoff, const struct party_ticket *ticket,
                         baton_err err);
/* Cancels, and returns what the call said. */
baton_cancel party_ask_cancel(struct party *party, unsigned handoff, baton_cancel_scope scope);
/* Returns the time before the call. */
uint64_t party_cancel(struct party *party, unsigned handoff, baton_cancel_scope scope);
/* What was seen of the handoff so far; whether its receipt has come, and what that says. */
const struct party_handoff *party_seen(const struct party *party, unsigned handoff);
bool party_has_receipt(const struct party *party, unsigned handoff);
baton_proof party_proof(const struct party *party, unsigned handoff);
/* Write another payload into the blocks of a handoff whose receipt was used. */
void party_rewrite(struct party *party, unsigned handoff, uint64_t seed);
/* How many bytes of the handoff's blocks are not the payload of `seed`. */
uint64_t party_wrong_bytes(struct party *party, unsigned handoff, uint64_t seed);
/* Let go of the blocks of all handoffs whose receipts were used; check the pool for late bytes. */
void party_free(struct party *party);
/* Each of party_guard that holds, after trying all of it. */
unsigned party_guards(struct party *party, unsigned handoff);
/* The counters, the pool's and the queue of completions, asked for while the engine does whatever
 * it does.  Into party->seen->pool. */
void party_status(struct party *party);
/* The engine is given up; the party can only be killed after that. */
struct baton_abandoned party_abandon(struct party *party);
/* Its helpers, at most PARTY_HELPERS.  Returns how many. */
unsigned party_helpers(const struct party *party, pid_t *ret_helpers);
void party_close(struct party *party);
baton_err party_drain(struct party *party, int timeout_ms);
/* The party forks; the child holds every descriptor and does nothing.  Returns its pid. */
pid_t party_fork_holder(struct party *party);
/* End what party_fork_holder() made.  After the party's own end. */
void party_end_holder(pid_t holder);
/* The party forks; the child makes every call on the engine.  How many did not say EFORKED. */
unsigned party_fork_wrong_calls(struct party *party);
/* Drop (or no more) all that arrives at the party's TCP connections.  Returns how many. */
unsigned party_deafen(struct party *party, bool deaf);

/* Waiting.  False, and a failed CHECK, when it does not come. */
bool party_await_stage(struct party *party, unsigned handoff, baton_stage stage);
bool party_await_landed(struct party *party, unsigned handoff, uint64_t bytes);
bool party_await_doubt(struct party *party, unsigned handoff);
/* Outcome and used receipt. */
bool party_await_end(struct party *party, unsigned handoff);
bool party_await_gate(struct party *party);
void party_open_gate(struct party *party);

/* Questions. */
baton_outcome party_outcome(const struct party *party, unsigned handoff);
baton_cause party_cause(const struct party *party, unsigned handoff);
uint64_t party_quiet_us(const struct party *party, unsigned handoff);
unsigned party_stage(const struct party *party, unsigned handoff);
/* After party_free(): all blocks are free, none was written to while it was. */
bool party_whole(const struct party *party);

#endif
