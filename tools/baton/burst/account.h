/* SPDX-License-Identifier: Apache-2.0 */
/* The books of a burst: how each request ended, what was counted and measured, and whether all of
 * it is as it must be.  Pure but for the memory of the samples. */
#ifndef BATON_TOOLS_BURST_ACCOUNT_H
#define BATON_TOOLS_BURST_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton.h"
#include "burst/config.h"
#include "burst/fault.h"
#include "burst/plan.h"
#include "burst/proto.h"
#include "percentile.h"

/* How a request ended: exactly one of these. */
enum request_end {
    REQUEST_COMPLETED = 0,
    REQUEST_CANCELLED,
    REQUEST_TIMED_OUT,
    REQUEST_LOST, /* a process that had it died, or the link to it was given up, by a fault */
    REQUEST_FAILED,
    REQUEST_REFUSED,
    REQUEST_ENDS,
};

/* Where the requests stood that were cancelled or timed out. */
enum cancelled_in {
    CANCELLED_IN_QUEUE = 0, /* no fetch was made */
    CANCELLED_IN_OPENING,
    CANCELLED_IN_READING, /* all of reading; those with some but not all bytes are counted again */
    CANCELLED_IN_READING_PARTIAL,
    CANCELLED_IN_COMMITTING,
    CANCELLED_IN_OTHER,
    CANCELLED_INS,
};

/* What both sides said about a request. */
struct request_reports {
    struct request_plan plan;
    uint64_t bytes;
    bool fetched;                /* decode was told to fetch: `sink` counts */
    bool hit;                    /* it was under way at a fault */
    bool source_lost, sink_lost; /* the process that it was with has died: its end is not known */
    struct message_ended source, sink;
};

struct account {
    uint64_t requests; /* issued */
    uint64_t ends[REQUEST_ENDS];
    uint64_t cancelled_in[CANCELLED_INS];
    uint64_t planned[BURST_CAUSES], occurred[BURST_CAUSES];
    uint64_t bytes_completed, bytes_wasted;
    uint64_t verify_errors, wrong_bytes; /* requests with a wrong byte; bytes */
    uint64_t disagreements; /* decode completed what prefill does not have as committed */
    uint64_t untold; /* decode had to be told by the driver that prefill's side was long over */
    uint64_t reused_under_reader;
    uint64_t probes, probes_ok;
    uint64_t probes_ms;
    uint64_t limited; /* refused by decode's own engine: the peer held too much in quarantine */
    uint64_t unproven_blocks; /* of requests whose receipt had not come in the end */
    unsigned faults;
    struct fault fault[BURST_FAULTS];
    uint64_t children_lost;
    double seconds;
    bool stuck;
    bool interrupted;
    struct samples in_flight, cancel_to_quiet_us, source_reclaim_us, bare_wakeup_us;
    struct message_stats prefill, decode;
    bool have_stats;
};

/* The key of an end, and of a place, in the report. */
const char *request_end_name(enum request_end end);
const char *cancelled_in_name(enum cancelled_in place);

enum request_end account_end_of(const struct request_reports *reports);

/* A request is over. */
void account_request(struct account *account, const struct request_reports *reports);
void account_probe(struct account *account, const struct request_reports *reports);

uint64_t account_late_bytes(const struct account *account);
uint64_t account_leaked_blocks(const struct account *account);
uint64_t account_quarantined_blocks(const struct account *account);

/* One thing that must be as it is. */
struct account_check {
    const char *name;
    bool ok;
    double value;
    char wanted[96];
};

enum { ACCOUNT_CHECKS_MAX = 24 };

/* All checks of a run.  Returns how many; the run is ok when each is. */
size_t account_checks(struct account *account, const struct burst_config *config,
                      struct account_check ret_checks[ACCOUNT_CHECKS_MAX]);

void account_fini(struct account *account);

#endif
