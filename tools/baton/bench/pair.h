/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes of a bench: the parent drives and measures, the child obeys.  They talk over a
 * socket pair, one request and one answer at a time, which is no part of what is measured.
 */
#ifndef BATON_TOOLS_BENCH_PAIR_H
#define BATON_TOOLS_BENCH_PAIR_H

#include "bench/bench.h"
#include "bench/raw.h"
#include "bench/raw_nixl.h"
#include "bench/side.h"
#include "bench/watched.h"

#include "baton.h"

#include <sys/types.h>

enum peer_request_kind {
    PEER_SETUP = 1,  /* first: make a side of `setup`, and fill its blocks if it is the source */
    PEER_OFFER,      /* offer payload blocks `first`, `count`; the answer has the ticket */
    PEER_FETCH,      /* fetch the offer of the ticket into payload blocks `first`, `count` */
    PEER_REAP,       /* wait for the receipts of all handoffs and use them */
    PEER_ADVANCE,    /* say that the bytes of all offers are there: for setup.held */
    PEER_USAGE,      /* nothing: every answer tells the CPU time */
    PEER_CONNECT,    /* connect raw[place] anew, to the loopback port `port` */
    PEER_SEND,       /* send the whole payload on raw[place] */
    PEER_TRIPS,      /* answer `count` round trips on raw[place], from block `first` on */
    PEER_NIXL_MEET,  /* open NIXL and meet `nixl`; the answer has the child's */
    PEER_NIXL_MOVE,  /* write the whole payload by NIXL */
    PEER_NIXL_SERVE, /* poll NIXL until the next request */
};

/* A pair may have as many raw baselines at once. */
enum raw_place { RAW_POLLED = 0, RAW_BLOCKING, RAW_PLACES };

struct peer_request {
    enum peer_request_kind kind;
    struct bench_setup setup;
    size_t first, count;
    enum raw_place place;
    uint16_t port;
    struct raw_config raw;
    struct raw_trip trip;
    struct raw_nixl_descriptor nixl;
    bool prepares; /* NIXL_MOVE */
    size_t ticket_length;
    uint8_t ticket[BATON_TICKET_BYTES_MAX];
};

struct peer_answer {
    struct baton_error error; /* its code is BATON_OK when the request was done */
    double cpu_seconds;       /* of the child, ever */
    uint64_t memory;          /* SETUP: where the source's wrapped memory is, in the child */
    uint64_t call_ns;         /* OFFER, FETCH: how long the call took */
    uint64_t call_cpu_ns;     /* and on the CPU */
    size_t ticket_length;
    uint8_t ticket[BATON_TICKET_BYTES_MAX];
    struct raw_nixl_descriptor nixl; /* NIXL_MEET */
    double seconds;                  /* NIXL_MOVE: how long it took */
};

struct pair {
    pid_t child;
    int channel;
    bool stopped;           /* by SIGSTOP */
    struct bench_side side; /* the parent's */
    uint64_t child_memory;
    struct raw raw[RAW_PLACES]; /* the parent's ends */
    struct raw_nixl *nixl;      /* the parent's side; NULL: not connected */
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

struct pair_moved {
    double seconds; /* from the first fetch to the last outcome */
    double post_ns; /* CPU time of the calls of offer and fetch together */
};

/*
 * Move the whole payload once, in setup.handoffs handoffs at once.  The offers are made before what
 * is timed, the receipts used after it.
 */
baton_err pair_move(struct pair *pair, struct watched *watched, struct pair_moved *ret_moved,
                    struct baton_error *ret_error);

/* Connect both ends of a raw baseline, in place of what was there; move the whole payload on it. */
baton_err pair_raw_connect(struct pair *pair, enum raw_place place, const struct raw_config *config,
                           struct baton_error *ret_error);
baton_err pair_raw_move(struct pair *pair, enum raw_place place, double *ret_seconds,
                        struct baton_error *ret_error);

/*
 * The same with NIXL: where setup.push says so the source writes, else the sink reads.  The parent
 * is the sink.
 */
baton_err pair_nixl_connect(struct pair *pair, struct baton_error *ret_error);
baton_err pair_nixl_move(struct pair *pair, bool prepares, double *ret_seconds,
                         struct baton_error *ret_error);

/* The child's whole life.  Returns an exit code. */
int peer_serve(int channel);

#endif
