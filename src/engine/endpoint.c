/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints: "unix:/path", "unix:@name", "tcp:ADDRESS:PORT", and the sockets that they name. */
#include "engine/engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

const char *endpoint_of(const struct ticket *ticket, const char *kind)
{
    size_t length = strlen(kind);

    for (unsigned i = 0; i < ticket->endpoint_count; i++) {
        if (strncmp(ticket->endpoint[i], kind, length) == 0) {
            return ticket->endpoint[i] + length;
        }
    }
    return NULL;
}

baton_err endpoint_parse(const char *text, struct endpoint *ret_endpoint,
                         struct baton_error *ret_error)
{
    const char *rest;
    size_t length = text ? strnlen(text, BATON_ENDPOINT_BYTES_MAX) : 0;
    struct sockaddr_storage address;
    struct endpoint e = {0};
    unsigned ignored;
    bool wildcard;

    if (length == 0 || length == BATON_ENDPOINT_BYTES_MAX) {
        return error_set(ret_error, BATON_EADDRESS, "an endpoint has 1 to %d characters",
                         BATON_ENDPOINT_BYTES_MAX - 1);
    }
    if (strncmp(text, "unix:", 5) == 0) {
        e.is_unix = true;
        rest = text + 5;
    } else if (strncmp(text, "tcp:", 4) == 0) {
        rest = text + 4;
    } else {
        return error_set(ret_error, BATON_EADDRESS,
                         "\"%s\" is no endpoint: write unix:/path, unix:@name or tcp:ADDRESS:PORT",
                         text);
    }
    memcpy(e.text, rest, strlen(rest) + 1);
    if (!endpoint_address(&e, &address, &ignored, &wildcard)) {
        return error_set(ret_error, BATON_EADDRESS,
                         e.is_unix ? "\"%s\": a Unix endpoint is an absolute path or @name"
                                   : "\"%s\": write tcp:1.2.3.4:PORT or tcp:[v6]:PORT, PORT 0 to "
                                     "65535; names are not resolved",
                         text);
    }
    *ret_endpoint = e;
    return BATON_OK;
}

static bool unix_address(const char *text, struct sockaddr_un *ret_address, unsigned *ret_length)
{
    size_t length = strlen(text);

    if ((text[0] != '/' && text[0] != '@') || length < 2 ||
        length >= sizeof(ret_address->sun_path)) {
        return false;
    }
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_address->sun_path, text, length);
    if (text[0] == '@') {
        ret_address->sun_path[0] = '\0'; /* abstract: the name ends with the length */
        *ret_length = (unsigned)(offsetof(struct sockaddr_un, sun_path) + length);
    } else {
        *ret_length = sizeof(*ret_address);
    }
    return true;
}

static bool tcp_port(const char *text, uint16_t *ret_port)
{
    char *end;
    long port = strtol(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end || port > 65535) {
        return false;
    }
    *ret_port = htons((uint16_t)port);
    return true;
}

static bool tcp4_address(char *host, const char *port, void *ret_address, unsigned *ret_length,
                         bool *ret_wildcard)
{
    struct sockaddr_in a = {.sin_family = AF_INET};

    if (inet_pton(AF_INET, host, &a.sin_addr) != 1 || !tcp_port(port, &a.sin_port)) {
        return false;
    }
    memcpy(ret_address, &a, sizeof(a));
    *ret_length = sizeof(a);
    *ret_wildcard = a.sin_addr.s_addr == htonl(INADDR_ANY);
    return true;
}

static bool tcp6_address(char *host, const char *port, void *ret_address, unsigned *ret_length,
                         bool *ret_wildcard)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6};
    size_t length = strlen(host);

    if (length < 2 || host[length - 1] != ']') {
        return false;
    }
    host[length - 1] = '\0';
    if (inet_pton(AF_INET6, host + 1, &a.sin6_addr) != 1 || !tcp_port(port, &a.sin6_port)) {
        return false;
    }
    memcpy(ret_address, &a, sizeof(a));
    *ret_length = sizeof(a);
    *ret_wildcard = IN6_IS_ADDR_UNSPECIFIED(&a.sin6_addr);
    return true;
}

bool endpoint_address(const struct endpoint *e, void *ret_address, unsigned *ret_length,
                      bool *ret_wildcard)
{
    char host[BATON_ENDPOINT_BYTES_MAX];
    char *colon;

    *ret_wildcard = false;
    if (e->is_unix) {
        struct sockaddr_un a;

        if (!unix_address(e->text, &a, ret_length)) {
            return false;
        }
        memcpy(ret_address, &a, sizeof(a));
        return true;
    }
    memcpy(host, e->text, sizeof(host));
    colon = strrchr(host, ':');
    if (!colon) {
        return false;
    }
    *colon = '\0';
    return host[0] == '[' ? tcp6_address(host, colon + 1, ret_address, ret_length, ret_wildcard)
                          : tcp4_address(host, colon + 1, ret_address, ret_length, ret_wildcard);
}

void endpoint_format(int fd, bool is_unix, char *ret_text)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof(address);
    char host[INET6_ADDRSTRLEN] = "?";

    ret_text[0] = '\0';
    if (is_unix || getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        return;
    }
    if (address.ss_family == AF_INET6) {
        struct sockaddr_in6 a;

        memcpy(&a, &address, sizeof(a));
        inet_ntop(AF_INET6, &a.sin6_addr, host, sizeof(host));
        snprintf(ret_text, BATON_ENDPOINT_BYTES_MAX, "tcp:[%s]:%u", host, ntohs(a.sin6_port));
    } else {
        struct sockaddr_in a;

        memcpy(&a, &address, sizeof(a));
        inet_ntop(AF_INET, &a.sin_addr, host, sizeof(host));
        snprintf(ret_text, BATON_ENDPOINT_BYTES_MAX, "tcp:%s:%u", host, ntohs(a.sin_port));
    }
}
