/* SPDX-License-Identifier: Apache-2.0 */
/* Channels between the burst's processes: see burst_proto.h. */
#include "burst/proto.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_HEAD offsetof(struct message, config)

/* How many bytes of each kind travel after the head. */
static const size_t body_bytes[MESSAGE_KINDS] = {
    [MESSAGE_CONFIG] = sizeof(struct burst_config),
    [MESSAGE_REQUEST] = offsetof(struct message_request, ticket),
    [MESSAGE_OFFERED] = sizeof(struct message_ticket),
    [MESSAGE_FETCH] = sizeof(struct message_request),
    [MESSAGE_DOUBTED] = sizeof(struct message_ended),
    [MESSAGE_ENDED] = sizeof(struct message_ended),
    [MESSAGE_REUSED] = sizeof(struct message_reused),
    [MESSAGE_WAKEUP] = sizeof(uint64_t),
    [MESSAGE_STATS] = sizeof(struct message_stats),
    [MESSAGE_TROUBLE] = sizeof(struct message_trouble),
};

void channel_init(struct channel *channel, int fd)
{
    int flags = fcntl(fd, F_GETFL);

    *channel = (struct channel){.fd = fd};
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) || fcntl(fd, F_SETFD, FD_CLOEXEC)) {
        channel->closed = true;
    }
}

void channel_fini(struct channel *channel)
{
    if (channel->fd >= 0) {
        close(channel->fd);
    }
    free(channel->queue);
    *channel = (struct channel){.fd = -1, .closed = true};
}

/* False: the socket is full. */
static bool try_send(struct channel *channel, const struct message *message)
{
    size_t length = MESSAGE_HEAD + body_bytes[message->kind];

    if (channel->closed || send(channel->fd, message, length, MSG_NOSIGNAL) >= 0) {
        return true;
    }
    if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR) {
        return false;
    }
    channel->closed = true;
    return true;
}

static bool grow(struct channel *channel)
{
    size_t room = channel->room ? channel->room * 2 : 64;
    struct message *queue = malloc(room * sizeof(*queue));

    if (!queue) {
        return false;
    }
    for (size_t i = 0; i < channel->count; i++) {
        queue[i] = channel->queue[(channel->first + i) % channel->room];
    }
    free(channel->queue);
    channel->queue = queue;
    channel->first = 0;
    channel->room = room;
    return true;
}

void channel_send(struct channel *channel, const struct message *message)
{
    channel_flush(channel);
    if (channel->closed || (!channel->count && try_send(channel, message))) {
        return;
    }
    /* A process that is out of memory is of no more use to the other end than one that has left. */
    if (channel->count == channel->room && !grow(channel)) {
        channel->closed = true;
        return;
    }
    channel->queue[(channel->first + channel->count++) % channel->room] = *message;
}

void channel_flush(struct channel *channel)
{
    while (channel->count && try_send(channel, &channel->queue[channel->first])) {
        channel->first = (channel->first + 1) % channel->room;
        channel->count--;
    }
}

short channel_events(const struct channel *channel)
{
    return channel->count ? POLLIN | POLLOUT : POLLIN;
}

bool channel_receive(struct channel *channel, struct message *ret_message)
{
    struct message message;
    ssize_t length;

    if (channel->closed) {
        return false;
    }
    do {
        length = recv(channel->fd, &message, sizeof(message), 0);
        /* One that died without having read all is told so before what it had said itself. */
    } while (length < 0 && (errno == EINTR || errno == ECONNRESET));
    if (length < 0 && errno == EAGAIN) {
        return false;
    }
    if (length < (ssize_t)MESSAGE_HEAD || message.kind == 0 || message.kind >= MESSAGE_KINDS ||
        (size_t)length != MESSAGE_HEAD + body_bytes[message.kind]) {
        channel->closed = true;
        return false;
    }
    memcpy(ret_message, &message, (size_t)length);
    return true;
}
