/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The explorer's worlds, for its own files only: node 0 is the source, the others are sinks.  A
 * world is one piece of memory without pointers: what lies on the wires, in the hands of movers and
 * in the books of who was told what, then the blobs of the cores and of the pools' books.
 */
#ifndef BATON_SIM_EXPLORE_WORLD_H
#define BATON_SIM_EXPLORE_WORLD_H

#include "core/state.h"
#include "pool/pool.h"
#include "sim/explore.h"

#include <setjmp.h>

enum {
    NODES_MAX = 3,
    SINKS_MAX = NODES_MAX - 1,
    LIVES_MAX = 2,   /* of one node */
    PLANS_MAX = 2,   /* offers of one life */
    UNITS_MAX = 2,   /* of an offer: bytes of its plan, one to a block and to a window */
    READERS_MAX = 2, /* slots */
    BLOCKS_MAX = 3,  /* of a pool */
    FETCHES_MAX = 5, /* of one sink, in all its lives */
    WIRES_MAX = 6,
    QUEUE_MAX = 4,
    WINDOWS_MAX = 3, /* under way at one sink: two, and one of another link beyond them */
    SERVES_MAX = SINKS_MAX * WINDOWS_MAX,
    PUSHES_MAX = 6,
    LINKS_MAX = 4,
    ATTEMPTS_MAX = 16,
    STEPS_MAX = 96, /* that can be taken from one state */
    SINK_END = 0,
    SOURCE_END = 1,
    NOBODY = 0xff,
};

#define WORLD_NOW_US UINT64_C(1000000000) /* it never moves */

/* What a world is made of, and what may happen in it. */
struct explore_rules {
    const char *name, *about;
    uint8_t sinks, plans, slots, units, blocks;
    uint8_t block[PLANS_MAX][UNITS_MAX]; /* of a plan's units */
    uint8_t start[PLANS_MAX];            /* the watermark when it is offered */
    uint8_t plan[SINKS_MAX], slot[SINKS_MAX];
    uint8_t streams; /* bit set of sinks: the source's own code sends them the bytes */
    uint8_t pushes;  /* bit set of sinks: the source writes their bytes */
    uint8_t windows; /* of a sink */
    uint8_t queue;   /* frames that a wire takes each way */
    bool split;      /* a mover's last byte and its report are two steps */
    bool ping;       /* links are as between hosts */
    bool reoffers;   /* the source's next life makes its offers again */
    bool rewrites;   /* the owner writes to blocks that have come back; when, is a step */
    bool rewrites_at_once;
    uint8_t attempts;
    /* How often each of these may happen. */
    uint8_t cancels_offer, cancels_fetch; /* each sink its own */
    uint8_t clocks, breaks, crashes, retries, reopens, failures;
};

extern const struct explore_rules explore_rules[];

/* A frame on its way, in short. */
struct word {
    uint8_t type; /* enum frame_type */
    uint8_t cause, scope, revoked, slot;
    uint8_t watermark, attempt; /* GRANT: the offset; WRITTEN: the end */
    uint8_t secret;             /* first byte; HELLO: the dial number; QUIESCE: the nonce */
    uint32_t offer, fetch;
};

enum wire_end {
    END_NEW = 0, /* the source has not looked at its HELLO yet */
    END_UP,
    END_CLOSED,
};

struct wire {
    uint8_t used, sink, sink_life, source_life;
    uint8_t dial, cut;
    uint8_t orderly; /* its source had drained and said all when it ended */
    uint8_t end[2];  /* enum wire_end */
    uint8_t link[2]; /* its index in the core of that end; NOBODY */
    uint8_t wants[2];
    uint8_t count[2]; /* on the way to that end */
    struct word queue[2][QUEUE_MAX];
};

enum window_state {
    WINDOW_NONE = 0,
    WINDOW_POSTED, /* nothing was read; a stream's READ is on its way */
    WINDOW_READ,   /* the piece lies in the sink's block */
    WINDOW_SERVED, /* the source's code is at it */
    WINDOW_SENT,   /* the bytes are on the wire */
    WINDOW_LOST,   /* the bytes went into a wire that is cut: its end will tell */
    WINDOW_REFUSED,
    WINDOW_BACK, /* given back at once: the core is told before anything else happens */
};

struct window {
    uint8_t state, fetch, unit, stopped, content, torn;
};

enum serve_state {
    SERVE_NONE = 0,
    SERVE_ON,
    SERVE_BACK,
};

struct serve {
    uint8_t state, sink, window, plan, slot, attempt, unit;
    uint8_t wire;   /* its name */
    uint8_t orphan; /* nobody waits for its bytes */
};

enum push_state {
    PUSH_NONE = 0,
    PUSH_BACK,   /* stopped before it was posted: the core is told before anything else happens */
    PUSH_POSTED, /* it lands, whatever happens */
    PUSH_ASKED,
};

/* A granted window that the source is to write. */
struct push {
    uint8_t state, sink, sink_life, fetch, source_life, plan, slot, attempt, unit;
};

/* A loan without its pointers. */
struct debt {
    uint64_t generations[UNITS_MAX];
    uint32_t count;
    bool exclusive, used, quarantined;
};

/* What everybody knows together of an offer, and no engine alone. */
struct offer_book {
    struct debt debt;
    uint32_t id;
    uint8_t made, watermark, outcome, quiet, forgotten;
    uint8_t leased;                 /* ever */
    uint8_t committed[READERS_MAX]; /* the reader, see reader_key() */
    uint8_t completed[READERS_MAX];
    uint8_t content[UNITS_MAX]; /* what was offered */
};

struct fetch_book {
    struct debt debt;
    uint32_t id;
    uint8_t made, sink_life, source_life, plan, slot;
    uint8_t wire; /* that it began on, by name */
    uint8_t outcome, quiet, forgotten;
    uint8_t torn;               /* it read something while it had no lease */
    uint8_t content[UNITS_MAX]; /* what lies in its blocks */
};

struct world {
    uint64_t key[NODES_MAX];      /* of the cores' states, as they are now */
    uint64_t part[1 + SINKS_MAX]; /* of the source's: of all, and of each sink */
    uint8_t life[NODES_MAX];
    uint8_t fetched[SINKS_MAX]; /* fetches made */
    uint8_t fresh[SINKS_MAX];   /* a new life that has not fetched yet */
    uint8_t dials[SINKS_MAX];
    uint8_t greeted[SINKS_MAX][LIVES_MAX]; /* the highest dial number that the source has seen */
    uint8_t cancels_offer, cancels_fetch[SINKS_MAX];
    uint8_t clocks, breaks, crashes, retries, reopens, failures;
    uint8_t exported[LIVES_MAX];
    uint8_t content[LIVES_MAX][BLOCKS_MAX];
    uint8_t rewritten[BLOCKS_MAX];
    uint8_t reader[LIVES_MAX][ATTEMPTS_MAX]; /* of an attempt; see reader_key() */
    struct wire wires[WIRES_MAX];
    struct window windows[SINKS_MAX][WINDOWS_MAX];
    struct serve serves[SERVES_MAX];
    struct push pushes[PUSHES_MAX];
    struct offer_book offers[LIVES_MAX][PLANS_MAX];
    struct fetch_book fetches[SINKS_MAX][FETCHES_MAX];
    uint64_t blobs[];
};

enum step_kind {
    STEP_NONE = 0,
    STEP_DELIVER,      /* wire, end */
    STEP_NOTICE,       /* wire, end: it learns that the connection has ended */
    STEP_ROOM,         /* wire, end */
    STEP_READ,         /* sink, window: the mover copies the piece */
    STEP_BACK,         /* sink, window: the mover reports */
    STEP_DEAD,         /* sink, window: the mover finds the source's process gone */
    STEP_ASK,          /* sink, window: a stream's READ arrives */
    STEP_SERVE,        /* serve */
    STEP_POST,         /* push: the card has it */
    STEP_LAND,         /* push: its bytes are there */
    STEP_PROVE,        /* sink: nothing of a dead source can land any more */
    STEP_DIAL,         /* sink, for a fetch that waits for its source's word */
    STEP_WORK_END_,    /* those before happen by themselves; users and faults do those behind */
    STEP_FETCH,        /* sink, life of the source that its ticket names */
    STEP_OFFER,        /* plan */
    STEP_ADVANCE,      /* plan */
    STEP_REWRITE,      /* block */
    STEP_FAIL,         /* sink, window: the mover fails */
    STEP_CANCEL_OFFER, /* plan */
    STEP_CANCEL_FETCH, /* sink, scope */
    STEP_CLOCK,        /* node, item of its heap, which of the item's clocks */
    STEP_CUT,          /* wire */
    STEP_CRASH,        /* node */
};

struct step {
    uint8_t kind, a, b, c;
};

/* One search, or one replay: where things lie, and what is under way. */
struct explorer {
    const struct explore_rules *rules;
    struct core_limits limits[NODES_MAX];
    size_t core_at[NODES_MAX], pool_at[NODES_MAX]; /* from the world's start */
    size_t core_bytes[NODES_MAX];
    size_t bytes; /* of a world */
    const struct world *before;
    struct world *w;
    struct core *scratch;
    struct core_actions actions;
    bool (*wrong)(void *arg, const struct explore_look *look);
    void *arg;
    bool symmetric;               /* the sinks differ by their slots alone */
    uint8_t sink_of[READERS_MAX]; /* then: whose slot it is */
    unsigned touched;             /* bit set of nodes whose cores have changed */
    jmp_buf broken;               /* where a violation leaves to */
    char invariant[EXPLORE_TEXT_BYTES];
    char what[EXPLORE_WHAT_BYTES];
};

static inline struct core *core_of(const struct explorer *x, const struct world *w, int node)
{
    return (struct core *)(void *)((uint8_t *)(uintptr_t)w + x->core_at[node]);
}

static inline struct pool *pool_of(const struct explorer *x, const struct world *w, int node)
{
    return (struct pool *)(void *)((uint8_t *)(uintptr_t)w + x->pool_at[node]);
}

/* A wire of a sink, among all that it ever had. */
static inline uint8_t wire_name(const struct wire *wire)
{
    return (uint8_t)(wire->sink_life << 4 | wire->dial);
}

/* A reader, by its fetch: attempts are named by it, so that their numbers do not count. */
static inline uint8_t reader_key(unsigned sink, unsigned fetch)
{
    return (uint8_t)(1 + sink * FETCHES_MAX + fetch);
}

static inline bool is_stream(const struct explorer *x, unsigned sink)
{
    return x->rules->streams >> sink & 1;
}

static inline bool is_push(const struct explorer *x, unsigned sink)
{
    return x->rules->pushes >> sink & 1;
}

/* explore_world.c */
const struct explore_rules *explore_rules_of(const char *name);
/* False: no memory. */
bool explorer_init(struct explorer *x, const struct explore_rules *rules);
void explorer_fini(struct explorer *x);
void explore_world_begin(struct explorer *x, struct world *w);
void explore_world_node_init(struct explorer *x, struct world *w, int node);
void explore_world_offer_make(struct explorer *x, unsigned plan);
void explore_world_fetch_make(struct explorer *x, unsigned sink, unsigned source_life);
void explore_world_crash(struct explorer *x, int node);
void explore_incarnation_of(unsigned node, unsigned life, uint8_t ret_id[ID_BYTES]);
uint8_t explore_secret_of(unsigned life, unsigned plan, unsigned slot);
/* The sink's present or last fetch; NULL: none in this life. */
struct fetch_book *explore_fetch_last(const struct world *w, unsigned sink);
/* The book of a fetch of the sink's present life; NULL. */
struct fetch_book *explore_fetch_book_of(const struct world *w, unsigned sink, uint64_t id,
                                         unsigned *ret_fetch);
struct offer_book *explore_offer_book_of(const struct world *w, unsigned life, uint64_t id,
                                         unsigned *ret_plan);

/* explore_carry.c */
void explore_world_event(struct explorer *x, int node, const struct core_event *event);
void explore_world_settle(struct explorer *x);
void explore_world_close(struct explorer *x, struct wire *wire, int end);
struct wire *explore_world_wire_of(const struct world *w, int node, uint32_t link);

/* explore_debt.c */
bool explore_debt_lend(struct explorer *x, int node, struct debt *debt, const uint32_t *blocks,
                       uint64_t handoff_id);
void explore_debt_quarantine(struct explorer *x, int node, struct debt *debt,
                             const uint32_t *blocks, uint64_t handoff_id);
void explore_debt_retire(struct explorer *x, int node, struct debt *debt, const uint32_t *blocks,
                         uint64_t handoff_id);
void explore_offer_blocks(const struct explorer *x, unsigned plan, uint32_t ret_blocks[UNITS_MAX]);
void explore_fetch_blocks(const struct explorer *x, uint32_t ret_blocks[UNITS_MAX]);

/* explore_step.c: what can happen next, and making it happen.  The work comes first. */
unsigned explore_world_steps(struct explorer *x, const struct world *w, struct step *ret_steps,
                             unsigned *ret_work);
/* Changes `w`, a copy of `before`.  Leaves to x->broken when an invariant breaks. */
void explore_world_step(struct explorer *x, const struct world *before, struct world *w,
                        struct step step);

/* explore_wire.c */
void explore_wire_deliver(struct explorer *x, unsigned wire, int end);
void explore_wire_notice(struct explorer *x, unsigned wire, int end);
void explore_wire_room(struct explorer *x, unsigned wire, int end);
void explore_wire_say(struct explorer *x, struct wire *wire, int to, const struct word *word);
struct wire *explore_wire_dial(struct explorer *x, unsigned sink, unsigned source_life);
void explore_word_of(const struct frame *frame, struct word *ret_word);
/* The next frame on the way to that end, if it comes too late to change anything, ever. */
bool explore_wire_inert(const struct explorer *x, const struct world *w, unsigned wire, int end);
/* Puts the frame in words, for a path. */
void explore_word_text(const struct word *word, char *ret_text, size_t room);

/* explore_check.c: one function for each invariant, named for it. */
_Noreturn void explore_broken(struct explorer *x, const char *invariant, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void explore_check_s6_outcome(struct explorer *x, int node, const struct core_action *a,
                              uint8_t outcome, uint8_t quiet);
void explore_check_completed(struct explorer *x, unsigned sink, unsigned fetch);
void explore_check_offer_quiet(struct explorer *x, unsigned plan, const struct core_action *a);
void explore_check_fetch_quiet(struct explorer *x, unsigned sink, unsigned fetch,
                               const struct core_action *a);
void explore_check_lease(struct explorer *x, unsigned plan, const struct core_action *a);
void explore_check_commit(struct explorer *x, unsigned plan, const struct core_action *a);
void explore_check_p6_serve(struct explorer *x, const struct serve *serve);
void explore_check_p6_push(struct explorer *x, const struct push *push);
void explore_check_p7_window(struct explorer *x, const struct fetch_book *f, uint64_t end);
/* An advance of an offer that has ended is inert. */
void explore_check_p7_late(struct explorer *x, unsigned plan);
void explore_check_p8_rewrite(struct explorer *x, unsigned block);
void explore_check_s1_write(struct explorer *x, const struct fetch_book *f);
/* Whether the fetch's lease is valid at this moment, by the source's own state. */
bool explore_lease_valid(const struct explorer *x, unsigned sink, unsigned fetch);
/* Before a frame is applied: whether it comes too late to change anything. */
bool explore_frame_is_late(const struct explorer *x, const struct world *w, int node, uint32_t link,
                           const struct frame *frame);
void explore_check_p5_inert(struct explorer *x, int node, const struct frame *frame);
void explore_check_s14_twice(struct explorer *x, int node, const struct core_event *event);
void explore_check_step(struct explorer *x);
/* A sink learns that its source has ended in order: it waits for no word of it any more. */
void explore_check_p11_last_word(struct explorer *x, const struct wire *wire);
/* In a state in which nothing happens by itself. */
void explore_check_p11_rest(struct explorer *x, const struct world *w);
/* All is over: everybody was told, nothing is lent. */
void explore_check_all_over(struct explorer *x, const struct world *w);

/* explore_push.c */
void explore_push_start(struct explorer *x, const struct core_action *a);
void explore_push_stop(struct explorer *x, const struct core_action *a);
/* Tells the core of one push that was given back; false: there is none. */
bool explore_push_settle(struct explorer *x);
void explore_push_crash(struct world *w);
/* Bytes can still land in the fetch's blocks. */
bool explore_push_open(const struct world *w, unsigned sink, unsigned fetch);
/* What the push, or a sink without a link, can do next; STEP_NONE. */
enum step_kind explore_push_step(const struct world *w, unsigned push);
enum step_kind explore_push_step_of(const struct explorer *x, const struct world *w, unsigned sink);
void explore_push_post(struct explorer *x, unsigned push);
void explore_push_land(struct explorer *x, unsigned push);
void explore_push_prove(struct explorer *x, unsigned sink);

/* explore_forge.c: before the true one is applied. */
void explore_check_forged(struct explorer *x, int node, uint32_t link, const struct frame *frame);
/* After it: what it ended stays ended, a dial number is good once. */
void explore_check_again(struct explorer *x, uint32_t link, const struct frame *frame);
void explore_check_greeting(struct explorer *x, const struct wire *wire, bool old);
void explore_check_p7_early(struct explorer *x, unsigned plan);

/* explore_key.c */
/* Of `core`, which is the node's, or a copy of it. */
uint64_t explore_core_key(const struct explorer *x, const struct world *w, int node,
                          const struct core *core);
/* Notes the key of the node's core. */
void explore_node_key(const struct explorer *x, struct world *w, int node);
uint64_t explore_world_key(const struct explorer *x, const struct world *w);

/* explore_text.c */
void explore_step_text(const struct explorer *x, const struct world *w, struct step step,
                       char *ret_text, size_t room);

/* explore_seen.c: the fingerprints that were seen. */
struct seen {
    uint64_t *keys;
    uint64_t room, count, bytes_max;
};

bool explore_seen_init(struct seen *seen, uint64_t bytes_max);
void explore_seen_fini(struct seen *seen);
enum seen_added {
    SEEN_NEW,
    SEEN_KNOWN,
    SEEN_FULL
} explore_seen_add(struct seen *seen, uint64_t key);

#endif
