/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tiny deterministic world for tests of the core: some cores, joined by wires that carry frames
 * in order.  It does what an engine does (carries frames, answers COPY by COPIED, READ by SERVED)
 * one thing a step, in an order that a seed decides, and records what each handoff was told.  After
 * every step of a core it runs core_check(), and it checks itself what only two ends together show.
 * Time is a variable.  No I/O, no threads.
 *
 * An end of a wire may be the test itself, a puppet: it says what it likes, with world_tell().
 */
#ifndef BATON_TESTS_CORE_WORLD_H
#define BATON_TESTS_CORE_WORLD_H

#include "core/core.h"
#include "util/prng.h"

enum {
    WORLD_NODES_MAX = 4,
    WORLD_WIRES_MAX = 512,
    WORLD_PUPPET = -1, /* a node that is the test */
    WORLD_SINK = 0,    /* the two ends of a wire */
    WORLD_SOURCE = 1,
};

#define WORLD_START_US UINT64_C(1000000000)

/* One end of a handoff, and what it was told. */
struct world_handoff {
    struct world_handoff *next, *offer; /* offer: what a fetch wants; NULL: a puppet's */
    int node, wire;
    enum core_side side;
    uint32_t index, slots, slot;
    uint64_t id, begin, total, watermark;
    unsigned outcomes, doubts, quiets, forgets;
    unsigned copies, serves; /* under way now */
    unsigned copies_all;
    bool stopped, push;
    baton_outcome outcome;
    baton_cause cause;
    baton_stage stage;
    baton_proof proof;
    uint64_t attempts, last_attempt, landed;
    uint8_t peer[ID_BYTES];
    uint64_t committed[BATON_READERS_MAX]; /* the attempt, 0 for none */
};

struct world_queue {
    struct frame *frames; /* type 0: the other end has closed */
    uint32_t first, count, room;
};

struct world_wire {
    int node[2];
    uint32_t link[2];            /* CORE_NO_LINK: that end is closed, or not open yet */
    uint64_t dial;               /* of its HELLO */
    struct world_queue queue[2]; /* on the way to that end */
    bool used, wants[2];         /* wants: that end has something to say */
    bool held[2];                /* by the test: nothing leaves that end */
    bool gone[2];                /* that end was closed */
};

struct world_copy {
    uint64_t id, offset, length, serial;
    bool stopped, asked, served, refused;
    bool push; /* the source sends it without being asked */
    struct world_handoff *fetch;
};

struct world_serve {
    uint64_t offer_id, attempt, copy; /* copy: its serial */
    int sink;
    bool stopped, push;
    uint64_t fetch_id, offset, length; /* push */
    uint32_t slot;                     /* push */
};

struct world_node {
    struct core *core;
    uint8_t incarnation[ID_BYTES];
    int wire_of[WORLD_WIRES_MAX]; /* by link; -1: unused, -2: closed and not free yet */
    struct world_handoff **at[2]; /* by index */
    struct world_copy *copies;
    struct world_serve *serves;
    uint32_t copies_count, serves_count;
    bool idle; /* by the test: its movers do nothing */
};

struct world_options {
    unsigned nodes;            /* 0: 2 */
    struct core_limits limits; /* zero: small defaults, one by one */
    uint64_t seed;             /* 0: things happen in turn */
    uint64_t first_serial;     /* the upper part of the first id; 0: 1 */
    unsigned check_every;      /* core_check() after so many steps; 0: each */
    bool ping;                 /* links are as between hosts */
    bool streams;              /* bytes are sent by the source (READ, SERVE) */
    bool exported;             /* offers can be read without the source's code */
    bool remote;               /* pushes are stored by the source itself */
    bool twice;                /* each frame is applied twice, and must change nothing then */
};

struct world {
    struct world_options options;
    struct world_node nodes[WORLD_NODES_MAX];
    struct world_wire wires[WORLD_WIRES_MAX];
    struct world_handoff *handoffs;
    struct core_actions actions; /* of the last step */
    struct prng prng;
    uint64_t now_us, serial, dial, copy_serial, turn;
    uint64_t steps; /* of all cores */
};

struct world *world_create(const struct world_options *options);
void world_destroy(struct world *world);

/* ---- what users do ---- */

struct world_offer_options {
    uint32_t slots;     /* 0: 1 */
    uint64_t total;     /* 0: 100 */
    uint64_t watermark; /* below which bytes are there; UINT64_MAX: all */
    uint32_t reader_ms, lease_ms, whole_ms;
};

struct world_fetch_options {
    uint32_t slot;
    uint64_t begin, end; /* end 0: to the end of the offer */
    uint64_t offer_id;   /* of a puppet's offer, with total */
    uint64_t total;
    int wire; /* to a puppet */
    bool push;
    uint64_t nonce;
    uint32_t opening_ms, bytes_ms, progress_ms, commit_ms, whole_ms;
};

/* Both are borrowed from the world, for its life. */
struct world_handoff *world_offer(struct world *world, int node,
                                  const struct world_offer_options *options);
/* Dials when there is no link. */
struct world_handoff *world_fetch(struct world *world, int node, struct world_handoff *offer,
                                  const struct world_fetch_options *options);
void world_advance(struct world *world, struct world_handoff *offer, uint64_t watermark);
void world_cancel(struct world *world, struct world_handoff *handoff, baton_cancel_scope scope);

/* ---- what happens ---- */

/* One thing happens.  Returns false when there is nothing to do. */
bool world_step(struct world *world);
/* Until there is nothing to do; a world that does not come to rest fails the test. */
void world_run(struct world *world);
void world_steps(struct world *world, unsigned steps);
/* The time is `now_us`, and both sides look at their clocks. */
void world_at(struct world *world, uint64_t now_us);
void world_after_ms(struct world *world, uint64_t ms);
/* Both ends of all wires between two nodes break; what was on the way is lost. */
void world_cut(struct world *world, int sink, int source);
/* The sink alone loses its link and dials anew; the source has not noticed. */
void world_redial(struct world *world, int sink, int source);
/* The wire of a live link from one node to another; -1. */
int world_wire(const struct world *world, int sink, int source);
void world_hold(struct world *world, int wire, int end, bool held);
void world_event(struct world *world, int node, const struct core_event *event);

/* ---- puppets ---- */

/* Wires whose other end is the test; they stand at once.  `who` names the puppet's incarnation. */
int world_puppet_sink(struct world *world, int node, uint8_t who, uint64_t dial);
int world_puppet_source(struct world *world, int node, uint8_t who);
void world_tell(struct world *world, int wire, const struct frame *frame, baton_cause misfit);
/* The next frame that the core says on the wire; type 0 when the core has closed it.  False: none.
 */
bool world_said(struct world *world, int wire, struct frame *ret_frame);
void world_secret(const struct world_handoff *offer, uint32_t slot, uint8_t ret_secret[ID_BYTES]);

/* ---- looking ---- */

/* Nothing is left in any core but links, and everybody was told all of it. */
void world_check_empty(struct world *world);
/* One outcome and one quiet. */
bool world_over(const struct world_handoff *handoff);
void world_slot(const struct world *world, const struct world_handoff *offer, uint32_t slot,
                struct core_slot_view *ret_view);
void world_counts(const struct world *world, int node, struct core_counts *ret_counts);
void world_gauges(const struct world *world, int node, struct core_gauges *ret_gauges);
/* A number for the whole state but its counts of messages: equal states have equal numbers. */
uint64_t core_hash(const struct core *core);
/* Answers without a record that wait for a link. */
uint32_t core_replies_waiting(const struct core *core);

#endif
