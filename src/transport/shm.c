/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shm transport: the sink's own CPU copies from the source's memory on the same host, which is
 * mapped or read with process_vm_readv().  There is no connection and no source's end: the source
 * does nothing, and its memory is only read.  See region.c for how a region comes about, movers.c
 * for why a window that was given back is quiet.
 */
#include <stdlib.h>

#include "transport/movers.h"
#include "transport/slice.h"
#include "transport/transport.h"
#include "util/assert.h"
#include "util/error.h"
#include "wire/frame.h"

enum {
    /* A few microseconds: about what waking a sleeping thread costs. */
    SHM_SPIN_ROUNDS = 128,
    /* What the driving thread copies itself: no more than waking a mover costs. */
    SHM_SMALL_BYTES = 64 << 10,
};

struct transport {
    struct transport_host host; /* copied */
    struct transport_options options;
    struct movers *movers;
    struct window_list returning;   /* quiet, about to be given back */
    struct transport_window *small; /* to be copied by progress() itself; NULL */
    unsigned links;
    unsigned windows; /* posted and not given back */
    bool complained;  /* that movers are needed; said once */
};

struct transport_link {
    struct transport *transport;
    uint32_t number;
    bool closed;
    unsigned windows; /* posted, and window_done() has not returned */
};

static void link_release(struct transport_link *link)
{
    if (link->closed && link->windows == 0) {
        BATON_ASSERT(link->transport->links > 0);
        link->transport->links--;
        free(link);
    }
}

static void complain(struct transport *transport, const struct transport_window *window)
{
    if (transport->options.movers == 0 && window->region->process && !transport->complained &&
        window->status == TRANSPORT_FAILED) {
        transport->complained = true;
        transport->host.log(transport->host.arg, BATON_LOG_ERROR,
                            "shm: the peer's memory can not be mapped, and reading its process may "
                            "block, so it needs movers: set the engine's option movers to 1 or "
                            "more, or allow the tcp transport");
    }
}

static void give_back(struct transport *transport, struct transport_window *window)
{
    struct transport_link *link = window->link;

    BATON_ASSERT(transport->windows > 0);
    BATON_ASSERT(link->windows > 0);
    complain(transport, window);
    transport->windows--;
    transport->host.window_done(transport->host.arg, window);
    link->windows--;
    link_release(link);
}

/*
 * The upcall may call stop(), link_close() and post(); those find what is left of the list here,
 * so whoever returns first has given back everything.
 */
static void give_back_all(struct transport *transport)
{
    struct transport_window *window;

    while ((window = window_list_pop(&transport->returning))) {
        give_back(transport, window);
    }
}

static baton_err shm_create(const struct transport_host *host,
                            const struct transport_options *options,
                            struct transport **ret_transport, struct baton_error *ret_error)
{
    struct transport *transport;
    struct movers_options movers = {.count = options->movers,
                                    .slice_bytes = options->slice_bytes,
                                    .spin_rounds = SHM_SPIN_ROUNDS,
                                    .wake = host->wake,
                                    .wake_arg = host->arg};
    baton_err err;

    if (options->movers > BATON_MOVERS_MAX || options->slice_bytes == 0) {
        return error_set(ret_error, BATON_EINVAL,
                         "shm: movers is %u (at most %d), slice_bytes is %u (at least 1)",
                         options->movers, BATON_MOVERS_MAX, options->slice_bytes);
    }
    transport = calloc(1, sizeof(*transport));
    if (!transport) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for the shm transport");
    }
    transport->host = *host;
    transport->options = *options;
    err = movers_create(&movers, &transport->movers, ret_error);
    if (err) {
        free(transport);
        return err;
    }
    *ret_transport = transport;
    return BATON_OK;
}

static void shm_destroy(struct transport *transport)
{
    if (!transport) {
        return;
    }
    BATON_ASSERT(transport->links == 0);
    BATON_ASSERT(transport->windows == 0);
    BATON_ASSERT(!transport->small);
    movers_destroy(transport->movers);
    free(transport);
}

static baton_err shm_link_open(struct transport *transport, const struct transport_link_args *args,
                               struct transport_link **ret_link, struct baton_error *ret_error)
{
    struct transport_link *link;

    if (transport->links >= transport->options.links_max) {
        return error_set(ret_error, BATON_ELIMIT, "shm: %u links are open, the most is %u",
                         transport->links, transport->options.links_max);
    }
    link = calloc(1, sizeof(*link));
    if (!link) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for a link of the shm transport");
    }
    link->transport = transport;
    link->number = args->link;
    transport->links++;
    *ret_link = link;
    return BATON_OK;
}

/*
 * A window of one slice is copied sooner than a mover is woken, so the driving thread copies it:
 * one at a time, and none that could block.
 */
static bool is_small(const struct transport *transport, const struct transport_window *window)
{
    return !transport->small && transport->options.movers > 0 &&
           window->length <= transport->options.slice_bytes && window->length <= SHM_SMALL_BYTES &&
           !window->region->process;
}

static void small_copy(struct transport *transport)
{
    static const atomic_bool never;
    struct transport_window *window = transport->small;

    if (window) {
        transport->small = NULL;
        slice_copy(window, transport->options.slice_bytes, &never);
        window_list_push(&transport->returning, window);
    }
}

static void small_stop(struct transport *transport, const struct transport_link *link,
                       const uint64_t *fetch_id)
{
    struct transport_window *window = transport->small;

    if (window && window->link == link && (!fetch_id || window->fetch_id == *fetch_id)) {
        transport->small = NULL;
        window->status = TRANSPORT_ABORTED;
        window_list_push(&transport->returning, window);
    }
}

/* A mover that copies for this link does not look at it, so the link may be closed meanwhile. */
static void shm_link_close(struct transport_link *link)
{
    struct transport *transport = link->transport;

    BATON_ASSERT(!link->closed);
    movers_stop(transport->movers, link, NULL, &transport->returning);
    small_stop(transport, link, NULL);
    /* One more "window", so that the link outlives the last give_back() of this call. */
    link->windows++;
    link->closed = true;
    give_back_all(transport);
    link->windows--;
    link_release(link);
}

static void shm_post(struct transport_window *window)
{
    struct transport_link *link = window->link;
    struct transport *transport = link->transport;

    BATON_ASSERT(!link->closed);
    BATON_ASSERT(window->region != NULL);
    BATON_ASSERT(link->windows <= transport->options.windows_max); /* one may be in its upcall */
    transport->windows++;
    link->windows++;
    window->landed = 0;
    plan_cursor_init(&window->cursor, window->plan, window->offset, window->length);
    if (is_small(transport, window)) {
        transport->small = window;
        transport->host.wake(transport->host.arg);
    } else {
        movers_post(transport->movers, window);
    }
}

static void shm_stop(struct transport_link *link, uint64_t fetch_id)
{
    struct transport *transport = link->transport;

    movers_stop(transport->movers, link, &fetch_id, &transport->returning);
    small_stop(transport, link, &fetch_id);
    give_back_all(transport);
}

static bool shm_progress(struct transport *transport)
{
    bool more = transport->options.movers == 0 && movers_step(transport->movers);

    small_copy(transport);
    movers_collect(transport->movers, &transport->returning);
    give_back_all(transport);
    return more;
}

const struct transport_ops transport_shm = {
    .name = "shm",
    .bit = WIRE_TRANSPORT_SHM,
    .create = shm_create,
    .destroy = shm_destroy,
    .link_open = shm_link_open,
    .link_close = shm_link_close,
    .post = shm_post,
    .stop = shm_stop,
    .progress = shm_progress,
};
