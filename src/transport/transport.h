/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a transport is: the part that moves the bytes of windows from a source's pool into a sink's.
 *
 * All functions of an ops table, and all upcalls, run on the engine's driving thread, with no lock
 * held.  A transport may have threads of its own; they decide nothing, and their results come back
 * through `progress`.
 *
 * Obligations of every transport (tests/conform runs one suite on each):
 *  1. A posted window is given back by host->window_done() exactly once, also when its link closes.
 * After that the transport reads and writes no byte on behalf of it, ever.
 *  2. stop() takes effect at once: windows of that fetch that no thread is copying are given back
 * before it returns, and one that a thread is copying is given back after at most one slice.
 * `*window->stop` says the same, without the call, from any thread: no slice starts once it is
 * true.
 *  3. The same for the source's reads: serve, push, serve_stop, host->serve_done().
 *     Of a library (nixl) a window that it has posted is given back when the library says that it
 * is done, or has a proof that it is over (`proof`); else never.
 *  4. TRANSPORT_OK means that all bytes of the window were copied, and that it was the peer's
 * memory that they were copied from.
 *  5. A peer can fail windows and break its link; it can not make a transport write outside a
 * window's blocks, block the driving thread, or end the process.
 *  6. Nothing is allocated in stop and serve_stop.
 */
#ifndef BATON_TRANSPORT_TRANSPORT_H
#define BATON_TRANSPORT_TRANSPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "baton.h"
#include "layout/layout.h"

enum transport_status {
    TRANSPORT_OK = 0,
    TRANSPORT_ABORTED,   /* stopped, refused by the source, or the link was closed */
    TRANSPORT_FAILED,    /* the memory could not be read */
    TRANSPORT_PEER_DEAD, /* the peer's process ended */
};

struct transport;
struct transport_link;

/* A descriptor that the engine's event loop watches for a transport. */
struct transport_fd {
    int fd;
    void (*ready)(struct transport_fd *self,
                  unsigned events); /* EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP */
};

/* Memory of the peer that this side may read (sink). */
struct transport_region {
    uint32_t id;
    bool process;    /* read with process_vm_readv; else mapped at `map` */
    uint64_t length; /* bytes */
    uint64_t block_bytes;
    const unsigned char *map;
    uint64_t remote_base;
    pid_t pid; /* from the kernel */
    int pidfd; /* of the same process; borrowed */
};

/*
 * The memory of a pool of this process.  It stays while anybody has a reference: its pool, and each
 * library that has it registered.  The fields but the last two never change.
 */
struct transport_memory {
    uint32_t region; /* the pool's name on the wire */
    void *base;
    uint64_t bytes, block_bytes;
    bool cuda; /* it is memory of a GPU: `device` */
    unsigned device;
    int fd;           /* a memfd of the same memory, which is ours; -1: the memory is the user's */
    atomic_bool drop; /* the pool is to go: who does not use the memory is to let go of it */
    atomic_uint refs;
};

/* Any thread.  The last unref unmaps what is ours. */
struct transport_memory *transport_memory_ref(struct transport_memory *memory);
void transport_memory_unref(struct transport_memory *memory);

/* Part of a fetch that is to be copied (sink).  The engine owns the memory; it is lent from post()
 * to window_done(). */
struct transport_window {
    struct transport_window *next; /* for the transport's own queue */
    struct transport_link *link;
    const struct plan *plan;               /* borrowed */
    unsigned char *sink_base;              /* the sink's pool */
    const struct transport_region *region; /* shm only: the peer's */
    const unsigned char *source_base;      /* shm: this side's pool, pushed; NULL: a pull */
    struct transport_memory *memory;       /* nixl: this side's pool, */
    uint64_t own_bytes;                    /* shm: of this side's pool: a fault fails the window */
    uint32_t peer_region;                  /* and the peer's: learn() may still have to come */
    const atomic_bool *stop;
    /* Push: plan bytes below it were granted, so they may come.  NULL: the transport asks for them.
     */
    const uint64_t *granted;
    uint64_t offset, length; /* plan bytes */
    uint64_t fetch_id;
    uint64_t offer_id;
    uint64_t attempt;
    uint32_t slot;
    uint32_t engine_link; /* the engine's own */
    /* The transport's own, zero when posted. */
    struct plan_cursor cursor;
    uint64_t own[4];
    /* Results, set before window_done(). */
    enum transport_status status;
    uint64_t landed;   /* bytes copied into blocks, useful or not */
    baton_proof proof; /* why it is over, when it is not that it was done or never begun; else NONE
                        */
};

/* A window that a sink asked for, or granted, and that this side's own code sends (source; tcp). */
struct transport_serve {
    struct transport_serve *next;
    struct transport_link *link;
    const struct plan *plan; /* source's side only; borrowed */
    const unsigned char *source_base;
    uint64_t offset, length;
    uint64_t offer_id;
    uint64_t fetch_id;
    uint64_t attempt;
    uint32_t slot;
    uint32_t engine_link; /* the engine's own */
    bool push;            /* the engine's own */
    /* The transport's own, zero when served. */
    struct plan_cursor cursor;
    uint64_t own[4];
    /* Set before serve_done().  OK: all of it was handed on; else ABORTED. */
    enum transport_status status;
};

/* A sink's request for a window, as it came from the peer: nothing in it is to be trusted. */
struct transport_read {
    uint64_t offer_id;
    uint64_t fetch_id;
    uint64_t attempt;
    uint32_t slot;
    uint64_t offset, length;
    uint64_t own; /* the transport's name for the request: give it back in serve() or refuse() */
};

/* Upcalls to the engine. */
struct transport_host {
    void *arg;
    void (*window_done)(void *arg, struct transport_window *window);
    void (*read_request)(void *arg, uint32_t link, const struct transport_read *read);
    void (*serve_done)(void *arg, struct transport_serve *serve);
    /* The link's bulk connection is gone: the engine closes the whole link (calling link_close())
     * soon, not within. */
    void (*link_broken)(void *arg, uint32_t link, const char *why);
    /* Bytes came from the peer: proof that the link is alive. */
    void (*heard)(void *arg, uint32_t link);
    bool (*watch)(void *arg, struct transport_fd *fd,
                  unsigned events); /* false: out of resources */
    void (*rewatch)(void *arg, struct transport_fd *fd, unsigned events);
    void (*unwatch)(void *arg, struct transport_fd *fd);
    void (*wake)(void *arg); /* any thread: progress() has something to do */
    void (*log)(void *arg, baton_log_level level, const char *text);
    /* Of a library.  What share() was asked for: bytes for the peer's learn(). */
    void (*shared)(void *arg, uint32_t link, const struct transport_memory *memory,
                   const void *descriptor, size_t length);
    /*
     * This side's end of a link that was closed is gone for good, with all that it stored by.
     * `proof`: LINK_FENCED or HELPER_EXITED when nothing else could store into what was shared over
     * it, as the peer's writes; NONE: something else could, and if `exit_proves` that is only the
     * peer's process.  Returns whether somebody waits for a proof: then it may be called again,
     * with one.
     */
    bool (*fenced)(void *arg, uint64_t serial, baton_proof proof, bool exit_proves);
};

struct transport_options {
    unsigned movers; /* threads that copy; 0: progress() copies */
    uint32_t slice_bytes;
    uint32_t window_bytes;
    unsigned links_max;
    unsigned windows_max; /* windows, serves and pushes, each, of one link under way at once */
    /* Libraries. */
    baton_host host;
    unsigned helpers_max;
    const char *helper_path; /* borrowed during create(); NULL: the usual places */
};

/* How to reach the peer of a link; all borrowed during the call. */
struct transport_link_args {
    uint32_t link;   /* the engine's number, for the upcalls */
    uint64_t serial; /* of this life of the link; never used twice */
    bool sink;       /* this side reads */
    int peer_pidfd;  /* of the peer's process, borrowed until link_close(); -1: unknown */
    const char
        *tcp_address;       /* sink: "ADDRESS:PORT" for bulk connections; NULL when there is none */
    const uint8_t *preface; /* sink: what to send first on a bulk connection */
    size_t preface_length;
};

struct transport_ops {
    const char *name;
    uint32_t bit; /* WIRE_TRANSPORT_... */

    baton_err (*create)(const struct transport_host *host, const struct transport_options *options,
                        struct transport **ret_transport, struct baton_error *ret_error);
    /* Ends the threads.  All links are closed and all windows given back. */
    void (*destroy)(struct transport *transport);

    baton_err (*link_open)(struct transport *transport, const struct transport_link_args *args,
                           struct transport_link **ret_link, struct baton_error *ret_error);
    /*
     * No new work.  Windows and serves that no thread is copying are given back before it returns;
     * the rest through progress().  The link's memory is freed by the transport once the last was
     * given back.
     */
    void (*link_close)(struct transport_link *link);
    /* Source: a connection whose preface the engine read and checked; `early` are bytes that were
       read after it. Takes the descriptor, also on an error. */
    baton_err (*adopt)(struct transport_link *link, int fd, const uint8_t *early,
                       size_t early_length);

    /* Pushed windows of a fetch are given back in the order in which they were posted, but for
     * stops.
     */
    void (*post)(struct transport_window *window);
    void (*stop)(struct transport_link *link, uint64_t fetch_id);

    /* The answer to read_request(): either of them, exactly once, within the upcall. */
    void (*serve)(struct transport_serve *serve, uint64_t own);
    void (*refuse)(struct transport_link *link, uint64_t own);
    /*
     * Source: send a window that the sink has granted, the pushes of an attempt in the order of
     * these calls.  Nothing was asked over the transport, and its connection may still have to
     * come.
     */
    void (*push)(struct transport_serve *serve);
    void (*serve_stop)(struct transport_link *link, uint64_t offer_id, uint32_t slot,
                       uint64_t attempt);

    /*
     * Libraries only; else NULL.  share(): `memory` is to be reachable to the peer, and soon to be
     * reached; the first time host->shared() tells, soon or later, or the link breaks.  learn():
     * the peer's descriptor of its region; false: it is none.
     */
    void (*share)(struct transport_link *link, struct transport_memory *memory);
    bool (*learn)(struct transport_link *link, uint32_t region, uint64_t bytes,
                  const void *descriptor, size_t length);

    /* Libraries only: a pidfd of the helper process that works for the link, borrowed; -1: none. */
    int (*process)(const struct transport_link *link);

    /* Give back what threads have finished and, without movers, copy one slice.  True: call again
     * without waiting. */
    bool (*progress)(struct transport *transport);
};

extern const struct transport_ops
    transport_shm; /* link_open's tcp_address and preface, adopt, serve..., push: unused, NULL */
extern const struct transport_ops transport_tcp;
extern const struct transport_ops transport_nixl; /* adopt, serve..., push: unused, NULL */

/*
 * Memory of this process for peers to read, and of peers for this process: used by the engine for
 * the shm transport.
 */

/* Reopen a pool's memfd for reading only.  Returns the descriptor; -1 and errno. */
int region_export(int memfd);

/*
 * Make a region of what a peer sent.  MEMFD: checks the seals (no shrinking, no growing) and the
 * size, maps it read-only; takes `fd` on success.  PROCESS: reads `nonce` at `nonce_base` and
 * compares. Errors say why and what to do (Yama, seccomp, another user or namespace):
 * BATON_ESYSTEM, BATON_EINVAL.
 */
baton_err region_map(struct transport_region *ret_region, uint32_t id, uint64_t length,
                     uint64_t block_bytes, int fd, struct baton_error *ret_error);
/* The same as MEMFD for memory that this side writes into (source, push). */
baton_err region_map_writable(struct transport_region *ret_region, uint32_t id, uint64_t length,
                              uint64_t block_bytes, int fd, struct baton_error *ret_error);
baton_err region_attach(struct transport_region *ret_region, uint32_t id, uint64_t length,
                        uint64_t block_bytes, pid_t pid, int pidfd, uint64_t base,
                        uint64_t nonce_base, const uint8_t nonce[16],
                        struct baton_error *ret_error);
/* No window may use it any more. */
void region_unmap(struct transport_region *region);

#endif
