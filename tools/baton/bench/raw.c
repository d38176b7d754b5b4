/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw TCP between the blocks of a pair: from the very blocks that are offered, by writev, to those
 * that are fetched into, by readv, in the payload's order, which is scattered on both sides.  Knows
 * nothing of requests, cancels or commits.
 *
 * Of two connections the first carries the even calls' bytes and the second the odd ones'.
 */
#include "bench/raw.h"
#include "util/error.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PIECES_MAX = 1024 }; /* of one call: IOV_MAX */

typedef ssize_t (*raw_call)(int fd, const struct iovec *pieces, int count);

/* What one connection carries, in one direction. */
struct stream {
    const struct bench_side *side;
    const struct raw_config *config;
    raw_call call;
    int fd;
    size_t offset; /* of the payload */
    bool broken;
};

static size_t payload_bytes(const struct bench_side *side)
{
    return side->setup.block_bytes * side->setup.blocks;
}

void raw_init(struct raw *raw)
{
    *raw = (struct raw){0};
    for (unsigned i = 0; i < RAW_CONNECTIONS_MAX; i++) {
        raw->fds[i] = -1;
    }
}

void raw_fini(struct raw *raw)
{
    for (unsigned i = 0; i < RAW_CONNECTIONS_MAX; i++) {
        if (raw->fds[i] >= 0) {
            close(raw->fds[i]);
            raw->fds[i] = -1;
        }
    }
}

/* Before the connection is made: it settles the scale of its windows then.  Without the right to
 * force it the size is cut to net.core.{r,w}mem_max. */
static void size_buffers(int fd, int bytes)
{
    if (bytes && setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes))) {
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    }
    if (bytes && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes))) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    }
}

static baton_err prepare(int fd, const struct raw_config *config, struct baton_error *ret_error)
{
    int yes = 1;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) ||
        (config->polled && fcntl(fd, F_SETFL, O_NONBLOCK))) {
        return error_system(ret_error, errno, "a TCP socket");
    }
    return BATON_OK;
}

static const struct sockaddr_in loopback = {.sin_family = AF_INET};

baton_err raw_listen(const struct raw_config *config, int *ret_listener, uint16_t *ret_port,
                     struct baton_error *ret_error)
{
    struct sockaddr_in address = loopback;
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd >= 0) {
        size_buffers(fd, config->buffer_bytes);
    }
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) ||
        listen(fd, RAW_CONNECTIONS_MAX) || getsockname(fd, (struct sockaddr *)&address, &length)) {
        baton_err err = error_system(ret_error, errno, "listening on the loopback");

        if (fd >= 0) {
            close(fd);
        }
        return err;
    }
    *ret_port = ntohs(address.sin_port);
    *ret_listener = fd;
    return BATON_OK;
}

baton_err raw_accept(struct raw *raw, const struct raw_config *config, int listener,
                     struct baton_error *ret_error)
{
    baton_err err = BATON_OK;

    raw->config = *config;
    for (unsigned i = 0; i < config->connections && !err; i++) {
        raw->fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        err = raw->fds[i] < 0 ? error_system(ret_error, errno, "accepting on the loopback")
                              : prepare(raw->fds[i], config, ret_error);
    }
    if (err) {
        raw_fini(raw);
    }
    return err;
}

/* In the order in which they are accepted. */
baton_err raw_connect(struct raw *raw, const struct raw_config *config, uint16_t port,
                      struct baton_error *ret_error)
{
    struct sockaddr_in address = loopback;
    baton_err err = BATON_OK;

    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    raw->config = *config;
    for (unsigned i = 0; i < config->connections && !err; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        raw->fds[i] = fd;
        if (fd >= 0) {
            size_buffers(fd, config->buffer_bytes);
        }
        err = fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address))
                  ? error_system(ret_error, errno, "connecting to the loopback port %u", port)
                  : prepare(fd, config, ret_error);
    }
    if (err) {
        raw_fini(raw);
    }
    return err;
}

/* The blocks from the stream's offset on, for one call.  Returns how many pieces. */
static int pieces_of(const struct stream *stream, struct iovec pieces[PIECES_MAX])
{
    size_t block_bytes = stream->side->setup.block_bytes, call_bytes = stream->config->call_bytes;
    size_t offset = stream->offset, end = payload_bytes(stream->side), left = call_bytes;
    int count = 0;

    if (stream->config->connections > 1) {
        left -= offset % call_bytes; /* the rest is the other connection's */
    }
    while (count < PIECES_MAX && left && offset < end) {
        size_t inside = offset % block_bytes;
        size_t length = block_bytes - inside < left ? block_bytes - inside : left;

        pieces[count++] =
            (struct iovec){side_block(stream->side, offset / block_bytes) + inside, length};
        offset += length;
        left -= length;
    }
    return count;
}

static bool finished(const struct stream *stream)
{
    return stream->broken || stream->offset >= payload_bytes(stream->side);
}

/* One call.  False: nothing could be moved now. */
static bool stream_step(struct stream *stream)
{
    const struct raw_config *config = stream->config;
    struct iovec pieces[PIECES_MAX];
    ssize_t passed = stream->call(stream->fd, pieces, pieces_of(stream, pieces));

    if (passed > 0) {
        stream->offset += (size_t)passed;
        if (config->connections > 1 && stream->offset % config->call_bytes == 0) {
            stream->offset += config->call_bytes * (config->connections - 1);
        }
        return true;
    }
    stream->broken = passed == 0 || (errno != EAGAIN && errno != EINTR);
    return stream->broken;
}

static void *stream_run(void *arg)
{
    struct stream *stream = arg;

    while (!finished(stream)) {
        stream_step(stream);
    }
    return NULL;
}

static void poll_all(struct stream *streams, unsigned count)
{
    unsigned tries = 0;
    bool all;

    do {
        bool moved = false;

        all = true;
        for (unsigned i = 0; i < count; i++) {
            if (!finished(&streams[i])) {
                moved |= stream_step(&streams[i]);
                all &= finished(&streams[i]);
            }
        }
        tries = moved ? 0 : tries + 1;
        if (tries >= streams->config->tries) {
            sched_yield();
            tries = 0;
        }
    } while (!all);
}

/* A thread for each connection beyond the first. */
static baton_err block_all(struct stream *streams, unsigned count, struct baton_error *ret_error)
{
    pthread_t threads[RAW_CONNECTIONS_MAX];
    unsigned started = 1;
    int reason = 0;

    while (started < count && !reason) {
        reason = pthread_create(&threads[started], NULL, stream_run, &streams[started]);
        started += !reason;
    }
    if (reason) {
        /* The other side waits for what this one would have moved. */
        for (unsigned i = 0; i < count; i++) {
            shutdown(streams[i].fd, SHUT_RDWR);
        }
    } else {
        stream_run(&streams[0]);
    }
    for (unsigned i = 1; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    return reason ? error_system(ret_error, reason, "a thread") : BATON_OK;
}

static baton_err pass(const struct bench_side *side, const struct raw *raw, raw_call call,
                      struct baton_error *ret_error)
{
    struct stream streams[RAW_CONNECTIONS_MAX] = {0};
    unsigned count = raw->config.connections;
    baton_err err = BATON_OK;

    for (unsigned i = 0; i < count; i++) {
        streams[i] = (struct stream){.side = side,
                                     .config = &raw->config,
                                     .call = call,
                                     .fd = raw->fds[i],
                                     .offset = i * raw->config.call_bytes};
    }
    if (raw->config.polled) {
        poll_all(streams, count);
    } else {
        err = block_all(streams, count, ret_error);
    }
    for (unsigned i = 0; i < count && !err; i++) {
        if (streams[i].broken) {
            err = error_set(ret_error, BATON_ESYSTEM, "the raw connection broke");
        }
    }
    return err;
}

baton_err raw_send(const struct bench_side *side, const struct raw *raw,
                   struct baton_error *ret_error)
{
    return pass(side, raw, writev, ret_error);
}

baton_err raw_receive(const struct bench_side *side, const struct raw *raw,
                      struct baton_error *ret_error)
{
    return pass(side, raw, readv, ret_error);
}

/* Exactly `bytes` of a header and, where it is not NULL, a block. */
static baton_err message(int fd, raw_call call, size_t bytes, void *block, size_t block_bytes,
                         struct baton_error *ret_error)
{
    unsigned char header[RAW_HEADER_BYTES_MAX] = {0};
    struct iovec pieces[2] = {{header, bytes}, {block, block ? block_bytes : 0}};

    while (pieces[0].iov_len + pieces[1].iov_len > 0) {
        ssize_t passed = call(fd, pieces, block ? 2 : 1);

        if (passed == 0 || (passed < 0 && errno != EAGAIN && errno != EINTR)) {
            return error_set(ret_error, BATON_ESYSTEM, "the raw connection broke");
        }
        for (unsigned i = 0; i < 2 && passed > 0; i++) {
            size_t part = (size_t)passed < pieces[i].iov_len ? (size_t)passed : pieces[i].iov_len;

            pieces[i].iov_base = (unsigned char *)pieces[i].iov_base + part;
            pieces[i].iov_len -= part;
            passed -= (ssize_t)part;
        }
    }
    return BATON_OK;
}

static void *block_of(const struct bench_side *side, const struct raw_trip *trip, size_t index)
{
    return trip->block ? side_block(side, index) : NULL;
}

baton_err raw_ask(const struct bench_side *side, const struct raw *raw, const struct raw_trip *trip,
                  size_t index, struct baton_error *ret_error)
{
    baton_err err = message(raw->fds[0], writev, trip->there_bytes, NULL, 0, ret_error);

    return err ? err
               : message(raw->fds[0], readv, trip->back_bytes, block_of(side, trip, index),
                         side->setup.block_bytes, ret_error);
}

baton_err raw_answer(const struct bench_side *side, const struct raw *raw,
                     const struct raw_trip *trip, size_t index, struct baton_error *ret_error)
{
    baton_err err = message(raw->fds[0], readv, trip->there_bytes, NULL, 0, ret_error);

    return err ? err
               : message(raw->fds[0], writev, trip->back_bytes, block_of(side, trip, index),
                         side->setup.block_bytes, ret_error);
}
