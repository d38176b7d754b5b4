/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the answers of a source, in the order of the requests, and its pushes, in the order of
 * the grants: DATA, payload, TRAILER, or a refusal.  The payload comes straight from the blocks or,
 * once its serve was stopped, from filler.
 */
#include <errno.h>

#include "transport/tcp.h"
#include "util/assert.h"

static const unsigned char filler[TCP_FILLER_BYTES];

/* One sendmsg(): what it may write. */
struct writing {
    uint8_t head[BULK_DATA_BYTES];
    uint8_t trailer[BULK_TRAILER_BYTES];
    struct iovec iov[TCP_IOV_MAX];
    size_t count;
    uint64_t payload; /* of which so much is payload */
};

/* Where the parts of an answer end, in bytes of the answer. */
static uint64_t payload_end(const struct tcp_request *request)
{
    return BULK_DATA_BYTES + (request->answer == TCP_REFUSED ? 0 : request->read.length);
}

static uint64_t answer_end(const struct tcp_request *request)
{
    return payload_end(request) + (request->answer == TCP_REFUSED ? 0 : BULK_TRAILER_BYTES);
}

static void add(struct writing *writing, const void *base, uint64_t length)
{
    BATON_ASSERT(writing->count < TCP_IOV_MAX);
    writing->iov[writing->count++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)base, .iov_len = length};
}

static void add_head(struct writing *writing, const struct tcp_request *request)
{
    bool refused = request->answer == TCP_REFUSED;
    bool pushed = request->answer == TCP_PUSHED;
    struct bulk_data data = {.status = refused  ? BULK_REFUSED
                                       : pushed ? BULK_PUSHED
                                                : BULK_OK,
                             .fetch_id = request->read.fetch_id,
                             .attempt = request->read.attempt,
                             .offset = request->read.offset,
                             .length = refused ? 0 : request->read.length};

    bulk_data_encode(&data, writing->head);
    add(writing, writing->head + request->written, BULK_DATA_BYTES - request->written);
}

static void add_blocks(struct writing *writing, struct transport_serve *serve, uint64_t done)
{
    struct plan_span span;

    plan_cursor_init(&serve->cursor, serve->plan, serve->offset + done, serve->length - done);
    for (int spans = 0; spans < TCP_SPANS_MAX && writing->payload < TCP_SEND_BYTES; spans++) {
        if (!plan_next(&serve->cursor, TCP_SEND_BYTES - writing->payload, &span)) {
            break;
        }
        add(writing, serve->source_base + span.source_offset, span.length);
        writing->payload += span.length;
    }
    BATON_ASSERT(writing->payload <= serve->length - done);
}

static void add_filler(struct writing *writing, uint64_t left)
{
    while (left && writing->payload < TCP_SEND_BYTES) {
        uint64_t length = left < sizeof filler ? left : sizeof filler;

        add(writing, filler, length);
        writing->payload += length;
        left -= length;
    }
}

/* The status is decided here: until a byte of the trailer is written, a stop can still change it
 * to ABORTED. */
static void add_trailer(struct writing *writing, const struct tcp_request *request, uint64_t skip)
{
    struct bulk_trailer trailer = {.status = request->aborted ? BULK_ABORTED : BULK_OK,
                                   .bytes = request->aborted ? request->from_blocks
                                                             : request->read.length};

    bulk_trailer_encode(&trailer, writing->trailer);
    add(writing, writing->trailer + skip, BULK_TRAILER_BYTES - skip);
}

static void prepare(struct writing *writing, const struct tcp_request *request)
{
    uint64_t done, left;

    writing->count = 0;
    writing->payload = 0;
    if (request->written < BULK_DATA_BYTES) {
        add_head(writing, request);
    }
    if (request->answer == TCP_REFUSED) {
        return;
    }
    done = request->written < BULK_DATA_BYTES ? 0 : request->written - BULK_DATA_BYTES;
    left = done < request->read.length ? request->read.length - done : 0;
    if (left && request->serve) {
        add_blocks(writing, request->serve, done);
    } else {
        add_filler(writing, left);
    }
    if (writing->payload == left) {
        add_trailer(writing, request,
                    done > request->read.length ? done - request->read.length : 0);
    }
}

/* Count what was written.  The serve goes back with the last byte of its payload: the kernel has
 * its own copy of it. */
static void written(struct transport_link *link, struct tcp_request *request, uint64_t length)
{
    const struct transport_host *host = &link->transport->host;
    struct transport_serve *serve = NULL;

    request->written += length;
    BATON_ASSERT(request->written <= answer_end(request));
    if (request->serve) {
        uint64_t end = payload_end(request);
        uint64_t reached = request->written < end ? request->written : end;

        request->from_blocks = reached < BULK_DATA_BYTES ? 0 : reached - BULK_DATA_BYTES;
        if (reached == end) {
            serve = request->serve;
            request->serve = NULL;
        }
    }
    if (request->written == answer_end(request)) {
        tcp_answer_over(link);
    }
    if (serve) {
        serve->status = TRANSPORT_OK;
        host->serve_done(host->arg, serve);
    }
}

void tcp_source_send(struct transport_link *link)
{
    struct tcp_request *request = tcp_answer_next(link);
    struct writing writing;
    struct msghdr message = {.msg_iov = writing.iov};
    ssize_t length;

    if (!request) {
        return;
    }
    prepare(&writing, request);
    message.msg_iovlen = writing.count;
    /* writev() with a flag: a connection that the peer closed must not raise SIGPIPE. */
    length = sendmsg(link->watch.fd, &message, MSG_NOSIGNAL);
    if (length < 0) {
        int errno_value = errno;

        if (errno_value != EAGAIN && errno_value != EINTR) {
            tcp_link_break_system(link, errno_value, "send");
        }
        return;
    }
    written(link, request, (uint64_t)length);
}
