/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the burst's driver and its two processes say to each other, over a socket pair each.  All
 * three are the same program on the same machine: messages are structs as they lie in memory.
 *
 *   driver -> prefill   CONFIG, REQUEST, CANCEL, REPORT
 *   prefill -> driver   READY, OFFERED, PARKED, REUSED, ENDED, STATS, TROUBLE
 *   driver -> decode    CONFIG, FETCH, CANCEL, REPORT
 *   decode -> driver    READY, REACHED, WAKEUP, DOUBTED, ENDED, STATS, TROUBLE
 *
 * Closing the socket tells a process to leave.
 */
#ifndef BATON_TOOLS_BURST_PROTO_H
#define BATON_TOOLS_BURST_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton.h"
#include "burst/config.h"
#include "burst/plan.h"

enum message_kind {
    MESSAGE_CONFIG = 1, /* the first message */
    MESSAGE_READY,      /* the engine and the pool are there */
    MESSAGE_REQUEST,
    MESSAGE_OFFERED, /* with the ticket */
    MESSAGE_PARKED,  /* all is computed that is going to be */
    MESSAGE_FETCH,
    MESSAGE_REACHED, /* BURST_BOTH_SIDES: the point to cancel at */
    MESSAGE_CANCEL,
    MESSAGE_ENDED,   /* this process is done with the request, its blocks are given back */
    MESSAGE_DOUBTED, /* its outcome is decided, and quiet is not proven: ENDED may never come */
    MESSAGE_REUSED,  /* blocks of a revoked offer were written for the next request */
    MESSAGE_WAKEUP,  /* one bare wake-up round trip */
    MESSAGE_REPORT,
    MESSAGE_STATS,   /* the answer to REPORT */
    MESSAGE_TROUBLE, /* for a person; the process can not go on when `fatal` */
    MESSAGE_KINDS,
};

struct message_request {
    struct request_plan plan;
    uint64_t bytes;
    uint32_t blocks;
    uint32_t ticket_bytes; /* FETCH */
    uint8_t ticket[BATON_TICKET_BYTES_MAX];
};

struct message_ticket {
    uint32_t length;
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
};

/* How one side's part of a request ended. */
struct message_ended {
    bool started;   /* a handoff was made; else the request was cancelled in the queue for blocks */
    bool too_late;  /* a cancel of this side came after the decision */
    bool limited;   /* baton_fetch() refused: the peer holds too much in quarantine */
    bool refetched; /* BURST_ATTEMPT_REFETCHED: this is about the second fetch */
    uint8_t cancels;                /* calls of baton_handoff_cancel() */
    uint32_t outcome, cause, stage; /* of struct baton_result */
    uint32_t slot_stage;            /* offer */
    uint64_t bytes_landed;
    uint64_t bytes_wasted; /* of an earlier attempt */
    uint64_t wrong_bytes;
    uint64_t start_ns; /* CLOCK_MONOTONIC, when the handoff was made */
    uint64_t quiet_ns; /* CLOCK_MONOTONIC, of the receipt */
    uint64_t
        cancel_to_quiet_ns; /* from the caller's call to the receipt in its hands; 0: not timed */
};

struct message_reused {
    uint64_t time_ns; /* CLOCK_MONOTONIC */
    uint32_t blocks;
};

struct message_stats {
    struct baton_pool_stats pool;
    uint64_t double_outcomes;
    uint64_t receipt_errors;
    uint64_t api_errors; /* broken promises of baton.h that have no counter of their own */
    uint64_t doubts;
    uint64_t receipts[BATON_PROOF_COUNT_];
};

struct message_trouble {
    bool fatal;
    char text[500];
};

struct message {
    uint32_t kind;
    uint32_t slot; /* the driver's number of a request under way */
    uint64_t id;   /* of the request; never used twice */
    union {
        struct burst_config config;
        struct message_request request; /* REQUEST, FETCH */
        struct message_ticket ticket;   /* OFFERED */
        struct message_ended ended;     /* DOUBTED, ENDED */
        struct message_reused reused;
        uint64_t wakeup_ns;
        struct message_stats stats;
        struct message_trouble trouble;
    };
};

/* One end of a socket pair.  Sends never wait: what the socket does not take is queued. */
struct channel {
    int fd;
    bool closed;
    struct message *queue; /* a ring */
    size_t first, count, room;
};

/* Takes `fd`. */
void channel_init(struct channel *channel, int fd);
void channel_fini(struct channel *channel);
void channel_send(struct channel *channel, const struct message *message);
/* Sends what is queued, as far as the socket takes it. */
void channel_flush(struct channel *channel);
/* The poll() events to wait for. */
short channel_events(const struct channel *channel);
/* One message, if there is one.  Sets `closed` when the other end has gone. */
bool channel_receive(struct channel *channel, struct message *ret_message);

#endif
