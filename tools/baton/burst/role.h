/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the burst's prefill and decode process have in common: an engine with its pool, the requests
 * under way, and a main thread that waits for the driver's messages, the engine's notices, letters
 * of other threads, and timers.
 *
 * Threads: everything here belongs to the main thread except role_post(), and the fields of a
 * record that say otherwise.
 */
#ifndef BATON_TOOLS_BURST_ROLE_H
#define BATON_TOOLS_BURST_ROLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton.h"
#include "burst/board.h"
#include "burst/config.h"
#include "burst/proto.h"

enum record_state {
    RECORD_UNUSED = 0,
    RECORD_QUEUED,   /* waits for blocks */
    RECORD_RUNNING,  /* there is a handoff */
    RECORD_QUIET,    /* its receipt came */
    RECORD_DECODING, /* decode: complete and checked, keeps its blocks for a while */
};

/* Travels in aux: what the bytes are. */
struct payload_label {
    uint8_t incarnation[16];
    uint64_t content_id;
    uint64_t request_id;
    uint64_t bytes;
};

struct role;

/* A request in one process.  It is used again only when hundreds of others have ended. */
struct record {
    struct role *role;
    uint64_t id;
    uint32_t slot;
    enum record_state state;
    struct request_plan plan; /* constant while a handoff runs: the engine's thread reads it */
    uint64_t bytes;
    uint32_t block_count;
    uint32_t *blocks;
    baton_handoff *handoff; /* one reference */
    uint64_t handoff_id;
    uint64_t start_ns;
    unsigned outcomes, receipts;
    struct baton_result result;
    struct baton_receipt receipt;
    unsigned cancels;
    bool too_late;
    uint64_t cancel_to_quiet_ns;
    enum board_place place; /* decode: the engine's thread */
    atomic_bool fired;      /* any thread: what the plan wants done has been set off */
    struct record *next;

    /* prefill */
    uint64_t content_id, seed;
    atomic_bool leased;         /* the engine's thread: a reader has come */
    atomic_uint_fast64_t ready; /* the compute thread: bytes written and announced */
    uint64_t written;           /* the compute thread's */
    unsigned compute;           /* under the compute thread's lock */
    bool compute_stop, urgent;  /* the same */
    bool freed;

    /* decode */
    uint8_t ticket[BATON_TICKET_BYTES_MAX];
    size_t ticket_bytes;
    struct payload_label label;
    bool labelled;
    bool refetched, limited;
    uint64_t bytes_wasted;
    uint64_t wrong_bytes; /* the verify thread's until its letter */
};

enum letter_kind {
    LETTER_NOTICE = 1, /* of a handoff whose notices come by callback */
    LETTER_DUE,        /* the plan's trigger was reached */
    LETTER_PARKED,     /* compute: all written that is going to be */
    LETTER_LEFT,       /* compute: told to stop, and did */
    LETTER_REUSED,     /* compute */
    LETTER_VERIFIED,   /* verify */
};

/* What another thread tells the main thread. */
struct letter {
    enum letter_kind kind;
    struct record *record;
    uint64_t id; /* of the record's request when it was posted; REUSED: of the old request */
    struct message_reused reused;
    struct baton_completion notice;
};

struct role_ops {
    const char *name;
    bool (*start)(struct role *role); /* the engine is there; false: trouble was sent */
    void (*stop)(struct role *role);  /* ends the role's threads */
    void (*message)(struct role *role, const struct message *message);
    void (*letter)(struct role *role, const struct letter *letter);
    void (*timer)(struct role *role, struct record *record);
    void (*outcome)(struct role *role, struct record *record);
    void (*quiet)(struct role *role, struct record *record);
    void (*tick)(struct role *role); /* NULL, or called every ROLE_TICK_MS */
    baton_trace_fn trace;            /* on the engine's thread; its first argument is the role */
};

enum { ROLE_TICK_MS = 100 };

struct role_timer {
    uint64_t due_ns;
    struct record *record;
    uint64_t id;
};

struct role {
    const struct role_ops *ops;
    struct channel channel;
    struct board *board; /* the driver's too */
    struct burst_config config;
    baton_engine *engine;
    baton_pool *pool;
    uint8_t incarnation[16];
    struct record *records; /* by slot */
    size_t record_count;
    struct record *queue, **queue_end; /* those that wait for blocks */

    struct role_timer *timers;
    size_t timer_count, timer_room;
    uint64_t tick_ns, show_ns;

    /* Completions that were collected while a cancel was timed, oldest first. */
    struct baton_completion *stash;
    size_t stash_first, stash_count, stash_room;

    pthread_mutex_t letters_lock; /* protects the letters */
    struct letter *letters;
    size_t letter_count, letter_room;
    int letters_fd;

    struct message_stats stats;
    bool reported; /* the driver asked for the stats: all requests have ended */
    struct baton_receipt other_receipt; /* sabotage: of another handoff */
    unsigned sabotages;
    uint64_t retires;
};

uint64_t role_now_ns(void);

/* The life of a process: reads CONFIG from `fd`, serves until the driver leaves, and shows on the
 * board of `board_fd` what it is about.  Takes both.  Returns an exit code. */
int role_run(struct role *role, const struct role_ops *ops, int fd, int board_fd);

/* Any thread. */
void role_post(struct role *role, const struct letter *letter);

void role_send(struct role *role, enum message_kind kind, const struct record *record);
void role_trouble(struct role *role, bool fatal, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The record of a message, new or known; NULL: the request has ended meanwhile. */
struct record *role_record_new(struct role *role, const struct message *message);
struct record *role_record_find(struct role *role, const struct message *message);

void role_queue_add(struct role *role, struct record *record);
void role_queue_remove(struct role *role, struct record *record);
/* Blocks for the first record of the queue: takes it off.  NULL: none waits, or too few are free.
 */
struct record *role_queue_admit(struct role *role);

/* Notices as the record's plan has them. */
struct baton_notices role_notices(struct record *record);

/* A handoff was made. */
void role_handoff_started(struct record *record, baton_handoff *handoff);

/* Cancel, and where notices come by the completion queue wait for the receipt, to time it. */
void role_cancel(struct role *role, struct record *record, baton_cancel_scope scope);

/* Use the record's receipt, and drop its handoff.  False: sabotaged, or refused and counted; the
 * blocks stay lent. */
bool role_retire(struct role *role, struct record *record);

/* Tell the driver that the record's receipt is not there soon after the outcome. */
void role_doubted(struct role *role, const struct record *record);

/* Tell the driver that the record has ended, and forget it. */
void role_ended(struct role *role, struct record *record);

void role_timer_add(struct role *role, struct record *record, uint64_t delay_us);

#endif
