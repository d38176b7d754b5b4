/* SPDX-License-Identifier: Apache-2.0 */
/* The two processes that the burst's driver starts: this very program again, as `baton burst --role
 * NAME`, with one end of a socket pair. */
#ifndef BATON_TOOLS_BURST_CHILDREN_H
#define BATON_TOOLS_BURST_CHILDREN_H

#include <stdbool.h>
#include <sys/types.h>

#include "burst/board.h"
#include "burst/proto.h"

struct child {
    const char *name;
    pid_t pid; /* 0: not running */
    struct channel channel;
    struct board *board; /* what it shows; NULL before it was started */
};

/* False: the reason was printed. */
bool child_start(struct child *child, const char *name);

/* Stop the process, and wait until it is.  False: it has ended instead; its end was taken. */
bool child_stop(struct child *child);
void child_continue(const struct child *child);

/* End the process by SIGKILL, unless it has ended already, and take its end.  The channel stays:
 * what it had said is still to be read.  Returns the signal that it ended by; 0: by none. */
int child_kill(struct child *child);

/* Of one that was killed: forget its channel and its board. */
void child_forget(struct child *child);

/* Close the channel, which tells the process to leave, and wait for its end.  True: it left in
 * order. Else how it ended was printed. */
bool child_finish(struct child *child);

#endif
