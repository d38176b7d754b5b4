/* SPDX-License-Identifier: Apache-2.0 */
/* Ports: this side's ends, one for each link and pool, and who hosts them. */
#include "transport/nixl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/nixl_api.h"
#include "util/bytes.h"

static struct nixl_host *thread_host(struct transport *transport)
{
    struct baton_error error;

    if (!transport->thread &&
        nixl_host_thread(&transport->host, &transport->user, &transport->thread, &error)) {
        nixl_log(transport, BATON_LOG_ERROR, "can not run in this process", error.text);
        transport->thread = NULL;
    }
    return transport->thread;
}

/* The link's helper, started if there is none; NULL: it gets none. */
static struct nixl_host *link_helper(struct transport_link *link)
{
    struct transport *transport = link->transport;
    struct baton_error error;

    if (link->helper) {
        return link->helper;
    }
    if (transport->spare) {
        link->helper = transport->spare;
        transport->spare = NULL;
        return link->helper;
    }
    if (!transport->helper_path[0] || transport->helpers >= transport->options.helpers_max) {
        return NULL;
    }
    if (nixl_host_helper(&transport->host, &transport->user, transport->helper_path, &link->helper,
                         &error)) {
        nixl_log(transport, BATON_LOG_ERROR, "no helper", error.text);
        return link->helper = NULL;
    }
    transport->helpers++;
    return link->helper;
}

static struct nixl_host *choose_host(struct transport_link *link,
                                     const struct transport_memory *memory)
{
    struct transport *transport = link->transport;
    struct nixl_host *host = NULL;

    if (transport->options.host != BATON_HOST_IN_PROCESS && memory->fd >= 0) {
        host = link_helper(link);
    }
    if (!host && transport->options.host == BATON_HOST_HELPER) {
        nixl_link_break(link,
                        memory->fd < 0
                            ? "nixl: memory that Baton did not make can not be mapped by a helper"
                            : "nixl: no helper for this link (helpers_max)");
        return NULL;
    }
    if (!host) {
        host = thread_host(transport);
        link->threaded = link->threaded || host;
    }
    return host;
}

void nixl_port_free(struct port *port)
{
    struct port **at = &port->link->ports;

    while (*at != port) {
        at = &(*at)->next;
    }
    *at = port->next;
    transport_memory_unref(port->memory);
    free(port->descriptor);
    free(port);
}

static struct port *port_open(struct transport_link *link, struct transport_memory *memory)
{
    struct transport *transport = link->transport;
    struct nixl_message message = {.type = NIXL_OPEN, .length = memory->bytes};
    struct nixl_host *host = choose_host(link, memory);
    struct port *port = host ? calloc(1, sizeof(*port)) : NULL;
    bool in_helper = host && nixl_host_in_helper(host);

    if (!port) {
        nixl_link_break(link, "nixl: this side's end can not be made");
        return NULL;
    }
    message.port = port->number = transport->next_port++;
    message.memory = memory->cuda ? NIXL_VRAM : NIXL_DRAM;
    message.device = memory->device;
    link->gpu = link->gpu || memory->cuda;
    message.base = in_helper ? 0 : (uintptr_t)memory->base;
    snprintf(message.name, sizeof(message.name), "%s-%u", transport->name, port->number);
    if (!nixl_host_send(host, &message, NULL, 0, in_helper ? memory->fd : -1)) {
        free(port);
        nixl_link_break(link, "nixl: no memory");
        return NULL;
    }
    atomic_store(&memory->drop, false);
    memset(port->met, 0xff, sizeof(port->met));
    port->link = link;
    port->memory = transport_memory_ref(memory);
    port->host = host;
    port->next = link->ports;
    link->ports = port;
    return port;
}

struct port *nixl_port_of(struct transport_link *link, struct transport_memory *memory)
{
    struct port *port = link->ports;

    while (port && (port->memory != memory || port->state == PORT_CLOSING)) {
        port = port->next;
    }
    return port || link->broken ? port : port_open(link, memory);
}

struct port *nixl_port_find(const struct transport *transport, uint32_t number)
{
    for (struct transport_link *link = transport->links; link; link = link->next) {
        for (struct port *port = link->ports; port; port = port->next) {
            if (port->number == number) {
                return port;
            }
        }
    }
    return NULL;
}

/* The peer is told of a port once.  Later, its worker is woken, since bytes are about to come. */
void nixl_port_share(struct port *port)
{
    const struct nixl_message message = {.type = NIXL_WAKE, .port = port->number};
    struct transport_link *link = port->link;

    if (!port->wanted || !port->descriptor || link->closed) {
        return;
    }
    port->wanted = false;
    if (port->told) {
        nixl_host_send(port->host, &message, NULL, 0, -1); /* else it looks by itself, soon */
    } else {
        port->told = true;
        link->shares = true; /* before the peer can know */
        link->transport->host.shared(link->transport->host.arg, link->number, port->memory,
                                     port->descriptor, port->descriptor_length);
    }
}

void nixl_port_opened(struct port *port, const struct nixl_message *message,
                      const unsigned char *bytes, size_t length)
{
    unsigned char *descriptor = malloc(DESCRIPTOR_HEAD_BYTES + length);

    if (message->status != 0 || !descriptor) {
        char why[160];

        snprintf(why, sizeof(why), "nixl: %.*s", (int)length, (const char *)bytes);
        free(descriptor);
        nixl_link_break(port->link, message->status ? why : "nixl: no memory");
        return;
    }
    if (port->state == PORT_CLOSING) {
        free(descriptor);
        return;
    }
    memset(descriptor, 0, DESCRIPTOR_HEAD_BYTES);
    descriptor[0] = DESCRIPTOR_VERSION;
    descriptor[1] = nixl_host_in_helper(port->host);
    descriptor[2] = port->memory->cuda;
    bytes_put_u32(descriptor + 4, port->memory->device);
    bytes_put_u64(descriptor + 8, message->base);
    memcpy(descriptor + DESCRIPTOR_HEAD_BYTES, bytes, length);
    port->descriptor = descriptor;
    port->descriptor_length = DESCRIPTOR_HEAD_BYTES + length;
    port->state = PORT_OPEN;
    nixl_port_share(port);
    nixl_pump(port->link);
}

/* ---- the peer's ---- */

const struct remote *nixl_remote_of(const struct transport_link *link, uint32_t region)
{
    const struct remote *remote = link->remotes[region % BATON_POOLS_MAX];

    return remote && remote->region == region ? remote : NULL;
}

bool nixl_learn(struct transport_link *link, uint32_t region, uint64_t bytes,
                const void *descriptor, size_t length)
{
    struct remote **place = &link->remotes[region % BATON_POOLS_MAX], *remote;
    const unsigned char *at = descriptor;

    if (length <= DESCRIPTOR_HEAD_BYTES ||
        length > DESCRIPTOR_HEAD_BYTES + NIXL_DESCRIPTOR_BYTES_MAX || at[0] != DESCRIPTOR_VERSION ||
        bytes_get_u64(at + 8) > UINT64_MAX - bytes || (*place && (*place)->region > region)) {
        return false;
    }
    length -= DESCRIPTOR_HEAD_BYTES;
    remote = malloc(sizeof(*remote) + length);
    if (!remote) {
        nixl_link_break(link, "nixl: no memory");
        return true;
    }
    remote->region = region;
    remote->in_helper = at[1] == 1;
    remote->cuda = at[2] == 1;
    remote->device = bytes_get_u32(at + 4);
    link->gpu = link->gpu || remote->cuda;
    remote->base = bytes_get_u64(at + 8);
    remote->bytes = bytes;
    remote->length = length;
    memcpy(remote->descriptor, at + DESCRIPTOR_HEAD_BYTES, length);
    free(*place);
    *place = remote;
    for (struct port *port = link->ports; port; port = port->next) {
        port->met[region % BATON_POOLS_MAX] =
            NO_REGION; /* it may be another end of the same pool */
    }
    nixl_pump(link);
    return true;
}
