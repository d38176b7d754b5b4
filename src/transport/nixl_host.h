/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a NIXL worker runs: a thread of this process, or a helper process.  Messages go to it and
 * come from it; see nixl_worker.h.  All functions are for the driving thread, none waits but
 * nixl_host_destroy().
 */
#ifndef BATON_TRANSPORT_NIXL_HOST_H
#define BATON_TRANSPORT_NIXL_HOST_H

#include <stdbool.h>
#include <stddef.h>

#include "transport/nixl_worker.h"
#include "transport/transport.h"

struct nixl_host;

struct nixl_host_user {
    void *arg;
    void (*message)(void *arg, const struct nixl_message *message, const unsigned char *bytes,
                    size_t length);
    /* A helper has ended and was reaped: of all that it did nothing goes on.  The host is the
     * callee's to destroy, also within. */
    void (*ended)(void *arg, struct nixl_host *host, const char *why);
};

/* Loads NIXL into this process, unless it is.  Errors: those of nixl_api_load(), BATON_ENOMEM,
 * BATON_ESYSTEM. */
baton_err nixl_host_thread(const struct transport_host *upcalls, const struct nixl_host_user *user,
                           struct nixl_host **ret_host, struct baton_error *ret_error);

/* Starts `path`, which loads NIXL: if it can not, it ends, and the log says why. */
baton_err nixl_host_helper(const struct transport_host *upcalls, const struct nixl_host_user *user,
                           const char *path, struct nixl_host **ret_host,
                           struct baton_error *ret_error);

/* Waits until the helper, which is `path`, has said that it has NIXL.  Errors: BATON_ESYSTEM, with
 * its own words. */
baton_err nixl_host_greeted(struct nixl_host *host, const char *path,
                            struct baton_error *ret_error);

/* Whose messages and end these are from now on. */
void nixl_host_use(struct nixl_host *host, const struct nixl_host_user *user);

bool nixl_host_in_helper(const struct nixl_host *host);
/* A pidfd of the helper, borrowed; -1: it is a thread, or has ended. */
int nixl_host_process(const struct nixl_host *host);

/* `fd` is borrowed; -1: none.  False: no memory, and nothing was sent. */
bool nixl_host_send(struct nixl_host *host, const struct nixl_message *message, const void *bytes,
                    size_t length, int fd);

/* A helper is to end: in order, or at once.  `ended` tells. */
void nixl_host_leave(struct nixl_host *host);
void nixl_host_kill(struct nixl_host *host);

/* Ends it and waits for that; NULL is allowed. */
void nixl_host_destroy(struct nixl_host *host);

#endif
