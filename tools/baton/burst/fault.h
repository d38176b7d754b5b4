/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The faults of a burst: when one of its processes is stopped or killed, for how long, and what is
 * remembered of each.  Pure: time, and what was seen, come as parameters.  Who carries them out is
 * burst/strike.h.
 */
#ifndef BATON_TOOLS_BURST_FAULT_H
#define BATON_TOOLS_BURST_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "burst/config.h"

/* One fault.  Times are CLOCK_MONOTONIC. */
struct fault {
    uint64_t start_ns;
    uint64_t end_ns;       /* of a stop: SIGCONT, or its end; 0: it is still stopped */
    bool died;             /* a stopped one was ended by the other side (on_doubt) */
    uint64_t under_way;    /* fetches at that moment */
    uint64_t moving;       /* of them, those with some but not all bytes */
    uint64_t doubts_first; /* of the other side, before it */
    uint64_t quarantined;  /* the most blocks at the other side that it is the reason of */
    uint64_t held_ns;      /* when there were still such blocks; 0: never seen */
};

/* Is it time for fault number `made`?  By time or, where the burst is of so many requests, by how
 * many were issued. */
bool fault_due(const struct burst_config *config, unsigned made, uint64_t elapsed_ms,
               uint64_t issued);

/* Of a fault that is due for `waited_ms`: now?  It is to hit a transfer, and does not wait for ever
 * to do so. */
bool fault_aimed(uint64_t moving, uint64_t waited_ms);

/* Has the peer been stopped for long enough, with `doubts` told by the other side's engine? */
bool fault_seen(const struct burst_config *config, const struct fault *fault, uint64_t now_ns,
                uint64_t doubts);

/* The other side has `blocks` in quarantine, the oldest since `since_ns`: remember that with the
 * fault that they are there for, which may be none. */
void fault_sample(struct fault *faults, unsigned count, uint64_t now_ns, uint64_t blocks,
                  uint64_t since_ns);

/* From the end of the fault until nothing was in quarantine because of it any more. */
uint64_t fault_quarantine_us(const struct fault *fault);

/*
 * Whether blocks can stay in quarantine for ever: the source that died pushed by a helper of its
 * own, which decode can not watch, and `lanes_own` is false: the lanes let that helper store by
 * itself.
 */
bool fault_unproven(const struct burst_config *config, bool lanes_own);

/* Whether requests may end by the loss of the link to the peer. */
bool fault_loses(const struct burst_config *config);

#endif
