/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tcp transport's own types, shared by its files only: tcp.c (transport and links),
 * tcp_socket.c (addresses and sockets), tcp_sink.c with tcp_receive.c, and tcp_source.c with
 * tcp_send.c.
 *
 * Only the engine's driving thread runs this code.  So between two system calls of a copy no other
 * part of the transport runs, and a window or serve that is not named in its link's ring any more
 * can not be touched: that is the whole proof of obligations 1 to 3.
 */
#ifndef BATON_TRANSPORT_TCP_H
#define BATON_TRANSPORT_TCP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "baton.h"
#include "transport/tcp_proto.h"
#include "transport/transport.h"

enum {
    /*
     * Most bytes of blocks that one system call copies.  A cancel waits for at most one call.  The
     * sender's are long: with the socket's lock taken and released less often it is up to twice as
     * fast on loopback.
     */
    TCP_SEND_BYTES = 512 * 1024,
    TCP_RECEIVE_BYTES = 128 * 1024,
    TCP_SPANS_MAX = 512,               /* spans of blocks of one system call */
    TCP_IOV_MAX = TCP_SPANS_MAX + 2,   /* and a header and a trailer around them */
    TCP_FILLER_BYTES = 16 * 1024,      /* scratch memory; one call uses it several times */
    TCP_PREFACE_BYTES_MAX = 256,       /* what the engine sends first */
    TCP_REQUESTS_BYTES_MAX = 4096,     /* preface and READ headers waiting to be sent */
    TCP_SOCKET_BUFFER_BYTES = 4 << 20, /* asked of the kernel, which may give less */
    TCP_ADDRESS_BYTES_MAX = 64,        /* "[ADDRESS]:PORT" as text, with its closing NUL */
    TCP_STAGE_BYTES = BULK_TRAILER_BYTES + BULK_DATA_BYTES,
    TCP_WINDOWS_MAX = 1 << 16, /* upper limit of the option windows_max */
};

_Static_assert((int)TCP_SPANS_MAX >= (int)TCP_SEND_BYTES / (int)TCP_FILLER_BYTES &&
                   (int)TCP_SPANS_MAX >= (int)TCP_RECEIVE_BYTES / (int)TCP_FILLER_BYTES,
               "filler fills a call");
_Static_assert(TCP_IOV_MAX <= 1024, "IOV_MAX of Linux");

/*
 *   IDLE --> CONNECTING --> OPEN --> BROKEN --> CLOSED
 *
 * and from each to the right of it.  Blocks are touched in OPEN only.
 */
enum tcp_state {
    TCP_IDLE,       /* no connection yet */
    TCP_CONNECTING, /* sink: dialled */
    TCP_OPEN,
    TCP_BROKEN, /* the connection is gone; the engine is told, or will be by tcp_link_settle() */
    TCP_CLOSED, /* by the engine; the memory waits for the next progress() */
    TCP_STATE_COUNT_,
};

/* A READ that was sent, in the order of sending, which is the order of the answers; or the push
 * that is being read.  It outlives its window. */
struct tcp_awaited {
    uint64_t fetch_id;
    uint64_t attempt;
    uint64_t offset, length;
    uint64_t got;                    /* bytes of payload that arrived, wherever they went */
    struct transport_window *window; /* NULL: given back; what still comes is thrown away */
};

enum tcp_expect {
    TCP_EXPECT_DATA,
    TCP_EXPECT_PAYLOAD,
    TCP_EXPECT_TRAILER,
};

/* Windows, oldest first, linked by their `next`. */
struct tcp_windows {
    struct transport_window *first, **last;
};

struct tcp_sink {
    struct sockaddr_storage address;
    socklen_t address_length;
    char address_text[TCP_ADDRESS_BYTES_MAX];
    uint8_t preface[TCP_PREFACE_BYTES_MAX];
    size_t preface_length;
    /* Windows that were posted and not requested. */
    struct tcp_windows unsent;
    /* Windows that the source is to push, and of which nothing has come. */
    struct tcp_windows granted;
    /* Requests on their way: [awaited_first, awaited_end), each modulo windows_max. */
    struct tcp_awaited *awaited;
    uint64_t awaited_first, awaited_end;
    uint8_t requests[TCP_REQUESTS_BYTES_MAX]; /* [requests_sent, requests_end) is to be sent */
    size_t requests_sent, requests_end;
    enum tcp_expect expect;
    struct tcp_awaited pushed;   /* the push that is being read */
    struct tcp_awaited *reading; /* that, or the oldest of `awaited`; NULL while DATA is expected */
    uint8_t stage[TCP_STAGE_BYTES]; /* a trailer and the next header, as far as they came */
    size_t staged;
};

enum tcp_answer {
    TCP_ASKED, /* within host->read_request() only */
    TCP_SERVED,
    TCP_REFUSED,
    TCP_PUSHED, /* nobody asked: `read` is what was granted */
};

/* A READ that was received, until its answer is written; or the push that is being written. */
struct tcp_request {
    struct bulk_read read;
    enum tcp_answer answer;
    struct transport_serve *serve; /* NULL: given back; the blocks are not to be touched */
    bool aborted;                  /* the payload beyond `from_blocks` is filler */
    uint64_t from_blocks;          /* bytes of payload that came from the blocks */
    uint64_t written;              /* bytes of the answer, header and trailer included */
};

/* Serves, oldest first, linked by their `next`. */
struct tcp_serves {
    struct transport_serve *first, **last;
};

struct tcp_source {
    /* [requests_first, requests_end), each modulo windows_max. */
    struct tcp_request *requests;
    uint64_t requests_first, requests_end;
    struct tcp_serves pushes; /* not begun, so nothing has to be said of one that is stopped */
    unsigned push_count;      /* of those */
    struct tcp_request pushed;
    struct tcp_request *writing; /* the oldest request, or `pushed`; NULL between two answers */
    bool push_was_last;
    uint8_t *received; /* READ headers, the last one perhaps in part */
    size_t received_length, received_size;
};

struct transport_link {
    struct transport_fd watch; /* must stay first */
    struct transport *transport;
    struct transport_link *prev, *next; /* in the transport's list, links or closed */
    uint32_t number;                    /* the engine's */
    bool sink;
    enum tcp_state state;
    bool told;                 /* host->link_broken() was called */
    bool unread;               /* source: adopt() left bytes in `received` */
    unsigned events;           /* that are watched */
    struct baton_error broken; /* why, in BROKEN */
    union {
        struct tcp_sink at_sink;
        struct tcp_source at_source;
    };
};

struct transport {
    struct transport_host host;
    struct transport_options options;
    struct transport_link *links;  /* not CLOSED */
    struct transport_link *closed; /* freed by the next progress(): an event may still name them */
    unsigned link_count;
    uint64_t closings;                       /* links closed, ever */
    unsigned char discard[TCP_FILLER_BYTES]; /* written, never read */
};

/* tcp.c */
void tcp_link_move(struct transport_link *link, enum tcp_state to);
/* Close the connection at once; no block is touched after it.  Calls nothing but unwatch and wake:
 * tcp_link_settle() gives back the windows and tells the engine. */
void tcp_link_break(struct transport_link *link, const struct baton_error *why);
void tcp_link_break_protocol(struct transport_link *link, const char *what);
void tcp_link_break_system(struct transport_link *link, int errno_value, const char *call);
void tcp_link_settle(struct transport_link *link);
void tcp_link_watch(struct transport_link *link, unsigned events);

/* tcp_socket.c */
/* Numeric addresses only: looking up a name could block.  BATON_EADDRESS. */
baton_err tcp_address_parse(const char *text, struct sockaddr_storage *ret_address,
                            socklen_t *ret_length, struct baton_error *ret_error);
/* Non-blocking, close-on-exec, no delay, large buffers.  BATON_ESYSTEM. */
baton_err tcp_socket_prepare(int fd, struct baton_error *ret_error);
/* Starts to connect.  `*ret_connected`: it is done already. */
baton_err tcp_dial(const struct tcp_sink *sink, int *ret_fd, bool *ret_connected,
                   struct baton_error *ret_error);

/* tcp_sink.c */
baton_err tcp_sink_init(struct transport_link *link, const struct transport_link_args *args,
                        struct baton_error *ret_error);
void tcp_sink_fini(struct transport_link *link);
void tcp_sink_ready(struct transport_link *link, unsigned events);
void tcp_sink_post(struct transport_link *link, struct transport_window *window);
/* Give back the windows of a fetch, NULL: of no fetch, and all those whose flag says stop. */
void tcp_sink_stop(struct transport_link *link, const uint64_t *fetch_id);
void tcp_sink_stop_all(struct transport_link *link);
struct tcp_awaited *tcp_awaited_oldest(struct transport_link *link); /* NULL: none */
/*
 * The window that a push is for, which is no longer `granted`; NULL: it is over, or never was, and
 * what comes is thrown away.  False: its fetch has windows here, and this is not the next of them.
 */
bool tcp_granted_take(struct transport_link *link, const struct bulk_data *data,
                      struct transport_window **ret_window);
void tcp_window_give_back(struct transport_link *link, struct transport_window *window,
                          enum transport_status status);

/* tcp_receive.c */
/* What has arrived, in one system call: between two the engine looks for cancels.  May break the
 * link. */
void tcp_sink_receive(struct transport_link *link);

/* tcp_source.c */
baton_err tcp_source_init(struct transport_link *link, struct baton_error *ret_error);
void tcp_source_fini(struct transport_link *link);
baton_err tcp_source_adopt(struct transport_link *link, int fd, const uint8_t *early,
                           size_t early_length);
void tcp_source_ready(struct transport_link *link, unsigned events);
void tcp_source_serve(struct transport_link *link, struct transport_serve *serve, uint64_t own);
void tcp_source_refuse(struct transport_link *link, uint64_t own);
void tcp_source_push(struct transport_link *link, struct transport_serve *serve);
void tcp_source_stop(struct transport_link *link, uint64_t offer_id, uint32_t slot,
                     uint64_t attempt);
void tcp_source_stop_all(struct transport_link *link);
/* The answer to be written, or its rest: requests and pushes take turns.  NULL: there is none. */
struct tcp_request *tcp_answer_next(struct transport_link *link);
/* It is written. */
void tcp_answer_over(struct transport_link *link);

/* tcp_send.c */
/* Write answers, in one system call: between two the engine looks for cancels.  May break the link.
 */
void tcp_source_send(struct transport_link *link);

#endif
