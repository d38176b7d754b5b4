/* SPDX-License-Identifier: Apache-2.0 */
/* The two processes that the burst's driver starts: this very program again, as `baton burst --role
 * NAME`, with one end of a socket pair. */
#ifndef BATON_TOOLS_BURST_CHILDREN_H
#define BATON_TOOLS_BURST_CHILDREN_H

#include <stdbool.h>
#include <sys/types.h>

#include "burst/proto.h"

struct child {
    const char *name;
    pid_t pid; /* 0: not running */
    struct channel channel;
};

/* False: the reason was printed. */
bool child_start(struct child *child, const char *name);

/* Close the channel, which tells the process to leave, and wait for its end.  True: it left in
 * order. Else how it ended was printed. */
bool child_finish(struct child *child);

#endif
