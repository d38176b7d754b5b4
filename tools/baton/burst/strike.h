/* SPDX-License-Identifier: Apache-2.0 */
/* Carries out the faults of a burst: stops, kills and restarts one of the two processes, and ends
 * the requests that were with one that died. */
#ifndef BATON_TOOLS_BURST_STRIKE_H
#define BATON_TOOLS_BURST_STRIKE_H

#include "burst/drive.h"

/* Now and then, before the channels are looked at: what is due.  False: the burst can not go on. */
bool strike_tick(struct driver *driver);

/* Nobody stays stopped. */
void strike_end(struct driver *driver);

/* A request is issued now: may the fault end it? */
bool strike_hits(const struct driver *driver);

#endif
