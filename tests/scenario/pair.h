/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two engines of one process, a source and a sink, with a pool each, and records of what a
 * handoff's two ends were told.  It knows only baton.h; it is no fixture for processes that die.
 */
#ifndef BATON_TESTS_SCENARIO_PAIR_H
#define BATON_TESTS_SCENARIO_PAIR_H

#include "baton.h"
#include "test.h"

#include <pthread.h>

enum {
    PAIR_WAIT_MS = 20000,    /* nothing in a test may take longer */
    PAIR_BLOCK_BYTES = 8192, /* unless the set-up says otherwise */
    PAIR_BLOCKS = 64,        /* of each pool, unless the set-up says otherwise */
    END_BLOCKS_MAX = 64,
};

/* One way to run both engines. */
struct kind {
    const char *name;
    const char *transport; /* the only one allowed; NULL: both */
    baton_link_kind link;
    baton_progress progress;
    int movers;
    bool wrapped; /* both pools wrap memory of the test */
};

extern const struct kind kinds[];
extern unsigned kinds_count;
/* Baton's threads and shm; the same with tcp. */
extern const struct kind *const plain_shm, *const plain_tcp;

struct ticket {
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
    size_t length;
};

enum moment { MOMENT_OUTCOME, MOMENT_DOUBT, MOMENT_QUIET, MOMENT_TRACE };

/* One end of a handoff, and what it was told.  The pair's lock protects what callbacks write. */
struct end {
    struct pair *pair;
    baton_pool *pool;
    baton_handoff *handoff; /* one reference */
    baton_handoff
        *seen; /* what the last callback named, for hooks: fetch_start() may not have returned */
    uint32_t blocks[END_BLOCKS_MAX];
    size_t block_count;
    uint64_t content;     /* offers: what the blocks were filled with */
    struct ticket ticket; /* offers: of slot 0 */
    unsigned calling;     /* callbacks that have begun and not ended */
    unsigned outcomes, doubts, quiets;
    bool disordered; /* a notice came before the one that must precede it */
    unsigned stages; /* bit set of the stages that were traced */
    uint64_t landed; /* as last traced */
    struct baton_result result;
    char aux[64]; /* the first of the aux bytes, copied in the callback */
    struct baton_receipt receipt;
    /* Called in every callback, without the lock, after the record is written. */
    void (*hook)(struct end *end, enum moment moment, baton_stage to);
    struct end *other; /* for hooks */
    unsigned hook_value;
    unsigned hook_calls;
};

struct pair {
    const struct kind *kind;
    baton_engine *source, *sink;
    baton_pool *source_pool, *sink_pool;
    size_t block_bytes, block_count;
    void *source_memory, *sink_memory; /* wrapped pools */
    uint32_t source_next, sink_next;   /* wrapped pools: the next block to use */
    bool source_frozen, sink_frozen;   /* caller-driven engines that are not stepped for now */
    bool shared;                       /* several threads wait, and may take one another's wake */
    pthread_mutex_t lock;
    int wake; /* an eventfd, written by every callback */
};

/* Zero means the default.  The pair overrides what makes the kind, unless the options say CALLER.
 */
struct pair_setup {
    const struct kind *kind;
    struct baton_engine_options source, sink;
    bool any_host; /* nixl: where the options say; else in this process */
    size_t block_bytes, block_count;
    unsigned pool_flags;
};

void pair_open(struct pair *pair, const struct pair_setup *setup);
/* Everything must have been finished: drains, checks that all blocks are free, and destroys. */
void pair_close(struct pair *pair);
/* The source is drained, destroyed, and another takes its place; the sink is not driven.  Not of
 * wrapped memory. */
void pair_renew_source(struct pair *pair, const struct pair_setup *setup);
/* Drives what the caller drives, until `done(arg)`, called under the lock, holds. */
bool pair_until(struct pair *pair, bool (*done)(const void *arg), const void *arg);
/* Says on which kind a check failed. */
bool pair_check(const struct pair *pair, bool ok, const char *condition, const char *file,
                int line);
#define CHECK_ON(pair, condition) pair_check((pair), (condition), #condition, __FILE__, __LINE__)

/*
 * Takes `count` blocks, fills them with `content` and offers them.  `more` is NULL, for everything
 * at once, or has the clocks, readers and watermark.
 */
baton_err offer_start(struct pair *pair, struct end *end, size_t count, uint64_t content,
                      const struct baton_offer_args *more);
/* Takes `count` blocks and fetches into them.  `more` is NULL, or has clocks, first_block,
 * transport. */
baton_err fetch_start(struct pair *pair, struct end *end, const struct ticket *ticket, size_t count,
                      const struct baton_fetch_args *more);
/* The notices that record into `end`. */
struct baton_notices end_notices(struct end *end);
struct ticket offer_ticket(const struct end *offer, unsigned slot);

bool end_wait_outcome(struct end *end);
bool end_wait_quiet(struct end *end);
bool end_wait_stage(struct end *end, baton_stage stage);
bool end_wait_landed(struct end *end, uint64_t bytes);
/* Waits for the receipt, checks that each notice came once and in order, and uses the receipt. */
void end_retire(struct end *end);
/* The same, and lets go of the blocks and of the reference. */
void end_finish(struct end *end);
/* Lets go of the blocks and of the reference. */
void end_drop(struct end *end);

/* What the `index`-th block of a plan holds for `content`. */
void block_fill(void *block, size_t bytes, uint64_t content, size_t index);
bool block_holds(const void *block, size_t bytes, uint64_t content, size_t index);
/* All blocks of `end`, whose first is the `first`-th of the offer. */
void end_fill(struct end *end, uint64_t content);
bool end_holds(const struct end *end, uint64_t content, size_t first);

struct baton_pool_stats pool_stats(baton_pool *pool);
/* A unique abstract Unix endpoint of this process. */
void endpoint_new(char ret_endpoint[BATON_ENDPOINT_BYTES_MAX]);
uint64_t now_ns(void);

#endif
