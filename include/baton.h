/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Baton: hand the KV cache of an LLM request from a prefill server to a decode server, such that
 * either side can cancel at any moment and a receipt proves when the memory is quiet.
 *
 * A prefill engine makes an *offer* of pool blocks and gets a *ticket*; the ticket travels with the
 * request; a decode engine *fetches* it into blocks of its own.  Each end of a handoff ends once,
 * in an *outcome*.  When nothing can touch its blocks any more there is a *receipt*, and only a
 * receipt gives the blocks back.
 *
 * Threads: every function may be called from any thread unless its comment says otherwise.
 * Callbacks run on the thread that drives the engine, one at a time, with no lock held; they may
 * call any function of this header except those that wait (baton_engine_drain,
 * baton_engine_destroy, baton_engine_step).
 *
 * Fork: in a child, the parent's engines are dead.  Every call on them returns BATON_EFORKED and
 * touches nothing.
 *
 * Outputs are named ret_x, are written on success only, and on an error the world is as before the
 * call.
 */
#ifndef BATON_H
#define BATON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BATON_MUST_USE __attribute__((warn_unused_result))
#define BATON_API __attribute__((visibility("default")))
#else
#define BATON_MUST_USE
#define BATON_API
#endif

#define BATON_VERSION_MAJOR 0
#define BATON_VERSION_MINOR 1
#define BATON_VERSION_PATCH 0

enum {
    BATON_TICKET_BYTES_MAX = 512,       /* a ticket in binary */
    BATON_TICKET_TEXT_BYTES_MAX = 685,  /* a ticket as URL-safe text, with its closing NUL */
    BATON_READERS_MAX = 8,              /* reader slots of one offer */
    BATON_ENDPOINTS_MAX = 4,            /* listen or advertise addresses of one engine */
    BATON_ENDPOINT_BYTES_MAX = 108,     /* one address, with its closing NUL */
    BATON_AUX_BYTES_MAX = 65536,        /* opaque bytes that travel with the commit */
    BATON_HANDOFF_BLOCKS_MAX = 1 << 17, /* blocks of one handoff */
    BATON_POOL_BLOCKS_MAX = 1 << 24,    /* blocks of one pool */
    BATON_POOLS_MAX = 64,               /* pools of one engine */
    BATON_HANDOFFS_MAX = 1 << 17,       /* upper limit of offers_max and of fetches_max */
    BATON_LINKS_MAX = 1024,             /* upper limit of links_max */
    BATON_MOVERS_MAX = 16,              /* upper limit of movers */
    BATON_ERROR_TEXT_BYTES = 256,       /* a message, with its closing NUL */
};

/* Watermark value: every byte of the offer is there. */
#define BATON_WATERMARK_END UINT64_MAX

typedef struct baton_engine baton_engine;
typedef struct baton_pool baton_pool;
typedef struct baton_handoff baton_handoff;

/* ---- errors ---- */

typedef enum baton_err {
    BATON_OK = 0,
    BATON_EINVAL,   /* an argument is wrong; the message says which and why */
    BATON_ENOMEM,   /* memory, a descriptor or another resource of the system ran out */
    BATON_ELIMIT,   /* a stated limit of this engine is reached; try again later or raise the option
                     */
    BATON_ECLOSED,  /* the engine is closing: no new work */
    BATON_EBUSY,    /* blocks still lack a receipt, or are lent in a way that excludes this call */
    BATON_EFULL,    /* the pool has too few free blocks */
    BATON_ETICKET,  /* not a ticket, or one of an unknown version */
    BATON_EADDRESS, /* an endpoint is malformed, forbidden, or in use */
    BATON_ERECEIPT, /* the receipt was used before, belongs to another handoff, or is no receipt */
    BATON_ETIMEOUT, /* the given time passed first */
    BATON_EFORKED,  /* the engine was made in another process */
    BATON_ESYSTEM,  /* the operating system refused; the message names the call and its error */
} baton_err;

/* What went wrong, for a person.  `text` names the values that clash and what to do. */
struct baton_error {
    baton_err code;
    char text[BATON_ERROR_TEXT_BYTES];
};

/* The version of the library that is loaded, such as "0.1.0". */
BATON_API const char *baton_version(void);

/* One short English sentence for `err`; never NULL. */
BATON_API const char *baton_strerror(baton_err err);

/*
 * What to do when an invariant of the library is broken: `hook` gets the failed condition, its file
 * and line, on the thread that found it, and must not return; when it returns, the process aborts.
 * NULL restores abort() with a message.
 */
typedef void (*baton_panic_fn)(const char *condition, const char *file, int line);
BATON_API void baton_panic_hook(baton_panic_fn hook);

/* ---- outcome and receipt ---- */

/* How one end of a handoff ended.  Decided once; the first decision wins. */
typedef enum baton_outcome {
    BATON_UNDECIDED = 0,
    BATON_COMPLETED,      /* fetch: all bytes are there and committed.  offer: every reader slot was
                             committed */
    BATON_CANCELLED,      /* cancelled by this side */
    BATON_PEER_CANCELLED, /* cancelled, revoked or ended by the other side */
    BATON_TIMED_OUT,      /* a clock of this side ran out; the cause says which */
    BATON_LINK_LOST,      /* the peer died, or the link to it broke or could not be made */
    BATON_REFUSED,        /* the source refused; the cause says whether a retry makes sense */
    BATON_FAILED, /* a request that can not work: wrong secret or layout, or reading failed */
} baton_outcome;

/* Why. */
typedef enum baton_cause {
    BATON_CAUSE_NONE = 0,
    BATON_CAUSE_CANCEL,  /* baton_handoff_cancel() at this side or, for PEER_CANCELLED, at the other
                          */
    BATON_CAUSE_CLOSING, /* the engine is closing */
    BATON_CAUSE_CLOCK_READER,   /* no reader came in time */
    BATON_CAUSE_CLOCK_LEASE,    /* a reader kept its lease too long */
    BATON_CAUSE_CLOCK_WHOLE,    /* the whole handoff took too long */
    BATON_CAUSE_CLOCK_OPENING,  /* the source did not accept in time */
    BATON_CAUSE_CLOCK_BYTES,    /* the source's watermark stood still for too long */
    BATON_CAUSE_CLOCK_PROGRESS, /* readable bytes did not land in time */
    BATON_CAUSE_CLOCK_COMMIT,   /* the source did not answer the commit in time */
    BATON_CAUSE_BUSY, /* REFUSED: another reader has the slot; try again later, or another slot */
    BATON_CAUSE_GONE, /* REFUSED: the source knows no such offer (any more) */
    BATON_CAUSE_COMMITTED,   /* REFUSED: another reader has already committed the slot */
    BATON_CAUSE_ATTEMPTS,    /* REFUSED: the offer has had its maximum of attempts */
    BATON_CAUSE_INCARNATION, /* REFUSED: the ticket is of an earlier life of the source */
    BATON_CAUSE_SECRET,      /* FAILED: the ticket's secret is wrong */
    BATON_CAUSE_LAYOUT,      /* FAILED: the two layouts or the wanted ranges do not fit */
    BATON_CAUSE_EARLY,       /* FAILED: commit before the watermark reached the end */
    BATON_CAUSE_READ,        /* FAILED: reading the source's memory failed */
    BATON_CAUSE_TRANSPORT,   /* FAILED: no transport that both sides allow reaches the memory */
    BATON_CAUSE_UNREACHABLE, /* LINK_LOST: none of the source's endpoints answered */
    BATON_CAUSE_PEER_DIED,   /* LINK_LOST: the peer process ended */
    BATON_CAUSE_LINK_CLOSED, /* LINK_LOST: the connection ended */
    BATON_CAUSE_LINK_SILENT, /* LINK_LOST: no answer within link_timeout_ms */
    BATON_CAUSE_PROTOCOL,    /* LINK_LOST: the peer sent something that the protocol forbids */
    BATON_CAUSE_FENCED,      /* LINK_LOST: this side closed the link because of on_doubt */
    BATON_CAUSE_COUNT_,
} baton_cause;

/* The evidence of quiet.  See docs/DESIGN.md, section 4. */
typedef enum baton_proof {
    BATON_PROOF_NONE = 0,
    BATON_PROOF_NEVER_EXPOSED, /* nobody could ever touch the blocks */
    BATON_PROOF_LOCAL_DRAIN, /* only this process's own code moved the bytes, and it has stopped */
    BATON_PROOF_REVOKED, /* nothing that may still be read from the blocks can ever be committed */
    BATON_PROOF_PEER_DRAIN,  /* every peer that could touch the blocks said that it has stopped */
    BATON_PROOF_PEER_EXITED, /* the process that wrote into the blocks has ended (by its pidfd) */
    BATON_PROOF_LINK_FENCED, /* this side's end of the link was destroyed, and nothing but that end
                                could store into the blocks */
    BATON_PROOF_HELPER_EXITED, /* the same, by the end of this side's helper process */
    BATON_PROOF_COUNT_,
} baton_proof;

/* Where a fetch or a reader slot stands, or stood when its outcome was decided. */
typedef enum baton_stage {
    BATON_STAGE_NONE = 0,
    BATON_STAGE_OPENING,    /* fetch: waiting for a link and for the source's answer */
    BATON_STAGE_READING,    /* fetch: bytes are moving, or awaited */
    BATON_STAGE_COMMITTING, /* fetch: all bytes landed, the commit is on its way */
    BATON_STAGE_DRAINING,   /* fetch: the outcome is decided, movers are still at work */
    BATON_STAGE_QUIET,      /* fetch: nothing touches the blocks any more */
    BATON_STAGE_OFFERED,    /* slot: waiting for a reader */
    BATON_STAGE_LEASED,     /* slot: a reader is at work */
    BATON_STAGE_COMMITTED,  /* slot: its reader may use what it read; final */
    BATON_STAGE_REVOKED,    /* slot: nobody can commit any more; final */
} baton_stage;

BATON_API const char *baton_outcome_name(baton_outcome outcome);
BATON_API const char *baton_cause_name(baton_cause cause);
BATON_API const char *baton_proof_name(baton_proof proof);
BATON_API const char *baton_stage_name(baton_stage stage);

/* How one end of a handoff ended, with what the caller may want to know of it. */
struct baton_result {
    baton_outcome outcome;
    baton_cause cause;
    baton_stage stage;     /* fetch: where it stood when the outcome was decided */
    uint64_t bytes_landed; /* fetch: bytes copied into the blocks, useful or not.  offer: 0 */
    uint64_t bytes_total;  /* bytes of the whole handoff */
    const void *aux;       /* fetch, COMPLETED only: the source's aux bytes, borrowed until the last
                              unref; else NULL */
    size_t aux_bytes;
    unsigned slots;                            /* offer: how many reader slots it has; fetch: 0 */
    baton_stage slot_stage[BATON_READERS_MAX]; /* offer: COMMITTED or REVOKED, slot by slot */
    baton_cause slot_cause[BATON_READERS_MAX]; /* offer: why a slot was REVOKED */
};

/* Evidence that the blocks of one handoff are quiet.  A value: copy it, log it, use it once in
 * baton_retire(). */
struct baton_receipt {
    uint64_t handoff_id;
    uint64_t nonce;          /* binds the receipt to its handoff */
    uint8_t incarnation[16]; /* of this engine */
    uint8_t peer[16]; /* of the other engine; of an offer: of the last reader; zero when there was
                         none */
    baton_proof proof;
    const char *transport; /* "shm", "tcp" or "none"; of an offer that had several kinds of readers,
                              "mixed" */
    uint64_t attempts;     /* how many leases it covers: all that the handoff ever had */
    uint64_t last_attempt; /* the source's number of the last of them; 0 when there was none */
    uint64_t bytes_landed;
    uint64_t time_ns; /* CLOCK_MONOTONIC */
};

/* ---- engine ---- */

typedef enum baton_log_level {
    BATON_LOG_ERROR = 0,
    BATON_LOG_WARN,
    BATON_LOG_INFO,
    BATON_LOG_DEBUG,
} baton_log_level;

typedef void (*baton_log_fn)(void *arg, baton_log_level level, const char *text);

/* One step in a handoff's life, as it happens.  For tests, tools and tracing; delivery promises
 * nothing. */
struct baton_trace {
    baton_handoff *handoff; /* borrowed during the call */
    void *arg;              /* the handoff's own arg */
    unsigned slot;          /* offer: which reader slot moved */
    baton_stage from, to;   /* equal when bytes landed or the watermark moved */
    uint64_t bytes_landed;
    uint64_t bytes_total;
};

typedef void (*baton_trace_fn)(void *arg, const struct baton_trace *trace);

typedef enum baton_progress {
    BATON_PROGRESS_THREAD = 0, /* Baton's own thread drives the engine */
    BATON_PROGRESS_CALLER,     /* the caller does: baton_engine_fd() and baton_engine_step() */
} baton_progress;

typedef enum baton_link_kind {
    BATON_LINK_AUTO = 0, /* shared memory where the peer's Unix socket can be reached, else TCP */
    BATON_LINK_TCP,      /* TCP, as between hosts, also on one host */
    BATON_LINK_SOCKET,   /* as AUTO, but through the Unix socket itself */
} baton_link_kind;

/* Where a library transport (nixl) runs. */
typedef enum baton_host {
    BATON_HOST_AUTO = 0,   /* in a helper where there is one and it can map the pool, else in this
                              process; a helper that ends at once is an error */
    BATON_HOST_IN_PROCESS, /* in a thread of this process; a crash of the library ends it */
    BATON_HOST_HELPER,     /* in a helper process of its own for each link, or not at all */
} baton_host;

/* What is done about a peer that may still write into blocks whose handoff has ended, when
 * on_doubt_ms have passed and no proof has come.  Never anything to this process. */
typedef enum baton_on_doubt {
    BATON_ON_DOUBT_WAIT = 0,        /* nothing: the blocks stay in quarantine until a proof comes */
    BATON_ON_DOUBT_FENCE,           /* close the link, with all that goes on over it; where this
                                       side's end of it is all that stores, that is a proof */
    BATON_ON_DOUBT_KILL_LOCAL_PEER, /* the same, and end the peer's process (SIGKILL) if it is on
                                       this host */
} baton_on_doubt;

/* Zero means the default everywhere.  Set `size` to sizeof(struct baton_engine_options). */
struct baton_engine_options {
    size_t size;
    /*
     * Where to listen: "unix:/path", "unix:@name" (abstract) or "tcp:ADDRESS:PORT", port 0 for any.
     * Default: an abstract Unix socket of a random name and "tcp:127.0.0.1:0".  A wildcard address
     * needs allow_wildcard, and advertise.
     */
    const char *const *listen;
    size_t listen_count;
    /* What tickets say, in place of the addresses that are listened on.  Same forms. */
    const char *const *advertise;
    size_t advertise_count;
    bool allow_wildcard;
    baton_progress progress;
    baton_link_kind link;
    const char *const *transports; /* those allowed, best first; default {"shm", "tcp"} */
    size_t transports_count;
    /* Threads that copy, for shm.  Default: one.  -1: none, the driving thread copies, a slice a
     * step. */
    int movers;
    unsigned offers_max;   /* at once; default 4096 */
    unsigned fetches_max;  /* at once; default 4096 */
    unsigned links_max;    /* at once; default 64 */
    uint32_t window_bytes; /* most bytes of one window; default 1 MiB, of nixl alone 4 MiB */
    uint32_t slice_bytes; /* most bytes that a mover copies without looking for a cancel; default 64
                             KiB */
    uint64_t inflight_bytes_max; /* most bytes of all windows under way, but for one window of each
                                    link; default 16 MiB */
    unsigned attempts_max;       /* leases of one offer, all slots together; default 64 */
    uint32_t
        link_timeout_ms; /* a TCP link without an answer for this long is closed; default 5000 */
    uint32_t doubt_ms;   /* not quiet this long after the outcome: tell so; default 100 */
    int spin_us; /* most microseconds that the driver looks for work before it sleeps; how many it
                    does follows from how soon work came lately.  Default 100; -1: none */
    const char *stats_path; /* Unix socket that answers each connection with the stats as JSON;
                               default none */
    baton_log_fn on_log;
    baton_trace_fn on_trace;
    void *arg; /* for on_log and on_trace */
    baton_host host;
    unsigned helpers_max;    /* helper processes at once; default 16.  Beyond, links are hosted in
                                process (AUTO) or fail (HELPER) */
    const char *helper_path; /* of baton-helper; default: what BATON_HELPER says, else beside this
                                library or program, else where it was installed */
    baton_on_doubt on_doubt;
    uint32_t on_doubt_ms; /* after the outcome; default 1000 */
    /*
     * The most that one peer may hold in doubt, so that it can not eat the pools: in bytes of all
     * pools (default: no such limit), and in percent of the pool that a fetch is for (default 50).
     * Beyond either, fetches from that peer are refused (BATON_ELIMIT); others go on.
     */
    uint64_t quarantine_bytes_max;
    unsigned quarantine_percent_max;
};

/*
 * Create an engine: listeners, links and the state of all handoffs.  One engine may be source and
 * sink at once.
 *
 * Ownership: the options are copied.  Destroy with baton_engine_destroy().
 * Completion: at once; with nixl by helpers once the first has loaded it, 30 s at most.
 * Errors: BATON_EINVAL, BATON_EADDRESS, BATON_ENOMEM, BATON_ESYSTEM; BATON_EBUSY, the process has
 * another NIXL or UCX than the one to be loaded; nothing was left behind.
 */
BATON_API BATON_MUST_USE baton_err baton_engine_create(const struct baton_engine_options *options,
                                                       baton_engine **ret_engine,
                                                       struct baton_error *ret_error);

/* BATON_PROGRESS_CALLER: a descriptor that is readable when baton_engine_step() has something to
 * do.  -1 otherwise. */
BATON_API int baton_engine_fd(baton_engine *engine);

/*
 * Drive the engine: wait up to `timeout_ms` (-1: without limit; 0: not at all) for something to do,
 * do it, return. Only for BATON_PROGRESS_CALLER, and on one thread at a time.
 *
 * Returns BATON_OK, also when nothing happened; BATON_EINVAL for an engine with its own thread.
 */
BATON_API baton_err baton_engine_step(baton_engine *engine, int timeout_ms);

/* Take no new work from now on, and cancel every handoff with BATON_CAUSE_CLOSING.  Returns at
 * once; may be repeated. */
BATON_API void baton_engine_close(baton_engine *engine);

/*
 * Wait until every handoff has ended and is quiet.  Drives the engine itself where the caller
 * drives it. Returns BATON_OK; BATON_ETIMEOUT after `timeout_ms` (-1: none), and then nothing has
 * changed.
 */
BATON_API BATON_MUST_USE baton_err baton_engine_drain(baton_engine *engine, int timeout_ms);

/*
 * Destroy a closed engine and its pools.  NULL is allowed.
 *
 * Errors: BATON_EBUSY, some blocks lack a used receipt, or a handoff is still referenced: nothing
 * was destroyed, see baton_engine_drain(), baton_retire() and baton_handoff_unref(); BATON_EFORKED.
 */
BATON_API BATON_MUST_USE baton_err baton_engine_destroy(baton_engine *engine,
                                                        struct baton_error *ret_error);

/* What an abandoned engine keeps until the process ends. */
struct baton_abandoned {
    uint64_t bytes;    /* of pools that still hold blocks without a receipt */
    unsigned pools;    /* how many pools those are */
    unsigned handoffs; /* that had not ended, or whose receipt was not used */
};

/*
 * Give up an engine that can not be destroyed.  Its links are closed and its threads are stopped,
 * as far as they can be; the memory of pools with unproven blocks and everything that could still
 * touch it stay until the process ends. The engine, its pools and its handoffs must not be used any
 * more.
 */
BATON_API void baton_engine_abandon(baton_engine *engine, struct baton_abandoned *ret_abandoned);

/* The random identity of this engine's life. */
BATON_API void baton_engine_incarnation(const baton_engine *engine, uint8_t ret_incarnation[16]);

/*
 * The address that the `index`-th listener got, such as "tcp:127.0.0.1:40123".  Returns false past
 * the last. `ret_endpoint` has room for BATON_ENDPOINT_BYTES_MAX bytes.
 */
BATON_API bool baton_engine_endpoint(const baton_engine *engine, unsigned index,
                                     char *ret_endpoint);

/*
 * The engine's counters as one JSON object, what stats_path serves (docs/METRICS.md names them).
 * Writes at most `size` bytes with a closing NUL and returns the length that the whole text has.
 */
BATON_API size_t baton_engine_stats_json(baton_engine *engine, char *ret_text, size_t size);

/* ---- pools ---- */

/*
 * How a rank's KV cache lies within one block.  All zero: the block is opaque, and both sides must
 * have the same block size.  Otherwise block_bytes = layers x kv_parts x block_tokens x heads x
 * head_size x dtype_bytes, and both sides must agree in every number.
 */
struct baton_layout {
    uint32_t layers;
    uint32_t kv_parts;     /* 2 for K and V, 1 where they are one (MLA) */
    uint32_t block_tokens; /* tokens in a block */
    uint32_t heads;        /* KV heads of this rank */
    uint32_t head_size;    /* elements */
    uint32_t dtype_bytes;  /* bytes an element */
};

enum baton_pool_flags {
    /* Fill free blocks with a pattern and check it before they are lent, and slowly in the
       background: finds late bytes. */
    BATON_POOL_CHECK = 1 << 0,
    /* Ask for huge pages. */
    BATON_POOL_HUGE = 1 << 1,
    /* `memory` is memory of the GPU `device`, such as cuMemAlloc() gives: this process's CPU does
       not touch it, so only the transport nixl can move it, in this process. */
    BATON_POOL_CUDA = 1 << 2,
};

/* Set `size` to sizeof(struct baton_pool_options). */
struct baton_pool_options {
    size_t size;
    size_t block_bytes; /* a multiple of 8, at most 1 GiB */
    size_t block_count;
    struct baton_layout layout;
    unsigned flags;
    /*
     * NULL: Baton makes the memory (a memfd that peers on this host can map) and keeps the free
     * list: see baton_pool_alloc().  Else: wrap this memory of block_bytes x block_count bytes.  It
     * is borrowed until baton_pool_destroy(); its free list is the user's, who rewrites only blocks
     * that a receipt named *last*.
     */
    void *memory;
    unsigned device; /* BATON_POOL_CUDA: the ordinal of its GPU; else 0 */
};

/*
 * Make a pool.  It belongs to the engine and lives until baton_pool_destroy() or
 * baton_engine_destroy(). Errors: BATON_EINVAL, BATON_ELIMIT (BATON_POOLS_MAX), BATON_ENOMEM,
 * BATON_ECLOSED.
 */
BATON_API BATON_MUST_USE baton_err baton_pool_create(baton_engine *engine,
                                                     const struct baton_pool_options *options,
                                                     baton_pool **ret_pool,
                                                     struct baton_error *ret_error);

/* Destroy a pool.  BATON_EBUSY: a block is lent or held; nothing was destroyed.  NULL is allowed.
 */
BATON_API BATON_MUST_USE baton_err baton_pool_destroy(baton_pool *pool,
                                                      struct baton_error *ret_error);

/* The memory of block `block`.  Valid as long as the pool.  NULL past the last block. */
BATON_API void *baton_pool_block(const baton_pool *pool, uint32_t block);

/*
 * Take `count` free blocks of a pool that Baton made: the caller then holds them and may write to
 * them. Errors: BATON_EFULL, fewer are free (the message names how many are free, lent and in
 * quarantine); BATON_EINVAL for wrapped memory.
 */
BATON_API BATON_MUST_USE baton_err baton_pool_alloc(baton_pool *pool, size_t count,
                                                    uint32_t *ret_blocks,
                                                    struct baton_error *ret_error);

/*
 * Let go of blocks that the caller holds.  A block is free once nobody holds it and no handoff
 * refers to it, so blocks may be let go while they are still offered.  Blocks of a fetch that has
 * no used receipt yet: BATON_EBUSY. Errors (nothing is changed): BATON_EINVAL, a block is not held,
 * or named twice; BATON_EBUSY.
 */
BATON_API BATON_MUST_USE baton_err baton_pool_free(baton_pool *pool, const uint32_t *blocks,
                                                   size_t count, struct baton_error *ret_error);

struct baton_pool_stats {
    uint64_t blocks;
    uint64_t free_blocks;          /* not held and not lent; of wrapped memory: not lent */
    uint64_t held_blocks;          /* held by the caller and not lent */
    uint64_t lent_blocks;          /* in a handoff whose receipt was not used yet */
    uint64_t quarantine_blocks;    /* of those: the outcome is decided, quiet is not proven */
    uint64_t quarantine_oldest_us; /* age of the oldest of them */
    uint64_t late_bytes;           /* BATON_POOL_CHECK: bytes found changed in free blocks, ever */
    uint64_t late_blocks;          /* BATON_POOL_CHECK: blocks that they were in */
};

BATON_API void baton_pool_inspect(baton_pool *pool, struct baton_pool_stats *ret_stats);

/* BATON_POOL_CHECK: check every free block now; the counts are in baton_pool_inspect().  Returns
 * how many were checked. */
BATON_API uint64_t baton_pool_verify(baton_pool *pool);

/* ---- handoffs ---- */

/*
 * A handoff's three notices, in this order: on_outcome once; on_doubt at most once, when quiet is
 * not proven soon after the outcome; on_quiet once, with the receipt.  All NULL: the notices go to
 * the engine's completion queue instead. The structs and the handoff are borrowed during the call.
 */
struct baton_notices {
    void (*on_outcome)(baton_handoff *handoff, void *arg, const struct baton_result *result);
    void (*on_doubt)(baton_handoff *handoff, void *arg, baton_cause cause);
    void (*on_quiet)(baton_handoff *handoff, void *arg, const struct baton_receipt *receipt);
    void *arg;
};

/* Set `size` to sizeof(struct baton_offer_args).  Clocks: 0 means never. */
struct baton_offer_args {
    size_t size;
    baton_pool *pool;
    const uint32_t *blocks; /* in the order of the plan; may be shared with other offers */
    size_t block_count;
    uint64_t watermark_bytes; /* how many bytes, in that order, are there already;
                                 BATON_WATERMARK_END for all */
    unsigned readers;         /* reader slots; 0 means 1 */
    uint32_t
        reader_timeout_ms; /* a slot waits this long for a reader; then the offer is cancelled */
    uint32_t lease_timeout_ms; /* a reader has this long once all bytes are there; then it loses the
                                  lease */
    uint32_t whole_timeout_ms; /* the whole handoff; then the offer is cancelled */
    struct baton_notices notices;
};

/*
 * Offer blocks to the readers that will hold its ticket.  It may be made before a byte is computed.
 *
 * Ownership: the blocks are lent to the handoff until its receipt is used; the caller must not
 * write to bytes below the watermark until then, may write those above it, and may free the blocks
 * (baton_pool_free) at any time: they become free with the last receipt.  `args` is copied.
 * `*ret_handoff` carries one reference: drop it with baton_handoff_unref().
 *
 * Errors: BATON_EINVAL, BATON_ELIMIT (offers_max), BATON_EBUSY (a block is lent to a fetch),
 * BATON_ECLOSED, BATON_ENOMEM. On error nothing was started and no notice will come.
 */
BATON_API BATON_MUST_USE baton_err baton_offer(baton_engine *engine,
                                               const struct baton_offer_args *args,
                                               baton_handoff **ret_handoff,
                                               struct baton_error *ret_error);

/*
 * The ticket of reader slot `slot`: a bearer secret that lets a decode server fetch.  `ret_ticket`
 * has room for BATON_TICKET_BYTES_MAX bytes.  Errors: BATON_EINVAL, no such slot, or a fetch.
 */
BATON_API BATON_MUST_USE baton_err baton_offer_ticket(baton_handoff *offer, unsigned slot,
                                                      void *ret_ticket, size_t *ret_length);

/*
 * Say that the bytes below `watermark_bytes` are written and will not change.  Writes made before
 * the call are seen by readers.  A lower value than before, and an offer that has ended, are inert.
 */
BATON_API void baton_offer_advance(baton_handoff *offer, uint64_t watermark_bytes);

/*
 * Set the aux bytes (first token, logprobs, ...), which reach the reader with its COMPLETED only.
 * Copied. Errors: BATON_EINVAL, more than BATON_AUX_BYTES_MAX bytes, a fetch, or the watermark is
 * already at the end.
 */
BATON_API BATON_MUST_USE baton_err baton_offer_aux(baton_handoff *offer, const void *aux,
                                                   size_t aux_bytes);

/*
 * Who moves a fetch's bytes.
 *
 * BATON_PULL: the sink reads them from the source, or asks for them, window after window.  Best
 * where the sink can read the source's memory: over shm no code of the source is in the way.
 *
 * BATON_PUSH: the sink grants its windows, and the source sends each without being asked for it
 * over the transport.  For a source that is to set the pace, as each layer is written.
 *
 * Over tcp, the default, the sink's own code stores the bytes, so its receipt is
 * BATON_PROOF_LOCAL_DRAIN, at once, as with a pull over tcp, whatever the source still sends.  Over
 * shm (`transport` is "shm", or tcp can not be) the source's movers write into the sink's pool
 * themselves: the outcome is told at once, and the receipt waits for the source's word that it
 * writes no more (BATON_PROOF_PEER_DRAIN) or for its process's end (BATON_PROOF_PEER_EXITED). While
 * the source is stopped there is neither, on_doubt tells so, and the blocks stay in quarantine.
 * The source's receipt is BATON_PROOF_LOCAL_DRAIN in both (or BATON_PROOF_REVOKED, where its pool
 * was ever readable over shm).
 */
typedef enum baton_mode {
    BATON_PULL = 0,
    BATON_PUSH,
} baton_mode;

/* Set `size` to sizeof(struct baton_fetch_args).  Clocks: 0 means never. */
struct baton_fetch_args {
    size_t size;
    const void *ticket;
    size_t ticket_length;
    baton_pool *pool;
    const uint32_t
        *blocks; /* where to; each at most once, held by the caller and in no other handoff */
    size_t block_count;
    size_t first_block;    /* skip so many blocks of the offer, a prefix that is here already */
    const char *transport; /* NULL: the best that works of the engine's */
    baton_mode mode;       /* BATON_PUSH over shm: `pool` is one that Baton made */
    uint32_t opening_timeout_ms;  /* until the source accepts */
    uint32_t bytes_timeout_ms;    /* all readable bytes are read and the watermark stands still */
    uint32_t progress_timeout_ms; /* bytes are readable and none lands */
    uint32_t commit_timeout_ms;   /* until the source answers the commit */
    uint32_t whole_timeout_ms;    /* the whole fetch */
    struct baton_notices notices;
};

/*
 * Fetch an offer's blocks into blocks of `args->pool`.  Asynchronous; never blocks on the network.
 * One fetch is one attempt: to retry, fetch again into blocks that are quiet.
 *
 * Ownership: the blocks are lent to the handoff from this call until its receipt is used; nobody
 * may touch them before. `args` and the ticket are copied.  `*ret_handoff` carries one reference:
 * drop it with baton_handoff_unref(), before or after the end.
 *
 * Completion: the notices of struct baton_notices.  With BATON_COMPLETED the blocks hold the
 * offer's bytes.  After any other outcome they hold garbage.  When on_quiet runs, no CPU, NIC or
 * peer can reach the blocks on behalf of this handoff, whatever the outcome.
 *
 * Errors: BATON_ETICKET; BATON_EINVAL (blocks, ranges, transport, a push that no transport can do,
 * a layout or block size that is not the ticket's); BATON_EBUSY, a block is in another handoff;
 * BATON_ELIMIT (fetches_max; a place is free again soon after on_quiet, when the last frame has
 * left; or quarantine_bytes_max or quarantine_percent_max, for this peer, until the on_quiet of
 * enough of what it holds in doubt); BATON_ECLOSED; BATON_ENOMEM; BATON_ESYSTEM. On error nothing
 * was started and no notice will come.
 */
BATON_API BATON_MUST_USE baton_err baton_fetch(baton_engine *engine,
                                               const struct baton_fetch_args *args,
                                               baton_handoff **ret_handoff,
                                               struct baton_error *ret_error);

typedef enum baton_cancel_scope {
    BATON_CANCEL_OFFER =
        0, /* the request is over: a fetch also revokes every open slot of its offer */
    BATON_CANCEL_ATTEMPT, /* this fetch is over: another may fetch the offer */
} baton_cancel_scope;

typedef enum baton_cancel {
    BATON_CANCEL_REQUESTED = 0,
    BATON_CANCEL_ALREADY_DECIDED,
} baton_cancel;

/*
 * Ask for the end of a handoff.  Never blocks, never allocates, never fails; any thread, also
 * twice, also after the end, while a reference is held.  Of several calls the first one's scope
 * counts; for an offer it has no meaning. Whether the cancel won is told by the outcome only.
 */
BATON_API baton_cancel baton_handoff_cancel(baton_handoff *handoff, baton_cancel_scope scope);

/* Another reference. */
BATON_API void baton_handoff_ref(baton_handoff *handoff);

/* Drop a reference.  The handoff goes on to its end without any; to retire its blocks, keep one
 * until baton_retire(). */
BATON_API void baton_handoff_unref(baton_handoff *handoff);

BATON_API uint64_t baton_handoff_id(const baton_handoff *handoff);

/*
 * Use a receipt: drop this handoff's references to its blocks, at the generations at which they
 * were lent.  Any thread, also within on_quiet.
 *
 * `ret_last`, when not NULL, has room for all blocks of the handoff and gets those to which no
 * reference is left, now free for the user of wrapped memory to rewrite; `*ret_last_count` how
 * many.  Both may be NULL.
 *
 * Blocks that the caller held when they were lent are held by the caller again, unless freed
 * meanwhile.
 *
 * Errors: BATON_ERECEIPT, used before, of another handoff, or none; nothing was changed.
 */
BATON_API BATON_MUST_USE baton_err baton_retire(baton_handoff *handoff,
                                                const struct baton_receipt *receipt,
                                                uint32_t *ret_last, size_t *ret_last_count,
                                                struct baton_error *ret_error);

/* ---- tickets ---- */

/* Ticket to URL-safe text.  `ret_text` has room for BATON_TICKET_TEXT_BYTES_MAX bytes.
 * BATON_ETICKET: not a ticket. */
BATON_API BATON_MUST_USE baton_err baton_ticket_to_text(const void *ticket, size_t length,
                                                        char *ret_text);

/* And back.  `ret_ticket` has room for BATON_TICKET_BYTES_MAX bytes. */
BATON_API BATON_MUST_USE baton_err baton_ticket_from_text(const char *text, void *ret_ticket,
                                                          size_t *ret_length,
                                                          struct baton_error *ret_error);

/* What a ticket says, without its secret. */
struct baton_ticket_view {
    uint8_t incarnation[16];
    uint64_t offer_id;
    unsigned slot;
    uint64_t bytes_total;
    uint64_t block_bytes;
    size_t block_count;
    unsigned endpoints;
    char endpoint[BATON_ENDPOINTS_MAX][BATON_ENDPOINT_BYTES_MAX];
};

/* Read a ticket, wherever it comes from.  BATON_ETICKET says what is wrong with it. */
BATON_API BATON_MUST_USE baton_err baton_ticket_inspect(const void *ticket, size_t length,
                                                        struct baton_ticket_view *ret_view,
                                                        struct baton_error *ret_error);

/* ---- completions ---- */

typedef enum baton_notice {
    BATON_NOTICE_OUTCOME = 1,
    BATON_NOTICE_DOUBT,
    BATON_NOTICE_QUIET,
} baton_notice;

struct baton_completion {
    baton_notice notice;
    baton_handoff *handoff;       /* carries one reference: drop it with baton_handoff_unref() */
    void *arg;                    /* the handoff's notices.arg */
    struct baton_result result;   /* of every notice */
    struct baton_receipt receipt; /* QUIET only */
};

/* A descriptor that is readable while completions wait.  Poll it, do not read it. */
BATON_API int baton_engine_completion_fd(baton_engine *engine);

/* Collect up to `max` completions, oldest first; returns how many.  Never blocks. */
BATON_API size_t baton_engine_collect(baton_engine *engine,
                                      struct baton_completion *ret_completions, size_t max);

#ifdef __cplusplus
}
#endif
#endif
