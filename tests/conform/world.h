/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world as a story uses it: handoffs cut into windows, posted and watched, and the checks that
 * hold for each window on every transport.  It also plays the source's engine: it answers
 * read_request() from the handoffs that it knows, or pushes their windows.
 */
#ifndef BATON_TESTS_CONFORM_WORLD_H
#define BATON_TESTS_CONFORM_WORLD_H

#include "conform/fixture.h"

enum {
    HANDOFFS_MAX = 32, /* of one world, ever alive at once */
    WORLD_STEPS_MAX = 100000,
    WORLD_CANARY = 0xa5,
};

struct handoff;

/* A window and what the world knows of it. */
struct watched {
    struct transport_window window; /* first: the transport's pointer leads here */
    struct handoff *handoff;
    unsigned posted, done;
};

/* One offer and its fetch.  Source and sink blocks are random, and its own alone. */
struct handoff {
    struct world *world;
    unsigned link;
    uint64_t offer_id, fetch_id, attempt;
    uint32_t count; /* blocks */
    uint32_t *source_blocks, *sink_blocks;
    struct plan plan, source_plan;
    atomic_bool stop;
    bool revoked; /* the source refuses to serve it; what it pushed is for the story to stop */
    struct watched *windows;
    unsigned window_count;
    unsigned posted, done;
    unsigned status[TRANSPORT_PEER_DEAD + 1]; /* how many windows ended so */
};

struct world_serve {
    struct transport_serve serve; /* first */
    bool busy;
};

/* What the world keeps for the stories; struct world is what it shares with the fixtures. */
struct world_state {
    struct handoff *handoffs[HANDOFFS_MAX];
    uint32_t *source_order, *sink_order; /* the pools' blocks, shuffled */
    uint32_t blocks_used;                /* of both orders */
    uint64_t next_id;
    uint64_t random;
    unsigned char *snapshot; /* the source's bytes as world_fill() wrote them */
    struct world_serve *serves;
    unsigned serving; /* serves lent to the transport */
    unsigned double_done;
    unsigned strange; /* requests and upcalls that should not come */
    uint32_t refuse_from_block;
    /* Runs within window_done(), after it was counted. */
    void (*on_done)(struct handoff *handoff, void *arg);
    void *on_done_arg;
};

struct world_shape {
    uint32_t block_bytes, block_count, slice_bytes, window_bytes;
    unsigned windows_max;
};

/* Run `story` in a world of its own for each fixture and each of its mover counts. */
void each_world(const struct world_shape *shape, void (*story)(struct world *world));

/* A CHECK that also says in which world it failed. */
bool world_check(const struct world *world, bool ok, const char *condition, const char *file,
                 int line);
#define EXPECT(world, condition) world_check((world), (condition), #condition, __FILE__, __LINE__)

uint64_t world_random(struct world *world);

/* New source bytes, canaries in the sink, and all blocks free for new handoffs.  No window is under
 * way. */
void world_fill(struct world *world);
/* Put canaries into the sink's blocks of a handoff: what its next owner would do. */
void handoff_overwrite(struct handoff *handoff);
/* Whether they are still there. */
bool handoff_overwritten(const struct handoff *handoff);

/* A handoff of `count` blocks on a link; no window yet. */
struct handoff *handoff_make(struct world *world, unsigned link, uint32_t count);
/* Windows of `window_bytes` each, the last one shorter; 0: of random odd lengths, shuffled. */
void handoff_cut(struct handoff *handoff, uint64_t window_bytes);
void handoff_post(struct handoff *handoff, unsigned index);
void handoff_post_all(struct handoff *handoff);
/* As the engine does it: the flag and the call. */
void handoff_stop(struct handoff *handoff);
bool handoff_all_done(void *handoff);
/* Drive until every window is back; a story fails here rather than hangs. */
void handoff_finish(struct handoff *handoff);

/*
 * Whatever became of it: each window was given back exactly once with a status that fits its flag
 * and its bytes.  Call it before the sink is overwritten.
 */
void handoff_check(const struct handoff *handoff);
/* And every window arrived. */
void handoff_check_whole(const struct handoff *handoff);

/* Serves of this handoff that are lent to the transport. */
unsigned world_serves(const struct handoff *handoff);
/* Every window and every serve was given back.  Takes a struct world. */
bool world_quiet(void *world);
/* Close both ends of a link. */
void world_link_close(struct world *world, unsigned link);
/* Sink bytes that no handoff owns are canaries. */
void world_check_rest(const struct world *world);

#endif
