/* SPDX-License-Identifier: Apache-2.0 */
/* NIXL as a baseline: see raw_nixl.h.  No call here knows a handoff; a share is what one would
 * move.
 */
#include "bench/raw_nixl.h"
#include "lanes.h"
#include "transport/nixl_api.h"
#include "util/clock.h"
#include "util/error.h"

#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum {
    POLLS_A_LOOK = 64,
    POLLS_A_YIELD = 8, /* where both sides share a core, one that never yields starves the other */
};

struct raw_nixl {
    const struct bench_side *side;
    const struct nixl_api *api;
    struct nixl_agent *agent;
    struct nixl_backend *backend;
    struct nixl_hints *hints;
    struct nixl_regions *regions;
    struct nixl_notices *notices;
    char *peer;
    uint64_t peer_base;
    uint32_t *peer_blocks;          /* in the payload's order */
    struct nixl_prepared *lists[2]; /* of all blocks: here, there */
    int *indices;                   /* 0, 1, 2, ... */
    struct nixl_request *requests[BENCH_HANDOFFS_MAX];
};

static baton_err failed(struct baton_error *ret_error, const char *call)
{
    return error_set(ret_error, BATON_ESYSTEM, "NIXL: %s failed", call);
}

static unsigned char *pool_memory(const struct bench_side *side)
{
    return baton_pool_block(side->pool, 0);
}

static baton_err backend_create(struct raw_nixl *nixl, struct baton_error *ret_error)
{
    const struct nixl_api *api = nixl->api;
    struct nixl_params *params = NULL;
    bool ok = !api->create_params(&params);

    if (ok && lanes_on_host(lanes_set(""))) {
        ok = !api->params_add(params, "ucx_error_handling_mode", "none");
    }
    ok = ok && !api->create_backend(nixl->agent, "UCX", params, &nixl->backend);
    if (params) {
        api->destroy_params(params);
    }
    return ok ? BATON_OK : failed(ret_error, "create_backend");
}

static baton_err agent_create(struct raw_nixl *nixl, struct baton_error *ret_error)
{
    const struct nixl_api *api = nixl->api;
    const struct nixl_agent_config config = {0};
    const char *name = nixl->side->source ? "bench-source" : "bench-sink";
    baton_err err;

    if (api->create_configured_agent(name, &config, &nixl->agent)) {
        return failed(ret_error, "create_agent");
    }
    err = backend_create(nixl, ret_error);
    if (err) {
        return err;
    }
    return !api->create_opt_args(&nixl->hints) &&
                   !api->opt_args_add_backend(nixl->hints, nixl->backend) &&
                   !api->opt_args_set_skip_desc_merge(nixl->hints, true) &&
                   !api->create_notif_map(&nixl->notices)
               ? BATON_OK
               : failed(ret_error, "opt_args");
}

static baton_err pool_register(struct raw_nixl *nixl, struct raw_nixl_descriptor *ret_descriptor,
                               struct baton_error *ret_error)
{
    const struct bench_setup *setup = &nixl->side->setup;
    const struct nixl_api *api = nixl->api;
    uintptr_t base = (uintptr_t)pool_memory(nixl->side);
    void *bytes = NULL;
    size_t length = 0;

    if (api->create_reg_dlist(NIXL_DRAM, &nixl->regions) ||
        api->reg_dlist_add_desc(nixl->regions, base, setup->block_bytes * setup->blocks, 0, "",
                                0) ||
        api->register_mem(nixl->agent, nixl->regions, nixl->hints)) {
        return failed(ret_error, "register_mem");
    }
    if (api->get_local_md(nixl->agent, &bytes, &length) || length > sizeof(ret_descriptor->bytes)) {
        free(bytes);
        return failed(ret_error, "get_local_md");
    }
    ret_descriptor->base = base;
    ret_descriptor->length = length;
    memcpy(ret_descriptor->bytes, bytes, length);
    free(bytes);
    return BATON_OK;
}

baton_err raw_nixl_open(const struct bench_side *side, struct raw_nixl **ret_nixl,
                        struct raw_nixl_descriptor *ret_descriptor, struct baton_error *ret_error)
{
    struct raw_nixl *nixl = calloc(1, sizeof(*nixl));
    baton_err err;

    if (!nixl) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for NIXL");
    }
    nixl->side = side;
    err = nixl_api_load(NULL, &nixl->api, ret_error);
    if (!err) {
        err = agent_create(nixl, ret_error);
    }
    if (!err) {
        err = pool_register(nixl, ret_descriptor, ret_error);
    }
    if (err) {
        raw_nixl_close(nixl);
        return err;
    }
    *ret_nixl = nixl;
    return BATON_OK;
}

/* Blocks `first` to `first + count - 1` of the payload, on one side. */
static struct nixl_prepared *list_prepare(struct raw_nixl *nixl, bool there, size_t first,
                                          size_t count)
{
    const struct nixl_api *api = nixl->api;
    const uint32_t *blocks = there ? nixl->peer_blocks : nixl->side->blocks;
    uint64_t base = there ? nixl->peer_base : (uintptr_t)pool_memory(nixl->side);
    size_t block_bytes = nixl->side->setup.block_bytes;
    struct nixl_prepared *list = NULL;
    struct nixl_spans *spans = NULL;
    bool ok = !api->create_xfer_dlist(NIXL_DRAM, &spans);

    for (size_t i = first; i < first + count && ok; i++) {
        ok = !api->xfer_dlist_add_desc(spans, base + blocks[i] * block_bytes, block_bytes, 0);
    }
    if (ok && api->prep_xfer_dlist(nixl->agent, there ? nixl->peer : NIXL_LOCAL, spans, &list,
                                   nixl->hints)) {
        list = NULL;
    }
    if (spans) {
        api->destroy_xfer_dlist(spans);
    }
    return list;
}

static bool lists_prepare(struct raw_nixl *nixl, struct nixl_prepared *ret_lists[2], size_t first,
                          size_t count)
{
    for (unsigned there = 0; there < 2; there++) {
        ret_lists[there] = list_prepare(nixl, there, first, count);
        if (!ret_lists[there]) {
            return false;
        }
    }
    return true;
}

static void lists_release(struct raw_nixl *nixl, struct nixl_prepared *lists[2])
{
    for (unsigned i = 0; i < 2; i++) {
        if (lists[i]) {
            nixl->api->release_xfer_dlist_handle(nixl->agent, lists[i]);
            lists[i] = NULL;
        }
    }
}

baton_err raw_nixl_meet(struct raw_nixl *nixl, const struct raw_nixl_descriptor *other,
                        struct baton_error *ret_error)
{
    const struct bench_setup *setup = &nixl->side->setup;

    nixl->peer_base = other->base;
    nixl->peer_blocks = malloc(setup->blocks * sizeof(*nixl->peer_blocks));
    nixl->indices = malloc(setup->blocks * sizeof(*nixl->indices));
    if (!nixl->peer_blocks || !nixl->indices) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for %zu block numbers", setup->blocks);
    }
    bench_permutation(setup, !nixl->side->source, nixl->peer_blocks);
    for (size_t i = 0; i < setup->blocks; i++) {
        nixl->indices[i] = (int)i;
    }
    if (nixl->api->load_remote_md(nixl->agent, other->bytes, other->length, &nixl->peer)) {
        return failed(ret_error, "load_remote_md");
    }
    return lists_prepare(nixl, nixl->lists, 0, setup->blocks)
               ? BATON_OK
               : failed(ret_error, "prep_xfer_dlist");
}

void raw_nixl_close(struct raw_nixl *nixl)
{
    const struct nixl_api *api = nixl ? nixl->api : NULL;

    if (nixl && nixl->agent) {
        lists_release(nixl, nixl->lists);
        if (nixl->regions) {
            api->deregister_mem(nixl->agent, nixl->regions, nixl->hints);
            api->destroy_reg_dlist(nixl->regions);
        }
        if (nixl->notices) {
            api->destroy_notif_map(nixl->notices);
        }
        if (nixl->hints) {
            api->destroy_opt_args(nixl->hints);
        }
        if (nixl->backend) {
            api->destroy_backend(nixl->backend);
        }
        api->destroy_agent(nixl->agent);
    }
    if (nixl) {
        free(nixl->peer);
        free(nixl->peer_blocks);
        free(nixl->indices);
        free(nixl);
    }
}

/* One share's operation, posted. */
static baton_err share_post(struct raw_nixl *nixl, unsigned index, struct nixl_prepared *lists[2],
                            const int *indices, size_t count, struct baton_error *ret_error)
{
    int operation = nixl->side->source ? NIXL_WRITE : NIXL_READ, status;

    if (nixl->api->make_xfer_req(nixl->agent, operation, lists[0], indices, count, lists[1],
                                 indices, count, &nixl->requests[index], nixl->hints)) {
        return failed(ret_error, "make_xfer_req");
    }
    status = nixl->api->post_xfer_req(nixl->agent, nixl->requests[index], NULL);
    return status == NIXL_OK || status == NIXL_IN_PROGRESS ? BATON_OK
                                                           : failed(ret_error, "post_xfer_req");
}

static baton_err share_finish(struct raw_nixl *nixl, unsigned index, uint64_t start_ns,
                              struct baton_error *ret_error)
{
    struct nixl_request *request = nixl->requests[index];
    int status = nixl->api->get_xfer_status(nixl->agent, request);

    for (unsigned polls = 1; status == NIXL_IN_PROGRESS; polls++) {
        if (polls % POLLS_A_LOOK == 0 &&
            clock_now_ns() - start_ns > BENCH_WAIT_MS_MAX * UINT64_C(1000000)) {
            return error_set(ret_error, BATON_ETIMEOUT, "NIXL: a transfer does not end");
        }
        if (polls % POLLS_A_YIELD == 0) {
            sched_yield();
        }
        status = nixl->api->get_xfer_status(nixl->agent, request);
    }
    if (status != NIXL_OK || nixl->api->release_xfer_req(nixl->agent, request)) {
        return failed(ret_error, "the transfer");
    }
    nixl->api->destroy_xfer_req(request);
    return BATON_OK;
}

baton_err raw_nixl_move(struct raw_nixl *nixl, bool prepares, double *ret_seconds,
                        struct baton_error *ret_error)
{
    struct nixl_prepared *own[BENCH_HANDOFFS_MAX][2] = {0};
    unsigned shares = nixl->side->setup.handoffs;
    size_t count = nixl->side->setup.blocks / shares;
    uint64_t start_ns = clock_now_ns();
    baton_err err = BATON_OK;

    for (unsigned i = 0; i < shares && !err; i++) {
        if (prepares && !lists_prepare(nixl, own[i], i * count, count)) {
            err = failed(ret_error, "prep_xfer_dlist");
        } else {
            err = share_post(nixl, i, prepares ? own[i] : nixl->lists,
                             nixl->indices + (prepares ? 0 : i * count), count, ret_error);
        }
    }
    for (unsigned i = 0; i < shares && !err; i++) {
        err = share_finish(nixl, i, start_ns, ret_error);
    }
    for (unsigned i = 0; i < shares; i++) {
        lists_release(nixl, own[i]);
    }
    if (!err) {
        *ret_seconds = (double)(clock_now_ns() - start_ns) / 1e9;
    }
    return err;
}

void raw_nixl_serve(struct raw_nixl *nixl, int channel)
{
    struct pollfd wanted = {.fd = channel, .events = POLLIN};

    do {
        for (unsigned i = 0; i < POLLS_A_LOOK; i++) {
            nixl->api->get_notifs(nixl->agent, nixl->notices, NULL);
            if (i % POLLS_A_YIELD == 0) {
                sched_yield();
            }
        }
        nixl->api->notif_map_clear(nixl->notices);
    } while (poll(&wanted, 1, 0) == 0);
}
