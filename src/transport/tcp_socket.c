/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and sockets of bulk connections.  Nothing here waits. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "transport/tcp.h"
#include "util/assert.h"
#include "util/error.h"

/* Splits "ADDRESS:PORT" or "[ADDRESS]:PORT" in place. */
static bool split(char *text, char **ret_host, char **ret_port)
{
    char *colon = strrchr(text, ':');

    if (!colon || colon == text || !colon[1]) {
        return false;
    }
    *colon = '\0';
    *ret_port = colon + 1;
    *ret_host = text;
    if (text[0] == '[') {
        if (colon[-1] != ']') {
            return false;
        }
        colon[-1] = '\0';
        *ret_host = text + 1;
    }
    return true;
}

baton_err tcp_address_parse(const char *text, struct sockaddr_storage *ret_address,
                            socklen_t *ret_length, struct baton_error *ret_error)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char copy[TCP_ADDRESS_BYTES_MAX];
    char *host, *port;

    if (!text) {
        return error_set(ret_error, BATON_EADDRESS, "the peer has no TCP address for bulk data");
    }
    if (strlen(text) >= sizeof copy) {
        return error_set(ret_error, BATON_EADDRESS, "the TCP address is longer than %zu bytes",
                         sizeof copy - 1);
    }
    memcpy(copy, text, strlen(text) + 1);
    if (!split(copy, &host, &port) || getaddrinfo(host, port, &hints, &found)) {
        return error_set(ret_error, BATON_EADDRESS,
                         "\"%s\" is not a numeric address and a port, such as 127.0.0.1:7000",
                         text);
    }
    BATON_ASSERT(found->ai_addrlen <= sizeof *ret_address);
    memset(ret_address, 0, sizeof *ret_address);
    memcpy(ret_address, found->ai_addr, found->ai_addrlen);
    *ret_length = found->ai_addrlen;
    freeaddrinfo(found);
    return BATON_OK;
}

/* Failure of these only makes the connection slower. */
static void tune(int fd)
{
    int on = 1, size = TCP_SOCKET_BUFFER_BYTES;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

baton_err tcp_socket_prepare(int fd, struct baton_error *ret_error)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) || fcntl(fd, F_SETFD, FD_CLOEXEC)) {
        return error_system(ret_error, errno, "bulk connection: fcntl");
    }
    tune(fd);
    return BATON_OK;
}

baton_err tcp_dial(const struct tcp_sink *sink, int *ret_fd, bool *ret_connected,
                   struct baton_error *ret_error)
{
    int fd = socket(sink->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool connected;
    baton_err err;

    if (fd < 0) {
        return error_system(ret_error, errno, "bulk connection to %s: socket", sink->address_text);
    }
    tune(fd);
    connected = !connect(fd, (const struct sockaddr *)&sink->address, sink->address_length);
    /* An interrupted connect goes on, as one in progress does. */
    if (!connected && errno != EINPROGRESS && errno != EINTR) {
        err = error_system(ret_error, errno, "bulk connection to %s: connect", sink->address_text);
        close(fd);
        return err;
    }
    *ret_fd = fd;
    *ret_connected = connected;
    return BATON_OK;
}
