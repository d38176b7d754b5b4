/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: the only impure middle.  It owns the sockets, the memory and the threads, feeds the
 * core with events and carries out its actions.  This header is for the files of this folder only.
 *
 * Threads.  One thread at a time drives the engine: its own, or the caller of baton_engine_step().
 * "Driver only" fields belong to it.  Everybody else reaches it through asks: bits that are set in
 * a handoff, which is then pushed on a list without a lock.  A pool's lock protects its book;
 * table_lock protects the free indices and ids; notices_lock the completion queue.  Order:
 * table_lock, a pool's scratch_lock, its lock; the others alone.  No lock is held while a callback
 * runs.
 */
#ifndef BATON_ENGINE_ENGINE_H
#define BATON_ENGINE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

#include "baton.h"
#include "core/core.h"
#include "layout/layout.h"
#include "pool/pool.h"
#include "transport/transport.h"
#include "util/assert.h"
#include "util/error.h"
#include "wire/ticket.h"

enum {
    ENGINE_TRANSPORTS = 3,
    ENGINE_TRANSPORTS_DEFAULT = 2, /* of them: those that need no library */
    ENGINE_WINDOWS_MAX = 256,      /* windows under way at once, and at most so many on one link */
    ENGINE_WINDOWS_PER_FETCH = 4,
    ENGINE_REPLIES_MAX = 64,       /* answers that wait for one link */
    ENGINE_EVENTS_MAX = 64,        /* descriptors looked at in one step */
    ENGINE_GREETERS_MAX = 64,      /* accepted connections that have not said who they are */
    ENGINE_READ_BYTES = 64 << 10,  /* of one read of a control connection */
    ENGINE_WRITE_BYTES = 64 << 10, /* a link with more than this to write gets no further frame */
    ENGINE_RANDOM_BYTES = 1024,    /* asked of the kernel at once */
    ENGINE_BELLS_BYTES = 256,      /* of one read of a connection that carries only bells */
    ENGINE_FDS_MAX = 4,            /* descriptors that a link has received and not used */
    ENGINE_HANDSHAKE_MS = 5000,    /* a connection that has not said who it is by then is closed */
    ENGINE_WINDOW_BYTES_MAX = 1 << 30, /* upper limit of window_bytes, whichever engine's */
    ENGINE_SPIN_US_MAX = 100000,       /* upper limit of spin_us */
    ENGINE_SPIN_TURN_US = 50,          /* a turn lost for longer went to somebody busy */
    ENGINE_SPIN_PAUSE_US = 1000000,    /* then nothing is spun for so long */
    ENGINE_SPIN_US_FIRST = 10,         /* a driver that begins to spin begins with so much */
    ENGINE_DOUBT_DIAL_MS = 500,        /* between two dials of a source that is to end a doubt */
    ENGINE_TICK_MS = 50,           /* housekeeping: handshakes, background check of free blocks */
    ENGINE_SCAN_BYTES = 256 << 10, /* checked in one housekeeping round, of each pool */
};

struct engine_link;

/* What other threads ask of the driver. */
enum ask {
    ASK_START = 1 << 0,
    ASK_ADVANCE = 1 << 1,
    ASK_CANCEL = 1 << 2,
};

struct baton_pool {
    baton_engine *engine;
    uint32_t number; /* its place in engine->pools */
    uint32_t region; /* its name on the wire, never used twice: a multiple of BATON_POOLS_MAX, plus
                        number */
    unsigned flags;
    bool wrapped;
    uint64_t block_bytes;
    uint32_t block_count;
    struct baton_layout layout;
    unsigned char *memory;
    uint64_t bytes;
    int memfd;                       /* -1 when wrapped */
    struct transport_memory *shared; /* the same memory, for libraries; owns it and memfd */
    int export_fd;                   /* the same memory, for reading only; -1 when wrapped */
    atomic_bool exported;            /* a peer can read it without our code; never taken back */
    pthread_mutex_t lock;            /* protects book and everything it holds */
    struct pool *book;
    pthread_mutex_t scratch_lock; /* protects scratch; taken before lock, alone of all */
    uint32_t *scratch;            /* room for block_count numbers */
    atomic_uint_fast64_t late_bytes, late_blocks;
    uint32_t scan_next; /* driver only */
};

enum {
    NOTICES = 3, /* BATON_NOTICE_OUTCOME, DOUBT, QUIET */
};

struct notice {
    struct notice *next;
    struct baton_handoff *handoff;
    baton_notice kind;
};

struct baton_handoff {
    baton_engine *engine;
    enum core_side side;
    uint32_t index;
    uint64_t id;
    baton_pool *pool;
    /*
     * One reference each: the caller's; the core's record, until it is forgotten; the loan, until
     * it is retired; each ask on the list; each completion that was not collected.
     */
    atomic_uint refs;
    atomic_uint user_refs; /* those that the caller must drop */
    struct baton_notices notices;

    atomic_uint asks;  /* enum ask */
    atomic_bool asked; /* is on the list */
    struct baton_handoff *ask_next;
    atomic_uint cancel; /* 0: not asked; else 1 + baton_cancel_scope */
    atomic_uint_fast64_t cancel_at_ns;
    atomic_uint_fast64_t watermark; /* offer */
    atomic_bool stop;               /* fetch: no slice starts once it is true */
    atomic_bool decided;            /* the outcome is */

    struct pool_loan loan;   /* under the pool's lock once lent */
    uint32_t *blocks, *last; /* block_count each */
    struct plan plan;
    uint64_t start_us;
    struct baton_result result;   /* written by the driver before `decided` */
    struct baton_receipt receipt; /* written by the driver before its notice */
    uint64_t nonce;
    struct notice notice[NOTICES];
    uint64_t outcome_us;      /* driver only */
    unsigned transports_used; /* driver only: wire bits */
    /* Driver only: its place in engine->unproven; NULL: it has none. */
    struct baton_handoff *unproven_next, **unproven_at;

    /* Offer. */
    struct core_event_offer offer;
    struct landing *landing[BATON_READERS_MAX]; /* driver only: of the slots that are pushed */
    atomic_bool aux_closed;                     /* the watermark was told to be at its end */
    pthread_mutex_t aux_lock;                   /* protects aux, aux_bytes */
    /* Both. */
    unsigned char *aux;
    size_t aux_bytes;

    /* Fetch. */
    struct core_event_fetch fetch;
    struct ticket ticket;
    uint32_t first_block;
    unsigned transports_wanted;   /* wire bits */
    uint32_t *remote;             /* the offer's blocks at the source; set with ACCEPT */
    bool accepted;                /* driver only */
    uint64_t granted;             /* driver only: plan bytes below it, when pushed */
    uint64_t attempt;             /* driver only */
    struct engine_link *link;     /* driver only; of another life, if its serial is not */
    uint64_t link_serial;         /* driver only */
    bool fenced;                  /* driver only: nixl: that link's end here is gone, */
    bool exit_proves;             /* and the end of the source proves the rest */
    bool quiesced;                /* driver only: the source has said so, before that */
    struct engine_region *region; /* driver only; one reference */
    uint32_t peer_region;         /* driver only: the offer's, as REGION names it */
    unsigned transport;           /* driver only: index into engine->transports */
    atomic_bool doubted;          /* its doubt was told, and quiet is not proven */
};

/* A connection that has not said who it is, or the control connection of a link. */
struct connection {
    struct transport_fd watch; /* fd -1: closed */
    baton_engine *engine;
    struct engine_link *link; /* NULL: a greeter */
    bool is_unix;
    bool connecting;
    unsigned events; /* that are watched */
    pid_t pid;       /* by the kernel's word; -1: not on this host */
    uid_t uid;
    int pidfd; /* -1 */
    uint64_t since_us;
    unsigned char *in; /* bytes read and not yet decoded */
    size_t in_length, in_room;
    unsigned char *out; /* bytes encoded and not yet written */
    size_t out_length, out_sent, out_room;
    int out_fd; /* ours, travels with byte out_fd_at; -1 */
    size_t out_fd_at;
    int fds[ENGINE_FDS_MAX]; /* received and not used */
    unsigned fd_count;
    struct rings *rings; /* made or taken; NULL: none */
    bool ringed;         /* frames go through them, both ways */
    bool ring_broken;    /* the peer wrote a position that can not be */
};

/*
 * Memory of a peer.  Driver only.  One reference each: its place in the link, until another takes
 * it or the link is released; a fetch that reads from it, and a landing in it, until they are
 * forgotten, which is after their last window.
 */
struct engine_region {
    struct transport_region region; /* first: windows know only this */
    bool usable;
    unsigned refs;
};

/* The engine's half of a core link.  Driver only. */
struct engine_link {
    baton_engine *engine;
    uint32_t number;
    bool used; /* known to the core, or its last windows are not back */
    bool core_knows;
    bool sink;
    bool up;
    bool flush;  /* is on the flush list */
    bool hot;    /* its ring is looked at in each step */
    bool broken; /* to be closed, soon */
    baton_cause broken_cause;
    bool heard;     /* the core is to be told that bytes came */
    bool shut;      /* its transports are to be closed */
    bool attention; /* one of these three */
    uint64_t made_us;
    uint64_t serial; /* of this life of the record */
    struct connection control;
    struct transport_fd peer_exit; /* watches a pidfd, its own; fd -1 */
    bool peer_exit_watched;
    uint8_t id[ID_BYTES];
    uint8_t incarnation[ID_BYTES]; /* of the peer */
    uint32_t peer_transports;
    struct transport_link *transport[ENGINE_TRANSPORTS];
    unsigned out;        /* windows and serves that a transport has */
    bool pushed;         /* sink: its peer may write into our pools */
    bool writer_told;    /* source: the peer knows which process pushes for us, if it can */
    int writer;          /* sink: a pidfd of the helper that pushes for the source; -1: none */
    struct doubt *doubt; /* then: what is made of the link's loss */
    struct engine_link *flush_next;
    /* Sink. */
    struct ticket ticket; /* where to dial */
    unsigned round;       /* of dialling: 0 Unix sockets, 1 TCP */
    unsigned endpoint;    /* the one being tried */
    baton_cause rejected; /* why an endpoint that answered did not want us; NONE */
    struct engine_region *region[BATON_POOLS_MAX]; /* by id modulo BATON_POOLS_MAX */
    /* Source: the regions that the peer was told of, by pool; UINT32_MAX: none. */
    uint32_t told[BATON_POOLS_MAX];
};

struct engine_window {
    struct transport_window window; /* first: transports know only this */
    struct engine_window *next;
    struct landing *landing; /* source: a push; NULL: of a fetch */
    bool over;               /* a push that was given back */
    bool busy;               /* a transport has it */
    bool orphan;             /* sabotage: the core believes that it is over */
};

struct listener {
    struct transport_fd watch;
    baton_engine *engine;
    bool is_unix;
    bool unlink_path;
    bool paused; /* until the next tick */
    char endpoint[BATON_ENDPOINT_BYTES_MAX];
};

struct histogram {
    uint64_t count, sum;
    uint64_t bucket[32]; /* values up to 2^i; the last: above */
};

struct engine_counts {
    uint64_t offers, fetches;
    uint64_t outcomes[2][BATON_FAILED + 1];
    uint64_t causes[BATON_CAUSE_COUNT_];
    uint64_t cancels_won;
    uint64_t receipts[BATON_PROOF_COUNT_];
    uint64_t doubts;
    uint64_t links_fenced, peers_killed; /* because of on_doubt */
    uint64_t bytes_landed, bytes_useful, bytes_wasted, bytes_served;
    uint64_t frames_in, frames_out;
    uint64_t links_rejected;
    struct histogram time_to_quiet_us, fetch_us;
};

struct engine_transport {
    const struct transport_ops *ops;
    struct transport *transport;
};

struct baton_engine {
    uint64_t forks; /* of this process when the engine was made */
    struct baton_engine_options options;
    uint8_t incarnation[ID_BYTES];
    uint8_t *nonce; /* ID_BYTES that a peer reads to be sure of our memory */
    uint64_t made_us;

    int epoll_fd, wake_fd, timer_fd;
    struct transport_fd wake_watch, timer_watch;
    pthread_t thread;
    bool has_thread;
    atomic_bool closing;
    atomic_bool stopping; /* the driving thread is to leave */
    atomic_bool woken;    /* there is something to do that the driver may not have seen */
    atomic_bool asleep;   /* the driver sleeps, or may: who wakes it must write wake_fd */
    atomic_bool fd_taken; /* the caller that drives may sleep on our descriptor between steps */
    _Atomic(struct baton_handoff *) asking; /* newest first */

    struct listener listener[BATON_ENDPOINTS_MAX];
    unsigned listeners;
    char advertise[BATON_ENDPOINTS_MAX][BATON_ENDPOINT_BYTES_MAX];
    unsigned advertised;
    struct listener stats; /* fd -1: none */

    struct engine_transport transports[ENGINE_TRANSPORTS]; /* best first */
    unsigned transport_count;
    uint32_t transport_bits;

    /* Driver only. */
    struct core *core;
    struct core_actions *actions;
    bool applying;
    uint64_t spin_us;      /* how long it looks for work before it sleeps */
    uint64_t spin_from_us; /* not before that time */
    uint64_t applied;      /* events but for the passing of time, and actions */
    bool closed;           /* all handoffs were told that the engine closes */
    struct epoll_event batch[ENGINE_EVENTS_MAX];
    int batch_count;       /* events of the batch being looked at */
    bool framed;           /* the last step built a frame */
    bool attention;        /* some link needs some */
    uint64_t read_own;     /* the transport's name for the read being answered */
    uint64_t timer_due_us; /* what timer_fd was set to; CORE_NEVER: it is not */
    uint64_t next_tick_us;
    uint64_t dials;
    uint64_t links_made;       /* their serials */
    struct engine_link *links; /* options.links_max */
    uint32_t links_used;       /* those from here on were never used; and so with greeters */
    unsigned greeters_used;
    uint32_t *hot; /* links whose rings are looked at in each step */
    uint32_t hot_count;
    struct engine_link *flushing;
    struct connection greeters[ENGINE_GREETERS_MAX];
    struct engine_window *windows, *windows_free;
    struct engine_window *windows_done, **windows_last; /* given back, oldest first */
    struct engine_window *push_spare;
    struct landing *landing_spare; /* of the OPEN that is looked at */
    struct doubt *doubts;
    struct transport_serve *serves_done, **serves_last; /* the same */
    struct transport_serve *serve_spare;
    struct baton_handoff *unproven, **unproven_last; /* that on_doubt waits for, oldest first */
    struct engine_counts counts;                     /* others see a copy: stats.c */

    pthread_mutex_t table_lock; /* protects pools, the two tables, the free indices, serial */
    baton_pool *pools[BATON_POOLS_MAX];
    struct baton_handoff **table[2]; /* by core_side and index */
    uint32_t *free_index[2];
    uint32_t free_count[2];
    uint64_t serial;
    uint32_t regions;          /* how many pools there ever were */
    atomic_uint checked_pools; /* with BATON_POOL_CHECK */
    atomic_uint active;        /* handoffs that are not quiet */
    atomic_uint doubted;       /* fetches that are */
    atomic_uint user_refs;     /* all handoffs' */
    atomic_uint_fast64_t cancels_requested, retired;

    pthread_mutex_t notices_lock; /* protects the two below */
    struct notice *notices_first, **notices_last;
    int completion_fd;

    pthread_mutex_t stats_lock; /* protects published */
    struct engine_published *published;
    uint64_t published_applied; /* driver only: `applied` at that time */
    uint64_t published_us;      /* driver only */

    pthread_mutex_t random_lock; /* protects the two below */
    uint8_t random[ENGINE_RANDOM_BYTES];
    size_t random_left; /* not used yet, at the front */

    pthread_mutex_t drain_lock; /* protects nothing but the condition */
    pthread_cond_t drained;
};

/* engine.c */
/* BATON_EFORKED in a child of the process that made the engine. */
baton_err engine_check(const baton_engine *engine);
void engine_log(const baton_engine *engine, baton_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* From the kernel's generator; any thread.  False: it has none. */
bool engine_random(baton_engine *engine, void *ret_bytes, size_t length);

/* options.c */
/* The options with all defaults filled in; the arrays that they name are still the caller's. */
baton_err options_copy(struct baton_engine_options *ret_options,
                       const struct baton_engine_options *options, struct baton_error *ret_error);

/* loop.c: the driver. */
baton_err loop_init(baton_engine *engine, struct baton_error *ret_error);
void loop_fini(baton_engine *engine);
void loop_wake(baton_engine *engine); /* any thread */
void loop_step(baton_engine *engine, int timeout_ms);
void loop_asks(baton_engine *engine);
/* Whether the calling thread is in the engine's loop_step(). */
bool loop_drives(const baton_engine *engine);
bool loop_watch(void *engine, struct transport_fd *fd, unsigned events);
void loop_rewatch(void *engine, struct transport_fd *fd, unsigned events);
void loop_unwatch(void *engine, struct transport_fd *fd);

/* carry.c: between core and world. */
void engine_apply(baton_engine *engine, const struct core_event *event);
/* Feed back what transports have given back. */
void engine_settle(baton_engine *engine);
/* The same of windows and serves alone, where the next frame would find them under way. */
void engine_settle_movers(baton_engine *engine);

/* window.c: what transports do for the engine; the upcalls. */
baton_err windows_init(baton_engine *engine, struct baton_error *ret_error);
void windows_fini(baton_engine *engine);
void window_start(baton_engine *engine, const struct core_action *action);
void window_stop(baton_engine *engine, const struct core_action *action);
/* A window is to be told of as given back, after those before it. */
void window_over(baton_engine *engine, struct engine_window *window);
/* The oldest that was given back, the caller's now; NULL: none. */
struct engine_window *window_done_pop(baton_engine *engine);
struct transport_serve *serve_done_pop(baton_engine *engine);
/* Memory for the next serve.  False: there is none, and the link is broken for it: a peer that got
 * no answer would wait for ever. */
bool serve_reserve(struct engine_link *link);
void serve_start(baton_engine *engine, const struct core_action *action);
void serve_refuse(baton_engine *engine, const struct core_action *action);
void serve_stop(baton_engine *engine, const struct core_action *action);
void serve_free(struct transport_serve *serve);
struct transport_link *window_link(struct engine_link *link, unsigned transport);
/* Make the pool reachable to the link's peer by nixl: it is to be used soon. */
void window_share(struct engine_link *link, baton_pool *pool);
/* Where it is in engine->transports; it must be there. */
unsigned transport_index(const baton_engine *engine, const struct transport_ops *ops);

/* link.c: control connections that stand. */
void connection_init(struct connection *connection, baton_engine *engine);
/* Writes what there is; false when the connection is gone. */
bool connection_write(struct connection *connection);
bool connection_add(struct connection *connection, const struct frame *frame, int fd);
void connection_close(struct connection *connection);
void connection_events(struct connection *connection);
/* Reads once.  > 0: bytes were added to `in`; 0: nothing there; < 0: the connection is gone. */
int connection_read(struct connection *connection);
/* Of a connection whose frames go elsewhere: takes descriptors, drops bytes.  As connection_read().
 */
int connection_bells(struct connection *connection);
/* Why it is gone, after a call has said that it is. */
baton_cause connection_cause(const struct connection *connection);
/* Room for so many bytes more in `in`; false: no memory. */
bool connection_reserve(struct connection *connection, size_t bytes);
/* Sends the descriptor that waits, with a bell; it is still there when the socket is full.  False:
 * the connection is gone. */
bool connection_send_fd(struct connection *connection);
/* The oldest descriptor that was received, the caller's now; -1: none. */
int connection_pop_fd(struct connection *connection);
void connection_used(struct connection *connection, size_t bytes);
void link_ready(struct transport_fd *watch, unsigned events);
void link_frame(baton_engine *engine, const struct core_action *action);
void link_up(struct engine_link *link);
void link_shut(baton_engine *engine, const struct core_action *action);
void link_released(struct engine_link *link);
void link_wants(baton_engine *engine, uint32_t number);
void link_flush_all(baton_engine *engine);
void link_lose(struct engine_link *link, baton_cause cause);
/* Say that engine_settle() is to look at the link. */
void link_attend(struct engine_link *link);
void link_close_transports(struct engine_link *link);
/* The record as it is before its first use. */
void link_init(struct engine_link *link, baton_engine *engine, uint32_t number);
/* Decode and apply what was read. */
void link_digest(struct engine_link *link);
/* NULL is nothing. */
struct engine_region *region_ref(struct engine_region *region);
void region_unref(struct engine_region *region);

/* rings.c: links of one host, through shared memory. */
/* Sink: makes the memory; returns a descriptor to send with HELLO, the caller's; -1: there is none.
 */
int rings_make(struct connection *connection);
/* Source: maps what came with HELLO, and closes `fd`.  False: it can not be used. */
bool rings_take(struct connection *connection, int fd);
/* From here on frames go through the rings.  Nothing waits to be written. */
void rings_begin(struct connection *connection);
void rings_close(struct connection *connection);
/* As connection_write(). */
bool rings_write(struct connection *connection);
/* The socket of a link with rings is readable, or at its end. */
void rings_ready(struct connection *connection);
/* Reads the rings of hot links. */
void rings_poll(baton_engine *engine);
/* Whether a hot link's ring has bytes. */
bool rings_have(const baton_engine *engine);
/* Before the driver sleeps, or may: tell the peers to ring.  `leave`: it does not look again before
 * they do.  False: there is something to read. */
bool rings_rest(baton_engine *engine, bool leave);

/* frames.c: what a frame says beyond the core's numbers. */
bool frame_out(struct engine_link *link, struct frame *frame, const struct core_action *action);
/* Describe a pool to the peer.  False: no memory. */
bool frame_share(struct engine_link *link, const struct transport_memory *memory,
                 const void *descriptor, size_t length);
/* False: the frame is one that the protocol forbids here. */
bool frame_in(struct engine_link *link, const struct frame *frame);

/* greet.c: listen, dial, HELLO. */
baton_err greet_listen(baton_engine *engine, struct baton_error *ret_error);
void greet_fini(baton_engine *engine);
/* The link to the ticket's source, made and dialled if there is none; NULL: no link is free. */
struct engine_link *greet_link(baton_engine *engine, const struct ticket *ticket);
void greet_tick(baton_engine *engine, uint64_t now_us);
/* The connection that was being dialled is no good: try the next endpoint, or give up. */
void greet_next(struct engine_link *link);

/* listen.c */
baton_err listener_open(struct listener *listener, baton_engine *engine, const char *text,
                        void (*ready)(struct transport_fd *, unsigned),
                        struct baton_error *ret_error);
void listener_close(struct listener *listener);
/* A connection; -1.  Out of descriptors: nothing is accepted until the next tick. */
int listener_accept(struct listener *listener);
void listener_pause(struct listener *listener);
void listener_resume(struct listener *listener);
baton_err listen_all(baton_engine *engine, void (*ready)(struct transport_fd *, unsigned),
                     struct baton_error *ret_error);

/* endpoint.c */
struct endpoint {
    bool is_unix;
    char text[BATON_ENDPOINT_BYTES_MAX]; /* path, "@name", or "ADDRESS:PORT" */
};
/* The address of the ticket's first endpoint of that kind, "unix:" or "tcp:"; NULL: none. */
const char *endpoint_of(const struct ticket *ticket, const char *kind);
baton_err endpoint_parse(const char *text, struct endpoint *ret_endpoint,
                         struct baton_error *ret_error);
/* A socket address; false for text that is none. */
bool endpoint_address(const struct endpoint *endpoint, void *ret_address, unsigned *ret_length,
                      bool *ret_wildcard);
void endpoint_format(int fd, bool is_unix, char *ret_text);

/* handoff.c */
void handoff_ref(struct baton_handoff *handoff);
void handoff_unref(struct baton_handoff *handoff);
void handoff_ask(struct baton_handoff *handoff, enum ask ask);
/* The handoff of a peer's or the core's id, if it is not forgotten. */
struct baton_handoff *handoff_find(baton_engine *engine, enum core_side side, uint64_t id);
void handoff_start(struct baton_handoff *handoff);
void handoff_forget(baton_engine *engine, enum core_side side, uint32_t index);
/* Reserve an index and an id; CORE_NONE when all are taken. */
baton_err handoff_enter(struct baton_handoff *handoff, struct baton_error *ret_error);
struct baton_handoff *handoff_create(baton_engine *engine, enum core_side side, baton_pool *pool,
                                     const uint32_t *blocks, uint32_t count,
                                     const struct baton_notices *notices);
void handoff_free(struct baton_handoff *handoff);

/* notice.c */
void notice_give(struct baton_handoff *handoff, baton_notice kind);

/* memory.c: pools. */
void pool_scan(baton_pool *pool);
void pool_free_memory(baton_pool *pool);
void pool_give_back(baton_pool *pool, const uint32_t *blocks, size_t count);
/* Under table_lock. */
void pool_look(baton_pool *pool, struct baton_pool_stats *ret_stats);
bool pool_shareable(const baton_pool *pool);
/* Wire bits of the transports that can move its bytes. */
uint32_t pool_transports(const baton_pool *pool);

/* stats.c */
/* Let other threads see the driver's counters. */
void stats_publish(baton_engine *engine, bool sleeping);
baton_err stats_listen(baton_engine *engine, struct baton_error *ret_error);
void stats_fini(baton_engine *engine);
void histogram_add(struct histogram *histogram, uint64_t value);

#endif
