/* SPDX-License-Identifier: Apache-2.0 */
/* The child of a bench pair: does what the parent asks, one request after the other. */
#include "bench/machine.h"
#include "bench/pair.h"
#include "command.h"
#include "util/clock.h"
#include "util/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { LOOK_NS = 100000 }; /* a peer that drives its engine looks for requests so often */

struct peer {
    bool ready; /* the side is made */
    struct bench_side side;
    struct watched watched[BENCH_WATCHED_MAX];
    unsigned watched_made;
    unsigned running; /* handoffs since the last REAP: watched[0] and on */
    struct raw raw[RAW_PLACES];
    struct raw_nixl *nixl; /* NULL: not asked for */
    int channel;
};

static baton_err setup(struct peer *peer, const struct peer_request *request,
                       struct peer_answer *answer)
{
    const struct bench_setup *wanted = &request->setup;
    baton_err err = BATON_OK;

    while (peer->watched_made < BENCH_WATCHED_MAX && !err) {
        err = watched_init(&peer->watched[peer->watched_made], &answer->error);
        peer->watched_made += !err;
    }
    if (err) {
        return err;
    }
    if (wanted->polled) {
        machine_pin(BENCH_CHILD);
    }
    err = side_init(&peer->side, wanted, !wanted->child_reads, &answer->error);
    if (err) {
        return err;
    }
    peer->ready = true;
    if (peer->side.source) {
        side_fill(&peer->side);
    } else {
        side_wipe(&peer->side);
    }
    answer->memory = (uintptr_t)peer->side.wrapped;
    return BATON_OK;
}

static baton_err begin(struct peer *peer, const struct peer_request *request,
                       struct peer_answer *answer)
{
    struct watched *watched = &peer->watched[peer->running];
    baton_err err;

    if (peer->running == BENCH_WATCHED_MAX) {
        return error_set(&answer->error, BATON_ELIMIT, "too many handoffs");
    }
    if (request->kind == PEER_OFFER) {
        err = watched_offer(&peer->side, watched, request->first, request->count, answer->ticket,
                            &answer->ticket_length, &answer->error);
    } else {
        err = watched_fetch(&peer->side, watched, request->first, request->count, request->ticket,
                            request->ticket_length, &answer->error);
    }
    answer->call_ns = watched->call_ns;
    answer->call_cpu_ns = watched->call_cpu_ns;
    peer->running += !err;
    return err;
}

static baton_err reap(struct peer *peer, struct peer_answer *answer)
{
    for (unsigned i = 0; i < peer->running; i++) {
        struct watched *watched = &peer->watched[i];
        baton_err err = watched_wait_quiet(&peer->side, watched, "receipt", &answer->error);

        if (!err) {
            err = watched_retire(watched, &answer->error);
        }
        if (err) {
            return err;
        }
    }
    peer->running = 0;
    return BATON_OK;
}

static void advance(const struct peer *peer)
{
    for (unsigned i = 0; i < peer->running; i++) {
        watched_advance(&peer->watched[i]);
    }
}

static baton_err trips(struct peer *peer, const struct peer_request *request,
                       struct peer_answer *answer)
{
    baton_err err = BATON_OK;

    for (size_t i = 0; i < request->count && !err; i++) {
        err = raw_answer(&peer->side, &peer->raw[request->place], &request->trip,
                         (request->first + i) % peer->side.setup.blocks, &answer->error);
    }
    return err;
}

static baton_err meet(struct peer *peer, const struct peer_request *request,
                      struct peer_answer *answer)
{
    baton_err err;

    if (peer->nixl) {
        return error_set(&answer->error, BATON_EINVAL, "NIXL was met already");
    }
    err = raw_nixl_open(&peer->side, &peer->nixl, &answer->nixl, &answer->error);
    return err ? err : raw_nixl_meet(peer->nixl, &request->nixl, &answer->error);
}

static baton_err nixl_do(struct peer *peer, const struct peer_request *request,
                         struct peer_answer *answer)
{
    if (!peer->nixl) {
        return error_set(&answer->error, BATON_EINVAL, "NIXL was not met yet");
    }
    if (request->kind == PEER_NIXL_SERVE) {
        raw_nixl_serve(peer->nixl, peer->channel);
        return BATON_OK;
    }
    return raw_nixl_move(peer->nixl, request->prepares, &answer->seconds, &answer->error);
}

static void serve_one(struct peer *peer, const struct peer_request *request,
                      struct peer_answer *answer)
{
    struct raw *raw = &peer->raw[request->place];
    baton_err err = BATON_OK;

    if (!peer->ready && request->kind != PEER_SETUP) {
        error_set(&answer->error, BATON_EINVAL, "no setup yet");
        return;
    }
    switch (request->kind) {
    case PEER_SETUP:
        err = setup(peer, request, answer);
        break;
    case PEER_OFFER:
    case PEER_FETCH:
        err = begin(peer, request, answer);
        break;
    case PEER_REAP:
        err = reap(peer, answer);
        break;
    case PEER_CONNECT:
        raw_fini(raw);
        err = raw_connect(raw, &request->raw, request->port, &answer->error);
        break;
    case PEER_SEND:
        err = raw_send(&peer->side, raw, &answer->error);
        break;
    case PEER_TRIPS:
        err = trips(peer, request, answer);
        break;
    case PEER_NIXL_MEET:
        err = meet(peer, request, answer);
        break;
    case PEER_NIXL_MOVE:
    case PEER_NIXL_SERVE:
        err = nixl_do(peer, request, answer);
        break;
    case PEER_ADVANCE:
        advance(peer);
        break;
    case PEER_USAGE:
    default:
        break;
    }
    answer->error.code = err;
    answer->cpu_seconds = own_usage();
}

/* The next request; false when the parent has ended the pair, or itself. */
static bool next_request(struct peer *peer, int channel, struct peer_request *ret_request)
{
    bool drive = peer->ready && peer->side.setup.polled;
    uint64_t looked_ns = 0; /* look at once, at first */
    ssize_t got;

    do {
        while (drive && clock_now_ns() - looked_ns < LOOK_NS) {
            baton_engine_step(peer->side.engine, 0);
        }
        looked_ns = clock_now_ns();
        got = recv(channel, ret_request, sizeof(*ret_request), drive ? MSG_DONTWAIT : 0);
    } while (got < 0 && (errno == EAGAIN || errno == EINTR));
    return got == sizeof(*ret_request);
}

int peer_serve(int channel)
{
    static struct peer peer;
    struct baton_error error = {0};
    struct peer_request request;
    baton_err err = BATON_OK;
    int code;

    for (unsigned i = 0; i < RAW_PLACES; i++) {
        raw_init(&peer.raw[i]);
    }
    peer.channel = channel;
    while (next_request(&peer, channel, &request)) {
        struct peer_answer answer = {0};

        serve_one(&peer, &request, &answer);
        if (send(channel, &answer, sizeof(answer), MSG_NOSIGNAL) != sizeof(answer)) {
            break;
        }
    }
    for (unsigned i = 0; i < RAW_PLACES; i++) {
        raw_fini(&peer.raw[i]);
    }
    raw_nixl_close(peer.nixl);
    for (unsigned i = 0; i < peer.running; i++) {
        baton_handoff_cancel(peer.watched[i].handoff, BATON_CANCEL_OFFER);
    }
    if (peer.running) {
        struct peer_answer answer = {0};

        err = reap(&peer, &answer);
        error = answer.error;
    }
    if (!err && peer.ready) {
        err = side_fini(&peer.side, &error);
    }
    if (err) {
        fprintf(stderr, "baton bench: in the other process: %s\n", error.text);
    }
    code = err ? EXIT_CHECK : EXIT_OK;
    if (peer.ready && peer.side.setup.transport == BENCH_NIXL) {
        lanes_exit(code);
    }
    return code;
}
