/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NIXL's C library, as far as Baton calls it: functions that are looked up at run time.  Nothing of
 * NIXL is linked or included.  This is no transport: no call here knows a handoff or a window.
 *
 * The library has no header and promises no stable interface.  What stands here was read from the
 * public wrapper of the versions 1.0 to 1.5, and tried with 1.5.1; another major version is
 * refused.
 *
 * Every function below returns a status.  They are lossy: a release that the backend refuses, a
 * peer that died and a transfer that was never posted are all NIXL_BACKEND.  Text and lists that
 * are passed in are copied.  Several threads may use one agent only if its thread_sync says so.
 */
#ifndef BATON_TRANSPORT_NIXL_API_H
#define BATON_TRANSPORT_NIXL_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton.h"

enum nixl_status {
    NIXL_OK = 0,
    NIXL_IN_PROGRESS = 1,
    NIXL_INVALID = -1,   /* also: what the library has checked itself, such as a NULL */
    NIXL_BACKEND = -2,   /* whatever has no number of its own */
    NIXL_STATE = -3,     /* a request is destroyed before it is released */
    NIXL_EXCEPTION = -4, /* never seen */
    NIXL_NOT_FOUND = -6, /* from 1.5 on: nobody knows the peer, or no backend serves it */
};

enum nixl_memory {
    NIXL_DRAM = 0,
    NIXL_VRAM = 1,
};

enum nixl_operation {
    NIXL_READ = 0,
    NIXL_WRITE = 1,
};

enum nixl_sync {
    NIXL_SYNC_NONE = 0,   /* one thread at a time uses the agent */
    NIXL_SYNC_STRICT = 1, /* one lock */
    NIXL_SYNC_RW = 2,
};

/* As the library lays it out. */
struct nixl_agent_config {
    bool progress_thread; /* spins, unless it has a delay */
    bool listen_thread;   /* for metadata over sockets, which Baton carries itself */
    int listen_port;
    int sync; /* enum nixl_sync */
    unsigned workers;
    uint64_t progress_delay_us;
    uint64_t listen_delay_us;
    bool telemetry;
};

/* What belongs to NIXL; never looked into. */
struct nixl_agent;
struct nixl_backend;
struct nixl_params;
struct nixl_hints;    /* optional arguments: which backend, which notification */
struct nixl_regions;  /* a list of memory to register */
struct nixl_spans;    /* a list of memory to move */
struct nixl_prepared; /* spans that a side of a transfer takes by index */
struct nixl_request;  /* a transfer */
struct nixl_notices;  /* notifications by agent */

struct nixl_api {
    char path[4096];  /* of the library that was loaded */
    char version[32]; /* such as "1.5.1"; "" when nothing beside the library tells it */

    /* Whether this is a stand-in without a NIXL behind it.  The only function that such a library
     * does not abort in. */
    bool (*is_stub)(void);

    int (*create_configured_agent)(const char *name, const struct nixl_agent_config *config,
                                   struct nixl_agent **ret_agent);
    int (*destroy_agent)(struct nixl_agent *agent);

    int (*create_params)(struct nixl_params **ret_params);
    int (*params_add)(struct nixl_params *params, const char *key, const char *value);
    int (*destroy_params)(struct nixl_params *params);
    /* `params` may be empty, not NULL.  The backend belongs to the agent; destroy_backend() frees
     * only its handle. */
    int (*create_backend)(struct nixl_agent *agent, const char *name, struct nixl_params *params,
                          struct nixl_backend **ret_backend);
    int (*destroy_backend)(struct nixl_backend *backend);

    int (*create_opt_args)(struct nixl_hints **ret_hints);
    int (*opt_args_add_backend)(struct nixl_hints *hints, struct nixl_backend *backend);
    int (*opt_args_set_notif_msg)(struct nixl_hints *hints, const void *bytes, size_t length);
    int (*opt_args_set_has_notif)(struct nixl_hints *hints, bool has);
    int (*opt_args_get_has_notif)(struct nixl_hints *hints, bool *ret_has);
    int (*opt_args_set_skip_desc_merge)(struct nixl_hints *hints, bool skip);
    int (*destroy_opt_args)(struct nixl_hints *hints);

    int (*create_reg_dlist)(int memory, struct nixl_regions **ret_regions);
    int (*reg_dlist_add_desc)(struct nixl_regions *regions, uintptr_t address, size_t length,
                              uint64_t device, const void *metadata, size_t metadata_length);
    int (*destroy_reg_dlist)(struct nixl_regions *regions);
    int (*register_mem)(struct nixl_agent *agent, struct nixl_regions *regions,
                        struct nixl_hints *hints);
    /* Stops nothing that is under way. */
    int (*deregister_mem)(struct nixl_agent *agent, struct nixl_regions *regions,
                          struct nixl_hints *hints);

    /* `*ret_bytes` and `*ret_name` are the caller's to free(). */
    int (*get_local_md)(struct nixl_agent *agent, void **ret_bytes, size_t *ret_length);
    int (*load_remote_md)(struct nixl_agent *agent, const void *bytes, size_t length,
                          char **ret_name);
    int (*check_remote_md)(struct nixl_agent *agent, const char *name, struct nixl_spans *spans);
    int (*invalidate_remote_md)(struct nixl_agent *agent, const char *name);
    int (*agent_make_connection)(struct nixl_agent *agent, const char *name,
                                 struct nixl_hints *hints);

    int (*create_xfer_dlist)(int memory, struct nixl_spans **ret_spans);
    int (*xfer_dlist_add_desc)(struct nixl_spans *spans, uintptr_t address, size_t length,
                               uint64_t device);
    int (*xfer_dlist_desc_count)(struct nixl_spans *spans, size_t *ret_count);
    int (*destroy_xfer_dlist)(struct nixl_spans *spans);
    /* `name` is the peer's, or NIXL_LOCAL for this agent's own side. */
    int (*prep_xfer_dlist)(struct nixl_agent *agent, const char *name, struct nixl_spans *spans,
                           struct nixl_prepared **ret_prepared, struct nixl_hints *hints);
    /* Frees the handle whatever it returns. */
    int (*release_xfer_dlist_handle)(struct nixl_agent *agent, struct nixl_prepared *prepared);

    int (*make_xfer_req)(struct nixl_agent *agent, int operation, struct nixl_prepared *local,
                         const int *local_indices, size_t local_count, struct nixl_prepared *remote,
                         const int *remote_indices, size_t remote_count,
                         struct nixl_request **ret_request, struct nixl_hints *hints);
    /* NIXL_IN_PROGRESS, or NIXL_OK when it is done already. */
    int (*post_xfer_req)(struct nixl_agent *agent, struct nixl_request *request,
                         struct nixl_hints *hints);
    int (*get_xfer_status)(struct nixl_agent *agent, struct nixl_request *request);
    /* NIXL_OK says nothing about bytes under way.  On another status the request lives on. */
    int (*release_xfer_req)(struct nixl_agent *agent, struct nixl_request *request);
    /* Frees the handle of a released request; NIXL_STATE for another. */
    int (*destroy_xfer_req)(struct nixl_request *request);

    int (*gen_notif)(struct nixl_agent *agent, const char *name, const void *bytes, size_t length,
                     struct nixl_hints *hints);
    int (*create_notif_map)(struct nixl_notices **ret_notices);
    /* Adds what has come to `notices`.  Without a progress thread this, and every other call that
     * reaches the backend, is what moves the bytes. */
    int (*get_notifs)(struct nixl_agent *agent, struct nixl_notices *notices,
                      struct nixl_hints *hints);
    int (*notif_map_size)(struct nixl_notices *notices, size_t *ret_agents);
    /* Names and bytes belong to `notices` until it is cleared. */
    int (*notif_map_get_agent_at)(struct nixl_notices *notices, size_t index,
                                  const char **ret_name);
    int (*notif_map_get_notifs_size)(struct nixl_notices *notices, const char *name,
                                     size_t *ret_count);
    int (*notif_map_get_notif)(struct nixl_notices *notices, const char *name, size_t index,
                               const void **ret_bytes, size_t *ret_length);
    int (*notif_map_clear)(struct nixl_notices *notices);
    int (*destroy_notif_map)(struct nixl_notices *notices);
};

/* The name under which an agent prepares its own side. */
#define NIXL_LOCAL ""

/* The environment variable that names the library's file. */
#define NIXL_LIBRARY_VARIABLE "BATON_NIXL_LIBRARY"

/*
 * Load NIXL's C library: `path`, or what BATON_NIXL_LIBRARY says, or libnixl_capi.so where dlopen()
 * looks.  It is loaded once a process and never unloaded; a later call with the path of another
 * file is refused, because two copies of NIXL bring two copies of UCX.  Any thread.
 *
 * Errors: BATON_ESYSTEM, it can not be loaded; BATON_EINVAL, what was loaded is not NIXL's library,
 * is a stub, lacks a function, is of an unknown version or does not behave; BATON_EBUSY, another
 * NIXL or another UCX is in this process.  Each may be tried again with another path.
 */
BATON_MUST_USE baton_err nixl_api_load(const char *path, const struct nixl_api **ret_api,
                                       struct baton_error *ret_error);

#endif
