/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets: where they are, and what tickets say of them. */
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LISTEN_BACKLOG = 1024,
};

/* A path on which nobody listens any more is left over from a process that died. */
static bool is_stale(const struct sockaddr *address, unsigned length)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool refused;

    if (fd < 0) {
        return false;
    }
    refused = connect(fd, address, length) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static int bind_to(int fd, const struct endpoint *e, const struct sockaddr *address,
                   unsigned length)
{
    int failed = bind(fd, address, length);

    if (failed && errno == EADDRINUSE && e->is_unix && e->text[0] == '/' &&
        is_stale(address, length)) {
        unlink(e->text);
        failed = bind(fd, address, length);
    }
    if (!failed && e->is_unix && e->text[0] == '/') {
        chmod(e->text, S_IRUSR | S_IWUSR);
    }
    return failed;
}

baton_err listener_open(struct listener *listener, baton_engine *engine, const char *text,
                        void (*ready)(struct transport_fd *, unsigned),
                        struct baton_error *ret_error)
{
    struct sockaddr_storage address;
    struct endpoint e;
    const int one = 1;
    unsigned length;
    bool wildcard;
    int fd;
    baton_err err = endpoint_parse(text, &e, ret_error);

    if (err) {
        return err;
    }
    endpoint_address(&e, &address, &length, &wildcard);
    if (wildcard && !engine->options.allow_wildcard) {
        return error_set(ret_error, BATON_EADDRESS,
                         "\"%s\" would listen on every address of this host: name one, or set "
                         "allow_wildcard",
                         text);
    }
    fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return error_system(ret_error, errno, "socket for %s", text);
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind_to(fd, &e, (struct sockaddr *)&address, length) != 0 ||
        listen(fd, LISTEN_BACKLOG) != 0) {
        err = error_set(ret_error, BATON_EADDRESS, "can not listen on %s: %s", text,
                        errno == EADDRINUSE ? "it is in use" : strerrorname_np(errno));
        close(fd);
        return err;
    }
    *listener = (struct listener){.watch = {.fd = fd, .ready = ready},
                                  .engine = engine,
                                  .is_unix = e.is_unix,
                                  .unlink_path = e.is_unix && e.text[0] == '/'};
    memcpy(listener->endpoint, text, strlen(text) + 1);
    if (!e.is_unix) {
        endpoint_format(fd, false, listener->endpoint);
    }
    if (!loop_watch(engine, &listener->watch, EPOLLIN)) {
        err = error_system(ret_error, errno, "epoll_ctl");
        listener_close(listener);
    }
    return err;
}

void listener_close(struct listener *listener)
{
    if (listener->watch.fd < 0) {
        return;
    }
    loop_unwatch(listener->engine, &listener->watch);
    /* A forked child may hold it too: nobody must be able to connect to it any more. */
    shutdown(listener->watch.fd, SHUT_RDWR);
    close(listener->watch.fd);
    listener->watch.fd = -1;
    if (listener->unlink_path) {
        unlink(listener->endpoint + 5); /* behind "unix:" */
    }
}

int listener_accept(struct listener *listener)
{
    int fd = accept4(listener->watch.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
        listener_pause(listener);
    }
    return fd;
}

void listener_pause(struct listener *listener)
{
    if (!listener->paused) {
        listener->paused = true;
        loop_rewatch(listener->engine, &listener->watch, 0);
    }
}

void listener_resume(struct listener *listener)
{
    if (listener->paused) {
        listener->paused = false;
        loop_rewatch(listener->engine, &listener->watch, EPOLLIN);
    }
}

static bool is_wildcard(const char *text)
{
    struct sockaddr_storage address;
    struct endpoint e;
    unsigned length;
    bool wildcard = false;

    return endpoint_parse(text, &e, NULL) == BATON_OK &&
           endpoint_address(&e, &address, &length, &wildcard) && wildcard;
}

/* What tickets say: the option, else what is listened on. */
static baton_err advertise(baton_engine *engine, struct baton_error *ret_error)
{
    const struct baton_engine_options *o = &engine->options;
    struct ticket trial = {.block_bytes = 8, .block_count = 1};

    engine->advertised = o->advertise_count ? (unsigned)o->advertise_count : engine->listeners;
    for (unsigned i = 0; i < engine->advertised; i++) {
        const char *text = o->advertise_count ? o->advertise[i] : engine->listener[i].endpoint;
        struct endpoint e;
        baton_err err = endpoint_parse(text, &e, ret_error);

        if (err) {
            return err;
        }
        if (is_wildcard(text)) {
            return error_set(ret_error, BATON_EADDRESS,
                             "tickets would say %s, where nobody can be reached: set advertise",
                             text);
        }
        memcpy(engine->advertise[i], text, strlen(text) + 1);
    }
    trial.endpoint_count = engine->advertised;
    memcpy(trial.endpoint, engine->advertise, sizeof(trial.endpoint));
    if (ticket_encode(&trial, (uint8_t[BATON_TICKET_BYTES_MAX]){0}) == 0) {
        return error_set(ret_error, BATON_EADDRESS,
                         "the %u endpoints together are too long for a ticket of %d bytes",
                         engine->advertised, BATON_TICKET_BYTES_MAX);
    }
    return BATON_OK;
}

baton_err listen_all(baton_engine *engine, void (*ready)(struct transport_fd *, unsigned),
                     struct baton_error *ret_error)
{
    char name[BATON_ENDPOINT_BYTES_MAX] = "unix:@baton-";
    const char *const defaults[] = {name, "tcp:127.0.0.1:0"};
    const struct baton_engine_options *o = &engine->options;
    unsigned count = o->listen_count ? (unsigned)o->listen_count : 2;

    for (unsigned i = 0; i < ID_BYTES; i++) {
        snprintf(name + 12 + 2 * i, 3, "%02x", engine->incarnation[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        baton_err err =
            listener_open(&engine->listener[i], engine,
                          o->listen_count ? o->listen[i] : defaults[i], ready, ret_error);

        if (err) {
            return err;
        }
        engine->listeners++;
    }
    return advertise(engine, ret_error);
}
