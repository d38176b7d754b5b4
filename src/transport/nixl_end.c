/* SPDX-License-Identifier: Apache-2.0 */
/* How links over NIXL end, and what that proves: see nixl.c. */
#include "transport/nixl.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void fence_known(struct transport *transport, bool holds, const char *how)
{
    transport->fence = holds ? FENCE_HOLDS : FENCE_FAILS;
    if (!holds) {
        nixl_log(transport, BATON_LOG_WARN, "fences are not known to hold", how);
    }
}

/* The test's process is not waited for: with its socket gone it has nobody to tell. */
void nixl_fence_end(struct transport *transport)
{
    if (transport->fence_test.socket >= 0) {
        transport->host.unwatch(transport->host.arg, &transport->fence_said);
        helper_kill(&transport->fence_test);
        close(transport->fence_test.socket);
        close(transport->fence_test.pidfd);
        transport->fence_test = (struct helper){-1, -1, -1};
    }
}

void nixl_fence_tested(struct transport_fd *fd, unsigned events)
{
    struct transport *transport =
        (struct transport *)(void *)((char *)fd - offsetof(struct transport, fence_said));
    struct {
        struct nixl_message message;
        char text[160];
    } said = {.text = "its test ended without a word"};
    ssize_t got = recv(fd->fd, &said, sizeof(said) - 1, MSG_DONTWAIT);
    bool passed = got >= (ssize_t)sizeof(said.message) && said.message.status == 0;
    struct transport_link *link, *next;

    (void)events;
    nixl_fence_end(transport);
    fence_known(transport, passed, said.text);
    for (link = transport->links; link; link = next) {
        next = link->next;
        if (link->closed) {
            nixl_link_retire(link);
        }
    }
    nixl_give_back(transport);
}

static enum nixl_lanes lanes_of(const struct transport_link *link)
{
    return link->gpu ? NIXL_LANES_ANY : link->transport->lanes;
}

/* Whether the end of the link's ports in this process is a proof.  It is found out when it is first
 * asked, which takes some seconds. */
static bool fence_holds(const struct transport_link *link)
{
    struct transport *transport = link->transport;
    static const char *const argv[] = {"baton-helper", "fence", NULL};
    struct baton_error error = {.text = "there is no baton-helper"};

    if (lanes_of(link) == NIXL_LANES_ANY) {
        return false;
    }
    if (transport->fence != FENCE_UNKNOWN) {
        return transport->fence == FENCE_HOLDS;
    }
    transport->fence = FENCE_TESTING;
    if (!transport->helper_path[0] ||
        helper_start(transport->helper_path, argv, &transport->fence_test, &error)) {
        fence_known(transport, false, error.text);
        return false;
    }
    transport->fence_said.fd = transport->fence_test.socket;
    if (!transport->host.watch(transport->host.arg, &transport->fence_said, EPOLLIN)) {
        nixl_fence_end(transport);
        fence_known(transport, false, "its test can not be watched");
    }
    return false;
}

/* Whether moves of the port are under way that its end would let a peer's library die of. */
static bool harms_peer(const struct port *port)
{
    const struct transport_link *link = port->link;

    for (unsigned i = 0; i < MOVES_MAX; i++) {
        const struct move *move = &link->move[i];
        const struct remote *remote;

        if (!move->window || move->port != port || move->broken || move->window->source_base ||
            link->peer_dead || !link->transport->by_tcp) {
            continue;
        }
        remote = nixl_remote_of(link, move->window->peer_region);
        if (!remote || !remote->in_helper) {
            return true;
        }
    }
    return false;
}

void nixl_peer_exited(struct transport_fd *fd, unsigned events)
{
    struct transport_link *link =
        (struct transport_link *)(void *)((char *)fd - offsetof(struct transport_link, peer_exit));
    struct transport *transport = link->transport;

    (void)events;
    transport->host.unwatch(transport->host.arg, fd);
    link->peer_exit_watched = false;
    link->peer_dead = true;
    nixl_link_retire(link);
    nixl_give_back(transport);
}

static void watch_peer(struct transport_link *link)
{
    if (link->peer_exit.fd >= 0 && !link->peer_exit_watched && !link->peer_dead) {
        link->peer_exit_watched =
            link->transport->host.watch(link->transport->host.arg, &link->peer_exit, EPOLLIN);
    }
}

void nixl_retire_port(struct port *port)
{
    const struct nixl_message message = {.type = NIXL_CLOSE, .port = port->number};

    if (port->moves > 0 && (harms_peer(port) || !fence_holds(port->link))) {
        watch_peer(port->link);
    } else if (nixl_host_send(port->host, &message, NULL, 0, -1)) {
        port->state = PORT_CLOSING;
    }
}

static void retire_helper(struct transport_link *link)
{
    unsigned moves = 0;
    bool harms = false;

    for (struct port *port = link->ports; port; port = port->next) {
        moves += port->host == link->helper ? port->moves : 0;
        harms = harms || (port->host == link->helper && harms_peer(port));
    }
    if (harms) {
        watch_peer(link);
    } else if (moves > 0) {
        nixl_host_kill(link->helper);
    } else {
        nixl_host_leave(link->helper);
    }
}

/*
 * What the end of all its ports proves of the peer's writes into them; NONE: nothing yet.  Of ports
 * that no peer was told of nothing needs to be known of the lanes: nobody could name them.
 */
static baton_proof fenced_proof(const struct transport_link *link)
{
    if (!link->shares) {
        return link->threaded ? BATON_PROOF_LINK_FENCED : BATON_PROOF_HELPER_EXITED;
    }
    if (lanes_of(link) != NIXL_LANES_OWN) {
        return BATON_PROOF_NONE;
    }
    if (!link->threaded) {
        return BATON_PROOF_HELPER_EXITED;
    }
    return link->transport->fence == FENCE_HOLDS ? BATON_PROOF_LINK_FENCED : BATON_PROOF_NONE;
}

/* All ports of the link are gone.  Only if somebody waits for a proof is a fence tested. */
static void link_fenced(struct transport_link *link)
{
    struct transport *transport = link->transport;
    bool wanted =
        link->sink && transport->host.fenced(transport->host.arg, link->serial, fenced_proof(link),
                                             lanes_of(link) == NIXL_LANES_HOST);

    link->fenced =
        !(wanted && link->threaded && !fence_holds(link) && transport->fence == FENCE_TESTING);
    if (link->fenced) {
        nixl_link_release(link);
    }
}

void nixl_link_free(struct transport_link *link)
{
    struct transport *transport = link->transport;
    struct transport_link **at = &transport->links;

    while (*at != link) {
        at = &(*at)->next;
    }
    *at = link->next;
    for (unsigned i = 0; i < BATON_POOLS_MAX; i++) {
        free(link->remotes[i]);
    }
    if (link->peer_exit_watched) {
        transport->host.unwatch(transport->host.arg, &link->peer_exit);
    }
    if (link->peer_exit.fd >= 0) {
        close(link->peer_exit.fd);
    }
    free(link);
}

void nixl_link_release(struct transport_link *link)
{
    if (link->closed && link->windows == 0 && link->fenced) {
        nixl_link_free(link);
    }
}

/* A closed link: destroy what can be, and tell once all is gone. */
void nixl_link_retire(struct transport_link *link)
{
    for (struct port *port = link->ports; port; port = port->next) {
        if (port->host != link->helper && port->state != PORT_CLOSING) {
            nixl_retire_port(port);
        }
    }
    if (link->helper) {
        retire_helper(link);
    }
    if (!link->ports && !link->helper && !link->fenced) {
        link_fenced(link);
    }
}
