/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes of a bench: the parent drives and measures, the child obeys.  They talk over a
 * socket pair, one request and one answer at a time, which is no part of what is measured.
 */
#ifndef BATON_TOOLS_BENCH_PAIR_H
#define BATON_TOOLS_BENCH_PAIR_H

#include "bench.h"
#include "bench_side.h"

#include "baton.h"

#include <sys/types.h>

enum peer_request_kind {
    PEER_SETUP = 1, /* first: make a side of `setup`, and fill its blocks if it is the source */
    PEER_OFFER,     /* offer payload blocks `first`, `count`; the answer has the ticket */
    PEER_FETCH,     /* fetch the offer of the ticket into payload blocks `first`, `count` */
    PEER_REAP,      /* wait for the receipts of all handoffs and use them; the answer has the last
                       result */
    PEER_USAGE,     /* nothing: every answer tells the CPU time */
    PEER_CONNECT,   /* connect to the loopback port `port`, for the raw baseline */
    PEER_SEND,      /* send the whole payload on that connection */
};

struct peer_request {
    enum peer_request_kind kind;
    struct bench_setup setup;
    size_t first, count;
    uint16_t port;
    size_t ticket_length;
    uint8_t ticket[BATON_TICKET_BYTES_MAX];
};

struct peer_answer {
    struct baton_error error; /* its code is BATON_OK when the request was done */
    double cpu_seconds;       /* of the child, ever */
    uint64_t memory;          /* SETUP: where the source's wrapped memory is, in the child */
    size_t ticket_length;
    uint8_t ticket[BATON_TICKET_BYTES_MAX];
    baton_outcome outcome; /* REAP */
    baton_stage stage;
    uint64_t bytes_landed;
};

struct pair {
    pid_t child;
    int channel;
    bool stopped;           /* by SIGSTOP */
    struct bench_side side; /* the parent's */
    uint64_t child_memory;
};

/* Start the child, and make both sides. */
baton_err pair_start(struct pair *ret_pair, const struct bench_setup *setup,
                     struct baton_error *ret_error);
/* End both, also after an error. */
baton_err pair_end(struct pair *pair, struct baton_error *ret_error);

/* Send a request; take its answer.  An error is of the channel, or the one in the answer. */
baton_err pair_send(struct pair *pair, const struct peer_request *request,
                    struct baton_error *ret_error);
baton_err pair_receive(struct pair *pair, struct peer_answer *ret_answer,
                       struct baton_error *ret_error);
baton_err pair_ask(struct pair *pair, const struct peer_request *request,
                   struct peer_answer *ret_answer, struct baton_error *ret_error);

/* CPU seconds of both processes, ever. */
baton_err pair_usage(struct pair *pair, double *ret_seconds, struct baton_error *ret_error);
double own_usage(void);

/* Stop the child, and wait until it stands still; let it go on. */
baton_err pair_stop(struct pair *pair, struct baton_error *ret_error);
void pair_continue(struct pair *pair);

/*
 * Move the whole payload once, in setup.handoffs handoffs at once.  The time is that from the first
 * fetch to the last outcome: the offers are made before, the receipts used after.
 */
baton_err pair_move(struct pair *pair, struct watched *watched, double *ret_seconds,
                    struct baton_error *ret_error);

/* The child's whole life.  Returns an exit code. */
int peer_serve(int channel);

/* For the raw baseline: the child's part of it. */
baton_err raw_connect(uint16_t port, int *ret_fd, struct baton_error *ret_error);
baton_err raw_send(const struct bench_side *side, int fd, struct baton_error *ret_error);

#endif
