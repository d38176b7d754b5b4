/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NIXL's agents have no progress thread: nothing moves but when this loop calls the library, so
 * when it stops, what its process stores on behalf of NIXL stops.  A request is released only when
 * the library has said that it is done; one that it has given up, or that is under way when its
 * port is destroyed, is never touched again.  Facts about the library: docs/NIXL.md.
 */
#include "transport/nixl_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "transport/nixl_api.h"
#include "util/clock.h"

enum {
    /* A call that polls and finds nothing takes 2 us; one that took longer has moved bytes, or lost
     * its processor, and then looking again soon costs little. */
    IDLE_CALL_NS = 5000,
    SPIN_US = 300,       /* looks again at once for so long after bytes have moved */
    SLEEP_US_FIRST = 20, /* then sleeps, longer each time */
    SLEEP_US_MAX = 1000,
    DESCRIPTORS_SPARE = 64, /* several times what an agent and its first connections take */
};

struct move {
    struct move *next;
    uint64_t tag;
    struct nixl_prepared *prepared[2]; /* local, remote */
    struct nixl_request *request;
    bool done;   /* but the library has not released it yet */
    bool broken; /* given up by the library: stays until the port is destroyed */
};

struct peer {
    struct peer *next;
    uint32_t number;
    char *name; /* the library's; NULL: it could not be met */
    uint64_t base, length;
    uint32_t memory, device;
};

struct port {
    struct port *next;
    uint32_t number;
    unsigned char *base;
    size_t length;
    uint32_t memory, device;
    bool mapped; /* here, so unmapped here */
    struct nixl_agent *agent;
    struct nixl_backend *backend;
    struct nixl_hints *hints;
    struct nixl_regions *regions;
    struct nixl_notices *notices;
    struct peer *peers;
    struct move *moves;
};

struct worker {
    const struct nixl_api *api;
    int socket;
    bool closed;
    struct port *ports;
    int *indices; /* 0, 1, ..., NIXL_SPANS_MAX - 1 */
    unsigned char *packet;
};

/* ---- messages out ---- */

/* Blocks while the other end's buffer is full: that end never waits for this one. */
static void tell(struct worker *w, struct nixl_message *message, const void *bytes, size_t length)
{
    struct iovec iov[2] = {{message, sizeof(*message)}, {(void *)(uintptr_t)bytes, length}};
    const struct msghdr packet = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t sent;

    do {
        sent = sendmsg(w->socket, &packet, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    w->closed = w->closed || sent < 0;
}

static void tell_moved(struct worker *w, const struct port *port, uint64_t tag,
                       enum nixl_moved moved)
{
    struct nixl_message message = {
        .type = NIXL_MOVED, .port = port->number, .tag = tag, .status = moved};

    tell(w, &message, NULL, 0);
}

/* ---- moves ---- */

static void move_free(struct worker *w, struct port *port, struct move *move)
{
    if (move->request) {
        w->api->destroy_xfer_req(move->request);
    }
    for (int side = 0; side < 2; side++) {
        if (move->prepared[side]) {
            w->api->release_xfer_dlist_handle(port->agent, move->prepared[side]);
        }
    }
    free(move);
}

/* The spans of one side: this one's when there is no peer. */
static struct nixl_prepared *prepare(struct worker *w, struct port *port, const struct peer *peer,
                                     const struct nixl_span *spans, size_t count)
{
    uint64_t base = peer ? peer->base : (uintptr_t)port->base;
    uint32_t device = peer ? peer->device : port->device;
    struct nixl_prepared *prepared = NULL;
    struct nixl_spans *list = NULL;
    bool ok = !w->api->create_xfer_dlist((int)(peer ? peer->memory : port->memory), &list);

    for (size_t i = 0; i < count && ok; i++) {
        ok = !w->api->xfer_dlist_add_desc(
            list, (uintptr_t)(base + (peer ? spans[i].remote : spans[i].local)), spans[i].length,
            device);
    }
    if (!ok || w->api->prep_xfer_dlist(port->agent, peer ? peer->name : NIXL_LOCAL, list, &prepared,
                                       port->hints)) {
        prepared = NULL;
    }
    if (list) {
        w->api->destroy_xfer_dlist(list);
    }
    return prepared;
}

static bool inside(const struct port *port, const struct peer *peer, const struct nixl_span *spans,
                   size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct nixl_span *s = &spans[i];

        if (s->length == 0 || s->length > port->length || s->local > port->length - s->length ||
            s->length > peer->length || s->remote > peer->length - s->length) {
            return false;
        }
    }
    return true;
}

static const struct peer *peer_find(const struct port *port, uint32_t number)
{
    const struct peer *peer = port->peers;

    while (peer && peer->number != number) {
        peer = peer->next;
    }
    return peer;
}

/* A request that is ready to be posted; NULL: there is none, and nothing was begun. */
static struct move *move_make(struct worker *w, struct port *port,
                              const struct nixl_message *message, const struct nixl_span *spans,
                              size_t count)
{
    const struct peer *peer = peer_find(port, message->peer);
    struct move *move;

    if (!peer || !peer->name || count == 0 || count > NIXL_SPANS_MAX ||
        !inside(port, peer, spans, count)) {
        return NULL;
    }
    move = calloc(1, sizeof(*move));
    if (!move) {
        return NULL;
    }
    move->tag = message->tag;
    move->prepared[0] = prepare(w, port, NULL, spans, count);
    move->prepared[1] = prepare(w, port, peer, spans, count);
    if (!move->prepared[0] || !move->prepared[1] ||
        w->api->make_xfer_req(port->agent, message->operation, move->prepared[0], w->indices, count,
                              move->prepared[1], w->indices, count, &move->request, port->hints)) {
        move->request = NULL;
        move_free(w, port, move);
        return NULL;
    }
    return move;
}

/* What the library says of a move.  True: it is over, and was told. */
static bool move_settle(struct worker *w, struct port *port, struct move *move, int status)
{
    if (status == NIXL_IN_PROGRESS) {
        return false;
    }
    if (status != NIXL_OK) {
        move->broken = true;
        tell_moved(w, port, move->tag, NIXL_MOVE_BROKEN);
        return false;
    }
    /* Refused: the handle and the memory stay, and it is asked again. */
    move->done = true;
    if (w->api->release_xfer_req(port->agent, move->request)) {
        return false;
    }
    tell_moved(w, port, move->tag, NIXL_MOVE_DONE);
    return true;
}

static void move_begin(struct worker *w, struct port *port, const struct nixl_message *message,
                       const struct nixl_span *spans, size_t count)
{
    struct move *move = move_make(w, port, message, spans, count);

    if (!move) {
        tell_moved(w, port, message->tag, NIXL_MOVE_NOT_BEGUN);
    } else if (move_settle(w, port, move,
                           w->api->post_xfer_req(port->agent, move->request, NULL))) {
        move_free(w, port, move);
    } else {
        struct move **last = &port->moves;

        while (*last) {
            last = &(*last)->next;
        }
        *last = move;
    }
}

/* Each status asked for polls the library.  `*ret_polled`: some was. */
static bool moves_poll(struct worker *w, struct port *port, bool *ret_polled)
{
    struct move **at = &port->moves;
    bool any = false;

    *ret_polled = false;
    while (*at) {
        struct move *move = *at;
        int status;

        if (move->broken) {
            at = &move->next;
            continue;
        }
        *ret_polled = *ret_polled || !move->done;
        status = move->done ? NIXL_OK : w->api->get_xfer_status(port->agent, move->request);
        if (move_settle(w, port, move, status)) {
            *at = move->next;
            move_free(w, port, move);
            any = true;
        } else {
            at = &move->next;
        }
    }
    return any;
}

/* ---- ports ---- */

/* Lanes of shared memory have no handler of dead peers, and NIXL wants one unless told. */
static bool lanes_without_errors(const char *tls)
{
    static const char *const lanes[] = {"posix", "sysv", "shm", "sm", "cma", "xpmem", "knem"};

    for (size_t i = 0; tls && tls[0] != '^' && i < sizeof(lanes) / sizeof(lanes[0]); i++) {
        if (strstr(tls, lanes[i])) {
            return true;
        }
    }
    return false;
}

/* UCX aborts, faults or spins for ever where it can open no more descriptors. */
static bool have_descriptors(int socket)
{
    int fds[DESCRIPTORS_SPARE], count = 0;

    while (count < DESCRIPTORS_SPARE && (fds[count] = fcntl(socket, F_DUPFD_CLOEXEC, 0)) >= 0) {
        count++;
    }
    for (int i = 0; i < count; i++) {
        close(fds[i]);
    }
    return count == DESCRIPTORS_SPARE;
}

static const char *agent_open(struct worker *w, struct port *port, const char *name)
{
    const struct nixl_agent_config config = {0};
    struct nixl_params *params = NULL;
    bool ok;

    if (!have_descriptors(w->socket)) {
        return "64 descriptors are not left for NIXL: raise RLIMIT_NOFILE";
    }
    if (w->api->create_configured_agent(name, &config, &port->agent)) {
        port->agent = NULL;
        return "NIXL can not make an agent";
    }
    ok = !w->api->create_params(&params) &&
         (!lanes_without_errors(getenv("UCX_TLS")) ||
          !w->api->params_add(params, "ucx_error_handling_mode", "none")) &&
         !w->api->create_backend(port->agent, "UCX", params, &port->backend);
    if (params) {
        w->api->destroy_params(params);
    }
    if (!ok) {
        return "NIXL can not make its UCX backend (where there is a GPU, UCX_TLS must name "
               "cuda_copy; "
               "NIXL_LOG_LEVEL=error says more)";
    }
    if (w->api->create_opt_args(&port->hints) ||
        w->api->opt_args_add_backend(port->hints, port->backend) ||
        w->api->opt_args_set_skip_desc_merge(port->hints, true) ||
        w->api->create_notif_map(&port->notices) ||
        w->api->create_reg_dlist((int)port->memory, &port->regions) ||
        w->api->reg_dlist_add_desc(port->regions, (uintptr_t)port->base, port->length, port->device,
                                   "", 0) ||
        w->api->register_mem(port->agent, port->regions, port->hints)) {
        return "NIXL can not register the pool's memory";
    }
    return NULL;
}

/*
 * What is under way is not released first: it ends with the agent.  Its handles are lost, since the
 * library frees none that was not released.
 */
static void port_destroy(struct worker *w, struct port *port)
{
    while (port->peers) {
        struct peer *peer = port->peers;

        port->peers = peer->next;
        free(peer->name);
        free(peer);
    }
    if (port->agent && !port->moves && port->regions) {
        w->api->deregister_mem(port->agent, port->regions, port->hints);
    }
    if (port->agent) {
        w->api->destroy_agent(port->agent);
    }
    while (port->moves) {
        struct move *move = port->moves;

        port->moves = move->next;
        free(move);
    }
    if (port->regions) {
        w->api->destroy_reg_dlist(port->regions);
    }
    if (port->notices) {
        w->api->destroy_notif_map(port->notices);
    }
    if (port->hints) {
        w->api->destroy_opt_args(port->hints);
    }
    if (port->backend) {
        w->api->destroy_backend(port->backend);
    }
    if (port->mapped) {
        munmap(port->base, port->length);
    }
    free(port);
}

static struct port **port_find(struct worker *w, uint32_t number)
{
    struct port **at = &w->ports;

    while (*at && (*at)->number != number) {
        at = &(*at)->next;
    }
    return at;
}

static const char *port_map(struct port *port, const struct nixl_message *message, int fd)
{
    void *base = (void *)(uintptr_t)message->base;

    if (!base) {
        base = mmap(NULL, message->length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (base == MAP_FAILED) {
            return "can not map the pool";
        }
        port->mapped = true;
    }
    port->base = base;
    port->length = message->length;
    port->memory = message->memory;
    port->device = message->device;
    return NULL;
}

static void port_open(struct worker *w, const struct nixl_message *message, int fd)
{
    struct port *port = calloc(1, sizeof(*port));
    struct nixl_message answer = {.type = NIXL_OPENED, .port = message->port, .status = 1};
    const char *why = port ? port_map(port, message, fd) : "no memory";
    void *descriptor = NULL;
    size_t length = 0;

    why = why ? why : agent_open(w, port, message->name);
    if (!why && (w->api->get_local_md(port->agent, &descriptor, &length) ||
                 length > NIXL_DESCRIPTOR_BYTES_MAX)) {
        why = "NIXL gives no metadata";
    }
    if (why) {
        tell(w, &answer, why, strlen(why));
        if (port) {
            port_destroy(w, port);
        }
    } else {
        port->number = message->port;
        port->next = w->ports;
        w->ports = port;
        answer.status = 0;
        answer.base = (uintptr_t)port->base;
        tell(w, &answer, descriptor, length);
    }
    free(descriptor);
}

static void port_close(struct worker *w, uint32_t number)
{
    struct nixl_message answer = {.type = NIXL_CLOSED, .port = number};
    struct port **at = port_find(w, number), *port = *at;

    if (port) {
        *at = port->next;
        port_destroy(w, port);
    }
    tell(w, &answer, NULL, 0);
}

/* The bytes that the peer's port gave out; a peer that can not be met fails the moves to it. */
static void port_meet(struct worker *w, struct port *port, const struct nixl_message *message,
                      const void *bytes, size_t length)
{
    struct peer *peer = calloc(1, sizeof(*peer));

    if (!peer) {
        return;
    }
    peer->number = message->peer;
    peer->base = message->base;
    peer->length = message->length;
    peer->memory = message->memory;
    peer->device = message->device;
    if (w->api->load_remote_md(port->agent, bytes, length, &peer->name)) {
        peer->name = NULL;
    }
    peer->next = port->peers;
    port->peers = peer;
}

/* ---- messages in ---- */

static void obey(struct worker *w, const struct nixl_message *message, const unsigned char *bytes,
                 size_t length, int fd)
{
    struct port *port = *port_find(w, message->port);

    switch (message->type) {
    case NIXL_OPEN:
        port_open(w, message, fd);
        return;
    case NIXL_CLOSE:
        port_close(w, message->port);
        return;
    case NIXL_MEET:
        if (port) {
            port_meet(w, port, message, bytes, length);
        }
        return;
    case NIXL_WAKE:
        return; /* that it came is all */
    default:
        if (port) {
            move_begin(w, port, message, (const struct nixl_span *)(const void *)bytes,
                       length / sizeof(struct nixl_span));
        }
    }
}

static int received_fd(struct msghdr *packet)
{
    struct cmsghdr *m = CMSG_FIRSTHDR(packet);
    int fd = -1;

    if (m && m->cmsg_type == SCM_RIGHTS && m->cmsg_len == CMSG_LEN(sizeof(int))) {
        memcpy(&fd, CMSG_DATA(m), sizeof(int));
    }
    return fd;
}

/* One message, if there is one.  True: there was. */
static bool listen_once(struct worker *w)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {w->packet, NIXL_MESSAGE_BYTES_MAX};
    struct msghdr packet = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    ssize_t got = recvmsg(w->socket, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    const size_t head = sizeof(struct nixl_message);
    int fd;

    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (got < (ssize_t)head) {
        w->closed = true;
        return false;
    }
    fd = received_fd(&packet);
    obey(w, (const struct nixl_message *)(const void *)w->packet, w->packet + head,
         (size_t)got - head, fd);
    if (fd >= 0) {
        close(fd);
    }
    return true;
}

/* ---- the loop ---- */

/* True: bytes have moved, as far as can be told. */
static bool ports_poll(struct worker *w)
{
    bool moved = false;

    for (struct port *port = w->ports; port; port = port->next) {
        uint64_t start_ns = clock_now_ns();
        bool polled;

        moved = moves_poll(w, port, &polled) || moved;
        if (!polled) {
            w->api->get_notifs(port->agent, port->notices, NULL);
            w->api->notif_map_clear(port->notices);
        }
        moved = moved || clock_now_ns() - start_ns > IDLE_CALL_NS;
    }
    return moved;
}

static void rest(const struct worker *w, uint64_t quiet_us)
{
    struct pollfd wanted = {.fd = w->socket, .events = POLLIN};
    uint64_t sleep_us = SLEEP_US_FIRST;
    struct timespec sleep = {0};

    if (w->ports && quiet_us < SPIN_US) {
        sched_yield();
        return;
    }
    /* A tenth of the time that nothing has happened for. */
    sleep_us = quiet_us / 10 > sleep_us ? quiet_us / 10 : sleep_us;
    sleep.tv_nsec = (long)(sleep_us < SLEEP_US_MAX ? sleep_us : SLEEP_US_MAX) * 1000;
    ppoll(&wanted, 1, w->ports ? &sleep : NULL, NULL);
}

bool nixl_worker_run(const struct nixl_api *api, int socket)
{
    struct worker w = {.api = api, .socket = socket};
    uint64_t moved_us = clock_now_us();

    w.indices = malloc(NIXL_SPANS_MAX * sizeof(*w.indices));
    w.packet = malloc(NIXL_MESSAGE_BYTES_MAX);
    for (int i = 0; w.indices && i < NIXL_SPANS_MAX; i++) {
        w.indices[i] = i;
    }
    while (w.indices && w.packet && !w.closed) {
        bool heard = listen_once(&w);

        if (ports_poll(&w) || heard) {
            moved_us = clock_now_us();
        } else if (!w.closed) {
            rest(&w, clock_now_us() - moved_us);
        }
    }
    while (w.ports) {
        struct port *port = w.ports;

        w.ports = port->next;
        port_destroy(&w, port);
    }
    close(socket);
    free(w.indices);
    free(w.packet);
    return w.closed;
}
