/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated cluster, for the files of this folder.  All of it is one piece of memory, reused from
 * seed to seed; a copy of that piece, put back in its place, is the same world again.
 */
#ifndef BATON_SIM_WORLD_H
#define BATON_SIM_WORLD_H

#include "sim/sim.h"

#include "core/core.h"
#include "core/state.h"
#include "pool/pool.h"
#include "util/prng.h"

#include <setjmp.h>

enum {
    NODES_MAX = 4,
    LIVES_MAX = 16, /* of all nodes of a world */
    BLOCKS_MAX = 16,
    PIECES = 4, /* of a block: what one load or store moves; a plan's byte is one */
    OFFERS_MAX = 8,
    FETCHES_MAX = 8,
    LINKS_MAX = 6,
    SLOTS_MAX = BATON_READERS_MAX,
    SLOTS_FEW = 2,                                /* in most seeds */
    WINDOWS_SHARED_MAX = 8,                       /* of a node's budget */
    WINDOWS_MAX = WINDOWS_SHARED_MAX + LINKS_MAX, /* each link may have one beyond it */
    SERVES_MAX = 128,
    LIST_MAX = 4, /* blocks of a handoff */
    HANDOFFS_MAX = 250,
    CONNS_MAX = 40,
    QUEUE_MAX = 16, /* frames on the way, a direction */
    PAYLOAD_MAX = 40,
    EVENTS_MAX = 2048,
    CHART_MAX = 1024,
    ASKS_MAX = 32,
};

enum transport {
    BY_STREAM,       /* the source's own code sends, the sink's receives (tcp) */
    BY_MAPPING,      /* the sink's movers read the source's memory (shm) */
    BY_LIBRARY,      /* one-sided reads, under way until they say that they are not */
    BY_PUSH_STREAM,  /* the source's own code sends what was granted, the sink's stores it */
    BY_PUSH_LIBRARY, /* one-sided writes: they land when they land, whatever becomes of the source
                      */
    TRANSPORTS,
    PULLS = BY_PUSH_STREAM, /* those before it */
};

/* Ends of a connection. */
enum { SINK = 0, SOURCE = 1 };

enum event_type {
    EV_WORK,       /* the cluster's users */
    EV_FAULT,      /* the next one by itself */
    EV_STRIKE,     /* one that aims at a handoff: a */
    EV_RESUME,     /* node */
    EV_RESTART,    /* node */
    EV_CLOCK,      /* node */
    EV_ASK,        /* node: what its users asked is worked off */
    EV_ROOM,       /* node, link a: build frames */
    EV_DELIVER,    /* node, connection a, its end c */
    EV_HANDSHAKE,  /* node, link a */
    EV_PEER_EXIT,  /* node, link a */
    EV_MOVE,       /* node, window a: a mover */
    EV_NIC_READ,   /* node, window a, piece c: loaded at the source */
    EV_NIC_LAND,   /* node, window a, piece c: stored at the sink, tag d */
    EV_CARD_READ,  /* node: the source; serve serial b, for fetch a; c: sim/push.c */
    EV_CARD_LAND,  /* node: the sink; the same, tag d */
    EV_CARD_DONE,  /* node: the source; the same: it knows */
    EV_BULK_ASK,   /* node: the source; connection a; window d of node c */
    EV_BULK_PIECE, /* node: the sink; window a, piece c, tag d */
    EV_BULK_END,   /* node: the sink; window a, status c */
    EV_PUSH_PIECE, /* node: the sink; fetch a, its window at b, piece c, tag d */
    EV_PUSH_END,   /* node: the sink; fetch a, its window at b, status c */
    EV_AGAIN,      /* node: fetch a waits for its source to be drained */
    EV_SERVE,      /* node, serve a */
    EV_FETCH,      /* node: a user with the ticket of slot b of offer a; c: how often it tried */
    EV_COMPUTE,    /* node, offer a: more bytes are there */
    EV_CANCEL,     /* node, handoff a, scope c */
    EV_RETIRE,     /* node, handoff a */
    EV_RELEASE,    /* node, handoff a: its user is done with the blocks */
    EV_LEAVE,      /* node: its engine is to end */
};

struct event {
    uint64_t time;
    uint32_t order;
    uint8_t type, node;
    uint16_t a;
    uint32_t b, c; /* b: mostly the serial of what `a` names */
    uint64_t d;
};

/* What the checkers know of a block, beside the book. */
struct block_shadow {
    uint64_t tag[PIECES];
    uint64_t base; /* of the content; 0: none that anybody may rely on */
    uint64_t generation;
    uint8_t covered[PIECES]; /* by so many offers that are not over, below their watermarks */
    uint8_t users;           /* who still want what is in it */
    uint8_t refs;            /* loans whose receipts were not used */
    uint8_t inflight;        /* pieces that are under way to it */
    int16_t owner;           /* the fetch that it is lent to; -1 */
};

/* The life of a process: what a reader of its memory may still see after its death. */
struct life {
    uint8_t node;
    bool alive, exported;
    uint8_t incarnation[ID_BYTES];
    uint64_t serial;
    uint64_t attempt;           /* the last lease's */
    uint32_t fenced[LIVES_MAX]; /* from a source's life: lanes up to this one are closed */
    struct block_shadow block[BLOCKS_MAX];
};

enum lease { LEASE_NONE, LEASE_VALID, LEASE_COMMITTED, LEASE_OVER };

struct slot_shadow {
    uint8_t stage;     /* baton_stage */
    uint8_t completed; /* sinks that completed it */
    int16_t holder;    /* the fetch that has it, or had it last; -1 */
    uint64_t attempt, committed;
};

/* One end of a handoff, and what it was told.  Records are not reused within a seed. */
struct handoff {
    uint8_t side, node, life;
    uint8_t outcome, cause, stage, proof;
    uint8_t outcomes, quiets, doubts, forgets;
    uint32_t index;
    uint64_t id, nonce;
    uint32_t count, blocks[LIST_MAX];
    uint64_t generations[LIST_MAX];
    struct pool_loan loan;
    bool started, retired, released;
    bool asked, ask_start, ask_advance, ask_cancel, cancelled; /* by the user */
    uint8_t scope;
    uint32_t total;
    /* offers */
    uint8_t slots;
    bool exported, accepted_sent, stalls;
    uint32_t filled, asked_watermark, watermark; /* written; told to the driver; to the core */
    uint32_t attempts, serves;
    uint64_t last_attempt;
    uint8_t last_reader; /* the life that it was for */
    uint64_t base[LIST_MAX];
    struct slot_shadow slot[SLOTS_MAX];
    /* fetches */
    int16_t offer;
    uint8_t want_slot, transport, tries, lease;
    bool wrong_secret, accepted, stop, torn, misfit, aux_came;
    int8_t link;
    uint32_t first_block, begin, end, windows, posted, landed;
    uint64_t attempt, leased;
    uint32_t remote[LIST_MAX];
    uint64_t aux[LIST_MAX];
    /* pushes */
    uint32_t lane;            /* serial of the connection that its link had */
    uint32_t grants, granted; /* GRANTs that were built; the end of the last one */
    uint32_t served, written; /* ends: of the last push at the source; of WRITTEN as it came */
    uint32_t set;             /* bit set of the pieces that a card stored */
    uint32_t coming;          /* pieces on their way by a card */
    uint32_t again_us;
    bool quiesced_said, quiesced_heard, fenced;
};

struct sim_link {
    bool used, core_knows, up, sink, shut, broken, flush, wants;
    uint8_t broken_cause, closed_cause, peer_life;
    int16_t conn;
    uint16_t out; /* windows and serves that use it */
    uint32_t serial;
    uint64_t heard; /* by the node's clock: when its core last heard of the peer */
};

struct message {
    uint64_t due;
    struct frame frame;
    uint8_t payload[PAYLOAD_MAX];
};

struct queue {
    uint32_t first, count;
    struct message message[QUEUE_MAX];
};

struct conn {
    bool used;
    uint8_t node[2], life[2]; /* life of the source: as the sink's ticket says */
    int16_t link[2];          /* -1: closed, or not open yet */
    bool closed[2], eof[2], lost[2], armed[2], blocked[2];
    bool orderly; /* the source said all that it had to say, nothing of that is lost, and closed */
    uint32_t serial;
    uint64_t dial, due[2], bulk_due[2], stall_until;
    struct queue queue[2]; /* on the way to that end */
};

enum window_state { WINDOW_FREE, WINDOW_POSTED, WINDOW_DONE };

struct window {
    uint8_t state, transport, link, status;
    bool begun, holding, stopping, failed;
    int16_t handoff;
    uint32_t serial, offset, length, next, landed, under_way;
    uint64_t tag;
};

struct serve {
    bool used, done;
    bool push, card, stopping, failed, over; /* pushes; over: done when the older ones are */
    uint8_t link, sink, slot, status;
    int16_t handoff, fetch;
    uint16_t window;
    uint32_t serial, window_serial, offset, length, next, under_way;
    uint64_t attempt;
};

struct node {
    bool alive, paused, outside; /* outside: not of those that are healed */
    bool leaving;                /* closed: it ends when all is quiet */
    uint8_t life, done_windows, done_serves, asks;
    uint64_t resume_at, clog_until, clock_at, dials;
    int64_t clock_offset, clock_highest; /* highest: that the offset ever was */
    uint32_t clock_rate;                 /* of 1024 */
    struct core *core;
    struct pool *pool;
    struct sim_link links[LINKS_MAX];
    int16_t table[2][OFFERS_MAX];
    struct window windows[WINDOWS_MAX];
    struct serve serves[SERVES_MAX];
    uint8_t done_window[WINDOWS_MAX], done_serve[SERVES_MAX];
    int16_t ask[ASKS_MAX];
    bool attention;
};

/* What a seed draws before it starts. */
struct options {
    uint64_t faults; /* bit set: which may happen */
    uint32_t nodes, sources, blocks, offers;
    uint32_t transports; /* bit set */
    bool wrapped, ping, clocks, forked, deep, silent_crash, few_peers;
    bool crowded; /* many readers, leases that run out, sources that can hardly answer */
    bool narrow;  /* little may be under way, and one source stops for good */
    bool fences;  /* a sink can close the ways in that a card has */
    bool exits;   /* cards are processes: what they write ends with them, and a sink sees that */
    uint8_t wrap_bits; /* near whose end numbers begin; 0: they begin at 1 */
    uint8_t leaver;    /* a source that ends in order */
    uint64_t leave_us; /* when; 0: never */
    uint32_t fault_us, work_us, delay_us, move_us; /* mean times */
    uint32_t strike, cancel, retry;                /* of 1024 */
    uint32_t stall_compute;                        /* of 1024 */
    uint32_t link_timeout_us, handshake_us;
    uint32_t room, answers; /* frames on the way, to the source and to the sink */
    struct core_limits limits;
};

/* One line of the chart. */
struct mark {
    uint64_t time;
    uint8_t from, to; /* the same: something local */
    uint8_t frame;    /* enum frame_type; 0: `text` says it */
    const char *text;
    uint64_t id, number;
};

struct chart {
    uint64_t count;
    struct mark mark[CHART_MAX];
};

struct world {
    uint64_t now, hash;
    uint32_t order, serial, events, handoff_count, lives, conn_count;
    uint32_t offers_left, faults_done;
    bool healing, closing, framed;
    bool opening; /* the event that a core works at is an OPEN */
    int16_t serve_new;
    struct prng network, schedule, work, fault, push;
    struct options options;
    struct event heap[EVENTS_MAX];
    uint64_t cut_until[NODES_MAX][NODES_MAX];
    uint64_t content;
    uint64_t draws[SIM_FAULTS];
    struct node nodes[NODES_MAX];
    struct life life[LIVES_MAX];
    struct handoff handoff[HANDOFFS_MAX];
    struct conn conn[CONNS_MAX];
    struct sim_result result;
    struct core_actions actions;
    /* Cores and pools lie behind. */
};

struct sim {
    struct world *world, *spare; /* spare: room for a copy */
    size_t bytes;
    size_t core_bytes, pool_bytes;
    struct sim_plan plan;
    struct chart chart;
    void *scratch; /* a core */
    jmp_buf failed;
    bool running;
};

/* ---- world.c ---- */
void push(struct sim *s, uint64_t delay, struct event event);
#define PUSH(s, delay, ...) push((s), (delay), (struct event){__VA_ARGS__})
void world_dispatch(struct sim *s);
_Noreturn void sim_fail(struct sim *s, const char *checker, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void world_full_check(struct sim *s);

static inline uint32_t below(struct prng *prng, uint32_t n)
{
    return (uint32_t)(((prng_next(prng) >> 32) * n) >> 32);
}

/* True for `share` of 1024. */
static inline bool chance(struct prng *prng, uint32_t share)
{
    return (prng_next(prng) >> 54) < share;
}

/* About `mean`: from a fourth of it to seven fourths. */
static inline uint64_t around(struct prng *prng, uint32_t mean)
{
    return mean / 4 + below(prng, mean + mean / 2 + 1);
}

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    a = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
    return a ^ (a >> 29);
}

static inline struct handoff *handoff_at(struct sim *s, int number)
{
    BATON_ASSERT(number >= 0 && number < HANDOFFS_MAX);
    return &s->world->handoff[number];
}

static inline struct life *life_of(struct sim *s, const struct handoff *h)
{
    return &s->world->life[h->life];
}

static inline int number_of(const struct sim *s, const struct handoff *h)
{
    return (int)(h - s->world->handoff);
}

/* The process that has the handoff still lives. */
static inline bool lives(const struct sim *s, const struct handoff *h)
{
    const struct node *n = &s->world->nodes[h->node];

    return n->alive && n->life == h->life;
}

/* The sink reads the source's memory, not the source's own code or card. */
static inline bool reads_itself(unsigned transport)
{
    return transport == BY_MAPPING || transport == BY_LIBRARY;
}

static inline bool is_stream(unsigned transport)
{
    return transport == BY_STREAM || transport == BY_PUSH_STREAM;
}

static inline bool is_push(unsigned transport)
{
    return transport >= PULLS;
}

/* ---- draw.c ---- */
void options_draw(struct sim *s);

/* ---- node.c ---- */
void node_start(struct sim *s, unsigned node);
void node_crash(struct sim *s, unsigned node, bool silent);
void node_apply(struct sim *s, unsigned node, const struct core_event *event);
/* What transports gave back, what broke: at the end of everything that a node does. */
void node_settle(struct sim *s, unsigned node);
void node_clock(struct sim *s, unsigned node);
void node_arm(struct sim *s, unsigned node);
uint64_t node_now(const struct sim *s, unsigned node);

/* ---- conn.c ---- */
int sim_link_to(struct sim *s, unsigned node, unsigned life);
void sim_link_lose(struct sim *s, unsigned node, unsigned link, baton_cause cause);
void sim_link_released(struct sim *s, unsigned node, unsigned link);
void sim_link_shut(struct sim *s, unsigned node, unsigned link);
void sim_link_flush(struct sim *s, unsigned node, unsigned link);
void sim_link_wants(struct sim *s, unsigned node, unsigned link);
void sim_link_break(struct sim *s, unsigned node, unsigned link, baton_cause cause);
void conn_deliver(struct sim *s, const struct event *event);
void conn_arm(struct sim *s, unsigned conn, unsigned end);
void conn_send(struct sim *s, unsigned node, unsigned link, const struct frame *frame);
void conn_close(struct sim *s, unsigned conn, unsigned end, bool silent);
void conn_break(struct sim *s, unsigned conn);

/* ---- frames.c ---- */
bool sim_frame_out(struct sim *s, unsigned node, struct frame *frame,
                   const struct core_action *action);
void sim_frame_in(struct sim *s, unsigned node, unsigned link, const struct frame *frame);
void sim_frame_forge(struct sim *s, unsigned node, unsigned link);
void secret_of(const struct sim *s, const struct handoff *offer, unsigned slot,
               uint8_t ret_secret[ID_BYTES]);

/* ---- bulk.c ---- */
void sim_window_start(struct sim *s, unsigned node, const struct core_action *action);
void sim_window_stop(struct sim *s, unsigned node, int handoff);
void sim_windows_link_closed(struct sim *s, unsigned node, unsigned link);
void sim_window_move(struct sim *s, const struct event *event);
void sim_window_nic(struct sim *s, const struct event *event);
void sim_window_bulk(struct sim *s, const struct event *event);
void sim_serve_ask(struct sim *s, const struct event *event);
void sim_serve_start(struct sim *s, unsigned node, const struct core_action *action);
void sim_serve_stop(struct sim *s, unsigned node, const struct core_action *action);
void sim_serve_step(struct sim *s, const struct event *event);

/* ---- push.c ---- */
void sim_push_start(struct sim *s, unsigned node, const struct core_action *action);
void sim_push_step(struct sim *s, const struct event *event);
void sim_push_stop(struct sim *s, unsigned node, uint64_t offer_id, uint64_t attempt);
void sim_push_link_closed(struct sim *s, unsigned node, unsigned link);
/* A card does something: not the process, which may be dead. */
void sim_push_card(struct sim *s, const struct event *event);
void sim_push_done(struct sim *s, const struct event *event);
/* What its cards had on their way ends with the process, if they are of it. */
void sim_push_died(struct sim *s, unsigned life);
/* The driver of a fetch that is over and not quiet: it dials, fences, and looks for proofs. */
void sim_push_again(struct sim *s, const struct event *event);
void sim_push_wait(struct sim *s, struct handoff *fetch);

/* ---- user.c ---- */
void user_work(struct sim *s);
void user_fetch(struct sim *s, const struct event *event);
void user_compute(struct sim *s, struct handoff *h);
void user_cancel(struct sim *s, struct handoff *h, baton_cancel_scope scope);
void user_told(struct sim *s, struct handoff *h);
void user_retire(struct sim *s, struct handoff *h);
void user_release(struct sim *s, struct handoff *h);

/* ---- ask.c ---- */
void user_asks(struct sim *s, unsigned node);

/* ---- fault.c ---- */
bool fault_happens(struct sim *s, enum sim_fault fault);
/* For those that come with an operation: a draw, and whether it is to happen. */
bool fault_draw(struct sim *s, enum sim_fault fault, uint32_t share);
void fault_next(struct sim *s);
void fault_strike(struct sim *s, const struct event *event);
void fault_stage(struct sim *s, struct handoff *h);
void fault_struck(struct sim *s, unsigned node);

/* ---- leave.c ---- */
/* The node's engine closes. */
void leave_begin(struct sim *s, unsigned node);
/* One that has closed is gone as soon as all is quiet. */
void leave_if_drained(struct sim *s, unsigned node);

/* ---- heal.c ---- */
/* A source stops, and stays so. */
void heal_leave_source(struct sim *s);
void heal_and_finish(struct sim *s);

/* ---- hash.c ---- */
uint64_t hash_core(const struct core *core);
uint32_t hash_replies(const struct core *core);
uint64_t hash_world(struct sim *s);

/* ---- chart.c ---- */
void chart_note(struct sim *s, unsigned from, unsigned to, unsigned frame, const char *text,
                uint64_t id, uint64_t number);

#endif
