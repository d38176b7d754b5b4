/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protocol: offers, fetches, links.  Events and the time go in, actions come out; no I/O, no
 * clock, no malloc, and no pointers in the state, which is one relocatable piece of memory.  The
 * engine, the simulator and the fuzzers drive this same object.
 *
 * Handoffs and links are named by index.  Their indices and ids are chosen by the driver: an id is
 * 64 bits, never used twice, and carries its index in its low CORE_INDEX_BITS bits, so that a
 * peer's id is looked up without a search.
 */
#ifndef BATON_CORE_CORE_H
#define BATON_CORE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton.h"
#include "wire/frame.h"

enum {
    CORE_INDEX_BITS = 20,
    CORE_ACTIONS_MAX = 64,
    CORE_FETCH_WINDOWS_MAX = 8, /* upper limit of windows_per_fetch */
    CORE_NONE = -1,             /* no index */
};

#define CORE_NO_LINK UINT32_MAX
#define CORE_NEVER UINT64_MAX /* a time that does not come */

struct core;

struct core_limits {
    uint32_t offers;
    uint32_t fetches;
    uint32_t links;
    uint32_t slots;    /* reader slots an offer, at most BATON_READERS_MAX */
    uint32_t attempts; /* leases an offer */
    uint32_t replies;  /* answers without a record that a link can hold, at least 2 */
    uint32_t windows;  /* under way at once; a link's first may be one more */
    uint32_t windows_per_fetch;
    uint64_t window_bytes;
    uint64_t inflight_bytes; /* of all windows under way, but for a link's first */
    uint64_t link_timeout_us;
    uint64_t doubt_us;
    uint64_t first_attempt; /* the first lease's number; 1 but in tests */
};

size_t core_state_bytes(const struct core_limits *limits);
/* `memory` has core_state_bytes(limits) bytes and is aligned for uint64_t. */
struct core *core_init(void *memory, const struct core_limits *limits);

/* ---- events ---- */

enum core_side {
    CORE_OFFER = 0,
    CORE_FETCH,
};

enum core_event_type {
    CORE_EVENT_OFFER = 1,
    CORE_EVENT_ADVANCE,
    CORE_EVENT_FETCH,
    CORE_EVENT_CANCEL,
    CORE_EVENT_DIAL,    /* sink: a connection to `incarnation` is being made */
    CORE_EVENT_LINK_UP, /* sink: it stands, WELCOME was received */
    CORE_EVENT_HELLO,   /* source: a peer dialled; answered by LINK_UP or LINK_REFUSED */
    CORE_EVENT_LINK_LOST,
    CORE_EVENT_LINK_ROOM, /* the link can take a frame; answered by FRAME, or by nothing when all is
                             said */
    CORE_EVENT_HEARD,     /* bytes came from the link's peer */
    CORE_EVENT_FRAME,
    CORE_EVENT_COPIED, /* a window that ACTION_COPY started is over */
    CORE_EVENT_PROOF,  /* sink: the source of that fetch can write no more, whatever it does */
    CORE_EVENT_READ,   /* source: a peer asks for bytes; answered by SERVE or SERVE_REFUSE */
    CORE_EVENT_SERVED, /* what ACTION_SERVE started is over */
    CORE_EVENT_TICK,   /* time passes; every event does that, too */
};

enum core_copied {
    CORE_COPIED_OK = 0,
    CORE_COPIED_ABORTED,
    CORE_COPIED_FAILED,
    CORE_COPIED_PEER_DEAD,
};

struct core_event_offer {
    uint32_t index;
    uint64_t id;
    uint32_t slots;
    uint64_t total, watermark;
    bool exported;                          /* a peer can read the memory without our code */
    uint32_t reader_ms, lease_ms, whole_ms; /* 0: never */
    uint8_t secret[BATON_READERS_MAX][ID_BYTES];
};

struct core_event_fetch {
    uint32_t index;
    uint64_t id;
    uint32_t link; /* DIALING or UP, of the sink's side; CORE_NO_LINK: there is none, so it ends */
    uint64_t offer_id;
    uint32_t slot;
    uint8_t secret[ID_BYTES];
    uint64_t begin, end; /* the wanted bytes of the offer's plan */
    bool push;           /* the source is asked to write what is granted to it */
    uint64_t nonce;      /* push: of QUIESCE; nobody can guess it; not 0 */
    uint64_t total;      /* of the offer, as its ticket says */
    uint32_t opening_ms, bytes_ms, progress_ms, commit_ms, whole_ms;
};

struct core_event {
    enum core_event_type type;
    uint32_t link; /* of the LINK_, HELLO, DIAL, FRAME and READ events */
    union {
        struct core_event_offer offer;
        struct core_event_fetch fetch;
        struct {
            uint64_t id;
            uint64_t watermark;
        } advance;
        struct {
            enum core_side side;
            uint64_t id;
            baton_cancel_scope scope;
            baton_cause cause; /* CANCEL or CLOSING */
        } cancel;
        struct {
            uint8_t incarnation[ID_BYTES];
            uint64_t dial; /* HELLO only */
            bool ping;     /* HELLO, LINK_UP: silence closes it: a TCP link */
        } peer;            /* DIAL, HELLO, LINK_UP */
        struct {
            baton_cause cause;
        } lost;
        struct {
            const struct frame *frame; /* borrowed during the step */
            baton_cause
                misfit; /* OPEN, ACCEPT: NONE when layouts, ranges and blocks fit; else why not */
            bool exported; /* OPEN: a lease lets the reader read the memory without our code */
            bool remote;   /* OPEN, ACCEPT of a push: the source stores into the sink's memory
                              itself; else the sink's own code does */
        } frame;
        struct {
            uint64_t id; /* of the fetch */
            uint64_t length, landed;
            enum core_copied status;
            baton_proof proof; /* why it is over, if not by itself; else NONE */
        } copied;
        struct {
            uint64_t offer_id, fetch_id, attempt;
            uint64_t offset, length;
            uint32_t slot;
        } read;
        struct {
            uint64_t offer_id;
            uint64_t length;
            enum core_copied status; /* pushes only, in the order of their SERVEs; OK: all bytes
                                        are where the sink sees them */
            uint32_t slot;           /* pushes only */
            bool push;
        } served;
        struct {
            uint64_t id; /* of the fetch */
            baton_proof proof;
        } proof;
    };
};

/* ---- actions ---- */

enum core_action_type {
    CORE_ACTION_TRACE = 1,
    CORE_ACTION_FLUSH, /* the link has something to say: LINK_ROOM, please */
    CORE_ACTION_FRAME, /* write it; payloads (runs, aux, layouts, region) are the driver's to add */
    CORE_ACTION_COPY,  /* start a window; COPIED answers */
    CORE_ACTION_COPY_STOP, /* of all windows of the fetch: no slice starts from now on */
    CORE_ACTION_SERVE,     /* send, or write, that part of the plan; SERVED answers */
    CORE_ACTION_SERVE_REFUSE,
    CORE_ACTION_SERVE_STOP, /* of the attempt: no byte is read from now on */
    CORE_ACTION_OUTCOME,
    CORE_ACTION_DOUBT,
    CORE_ACTION_QUIET,
    CORE_ACTION_FORGET, /* the index may be used again */
    CORE_ACTION_LINK_UP,
    CORE_ACTION_LINK_REFUSED,
    CORE_ACTION_LINK_CLOSE, /* close its connections; the core counts it as lost already */
    CORE_ACTION_LINK_FREE,  /* the index may be used again */
};

struct core_action {
    enum core_action_type type;
    uint32_t link;       /* FLUSH, FRAME, LINK_ */
    enum core_side side; /* TRACE, OUTCOME, DOUBT, QUIET, FORGET */
    uint32_t index;      /* the same, COPY and SERVE_; FRAME: of the handoff that speaks */
    uint32_t slot;       /* TRACE, SERVE_ */
    bool exported;       /* FRAME of an ACCEPT: the reader may read the memory without our code */
    union {
        struct frame frame;
        struct {
            baton_stage from, to;
            uint64_t landed, total;
        } trace;
        struct {
            uint64_t id;
            uint64_t offset, length;
        } copy;
        struct {
            uint64_t id; /* of the offer */
            uint64_t attempt;
            uint64_t fetch_id;
            uint64_t offset, length;
            bool push; /* nobody asked for it over the transport: GRANT did */
        } serve;
        struct {
            baton_outcome outcome;
            baton_cause cause;
            baton_stage stage;
            uint64_t landed, total;
        } outcome;
        struct {
            baton_proof proof;
            uint64_t attempts, last_attempt;
            uint64_t landed;
            uint8_t peer[ID_BYTES];
        } quiet;
        baton_cause cause; /* DOUBT, LINK_CLOSE, LINK_REFUSED */
    };
};

struct core_actions {
    uint32_t count;
    struct core_action list[CORE_ACTIONS_MAX];
};

/*
 * Apply one event, or none (NULL) to go on with what is left.  `*ret_actions` is emptied first.
 * Returns true when more is left: call again with NULL, after the actions were carried out, before
 * the next event.
 */
bool core_step(struct core *core, const struct core_event *event, uint64_t now_us,
               struct core_actions *ret_actions);

/* When the next clock runs out; CORE_NEVER when none runs. */
uint64_t core_deadline(const struct core *core);

/* ---- looking ---- */

struct core_counts {
    uint64_t
        late; /* messages that changed nothing because they came too late, twice, or from nobody */
    uint64_t leases;
    uint64_t links_made, links_lost, links_refused;
    uint64_t protocol_errors;
};

struct core_gauges {
    uint32_t offers, fetches, links;
    uint32_t windows;
    uint64_t inflight_bytes;
};

void core_counts(const struct core *core, struct core_counts *ret_counts);
void core_gauges(const struct core *core, struct core_gauges *ret_gauges);

/*
 * Whether a frame of this link may be applied now.  False while the answers that it still has to
 * take fill its buffer: apply FRAME events only after it drained (law 12).
 */
bool core_link_reads(const struct core *core, uint32_t link);
/* The sink's link to `incarnation` that is up or being dialled; CORE_NONE. */
int32_t core_link_to(const struct core *core, const uint8_t incarnation[ID_BYTES]);

struct core_link_view {
    bool used, up, sink;
    uint32_t handoffs;
    uint8_t peer[ID_BYTES];
};

void core_link_view(const struct core *core, uint32_t link, struct core_link_view *ret_view);

struct core_slot_view {
    baton_stage stage;
    baton_cause cause;
    uint64_t attempt;
};

void core_slot_view(const struct core *core, uint32_t offer, uint32_t slot,
                    struct core_slot_view *ret_view);

/* Assert every invariant that can be seen within one engine.  O(state): for tests and simulators.
 */
void core_check(const struct core *core);

#endif
