/* SPDX-License-Identifier: Apache-2.0 */
/* Connections and links: reading, writing, and their end. */
#include "engine/engine.h"
#include "engine/landing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/clock.h"

/* ---- connections ---- */

void connection_init(struct connection *c, baton_engine *engine)
{
    *c =
        (struct connection){.engine = engine, .watch.fd = -1, .pidfd = -1, .out_fd = -1, .pid = -1};
}

void connection_close(struct connection *c)
{
    struct engine_link *link = c->link;
    baton_engine *engine = c->engine;

    rings_close(c);
    if (c->watch.fd >= 0) {
        loop_unwatch(engine, &c->watch);
        /* A forked child may hold it too: the peer must see its end all the same. */
        shutdown(c->watch.fd, SHUT_RDWR);
        close(c->watch.fd);
    }
    if (c->pidfd >= 0) {
        close(c->pidfd);
    }
    if (c->out_fd >= 0) {
        close(c->out_fd);
    }
    for (unsigned i = 0; i < c->fd_count; i++) {
        close(c->fds[i]);
    }
    free(c->in);
    free(c->out);
    connection_init(c, engine);
    c->link = link;
}

/* Room for `more` bytes behind the `length` that are there.  False: no memory. */
static bool grow(unsigned char **bytes, size_t *room, size_t length, size_t more)
{
    size_t want = *room ? *room : length + more;
    unsigned char *grown;

    while (want < length + more) {
        want *= 2;
    }
    if (want == *room) {
        return true;
    }
    grown = realloc(*bytes, want);
    if (!grown) {
        return false;
    }
    *bytes = grown;
    *room = want;
    return true;
}

bool connection_reserve(struct connection *c, size_t bytes)
{
    return grow(&c->in, &c->in_room, c->in_length, bytes);
}

static void take_fds(struct connection *c, struct msghdr *message)
{
    for (struct cmsghdr *m = CMSG_FIRSTHDR(message); m; m = CMSG_NXTHDR(message, m)) {
        size_t count = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (size_t i = 0; m->cmsg_type == SCM_RIGHTS && i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(m) + i * sizeof(int), sizeof(int));
            if (c->fd_count < ENGINE_FDS_MAX) {
                c->fds[c->fd_count++] = fd;
            } else {
                close(fd); /* more than the protocol has any use for */
            }
        }
    }
}

/* One recvmsg, with the descriptors that came. */
static ssize_t receive(struct connection *c, void *bytes, size_t room)
{
    union {
        char bytes[CMSG_SPACE(ENGINE_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {bytes, room};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t got;

    if (!c->is_unix) {
        return recv(c->watch.fd, bytes, room, MSG_DONTWAIT);
    }
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof(control.bytes);
    got = recvmsg(c->watch.fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got > 0) {
        take_fds(c, &message);
    }
    if (got > 0 && c->link && message.msg_flags & MSG_CTRUNC) {
        /* A descriptor was lost, for want of one: the next would be taken for it. */
        errno = EMFILE;
        return -1;
    }
    return got;
}

int connection_pop_fd(struct connection *c)
{
    int fd = c->fd_count > 0 ? c->fds[0] : -1;

    if (fd >= 0) {
        c->fd_count--;
        memmove(c->fds, c->fds + 1, c->fd_count * sizeof(int));
    }
    return fd;
}

baton_cause connection_cause(const struct connection *c)
{
    return c->ring_broken ? BATON_CAUSE_PROTOCOL : BATON_CAUSE_LINK_CLOSED;
}

static int read_status(ssize_t got)
{
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    return got > 0 ? 1 : -1;
}

int connection_read(struct connection *c)
{
    ssize_t got;

    if (!connection_reserve(c, ENGINE_READ_BYTES)) {
        return -1;
    }
    got = receive(c, c->in + c->in_length, ENGINE_READ_BYTES);
    c->in_length += got > 0 ? (size_t)got : 0;
    return read_status(got);
}

int connection_bells(struct connection *c)
{
    char bells[ENGINE_BELLS_BYTES];

    return read_status(receive(c, bells, sizeof(bells)));
}

void connection_used(struct connection *c, size_t bytes)
{
    BATON_ASSERT(bytes <= c->in_length);
    memmove(c->in, c->in + bytes, c->in_length - bytes);
    c->in_length -= bytes;
}

/* A link whose answers fill its buffer is not read; only their leaving changes that. */
static bool reads(const struct connection *c)
{
    return !c->link || !c->link->up || core_link_reads(c->engine->core, c->link->number);
}

void connection_events(struct connection *c)
{
    /* Through a ring, only a descriptor waits for the socket; and bells are always heard. */
    bool writes = c->ringed ? c->out_fd >= 0 && c->out_fd_at == c->out_sent
                            : c->connecting || c->out_sent < c->out_length;
    unsigned events =
        (c->ringed || reads(c) ? (unsigned)EPOLLIN : 0U) | (writes ? (unsigned)EPOLLOUT : 0U);

    if (events != c->events) {
        c->events = events;
        loop_rewatch(c->engine, &c->watch, events);
    }
}

/* One sendmsg, with the descriptor. */
static ssize_t send_with_fd(struct connection *c, const void *bytes, size_t length)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    struct iovec iov = {(void *)(uintptr_t)bytes, length};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *m = CMSG_FIRSTHDR(&message);
    ssize_t put;

    m->cmsg_level = SOL_SOCKET;
    m->cmsg_type = SCM_RIGHTS;
    m->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(m), &c->out_fd, sizeof(int));
    put = sendmsg(c->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put > 0) {
        close(c->out_fd); /* the peer has its own now */
        c->out_fd = -1;
    }
    return put;
}

/* Up to the byte with which a descriptor travels, or from it. */
static ssize_t send_some(struct connection *c)
{
    size_t end = c->out_fd >= 0 && c->out_fd_at > c->out_sent ? c->out_fd_at : c->out_length;

    if (c->out_fd >= 0 && c->out_fd_at == c->out_sent) {
        return send_with_fd(c, c->out + c->out_sent, end - c->out_sent);
    }
    return send(c->watch.fd, c->out + c->out_sent, end - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool connection_send_fd(struct connection *c)
{
    return send_with_fd(c, "", 1) == 1 || errno == EAGAIN || errno == EINTR;
}

bool connection_write(struct connection *c)
{
    if (c->ringed) {
        return rings_write(c);
    }
    while (c->out_sent < c->out_length) {
        ssize_t put = send_some(c);

        if (put < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno == EAGAIN) {
                break;
            }
            return false;
        }
        c->out_sent += (size_t)put;
    }
    if (c->out_sent == c->out_length) {
        c->out_sent = c->out_length = 0;
    }
    connection_events(c);
    return true;
}

/* What was sent makes room, so that a slow reader costs no more than what waits for it. */
static void compact(struct connection *c)
{
    memmove(c->out, c->out + c->out_sent, c->out_length - c->out_sent);
    c->out_fd_at -= c->out_fd >= 0 ? c->out_sent : 0;
    c->out_length -= c->out_sent;
    c->out_sent = 0;
}

bool connection_add(struct connection *c, const struct frame *frame, int fd)
{
    if (c->out_sent > 0 && c->out_length + frame_bytes(frame) > c->out_room) {
        compact(c);
    }
    if (!grow(&c->out, &c->out_room, c->out_length, frame_bytes(frame))) {
        return false;
    }
    if (fd >= 0) {
        BATON_ASSERT(c->out_fd < 0 && c->is_unix);
        /* Our own copy: its pool may be gone before the socket has taken it. */
        c->out_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        c->out_fd_at = c->out_length;
        if (c->out_fd < 0) {
            return false;
        }
    }
    c->out_length += frame_encode(frame, c->out + c->out_length);
    c->engine->counts.frames_out++;
    return true;
}

/* ---- links ---- */

void link_attend(struct engine_link *link)
{
    link->attention = true;
    link->engine->attention = true;
}

void link_lose(struct engine_link *link, baton_cause cause)
{
    struct core_event event = {.type = CORE_EVENT_LINK_LOST, .link = link->number};
    struct pollfd exited = {.fd = link->peer_exit.fd, .events = POLLIN};

    /* A process that has died says so in many ways; its exit is the one to report. */
    if (cause == BATON_CAUSE_LINK_CLOSED && exited.fd >= 0 && poll(&exited, 1, 0) == 1) {
        cause = BATON_CAUSE_PEER_DIED;
    }
    event.lost.cause = cause;
    if (link->core_knows) {
        engine_apply(link->engine, &event);
    }
}

static void peer_exited(struct transport_fd *watch, unsigned events)
{
    struct engine_link *link =
        (struct engine_link *)(void *)((char *)watch - offsetof(struct engine_link, peer_exit));

    (void)events;
    link_lose(link, BATON_CAUSE_PEER_DIED);
}

/* The core made the link, or learned that its dial succeeded: `control` is connected and greeted.
 */
void link_up(struct engine_link *link)
{
    struct connection *c = &link->control;

    link->up = true;
    link->made_us = clock_now_us();
    /* Room for all that is small: no memory is needed to say that a handoff was cancelled. */
    if (!grow(&c->out, &c->out_room, c->out_length, ENGINE_WRITE_BYTES + FRAME_FIXED_BYTES_MAX)) {
        link->broken = true;
        link->broken_cause = BATON_CAUSE_LINK_CLOSED;
        link_attend(link);
    }
    /* The link's from here on: movers look at it for as long as they have windows. */
    link->peer_exit = (struct transport_fd){.fd = c->pidfd, .ready = peer_exited};
    c->pidfd = -1;
    link->peer_exit_watched =
        link->peer_exit.fd >= 0 && loop_watch(link->engine, &link->peer_exit, EPOLLIN);
}

void link_wants(baton_engine *engine, uint32_t number)
{
    struct engine_link *link = &engine->links[number];

    if (!link->flush) {
        link->flush = true;
        link->flush_next = engine->flushing;
        engine->flushing = link;
    }
}

static bool has_room(const struct connection *c)
{
    return c->watch.fd >= 0 && c->out_length - c->out_sent < ENGINE_WRITE_BYTES && c->out_fd < 0;
}

/* Build frames while there is room, write them, until nothing more is said or the socket is full.
 */
static void link_flush(struct engine_link *link)
{
    const struct core_event room = {.type = CORE_EVENT_LINK_ROOM, .link = link->number};
    baton_engine *engine = link->engine;

    do {
        engine->framed = false;
        while (link->up && !link->broken && has_room(&link->control)) {
            engine->framed = false;
            engine_apply(engine, &room);
            if (!engine->framed) {
                break;
            }
        }
        if (link->up && !connection_write(&link->control)) {
            link_lose(link, connection_cause(&link->control));
        }
    } while (link->up && !link->broken && engine->framed && has_room(&link->control));
}

void link_flush_all(baton_engine *engine)
{
    while (engine->flushing) {
        struct engine_link *link = engine->flushing;

        engine->flushing = link->flush_next;
        link->flush = false;
        link_flush(link);
        link_released(link); /* it may have ended while it was on the list */
        /* Answers that left made room for frames that were not read for want of it. */
        if (link->up && link->control.in_length > 0) {
            link_digest(link);
        }
        engine_settle(engine);
    }
}

void link_frame(baton_engine *engine, const struct core_action *a)
{
    struct engine_link *link = &engine->links[a->link];
    struct frame frame = a->frame;

    engine->framed = true;
    if (!frame_out(link, &frame, a)) {
        link->broken = true;
        link->broken_cause = BATON_CAUSE_LINK_CLOSED;
        link_attend(link);
    }
}

void link_digest(struct engine_link *link)
{
    baton_engine *engine = link->engine;
    struct connection *c = &link->control;
    size_t used = 0;

    /* What was submitted here before the peer could know of it is known before the peer's frame is
     * looked at.  This link may be given up for it: then it is not up. */
    loop_asks(engine);
    while (link->up && core_link_reads(engine->core, link->number)) {
        const char *why = NULL;
        struct frame frame;
        size_t length;
        enum frame_status status =
            frame_decode(c->in + used, c->in_length - used, &frame, &length, &why);

        if (status == FRAME_SHORT) {
            break;
        }
        if (status == FRAME_BAD || !frame_in(link, &frame)) {
            engine_log(engine, BATON_LOG_ERROR, "link %u: %s", link->number,
                       why ? why : "a frame that the protocol forbids here");
            link_lose(link, BATON_CAUSE_PROTOCOL);
            return;
        }
        engine->counts.frames_in++;
        used += length;
    }
    if (link->up) {
        connection_used(c, used);
    }
}

void link_ready(struct transport_fd *watch, unsigned events)
{
    struct connection *c =
        (struct connection *)(void *)((char *)watch - offsetof(struct connection, watch));
    struct engine_link *link = c->link;
    int got = 1;

    if (events & EPOLLOUT) {
        link_wants(link->engine, link->number);
    }
    if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP))) {
        return;
    }
    if (c->ringed) {
        rings_ready(c);
        return;
    }
    if (!reads(c)) {
        connection_events(c);
        link_wants(link->engine, link->number);
        return;
    }
    got = connection_read(c);
    if (got > 0) {
        link_digest(link);
    } else if (got < 0) {
        link_lose(link, BATON_CAUSE_LINK_CLOSED);
    }
}

/* ---- its end ---- */

static void link_wants_no_more(struct engine_link *link)
{
    struct engine_link **at = &link->engine->flushing;

    while (link->flush && *at != link) {
        at = &(*at)->flush_next;
    }
    if (link->flush) {
        *at = link->flush_next;
        link->flush = false;
    }
}

/*
 * The core counts the link as lost and its handoffs are being ended.  The control connection goes
 * at once: nothing more is read or said.  The bulk connections go in engine_settle(), since this
 * may run within an upcall of theirs.
 */
void link_shut(baton_engine *engine, const struct core_action *a)
{
    struct engine_link *link = &engine->links[a->link];

    if (link->up || link->sink) {
        engine_log(engine, BATON_LOG_INFO, "link %u %s: %s", link->number,
                   link->up ? "closed" : "not made", baton_cause_name(a->cause));
    }
    link->up = false;
    if (link->peer_exit_watched) {
        loop_unwatch(engine, &link->peer_exit);
        link->peer_exit_watched = false;
    }
    doubt_begin(link);
    connection_close(&link->control);
    link_wants_no_more(link);
    link->shut = true;
    link_attend(link);
}

void link_close_transports(struct engine_link *link)
{
    for (unsigned i = 0; i < link->engine->transport_count; i++) {
        if (link->transport[i]) {
            struct transport_link *t = link->transport[i];

            link->transport[i] = NULL;
            link->engine->transports[i].ops->link_close(t);
        }
    }
}

struct engine_region *region_ref(struct engine_region *region)
{
    if (region) {
        region->refs++;
    }
    return region;
}

void region_unref(struct engine_region *region)
{
    if (!region || --region->refs > 0) {
        return;
    }
    if (region->usable) {
        region_unmap(&region->region);
    }
    free(region);
}

void link_init(struct engine_link *link, baton_engine *engine, uint32_t number)
{
    *link =
        (struct engine_link){.engine = engine, .number = number, .peer_exit.fd = -1, .writer = -1};
    for (unsigned i = 0; i < BATON_POOLS_MAX; i++) {
        link->told[i] = UINT32_MAX;
    }
    connection_init(&link->control, engine);
}

/*
 * The record can be used again once the core, the transports and the flush list have let go of it:
 * nobody looks at its pidfd, and no list leads to it.  Its regions stay for who names them.
 */
void link_released(struct engine_link *link)
{
    if (!link->used || link->core_knows || link->out > 0 || link->shut || link->flush ||
        link->attention) {
        return;
    }
    for (unsigned i = 0; i < BATON_POOLS_MAX; i++) {
        region_unref(link->region[i]);
    }
    doubt_take(link);
    if (link->peer_exit.fd >= 0) {
        close(link->peer_exit.fd);
    }
    if (link->writer >= 0) {
        close(link->writer);
    }
    free(link->doubt);
    connection_close(&link->control);
    link_init(link, link->engine, link->number);
}
