/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator: whole clusters in one thread and in virtual time, driving the unmodified core,
 * pool and wire.  One seed decides everything.  This is what tools and tests see of it; it does no
 * I/O but in campaign.c, reads no clock but there, and allocates only in sim_create().
 */
#ifndef BATON_SIM_SIM_H
#define BATON_SIM_SIM_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* What can be done to a cluster.  Each is counted when it really happened. */
enum sim_fault {
    SIM_CANCEL_FETCH,   /* the sink cancels its attempt */
    SIM_CANCEL_REQUEST, /* the sink cancels the whole offer */
    SIM_CANCEL_OFFER,   /* the source cancels */
    SIM_CANCEL_BOTH,    /* both, at about the same time */
    SIM_CANCEL_LATE,    /* after the outcome, or a second time */
    SIM_PAUSE,
    SIM_PAUSE_LONG, /* longer than every clock */
    SIM_CRASH,
    SIM_RESTART,      /* at the same address, some time after the crash */
    SIM_RESTART_FAST, /* before any peer can have noticed */
    SIM_BREAK,        /* a connection, at any byte */
    SIM_HALF_OPEN,    /* one end vanishes, and nobody says so */
    SIM_CUT,          /* one direction between two nodes, for a while */
    SIM_CLOG,         /* all that comes to a node, released in another order of connections */
    SIM_STALL,        /* control frames pass, bulk bytes do not */
    SIM_REDIAL,       /* the sink loses a link, and the source has not noticed when it dials anew */
    SIM_DELAY,        /* one message takes long */
    SIM_SPLIT,        /* a frame arrives in two parts */
    SIM_DUPLICATE,    /* a frame is applied twice */
    SIM_FORGED,       /* a frame of nobody, or of another attempt */
    SIM_JUMP_FORWARD,
    SIM_JUMP_BACKWARD,
    SIM_SKEW,      /* a clock that runs fast or slow */
    SIM_NO_LINK,   /* no memory for a bulk connection */
    SIM_NO_SERVE,  /* no memory to serve a read */
    SIM_NO_FRAME,  /* no memory to write a frame */
    SIM_READ_FAIL, /* the source's memory can not be read */
    SIM_MISFIT,    /* layouts that do not fit */
    SIM_WRONG_SECRET,
    SIM_STALE_TICKET, /* of an earlier life of the source */
    SIM_RECEIPT_TWICE,
    SIM_RECEIPT_FORGED,
    SIM_STOLEN_BLOCK, /* a block in use is freed, or lent again */
    SIM_EARLY_COMMIT, /* a sink that lies: it commits before it can have read all */
    SIM_REPLAY,       /* the OPEN of a lease that is over comes again */
    SIM_GREEDY_READ,  /* a sink asks for bytes that are not there yet */
    SIM_LATE_ADVANCE, /* a watermark that is too low, or of an offer that is over */
    SIM_NEAR_WRAP,    /* a life whose numbers begin just below the end of so many bits */
    SIM_FEW_PEERS,    /* a life that remembers the dial numbers of few incarnations */
    SIM_LATE_PIECE, /* a piece that was written lands much later, also long after its source died */
    SIM_WRITE_FAIL, /* a source can not write */
    SIM_GREEDY_GRANT,  /* a sink grants what is not there yet, or out of order */
    SIM_FALSE_WRITTEN, /* a source says that it wrote what it was not granted */
    SIM_LEAVE,         /* an engine ends in order, in a process that lives on */
    SIM_FAULTS,
};

/* How the fetches became quiet that a card of their source wrote to, or may have written to. */
enum sim_end {
    SIM_WRITTEN,  /* all that was granted was said to have landed */
    SIM_QUIESCED, /* the source said so, asked or not */
    SIM_FENCED,   /* the sink closed its way in */
    SIM_EXITED,   /* the source's process had ended, and the card was of it */
    SIM_NEVER,    /* the source is dead or unreachable, and nothing is known: in quarantine */
    SIM_ENDS,
};

const char *sim_fault_name(enum sim_fault fault);
/* SIM_FAULTS: there is no such fault. */
enum sim_fault sim_fault_find(const char *name);

/* Where a run is to begin, and what is to be left out of it (for shrinking). */
enum { SIM_SKIPS_MAX = 64 };

struct sim_plan {
    uint64_t seed;
    const char *world; /* a name of sim_world_name(); NULL: any */
    uint64_t without;  /* bit set of faults that never happen */
    unsigned handoffs; /* at most so many offers; 0: as drawn */
    unsigned skips;    /* faults that are left out, by their number in the run */
    uint32_t skip[SIM_SKIPS_MAX];
    bool break_landing; /* tests: a byte lands after its receipt, and a checker must see it */
    bool break_proof;   /* tests: the death of a source is taken for a proof, and is none */
};

enum { SIM_CHECKER_BYTES = 64, SIM_TEXT_BYTES = 320 };

struct sim_result {
    uint64_t seed, hash;
    uint64_t events, steps; /* of the world; of all cores */
    uint64_t fired[SIM_FAULTS];
    uint64_t ends[SIM_ENDS];
    uint64_t faults; /* all of them, also those left out: the numbers for skip[] */
    uint64_t offers, fetches, completed, frames, pieces, receipts;
    bool struck; /* a fault or cancel came while a handoff was READING or COMMITTING */
    bool deep;   /* core_check() and pool_check() ran every 64 events, frames were doubled */
    bool forked; /* S20: a node was killed at a random event of a copy of the world */
    bool failed;
    char checker[SIM_CHECKER_BYTES]; /* failed: which one, or "panic" */
    char text[SIM_TEXT_BYTES];
};

struct sim;

/* NULL: no memory. */
struct sim *sim_create(void);
void sim_destroy(struct sim *sim);
/* One seed, from nothing to the end.  Not to be called on two threads at once: it catches panics.
 */
void sim_run(struct sim *sim, const struct sim_plan *plan, struct sim_result *ret_result);
/* Of the last run. */
void sim_print_options(const struct sim *sim, FILE *file);
void sim_print_chart(const struct sim *sim, unsigned lines, FILE *file);
void sim_print_chart_json(const struct sim *sim, unsigned lines, FILE *file);

/* The n-th world; NULL past the last. */
const char *sim_world_name(unsigned n);
const char *sim_world_text(unsigned n);

/* The invariants that no checker looks at, with the reason; NULL past the last. */
const char *sim_not_checked(unsigned n, const char **ret_why);

/* ---- campaign.c ---- */

struct sim_campaign {
    struct sim_plan plan; /* of each seed, but for its seed */
    uint64_t first, last;
    unsigned minutes; /* 0: until the last seed */
    bool shrink;
    bool quiet;                               /* no progress line */
    const char *json_path;                    /* NULL: none */
    const volatile sig_atomic_t *interrupted; /* set by a signal: no further seed; NULL: never */
};

struct sim_totals {
    uint64_t seeds, violations, struck, deep, forked;
    uint64_t events, steps, fired[SIM_FAULTS], ends[SIM_ENDS];
    uint64_t offers, fetches, completed, frames, pieces, receipts;
    uint64_t hash; /* of the hashes of all runs */
    double seconds;
};

/* Returns an exit code of the command: 0, 1 when there was a violation, 3 without memory or when
 * the file can not be written. */
int sim_campaign_run(const struct sim_campaign *campaign, struct sim_totals *ret_totals);

#endif
