/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How connections begin.  A sink dials the endpoints of a ticket, one after the other, says HELLO,
 * and is answered WELCOME or REJECT.  A source accepts; who connects says HELLO (a control
 * connection) or BULK (for a transport), or is closed.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "util/clock.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

/*
 * Who is at the other end of a Unix socket, by the kernel's word.  A pidfd taken from the socket
 * itself can not be of another process that has got the same number since; one that is opened by
 * number can, for a process that died in between, and then the region's nonce tells.
 */
static void connection_peer(struct connection *c)
{
    struct ucred who = {.pid = -1};
    socklen_t length = sizeof(who);
    int fd = -1;

    if (!c->is_unix || getsockopt(c->watch.fd, SOL_SOCKET, SO_PEERCRED, &who, &length) != 0) {
        return;
    }
    c->pid = who.pid;
    c->uid = who.uid;
    length = sizeof(fd);
    if (getsockopt(c->watch.fd, SOL_SOCKET, SO_PEERPIDFD, &fd, &length) != 0) {
        fd = who.pid > 0 ? (int)syscall(SYS_pidfd_open, who.pid, 0) : -1;
    }
    c->pidfd = fd;
}

static void no_delay(int fd, bool is_unix)
{
    const int one = 1;

    if (!is_unix) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
}

static uint32_t transport_bits(const baton_engine *engine)
{
    bool in_process = engine->transport_bits & WIRE_TRANSPORT_NIXL &&
                      engine->options.host == BATON_HOST_IN_PROCESS;

    return engine->transport_bits | (in_process ? (uint32_t)WIRE_NIXL_IN_PROCESS : 0);
}

static bool is_zero(const uint8_t id[ID_BYTES])
{
    static const uint8_t zero[ID_BYTES];

    return memcmp(id, zero, ID_BYTES) == 0;
}

/* The record of a link that nobody uses; NULL. */
static struct engine_link *unused_link(baton_engine *engine)
{
    for (uint32_t i = 0; i < engine->options.links_max; i++) {
        struct engine_link *link = &engine->links[i];

        if (!link->used) {
            link->used = true;
            link->serial = ++engine->links_made;
            engine->links_used = i < engine->links_used ? engine->links_used : i + 1;
            link->core_knows = true; /* from the event on that follows */
            return link;
        }
    }
    return NULL;
}

/*
 * There is no place for a link: one that nobody uses is to give its own.  A sink whose blocks are
 * in doubt needs a link to its source, and must not wait for links that idle.
 */
static void make_room(baton_engine *engine)
{
    for (uint32_t i = 0; i < engine->links_used; i++) {
        struct engine_link *link = &engine->links[i];
        struct core_link_view view;

        if (!link->up || link->broken || link->out > 0) {
            continue;
        }
        core_link_view(engine->core, i, &view);
        if (view.handoffs == 0) {
            link->broken = true;
            link->broken_cause = BATON_CAUSE_LINK_CLOSED;
            link_attend(link);
            return;
        }
    }
}

/*
 * A record for a new link, if need be that of one that idles, which ends here: so not between a
 * look at a link and its use.  NULL: all are in use.
 */
static struct engine_link *free_link(baton_engine *engine)
{
    struct engine_link *link = unused_link(engine);

    if (!link) {
        make_room(engine);
        engine_settle(engine);
        link = unused_link(engine);
    }
    return link;
}

/* ---- the source ---- */

static void reject(struct connection *c, baton_cause cause, const char *text)
{
    struct frame frame = {.type = FRAME_REJECT};

    frame.reject.version_min = WIRE_VERSION_MIN;
    frame.reject.version_max = WIRE_VERSION_MAX;
    frame.reject.cause = (uint8_t)cause;
    frame.payload = (const uint8_t *)text;
    frame.payload_length = (uint32_t)strlen(text);
    c->engine->counts.links_rejected++;
    engine_log(c->engine, BATON_LOG_WARN, "rejected a link: %s", text);
    if (connection_add(c, &frame, -1)) {
        connection_write(c); /* a fresh socket has room for it */
    }
    connection_close(c);
}

/* The greeter's connection becomes the link's. */
static void move(struct connection *from, struct engine_link *link)
{
    struct connection *to = &link->control;

    *to = *from;
    connection_init(from, link->engine);
    to->link = link;
    to->watch.ready = link_ready;
    to->events = EPOLLIN;
    loop_rewatch(link->engine, &to->watch, to->events);
}

static void welcome(struct engine_link *link, uint16_t version)
{
    struct frame frame = {.type = FRAME_WELCOME};
    struct connection *c = &link->control;

    frame.welcome.magic = WIRE_MAGIC;
    frame.welcome.version = version;
    frame.welcome.transports =
        transport_bits(link->engine) | (c->rings ? (uint32_t)WIRE_LINK_RINGS : 0);
    memcpy(frame.welcome.incarnation, link->engine->incarnation, ID_BYTES);
    /* A fresh socket has room for it. */
    if (!connection_add(c, &frame, -1) || !connection_write(c) || c->out_length > 0) {
        link->broken = true;
        link->broken_cause = BATON_CAUSE_LINK_CLOSED;
        link_attend(link);
    } else if (c->rings) {
        rings_begin(c);
    }
}

static void hello(struct connection *c, const struct frame_hello *h, size_t used)
{
    baton_engine *engine = c->engine;
    struct core_event event = {.type = CORE_EVENT_HELLO};
    struct engine_link *link;

    if (h->version_min > WIRE_VERSION_MAX || h->version_max < WIRE_VERSION_MIN) {
        reject(c, BATON_CAUSE_PROTOCOL, "no protocol version in common");
        return;
    }
    if (memcmp(h->expected, engine->incarnation, ID_BYTES) != 0) {
        reject(c, BATON_CAUSE_INCARNATION, "the ticket is of an earlier life of this engine");
        return;
    }
    /* Until it has drained, a sink may have to ask whether a push is over; of work none is taken.
     */
    if (atomic_load(&engine->closing) && atomic_load(&engine->active) == 0) {
        reject(c, BATON_CAUSE_CLOSING, "this engine is closing");
        return;
    }
    if (is_zero(h->incarnation) || is_zero(h->link_id)) {
        reject(c, BATON_CAUSE_PROTOCOL, "an identity is zero");
        return;
    }
    link = free_link(engine);
    if (!link) {
        reject(c, BATON_CAUSE_BUSY, "this engine has its maximum of links (links_max)");
        return;
    }
    connection_used(c, used);
    memcpy(link->id, h->link_id, ID_BYTES);
    memcpy(link->incarnation, h->incarnation, ID_BYTES);
    link->peer_transports = h->transports;
    event.link = link->number;
    memcpy(event.peer.incarnation, h->incarnation, ID_BYTES);
    event.peer.dial = h->dial;
    event.peer.ping = !c->is_unix;
    if (h->transports & WIRE_LINK_RINGS && engine->options.link != BATON_LINK_SOCKET) {
        rings_take(c, connection_pop_fd(c));
    }
    move(c, link);
    engine_apply(engine, &event);
    if (!link->up) {
        /* An older dial of the same peer: closed unread. */
        link->core_knows = false;
        link_released(link);
        return;
    }
    welcome(link, h->version_max < WIRE_VERSION_MAX ? h->version_max : WIRE_VERSION_MAX);
    if (link->control.in_length > 0) {
        link_digest(link);
    }
}

static void bulk(struct connection *c, const struct frame_bulk *b, size_t used)
{
    baton_engine *engine = c->engine;

    for (uint32_t i = 0; i < engine->links_used; i++) {
        struct engine_link *link = &engine->links[i];
        unsigned tcp = 0;
        struct transport_link *t;

        if (!link->up || link->sink || memcmp(link->id, b->link_id, ID_BYTES) != 0 ||
            memcmp(engine->incarnation, b->expected, ID_BYTES) != 0) {
            continue;
        }
        while (tcp < engine->transport_count && engine->transports[tcp].ops != &transport_tcp) {
            tcp++;
        }
        t = tcp < engine->transport_count ? window_link(link, tcp) : NULL;
        if (t) {
            int fd = c->watch.fd;

            loop_unwatch(engine, &c->watch);
            c->watch.fd = -1; /* the transport's from here on, also when it fails */
            connection_used(c, used);
            if (transport_tcp.adopt(t, fd, c->in, c->in_length)) {
                link->broken = true;
                link->broken_cause = BATON_CAUSE_LINK_CLOSED;
                link_attend(link);
            }
        }
        connection_close(c);
        return;
    }
    connection_close(c); /* an unknown or old link */
}

static void greeter_ready(struct transport_fd *watch, unsigned events)
{
    struct connection *c =
        (struct connection *)(void *)((char *)watch - offsetof(struct connection, watch));
    const char *why = NULL;
    struct frame frame;
    size_t used;
    enum frame_status status;
    int got = connection_read(c);

    (void)events;
    if (got <= 0) {
        if (got < 0) {
            connection_close(c);
        }
        return;
    }
    /* Nobody may make us wait for a large frame before we know who it is. */
    if (c->in_length >= FRAME_HEAD_BYTES && c->in[4] != FRAME_HELLO && c->in[4] != FRAME_BULK) {
        connection_close(c);
        return;
    }
    status = frame_decode(c->in, c->in_length, &frame, &used, &why);
    if (status == FRAME_SHORT) {
        return;
    }
    if (status == FRAME_BAD) {
        connection_close(c);
    } else if (frame.type == FRAME_HELLO) {
        struct frame_hello h = frame.hello;

        hello(c, &h, used);
    } else {
        struct frame_bulk b = frame.bulk;

        bulk(c, &b, used);
    }
}

static void greet_ready(struct transport_fd *watch, unsigned events)
{
    struct listener *listener =
        (struct listener *)(void *)((char *)watch - offsetof(struct listener, watch));
    baton_engine *engine = listener->engine;
    struct connection *c = NULL;
    int fd;

    (void)events;
    for (unsigned i = 0; i < ENGINE_GREETERS_MAX && !c; i++) {
        c = engine->greeters[i].watch.fd < 0 ? &engine->greeters[i] : NULL;
        engine->greeters_used = i < engine->greeters_used ? engine->greeters_used : i + 1;
    }
    if (!c) {
        listener_pause(listener); /* those that are here first, or the handshake clock, make room */
        return;
    }
    fd = listener_accept(listener);
    if (fd < 0) {
        return;
    }
    c->watch = (struct transport_fd){.fd = fd, .ready = greeter_ready};
    c->is_unix = listener->is_unix;
    c->since_us = clock_now_us();
    no_delay(fd, c->is_unix);
    c->events = EPOLLIN;
    connection_peer(c);
    if ((c->is_unix && c->uid != geteuid()) || !loop_watch(engine, &c->watch, c->events)) {
        connection_close(c); /* one user is one trust domain */
    }
}

baton_err greet_listen(baton_engine *engine, struct baton_error *ret_error)
{
    return listen_all(engine, greet_ready, ret_error);
}

void greet_fini(baton_engine *engine)
{
    for (unsigned i = 0; i < engine->listeners; i++) {
        listener_close(&engine->listener[i]);
    }
    for (unsigned i = 0; i < ENGINE_GREETERS_MAX; i++) {
        connection_close(&engine->greeters[i]);
    }
    for (uint32_t i = 0; i < engine->options.links_max; i++) {
        connection_close(&engine->links[i].control);
    }
}

/* ---- the sink ---- */

static bool say_hello(struct engine_link *link)
{
    baton_engine *engine = link->engine;
    struct connection *c = &link->control;
    struct frame frame = {.type = FRAME_HELLO};
    bool said;
    int fd = -1;

    frame.hello.magic = WIRE_MAGIC;
    frame.hello.version_min = WIRE_VERSION_MIN;
    frame.hello.version_max = WIRE_VERSION_MAX;
    if (c->is_unix && engine->options.link != BATON_LINK_SOCKET) {
        fd = rings_make(c); /* without them the socket serves */
    }
    frame.hello.transports = transport_bits(engine) | (fd >= 0 ? (uint32_t)WIRE_LINK_RINGS : 0);
    frame.hello.dial = ++engine->dials;
    memcpy(frame.hello.incarnation, engine->incarnation, ID_BYTES);
    memcpy(frame.hello.expected, link->incarnation, ID_BYTES);
    memcpy(frame.hello.link_id, link->id, ID_BYTES);
    said = connection_add(c, &frame, fd) && connection_write(c);
    if (fd >= 0) {
        close(fd);
    }
    return said;
}

static void greeted(struct engine_link *link, const struct frame *frame, size_t used)
{
    struct core_event event = {.type = CORE_EVENT_LINK_UP, .link = link->number};
    struct connection *c = &link->control;

    if (frame->type == FRAME_REJECT) {
        engine_log(link->engine, BATON_LOG_WARN, "link %u, %s: rejected: %.*s", link->number,
                   link->ticket.endpoint[link->endpoint], (int)frame->payload_length,
                   frame->payload ? (const char *)frame->payload : "");
        link->rejected = frame->reject.cause;
        greet_next(link);
        return;
    }
    if (frame->type != FRAME_WELCOME || frame->welcome.version < WIRE_VERSION_MIN ||
        frame->welcome.version > WIRE_VERSION_MAX ||
        memcmp(frame->welcome.incarnation, link->incarnation, ID_BYTES) != 0) {
        greet_next(link);
        return;
    }
    link->peer_transports = frame->welcome.transports;
    connection_used(c, used);
    c->watch.ready = link_ready;
    if (frame->welcome.transports & WIRE_LINK_RINGS && c->rings) {
        rings_begin(c);
    } else {
        rings_close(c);
    }
    event.peer.ping = !c->is_unix;
    engine_apply(link->engine, &event);
    if (link->up && c->in_length > 0) {
        link_digest(link);
    }
}

static bool finish_connect(struct connection *c)
{
    int failed = 0;
    socklen_t length = sizeof(failed);

    if (getsockopt(c->watch.fd, SOL_SOCKET, SO_ERROR, &failed, &length) != 0 || failed) {
        return false;
    }
    c->connecting = false;
    return true;
}

static void dial_ready(struct transport_fd *watch, unsigned events)
{
    struct connection *c =
        (struct connection *)(void *)((char *)watch - offsetof(struct connection, watch));
    struct engine_link *link = c->link;
    const char *why = NULL;
    struct frame frame;
    size_t used;
    enum frame_status status;
    int got;

    if (c->connecting) {
        if (!finish_connect(c) || !say_hello(link)) {
            greet_next(link);
        }
        return;
    }
    if (events & EPOLLOUT && !connection_write(c)) {
        greet_next(link);
        return;
    }
    got = connection_read(c);
    if (got <= 0) {
        if (got < 0) {
            greet_next(link);
        }
        return;
    }
    status = frame_decode(c->in, c->in_length, &frame, &used, &why);
    if (status == FRAME_BAD) {
        greet_next(link);
    } else if (status == FRAME_WHOLE) {
        greeted(link, &frame, used);
    }
}

/* Start connecting to one endpoint.  False: it can not be reached. */
static bool dial(struct engine_link *link, const struct endpoint *e)
{
    struct connection *c = &link->control;
    struct sockaddr_storage address;
    unsigned length;
    bool wildcard;
    int fd;

    if (!endpoint_address(e, &address, &length, &wildcard)) {
        return false;
    }
    fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    c->watch = (struct transport_fd){.fd = fd, .ready = dial_ready};
    c->link = link;
    c->is_unix = e->is_unix;
    c->since_us = clock_now_us();
    no_delay(fd, c->is_unix);
    if (connect(fd, (struct sockaddr *)&address, length) != 0) {
        c->connecting = errno == EINPROGRESS;
        if (!c->connecting) {
            close(fd);
            c->watch.fd = -1;
            return false;
        }
    }
    connection_peer(c);
    c->events = EPOLLIN | (c->connecting ? (unsigned)EPOLLOUT : 0U);
    if (!loop_watch(link->engine, &c->watch, c->events) || (c->is_unix && c->uid != geteuid())) {
        connection_close(c);
        return false;
    }
    return c->connecting || say_hello(link);
}

/* Unix endpoints first, then TCP: `endpoint` counts through both rounds. */
static bool dial_next(struct engine_link *link)
{
    const struct ticket *t = &link->ticket;
    bool only_tcp = link->engine->options.link == BATON_LINK_TCP;

    for (; link->round < 2; link->round++, link->endpoint = 0) {
        for (; link->endpoint < t->endpoint_count; link->endpoint++) {
            struct endpoint e;

            if (endpoint_parse(t->endpoint[link->endpoint], &e, NULL) ||
                e.is_unix != (link->round == 0) || (e.is_unix && only_tcp)) {
                continue;
            }
            if (dial(link, &e)) {
                return true;
            }
            connection_close(&link->control);
        }
    }
    return false;
}

void greet_next(struct engine_link *link)
{
    connection_close(&link->control);
    link->endpoint++;
    if (!dial_next(link)) {
        /* Later, since the fetch that wants this link may not be known to the core yet. */
        link->broken = true;
        link->broken_cause = link->rejected ? link->rejected : BATON_CAUSE_UNREACHABLE;
        link_attend(link);
    }
}

struct engine_link *greet_link(baton_engine *engine, const struct ticket *ticket)
{
    int32_t existing = core_link_to(engine->core, ticket->incarnation);
    struct core_event event = {.type = CORE_EVENT_DIAL};
    struct engine_link *link;

    if (existing != CORE_NONE) {
        return &engine->links[existing];
    }
    link = free_link(engine);
    if (!link) {
        engine_log(engine, BATON_LOG_ERROR, "all %u links are in use (links_max)",
                   engine->options.links_max);
        return NULL;
    }
    link->sink = true;
    link->ticket = *ticket;
    memcpy(link->incarnation, ticket->incarnation, ID_BYTES);
    if (!engine_random(engine, link->id, ID_BYTES)) {
        link->used = link->core_knows = false;
        return NULL;
    }
    event.link = link->number;
    memcpy(event.peer.incarnation, ticket->incarnation, ID_BYTES);
    engine_apply(engine, &event);
    if (!dial_next(link)) {
        link->broken = true;
        link->broken_cause = BATON_CAUSE_UNREACHABLE;
        link_attend(link);
    }
    return link;
}

void greet_tick(baton_engine *engine, uint64_t now_us)
{
    for (unsigned i = 0; i < engine->listeners; i++) {
        listener_resume(&engine->listener[i]);
    }
    for (unsigned i = 0; i < engine->greeters_used; i++) {
        struct connection *c = &engine->greeters[i];

        if (c->watch.fd >= 0 && now_us > c->since_us + ENGINE_HANDSHAKE_MS * 1000) {
            connection_close(c);
        }
    }
    for (uint32_t i = 0; i < engine->links_used; i++) {
        struct engine_link *link = &engine->links[i];

        if (link->core_knows && !link->up && link->control.watch.fd >= 0 &&
            now_us > link->control.since_us + ENGINE_HANDSHAKE_MS * 1000) {
            greet_next(link);
        }
    }
}
