/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's end of a bulk connection: READ requests, the engine's answers to them, and how
 * serves are given back.  Writing the answers is tcp_send.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "transport/tcp.h"
#include "util/assert.h"
#include "util/error.h"

static struct tcp_request *request_at(struct transport_link *link, uint64_t number)
{
    return &link->at_source.requests[number % link->transport->options.windows_max];
}

struct tcp_request *tcp_request_oldest(struct transport_link *link)
{
    struct tcp_source *source = &link->at_source;

    BATON_ASSERT(source->requests_first <= source->requests_end);
    return source->requests_first == source->requests_end
               ? NULL
               : request_at(link, source->requests_first);
}

baton_err tcp_source_init(struct transport_link *link, struct baton_error *ret_error)
{
    struct tcp_source *source = &link->at_source;
    size_t windows_max = link->transport->options.windows_max;

    /* Room for all that a sink may send before an answer: adopt() gets it in one piece. */
    source->received_size = (windows_max + 1) * BULK_READ_BYTES;
    source->received = malloc(source->received_size);
    source->requests = calloc(windows_max, sizeof *source->requests);
    if (!source->received || !source->requests) {
        tcp_source_fini(link);
        return error_set(ret_error, BATON_ENOMEM, "tcp: no memory for a link");
    }
    return BATON_OK;
}

void tcp_source_fini(struct transport_link *link)
{
    free(link->at_source.received);
    free(link->at_source.requests);
}

static baton_err adopt(struct transport_link *link, int fd, const uint8_t *early,
                       size_t early_length)
{
    const struct transport_host *host = &link->transport->host;
    struct tcp_source *source = &link->at_source;
    baton_err err;

    if (link->state != TCP_IDLE) {
        return BATON_EBUSY; /* the link has, or had, its one connection */
    }
    if (early_length > source->received_size) {
        return BATON_ELIMIT;
    }
    err = tcp_socket_prepare(fd, NULL);
    if (err) {
        return err;
    }
    link->watch.fd = fd;
    if (!host->watch(host->arg, &link->watch, EPOLLIN)) {
        link->watch.fd = -1;
        return BATON_ENOMEM;
    }
    link->events = EPOLLIN;
    tcp_link_move(link, TCP_OPEN);
    if (early_length) {
        memcpy(source->received, early, early_length);
        source->received_length = early_length;
        link->unread = true;
        host->wake(host->arg); /* progress() reads them: no upcall of a request within adopt() */
    }
    return BATON_OK;
}

baton_err tcp_source_adopt(struct transport_link *link, int fd, const uint8_t *early,
                           size_t early_length)
{
    baton_err err = adopt(link, fd, early, early_length);

    if (err) {
        close(fd);
    }
    return err;
}

/* -------------------------------------------------------------------------------------------------
 * requests */

static void request(struct transport_link *link, const struct bulk_read *read)
{
    const struct transport_host *host = &link->transport->host;
    struct tcp_source *source = &link->at_source;
    struct transport_read asked = {.offer_id = read->offer_id,
                                   .fetch_id = read->fetch_id,
                                   .attempt = read->attempt,
                                   .slot = read->slot,
                                   .offset = read->offset,
                                   .length = read->length,
                                   .own = source->requests_end};
    struct tcp_request *record = request_at(link, source->requests_end++);

    *record = (struct tcp_request){.read = *read, .answer = TCP_ASKED};
    host->read_request(host->arg, link->number, &asked);
    BATON_ASSERT(BATON_IMPLIES(link->state == TCP_OPEN, record->answer != TCP_ASKED));
}

/* False: the link broke. */
static bool parse_read(struct transport_link *link, const uint8_t *bytes)
{
    const struct transport_options *options = &link->transport->options;
    struct tcp_source *source = &link->at_source;
    struct bulk_read read;

    if (!bulk_read_decode(bytes, &read)) {
        tcp_link_break_protocol(link, "a malformed READ");
    } else if (read.length > options->window_bytes) {
        tcp_link_break_protocol(link, "a READ of more than window_bytes of the source");
    } else if (source->requests_end - source->requests_first == options->windows_max) {
        tcp_link_break_protocol(link, "more READs at once than the source allows");
    } else {
        request(link, &read);
    }
    return link->state == TCP_OPEN;
}

static void parse(struct transport_link *link)
{
    struct tcp_source *source = &link->at_source;
    size_t used = 0;

    link->unread = false;
    while (source->received_length - used >= BULK_READ_BYTES) {
        used += BULK_READ_BYTES;
        if (!parse_read(link, source->received + used - BULK_READ_BYTES)) {
            return;
        }
    }
    source->received_length -= used;
    memmove(source->received, source->received + used, source->received_length);
}

static void receive(struct transport_link *link)
{
    const struct transport_host *host = &link->transport->host;
    struct tcp_source *source = &link->at_source;
    ssize_t length = recv(link->watch.fd, source->received + source->received_length,
                          source->received_size - source->received_length, 0);

    if (length > 0) {
        source->received_length += (size_t)length;
        host->heard(host->arg, link->number);
    } else if (length == 0) {
        struct baton_error why;

        error_set(&why, BATON_ECLOSED, "bulk connection: closed by the peer");
        tcp_link_break(link, &why);
    } else if (errno != EAGAIN && errno != EINTR) {
        tcp_link_break_system(link, errno, "recv");
    }
}

void tcp_source_ready(struct transport_link *link, unsigned events)
{
    /* Early bytes first: they fill the same buffer, and come before what the socket has. */
    parse(link);
    if (link->state == TCP_OPEN && (events & (EPOLLIN | EPOLLERR | EPOLLHUP))) {
        receive(link);
    }
    if (link->state == TCP_OPEN) {
        parse(link);
    }
    if (link->state == TCP_OPEN) {
        tcp_source_send(link);
    }
    tcp_link_watch(link, EPOLLIN | (tcp_request_oldest(link) ? (unsigned)EPOLLOUT : 0));
}

/* -------------------------------------------------------------------------------------------------
 * serves */

static struct tcp_request *asked(struct transport_link *link, uint64_t own)
{
    struct tcp_request *record = request_at(link, own);

    BATON_ASSERT(own + 1 == link->at_source.requests_end);
    BATON_ASSERT(record->answer == TCP_ASKED);
    return record;
}

void tcp_source_serve(struct transport_link *link, struct transport_serve *serve, uint64_t own)
{
    struct tcp_request *record = asked(link, own);

    BATON_ASSERT(serve->length == record->read.length);
    serve->next = NULL;
    record->answer = TCP_SERVED;
    record->serve = serve;
}

void tcp_source_refuse(struct transport_link *link, uint64_t own)
{
    asked(link, own)->answer = TCP_REFUSED;
}

/*
 * The record lets go of its serve; the answer goes on without it, so that the other requests of
 * the connection are not disturbed.  Not begun: a refusal.  In the middle: filler, and a trailer
 * that says so, of which no byte is written yet, because a record has its serve up to the last byte
 * of the payload only.
 */
static struct transport_serve *detach(struct tcp_request *record)
{
    struct transport_serve *serve = record->serve;

    BATON_ASSERT(serve && record->answer == TCP_SERVED);
    record->serve = NULL;
    if (record->written == 0) {
        record->answer = TCP_REFUSED;
    } else {
        record->aborted = true;
    }
    return serve;
}

static bool is_of(const struct transport_serve *serve, uint64_t offer_id, uint32_t slot,
                  uint64_t attempt)
{
    return serve->offer_id == offer_id && serve->slot == slot && serve->attempt == attempt;
}

static void give_back(struct transport_link *link, struct transport_serve *first)
{
    const struct transport_host *host = &link->transport->host;

    while (first) {
        struct transport_serve *serve = first;

        first = serve->next;
        serve->next = NULL;
        host->serve_done(host->arg, serve);
    }
}

/*
 * Why a serve is quiet once it is detached: blocks are read by the sendmsg() of tcp_send.c only, on
 * this thread, which copies them into the kernel before it returns (never MSG_ZEROCOPY); and that
 * reaches them only through the record, which no longer names the serve.
 *
 * First all are detached, then all are given back, because serve_done() may stop and close.
 */
void tcp_source_stop(struct transport_link *link, uint64_t offer_id, uint32_t slot,
                     uint64_t attempt)
{
    struct tcp_source *source = &link->at_source;
    struct transport_serve *first = NULL, **last = &first;

    for (uint64_t i = source->requests_first; i < source->requests_end; i++) {
        struct tcp_request *record = request_at(link, i);

        if (record->serve && is_of(record->serve, offer_id, slot, attempt)) {
            *last = detach(record);
            last = &(*last)->next;
        }
    }
    give_back(link, first);
}

void tcp_source_stop_all(struct transport_link *link)
{
    struct tcp_source *source = &link->at_source;
    struct transport_serve *first = NULL, **last = &first;

    BATON_ASSERT(link->watch.fd < 0);
    for (uint64_t i = source->requests_first; i < source->requests_end; i++) {
        struct tcp_request *record = request_at(link, i);

        if (record->serve) {
            *last = detach(record);
            last = &(*last)->next;
        }
    }
    give_back(link, first);
}
