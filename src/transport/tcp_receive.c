/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the answers and the pushes of a source: DATA, payload, TRAILER.  The payload goes
 * straight into the window's blocks.
 *
 * What a peer can do here: break its link, fail windows, and decide what the bytes of a window that
 * was requested from it, or granted to it, are.  It can not choose where they go: place and length
 * are those of the oldest request that was sent, or of the oldest window of its fetch that was
 * granted; an answer or a push that names another is a protocol error.  What it pushes for a fetch
 * without windows costs it more than this side: it is read, and thrown away.
 */
#include <errno.h>
#include <string.h>

#include "transport/tcp.h"
#include "util/assert.h"
#include "util/error.h"

/* One readv(): what it may fill. */
struct reading {
    struct iovec iov[TCP_IOV_MAX];
    int count;
    uint64_t payload; /* bytes of payload asked for */
    uint64_t stage;   /* bytes asked for after them */
};

static void add(struct reading *reading, void *base, uint64_t length)
{
    BATON_ASSERT(reading->count < TCP_IOV_MAX);
    reading->iov[reading->count++] = (struct iovec){.iov_base = base, .iov_len = length};
}

/* The next blocks of a window, from where the last byte landed. */
static void add_blocks(struct reading *reading, struct transport_window *window)
{
    struct plan_span span;

    plan_cursor_init(&window->cursor, window->plan, window->offset + window->landed,
                     window->length - window->landed);
    for (int spans = 0; spans < TCP_SPANS_MAX && reading->payload < TCP_RECEIVE_BYTES; spans++) {
        if (!plan_next(&window->cursor, TCP_RECEIVE_BYTES - reading->payload, &span)) {
            break;
        }
        add(reading, window->sink_base + span.sink_offset, span.length);
        reading->payload += span.length;
    }
    BATON_ASSERT(reading->payload <= window->length - window->landed);
}

static void add_discard(struct reading *reading, unsigned char *discard, uint64_t left)
{
    while (left && reading->payload < TCP_RECEIVE_BYTES) {
        uint64_t length = left < TCP_FILLER_BYTES ? left : TCP_FILLER_BYTES;

        add(reading, discard, length);
        reading->payload += length;
        left -= length;
    }
}

/* Bytes that the stage still lacks for the parts that come after the payload.  The next payload
 * must not get into it, so it never asks beyond the next DATA header. */
static size_t stage_room(const struct tcp_sink *sink)
{
    size_t whole = sink->expect == TCP_EXPECT_DATA ? BULK_DATA_BYTES : TCP_STAGE_BYTES;

    BATON_ASSERT(sink->staged < whole);
    return whole - sink->staged;
}

static void prepare(struct transport_link *link, struct reading *reading)
{
    struct tcp_sink *sink = &link->at_sink;
    uint64_t left = 0;

    reading->count = 0;
    reading->payload = reading->stage = 0;
    if (sink->expect == TCP_EXPECT_PAYLOAD) {
        const struct tcp_awaited *awaited = sink->reading;

        left = awaited->length - awaited->got;
        if (awaited->window) {
            BATON_ASSERT(awaited->window->landed == awaited->got);
            add_blocks(reading, awaited->window);
        } else {
            add_discard(reading, link->transport->discard, left);
        }
    }
    if (reading->payload == left) {
        reading->stage = stage_room(sink);
        add(reading, sink->stage + sink->staged, reading->stage);
    }
}

static void unstage(struct tcp_sink *sink, size_t length)
{
    BATON_ASSERT(length <= sink->staged);
    sink->staged -= length;
    memmove(sink->stage, sink->stage + length, sink->staged);
}

static void begin(struct tcp_sink *sink, struct tcp_awaited *awaited)
{
    BATON_ASSERT(!sink->reading && awaited->got == 0);
    unstage(sink, BULK_DATA_BYTES);
    sink->reading = awaited;
    sink->expect = TCP_EXPECT_PAYLOAD;
}

/* What was being read is over.  Its window goes back, unless that was done before. */
static void answered(struct transport_link *link, enum transport_status status)
{
    struct tcp_sink *sink = &link->at_sink;
    struct transport_window *window = sink->reading->window;

    sink->awaited_first += sink->reading != &sink->pushed;
    sink->reading->window = NULL;
    sink->reading = NULL;
    sink->expect = TCP_EXPECT_DATA;
    if (window) {
        tcp_window_give_back(link, window, status);
    }
}

static void parse_push(struct transport_link *link, const struct bulk_data *data)
{
    struct tcp_sink *sink = &link->at_sink;
    struct transport_window *window;

    if (data->length > link->transport->options.window_bytes) {
        tcp_link_break_protocol(link, "a push of more than window_bytes");
    } else if (!tcp_granted_take(link, data, &window)) {
        tcp_link_break_protocol(link, "a push that is not the next granted window of its fetch");
    } else {
        sink->pushed = (struct tcp_awaited){.fetch_id = data->fetch_id,
                                            .attempt = data->attempt,
                                            .offset = data->offset,
                                            .length = data->length,
                                            .window = window};
        begin(sink, &sink->pushed);
    }
}

static void parse_answer(struct transport_link *link, const struct bulk_data *data)
{
    struct tcp_awaited *awaited = tcp_awaited_oldest(link);
    struct tcp_sink *sink = &link->at_sink;

    if (!awaited) {
        tcp_link_break_protocol(link, "DATA that answers no READ");
    } else if (data->fetch_id != awaited->fetch_id || data->attempt != awaited->attempt ||
               data->offset != awaited->offset) {
        tcp_link_break_protocol(link, "DATA that does not answer the oldest READ");
    } else if (data->status == BULK_REFUSED) {
        begin(sink, awaited);
        answered(link, TRANSPORT_ABORTED);
    } else if (data->length != awaited->length) {
        tcp_link_break_protocol(link, "DATA of another length than its READ");
    } else {
        begin(sink, awaited);
    }
}

static void parse_data(struct transport_link *link)
{
    struct bulk_data data;

    if (!bulk_data_decode(link->at_sink.stage, &data)) {
        tcp_link_break_protocol(link, "a malformed DATA header");
    } else if (data.status == BULK_PUSHED) {
        parse_push(link, &data);
    } else {
        parse_answer(link, &data);
    }
}

static void parse_trailer(struct transport_link *link)
{
    struct tcp_sink *sink = &link->at_sink;
    const struct tcp_awaited *awaited = sink->reading;
    struct bulk_trailer trailer;

    BATON_ASSERT(awaited->got == awaited->length);
    if (!bulk_trailer_decode(sink->stage, &trailer)) {
        tcp_link_break_protocol(link, "a malformed TRAILER");
    } else if (trailer.bytes > awaited->length ||
               (trailer.status == BULK_OK && trailer.bytes != awaited->length)) {
        tcp_link_break_protocol(link, "a TRAILER with a wrong count of bytes");
    } else {
        unstage(sink, BULK_TRAILER_BYTES);
        answered(link, trailer.status == BULK_OK ? TRANSPORT_OK : TRANSPORT_ABORTED);
    }
}

/* Go on as far as the bytes in the stage lead.  The link may end within. */
static void parse(struct transport_link *link)
{
    struct tcp_sink *sink = &link->at_sink;

    while (link->state == TCP_OPEN) {
        const struct tcp_awaited *awaited = sink->reading;

        BATON_ASSERT((sink->expect == TCP_EXPECT_DATA) == !awaited);
        if (sink->expect == TCP_EXPECT_DATA && sink->staged >= BULK_DATA_BYTES) {
            parse_data(link);
        } else if (sink->expect == TCP_EXPECT_PAYLOAD && awaited->got == awaited->length) {
            sink->expect = TCP_EXPECT_TRAILER;
        } else if (sink->expect == TCP_EXPECT_TRAILER && sink->staged >= BULK_TRAILER_BYTES) {
            parse_trailer(link);
        } else {
            return;
        }
    }
}

static void count(struct transport_link *link, const struct reading *reading, uint64_t length)
{
    uint64_t payload = length < reading->payload ? length : reading->payload;

    if (payload) {
        struct tcp_awaited *awaited = link->at_sink.reading;

        awaited->got += payload;
        if (awaited->window) {
            awaited->window->landed += payload;
        }
    }
    link->at_sink.staged += length - payload;
    BATON_ASSERT(link->at_sink.staged <= TCP_STAGE_BYTES);
}

static void read_ended(struct transport_link *link)
{
    struct baton_error why;

    error_set(&why, BATON_ECLOSED, "bulk connection to %s: closed by the peer",
              link->at_sink.address_text);
    tcp_link_break(link, &why);
}

static void read_failed(struct transport_link *link, int errno_value)
{
    if (errno_value != EAGAIN && errno_value != EINTR) {
        tcp_link_break_system(link, errno_value, "read");
    }
}

/* A flag may have been set since the last call: then no byte is copied for its window any more. */
static void heed_flag(struct transport_link *link)
{
    const struct tcp_awaited *awaited = link->at_sink.reading;

    if (awaited && awaited->window &&
        atomic_load_explicit(awaited->window->stop, memory_order_relaxed)) {
        tcp_sink_stop(link, NULL);
    }
}

/* One call.  True: it took only the head of an answer, whose payload is on its way. */
static bool receive(struct transport_link *link)
{
    const struct transport_host *host = &link->transport->host;
    struct reading reading;
    ssize_t length;

    heed_flag(link);
    if (link->state != TCP_OPEN) {
        return false;
    }
    prepare(link, &reading);
    length = readv(link->watch.fd, reading.iov, reading.count);
    if (length < 0) {
        read_failed(link, errno);
        return false;
    }
    if (length == 0) {
        read_ended(link);
        return false;
    }
    count(link, &reading, (uint64_t)length);
    host->heard(host->arg, link->number);
    parse(link);
    return reading.payload == 0 && link->state == TCP_OPEN &&
           link->at_sink.expect == TCP_EXPECT_PAYLOAD;
}

void tcp_sink_receive(struct transport_link *link)
{
    if (receive(link)) {
        receive(link);
    }
}
