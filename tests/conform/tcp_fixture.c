/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world of the tcp transport: both ends in this process, over 127.0.0.1.  The fixture plays
 * the engine's part of a bulk connection: it listens, reads the preface, and hands the connection
 * over with the bytes that came after it.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conform/fixture.h"

enum {
    PREFACE_BYTES = 8,  /* "conform" and the link's number */
    EARLY_BYTES = 4096, /* READs that came with it */
    ADDRESS_BYTES = 32,
};

/* A connection that was accepted and not adopted yet. */
struct arrival {
    struct transport_fd watch; /* first */
    struct world *world;
    uint8_t bytes[PREFACE_BYTES + EARLY_BYTES];
    size_t length;
};

struct own {
    struct transport_fd listener; /* first */
    struct world *world;
    struct transport *transport;
    char address[ADDRESS_BYTES];
    struct arrival arrivals[WORLD_LINKS];
    unsigned arrived;
};

static uint64_t pool_bytes(const struct world *world)
{
    return (uint64_t)world->block_bytes * world->block_count;
}

static void preface_make(unsigned link, uint8_t ret_preface[PREFACE_BYTES])
{
    memcpy(ret_preface, "conform", PREFACE_BYTES - 1);
    ret_preface[PREFACE_BYTES - 1] = (uint8_t)link;
}

/* The preface is there: find its link.  NULL: it names none, or one that was closed meanwhile. */
static struct transport_link *preface_link(const struct arrival *arrival)
{
    uint8_t expected[PREFACE_BYTES];

    for (unsigned i = 0; i < WORLD_LINKS; i++) {
        preface_make(i, expected);
        if (!memcmp(arrival->bytes, expected, PREFACE_BYTES)) {
            return arrival->world->links[i].source;
        }
    }
    return NULL;
}

static void arrival_ready(struct transport_fd *self, unsigned events)
{
    struct arrival *arrival = (struct arrival *)self;
    struct transport_host *host = &arrival->world->loop.host;
    struct transport_link *link;
    ssize_t length = recv(self->fd, arrival->bytes + arrival->length,
                          sizeof arrival->bytes - arrival->length, MSG_DONTWAIT);
    int fd = self->fd;

    (void)events;
    arrival->length += length > 0 ? (size_t)length : 0;
    if (length > 0 && arrival->length < PREFACE_BYTES) {
        return;
    }
    host->unwatch(host->arg, self);
    self->fd = -1;
    link = arrival->length < PREFACE_BYTES ? NULL : preface_link(arrival);
    /* An adopt() that fails closes the descriptor, and the windows tell the story. */
    if (!link) {
        close(fd);
    } else if (transport_tcp.adopt(link, fd, arrival->bytes + PREFACE_BYTES,
                                   arrival->length - PREFACE_BYTES)) {
        snprintf(arrival->world->loop.last_log, sizeof arrival->world->loop.last_log, "no adopt");
    }
}

static void listener_ready(struct transport_fd *self, unsigned events)
{
    struct own *own = (struct own *)self;
    struct transport_host *host = &own->world->loop.host;
    int fd = accept(self->fd, NULL, NULL);
    struct arrival *arrival;

    (void)events;
    if (fd < 0 || own->arrived == WORLD_LINKS) {
        close(fd);
        return;
    }
    arrival = &own->arrivals[own->arrived++];
    *arrival = (struct arrival){.watch = {.fd = fd, .ready = arrival_ready}, .world = own->world};
    host->watch(host->arg, &arrival->watch, EPOLLIN);
}

static bool listener_open(struct world *world, struct own *own)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    own->listener = (struct transport_fd){.fd = fd, .ready = listener_ready};
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) ||
        listen(fd, WORLD_LINKS) || getsockname(fd, (struct sockaddr *)&address, &length)) {
        return false;
    }
    snprintf(own->address, sizeof own->address, "127.0.0.1:%u", ntohs(address.sin_port));
    return world->loop.host.watch(world->loop.host.arg, &own->listener, EPOLLIN);
}

static bool links_open(struct world *world, struct own *own)
{
    for (unsigned i = 0; i < WORLD_LINKS; i++) {
        uint8_t preface[PREFACE_BYTES];
        struct transport_link_args source = {.link = world_source_number(i)};
        struct transport_link_args sink = {.link = world_sink_number(i),
                                           .sink = true,
                                           .tcp_address = own->address,
                                           .preface = preface,
                                           .preface_length = sizeof preface};

        preface_make(i, preface);
        if (transport_tcp.link_open(own->transport, &source, &world->links[i].source, NULL) ||
            transport_tcp.link_open(own->transport, &sink, &world->links[i].sink, NULL)) {
            return false;
        }
    }
    return true;
}

static void forget(struct world *world, struct transport_fd *watched)
{
    if (watched->fd >= 0) {
        world->loop.host.unwatch(world->loop.host.arg, watched);
        close(watched->fd);
    }
}

/* Also of a world that was made in part. */
static void tcp_close_world(struct world *world)
{
    struct own *own = world->own;

    for (unsigned i = 0; i < own->arrived; i++) {
        forget(world, &own->arrivals[i].watch);
    }
    forget(world, &own->listener);
    if (own->transport) {
        host_loop_undrive(&world->loop, own->transport);
        transport_tcp.destroy(own->transport);
    }
    free(world->source);
    free(world->sink);
    free(own);
}

/* The links dial with their first window, so nothing has to be driven here. */
static bool tcp_open_world(struct world *world)
{
    struct own *own = calloc(1, sizeof *own);

    own->world = world;
    world->own = own;
    world->source = malloc(pool_bytes(world));
    world->sink = malloc(pool_bytes(world));
    if (!listener_open(world, own)) {
        world->skip = "no TCP on 127.0.0.1";
    } else if (!transport_tcp.create(&world->loop.host, &world->options, &own->transport, NULL) &&
               links_open(world, own)) {
        host_loop_drive(&world->loop, &transport_tcp, own->transport);
        return true;
    }
    tcp_close_world(world);
    return false;
}

static const struct fixture tcp_fixture = {
    .name = "tcp",
    .ops = &transport_tcp,
    .movers = {0},
    .movers_count = 1,
    .open = tcp_open_world,
    .close = tcp_close_world,
};

static const struct fixture push_fixture = {
    .name = "tcp, pushed",
    .ops = &transport_tcp,
    .push = true,
    .movers = {0},
    .movers_count = 1,
    .open = tcp_open_world,
    .close = tcp_close_world,
};

const struct fixture *const conform_fixtures[] = {&tcp_fixture, &push_fixture, NULL};
