/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's end of a bulk connection: READ requests, the engine's answers to them, pushes, and
 * how serves are given back.  Writing the answers is tcp_send.c.
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

static struct tcp_request *request_oldest(struct transport_link *link)
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
    source->pushes.last = &source->pushes.first;
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
    link->events = EPOLLIN | (source->pushes.first ? (unsigned)EPOLLOUT : 0);
    if (!host->watch(host->arg, &link->watch, link->events)) {
        link->watch.fd = -1;
        return BATON_ENOMEM;
    }
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
    tcp_link_watch(link, EPOLLIN | (tcp_answer_next(link) ? (unsigned)EPOLLOUT : 0));
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

static void serves_add(struct tcp_serves *serves, struct transport_serve *serve)
{
    serve->next = NULL;
    *serves->last = serve;
    serves->last = &serve->next;
}

static struct transport_serve *serves_pop(struct tcp_serves *serves)
{
    struct transport_serve *serve = serves->first;

    serves->first = serve->next;
    if (!serves->first) {
        serves->last = &serves->first;
    }
    serve->next = NULL;
    return serve;
}

void tcp_source_push(struct transport_link *link, struct transport_serve *serve)
{
    const struct transport_options *options = &link->transport->options;
    const struct transport_host *host = &link->transport->host;
    struct tcp_source *source = &link->at_source;

    BATON_ASSERT(link->state != TCP_CLOSED);
    serves_add(&source->pushes, serve);
    source->push_count++;
    if (serve->length > options->window_bytes) {
        tcp_link_break_protocol(link, "a grant of more than window_bytes of the source");
    } else if (source->push_count > options->windows_max) {
        tcp_link_break_protocol(link, "more grants at once than the source allows");
    } else {
        tcp_link_watch(link, EPOLLIN | EPOLLOUT);
    }
    if (link->state == TCP_BROKEN) {
        host->wake(host->arg); /* progress() gives it back: no upcall of it within push() */
    }
}

static struct tcp_request *push_begin(struct tcp_source *source)
{
    struct transport_serve *serve = serves_pop(&source->pushes);

    source->push_count--;
    source->pushed = (struct tcp_request){.answer = TCP_PUSHED, .serve = serve};
    source->pushed.read = (struct bulk_read){.slot = serve->slot,
                                             .offer_id = serve->offer_id,
                                             .fetch_id = serve->fetch_id,
                                             .attempt = serve->attempt,
                                             .offset = serve->offset,
                                             .length = serve->length};
    return &source->pushed;
}

struct tcp_request *tcp_answer_next(struct transport_link *link)
{
    struct tcp_source *source = &link->at_source;
    struct tcp_request *oldest = request_oldest(link);

    if (source->writing) {
        return source->writing;
    }
    if (source->pushes.first && (!oldest || !source->push_was_last)) {
        source->writing = push_begin(source);
    } else {
        source->writing = oldest;
    }
    source->push_was_last = source->writing == &source->pushed;
    return source->writing;
}

void tcp_answer_over(struct transport_link *link)
{
    struct tcp_source *source = &link->at_source;

    BATON_ASSERT(source->writing && !source->writing->serve);
    source->requests_first += source->writing != &source->pushed;
    source->writing = NULL;
}

/*
 * The record lets go of its serve; the answer goes on without it, so that the other answers of
 * the connection are not disturbed.  Not begun: a refusal or, where nobody asked, nothing.  In the
 * middle: filler, and a trailer that says so, of which no byte is written yet, because a record has
 * its serve up to the last byte of the payload only.
 */
static struct transport_serve *detach(struct tcp_source *source, struct tcp_request *record)
{
    struct transport_serve *serve = record->serve;

    BATON_ASSERT(serve && (record->answer == TCP_SERVED || record->answer == TCP_PUSHED));
    record->serve = NULL;
    if (record->written > 0) {
        record->aborted = true;
    } else if (record->answer == TCP_SERVED) {
        record->answer = TCP_REFUSED;
    } else {
        BATON_ASSERT(source->writing == record);
        source->writing = NULL;
    }
    return serve;
}

/* An attempt of a slot of an offer. */
struct attempt {
    uint64_t offer_id, attempt;
    uint32_t slot;
};

/* NULL: of any. */
static bool is_of(const struct transport_serve *serve, const struct attempt *attempt)
{
    return !attempt || (serve->offer_id == attempt->offer_id && serve->slot == attempt->slot &&
                        serve->attempt == attempt->attempt);
}

/*
 * Why a serve is quiet once it is detached: blocks are read by the sendmsg() of tcp_send.c only, on
 * this thread, which copies them into the kernel before it returns (never MSG_ZEROCOPY); and that
 * reaches them only through the record, which no longer names the serve.
 *
 * First all are detached, then all are given back, because serve_done() may stop and close.
 */
static void stop(struct transport_link *link, const struct attempt *attempt)
{
    const struct transport_host *host = &link->transport->host;
    struct tcp_source *source = &link->at_source;
    struct tcp_serves taken = {.last = &taken.first}, left = {.last = &left.first};

    for (uint64_t i = source->requests_first; i < source->requests_end; i++) {
        struct tcp_request *record = request_at(link, i);

        if (record->serve && is_of(record->serve, attempt)) {
            serves_add(&taken, detach(source, record));
        }
    }
    if (source->pushed.serve && is_of(source->pushed.serve, attempt)) {
        serves_add(&taken, detach(source, &source->pushed));
    }
    while (source->pushes.first) {
        struct transport_serve *serve = serves_pop(&source->pushes);
        bool stopped = is_of(serve, attempt);

        source->push_count -= stopped;
        serves_add(stopped ? &taken : &left, serve);
    }
    while (left.first) {
        serves_add(&source->pushes, serves_pop(&left));
    }
    while (taken.first) {
        struct transport_serve *serve = serves_pop(&taken);

        serve->status = TRANSPORT_ABORTED;
        host->serve_done(host->arg, serve);
    }
}

void tcp_source_stop(struct transport_link *link, uint64_t offer_id, uint32_t slot,
                     uint64_t attempt)
{
    stop(link, &(struct attempt){.offer_id = offer_id, .attempt = attempt, .slot = slot});
}

void tcp_source_stop_all(struct transport_link *link)
{
    BATON_ASSERT(link->watch.fd < 0);
    stop(link, NULL);
}
