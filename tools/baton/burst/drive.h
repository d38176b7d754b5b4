/* SPDX-License-Identifier: Apache-2.0 */
/* The state of the burst's driver, for the files that it is made of: its phases are driver.c, the
 * requests and messages drive.c, the faults strike.c. */
#ifndef BATON_TOOLS_BURST_DRIVE_H
#define BATON_TOOLS_BURST_DRIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "burst/account.h"
#include "burst/children.h"
#include "burst/config.h"
#include "burst/driver.h"
#include "burst/load.h"
#include "burst/proto.h"
#include "burst/reuse.h"

#define NS_PER_MS UINT64_C(1000000)

struct driver;

enum { TROUBLES_SHOWN = 10 };

/* How long decode may go on with a request whose offer has ended. */
uint64_t drive_patience_ns(const struct driver *driver);

/* One request under way. */
struct request {
    bool active, probe;
    bool offered, source_ended, sink_ended;
    bool doubted; /* its outcome at decode is known, its receipt is late */
    bool orphan;  /* the process of prefill that had it has died */
    bool shelved; /* accounted for, while decode still waits for a proof; it keeps its slot */
    uint64_t source_ended_ns;
    uint64_t prod_ns; /* decode was told by us that it is over; 0: it was not */
    uint64_t id;
    uint32_t slot;
    uint32_t blocks;
    struct message_ticket ticket;
    struct request_reports reports;
};

struct driver {
    const struct burst_config *config;
    const struct load *load;
    struct account *account;
    void (*on_progress)(const struct burst_progress *progress);
    struct child prefill, decode;
    bool prefill_ready, decode_ready, prefill_reported, decode_reported;
    struct request *requests; /* by slot */
    uint32_t *free_slots;     /* a ring: a slot rests before it is used again */
    size_t slots, free_first, free_count;
    uint64_t issued, next_id, active, offered, shelved;
    struct reuse *reuse;
    uint64_t start_ns, sample_ns, progress_ns, moved_ns;
    uint64_t fault_due_ns;   /* since when a fault is due; 0: none is */
    uint64_t fault_after_ns; /* the end of the last one */
    bool sampling, bursting, probing;
    bool stopped; /* the peer that faults hit is stopped */
    unsigned revived;
    unsigned troubles;
    bool fatal;
};

/* A request of `blocks` blocks begins. */
void drive_issue(struct driver *driver, uint64_t blocks, const struct request_plan *plan);
/* The next one of the load. */
void drive_issue_from_load(struct driver *driver);

void drive_tell(struct child *child, enum message_kind kind, const struct request *request);
/* The request has ended at both sides, or where it has not it never will. */
void drive_over(struct driver *driver, struct request *request);
/* The same of one whose outcome at decode is known, with a receipt that may never come. */
void drive_shelve(struct driver *driver, struct request *request);
/* Deals with all messages that are there. */
void drive_receive(struct driver *driver, struct child *child);
/* A process of `child`'s role, with the configuration sent to it.  False: the reason was printed.
 */
bool drive_start(struct driver *driver, struct child *child, const char *name);

#endif
