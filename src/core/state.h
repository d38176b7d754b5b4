/* SPDX-License-Identifier: Apache-2.0 */
/* The core's state, for the files of this folder only.  Tables lie behind the struct, reached by
 * offsets. */
#ifndef BATON_CORE_STATE_H
#define BATON_CORE_STATE_H

#include "core/core.h"
#include "util/assert.h"
#include "util/heap.h"
#include "util/ilist.h"

enum {
    CORE_UNIT_ACTIONS = 40, /* most actions of one event or of one resumed piece of work */
};

_Static_assert((int)CORE_UNIT_ACTIONS <= (int)CORE_ACTIONS_MAX, "an event must fit an empty list");

/* What a handoff, or a link, may have to say: one node of its link's list each. */
enum say_fetch {
    SAY_OPEN,
    SAY_COMMIT,
    SAY_CANCEL,
    SAY_GRANT,
    SAY_QUIESCE,
    SAY_FETCH_END_,
};

enum say_slot {
    SAY_ACCEPT,
    SAY_WATERMARK,
    SAY_COMMITTED,
    SAY_ENDED,
    SAY_WRITTEN,
    SAY_QUIESCED,
    SAY_SLOT_END_,
};

/* Then the link's replies follow, a node each. */
enum say_link {
    SAY_PING,
    SAY_PONG,
    SAY_LINK_END_,
};

enum offer_state {
    OFFER_FREE = 0,
    OFFER_OPEN,  /* slots may be leased; peers may read below the watermark */
    OFFER_ENDED, /* the outcome is decided, own movers may still read */
    OFFER_QUIET, /* nobody can commit, nobody of ours reads */
};

struct offer {
    uint64_t id;
    uint64_t total, watermark;
    uint64_t attempts, last_attempt, commits;
    uint64_t whole_due, doubt_due;
    uint64_t reader_us, lease_us; /* CORE_NEVER: none */
    uint32_t slots;
    uint32_t serves; /* own movers at work, all slots */
    uint8_t state;   /* enum offer_state */
    uint8_t outcome; /* baton_outcome */
    uint8_t cause;
    bool exported;
    uint32_t last_slot; /* that was leased */
};

enum slot_state {
    SLOT_OFFERED = 0,
    SLOT_LEASED,
    SLOT_COMMITTED,
    SLOT_REVOKED,
};

struct slot {
    uint64_t fetch_id, attempt; /* of the lease, or of the last one */
    uint64_t due;               /* of the reader's clock (OFFERED) or of the lease's (LEASED) */
    uint32_t link;              /* where the lease is, or where its last words go; ILIST_NONE */
    uint8_t state;              /* enum slot_state */
    uint8_t cause;              /* REVOKED: why.  ENDED is to be said: why */
    bool exported;              /* the lease's holder may read the memory without our code */
    bool push, remote;          /* this side writes; it stores into the sink's memory itself */
    bool quiesce;               /* QUIESCED waits for the pushes to be over */
    uint32_t pushes;            /* under way, of this lease or of the last one */
    uint64_t granted, written;  /* plan bytes below: may be written; are */
    uint64_t nonce;             /* of QUIESCE; 0: nobody asked */
    uint8_t peer[ID_BYTES];     /* the incarnation of the lease's holder, or of the last one's */
    uint8_t secret[ID_BYTES];
};

enum fetch_state {
    FETCH_FREE = 0,
    FETCH_OPENING,
    FETCH_READING,
    FETCH_COMMITTING,
    FETCH_DRAINING,
    FETCH_QUIET,
};

struct fetch {
    uint64_t id, offer_id, attempt;
    uint64_t begin, end; /* plan bytes wanted */
    uint64_t total;      /* of the offer */
    uint64_t watermark;  /* of the offer, as far as it was told */
    uint64_t next;       /* first plan byte that no window was started for */
    uint64_t landed;     /* bytes of windows that ended well */
    uint64_t touched;    /* bytes written into the blocks, also by windows that did not */
    uint64_t opening_us, bytes_us, progress_us, commit_us; /* CORE_NEVER: none */
    uint64_t whole_due, clock_due, doubt_due;
    uint32_t link;
    uint32_t windows_link; /* whose budget its windows use: its link, also when that is lost */
    uint32_t slot;
    uint32_t copies; /* windows under way */
    uint8_t state;   /* enum fetch_state */
    uint8_t stage;   /* baton_stage when the outcome was decided */
    uint8_t outcome, cause;
    uint8_t clock; /* baton_cause of clock_due; NONE: no clock runs */
    uint8_t cancel_scope;
    bool opened;   /* OPEN has left */
    bool stalled;  /* a window was given back unread: no more until somebody says why */
    bool push;     /* windows are granted to the source */
    bool remote;   /* push: only the source, or a proof, can say that a window is over */
    uint8_t proof; /* baton_proof of its quiet, if a window was started */
    uint8_t secret[ID_BYTES];
    uint8_t peer[ID_BYTES]; /* the source's incarnation */
    uint64_t nonce;
    uint64_t oldest;                         /* push: where the oldest window under way begins */
    uint64_t said;                           /* push: first plan byte that no GRANT was built for */
    uint32_t window[CORE_FETCH_WINDOWS_MAX]; /* push: lengths of the windows under way, in order */
};

enum link_state {
    LINK_FREE = 0,
    LINK_DIALING, /* sink only */
    LINK_UP,
    LINK_LOST, /* its handoffs are being ended */
};

struct link {
    struct ilist say;     /* nodes of say[] */
    struct ilist fetches; /* sink: nodes of fetch_on_link[] */
    struct ilist slots;   /* source: nodes of slot_on_link[] */
    struct ilist ready;   /* sink: fetches that could start a window: nodes of fetch_ready[] */
    uint32_t windows;     /* under way, also those of a lost link that had this place */
    uint64_t heard_us;
    uint64_t due;  /* next look at heard_us */
    uint32_t peer; /* source: its record of dial numbers */
    uint8_t state; /* enum link_state */
    uint8_t lost_cause;
    bool sink;
    bool ping;
    uint8_t incarnation[ID_BYTES];
};

/* An answer without a record of its own, or the last word of a lease whose slot has another by now.
 */
struct reply {
    uint64_t fetch_id, attempt, nonce;
    uint8_t type; /* enum frame_type: REFUSED, ENDED or QUIESCED; 0: unused */
    uint8_t cause;
    uint8_t revoked;
};

/* The highest dial number of an incarnation, also after its link has gone. */
struct peer {
    uint64_t dial;
    uint64_t used; /* order of use; 0: free */
    uint32_t links;
    uint8_t incarnation[ID_BYTES];
};

struct core {
    struct core_limits limits;
    struct core_counts counts;
    struct core_gauges gauges;
    uint64_t last_attempt;
    uint64_t peer_uses;
    struct ilist ready; /* links with a fetch that could start a window: nodes of link_ready[] */
    uint32_t lost;      /* links in LINK_LOST */
    uint32_t peers;
    /* Where the tables begin, in bytes from here. */
    uint64_t offers_at, slots_at, fetches_at, links_at, replies_at, peers_at;
    uint64_t say_at, fetch_on_link_at, slot_on_link_at, fetch_ready_at, link_ready_at, heap_at;
    uint64_t bytes;
};

#define CORE_TABLE(name, type, field)                                                              \
    static inline type *name(const struct core *core)                                              \
    {                                                                                              \
        return (type *)(void *)((uint8_t *)(uintptr_t)core + core->field);                         \
    }

CORE_TABLE(core_offers, struct offer, offers_at)
CORE_TABLE(core_slots, struct slot, slots_at)
CORE_TABLE(core_fetches, struct fetch, fetches_at)
CORE_TABLE(core_links, struct link, links_at)
CORE_TABLE(core_replies, struct reply, replies_at)
CORE_TABLE(core_peers, struct peer, peers_at)
CORE_TABLE(core_say, struct ilist_node, say_at)
CORE_TABLE(core_fetch_on_link, struct ilist_node, fetch_on_link_at)
CORE_TABLE(core_slot_on_link, struct ilist_node, slot_on_link_at)
CORE_TABLE(core_fetch_ready, struct ilist_node, fetch_ready_at)
CORE_TABLE(core_link_ready, struct ilist_node, link_ready_at)
CORE_TABLE(core_heap, struct heap, heap_at)

static inline struct link *core_link(const struct core *core, uint32_t link)
{
    BATON_ASSERT(link < core->limits.links);
    return &core_links(core)[link];
}

/* A slot's number in the tables. */
static inline uint32_t slot_number(const struct core *core, uint32_t offer, uint32_t slot)
{
    return offer * core->limits.slots + slot;
}

/* action.c: what the core wants done. */
struct core_action *action_add(struct core_actions *out, enum core_action_type type);
bool action_room(const struct core_actions *out);
void action_trace(struct core_actions *out, enum core_side side, uint32_t index, uint32_t slot,
                  baton_stage from, baton_stage to, uint64_t landed, uint64_t total);

/* say.c: what is to be said on a link, in order. */
uint32_t say_of_fetch(const struct core *core, uint32_t fetch, enum say_fetch what);
uint32_t say_of_slot(const struct core *core, uint32_t slot, enum say_slot what);
void say_set(struct core *core, uint32_t link, uint32_t node, struct core_actions *out);
void say_clear(struct core *core, uint32_t link, uint32_t node);
bool say_has(const struct core *core, uint32_t node);
uint32_t say_of_link(const struct core *core, uint32_t link, enum say_link what);
/* False when the link's replies are all taken. */
bool say_reply(struct core *core, uint32_t link, const struct reply *reply,
               struct core_actions *out);
void say_clear_all(struct core *core, uint32_t link);
/* The next frame of the link, if there is any. */
void say_next(struct core *core, uint32_t link, struct core_actions *out);
bool fetch_builds(const struct core *core, uint32_t index, enum say_fetch what,
                  struct frame *ret_frame);
bool slot_builds(const struct core *core, uint32_t number, enum say_slot what,
                 struct frame *ret_frame);
void fetch_said(struct core *core, uint32_t index, enum say_fetch what, bool built,
                struct core_actions *out);
void slot_said(struct core *core, uint32_t number, struct core_actions *out);

/* offer.c: the source's side. */
void offer_event(struct core *core, const struct core_event *event, uint64_t now_us,
                 struct core_actions *out);
void offer_frame(struct core *core, const struct core_event *event, uint64_t now_us,
                 struct core_actions *out);
void offer_expire(struct core *core, uint32_t index, uint64_t now_us, struct core_actions *out);
/* One slot of a lost link. */
void slot_lost(struct core *core, uint32_t number, uint64_t now_us, struct core_actions *out);

/* fetch.c: the sink's side. */
void fetch_event(struct core *core, const struct core_event *event, uint64_t now_us,
                 struct core_actions *out);
void fetch_frame(struct core *core, const struct core_event *event, uint64_t now_us,
                 struct core_actions *out);
void fetch_expire(struct core *core, uint32_t index, uint64_t now_us, struct core_actions *out);
/* One fetch of a lost link. */
void fetch_lost(struct core *core, uint32_t index, baton_cause cause, uint64_t now_us,
                struct core_actions *out);

/* push.c: what the source writes itself, at both ends. */
/* Source: GRANT, QUIESCE, and a push that is over. */
void push_offer_frame(struct core *core, const struct core_event *event, uint64_t now_us,
                      struct core_actions *out);
void push_served(struct core *core, uint32_t index, const struct core_event *event, uint64_t now_us,
                 struct core_actions *out);
bool push_slot_builds(const struct core *core, uint32_t number, enum say_slot what,
                      struct frame *ret_frame);
/* A lease ended without a commit, and its link stands: say QUIESCED there, of a remote push. */
void push_lease_over(struct core *core, uint32_t number, uint32_t link, struct core_actions *out);
/* Sink: WRITTEN, QUIESCED, a proof. */
void push_fetch_frame(struct core *core, const struct core_event *event, uint64_t now_us,
                      struct core_actions *out);
void push_proof(struct core *core, const struct core_event *event, struct core_actions *out);
bool push_fetch_builds(const struct core *core, uint32_t index, enum say_fetch what,
                       struct frame *ret_frame);
void push_granted(struct core *core, uint32_t index, struct core_actions *out);
/* The next window of a fetch was started. */
void push_start(struct core *core, uint32_t index, uint64_t length, struct core_actions *out);
/* The oldest window is over. */
void push_window_over(struct core *core, uint32_t index);
/* The fetch has ended: what was not granted yet never will be; ask about the rest. */
void push_end(struct core *core, uint32_t index, struct core_actions *out);
/* A link is up: ask its source about the fetches that lost theirs. */
void push_link_up(struct core *core, uint32_t link, struct core_actions *out);

/* pump.c: windows. */
/* The end of the wanted bytes that the source has, as far as it was told. */
uint64_t fetch_readable(const struct fetch *f);
/* Put the fetch in the queue for windows, or take it out, as its state says. */
void fetch_ready(struct core *core, uint32_t index);
/* Start windows while the budget and the room last.  Returns true when only room was missing. */
bool fetch_pump(struct core *core, struct core_actions *out);

/* link.c */
void link_event(struct core *core, const struct core_event *event, uint64_t now_us,
                struct core_actions *out);
void link_expire(struct core *core, uint32_t link, uint64_t now_us, struct core_actions *out);
void link_close(struct core *core, uint32_t link, baton_cause cause, struct core_actions *out);
/* End handoffs of lost links while the room lasts.  Returns true when some are left. */
bool link_reap(struct core *core, uint64_t now_us, struct core_actions *out);

/* timer.c: one clock an offer, a fetch and a link, the earliest of those it runs. */
void timer_offer(struct core *core, uint32_t index);
void timer_fetch(struct core *core, uint32_t index);
void timer_link(struct core *core, uint32_t index);
bool timer_expire(struct core *core, uint64_t now_us, struct core_actions *out);
/* `now_us` + `span_us`, or never. */
uint64_t timer_after(uint64_t now_us, uint64_t span_us);
uint64_t timer_span(uint32_t ms);

#endif
