/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload through ZeroMQ: a pair of sockets over tcp, each block one message, sent from its
 * place without a copy (zmq_msg_init_data).  ZeroMQ receives into memory of its own, so the sink
 * copies each block into its place, as every user of it must.
 */
#include "pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

enum {
    ENDPOINT_BYTES = 256,
    QUEUED_BLOCKS_MAX = 100, /* its high-water mark, in messages: faster than 1,000, the default */
};

struct ask {
    uint64_t first, count; /* a count of 0: stop */
};

static struct {
    struct pair *pair;
    void *socket;
} peer;

static int must(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
        exit(EXIT_FAILURE);
    }
    return result;
}

static void set(int option, int value)
{
    must(zmq_setsockopt(peer.socket, option, &value, sizeof(value)), "zmq_setsockopt");
}

static void open_zeromq(struct pair *pair)
{
    char endpoint[ENDPOINT_BYTES] = "tcp://127.0.0.1:*";
    size_t length = sizeof(endpoint);

    peer.pair = pair;
    peer.socket = zmq_socket(zmq_ctx_new(), ZMQ_PAIR);
    if (!peer.socket) {
        must(-1, "zmq_socket");
    }
    set(ZMQ_SNDHWM, QUEUED_BLOCKS_MAX);
    set(ZMQ_RCVHWM, QUEUED_BLOCKS_MAX);
    if (pair->source) {
        must(zmq_bind(peer.socket, endpoint), "zmq_bind");
        must(zmq_getsockopt(peer.socket, ZMQ_LAST_ENDPOINT, endpoint, &length), "its endpoint");
        pair_send(pair, endpoint, sizeof(endpoint));
    } else {
        pair_receive(pair, endpoint, sizeof(endpoint));
        must(zmq_connect(peer.socket, endpoint), "zmq_connect");
    }
}

static void on_sent(void *bytes, void *arg)
{
    /* The pool's memory is not the message's to free. */
    (void)bytes;
    (void)arg;
}

/* The source: sends what is asked for until it is stopped. */
static void serve(void)
{
    struct ask ask;

    for (;;) {
        must(zmq_recv(peer.socket, &ask, sizeof(ask), 0), "zmq_recv");
        if (!ask.count) {
            return;
        }
        for (uint64_t index = ask.first; index < ask.first + ask.count; index++) {
            zmq_msg_t message;

            must(zmq_msg_init_data(&message, workload_block(&peer.pair->workload, index),
                                   peer.pair->workload.block_bytes, on_sent, NULL),
                 "zmq_msg_init_data");
            must(zmq_msg_send(&message, peer.socket, 0), "zmq_msg_send");
        }
    }
}

/* The sink: from the question to the last block in its place. */
static void fetch(uint64_t first, uint64_t count)
{
    struct ask ask = {first, count};

    must(zmq_send(peer.socket, &ask, sizeof(ask), 0), "zmq_send");
    for (uint64_t index = first; index < first + count; index++) {
        zmq_msg_t message;

        zmq_msg_init(&message);
        if (must(zmq_msg_recv(&message, peer.socket, 0), "zmq_msg_recv") !=
            (int)peer.pair->workload.block_bytes) {
            fprintf(stderr, "a message of another size\n");
            exit(EXIT_FAILURE);
        }
        memcpy(workload_block(&peer.pair->workload, index), zmq_msg_data(&message),
               peer.pair->workload.block_bytes);
        zmq_msg_close(&message);
    }
}

static void stop(void)
{
    struct ask ask = {0, 0};

    must(zmq_send(peer.socket, &ask, sizeof(ask), 0), "zmq_send");
}

int main(int argc, char **argv)
{
    return pair_main(argc, argv, &(struct pair_transport){open_zeromq, serve, fetch, stop});
}
