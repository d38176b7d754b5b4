/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lanes that NIXL's library may use, as UCX calls them in UCX_TLS, such as "tcp", "shm" (the
 * copies of process_vm_readv with it) or "posix" (queues in shared memory).  The library reads its
 * environment once, so this comes before it is loaded.
 */
#ifndef BATON_TOOLS_LANES_H
#define BATON_TOOLS_LANES_H

#include <stdbool.h>

#include "options.h"

enum { LANES_BYTES = 64 };

/* A value of --lanes.  False: its message is printed. */
bool lanes_read(struct option_place place, const char *text, char ret_lanes[LANES_BYTES]);

/*
 * Set this process's environment, which children inherit: `lanes`, or where that is empty what
 * UCX_TLS says, or tcp; and unless they are set already UCX's modules and how much it logs. Returns
 * the lanes, which live as long as the environment stays as it is.
 */
const char *lanes_set(const char *lanes);

/* Whether all of them stay on this host: UCX has no way there to tell that a peer died, and NIXL
 * wants to be told so. */
bool lanes_on_host(const char *lanes);

/* Whether with all of them only the process that owns memory stores into it: what a peer sends, its
 * own library puts there. */
bool lanes_own(const char *lanes);

/*
 * Leave a process that may have loaded NIXL: the destructors of some of the libraries that it
 * brings crash at a normal exit.
 */
_Noreturn void lanes_exit(int code);

#endif
