/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload through UCX active messages: the sink asks for payload blocks by an active message,
 * the source sends each block as one, with its number in the header; the sink receives it straight
 * into its place.  Both sides poll.  Transports and the size from which a message is received by
 * rendezvous come from the environment (UCX_TLS, UCX_RNDV_THRESH).
 */
#include "pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucp/api/ucp.h>

enum { ADDRESS_BYTES_MAX = 4096, UNDER_WAY_MAX = 128 };

enum message { ASK = 0, BLOCK, STOP };

struct ask {
    uint64_t first, count;
};

static struct {
    struct pair *pair;
    uint32_t *numbers; /* of the blocks: a header stays in use until its send is complete */
    ucp_worker_h worker;
    ucp_ep_h other;
    struct ask asked; /* of the source: what is still to be sent */
    bool stopped;     /* by the other */
    size_t under_way; /* sends that are not complete */
    size_t received;  /* blocks, of the sink */
} peer;

static void must(ucs_status_t status, const char *what)
{
    if (status != UCS_OK) {
        fprintf(stderr, "%s: %s\n", what, ucs_status_string(status));
        exit(EXIT_FAILURE);
    }
}

static void on_sent(void *request, ucs_status_t status, void *arg)
{
    (void)arg;
    must(status, "a send");
    ucp_request_free(request);
    peer.under_way--;
}

static void send_message(enum message id, const void *header, size_t header_length,
                         const void *bytes, size_t length)
{
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK, .cb.send = on_sent};
    ucs_status_ptr_t request =
        ucp_am_send_nbx(peer.other, id, header, header_length, bytes, length, &param);

    if (UCS_PTR_IS_ERR(request)) {
        must(UCS_PTR_STATUS(request), "ucp_am_send_nbx");
    }
    peer.under_way += request != NULL;
}

static void on_received(void *request, ucs_status_t status, size_t length, void *arg)
{
    (void)length;
    (void)arg;
    must(status, "a receive");
    ucp_request_free(request);
    peer.received++;
}

static ucs_status_t on_block(void *arg, const void *header, size_t header_length, void *data,
                             size_t length, const ucp_am_recv_param_t *message)
{
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK,
                                 .cb.recv_am = on_received};
    ucs_status_ptr_t request;
    uint32_t index;

    (void)arg;
    memcpy(&index, header, header_length);
    if (!(message->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV)) {
        memcpy(workload_block(&peer.pair->workload, index), data, length);
        peer.received++;
        return UCS_OK;
    }
    request = ucp_am_recv_data_nbx(peer.worker, data, workload_block(&peer.pair->workload, index),
                                   length, &param);
    if (UCS_PTR_IS_ERR(request)) {
        must(UCS_PTR_STATUS(request), "ucp_am_recv_data_nbx");
    }
    peer.received += request == NULL;
    return UCS_INPROGRESS;
}

static ucs_status_t on_ask(void *arg, const void *header, size_t header_length, void *data,
                           size_t length, const ucp_am_recv_param_t *message)
{
    (void)arg;
    (void)data;
    (void)length;
    (void)message;
    memcpy(&peer.asked, header, header_length);
    return UCS_OK;
}

static ucs_status_t on_stop(void *arg, const void *header, size_t header_length, void *data,
                            size_t length, const ucp_am_recv_param_t *message)
{
    (void)arg;
    (void)header;
    (void)header_length;
    (void)data;
    (void)length;
    (void)message;
    peer.stopped = true;
    return UCS_OK;
}

static void listen_for(enum message id, ucp_am_recv_callback_t callback)
{
    ucp_am_handler_param_t param = {
        .field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                      UCP_AM_HANDLER_PARAM_FIELD_FLAGS,
        .id = id,
        .cb = callback,
        .flags = UCP_AM_FLAG_WHOLE_MSG,
    };

    must(ucp_worker_set_am_recv_handler(peer.worker, &param), "ucp_worker_set_am_recv_handler");
}

static void connect_other(void)
{
    static unsigned char bytes[ADDRESS_BYTES_MAX];
    ucp_ep_params_t ep = {.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS,
                          .address = (ucp_address_t *)bytes};
    ucp_address_t *own;
    size_t length;

    must(ucp_worker_get_address(peer.worker, &own, &length), "ucp_worker_get_address");
    pair_send(peer.pair, &length, sizeof(length));
    pair_send(peer.pair, own, length);
    pair_receive(peer.pair, &length, sizeof(length));
    if (length > sizeof(bytes)) {
        must(UCS_ERR_BUFFER_TOO_SMALL, "the other's address");
    }
    pair_receive(peer.pair, bytes, length);
    must(ucp_ep_create(peer.worker, &ep, &peer.other), "ucp_ep_create");
    ucp_worker_release_address(peer.worker, own);
}

static void numbers_make(size_t count)
{
    peer.numbers = malloc(count * sizeof(*peer.numbers));
    if (!peer.numbers) {
        must(UCS_ERR_NO_MEMORY, "the blocks' numbers");
    }
    for (size_t i = 0; i < count; i++) {
        peer.numbers[i] = (uint32_t)i;
    }
}

static void open_ucx(struct pair *pair)
{
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES, .features = UCP_FEATURE_AM};
    ucp_worker_params_t worker = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                  .thread_mode = UCS_THREAD_MODE_SINGLE};
    ucp_context_h context;

    peer.pair = pair;
    numbers_make(pair->workload.blocks);
    must(ucp_init(&params, NULL, &context), "ucp_init");
    must(ucp_worker_create(context, &worker, &peer.worker), "ucp_worker_create");
    listen_for(ASK, on_ask);
    listen_for(BLOCK, on_block);
    listen_for(STOP, on_stop);
    connect_other();
}

/* Tells the other to stop.  The message leaves by polling only. */
static void send_stop(void)
{
    ucp_request_param_t param = {.op_attr_mask = 0};
    ucs_status_ptr_t request;

    send_message(STOP, NULL, 0, NULL, 0);
    request = ucp_worker_flush_nbx(peer.worker, &param);
    if (UCS_PTR_IS_ERR(request)) {
        must(UCS_PTR_STATUS(request), "ucp_worker_flush_nbx");
    }
    while (request && ucp_request_check_status(request) == UCS_INPROGRESS) {
        ucp_worker_progress(peer.worker);
    }
    if (request) {
        ucp_request_free(request);
    }
}

/* The source: sends what is asked for until it is stopped. */
static void serve(void)
{
    peer.stopped = false;
    while (!peer.stopped || peer.under_way) {
        ucp_worker_progress(peer.worker);
        while (peer.asked.count && peer.under_way < UNDER_WAY_MAX) {
            uint64_t index = peer.asked.first++;

            peer.asked.count--;
            send_message(BLOCK, &peer.numbers[index], sizeof(peer.numbers[index]),
                         workload_block(&peer.pair->workload, index),
                         peer.pair->workload.block_bytes);
        }
    }
    send_stop();
}

/* The sink: from the question to the last block in its place. */
static void fetch(uint64_t first, uint64_t count)
{
    struct ask ask = {first, count};

    peer.received = 0;
    send_message(ASK, &ask, sizeof(ask), NULL, 0);
    while (peer.received < count || peer.under_way) {
        ucp_worker_progress(peer.worker);
    }
}

/* The source's sends complete only while the sink polls, so it does until it has the answer. */
static void stop(void)
{
    peer.stopped = false;
    send_stop();
    while (!peer.stopped) {
        ucp_worker_progress(peer.worker);
    }
}

int main(int argc, char **argv)
{
    return pair_main(argc, argv, &(struct pair_transport){open_ucx, serve, fetch, stop});
}
