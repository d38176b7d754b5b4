/* SPDX-License-Identifier: Apache-2.0 */
/* The child of a bench pair: does what the parent asks, one request after the other. */
#include "bench_pair.h"
#include "command.h"
#include "util/error.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
    bool ready; /* the side is made */
    struct bench_side side;
    struct watched watched[BENCH_HANDOFFS_MAX];
    unsigned watched_made;
    unsigned running; /* handoffs since the last REAP: watched[0] and on */
    int raw_fd;       /* of the raw baseline; -1 before CONNECT */
};

static baton_err setup(struct peer *peer, const struct peer_request *request,
                       struct peer_answer *answer)
{
    const struct bench_setup *wanted = &request->setup;
    baton_err err = BATON_OK;

    while (peer->watched_made < BENCH_HANDOFFS_MAX && !err) {
        err = watched_init(&peer->watched[peer->watched_made], &answer->error);
        peer->watched_made += !err;
    }
    if (err) {
        return err;
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

    if (peer->running == BENCH_HANDOFFS_MAX) {
        return error_set(&answer->error, BATON_ELIMIT, "too many handoffs");
    }
    if (request->kind == PEER_OFFER) {
        err = watched_offer(&peer->side, watched, request->first, request->count, answer->ticket,
                            &answer->ticket_length, &answer->error);
    } else {
        err = watched_fetch(&peer->side, watched, request->first, request->count, request->ticket,
                            request->ticket_length, &answer->error);
    }
    peer->running += !err;
    return err;
}

static baton_err reap(struct peer *peer, struct peer_answer *answer)
{
    for (unsigned i = 0; i < peer->running; i++) {
        struct watched *watched = &peer->watched[i];
        baton_err err = watched_wait(watched->quiet_fd, "receipt", &answer->error);

        if (!err) {
            answer->outcome = watched->result.outcome;
            answer->stage = watched->result.stage;
            answer->bytes_landed = watched->result.bytes_landed;
            err = watched_retire(watched, &answer->error);
        }
        if (err) {
            return err;
        }
    }
    peer->running = 0;
    return BATON_OK;
}

static void serve_one(struct peer *peer, const struct peer_request *request,
                      struct peer_answer *answer)
{
    baton_err err;

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
        err = raw_connect(request->port, &peer->raw_fd, &answer->error);
        break;
    case PEER_SEND:
        err = raw_send(&peer->side, peer->raw_fd, &answer->error);
        break;
    case PEER_USAGE:
    default:
        err = BATON_OK;
        break;
    }
    answer->error.code = err;
    answer->cpu_seconds = own_usage();
}

int peer_serve(int channel)
{
    static struct peer peer = {.raw_fd = -1};
    struct baton_error error = {0};
    struct peer_request request;
    baton_err err = BATON_OK;

    while (recv(channel, &request, sizeof(request), 0) == sizeof(request)) {
        struct peer_answer answer = {0};

        serve_one(&peer, &request, &answer);
        if (send(channel, &answer, sizeof(answer), MSG_NOSIGNAL) != sizeof(answer)) {
            break;
        }
    }
    /* The parent has ended the pair, or itself. */
    if (peer.raw_fd >= 0) {
        close(peer.raw_fd);
    }
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
    return err ? EXIT_CHECK : EXIT_OK;
}
