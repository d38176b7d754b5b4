/* SPDX-License-Identifier: Apache-2.0 */
/* A side: NIXL's calls, in the order in which they work (docs/NIXL.md). */
#include "helper/side.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/nixl_worker.h"
#include "util/clock.h"

enum {
    METADATA_BYTES_MAX = 64 << 10,
    WARM_UP_MS_MAX = LATE_WAIT_MS_MAX / 2,
};

void side_tell(const struct side *side, const struct side_report *report)
{
    if (send(side->channel, report, sizeof(*report), MSG_NOSIGNAL) != sizeof(*report)) {
        _exit(1);
    }
}

void side_must(const struct side *side, bool ok, const char *what)
{
    struct side_report report = {0};

    if (!ok) {
        snprintf(report.failure, sizeof(report.failure), "failed: %.110s", what);
        side_tell(side, &report);
        _exit(1);
    }
}

static void environment(const struct side_orders *orders)
{
    setenv("UCX_TLS", orders->tls, true);
    nixl_lanes_complete();
    /* Not needed here, and loading it makes some processes crash when they end. */
    setenv("UCX_MODULES", "^ib", false);
    setenv("UCX_LOG_LEVEL", "fatal", false);
    setenv("NIXL_LOG_LEVEL", "FATAL", false);
}

static void agent_open(struct side *side, const char *name)
{
    const struct nixl_agent_config config = {0};
    struct nixl_backend *backend = NULL;
    struct nixl_params *params = NULL;
    struct baton_error error = {0};
    bool loaded;

    environment(side->orders);
    loaded = !nixl_api_load(side->orders->library, &side->api, &error);
    side_must(side, loaded, error.text);
    side_must(side, !side->api->create_configured_agent(name, &config, &side->agent),
              "create_agent");
    side_must(side, !side->api->create_params(&params), "create_params");
    /* UCX's shared memory has no handler of dead peers, and NIXL wants one unless told. */
    side_must(side,
              !side->orders->no_errors ||
                  !side->api->params_add(params, "ucx_error_handling_mode", "none"),
              "params_add");
    side_must(side, !side->api->create_backend(side->agent, "UCX", params, &backend),
              "create_backend");
    side->api->destroy_params(params);
    side_must(side,
              !side->api->create_opt_args(&side->hints) &&
                  !side->api->opt_args_add_backend(side->hints, backend) &&
                  !side->api->opt_args_set_skip_desc_merge(side->hints, true) &&
                  !side->api->create_notif_map(&side->notices),
              "hints");
}

static void memory_register(struct side *side, const unsigned char *memory)
{
    side_must(side,
              !side->api->create_reg_dlist(NIXL_DRAM, &side->regions) &&
                  !side->api->reg_dlist_add_desc(side->regions, (uintptr_t)memory,
                                                 side->orders->bytes, 0, "", 0) &&
                  !side->api->register_mem(side->agent, side->regions, side->hints),
              "register_mem");
}

static void metadata_exchange(struct side *side)
{
    static char other[METADATA_BYTES_MAX];
    void *own = NULL;
    size_t length = 0;
    ssize_t got;

    side_must(side, !side->api->get_local_md(side->agent, &own, &length), "get_local_md");
    side_must(side, send(side->peer_channel, own, length, MSG_NOSIGNAL) == (ssize_t)length,
              "metadata");
    free(own);
    got = recv(side->peer_channel, other, sizeof(other), 0);
    side_must(side,
              got > 0 && !side->api->load_remote_md(side->agent, other, (size_t)got, &side->peer),
              "load_remote_md");
}

static struct nixl_prepared *prepare(struct side *side, const char *name,
                                     const unsigned char *memory)
{
    struct nixl_prepared *prepared = NULL;
    struct nixl_spans *spans = NULL;
    bool ok = !side->api->create_xfer_dlist(NIXL_DRAM, &spans);

    for (size_t at = 0; at < side->orders->bytes && ok; at += LATE_BLOCK_BYTES) {
        ok = !side->api->xfer_dlist_add_desc(spans, (uintptr_t)memory + at, LATE_BLOCK_BYTES, 0);
    }
    ok = ok && !side->api->prep_xfer_dlist(side->agent, name, spans, &prepared, side->hints);
    side_must(side, ok, "prep_xfer_dlist");
    side->api->destroy_xfer_dlist(spans);
    return prepared;
}

bool side_poll(struct side *side)
{
    struct pollfd wanted = {.fd = side->channel, .events = POLLIN};

    if (poll(&wanted, 1, 0) != 0) {
        return true;
    }
    side->api->get_notifs(side->agent, side->notices, NULL);
    side->api->notif_map_clear(side->notices);
    return false;
}

char side_order(const struct side *side)
{
    char order = 0;

    return recv(side->channel, &order, 1, 0) == 1 ? order : 0;
}

char side_serve(struct side *side)
{
    while (!side_poll(side)) {
    }
    return side_order(side);
}

struct nixl_request *side_request(struct side *side, size_t blocks)
{
    struct nixl_request *request = NULL;
    int operation = side->orders->writes ? NIXL_WRITE : NIXL_READ;

    side_must(side,
              !side->api->make_xfer_req(side->agent, operation, side->prepared[SIDE_INITIATOR],
                                        side->indices, blocks, side->prepared[SIDE_TARGET],
                                        side->indices, blocks, &request, side->hints),
              "make_xfer_req");
    return request;
}

/* One block, to its end: connects the two. */
static void warm_up(struct side *side)
{
    struct nixl_request *request = side_request(side, 1);
    uint64_t start_ns = clock_now_ns();
    int status = side->api->post_xfer_req(side->agent, request, NULL);

    while (status == NIXL_IN_PROGRESS && clock_now_ns() - start_ns < WARM_UP_MS_MAX * 1000000ULL) {
        status = side->api->get_xfer_status(side->agent, request);
    }
    side_must(side, status == NIXL_OK && !side->api->release_xfer_req(side->agent, request),
              "the transfer of one block");
    side->api->destroy_xfer_req(request);
}

static void indices_make(struct side *side)
{
    size_t blocks = side->orders->bytes / LATE_BLOCK_BYTES;

    side->indices = calloc(blocks, sizeof(*side->indices));
    side_must(side, side->indices, "calloc");
    for (size_t i = 0; i < blocks; i++) {
        side->indices[i] = (int)i;
    }
}

void side_open(struct side *ret_side, const struct side_orders *orders, int which, int channel)
{
    struct side *side = ret_side;

    *side =
        (struct side){.orders = orders, .channel = channel, .peer_channel = orders->peers[which]};
    agent_open(side, which == SIDE_INITIATOR ? "initiator" : "target");
    memory_register(side, orders->memory[which]);
    metadata_exchange(side);
    if (which == SIDE_INITIATOR) {
        indices_make(side);
        side->prepared[SIDE_INITIATOR] = prepare(side, NIXL_LOCAL, orders->memory[SIDE_INITIATOR]);
        side->prepared[SIDE_TARGET] = prepare(side, side->peer, orders->memory[SIDE_TARGET]);
        warm_up(side);
    }
}

bool side_pair_start(struct side_pair *ret_pair, struct side_orders *orders,
                     void (*const run[SIDES])(void *arg, int channel))
{
    *ret_pair = (struct side_pair){0};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders->peers)) {
        return false;
    }
    for (int which = 0; which < SIDES; which++) {
        if (!late_child_start(&ret_pair->children[which], run[which], orders)) {
            side_pair_end(ret_pair, orders);
            return false;
        }
    }
    return true;
}

void side_pair_end(struct side_pair *pair, const struct side_orders *orders)
{
    for (int which = 0; which < SIDES; which++) {
        late_child_end(&pair->children[which]);
        close(orders->peers[which]);
    }
}

bool side_say(const struct side_pair *pair, int which, char order)
{
    return send(pair->children[which].channel, &order, 1, MSG_NOSIGNAL) == 1;
}

bool side_hear(const struct side_pair *pair, int which, struct side_report *ret_report,
               char ret_failure[160])
{
    const char *who = which == SIDE_INITIATOR ? "initiator" : "target";

    if (!late_child_receive(&pair->children[which], ret_report, sizeof(*ret_report))) {
        snprintf(ret_failure, 160, "the %s ended or hangs", who);
        return false;
    }
    if (ret_report->failure[0]) {
        snprintf(ret_failure, 160, "%s: %s", who, ret_report->failure);
        return false;
    }
    return true;
}
