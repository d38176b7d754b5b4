/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nixl transport: the sink reads the source's pool (pull), or the source writes into the
 * sink's (push), by NIXL, in the worker of nixl_worker.c.  A window is posted as moves of at most
 * NIXL_SPANS_MAX spans and MOVE_BYTES_MAX bytes, a few at a time, so that what a cancel waits for
 * is bounded while the peer lives.
 *
 * When is a move over?  When the library says that it is done.  Nothing else that it says counts:
 * it returns 0 for a release that stops nothing, and its errors are of several kinds under one
 * number.  Otherwise a move is over when the end that executes it is gone:
 *
 *  - The helper that hosts it was reaped (HELPER_EXITED).  What it moved, it moved itself, or a NIC
 *    for it on queues that the kernel has closed.
 *  - Its port was destroyed in this process (LINK_FENCED), where the lanes in use (NIXL_LANES_OWN)
 *    have this process's library alone store into its memory, and the self-test of `baton-helper
 *    fence` has shown on this machine that nothing is stored afterwards.
 *
 * A port is destroyed when its link is closed, and only if that harms nobody: a peer whose library
 * serves a READ in its own process can die of its reader's end (docs/NIXL.md, section 5).  Until
 * then, or until there is a proof, the moves of a closed link stay, with everything that they use.
 */
#include "transport/nixl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/nixl_api.h"
#include "util/assert.h"
#include "util/bytes.h"
#include "util/error.h"
#include "wire/frame.h"

/* ---- windows ---- */

/* What a window's `own` is used for. */
enum {
    MOVES, /* posted and not over */
    WAITS, /* it is in `waiting` */
};

static unsigned window_moves(const struct transport_window *window)
{
    return (unsigned)window->own[MOVES];
}

/* Nothing more of it is posted; it goes back once what was posted is over. */
static void window_end(struct transport_window *window, enum transport_status status)
{
    if (window->status == TRANSPORT_OK) {
        window->status = status;
    }
    if (window_moves(window) == 0) {
        window_list_push(&window->link->transport->returning, window);
    }
}

/* As shm.c: the upcall may call back into here. */
void nixl_give_back(struct transport *transport)
{
    struct transport_window *window;

    while ((window = window_list_pop(&transport->returning))) {
        struct transport_link *link = window->link;

        transport->host.window_done(transport->host.arg, window);
        BATON_ASSERT(link->windows > 0);
        link->windows--;
        nixl_link_release(link);
    }
}

/* Those that wait, of one fetch or all, are stopped. */
static void stop_waiting(struct transport_link *link, const uint64_t *fetch_id)
{
    struct window_list kept = {0};
    struct transport_window *window;

    while ((window = window_list_pop(&link->waiting))) {
        if (fetch_id && window->fetch_id != *fetch_id) {
            window_list_push(&kept, window);
        } else {
            window->own[WAITS] = 0;
            window_end(window, TRANSPORT_ABORTED);
        }
    }
    link->waiting = kept;
}

void nixl_link_break(struct transport_link *link, const char *why)
{
    if (!link->closed && !link->broken) {
        link->broken = true;
        link->transport->host.link_broken(link->transport->host.arg, link->number, why);
    }
}

void nixl_log(const struct transport *transport, baton_log_level level, const char *what,
              const char *why)
{
    char line[320];

    snprintf(line, sizeof(line), "nixl: %s: %s", what, why);
    transport->host.log(transport->host.arg, level, line);
}

/* ---- moves ---- */

static void move_over(struct move *move, enum transport_status status, baton_proof proof)
{
    struct transport_window *window = move->window;
    struct transport_link *link = window->link;

    /* What a move that was not done has stored is not known: all that it could have. */
    window->landed += status == TRANSPORT_FAILED ? 0 : move->length;
    window->proof = proof ? proof : window->proof;
    move->port->moves--;
    link->moves--;
    *move = (struct move){0};
    BATON_ASSERT(window->own[MOVES] > 0);
    window->own[MOVES]--;
    if (status != TRANSPORT_OK && window->status == TRANSPORT_OK) {
        window->status = status;
    }
    /* One that has not been posted wholly is in `waiting`. */
    if (window_moves(window) == 0 && !window->own[WAITS]) {
        window_list_push(&link->transport->returning, window);
    }
}

/* All moves of a port whose end is gone. */
void nixl_moves_fenced(struct port *port, baton_proof proof)
{
    for (unsigned i = 0; i < MOVES_MAX; i++) {
        if (port->link->move[i].window && port->link->move[i].port == port) {
            move_over(&port->link->move[i], TRANSPORT_ABORTED, proof);
        }
    }
}

static struct move *move_free(struct transport_link *link)
{
    struct move *move = link->move;

    while (move->window) {
        move++;
    }
    return move;
}

/* The next piece of a window.  Returns how many spans; 0: it does not fit the peer's region. */
static size_t cut(struct transport_window *window, const struct remote *remote,
                  struct nixl_span *ret_spans, uint64_t *ret_bytes)
{
    bool write = window->source_base != NULL;
    struct plan_span span;
    uint64_t bytes = 0;
    size_t count = 0;

    while (count < NIXL_SPANS_MAX && bytes < MOVE_BYTES_MAX &&
           plan_next(&window->cursor, SPAN_BYTES_MAX, &span)) {
        uint64_t local = write ? span.source_offset : span.sink_offset;
        uint64_t there = write ? span.sink_offset : span.source_offset;

        if (span.length > remote->bytes || there > remote->bytes - span.length) {
            return 0;
        }
        ret_spans[count++] = (struct nixl_span){local, there, span.length};
        bytes += span.length;
    }
    *ret_bytes = bytes;
    return count;
}

static bool meet(struct port *port, const struct remote *remote)
{
    uint32_t place = remote->region % BATON_POOLS_MAX;
    const struct nixl_message message = {.type = NIXL_MEET,
                                         .port = port->number,
                                         .peer = place,
                                         .base = remote->base,
                                         .length = remote->bytes,
                                         .memory = remote->cuda ? NIXL_VRAM : NIXL_DRAM,
                                         .device = remote->device};

    if (port->met[place] == remote->region) {
        return true;
    }
    if (!nixl_host_send(port->host, &message, remote->descriptor, remote->length, -1)) {
        return false;
    }
    port->met[place] = remote->region;
    return true;
}

/* Posts the next piece.  False: the window can not go on. */
static bool post_piece(struct transport_window *window, struct port *port,
                       const struct remote *remote)
{
    struct transport_link *link = window->link;
    struct nixl_span spans[NIXL_SPANS_MAX];
    struct move *move = move_free(link);
    uint64_t bytes = 0;
    size_t count = cut(window, remote, spans, &bytes);
    const struct nixl_message message = {.type = NIXL_MOVE,
                                         .operation = window->source_base ? NIXL_WRITE : NIXL_READ,
                                         .port = port->number,
                                         .peer = remote->region % BATON_POOLS_MAX,
                                         .tag = (uint64_t)(move - link->move)};

    if (count == 0 || !meet(port, remote) ||
        !nixl_host_send(port->host, &message, spans, count * sizeof(spans[0]), -1)) {
        return false;
    }
    *move = (struct move){.window = window, .port = port, .length = bytes};
    window->own[MOVES]++;
    port->moves++;
    link->moves++;
    return true;
}

/* What the first window waits for.  False: nothing more can be posted now. */
static bool pump_first(struct transport_link *link)
{
    struct transport_window *window = link->waiting.first;
    const struct remote *remote = nixl_remote_of(link, window->peer_region);
    struct port *port = NULL;
    enum transport_status status = TRANSPORT_OK;

    if (atomic_load(window->stop) || window->status != TRANSPORT_OK) {
        status = TRANSPORT_ABORTED;
    } else if (!(port = nixl_port_of(link, window->memory))) {
        status = TRANSPORT_FAILED;
    } else if (port->state != PORT_OPEN || !remote || link->moves == MOVES_MAX) {
        return false;
    } else if (!post_piece(window, port, remote)) {
        status = TRANSPORT_FAILED;
    }
    if (status != TRANSPORT_OK || window->cursor.offset == window->cursor.end) {
        window_list_pop(&link->waiting);
        window->own[WAITS] = 0;
        window_end(window, status);
    }
    return true;
}

void nixl_pump(struct transport_link *link)
{
    while (!link->closed && link->waiting.first && pump_first(link)) {
    }
}

/* ---- what workers say ---- */

static void port_moved(struct port *port, const struct nixl_message *message)
{
    struct transport_link *link = port->link;
    struct move *move = message->tag < MOVES_MAX ? &link->move[message->tag] : NULL;

    if (!move || !move->window || move->port != port) {
        return;
    }
    switch (message->status) {
    case NIXL_MOVE_DONE:
        move_over(move, TRANSPORT_OK, BATON_PROOF_NONE);
        break;
    case NIXL_MOVE_NOT_BEGUN:
        move_over(move, TRANSPORT_FAILED, BATON_PROOF_NONE);
        break;
    default:
        move->broken = true;
        nixl_link_break(link, "nixl: the library gave a transfer up");
    }
    nixl_pump(link);
    if (link->closed) {
        nixl_link_retire(link);
    }
}

static void port_closed(struct port *port)
{
    struct transport_link *link = port->link;

    nixl_moves_fenced(port, BATON_PROOF_LINK_FENCED);
    nixl_port_free(port);
    if (link->closed) {
        nixl_link_retire(link);
    }
}

static void host_message(void *arg, const struct nixl_message *message, const unsigned char *bytes,
                         size_t length)
{
    struct transport *transport = arg;
    struct port *port = nixl_port_find(transport, message->port);

    if (!port) {
        return;
    }
    switch (message->type) {
    case NIXL_OPENED:
        nixl_port_opened(port, message, bytes, length);
        break;
    case NIXL_MOVED:
        port_moved(port, message);
        break;
    default:
        port_closed(port);
    }
    nixl_give_back(transport);
}

static void host_ended(void *arg, struct nixl_host *host, const char *why)
{
    struct transport *transport = arg;
    struct transport_link *link = transport->links;

    transport->helpers--;
    while (link && link->helper != host) {
        link = link->next;
    }
    if (transport->spare == host) {
        transport->spare = NULL;
    }
    if (link) {
        struct port *next;

        link->helper = NULL;
        if (!link->closed) {
            nixl_log(transport, BATON_LOG_WARN, "a link's helper has ended", why);
        }
        for (struct port *port = link->ports; port; port = next) {
            next = port->next;
            if (port->host == host) {
                nixl_moves_fenced(port, BATON_PROOF_HELPER_EXITED);
                nixl_port_free(port);
            }
        }
        nixl_link_break(link, "nixl: the helper of the link has ended");
        if (link->closed) {
            nixl_link_retire(link);
        }
    }
    nixl_give_back(transport);
    nixl_host_destroy(host);
}

/* ---- ops ---- */

static bool names_tcp(const char *tls)
{
    return nixl_lanes(tls) == NIXL_LANES_ANY || strstr(tls, "tcp");
}

/* A helper that has NIXL, for the first link: so an engine is not made without it. */
static baton_err spare_helper(struct transport *transport, struct baton_error *ret_error)
{
    baton_err err = nixl_host_helper(&transport->host, &transport->user, transport->helper_path,
                                     &transport->spare, ret_error);

    if (err) {
        transport->spare = NULL;
        return err;
    }
    transport->helpers = 1;
    err = nixl_host_greeted(transport->spare, transport->helper_path, ret_error);
    if (err) {
        nixl_host_destroy(transport->spare);
        transport->spare = NULL;
        transport->helpers = 0;
    }
    return err;
}

static baton_err begin(struct transport *transport, struct baton_error *ret_error)
{
    const struct transport_options *o = &transport->options;
    const struct nixl_api *api;
    struct baton_error error;
    baton_err err = helper_find(o->helper_path, transport->helper_path, &error);

    if (err) {
        transport->helper_path[0] = '\0';
        if (o->host == BATON_HOST_HELPER) {
            *ret_error = error;
            return err;
        }
        if (o->host == BATON_HOST_AUTO) {
            nixl_log(transport, BATON_LOG_WARN, "runs in this process", error.text);
        }
    }
    if (o->host != BATON_HOST_IN_PROCESS && transport->helper_path[0]) {
        return spare_helper(transport, ret_error);
    }
    return nixl_api_load(NULL, &api, ret_error);
}

static void nixl_destroy(struct transport *transport);

static baton_err nixl_create(const struct transport_host *host,
                             const struct transport_options *options,
                             struct transport **ret_transport, struct baton_error *ret_error)
{
    struct transport *transport = calloc(1, sizeof(*transport));
    const char *tls = getenv("UCX_TLS");
    uint64_t random = 0;
    baton_err err;

    if (!transport) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for the nixl transport");
    }
    transport->host = *host;
    transport->options = *options;
    transport->user = (struct nixl_host_user){transport, host_message, host_ended};
    transport->fence_test = (struct helper){-1, -1, -1};
    transport->fence_said = (struct transport_fd){.fd = -1, .ready = nixl_fence_tested};
    transport->lanes = nixl_lanes(tls);
    transport->by_tcp = names_tcp(tls);
    if (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
        err = error_set(ret_error, BATON_ESYSTEM, "getrandom failed");
    } else {
        snprintf(transport->name, sizeof(transport->name), "baton-%016llx",
                 (unsigned long long)random);
        err = begin(transport, ret_error);
    }
    if (err) {
        nixl_destroy(transport);
        return err;
    }
    transport->options.helper_path = NULL;
    *ret_transport = transport;
    return BATON_OK;
}

/* All links are closed and all windows were given back: what is left ends without harm. */
static void nixl_destroy(struct transport *transport)
{
    if (!transport) {
        return;
    }
    nixl_host_destroy(transport->thread);
    nixl_host_destroy(transport->spare);
    while (transport->links) {
        struct transport_link *link = transport->links;

        BATON_ASSERT(link->closed && link->windows == 0);
        nixl_host_destroy(link->helper);
        while (link->ports) {
            nixl_port_free(link->ports);
        }
        nixl_link_free(link);
    }
    nixl_fence_end(transport);
    free(transport);
}

static baton_err nixl_link_open(struct transport *transport, const struct transport_link_args *args,
                                struct transport_link **ret_link, struct baton_error *ret_error)
{
    struct transport_link *link = calloc(1, sizeof(*link));

    if (!link) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for a link of the nixl transport");
    }
    link->transport = transport;
    link->number = args->link;
    link->serial = args->serial;
    link->sink = args->sink;
    link->peer_exit = (struct transport_fd){.fd = -1, .ready = nixl_peer_exited};
    if (args->peer_pidfd >= 0) {
        link->peer_exit.fd = fcntl(args->peer_pidfd, F_DUPFD_CLOEXEC, 0);
    }
    link->next = transport->links;
    transport->links = link;
    *ret_link = link;
    return BATON_OK;
}

static void nixl_link_close(struct transport_link *link)
{
    struct transport *transport = link->transport;

    BATON_ASSERT(!link->closed);
    stop_waiting(link, NULL);
    link->closed = true;
    nixl_link_retire(link);
    nixl_give_back(transport);
}

static void nixl_post(struct transport_window *window)
{
    struct transport_link *link = window->link;

    BATON_ASSERT(!link->closed);
    BATON_ASSERT(link->windows <= link->transport->options.windows_max);
    link->windows++;
    window->landed = 0;
    window->status = TRANSPORT_OK;
    window->own[WAITS] = 1;
    plan_cursor_init(&window->cursor, window->plan, window->offset, window->length);
    window_list_push(&link->waiting, window);
    nixl_pump(link);
    /* Not given back within: its poster does not expect it. */
    if (link->transport->returning.first) {
        link->transport->host.wake(link->transport->host.arg);
    }
}

static void nixl_stop(struct transport_link *link, uint64_t fetch_id)
{
    stop_waiting(link, &fetch_id);
    nixl_give_back(link->transport);
}

static void nixl_share(struct transport_link *link, struct transport_memory *memory)
{
    struct port *port = nixl_port_of(link, memory);

    if (port) {
        port->wanted = true;
        nixl_port_share(port);
    }
}

static int nixl_process(const struct transport_link *link)
{
    return link->helper ? nixl_host_process(link->helper) : -1;
}

/* Pools that are to go let their idle ports go. */
static void drop_ports(struct transport *transport)
{
    for (struct transport_link *link = transport->links; link; link = link->next) {
        for (struct port *port = link->ports; port; port = port->next) {
            if (port->state == PORT_OPEN && port->moves == 0 && !link->waiting.first &&
                atomic_load(&port->memory->drop)) {
                nixl_retire_port(port);
            }
        }
    }
}

static bool nixl_progress(struct transport *transport)
{
    drop_ports(transport);
    nixl_give_back(transport);
    return false;
}

const struct transport_ops transport_nixl = {
    .name = "nixl",
    .bit = WIRE_TRANSPORT_NIXL,
    .create = nixl_create,
    .destroy = nixl_destroy,
    .link_open = nixl_link_open,
    .link_close = nixl_link_close,
    .post = nixl_post,
    .stop = nixl_stop,
    .share = nixl_share,
    .learn = nixl_learn,
    .process = nixl_process,
    .progress = nixl_progress,
};
