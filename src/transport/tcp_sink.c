/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sink's end of a bulk connection: which windows it has, when it dials, what it requests, and
 * how windows are given back.  Reading the answers is tcp_receive.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "transport/tcp.h"
#include "util/assert.h"
#include "util/error.h"

static void windows_add(struct tcp_windows *windows, struct transport_window *window)
{
    window->next = NULL;
    *windows->last = window;
    windows->last = &window->next;
}

static struct transport_window *windows_pop(struct tcp_windows *windows)
{
    struct transport_window *window = windows->first;

    windows->first = window->next;
    if (!windows->first) {
        windows->last = &windows->first;
    }
    window->next = NULL;
    return window;
}

static struct tcp_awaited *awaited_at(struct transport_link *link, uint64_t number)
{
    return &link->at_sink.awaited[number % link->transport->options.windows_max];
}

struct tcp_awaited *tcp_awaited_oldest(struct transport_link *link)
{
    struct tcp_sink *sink = &link->at_sink;

    BATON_ASSERT(sink->awaited_first <= sink->awaited_end);
    return sink->awaited_first == sink->awaited_end ? NULL : awaited_at(link, sink->awaited_first);
}

baton_err tcp_sink_init(struct transport_link *link, const struct transport_link_args *args,
                        struct baton_error *ret_error)
{
    struct tcp_sink *sink = &link->at_sink;
    baton_err err;

    if (args->preface_length > sizeof sink->preface) {
        return error_set(ret_error, BATON_EINVAL, "tcp: a preface of %zu bytes; at most %zu",
                         args->preface_length, sizeof sink->preface);
    }
    err = tcp_address_parse(args->tcp_address, &sink->address, &sink->address_length, ret_error);
    if (err) {
        return err;
    }
    sink->awaited = calloc(link->transport->options.windows_max, sizeof *sink->awaited);
    if (!sink->awaited) {
        return error_set(ret_error, BATON_ENOMEM, "tcp: no memory for a link");
    }
    strcpy(sink->address_text, args->tcp_address); /* tcp_address_parse() checked the length */
    if (args->preface_length) {
        memcpy(sink->preface, args->preface, args->preface_length);
    }
    sink->preface_length = args->preface_length;
    sink->unsent.last = &sink->unsent.first;
    sink->granted.last = &sink->granted.first;
    return BATON_OK;
}

void tcp_sink_fini(struct transport_link *link)
{
    BATON_ASSERT(!link->at_sink.unsent.first && !link->at_sink.granted.first);
    free(link->at_sink.awaited);
}

void tcp_window_give_back(struct transport_link *link, struct transport_window *window,
                          enum transport_status status)
{
    const struct transport_host *host = &link->transport->host;

    BATON_ASSERT(window->landed <= window->length);
    BATON_ASSERT(BATON_IMPLIES(status == TRANSPORT_OK, window->landed == window->length));
    window->next = NULL;
    window->status = status;
    host->window_done(host->arg, window);
}

/* -------------------------------------------------------------------------------------------------
 * requests */

static bool request_fits(const struct transport_link *link)
{
    const struct tcp_sink *sink = &link->at_sink;

    return sink->unsent.first &&
           sink->awaited_end - sink->awaited_first < link->transport->options.windows_max &&
           sizeof sink->requests - sink->requests_end >= BULK_READ_BYTES;
}

/* Turn posted windows into requests, as many as there is room for.  No longer `unsent`, a window
 * is named by its record only. */
static void requests_fill(struct transport_link *link)
{
    struct tcp_sink *sink = &link->at_sink;

    if (sink->requests_sent == sink->requests_end) {
        sink->requests_sent = sink->requests_end = 0;
    }
    while (request_fits(link)) {
        struct transport_window *window = windows_pop(&sink->unsent);
        struct bulk_read read = {.slot = window->slot,
                                 .offer_id = window->offer_id,
                                 .fetch_id = window->fetch_id,
                                 .attempt = window->attempt,
                                 .offset = window->offset,
                                 .length = window->length};

        bulk_read_encode(&read, sink->requests + sink->requests_end);
        sink->requests_end += BULK_READ_BYTES;
        *awaited_at(link, sink->awaited_end++) = (struct tcp_awaited){.fetch_id = window->fetch_id,
                                                                      .attempt = window->attempt,
                                                                      .offset = window->offset,
                                                                      .length = window->length,
                                                                      .window = window};
    }
}

/* Makes no upcall but wake and rewatch, so that post() can call it. */
static void requests_send(struct transport_link *link)
{
    struct tcp_sink *sink = &link->at_sink;

    while (link->state == TCP_OPEN) {
        ssize_t sent;

        requests_fill(link);
        if (sink->requests_sent == sink->requests_end) {
            break;
        }
        sent = send(link->watch.fd, sink->requests + sink->requests_sent,
                    sink->requests_end - sink->requests_sent, MSG_NOSIGNAL);
        if (sent >= 0) {
            sink->requests_sent += (size_t)sent;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            tcp_link_break_system(link, errno, "send");
        }
    }
    tcp_link_watch(link,
                   EPOLLIN | (sink->requests_sent < sink->requests_end ? (unsigned)EPOLLOUT : 0));
}

/* -------------------------------------------------------------------------------------------------
 * pushes */

bool tcp_granted_take(struct transport_link *link, const struct bulk_data *data,
                      struct transport_window **ret_window)
{
    struct tcp_windows *granted = &link->at_sink.granted;
    struct transport_window **at = &granted->first, *window;

    while (*at && ((*at)->fetch_id != data->fetch_id || (*at)->attempt != data->attempt)) {
        at = &(*at)->next;
    }
    window = *at;
    if (window && (window->offset != data->offset || window->length != data->length ||
                   window->offset + window->length > *window->granted)) {
        return false;
    }
    if (window) {
        *at = window->next;
        if (!*at) {
            granted->last = at;
        }
        window->next = NULL;
    }
    *ret_window = window;
    return true;
}

/* -------------------------------------------------------------------------------------------------
 * dialling */

static void connected(struct transport_link *link)
{
    struct tcp_sink *sink = &link->at_sink;

    _Static_assert((int)TCP_PREFACE_BYTES_MAX <= (int)TCP_REQUESTS_BYTES_MAX, "it fits");
    BATON_ASSERT(sink->requests_end == 0);
    tcp_link_move(link, TCP_OPEN);
    memcpy(sink->requests, sink->preface, sink->preface_length);
    sink->requests_end = sink->preface_length;
    requests_send(link);
}

static void dial(struct transport_link *link)
{
    const struct transport_host *host = &link->transport->host;
    struct tcp_sink *sink = &link->at_sink;
    struct baton_error why;
    bool done;

    if (tcp_dial(sink, &link->watch.fd, &done, &why)) {
        tcp_link_break(link, &why);
        return;
    }
    if (!host->watch(host->arg, &link->watch, EPOLLOUT)) {
        close(link->watch.fd);
        link->watch.fd = -1;
        tcp_link_break_system(link, ENOMEM, "watch");
        return;
    }
    link->events = EPOLLOUT;
    tcp_link_move(link, TCP_CONNECTING);
    if (done) {
        connected(link);
    }
}

static void connect_ended(struct transport_link *link)
{
    int error = 0;
    socklen_t length = sizeof error;

    if (getsockopt(link->watch.fd, SOL_SOCKET, SO_ERROR, &error, &length)) {
        error = errno;
    }
    if (error) {
        tcp_link_break_system(link, error, "connect");
    } else {
        connected(link);
    }
}

/* -------------------------------------------------------------------------------------------------
 * posting and stopping */

void tcp_sink_post(struct transport_link *link, struct transport_window *window)
{
    const struct transport_host *host = &link->transport->host;
    struct tcp_sink *sink = &link->at_sink;

    BATON_ASSERT(link->state != TCP_CLOSED);
    BATON_ASSERT(window->stop && window->length > 0);
    window->landed = 0;
    windows_add(window->granted ? &sink->granted : &sink->unsent, window);
    if (link->state == TCP_IDLE) {
        dial(link);
    } else if (link->state == TCP_OPEN) {
        requests_send(link);
    } else if (link->state == TCP_BROKEN) {
        host->wake(host->arg); /* progress() gives it back: no upcall of it within post() */
    }
}

static bool is_stopped(const struct transport_window *window, const uint64_t *fetch_id)
{
    /* The flag orders nothing: copying and giving back are both this thread's. */
    return (fetch_id && window->fetch_id == *fetch_id) ||
           atomic_load_explicit(window->stop, memory_order_relaxed);
}

static void take_from(struct tcp_windows *windows, const uint64_t *fetch_id, bool all,
                      struct tcp_windows *taken)
{
    struct tcp_windows left = {.last = &left.first};

    while (windows->first) {
        struct transport_window *window = windows_pop(windows);

        windows_add(all || is_stopped(window, fetch_id) ? taken : &left, window);
    }
    while (left.first) {
        windows_add(windows, windows_pop(&left));
    }
}

static void take_awaited(struct tcp_awaited *awaited, const uint64_t *fetch_id, bool all,
                         struct tcp_windows *taken)
{
    if (awaited->window && (all || is_stopped(awaited->window, fetch_id))) {
        windows_add(taken, awaited->window);
        awaited->window = NULL;
    }
}

/*
 * Why a window is quiet once it is taken: blocks are written by the readv() of tcp_receive.c only,
 * on this thread, so none is running now; and that reaches a window only through its record, which
 * no longer names it.  The network is not waited for: what it still brings is thrown away.  A push
 * that had not begun leaves no record: its bytes find no window, or never come.
 *
 * First all are taken, then all are given back, because window_done() may post, stop and close.
 */
static void stop(struct transport_link *link, const uint64_t *fetch_id, bool all)
{
    struct tcp_sink *sink = &link->at_sink;
    struct tcp_windows taken = {.last = &taken.first};

    for (uint64_t i = sink->awaited_first; i < sink->awaited_end; i++) {
        take_awaited(awaited_at(link, i), fetch_id, all, &taken);
    }
    take_awaited(&sink->pushed, fetch_id, all, &taken);
    take_from(&sink->unsent, fetch_id, all, &taken);
    take_from(&sink->granted, fetch_id, all, &taken);
    while (taken.first) {
        tcp_window_give_back(link, windows_pop(&taken), TRANSPORT_ABORTED);
    }
}

void tcp_sink_stop(struct transport_link *link, const uint64_t *fetch_id)
{
    stop(link, fetch_id, false);
}

void tcp_sink_stop_all(struct transport_link *link)
{
    BATON_ASSERT(link->watch.fd < 0);
    stop(link, NULL, true);
}

void tcp_sink_ready(struct transport_link *link, unsigned events)
{
    if (link->state == TCP_CONNECTING) {
        connect_ended(link);
        return;
    }
    /* An error or a hang-up is told by the next read. */
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        tcp_sink_receive(link);
    }
    if (link->state == TCP_OPEN) {
        requests_send(link);
    }
}
