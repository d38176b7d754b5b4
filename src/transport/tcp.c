/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tcp transport: its ops table, and the life of its links.  Bulk data has a TCP connection of
 * its own for each link; what is said on it is in docs/PROTOCOL.md, and tcp_sink.c and tcp_source.c
 * say it.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "transport/tcp.h"
#include "util/assert.h"
#include "util/error.h"
#include "wire/frame.h"

#define BIT(n) (1u << (n))

static const struct {
    const char *name;
    unsigned next; /* bit set of the states one move away */
} states[TCP_STATE_COUNT_] = {
    [TCP_IDLE] = {"idle", BIT(TCP_CONNECTING) | BIT(TCP_OPEN) | BIT(TCP_BROKEN) | BIT(TCP_CLOSED)},
    [TCP_CONNECTING] = {"connecting", BIT(TCP_OPEN) | BIT(TCP_BROKEN) | BIT(TCP_CLOSED)},
    [TCP_OPEN] = {"open", BIT(TCP_BROKEN) | BIT(TCP_CLOSED)},
    [TCP_BROKEN] = {"broken", BIT(TCP_CLOSED)},
    [TCP_CLOSED] = {"closed", 0},
};

static bool has_connection(enum tcp_state state)
{
    return state == TCP_CONNECTING || state == TCP_OPEN;
}

void tcp_link_move(struct transport_link *link, enum tcp_state to)
{
    BATON_ASSERT(to < TCP_STATE_COUNT_);
    BATON_ASSERT(states[link->state].next & BIT(to));
    link->state = to;
    /* Without a descriptor nothing can be copied: a link that ended is quiet. */
    BATON_ASSERT(has_connection(to) == (link->watch.fd >= 0));
}

static void disconnect(struct transport_link *link)
{
    if (link->watch.fd < 0) {
        return;
    }
    link->transport->host.unwatch(link->transport->host.arg, &link->watch);
    close(link->watch.fd);
    link->watch.fd = -1;
    link->events = 0;
}

void tcp_link_break(struct transport_link *link, const struct baton_error *why)
{
    const struct transport_host *host = &link->transport->host;

    if (link->state == TCP_BROKEN || link->state == TCP_CLOSED) {
        return;
    }
    link->broken = *why;
    disconnect(link);
    tcp_link_move(link, TCP_BROKEN);
    host->wake(host->arg);
}

void tcp_link_break_protocol(struct transport_link *link, const char *what)
{
    struct baton_error why;

    error_set(&why, BATON_EINVAL, "bulk connection: protocol error: %s", what);
    tcp_link_break(link, &why);
}

void tcp_link_break_system(struct transport_link *link, int errno_value, const char *call)
{
    struct baton_error why;

    error_system(&why, errno_value, "bulk connection%s%s: %s", link->sink ? " to " : "",
                 link->sink ? link->at_sink.address_text : "", call);
    tcp_link_break(link, &why);
}

/* The windows or serves that the transport still has.  Their owner may close the link meanwhile. */
static void give_back_all(struct transport_link *link)
{
    if (link->sink) {
        tcp_sink_stop_all(link);
    } else {
        tcp_source_stop_all(link);
    }
}

void tcp_link_settle(struct transport_link *link)
{
    const struct transport_host *host = &link->transport->host;

    if (link->state != TCP_BROKEN) {
        return;
    }
    give_back_all(link);
    if (link->state == TCP_BROKEN && !link->told) {
        link->told = true;
        host->link_broken(host->arg, link->number, link->broken.text);
    }
}

void tcp_link_watch(struct transport_link *link, unsigned events)
{
    const struct transport_host *host = &link->transport->host;

    if (has_connection(link->state) && link->events != events) {
        link->events = events;
        host->rewatch(host->arg, &link->watch, events);
    }
}

static void ready(struct transport_fd *self, unsigned events)
{
    struct transport_link *link = (struct transport_link *)self;

    _Static_assert(offsetof(struct transport_link, watch) == 0, "watch comes first");
    /* An event of the same round may have ended the link. */
    if (!has_connection(link->state)) {
        return;
    }
    if (link->sink) {
        tcp_sink_ready(link, events);
    } else {
        tcp_source_ready(link, events);
    }
    tcp_link_settle(link);
}

static void list_add(struct transport_link **list, struct transport_link *link)
{
    link->prev = NULL;
    link->next = *list;
    if (*list) {
        (*list)->prev = link;
    }
    *list = link;
}

static void list_remove(struct transport_link **list, struct transport_link *link)
{
    if (link->prev) {
        link->prev->next = link->next;
    } else {
        *list = link->next;
    }
    if (link->next) {
        link->next->prev = link->prev;
    }
}

static void link_free(struct transport_link *link)
{
    if (link->sink) {
        tcp_sink_fini(link);
    } else {
        tcp_source_fini(link);
    }
    free(link);
}

static void free_closed(struct transport *transport)
{
    while (transport->closed) {
        struct transport_link *link = transport->closed;

        list_remove(&transport->closed, link);
        link_free(link);
    }
}

static baton_err create(const struct transport_host *host, const struct transport_options *options,
                        struct transport **ret_transport, struct baton_error *ret_error)
{
    struct transport *transport;

    if (!options->window_bytes || !options->links_max || !options->windows_max ||
        options->windows_max > TCP_WINDOWS_MAX) {
        return error_set(ret_error, BATON_EINVAL,
                         "tcp: window_bytes %u and links_max %u must not be 0, "
                         "windows_max %u must be within 1..%d",
                         (unsigned)options->window_bytes, options->links_max, options->windows_max,
                         TCP_WINDOWS_MAX);
    }
    transport = calloc(1, sizeof *transport);
    if (!transport) {
        return error_set(ret_error, BATON_ENOMEM, "tcp: no memory for the transport");
    }
    transport->host = *host;
    transport->options = *options;
    *ret_transport = transport;
    return BATON_OK;
}

static void destroy(struct transport *transport)
{
    if (!transport) {
        return;
    }
    BATON_ASSERT(!transport->links);
    BATON_ASSERT(transport->link_count == 0);
    free_closed(transport);
    free(transport);
}

static baton_err link_open(struct transport *transport, const struct transport_link_args *args,
                           struct transport_link **ret_link, struct baton_error *ret_error)
{
    struct transport_link *link;
    baton_err err;

    if (transport->link_count == transport->options.links_max) {
        return error_set(ret_error, BATON_ELIMIT, "tcp: %u links are open, the most allowed",
                         transport->link_count);
    }
    link = calloc(1, sizeof *link);
    if (!link) {
        return error_set(ret_error, BATON_ENOMEM, "tcp: no memory for a link");
    }
    link->watch = (struct transport_fd){.fd = -1, .ready = ready};
    link->transport = transport;
    link->number = args->link;
    link->sink = args->sink;
    err = link->sink ? tcp_sink_init(link, args, ret_error) : tcp_source_init(link, ret_error);
    if (err) {
        free(link);
        return err;
    }
    list_add(&transport->links, link);
    transport->link_count++;
    *ret_link = link;
    return BATON_OK;
}

static void link_close(struct transport_link *link)
{
    struct transport *transport = link->transport;

    disconnect(link);
    tcp_link_move(link, TCP_CLOSED);
    list_remove(&transport->links, link);
    transport->link_count--;
    transport->closings++;
    list_add(&transport->closed, link);
    transport->host.wake(transport->host.arg);
    /* Last: the owners of the windows may call anything, but not progress(), so the link is still
       there when they return. */
    give_back_all(link);
}

static baton_err adopt(struct transport_link *link, int fd, const uint8_t *early,
                       size_t early_length)
{
    BATON_ASSERT(!link->sink);
    return tcp_source_adopt(link, fd, early, early_length);
}

static void post(struct transport_window *window)
{
    BATON_ASSERT(window->link->sink);
    tcp_sink_post(window->link, window);
}

static void stop(struct transport_link *link, uint64_t fetch_id)
{
    BATON_ASSERT(link->sink);
    tcp_sink_stop(link, &fetch_id);
}

static void serve(struct transport_serve *serving, uint64_t own)
{
    BATON_ASSERT(!serving->link->sink);
    tcp_source_serve(serving->link, serving, own);
}

static void refuse(struct transport_link *link, uint64_t own)
{
    BATON_ASSERT(!link->sink);
    tcp_source_refuse(link, own);
}

static void push(struct transport_serve *serving)
{
    BATON_ASSERT(!serving->link->sink);
    tcp_source_push(serving->link, serving);
}

static void serve_stop(struct transport_link *link, uint64_t offer_id, uint32_t slot,
                       uint64_t attempt)
{
    BATON_ASSERT(!link->sink);
    tcp_source_stop(link, offer_id, slot, attempt);
}

/* What could not be done within a call of the engine: to tell it that a link broke, and to look at
 * bytes that came with adopt(). */
static void attend(struct transport_link *link)
{
    if (link->sink) {
        tcp_sink_stop(link, NULL);
    } else if (link->unread && link->state == TCP_OPEN) {
        tcp_source_ready(link, 0);
    }
    tcp_link_settle(link);
}

static bool progress(struct transport *transport)
{
    free_closed(transport);
    /* When a link was closed within, `next` may be on the other list: then start again.  Each link
       is closed once, so this ends. */
    for (struct transport_link *link = transport->links, *next; link; link = next) {
        uint64_t closings = transport->closings;

        next = link->next;
        attend(link);
        if (transport->closings != closings) {
            next = transport->links;
        }
    }
    return false;
}

const struct transport_ops transport_tcp = {
    .name = "tcp",
    .bit = WIRE_TRANSPORT_TCP,
    .create = create,
    .destroy = destroy,
    .link_open = link_open,
    .link_close = link_close,
    .adopt = adopt,
    .post = post,
    .stop = stop,
    .serve = serve,
    .refuse = refuse,
    .push = push,
    .serve_stop = serve_stop,
    .progress = progress,
};
