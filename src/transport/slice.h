/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying one slice of a window of the shm transport: the only code of that transport that writes
 * to the sink's blocks.  Runs on a mover, or on the driving thread when there are no movers.
 */
#ifndef BATON_TRANSPORT_SLICE_H
#define BATON_TRANSPORT_SLICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "transport/transport.h"

/*
 * Copy the next slice, at most `slice_bytes` (> 0), unless `*window->stop` or `*abort` is true.
 * Returns true when there is more to copy.  Otherwise `window->status` is set, nothing was started
 * that has not ended, and the window must not be copied any more.
 */
bool slice_copy(struct transport_window *window, uint32_t slice_bytes, const atomic_bool *abort);

/* Whether the process behind `pidfd` has ended; also true when that can not be told. */
bool slice_peer_gone(int pidfd);

#endif
